//! A whole database of another server into this one: definitions, rows, and what hangs on rows, in the caller's transaction.

use super::control::refuse_circle_of_pulls;
use super::leader::{self, pull_prepared};
use super::shared;
use crate::error::{Error, Result, caution};
use crate::local::locks::{self, Until};
use crate::local::sequences::{self, Continuation};
use crate::local::{catalog, client, messages, names, rights, settings, transaction};
use crate::prepare::{self, From, Prepared, Request};
use crate::script::{Definitions, FilledExtensionTable, Filter, LargeObjects, PlannedRows, Terms};
use crate::source::{self, NamedSequence, Session};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// The arguments of a migration.
#[derive(Clone, Serialize, Deserialize)]
pub struct MigrateRequest {
    pub pull: Request,
    pub existing: String,
    pub owners: bool,
    pub privileges: bool,
    pub publications: bool,
    pub subscriptions: bool,
}

impl MigrateRequest {
    fn terms(&self) -> Result<Terms> {
        let keeps_existing = match self.existing.as_str() {
            "error" => false,
            "keep" => true,
            other => {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                    format!("existing \"{other}\" not recognized"),
                )
                .hint("It is \"error\" or \"keep\"."));
            }
        };
        Ok(Terms {
            keeps_existing,
            overwrites: self.pull.overwrite,
            owners: self.owners,
            privileges: self.privileges,
            publications: self.publications,
            subscriptions: self.subscriptions,
        })
    }

    /// Returns the patterns, where a part of the database is asked for.
    fn filter(&self) -> Result<Option<Filter>> {
        let (include, exclude) = prepare::filters_of("migrate", &self.pull)?;
        Ok((include.is_some() || !exclude.is_empty()).then_some(Filter { include, exclude }))
    }

    /// The arguments as a JSON object, for those who look at the job later; without the source, which is shown in its own place.
    pub(super) fn described(&self) -> String {
        serde_json::json!({
            "include": self.pull.include, "exclude": self.pull.exclude, "existing": self.existing, "owners": self.owners, "privileges": self.privileges,
            "publications": self.publications, "subscriptions": self.subscriptions,
            "overwrite": self.pull.overwrite, "parallel": self.pull.parallel, "wait": self.pull.wait,
            "verbose": self.pull.verbose,
        })
        .to_string()
    }
}

/// What can be said of the arguments without asking the source. Returns the source as people may see it.
pub(super) fn check_arguments(request: &MigrateRequest) -> Result<String> {
    request.terms()?;
    prepare::check_arguments(&request.pull)
}

/// A line of the report: a table with its rows, or the number of objects of one kind.
pub struct Migrated {
    pub kind: String,
    pub schema: Option<String>,
    pub name: Option<String>,
    pub objects: Option<i64>,
    pub rows: Option<i64>,
    pub bytes: Option<i64>,
    pub seconds: Option<f64>,
}

impl Migrated {
    /// The line of a table, given by schema and name.
    fn rows((schema, name): (String, String), rows: u64, bytes: u64, seconds: f64) -> Self {
        Self {
            kind: "rows".to_owned(),
            schema: Some(schema),
            name: Some(name),
            objects: None,
            rows: Some(rows as i64),
            bytes: Some(bytes as i64),
            seconds: Some(seconds),
        }
    }
}

/// An object that a migration would make.
pub struct PlannedObject {
    pub section: &'static str,
    pub kind: String,
    pub schema: Option<String>,
    pub name: String,
    pub owner: Option<String>,
    pub action: &'static str,
    pub ddl: Option<String>,
}

/// Makes what the source holds and this database does not, and pulls all rows, in the caller's transaction.
pub fn migrate(request: &MigrateRequest) -> Result<Vec<Migrated>> {
    client::while_there(|| migrate_as(request, None))
}

/// `job` is the number of a job that is written down already.
pub(super) fn migrate_as(request: &MigrateRequest, job: Option<i64>) -> Result<Vec<Migrated>> {
    let (started, called) = (Instant::now(), shared::now());
    messages::keep();
    leader::refuse_where_forbidden(c"pgcopy.migrate()")?;
    let terms = request.terms()?;
    locks::keep_extension(Until::EndOfTransaction);
    let open = prepare::open_database(&request.pull, &refuse_circle_of_pulls)?;
    let filter = request.filter()?;
    let mut definitions = Definitions::read(&open.origin, &open.session, &open.snapshot, terms, filter.as_ref())?;
    open.refuse_unmatched(&request.pull, &definitions.named)?;
    definitions.refuse_impossible()?;
    // As pg_dump has it, a part of a database is without them.
    let large_objects = if filter.is_none() { Some(LargeObjects::read(&open.session)?) } else { None };
    if let Some(large_objects) = &large_objects {
        large_objects.refuse_existing(terms.keeps_existing)?;
    }
    definitions.make_before()?;
    transaction::make_changes_visible();
    continue_sequences(&open.session, &definitions)?;
    if let Some(large_objects) = &large_objects {
        definitions.make_large_objects(large_objects, &open.session)?;
    }
    let added = definitions.add_extension_rows(&open.session)?;
    let mut prepared = prepare::prepare_open(&request.pull, open, &definitions.named)?;
    "SELECT * FROM pgcopy.migrate(…, existing => 'keep', overwrite => true);"
        .clone_into(&mut prepared.terms.call_to_overwrite);
    prepared.terms.arguments = request.described();
    let continuations = continuations(&prepared, &definitions, added.sequences)?;
    let tables = pull_prepared(&prepared, job, started, called)?;
    // Whoever takes a number of such a sequence waits from here on.
    sequences::continue_at(&continuations)?;
    definitions.make_after()?;
    definitions.tell_of_the_rest();
    let of_extensions = added.tables.into_iter().map(|table| {
        let FilledExtensionTable { schema, name, rows, bytes, seconds } = table;
        Migrated::rows((schema, name), rows, bytes, seconds)
    });
    let tables = tables
        .into_iter()
        .map(|table| Migrated::rows((table.schema, table.name), table.rows, table.bytes, table.seconds))
        .chain(of_extensions);
    let kinds = definitions.made().into_iter().map(|(kind, count)| Migrated {
        kind,
        schema: None,
        name: None,
        objects: Some(count as i64),
        rows: None,
        bytes: None,
        seconds: None,
    });
    Ok(tables.chain(kinds).collect())
}

/// What a migration would make, in its order; with `ddl` the statements, too. Nothing is touched.
pub fn plan_migrate(request: &MigrateRequest, ddl: bool) -> Result<Vec<PlannedObject>> {
    client::while_there(|| plan(request, ddl))
}

fn plan(request: &MigrateRequest, ddl: bool) -> Result<Vec<PlannedObject>> {
    let terms = request.terms()?;
    let open = prepare::open_database(&request.pull, &refuse_circle_of_pulls)?;
    let filter = request.filter()?;
    let mut definitions = Definitions::read(&open.origin, &open.session, &open.snapshot, terms, filter.as_ref())?;
    open.refuse_unmatched(&request.pull, &definitions.named)?;
    let large_objects = if filter.is_none() { LargeObjects::read(&open.session)?.planned() } else { Vec::new() };
    open.session.rollback()?;
    let of_section = |section: &'static str, objects: Vec<crate::script::Object>| {
        objects.into_iter().filter(|object| !object.entry.head.kind.is_empty()).map(move |object| PlannedObject {
            section,
            ddl: ddl.then(|| object.text()),
            action: object.action.name(),
            kind: object.entry.head.kind.to_lowercase(),
            schema: object.entry.head.schema,
            name: object.entry.head.name,
            owner: object.entry.head.owner,
        })
    };
    // Of many, each in a line of its own would hide all others.
    let large_objects = large_objects.into_iter().map(|(count, exists)| PlannedObject {
        section: "before rows",
        kind: "large objects".to_owned(),
        schema: None,
        name: count.to_string(),
        owner: None,
        action: if !exists {
            "create"
        } else if terms.keeps_existing {
            "keep"
        } else {
            "differs"
        },
        ddl: None,
    });
    let of_extensions = definitions.plan_extension_rows().into_iter().map(|rows| {
        let PlannedRows { schema, name, is_sequence, is_left_out } = rows;
        PlannedObject {
            section: "before rows",
            kind: if is_sequence { "value of extension" } else { "rows of extension" }.to_owned(),
            schema: Some(schema),
            name,
            owner: None,
            action: if is_left_out { "leave out" } else { "add" },
            ddl: None,
        }
    });
    let before = of_section("before rows", definitions.before);
    Ok(before.chain(large_objects).chain(of_extensions).chain(of_section("after rows", definitions.after)).collect())
}

/// Makes new sequences continue where those of the source stand, also those that no column uses.
fn continue_sequences(session: &Session, definitions: &Definitions) -> Result<()> {
    let mut local = Vec::new();
    let mut there = Vec::new();
    for (oid, schema, name) in definitions.new_sequences() {
        let Some(here) = names::relation_in(schema, name)? else {
            let text = format!("the new sequence {} was not found", plan::qualified(schema, name));
            return Err(Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, text));
        };
        local.push(here);
        there.push(NamedSequence { oid, name: plan::qualified(schema, name) });
    }
    let values = source::read_sequence_values(session, &there)?;
    let continuations: BTreeMap<u32, Continuation> = local
        .into_iter()
        .zip(values)
        .map(|(sequence, value)| (sequence, Continuation { value, never_back: false }))
        .collect();
    sequences::continue_at(&continuations)
}

/// Returns where sequences that were here before are to continue: those that no column owns, and that the pull does not set for
/// the columns that it fills; and those of extensions.
fn continuations(
    prepared: &Prepared,
    definitions: &Definitions,
    of_extensions: Vec<(u32, NamedSequence)>,
) -> Result<BTreeMap<u32, Continuation>> {
    let From::Server(side) = &prepared.from else { return Ok(BTreeMap::new()) };
    let mut kept: BTreeMap<u32, NamedSequence> = BTreeMap::new();
    for (oid, schema, name) in definitions.kept_sequences() {
        if let Some(here) = names::relation_in(schema, name)? {
            kept.insert(here, NamedSequence { oid, name: plan::qualified(schema, name) });
        }
    }
    let filled: BTreeSet<u32> = prepared.targets.iter().flat_map(|target| target.local.ancestors()).collect();
    let filled: Vec<u32> = filled.into_iter().chain(prepared.in_place_members.iter().copied()).collect();
    let here: Vec<u32> = kept.keys().copied().collect();
    let of_nobody = settings::with_catalog_settings(|| sequences::by_themselves(&here, &filled))?;
    kept.retain(|here, _| of_nobody.contains(here));
    let not_owned: BTreeSet<u32> =
        rights::not_owned(&of_nobody)?.into_iter().map(|sequence| sequence.relation).collect();
    let left: Vec<String> =
        kept.iter().filter(|(here, _)| not_owned.contains(here)).map(|(_, there)| there.name.clone()).collect();
    if !left.is_empty() {
        let names = plan::list(&left);
        caution(&format!("sequences are left as they are, because they belong to somebody else: {names}"));
    }
    kept.retain(|here, _| !not_owned.contains(here));
    let here: Vec<u32> = kept.keys().copied().collect();
    let used_elsewhere = settings::with_catalog_settings(|| catalog::sequences_used_elsewhere(&here, &filled))?;
    // Rows that an extension has put into its tables hold numbers of its sequences.
    let of_extensions = of_extensions.into_iter().map(|(here, there)| (here, there, true));
    let kept = kept.into_iter().map(|(here, there)| (here, there, used_elsewhere.contains(&here)));
    let (mut local, mut there) = (Vec::new(), Vec::new());
    for (here, sequence, never_back) in kept.chain(of_extensions) {
        local.push((here, never_back));
        there.push(sequence);
    }
    let values = source::read_sequence_values(&side.session, &there)?;
    Ok(local
        .into_iter()
        .zip(values)
        .map(|((here, never_back), value)| (here, Continuation { value, never_back }))
        .collect())
}
