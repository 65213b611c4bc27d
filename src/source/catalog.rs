use super::Session;
use super::list::ListedDatabase;
use crate::error::{Error, Result};
use crate::local::sequences::SequenceValue;
use crate::local::{interrupts, memory};
use pgrx::prelude::*;
use plan::catalog::{self, ColumnSequence, Enum, LockTable, Relation, RelationColumn, TablePart, UniqueKey};
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

pub fn read_relations(session: &Session) -> Result<Vec<Relation>> {
    // The setting is for this one query: the meaning of amounts of money depends on the source's own setting.
    let of_each = |command: fn(&str, &str) -> String| -> String {
        catalog::RELATIONS_SETTINGS.iter().map(|(name, value)| command(&name.to_string_lossy(), value)).collect()
    };
    session.execute(&of_each(|name, value| format!("SET {name} = '{value}'; ")))?;
    let relations = read_json(session, catalog::RELATIONS_QUERY)?;
    session.execute(&of_each(|name, _| format!("RESET {name}; ")))?;
    Ok(relations)
}

/// Reads the columns of relations. `peer` is the other side's version.
pub fn read_columns(session: &Session, peer: u32, relations: &[u32]) -> Result<Vec<RelationColumn>> {
    let columns: Vec<RelationColumn> = read_json(session, &catalog::columns_query(session.version, peer, relations))?;
    let mut seen = HashSet::new();
    for RelationColumn { relation, column } in &columns {
        if !(1..=MOST_COLUMNS).contains(&column.number) || !seen.insert((relation, column.number)) {
            return Err(unexpected(format!("a column has the number {} among those of its table", column.number)));
        }
    }
    Ok(columns)
}

/// `MaxHeapAttributeNumber` (`access/htup_details.h`).
const MOST_COLUMNS: i16 = 1600;

pub fn read_enums(session: &Session, relations: &[u32]) -> Result<Vec<Enum>> {
    read_json(session, &catalog::enums_query(relations))
}

pub fn read_lock_table(session: &Session) -> Result<LockTable> {
    parse(&one(session.query_values(&[catalog::LOCK_TABLE_QUERY.to_owned()])?)?)
}

pub fn read_sequences(session: &Session, relations: &[u32]) -> Result<Vec<ColumnSequence>> {
    read_json(session, &catalog::sequences_query(relations))
}

/// Returns the reasons why this user of the source cannot read all rows and columns of the given tables, in words that follow the
/// table's name.
pub fn read_missing_rights(session: &Session, relations: &[u32]) -> Result<Vec<MissingRight>> {
    read_json(session, &of_relations(include_str!("../../sql/queries/missing_rights.sql"), relations))
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MissingRight {
    pub relation: u32,
    pub reason: String,
    pub right: Right,
    /// The columns that he may read, system columns among them, where there are some.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
}

/// A right on the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// USAGE on the table's schema.
    Schema,
    /// SELECT on the table.
    Table,
    /// To read past the table's policies.
    Policies,
    /// SELECT on the table: there is one on some columns.
    Columns,
}

/// Returns the tables among the given ones over which a query would run functions of others.
pub fn read_code_of_others(session: &Session, relations: &[u32]) -> Result<Vec<CodeOfOthers>> {
    read_json(session, &of_relations(include_str!("../../sql/queries/code_of_others.sql"), relations))
}

/// The keys of the given tables.
pub fn read_unique_keys(session: &Session, relations: &[u32]) -> Result<Vec<UniqueKey>> {
    read_json(session, &catalog::unique_keys_query(relations))
}

/// What the given tables are like beside their rows.
pub fn read_table_parts(session: &Session, relations: &[u32]) -> Result<Vec<TablePart>> {
    read_json(session, &catalog::table_parts_query(relations))
}

/// Roles whose code a query over a table of the source would run with the rights of the source's user. Plain COPY, which is
/// not planned, runs none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CodeOfOthers {
    pub relation: u32,
    /// Quoted names, for a message.
    pub authors: String,
}

/// A sequence of the source, with its OID and its schema-qualified name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSequence {
    pub oid: u32,
    pub name: String,
}

/// Returns the values of the given sequences, in their order.
///
/// # Errors
/// Another relation has taken the name of a sequence. A view or a table in its place would run functions of its owner
/// with the rights of the source's user.
pub fn read_sequence_values(session: &Session, sequences: &[NamedSequence]) -> Result<Vec<SequenceValue>> {
    for sequences in sequences.chunks(catalog::MOST_BRANCHES) {
        let oids: Vec<u32> = sequences.iter().map(|sequence| sequence.oid).collect();
        let names: Vec<String> = sequences.iter().map(|sequence| plan::quote_literal(&sequence.name)).collect();
        // Reading a sequence by its OID locks it against new names until the end of the transaction.
        let lock = format!("SELECT count(pg_sequence_last_value(s))::text FROM unnest({}) s", catalog::array(&oids));
        let moved = format!(
            "SELECT coalesce(min(s.name), '') FROM unnest({}, ARRAY[{}]) s(oid, name)
             WHERE to_regclass(s.name) IS DISTINCT FROM s.oid::regclass",
            catalog::array(&oids),
            names.join(", ")
        );
        let moved = one(session.query_values(&[lock, moved])?)?;
        if !moved.is_empty() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                format!("sequence {} of the source has changed its name meanwhile", String::from_utf8_lossy(&moved)),
            ));
        }
    }
    read_of_each(session, sequences, "v", |position, sequence| {
        format!("SELECT {position} AS position, last_value, is_called FROM {}", sequence.name)
    })
}

pub fn read_databases(session: &Session) -> Result<Vec<ListedDatabase>> {
    read_json(session, include_str!("../../sql/queries/databases.sql"))
}

/// The definitions of objects of the source; `None` for kinds that are not compared.
pub fn read_object_definitions(
    session: &Session,
    kinds: &[&str],
    schemas: &[&str],
    names: &[&str],
) -> Result<Vec<Option<String>>> {
    let array = |texts: &[&str]| {
        let quoted: Vec<String> = texts.iter().map(|text| plan::quote_literal(text)).collect();
        format!("ARRAY[{}]::pg_catalog.text[]", quoted.join(", "))
    };
    let query = include_str!("../../sql/queries/object_definitions.sql");
    let (head, rest) = query.split_once("unnest($1, $2, $3)").unwrap_or((query, ""));
    read_json(session, &format!("{head}unnest({}, {}, {}){rest}", array(kinds), array(schemas), array(names)))
}

/// An object by the OIDs of its catalog and its own.
pub type ObjectAddress = (u32, u32);

/// The names of an object.
#[derive(Debug, Clone, Default)]
pub struct ObjectName {
    pub schema: String,
    pub name: String,
    /// The text by which it is told from others of this name; empty where there is none.
    pub identity: String,
}

/// Returns the names of objects that a dump does not tell in full.
pub fn read_object_names(session: &Session) -> Result<HashMap<ObjectAddress, ObjectName>> {
    type Row = (u32, u32, String, String, Option<String>);
    let rows: Vec<Row> = read_json(session, include_str!("../../sql/queries/object_names.sql"))?;
    let named = |(class, oid, schema, name, identity): Row| {
        ((class, oid), ObjectName { schema, name, identity: identity.unwrap_or_default() })
    };
    Ok(rows.into_iter().map(named).collect())
}

/// Returns objects of the source with those that they depend on, and whether the first is contained in the definition of the
/// second.
pub fn read_dependencies(session: &Session) -> Result<Vec<(ObjectAddress, ObjectAddress, bool)>> {
    let rows: Vec<(u32, u32, u32, u32, bool)> = read_json(session, include_str!("../../sql/queries/dependencies.sql"))?;
    Ok(rows.into_iter().map(|(class, oid, used_class, used, part)| ((class, oid), (used_class, used), part)).collect())
}

/// A large object of the source.
#[derive(Debug, Clone, Deserialize)]
pub struct LargeObject {
    pub oid: u32,
    pub owner: String,
    pub comment: Option<String>,
    pub grants: Option<Vec<LargeObjectGrant>>,
    /// Whether its privileges are other ones than those that an object begins with.
    pub has_grants: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LargeObjectGrant {
    /// `None` for everybody.
    pub grantee: Option<String>,
    pub privilege: String,
    pub is_grantable: bool,
    pub by_owner: bool,
}

pub fn read_large_objects(session: &Session) -> Result<Vec<LargeObject>> {
    read_json(session, include_str!("../../sql/queries/large_objects.sql"))
}

/// Returns the first bytes of large objects, at most `most` of each.
pub fn read_large_objects_from(session: &Session, oids: &[u32], most: usize) -> Result<Vec<(u32, Vec<u8>)>> {
    let list = oids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    // Bytes as they are take half of the way of digits, and no time to write and read them.
    let query = format!(
        "SELECT coalesce(pg_catalog.string_agg(pg_catalog.int8send(v.oid::pg_catalog.int8)
                    OPERATOR(pg_catalog.||) pg_catalog.int4send(pg_catalog.length(v.value)) OPERATOR(pg_catalog.||) v.value,
                    ''::pg_catalog.bytea), ''::pg_catalog.bytea)
         FROM (SELECT o.oid, pg_catalog.lo_get(o.oid, 0, {most}) AS value
               FROM pg_catalog.unnest('{{{list}}}'::pg_catalog.oid[]) o(oid)) v"
    );
    let text = one(session.query_values(&[query])?)?;
    let mut rest = text.as_slice();
    let mut values = Vec::new();
    while !rest.is_empty() {
        interrupts::check();
        let object = (|| {
            let (oid, after) = rest.split_first_chunk::<8>()?;
            let (length, after) = after.split_first_chunk::<4>()?;
            let length = usize::try_from(i32::from_be_bytes(*length)).ok().filter(|&length| length <= most)?;
            let (value, after) = after.split_at_checked(length)?;
            Some((u32::try_from(i64::from_be_bytes(*oid)).ok()?, value, after))
        })();
        let Some((oid, value, after)) = object else { return Err(unexpected("large objects".to_owned())) };
        values.push((oid, value.to_vec()));
        rest = after;
    }
    Ok(values)
}

/// Returns the next bytes of a large object, at most `most`.
pub fn read_large_object_part(session: &Session, oid: u32, offset: i64, most: usize) -> Result<Vec<u8>> {
    let value = one(session.query_values(&[format!("SELECT pg_catalog.lo_get({oid}, {offset}, {most})")])?)?;
    if value.len() > most {
        return Err(unexpected("more of a large object than was asked for".to_owned()));
    }
    Ok(value)
}

/// Returns indexes and exclusion constraints that call functions which are not compiled: the OIDs of catalog and object.
pub fn read_called_indexes(session: &Session) -> Result<Vec<(u32, u32)>> {
    read_json(session, include_str!("../../sql/queries/called_indexes.sql"))
}

/// A foreign key of the source that its rows are known to satisfy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct GuaranteedKey {
    pub referencing: u32,
    pub referenced: u32,
    pub match_full: bool,
    /// Names of the referencing and the referenced column of each pair, and what their values are compared as: `None` where
    /// that depends on the server.
    pub columns: Vec<(String, String, Option<String>)>,
}

/// Returns the validated foreign keys between the given tables whose triggers are enabled.
pub fn read_guaranteed_keys(session: &Session, relations: &[u32]) -> Result<Vec<GuaranteedKey>> {
    read_json(session, &of_relations(include_str!("../../sql/queries/guaranteed_keys.sql"), relations))
}

/// The columns of a foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeyColumns {
    pub referencing: u32,
    pub referenced: u32,
    /// Names of the referencing and the referenced column of each pair.
    pub columns: Vec<(String, String)>,
    /// Whether the server has seen to it that all rows which are referred to are there.
    pub enforced: bool,
}

/// Returns the columns of the foreign keys between the given tables.
pub fn read_key_columns(session: &Session, relations: &[u32]) -> Result<Vec<KeyColumns>> {
    read_json(session, &of_relations(include_str!("../../sql/queries/key_columns.sql"), relations))
}

/// Returns the different values of columns, as texts, in the rows that satisfy a condition and have a value in each column. `from`,
/// `columns` and `condition` are SQL. With `equal_is_same`, values that are equal have the same text: the source compares them as they
/// are then, which takes half of the time. No more than `most` of them are returned.
pub fn read_distinct_values(
    session: &Session,
    from: &str,
    columns: &[String],
    condition: &str,
    equal_is_same: bool,
    most: usize,
) -> Result<Vec<Vec<String>>> {
    let each = |write: &dyn Fn(usize, &String) -> String| {
        columns.iter().enumerate().map(|(number, column)| write(number, column)).collect::<Vec<_>>()
    };
    let text = "::pg_catalog.text";
    let (inner, outer) = if equal_is_same { ("", text) } else { (text, "") };
    let selected = each(&|number, column| format!("{column}{inner} AS k{number}")).join(", ");
    let named = each(&|number, _| format!("v.k{number}{outer}")).join(", ");
    let there = each(&|_, column| format!("{column} IS DISTINCT FROM NULL")).join(" AND ");
    let query = format!(
        "SELECT coalesce(json_agg(json_build_array({named})), '[]'::json)::text
         FROM (SELECT DISTINCT {selected} FROM {from} WHERE {condition} AND {there} LIMIT {most}) v"
    );
    read_json_of_rows(session, &query)
}

/// Counts the rows that satisfy a condition. `from` and `condition` are SQL.
pub fn count_chosen_rows(session: &Session, from: &str, condition: &str) -> Result<i64> {
    let query = format!("SELECT json_build_array(count(*))::text FROM {from} WHERE {condition}");
    read_json_of_rows(session, &query)?.pop().ok_or_else(|| unexpected("no value".to_owned()))
}

/// Returns the columns of the given tables that are unique by themselves: the table and the column's name.
pub fn read_unique_columns(session: &Session, relations: &[u32]) -> Result<Vec<(u32, String)>> {
    read_json(session, &of_relations(include_str!("../../sql/queries/unique_columns.sql"), relations))
}

/// Returns the given tables that inherit from others without being partitions of them, each with one of those.
pub fn read_heirs(session: &Session, relations: &[u32]) -> Result<Vec<(u32, u32)>> {
    read_json(session, &of_relations(include_str!("../../sql/queries/heirs.sql"), relations))
}

/// Counts the rows of each table, in the given order, with one message to the source.
pub fn count_rows(session: &Session, tables: &[Relation]) -> Result<Vec<i64>> {
    read_of_each(session, tables, "v.rows", |position, table| {
        let only = if table.kind == 'p' { "" } else { "ONLY " };
        format!("SELECT {position} AS position, count(*) AS rows FROM {only}{}", table.qualified_name())
    })
}

/// Runs one query with a branch for each object, or several queries that travel together; `value` is the expression
/// over a branch `v` to return.
fn read_of_each<T, O>(
    session: &Session,
    objects: &[O],
    value: &str,
    branch: impl Fn(usize, &O) -> String,
) -> Result<Vec<T>>
where
    T: DeserializeOwned,
{
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let queries: Vec<String> = objects
        .chunks(catalog::MOST_BRANCHES)
        .map(|objects| {
            let branches: Vec<_> =
                objects.iter().enumerate().map(|(position, object)| branch(position, object)).collect();
            format!("SELECT json_agg({value} ORDER BY v.position)::text FROM ({}) v", branches.join(" UNION ALL "))
        })
        .collect();
    let mut values = Vec::with_capacity(objects.len());
    for text in session.query_values(&queries)? {
        let of_query: Elements<T> = parse(&text)?;
        values.extend(of_query.0);
    }
    // Each object has its own.
    if values.len() != objects.len() {
        return Err(unexpected(format!("{} values for {} objects", values.len(), objects.len())));
    }
    Ok(values)
}

/// A query of `sql/queries/` for some relations. The source is asked in the simple protocol, which knows no parameters.
fn of_relations(query: &str, relations: &[u32]) -> String {
    query.replace("{relations}", &catalog::array(relations))
}

pub(super) fn read_json<T: DeserializeOwned>(session: &Session, sql: &str) -> Result<Vec<T>> {
    let text = one(session.query_values(&[sql.to_owned()])?)?;
    Ok(parse::<Elements<T>>(&text)?.0)
}

/// As [`read_json`], for a query that reads tables, which may take long, with users' conditions.
fn read_json_of_rows<T: DeserializeOwned>(session: &Session, sql: &str) -> Result<Vec<T>> {
    let text = one(session.start_values(&[sql.to_owned()]).finish(true)?)?;
    Ok(parse::<Elements<T>>(&text)?.0)
}

fn one(mut values: Vec<Vec<u8>>) -> Result<Vec<u8>> {
    values.pop().ok_or_else(|| unexpected("no value".to_owned()))
}

/// Parses an answer after making sure that there is memory for what it becomes.
fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    /// The bytes that a value takes at most, however short it is in the text.
    const MOST_BYTES_OF_A_VALUE: usize = 192;
    let values = text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    memory::expect(text.len() + values * MOST_BYTES_OF_A_VALUE);
    serde_json::from_slice(text).map_err(|error| unexpected(error.to_string()))
}

fn unexpected(what: String) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "unexpected answer of the source").detail(what)
}

/// The elements of an array, between which interrupts are looked for: the source tells how many there are.
struct Elements<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Elements<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor(PhantomData))
    }
}

struct ElementsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ElementsVisitor<T> {
    type Value = Elements<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> std::result::Result<Elements<T>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element()? {
            interrupts::check();
            memory::reserve(&mut elements, 1);
            elements.push(element);
        }
        Ok(Elements(elements))
    }
}
