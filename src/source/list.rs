use super::catalog::{count_rows, read_code_of_others, read_databases, read_relations};
use super::{Origin, Session};
use crate::error::{Error, Result};
use crate::local::{client, interrupts, rights};
use pgrx::prelude::*;
use plan::catalog::Relation;
use serde::Deserialize;
use std::collections::HashMap;

/// A table of the source.
#[derive(Debug, Clone)]
pub struct ListedTable {
    pub schema: String,
    pub name: String,
    pub kind: &'static str,
    pub rows: Option<i64>,
    pub bytes: i64,
}

/// A database of the source's server.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedDatabase {
    pub name: String,
    pub owner: String,
    pub encoding: String,
    pub collation: String,
    pub character_type: String,
    /// `None` without the right to connect to it.
    pub bytes: Option<i64>,
}

/// Lists the databases that accept connections, without templates.
pub fn list_databases(source: &str) -> Result<Vec<ListedDatabase>> {
    client::while_there(|| {
        rights::refuse_restricted_operation()?;
        read_databases(&Session::open(&Origin::resolve(source)?)?)
    })
}

/// Lists the source's tables; `exact` counts their rows.
pub fn list_source(source: &str, schema: Option<&str>, exact: bool) -> Result<Vec<ListedTable>> {
    client::while_there(|| list(source, schema, exact))
}

fn list(source: &str, schema: Option<&str>, exact: bool) -> Result<Vec<ListedTable>> {
    rights::refuse_restricted_operation()?;
    let session = Session::open(&Origin::resolve(source)?)?;
    if let Some(schema) = schema {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = {})::text",
            plan::quote_literal(schema)
        );
        if session.query_value(&sql)? != "true" {
            let relations = read_relations(&session)?;
            let schemas = relations.iter().map(|relation| relation.schema.as_str());
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME,
                format!("schema \"{schema}\" does not exist on the source"),
            )
            .hint(match plan::nearest(schema, schemas, &interrupts::check) {
                Some(near) => format!("Perhaps you meant the schema \"{near}\"."),
                None => "pgcopy.list without a schema shows the tables of all schemas.".to_owned(),
            }));
        }
    }
    let relations: Vec<_> = read_relations(&session)?
        .into_iter()
        .filter(|relation| relation.is_table() && schema.is_none_or(|schema| relation.schema == schema))
        .collect();
    let counts = if exact {
        refuse_code_of_others(&session, &relations)?;
        count_rows(&session, &relations)?
    } else {
        Vec::new()
    };
    Ok(relations
        .into_iter()
        .enumerate()
        .map(|(position, relation)| ListedTable {
            rows: counts.get(position).copied().or_else(|| relation.estimated_rows()),
            kind: relation.kind_name(),
            bytes: relation.bytes,
            schema: relation.schema,
            name: relation.name,
        })
        .collect())
}

/// Rows are counted by a query, and its planning would run functions of others, which the caller did not ask for.
fn refuse_code_of_others(session: &Session, relations: &[Relation]) -> Result<()> {
    let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
    let authors: HashMap<u32, String> =
        read_code_of_others(session, &oids)?.into_iter().map(|code| (code.relation, code.authors)).collect();
    let lines: Vec<String> = relations
        .iter()
        .filter_map(|relation| {
            Some(format!("{}: functions of {}", relation.qualified_name(), authors.get(&relation.oid)?))
        })
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "cannot count rows: functions of others would run as the user of the source",
    )
    .details(lines)
    .hint("Leave exact out for estimates, or connect to the source as the tables' owner."))
}
