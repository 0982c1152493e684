//! Goal: whoever builds for routers gets the same program, and `Cross.toml` says what cross understands. cross
//! itself needs a container engine, and only warns of a key that it does not know: so a typo there is a std that
//! is not built, found by the next owner of a router. The file is compared with what cross documents of it
//! (docs/config_file.md in its repository).

use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

/// What a value may be.
enum Kind {
    Flag,
    Text,
    Texts,
    /// One of these texts.
    Word(&'static [&'static str]),
    /// Texts by names of the owner's choice.
    TextsByName,
    /// Keys, and what the value of each may be.
    Table(Keys),
}
use Kind::{Flag, Table, Text, Texts, TextsByName, Word};

type Keys = &'static [(&'static str, &'static [Kind])];

const BUILD: Keys = &[
    ("build-std", BUILD_STD),
    ("default-target", &[Text]),
    ("dockerfile", DOCKERFILE),
    ("env", ENV),
    ("pre-build", PRE_BUILD),
    ("zig", ZIG),
];

const TARGET: Keys = &[
    ("build-std", BUILD_STD),
    ("dockerfile", DOCKERFILE),
    ("env", ENV),
    ("image", IMAGE),
    ("pre-build", PRE_BUILD),
    ("runner", &[Word(&["qemu-system", "qemu-user", "native"])]),
    ("zig", ZIG),
];

const BUILD_STD: &[Kind] = &[Flag, Texts];

const DOCKERFILE: &[Kind] = &[
    Text,
    Table(&[
        ("file", &[Text]),
        ("context", &[Text]),
        ("build-args", &[TextsByName]),
    ]),
];

const ENV: &[Kind] = &[Table(&[("volumes", &[Texts]), ("passthrough", &[Texts])])];

const IMAGE: &[Kind] = &[Text, Table(&[("name", &[Text]), ("toolchain", &[Texts])])];

/// A text is a script's path, a list are commands.
const PRE_BUILD: &[Kind] = &[Text, Texts];

const ZIG: &[Kind] = &[
    Flag,
    Text,
    Table(&[("enable", &[Flag]), ("version", &[Text]), ("image", IMAGE)]),
];

impl Kind {
    /// What is wrong with a value, or None if it is of another kind altogether.
    fn problems(&self, path: &str, value: &Value) -> Option<Vec<String>> {
        let is_fine = match self {
            Flag => value.is_boolean(),
            Text => value.is_string(),
            Texts => value.as_array()?.iter().all(Value::is_string),
            Word(words) => words.contains(&value.as_str()?),
            TextsByName => value.as_object()?.values().all(Value::is_string),
            Table(keys) => return Some(problems_of_table(path, value.as_object()?, keys)),
        };
        is_fine.then(Vec::new)
    }
}

fn problems_of_table(path: &str, table: &Map<String, Value>, keys: Keys) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, value) in table {
        let path = format!("{path}.{key}");
        match keys.iter().find(|(known, _)| known == key) {
            None => problems.push(format!("{path}: no such key")),
            Some((_, kinds)) => {
                let found = kinds.iter().find_map(|kind| kind.problems(&path, value));
                let other = || vec![format!("{path}: another kind of value")];
                problems.extend(found.unwrap_or_else(other));
            }
        }
    }
    problems
}

/// What cross would not understand of a file, and the targets that we do not have.
fn problems(text: &str) -> Vec<String> {
    let file: Map<String, Value> = match basic_toml::from_str(text) {
        Ok(file) => file,
        Err(error) => return vec![error.to_string()],
    };
    let ours = targets();
    let mut problems = Vec::new();
    for (key, value) in &file {
        let Some(table) = value.as_object() else {
            problems.push(format!("{key}: no table"));
            continue;
        };
        match key.as_str() {
            "build" => problems.extend(problems_of_table(key, table, BUILD)),
            "target" => {
                for (target, value) in table {
                    if !ours.contains(target) {
                        problems.push(format!("target.{target}: not in openwrt/build"));
                    }
                    match value.as_object() {
                        Some(table) => problems.extend(problems_of_table(target, table, TARGET)),
                        None => problems.push(format!("target.{target}: no table")),
                    }
                }
            }
            _ => problems.push(format!("{key}: no such table")),
        }
    }
    problems
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The routers' targets, as `openwrt/build` lists them.
fn targets() -> Vec<String> {
    let build = read("openwrt/build");
    let (_, list) = build.split_once("\ntargets=(\n").unwrap();
    let (list, _) = list.split_once("\n)\n").unwrap();
    list.split_whitespace().map(str::to_owned).collect()
}

/// What `Cross.toml` says of a target.
fn target(name: &str) -> Value {
    let file: Value = basic_toml::from_str(&read("Cross.toml")).unwrap();
    file["target"][name].clone()
}

#[test]
fn cross_understands_every_word() {
    assert_eq!(problems(&read("Cross.toml")), [""; 0]);
}

#[test]
fn a_typo_is_seen() {
    let good = read("Cross.toml");
    for (right, wrong, problem) in [
        ("build-std", "build_std", "build_std: no such key"),
        ("pre-build", "prebuild", "prebuild: no such key"),
        ("image", "images", "images: no such key"),
        (
            "passthrough",
            "pass-through",
            "env.pass-through: no such key",
        ),
        (".env]", ".environment]", "environment: no such key"),
        ("[target.", "[targets.", "targets: no such table"),
        (
            "mipsel-unknown-linux-musl]",
            "mipsel-unknown-linux-muls]",
            "not in openwrt/build",
        ),
        (
            "[\"std\", \"panic_abort\"]",
            "\"std\"",
            "build-std: another kind of value",
        ),
        (
            "[\"std\", \"panic_abort\"]",
            "[1]",
            "build-std: another kind of value",
        ),
        ("\":main\"", "[\":main\"]", "image: another kind of value"),
        ("\":main\"", "{ tag = \"main\" }", "image.tag: no such key"),
        (
            "image = \":main\"",
            "runner = \"qemu\"",
            "runner: another kind of value",
        ),
        ("image = \":main\"", "image = :main", "expected a value"),
    ] {
        assert!(good.contains(right), "{right}");
        let problems = problems(&good.replace(right, wrong));
        let is_seen = problems.iter().any(|seen| seen.contains(problem));
        assert!(is_seen, "{wrong}: {problems:?}");
    }
}

#[test]
fn all_that_cross_documents_is_known() {
    let text = r#"
        [build]
        build-std = false
        zig = true
        default-target = "aarch64-unknown-linux-musl"
        pre-build = "script"
        dockerfile = { file = "Dockerfile", context = ".", build-args = { ONE = "1" } }
        env = { volumes = ["ONE", "TWO=/path"], passthrough = ["ONE", "TWO=2"] }

        [target.aarch64-unknown-linux-musl]
        build-std = ["core", "alloc"]
        zig = { enable = true, version = "2.17", image = "image" }
        image = { name = "image:tag", toolchain = ["x86_64-unknown-linux-musl"] }
        runner = "qemu-user"
        pre-build = ["command"]
        dockerfile = "Dockerfile"
        env.passthrough = ["ONE"]
    "#;
    assert_eq!(problems(text), [""; 0]);
}

/// Those are the ones of tier 3 among ours.
fn without_a_std() -> impl Iterator<Item = String> {
    targets()
        .into_iter()
        .filter(|target| target.starts_with("mips"))
}

#[test]
fn what_has_no_std_builds_it_in_an_image_that_is_named() {
    assert_eq!(without_a_std().count(), 2);
    for name in without_a_std() {
        let target = target(&name);
        assert_eq!(
            target["build-std"],
            serde_json::json!(["std", "panic_abort"]),
            "{name}"
        );
        assert_eq!(target["image"], ":main", "{name}");
    }
}

#[test]
fn rustc_gets_the_flags_that_openwrt_build_gives() {
    let build = read("openwrt/build");
    for name in without_a_std() {
        let target = target(&name);
        let variable = name.to_uppercase().replace('-', "_");
        let given = target["env"]["passthrough"][0].as_str().unwrap();
        let flags = given
            .strip_prefix(&format!("CARGO_TARGET_{variable}_RUSTFLAGS="))
            .expect("the target's own variable");
        for flag in [
            "-Ctarget-feature=+crt-static",
            "-Crelocation-model=static",
            "-Clink-self-contained=no",
        ] {
            assert!(
                flags.split(' ').any(|given| given == flag),
                "{name}: {flag}"
            );
            assert!(build.contains(&format!("\n    {flag}\n")), "{flag}");
        }
        // The gcc of the image is called by the processor's name.
        let (processor, _) = name.split_once('-').unwrap();
        let command = target["pre-build"][0].as_str().unwrap();
        let gcc = format!("$({processor}-linux-muslsf-gcc ");
        assert!(command.contains(&gcc), "{command}");
    }
}

/// What every build for routers gets, whatever the target: the flags of rustc.
const FLAGS: [&str; 3] = [
    "-Cforce-unwind-tables=no",
    "--cfg=sha2_backend_soft=\"compact\"",
    "--cfg=getrandom_backend=\"linux_getrandom\"",
];

/// The files that say how a router's program is built.
struct Builds {
    cargo: String,
    openwrt_build: String,
    recipe: String,
    cross: String,
}

impl Builds {
    fn read() -> Self {
        Self {
            cargo: read("Cargo.toml"),
            openwrt_build: read("openwrt/build"),
            recipe: read("openwrt/Makefile"),
            cross: read("Cross.toml"),
        }
    }

    /// Where one of them builds another program than the others.
    fn differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut expect = |is_so: bool, what: String| {
            if !is_so {
                differences.push(what);
            }
        };

        // Only Cargo.toml has a profile: the recipe repeats it, and the others name it.
        let profile = Self::profile(&self.cargo);
        let options = options(&self.recipe);
        expect(
            options == profile,
            format!("recipe: {options:?}, not {profile:?}"),
        );
        let variables: Vec<&str> = words_with(&self.openwrt_build, "CARGO_PROFILE_R");
        let symbols = [
            "CARGO_PROFILE_ROUTER_STRIP=none",
            "CARGO_PROFILE_ROUTER_DEBUG=line-tables-only",
        ];
        expect(
            variables == symbols,
            format!("openwrt/build: {variables:?}"),
        );
        let (before, rest) = self.openwrt_build.split_once("--features names").unwrap();
        let (_laptops, after) = rest.split_once("\n  else\n").unwrap();
        for routers in [before, after] {
            let options = words_with(routers, "profile.r");
            // The level of std alone is left to each: the recipe takes the toolchain's std.
            let options: Vec<_> = options
                .iter()
                .filter(|word| !word.contains(".rustflags=") && !word.contains(".package.std."))
                .collect();
            expect(options.is_empty(), format!("openwrt/build: {options:?}"));
        }
        expect(
            self.openwrt_build.contains(" profile=router "),
            "openwrt/build: not the profile router".to_owned(),
        );
        expect(
            self.cross.contains(" --profile router "),
            "cross: not the profile router".to_owned(),
        );
        expect(
            !self.cross.contains("CARGO_PROFILE"),
            "cross: a profile of its own".to_owned(),
        );

        for (name, text) in [
            ("openwrt/build", [before, after].concat()),
            ("recipe", self.recipe.clone()),
            ("cross", self.cross.clone()),
        ] {
            expect(
                text.contains("--no-default-features"),
                format!("{name}: the default features"),
            );
            let names_some = text.contains(" --features") || text.contains("(--features");
            expect(!names_some, format!("{name}: features"));
            // Quotes stand in quotes, or behind backslashes.
            let text = text.replace('\\', "");
            for flag in FLAGS {
                expect(text.contains(flag), format!("{name}: no {flag}"));
            }
        }
        for target in targets() {
            let flags = flags(&self.cross, &target);
            for flag in FLAGS {
                let is_there = flags.split(' ').any(|given| given == flag);
                expect(is_there, format!("cross: no {flag} for {target}"));
            }
        }
        differences
    }

    /// The keys of `[profile.router]` and of the profile that it inherits, sorted, each as `key=value`.
    fn profile(cargo: &str) -> Vec<String> {
        let keys = |profile: &str| -> Vec<String> {
            let (_, keys) = cargo.split_once(&format!("\n[{profile}]\n")).unwrap();
            let (keys, _) = keys.split_once("\n\n").unwrap();
            keys.lines().map(|line| line.replace(" = ", "=")).collect()
        };
        let mut all = keys("profile.release");
        for key in keys("profile.router") {
            if key == "inherits=\"release\"" {
                continue;
            }
            let (name, _) = key.split_once('=').unwrap();
            all.retain(|inherited| !inherited.starts_with(&format!("{name}=")));
            all.push(key);
        }
        all.sort();
        all
    }
}

/// The same keys of the recipe's `--config` options.
fn options(recipe: &str) -> Vec<String> {
    let options = recipe.split("--config 'profile.release.").skip(1);
    let mut options: Vec<_> = options
        .map(|option| option.split('\'').next().unwrap().to_owned())
        .collect();
    options.sort();
    options
}

fn words_with<'a>(text: &'a str, part: &str) -> Vec<&'a str> {
    let words = text.split_whitespace();
    words.filter(|word| word.contains(part)).collect()
}

/// What cross passes to rustc for a target.
fn flags(cross: &str, target: &str) -> String {
    let file: Value = basic_toml::from_str(cross).unwrap();
    let variable = target.to_uppercase().replace('-', "_");
    let given = &file["target"][target]["env"]["passthrough"][0];
    let given = given.as_str().unwrap_or_default();
    let prefix = format!("CARGO_TARGET_{variable}_RUSTFLAGS=");
    given.strip_prefix(&prefix).unwrap_or_default().to_owned()
}

#[test]
fn all_three_ways_build_the_same_program() {
    assert_eq!(Builds::read().differences(), [""; 0]);
}

#[test]
fn a_way_that_drifts_is_seen() {
    type File = fn(&mut Builds) -> &mut String;
    let cargo: File = |builds| &mut builds.cargo;
    let build: File = |builds| &mut builds.openwrt_build;
    let recipe: File = |builds| &mut builds.recipe;
    let cross: File = |builds| &mut builds.cross;
    for (file, right, wrong, seen) in [
        (cargo, "lto = \"fat\"", "lto = \"thin\"", "recipe: "),
        (cargo, "codegen-units = 1\n", "", "recipe: "),
        (recipe, "panic=\"abort\"", "panic=\"unwind\"", "recipe: "),
        (
            recipe,
            "overflow-checks=false",
            "overflow-checks=true",
            "recipe: ",
        ),
        (recipe, "--no-default-features", "", "recipe: the default"),
        (
            recipe,
            "-features $",
            "-features --features names $",
            "recipe: features",
        ),
        (recipe, "-Cforce-unwind-tables=no", "", "recipe: no -Cforce"),
        (
            build,
            "--no-default-features",
            "",
            "openwrt/build: the default",
        ),
        (
            build,
            "export CARGO_PROFILE_ROUTER_STRIP",
            "export CARGO_PROFILE_ROUTER_LTO=thin CARGO_PROFILE_ROUTER_STRIP",
            "openwrt/build: ",
        ),
        (
            build,
            "-Zbuild-std-features=",
            "--config profile.router.opt-level=3 -Zbuild-std-features=",
            "openwrt/build: ",
        ),
        (
            build,
            "profile=router",
            "profile=release",
            "openwrt/build: not",
        ),
        (cross, "--profile router", "--release", "cross: not"),
        (cross, "--no-default-features", "", "cross: the default"),
        (
            cross,
            "sha2_backend_soft",
            "sha2_backend",
            "cross: no --cfg",
        ),
        (cross, "AARCH64", "AARCH", "for aarch64"),
    ] {
        let mut builds = Builds::read();
        let text = file(&mut builds);
        assert!(text.contains(right), "{right}");
        *text = text.replace(right, wrong);
        let differences = builds.differences();
        let is_seen = differences.iter().any(|found| found.contains(seen));
        assert!(is_seen, "{wrong}: {differences:?}");
    }
}

#[test]
fn there_is_one_file_and_it_has_the_name_that_cross_reads() {
    let names = fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let ours: Vec<String> = names
        .filter(|name| name.eq_ignore_ascii_case("cross.toml"))
        .collect();
    assert_eq!(ours, ["Cross.toml"]);
    assert!(!read("Cargo.toml").contains("metadata.cross"));
}
