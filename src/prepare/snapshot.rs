//! The source's snapshot, with all tables of the pull locked there.

use super::arguments::Filters;
use super::granted::Granted;
use super::left_out::LeftOut;
use super::locks::refuse_full_lock_table;
use super::problems::refuse_problems;
use super::selection::{name_counterparts, unmatched_entries};
use crate::error::{Error, Result};
use crate::local::locks::MarkingLock;
use crate::local::{catalog, interrupts, rights};
use crate::source::{self, Origin, Right, Session};
use pgrx::prelude::*;
use plan::catalog::Relation;
use plan::{Pairing, Problem, ProblemKind};
use std::collections::{BTreeSet, HashMap, HashSet};

/// How often the tables of a source are looked for anew, because some were made, dropped or renamed before they were locked.
const ATTEMPTS: usize = 10;

/// Opens the snapshot with these tables locked. Returns `None`, and leaves no transaction, where one of them is not there any more, or
/// another one with other rights in its place.
fn begin<'a>(
    session: &Session,
    tables: impl Iterator<Item = &'a Relation>,
    partly_granted: &[&Relation],
    is_first: bool,
    may_wait_on: &dyn Fn() -> Result<()>,
) -> Result<Option<String>> {
    let is_of_missing_table = |error: &Error| {
        let denied = is_first.then_some(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE);
        [
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME,
        ]
        .into_iter()
        .chain(denied)
        .any(|code| error.sqlstate == code as i32)
    };
    match session.begin_snapshot(tables, partly_granted, may_wait_on) {
        Err(error) if is_of_missing_table(&error) => session.rollback().map(|()| None),
        begun => begun.map(Some),
    }
}

/// Connects to a source. Its sessions get the key of masks, where there is one.
pub fn connect(source: &str, mask_key: Option<&str>) -> Result<(Origin, Session)> {
    rights::refuse_restricted_operation()?;
    let mut origin = Origin::resolve(source)?;
    if let Some(key) = mask_key {
        origin.set_mask_key(key);
    }
    let session = Session::open(&origin)?;
    Ok((origin, session))
}

/// Refuses a source that is the very database of this session, however it was reached. Who asks for what is replaced would
/// wait for the source's session, which waits for nobody that the server knows of.
///
/// `role` is what the database is to the call, in words that follow it.
///
/// Neither names nor identifiers tell: a standby has the same ones. What this session locks only its own server shows.
pub(super) fn refuse_own_database(session: &Session, role: &str) -> Result<()> {
    let mark = MarkingLock::take();
    let [high, low] = mark.key();
    let is_own = session.query_value(&format!(
        "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                        WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.mode = 'ExclusiveLock'
                          AND l.granted AND l.classid = {high} AND l.objid = {low} AND l.objsubid = 1)::text"
    ))?;
    drop(mark);
    if is_own != "true" {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("the source is the database {role}"),
    )
    .detail(format!("The connection leads to database \"{}\" of this server itself.", catalog::database_name()))
    .hint("Name another server or database as the source. SELECT current_database(), inet_server_addr(), inet_server_port() tells where a session is."))
}

/// What an open snapshot shows.
pub(super) struct Opened {
    pub relations: Vec<Relation>,
    pub pairing: Pairing,
    pub snapshot: String,
    pub granted: Granted,
}

/// Opens the snapshot with all tables of the pull locked, and reads the catalog as the snapshot sees it.
///
/// Which tables those are must be known before; if it has changed by the time that the snapshot is there, try again.
pub(super) fn open(
    session: &Session,
    user: &str,
    local: &[Relation],
    filters: &Filters,
    left_out: &LeftOut,
    may_wait_on: &dyn Fn() -> Result<()>,
) -> Result<Opened> {
    let pair = |relations: &[Relation]| -> Result<(Pairing, Granted)> {
        let include = filters.include.as_deref();
        let mut pairing = plan::pair(relations, local, include, &filters.exclude, &interrupts::check);
        pairing.problems.extend(unmatched_entries(&filters.selection, relations));
        let granted = note_missing_rights(session, user, relations, &mut pairing)?;
        left_out.take_out(&mut pairing, relations);
        Ok((pairing, granted))
    };
    let read_relations = || -> Result<(Vec<Relation>, Vec<Problem>)> {
        let mut relations = source::read_relations(session)?;
        let problems = name_counterparts(&filters.selection, &mut relations);
        Ok((relations, problems))
    };
    let (mut relations, _) = read_relations()?;
    let (mut pairing, mut granted) = pair(&relations)?;
    for attempt in 0..ATTEMPTS {
        // Tables that cannot be pulled need not be locked; all of them are reported at once.
        let possible = pairing.problems.is_empty();
        let wanted = if possible { read_tables(&relations, &pairing) } else { BTreeSet::new() };
        let locks = source::read_lock_table(session)?;
        refuse_full_lock_table("source", locks, wanted.len() as u64)?;
        let tables: Vec<&Relation> = match possible {
            true => pairing.pairs.iter().map(|pair| &relations[pair.source]).collect(),
            false => Vec::new(),
        };
        let is_whole = |table: &&Relation| granted.is_whole(table.oid);
        let whole = tables.iter().copied().filter(is_whole);
        let partly: HashSet<u32> = tables.iter().filter(|table| !is_whole(table)).map(|table| table.oid).collect();
        let is_partly = |relation: &&Relation| relation.ancestors().any(|above| partly.contains(&above));
        let partly_granted: Vec<&Relation> =
            if partly.is_empty() { Vec::new() } else { relations.iter().filter(is_partly).collect() };
        let Some(snapshot) = begin(session, whole, &partly_granted, attempt == 0, may_wait_on)? else {
            (relations, _) = read_relations()?;
            (pairing, granted) = pair(&relations)?;
            continue;
        };
        let problems;
        (relations, problems) = read_relations()?;
        (pairing, granted) = pair(&relations)?;
        let pulled: HashSet<(&str, &str)> =
            pairing.pairs.iter().map(|pair| relations[pair.source].counterpart_key()).collect();
        let concerns_pull = |problem: &Problem| {
            problem.tables.iter().any(|(schema, name)| pulled.contains(&(schema.as_str(), name.as_str())))
        };
        pairing.problems.extend(problems.into_iter().filter(concerns_pull));
        let all_locked = read_tables(&relations, &pairing).is_subset(&wanted);
        if all_locked || !pairing.problems.is_empty() {
            return Ok(Opened { relations, pairing, snapshot, granted });
        }
        session.rollback()?;
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_OBJECT_IN_USE, "the source's tables keep changing their definitions"))
}

/// Opens the snapshot with all tables of the source locked that belong to no extension, and reads the catalog as the snapshot
/// sees it.
pub(super) fn open_whole(session: &Session, may_wait_on: &dyn Fn() -> Result<()>) -> Result<(Vec<Relation>, String)> {
    let is_pulled = |relation: &&Relation| relation.is_table() && relation.extension.is_none();
    let names = |relations: &[Relation]| -> BTreeSet<String> {
        relations.iter().filter(is_pulled).map(Relation::qualified_name).collect()
    };
    let mut relations = source::read_relations(session)?;
    for attempt in 0..ATTEMPTS {
        refuse_missing_rights(session, relations.iter().filter(is_pulled))?;
        let wanted = names(&relations);
        refuse_full_lock_table("source", source::read_lock_table(session)?, wanted.len() as u64)?;
        let Some(snapshot) = begin(session, relations.iter().filter(is_pulled), &[], attempt == 0, may_wait_on)? else {
            relations = source::read_relations(session)?;
            continue;
        };
        relations = source::read_relations(session)?;
        if names(&relations).is_subset(&wanted) {
            return Ok((relations, snapshot));
        }
        session.rollback()?;
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_OBJECT_IN_USE, "the source's tables keep changing their definitions"))
}

fn refuse_missing_rights<'a>(session: &Session, tables: impl Iterator<Item = &'a Relation>) -> Result<()> {
    let tables: HashMap<u32, &Relation> = tables.map(|relation| (relation.oid, relation)).collect();
    let oids: Vec<u32> = tables.keys().copied().collect();
    let mut problems: Vec<Problem> = source::read_missing_rights(session, &oids)?
        .into_iter()
        .filter_map(|missing| {
            let text = format!("{}: {}", tables.get(&missing.relation)?.qualified_name(), missing.reason);
            Some(Problem::new(ProblemKind::Rights, text))
        })
        .collect();
    problems.sort_by(|left, right| left.text.cmp(&right.text));
    refuse_problems(&problems)
}

/// Names of the source's tables that rows are read from, directly or through the table that they are partitions of.
fn read_tables(relations: &[Relation], pairing: &Pairing) -> BTreeSet<String> {
    let pulled: HashSet<u32> = pairing.pairs.iter().map(|pair| relations[pair.source].oid).collect();
    let is_read = |relation: &&Relation| relation.ancestors().any(|ancestor| pulled.contains(&ancestor));
    relations.iter().filter(is_read).map(Relation::qualified_name).collect()
}

/// What the source's user may not read, before locking the first such table fails. Which columns are needed is not known yet.
fn note_missing_rights(
    session: &Session,
    user: &str,
    relations: &[Relation],
    pairing: &mut Pairing,
) -> Result<Granted> {
    let pulled: HashMap<u32, &Relation> =
        pairing.pairs.iter().map(|pair| &relations[pair.source]).map(|relation| (relation.oid, relation)).collect();
    let oids: Vec<u32> = pulled.keys().copied().collect();
    let mut columns = HashMap::new();
    for missing in source::read_missing_rights(session, &oids)? {
        if missing.right == Right::Columns {
            columns.insert(missing.relation, missing.columns.into_iter().flatten().collect());
        } else if let Some(relation) = pulled.get(&missing.relation) {
            let problem = Problem::of(ProblemKind::Rights, relation, missing.reason);
            pairing.problems.push(problem.mended_by(grant(missing.right, relation, user, session.version)));
        }
    }
    Ok(Granted::of(user, columns))
}

/// Writes the statement that grants a right on the source. It is made here, of names alone: the source could write anything.
fn grant(right: Right, relation: &Relation, user: &str, version: u32) -> String {
    let user = plan::quote_identifier(user);
    let statement = match right {
        Right::Policies => format!("ALTER ROLE {user} BYPASSRLS;"),
        _ if version >= 140_000 => format!("GRANT pg_read_all_data TO {user};"),
        Right::Schema => format!("GRANT USAGE ON SCHEMA {} TO {user};", plan::quote_identifier(&relation.schema)),
        Right::Table | Right::Columns => format!("GRANT SELECT ON {} TO {user};", relation.qualified_name()),
    };
    format!("{statement} -- on the source")
}
