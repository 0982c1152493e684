//! Values with a written form that the configuration, the decisions and the log have in common. They
//! know nothing of files: how a text becomes one of them is here, where it may stand is `config`'s.

mod client_address;
mod clock_trust;
mod command_template;
mod door;
mod level;
mod nft_set;

pub use client_address::{ClientAddress, ProxyVersion};
pub use clock_trust::ClockTrust;
pub use command_template::{CommandTemplate, CommandTemplateError};
pub use door::{Door, Forward, OnDemand, Service};
pub use level::Level;
pub use nft_set::{FamilySet, NftFamily, NftSet, NftSetError};
