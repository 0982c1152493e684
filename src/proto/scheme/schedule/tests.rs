use super::*;
use crate::limits::GRACE_WINDOWS;
use proptest::prelude::*;
use std::sync::OnceLock;

fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Key::stretch(b"password", "ssh"))
}

fn pattern(low: u16, high: u16, decoys: u8) -> Pattern {
    Pattern::new(Range::new(low, high).unwrap(), decoys, 60).unwrap()
}

fn schedule() -> Schedule {
    Schedule::new(key().clone(), pattern(10_000, 10_999, 15))
}

/// The windows whose real port is open and real in the plan.
fn served(schedule: &Schedule, plan: &Plan, around: u64) -> std::vec::Vec<u64> {
    (around - 5..=around + 5)
        .filter(|&minute| {
            let real = schedule.pattern.real(key(), minute);
            plan.role(real) == Role::Real && plan.is_open(real)
        })
        .collect()
}

const NOON: u64 = 1_794_000_000;
const MINUTE: u64 = NOON / 60;

#[test]
fn a_range_has_its_bounds() {
    assert!(Range::new(0, 5).is_none());
    assert!(Range::new(6, 5).is_none());
    let all = Range::new(1, 65_535).unwrap();
    assert_eq!(all.count(), 65_535);
    let range = Range::new(10, 20).unwrap();
    assert!(range.contains(10) && range.contains(20) && !range.contains(9) && !range.contains(21));
    assert!(range.overlaps(&Range::new(20, 30).unwrap()));
    assert!(!range.overlaps(&Range::new(21, 30).unwrap()));
}

#[test]
fn a_pattern_needs_room_for_a_minutes_ports() {
    let range = |count: u16| Range::new(10_000, 9_999 + count).unwrap();
    assert!(Pattern::new(range(15), 15, 60).is_none());
    assert!(Pattern::new(range(16), 15, 60).is_some());
    assert!(Pattern::new(range(1_000), 64, 60).is_none());
    assert!(Pattern::new(range(1_000), 15, 0).is_none());
    assert!(Pattern::new(range(1), 0, 60).is_some());
}

#[test]
fn a_range_of_sixteen_ports_uses_them_all() {
    let mut ports = pattern(20_000, 20_015, 15).ports(key(), MINUTE).to_vec();
    ports.sort_unstable();
    assert_eq!(ports, (20_000..=20_015).collect::<std::vec::Vec<_>>());
}

proptest! {
    #[test]
    fn a_minutes_ports_differ_and_lie_in_the_range(
        low in 1u16..65_535, width in 0u16..2_000, decoys in 0u8..64, minute: u64,
    ) {
        let range = Range::new(low, low.saturating_add(width)).unwrap();
        if let Some(pattern) = Pattern::new(range, decoys, 60) {
            let ports = pattern.ports(key(), minute);
            prop_assert_eq!(ports.len(), usize::from(decoys) + 1);
            prop_assert!(ports.iter().all(|&port| range.contains(port)));
            for (place, port) in ports.iter().enumerate() {
                prop_assert!(!ports[..place].contains(port));
            }
            prop_assert_eq!(ports[0], pattern.real(key(), minute));
        }
    }

    /// In a range so narrow that windows overlap all the time, the real ports win.
    #[test]
    fn a_real_port_is_never_a_trap(minute in 100u64..1 << 40) {
        let mut schedule = Schedule::new(key().clone(), pattern(10_000, 10_047, 15));
        let plan = schedule.turn(Some(minute * 60), Instant(0)).unwrap();
        for live in minute - 1..=minute + 1 {
            prop_assert_eq!(plan.role(schedule.pattern.real(key(), live)), Role::Real);
        }
        for near in minute - 1 - GRACE_WINDOWS..=minute + 1 + GRACE_WINDOWS {
            prop_assert_ne!(plan.role(schedule.pattern.real(key(), near)), Role::Trap);
        }
    }

    /// A token at a port can prove exactly the minutes in which that port is real.
    #[test]
    fn claims_are_the_windows_in_which_a_port_is_real(minute in 100u64..1 << 40, port in 10_000u16..10_048) {
        let mut schedule = Schedule::new(key().clone(), pattern(10_000, 10_047, 15));
        let claims = schedule.turn(Some(minute * 60), Instant(0)).unwrap().claims(port);
        prop_assert_eq!(claims.first, minute - 3);
        for (window, role) in (claims.first..).zip(claims.roles) {
            let is_real = schedule.pattern.real(key(), window) == port;
            let wanted = match window.abs_diff(minute) {
                _ if !is_real => Role::Trap,
                0 | 1 => Role::Real,
                _ => Role::Grace,
            };
            prop_assert_eq!(role, wanted);
        }
    }

    /// Applying a difference turns one plan into the next.
    #[test]
    fn a_difference_leads_from_one_plan_to_the_next(from in 100u64..1 << 40, step in -4i64..5) {
        let mut schedule = Schedule::new(key().clone(), pattern(10_000, 10_099, 15));
        let old = schedule.turn(Some(from * 60), Instant(0)).unwrap();
        let to = from.checked_add_signed(step).unwrap();
        let next = schedule.turn(Some(to * 60), Instant(60_000)).unwrap_or_else(|| old.clone());
        let mut ports = old.ports().to_vec();
        for change in old.difference(&next) {
            match change {
                Change::Open(port) => {
                    prop_assert!(!ports.contains(&port));
                    ports.push(port);
                }
                Change::Turn(port) => prop_assert_ne!(old.role(port), next.role(port)),
                Change::Close(port) => ports.retain(|&other| other != port),
            }
        }
        ports.sort_unstable();
        prop_assert_eq!(&ports[..], next.ports());
    }
}

/// Pearson's statistic over every port of a range, for the real port and for all of them.
#[test]
fn ports_are_uniform_over_the_range() {
    for (low, high) in [
        (10_000u16, 10_099u16),
        (1, 37),
        (65_000, 65_535),
        (1, 65_535),
    ] {
        let pattern = pattern(low, high, 15);
        let cells = usize::from(high - low) + 1;
        let mut real = vec![0u64; cells];
        let mut all = vec![0u64; cells];
        let minutes = 20_000;
        for minute in 0..minutes {
            let ports = pattern.ports(key(), minute);
            real[usize::from(ports[0] - low)] += 1;
            for port in ports {
                all[usize::from(port - low)] += 1;
            }
        }
        for counts in [real, all] {
            let expected = counts.iter().sum::<u64>() as f64 / cells as f64;
            let chi: f64 = counts
                .iter()
                .map(|&count| (count as f64 - expected).powi(2) / expected)
                .sum();
            let freedom = (cells - 1) as f64;
            let sigmas = (chi - freedom) / (2.0 * freedom).sqrt();
            assert!(sigmas < 5.0, "{low}-{high}: {sigmas} sigma");
        }
    }
}

#[test]
fn three_windows_are_open_and_turn_to_the_second() {
    let mut schedule = schedule();
    let plan = schedule.turn(Some(NOON), Instant(0)).unwrap();
    assert_eq!(
        served(&schedule, &plan, MINUTE),
        [MINUTE - 1, MINUTE, MINUTE + 1]
    );
    assert_eq!(schedule.turn(Some(NOON + 59), Instant(59_000)), None);
    let plan = schedule.turn(Some(NOON + 60), Instant(60_000)).unwrap();
    assert_eq!(
        served(&schedule, &plan, MINUTE),
        [MINUTE, MINUTE + 1, MINUTE + 2]
    );
}

#[test]
fn dates_after_2038_and_2106_are_like_any_other() {
    for unix in [
        (1u64 << 31) - 1,
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        253_402_300_799,
    ] {
        let mut schedule = schedule();
        let plan = schedule.turn(Some(unix), Instant(0)).unwrap();
        let minute = unix / 60;
        assert_eq!(
            served(&schedule, &plan, minute),
            [minute - 1, minute, minute + 1]
        );
    }
}

#[test]
fn a_step_by_a_few_windows_brings_no_port_back() {
    let mut schedule = schedule();
    let mut now = Instant(0);
    for minute in MINUTE..MINUTE + 5 {
        schedule.turn(Some(minute * 60), now);
        now = now.after(60_000);
    }
    // 3 and 5 are the live neighbours of 4. The clock goes back to 1, and its windows 0, 1, 2 were all left.
    let plan = schedule.turn(Some((MINUTE + 1) * 60), now).unwrap();
    assert_eq!(served(&schedule, &plan, MINUTE), []);
    assert!(schedule.is_short());
    assert_eq!(plan.ports(), []);
    // A real port of a closed window is not a trap.
    let real = schedule.pattern.real(key(), MINUTE + 1);
    assert_eq!(plan.role(real), Role::Grace);
}

#[test]
fn a_window_left_ten_minutes_ago_is_served_again() {
    let mut schedule = schedule();
    schedule.turn(Some(NOON), Instant(0));
    schedule.turn(Some(NOON + 3_600), Instant(1_000));
    let before = schedule.turn(Some(NOON), Instant(2_000)).unwrap();
    assert_eq!(before.ports(), []);
    assert_eq!(schedule.turn(Some(NOON), Instant(600_999)), None);
    let plan = schedule.turn(Some(NOON), Instant(601_000)).unwrap();
    assert_eq!(
        served(&schedule, &plan, MINUTE),
        [MINUTE - 1, MINUTE, MINUTE + 1]
    );
    assert!(!schedule.is_short());
}

#[test]
fn a_step_back_to_windows_left_long_ago_is_served_at_once() {
    let mut schedule = schedule();
    let mut now = Instant(0);
    for minute in MINUTE..MINUTE + 60 {
        schedule.turn(Some(minute * 60), now);
        now = now.after(60_000);
    }
    let plan = schedule.turn(Some(NOON), now).unwrap();
    assert_eq!(
        served(&schedule, &plan, MINUTE),
        [MINUTE - 1, MINUTE, MINUTE + 1]
    );
}

#[test]
fn a_glitch_to_2040_locks_out_for_two_minutes_at_most() {
    let mut schedule = schedule();
    schedule.turn(Some(NOON), Instant(0));
    schedule.turn(Some(2_208_988_800), Instant(10_000));
    let back = schedule.turn(Some(NOON + 20), Instant(20_000)).unwrap();
    assert_eq!(served(&schedule, &back, MINUTE), []);
    let plan = schedule.turn(Some(NOON + 60), Instant(60_000)).unwrap();
    assert_eq!(served(&schedule, &plan, MINUTE), [MINUTE + 2]);
    let plan = schedule.turn(Some(NOON + 120), Instant(120_000)).unwrap();
    assert_eq!(served(&schedule, &plan, MINUTE), [MINUTE + 2, MINUTE + 3]);
}

#[test]
fn jumps_without_end_take_no_more_memory() {
    let mut schedule = schedule();
    for jump in 0..1_000 {
        schedule.turn(Some(NOON + jump * 7_200), Instant(jump));
    }
    assert!(schedule.served.0.len() <= SERVED_RUNS);
}

/// Each jump leaves three windows at one moment, and none of them continues a run.
#[test]
fn ten_jumps_within_ten_minutes_bring_no_port_back() {
    let mut schedule = schedule();
    for jump in 0..=10 {
        schedule.turn(Some(NOON + jump * 7_200), Instant(jump * 1_000));
    }
    for jump in 0..10 {
        let now = Instant(11_000 + jump);
        let plan = schedule.turn(Some(NOON + jump * 7_200), now);
        assert_eq!(plan.unwrap_or_default().ports(), [], "jump {jump}");
    }
}

#[test]
fn an_unbelievable_clock_closes_everything() {
    let mut schedule = schedule();
    assert_eq!(schedule.turn(None, Instant(0)), None);
    schedule.turn(Some(NOON), Instant(0));
    let plan = schedule.turn(None, Instant(1_000)).unwrap();
    assert_eq!(plan, Plan::default());
    let back = schedule.turn(Some(NOON), Instant(2_000)).unwrap();
    assert_eq!(back.ports(), []);
}

#[test]
fn a_touched_port_tells_how_far_a_clock_is_off() {
    let mut schedule = schedule();
    schedule.turn(Some(NOON), Instant(0));
    for windows in [-15i64, -7, -4, 4, 5, 15] {
        let minute = MINUTE.checked_add_signed(windows).unwrap();
        let port = schedule.pattern.real(key(), minute);
        let off = schedule.clock_off(port).unwrap();
        assert_eq!(off, windows * 60, "window {windows}");
        assert_eq!(schedule.is_to_come(port), windows > 0, "window {windows}");
    }
    let far = schedule.pattern.real(key(), MINUTE + 16);
    assert_eq!(schedule.clock_off(far), None);
    // The window moves on by one, by none, by many: what is known stays right.
    for unix in [NOON + 60, NOON + 119, NOON + 120, NOON + 86_400] {
        schedule.turn(Some(unix), Instant(0));
        let port = schedule.pattern.real(key(), unix / 60 + 9);
        assert_eq!(schedule.clock_off(port), Some(540));
    }
}

#[test]
fn the_live_windows_are_those_that_are_served() {
    let mut schedule = schedule();
    assert_eq!(schedule.live(), []);
    schedule.turn(Some(NOON), Instant(0));
    assert_eq!(schedule.live(), [MINUTE - 1, MINUTE, MINUTE + 1]);
    schedule.turn(Some(NOON + 120), Instant(120_000));
    assert_eq!(schedule.live(), [MINUTE + 1, MINUTE + 2, MINUTE + 3]);
    // The clock is set back: two of the three were served and left.
    schedule.turn(Some(NOON), Instant(121_000));
    assert_eq!(schedule.live(), [MINUTE + 1]);
    schedule.turn(None, Instant(122_000));
    assert_eq!(schedule.live(), []);
}
