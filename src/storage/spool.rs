//! Temporary files that one process writes and others read: files of the server, which its limits hold for, and which are gone
//! with the transaction.

use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

/// The name of the one file of a set.
const NAME: &std::ffi::CStr = c"rows";

/// The means to open a spool in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolHandle(u32);

/// A spool that this process writes.
pub struct SpoolWriter {
    segment: *mut pg_sys::dsm_segment,
    file: *mut pg_sys::BufFile,
    length: u64,
}

impl SpoolWriter {
    /// Makes a spool, which ends with the (sub)transaction at the latest.
    pub fn create() -> Result<Self> {
        // SAFETY: the segment has room for the set, which deletes its files when the last process detaches the segment. Both
        // belong to the current resource owner; the file's memory to the current context.
        unsafe {
            let flags = pg_sys::DSM_CREATE_NULL_IF_MAXSEGMENTS as i32;
            let segment = pg_sys::dsm_create(size_of::<pg_sys::SharedFileSet>(), flags);
            if segment.is_null() {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
                    "there are no segments of shared memory left",
                ));
            }
            let set = pg_sys::dsm_segment_address(segment).cast::<pg_sys::SharedFileSet>();
            pg_sys::SharedFileSetInit(set, segment);
            let file = pg_sys::BufFileCreateFileSet(&raw mut (*set).fs, NAME.as_ptr());
            Ok(Self { segment, file, length: 0 })
        }
    }

    /// Appends bytes, and returns the position of the first of them.
    pub fn append(&mut self, bytes: &[u8]) -> u64 {
        // SAFETY: the file is open until `remove`; as many bytes are read as there are.
        unsafe { pg_sys::BufFileWrite(self.file, bytes.as_ptr().cast_mut().cast(), bytes.len()) };
        let start = self.length;
        self.length += bytes.len() as u64;
        start
    }

    /// Makes all that was written readable for others. Nothing is written afterwards.
    pub fn export(&mut self) -> SpoolHandle {
        // SAFETY: open until `remove`.
        unsafe {
            pg_sys::BufFileExportFileSet(self.file);
            SpoolHandle(pg_sys::dsm_segment_handle(self.segment))
        }
    }

    /// Removes the file. After an error the end of the (sub)transaction does it.
    pub fn remove(self) {
        // SAFETY: both are open, and used no more.
        unsafe {
            pg_sys::BufFileClose(self.file);
            pg_sys::dsm_detach(self.segment);
        }
    }
}

/// A spool that this process reads.
pub struct SpoolReader {
    /// Set where this process has attached it for the reader alone.
    segment: Option<*mut pg_sys::dsm_segment>,
    file: *mut pg_sys::BufFile,
}

impl SpoolReader {
    /// Opens a spool that was exported. What is opened ends with the transaction, unless it is closed before.
    pub fn open(handle: SpoolHandle) -> Result<Self> {
        // SAFETY: the segment holds a set for as long as it exists; attaching it twice would be an error.
        unsafe {
            let mapped = pg_sys::dsm_find_mapping(handle.0);
            let (segment, is_ours) =
                if mapped.is_null() { (pg_sys::dsm_attach(handle.0), true) } else { (mapped, false) };
            if segment.is_null() {
                return Err(Error::new(PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN, "the rows of the script are gone"));
            }
            let set = pg_sys::dsm_segment_address(segment).cast::<pg_sys::SharedFileSet>();
            if is_ours {
                pg_sys::SharedFileSetAttach(set, segment);
            }
            let file = pg_sys::BufFileOpenFileSet(&raw mut (*set).fs, NAME.as_ptr(), libc::O_RDONLY, false);
            Ok(Self { segment: is_ours.then_some(segment), file })
        }
    }

    /// Fills the buffer from the position on.
    ///
    /// # Errors
    /// The file ends before.
    pub fn read(&mut self, position: u64, buffer: &mut [u8]) -> Result<()> {
        let offset = pg_sys::off_t::try_from(position).unwrap_or(pg_sys::off_t::MAX);
        // SAFETY: the file is open; as many bytes are written as the buffer has.
        let read = unsafe {
            if pg_sys::BufFileSeek(self.file, 0, offset, libc::SEEK_SET) != 0 {
                0
            } else {
                pg_sys::BufFileRead(self.file, buffer.as_mut_ptr().cast(), buffer.len())
            }
        };
        if read == buffer.len() {
            return Ok(());
        }
        Err(Error::new(PgSqlErrorCode::ERRCODE_IO_ERROR, "could not read the rows of the script: the file ends early"))
    }

    pub fn close(self) {
        // SAFETY: both are open, and used no more.
        unsafe {
            pg_sys::BufFileClose(self.file);
            if let Some(segment) = self.segment {
                pg_sys::dsm_detach(segment);
            }
        }
    }
}
