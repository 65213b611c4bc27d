use serde::{Deserialize, Serialize};

/// The pages of a table that one worker copies. A table that is not split has one part from page 0 to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub first_page: u32,
    /// The end, exclusive. `None` for the last part, which ends with the table, however much that has grown.
    pub end_page: Option<u32>,
}

impl Part {
    pub const WHOLE: Self = Self { first_page: 0, end_page: None };

    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }

    /// Returns the condition that selects this part's rows, for a server that scans ctid ranges (14 or newer).
    pub fn condition(&self) -> String {
        let first = format!("ctid >= '({},0)'::pg_catalog.tid", self.first_page);
        match self.end_page {
            Some(end) => format!("{first} AND ctid < '({end},0)'::pg_catalog.tid"),
            None => first,
        }
    }

    /// Returns how many pages of a table of `total` pages fall into this part; for estimates.
    pub fn pages(&self, total: u32) -> u32 {
        self.end_page.unwrap_or(total).min(total).saturating_sub(self.first_page)
    }
}

/// The limits of the size of parts, and the wanted number.
#[derive(Debug, Clone, Copy)]
pub struct PartLimits {
    pub workers: u32,
    pub smallest_pages: u32,
    pub largest_pages: u32,
}

impl PartLimits {
    /// 16 MB is worth a task of its own; 512 MB at most keep the workers evenly loaded to the end.
    pub fn for_workers(workers: u32) -> Self {
        Self { workers, smallest_pages: 2048, largest_pages: 65536 }
    }
}

/// The parts of a big table for each worker.
const PARTS_OF_A_WORKER: u32 = 4;

/// Joins parts, so that about one is left for each worker: where a part has much to do before its first row.
pub fn joined(parts: &[Part]) -> Vec<Part> {
    let joined =
        |parts: &[Part]| Some(Part { first_page: parts.first()?.first_page, end_page: parts.last()?.end_page });
    parts.chunks(PARTS_OF_A_WORKER as usize).filter_map(joined).collect()
}

/// Cuts a table of `pages` pages, which carry `toast_pages` more, into about four parts for each worker, so that all
/// finish at about the same time.
pub fn split(pages: u32, toast_pages: u32, limits: PartLimits) -> Vec<Part> {
    let all_pages = pages.saturating_add(toast_pages);
    let wanted = limits.workers.max(1).saturating_mul(PARTS_OF_A_WORKER);
    let size = all_pages.div_ceil(wanted).clamp(limits.smallest_pages, limits.largest_pages);
    if limits.workers <= 1 || all_pages < size.saturating_mul(2) || pages < 2 {
        return vec![Part::WHOLE];
    }
    let count = all_pages.div_ceil(size).min(pages);
    // All the same, the last one too.
    let size = pages.div_ceil(count);
    (0..count)
        .map(|part| Part { first_page: part * size, end_page: (part + 1 < count).then(|| (part + 1) * size) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_page_once_and_the_last_is_open() {
        for pages in [0, 1, 2047, 4096, 5000, 100_000, 10_000_000, u32::MAX] {
            for workers in [1, 2, 4, 16] {
                let parts = split(pages, pages / 3, PartLimits::for_workers(workers));
                assert_eq!(parts[0].first_page, 0);
                assert_eq!(parts.last().unwrap().end_page, None);
                for pair in parts.windows(2) {
                    assert_eq!(pair[0].end_page, Some(pair[1].first_page));
                }
                assert_eq!(parts.iter().map(|part| u64::from(part.pages(pages))).sum::<u64>(), pages.into());
            }
        }
    }

    #[test]
    fn joined_parts_cover_the_same_pages() {
        for workers in [2, 3, 8] {
            let parts = split(100_001, 0, PartLimits::for_workers(workers));
            let joined = joined(&parts);
            assert!(joined.len() <= workers as usize, "{} of {}", joined.len(), parts.len());
            assert_eq!((joined[0].first_page, joined.last().unwrap().end_page), (0, None));
            for pair in joined.windows(2) {
                assert_eq!(pair[0].end_page, Some(pair[1].first_page));
            }
        }
        assert_eq!(joined(&[Part::WHOLE]), [Part::WHOLE]);
    }

    #[test]
    fn small_tables_and_single_workers_are_not_split() {
        assert_eq!(split(3000, 0, PartLimits::for_workers(4)), [Part::WHOLE]);
        assert_eq!(split(1_000_000, 0, PartLimits::for_workers(1)), [Part::WHOLE]);
        assert!(split(100_000, 0, PartLimits::for_workers(4)).len() >= 8);
    }

    #[test]
    fn what_is_outside_of_the_rows_counts_too() {
        assert!(split(800, 100_000, PartLimits::for_workers(2)).len() >= 8);
        assert_eq!(split(1, 100_000, PartLimits::for_workers(2)), [Part::WHOLE]);
        let parts = split(3, 1_000_000, PartLimits::for_workers(2));
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[2].first_page, 2);
    }
}
