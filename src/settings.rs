//! The extension's own settings.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

static PROTECTED: GucSetting<bool> = GucSetting::<bool>::new(false);

/// Whether this database, or role, refuses every call that replaces rows.
pub fn is_protected() -> bool {
    PROTECTED.get()
}

pub fn register() {
    GucRegistry::define_bool_guc(
        c"pgcopy.protected",
        c"Refuses every call of pgcopy that replaces rows.",
        c"For production databases: set it with ALTER DATABASE or ALTER ROLE. Only superusers can.",
        &PROTECTED,
        GucContext::Suset,
        GucFlags::default(),
    );
}
