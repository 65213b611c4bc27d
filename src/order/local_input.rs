use plan::Part;
use serde::{Deserialize, Serialize};

/// The checks of this server's own tables.
#[derive(Clone, Serialize, Deserialize)]
pub struct LocalInput {
    /// `None` where storage is not checked.
    pub amcheck: Option<Amcheck>,
    pub checks: Vec<LocalCheck>,
    /// Whether the rows are read, as the caller may.
    pub checks_rows: bool,
    /// How many places are named for each check.
    pub most: usize,
    /// The setting of the caller's session, in which the locks of the checks count.
    pub lock_timeout: String,
}

/// The extension amcheck, and how it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amcheck {
    /// The quoted schema of its functions.
    pub schema: String,
    /// Whether it looks for duplicates in unique indexes.
    pub finds_duplicates: bool,
    /// Whether it knows GIN indexes, and the caller may have it check them.
    pub checks_gin: bool,
    /// Whether B-trees are checked from the root to the leaves, under a lock that keeps writers out.
    pub keeps_writers_out: bool,
}

/// A check of one table, which a worker takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalCheck {
    /// The position of the table among those of the job.
    pub table: usize,
    /// The size of what is read.
    pub pages: u32,
    pub kind: CheckKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckKind {
    /// The pages of the table, or of its TOAST table.
    Heap {
        relation: u32,
        is_toast: bool,
        part: Part,
    },
    /// A B-tree, against the rows of the table.
    Index {
        oid: u32,
        name: String,
    },
    /// The tree of a GIN index, and its posting trees, from the root to the leaves.
    Gin {
        oid: u32,
        name: String,
    },
    /// What each row must be like: NOT NULL, CHECK and the bounds of a partition.
    Rows,
    ForeignKey {
        oid: u32,
        name: String,
    },
}
