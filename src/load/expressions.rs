use crate::compat;
use crate::error::Result;
use crate::local::copy_statement::WhereClause;
use crate::local::expressions::parse;
use pgrx::pg_sys;

/// Expressions of the target, evaluated on the slots of its stage table: both have the same attribute numbers.
pub(super) struct Expressions {
    state: *mut pg_sys::EState,
    context: *mut pg_sys::ExprContext,
}

/// One prepared expression of an [`Expressions`].
pub(super) struct Expression(*mut pg_sys::ExprState);

impl Expressions {
    pub(super) fn new() -> Self {
        // SAFETY: both are allocated in a context of their own below the current one and live as long as it does.
        unsafe {
            let state = pg_sys::CreateExecutorState();
            Self { state, context: pg_sys::MakePerTupleExprContext(state) }
        }
    }

    /// Prepares a node tree as the catalogs keep it.
    pub(super) fn prepare(&mut self, node_tree: &str) -> Result<Expression> {
        let node = parse(node_tree)?;
        // SAFETY: a whole tree, which lives in the current context like what is made of it.
        Ok(Expression(unsafe { pg_sys::ExecPrepareExpr(node.cast(), self.state) }))
    }

    /// Prepares an expression that gives the same value to every row of a command; `None` for another one.
    pub(super) fn prepare_stable(&mut self, node_tree: &str) -> Result<Option<Expression>> {
        let node = parse(node_tree)?;
        // SAFETY: as above.
        unsafe {
            let is_volatile = pg_sys::contain_volatile_functions(node);
            Ok((!is_volatile).then(|| Expression(pg_sys::ExecPrepareExpr(node.cast(), self.state))))
        }
    }

    /// Prepares an expression that may mention columns which are computed when they are read.
    ///
    /// # Safety
    /// The relation is open and the expression is one of its own.
    pub(super) unsafe fn prepare_expanded(
        &mut self,
        node_tree: &str,
        relation: pg_sys::Relation,
    ) -> Result<Expression> {
        let node = parse(node_tree)?;
        // SAFETY: as for `prepare`, and as promised by the caller.
        unsafe {
            let node = compat::expand_virtual_columns(node, relation);
            Ok(Expression(pg_sys::ExecPrepareExpr(node.cast(), self.state)))
        }
    }

    /// Returns whether the row passes a CHECK constraint, as it does when the condition is NULL.
    #[inline]
    pub(super) fn passes(&mut self, check: &Expression, slot: *mut pg_sys::TupleTableSlot) -> bool {
        // SAFETY: the slot holds a virtual tuple of the layout that the expression was made for.
        unsafe {
            (*self.context).ecxt_scantuple = slot;
            pg_sys::ExecCheck(check.0, self.context)
        }
    }

    /// Returns the value, allocated in the current memory context, and whether it is NULL.
    #[inline]
    pub(super) fn value(
        &mut self,
        expression: &Expression,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> (pg_sys::Datum, bool) {
        let mut is_null = false;
        // SAFETY: as for `passes`.
        unsafe {
            (*self.context).ecxt_scantuple = slot;
            let value = pg_sys::ExecEvalExpr(expression.0, self.context, &mut is_null);
            (value, is_null)
        }
    }

    /// Returns whether a row belongs into the partition.
    pub(super) fn is_within(&mut self, bounds: &PartitionBounds, slot: *mut pg_sys::TupleTableSlot) -> bool {
        // SAFETY: the slot holds a row of the partition's layout; the context is this state's own.
        unsafe { pg_sys::ExecPartitionCheck(bounds.0, slot, self.state, false) }
    }

    /// Frees the memory that evaluations for the rows of a batch have left behind.
    pub(super) fn reset(&mut self) {
        // SAFETY: values that live in this memory were stored or dropped with the batch.
        unsafe { pg_sys::MemoryContextReset((*self.context).ecxt_per_tuple_memory) };
    }
}

impl Drop for Expressions {
    fn drop(&mut self) {
        // During an ERROR the end of the transaction frees it, and more cannot safely be done then.
        if !std::thread::panicking() {
            // SAFETY: made by CreateExecutorState.
            unsafe { pg_sys::FreeExecutorState(self.state) };
        }
    }
}

/// The bounds of a partition, whose relation stays open for them.
pub(super) struct PartitionBounds(*mut pg_sys::ResultRelInfo);

impl PartitionBounds {
    /// The caller's job has a lock on the partition.
    pub(super) fn of(partition: u32) -> Self {
        // SAFETY: a zeroed node of that type is what the function expects; it lives in the current context, which outlives
        // the load.
        unsafe {
            let relation = pg_sys::table_open(partition.into(), pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let info = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            (*info).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(info, relation, 1, std::ptr::null_mut(), 0);
            Self(info)
        }
    }

    pub(super) fn close(self) {
        // SAFETY: opened by `of`.
        unsafe { pg_sys::table_close((*self.0).ri_RelationDesc, pg_sys::AccessShareLock as pg_sys::LOCKMODE) }
    }
}

/// The condition that a row must satisfy to be stored.
pub struct Filter {
    state: *mut pg_sys::ExprState,
    volatile: bool,
}

impl Filter {
    pub fn of(condition: WhereClause) -> Self {
        let condition = condition.qualification();
        // SAFETY: the statement's parse tree holds the planned condition; what is made lives in the current context.
        unsafe {
            Self {
                state: pg_sys::ExecInitQual(condition, std::ptr::null_mut()),
                volatile: pg_sys::contain_volatile_functions(condition.cast()),
            }
        }
    }

    pub(super) fn is_volatile(&self) -> bool {
        self.volatile
    }

    /// Returns whether the condition is true; NULL is not enough.
    ///
    /// # Safety
    /// The context's slot holds a row of the table.
    pub(super) unsafe fn passes(&self, context: *mut pg_sys::ExprContext) -> bool {
        if self.state.is_null() {
            return true;
        }
        let mut is_null = false;
        // SAFETY: promised by the caller.
        let value = unsafe { pg_sys::ExecEvalExpr(self.state, context, &mut is_null) };
        !is_null && value.value() != 0
    }
}
