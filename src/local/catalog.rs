//! What a pull must know of this side's tables beyond what both sides share (see `plan::catalog`).

use super::{settings, spi};
use crate::error::Result;
use plan::catalog::{self, ColumnSequence, Relation, RelationColumn};
use serde::{Deserialize, Serialize};

pub fn read_relations() -> Result<Vec<Relation>> {
    spi::query_json(catalog::RELATIONS_QUERY)
}

pub fn read_columns(relations: &[u32]) -> Result<Vec<RelationColumn>> {
    spi::query_json(&catalog::columns_query(settings::version(), relations))
}

pub fn read_sequences(relations: &[u32]) -> Result<Vec<ColumnSequence>> {
    spi::query_json(&catalog::sequences_query(relations))
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
    /// The stored generated columns.
    pub generated: Vec<Generated>,
    /// Publications that would have to send the change.
    pub publications: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub oid: u32,
    pub name: String,
    pub has_expressions: bool,
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

/// In the order of the given OIDs' values.
pub fn read_definitions(relations: &[u32]) -> Result<Vec<Definition>> {
    let oids = catalog::array(relations);
    spi::query_json(&format!(
        "SELECT coalesce(json_agg(r ORDER BY r.oid), '[]'::json)::text
         FROM (
             SELECT c.oid::bigint AS oid, c.relowner::bigint AS owner,
                    concat_ws(' ', c.relnamespace, c.relname, c.relkind, c.relpersistence, c.relam, c.reltablespace, c.reloptions,
                              (SELECT md5(string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attlen,
                                                     a.attalign, a.attstorage, a.attcompression, a.attnotnull,
                                                     a.attgenerated, a.attisdropped, a.attcollation), ',' ORDER BY a.attnum))
                               FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)) AS layout,
                    coalesce((SELECT json_agg(json_build_object('oid', i.indexrelid::bigint, 'name', ic.relname,
                                                                'has_expressions', i.indexprs IS NOT NULL)
                                              ORDER BY i.indexrelid)
                              FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
                              WHERE i.indrelid = c.oid AND i.indislive), '[]'::json) AS indexes,
                    coalesce((SELECT json_agg(json_build_object('name', k.conname, 'expression', k.conbin::text)
                                              ORDER BY k.conname)
                              FROM pg_constraint k
                              WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.convalidated), '[]'::json) AS checks,
                    coalesce((SELECT json_agg(json_build_object('number', d.adnum, 'expression', d.adbin::text)
                                              ORDER BY d.adnum)
                              FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                              WHERE d.adrelid = c.oid AND a.attgenerated = 's'), '[]'::json) AS generated,
                    coalesce((SELECT json_agg(DISTINCT p.pubname)
                              FROM pg_publication p
                              WHERE (p.pubinsert OR p.pubtruncate)
                                AND current_setting('wal_level') = 'logical'
                                AND c.relpersistence = 'p'
                                AND (p.puballtables OR EXISTS (
                                        SELECT FROM pg_publication_tables t JOIN pg_namespace n ON n.nspname = t.schemaname
                                        WHERE t.pubname = p.pubname AND t.tablename = c.relname
                                          AND n.oid = c.relnamespace))), '[]'::json) AS publications
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
    pub referencing_schema: String,
    pub referencing_name: String,
    /// May be partitioned; its rows are those of `referenced_leaves`.
    pub referenced: u32,
    pub referenced_schema: String,
    pub referenced_name: String,
    pub referenced_leaves: Vec<Leaf>,
    pub match_full: bool,
    pub keys: Vec<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    pub oid: u32,
    pub schema: String,
    pub name: String,
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
    /// A type to cast to, where the operator takes another than the column's.
    pub referenced_cast: Option<String>,
    pub referencing_cast: Option<String>,
    /// Set where the two columns differ in it.
    pub collation: Option<String>,
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
             SELECT k.oid::bigint AS oid, k.conname AS name, k.confmatchtype = 'f' AS match_full,
                    c.oid::bigint AS referencing, cn.nspname AS referencing_schema, c.relname AS referencing_name,
                    f.oid::bigint AS referenced, fn.nspname AS referenced_schema, f.relname AS referenced_name,
                    CASE WHEN f.relkind = 'p' THEN
                        (SELECT coalesce(json_agg(json_build_object('oid', l.oid::bigint, 'schema', ln.nspname,
                                                                    'name', l.relname)), '[]'::json)
                         FROM pg_partition_tree(f.oid) pt JOIN pg_class l ON l.oid = pt.relid
                         JOIN pg_namespace ln ON ln.oid = l.relnamespace WHERE pt.isleaf)
                    ELSE json_build_array(json_build_object('oid', f.oid::bigint, 'schema', fn.nspname, 'name', f.relname))
                    END AS referenced_leaves,
                    (SELECT json_agg(json_build_object(
                                'referencing', ca.attname, 'referenced', fa.attname,
                                'referencing_number', ca.attnum, 'referenced_number', fa.attnum,
                                'are_integers', o.oprname = '=' AND opn.nspname = 'pg_catalog'
                                                AND ca.atttypid IN (20, 21, 23) AND fa.atttypid IN (20, 21, 23),
                                'operator', format('OPERATOR(%I.%s)', opn.nspname, o.oprname),
                                'referenced_cast', CASE WHEN o.oprleft <> fa.atttypid AND lt.typtype <> 'p'
                                                        THEN format_type(o.oprleft, NULL) END,
                                'referencing_cast', CASE WHEN o.oprright <> ca.atttypid AND rt.typtype <> 'p'
                                                         THEN format_type(o.oprright, NULL) END,
                                'collation', CASE WHEN fa.attcollation <> ca.attcollation AND fa.attcollation <> 0
                                                  THEN fa.attcollation::regcollation::text END) ORDER BY u.position)
                     FROM unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY u(ck, fk, op, position)
                     JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = u.ck
                     JOIN pg_attribute fa ON fa.attrelid = k.confrelid AND fa.attnum = u.fk
                     JOIN pg_operator o ON o.oid = u.op
                     JOIN pg_namespace opn ON opn.oid = o.oprnamespace
                     JOIN pg_type lt ON lt.oid = o.oprleft
                     JOIN pg_type rt ON rt.oid = o.oprright) AS keys
             FROM pg_constraint k
             JOIN pg_class c ON c.oid = k.conrelid
             JOIN pg_namespace cn ON cn.oid = c.relnamespace
             JOIN pg_class f ON f.oid = k.confrelid
             JOIN pg_namespace fn ON fn.oid = f.relnamespace
             LEFT JOIN pg_constraint parent ON parent.oid = k.conparentid
             WHERE k.contype = 'f' AND k.convalidated AND c.relkind = 'r'
               AND (k.conrelid IN (SELECT oid FROM targets) OR k.confrelid IN (SELECT oid FROM targets))
               AND (parent.oid IS NULL OR parent.confrelid = k.confrelid)
         ) r"
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

/// A foreign key as it can be dropped and created again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKeyDefinition {
    pub name: String,
    /// Schema-qualified, quoted.
    pub table: String,
    pub referencing: u32,
    pub referenced: u32,
    pub definition: String,
    pub comment: Option<String>,
}

/// The foreign keys from or to the given tables that are not themselves parts of another one.
pub fn read_foreign_key_definitions(relations: &[u32]) -> Result<Vec<ForeignKeyDefinition>> {
    let oids = catalog::array(relations);
    spi::query_json(&format!(
        "SELECT coalesce(json_agg(r ORDER BY r.position), '[]'::json)::text
         FROM (
             SELECT k.oid AS position, k.conname AS name, format('%I.%I', n.nspname, c.relname) AS table,
                    k.conrelid::bigint AS referencing, k.confrelid::bigint AS referenced,
                    pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = ANY ({oids}) OR k.confrelid = ANY ({oids}))
         ) r"
    ))
}

/// Of the given tables (qualified names, with their OIDs), the ones that hold a row.
pub fn tables_with_rows(tables: &[(u32, String)]) -> Result<Vec<u32>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let branches: Vec<_> = tables
        .iter()
        .map(|(oid, name)| format!("SELECT {oid}::bigint AS oid WHERE EXISTS (SELECT FROM {name})"))
        .collect();
    spi::query_json(&format!(
        "SELECT coalesce(json_agg(r.oid), '[]'::json)::text FROM ({}) r",
        branches.join(" UNION ALL ")
    ))
}
