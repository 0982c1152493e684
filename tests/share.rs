//! Goal: `shimmer share` on the server prints all that a laptop needs. It is pasted as it is, read by the
//! real reader, and gets in.

use crate::common::{Daemon, Echo, Folder, config, own_address, write_private};
use shimmer::config::{ClientConfig, ClientMirage};
use shimmer::proto::gates::Gate;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The comment above the lines for ssh's file.
const SSH: &str = "\n# For its ~/.ssh/config, so that ";

fn share(words: &[&str], config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shimmer"))
        .arg("share")
        .args(words)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap()
}

/// What it prints: the laptop's configuration, and the lines for ssh.
#[track_caller]
fn shared(words: &[&str], config: &Path) -> (String, String) {
    let output = share(words, config);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let (config, ssh) = text.split_once(SSH).expect("two parts");
    let ssh = ssh.split_once('\n').expect("lines below the comment").1;
    (config.to_owned(), ssh.to_owned())
}

/// It fails with this code, and says all of this on stderr alone.
#[track_caller]
fn fails(output: &Output, code: i32, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    for part in parts {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert_eq!(output.status.code(), Some(code), "{said}");
}

fn read(config: &str) -> ClientMirage {
    let client = ClientConfig::parse(Path::new("shimmer.conf"), config.as_bytes())
        .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(client.mirages.len(), 1);
    client.mirages.into_iter().next().unwrap()
}

struct Server {
    folder: Folder,
    path: PathBuf,
}

impl Server {
    fn new(text: &str) -> Self {
        let folder = Folder::new();
        let path = folder.file("server.conf");
        write_private(&path, text.as_bytes());
        Self { folder, path }
    }
}

const SERVER: &str = "[common]
state-file = none
[mirage-home]
secret = b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai
port = 22
range = 10000-10999
[mirage-web]
name = web@example.org
secret = # with ; everything = in it, \u{fc} too
forward = 127.0.0.1:80
range = 20000-20999
decoys = 31
period = 90s
gate = token
host = 2001:db8::7
";

#[test]
fn settings_with_their_default_are_left_out() {
    let server = Server::new(SERVER);
    let (config, ssh) = shared(&["home", "--host", "example.org"], &server.path);
    let mut lines = config.lines();
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("# For the laptop's ~/.config/shimmer.conf")
    );
    let rest: Vec<&str> = lines.collect();
    let wanted = [
        "[mirage-home]",
        "secret = b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai",
        "range = 10000-10999",
        "host = example.org",
    ];
    assert_eq!(rest, wanted);
    let wanted = "Host home\n    HostName example.org\n    ProxyCommand shimmer connect home %h\n";
    assert_eq!(ssh, wanted);
}

#[test]
fn everything_else_is_read_back_as_the_server_has_it() {
    let server = Server::new(SERVER);
    let (config, ssh) = shared(&["web"], &server.path);
    let known = read(&config);
    assert_eq!(known.section, "web");
    assert_eq!(known.plain.name, "web@example.org");
    let secret = known.secret.unwrap();
    let wanted = "# with ; everything = in it, \u{fc} too";
    assert_eq!(secret.as_bytes(), wanted.as_bytes());
    let pattern = known.pattern.unwrap();
    assert_eq!(
        (pattern.range().low(), pattern.range().high()),
        (20_000, 20_999)
    );
    assert_eq!((pattern.decoys(), pattern.period()), (31, 90));
    assert!(known.gate_settings.gate() == Gate::Token);
    assert_eq!(known.plain.host.as_deref(), Some("2001:db8::7"));
    assert!(ssh.contains("HostName 2001:db8::7\n"), "{ssh}");

    let (config, ssh) = shared(&["web", "--host=192.0.2.7"], &server.path);
    assert_eq!(read(&config).plain.host.as_deref(), Some("192.0.2.7"));
    assert!(ssh.contains("HostName 192.0.2.7\n"), "{ssh}");
}

/// To ssh, everything before the last @ is a user.
#[test]
fn the_alias_of_a_section_with_an_at_is_what_follows_it() {
    let server = Server::new(&SERVER.replace("mirage-home", "mirage-me@home"));
    let (config, ssh) = shared(&["me@home", "--host=example.org"], &server.path);
    assert_eq!(read(&config).section, "me@home");
    assert!(ssh.starts_with("Host home\n"), "{ssh}");
    assert!(ssh.ends_with("connect me@home %h\n"), "{ssh}");
}

#[test]
fn what_is_pasted_gets_in() {
    let echo = Echo::start();
    let host = own_address();
    let daemon = Daemon::start(host, &config(host, echo.address, ""));
    let (config, _) = shared(&["ssh", "--host", &host.to_string()], &daemon.config_path());
    let folder = Folder::new();
    let path = folder.file("shimmer.conf");
    write_private(&path, config.as_bytes());
    let mut child = Command::new(env!("CARGO_BIN_EXE_shimmer"))
        .args(["connect", "ssh"])
        .env("XDG_CONFIG_HOME", &folder.0)
        .env_remove("SHIMMER_SECRET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.stdout, b"hello");
    assert!(output.status.success());
}

#[test]
fn a_secret_that_fits_in_no_line_has_to_be_copied_as_a_file() {
    let server = Server::new(&SERVER.replace(
        "secret = b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai",
        "secret-file = secret",
    ));
    let file = server.folder.file("secret");
    for secret in [
        b" blanks before it".as_slice(),
        b"blanks behind it ",
        b"a lone CR behind it\r",
        b"an ESC \x1b in it to be sure",
        b"\xFF\xFE not UTF-8 \xFD\xFC\xFB",
    ] {
        write_private(&file, secret);
        let output = share(&["home", "--host=example.org"], &server.path);
        fails(&output, 1, &["home", "secret-file"]);
    }
    write_private(&file, b"one that fits into a line\r\nand a note\n");
    let (config, _) = shared(&["home", "--host=example.org"], &server.path);
    let secret = read(&config).secret.unwrap();
    assert_eq!(secret.as_bytes(), b"one that fits into a line");
}

#[test]
fn mistakes_are_reported() {
    let server = Server::new(SERVER);
    let path = &server.path;
    fails(&share(&["home"], path), 2, &["--host"]);
    fails(&share(&["hmoe"], path), 2, &["hmoe", "did you mean home?"]);
    fails(&share(&["umbrella"], path), 2, &["home, web"]);
    fails(&share(&[], path), 2, &["no mirage given"]);
    fails(&share(&["home", "web"], path), 2, &["web", "unexpected"]);
    fails(&share(&["home", "--host=a%h"], path), 2, &["--host"]);
    fails(
        &share(&["home"], Path::new("/nonexistent")),
        2,
        &["/nonexistent"],
    );

    // The configuration allows this host, and ssh's file does not.
    let odd = Server::new(&SERVER.replace("2001:db8::7", "fe80::1%eth0"));
    fails(&share(&["web"], &odd.path), 2, &["[mirage-web] host: "]);

    let wrong = Server::new(&SERVER.replace("port = 22", "prot = 22"));
    fails(&share(&["home"], &wrong.path), 2, &[":5: prot"]);
}

const KEYS: &str = "secret = b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai\nrange = 10000-10999\n";

/// Settings of the server. Those before the | belong on the laptop too, besides the keys and the host.
const GATES: [&str; 9] = [
    "|gate = port\ntrap-time = 40s\n",
    "gate = token\n",
    "gate = knock\n|lock = 5m\nlock-scope = all\nseq-timeout = 20s\n",
    "gate = knock\nknocks = 6\nprotocols = mixed\nonce = yes\n",
    "gate = knock\nprotocols = udp\n",
    "gate = knock\nsequence = 7000:tcp,8000:udp\nclose-sequence = 9000:tcp\n",
    "gate = packet\n|packet-address = sender\n",
    "gate = packet\npacket-port = 62201\npacket-address = inside\n",
    "period = 90s\ngate = packet\n|from = 192.0.2.0/24\n",
];

/// The same for doors.
const DOORS: [&str; 5] = [
    "|port = 22\n",
    "|exec = /usr/sbin/sshd -i\n",
    "|port = 22\nopen-command = /usr/sbin/sshd\nopen-timeout = 5m\nready-timeout = 3s\n",
    "door = command\n|open-command = /usr/bin/logger %IP%\n",
    "door = nft\n|open-set = inet/fw4/ssh\nopen-port = 22\n",
];

/// The lines that both sides have.
fn shared_lines(text: &str) -> &str {
    text.split('|').next().unwrap()
}

#[test]
fn each_gate_with_each_door_is_read_back_as_the_server_has_it() {
    for gate in GATES {
        for door in DOORS {
            // A fixed sequence whose door has no port of its own needs no keys.
            let is_keyed = !gate.contains("sequence = ") || !shared_lines(door).contains("door");
            let keys = if is_keyed { KEYS } else { "" };
            let both = format!("[mirage-home]\n{keys}{gate}{door}").replace('|', "");
            let server = Server::new(&both);
            let output = share(&["home", "--host=example.org"], &server.path);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{both}{said}");
            let text = String::from_utf8(output.stdout).unwrap();
            let mut parts = text.split("\n\n");
            let (config, behind) = (parts.next().unwrap(), parts.next().unwrap());
            let told = shared_lines(gate).to_owned() + shared_lines(door);
            let mut wanted: Vec<&str> = keys.lines().chain(told.lines()).collect();
            wanted.push("host = example.org");
            let mut lines: Vec<&str> = config.lines().skip(2).collect();
            wanted.sort_unstable();
            lines.sort_unstable();
            assert_eq!(lines, wanted, "{both}");

            let known = read(config);
            let whole = shimmer::config::ServerConfig::load(&server.path)
                .unwrap_or_else(|errors| panic!("{errors}"));
            let mirage = &whole.mirages[0];
            assert!(known.gate_settings.gate() == mirage.settings.gate());
            assert_eq!(
                known.forwards,
                mirage.settings.forward().is_some(),
                "{both}"
            );
            let patterns = (known.pattern, mirage.settings.pattern);
            assert!(patterns.0 == patterns.1, "{both}");
            let command = match known.forwards {
                true => "ProxyCommand shimmer connect home %h",
                false => "shimmer knock home example.org -- ssh example.org",
            };
            assert!(behind.contains(command), "{text}");
        }
    }
}
