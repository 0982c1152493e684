//! The capabilities that a configuration needs: the daemon keeps only these, and an init script may
//! grant only these.

use super::mirage::ServerMirage;
use crate::limits::PRIVILEGED_PORTS;
use crate::terms::Door;

/// A privilege of root that can be granted by itself (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// To listen on ports below [`PRIVILEGED_PORTS`].
    BindService,
    /// To change the firewall's sets, and on recent kernels to attach a filter to a TCP socket.
    NetAdmin,
    /// To see packets to closed ports.
    NetRaw,
}

impl Capability {
    /// All capabilities.
    pub const ALL: [Self; 3] = [Self::BindService, Self::NetAdmin, Self::NetRaw];

    /// Its name in lower case without CAP_, as procd wants it.
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

    /// Whether any of the mirages needs it.
    #[must_use]
    pub fn is_needed(self, mirages: &[ServerMirage]) -> bool {
        match self {
            Self::BindService => mirages.iter().any(|mirage| {
                let bound = mirage.bound();
                bound.is_some_and(|bound| bound.low() < PRIVILEGED_PORTS)
            }),
            Self::NetAdmin => mirages.iter().any(|mirage| match mirage.settings.door {
                Door::Nft { .. } => true,
                // A filter is attached to its listeners.
                Door::Forward(_) => mirage.settings.gate().is_silent(),
                Door::Command { .. } => false,
            }),
            Self::NetRaw => mirages
                .iter()
                .any(|mirage| mirage.settings.gate().is_silent()),
        }
    }
}

/// The capabilities that the mirages need.
pub fn capabilities(mirages: &[ServerMirage]) -> impl Iterator<Item = Capability> {
    let all = Capability::ALL.into_iter();
    all.filter(|capability| capability.is_needed(mirages))
}
