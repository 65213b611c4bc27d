//! Rows that a query can read although no relation holds them, like the transition tables of triggers.
//!
//! The planner knows only their columns: they have no index, constraint or statistics, whose expressions would be
//! evaluated with the rights of the query.

use super::identity::{Role, run_as};
use super::{encoding, settings};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// A relation of a query, which moves to disk when it exceeds its memory.
pub struct TransientTable {
    name: &'static CStr,
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
    rows: u64,
}

/// A column of a [`TransientTable`]. Collation 0 is that of a type without.
pub struct TransientColumn {
    pub name: String,
    pub type_oid: u32,
    pub collation: u32,
}

impl TransientTable {
    pub fn new(name: &'static CStr, columns: &[TransientColumn], kilobytes: usize) -> Result<Self> {
        // SAFETY: a descriptor of our own with as many columns as are filled in. Both live in the current context.
        unsafe {
            let descriptor = pg_sys::CreateTemplateTupleDesc(columns.len() as i32);
            for (number, column) in (1..).zip(columns) {
                let name = CString::new(column.name.as_str()).map_err(|_| Error::internal("a name holds a NUL"))?;
                pg_sys::TupleDescInitEntry(descriptor, number, name.as_ptr(), column.type_oid.into(), -1, 0);
                if column.collation != 0 {
                    pg_sys::TupleDescInitEntryCollation(descriptor, number, column.collation.into());
                }
            }
            let store = pg_sys::tuplestore_begin_heap(false, false, kilobytes.min(i32::MAX as usize) as i32);
            Ok(Self { name, store, descriptor, rows: 0 })
        }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a row, which is copied.
    ///
    /// # Safety
    /// There is a value, or a mark that there is none, for each column, and it is of the column's type.
    pub unsafe fn put(&mut self, values: &mut [pg_sys::Datum], nulls: &mut [bool]) {
        // SAFETY: promised by the caller.
        unsafe { pg_sys::tuplestore_putvalues(self.store, self.descriptor, values.as_mut_ptr(), nulls.as_mut_ptr()) };
        self.rows += 1;
    }
}

impl Drop for TransientTable {
    fn drop(&mut self) {
        // During an ERROR the end of the transaction frees it, and more cannot safely be done then.
        if !std::thread::panicking() {
            // SAFETY: made by `new`, and nothing reads it any more.
            unsafe { pg_sys::tuplestore_end(self.store) };
        }
    }
}

/// Returns the first row of a query over transient tables, as texts; the query is parsed, planned and executed as
/// `role`.
pub fn first_row(role: Role, tables: &[&TransientTable], sql: &str) -> Result<Option<Vec<Option<String>>>> {
    let command = encoding::to_database(sql)?;
    run_as(role, || {
        settings::use_catalog_search_path()?;
        // SAFETY: connected and finished in pairs, which the end of the (sub)transaction does after an ERROR. The tables
        // outlive the connection; what describes them is zeroed, as the server's own code makes it, and belongs to it.
        unsafe {
            pg_sys::SPI_connect();
            for table in tables {
                let relation = pg_sys::palloc0(size_of::<pg_sys::EphemeralNamedRelationData>())
                    .cast::<pg_sys::EphemeralNamedRelationData>();
                (*relation).md.name = table.name.as_ptr().cast_mut();
                (*relation).md.tupdesc = table.descriptor;
                (*relation).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
                (*relation).md.enrtuples = table.rows as f64;
                (*relation).reldata = table.store.cast();
                pg_sys::SPI_register_relation(relation);
            }
            let plan = pg_sys::SPI_prepare(command.as_ptr(), 0, std::ptr::null_mut());
            if plan.is_null() {
                return Err(Error::internal("SPI could not prepare a query"));
            }
            let none = std::ptr::null_mut();
            let snapshot = pg_sys::GetLatestSnapshot();
            let code = pg_sys::SPI_execute_snapshot(
                plan,
                none,
                std::ptr::null(),
                snapshot,
                std::ptr::null_mut(),
                true,
                true,
                1,
            );
            if code < 0 {
                return Err(Error::internal(format!("SPI: error {code}")));
            }
            let rows = pg_sys::SPI_tuptable;
            let row = (pg_sys::SPI_processed > 0 && !rows.is_null()).then(|| {
                (1..=(*(*rows).tupdesc).natts)
                    .map(|number| {
                        let text = pg_sys::SPI_getvalue(*(*rows).vals, (*rows).tupdesc, number);
                        (!text.is_null()).then(|| encoding::from_database(CStr::from_ptr(text)))
                    })
                    .collect()
            });
            pg_sys::SPI_finish();
            Ok(row)
        }
    })
}
