//! Where the kernel's firewall lets an address in: a set of nftables, or two of them, because a set
//! holds addresses of one family.

use crate::limits::NFT_NAME;
use core::error::Error;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use std::rc::Rc;

/// The family of a table (nft(8), "address families").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NftFamily {
    /// IPv4 and IPv6: there are two sets.
    Inet,
    /// IPv4 alone.
    Ip,
    /// IPv6 alone.
    Ip6,
}

/// `FAMILY/TABLE/SET`. The sets themselves have a digit behind that name: SET4 and SET6. It is small,
/// and its copies share the texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftSet {
    /// The family of the table.
    pub family: NftFamily,
    /// The table, 1 to [`NFT_NAME`] letters.
    pub table: Rc<str>,
    /// The set without the digit, 1 to [`NFT_NAME`] letters.
    pub name: Rc<str>,
}

/// Why a text is not a set, with that text or the name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NftSetError {
    /// Its family is unknown.
    Family(String),
    /// It has more or fewer than three parts.
    Parts(String),
    /// A name has letters that nft would read as something else, or is too long.
    Name(String),
}

impl Error for NftSetError {}

impl fmt::Display for NftSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Family(text) => write!(f, "{text} must begin with inet/, ip/ or ip6/"),
            Self::Parts(text) => write!(f, "{text} is not FAMILY/TABLE/SET, such as inet/fw4/ssh"),
            Self::Name(name) => write!(
                f,
                "{name} is not a name for nft; use letters, digits and _ - . after a letter, at most {NFT_NAME}"
            ),
        }
    }
}

/// `inet/fw4/ssh`
impl FromStr for NftSet {
    type Err = NftSetError;

    fn from_str(text: &str) -> Result<Self, NftSetError> {
        let mut parts = text.split('/');
        let mut part = || parts.next().unwrap_or_default();
        let family = match part() {
            "inet" => NftFamily::Inet,
            "ip" => NftFamily::Ip,
            "ip6" => NftFamily::Ip6,
            _ => return Err(NftSetError::Family(text.to_owned())),
        };
        let (table, name) = (part(), part());
        if table.is_empty() || name.is_empty() || parts.next().is_some() {
            return Err(NftSetError::Parts(text.to_owned()));
        }
        for name in [table, name] {
            let fits =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.bytes().all(fits);
            if !is_name || name.len() > NFT_NAME {
                return Err(NftSetError::Name(name.to_owned()));
            }
        }
        Ok(Self {
            family,
            table: table.into(),
            name: name.into(),
        })
    }
}

impl NftSet {
    /// The inet table for which `shimmer firewall` prints rules. The daemon empties its sets when it starts.
    pub const TABLE: &str = "shimmer";

    /// The chain in [`NftSet::TABLE`] with the rules that close the ports behind doors.
    pub const CHAIN: &str = "doors";

    /// Whether it is in [`NftSet::TABLE`].
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.family == NftFamily::Inet && *self.table == *Self::TABLE
    }

    /// The one set, or the two.
    pub fn both(&self) -> impl Iterator<Item = FamilySet> {
        let of = |is_v4| FamilySet {
            of: self.clone(),
            is_v4,
        };
        [
            (self.family != NftFamily::Ip6).then(|| of(true)),
            (self.family != NftFamily::Ip).then(|| of(false)),
        ]
        .into_iter()
        .flatten()
    }

    /// Whether the set, or one of the two, can hold this address.
    #[must_use]
    pub fn takes(&self, address: IpAddr) -> bool {
        match self.family {
            NftFamily::Inet => true,
            NftFamily::Ip => address.is_ipv4(),
            NftFamily::Ip6 => address.is_ipv6(),
        }
    }

    /// The one of the two that an address belongs to.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> FamilySet {
        FamilySet {
            of: self.clone(),
            is_v4: address.is_ipv4(),
        }
    }
}

/// One of the two sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilySet {
    /// Both.
    pub of: NftSet,
    /// It holds IPv4 addresses, or else IPv6 addresses.
    pub is_v4: bool,
}

impl FamilySet {
    /// Its name in the kernel: `ssh4`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}{}", self.of.name, self.version())
    }

    /// 4 or 6.
    #[must_use]
    pub fn version(&self) -> u8 {
        if self.is_v4 { 4 } else { 6 }
    }
}

/// As nft has it: `inet fw4 ssh4`.
impl fmt::Display for FamilySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, table) = (self.of.family.word(), &self.of.table);
        write!(f, "{family} {table} {}{}", self.of.name, self.version())
    }
}

impl NftFamily {
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
impl fmt::Display for NftSet {
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

    fn parse(text: &str) -> Result<NftSet, NftSetError> {
        text.parse()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_belongs_to_the_set_of_its_family() {
        let set = parse("inet/fw4/my_ssh-0.x").unwrap();
        let of = |text| set.of(address(text)).to_string();
        assert_eq!(of("192.0.2.7"), "inet fw4 my_ssh-0.x4");
        assert_eq!(of("2001:db8::7"), "inet fw4 my_ssh-0.x6");
        assert_eq!(set.to_string(), "inet/fw4/my_ssh-0.x");
    }

    #[test]
    fn a_table_of_one_family_takes_no_other() {
        for (text, v4, v6) in [
            ("inet/t/s", true, true),
            ("ip/t/s", true, false),
            ("ip6/t/s", false, true),
        ] {
            let set = parse(text).unwrap();
            assert_eq!(set.takes(address("192.0.2.7")), v4, "{text}");
            assert_eq!(set.takes(address("2001:db8::7")), v6, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in ["", "fw4/ssh", "bridge/t/s", "inet", "Inet/t/s", "/t/s"] {
            let expected = match text {
                "inet" => "inet is not FAMILY/TABLE/SET, such as inet/fw4/ssh".to_owned(),
                _ => format!("{text} must begin with inet/, ip/ or ip6/"),
            };
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        for text in [
            "inet/", "inet/t", "inet/t/", "inet//s", "ip/t/s/x", "ip6/t/s/",
        ] {
            let expected = format!("{text} is not FAMILY/TABLE/SET, such as inet/fw4/ssh");
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        let long = "x".repeat(NFT_NAME + 1);
        for name in [
            "4s", "_s", "-s", ".s", "s s", "s;", "s{", "s\n", "sé", "s\"", "$s", &long,
        ] {
            let expected = format!(
                "{name} is not a name for nft; use letters, digits and _ - . after a letter, at most 127"
            );
            let as_set = parse(&format!("inet/t/{name}"));
            assert_eq!(as_set.unwrap_err().to_string(), expected);
            let as_table = parse(&format!("inet/{name}/s"));
            assert_eq!(as_table.unwrap_err().to_string(), expected);
        }
        assert!(parse(&format!("inet/t/{}", &long[1..])).is_ok());
    }
}
