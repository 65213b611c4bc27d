//! The moment to recover to, and whether the WAL at hand leads there.

use super::invalid;
use crate::backup::create::ends;
use crate::backup::repository::{Whole, archived_at};
use crate::error::{Error, Result};
use crate::local::program::Program;
use crate::local::spi::{Param, fixed};
use backups::wal::{Archive, Lsn, Reach, Segment};
use pgrx::prelude::*;
use std::path::Path;

/// The moment to recover to.
pub(super) enum Until {
    /// All WAL that there is.
    Latest,
    /// The end of the backup.
    Consistent,
    Lsn(Lsn),
    Point(String),
    /// In words that mean the same everywhere, and in microseconds since 1970.
    Time(String, i64),
}

impl Until {
    pub(super) fn parse(text: &str) -> Result<Self> {
        match text {
            "latest" => return Ok(Self::Latest),
            "consistent" => return Ok(Self::Consistent),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("restore point ") {
            // As pg_create_restore_point has it.
            if name.is_empty() || name.len() > 63 || name.contains(['\n', '\r']) {
                return Err(invalid(format!("\"{name}\" cannot be the name of a restore point")));
            }
            return Ok(Self::Point(name.to_owned()));
        }
        if let Some(lsn) = Lsn::parse(text) {
            return Ok(Self::Lsn(lsn));
        }
        let told = fixed::query_text(
            "SELECT concat_ws('|', (extract(epoch FROM t.at) * 1000000)::int8, (t.at AT TIME ZONE 'UTC')::text || '+00')
             FROM CAST($1 AS timestamptz) t(at) WHERE isfinite(t.at)",
            &[Param::Text(text)],
        )?;
        let told = told.ok_or_else(|| invalid("a recovery cannot end at an infinite time".to_owned()))?;
        let (micros, time) = told.split_once('|').ok_or_else(|| Error::internal("a time without a text"))?;
        Ok(Self::Time(time.to_owned(), micros.parse().map_err(|_| Error::internal("a time without a number"))?))
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Latest => "latest".to_owned(),
            Self::Consistent => "consistent".to_owned(),
            Self::Lsn(lsn) => lsn.to_string(),
            Self::Point(name) => format!("restore point {name}"),
            Self::Time(text, _) => text.clone(),
        }
    }

    /// The setting of the target; none for all WAL.
    pub(super) fn setting(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Latest => None,
            Self::Consistent => Some(("recovery_target", "immediate".to_owned())),
            Self::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
            Self::Point(name) => Some(("recovery_target_name", name.clone())),
            Self::Time(time, _) => Some(("recovery_target_time", time.clone())),
        }
    }
}

/// Refuses a moment that the WAL at hand does not lead to.
pub(super) fn refuse_unreachable(
    until: &Until,
    last: &Whole,
    archive: &Archive,
    directory: &Path,
    reach: &Reach,
) -> Result<()> {
    let (_, stop) = ends(&last.manifest)?;
    let size = archive.segment_size;
    let known_end = reach.end.unwrap_or(stop.end);
    let unreachable = |message: String| {
        let error = Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message);
        let lacks = reach.gaps.iter().map(|(from, to)| {
            format!("The WAL archive \"{}\" lacks {} to {}.", directory.display(), from.name(size), to.name(size))
        });
        let lines: Vec<String> = lacks.collect();
        let lines = if lines.is_empty() {
            vec![format!("The WAL at hand leads from {} to {known_end}.", stop.end)]
        } else {
            lines
        };
        error.details(lines)
    };
    match until {
        Until::Consistent => Ok(()),
        Until::Latest if reach.gaps.is_empty() => Ok(()),
        Until::Latest => Err(unreachable("the WAL behind the backup has a gap".to_owned())
            .hint("With until => a moment before the gap, or until => 'consistent', the backup restores.")),
        Until::Lsn(lsn) if *lsn < stop.end => {
            Err(unreachable(format!("the backup is not consistent before {}", stop.end))
                .hint("Restore an older backup."))
        }
        Until::Lsn(lsn) if *lsn > known_end => Err(unreachable(format!("position {lsn} cannot be reached"))
            .hint("If the server that the backup is of lives, SELECT pg_switch_wal() there archives its newest WAL.")),
        Until::Lsn(_) => Ok(()),
        Until::Time(text, micros) => {
            if *micros < last.record.finished {
                return Err(unreachable(format!("the backup is newer than {text}")).hint("Restore an older backup."));
            }
            let covered = reach.last.and_then(|segment| archived_at(directory, segment, size));
            if covered.is_none_or(|covered| covered < *micros) {
                return Err(unreachable(format!("{text} cannot be reached")).hint(
                    "If the server that the backup is of lives, SELECT pg_switch_wal() there archives its newest WAL.",
                ));
            }
            Ok(())
        }
        Until::Point(name) => {
            if has_point(name, archive, directory, reach)? {
                return Ok(());
            }
            Err(unreachable(format!("restore point \"{name}\" is not in the WAL behind the backup")).hint(
                "If the server that the backup is of lives, SELECT pg_switch_wal() there archives its newest WAL.",
            ))
        }
    }
}

/// Has `pg_waldump` look for a restore point in the segments that can be reached.
fn has_point(name: &str, archive: &Archive, directory: &Path, reach: &Reach) -> Result<bool> {
    const MOST_LINE: usize = 4096;
    let program = Program::of_server("pg_waldump")?;
    let wanted = format!("RESTORE_POINT {name}");
    let mut found = false;
    for run in reach.segments.chunk_by(|one, next| one.timeline == next.timeline) {
        let path = |segment: &Segment| directory.join(segment.name(archive.segment_size)).display().to_string();
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let arguments = ["--rmgr=XLOG".to_owned(), path(first), path(last)];
        let mut line = Vec::new();
        // It fails at the end, where a record goes on in a segment that is not there.
        program.run_into(&arguments, None, &mut |bytes| {
            for &byte in bytes {
                if byte != b'\n' {
                    if line.len() < MOST_LINE {
                        line.push(byte);
                    }
                    continue;
                }
                found |= String::from_utf8_lossy(&line).trim_end().ends_with(&wanted);
                line.clear();
            }
            Ok(())
        })?;
        if found {
            break;
        }
    }
    Ok(found)
}
