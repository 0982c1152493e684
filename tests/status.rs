//! Goal: who asks the daemon is told what it says, as it is or so that a person can read it; and where
//! it says nothing, why, with the exit code that goes with it.
#![cfg(target_os = "linux")]

mod common;

use common::{
    Daemon, Echo, Folder, Member, PATIENCE, assert_closed, assert_echo, config, own_address,
    visitor, wait_for,
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A daemon with two mirages, a session and two bans.
const OVERVIEW: &str = r#"{"version":"0.1.0",
"since":1794000000,
"now":1794000123,
"clock":"right",
"mirages":[
{"mirage":"home","name":"ssh","gate":"token","door":"forward","forward":"127.0.0.1:22","listen":"ports","range":"10000-10999","period":60,"minute":29900002,"open":48},
{"mirage":"web","name":"web","gate":"port","door":"forward","forward":"127.0.0.1:80","listen":"pool","range":"20000-29999","period":60,"minute":29900002,"open":1}
],
"sessions":[
{"source":"192.0.2.7","mirage":"home","bytes_in":4161,"bytes_out":9877,"age":2628}
],
"bans":[
{"source":"2001:db8:1:2::/64","seconds":3,"why":"token","attempts":1},
{"source":"203.0.113.9","seconds":812,"why":"trap","attempts":12}
],
"counters":{"visitors":60,"accepted":12,"banned":3,"refused":40,"held":5,"good_tokens":8,"bad_tokens":2,"turned_away":0},
"places":[
{"of":"sessions","taken":1,"places":1024,"full":false},
{"of":"traps","taken":0,"places":256,"full":false},
{"of":"bans","taken":2,"places":4096,"full":false},
{"of":"nonces","mirage":"home","taken":3,"places":4096,"full":false}
]}
"#;

/// The same, for a person.
const TABLE: &str = "\
shimmer 0.1.0, up 2m3s

MIRAGE  GATE   RANGE        LISTEN  OPEN  TURNS IN  LEADS TO
home    token  10000-10999  ports     48       57s  127.0.0.1:22
web     port   20000-29999  pool       1       57s  127.0.0.1:80

sessions: 1
SOURCE     MIRAGE     AGE    IN   OUT
192.0.2.7  home    43m48s  4.1K  9.6K

bans: 2
SOURCE             WHY       ATTEMPTS  ENDS IN
203.0.113.9        trap            12   13m32s
2001:db8:1:2::/64  no token         1       3s

since the start  60 visitors, 12 accepted, 3 banned, 40 refused, 5 held,
                 8 good tokens, 2 bad tokens
in use           1 of 1024 sessions, 0 of 256 traps, 2 of 4096 bans,
                 3 of 4096 tokens of home
";

/// A control socket with a story of its own, for one visitor.
struct Fake {
    folder: Folder,
    thread: JoinHandle<String>,
}

impl Fake {
    /// What `then` does with the connection once a line has come.
    fn new(then: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.file("control")).unwrap();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            then(stream);
            line
        });
        Self { folder, thread }
    }

    fn says(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::new(move |mut stream| stream.write_all(answer.as_bytes()).unwrap())
    }

    fn path(&self) -> PathBuf {
        self.folder.file("control")
    }

    /// Runs a command, and tells which line the socket got.
    #[track_caller]
    fn asked(self, words: &[&str]) -> (Outcome, String) {
        let path = self.path();
        let outcome = shimmer(words, &["--control".as_ref(), &path]);
        (outcome, self.thread.join().unwrap())
    }

    /// What a command prints that sends `line`.
    #[track_caller]
    fn prints(self, words: &[&str], line: &str) -> String {
        let (outcome, asked) = self.asked(words);
        assert_eq!(outcome.error, "");
        assert_eq!(outcome.code, 0);
        assert_eq!(asked, line);
        outcome.out
    }

    /// What a command complains of that sends `line`.
    #[track_caller]
    fn fails(self, words: &[&str], line: &str) -> String {
        let path = format!("{}: ", self.path().display());
        let (outcome, asked) = self.asked(words);
        assert_eq!(asked, line);
        outcome.complaint(1).replace(&path, "")
    }
}

struct Outcome {
    code: i32,
    out: String,
    error: String,
}

impl Outcome {
    /// The one line that was said, and nothing on stdout.
    #[track_caller]
    fn complaint(&self, code: i32) -> String {
        assert_eq!(self.out, "");
        assert_eq!(self.code, code, "{}", self.error);
        let line = self.error.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        line.to_owned()
    }
}

fn shimmer(words: &[&str], more: &[&Path]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_shimmer"))
        .args(words)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn the_whole_is_one_table() {
    let out = Fake::says(OVERVIEW).prints(&["status"], "status\n");
    assert_eq!(out, TABLE);
    assert!(out.lines().all(|line| line.len() <= 80));
}

#[test]
fn json_passes_through_as_it_is() {
    for (words, line) in [
        (["status", "--json"].as_slice(), "status\n"),
        (&["status", "--json", "--ports"], "status ports\n"),
        (&["status", "--json", "192.0.2.7"], "status 192.0.2.7\n"),
    ] {
        assert_eq!(Fake::says(OVERVIEW).prints(words, line), OVERVIEW);
    }
}

#[test]
fn an_idle_daemon_says_so_in_few_lines() {
    let answer = r#"{"version":"0.1.0",
"since":1794000000,
"now":1794000000,
"clock":"right",
"mirages":[
{"mirage":"home","name":"home","gate":"port","door":"forward","forward":"127.0.0.1:22","listen":"ports","range":"10000-10999","period":60,"minute":29900000,"open":0}
],
"sessions":[
],
"bans":[
],
"counters":{"accepted":0,"banned":0,"refused":0,"held":0,"good_tokens":0,"bad_tokens":0,"turned_away":0},
"places":[
{"of":"sessions","taken":0,"places":1024,"full":false}
]}
"#;
    let out = Fake::says(answer).prints(&["status"], "status\n");
    let expected = "\
shimmer 0.1.0, up 0s

MIRAGE  GATE  RANGE        LISTEN  OPEN  TURNS IN  LEADS TO
home    port  10000-10999  ports      0        1m  127.0.0.1:22

sessions: 0

bans: 0

since the start  nothing has happened yet
in use           0 of 1024 sessions
";
    assert_eq!(out, expected);
}

#[test]
fn what_is_wrong_stands_on_top() {
    let mut answer = OVERVIEW.replace("\"clock\":\"right\"", "\"clock\":\"waiting\"");
    for (taken, places) in [(1, 1024), (0, 256), (2, 4096), (3, 4096)] {
        answer = answer.replace(
            &format!("\"taken\":{taken},\"places\":{places},\"full\":false"),
            &format!("\"taken\":{places},\"places\":{places},\"full\":true"),
        );
    }
    let out = Fake::says(answer).prints(&["status"], "status\n");
    let expected = "\
shimmer 0.1.0, up 2m3s
CLOCK: not trusted yet; no port opens until it is
FULL: 1024 of 1024 sessions: nobody else gets in
FULL: 256 of 256 traps: new visitors replace the oldest
FULL: 4096 of 4096 bans: new bans replace the oldest
FULL: 4096 of 4096 tokens of home: nobody gets in until one expires

MIRAGE  GATE   RANGE        LISTEN  OPEN  TURNS IN  LEADS TO
home    token  10000-10999  ports     48         -  127.0.0.1:22
";
    assert!(out.starts_with(expected), "{out}");
    assert!(out.lines().all(|line| line.len() <= 80));
}

#[test]
fn of_many_the_latest_are_shown_and_the_rest_counted() {
    let (head, rest) = OVERVIEW.split_once("\"sessions\":[\n").unwrap();
    let (_, tail) = rest.split_once("],\n\"counters\"").unwrap();
    let mut rows = Vec::new();
    for number in 0..4_081 {
        // 7 has no factor in common with 4,081's next power of two: each comes once, in disorder.
        let seconds = number * 7 % 4_096;
        rows.push(format!(
            "{{\"source\":\"10.0.{}.{}\",\"seconds\":{seconds},\"why\":\"hand\",\"attempts\":1}}",
            seconds / 256,
            seconds % 256
        ));
    }
    let rows = rows.join(",\n");
    let answer = format!("{head}\"sessions\":[\n],\n\"bans\":[\n{rows}\n],\n\"counters\"{tail}");
    let out = Fake::says(answer).prints(&["status"], "status\n");
    let mut lines = out
        .lines()
        .skip_while(|line| !line.starts_with("bans: 4081"));
    let seconds: Vec<u32> = (0..4_081).map(|number| number * 7 % 4_096).collect();
    let mut sorted = seconds;
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    lines.next();
    assert_eq!(
        lines.next().unwrap(),
        "SOURCE       WHY      ATTEMPTS  ENDS IN"
    );
    for seconds in &sorted[..10] {
        let line = lines.next().unwrap();
        let source = format!("10.0.{}.{} ", seconds / 256, seconds % 256);
        assert!(line.starts_with(&source), "{line}: {source}");
        assert!(line.contains("  by hand         1 "), "{line}");
        assert!(
            line.ends_with("  1h8m") || line.ends_with("  1h7m"),
            "{line}"
        );
    }
    let more = "… and 4071 more (shimmer status --json shows all)";
    assert_eq!(lines.next(), Some(more));
}

#[test]
fn ports_are_shown_with_the_real_ones_apart() {
    let ports: Vec<String> = (0..16)
        .map(|port| (10_017 + port * 20).to_string())
        .collect();
    let with = format!(
        "\"open\":48,\"real\":[10242,10290,10254],\"ports\":[10242,{},10254,10290]",
        ports.join(",")
    );
    let answer = OVERVIEW.replace("\"open\":48", &with);
    let out = Fake::says(answer).prints(&["status", "--ports"], "status ports\n");
    let expected = "
ports of home
real (before, now, next)  10242 10290 10254
open  10242 10017 10037 10057 10077 10097 10117 10137 10157 10177 10197 10217
      10237 10257 10277 10297 10317 10254 10290

sessions: 1
";
    assert!(out.contains(expected), "{out}");
}

#[test]
fn a_daemon_of_another_version_may_say_less_or_more() {
    let answer = "{\"version\":\"9\",\n\"weather\":\"fine\",\n\"mirages\":[\n{\"mirage\":\"home\",\"door\":\"tarpit\"}\n],\n\
        \"counters\":{\"cakes_eaten\":2},\n\"places\":[\n{\"of\":\"cakes\",\"taken\":2,\"places\":2,\"full\":true}\n]}\n";
    let out = Fake::says(answer).prints(&["status"], "status\n");
    for line in [
        "shimmer 9, up 0s",
        "FULL: 2 of 2 cakes: cakes",
        "since the start  2 cakes eaten",
    ] {
        assert!(out.lines().any(|found| found == line), "{out}");
    }
    assert!(
        out.lines()
            .any(|line| line.starts_with("home") && line.ends_with("tarpit")),
        "{out}"
    );
}

/// What a person is told of an address: the ban's row if there is one, and the mirages' rows.
#[track_caller]
fn told(address: &str, sessions: u32, ban: &str, mirages: &[&str]) -> String {
    let (ban, mirages) = (ban.to_owned(), mirages.join(",\n"));
    let end = if ban.is_empty() { "" } else { "\n" };
    let answer = format!(
        "{{\"source\":\"{address}\",\"sessions\":{sessions},\n\"bans\":[\n{ban}{end}],\n\"mirages\":[\n{mirages}\n]}}\n"
    );
    Fake::says(answer).prints(&["status", address], &format!("status {address}\n"))
}

#[test]
fn a_banned_address_is_told_why_and_what_to_do() {
    let ban = r#"{"source":"192.0.2.7","seconds":812,"why":"trap","attempts":3}"#;
    let mirage =
        r#"{"mirage":"home","gate":"port","right":"refuse","wrong":"refuse","why":"banned"}"#;
    let expected = "\
192.0.2.7 is banned for 13m32s more: it touched a trap, 3 attempts in all. It
has no sessions.

home: whatever it does, it is turned away: it is banned.

To let it try again at once: shimmer unban 192.0.2.7
";
    assert_eq!(told("192.0.2.7", 0, ban, &[mirage]), expected);
}

#[test]
fn a_token_counts_more_than_a_ban_and_is_told_to() {
    let ban = r#"{"source":"2001:db8::/64","seconds":900,"why":"hand","attempts":1}"#;
    let mirage = r#"{"mirage":"home","gate":"token","right":"admit","wrong":"ban","why":"banned"}"#;
    let expected = "\
2001:db8::/64 is banned for 15m more: banned by hand (shimmer ban). It has no
sessions.

home: with a valid token it gets in, without one it is held and banned: it is
      banned, but a valid token lifts the ban.

To let it try again at once: shimmer unban 2001:db8::/64
";
    assert_eq!(told("2001:db8::/64", 0, ban, &[mirage]), expected);
}

#[test]
fn a_stranger_is_told_what_each_mirage_would_do() {
    let expected = "\
192.0.2.8 is not banned. It has 2 sessions.

home: at the real port it gets in, at any other it is held and banned.
web: with a valid token it gets in, without one it is held, but not banned: it
     has a session, so a touch is forgiven.
lan: whatever it does, it is held and banned: the mirage's `from` does not cover
     it.
nas: at the real port it gets in, at any other it is held, but not banned:
     `allow` covers it.
tv: at the real port it gets in, at any other it is held, but not banned: the
    clock was set a moment ago.

If it can't get in anywhere, compare clock, secret, name, range, period and
gate on both sides.
";
    let mirages = [
        r#"{"mirage":"home","gate":"port","right":"admit","wrong":"ban","why":"stranger"}"#,
        r#"{"mirage":"web","gate":"token","right":"admit","wrong":"hold","why":"session"}"#,
        r#"{"mirage":"lan","gate":"port","right":"ban","wrong":"ban","why":"from"}"#,
        r#"{"mirage":"nas","gate":"port","right":"admit","wrong":"hold","why":"allow"}"#,
        r#"{"mirage":"tv","gate":"port","right":"admit","wrong":"hold","why":"clock"}"#,
    ];
    assert_eq!(told("192.0.2.8", 2, "", &mirages), expected);
}

#[test]
fn a_ban_is_told_with_its_time() {
    let answer = "{\"ok\":\"banned\",\"source\":\"2001:db8:1:2::/64\",\"seconds\":900}\n";
    let fake = Fake::says(answer);
    let out = fake.prints(&["ban", "2001:db8:1:2::7"], "ban 2001:db8:1:2::7\n");
    assert_eq!(out, "2001:db8:1:2::/64 is banned for 15m\n");
}

#[test]
fn an_unban_tells_whether_there_was_one() {
    let answer = |count: u32| Fake::says(format!("{{\"ok\":\"unbanned\",\"count\":{count}}}\n"));
    let one = ["unban", "2001:db8:1:2::7"];
    let line = "unban 2001:db8:1:2::7\n";
    assert_eq!(
        answer(1).prints(&one, line),
        "2001:db8:1:2::/64 is no longer banned\n"
    );
    assert_eq!(
        answer(0).fails(&one, line),
        "shimmer: 2001:db8:1:2::/64 was not banned"
    );
    for (count, out) in [
        (0, "nobody was banned\n"),
        (1, "the only ban is lifted\n"),
        (4_096, "all 4096 bans are lifted\n"),
    ] {
        assert_eq!(answer(count).prints(&["unban", "all"], "unban all\n"), out);
    }
}

#[test]
fn the_daemons_errors_are_passed_on() {
    for words in [["ban", "192.0.2.7"].as_slice(), &["status", "--json"]] {
        let fake = Fake::says("{\"error\":\"192.0.2.7 is in allow\"}\n");
        let path = fake.path();
        let outcome = shimmer(words, &["--control".as_ref(), &path]);
        assert_eq!(outcome.complaint(1), "shimmer: 192.0.2.7 is in allow");
    }
}

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

/// The real daemon, with a control socket beside its configuration.
fn daemon(more: &str) -> (Daemon, Member) {
    let host = own_address();
    let folder = Folder::new();
    let control = format!("control = {}\n{more}", folder.file("control").display());
    let text = config(host, Echo::start().address, "").replace("control = none", &control);
    let daemon = Daemon::spawn_in(folder, host, &text, |_| {});
    daemon.wait_for_line(" listen mirage=");
    (daemon, Member::new(host, (10_000, 10_999)))
}

#[track_caller]
fn ask(daemon: &Daemon, words: &[&str]) -> String {
    let config = daemon.config_path();
    let outcome = shimmer(words, &["--config".as_ref(), &config]);
    assert_eq!((outcome.code, outcome.error.as_str()), (0, ""), "{words:?}");
    outcome.out
}

/// Asks until the answer has all these parts: what a visitor does is seen a moment later.
#[track_caller]
fn ask_until(daemon: &Daemon, words: &[&str], parts: &[&str]) -> String {
    wait_for(&parts.join(" and "), || {
        let answer = ask(daemon, words);
        let has_all = parts.iter().all(|part| answer.contains(part));
        has_all.then_some(answer)
    })
}

/// Touches a trap, and waits until the daemon has seen it.
#[track_caller]
fn touch(daemon: &Daemon, member: &Member, number: u16) {
    let _held = member.connect(visitor(number), member.traps()[0]).unwrap();
    daemon.wait_for_line(&format!(" ban source={} ", visitor(number)));
}

#[test]
fn the_real_daemon_tells_of_sessions_bans_and_ports() {
    let (daemon, member) = daemon("");
    let before = ask(&daemon, &["status"]);
    for part in ["sessions: 0", "bans: 0", "nothing has happened yet"] {
        assert!(before.contains(part), "{before}");
    }
    let mut session = member.enter(visitor(1));
    assert_echo(&mut session, "twelve bytes");
    touch(&daemon, &member, 2);
    let source = format!("\n{}", visitor(1));
    let parts = [
        "\nsessions: 1\n",
        &source,
        "  12   12\n",
        "\nbans: 1\n",
        "  trap  ",
        "1 accepted, 1 banned",
    ];
    let out = ask_until(&daemon, &["status"], &parts);
    let open = member.open_ports();
    let mirage = format!("ssh     port  10000-10999  ports     {}", open.len());
    assert!(out.contains(&mirage), "{out}");
    assert!(!out.contains("\nports of"), "{out}");
    assert!(out.contains("1 of 4096 bans"), "{out}");

    let out = ask(&daemon, &["status", "--ports"]);
    let minute = member.minute();
    let [last, this, next] = [minute - 1, minute, minute + 1].map(|minute| member.real(minute));
    assert!(
        out.contains(&format!(
            "\nreal (before, now, next)  {last} {this} {next}\n"
        )),
        "{out}"
    );
    for port in open {
        assert!(out.contains(&format!(" {port}")), "{out}");
    }

    let (one, ports) = (visitor(2).to_string(), ["status", "--json", "--ports"]);
    for words in [
        ["status", "--json"].as_slice(),
        &ports,
        &["status", "--json", &one],
    ] {
        let json = ask(&daemon, words);
        let read: serde_json::Result<serde_json::Value> = serde_json::from_str(&json);
        assert!(read.is_ok_and(|value| value.is_object()), "{json}");
    }
}

#[test]
fn a_ban_by_hand_holds_until_it_is_taken_off() {
    let (daemon, member) = daemon("");
    let (source, whom) = (visitor(7), visitor(7).to_string());
    let stranger = format!(
        "{whom} is not banned. It has no sessions.\n\n\
         ssh: at the real port it gets in, at any other it is held and banned.\n\n"
    );
    assert!(ask(&daemon, &["status", &whom]).starts_with(&stranger));

    assert_eq!(
        ask(&daemon, &["ban", &whom]),
        format!("{whom} is banned for 15m\n")
    );
    assert_closed(&mut member.enter(source));
    let out = ask(&daemon, &["status", &whom]);
    for part in [
        "banned by hand (shimmer ban)",
        "\nssh: whatever it does, it is turned away: it is banned.\n",
        &format!("shimmer unban {whom}\n"),
    ] {
        assert!(out.contains(part), "{out}");
    }

    let expected = format!("{whom} is no longer banned\n");
    assert_eq!(ask(&daemon, &["unban", &whom]), expected);
    assert_echo(&mut member.enter(source), "in again");
    let config = daemon.config_path();
    let outcome = shimmer(&["unban", &whom], &["--config".as_ref(), &config]);
    assert_eq!(
        outcome.complaint(1),
        format!("shimmer: {whom} was not banned")
    );
    assert_eq!(ask(&daemon, &["unban", "all"]), "nobody was banned\n");
}

#[test]
fn an_address_that_is_never_banned_is_not_banned_by_hand() {
    let (daemon, _) = daemon("allow = 127.1.0.0/16\n");
    let whom = visitor(7).to_string();
    let config = daemon.config_path();
    let outcome = shimmer(&["ban", &whom], &["--config".as_ref(), &config]);
    let complaint = outcome.complaint(1);
    assert!(
        complaint.starts_with(&format!("shimmer: {whom} is in allow")),
        "{complaint}"
    );
    let out = ask(&daemon, &["status", &whom]);
    assert!(out.contains("is held, but not banned:"), "{out}");
    assert!(out.contains("covers it."), "{out}");
}

#[test]
fn an_answer_of_many_pieces_is_whole() {
    let (daemon, member) = daemon("");
    let trap = member.traps()[0];
    for number in 0..600 {
        member.connect(visitor(number), trap).unwrap();
    }
    let json = ask_until(&daemon, &["status", "--json"], &["\"banned\":600,"]);
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read["bans"].as_array().unwrap().len(), 600);
    for number in 0..600 {
        let source = format!("\n{{\"source\":\"{}\",\"seconds\":", visitor(number));
        assert_eq!(json.matches(&source).count(), 1, "{source}");
    }
    let out = ask(&daemon, &["status"]);
    assert!(
        out.contains("\nbans: 600\n") && out.contains("\n… and 590 more ("),
        "{out}"
    );
    assert_eq!(ask(&daemon, &["unban", "all"]), "all 600 bans are lifted\n");
}

#[test]
fn a_daemon_that_hangs_or_is_killed_keeps_nobody_waiting() {
    let (mut daemon, _) = daemon("");
    let config = daemon.config_path();
    daemon.signal(libc::SIGSTOP);
    let before = Instant::now();
    let outcome = shimmer(&["status"], &["--config".as_ref(), &config]);
    assert!(before.elapsed() < PATIENCE);
    let complaint = outcome.complaint(1);
    assert!(
        complaint.ends_with(": the daemon has not answered for 5 s"),
        "{complaint}"
    );
    daemon.signal(libc::SIGCONT);
    daemon.signal(libc::SIGKILL);
    daemon.wait();
    let outcome = shimmer(&["status"], &["--config".as_ref(), &config]);
    assert!(
        outcome
            .complaint(1)
            .contains(": nobody listens; the daemon is not running")
    );
}

/// Behind silent gates, and for whom something is open.
const SILENT: &str = r#"{"version":"0.1.0",
"since":1794000000,
"now":1794000123,
"clock":"right",
"mirages":[
{"mirage":"home","name":"home","gate":"packet","door":"forward","forward":"127.0.0.1:22","range":"10000-10999","period":60,"minute":29900002,"open":3},
{"mirage":"winbox","name":"winbox","gate":"knock","door":"command"},
{"mirage":"set","name":"set","gate":"token","door":"nft","listen":"ports","range":"11000-11999","period":60,"minute":29900002,"open":47},
{"mirage":"sshd","name":"sshd","gate":"knock","door":"forward","forward":"exec","range":"12000-12999","period":60,"minute":29900002,"open":0}
],
"sessions":[
],
"doors":[
{"source":"192.0.2.7","mirage":"home","seconds":30},
{"source":"2001:db8:1234:5678:9abc:def0:1234:5678","mirage":"home","seconds":12},
{"source":"service","mirage":"sshd","seconds":3600},
{"source":"192.0.2.9","mirage":"winbox","seconds":600}
],
"bans":[
],
"counters":{"visitors":0,"accepted":0,"passed":3},
"places":[
{"of":"sessions","taken":0,"places":1024,"full":false}
]}
"#;

/// The same, for a person.
const SILENT_TABLE: &str = "\
shimmer 0.1.0, up 2m3s

MIRAGE  GATE    RANGE        LISTEN  OPEN  TURNS IN  LEADS TO
home    packet  10000-10999  -          3       57s  127.0.0.1:22
winbox  knock   -            -          -         -  command
set     token   11000-11999  ports     47       57s  nft
sshd    knock   12000-12999  -          0       57s  exec

sessions: 0

doors: 4
SOURCE                                  MIRAGE  FOR
service                                 sshd     1h
192.0.2.9                               winbox  10m
192.0.2.7                               home    30s
2001:db8:1234:5678:9abc:def0:1234:5678  home    12s

bans: 0

since the start  3 passed
in use           0 of 1024 sessions
";

#[test]
fn doors_that_are_open_have_a_list_and_silent_mirages_a_row() {
    let out = Fake::says(SILENT).prints(&["status"], "status\n");
    assert_eq!(out, SILENT_TABLE);
    assert!(out.lines().all(|line| line.len() <= 80));
}

/// What a real daemon answers, before and after somebody has passed, and to somebody who is banned.
#[test]
fn a_silent_mirage_tells_who_is_let_in_and_no_port() {
    let (host, folder) = (own_address(), Folder::new());
    let (control, service) = (folder.file("control"), "127.0.0.1:22");
    let text = format!(
        "[common]\nstate-file = none\ncontrol = {}\n[mirage-ssh]\nsecret = {}\nforward = {service}\n\
         range = 10000-10999\nlisten-address = {host}\ngate = packet\n{}\
         [mirage-knock]\nlisten-address = {host}\ngate = knock\nsequence = 7000,8000\n\
         door = command\nopen-command = true\n",
        control.display(),
        common::SECRET,
        common::STILL
    );
    common::stay_clear_of_its_end();
    let daemon = Daemon::spawn_in(folder, host, &text, |_| {});
    daemon.wait_for_lines(" listen mirage=", 2);
    let ask = |words: &[&str]| {
        let words = [&["status"], words].concat();
        let outcome = shimmer(&words, &["--control".as_ref(), &control]);
        assert_eq!(outcome.error, "");
        outcome.out
    };
    let before = ask(&["--ports"]);
    assert!(!before.contains("doors: "), "{before}");
    assert!(before.contains("\nopen  -\n"), "{before}");
    assert!(!before.contains("ports of knock"), "{before}");

    let member = common::gates::silent_member(host, "ssh", (10_000, 10_999));
    let datagram = member.datagram(shimmer::sys::clock::unix(), None);
    common::gates::send_from(visitor(1), member.at(member.port()), &datagram);
    daemon.wait_for_line(" open mirage=ssh source=127.1.0.1 ");
    let after = ask(&[]);
    assert!(
        after.contains("doors: 1\nSOURCE     MIRAGE  FOR\n127.1.0.1  ssh     "),
        "{after}"
    );
    assert!(after.contains("1 passed"), "{after}");
    assert!(!after.contains(&member.port().to_string()), "{after}");

    let banned = shimmer(&["ban", "127.1.0.2"], &["--control".as_ref(), &control]);
    assert_eq!(banned.code, 0);
    let told = ask(&["127.1.0.2"]);
    let silent = "with a valid datagram it gets in, with another it is not answered.\n";
    assert!(told.contains(silent), "{told}");
    let silent = "with the right knocks it gets in, with others it is not answered.\n";
    assert!(told.contains(silent), "{told}");
}
