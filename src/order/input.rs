use super::{FilesSpec, LocalInput, ScriptInput, ScriptRows};
use crate::source::{Origin, Transport};
use frames::{Codec, Compression};
use heapform::Labels;
use pgrx::pg_sys;
use plan::{ColumnPair, Part, Wire};
use serde::{Deserialize, Serialize};

/// Where the rows of a job come from, or what it does with those that are here.
#[derive(Clone, Serialize, Deserialize)]
pub enum Input {
    Server(ServerInput),
    /// The job has one table.
    Files(FilesSpec),
    /// The tables are checked, and nothing is written to them.
    Local(LocalInput),
    /// The job has one table, which stands for all that the script does.
    Script(ScriptInput),
    /// Rows that a script has for tables of its own.
    ScriptRows(ScriptRows),
}

/// One snapshot of another server.
#[derive(Clone, Serialize, Deserialize)]
pub struct ServerInput {
    /// The source, with the password.
    pub origin: Origin,
    pub snapshot: String,
    /// How long the source may be silent, as `pgcopy.source_timeout` has it.
    pub timeout: String,
    /// The counterparts of the job's tables, in their order.
    pub tables: Vec<SourceTable>,
}

/// A table of the source, as it is read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceTable {
    /// The schema-qualified, quoted name.
    pub name: String,
    pub partitioned: bool,
    /// Whether one of the columns is generated there.
    pub generates: bool,
    pub wire: Wire,
    pub transport: Transport,
    pub parts: Vec<Part>,
    /// Names of the partitions that the parts are, where a partitioned table is not read through itself.
    pub partitions: Vec<String>,
    /// Whether the source's user has rights on columns alone.
    pub is_partly_granted: bool,
    /// Set where not all rows and columns are taken as they are.
    pub chosen: Option<ChosenRows>,
    /// Of rows that travel as they are stored: what the values of enums mean here.
    pub labels: Vec<Labels>,
}

/// What is read of a table's rows: SQL texts for the source.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChosenRows {
    /// An expression for each column of the target that the rows have values for.
    pub columns: Vec<String>,
    /// Whether one of them is more than a column's name.
    pub computed: bool,
    /// The condition that rows must satisfy.
    pub condition: Option<String>,
}

impl ChosenRows {
    /// Returns whether only a query reads them, and not plain COPY.
    pub fn needs_query(&self) -> bool {
        self.computed || self.condition.is_some()
    }
}

impl SourceTable {
    /// Has the rows travel as the source's heap stores them, in frames.
    pub fn take_as_stored(&mut self, labels: Vec<Labels>) {
        self.wire = Wire::Heap;
        self.labels = labels;
        if self.transport == Transport::Copy {
            self.transport = Transport::Frames(Compression::Named(Codec::None));
        }
    }

    /// Describes how the rows travel: their form, and the codec where the source compresses them.
    pub fn described_wire(&self) -> String {
        match self.transport {
            Transport::Copy | Transport::Frames(Compression::Named(Codec::None)) => self.wire.name().to_owned(),
            Transport::Frames(compression) => format!("{}, {}", self.wire.name(), compression.name()),
        }
    }

    /// What is read for each part, and whether with its partitions.
    pub fn relation_of(&self, part: usize) -> (&str, bool) {
        match self.partitions.get(part) {
            Some(partition) => (partition, false),
            None => (&self.name, self.partitioned),
        }
    }

    /// Returns the rows of a part, or all rows, as FROM names them: with the values that are read for these columns of the target.
    pub fn rows_as_from_names_them(&self, part: Option<usize>, columns: &[ColumnPair]) -> String {
        let (relation, with_partitions) =
            part.map_or((self.name.as_str(), self.partitioned), |part| self.relation_of(part));
        let items: Vec<String> = match &self.chosen {
            Some(chosen) => {
                let named = |(item, column): (&String, &ColumnPair)| {
                    format!("{item} AS {}", plan::quote_identifier(&column.name))
                };
                chosen.columns.iter().zip(columns).map(named).collect()
            }
            None => columns.iter().map(|column| plan::quote_identifier(&column.name)).collect(),
        };
        let of_part = part.map(|part| &self.parts[part]).filter(|part| !part.is_whole()).map(Part::condition);
        let chosen = self.chosen.as_ref().and_then(|chosen| chosen.condition.clone());
        let conditions: Vec<String> =
            of_part.into_iter().chain(chosen.map(|condition| format!("({condition})"))).collect();
        let condition =
            if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let only = if with_partitions { "" } else { "ONLY " };
        format!("(SELECT {} FROM {only}{relation}{condition}) AS chosen", items.join(", "))
    }
}

impl Input {
    /// Returns the number of parts that a table of the job is loaded in.
    pub fn parts(&self, table: usize) -> usize {
        match self {
            Self::Server(server) => server.tables[table].parts.len(),
            Self::Files(files) => files.parts.len(),
            Self::Local(_) => 0,
            Self::Script(_) => 0,
            Self::ScriptRows(rows) => rows.tables[table].parts.len(),
        }
    }

    /// Returns the share of one part in the `pages` pages of a table.
    pub fn part_pages(&self, table: usize, part: usize, pages: u32) -> u32 {
        match self {
            Self::Server(server) => {
                let table = &server.tables[table];
                table.parts[part].pages(pages) / table.partitions.len().max(1) as u32
            }
            Self::Files(files) => {
                let share = files.part_bytes(part) as f64 / files.bytes().max(1) as f64;
                (f64::from(pages) * share) as u32
            }
            Self::Local(_) => 0,
            Self::Script(_) => 0,
            Self::ScriptRows(rows) => {
                let rows = &rows.tables[table];
                let share = rows.part_bytes(part) as f64 / rows.bytes().max(1) as f64;
                (f64::from(pages) * share) as u32
            }
        }
    }

    /// Returns the bytes that one part is expected to send, by estimate.
    pub fn part_bytes(&self, table: usize, part: usize, pages: u32) -> u64 {
        match self {
            Self::Server(_) => u64::from(self.part_pages(table, part, pages)) * u64::from(pg_sys::BLCKSZ),
            Self::Files(files) => files.part_bytes(part),
            Self::Local(_) => 0,
            Self::Script(_) => 0,
            Self::ScriptRows(rows) => rows.tables[table].part_bytes(part),
        }
    }

    /// Describes the origin of the rows for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Server(server) => server.origin.to_string(),
            Self::Files(files) => files.describe(),
            Self::Local(_) => "this database".to_owned(),
            Self::Script(script) => script.name.clone(),
            Self::ScriptRows(rows) => rows.name.clone(),
        }
    }
}
