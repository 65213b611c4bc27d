//! The hook that keeps background processes from parallel plans.

use super::guard::guarded;
use pgrx::pg_sys;

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
            Some(previous) => guarded!(previous(query, text, options, parameters)),
            None => pg_sys::standard_planner(query, text, options, parameters),
        }
    }
}
