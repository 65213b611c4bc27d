//! The rows of a row group, a batch at a time, whose size in memory is known before its columns are decoded.

use crate::error::{Error, Result, too_large};
use crate::pages::Demand;
use crate::source::Source;
use crate::{ColumnPages, Limits, Reports};
use arrow_array::RecordBatch;
use parquet::arrow::FieldLevels;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::basic::Type;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::ColumnDescriptor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Uncompressed bytes that a batch should have, and its rows at most.
const BATCH_BYTES: u64 = 8 << 20;
const MOST_ROWS: u64 = 8192;

/// What the rows of a batch may take. Rows can be longer than those of their row group are on average.
const MOST_BATCH_BYTES: u64 = 8 * BATCH_BYTES;
/// How much smaller batches become where that is not enough. A power of two, so that old batches end where new ones do.
const SHRINKS_BY: usize = 8;

/// The rows of one row group, some thousands at a time.
pub struct Batches {
    reader: Option<ParquetRecordBatchReader>,
    levels: FieldLevels,
    group: OneRowGroup,
    /// Of a batch.
    rows: usize,
    /// Rows of the batches so far.
    given: usize,
}

impl Batches {
    /// Reads the leaves that `levels` holds, which are those of these positions.
    ///
    /// # Errors
    /// When the first pages cannot be read. Each error names the column if it is about one.
    pub fn open(
        source: Arc<dyn Source>,
        metadata: Arc<ParquetMetaData>,
        row_group: usize,
        levels: FieldLevels,
        leaves: impl Iterator<Item = usize>,
        limits: Limits,
    ) -> Result<Self> {
        let rows = first_batch_rows(&metadata.row_groups()[row_group], leaves);
        let group = OneRowGroup {
            metadata,
            row_group,
            source,
            limits,
            reports: Reports::default(),
            budget: Arc::new(Budget::new(&limits)),
        };
        let mut batches = Batches { reader: None, levels, group, rows, given: 0 };
        batches.start()?;
        Ok(batches)
    }

    /// # Errors
    /// When a row of the batch cannot be read. Each error names the column if it is about one.
    #[expect(clippy::should_implement_trait, reason = "an iterator of results would have to end after an error")]
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let error = match self.next_of_reader() {
                Ok(batch) => {
                    self.given += batch.as_ref().map_or(0, RecordBatch::num_rows);
                    return Ok(batch);
                }
                Err(error) => error,
            };
            if !self.group.budget.is_spent() || self.rows == 1 {
                return Err(error);
            }
            self.rows = (self.rows / SHRINKS_BY).max(1);
            self.start()?;
            // The reader has no way back, and none forth that would be shorter for every column.
            let mut passed = 0;
            while passed < self.given {
                match self.next_of_reader()? {
                    Some(batch) => passed += batch.num_rows(),
                    None => break,
                }
            }
            if passed != self.given {
                return Err(Error::Malformed("batches of another size end elsewhere".into()));
            }
        }
    }

    /// The rows of the batches so far.
    pub fn given(&self) -> usize {
        self.given
    }

    /// From the first row on.
    fn start(&mut self) -> Result<()> {
        self.reader = None;
        self.group.budget.start(self.rows);
        let (levels, group, rows) = (&self.levels, &self.group, self.rows);
        let reader = guarded(|| Ok(ParquetRecordBatchReader::try_new_with_row_groups(levels, group, rows, None)?));
        self.reader = Some(reader.map_err(|error| self.first_reported(error))?);
        Ok(())
    }

    fn next_of_reader(&mut self) -> Result<Option<RecordBatch>> {
        self.group.budget.begin_batch(self.given)?;
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let next = guarded(|| reader.next().transpose().map_err(|error| Error::from(ParquetError::from(error))));
        next.map_err(|error| self.first_reported(error))
    }

    /// What was found in the pages, or else what the decoders made of it.
    fn first_reported(&self, error: Error) -> Error {
        let reported = self.group.reports.lock().unwrap_or_else(PoisonError::into_inner).take();
        reported.unwrap_or(error)
    }
}

/// Runs code of the `parquet` crate, which may panic on what it did not expect.
///
/// # Errors
/// That of the code, or that the content contradicts itself.
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        // What a source throws to get out of waiting is not the file's fault.
        if !panic.is::<String>() && !panic.is::<&str>() {
            std::panic::resume_unwind(panic);
        }
        Err(Error::Malformed("its content contradicts itself".into()))
    })
}

/// A power of two.
fn first_batch_rows(group: &RowGroupMetaData, leaves: impl Iterator<Item = usize>) -> usize {
    let bytes = u64::try_from(group.total_byte_size()).unwrap_or(0);
    let average = bytes / u64::try_from(group.num_rows()).unwrap_or(0).max(1);
    // A NULL of such a type takes as much as a value.
    let fixed = leaves.fold(0_u64, |sum, leaf| sum.saturating_add(fixed_bytes(group.column(leaf).column_descr())));
    let rows = (BATCH_BYTES / average.max(fixed).max(1)).clamp(1, MOST_ROWS);
    1 << rows.ilog2()
}

/// The length of a value of fixed length, which is no number.
fn fixed_bytes(leaf: &ColumnDescriptor) -> u64 {
    match leaf.physical_type() {
        Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(leaf.type_length()).unwrap_or(0),
        Type::INT96 => 12,
        _ => 0,
    }
}

/// What a value takes in an array, without what it has in the page or as a copy of its own: a view or what is longer, its
/// levels, and the place in each of the lists around it.
fn array_bytes(leaf: &ColumnDescriptor) -> u64 {
    const VIEW: u64 = 16;
    const LEVELS: u64 = 4;
    const OFFSET: u64 = 8;
    let repeated = u64::try_from(leaf.max_rep_level()).unwrap_or(0);
    fixed_bytes(leaf).max(VIEW) + LEVELS + OFFSET * repeated
}

/// What the pages of a row group and the rows of a batch take.
struct Budget {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of a batch.
    rows: u64,
    /// Rows of the batches before.
    given: usize,
    leaves: Vec<Leaf>,
    /// By the rows of the batch so far.
    taken: u64,
    /// Of that, what memory is known to be there for.
    asked: u64,
    spent: bool,
}

/// What there is of one column.
struct Leaf {
    array_bytes: u64,
    page: Demand,
    dictionary_bytes: u64,
}

impl Leaf {
    /// What a batch of so many rows takes of the page at most.
    fn demand(&self, rows: u64) -> u64 {
        let values = self.page.values.min(rows.saturating_mul(self.page.longest_row));
        let copied = values.saturating_mul(self.page.copied_bytes).min(self.page.all_copied_bytes);
        values.saturating_mul(self.array_bytes).saturating_add(copied)
    }
}

impl Budget {
    fn new(limits: &Limits) -> Self {
        Self { limits: *limits, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, rows: usize) {
        *self.state() = State { rows: rows as u64, ..State::default() };
    }

    /// Returns the number of the column from here on.
    fn add_leaf(&self, leaf: &ColumnDescriptor) -> usize {
        let mut state = self.state();
        state.leaves.push(Leaf { array_bytes: array_bytes(leaf), page: Demand::default(), dictionary_bytes: 0 });
        state.leaves.len() - 1
    }

    /// The rows of the new batch begin in the pages that are there.
    fn begin_batch(&self, given: usize) -> Result<()> {
        let mut state = self.state();
        let rows = state.rows;
        state.given = given;
        state.asked = 0;
        state.taken = state.leaves.iter().fold(0, |sum, leaf| sum.saturating_add(leaf.demand(rows)));
        let taken = state.taken;
        self.refuse_too_much(&mut state)?;
        state.asked = taken;
        self.ask(&state, taken)
    }

    fn dictionary(&self, leaf: usize, bytes: usize) -> Result<()> {
        let mut state = self.state();
        state.leaves[leaf].dictionary_bytes = bytes as u64;
        self.refuse_to_hold_too_much(&state)
    }

    /// A page takes the place of the one before, which the batch still refers to.
    fn page(&self, leaf: usize, page: Demand) -> Result<()> {
        let mut state = self.state();
        let rows = state.rows;
        let before = std::mem::replace(&mut state.leaves[leaf].page, page);
        self.refuse_to_hold_too_much(&state)?;
        let demand = state.leaves[leaf].demand(rows).saturating_add(before.held_bytes);
        state.taken = state.taken.saturating_add(demand);
        self.refuse_too_much(&mut state)?;
        if state.taken > state.asked {
            const STEP: u64 = 16 << 20;
            state.asked = state.taken.next_multiple_of(STEP);
            self.ask(&state, state.asked)?;
        }
        Ok(())
    }

    fn ask(&self, state: &State, bytes: u64) -> Result<()> {
        let asked = self.limits.ask(batch_bytes(bytes));
        asked.map_err(|error| error.at(format_args!("row {} of the row group and what follows", state.given + 1)))
    }

    fn refuse_too_much(&self, state: &mut State) -> Result<()> {
        let is_one_row = state.rows == 1;
        let limit = if is_one_row { self.limits.row_bytes } else { MOST_BATCH_BYTES };
        if state.taken <= limit {
            return Ok(());
        }
        state.spent = true;
        let what = if is_one_row { format!("row {} of the row group", state.given + 1) } else { "a batch".into() };
        too_large(format!("{what} takes more than {limit} bytes"))
    }

    fn refuse_to_hold_too_much(&self, state: &State) -> Result<()> {
        let bytes = state.leaves.iter().map(|leaf| leaf.page.held_bytes + leaf.dictionary_bytes).sum::<u64>();
        if bytes > self.limits.held_bytes {
            return too_large(format!("the pages of all columns have more than {} bytes", self.limits.held_bytes));
        }
        Ok(())
    }

    fn is_spent(&self) -> bool {
        self.state().spent
    }
}

/// Lists are copied when some of them are empty, and buffers grow by doubling.
fn batch_bytes(taken: u64) -> usize {
    usize::try_from(taken.saturating_mul(3)).unwrap_or(usize::MAX)
}

/// Pages that are counted against the budget.
struct CountedPages {
    pages: ColumnPages,
    budget: Arc<Budget>,
    leaf: usize,
}

impl PageReader for CountedPages {
    fn get_next_page(&mut self) -> parquet::errors::Result<Option<Page>> {
        let Some(page) = self.pages.get_next_page()? else { return Ok(None) };
        let counted = if page.is_data_page() {
            self.budget.page(self.leaf, self.pages.demand())
        } else {
            self.budget.dictionary(self.leaf, page.buffer().len())
        };
        match counted {
            Ok(()) => Ok(Some(page)),
            Err(error) => Err(self.pages.refuse(error)),
        }
    }

    fn peek_next_page(&mut self) -> parquet::errors::Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> parquet::errors::Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> parquet::errors::Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for CountedPages {
    type Item = parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// The `parquet` crate's view of one row group, whose pages are read with bounds.
struct OneRowGroup {
    metadata: Arc<ParquetMetaData>,
    row_group: usize,
    source: Arc<dyn Source>,
    limits: Limits,
    reports: Reports,
    budget: Arc<Budget>,
}

impl RowGroups for OneRowGroup {
    fn num_rows(&self) -> usize {
        usize::try_from(self.metadata.row_group(self.row_group).num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, leaf: usize) -> parquet::errors::Result<Box<dyn PageIterator>> {
        let column = self.metadata.row_group(self.row_group).column(leaf);
        let pages = ColumnPages::new(Arc::clone(&self.source), column, self.limits);
        let pages = pages.map_err(|error| {
            let text = error.to_string();
            self.reports.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            ParquetError::General(text)
        })?;
        let writer = self.metadata.file_metadata().created_by();
        let counted = CountedPages {
            pages: pages.written_by(writer).report_to(Arc::clone(&self.reports)),
            budget: Arc::clone(&self.budget),
            leaf: self.budget.add_leaf(column.column_descr()),
        };
        Ok(Box::new(OneChunk(Some(Box::new(counted)))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.row_group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

struct OneChunk(Option<Box<dyn PageReader>>);

impl Iterator for OneChunk {
    type Item = parquet::errors::Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for OneChunk {}
