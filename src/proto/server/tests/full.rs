//! What is full: traps, the caps, and descriptors.

use super::shell::{Body, Dial};
use super::world::{TRAPS, World, but, common, home, home_with_token, mirage, settings};
use crate::limits::DEAD_MS;
use crate::proto::conn::ConnId;
use crate::proto::input::{End, Input};
use crate::proto::settings::{CommonSettings, MirageSettings};
use crate::terms::{Door, Forward, Service};

const MEMBER: &str = "203.0.113.5";

fn stranger(number: usize) -> String {
    format!("192.0.2.{number}")
}

/// Fills all traps, each with somebody else.
fn fill(world: &mut World) -> Vec<ConnId> {
    let port = world.trap("home");
    let mut come = |number| world.visit(&stranger(number), port).unwrap();
    (1..=TRAPS).map(&mut come).collect()
}

fn is_held(world: &World, conn: ConnId) -> bool {
    matches!(world.shell.body(conn), Some(Body::Trap { .. }))
}

#[test]
fn of_those_alike_the_oldest_goes() {
    let mut world = World::serving(&[home()]);
    let mut held = Vec::new();
    for number in 1..=TRAPS {
        held.push(world.visit(&stranger(number), world.trap("home")).unwrap());
        world.skip(1);
    }
    world.shell.trace.clear();
    world.visit(&stranger(9), world.trap("home")).unwrap();
    world.assert_trace(&["ban source=192.0.2.9", "> give up", "> hold"]);
    let stays: Vec<bool> = held.iter().map(|&conn| is_held(&world, conn)).collect();
    assert_eq!(stays, [false, true, true, true]);
    assert_eq!(world.counts(), (TRAPS, 0));
}

#[test]
fn the_source_that_holds_most_goes_before_an_older_one() {
    let mut world = World::serving(&[home_with_token()]);
    let port = world.trap("home");
    let first = world.visit(&stranger(1), port).unwrap();
    world.skip(1);
    let many: Vec<ConnId> = (0..3)
        .map(|_| world.visit(&stranger(2), port).unwrap())
        .collect();
    for &conn in [first].iter().chain(&many) {
        world.say(conn, None);
    }
    world.visit(&stranger(3), port).unwrap();
    assert!(is_held(&world, first) && !is_held(&world, many[0]) && is_held(&world, many[1]));
}

#[test]
fn who_was_judged_goes_before_who_may_still_say_a_token() {
    let mut world = World::serving(&[home_with_token()]);
    let port = world.trap("home");
    let many: Vec<ConnId> = (0..3)
        .map(|_| world.visit(&stranger(1), port).unwrap())
        .collect();
    world.skip(1);
    let judged = world.visit(&stranger(2), port).unwrap();
    world.say(judged, None);
    world.visit(&stranger(3), port).unwrap();
    assert!(!is_held(&world, judged) && many.iter().all(|&conn| is_held(&world, conn)));
    // Now nobody is judged.
    world.visit(&stranger(4), port).unwrap();
    assert!(!is_held(&world, many[0]));
}

#[test]
fn one_who_has_said_a_wrong_token_stays_when_told_to_go_and_then_another_goes() {
    let mut world = World::serving(&[home_with_token()]);
    let held = fill(&mut world);
    world.shell.unread.push((held[0], [7; 48]));
    world.shell.trace.clear();
    world.visit(&stranger(9), world.trap("home")).unwrap();
    // The one with the wrong token is judged now, and so it is who goes.
    let expected = [
        "> give up",
        "> hold, listening",
        "ban source=192.0.2.1",
        "> mute",
        "> give up",
    ];
    world.assert_trace(&expected);
    assert!(!is_held(&world, held[0]));
    assert_eq!(world.counts(), (TRAPS, 0));
}

#[test]
fn a_source_has_so_many_sessions_and_all_together_have() {
    let mut world = World::serving(&[home()]);
    let mut conns: Vec<ConnId> = (0..3).map(|_| world.join(MEMBER, "home")).collect();
    world.shell.trace.clear();
    assert_eq!(world.visit(MEMBER, world.real("home")), None);
    world.assert_trace(&["full source=203.0.113.5 reason=source"]);
    conns.extend((6..9).map(|number| world.join(&format!("203.0.113.{number}"), "home")));
    world.shell.trace.clear();
    assert_eq!(world.visit("203.0.113.9", world.real("home")), None);
    world.assert_trace(&["full source=203.0.113.9 reason=sessions"]);
    assert_eq!(world.core.counters().turned_away, 2);
    world.end(conns[0], End::Closed);
    world.join(MEMBER, "home");
}

/// As many addresses as would fill all places at one mirage, each with all that it may have.
#[test]
fn one_mirage_leaves_another_its_places() {
    let common = CommonSettings {
        max_sessions: 65,
        max_sessions_per_source: 4,
        ..common()
    };
    let web = mirage("web", (11_000, 11_999));
    let mut world = World::configured(common, &[web, home()]);
    let port = world.real("web");
    for number in 0..17 {
        for _ in 0..4 {
            world.shell.dials.push_back(Dial::Accepted);
            world.visit(&stranger(number), port);
        }
    }
    // Of 65, 32 are promised, half of them to each mirage; the odd one is for whoever comes first.
    assert_eq!(world.counts().1, 49);
    let full = "full source=192.0.2.16 reason=mirage";
    assert!(world.shell.trace.iter().any(|line| {
        full.split(' ')
            .all(|word| line.split(' ').any(|other| other == word))
    }));
    for number in 0..16 {
        world.join(&format!("203.0.113.{number}"), "home");
    }
    world.shell.trace.clear();
    assert_eq!(world.visit("203.0.113.99", world.real("home")), None);
    world.assert_trace(&["full source=203.0.113.99 reason=sessions"]);
}

#[test]
fn a_mirage_has_no_more_than_its_own_limit_and_the_rest_is_for_the_others() {
    let web = but(mirage("web", (11_000, 11_999)), |it| {
        it.max_sessions = Some(1)
    });
    let mut world = World::serving(&[home(), web]);
    world.join("203.0.113.1", "web");
    world.shell.trace.clear();
    assert_eq!(world.visit("203.0.113.2", world.real("web")), None);
    world.assert_trace(&["full source=203.0.113.2 reason=mirage"]);
    for number in 1..6 {
        world.join(&format!("203.0.113.{number}"), "home");
    }
    assert_eq!(world.counts().1, 6);
}

#[test]
fn a_mirage_without_sessions_is_promised_none() {
    let door = Door::Command {
        open: "/bin/open".parse().unwrap(),
        close: None,
    };
    let command = MirageSettings {
        door,
        ..mirage("web", (11_000, 11_999))
    };
    let mut world = World::serving(&[home(), command]);
    for number in 1..7 {
        world.join(&format!("203.0.113.{number}"), "home");
    }
    assert_eq!(world.counts().1, 6);
}

#[test]
fn a_reload_shares_the_places_anew_and_ends_no_session() {
    let mut world = World::serving(&[home()]);
    let conns: Vec<ConnId> = (1..7)
        .map(|number| world.join(&format!("203.0.113.{number}"), "home"))
        .collect();
    world.reload(&[home(), mirage("web", (11_000, 11_999))]);
    assert_eq!(world.counts().1, 6);
    let places = |world: &World| -> Vec<(Option<String>, usize, usize)> {
        let all = world.core.places().into_iter();
        let sessions = all.filter(|it| it.of == "sessions");
        sessions
            .map(|it| (it.mirage.as_deref().map(str::to_owned), it.taken, it.places))
            .collect()
    };
    // One place of three for each is promised, and four are common.
    let web = Some("web".to_owned());
    assert_eq!(places(&world), [(None, 6, 6), (web.clone(), 0, 1)]);
    world.end(conns[0], End::Closed);
    world.shell.trace.clear();
    // The place that is free now is web's.
    assert_eq!(world.visit("203.0.113.1", world.real("home")), None);
    world.assert_trace(&["full source=203.0.113.1 reason=mirage"]);
    world.join("203.0.113.9", "web");
    // Without web, its session is one of those that came first.
    world.reload(&[home()]);
    assert_eq!(world.counts().1, 6);
    world.end(conns[1], End::Closed);
    world.join("203.0.113.1", "home");
}

/// Three sessions of the member, whose clients have not answered for so long.
fn with_silent_clients(world: &mut World, unanswered_ms: [u64; 3]) -> [ConnId; 3] {
    unanswered_ms.map(|ms| {
        let conn = world.join(MEMBER, "home");
        world.shell.unanswered_ms.insert(conn.bits(), ms);
        conn
    })
}

#[test]
fn the_session_whose_client_has_not_answered_for_longest_makes_room() {
    let mut world = World::serving(&[home()]);
    let conns = with_silent_clients(&mut world, [DEAD_MS, DEAD_MS + 2, DEAD_MS + 1]);
    world.shell.trace.clear();
    world.join(MEMBER, "home");
    world.assert_trace(&[
        "close source=203.0.113.5 bytes-in=5 bytes-out=7 end=dead",
        "> cut",
        "> dial",
        "accept source=203.0.113.5",
    ]);
    let stays = conns.map(|conn| world.shell.body(conn).is_some());
    assert_eq!(stays, [true, false, true]);
    assert_eq!(world.core.counters().turned_away, 0);
}

#[test]
fn a_session_whose_client_may_still_answer_is_not_cut() {
    let mut world = World::serving(&[home()]);
    with_silent_clients(&mut world, [0, DEAD_MS - 1, 0]);
    world.shell.trace.clear();
    assert_eq!(world.visit(MEMBER, world.real("home")), None);
    world.assert_trace(&["full source=203.0.113.5 reason=source"]);
    assert_eq!(world.counts().1, 3);
}

#[test]
fn nobody_makes_room_for_another_source_or_in_vain() {
    let mut world = World::serving(&[home(), mirage("work", (11_000, 11_999))]);
    with_silent_clients(&mut world, [DEAD_MS; 3]);
    for number in 6..8 {
        world.join(&format!("203.0.113.{number}"), "home");
    }
    world.shell.trace.clear();
    assert_eq!(world.visit("203.0.113.9", world.real("home")), None);
    world.assert_trace(&["full source=203.0.113.9 reason=mirage"]);
    // One more than there may be in all: a place that becomes free is nobody's.
    let two = CommonSettings {
        max_sessions: 2,
        ..common()
    };
    world.handle(Input::Configuration(settings(two, &[home()])));
    world.shell.trace.clear();
    assert_eq!(world.visit(MEMBER, world.real("home")), None);
    world.assert_trace(&["full source=203.0.113.5 reason=source"]);
    assert_eq!(world.counts().1, 5);
}

#[test]
fn a_dead_session_makes_room_where_all_places_are_its_sources() {
    let few = CommonSettings {
        max_sessions: 3,
        ..common()
    };
    let mut world = World::configured(few, &[home_with_token()]);
    for nonce in 0..4 {
        let conn = world.visit(MEMBER, world.real("home")).unwrap();
        let token = world.token("home", nonce);
        world.shell.trace.clear();
        world.say(conn, Some(token));
        world.shell.unanswered_ms.insert(conn.bits(), DEAD_MS);
    }
    world.assert_trace(&["close end=dead", "> cut", "> dial", "accept"]);
    assert_eq!(world.counts(), (0, 3));
}

#[test]
fn one_with_a_good_token_for_whom_there_is_no_room_is_let_go() {
    let mut world = World::serving(&[home_with_token()]);
    for nonce in 0..3 {
        let conn = world.visit(MEMBER, world.real("home")).unwrap();
        let token = world.token("home", nonce);
        world.say(conn, Some(token));
    }
    let conn = world.visit(MEMBER, world.real("home")).unwrap();
    let token = world.token("home", 3);
    world.shell.trace.clear();
    world.say(conn, Some(token));
    world.assert_trace(&["full source=203.0.113.5 reason=source", "> close"]);
    assert_eq!(world.counts(), (0, 3));
}

#[test]
fn a_dial_without_a_descriptor_is_tried_again_as_long_as_somebody_can_go() {
    let mut world = World::serving(&[home()]);
    fill(&mut world);
    world.shell.trace.clear();
    world.shell.dials = [Dial::Short, Dial::Short, Dial::Accepted].into();
    world.visit(MEMBER, world.real("home")).unwrap();
    let expected = [
        "> dial",
        "> give up",
        "> dial",
        "> give up",
        "> dial",
        "accept source=203.0.113.5",
    ];
    world.assert_trace(&expected);
    assert_eq!(world.counts(), (TRAPS - 2, 1));
}

#[test]
fn a_dial_without_a_descriptor_and_nobody_to_go_is_an_error() {
    let mut world = World::serving(&[home()]);
    world.shell.dials = [Dial::Short].into();
    world.visit(MEMBER, world.real("home")).unwrap();
    world.assert_trace(&["> dial", "error mirage=home source=203.0.113.5", "> close"]);
    assert_eq!(
        (world.counts(), world.core.counters().accepted),
        ((0, 0), 0)
    );
    // What else can go wrong frees nobody's place.
    fill(&mut world);
    world.shell.trace.clear();
    world.shell.dials = [Dial::Failed].into();
    world.visit(MEMBER, world.real("home")).unwrap();
    world.assert_trace(&["> dial", "error mirage=home", "> close"]);
    assert_eq!(world.counts(), (TRAPS, 0));
}

#[test]
fn a_victim_who_turns_out_to_be_a_member_comes_in() {
    let mut world = World::serving(&[home_with_token()]);
    let one = world.visit(MEMBER, world.real("home")).unwrap();
    let other = world.visit("203.0.113.6", world.real("home")).unwrap();
    let tokens = [1, 2].map(|nonce| world.token("home", nonce));
    world.shell.unread.push((one, tokens[0]));
    world.shell.dials = [Dial::Short, Dial::Accepted, Dial::Accepted].into();
    world.say(other, Some(tokens[1]));
    assert_eq!(world.counts(), (0, 2));
    world.assert_log(&["accept", "accept"]);
}

#[test]
fn a_visitor_without_a_descriptor_may_have_that_of_one_in_a_trap() {
    let mut world = World::serving(&[home()]);
    world.handle(Input::Short);
    world.assert_trace(&[]);
    fill(&mut world);
    world.shell.trace.clear();
    world.handle(Input::Short);
    world.assert_trace(&["> give up"]);
    assert_eq!(world.counts(), (TRAPS - 1, 0));
    let peer = "::ffff:192.0.2.77".parse().unwrap();
    world.handle(Input::TurnedAway { peer, port: 10_007 });
    world.assert_trace(&["full source=192.0.2.77 port=10007 reason=descriptors"]);
}

#[test]
fn a_program_that_can_not_be_started_is_an_error_too() {
    let program = Service::Exec("/bin/cat %IP%".parse().unwrap());
    let door = Door::Forward(Forward {
        to: program,
        on_demand: None,
    });
    let mut world = World::serving(&[MirageSettings { door, ..home() }]);
    world.shell.dials = [Dial::Failed].into();
    world.visit(MEMBER, world.real("home")).unwrap();
    world.assert_trace(&[
        "> exec /bin/cat 203.0.113.5",
        "error mirage=home",
        "> close",
    ]);
    let conn = world.visit(MEMBER, world.real("home")).unwrap();
    assert_eq!(world.shell.body(conn), Some(Body::Process));
    world.assert_trace(&["> exec", "accept source=203.0.113.5"]);
    world.end(conn, End::Failed);
    world.assert_trace(&["close end=failed"]);
}
