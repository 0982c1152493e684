//! The commands that ask the daemon, and a control socket that sends a prepared answer.

use super::Folder;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

/// A daemon with two mirages, a session and two bans.
pub const OVERVIEW: &str = r#"{"version":"0.1.0",
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

/// The same, printed for a person.
pub const TABLE: &str = "\
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

/// A control socket with a prepared answer, for one client.
pub struct Fake {
    pub folder: Folder,
    pub thread: JoinHandle<String>,
}

impl Fake {
    /// Creates the socket. `then` gets the connection once a line has arrived.
    pub fn new(then: impl FnOnce(UnixStream) + Send + 'static) -> Self {
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

    pub fn says(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::new(move |mut stream| stream.write_all(answer.as_bytes()).unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.folder.file("control")
    }

    /// Runs a command. Returns its outcome and the line that the socket received.
    #[track_caller]
    pub fn asked(self, words: &[&str]) -> (Outcome, String) {
        let path = self.path();
        let outcome = shimmer(words, &["--control".as_ref(), &path]);
        (outcome, self.thread.join().unwrap())
    }

    /// Asserts that a command succeeds and sends `line`. Returns what it prints.
    #[track_caller]
    pub fn prints(self, words: &[&str], line: &str) -> String {
        let (outcome, asked) = self.asked(words);
        assert_eq!(outcome.error, "");
        assert_eq!(outcome.code, 0);
        assert_eq!(asked, line);
        outcome.out
    }

    /// Asserts that a command fails after sending `line`. Returns its error.
    #[track_caller]
    pub fn fails(self, words: &[&str], line: &str) -> String {
        let path = format!("{}: ", self.path().display());
        let (outcome, asked) = self.asked(words);
        assert_eq!(asked, line);
        outcome.complaint(1).replace(&path, "")
    }
}

pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub error: String,
}

impl Outcome {
    /// The only line on stderr. Asserts the exit code, and that stdout is empty.
    #[track_caller]
    pub fn complaint(&self, code: i32) -> String {
        assert_eq!(self.out, "");
        assert_eq!(self.code, code, "{}", self.error);
        let line = self.error.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        line.to_owned()
    }
}

pub fn shimmer(words: &[&str], more: &[&Path]) -> Outcome {
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
