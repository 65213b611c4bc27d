#![forbid(unsafe_code)]
//! SQL scripts as `pg_dump` writes them in plain format, taken apart into statements, rows and the objects that these are for.
//!
//! The rules of where a statement ends are those of `psql`. Nothing here depends on what a statement means, and no bytes are an
//! input that could not be taken: a script is a list of pieces, or an error that names the line.

mod commands;
mod effect;
mod encoding;
mod entries;
mod format;
mod lexer;
mod marks;
mod splitter;
mod statement;
mod unicode;

pub use commands::Commands;
pub use effect::{
    Effect, computes_from_rows, effect_on_rows, is_plain_copy, is_setting_of_dumps, restores_statistics,
    without_column_stamp,
};
pub use encoding::Encoding;
pub use entries::{Entry, Head, Statement, entries};
pub use format::{Compression, FIRST_BYTES, Format};
pub use lexer::Rules;
pub use marks::EndMarks;
pub use splitter::{Piece, Splitter};
pub use statement::{
    Name, Subject, Transaction, before_values, changes_owner, database_of, drops_extension, first_words,
    is_about_privileges, is_change_of_session_role, is_insert, made_kind, may_set_encoding, resets_encoding, roles_of,
    sequence_of, setting_of, subject_of, transaction_of,
};

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
    /// `\restrict` and `\unrestrict` do not belong together.
    Key,
    /// Rows do not begin on a line of their own.
    TextBehindCopy,
    /// The script ends before the end of its rows.
    UnfinishedRows,
    /// The script begins as a dump does, and does not end like one.
    UnfinishedDump,
    NoStatement,
    Utf16,
    /// A statement is longer than a server takes.
    TooLong,
    OutOfMemory,
    /// Rows where there should be definitions alone.
    Rows,
    /// A text that should be UTF-8 is not.
    Encoding,
}

impl ScriptErrorKind {
    /// Whether the end of the script is missing.
    pub fn is_early_end(self) -> bool {
        matches!(
            self,
            Self::Unterminated(_)
                | Self::UnfinishedStatement
                | Self::UnfinishedRows
                | Self::UnfinishedDump
                | Self::NoStatement
        )
    }
}

impl fmt::Display for ScriptErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unterminated(what) => return write!(f, "unterminated {what}"),
            Self::UnfinishedStatement => "unfinished statement",
            Self::Command => "a command of psql is not run",
            Self::Key => "\\restrict and \\unrestrict do not belong together",
            Self::TextBehindCopy => "rows do not begin on a line of their own",
            Self::UnfinishedRows => "the script ends within the rows of COPY",
            Self::UnfinishedDump => "the script ends before the dump is complete",
            Self::NoStatement => "the script holds no statement",
            Self::Utf16 => "the script is in UTF-16",
            Self::TooLong => "the statement is too long",
            Self::OutOfMemory => "out of memory",
            Self::Rows => "rows among definitions",
            Self::Encoding => "the statement is not in UTF-8",
        })
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.kind)
    }
}

impl std::error::Error for ScriptError {}
