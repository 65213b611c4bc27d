//! Masks of the values that are common in a column: a query of many rows computes each of them once.

use crate::error::Result;
use crate::source::Session;
use plan::catalog::{Column, Relation};

/// A common value, as SQL.
pub(super) const COMMON_VALUE: &str = "common.v";

/// What is computed beforehand for each query of a table with so many rows takes as long as some 30,000 masks.
const MANY_ROWS: f64 = 200_000.0;

pub(super) fn has_many_rows(source: &Relation) -> bool {
    source.tuples >= MANY_ROWS
}

/// Returns whether most rows of a table hold values that the source's statistics know, so that it pays to look for them there.
/// No value is asked for.
pub(super) fn are_most(session: &Session, source: &Relation, column: &Column) -> Result<bool> {
    const MOST: f64 = 0.5;
    /// Types whose values are told from each other by their texts.
    const TYPES: [&str; 7] = ["text", "character varying", "character", "smallint", "integer", "bigint", "numeric"];
    let is_built_in = column.structure.is_none() && column.extensions.is_empty();
    if !has_many_rows(source) || source.kind != 'r' || !is_built_in || !TYPES.contains(&column.base_type.as_str()) {
        return Ok(false);
    }
    // Some servers do not let everybody see statistics.
    let share = session.try_query(&format!(
        "SELECT coalesce((SELECT s.null_frac + coalesce((SELECT sum(f) FROM unnest(s.most_common_freqs) f), 0) FROM {}), 0)::text",
        statistics_of(source, column)
    ))?;
    Ok(share.is_ok_and(|share| share.parse::<f64>().is_ok_and(|share| share >= MOST)))
}

/// Returns SQL for the mask of a value, which is that of a common value where it is one. `mask` is SQL over [`COMMON_VALUE`], and
/// `otherwise` over the value; both are of a type, as the result is. The subquery is of no row: it is computed once, on the source.
pub(super) fn known_beforehand(
    source: &Relation,
    column: &Column,
    value: &str,
    mask: &str,
    otherwise: &str,
    type_name: &str,
) -> String {
    let values_type = super::chooser::type_without_length(&column.base_type);
    format!(
        "coalesce(((SELECT pg_catalog.jsonb_object_agg({COMMON_VALUE}::pg_catalog.text, {mask})
             FROM (SELECT pg_catalog.unnest(s.most_common_vals::pg_catalog.text::{values_type}[]) AS v FROM {}) common)
             ->> {value}::pg_catalog.text)::{type_name}, {otherwise})",
        statistics_of(source, column)
    )
}

fn statistics_of(source: &Relation, column: &Column) -> String {
    let [schema, table, column] = [&source.schema, &source.name, &column.name].map(|name| plan::quote_literal(name));
    format!(
        "pg_catalog.pg_stats s WHERE s.schemaname = {schema} AND s.tablename = {table} AND s.attname = {column} AND NOT s.inherited"
    )
}
