//! Statements, expressions and the executor.

use pgrx::pg_sys;

/// Returns an expression over a table's columns in terms of the columns that its rows hold.
///
/// # Safety
/// The relation is open and the expression is one of its own.
pub unsafe fn expand_virtual_columns(expression: *mut pg_sys::Node, relation: pg_sys::Relation) -> *mut pg_sys::Node {
    #[cfg(since_18)]
    // SAFETY: promised by the caller.
    return unsafe { pg_sys::expand_generated_columns_in_expr(expression, relation, 1) };
    #[cfg(not(since_18))]
    {
        let _ = relation;
        expression
    }
}

/// Returns a copy of an expression in which `mutator` has changed the parts of the topmost node.
///
/// # Safety
/// The node is null or a whole tree, and the mutator returns such.
pub unsafe fn mutate_expression(
    node: *mut pg_sys::Node,
    mutator: unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut std::ffi::c_void) -> *mut pg_sys::Node,
    context: *mut std::ffi::c_void,
) -> *mut pg_sys::Node {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_16))]
        {
            type Undeclared = unsafe extern "C-unwind" fn() -> *mut pg_sys::Node;
            // The server's declaration leaves the parameters out, but it calls the function with both.
            let mutator = std::mem::transmute::<*const (), Undeclared>(mutator as *const ());
            pg_sys::expression_tree_mutator(node, Some(mutator), context)
        }
        #[cfg(since_16)]
        pg_sys::expression_tree_mutator_impl(node, Some(mutator), context)
    }
}

/// Makes an open relation the target of an executor's inserts, as `create_edata_for_relation` in `worker.c` does.
///
/// # Safety
/// The state is a new one.
pub unsafe fn init_result_relation(
    state: *mut pg_sys::EState,
    relation: pg_sys::Relation,
) -> *mut pg_sys::ResultRelInfo {
    // SAFETY: promised by the caller; nodes are palloc'd, zeroed and tagged.
    unsafe {
        let entry = pg_sys::palloc0(size_of::<pg_sys::RangeTblEntry>()).cast::<pg_sys::RangeTblEntry>();
        (*entry).type_ = pg_sys::NodeTag::T_RangeTblEntry;
        (*entry).rtekind = pg_sys::RTEKind::RTE_RELATION;
        (*entry).relid = (*relation).rd_id;
        (*entry).relkind = (*(*relation).rd_rel).relkind;
        (*entry).rellockmode = pg_sys::RowExclusiveLock as i32;
        let entries = pg_sys::lappend(std::ptr::null_mut(), entry.cast());
        #[cfg(not(since_16))]
        pg_sys::ExecInitRangeTable(state, entries);
        #[cfg(since_16)]
        {
            let mut permissions = std::ptr::null_mut();
            pg_sys::addRTEPermissionInfo(&mut permissions, entry);
            #[cfg(not(since_18))]
            pg_sys::ExecInitRangeTable(state, entries, permissions);
            #[cfg(since_18)]
            pg_sys::ExecInitRangeTable(state, entries, permissions, pg_sys::bms_make_singleton(1));
        }
        let target = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
        (*target).type_ = pg_sys::NodeTag::T_ResultRelInfo;
        pg_sys::ExecInitResultRelation(state, target, 1);
        (*state).es_output_cid = pg_sys::GetCurrentCommandId(true);
        target
    }
}

/// Raises an ERROR for a relation that rows cannot be inserted into.
///
/// # Safety
/// The target is one of [`init_result_relation`].
pub unsafe fn refuse_invalid_insert_target(target: *mut pg_sys::ResultRelInfo) {
    let insert = pg_sys::CmdType::CMD_INSERT;
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_17))]
        pg_sys::CheckValidResultRel(target, insert);
        #[cfg(all(since_17, not(since_18)))]
        pg_sys::CheckValidResultRel(target, insert, std::ptr::null_mut());
        #[cfg(since_18)]
        pg_sys::CheckValidResultRel(target, insert, pg_sys::OnConflictAction::ONCONFLICT_NONE, std::ptr::null_mut());
    }
}

/// Adds a stored row to the target's indexes. Returns the indexes whose constraint is deferred and must be checked
/// again.
///
/// # Safety
/// The slot holds a row that was just stored in the target, whose indexes are open.
pub unsafe fn insert_index_tuples(
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    state: *mut pg_sys::EState,
) -> *mut pg_sys::List {
    let none = std::ptr::null_mut();
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_16))]
        return pg_sys::ExecInsertIndexTuples(target, slot, state, false, false, std::ptr::null_mut(), none);
        #[cfg(since_16)]
        return pg_sys::ExecInsertIndexTuples(target, slot, state, false, false, std::ptr::null_mut(), none, false);
    }
}

/// Returns the map from the root's columns to those of a partition; null where they are the same.
///
/// # Safety
/// The target is a partition that a row was routed to.
pub unsafe fn root_to_child_map(
    target: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
) -> *mut pg_sys::TupleConversionMap {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_16))]
        {
            let _ = state;
            (*target).ri_RootToPartitionMap
        }
        #[cfg(since_16)]
        pg_sys::ExecGetRootToChildMap(target, state)
    }
}

/// Whether COPY TO takes a materialized view, from which only a query can copy before 18.
pub const COPY_READS_MATERIALIZED_VIEWS: bool = cfg!(since_18);

/// Whether MERGE has a RETURNING clause.
pub const MERGE_RETURNS_ROWS: bool = cfg!(since_17);

/// Sets the permission that a statement needs on a relation, before its expressions add theirs.
///
/// # Safety
/// The item is that of a relation.
pub unsafe fn require_permission(item: *mut pg_sys::ParseNamespaceItem, permission: u32) {
    // SAFETY: promised by the caller.
    unsafe { (*permission_entry(item)).requiredPerms = permission as pg_sys::AclMode }
}

/// Names the columns on which INSERT or SELECT is needed.
///
/// # Safety
/// The item is that of a relation; the numbers are those of its columns.
pub unsafe fn require_permission_on_columns(item: *mut pg_sys::ParseNamespaceItem, permission: u32, columns: &[i32]) {
    // SAFETY: promised by the caller.
    unsafe {
        let entry = permission_entry(item);
        for number in columns {
            let member = number - pg_sys::FirstLowInvalidHeapAttributeNumber;
            if permission == pg_sys::ACL_INSERT {
                (*entry).insertedCols = pg_sys::bms_add_member((*entry).insertedCols, member);
            } else {
                (*entry).selectedCols = pg_sys::bms_add_member((*entry).selectedCols, member);
            }
        }
    }
}

/// Returns the entry that has an item's permissions.
#[cfg(not(since_16))]
unsafe fn permission_entry(item: *mut pg_sys::ParseNamespaceItem) -> *mut pg_sys::RangeTblEntry {
    // SAFETY: the caller's item is that of a relation.
    unsafe { (*item).p_rte }
}

/// Returns the entry that has an item's permissions.
#[cfg(since_16)]
unsafe fn permission_entry(item: *mut pg_sys::ParseNamespaceItem) -> *mut pg_sys::RTEPermissionInfo {
    // SAFETY: the caller's item is that of a relation.
    unsafe { (*item).p_perminfo }
}

/// Raises an error for the first permission that the current user lacks.
///
/// # Safety
/// The state is that of a statement whose relations are open.
pub unsafe fn check_permissions(state: *mut pg_sys::ParseState) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_16))]
        pg_sys::ExecCheckRTPerms((*state).p_rtable, true);
        #[cfg(since_16)]
        pg_sys::ExecCheckPermissions((*state).p_rtable, (*state).p_rteperminfos, true);
    }
}

/// Runs a started query to its end, once.
///
/// # Safety
/// The query was started and has not run.
pub unsafe fn run_query(query: *mut pg_sys::QueryDesc) {
    let forward = pg_sys::ScanDirection::ForwardScanDirection;
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_18))]
        pg_sys::ExecutorRun(query, forward, 0, true);
        #[cfg(since_18)]
        pg_sys::ExecutorRun(query, forward, 0);
    }
}

/// Runs a started query on until its receiver has enough, or to its end.
///
/// # Safety
/// The query was started and has not come to its end.
pub unsafe fn run_query_on(query: *mut pg_sys::QueryDesc) {
    let forward = pg_sys::ScanDirection::ForwardScanDirection;
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_18))]
        pg_sys::ExecutorRun(query, forward, 0, false);
        #[cfg(since_18)]
        pg_sys::ExecutorRun(query, forward, 0);
    }
}
