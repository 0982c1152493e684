//! What happens to a visitor: all of Shimmer's judgement in one function.
//!
//! A visitor has completed a handshake with one of our ports. Only that can lead to a ban: a lone SYN can
//! be forged, but a handshake needs the owner of the address.
//!
//! At gate = port a banned source is shut out everywhere. Touching a trap renews its ban; touching another
//! port does not, or a member whose client reconnects would stay locked out for ever. At gate = token a ban
//! changes nothing that a visitor could see: the token is what protects, and a good one lifts the ban.

mod settings;

pub use settings::{GateSettings, HopList, KnockSettings, PacketSettings};

use super::scheme::schedule::Role;
use super::scheme::token::Proof;
use crate::limits::FORGIVEN_TOUCHES;

/// How a client proves that it knows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It connects to the minute's real port.
    Port,
    /// It connects to the real port and sends a token.
    Token,
    /// It touches ports in a certain order; nothing answers.
    Knock,
    /// It sends one datagram; nothing answers.
    Packet,
}

impl Gate {
    /// Its word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Token => "token",
            Self::Knock => "knock",
            Self::Packet => "packet",
        }
    }

    /// Whether all ports are closed to an address that has not passed.
    #[must_use]
    pub fn is_silent(self) -> bool {
        matches!(self, Self::Knock | Self::Packet)
    }

    /// The evidence that admits a visitor.
    #[must_use]
    pub fn key(self) -> Evidence {
        match self {
            Self::Port => Evidence::Port(Role::Real),
            Self::Token => Evidence::Token(Proof::Good),
            Self::Knock | Self::Packet => Evidence::Datagram(Passage::Passed),
        }
    }

    /// The evidence of a visitor who does not know the secret.
    #[must_use]
    pub fn guess(self) -> Evidence {
        match self {
            Self::Port => Evidence::Port(Role::Trap),
            Self::Token => Evidence::Token(Proof::Nothing),
            Self::Knock | Self::Packet => Evidence::Datagram(Passage::Nothing),
        }
    }
}

/// What a visitor has shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// At gate = port: the role of the port they dialled.
    Port(Role),
    /// At gate = token: what their token proves.
    Token(Proof),
    /// At the silent gates: what came without a handshake, which anybody can forge.
    Datagram(Passage),
}

/// The result of a knock or a datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// A complete sequence, or a good datagram.
    Passed,
    /// Neither.
    Nothing,
}

/// What is known about a visitor.
#[derive(Clone, Copy, Debug)]
pub struct Visitor {
    /// Their network is never banned.
    pub is_allowed: bool,
    /// Their network may use this mirage.
    pub is_welcome: bool,
    /// Their source is banned.
    pub is_banned: bool,
    /// Touches that were forgiven because of live sessions; None without a live session.
    pub forgiven: Option<usize>,
}

/// What happens to a visitor, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The door opens, and a ban of the source is lifted.
    Admit,
    /// A trap holds the connection and sends nothing.
    Hold(Reason),
    /// A trap holds it, and the source's ban begins or is renewed.
    Ban,
    /// The source is banned: the connection is closed at once.
    Refuse {
        /// Whether the ban is renewed.
        renews: bool,
    },
    /// Nothing happens, and nothing is logged.
    Ignore,
}

impl Verdict {
    /// Its word in `shimmer status`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Hold(_) => "hold",
            Self::Ban => "ban",
            Self::Refuse { .. } => "refuse",
            Self::Ignore => "ignore",
        }
    }
}

/// Why a visitor is held but not banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The port or the token shows that they have the secret, and a clock that is a little off.
    Grace,
    /// Their network is never banned.
    Allowed,
    /// Their source has a live session, and this touch is one of those that are forgiven.
    Forgiven,
    /// The clock was set a moment ago: the port may have been the right one until then.
    ClockSet,
    /// Their token is right, but nobody knows any more whether it was used.
    Forgotten,
}

impl Reason {
    /// Its word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Grace => "grace",
            Self::Allowed => "allow",
            Self::Forgiven => "session",
            Self::ClockSet => "clock",
            Self::Forgotten => "forgotten",
        }
    }
}

/// Judges what a visitor has shown. `is_settled` is false for the length of a window after the clock was
/// set.
///
/// To a stranger the real ports behave like the traps, so that they can't be told apart.
#[must_use]
pub fn judge(evidence: Evidence, visitor: Visitor, is_settled: bool) -> Verdict {
    // It may be forged, so it bans nobody. And a ban does not matter here, since the address alone opens
    // nothing.
    if let Evidence::Datagram(passage) = evidence {
        return match passage {
            Passage::Passed if visitor.is_welcome => Verdict::Admit,
            Passage::Passed | Passage::Nothing => Verdict::Ignore,
        };
    }
    let is_grace = matches!(
        evidence,
        Evidence::Port(Role::Grace) | Evidence::Token(Proof::Grace)
    );
    let is_right = visitor.is_welcome
        && matches!(
            evidence,
            Evidence::Port(Role::Real) | Evidence::Token(Proof::Good)
        );
    let is_banned = visitor.is_banned && !visitor.is_allowed;
    if is_banned && matches!(evidence, Evidence::Port(_)) {
        let renews = !is_right && !is_grace;
        return Verdict::Refuse { renews };
    }
    if is_right {
        return Verdict::Admit;
    }
    let is_forgiven = |touches: usize| touches < FORGIVEN_TOUCHES;
    if is_grace {
        Verdict::Hold(Reason::Grace)
    } else if visitor.is_welcome && evidence == Evidence::Token(Proof::Forgotten) {
        Verdict::Hold(Reason::Forgotten)
    } else if visitor.is_allowed {
        Verdict::Hold(Reason::Allowed)
    } else if visitor.forgiven.is_some_and(is_forgiven) {
        Verdict::Hold(Reason::Forgiven)
    } else if !is_settled {
        Verdict::Hold(Reason::ClockSet)
    } else {
        Verdict::Ban
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Visitor = Visitor {
        is_allowed: false,
        is_welcome: true,
        is_banned: false,
        forgiven: None,
    };

    const BANNED: Visitor = Visitor {
        is_banned: true,
        ..STRANGER
    };

    fn at(role: Role, visitor: Visitor) -> Verdict {
        judge(Evidence::Port(role), visitor, true)
    }

    fn with(proof: Proof, visitor: Visitor) -> Verdict {
        judge(Evidence::Token(proof), visitor, true)
    }

    #[test]
    fn the_real_port_admits_and_a_trap_bans() {
        assert_eq!(at(Role::Real, STRANGER), Verdict::Admit);
        assert_eq!(at(Role::Trap, STRANGER), Verdict::Ban);
    }

    #[test]
    fn a_banned_source_is_refused_and_only_a_trap_renews() {
        let refused = |renews| Verdict::Refuse { renews };
        assert_eq!(at(Role::Real, BANNED), refused(false));
        assert_eq!(at(Role::Grace, BANNED), refused(false));
        assert_eq!(at(Role::Trap, BANNED), refused(true));
    }

    #[test]
    fn a_grace_port_holds_and_bans_nobody() {
        assert_eq!(at(Role::Grace, STRANGER), Verdict::Hold(Reason::Grace));
    }

    #[test]
    fn an_allowed_network_is_never_banned_nor_treated_so() {
        let allowed = Visitor {
            is_allowed: true,
            ..BANNED
        };
        assert_eq!(at(Role::Real, allowed), Verdict::Admit);
        assert_eq!(at(Role::Trap, allowed), Verdict::Hold(Reason::Allowed));
        let held = with(Proof::Nothing, allowed);
        assert_eq!(held, Verdict::Hold(Reason::Allowed));
    }

    #[test]
    fn to_an_unwelcome_network_the_real_port_is_a_trap() {
        let outsider = Visitor {
            is_welcome: false,
            ..STRANGER
        };
        assert_eq!(at(Role::Real, outsider), Verdict::Ban);
        assert_eq!(with(Proof::Good, outsider), Verdict::Ban);
        assert_eq!(with(Proof::Forgotten, outsider), Verdict::Ban);
        let banned = Visitor {
            is_banned: true,
            ..outsider
        };
        let renews = Verdict::Refuse { renews: true };
        assert_eq!(at(Role::Real, banned), renews);
    }

    #[test]
    fn a_live_session_is_forgiven_two_touches() {
        let member = |touches| Visitor {
            forgiven: Some(touches),
            ..STRANGER
        };
        for touches in 0..FORGIVEN_TOUCHES {
            let verdict = at(Role::Trap, member(touches));
            assert_eq!(verdict, Verdict::Hold(Reason::Forgiven));
        }
        assert_eq!(at(Role::Trap, member(FORGIVEN_TOUCHES)), Verdict::Ban);
    }

    #[test]
    fn after_a_step_of_the_clock_nobody_is_banned() {
        let verdict = judge(Evidence::Port(Role::Trap), STRANGER, false);
        assert_eq!(verdict, Verdict::Hold(Reason::ClockSet));
        let verdict = judge(Evidence::Port(Role::Trap), BANNED, false);
        assert_eq!(verdict, Verdict::Refuse { renews: true });
    }

    #[test]
    fn what_came_without_a_handshake_bans_nobody_and_heeds_no_ban() {
        let with = |passage, visitor| judge(Evidence::Datagram(passage), visitor, true);
        assert_eq!(with(Passage::Passed, STRANGER), Verdict::Admit);
        assert_eq!(with(Passage::Passed, BANNED), Verdict::Admit);
        assert_eq!(with(Passage::Nothing, STRANGER), Verdict::Ignore);
        let outsider = Visitor {
            is_welcome: false,
            ..STRANGER
        };
        assert_eq!(with(Passage::Passed, outsider), Verdict::Ignore);
    }

    #[test]
    fn at_gate_token_a_ban_changes_nothing() {
        for proof in [Proof::Good, Proof::Grace, Proof::Forgotten, Proof::Nothing] {
            assert_eq!(with(proof, STRANGER), with(proof, BANNED));
        }
        assert_eq!(with(Proof::Good, BANNED), Verdict::Admit);
        assert_eq!(with(Proof::Grace, BANNED), Verdict::Hold(Reason::Grace));
        assert_eq!(with(Proof::Nothing, BANNED), Verdict::Ban);
        let full = with(Proof::Forgotten, BANNED);
        assert_eq!(full, Verdict::Hold(Reason::Forgotten));
    }
}
