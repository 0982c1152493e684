//! What has to hold between the core and its shell whenever nothing is under way.

use super::shell::{Body, Dialled, Listener, Place};
use super::world::World;
use crate::proto::conn::{Conn, ConnId, Stage};
use crate::proto::server::Wanted;
use crate::proto::server::places::guaranteed;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// What has to hold whenever nothing is under way.
    pub fn check(&self) {
        let Self { core, shell, .. } = self;
        assert!(core.is_settled() && shell.is_idle() && self.is_idle());
        assert!(core.newcomers.is_empty(), "a question has no answer");
        self.check_conns();
        self.check_ports();
        let jobs: BTreeSet<_> = shell
            .jobs
            .iter()
            .map(|(job, _)| format!("{job:?}"))
            .collect();
        assert_eq!(jobs.len(), shell.jobs.len(), "a command runs twice");
        let openings = core.openings().iter();
        for opening in openings.filter(|opening| opening.stays_ms(self.now.boot) == 0) {
            let runs = shell
                .jobs
                .iter()
                .any(|(job, _)| core.openings().of(*job).is_some());
            assert!(runs || core.deadline().is_some(), "{opening:?} has no end");
        }
    }

    fn check_conns(&self) {
        let Self { core, shell, .. } = self;
        let known: Vec<(ConnId, &Conn)> = core.conns.iter_from(0).collect();
        let ids: Vec<u32> = known.iter().map(|(id, _)| id.bits()).collect();
        for conn in shell.conns() {
            assert!(
                ids.contains(&conn.bits()),
                "the core does not know {conn:?}"
            );
        }
        let deadline = core.conns.next_deadline();
        for &(id, conn) in &known {
            let body = shell.body(id);
            let is_right = match conn.stage {
                Stage::Listening { .. } => body == Some(Body::Trap { listens: true }),
                Stage::Muted { .. } => body == Some(Body::Trap { listens: false }),
                Stage::Leaving { .. } | Stage::Proven { .. } => false,
                Stage::Dialling { .. } => body == Some(Body::Link(Dialled::Pending)),
                Stage::Waiting | Stage::Stranded => {
                    matches!(body, Some(Body::Link(Dialled::Pending | Dialled::Failed)))
                }
                Stage::Open => body == Some(Body::Link(Dialled::Open)),
                Stage::Process => body == Some(Body::Process),
                Stage::Guest => body == Some(Body::Waiting),
            };
            assert!(is_right, "{:?} is {body:?}", conn.stage);
            let has_end = match conn.stage {
                Stage::Open | Stage::Process => true,
                // With the job for which they wait.
                Stage::Guest => {
                    !shell.jobs.is_empty()
                        || !shell.elements.is_empty()
                        || core.deadline().is_some()
                }
                _ => deadline.is_some(),
            };
            assert!(has_end, "{:?} has no end", conn.stage);
        }
        self.check_counts(&known);
    }

    /// As if everything were counted anew.
    fn check_counts(&self, known: &[(ConnId, &Conn)]) {
        let conns = &self.core.conns;
        let is_held =
            |conn: &Conn| matches!(conn.stage, Stage::Listening { .. } | Stage::Muted { .. });
        let count =
            |is_it: &dyn Fn(&Conn) -> bool| known.iter().filter(|(_, conn)| is_it(conn)).count();
        let (held, most) = conns.held();
        assert_eq!(held, count(&is_held));
        assert!(held <= most, "{held} are held");
        assert_eq!(conns.sessions(), count(&|conn| conn.stage.is_session()));
        let places = self.core.common.max_sessions;
        let (promised, _) = self.promised();
        assert!(
            promised <= places / 2,
            "{promised} of {places} are promised"
        );
        for (_, conn) in known {
            let of_source = |other: &Conn| other.stage.is_session() && other.source == conn.source;
            assert_eq!(conns.sessions_from(conn.source), count(&of_source));
            let of_mirage = |other: &Conn| other.stage.is_session() && other.mirage == conn.mirage;
            assert_eq!(conns.sessions_of(conn.mirage), count(&of_mirage));
        }
    }

    /// The places that mirages can't take from each other, and how many sessions have others.
    pub fn promised(&self) -> (usize, usize) {
        let core = &self.core;
        let share = core.share_of_places();
        let guaranteed = core.mirages().map(|(id, mirage)| {
            let guaranteed = guaranteed(mirage, share);
            (guaranteed, guaranteed.min(core.conns.sessions_of(id)))
        });
        let (promised, taken) = guaranteed.fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1));
        (promised, core.conns.sessions() - taken)
    }

    /// What is open is what is wanted, for those alone who may come.
    fn check_ports(&self) {
        let Self { core, shell, .. } = self;
        let mut wanted = BTreeMap::new();
        for (mirage, _) in core.mirages() {
            let Wanted {
                ports,
                listen,
                admitted,
                ..
            } = core.wanted(mirage);
            let mut addresses: Vec<_> = listen.into_iter().map(Some).collect();
            if addresses.is_empty() {
                addresses.push(None);
            }
            for port in ports.into_iter().filter(|port| !shell.taken.contains(port)) {
                for &address in &addresses {
                    assert_eq!(core.owner(address, port), Some(mirage));
                    let admitted = admitted.clone();
                    wanted.insert((address, port), Listener { mirage, admitted });
                }
            }
        }
        let is_free = |place: &&Place| !shell.taken.contains(&place.1);
        let open = shell.listeners.iter().filter(|(place, _)| is_free(place));
        assert!(
            wanted.iter().eq(open),
            "{wanted:?} and not {:?}",
            shell.listeners
        );
    }
}
