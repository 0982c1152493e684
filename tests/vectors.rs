//! The scheme's test vectors: what every implementation of version 1 has to compute, line by line.
//!
//! `tests/scheme-vectors.tsv` has kinds of lines, each with its header. They are counted, so that a
//! line can't be skipped unseen.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use shimmer::proto::scheme::key::Key;
use shimmer::proto::scheme::knock::{self, Protocols};
use shimmer::proto::scheme::packet::{self, Content};
use shimmer::proto::scheme::schedule::{Pattern, Range};
use shimmer::proto::scheme::token;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const VECTORS: &str = include_str!("scheme-vectors.tsv");

/// Kinds of lines that are checked, and how many there are.
const CHECKED: [(&str, usize); 5] = [
    ("key", 5),
    ("ports", 63),
    ("token", 9),
    ("knock", 18),
    ("packet", 6),
];

/// Each of so many lines of ports is checked through the binary too: it stretches the secret anew.
const THROUGH_THE_BINARY: usize = 5;

/// The fields of each line of a kind.
fn lines(kind: &str) -> impl Iterator<Item = Vec<&'static str>> {
    VECTORS
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(move |fields| fields[0] == kind)
}

/// Stretches each secret once: many lines share one.
#[derive(Default)]
struct Keys(BTreeMap<(&'static str, &'static str), Key>);

impl Keys {
    fn get(&mut self, name: &'static str, secret: &'static str) -> &Key {
        self.0
            .entry((name, secret))
            .or_insert_with(|| Key::stretch(secret.as_bytes(), name))
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn every_line_is_of_a_kind_that_is_checked() {
    let mut sum = 0;
    for (kind, count) in CHECKED {
        assert_eq!(lines(kind).count(), count, "lines of kind {kind}");
        sum += count;
    }
    let all = VECTORS.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(all.count(), sum, "a line is of another kind");
    for (kind, count) in CHECKED {
        println!("{kind}: {count} lines checked");
    }
}

/// A key can't be looked at, so an HMAC of the listed one is compared with one of ours.
#[test]
fn keys_are_the_listed_ones() {
    for line in lines("key") {
        let [_, name, secret, key] = line[..] else {
            panic!("a line of another shape: {line:?}");
        };
        let listed = Hmac::<Sha256>::new_from_slice(&bytes(key))
            .unwrap()
            .chain_update(b"a message");
        let ours = Key::stretch(secret.as_bytes(), name).hmac(&[b"a message"]);
        assert_eq!(ours, *listed.finalize().into_bytes(), "{name}, {secret}");
    }
}

#[test]
fn ports_are_the_listed_ones() {
    let mut keys = Keys::default();
    for line in lines("ports") {
        let [
            _,
            name,
            secret,
            low,
            high,
            decoys,
            period,
            unix,
            minute,
            ports,
        ] = line[..]
        else {
            panic!("a line of another shape: {line:?}");
        };
        let range = Range::new(low.parse().unwrap(), high.parse().unwrap()).unwrap();
        let pattern =
            Pattern::new(range, decoys.parse().unwrap(), period.parse().unwrap()).unwrap();
        let key = keys.get(name, secret);
        let ours = pattern.minute(unix.parse().unwrap());
        assert_eq!(ours.to_string(), minute, "{line:?}");
        let drawn = pattern.ports(key, ours);
        let text: Vec<_> = drawn.iter().map(ToString::to_string).collect();
        assert_eq!(text.join(","), ports, "{line:?}");
        assert_eq!(pattern.real(key, ours), drawn[0], "{line:?}");
    }
}

#[test]
fn tokens_are_the_listed_ones() {
    let mut keys = Keys::default();
    for line in lines("token") {
        let [_, name, secret, period, unix, port, nonce, listed] = line[..] else {
            panic!("a line of another shape: {line:?}");
        };
        let port: u16 = port.parse().unwrap();
        let range = Range::new(port, port).unwrap();
        let pattern = Pattern::new(range, 0, period.parse().unwrap()).unwrap();
        let minute = pattern.minute(unix.parse().unwrap());
        let nonce = bytes(nonce).try_into().unwrap();
        let ours = token::make(keys.get(name, secret), minute, port, &nonce);
        assert_eq!(ours.to_vec(), bytes(listed), "{line:?}");
    }
}

#[test]
fn knocks_are_the_listed_ones() {
    let mut keys = Keys::default();
    for line in lines("knock") {
        let [
            _,
            name,
            secret,
            low,
            high,
            knocks,
            protocols,
            period,
            unix,
            listed,
        ] = line[..]
        else {
            panic!("a line of another shape: {line:?}");
        };
        let range = Range::new(low.parse().unwrap(), high.parse().unwrap()).unwrap();
        let period = period.parse().unwrap();
        let minute = Pattern::new(range, 0, period)
            .unwrap()
            .minute(unix.parse().unwrap());
        let protocols = match protocols {
            "tcp" => Protocols::Tcp,
            "udp" => Protocols::Udp,
            "mixed" => Protocols::Mixed,
            _ => panic!("other protocols: {line:?}"),
        };
        let knocks = knocks.parse().unwrap();
        let key = keys.get(name, secret);
        let ours = knock::sequence(key, range, minute, knocks, protocols);
        let text: Vec<_> = ours.iter().map(ToString::to_string).collect();
        assert_eq!(text.join(","), listed, "{line:?}");
        // What is drawn can be configured too: one writes a sequence as the other reads it.
        assert!(knock::parse_sequence(listed).ok() == Some(ours), "{line:?}");
    }
}

#[test]
fn datagrams_are_the_listed_ones() {
    let mut keys = Keys::default();
    for line in lines("packet") {
        let [_, name, secret, unix, address, nonce, listed] = line[..] else {
            panic!("a line of another shape: {line:?}");
        };
        let unix = unix.parse().unwrap();
        let address = (address != "-").then(|| address.parse().unwrap());
        let nonce = bytes(nonce).try_into().unwrap();
        let key = keys.get(name, secret);
        let ours = packet::make(key, unix, address, &nonce);
        assert_eq!(ours.to_vec(), bytes(listed), "{line:?}");
        let inside = packet::open(key, &ours);
        assert!(inside == Some(Content { unix, address }), "{line:?}");
    }
}

#[test]
fn the_program_prints_the_listed_ports() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("vector-secret");
    for line in lines("ports").step_by(THROUGH_THE_BINARY) {
        let [_, name, secret, low, high, decoys, period, unix, _, ports] = line[..] else {
            panic!("a line of another shape: {line:?}");
        };
        fs::write(&file, format!("{secret}\nnot the secret\n")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_shimmer"))
            .args(["port", &format!("{name}:{low}:{high}"), "--all"])
            .args(["--at", unix, "--period", period, "--decoys", decoys])
            .arg("--secret-file")
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{line:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed, ports.replace(',', "\n") + "\n", "{line:?}");
    }
}
