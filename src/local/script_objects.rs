//! What of a dump's objects is here already, and what this server lacks for them.

use super::settings;
use super::spi::{self, Param};
use crate::error::Result;
use std::sync::OnceLock;

/// Positions of the objects that exist here. Kinds, schemas and names are those of a dump; `identities` are what objects that may
/// share a name are told from each other by.
pub fn existing(kinds: &[&str], schemas: &[&str], names: &[&str], identities: &[&str]) -> Result<Vec<usize>> {
    spi::fixed::query_json(
        include_str!("../../sql/queries/existing_objects.sql"),
        &[Param::TextArray(kinds), Param::TextArray(schemas), Param::TextArray(names), Param::TextArray(identities)],
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

/// Whether there is a cast by a function of a user, in a language that reads tables.
pub fn has_casts_of_users() -> Result<bool> {
    // 16384 is FirstNormalObjectId (access/transam.h).
    spi::fixed::query_json(
        "SELECT to_json(EXISTS (SELECT FROM pg_cast c JOIN pg_proc f ON f.oid = c.castfunc JOIN pg_language l ON l.oid = f.prolang
                                WHERE f.oid >= 16384 AND l.lanname NOT IN ('internal', 'c')))::text",
        &[],
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

/// Returns a statement without the stamp of a column that this server would refuse: an empty text where it sets nothing else.
/// `None` for every statement that can be run as it is.
pub fn without_unknown_stamp(statement: &str) -> Result<Option<String>> {
    /// Whether this server gives columns such stamps: it has, then, when a table was made for the statement to be about.
    static STAMPS: OnceLock<bool> = OnceLock::new();
    let Some(left) = dumpscript::without_column_stamp(statement) else { return Ok(None) };
    let stamps = match STAMPS.get() {
        Some(known) => *known,
        None => {
            let told = settings::with_catalog_settings(|| {
                spi::fixed::query_text(
                    "SELECT (EXISTS (SELECT FROM pg_attribute a, unnest(a.attoptions) o(text) WHERE o.text LIKE 'pg_attver=%'))::text",
                    &[],
                )
            })?;
            *STAMPS.get_or_init(|| told.as_deref() == Some("true"))
        }
    };
    Ok((!stamps).then_some(left))
}

/// Those of the tablespaces that do not exist here.
pub fn missing_tablespaces(names: &[&str]) -> Result<Vec<String>> {
    spi::fixed::query_json(
        "SELECT coalesce(json_agg(w.name ORDER BY w.name), '[]')::text FROM unnest($1) w(name)
         WHERE NOT EXISTS (SELECT FROM pg_tablespace t WHERE t.spcname = w.name)",
        &[Param::TextArray(names)],
    )
}
