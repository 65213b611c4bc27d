#![forbid(unsafe_code)]
//! An interruptible sort of gigabytes in place.
//!
//! The standard library's sort is as fast as any, but does not return before it is done. So long slices are cut here,
//! as in quicksort, into pieces that take a moment each, and a function of the caller is called between them.

/// The most entries that are sorted at once.
const PIECE: usize = 1 << 20;
/// The number of entries that are visited between two calls of the function.
const STRIDE: usize = 1 << 16;
/// The number of candidates for the pivot.
const SAMPLE: usize = 63;

/// Sorts the entries, and calls `interrupt` every few milliseconds. If it panics, the entries are left in any order.
pub fn sort<E: Copy + Ord>(entries: &mut [E], interrupt: &mut dyn FnMut()) {
    sort_pieces(entries, PIECE, interrupt);
}

fn sort_pieces<E: Copy + Ord>(entries: &mut [E], piece: usize, interrupt: &mut dyn FnMut()) {
    if entries.len() <= piece || run_from_start(entries, interrupt) == entries.len() {
        interrupt();
        // A sorted run is recognized there too, but nobody can interrupt the search for it.
        return if entries.len() <= piece { entries.sort_unstable() } else { turn_upwards(entries, interrupt) };
    }
    let mut state = entries.len() as u64;
    cut(entries, piece, &mut state, interrupt);
}

/// Returns the length of the ascending or strictly descending run at the beginning of the entries.
fn run_from_start<E: Ord>(entries: &[E], interrupt: &mut dyn FnMut()) -> usize {
    let [first, second, ..] = entries else { return entries.len() };
    let descending = second < first;
    let mut length = 2;
    while length < entries.len() {
        interrupt();
        let end = (length + STRIDE).min(entries.len());
        let window = &entries[length - 1..end];
        let breaks = window.windows(2).position(|pair| if descending { pair[1] >= pair[0] } else { pair[1] < pair[0] });
        match breaks {
            Some(position) => return length + position,
            None => length = end,
        }
    }
    length
}

/// Reverses entries that are sorted in the wrong direction.
fn turn_upwards<E: Ord>(entries: &mut [E], interrupt: &mut dyn FnMut()) {
    if entries.first() > entries.last() {
        let middle = entries.len() / 2;
        let (low, high) = entries.split_at_mut(middle);
        for (low, high) in low.chunks_mut(STRIDE).zip(high.rchunks_mut(STRIDE)) {
            interrupt();
            low.iter_mut().zip(high.iter_mut().rev()).for_each(|(low, high)| std::mem::swap(low, high));
        }
    }
}

fn cut<E: Copy + Ord>(mut entries: &mut [E], piece: usize, state: &mut u64, interrupt: &mut dyn FnMut()) {
    while entries.len() > piece {
        let pivot = middle_of_sample(entries, state);
        let less = partition(entries, |entry| *entry < pivot, interrupt);
        // Where no entry is less than the pivot, those that equal it are in their places.
        let (low, high) = entries.split_at_mut(less);
        let equal = if less == 0 { partition(high, |entry| *entry <= pivot, interrupt) } else { 0 };
        let high = &mut high[equal..];
        // The shorter part comes first, so that the stack stays low.
        let (short, long) = if low.len() < high.len() { (low, high) } else { (high, low) };
        cut(short, piece, state, interrupt);
        entries = long;
    }
    interrupt();
    entries.sort_unstable();
}

/// Chooses a pivot. Any entry will do, but one from the middle makes for less work. The candidates are unpredictable.
fn middle_of_sample<E: Copy + Ord>(entries: &[E], state: &mut u64) -> E {
    let mut sample = [entries[0]; SAMPLE];
    for place in &mut sample {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *place = entries[(*state >> 32) as usize % entries.len()];
    }
    sample.sort_unstable();
    sample[SAMPLE / 2]
}

/// Moves the entries that are to come first to the front, and returns their number. There is no branch for each entry,
/// which no processor could predict.
fn partition<E: Copy>(entries: &mut [E], first: impl Fn(&E) -> bool, interrupt: &mut dyn FnMut()) -> usize {
    let mut front = 0;
    let mut start = 0;
    while start < entries.len() {
        interrupt();
        let end = (start + STRIDE).min(entries.len());
        for position in start..end {
            let entry = entries[position];
            entries.swap(position, front);
            front += usize::from(first(&entry));
        }
        start = end;
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(count: usize, below: u64) -> Vec<u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 20) % below
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn whatever_the_order_was() {
        let shapes: Vec<(&str, Vec<u64>)> = vec![
            ("nothing", vec![]),
            ("one", vec![7]),
            ("random", random(50_000, u64::MAX >> 20)),
            ("few values", random(50_000, 3)),
            ("all the same", vec![5; 50_000]),
            ("ascending", (0..50_000).collect()),
            ("descending", (0..50_000).rev().collect()),
            ("descending, of odd length", (0..50_001).rev().collect()),
            ("descending with equals", (0..50_000).rev().map(|number| number / 2).collect()),
            ("nearly ascending", (0..50_000).map(|number| if number == 49_999 { 0 } else { number }).collect()),
            ("two runs", (0..25_000).chain(0..25_000).collect()),
            ("a saw", (0..50_000).map(|number| number % 100).collect()),
            ("an organ pipe", (0..25_000).chain((0..25_000).rev()).collect()),
        ];
        for (shape, entries) in shapes {
            let mut expected = entries.clone();
            expected.sort_unstable();
            for piece in [1, 2, 100, 1_000_000] {
                let mut sorted = entries.clone();
                sort_pieces(&mut sorted, piece, &mut || ());
                assert!(sorted == expected, "{shape}, pieces of {piece}");
            }
        }
    }

    #[test]
    fn interrupts_are_looked_for_all_the_time() {
        let count = 8 * STRIDE;
        for mut entries in
            [random(count, u64::MAX >> 20), (0..count as u64).collect(), (0..count as u64).rev().collect()]
        {
            let mut asked = 0;
            sort_pieces(&mut entries, 1000, &mut || asked += 1);
            assert!(asked >= count / STRIDE, "{asked}");
        }
        // And obeyed.
        let mut entries = random(count, 1000);
        let mut asked = 0;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            sort_pieces(&mut entries, 1000, &mut || {
                asked += 1;
                assert!(asked < 5, "canceled");
            });
        }));
        assert!(outcome.is_err());
        // No entry is lost.
        let (mut one, mut other) = (entries, random(count, 1000));
        one.sort_unstable();
        other.sort_unstable();
        assert!(one == other);
    }
}
