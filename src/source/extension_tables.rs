//! What users have put into the tables of a source's extensions: the rows that the extensions have told `pg_dump` of.

use super::Session;
use super::catalog::{read_code_of_others, read_json};
use crate::error::{Error, Result};
use pgrx::prelude::*;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// A table of an extension with rows that are not the extension's own, or a sequence.
#[derive(Debug, Clone, Deserialize)]
pub struct ExtensionTable {
    pub oid: u32,
    pub extension: String,
    pub schema: String,
    pub name: String,
    pub is_sequence: bool,
    /// Whether it is in the schema of the extension, which may be another one elsewhere.
    pub is_in_its_schema: bool,
    /// What follows the table in a query for these rows.
    condition: String,
    /// Without generated ones, in their order.
    pub columns: Vec<String>,
    /// The roles whose code a query would run, in quotes where they must be.
    #[serde(skip)]
    pub runs_code_of: Option<String>,
}

impl ExtensionTable {
    pub fn qualified_name(&self) -> String {
        plan::qualified(&self.schema, &self.name)
    }
}

/// Returns the tables of extensions that hold rows which a dump of the database would take along, and their sequences.
pub fn read_extension_tables(session: &Session) -> Result<Vec<ExtensionTable>> {
    let mut all: Vec<ExtensionTable> = read_json(session, include_str!("../../sql/queries/extension_tables.sql"))?;
    let oids: Vec<u32> = all.iter().filter(|table| !table.is_sequence).map(|table| table.oid).collect();
    if oids.is_empty() {
        return Ok(all);
    }
    let of_others = read_code_of_others(session, &oids)?;
    let mut authors: HashMap<u32, String> = of_others.into_iter().map(|code| (code.relation, code.authors)).collect();
    for table in &mut all {
        table.runs_code_of = authors.remove(&table.oid);
    }
    let asked: Vec<u32> =
        all.iter().filter(|table| !table.is_sequence && table.runs_code_of.is_none()).map(|table| table.oid).collect();
    let queries: Vec<String> = all
        .iter()
        .filter(|table| asked.contains(&table.oid))
        .map(|table| {
            let (name, condition) = (table.qualified_name(), &table.condition);
            format!("SELECT EXISTS (SELECT FROM ONLY {name} {condition})::pg_catalog.text")
        })
        .collect();
    let answers = session.query_values(&queries)?;
    let has_no_rows = |(_, answer): &(&u32, &Vec<u8>)| answer.as_slice() != b"true";
    let empty: HashSet<u32> = asked.iter().zip(&answers).filter(has_no_rows).map(|(oid, _)| *oid).collect();
    all.retain(|table| !empty.contains(&table.oid));
    Ok(all)
}

/// Returns the rows of such a table as a JSON array of texts, each of which is a row of these columns as the server writes it.
/// Where there is no name, the source has no such column.
pub fn read_extension_rows(session: &Session, table: &ExtensionTable, columns: &[Option<&str>]) -> Result<String> {
    let columns: Vec<String> =
        columns.iter().map(|column| column.map_or_else(|| "NULL".to_owned(), plan::quote_identifier)).collect();
    let query = format!(
        "SELECT coalesce(pg_catalog.json_agg(pg_catalog.format('%s', r.*)), '[]'::pg_catalog.json)::pg_catalog.text
         FROM (SELECT {} FROM ONLY {} {}) r",
        columns.join(", "),
        table.qualified_name(),
        table.condition
    );
    let rows = session.start_values(&[query]).finish(false)?.pop().unwrap_or_default();
    String::from_utf8(rows).map_err(|_| {
        Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "unexpected answer of the source")
            .detail(format!("Rows of table {} are not in UTF8.", table.qualified_name()))
    })
}
