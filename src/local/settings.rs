//! Settings of the current session or worker.

use crate::compat;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};

/// Sets a setting for the rest of the current transaction, or of the surrounding [`super::identity::run_as`].
pub fn set_local(name: &CStr, value: &str) -> Result<()> {
    set(name, value, pg_sys::GucAction::GUC_ACTION_SAVE)
}

/// Sets a setting as SET does, in a place where code that has run may have set it already.
pub fn set_again(name: &CStr, value: &str) -> Result<()> {
    set(name, value, pg_sys::GucAction::GUC_ACTION_SET)
}

fn set(name: &CStr, value: &str, action: pg_sys::GucAction::Type) -> Result<()> {
    let value = CString::new(value).map_err(|_| Error::internal("a setting's value holds a NUL"))?;
    // SAFETY: both strings outlive the call, which copies them.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
    Ok(())
}

/// Sets the settings on which the meaning of names, node trees and statements depends.
pub fn use_catalog_search_path() -> Result<()> {
    set_local(c"search_path", "pg_catalog, pg_temp")?;
    set_local(c"standard_conforming_strings", "on")?;
    // JIT compilation of a query over the catalogs of a big database takes longer than the query, and memory that is
    // not freed.
    set_local(c"jit", "off")?;
    set_local(c"quote_all_identifiers", "off")
}

/// Sets these, and the settings with which values in catalog texts are written, to the values of the source's session,
/// so that texts of both sides are equal where their meaning is.
pub fn use_catalog_settings() -> Result<()> {
    use_catalog_search_path()?;
    set_local(c"datestyle", "ISO, YMD")?;
    set_local(c"intervalstyle", "postgres")?;
    set_local(c"timezone", "UTC")?;
    set_local(c"extra_float_digits", "3")?;
    set_local(c"bytea_output", "hex")
}

/// Sets the settings with which texts of the source are read, so that they mean the same here. Receive functions would
/// take them for texts of the calling session's client.
pub fn read_values_alike() -> Result<()> {
    set_local(c"client_encoding", &crate::local::encoding::database_name())?;
    set_local(c"array_nulls", "on")?;
    set_local(c"datestyle", "ISO, YMD")?;
    set_local(c"intervalstyle", "postgres")?;
    set_local(c"timezone", "UTC")?;
    set_local(c"xmloption", "content")
}

/// Runs `work` with the settings that expressions in `tables` are read with on the source, so that they mean the same here.
pub fn with_settings_of_source<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    with_catalog_settings(|| {
        set_local(c"transform_null_equals", "off")?;
        set_local(c"array_nulls", "on")?;
        work()
    })
}

/// The server's settings that input and output functions of types use, and functions in the defaults and checks of a
/// table, and those for how values are stored. The search path is not among them: it chooses code.
const OF_VALUES: [&CStr; 14] = [
    c"datestyle",
    c"intervalstyle",
    c"timezone",
    c"timezone_abbreviations",
    c"lc_monetary",
    c"lc_numeric",
    c"lc_time",
    c"array_nulls",
    c"bytea_output",
    c"extra_float_digits",
    c"xmlbinary",
    c"xmloption",
    c"default_text_search_config",
    c"default_toast_compression",
];

/// Settings of a session under which texts mean the same in another process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ValueSettings(Vec<(CString, CString)>);

impl ValueSettings {
    /// Reads the server's settings, and those that extensions and users have made up.
    pub fn of_this_session() -> Self {
        let server = OF_VALUES.iter().filter_map(|name| Some(((*name).to_owned(), value_in_database_encoding(name)?)));
        Self(server.chain(custom_settings()).collect())
    }

    /// Sets the settings as [`set_local`] does.
    pub fn adopt(&self) {
        for (name, value) in &self.0 {
            // SAFETY: both strings outlive the call, which copies them. Nothing is set that a user could not set: what an
            // extension that is loaded later reserves for others stays out of reach.
            unsafe {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
        }
    }

    /// Sets the settings for the rest of this process; for background processes of ours.
    pub fn adopt_for_process(&self) {
        for (name, value) in &self.0 {
            // SAFETY: as above.
            unsafe {
                pg_sys::SetConfigOption(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                );
            }
        }
    }
}

fn value_in_database_encoding(name: &CStr) -> Option<CString> {
    // SAFETY: the answer is a static buffer or the setting's own string, copied at once.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_owned())
    }
}

/// Returns `server_version_num`.
pub fn version() -> u32 {
    pg_sys::PG_VERSION_NUM
}

/// Returns the value of a setting as a text that would set it; `None` for a setting that this server does not have.
pub fn value(name: &CStr) -> Option<String> {
    // SAFETY: the answer is a static buffer or the setting's own string, copied at once.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    }
}

/// Loads a library of the server, with the rights of the current user.
pub fn load_library(name: &CStr) {
    // SAFETY: raises an error where there is none; libraries stay loaded.
    unsafe { pg_sys::load_file(name.as_ptr(), false) }
}

/// Does what ALTER SYSTEM SET does, at once and for good, with the rights of the current user. The value is written in UTF-8, as the names
/// of files are on this end, whatever the encoding of the database.
pub fn alter_system(name: &str, value: &str) -> Result<()> {
    let statement = format!("ALTER SYSTEM SET {name} = {}", plan::quote_literal(value));
    let text = CString::new(statement).map_err(|_| Error::internal("a setting's value holds a NUL"))?;
    // SAFETY: the statement is parsed into nodes of the current memory context, and is of the kind that it was written as.
    unsafe {
        let parsed = pg_sys::pg_parse_query(text.as_ptr());
        let raw: *mut pg_sys::RawStmt = pg_sys::list_nth(parsed, 0).cast();
        pg_sys::AlterSystemSetConfigFile((*raw).stmt.cast());
    }
    Ok(())
}

/// Makes settings with this prefix that nobody has defined an error. Those that exist already are removed with a WARNING.
pub fn reserve_prefix(prefix: &'static CStr) {
    // SAFETY: called when the library is loaded, by a process with one thread.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) };
}

/// Sets a setting for the rest of this process; for background processes of ours.
pub fn set_for_process(name: &CStr, value: &CStr) {
    // SAFETY: both strings are static or outlive the call.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        )
    }
}

/// Makes a setting unchangeable in this process, like those that tell how the server was built.
pub fn keep_for_process(name: &CStr) {
    let (variables, count) = compat::setting_variables();
    // SAFETY: an array of as many settings as counted, which belong to this process alone.
    unsafe {
        (0..count)
            .map(|position| *variables.add(position))
            .filter(|variable| CStr::from_ptr((**variable).name) == name)
            .for_each(|variable| (*variable).context = pg_sys::GucContext::PGC_INTERNAL);
    }
}

/// The settings that affect transactions of the extension's own processes. The database, the role and the server may
/// have other defaults, which are meant for sessions.
const OF_OWN_PROCESSES: [(&CStr, &CStr); 13] = [
    (c"role", c"none"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    (c"statement_timeout", c"0"),
    (c"lock_timeout", c"0"),
    (c"transaction_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"idle_session_timeout", c"0"),
    // The writes of these processes must be on this server's disk before others rely on them. The caller's commit waits
    // for standbys, if the caller wants that.
    (c"synchronous_commit", c"local"),
    (c"session_replication_role", c"origin"),
    (c"transform_null_equals", c"off"),
    (c"exit_on_error", c"off"),
];

/// Pins those settings; to be called when a background process has connected.
pub fn pin_for_own_process() {
    for (setting, pinned) in OF_OWN_PROCESSES {
        // Not every version knows all of them.
        if value(setting).is_some() {
            set_for_process(setting, pinned);
        }
    }
}

/// Runs `work` with a search path of `pg_catalog` alone and with the settings that catalog texts depend on, so that the
/// texts are the same for everybody.
pub fn with_catalog_settings<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    scoped(|| {
        use_catalog_settings()?;
        work()
    })
}

/// Undoes the settings that `work` makes with [`set_local`].
pub fn scoped<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: the nest level is closed again; an ERROR closes it with the (sub)transaction.
    let nest_level = unsafe { pg_sys::NewGUCNestLevel() };
    let value = work();
    // SAFETY: see above.
    unsafe { pg_sys::AtEOXact_GUC(false, nest_level) };
    value
}

/// Returns `maintenance_work_mem` in kilobytes.
pub fn maintenance_work_mem() -> i64 {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::maintenance_work_mem.into() }
}

/// Returns `work_mem` in kilobytes.
pub fn work_mem() -> i64 {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::work_mem.into() }
}

/// Returns the settings that are not the server's own and that every user may set, with their values where they were
/// given one.
fn custom_settings() -> Vec<(CString, CString)> {
    const OWN: &[u8] = b"pgcopy.";
    let (variables, count) = compat::setting_variables();
    // SAFETY: an array of as many settings as counted, which stays as it is while nothing is set. A value is a static buffer
    // or the setting's own string, copied at once.
    unsafe {
        (0..count)
            .map(|position| *variables.add(position))
            .filter(|variable| {
                (**variable).context == pg_sys::GucContext::PGC_USERSET
                    && (**variable).source != pg_sys::GucSource::PGC_S_DEFAULT
            })
            .map(|variable| CStr::from_ptr((*variable).name))
            .filter(|name| name.to_bytes().contains(&b'.') && !name.to_bytes().starts_with(OWN))
            .filter_map(|name| {
                let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
                (!value.is_null()).then(|| (name.to_owned(), CStr::from_ptr(value).to_owned()))
            })
            .collect()
    }
}
