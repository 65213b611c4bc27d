//! What is checked of this server's own tables.

use super::arguments::{described, parse_filters, worker_count};
use super::problems::refuse_problems_of;
use crate::error::{Error, Result, caution};
use crate::local::identity::{Caller, role_name};
use crate::local::settings::{self, ValueSettings};
use crate::local::spi::{self, Param};
use crate::local::transaction::Instants;
use crate::local::{catalog, messages, parameters, rights};
use crate::order::{Amcheck, CheckKind, Input, JobSpec, LocalCheck, LocalInput, TableSpec};
use pgrx::prelude::*;
use plan::catalog::Relation;
use plan::{PartLimits, Pattern, Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The arguments of a check, as given.
#[derive(Clone, Serialize, Deserialize)]
pub struct CheckRequest {
    pub include: Option<Vec<Option<String>>>,
    pub exclude: Option<Vec<Option<String>>>,
    pub parallel: Option<i32>,
    /// Whether pages of tables and indexes are checked.
    pub storage: bool,
    /// Whether rows are checked against the constraints of their tables.
    pub constraints: bool,
    /// Whether B-trees are checked as a whole, with writers kept out.
    pub keep_writers_out: bool,
    /// How many places are named for each check.
    pub most_findings: i32,
    /// Whether a finding is an error.
    pub fail: bool,
}

impl CheckRequest {
    /// The arguments as a JSON object, for those who look at the job later.
    pub fn described(&self) -> String {
        described(self, &[], [])
    }

    /// What can be said of the arguments without a look at the tables.
    pub fn check(&self) -> Result<()> {
        self.most()?;
        worker_count(self.parallel)?;
        self.filters().map(drop)
    }

    fn filters(&self) -> Result<(Option<Vec<Pattern>>, Vec<Pattern>)> {
        parse_filters("check", self.include.as_deref(), self.exclude.as_deref())
    }

    fn most(&self) -> Result<usize> {
        const MOST: usize = 1000;
        usize::try_from(self.most_findings).ok().filter(|most| (1..=MOST).contains(most)).ok_or_else(|| {
            let text = format!("most_findings must be between 1 and {MOST}");
            Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, text)
        })
    }
}

/// Checks that are possible.
pub struct PreparedChecks {
    pub spec: JobSpec,
    pub workers: usize,
    pub indexes: usize,
}

#[derive(Deserialize)]
struct CheckedTable {
    oid: u32,
    owner: u32,
    is_heap: bool,
    toast: Option<u32>,
    has_conditions: bool,
    indexes: Vec<CheckedIndex>,
    foreign_keys: Vec<CheckedKey>,
}

#[derive(Deserialize)]
struct CheckedIndex {
    oid: u32,
    name: String,
    is_btree: bool,
    is_gin: bool,
    is_valid: bool,
    is_unique: bool,
    pages: i64,
}

#[derive(Deserialize)]
struct CheckedKey {
    oid: u32,
    name: String,
    referenced: u32,
    referenced_name: String,
}

/// Plans the checks. No lock is held and nothing is read but catalogs.
pub fn local_checks(request: &CheckRequest, job: i64) -> Result<PreparedChecks> {
    let (include, exclude) = request.filters()?;
    let (workers, most) = (worker_count(request.parallel)?, request.most()?);
    settings::with_catalog_settings(|| {
        let amcheck = if request.storage { Some(find_amcheck(request.keep_writers_out)?) } else { None };
        let relations = choose(catalog::read_relations()?, include.as_deref(), &exclude)?;
        let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
        if request.constraints {
            refuse_problems_of("check", &unreadable(&relations, &oids)?)?;
        }
        let details: Vec<CheckedTable> =
            spi::fixed::query_json(include_str!("../../sql/queries/checked_tables.sql"), &[Param::OidArray(&oids)])?;
        let mut details: HashMap<u32, CheckedTable> =
            details.into_iter().map(|details| (details.oid, details)).collect();
        let mut tables = Vec::new();
        let mut plan = Plan { checks: Vec::new(), workers, left_out: BTreeMap::new() };
        let unreadable_keys = if request.constraints { unreadable_references(&details)? } else { HashSet::new() };
        for relation in &relations {
            let Some(details) = details.remove(&relation.oid) else { continue };
            let table = tables.len();
            if let Some(amcheck) = &amcheck {
                plan.storage(table, relation, &details, amcheck.checks_gin);
            }
            if request.constraints {
                plan.constraints(table, relation, &details, &unreadable_keys);
                if amcheck.is_none() {
                    plan.unique_indexes(table, relation, &details);
                }
            }
            tables.push(TableSpec::read_in_place(
                relation.oid,
                details.owner,
                relation.schema.clone(),
                relation.name.clone(),
                pages_of(relation.pages.saturating_add(relation.toast_pages)),
            ));
        }
        plan.left_out.iter().for_each(|(reason, names)| caution(&reason.sentence(names)));
        let indexes = plan
            .checks
            .iter()
            .filter(|check| matches!(check.kind, CheckKind::Index { .. } | CheckKind::Gin { .. }))
            .count();
        let lock_timeout = settings::value(c"lock_timeout").unwrap_or_default();
        let spec = JobSpec {
            job,
            caller: Caller::of_this_session(),
            input: Input::Local(LocalInput {
                amcheck,
                checks: plan.checks,
                checks_rows: request.constraints,
                most,
                lock_timeout,
            }),
            tables,
            in_place: Vec::new(),
            foreign_keys: Vec::new(),
            foreign_key_groups: Vec::new(),
            settings: ValueSettings::of_this_session(),
            instants: Instants::of_this_session(),
            own_storage: parameters::own_storage(),
            maintenance_memory: settings::maintenance_work_mem(),
            arguments: request.described(),
            messages: messages::kept(),
        };
        Ok(PreparedChecks { spec, workers, indexes })
    })
}

fn pages_of(pages: i64) -> u32 {
    u32::try_from(pages.max(0)).unwrap_or(u32::MAX)
}

/// Checks in the making.
struct Plan {
    checks: Vec<LocalCheck>,
    workers: usize,
    /// What is not checked, by name.
    left_out: BTreeMap<LeftOut, BTreeSet<String>>,
}

/// Why something is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LeftOut {
    OtherAccessMethod,
    NotValid,
    GinUnknown,
    NoBtree,
    UnreadableReference,
}

impl LeftOut {
    /// One sentence for all of them: a database may have hundreds.
    fn sentence(self, names: &BTreeSet<String>) -> String {
        let (one, several) = match self {
            Self::OtherAccessMethod => (
                "pages not checked, of another access method than heap",
                "pages not checked, of other access methods than heap",
            ),
            Self::NotValid => {
                ("index not checked, because it is not valid", "indexes not checked, because they are not valid")
            }
            Self::GinUnknown => (
                "index not checked, because amcheck checks no GIN indexes here",
                "indexes not checked, because amcheck checks no GIN indexes here",
            ),
            Self::NoBtree => {
                ("index not checked, because it is no B-tree", "indexes not checked, because they are no B-trees")
            }
            Self::UnreadableReference => (
                "foreign key not checked, because the rows that it refers to cannot be read",
                "foreign keys not checked, because the rows that they refer to cannot be read",
            ),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        format!("{}: {}", if names.len() == 1 { one } else { several }, names.join(", "))
    }
}

impl Plan {
    fn leave_out(&mut self, reason: LeftOut, name: String) {
        self.left_out.entry(reason).or_default().insert(name);
    }

    fn add(&mut self, table: usize, pages: i64, kind: CheckKind) {
        self.checks.push(LocalCheck { table, pages: pages_of(pages), kind });
    }

    fn storage(&mut self, table: usize, relation: &Relation, details: &CheckedTable, checks_gin: bool) {
        let name = relation.qualified_name();
        if details.is_heap {
            let heaps = [(Some(relation.oid), relation.pages, false), (details.toast, relation.toast_pages, true)];
            for (oid, pages, is_toast) in heaps {
                let Some(oid) = oid else { continue };
                let limits = PartLimits::for_workers(u32::try_from(self.workers).unwrap_or(1));
                for part in plan::split(pages_of(pages), 0, limits) {
                    let part_pages = i64::from(part.pages(pages_of(pages)));
                    self.add(table, part_pages, CheckKind::Heap { relation: oid, is_toast, part });
                }
            }
        } else {
            self.leave_out(LeftOut::OtherAccessMethod, name);
        }
        for index in &details.indexes {
            let index_name = plan::qualified(&relation.schema, &index.name);
            if !index.is_valid {
                self.leave_out(LeftOut::NotValid, index_name);
            } else if index.is_btree {
                // The rows are read as well.
                let pages = index.pages.saturating_add(relation.pages);
                self.add(table, pages, CheckKind::Index { oid: index.oid, name: index.name.clone() });
            } else if index.is_gin && checks_gin {
                self.add(table, index.pages, CheckKind::Gin { oid: index.oid, name: index.name.clone() });
            } else if index.is_gin {
                self.leave_out(LeftOut::GinUnknown, index_name);
            } else {
                self.leave_out(LeftOut::NoBtree, index_name);
            }
        }
    }

    /// Where their pages are not checked.
    fn unique_indexes(&mut self, table: usize, relation: &Relation, details: &CheckedTable) {
        for index in details.indexes.iter().filter(|index| index.is_unique && index.is_valid && index.is_btree) {
            self.add(table, relation.pages, CheckKind::Index { oid: index.oid, name: index.name.clone() });
        }
    }

    fn constraints(&mut self, table: usize, relation: &Relation, details: &CheckedTable, unreadable: &HashSet<u32>) {
        if details.has_conditions {
            self.add(table, relation.pages, CheckKind::Rows);
        }
        for key in &details.foreign_keys {
            if unreadable.contains(&key.referenced) {
                self.leave_out(
                    LeftOut::UnreadableReference,
                    format!(
                        "{} of {} to {}",
                        plan::quote_identifier(&key.name),
                        relation.qualified_name(),
                        key.referenced_name
                    ),
                );
            } else {
                self.add(table, relation.pages, CheckKind::ForeignKey { oid: key.oid, name: key.name.clone() });
            }
        }
    }
}

/// Chooses tables and materialized views; a partitioned table stands for its partitions.
fn choose(relations: Vec<Relation>, include: Option<&[Pattern]>, exclude: &[Pattern]) -> Result<Vec<Relation>> {
    let named = |patterns: &[Pattern]| -> HashSet<u32> {
        let is_named = |relation: &&Relation| {
            crate::local::interrupts::check();
            patterns.iter().any(|pattern| pattern.matches(&relation.schema, &relation.name))
        };
        relations.iter().filter(is_named).map(|relation| relation.oid).collect()
    };
    let has_rows = |relation: &Relation| matches!(relation.kind, 'r' | 'm');
    let mut problems = Vec::new();
    for (argument, pattern) in
        include.unwrap_or_default().iter().map(|it| ("include", it)).chain(exclude.iter().map(|it| ("exclude", it)))
    {
        let matched = |relation: &&Relation| pattern.matches(&relation.schema, &relation.name);
        let mut matched = relations.iter().filter(matched);
        let text = match matched.next() {
            None => "no such table",
            Some(first) if [first].into_iter().chain(matched).any(|it| it.kind == 'p' || has_rows(it)) => continue,
            Some(_) => "it holds no rows of its own",
        };
        let kind = ProblemKind::UnmatchedPattern;
        problems.push(Problem::new(kind, format!("{argument} pattern {pattern}: {text}")));
    }
    if !problems.is_empty() {
        let lines: Vec<&str> = problems.iter().map(|problem| problem.text.as_str()).collect();
        let error = Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, format!("cannot check: {}", lines[0]));
        return Err(error
            .details(lines)
            .hint("* matches any run of characters; names that are not in lower case need double quotes."));
    }
    let (included, excluded) = (include.map(&named), named(exclude));
    let is_in = |oids: &HashSet<u32>, relation: &Relation| relation.ancestors().any(|oid| oids.contains(&oid));
    let chosen = |relation: &Relation| {
        has_rows(relation)
            && included.as_ref().is_none_or(|included| is_in(included, relation))
            && !is_in(&excluded, relation)
    };
    let is_chosen: Vec<bool> = relations.iter().map(chosen).collect();
    Ok(relations.into_iter().zip(is_chosen).filter(|(_, chosen)| *chosen).map(|(relation, _)| relation).collect())
}

fn unreadable(relations: &[Relation], oids: &[u32]) -> Result<Vec<Problem>> {
    let names: HashMap<u32, String> =
        relations.iter().map(|relation| (relation.oid, relation.qualified_name())).collect();
    let problem = |table: rights::Unreadable| {
        let name = names.get(&table.relation).cloned().unwrap_or_default();
        Problem::new(ProblemKind::Rights, format!("{name}: {}", table.reason))
    };
    Ok(rights::unreadable(oids)?.into_iter().map(problem).collect())
}

/// Referenced tables whose keys the caller could not look up by hand.
fn unreadable_references(details: &HashMap<u32, CheckedTable>) -> Result<HashSet<u32>> {
    let referenced: BTreeSet<u32> =
        details.values().flat_map(|table| &table.foreign_keys).map(|key| key.referenced).collect();
    let unreadable = rights::unreadable(&referenced.into_iter().collect::<Vec<_>>())?;
    Ok(unreadable.into_iter().map(|table| table.relation).collect())
}

/// Finds the extension amcheck, whose functions the caller must be allowed to call.
fn find_amcheck(keeps_writers_out: bool) -> Result<Amcheck> {
    #[derive(Deserialize)]
    struct Installed {
        schema: String,
        usage: bool,
        functions: Vec<Function>,
    }
    #[derive(Deserialize)]
    struct Function {
        signature: String,
        name: String,
        allowed: bool,
    }
    let installed: Option<Installed> = spi::fixed::query_json(include_str!("../../sql/queries/amcheck.sql"), &[])?;
    let not_ready = |text: &str| Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, text);
    let Some(Installed { schema, usage, functions }) = installed else {
        return Err(not_ready("extension \"amcheck\" is not installed in this database")
            .detail("Its functions check the pages of tables and indexes. It comes with PostgreSQL, in some distributions in the package postgresql-contrib.")
            .hint("A superuser runs: CREATE EXTENSION amcheck; or check constraints alone, with storage => false."));
    };
    let find = |signature: &str| functions.iter().find(|function| function.signature == signature);
    let index = if keeps_writers_out {
        [
            "bt_index_parent_check regclass, boolean, boolean, boolean",
            "bt_index_parent_check regclass, boolean, boolean",
        ]
    } else {
        ["bt_index_check regclass, boolean, boolean", "bt_index_check regclass, boolean"]
    };
    let heap = find("verify_heapam regclass, boolean, boolean, text, bigint, bigint");
    let (Some(heap), Some(index)) = (heap, find(index[0]).or_else(|| find(index[1]))) else {
        return Err(not_ready("extension \"amcheck\" is of a version that lacks functions")
            .hint("A superuser runs: ALTER EXTENSION amcheck UPDATE;"));
    };
    let denied: Vec<&str> =
        [heap, index].into_iter().filter(|function| !function.allowed).map(|function| function.name.as_str()).collect();
    if !usage || !denied.is_empty() {
        let user = plan::quote_identifier(&role_name(Caller::of_this_session().current));
        let mut statements = Vec::new();
        if !usage {
            statements.push(format!("GRANT USAGE ON SCHEMA {schema} TO {user};"));
        }
        if !denied.is_empty() {
            statements.push(format!("GRANT EXECUTE ON FUNCTION {} TO {user};", denied.join(", ")));
        }
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("user {user} may not call the functions of extension \"amcheck\""),
        )
        .hint(format!("A superuser runs: {}", statements.join(" "))));
    }
    let arguments = if keeps_writers_out { 3 } else { 2 };
    let finds_duplicates = index.signature.matches(',').count() == arguments;
    // It is there since 18, and not needed by those who have no such index.
    let checks_gin = find("gin_index_check regclass").is_some_and(|function| function.allowed);
    Ok(Amcheck { schema, finds_duplicates, checks_gin, keeps_writers_out })
}
