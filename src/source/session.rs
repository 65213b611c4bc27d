use super::connection::{Connection, Trust, query_error};
use crate::error::{Error, Result};
use conninfo::ConnInfo;
use pgrx::prelude::*;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use tokio_postgres::SimpleQueryMessage;

/// A session on the source, set so that values read the same everywhere and nothing times out.
pub struct Session {
    connection: Connection,
    /// As `server_version_num`.
    pub version: u32,
}

/// Timeouts are set through `pg_settings`, because not every version has all of them.
const SETTINGS: &str = "
SET search_path = pg_catalog;
SET datestyle = 'ISO, YMD';
SET intervalstyle = postgres;
SET timezone = 'UTC';
SET extra_float_digits = 3;
SET bytea_output = hex;
SET standard_conforming_strings = on;
SET row_security = off;
SET synchronize_seqscans = off;
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout',
               'transaction_timeout');
SELECT current_setting('server_version_num');";

/// The oldest source that is supported.
const OLDEST_VERSION: u32 = 120_000;

impl Session {
    pub fn open(info: &ConnInfo, trust: Trust) -> Result<Self> {
        let mut session = Self { connection: Connection::open(info, trust)?, version: 0 };
        let version = session.query_value(SETTINGS)?;
        session.version = version.parse().map_err(|_| Error::internal("the source does not tell its version"))?;
        if session.version < OLDEST_VERSION {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("the source's version {} is too old", session.version / 10_000),
            )
            .detail("Sources from PostgreSQL 12 on are supported."));
        }
        Ok(session)
    }

    /// Opens the one snapshot that all of a job reads, with the tables locked against changes of their definition.
    ///
    /// The locks come before the snapshot: a TRUNCATE or a rewrite between the two would show the snapshot an empty
    /// table. Returns the snapshot's name.
    pub fn begin_snapshot(&self, tables: &[String]) -> Result<String> {
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        if !tables.is_empty() {
            self.execute(&format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", tables.join(", ONLY ")))?;
        }
        self.query_value("SELECT pg_export_snapshot()")
    }

    pub fn join_snapshot(&self, snapshot: &str) -> Result<()> {
        self.execute(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            plan::quote_literal(snapshot)
        ))
    }

    pub fn rollback(&self) -> Result<()> {
        self.execute("ROLLBACK")
    }

    /// Runs statements that return nothing.
    pub fn execute(&self, sql: &str) -> Result<()> {
        self.connection.wait(self.connection.client.batch_execute(sql)).map_err(|error| query_error(&error))
    }

    /// The first column of the last row.
    pub fn query_value(&self, sql: &str) -> Result<String> {
        let messages =
            self.connection.wait(self.connection.client.simple_query(sql)).map_err(|error| query_error(&error))?;
        messages
            .iter()
            .rev()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .ok_or_else(|| Error::internal("a query on the source returned no value"))
    }

    /// Runs `COPY … TO STDOUT` and calls `on_data` with its data, in order. Returns the number of rows that the source
    /// says it sent.
    ///
    /// # Errors
    /// What the source reports, a lost connection, or whatever `on_data` returns.
    pub(super) fn copy(&self, sql: &str, mut on_data: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        let mut command = pin!(self.connection.client.simple_query(sql));
        loop {
            match self.wait_for_copy(command.as_mut()) {
                CopyEvent::Data => self.connection.tap.take_data(&mut on_data)?,
                CopyEvent::End(rows) => return rows,
            }
        }
    }

    /// Starts `COPY … TO STDOUT` for somebody who asks for its data piece by piece.
    pub(super) fn start_copy(self: &Rc<Self>, sql: String) -> RunningCopy {
        let session = Rc::clone(self);
        let command = Box::pin(async move { session.connection.client.simple_query(&sql).await });
        RunningCopy { session: Rc::clone(self), command }
    }

    fn wait_for_copy(&self, mut command: Pin<&mut (impl Future<Output = CopyResult> + ?Sized)>) -> CopyEvent {
        let tap = &self.connection.tap;
        self.connection.wait(poll_fn(|context| {
            if tap.poll_data(context).is_ready() {
                return Poll::Ready(CopyEvent::Data);
            }
            command.as_mut().poll(context).map(|result| CopyEvent::End(rows_of(result)))
        }))
    }
}

type CopyResult = std::result::Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>;

enum CopyEvent {
    /// Data has arrived.
    Data,
    /// All of it has, and so many rows were sent.
    End(Result<u64>),
}

fn rows_of(result: CopyResult) -> Result<u64> {
    let messages = result.map_err(|error| query_error(&error))?;
    messages
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        })
        .ok_or_else(|| Error::internal("the source did not complete COPY"))
}

/// A COPY that is read piece by piece.
pub(super) struct RunningCopy {
    session: Rc<Session>,
    command: Pin<Box<dyn Future<Output = CopyResult>>>,
}

impl RunningCopy {
    /// Calls `on_data` with what has arrived, and waits only when nothing has. The number of rows at the end.
    pub(super) fn next(&mut self, on_data: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Option<u64>> {
        match self.session.wait_for_copy(self.command.as_mut()) {
            CopyEvent::Data => self.session.connection.tap.take_data(on_data).map(|()| None),
            CopyEvent::End(rows) => rows.map(Some),
        }
    }
}
