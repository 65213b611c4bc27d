//! The definitions of a source's objects, and their making here.

use super::extension_rows::{AddedToExtensions, ExtensionRows, PlannedRows};
use super::judged::{Action, Object, Place, coming_after, describe, judge, places};
use super::large_objects::LargeObjects;
use super::pg_dump::Program;
use super::selection::{self, Filter};
use crate::error::{Error, Result, catch, caution};
use crate::local::{empty_indexes, identity, interrupts, script_objects, settings, spi};
use crate::source::{self, Origin, Session};
use dumpscript::{Head, roles_of};
use pgrx::prelude::*;
use plan::Pattern;
use std::collections::{BTreeMap, BTreeSet};

/// The terms of a migration, as far as definitions go.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Whether objects that exist here already are kept as they are. Otherwise those that differ are an error.
    pub keeps_existing: bool,
    /// Whether tables that exist here already may hold rows, which are replaced.
    pub overwrites: bool,
    pub owners: bool,
    pub privileges: bool,
    pub publications: bool,
    pub subscriptions: bool,
}

/// The definitions of a source's objects: those that are made before the rows are pulled, and those that come after. Indexes
/// and keys are made with the empty tables: the pull builds and checks them, like those of any other target.
pub struct Definitions {
    pub before: Vec<Object>,
    pub after: Vec<Object>,
    /// The patterns that name something of the source, which need not be a table.
    pub named: Vec<Pattern>,
    terms: Terms,
    made_large_objects: usize,
    extension_rows: ExtensionRows,
    left_out: LeftOut,
}

/// What could not be taken over because this server does not know the names in it.
#[derive(Default)]
struct LeftOut {
    roles: BTreeSet<String>,
    tablespaces: BTreeSet<String>,
    /// Grants that others than owners have made.
    grants_of_others: usize,
    /// Tables that others need, and that were not asked for.
    needed_tables: Vec<String>,
    /// Foreign keys to tables that were not asked for.
    foreign_keys: Vec<String>,
}

/// The settings that scripts of `pg_dump` are written for. None of them takes rights to change. Where the path names no schema,
/// types are looked for among the caller's temporary tables before all others: a script is run by a session that has none.
const SETTINGS: [(&std::ffi::CStr, &str); 14] = [
    (c"search_path", "pg_catalog, pg_temp"),
    (c"quote_all_identifiers", "off"),
    (c"standard_conforming_strings", "on"),
    (c"check_function_bodies", "off"),
    (c"xmloption", "content"),
    (c"client_min_messages", "warning"),
    (c"row_security", "off"),
    (c"default_tablespace", ""),
    (c"default_table_access_method", "heap"),
    (c"datestyle", "ISO, MDY"),
    (c"intervalstyle", "postgres"),
    (c"array_nulls", "on"),
    (c"transform_null_equals", "off"),
    (c"jit", "off"),
];

impl Definitions {
    /// Asks `pg_dump` for them, as the snapshot of the session sees the source.
    pub fn read(
        origin: &Origin,
        session: &Session,
        snapshot: &str,
        terms: Terms,
        filter: Option<&Filter>,
    ) -> Result<Self> {
        let program = Program::find(session.version)?;
        let script = program.dump(origin, snapshot, terms)?;
        let mut entries = dumpscript::entries(&script, &interrupts::check).map_err(|error| {
            Error::new(PgSqlErrorCode::ERRCODE_SYNTAX_ERROR, "the script that pg_dump made of the source cannot be run")
                .detail(error.to_string())
        })?;
        let mut places = places(&mut entries);
        let mut left_out = LeftOut::default();
        let mut named = filter.map(|filter| filter.naming(&entries)).unwrap_or_default();
        let dependencies =
            if filter.is_some() || terms.overwrites { source::read_dependencies(session)? } else { Vec::new() };
        if let Some(filter) = filter {
            let selected = selection::select(&entries, &dependencies, filter, &interrupts::check);
            let chosen = || selected.chosen.iter().copied();
            entries = entries.into_iter().zip(chosen()).filter_map(|(entry, chosen)| chosen.then_some(entry)).collect();
            places = places.into_iter().zip(chosen()).filter_map(|(place, chosen)| chosen.then_some(place)).collect();
            left_out.needed_tables = selected.needed_tables;
            left_out.foreign_keys = selected.left_out_keys;
        }
        let calling = source::read_called_indexes(session)?.into_iter().collect();
        let needs = terms.overwrites.then(|| selection::needs(&entries, &dependencies, &interrupts::check));
        let objects = judge(entries, places, terms.keeps_existing, session)?;
        let is_moved = |extension: &str| {
            objects.iter().any(|object| object.entry.head.kind == "EXTENSION" && object.entry.head.name == extension)
        };
        let extension_rows = ExtensionRows::choose(session, filter, &is_moved)?;
        named.extend(filter.into_iter().flat_map(|filter| extension_rows.naming(filter)));
        let comes_after = coming_after(&objects, &calling, needs.as_deref());
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (object, is_after) in objects.into_iter().zip(comes_after) {
            if is_after { after.push(object) } else { before.push(object) }
        }
        Ok(Self { before, after, named, terms, made_large_objects: 0, extension_rows, left_out })
    }

    fn objects(&self) -> impl Iterator<Item = &Object> {
        self.before.iter().chain(&self.after)
    }

    /// # Errors
    /// Where this server lacks an extension, or holds an object already that is to be made.
    pub fn refuse_impossible(&self) -> Result<()> {
        let names = |action: Action| -> Vec<String> {
            self.objects().filter(|object| object.action == action).map(|object| describe(&object.entry.head)).collect()
        };
        let missing = names(Action::Unavailable);
        if !missing.is_empty() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "the source uses extensions that this server does not have; nothing was touched",
            )
            .details(missing)
            .hint(
                "Install their packages on the machine of this server. pg_available_extensions shows what is there.",
            ));
        }
        let differing: Vec<String> = self
            .objects()
            .filter(|object| object.action == Action::Refuse)
            .map(|object| {
                let difference = object.difference.as_deref().unwrap_or_default();
                format!("{}: {difference}", describe(&object.entry.head))
            })
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        const MOST_LINES: usize = 100;
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            format!("{} of the objects to create exist already and differ; nothing was touched", differing.len()),
        )
        .details(differing.iter().take(MOST_LINES))
        .hint("With existing => 'keep' they stay as they are, and overwrite => true replaces the rows of such tables."))
    }

    /// Makes what rows are loaded into, with its indexes and keys.
    pub fn make_before(&mut self) -> Result<()> {
        make(&self.before, &mut self.left_out)
    }

    /// Adds the rows that users have put into the tables of extensions, when these are here.
    pub fn add_extension_rows(&mut self, session: &Session) -> Result<AddedToExtensions> {
        self.extension_rows.add(session, self.terms.keeps_existing)
    }

    /// Takes those rows out of what is done, for a plan.
    pub fn plan_extension_rows(&mut self) -> Vec<PlannedRows> {
        std::mem::take(&mut self.extension_rows).planned()
    }

    pub fn make_large_objects(&mut self, large_objects: &LargeObjects, session: &Session) -> Result<()> {
        let Terms { owners, privileges, .. } = self.terms;
        self.made_large_objects = large_objects.make(session, owners, privileges, &mut self.left_out.roles)?;
        Ok(())
    }

    /// Makes what comes after the rows.
    pub fn make_after(&mut self) -> Result<()> {
        make(&self.after, &mut self.left_out)
    }

    /// The sequences that are made: OID on the source, schema and name.
    pub fn new_sequences(&self) -> impl Iterator<Item = (u32, &str, &str)> {
        self.sequences(Action::Create)
    }

    /// The sequences that are here already, the same way. Another relation may have the name of one.
    pub fn kept_sequences(&self) -> impl Iterator<Item = (u32, &str, &str)> {
        self.sequences(Action::Keep)
    }

    fn sequences(&self, action: Action) -> impl Iterator<Item = (u32, &str, &str)> {
        self.before.iter().filter(move |object| object.action == action).filter_map(|object| {
            let head = &object.entry.head;
            let (schema, name) = match &object.full_name {
                Some(full) => (full.schema.as_str(), full.name.as_str()),
                None => (head.schema.as_deref()?, head.name.as_str()),
            };
            (head.kind == "SEQUENCE" && head.oid != 0).then_some((head.oid, schema, name))
        })
    }

    /// How many objects of each kind are made.
    pub fn made(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for object in self.objects().filter(|object| object.action == Action::Create) {
            if !object.entry.head.kind.is_empty() && !object.entry.statements.is_empty() {
                *counts.entry(object.entry.head.kind.to_lowercase()).or_default() += 1;
            }
        }
        if self.made_large_objects > 0 {
            counts.insert("large object".to_owned(), self.made_large_objects);
        }
        counts
    }

    /// Tells of what could not be taken over.
    pub fn tell_of_the_rest(&self) {
        let list = |names: &BTreeSet<String>| {
            let quoted: Vec<String> = names.iter().map(|name| plan::quote_identifier(name)).collect();
            plan::list(&quoted)
        };
        if !self.left_out.roles.is_empty() {
            caution(&format!(
                "roles that do not exist on the destination, and so own nothing and are granted nothing: {}",
                list(&self.left_out.roles)
            ));
        }
        if !self.left_out.needed_tables.is_empty() {
            caution(&format!(
                "tables that others need, and that no pattern names, are made without rows: {}",
                plan::list(&self.left_out.needed_tables)
            ));
        }
        if !self.left_out.foreign_keys.is_empty() {
            caution(&format!(
                "foreign keys whose other table no pattern names are left out: {}",
                plan::list(&self.left_out.foreign_keys)
            ));
        }
        self.extension_rows.notices().iter().for_each(|notice| caution(notice));
        if !self.left_out.tablespaces.is_empty() {
            caution(&format!(
                "tablespaces that do not exist on the destination, the default is used instead: {}",
                list(&self.left_out.tablespaces)
            ));
        }
        if self.left_out.grants_of_others > 0 {
            let count = self.left_out.grants_of_others;
            caution(&format!("privileges that others than owners have granted are left out: {count}"));
        }
    }
}

/// Runs work with the settings that scripts are written for, and with no way to become somebody else.
pub(super) fn as_script<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    identity::with_role_kept(|| {
        for (name, value) in SETTINGS {
            settings::set_local(name, value)?;
        }
        work()
    })
}

/// Runs the statements, with the caller's rights and the settings that they are written for.
fn make(objects: &[Object], left_out: &mut LeftOut) -> Result<()> {
    let statements = || objects.iter().flat_map(|object| &object.entry.statements);
    let roles: BTreeSet<String> = statements().flat_map(|statement| roles_of(&statement.text)).collect();
    let tablespaces: BTreeSet<String> =
        objects.iter().map(|object| object.place.tablespace.clone()).filter(|name| !name.is_empty()).collect();
    let (no_roles, no_tablespaces) = settings::with_catalog_settings(|| {
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let tablespaces: Vec<&str> = tablespaces.iter().map(String::as_str).collect();
        Ok((script_objects::missing_roles(&roles)?, script_objects::missing_tablespaces(&tablespaces)?))
    })?;
    as_script(|| {
        let mut current = Place::default();
        for object in objects.iter().filter(|object| object.action == Action::Create) {
            let mut place = object.place.clone();
            if no_tablespaces.contains(&place.tablespace) {
                left_out.tablespaces.insert(std::mem::take(&mut place.tablespace));
            }
            if place.tablespace != current.tablespace {
                settings::set_local(c"default_tablespace", &place.tablespace)?;
            }
            if place.access_method != current.access_method {
                settings::set_local(c"default_table_access_method", &place.access_method)?;
            }
            current = place;
            let mut as_other = false;
            for statement in &object.entry.statements {
                interrupts::check();
                let begins = |words: &str| statement.text.starts_with(words);
                if begins("SET SESSION AUTHORIZATION ") || begins("RESET SESSION AUTHORIZATION;") {
                    as_other = begins("SET ");
                    continue;
                }
                if as_other {
                    left_out.grants_of_others += 1;
                    continue;
                }
                let unknown: Vec<String> =
                    roles_of(&statement.text).into_iter().filter(|role| no_roles.contains(role)).collect();
                if !unknown.is_empty() {
                    left_out.roles.extend(unknown);
                    continue;
                }
                match script_objects::without_unknown_stamp(&statement.text)? {
                    Some(left) if left.is_empty() => {}
                    Some(left) => run(&object.entry.head, &left)?,
                    None => run(&object.entry.head, &statement.text)?,
                }
            }
        }
        Ok(())
    })
}

/// Kinds whose making evaluates what they are made of.
const RUNS_CODE: [&str; 4] = ["MATERIALIZED VIEW DATA", "INDEX", "CONSTRAINT", "CHECK CONSTRAINT"];

/// Whether an error is that something of a name was not found.
fn is_about_names(error: &Error) -> bool {
    [
        PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
    ]
    .iter()
    .any(|code| error.sqlstate == *code as i32)
}

fn run(head: &Head, statement: &str) -> Result<()> {
    catch(|| empty_indexes::quickly(|| spi::execute_of_script(statement))).map_err(|error| {
        let is_about_rights = error.sqlstate == PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32;
        let error = if head.kind.is_empty() {
            error
        } else {
            error.detail(format!("It comes from the source's definition of {}.", describe(head)))
        };
        if is_about_rights && !roles_of(statement).is_empty() {
            return error.hint("With owners => false and privileges => false the caller owns all that is made.");
        }
        if is_about_names(&error) && RUNS_CODE.contains(&head.kind.as_str()) {
            return error.hint(
                "Definitions are run without a search_path, as pg_restore runs them: functions and texts must name the schemas \
                 of what they use, or be given one: ALTER FUNCTION … SET search_path.",
            );
        }
        error
    })
}
