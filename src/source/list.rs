use super::catalog::{count_rows, read_relations};
use super::{Origin, Session};
use crate::error::Result;
use crate::local::rights;

/// A table of the source.
#[derive(Debug, Clone)]
pub struct ListedTable {
    pub schema: String,
    pub name: String,
    pub kind: &'static str,
    pub rows: Option<i64>,
    pub bytes: i64,
}

/// Lists the source's tables; `exact` counts their rows.
pub fn list_source(source: &str, schema: Option<&str>, exact: bool) -> Result<Vec<ListedTable>> {
    rights::refuse_restricted_operation()?;
    let session = Session::open(&Origin::resolve(source)?)?;
    let relations: Vec<_> = read_relations(&session)?
        .into_iter()
        .filter(|relation| relation.is_table() && schema.is_none_or(|schema| relation.schema == schema))
        .collect();
    let counts = if exact { count_rows(&session, &relations)? } else { Vec::new() };
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
