//! The client at its edges: the real binary with its arguments, its environment and its files.
//!
//! `terminal.rs` tests what it asks at a terminal, and `vectors.rs` what it computes. This file tests where the
//! secret comes from, what goes to stdout and stderr, and the exit code.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const SHIMMER: &str = env!("CARGO_BIN_EXE_shimmer");

/// The port of `ssh:10000:10999` with the secret `password` at Unix time 0.
const PORT: &str = "10242\n";

/// The second port of that minute. The first is [`PORT`].
const DECOY: &str = "10916";

/// A directory for one test, because tests run in parallel.
fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("client-{test}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// The program, in an environment without a secret or a configuration.
fn shimmer(arguments: &[&str]) -> Command {
    let mut command = Command::new(SHIMMER);
    command
        .args(arguments)
        .env_remove("SHIMMER_SECRET")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null());
    command
}

/// The same, in a session without a terminal.
fn without_terminal(arguments: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    command
        .arg(SHIMMER)
        .args(arguments)
        .env_remove("SHIMMER_SECRET")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("HOME", "/nonexistent");
    command
}

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

#[track_caller]
fn run(command: &mut Command) -> Outcome {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Outcome {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// It succeeds: only the result is on stdout, and nothing on stderr.
#[track_caller]
fn prints(command: &mut Command, stdout: &str) {
    let outcome = run(command);
    assert_eq!(outcome.stderr, "");
    assert_eq!(outcome.stdout, stdout);
    assert_eq!(outcome.code, Some(0));
}

/// It succeeds with warnings on stderr, because the secret of the test vectors is weak.
#[track_caller]
fn prints_with_warnings(command: &mut Command, stdout: &str) {
    let outcome = run(command);
    for line in outcome.stderr.lines() {
        assert!(line.starts_with("shimmer: warning: "), "{line}");
    }
    assert_eq!(outcome.stdout, stdout);
    assert_eq!(outcome.code, Some(0));
}

/// It fails: nothing is on stdout, and stderr says all of this.
#[track_caller]
fn fails(command: &mut Command, code: i32, stderr: &[&str]) {
    let outcome = run(command);
    assert_eq!(outcome.stdout, "");
    for part in stderr {
        assert!(
            outcome.stderr.contains(part),
            "{part:?} is not in {}",
            outcome.stderr
        );
    }
    assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
}

/// A file that nobody else can read.
fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

const SPEC: [&str; 4] = ["port", "ssh:10000:10999", "--at", "0"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SPEC.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn the_secret_is_the_first_line_of_its_file() {
    let directory = directory("secret-file");
    for (name, text) in [
        ("bare", "password"),
        ("unix", "password\n"),
        ("dos", "password\r\nanother"),
    ] {
        let file = directory.join(name);
        write_private(&file, text);
        let file = file.to_str().unwrap();
        prints(&mut shimmer(&with(&["--secret-file", file])), PORT);
        let joined = format!("--secret-file={file}");
        prints(&mut shimmer(&with(&[&joined])), PORT);
    }
}

#[test]
fn a_file_without_a_secret_is_named() {
    let directory = directory("no-secret");
    let (empty, nul) = (directory.join("empty"), directory.join("nul"));
    write_private(&empty, "\npassword\n");
    write_private(&nul, "pass\0word\n");
    let absent = directory.join("absent");
    for (file, why) in [
        (empty, "the secret is empty"),
        (nul, "NUL"),
        (absent, "No such file"),
    ] {
        let file = file.to_str().unwrap();
        fails(
            &mut shimmer(&with(&["--secret-file", file])),
            1,
            &[file, why],
        );
    }
}

#[test]
fn a_secret_that_others_can_read_gets_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let file = directory("open-secret").join("secret");
    fs::write(&file, "password\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = run(&mut shimmer(&with(&[
        "--secret-file",
        file.to_str().unwrap(),
    ])));
    assert_eq!(outcome.stdout, PORT);
    assert!(outcome.stderr.contains("chmod 600"), "{}", outcome.stderr);

    let outcome = run(&mut shimmer(&with(&["--secret", "password"])));
    assert_eq!(outcome.stdout, PORT);
    let warning = "visible to every local user";
    assert!(outcome.stderr.contains(warning), "{}", outcome.stderr);
}

#[test]
fn the_environment_comes_after_the_options_and_before_the_configuration() {
    let directory = directory("order");
    let config = directory.join("shimmer.conf");
    write_private(
        &config,
        "[mirage-ssh]\nsecret = wrong\nrange = 10000-10999\n",
    );
    let file = directory.join("secret");
    write_private(&file, "password\n");
    let file = file.to_str().unwrap();
    let by = |variable: &str, more: &[&str]| {
        let mut command = shimmer(&with(more));
        command
            .env("XDG_CONFIG_HOME", &directory)
            .env("SHIMMER_SECRET", variable);
        command
    };
    prints(&mut by("password", &[]), PORT);
    prints(&mut by("wrong", &["--secret-file", file]), PORT);
    let mut named = shimmer(&["port", "ssh", "--at", "0"]);
    named
        .env("XDG_CONFIG_HOME", &directory)
        .env("SHIMMER_SECRET", "password");
    prints_with_warnings(&mut named, PORT);

    write_private(
        &config,
        "[mirage-ssh]\nsecret = password\nrange = 10000-10999\n",
    );
    prints_with_warnings(&mut by("", &[]), PORT);
}

#[test]
fn a_name_takes_everything_from_the_configuration() {
    let directory = directory("configuration");
    let config = directory.join("shimmer.conf");
    write_private(
        &config,
        "[mirage-home]\nname = ssh\nsecret = password\nrange = 10000-10999\nperiod = 30s\n\
         decoys = 1\n[mirage-work]\nsecret = other\nrange = 20000-20999\n",
    );
    let at_home = |arguments: &[&str]| {
        let mut command = shimmer(arguments);
        command
            .env("HOME", &directory)
            .env_remove("XDG_CONFIG_HOME");
        command
    };
    fs::create_dir(directory.join(".config")).unwrap();
    fs::copy(&config, directory.join(".config/shimmer.conf")).unwrap();

    let all = format!("{PORT}{DECOY}\n");
    prints_with_warnings(&mut at_home(&["port", "home", "--all", "--at", "29"]), &all);
    // 60 s are two windows of 30 s, and one of --period 60s.
    let config = config.to_str().unwrap();
    prints_with_warnings(
        &mut shimmer(&["port", "home", "--config", config, "--at=59", "--period=1m"]),
        PORT,
    );
    prints_with_warnings(
        &mut shimmer(&[
            "port",
            "--config",
            config,
            "home",
            "--decoys=0",
            "--all",
            "--at=0",
        ]),
        PORT,
    );

    fails(
        &mut at_home(&["port", "hoem"]),
        2,
        &["hoem", "did you mean home?"],
    );
    fails(&mut at_home(&["port", "umbrella"]), 2, &["home, work"]);
    fails(&mut shimmer(&["port", "home"]), 2, &["NAME:LOW:HIGH"]);
    fails(
        &mut shimmer(&["port", "home", "--config", "/nonexistent/file"]),
        2,
        &["/nonexistent/file: No such file"],
    );
}

#[test]
fn mistakes_of_the_configuration_are_shown_with_their_lines() {
    let config = directory("mistakes").join("shimmer.conf");
    write_private(&config, "[mirage-home]\nsecret = password\nrnage = 1-9\n");
    let file = config.to_str().unwrap();
    let line = format!("{file}:3: rnage");
    fails(
        &mut shimmer(&["port", "home", "--config", file]),
        2,
        &[&line, "range"],
    );
}

#[test]
fn the_line_of_the_original_still_works() {
    for line in [
        "--open ssh:10000:10999 --secret password --at 0",
        "--secret=password --open=ssh:10000:10999 --at=0",
    ] {
        let words: Vec<_> = line.split(' ').collect();
        prints_with_warnings(&mut shimmer(&words), PORT);
    }
}

#[test]
fn a_time_is_unix_seconds_or_a_date() {
    let file = directory("moment").join("secret");
    write_private(&file, "password\n");
    let file = file.to_str().unwrap();
    let at = |time: &str| {
        shimmer(&[
            "port",
            "ssh:10000:10999",
            "--secret-file",
            file,
            "--at",
            time,
        ])
    };
    prints(&mut at("59"), PORT);
    prints(&mut at("1970-01-01T00:00:59Z"), PORT);
    prints(&mut at("1970-01-01T02:00:00+02:00"), PORT);
    fails(&mut at("yesterday"), 2, &["--at: yesterday", "RFC 3339"]);
    fails(&mut at("2026-11-21T09:00:00"), 2, &["end it with Z"]);
}

#[test]
fn wrong_arguments_are_reported_before_the_prompt_for_a_secret() {
    for (arguments, words) in [
        (["port"].as_slice(), ["no mirage given", ""]),
        (&["port", "ssh:10000"], ["ssh:10000", "10000:10999"]),
        (&["port", "ssh:9:1"], ["runs backwards", "1:9"]),
        (&["port", ":1:9"], ["name", ""]),
        (&["port", "ssh:1:9"], ["9 ports", "at most 8"]),
        (&["port", "ssh:1:99", "--decoys", "64"], ["--decoys", "63"]),
        (&["port", "ssh:1:99", "--period", "1s"], ["--period", "2s"]),
        (&["port", "ssh:1:99", "--at"], ["--at", "value"]),
        (&["port", "ssh:1:99", "more"], ["more", "unexpected"]),
        (&["port", "ssh:1:99", "--wach"], ["--wach", "--watch"]),
        (&["port", "ssh:1:99", "--watch", "--all"], ["--all", ""]),
        (
            &["port", "--secret=a", "--secret-file=b", "ssh:1:99"],
            ["only one", ""],
        ),
        (&["connect"], ["no mirage given", ""]),
        (&["connect", "ssh:1:99"], ["no host given", "host ="]),
        (&["connect", "ssh:1:99", "::1", "22"], ["22", "unexpected"]),
        (
            &["connect", "ssh:1:99", "::1", "--gate=tokn"],
            ["--gate", "token"],
        ),
        (&["connect", "ssh:1:99", "::1", "--all"], ["--all", "see"]),
        (
            &["connect", "--open", "ssh:1:99", "::1"],
            ["--open", "connect"],
        ),
        (&["share"], ["no mirage given", ""]),
        (&["share", "home", "--host"], ["--host", "value"]),
        (&["share", "home", "--host=a b"], ["--host", "name"]),
        (&["prot"], ["prot", "port"]),
        (&["--opne", "ssh:1:99"], ["--opne", "--open"]),
        (&["keygen", "--at"], ["--at", "keygen"]),
        (&["help", "prot"], ["prot", "port"]),
    ] {
        fails(&mut without_terminal(arguments), 2, &words);
    }
}

#[test]
fn help_is_a_result_and_no_arguments_are_a_mistake() {
    fails(&mut shimmer(&[]), 2, &["usage: shimmer"]);
    let overview = run(&mut shimmer(&["help"])).stdout;
    assert!(overview.contains("usage: shimmer"));
    prints(&mut shimmer(&["--help"]), &overview);
    prints(&mut shimmer(&["-h"]), &overview);
    for command in [
        "port", "connect", "keygen", "check", "share", "daemon", "demo",
    ] {
        let help = run(&mut shimmer(&["help", command])).stdout;
        assert!(help.contains(&format!("usage: shimmer {command}")));
        prints(&mut shimmer(&[command, "--help"]), &help);
        prints(&mut shimmer(&[command, "-h"]), &help);
    }
    let version = concat!("shimmer ", env!("CARGO_PKG_VERSION"), "\n");
    prints(&mut shimmer(&["--version"]), version);
    prints(&mut shimmer(&["-V"]), version);
}

#[test]
fn under_the_name_shimmerd_it_is_the_daemon() {
    let name = directory("shimmerd").join("shimmerd");
    std::os::unix::fs::symlink(SHIMMER, &name).unwrap();
    let help = run(Command::new(&name).arg("--help"));
    assert!(help.stdout.contains("shimmerd [OPTION]"), "{}", help.stdout);
    fails(Command::new(&name).arg("--confg=x"), 2, &["--config"]);
}

#[test]
fn each_new_secret_is_another_of_32_characters() {
    let secret = || run(&mut shimmer(&["keygen"])).stdout;
    let (one, other) = (secret(), secret());
    assert_ne!(one, other);
    for secret in [one, other] {
        let line = secret.strip_suffix('\n').unwrap();
        assert_eq!(line.len(), 32);
        assert!(
            line.bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
        );
    }
}

#[test]
fn check_says_what_would_be_served_or_everything_that_is_wrong() {
    let config = directory("check").join("shimmer.conf");
    let file = config.to_str().unwrap();
    write_private(
        &config,
        "[mirage-ssh]\nname = ssh@home\nsecret = iab4eevaephe4quaibee\nrange = 20000-20999\n\
         port = 22\nlisten-address = 192.0.2.7\n",
    );
    for arguments in [
        ["check", file].as_slice(),
        &["check", "--config", file],
        &["check", &format!("--config={file}")],
    ] {
        let outcome = run(&mut shimmer(arguments));
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(outcome.stdout.starts_with(&format!("{file}: ok\n")));
        for part in [
            "[mirage-ssh]",
            "ssh@home",
            "20000-20999",
            "127.0.0.1:22",
            "192.0.2.7",
            "15 traps",
        ] {
            assert!(outcome.stdout.contains(part), "{}", outcome.stdout);
        }
        assert!(!outcome.stdout.contains("iab4"), "the secret is shown");
    }

    write_private(
        &config,
        "[mirage-ssh]\nsecret = x\nrange = 9-1\nprot = 22\n",
    );
    let (third, fourth) = (format!("{file}:3: range"), format!("{file}:4: prot"));
    fails(&mut shimmer(&["check", file]), 2, &[&third, &fourth]);
    fails(
        &mut shimmer(&["check", "/nonexistent"]),
        2,
        &["/nonexistent"],
    );
}

#[test]
fn output_that_cannot_be_written_is_an_error_not_a_panic() {
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let output = shimmer(&["keygen"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stdout: "));

    // If stderr is full too, only the exit code is left.
    let status = shimmer(&["prot"]).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn output_that_nobody_reads_is_a_quiet_end() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = shimmer(&["help"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn without_a_terminal_there_is_no_prompt() {
    fails(
        &mut without_terminal(&["port", "ssh:10000:10999"]),
        1,
        &["no terminal", "--secret-file", "SHIMMER_SECRET"],
    );
}

/// Each minute's port is a line, printed at once, and it ends when its reader does.
#[test]
fn watching_through_a_pipe_prints_a_line_at_each_change() {
    let mut child = shimmer(&["port", "ssh:10000:10999", "--watch", "--period", "2"])
        .env("SHIMMER_SECRET", "password")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: u16 = lines.next().unwrap().unwrap().parse().unwrap();
    let second: u16 = lines.next().unwrap().unwrap().parse().unwrap();
    assert_ne!(first, second);
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut stderr = String::new();
    child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");
}

/// With a period of a day no new port comes that would fail to be written.
#[test]
fn watching_ends_when_the_reader_does() {
    let mut child = shimmer(&["port", "ssh:10000:10999", "--watch", "--period", "1d"])
        .env("SHIMMER_SECRET", "password")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
