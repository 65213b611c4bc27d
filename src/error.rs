//! The error that every room returns, and its way to the user as a PostgreSQL ERROR.

use pgrx::pg_sys::panic::{CaughtError, ErrorReport, ErrorReportWithLevel};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::OnceLock;

/// The names of the database objects that an error is about, which clients find in fields of their own, in this order:
/// schema, table, column, data type, constraint.
pub type ObjectNames = [Option<String>; 5];

/// The functions that carry messages between here and the server: the framework keeps only their texts, and takes all
/// for UTF-8.
pub struct MessageRoute {
    /// Begins to note the fields that the framework leaves out of the server's errors.
    pub watch: fn(),
    /// Prepares the report of a text.
    pub announce_text: fn(&str),
    /// Prepares the report of an error with this SQLSTATE and message.
    pub announce_error: fn(i32, &str, &ObjectNames),
    /// Returns SQLSTATE and names of objects of an error that was just caught, as far as the framework lacks them.
    pub noted: fn(i32, &str) -> Option<(i32, ObjectNames)>,
    /// Returns a message of the server in UTF-8.
    pub text_of_server: fn(&str) -> String,
    /// Keeps a text for those who look at the job later.
    pub keep: fn(&str),
}

static MESSAGE_ROUTE: OnceLock<MessageRoute> = OnceLock::new();

/// Sets the way that messages take from now on.
pub fn register_message_route(route: MessageRoute) {
    // The library is loaded once, and a second registration would be the same.
    let _ = MESSAGE_ROUTE.set(route);
}

fn route() -> &'static MessageRoute {
    MESSAGE_ROUTE.get_or_init(|| MessageRoute {
        watch: || {},
        announce_text: |_| {},
        announce_error: |_, _, _| {},
        noted: |_, _| None,
        text_of_server: str::to_owned,
        keep: |_| {},
    })
}

pub type Result<T> = std::result::Result<T, Error>;

/// An error with the parts that PostgreSQL's message style knows.
///
/// Names, values and messages in it come from anywhere. The constructors write out their control characters, so that
/// all text for people consists of lines that were made here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// The SQLSTATE in the packed form of `PgSqlErrorCode`.
    pub sqlstate: i32,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// The objects that the error is about.
    #[serde(default)]
    pub objects: Option<Box<Objects>>,
}

/// The database objects that an error is about, as clients find them in its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objects {
    /// The schema of the table, or of the data type.
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub data_type: Option<String>,
    pub constraint: Option<String>,
}

impl From<ObjectNames> for Objects {
    fn from([schema, table, column, data_type, constraint]: ObjectNames) -> Self {
        Self { schema, table, column, data_type, constraint }
    }
}

impl From<Objects> for ObjectNames {
    fn from(objects: Objects) -> Self {
        [objects.schema, objects.table, objects.column, objects.data_type, objects.constraint]
    }
}

impl Error {
    pub fn new(sqlstate: PgSqlErrorCode, message: impl Into<String>) -> Self {
        let message = plan::one_line(&message.into());
        Self { sqlstate: sqlstate as i32, message, detail: None, hint: None, objects: None }
    }

    /// Makes an error that cannot happen unless there is a bug here.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message)
    }

    /// Adds a line to the detail.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        self.details([detail.into()])
    }

    /// Adds several lines.
    pub fn details(mut self, lines: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let detail = plan::lines(lines);
        if detail.is_empty() {
            return self;
        }
        self.detail = Some(match self.detail {
            Some(first) => format!("{first}\n{detail}"),
            None => detail,
        });
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(plan::one_line(&hint.into()));
        self
    }

    /// Names the table that the error is about.
    pub fn of_table(mut self, schema: &str, table: &str) -> Self {
        let objects = self.objects.get_or_insert_default();
        (objects.schema, objects.table) = (Some(schema.to_owned()), Some(table.to_owned()));
        self
    }

    /// Names the table's column that the error is about.
    pub fn of_column(mut self, column: &str) -> Self {
        self.objects.get_or_insert_default().column = Some(column.to_owned());
        self
    }

    /// Names the table's constraint that the error is about.
    pub fn of_constraint(mut self, constraint: &str) -> Self {
        self.objects.get_or_insert_default().constraint = Some(constraint.to_owned());
        self
    }

    /// Replaces transient names by those that the user knows.
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        self.message = self.message.replace(from, to);
        self.detail = self.detail.map(|text| text.replace(from, to));
        self.hint = self.hint.map(|text| text.replace(from, to));
        if let Some(objects) = &mut self.objects {
            for name in [&mut objects.table, &mut objects.constraint].into_iter().flatten() {
                if name == from {
                    to.clone_into(name);
                }
            }
        }
        self
    }

    /// Names the table where the error names a constraint alone, or a table of the schema for transient ones.
    pub fn of_table_instead_of(mut self, transient_schema: &str, schema: &str, table: &str) -> Self {
        if let Some(objects) = &mut self.objects
            && objects.data_type.is_none()
            && objects.schema.as_ref().is_none_or(|named| named == transient_schema)
        {
            (objects.schema, objects.table) = (Some(schema.to_owned()), Some(table.to_owned()));
        }
        self
    }

    /// Returns the error with each of its texts cut off after that many bytes.
    pub fn capped(&self, most: usize) -> Self {
        let text = |text: &String| capped(text, most).into_owned();
        Self {
            message: text(&self.message),
            detail: self.detail.as_ref().map(text),
            hint: self.hint.as_ref().map(text),
            ..self.clone()
        }
    }

    /// Packs a SQLSTATE's five characters; `None` for a text that is no SQLSTATE.
    pub fn packed_sqlstate(text: &str) -> Option<i32> {
        let is_sqlstate =
            text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        let pack =
            |packed: i32, (position, byte): (i32, u8)| packed | (i32::from(byte - b'0') & 0x3f) << (6 * position);
        is_sqlstate.then(|| (0..).zip(text.bytes()).fold(0, pack))
    }

    /// Returns the SQLSTATE in its five characters, as the macro `PGUNSIXBIT` unpacks them.
    pub fn sqlstate_text(&self) -> String {
        (0..5).map(|position| char::from(((self.sqlstate >> (6 * position)) & 0x3f) as u8 + b'0')).collect()
    }

    /// Raises the error. Everything on the stack is dropped on the way.
    pub fn raise(self) -> ! {
        self.report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }

    /// Reports the error as a WARNING: nothing ends by it.
    pub fn warn(self) {
        self.report(PgLogLevel::WARNING);
    }

    fn report(self, level: PgLogLevel) {
        [Some(&self.message), self.detail.as_ref(), self.hint.as_ref()]
            .into_iter()
            .flatten()
            .for_each(|text| (route().announce_text)(text));
        let names = self.objects.map_or_else(ObjectNames::default, |objects| (*objects).into());
        (route().announce_error)(self.sqlstate, &self.message, &names);
        let mut report = ErrorReport::new(PgSqlErrorCode::from(self.sqlstate), self.message, "pgcopy");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(level);
    }

    fn from_report(report: &ErrorReportWithLevel) -> Self {
        let sqlstate = report.sql_error_code() as i32;
        let (sqlstate, names) = (route().noted)(sqlstate, report.message()).unwrap_or((sqlstate, Default::default()));
        Self {
            sqlstate,
            message: plan::one_line(&(route().text_of_server)(report.message())),
            detail: report.detail().map(|text| plan::as_lines(&(route().text_of_server)(text))),
            hint: report.hint().map(|text| plan::as_lines(&(route().text_of_server)(text))),
            objects: names.iter().any(Option::is_some).then(|| Box::new(names.into())),
        }
    }
}

impl From<&CaughtError> for Error {
    fn from(caught: &CaughtError) -> Self {
        match caught {
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => Self::from_report(report),
            CaughtError::RustPanic { ereport, .. } => Self::from_report(ereport),
        }
    }
}

impl From<CaughtError> for Error {
    fn from(caught: CaughtError) -> Self {
        Self::from(&caught)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

// With this, an error of input and output can carry it.
impl std::error::Error for Error {}

impl From<copystream::StreamError> for Error {
    fn from(error: copystream::StreamError) -> Self {
        use copystream::StreamError::*;
        let sqlstate = match error {
            BadSignature | UnknownHeaderFlags(_) | HeaderLength(_) | DataAfterEnd | Truncated => {
                PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION
            }
            FieldCount { .. } | FieldLength { .. } | DanglingEscape | CarriageReturn | EndMarker => {
                PgSqlErrorCode::ERRCODE_BAD_COPY_FILE_FORMAT
            }
            FieldTooLong { .. } | RowTooLong { .. } => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            OutOfMemory { .. } => PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
        };
        Self::new(sqlstate, error.to_string())
    }
}

/// Turns a raised ERROR, or a panic, of `work` into a value. The caller must end the (sub)transaction, or raise again:
/// locks, memory and buffers of the failed work are released only by that.
pub fn catch<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    (route().watch)();
    PgTryBuilder::new(std::panic::AssertUnwindSafe(work)).catch_others(|caught| Err(caught.into())).execute()
}

/// Tells `listener` of an ERROR, a panic or an error value of `work`, which then goes on its way unchanged.
pub fn telling<T>(listener: impl Fn(&Error), work: impl FnOnce() -> Result<T>) -> Result<T> {
    (route().watch)();
    let heard = std::panic::AssertUnwindSafe(&listener);
    let result = PgTryBuilder::new(std::panic::AssertUnwindSafe(work))
        .catch_others(move |caught| {
            // The whole wrapper is raised again, not only its content.
            let heard = &heard;
            heard(&Error::from(&caught));
            caught.rethrow()
        })
        .execute();
    result.inspect_err(listener)
}

/// Sends the caller a NOTICE of one line.
pub fn tell(text: &str) {
    let text = plan::one_line(text);
    (route().announce_text)(&text);
    pgrx::notice!("{text}");
}

/// Tells the caller in a NOTICE what is worth to be known later, too: it is kept with the job.
pub fn caution(text: &str) {
    (route().keep)(&plan::one_line(text));
    tell(text);
}

/// Tells the caller something with a WARNING, in one line.
pub fn warn(text: &str) {
    let text = plan::one_line(text);
    (route().announce_text)(&text);
    pgrx::warning!("{text}");
}

/// Returns the value, or raises the error.
pub fn or_raise<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => error.raise(),
    }
}

/// Returns the text, cut off after that many bytes.
pub fn capped(text: &str, most: usize) -> Cow<'_, str> {
    const ELLIPSIS: &str = "…";
    if text.len() <= most {
        return text.into();
    }
    let end = text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", &text[..end]).into()
}

/// Describes an error of a library with its causes, without repeating one inside the other.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Returns the first two characters of a packed SQLSTATE.
pub fn sqlstate_class(sqlstate: i32) -> [u8; 2] {
    let character = |position: u32| ((sqlstate >> (6 * position)) & 0x3f) as u8 + b'0';
    [character(0), character(1)]
}
