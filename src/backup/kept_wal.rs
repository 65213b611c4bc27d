//! A hold on the server's WAL while a backup begins.

use crate::error::Result;
use crate::local::spi::{Param, extension};

/// Keeps the WAL since the last checkpoint, for as long as the value is not released or the session lasts.
///
/// `pg_basebackup` asks for WAL by a slot of its own, but makes it after the backup has begun: a checkpoint in between, such as
/// the one that another backup begins with, removes the segments that the backup starts in.
pub(super) struct KeptWal {
    slot: String,
}

impl KeptWal {
    /// Makes a temporary slot, which the server drops when the session ends or when an error ends its statement.
    pub(super) fn from_now() -> Result<Self> {
        let kept = Self { slot: format!("pgcopy_backup_{}", std::process::id()) };
        // A caller that goes on after an error, as a block with EXCEPTION does, still has that of the call before.
        kept.drop_slot()?;
        extension::query_text(
            "SELECT slot_name::text FROM pg_create_physical_replication_slot($1::name, true, true)",
            &[Param::Text(&kept.slot)],
        )?;
        Ok(kept)
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
