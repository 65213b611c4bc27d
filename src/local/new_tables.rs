//! Tables that only this transaction sees, as other processes need to know them.

use super::spi::{self, Param};
use super::{bindings, encoding};
use crate::error::Result;
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

/// The definition of a stage table for processes that do not see its target. All that it names is visible to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTable {
    pub oid: u32,
    /// Dropped ones included, which keep their numbers.
    pub columns: Vec<NewColumn>,
    /// In the order of their OIDs.
    pub indexes: Vec<NewIndex>,
    pub tablespace: u32,
    pub access_method: u32,
    /// As in `pg_class.relpersistence`.
    pub persistence: char,
    /// As in `pg_class.reloptions`.
    pub options: Vec<String>,
    /// The target's TOAST table, if it has one.
    pub toast: Option<NewToast>,
    /// The condition, as a node tree, that rows of a partition must satisfy where they are not known to belong there.
    #[serde(default)]
    pub bounds: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToast {
    pub oid: u32,
    pub options: Vec<String>,
}

/// A column, as `pg_attribute` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewColumn {
    pub name: String,
    /// 0 for a dropped column.
    pub type_oid: u32,
    pub typmod: i32,
    pub collation: u32,
    pub dimensions: i32,
    pub length: i16,
    pub by_value: bool,
    pub alignment: char,
    pub storage: char,
    /// Empty for the default.
    pub compression: String,
    pub not_null: bool,
    pub dropped: bool,
}

/// An index, as `pg_index` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewIndex {
    pub access_method: u32,
    pub tablespace: u32,
    pub unique: bool,
    pub nulls_not_distinct: bool,
    /// Without those that are only included.
    pub key_columns: i32,
    pub columns: Vec<NewIndexColumn>,
    /// Node trees.
    pub expressions: Option<String>,
    pub predicate: Option<String>,
    pub options: Vec<String>,
    /// Whether it belongs to an exclusion constraint, whose operators are not told here.
    pub excludes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewIndexColumn {
    /// 0 for an expression.
    pub number: i16,
    pub name: String,
    pub collation: u32,
    pub class: u32,
    pub class_options: Vec<String>,
    /// Bits for descending order and for the place of NULLs.
    pub ordering: i16,
}

/// Returns the definitions of tables as processes need them that do not see the tables.
pub fn read_new_tables(relations: &[u32]) -> Result<Vec<NewTable>> {
    spi::fixed::query_json(include_str!("../../sql/queries/new_tables.sql"), &[Param::OidArray(relations)])
}

/// Returns the condition that the bounds of a partition, and of those above it, set for its rows. There is none that other
/// processes could evaluate where one of them is by hash: it looks at the table above.
pub fn partition_bounds(relation: u32) -> Option<String> {
    let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: locked by this transaction, and closed again; the nodes are palloc'd in the current context.
    let bounds = unsafe {
        let table = pg_sys::table_open(relation.into(), no_lock);
        let bounds = pg_sys::make_ands_explicit(bindings::RelationGetPartitionQual(table));
        let bounds = super::expressions::text_of(bounds.cast());
        pg_sys::table_close(table, no_lock);
        bounds
    };
    let by_hash = format!(":funcid {} ", pg_sys::F_SATISFIES_HASH_PARTITION);
    (!bounds.contains(&by_hash)).then_some(bounds)
}

/// Returns whether an empty table was made by the present subtransaction, so that rows which are written to it, as if they
/// had always been there, go with the table in whatever way that ends. The caller holds a lock on it.
pub fn is_made_here(relation: u32) -> bool {
    let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    let is_empty = |relation: pg_sys::Relation| {
        // SAFETY: an open relation with storage.
        unsafe { pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM) == 0 }
    };
    // SAFETY: locked by this transaction, and closed again; its TOAST table goes with it.
    unsafe {
        let table = pg_sys::table_open(relation.into(), no_lock);
        let made_here = (*table).rd_createSubid == pg_sys::GetCurrentSubTransactionId();
        let toast = (*(*table).rd_rel).reltoastrelid;
        let mut made_here = made_here && is_empty(table);
        if made_here && toast != pg_sys::Oid::INVALID {
            let toast = pg_sys::table_open(toast, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            made_here = is_empty(toast);
            pg_sys::table_close(toast, no_lock);
        }
        pg_sys::table_close(table, no_lock);
        made_here
    }
}

/// Returns whether this transaction has made the table, which nobody else sees then, and it holds nothing. The caller holds a
/// lock on it.
pub fn is_new_and_empty(relation: u32) -> bool {
    let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: locked by this transaction, and closed again. Only a table has storage of its own here.
    unsafe {
        let table = pg_sys::table_open(relation.into(), no_lock);
        let is_new = (*table).rd_createSubid != 0
            && (*(*table).rd_rel).relkind as u8 == pg_sys::RELKIND_RELATION
            && pg_sys::RelationGetNumberOfBlocksInFork(table, pg_sys::ForkNumber::MAIN_FORKNUM) == 0;
        pg_sys::table_close(table, no_lock);
        is_new
    }
}

/// Returns an array of texts as catalogs keep it, allocated in the current memory context; NULL for an empty one.
pub fn text_array(texts: &[String]) -> Result<pg_sys::Datum> {
    if texts.is_empty() {
        return Ok(pg_sys::Datum::from(0usize));
    }
    let mut elements = Vec::with_capacity(texts.len());
    for text in texts {
        let text = encoding::to_database(text)?;
        // SAFETY: a palloc'd copy.
        elements.push(pg_sys::Datum::from(unsafe { pg_sys::cstring_to_text(text.as_ptr()) }));
    }
    // SAFETY: as many elements of that type, which are copied.
    let array = unsafe {
        pg_sys::construct_array_builtin(elements.as_mut_ptr(), elements.len() as std::ffi::c_int, pg_sys::TEXTOID)
    };
    Ok(pg_sys::Datum::from(array))
}
