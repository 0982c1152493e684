//! `shimmer check`: what the daemon would serve, or why it would not start; and with `--needs`, for an
//! init script, what the system has to give it.

use crate::cli::{self, Failure, Words, warn};
use crate::config::{Mirage, Server, capabilities};
use crate::endpoint::Endpoint;
use core::fmt::Write;
use std::path::Path;

/// `shimmer check [FILE]`
///
/// # Errors
/// [`Failure::Configuration`] with every mistake of the file; those of [`cli::print`].
pub fn main(mut words: Words) -> Result<(), Failure> {
    let shows_needs = words.flag("--needs");
    let file = match words.value("--config")? {
        Some(file) => Some(file),
        None => words.word()?,
    };
    words.end()?;
    let file = Path::new(file.unwrap_or(cli::CONFIG.as_ref()));
    let server = super::load(file, Server::load)?;
    for warning in &server.warnings {
        warn(format_args!("{warning}"));
    }
    if shows_needs {
        return cli::print(&needs(&server.mirages));
    }
    let mut text = format!("{}: ok\n", file.display());
    for mirage in &server.mirages {
        summarise(&mut text, mirage);
    }
    cli::print(&text)
}

/// A line for each thing, a word and its value.
fn needs(mirages: &[Mirage]) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    for capability in capabilities(mirages) {
        let _ = writeln!(text, "capability {}", capability.word());
    }
    for mirage in mirages {
        let bound = mirage.bound();
        let (low, high) = (bound.low(), bound.high());
        let _ = writeln!(text, "open tcp {low}-{high}\nreserve {low}-{high}");
    }
    if mirages.iter().any(|mirage| mirage.pool_port.is_some()) {
        text.push_str("redirect\n");
    }
    text
}

/// Adds what a visitor of the mirage needs to know and where it leads.
fn summarise(text: &mut String, mirage: &Mirage) {
    let pattern = mirage.pattern;
    let (range, decoys) = (pattern.range(), pattern.decoys());
    // Writing to a String can't fail.
    let _ = write!(
        text,
        "
[mirage-{section}]
  name     {name}
  range    {low}-{high}, {count} ports
  ports    {ports} each {period} s: the real one and {decoys} traps
  gate     {gate}
  leads to {service}
  listens  on",
        section = mirage.section,
        name = mirage.name,
        low = range.low(),
        high = range.high(),
        count = range.count(),
        ports = decoys + 1,
        period = pattern.period(),
        gate = mirage.gate.word(),
        service = Endpoint(mirage.service),
    );
    if mirage.listen.is_empty() {
        text.push_str(" all addresses");
    }
    for address in &mirage.listen {
        let _ = write!(text, " {address}");
    }
    if let Some(port) = mirage.pool_port {
        let _ = write!(
            text,
            ", at port {port} for the whole range: see shimmer firewall"
        );
    }
    text.push('\n');
}
