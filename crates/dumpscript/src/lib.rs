#![forbid(unsafe_code)]
//! SQL scripts as `pg_dump` writes them in plain format, taken apart into statements and the objects that these are for.
//!
//! The rules of where a statement ends are those of `psql` with `standard_conforming_strings = on`, which every dump sets.
//! Nothing here depends on what a statement means, and no text is an input that could not be taken: a script is a list of
//! statements, or an error that names the line.

mod entries;
mod lexer;
mod statement;

pub use entries::{Entry, Head, Statement, entries};
pub use lexer::{Piece, Scanner};
pub use statement::{roles_of, setting_of};

use std::fmt;

/// The reason why a script cannot be taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// Counted from 1.
    pub line: usize,
    pub kind: ScriptErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptErrorKind {
    /// A string, a quoted identifier or a comment has no end.
    Unterminated(&'static str),
    /// The script ends before the end of a statement.
    UnfinishedStatement,
    /// A command of psql that `pg_dump` does not write, or not there.
    Command,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ScriptErrorKind::Unterminated(what) => write!(f, "line {}: unterminated {what}", self.line),
            ScriptErrorKind::UnfinishedStatement => write!(f, "line {}: unfinished statement", self.line),
            ScriptErrorKind::Command => write!(f, "line {}: a command of psql is not run", self.line),
        }
    }
}

impl std::error::Error for ScriptError {}
