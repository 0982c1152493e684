use super::*;
use crate::limits::{CLOSED_RUNS, FORMER_KEYS, NONCES};
use proptest::prelude::*;

mod small;

const BOOT: BootId = [7; 16];
const PERIOD: u32 = 60;
/// Places of a small memory.
const FEW: usize = 12;
const NOON: i64 = 1_794_000_000;

fn at(boot_s: u64, unix: i64) -> Now {
    Now {
        boot: Instant(boot_s * 1_000),
        real_ms: unix * 1_000,
    }
}

/// Ten days after the boot.
fn noon() -> Now {
    at(864_000, NOON)
}

fn later(now: Now, seconds: u64) -> Now {
    at(
        now.boot.0 / 1_000 + seconds,
        now.real_ms / 1_000 + seconds as i64,
    )
}

fn key(number: u8) -> KeyId {
    KeyId::from_bytes([number; 16])
}

fn nonce(number: u32) -> Nonce {
    u128::from(number).to_be_bytes()
}

fn source(number: u8) -> Source {
    Source::of([192, 0, 2, number].into())
}

fn window(number: u64) -> Window {
    Window {
        key: key(1),
        period: PERIOD,
        number,
    }
}

fn minute(now: Now) -> u64 {
    now.unix() / u64::from(PERIOD)
}

/// One that knows all since the boot.
fn known() -> Memory {
    let mut memory = Memory::new(BOOT, Instant(0));
    memory.serve(&[(key(1), PERIOD)], noon());
    memory
}

/// What a file has after it was written.
fn written(memory: &mut Memory, file: &mut Vec<u8>) {
    file.resize(memory.size() as usize, 0);
    for write in memory.unwritten().iter() {
        let at = write.at as usize;
        file[at..at + RECORD].copy_from_slice(&write.bytes);
    }
    let changes = memory.unwritten().changes();
    memory.written(changes);
}

fn read(file: &[u8], now: Now) -> (Memory, Past) {
    let (mut memory, past) = Memory::read(Some(file), Some(BOOT), now.boot);
    memory.serve(&[(key(1), PERIOD)], now);
    (memory, past)
}

/// Leaves so few places that a few proofs close windows.
fn shrink(memory: &mut Memory) {
    for book in memory.books.iter_mut().flatten() {
        book.shrink(FEW);
    }
}

fn spend(memory: &mut Memory, number: u32, now: Now) -> Use {
    memory.spend(window(minute(now)), &nonce(number), source(1), now)
}

#[test]
fn a_nonce_counts_once_and_outlives_a_restart() {
    let (mut memory, mut file, now) = (known(), Vec::new(), noon());
    assert_eq!(spend(&mut memory, 1, now), Use::First);
    assert_eq!(spend(&mut memory, 1, now), Use::Again);
    written(&mut memory, &mut file);
    let (mut memory, past) = read(&file, later(now, 1));
    assert_eq!(past, Past::Known);
    assert!(memory.unwritten().is_empty());
    assert_eq!(spend(&mut memory, 1, now), Use::Again);
    assert_eq!(spend(&mut memory, 2, now), Use::First);
    // Whatever the clock says then.
    for seconds in [60, 840, 86_400] {
        let back = later(at(864_000, NOON - seconds), seconds as u64);
        assert_eq!(spend(&mut memory, 1, back), Use::Again);
    }
}

#[test]
fn without_a_file_two_windows_are_refused_and_no_more() {
    let whole = {
        let (mut memory, mut file) = (known(), Vec::new());
        written(&mut memory, &mut file);
        file
    };
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    let files = [
        None,
        Some(&b""[..]),
        Some(&damaged),
        Some(&whole[..whole.len() - 1]),
    ];
    let expected = [Past::Missing, Past::Missing, Past::Damaged, Past::Damaged];
    for (file, expected) in files.into_iter().zip(expected) {
        let start = noon();
        let (mut memory, past) = Memory::read(file, Some(BOOT), start.boot);
        assert_eq!(past, expected);
        memory.serve(&[(key(1), PERIOD)], start);
        let this = minute(start);
        for window_then in [this - 1, this, this + 1] {
            let now = later(start, 30);
            let used = memory.look_up(window(window_then), &nonce(1), now);
            assert_eq!(used, Use::Forgotten);
        }
        let now = later(start, 120);
        assert_eq!(spend(&mut memory, 1, now), Use::First);
    }
}

#[test]
fn a_file_of_another_boot_knows_its_nonces_and_refuses_what_was_live() {
    let (mut memory, mut file, now) = (known(), Vec::new(), noon());
    assert_eq!(spend(&mut memory, 1, now), Use::First);
    written(&mut memory, &mut file);
    // The boot clock began anew, and so much time has passed.
    let start = at(20, NOON + 45);
    let (mut memory, past) = Memory::read(Some(&file), Some([8; 16]), start.boot);
    assert_eq!(past, Past::OtherBoot);
    memory.serve(&[(key(1), PERIOD)], start);
    assert_eq!(spend(&mut memory, 2, start), Use::Forgotten);
    assert_eq!(spend(&mut memory, 3, later(start, 120)), Use::First);
    let old = memory.look_up(window(minute(now)), &nonce(1), later(start, 120));
    assert_eq!(old, Use::Again);
    // The next start in this boot knows all.
    written(&mut memory, &mut file);
    let (_, past) = Memory::read(Some(&file), Some([8; 16]), later(start, 125).boot);
    assert_eq!(past, Past::Known);
}

#[test]
fn a_clock_that_is_set_right_after_the_start_moves_what_is_refused() {
    let start = at(20, NOON - 3 * 3_600);
    let mut memory = Memory::new(BOOT, start.boot);
    memory.serve(&[(key(1), PERIOD)], start);
    // Ten minutes later NTP says that it is noon.
    let right = at(620, NOON);
    let before = minute(right) - 10;
    let look = |number| memory.look_up(window(number), &nonce(1), right);
    assert_eq!(look(before + 1), Use::Forgotten);
    assert_eq!(look(before + 2), Use::First);
}

#[test]
fn what_was_refused_while_it_was_live_stays_refused_when_the_clock_is_set_back() {
    let start = noon();
    let this = minute(start);
    let mut memory = Memory::new(BOOT, start.boot);
    memory.serve(&[(key(1), PERIOD)], start);
    memory.close_unknown(key(1), PERIOD, &[this - 1, this, this + 1], start);
    // 14 minutes back, and then it is the same minute again.
    let again = at(864_000 + 840, NOON);
    assert_eq!(spend(&mut memory, 1, again), Use::Forgotten);
    assert_eq!(spend(&mut memory, 1, later(again, 120)), Use::First);
}

#[test]
fn a_clock_that_was_a_year_ahead_locks_nobody_out() {
    let (mut memory, now) = (known(), noon());
    let year = 31_536_000;
    let ahead = at(864_010, NOON + year);
    // Many members come there, so that windows are closed.
    for number in 0..3 * NONCES as u32 {
        let now = later(ahead, u64::from(number) / 20);
        let window = window(minute(now));
        let source = source((number % 64) as u8);
        assert_eq!(
            memory.spend(window, &nonce(number), source, now),
            Use::First
        );
    }
    let right = later(now, 700);
    assert_eq!(spend(&mut memory, 1 << 30, right), Use::First);
    assert_eq!(spend(&mut memory, 1 << 30, right), Use::Again);
}

#[test]
fn a_full_memory_closes_the_lowest_window_that_is_over() {
    let (mut memory, now) = (known(), noon());
    for number in 0..NONCES as u32 {
        // Each window has 256.
        let now = later(now, u64::from(number / 256) * 60);
        let source = source((number % 16) as u8);
        let used = memory.spend(window(minute(now)), &nonce(number), source, now);
        assert_eq!(used, Use::First);
    }
    let now = later(now, 16 * 60);
    let first = window(minute(noon()));
    assert_eq!(memory.look_up(first, &nonce(0), now), Use::Again);
    assert_eq!(spend(&mut memory, 1 << 30, now), Use::First);
    assert_eq!(memory.look_up(first, &nonce(0), now), Use::Forgotten);
    assert_eq!(memory.look_up(first, &nonce(1 << 29), now), Use::Forgotten);
    let second = window(first.number + 1);
    assert_eq!(memory.look_up(second, &nonce(256), now), Use::Again);
    assert_eq!(memory.look_up(second, &nonce(1 << 29), now), Use::First);
}

#[test]
fn a_source_has_its_share_and_the_next_one_has_room() {
    let (mut memory, now) = (known(), noon());
    let mut number = 0;
    let mut fill = |memory: &mut Memory, who| {
        let mut count = 0;
        loop {
            number += 1;
            match memory.spend(window(minute(now)), &nonce(number), source(who), now) {
                Use::First => count += 1,
                used => return (count, used),
            }
        }
    };
    assert_eq!(fill(&mut memory, 1), (NONCES / 8, Use::Full));
    let (second, _) = fill(&mut memory, 2);
    assert_eq!(second, (NONCES - NONCES / 8) / 8);
    for who in 3..40 {
        assert!(fill(&mut memory, who).0 > 0, "{who}");
    }
    // Two windows later there is room again.
    assert_eq!(spend(&mut memory, 1 << 30, later(now, 240)), Use::First);
}

#[test]
fn a_key_that_is_not_served_is_remembered_until_there_are_too_many() {
    let (mut memory, now) = (known(), noon());
    assert_eq!(spend(&mut memory, 1, now), Use::First);
    let later_on = later(now, 3_600);
    memory.serve(&[], later_on);
    memory.serve(&[(key(1), PERIOD)], later_on);
    assert_eq!(spend(&mut memory, 2, later_on), Use::First);
    for other in 0..=FORMER_KEYS as u8 {
        memory.serve(&[(key(100 + other), PERIOD)], later(now, 7_200));
    }
    memory.serve(&[(key(1), PERIOD)], later(now, 7_200));
    assert_eq!(spend(&mut memory, 3, later(now, 7_200)), Use::Forgotten);
    assert_eq!(spend(&mut memory, 3, later(now, 7_320)), Use::First);
    assert!(memory.size() <= image::size(FORMER_KEYS + 2));
}

#[test]
fn a_book_that_was_wiped_in_part_leaves_nothing_to_the_next() {
    let mut memory = known();
    assert_eq!(spend(&mut memory, 1, noon()), Use::First);
    let mut file = Vec::new();
    written(&mut memory, &mut file);
    let head = Place::Key(0).number() * RECORD;
    file[head..head + RECORD].fill(0);
    let (mut next, past) = Memory::read(Some(&file), Some(BOOT), noon().boot);
    assert_eq!(past, Past::Known);
    next.serve(&[(key(2), PERIOD)], noon());
    written(&mut next, &mut file);
    let (next, _) = Memory::read(Some(&file), Some(BOOT), noon().boot);
    assert_eq!(next.count(key(2), PERIOD, noon()), 0);
}

#[test]
fn a_key_that_has_two_books_is_damage() {
    let mut memory = known();
    memory.serve(&[(key(1), PERIOD), (key(2), PERIOD)], noon());
    let mut file = Vec::new();
    written(&mut memory, &mut file);
    assert_eq!(read(&file, noon()).1, Past::Known);
    let mut writes = Unwritten::default();
    let of_first = image::pair(key(1).as_bytes(), &PERIOD.to_be_bytes());
    writes.put(Place::Key(1), &of_first);
    for write in writes.iter() {
        file[write.at as usize..][..RECORD].copy_from_slice(&write.bytes);
    }
    assert_eq!(read(&file, noon()).1, Past::Damaged);
}

#[test]
fn windows_of_another_length_know_what_was_used_and_closed() {
    let (mut memory, now) = (known(), noon());
    assert_eq!(spend(&mut memory, 1, now), Use::First);
    memory.close_unknown(key(1), PERIOD, &[minute(now)], at(864_000, 0));
    let place = memory.place(key(1), PERIOD).unwrap();
    let closed = minute(now) - 3;
    if let Some(book) = &mut memory.books[place] {
        book.close(Run::of(closed), place, &mut memory.unwritten);
    }
    memory.serve(&[(key(1), 90)], now);
    let of = |unix: u64| Window {
        key: key(1),
        period: 90,
        number: unix / 90,
    };
    let look = |unix, number| memory.look_up(of(unix), &nonce(number), now);
    assert_eq!(look(now.unix(), 1), Use::Again);
    assert_eq!(look(now.unix(), 2), Use::First);
    assert_eq!(look(closed * 60, 2), Use::Forgotten);
    assert_eq!(look(closed * 60 + 59, 2), Use::Forgotten);
}

#[test]
fn another_file_gets_all_of_it() {
    let (mut memory, mut first, now) = (known(), Vec::new(), noon());
    assert_eq!(spend(&mut memory, 1, now), Use::First);
    written(&mut memory, &mut first);
    let mut second = Vec::new();
    memory.rewrite();
    written(&mut memory, &mut second);
    assert_eq!(first, second);
}

#[test]
fn what_could_not_be_written_waits_once() {
    let (mut memory, now) = (known(), noon());
    for number in 0..3 * NONCES as u32 {
        let now = later(now, u64::from(number) / 20);
        let source = source((number % 64) as u8);
        memory.spend(window(minute(now)), &nonce(number), source, now);
    }
    let most = 2 + 2 + CLOSED_RUNS + NONCES;
    assert!(memory.unwritten().iter().count() <= most);
}

#[test]
fn a_changed_byte_anywhere_is_damage() {
    let (mut memory, mut file, now) = (known(), Vec::new(), noon());
    spend(&mut memory, 1, now);
    memory.close_unknown(key(1), PERIOD, &[1, 5], at(864_000, 0));
    written(&mut memory, &mut file);
    let used: Vec<usize> = (0..file.len()).filter(|&at| file[at] != 0).collect();
    for at in used {
        let mut changed = file.clone();
        changed[at] ^= 0x41;
        let (_, past) = Memory::read(Some(&changed), Some(BOOT), now.boot);
        assert_eq!(past, Past::Damaged, "byte {at}");
    }
}

/// What happens to a memory.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes, in seconds.
    Pass(u64),
    /// The clock steps, by seconds.
    Set(i64),
    /// A proof of so many windows ago, with this nonce.
    Use(u64, u32),
    /// The same by many sources, so that windows are closed.
    UseMany(u32),
    /// The daemon starts again. So many of the last writes had not been made, and nothing was opened for them.
    Restart(usize),
    /// The windows have this length from now on.
    Serve(u32),
    Drop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u64..200).prop_map(Step::Pass),
        1 => prop_oneof![Just(-31_536_000i64), Just(31_536_000), -2_000i64..2_000].prop_map(Step::Set),
        6 => (0u64..3, 0u32..6).prop_map(|(ago, nonce)| Step::Use(ago, nonce)),
        3 => (0u32..2).prop_map(Step::UseMany),
        2 => (0usize..4).prop_map(Step::Restart),
        1 => prop_oneof![Just(60u32), Just(90)].prop_map(Step::Serve),
        1 => Just(Step::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// A datagram counts once, whatever happens: it has a moment, and belongs to the window of that moment.
    #[test]
    fn at_most_once(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut memory, mut file) = (known(), Vec::new());
        written(&mut memory, &mut file);
        let (mut now, mut period) = (noon(), PERIOD);
        let mut counted: Vec<(u64, Nonce)> = Vec::new();
        let mut many = 1 << 20;
        for step in steps {
            shrink(&mut memory);
            match step {
                Step::Pass(seconds) => now = later(now, seconds),
                Step::Set(seconds) => now.real_ms += seconds * 1_000,
                Step::Use(ago, number) => {
                    // A few moments, so that there are many repetitions.
                    let unix = (now.unix() / 180).saturating_sub(ago) * 180;
                    let of = Window { key: key(1), period, number: unix / u64::from(period) };
                    if memory.spend(of, &nonce(number), source(1), now) == Use::First {
                        prop_assert!(!counted.contains(&(unix, nonce(number))));
                        counted.push((unix, nonce(number)));
                        written(&mut memory, &mut file);
                    }
                }
                Step::UseMany(who) => {
                    for number in 0..FEW as u32 / 2 {
                        many += 1;
                        let number_of = now.unix() / u64::from(period);
                        let of = Window { key: key(1), period, number: number_of };
                        let source = source((who * 16 + number) as u8);
                        memory.spend(of, &nonce(many), source, now);
                        written(&mut memory, &mut file);
                    }
                }
                Step::Restart(lost) => {
                    // It is killed while it writes.
                    let of = Window { key: key(1), period, number: now.unix() / u64::from(period) };
                    many += 1;
                    memory.spend(of, &nonce(many), source(2), now);
                    let writes: Vec<Write> = memory.unwritten().iter().copied().collect();
                    for write in writes.iter().take(lost) {
                        let at = write.at as usize;
                        file[at..at + RECORD].copy_from_slice(&write.bytes);
                    }
                    let (again, past) = Memory::read(Some(&file), Some(BOOT), now.boot);
                    prop_assert_eq!(past, Past::Known);
                    memory = again;
                    memory.serve(&[(key(1), period)], now);
                    written(&mut memory, &mut file);
                }
                Step::Serve(other) => {
                    period = other;
                    memory.serve(&[(key(1), period)], now);
                    written(&mut memory, &mut file);
                }
                Step::Drop => {
                    memory.serve(&[(key(2), PERIOD)], now);
                    memory.serve(&[(key(1), period)], now);
                    written(&mut memory, &mut file);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_damaged(bytes: Vec<u8>, places in proptest::collection::vec((0usize..140_000, any::<u8>()), 0..20)) {
        drop(Memory::read(Some(&bytes), Some(BOOT), Instant(1)));
        let (mut memory, mut file) = (known(), Vec::new());
        written(&mut memory, &mut file);
        for (at, byte) in places {
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
        }
        drop(Memory::read(Some(&file), Some(BOOT), Instant(1)));
    }
}
