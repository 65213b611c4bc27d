//! What the planner reads from a catalog. The same queries run on both sides, so that both sides mean the same.
//!
//! Each query returns one text value: a JSON array, whose elements deserialize into the structure beside it.
//! They expect `search_path` to be `pg_catalog` alone, so that types outside of it are written with their schema.

use serde::{Deserialize, Serialize};

/// A relation that a pattern may name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// As `pg_class.relkind`.
    pub kind: char,
    /// As `pg_class.relpersistence`.
    pub persistence: char,
    pub access_method: Option<String>,
    /// The extension that the relation belongs to.
    pub extension: Option<String>,
    /// The topmost partitioned table above a partition.
    pub partition_root: Option<u32>,
    /// All partitioned tables above a partition, and itself.
    #[serde(default)]
    pub partition_ancestors: Option<Vec<u32>>,
    /// Bounds and keys of the partition and of all tables above it; equal texts mean equal layouts.
    pub partition_layout: Option<String>,
    /// Pages of the main fork, now.
    pub pages: i64,
    /// Pages of the TOAST table, now.
    pub toast_pages: i64,
    /// As `pg_class.reltuples`; negative when never analyzed.
    pub tuples: f64,
    /// Heap and TOAST.
    pub bytes: i64,
    /// Filled in by [`columns_query`] for the relations that matter.
    #[serde(default)]
    pub columns: Vec<Column>,
}

/// A column that is not dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub number: i16,
    pub name: String,
    /// With its modifier: `numeric(10,2)`.
    pub type_name: String,
    pub base_type: String,
    pub generated: bool,
    /// Whether the type, and all types inside it, have a binary form that means the same on another server.
    pub binary: bool,
    /// Extensions that own a type inside the column's type, with their versions.
    pub extensions: Vec<String>,
    /// The attributes of composite types inside the column's type, which travel by position.
    #[serde(default)]
    pub structure: Option<String>,
}

impl Relation {
    /// An ordinary, empty, permanent table.
    pub fn named(oid: u32, schema: &str, name: &str) -> Self {
        Self {
            oid,
            schema: schema.into(),
            name: name.into(),
            kind: 'r',
            persistence: 'p',
            access_method: Some("heap".into()),
            extension: None,
            partition_root: None,
            partition_ancestors: None,
            partition_layout: None,
            pages: 0,
            toast_pages: 0,
            tuples: 0.0,
            bytes: 0,
            columns: Vec::new(),
        }
    }

    pub fn qualified_name(&self) -> String {
        crate::qualified(&self.schema, &self.name)
    }

    /// Itself and the partitioned tables above it.
    pub fn ancestors(&self) -> impl Iterator<Item = u32> {
        let above = self.partition_ancestors.iter().flatten().copied();
        [self.oid].into_iter().chain(self.partition_root).chain(above)
    }

    pub fn is_table(&self) -> bool {
        matches!(self.kind, 'r' | 'p')
    }

    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            'r' => "table",
            'p' => "partitioned table",
            'v' => "view",
            'm' => "materialized view",
            'f' => "foreign table",
            _ => "relation",
        }
    }
}

/// Everything a pattern can name, in every schema that is not the system's: an array of [`Relation`].
pub const RELATIONS_QUERY: &str = "
SELECT coalesce(json_agg(r ORDER BY r.schema, r.name), '[]'::json)::text
FROM (
    SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind,
           c.relpersistence AS persistence, am.amname AS access_method, e.extname AS extension,
           p.root::oid::bigint AS partition_root, p.ancestors AS partition_ancestors, p.layout AS partition_layout,
           s.heap / s.page AS pages, s.toast / s.page AS toast_pages, s.heap + s.toast AS bytes,
           c.reltuples::float8 AS tuples
    FROM pg_class c
    CROSS JOIN LATERAL (
        SELECT current_setting('block_size')::bigint AS page,
               coalesce(CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) END, 0) AS heap,
               coalesce(CASE WHEN c.reltoastrelid <> 0 THEN pg_relation_size(c.reltoastrelid) END, 0) AS toast
    ) s
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_am am ON am.oid = c.relam
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
                         AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    LEFT JOIN pg_extension e ON e.oid = d.refobjid
    LEFT JOIN LATERAL (
        SELECT pg_partition_root(c.oid) AS root, json_agg(a.oid::bigint) AS ancestors,
               string_agg(concat_ws(' ', pg_get_expr(a.relpartbound, a.oid),
                                    CASE WHEN a.relkind = 'p' THEN pg_get_partkeydef(a.oid) END), ' in ' ORDER BY f.level)
                   AS layout
        FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS f(oid, level)
        JOIN pg_class a ON a.oid = f.oid
    ) p ON c.relispartition
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'pgcopy', 'pgcopy_stage')
) r";

/// The columns of the given relations: an array of [`RelationColumn`].
///
/// Binary COPY would be wrong for types without send and receive functions and for the `reg*` types, whose binary
/// form is an OID; a type is looked through to its elements, attributes, range bounds and domain base.
pub fn columns_query(version: u32, relations: &[u32]) -> String {
    let oids = array(relations);
    let multirange = if version >= 140_000 { "OR r.rngmultitypid = t.oid" } else { "" };
    format!(
        "
WITH RECURSIVE a AS (
    SELECT attrelid, attnum, attname, atttypid, atttypmod, attgenerated FROM pg_attribute
    WHERE attrelid = ANY ({oids}) AND attnum > 0 AND NOT attisdropped
), used(root, type) AS (
    SELECT DISTINCT atttypid, atttypid FROM a
    UNION
    SELECT u.root, inner_type.oid
    FROM used u
    JOIN pg_type t ON t.oid = u.type
    CROSS JOIN LATERAL (
        SELECT t.typelem WHERE t.typelem <> 0
        UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
        UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid {multirange}
        UNION ALL SELECT ta.atttypid FROM pg_attribute ta
                  WHERE ta.attrelid = t.typrelid AND t.typtype = 'c' AND ta.attnum > 0 AND NOT ta.attisdropped
    ) inner_type(oid)
), types AS (
    SELECT u.root,
           bool_and(t.typsend <> 0 AND t.typreceive <> 0 AND t.oid NOT IN
                    (24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191)) AS binary,
           array_agg(DISTINCT e.extname || ' ' || e.extversion) FILTER (WHERE e.extname IS NOT NULL) AS extensions,
           string_agg(DISTINCT s.text COLLATE \"C\", '; ' ORDER BY s.text COLLATE \"C\") AS structure
    FROM used u
    JOIN pg_type t ON t.oid = u.type
    LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
                         AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    LEFT JOIN pg_extension e ON e.oid = d.refobjid
    LEFT JOIN LATERAL (
        SELECT format('%s (%s)', format_type(t.oid, NULL),
                      string_agg(format('%I %s', ta.attname, format_type(ta.atttypid, ta.atttypmod)), ', '
                                 ORDER BY ta.attnum)) AS text
        FROM pg_attribute ta WHERE ta.attrelid = t.typrelid AND ta.attnum > 0 AND NOT ta.attisdropped
    ) s ON t.typtype = 'c'
    GROUP BY u.root
)
SELECT coalesce(json_agg(r ORDER BY r.relation, r.number), '[]'::json)::text
FROM (
    SELECT a.attrelid::bigint AS relation, a.attnum AS number, a.attname AS name,
           format_type(a.atttypid, a.atttypmod) AS type_name, format_type(a.atttypid, NULL) AS base_type,
           a.attgenerated <> '' AS generated, types.binary, coalesce(types.extensions, '{{}}') AS extensions,
           types.structure
    FROM a JOIN types ON types.root = a.atttypid
) r"
    )
}

/// A row of [`columns_query`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RelationColumn {
    pub relation: u32,
    #[serde(flatten)]
    pub column: Column,
}

/// Gives each relation its columns.
pub fn attach_columns(relations: &mut [Relation], columns: Vec<RelationColumn>) {
    let positions: std::collections::HashMap<u32, usize> =
        relations.iter().enumerate().map(|(position, relation)| (relation.oid, position)).collect();
    for relation in relations.iter_mut() {
        relation.columns.clear();
    }
    for RelationColumn { relation, column } in columns {
        if let Some(&position) = positions.get(&relation) {
            relations[position].columns.push(column);
        }
    }
}

/// The sequences that columns of the given relations own or use in their defaults: an array of [`ColumnSequence`].
pub fn sequences_query(relations: &[u32]) -> String {
    let oids = array(relations);
    format!(
        "
SELECT coalesce(json_agg(r ORDER BY r.relation, r.number, r.oid), '[]'::json)::text
FROM (
    SELECT DISTINCT a.attrelid::bigint AS relation, a.attnum AS number, a.attname AS column, s.oid::bigint AS oid,
           n.nspname AS schema, s.relname AS name, q.seqmin AS min, q.seqmax AS max
    FROM (
        SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number
        FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid = ANY ({oids}) AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
        UNION ALL
        SELECT d.refobjid, f.adrelid, f.adnum
        FROM pg_attrdef f
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                        AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
        WHERE f.adrelid = ANY ({oids})
    ) u
    JOIN pg_class s ON s.oid = u.sequence AND s.relkind = 'S'
    JOIN pg_namespace n ON n.oid = s.relnamespace
    JOIN pg_sequence q ON q.seqrelid = s.oid
    JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.number
) r"
    )
}

/// A sequence with a column that owns or uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSequence {
    pub relation: u32,
    pub number: i16,
    pub column: String,
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub min: i64,
    pub max: i64,
}

/// An array constant of OIDs.
pub fn array(oids: &[u32]) -> String {
    let list = oids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!("'{{{list}}}'::pg_catalog.oid[]")
}
