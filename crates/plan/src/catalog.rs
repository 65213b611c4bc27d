//! Catalog data for planning. The same queries run on both sides, so that their results are comparable.
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
    /// Schema and name on the other side, where they are not these.
    #[serde(skip)]
    pub counterpart: Option<(String, String)>,
    /// Whether that name was given to this table alone, so that there must be such a table.
    #[serde(skip)]
    pub counterpart_is_named: bool,
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
    /// Whether every row has a value, by a constraint that is valid.
    #[serde(default)]
    pub not_null: bool,
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
            counterpart: None,
            counterpart_is_named: false,
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

    /// Returns the table as FROM names it: a partitioned one with its partitions, any other one without its children.
    pub fn from_clause(&self) -> String {
        format!("{}{}", if self.kind == 'p' { "" } else { "ONLY " }, self.qualified_name())
    }

    /// Returns the properties that make it the other side's counterpart. Its rows do not count.
    pub fn identity(&self) -> Self {
        Self {
            pages: 0,
            toast_pages: 0,
            tuples: 0.0,
            bytes: 0,
            columns: Vec::new(),
            counterpart: None,
            counterpart_is_named: false,
            ..self.clone()
        }
    }

    /// Returns the names that it has on both sides: schema and name.
    pub fn key(&self) -> (&str, &str) {
        (&self.schema, &self.name)
    }

    /// Returns schema and name of the table on the other side that it belongs to.
    pub fn counterpart_key(&self) -> (&str, &str) {
        match &self.counterpart {
            Some((schema, name)) => (schema, name),
            None => self.key(),
        }
    }

    /// Returns the name for messages about both sides: with that on the destination, where it is another one.
    pub fn name_on_both_sides(&self) -> String {
        match &self.counterpart {
            Some((schema, name)) => format!("{} (into {})", self.qualified_name(), crate::qualified(schema, name)),
            None => self.qualified_name(),
        }
    }

    /// Returns itself and the partitioned tables above it.
    pub fn ancestors(&self) -> impl Iterator<Item = u32> {
        let above = self.partition_ancestors.iter().flatten().copied();
        [self.oid].into_iter().chain(self.partition_root).chain(above)
    }

    /// Returns whether the rows of a source's partition, or of its plain table, belong into the target.
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
pub const RELATIONS_QUERY: &str = include_str!("../../../sql/queries/relations.sql");

/// Returns [`RELATIONS_QUERY`] for some relations.
pub fn some_relations_query(oids: &[u32]) -> String {
    // It ends with its condition.
    format!("{} AND c.oid = ANY ({})) r", RELATIONS_QUERY.trim_end().trim_end_matches(") r"), array(oids))
}

/// Returns the query for the columns of the given relations: an array of [`RelationColumn`]. `peer` is the version of
/// the other side.
///
/// Binary COPY would be wrong for types without send and receive functions, for the `reg*` types, whose binary form is
/// an OID, for empty `int2vector`, `oidvector` and `tsquery`, whose receive functions refuse them, and for intervals from
/// a server that knows infinite ones to one that does not; a type is looked through to its elements, attributes, range
/// bounds and domain base.
pub fn columns_query(version: u32, peer: u32, relations: &[u32]) -> String {
    /// The type `interval`.
    const INTERVAL: &str = ", 1186";
    let unlike = if (version >= 170_000) == (peer >= 170_000) { "" } else { INTERVAL };
    with_used_types(include_str!("../../../sql/queries/columns.sql"), relations).replace("{unlike}", unlike)
}

/// Returns the query for the enums inside the types of the given relations' columns: an array of [`Enum`].
pub fn enums_query(relations: &[u32]) -> String {
    with_used_types(include_str!("../../../sql/queries/enums.sql"), relations)
}

/// Returns a query that looks through the types of the relations' columns.
pub fn with_used_types(query: &str, relations: &[u32]) -> String {
    query
        .replace("{used_types}", include_str!("../../../sql/queries/used_types.sql").trim_end())
        .replace("{relations}", &array(relations))
}

/// A row of [`enums_query`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Enum {
    pub name: String,
    /// One of the columns whose values may be of this type.
    pub used_by: String,
    /// OIDs of all relations with such columns.
    #[serde(default)]
    pub users: Vec<u32>,
    #[serde(default)]
    pub labels: Option<Vec<String>>,
    /// The OIDs of the labels, in their order.
    #[serde(default)]
    pub numbers: Option<Vec<u32>>,
}

impl Enum {
    /// Returns the labels, each with its OID.
    pub fn numbered_labels(&self) -> impl Iterator<Item = (u32, &str)> {
        self.numbers.iter().flatten().copied().zip(self.labels.iter().flatten().map(String::as_str))
    }
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

/// Returns the query for the sequences that columns of the given relations own or use in their defaults: an array of
/// [`ColumnSequence`].
pub fn sequences_query(relations: &[u32]) -> String {
    include_str!("../../../sql/queries/sequences.sql").replace("{relations}", &array(relations))
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
    /// Whether the current user may read the sequence's value.
    pub readable: bool,
    /// Whether the column owns the sequence, so that the owner of the one is that of the other.
    pub owned: bool,
}

/// The keys of the given relations, the best of each first: an array of [`UniqueKey`].
pub fn unique_keys_query(relations: &[u32]) -> String {
    include_str!("../../../sql/queries/unique_keys.sql").replace("{relations}", &array(relations))
}

/// What the given relations are like beside their rows: an array of [`TablePart`].
pub fn table_parts_query(relations: &[u32]) -> String {
    include_str!("../../../sql/queries/compared_definitions.sql").replace("{relations}", &array(relations))
}

/// A property of a table, or an object that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TablePart {
    pub relation: u32,
    /// The kind of object and its name.
    pub name: String,
    pub definition: String,
}

/// Columns of a relation that are unique and never NULL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct UniqueKey {
    pub relation: u32,
    /// Their names.
    pub columns: Vec<String>,
}

/// The query for the size of a server's lock table, and its use: one [`LockTable`].
pub const LOCK_TABLE_QUERY: &str = include_str!("../../../sql/queries/lock_table.sql");

/// A server's lock table. It has room for a number of locks for each of a number of transactions, shared by all of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct LockTable {
    pub per_transaction: u64,
    pub transactions: u64,
    pub used: u64,
}

impl LockTable {
    /// Returns the number of locks that fit into it.
    pub fn room(&self) -> u64 {
        self.per_transaction.saturating_mul(self.transactions)
    }

    /// Returns the value of `max_locks_per_transaction` that makes room for that many more locks, where there is no
    /// room.
    pub fn wanted_setting(&self, more: u64) -> Option<u64> {
        let wanted = self.used.saturating_add(more);
        (wanted > self.room()).then(|| wanted.div_ceil(self.transactions.max(1)))
    }
}

/// The most branches of a UNION ALL: the parser and planner recurse into each.
pub const MOST_BRANCHES: usize = 500;

/// Returns an array constant of OIDs.
pub fn array(oids: &[u32]) -> String {
    crate::number_array(oids, "oid")
}
