//! Every key reaches its own field, and no other.

use super::*;
use crate::config::{Location, LogTarget, ServerConfig};
use crate::ini::Section;
use crate::proto::scheme::knock::{Protocols, Scope, parse_sequence};
use crate::proto::scheme::packet::Admits;
use crate::proto::scheme::schedule::Range;
use crate::terms::{ClientAddress, ClockTrust, Level};

/// A key, a value that is not its default, and what that changes.
type Case<T> = (&'static str, &'static str, fn(&mut T));

const COMMON_CASES: &[Case<Common>] = &[
    ("log", "syslog", |c| c.log = LogTarget::Syslog),
    ("log-level", "debug", |c| c.log_level = Level::Debug),
    ("state-file", "none", |c| c.state_file = Location::Off),
    ("ban-time", "7", |c| c.ban_s = 7),
    ("allow", "192.0.2.7", |c| {
        c.allow.push("192.0.2.7".parse().unwrap())
    }),
    ("clock", "wait", |c| c.clock = ClockTrust::Wait),
    ("max-sessions", "7", |c| c.max_sessions = Some(7)),
    ("max-sessions-per-source", "7", |c| {
        c.max_sessions_per_source = 7
    }),
    ("control", "none", |c| c.control = Location::Off),
    ("sandbox", "no", |c| c.sandbox = false),
    // The reader looks it up.
    ("user", "root", |_| {}),
];

static EMPTY: Section = Section {
    line: 1,
    name: None,
    entries: Vec::new(),
};

const MIRAGE_CASES: &[Case<Draft>] = &[
    ("name", "x", |m| m.plain.name = "x".to_owned()),
    ("port", "7", |m| {
        m.door.service = Some("127.0.0.1:7".parse().unwrap())
    }),
    ("forward", "192.0.2.7:7", |m| {
        m.door.service = Some("192.0.2.7:7".parse().unwrap())
    }),
    ("range", "7-70", |m| m.range = Range::new(7, 70)),
    ("decoys", "7", |m| m.decoys = Some(7)),
    ("period", "7", |m| m.period = 7),
    ("gate", "token", |m| m.gate = Gate::Token),
    ("listen", "pool", |m| m.is_pool = true),
    ("pool-port", "7", |m| m.pool_port = Some(7)),
    ("listen-address", "192.0.2.7", |m| {
        m.plain.listen.push("192.0.2.7".parse().unwrap())
    }),
    ("from", "192.0.2.7", |m| {
        m.plain.from.push("192.0.2.7".parse().unwrap())
    }),
    ("trap-time", "7", |m| m.plain.trap_s = 7),
    ("idle-timeout", "7", |m| m.plain.idle_s = Some(7)),
    ("max-sessions", "7", |m| m.plain.max_sessions = Some(7)),
    ("client-address", "plain", |m| {
        m.plain.client_address = Some(ClientAddress::Plain)
    }),
    ("host", "x", |m| m.plain.host = Some("x".to_owned())),
    ("knocks", "5", |m| m.knock.knocks = 5),
    ("protocols", "udp", |m| m.knock.protocols = Protocols::Udp),
    ("once", "yes", |m| m.knock.rules.is_once = true),
    ("sequence", "7", |m| {
        m.knock.sequence = parse_sequence("7").unwrap()
    }),
    ("close-sequence", "7", |m| {
        m.knock.close_sequence = parse_sequence("7").unwrap()
    }),
    ("seq-timeout", "7", |m| m.knock.rules.timeout_ms = 7_000),
    ("lock", "7", |m| m.lock_s = 7),
    ("lock-scope", "all", |m| m.lock_scope = Scope::All),
    ("packet-address", "inside", |m| {
        m.packet.address = Admits::Inside
    }),
    ("packet-port", "7", |m| m.packet.port = Some(7)),
    ("door", "nft", |m| m.door.kind = DoorKind::Nft),
    ("exec", "x", |m| m.door.exec = "x".parse().ok()),
    ("open-command", "x", |m| {
        m.door.open_command = "x".parse().ok()
    }),
    ("close-command", "x", |m| {
        m.door.close_command = "x".parse().ok()
    }),
    ("open-timeout", "7", |m| m.door.open_s = Some(7)),
    ("ready-timeout", "7", |m| m.plain.ready_s = 7),
    ("open-set", "ip/t/s", |m| {
        m.door.open_set = "ip/t/s".parse().ok()
    }),
    ("open-port", "7", |m| m.door.open_port = Some(7)),
];

/// Checks the keys of a section against their cases: none is left out, and each changes what its case
/// says and nothing else.
#[track_caller]
fn check<T: Clone + PartialEq, S: Copy>(
    keys: &[ConfigKey<S>],
    cases: &[Case<T>],
    fresh: &T,
    set: impl Fn(S, &mut T, &str) -> Parsed<()>,
) {
    let mut left = cases.iter();
    for key in keys {
        let (Value::One(setter) | Value::List(setter) | Value::Verbatim(setter)) = key.value else {
            continue;
        };
        let (name, text, change) = left.next().expect("each key has its case");
        assert_eq!(key.name, *name, "the cases stand in the order of the keys");
        let (mut found, mut expected) = (fresh.clone(), fresh.clone());
        set(setter, &mut found, text).unwrap();
        change(&mut expected);
        assert!(found == expected, "{name} sets another field");
        assert_eq!(found == *fresh, *name == "user", "{name} sets nothing");
    }
    assert!(left.next().is_none(), "each case has its key");
}

#[test]
fn every_key_sets_its_own_field() {
    check(COMMON, COMMON_CASES, &Common::default(), |set, c, text| {
        set(c, text)
    });
    let fresh = Draft::new(&EMPTY, "ssh");
    check(MIRAGE, MIRAGE_CASES, &fresh, |set, m, text| set(m, text));
}

const KEYED_LINES: &str = "secret = S3cret-T0ken.of-32-b1ts\nrange = 10000-10999\n";
const SERVICE: &str = "port = 22\n";
const KNOCKED: &str = "port = 22\ngate = knock\n";
const SEQUENCE: &str = "port = 22\ngate = knock\nsequence = 7,8\n";
const COMMAND_DOOR: &str = "gate = knock\ndoor = command\nopen-command = a\n";
const ON_DEMAND_SERVICE: &str = "port = 22\nopen-command = a\n";
const SET: &str = "gate = knock\ndoor = nft\nopen-set = ip/t/s\n";

/// Keys, the mirage that they belong to, and what they say there.
const EFFECTS: &[(&str, &[&str])] = &[
    ("", &["port = 7", "forward = 192.0.2.7:7", "exec = a"]),
    (
        SERVICE,
        &[
            "name = x",
            "host = x",
            "decoys = 7",
            "period = 7",
            "gate = token",
            "listen = pool",
            "listen-address = 192.0.2.7",
            "from = 192.0.2.7",
            "trap-time = 7",
            "idle-timeout = 7",
            "max-sessions = 7",
            "client-address = plain",
            "open-command = a",
        ],
    ),
    ("port = 22\nlisten = pool\n", &["pool-port = 7"]),
    (
        KNOCKED,
        &[
            "knocks = 5",
            "protocols = udp",
            "once = yes",
            "sequence = 7",
            "seq-timeout = 7",
            "lock = 7",
            "open-timeout = 7",
        ],
    ),
    (SEQUENCE, &["close-sequence = 9"]),
    ("port = 22\ngate = knock\nlock = 7\n", &["lock-scope = all"]),
    (
        "port = 22\ngate = packet\n",
        &["packet-address = inside", "packet-port = 7"],
    ),
    (COMMAND_DOOR, &["close-command = b"]),
    (ON_DEMAND_SERVICE, &["ready-timeout = 7"]),
    (SET, &["open-port = 7"]),
    // The base has no door of its own, so it is no mirage yet.
    (
        "gate = knock\n",
        &[
            "door = command\nopen-command = a",
            "door = nft\nopen-set = ip/t/s",
        ],
    ),
];

/// A key that is read into a draft and forgotten there would have no effect, and nobody would be told.
#[test]
fn every_key_changes_the_mirage_that_it_belongs_to() {
    let mirage = |text: &str| {
        let text = format!("[mirage-ssh]\n{KEYED_LINES}{text}\n");
        let path = std::path::Path::new("t.conf");
        let server = ServerConfig::parse(path, text.as_bytes());
        server.map(|mut server| server.mirages.remove(0))
    };
    let mut names = vec!["secret", "secret-file", "range", "open-set"];
    for (base, lines) in EFFECTS {
        for line in *lines {
            let with = mirage(&format!("{base}{line}")).unwrap_or_else(|errors| panic!("{errors}"));
            assert!(mirage(base).ok() != Some(with), "{line} has no effect");
            names.push(line.split(' ').next().unwrap());
        }
    }
    for key in MIRAGE {
        assert!(names.contains(&key.name), "{} has no row", key.name);
    }
}

#[test]
fn the_two_ways_to_give_a_secret_are_the_keys_that_set_no_field() {
    let is_secret = |key: &&ConfigKey<SetMirage>| matches!(key.value, Value::Secret);
    let names: Vec<&str> = MIRAGE
        .iter()
        .filter(is_secret)
        .map(|key| key.name)
        .collect();
    assert_eq!(names, ["secret", "secret-file"]);
    assert!(!COMMON.iter().any(|key| matches!(key.value, Value::Secret)));
}

#[test]
fn only_a_limit_has_the_same_name_in_both_kinds_of_sections() {
    let mut names: Vec<&str> = COMMON.iter().map(|key| key.name).collect();
    names.extend(MIRAGE.iter().map(|key| key.name));
    names.sort_unstable();
    let twice = names.windows(2).filter(|pair| pair[0] == pair[1]);
    assert!(twice.eq([["max-sessions"; 2]]));
}
