use super::Session;
use super::framed_stream::Framed;
use super::session::RunningCopies;
use crate::error::Result;
use crate::local::interrupts;
use frames::{Codec, Compression, Form};
use pgrx::prelude::*;
use plan::{Part, Wire};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The way that rows travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// As the server's own COPY sends them.
    Copy,
    /// In frames that pgcopy makes there.
    Frames(Compression),
}

impl Transport {
    /// Returns the form of the rows in the frames, where there are frames.
    fn form(self, wire: Wire) -> Option<Form> {
        match self {
            Self::Copy => None,
            Self::Frames(_) => Some(match wire {
                Wire::Binary => Form::Binary,
                Wire::Text => Form::Text,
                Wire::Heap => Form::Heap,
            }),
        }
    }
}

/// One part of a source table, as `COPY … TO STDOUT` sends it.
pub struct CopyOut<'a> {
    /// The schema-qualified name.
    pub table: &'a str,
    /// A partitioned table is read with all its partitions; any other one without its children.
    pub partitioned: bool,
    /// A generated column is among the columns: plain COPY does not send it.
    pub generated: bool,
    /// SQL texts: quoted names, or expressions over the table's row. Of rows that travel as they are stored, the names.
    pub columns: Vec<Cow<'a, str>>,
    /// The condition that rows must satisfy: an expression in SQL.
    pub condition: Option<&'a str>,
    /// Whether users' expressions are among these, whose errors may tell of values that are not to be seen here.
    pub computed: bool,
    /// Whether the user has rights on columns alone: LOCK TABLE is not for him.
    pub partly_granted: bool,
    pub part: Part,
    pub wire: Wire,
    pub transport: Transport,
}

impl CopyOut<'_> {
    /// Returns the command in its cheapest form: of the plain relation where possible, else of a query.
    pub fn statement(&self) -> String {
        if self.wire == Wire::Heap {
            return self.stored_statement();
        }
        let columns = self.columns.join(", ");
        let is_plain = self.transport == Transport::Copy
            && !self.partitioned
            && !self.generated
            && !self.computed
            && !self.columns.is_empty();
        let what = if self.part.is_whole() && is_plain {
            format!("{} ({columns})", self.table)
        } else {
            let only = if self.partitioned { "" } else { "ONLY " };
            let part = (!self.part.is_whole()).then(|| self.part.condition());
            let conditions: Vec<&str> = part.as_deref().into_iter().chain(self.condition).collect();
            let condition =
                if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
            let query = format!("SELECT {columns} FROM {only}{}{condition}", self.table);
            match self.transport {
                Transport::Copy => format!("({query})"),
                Transport::Frames(compression) => return framed_statement(&query, self.wire.name(), compression),
            }
        };
        format!("COPY {what} TO STDOUT (FORMAT {})", self.wire.name())
    }

    /// Rows as they are stored. Their columns are given by their names, without quotes. Each row of this COPY is a frame.
    fn stored_statement(&self) -> String {
        let compression = match self.transport {
            Transport::Copy => Compression::Named(Codec::None),
            Transport::Frames(compression) => compression,
        };
        let end_page = self.part.end_page.unwrap_or(u32::MAX);
        let columns = self.columns.iter().map(AsRef::as_ref);
        let frames = stored_frames(self.table, columns, self.part.first_page, end_page, compression.name());
        format!("COPY ({frames}) TO STDOUT (FORMAT binary)")
    }

    /// Returns the form of the rows in the frames, where there are frames.
    fn form(&self) -> Option<Form> {
        self.transport.form(self.wire)
    }

    /// Starts the stream for a reader that asks for bytes.
    pub fn start(&self, session: &Rc<Session>) -> CopyReader {
        let copies = session.start_copies(&[], &[self.statement()], &[self.form()], self.computed);
        CopyReader { copies: Some(copies), arrived: Vec::new(), position: 0, rows: None, bytes: 0, framed: None }
    }
}

/// Returns the query for a part of a table's rows as they are stored, in frames.
pub(super) fn stored_frames<'a>(
    table: &str,
    columns: impl Iterator<Item = &'a str>,
    first_page: u32,
    end_page: u32,
    codec: &str,
) -> String {
    format!(
        "SELECT pgcopy.send_stored_frames(wire => {}, table_name => {}, columns => {}, first_page => {first_page}, end_page => {end_page}, codec => '{codec}')",
        frames::VERSION,
        plan::quote_literal(table),
        plan::text_array(columns),
    )
}

/// Returns a COPY of which each row is a frame, with the rows of a query.
pub(super) fn framed_statement(query: &str, form: &str, compression: Compression) -> String {
    format!(
        "COPY (SELECT pgcopy.send_frames(wire => {}, query => {}, form => '{form}', codec => '{}')) TO STDOUT (FORMAT binary)",
        frames::VERSION,
        plan::quote_literal(query),
        compression.name()
    )
}

/// Starts the streams of several parts, which arrive one after the other, in a session that has joined a snapshot.
///
/// The tables are locked first, without waiting: the session that made the snapshot has locked them, and a lock that is
/// waited for would queue behind a session that waits for that one, and so for the end of the job.
///
/// # Errors
/// 55P03 when another session has not given up its request after `pgcopy.retry_timeout`.
pub fn start_copies(session: &Rc<Session>, copies: &[CopyOut<'_>]) -> Result<RunningCopies> {
    const PAUSE: Duration = Duration::from_millis(100);
    let locks = locks(copies);
    let statements: Vec<String> = copies.iter().map(CopyOut::statement).collect();
    let forms: Vec<Option<Form>> = copies.iter().map(CopyOut::form).collect();
    let computed = copies.iter().any(|copy| copy.computed);
    let begun = Instant::now();
    loop {
        let mut running = session.start_copies(&locks, &statements, &forms, computed);
        match running.begin() {
            Ok(()) => return Ok(running),
            Err(error) if error.sqlstate != PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE as i32 => return Err(error),
            Err(error) if begun.elapsed() >= crate::local::parameters::retry_timeout() => {
                return Err(error
                    .detail("Another session of the source waits for a stronger lock on the table than the job has.")
                    .hint("Call again when the change of the table's definition on the source is done."));
            }
            Err(_) => {
                drop(running);
                interrupts::wait(PAUSE);
                session.join_again()?;
            }
        }
    }
}

/// Returns the commands that lock the tables.
fn locks(copies: &[CopyOut<'_>]) -> Vec<String> {
    let names = |partly_granted: bool| -> Vec<String> {
        let name = |copy: &CopyOut<'_>| format!("{}{}", if copy.partitioned { "" } else { "ONLY " }, copy.table);
        let meant = copies.iter().filter(|copy| copy.partly_granted == partly_granted);
        meant.map(name).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let (whole, partly) = (names(false), names(true));
    let mut locks = Vec::new();
    if !whole.is_empty() {
        locks.push(format!("LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT", whole.join(", ")));
    }
    if !partly.is_empty() {
        // A query that is planned locks partitions, too. It knows no NOWAIT, but it can be impatient.
        let branches: Vec<String> = partly.iter().map(|table| format!("SELECT 1 FROM {table}")).collect();
        locks.push("SET LOCAL lock_timeout = 1".to_owned());
        locks.push(format!("SELECT FROM ({}) q LIMIT 0", branches.join(" UNION ALL ")));
        locks.push("SET LOCAL lock_timeout = 0".to_owned());
    }
    locks
}

/// A stream of COPY to read from.
pub struct CopyReader {
    /// `None` once the stream has ended.
    copies: Option<RunningCopies>,
    arrived: Vec<u8>,
    /// The position of the next byte in `arrived`.
    position: usize,
    /// The number of rows, which is known at the end.
    rows: Option<u64>,
    bytes: u64,
    /// What has arrived in frames, which is known at the end.
    framed: Option<Framed>,
}

impl CopyReader {
    /// Fills `buffer` with at least `least` bytes unless the stream ends before, and returns their number.
    pub fn read(&mut self, buffer: &mut [u8], least: usize) -> Result<usize> {
        let mut filled = 0;
        while filled < least.max(1) {
            if self.position == self.arrived.len() {
                let Some(copies) = &mut self.copies else { break };
                self.arrived.clear();
                self.position = 0;
                let arrived = &mut self.arrived;
                let more = copies.read(&mut |data| {
                    arrived.extend_from_slice(data);
                    Ok(())
                })?;
                if !more && let Some(copies) = self.copies.take() {
                    self.framed = copies.framed(0);
                    self.rows = copies.finish()?.pop();
                }
                continue;
            }
            let count = (self.arrived.len() - self.position).min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&self.arrived[self.position..self.position + count]);
            filled += count;
            self.position += count;
        }
        self.bytes += filled as u64;
        Ok(filled)
    }

    /// Returns the number of bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns what has arrived in frames, if rows came in frames; `None` before the end.
    pub fn framed(&self) -> Option<Framed> {
        self.framed
    }

    /// Returns the number of rows that the source says it sent; `None` before the end.
    pub fn rows(&self) -> Option<u64> {
        self.rows
    }
}
