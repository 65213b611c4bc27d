use std::collections::{HashMap, HashSet};

/// Orders the given views, each after all that it reads. `reads` are pairs of a relation and one that reads it.
pub fn refresh_order(views: &[u32], reads: &[(u32, u32)]) -> Vec<u32> {
    let mut readers: HashMap<u32, Vec<u32>> = HashMap::new();
    for &(relation, reader) in reads {
        readers.entry(relation).or_default().push(reader);
    }
    let mut seen = HashSet::new();
    // The last view of the order is finished first.
    let mut finished = Vec::new();
    for &(relation, _) in reads {
        visit(relation, &readers, &mut seen, &mut finished);
    }
    let wanted: HashSet<u32> = views.iter().copied().collect();
    finished.into_iter().rev().filter(|relation| wanted.contains(relation)).collect()
}

/// Appends the relation after all that read it, directly or not. Views that read each other in a circle can be defined,
/// though not read; they end the descent. It may be deep, so that it has a stack of its own.
fn visit(relation: u32, readers: &HashMap<u32, Vec<u32>>, seen: &mut HashSet<u32>, finished: &mut Vec<u32>) {
    let readers_of = |relation| readers.get(&relation).map_or(&[][..], Vec::as_slice).iter();
    if !seen.insert(relation) {
        return;
    }
    let mut open = vec![(relation, readers_of(relation))];
    while let Some((relation, readers)) = open.last_mut() {
        match readers.next() {
            Some(&reader) if seen.insert(reader) => open.push((reader, readers_of(reader))),
            Some(_) => {}
            None => {
                finished.push(*relation);
                open.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_view_comes_after_what_it_reads() {
        // 1 is a table, 4 a plain view between two materialized ones.
        let reads = [(1, 2), (4, 3), (2, 4), (1, 3), (3, 5), (2, 5)];
        assert_eq!(refresh_order(&[5, 3, 2], &reads), [2, 3, 5]);
    }

    #[test]
    fn views_upon_views_upon_views() {
        let depth = 300_000;
        let reads: Vec<(u32, u32)> = (1..depth).map(|view| (view, view + 1)).collect();
        let views: Vec<u32> = (2..=depth).rev().collect();
        assert!(refresh_order(&views, &reads).into_iter().eq(2..=depth));
    }

    #[test]
    fn circles_end() {
        assert_eq!(refresh_order(&[3], &[(1, 2), (2, 2), (2, 3), (3, 2)]), [3]);
        assert!(refresh_order(&[], &[]).is_empty());
    }
}
