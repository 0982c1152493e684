//! What Shimmer costs, measured on the real daemon; `run` starts it.
//!
//! Direct and through the daemon take turns in short samples, so that what else the machine does
//! meets both, and figures are medians. The daemon's own processor time (proc(5), schedstat, in
//! nanoseconds) stands beside each rate: on a busy machine it is the steadier of the two.
//!
//! ```text
//!   direct     client ──────────────────▶ service        client and service are threads of this
//!   through    client ──▶ the daemon ───▶ service        process, the daemon is one of its own
//!
//!   alone.rs     one program, beside the same without it      daemon.rs    daemons as processes
//!   compare.rs   two programs, side by side                   traffic.rs   services and clients
//!   count.rs     system calls and instructions                table.rs     what is printed
//! ```
//!
//! It prints figures and judges none of them.

mod alone;
mod compare;
mod count;
mod daemon;
mod table;
mod traffic;

use daemon::Bench;
use std::path::PathBuf;

fn main() {
    // `cargo bench` and `cargo test --all-targets` pass options; only the script passes programs.
    let mut programs = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .map(PathBuf::from);
    let what = programs.next();
    let table = match (
        what.as_deref().and_then(|what| what.to_str()),
        programs.next(),
    ) {
        (Some("alone"), Some(program)) => Bench::new(program).alone(programs.next()),
        (Some("compare"), Some(now)) => {
            let before = programs.next().expect("compare takes two programs");
            Bench::new(now).compare(&before)
        }
        _ => {
            println!("tests/bench/run builds what this needs, and runs it");
            return;
        }
    };
    table.print();
}
