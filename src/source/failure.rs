//! Failures of attempts to connect, and whether another attempt may succeed.

use super::tap::{Refusal, Tap};
use crate::error::{Error, with_causes};
use pgrx::prelude::*;

/// The failure of an attempt to connect.
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether a server has answered.
    pub(super) answered: bool,
    /// Whether another attempt may succeed in a moment.
    pub(super) passing: bool,
}

impl Failure {
    pub(super) fn unanswered(message: String, passing: bool) -> Self {
        let error = Error::new(PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, message);
        Self { error, answered: false, passing }
    }

    /// `reached` tells whether somebody has accepted the connection, who then said nothing.
    pub(super) fn timed_out(reached: bool) -> Self {
        let mut failure = Self::unanswered("timeout expired".to_owned(), true);
        if reached {
            failure.error = failure.error.hint(
                "The connection is accepted there, and nothing is answered. Is it another kind of server, which waits to be \
                 asked, or a proxy?",
            );
        }
        failure
    }

    /// Returns a failure on this end, such as a file that cannot be used.
    pub(super) fn own(error: Error) -> Self {
        Self { error, answered: true, passing: false }
    }

    /// Returns whether the access rules of the server have refused the connection. They may differ with encryption,
    /// unlike all other answers.
    pub(super) fn is_access_rule(&self) -> bool {
        self.error.sqlstate == packed_sqlstate("28000")
    }

    pub(super) fn from_library(error: &tokio_postgres::Error, tap: &Tap, has_password: bool) -> Self {
        if let Some(refusal) = tap.refusal() {
            let passing = matches!(refusal, Refusal::NoProcess(_));
            return Self { error: refusal.into(), answered: true, passing };
        }
        if let Some(code) = error.code() {
            return Self { error: query_error(error), answered: true, passing: PASSING.contains(&code.code()) };
        }
        if !has_password && tap.password_was_asked() {
            return Self::own(
                Error::new(PgSqlErrorCode::ERRCODE_INVALID_PASSWORD, "the source asks for a password")
                    .hint("Give it in the connection string or, better, in the user mapping of a foreign server."),
            );
        }
        let passing = has_broken(error);
        let mut failure = Self::unanswered(with_causes(error), passing);
        if passing && !tap.has_answered() {
            failure.error = failure
                .error
                .detail("The connection was accepted, and ended without an answer.")
                .hint("Is the server ending or starting, or is it another kind of server, or a proxy?");
        }
        failure
    }
}

/// The SQLSTATEs of servers that are starting, ending, or full.
pub(super) const PASSING: [&str; 4] = ["57P01", "57P02", "57P03", "53300"];

/// Returns whether the connection ended, as against an error in what was sent over it.
pub(super) fn has_broken(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || has_network_cause(error)
}

/// Returns whether the network has ended the connection.
fn has_network_cause(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            return is_network_trouble(error);
        }
        cause = inner.source();
    }
    false
}

pub(super) fn is_network_trouble(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionRefused
            | ConnectionReset
            | ConnectionAborted
            | NotConnected
            | BrokenPipe
            | TimedOut
            | UnexpectedEof
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
            // The file of a socket comes and goes with its server.
            | NotFound
    ) || error.to_string().contains("Temporary failure in name resolution")
}

/// Returns the error that the source, or the connection to it, has reported.
pub(super) fn query_error(error: &tokio_postgres::Error) -> Error {
    let Some(answer) = error.as_db_error() else {
        return Error::new(
            PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE,
            format!("lost the connection to the source: {}", with_causes(error)),
        );
    };
    let mut error = Error::internal(format!("the source reports: {}", answer.message()));
    error.sqlstate = packed_sqlstate(answer.code().code());
    if let Some(detail) = answer.detail() {
        error = error.detail(detail);
    }
    if let Some(hint) = answer.hint() {
        error = error.hint(hint);
    }
    error
}

/// Packs five characters as the macro `MAKE_SQLSTATE` does.
fn packed_sqlstate(code: &str) -> i32 {
    code.bytes()
        .take(5)
        .enumerate()
        .fold(0, |packed, (position, byte)| packed | ((i32::from(byte) - i32::from(b'0')) & 0x3f) << (6 * position))
}
