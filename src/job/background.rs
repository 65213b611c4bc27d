//! A job without a session: a background process does it, in a transaction of its own.

use super::backup;
use super::check_local;
use super::dump::{self, DumpRequest};
use super::history;
use super::leader;
use super::load_files;
use super::load_sql::{self, LoadSqlRequest};
use super::migrate::{self, MigrateRequest};
use super::processes::{self, Process, Status};
use super::quota;
use super::shared::{self, Segment};
use crate::backup::BackupTerms;
use crate::error::{Error, Result, telling};
use crate::local::identity::Caller;
use crate::local::settings::{self, ValueSettings};
use crate::local::transaction;
use crate::local::{locks, messages};
use crate::prepare::load::{self, LoadRequest};
use crate::prepare::{self, CheckRequest, Request};
use pgrx::pg_sys;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// The kind of the job, with its arguments.
#[derive(Serialize, Deserialize)]
enum Work {
    Pull(Request),
    LoadParquet(LoadRequest),
    Migrate(MigrateRequest),
    CheckLocal(CheckRequest),
    LoadSql(LoadSqlRequest),
    Dump(DumpRequest),
    Backup(BackupTerms),
}

/// The order to the leader. It passes through shared memory and is wiped there: it holds the password.
#[derive(Serialize, Deserialize)]
struct Order {
    job: i64,
    work: Work,
    caller: Caller,
    database: u32,
    /// The origin of the rows, without secrets.
    source: String,
    /// The other arguments, as a JSON object without secrets.
    arguments: String,
    /// Microseconds since PostgreSQL's epoch.
    called: i64,
    settings: Vec<(String, String)>,
    value_settings: ValueSettings,
}

/// Settings of the caller's session that a job works with.
const SETTINGS: [&CStr; 14] = [
    c"maintenance_work_mem",
    c"work_mem",
    c"lock_timeout",
    c"deadlock_timeout",
    c"temp_tablespaces",
    c"temp_file_limit",
    c"default_statistics_target",
    c"maintenance_io_concurrency",
    c"synchronous_commit",
    c"wal_compression",
    c"pgcopy.source_timeout",
    c"pgcopy.source_lock_timeout",
    c"pgcopy.retry_timeout",
    c"pgcopy.swap_timeout",
];

/// Further settings of a load: those that find a table by its name, and those that a new table gets.
const LOAD_SETTINGS: [&CStr; 4] =
    [c"search_path", c"default_tablespace", c"default_table_access_method", c"session_replication_role"];

/// An order on its way. The text follows, and is followed by room for the reason to refuse it.
#[repr(C)]
struct Letter {
    /// As [`WAITING`] and so on.
    answer: AtomicU32,
    sender: AtomicI32,
    length: AtomicU64,
    refusal_length: AtomicU64,
}

const WAITING: u32 = 0;
/// The job is recorded.
const ACCEPTED: u32 = 1;
const REFUSED: u32 = 2;

/// For the error of a refusal, as JSON.
const REFUSAL_BYTES: usize = 8192;

/// A view of the segment that carries an order.
#[derive(Clone, Copy)]
struct Letterbox(*mut u8);

impl Letterbox {
    fn letter(&self) -> &Letter {
        // SAFETY: the segment begins with it, and is mapped as long as the view is used.
        unsafe { &*self.0.cast::<Letter>() }
    }

    fn text(&self) -> *mut u8 {
        // SAFETY: the text follows in the same segment.
        unsafe { self.0.add(size_of::<Letter>()) }
    }

    fn put(&self, json: &[u8]) {
        let letter = self.letter();
        letter.answer.store(WAITING, SeqCst);
        letter.sender.store(processes::my_pid(), SeqCst);
        letter.length.store(json.len() as u64, SeqCst);
        // SAFETY: the segment was made with room for it, and nobody else has it yet.
        unsafe { std::ptr::copy_nonoverlapping(json.as_ptr(), self.text(), json.len()) };
    }

    /// Reads the order, and wipes it.
    fn take(&self) -> Result<Order> {
        let length = self.letter().length.load(SeqCst) as usize;
        // SAFETY: the sender wrote that many bytes, and does not touch them any more.
        let text = unsafe { std::slice::from_raw_parts_mut(self.text(), length) };
        let order = serde_json::from_slice(text);
        text.fill(0);
        order.map_err(|error| Error::internal(format!("unreadable order: {error}")))
    }

    fn accept(&self) {
        self.answer(ACCEPTED);
    }

    /// Refuses the job.
    fn refuse(&self, reason: &Error) {
        let json = serde_json::to_vec(&reason.capped(REFUSAL_BYTES / 32)).unwrap_or_default();
        let length = if json.len() > REFUSAL_BYTES { 0 } else { json.len() };
        // SAFETY: the segment was made with that much room behind the order; the sender reads it after the answer.
        unsafe {
            let room = self.text().add(self.letter().length.load(SeqCst) as usize);
            std::ptr::copy_nonoverlapping(json.as_ptr(), room, length);
        }
        self.letter().refusal_length.store(length as u64, SeqCst);
        self.answer(REFUSED);
    }

    /// The first answer is the one that counts.
    fn answer(&self, answer: u32) {
        let letter = self.letter();
        if letter.answer.compare_exchange(WAITING, answer, SeqCst, SeqCst).is_ok() {
            processes::wake(letter.sender.load(SeqCst));
        }
    }

    /// Returns whether the job exists; `None` until the leader has answered.
    fn answered(&self) -> Option<Result<()>> {
        let letter = self.letter();
        match letter.answer.load(SeqCst) {
            WAITING => None,
            ACCEPTED => Some(Ok(())),
            _ => {
                let length = letter.refusal_length.load(SeqCst) as usize;
                // SAFETY: the process of the job wrote that many bytes behind the order before it answered.
                let json =
                    unsafe { std::slice::from_raw_parts(self.text().add(letter.length.load(SeqCst) as usize), length) };
                Some(Err(serde_json::from_slice(json).unwrap_or_else(|_| ended_early())))
            }
        }
    }
}

fn ended_early() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "the background process of the job ended before it began")
        .hint("The server's log may tell why.")
}

/// Starts a pull that runs on its own. Returns the job's number once everybody can see the job.
pub fn start_pull(request: &Request) -> Result<i64> {
    leader::refuse_where_forbidden(c"pgcopy.start_pull()")?;
    let source = prepare::check_arguments(request)?;
    start(Work::Pull(request.clone()), source, &[])
}

/// As [`start_pull`], for a load of files.
pub fn start_load_parquet(request: &LoadRequest) -> Result<i64> {
    load_files::refuse_where_forbidden(request, c"pgcopy.start_load_parquet()")?;
    let source = load::check_arguments(request)?;
    start(Work::LoadParquet(request.clone()), source, &LOAD_SETTINGS)
}

/// As [`start_pull`], for a whole database.
pub fn start_migrate(request: &MigrateRequest) -> Result<i64> {
    leader::refuse_where_forbidden(c"pgcopy.start_migrate()")?;
    let source = migrate::check_arguments(request)?;
    start(Work::Migrate(request.clone()), source, &[])
}

/// As [`start_pull`], for checks of this database's own tables.
pub fn start_check_local(request: &CheckRequest) -> Result<i64> {
    leader::refuse_where_nothing_is_written(c"pgcopy.start_check_local()")?;
    request.check()?;
    start(Work::CheckLocal(request.clone()), "this database".to_owned(), &[])
}

/// As [`start_pull`], for a script.
pub fn start_load_sql(request: &LoadSqlRequest) -> Result<i64> {
    leader::refuse_where_forbidden(c"pgcopy.start_load_sql()")?;
    let source = load_sql::check_arguments(request)?;
    start(Work::LoadSql(request.clone()), source, &LOAD_SETTINGS)
}

/// As [`start_pull`], for a dump.
pub fn start_dump(request: &DumpRequest) -> Result<i64> {
    leader::refuse_where_nothing_is_written(c"pgcopy.start_dump()")?;
    let source = dump::check_arguments(request)?;
    start(Work::Dump(request.clone()), source, &[])
}

/// As [`start_pull`], for a backup.
pub fn start_backup_create(request: &BackupTerms) -> Result<i64> {
    leader::refuse_where_nothing_is_written(c"pgcopy.start_backup_create()")?;
    let source = backup::check_arguments(request)?;
    start(Work::Backup(request.clone()), source, &[])
}

fn start(work: Work, source: String, more_settings: &[&CStr]) -> Result<i64> {
    if transaction::has_written_extension() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "extension \"pgcopy\" was created or altered by this transaction, which other processes cannot see",
        )
        .hint("Commit first, or call the function without \"start_\"."));
    }
    let job = history::next_job()?;
    let settings = SETTINGS.iter().chain(more_settings);
    let order = Order {
        job,
        arguments: match &work {
            Work::Pull(request) => request.described(),
            Work::LoadParquet(request) => request.described(),
            Work::Migrate(request) => request.described(),
            Work::CheckLocal(request) => request.described(),
            Work::LoadSql(request) => request.described(),
            Work::Dump(request) => request.described(),
            Work::Backup(terms) => backup::described(terms),
        },
        work,
        caller: Caller::of_this_session(),
        // SAFETY: reads a backend-local variable.
        database: unsafe { pg_sys::MyDatabaseId.to_u32() },
        source,
        called: shared::now(),
        settings: settings.filter_map(|name| Some((text(name), settings::value(name)?))).collect(),
        value_settings: ValueSettings::of_this_session(),
    };
    let json = serde_json::to_vec(&order).map_err(|error| Error::internal(error.to_string()))?;
    let segment = Segment::create(size_of::<Letter>() + json.len() + REFUSAL_BYTES).ok_or_else(no_process)?;
    let letterbox = Letterbox(segment.address());
    letterbox.put(&json);
    let name = format!("pgcopy job {job} leader");
    let leader = Process::start(&name, c"pgcopy_leader_main", segment.handle()).ok_or_else(no_process)?;
    // A caller that gives up here has started no job.
    telling(
        |_| leader.terminate(),
        || {
            loop {
                if let Some(answer) = letterbox.answered() {
                    return answer;
                }
                // The leader may have answered just before it ended.
                if leader.status() == Status::Ended {
                    return letterbox.answered().unwrap_or_else(|| Err(ended_early()));
                }
                processes::wait(Duration::from_millis(500));
            }
        },
    )?;
    segment.detach();
    Ok(job)
}

fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

fn no_process() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES, "no background process is free for the job")
        .hint(format!(
            "Call the function without \"start_\", which can do without, or make room with a restart of the server after: ALTER SYSTEM SET max_worker_processes = {};",
            quota::max_worker_processes() + 8
        ))
}

/// The main function of a leader without a session.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pgcopy_leader_main(segment: pg_sys::Datum) {
    processes::accept_signals();
    let Some(segment) = Segment::attach(segment.value() as u32) else {
        return;
    };
    let letterbox = Letterbox(segment.address());
    match crate::error::catch(|| letterbox.take()) {
        Ok(order) => {
            // SAFETY: the segment stays mapped until after such callbacks have run, or until the order is accepted.
            unsafe {
                ORDERED = Some(letterbox);
                pg_sys::before_shmem_exit(Some(leader_exits), pg_sys::Datum::from(0usize));
            }
            locks::release_at_exit();
            processes::connect(order.database, Some(order.caller.authenticated));
            if let Err(error) = crate::error::catch(|| lead(&order, &letterbox, segment)) {
                log_failure(order.job, error);
            }
        }
        Err(error) => pgrx::log!("pgcopy: {}", error.message),
    }
}

/// The order that is not accepted yet, for [`leader_exits`].
static mut ORDERED: Option<Letterbox> = None;

/// Tells the caller why there will be no job.
#[pg_guard]
unsafe extern "C-unwind" fn leader_exits(_code: i32, _argument: pg_sys::Datum) {
    // SAFETY: background processes have one thread.
    if let Some(letterbox) = unsafe { ORDERED } {
        letterbox.refuse(&processes::reason_to_end("the background process of the job"));
    }
}

/// Writes a failure to the server's log, since nobody may wait for the job.
fn log_failure(job: i64, mut error: Error) {
    error.message = format!("job {job} has failed: {}", error.message);
    error.warn();
}

/// Carries out the order. Errors of the job itself are recorded and logged; the errors that are returned are of the way to it.
fn lead(order: &Order, letterbox: &Letterbox, segment: Segment) -> Result<()> {
    for (name, value) in &order.settings {
        let text = |text: &str| CString::new(text).map_err(|_| Error::internal("a setting holds a NUL"));
        settings::set_for_process(&text(name)?, &text(value)?);
    }
    order.value_settings.adopt_for_process();
    processes::report_activity(&format!("pgcopy job {}: leader", order.job));
    let begun = processes::in_transaction(|| {
        quota::take_for_background_job(order.caller.current)?;
        history::announce(order.job, order.caller.current, &order.source, order.called, &order.arguments)
    });
    // SAFETY: background processes have one thread; from here on the caller has got an answer.
    unsafe { ORDERED = None };
    if let Err(error) = begun {
        letterbox.refuse(&error);
        return Err(error);
    }
    letterbox.accept();
    segment.detach();
    let mut said = None;
    let work = || match &order.work {
        Work::Pull(request) => leader::pull_as(request, Some(order.job)).map(drop),
        Work::LoadParquet(request) => load_files::load_as(request, Some(order.job)).map(drop),
        Work::Migrate(request) => migrate::migrate_as(request, Some(order.job)).map(drop),
        Work::CheckLocal(request) => check_local::check_as(request, Some(order.job)).map(drop),
        Work::LoadSql(request) => load_sql::load_sql_as(request, Some(order.job)).map(drop),
        Work::Dump(request) => dump::dump_as(request, Some(order.job)).map(drop),
        Work::Backup(request) => backup::backup_create_as(request, Some(order.job)).map(drop),
    };
    // Whoever learns that the job has failed, which others tell as soon as the transaction is gone, finds the failure in the log.
    let result = processes::in_reported_transaction_of(order.caller, work, |error| {
        said = Some(messages::take_kept());
        log_failure(order.job, error.clone());
    });
    processes::refuse_cancels();
    let said = said.unwrap_or_else(messages::take_kept);
    processes::in_transaction(|| history::note_end(order.job, result.as_ref().err(), &said))?;
    processes::in_transaction(history::forget_excess)
}
