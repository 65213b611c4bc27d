//! Physical backups, made and read by the server's own programs: what is taken with them restores without this extension.

mod archive;
mod create;
mod drill;
mod facts;
mod files;
mod kept_wal;
mod layout;
mod leftovers;
mod prune;
mod repository;
mod restore;
mod unrecorded;
mod validate;

pub use archive::{archive_status, enable_archive};
pub use create::{BackupTerms, CreatedBackup, check_backup, create_backup};
pub use prune::{PruneTerms, PrunedEntry, check_prune, prune_backups};
pub use repository::list_backups;
pub use restore::{RestoreTerms, RestoredBackup, check_restore, restore_backup};
pub use validate::{BackupFault, Level, check_validation, validate_backup};

use crate::error::{Error, Result};
use crate::local::identity::Caller;
use pgrx::prelude::*;
use std::path::{Path, PathBuf};

/// The instant when PostgreSQL's calendar begins, in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Microseconds since 1970 as the server counts them.
fn server_time(unix: i64) -> i64 {
    unix.saturating_sub(POSTGRES_EPOCH)
}

fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Characters that mean something to a shell within double quotes.
const OF_SHELLS: [char; 4] = ['"', '$', '`', '\\'];

/// A mapping of tablespaces as the server's programs read it. A backslash means something before an equals sign alone.
fn tablespace_mapping(from: &str, to: &Path) -> String {
    let escaped = |path: &str| path.replace('=', "\\=");
    format!("--tablespace-mapping={}={}", escaped(from), escaped(&to.display().to_string()))
}

fn absolute(what: &str, path: &str) -> Result<PathBuf> {
    // pg_verifybackup hands paths to a shell, in double quotes.
    if path.contains(OF_SHELLS) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_NAME,
            format!("{what} must not contain \", $, ` or \\"),
        )
        .detail("The server's own programs would have a shell read it."));
    }
    let path = Path::new(path);
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if path.is_absolute() && plain && path.to_str().is_some_and(|text| !text.contains(['\n', '\r', '\0'])) {
        // Without a slash at the end, which would make the name empty.
        return Ok(path.components().collect());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_NAME, format!("{what} must be an absolute path without \"..\""))
        .detail(format!("It is \"{}\".", path.display())))
}

fn refuse_others_than_superusers(doing: &str, why: &str) -> Result<()> {
    if Caller::of_this_session().is_superuser() {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, format!("permission denied to {doing}")).detail(why))
}

/// One error for all that stands in the way.
fn refusal(doing: &str, problems: &[String], hint: Option<String>) -> Error {
    let error = match problems {
        [problem] => {
            Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, format!("cannot {doing}: {problem}"))
        }
        _ => Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("cannot {doing}: {} things stand in the way", problems.len()),
        )
        .details(problems),
    };
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
