//! The moment to recover to, and whether the WAL at hand leads there.

use super::invalid;
use super::replay::{Replay, Wanted, refuse_tablespaces};
use crate::backup::create::ends;
use crate::backup::repository::Whole;
use crate::error::{Error, Result};
use crate::local::spi::{Param, fixed};
use backups::wal::{Archive, Lsn, Reach, Segment};
use pgrx::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// The moment to recover to.
pub(super) enum Until {
    /// All WAL that there is.
    Latest,
    /// The end of the backup.
    Consistent,
    Lsn(Lsn),
    Point(String),
    /// In words that mean the same everywhere, with the zone after a plus sign, and in microseconds since 1970.
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
            "SELECT concat_ws('|', LEAST(extract(epoch FROM t.at) * 1000000, 9223372036854775807)::int8, to_char(t.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00' || CASE WHEN t.at < '0001-01-01 00:00:00+00' THEN ' BC' ELSE '' END)
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
}

/// Settings of a recovery, and those that must not be lower because the server of the backup has raised them since.
pub(super) type Settings = (Vec<(&'static str, String)>, BTreeMap<&'static str, u32>);

/// The settings that have a recovery stop at a moment.
///
/// # Errors
/// When the WAL at hand does not lead there. The server would find that out when all of it is replayed.
pub(super) fn settings_of(
    until: &Until,
    last: &Whole,
    archive: &Archive,
    directory: &Path,
    reach: &Reach,
) -> Result<Settings> {
    let (_, stop) = ends(&last.manifest)?;
    let known_end = reach.end.unwrap_or(stop.end);
    let unreachable = |message: String, damaged: Option<Lsn>| {
        let error = Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message);
        let mut lines: Vec<String> = gaps(reach, archive, directory);
        lines.extend(
            damaged.map(|lsn| format!("The WAL archive \"{}\" cannot be read behind {lsn}.", directory.display())),
        );
        if lines.is_empty() {
            lines.push(format!("The WAL at hand leads from {} to {known_end}.", stop.end));
        }
        if reach.timeline != stop.timeline {
            let (to, from) = (reach.timeline, stop.timeline);
            lines.push(format!("Recovery follows timeline {to}. The backup is of timeline {from}."));
        }
        error.details(lines)
    };
    let immediate = || vec![("recovery_target", "immediate".to_owned())];
    // The archive may have WAL behind that is of another timeline.
    let at_fork = reach.fork.filter(|_| matches!(until, Until::Latest) && reach.gaps.is_empty());
    let at_fork = at_fork.map(|fork| Until::Lsn(fork.min(known_end)));
    let until = at_fork.as_ref().unwrap_or(until);
    let wanted = match until {
        Until::Consistent => return Ok((immediate(), BTreeMap::new())),
        Until::Lsn(lsn) if *lsn == stop.end => return Ok((immediate(), BTreeMap::new())),
        Until::Latest if !reach.gaps.is_empty() => {
            return Err(unreachable("the WAL behind the backup has a gap".to_owned(), None)
                .hint("With until => a moment before the gap, or until => 'consistent', the backup restores."));
        }
        Until::Latest => Wanted::default(),
        Until::Lsn(lsn) if *lsn < stop.end => {
            return Err(unreachable(format!("the backup is not consistent before {}", stop.end), None)
                .hint("Restore an older backup."));
        }
        Until::Lsn(lsn) if *lsn > known_end => {
            return Err(unreachable(format!("position {lsn} cannot be reached"), None).hint(ARCHIVE_MORE));
        }
        Until::Lsn(_) => Wanted::default(),
        Until::Time(text, micros) if *micros < last.record.finished => {
            return Err(unreachable(format!("the backup is newer than {text}"), None).hint("Restore an older backup."));
        }
        Until::Time(text, _) => Wanted { time: text.strip_suffix("+00"), ..Wanted::default() },
        Until::Point(name) => Wanted { point: Some(name), ..Wanted::default() },
    };
    let replay = Replay::of(last, archive, directory, reach)?;
    let found = replay.scan(&wanted)?;
    let (stop, settings) = match until {
        Until::Latest | Until::Consistent => match found.damaged {
            Some(lsn) => {
                return Err(unreachable("the WAL behind the backup is damaged".to_owned(), Some(lsn))
                    .hint("With until => a moment before that, or until => 'consistent', the backup restores."));
            }
            None => (None, Vec::new()),
        },
        Until::Lsn(lsn) if found.damaged.is_some_and(|damaged| damaged < *lsn) => {
            return Err(unreachable(format!("position {lsn} cannot be reached"), found.damaged));
        }
        // What the server names as its position is between two records. It would replay the next one, too, unless told not to.
        Until::Lsn(lsn) if !replay.goes_on(*lsn)? => match replay.newest()? {
            // Without a record behind it the server does not find out that it is there.
            Some(newest) if newest >= replay.consistent => {
                (Some(*lsn), vec![("recovery_target_lsn", newest.to_string())])
            }
            _ => (Some(*lsn), immediate()),
        },
        Until::Lsn(lsn) => {
            let exclusive = ("recovery_target_inclusive", "off".to_owned());
            (Some(*lsn), vec![("recovery_target_lsn", lsn.to_string()), exclusive])
        }
        Until::Time(text, _) => {
            let Some(later) = found.later else {
                let newest = found.newest.map(|time| format!("The last transaction in it ended at {time}+00."));
                return Err(unreachable(format!("{text} cannot be reached"), found.damaged)
                    .details(newest)
                    .hint("Recovery stops at a time when it meets a transaction that ended later. until => 'latest' takes all WAL at hand; if the server that the backup is of lives, SELECT pg_switch_wal() there archives its newest WAL."));
            };
            (Some(later), vec![("recovery_target_time", text.clone())])
        }
        Until::Point(name) => match found.point {
            None => {
                let message = format!("restore point \"{name}\" is not in the WAL behind the backup");
                return Err(unreachable(message, found.damaged).hint(ARCHIVE_MORE));
            }
            Some(point) if point < replay.consistent => {
                let message = format!("the backup is not consistent at restore point \"{name}\" yet");
                return Err(unreachable(message, None).hint("Restore an older backup."));
            }
            Some(point) => (Some(point), vec![("recovery_target_name", name.clone())]),
        },
    };
    refuse_tablespaces(&found.tablespaces, stop)?;
    let mut needed = BTreeMap::new();
    for (name, value) in
        found.settings.iter().filter(|(lsn, _)| stop.is_none_or(|stop| *lsn < stop)).flat_map(|(_, all)| all)
    {
        let most = needed.entry(*name).or_insert(*value);
        *most = (*most).max(*value);
    }
    Ok((settings, needed))
}

const ARCHIVE_MORE: &str =
    "If the server that the backup is of lives, SELECT pg_switch_wal() there archives its newest WAL.";

fn gaps(reach: &Reach, archive: &Archive, directory: &Path) -> Vec<String> {
    let line = |(from, to): &(Segment, Segment)| {
        let (from, to) = (from.name(archive.segment_size), to.name(archive.segment_size));
        format!("The WAL archive \"{}\" lacks {from} to {to}.", directory.display())
    };
    reach.gaps.iter().map(line).collect()
}
