//! What is compared with what, before rows are read.

use super::arguments::{Filters, hide_key, parse_filters, worker_count};
use super::compared::Compared;
use super::granted::Granted;
use super::left_out::LeftOut;
use super::problems::{no_table, refuse_problems_of};
use super::selection::choose;
use super::snapshot::{self, Opened};
use super::transport::{Compress, transport_of};
use super::without_effect::{Idle, idle_key};
use crate::error::{Error, Result, tell};
use crate::local::locks::{Mode, lock_or_tell};
use crate::local::{catalog, rights, settings};
use crate::source::{self, Session, Transport};
use crate::verify::{Level, RowIdentity, TablePair, Verdict, compare};
use pgrx::prelude::*;
use plan::catalog::{Column, Relation, UniqueKey, attach_columns};
use plan::digest::{Buckets, DigestColumn};
use plan::{Pairing, Problem, ProblemKind};
use selection::Selection;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The arguments of a comparison, as given.
pub struct VerifyRequest {
    pub source: String,
    pub include: Option<Vec<Option<String>>>,
    pub exclude: Option<Vec<Option<String>>>,
    pub level: String,
    pub parallel: Option<i32>,
    /// How many differing rows of each kind are told of for each table.
    pub most_rows: i32,
    /// Whether columns, constraints, indexes, rights and the like are compared, too.
    pub definitions: bool,
    /// Whether a difference is an error.
    pub fail: bool,
    /// What a pull takes of each table, as a JSON object: the comparison is with that.
    pub tables: Option<Value>,
    /// The secret that masks depend on.
    pub mask_key: Option<String>,
    /// How rows that are told from each other are compressed by the source.
    pub compress: String,
}

/// The most differing rows of each kind that a call can ask for.
const MOST_ROWS: usize = 1000;

/// Compares tables with those of the source, of one snapshot on each side. Nothing is written, and no lock is stronger than that
/// of a query. `may_wait_on` is asked while another session of the source is in the way.
pub fn verify(request: &VerifyRequest, may_wait_on: &dyn Fn() -> Result<()>) -> Result<Vec<Verdict>> {
    let level = Level::parse(&request.level)?;
    Compress::parse(&request.compress)?;
    hide_key(request.mask_key.as_deref());
    let filters =
        Filters::whole_tables(parse_filters("verify", request.include.as_deref(), request.exclude.as_deref())?)
            .with_selection(request.tables.as_ref(), request.mask_key.as_deref())?;
    let processes = worker_count(request.parallel)?;
    let most =
        usize::try_from(request.most_rows).ok().filter(|most| (1..=MOST_ROWS).contains(most)).ok_or_else(|| {
            let text = format!("most_rows must be between 1 and {MOST_ROWS}");
            Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, text)
        })?;
    let (origin, session) = snapshot::connect(&request.source, request.mask_key.as_deref())?;
    snapshot::refuse_own_database(&session, "that it would be compared with")?;
    session.end_queries_with_client();
    let verdicts = settings::with_catalog_settings(|| {
        let local = catalog::read_relations()?;
        let opened = snapshot::open(&session, origin.user(), &local, &filters, &LeftOut::default(), may_wait_on)?;
        let Opened { relations: there, pairing, granted, .. } = opened;
        let (mut pairs, changed) =
            pair_tables(&session, &granted, &there, &local, pairing, &filters.selection, request.definitions)?;
        let mut transport = Transport::Copy;
        if level == Level::Rows {
            find_identities(&session, &granted, &mut pairs, &changed)?;
            let (chosen, notice) = transport_of(&session, &request.compress)?;
            notice.iter().for_each(|notice| tell(notice));
            transport = chosen;
        }
        compare(&session, pairs, level, processes, most, transport)
    })?;
    session.rollback()?;
    idle_key(request.mask_key.as_deref(), &filters.selection).iter().for_each(|line| tell(line));
    if request.fail {
        refuse_differences(&verdicts)?;
    }
    Ok(verdicts)
}

fn refuse_differences(verdicts: &[Verdict]) -> Result<()> {
    let lines: Vec<String> = verdicts
        .iter()
        .filter(|verdict| !verdict.differences.is_empty())
        .map(|verdict| {
            format!("{}: {}", plan::qualified(&verdict.schema, &verdict.table), verdict.differences.join("; "))
        })
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let tables = if lines.len() == 1 { "1 table".to_owned() } else { format!("{} tables", lines.len()) };
    Err(Error::new(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, format!("source and destination differ in {tables}"))
        .details(lines))
}

/// Locks this side's tables as a query would, and finds the columns that both sides have. Returns for each table also the columns
/// that do not hold the values of the source's columns of these names.
fn pair_tables(
    session: &Session,
    granted: &Granted,
    there: &[Relation],
    local: &[Relation],
    mut pairing: Pairing,
    selection: &Selection,
    definitions: bool,
) -> Result<(Vec<TablePair>, Vec<BTreeSet<String>>)> {
    let mut sources: Vec<Relation> = pairing.pairs.iter().map(|pair| there[pair.source].clone()).collect();
    let mut targets: Vec<Relation> = pairing.pairs.iter().map(|pair| local[pair.target].clone()).collect();
    let source_oids: Vec<u32> = sources.iter().map(|source| source.oid).collect();
    let oids: Vec<u32> = targets.iter().map(|target| target.oid).collect();
    pairing.problems.extend(code_of_others(session, &sources, &source_oids)?);
    pairing.problems.extend(missing_rights(&targets, &oids)?);
    refuse_problems_of("verify", &pairing.problems)?;
    if pairing.pairs.is_empty() {
        // Whoever asks whether all are the same must not hear that none is another one.
        return Err(no_table("compare", &pairing.notices));
    }
    pairing.notices.iter().for_each(|notice| tell(notice));
    Idle::in_comparison(selection, there).lines(sources.iter()).iter().for_each(|line| tell(line));
    oids.iter().try_for_each(|&oid| lock_or_tell(oid, Mode::AccessShare))?;
    let now: HashMap<u32, Relation> =
        catalog::read_some_relations(&oids)?.into_iter().map(|relation| (relation.oid, relation)).collect();
    let owners: HashMap<u32, u32> = catalog::read_owners(&oids)?.into_iter().collect();
    for target in &targets {
        if now.get(&target.oid).map(Relation::identity) != Some(target.identity()) {
            return Err(changed(target));
        }
    }
    // The first look was at tables that others could still change.
    refuse_problems_of("verify", &missing_rights(&targets, &oids)?)?;
    attach_columns(&mut sources, source::read_columns(session, settings::version(), &source_oids)?);
    attach_columns(&mut targets, catalog::read_columns(session.version, &oids)?);
    let all: HashMap<u32, &Relation> = there.iter().map(|relation| (relation.oid, relation)).collect();
    let mut problems = Vec::new();
    let chosen = choose(session, granted, selection, &sources, &targets, &all, &mut problems)?;
    let mut pairs = Vec::with_capacity(oids.len());
    for ((source, target), (chosen, _)) in sources.iter().zip(&targets).zip(&chosen) {
        let mut differences = Pairing::default();
        let arriving = chosen.as_ref().map_or(source, |chosen| &chosen.source);
        let paired = differences.columns(arriving, target);
        let (columns, left_out) = common_columns(arriving, target);
        let read = if paired.is_some() { columns.as_slice() } else { &[] };
        let names = || read.iter().map(|column| column.name.as_str());
        problems.extend(granted.problem_of(source, chosen.as_ref(), names()));
        let relation = source.from_clause();
        let place = if granted.may_read_places(source.oid) { "ctid" } else { "NULL::pg_catalog.tid" };
        if paired.is_some() && !left_out.is_empty() {
            let name = target.qualified_name();
            tell(&format!(
                "columns of {name} that the source does not have alike, not compared: {}",
                left_out.join(", ")
            ));
        }
        let of_table = format!("{}: ", target.qualified_name());
        pairs.push(TablePair {
            schema: target.schema.clone(),
            name: target.name.clone(),
            source: match chosen {
                Some(chosen) => chosen.rows_as_from_names_them(&relation, place, names()),
                None if place == "ctid" => relation,
                None => {
                    let items = names().map(|name| format!(", {}", plan::quote_identifier(name)));
                    format!("(SELECT {place} AS ctid{} FROM {relation}) AS granted", items.collect::<String>())
                }
            },
            here: target.from_clause(),
            computed: chosen.is_some(),
            owner: owners.get(&target.oid).copied().ok_or_else(|| changed(target))?,
            oids: [source.oid, target.oid],
            identity: None,
            pages: (source.pages + source.toast_pages).max(target.pages + target.toast_pages),
            columns: paired.map(|_| columns),
            differences: differences
                .problems
                .into_iter()
                .map(|problem| problem.text.strip_prefix(&of_table).unwrap_or(&problem.text).to_owned())
                .collect(),
        });
    }
    refuse_problems_of("verify", &problems)?;
    let compared = Compared { session, sources: &sources, targets: &targets };
    let mut told = compared.sequences()?;
    if definitions {
        told.extend(compared.definitions()?);
    }
    told.into_iter().for_each(|(position, text)| pairs[position].differences.push(text));
    let changed =
        chosen.into_iter().map(|(chosen, _)| chosen.map(|chosen| chosen.changed).unwrap_or_default()).collect();
    Ok((pairs, changed))
}

/// Finds what rows of the tables are told from each other by.
fn find_identities(
    session: &Session,
    granted: &Granted,
    pairs: &mut [TablePair],
    changed: &[BTreeSet<String>],
) -> Result<()> {
    /// Of 8 kB, a few hundred rows.
    const PAGES_OF_A_BUCKET: i64 = 4;
    /// Their summaries travel.
    const MOST_BUCKETS: u32 = 16_384;
    let of_side = |side: usize| -> Vec<u32> { pairs.iter().map(|pair| pair.oids[side]).collect() };
    let (sources, targets) = (of_side(0), of_side(1));
    let theirs: HashSet<(u32, Vec<String>)> = source::read_unique_keys(session, &sources)?
        .into_iter()
        .map(|key| (key.relation, sorted(key.columns)))
        .collect();
    let mut ours: HashMap<u32, Vec<UniqueKey>> = HashMap::new();
    for key in catalog::read_unique_keys(&targets)? {
        ours.entry(key.relation).or_default().push(key);
    }
    for (pair, changed) in pairs.iter_mut().zip(changed) {
        let Some(columns) = &pair.columns else { continue };
        let [source, target] = pair.oids;
        let column_of = |name: &String| columns.iter().find(|column| column.name == *name).cloned();
        let key = ours.get(&target).into_iter().flatten().find_map(|key| {
            let of_both = theirs.contains(&(source, sorted(key.columns.clone())))
                && !key.columns.iter().any(|column| changed.contains(column));
            of_both.then(|| key.columns.iter().map(column_of).collect::<Option<Vec<_>>>()).flatten()
        });
        // Rows without a key are told by their places.
        if key.is_none() && !granted.may_read_places(source) {
            continue;
        }
        let buckets = u32::try_from(pair.pages / PAGES_OF_A_BUCKET).unwrap_or(MOST_BUCKETS).clamp(1, MOST_BUCKETS);
        let buckets = Buckets::Hashed(buckets.next_power_of_two());
        pair.identity = Some(RowIdentity { key: key.unwrap_or_default(), buckets });
    }
    Ok(())
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

/// The columns of this side that the source has with the same type, generated ones included, and the names of the others.
fn common_columns(source: &Relation, target: &Relation) -> (Vec<DigestColumn>, Vec<String>) {
    let theirs: HashMap<&str, &Column> = source.columns.iter().map(|column| (column.name.as_str(), column)).collect();
    let (mut common, mut left_out) = (Vec::new(), Vec::new());
    for column in &target.columns {
        match theirs.get(column.name.as_str()) {
            Some(other) if other.base_type == column.base_type && other.structure == column.structure => {
                common.push(DigestColumn::of_both(other, column));
            }
            _ => left_out.push(plan::quote_identifier(&column.name)),
        }
    }
    (common, left_out)
}

fn changed(target: &Relation) -> Error {
    let text = format!("the definition of table {} was changed meanwhile", target.qualified_name());
    Error::new(PgSqlErrorCode::ERRCODE_OBJECT_IN_USE, text)
}

/// Only a query computes a digest, and planning it runs functions that belong to the table.
fn code_of_others(session: &Session, sources: &[Relation], oids: &[u32]) -> Result<Vec<Problem>> {
    let authors: HashMap<u32, String> =
        source::read_code_of_others(session, oids)?.into_iter().map(|code| (code.relation, code.authors)).collect();
    let of = |source: &Relation| Some((source.qualified_name(), authors.get(&source.oid)?.clone()));
    Ok(sources
        .iter()
        .filter_map(of)
        .map(|(name, authors)| {
            let reason = format!("a query over it would run functions of {authors} as the user of the source");
            Problem::new(ProblemKind::Rights, format!("{name}: {reason}"))
        })
        .collect())
}

/// What keeps the caller from reading the tables, or their owners' code from running as those.
fn missing_rights(targets: &[Relation], oids: &[u32]) -> Result<Vec<Problem>> {
    let names: HashMap<u32, String> = targets.iter().map(|target| (target.oid, target.qualified_name())).collect();
    let partitioned: Vec<u32> = targets.iter().filter(|target| target.kind == 'p').map(|target| target.oid).collect();
    let unreadable = rights::unreadable(oids)?
        .into_iter()
        .map(|table| format!("{}: {}", names.get(&table.relation).cloned().unwrap_or_default(), table.reason));
    let lines = unreadable.chain(rights::foreign_partition_code(&partitioned, &[])?);
    Ok(lines.map(|text| Problem::new(ProblemKind::Rights, text)).collect())
}
