//! Masks within documents.

use super::number::number_sql;
use super::text::By;
use super::{Kind, Mask};

/// Returns a document with the values at the paths masked.
pub(super) fn json_sql(document: &str, paths: &[(Vec<String>, Mask)], has_functions: bool) -> Result<String, String> {
    let mut masked = document.to_owned();
    for (path, mask) in paths {
        masked = masked_at(&masked, path, mask, has_functions)?;
    }
    Ok(format!("CASE WHEN {document} IS NOT NULL THEN {masked} END"))
}

/// Returns a document with the value at a path masked. An array on the way, or at its end, stands for its elements. Any other value
/// where the path goes on is replaced by null: it may hold what is to be masked.
fn masked_at(document: &str, path: &[String], mask: &Mask, has_functions: bool) -> Result<String, String> {
    const NOTHING: &str = "'null'::pg_catalog.jsonb";
    const VALUE: &str = "(e.v #>> '{}'::pg_catalog.text[])";
    let masked = match (path.split_first(), mask) {
        (Some((key, rest)), _) => {
            let member = format!("(e.v -> {}::pg_catalog.text)", plan::quote_literal(key));
            let masked = masked_at(&member, rest, mask, has_functions)?;
            format!(
                "CASE WHEN pg_catalog.jsonb_typeof(e.v) <> 'object' THEN {NOTHING} WHEN {member} IS NULL THEN e.v
                 ELSE pg_catalog.jsonb_set(e.v, {}, {masked}, false) END",
                plan::text_array([key.as_str()])
            )
        }
        (None, Mask::Null) => NOTHING.to_owned(),
        (None, Mask::Constant(constant)) => {
            format!("pg_catalog.to_jsonb({}::pg_catalog.text)", plan::quote_literal(constant))
        }
        (None, Mask::Number(spread)) => {
            // The order of evaluation is not promised where a cast could fail for a text.
            let number =
                format!("(CASE WHEN pg_catalog.jsonb_typeof(e.v) = 'number' THEN {VALUE} END)::pg_catalog.numeric");
            let masked = number_sql(&number, spread, Kind::Numeric, "pg_catalog.numeric", None, has_functions)?
                .unwrap_or_default();
            format!("coalesce(pg_catalog.to_jsonb({masked}), {NOTHING})")
        }
        (None, mask) => {
            format!(
                "coalesce(pg_catalog.to_jsonb(({})::pg_catalog.text), {NOTHING})",
                mask.text_sql(VALUE, None, By::functions_if(has_functions))?
            )
        }
    };
    Ok(format!(
        "(SELECT CASE pg_catalog.jsonb_typeof(d.v) WHEN 'array' THEN l.list ELSE l.list -> 0 END
          FROM (SELECT {document} AS v OFFSET 0) d
          CROSS JOIN LATERAL (
              SELECT coalesce(pg_catalog.jsonb_agg({masked} ORDER BY e.n), '[]') AS list
              FROM pg_catalog.jsonb_array_elements(
                  CASE pg_catalog.jsonb_typeof(d.v) WHEN 'array' THEN d.v ELSE pg_catalog.jsonb_build_array(d.v) END
              ) WITH ORDINALITY e(v, n)) l)"
    ))
}
