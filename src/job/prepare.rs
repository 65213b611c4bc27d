//! Everything before anything is touched: arguments, rights, connection, catalogs, the plan.

use super::history;
use super::spec::{ForeignKeyCheck, InPlaceTable, JobSpec, TableSpec, group_foreign_keys};
use crate::compat;
use crate::error::{Error, Result};
use crate::local::catalog::{self, Definition, ForeignKey, Generated, Publication};
use crate::local::identity::{Caller, Role, run_as};
use crate::local::locks::MarkingLock;
use crate::local::settings::{self, ValueSettings};
use crate::local::transaction::{self, Instants};
use crate::local::{encoding, expressions, interrupts, rights, rows, spi};
use crate::parquet::plan::FilesSpec;
use crate::source::{self, GuaranteedKey, Origin, Session};
use crate::stage;
use pgrx::prelude::*;
use plan::catalog::{ColumnSequence, LockTable, Relation, RelationColumn, attach_columns};
use plan::{Pairing, PartLimits, Pattern, Problem, ProblemKind, Wire};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// The arguments of a pull, as given.
#[derive(Clone, Serialize, Deserialize)]
pub struct Request {
    pub source: String,
    pub include: Option<Vec<Option<String>>>,
    pub exclude: Option<Vec<Option<String>>>,
    pub overwrite: bool,
    /// Workers; 0 for the leader alone, `None` for what fits the machine.
    pub parallel: Option<i32>,
    pub batch_size: i32,
    /// Whether foreign keys are checked that the source itself guarantees.
    pub validate: bool,
    /// Whether to wait for locks on the targets that others hold, or to fail at once.
    pub wait: bool,
    /// Whether each finished table is told of.
    pub verbose: bool,
    /// Whether materialized views that read the targets are refreshed.
    pub refresh: bool,
    /// Whether all targets are loaded as they stand, also those whose storage could be exchanged.
    pub in_place: bool,
}

/// A pull that is possible, with the source's snapshot open.
pub(super) struct Prepared {
    /// None for a load of files.
    session: Option<Rc<Session>>,
    files: Option<FilesSpec>,
    pub(super) origin: Option<Origin>,
    pub(super) caller: Caller,
    pub(super) snapshot: String,
    pub(super) workers: usize,
    pub(super) targets: Vec<Target>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    /// OIDs of those that are not checked, because the source guarantees them.
    pub(super) trusted_keys: BTreeSet<u32>,
    /// Tables that are loaded in place, with all their partitions.
    pub(super) in_place_members: Vec<u32>,
    /// Whether the caller's transaction had written anything when it called.
    has_written: bool,
    /// Whether the rows depend on what other transactions do not see.
    depends_on_own_changes: bool,
    pub(super) sequences: Vec<SequencePair>,
    /// Materialized views to refresh (schema-qualified names), each after those that it reads.
    pub(super) refreshed: Vec<String>,
    pub(super) notices: Vec<String>,
    /// Also those that cannot be pulled.
    all_targets: Vec<u32>,
    /// What the locked definitions are compared with.
    columns: Vec<RelationColumn>,
    definitions: Vec<Definition>,
}

/// A target with its counterpart.
pub(super) struct Target {
    pub(super) source: Relation,
    pub(super) local: Relation,
    pub(super) spec: TableSpec,
    pub(super) method: Method,
    pub(super) warnings: Vec<String>,
}

/// How a target gets its new rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Into a stage table, whose storage the target then takes over.
    Swap,
    /// Into the target itself, by the leader.
    InPlace,
}

impl Method {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::InPlace => "in place",
        }
    }
}

/// A sequence here and the one of the same column on the source.
pub(super) struct SequencePair {
    pub(super) local: ColumnSequence,
    /// Schema-qualified.
    pub(super) source: String,
    /// Whether tables outside of the pull hold numbers of the local one.
    pub(super) used_elsewhere: bool,
}

const LARGEST_BATCH: i32 = 100_000;
const MOST_WORKERS: i32 = 64;

pub(super) fn connect(source: &str) -> Result<(Origin, Session)> {
    rights::refuse_restricted_operation()?;
    let origin = Origin::resolve(source)?;
    let session = Session::open(&origin)?;
    Ok((origin, session))
}

/// Refuses a source that is the very database of this session, however it was reached. Who asks for what is replaced would
/// wait for the source's session, which waits for nobody that the server knows of.
///
/// Neither names nor identifiers tell: a standby has the same ones. What this session locks only its own server shows.
fn refuse_own_database(session: &Session) -> Result<()> {
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
        "the source is the database that the pull would replace tables of",
    )
    .detail(format!("The connection leads to database \"{}\" of this server itself.", catalog::database_name()))
    .hint("Name another server or database as the source. SELECT current_database(), inet_server_addr(), inet_server_port() tells where a session is."))
}

/// What can be said of the arguments without asking the source. Returns the source as people may see it.
pub(super) fn check_arguments(request: &Request) -> Result<String> {
    Arguments::of(request)?;
    Ok(Origin::resolve(&request.source)?.to_string())
}

struct Arguments {
    include: Option<Vec<Pattern>>,
    exclude: Vec<Pattern>,
    workers: usize,
}

impl Arguments {
    fn of(request: &Request) -> Result<Self> {
        let include = request.include.as_deref().map(parse_patterns).transpose()?;
        if include.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                "include is an empty array: there would be nothing to pull",
            )
            .hint("Leave include out, or give NULL, to pull every table that exists on both sides."));
        }
        let exclude = parse_patterns(request.exclude.as_deref().unwrap_or_default())?;
        let workers = worker_count(request.parallel)?;
        if !(1..=LARGEST_BATCH).contains(&request.batch_size) {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("batch_size must be between 1 and {LARGEST_BATCH}"),
            ));
        }
        Ok(Self { include, exclude, workers })
    }
}

/// Plans the pull. Nothing is locked or written here.
pub(super) fn prepare(request: &Request) -> Result<Prepared> {
    let has_written = transaction::has_written();
    let Arguments { include, exclude, workers } = Arguments::of(request)?;
    let (origin, mut session) = connect(&request.source)?;
    refuse_own_database(&session)?;
    session.set_copy_encoding(&encoding::database_name())?;
    settings::with_catalog_settings(|| {
        let local = catalog::read_relations()?;
        let (source, mut pairing, snapshot) = snapshot_of(&session, &local, include.as_deref(), &exclude)?;
        let mut prepared = Prepared {
            session: Some(Rc::new(session)),
            origin: Some(origin),
            snapshot,
            notices: std::mem::take(&mut pairing.notices),
            ..Prepared::for_caller(workers, has_written)
        };
        prepared.pair_targets(source, local, request.in_place, &mut pairing)?;
        prepared.plan_foreign_keys(&mut pairing.problems)?;
        prepared.pair_sequences(&mut pairing.problems)?;
        prepared.plan_refresh(request.refresh, &mut pairing.problems)?;
        refuse_problems(&pairing.problems)?;
        if !request.validate {
            prepared.trust_the_source()?;
        }
        prepared.refuse_too_many_locks()?;
        prepared.plan_who_works()?;
        Ok(prepared)
    })
}

fn parse_patterns(texts: &[Option<String>]) -> Result<Vec<Pattern>> {
    texts
        .iter()
        .map(|text| {
            Pattern::parse(text.as_deref().unwrap_or("")).map_err(|error| {
                Error::new(PgSqlErrorCode::ERRCODE_INVALID_NAME, error.to_string())
                    .hint("Patterns are names such as users, public.users, user_* or \"Odd.Name\".")
            })
        })
        .collect()
}

pub(super) fn worker_count(parallel: Option<i32>) -> Result<usize> {
    match parallel {
        // Copying and building indexes both keep a processor busy; more workers only get into each other's way.
        None => Ok(std::thread::available_parallelism().map_or(2, |count| count.get()).clamp(2, 8)),
        Some(count @ 0..=MOST_WORKERS) => Ok(count as usize),
        Some(_) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("parallel must be between 0 and {MOST_WORKERS}"),
        )),
    }
}

/// Opens the snapshot with all tables of the pull locked, and reads the catalog as the snapshot sees it.
///
/// Which tables those are must be known before; if it has changed by the time that the snapshot is there, try again.
fn snapshot_of(
    session: &Session,
    local: &[Relation],
    include: Option<&[Pattern]>,
    exclude: &[Pattern],
) -> Result<(Vec<Relation>, Pairing, String)> {
    const ATTEMPTS: usize = 5;
    let pair = |relations: &[Relation]| -> Result<Pairing> {
        let mut pairing = plan::pair(relations, local, include, exclude, &interrupts::check);
        note_missing_rights(session, relations, &mut pairing)?;
        Ok(pairing)
    };
    let mut relations = source::read_relations(session)?;
    let mut pairing = pair(&relations)?;
    for _ in 0..ATTEMPTS {
        // What cannot be pulled need not be locked; the user hears all of it at once.
        let possible = pairing.problems.is_empty();
        let wanted = if possible { read_tables(&relations, &pairing) } else { BTreeSet::new() };
        let locks = source::read_lock_table(session)?;
        refuse_full_lock_table("source", locks, wanted.len() as u64)?;
        let tables = pairing.pairs.iter().filter(|_| possible).map(|pair| &relations[pair.source]);
        let snapshot = session.begin_snapshot(tables, super::control::refuse_circle_of_pulls)?;
        relations = source::read_relations(session)?;
        pairing = pair(&relations)?;
        let all_locked = read_tables(&relations, &pairing).is_subset(&wanted);
        if all_locked || !pairing.problems.is_empty() {
            return Ok((relations, pairing, snapshot));
        }
        session.rollback()?;
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_OBJECT_IN_USE, "the source's tables keep changing their definitions"))
}

/// Names of the source's tables that rows are read from, directly or through the table that they are partitions of.
fn read_tables(relations: &[Relation], pairing: &Pairing) -> BTreeSet<String> {
    let pulled: HashSet<u32> = pairing.pairs.iter().map(|pair| relations[pair.source].oid).collect();
    let is_read = |relation: &&Relation| relation.ancestors().any(|ancestor| pulled.contains(&ancestor));
    relations.iter().filter(is_read).map(Relation::qualified_name).collect()
}

/// What the source's user may not read, before locking the first such table fails.
fn note_missing_rights(session: &Session, relations: &[Relation], pairing: &mut Pairing) -> Result<()> {
    let pulled: HashMap<u32, &Relation> =
        pairing.pairs.iter().map(|pair| &relations[pair.source]).map(|relation| (relation.oid, relation)).collect();
    let oids: Vec<u32> = pulled.keys().copied().collect();
    for missing in source::read_missing_rights(session, &oids)? {
        if let Some(relation) = pulled.get(&missing.relation) {
            let text = format!("{}: {}", relation.qualified_name(), missing.reason);
            pairing.problems.push(Problem::new(ProblemKind::Rights, text));
        }
    }
    Ok(())
}

/// One error for all that is wrong.
fn refuse_problems(problems: &[Problem]) -> Result<()> {
    let Some(first) = problems.first() else {
        return Ok(());
    };
    let sqlstate = match first.kind {
        ProblemKind::UnmatchedPattern | ProblemKind::MissingTable => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        ProblemKind::WrongObject => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        ProblemKind::Partitioning | ProblemKind::Exclusion | ProblemKind::Storage => {
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED
        }
        ProblemKind::MissingColumn => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
        ProblemKind::Type => PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
        ProblemKind::Rights => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
    };
    let count = match problems.len() {
        1 => "there is a problem".to_owned(),
        count => format!("there are {count} problems"),
    };
    let lines = problems.iter().map(|problem| problem.text.as_str());
    let error = Error::new(sqlstate, format!("cannot pull: {count}; nothing was touched")).details(lines);
    let is_of = |kind: ProblemKind| move |problem: &Problem| problem.kind == kind;
    Err(error.hint(if problems.iter().all(is_of(ProblemKind::Rights)) {
        "Get the rights that are missing, or leave these tables out with exclude."
    } else if problems.iter().any(is_of(ProblemKind::UnmatchedPattern)) {
        "pgcopy.list(source) shows the source's tables. * matches any run of characters; names that are not in lower case need double quotes."
    } else if problems.iter().all(is_of(ProblemKind::Exclusion)) {
        "Leave the whole partitioned table out, or make its partitions alike on both sides."
    } else if problems.iter().any(is_of(ProblemKind::Exclusion)) {
        "Leave tables out with exclude, partitioned ones as a whole, or make both sides alike."
    } else {
        "Leave tables out with exclude, or make both sides alike."
    }))
}

impl Prepared {
    /// Nothing to do yet.
    fn for_caller(workers: usize, has_written: bool) -> Self {
        Self {
            session: None,
            files: None,
            origin: None,
            caller: Caller::of_this_session(),
            snapshot: String::new(),
            workers,
            targets: Vec::new(),
            foreign_keys: Vec::new(),
            trusted_keys: BTreeSet::new(),
            in_place_members: Vec::new(),
            has_written,
            depends_on_own_changes: false,
            sequences: Vec::new(),
            refreshed: Vec::new(),
            notices: Vec::new(),
            all_targets: Vec::new(),
            columns: Vec::new(),
            definitions: Vec::new(),
        }
    }

    /// A load of files into one table, whose storage will be exchanged. `has_written` tells of the caller's transaction as it
    /// was when it called.
    pub(super) fn for_files(
        local: Relation,
        mut spec: TableSpec,
        files: FilesSpec,
        workers: usize,
        has_written: bool,
    ) -> Result<Self> {
        settings::with_catalog_settings(|| {
            let oids = [local.oid];
            let definitions = catalog::read_definitions(&oids)?;
            let definition =
                definitions.first().ok_or_else(|| Error::internal("a table that was found is not there"))?;
            spec.indexes = definition.indexes.clone();
            spec.checks = definition.checks.clone();
            spec.checks_bounds = definition.is_partition;
            spec.generated = definition.generated.clone();
            spec.virtuals = definition.virtuals.clone();
            spec.column_options = definition.column_options.clone();
            spec.extended_statistics = definition.extended_statistics.clone();
            spec.share_analyze(workers, true);
            let source = Relation::named(0, &local.schema, &local.name);
            let mut prepared = Self {
                files: Some(files),
                all_targets: oids.to_vec(),
                columns: catalog::read_columns(settings::version(), &oids)?,
                definitions,
                ..Self::for_caller(workers, has_written)
            };
            prepared.targets.push(Target { source, local, spec, method: Method::Swap, warnings: Vec::new() });
            let mut problems = Vec::new();
            prepared.plan_foreign_keys(&mut problems)?;
            refuse_problems(&problems)?;
            prepared.plan_who_works()?;
            Ok(prepared)
        })
    }

    pub(super) fn session(&self) -> Result<&Rc<Session>> {
        self.session.as_ref().ok_or_else(|| Error::internal("files have no session"))
    }

    /// Files are read as this server's own columns.
    fn source_version(&self) -> u32 {
        self.session.as_ref().map_or_else(settings::version, |session| session.version)
    }

    /// What the sequences of the targets are to continue at.
    pub(super) fn read_sequence_values(&self) -> Result<Vec<source::SequenceValue>> {
        let Some(session) = &self.session else { return Ok(Vec::new()) };
        let names: Vec<String> = self.sequences.iter().map(|pair| pair.source.clone()).collect();
        source::read_sequence_values(session, &names)
    }

    /// Nothing more will be read.
    pub(super) fn end_snapshot(&self) -> Result<()> {
        self.session.as_ref().map_or(Ok(()), |session| session.rollback())
    }

    fn pair_targets(
        &mut self,
        source: Vec<Relation>,
        local: Vec<Relation>,
        all_in_place: bool,
        pairing: &mut Pairing,
    ) -> Result<()> {
        let slots = catalog::read_slots_without_publications()?;
        let pairs = std::mem::take(&mut pairing.pairs);
        let mut sources: Vec<Relation> = pairs.iter().map(|pair| source[pair.source].clone()).collect();
        let mut targets: Vec<Relation> = pairs.iter().map(|pair| local[pair.target].clone()).collect();
        let target_oids: Vec<u32> = targets.iter().map(|target| target.oid).collect();
        self.all_targets = target_oids.clone();
        let source_oids: Vec<u32> = sources.iter().map(|source| source.oid).collect();
        attach_columns(&mut sources, source::read_columns(self.session()?, settings::version(), &source_oids)?);
        self.columns = catalog::read_columns(self.source_version(), &target_oids)?;
        attach_columns(&mut targets, self.columns.clone());
        let used_here = catalog::read_enums(&target_oids)?;
        if !used_here.is_empty() {
            pairing.enums(&source::read_enums(self.session()?, &source_oids)?, &used_here);
        }
        self.definitions = catalog::read_definitions(&target_oids)?;
        let definitions: HashMap<u32, &Definition> =
            self.definitions.iter().map(|definition| (definition.oid, definition)).collect();
        for table in rights::not_owned(&target_oids)? {
            pairing.problems.push(Problem::new(ProblemKind::Rights, format!("must be owner of table {table}")));
        }
        let mut other_money = None;
        for (source, local) in sources.into_iter().zip(targets) {
            let Some(definition) = definitions.get(&local.oid) else {
                let text = format!("{}: was dropped meanwhile", local.qualified_name());
                pairing.problems.push(Problem::new(ProblemKind::MissingTable, text));
                continue;
            };
            if local.persistence == 't' {
                let text = format!("{}: is a temporary table", local.qualified_name());
                pairing.problems.push(Problem::new(ProblemKind::Storage, text));
            }
            let mut warnings = reasons_to_load_in_place(&local, definition);
            if all_in_place && warnings.is_empty() {
                warnings.push("loaded in place: as asked for".to_owned());
            }
            let method = if warnings.is_empty() { Method::Swap } else { Method::InPlace };
            pairing.problems.extend(half_published(&local, definition, &target_oids));
            let Some(columns) = pairing.columns(&source, &local) else {
                continue;
            };
            if method == Method::InPlace {
                pairing.problems.extend(columns.rounded.iter().map(|difference| {
                    let text = format!("{}: {difference}, where COPY would round", local.qualified_name());
                    Problem::new(ProblemKind::Type, text)
                }));
            }
            // Only what is logged is decoded.
            if method == Method::Swap && local.persistence == 'p' && !slots.is_empty() {
                warnings.push(format!("{} nothing of it, unless method is 'in place'", slots_get(&slots)));
            }
            if source.columns.iter().any(|column| column.base_type.starts_with("money")) {
                let words = match &other_money {
                    Some(words) => words,
                    None => other_money.insert(self.other_money()?),
                };
                warnings.extend(words.clone());
            }
            if !columns.left_to_default.is_empty() {
                let names: Vec<_> =
                    columns.left_to_default.iter().map(|(name, _)| plan::quote_identifier(name)).collect();
                let text = format!("left to their defaults, because the source has none: {}", names.join(", "));
                self.notices.push(format!("columns of {} {text}", local.qualified_name()));
                warnings.push(text);
            }
            let wire = columns.wire;
            let pages = u32::try_from(source.pages).unwrap_or(u32::MAX);
            let toast_pages = u32::try_from(source.toast_pages).unwrap_or(u32::MAX);
            let scans_ranges = self.session()?.version >= 140_000;
            let limits = PartLimits::for_workers(if scans_ranges { self.workers as u32 } else { 1 });
            let mut spec = TableSpec {
                source_name: source.qualified_name(),
                source_partitioned: source.kind == 'p',
                source_generates: columns.source_generates,
                target: local.oid,
                owner: definition.owner,
                schema: local.schema.clone(),
                name: local.name.clone(),
                defaults: read_defaults(local.oid, &columns.left_to_default),
                columns: columns.copied,
                wire,
                parts: plan::split(pages, toast_pages, limits),
                pages: pages.saturating_add(toast_pages),
                source_toasts: toast_pages > 0,
                indexes: definition.indexes.clone(),
                checks: definition.checks.clone(),
                // The source has sorted its rows, but may have computed something else.
                checks_bounds: definition.computes_partition_key,
                generated: definition.generated.clone(),
                column_options: definition.column_options.clone(),
                extended_statistics: definition.extended_statistics.clone(),
                virtuals: definition.virtuals.clone(),
                analyze_slices: 1,
                new_table: None,
            };
            spec.share_analyze(self.workers, target_oids.len() == 1);
            if wire == Wire::Text {
                warnings.push("travels as text: some column's binary form would mean something else here".to_owned());
            }
            self.targets.push(Target { source, local, spec, method, warnings });
        }
        if !slots.is_empty() && self.targets_by(Method::Swap).any(|target| target.local.persistence == 'p') {
            let them = if slots.len() == 1 { "it gets" } else { "they get" };
            self.notices.push(format!(
                "{} nothing of tables that are swapped; with method => 'in place' {them} all changes",
                slots_get(&slots)
            ));
        }
        Ok(())
    }

    /// Amounts of money travel as numbers of the smallest unit, which another locale may divide otherwise.
    fn other_money(&self) -> Result<Option<String>> {
        const SETTING: &str = "SELECT pg_catalog.current_setting('lc_monetary')";
        let (there, here) = (self.session()?.query_value(SETTING)?, spi::query_text(SETTING)?.unwrap_or_default());
        Ok((there != here).then(|| {
            format!("money may mean other amounts: lc_monetary is {there} on the source and {here} on the destination")
        }))
    }

    /// Partitioned tables as which partitions among the targets are published.
    pub(super) fn published_roots(&self) -> BTreeSet<&str> {
        self.definitions
            .iter()
            .flat_map(|definition| &definition.publications)
            .filter_map(|publication| publication.root.as_deref())
            .collect()
    }

    fn target_oids(&self) -> Vec<u32> {
        self.targets.iter().map(|target| target.local.oid).collect()
    }

    pub(super) fn targets_by(&self, method: Method) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(move |target| target.method == method)
    }

    fn oids_by(&self, method: Method) -> Vec<u32> {
        self.targets_by(method).map(|target| target.local.oid).collect()
    }

    /// Other processes evaluate expressions with what is committed.
    fn plan_who_works(&mut self) -> Result<()> {
        let swapped = self.oids_by(Method::Swap);
        self.depends_on_own_changes = self.has_written && catalog::depend_on_own_changes(&swapped)?;
        Ok(())
    }

    fn plan_foreign_keys(&mut self, problems: &mut Vec<Problem>) -> Result<()> {
        let in_place = self.oids_by(Method::InPlace);
        self.in_place_members = catalog::partition_members(&in_place)?;
        self.foreign_keys = self.read_foreign_keys_to_check()?;
        // Keys of other tables are suspended there. Rights on the targets themselves are told of already.
        let others: BTreeSet<u32> = self
            .foreign_keys
            .iter()
            .filter(|key| self.waits_for_in_place(key))
            .flat_map(|key| [key.referencing, key.referenced])
            .filter(|oid| !self.all_targets.contains(oid) && !self.in_place_members.contains(oid))
            .collect();
        problems.extend(
            rights::not_owned(&others.into_iter().collect::<Vec<_>>())?
                .into_iter()
                .map(|table| Problem::new(ProblemKind::Rights, format!("must be owner of table {table}"))),
        );
        let computes = |target: &&Target| {
            let definition = self.definitions.iter().find(|definition| definition.oid == target.local.oid);
            definition.is_some_and(|definition| definition.computes_partition_key)
        };
        let compared: Vec<u32> =
            self.targets_by(Method::Swap).filter(computes).map(|target| target.local.oid).collect();
        let foreign = rights::foreign_partition_code(&in_place, &compared)?;
        problems.extend(foreign.into_iter().map(|text| Problem::new(ProblemKind::Rights, text)));
        Ok(())
    }

    /// Leaves foreign keys unchecked that the source guarantees: the same key, validated and enforced there, between the
    /// same two tables, both read in the one snapshot.
    fn trust_the_source(&mut self) -> Result<()> {
        let counterpart: HashMap<u32, u32> =
            self.targets_by(Method::Swap).map(|target| (target.local.oid, target.source.oid)).collect();
        let source_oids: Vec<u32> = counterpart.values().copied().collect();
        let guaranteed: HashSet<GuaranteedKey> = source::read_guaranteed_keys(self.session()?, &source_oids)?
            .into_iter()
            .map(|mut key| {
                key.columns.sort();
                key
            })
            .collect();
        let is_guaranteed = |key: &ForeignKey| {
            let ends = (counterpart.get(&key.referencing), counterpart.get(&key.referenced));
            let (Some(&referencing), Some(&referenced)) = ends else { return false };
            let mut columns: Vec<_> =
                key.keys.iter().map(|pair| (pair.referencing.clone(), pair.referenced.clone())).collect();
            columns.sort();
            let as_strict = |match_full| {
                guaranteed.contains(&GuaranteedKey { referencing, referenced, match_full, columns: columns.clone() })
            };
            as_strict(true) || !key.match_full && as_strict(false)
        };
        self.trusted_keys = self.foreign_keys.iter().filter(|key| is_guaranteed(key)).map(|key| key.oid).collect();
        Ok(())
    }

    fn read_foreign_keys_to_check(&self) -> Result<Vec<ForeignKey>> {
        let mut changed = self.oids_by(Method::Swap);
        changed.extend(&self.in_place_members);
        catalog::read_foreign_keys(&changed)
    }

    /// Whether a foreign key can only be checked when the targets that are loaded in place have their rows.
    fn waits_for_in_place(&self, key: &ForeignKey) -> bool {
        let ends = [key.referencing, key.referenced];
        ends.iter().chain(&key.referenced_leaves).any(|oid| self.in_place_members.contains(oid))
    }

    /// The checks of those.
    pub(super) fn in_place_checks(&self) -> Result<Vec<ForeignKeyCheck>> {
        self.checks(&HashMap::new(), |key| self.waits_for_in_place(key))
    }

    /// `positions` are those of the targets among the job's tables.
    fn checks(
        &self,
        positions: &HashMap<u32, usize>,
        is_meant: impl Fn(&ForeignKey) -> bool,
    ) -> Result<Vec<ForeignKeyCheck>> {
        let readable = readable_referencing(&self.foreign_keys)?;
        self.foreign_keys
            .iter()
            .filter(|key| !self.trusted_keys.contains(&key.oid) && is_meant(key))
            .map(|key| {
                let is_target =
                    self.all_targets.contains(&key.referencing) || self.in_place_members.contains(&key.referencing);
                stage::foreign_key_check(key, positions, is_target, readable.contains(&key.referencing))
            })
            .collect()
    }

    /// The spec of a target whose defaults are those of the caller's session and transaction, as far as they are the same for
    /// all rows.
    fn spec_for_caller(&self, target: &Target) -> Result<TableSpec> {
        let mut spec = target.spec.clone();
        for default in &mut spec.defaults {
            let expression = expressions::with_values_of_session(&default.expression)?;
            // Functions in it are the owner's code. One that cannot be computed is an error of the first row, if there is one.
            let computed = transaction::in_subtransaction(|| {
                crate::error::catch(|| {
                    run_as(Role::TableOwner(spec.owner), || {
                        settings::set_local(c"search_path", "pg_catalog, pg_temp")?;
                        expressions::with_stable_parts_computed(&expression)
                    })
                })
            });
            default.expression = match computed {
                Ok(computed) => computed,
                Err(error) if &compat::sqlstate_class(error.sqlstate) == b"57" => return Err(error),
                Err(_) => expression,
            };
        }
        Ok(spec)
    }

    /// Sequences of the targets' columns, and of those of the partitioned tables above them, which give out the numbers for
    /// all partitions.
    fn pair_sequences(&mut self, problems: &mut Vec<Problem>) -> Result<()> {
        let mut counterparts: HashMap<u32, u32> = HashMap::new();
        let mut copied: HashSet<(u32, &str)> = HashSet::new();
        for target in &self.targets {
            let above = |relation: &Relation| relation.partition_ancestors.clone().unwrap_or_default();
            counterparts.insert(target.local.oid, target.source.oid);
            for (local, source) in above(&target.local).into_iter().zip(above(&target.source)) {
                counterparts.entry(local).or_insert(source);
            }
            for relation in target.local.ancestors() {
                copied.extend(target.spec.columns.iter().map(|column| (relation, column.name.as_str())));
            }
        }
        let (local_oids, source_oids): (Vec<u32>, Vec<u32>) = counterparts.iter().unzip();
        let mut here: BTreeMap<u32, Vec<ColumnSequence>> = BTreeMap::new();
        for sequence in catalog::read_sequences(&local_oids)? {
            here.entry(sequence.oid).or_default().push(sequence);
        }
        if here.is_empty() {
            return Ok(());
        }
        let mut there: HashMap<(u32, String), Vec<ColumnSequence>> = HashMap::new();
        for sequence in source::read_sequences(self.session()?, &source_oids)? {
            there.entry((sequence.relation, sequence.column.clone())).or_default().push(sequence);
        }
        let pulled: Vec<u32> = self.target_oids().into_iter().chain(self.in_place_members.iter().copied()).collect();
        let oids: Vec<u32> = here.keys().copied().collect();
        let used_elsewhere: HashSet<u32> = catalog::sequences_used_elsewhere(&oids, &pulled)?.into_iter().collect();
        let mut of_columns: HashMap<(u32, i16), Vec<(&str, &str)>> = HashMap::new();
        for local in here.values().flatten() {
            of_columns.entry((local.relation, local.number)).or_default().push((&local.schema, &local.name));
        }
        let is_of_column =
            |local: &ColumnSequence, name: (&str, &str)| of_columns[&(local.relation, local.number)].contains(&name);
        let (mut pairs, mut notices) = (Vec::new(), Vec::new());
        for uses in here.values() {
            let candidates = || {
                uses.iter().flat_map(|local| {
                    let column = (counterparts[&local.relation], local.column.clone());
                    there.get(&column).into_iter().flatten().map(move |other| (local, other))
                })
            };
            // One of another name is the counterpart, unless it is that of another sequence of the column.
            let pair = candidates()
                .find(|(local, other)| (&local.schema, &local.name) == (&other.schema, &other.name))
                .or_else(|| candidates().find(|(local, other)| !is_of_column(local, (&other.schema, &other.name))));
            let Some((local, other)) = pair else {
                // Where the column is not copied, its default takes the next values.
                if let Some(local) = uses.iter().find(|local| copied.contains(&(local.relation, &local.column))) {
                    notices.push(left_as_it_is(local, "the column has no sequence on the source"));
                }
                continue;
            };
            let used_elsewhere = used_elsewhere.contains(&local.oid);
            let name = plan::qualified(&other.schema, &other.name);
            // Somebody who may replace a partition need not have any rights on the whole table.
            let of_others = used_elsewhere && !pulled.contains(&local.relation);
            if of_others && !other.readable {
                notices.push(left_as_it_is(local, "the user may not read its counterpart on the source"));
                continue;
            }
            if of_others && !rights::not_owned(&[local.oid])?.is_empty() {
                notices.push(left_as_it_is(local, "it belongs to somebody else, and to more than what is pulled"));
                continue;
            }
            if !other.readable {
                let text = format!("sequence {name}: the user may not read it on the source");
                problems.push(Problem::new(ProblemKind::Rights, text));
            }
            pairs.push(SequencePair { source: name, local: local.clone(), used_elsewhere });
        }
        self.sequences = pairs;
        self.notices.extend(notices);
        let sequence_oids: Vec<u32> = self.sequences.iter().map(|pair| pair.local.oid).collect();
        problems.extend(
            rights::not_owned(&sequence_oids)?
                .into_iter()
                .map(|name| Problem::new(ProblemKind::Rights, format!("must be owner of sequence {name}"))),
        );
        Ok(())
    }

    /// Materialized views that read the targets show the old rows until somebody refreshes them.
    fn plan_refresh(&mut self, wanted: bool, problems: &mut Vec<Problem>) -> Result<()> {
        let dependents = catalog::read_dependents(&self.target_oids())?;
        if dependents.views.is_empty() {
            return Ok(());
        }
        let oids: Vec<u32> = dependents.views.iter().map(|view| view.oid).collect();
        let names: HashMap<u32, &String> = dependents.views.iter().map(|view| (view.oid, &view.name)).collect();
        let ordered: Vec<String> =
            plan::refresh_order(&oids, &dependents.reads).iter().map(|oid| names[oid].clone()).collect();
        if !wanted {
            self.notices.push(format!(
                "materialized views that keep showing the old rows, for want of refresh => true: {}",
                ordered.join(", ")
            ));
            return Ok(());
        }
        self.refreshed = ordered;
        problems.extend(
            rights::not_owned(&oids)?
                .into_iter()
                .map(|view| Problem::new(ProblemKind::Rights, format!("must be owner of materialized view {view}"))),
        );
        Ok(())
    }

    /// A target and its indexes are locked together with what stands in for them.
    fn refuse_too_many_locks(&self) -> Result<()> {
        let of_target = |target: &Target| {
            let toasts = target.spec.source_toasts || target.local.toast_pages > 0 || target.spec.parts.len() > 1;
            let relations = 1 + target.spec.indexes.len() + if toasts { 2 } else { 0 };
            if target.method == Method::Swap { 2 * relations } else { relations }
        };
        const OTHERS: usize = 50;
        let locks = self.targets.iter().map(of_target).sum::<usize>()
            + self.in_place_members.len()
            + self.tied_tables().len()
            + self.sequences.len()
            + self.refreshed.len()
            + OTHERS;
        refuse_full_lock_table("destination", catalog::read_lock_table()?, locks as u64)
    }

    fn have_same_defaults(&self) -> bool {
        self.targets.iter().all(|target| {
            target.spec.defaults.iter().all(|default| {
                catalog::column_default(target.local.oid, default.number).as_ref() == Some(&default.expression)
            })
        })
    }

    /// Refuses to replace rows that the caller did not say may go.
    pub(super) fn refuse_unasked_overwrite(&self, request: &Request) -> Result<()> {
        if request.overwrite {
            return Ok(());
        }
        let mut full = BTreeSet::new();
        for local in self.targets.iter().map(|target| &target.local) {
            let members = match local.kind {
                'p' => settings::with_catalog_settings(|| catalog::partition_members(&[local.oid]))?,
                _ => vec![local.oid],
            };
            // Not by what the plan knows of its size: rows may have come since.
            for member in members {
                let holds_rows = if request.wait { Some(rows::are_in(member)) } else { rows::are_in_now(member) };
                match holds_rows {
                    Some(true) => {
                        full.insert(local.oid);
                        break;
                    }
                    Some(false) => {}
                    None => return Err(history::locked_by_others(member)?),
                }
            }
        }
        let full: Vec<&Relation> =
            self.targets.iter().map(|target| &target.local).filter(|local| full.contains(&local.oid)).collect();
        if full.is_empty() {
            return Ok(());
        }
        const MOST_LINES: usize = 50;
        let mut lines: Vec<String> = full
            .iter()
            .take(MOST_LINES)
            .map(|table| format!("{} ({})", table.qualified_name(), pretty_bytes(table.bytes as u64)))
            .collect();
        if full.len() > MOST_LINES {
            lines.push(format!("and {} more", full.len() - MOST_LINES));
        }
        let what =
            if full.len() == 1 { "1 table holds rows".to_owned() } else { format!("{} tables hold rows", full.len()) };
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{what} that the pull would replace; nothing was touched"),
        )
        .details(lines)
        .hint(format!("To replace them: SELECT * FROM pgcopy.pull(…{}, overwrite => true);", arguments(request))))
    }

    /// Whether each target still has the name, the place among partitions and the kind of storage by which it was paired
    /// with a table of the source. All other definitions are read later, after the waits for the source.
    fn are_still_the_counterparts(&self) -> Result<bool> {
        let mut planned: Vec<Relation> = self.targets.iter().map(|target| target.local.identity()).collect();
        let oids: Vec<u32> = planned.iter().map(|local| local.oid).collect();
        let mut found: Vec<Relation> = catalog::read_some_relations(&oids)?.iter().map(Relation::identity).collect();
        planned.sort_by_key(|local| local.oid);
        found.sort_by_key(|local| local.oid);
        Ok(found == planned)
    }

    /// Whether the locked tables are still those that the plan was made for.
    pub(super) fn refuse_changed_definitions(&self) -> Result<()> {
        settings::with_catalog_settings(|| {
            let oids = self.target_oids();
            let foreign = rights::not_owned(&oids)?;
            if !foreign.is_empty() {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                    format!("must be owner of table {}", foreign.join("; ")),
                ));
            }
            let same = self.are_still_the_counterparts()?
                && catalog::read_definitions(&oids)? == self.definitions
                && catalog::read_columns(self.source_version(), &oids)? == self.columns
                && self.have_same_defaults()
                && self.read_foreign_keys_to_check()? == self.foreign_keys;
            if same {
                return Ok(());
            }
            Err(Error::new(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                "a target's definition was changed while the pull was starting; nothing was touched",
            )
            .hint("Call pgcopy.pull again."))
        })
    }

    /// The plan as all processes of the job know it.
    pub(super) fn job_spec(&self, job: i64) -> Result<JobSpec> {
        let positions: HashMap<u32, usize> =
            self.targets_by(Method::Swap).enumerate().map(|(position, target)| (target.local.oid, position)).collect();
        let foreign_keys = self.checks(&positions, |key| !self.waits_for_in_place(key))?;
        let tables: Vec<TableSpec> =
            self.targets_by(Method::Swap).map(|target| self.spec_for_caller(target)).collect::<Result<_>>()?;
        let mut works_in_session = self.depends_on_own_changes;
        for default in tables.iter().flat_map(|table| &table.defaults) {
            works_in_session |= expressions::asks_the_session(&default.expression)?;
        }
        Ok(JobSpec {
            job,
            caller: self.caller,
            source: self.origin.clone(),
            files: self.files.clone(),
            snapshot: self.snapshot.clone(),
            tables,
            in_place: self
                .targets_by(Method::InPlace)
                .map(|target| InPlaceTable {
                    schema: target.spec.schema.clone(),
                    name: target.spec.name.clone(),
                    pages: target.spec.pages,
                })
                .collect(),
            foreign_key_groups: group_foreign_keys(&foreign_keys),
            foreign_keys,
            source_timeout: settings::value(c"pgcopy.source_timeout").unwrap_or_default(),
            settings: ValueSettings::of_this_session(),
            instants: Instants::of_this_session(),
            works_in_session,
            maintenance_memory: settings::maintenance_work_mem(),
        })
    }

    /// Tables outside of the pull that a foreign key ties to a target.
    pub(super) fn tied_tables(&self) -> BTreeSet<u32> {
        let targets: BTreeSet<u32> = self.target_oids().into_iter().collect();
        self.foreign_keys
            .iter()
            .flat_map(|key| key.referenced_leaves.iter().copied().chain([key.referencing, key.referenced]))
            .filter(|oid| !targets.contains(oid))
            .collect()
    }
}

/// The referencing tables whose values the caller may see.
fn readable_referencing(keys: &[ForeignKey]) -> Result<BTreeSet<u32>> {
    let oids: Vec<u32> = keys.iter().map(|key| key.referencing).collect();
    let readable: Vec<u32> = spi::query_json(&format!(
        "SELECT coalesce(json_agg(r::int8), '[]'::json)::text
         FROM unnest({}) r WHERE has_table_privilege(r, 'SELECT') AND NOT row_security_active(r)",
        plan::catalog::array(&oids)
    ))?;
    Ok(readable.into_iter().collect())
}

fn left_as_it_is(sequence: &ColumnSequence, reason: &str) -> String {
    let (name, column) = (plan::qualified(&sequence.schema, &sequence.name), plan::quote_identifier(&sequence.column));
    format!("sequence {name} of {}.{column} is left as it is: {reason}", sequence.table)
}

/// Why a target's storage cannot be exchanged; empty if it can.
pub(super) fn reasons_to_load_in_place(local: &Relation, definition: &Definition) -> Vec<String> {
    let mut reasons = Vec::new();
    if local.kind == 'p' {
        reasons.push("loaded in place: its partitions differ from the source's".to_owned());
    } else if local.access_method.as_deref() != Some("heap") {
        reasons.push(format!(
            "loaded in place: its access method is {}",
            local.access_method.as_deref().unwrap_or("unknown")
        ));
    }
    if let Some(extension) = &local.extension {
        reasons.push(format!("loaded in place: it belongs to extension {extension}"));
    }
    for index in definition.indexes.iter().filter(|index| index.whole_rows) {
        let name = plan::quote_identifier(&index.name);
        reasons.push(format!("loaded in place: index {name} is over whole rows"));
    }
    if !definition.publications.is_empty() {
        let names: Vec<_> = definition.publications.iter().map(|publication| publication.name.as_str()).collect();
        reasons.push(format!("loaded in place: {} publishes it", names.join(", ")));
    }
    reasons
}

/// The beginning of a sentence on what these slots get.
fn slots_get(slots: &[String]) -> String {
    match slots {
        [slot] => format!("logical replication slot {slot} gets"),
        slots => format!("logical replication slots {} get", slots.join(", ")),
    }
}

/// Subscribers would get the new rows beside the old ones, or none at all.
fn half_published(local: &Relation, definition: &Definition, targets: &[u32]) -> Vec<Problem> {
    let problem = |publication: &Publication| {
        let quoted = plan::quote_identifier(&publication.name);
        if !publication.publishes_all {
            return Some(format!(
                "publication {quoted} does not publish both truncate and insert, so that subscribers could not follow; \
                 change that, or take the table out of it"
            ));
        }
        // A partition's TRUNCATE is not published then.
        let root = publication.root.as_ref()?;
        let whole = publication.leaves.iter().flatten().all(|leaf| targets.contains(leaf));
        (!whole).then(|| {
            format!("publication {quoted} publishes it as a part of {root}, which can only be pulled as a whole then")
        })
    };
    definition
        .publications
        .iter()
        .filter_map(problem)
        .map(|text| Problem::new(ProblemKind::Storage, format!("{}: {text}", local.qualified_name())))
        .collect()
}

/// Those of the columns that are not NULL by default.
fn read_defaults(relation: u32, columns: &[(String, i16)]) -> Vec<Generated> {
    columns
        .iter()
        .filter_map(|&(_, number)| {
            catalog::column_default(relation, number).map(|expression| Generated { number, expression })
        })
        .collect()
}

/// Locks that do not fit would be an error in the middle of the pull, and of others' transactions.
fn refuse_full_lock_table(server: &str, table: LockTable, more: u64) -> Result<()> {
    let Some(setting) = table.wanted_setting(more) else {
        return Ok(());
    };
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        format!("the lock table of the {server} is too small for this pull; nothing was touched"),
    )
    .detail(format!(
        "The pull takes about {more} locks; there is room for {}, of which {} are in use.",
        table.room(),
        table.used
    ))
    .hint(format!(
        "Set max_locks_per_transaction to {setting} or more on the {server} and restart it, or pull fewer tables at a time."
    )))
}

/// The caller's arguments after the source, as SQL; the source may hold a password.
fn arguments(request: &Request) -> String {
    let list = |name: &str, patterns: &Option<Vec<Option<String>>>| match patterns {
        Some(patterns) => {
            let texts: Vec<_> =
                patterns.iter().map(|text| plan::quote_literal(text.as_deref().unwrap_or(""))).collect();
            format!(", {name} => ARRAY[{}]", texts.join(", "))
        }
        None => String::new(),
    };
    let method = if request.in_place { ", method => 'in place'" } else { "" };
    format!("{}{}{method}", list("include", &request.include), list("exclude", &request.exclude))
}

/// As `pg_size_pretty`, roughly.
pub(super) fn pretty_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if value < 10_240.0 {
            return format!("{value:.0} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.0} TB")
}
