//! Answers of a source to commands other than COPY: short values, counts of rows, and errors.

use super::failure::{PASSING, query_error};
use super::tap::Tap;
use super::words::{Words, without_values};
use crate::error::Error;
use futures_util::StreamExt;
use pgrx::prelude::*;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::{Client, SimpleQueryMessage};

/// The answers of the source to a few commands, without the data of COPY.
#[derive(Default)]
pub(super) struct Answers {
    /// The first column of each row.
    pub(super) values: Vec<String>,
    /// The number of rows that each command has worked on.
    pub(super) rows: Vec<u64>,
}

pub(super) struct AnswerError {
    pub(super) error: Error,
    /// Whether another attempt may succeed; `None` where the source itself has not answered.
    pub(super) passing: Option<bool>,
    /// The number of the character of the commands, from 1, that the error is about.
    pub(super) position: Option<usize>,
    pub(super) words: Words,
}

impl AnswerError {
    /// Returns the error as it may be told. `computed` tells whether users' expressions are among what was asked for.
    pub(super) fn told(self, computed: bool) -> Error {
        if computed && self.words.may_hold_values { without_values(self.error) } else { self.error }
    }
}

/// The most bytes that the values of an answer may have together.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// Runs commands of which each returns a short value, or nothing. A longer answer is an error.
pub(super) async fn answers(
    client: &Client,
    tap: &Tap,
    commands: &str,
    count: usize,
) -> std::result::Result<Answers, AnswerError> {
    let failed = |error: tokio_postgres::Error| AnswerError {
        passing: error.code().map(|code| PASSING.contains(&code.code())),
        position: error.as_db_error().and_then(|error| match error.position() {
            Some(ErrorPosition::Original(position)) => usize::try_from(*position).ok(),
            _ => None,
        }),
        words: error.as_db_error().map_or(Words::OWN, Words::of),
        error: tap.refusal().map_or_else(|| query_error(&error), Error::from),
    };
    let mut stream = std::pin::pin!(client.simple_query_raw(commands).await.map_err(failed)?);
    let mut answers = Answers::default();
    let mut bytes = 0;
    while let Some(message) = stream.next().await {
        match message.map_err(failed)? {
            SimpleQueryMessage::Row(row) => {
                let value = if row.is_empty() { None } else { row.try_get(0).map_err(failed)? };
                bytes += value.map_or(0, str::len);
                answers.values.extend(value.map(str::to_owned));
            }
            SimpleQueryMessage::CommandComplete(rows) => answers.rows.push(rows),
            _ => {}
        }
        if bytes > LONGEST_ANSWER || answers.values.len() > count || answers.rows.len() > count {
            let error = Error::new(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                "the source's answer is longer than any that was asked for",
            );
            return Err(AnswerError { error, passing: Some(false), position: None, words: Words::OWN });
        }
    }
    Ok(answers)
}
