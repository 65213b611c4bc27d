//! Relations and their columns, as read from descriptors.

use super::encoding::{self, from_database};
use crate::compat;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::CStr;

/// A column of a tuple descriptor, in a form for every version.
pub struct Attribute {
    pub name: String,
    pub type_oid: pg_sys::Oid,
    pub typmod: i32,
    pub not_null: bool,
    pub dropped: bool,
    /// Computed from other columns.
    pub generated: bool,
    /// The number of dimensions with which the column was declared (`integer[][]` has two). Its values may have others.
    pub dimensions: usize,
    pub layout: AttributeLayout,
}

/// The layout of a column's values in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeLayout {
    /// The length in bytes; -1 for values that begin with their length, -2 for C strings.
    pub length: i16,
    pub by_value: bool,
    /// The alignment in bytes.
    pub alignment: usize,
    /// Whether short values get the one-byte length.
    pub packed: bool,
}

/// Returns the columns of a descriptor, dropped ones included.
///
/// # Safety
/// The descriptor is a whole one and stays during the call, as that of an open relation does.
pub unsafe fn attributes(descriptor: pg_sys::TupleDesc) -> Vec<Attribute> {
    // SAFETY: promised by the caller; attributes follow the descriptor in memory.
    unsafe {
        (0..(*descriptor).natts as usize)
            .map(|position| {
                let attribute = compat::attribute(descriptor, position);
                Attribute {
                    name: from_database(CStr::from_ptr((*attribute).attname.data.as_ptr())),
                    type_oid: (*attribute).atttypid,
                    typmod: (*attribute).atttypmod,
                    not_null: (*attribute).attnotnull,
                    dropped: (*attribute).attisdropped,
                    generated: (*attribute).attgenerated != 0,
                    dimensions: (*attribute).attndims.max(0) as usize,
                    layout: AttributeLayout {
                        length: (*attribute).attlen,
                        by_value: (*attribute).attbyval,
                        alignment: match (*attribute).attalign as u8 {
                            pg_sys::TYPALIGN_CHAR => 1,
                            pg_sys::TYPALIGN_SHORT => 2,
                            pg_sys::TYPALIGN_INT => 4,
                            _ => 8,
                        },
                        packed: (*attribute).attlen == -1 && (*attribute).attstorage as u8 != pg_sys::TYPSTORAGE_PLAIN,
                    },
                }
            })
            .collect()
    }
}

/// Returns a column's name in the database's encoding.
///
/// # Safety
/// `position` is within the descriptor.
pub unsafe fn attribute_name(descriptor: pg_sys::TupleDesc, position: usize) -> *const std::ffi::c_char {
    // SAFETY: promised by the caller.
    unsafe { (*compat::attribute(descriptor, position)).attname.data.as_ptr() }
}

/// Returns a value as its type's output function writes it.
///
/// # Safety
/// The value is of that type.
pub unsafe fn output_text(type_oid: pg_sys::Oid, value: pg_sys::Datum) -> String {
    let mut function = pg_sys::Oid::INVALID;
    let mut is_varlena = false;
    // SAFETY: promised by the caller; the text is palloc'd in the current context.
    unsafe {
        pg_sys::getTypeOutputInfo(type_oid, &mut function, &mut is_varlena);
        from_database(CStr::from_ptr(pg_sys::OidOutputFunctionCall(function, value)))
    }
}

/// Returns the name of an open relation.
///
/// # Safety
/// The relation is open.
pub unsafe fn relation_name(relation: pg_sys::Relation) -> String {
    // SAFETY: promised by the caller.
    unsafe { from_database(CStr::from_ptr((*(*relation).rd_rel).relname.data.as_ptr())) }
}

/// Returns the path of a relation's main file, below the data directory.
///
/// # Safety
/// The relation is open.
pub unsafe fn relation_path(relation: pg_sys::Relation) -> String {
    // SAFETY: promised by the caller; the function is a syscache lookup, and its text is palloc'd in the current context.
    unsafe {
        let path = pg_sys::OidFunctionCall1Coll(
            pg_sys::Oid::from(pg_sys::F_PG_RELATION_FILEPATH),
            pg_sys::Oid::INVALID,
            pg_sys::Datum::from((*relation).rd_id),
        );
        from_database(CStr::from_ptr(pg_sys::text_to_cstring(path.cast_mut_ptr())))
    }
}

/// Returns the relation of that name, quoted where it must be, as the current user finds it.
///
/// # Errors
/// The text is a number, which would name a relation past the rights on its schema. The server raises errors of its own for
/// names that do not exist, or are not to be used.
pub fn named(name: &str) -> Result<pg_sys::Oid> {
    if name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_NAME, "a relation must be given by its name"));
    }
    let name = encoding::to_database(name)?;
    // SAFETY: the input function of regclass, with a NUL-terminated text.
    let found = unsafe {
        pg_sys::OidInputFunctionCall(
            pg_sys::Oid::from(pg_sys::F_REGCLASSIN),
            name.as_ptr().cast_mut(),
            pg_sys::Oid::INVALID,
            -1,
        )
    };
    Ok(pg_sys::Oid::from(found.value() as u32))
}

/// Returns whether the relation's access method is the server's own heap.
///
/// # Safety
/// The relation is open.
pub unsafe fn is_heap(relation: pg_sys::Relation) -> bool {
    // SAFETY: promised by the caller; returns a constant.
    unsafe { std::ptr::eq((*relation).rd_tableam, pg_sys::GetHeapamTableAmRoutine()) }
}
