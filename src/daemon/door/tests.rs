//! A test per verb and bound, with literal instants.

use super::*;

const STAYS_MS: u64 = 30_000;

fn words(text: &str) -> Words {
    text.split(' ').map(str::to_owned).collect()
}

fn address() -> IpAddr {
    [192, 0, 2, 7].into()
}

fn wish(whom: Whom) -> Wish {
    Wish {
        mirage: "home".into(),
        whom,
        open: words("open it"),
        close: Some(words("close it")),
        stays_ms: STAYS_MS,
    }
}

/// Wishes for an address, at a moment.
fn pass(openings: &mut Openings, now: u64) -> Granted {
    openings.wish(wish(Whom::Address(address())), None, Instant(now))
}

/// The next command: whether it opens.
fn next(openings: &mut Openings, now: u64) -> Option<Ticket> {
    let (ticket, words) = openings.next_command(Instant(now))?;
    assert_eq!(words[0] == "open", ticket.is_opening);
    Some(ticket)
}

#[test]
fn it_opens_once_is_renewed_and_closes_after_its_time() {
    let mut openings = Openings::new();
    assert_eq!(pass(&mut openings, 0), Granted::Begun);
    let ticket = next(&mut openings, 0).unwrap();
    assert!(ticket.is_opening && next(&mut openings, 0).is_none());
    assert_eq!(pass(&mut openings, 1), Granted::Begun);
    let ended = openings.ended(ticket, true, Instant(2));
    assert!(matches!(ended, Ended::Opened(_)));
    assert_eq!(pass(&mut openings, 10_000), Granted::Renewed);
    assert!(next(&mut openings, 10_000 + STAYS_MS - 1).is_none());
    let end = Instant(10_000 + STAYS_MS);
    assert_eq!(openings.next_deadline(), Some(end));
    let ticket = next(&mut openings, end.0).unwrap();
    assert!(!ticket.is_opening);
    assert!(matches!(openings.ended(ticket, true, end), Ended::Closed));
    assert!(openings.iter().next().is_none() && openings.next_deadline().is_none());
}

#[test]
fn one_that_fails_to_open_is_not_open() {
    let mut openings = Openings::new();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    let ended = openings.ended(ticket, false, Instant(1));
    assert!(matches!(ended, Ended::Failed));
    assert!(next(&mut openings, STAYS_MS).is_none());
    assert_eq!(pass(&mut openings, 2), Granted::Begun);
    assert!(next(&mut openings, 2).unwrap().is_opening);
}

#[test]
fn a_failing_close_is_tried_again_with_growing_pauses() {
    let mut openings = Openings::new();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    openings.ended(ticket, true, Instant(0));
    let mut now = STAYS_MS;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let ticket = next(&mut openings, now).unwrap();
        assert!(!ticket.is_opening);
        let ended = openings.ended(ticket, false, Instant(now));
        assert!(matches!(ended, Ended::StillOpen));
        let again = openings.next_deadline().unwrap();
        assert!(next(&mut openings, again.0 - 1).is_none());
        pauses.push(again.0 - now);
        now = again.0;
    }
    assert!(pauses.is_sorted() && pauses[0] == CLOSE_AGAIN_MS);
    assert_eq!(pauses.last(), Some(&CLOSE_AGAIN_MOST_MS));
}

#[test]
fn who_passes_while_it_closes_finds_it_open_again() {
    let mut openings = Openings::new();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    openings.ended(ticket, true, Instant(0));
    let closing = next(&mut openings, STAYS_MS).unwrap();
    assert_eq!(pass(&mut openings, STAYS_MS + 1), Granted::Begun);
    assert!(next(&mut openings, STAYS_MS + 1).is_none());
    openings.ended(closing, true, Instant(STAYS_MS + 2));
    assert!(next(&mut openings, STAYS_MS + 2).unwrap().is_opening);
}

#[test]
fn what_is_to_be_closed_is_known_before_it_opens_and_until_it_is_closed() {
    let mut openings = Openings::new();
    let is_known = |openings: &Openings| openings.iter().any(|it| it.to_close().is_some());
    pass(&mut openings, 0);
    assert!(!is_known(&openings));
    let ticket = next(&mut openings, 0).unwrap();
    assert!(openings.take_news() && is_known(&openings));
    openings.ended(ticket, true, Instant(0));
    let ticket = next(&mut openings, STAYS_MS).unwrap();
    assert!(is_known(&openings));
    openings.ended(ticket, true, Instant(STAYS_MS));
    assert!(openings.take_news() && !is_known(&openings));
}

#[test]
fn a_service_stays_while_it_is_used_and_goes_after_its_last_use() {
    let mut openings = Openings::new();
    let ready_ms = 10_000;
    assert_eq!(
        openings.wish(wish(Whom::Service), None, Instant(0)),
        Granted::Begun
    );
    assert!(openings.service_is_coming("home", ready_ms, Instant(0)));
    let ticket = next(&mut openings, 0).unwrap();
    openings.ended(ticket, true, Instant(5));
    assert!(openings.service_is_coming("home", ready_ms, Instant(5)));
    assert!(!openings.service_is_coming("home", ready_ms, Instant(5 + ready_ms)));
    openings.service_is_used("home", Instant(6));
    assert!(!openings.service_is_coming("home", ready_ms, Instant(6)));
    assert!(next(&mut openings, 100 * STAYS_MS).is_none());
    openings.service_is_left("home", Instant(7));
    assert!(next(&mut openings, 7 + STAYS_MS - 1).is_none());
    assert!(!next(&mut openings, 7 + STAYS_MS).unwrap().is_opening);
}

#[test]
fn a_service_that_has_died_is_started_again() {
    let mut openings = Openings::new();
    openings.wish(wish(Whom::Service), None, Instant(0));
    let ticket = next(&mut openings, 0).unwrap();
    openings.ended(ticket, true, Instant(0));
    openings.service_is_used("home", Instant(1));
    openings.service_has_died("home");
    assert!(openings.service_is_coming("home", 1, Instant(50)));
    assert!(next(&mut openings, 50).unwrap().is_opening);
}

#[test]
fn what_was_open_before_a_restart_is_closed_at_its_time() {
    let mut openings = Openings::new();
    let remembered = Remembered {
        mirage: "gone".into(),
        whom: Whom::Address(address()),
        close: Some(words("close it")),
        until: Instant(100),
    };
    openings.restore(remembered, Instant(0));
    assert!(next(&mut openings, 99).is_none());
    assert!(!next(&mut openings, 100).unwrap().is_opening);
}

#[test]
fn who_passes_after_a_restart_finds_it_closed_and_opened_once() {
    let mut openings = Openings::new();
    let remembered = Remembered {
        mirage: "home".into(),
        whom: Whom::Address(address()),
        close: Some(words("close it")),
        until: Instant(100),
    };
    openings.restore(remembered, Instant(0));
    // Twice in one turn.
    assert_eq!(pass(&mut openings, 10), Granted::Begun);
    assert_eq!(pass(&mut openings, 10), Granted::Begun);
    let closing = next(&mut openings, 10).unwrap();
    assert!(!closing.is_opening && next(&mut openings, 10).is_none());
    // It was not there to be closed any more.
    assert!(matches!(
        openings.ended(closing, false, Instant(11)),
        Ended::StillOpen
    ));
    let opening = next(&mut openings, 11).unwrap();
    assert!(opening.is_opening);
    openings.ended(opening, true, Instant(12));
    assert_eq!(pass(&mut openings, 13), Granted::Renewed);
    let closing = next(&mut openings, 13 + STAYS_MS).unwrap();
    assert!(!closing.is_opening);
    openings.ended(closing, true, Instant(14 + STAYS_MS));
    assert!(openings.iter().next().is_none());
}

#[test]
fn its_time_begins_when_it_is_open() {
    let mut openings = Openings::new();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    openings.ended(ticket, true, Instant(STAYS_MS));
    assert!(next(&mut openings, 2 * STAYS_MS - 1).is_none());
    assert!(!next(&mut openings, 2 * STAYS_MS).unwrap().is_opening);

    // But not for one whose owner has closed it meanwhile.
    let mut openings = Openings::new();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    openings.close("home", Whom::Address(address()), Instant(1));
    openings.ended(ticket, true, Instant(2));
    assert!(!next(&mut openings, 2).unwrap().is_opening);
}

#[test]
fn a_service_that_could_not_be_stopped_and_is_used_again_stays() {
    let mut openings = Openings::new();
    openings.wish(wish(Whom::Service), None, Instant(0));
    let ticket = next(&mut openings, 0).unwrap();
    openings.ended(ticket, true, Instant(0));
    openings.service_is_used("home", Instant(0));
    openings.service_is_left("home", Instant(0));
    let ticket = next(&mut openings, STAYS_MS).unwrap();
    openings.ended(ticket, false, Instant(STAYS_MS));
    openings.service_is_used("home", Instant(STAYS_MS + 1));
    assert!(next(&mut openings, 100 * STAYS_MS).is_none());
}

#[test]
fn what_no_command_closes_is_over_with_its_time() {
    for whom in [Whom::Address(address()), Whom::Service] {
        let mut openings = Openings::new();
        let close = None;
        openings.wish(
            Wish {
                close,
                ..wish(whom)
            },
            None,
            Instant(0),
        );
        // Its time is that from when it is open.
        assert!(openings.next_end(Instant(STAYS_MS)).is_none());
        let ticket = next(&mut openings, 0).unwrap();
        assert!(openings.next_end(Instant(STAYS_MS)).is_none());
        openings.ended(ticket, true, Instant(0));
        openings.service_is_used("home", Instant(0));
        openings.service_is_left("home", Instant(0));
        assert!(openings.next_end(Instant(STAYS_MS - 1)).is_none());
        assert_eq!(openings.next_deadline(), Some(Instant(STAYS_MS)));
        assert!(next(&mut openings, STAYS_MS).is_none());
        let over = openings.next_end(Instant(STAYS_MS));
        assert_eq!(over, Some(("home".into(), whom)));
        assert!(openings.iter().next().is_none());
    }
    // And not what one does close.
    let mut openings = Openings::new();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    openings.ended(ticket, true, Instant(0));
    assert!(openings.next_end(Instant(STAYS_MS)).is_none());
}

#[test]
fn an_element_ends_by_itself_is_renewed_and_makes_room_for_what_a_command_opens() {
    let mut openings = Openings::new();
    let (home, element) = (Rc::from("home"), Whom::Element(address()));
    openings.include(&home, address(), Instant(100), Instant(0));
    openings.include(&home, address(), Instant(200), Instant(50));
    assert!(openings.iter().all(|it| it.to_close().is_none()));
    assert!(openings.next_end(Instant(199)).is_none() && next(&mut openings, 200).is_none());
    let over = openings.next_end(Instant(200));
    assert_eq!(over, Some((Rc::clone(&home), element)));
    assert!(openings.next_end(Instant(200)).is_none());

    // What is open by a command is another matter, after a reload to another door.
    openings.include(&home, address(), Instant(300), Instant(200));
    assert_eq!(pass(&mut openings, 200), Granted::Begun);
    assert!(next(&mut openings, 200).unwrap().is_opening);
    for number in 0..=OPENINGS {
        let [.., high, low] = number.to_be_bytes();
        let address = [10, 0, high, low].into();
        openings.include(&home, address, Instant(300), Instant(200));
    }
    assert_eq!(openings.iter().count(), OPENINGS);
    let other = wish(Whom::Address([192, 0, 2, 8].into()));
    assert_eq!(openings.wish(other, None, Instant(200)), Granted::Begun);
    let remembered = Remembered {
        mirage: "gone".into(),
        whom: Whom::Address(address()),
        close: Some(words("close it")),
        until: Instant(300),
    };
    openings.restore(remembered, Instant(200));
    assert_eq!(openings.iter().count(), OPENINGS);
    let is_commands = |it: &&Opening| matches!(it.whom, Whom::Address(_));
    assert_eq!(openings.iter().filter(is_commands).count(), 3);
}

#[test]
fn there_are_only_so_many() {
    let mut openings = Openings::new();
    for number in 0..OPENINGS {
        let [.., high, low] = number.to_be_bytes();
        let whom = Whom::Address([10, 0, high, low].into());
        assert_eq!(openings.wish(wish(whom), None, Instant(0)), Granted::Begun);
    }
    assert_eq!(pass(&mut openings, 0), Granted::Full);
}
