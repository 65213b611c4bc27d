//! Refusals of what a source sends: messages that are too long, requests for authentication that the caller does not
//! allow, and the words of servers of other kinds.

use crate::error::Error;
use conninfo::AllowedAuthentication;
use pgrx::prelude::*;
use std::fmt;

/// The longest message for the library. Long values come by COPY; an error may be long, but not that long.
pub(super) const LONGEST_MESSAGE: usize = 1024 * 1024;
/// The length that a message without content has.
pub(super) const EMPTY_MESSAGE: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum Refusal {
    /// A method of authentication that the connection string does not allow.
    Authentication(&'static str),
    MessageLength(u32),
    /// The first words, in printable form, of a server of another kind.
    OtherServer(String),
    /// The text with which a server reports that it could not even start a process.
    NoProcess(String),
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
            Self::OtherServer(_) => f.write_str("the server there is not a PostgreSQL server"),
            Self::NoProcess(text) => f.write_str(text),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let sqlstate = match refusal {
            Refusal::Authentication(_) | Refusal::OtherServer(_) => {
                PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION
            }
            Refusal::NoProcess(_) => PgSqlErrorCode::ERRCODE_CANNOT_CONNECT_NOW,
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
            Refusal::OtherServer(words) => error.detail(words).hint(
                "Check host and port of the source. A PostgreSQL server listens at port 5432 unless it is told otherwise.",
            ),
            _ => error,
        }
    }
}

/// The most bytes of what a server says first that are kept.
pub(super) const FIRST_BYTES: usize = 80;

/// Returns the refusal of a server that begins with these bytes, which no PostgreSQL server does.
pub(super) fn other_server(first_bytes: &[u8]) -> Refusal {
    // A record of TLS with an alert, of any version.
    if first_bytes.starts_with(&[0x15, 3]) {
        return Refusal::OtherServer("It expects TLS from the first byte on, as servers of HTTPS do.".to_owned());
    }
    Refusal::OtherServer(format!("It answered \"{}\".", printable(first_bytes)))
}

/// Returns the refusal of a first message that cannot be one; its first byte says that it is an error. Such are errors of the
/// oldest protocol, which a server still uses where it could not start a process.
pub(super) fn no_process(first_bytes: &[u8]) -> Refusal {
    let text = first_bytes.get(1..).unwrap_or_default();
    let text = text.split(|&byte| byte == 0 || byte == b'\n').next().unwrap_or_default();
    let is_sentence = text.len() > 4 && (text[0].is_ascii_lowercase() || !text[0].is_ascii());
    if is_sentence {
        Refusal::NoProcess(format!("the server could not begin: {}", printable(text)))
    } else {
        other_server(first_bytes)
    }
}

/// Returns the bytes in ASCII, all others written out, without the end of a line at the end.
fn printable(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    let cut = if bytes.len() < FIRST_BYTES { "" } else { "…" };
    let escape = |&byte: &u8| match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    bytes[..end].iter().map(escape).chain([cut.to_owned()]).collect()
}

/// Whether a PostgreSQL server can begin with such a message: one that asks for authentication, or an error.
pub(super) fn may_begin(message: &[u8; BEGINNING_BYTES]) -> bool {
    let [kind, length @ .., last] = message;
    let length = u32::from_be_bytes(*length) as usize;
    (EMPTY_MESSAGE + 1..=LONGEST_MESSAGE).contains(&length)
        && match kind {
            // The code has four bytes, of which all methods that there are take one.
            b'R' => length >= EMPTY_MESSAGE + 4 && *last == 0,
            // Its first field has a letter for a name.
            b'E' => last.is_ascii_alphabetic(),
            _ => false,
        }
}

/// The size of type, length and first byte of a message.
pub(super) const BEGINNING_BYTES: usize = 6;

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
