//! The end: the daemon closes what it has opened before it ends.
//!
//! ```text
//!   Stop ─▶ no port, no visitor ─▶ tick: commands close, elements leave their sets ─▶ has_stopped
//!              what is being opened is opened or killed, then closed └─ STOP_MS at most ─┘
//! ```

use super::tables::Core;
use crate::limits::STOP_MS;
use crate::proto::effect::{Effect, Effects};
use crate::proto::input::Input;
use crate::proto::time::{Instant, sooner};

impl Core {
    /// Closes all ports and begins to close every door. A second time gives up on what is still open.
    pub(super) fn stop(&mut self, effects: &mut Effects) {
        let now = self.now.boot;
        let is_first = self.stop_by.is_none();
        self.stop_by = Some(if is_first { now.after(STOP_MS) } else { now });
        for place in 0..self.mirages.ids().len() {
            effects.push_back(Effect::Ports(self.mirages.ids()[place]));
        }
        effects.push_back(Effect::Sense);
        // A journal that could not be written is written now, or not at all.
        self.saved.journal_again = self.saved.journal_again.and(Some(now));
        if is_first {
            effects.extend(self.openings.opening_jobs().map(Effect::Hurry));
        }
        let guests = self.openings.close_all(None, now);
        self.let_guests_go(guests, effects);
    }

    /// Whether the daemon closes its doors because it has to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop_by.is_some()
    }

    /// Whether an input would open something, or may not matter any more.
    pub(super) fn is_too_late(&self, input: &Input) -> bool {
        self.is_stopping()
            && matches!(
                input,
                Input::Accepted { .. }
                    | Input::Said { .. }
                    | Input::Dialled { .. }
                    | Input::DialFailed { .. }
                    | Input::Sensed(_)
                    | Input::Configuration(_)
            )
    }

    /// Whether the daemon has to end now: nothing is open and the journal says so, or the time is over.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        let is_closed = self.openings.are_closed()
            && self.elements.is_empty()
            && self.saved.journal_again.is_none();
        self.stop_by
            .is_some_and(|stop_by| is_closed || stop_by <= self.now.boot)
    }

    /// When something is due while the daemon stops.
    pub(super) fn next_due_of_stop(&self) -> Option<Instant> {
        let soonest = sooner(self.stop_by, self.openings.next_deadline());
        sooner(soonest, self.saved.journal_again)
    }
}
