//! Gates and doors: what each needs, and what belongs to another.

use super::*;
use crate::proto::gates::{GateSettings, HopList};
use crate::proto::scheme::knock::{Protocols, Scope};
use crate::proto::scheme::packet::Admits;
use crate::proto::scheme::schedule::Range;
use crate::terms::Door;

const KEYED: &str = "[mirage-home]\nsecret = S3cret-T0ken.of-32-b1ts\nrange = 10000-10999\n";

fn mirage(text: &str) -> ServerMirage {
    server(text).mirages.remove(0)
}

#[test]
fn a_silent_gate_has_no_traps_and_lets_in_for_half_a_minute() {
    for gate in ["knock", "packet"] {
        let home = mirage(&format!("{KEYED}port = 22\ngate = {gate}\n"));
        assert_eq!(pattern(&home).decoys(), 0);
        assert_eq!(home.settings.admitted_s, 30);
        assert!(home.settings.gate().is_silent() && home.settings.listens());
        let named = mirage(&format!(
            "{KEYED}port = 22\ngate = {gate}\nopen-timeout = 2m\n"
        ));
        assert_eq!(named.settings.admitted_s, 120);
    }
}

#[test]
fn a_service_elsewhere_or_of_ipv6_has_no_client_address_of_its_own() {
    let text = |forward: &str, line: &str| format!("{KEYED}forward = {forward}\n{line}\n");
    for (forward, word, warnings) in [
        ("127.0.0.1:22", "loopback", 0),
        ("127.3.2.1:22", "loopback", 0),
        ("[::ffff:127.0.0.1]:22", "loopback", 0),
        ("192.0.2.9:22", "plain", 0),
        ("[::1]:22", "plain", 0),
        ("[2001:db8::9]:22", "proxy-v1", 0),
        ("192.0.2.9:22", "proxy-v2", 0),
    ] {
        let config = server(text(forward, &format!("client-address = {word}")));
        assert_eq!(config.warnings.len(), warnings, "{forward} {word}");
    }
    let none = server(text("192.0.2.9:22", ""));
    assert!(none.warnings.is_empty());
    assert_eq!(none.mirages[0].settings.plain.client_address, None);

    let warned = server(text("[::1]:22", "")).warnings;
    let warned: Vec<String> = warned.iter().map(ToString::to_string).collect();
    let expected = "t.conf:4: forward: an IPv6 service sees one address for all visitors, so one \
                    who fails can shut the others out; use an IPv4 address of it, or exec";
    assert_eq!(warned, [expected]);

    for (forward, wrong) in [
        (
            "[::1]:2222",
            "loopback needs an IPv4 service, such as forward = 127.0.0.1:2222; write plain, \
             proxy-v1 or proxy-v2, or use exec",
        ),
        (
            "192.0.2.9:22",
            "loopback needs a service on this machine, and 192.0.2.9 is not an address of it; \
             write plain, proxy-v1 or proxy-v2",
        ),
        (
            "0.0.0.0:22",
            "loopback needs a service on this machine, and 0.0.0.0 is not an address of it; \
             write plain, proxy-v1 or proxy-v2",
        ),
    ] {
        let text = text(forward, "client-address = loopback");
        assert_eq!(errors(&text), [format!("5: client-address: {wrong}")]);
    }
}

#[test]
fn who_dials_nobody_has_no_client_address() {
    let wrong = "client-address: has no effect here; it is for door = forward with port or forward";
    for door in [
        "exec = /bin/cat",
        "door = command\nopen-command = /bin/open",
        "door = nft\nopen-set = ip/t/s",
    ] {
        for word in ["loopback", "plain", "proxy-v1", "proxy-v2"] {
            let text = format!("{KEYED}client-address = {word}\n{door}\n");
            assert_eq!(errors(&text), [format!("4: {wrong}")], "{door} {word}");
        }
    }
    let text = format!("{KEYED}port = 22\nclient-address = proxy\n");
    let wrong = "proxy is not one of loopback, plain, proxy-v1, proxy-v2";
    assert_eq!(errors(&text), [format!("5: client-address: {wrong}")]);
}

#[test]
fn a_rotating_sequence_has_its_keys() {
    let GateSettings::Knock(knock) = mirage(&format!("{KEYED}port = 22\ngate = knock\n"))
        .settings
        .gate_settings
    else {
        panic!("it is a knock");
    };
    assert_eq!((knock.knocks, knock.protocols), (3, Protocols::Tcp));
    assert!(!knock.is_fixed() && !knock.rules.is_once && knock.rules.lock.is_none());
    assert_eq!(knock.rules.timeout_ms, 15_000);

    let text = "gate = knock\nknocks = 6\nprotocols = mixed\nonce = yes\nseq-timeout = 20\n\
                lock = 5m\nlock-scope = all\n";
    let GateSettings::Knock(knock) = mirage(&format!("{KEYED}port = 22\n{text}"))
        .settings
        .gate_settings
    else {
        panic!("it is a knock");
    };
    assert_eq!((knock.knocks, knock.protocols), (6, Protocols::Mixed));
    let lock = knock.rules.lock.unwrap();
    assert_eq!((lock.ms, lock.scope), (300_000, Scope::All));
    assert!(knock.rules.is_once && knock.rules.timeout_ms == 20_000);
}

#[test]
fn who_knocks_again_in_the_second_half_of_his_time_is_no_echo() {
    for (text, echo_ms) in [
        ("", 4_000),
        ("open-timeout = 9\n", 4_000),
        ("open-timeout = 3\n", 1_500),
        // There it is the service's time.
        ("open-timeout = 3\nopen-command = /bin/true\n", 4_000),
    ] {
        let GateSettings::Knock(knock) = mirage(&format!("{KEYED}port = 22\ngate = knock\n{text}"))
            .settings
            .gate_settings
        else {
            panic!("it is a knock");
        };
        assert_eq!(knock.rules.echo_ms, echo_ms, "{text}");
    }
}

#[test]
fn a_fixed_sequence_needs_neither_secret_nor_range() {
    let text = "[mirage-opencloseSSH]\ngate = knock\nsequence = 7000:tcp,8000:udp,9000\n\
                close-sequence = 9000 8000:udp 7000\ndoor = command\n\
                open-command = /usr/sbin/nft add element inet filter ssh { %IP% }\n";
    let home = mirage(text);
    assert!(home.secret.is_none() && !home.settings.listens() && home.bound().is_none());
    let GateSettings::Knock(knock) = home.settings.gate_settings else {
        panic!("it is a knock");
    };
    assert_eq!(
        HopList(&knock.sequence).to_string(),
        "7000:tcp,8000:udp,9000:tcp"
    );
    assert_eq!(knock.close_sequence.len(), 3);
    let with_range = format!("{text}range = 59000-59010\n");
    let GateSettings::Knock(knock) = mirage(&with_range).settings.gate_settings else {
        panic!("it is a knock");
    };
    assert_eq!(knock.rules.range, Range::new(59_000, 59_010));
    assert!(client(text).mirages[0].pattern.is_none());
}

#[test]
fn a_datagram_has_its_keys() {
    let text = format!("{KEYED}port = 22\ngate = packet\n");
    let GateSettings::Packet(packet) = mirage(&text).settings.gate_settings else {
        panic!("it is a datagram");
    };
    assert_eq!((packet.address, packet.port), (Admits::Any, None));
    let text = format!("{text}packet-address = inside\npacket-port = 62201\n");
    let GateSettings::Packet(packet) = mirage(&text).settings.gate_settings else {
        panic!("it is a datagram");
    };
    assert_eq!(
        (packet.address, packet.port),
        (Admits::Inside, Some(62_201))
    );
}

#[test]
fn a_service_on_demand_has_its_own_time() {
    let text = format!(
        "{KEYED}port = 2222\nopen-command = /usr/sbin/sshd -p 2222\n\
         close-command = /usr/bin/pkill -F /run/sshd.pid\n"
    );
    let home = mirage(&text);
    let service = home.settings.forward().unwrap().on_demand.as_ref().unwrap();
    assert_eq!((home.settings.plain.ready_s, service.idle_s), (10, 3_600));
    assert_eq!(home.commands().count(), 2);
    let home = mirage(&format!(
        "{text}gate = packet\nopen-timeout = 5m\nready-timeout = 3\n"
    ));
    let service = home.settings.forward().unwrap().on_demand.as_ref().unwrap();
    assert_eq!((home.settings.plain.ready_s, service.idle_s), (3, 300));
    assert_eq!(home.settings.admitted_s, 30);
}

#[test]
fn a_process_or_a_set_takes_the_place_of_a_service() {
    let home = mirage(&format!("{KEYED}exec = /usr/sbin/sshd -i -o UsePAM=no\n"));
    assert!(matches!(
        home.settings.forward().unwrap().to,
        Service::Exec(_)
    ));
    let home = mirage(&format!(
        "{KEYED}gate = token\ndoor = nft\nopen-set = inet/filter/home\nopen-port = 22\n"
    ));
    assert!(matches!(
        home.settings.door,
        Door::Nft { port: Some(22), .. }
    ));
    assert_eq!(home.settings.admitted_s, 30);
}

/// What follows [`KEYED`], with its first line 4, and where it is wrong.
#[test]
fn what_belongs_elsewhere_or_is_missing_says_so() {
    for (text, wrong) in [
        (
            "port = 22\nknocks = 3\n",
            &["5: knocks: has no effect here; it is for gate = knock without a sequence"][..],
        ),
        (
            "port = 22\nlock = 5m\n",
            &["5: lock: has no effect here; it is for gate = knock"],
        ),
        (
            "port = 22\npacket-port = 5\n",
            &["5: packet-port: has no effect here; it is for gate = packet"],
        ),
        (
            "port = 22\ngate = packet\ndecoys = 3\ntrap-time = 5\nlisten = pool\n",
            &[
                "6: decoys: has no effect here; it is for gate = port or token",
                "7: trap-time: has no effect here; it is for gate = port or token",
                "8: listen: has no effect here; it is for gate = port or token",
            ],
        ),
        (
            "port = 22\nopen-timeout = 5\n",
            &[
                "5: open-timeout: has no effect here; it is for silent gates, door = command or nft, \
                 and services on demand",
            ],
        ),
        (
            "port = 22\nready-timeout = 5\n",
            &[
                "5: ready-timeout: has no effect here; it is for services on demand, which have an open-command",
            ],
        ),
        (
            "door = command\nopen-command = /bin/true\nport = 22\n",
            &["6: port: has no effect here; it is for door = forward"],
        ),
        (
            "door = nft\nopen-set = inet/a/b\nopen-command = /bin/true\n",
            &[
                "6: open-command: has no effect here; it is for door = command, and for services \
                 on demand",
            ],
        ),
        (
            "door = command\n",
            &["1: open-command: missing; add open-command = COMMAND, which may contain %IP%"],
        ),
        (
            "door = nft\n",
            &["1: open-set: missing; add open-set = inet/TABLE/SET"],
        ),
        (
            "port = 22\nclose-command = /bin/true\n",
            &["5: close-command: there is nothing to close without open-command"],
        ),
        (
            "exec = /bin/cat\nopen-command = /bin/true\n",
            &["5: open-command: is not needed with exec, which is started for each visitor"],
        ),
        (
            "exec = /bin/cat\nport = 22\n",
            &["5: port: exec is given at line 4; use only one of them"],
        ),
        (
            "door = command\nopen-command = /bin/echo %IPP%\n",
            &["5: open-command: %IPP% is not one of %IP%, %FAMILY%, %MIRAGE%"],
        ),
        (
            "port = 22\ngate = knock\nsequence = 7000,x\n",
            &[
                "6: sequence: x is no port from 1 to 65535, with :tcp or :udp behind it, such as \
                 7000:tcp",
            ],
        ),
        (
            "gate = knock\nsequence = 7000,8000\ndoor = command\nopen-command = /bin/true\n",
            &[
                "2: secret: has no effect here; it is for gates that use a secret, which a \
                 fixed sequence does not",
            ],
        ),
    ] {
        assert_eq!(errors(format!("{KEYED}{text}")), wrong, "{text}");
    }
}

#[test]
fn without_a_state_file_nothing_is_opened_that_has_to_be_closed() {
    let text = format!(
        "[common]\nstate-file = none\n{KEYED}door = command\nopen-command = /bin/true\n\
         close-command = /bin/true\n"
    );
    assert_eq!(
        errors(text),
        [
            "8: close-command: needs a state file, so that what is open is closed after a \
             crash; remove state-file = none"
        ]
    );
}

#[test]
fn without_a_state_file_tokens_and_datagrams_need_short_windows() {
    for gate in ["token", "packet"] {
        let text = |period| {
            let rest = format!("{KEYED}port = 22\ngate = {gate}\nperiod = {period}\n");
            format!("[common]\nstate-file = none\n{rest}")
        };
        assert_eq!(
            errors(text("11m")),
            [
                "8: period: 660s is too long without a state file, which knows the used tokens: \
                 after each restart nobody would get in for two windows; remove state-file = none, \
                 or use 600s at most"
            ]
        );
        assert!(server(text("10m")).warnings.is_empty());
    }
    let port = format!("[common]\nstate-file = none\n{KEYED}port = 22\nperiod = 1d\n");
    assert!(server(port).warnings.is_empty());
}

#[test]
fn a_window_so_long_that_a_member_fills_the_memory_is_a_warning() {
    let config = |gate, period| {
        server(format!(
            "{KEYED}port = 22\ngate = {gate}\nperiod = {period}\n"
        ))
    };
    for gate in ["token", "packet"] {
        let warnings = config(gate, "1d").warnings;
        let expected = "t.conf:6: period: 86400s is so long that a member can fill their share of \
                        the memory: one source can get in 512 times in three windows; use 10200s \
                        at most";
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].to_string(), expected);
        assert!(config(gate, "10200s").warnings.is_empty());
    }
    assert!(config("port", "1d").warnings.is_empty());
}

#[test]
fn a_lock_warns_that_anybody_can_turn_it() {
    for (scope, whom) in [("", "you"), ("lock-scope = all\n", "everybody")] {
        let config = server(format!(
            "{KEYED}port = 22\ngate = knock\nlock = 5m\n{scope}"
        ));
        let warning =
            format!("t.conf:6: lock: whoever forges an address can lock {whom} out with it");
        assert!(
            config
                .warnings
                .iter()
                .any(|told| told.to_string() == warning)
        );
    }
}

#[test]
fn a_close_sequence_that_begins_where_the_other_ends_warns() {
    let warnings = |close: &str| {
        let config = server(format!(
            "[mirage-b]\ngate = knock\nsequence = 7000,8000:udp\n{close}\
             door = nft\nopen-set = inet/t/s\nopen-port = 22\n"
        ));
        config
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let nothing: Vec<String> = Vec::new();
    assert_eq!(
        warnings("close-sequence = 8000:udp,7000\n"),
        [
            "t.conf:4: close-sequence: starts with the last knock of sequence, which is sent \
             twice; start with another port"
        ]
    );
    for close in [
        "",
        "close-sequence = 8000,7000\n",
        "close-sequence = 7000\n",
    ] {
        assert_eq!(warnings(close), nothing, "{close}");
    }
}

#[test]
fn who_knocks_is_led_into_no_trap_and_one_datagram_opens_one_mirage() {
    let fixed = "[mirage-b]\ngate = knock\nsequence = 10005,7000\ndoor = command\n\
                 open-command = /bin/true\n";
    assert_eq!(
        errors(format!("{SSH}{fixed}")),
        [
            "7: sequence: 10005 is in the range at line 4, so knocking there gets an address banned; choose another port"
        ]
    );
    let packet = format!("{KEYED}gate = packet\nport = 22\n");
    let other = packet
        .replace("[mirage-home]", "[mirage-b]\nname = home")
        .replace("10000-10999", "11000-11999");
    assert_eq!(
        errors(format!("{packet}{other}")),
        [
            "6: has the same name and secret as line 1, so a datagram for one also opens the \
          other; give each its own"
        ]
    );
}
