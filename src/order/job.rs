use super::{CheckKind, ForeignKeyCheck, InPlaceTable, Input, TableSpec};
use crate::local::identity::Caller;
use crate::local::settings::ValueSettings;
use crate::local::transaction::Instants;
use crate::local::{messages, parameters};
use plan::{KeyWork, Schedule, TaskKind, Work};
use serde::{Deserialize, Serialize};

/// The order of a job, for its processes. It is in the job's shared memory and nowhere else: it holds the password.
#[derive(Serialize, Deserialize)]
pub struct JobSpec {
    pub job: i64,
    pub caller: Caller,
    pub input: Input,
    pub tables: Vec<TableSpec>,
    /// The tables that the leader loads itself; here for progress and history.
    pub in_place: Vec<InPlaceTable>,
    pub foreign_keys: Vec<ForeignKeyCheck>,
    /// Positions in `foreign_keys` of those that one task checks: all of a referencing table that one scan can serve.
    pub foreign_key_groups: Vec<Vec<usize>>,
    /// The settings of the caller's session, which functions may read.
    pub settings: ValueSettings,
    /// The times of the caller's transaction.
    pub instants: Instants,
    /// Whether pages are formed by our own code, as `pgcopy.own_storage` has it.
    pub own_storage: bool,
    /// Kilobytes that one index build or constraint check may use.
    pub maintenance_memory: i64,
    /// What it was asked for, as a JSON object without secrets.
    pub arguments: String,
    /// What its leader had to say before it began.
    pub messages: Vec<String>,
}

impl JobSpec {
    /// Makes the order of a load that the leader does itself, into one table.
    pub fn of_session(job: i64, input: Input, table: InPlaceTable, arguments: String) -> Self {
        Self {
            job,
            caller: Caller::of_this_session(),
            input,
            tables: Vec::new(),
            in_place: vec![table],
            foreign_keys: Vec::new(),
            foreign_key_groups: Vec::new(),
            settings: ValueSettings::default(),
            instants: Instants::of_this_session(),
            own_storage: parameters::own_storage(),
            maintenance_memory: 0,
            arguments,
            messages: messages::kept(),
        }
    }

    pub fn schedule(&self) -> Schedule {
        if let Input::Local(local) = &self.input {
            return plan::schedule_checks(local.checks.iter().map(|check| (check.table, check.pages)));
        }
        let work: Vec<Work> = self
            .tables
            .iter()
            .enumerate()
            .map(|(position, table)| Work {
                pages: table.pages,
                part_pages: (0..self.input.parts(position))
                    .map(|part| self.input.part_pages(position, part, table.pages))
                    .collect(),
                indexes: table.indexes.len(),
                analyze_needs_indexes: table.analyze_needs_indexes(),
                analyze_slices: table.analyze_slices,
                by_leader: table.leader.does_all,
                leader_indexes: table.leader.indexes.clone(),
                leader_analyzes: table.leader.analyzes,
                verified: table.digest.is_some(),
            })
            .collect();
        let keys: Vec<KeyWork> = self
            .foreign_key_groups
            .iter()
            .map(|group| {
                let checks = || group.iter().map(|&key| &self.foreign_keys[key]);
                KeyWork {
                    reads: checks().flat_map(|check| check.reads.iter().copied()).collect(),
                    by_leader: checks().any(|check| check.by_leader),
                }
            })
            .collect();
        plan::schedule(&work, &keys)
    }

    /// Returns schema and name of every table; those that are loaded in place come last.
    pub fn table_names(&self) -> impl Iterator<Item = (&str, &str)> {
        let in_place = self.in_place.iter().map(|table| (table.schema.as_str(), table.name.as_str()));
        self.tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).chain(in_place)
    }

    /// Describes a task for people.
    pub fn describe_task(&self, task: TaskKind) -> String {
        match task {
            TaskKind::Create { table } => {
                format!("creating the stage table of {}", self.tables[table].qualified_name())
            }
            TaskKind::Load { table, part } => {
                let (parts, table) = (self.input.parts(table), &self.tables[table]);
                match parts {
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
            TaskKind::Verify { table, part } => match self.input.parts(table) {
                1 => format!("comparing {}", self.tables[table].qualified_name()),
                parts => format!("comparing {}, part {} of {parts}", self.tables[table].qualified_name(), part + 1),
            },
            TaskKind::CheckLocal { table, check } => self.describe_check(&self.tables[table].qualified_name(), check),
            TaskKind::Analyze { table, slice } => {
                let table = &self.tables[table];
                match table.analyze_slices {
                    1 => format!("analyzing {}", table.qualified_name()),
                    slices => format!("analyzing {}, columns {} of {slices}", table.qualified_name(), slice + 1),
                }
            }
        }
    }

    fn describe_check(&self, table: &str, check: usize) -> String {
        let Input::Local(local) = &self.input else { return format!("checking {table}") };
        match &local.checks[check].kind {
            CheckKind::Heap { is_toast, part, .. } => {
                let what = if *is_toast { "the TOAST table" } else { "the pages" };
                match (part.first_page, part.end_page) {
                    (0, None) => format!("checking {what} of {table}"),
                    (first, _) => format!("checking {what} of {table} from block {first}"),
                }
            }
            CheckKind::Index { name, .. } | CheckKind::Gin { name, .. } => format!("checking index {name} of {table}"),
            CheckKind::Rows => format!("checking the rows of {table}"),
            CheckKind::ForeignKey { name, .. } => format!("checking foreign key {name} of {table}"),
        }
    }

    /// Describes the origin of the rows for people.
    pub fn describe_source(&self) -> String {
        self.input.describe()
    }
}
