//! The dry run of a pull.

use super::{From, Request};
use crate::error::{Result, tell};

/// What a pull would do with one target.
#[derive(Debug, Clone)]
pub struct PlannedTable {
    pub schema: String,
    pub name: String,
    /// The planner's estimate; `None` for a table that was never analyzed.
    pub source_rows: Option<i64>,
    pub source_bytes: i64,
    pub local_bytes: i64,
    pub method: &'static str,
    pub wire: &'static str,
    pub parts: usize,
    pub indexes: usize,
    pub foreign_keys: usize,
    pub warnings: Vec<String>,
}

/// Plans a pull and describes what it would do with each target.
pub fn plan_pull(request: &Request, may_wait_on: &dyn Fn() -> Result<()>) -> Result<Vec<PlannedTable>> {
    let prepared = super::prepare(request, may_wait_on)?;
    prepared.notices.iter().for_each(|notice| tell(notice));
    let From::Server(side) = &prepared.from else { return Ok(Vec::new()) };
    Ok(prepared
        .targets
        .iter()
        .zip(&side.counterparts)
        .map(|(target, counterpart)| PlannedTable {
            schema: target.local.schema.clone(),
            name: target.local.name.clone(),
            source_rows: counterpart.relation.estimated_rows(),
            source_bytes: counterpart.relation.bytes,
            local_bytes: target.local.bytes,
            method: target.method.name(),
            wire: counterpart.table.wire.name(),
            parts: counterpart.table.parts.len(),
            indexes: target.spec.indexes.len(),
            foreign_keys: prepared
                .foreign_keys
                .iter()
                .filter(|key| [key.referencing, key.referenced].contains(&target.local.oid))
                .count(),
            warnings: target.warnings.clone(),
        })
        .collect())
}
