//! Each target is called with each of its seeds.

use shimmer_fuzz::TARGETS;
use std::fs;
use std::path::Path;

#[test]
fn no_seed_makes_a_target_panic() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(name);
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|file| file.unwrap().path())
            .collect();
        assert!(!files.is_empty(), "{name} has no seed");
        files.sort();
        for file in files {
            println!("{}", file.display());
            target(&fs::read(file).unwrap());
        }
        target(&[]);
    }
}
