//! The utility hook. It carries out the COPY statements of our format, refuses statements by code of a table that would
//! disturb the job at work on it, and leaves all others to the server.

use super::bindings;
use super::copy_statement::{self, CopyStatement};
use super::empty_indexes;
use super::identity;
use crate::error::{Error, Result, or_raise};
use pgrx::prelude::*;
use pgrx::{pg_guard, pg_sys};
use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

/// Runs a statement and returns the number of its rows.
pub type Handler = fn(&CopyStatement) -> Result<u64>;

static HANDLER: OnceLock<Handler> = OnceLock::new();
static mut PREVIOUS: pg_sys::ProcessUtility_hook_type = None;

/// Hands COPY statements of the format that `copy_statement` calls ours to `handler` from now on.
pub fn register(handler: Handler) {
    if HANDLER.set(handler).is_ok() {
        // SAFETY: called when the library is loaded, by a process with one thread.
        unsafe {
            PREVIOUS = pg_sys::ProcessUtility_hook;
            pg_sys::ProcessUtility_hook = Some(process_utility);
        }
    }
}

/// The hook. It has no guard, so that an ERROR of another statement passes unchanged. With a guard the ERROR would be
/// reported anew, without its position, its context, and the fields that clients read. This frame has no values that
/// the ERROR could skip.
#[allow(clippy::too_many_arguments, reason = "they are the hook's")]
#[allow(ffi_unwind_calls, reason = "the frame holds no value that an ERROR could skip")]
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: the server's own arguments, handed on as they are.
    unsafe {
        if copy_statement::is_ours((*statement).utilityStmt) {
            return copy_parquet(statement, text, read_only_tree, environment, completion);
        }
        if !identity::may_change_definitions() {
            refuse_beside_work((*statement).utilityStmt);
        }
        // A macro, because the server's own function is not of the hook's type.
        macro_rules! pass_on {
            ($next:expr) => {
                $next(statement, text, read_only_tree, context, parameters, environment, destination, completion)
            };
        }
        match PREVIOUS {
            Some(next) => pass_on!(next),
            // Others may do something with every statement.
            None if empty_indexes::is_asked_for(context) => {
                let left = make_empty_index(statement, text);
                if left.is_null() {
                    return;
                }
                let (read_only_tree, statement) = (read_only_tree && left == statement, left);
                bindings::unguarded::standard_ProcessUtility(
                    statement,
                    text,
                    read_only_tree,
                    context,
                    parameters,
                    environment,
                    destination,
                    completion,
                );
            }
            None => pass_on!(bindings::unguarded::standard_ProcessUtility),
        }
    }
}

/// Makes the index of a statement over an empty table.
#[pg_guard]
unsafe extern "C-unwind" fn make_empty_index(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the server's own arguments.
    unsafe { empty_indexes::make(statement, text) }
}

/// Raises an error for a statement that the server counts among those of data definition, and for one that takes tables, or
/// variables of the process, that the work under way is using: ANALYZE frees what an ANALYZE around it has, and the server's
/// own guard against that (`in_vacuum` in `vacuum.c`) does not know of ours.
#[pg_guard]
unsafe extern "C-unwind" fn refuse_beside_work(statement: *mut pg_sys::Node) {
    // SAFETY: the server's own statement, which is only looked at; the name is a constant.
    let name = unsafe {
        let takes_tables = matches!(
            (*statement).type_,
            pg_sys::NodeTag::T_VacuumStmt | pg_sys::NodeTag::T_ReindexStmt | pg_sys::NodeTag::T_LockStmt
        );
        if !takes_tables && pg_sys::GetCommandLogLevel(statement) != pg_sys::LogStmtLevel::LOGSTMT_DDL {
            return;
        }
        CStr::from_ptr(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(statement))).to_string_lossy()
    };
    Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("cannot execute {name} within code of a table that pgcopy works on"),
    )
    .raise()
}

/// Carries out a COPY statement that is ours.
#[pg_guard]
unsafe extern "C-unwind" fn copy_parquet(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    environment: *mut pg_sys::QueryEnvironment,
    completion: *mut pg_sys::QueryCompletion,
) {
    let Some(handler) = HANDLER.get() else { return };
    // SAFETY: the server's own arguments; the tree is copied before it is changed where others have it, too.
    unsafe {
        let statement = if read_only_tree { pg_sys::copyObjectImpl(statement.cast()).cast() } else { statement };
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        (*state).p_sourcetext = text;
        (*state).p_queryEnv = environment;
        let copy = CopyStatement::new(statement, state);
        copy.refuse_where_writing_is_forbidden();
        let rows = or_raise(handler(&copy));
        if !completion.is_null() {
            (*completion).commandTag = pg_sys::CommandTag::CMDTAG_COPY;
            (*completion).nprocessed = rows;
        }
        pg_sys::free_parsestate(state);
        pg_sys::CommandCounterIncrement();
    }
}
