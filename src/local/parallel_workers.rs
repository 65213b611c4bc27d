//! Background processes start no parallel workers.

use super::guard::guarded;
use super::settings;
use pgrx::pg_sys;
use std::ffi::CStr;

/// Keeps this process from starting parallel workers, for a query as well as for an index.
///
/// A member of another process's lock group must not become the leader of one of its own, which starting them would make it:
/// the list of the group's members, in shared memory, would be broken, and the workers would wait for the locks of their own
/// leader. No setting that a function could change may allow that. To be called when the process has connected.
pub fn forbid() {
    const OF_INDEX_BUILDS: &CStr = c"max_parallel_maintenance_workers";
    // SAFETY: called once in a background process of ours, which has one thread.
    unsafe {
        PREVIOUS_PLANNER = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(plan_serially);
    }
    settings::set_for_process(OF_INDEX_BUILDS, c"0");
    settings::keep_for_process(OF_INDEX_BUILDS);
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
