//! The extension's own settings.

use crate::error::Result;
use crate::local::{self, identity::Caller};
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const NAME: &CStr = c"pgcopy.protected";

static PROTECTED: GucSetting<bool> = GucSetting::<bool>::new(false);
static SOURCE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10 * 60 * 1000);
static SWAP_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10 * 60 * 1000);
static RETRY_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(5000);

/// Whether somebody gave the setting a value before the library was loaded, when it was not known who may.
static GIVEN_EARLY: AtomicBool = AtomicBool::new(false);

/// Whether this database, or role, refuses every call that replaces rows.
pub fn is_protected() -> Result<bool> {
    Ok(PROTECTED.get() || is_tampered_with()?)
}

/// A client can give a setting of a library that is not loaded yet any value when it connects, in the place of the
/// database's and the role's own, which are lost by that. The server takes the value back when the library is loaded, and
/// then has none. Only superusers could have meant it well.
fn is_tampered_with() -> Result<bool> {
    if !GIVEN_EARLY.load(Relaxed) || Caller::of_this_session().is_superuser() {
        return Ok(false);
    }
    Ok(local::settings::source_of(NAME)?.as_deref() == Some("default"))
}

/// How long a connection that fails for a passing reason is tried again.
pub fn retry_timeout() -> Duration {
    Duration::from_millis(RETRY_TIMEOUT.get().unsigned_abs().into())
}

/// How long a pull tries to get all readers out of its targets; `None` for as long as it takes.
pub fn swap_timeout() -> Option<Duration> {
    let milliseconds = SWAP_TIMEOUT.get().unsigned_abs();
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

/// How long a source may be silent while an answer is due; `None` for as long as it takes.
pub fn source_timeout() -> Option<Duration> {
    let milliseconds = SOURCE_TIMEOUT.get().unsigned_abs();
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

pub fn register() {
    GIVEN_EARLY.store(local::settings::value(NAME).is_some(), Relaxed);
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
        NAME,
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
}
