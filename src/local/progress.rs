//! Reports of this process in `pg_stat_progress_copy` and `pg_stat_progress_create_index`.
//!
//! They name the target, which people know, and not its stage table. An ERROR ends a report with the transaction.

use pgrx::pg_sys;
use std::cell::Cell;

/// A report on copying rows.
pub struct CopyReport {
    rows: Cell<u64>,
    bytes: Cell<u64>,
}

impl CopyReport {
    pub fn begin(target: u32) -> Self {
        Self::of_type(target, pg_sys::PROGRESS_COPY_TYPE_CALLBACK)
    }

    /// Starts a report on a load from files of that many bytes.
    pub fn of_files(target: u32, bytes: u64) -> Self {
        let report = Self::of_type(target, pg_sys::PROGRESS_COPY_TYPE_FILE);
        update(pg_sys::PROGRESS_COPY_BYTES_TOTAL, bytes as i64);
        report
    }

    fn of_type(target: u32, source: u32) -> Self {
        let kind = pg_sys::ProgressCommandType::PROGRESS_COMMAND_COPY;
        // SAFETY: this process's own entry of the server's activity table.
        unsafe { pg_sys::pgstat_progress_start_command(kind, target.into()) };
        update(pg_sys::PROGRESS_COPY_COMMAND, pg_sys::PROGRESS_COPY_COMMAND_FROM);
        update(pg_sys::PROGRESS_COPY_TYPE, source);
        Self { rows: Cell::new(0), bytes: Cell::new(0) }
    }

    /// Adds rows, and bytes of their stream or files.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.rows.set(self.rows.get() + rows);
        self.bytes.set(self.bytes.get() + bytes);
        update(pg_sys::PROGRESS_COPY_BYTES_PROCESSED, self.bytes.get() as i64);
        update(pg_sys::PROGRESS_COPY_TUPLES_PROCESSED, self.rows.get() as i64);
    }

    pub fn end(&self) {
        end();
    }
}

/// A report on building an index; the server's own code adds the details.
pub struct IndexReport(());

impl IndexReport {
    /// Starts a report. `built` is the index that will take the place of `index`.
    pub fn begin(target: u32, index: u32, built: u32) -> Self {
        let kind = pg_sys::ProgressCommandType::PROGRESS_COMMAND_CREATE_INDEX;
        // SAFETY: as above; the lookup needs a transaction only.
        let access_method = unsafe {
            pg_sys::pgstat_progress_start_command(kind, target.into());
            let relation = pg_sys::index_open(built.into(), pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let access_method = (*(*relation).rd_rel).relam.to_u32();
            pg_sys::index_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            access_method
        };
        update(pg_sys::PROGRESS_CREATEIDX_COMMAND, pg_sys::PROGRESS_CREATEIDX_COMMAND_CREATE);
        update(pg_sys::PROGRESS_CREATEIDX_INDEX_OID.to_u32(), index);
        update(pg_sys::PROGRESS_CREATEIDX_ACCESS_METHOD_OID.to_u32(), access_method);
        Self(())
    }

    pub fn end(self) {
        end();
    }
}

fn update(parameter: u32, value: impl Into<i64>) {
    // SAFETY: this process's own entry of the server's activity table.
    unsafe { pg_sys::pgstat_progress_update_param(parameter as i32, value.into()) }
}

fn end() {
    // SAFETY: as above.
    unsafe { pg_sys::pgstat_progress_end_command() }
}

/// A report on a COPY TO a file, shown while this value lives. After an ERROR the end of the transaction removes it.
pub struct CopyToProgress(());

impl CopyToProgress {
    /// `relation` is 0 for a query.
    pub fn start(relation: u32) -> Self {
        let parameters = [pg_sys::PROGRESS_COPY_COMMAND as i32, pg_sys::PROGRESS_COPY_TYPE as i32];
        let values = [pg_sys::PROGRESS_COPY_COMMAND_TO as i64, pg_sys::PROGRESS_COPY_TYPE_FILE as i64];
        // SAFETY: writes this backend's own entry; both arrays have the length that is given.
        unsafe {
            pg_sys::pgstat_progress_start_command(pg_sys::ProgressCommandType::PROGRESS_COMMAND_COPY, relation.into());
            pg_sys::pgstat_progress_update_multi_param(2, parameters.as_ptr(), values.as_ptr());
        }
        Self(())
    }

    pub fn update(&self, rows: u64, bytes: u64) {
        let parameters = [pg_sys::PROGRESS_COPY_TUPLES_PROCESSED as i32, pg_sys::PROGRESS_COPY_BYTES_PROCESSED as i32];
        let values = [rows as i64, bytes as i64];
        // SAFETY: as above.
        unsafe { pg_sys::pgstat_progress_update_multi_param(2, parameters.as_ptr(), values.as_ptr()) }
    }
}

impl Drop for CopyToProgress {
    fn drop(&mut self) {
        // SAFETY: clears this backend's own entry.
        unsafe { pg_sys::pgstat_progress_end_command() }
    }
}
