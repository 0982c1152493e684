//! A configuration file. Whatever is in it: the daemon and the client read it to its end, and no error quotes a
//! secret.

use shimmer::config::{ClientConfig, Errors, ServerConfig, capabilities};
use shimmer::limits::{LONGEST_S, RANGE_FACTOR};
use shimmer::proto::gates::GateSettings;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Stands in front of every secret.
const SECRET: &[u8] = b"hunter2";

/// A file that is not there, in a folder that is not there: other files are relative to it.
const PATH: &str = "/nonexistent/fuzz.conf";

/// A configuration.
pub fn configuration(bytes: &[u8]) {
    // Nothing on this machine is to be opened.
    let names_a_file = find(bytes, b"secret-file") && bytes.contains(&b'/');
    if names_a_file || find(bytes, SECRET) {
        return;
    }
    let text = with_secrets(bytes);
    let server = ServerConfig::parse(Path::new(PATH), &text);
    let client = ClientConfig::parse(Path::new(PATH), &text);
    match (&server, &client) {
        (Err(errors), _) => check_errors(errors, &text),
        // Both may share a file, and the client needs less.
        (Ok(_), Err(errors)) => panic!("the daemon takes it, and the client does not: {errors}"),
        (Ok(server), Ok(client)) => {
            check(server);
            assert_eq!(server.mirages.len(), client.mirages.len());
            for (server, client) in server.mirages.iter().zip(&client.mirages) {
                assert_eq!(*server.settings.section, *client.section);
                assert_eq!(server.settings.plain, client.plain);
                assert_eq!(server.settings.pattern, client.pattern);
                let mut shown = client.gate_settings.clone();
                if let (GateSettings::Knock(shown), GateSettings::Knock(wanted)) =
                    (&mut shown, &server.settings.gate_settings)
                {
                    // How the daemon counts is nothing that a client does.
                    shown.rules = wanted.rules;
                }
                assert_eq!(shown, server.settings.gate_settings);
            }
        }
    }
    if let Err(errors) = &client {
        check_errors(errors, &text);
    }
    // Lines may end as on Windows.
    if !text.contains(&b'\r') {
        let windows = text.split(|&byte| byte == b'\n').collect::<Vec<_>>();
        let windows = windows.join(&b"\r\n"[..]);
        let again = ServerConfig::parse(Path::new(PATH), &windows);
        assert_eq!(again.is_ok(), server.is_ok());
        if let (Ok(again), Ok(server)) = (again, server) {
            assert_eq!(again.mirages, server.mirages);
        }
    }
}

fn find(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|part| part == word)
}

/// The same text with [`SECRET`] in front of each secret.
fn with_secrets(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() + 64);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let mut parts = line.splitn(2, |&byte| byte == b'=');
        match (parts.next(), parts.next()) {
            (Some(key), Some(value)) if key.trim_ascii() == b"secret" => {
                text.extend_from_slice(key);
                text.extend_from_slice(b"= ");
                text.extend_from_slice(SECRET);
                text.extend_from_slice(value.trim_ascii_start());
                if value.trim_ascii_start().is_empty() && line.ends_with(b"\n") {
                    text.push(b'\n');
                }
            }
            _ => text.extend_from_slice(line),
        }
    }
    text
}

fn check_errors(errors: &Errors, text: &[u8]) {
    let lines = text.split(|&byte| byte == b'\n').count();
    for error in errors.iter() {
        let told = error.to_string();
        assert!(error.line() <= lines, "{told}");
        assert!(!find(told.as_bytes(), SECRET), "{told}");
        assert!(!told.contains('\n'), "{told:?}");
    }
}

fn check(server: &ServerConfig) {
    assert!(!server.mirages.is_empty());
    let _ = capabilities(&server.mirages).count();
    for warning in &server.warnings {
        let told = warning.to_string();
        assert!(!find(told.as_bytes(), SECRET), "{told}");
        assert!(!told.contains('\n'), "{told:?}");
    }
    for (place, mirage) in server.mirages.iter().enumerate() {
        let settings = &mirage.settings;
        let mut others = server.mirages[..place].iter();
        assert!(others.all(|other| other.settings.section != settings.section));
        let plain = &settings.plain;
        for seconds in [plain.trap_s, plain.ready_s, settings.admitted_s] {
            assert!((1..=LONGEST_S).contains(&seconds));
        }
        if let Some(pattern) = settings.pattern {
            let ports = u32::from(pattern.decoys()) + 1;
            assert!(mirage.secret.is_some());
            assert!(pattern.range().count() >= ports * RANGE_FACTOR);
            assert!(pattern.range().low() > 0);
        }
        for command in mirage.commands() {
            let words = command.words(IpAddr::V4(Ipv4Addr::LOCALHOST), &settings.section);
            assert!(!words.is_empty() && !words[0].is_empty());
            assert!(words.iter().all(|word| !word.contains('\0')));
        }
    }
}
