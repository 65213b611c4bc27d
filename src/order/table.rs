use crate::local::catalog::{Check, ColumnOptions, ExtendedStatistics, Generated, Index, Virtual};
use crate::local::new_tables::NewTable;
use plan::ColumnPair;
use serde::{Deserialize, Serialize};

/// A target whose rows go into a stage table first, with all facts for loading, indexing and checking that table.
#[derive(Clone, Serialize, Deserialize)]
pub struct TableSpec {
    pub target: u32,
    pub owner: u32,
    pub schema: String,
    pub name: String,
    /// The columns that the rows have values for, in the order of those values.
    pub columns: Vec<ColumnPair>,
    /// The size of the rows to be loaded, TOAST included, for estimates.
    pub pages: u32,
    pub indexes: Vec<Index>,
    pub checks: Vec<Check>,
    /// Set where rows could arrive that do not belong into this partition.
    pub checks_bounds: bool,
    pub generated: Vec<Generated>,
    /// The defaults of columns that the rows do not have.
    pub defaults: Vec<Generated>,
    pub column_options: Vec<ColumnOptions>,
    pub extended_statistics: Vec<ExtendedStatistics>,
    pub virtuals: Vec<Virtual>,
    /// Whether rows may be too long for a page, as far as is known before they arrive.
    pub expects_long_rows: bool,
    /// How many tasks share the columns between them for ANALYZE.
    pub analyze_slices: usize,
    /// Set where other processes do not see the target as the leader's transaction has made or changed it.
    pub new_table: Option<NewTable>,
    pub leader: LeaderWork,
    /// A digest of its rows, as an expression that both sides compute alike; `None` where they are not compared.
    pub digest: Option<String>,
    /// Set where the rows of the stage table are merged into the target, which keeps its storage. The owner is the role that merges
    /// them then, and the only index is the key that tells rows apart.
    pub merges: bool,
}

/// The work for a table that the leader alone can do: it needs something that other processes do not see, because the
/// leader's transaction has made or changed it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderWork {
    pub does_all: bool,
    /// Set where the rows go into the target itself: the leader's transaction has made it, and it is empty.
    pub fills_target: bool,
    /// Positions of indexes that the leader makes and builds.
    pub indexes: Vec<usize>,
    pub analyzes: bool,
}

impl LeaderWork {
    pub fn builds(&self, index: usize) -> bool {
        self.does_all || self.indexes.contains(&index)
    }
}

/// A target that is loaded in place.
#[derive(Clone, Serialize, Deserialize)]
pub struct InPlaceTable {
    pub schema: String,
    pub name: String,
    /// The size of the source's table, TOAST included.
    pub pages: u32,
}

/// The OIDs of a stage table and of its indexes, in the order of [`TableSpec::indexes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub heap: u32,
    pub indexes: Vec<u32>,
}

/// The rows and bytes that one load has stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loaded {
    pub rows: u64,
    /// Bytes of the COPY stream, or of the files.
    pub bytes: u64,
}

/// What a merge has done with the staged rows, and with those that were there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
    /// Staged rows that changed nothing.
    pub unchanged: u64,
}

impl TableSpec {
    /// A table that is read where it is, and not replaced.
    pub fn read_in_place(target: u32, owner: u32, schema: String, name: String, pages: u32) -> Self {
        Self {
            target,
            owner,
            schema,
            name,
            columns: Vec::new(),
            pages,
            indexes: Vec::new(),
            checks: Vec::new(),
            checks_bounds: false,
            generated: Vec::new(),
            defaults: Vec::new(),
            column_options: Vec::new(),
            extended_statistics: Vec::new(),
            virtuals: Vec::new(),
            expects_long_rows: false,
            analyze_slices: 0,
            new_table: None,
            leader: LeaderWork::default(),
            digest: None,
            merges: false,
        }
    }

    pub fn qualified_name(&self) -> String {
        plan::qualified(&self.schema, &self.name)
    }

    /// Returns the columns of one slice; none, which means all, where there is one slice only.
    pub fn analyzed_columns(&self, slice: usize) -> &[ColumnPair] {
        if self.analyze_slices == 1 {
            return &[];
        }
        self.columns.chunks(self.columns.len().div_ceil(self.analyze_slices)).nth(slice).unwrap_or(&[])
    }

    /// Returns the number of slices. The statistics of a wide table take longer than its rows, so that the workers
    /// share its columns; each takes a sample of its own. A table that is alone would leave workers idle otherwise.
    /// Expressions of indexes and extended statistics are only computed together with all columns.
    pub fn share_analyze(&mut self, workers: usize, is_alone: bool) {
        const FEWEST_COLUMNS: usize = 100;
        const FEWEST_COLUMNS_ALONE: usize = 4;
        let undivided = self.analyze_needs_indexes()
            || !(self.generated.is_empty() && self.defaults.is_empty() && self.extended_statistics.is_empty());
        let slices = match self.columns.len() {
            _ if undivided => 1,
            columns if is_alone && !plan::is_small(self.pages) => {
                let idle = workers.saturating_sub(self.indexes.len());
                (columns / FEWEST_COLUMNS).max(idle.min(columns / FEWEST_COLUMNS_ALONE))
            }
            columns => columns / FEWEST_COLUMNS,
        };
        self.analyze_slices = slices.min(workers).max(1);
    }

    pub fn analyze_needs_indexes(&self) -> bool {
        self.indexes.iter().any(|index| index.has_expressions)
    }
}
