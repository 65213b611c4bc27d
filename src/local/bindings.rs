//! Functions of the server that pgrx leaves out. Their signatures are the same in every version.

// They keep the server's names.
#![allow(non_snake_case)]

use pgrx::pg_sys;

/// The state of routing, whose content `execPartition.h` does not show.
#[repr(C)]
pub struct PartitionTupleRouting {
    _private: [u8; 0],
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    /// Makes the TOAST table of a heap that will take another's place (`catalog/toasting.h`).
    pub fn NewHeapCreateToastTable(
        relation: pg_sys::Oid,
        options: pg_sys::Datum,
        lock_mode: pg_sys::LOCKMODE,
        old_toast: pg_sys::Oid,
    );
    /// Compresses long values of a row and moves them out of it until it fits (`access/heaptoast.h`).
    pub fn heap_toast_insert_or_update(
        relation: pg_sys::Relation,
        new: pg_sys::HeapTuple,
        old: pg_sys::HeapTuple,
        options: std::ffi::c_int,
    ) -> pg_sys::HeapTuple;
    /// Returns whether equal keys of an index are always the same bytes (`access/nbtree.h`).
    pub fn _bt_allequalimage(index: pg_sys::Relation, debug_message: bool) -> bool;
    /// Fills the meta page of a B-tree (`access/nbtree.h`).
    pub fn _bt_initmetapage(page: pg_sys::Page, root: pg_sys::BlockNumber, level: u32, all_equal_image: bool);
    /// Returns the valid index of a TOAST table (`access/toast_internals.h`).
    pub fn toast_get_valid_index(toast: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> pg_sys::Oid;
    /// Gives a sequence new storage, in which it is at its start (`commands/sequence.h`).
    pub fn ResetSequence(sequence: pg_sys::Oid);
    /// Returns the default of a column; null for NULL (`rewrite/rewriteHandler.h`).
    pub fn build_column_default(relation: pg_sys::Relation, number: std::ffi::c_int) -> *mut pg_sys::Node;
    /// Returns the statement that would make a copy of an index (`parser/parse_utilcmd.h`).
    pub fn generateClonedIndexStmt(
        heap: *mut pg_sys::RangeVar,
        source: pg_sys::Relation,
        attributes: *const pg_sys::AttrMap,
        constraint: *mut pg_sys::Oid,
    ) -> *mut pg_sys::IndexStmt;
    /// Returns a statement with its expressions analyzed (`parser/parse_utilcmd.h`).
    pub fn transformIndexStmt(
        relation: pg_sys::Oid,
        statement: *mut pg_sys::IndexStmt,
        text: *const std::ffi::c_char,
    ) -> *mut pg_sys::IndexStmt;
    /// Prepares the routing of rows to partitions (`executor/execPartition.h`).
    pub fn ExecSetupPartitionTupleRouting(
        state: *mut pg_sys::EState,
        relation: pg_sys::Relation,
    ) -> *mut PartitionTupleRouting;
    /// Returns the partition that a row belongs to (`executor/execPartition.h`).
    pub fn ExecFindPartition(
        table_state: *mut pg_sys::ModifyTableState,
        root: *mut pg_sys::ResultRelInfo,
        routing: *mut PartitionTupleRouting,
        slot: *mut pg_sys::TupleTableSlot,
        state: *mut pg_sys::EState,
    ) -> *mut pg_sys::ResultRelInfo;
    /// Closes the partitions that rows were routed to (`executor/execPartition.h`).
    pub fn ExecCleanupTupleRouting(table_state: *mut pg_sys::ModifyTableState, routing: *mut PartitionTupleRouting);
    /// Computes a row's stored generated columns (`executor/nodeModifyTable.h`).
    pub fn ExecComputeStoredGenerated(
        target: *mut pg_sys::ResultRelInfo,
        state: *mut pg_sys::EState,
        slot: *mut pg_sys::TupleTableSlot,
        command: pg_sys::CmdType::Type,
    );
    /// Returns the conditions that the bounds of a partition set, all of which must hold (`utils/partcache.h`).
    pub fn RelationGetPartitionQual(relation: pg_sys::Relation) -> *mut pg_sys::List;
    /// Keeps serializable transactions right when tuples move (`storage/predicate.h`).
    pub fn TransferPredicateLocksToHeapRelation(relation: pg_sys::Relation);
}

unsafe extern "C-unwind" {
    /// Sets the hint of the message that is being reported (`utils/elog.h`). A guard cannot pass on such arguments.
    pub fn errhint(format: *const std::ffi::c_char, ...) -> std::ffi::c_int;
    /// Sets the SQLSTATE of the message that is being reported.
    pub fn errcode(sqlstate: std::ffi::c_int) -> std::ffi::c_int;
}

/// Functions of the server whose ERRORs a caller lets pass as they are. The frame of such a caller has no value that
/// must be dropped.
pub mod unguarded {
    use pgrx::pg_sys;

    unsafe extern "C-unwind" {
        /// Executes a utility statement (`tcop/utility.h`).
        pub fn standard_ProcessUtility(
            statement: *mut pg_sys::PlannedStmt,
            text: *const std::ffi::c_char,
            read_only_tree: bool,
            context: pg_sys::ProcessUtilityContext::Type,
            parameters: pg_sys::ParamListInfo,
            environment: *mut pg_sys::QueryEnvironment,
            destination: *mut pg_sys::DestReceiver,
            completion: *mut pg_sys::QueryCompletion,
        );
        /// Refuses a relation that the current role does not own (`commands/tablecmds.h`). It is passed to the server, which calls it.
        pub fn RangeVarCallbackOwnsRelation(
            relation: *const pg_sys::RangeVar,
            oid: pg_sys::Oid,
            old_oid: pg_sys::Oid,
            argument: *mut std::ffi::c_void,
        );
    }
}

/// The server's own signal handlers, as function pointers; they must run without a guard around them.
pub mod signal_handlers {
    use std::ffi::c_int;

    unsafe extern "C-unwind" {
        pub fn die(signal: c_int);
        pub fn StatementCancelHandler(signal: c_int);
        pub fn SignalHandlerForConfigReload(signal: c_int);
        pub fn SignalHandlerForShutdownRequest(signal: c_int);
    }
}
