//! Values: what a text means, or why it is wrong. The command line has the same values.

use super::common::{Location, LogTarget};
use super::mirage::DoorKind;
use crate::limits::{LONGEST_S, MAX_DECOYS, MAX_KNOCKS, MAX_PERIOD_S, MIN_PERIOD_S, MOST_SESSIONS};
use crate::message::{Message, Parsed, wrong};
use crate::proto::gates::Gate;
use crate::proto::scheme::knock::{self, Hop, Hops, Protocols, Scope};
use crate::proto::scheme::packet::Admits;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::source::{Network, NetworkError};
use crate::terms::{ClientAddress, ClockTrust, Level, ProxyVersion};
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

pub use crate::proto::parse_number;

/// The value, or the error's own sentence.
pub(super) fn displayed<T>(parsed: Result<T, impl fmt::Display>) -> Parsed<T> {
    parsed.map_err(|error| Message::new(format_args!("{error}")))
}

/// Seconds in each unit of time, the longest first.
const UNITS: [(&str, u32); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// `30`, `30s`, `15m`, `2h` or `1d` in seconds. None for anything else, and for 2^32 seconds or more.
#[must_use]
pub fn parse_duration(text: &str) -> Option<u32> {
    let (count, unit) = UNITS
        .into_iter()
        .find_map(|(letter, seconds)| Some((text.strip_suffix(letter)?, seconds)))
        .unwrap_or((text, 1));
    u32::try_from(parse_number(count)?).ok()?.checked_mul(unit)
}

/// Seconds in the longest unit that divides them: 90s, 15m, 1d.
#[must_use]
pub fn format_duration(seconds: u32) -> String {
    let divides = |&(_, unit): &(&str, u32)| seconds.is_multiple_of(unit);
    let (letter, unit) = UNITS.into_iter().find(divides).unwrap_or(("s", 1));
    format!("{}{letter}", seconds / unit)
}

fn duration_between(text: &str, least: u32, most: u32) -> Parsed<u32> {
    match parse_duration(text) {
        Some(seconds) if (least..=most).contains(&seconds) => Ok(seconds),
        _ => wrong!(
            "{text} is not a duration from {} to {}, such as 30s, 15m, 2h or 1d",
            format_duration(least),
            format_duration(most)
        ),
    }
}

fn number_between(text: &str, least: u32, most: u32) -> Parsed<u32> {
    match parse_number(text) {
        Some(number) if (u64::from(least)..=u64::from(most)).contains(&number) => Ok(number as u32),
        _ => wrong!("{text} is not a number from {least} to {most}"),
    }
}

/// A port, 1 to 65,535.
///
/// # Errors
/// What is wrong with the text, and what to write.
pub fn parse_port(text: &str) -> Parsed<u16> {
    number_between(text, 1, u32::from(u16::MAX)).map(|port| port as u16)
}

/// A range of ports with this separator: `10000-10999` in a file, `10000:10999` on the command line.
///
/// # Errors
/// What is wrong with the text, and what to write.
pub fn parse_range(text: &str, between: char) -> Parsed<Range> {
    let port = |text: &str| parse_port(text.trim_ascii()).ok();
    if let Some((low, high)) = text.split_once(between)
        && let Some(low) = port(low)
        && let Some(high) = port(high)
    {
        return match Range::new(low, high) {
            Some(range) => Ok(range),
            None => wrong!("{text} runs backwards; write {high}{between}{low}"),
        };
    }
    wrong!("{text} is not a range of ports from 1 to 65535, such as 10000{between}10999")
}

/// A mirage's name: ASCII letters, digits and `. _ - @`, and no `-` at its start.
///
/// # Errors
/// It is empty, or has letters that a name can't have. The text is not quoted.
pub fn parse_name(text: &str) -> Parsed<&str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    if text.is_empty() {
        wrong!("a mirage needs a name, such as ssh")
    } else if text.starts_with('-') {
        wrong!(
            "a mirage's name must not begin with -, because commands would take it for an option"
        )
    } else if text.bytes().all(fits) {
        Ok(text)
    } else {
        wrong!("a mirage's name may have only the letters A-Z and a-z, digits and . _ - @")
    }
}

/// The number of decoys, 0 to [`MAX_DECOYS`].
///
/// # Errors
/// What is wrong with the text, and what to write.
pub fn parse_decoys(text: &str) -> Parsed<u8> {
    number_between(text, 0, u32::from(MAX_DECOYS)).map(|decoys| decoys as u8)
}

/// How long a port lasts, in seconds, [`MIN_PERIOD_S`] to [`MAX_PERIOD_S`].
///
/// # Errors
/// What is wrong with the text, and what to write.
pub fn parse_period(text: &str) -> Parsed<u32> {
    duration_between(text, MIN_PERIOD_S, MAX_PERIOD_S)
}

/// A pattern whose range has ports for `minutes` minutes at once: 1 is enough for a client, a server
/// needs [`crate::limits::RANGE_FACTOR`]. `period` is in seconds.
///
/// # Errors
/// The range is too small.
pub fn fit_pattern(range: Range, decoys: u8, period: u32, minutes: u32) -> Parsed<Pattern> {
    let (has, needs) = (range.count(), minutes * (u32::from(decoys) + 1));
    if needs <= has
        && let Some(pattern) = Pattern::new(range, decoys, period)
    {
        return Ok(pattern);
    }
    let what = format_args!("has {has} ports, but needs {needs} with {decoys} decoys");
    match (has / minutes).checked_sub(1) {
        Some(most) => wrong!("{what}; make it larger, or use at most {most} decoys"),
        None => wrong!("{what}; make it larger"),
    }
}

pub(super) fn time_limit(text: &str) -> Parsed<u32> {
    duration_between(text, 1, LONGEST_S)
}

/// As [`time_limit`], but in milliseconds.
pub(super) fn time_limit_ms(text: &str) -> Parsed<u64> {
    Ok(u64::from(time_limit(text)?) * 1_000)
}

pub(super) fn idle_timeout(text: &str) -> Parsed<Option<u32>> {
    if text == "none" {
        return Ok(None);
    }
    match time_limit(text) {
        Ok(seconds) => Ok(Some(seconds)),
        Err(what) => wrong!("{what}, or none"),
    }
}

pub(super) fn client_address(text: &str) -> Parsed<ClientAddress> {
    let addresses = [
        ("loopback", ClientAddress::Loopback),
        ("plain", ClientAddress::Plain),
        ("proxy-v1", ClientAddress::Proxy(ProxyVersion::V1)),
        ("proxy-v2", ClientAddress::Proxy(ProxyVersion::V2)),
    ];
    one_of(text, &addresses)
}

pub(super) fn sessions(text: &str) -> Parsed<usize> {
    number_between(text, 1, MOST_SESSIONS as u32).map(|sessions| sessions as usize)
}

pub(super) fn log_level(text: &str) -> Parsed<Level> {
    let levels = [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
    ];
    one_of(text, &levels)
}

pub(super) fn clock(text: &str) -> Parsed<ClockTrust> {
    one_of(
        text,
        &[("trust", ClockTrust::Trust), ("wait", ClockTrust::Wait)],
    )
}

pub(super) fn log(text: &str) -> Parsed<LogTarget> {
    match text {
        "stderr" => Ok(LogTarget::Stderr),
        "syslog" => Ok(LogTarget::Syslog),
        _ => match path(text) {
            Some(path) => Ok(LogTarget::File(path)),
            None => wrong!("is neither stderr, syslog nor the path of a file, such as /tmp/log"),
        },
    }
}

pub(super) fn location(text: &str) -> Parsed<Location> {
    match text {
        "none" => Ok(Location::Off),
        _ => match path(text) {
            Some(path) => Ok(Location::Path(path)),
            None => wrong!("is neither none nor the path of a file, such as /tmp/state"),
        },
    }
}

/// A gate: `port`, `token`, `knock` or `packet`.
///
/// # Errors
/// What is wrong with the text, and what to write.
pub fn parse_gate(text: &str) -> Parsed<Gate> {
    let gates = [Gate::Port, Gate::Token, Gate::Knock, Gate::Packet];
    one_of(text, &gates.map(|gate| (gate.word(), gate)))
}

/// The value of a word.
fn one_of<T: Copy>(text: &str, values: &[(&str, T)]) -> Parsed<T> {
    let words: Vec<&str> = values.iter().map(|(word, _)| *word).collect();
    Ok(values[place_among(text, &words)?].1)
}

fn place_among(text: &str, words: &[&str]) -> Parsed<usize> {
    match words.iter().position(|word| *word == text) {
        Some(place) => Ok(place),
        None => wrong!("{text} is not one of {}", words.join(", ")),
    }
}

pub(super) fn door(text: &str) -> Parsed<DoorKind> {
    let doors = [
        ("forward", DoorKind::Forward),
        ("command", DoorKind::Command),
        ("nft", DoorKind::Nft),
    ];
    one_of(text, &doors)
}

pub(super) fn yes_or_no(text: &str) -> Parsed<bool> {
    one_of(text, &[("yes", true), ("no", false)])
}

pub(super) fn knocks(text: &str) -> Parsed<u8> {
    number_between(text, 1, MAX_KNOCKS as u32).map(|knocks| knocks as u8)
}

pub(super) fn protocols(text: &str) -> Parsed<Protocols> {
    let protocols = [
        ("tcp", Protocols::Tcp),
        ("udp", Protocols::Udp),
        ("mixed", Protocols::Mixed),
    ];
    one_of(text, &protocols)
}

/// One knock of a configured sequence: `7000`, `7000:tcp` or `7000:udp`.
///
/// # Errors
/// What is wrong with the text, and what to write.
pub fn parse_hop(text: &str) -> Parsed<Hop> {
    displayed(Hop::try_from(text))
}

pub(super) fn sequence(text: &str) -> Parsed<Hops> {
    displayed(knock::parse_sequence(text))
}

pub(super) fn lock(text: &str) -> Parsed<u32> {
    duration_between(text, 0, LONGEST_S)
}

pub(super) fn lock_scope(text: &str) -> Parsed<Scope> {
    one_of(text, &[("source", Scope::Source), ("all", Scope::All)])
}

pub(super) fn packet_address(text: &str) -> Parsed<Admits> {
    let admits = [
        ("any", Admits::Any),
        ("sender", Admits::Sender),
        ("inside", Admits::Inside),
    ];
    one_of(text, &admits)
}

/// Whether the firewall redirects the whole range to one port.
pub(super) fn is_pool(text: &str) -> Parsed<bool> {
    one_of(text, &[("ports", false), ("pool", true)])
}

/// A path. A word without `/`, `\\` or `.` is not one, but a misspelt keyword.
fn path(text: &str) -> Option<PathBuf> {
    let is_path = text.bytes().any(|byte| matches!(byte, b'/' | b'\\' | b'.'));
    is_path.then(|| text.into())
}

/// The address and port of the hidden service.
pub(super) fn forward(text: &str) -> Parsed<SocketAddr> {
    if let Ok(service) = text.parse::<SocketAddr>()
        && service.port() > 0
    {
        return Ok(match service.ip().to_canonical() {
            address @ IpAddr::V4(_) => SocketAddr::new(address, service.port()),
            IpAddr::V6(_) => service,
        });
    }
    if let Ok(IpAddr::V6(_)) = text.parse() {
        return wrong!("{text} has no port; write [{text}]:22");
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if is_host_name(host) {
        return unresolved(host);
    }
    if host.ends_with("]") || !port.is_empty() && matches!(host.parse(), Ok(IpAddr::V4(_))) {
        parse_port(port)?;
    }
    wrong!("{text} is not ADDRESS:PORT, such as 192.0.2.7:22 or [2001:db8::7]:22")
}

pub(super) fn listen_address(text: &str) -> Parsed<IpAddr> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_canonical()),
        Err(_) if is_host_name(text) => unresolved(text),
        Err(_) => wrong!("{text} is not an address, such as 192.0.2.7 or 2001:db8::7"),
    }
}

/// Whether it looks like a host name rather than a broken address: it has a letter.
fn is_host_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    text.bytes().all(fits) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn unresolved<T>(host: &str) -> Parsed<T> {
    wrong!("{host} is a host name, which can't be resolved at boot; use its address")
}

pub(super) fn network(text: &str) -> Parsed<Network> {
    match text.parse() {
        Ok(network) => Ok(network),
        Err(NetworkError::Address) => {
            wrong!("{text} is not a network, such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7")
        }
        Err(NetworkError::Prefix) => {
            wrong!("{text} has a prefix that is not 0 to 32 (IPv4) or 0 to 128 (IPv6)")
        }
        Err(NetworkError::HostBits) => wrong!(
            "{text} has bits set behind its prefix; write 192.0.2.0/24 or 192.0.2.7, for example"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, seconds) in [
            ("30", 30),
            ("30s", 30),
            ("15m", 900),
            ("2h", 7_200),
            ("1d", 86_400),
            ("0", 0),
            ("4294967295", u32::MAX),
        ] {
            assert_eq!(parse_duration(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "s",
            "-1",
            "+1",
            "1.5h",
            "1 h",
            "1h30m",
            "1w",
            "1M",
            "4294967296",
            "49711d",
            "\u{661}",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_written_in_their_longest_unit() {
        for text in ["1s", "90s", "15m", "90m", "2h", "1d", "365d"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_range_is_two_ports_in_order() {
        let range = Range::new(10_000, 10_999);
        assert_eq!(parse_range("10000-10999", '-').ok(), range);
        assert_eq!(parse_range("10000 - 10999", '-').ok(), range);
        assert_eq!(parse_range("10000:10999", ':').ok(), range);
        assert_eq!(parse_range("1-65535", '-').ok(), Range::new(1, 65_535));
        for (text, what) in [
            (
                "10000",
                "10000 is not a range of ports from 1 to 65535, such as 10000-10999",
            ),
            (
                "1:2",
                "1:2 is not a range of ports from 1 to 65535, such as 10000-10999",
            ),
            (
                "0-10",
                "0-10 is not a range of ports from 1 to 65535, such as 10000-10999",
            ),
            (
                "1-65536",
                "1-65536 is not a range of ports from 1 to 65535, such as 10000-10999",
            ),
            (
                "1-",
                "1- is not a range of ports from 1 to 65535, such as 10000-10999",
            ),
            (
                "1-2-3",
                "1-2-3 is not a range of ports from 1 to 65535, such as 10000-10999",
            ),
            (
                "10999-10000",
                "10999-10000 runs backwards; write 10000-10999",
            ),
        ] {
            assert_eq!(parse_range(text, '-').unwrap_err(), what);
        }
    }

    #[test]
    fn a_range_needs_room_for_a_servers_three_minutes_or_a_clients_one() {
        let range = |count: u16| Range::new(10_000, 9_999 + count).unwrap();
        let what = |count, decoys, minutes| fit_pattern(range(count), decoys, 60, minutes).err();
        assert_eq!(what(48, 15, 3), None);
        assert_eq!(what(16, 15, 1), None);
        assert_eq!(what(1, 0, 1), None);
        assert_eq!(
            what(47, 15, 3).unwrap(),
            "has 47 ports, but needs 48 with 15 decoys; make it larger, or use at most 14 decoys"
        );
        assert_eq!(
            what(15, 15, 1).unwrap(),
            "has 15 ports, but needs 16 with 15 decoys; make it larger, or use at most 14 decoys"
        );
        assert_eq!(
            what(2, 0, 3).unwrap(),
            "has 2 ports, but needs 3 with 0 decoys; make it larger"
        );
    }

    #[test]
    fn names_have_few_letters() {
        for name in ["ssh", "ssh@home.example.org", "A-Z_0.9", "a-", "."] {
            assert_eq!(parse_name(name), Ok(name));
        }
        for name in ["", "my ssh", "-", "-x", "ssh:22", "ssh/22", "s\u{e9}sh"] {
            assert!(parse_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn services_are_addresses_with_ports() {
        for text in [
            "127.0.0.1:22",
            "[::1]:22",
            "[fe80::1%2]:22",
            "192.0.2.7:65535",
        ] {
            assert_eq!(forward(text).ok(), text.parse().ok(), "{text}");
        }
        for (text, what) in [
            (
                "localhost:22",
                "localhost is a host name, which can't be resolved at boot; use its address",
            ),
            (
                "nas.lan",
                "nas.lan is a host name, which can't be resolved at boot; use its address",
            ),
            (
                "192.0.2.7",
                "192.0.2.7 is not ADDRESS:PORT, such as 192.0.2.7:22 or [2001:db8::7]:22",
            ),
            (
                "22",
                "22 is not ADDRESS:PORT, such as 192.0.2.7:22 or [2001:db8::7]:22",
            ),
            (
                "192.0.2:22",
                "192.0.2:22 is not ADDRESS:PORT, such as 192.0.2.7:22 or [2001:db8::7]:22",
            ),
            ("192.0.2.7:0", "0 is not a number from 1 to 65535"),
            ("192.0.2.7:65536", "65536 is not a number from 1 to 65535"),
            ("192.0.2.7:ssh", "ssh is not a number from 1 to 65535"),
            ("::1", "::1 has no port; write [::1]:22"),
            (
                "[::1]",
                "[::1] is not ADDRESS:PORT, such as 192.0.2.7:22 or [2001:db8::7]:22",
            ),
            ("[::1]:", " is not a number from 1 to 65535"),
        ] {
            assert_eq!(forward(text).unwrap_err(), what);
        }
    }
}
