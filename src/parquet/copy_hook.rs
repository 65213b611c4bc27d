//! `COPY … FROM | TO … (FORMAT parquet)`: rights, options, and the way to the code that does the work.

use super::write::{self, WriteOptions};
use crate::error::{Error, Result};
use crate::local::copy_statement::{CopyOption, CopyStatement, Endpoint, WhereClause, utf8_name};
use crate::local::{rights, utility_hook};
use pgrx::prelude::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

/// A COPY FROM whose table is locked and whose rights were checked.
pub struct CopyFrom {
    pub relation: u32,
    /// The columns in the order of the statement; `None` for all but generated ones.
    pub columns: Option<Vec<String>>,
    pub paths: Vec<String>,
    pub match_by_position: bool,
    pub where_clause: Option<WhereClause>,
    /// A foreign server whose user mapping has the credentials.
    pub server: Option<String>,
    /// `error` or `truncate`.
    pub on_lossy: Option<String>,
    /// `error` or `replace`.
    pub on_invalid_text: Option<String>,
}

/// Carries out a COPY FROM and returns the number of its rows.
pub type FromHandler = fn(CopyFrom) -> Result<u64>;

static FROM_HANDLER: OnceLock<FromHandler> = OnceLock::new();

/// Makes `COPY … (FORMAT parquet)` work in this session; `from` carries out COPY FROM.
pub fn register(from: FromHandler) {
    if FROM_HANDLER.set(from).is_ok() {
        utility_hook::register(run);
    }
}

/// The options of the server's own formats.
const FOREIGN_OPTIONS: [&str; 14] = [
    "freeze",
    "delimiter",
    "null",
    "header",
    "quote",
    "escape",
    "force_quote",
    "force_not_null",
    "force_null",
    "encoding",
    "default",
    "on_error",
    "log_verbosity",
    "reject_limit",
];
const FROM_OPTIONS: [&str; 4] = ["match_by", "server", "on_lossy", "on_invalid_text"];

/// Carries out a statement and returns the number of its rows.
fn run(statement: &CopyStatement) -> Result<u64> {
    let direction = if statement.is_from() { Direction::From } else { Direction::To };
    let file = match statement.endpoint() {
        Endpoint::File(name) => name,
        Endpoint::Client => return Err(not_a_file(direction, direction.stream())),
        Endpoint::Program => return Err(not_a_file(direction, "a program")),
    };
    let given = statement.options();
    let options = options(&given, direction)?;
    // The right to read through a server is checked where the file is looked for.
    if !options.iter().any(|(name, _)| *name == "server") {
        check_rights(direction)?;
    }
    match direction {
        Direction::From => from_file(statement, &file, &options),
        Direction::To => to_file(statement, &file, &options),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    From,
    To,
}

impl Direction {
    fn words(self) -> &'static str {
        match self {
            Self::From => "COPY FROM",
            Self::To => "COPY TO",
        }
    }

    fn stream(self) -> &'static str {
        match self {
            Self::From => "standard input",
            Self::To => "standard output",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::From => &FROM_OPTIONS,
            Self::To => &WriteOptions::NAMES,
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::From => Self::To,
            Self::To => Self::From,
        }
    }
}

fn not_a_file(direction: Direction, what: &str) -> Error {
    let preposition = if direction == Direction::From { "from" } else { "to" };
    Error::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        format!("cannot copy {preposition} {what} in format \"parquet\""),
    )
    .hint("Name a file on the database server.")
}

fn check_rights(direction: Direction) -> Result<()> {
    let (permitted, role, what) = match direction {
        Direction::From => (rights::may_read_server_files(), "pg_read_server_files", "COPY from a file"),
        Direction::To => (rights::may_write_server_files(), "pg_write_server_files", "COPY to a file"),
    };
    if permitted {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, format!("permission denied to {what}"))
        .detail(format!("Only roles with privileges of the \"{role}\" role may {what}.")))
}

/// Returns the options without the format. Each of them is known and given once.
fn options(given: &[CopyOption], direction: Direction) -> Result<Vec<(&str, &str)>> {
    let mut options: Vec<(&str, &str)> = Vec::with_capacity(given.len());
    let syntax_error = |message: String| Err(Error::new(PgSqlErrorCode::ERRCODE_SYNTAX_ERROR, message));
    for (position, option) in given.iter().enumerate() {
        let name = option.name.as_str();
        if given[..position].iter().any(|earlier| earlier.name == name) {
            return syntax_error("conflicting or redundant options".into());
        }
        if name == "format" {
            continue;
        }
        if FOREIGN_OPTIONS.contains(&name) {
            return syntax_error(format!("cannot specify {} in PARQUET mode", name.to_uppercase()));
        }
        if direction.opposite().options().contains(&name) {
            let (option, direction) = (name.to_uppercase(), direction.words());
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("COPY {option} cannot be used with {direction}"),
            ));
        }
        if !direction.options().contains(&name) {
            return syntax_error(format!("option \"{name}\" not recognized"));
        }
        let Some(value) = &option.value else {
            return syntax_error(format!("{name} requires a parameter"));
        };
        options.push((name, value));
    }
    Ok(options)
}

fn from_file(statement: &CopyStatement, file: &[u8], options: &[(&str, &str)]) -> Result<u64> {
    let option = |name: &str| options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value);
    let one_of = |name: &str, values: [&str; 2]| match option(name) {
        Some(value) if !values.contains(&value) => {
            Err(not_recognized(name, value).hint(format!("It is \"{}\" or \"{}\".", values[0], values[1])))
        }
        value => Ok(value),
    };
    let match_by = one_of("match_by", ["name", "position"])?;
    let on_lossy = one_of("on_lossy", ["error", "truncate"])?;
    let on_invalid_text = one_of("on_invalid_text", ["error", "replace"])?;
    let table = statement.open_table()?;
    let from = FROM_HANDLER.get().ok_or_else(|| Error::internal("nobody carries out COPY FROM"))?;
    from(CopyFrom {
        relation: table.relation,
        columns: table.lists_columns.then_some(table.filled),
        paths: vec![utf8_name(file)],
        match_by_position: match_by == Some("position"),
        where_clause: table.where_clause,
        server: option("server").map(str::to_owned),
        on_lossy: on_lossy.map(str::to_owned),
        on_invalid_text: on_invalid_text.map(str::to_owned),
    })
}

fn to_file(statement: &CopyStatement, file: &[u8], options: &[(&str, &str)]) -> Result<u64> {
    let options = WriteOptions::parse(options)?;
    let path = Path::new(OsStr::from_bytes(file));
    if !path.is_absolute() {
        return Err(if file.windows(3).any(|bytes| bytes == b"://") {
            Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, "cannot copy to a URL in format \"parquet\"")
                .hint("Name a file on the database server.")
        } else {
            Error::new(PgSqlErrorCode::ERRCODE_INVALID_NAME, "relative path not allowed for COPY to file")
        });
    }
    write::copy_to(statement, path, &options)
}

/// Returns the error of a value that an option does not take.
pub(super) fn not_recognized(option: &str, value: &str) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, format!("COPY {option} \"{value}\" not recognized"))
}
