use super::answers::{AnswerError, Answers, answers};
use super::connection::{Connection, silent};
use super::copy_out::framed_statement;
use super::framed_stream::{Framed, FramedStream};
use super::origin::Origin;
use super::socket::Ends;
use super::words::Words;
use crate::error::{Error, Result};
use crate::local::parameters::{source_lock_timeout, source_timeout};
use crate::local::{interrupts, memory};
use copystream::BinaryStream;
use frames::{Compression, Form};
use pgrx::prelude::*;
use plan::catalog::{self, Relation};
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A session on the source, set so that values read the same everywhere and nothing times out.
pub struct Session {
    connection: Connection,
    /// As `server_version_num`.
    pub version: u32,
    /// As `server_encoding`.
    pub encoding: String,
    /// The encoding in which COPY sends texts, where that is not UTF8.
    copy_encoding: Option<String>,
    /// The name of the snapshot that [`Session::join_snapshot`] has joined.
    joined: RefCell<Option<String>>,
}

/// Timeouts come first, since the role's own may be short. Timeouts that not every version has are set through
/// `pg_settings`. No view is read, so that none in the place of a table or a sequence runs its owner's functions.
const SETTINGS: &str = "
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET search_path = pg_catalog;
SET datestyle = 'ISO, YMD';
SET intervalstyle = postgres;
SET timezone = 'UTC';
SET extra_float_digits = 3;
SET bytea_output = hex;
SET standard_conforming_strings = on;
SET quote_all_identifiers = off;
SET transform_null_equals = off;
SET array_nulls = on;
SET exit_on_error = off;
SET row_security = off;
SET constraint_exclusion = off;
SET synchronize_seqscans = off;
SET jit = off;
SELECT set_config(name, CASE name WHEN 'restrict_nonsystem_relation_kind' THEN 'view' ELSE '0' END, false) FROM pg_settings
WHERE name IN ('idle_session_timeout', 'transaction_timeout', 'restrict_nonsystem_relation_kind');
SELECT concat_ws(' ', current_setting('server_version_num'), current_setting('server_encoding'));";

/// How long one try for the locks on the source's tables takes.
const LONGEST_TRY: Duration = Duration::from_secs(3);

/// The encoding that the client library asks for when it connects.
const SESSION_ENCODING: &str = "UTF8";

fn set_encoding(encoding: &str) -> String {
    format!("SET client_encoding = {}", plan::quote_literal(encoding))
}

/// The oldest source that is supported.
const OLDEST_VERSION: u32 = 120_000;

impl Session {
    pub fn open(origin: &Origin) -> Result<Self> {
        let mut session = Self {
            connection: Connection::open(origin)?,
            version: 0,
            encoding: String::new(),
            copy_encoding: None,
            joined: RefCell::default(),
        };
        let told = session.query_value(SETTINGS)?;
        let (version, encoding) = told.split_once(' ').unwrap_or((&told, ""));
        session.version = version.parse().map_err(|_| Error::internal("the source does not tell its version"))?;
        session.encoding = encoding.to_owned();
        if session.version < OLDEST_VERSION {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("the source's version {} is too old", session.version / 10_000),
            )
            .detail("Sources from PostgreSQL 12 on are supported."));
        }
        session.refuse_other_mask_key(origin)?;
        Ok(session)
    }

    /// Refuses a session that has not got the key of masks: something between here and the source may have passed it over.
    fn refuse_other_mask_key(&self, origin: &Origin) -> Result<()> {
        let Some(key) = &origin.mask_key else { return Ok(()) };
        let told = self.query_value(&format!(
            "SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
                 coalesce(pg_catalog.current_setting('{}', true), ''), 'UTF8')), 'hex')",
            selection::KEY_SETTING
        ))?;
        let wanted: String = openssl::sha::sha256(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        if told == wanted {
            return Ok(());
        }
        Err(Error::new(PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, "the source's session has not got the key of masks")
            .detail("It is a setting in the options that the connection begins with.")
            .hint("Connect to the server itself: something on the way, such as a connection pooler, has left the options out."))
    }

    /// Returns whether the source is on this machine, with nothing between its server and this process.
    pub fn is_on_this_machine(&self) -> Result<bool> {
        let Some(port) = self.connection.tap.ends.and_then(Ends::port_on_this_machine) else { return Ok(false) };
        let seen = self.query_value("SELECT coalesce(pg_catalog.inet_client_port(), 0)::text")?;
        Ok(seen == port.to_string())
    }

    /// Has the source give up a query soon after this process is gone, where it knows how to. It would notice by what it sends
    /// otherwise, and a query that only computes sends nothing.
    pub fn end_queries_with_client(&self) {
        // Refused where the source's operating system cannot tell; that is no reason to do without the session.
        let _ = self.query_value(
            "SELECT count(set_config(name, '1s', false))::text FROM pg_settings
             WHERE name = 'client_connection_check_interval'",
        );
    }

    /// Makes COPY send texts in another encoding. Everything else goes on in UTF8.
    ///
    /// # Errors
    /// The source has no conversion to the encoding.
    pub fn set_copy_encoding(&mut self, encoding: &str) -> Result<()> {
        if encoding != SESSION_ENCODING {
            let outcome = self.execute(&format!("{}; {}", set_encoding(encoding), set_encoding(SESSION_ENCODING)));
            outcome.map_err(|error| {
                if error.sqlstate != PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED as i32 {
                    return error;
                }
                let text =
                    format!("the source cannot convert its encoding {} to this database's {encoding}", self.encoding);
                Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, text)
                    .hint("CREATE CONVERSION on the source adds one; a database in UTF8 takes texts of every encoding.")
            })?;
            self.copy_encoding = Some(encoding.to_owned());
        }
        Ok(())
    }

    /// Opens the one snapshot that all of a job reads, with the tables locked against changes of their definition.
    ///
    /// The locks come before the snapshot: a TRUNCATE or a rewrite between the two would show the snapshot an empty
    /// table. Of a partitioned table all partitions are locked. Tables of which the user may only read some columns come after,
    /// each of their partitions beside them: LOCK TABLE is not for him, and whatever else locks takes a snapshot. Returns the
    /// snapshot's name.
    ///
    /// # Errors
    /// 42P01 when a table is not there any more as it was. The error of `may_wait_on`, which is called repeatedly while another session
    /// of the source holds a lock or waits for one; 08006 when that takes longer than a source may be silent.
    pub fn begin_snapshot<'a>(
        &self,
        tables: impl IntoIterator<Item = &'a Relation>,
        partly_granted: &[&Relation],
        may_wait_on: impl Fn() -> Result<()>,
    ) -> Result<String> {
        let locked: Vec<String> = tables.into_iter().map(Relation::from_clause).collect();
        // The timeout of one try does not end the job: the locks are asked for again. Meanwhile nobody queues behind ours.
        let try_time = source_lock_timeout().map_or(LONGEST_TRY, |limit| limit.min(LONGEST_TRY)).as_millis();
        let mut locks = vec![format!("SET LOCAL lock_timeout = {try_time}")];
        if !locked.is_empty() {
            locks[0] += &format!("; LOCK TABLE {} IN ACCESS SHARE MODE", locked.join(", "));
        }
        locks.extend(partly_granted.chunks(catalog::MOST_BRANCHES).map(locked_by_analysis));
        if let Some(last) = locks.last_mut() {
            *last += "; SET LOCAL lock_timeout = 0";
        }
        let lock = || -> Result<()> {
            if locked.is_empty() && partly_granted.is_empty() {
                return Ok(());
            }
            locks.iter().try_for_each(|lock| self.execute(lock))?;
            for tables in partly_granted.chunks(catalog::MOST_BRANCHES) {
                if self.query_value(&moved_query(tables))? != "0" {
                    let text = "tables of the source have changed before they were locked";
                    return Err(Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, text));
                }
            }
            Ok(())
        };
        let begun = Instant::now();
        loop {
            self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            match lock() {
                Ok(()) => return self.query_value("SELECT pg_export_snapshot()"),
                Err(error) if error.sqlstate == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE as i32 => self.rollback()?,
                Err(error) => return Err(error),
            }
            if let Some(limit) = source_lock_timeout().filter(|limit| begun.elapsed() >= *limit) {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                    format!("could not lock the source's tables within {} s", limit.as_secs_f64()),
                )
                .hint("pgcopy.source_lock_timeout is how long a pull waits for others who hold ACCESS EXCLUSIVE locks there."));
            }
            if let Some(limit) = source_timeout().filter(|limit| begun.elapsed() >= *limit) {
                return Err(silent(limit));
            }
            may_wait_on()?;
        }
    }

    /// # Errors
    /// An error of class 08 when the snapshot is gone with the connection that opened it.
    pub fn join_snapshot(&self, snapshot: &str) -> Result<()> {
        let joined = self.execute(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            plan::quote_literal(snapshot)
        ));
        joined.map_err(|error| if is_gone(&error) { lost_snapshot(&error) } else { error })?;
        *self.joined.borrow_mut() = Some(snapshot.to_owned());
        Ok(())
    }

    /// Joins the snapshot anew, after an error has ended the transaction.
    pub(super) fn join_again(&self) -> Result<()> {
        let snapshot = self.joined.borrow().clone().ok_or_else(|| Error::internal("no snapshot was joined"))?;
        self.rollback()?;
        self.join_snapshot(&snapshot)
    }

    pub fn rollback(&self) -> Result<()> {
        self.execute("ROLLBACK")
    }

    /// Runs a few statements that return nothing.
    pub fn execute(&self, sql: &str) -> Result<()> {
        self.short_answers(sql).map(drop)
    }

    /// Returns the first column, a short text, of the last row of a few statements.
    pub fn query_value(&self, sql: &str) -> Result<String> {
        self.short_answers(sql)?.values.pop().ok_or_else(no_value)
    }

    /// Runs a query of one short value in a subtransaction, so that the transaction outlives what the source refuses. The query
    /// does not wait for locks for long.
    ///
    /// # Errors
    /// A lost connection. What the source refuses is in the value.
    pub fn try_query(&self, query: &str) -> Result<std::result::Result<String, Rejection>> {
        // By itself, because nothing of a text is executed that the source cannot parse.
        self.execute("SAVEPOINT pgcopy; SET LOCAL lock_timeout = 3000")?;
        let connection = &self.connection;
        match self.answer(answers(connection.client(), &connection.tap, query, 1))? {
            Ok(answers) => {
                self.execute("SET LOCAL lock_timeout = 0; RELEASE SAVEPOINT pgcopy")?;
                Ok(Ok(answers.values.last().cloned().unwrap_or_default()))
            }
            Err(AnswerError { error, passing: None, .. }) => Err(error),
            Err(AnswerError { error, position, words, .. }) => {
                self.execute("ROLLBACK TO SAVEPOINT pgcopy; RELEASE SAVEPOINT pgcopy")?;
                Ok(Err(Rejection { error, position, words }))
            }
        }
    }

    fn short_answers(&self, sql: &str) -> Result<Answers> {
        const MOST_COMMANDS: usize = 32;
        let connection = &self.connection;
        self.answer(answers(connection.client(), &connection.tap, sql, MOST_COMMANDS))?
            .map_err(|error| error.told(false))
    }

    /// Returns the one value of each query, of any length. The values travel together, as rows of COPY.
    pub fn query_values(&self, queries: &[String]) -> Result<Vec<Vec<u8>>> {
        // A source answers even a command that is none.
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        self.values_of(queries).take(source_timeout(), false)
    }

    /// Has the source compute the one value of each query while this process does something else.
    pub fn start_values(&self, queries: &[String]) -> RunningValues<'_> {
        self.started(self.values_of(queries))
    }

    /// The same for a long value that travels in frames: of a source that can send them.
    pub fn start_value_in_frames(&self, query: &str, compression: Compression) -> RunningValues<'_> {
        let statement = framed_statement(query, Form::Binary.name(), compression);
        self.started(self.values_of_copies(&[statement], Some(FramedStream::new(Form::Binary))))
    }

    fn started<'a>(&'a self, mut running: RunningValues<'a>) -> RunningValues<'a> {
        /// Enough for the queries to leave; they are short.
        const DEPARTURE: Duration = Duration::from_millis(10);
        running.answered = self.connection.wait_at_most(DEPARTURE, running.answers.as_mut());
        running
    }

    fn values_of(&self, queries: &[String]) -> RunningValues<'_> {
        let copies: Vec<_> = queries.iter().map(|query| format!("COPY ({query}) TO STDOUT (FORMAT binary)")).collect();
        self.values_of_copies(&copies, None)
    }

    fn values_of_copies(&self, copies: &[String], frames: Option<FramedStream>) -> RunningValues<'_> {
        let connection = &self.connection;
        let (commands, count) = (copies.join("; "), copies.len());
        let answers = Box::pin(async move { answers(connection.client(), &connection.tap, &commands, count).await });
        RunningValues { session: self, answers, answered: None, count, frames }
    }

    /// Waits for data to arrive, for as long as the source may be silent.
    fn answer<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        self.answer_within(source_timeout(), future)
    }

    fn answer_within<T>(&self, limit: Option<Duration>, future: impl Future<Output = T>) -> Result<T> {
        let Some(limit) = limit else {
            return Ok(self.connection.wait(future));
        };
        self.connection.wait(async { tokio::time::timeout(limit, future).await }).map_err(|_| silent(limit))
    }

    /// Waits for COPY data, or for the commands to be answered.
    fn copy_event(&self, answers: Pin<&mut dyn Future<Output = CopyAnswers>>) -> Result<CopyEvent> {
        self.copy_event_within(source_timeout(), answers)
    }

    fn copy_event_within(
        &self,
        limit: Option<Duration>,
        mut answers: Pin<&mut dyn Future<Output = CopyAnswers>>,
    ) -> Result<CopyEvent> {
        // Where data has always arrived already, no wait serves interrupts.
        interrupts::check();
        let connection = &self.connection;
        self.answer_within(
            limit,
            poll_fn(|context| {
                if connection.tap.poll_data(context).is_ready() {
                    return Poll::Ready(CopyEvent::Data);
                }
                answers.as_mut().poll(context).map(CopyEvent::Answered)
            }),
        )
    }

    /// Sends `COPY … TO STDOUT` commands together, after commands that prepare for them: one way to the source and back
    /// serves all of them. `computed` tells whether users' expressions are among what they read; of streams in frames, `forms`
    /// tells the form.
    pub(super) fn start_copies(
        self: &Rc<Self>,
        preparations: &[String],
        copies: &[String],
        forms: &[Option<Form>],
        computed: bool,
    ) -> RunningCopies {
        let session = Rc::clone(self);
        let mut count = preparations.len() + copies.len();
        let mut commands = preparations.iter().chain(copies).cloned().collect::<Vec<_>>().join("; ");
        // The source has read the whole text when the setting changes.
        if let Some(encoding) = &self.copy_encoding {
            commands = format!("{}; {commands}; {}", set_encoding(encoding), set_encoding(SESSION_ENCODING));
            count += 2;
        }
        let answers = Box::pin(async move {
            let connection = &session.connection;
            answers(connection.client(), &connection.tap, &commands, count).await
        });
        let streams = forms.iter().map(|form| form.map(FramedStream::new)).collect();
        let preparations = preparations.len();
        RunningCopies { session: Rc::clone(self), answers, preparations, computed, streams, current: 0, rows: None }
    }
}

/// Returns commands that lock tables without a right on them: the server locks what it parses a query over, and looks at rights when
/// it executes one. It plans nothing either, so that no function of an index runs. A partition can have policies that a query over
/// the partitioned table does not meet.
fn locked_by_analysis(tables: &[&Relation]) -> String {
    let branches: Vec<String> =
        tables.iter().map(|table| format!("SELECT 1 FROM ONLY {}", table.qualified_name())).collect();
    format!(
        "SET LOCAL row_security = on; PREPARE pgcopy_lock AS {}; DEALLOCATE pgcopy_lock; SET LOCAL row_security = off",
        branches.join(" UNION ALL ")
    )
}

/// Returns the query for the number of tables that are not as the snapshot shows them.
fn moved_query(tables: &[&Relation]) -> String {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let names: Vec<String> = tables.iter().map(|table| table.qualified_name()).collect();
    let query = include_str!("../../sql/queries/moved_tables.sql").replace("{relations}", &catalog::array(&oids));
    query.replace("{names}", &plan::text_array(names.iter().map(String::as_str)))
}

/// The source's refusal of a query.
pub struct Rejection {
    pub error: Error,
    /// The number of the character of the query, from 1, where the source tells it.
    pub position: Option<usize>,
    pub(super) words: Words,
}

fn no_value() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "a query on the source returned no value")
}

fn ended_early() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "the source ended COPY early")
}

fn unasked_data() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "the source sent more than was asked for")
}

type CopyAnswers = std::result::Result<Answers, AnswerError>;

enum CopyEvent {
    /// Data has arrived, or the end of a stream.
    Data,
    /// All commands are answered.
    Answered(CopyAnswers),
}

/// Queries whose values the source computes. One that is dropped leaves the session unusable.
pub struct RunningValues<'a> {
    session: &'a Session,
    answers: Pin<Box<dyn Future<Output = CopyAnswers> + 'a>>,
    /// Set where all was answered before anybody waited for it.
    answered: Option<CopyAnswers>,
    count: usize,
    /// Set where there is one value, which comes in frames.
    frames: Option<FramedStream>,
}

impl RunningValues<'_> {
    /// Waits for the values, however long the source computes them. `computed` tells whether users' expressions are among the queries:
    /// errors of the source do not tell of values then.
    ///
    /// # Errors
    /// What the source reports, or a lost connection.
    pub fn finish(self, computed: bool) -> Result<Vec<Vec<u8>>> {
        self.take(None, computed)
    }

    /// `limit` is how long the source may be silent.
    fn take(mut self, limit: Option<Duration>, computed: bool) -> Result<Vec<Vec<u8>>> {
        let tap = &self.session.connection.tap;
        let mut frames = self.frames.take();
        let mut values: Vec<Vec<u8>> = Vec::with_capacity(self.count);
        let mut bytes = 0;
        for number in 0..self.count {
            let mut stream = BinaryStream::new(1);
            loop {
                match self.event(limit)? {
                    CopyEvent::Data => {}
                    CopyEvent::Answered(answers) => {
                        return Err(answers.map_or_else(|error| error.told(computed), |_| no_value()));
                    }
                }
                let mut keep = |chunk: &[u8]| {
                    bytes += chunk.len();
                    if bytes > memory::MAX_ALLOC_SIZE {
                        return Err(Error::new(
                            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                            "the catalog of the source is too big",
                        ));
                    }
                    stream.feed(chunk, |mut row| {
                        if values.len() > number {
                            return Err(Error::new(
                                PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION,
                                "a query on the source returned more than one row",
                            ));
                        }
                        let field = row.next_field().ok_or_else(no_value)?;
                        let mut value = Vec::new();
                        memory::reserve(&mut value, field.len());
                        value.extend_from_slice(field);
                        values.push(value);
                        Ok(())
                    })
                };
                let ended = match &mut frames {
                    Some(frames) => tap.take_data(&mut |chunk| frames.take(chunk, &mut keep))?,
                    None => tap.take_data(&mut keep)?,
                };
                if ended {
                    break;
                }
            }
            if let Some(frames) = &frames {
                frames.finish()?;
            }
            stream.finish()?;
            if values.len() <= number {
                return Err(no_value());
            }
        }
        match self.event(limit)? {
            CopyEvent::Data => Err(unasked_data()),
            CopyEvent::Answered(answers) => {
                let answers = answers.map_err(|error| error.told(computed))?;
                if let Some(frames) = &frames {
                    frames.rows(answers.rows.first().copied().unwrap_or_default())?;
                }
                Ok(values)
            }
        }
    }

    fn event(&mut self, limit: Option<Duration>) -> Result<CopyEvent> {
        // The library gets no answer before the data in front of it is taken: there is none then.
        match self.answered.take() {
            Some(answers) => Ok(CopyEvent::Answered(answers)),
            None => self.session.copy_event_within(limit, self.answers.as_mut()),
        }
    }
}

/// COPY commands whose streams arrive one after the other.
pub struct RunningCopies {
    session: Rc<Session>,
    answers: Pin<Box<dyn Future<Output = CopyAnswers>>>,
    /// The number of commands before the first COPY, without those for the encoding.
    preparations: usize,
    /// Whether users' expressions are among what they read.
    computed: bool,
    /// The streams that come in frames.
    streams: Vec<Option<FramedStream>>,
    /// The position of the stream that arrives.
    current: usize,
    /// The number of rows that the source says it sent with each command, once all are answered.
    rows: Option<Vec<u64>>,
}

impl RunningCopies {
    /// Waits until the first stream has begun.
    ///
    /// # Errors
    /// An error of the commands before the first COPY, or of the first COPY, or a lost connection.
    pub(super) fn begin(&mut self) -> Result<()> {
        match self.wait()? {
            CopyEvent::Data => Ok(()),
            CopyEvent::Answered(answers) => self.note_answers(answers).and(Err(ended_early())),
        }
    }

    /// Calls `on_data` with the data of the current stream that has arrived, out of its frames where it has some, and waits only
    /// when there is none. Returns false at the end of the stream; the next one begins then.
    ///
    /// # Errors
    /// An error of the source, a lost connection, or an error of `on_data`.
    pub fn read(&mut self, on_data: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        match self.wait()? {
            CopyEvent::Data => {
                let tap = &self.session.connection.tap;
                let stream = self.streams.get_mut(self.current).and_then(Option::as_mut);
                let ended = match stream {
                    Some(stream) => {
                        let ended = tap.take_data(&mut |chunk| stream.take(chunk, on_data))?;
                        if ended {
                            stream.finish()?;
                        }
                        ended
                    }
                    None => tap.take_data(on_data)?,
                };
                if ended {
                    self.current += 1;
                }
                Ok(!ended)
            }
            // The source has refused a command.
            CopyEvent::Answered(answers) => {
                self.note_answers(answers)?;
                Err(ended_early())
            }
        }
    }

    /// Returns what has arrived of a stream that comes in frames.
    pub fn framed(&self, stream: usize) -> Option<Framed> {
        self.streams.get(stream)?.as_ref().map(FramedStream::arrived)
    }

    /// Returns, after the last stream, the number of rows that the source says it sent for each command.
    ///
    /// # Errors
    /// An error of the source, or a lost connection.
    pub fn finish(mut self) -> Result<Vec<u64>> {
        while self.rows.is_none() {
            match self.wait()? {
                CopyEvent::Data => return Err(unasked_data()),
                CopyEvent::Answered(answers) => self.note_answers(answers)?,
            }
        }
        Ok(self.rows.take().unwrap_or_default())
    }

    fn wait(&mut self) -> Result<CopyEvent> {
        self.session.copy_event(self.answers.as_mut())
    }

    fn note_answers(&mut self, answers: CopyAnswers) -> Result<()> {
        let mut rows = answers.map_err(|error| error.told(self.computed))?.rows;
        let mut others = self.preparations;
        if self.session.copy_encoding.is_some() {
            // The last command and one before the first COPY set the encoding.
            rows.pop();
            others += 1;
        }
        rows.drain(..rows.len().min(others));
        // Of streams in frames, COPY has counted the frames.
        for (stream, rows) in self.streams.iter().zip(&mut rows) {
            if let Some(stream) = stream {
                *rows = stream.rows(*rows)?;
            }
        }
        self.rows = Some(rows);
        Ok(())
    }
}

/// Returns whether the error is one of `ImportSnapshot` or `ProcArrayInstallImportedXmin` (`snapmgr.c`).
fn is_gone(error: &Error) -> bool {
    [
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
    ]
    .iter()
    .any(|code| error.sqlstate == *code as i32)
}

fn lost_snapshot(error: &Error) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, "the source has given up the snapshot of this pull")
        .detail(error.message.clone())
        .hint("The connection that held it was lost, or the connections of this pull do not all reach the same server.")
}
