//! Every difference between server versions, and the server's facts that bindings do not carry over.

// Functions that are declared here keep the server's names.
#![allow(non_snake_case)]

use pgrx::pg_sys;
use std::ffi::CStr;

/// A column of a tuple descriptor, in the words of every version.
pub struct Attribute {
    pub name: String,
    pub type_oid: pg_sys::Oid,
    pub typmod: i32,
    pub not_null: bool,
    pub dropped: bool,
}

/// The columns of an open relation's descriptor, dropped ones included.
pub fn attributes(descriptor: pg_sys::TupleDesc) -> Vec<Attribute> {
    // SAFETY: the caller holds the relation open, so that its descriptor stays; attributes follow it in memory.
    unsafe {
        (0..(*descriptor).natts as usize)
            .map(|position| {
                let attribute = attribute(descriptor, position);
                Attribute {
                    name: CStr::from_ptr((*attribute).attname.data.as_ptr()).to_string_lossy().into_owned(),
                    type_oid: (*attribute).atttypid,
                    typmod: (*attribute).atttypmod,
                    not_null: (*attribute).attnotnull,
                    dropped: (*attribute).attisdropped,
                }
            })
            .collect()
    }
}

/// # Safety
/// `position` is within the descriptor.
#[cfg(not(feature = "pg18"))]
unsafe fn attribute(descriptor: pg_sys::TupleDesc, position: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: promised by the caller.
    unsafe { (*descriptor).attrs.as_ptr().add(position) }
}

/// # Safety
/// `position` is within the descriptor.
#[cfg(feature = "pg18")]
unsafe fn attribute(descriptor: pg_sys::TupleDesc, position: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: promised by the caller. From 18 on the full attributes follow the compact ones (see TupleDescAttr).
    unsafe {
        let natts = (*descriptor).natts as usize;
        (*descriptor).compact_attrs.as_ptr().add(natts).cast::<pg_sys::FormData_pg_attribute>().add(position)
    }
}

/// A value as its type's output function writes it.
pub fn output_text(type_oid: pg_sys::Oid, value: pg_sys::Datum) -> String {
    let mut function = pg_sys::Oid::INVALID;
    let mut is_varlena = false;
    // SAFETY: the caller vouches for the value being of the type; the text is palloc'd in the current context.
    unsafe {
        pg_sys::getTypeOutputInfo(type_oid, &mut function, &mut is_varlena);
        CStr::from_ptr(pg_sys::OidOutputFunctionCall(function, value)).to_string_lossy().into_owned()
    }
}

pub fn database_encoding_is_utf8() -> bool {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as i32 }
}

/// The name that `client_encoding` takes for this database's encoding.
pub fn database_encoding_name() -> String {
    // SAFETY: returns a static string.
    unsafe { CStr::from_ptr(pg_sys::GetDatabaseEncodingName()).to_string_lossy().into_owned() }
}

/// The first two characters of a packed SQLSTATE.
pub fn sqlstate_class(sqlstate: i32) -> [u8; 2] {
    let character = |position: u32| ((sqlstate >> (6 * position)) & 0x3f) as u8 + b'0';
    [character(0), character(1)]
}

/// Creates an index's catalog rows and its empty file, without building it.
///
/// # Safety
/// `statement` is a transformed CREATE INDEX for a relation laid out as `heap`.
pub unsafe fn define_unbuilt_index(heap: pg_sys::Oid, statement: *mut pg_sys::IndexStmt) -> pg_sys::Oid {
    let none = pg_sys::Oid::INVALID;
    // SAFETY: promised by the caller. Rights are those of the target, which were checked.
    unsafe {
        #[cfg(feature = "pg15")]
        let address = pg_sys::DefineIndex(heap, statement, none, none, none, false, false, false, true, true);
        #[cfg(not(feature = "pg15"))]
        let address = pg_sys::DefineIndex(heap, statement, none, none, none, -1, false, false, false, true, true);
        address.objectId
    }
}

/// Tells the relation cache that the target's storage is new in this subtransaction, and that the other's is what the
/// target's was, as `swap_relation_files` does.
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
        #[cfg(feature = "pg15")]
        {
            (*other).rd_newRelfilenodeSubid = (*target).rd_newRelfilenodeSubid;
            (*other).rd_firstRelfilenodeSubid = (*target).rd_firstRelfilenodeSubid;
            pg_sys::RelationAssumeNewRelfilenode(target);
        }
        #[cfg(not(feature = "pg15"))]
        {
            (*other).rd_newRelfilelocatorSubid = (*target).rd_newRelfilelocatorSubid;
            (*other).rd_firstRelfilelocatorSubid = (*target).rd_firstRelfilelocatorSubid;
            pg_sys::RelationAssumeNewRelfilelocator(target);
        }
        pg_sys::relation_close(target, no_lock);
        pg_sys::relation_close(other, no_lock);
    }
}

/// Closes the file handles of a relation that now has another file. From 17 on invalidation does it.
pub fn close_storage(relation: u32) {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    // SAFETY: closes handles only; they are opened again when needed.
    unsafe {
        pg_sys::RelationCloseSmgrByOid(relation.into());
    }
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    let _ = relation;
}

// Functions of the server that the bindings leave out. Their signatures are the same from 15 to 18.
#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    /// Makes the TOAST table of a heap that will take another's place (`catalog/toasting.h`).
    pub fn NewHeapCreateToastTable(
        relation: pg_sys::Oid,
        options: pg_sys::Datum,
        lock_mode: pg_sys::LOCKMODE,
        old_toast: pg_sys::Oid,
    );
    /// The valid index of a TOAST table (`access/toast_internals.h`).
    pub fn toast_get_valid_index(toast: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> pg_sys::Oid;
    /// The statement that would make a copy of an index (`parser/parse_utilcmd.h`).
    pub fn generateClonedIndexStmt(
        heap: *mut pg_sys::RangeVar,
        source: pg_sys::Relation,
        attributes: *const pg_sys::AttrMap,
        constraint: *mut pg_sys::Oid,
    ) -> *mut pg_sys::IndexStmt;
    /// Keeps serializable transactions right when tuples move (`storage/predicate.h`).
    pub fn TransferPredicateLocksToHeapRelation(relation: pg_sys::Relation);
}

/// The server's own signal handlers, as function pointers; they must run without a guard around them.
pub mod signals {
    unsafe extern "C-unwind" {
        pub fn die(signal: std::ffi::c_int);
        pub fn StatementCancelHandler(signal: std::ffi::c_int);
        pub fn SignalHandlerForConfigReload(signal: std::ffi::c_int);
        pub fn SignalHandlerForShutdownRequest(signal: std::ffi::c_int);
    }
}

/// Makes the planner of this process leave parallel plans alone.
///
/// A member of another process's lock group must not become the leader of one of its own, which starting a parallel
/// query would make it; no setting that a function could change may allow that.
pub fn forbid_parallel_plans() {
    // SAFETY: called once in a background process of ours, which has one thread.
    unsafe {
        PREVIOUS_PLANNER = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(plan_serially);
    }
}

static mut PREVIOUS_PLANNER: pg_sys::planner_hook_type = None;

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn plan_serially(
    query: *mut pg_sys::Query,
    text: *const std::ffi::c_char,
    cursor_options: std::ffi::c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    let options = cursor_options & !(pg_sys::CURSOR_OPT_PARALLEL_OK as std::ffi::c_int);
    // SAFETY: hands the server's own arguments on.
    unsafe {
        match PREVIOUS_PLANNER {
            Some(previous) => previous(query, text, options, parameters),
            None => pg_sys::standard_planner(query, text, options, parameters),
        }
    }
}
