//! The kernel's nft sets, by netlink.

pub mod message;
