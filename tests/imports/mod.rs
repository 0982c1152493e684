//! Who imports whom in src/: every path that begins with `crate::`, `super::`, `self::` or a module of
//! its own, in a `use` or elsewhere, outside of tests and comments. A name that a `pub use` hands on
//! leads to where it is from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module's path below the crate: `["config", "keys"]`.
type Module = Vec<String>;

/// A source file.
#[derive(Clone)]
pub struct Source {
    /// Below src/.
    pub path: String,
    pub text: String,
    module: Module,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let stem = path.strip_suffix(".rs").unwrap();
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        let module = match stem {
            "lib" => Vec::new(),
            _ => stem.split('/').map(str::to_owned).collect(),
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            module,
        }
    }

    /// The folder or file right below src/ that it belongs to.
    pub fn layer(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    /// Whether it stands in a module of tests.
    pub fn is_test(&self) -> bool {
        self.module.iter().any(|part| part == "tests")
    }

    /// All paths that begin with this word: `["std", "io"]`. A module of the file's own hides a crate.
    pub fn paths(&self, root: &str) -> BTreeSet<Vec<String>> {
        let text = self.shipped();
        let mut paths = Vec::new();
        if text.contains(&format!("mod {root};")) {
            return BTreeSet::new();
        }
        for (start, _) in text.match_indices(&format!("{root}::")) {
            let before = text[..start].chars().next_back();
            if !before.is_some_and(|before| is_word(before) || before == ':') {
                read_tree(&mut &text[start..], Vec::new(), &mut paths);
            }
        }
        paths.into_iter().collect()
    }

    /// The text without comments, and without what is compiled for tests alone.
    fn shipped(&self) -> String {
        let text = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        text.lines()
            .filter(is_code)
            .flat_map(|line| [line, "\n"])
            .collect()
    }
}

/// Every source file, by its path.
pub fn source_files() -> Vec<Source> {
    fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                into.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&src, &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let below = path.strip_prefix(&src).unwrap().display().to_string();
        Source::new(&below, &std::fs::read_to_string(path).unwrap())
    };
    paths.iter().map(read).collect()
}

/// A path that a file names.
struct Import {
    /// The module in which it stands, which an inline `mod` may be.
    from: Module,
    path: Vec<String>,
    /// Whether it is handed on under its name.
    is_handed_on: bool,
}

/// The files, and an arrow for each import.
pub struct Graph {
    arrows: BTreeSet<(Module, Module)>,
}

impl Graph {
    pub fn new(sources: &[Source]) -> Self {
        let sources: Vec<&Source> = sources.iter().filter(|source| !source.is_test()).collect();
        let modules: BTreeSet<Module> =
            sources.iter().map(|source| source.module.clone()).collect();
        let imports: Vec<(&Source, Import)> = sources
            .iter()
            .flat_map(|source| {
                imports(source, &modules)
                    .into_iter()
                    .map(move |import| (*source, import))
            })
            .collect();
        let mut handed_on = BTreeMap::new();
        for (source, import) in &imports {
            if import.is_handed_on {
                let path = absolute(&import.from, &import.path);
                let name = import.path.last().unwrap().clone();
                handed_on.insert((source.module.clone(), name), path);
            }
        }
        let mut arrows = BTreeSet::new();
        for (source, import) in &imports {
            let to = target(&absolute(&import.from, &import.path), &modules, &handed_on);
            if !import.is_handed_on && to != source.module && !to.is_empty() {
                arrows.insert((source.module.clone(), to));
            }
        }
        Self { arrows }
    }

    /// The arrows from one layer to another.
    pub fn layers(&self) -> BTreeSet<(String, String)> {
        let layers = self
            .arrows
            .iter()
            .map(|(from, to)| (from[..1].concat(), to[..1].concat()));
        layers.filter(|(from, to)| from != to).collect()
    }

    /// The parts of each folder that import each other in a circle: `config: draft, value`. A file and
    /// the folder of its name are one part; `mod` is the folder's own file.
    pub fn circles(&self) -> Vec<String> {
        let mut folders: BTreeMap<&[String], BTreeSet<(&str, &str)>> = BTreeMap::new();
        for (from, to) in &self.arrows {
            let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
            let arrow = (part(from, common), part(to, common));
            folders.entry(&from[..common]).or_default().insert(arrow);
        }
        let mut circles = Vec::new();
        for (folder, arrows) in folders {
            let name = match folder {
                [] => "src".to_owned(),
                _ => folder.join("/"),
            };
            for circle in circles_of(&arrows) {
                circles.push(format!("{name}: {}", circle.join(", ")));
            }
        }
        circles
    }
}

/// The part of a folder that a module is or lies in, where the folder's path has this length.
fn part(module: &[String], length: usize) -> &str {
    module.get(length).map_or("mod", String::as_str)
}

/// The sets of nodes that can all be reached from each other, by name.
fn circles_of<'a>(arrows: &BTreeSet<(&'a str, &'a str)>) -> Vec<Vec<&'a str>> {
    let reach = |start: &'a str| {
        let (mut reached, mut left) = (BTreeSet::new(), vec![start]);
        while let Some(node) = left.pop() {
            for (_, to) in arrows.iter().filter(|(from, _)| *from == node) {
                if reached.insert(*to) {
                    left.push(to);
                }
            }
        }
        reached
    };
    let nodes: BTreeSet<&str> = arrows.iter().map(|(from, _)| *from).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        nodes.iter().map(|node| (*node, reach(node))).collect();
    let circle = |node: &&'a str| -> Option<Vec<&'a str>> {
        let with: Vec<&str> = reached[node]
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(node)))
            .collect();
        // Each is told once, at its first node.
        (with.first() == Some(node)).then_some(with)
    };
    nodes.iter().filter_map(circle).collect()
}

/// A path from the crate's root.
fn absolute(from: &[String], path: &[String]) -> Vec<String> {
    let mut module = from.to_vec();
    let mut rest = path.iter();
    while let Some(first) = rest.as_slice().first() {
        match first.as_str() {
            "crate" | "shimmer" => module.clear(),
            "super" => drop(module.pop()),
            "self" => {}
            _ => break,
        }
        rest.next();
    }
    module.extend(rest.cloned());
    module
}

/// The module that a path leads to.
fn target(
    path: &[String],
    modules: &BTreeSet<Module>,
    handed_on: &BTreeMap<(Module, String), Vec<String>>,
) -> Module {
    let mut path = path.to_vec();
    loop {
        let is_module = |length: &usize| modules.contains(&path[..*length]);
        let length = (0..=path.len()).rev().find(is_module).unwrap_or(0);
        let module = path[..length].to_vec();
        let Some(name) = path.get(length) else {
            return module;
        };
        match handed_on.get(&(module.clone(), name.clone())) {
            Some(source) => path = [source, &path[length + 1..]].concat(),
            None => return module,
        }
    }
}

fn imports(source: &Source, modules: &BTreeSet<Module>) -> Vec<Import> {
    let text = source.shipped();
    let inline = inline_modules(&text);
    let mut imports = Vec::new();
    let mut at = 0;
    while let Some(length) = text[at..].find(is_word) {
        let start = at + length;
        let word = word(&text[start..]);
        at = start + word.len();
        let line = text[..start].rsplit('\n').next().unwrap_or_default();
        let mut from = source.module.clone();
        if let Some((_, name)) = inline.iter().find(|(range, _)| range.contains(&start)) {
            from.push(name.clone());
        }
        let is_used = line.trim_end().ends_with("use");
        let child = [&from[..], &[word.to_owned()]].concat();
        let is_root = matches!(word, "crate" | "super" | "self")
            || word == "shimmer" && source.path == "main.rs";
        if is_root && text[at..].starts_with("::") || is_used && modules.contains(&child) {
            let mut rest = &text[start..];
            let mut paths = Vec::new();
            read_tree(&mut rest, Vec::new(), &mut paths);
            at = text.len() - rest.len();
            let is_handed_on = is_used && line.trim_start().starts_with("pub");
            imports.extend(paths.into_iter().map(|path| Import {
                from: from.clone(),
                path,
                is_handed_on,
            }));
        }
    }
    imports
}

/// Where modules stand within a file, and their names.
fn inline_modules(text: &str) -> Vec<(core::ops::Range<usize>, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let opened = line.trim_start_matches("pub ").strip_prefix("mod ");
        if let Some(name) = opened.and_then(|rest| rest.trim_end().strip_suffix(" {")) {
            open = Some((at, name.to_owned()));
        }
        at += line.len();
        if let ("}", Some((start, name))) = (line.trim_end(), &open) {
            found.push((*start..at, name.clone()));
            open = None;
        }
    }
    found
}

/// Reads `a::b`, `a::{b, c::d}`, and so on from the start of a text: all paths that it stands for.
fn read_tree(text: &mut &str, mut path: Vec<String>, into: &mut Vec<Vec<String>>) {
    loop {
        *text = text.trim_start();
        if let Some(rest) = text.strip_prefix('{') {
            *text = rest.trim_start();
            while !text.is_empty() && !text.starts_with('}') {
                read_tree(text, path.clone(), into);
                let end = text.find([',', '}']).unwrap_or(text.len());
                *text = text[end..].trim_start_matches(',').trim_start();
            }
            *text = text.strip_prefix('}').unwrap_or(text);
            return;
        }
        let word = word(text);
        *text = &text[word.len()..];
        if word != "self" || path.is_empty() {
            path.push(word.to_owned());
        }
        match text.strip_prefix("::") {
            Some(rest) if rest.starts_with(|next| is_word(next) || next == '{') => *text = rest,
            _ => break,
        }
    }
    into.push(path);
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn word(text: &str) -> &str {
    &text[..text.find(|letter| !is_word(letter)).unwrap_or(text.len())]
}
