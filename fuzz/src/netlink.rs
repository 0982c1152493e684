//! What the kernel says by netlink. It is no enemy, but there are many kernels.

use crate::bytes::Bytes;
use shimmer::daemon::fuzzing::routes;
use shimmer::daemon::netfilter::message::{Attributes, KernelAnswer, Said};

/// Bytes of a message before its attributes, and of an attribute before its payload.
const HEADERS: usize = 20;
const ATTRIBUTE: usize = 4;

/// An answer about sets or about routes.
pub fn netlink(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    if bytes.bool() {
        return read_routes(bytes.rest());
    }
    let bytes = bytes.rest();
    let Some(answer) = KernelAnswer::parse(bytes) else {
        return;
    };
    match answer.said {
        Said::Ended(_) => assert!(bytes.len() >= HEADERS),
        Said::Attributes(found) => read_attributes(bytes, found),
    }
}

fn read_attributes(bytes: &[u8], found: Attributes<'_>) {
    let read: usize = found.map(|(_, payload)| ATTRIBUTE + payload.len()).sum();
    assert!(HEADERS + read <= bytes.len());
    for kind in 0..8 {
        let first = Iterator::find(&mut found.clone(), |(its, _)| *its == kind);
        let first = first.map(|(_, payload)| payload);
        assert_eq!(Attributes::find(found, kind), first);
        let number = found.number(kind);
        assert!(number.is_none() || first.is_some_and(|payload| payload.len() == 4));
    }
}

/// Every route takes a header and an attribute, so what is read has a bound.
fn read_routes(bytes: &[u8]) {
    const SHORTEST: usize = 16 + 12 + ATTRIBUTE + 4;
    if let Ok((networks, _)) = routes(bytes) {
        assert!(networks.len() * SHORTEST <= bytes.len());
    }
}
