//! A query that a set-returning function runs on from call to call, a few rows at a time.

use super::datum::Row;
use super::encoding;
use super::query::{ResultColumn, ignore, start_up};
use super::relation;
use crate::compat;
use crate::error::{Error, Result, or_raise};
use pgrx::prelude::*;
use pgrx::{PgList, pg_guard, pg_sys};

/// A SELECT that has begun, with the rights and the snapshot of the statement that calls the function.
///
/// What it holds belongs to that statement: the end of the query, the end of the statement, or an error releases it.
pub struct SteppedQuery(Box<State>);

#[repr(C)]
struct State {
    /// The first field, so that a pointer to it is one to the whole.
    receiver: pg_sys::DestReceiver,
    /// Null once the query has ended.
    descriptor: *mut pg_sys::QueryDesc,
    /// Tells of the end of the statement.
    context: *mut pg_sys::ExprContext,
    /// For memory that reading a row allocates.
    row_context: pg_sys::MemoryContext,
    on_row: Option<*mut OnRow<'static>>,
    /// Whether the receiver has had enough for this time.
    is_interrupted: bool,
}

/// Takes a row, and returns whether there is room for another one.
pub type OnRow<'a> = dyn FnMut(Row<'_>) -> Result<bool> + 'a;

impl SteppedQuery {
    /// Starts a SELECT for a call of a set-returning function, which is in the memory context that outlives its calls.
    ///
    /// # Errors
    /// The text is not one SELECT that only reads, or the transaction may write.
    pub fn start(call: pg_sys::FunctionCallInfo, text: &str) -> Result<Self> {
        refuse_to_write()?;
        let text = encoding::to_database(text)?;
        // SAFETY: the call is one of a set-returning function, whose result information tells the statement's context. The
        // text and all that is made of it are in the memory context that outlives the calls; the statement has an active
        // snapshot. What was started is ended by `end`.
        unsafe {
            let text = pg_sys::pstrdup(text.as_ptr());
            let statements = PgList::<pg_sys::RawStmt>::from_pg(pg_sys::pg_parse_query(text));
            let statement = match statements.len() {
                1 => statements.get_ptr(0).ok_or_else(not_one_select)?,
                _ => return Err(not_one_select()),
            };
            let queries = PgList::<pg_sys::Query>::from_pg(pg_sys::pg_analyze_and_rewrite_fixedparams(
                statement,
                text,
                std::ptr::null(),
                0,
                std::ptr::null_mut(),
            ));
            let query = match queries.len() {
                1 => queries.get_ptr(0).ok_or_else(not_one_select)?,
                _ => return Err(not_one_select()),
            };
            let only_reads = (*query).commandType == pg_sys::CmdType::CMD_SELECT
                && (*query).utilityStmt.is_null()
                && !(*query).hasModifyingCTE
                && (*query).rowMarks.is_null();
            if !only_reads {
                return Err(not_one_select());
            }
            // In the order of the table's storage, and by this process alone: what is asked for in steps is not computed by
            // others meanwhile.
            let plan = pg_sys::pg_plan_query(query, text, 0, std::ptr::null_mut());
            let result: *mut pg_sys::ReturnSetInfo = (*call).resultinfo.cast();
            let mut state = Box::new(State {
                receiver: pg_sys::DestReceiver {
                    receiveSlot: Some(receive),
                    rStartup: Some(start_up),
                    rShutdown: Some(ignore),
                    rDestroy: Some(ignore),
                    mydest: pg_sys::CommandDest::DestNone,
                },
                descriptor: std::ptr::null_mut(),
                context: (*result).econtext,
                row_context: pg_sys::AllocSetContextCreateExtended(
                    pg_sys::CurrentMemoryContext,
                    c"pgcopy row".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                ),
                on_row: None,
                is_interrupted: false,
            });
            state.descriptor = pg_sys::CreateQueryDesc(
                plan,
                text,
                pg_sys::GetActiveSnapshot(),
                std::ptr::null_mut(),
                (&raw mut *state).cast(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                0,
            );
            pg_sys::ExecutorStart(state.descriptor, 0);
            let argument = pg_sys::Datum::from(&raw mut *state);
            pg_sys::RegisterExprContextCallback(state.context, Some(end_with_statement), argument);
            Ok(Self(state))
        }
    }

    pub fn columns(&self) -> Vec<ResultColumn> {
        // SAFETY: the query has not ended, so that it has a descriptor of its result.
        let attributes = unsafe { relation::attributes((*self.0.descriptor).tupDesc) };
        let column = |attribute: relation::Attribute| ResultColumn {
            name: attribute.name,
            type_oid: attribute.type_oid,
            typmod: attribute.typmod,
            dimensions: 0,
        };
        attributes.into_iter().map(column).collect()
    }

    /// Runs the query on until `on_row` has no more room, or to its end. Returns false at the end. An error of `on_row` is raised.
    pub fn step<'a>(&mut self, on_row: &'a mut OnRow<'a>) -> bool {
        let state = &mut *self.0;
        if state.descriptor.is_null() {
            return false;
        }
        state.is_interrupted = false;
        // SAFETY: the pointer is used only by this run of the executor, which `on_row` outlives.
        unsafe {
            state.on_row = Some(std::mem::transmute::<*mut OnRow<'a>, *mut OnRow<'static>>(std::ptr::from_mut(on_row)));
            compat::run_query_on(state.descriptor);
            state.on_row = None;
            if state.is_interrupted {
                return true;
            }
            let (context, argument) = (state.context, pg_sys::Datum::from(std::ptr::from_mut(state)));
            end(state);
            pg_sys::UnregisterExprContextCallback(context, Some(end_with_statement), argument);
        }
        false
    }
}

/// # Safety
/// What the state was made for has begun, and its statement has not ended.
unsafe fn end(state: &mut State) {
    let descriptor = std::mem::replace(&mut state.descriptor, std::ptr::null_mut());
    if descriptor.is_null() {
        return;
    }
    // SAFETY: promised by the caller.
    unsafe {
        pg_sys::ExecutorFinish(descriptor);
        pg_sys::ExecutorEnd(descriptor);
        pg_sys::FreeQueryDesc(descriptor);
    }
}

/// Ends a query of which not all rows were asked for. After an error it is not called.
#[pg_guard]
unsafe extern "C-unwind" fn end_with_statement(state: pg_sys::Datum) {
    // SAFETY: the state lives in the function's memory context, which goes after this was called, or it has taken itself out.
    unsafe { end(&mut *state.cast_mut_ptr::<State>()) }
}

#[pg_guard]
unsafe extern "C-unwind" fn receive(slot: *mut pg_sys::TupleTableSlot, receiver: *mut pg_sys::DestReceiver) -> bool {
    // SAFETY: the executor passes on what it was given, and a slot that holds a row, which ends before its memory context is reset.
    unsafe {
        let state = &mut *receiver.cast::<State>();
        let row = Row::of_slot(slot);
        let Some(on_row) = state.on_row else { return true };
        let outer = pg_sys::MemoryContextSwitchTo(state.row_context);
        let has_room = or_raise((*on_row)(row));
        pg_sys::MemoryContextSwitchTo(outer);
        pg_sys::MemoryContextReset(state.row_context);
        state.is_interrupted = !has_room;
        has_room
    }
}

/// Functions that the query calls could write in a transaction that may.
fn refuse_to_write() -> Result<()> {
    // SAFETY: reads a backend-local variable.
    if unsafe { pg_sys::XactReadOnly } {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "rows are sent in read-only transactions alone",
    )
    .hint("pgcopy.pull on another server calls this function; it begins with BEGIN READ ONLY."))
}

fn not_one_select() -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "only the rows of one SELECT that writes nothing are sent",
    )
}
