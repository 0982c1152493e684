//! A daemon that has been there for days: it knows that no token or datagram of this boot was used. Without its file
//! it would refuse them for two windows.

#![allow(dead_code, reason = "each test uses its part")]

use shimmer::proto::Instant;
use shimmer::proto::nonces::{BootId, Memory, RECORD};
use std::fs;
use std::path::{Path, PathBuf};

/// A configuration, with a state file where there is none and tokens or datagrams count; and that file's companion.
pub fn with_memory(folder: &Path, config: &str) -> String {
    let has = |gate: &&str| config.lines().any(|line| line == *gate);
    if !["gate = token", "gate = packet"].iter().any(has) {
        return config.to_owned();
    }
    let state = format!("state-file = {}", folder.join("state").display());
    let config = config.replacen("state-file = none", &state, 1);
    let mut lines = config.lines();
    if let Some(path) = lines.find_map(|line| line.strip_prefix("state-file = ")) {
        let used = PathBuf::from(path.to_owned() + ".used");
        if !used.exists() {
            write_memory(&used, this_boot());
        }
    }
    config
}

/// Writes a file of used tokens that knows all since a boot: none was used.
pub fn write_memory(path: &Path, boot: BootId) {
    let memory = Memory::new(boot, Instant(0));
    let mut bytes = vec![0; 16 * RECORD];
    for write in memory.unwritten().iter() {
        let at = write.at as usize;
        bytes[at..at + RECORD].copy_from_slice(&write.bytes);
    }
    fs::write(path, bytes).unwrap();
}

/// The kernel's id of this boot.
pub fn this_boot() -> BootId {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let digits = text.trim().replace('-', "");
    u128::from_str_radix(&digits, 16).unwrap().to_be_bytes()
}
