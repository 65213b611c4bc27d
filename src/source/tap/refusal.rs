//! Refusals of what a source sends: messages that are too long, and requests for authentication that the caller does
//! not allow.

use crate::error::Error;
use conninfo::AllowedAuthentication;
use pgrx::prelude::*;
use std::fmt;

/// The longest message for the library. Long values come by COPY; an error may be long, but not that long.
pub(super) const LONGEST_MESSAGE: usize = 1024 * 1024;
/// The length that a message without content has.
pub(super) const EMPTY_MESSAGE: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Refusal {
    /// A method of authentication that the connection string does not allow.
    Authentication(&'static str),
    MessageLength(u32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authentication("none") => {
                f.write_str("the server asks for no authentication, which require_auth forbids")
            }
            Self::Authentication(method) => {
                write!(f, "the server asks for authentication by {method}, which require_auth forbids")
            }
            Self::MessageLength(length) => write!(f, "the source sent a message of {length} bytes"),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let sqlstate = match refusal {
            Refusal::Authentication(_) => PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
            Refusal::MessageLength(length) if (length as usize) < EMPTY_MESSAGE => {
                PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION
            }
            Refusal::MessageLength(_) => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        };
        let error = Self::new(sqlstate, refusal.to_string());
        match refusal {
            Refusal::MessageLength(_) => error.detail(format!(
                "Messages of {EMPTY_MESSAGE} to {LONGEST_MESSAGE} bytes are taken; only rows may be longer."
            )),
            _ => error,
        }
    }
}

/// The authentication that the server has asked for.
#[derive(Default)]
pub(super) struct Authentication {
    allowed: Option<AllowedAuthentication>,
    pub(super) password_asked: bool,
    /// Whether any method was asked for.
    anything_asked: bool,
    done: bool,
}

impl Authentication {
    /// Expects the methods that the connection string allows; `None` allows all.
    pub(super) fn expecting(allowed: Option<AllowedAuthentication>) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Takes note of an authentication message's code.
    ///
    /// # Errors
    /// The method is not allowed.
    pub(super) fn note(&mut self, code: u32) -> std::result::Result<(), Refusal> {
        let method = match code {
            0 if self.done || self.anything_asked => None,
            0 => Some("none"),
            3 => Some("password"),
            5 => Some("md5"),
            7 | 8 => Some("gss"),
            9 => Some("sspi"),
            10 => Some("scram-sha-256"),
            _ => None,
        };
        self.done |= code == 0;
        self.anything_asked |= code != 0;
        self.password_asked |= matches!(code, 3 | 5 | 10);
        if let (Some(method), Some(allowed)) = (method, self.allowed)
            && !allowed.allows(method)
        {
            return Err(Refusal::Authentication(method));
        }
        Ok(())
    }
}
