//! The scanner: what it has found, and what the daemon has done to it.

use super::check::Check;
use crate::tools::demo::event::Found;
use core::fmt;
use std::collections::BTreeMap;

/// The scanner.
#[derive(Debug, Default)]
pub struct Scanner {
    /// What it knows about each port.
    pub map: BTreeMap<u16, Found>,
    /// The ports it has tried, in order, and what it found.
    pub tried: Vec<(u16, Found)>,
    /// The port that got it banned.
    pub ban: Option<u16>,
    /// A real port, if it met one before any trap.
    lucky_port: Option<u16>,
    /// The log said that it is banned, but not by which port. It never names a port that will be real soon.
    is_banned_unnamed: bool,
    /// How many open ports did not get it banned, by the log: real ones, and those that were or will be.
    spared: usize,
}

impl Scanner {
    /// Notes what it found at a port.
    pub fn note(&mut self, port: u16, found: Found) {
        self.map.insert(port, found);
        self.tried.push((port, found));
    }

    /// Notes that the daemon let it in at a port.
    pub fn note_accept(&mut self, port: Option<u16>) {
        self.spared += 1;
        self.lucky_port = port;
    }

    /// Notes that the daemon spared it, because the port was or will be real.
    pub fn note_spared(&mut self) {
        self.spared += 1;
    }

    /// Notes that the daemon banned it, for a port unless that is secret.
    pub fn note_ban(&mut self, port: Option<u16>) {
        self.ban = port;
        self.is_banned_unnamed = port.is_none();
    }

    /// Notes that the ban is over.
    pub fn note_unban(&mut self) {
        self.ban = None;
        self.is_banned_unnamed = false;
    }

    /// How many open ports have turned it away.
    pub fn count_shut(&self) -> usize {
        let is_shut = |found: &&Found| **found == Found::Shut;
        self.map.values().filter(is_shut).count()
    }

    /// Whether the first trap it touched got it banned. None: not known yet, because the log may tell of the
    /// ban before the scanner tells of the port.
    pub fn check_ban(&mut self) -> Option<Check> {
        let is_open = |(_, found): &&(u16, Found)| matches!(found, Found::Mute | Found::Greeting);
        if self.is_banned_unnamed {
            // It was the first one that was not spared.
            let trap = self.tried.iter().filter(is_open).nth(self.spared);
            self.ban = trap.map(|(port, _)| *port);
        }
        let ban = self.ban?;
        let index = self.tried.iter().position(|(port, _)| *port == ban)?;
        let met = self.tried[..index].iter().filter(is_open).count();
        if met > self.spared {
            return Some(Check::Disproved(format!(
                "the scanner touched {met} open ports before it was banned"
            )));
        }
        let number = Ordinal(index + 1);
        Some(Check::Proven(match self.lucky_port {
            None if index == 0 => {
                format!("the scanner was banned at its very first try: {ban} is a trap")
            }
            None => format!("the scanner was banned at its {number} try: {ban} is a trap"),
            // Three of 42 lead in. Whoever finds that too many gives the range more ports.
            Some(port) => {
                format!("the scanner hit {port} by luck, a real one; then {ban}, a trap: banned")
            }
        }))
    }
}

/// 1st, 2nd, 3rd, 4th.
struct Ordinal(usize);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match (self.0 % 10, self.0 % 100) {
            (_, 11..=13) => "th",
            (1, _) => "st",
            (2, _) => "nd",
            (3, _) => "rd",
            _ => "th",
        };
        write!(f, "{}{ending}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_english() {
        let text = [1, 2, 3, 4, 11, 12, 13, 21, 112].map(|number| Ordinal(number).to_string());
        let english = [
            "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th",
        ];
        assert_eq!(text, english);
    }
}
