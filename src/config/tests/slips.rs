//! Files that somebody or something has garbled: none is too strange, and no message quotes the secret.

use super::*;
use proptest::prelude::*;

/// What may happen to a file in an editor.
#[derive(Clone, Debug)]
enum Slip {
    Delete(usize),
    Insert(usize, u8),
    SwapLines(usize, usize),
}

fn slips() -> impl Strategy<Value = Slip> {
    let letter = prop_oneof![
        prop::sample::select(b"\n\r\0 \t=#;[]-,:/\xFF".as_slice()),
        any::<u8>()
    ];
    prop_oneof![
        any::<usize>().prop_map(Slip::Delete),
        (any::<usize>(), letter).prop_map(|(at, byte)| Slip::Insert(at, byte)),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Slip::SwapLines(a, b)),
    ]
}

fn apply(slip: Slip, text: &mut Vec<u8>) {
    match slip {
        Slip::Delete(at) if !text.is_empty() => {
            text.remove(at % text.len());
        }
        Slip::Delete(_) => {}
        Slip::Insert(at, byte) => text.insert(at % (text.len() + 1), byte),
        Slip::SwapLines(a, b) => {
            let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
            let count = lines.len();
            lines.swap(a % count, b % count);
            *text = lines.join(&b'\n');
        }
    }
}

/// Everything that is ever shown of a file.
fn shown(text: &[u8]) -> String {
    let path = Path::new("t.conf");
    let warnings = |warnings: Vec<Diagnostic>| {
        let texts = warnings.iter().map(Diagnostic::to_string);
        texts.collect::<Vec<_>>().join("\n")
    };
    let server = ServerConfig::parse(path, text);
    let client = ClientConfig::parse(path, text);
    let server = server.map_or_else(|errors| errors.to_string(), |read| warnings(read.warnings));
    let client = client.map_or_else(|errors| errors.to_string(), |read| warnings(read.warnings));
    let common = load::server(path, text, Purpose::Control);
    let common = common.map_or_else(|errors| errors.to_string(), |_| String::new());
    [server, client, common].join("\n")
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(text: Vec<u8>) {
        shown(&text);
    }

    #[test]
    fn no_lines_are_too_strange(lines in prop::collection::vec("(\\[common\\]|\\[mirage-a\\]|(log|port|forward|range|decoys|period|from|allow|name|listen-address|secret|gate|listen|pool-port|control) ?= ?[ -~]{0,12})", 0..12)) {
        shown(lines.join("\n").as_bytes());
    }

    #[test]
    fn whatever_slips_no_message_quotes_the_secret(slips in prop::collection::vec(slips(), 1..5)) {
        let mut text = format!("[common]\nban-time = 1h\nallow = 192.0.2.0/24\n{SSH}host = a.example\nfrom = 192.0.2.0/24\n{WEB}").into_bytes();
        for slip in slips {
            apply(slip, &mut text);
        }
        let shown = shown(&text);
        prop_assert!(!shown.contains(SECRET), "{}", shown);
    }
}
