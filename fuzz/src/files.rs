//! The state file and the journal: whoever can write them can write anything.

use shimmer::daemon::fuzzing::{bans, openings};
use shimmer::limits::{BANS, OPENINGS};
use shimmer::proto::{Instant, Now};
use std::fmt::Write;

/// When they are read.
const NOW: Now = Now {
    boot: Instant(1_000_000),
    real_ms: 1_794_000_000_000,
};

/// A file that has these lines and everything else as it should be: the fuzzer counts no lines.
fn whole(head: &str, lines: &[u8]) -> Vec<u8> {
    let mut file = format!("{head}\n").into_bytes();
    file.extend(lines);
    if !lines.is_empty() && !lines.ends_with(b"\n") {
        file.push(b'\n');
    }
    let count = file.iter().filter(|&&byte| byte == b'\n').count() - 1;
    file.extend(format!("end {count}\n").bytes());
    file
}

/// A state file, or its lines.
pub fn state(bytes: &[u8]) {
    const HEAD: &str = "shimmer-state 1";
    for file in [bytes, &whole(HEAD, bytes)] {
        let Some(read) = bans(file) else { continue };
        assert!(read.len() <= BANS);
        let mut lines = String::new();
        for ban in &read {
            let (source, unix, attempts) = (ban.source, ban.unix, ban.attempts);
            writeln!(lines, "ban {source} {unix} {attempts}").unwrap();
        }
        let again = bans(&whole(HEAD, lines.as_bytes()));
        assert_eq!(again.as_ref(), Some(&read), "{lines}");
    }
}

/// A journal, or its lines.
pub fn journal(bytes: &[u8]) {
    let heads = ["shimmer-open 1", "shimmer-open 2"];
    let [old, new] = heads.map(|head| whole(head, bytes));
    for file in [bytes, &old, &new] {
        let Some(read) = openings(file, NOW) else {
            continue;
        };
        assert!(read.len() <= OPENINGS);
        assert!(read.iter().all(|opening| opening.until >= NOW.boot));
        // A clock that is a day ahead opens nothing for longer.
        let late = Now {
            real_ms: NOW.real_ms + 86_400_000,
            ..NOW
        };
        let later = openings(file, late).expect("the clock damages no file");
        for (opening, later) in read.iter().zip(later) {
            assert!(later.until <= opening.until);
        }
    }
}
