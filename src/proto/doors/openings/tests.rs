//! One test per method and bound, with literal instants.

use super::*;
use core::sync::atomic::{AtomicU32, Ordering};

mod small;

const STAYS_MS: u64 = 30_000;

fn words(text: &str) -> Argv {
    text.split(' ').map(str::to_owned).collect()
}

fn address() -> IpAddr {
    [192, 0, 2, 7].into()
}

fn set() -> NftSet {
    "inet/fw4/home".parse().unwrap()
}

fn home() -> MirageId {
    MirageId::of(1)
}

fn request(open_for: OpenFor) -> OpenRequest {
    OpenRequest {
        mirage: home(),
        open_for,
        open: words("open it"),
        close: Some(words("close it")),
        stays_ms: STAYS_MS,
    }
}

/// An address passes at a moment.
fn pass(openings: &mut Openings, now: u64) -> Requested {
    openings.request(
        request(OpenFor::Address(address())),
        &mut None,
        Instant(now),
    )
}

/// A command that was started.
#[derive(Clone, Copy)]
struct Run {
    job: JobId,
    is_opening: bool,
}

/// The next command, after recording what it opens.
fn next(openings: &mut Openings, now: u64) -> Option<Run> {
    static JOBS: AtomicU32 = AtomicU32::new(0);
    openings.record();
    openings.recorded(true);
    let job = JobId::of(JOBS.fetch_add(1, Ordering::Relaxed));
    let words = openings.next_command(job, Instant(now))?;
    let is_opening = words[0] == "open";
    assert_eq!(openings.of(job).unwrap().is_opening(), is_opening);
    Some(Run { job, is_opening })
}

fn end(openings: &mut Openings, run: Run, has_succeeded: bool, now: Instant) -> CommandEnd {
    let ended = if has_succeeded {
        Ended::Done
    } else {
        Ended::Failed
    };
    let end = openings.command_ended(run.job, ended, now);
    assert_eq!(openings.command_ended(run.job, ended, now), None);
    end.unwrap()
}

#[test]
fn it_opens_once_is_renewed_and_closes_after_its_time() {
    let mut openings = Openings::default();
    assert_eq!(pass(&mut openings, 0), Requested::Begun);
    let ticket = next(&mut openings, 0).unwrap();
    assert!(ticket.is_opening && next(&mut openings, 0).is_none());
    assert_eq!(pass(&mut openings, 1), Requested::Begun);
    let ended = end(&mut openings, ticket, true, Instant(2));
    assert!(matches!(ended, CommandEnd::Opened(_)));
    assert_eq!(pass(&mut openings, 10_000), Requested::Renewed);
    assert!(next(&mut openings, 10_000 + STAYS_MS - 1).is_none());
    let over = Instant(10_000 + STAYS_MS);
    assert_eq!(openings.next_deadline(), Some(over));
    let ticket = next(&mut openings, over.0).unwrap();
    assert!(!ticket.is_opening);
    assert!(matches!(
        end(&mut openings, ticket, true, over),
        CommandEnd::Closed
    ));
    assert!(openings.record() && openings.next_deadline().is_none());
    assert!(openings.iter().next().is_none());
}

#[test]
fn one_that_fails_to_open_is_not_open() {
    let mut openings = Openings::default();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    let ended = end(&mut openings, ticket, false, Instant(1));
    assert!(matches!(ended, CommandEnd::Failed(_)));
    assert!(next(&mut openings, STAYS_MS).is_none());
    assert_eq!(pass(&mut openings, 2), Requested::Begun);
    assert!(next(&mut openings, 2).unwrap().is_opening);
}

#[test]
fn a_failing_close_is_tried_again_with_growing_pauses() {
    let mut openings = Openings::default();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    end(&mut openings, ticket, true, Instant(0));
    let mut now = STAYS_MS;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let ticket = next(&mut openings, now).unwrap();
        assert!(!ticket.is_opening);
        let ended = end(&mut openings, ticket, false, Instant(now));
        assert!(matches!(ended, CommandEnd::StillOpen));
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
    let mut openings = Openings::default();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    end(&mut openings, ticket, true, Instant(0));
    let closing = next(&mut openings, STAYS_MS).unwrap();
    assert_eq!(pass(&mut openings, STAYS_MS + 1), Requested::Begun);
    assert!(next(&mut openings, STAYS_MS + 1).is_none());
    end(&mut openings, closing, true, Instant(STAYS_MS + 2));
    assert!(next(&mut openings, STAYS_MS + 2).unwrap().is_opening);
}

#[test]
fn what_is_to_be_closed_is_known_before_it_opens_and_until_it_is_closed() {
    let mut openings = Openings::default();
    let is_known = |openings: &Openings| openings.iter().any(|it| it.is_to_be_closed());
    pass(&mut openings, 0);
    assert!(!is_known(&openings));
    assert!(openings.record() && is_known(&openings) && !openings.record());
    let ticket = next(&mut openings, 0).unwrap();
    end(&mut openings, ticket, true, Instant(0));
    // Its time has changed.
    assert!(openings.record());
    let ticket = next(&mut openings, STAYS_MS).unwrap();
    assert!(is_known(&openings) && !openings.record());
    end(&mut openings, ticket, true, Instant(STAYS_MS));
    assert!(openings.record() && !is_known(&openings));
}

#[test]
fn a_service_stays_while_it_is_used_and_goes_after_its_last_use() {
    let mut openings = Openings::default();
    let ready_ms = 10_000;
    assert_eq!(
        openings.request(request(OpenFor::Service), &mut None, Instant(0)),
        Requested::Begun
    );
    assert!(openings.service_is_coming(home(), ready_ms, Instant(0)));
    let ticket = next(&mut openings, 0).unwrap();
    end(&mut openings, ticket, true, Instant(5));
    assert!(openings.service_is_coming(home(), ready_ms, Instant(5)));
    assert!(!openings.service_is_coming(home(), ready_ms, Instant(5 + ready_ms)));
    openings.service_is_used(home(), Instant(6));
    assert!(!openings.service_is_coming(home(), ready_ms, Instant(6)));
    assert!(next(&mut openings, 100 * STAYS_MS).is_none());
    openings.service_is_left(home(), Instant(7));
    assert!(next(&mut openings, 7 + STAYS_MS - 1).is_none());
    assert!(!next(&mut openings, 7 + STAYS_MS).unwrap().is_opening);
}

#[test]
fn a_service_that_has_died_is_started_again() {
    let mut openings = Openings::default();
    openings.request(request(OpenFor::Service), &mut None, Instant(0));
    let ticket = next(&mut openings, 0).unwrap();
    end(&mut openings, ticket, true, Instant(0));
    openings.service_is_used(home(), Instant(1));
    openings.service_has_died(home());
    assert!(openings.service_is_coming(home(), 1, Instant(50)));
    assert!(next(&mut openings, 50).unwrap().is_opening);
}

#[test]
fn a_service_that_accepts_nobody_and_can_not_be_started_again_is_stopped() {
    let mut openings = Openings::default();
    openings.request(request(OpenFor::Service), &mut None, Instant(0));
    let run = next(&mut openings, 0).unwrap();
    end(&mut openings, run, true, Instant(0));
    openings.service_is_used(home(), Instant(1));
    openings.service_has_died(home());
    let run = next(&mut openings, 50).unwrap();
    assert!(run.is_opening);
    end(&mut openings, run, false, Instant(50));
    let run = next(&mut openings, 50).unwrap();
    assert!(!run.is_opening);
    assert_eq!(
        end(&mut openings, run, true, Instant(50)),
        CommandEnd::Closed
    );
    assert!(openings.are_closed());
}

#[test]
fn what_was_open_before_a_restart_is_closed_at_its_time() {
    let mut openings = Openings::default();
    let remembered = RestoredOpening {
        section: "gone".into(),
        open_for: OpenFor::Address(address()),
        close: Closing::Command(words("close it")),
        until: Instant(100),
    };
    openings.restore(home(), remembered, Instant(0));
    assert!(next(&mut openings, 99).is_none());
    assert!(!next(&mut openings, 100).unwrap().is_opening);
}

#[test]
fn what_is_opened_again_is_closed_as_it_was_opened() {
    for is_wanted_while_it_closes in [false, true] {
        let mut openings = Openings::default();
        let remembered = RestoredOpening {
            section: "home".into(),
            open_for: OpenFor::Address(address()),
            close: Closing::Command(words("close-as-before it")),
            until: Instant(10),
        };
        openings.restore(home(), remembered, Instant(0));
        let closing = is_wanted_while_it_closes.then(|| next(&mut openings, 10).unwrap());
        pass(&mut openings, 10);
        let closing = closing.unwrap_or_else(|| next(&mut openings, 10).unwrap());
        end(&mut openings, closing, true, Instant(10));
        let opening = next(&mut openings, 10).unwrap();
        assert!(opening.is_opening);
        end(&mut openings, opening, true, Instant(10));
        let closing = next(&mut openings, 10 + STAYS_MS).unwrap();
        let close = openings.of(closing.job).map(|it| it.close.clone());
        assert_eq!(close, Some(Closing::Command(words("close it"))));
    }
}

#[test]
fn who_passes_after_a_restart_finds_it_closed_and_opened_once() {
    let mut openings = Openings::default();
    let remembered = RestoredOpening {
        section: "home".into(),
        open_for: OpenFor::Address(address()),
        close: Closing::Command(words("close it")),
        until: Instant(100),
    };
    openings.restore(home(), remembered, Instant(0));
    // Twice in one turn.
    assert_eq!(pass(&mut openings, 10), Requested::Begun);
    assert_eq!(pass(&mut openings, 10), Requested::Begun);
    let closing = next(&mut openings, 10).unwrap();
    assert!(!closing.is_opening && next(&mut openings, 10).is_none());
    // There was nothing left to close.
    assert!(matches!(
        end(&mut openings, closing, false, Instant(11)),
        CommandEnd::StillOpen
    ));
    let opening = next(&mut openings, 11).unwrap();
    assert!(opening.is_opening);
    end(&mut openings, opening, true, Instant(12));
    assert_eq!(pass(&mut openings, 13), Requested::Renewed);
    let closing = next(&mut openings, 13 + STAYS_MS).unwrap();
    assert!(!closing.is_opening);
    end(&mut openings, closing, true, Instant(14 + STAYS_MS));
    assert!(openings.iter().next().is_none());
}

#[test]
fn what_could_not_be_closed_is_not_forgotten_when_it_can_not_be_opened_again() {
    let mut openings = Openings::default();
    let remembered = RestoredOpening {
        section: "home".into(),
        open_for: OpenFor::Address(address()),
        close: Closing::Command(words("close it")),
        until: Instant(100),
    };
    openings.restore(home(), remembered, Instant(0));
    pass(&mut openings, 10);
    for has_closed in [false, true] {
        let closing = next(&mut openings, 10).unwrap();
        assert!(!closing.is_opening);
        end(&mut openings, closing, has_closed, Instant(10));
        if !has_closed {
            let opening = next(&mut openings, 10).unwrap();
            assert!(opening.is_opening);
            let ended = end(&mut openings, opening, false, Instant(10));
            assert_eq!(ended, CommandEnd::Failed(Vec::new()));
            assert!(openings.iter().all(|it| it.is_to_be_closed()));
        }
    }
    assert!(openings.are_closed());
}

#[test]
fn its_time_begins_when_it_is_open() {
    let mut openings = Openings::default();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    end(&mut openings, ticket, true, Instant(STAYS_MS));
    assert!(next(&mut openings, 2 * STAYS_MS - 1).is_none());
    assert!(!next(&mut openings, 2 * STAYS_MS).unwrap().is_opening);

    // But not an opening whose owner has closed it meanwhile.
    let mut openings = Openings::default();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    openings.close(home(), OpenFor::Address(address()), Instant(1));
    end(&mut openings, ticket, true, Instant(2));
    assert!(!next(&mut openings, 2).unwrap().is_opening);
}

#[test]
fn a_service_that_could_not_be_stopped_and_is_used_again_stays() {
    let mut openings = Openings::default();
    openings.request(request(OpenFor::Service), &mut None, Instant(0));
    let ticket = next(&mut openings, 0).unwrap();
    end(&mut openings, ticket, true, Instant(0));
    openings.service_is_used(home(), Instant(0));
    openings.service_is_left(home(), Instant(0));
    let ticket = next(&mut openings, STAYS_MS).unwrap();
    end(&mut openings, ticket, false, Instant(STAYS_MS));
    openings.service_is_used(home(), Instant(STAYS_MS + 1));
    assert!(next(&mut openings, 100 * STAYS_MS).is_none());
}

#[test]
fn what_no_command_closes_is_over_with_its_time() {
    for open_for in [OpenFor::Address(address()), OpenFor::Service] {
        let mut openings = Openings::default();
        let close = None;
        openings.request(
            OpenRequest {
                close,
                ..request(open_for)
            },
            &mut None,
            Instant(0),
        );
        // Its time counts from when it is open.
        assert!(openings.next_end(Instant(STAYS_MS)).is_none());
        let ticket = next(&mut openings, 0).unwrap();
        assert!(openings.next_end(Instant(STAYS_MS)).is_none());
        end(&mut openings, ticket, true, Instant(0));
        openings.service_is_used(home(), Instant(0));
        openings.service_is_left(home(), Instant(0));
        assert!(openings.next_end(Instant(STAYS_MS - 1)).is_none());
        openings.record();
        assert_eq!(openings.next_deadline(), Some(Instant(STAYS_MS)));
        assert!(next(&mut openings, STAYS_MS).is_none());
        let over = openings.next_end(Instant(STAYS_MS));
        assert_eq!(over, Some((home(), open_for)));
        assert!(openings.iter().next().is_none());
    }
    // But not one that a command closes.
    let mut openings = Openings::default();
    pass(&mut openings, 0);
    let ticket = next(&mut openings, 0).unwrap();
    end(&mut openings, ticket, true, Instant(0));
    assert!(openings.next_end(Instant(STAYS_MS)).is_none());
}

#[test]
fn an_element_ends_by_itself_is_renewed_and_makes_room_for_what_a_command_opens() {
    let mut openings = Openings::default();
    let element = OpenFor::Element(address());
    openings.include(home(), address(), set(), Instant(100), Instant(0));
    openings.include(home(), address(), set(), Instant(200), Instant(50));
    assert!(openings.iter().all(|it| !it.is_to_be_closed()));
    assert!(openings.next_end(Instant(199)).is_none() && next(&mut openings, 200).is_none());
    let over = openings.next_end(Instant(200));
    assert_eq!(over, Some((home(), element)));
    assert!(openings.next_end(Instant(200)).is_none());

    // An opening by a command is separate, as after a reload to another door.
    openings.include(home(), address(), set(), Instant(300), Instant(200));
    assert_eq!(pass(&mut openings, 200), Requested::Begun);
    assert!(next(&mut openings, 200).unwrap().is_opening);
    for number in 0..=OPENINGS {
        let [.., high, low] = number.to_be_bytes();
        let address = [10, 0, high, low].into();
        openings.include(home(), address, set(), Instant(300), Instant(200));
    }
    assert_eq!(openings.iter().count(), OPENINGS);
    let other = request(OpenFor::Address([192, 0, 2, 8].into()));
    assert_eq!(
        openings.request(other, &mut None, Instant(200)),
        Requested::Begun
    );
    let remembered = RestoredOpening {
        section: "gone".into(),
        open_for: OpenFor::Address([192, 0, 2, 9].into()),
        close: Closing::Command(words("close it")),
        until: Instant(300),
    };
    openings.restore(home(), remembered, Instant(200));
    assert_eq!(openings.iter().count(), OPENINGS);
    let is_commands = |it: &&Opening| matches!(it.open_for, OpenFor::Address(_));
    assert_eq!(openings.iter().filter(is_commands).count(), 3);
}

#[test]
fn there_are_only_so_many() {
    let mut openings = Openings::default();
    for number in 0..OPENINGS {
        let [.., high, low] = number.to_be_bytes();
        let open_for = OpenFor::Address([10, 0, high, low].into());
        assert_eq!(
            openings.request(request(open_for), &mut None, Instant(0)),
            Requested::Begun
        );
    }
    assert_eq!(pass(&mut openings, 0), Requested::Full);
}

#[test]
fn what_nothing_closes_from_now_on_is_closed_once_more_after_a_restart() {
    let mut openings = Openings::default();
    let remembered = RestoredOpening {
        section: "home".into(),
        open_for: OpenFor::Address(address()),
        close: Closing::Command(words("close it")),
        until: Instant(60_000),
    };
    openings.restore(home(), remembered, Instant(0));
    // Clients send each knock twice, in case one is lost.
    for _ in 0..2 {
        let mut request = request(OpenFor::Address(address()));
        request.close = None;
        let requested = openings.request(request, &mut None, Instant(10));
        assert_eq!(requested, Requested::Begun);
    }
    let close = next(&mut openings, 10).unwrap();
    assert!(!close.is_opening);
    end(&mut openings, close, true, Instant(20));
    assert!(next(&mut openings, 20).unwrap().is_opening);
    assert_eq!(openings.next_deadline(), None);
}

#[test]
fn at_the_end_everything_is_closed_whatever_its_time() {
    let mut openings = Openings::default();
    let other = |last| OpenFor::Address([192, 0, 2, last].into());
    let mut open = |last, has_succeeded| {
        let wish = request(other(last));
        openings.request(wish, &mut None, Instant(0));
        let run = next(&mut openings, 0).unwrap();
        end(&mut openings, run, has_succeeded, Instant(0));
    };
    open(1, true);
    open(2, true);
    // This one could not be closed, and waits.
    openings.close(home(), other(2), Instant(1));
    let close = next(&mut openings, 1).unwrap();
    end(&mut openings, close, false, Instant(2));
    // One is being opened, and one is only asked for.
    openings.request(request(other(3)), &mut None, Instant(2));
    let opening = next(&mut openings, 2).unwrap();
    openings.request(
        request(other(4)),
        &mut Some(ConnId::from_bits(9)),
        Instant(2),
    );
    openings.include(home(), address(), set(), Instant(60_000), Instant(2));

    let guests = openings.close_all(None, Instant(3));
    assert_eq!(guests, [ConnId::from_bits(9)]);
    let mut closings = Vec::new();
    while let Some(run) = next(&mut openings, 3) {
        assert!(!run.is_opening);
        closings.push(run);
    }
    assert_eq!(closings.len(), 2);
    assert_eq!(openings.next_removal(), Some((home(), address(), set())));
    assert_eq!(openings.next_removal(), None);
    assert!(openings.exclude(home(), address()) && !openings.exclude(home(), address()));
    for run in closings {
        assert_eq!(
            end(&mut openings, run, true, Instant(4)),
            CommandEnd::Closed
        );
    }
    assert!(!openings.are_closed());
    end(&mut openings, opening, true, Instant(4));
    let close = next(&mut openings, 4).unwrap();
    assert_eq!(
        end(&mut openings, close, true, Instant(4)),
        CommandEnd::Closed
    );
    assert!(openings.are_closed());
}

#[test]
fn what_ends_by_itself_ends_at_the_end() {
    let mut openings = Openings::default();
    let mut wish = request(OpenFor::Address(address()));
    wish.close = None;
    openings.request(wish, &mut None, Instant(0));
    let run = next(&mut openings, 0).unwrap();
    end(&mut openings, run, true, Instant(0));
    assert_eq!(openings.next_end(Instant(1)), None);
    openings.close_all(None, Instant(1));
    assert!(openings.next_end(Instant(1)).is_some() && openings.are_closed());
}

#[test]
fn a_mirage_that_is_dropped_keeps_the_service_that_its_sessions_use() {
    let mut openings = Openings::default();
    for open_for in [OpenFor::Service, OpenFor::Address(address())] {
        openings.request(request(open_for), &mut None, Instant(0));
        let run = next(&mut openings, 0).unwrap();
        end(&mut openings, run, true, Instant(0));
    }
    openings.service_is_used(home(), Instant(1));
    openings.close_all(Some(MirageId::of(2)), Instant(1));
    assert!(next(&mut openings, 1).is_none());
    openings.close_all(Some(home()), Instant(2));
    let close = next(&mut openings, 2).unwrap();
    assert_eq!(
        end(&mut openings, close, true, Instant(2)),
        CommandEnd::Closed
    );
    assert!(next(&mut openings, 60_000).is_none());
    openings.service_is_left(home(), Instant(60_000));
    assert!(next(&mut openings, 60_000 + STAYS_MS).is_some());
}

#[test]
fn no_more_commands_run_than_there_is_room_for_and_the_rest_is_not_due() {
    let mut openings = Openings::default();
    for number in 0..OPENINGS {
        let [.., high, low] = number.to_be_bytes();
        let open_for = OpenFor::Address([10, 0, high, low].into());
        openings.request(request(open_for), &mut None, Instant(0));
    }
    let mut runs = Vec::new();
    while let Some(run) = next(&mut openings, 0) {
        runs.push(run);
    }
    assert_eq!(runs.len(), HOOKS + HOOKS_QUEUED);
    assert_eq!(openings.next_deadline(), None);
    let run = runs.pop().unwrap();
    end(&mut openings, run, true, Instant(1));
    openings.record();
    assert_eq!(openings.next_deadline(), Some(Instant(0)));
    assert!(next(&mut openings, 1).is_some());
}

#[test]
fn what_is_open_keeps_its_command_though_nothing_closes_it_from_now_on() {
    let mut openings = Openings::default();
    pass(&mut openings, 0);
    let opening = next(&mut openings, 0).unwrap();
    // Once while its command runs, and once when it is open.
    for (now, requested) in [(1, Requested::Begun), (2, Requested::Renewed)] {
        let mut again = request(OpenFor::Address(address()));
        again.close = None;
        let got = openings.request(again, &mut None, Instant(now));
        assert_eq!(got, requested);
        if now == 1 {
            end(&mut openings, opening, true, Instant(1));
        }
    }
    let run = next(&mut openings, 2 + STAYS_MS).unwrap();
    assert!(!run.is_opening);
    assert_eq!(
        end(&mut openings, run, true, Instant(2 + STAYS_MS)),
        CommandEnd::Closed
    );
}

#[test]
fn what_is_being_closed_keeps_its_command_though_nothing_closes_it_from_now_on() {
    let mut openings = Openings::default();
    pass(&mut openings, 0);
    let opening = next(&mut openings, 0).unwrap();
    end(&mut openings, opening, true, Instant(0));
    let closing = next(&mut openings, STAYS_MS).unwrap();
    let mut again = request(OpenFor::Address(address()));
    again.close = None;
    openings.request(again, &mut None, Instant(STAYS_MS));
    openings.close_all(None, Instant(STAYS_MS));
    end(&mut openings, closing, false, Instant(STAYS_MS));
    let later = STAYS_MS + CLOSE_AGAIN_MS;
    assert!(next(&mut openings, later - 1).is_none());
    assert!(!next(&mut openings, later).unwrap().is_opening);
}

#[test]
fn what_nobody_can_close_stays_recorded_until_a_mirage_can() {
    let mut openings = Openings::default();
    let remembered = RestoredOpening {
        section: "home".into(),
        open_for: OpenFor::Address(address()),
        close: Closing::Unknown,
        until: Instant(100),
    };
    openings.restore(home(), remembered, Instant(0));
    let is_recorded = |openings: &Openings| openings.iter().all(Opening::is_to_be_closed);
    assert_eq!(openings.next_deadline(), None);
    openings.close_all(None, Instant(50));
    assert!(next(&mut openings, 200).is_none() && openings.next_end(Instant(200)).is_none());
    assert!(openings.iter().count() == 1 && is_recorded(&openings) && openings.are_closed());

    let closing = |open_for| match open_for {
        OpenFor::Address(_) => Closing::Command(words("close it")),
        OpenFor::Service | OpenFor::Element(_) => Closing::Unknown,
    };
    openings.adopt_orphans(MirageId::of(2), closing);
    assert!(openings.are_closed());
    openings.adopt_orphans(home(), closing);
    assert!(!openings.are_closed());
    let close = next(&mut openings, 200).unwrap();
    assert!(!close.is_opening);
    end(&mut openings, close, true, Instant(200));
    assert_eq!(openings.iter().count(), 0);
}

/// What has no command any more is opened by the new one, and waits for nothing.
#[test]
fn what_nobody_can_close_is_no_obstacle_for_who_passes() {
    let mut openings = Openings::default();
    let remembered = RestoredOpening {
        section: "home".into(),
        open_for: OpenFor::Address(address()),
        close: Closing::Unknown,
        until: Instant(100),
    };
    openings.restore(home(), remembered, Instant(0));
    let mut request = request(OpenFor::Address(address()));
    request.close = None;
    assert_eq!(
        openings.request(request, &mut None, Instant(10)),
        Requested::Begun
    );
    let open = next(&mut openings, 10).unwrap();
    assert!(open.is_opening);
    end(&mut openings, open, true, Instant(10));
    assert!(openings.next_end(Instant(10 + STAYS_MS)).is_some());
}
