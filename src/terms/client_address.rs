//! How the hidden service learns who has come.

/// What the hidden service sees as the address of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// An address of 127/8 that each source has for itself.
    Loopback,
    /// The address of this host.
    Plain,
    /// The visitor's own, in a header before their first byte.
    Proxy(ProxyVersion),
}

/// A version of HAProxy's PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}
