//! Which key belongs to which gate and door. One that has no effect where it stands is an error: who
//! wrote it believes that it has one.

use super::draft::{DoorKind, Draft};
use crate::scheme::gate::Gate;

/// Where a key belongs, if that is not here.
pub(super) fn misplaced(draft: &Draft, key: &str) -> Option<&'static str> {
    let (gate, door) = (draft.gate, draft.door);
    let is_on_demand = door == DoorKind::Forward && draft.section.find("open-command").is_some();
    let (belongs, is_here) = match key {
        "decoys" | "trap-time" | "listen" | "pool-port" => {
            ("gate = port or token", !gate.is_silent())
        }
        "secret" | "secret-file" | "period" => (
            "gates that draw from a secret, which a fixed sequence does not",
            draft.is_keyed(),
        ),
        "knocks" | "protocols" | "once" => (
            "gate = knock without a sequence",
            gate == Gate::Knock && !draft.is_fixed(),
        ),
        "close-sequence" => ("gate = knock with a sequence", draft.is_fixed()),
        "sequence" | "seq-timeout" | "lock" | "lock-scope" => ("gate = knock", gate == Gate::Knock),
        "packet-address" | "packet-port" => ("gate = packet", gate == Gate::Packet),
        "port" | "forward" | "exec" => ("door = forward", door == DoorKind::Forward),
        // A process has its connection to itself.
        "idle-timeout" => (
            "door = forward with port or forward",
            door == DoorKind::Forward && draft.section.find("exec").is_none(),
        ),
        "open-command" | "close-command" => (
            "door = command, or door = forward for a service on demand",
            door != DoorKind::Nft,
        ),
        "ready-timeout" => (
            "a service on demand, which an open-command makes",
            is_on_demand,
        ),
        "open-timeout" => (
            "silent gates, door = command or nft, and services on demand",
            gate.is_silent() || door != DoorKind::Forward || is_on_demand,
        ),
        "open-set" | "open-port" => ("door = nft", door == DoorKind::Nft),
        _ => return None,
    };
    (!is_here).then_some(belongs)
}
