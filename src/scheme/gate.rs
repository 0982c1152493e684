//! What a visitor gets: the whole of Shimmer's judgement in one function.
//!
//! A visitor has finished a handshake with one of our ports. Only that can ban: a lone SYN can be
//! forged, a handshake needs whoever owns the address.

use super::Instant;
use super::blacklist::{Blacklist, Touch};
use super::schedule::Role;
use super::source::Source;
use crate::limits::FORGIVEN_TOUCHES;
use core::hash::BuildHasher;

/// How a client shows that it knows the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Gate {
    /// It comes to the minute's real port.
    Port,
    /// It does, and says a token there.
    Token,
}

/// What is known of a visitor.
#[derive(Clone, Copy)]
pub struct Visitor {
    /// Who it is.
    pub source: Source,
    /// It comes from a network that is never banned.
    pub is_allowed: bool,
    /// It comes from a network that may use this mirage.
    pub is_welcome: bool,
    /// Touches that its live sessions were forgiven; None without a live session.
    pub forgiven: Option<u8>,
}

/// What happens to a visitor, and why.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Verdict {
    /// The door opens.
    Admit,
    /// The trap holds it, mute.
    Hold(Reason),
    /// The same, and its source is banned from now on.
    Ban(Touch),
    /// It is banned: the connection is closed at once.
    Refuse,
}

/// Why a visitor is held and not banned.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Reason {
    /// The port is real in a window nearby.
    Grace,
    /// Its network is never banned.
    Allowed,
    /// Its source has a live session, and this is one of the touches that are forgiven.
    Forgiven,
    /// The clock was set a moment ago: the visitor may have been right until then.
    ClockSet,
}

impl Reason {
    /// The word that the log has for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Grace => "grace",
            Self::Allowed => "allow",
            Self::Forgiven => "session",
            Self::ClockSet => "clock",
        }
    }
}

/// Judges a finished handshake at a port of this role. `is_settled` is false for a window's time
/// after the clock was set.
///
/// A banned source is shut out everywhere; at a trap that renews its ban, elsewhere it does not, or
/// a member's reconnecting client would lock itself out for ever. To a stranger the real ports are
/// traps like the others, so that it can't tell them apart.
pub fn judge<H: BuildHasher>(
    role: Role,
    visitor: Visitor,
    is_settled: bool,
    bans: &mut Blacklist<H>,
    now: Instant,
) -> Verdict {
    let role = match role {
        Role::Real if !visitor.is_welcome => Role::Trap,
        role => role,
    };
    let is_banned = !visitor.is_allowed && bans.is_banned(visitor.source, now);
    if is_banned {
        if role == Role::Trap {
            bans.touch(visitor.source, now);
        } else {
            bans.count_attempt(visitor.source);
        }
        return Verdict::Refuse;
    }
    match role {
        Role::Real => Verdict::Admit,
        Role::Grace => Verdict::Hold(Reason::Grace),
        Role::Trap if visitor.is_allowed => Verdict::Hold(Reason::Allowed),
        Role::Trap
            if visitor
                .forgiven
                .is_some_and(|touches| touches < FORGIVEN_TOUCHES) =>
        {
            Verdict::Hold(Reason::Forgiven)
        }
        Role::Trap if !is_settled => Verdict::Hold(Reason::ClockSet),
        Role::Trap => Verdict::Ban(bans.touch(visitor.source, now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::RandomState;

    const BAN_MS: u64 = 900_000;

    fn bans() -> Blacklist<RandomState> {
        Blacklist::new(8, BAN_MS, RandomState::new())
    }

    fn stranger() -> Visitor {
        Visitor {
            source: Source::of("192.0.2.7".parse().unwrap()),
            is_allowed: false,
            is_welcome: true,
            forgiven: None,
        }
    }

    fn at(role: Role, visitor: Visitor, bans: &mut Blacklist<RandomState>, now: u64) -> Verdict {
        judge(role, visitor, true, bans, Instant(now))
    }

    #[test]
    fn the_real_port_admits_and_a_trap_bans() {
        let mut bans = bans();
        assert_eq!(at(Role::Real, stranger(), &mut bans, 0), Verdict::Admit);
        let verdict = at(Role::Trap, stranger(), &mut bans, 0);
        assert_eq!(verdict, Verdict::Ban(Touch::Banned));
    }

    #[test]
    fn a_banned_source_is_refused_and_only_a_trap_renews() {
        let mut bans = bans();
        at(Role::Trap, stranger(), &mut bans, 0);
        assert_eq!(
            at(Role::Real, stranger(), &mut bans, BAN_MS - 1),
            Verdict::Refuse
        );
        assert_eq!(
            at(Role::Grace, stranger(), &mut bans, BAN_MS - 1),
            Verdict::Refuse
        );
        assert_eq!(
            at(Role::Real, stranger(), &mut bans, BAN_MS),
            Verdict::Admit
        );

        at(Role::Trap, stranger(), &mut bans, BAN_MS);
        assert_eq!(
            at(Role::Trap, stranger(), &mut bans, 2 * BAN_MS - 1),
            Verdict::Refuse
        );
        assert_eq!(
            at(Role::Real, stranger(), &mut bans, 3 * BAN_MS - 2),
            Verdict::Refuse
        );
        assert_eq!(
            at(Role::Real, stranger(), &mut bans, 3 * BAN_MS - 1),
            Verdict::Admit
        );
    }

    #[test]
    fn a_grace_port_holds_and_bans_nobody() {
        let mut bans = bans();
        let verdict = at(Role::Grace, stranger(), &mut bans, 0);
        assert_eq!(verdict, Verdict::Hold(Reason::Grace));
        assert!(bans.is_empty());
    }

    #[test]
    fn an_allowed_network_is_never_banned_nor_treated_so() {
        let mut bans = bans();
        at(Role::Trap, stranger(), &mut bans, 0);
        let allowed = Visitor {
            is_allowed: true,
            ..stranger()
        };
        assert_eq!(at(Role::Real, allowed, &mut bans, 1), Verdict::Admit);
        let verdict = at(Role::Trap, allowed, &mut bans, 1);
        assert_eq!(verdict, Verdict::Hold(Reason::Allowed));
    }

    #[test]
    fn to_an_unwelcome_network_the_real_port_is_a_trap() {
        let mut bans = bans();
        let outsider = Visitor {
            is_welcome: false,
            ..stranger()
        };
        let verdict = at(Role::Real, outsider, &mut bans, 0);
        assert_eq!(verdict, Verdict::Ban(Touch::Banned));
    }

    #[test]
    fn a_live_session_is_forgiven_two_touches() {
        let mut bans = bans();
        for touches in 0..FORGIVEN_TOUCHES {
            let member = Visitor {
                forgiven: Some(touches),
                ..stranger()
            };
            let verdict = at(Role::Trap, member, &mut bans, 0);
            assert_eq!(verdict, Verdict::Hold(Reason::Forgiven));
        }
        let member = Visitor {
            forgiven: Some(FORGIVEN_TOUCHES),
            ..stranger()
        };
        let verdict = at(Role::Trap, member, &mut bans, 0);
        assert_eq!(verdict, Verdict::Ban(Touch::Banned));
    }

    #[test]
    fn after_a_step_of_the_clock_nobody_is_banned() {
        let mut bans = bans();
        let verdict = judge(Role::Trap, stranger(), false, &mut bans, Instant(0));
        assert_eq!(verdict, Verdict::Hold(Reason::ClockSet));
        at(Role::Trap, stranger(), &mut bans, 1);
        let verdict = judge(Role::Trap, stranger(), false, &mut bans, Instant(2));
        assert_eq!(verdict, Verdict::Refuse);
    }
}
