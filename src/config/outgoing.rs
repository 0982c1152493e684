//! The ports that the kernel gives to outgoing connections (ip(7), ip_local_port_range). A range
//! should not have any of them.

use super::{file, value};
use crate::proto::scheme::schedule::Range;
use std::path::Path;

const OUTGOING: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// The files that are read to know them.
pub const OUTGOING_FILES: [&str; 2] = [OUTGOING, RESERVED];

/// The ports for outgoing connections, and the reserved ones among them, which it skips, as sysctl shows
/// them: `8080,10000-10999`. None if the kernel does not say.
pub(super) fn of_the_kernel() -> Option<(Range, String)> {
    let outgoing = value::parse_range(&read(OUTGOING)?, '\t').ok()?;
    Some((outgoing, read(RESERVED).unwrap_or_default()))
}

fn read(path: &str) -> Option<String> {
    let bytes = file::read(Path::new(path)).ok()?.0;
    Some(str::from_utf8(&bytes).ok()?.trim_ascii().to_owned())
}

/// Whether the range has ports for outgoing connections that are not reserved.
pub(super) fn has_unreserved(range: Range, outgoing: Range, reserved: &str) -> bool {
    let mut port = range.low().max(outgoing.low());
    while range.contains(port) && outgoing.contains(port) {
        let mut skipped = reserved.split(',').filter_map(ports);
        match skipped.find(|ports| ports.contains(port)) {
            // After the last port comes 0, which is in no range.
            Some(ports) => port = ports.high().wrapping_add(1),
            None => return true,
        }
    }
    false
}

/// Adds a range to the reserved ports.
pub(super) fn reserve(range: Range, reserved: &mut String) {
    if !reserved.is_empty() {
        reserved.push(',');
    }
    *reserved += &format!("{}-{}", range.low(), range.high());
}

/// `10000-10999`, or `8080`.
fn ports(text: &str) -> Option<Range> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Range::new(value::parse_port(low).ok()?, value::parse_port(high).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(low: u16, high: u16) -> Range {
        Range::new(low, high).unwrap()
    }

    #[test]
    fn a_range_is_safe_outside_or_when_it_is_reserved() {
        let outgoing = range(32_768, 60_999);
        let hits = |low, high, reserved| has_unreserved(range(low, high), outgoing, reserved);
        assert!(!hits(10_000, 32_767, ""));
        assert!(hits(10_000, 32_768, ""));
        assert!(hits(60_999, 65_535, ""));
        assert!(!hits(61_000, 65_535, ""));
        assert!(!hits(40_000, 40_999, "8080,40000-40499,40500-40999"));
        assert!(hits(40_000, 40_999, "8080,40000-40998"));
        assert!(!hits(32_000, 32_768, "32768"));
    }

    #[test]
    fn what_is_reserved_is_added_to_what_is_there() {
        let mut reserved = String::new();
        reserve(range(40_000, 40_999), &mut reserved);
        assert_eq!(reserved, "40000-40999");
        reserve(range(50_000, 50_009), &mut reserved);
        assert_eq!(reserved, "40000-40999,50000-50009");
    }
}
