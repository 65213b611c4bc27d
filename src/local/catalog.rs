//! What a pull must know of this side's tables beyond what both sides share (see `plan::catalog`).

use super::relation;
use super::{bindings, encoding, expressions, settings, spi};
use crate::compat;
use crate::error::Result;
use pgrx::pg_sys;
use plan::catalog::{self, ColumnSequence, Enum, LockTable, Relation, RelationColumn};
use serde::{Deserialize, Serialize};
use std::ffi::CStr;

pub fn read_relations() -> Result<Vec<Relation>> {
    settings::scoped(|| {
        for (name, value) in catalog::RELATIONS_SETTINGS {
            settings::set_local(name, value)?;
        }
        spi::query_json(catalog::RELATIONS_QUERY)
    })
}

/// `None` for what a pattern could not name either.
pub fn read_relation(oid: u32) -> Result<Option<Relation>> {
    Ok(read_some_relations(&[oid])?.into_iter().next())
}

pub fn read_some_relations(oids: &[u32]) -> Result<Vec<Relation>> {
    spi::query_json(&catalog::some_relations_query(oids))
}

/// `peer` is the other side's version.
pub fn read_columns(peer: u32, relations: &[u32]) -> Result<Vec<RelationColumn>> {
    spi::query_json(&catalog::columns_query(settings::version(), peer, relations))
}

pub fn read_lock_table() -> Result<LockTable> {
    spi::query_json(catalog::LOCK_TABLE_QUERY)
}

pub fn read_enums(relations: &[u32]) -> Result<Vec<Enum>> {
    spi::query_json(&catalog::enums_query(settings::version(), relations))
}

pub fn read_sequences(relations: &[u32]) -> Result<Vec<ColumnSequence>> {
    spi::query_json(&catalog::sequences_query(relations))
}

/// Those of the given sequences that columns of tables outside of `pulled` own or use in their defaults, too. A partitioned
/// table is outside as long as one of its leaves is.
pub fn sequences_used_elsewhere(sequences: &[u32], pulled: &[u32]) -> Result<Vec<u32>> {
    let (sequences, pulled) = (catalog::array(sequences), catalog::array(pulled));
    spi::query_json(&format!(
        "SELECT coalesce(json_agg(DISTINCT u.sequence::bigint), '[]'::json)::text
         FROM (
             SELECT d.objid AS sequence, d.refobjid AS relation
             FROM pg_depend d
             WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
               AND d.objid = ANY ({sequences}) AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
             UNION
             SELECT d.refobjid, f.adrelid
             FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
             WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
               AND d.refobjid = ANY ({sequences}) AND d.deptype = 'n'
         ) u
         JOIN pg_class c ON c.oid = u.relation
         WHERE u.relation <> ALL ({pulled})
           AND (c.relkind <> 'p'
                OR EXISTS (SELECT FROM pg_partition_tree(c.oid) p WHERE p.isleaf AND p.relid <> ALL ({pulled})))"
    ))
}

/// What the storage of a target must be made of, and what its rows must satisfy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub oid: u32,
    pub owner: u32,
    /// Changes whenever the layout of the rows or of the storage does.
    pub layout: String,
    pub indexes: Vec<Index>,
    /// The validated CHECK constraints.
    pub checks: Vec<Check>,
    pub is_partition: bool,
    /// Whether it is a partition by what functions or operators of somebody's own make of its columns.
    pub computes_partition_key: bool,
    /// The stored generated columns.
    pub generated: Vec<Generated>,
    /// Of its columns and of those of its indexes.
    pub column_options: Vec<ColumnOptions>,
    pub extended_statistics: Vec<ExtendedStatistics>,
    /// The generated columns that no row holds.
    pub virtuals: Vec<Virtual>,
    /// Publications that would have to send the change.
    pub publications: Vec<Publication>,
}

/// What ANALYZE must know of a column.
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
    /// Changes whenever kinds, columns or expressions do.
    pub definition: String,
    /// The statistics target.
    pub statistics: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    pub name: String,
    /// Whether it publishes both TRUNCATE and INSERT, which a replacement of all rows consists of.
    pub publishes_all: bool,
    /// The partitioned table (schema-qualified) as whose changes it publishes those of a partition.
    pub root: Option<String>,
    /// All leaves of that.
    pub leaves: Option<Vec<u32>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub oid: u32,
    pub name: String,
    pub has_expressions: bool,
    /// Not where CREATE INDEX CONCURRENTLY has failed: such an index enforces nothing that it need not.
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

/// `FirstNormalObjectId` (`access/transam.h`): older objects came with the server.
const FIRST_NORMAL_OBJECT_ID: u32 = 16384;

/// In the order of the given OIDs' values.
pub fn read_definitions(relations: &[u32]) -> Result<Vec<Definition>> {
    let oids = catalog::array(relations);
    spi::query_json(&format!(
        // The view pg_publication_tables fails when a publication that its snapshot still shows has been dropped.
        "WITH listed AS MATERIALIZED (
             SELECT prpubid AS publication, prrelid AS relation FROM pg_publication_rel
             UNION
             SELECT s.pnpubid, c.oid FROM pg_publication_namespace s JOIN pg_class c ON c.relnamespace = s.pnnspid
             WHERE c.relkind IN ('r', 'p')
         ),
         published AS MATERIALIZED (
             SELECT p.pubname, p.puballtables, p.pubviaroot, p.pubinsert AND p.pubtruncate AS publishes_all, l.relation AS oid
             FROM pg_publication p
             LEFT JOIN listed l ON l.publication = p.oid AND NOT p.puballtables
             WHERE (p.pubinsert OR p.pubupdate OR p.pubdelete OR p.pubtruncate)
               AND current_setting('wal_level') = 'logical' AND (p.puballtables OR l.relation IS NOT NULL)
               -- Through the root means through the topmost of the tables that are listed.
               AND NOT (p.pubviaroot AND EXISTS (
                   SELECT FROM pg_partition_ancestors(l.relation) x JOIN listed a ON a.relation = x.relid
                   WHERE a.publication = p.oid AND a.relation <> l.relation))
         )
         SELECT coalesce(json_agg(r ORDER BY r.oid), '[]'::json)::text
         FROM (
             SELECT c.oid::bigint AS oid, c.relowner::bigint AS owner,
                    concat_ws(' ', c.relnamespace, c.relname, c.relkind, c.relpersistence, c.relam, c.reltablespace, c.reloptions,
                              (SELECT md5(string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attlen,
                                                     a.attalign, a.attstorage, a.attcompression, a.attnotnull,
                                                     a.attgenerated, a.attisdropped, a.attcollation), ',' ORDER BY a.attnum))
                               FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
                              -- Which rows a partition takes: by its bounds and those above it, and a default one by
                              -- those of its siblings.
                              (SELECT md5(string_agg(concat_ws(' ', x.relid, b.relpartbound, p.partstrat, p.partattrs,
                                                     p.partclass, p.partcollation, p.partexprs), ',' ORDER BY x.relid))
                               FROM pg_partition_ancestors(c.oid) x JOIN pg_class b ON b.oid = x.relid
                               LEFT JOIN pg_partitioned_table p ON p.partrelid = x.relid),
                              (SELECT md5(string_agg(concat_ws(' ', b.oid, b.relpartbound), ',' ORDER BY b.oid))
                               FROM pg_partition_ancestors(c.oid) x JOIN pg_partitioned_table p ON p.partdefid = x.relid
                               JOIN pg_inherits i ON i.inhparent = p.partrelid JOIN pg_class b ON b.oid = i.inhrelid)
                             ) AS layout,
                    coalesce((SELECT json_agg(json_build_object('oid', i.indexrelid::bigint, 'name', ic.relname,
                                                                'has_expressions', i.indexprs IS NOT NULL,
                                                                'valid', i.indisvalid,
                                                                'whole_rows', concat(i.indexprs, i.indpred) LIKE '%:varattno 0 %')
                                              ORDER BY i.indexrelid)
                              FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
                              WHERE i.indrelid = c.oid AND i.indislive), '[]'::json) AS indexes,
                    coalesce((SELECT json_agg(json_build_object('name', k.conname, 'expression', k.conbin::text)
                                              ORDER BY k.conname)
                              FROM pg_constraint k
                              WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.convalidated), '[]'::json) AS checks,
                    c.relispartition AS is_partition,
                    c.relispartition AND EXISTS (
                        SELECT FROM pg_partition_ancestors(c.oid) x JOIN pg_partitioned_table p ON p.partrelid = x.relid
                        WHERE p.partexprs IS NOT NULL
                           OR EXISTS (SELECT FROM unnest(p.partclass::oid[]) o WHERE o >= {FIRST_NORMAL_OBJECT_ID})
                    ) AS computes_partition_key,
                    coalesce((SELECT json_agg(json_build_object('number', d.adnum, 'expression', d.adbin::text)
                                              ORDER BY d.adnum)
                              FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                              WHERE d.adrelid = c.oid AND a.attgenerated = 's'), '[]'::json) AS generated,
                    coalesce((SELECT json_agg(json_build_object('number', d.adnum, 'expression', d.adbin::text,
                                                                'not_null', a.attnotnull AND NOT EXISTS (
                                                  SELECT FROM pg_constraint k
                                                  WHERE k.conrelid = c.oid AND k.contype = 'n' AND NOT k.convalidated
                                                    AND k.conkey = ARRAY[d.adnum])) ORDER BY d.adnum)
                              FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                              WHERE d.adrelid = c.oid AND a.attgenerated = 'v'), '[]'::json) AS virtuals,
                    coalesce((SELECT json_agg(json_build_object(
                                         'relation', a.attrelid::bigint, 'number', a.attnum, 'name', a.attname,
                                         'statistics', CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END,
                                         'options', o.text) ORDER BY a.attrelid, a.attnum)
                              FROM pg_attribute a
                              LEFT JOIN LATERAL (
                                  -- Some minor versions keep a number of their own there.
                                  SELECT string_agg(n.option, ', ') AS text FROM unnest(a.attoptions) n(option)
                                  WHERE a.attrelid = c.oid AND n.option LIKE 'n_distinct%'
                              ) o ON true
                              WHERE a.attrelid IN (SELECT c.oid UNION ALL
                                                   SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = c.oid AND i.indislive)
                                AND a.attnum > 0 AND NOT a.attisdropped
                                AND (a.attstattarget >= 0 OR o.text IS NOT NULL)), '[]'::json) AS column_options,
                    coalesce((SELECT json_agg(json_build_object(
                                         'oid', s.oid::bigint,
                                         'definition', concat_ws(' ', s.stxkind, s.stxkeys, s.stxexprs),
                                         'statistics', CASE WHEN s.stxstattarget >= 0 THEN s.stxstattarget END)
                                              ORDER BY s.oid)
                              FROM pg_statistic_ext s WHERE s.stxrelid = c.oid), '[]'::json) AS extended_statistics,
                    CASE WHEN c.relpersistence = 'p' AND EXISTS (SELECT FROM published) THEN
                        (SELECT coalesce(json_agg(DISTINCT jsonb_build_object(
                                    'name', p.pubname, 'publishes_all', p.publishes_all,
                                    'root', quote_ident(n.nspname) || '.' || quote_ident(root.relname),
                                    'leaves', (SELECT jsonb_agg(t.relid::oid::bigint ORDER BY t.relid)
                                               FROM pg_partition_tree(root.oid) t WHERE t.isleaf))
                                    - CASE WHEN root.oid IS NULL THEN '{{root,leaves}}'::text[] ELSE '{{}}' END), '[]'::json)
                         FROM published p
                         LEFT JOIN pg_class root
                                ON root.oid = CASE WHEN NOT (p.pubviaroot AND c.relispartition) THEN NULL
                                                   WHEN p.puballtables THEN pg_partition_root(c.oid) ELSE p.oid END
                               AND root.oid <> c.oid
                         LEFT JOIN pg_namespace n ON n.oid = root.relnamespace
                         WHERE p.puballtables OR p.oid = c.oid
                            OR (c.relispartition AND p.oid IN (SELECT a.relid FROM pg_partition_ancestors(c.oid) a)))
                    ELSE '[]'::json END AS publications
             FROM pg_class c
             WHERE c.oid = ANY ({oids})
         ) r"
    ))
}

/// A validated foreign key from or to a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    pub oid: u32,
    pub name: String,
    pub referencing: u32,
    pub referencing_owner: u32,
    pub referencing_name: String,
    /// May be partitioned; its rows are those of `referenced_leaves`.
    pub referenced: u32,
    pub referenced_owner: u32,
    pub referenced_name: String,
    /// OIDs of the tables that hold its rows.
    pub referenced_leaves: Vec<u32>,
    pub match_full: bool,
    /// Whether the last pair of columns are periods, which the referenced rows need only cover together.
    pub has_period: bool,
    pub keys: Vec<Key>,
}

/// One pair of columns, with what it takes to compare them as the constraint does.
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
    /// Of the referenced column; 0 for a type without.
    pub collation: u32,
    /// The types of the columns.
    pub referenced_column_type: u32,
    pub referencing_column_type: u32,
    /// The owners of the columns' types, and of those of their elements.
    pub type_owners: Vec<u32>,
}

/// The foreign keys that must hold when the given tables have new rows, those of other tables included.
pub fn read_foreign_keys(relations: &[u32]) -> Result<Vec<ForeignKey>> {
    let oids = catalog::array(relations);
    spi::query_json(&format!(
        "WITH targets AS (
             SELECT t.oid FROM unnest({oids}) t(oid)
             UNION SELECT a.relid::oid FROM unnest({oids}) t(oid) CROSS JOIN LATERAL pg_partition_ancestors(t.oid) a
         )
         SELECT coalesce(json_agg(r ORDER BY r.oid), '[]'::json)::text
         FROM (
             SELECT k.oid::bigint AS oid, k.conname AS name, k.confmatchtype = 'f' AS match_full, {} AS has_period,
                    c.oid::bigint AS referencing, c.relowner::bigint AS referencing_owner, c.relname AS referencing_name,
                    f.oid::bigint AS referenced, f.relowner::bigint AS referenced_owner, f.relname AS referenced_name,
                    CASE WHEN f.relkind = 'p' THEN
                        (SELECT coalesce(json_agg(pt.relid::oid::bigint ORDER BY pt.relid), '[]'::json)
                         FROM pg_partition_tree(f.oid) pt WHERE pt.isleaf)
                    ELSE json_build_array(f.oid::bigint) END AS referenced_leaves,
                    (SELECT json_agg(json_build_object(
                                'referencing', ca.attname, 'referenced', fa.attname,
                                'referencing_number', ca.attnum, 'referenced_number', fa.attnum,
                                'are_integers', o.oprname = '=' AND opn.nspname = 'pg_catalog'
                                                AND ca.atttypid IN (20, 21, 23) AND fa.atttypid IN (20, 21, 23),
                                'operator', format('OPERATOR(%I.%s)', opn.nspname, o.oprname),
                                'operator_owner', op.proowner::bigint,
                                'referenced_type', (CASE WHEN lt.typtype = 'p' THEN fa.atttypid ELSE lt.oid END)::bigint,
                                'referencing_type', (CASE WHEN rt.typtype = 'p' THEN ca.atttypid ELSE rt.oid END)::bigint,
                                'collation', fa.attcollation::bigint,
                                'referenced_column_type', fa.atttypid::bigint,
                                'referencing_column_type', ca.atttypid::bigint,
                                'type_owners', (SELECT json_agg(DISTINCT t.typowner::bigint) FROM pg_type t
                                                WHERE t.oid IN (ct.oid, ct.typelem, ft.oid, ft.typelem)))
                              ORDER BY u.position)
                     FROM unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY u(ck, fk, op, position)
                     JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = u.ck
                     JOIN pg_attribute fa ON fa.attrelid = k.confrelid AND fa.attnum = u.fk
                     JOIN pg_type ct ON ct.oid = ca.atttypid
                     JOIN pg_type ft ON ft.oid = fa.atttypid
                     JOIN pg_operator o ON o.oid = u.op
                     JOIN pg_namespace opn ON opn.oid = o.oprnamespace
                     JOIN pg_proc op ON op.oid = o.oprcode
                     JOIN pg_type lt ON lt.oid = o.oprleft
                     JOIN pg_type rt ON rt.oid = o.oprright) AS keys
             FROM pg_constraint k
             JOIN pg_class c ON c.oid = k.conrelid
             JOIN pg_class f ON f.oid = k.confrelid
             LEFT JOIN pg_constraint parent ON parent.oid = k.conparentid
             WHERE k.contype = 'f' AND k.convalidated AND c.relkind = 'r'
               AND (k.conrelid IN (SELECT oid FROM targets) OR k.confrelid IN (SELECT oid FROM targets))
               AND (parent.oid IS NULL OR parent.confrelid = k.confrelid)
         ) r",
        compat::FOREIGN_KEY_HAS_PERIOD
    ))
}

/// The given tables with all their partitions, of every level.
pub fn partition_members(relations: &[u32]) -> Result<Vec<u32>> {
    spi::query_json(&format!(
        "SELECT coalesce(json_agg(DISTINCT coalesce(p.relid, r.oid::regclass)::oid::bigint), '[]'::json)::text
         FROM unnest({}) r(oid) LEFT JOIN LATERAL pg_partition_tree(r.oid) p ON true",
        catalog::array(relations)
    ))
}

/// Logical replication slots of this database whose consumers ask for no publication, and so decode all that is written to
/// tables, but not what takes their place. Those of `pgoutput` ask, and those that are lost decode nothing any more.
pub fn read_slots_without_publications() -> Result<Vec<String>> {
    spi::query_json(
        "SELECT coalesce(json_agg(s.slot_name ORDER BY s.slot_name), '[]'::json)::text
         FROM pg_replication_slots s
         WHERE s.slot_type = 'logical' AND s.database = current_database() AND s.plugin <> 'pgoutput'
           AND s.wal_status IS DISTINCT FROM 'lost'",
    )
}

/// The name of this database.
pub fn database_name() -> String {
    // SAFETY: a syscache lookup inside a transaction; the name is palloc'd, and there is one for the session's own database.
    unsafe { encoding::from_database(CStr::from_ptr(pg_sys::get_database_name(pg_sys::MyDatabaseId))) }
}

/// What fills a column that a row leaves out, as a node tree; `None` for NULL.
pub fn column_default(relation: u32, number: i16) -> Option<String> {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: opened and closed in pairs; the tree and its text are palloc'd in the current context.
    unsafe {
        let opened = pg_sys::try_relation_open(relation.into(), lock);
        if opened.is_null() {
            return None;
        }
        let tree = default_expression(opened, number);
        pg_sys::relation_close(opened, lock);
        (!tree.is_null()).then(|| expressions::text_of(tree))
    }
}

/// What fills a column that a row leaves out, as INSERT does it; null for a NULL that the column's type takes. Unlike INSERT,
/// COPY FROM does not ask a domain about NULL.
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

/// Whether the rows of the given tables depend on something that other transactions do not see, or not as this one does,
/// which has written before. Types, operators, text-search configurations and the like count if this transaction has
/// changed them. A function, other than compiled ones, may look at anything that this transaction has written.
pub fn depend_on_own_changes(relations: &[u32]) -> Result<bool> {
    #[derive(Deserialize)]
    struct Used {
        functions: bool,
        changed: bool,
        domains: Vec<u32>,
    }
    // The age of what this transaction has written is not above 0, nor is that of what began later and is committed.
    let used: Used = spi::query_json(&format!(
        "WITH RECURSIVE target AS MATERIALIZED (
             SELECT t.oid FROM unnest({oids}) t(oid)
         ), part AS (
             SELECT 'pg_class'::regclass::oid AS classid, t.oid AS objid FROM target t
             UNION SELECT 'pg_class'::regclass, a.relid FROM target t CROSS JOIN LATERAL pg_partition_ancestors(t.oid) a
             UNION SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index i JOIN target t ON t.oid = i.indrelid
             UNION SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN target t ON t.oid IN (k.conrelid, k.confrelid)
             UNION SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef d JOIN target t ON t.oid = d.adrelid
             UNION SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext s JOIN target t ON t.oid = s.stxrelid
         ), used(classid, objid) AS (
             SELECT d.refclassid, d.refobjid FROM part p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
             WHERE d.refclassid NOT IN ('pg_class'::regclass, 'pg_namespace'::regclass, 'pg_extension'::regclass, 'pg_constraint'::regclass)
             UNION
             SELECT n.classid, n.objid
             FROM used u CROSS JOIN LATERAL (
                 SELECT d.refclassid, d.refobjid FROM pg_depend d
                 WHERE d.classid = u.classid AND d.objid = u.objid
                   AND d.refclassid NOT IN ('pg_class'::regclass, 'pg_namespace'::regclass, 'pg_extension'::regclass)
                 UNION ALL
                 SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k
                 WHERE u.classid = 'pg_type'::regclass AND k.contypid = u.objid
                 UNION ALL
                 SELECT 'pg_type'::regclass, a.atttypid FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
                 WHERE u.classid = 'pg_type'::regclass AND t.oid = u.objid AND t.typrelid <> 0 AND a.attnum > 0
                   AND a.atttypid >= {FIRST_NORMAL_OBJECT_ID}
                 UNION ALL
                 SELECT 'pg_operator'::regclass, o.amopopr FROM pg_amop o
                 WHERE u.classid = 'pg_opfamily'::regclass AND o.amopfamily = u.objid AND o.amopopr >= {FIRST_NORMAL_OBJECT_ID}
                 UNION ALL
                 SELECT 'pg_proc'::regclass, f.amproc FROM pg_amproc f
                 WHERE u.classid = 'pg_opfamily'::regclass AND f.amprocfamily = u.objid AND f.amproc >= {FIRST_NORMAL_OBJECT_ID}
             ) n(classid, objid)
         )
         SELECT json_build_object(
                    'functions', EXISTS (SELECT FROM used u JOIN pg_proc f ON u.classid = 'pg_proc'::regclass AND f.oid = u.objid
                                         JOIN pg_language l ON l.oid = f.prolang WHERE l.lanname NOT IN ('internal', 'c')),
                    'changed', EXISTS (
                        SELECT FROM used u CROSS JOIN LATERAL (
                            SELECT xmin FROM pg_depend WHERE classid = u.classid AND objid = u.objid
                            UNION ALL SELECT xmin FROM pg_type WHERE u.classid = 'pg_type'::regclass AND oid = u.objid
                            UNION ALL SELECT xmin FROM pg_enum WHERE u.classid = 'pg_type'::regclass AND enumtypid = u.objid
                            UNION ALL SELECT xmin FROM pg_range WHERE u.classid = 'pg_type'::regclass AND rngtypid = u.objid
                            UNION ALL SELECT a.xmin FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
                                      WHERE u.classid = 'pg_type'::regclass AND t.oid = u.objid
                            UNION ALL SELECT xmin FROM pg_proc WHERE u.classid = 'pg_proc'::regclass AND oid = u.objid
                            UNION ALL SELECT xmin FROM pg_constraint WHERE u.classid = 'pg_constraint'::regclass AND oid = u.objid
                            UNION ALL SELECT xmin FROM pg_operator WHERE u.classid = 'pg_operator'::regclass AND oid = u.objid
                            UNION ALL SELECT xmin FROM pg_opclass WHERE u.classid = 'pg_opclass'::regclass AND oid = u.objid
                            UNION ALL SELECT xmin FROM pg_opfamily WHERE u.classid = 'pg_opfamily'::regclass AND oid = u.objid
                            UNION ALL SELECT xmin FROM pg_amop WHERE u.classid = 'pg_opfamily'::regclass AND amopfamily = u.objid
                            UNION ALL SELECT xmin FROM pg_amproc WHERE u.classid = 'pg_opfamily'::regclass AND amprocfamily = u.objid
                            UNION ALL SELECT xmin FROM pg_collation WHERE u.classid = 'pg_collation'::regclass AND oid = u.objid
                            UNION ALL SELECT xmin FROM pg_ts_config WHERE u.classid = 'pg_ts_config'::regclass AND oid = u.objid
                            UNION ALL SELECT xmin FROM pg_ts_config_map WHERE u.classid = 'pg_ts_config'::regclass AND mapcfg = u.objid
                            UNION ALL SELECT xmin FROM pg_ts_dict WHERE u.classid = 'pg_ts_dict'::regclass AND oid = u.objid
                            UNION ALL SELECT xmin FROM pg_ts_parser WHERE u.classid = 'pg_ts_parser'::regclass AND oid = u.objid
                            UNION ALL SELECT xmin FROM pg_ts_template WHERE u.classid = 'pg_ts_template'::regclass AND oid = u.objid
                        ) w(xmin) WHERE age(w.xmin) <= 0),
                    'domains', (SELECT coalesce(json_agg(t.oid::bigint), '[]'::json)
                                FROM used u JOIN pg_type t ON u.classid = 'pg_type'::regclass AND t.oid = u.objid
                                WHERE t.typtype = 'd'))::text",
        oids = catalog::array(relations)
    ))?;
    Ok(used.functions || used.changed || used.domains.iter().any(|&domain| has_lost_checks_here(domain)))
}

/// Unique and exclusion constraints that are looked at when the transaction ends, schema-qualified.
pub fn read_deferred_keys(relations: &[u32]) -> Result<Vec<String>> {
    spi::query_json(&format!(
        "SELECT coalesce(json_agg(DISTINCT format('%I.%I', n.nspname, k.conname)), '[]'::json)::text
         FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
         WHERE k.conrelid = ANY ({}) AND k.contype IN ('p', 'u', 'x') AND k.condeferred",
        catalog::array(relations)
    ))
}

/// Whether this transaction has dropped a constraint of a domain, or changed one: nothing else tells that it is gone.
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

/// Materialized views whose content depends on the given tables, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Dependents {
    pub views: Vec<DependentView>,
    /// Pairs of a relation and one that reads it, both by OID.
    pub reads: Vec<(u32, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DependentView {
    pub oid: u32,
    /// Schema-qualified, quoted.
    pub name: String,
}

/// Those that hold rows: one without can show none that are old. What a function reads is not known.
pub fn read_dependents(relations: &[u32]) -> Result<Dependents> {
    let oids = catalog::array(relations);
    spi::query_json(&format!(
        "WITH RECURSIVE filled(oid) AS (
             SELECT t.oid FROM unnest({oids}) t(oid)
             UNION SELECT i.inhparent FROM filled f JOIN pg_inherits i ON i.inhrelid = f.oid
         ), reads(relation, reader) AS (
             SELECT DISTINCT d.refobjid, r.ev_class
             FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
             WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
               AND d.refobjid <> r.ev_class AND v.relkind IN ('v', 'm')
         ), found(relation, reader) AS (
             SELECT r.relation, r.reader FROM reads r WHERE r.relation IN (SELECT oid FROM filled)
             UNION SELECT r.relation, r.reader FROM found f JOIN reads r ON r.relation = f.reader
         )
         SELECT json_build_object(
                    'views', coalesce((SELECT json_agg(json_build_object('oid', v.oid::bigint,
                                                                         'name', format('%I.%I', n.nspname, v.relname))
                                                       ORDER BY n.nspname, v.relname)
                                       FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace
                                       WHERE v.relkind = 'm' AND v.relispopulated
                                         AND v.oid IN (SELECT reader FROM found)), '[]'::json),
                    'reads', coalesce((SELECT json_agg(json_build_array(relation::bigint, reader::bigint)) FROM found),
                                      '[]'::json))::text"
    ))
}
