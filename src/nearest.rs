//! What somebody meant who wrote `prot`: the nearest of the words that exist.

/// The known word that is nearest to this one by edit distance; the first of several. None where
/// even the nearest has less than half in common with it: a far-fetched hint helps nobody.
///
/// It takes time in the product of the lengths; a word twice as long as the other is passed over.
#[must_use]
pub fn nearest<'a>(word: &str, mut known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest_of(word, &mut known)
}

/// The same for all kinds of iterators: one piece of code, not one for each.
fn nearest_of<'a>(word: &str, known: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut nearest = None;
    let mut fewest = usize::MAX;
    for candidate in known {
        let most = word.len().max(candidate.len()) / 2;
        if word.len().abs_diff(candidate.len()) <= most {
            let edits = distance(word.as_bytes(), candidate.as_bytes());
            if edits <= most && edits < fewest {
                (nearest, fewest) = (Some(candidate), edits);
            }
        }
    }
    nearest
}

/// How many edits lead from one word to the other. Leaving a byte out, putting one in, taking
/// another instead and swapping two neighbours are one edit each.
fn distance(a: &[u8], b: &[u8]) -> usize {
    // edits[i * width + j] leads from the first i bytes of a to the first j of b.
    let width = b.len() + 1;
    let mut edits = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let at = i * width + j;
            edits[at] = if i == 0 || j == 0 {
                i + j
            } else {
                let other = usize::from(a[i - 1] != b[j - 1]);
                let left_out = edits[at - width] + 1;
                let put_in = edits[at - 1] + 1;
                let replaced = edits[at - width - 1] + other;
                let least = left_out.min(put_in).min(replaced);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least.min(edits[at - 2 * width - 2] + 1)
                } else {
                    least
                }
            };
        }
    }
    edits[a.len() * width + b.len()]
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
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), edits, "{a} to {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), edits, "{b} to {a}");
        }
    }

    #[test]
    fn the_nearest_word_is_named_if_any_is_near() {
        let near = |word| {
            nearest(
                word,
                ["port", "period", "secret", "secret-file"].into_iter(),
            )
        };
        assert_eq!(near("prot"), Some("port"));
        assert_eq!(near("Port"), Some("port"));
        assert_eq!(near("perod"), Some("period"));
        assert_eq!(near("secretfile"), Some("secret-file"));
        assert_eq!(near("secrets"), Some("secret"));
        assert_eq!(near("umbrella"), None);
        assert_eq!(near(""), None);
        assert_eq!(nearest("port", core::iter::empty()), None);
    }

    #[test]
    fn a_word_of_a_megabyte_takes_no_time() {
        let long = "x".repeat(1 << 20);
        assert_eq!(nearest(&long, ["port"].into_iter()), None);
    }
}
