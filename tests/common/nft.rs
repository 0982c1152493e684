//! The kernel's sets, as nft shows them.

use super::gates::only_apart;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What nft says, with a text on its stdin. None if it is not installed, or has failed.
pub fn nft(words: &[&str], text: &str) -> Option<String> {
    let mut child = Command::new("nft")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = child.wait_with_output().unwrap();
    let is_done = output.status.success();
    is_done.then(|| String::from_utf8(output.stdout).unwrap())
}

/// Changes the firewall of this network.
#[track_caller]
pub fn load(text: &str) {
    assert!(nft(&["-f", "-"], text).is_some(), "nft refuses {text}");
}

/// Runs a test in a network with a firewall of its own; or says that it can't.
pub fn with_firewall(test: impl Fn() + Sync) {
    let folders = ["/usr/sbin/nft", "/usr/bin/nft", "/sbin/nft"];
    if !folders.iter().any(|nft| Path::new(nft).exists()) {
        return eprintln!("SKIPPED: nft is not installed, so the kernel's sets are not shown");
    }
    if !only_apart(&test) {
        eprintln!(
            "SKIPPED: no network of its own (that takes root), so the kernel's sets are not shown"
        );
    }
}
