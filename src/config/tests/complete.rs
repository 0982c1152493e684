//! What a file without errors configures.

use super::*;
use crate::proto::gates::Gate;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::source::Network;
use crate::terms::{ClockTrust, Level};
use core::net::IpAddr;

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
    assert_eq!(&*mirage.settings.section, "ssh");
    assert_eq!(mirage.settings.plain.name, "ssh");
    assert!(secret(mirage).as_bytes() == SECRET.as_bytes());
    let range = Range::new(10_000, 10_999).unwrap();
    assert_eq!(pattern(mirage), Pattern::new(range, 15, 60).unwrap());
    assert_eq!(service(mirage), "127.0.0.1:22".parse().unwrap());
    assert!(mirage.settings.plain.listen.is_empty());
    assert!(mirage.settings.plain.from.is_empty());
    assert_eq!(mirage.settings.plain.trap_s, 30);
    assert_eq!(idle_s(mirage), None);
    assert_eq!(mirage.settings.plain.host, None);
    assert_eq!(mirage.settings.gate(), Gate::Port);
    assert_eq!(mirage.settings.pool_port, None);
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
        sandbox = no
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
            sandbox: false,
            max_sessions_per_source: 5,
        }
    );
    let mirage = &config.mirages[0];
    assert_eq!(&*mirage.settings.section, "home");
    assert_eq!(mirage.settings.plain.name, "ssh@home.example.org");
    assert_eq!(service(mirage), "[2001:db8::7]:2222".parse().unwrap());
    let range = Range::new(20_000, 20_999).unwrap();
    assert_eq!(pattern(mirage), Pattern::new(range, 7, 120).unwrap());
    let listen: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(mirage.settings.plain.listen, listen);
    assert_eq!(mirage.settings.plain.from, [network("192.0.2.0/24")]);
    assert_eq!(mirage.settings.plain.trap_s, 90);
    assert_eq!(idle_s(mirage), Some(7_200));
    assert_eq!(
        mirage.settings.plain.host.as_deref(),
        Some("home.example.org")
    );
    assert_eq!(mirage.settings.gate(), Gate::Token);
    assert_eq!(mirage.settings.pool_port, Some(19_000));
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
        let server = load::server(Path::new("t.conf"), text.as_bytes(), Purpose::Control);
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
        let read = super::secret(&config.mirages[0]).as_bytes();
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
    assert!(config.mirages[0].secret.as_ref() == Some(secret(&server(SSH).mirages[0])));
    let other = SSH.replace("[mirage-ssh]", "[mirage-other]");
    let config = client(format!("{SSH}{other}"));
    assert_eq!(config.mirages.len(), 2);
    assert_eq!(config.mirages[1].section, "other");
}
