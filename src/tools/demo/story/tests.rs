use super::super::scene::PortSchedule;
use super::member::LATE_ECHOES;
use super::*;
use crate::proto::scheme::schedule::{Pattern, Range};
use core::net::Ipv4Addr;
use std::sync::Arc;

/// A show whose daemon has just opened its ports.
pub fn story() -> Story {
    let range = Range::new(20_000, 20_127).unwrap();
    let secret = "c0ffee00c0ffee00c0ffee00c0ffee00";
    let schedule = PortSchedule::new(secret, Pattern::new(range, 15, 3).unwrap());
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
        schedule: Arc::new(schedule),
    };
    let now = Moment {
        real_ms: 1_794_000_000_000,
        since_ms: 0,
    };
    let mut story = Story::new(scene, now);
    story.handle(ShowEvent::Log("T listen mirage=demo".into()));
    story
}

fn later(story: &mut Story, ms: u64) {
    story.advance(Moment {
        real_ms: story.now.real_ms + ms as i64,
        since_ms: story.now.since_ms + ms,
    });
}

fn try_all(story: &mut Story, ban: u16) {
    let scanner = story.scene.scanner;
    story.handle(ShowEvent::Log(format!("T ban source={scanner} port={ban}")));
    let found = Found::Mute;
    story.handle(ShowEvent::Tried { port: ban, found });
    let found = Found::Closed;
    for port in story.scene.range.low()..=story.scene.range.high() {
        if port != ban {
            story.handle(ShowEvent::Tried { port, found });
        }
    }
}

fn trap(story: &Story) -> u16 {
    let is_trap = |port: &&u16| !story.ports.real.contains(port);
    *story.ports.open.iter().find(is_trap).unwrap()
}

#[track_caller]
fn assert_fails(story: &Story, expected: &str) {
    match story.state() {
        ShowState::Failed(why) => assert!(why.contains(expected), "{why}"),
        _ => panic!("the show has not failed"),
    }
}

#[test]
fn it_is_finished_when_everything_is_proven_and_was_seen() {
    let mut story = story();
    let door = story.ports.real[1];
    story.handle(ShowEvent::Entered { port: door });
    let ban = trap(&story);
    try_all(&mut story, ban);
    let (scanner, member) = (Found::Shut, Found::Greeting);
    story.handle(ShowEvent::Compared {
        port: door,
        scanner,
        member,
    });
    later(&mut story, 3_000);
    assert!(story.old_port().is_none());
    later(&mut story, 3_000);
    later(&mut story, LAG_MS);
    assert!(story.old_port() == Some(door));
    let found = Found::Closed;
    story.handle(ShowEvent::CameLate { found });
    for _ in 0..LATE_ECHOES {
        assert!(matches!(
            story.checks[Claim::StaysIn as usize],
            Check::Open(_)
        ));
        story.handle(ShowEvent::Echoed);
    }
    later(&mut story, 1);
    assert!(!story.is_proven());
    story.compare_ports(&story.ports.open.clone());
    later(&mut story, 1);
    assert!(story.is_proven() && matches!(story.state(), ShowState::Running));
    later(&mut story, REST_MS);
    assert!(matches!(story.state(), ShowState::Finished));
    assert_eq!(story.missing(), "");
}

#[test]
fn a_scanner_that_is_not_banned_is_reported() {
    let mut story = story();
    let ban = trap(&story);
    let found = Found::Mute;
    story.handle(ShowEvent::Tried { port: 1, found });
    try_all(&mut story, ban);
    assert_fails(&story, "touched 1 open ports before it was banned");
}

#[test]
fn luck_and_grace_disprove_nothing() {
    let mut story = story();
    let (scanner, real, ban) = (story.scene.scanner, story.ports.real[0], trap(&story));
    story.handle(ShowEvent::Log(format!(
        "T accept source={scanner} port={real}"
    )));
    let found = Found::Greeting;
    story.handle(ShowEvent::Tried { port: real, found });
    story.handle(ShowEvent::Log(format!(
        "T trap source={scanner} reason=grace"
    )));
    let found = Found::Mute;
    story.handle(ShowEvent::Tried { port: 1, found });
    try_all(&mut story, ban);
    assert!(
        matches!(&story.checks[Claim::IsBanned as usize], Check::Proven(how) if how.contains("by luck"))
    );
}

#[test]
fn what_must_not_happen_ends_it() {
    let mut ended = story();
    ended.handle(ShowEvent::Failed("the daemon has ended".into()));
    ended.handle(ShowEvent::Failed("the member: cut off".into()));
    assert_fails(&ended, "the daemon has ended");

    let mut late = story();
    let door = late.ports.real[1];
    late.handle(ShowEvent::Entered { port: door });
    let newcomer = late.scene.newcomer;
    late.handle(ShowEvent::Log(format!(
        "T accept source={newcomer} port={door}"
    )));
    assert_fails(&late, "let a newcomer in");

    let mut open = story();
    let (port, member) = (open.ports.real[1], Found::Greeting);
    let scanner = Found::Mute;
    open.handle(ShowEvent::Compared {
        port,
        scanner,
        member,
    });
    assert_fails(&open, "was not shut out");
}

#[test]
fn other_ports_than_predicted_are_tolerated_for_a_moment_only() {
    let mut story = story();
    let mut open = story.ports.open.clone();
    open.insert(65_535);
    story.compare_ports(&open);
    later(&mut story, LAG_MS);
    story.compare_ports(&open);
    assert!(matches!(story.state(), ShowState::Running));
    later(&mut story, 1);
    open = story.ports.open.clone();
    open.insert(65_535);
    story.compare_ports(&open);
    assert_fails(&story, "65535");
}
