//! Indexes that statements of a script make over tables which the transaction has made, and which hold nothing yet.
//!
//! The server builds such an index as it builds any other. Before 17 that ends with a flush of the index's file to disk, which takes
//! longer than all else for a small table. What comes out is one page that says that there is no root. While [`quickly`]
//! runs, that page is made in shared buffers and logged, as changes of an index are.

use super::bindings;
use crate::compat;
use crate::error::Error;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::{CStr, c_char};

thread_local! {
    static QUICKLY: Cell<bool> = const { Cell::new(false) };
}

/// Runs statements whose indexes over empty tables of this transaction are made without a build.
pub fn quickly<T>(work: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            QUICKLY.set(self.0);
        }
    }
    let _before = Before(QUICKLY.replace(true));
    work()
}

/// Whether statements of such a kind are to be looked at.
pub fn is_asked_for(context: pg_sys::ProcessUtilityContext::Type) -> bool {
    QUICKLY.get() && context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_QUERY
}

/// Whether the database has had an event trigger.
fn has_event_triggers() -> bool {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: a catalog, opened and closed.
    unsafe {
        let catalog = pg_sys::table_open(pg_sys::EventTriggerRelationId, lock);
        let pages = pg_sys::RelationGetNumberOfBlocksInFork(catalog, pg_sys::ForkNumber::MAIN_FORKNUM);
        pg_sys::table_close(catalog, lock);
        pages > 0
    }
}

/// Makes the index of CREATE INDEX, or of ALTER TABLE … ADD PRIMARY KEY or UNIQUE, where it is over such a table. Returns what is
/// left to execute: the statement itself, another one in its place, which takes the index for the key, or null.
///
/// # Safety
/// The statement is one that the server is about to execute, with its text.
pub unsafe fn make(statement: *mut pg_sys::PlannedStmt, text: *const c_char) -> *mut pg_sys::PlannedStmt {
    // SAFETY: promised by the caller; what is changed is a copy.
    unsafe {
        match (*(*statement).utilityStmt).type_ {
            pg_sys::NodeTag::T_IndexStmt => {
                let index = (*statement).utilityStmt.cast::<pg_sys::IndexStmt>();
                let is_plain = !(*index).concurrent
                    && !(*index).if_not_exists
                    && (*index).excludeOpNames.is_null()
                    && is_btree((*index).accessMethod);
                if !is_plain || !is_new_and_empty((*index).relation) || has_event_triggers() {
                    return statement;
                }
                make_index(pg_sys::copyObjectImpl(index.cast()).cast(), text);
                std::ptr::null_mut()
            }
            pg_sys::NodeTag::T_AlterTableStmt => {
                let alter = (*statement).utilityStmt.cast::<pg_sys::AlterTableStmt>();
                let is_plain = (*alter).objtype == pg_sys::ObjectType::OBJECT_TABLE && !(*alter).missing_ok;
                if !is_plain
                    || added_key(alter).is_none()
                    || !is_new_and_empty((*alter).relation)
                    || has_event_triggers()
                {
                    return statement;
                }
                let copy = pg_sys::copyObjectImpl(statement.cast()).cast::<pg_sys::PlannedStmt>();
                let alter = (*copy).utilityStmt.cast::<pg_sys::AlterTableStmt>();
                let Some(key) = added_key(alter) else { return statement };
                make_index(index_of((*alter).relation, key), text);
                // The constraint takes the index over.
                (*key).indexname = (*key).conname;
                (*key).keys = std::ptr::null_mut();
                (*key).including = std::ptr::null_mut();
                (*key).options = std::ptr::null_mut();
                (*key).indexspace = std::ptr::null_mut();
                pg_sys::CommandCounterIncrement();
                copy
            }
            _ => statement,
        }
    }
}

unsafe fn is_btree(access_method: *const c_char) -> bool {
    // SAFETY: a text of the statement, or null for the default.
    access_method.is_null() || unsafe { CStr::from_ptr(access_method) } == c"btree"
}

/// Returns the key that a statement adds, if it does nothing else.
unsafe fn added_key(alter: *mut pg_sys::AlterTableStmt) -> Option<*mut pg_sys::Constraint> {
    // SAFETY: nodes of a statement.
    unsafe {
        let commands = pgrx::PgList::<pg_sys::AlterTableCmd>::from_pg((*alter).cmds);
        let command = commands.head().filter(|_| commands.len() == 1);
        // The list is the statement's.
        let _ = commands.into_pg();
        let command = command?;
        if (*command).subtype != pg_sys::AlterTableType::AT_AddConstraint || (*command).def.is_null() {
            return None;
        }
        let key = (*command).def.cast::<pg_sys::Constraint>();
        let is_key = (*key).type_ == pg_sys::NodeTag::T_Constraint
            && matches!((*key).contype, pg_sys::ConstrType::CONSTR_PRIMARY | pg_sys::ConstrType::CONSTR_UNIQUE);
        let is_plain = !(*key).conname.is_null()
            && (*key).indexname.is_null()
            && !(*key).keys.is_null()
            && !(*key).deferrable
            && (*key).exclusions.is_null()
            && (*key).access_method.is_null()
            && (*key).where_clause.is_null()
            && !compat::has_periods(key);
        (is_key && is_plain).then_some(key)
    }
}

/// Returns the statement that makes the index of a key.
unsafe fn index_of(table: *mut pg_sys::RangeVar, key: *mut pg_sys::Constraint) -> *mut pg_sys::IndexStmt {
    // SAFETY: nodes of a statement, which the new one shares.
    unsafe {
        let index = pg_sys::palloc0(size_of::<pg_sys::IndexStmt>()).cast::<pg_sys::IndexStmt>();
        (*index).type_ = pg_sys::NodeTag::T_IndexStmt;
        (*index).idxname = (*key).conname;
        (*index).relation = table;
        (*index).accessMethod = c"btree".as_ptr().cast_mut();
        (*index).tableSpace = (*key).indexspace;
        (*index).indexParams = elements((*key).keys);
        (*index).indexIncludingParams = elements((*key).including);
        (*index).options = (*key).options;
        (*index).unique = true;
        (*index).nulls_not_distinct = (*key).nulls_not_distinct;
        index
    }
}

/// Returns columns, which a key only names, as an index has them.
unsafe fn elements(names: *mut pg_sys::List) -> *mut pg_sys::List {
    // SAFETY: a list of texts as nodes; what is made is palloc'd.
    unsafe {
        let names = pgrx::PgList::<pg_sys::Node>::from_pg(names);
        let mut elements = std::ptr::null_mut();
        for name in names.iter_ptr() {
            let element = pg_sys::palloc0(size_of::<pg_sys::IndexElem>()).cast::<pg_sys::IndexElem>();
            (*element).type_ = pg_sys::NodeTag::T_IndexElem;
            (*element).name = (*name.cast::<pg_sys::String>()).sval;
            elements = pg_sys::lappend(elements, element.cast());
        }
        let _ = names.into_pg();
        elements
    }
}

/// Whether the table is an ordinary one that this transaction has made, and that holds nothing.
unsafe fn is_new_and_empty(table: *mut pg_sys::RangeVar) -> bool {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: the name of a statement; opened and closed in pairs.
    unsafe {
        // A table that is not there, or not to be looked at, is the server's own matter.
        let flags = pg_sys::RVROption::RVR_MISSING_OK;
        let relation = pg_sys::RangeVarGetRelidExtended(table, pg_sys::NoLock as _, flags, None, std::ptr::null_mut());
        if relation == pg_sys::Oid::INVALID {
            return false;
        }
        let relation = pg_sys::try_relation_open(relation, lock);
        if relation.is_null() {
            return false;
        }
        let form = (*relation).rd_rel;
        let is_meant = (*relation).rd_createSubid != 0
            && (*form).relkind as u8 == pg_sys::RELKIND_RELATION
            && (*form).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT
            && (*form).relam == pg_sys::HEAP_TABLE_AM_OID
            && pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM) == 0;
        // The statement takes a stronger lock; who keeps a weaker one meanwhile may deadlock. That of the maker stays.
        pg_sys::relation_close(relation, lock);
        is_meant
    }
}

/// Makes an index as `ProcessUtilitySlow` in `utility.c` does for CREATE INDEX, but for the build.
unsafe fn make_index(statement: *mut pg_sys::IndexStmt, text: *const c_char) {
    // SAFETY: the statement is ours; the callback is a function of the server for this purpose.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(c"CREATE INDEX".as_ptr());
        let lock = pg_sys::ShareLock as pg_sys::LOCKMODE;
        let none = std::ptr::null_mut();
        let callback = Some(bindings::unguarded::RangeVarCallbackOwnsRelation as _);
        let table = pg_sys::RangeVarGetRelidExtended((*statement).relation, lock, 0, callback, none);
        let statement = bindings::transformIndexStmt(table, statement, text);
        let index = compat::define_empty_index(table, statement);
        pg_sys::CommandCounterIncrement();
        write_meta_page(index);
    }
}

/// Gives a B-tree that was not built its first page.
unsafe fn write_meta_page(index: pg_sys::Oid) {
    let (fork, none) = (pg_sys::ForkNumber::MAIN_FORKNUM, pg_sys::InvalidBlockNumber);
    // SAFETY: the index is new, and held by this transaction alone. The log record comes after the change: until then nobody could
    // miss the page.
    unsafe {
        let relation = pg_sys::index_open(index, pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE);
        if pg_sys::RelationGetNumberOfBlocksInFork(relation, fork) != 0 {
            Error::internal("a new index that is not empty").raise();
        }
        let mode = pg_sys::ReadBufferMode::RBM_ZERO_AND_LOCK;
        let buffer = pg_sys::ReadBufferExtended(relation, fork, none, mode, std::ptr::null_mut());
        let all_equal_image = bindings::_bt_allequalimage(relation, false);
        bindings::_bt_initmetapage(pg_sys::BufferGetPage(buffer), 0, 0, all_equal_image);
        pg_sys::MarkBufferDirty(buffer);
        pg_sys::UnlockReleaseBuffer(buffer);
        if compat::relation_needs_wal(relation) {
            pg_sys::log_newpage_range(relation, fork, 0, 1, true);
        }
        pg_sys::index_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
}
