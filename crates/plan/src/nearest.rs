//! Names that somebody may have meant.

/// No name of a database object is longer; what a peer calls one may be.
const LONGEST: usize = 256;

/// The candidate that differs least from a word, if a few slips of the fingers can explain it.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>, interrupt: &dyn Fn()) -> Option<&'a str> {
    const FARTHEST: usize = 3;
    if word.len() > LONGEST {
        return None;
    }
    candidates
        .filter(|known| known.len() <= LONGEST && known.len().abs_diff(word.len()) <= FARTHEST)
        .map(|known| {
            interrupt();
            (distance(word, known), known)
        })
        .filter(|(distance, known)| *distance <= FARTHEST && distance * 2 < known.len())
        .min()
        .map(|(_, known)| known)
}

/// Insertions, deletions, replacements and exchanges of neighbours that lead from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut least = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_fingers() {
        let near = |word: &str| nearest(word, ["customer", "purchase", "Item", "log"].into_iter(), &|| ());
        assert_eq!(near("custmer"), Some("customer"));
        assert_eq!(near("pruchases"), Some("purchase"));
        assert_eq!(near("item"), Some("Item"));
        assert_eq!(near("cat"), None);
        assert_eq!(near("anything"), None);
        assert_eq!(near(&"a".repeat(100_000)), None);
    }
}
