//! The extension's own settings.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::time::Duration;

static PROTECTED: GucSetting<bool> = GucSetting::<bool>::new(false);
static SOURCE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10 * 60 * 1000);

/// Whether this database, or role, refuses every call that replaces rows.
pub fn is_protected() -> bool {
    PROTECTED.get()
}

/// How long a source may be silent while an answer is due; `None` for as long as it takes.
pub fn source_timeout() -> Option<Duration> {
    let milliseconds = SOURCE_TIMEOUT.get().unsigned_abs();
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

pub fn register() {
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
    GucRegistry::define_bool_guc(
        c"pgcopy.protected",
        c"Refuses every call of pgcopy that replaces rows.",
        c"For production databases: set it with ALTER DATABASE or ALTER ROLE. Only superusers can.",
        &PROTECTED,
        GucContext::Suset,
        GucFlags::default(),
    );
}
