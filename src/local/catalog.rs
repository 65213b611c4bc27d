//! The catalogs of this server: facts about tables that only this side needs. Those that both sides share are in
//! `plan::catalog`.

use super::relation;
use super::spi::{self, Param};
use super::{bindings, encoding, expressions, settings};
use crate::error::Result;
use pgrx::pg_sys;
use plan::catalog::{self, ColumnSequence, Enum, LockTable, Relation, RelationColumn, UniqueKey};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;

pub fn read_relations() -> Result<Vec<Relation>> {
    settings::scoped(|| {
        for (name, value) in catalog::RELATIONS_SETTINGS {
            settings::set_local(name, value)?;
        }
        spi::fixed::query_json(catalog::RELATIONS_QUERY, &[])
    })
}

/// Finds a relation; `None` for one that a pattern could not name either.
pub fn read_relation(oid: u32) -> Result<Option<Relation>> {
    Ok(read_some_relations(&[oid])?.into_iter().next())
}

pub fn read_some_relations(oids: &[u32]) -> Result<Vec<Relation>> {
    spi::query_json(&catalog::some_relations_query(oids))
}

/// Reads the columns of relations. `peer` is the other side's version.
pub fn read_columns(peer: u32, relations: &[u32]) -> Result<Vec<RelationColumn>> {
    spi::query_json(&catalog::columns_query(settings::version(), peer, relations))
}

pub fn read_lock_table() -> Result<LockTable> {
    spi::fixed::query_json(catalog::LOCK_TABLE_QUERY, &[])
}

pub fn read_enums(relations: &[u32]) -> Result<Vec<Enum>> {
    spi::query_json(&catalog::enums_query(relations))
}

pub fn read_sequences(relations: &[u32]) -> Result<Vec<ColumnSequence>> {
    spi::query_json(&catalog::sequences_query(relations))
}

/// Returns those of the given pairs of a table and a sequence that one of its columns uses whose sequence the table's owner may
/// not set.
pub fn sequences_not_of_owners(pairs: &[(u32, u32)]) -> Result<Vec<(u32, u32)>> {
    let (relations, sequences): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
    spi::fixed::query_json(
        include_str!("../../sql/queries/sequences_not_of_owners.sql"),
        &[Param::OidArray(&relations), Param::OidArray(&sequences)],
    )
}

/// Returns those of the given sequences that columns of tables outside of `pulled` own or use in their defaults, too. A
/// partitioned table is outside as long as one of its leaves is.
pub fn sequences_used_elsewhere(sequences: &[u32], pulled: &[u32]) -> Result<Vec<u32>> {
    spi::fixed::query_json(
        include_str!("../../sql/queries/sequences_used_elsewhere.sql"),
        &[Param::OidArray(sequences), Param::OidArray(pulled)],
    )
}

/// The definition of a target: the layout of its storage, and the constraints of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub oid: u32,
    pub owner: u32,
    /// A text that changes whenever the layout of the rows or of the storage does.
    pub layout: String,
    pub indexes: Vec<Index>,
    /// The validated CHECK constraints.
    pub checks: Vec<Check>,
    pub is_partition: bool,
    /// Whether the table is a partition whose bounds call functions or operators of users.
    pub computes_partition_key: bool,
    /// The stored generated columns.
    pub generated: Vec<Generated>,
    /// The options of its columns and of those of its indexes.
    pub column_options: Vec<ColumnOptions>,
    pub extended_statistics: Vec<ExtendedStatistics>,
    /// The generated columns that no row holds.
    pub virtuals: Vec<Virtual>,
    /// The publications that would have to send the change.
    pub publications: Vec<Publication>,
}

/// The options of a column for ANALYZE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnOptions {
    /// The table or one of its indexes.
    pub relation: u32,
    pub number: i16,
    pub name: String,
    /// The statistics target.
    pub statistics: Option<i32>,
    /// Those in `pg_attribute.attoptions`, separated by commas.
    pub options: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedStatistics {
    pub oid: u32,
    /// A text that changes whenever kinds, columns or expressions do.
    pub definition: String,
    /// The statistics target.
    pub statistics: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    pub name: String,
    /// Whether the publication sends both TRUNCATE and INSERT, of which a replacement of all rows consists.
    pub publishes_all: bool,
    /// The partitioned table (schema-qualified) under whose name it publishes changes of a partition.
    pub root: Option<String>,
    /// All leaves of that table.
    pub leaves: Option<Vec<u32>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub oid: u32,
    pub name: String,
    pub has_expressions: bool,
    /// False where CREATE INDEX CONCURRENTLY has failed: such an index need not enforce anything.
    pub valid: bool,
    /// Whether it takes rows as values of the table's own type: no other table can have the same index.
    pub whole_rows: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    /// As `pg_constraint.conbin`: attribute numbers are the target's.
    pub expression: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    pub number: i16,
    /// As `pg_attrdef.adbin`.
    pub expression: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Virtual {
    pub number: i16,
    pub not_null: bool,
    /// As `pg_attrdef.adbin`.
    pub expression: String,
}

/// Returns the definitions in the order of the given OIDs' values.
pub fn read_definitions(relations: &[u32]) -> Result<Vec<Definition>> {
    spi::fixed::query_json(include_str!("../../sql/queries/definitions.sql"), &[Param::OidArray(relations)])
}

pub fn read_unique_keys(relations: &[u32]) -> Result<Vec<UniqueKey>> {
    spi::query_json(&catalog::unique_keys_query(relations))
}

/// The owners of relations, by the relations' OIDs.
pub fn read_owners(relations: &[u32]) -> Result<Vec<(u32, u32)>> {
    spi::fixed::query_json(include_str!("../../sql/queries/owners.sql"), &[Param::OidArray(relations)])
}

/// A validated foreign key from or to a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    pub oid: u32,
    pub name: String,
    pub referencing: u32,
    pub referencing_owner: u32,
    pub referencing_name: String,
    /// The referenced table, which may be partitioned; its rows are those of `referenced_leaves`.
    pub referenced: u32,
    pub referenced_owner: u32,
    pub referenced_name: String,
    /// OIDs of the tables that hold the rows of the referenced table.
    pub referenced_leaves: Vec<u32>,
    pub match_full: bool,
    /// Whether the last pair of columns are periods, which the referenced rows need only cover together.
    pub has_period: bool,
    pub keys: Vec<Key>,
}

/// One pair of columns, with the operator and the types with which the constraint compares them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub referencing: String,
    pub referencing_number: i16,
    pub referenced: String,
    pub referenced_number: i16,
    /// Whether both are integers compared by value.
    pub are_integers: bool,
    /// `OPERATOR(schema.name)` with the referenced column on the left.
    pub operator: String,
    /// The owner of the operator's function.
    pub operator_owner: u32,
    /// The types that the operator takes; the columns' own where it takes several.
    pub referenced_type: u32,
    pub referencing_type: u32,
    /// The collation of the referenced column; 0 for a type without collations.
    pub collation: u32,
    /// The types of the columns.
    pub referenced_column_type: u32,
    pub referencing_column_type: u32,
    /// The owners of the columns' types, and of those of their elements.
    pub type_owners: Vec<u32>,
    /// A text that is equal on both sides of a pull where a key of the source guarantees this one; `None` where no key
    /// does.
    pub compared_as: Option<String>,
}

/// Returns the foreign keys that must hold when the given tables have new rows, those of other tables included.
pub fn read_foreign_keys(relations: &[u32]) -> Result<Vec<ForeignKey>> {
    spi::fixed::query_json(include_str!("../../sql/queries/foreign_keys.sql"), &[Param::OidArray(relations)])
}

/// Returns the given tables with all their partitions, of every level.
pub fn partition_members(relations: &[u32]) -> Result<Vec<u32>> {
    spi::fixed::query_json(include_str!("../../sql/queries/partition_members.sql"), &[Param::OidArray(relations)])
}

/// Returns the logical replication slots of this database whose consumers ask for no publication. They decode all that
/// is written to tables, but not an exchange of storage. Slots of `pgoutput` ask for publications, and lost slots
/// decode nothing any more.
pub fn read_slots_without_publications() -> Result<Vec<String>> {
    spi::fixed::query_json(include_str!("../../sql/queries/slots_without_publications.sql"), &[])
}

/// Returns the name of this database.
pub fn database_name() -> String {
    // SAFETY: a syscache lookup inside a transaction; the name is palloc'd, and there is one for the session's own database.
    unsafe { encoding::from_database(CStr::from_ptr(pg_sys::get_database_name(pg_sys::MyDatabaseId))) }
}

/// Returns the default of a column as a node tree; `None` for NULL, and where the column does not exist any more.
pub fn column_default(relation: u32, number: i16) -> Option<String> {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: opened and closed in pairs; the tree and its text are palloc'd in the current context.
    unsafe {
        let opened = pg_sys::try_relation_open(relation.into(), lock);
        if opened.is_null() {
            return None;
        }
        let attributes = relation::attributes((*opened).rd_att);
        let is_there = attributes.get(usize::try_from(number - 1).unwrap_or(usize::MAX)).is_some_and(|it| !it.dropped);
        let tree = if is_there { default_expression(opened, number) } else { std::ptr::null_mut() };
        pg_sys::relation_close(opened, lock);
        (!tree.is_null()).then(|| expressions::text_of(tree))
    }
}

/// Returns the default of a column as INSERT finds it; null for a NULL that the column's type accepts. Unlike INSERT,
/// COPY FROM does not check NULL against a domain.
///
/// # Safety
/// The relation is open and has the column.
pub unsafe fn default_expression(relation: pg_sys::Relation, number: i16) -> *mut pg_sys::Node {
    // SAFETY: promised by the caller; the nodes are palloc'd in the current context.
    unsafe {
        let tree = bindings::build_column_default(relation, number.into());
        let position = usize::try_from(number - 1).expect("attribute numbers start at 1");
        let type_oid = relation::attributes((*relation).rd_att)[position].type_oid;
        let mut typmod = -1;
        let base_type = pg_sys::getBaseTypeAndTypmod(type_oid, &mut typmod);
        if !tree.is_null() || base_type == type_oid {
            return tree;
        }
        let null = pg_sys::makeNullConst(base_type, typmod, pg_sys::get_typcollation(base_type));
        pg_sys::coerce_to_domain(
            null.cast(),
            base_type,
            typmod,
            type_oid,
            pg_sys::CoercionContext::COERCION_IMPLICIT,
            pg_sys::CoercionForm::COERCE_IMPLICIT_CAST,
            -1,
            false,
        )
    }
}

/// The parts of tables that depend on something which this transaction has written, so that other transactions do not see
/// it, or see an older state. Types, operators, text-search configurations and the like count if this transaction has
/// changed them. Functions that are not compiled count in any case, since they may read anything that this transaction has
/// written.
#[derive(Debug, Default)]
pub struct OwnChanges {
    pub tables: HashSet<u32>,
    /// Tables whose extended statistics do.
    pub statistics: HashSet<u32>,
    pub indexes: HashSet<u32>,
    /// Foreign keys.
    pub keys: HashSet<u32>,
    /// Those of the tables and indexes that call functions which are not compiled.
    pub calling: HashSet<u32>,
}

pub fn depend_on_own_changes(relations: &[u32]) -> Result<OwnChanges> {
    #[derive(Deserialize)]
    struct Part {
        kind: String,
        part: u32,
        functions: bool,
        changed: bool,
        domains: Vec<u32>,
    }
    let parts: Vec<Part> =
        spi::extension::query_json(include_str!("../../sql/queries/own_changes.sql"), &[Param::OidArray(relations)])?;
    let mut lost_checks: HashMap<u32, bool> = HashMap::new();
    let mut changes = OwnChanges::default();
    for part in parts {
        let mut lost = |&domain: &u32| *lost_checks.entry(domain).or_insert_with(|| has_lost_checks_here(domain));
        if !part.functions && !part.changed && !part.domains.iter().any(&mut lost) {
            continue;
        }
        if part.functions {
            changes.calling.insert(part.part);
        }
        match part.kind.as_str() {
            "table" => changes.tables.insert(part.part),
            "statistics" => changes.statistics.insert(part.part),
            "index" => changes.indexes.insert(part.part),
            _ => changes.keys.insert(part.part),
        };
    }
    Ok(changes)
}

/// A constraint that waits for the end of the transaction.
#[derive(Debug, Clone, Deserialize)]
pub struct DeferredConstraint {
    /// Schema-qualified.
    pub name: String,
    /// As `pg_constraint.contype`.
    pub kind: char,
    /// Whether it can be made to wait again: not where a constraint that never waits has the same name.
    can_be_told_to_wait: bool,
}

/// Returns the constraints that wait for the end of the transaction and look at what happens to rows of the tables.
pub fn read_deferred_constraints(relations: &[u32]) -> Result<Vec<DeferredConstraint>> {
    spi::fixed::query_json(include_str!("../../sql/queries/deferred_constraints.sql"), &[Param::OidArray(relations)])
}

/// Has constraints be checked now, and at once from now on.
pub fn check_now<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    set_constraints(names, "IMMEDIATE")
}

/// Has constraints wait for the end of the transaction. Not all that wait at first can be told to: see [`let_wait_again`].
pub fn let_wait<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    set_constraints(names, "DEFERRED")
}

/// Has constraints wait as they did before [`check_now`], where they can be told to.
pub fn let_wait_again(constraints: &[DeferredConstraint]) -> Result<()> {
    let_wait(constraints.iter().filter(|it| it.can_be_told_to_wait).map(|it| it.name.as_str()))
}

/// The functions of triggers that fire by this expect the caller's settings.
fn set_constraints<'a>(names: impl IntoIterator<Item = &'a str>, when: &str) -> Result<()> {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        return Ok(());
    }
    spi::execute_in_session(&format!("SET CONSTRAINTS {} {when}", names.join(", ")))
}

/// Returns whether this transaction has dropped a constraint of a domain, or changed one: no other mark shows a dropped
/// one.
fn has_lost_checks_here(domain: u32) -> bool {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    let equal = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
    // SAFETY: keys and scan are those of the catalog's own index; dead rows are looked at, but not into.
    unsafe {
        let column = pg_sys::get_attnum(CONSTRAINTS.into(), c"contypid".as_ptr());
        let relation = pg_sys::table_open(CONSTRAINTS.into(), lock);
        let mut key: pg_sys::ScanKeyData = std::mem::zeroed();
        pg_sys::ScanKeyInit(&mut key, column, equal, pg_sys::F_OIDEQ.into(), pg_sys::Oid::from(domain).into());
        let scan = pg_sys::systable_beginscan(
            relation,
            CONSTRAINT_TYPE_INDEX.into(),
            true,
            &raw mut pg_sys::SnapshotAnyData,
            1,
            &mut key,
        );
        let mut lost = false;
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let deleted_by = (*(*tuple).t_data).t_choice.t_heap.t_xmax;
            lost |= pg_sys::TransactionIdIsCurrentTransactionId(deleted_by);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
        lost
    }
}

/// `pg_constraint` and `pg_constraint_contypid_index` (`catalog/pg_constraint.h`).
const CONSTRAINTS: u32 = 2606;
const CONSTRAINT_TYPE_INDEX: u32 = 2666;

/// The materialized views whose content depends on the given tables, and their dependencies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Dependents {
    pub views: Vec<DependentView>,
    /// Pairs of a relation and a relation that reads it, both by OID.
    pub reads: Vec<(u32, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DependentView {
    pub oid: u32,
    /// Schema-qualified, quoted.
    pub name: String,
}

/// Returns the materialized views that hold rows: an empty one cannot show old rows. It is not known which tables a
/// function reads.
pub fn read_dependents(relations: &[u32]) -> Result<Dependents> {
    spi::fixed::query_json(include_str!("../../sql/queries/dependent_views.sql"), &[Param::OidArray(relations)])
}
