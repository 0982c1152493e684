//! Values that are wrong by themselves, and what is said of them.

use super::*;

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
            "from: 192.0.2.7/24 has bits set behind its prefix; write 192.0.2.0/24 or 192.0.2.7, for example",
        ),
        ("from = ,", "from: has no value"),
        ("from = # nobody", "from: has no value"),
        (
            "listen-address = lan",
            "listen-address: lan is a host name, which can't be resolved at boot; use its address",
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
            "host: has a second = in its value; perhaps a line break is missing",
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
            "log-level: verbose is not one of error, warn, info, debug".into(),
        ),
        (
            "state-file = off",
            "state-file: is neither none nor the path of a file, such as /tmp/state".into(),
        ),
        ("clock = ntp", "clock: ntp is not one of trust, wait".into()),
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
            "4: range: has 47 ports, but needs 48 with 15 decoys; make it larger, or use at most 14 decoys"
        ]
    );
    assert!(read(SSH.replace("10000-10999", "10000-10047")).is_ok());
    assert_eq!(
        read_client(SSH.replace("10000-10999", "10000-10014"))
            .err()
            .unwrap(),
        [
            "4: range: has 15 ports, but needs 16 with 15 decoys; make it larger, or use at most 14 decoys"
        ]
    );
    assert!(read_client(SSH.replace("10000-10999", "10000-10015")).is_ok());
}

#[test]
fn a_trap_at_gate_token_outlasts_the_last_token() {
    assert_eq!(
        errors(format!("{SSH}gate = token\ntrap-time = 3s\n")),
        ["6: trap-time: 3s is too short; gate = token needs at least 4s"]
    );
    assert!(read(format!("{SSH}gate = token\ntrap-time = 4s\n")).is_ok());
    assert!(read(format!("{SSH}trap-time = 1s\n")).is_ok());
    each_is_wrong(&[(
        "gate = door",
        "gate: door is not one of port, token, knock, packet",
    )]);
}

#[test]
fn a_host_name_says_why_it_is_refused() {
    let text = SSH.replace("port = 22", "forward = nas.lan:22");
    assert_eq!(
        errors(text),
        ["3: forward: nas.lan is a host name, which can't be resolved at boot; use its address"]
    );
}
