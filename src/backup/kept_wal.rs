//! A hold on the server's WAL while a backup begins.

use crate::error::Result;
use crate::local::spi::{Param, extension};

/// Keeps the WAL since the last checkpoint, for as long as the value is not released or the session lasts.
///
/// `pg_basebackup` asks for WAL by a slot of its own, but makes it after the backup has begun: a checkpoint in between, such as
/// the one that another backup begins with, removes the segments that the backup starts in. That slot begins at the last checkpoint,
/// too, and goes back to where the backup starts when its client first tells where it is.
pub(super) struct KeptWal {
    slot: String,
}

impl KeptWal {
    /// Makes a temporary slot, which the server drops when the session ends or when an error ends its statement.
    ///
    /// Where slots may keep little WAL, a checkpoint ends the session that holds one which keeps more. There is none then, nor where it
    /// might come to that: the backup fails in the end if its WAL is removed meanwhile, and nothing else does.
    pub(super) fn from_now(checkpoint: &str) -> Result<Option<Self>> {
        let kept = Self { slot: format!("pgcopy_backup_{}", std::process::id()) };
        // A caller that goes on after an error, as a block with EXCEPTION does, still has that of the call before.
        kept.drop_slot()?;
        let made = extension::query_text(
            "SELECT CASE WHEN m.most = '-1'
                          OR ($2 AND 2 * pg_wal_lsn_diff(pg_current_wal_insert_lsn(), c.redo_lsn) < pg_size_bytes(m.most))
                         THEN (pg_create_physical_replication_slot($1::name, true, true)).slot_name::text END
             FROM pg_control_checkpoint() c, current_setting('max_slot_wal_keep_size') m(most)",
            &[Param::Text(&kept.slot), Param::Bool(checkpoint == "fast")],
        )?;
        Ok(made.map(|_| kept))
    }

    /// Returns whether the client of each slot of `pg_basebackup` has told where it is. Ours is among them by the time that data
    /// comes; those of other backups cannot be told from it.
    pub(super) fn is_taken_over(&self) -> Result<bool> {
        let answer = extension::query_text(
            "SELECT (count(*) > 0 AND bool_and(w.flush_lsn IS NOT NULL))::text
             FROM pg_get_replication_slots() s LEFT JOIN pg_stat_get_wal_senders() w ON w.pid = s.active_pid
             WHERE s.temporary AND starts_with(s.slot_name::text, 'pg_basebackup_')",
            &[],
        )?;
        Ok(answer.as_deref() == Some("true"))
    }

    pub(super) fn release(self) -> Result<()> {
        self.drop_slot()
    }

    fn drop_slot(&self) -> Result<()> {
        extension::query_text(
            "SELECT pg_drop_replication_slot(s.slot_name)::text FROM pg_get_replication_slots() s
             WHERE s.slot_name = $1::name AND s.temporary AND s.active_pid = pg_backend_pid()",
            &[Param::Text(&self.slot)],
        )
        .map(drop)
    }
}
