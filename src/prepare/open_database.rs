//! The whole of a source, opened for a migration.

use super::arguments::{Arguments, Filters, Request};
use super::problems::refuse_problems_of;
use super::snapshot;
use crate::error::Result;
use crate::local::{catalog, encoding, interrupts, settings};
use crate::source::{Origin, Session};
use plan::catalog::Relation;
use plan::{Pairing, Pattern, Problem, ProblemKind};

/// A source whose snapshot is open, with all of its tables locked.
pub struct OpenDatabase {
    pub origin: Origin,
    pub session: Session,
    pub snapshot: String,
    pub(super) relations: Vec<Relation>,
}

/// Opens the snapshot of all that a source holds. `may_wait_on` is asked while another session of the source is in the way.
pub fn open_database(request: &Request, may_wait_on: &dyn Fn() -> Result<()>) -> Result<OpenDatabase> {
    Arguments::of(request)?;
    let (origin, mut session) = snapshot::connect(&request.source, None)?;
    snapshot::refuse_own_database(&session, "that the pull would replace tables of")?;
    session.set_copy_encoding(&encoding::database_name())?;
    let (relations, snapshot) = snapshot::open_whole(&session, may_wait_on)?;
    Ok(OpenDatabase { origin, session, snapshot, relations })
}

impl OpenDatabase {
    /// Pairs the tables. Patterns that are among `named` may name other things than tables.
    pub(super) fn pair(&self, filters: &Filters, named: &[Pattern], local: &[Relation]) -> Pairing {
        let names_table = |pattern: &Pattern, with_extensions: bool| {
            let is_named = |relation: &Relation| {
                (with_extensions || relation.extension.is_none()) && pattern.matches(&relation.schema, &relation.name)
            };
            !named.contains(pattern) || self.relations.iter().any(|relation| relation.is_table() && is_named(relation))
        };
        // What is included by a wildcard are no tables of extensions.
        let is_included = |pattern: &&Pattern| names_table(pattern, pattern.is_literal());
        let include = filters.include.as_deref();
        let include = include.map(|patterns| patterns.iter().filter(is_included).cloned().collect::<Vec<_>>());
        let is_excluded = |pattern: &&Pattern| names_table(pattern, true);
        let exclude: Vec<Pattern> = filters.exclude.iter().filter(is_excluded).cloned().collect();
        let mut pairing = plan::pair(&self.relations, local, include.as_deref(), &exclude, &interrupts::check);
        let is_table = |(schema, name): &(String, String)| {
            self.relations.iter().any(|other| other.is_table() && other.key() == (schema.as_str(), name.as_str()))
        };
        pairing
            .problems
            .retain(|problem| problem.kind != ProblemKind::WrongObject || problem.tables.iter().all(is_table));
        pairing
    }

    /// # Errors
    /// A pattern names nothing: no table, and it is not among `named` either.
    pub fn refuse_unmatched(&self, request: &Request, named: &[Pattern]) -> Result<()> {
        let Arguments { filters, .. } = Arguments::of(request)?;
        if filters.include.is_none() && filters.exclude.is_empty() {
            return Ok(());
        }
        let local = settings::with_catalog_settings(catalog::read_relations)?;
        let mut problems: Vec<Problem> = self.pair(&filters, named, &local).problems;
        problems.retain(|problem| problem.kind == ProblemKind::UnmatchedPattern);
        refuse_problems_of("migrate", &problems)
    }
}
