use crate::parquet::data_files::DataFile;
use crate::parquet::store::Store;
use crate::storage::spool::SpoolHandle;
use serde::{Deserialize, Serialize};

/// A script that the leader runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScriptInput {
    /// The name of its file for people.
    pub name: String,
    pub bytes: u64,
}

/// Rows of COPY statements of a script that were not stored yet. It travels in the job's shared memory and may hold secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct ScriptRows {
    /// The name of the script's file for people.
    pub name: String,
    pub text: ScriptText,
    /// The rows of the job's tables, in their order.
    pub tables: Vec<RowsOfTable>,
}

/// The place that rows of a script are in.
#[derive(Clone, Serialize, Deserialize)]
pub enum ScriptText {
    /// The script itself, which is not compressed.
    File { store: Box<Store>, file: DataFile },
    /// A temporary file with the rows alone.
    Spool(SpoolHandle),
}

/// The rows of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsOfTable {
    pub blocks: Vec<RowBlock>,
    pub parts: Vec<Vec<RowRange>>,
}

/// The rows of one COPY statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowBlock {
    /// The beginning of the statement, for people.
    pub statement: String,
    /// The line of the first row.
    pub line: usize,
    /// Positions in the text.
    pub start: u64,
    pub end: u64,
}

/// A range of a block. Where a limit is within a row, the row belongs to the range that it begins in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowRange {
    pub block: usize,
    pub start: u64,
    pub end: u64,
}

/// Rows of a table as they were held back, and the columns that they have values for.
#[derive(Debug, Clone)]
pub struct HeldTable {
    pub relation: u32,
    pub columns: Vec<(String, i16)>,
    pub blocks: Vec<RowBlock>,
}

impl HeldTable {
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(RowBlock::bytes).sum()
    }
}

impl RowBlock {
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

impl RowsOfTable {
    /// Divides the rows into parts of about so many bytes.
    pub fn divide(blocks: Vec<RowBlock>, bytes_of_part: u64) -> Self {
        let bytes_of_part = bytes_of_part.max(1);
        let mut parts: Vec<Vec<RowRange>> = Vec::new();
        let mut room = 0;
        for (position, block) in blocks.iter().enumerate() {
            // A rest that is smaller than a quarter of a part stays with the last one.
            let pieces = (block.bytes() + 3 * bytes_of_part / 4) / bytes_of_part;
            let piece = block.bytes().div_ceil(pieces.max(1));
            let mut start = block.start;
            while start < block.end {
                let end = (start + piece).min(block.end);
                if room < (end - start) / 2 || parts.is_empty() {
                    parts.push(Vec::new());
                    room = bytes_of_part;
                }
                if let Some(part) = parts.last_mut() {
                    part.push(RowRange { block: position, start, end });
                }
                room = room.saturating_sub(end - start);
                start = end;
            }
        }
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        Self { blocks, parts }
    }

    pub fn part_bytes(&self, part: usize) -> u64 {
        self.parts[part].iter().map(|range| range.end - range.start).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(RowBlock::bytes).sum()
    }
}
