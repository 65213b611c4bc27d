//! Every difference between server versions, and the server's facts that bindings do not carry over.

// Functions that are declared here keep the server's names.
#![allow(non_snake_case)]

use pgrx::pg_sys;
use std::ffi::CStr;

/// # Safety
/// `position` is within the descriptor.
#[cfg(not(feature = "pg18"))]
pub unsafe fn attribute(descriptor: pg_sys::TupleDesc, position: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: promised by the caller.
    unsafe { (*descriptor).attrs.as_ptr().add(position) }
}

/// # Safety
/// `position` is within the descriptor.
#[cfg(feature = "pg18")]
pub unsafe fn attribute(descriptor: pg_sys::TupleDesc, position: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: promised by the caller. From 18 on the full attributes follow the compact ones (see TupleDescAttr).
    unsafe {
        let natts = (*descriptor).natts as usize;
        (*descriptor).compact_attrs.as_ptr().add(natts).cast::<pg_sys::FormData_pg_attribute>().add(position)
    }
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

/// Exchanges what `pg_class` says of the size of two relations.
///
/// # Safety
/// Both point to a row of the catalog.
pub unsafe fn exchange_page_counts(one: *mut pg_sys::FormData_pg_class, other: *mut pg_sys::FormData_pg_class) {
    // SAFETY: promised by the caller.
    unsafe {
        std::mem::swap(&mut (*one).relpages, &mut (*other).relpages);
        std::mem::swap(&mut (*one).reltuples, &mut (*other).reltuples);
        std::mem::swap(&mut (*one).relallvisible, &mut (*other).relallvisible);
        #[cfg(feature = "pg18")]
        std::mem::swap(&mut (*one).relallfrozen, &mut (*other).relallfrozen);
    }
}

/// The descriptor that a stage table of an open target is made with.
///
/// From 18 on, columns may be computed when they are read, which a table without their expressions could not do: they
/// become ordinary ones, always NULL. And a NOT NULL that is not valid holds for nobody's rows but the target's later ones.
///
/// # Safety
/// The target is open for as long as the descriptor is used.
pub unsafe fn stage_descriptor(target: pg_sys::Relation) -> pg_sys::TupleDesc {
    // SAFETY: promised by the caller.
    let descriptor = unsafe { (*target).rd_att };
    #[cfg(feature = "pg18")]
    // SAFETY: the copy is this function's own, with as many columns.
    unsafe {
        let natts = (*descriptor).natts as usize;
        let full = |descriptor, position| attribute(descriptor, position).cast_mut();
        let compact = |position: usize| (*descriptor).compact_attrs.as_ptr().add(position);
        let is_virtual =
            |position| (*full(descriptor, position)).attgenerated as u8 == pg_sys::ATTRIBUTE_GENERATED_VIRTUAL;
        let is_unvalidated = |position| (*compact(position)).attnullability as u8 == pg_sys::ATTNULLABLE_INVALID;
        if (0..natts).any(|position| is_virtual(position) || is_unvalidated(position)) {
            let copy = pg_sys::CreateTupleDescCopyConstr(descriptor);
            for position in (0..natts).filter(|&position| is_virtual(position) || is_unvalidated(position)) {
                (*full(copy, position)).attnotnull = false;
                if is_virtual(position) {
                    (*full(copy, position)).attgenerated = 0;
                }
                pg_sys::populate_compact_attribute(copy, position as i32);
            }
            return copy;
        }
    }
    descriptor
}

/// An expression over a table's columns in terms of those that its rows hold.
///
/// # Safety
/// The relation is open and the expression is one of its own.
pub unsafe fn expand_virtual_columns(expression: *mut pg_sys::Node, relation: pg_sys::Relation) -> *mut pg_sys::Node {
    #[cfg(feature = "pg18")]
    // SAFETY: promised by the caller.
    return unsafe { pg_sys::expand_generated_columns_in_expr(expression, relation, 1) };
    #[cfg(not(feature = "pg18"))]
    {
        let _ = relation;
        expression
    }
}

/// A copy of an expression in which `mutator` has changed the parts of the topmost node.
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
        #[cfg(feature = "pg15")]
        {
            type Undeclared = unsafe extern "C-unwind" fn() -> *mut pg_sys::Node;
            // The server's declaration leaves the parameters out, but it calls the function with both.
            let mutator = std::mem::transmute::<*const (), Undeclared>(mutator as *const ());
            pg_sys::expression_tree_mutator(node, Some(mutator), context)
        }
        #[cfg(not(feature = "pg15"))]
        pg_sys::expression_tree_mutator_impl(node, Some(mutator), context)
    }
}

/// SQL for whether the last column of the foreign key `k` is a period, which keys need only cover together.
pub const FOREIGN_KEY_HAS_PERIOD: &str = if cfg!(feature = "pg18") { "k.conperiod" } else { "false" };

/// The macro `RelationNeedsWAL` (`utils/rel.h`).
///
/// # Safety
/// The relation is open.
pub unsafe fn relation_needs_wal(relation: pg_sys::Relation) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(feature = "pg15")]
        let new_file_of = (*relation).rd_firstRelfilenodeSubid;
        #[cfg(not(feature = "pg15"))]
        let new_file_of = (*relation).rd_firstRelfilelocatorSubid;
        // Zero is `InvalidSubTransactionId`.
        let is_new = (*relation).rd_createSubid != 0 || new_file_of != 0;
        (*(*relation).rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT
            && (pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32 || !is_new)
    }
}

/// Writes a page of a relation's file, at its end or anywhere before it.
///
/// # Safety
/// `page` points to a whole page, and no buffer holds this block.
pub unsafe fn extend_relation(
    storage: pg_sys::SMgrRelation,
    fork: pg_sys::ForkNumber::Type,
    block: u32,
    page: *mut u8,
    skip_fsync: bool,
) {
    // SAFETY: promised by the caller.
    unsafe { pg_sys::smgrextend(storage, fork, block, page.cast(), skip_fsync) };
}

/// Logs images of new pages and gives each its log position.
///
/// # Safety
/// The addresses are those of whole pages, one for each block, in the standard layout if `standard` is set.
pub unsafe fn log_new_pages(
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    blocks: &[u32],
    pages: &mut [*mut u8],
    standard: bool,
) {
    // SAFETY: promised by the caller; the server only reads the block numbers.
    unsafe {
        pg_sys::log_newpages(
            locator(relation),
            fork,
            blocks.len() as i32,
            blocks.as_ptr().cast_mut(),
            pages.as_mut_ptr().cast(),
            standard,
        );
    }
}

/// Logs rows that were put into an empty heap page, frozen, as `heap_multi_insert` logs them. Returns the log position.
///
/// # Safety
/// `page` is a whole page; `tuples` holds that many `xl_multi_insert_tuple` with their data.
pub unsafe fn log_heap_rows(
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    block: u32,
    page: *mut u8,
    rows: u16,
    tuples: &[u8],
) -> u64 {
    // `access/heapam_xlog.h`
    const MULTI_INSERT: u8 = 0x50;
    const INITIALIZES_PAGE: u8 = 0x80;
    const ALL_FROZEN: u8 = 1 << 5;
    // `xl_heap_multi_insert`: flags, padding, number of tuples; no offsets where the page is initialized.
    let [low, high] = rows.to_ne_bytes();
    let mut record = [ALL_FROZEN, 0, low, high];
    // SAFETY: promised by the caller; what is registered lives until the record is inserted.
    unsafe {
        pg_sys::XLogBeginInsert();
        pg_sys::XLogRegisterData(record.as_mut_ptr().cast(), record.len() as _);
        pg_sys::XLogRegisterBlock(0, locator(relation), fork, block, page.cast(), pg_sys::REGBUF_WILL_INIT as u8);
        pg_sys::XLogRegisterBufData(0, tuples.as_ptr().cast_mut().cast(), tuples.len() as _);
        pg_sys::XLogInsert(pg_sys::RmgrIds::RM_HEAP2_ID as u8, MULTI_INSERT | INITIALIZES_PAGE)
    }
}

#[cfg(feature = "pg15")]
unsafe fn locator(relation: pg_sys::Relation) -> *mut pg_sys::RelFileNode {
    // SAFETY: the relation is open.
    unsafe { &raw mut (*relation).rd_node }
}

#[cfg(not(feature = "pg15"))]
unsafe fn locator(relation: pg_sys::Relation) -> *mut pg_sys::RelFileLocator {
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
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        pg_sys::smgrread(storage, fork, block, page.cast());
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        pg_sys::smgrreadv(storage, fork, block, (&raw const page).cast_mut().cast(), 1);
    }
}

/// Whether a page that was read past the buffer manager is one that the manager would accept: new, or with a header that makes
/// sense and a checksum that is right, where there are any and `ignore_checksum_failure` is off.
///
/// # Safety
/// `page` points to a whole page.
pub unsafe fn is_page_sound(page: *mut u8, block: u32) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return pg_sys::PageIsVerifiedExtended(
            page.cast(),
            block,
            (pg_sys::PIV_LOG_WARNING | pg_sys::PIV_REPORT_STAT) as std::ffi::c_int,
        );
        #[cfg(feature = "pg18")]
        {
            let ignored = if pg_sys::ignore_checksum_failure { pg_sys::PIV_IGNORE_CHECKSUM_FAILURE } else { 0 };
            let mut failed = false;
            let flags = (pg_sys::PIV_LOG_WARNING | ignored) as std::ffi::c_int;
            return pg_sys::PageIsVerified(page.cast(), block, flags, &mut failed);
        }
    }
}

/// Calls a function of the server, or of another module, through a pointer, with the guard that the bindings put around every
/// function that they know: an ERROR unwinds the frames above instead of jumping over them.
///
/// # Safety
/// As the function that is called; `call` does nothing else.
pub unsafe fn guarded<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: promised by the caller; the server's functions are called from its one thread.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(call) }
}

/// Reads exactly so many bytes of a temporary file.
///
/// # Safety
/// The file is open and `buffer` has room.
pub unsafe fn read_temporary_file(file: *mut pg_sys::BufFile, buffer: *mut std::ffi::c_void, bytes: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(feature = "pg15")]
        if pg_sys::BufFileRead(file, buffer, bytes) != bytes {
            crate::error::Error::internal("a temporary file ended early").raise();
        }
        #[cfg(not(feature = "pg15"))]
        pg_sys::BufFileReadExact(file, buffer, bytes);
    }
}

/// Storage parameters of a B-tree.
pub struct BtreeOptions {
    pub fill_factor: usize,
    pub deduplicate: bool,
}

/// `BTOptions` (`access/nbtree.h`), or the defaults.
///
/// # Safety
/// The relation is an open B-tree.
pub unsafe fn btree_options(index: pg_sys::Relation) -> BtreeOptions {
    #[repr(C)]
    struct Options {
        length: i32,
        fill_factor: i32,
        cleanup_scale_factor: f64,
        deduplicate: bool,
    }
    // SAFETY: promised by the caller; the options of a B-tree have that form.
    unsafe {
        let options = (*index).rd_options.cast::<Options>();
        if options.is_null() {
            // `BTREE_DEFAULT_FILLFACTOR`
            BtreeOptions { fill_factor: 90, deduplicate: true }
        } else {
            BtreeOptions { fill_factor: (*options).fill_factor as usize, deduplicate: (*options).deduplicate }
        }
    }
}

/// Fills the meta page of a B-tree.
///
/// # Safety
/// The index is open, `page` points to room for a whole page.
pub unsafe fn initialize_btree_meta_page(index: pg_sys::Relation, page: *mut u8, root: u32, level: u32) {
    // SAFETY: promised by the caller.
    unsafe { _bt_initmetapage(page.cast(), root, level, _bt_allequalimage(index, false)) };
}

/// Lets ANALYZE know of a statistics target that an index column was given in the transaction that made the index: the
/// relation cache does not read the columns of such an index again. From 17 on ANALYZE asks the catalog.
///
/// # Safety
/// The index exists and is locked.
pub unsafe fn note_statistics_target(index: pg_sys::Oid, number: i16, target: i32) {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    // SAFETY: promised by the caller; the descriptor is that of the cache's own entry, which only this process reads.
    unsafe {
        let relation = pg_sys::relation_open(index, pg_sys::NoLock as pg_sys::LOCKMODE);
        let attribute = attribute((*relation).rd_att, (number - 1) as usize).cast_mut();
        #[cfg(feature = "pg15")]
        let target_here = target;
        // At most 10000.
        #[cfg(feature = "pg16")]
        let target_here = target as i16;
        (*attribute).attstattarget = target_here;
        pg_sys::relation_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    let _ = (index, number, target);
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

/// Makes an open relation the target of an executor's inserts, as `create_edata_for_relation` in `worker.c`.
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
        #[cfg(feature = "pg15")]
        pg_sys::ExecInitRangeTable(state, entries);
        #[cfg(not(feature = "pg15"))]
        {
            let mut permissions = std::ptr::null_mut();
            pg_sys::addRTEPermissionInfo(&mut permissions, entry);
            #[cfg(not(feature = "pg18"))]
            pg_sys::ExecInitRangeTable(state, entries, permissions);
            #[cfg(feature = "pg18")]
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
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        pg_sys::CheckValidResultRel(target, insert);
        #[cfg(feature = "pg17")]
        pg_sys::CheckValidResultRel(target, insert, std::ptr::null_mut());
        #[cfg(feature = "pg18")]
        pg_sys::CheckValidResultRel(target, insert, pg_sys::OnConflictAction::ONCONFLICT_NONE, std::ptr::null_mut());
    }
}

/// Adds a stored row to the target's indexes. Returns those whose constraint is deferred and must be looked at again.
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
        #[cfg(feature = "pg15")]
        return pg_sys::ExecInsertIndexTuples(target, slot, state, false, false, std::ptr::null_mut(), none);
        #[cfg(not(feature = "pg15"))]
        return pg_sys::ExecInsertIndexTuples(target, slot, state, false, false, std::ptr::null_mut(), none, false);
    }
}

/// How a partition's columns follow from those of the root; null where they are the same.
///
/// # Safety
/// The target is a partition that a row was routed to.
pub unsafe fn root_to_child_map(
    target: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
) -> *mut pg_sys::TupleConversionMap {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            let _ = state;
            (*target).ri_RootToPartitionMap
        }
        #[cfg(not(feature = "pg15"))]
        pg_sys::ExecGetRootToChildMap(target, state)
    }
}

/// Whether the relation's access method is the server's own heap.
///
/// # Safety
/// The relation is open.
pub unsafe fn is_heap(relation: pg_sys::Relation) -> bool {
    // SAFETY: promised by the caller; returns a constant.
    unsafe { std::ptr::eq((*relation).rd_tableam, pg_sys::GetHeapamTableAmRoutine()) }
}

/// What a materialized row of a heap takes.
///
/// # Safety
/// The slot is a heap's, or a buffer heap's, and materialized.
pub unsafe fn materialized_bytes(slot: *mut pg_sys::TupleTableSlot) -> usize {
    // SAFETY: promised by the caller; both kinds begin with the same structure.
    unsafe {
        let tuple = (*slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple;
        if tuple.is_null() { 0 } else { (*tuple).t_len as usize }
    }
}

/// `execPartition.h` keeps it to itself.
#[repr(C)]
pub struct PartitionTupleRouting {
    _private: [u8; 0],
}

/// Whether COPY TO takes a materialized view, from which only a query can copy before 18.
pub const COPY_READS_MATERIALIZED_VIEWS: bool = cfg!(feature = "pg18");

/// Whether MERGE has a RETURNING clause.
pub const MERGE_RETURNS_ROWS: bool = cfg!(any(feature = "pg17", feature = "pg18"));

/// Sets what a statement needs of a relation, before its expressions add what they need.
///
/// # Safety
/// The item is that of a relation.
pub unsafe fn require_permission(item: *mut pg_sys::ParseNamespaceItem, permission: u32) {
    // SAFETY: promised by the caller.
    unsafe { (*permission_entry(item)).requiredPerms = permission as pg_sys::AclMode }
}

/// Names the columns that INSERT or SELECT is needed on.
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

/// Where an item's permissions are kept.
#[cfg(feature = "pg15")]
unsafe fn permission_entry(item: *mut pg_sys::ParseNamespaceItem) -> *mut pg_sys::RangeTblEntry {
    // SAFETY: the caller's item is that of a relation.
    unsafe { (*item).p_rte }
}

/// Where an item's permissions are kept.
#[cfg(not(feature = "pg15"))]
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
        #[cfg(feature = "pg15")]
        pg_sys::ExecCheckRTPerms((*state).p_rtable, true);
        #[cfg(not(feature = "pg15"))]
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
        #[cfg(not(feature = "pg18"))]
        pg_sys::ExecutorRun(query, forward, 0, true);
        #[cfg(feature = "pg18")]
        pg_sys::ExecutorRun(query, forward, 0);
    }
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
    /// Compresses long values of a row and moves them out of it until it fits (`access/heaptoast.h`).
    pub fn heap_toast_insert_or_update(
        relation: pg_sys::Relation,
        new: pg_sys::HeapTuple,
        old: pg_sys::HeapTuple,
        options: std::ffi::c_int,
    ) -> pg_sys::HeapTuple;
    /// Whether equal keys of an index are always the same bytes (`access/nbtree.h`).
    fn _bt_allequalimage(index: pg_sys::Relation, debug_message: bool) -> bool;
    /// Fills the meta page of a B-tree (`access/nbtree.h`).
    fn _bt_initmetapage(page: pg_sys::Page, root: pg_sys::BlockNumber, level: u32, all_equal_image: bool);
    /// The valid index of a TOAST table (`access/toast_internals.h`).
    pub fn toast_get_valid_index(toast: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> pg_sys::Oid;
    /// Gives a sequence new storage, in which it is at its start (`commands/sequence.h`).
    pub fn ResetSequence(sequence: pg_sys::Oid);
    /// What fills a column that a row leaves out; null for NULL (`rewrite/rewriteHandler.h`).
    pub fn build_column_default(relation: pg_sys::Relation, number: std::ffi::c_int) -> *mut pg_sys::Node;
    /// The statement that would make a copy of an index (`parser/parse_utilcmd.h`).
    pub fn generateClonedIndexStmt(
        heap: *mut pg_sys::RangeVar,
        source: pg_sys::Relation,
        attributes: *const pg_sys::AttrMap,
        constraint: *mut pg_sys::Oid,
    ) -> *mut pg_sys::IndexStmt;
    /// Prepares the routing of rows to partitions (`executor/execPartition.h`).
    pub fn ExecSetupPartitionTupleRouting(
        state: *mut pg_sys::EState,
        relation: pg_sys::Relation,
    ) -> *mut PartitionTupleRouting;
    /// The partition that a row belongs to (`executor/execPartition.h`).
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
    /// Keeps serializable transactions right when tuples move (`storage/predicate.h`).
    pub fn TransferPredicateLocksToHeapRelation(relation: pg_sys::Relation);
}

unsafe extern "C-unwind" {
    /// Sets the hint of the message that is being reported (`utils/elog.h`). A guard cannot pass on such arguments.
    pub fn errhint(format: *const std::ffi::c_char, ...) -> std::ffi::c_int;
    /// Sets the SQLSTATE of the message that is being reported.
    pub fn errcode(sqlstate: std::ffi::c_int) -> std::ffi::c_int;
}

/// Functions of the server whose ERRORs a caller lets pass as they are. Such a caller has nothing in its frame that must be
/// dropped.
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
    }
}

/// The server's own signal handlers, as function pointers; they must run without a guard around them.
pub mod signals {
    use pgrx::pg_sys;

    /// What the macro `pqsignal` (`port.h`) stands for.
    ///
    /// # Safety
    /// The handler is one that this process may run at any moment.
    pub unsafe fn accept(signal: std::ffi::c_int, handler: unsafe extern "C-unwind" fn(std::ffi::c_int)) {
        // SAFETY: promised by the caller.
        unsafe {
            #[cfg(not(feature = "pg18"))]
            pg_sys::pqsignal(signal, Some(handler));
            #[cfg(feature = "pg18")]
            pg_sys::pqsignal_be(signal, Some(handler));
        }
    }

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
            Some(previous) => guarded(|| previous(query, text, options, parameters)),
            None => pg_sys::standard_planner(query, text, options, parameters),
        }
    }
}

/// Settings that are not the server's own and that every user may set, with their values where they were given one.
pub fn custom_settings() -> Vec<(std::ffi::CString, std::ffi::CString)> {
    const OWN: &[u8] = b"pgcopy.";
    // SAFETY: an array of as many settings as counted, which stays as it is while nothing is set. A value is a static buffer
    // or the setting's own string, copied at once.
    unsafe {
        #[cfg(feature = "pg15")]
        let (variables, count) = (pg_sys::get_guc_variables(), pg_sys::GetNumConfigOptions());
        #[cfg(not(feature = "pg15"))]
        let (variables, count) = {
            let mut count = 0;
            (pg_sys::get_guc_variables(&mut count), count)
        };
        (0..count as usize)
            .map(|position| *variables.add(position))
            .filter(|variable| {
                (**variable).context == pg_sys::GucContext::PGC_USERSET
                    && (**variable).source != pg_sys::GucSource::PGC_S_DEFAULT
            })
            .map(|variable| CStr::from_ptr((*variable).name))
            .filter(|name| name.to_bytes().contains(&b'.') && !name.to_bytes().starts_with(OWN))
            .filter_map(|name| {
                let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
                (!value.is_null()).then(|| (name.to_owned(), CStr::from_ptr(value).to_owned()))
            })
            .collect()
    }
}

mod output {
    use std::ffi::{c_char, c_int};

    unsafe extern "C-unwind" {
        /// `DOUBLE_SHORTEST_DECIMAL_LEN` bytes at most, with a NUL (`common/shortest_dec.h`). Raises nothing.
        pub fn double_to_shortest_decimal_buf(value: f64, result: *mut c_char) -> c_int;
        /// `FLOAT_SHORTEST_DECIMAL_LEN` bytes at most. Raises nothing.
        pub fn float_to_shortest_decimal_buf(value: f32, result: *mut c_char) -> c_int;
        /// `utils/bytea.h`
        pub static bytea_output: c_int;
    }

    pub const SHORTEST_DECIMAL_BYTES: usize = 32;
    /// `BYTEA_OUTPUT_HEX`
    pub const HEX: c_int = 1;
}

/// Appends the number as its type's output function writes it with all digits.
pub fn write_float8(value: f64, out: &mut Vec<u8>) {
    let mut buffer = [0u8; output::SHORTEST_DECIMAL_BYTES];
    // SAFETY: the buffer is longer than any such text. The function calls nothing that raises.
    let length = unsafe { output::double_to_shortest_decimal_buf(value, buffer.as_mut_ptr().cast()) };
    out.extend_from_slice(&buffer[..length as usize]);
}

/// The same of a `real`.
pub fn write_float4(value: f32, out: &mut Vec<u8>) {
    let mut buffer = [0u8; output::SHORTEST_DECIMAL_BYTES];
    // SAFETY: as above.
    let length = unsafe { output::float_to_shortest_decimal_buf(value, buffer.as_mut_ptr().cast()) };
    out.extend_from_slice(&buffer[..length as usize]);
}

/// Whether the session's `bytea_output` is `hex`.
pub fn bytea_output_is_hex() -> bool {
    // SAFETY: a backend-local variable.
    unsafe { output::bytea_output == output::HEX }
}
