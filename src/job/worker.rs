use super::executor::Executor;
use super::processes;
use super::shared::{Next, Shared, Taker};
use crate::error::Result;
use crate::local::{messages, settings, transaction};
use crate::order::Input;
use pgrx::pg_sys;
use pgrx::prelude::*;
use plan::TaskKind;
use std::ffi::CString;
use std::time::Duration;

/// The main function of a worker: takes tasks until none is left.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pgcopy_worker_main(segment: pg_sys::Datum) {
    let Some(shared) = processes::join_job(segment) else {
        return;
    };
    let Some(worker) = shared.claim_worker(processes::my_pid()) else {
        return;
    };
    // SAFETY: the callback's argument is a small number; the segment stays mapped until after such callbacks have run.
    unsafe {
        WORKER = Some((shared, worker));
        pg_sys::before_shmem_exit(Some(worker_exits), pg_sys::Datum::from(worker));
    }
    if let Err(error) = crate::error::catch(|| work(shared, worker)) {
        shared.fail(&error);
    }
    // SAFETY: see above; from here on the exit is a regular one.
    unsafe { WORKER = None };
    shared.worker_ended(worker);
}

/// The worker of this process, for [`worker_exits`].
static mut WORKER: Option<(Shared, usize)> = None;

/// Fails the job of a worker that cannot connect, or is terminated.
#[pg_guard]
unsafe extern "C-unwind" fn worker_exits(_code: i32, _worker: pg_sys::Datum) {
    // SAFETY: background processes have one thread.
    if let Some((shared, worker)) = unsafe { WORKER } {
        shared.fail(&processes::reason_to_end("a worker of the pull"));
        shared.worker_ended(worker);
    }
}

/// The number of tasks after which a worker frees its caches of tables, which the server keeps as long as the process lives.
const MOST_TASKS_REMEMBERED: usize = 2000;

fn work(shared: Shared, worker: usize) -> Result<()> {
    let spec = shared.spec()?;
    processes::connect_as_member(shared.database(), Some(spec.caller.authenticated));
    messages::keep();
    spec.settings.adopt_for_process();
    // Other commits of a worker are flushed, at the latest, by the leader's own commit.
    settings::set_for_process(c"synchronous_commit", c"off");
    settings::set_for_process(c"pgcopy.own_storage", if spec.own_storage { c"on" } else { c"off" });
    if let Input::Server(server) = &spec.input {
        let source_timeout = CString::new(server.timeout.as_str()).unwrap_or_default();
        settings::set_for_process(c"pgcopy.source_timeout", &source_timeout);
    }
    let schedule = spec.schedule();
    let mut executor = Executor::new(&spec, &schedule, shared, false);
    let mut tasks_since = 0;
    loop {
        match shared.next_tasks(&schedule, Taker::Worker(worker + 1)) {
            Next::Tasks(tasks) => {
                let first = spec.describe_task(schedule.tasks[tasks[0]].kind);
                let more = if tasks.len() > 1 { format!(" and {} more", tasks.len() - 1) } else { String::new() };
                processes::report_activity(&format!("pgcopy job {}: {first}{more}", spec.job));
                let done = processes::in_transaction_of(spec.caller, || {
                    spec.instants.adopt();
                    if matches!(schedule.tasks[tasks[0]].kind, TaskKind::Create { .. }) {
                        // After a crash the tables must be in the catalog, or their files would have no owner.
                        settings::set_local(c"synchronous_commit", "local")?;
                    }
                    if tasks_since > MOST_TASKS_REMEMBERED {
                        transaction::forget_definitions();
                        tasks_since = 0;
                    }
                    tasks_since += tasks.len();
                    executor.run(&tasks)
                });
                // Nobody else hears a worker.
                shared.add_words(&messages::kept());
                done?;
                shared.tasks_done(&schedule, &tasks);
            }
            Next::Wait => processes::wait(Duration::from_secs(1)),
            Next::AllDone | Next::Failed => return Ok(()),
        }
    }
}
