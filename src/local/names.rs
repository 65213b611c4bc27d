//! Names of relations, resolved along the caller's search path without running a statement under that path.

use super::encoding;
use crate::error::Result;
use pgrx::pg_sys;
use std::ffi::CStr;

/// Returns the relation that an unqualified name means.
pub fn visible_relation(name: &str) -> Result<Option<u32>> {
    let name = encoding::to_database(name)?;
    // SAFETY: the name is copied; the look-up takes no lock.
    let relation = unsafe { pg_sys::RelnameGetRelid(name.as_ptr()) };
    Ok((relation != pg_sys::Oid::INVALID).then(|| relation.to_u32()))
}

/// Returns the relation of a schema-qualified name, or none where either part is missing.
pub fn relation_in(schema: &str, name: &str) -> Result<Option<u32>> {
    let (schema, name) = (encoding::to_database(schema)?, encoding::to_database(name)?);
    // SAFETY: syscache look-ups.
    let relation = unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        if schema == pg_sys::Oid::INVALID {
            return Ok(None);
        }
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    Ok((relation != pg_sys::Oid::INVALID).then(|| relation.to_u32()))
}

/// Returns the name of the schema of a relation, which may have been dropped.
pub fn schema_of(relation: u32) -> Option<String> {
    // SAFETY: syscache look-ups; the name is a copy or null.
    unsafe { name_of_schema(pg_sys::get_rel_namespace(relation.into())) }
}

/// Returns schema and name of a relation.
pub fn qualified_name(relation: u32) -> Option<(String, String)> {
    // SAFETY: a syscache look-up, whose result is a copy or null.
    let name = unsafe {
        let name = pg_sys::get_rel_name(relation.into());
        (!name.is_null()).then(|| encoding::from_database(CStr::from_ptr(name)))
    };
    Some((schema_of(relation)?, name?))
}

/// Returns the schema that a new table of an unqualified name would be in.
pub fn creation_schema() -> Option<String> {
    // SAFETY: the list is a copy, of OIDs; its first is the schema for new objects.
    unsafe {
        let path = pg_sys::fetch_search_path(false);
        let first = pgrx::PgList::<()>::from_pg(path).get_oid(0)?;
        name_of_schema(first)
    }
}

/// Returns the caller's own temporary schema, once it has one.
pub fn temporary_schema() -> Option<String> {
    let mut schema = pg_sys::Oid::INVALID;
    let mut toast_schema = pg_sys::Oid::INVALID;
    // SAFETY: reads backend-local variables; then a syscache look-up.
    unsafe {
        pg_sys::GetTempNamespaceState(&mut schema, &mut toast_schema);
        name_of_schema(schema)
    }
}

/// # Safety
/// Called inside a transaction.
unsafe fn name_of_schema(schema: pg_sys::Oid) -> Option<String> {
    // SAFETY: a syscache look-up, whose result is a copy or null.
    unsafe {
        let name = pg_sys::get_namespace_name(schema);
        (!name.is_null()).then(|| encoding::from_database(CStr::from_ptr(name)))
    }
}
