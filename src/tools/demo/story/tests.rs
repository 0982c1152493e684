use super::super::scene::Insight;
use super::*;
use crate::proto::scheme::schedule::{Pattern, Range};
use std::sync::Arc;

/// A show whose daemon has just opened its ports.
pub fn story() -> Story {
    let range = Range::new(20_000, 20_127).unwrap();
    let secret = "c0ffee00c0ffee00c0ffee00c0ffee00";
    let insight = Insight::new(secret, Pattern::new(range, 15, 3).unwrap());
    let host = |number| Ipv4Addr::new(127, 99, 99, number);
    let scene = Scene {
        began: std::time::Instant::now(),
        address: host(10),
        member: host(77),
        scanner: host(66),
        newcomer: host(88),
        range,
        secret: secret.into(),
        ban_s: 60,
        stays: false,
        insight: Arc::new(insight),
    };
    let now = Moment {
        real_ms: 1_794_000_000_000,
        since_ms: 0,
    };
    let mut story = Story::new(scene, now);
    story.hear(Event::Log("T listen mirage=demo".into()));
    story
}

fn later(story: &mut Story, ms: u64) {
    story.pass(Moment {
        real_ms: story.now.real_ms + ms as i64,
        since_ms: story.now.since_ms + ms,
    });
}

fn try_all(story: &mut Story, ban: u16) {
    let scanner = story.scene.scanner;
    story.hear(Event::Log(format!("T ban source={scanner} port={ban}")));
    let found = Found::Mute;
    story.hear(Event::Tried { port: ban, found });
    let found = Found::Closed;
    for port in story.scene.range.low()..=story.scene.range.high() {
        if port != ban {
            story.hear(Event::Tried { port, found });
        }
    }
}

fn trap(story: &Story) -> u16 {
    let is_trap = |port: &&u16| !story.ports.real.contains(port);
    *story.ports.open.iter().find(is_trap).unwrap()
}

#[track_caller]
fn is_bad(story: &Story, expected: &str) {
    match story.outcome() {
        Outcome::Bad(why) => assert!(why.contains(expected), "{why}"),
        _ => panic!("the outcome is not bad"),
    }
}

#[test]
fn it_is_good_when_everything_is_proven_and_was_seen() {
    let mut story = story();
    let door = story.ports.real[1];
    story.hear(Event::Entered { port: door });
    let ban = trap(&story);
    try_all(&mut story, ban);
    let (scanner, member) = (Found::Shut, Found::Greeting);
    story.hear(Event::Compared {
        port: door,
        scanner,
        member,
    });
    later(&mut story, 3_000);
    assert!(story.port_left_behind().is_none());
    later(&mut story, 3_000);
    later(&mut story, LAG_MS);
    assert!(story.port_left_behind() == Some(door));
    let found = Found::Closed;
    story.hear(Event::CameLate { found });
    for _ in 0..ECHOES_BEHIND {
        assert!(matches!(story.checks[STAYS_IN], Check::Open(_)));
        story.hear(Event::Echoed);
    }
    later(&mut story, 1);
    assert!(!story.is_proven());
    story.look(&story.ports.open.clone());
    later(&mut story, 1);
    assert!(story.is_proven() && matches!(story.outcome(), Outcome::Open));
    later(&mut story, REST_MS);
    assert!(matches!(story.outcome(), Outcome::Good));
    assert_eq!(story.missing(), "");
}

#[test]
fn a_scanner_that_is_let_off_is_told_of() {
    let mut story = story();
    let ban = trap(&story);
    let found = Found::Mute;
    story.hear(Event::Tried { port: 1, found });
    try_all(&mut story, ban);
    is_bad(&story, "touched 1 open ports before it was banned");
}

#[test]
fn luck_and_grace_are_no_fault() {
    let mut story = story();
    let (scanner, real, ban) = (story.scene.scanner, story.ports.real[0], trap(&story));
    story.hear(Event::Log(format!("T accept source={scanner} port={real}")));
    let found = Found::Greeting;
    story.hear(Event::Tried { port: real, found });
    story.hear(Event::Log(format!("T trap source={scanner} reason=grace")));
    let found = Found::Mute;
    story.hear(Event::Tried { port: 1, found });
    try_all(&mut story, ban);
    assert!(matches!(&story.checks[IS_CAUGHT], Check::Good(how) if how.contains("by luck")));
}

#[test]
fn what_must_not_happen_ends_it() {
    let mut ended = story();
    ended.hear(Event::Broken("the daemon has ended".into()));
    ended.hear(Event::Broken("the member: cut off".into()));
    is_bad(&ended, "the daemon has ended");

    let mut late = story();
    let door = late.ports.real[1];
    late.hear(Event::Entered { port: door });
    let newcomer = late.scene.newcomer;
    late.hear(Event::Log(format!(
        "T accept source={newcomer} port={door}"
    )));
    is_bad(&late, "let a newcomer in");

    let mut open = story();
    let (port, member) = (open.ports.real[1], Found::Greeting);
    let scanner = Found::Mute;
    open.hear(Event::Compared {
        port,
        scanner,
        member,
    });
    is_bad(&open, "was not shut out");
}

#[test]
fn other_ports_than_foretold_are_borne_for_a_moment_only() {
    let mut story = story();
    let mut open = story.ports.open.clone();
    open.insert(65_535);
    story.look(&open);
    later(&mut story, LAG_MS);
    story.look(&open);
    assert!(matches!(story.outcome(), Outcome::Open));
    later(&mut story, 1);
    open = story.ports.open.clone();
    open.insert(65_535);
    story.look(&open);
    is_bad(&story, "65535");
}

#[test]
fn ordinals_are_english() {
    let text = [1, 2, 3, 4, 11, 12, 13, 21, 112].map(|number| Ordinal(number).to_string());
    let english = [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th",
    ];
    assert_eq!(text, english);
}
