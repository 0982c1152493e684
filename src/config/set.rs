//! Where in the kernel's firewall an address is let in: a set of nftables, and its twin for the other
//! family, since a set holds addresses of one kind.

use crate::limits::NFT_NAME;
use crate::message::{Parsed, wrong};
use core::fmt;
use core::net::IpAddr;
use std::rc::Rc;

/// The family of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Family {
    /// Both: there are two sets.
    Inet,
    /// IPv4 alone.
    Ip,
    /// IPv6 alone.
    Ip6,
}

/// `FAMILY/TABLE/SET`. Its sets have its name and a digit: SET4 and SET6. It is small, and its copies
/// share their texts.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub struct Set {
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: Rc<str>,
    /// The set, without the digit.
    pub name: Rc<str>,
}

impl Set {
    /// Reads `inet/fw4/ssh`. The names have no letter that means anything to nft.
    ///
    /// # Errors
    /// What is wrong with the text, and what would be right.
    pub fn parse(text: &str) -> Parsed<Self> {
        let mut parts = text.split('/');
        let mut part = || parts.next().unwrap_or_default();
        let family = match part() {
            "inet" => Family::Inet,
            "ip" => Family::Ip,
            "ip6" => Family::Ip6,
            _ => return wrong!("{text} begins with none of inet/, ip/ and ip6/"),
        };
        let (table, name) = (part(), part());
        if table.is_empty() || name.is_empty() || parts.next().is_some() {
            return wrong!("{text} is not FAMILY/TABLE/SET, such as inet/fw4/ssh");
        }
        for name in [table, name] {
            let fits =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.bytes().all(fits);
            if !is_name || name.len() > NFT_NAME {
                return wrong!(
                    "{name} is not a name for nft: a letter, then letters, digits and _ - . up to {NFT_NAME}"
                );
            }
        }
        Ok(Self {
            family,
            table: table.into(),
            name: name.into(),
        })
    }

    /// Whether an address of this family can be in it.
    #[must_use]
    pub fn takes(&self, address: IpAddr) -> bool {
        match self.family {
            Family::Inet => true,
            Family::Ip => address.is_ipv4(),
            Family::Ip6 => address.is_ipv6(),
        }
    }

    /// The set that an address belongs to, as nft wants it: `inet fw4 ssh4`.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> String {
        let digit = if address.is_ipv4() { 4 } else { 6 };
        format!("{} {} {}{digit}", self.family.word(), self.table, self.name)
    }
}

impl Family {
    /// The word that the configuration and nft have for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

/// As it is configured.
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [self.family.word(), "/", &self.table, "/", &self.name] {
            f.write_str(part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_belongs_to_the_set_of_its_family() {
        let set = Set::parse("inet/fw4/my_ssh-0.x").unwrap();
        assert_eq!(set.of(address("192.0.2.7")), "inet fw4 my_ssh-0.x4");
        assert_eq!(set.of(address("2001:db8::7")), "inet fw4 my_ssh-0.x6");
        assert_eq!(set.to_string(), "inet/fw4/my_ssh-0.x");
    }

    #[test]
    fn a_table_of_one_family_takes_no_other() {
        for (text, v4, v6) in [
            ("inet/t/s", true, true),
            ("ip/t/s", true, false),
            ("ip6/t/s", false, true),
        ] {
            let set = Set::parse(text).unwrap();
            assert_eq!(set.takes(address("192.0.2.7")), v4, "{text}");
            assert_eq!(set.takes(address("2001:db8::7")), v6, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in ["", "fw4/ssh", "bridge/t/s", "inet", "Inet/t/s", "/t/s"] {
            let expected = match text {
                "inet" => "inet is not FAMILY/TABLE/SET, such as inet/fw4/ssh".to_owned(),
                _ => format!("{text} begins with none of inet/, ip/ and ip6/"),
            };
            assert_eq!(Set::parse(text).unwrap_err(), expected.as_str());
        }
        for text in [
            "inet/", "inet/t", "inet/t/", "inet//s", "ip/t/s/x", "ip6/t/s/",
        ] {
            let expected = format!("{text} is not FAMILY/TABLE/SET, such as inet/fw4/ssh");
            assert_eq!(Set::parse(text).unwrap_err(), expected.as_str());
        }
        let long = "x".repeat(NFT_NAME + 1);
        for name in [
            "4s", "_s", "-s", ".s", "s s", "s;", "s{", "s\n", "sé", "s\"", "$s", &long,
        ] {
            let expected = format!(
                "{name} is not a name for nft: a letter, then letters, digits and _ - . up to 127"
            );
            let as_set = Set::parse(&format!("inet/t/{name}"));
            assert_eq!(as_set.unwrap_err(), expected.as_str());
            let as_table = Set::parse(&format!("inet/{name}/s"));
            assert_eq!(as_table.unwrap_err(), expected.as_str());
        }
        assert!(Set::parse(&format!("inet/t/{}", &long[1..])).is_ok());
    }
}
