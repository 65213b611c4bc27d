use super::Session;
use crate::error::{Error, Result};
use plan::catalog::{self, ColumnSequence, Relation, RelationColumn};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub fn read_relations(session: &Session) -> Result<Vec<Relation>> {
    read_json(session, catalog::RELATIONS_QUERY)
}

pub fn read_columns(session: &Session, relations: &[u32]) -> Result<Vec<RelationColumn>> {
    read_json(session, &catalog::columns_query(session.version, relations))
}

pub fn read_sequences(session: &Session, relations: &[u32]) -> Result<Vec<ColumnSequence>> {
    read_json(session, &catalog::sequences_query(relations))
}

/// Where a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct SequenceValue {
    pub last_value: i64,
    pub is_called: bool,
}

/// The values of the given sequences (qualified names), in their order, with one query.
pub fn read_sequence_values(session: &Session, sequences: &[String]) -> Result<Vec<SequenceValue>> {
    if sequences.is_empty() {
        return Ok(Vec::new());
    }
    let branches: Vec<_> = sequences
        .iter()
        .enumerate()
        .map(|(position, name)| format!("SELECT {position} AS position, last_value, is_called FROM {name}"))
        .collect();
    read_json(
        session,
        &format!("SELECT json_agg(v ORDER BY v.position)::text FROM ({}) v", branches.join(" UNION ALL ")),
    )
}

/// The exact number of rows of each table, in the given order, with one query.
pub fn count_rows(session: &Session, tables: &[Relation]) -> Result<Vec<i64>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let branches: Vec<_> = tables
        .iter()
        .enumerate()
        .map(|(position, table)| {
            let only = if table.kind == 'p' { "" } else { "ONLY " };
            format!("SELECT {position} AS position, count(*) AS rows FROM {only}{}", table.qualified_name())
        })
        .collect();
    read_json(
        session,
        &format!("SELECT json_agg(c.rows ORDER BY c.position)::text FROM ({}) c", branches.join(" UNION ALL ")),
    )
}

fn read_json<T: DeserializeOwned>(session: &Session, sql: &str) -> Result<Vec<T>> {
    let text = session.query_value(sql)?;
    serde_json::from_str(&text).map_err(|error| Error::internal(format!("unexpected answer of the source: {error}")))
}
