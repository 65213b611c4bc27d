//! The extension's own configuration parameters.

use super::identity::Caller;
use super::settings;
use super::spi::{self, Param};
use crate::error::Result;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const PROTECTED_NAME: &CStr = c"pgcopy.protected";
const ONLY_FOREIGN_SERVERS_NAME: &CStr = c"pgcopy.only_foreign_servers";
const MAX_JOBS_NAME: &CStr = c"pgcopy.max_jobs_per_role";

static OWN_STORAGE: GucSetting<bool> = GucSetting::<bool>::new(true);
static PROTECTED: GucSetting<bool> = GucSetting::<bool>::new(false);
static SOURCE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10 * 60 * 1000);
static SOURCE_LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(0);
static SWAP_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10 * 60 * 1000);
static RETRY_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(5000);
static ONLY_FOREIGN_SERVERS: GucSetting<bool> = GucSetting::<bool>::new(false);
static MAX_JOBS: GucSetting<i32> = GucSetting::<i32>::new(4);
static HISTORY_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(1000);

/// Set if a setting had a value before the library was loaded, when the server did not know who may set it.
static GIVEN_EARLY: [(&CStr, AtomicBool); 3] = [
    (PROTECTED_NAME, AtomicBool::new(false)),
    (ONLY_FOREIGN_SERVERS_NAME, AtomicBool::new(false)),
    (MAX_JOBS_NAME, AtomicBool::new(false)),
];

/// Returns whether this database, or role, refuses every call that replaces rows.
pub fn is_protected() -> Result<bool> {
    Ok(PROTECTED.get() || is_tampered_with(PROTECTED_NAME)?)
}

/// Returns whether others than superusers must name foreign servers instead of connection strings.
pub fn only_foreign_servers() -> Result<bool> {
    Ok(ONLY_FOREIGN_SERVERS.get() || is_tampered_with(ONLY_FOREIGN_SERVERS_NAME)?)
}

/// Returns how many jobs of a role may have background processes at a time; `None` for any number.
pub fn max_jobs_per_role() -> Result<Option<u32>> {
    if is_tampered_with(MAX_JOBS_NAME)? {
        return Ok(Some(0));
    }
    Ok(u32::try_from(MAX_JOBS.get()).ok())
}

/// Returns how many past jobs of each role are kept; `None` for all.
pub fn history_limit() -> Option<i64> {
    u32::try_from(HISTORY_LIMIT.get()).ok().map(i64::from)
}

/// A client can give a setting of a library that is not loaded yet any value when it connects, in the place of the
/// database's and the role's own, which are lost by that. The server takes the value back when the library is loaded, and
/// then has none. Only superusers could have meant it well.
fn is_tampered_with(name: &CStr) -> Result<bool> {
    let given_early = GIVEN_EARLY.iter().any(|(known, given)| *known == name && given.load(Relaxed));
    if !given_early || Caller::of_this_session().is_superuser() {
        return Ok(false);
    }
    let source = spi::fixed::query_text(
        "SELECT source FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) $1",
        &[Param::Text(&name.to_string_lossy())],
    )?;
    Ok(source.as_deref() == Some("default"))
}

/// Returns whether pages of tables and of B-trees are formed here, instead of by the server.
pub fn own_storage() -> bool {
    OWN_STORAGE.get()
}

/// Returns how long a connection that fails for a passing reason is tried again.
pub fn retry_timeout() -> Duration {
    Duration::from_millis(RETRY_TIMEOUT.get().unsigned_abs().into())
}

/// Returns how long a pull tries to get all readers out of its targets; `None` for as long as it takes.
pub fn swap_timeout() -> Option<Duration> {
    let milliseconds = SWAP_TIMEOUT.get().unsigned_abs();
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

/// Returns how long a source may be silent while an answer is due; `None` for any time.
pub fn source_timeout() -> Option<Duration> {
    let milliseconds = SOURCE_TIMEOUT.get().unsigned_abs();
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

/// How long a pull may wait for its locks on the source's tables; `None` for as long as a source may be silent.
pub fn source_lock_timeout() -> Option<Duration> {
    let milliseconds = SOURCE_LOCK_TIMEOUT.get().unsigned_abs();
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

pub fn register() {
    for (name, given) in &GIVEN_EARLY {
        given.store(settings::value(name).is_some(), Relaxed);
    }
    GucRegistry::define_int_guc(
        c"pgcopy.source_timeout",
        c"How long a source may be silent while an answer is due.",
        c"A pull fails when nothing has arrived for so long. 0 waits for as long as it takes.",
        &SOURCE_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"pgcopy.source_lock_timeout",
        c"How long a pull waits for its locks on the source's tables.",
        c"It asks for them in short tries. 0 waits for as long as pgcopy.source_timeout allows.",
        &SOURCE_LOCK_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"pgcopy.swap_timeout",
        c"How long a pull waits for readers of its targets before the swap.",
        c"It tries for short times, so that other readers pass in between. 0 waits for as long as it takes.",
        &SWAP_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_bool_guc(
        c"pgcopy.own_storage",
        c"Forms pages of tables and of B-tree indexes in pgcopy's own code.",
        c"Off, the server stores every row and builds every index: slower, to find out whose fault something is.",
        &OWN_STORAGE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        PROTECTED_NAME,
        c"Refuses every call of pgcopy that replaces rows.",
        c"For production databases: set it with ALTER DATABASE or ALTER ROLE. Only superusers can.",
        &PROTECTED,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pgcopy.retry_timeout",
        c"How long a connection to the source that fails for a passing reason is tried again.",
        c"Only before any data has arrived. 0 gives up at once.",
        &RETRY_TIMEOUT,
        0,
        24 * 60 * 60 * 1000,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_bool_guc(
        ONLY_FOREIGN_SERVERS_NAME,
        c"Lets others than superusers pull from foreign servers alone, not by connection strings.",
        c"They reach only the sources that they have USAGE on. Only superusers can set it.",
        &ONLY_FOREIGN_SERVERS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        MAX_JOBS_NAME,
        c"How many jobs of a role may have background processes at a time.",
        c"On the whole server; superusers are exempt. -1 for any number. Only superusers can set it.",
        &MAX_JOBS,
        -1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pgcopy.history_limit",
        c"How many past jobs of each role are remembered.",
        c"The oldest are forgotten when a job ends. -1 remembers all. Only superusers can set it.",
        &HISTORY_LIMIT,
        -1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    // A misspelt setting is an error from here on, and one that somebody has set before is told of and removed.
    settings::reserve_prefix(c"pgcopy");
}
