//! The shape of the source, held by a test: which layer may use which, that nothing is imported in a
//! circle, and where `unsafe` may stand.

mod imports;

use imports::{Graph, Source, source_files};
use std::collections::{BTreeMap, BTreeSet};

/// Parts of a folder that still import each other. One that is gone has to be taken off the list.
const KNOWN_CIRCLES: &[&str] = &[];

/// The drawing in lib.rs: each layer, and those below it that it uses.
fn drawing() -> Vec<(String, BTreeSet<String>)> {
    let lib = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let (_, drawing) = lib.split_once("```text\n").expect("lib.rs has a drawing");
    let (drawing, _) = drawing.split_once("//! ```").expect("the drawing ends");
    let mut layers: Vec<(String, BTreeSet<String>)> = Vec::new();
    for line in drawing.lines() {
        let line = line.trim_start_matches("//!");
        let (layer, used) = line.split_once('▶').unwrap_or(("", line));
        let used = used.split_whitespace().map(str::to_owned);
        match (layer.trim(), layers.last_mut()) {
            ("", Some((_, last))) => last.extend(used),
            (layer, _) => layers.push((layer.to_owned(), used.collect())),
        }
    }
    layers
}

#[test]
fn layers_import_each_other_as_lib_rs_draws_it() {
    let drawing = drawing();
    let mut below: BTreeSet<&str> = BTreeSet::new();
    for (layer, used) in drawing.iter().rev() {
        for used in used {
            assert!(below.contains(used.as_str()), "{layer} ▶ {used} points up");
        }
        below.insert(layer);
    }
    let drawn: BTreeMap<String, BTreeSet<String>> = drawing.into_iter().collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in source_files() {
        found.entry(source.layer().to_owned()).or_default();
    }
    // The root only names the layers.
    found.remove("lib");
    for (from, to) in Graph::new(&source_files()).layers() {
        found.entry(from).or_default().insert(to);
    }
    let layers = |of: &BTreeMap<_, _>| of.keys().cloned().collect::<Vec<String>>().join(" ");
    assert_eq!(layers(&found), layers(&drawn));
    let mut wrong = Vec::new();
    for (layer, used) in &found {
        let drawn = &drawn[layer];
        wrong.extend(
            used.difference(drawn)
                .map(|below| format!("{layer} uses {below}")),
        );
        let unused = drawn.difference(used);
        wrong.extend(unused.map(|below| format!("{layer} no longer uses {below}")));
    }
    assert!(wrong.is_empty(), "lib.rs draws it otherwise: {wrong:#?}");
}

#[test]
fn nothing_is_imported_in_a_circle() {
    let circles = Graph::new(&source_files()).circles();
    let new: Vec<_> = circles
        .iter()
        .filter(|circle| !KNOWN_CIRCLES.contains(&circle.as_str()))
        .collect();
    assert!(
        new.is_empty(),
        "these import each other in a circle: {new:#?}"
    );
    let gone: Vec<_> = KNOWN_CIRCLES
        .iter()
        .filter(|known| !circles.iter().any(|circle| circle == *known))
        .collect();
    assert!(
        gone.is_empty(),
        "take these off the list, they are gone: {gone:#?}"
    );
}

/// The crates that ours uses.
fn dependencies() -> BTreeSet<String> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let mut is_list = false;
    let names = manifest.lines().filter_map(|line| {
        if line.starts_with('[') {
            is_list = line.ends_with("dependencies]");
        }
        let (name, _) = line.split_once(" = ").filter(|_| is_list)?;
        Some(name.replace('-', "_"))
    });
    names.collect()
}

/// What is wrong with the paths of a file that is to need no operating system.
fn touches_the_system(source: &Source, crates: &BTreeSet<String>) -> Vec<String> {
    const STD: &[&str] = &[
        "collections",
        "error",
        "fmt",
        "hash",
        "io",
        "net",
        "path",
        "rc",
    ];
    const NET: &[&str] = &["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr"];
    const IO: &[&str] = &["Error", "ErrorKind"];
    const CRATES: &[&str] = &["heapless", "hmac", "sha2", "zeroize"];
    let mut wrong = Vec::new();
    let mut look = |root: &str, place: usize, allowed: &[&str]| {
        for path in source.paths(root) {
            let is_allowed = |name: &String| allowed.contains(&name.as_str());
            if !path.get(place).is_none_or(is_allowed) {
                wrong.push(format!("{}: {}", source.path, path.join("::")));
            }
        }
    };
    look("std", 1, STD);
    look("io", 1, IO);
    look("std::io", 2, IO);
    look("std::net", 2, NET);
    for name in crates
        .iter()
        .filter(|name| !CRATES.contains(&name.as_str()))
    {
        look(name, 0, &[]);
    }
    wrong
}

#[test]
fn proto_needs_no_operating_system() {
    let crates = dependencies();
    assert!(
        ["mio", "libc", "rustix"]
            .iter()
            .all(|&name| crates.contains(name))
    );
    let sources = source_files();
    let decides = |source: &&Source| source.layer() == "proto" && !source.is_test();
    let decides = sources.iter().filter(decides);
    let wrong: Vec<String> = decides
        .flat_map(|source| touches_the_system(source, &crates))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_file_that_needs_the_system_is_found() {
    let crates = BTreeSet::from(["libc", "time"].map(str::to_owned));
    let wrong = |text| touches_the_system(&source("proto/a.rs", text), &crates).len();
    for text in [
        "use std::fs;\n",
        "use std::{fmt, time};\n",
        "use std::net::{IpAddr, TcpStream};\n",
        "use std::io::Read;\n",
        "fn f() { std::process::exit(1) }\n",
        "fn f(error: io::Error) -> impl io::Read {}\n",
        "use libc::c_int;\n",
        "fn f() { time::now() }\n",
    ] {
        assert_eq!(wrong(text), 1, "{text}");
    }
    for text in [
        "use std::{collections::VecDeque, fmt, io};\nfn f(error: io::Error) {}\n",
        "use std::io::{Error, ErrorKind};\nuse core::net::IpAddr;\n",
        "mod time;\npub use time::Now;\n",
        "use super::time::Instant;\n",
        "// As std::fs does.\n",
    ] {
        assert_eq!(wrong(text), 0, "{text}");
    }
}

/// A text for the test's own tests.
fn source(path: &str, text: &str) -> Source {
    Source::new(path, text)
}

#[test]
fn circles_are_found_through_names_that_are_handed_on_and_not_in_tests() {
    let circles = |sources: &[Source]| Graph::new(sources).circles();
    let facade = source(
        "a/mod.rs",
        "mod b;\nmod c;\npub use b::B;\npub use c::{C, D};\n",
    );
    let b = source("a/b.rs", "use super::{\n    C,\n};\npub struct B;\n");
    let c = |text| source("a/c.rs", text);
    assert_eq!(
        circles(&[facade.clone(), b.clone(), c("use crate::a::B;\n")]),
        ["a: b, c"]
    );
    assert_eq!(
        circles(&[
            facade.clone(),
            b.clone(),
            c("fn f() { crate::a::b::g() }\n")
        ]),
        ["a: b, c"]
    );
    let only_a_test = "#[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}\n";
    for text in [
        only_a_test,
        "/// As [`super::B`].\n",
        "mod d {\n    use super::f;\n}\n",
    ] {
        assert!(
            circles(&[facade.clone(), b.clone(), c(text)]).is_empty(),
            "{text}"
        );
    }
    let above = source("e.rs", "use crate::a::B;\n");
    let below = c("use crate::e;\n");
    assert_eq!(
        circles(&[facade.clone(), b.clone(), below, above]),
        ["src: a, e"]
    );
    let own = source("a/mod.rs", "mod b;\nuse b::B;\npub struct C;\n");
    assert_eq!(circles(&[own, b]), ["a: b, mod"]);
}

#[test]
fn unsafe_stands_in_sys_alone_and_each_block_says_why() {
    for Source {
        path: file, text, ..
    } in source_files()
    {
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
    for source in source_files() {
        let Source {
            path: file, text, ..
        } = &source;
        // The demo is left out on routers.
        if file.starts_with("tools/demo") || source.is_test() {
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
