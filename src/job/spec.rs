use crate::local::catalog::{Check, ColumnOptions, ExtendedStatistics, Generated, Index, Virtual};
use crate::local::identity::Caller;
use crate::local::settings::ValueSettings;
use crate::local::transaction::Instants;
use crate::parquet::plan::FilesSpec;
use crate::source::Origin;
use crate::stage::{KeyColumns, KeyEnd};
use crate::storage::key_scan::MOST_PARTS as MOST_KEY_COLUMNS;
use plan::{ColumnPair, Part, Schedule, TaskKind, Wire, Work};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// All that a process of the job must know. It is in the job's shared memory and nowhere else: it holds the password.
#[derive(Serialize, Deserialize)]
pub struct JobSpec {
    pub job: i64,
    pub caller: Caller,
    /// None for a load of files.
    pub source: Option<Origin>,
    pub files: Option<FilesSpec>,
    pub snapshot: String,
    pub tables: Vec<TableSpec>,
    /// What the leader loads itself; here for progress and history.
    pub in_place: Vec<InPlaceTable>,
    pub foreign_keys: Vec<ForeignKeyCheck>,
    /// Positions in `foreign_keys` of those that one task checks: all of a referencing table that one scan can serve.
    pub foreign_key_groups: Vec<Vec<usize>>,
    /// Milliseconds that the source may be silent, as `pgcopy.source_timeout` has it.
    pub source_timeout: String,
    /// Of the caller's session: functions may read them.
    pub settings: ValueSettings,
    /// Of the caller's transaction.
    pub instants: Instants,
    /// Whether the rows depend on what only the caller's session knows, so that it must do the work.
    pub works_in_session: bool,
    /// Kilobytes that one index build or constraint check may use.
    pub maintenance_memory: i64,
}

/// A target that is loaded in place.
#[derive(Clone, Serialize, Deserialize)]
pub struct InPlaceTable {
    pub schema: String,
    pub name: String,
    /// Of the source, TOAST included.
    pub pages: u32,
}

/// One target, with all that loading, indexing and checking its stage table needs.
#[derive(Clone, Serialize, Deserialize)]
pub struct TableSpec {
    /// Schema-qualified, quoted.
    pub source_name: String,
    pub source_partitioned: bool,
    /// One of the columns is generated there.
    pub source_generates: bool,
    pub target: u32,
    pub owner: u32,
    pub schema: String,
    pub name: String,
    pub columns: Vec<ColumnPair>,
    pub wire: Wire,
    pub parts: Vec<Part>,
    /// Of the source, TOAST included.
    pub pages: u32,
    /// Whether the source's TOAST table holds anything.
    pub source_toasts: bool,
    pub indexes: Vec<Index>,
    pub checks: Vec<Check>,
    /// Set where rows could arrive that do not belong into this partition.
    pub checks_bounds: bool,
    pub generated: Vec<Generated>,
    /// Of columns that the rows do not have.
    pub defaults: Vec<Generated>,
    pub column_options: Vec<ColumnOptions>,
    pub extended_statistics: Vec<ExtendedStatistics>,
    pub virtuals: Vec<Virtual>,
    /// How many tasks share the columns between them for ANALYZE.
    pub analyze_slices: usize,
    /// Set where the target was made by the leader's transaction, so that no other process can look at it.
    pub new_table: Option<NewTable>,
}

/// What a stage table is made of where its target cannot be seen. All types are the server's own.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewTable {
    pub columns: Vec<NewColumn>,
    pub tablespace: u32,
    pub access_method: u32,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct NewColumn {
    pub name: String,
    pub type_oid: u32,
    pub typmod: i32,
}

/// A foreign key that the new rows must satisfy.
#[derive(Clone, Serialize, Deserialize)]
pub struct ForeignKeyCheck {
    pub name: String,
    /// Of the referencing table, which the constraint belongs to.
    pub referencing_schema: String,
    pub referencing_name: String,
    pub referencing: KeyEnd,
    pub referenced: KeyEnd,
    /// The role that runs the functions which compare keys.
    pub comparing_role: u32,
    pub match_full: bool,
    /// SQL for whether the key of `fk` is in the relation `referenced`.
    pub is_there: String,
    /// Set where the keys are integers, compared by value.
    pub integers: Option<IntegerKeys>,
    /// Positions in [`JobSpec::tables`] of the targets whose new rows the check reads.
    pub reads: Vec<usize>,
    /// The words for a violation, up to the key's values and after them.
    pub message: String,
    pub detail_columns: String,
    pub detail_rest: String,
    /// Whether the caller may see the values.
    pub show_values: bool,
}

/// Puts the foreign keys together that one scan of their referencing table can check.
pub fn group_foreign_keys(keys: &[ForeignKeyCheck]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    // For each referencing table its last group and the columns that are read for it.
    let mut open: HashMap<u32, (usize, usize)> = HashMap::new();
    for (position, key) in keys.iter().enumerate() {
        let Some(referencing) = key.integers.as_ref().map(|integers| &integers.referencing) else {
            groups.push(vec![position]);
            continue;
        };
        let (group, columns) = open.entry(referencing.relation).or_insert((groups.len(), 0));
        if *columns + referencing.numbers.len() > MOST_KEY_COLUMNS {
            (*group, *columns) = (groups.len(), 0);
        }
        *columns += referencing.numbers.len();
        match groups.get_mut(*group) {
            Some(group) => group.push(position),
            None => groups.push(vec![position]),
        }
    }
    groups
}

/// What a check of integer keys compares.
#[derive(Clone, Serialize, Deserialize)]
pub struct IntegerKeys {
    /// OIDs of the tables that the constraint names; the job's stage tables take the place of targets.
    pub referencing: KeyColumns,
    pub referenced: KeyColumns,
    pub match_full: bool,
}

impl TableSpec {
    pub fn qualified_name(&self) -> String {
        plan::qualified(&self.schema, &self.name)
    }

    /// The columns of one slice; none, which means all, where there is one slice only.
    pub fn analyzed_columns(&self, slice: usize) -> &[ColumnPair] {
        if self.analyze_slices == 1 {
            return &[];
        }
        self.columns.chunks(self.columns.len().div_ceil(self.analyze_slices)).nth(slice).unwrap_or(&[])
    }

    /// Statistics of a wide table take longer than its rows, so that the workers share its columns; each takes a sample of
    /// its own. A table that is alone leaves workers idle otherwise. Expressions of indexes and extended statistics are only
    /// computed together with all columns.
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

impl JobSpec {
    /// Of a load that the leader does itself, into one table.
    pub fn of_session(job: i64, files: FilesSpec, table: InPlaceTable) -> Self {
        Self {
            job,
            caller: Caller::of_this_session(),
            source: None,
            files: Some(files),
            snapshot: String::new(),
            tables: Vec::new(),
            in_place: vec![table],
            foreign_keys: Vec::new(),
            foreign_key_groups: Vec::new(),
            source_timeout: String::new(),
            settings: ValueSettings::default(),
            instants: Instants::of_this_session(),
            works_in_session: true,
            maintenance_memory: 0,
        }
    }

    pub fn schedule(&self) -> Schedule {
        let work: Vec<Work> = self
            .tables
            .iter()
            .map(|table| Work {
                pages: table.pages,
                parts: table.parts.clone(),
                indexes: table.indexes.len(),
                analyze_needs_indexes: table.analyze_needs_indexes(),
                analyze_slices: table.analyze_slices,
            })
            .collect();
        let reads: Vec<Vec<usize>> = self
            .foreign_key_groups
            .iter()
            .map(|group| group.iter().flat_map(|&key| self.foreign_keys[key].reads.iter().copied()).collect())
            .collect();
        plan::schedule(&work, &reads)
    }

    /// Schema and name of every table, those that are loaded in place at the end.
    pub fn table_names(&self) -> impl Iterator<Item = (&str, &str)> {
        let in_place = self.in_place.iter().map(|table| (table.schema.as_str(), table.name.as_str()));
        self.tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).chain(in_place)
    }

    /// What a task does, for people.
    pub fn describe_task(&self, task: TaskKind) -> String {
        match task {
            TaskKind::Create { table } => {
                format!("creating the stage table of {}", self.tables[table].qualified_name())
            }
            TaskKind::Load { table, part } => {
                let table = &self.tables[table];
                match table.parts.len() {
                    1 => format!("copying {}", table.qualified_name()),
                    parts => format!("copying {}, part {} of {parts}", table.qualified_name(), part + 1),
                }
            }
            TaskKind::BuildIndex { table, index } => {
                let table = &self.tables[table];
                format!("building index {} of {}", table.indexes[index].name, table.qualified_name())
            }
            TaskKind::CheckForeignKeys { group } => {
                let keys = &self.foreign_key_groups[group];
                let names: Vec<&str> = keys.iter().map(|&key| self.foreign_keys[key].name.as_str()).collect();
                format!("checking foreign key{} {}", if keys.len() == 1 { "" } else { "s" }, names.join(", "))
            }
            TaskKind::Analyze { table, slice } => {
                let table = &self.tables[table];
                match table.analyze_slices {
                    1 => format!("analyzing {}", table.qualified_name()),
                    slices => format!("analyzing {}, columns {} of {slices}", table.qualified_name(), slice + 1),
                }
            }
        }
    }

    /// Where the rows come from, for people.
    pub fn describe_source(&self) -> String {
        match (&self.source, &self.files) {
            (Some(source), _) => source.to_string(),
            (None, Some(files)) => files.describe(),
            (None, None) => String::new(),
        }
    }

    /// The unqualified name of a target's stage table.
    pub fn stage_name(job: i64, target: u32) -> String {
        format!("job_{job}_{target}")
    }

    pub fn stage_index_name(job: i64, index: u32) -> String {
        format!("job_{job}_index_{index}")
    }
}
