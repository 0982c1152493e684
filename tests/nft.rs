//! Addresses on their way into the kernel's sets: what nft is told, how often, and what becomes of the
//! others where it fails. A script stands in for nft. It writes down what it is told, and fails as it
//! is told. The clock is the test's.

mod common;

use common::*;
use mio::{Events, Poll, Token};
use shimmer::daemon::nft::{News, Nft, Refused};
use shimmer::limits::{
    NFT_BATCH, NFT_LONGEST_PAUSE_MS, NFT_MS, NFT_NAME, NFT_PAUSE_MS, NFT_QUEUED,
};
use shimmer::proto::Instant;
use shimmer::sys::child;
use shimmer::terms::NftSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Takes what it is told, then does what stands in a file beside it.
const STAND_IN: &str = r#"#!/bin/sh
folder=${0%/*}
[ "$*" = "-f -" ] || exit 99
text=$(cat)
printf '%s\n--\n' "$text" >>"$folder/runs"
. "$folder/behaviour"
"#;

/// A loop that has nft only.
struct Turns {
    poll: Poll,
    events: Events,
    nft: Nft<u32>,
    now: Instant,
    folder: Folder,
    /// What has happened, with tickets as numbers.
    news: Vec<String>,
    /// All children of the process are reaped, so one test runs at a time.
    _alone: MutexGuard<'static, ()>,
}

impl Turns {
    fn new(behaviour: &str) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let alone = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let folder = Folder::new();
        let program = folder.file("nft");
        fs::write(&program, STAND_IN).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.file("behaviour"), behaviour).unwrap();
        Self {
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(8),
            nft: Nft::new(program.to_str().unwrap(), Token(7)),
            now: Instant(1_000_000),
            folder,
            news: Vec::new(),
            _alone: alone,
        }
    }

    fn behave(&self, behaviour: &str) {
        fs::write(self.folder.file("behaviour"), behaviour).unwrap();
    }

    fn add(&mut self, set: &str, address: &str, seconds: u32, ticket: u32) -> Result<(), Refused> {
        let set = set
            .parse::<NftSet>()
            .unwrap_or_else(|_| panic!("{set} is a set"));
        let address: IpAddr = address.parse().unwrap();
        self.nft.add(&set, address, seconds, ticket, self.now)
    }

    #[track_caller]
    fn must_add(&mut self, set: &str, address: &str, seconds: u32, ticket: u32) {
        assert!(self.add(set, address, seconds, ticket).is_ok());
    }

    fn turn(&mut self) {
        let a_little = Some(Duration::from_millis(2));
        self.poll.poll(&mut self.events, a_little).unwrap();
        while let Some((pid, exit)) = child::reap() {
            assert!(self.nft.ended(pid, exit, self.now));
            assert!(!self.nft.ended(pid, exit, self.now));
        }
        for event in &self.events {
            assert_eq!(event.token(), Token(7));
            self.nft.read_output(self.now);
        }
        self.nft.expire(self.now);
        self.nft.start_due(self.poll.registry(), self.now);
        while let Some(news) = self.nft.next_news() {
            self.news.push(match news {
                News::Done(ticket) => format!("done {ticket}"),
                News::TooLate(ticket) => format!("late {ticket}"),
                News::Replaced(ticket) => format!("replaced {ticket}"),
                News::Failing { set, why } => format!("failing {set}: {why}"),
            });
        }
    }

    /// Turns until so much has happened: what.
    #[track_caller]
    fn news(&mut self, count: usize) -> Vec<String> {
        wait_for("news", || {
            self.turn();
            (self.news.len() >= count).then_some(())
        });
        core::mem::take(&mut self.news)
    }

    /// What nft was told in each of its runs.
    fn runs(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.file("runs")).unwrap_or_default();
        let mut runs: Vec<String> = text.split("\n--\n").map(str::to_owned).collect();
        assert_eq!(runs.pop().as_deref(), Some(""));
        runs
    }

    /// How many elements each run had.
    fn sizes(&self) -> Vec<usize> {
        let count = |run: &String| run.lines().filter(|line| line.contains("timeout")).count();
        self.runs().iter().map(count).collect()
    }

    /// Goes to the next moment at which there is something to do, and does it to the end: whether nft
    /// was run.
    #[track_caller]
    fn next_moment(&mut self) -> bool {
        let before = self.sizes().len();
        let next = self.nft.next_deadline().expect("something waits");
        self.now = self.now.max(next);
        wait_for("the end of what is to do", || {
            self.turn();
            children().is_empty().then_some(())
        });
        self.sizes().len() > before
    }

    /// When nft is run, in milliseconds since `since`, until nothing waits any more.
    #[track_caller]
    fn runs_since(&mut self, since: Instant) -> Vec<u64> {
        let mut runs = Vec::new();
        while self.nft.next_deadline().is_some() {
            if self.next_moment() {
                runs.push(self.now.since(since));
            }
        }
        runs
    }
}

const SET: &str = "inet/fw4/ssh";

#[test]
fn an_address_is_added_with_its_time_and_renewed() {
    let mut turns = Turns::new("");
    turns.must_add(SET, "192.0.2.7", 30, 1);
    turns.must_add(SET, "2001:db8::7", 3_600, 2);
    turns.must_add("ip/filter/x-1", "192.0.2.8", 1, 3);
    assert_eq!(turns.news(3), ["done 1", "done 2", "done 3"]);
    let expected = "\
add element inet fw4 ssh4 { 192.0.2.7 }
delete element inet fw4 ssh4 { 192.0.2.7 }
add element inet fw4 ssh4 { 192.0.2.7 timeout 30s }
add element inet fw4 ssh6 { 2001:db8::7 }
delete element inet fw4 ssh6 { 2001:db8::7 }
add element inet fw4 ssh6 { 2001:db8::7 timeout 3600s }
add element ip filter x-14 { 192.0.2.8 }
delete element ip filter x-14 { 192.0.2.8 }
add element ip filter x-14 { 192.0.2.8 timeout 1s }";
    assert_eq!(turns.runs(), [expected]);
    assert!(turns.nft.next_deadline().is_none());
}

#[test]
fn an_address_is_taken_out_and_the_last_wish_counts() {
    let mut turns = Turns::new("");
    turns.must_add(SET, "192.0.2.7", 0, 1);
    turns.must_add(SET, "192.0.2.8", 30, 2);
    turns.must_add(SET, "192.0.2.8", 0, 3);
    turns.must_add(SET, "192.0.2.9", 0, 4);
    turns.must_add(SET, "192.0.2.9", 30, 5);
    let news = ["replaced 2", "replaced 4", "done 1", "done 3", "done 5"];
    assert_eq!(turns.news(5), news);
    let expected = "\
add element inet fw4 ssh4 { 192.0.2.7 }
delete element inet fw4 ssh4 { 192.0.2.7 }
add element inet fw4 ssh4 { 192.0.2.8 }
delete element inet fw4 ssh4 { 192.0.2.8 }
add element inet fw4 ssh4 { 192.0.2.9 }
delete element inet fw4 ssh4 { 192.0.2.9 }
add element inet fw4 ssh4 { 192.0.2.9 timeout 30s }";
    assert_eq!(turns.runs(), [expected]);
    assert!(turns.nft.next_deadline().is_none());
}

#[test]
fn the_last_wish_counts_after_a_failure_too() {
    let mut turns = Turns::new(BAD_SETS_FAIL);
    turns.must_add("inet/t/bad", "192.0.2.7", 30, 1);
    turns.turn();
    turns.must_add("inet/t/bad", "192.0.2.7", 0, 2);
    turns.news(1);
    turns.behave("");
    turns.now = turns.now.after(NFT_LONGEST_PAUSE_MS / 2);
    assert_eq!(turns.news(1), ["done 2"]);
    assert!(turns.nft.next_deadline().is_none());
}

#[test]
fn one_nft_a_second_has_what_came_meanwhile() {
    let mut turns = Turns::new("");
    turns.must_add(SET, "192.0.2.1", 30, 1);
    let first = turns.now;
    assert_eq!(turns.news(1), ["done 1"]);
    turns.must_add(SET, "192.0.2.2", 30, 2);
    turns.now = first.after(NFT_PAUSE_MS - 1);
    turns.must_add(SET, "192.0.2.3", 30, 3);
    turns.turn();
    turns.turn();
    assert_eq!(turns.sizes(), [1]);
    assert!(turns.nft.next_deadline() == Some(first.after(NFT_PAUSE_MS)));
    turns.now = first.after(NFT_PAUSE_MS);
    assert_eq!(turns.news(2), ["done 2", "done 3"]);
    assert_eq!(turns.sizes(), [1, 2]);
    // Of the time of the second a second was over.
    assert!(turns.runs()[1].contains("192.0.2.2 timeout 29s"));
    assert!(turns.runs()[1].contains("192.0.2.3 timeout 30s"));
}

#[test]
fn while_one_runs_no_other_does() {
    let mut turns = Turns::new(r#"read -r _ <"$folder/fifo""#);
    let fifo = turns.folder.file("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    turns.must_add(SET, "192.0.2.1", 30, 1);
    turns.turn();
    turns.must_add(SET, "192.0.2.2", 30, 2);
    turns.now = turns.now.after(5 * NFT_PAUSE_MS);
    for _ in 0..20 {
        turns.turn();
    }
    assert!(turns.news.is_empty() && turns.sizes().len() <= 1);
    turns.behave("");
    fs::write(&fifo, "go on\n").unwrap();
    assert_eq!(turns.news(2), ["done 1", "done 2"]);
    assert_eq!(turns.sizes(), [1, 1]);
}

#[test]
fn a_batch_fits_into_the_smallest_pipe() {
    let mut turns = Turns::new("");
    let long = "x".repeat(NFT_NAME);
    let set = format!("ip6/{long}/{long}");
    let address = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff";
    for ticket in 0..NFT_QUEUED as u32 {
        let (set, seconds) = match ticket % 2 {
            0 => (set.as_str(), u32::MAX),
            _ => (SET, 1_000),
        };
        turns.must_add(set, address, seconds, ticket);
    }
    let expected: Vec<String> = (0..NFT_QUEUED)
        .map(|number| format!("done {number}"))
        .collect();
    let mut news = Vec::new();
    while news.len() < NFT_QUEUED {
        news.extend(turns.news(1));
        turns.now = turns.now.after(NFT_PAUSE_MS);
    }
    assert_eq!(news, expected);
    let runs = turns.runs();
    let longest = runs.iter().map(|run| run.len() + 1).max().unwrap();
    assert!(longest <= NFT_BATCH && longest > NFT_BATCH / 2, "{longest}");
    assert_eq!(turns.sizes().iter().sum::<usize>(), NFT_QUEUED);
}

#[test]
fn what_can_not_be_taken_is_refused() {
    let mut turns = Turns::new("");
    assert!(turns.add("ip/t/s", "2001:db8::7", 30, 0) == Err(Refused::Family));
    assert!(turns.add("ip6/t/s", "192.0.2.7", 30, 0) == Err(Refused::Family));
    for ticket in 0..NFT_QUEUED as u32 {
        turns.must_add(SET, "192.0.2.7", 30, ticket);
    }
    assert!(turns.add(SET, "192.0.2.7", 30, 0) == Err(Refused::Full));
    // Those that nft has at the moment count as well.
    turns.turn();
    assert!(turns.add(SET, "192.0.2.7", 30, 0) == Err(Refused::Full));
    turns.news(1);
    turns.must_add(SET, "192.0.2.7", 30, 0);
    assert_eq!(Refused::Full.to_string(), "too many elements wait for nft");
}

#[test]
fn a_set_that_fails_is_told_of_once_and_the_others_do_not_wait_for_it() {
    let mut turns = Turns::new(BAD_SETS_FAIL);
    for (ticket, set) in (0..).zip(["inet/t/bad", SET, "inet/t/bad", SET, "inet/t/bad", SET]) {
        turns.must_add(set, &format!("192.0.2.{ticket}"), 20, ticket);
    }
    let start = turns.now;
    // All together fail, then the first alone.
    assert!(turns.next_moment());
    assert_eq!(turns.news, [""; 0]);
    assert!(turns.next_moment());
    assert_eq!(turns.news, [FAILING]);
    // It is known now whose fault it is.
    assert!(turns.next_moment());
    assert_eq!(turns.news[1..], ["done 1", "done 3", "done 5"]);
    assert_eq!(turns.sizes(), [6, 1, 3]);

    // Its own are tried one by one, with growing pauses, and in vain.
    assert_eq!(turns.runs_since(start), [3_000, 5_000, 9_000, 17_000]);
    assert_eq!(turns.sizes()[3..], [1, 1, 1, 1]);
    let mut late = turns.news.split_off(4);
    late.sort();
    assert_eq!(late, ["late 0", "late 2", "late 4"]);

    // Whoever comes next finds out at once how it is, and is in as soon as it can be.
    turns.must_add("inet/t/bad", "192.0.2.7", 20, 7);
    assert!(turns.next_moment());
    assert_eq!(turns.news.split_off(4), [FAILING]);
    turns.behave("");
    assert!(turns.next_moment());
    assert_eq!(turns.news.split_off(4), ["done 7"]);
    assert!(turns.nft.next_deadline().is_none());
}

const FAILING: &str =
    "failing inet t bad4: exit=1: /dev/stdin:1:20-26: Error: No such file or directory";

#[test]
fn the_pauses_of_a_set_that_fails_have_an_end() {
    let mut turns = Turns::new(BAD_SETS_FAIL);
    let start = turns.now;
    turns.must_add("inet/t/bad", "192.0.2.7", 300, 1);
    let mut expected = vec![0, 1_000, 3_000, 7_000, 15_000, 31_000];
    let more = (1..5).map(|more| 31_000 + more * NFT_LONGEST_PAUSE_MS);
    // The sixth pause would be 32 seconds, the seventh 64.
    expected.push(63_000);
    expected.extend(more.map(|at| at + 32_000).take_while(|&at| at < 300_000));
    assert_eq!(turns.runs_since(start), expected);
    assert_eq!(turns.news, [FAILING, "late 1"]);
}

#[test]
fn a_full_set_takes_as_many_as_it_has_room_for() {
    // It has room for five.
    let mut turns = Turns::new(
        r#"
new=$(grep -c timeout <<END
$text
END
)
had=$(cat "$folder/had" 2>/dev/null || echo 0)
[ $((had + new)) -le 5 ] || { echo "Error: Too many open files in system"; exit 1; }
echo $((had + new)) >"$folder/had"
"#,
    );
    for ticket in 0..20 {
        turns.must_add(SET, &format!("192.0.2.{ticket}"), 60, ticket);
    }
    let start = turns.now;
    let runs = turns.runs_since(start);
    assert!(
        *runs.last().unwrap() < 60_000 && runs.len() < 20,
        "{runs:?}"
    );
    let done = turns
        .news
        .iter()
        .filter(|news| news.starts_with("done"))
        .count();
    let late = turns
        .news
        .iter()
        .filter(|news| news.starts_with("late"))
        .count();
    assert_eq!((done, late), (5, 15));
    let failing = "failing inet fw4 ssh4: exit=1: Error: Too many open files in system";
    assert_eq!(turns.news.len(), 21);
    assert!(turns.news.iter().any(|news| news == failing));
}

#[test]
fn an_nft_that_hangs_is_killed_and_one_that_is_missing_is_waited_for() {
    let mut turns = Turns::new("echo stuck; sleep 1000");
    turns.must_add(SET, "192.0.2.7", 60, 1);
    turns.turn();
    let deadline = turns.now.after(NFT_MS);
    assert!(turns.nft.next_deadline() == Some(deadline));
    wait_for("it to be told", || (turns.sizes() == [1]).then_some(()));
    turns.now = Instant(deadline.0 - 1);
    turns.turn();
    turns.turn();
    assert!(turns.news.is_empty() && !children().is_empty());
    assert!(!turns.next_moment());
    let [news] = &core::mem::take(&mut turns.news)[..] else {
        panic!("there are other news");
    };
    let killed = "failing inet fw4 ssh4: killed, its time was over";
    assert!(news.starts_with(killed), "{news}");

    let (here, away) = (turns.folder.file("nft"), turns.folder.file("away"));
    fs::rename(&here, &away).unwrap();
    assert!(!turns.next_moment());
    fs::rename(&away, &here).unwrap();
    turns.behave("");
    assert!(turns.next_moment());
    assert_eq!(turns.news, ["done 1"]);

    turns.now = turns.now.after(NFT_PAUSE_MS);
    fs::rename(&here, &away).unwrap();
    turns.must_add(SET, "192.0.2.7", 60, 2);
    assert!(!turns.next_moment());
    assert!(turns.news[1].starts_with("failing inet fw4 ssh4: not started: "));
}

#[test]
fn half_the_runs_fail_and_each_element_has_its_end() {
    let mut turns = Turns::new(
        r#"
count=$(cat "$folder/count" 2>/dev/null || echo 0)
echo $((count + 1)) >"$folder/count"
case $text in *bad*) exit 1 ;; esac
[ $((count % 2)) = 0 ] || exit 1
"#,
    );
    let count = NFT_QUEUED as u32;
    let sets = ["inet/t/a", "inet/t/bad", "ip/t/b"];
    for ticket in 0..count {
        let address = format!("192.0.2.{}", ticket % 200);
        let seconds = 600 + ticket;
        turns.must_add(sets[ticket as usize % 3], &address, seconds, ticket);
    }
    let start = turns.now;
    let runs = turns.runs_since(start);
    assert!(runs.windows(2).all(|two| two[1] - two[0] >= NFT_PAUSE_MS));
    let mut ends = vec![String::new(); count as usize];
    for news in &turns.news {
        if let Some((end, ticket)) = news.split_once(' ')
            && let Ok(ticket) = ticket.parse::<usize>()
        {
            ends[ticket] += end;
        }
    }
    for (ticket, end) in ends.iter().enumerate() {
        let expected = if ticket % 3 == 1 { "late" } else { "done" };
        assert_eq!(end, expected, "{ticket}");
    }
}
