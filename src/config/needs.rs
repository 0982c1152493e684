//! What a configuration needs of the system that no ordinary program is given: for the daemon that gives
//! up everything else, and for who starts it with no more than that.

use super::mirage::ServerMirage;
use crate::limits::PRIVILEGED_PORTS;
use crate::terms::Door;

/// A right that only root has, and that can be given by itself (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// To listen at ports below [`PRIVILEGED_PORTS`].
    BindService,
    /// To change the firewall's sets, which nft does for us; and for a filter at a TCP port, since
    /// some Linux 6.
    NetAdmin,
    /// To see packets to ports where nobody listens.
    NetRaw,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::BindService, Self::NetAdmin, Self::NetRaw];

    /// Its name without the CAP_, in small letters, as procd and systemd want it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::BindService => "net_bind_service",
            Self::NetAdmin => "net_admin",
            Self::NetRaw => "net_raw",
        }
    }

    /// Its number in the kernel (uapi/linux/capability.h).
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::BindService => 10,
            Self::NetAdmin => 12,
            Self::NetRaw => 13,
        }
    }

    /// Whether one of the mirages needs it.
    #[must_use]
    pub fn is_needed(self, mirages: &[ServerMirage]) -> bool {
        match self {
            Self::BindService => mirages.iter().any(|mirage| {
                let bound = mirage.bound();
                bound.is_some_and(|bound| bound.low() < PRIVILEGED_PORTS)
            }),
            Self::NetAdmin => mirages.iter().any(|mirage| match mirage.door {
                Door::Nft { .. } => true,
                // Its port has a filter.
                Door::Forward(_) => mirage.gate().is_silent(),
                Door::Command { .. } => false,
            }),
            Self::NetRaw => mirages.iter().any(|mirage| mirage.gate().is_silent()),
        }
    }
}

/// The capabilities that the mirages need.
pub fn capabilities(mirages: &[ServerMirage]) -> impl Iterator<Item = Capability> {
    let all = Capability::ALL.into_iter();
    all.filter(|capability| capability.is_needed(mirages))
}
