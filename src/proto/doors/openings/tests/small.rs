//! Every sequence of a few events around three places: requests, commands that succeed or fail, full disks, restarts.
//! Beside it a plain list of what is really open.

use super::*;
use crate::proto::tests::explore::explore;

#[derive(Clone, Copy, Debug)]
enum Small {
    /// An address passes.
    Pass(u8),
    /// Its opening is to be closed at once.
    Close(u8),
    /// An address is made an element of a set.
    Include(u8),
    /// The journal is written, or the disk is full; then all commands are started that can be.
    Settle {
        is_written: bool,
    },
    /// The command that runs for longest ends.
    End(Ended),
    /// So much time passes as something stays open.
    Wait,
    CloseAll,
    /// The daemon is killed and starts again.
    Restart,
}

/// A command that runs, for one of the addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Running {
    job: u32,
    number: u8,
    is_opening: bool,
}

#[derive(Clone)]
struct Both {
    fillers: usize,
    openings: Openings,
    /// The addresses for which a command has opened something that none has closed.
    open: Vec<u8>,
    /// Those that the journal has.
    journal: Vec<u8>,
    /// It could not be written, and is written again.
    is_late: bool,
    running: Vec<Running>,
    jobs: u32,
    now: Instant,
}

fn numbered(number: u8) -> IpAddr {
    [192, 0, 2, number].into()
}

fn number_of(words: &Argv) -> u8 {
    words[1].parse().expect("it has a number")
}

fn number_in(open_for: OpenFor) -> u8 {
    match open_for {
        OpenFor::Address(IpAddr::V4(address)) => address.octets()[3],
        other => panic!("nobody opens {other}"),
    }
}

/// So many places are taken by what never ends.
fn filled(fillers: usize) -> Openings {
    let mut openings = Openings::default();
    for other in 0..fillers {
        let restored = RestoredOpening {
            section: "other".into(),
            open_for: OpenFor::Service,
            close: Closing::ByItself,
            until: Instant(u64::MAX),
        };
        openings.restore(MirageId::of(100 + other as u32), restored, Instant(0));
    }
    openings
}

impl Both {
    fn ours(&self) -> impl Iterator<Item = &Opening> {
        self.openings.iter().filter(|it| it.mirage == home())
    }

    fn settle(&mut self, is_written: bool) {
        if self.openings.record() || self.is_late {
            self.is_late = !is_written;
            if is_written {
                let recorded = self.openings.iter().filter(|it| it.is_to_be_closed());
                self.journal = recorded.map(|it| number_in(it.open_for)).collect();
            }
            while self.openings.recorded(is_written).is_some() {}
        }
        while let Some(words) = self.openings.next_command(JobId::of(self.jobs), self.now) {
            let (job, number) = (self.jobs, number_of(&words));
            let is_opening = words[0] == "open";
            assert!(
                self.running.iter().all(|it| it.number != number),
                "two at once"
            );
            assert!(
                !is_opening || self.journal.contains(&number),
                "the journal lacks it"
            );
            self.running.push(Running {
                job,
                number,
                is_opening,
            });
            self.jobs += 1;
        }
        while let Some((mirage, address, _)) = self.openings.next_removal() {
            assert!(self.openings.exclude(mirage, address));
        }
        while self.openings.next_end(self.now).is_some() {}
        if is_written && !self.openings.is_unrecorded {
            let is_due = self
                .openings
                .next_deadline()
                .is_some_and(|due| due <= self.now);
            assert!(!is_due, "the loop never sleeps");
        }
    }

    fn end(&mut self, ended: Ended) {
        let has_succeeded = ended == Ended::Done;
        if self.running.is_empty() {
            return;
        }
        let Running {
            job,
            number,
            is_opening,
        } = self.running.remove(0);
        if has_succeeded {
            self.open.retain(|other| *other != number);
            self.open.extend(is_opening.then_some(number));
        }
        // One that is killed may have come so far.
        if ended == Ended::Killed && is_opening && !self.open.contains(&number) {
            self.open.push(number);
        }
        let ended = self.openings.command_ended(JobId::of(job), ended, self.now);
        let is_right = match ended.expect("it is known") {
            CommandEnd::Opened(_) => is_opening && has_succeeded,
            CommandEnd::Failed(_) => is_opening && !has_succeeded,
            CommandEnd::Closed => !is_opening && has_succeeded,
            CommandEnd::StillOpen => !is_opening && !has_succeeded,
        };
        assert!(is_right);
    }

    fn step(&mut self, step: Small) {
        match step {
            Small::Pass(number) => {
                let mut request = request(OpenFor::Address(numbered(number)));
                request.open = words(&format!("open {number}"));
                request.close = Some(words(&format!("close {number}")));
                let is_known = self.ours().any(|it| it.open_for == request.open_for);
                let commands = self.ours().filter(|it| !it.is_element()).count();
                let requested = self.openings.request(request, &mut None, self.now);
                let is_full = self.fillers + commands == OPENINGS;
                assert_eq!(requested == Requested::Full, !is_known && is_full);
            }
            Small::Close(number) => {
                let open_for = OpenFor::Address(numbered(number));
                self.openings.close(home(), open_for, self.now);
            }
            Small::Include(number) => {
                let until = self.now.after(STAYS_MS);
                self.openings
                    .include(home(), numbered(number), set(), until, self.now);
            }
            Small::Settle { is_written } => self.settle(is_written),
            Small::End(ended) => self.end(ended),
            Small::Wait => self.now = self.now.after(STAYS_MS),
            Small::CloseAll => drop(self.openings.close_all(Some(home()), self.now)),
            Small::Restart => self.restart(),
        }
        self.check();
    }

    fn restart(&mut self) {
        // Commands go on without us. That one opens which was to open is the worst of what may be.
        let opened = self.running.iter().filter(|it| it.is_opening);
        self.open.extend(opened.map(|it| it.number));
        self.running.clear();
        self.openings = filled(self.fillers);
        for number in self.journal.clone() {
            let restored = RestoredOpening {
                section: "home".into(),
                open_for: OpenFor::Address(numbered(number)),
                close: Closing::Command(words(&format!("close {number}"))),
                until: self.now.after(STAYS_MS),
            };
            self.openings.restore(home(), restored, self.now);
        }
    }

    fn check(&self) {
        assert!(self.openings.iter().count() <= OPENINGS);
        for number in &self.open {
            assert!(
                self.journal.contains(number),
                "a restart would leave {number} open"
            );
            let open_for = OpenFor::Address(numbered(*number));
            assert!(
                self.ours().any(|it| it.open_for == open_for),
                "{number} is forgotten"
            );
        }
    }

    /// Whatever has happened, all has an end.
    fn check_end(&self) {
        let mut last = self.clone();
        for _ in 0..20 {
            last.settle(true);
            while !last.running.is_empty() {
                last.end(Ended::Done);
            }
            last.settle(true);
            match last.openings.next_deadline() {
                Some(due) if due < Instant(u64::MAX) => last.now = last.now.max(due),
                _ if last.running.is_empty() => break,
                _ => {}
            }
        }
        assert_eq!(last.ours().count(), 0);
        let (open, journal) = (&last.open, &last.journal);
        assert!(
            open.is_empty() && journal.is_empty(),
            "{open:?} {journal:?}"
        );
    }

    /// All that its future depends on. Of times, how far they are.
    fn key(&self) -> impl Eq + core::hash::Hash + use<> {
        let of = |it: &Opening| {
            let until = it
                .until
                .map(|until| (until.since(self.now), self.now.since(until)));
            let stage = match it.stage {
                OpeningStage::Open { since, is_ready } => {
                    format!("{} {is_ready}", self.now.since(since))
                }
                OpeningStage::Again(at) => {
                    format!("again {} {}", at.since(self.now), self.now >= at)
                }
                stage => format!("{stage:?}"),
            };
            let flags = (
                it.wanted.is_some(),
                it.is_doubtful,
                it.pause_ms,
                it.stays_ms,
            );
            let job = it.job.map(|job| self.jobs - job.0);
            let commands = (it.open.len(), it.close == Closing::ByItself);
            (
                format!("{:?}", it.open_for),
                until,
                stage,
                flags,
                job,
                commands,
            )
        };
        let ours: Vec<_> = self.ours().map(of).collect();
        let running = self.running.iter();
        let running: Vec<_> = running.map(|it| (self.jobs - it.job, it.number)).collect();
        let is_unrecorded = (self.is_late, self.openings.is_unrecorded);
        (
            ours,
            running,
            self.open.clone(),
            self.journal.clone(),
            is_unrecorded,
        )
    }
}

/// Takes all sequences of so many events of so many addresses.
fn agree(fillers: usize, addresses: u8, depth: usize) {
    let mut steps = vec![
        Small::Wait,
        Small::CloseAll,
        Small::Restart,
        Small::Close(0),
    ];
    steps.extend((0..addresses).map(Small::Pass));
    steps.extend((fillers > 0).then_some(Small::Include(0)));
    for is_right in [true, false] {
        steps.push(Small::Settle {
            is_written: is_right,
        });
    }
    steps.extend([Ended::Done, Ended::Failed, Ended::Killed].map(Small::End));
    let start = Both {
        fillers,
        openings: filled(fillers),
        open: Vec::new(),
        journal: Vec::new(),
        is_late: false,
        running: Vec::new(),
        jobs: 0,
        now: Instant(0),
    };
    let key = |both: &Both| {
        both.check_end();
        both.key()
    };
    let states = explore(start, &steps, depth, key, Both::step);
    assert!(states > 100);
}

#[test]
fn whatever_happens_in_eight_events_all_is_closed() {
    agree(0, 2, 8);
}

#[test]
fn whatever_happens_in_a_few_events_at_the_last_places_all_is_closed() {
    agree(OPENINGS - 3, 4, 4);
}

#[test]
#[ignore = "takes minutes: tests/simulate/run"]
fn whatever_happens_in_eight_events_of_four_all_is_closed() {
    agree(0, 4, 8);
    agree(OPENINGS - 3, 4, 6);
}
