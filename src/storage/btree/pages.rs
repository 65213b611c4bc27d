//! The pages of a B-tree, written from the left to the right as their keys come in order.
//!
//! The form is that of version 4 (`access/nbtree.h`, `nbtree/README`): a high key on every page but the last of its
//! level, pivot tuples cut to the columns that tell the neighbours apart, equal keys merged into posting lists.

use super::packing::Packing;
use crate::error::Error;
use crate::local::bindings;
use crate::storage::page::{LINE_POINTER_BYTES, PAGE_BYTES, PAGE_HEADER_BYTES, Page, Pages};
use crate::storage::relation_file::RelationFile;
use pgrx::pg_sys;
use std::mem::offset_of;

/// The place of a row in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) block: u32,
    pub(super) item: u16,
}

impl Place {
    /// Returns the place in the form of `ItemPointerData`.
    fn to_bytes(self) -> [u8; 6] {
        let [a, b] = ((self.block >> 16) as u16).to_ne_bytes();
        let [c, d] = (self.block as u16).to_ne_bytes();
        let [e, f] = self.item.to_ne_bytes();
        [a, b, c, d, e, f]
    }
}

/// The size of `BTPageOpaqueData`.
const SPECIAL: usize = 16;
const LEAF: u16 = 1;
const ROOT: u16 = 2;
/// `INDEX_ALT_TID_MASK`: the place holds something else.
const ALTERNATIVE_PLACE: u16 = 0x2000;
/// `BT_PIVOT_HEAP_TID_ATTR`, beside the number of columns.
const PIVOT_HAS_PLACE: u16 = 0x1000;
/// `BT_IS_POSTING`, beside the number of places.
const POSTING: u16 = 0x2000;
const PLACE_BYTES: usize = 6;
/// The greatest length of a posting list when an index is built.
const LONGEST_POSTING: usize = PAGE_BYTES / 10 / 8 * 8 - LINE_POINTER_BYTES;
/// `BTREE_NONLEAF_FILLFACTOR`.
const UPPER_FILL_FACTOR: usize = 70;
const PAGES_AT_ONCE: usize = 32;
const NO_BLOCK: u32 = 0;
/// `BTREE_MAGIC` and `BTREE_VERSION`, with which the meta page begins.
const MAGIC: u32 = 0x0005_3162;
const VERSION: u32 = 4;

const _: () = {
    assert!(
        PLACE_BYTES == size_of::<pg_sys::ItemPointerData>()
            && PLACE_BYTES == offset_of!(pg_sys::IndexTupleData, t_info)
    );
    assert!(NULLS as u32 == pg_sys::INDEX_NULL_MASK && SPECIAL.is_multiple_of(pg_sys::MAXIMUM_ALIGNOF as usize));
    assert!(LONGEST_POSTING < pg_sys::INDEX_SIZE_MASK as usize);
};

struct Level {
    page: Box<Page>,
    block: u32,
}

pub(super) struct TreeWriter<'a> {
    index: pg_sys::Relation,
    packing: &'a Packing,
    levels: Vec<Level>,
    next_block: u32,
    keep_free: usize,
    /// Room for the longest high key.
    high_key_bytes: usize,
    /// The key whose rows are being collected, its tuple, and their places.
    key: Option<u128>,
    tuple: Vec<u8>,
    places: Vec<Place>,
    most_places: usize,
    /// The last row on the leaf page that is being filled.
    last: Option<(u128, Place)>,
    output: Output,
}

/// Finished pages on their way to the file.
struct Output {
    file: RelationFile,
    pages: Pages,
    blocks: Vec<u32>,
}

impl Output {
    fn put(&mut self, page: &Page, block: u32) {
        self.pages.page(self.blocks.len()).bytes.copy_from_slice(&page.bytes);
        self.blocks.push(block);
        if self.blocks.len() == PAGES_AT_ONCE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        if !blocks.is_empty() {
            self.file.write(&mut self.pages, &blocks, |file, pages| file.log_images(pages, &blocks, true));
        }
    }
}

impl<'a> TreeWriter<'a> {
    /// # Safety
    /// The index is open and empty, and nobody else uses it.
    pub(super) unsafe fn new(index: pg_sys::Relation, packing: &'a Packing, unique: bool) -> Self {
        // SAFETY: promised by the caller.
        let (file, options) =
            unsafe { (RelationFile::new(index, pg_sys::ForkNumber::MAIN_FORKNUM), Options::of(index)) };
        let widest = packing.widest_tuple();
        Self {
            index,
            packing,
            levels: Vec::new(),
            // The first one is the meta page.
            next_block: 1,
            keep_free: PAGE_BYTES * (100 - options.fill_factor.clamp(10, 100)) / 100,
            high_key_bytes: widest + PLACE_BYTES.next_multiple_of(8),
            key: None,
            tuple: Vec::new(),
            places: Vec::new(),
            most_places: if unique || !options.deduplicate {
                1
            } else {
                (LONGEST_POSTING / 8 * 8 - widest) / PLACE_BYTES
            },
            last: None,
            output: Output { file, pages: Pages::new(PAGES_AT_ONCE), blocks: Vec::new() },
        }
    }

    /// Adds a row. Keys come in order, and the places of equal keys too.
    #[inline]
    pub(super) fn add(&mut self, key: u128, place: Place) {
        if self.key != Some(key) {
            self.write_collected();
            self.packing.form(key, self.packing.columns(), &mut self.tuple);
            self.key = Some(key);
        } else if self.places.len() >= self.most_places {
            self.write_collected();
        }
        self.places.push(place);
    }

    /// Adds the collected rows to the leaf page, as one tuple.
    fn write_collected(&mut self) {
        let (Some(key), Some(&first), Some(&last)) = (self.key, self.places.first(), self.places.last()) else {
            return;
        };
        let base = self.tuple.len();
        if self.places.len() == 1 {
            self.tuple[..PLACE_BYTES].copy_from_slice(&first.to_bytes());
        } else {
            for place in &self.places {
                self.tuple.extend_from_slice(&place.to_bytes());
            }
            self.tuple.resize(self.tuple.len().next_multiple_of(8), 0);
            let posting = Place { block: base as u32, item: self.places.len() as u16 | POSTING };
            self.tuple[..PLACE_BYTES].copy_from_slice(&posting.to_bytes());
            set_info(&mut self.tuple, ALTERNATIVE_PLACE);
        }
        self.add_to_leaf(key, last);
        // The key may have more rows than one tuple takes.
        self.tuple.truncate(base);
        set_info(&mut self.tuple, 0);
        self.places.clear();
    }

    fn add_to_leaf(&mut self, key: u128, last: Place) {
        if self.levels.is_empty() {
            let block = self.take_block();
            self.levels.push(Level { page: new_page(0, NO_BLOCK), block });
        }
        let needed = self.tuple.len() + LINE_POINTER_BYTES;
        let free = self.levels[0].page.free();
        let is_full = free < needed + self.high_key_bytes || free < self.keep_free;
        if is_full && let Some((last_key, last_place)) = self.last {
            let high_key = self.pivot(last_key, key, last_place);
            self.start_next_page(0, &high_key);
        }
        self.levels[0].page.add(&self.tuple);
        self.last = Some((key, last));
    }

    /// Returns the tuple that separates two neighbours: no more columns than tell them apart, and the place of the left
    /// one if they are equal.
    fn pivot(&self, left: u128, right: u128, left_place: Place) -> Vec<u8> {
        let columns = self.packing.columns();
        let mut pivot = Vec::new();
        let kept = (self.packing.first_difference(left, right) + 1).min(columns);
        self.packing.form(right, kept, &mut pivot);
        let mut about = kept as u16;
        if left == right {
            pivot.resize(pivot.len() + PLACE_BYTES.next_multiple_of(8), 0);
            let end = pivot.len();
            pivot[end - PLACE_BYTES..].copy_from_slice(&left_place.to_bytes());
            about |= PIVOT_HAS_PLACE;
        }
        pivot[..PLACE_BYTES].copy_from_slice(&Place { block: NO_BLOCK, item: about }.to_bytes());
        set_info(&mut pivot, ALTERNATIVE_PLACE);
        pivot
    }

    /// Ends the page that is being filled on a level with its high key, and begins the page to its right.
    fn start_next_page(&mut self, level: usize, high_key: &[u8]) {
        let next = self.take_block();
        let current = &mut self.levels[level];
        current.page.place(0, high_key);
        set_next(&mut current.page, next);
        self.output.put(&current.page, current.block);
        let finished = current.block;
        current.page = new_page(level, finished);
        current.block = next;
        self.add_to_parent(level + 1, finished, high_key, next);
    }

    /// Adds a new page, and the key that separates it from its left neighbour, to the level above.
    fn add_to_parent(&mut self, level: usize, left: u32, pivot: &[u8], right: u32) {
        if self.levels.len() == level {
            let block = self.take_block();
            let mut page = new_page(level, NO_BLOCK);
            page.add(&leftmost(left));
            self.levels.push(Level { page, block });
        }
        let needed = pivot.len() + LINE_POINTER_BYTES;
        let free = self.levels[level].page.free();
        let keep_free = PAGE_BYTES * (100 - UPPER_FILL_FACTOR) / 100;
        if free < needed + self.high_key_bytes || free < keep_free {
            self.start_next_page(level, pivot);
            self.levels[level].page.add(&leftmost(right));
        } else {
            let mut downlink = pivot.to_vec();
            let block = Place { block: right, item: 0 }.to_bytes();
            downlink[..4].copy_from_slice(&block[..4]);
            self.levels[level].page.add(&downlink);
        }
    }

    fn take_block(&mut self) -> u32 {
        let block = self.next_block;
        self.next_block += 1;
        block
    }

    /// Writes the remaining pages, the root and the meta page.
    pub(super) fn finish(mut self) {
        self.write_collected();
        let (mut root, mut height) = (NO_BLOCK, 0);
        let levels = std::mem::take(&mut self.levels);
        let top = levels.len().saturating_sub(1);
        for (level, Level { mut page, block }) in levels.into_iter().enumerate() {
            // The last page of a level has no high key.
            page.drop_first_line_pointer();
            if level == top {
                add_flag(&mut page, ROOT);
                (root, height) = (block, level as u32);
            }
            self.output.put(&page, block);
        }
        let mut meta = Box::new(Page { bytes: [0; PAGE_BYTES] });
        // SAFETY: the index is open.
        unsafe { initialize_meta_page(self.index, &mut meta, root, height) };
        self.output.put(&meta, 0);
        self.output.flush();
    }
}

/// `INDEX_NULL_MASK`
const NULLS: u16 = 0x8000;

fn set_info(tuple: &mut [u8], flags: u16) {
    let had = u16::from_ne_bytes([tuple[6], tuple[7]]);
    let info = tuple.len() as u16 | had & NULLS | flags;
    tuple[6..8].copy_from_slice(&info.to_ne_bytes());
}

/// Returns the first tuple of an inner page, which is lower than every key.
fn leftmost(child: u32) -> [u8; 8] {
    let [a, b, c, d, e, f] = Place { block: child, item: 0 }.to_bytes();
    let [g, h] = (8 | ALTERNATIVE_PLACE).to_ne_bytes();
    [a, b, c, d, e, f, g, h]
}

fn new_page(level: usize, left: u32) -> Box<Page> {
    let mut page = Box::new(Page { bytes: [0; PAGE_BYTES] });
    page.initialize(SPECIAL, 0);
    // For the high key.
    page.skip_line_pointer();
    let special = &mut page.bytes[PAGE_BYTES - SPECIAL..];
    special[0..4].copy_from_slice(&left.to_ne_bytes());
    special[8..12].copy_from_slice(&(level as u32).to_ne_bytes());
    if level == 0 {
        add_flag(&mut page, LEAF);
    }
    page
}

fn set_next(page: &mut Page, next: u32) {
    let special = &mut page.bytes[PAGE_BYTES - SPECIAL..];
    special[4..8].copy_from_slice(&next.to_ne_bytes());
}

fn add_flag(page: &mut Page, flag: u16) {
    let special = &mut page.bytes[PAGE_BYTES - SPECIAL..];
    let flags = u16::from_ne_bytes([special[12], special[13]]) | flag;
    special[12..14].copy_from_slice(&flags.to_ne_bytes());
}

/// Storage parameters of a B-tree.
struct Options {
    fill_factor: usize,
    deduplicate: bool,
}

impl Options {
    /// Reads `BTOptions` (`access/nbtree.h`), or returns the defaults.
    ///
    /// # Safety
    /// The relation is an open B-tree.
    unsafe fn of(index: pg_sys::Relation) -> Self {
        #[repr(C)]
        struct Stored {
            length: i32,
            fill_factor: i32,
            cleanup_scale_factor: f64,
            deduplicate: bool,
        }
        // SAFETY: promised by the caller; the options of a B-tree have that form.
        unsafe {
            let stored = (*index).rd_options.cast::<Stored>();
            if stored.is_null() {
                // `BTREE_DEFAULT_FILLFACTOR`
                Self { fill_factor: 90, deduplicate: true }
            } else {
                Self { fill_factor: (*stored).fill_factor as usize, deduplicate: (*stored).deduplicate }
            }
        }
    }
}

/// Fills the meta page, which the server writes itself: its version is that of the form that the server reads. Raises an error
/// where that is not the form of the other pages.
///
/// # Safety
/// The index is an open B-tree.
unsafe fn initialize_meta_page(index: pg_sys::Relation, page: &mut Page, root: u32, level: u32) {
    // SAFETY: promised by the caller; a whole page.
    unsafe {
        let page = page.bytes.as_mut_ptr().cast();
        bindings::_bt_initmetapage(page, root, level, bindings::_bt_allequalimage(index, false));
    }
    let content = &page.bytes[PAGE_HEADER_BYTES..];
    let word = |at: usize| content[at..].first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    if (word(0), word(4)) != (Some(MAGIC), Some(VERSION)) {
        Error::internal("the server's B-trees have a form that pgcopy does not know")
            .hint("With pgcopy.own_storage = off the server builds every index itself.")
            .raise();
    }
}
