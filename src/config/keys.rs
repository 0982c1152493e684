//! Every key of a configuration file: its name, how its value is written, which mirages it is for, and
//! the field that it sets. A key is one row here, so it can't be known in one place and unknown in
//! another.

use super::common::Common;
use super::draft::Draft;
use super::mirage::DoorKind;
use super::value;
use crate::message::Parsed;
use crate::proto::gates::Gate;
use core::net::{Ipv4Addr, SocketAddr};

/// Parses a text into a field of `[common]`.
pub(super) type SetCommon = fn(&mut Common, &str) -> Parsed<()>;

/// Parses a text into a field of `[mirage-NAME]`.
pub(super) type SetMirage = fn(&mut Draft, &str) -> Parsed<()>;

/// How a value is written, with the function that sets it.
#[derive(Clone, Copy)]
pub(super) enum Value<S> {
    /// One value. An error may quote it.
    One(S),
    /// Several values, separated by blanks or commas. Each is set by itself.
    List(S),
    /// One value that may contain a `=`. No error quotes it.
    Verbatim(S),
    /// A secret or its file, read once the gate is known. No error quotes it.
    Secret,
}

/// The mirages that a key is for.
pub(super) struct AppliesTo {
    /// They are named so behind "it is for".
    pub mirages: &'static str,
    /// Whether this mirage is one of them.
    pub includes: fn(&Draft) -> bool,
}

/// A key of a section.
pub(super) struct ConfigKey<S> {
    pub name: &'static str,
    pub value: Value<S>,
    /// None: all mirages. In others it would have no effect, which whoever wrote it did not mean, so it
    /// is an error there.
    pub applies_to: Option<AppliesTo>,
}

impl<S> ConfigKey<S> {
    /// The mirages that the key is for, if this is not one of them.
    pub fn misplaced(&self, draft: &Draft) -> Option<&'static str> {
        let applies_to = self.applies_to.as_ref()?;
        (!(applies_to.includes)(draft)).then_some(applies_to.mirages)
    }
}

/// The key of that name.
pub(super) fn find<'a, S>(keys: &'a [ConfigKey<S>], name: &str) -> Option<&'a ConfigKey<S>> {
    keys.iter().find(|key| key.name == name)
}

const fn key<S: Copy>(name: &'static str, value: Value<S>) -> ConfigKey<S> {
    ConfigKey {
        name,
        value,
        applies_to: None,
    }
}

const fn key_of<S: Copy>(
    applies_to: AppliesTo,
    name: &'static str,
    value: Value<S>,
) -> ConfigKey<S> {
    ConfigKey {
        name,
        value,
        applies_to: Some(applies_to),
    }
}

fn put<T>(field: &mut T, value: Parsed<T>) -> Parsed<()> {
    *field = value?;
    Ok(())
}

fn put_some<T>(field: &mut Option<T>, value: Parsed<T>) -> Parsed<()> {
    *field = Some(value?);
    Ok(())
}

fn push<T>(list: &mut Vec<T>, value: Parsed<T>) -> Parsed<()> {
    list.push(value?);
    Ok(())
}

use Value::{List, One, Verbatim};

/// The keys of `[common]`.
pub(super) const COMMON: &[ConfigKey<SetCommon>] = &[
    key("log", Verbatim(|c, text| put(&mut c.log, value::log(text)))),
    key(
        "log-level",
        One(|c, text| put(&mut c.log_level, value::log_level(text))),
    ),
    key(
        "state-file",
        Verbatim(|c, text| put(&mut c.state_file, value::location(text))),
    ),
    key(
        "ban-time",
        One(|c, text| put(&mut c.ban_s, value::time_limit(text))),
    ),
    key(
        "allow",
        List(|c, text| push(&mut c.allow, value::network(text))),
    ),
    key(
        "clock",
        One(|c, text| put(&mut c.clock, value::clock(text))),
    ),
    key(
        "max-sessions",
        One(|c, text| put_some(&mut c.max_sessions, value::sessions(text))),
    ),
    key(
        "max-sessions-per-source",
        One(|c, text| put(&mut c.max_sessions_per_source, value::sessions(text))),
    ),
    key(
        "control",
        Verbatim(|c, text| put(&mut c.control, value::location(text))),
    ),
    key(
        "sandbox",
        One(|c, text| put(&mut c.sandbox, value::yes_or_no(text))),
    ),
    // Only the server looks the account up, because a client may run on another machine.
    key("user", One(|_, _| Ok(()))),
];

const KEYED: AppliesTo = AppliesTo {
    mirages: "gates that use a secret, which a fixed sequence does not",
    includes: |draft| draft.is_keyed(),
};
const TRAPS: AppliesTo = AppliesTo {
    mirages: "gate = port or token",
    includes: |draft| !draft.gate.is_silent(),
};
const KNOCK: AppliesTo = AppliesTo {
    mirages: "gate = knock",
    includes: |draft| draft.gate == Gate::Knock,
};
const DRAWN_SEQUENCE: AppliesTo = AppliesTo {
    mirages: "gate = knock without a sequence",
    includes: |draft| draft.gate == Gate::Knock && !draft.is_fixed(),
};
const FIXED_SEQUENCE: AppliesTo = AppliesTo {
    mirages: "gate = knock with a sequence",
    includes: |draft| draft.is_fixed(),
};
const PACKET: AppliesTo = AppliesTo {
    mirages: "gate = packet",
    includes: |draft| draft.gate == Gate::Packet,
};
const FORWARD: AppliesTo = AppliesTo {
    mirages: "door = forward",
    includes: |draft| draft.door.kind == DoorKind::Forward,
};
// An exec has the visitor's connection itself, and the daemon does not see its bytes.
const FORWARD_TO_PORT: AppliesTo = AppliesTo {
    mirages: "door = forward with port or forward",
    includes: |draft| draft.door.kind == DoorKind::Forward && draft.section.find("exec").is_none(),
};
const COMMANDS: AppliesTo = AppliesTo {
    mirages: "door = command, and for services on demand",
    includes: |draft| draft.door.kind != DoorKind::Nft,
};
const ON_DEMAND: AppliesTo = AppliesTo {
    mirages: "services on demand, which have an open-command",
    includes: |draft| draft.is_on_demand(),
};
const ADMISSION: AppliesTo = AppliesTo {
    mirages: "silent gates, door = command or nft, and services on demand",
    includes: |draft| {
        draft.gate.is_silent() || draft.door.kind != DoorKind::Forward || draft.is_on_demand()
    },
};
const NFT: AppliesTo = AppliesTo {
    mirages: "door = nft",
    includes: |draft| draft.door.kind == DoorKind::Nft,
};

/// The keys of `[mirage-NAME]`.
pub(super) const MIRAGE: &[ConfigKey<SetMirage>] = &[
    key(
        "name",
        One(|m, text| {
            put(
                &mut m.plain.name,
                value::parse_name(text).map(str::to_owned),
            )
        }),
    ),
    key_of(KEYED, "secret", Value::Secret),
    key_of(KEYED, "secret-file", Value::Secret),
    key_of(
        FORWARD,
        "port",
        One(|m, text| {
            let port = value::parse_port(text)?;
            m.door.service = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            Ok(())
        }),
    ),
    key_of(
        FORWARD,
        "forward",
        One(|m, text| put_some(&mut m.door.service, value::forward(text))),
    ),
    key(
        "range",
        One(|m, text| put_some(&mut m.range, value::parse_range(text, '-'))),
    ),
    key_of(
        TRAPS,
        "decoys",
        One(|m, text| put_some(&mut m.decoys, value::parse_decoys(text))),
    ),
    key_of(
        KEYED,
        "period",
        One(|m, text| put(&mut m.period, value::parse_period(text))),
    ),
    key(
        "gate",
        One(|m, text| put(&mut m.gate, value::parse_gate(text))),
    ),
    key_of(
        TRAPS,
        "listen",
        One(|m, text| put(&mut m.is_pool, value::is_pool(text))),
    ),
    key_of(
        TRAPS,
        "pool-port",
        One(|m, text| put_some(&mut m.pool_port, value::parse_port(text))),
    ),
    key(
        "listen-address",
        List(|m, text| push(&mut m.plain.listen, value::listen_address(text))),
    ),
    key(
        "from",
        List(|m, text| push(&mut m.plain.from, value::network(text))),
    ),
    key_of(
        TRAPS,
        "trap-time",
        One(|m, text| put(&mut m.plain.trap_s, value::time_limit(text))),
    ),
    key_of(
        FORWARD_TO_PORT,
        "idle-timeout",
        One(|m, text| put(&mut m.plain.idle_s, value::idle_timeout(text))),
    ),
    key_of(
        FORWARD,
        "max-sessions",
        One(|m, text| put_some(&mut m.plain.max_sessions, value::sessions(text))),
    ),
    key_of(
        FORWARD_TO_PORT,
        "client-address",
        One(|m, text| put_some(&mut m.plain.client_address, value::client_address(text))),
    ),
    key(
        "host",
        One(|m, text| put_some(&mut m.plain.host, Ok(text.to_owned()))),
    ),
    key_of(
        DRAWN_SEQUENCE,
        "knocks",
        One(|m, text| put(&mut m.knock.knocks, value::knocks(text))),
    ),
    key_of(
        DRAWN_SEQUENCE,
        "protocols",
        One(|m, text| put(&mut m.knock.protocols, value::protocols(text))),
    ),
    key_of(
        DRAWN_SEQUENCE,
        "once",
        One(|m, text| put(&mut m.knock.rules.is_once, value::yes_or_no(text))),
    ),
    key_of(
        KNOCK,
        "sequence",
        One(|m, text| put(&mut m.knock.sequence, value::sequence(text))),
    ),
    key_of(
        FIXED_SEQUENCE,
        "close-sequence",
        One(|m, text| put(&mut m.knock.close_sequence, value::sequence(text))),
    ),
    key_of(
        KNOCK,
        "seq-timeout",
        One(|m, text| put(&mut m.knock.rules.timeout_ms, value::time_limit_ms(text))),
    ),
    key_of(
        KNOCK,
        "lock",
        One(|m, text| put(&mut m.lock_s, value::lock(text))),
    ),
    key_of(
        KNOCK,
        "lock-scope",
        One(|m, text| put(&mut m.lock_scope, value::lock_scope(text))),
    ),
    key_of(
        PACKET,
        "packet-address",
        One(|m, text| put(&mut m.packet.address, value::packet_address(text))),
    ),
    key_of(
        PACKET,
        "packet-port",
        One(|m, text| put_some(&mut m.packet.port, value::parse_port(text))),
    ),
    key(
        "door",
        One(|m, text| put(&mut m.door.kind, value::door(text))),
    ),
    key_of(
        FORWARD,
        "exec",
        Verbatim(|m, text| put_some(&mut m.door.exec, value::displayed(text.parse()))),
    ),
    key_of(
        COMMANDS,
        "open-command",
        Verbatim(|m, text| put_some(&mut m.door.open_command, value::displayed(text.parse()))),
    ),
    key_of(
        COMMANDS,
        "close-command",
        Verbatim(|m, text| put_some(&mut m.door.close_command, value::displayed(text.parse()))),
    ),
    key_of(
        ADMISSION,
        "open-timeout",
        One(|m, text| put_some(&mut m.door.open_s, value::time_limit(text))),
    ),
    key_of(
        ON_DEMAND,
        "ready-timeout",
        One(|m, text| put(&mut m.plain.ready_s, value::time_limit(text))),
    ),
    key_of(
        NFT,
        "open-set",
        One(|m, text| put_some(&mut m.door.open_set, value::displayed(text.parse()))),
    ),
    key_of(
        NFT,
        "open-port",
        One(|m, text| put_some(&mut m.door.open_port, value::parse_port(text))),
    ),
];

#[cfg(test)]
mod tests;
