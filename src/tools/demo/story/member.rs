//! The member, once it is in.

use super::check::Check;
use crate::tools::demo::event::Found;

/// Echoes that it has to get after its port is gone.
pub const LATE_ECHOES: u32 = 3;

/// The member, once it is in.
#[derive(Debug)]
pub struct MemberVisit {
    /// The port by which it got in.
    pub port: u16,
    /// The minute in which it got in.
    pub minute: u64,
    /// Lines that came back.
    pub echoes: u32,
    /// Those of them that came back after the port was gone.
    late_echoes: u32,
    /// What a newcomer found at that port afterwards.
    newcomer_found: Option<Found>,
}

impl MemberVisit {
    /// It has just got in.
    pub fn new(port: u16, minute: u64) -> Self {
        Self {
            port,
            minute,
            echoes: 0,
            late_echoes: 0,
            newcomer_found: None,
        }
    }

    /// Counts a line that came back; `is_late` after the port was gone.
    pub fn count_echo(&mut self, is_late: bool) {
        self.echoes += 1;
        self.late_echoes += u32::from(is_late);
    }

    /// Notes what a newcomer found at the port.
    pub fn note_newcomer(&mut self, found: Found) {
        self.newcomer_found = Some(found);
    }

    /// Whether it is still in, although nobody can get in by its port any more. None: not known yet.
    pub fn check_stay(&self, minute: u64) -> Option<Check> {
        let (port, turns) = (self.port, minute - self.minute);
        let state = match self.newcomer_found? {
            Found::Closed => "closed",
            Found::Mute | Found::Shut => "a trap",
            Found::Greeting => {
                let how = format!("port {port} let a newcomer in, too late");
                return Some(Check::Disproved(how));
            }
        };
        let how =
            format!("{turns} turns later the member is still in; its port {port} is {state} now");
        (self.late_echoes >= LATE_ECHOES).then_some(Check::Proven(how))
    }
}
