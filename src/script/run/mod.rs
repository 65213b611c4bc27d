//! A script, carried out in the caller's transaction: one statement after the other, with the caller's rights.
//!
//! Rows for tables that the script has made are held back as long as no statement could see them, see `held`.

mod copied_rows;
mod encodings;
mod filters;
mod holding;

use super::file::ScriptFile;
use super::held::RowLoader;
use crate::error::{Error, Result, catch, caution, sqlstate_class, warn};
use crate::load::copy_from_script;
use crate::local::script_statement::{self, Encoding};
use crate::local::{empty_indexes, encoding, identity, interrupts, script_objects, settings, transaction};
use crate::order::{HeldTable, Loaded};
use crate::storage::spool::SpoolWriter;
use copied_rows::RowsOfCopy;
use dumpscript::{Commands, Name, Piece, Rules, ScriptError, ScriptErrorKind, Splitter, Transaction};
use pgrx::prelude::*;
use plan::Pattern;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::time::Instant;

/// The terms on which a script is run.
#[derive(Debug, Clone, Default)]
pub struct RunTerms {
    /// Whether statements that fail are passed over.
    pub skips_errors: bool,
    pub owners: bool,
    pub privileges: bool,
    pub include: Option<Vec<Pattern>>,
    pub exclude: Vec<Pattern>,
}

/// The rows that a table has got.
#[derive(Debug, Clone, Default)]
pub struct FilledTable {
    pub rows: u64,
    pub bytes: u64,
    pub seconds: f64,
}

/// A statement that was passed over: because it failed, or because it has no place here.
#[derive(Debug, Clone)]
pub struct SkippedStatement {
    pub line: usize,
    pub statement: String,
    pub reason: String,
}

/// What a script has done.
#[derive(Debug, Default)]
pub struct RunReport {
    /// By schema, where it is known, and name.
    pub tables: BTreeMap<(Option<String>, String), FilledTable>,
    /// Objects by their kinds.
    pub objects: BTreeMap<String, u64>,
    pub skipped: Vec<SkippedStatement>,
}

/// Runs the script. `on_progress` is told of rows, and of bytes of the file. `loader` stores rows that can wait.
///
/// # Errors
/// The first error, with its line, unless the terms pass over it. The transaction must then be given up.
pub fn run_script(
    file: &mut ScriptFile,
    terms: RunTerms,
    loader: &dyn RowLoader,
    on_progress: &dyn Fn(Loaded),
) -> Result<RunReport> {
    let run = || empty_indexes::quickly(|| Run::new(file, terms, loader, on_progress).finish());
    // Who has put rights down does not take them up again in a script.
    if identity::has_put_rights_down() { identity::with_role_kept(run) } else { settings::scoped(run) }
}

struct Run<'a> {
    file: &'a mut ScriptFile,
    terms: RunTerms,
    on_progress: &'a dyn Fn(Loaded),
    splitter: Splitter,
    commands: Commands,
    /// The encoding of what comes next.
    encoding: Encoding,
    encoding_of_client: Encoding,
    has_ended: bool,
    told_position: u64,
    report: RunReport,
    /// Patterns that have matched a table, by their positions.
    matched: HashSet<(bool, usize)>,
    left_out_indexes: HashSet<Name>,
    told_of_transactions: bool,
    told_of_statistics: bool,
    /// Tables whose rows the workers have stored, and whose statistics they have computed.
    analyzed: Vec<u32>,
    /// Functions of the server by their names, and whether they are there.
    functions: HashMap<String, bool>,
    /// The table of the last INSERT, and the text before its values.
    last_insert: Option<(Vec<u8>, Option<Name>)>,
    /// Set where rows may be held back.
    loader: Option<&'a dyn RowLoader>,
    held: Vec<HeldTable>,
    /// The file that they are kept in, where the script cannot be read again.
    spool: Option<SpoolWriter>,
    /// Bytes of the file that were read for rows which are held back.
    held_bytes: u64,
    is_holding: bool,
    /// Statements that wait for those rows.
    waiting: Vec<(CString, usize)>,
    /// Lines and beginnings of the statements that have made indexes and constraints meanwhile, by their names.
    makers: HashMap<String, (usize, String)>,
}

/// A table whose rows can be held back.
struct HoldableTable {
    relation: u32,
    /// Names and numbers, in the order of the rows' values.
    columns: Vec<(String, i16)>,
}

/// A piece of the script that owns its text.
enum Step {
    Statement {
        text: Vec<u8>,
        line: usize,
        copies: bool,
    },
    Command {
        text: Vec<u8>,
        line: usize,
    },
    /// Rows were added to the buffer, which are at this position of the script.
    Rows {
        line: usize,
        at: u64,
    },
    EndOfRows,
    End,
}

impl<'a> Run<'a> {
    fn new(
        file: &'a mut ScriptFile,
        terms: RunTerms,
        loader: &'a dyn RowLoader,
        on_progress: &'a dyn Fn(Loaded),
    ) -> Self {
        let holds_back = !terms.skips_errors && loader.holds_back(file.length_of_text());
        Self {
            loader: holds_back.then_some(loader),
            held: Vec::new(),
            spool: None,
            held_bytes: 0,
            is_holding: false,
            waiting: Vec::new(),
            makers: HashMap::new(),
            file,
            terms,
            on_progress,
            splitter: Splitter::new(),
            commands: Commands::default(),
            encoding: Encoding::of_database(),
            encoding_of_client: Encoding::of_client(),
            has_ended: false,
            told_position: 0,
            report: RunReport::default(),
            matched: HashSet::new(),
            left_out_indexes: HashSet::new(),
            told_of_transactions: false,
            told_of_statistics: false,
            analyzed: Vec::new(),
            functions: HashMap::new(),
            last_insert: None,
        }
    }

    fn finish(mut self) -> Result<RunReport> {
        self.follow_settings();
        loop {
            match self.next_step(&mut Vec::new())? {
                Step::Statement { text, line, copies: true } => self.copy(text, line)?,
                Step::Statement { text, line, copies: false } => self.statement(text, line)?,
                Step::Command { text, line } => self.command(&text, line)?,
                Step::Rows { .. } | Step::EndOfRows => return Err(Error::internal("rows without a COPY")),
                Step::End => break,
            }
        }
        self.store_held_rows()?;
        let (_, line) = self.splitter.place();
        self.commands.end(line).map_err(|error| self.unfit(&error))?;
        self.refuse_unmatched_patterns()?;
        Ok(self.report)
    }

    /// Reads on to the next piece. Rows are added to `rows`.
    fn next_step(&mut self, rows: &mut Vec<u8>) -> Result<Step> {
        const LONG_STATEMENT: usize = 16 << 20;
        loop {
            interrupts::check();
            let step = match self.splitter.next_piece() {
                Ok(Some(Piece::Comment { .. })) => continue,
                Ok(Some(Piece::Statement { text, line, copies })) => {
                    Some(Step::Statement { text: copied(text), line, copies })
                }
                Ok(Some(Piece::Command { text, line })) => Some(Step::Command { text: copied(text), line }),
                Ok(Some(Piece::Rows { bytes, line, at })) => {
                    crate::local::memory::reserve(rows, bytes.len());
                    rows.extend_from_slice(bytes);
                    Some(Step::Rows { line, at })
                }
                Ok(Some(Piece::EndOfRows { .. })) => Some(Step::EndOfRows),
                Ok(None) => None,
                Err(error) => return Err(self.unfit(&error)),
            };
            match step {
                Some(step) => {
                    if matches!(&step, Step::Statement { text, .. } if text.len() > LONG_STATEMENT) {
                        self.splitter.shed();
                    }
                    return Ok(step);
                }
                None if self.has_ended => return Ok(Step::End),
                None => self.read_on()?,
            }
        }
    }

    fn read_on(&mut self) -> Result<()> {
        let chunk = self.file.next_chunk()?;
        if chunk.is_empty() {
            self.has_ended = true;
            self.splitter.end();
            return Ok(());
        }
        let fed = self.splitter.feed(chunk);
        fed.map_err(|error| self.unfit(&error))?;
        let position = self.file.position();
        let bytes = position - self.told_position;
        self.told_position = position;
        if self.is_holding {
            self.held_bytes += bytes;
        } else {
            (self.on_progress)(Loaded { rows: 0, bytes });
        }
        Ok(())
    }

    /// The error of a text that is no script that could be run here.
    fn unfit(&self, error: &ScriptError) -> Error {
        let sqlstate = match error.kind {
            ScriptErrorKind::TooLong => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            ScriptErrorKind::OutOfMemory => PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
            _ => PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
        };
        let told = Error::new(sqlstate, format!("script \"{}\" cannot be run: {}", self.file.name, error.kind))
            .detail(format!("Line {}.", error.line));
        match error.kind {
            ScriptErrorKind::Command => told.hint(
                "Of the commands of psql, those that pg_dump writes are known: \\restrict, \\unrestrict and \\connect.",
            ),
            kind if kind.is_early_end() => told.hint("The file seems to have been cut off."),
            _ => told,
        }
    }

    /// Adds line and beginning of a statement to its error.
    fn at(&self, error: Error, line: usize, outline: &str) -> Error {
        let told = error.detail(format!("Line {line} of \"{}\": {}", self.file.name, first_words(outline)));
        if told.hint.is_none()
            && told.sqlstate == PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT as i32
            && !dumpscript::roles_of(outline).is_empty()
        {
            return told.hint(
                "With owners => false and privileges => false the script gives nothing to other roles, and with on_error => 'skip' \
                 statements that fail are passed over.",
            );
        }
        told
    }

    fn command(&mut self, text: &[u8], line: usize) -> Result<()> {
        let database = self.commands.take(text, line).map_err(|error| self.unfit(&error))?;
        let Some(database) = database else { return Ok(()) };
        if database == current_database()? {
            caution("\\connect of the script is ignored: it connects to this database");
            return Ok(());
        }
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("the script connects to database \"{database}\", which is not this one"),
        )
        .detail(format!("Line {line} of \"{}\".", self.file.name))
        .hint("Call load_sql in that database, or dump without --create."))
    }

    fn statement(&mut self, text: Vec<u8>, line: usize) -> Result<()> {
        let text = self.in_database_encoding(text, line)?;
        if is_insert(&text) {
            return self.insert(&text, line);
        }
        let mut outline = script_statement::outline(&text);
        let mut text = text;
        if let Some(left) = script_objects::without_unknown_stamp(&outline)? {
            if left.is_empty() {
                return Ok(());
            }
            text = encoding::to_database(&left)?;
            outline = left;
        }
        if self.is_left_out(&outline, line)? {
            return Ok(());
        }
        if !self.held.is_empty() && self.waits_for_rows(&text, line, &outline)? {
            self.waiting.push((text, line));
            return Ok(());
        }
        if self.execute_following_encoding(&text, line, &outline)?.is_some()
            && let Some(kind) = dumpscript::made_kind(&outline)
        {
            *self.report.objects.entry(kind).or_default() += 1;
        }
        self.follow_settings();
        Ok(())
    }

    fn insert(&mut self, text: &CStr, line: usize) -> Result<()> {
        let bytes = text.to_bytes();
        let head = dumpscript::before_values(bytes);
        let name = match &self.last_insert {
            Some((last, name)) if head == Some(last.as_slice()) => name.clone(),
            _ => {
                let outline = script_statement::outline(text);
                let name = dumpscript::subject_of(&outline).tables.into_iter().next();
                self.last_insert = head.map(|head| (head.to_vec(), name.clone()));
                name
            }
        };
        if let Some(name) = &name
            && !self.is_chosen(name)
        {
            return Ok(());
        }
        self.store_held_rows()?;
        // The text is looked at only when something is wrong with it.
        let rows = if self.terms.skips_errors {
            let outline = script_statement::outline(text);
            self.execute(text, line, &outline)?
        } else {
            let executed = catch(|| script_statement::execute(text));
            Some(executed.map_err(|error| self.at(error, line, &script_statement::outline(text)))?)
        };
        if let (Some(name), Some(rows)) = (name, rows) {
            let table = self.report.tables.entry((name.schema, name.name)).or_default();
            table.rows += rows;
            table.bytes += bytes.len() as u64;
            (self.on_progress)(Loaded { rows, bytes: 0 });
        }
        Ok(())
    }

    /// Executes a statement. Returns its rows, or nothing for one that has failed and is passed over.
    fn execute(&mut self, text: &CStr, line: usize, outline: &str) -> Result<Option<u64>> {
        if !self.terms.skips_errors {
            let executed = catch(|| script_statement::execute(text));
            return executed.map(Some).map_err(|error| self.at(error, line, outline));
        }
        match transaction::attempt(|| script_statement::execute(text)) {
            Ok(rows) => Ok(Some(rows)),
            Err(error) if !may_be_skipped(&error) => Err(self.at(error, line, outline)),
            Err(error) if is_insert(text) && is_about_data(&error) => {
                Err(self.at(error, line, outline).hint("Rows of INSERT statements are not passed over one by one."))
            }
            Err(error) => {
                self.skip(&error, line, outline);
                Ok(None)
            }
        }
    }

    fn skip(&mut self, error: &Error, line: usize, outline: &str) {
        const MOST_TOLD: usize = 20;
        let statement = first_words(outline);
        if self.report.skipped.len() < MOST_TOLD {
            warn(&format!("line {line} is passed over: {}: {statement}", error.message));
        } else if self.report.skipped.len() == MOST_TOLD {
            warn("more statements are passed over");
        }
        self.report.skipped.push(SkippedStatement { line, statement, reason: error.message.clone() });
    }

    /// Tells of a statement that is passed over although it would not fail.
    fn leave_out(&mut self, line: usize, outline: &str, reason: &str) {
        let statement = first_words(outline);
        caution(&format!("line {line} is passed over: {reason}: {statement}"));
        self.report.skipped.push(SkippedStatement { line, statement, reason: reason.to_owned() });
    }

    fn has_function(&mut self, name: &str) -> Result<bool> {
        if let Some(&known) = self.functions.get(name) {
            return Ok(known);
        }
        let is_there = settings::with_catalog_settings(|| script_objects::function_of_server_exists(name))?;
        self.functions.insert(name.to_owned(), is_there);
        Ok(is_there)
    }

    /// Takes over what decides about the meaning of the bytes that come next.
    fn follow_settings(&mut self) {
        let escapes = settings::value(c"standard_conforming_strings").as_deref() == Some("off");
        self.splitter.set_rules(Rules { escapes, encoding: dumpscript::Encoding::named(&self.encoding.name()) });
    }

    /// Whether a statement is not to be executed, by the terms or because it is about the session or the database alone.
    fn is_left_out(&mut self, outline: &str, line: usize) -> Result<bool> {
        match dumpscript::transaction_of(outline) {
            Some(Transaction::Begin | Transaction::Commit) => {
                if !self.told_of_transactions {
                    self.told_of_transactions = true;
                    caution("transactions of the script are ignored: all of it is part of the caller's transaction");
                }
                return Ok(true);
            }
            Some(Transaction::Rollback | Transaction::Other) => {
                let error = Error::new(
                    PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "the script takes back a part of its work, or divides it",
                );
                return Err(self.at(error, line, outline));
            }
            None => {}
        }
        if let Some(database) = dumpscript::database_of(outline) {
            if database == current_database()? {
                caution("the script's statement to create or drop this database is ignored");
                return Ok(true);
            }
            let error = Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("the script creates or drops database \"{database}\", which is not this one"),
            )
            .hint("Create the database and call load_sql in it, or dump without --create.");
            return Err(self.at(error, line, outline));
        }
        if dumpscript::drops_extension(outline, "pgcopy") {
            self.leave_out(line, outline, "extension pgcopy, which carries the script out, is not dropped");
            return Ok(true);
        }
        if let Some(function) = dumpscript::restores_statistics(outline) {
            if self.has_function(&function)? {
                self.clear_computed_statistics()?;
            } else {
                // There is one statement for each column.
                if !std::mem::replace(&mut self.told_of_statistics, true) {
                    let reason = format!("statistics are left out: this server has no function {function}");
                    self.leave_out(line, outline, &reason);
                }
                return Ok(true);
            }
        }
        if let Some((name, _)) = dumpscript::setting_of(outline)
            && dumpscript::is_setting_of_dumps(&name)
            && CString::new(name.as_str()).is_ok_and(|setting| settings::value(&setting).is_none())
        {
            caution(&format!("setting \"{name}\" of the script is ignored: this server does not have it"));
            return Ok(true);
        }
        if !self.terms.owners && (dumpscript::changes_owner(outline) || dumpscript::is_change_of_session_role(outline))
        {
            return Ok(true);
        }
        if !self.terms.privileges && dumpscript::is_about_privileges(outline) {
            return Ok(true);
        }
        self.is_filtered_out(outline)
    }

    /// Executes a COPY whose rows follow.
    fn copy(&mut self, text: Vec<u8>, line: usize) -> Result<()> {
        let statement = self.in_database_encoding(text, line)?;
        let outline = script_statement::outline(&statement);
        let subject = dumpscript::subject_of(&outline).tables.into_iter().next();
        if let Some(table) = &subject
            && !self.is_chosen(table)
        {
            return self.pass_rows().map(drop);
        }
        let mut rows = RowsOfCopy::default();
        if self.hold_rows(&statement, line, &outline, &mut rows)? {
            return Ok(());
        }
        if !self.held.is_empty() {
            // Without rows there is nothing that could look at others.
            if rows.left() == 0 && !rows.ended {
                rows.read_on(self)?;
            }
            if rows.left() > 0 {
                self.store_held_rows()?;
            }
        }
        let started = Instant::now();
        let copied = if self.terms.skips_errors {
            let mut place = None;
            let copied = transaction::attempt(|| {
                self.copy_rows(&statement, &mut rows).map_err(|(error, row)| {
                    place = row;
                    error
                })
            });
            copied.map_err(|error| (error, place))
        } else {
            self.copy_rows(&statement, &mut rows)
        };
        let left = if rows.ended { 0 } else { rows.left() + self.pass_rows_after(&copied)? };
        match copied {
            Ok(_) if left > 0 => {
                let error =
                    Error::new(PgSqlErrorCode::ERRCODE_BAD_COPY_FILE_FORMAT, "COPY has not read all of its rows");
                Err(self.at(error, line, &outline))
            }
            Ok(copied) => {
                transaction::make_changes_visible();
                let table = self.report.tables.entry((Some(copied.schema), copied.table)).or_default();
                table.rows += copied.rows;
                table.bytes += rows.bytes;
                table.seconds += started.elapsed().as_secs_f64();
                (self.on_progress)(Loaded { rows: copied.rows, bytes: 0 });
                Ok(())
            }
            Err((error, row)) => {
                let failed_in_reading = rows.failed;
                if self.terms.skips_errors && !failed_in_reading && may_be_skipped(&error) {
                    let line = row.map_or(line, |row| rows.line_of(row));
                    self.skip(&error, line, &outline);
                    return Ok(());
                }
                if failed_in_reading {
                    return Err(error);
                }
                match row {
                    Some(row) => {
                        let column = error.objects.as_ref().and_then(|objects| objects.column.as_deref());
                        let column = column.map(|column| format!(", column {}", plan::quote_identifier(column)));
                        let words = format!("row {row}{} of {}", column.unwrap_or_default(), first_words(&outline));
                        Err(self.at(error, rows.line_of(row), &words))
                    }
                    None => Err(self.at(error, line, &outline)),
                }
            }
        }
    }

    fn copy_rows(
        &mut self,
        statement: &CStr,
        rows: &mut RowsOfCopy,
    ) -> std::result::Result<crate::load::CopiedRows, (Error, Option<u64>)> {
        let encoding = self.encoding.name();
        copy_from_script(statement, &encoding, &mut |buffer, least| rows.read(self, buffer, least))
    }

    /// Reads on to the end of the rows of a COPY; returns how many bytes were left.
    fn pass_rows(&mut self) -> Result<u64> {
        let mut bytes = 0;
        let mut rows = Vec::new();
        loop {
            rows.clear();
            match self.next_step(&mut rows)? {
                Step::Rows { .. } => bytes += rows.len() as u64,
                Step::EndOfRows => return Ok(bytes),
                _ => return Err(Error::internal("a statement within rows")),
            }
        }
    }

    /// The same after a COPY, unless its error is the end of all.
    fn pass_rows_after<T>(&mut self, copied: &std::result::Result<T, (Error, Option<u64>)>) -> Result<u64> {
        if copied.is_err() && !self.terms.skips_errors { Ok(0) } else { self.pass_rows() }
    }
}

fn copied(text: &[u8]) -> Vec<u8> {
    let mut copy = Vec::new();
    // With the NUL of a statement.
    crate::local::memory::reserve(&mut copy, text.len() + 1);
    copy.extend_from_slice(text);
    copy
}

fn is_insert(statement: &CStr) -> bool {
    let begins = |word: &[u8]| statement.to_bytes().get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    begins(b"insert") || begins(b"with") && dumpscript::is_insert(&script_statement::outline(statement))
}

fn first_words(outline: &str) -> String {
    const MOST_CHARACTERS: usize = 80;
    dumpscript::first_words(outline, MOST_CHARACTERS)
}

fn current_database() -> Result<String> {
    script_objects::current_database()
}

/// Whether an error is about a statement, and not about the session, the machine or a bug.
fn may_be_skipped(error: &Error) -> bool {
    !matches!(&sqlstate_class(error.sqlstate), b"08" | b"53" | b"57" | b"58" | b"XX")
}

/// Whether an error is about values.
fn is_about_data(error: &Error) -> bool {
    matches!(&sqlstate_class(error.sqlstate), b"22" | b"23")
}
