use super::TablePair;
use plan::catalog::MOST_BRANCHES;
use std::ops::Range;

/// Bigger tables have queries of their own. In pages of 8 kB.
pub(super) const MOST_PAGES: i64 = 1000;

/// The longest run of tables whose summaries one query computes: small ones of one owner. A big table has a query of its
/// own.
pub(super) fn batches(pairs: &[TablePair]) -> Vec<Range<usize>> {
    /// Bounds the length of a query's text.
    const MOST_COLUMNS: usize = 2000;
    let mut batches: Vec<Range<usize>> = Vec::new();
    let (mut pages, mut columns) = (0_i64, 0);
    for (position, pair) in pairs.iter().enumerate() {
        let width = pair.columns.as_ref().map_or(1, |columns| columns.len().max(1));
        match batches.last_mut() {
            Some(batch)
                if pairs[batch.start].owner == pair.owner
                    && pages.saturating_add(pair.pages) <= MOST_PAGES
                    && columns + width <= MOST_COLUMNS
                    && batch.len() < MOST_BRANCHES =>
            {
                batch.end = position + 1;
                pages = pages.saturating_add(pair.pages);
                columns += width;
            }
            _ => {
                batches.push(position..position + 1);
                (pages, columns) = (pair.pages, width);
            }
        }
    }
    batches
}
