//! Goal: where the daemon can't be asked, or says nothing, the commands tell why, with the exit code that goes with
//! it.

use crate::common::asking::*;
use crate::common::*;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn an_answer_that_does_not_come_is_waited_for_five_seconds() {
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let fake = Fake::new(move |stream| {
        // Until the test has seen the end of the program.
        let _ = asked.recv();
        drop(stream);
    });
    let path = fake.path();
    let before = Instant::now();
    let outcome = shimmer(&["status"], &["--control".as_ref(), &path]);
    assert!(before.elapsed() >= Duration::from_secs(5));
    drop(ask);
    fake.thread.join().unwrap();
    let expected = format!(
        "shimmer: {}: the daemon has not answered for 5 s",
        path.display()
    );
    assert_eq!(outcome.complaint(1), expected);
}

#[test]
fn a_queue_that_is_full_is_waited_for_five_seconds() {
    let folder = Folder::new();
    let path = folder.file("control");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let before = Instant::now();
    let outcome = shimmer(&["status"], &["--control".as_ref(), &path]);
    assert!(before.elapsed() >= Duration::from_secs(5) && before.elapsed() < PATIENCE);
    let expected = format!(
        "shimmer: {}: the daemon has not answered for 5 s",
        path.display()
    );
    assert_eq!(outcome.complaint(1), expected);
}

#[test]
fn an_answer_that_breaks_off_is_none() {
    for end in [
        1,
        OVERVIEW.len() / 2,
        OVERVIEW.find("\n],").unwrap(),
        OVERVIEW.len() - 2,
    ] {
        for words in [["status"].as_slice(), &["status", "--json"]] {
            let complaint = Fake::says(&OVERVIEW[..end]).fails(words, "status\n");
            assert_eq!(complaint, "shimmer: the answer breaks off");
        }
    }
}

#[test]
fn a_daemon_that_closes_at_once_is_told_of() {
    let complaint = Fake::new(drop).fails(&["status"], "status\n");
    assert_eq!(complaint, "shimmer: the daemon closed without an answer");

    // Nor may it read the line: then the end is a reset.
    let folder = Folder::new();
    let path = folder.file("control");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = thread::spawn(move || drop(listener.accept().unwrap()));
    let outcome = shimmer(&["status"], &["--control".as_ref(), &path]);
    thread.join().unwrap();
    let expected = format!(
        "shimmer: {}: the daemon closed without an answer",
        path.display()
    );
    assert_eq!(outcome.complaint(1), expected);
}

#[test]
fn an_answer_is_read_though_the_line_was_not() {
    let folder = Folder::new();
    let path = folder.file("control");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"{\"error\":\"too many ask at once\"}\n")
            .unwrap();
    });
    let outcome = shimmer(&["status"], &["--control".as_ref(), &path]);
    thread.join().unwrap();
    assert_eq!(outcome.complaint(1), "shimmer: too many ask at once");
}

#[test]
fn a_socket_that_is_not_there_is_named_with_what_to_do() {
    let folder = Folder::new();
    let path = folder.file("control");
    for words in [
        ["status"].as_slice(),
        &["ban", "192.0.2.7"],
        &["unban", "all"],
    ] {
        let complaint = shimmer(words, &["--control".as_ref(), &path]).complaint(1);
        let start = format!(
            "shimmer: {}: no such file; the daemon is not running",
            path.display()
        );
        assert!(complaint.starts_with(&start), "{complaint}");
        assert!(complaint.contains("--control") && complaint.contains("--config"));
    }
    // What a daemon leaves behind that was killed.
    drop(UnixListener::bind(&path).unwrap());
    let complaint = shimmer(&["status"], &["--control".as_ref(), &path]).complaint(1);
    let start = format!(
        "shimmer: {}: nobody listens; the daemon is not running",
        path.display()
    );
    assert!(complaint.starts_with(&start), "{complaint}");
}

#[test]
fn the_configuration_says_where_the_socket_is() {
    let fake = Fake::says(OVERVIEW);
    let config = fake.folder.file("shimmer.conf");
    let path = fake.path();
    // Neither the secret's file is there, nor is the mirage right.
    let mirage = "[mirage-ssh]\nsecret-file = missing\nport = 22\nrange = 10000-10001\n";
    let text = format!("[common]\ncontrol = {}\n{mirage}", path.display());
    fs::write(&config, text).unwrap();
    let outcome = shimmer(&["status", "--config"], &[&config]);
    assert_eq!((outcome.code, outcome.error.as_str()), (0, ""));
    assert_eq!(outcome.out, TABLE);
    fake.thread.join().unwrap();

    fs::write(&config, format!("[common]\ncontrol = none\n{mirage}")).unwrap();
    let expected = format!(
        "shimmer: {}: control = none, so the daemon can't be asked",
        config.display()
    );
    assert_eq!(
        shimmer(&["status", "--config"], &[&config]).complaint(1),
        expected
    );

    fs::write(&config, format!("[common]\ncontrl = none\n{mirage}")).unwrap();
    let expected = format!(
        "{}:2: contrl: unknown key; did you mean control?",
        config.display()
    );
    assert_eq!(
        shimmer(&["status", "--config"], &[&config]).complaint(2),
        expected
    );

    let missing = fake.folder.file("missing");
    let complaint = shimmer(&["status", "--config"], &[&missing]).complaint(2);
    assert!(
        complaint.starts_with(&format!("{}: ", missing.display())),
        "{complaint}"
    );
}

#[test]
fn words_that_make_no_sense_are_refused_before_anybody_is_asked() {
    for (words, says) in [
        (
            ["status", "192.0.2"].as_slice(),
            "192.0.2 is not an address such as 192.0.2.7, ",
        ),
        (
            &["status", "192.0.2.0/24"],
            "192.0.2.0/24 is not an address",
        ),
        (&["ban", "all"], "all is not an address"),
        (&["ban", "192.0.2.7\nunban all"], "is not an address"),
        (&["ban"], "no address given; usage: shimmer ban ADDRESS"),
        (
            &["unban"],
            "no address given; usage: shimmer unban ADDRESS, or",
        ),
        (&["unban", "everybody"], "everybody is not an address"),
        (&["status", "192.0.2.7", "--ports"], "--ports: "),
        (&["status", "192.0.2.7", "192.0.2.8"], "unexpected argument"),
        (&["ban", "192.0.2.7", "--json"], "unknown option --json"),
        (&["status", "--port"], "did you mean --ports?"),
    ] {
        let outcome = shimmer(words, &["--control".as_ref(), "/nonexistent".as_ref()]);
        assert_eq!(outcome.code, 2, "{words:?}: {}", outcome.error);
        assert!(outcome.error.contains(says), "{words:?}: {}", outcome.error);
    }
}

#[test]
fn nobody_at_stdout_is_no_error() {
    // More than a pipe holds.
    let fake = Fake::says(OVERVIEW.replace(
        "\"bans\":[",
        &format!("\"pad\":\"{}\",\n\"bans\":[", "x".repeat(1 << 20)),
    ));
    let mut child = Command::new(env!("CARGO_BIN_EXE_shimmer"))
        .args(["status", "--json", "--control"])
        .arg(fake.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
    fake.thread.join().unwrap();
}
