//! What a recovery meets in the WAL of an archive, read by `pg_waldump`.

use crate::backup::create::ends;
use crate::backup::repository::Whole;
use crate::error::{Error, Result};
use crate::local::program::Program;
use backups::wal::{Archive, Lsn, Reach, Segment};
use backups::waldump::{self, Event};
use pgrx::prelude::*;
use std::path::Path;

/// The WAL that is replayed after a backup was restored, as far as it is in an archive.
pub(super) struct Replay<'a> {
    archive: &'a Archive,
    directory: &'a Path,
    program: Program,
    /// Segments that follow on each other, of one timeline each.
    runs: Vec<Vec<Segment>>,
    /// Where the replay begins, and where the backup is consistent.
    pub(super) start: Lsn,
    pub(super) consistent: Lsn,
    /// Where it ends, although the last segment goes on with what is of another timeline.
    fork: Option<Lsn>,
}

/// What is looked for.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    pub(super) point: Option<&'a str>,
    /// In the form of the program.
    pub(super) time: Option<&'a str>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// The first restore point of the name.
    pub(super) point: Option<Lsn>,
    /// The first end of a transaction that is later than the time.
    pub(super) later: Option<Lsn>,
    /// The time of the newest end of a transaction.
    pub(super) newest: Option<String>,
    /// Where tablespaces are created, in which directories.
    pub(super) tablespaces: Vec<(Lsn, String)>,
    /// Where settings are changed which recovery needs as high.
    pub(super) settings: Vec<(Lsn, Vec<(&'static str, u32)>)>,
    /// The last record before one that cannot be read, although more WAL follows.
    pub(super) damaged: Option<Lsn>,
}

impl<'a> Replay<'a> {
    pub(super) fn of(whole: &Whole, archive: &'a Archive, directory: &'a Path, reach: &Reach) -> Result<Self> {
        let (first, last) = ends(&whole.manifest)?;
        let of_backup = archive.segments.iter().copied().filter(|segment| {
            segment.timeline == last.timeline
                && (first.start.0 / archive.segment_size..last.end.0 / archive.segment_size).contains(&segment.number)
        });
        let all: Vec<Segment> = of_backup.chain(reach.segments.iter().copied()).collect();
        let follows = |one: &Segment, next: &Segment| one.timeline == next.timeline && one.number + 1 == next.number;
        Ok(Self {
            archive,
            directory,
            program: Program::of_server("pg_waldump")?,
            runs: all.chunk_by(follows).map(<[Segment]>::to_vec).collect(),
            start: first.start,
            consistent: last.end,
            fork: reach.fork,
        })
    }

    /// Reads all of it. It ends at a record that is damaged, as recovery does.
    pub(super) fn scan(&self, wanted: &Wanted<'_>) -> Result<Found> {
        const MOST_EVENTS: usize = 10_000;
        let mut found = Found::default();
        let options = ["--rmgr=XLOG", "--rmgr=Transaction", "--rmgr=Tablespace"].map(str::to_owned);
        for run in &self.runs {
            let messages = self.records(run, &options, &mut |lsn, event| match event {
                // The segment has what was before the backup, too.
                _ if lsn < self.start => {}
                Event::Point(name) if wanted.point == Some(name.as_str()) => {
                    found.point.get_or_insert(lsn);
                }
                Event::End(time) if lsn >= self.consistent => {
                    if wanted.time.is_some_and(|wanted| (time.len(), time.as_str()) > (wanted.len(), wanted)) {
                        found.later.get_or_insert(lsn);
                    }
                    found.newest = found.newest.take().max(Some(time));
                }
                Event::Tablespace(path) if !path.is_empty() && found.tablespaces.len() < MOST_EVENTS => {
                    found.tablespaces.push((lsn, path));
                }
                Event::Settings(settings) if found.settings.len() < MOST_EVENTS => {
                    found.settings.push((lsn, settings));
                }
                _ => {}
            })?;
            let last = run.last().map_or(0, |segment| segment.number);
            found.damaged = waldump::stop(&messages)
                .filter(|(lsn, _)| self.fork.is_none_or(|fork| *lsn < fork))
                .filter(|(lsn, zeros)| !zeros || lsn.0 / self.archive.segment_size < last)
                .map(|(lsn, _)| lsn);
            if found.damaged.is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// Returns whether a record begins at a position or after it.
    pub(super) fn goes_on(&self, position: Lsn) -> Result<bool> {
        let number = position.0 / self.archive.segment_size;
        for run in &self.runs {
            let rest: Vec<Segment> = run.iter().copied().filter(|segment| segment.number >= number).collect();
            let mut options = vec!["--limit=1".to_owned()];
            if rest.first().is_some_and(|segment| segment.number == number) {
                options.push(format!("--start={position}"));
            }
            let mut is_found = false;
            if !rest.is_empty() {
                self.records(&rest, &options, &mut |lsn, _| is_found |= lsn >= position)?;
            }
            if is_found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns where the last record begins that is whole.
    pub(super) fn newest(&self) -> Result<Option<Lsn>> {
        for run in self.runs.iter().rev() {
            for begin in (0..run.len()).rev() {
                let mut newest = None;
                self.records(&run[begin..], &[], &mut |lsn, _| newest = Some(lsn))?;
                if newest.is_some() {
                    return Ok(newest);
                }
            }
        }
        Ok(None)
    }

    /// Has the program print records. Returns its messages.
    fn records(&self, run: &[Segment], options: &[String], sink: &mut dyn FnMut(Lsn, Event)) -> Result<String> {
        const MOST_LINE: usize = 4096;
        let path =
            |segment: &Segment| self.directory.join(segment.name(self.archive.segment_size)).display().to_string();
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(String::new()) };
        let mut arguments = options.to_vec();
        arguments.extend([path(first), path(last)]);
        let mut line = Vec::new();
        let is_on_the_way = |lsn: Lsn| self.fork.is_none_or(|fork| lsn < fork);
        let output = self.program.run_into(&arguments, None, &mut |bytes| {
            for &byte in bytes {
                if byte != b'\n' {
                    if line.len() < MOST_LINE {
                        line.push(byte);
                    }
                    continue;
                }
                let record = waldump::record(&String::from_utf8_lossy(&line));
                if let Some((lsn, event)) = record.filter(|(lsn, _)| is_on_the_way(*lsn)) {
                    sink(lsn, event);
                }
                line.clear();
            }
            Ok(())
        })?;
        Ok(output.messages)
    }
}

/// Refuses a replay that would create tablespaces in directories that are in use: recovery takes them as they are, also where a
/// running server has its files in them.
pub(super) fn refuse_tablespaces(created: &[(Lsn, String)], stop: Option<Lsn>) -> Result<()> {
    let is_empty = |path: &str| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let in_the_way = created.iter().find(|(lsn, path)| stop.is_none_or(|stop| *lsn < stop) && !is_empty(path));
    let Some((lsn, path)) = in_the_way else { return Ok(()) };
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        format!("recovery would create a tablespace in \"{path}\", which is not an empty directory"),
    )
    .detail(format!("It was created after the backup, at {lsn} in the WAL, and recovery creates it in the same place."))
    .hint("Restore a backup that was taken after that, or until => a moment before it; on another machine, make an empty directory of that name."))
}
