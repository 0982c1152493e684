//! Who may have another session. Half of all places is divided evenly among the mirages that forward, and no
//! other mirage can take these. The other half, and what the division leaves, is for whoever comes first.

use super::mirages::Mirage;
use super::tables::Core;
use crate::proto::event::Limit;
use crate::proto::ids::MirageId;

impl Core {
    /// The most sessions that a mirage can have while the others have what they have now.
    pub(super) fn places_of(&self, id: MirageId, mirage: &Mirage) -> usize {
        self.places_without(id, mirage, None)
    }

    /// The limit that keeps a mirage from another session, if there is one. `leaving`: the mirage of a session
    /// that would end first.
    pub(super) fn limit_of(
        &self,
        id: MirageId,
        mirage: &Mirage,
        leaving: Option<MirageId>,
    ) -> Option<Limit> {
        if self.all_without(leaving) >= self.common.max_sessions {
            Some(Limit::Sessions)
        } else if self.taken_without(id, leaving) >= self.places_without(id, mirage, leaving) {
            Some(Limit::Mirage)
        } else {
            None
        }
    }

    fn places_without(&self, id: MirageId, mirage: &Mirage, leaving: Option<MirageId>) -> usize {
        let share = self.share_of_places();
        let others = self.mirages.iter().filter(|(other, _)| *other != id);
        let kept_free = others.map(|(other, mirage)| {
            let taken = self.taken_without(other, leaving);
            guaranteed(mirage, share).saturating_sub(taken)
        });
        let unavailable = self.all_without(leaving) + kept_free.sum::<usize>();
        let common = self.common.max_sessions.saturating_sub(unavailable);
        let places = self.taken_without(id, leaving) + common;
        places
            .max(guaranteed(mirage, share))
            .min(mirage.most_sessions())
    }

    fn all_without(&self, leaving: Option<MirageId>) -> usize {
        self.conns.sessions() - usize::from(leaving.is_some())
    }

    fn taken_without(&self, id: MirageId, leaving: Option<MirageId>) -> usize {
        self.conns.sessions_of(id) - usize::from(leaving == Some(id))
    }

    /// The part of each mirage that forwards.
    pub(super) fn share_of_places(&self) -> usize {
        let mirages = self.mirages.iter();
        let among = mirages.filter(|(_, mirage)| forwards(mirage)).count();
        self.common.max_sessions / 2 / among.max(1)
    }
}

fn forwards(mirage: &Mirage) -> bool {
    mirage.settings.forward().is_some()
}

/// The places that no other mirage can take from this one.
pub(super) fn guaranteed(mirage: &Mirage, share: usize) -> usize {
    match forwards(mirage) {
        true => share.min(mirage.most_sessions()),
        false => 0,
    }
}
