//! Goal: whoever gets a configuration wrong is told everything that is wrong with it at once, at the
//! right lines, by `check` and by the daemon alike, and no port is opened.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a program left behind.
struct Outcome {
    code: i32,
    out: String,
    errors: Vec<String>,
}

fn shimmer(command: &str, config: &Path) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_shimmer"))
        .arg(command)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        errors: text(output.stderr).lines().map(str::to_owned).collect(),
    }
}

/// A directory that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let directory = format!("shimmer-check-{}-{test}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    /// A file that only its owner may read.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const GOOD: &str = "[common]
log = stderr            # or syslog, or a file
state-file = none

[mirage-ssh]
secret = S3cret-T0ken # with ; everything = in it
port = 22
range = 10000-10999
";

/// What is done to [`GOOD`], and where that is said: the line, the key, and a part of the rest.
struct Mistake {
    instead_of: &'static str,
    write: &'static str,
    line: usize,
    key: &'static str,
    says: &'static str,
}

const fn mistake(
    instead_of: &'static str,
    write: &'static str,
    line: usize,
    key: &'static str,
    says: &'static str,
) -> Mistake {
    Mistake {
        instead_of,
        write,
        line,
        key,
        says,
    }
}

const MISTAKES: &[Mistake] = &[
    mistake("port = 22", "port = 22\nprt = 23", 8, "prt", "port"),
    mistake("port = 22", "port = 22\nport = 23", 8, "port", "line 7"),
    mistake("port = 22", "port = ssh", 7, "port", "1 to 65535"),
    mistake("port = 22", "", 5, "port", "missing"),
    mistake("port = 22", "port = 10022", 8, "range", "10022"),
    mistake(
        "port = 22",
        "forward = nas.lan:22",
        7,
        "forward",
        "resolved",
    ),
    mistake(
        "port = 22",
        "port = 22\nforward = 192.0.2.7:22",
        8,
        "forward",
        "line 7",
    ),
    mistake(
        "port = 22",
        "port = 22\ndecoys = 64",
        8,
        "decoys",
        "0 to 63",
    ),
    mistake(
        "port = 22",
        "port = 22\nperiod = 1",
        8,
        "period",
        "2s to 1d",
    ),
    mistake(
        "port = 22",
        "port = 22\nsecret-file = x",
        8,
        "secret-file",
        "line 6",
    ),
    mistake("range = 10000-10999", "", 5, "range", "missing"),
    mistake("10000-10999", "10999-10000", 8, "range", "10000-10999"),
    mistake(
        "10000-10999",
        "10000-10040",
        8,
        "range",
        "at most 12 decoys",
    ),
    mistake("10000-10999", "0-999", 8, "range", "1 to 65535"),
    mistake("log = stderr", "user = no-such-user", 2, "user", "passwd"),
    mistake("log = stderr", "log-level = loud", 2, "log-level", "warn"),
    mistake("log = stderr", "clock = ntp", 2, "clock", "wait"),
    mistake("log = stderr", "allow = 192.0.2.7/24", 2, "allow", "prefix"),
    mistake("[mirage-ssh]", "[mirage-my ssh]", 5, "", "letters"),
    mistake("[common]", "[comon]", 1, "", "[common]"),
    mistake("port = 22", "port = 22\n[mirage-ssh]", 8, "", "line 5"),
    mistake("port = 22", "port = 22\nhunter2", 8, "", "key = value"),
];

#[test]
fn a_good_file_is_ok() {
    let scratch = Scratch::new("good");
    let config = scratch.write("shimmer.conf", GOOD);
    let outcome = shimmer("check", &config);
    assert_eq!(outcome.code, 0);
    let first = format!("{}: ok", config.display());
    assert_eq!(outcome.out.lines().next(), Some(first.as_str()));
    assert!(outcome.errors.is_empty(), "{}", outcome.errors.join("\n"));
}

#[test]
fn each_mistake_is_told_at_its_line_by_check_and_by_the_daemon() {
    let scratch = Scratch::new("mistakes");
    for mistake in MISTAKES {
        let text = GOOD.replacen(mistake.instead_of, mistake.write, 1);
        assert_ne!(text, GOOD);
        let config = scratch.write("shimmer.conf", &text);
        let mut start = format!("{}:{}: ", config.display(), mistake.line);
        if !mistake.key.is_empty() {
            start = format!("{start}{}: ", mistake.key);
        }
        for command in ["check", "daemon"] {
            let outcome = shimmer(command, &config);
            assert_eq!(outcome.code, 2, "{command} of {}", mistake.write);
            let [error] = &outcome.errors[..] else {
                panic!("one mistake, one line: {}", outcome.errors.join("\n"));
            };
            assert!(error.starts_with(&start), "{error} is not at {start}");
            assert!(error.contains(mistake.says), "{error}: {}", mistake.says);
            assert!(!error.contains("S3cret") && !error.contains("hunter2"));
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_by_line() {
    let scratch = Scratch::new("at-once");
    let text =
        "[mirage-ssh]\nsecret =\nprot = 22\nrange = 10999-10000\n[common]\nlog-level = loud\n";
    let config = scratch.write("shimmer.conf", text);
    let name = config.display().to_string();
    for command in ["check", "daemon"] {
        let errors = shimmer(command, &config).errors;
        let places: Vec<&str> = errors
            .iter()
            .map(|error| {
                let rest = error.strip_prefix(&name).unwrap();
                rest.rsplit_once(": ").unwrap().0
            })
            .collect();
        assert_eq!(
            places,
            [
                ":1: port",
                ":2: secret",
                ":3: prot",
                ":4: range",
                ":6: log-level"
            ]
        );
    }
}

#[test]
fn overlapping_ranges_are_told_at_the_later_mirage() {
    let scratch = Scratch::new("overlap");
    let web = "[mirage-web]\nsecret = S3cret-T0ken-too\nport = 80\nrange = 10500-11499\n";
    let config = scratch.write("shimmer.conf", &format!("{GOOD}{web}"));
    let outcome = shimmer("check", &config);
    assert_eq!(outcome.code, 2);
    let start = format!("{}:12: range: overlaps 10000-10999", config.display());
    assert!(
        outcome.errors[0].starts_with(&start),
        "{}",
        outcome.errors[0]
    );

    let apart = web.replace("[mirage-web]", "[mirage-web]\nlisten-address = 192.0.2.2");
    let here = GOOD.replace("port = 22", "port = 22\nlisten-address = 192.0.2.1");
    let config = scratch.write("shimmer.conf", &format!("{here}{apart}"));
    assert_eq!(shimmer("check", &config).code, 0);
}

#[test]
fn files_that_cannot_be_read_are_named_with_the_reason() {
    let scratch = Scratch::new("unreadable");
    let missing = scratch.0.join("missing");
    let reason = fs::read(&missing).unwrap_err();
    for command in ["check", "daemon"] {
        let outcome = shimmer(command, &missing);
        assert_eq!(outcome.code, 2);
        let expected = format!("{}: {reason}", missing.display());
        assert_eq!(outcome.errors, [expected]);
    }

    let text = GOOD.replace(
        "secret = S3cret-T0ken # with ; everything = in it",
        "secret-file = missing",
    );
    let config = scratch.write("shimmer.conf", &text);
    let (config_name, file) = (config.display(), missing.display());
    let expected = format!("{config_name}:6: secret-file: {file}: {reason}");
    assert_eq!(shimmer("check", &config).errors, [expected]);
}

#[test]
fn a_secret_file_lies_beside_the_configuration() {
    let scratch = Scratch::new("beside");
    scratch.write("ssh.secret", "S3cret-T0ken of a file\nand a note\n");
    let text = GOOD.replace(
        "secret = S3cret-T0ken # with ; everything = in it",
        "secret-file = ssh.secret",
    );
    let config = scratch.write("shimmer.conf", &text);
    assert_eq!(shimmer("check", &config).code, 0);
}

#[cfg(unix)]
#[test]
fn a_weak_secret_that_others_may_read_is_two_warnings() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("warnings");
    let text = GOOD.replace("S3cret-T0ken # with ; everything = in it", "password");
    let config = scratch.write("shimmer.conf", &text);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = shimmer("check", &config);
    assert_eq!(outcome.code, 0);
    let has = |text: &str| outcome.errors.iter().any(|line| line.contains(text));
    assert!(has("chmod 600") && has("shimmer keygen"));
    assert!(
        outcome
            .errors
            .iter()
            .all(|line| line.contains(":6: secret: "))
    );
    assert!(!has("password"));
}

/// What an init script asks: everything that the daemon needs and no ordinary program has.
#[test]
fn check_says_what_the_system_has_to_give() {
    let scratch = Scratch::new("needs");
    let needs = |text: &str| {
        let config = scratch.write("shimmer.conf", text);
        let output = Command::new(env!("CARGO_BIN_EXE_shimmer"))
            .args(["check", "--needs"])
            .arg(config)
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(needs(GOOD), "open tcp 10000-10999\nreserve 10000-10999\n");
    assert_eq!(
        needs(&GOOD.replace("10000-10999", "1000-1099")),
        "capability net_bind_service\nopen tcp 1000-1099\nreserve 1000-1099\n"
    );
    // Of a pool one port is bound, whatever its range.
    assert_eq!(
        needs(&GOOD.replace("10000-10999", "1000-1999\nlisten = pool\npool-port = 2000")),
        "open tcp 2000-2000\nreserve 2000-2000\nredirect\n"
    );
}

/// A mirage's gate and door, what `check` has to say of it, and what it needs of the system.
const SHOWN: [(&str, &str, &str); 9] = [
    (
        "port = 22\n",
        "ports    16, new every 60 s: the real one and 15 traps
  gate     port
  leads to 127.0.0.1:22",
        "open tcp 10000-10999\nreserve 10000-10999\n",
    ),
    (
        "exec = /usr/sbin/sshd -i\ngate = token\n",
        "gate     token
  leads to /usr/sbin/sshd -i, run for each visitor",
        "open tcp 10000-10999\nreserve 10000-10999\nroot\n",
    ),
    (
        "port = 22\nopen-command = service sshd start\n",
        "leads to 127.0.0.1:22
  starts   service sshd start on demand",
        "open tcp 10000-10999\nreserve 10000-10999\nroot\n",
    ),
    (
        "port = 22\ngate = knock\n",
        "ports    one, new every 60 s, and open only to whoever passes the gate
  gate     knock: a sequence of 3 ports that changes
  leads to 127.0.0.1:22",
        "capability net_admin\ncapability net_raw\nopen tcp 10000-10999\nreserve 10000-10999\nrules\n",
    ),
    (
        "port = 22\ngate = packet\n",
        "ports    one, new every 60 s, and open only to whoever passes the gate
  gate     packet: a datagram to the minute's port
  leads to 127.0.0.1:22",
        "capability net_admin\ncapability net_raw\nopen tcp 10000-10999\nreserve 10000-10999\nrules\n",
    ),
    (
        "gate = packet\npacket-port = 62201\ndoor = command\nopen-command = logger %IP%\n",
        "gate     packet: a datagram to port 62201
  runs     logger %IP%",
        "capability net_raw\nrules\nroot\n",
    ),
    (
        "gate = knock\nsequence = 7000,8000:udp\ndoor = command\nopen-command = logger %IP%\n",
        "[mirage-home]
  gate     knock: 7000:tcp,8000:udp
  runs     logger %IP%",
        "capability net_raw\nrules\nroot\n",
    ),
    (
        "gate = token\ndoor = nft\nopen-set = inet/fw4/ssh\n",
        "gate     token
  adds to  inet/fw4/ssh",
        "capability net_admin\nopen tcp 10000-10999\nreserve 10000-10999\nrules\ndoors\n",
    ),
    (
        "gate = packet\ndoor = nft\nopen-set = ip/fw/ssh\nlisten-address = 192.0.2.1\n",
        "ports    none of its own
  gate     packet: a datagram to the minute's port
  adds to  ip/fw/ssh
  listens  on 192.0.2.1",
        "capability net_admin\ncapability net_raw\nrules\ndoors\n",
    ),
];

#[test]
fn each_gate_and_door_is_shown_in_a_few_words_and_needs_what_it_needs() {
    let scratch = Scratch::new("shown");
    for (text, shown, needs) in SHOWN {
        let keys = if text.contains("sequence") {
            ""
        } else {
            "secret = b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai\nrange = 10000-10999\n"
        };
        let config = scratch.write("shimmer.conf", &format!("[mirage-home]\n{keys}{text}"));
        let outcome = shimmer("check", &config);
        assert_eq!(outcome.code, 0, "{}", outcome.errors.join("\n"));
        assert!(outcome.out.contains(shown), "{text}{}", outcome.out);
        let output = Command::new(env!("CARGO_BIN_EXE_shimmer"))
            .args(["check", "--needs"])
            .arg(&config)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), needs, "{text}");
    }
}
