//! Backups: taken, validated, restored and removed as jobs.

use super::leader;
use super::{attended, history, shared};
use crate::backup::{
    self, BackupFault, BackupTerms, CreatedBackup, Level, PruneTerms, PrunedEntry, RestoreTerms, RestoredBackup,
};
use crate::error::{Error, Result};
use crate::local::locks::{self, Until};
use crate::local::{client, messages, transaction};
use crate::order::{InPlaceTable, Input, JobSpec, Loaded, ScriptInput};
use crate::prepare;
use pgrx::prelude::*;
use serde::Serialize;
use std::ffi::CStr;

/// The arguments of a validation.
#[derive(Clone, Serialize)]
pub struct ValidateRequest {
    pub backup: String,
    pub level: String,
}

/// The arguments of a backup as a JSON object, for those who look at the job later; without the connection, which may hold a
/// password.
pub(super) fn described(terms: &BackupTerms) -> String {
    prepare::described(terms, &["connection"], [])
}

/// What can be said of the arguments without asking the server. Returns what the job is about, as people may see it.
pub(super) fn check_arguments(terms: &BackupTerms) -> Result<String> {
    Ok(backup::check_backup(terms)?.path())
}

/// Takes a backup.
pub fn backup_create(terms: &BackupTerms) -> Result<CreatedBackup> {
    client::while_there(|| backup_create_as(terms, None))
}

/// `job` is the number of a job that is recorded already.
pub(super) fn backup_create_as(terms: &BackupTerms, job: Option<i64>) -> Result<CreatedBackup> {
    let check = || backup::check_backup(terms).map(|checked| (checked.path(), checked));
    work(c"pgcopy.backup_create()", job, described(terms), check, |checked, on_bytes| {
        backup::create_backup(terms, checked, on_bytes)
    })
}

/// Validates a backup, and returns what is wrong with it.
pub fn backup_validate(request: &ValidateRequest) -> Result<Vec<BackupFault>> {
    let level = match request.level.as_str() {
        "manifest" => Level::Manifest,
        "restore" => Level::Restore,
        other => {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("level \"{other}\" not recognized"),
            )
            .hint("It is \"manifest\" or \"restore\"."));
        }
    };
    let check = || backup::check_validation(&request.backup, level).map(|()| (request.backup.clone(), ()));
    client::while_there(|| {
        work(c"pgcopy.backup_validate()", None, prepare::described(request, &["backup"], []), check, |(), on_bytes| {
            backup::validate_backup(&request.backup, level, on_bytes)
        })
    })
}

/// Restores a backup.
pub fn backup_restore(terms: &RestoreTerms) -> Result<RestoredBackup> {
    let check = || backup::check_restore(terms).map(|()| (terms.backup.clone(), ()));
    client::while_there(|| {
        work(c"pgcopy.backup_restore()", None, prepare::described(terms, &["backup"], []), check, |(), on_bytes| {
            backup::restore_backup(terms, on_bytes)
        })
    })
}

/// Says which backups and which WAL a policy keeps, and removes the others unless it is a dry run.
pub fn backup_prune(terms: &PruneTerms) -> Result<Vec<PrunedEntry>> {
    // A standby cannot write a job down, but its backups take room as those of others do.
    if terms.dry_run || transaction::in_recovery() {
        return backup::prune_backups(terms, &|_| {});
    }
    let check = || backup::check_prune(terms).map(|()| (terms.directory.clone(), ()));
    client::while_there(|| {
        work(c"pgcopy.backup_prune()", None, prepare::described(terms, &["directory"], []), check, |(), on_bytes| {
            backup::prune_backups(terms, on_bytes)
        })
    })
}

/// Does the work as a job. `check` returns what it is about, which stands for all that the job does.
fn work<C, T>(
    function: &CStr,
    job: Option<i64>,
    arguments: String,
    check: impl FnOnce() -> Result<(String, C)>,
    work: impl FnOnce(&C, &dyn Fn(u64)) -> Result<T>,
) -> Result<T> {
    let called = shared::now();
    messages::keep();
    leader::refuse_where_nothing_is_written(function)?;
    let (name, checked) = check()?;
    locks::keep_extension(Until::EndOfTransaction);
    let input = Input::Script(ScriptInput { name: name.clone(), bytes: 0 });
    let whole = InPlaceTable { schema: String::new(), name, pages: 0 };
    let spec = JobSpec::of_session(job.map_or_else(history::next_job, Ok)?, input, whole, arguments);
    attended::work_in_session(&spec, called, |on_progress| {
        work(&checked, &|bytes| on_progress(Loaded { rows: 0, bytes }))
    })
}
