//! Everything before anything is touched: arguments, rights, connection, catalogs, pairs of tables. Makes an order.

mod arguments;
mod chooser;
mod common_values;
mod compared;
mod follow;
mod foreign_keys;
mod granted;
mod left_out;
pub mod load;
mod local_checks;
mod locks;
mod masked_keys;
mod merges;
mod open_database;
mod own_changes;
mod plan_pull;
mod problems;
mod refresh;
mod row_form;
mod script;
mod selection;
mod sequences;
mod snapshot;
mod stored_rows;
mod sync_filter;
mod targets;
mod transport;
mod verification;
mod without_effect;

use crate::error::{Error, Result};
use crate::local::catalog::{self, Definition, ForeignKey};
use crate::local::identity::Caller;
use crate::local::settings::{self, ValueSettings};
use crate::local::transaction::{self, Instants};
use crate::local::{encoding, messages, parameters};
use crate::order::{
    FilesSpec, InPlaceTable, Input, JobSpec, Mode, ScriptRows, ServerInput, SourceTable, TableSpec, group_foreign_keys,
};
use crate::source::{Origin, Session, Transport};
use ::selection::Selection;
use arguments::Arguments;
use follow::Ties;
use granted::Granted;
use left_out::{LeftOut, LeftOutTable};
use own_changes::OwnWork;
use plan::catalog::{Relation, RelationColumn};
use plan::{Pairing, Pattern, Problem};
use problems::{nothing_to_pull, refuse_problems, refuse_problems_of};
use row_form::RowForm;
use sequences::SequencePair;
use snapshot::Opened;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use stored_rows::StoredForm;

pub use arguments::{Request, check_arguments, described, filters_of, parse_filters, worker_count};
pub use local_checks::{CheckRequest, local_checks};
pub use merges::{Merge, Merges};
pub use open_database::{OpenDatabase, open_database};
pub use own_changes::OwnState;
pub use plan_pull::{PlannedRow, plan_pull};
pub use verification::{VerifyRequest, verify};
use without_effect::Idle;

/// A job that is possible.
pub struct Prepared {
    pub from: From,
    pub terms: Terms,
    pub caller: Caller,
    pub workers: usize,
    pub targets: Vec<Target>,
    pub foreign_keys: Vec<ForeignKey>,
    /// OIDs of those that are not checked, because the source guarantees them.
    pub trusted_keys: BTreeSet<u32>,
    /// Tables that are loaded in place, with all their partitions.
    pub in_place_members: Vec<u32>,
    /// The order in which targets that keep their storage get their rows.
    pub merges: Merges,
    /// Whether the caller's transaction had written anything when it called.
    has_written: bool,
    own: OwnWork,
    pub sequences: Vec<SequencePair>,
    /// Materialized views to refresh (schema-qualified names), each after those that it reads.
    pub refreshed: Vec<String>,
    pub notices: Vec<String>,
    /// Tables that were asked for and cannot be pulled, where the caller wants the others all the same.
    pub left_out: Vec<LeftOutTable>,
    /// Also those that cannot be pulled.
    all_targets: Vec<u32>,
    /// What the locked definitions are compared with.
    columns: Vec<RelationColumn>,
    definitions: Vec<Definition>,
}

/// The place that the rows are in.
pub enum From {
    Server(ServerSide),
    Files(FilesSpec),
    Script(ScriptRows),
}

/// A source whose snapshot is open.
pub struct ServerSide {
    pub session: Rc<Session>,
    pub origin: Origin,
    pub snapshot: String,
    /// The user's rights there.
    granted: Rc<Granted>,
    /// Of the targets, in their order.
    pub counterparts: Vec<Counterpart>,
}

/// The table of the source that a target gets its rows from.
pub struct Counterpart {
    pub relation: Relation,
    pub table: SourceTable,
    /// Names of the target's columns that do not get the values of the source's column of that name.
    pub changed: BTreeSet<String>,
    /// Columns of the source by which a fraction of its rows is chosen.
    pub sampled_by: BTreeSet<String>,
    /// The unique index that is to tell its rows apart, by its name here, where one is named.
    pub key: Option<String>,
    /// Whether a query over it would run functions of others.
    pub runs_code_of_others: bool,
}

/// The terms of a call: what its caller allows and wants to hear of.
#[derive(Clone)]
pub struct Terms {
    /// Whether rows may be replaced.
    pub overwrite: bool,
    /// Whether to wait for locks on the targets that others hold, or to fail at once.
    pub wait: bool,
    /// Whether each finished table is told of.
    pub verbose: bool,
    /// The same call with `overwrite`, for a hint.
    pub call_to_overwrite: String,
    /// The arguments of the call as a JSON object without secrets.
    pub arguments: String,
    /// What becomes of the rows that are there.
    pub mode: Mode,
    /// Whether triggers of tables that keep their storage fire.
    pub triggers: bool,
}

impl Terms {
    /// Returns whether only a target's owner may do what the call does with it.
    pub fn take_ownership(&self) -> bool {
        !self.mode.merges() || !self.triggers
    }
}

/// What holds for all tables of a pull.
#[derive(Clone, Copy)]
struct Taking {
    /// Whether all are loaded in place.
    in_place: bool,
    /// Whether stored rows are compared with those of the source.
    verify: bool,
    transport: Transport,
    stored_form: StoredForm,
}

/// A target of a job.
pub struct Target {
    pub local: Relation,
    pub spec: TableSpec,
    pub method: Method,
    pub warnings: Vec<String>,
    /// The way that staged rows get into it, where it keeps its storage.
    pub merge: Option<Merge>,
}

/// The way that a target gets its new rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Into a stage table, whose storage the target then takes over.
    Swap,
    /// Into the target itself, by the leader.
    InPlace,
    /// Into a stage table, from which statements bring them into the target.
    Merge,
}

impl Method {
    /// Returns whether the rows go into a stage table first.
    pub fn stages(self) -> bool {
        self != Self::InPlace
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::InPlace => "in place",
            Self::Merge => "merge",
        }
    }
}

/// Plans a pull out of a snapshot that is open. Nothing is locked or written here. Patterns that are among `named` may name
/// other things than tables.
pub fn prepare_open(request: &Request, open: OpenDatabase, named: &[Pattern]) -> Result<Prepared> {
    let has_written = transaction::has_written();
    let Arguments { filters, workers } = Arguments::of(request)?;
    settings::with_catalog_settings(|| {
        let local = catalog::read_relations()?;
        let mut pairing = open.pair(&filters, named, &local);
        let side = ServerSide {
            session: Rc::new(open.session),
            origin: open.origin,
            snapshot: open.snapshot,
            granted: Rc::default(),
            counterparts: Vec::new(),
        };
        let mut prepared = Prepared::of(From::Server(side), request.terms(), workers, has_written);
        prepared.plan_targets(request, &filters.selection, open.relations, &local, &mut pairing)?;
        refuse_problems(&pairing.problems)?;
        if !request.validate {
            prepared.trust_the_source()?;
        }
        prepared.refuse_too_many_locks()?;
        prepared.plan_who_works(None)?;
        Ok(prepared)
    })
}

/// Plans a pull. Nothing is locked or written here. `may_wait_on` is asked while another session of the source is in the way.
pub fn prepare(request: &Request, may_wait_on: &dyn Fn() -> Result<()>) -> Result<Prepared> {
    let (mut prepared, problems) = survey(request, may_wait_on)?;
    refuse_problems(&problems)?;
    if prepared.targets.is_empty() {
        return Err(nothing_to_pull(&prepared.notices, &prepared.left_out));
    }
    settings::with_catalog_settings(|| {
        prepared.refuse_too_many_locks()?;
        prepared.plan_who_works(None)
    })?;
    Ok(prepared)
}

/// Plans a pull, and finds out what stands in its way.
fn survey(request: &Request, may_wait_on: &dyn Fn() -> Result<()>) -> Result<(Prepared, Vec<Problem>)> {
    let has_written = transaction::has_written();
    arguments::hide_key(request.mask_key.as_deref());
    let Arguments { filters, workers } = Arguments::of(request)?;
    let (origin, mut session) = snapshot::connect(&request.source, request.mask_key.as_deref())?;
    snapshot::refuse_own_database(&session, "that the pull would replace tables of")?;
    session.set_copy_encoding(&encoding::database_name())?;
    settings::with_catalog_settings(|| {
        let local = catalog::read_relations()?;
        let session = Rc::new(session);
        let mut left_out = LeftOut::default();
        loop {
            let opened = snapshot::open(&session, origin.user(), &local, &filters, &left_out, may_wait_on)?;
            let Opened { relations: source, mut pairing, snapshot, granted } = opened;
            let (session, origin) = (Rc::clone(&session), origin.clone());
            let (granted, counterparts) = (Rc::new(granted), Vec::new());
            let side = ServerSide { session: Rc::clone(&session), origin, snapshot, granted, counterparts };
            let mut prepared = Prepared::of(From::Server(side), request.terms(), workers, has_written);
            prepared.plan_targets(request, &filters.selection, source, &local, &mut pairing)?;
            if request.skip_mismatched && left_out.grow(&pairing.problems, &local, &prepared.all_targets)? {
                session.rollback()?;
                continue;
            }
            if pairing.problems.is_empty() {
                prepared.choose_row_form(RowForm::parse(&request.wire)?)?;
            }
            if !request.validate {
                prepared.trust_the_source()?;
            }
            prepared.left_out = left_out.into_tables();
            return Ok((prepared, pairing.problems));
        }
    })
}

impl Prepared {
    /// Plans what hangs on the pairs of tables, and adds what stands in the way to the problems.
    fn plan_targets(
        &mut self,
        request: &Request,
        selection: &Selection,
        source: Vec<Relation>,
        local: &[Relation],
        pairing: &mut Pairing,
    ) -> Result<()> {
        self.notices = std::mem::take(&mut pairing.notices);
        let ties = request.follow_keys.then(|| Ties::of(selection, &source));
        let idle = Idle::in_pull(selection, &source, self.terms.mode, request.follow_keys);
        let transport = self.choose_transport(&request.compress)?;
        let stored_form = self.choose_stored_form(request)?;
        let taking = Taking { in_place: request.in_place, verify: request.verify, transport, stored_form };
        self.pair_targets(source, local, taking, selection, pairing)?;
        self.note_idle(request, selection, &idle);
        if let Some(ties) = ties {
            self.follow_keys(&ties, &mut pairing.problems)?;
        }
        self.plan_merges(None, request.follow_keys, &mut pairing.problems)?;
        self.plan_foreign_keys(&mut pairing.problems)?;
        self.pair_sequences(&mut pairing.problems)?;
        self.plan_refresh(request.refresh, &mut pairing.problems)
    }

    /// Nothing to do yet.
    fn of(from: From, terms: Terms, workers: usize, has_written: bool) -> Self {
        Self {
            from,
            terms,
            caller: Caller::of_this_session(),
            workers,
            targets: Vec::new(),
            foreign_keys: Vec::new(),
            trusted_keys: BTreeSet::new(),
            in_place_members: Vec::new(),
            merges: Merges::default(),
            has_written,
            own: OwnWork::default(),
            sequences: Vec::new(),
            refreshed: Vec::new(),
            notices: Vec::new(),
            left_out: Vec::new(),
            all_targets: Vec::new(),
            columns: Vec::new(),
            definitions: Vec::new(),
        }
    }

    /// A load of files into one table, whose storage will be exchanged, or which their rows are merged into by the named unique
    /// index, or by the primary key. `own` tells of the caller's transaction as it was when
    /// it called.
    pub fn for_files(
        local: Relation,
        mut spec: TableSpec,
        files: FilesSpec,
        terms: Terms,
        workers: usize,
        own: OwnState,
        key: Option<String>,
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
            spec.merges = terms.mode.merges();
            let method = if spec.merges { Method::Merge } else { Method::Swap };
            let mut prepared = Self {
                all_targets: oids.to_vec(),
                columns: catalog::read_columns(settings::version(), &oids)?,
                definitions,
                ..Self::of(From::Files(files), terms, workers, own.has_written)
            };
            prepared.targets.push(Target { local, spec, method, warnings: Vec::new(), merge: None });
            let mut problems = Vec::new();
            prepared.plan_merges(key, false, &mut problems)?;
            prepared.plan_foreign_keys(&mut problems)?;
            refuse_problems_of(if prepared.terms.mode.merges() { "load" } else { "pull" }, &problems)?;
            prepared.plan_who_works(Some(own.changed_here))?;
            Ok(prepared)
        })
    }

    /// The version whose columns the rows are read as: files are read as this server's own.
    fn source_version(&self) -> u32 {
        match &self.from {
            From::Server(side) => side.session.version,
            From::Files(_) | From::Script(_) => settings::version(),
        }
    }

    /// Ends the reading: nothing more will be asked for.
    pub fn end_snapshot(&self) -> Result<()> {
        match &self.from {
            From::Server(side) => side.session.rollback(),
            From::Files(_) | From::Script(_) => Ok(()),
        }
    }

    /// Partitioned tables as which partitions among the targets are published.
    pub fn published_roots(&self) -> BTreeSet<&str> {
        self.definitions
            .iter()
            .flat_map(|definition| &definition.publications)
            .filter_map(|publication| publication.root.as_deref())
            .collect()
    }

    /// The target that a relation is, or that lies below it.
    fn target_of(&self, relation: u32) -> Option<&Target> {
        self.targets.iter().find(|target| target.local.ancestors().any(|ancestor| ancestor == relation))
    }

    fn target_oids(&self) -> Vec<u32> {
        self.targets.iter().map(|target| target.local.oid).collect()
    }

    pub fn targets_by(&self, method: Method) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(move |target| target.method == method)
    }

    /// Returns the targets whose rows go into stage tables first, in the order of the job's tables.
    pub fn staged_targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| target.method.stages())
    }

    fn oids_by(&self, method: Method) -> Vec<u32> {
        self.targets_by(method).map(|target| target.local.oid).collect()
    }

    /// The plan as all processes of the job know it.
    pub fn job_spec(&self, job: i64) -> Result<JobSpec> {
        let positions: HashMap<u32, usize> =
            self.staged_targets().enumerate().map(|(position, target)| (target.local.oid, position)).collect();
        let mut tables: Vec<TableSpec> =
            self.staged_targets().map(|target| self.spec_for_caller(target)).collect::<Result<_>>()?;
        self.leave_session_defaults_to_leader(&mut tables)?;
        let by_leader: HashSet<u32> =
            tables.iter().filter(|table| table.leader.does_all).map(|table| table.target).collect();
        let mut foreign_keys = Vec::new();
        for (key, mut check) in self.checks(&positions, |key| !self.waits_for_in_place(key))? {
            check.by_leader = self.is_key_of_leader(key, &by_leader, &positions);
            foreign_keys.push(check);
        }
        Ok(JobSpec {
            job,
            caller: self.caller,
            input: self.input(),
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
            settings: ValueSettings::of_this_session(),
            instants: Instants::of_this_session(),
            own_storage: parameters::own_storage(),
            maintenance_memory: settings::maintenance_work_mem(),
            arguments: self.terms.arguments.clone(),
            messages: messages::kept(),
        })
    }

    /// Returns the origin of the rows of the targets that are staged.
    fn input(&self) -> Input {
        match &self.from {
            From::Server(side) => Input::Server(ServerInput {
                origin: side.origin.clone(),
                snapshot: side.snapshot.clone(),
                timeout: settings::value(c"pgcopy.source_timeout").unwrap_or_default(),
                tables: self
                    .targets
                    .iter()
                    .zip(&side.counterparts)
                    .filter(|(target, _)| target.method.stages())
                    .map(|(_, counterpart)| counterpart.table.clone())
                    .collect(),
            }),
            From::Files(files) => Input::Files(files.clone()),
            From::Script(rows) => Input::ScriptRows(rows.clone()),
        }
    }
}
