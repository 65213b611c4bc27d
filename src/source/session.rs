use super::connection::{Connection, Trust, query_error};
use crate::error::{Error, Result};
use bytes::Bytes;
use conninfo::ConnInfo;
use futures_util::Stream;
use pgrx::prelude::*;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use tokio_postgres::{CopyOutStream, SimpleQueryMessage};

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

    pub(super) fn start_copy(&self, sql: &str) -> Result<CopyOutStream> {
        self.connection.wait(self.connection.client.copy_out(sql)).map_err(|error| query_error(&error))
    }

    /// Appends to `chunks` what has arrived, and waits only when nothing has. False when the stream has ended.
    pub(super) fn next_chunks(&self, mut stream: Pin<&mut CopyOutStream>, chunks: &mut Vec<Bytes>) -> Result<bool> {
        let mut failure = None;
        let more = self.connection.wait(poll_fn(|context| {
            let mut bytes = 0;
            while chunks.len() < CHUNKS_AT_ONCE && bytes < BYTES_AT_ONCE {
                match stream.as_mut().poll_next(context) {
                    Poll::Ready(Some(Ok(chunk))) => {
                        bytes += chunk.len();
                        chunks.push(chunk);
                    }
                    Poll::Ready(Some(Err(error))) => {
                        failure = Some(query_error(&error));
                        return Poll::Ready(false);
                    }
                    Poll::Ready(None) => return Poll::Ready(false),
                    Poll::Pending if chunks.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(true)
        }));
        failure.map_or(Ok(more), Err)
    }
}

/// Rows arrive as one chunk each; so many are taken before the runtime is entered again.
const CHUNKS_AT_ONCE: usize = 1024;
/// Fewer where rows are long, so that memory does not grow with them.
const BYTES_AT_ONCE: usize = 1024 * 1024;
