mod doors;

use super::load;
use super::reader::Side;
use super::*;
use crate::limits::CONFIG_BYTES;
use crate::proto::gates::Gate;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::source::Network;
use crate::terms::{ClockTrust, Level, Service};
use core::net::{IpAddr, SocketAddr};
use proptest::prelude::*;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

const SECRET: &str = "S3cret-T0ken.of-32-b1ts";

/// Four lines; what follows them is the mirage's, from line 5 on.
const SSH: &str =
    "[mirage-ssh]\nsecret = S3cret-T0ken.of-32-b1ts\nport = 22\nrange = 10000-10999\n";

/// The same on line 5 to 8, under another name and with other ports.
const WEB: &str =
    "[mirage-web]\nsecret = S3cret-T0ken.of-32-b1ts\nport = 80\nrange = 11000-11999\n";

fn lines(errors: &Errors) -> Vec<String> {
    let line = |error: &Diagnostic| {
        let line = error.to_string();
        assert!(!line.contains(SECRET), "{line}");
        line.strip_prefix("t.conf:").unwrap().to_owned()
    };
    errors.iter().map(line).collect()
}

/// The daemon's configuration, or its errors without the file's name.
fn read(text: impl AsRef<[u8]>) -> Result<Server, Vec<String>> {
    load::server(Path::new("t.conf"), text.as_ref(), Side::Server).map_err(|errors| lines(&errors))
}

/// The client's.
fn read_client(text: impl AsRef<[u8]>) -> Result<Client, Vec<String>> {
    Client::parse(Path::new("t.conf"), text.as_ref()).map_err(|errors| lines(&errors))
}

#[track_caller]
fn server(text: impl AsRef<[u8]>) -> Server {
    read(text).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
}

#[track_caller]
fn client(text: impl AsRef<[u8]>) -> Client {
    read_client(text).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
}

#[track_caller]
fn errors(text: impl AsRef<[u8]>) -> Vec<String> {
    match read(text) {
        Ok(_) => panic!("there is no error"),
        Err(errors) => errors,
    }
}

/// Each of these lines makes [`SSH`] wrong in this one way.
#[track_caller]
fn each_is_wrong(cases: &[(&str, &str)]) {
    for (line, error) in cases {
        let text = format!("{SSH}{line}\n");
        assert_eq!(errors(&text), [format!("5: {error}")], "{line}");
        assert!(read_client(&text).is_err(), "{line}");
    }
}

fn keyed(mirage: &Mirage) -> &Keyed {
    mirage.keyed.as_ref().unwrap()
}

fn service(mirage: &Mirage) -> SocketAddr {
    match mirage.forward().unwrap().to {
        Service::At(service) => service,
        Service::Exec(_) => panic!("it is a process"),
    }
}

fn idle_s(mirage: &Mirage) -> Option<u32> {
    mirage.plain.idle_s
}

/// A directory that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let directory = format!("shimmer-config-{}-{test}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        set_mode(&path, 0o600);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) {}

#[test]
fn three_lines_make_a_mirage_and_the_rest_has_defaults() {
    let config = server(SSH);
    assert_eq!(config.common.log, LogTarget::Stderr);
    assert_eq!(config.common.log_level, Level::Info);
    assert_eq!(config.common.state_file, Location::Default);
    assert_eq!(config.common.control, Location::Default);
    assert_eq!(config.common.ban_s, 900);
    assert!(config.common.allow.is_empty());
    assert_eq!(config.common.clock, ClockTrust::Trust);
    assert_eq!(config.common.max_sessions, None);
    assert_eq!(config.common.max_sessions_per_source, 32);

    let [mirage] = &config.mirages[..] else {
        panic!("there is one mirage");
    };
    assert_eq!(mirage.section, "ssh");
    assert_eq!(mirage.plain.name, "ssh");
    assert!(keyed(mirage).secret.as_bytes() == SECRET.as_bytes());
    let range = Range::new(10_000, 10_999).unwrap();
    assert_eq!(keyed(mirage).pattern, Pattern::new(range, 15, 60).unwrap());
    assert_eq!(service(mirage), "127.0.0.1:22".parse().unwrap());
    assert!(mirage.plain.listen.is_empty());
    assert!(mirage.plain.from.is_empty());
    assert_eq!(mirage.plain.trap_s, 30);
    assert_eq!(idle_s(mirage), None);
    assert_eq!(mirage.plain.host, None);
    assert_eq!(mirage.gate(), Gate::Port);
    assert_eq!(mirage.pool_port, None);
}

#[test]
fn every_key_has_its_effect() {
    let config = server(
        "[common]
        log = /var/log/shimmer.log   # a comment
        log-level = debug
        state-file = /tmp/state
        ban-time = 1h
        allow = 192.0.2.0/24, 2001:db8::/32 198.51.100.7
        clock = wait
        max-sessions = 100
        max-sessions-per-source = 5
        control = /tmp/control
        [mirage-home]
        name = ssh@home.example.org
        secret = S3cret-T0ken.of-32-b1ts
        forward = [2001:db8::7]:2222
        range = 20000-20999
        decoys = 7
        period = 2m
        listen-address = 192.0.2.1 , 2001:db8::1,192.0.2.1
        from = 192.0.2.0/24
        trap-time = 90
        idle-timeout = 2h
        host = home.example.org
        gate = token
        listen = pool
        pool-port = 19000
        ",
    );
    let network = |text: &str| text.parse::<Network>().unwrap();
    assert_eq!(
        config.common,
        Common {
            log: LogTarget::File("/var/log/shimmer.log".into()),
            log_level: Level::Debug,
            state_file: Location::Path("/tmp/state".into()),
            control: Location::Path("/tmp/control".into()),
            ban_s: 3_600,
            allow: vec![
                network("192.0.2.0/24"),
                network("2001:db8::/32"),
                network("198.51.100.7")
            ],
            clock: ClockTrust::Wait,
            max_sessions: Some(100),
            user: None,
            max_sessions_per_source: 5,
        }
    );
    let mirage = &config.mirages[0];
    assert_eq!(mirage.section, "home");
    assert_eq!(mirage.plain.name, "ssh@home.example.org");
    assert_eq!(service(mirage), "[2001:db8::7]:2222".parse().unwrap());
    let range = Range::new(20_000, 20_999).unwrap();
    assert_eq!(keyed(mirage).pattern, Pattern::new(range, 7, 120).unwrap());
    let listen: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(mirage.plain.listen, listen);
    assert_eq!(mirage.plain.from, [network("192.0.2.0/24")]);
    assert_eq!(mirage.plain.trap_s, 90);
    assert_eq!(idle_s(mirage), Some(7_200));
    assert_eq!(mirage.plain.host.as_deref(), Some("home.example.org"));
    assert_eq!(mirage.gate(), Gate::Token);
    assert_eq!(mirage.pool_port, Some(19_000));
}

#[test]
fn the_words_of_the_common_section_are_known() {
    let common = |line: &str| server(format!("[common]\n{line}\n{SSH}")).common;
    assert_eq!(common("log = stderr").log, LogTarget::Stderr);
    assert_eq!(common("log = syslog").log, LogTarget::Syslog);
    for (word, level) in [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
    ] {
        assert_eq!(common(&format!("log-level = {word}")).log_level, level);
    }
    assert!(Level::Error < Level::Warn && Level::Warn < Level::Info && Level::Info < Level::Debug);
    assert_eq!(common("state-file = none").state_file, Location::Off);
    assert_eq!(common("control = none").control, Location::Off);
    assert_eq!(common("clock = trust").clock, ClockTrust::Trust);
    assert_eq!(common("control = none").control, Location::Off);
}

#[test]
fn to_ask_the_daemon_takes_only_what_holds_for_all_mirages() {
    let read = |text: &str| {
        let server = load::server(Path::new("t.conf"), text.as_bytes(), Side::Control);
        let common = server.map(|server| server.common);
        common.map_err(|errors| lines(&errors))
    };
    let common = "[common]\ncontrol = /tmp/control\n";
    let path = Location::Path("/tmp/control".into());
    // No secret, no such file, no port in the range, no such key.
    for mirage in ["", "secret-file = missing", "range = 9-1", "prot = 22"] {
        let text = format!("{common}[mirage-ssh]\n{mirage}\n");
        assert_eq!(read(&text).unwrap().control, path, "{mirage}");
    }
    for (text, error) in [
        (
            "[common]\ncontrol = somewhere\n[mirage-a]\n",
            "2: control: is neither none",
        ),
        (
            "[comon]\ncontrol = /tmp/control\n[mirage-a]\n",
            "1: unknown section",
        ),
        ("[mirage-a]\ncontrol\n", "2: "),
        (common, "1: no mirage defined"),
    ] {
        let errors = read(text).unwrap_err();
        assert!(errors[0].starts_with(error), "{}", errors[0]);
        assert_eq!(errors.len(), 1);
    }
}

#[test]
fn a_session_may_idle_for_ever_by_name() {
    let text = format!("{SSH}idle-timeout = none\n");
    assert_eq!(idle_s(&server(text).mirages[0]), None);
}

#[test]
fn a_file_from_windows_reads_the_same() {
    let text = SSH.replace('\n', "\r\n");
    let marked = [b"\xEF\xBB\xBF", text.as_bytes()].concat();
    let (plain, windows) = (server(SSH), server(marked));
    assert!(plain.mirages == windows.mirages);
}

#[test]
fn a_secret_runs_to_the_end_of_its_line_whatever_it_contains() {
    for (line, secret) in [
        ("secret = a # b ; c = d \t", "a # b ; c = d"),
        ("secret=#", "#"),
        ("secret = ; no comment", "; no comment"),
        ("  secret\t=\t[x]  \r", "[x]"),
        ("secret = \u{2603} snow\u{a0}", "\u{2603} snow\u{a0}"),
        ("secret = \"quoted\"", "\"quoted\""),
        ("secret = a\x07\tb", "a\x07\tb"),
    ] {
        let config = server(SSH.replace("secret = S3cret-T0ken.of-32-b1ts", line));
        let read = keyed(&config.mirages[0]).secret.as_bytes();
        assert!(read == secret.as_bytes(), "{line}");
    }
}

#[test]
fn a_client_needs_neither_service_nor_secret() {
    let config = client("[mirage-home]\nname = ssh\nrange = 1-16\nhost = nas.lan\n");
    let [known] = &config.mirages[..] else {
        panic!("there is one mirage");
    };
    assert_eq!(known.section, "home");
    assert_eq!(known.plain.name, "ssh");
    assert!(known.secret.is_none());
    let range = Range::new(1, 16).unwrap();
    assert_eq!(known.pattern.unwrap(), Pattern::new(range, 15, 60).unwrap());
    assert_eq!(known.plain.host.as_deref(), Some("nas.lan"));
}

#[test]
fn a_client_reads_a_servers_file_and_may_know_two_servers_with_the_same_ports() {
    let config = client(SSH);
    assert!(config.mirages[0].secret.as_ref() == Some(&keyed(&server(SSH).mirages[0]).secret));
    let other = SSH.replace("[mirage-ssh]", "[mirage-other]");
    let config = client(format!("{SSH}{other}"));
    assert_eq!(config.mirages.len(), 2);
    assert_eq!(config.mirages[1].section, "other");
}

#[test]
fn an_unknown_key_has_the_nearest_named() {
    each_is_wrong(&[
        ("perid = 60", "perid: unknown key; did you mean period?"),
        ("Port = 23", "Port: unknown key; did you mean port?"),
        (
            "secret_file = x",
            "secret_file: unknown key; did you mean secret-file?",
        ),
        (
            "clock = wait",
            "clock: unknown here; it belongs to [common]",
        ),
        (
            "umbrella = 1",
            "umbrella: unknown key; known are name, secret, secret-file, port, forward, range, \
             decoys, period, gate, listen, pool-port, listen-address, from, trap-time, idle-timeout, host, \
             knocks, protocols, once, sequence, close-sequence, seq-timeout, lock, lock-scope, \
             packet-address, packet-port, door, exec, open-command, close-command, open-timeout, \
             ready-timeout, open-set, open-port",
        ),
    ]);
    assert_eq!(
        errors(format!("{SSH}[common]\nport = 22\nlogs = syslog\n")),
        [
            "6: port: unknown here; it belongs to [mirage-NAME]",
            "7: logs: unknown key; did you mean log?"
        ]
    );
}

#[test]
fn what_may_be_a_secret_is_not_shown_as_a_key() {
    for line in [
        "MFRGGZDFMZTWQ2LK=",
        "hunter2 = x",
        "my secret = x",
        "a-key-of-more-than-twenty-four-letters = x",
    ] {
        let errors = errors(format!("{SSH}{line}\n"));
        assert!(errors[0].starts_with("5: unknown key; "), "{}", errors[0]);
    }
}

#[test]
fn nothing_is_given_twice() {
    each_is_wrong(&[
        ("port = 23", "port: given already at line 3"),
        ("secret = x", "secret: given already at line 2"),
    ]);
    assert_eq!(
        errors(format!("{SSH}[mirage-ssh]\nport = 23\ndecoys = 3\n")),
        [
            "5: this section is at line 1 already; its keys belong there",
            "6: port: given already at line 3"
        ]
    );
    assert_eq!(
        errors(format!("[common]\n[common]\n{SSH}")),
        ["2: this section is at line 1 already; its keys belong there"]
    );
}

#[test]
fn sections_and_lines_have_their_form() {
    let unknown = "unknown section; there are [common] and [mirage-NAME]";
    for section in ["[Common]", "[mirage]", "[mirage_ssh]", "[]", "[ common ]"] {
        let text = format!("{SSH}{section}\nwhatever = 1\n");
        assert_eq!(errors(text), [format!("5: {unknown}")], "{section}");
    }
    each_is_wrong(&[
        ("[mirage-web", "a section's line has to end with its ]"),
        ("secret", "neither a [section] nor a key = value"),
        (
            "S3cret-T0ken.of-32-b1ts",
            "neither a [section] nor a key = value",
        ),
        (
            "= S3cret-T0ken.of-32-b1ts",
            "neither a [section] nor a key = value",
        ),
    ]);
    assert_eq!(
        errors(format!("port = 22\n{SSH}")),
        ["1: port: stands before the first [section]"]
    );
}

#[test]
fn a_file_without_mirages_is_an_error() {
    let none = "1: no mirage defined: add a [mirage-NAME] section with secret, port and range";
    for text in ["", "\n\n", "[common]\nlog = syslog\n"] {
        assert_eq!(errors(text), [none]);
        assert_eq!(read_client(text).err().unwrap(), [none]);
    }
}

#[test]
fn what_is_missing_is_named_at_the_section() {
    assert_eq!(
        errors(format!("{SSH}[mirage-web]\n")),
        [
            "5: range: missing; range = LOW-HIGH, as in 10000-10999",
            "5: secret: missing; secret = TEXT, or secret-file = PATH",
            "5: port: missing; port = 22, forward = ADDRESS:PORT, or exec = COMMAND"
        ]
    );
    assert_eq!(
        read_client("\n[mirage-web]\n").err().unwrap(),
        ["2: range: missing; range = LOW-HIGH, as in 10000-10999"]
    );
}

#[test]
fn of_two_keys_for_one_thing_one_has_to_go() {
    each_is_wrong(&[
        (
            "secret-file = x",
            "secret-file: secret is given at line 2; only one of them can be",
        ),
        (
            "forward = 127.0.0.1:22",
            "forward: port is given at line 3; only one of them can be",
        ),
    ]);
    let text = SSH.replace("port = 22", "forward = 192.0.2.7:22\nport = 22");
    assert_eq!(
        errors(text),
        ["4: port: forward is given at line 3; only one of them can be"]
    );
}

#[test]
fn names_have_their_letters() {
    let letters = "a mirage's name has only letters A-Z a-z, digits and . _ - @";
    let name = |section: &str| errors(SSH.replace("[mirage-ssh]", section));
    assert_eq!(name("[mirage-]"), ["1: a mirage needs a name, such as ssh"]);
    assert_eq!(name("[mirage-my ssh]"), [format!("1: {letters}")]);
    assert_eq!(
        name("[mirage-s\u{e9}]\nname = a/b"),
        [format!("1: {letters}"), format!("2: name: {letters}")]
    );
    each_is_wrong(&[("name =", "name: has no value")]);
}

#[test]
fn values_out_of_bounds_say_the_bounds() {
    let duration = |text: &str, least: &str, most: &str| {
        format!("{text} is not a duration from {least} to {most}, such as 30s, 15m, 2h or 1d")
    };
    each_is_wrong(&[
        ("decoys = 64", "decoys: 64 is not a number from 0 to 63"),
        ("decoys = -1", "decoys: -1 is not a number from 0 to 63"),
        ("decoys = +1", "decoys: +1 is not a number from 0 to 63"),
        (
            "decoys = 99999999999",
            "decoys: 99999999999 is not a number from 0 to 63",
        ),
        (
            "period = 1",
            &format!("period: {}", duration("1", "2s", "1d")),
        ),
        (
            "period = 25h",
            &format!("period: {}", duration("25h", "2s", "1d")),
        ),
        (
            "trap-time = 0",
            &format!("trap-time: {}", duration("0", "1s", "365d")),
        ),
        (
            "trap-time = soon",
            &format!("trap-time: {}", duration("soon", "1s", "365d")),
        ),
        (
            "idle-timeout = 0",
            &format!("idle-timeout: {}, or none", duration("0", "1s", "365d")),
        ),
        (
            "from = lan",
            "from: lan is not a network, such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7",
        ),
        (
            "from = 192.0.2.0/33",
            "from: 192.0.2.0/33 has a prefix that is not 0 to 32 (IPv4) or 0 to 128 (IPv6)",
        ),
        (
            "from = 192.0.2.7/24",
            "from: 192.0.2.7/24 has bits set behind its prefix; 192.0.2.0/24 has none, nor has 192.0.2.7",
        ),
        ("from = ,", "from: has no value"),
        ("from = # nobody", "from: has no value"),
        (
            "listen-address = lan",
            "listen-address: lan is a host name, and at boot nothing resolves one; use its address",
        ),
        (
            "listen-address = 192.0.2",
            "listen-address: 192.0.2 is not an address, such as 192.0.2.7 or 2001:db8::7",
        ),
        (
            "host = a\x1Bb",
            "host: has a control character in its value",
        ),
        (
            "host = secret = S3cret-T0ken.of-32-b1ts",
            "host: has another = in its value; is a line end missing?",
        ),
    ]);
    for (port, error) in [
        ("0", "port: 0 is not a number from 1 to 65535"),
        ("65536", "port: 65536 is not a number from 1 to 65535"),
        ("ssh", "port: ssh is not a number from 1 to 65535"),
    ] {
        let text = SSH.replace("port = 22", &format!("port = {port}"));
        assert_eq!(errors(text), [format!("3: {error}")]);
    }
    for (line, error) in [
        (
            "ban-time = 366d",
            format!("ban-time: {}", duration("366d", "1s", "365d")),
        ),
        (
            "log = sylog",
            "log: is neither stderr, syslog nor the path of a file, such as /tmp/log".into(),
        ),
        (
            "log-level = verbose",
            "log-level: verbose is none of error, warn, info and debug".into(),
        ),
        (
            "state-file = off",
            "state-file: is neither none nor the path of a file, such as /tmp/state".into(),
        ),
        ("clock = ntp", "clock: ntp is neither trust nor wait".into()),
        (
            "max-sessions = 0",
            "max-sessions: 0 is not a number from 1 to 65535".into(),
        ),
        (
            "max-sessions-per-source = many",
            "max-sessions-per-source: many is not a number from 1 to 65535".into(),
        ),
    ] {
        let text = format!("[common]\n{line}\n{SSH}");
        assert_eq!(errors(&text), [format!("2: {error}")]);
        assert!(read_client(&text).is_err(), "{line}");
    }
}

#[test]
fn each_wrong_value_of_a_list_is_told() {
    let errors = errors(format!("{SSH}from = a, 192.0.2.0/24, b\n"));
    assert_eq!(errors.len(), 2);
    assert!(errors[0].starts_with("5: from: a is not a network"));
    assert!(errors[1].starts_with("5: from: b is not a network"));
}

#[test]
fn a_range_has_order_bounds_and_room() {
    let range = |text: &str| errors(SSH.replace("10000-10999", text));
    let form = "is not a range of ports from 1 to 65535, such as 10000-10999";
    for text in ["10000", "0-999", "65000-65536", "low-high"] {
        assert_eq!(range(text), [format!("4: range: {text} {form}")]);
    }
    assert_eq!(
        range("10999-10000"),
        ["4: range: 10999-10000 runs backwards; write 10000-10999"]
    );
    assert_eq!(
        range("10000-10046"),
        [
            "4: range: has 47 ports, and with 15 decoys it needs 48; fewer decoys would do too, 14 at most"
        ]
    );
    assert!(read(SSH.replace("10000-10999", "10000-10047")).is_ok());
    assert_eq!(
        read_client(SSH.replace("10000-10999", "10000-10014"))
            .err()
            .unwrap(),
        [
            "4: range: has 15 ports, and with 15 decoys it needs 16; fewer decoys would do too, 14 at most"
        ]
    );
    assert!(read_client(SSH.replace("10000-10999", "10000-10015")).is_ok());
}

#[test]
fn ranges_may_not_overlap_on_an_address_that_both_listen_on() {
    let overlap = "8: range: overlaps 10000-10999 of line 4 on an address that both listen on; \
                   each needs ports of its own";
    let web = WEB.replace("11000-11999", "10999-11999");
    assert_eq!(errors(format!("{SSH}{web}")), [overlap]);
    assert!(read(format!("{SSH}{WEB}")).is_ok());
    for (ssh_at, web_at, is_fine) in [
        ("192.0.2.1", "192.0.2.2", true),
        ("192.0.2.1", "2001:db8::1", true),
        ("0.0.0.0", "::", true),
        ("0.0.0.0", "2001:db8::1", true),
        ("192.0.2.1", "192.0.2.1", false),
        ("192.0.2.1", "192.0.2.2 192.0.2.1", false),
        ("192.0.2.1", "::ffff:192.0.2.1", false),
        ("192.0.2.1", "0.0.0.0", false),
        ("::", "2001:db8::1", false),
        ("0.0.0.0 ::", "2001:db8::1", false),
    ] {
        let ssh = SSH.replace(
            "port = 22",
            &format!("port = 22\nlisten-address = {ssh_at}"),
        );
        let text = format!("{ssh}{web}listen-address = {web_at}\n");
        assert_eq!(read(&text).is_ok(), is_fine, "{ssh_at} and {web_at}");
        // Without an address it is every address.
        assert!(read(format!("{ssh}{web}")).is_err(), "{ssh_at}");
    }
}

#[test]
fn addresses_that_a_wildcard_covers_are_not_listened_on_twice() {
    let listen = |list: &str| {
        let config = server(format!("{SSH}listen-address = {list}\n"));
        let texts = config.mirages[0].plain.listen.iter().map(IpAddr::to_string);
        texts.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        listen("192.0.2.1 0.0.0.0 2001:db8::1"),
        "0.0.0.0 2001:db8::1"
    );
    assert_eq!(listen("2001:db8::1, ::, 192.0.2.1"), ":: 192.0.2.1");
    assert_eq!(listen("0.0.0.0 ::"), "0.0.0.0 ::");
}

#[test]
fn a_range_may_not_hold_the_services_own_port_on_this_host() {
    let own = "4: range: holds 10022, the hidden service's own port on this host; \
               choose another range";
    let service = |lines: &str| read(SSH.replace("port = 22", lines)).err();
    assert_eq!(service("port = 10022").unwrap(), [own]);
    for address in [
        "127.0.0.1",
        "127.1.2.3",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
    ] {
        let lines = format!("forward = {address}:10022");
        assert_eq!(service(&lines).unwrap(), [own], "{address}");
    }
    let listens_there = "listen-address = 192.0.2.9\nforward = 192.0.2.9:10022";
    assert_eq!(service(listens_there).unwrap(), [own.replace("4:", "5:")]);
    // 192.0.2.0/24 is for documentation: no host has it.
    assert!(service("forward = 192.0.2.9:10022").is_none());
    assert!(service("port = 9999").is_none());
    assert!(read_client(SSH.replace("port = 22", "port = 10022")).is_ok());
}

#[test]
fn a_trap_at_gate_token_outlasts_the_last_token() {
    assert_eq!(
        errors(format!("{SSH}gate = token\ntrap-time = 3s\n")),
        ["6: trap-time: 3s is too short for gate = token, where a trap holds for 4s at least"]
    );
    assert!(read(format!("{SSH}gate = token\ntrap-time = 4s\n")).is_ok());
    assert!(read(format!("{SSH}trap-time = 1s\n")).is_ok());
    each_is_wrong(&[(
        "gate = door",
        "gate: door is none of port, token, knock, packet",
    )]);
}

/// A listener there would take its place, as would the firewall's rule for a pool.
#[test]
fn no_mirage_may_hold_the_port_of_anothers_service() {
    let web = "[mirage-web]\nsecret = b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai\nrange = 20000-20999\n";
    for (port, lines, wrong) in [
        (
            20_500,
            "",
            "range: holds 20500, the own port of [mirage-ssh]'s hidden service on this host; \
             choose another range",
        ),
        (
            19_999,
            "listen = pool\n",
            "pool-port: 19999 is the own port of [mirage-ssh]'s hidden service on this host; \
             choose another port",
        ),
    ] {
        let ssh = SSH.replace("port = 22", &format!("port = {port}"));
        let web = format!("{web}port = 80\n{lines}");
        for text in [format!("{ssh}{web}"), format!("{web}{ssh}")] {
            let errors = errors(text);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].ends_with(wrong), "{errors:?}");
        }
        // What runs elsewhere is in nobody's way.
        let ssh = SSH.replace("port = 22", &format!("forward = 192.0.2.9:{port}"));
        assert!(read(format!("{ssh}{web}")).is_ok());
    }
}

#[test]
fn a_pool_has_a_port_of_its_own_outside_all_ranges() {
    let port = |text: &str| server(text).mirages[0].pool_port;
    let pool = format!("{SSH}listen = pool\n");
    assert_eq!(port(&pool), Some(9_999));
    assert_eq!(port(&format!("{pool}pool-port = 9\n")), Some(9));
    assert_eq!(port(&format!("{SSH}listen = ports\n")), None);
    each_is_wrong(&[
        ("listen = all", "listen: all is neither ports nor pool"),
        (
            "pool-port = 9",
            "pool-port: only a pool has one; listen = pool makes one",
        ),
    ]);
    let wrong = |lines: &str| errors(format!("{pool}{lines}\n"));
    assert_eq!(
        wrong("pool-port = 10500"),
        ["6: pool-port: 10500 lies in the mirage's own range, and must not"]
    );
    assert_eq!(
        wrong("pool-port = 22"),
        ["6: pool-port: 22 is the hidden service's own port on this host; choose another port"]
    );
    let lowest = pool
        .replace("10000-10999", "1-999")
        .replace("= 22", "= 2222");
    assert_eq!(
        errors(&lowest),
        ["5: pool-port: missing; below a range that begins with 1 there is no port"]
    );
    // WEB's range begins where that of SSH ends, and so its pool's port lies there.
    assert_eq!(
        errors(format!("{SSH}{WEB}listen = pool\n")),
        ["9: pool-port: 10999 lies in the range of line 4, on an address that both listen on"]
    );
    let apart = "listen-address = 192.0.2.1\n";
    let elsewhere = "listen-address = 192.0.2.2\nlisten = pool\n";
    assert!(read(format!("{SSH}{apart}{WEB}{elsewhere}")).is_ok());
    assert_eq!(
        errors(format!("{pool}{WEB}listen = pool\npool-port = 9999\n")),
        ["11: pool-port: 9999 is that of line 5; each pool needs its own"]
    );
}

#[test]
fn one_token_must_not_do_for_two_mirages() {
    let token = "gate = token\n";
    let other = WEB.replace("[mirage-web]", "[mirage-web]\nname = ssh");
    assert_eq!(
        errors(format!("{SSH}{token}{other}{token}")),
        [
            "6: has the name and the secret of line 1, so a token for one would do for the other; \
          give each its own"
        ]
    );
    assert!(read(format!("{SSH}{token}{other}")).is_ok());
    assert!(read(format!("{SSH}{token}{WEB}{token}")).is_ok());
}

#[test]
fn an_address_of_this_host_is_found_by_asking_the_kernel() {
    // To connect a datagram socket sends nothing, and tells which address of ours it would come from.
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    if let Ok(own) = own {
        let text = SSH.replace("port = 22", &format!("forward = {}:10022", own.ip()));
        assert_eq!(errors(text).len(), 1);
    }
}

#[test]
fn a_host_name_says_why_it_is_refused() {
    let text = SSH.replace("port = 22", "forward = nas.lan:22");
    assert_eq!(
        errors(text),
        ["3: forward: nas.lan is a host name, and at boot nothing resolves one; use its address"]
    );
}

#[test]
fn an_empty_secret_and_one_with_nul_are_refused() {
    let secret = |value: &str| errors(SSH.replace(SECRET, value));
    assert_eq!(
        secret(" \t"),
        ["2: secret: the secret is empty; `shimmer keygen` makes one"]
    );
    assert_eq!(
        secret("S3cret\0"),
        ["2: secret: the secret has a NUL byte; any other byte is fine"]
    );
}

#[test]
fn bytes_that_are_not_utf8_are_told_at_their_line_and_nothing_follows_from_them() {
    let utf8 = "has bytes that are not UTF-8; save the file as UTF-8";
    let text = b"[mirage-ssh]\nsecret = T\xF6ken\n# f\xFCr ssh\nport = 22\nrange = 10000-10999\n";
    assert_eq!(
        errors(text),
        [format!("2: secret: {utf8}"), format!("3: {utf8}")]
    );
    assert_eq!(
        errors([b"[mirage-\xFC]\nport = 22\n", SSH.as_bytes()].concat()),
        [format!("1: {utf8}")]
    );
}

#[test]
fn all_errors_come_at_once_and_by_line() {
    let text = "[mirage-ssh]
secret =
prot = 22
range = 10999-10000
decoys = 99
[common]
log-level = loud
";
    assert_eq!(
        errors(text),
        [
            "1: port: missing; port = 22, forward = ADDRESS:PORT, or exec = COMMAND",
            "2: secret: the secret is empty; `shimmer keygen` makes one",
            "3: prot: unknown key; did you mean port?",
            "4: range: 10999-10000 runs backwards; write 10000-10999",
            "5: decoys: 99 is not a number from 0 to 63",
            "7: log-level: loud is none of error, warn, info and debug",
        ]
    );
    let all = load::server(
        Path::new("/etc/shimmer.conf"),
        text.as_bytes(),
        Side::Server,
    )
    .err();
    let all = all.unwrap().to_string();
    assert_eq!(all.lines().count(), 6);
    assert!(
        all.lines()
            .all(|line| line.starts_with("/etc/shimmer.conf:"))
    );
    assert!(!all.ends_with('\n'));
}

#[test]
fn a_secret_file_is_read_beside_the_configuration() {
    let scratch = Scratch::new("secret-file");
    scratch.write("ssh.secret", "a secret # with = signs \r\nand a note\0");
    let text = SSH.replace(
        "secret = S3cret-T0ken.of-32-b1ts",
        "secret-file = ssh.secret # here",
    );
    let path = scratch.write("shimmer.conf", &text);
    let config = Server::load(&path).ok().unwrap();
    assert!(keyed(&config.mirages[0]).secret.as_bytes() == b"a secret # with = signs ");
    assert!(config.warnings.is_empty());

    let absolute = scratch.0.join("ssh.secret");
    let text = text.replace("ssh.secret", &absolute.display().to_string());
    let config = Client::parse(Path::new("elsewhere.conf"), text.as_bytes())
        .ok()
        .unwrap();
    assert!(config.mirages[0].secret.as_ref().unwrap().as_bytes() == b"a secret # with = signs ");
}

#[test]
fn an_unusable_secret_file_is_told_at_its_key() {
    let scratch = Scratch::new("unusable");
    scratch.write("empty", "\nsecond line\n");
    scratch.write("nul", "a\0b");
    scratch.write("long", vec![b'x'; CONFIG_BYTES as usize + 1]);
    let error = |file: &str| {
        let text = SSH.replace(
            "secret = S3cret-T0ken.of-32-b1ts",
            &format!("secret-file = {file}"),
        );
        let path = scratch.0.join("shimmer.conf");
        let error = load::server(&path, text.as_bytes(), Side::Server)
            .err()
            .unwrap()
            .to_string();
        let start = format!(
            "{}:2: secret-file: {}: ",
            path.display(),
            scratch.0.join(file).display()
        );
        error.strip_prefix(&start).unwrap_or(&error).to_owned()
    };
    assert_eq!(
        error("empty"),
        "the secret is empty; `shimmer keygen` makes one"
    );
    assert_eq!(
        error("nul"),
        "the secret has a NUL byte; any other byte is fine"
    );
    assert_eq!(error("long"), "longer than 1048576 bytes");
    let missing = fs::File::open(scratch.0.join("missing")).unwrap_err();
    assert_eq!(error("missing"), missing.to_string());
}

#[test]
fn a_tilde_is_the_home_directory() {
    let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) else {
        return;
    };
    let text = SSH.replace(
        "secret = S3cret-T0ken.of-32-b1ts",
        "secret-file = ~/no-such-file",
    );
    let path = Path::new(&home).join("no-such-file");
    let start = format!("2: secret-file: {}: ", path.display());
    let errors = errors(text);
    assert!(errors[0].starts_with(&start), "{}", errors[0]);
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_its_path_and_the_systems_reason() {
    let scratch = Scratch::new("unreadable");
    let path = scratch.0.join("missing.conf");
    let reason = fs::File::open(&path).unwrap_err();
    let expected = format!("{}: {reason}", path.display());
    assert_eq!(Server::load(&path).err().unwrap().to_string(), expected);
    assert_eq!(Client::load(&path).err().unwrap().to_string(), expected);

    let path = scratch.write("long.conf", vec![b'\n'; CONFIG_BYTES as usize + 1]);
    let expected = format!("{}: longer than 1048576 bytes", path.display());
    assert_eq!(Server::load(&path).err().unwrap().to_string(), expected);
    let path = scratch.write("full.conf", {
        let mut text = SSH.to_owned();
        text.extend(std::iter::repeat_n('\n', CONFIG_BYTES as usize - SSH.len()));
        text
    });
    assert!(Server::load(&path).is_ok());
}

#[test]
fn a_weak_secret_is_a_warning() {
    let weak = "t.conf:2: secret: the secret looks weak; `shimmer keygen` makes a strong one";
    let text = SSH.replace(SECRET, "password");
    let warnings = |warnings: &[Diagnostic]| {
        let texts = warnings.iter().map(Diagnostic::to_string);
        texts.collect::<Vec<_>>()
    };
    assert_eq!(warnings(&server(&text).warnings), [weak]);
    assert_eq!(warnings(&client(&text).warnings), [weak]);
    assert!(server(SSH).warnings.is_empty());
}

#[cfg(unix)]
#[test]
fn files_with_secrets_that_others_may_read_are_a_warning() {
    let scratch = Scratch::new("modes");
    let warnings = |path: &Path| {
        let warnings = Server::load(path).ok().unwrap().warnings;
        warnings
            .iter()
            .map(Diagnostic::to_string)
            .collect::<Vec<_>>()
    };
    let config = scratch.write("shimmer.conf", format!("{SSH}{WEB}"));
    assert!(warnings(&config).is_empty());
    set_mode(&config, 0o640);
    let name = config.display();
    assert_eq!(
        warnings(&config),
        [format!(
            "{name}:2: secret: others may read {name}, which holds a secret; chmod 600 {name}"
        )]
    );

    let file = scratch.write("file", SECRET);
    let text = SSH.replace("secret = S3cret-T0ken.of-32-b1ts", "secret-file = file");
    let config = scratch.write("other.conf", text);
    set_mode(&config, 0o644);
    assert!(warnings(&config).is_empty(), "it holds no secret itself");
    set_mode(&file, 0o604);
    let (name, file) = (config.display(), file.display());
    assert_eq!(
        warnings(&config),
        [format!(
            "{name}:2: secret-file: others may read {file}, which holds a secret; chmod 600 {file}"
        )]
    );
}

#[test]
fn a_range_with_the_kernels_outgoing_ports_is_a_warning_to_the_daemon_alone() {
    let text = SSH.replace("10000-10999", "1024-65535");
    assert!(client(&text).warnings.is_empty());
    if let Some((outgoing, reserved)) = outgoing::of_the_kernel()
        && outgoing::has_unreserved(Range::new(1_024, 65_535).unwrap(), outgoing, &reserved)
    {
        let warnings = server(text).warnings;
        let warning = warnings[0].to_string();
        assert!(
            warning.starts_with("t.conf:4: range: the kernel uses "),
            "{warning}"
        );
        let command = "sysctl -w net.ipv4.ip_local_reserved_ports=";
        assert!(warning.contains(command), "{warning}");
        assert!(warning.contains("1024-65535"), "{warning}");
    }
}

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
    let server = load::server(path, text, Side::Server);
    let client = Client::parse(path, text);
    let server = server.map_or_else(|errors| errors.to_string(), |read| warnings(read.warnings));
    let client = client.map_or_else(|errors| errors.to_string(), |read| warnings(read.warnings));
    let common = load::server(path, text, Side::Control);
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
