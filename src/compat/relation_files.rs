//! Files of relations and temporary files.

use pgrx::pg_sys;

/// Tells the relation cache that the target's storage is new in this subtransaction, and that the other relation has
/// the target's former storage, as `swap_relation_files` does.
///
/// # Safety
/// Both relations exist and are locked exclusively.
pub unsafe fn assume_exchanged_storage(target: u32, other: u32) {
    let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: promised by the caller; opened and closed in pairs.
    unsafe {
        let target = pg_sys::relation_open(target.into(), no_lock);
        let other = pg_sys::relation_open(other.into(), no_lock);
        (*other).rd_createSubid = (*target).rd_createSubid;
        #[cfg(not(since_16))]
        {
            (*other).rd_newRelfilenodeSubid = (*target).rd_newRelfilenodeSubid;
            (*other).rd_firstRelfilenodeSubid = (*target).rd_firstRelfilenodeSubid;
            pg_sys::RelationAssumeNewRelfilenode(target);
        }
        #[cfg(since_16)]
        {
            (*other).rd_newRelfilelocatorSubid = (*target).rd_newRelfilelocatorSubid;
            (*other).rd_firstRelfilelocatorSubid = (*target).rd_firstRelfilelocatorSubid;
            pg_sys::RelationAssumeNewRelfilelocator(target);
        }
        pg_sys::relation_close(target, no_lock);
        pg_sys::relation_close(other, no_lock);
    }
}

/// Gives a relation a new, empty file; the old one goes with the commit.
///
/// # Safety
/// The relation is open and locked exclusively.
pub unsafe fn give_new_file(relation: pg_sys::Relation) {
    // SAFETY: promised by the caller.
    unsafe {
        let persistence = (*(*relation).rd_rel).relpersistence;
        #[cfg(not(since_16))]
        pg_sys::RelationSetNewRelfilenode(relation, persistence);
        #[cfg(since_16)]
        pg_sys::RelationSetNewRelfilenumber(relation, persistence);
    }
}

/// Answers as the macro `RelationNeedsWAL` (`utils/rel.h`).
///
/// # Safety
/// The relation is open.
pub unsafe fn relation_needs_wal(relation: pg_sys::Relation) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_16))]
        let new_file_of = (*relation).rd_firstRelfilenodeSubid;
        #[cfg(since_16)]
        let new_file_of = (*relation).rd_firstRelfilelocatorSubid;
        // Zero is `InvalidSubTransactionId`.
        let is_new = (*relation).rd_createSubid != 0 || new_file_of != 0;
        (*(*relation).rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT
            && (pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32 || !is_new)
    }
}

#[cfg(not(since_16))]
pub unsafe fn locator(relation: pg_sys::Relation) -> *mut pg_sys::RelFileNode {
    // SAFETY: the relation is open.
    unsafe { &raw mut (*relation).rd_node }
}

#[cfg(since_16)]
pub unsafe fn locator(relation: pg_sys::Relation) -> *mut pg_sys::RelFileLocator {
    // SAFETY: the relation is open.
    unsafe { &raw mut (*relation).rd_locator }
}

/// Reads a page past the buffer manager.
///
/// # Safety
/// The block exists, no buffer holds it with changes, and `page` points to room for a whole page.
pub unsafe fn read_page(storage: pg_sys::SMgrRelation, fork: pg_sys::ForkNumber::Type, block: u32, page: *mut u8) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_17))]
        pg_sys::smgrread(storage, fork, block, page.cast());
        #[cfg(since_17)]
        pg_sys::smgrreadv(storage, fork, block, (&raw const page).cast_mut().cast(), 1);
    }
}

/// Returns whether the buffer manager would accept a page that was read past it: a new page, or one with a header that
/// makes sense and a right checksum, where there are checksums and `ignore_checksum_failure` is off.
///
/// # Safety
/// `page` points to a whole page.
pub unsafe fn is_page_sound(page: *mut u8, block: u32) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_18))]
        {
            let flags = (pg_sys::PIV_LOG_WARNING | pg_sys::PIV_REPORT_STAT) as std::ffi::c_int;
            pg_sys::PageIsVerifiedExtended(page.cast(), block, flags)
        }
        #[cfg(since_18)]
        {
            let ignored = if pg_sys::ignore_checksum_failure { pg_sys::PIV_IGNORE_CHECKSUM_FAILURE } else { 0 };
            let mut failed = false;
            let flags = (pg_sys::PIV_LOG_WARNING | ignored) as std::ffi::c_int;
            pg_sys::PageIsVerified(page.cast(), block, flags, &mut failed)
        }
    }
}

/// Reads exactly that many bytes of a temporary file.
///
/// # Safety
/// The file is open and `buffer` has room.
pub unsafe fn read_temporary_file(file: *mut pg_sys::BufFile, buffer: *mut std::ffi::c_void, bytes: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_16))]
        if pg_sys::BufFileRead(file, buffer, bytes) != bytes {
            crate::error::Error::internal("a temporary file ended early").raise();
        }
        #[cfg(since_16)]
        pg_sys::BufFileReadExact(file, buffer, bytes);
    }
}

/// Closes the file handles of a relation that now has another file. From 17 on invalidation does it.
pub fn close_storage(relation: u32) {
    #[cfg(not(since_17))]
    // SAFETY: closes handles only; they are opened again when needed.
    unsafe {
        pg_sys::RelationCloseSmgrByOid(relation.into());
    }
    #[cfg(since_17)]
    let _ = relation;
}
