//! What the planner reads from a catalog. The same queries run on both sides, so that both sides mean the same.
//!
//! Each query returns one text value: a JSON array, whose elements deserialize into the structure beside it.
//! They expect `search_path` to be `pg_catalog` alone, so that types outside of it are written with their schema.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::ffi::CStr;

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
    /// A partition and the partitioned tables above it, upwards.
    #[serde(default)]
    pub partition_ancestors: Option<Vec<u32>>,
    /// Bounds and keys of the partition and of all tables above it; equal texts mean equal layouts.
    pub partition_layout: Option<String>,
    /// Bounds of the partitions beside each default partition among the partition and the tables above it: their rows
    /// are not its own.
    #[serde(default)]
    pub bounds_beside_default: Option<Vec<String>>,
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
    /// Whether a row may leave it out: it takes NULL, or it has a default.
    pub optional: bool,
    /// Whether the type, and all types inside it, have a binary form that means the same on another server.
    pub binary: bool,
    /// Extensions that own a type inside the column's type, with their versions.
    pub extensions: Vec<String>,
    /// What user-defined types inside the column's type are made of: the attributes of composite types, which travel by
    /// position, and what domains and ranges are over.
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
            bounds_beside_default: None,
            pages: 0,
            toast_pages: 0,
            tuples: 0.0,
            bytes: 0,
            columns: Vec::new(),
        }
    }

    /// The planner's estimate; `None` for a table that was never analyzed. Servers before 14 say 0 for "unknown" too, newer
    /// ones -1.
    pub fn estimated_rows(&self) -> Option<i64> {
        (self.tuples >= 0.0).then_some(self.tuples as i64)
    }

    pub fn qualified_name(&self) -> String {
        crate::qualified(&self.schema, &self.name)
    }

    /// What makes it the other side's counterpart. Rows, however many, change nothing of it.
    pub fn identity(&self) -> Self {
        Self { pages: 0, toast_pages: 0, tuples: 0.0, bytes: 0, columns: Vec::new(), ..self.clone() }
    }

    /// What names it on both sides: schema and name.
    pub fn key(&self) -> (&str, &str) {
        (&self.schema, &self.name)
    }

    /// Itself and the partitioned tables above it.
    pub fn ancestors(&self) -> impl Iterator<Item = u32> {
        let above = self.partition_ancestors.iter().flatten().copied();
        [self.oid].into_iter().chain(self.partition_root).chain(above)
    }

    /// Whether the rows of a source's partition, or of its plain table, are the target's, too.
    pub fn holds_rows_of(&self, source: &Self) -> bool {
        let theirs: HashSet<&String> = source.bounds_beside_default.iter().flatten().collect();
        self.kind == source.kind
            && self.partition_layout == source.partition_layout
            && self.bounds_beside_default.iter().flatten().all(|bound| theirs.contains(bound))
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

/// What [`RELATIONS_QUERY`] is to run with, beyond what both sides have set for all that they read of catalogs: the bounds of
/// partitions by amounts of money are written by it, and by nothing else should such amounts be.
pub const RELATIONS_SETTINGS: [(&CStr, &str); 1] = [(c"lc_monetary", "C")];

/// Everything a pattern can name, in every schema that is not the system's: an array of [`Relation`].
///
/// The same bounds mean the same partition only where values compare, or hash, the same: texts by their collation and
/// encoding, enums by the order of their labels, or by the labels' OIDs; the hash of what may hold an enum is taken for
/// every server's own.
pub const RELATIONS_QUERY: &str = "
WITH this_database AS (
    SELECT d.oid, pg_encoding_to_char(d.encoding) AS encoding,
           concat_ws(' ', coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'), d.datcollate,
                     coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')) AS sorted_by
    FROM pg_database d WHERE d.datname = current_database()
), keys AS (
    SELECT t.partrelid AS relation,
           string_agg(CASE
               WHEN y.typtype = 'e' AND t.partstrat <> 'l' THEN
                   (SELECT string_agg(concat_ws(' ', e.enumlabel, CASE WHEN t.partstrat = 'h' THEN e.oid END), ','
                                      ORDER BY e.enumsortorder)
                    FROM pg_enum e WHERE e.enumtypid = y.oid)
               WHEN t.partstrat = 'h' AND (y.typtype <> 'b' OR y.typcategory = 'A') THEN
                   concat_ws(' ', b.oid, pg_postmaster_start_time())
               WHEN l.oid IS NOT NULL AND (t.partstrat = 'r' OR NOT l.collisdeterministic) THEN
                   concat_ws(' ', b.encoding,
                             CASE WHEN l.collprovider = 'd' THEN b.sorted_by
                                  ELSE concat_ws(' ', l.collname, l.collprovider, l.collcollate,
                                                 coalesce(to_jsonb(l) ->> 'colllocale', to_jsonb(l) ->> 'colliculocale'))
                             END)
               WHEN l.oid IS NOT NULL AND t.partstrat = 'h' THEN b.encoding
               END, '; ' ORDER BY u.position) AS meaning
    FROM pg_partitioned_table t
    CROSS JOIN this_database b
    CROSS JOIN LATERAL unnest(t.partattrs::int2[], t.partcollation::oid[]) WITH ORDINALITY u(number, collating, position)
    LEFT JOIN pg_attribute a ON a.attrelid = t.partrelid AND a.attnum = u.number AND u.number > 0
    LEFT JOIN pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_collation l ON l.oid = u.collating
    GROUP BY t.partrelid
), taken AS (
    -- To ask for the size of a table is to wait for who has it for himself, be it in the pull or not.
    SELECT DISTINCT l.relation AS oid FROM pg_locks l CROSS JOIN pg_database d
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND d.datname = current_database() AND l.database = d.oid
)
SELECT coalesce(json_agg(r ORDER BY r.schema, r.name), '[]'::json)::text
FROM (
    SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind,
           c.relpersistence AS persistence, am.amname AS access_method, e.extname AS extension,
           p.root::oid::bigint AS partition_root, p.ancestors AS partition_ancestors, p.layout AS partition_layout,
           beside.bounds AS bounds_beside_default,
           s.heap / s.page AS pages, s.toast / s.page AS toast_pages, s.heap + s.toast AS bytes,
           c.reltuples::float8 AS tuples
    FROM pg_class c
    LEFT JOIN taken ON taken.oid = c.oid
    LEFT JOIN taken taken_toast ON taken_toast.oid = c.reltoastrelid
    CROSS JOIN LATERAL (
        SELECT current_setting('block_size')::bigint AS page,
               CASE WHEN c.relkind NOT IN ('r', 'm') THEN 0
                    WHEN taken.oid IS NOT NULL THEN greatest(c.relpages, 1) * current_setting('block_size')::bigint
                    ELSE coalesce(pg_relation_size(c.oid), 0) END AS heap,
               CASE WHEN c.reltoastrelid = 0 OR taken_toast.oid IS NOT NULL OR taken.oid IS NOT NULL THEN 0
                    ELSE coalesce(pg_relation_size(c.reltoastrelid), 0) END AS toast
    ) s
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_am am ON am.oid = c.relam
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
                         AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    LEFT JOIN pg_extension e ON e.oid = d.refobjid
    LEFT JOIN LATERAL (
        SELECT pg_partition_root(c.oid) AS root, json_agg(a.oid::bigint ORDER BY f.level) AS ancestors,
               string_agg(concat_ws(' ', pg_get_expr(a.relpartbound, a.oid),
                                    CASE WHEN a.relkind = 'p' THEN pg_get_partkeydef(a.oid) END, k.meaning),
                          ' in ' ORDER BY f.level) AS layout
        FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS f(oid, level)
        JOIN pg_class a ON a.oid = f.oid
        LEFT JOIN keys k ON k.relation = a.oid
    ) p ON c.relispartition
    LEFT JOIN LATERAL (
        SELECT json_agg(concat_ws(' ', f.level, pg_get_expr(b.relpartbound, b.oid))) AS bounds
        FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS f(oid, level)
        JOIN pg_partitioned_table t ON t.partdefid = f.oid
        JOIN pg_inherits i ON i.inhparent = t.partrelid AND i.inhrelid <> f.oid
        JOIN pg_class b ON b.oid = i.inhrelid
    ) beside ON c.relispartition
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'pgcopy', 'pgcopy_stage')
) r";

/// As [`RELATIONS_QUERY`], for some of them.
pub fn some_relations_query(oids: &[u32]) -> String {
    // It ends with its condition.
    format!("{} AND c.oid = ANY ({})) r", RELATIONS_QUERY.trim_end_matches(") r"), array(oids))
}

/// The types inside the types of the given relations' columns, as `used(root, type)`; and the columns, as `a`.
fn used_types(version: u32, relations: &[u32]) -> String {
    let oids = array(relations);
    let multirange = if version >= 140_000 { "OR r.rngmultitypid = t.oid" } else { "" };
    format!(
        "
WITH RECURSIVE a AS (
    SELECT attrelid, attnum, attname, atttypid, atttypmod, attgenerated, attnotnull, atthasdef, attidentity
    FROM pg_attribute
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
)"
    )
}

/// The columns of the given relations: an array of [`RelationColumn`]. `peer` is the version of the other side.
///
/// Binary COPY would be wrong for types without send and receive functions, for the `reg*` types, whose binary form is
/// an OID, for empty `int2vector`, `oidvector` and `tsquery`, whose receive functions refuse them, and for intervals from
/// a server that knows infinite ones to one that does not; a type is looked through to its elements, attributes, range
/// bounds and domain base.
pub fn columns_query(version: u32, peer: u32, relations: &[u32]) -> String {
    let used = used_types(version, relations);
    let interval = if (version >= 170_000) == (peer >= 170_000) { "" } else { ", 1186" };
    format!(
        "{used}, types AS (
    SELECT u.root,
           bool_and(t.typsend <> 0 AND t.typreceive <> 0 AND t.oid NOT IN
                    (22, 24, 30, 2202, 2203, 2204, 2205, 2206, 3615, 3734, 3769, 4089, 4096, 4191{interval})) AS binary,
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
        FROM pg_attribute ta
        WHERE t.typtype = 'c' AND ta.attrelid = t.typrelid AND ta.attnum > 0 AND NOT ta.attisdropped
        HAVING t.typtype = 'c'
        UNION ALL
        SELECT format('%s over %s', format_type(t.oid, NULL), format_type(t.typbasetype, t.typtypmod))
        WHERE t.typtype = 'd'
        UNION ALL
        SELECT format('%s over %s', format_type(t.oid, NULL), format_type(r.rngsubtype, NULL))
        FROM pg_range r WHERE t.typtype = 'r' AND r.rngtypid = t.oid AND t.typnamespace <> 'pg_catalog'::regnamespace
    ) s ON true
    GROUP BY u.root
)
SELECT coalesce(json_agg(r ORDER BY r.relation, r.number), '[]'::json)::text
FROM (
    SELECT a.attrelid::bigint AS relation, a.attnum AS number, a.attname AS name,
           format_type(a.atttypid, a.atttypmod) AS type_name, format_type(a.atttypid, NULL) AS base_type,
           a.attgenerated <> '' AS generated,
           a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL
               OR NOT (a.attnotnull OR t.typnotnull) AS optional,
           types.binary, coalesce(types.extensions, '{{}}') AS extensions, types.structure
    FROM a JOIN types ON types.root = a.atttypid JOIN pg_type t ON t.oid = a.atttypid
) r"
    )
}

/// The enums inside the types of the given relations' columns: an array of [`Enum`].
pub fn enums_query(version: u32, relations: &[u32]) -> String {
    let used = used_types(version, relations);
    format!(
        "{used}
SELECT coalesce(json_agg(r ORDER BY r.name), '[]'::json)::text
FROM (
    SELECT format_type(t.oid, NULL) AS name, min(format('%s.%I', a.attrelid::regclass, a.attname)) AS used_by,
           (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels
    FROM used u JOIN pg_type t ON t.oid = u.type AND t.typtype = 'e' JOIN a ON a.atttypid = u.root
    GROUP BY t.oid
) r"
    )
}

/// A row of [`enums_query`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Enum {
    pub name: String,
    /// One of the columns whose values may be of this type.
    pub used_by: String,
    #[serde(default)]
    pub labels: Option<Vec<String>>,
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
    SELECT DISTINCT a.attrelid::bigint AS relation, format('%I.%I', tn.nspname, t.relname) AS \"table\",
           a.attnum AS number, a.attname AS column, s.oid::bigint AS oid,
           n.nspname AS schema, s.relname AS name, q.seqmin AS min, q.seqmax AS max,
           has_sequence_privilege(s.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable
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
    JOIN pg_class t ON t.oid = a.attrelid
    JOIN pg_namespace tn ON tn.oid = t.relnamespace
) r"
    )
}

/// A sequence with a column that owns or uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSequence {
    pub relation: u32,
    /// The relation's name, schema-qualified and quoted.
    pub table: String,
    pub number: i16,
    pub column: String,
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub min: i64,
    pub max: i64,
    /// For the user who asks.
    pub readable: bool,
}

/// What a server's lock table is made for, and what of it is in use: one [`LockTable`].
pub const LOCK_TABLE_QUERY: &str = "
SELECT json_build_object(
    'per_transaction', current_setting('max_locks_per_transaction')::int,
    'transactions',
        (SELECT sum(setting::int) FROM pg_settings
         WHERE name IN ('max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions'))
        + (SELECT max(setting::int) FROM pg_settings
           WHERE name IN ('autovacuum_max_workers', 'autovacuum_worker_slots')) + 1,
    'used', (SELECT count(*) FROM pg_locks WHERE NOT fastpath))::text";

/// It has room for so many locks of so many transactions, shared by all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct LockTable {
    pub per_transaction: u64,
    pub transactions: u64,
    pub used: u64,
}

impl LockTable {
    /// So many locks fit into it.
    pub fn room(&self) -> u64 {
        self.per_transaction.saturating_mul(self.transactions)
    }

    /// The value of `max_locks_per_transaction` that makes room for so many more locks, where there is none.
    pub fn wanted_setting(&self, more: u64) -> Option<u64> {
        let wanted = self.used.saturating_add(more);
        (wanted > self.room()).then(|| wanted.div_ceil(self.transactions.max(1)))
    }
}

/// Branches that one UNION ALL may have: the parser and planner recurse into each.
pub const MOST_BRANCHES: usize = 500;

/// An array constant of OIDs.
pub fn array(oids: &[u32]) -> String {
    crate::number_array(oids, "oid")
}
