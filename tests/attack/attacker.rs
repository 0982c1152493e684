//! The coordinated attacker: sources that share what they learn, against each gate, and what they
//! can see, fill up or break besides; `run` starts it.
//!
//! Each part prints a table: what was measured, what it should be by theory or by a named limit, and
//! whether the two agree. The figures of README.md are from here.
//!
//! ```text
//!   success.rs     how often S sources get in          statistics.rs  what a count of tries says
//!   silent.rs      the same at knock and packet        network.rs     two hosts, SYNs, addresses
//!   likeness.rs    what a visitor can tell apart       held.rs        the real loop, its clock held
//!   silence.rs     what a silent gate lets be seen     process.rs     the daemon as it is shipped
//!   ceilings.rs    what 65,000 sources can fill up     table.rs       what is printed
//!   flood.rs       what a flood does to silent gates   driven.rs      of tests/common: the held clock
//!   soak.rs        every byte, while all turns
//! ```

mod ceilings;
#[path = "../common/driven.rs"]
mod driven;
mod flood;
mod held;
mod likeness;
#[path = "../common/memory.rs"]
mod memory;
mod network;
mod process;
mod silence;
mod silent;
mod soak;
mod statistics;
mod success;
mod table;

use table::Report;

/// A part: its name on the command line, and what it does.
type Part = (&'static str, fn(&mut Report));

const PARTS: &[Part] = &[
    ("port", success::port),
    ("pool", success::pool),
    ("turns", success::turns),
    ("token", success::token),
    ("knock", silent::knock),
    ("packet", silent::packet),
    ("likeness", likeness::likeness),
    ("verdicts", likeness::verdicts),
    ("ceilings", ceilings::ceilings),
    ("flood", flood::flood),
    ("silence", silence::silence),
    ("soak", soak::soak),
];

fn main() {
    // `cargo bench` and `cargo test --all-targets` pass options; only the script says what to do.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if wanted.is_empty() {
        println!("tests/attack/run builds what this needs, and runs it");
        return;
    }
    statistics::check();
    held::check();
    let mut report = Report::default();
    let is_wanted = |name: &str| wanted.iter().any(|word| word == "all" || word == name);
    for (_, part) in PARTS.iter().filter(|(name, _)| is_wanted(name)) {
        part(&mut report);
    }
    std::process::exit(report.finish());
}
