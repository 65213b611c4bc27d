//! What of a dump's objects is here already, and what this server lacks for them.

use super::spi::{self, Param};
use crate::error::Result;

/// Positions of the objects that exist here. Kinds, schemas and names are those of a dump.
pub fn existing(kinds: &[&str], schemas: &[&str], names: &[&str]) -> Result<Vec<usize>> {
    spi::fixed::query_json(
        include_str!("../../sql/queries/existing_objects.sql"),
        &[Param::TextArray(kinds), Param::TextArray(schemas), Param::TextArray(names)],
    )
}

/// The definitions of objects here, in words that a source has for the same; `None` for kinds that are not compared.
pub fn definitions(kinds: &[&str], schemas: &[&str], names: &[&str]) -> Result<Vec<Option<String>>> {
    spi::fixed::query_json(
        include_str!("../../sql/queries/object_definitions.sql"),
        &[Param::TextArray(kinds), Param::TextArray(schemas), Param::TextArray(names)],
    )
}

/// The name of this database.
pub fn current_database() -> Result<String> {
    Ok(spi::fixed::query_text("SELECT pg_catalog.current_database()::pg_catalog.text", &[])?.unwrap_or_default())
}

/// Whether there is a relation of this name, as SQL writes it.
pub fn relation_exists(name: &str) -> Result<bool> {
    spi::fixed::query_json(
        "SELECT pg_catalog.to_json(pg_catalog.to_regclass($1) IS NOT NULL)::pg_catalog.text",
        &[Param::Text(name)],
    )
}

/// Whether the server itself has a function of this name.
pub fn function_of_server_exists(name: &str) -> Result<bool> {
    spi::fixed::query_json(
        "SELECT to_json(EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = $1))::text",
        &[Param::Text(name)],
    )
}

/// Clears the statistics of tables and their indexes, where the server can take over others.
pub fn clear_statistics(relations: &[u32]) -> Result<()> {
    if function_of_server_exists("pg_clear_attribute_stats")? {
        spi::fixed::query_json::<i64>(
            include_str!("../../sql/queries/clear_statistics.sql"),
            &[Param::OidArray(relations)],
        )?;
    }
    Ok(())
}

/// Those of the extensions that are not installed on this server.
pub fn missing_extensions(names: &[&str]) -> Result<Vec<String>> {
    spi::fixed::query_json(
        "SELECT coalesce(json_agg(w.name ORDER BY w.name), '[]')::text FROM unnest($1) w(name)
         WHERE NOT EXISTS (SELECT FROM pg_available_extensions() a WHERE a.name = w.name)
           AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = w.name)",
        &[Param::TextArray(names)],
    )
}

/// Those of the roles that do not exist here.
pub fn missing_roles(names: &[&str]) -> Result<Vec<String>> {
    spi::fixed::query_json(
        "SELECT coalesce(json_agg(w.name ORDER BY w.name), '[]')::text FROM unnest($1) w(name)
         WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = w.name)",
        &[Param::TextArray(names)],
    )
}

/// Returns whether this server gives columns a stamp (`pg_attver`), as newer minor releases do to those that have just been made.
pub fn stamps_columns() -> Result<bool> {
    let told = spi::fixed::query_text(
        "SELECT (EXISTS (SELECT FROM pg_attribute a, unnest(a.attoptions) o(text) WHERE o.text LIKE 'pg_attver=%'))::text",
        &[],
    )?;
    Ok(told.as_deref() == Some("true"))
}

/// Those of the tablespaces that do not exist here.
pub fn missing_tablespaces(names: &[&str]) -> Result<Vec<String>> {
    spi::fixed::query_json(
        "SELECT coalesce(json_agg(w.name ORDER BY w.name), '[]')::text FROM unnest($1) w(name)
         WHERE NOT EXISTS (SELECT FROM pg_tablespace t WHERE t.spcname = w.name)",
        &[Param::TextArray(names)],
    )
}
