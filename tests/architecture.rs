//! The shape of the source, held by a test: which layer may use which, and where `unsafe` may stand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each layer may import of ours, beside itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("message", &[]),
    ("nearest", &[]),
    ("endpoint", &[]),
    ("rfc3339", &[]),
    ("ini", &[]),
    ("scheme", &["limits"]),
    ("sys", &["limits"]),
    (
        "config",
        &[
            "endpoint", "ini", "limits", "message", "nearest", "scheme", "sys",
        ],
    ),
    ("cli", &["message", "nearest", "sys"]),
    (
        "daemon",
        &["config", "endpoint", "limits", "rfc3339", "scheme", "sys"],
    ),
    (
        "client",
        &[
            "cli", "config", "limits", "message", "nearest", "rfc3339", "scheme", "sys",
        ],
    ),
    (
        "tools",
        &[
            "cli", "client", "config", "endpoint", "limits", "message", "nearest", "scheme", "sys",
        ],
    ),
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// Every source file, by its path below src/.
fn source_files() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    let below = |path: &PathBuf| path.strip_prefix(&src).unwrap().display().to_string();
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    paths.iter().map(|path| (below(path), read(path))).collect()
}

#[test]
fn imports_run_one_way() {
    for (file, text) in source_files() {
        let layer = file.split(['/', '.']).next().unwrap();
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            continue;
        };
        for import in text.split("crate::").skip(1) {
            let used = import
                .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .next()
                .unwrap();
            let is_layer = LAYERS.iter().any(|(name, _)| *name == used);
            let is_fine = !is_layer || used == layer || allowed.contains(&used);
            assert!(is_fine, "{file} uses {used}");
        }
    }
}

#[test]
fn unsafe_stands_in_sys_alone_and_each_block_says_why() {
    for (file, text) in source_files() {
        let mut last_comment = 0;
        for (number, line) in text.lines().enumerate() {
            if line.contains("// SAFETY:") {
                last_comment = number;
            }
            if line.contains("unsafe {") || line.contains("unsafe impl") {
                assert!(file.starts_with("sys/"), "{file}:{}", number + 1);
                assert!(
                    number - last_comment < 8,
                    "{file}:{} says no reason",
                    number + 1
                );
            }
        }
    }
}

#[test]
fn what_ships_formats_no_float_and_no_debug_output() {
    for (file, text) in source_files() {
        // The demo is left out on routers.
        if file.starts_with("tools/demo") || file.ends_with("tests.rs") {
            continue;
        }
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in shipped.lines().enumerate() {
            let is_float = line.contains("f64") || line.contains("f32");
            let is_debug = line.contains(":?}") || line.contains(":#?}");
            assert!(!is_float && !is_debug, "{file}:{}", number + 1);
        }
    }
}
