//! Execution of a parsed query, row by row as the executor makes them.

use super::datum::Row;
use super::encoding;
use super::relation;
use crate::compat;
use crate::error::{Error, Result, or_raise};
use pgrx::prelude::*;
use pgrx::{PgList, PgMemoryContexts, pg_guard, pg_sys};
use std::ffi::c_char;

/// A query that the executor has started.
pub struct StartedQuery {
    descriptor: *mut pg_sys::QueryDesc,
    receiver: Box<Receiver>,
    dimensions: Vec<usize>,
}

/// A column of a query's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultColumn {
    pub name: String,
    pub type_oid: pg_sys::Oid,
    pub typmod: i32,
    /// The number of dimensions with which the table's column was declared; 0 where the result is no column of a table.
    pub dimensions: usize,
}

/// The origin of a query, for messages and for functions that need it.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub text: *const c_char,
    pub environment: *mut pg_sys::QueryEnvironment,
}

type OnRow<'a> = dyn FnMut(Row<'_>) -> Result<()> + 'a;

/// The receiver of the executor's rows.
#[repr(C)]
struct Receiver {
    /// The first field, so that a pointer to it is one to the whole.
    base: pg_sys::DestReceiver,
    on_row: Option<*mut OnRow<'static>>,
    /// The context for memory that reading a row allocates.
    context: PgMemoryContexts,
    rows: u64,
}

impl StartedQuery {
    /// Analyzes, rewrites, plans and starts the query of a COPY, and refuses queries that COPY refuses. A query that
    /// was made for `relation` must read it.
    ///
    /// # Safety
    /// The statement is a raw parse tree of the source, which may be changed.
    pub(super) unsafe fn start(
        statement: *mut pg_sys::RawStmt,
        source: Source,
        relation: Option<pg_sys::Oid>,
    ) -> Result<Self> {
        // SAFETY: promised by the caller; as BeginCopyTo does it, with an active snapshot as for every COPY.
        unsafe {
            let rewritten = PgList::<pg_sys::Query>::from_pg(pg_sys::pg_analyze_and_rewrite_fixedparams(
                statement,
                source.text,
                std::ptr::null(),
                0,
                source.environment,
            ));
            let query = only_query(&rewritten)?;
            let dimensions = declared_dimensions(query);
            // The rows of a table come in the order of its storage, as from COPY.
            let options = if relation.is_some() { 0 } else { pg_sys::CURSOR_OPT_PARALLEL_OK as i32 };
            let plan = pg_sys::pg_plan_query(query, source.text, options, std::ptr::null_mut());
            if let Some(relation) = relation
                && !pg_sys::list_member_oid((*plan).relationOids, relation)
            {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "relation referenced by COPY statement has changed",
                ));
            }
            pg_sys::PushCopiedSnapshot(pg_sys::GetActiveSnapshot());
            pg_sys::UpdateActiveSnapshotCommandId();
            let mut receiver = Box::new(Receiver::new());
            let descriptor = pg_sys::CreateQueryDesc(
                plan,
                source.text,
                pg_sys::GetActiveSnapshot(),
                std::ptr::null_mut(),
                (&raw mut *receiver).cast(),
                std::ptr::null_mut(),
                source.environment,
                0,
            );
            pg_sys::ExecutorStart(descriptor, 0);
            Ok(Self { descriptor, receiver, dimensions })
        }
    }

    pub fn columns(&self) -> Vec<ResultColumn> {
        // SAFETY: the query is started, so that it has a descriptor of its result.
        let attributes = unsafe { relation::attributes((*self.descriptor).tupDesc) };
        attributes
            .into_iter()
            .enumerate()
            .map(|(position, attribute)| ResultColumn {
                name: attribute.name,
                type_oid: attribute.type_oid,
                typmod: attribute.typmod,
                dimensions: self.dimensions.get(position).copied().unwrap_or(0),
            })
            .collect()
    }

    /// Runs the query to its end and returns the number of its rows. An error of `on_row` is raised.
    pub fn run<'a>(mut self, on_row: &'a mut OnRow<'a>) -> u64 {
        // SAFETY: the pointer is used only by this run of the executor, which `on_row` outlives; what was started is
        // ended here, or by the end of the transaction after an error.
        unsafe {
            self.receiver.on_row =
                Some(std::mem::transmute::<*mut OnRow<'a>, *mut OnRow<'static>>(std::ptr::from_mut(on_row)));
            compat::run_query(self.descriptor);
            pg_sys::ExecutorFinish(self.descriptor);
            pg_sys::ExecutorEnd(self.descriptor);
            pg_sys::FreeQueryDesc(self.descriptor);
            pg_sys::PopActiveSnapshot();
        }
        self.receiver.rows
    }
}

impl Receiver {
    fn new() -> Self {
        let base = pg_sys::DestReceiver {
            receiveSlot: Some(receive),
            rStartup: Some(start_up),
            rShutdown: Some(ignore),
            rDestroy: Some(ignore),
            mydest: pg_sys::CommandDest::DestCopyOut,
        };
        Self { base, on_row: None, context: PgMemoryContexts::new("pgcopy row"), rows: 0 }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn receive(slot: *mut pg_sys::TupleTableSlot, receiver: *mut pg_sys::DestReceiver) -> bool {
    // SAFETY: the executor passes on what it was given, and a slot that holds a row, which ends before its memory context is reset.
    unsafe {
        let receiver = &mut *receiver.cast::<Receiver>();
        let row = Row::of_slot(slot);
        receiver.rows += 1;
        if let Some(on_row) = receiver.on_row {
            receiver.context.switch_to(|_| {
                or_raise((*on_row)(row));
            });
            receiver.context.reset();
        }
    }
    true
}

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn start_up(
    _receiver: *mut pg_sys::DestReceiver,
    _operation: i32,
    _columns: pg_sys::TupleDesc,
) {
}

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn ignore(_receiver: *mut pg_sys::DestReceiver) {}

/// Returns the one query that rules have made of a statement, or an error in the words of BeginCopyTo.
///
/// # Safety
/// The list is what the rewriter returned.
unsafe fn only_query(rewritten: &PgList<pg_sys::Query>) -> Result<*mut pg_sys::Query> {
    let refuse = |message: &str| Err(Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message));
    let Some(query) = rewritten.get_ptr(0) else {
        return refuse("DO INSTEAD NOTHING rules are not supported for COPY");
    };
    // SAFETY: promised by the caller.
    unsafe {
        if rewritten.len() > 1 {
            for query in rewritten.iter_ptr() {
                match (*query).querySource {
                    pg_sys::QuerySource::QSRC_QUAL_INSTEAD_RULE => {
                        return refuse("conditional DO INSTEAD rules are not supported for COPY");
                    }
                    pg_sys::QuerySource::QSRC_NON_INSTEAD_RULE => {
                        return refuse("DO ALSO rules are not supported for COPY");
                    }
                    _ => {}
                }
            }
            return refuse("multi-statement DO INSTEAD rules are not supported for COPY");
        }
        let utility = (*query).utilityStmt;
        if !utility.is_null() {
            return match (*utility).type_ {
                pg_sys::NodeTag::T_CreateTableAsStmt => refuse("COPY (SELECT INTO) is not supported"),
                _ => refuse("COPY query must not be a utility command"),
            };
        }
        if (*query).commandType != pg_sys::CmdType::CMD_SELECT && (*query).returningList.is_null() {
            return refuse("COPY query must have a RETURNING clause");
        }
    }
    Ok(query)
}

/// Returns for each column of the result the dimensions of the table's column.
///
/// # Safety
/// The query is analyzed.
unsafe fn declared_dimensions(query: *mut pg_sys::Query) -> Vec<usize> {
    // SAFETY: promised by the caller; the lists hold target entries.
    unsafe {
        let list = match (*query).commandType {
            pg_sys::CmdType::CMD_SELECT => (*query).targetList,
            _ => (*query).returningList,
        };
        let entries = PgList::<pg_sys::TargetEntry>::from_pg(list);
        entries
            .iter_ptr()
            .filter(|&entry| !(*entry).resjunk)
            .map(|entry| {
                let tuple = pg_sys::SearchSysCacheAttNum((*entry).resorigtbl, (*entry).resorigcol);
                if tuple.is_null() {
                    return 0;
                }
                let attribute = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_attribute>();
                let dimensions = (*attribute).attndims.max(0) as usize;
                pg_sys::ReleaseSysCache(tuple);
                dimensions
            })
            .collect()
    }
}

/// Returns a relation's name, for messages.
///
/// # Safety
/// The relation is open.
pub(super) unsafe fn name_of(relation: pg_sys::Relation) -> String {
    // SAFETY: promised by the caller.
    unsafe { encoding::text_at((*(*relation).rd_rel).relname.data.as_ptr()) }
}
