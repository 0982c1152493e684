//! What a visitor gets: the whole of Shimmer's judgement in one function.
//!
//! A visitor has finished a handshake with one of our ports. Only that can ban: a lone SYN can be
//! forged, a handshake needs whoever owns the address.
//!
//! At gate = port a banned source is shut out everywhere; at a trap that renews its ban, elsewhere it
//! does not, or a member's reconnecting client would lock itself out for ever. At gate = token a ban
//! changes nothing that a visitor could see: its wall is the token, and a good one takes the ban off.

mod settings;

pub use settings::{GateSettings, HopList, KnockSettings, PacketSettings};

use super::scheme::schedule::Role;
use super::scheme::token::Proof;
use crate::limits::FORGIVEN_TOUCHES;

/// How a client shows that it knows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It comes to the minute's real port.
    Port,
    /// It does, and says a token there.
    Token,
    /// It touches ports in an order, and nothing answers.
    Knock,
    /// It sends one datagram, and nothing answers.
    Packet,
}

impl Gate {
    /// The word that the configuration has for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Token => "token",
            Self::Knock => "knock",
            Self::Packet => "packet",
        }
    }

    /// Whether a stranger finds no port open: only an address that has passed does.
    #[must_use]
    pub fn is_silent(self) -> bool {
        matches!(self, Self::Knock | Self::Packet)
    }

    /// What it takes to be let in.
    #[must_use]
    pub fn key(self) -> Evidence {
        match self {
            Self::Port => Evidence::Port(Role::Real),
            Self::Token => Evidence::Token(Proof::Good),
            Self::Knock | Self::Packet => Evidence::Datagram(Passage::Passed),
        }
    }

    /// What a stranger comes with.
    #[must_use]
    pub fn guess(self) -> Evidence {
        match self {
            Self::Port => Evidence::Port(Role::Trap),
            Self::Token => Evidence::Token(Proof::Nothing),
            Self::Knock | Self::Packet => Evidence::Datagram(Passage::Nothing),
        }
    }
}

/// What a visitor has shown by coming.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// At gate = port: the port that it came to.
    Port(Role),
    /// At gate = token: what it has said there.
    Token(Proof),
    /// At the silent gates: what has come without a handshake, which anybody can forge.
    Datagram(Passage),
}

/// What has been shown without a handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// A whole sequence, or a good datagram.
    Passed,
    /// Neither.
    Nothing,
}

/// What is known of a visitor.
#[derive(Clone, Copy, Debug)]
pub struct Visitor {
    /// It comes from a network that is never banned.
    pub is_allowed: bool,
    /// It comes from a network that may use this mirage.
    pub is_welcome: bool,
    /// Its source is on the list of bans.
    pub is_banned: bool,
    /// Touches that its live sessions were forgiven; None without a live session.
    pub forgiven: Option<u8>,
}

/// What happens to a visitor, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The door opens, and its source is not banned any more.
    Admit,
    /// The trap holds it, mute.
    Hold(Reason),
    /// The same, and its source is banned from now on, or anew.
    Ban,
    /// It is banned: the connection is closed at once.
    Refuse {
        /// Its ban begins anew.
        renews: bool,
    },
    /// Nothing happens, and nobody is told.
    Ignore,
}

impl Verdict {
    /// The word that `shimmer status` has for it.
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

/// Why a visitor is held and not banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has the secret, and a clock that is a little off: so its port says, or its token.
    Grace,
    /// Its network is never banned.
    Allowed,
    /// Its source has a live session, and this is one of the touches that are forgiven.
    Forgiven,
    /// The clock was set a moment ago: the visitor may have been right until then.
    ClockSet,
    /// Its token is good, and there is no room to remember that it was used.
    Unremembered,
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
            Self::Unremembered => "nonces",
        }
    }
}

/// Judges what a visitor has shown. `is_settled` is false for a window's time after the clock was
/// set.
///
/// To a stranger the real ports are traps like the others, so that it can't tell them apart.
#[must_use]
pub fn judge(evidence: Evidence, visitor: Visitor, is_settled: bool) -> Verdict {
    // It may be forged, so nobody is banned by it; and a ban does not matter where the address alone
    // opens nothing.
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
    let is_forgiven = |touches: u8| touches < FORGIVEN_TOUCHES;
    if is_grace {
        Verdict::Hold(Reason::Grace)
    } else if visitor.is_welcome && evidence == Evidence::Token(Proof::Unremembered) {
        Verdict::Hold(Reason::Unremembered)
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
        assert_eq!(with(Proof::Unremembered, outsider), Verdict::Ban);
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
        for proof in [
            Proof::Good,
            Proof::Grace,
            Proof::Unremembered,
            Proof::Nothing,
        ] {
            assert_eq!(with(proof, STRANGER), with(proof, BANNED));
        }
        assert_eq!(with(Proof::Good, BANNED), Verdict::Admit);
        assert_eq!(with(Proof::Grace, BANNED), Verdict::Hold(Reason::Grace));
        assert_eq!(with(Proof::Nothing, BANNED), Verdict::Ban);
        let full = with(Proof::Unremembered, BANNED);
        assert_eq!(full, Verdict::Hold(Reason::Unremembered));
    }
}
