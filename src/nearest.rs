//! The known word that was meant by a misspelt one: port for prot.

use strsim::osa_distance;

/// The known word that takes the fewest edits to become this one; the first of several. An edit
/// deletes, inserts or replaces a letter, or swaps two neighbours. None if even that word takes more
/// edits than half the letters of the longer one, because a far-fetched hint does not help.
///
/// The time grows with the product of the lengths, but words of very different lengths are skipped.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let most = |candidate: &str| word.len().max(candidate.len()) / 2;
    known
        .iter()
        .copied()
        .filter(|candidate| word.len().abs_diff(candidate.len()) <= most(candidate))
        .map(|candidate| (osa_distance(word, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= most(candidate))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_edit_counts_once() {
        for (a, b, edits) in [
            ("port", "port", 0),
            ("prt", "port", 1),
            ("porrt", "port", 1),
            ("part", "port", 1),
            ("prot", "port", 1),
            ("", "port", 4),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(osa_distance(a, b), edits, "{a} to {b}");
            assert_eq!(osa_distance(b, a), edits, "{b} to {a}");
        }
    }

    #[test]
    fn the_nearest_word_is_named_if_any_is_near() {
        let near = |word| nearest(word, &["port", "period", "secret", "secret-file"]);
        assert_eq!(near("prot"), Some("port"));
        assert_eq!(near("Port"), Some("port"));
        assert_eq!(near("perod"), Some("period"));
        assert_eq!(near("secretfile"), Some("secret-file"));
        assert_eq!(near("secrets"), Some("secret"));
        assert_eq!(near("umbrella"), None);
        assert_eq!(near(""), None);
        assert_eq!(nearest("port", &[]), None);
    }

    #[test]
    fn a_word_of_a_megabyte_takes_no_time() {
        let long = "x".repeat(1 << 20);
        assert_eq!(nearest(&long, &["port"]), None);
    }
}
