//! What the source's user may read of tables on which he has no right but those on columns.

use super::chooser::Chosen;
use plan::catalog::Relation;
use plan::{Problem, ProblemKind};
use std::collections::{BTreeSet, HashMap};

const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "cmax", "xmax", "cmin", "xmin", "ctid"];

/// The rights of the source's user, as far as they are less than those to read whole tables.
#[derive(Debug, Clone, Default)]
pub struct Granted {
    user: String,
    /// Names of the columns that may be read, by the tables' OIDs.
    columns: HashMap<u32, BTreeSet<String>>,
}

impl Granted {
    pub(super) fn of(user: &str, columns: HashMap<u32, BTreeSet<String>>) -> Self {
        Self { user: user.to_owned(), columns }
    }

    /// Returns whether all columns of a table may be read.
    pub(super) fn is_whole(&self, table: u32) -> bool {
        !self.columns.contains_key(&table)
    }

    pub(super) fn may_read(&self, table: u32, column: &str) -> bool {
        self.columns.get(&table).is_none_or(|columns| columns.contains(column))
    }

    /// Returns whether a query may ask for the places that rows lie in.
    pub(super) fn may_read_places(&self, table: u32) -> bool {
        self.may_read(table, "ctid")
    }

    /// Returns the names of all columns that must not be read, system columns among them.
    pub(super) fn denied(&self, table: &Relation) -> BTreeSet<String> {
        if self.is_whole(table.oid) {
            return BTreeSet::new();
        }
        let names = table.columns.iter().map(|column| column.name.as_str()).chain(SYSTEM_COLUMNS);
        names.filter(|name| !self.may_read(table.oid, name)).map(str::to_owned).collect()
    }

    /// Returns a problem where columns must not be read that the given columns of the target get their values from.
    pub(super) fn problem_of<'a>(
        &self,
        source: &Relation,
        chosen: Option<&Chosen>,
        columns: impl Iterator<Item = &'a str>,
    ) -> Option<Problem> {
        if self.is_whole(source.oid) {
            return None;
        }
        let mut read: BTreeSet<&str> = match chosen {
            Some(chosen) => columns.filter_map(|name| chosen.read_for(name)).collect(),
            None => columns.collect(),
        };
        read.extend(chosen.into_iter().flat_map(Chosen::sampled_columns));
        let denied: Vec<&str> = read.into_iter().filter(|name| !self.may_read(source.oid, name)).collect();
        (!denied.is_empty()).then(|| self.problem(source, "", &denied))
    }

    /// The problem that columns must not be read, with the statement that mends it. `place` is where they are asked for, with what
    /// follows it.
    pub(super) fn problem(&self, source: &Relation, place: &str, denied: &[&str]) -> Problem {
        let names = denied.iter().map(|name| plan::quote_identifier(name)).collect::<Vec<_>>().join(", ");
        let columns = if denied.len() == 1 { "column" } else { "columns" };
        let user = &self.user;
        let reason = format!("{place}user {user} may not read {columns} {names} of it on the source");
        let statement = format!(
            "GRANT SELECT ({names}) ON {} TO {}; -- on the source",
            source.qualified_name(),
            plan::quote_identifier(user)
        );
        Problem::of(ProblemKind::Rights, source, reason).mended_by(statement)
    }
}
