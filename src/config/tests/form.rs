//! Sections and keys: unknown, missing, given twice, or not to be read at all.

use super::*;

#[test]
fn an_unknown_key_has_the_nearest_named() {
    each_is_wrong(&[
        ("perid = 60", "perid: unknown key; did you mean period?"),
        ("Port = 23", "Port: unknown key; did you mean port?"),
        (
            "secret_file = x",
            "secret_file: unknown key; did you mean secret-file?",
        ),
        ("clock = wait", "clock: belongs to [common]"),
        (
            "umbrella = 1",
            "umbrella: unknown key; use one of name, secret, secret-file, port, forward, range, \
             decoys, period, gate, listen, pool-port, listen-address, from, trap-time, idle-timeout, \
             max-sessions, client-address, host, knocks, protocols, once, sequence, close-sequence, seq-timeout, lock, lock-scope, \
             packet-address, packet-port, door, exec, open-command, close-command, open-timeout, \
             ready-timeout, open-set, open-port",
        ),
    ]);
    assert_eq!(
        errors(format!("{SSH}[common]\nport = 22\nlogs = syslog\n")),
        [
            "6: port: belongs to [mirage-NAME]",
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
        ("port = 23", "port: already given at line 3"),
        ("secret = x", "secret: already given at line 2"),
    ]);
    assert_eq!(
        errors(format!("{SSH}[mirage-ssh]\nport = 23\ndecoys = 3\n")),
        [
            "5: repeats the section at line 1; put its keys there",
            "6: port: already given at line 3"
        ]
    );
    assert_eq!(
        errors(format!("[common]\n[common]\n{SSH}")),
        ["2: repeats the section at line 1; put its keys there"]
    );
}

#[test]
fn sections_and_lines_have_their_form() {
    let unknown = "unknown section; use [common] or [mirage-NAME]";
    for section in ["[Common]", "[mirage]", "[mirage_ssh]", "[]", "[ common ]"] {
        let text = format!("{SSH}{section}\nwhatever = 1\n");
        assert_eq!(errors(text), [format!("5: {unknown}")], "{section}");
    }
    each_is_wrong(&[
        ("[mirage-web", "a section must end with ], as in [common]"),
        ("secret", "is neither a [section] nor key = value"),
        (
            "S3cret-T0ken.of-32-b1ts",
            "is neither a [section] nor key = value",
        ),
        (
            "= S3cret-T0ken.of-32-b1ts",
            "is neither a [section] nor key = value",
        ),
    ]);
    assert_eq!(
        errors(format!("port = 22\n{SSH}")),
        ["1: port: comes before the first [section]"]
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
            "5: range: missing; add range = LOW-HIGH, such as 10000-10999",
            "5: secret: missing; add secret = TEXT or secret-file = PATH",
            "5: port: missing; add port = 22, forward = ADDRESS:PORT or exec = COMMAND"
        ]
    );
    assert_eq!(
        read_client("\n[mirage-web]\n").err().unwrap(),
        ["2: range: missing; add range = LOW-HIGH, such as 10000-10999"]
    );
}

#[test]
fn of_two_keys_for_one_thing_one_has_to_go() {
    each_is_wrong(&[
        (
            "secret-file = x",
            "secret-file: secret is given at line 2; use only one of them",
        ),
        (
            "forward = 127.0.0.1:22",
            "forward: port is given at line 3; use only one of them",
        ),
    ]);
    let text = SSH.replace("port = 22", "forward = 192.0.2.7:22\nport = 22");
    assert_eq!(
        errors(text),
        ["4: port: forward is given at line 3; use only one of them"]
    );
}

#[test]
fn names_have_their_letters() {
    let letters = "a mirage's name may have only the letters A-Z and a-z, digits and . _ - @";
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
            "1: port: missing; add port = 22, forward = ADDRESS:PORT or exec = COMMAND",
            "2: secret: the secret is empty; `shimmer keygen` makes one",
            "3: prot: unknown key; did you mean port?",
            "4: range: 10999-10000 runs backwards; write 10000-10999",
            "5: decoys: 99 is not a number from 0 to 63",
            "7: log-level: loud is not one of error, warn, info, debug",
        ]
    );
    let all = ServerConfig::parse(Path::new("/etc/shimmer.conf"), text.as_bytes()).err();
    let all = all.unwrap().to_string();
    assert_eq!(all.lines().count(), 6);
    assert!(
        all.lines()
            .all(|line| line.starts_with("/etc/shimmer.conf:"))
    );
    assert!(!all.ends_with('\n'));
}
