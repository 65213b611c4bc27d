//! A script, carried out in the caller's transaction: one statement after the other, with the caller's rights.
//!
//! Rows for tables that the script has made are held back as long as no statement could see them, see `held`.

use super::file::ScriptFile;
use super::held::{HeldRows, RowLoader, StoredTable};
use crate::error::{Error, Result, catch, caution, sqlstate_class, warn};
use crate::load::copy_from_script;
use crate::local::copy_statement::CopyStatement;
use crate::local::script_statement::{self, Encoding};
use crate::local::spi::{self, Param};
use crate::local::{catalog, identity, interrupts, names, new_tables, rows, script_objects, settings, transaction};
use crate::order::{HeldTable, Loaded, RowBlock, ScriptText};
use crate::storage::spool::SpoolWriter;
use dumpscript::{Commands, Effect, Name, Piece, Rules, ScriptError, ScriptErrorKind, Splitter, Transaction};
use pgrx::prelude::*;
use plan::Pattern;
use serde::Deserialize;
use std::cell::Cell;
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

/// A statement that was passed over because it failed.
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
    // Who has put rights down does not take them up again in a script.
    if identity::has_put_rights_down() {
        identity::with_role_kept(|| Run::new(file, terms, loader, on_progress).finish())
    } else {
        settings::scoped(|| Run::new(file, terms, loader, on_progress).finish())
    }
}

struct Run<'a> {
    file: &'a mut ScriptFile,
    terms: RunTerms,
    on_progress: &'a dyn Fn(Loaded),
    splitter: Splitter,
    commands: Commands,
    /// The encoding of what comes next.
    encoding: Encoding,
    has_ended: bool,
    told_position: u64,
    report: RunReport,
    /// Patterns that have matched a table, by their positions.
    matched: HashSet<(bool, usize)>,
    left_out_indexes: HashSet<Name>,
    told_of_transactions: bool,
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
            has_ended: false,
            told_position: 0,
            report: RunReport::default(),
            matched: HashSet::new(),
            left_out_indexes: HashSet::new(),
            told_of_transactions: false,
            last_insert: None,
        }
    }

    fn finish(mut self) -> Result<RunReport> {
        self.follow_settings();
        loop {
            match self.next_step(&mut Vec::new())? {
                Step::Statement { text, line, copies: true } => self.copy(&text, line)?,
                Step::Statement { text, line, copies: false } => self.statement(&text, line)?,
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
                Some(step) => return Ok(step),
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

    fn statement(&mut self, text: &[u8], line: usize) -> Result<()> {
        let text = self.encoding.statement(text)?;
        if is_insert(&text) {
            return self.insert(&text, line);
        }
        let outline = script_statement::outline(&text);
        if self.is_left_out(&outline, line)? {
            return Ok(());
        }
        if !self.held.is_empty() && self.waits_for_rows(&text, line, &outline)? {
            self.waiting.push((text, line));
            return Ok(());
        }
        if dumpscript::setting_of(&outline).is_some_and(|(name, _)| name.eq_ignore_ascii_case("client_encoding")) {
            // The session's own stays as it is: its client is not the script's.
            let encoding = settings::scoped(|| {
                self.execute(&text, line, &outline)?;
                Ok(Encoding::of_client())
            })?;
            self.encoding = encoding;
            self.follow_settings();
            return Ok(());
        }
        if self.execute(&text, line, &outline)?.is_some()
            && let Some(kind) = dumpscript::made_kind(&outline)
        {
            *self.report.objects.entry(kind).or_default() += 1;
        }
        self.follow_settings();
        Ok(())
    }

    fn insert(&mut self, text: &CStr, line: usize) -> Result<()> {
        let bytes = text.to_bytes();
        let head = &bytes[..bytes.iter().position(|&byte| byte == b'(').unwrap_or(bytes.len())];
        let name = match &self.last_insert {
            Some((last, name)) if last == head => name.clone(),
            _ => {
                let outline = script_statement::outline(text);
                let name = dumpscript::subject_of(&outline).tables.into_iter().next();
                self.last_insert = Some((head.to_vec(), name.clone()));
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
            caution("the script's statement to drop extension pgcopy is ignored");
            return Ok(true);
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

    fn has_filters(&self) -> bool {
        self.terms.include.is_some() || !self.terms.exclude.is_empty()
    }

    fn is_filtered_out(&mut self, outline: &str) -> Result<bool> {
        if !self.has_filters() {
            return Ok(false);
        }
        if let Some(sequence) = dumpscript::sequence_of(outline) {
            // That of an identity column goes with its table.
            return Ok(!script_objects::relation_exists(&sequence)?);
        }
        let subject = dumpscript::subject_of(outline);
        // All of them are looked at, so that patterns that match no table are known.
        let left_out = subject.tables.iter().filter(|table| !self.is_chosen(table)).count();
        let is_left_out = left_out > 0 || subject.indexes.iter().any(|index| self.left_out_indexes.contains(index));
        if is_left_out {
            self.left_out_indexes.extend(subject.makes_index);
        }
        Ok(is_left_out)
    }

    /// Whether the filters choose a table.
    fn is_chosen(&mut self, table: &Name) -> bool {
        if !self.has_filters() {
            return true;
        }
        let schema = table.schema.clone().or_else(names::creation_schema).unwrap_or_default();
        let mut matches = |is_include: bool, patterns: &[Pattern]| {
            let mut any = false;
            for (position, pattern) in patterns.iter().enumerate() {
                if pattern.matches(&schema, &table.name) {
                    self.matched.insert((is_include, position));
                    any = true;
                }
            }
            any
        };
        let included = self.terms.include.as_deref().is_none_or(|patterns| matches(true, patterns));
        let excluded = matches(false, &self.terms.exclude);
        included && !excluded
    }

    fn refuse_unmatched_patterns(&self) -> Result<()> {
        let unmatched = |is_include: bool, patterns: &[Pattern]| -> Vec<String> {
            let of_all = patterns.iter().enumerate();
            of_all
                .filter(|(position, _)| !self.matched.contains(&(is_include, *position)))
                .map(|(_, pattern)| pattern.to_string())
                .collect()
        };
        let include = unmatched(true, self.terms.include.as_deref().unwrap_or_default());
        let exclude = unmatched(false, &self.terms.exclude);
        let all = [include, exclude].concat();
        if all.is_empty() {
            return Ok(());
        }
        Err(Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, "patterns match no table of the script").details(all))
    }

    /// Executes a COPY whose rows follow.
    fn copy(&mut self, text: &[u8], line: usize) -> Result<()> {
        let statement = self.encoding.statement(text)?;
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

impl Run<'_> {
    /// Decides about a statement while rows are held back: they are stored first, unless the statement sees none of them.
    /// Returns whether it is the statement that waits for the rows.
    fn waits_for_rows(&mut self, text: &CStr, line: usize, outline: &str) -> Result<bool> {
        // Where backslashes escape, strings end elsewhere.
        let is_read_alike = !self.splitter.rules().escapes || !text.to_bytes().contains(&b'\\');
        let effect = if is_read_alike { dumpscript::effect_on_rows(outline) } else { Effect::Unknown };
        match effect {
            Effect::None => {}
            Effect::ForeignKey(table) if self.are_rows_held(&table)? => {}
            Effect::AfterRows => return Ok(true),
            Effect::ForeignKey(_) | Effect::Unknown => {
                self.store_held_rows()?;
                return Ok(false);
            }
        }
        if let Some(made) = dumpscript::subject_of(outline).makes_index {
            self.makers.insert(made.name, (line, first_words(outline)));
        }
        Ok(false)
    }

    /// Whether all rows of a table are held back, those of its partitions included.
    fn are_rows_held(&self, table: &Name) -> Result<bool> {
        let relation = match &table.schema {
            Some(schema) => names::relation_in(schema, &table.name)?,
            None => names::visible_relation(&table.name)?,
        };
        let Some(relation) = relation else { return Ok(false) };
        let members = settings::with_catalog_settings(|| catalog::partition_members(&[relation]))?;
        let is_held = |member: u32| self.held.iter().any(|table| table.relation == member);
        Ok(members.into_iter().all(|member| is_held(member) || rows::are_in_now(member) == Some(false)))
    }

    /// Returns the table of a COPY where its rows can be stored later, with the same outcome.
    fn holdable_table(&self, statement: &CStr, outline: &str) -> Result<Option<HoldableTable>> {
        #[derive(Deserialize)]
        struct Column {
            name: String,
            number: i16,
        }
        let has_empty_path = || matches!(settings::value(c"search_path").as_deref(), Some("" | "\"\""));
        if self.loader.is_none()
            || self.encoding != Encoding::of_database()
            || !has_empty_path()
            || !dumpscript::is_plain_copy(outline)
        {
            return Ok(None);
        }
        catch(|| {
            let copy = CopyStatement::parse(statement)?;
            copy.refuse_where_writing_is_forbidden();
            let table = copy.open_table()?;
            if table.where_clause.is_some() || !new_tables::is_new_and_empty(table.relation) {
                return Ok(None);
            }
            let query = include_str!("../../sql/queries/may_be_held.sql");
            let found =
                settings::with_catalog_settings(|| spi::fixed::query_text(query, &[Param::Oid(table.relation)]))?;
            let Some(found) = found else { return Ok(None) };
            let all: Vec<Column> = serde_json::from_str(&found).map_err(|error| Error::internal(error.to_string()))?;
            // Other columns would get their defaults.
            if table.filled.len() != all.len() {
                return Ok(None);
            }
            let number = |name: &String| all.iter().find(|column| column.name == *name).map(|column| column.number);
            let columns: Option<Vec<_>> = table.filled.iter().map(|name| Some((name.clone(), number(name)?))).collect();
            // Rows are formed in the order of the table's columns.
            let columns = columns.filter(|columns| columns.is_sorted_by_key(|(_, number)| *number));
            Ok(columns.map(|columns| HoldableTable { relation: table.relation, columns }))
        })
    }

    /// Holds the rows of a COPY back, where that is possible. What was read of them otherwise is in `rows`.
    fn hold_rows(&mut self, statement: &CStr, line: usize, outline: &str, rows: &mut RowsOfCopy) -> Result<bool> {
        let table = self.holdable_table(statement, outline).map_err(|error| self.at(error, line, outline))?;
        let Some(table) = table else { return Ok(false) };
        let position = self.held.iter().position(|held| held.relation == table.relation);
        if position.is_some_and(|position| self.held[position].columns != table.columns) {
            return Ok(false);
        }
        // Where lines end in something else, the first one tells.
        const LONGEST_FIRST_LINE: usize = 1 << 20;
        let mut start = None;
        while !rows.ended && !rows.pending.contains(&b'\n') && rows.pending.len() < LONGEST_FIRST_LINE {
            match self.next_step(&mut rows.pending)? {
                Step::Rows { line, at } => {
                    rows.first_line.get_or_insert(line);
                    start.get_or_insert(at);
                }
                Step::EndOfRows => rows.ended = true,
                _ => return Err(Error::internal("a statement within rows")),
            }
        }
        rows.bytes = rows.pending.len() as u64;
        let first_line = rows.pending.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let (Some(mut start), Some(line)) = (start, rows.first_line) else { return Ok(false) };
        if first_line.len() == rows.pending.len() || first_line.contains(&b'\r') {
            return Ok(false);
        }
        if self.file.in_place().is_none() {
            if self.spool.is_none() {
                self.spool = Some(SpoolWriter::create()?);
            }
            if let Some(spool) = &mut self.spool {
                start = spool.append(&rows.pending);
            }
        }
        self.is_holding = true;
        let passed = self.pass_held_rows();
        self.is_holding = false;
        let more = passed?;
        let block = RowBlock { statement: first_words(outline), line, start, end: start + rows.bytes + more };
        match position {
            Some(position) => self.held[position].blocks.push(block),
            None => {
                let HoldableTable { relation, columns } = table;
                self.held.push(HeldTable { relation, columns, blocks: vec![block] });
            }
        }
        Ok(true)
    }

    /// Reads on to the end of rows that are held back. Returns their bytes.
    fn pass_held_rows(&mut self) -> Result<u64> {
        let mut passed = 0;
        loop {
            interrupts::check();
            match self.splitter.next_piece() {
                Ok(Some(Piece::Rows { bytes, .. })) => {
                    if let Some(spool) = &mut self.spool {
                        spool.append(bytes);
                    }
                    passed += bytes.len() as u64;
                }
                Ok(Some(Piece::EndOfRows { .. })) => return Ok(passed),
                Ok(Some(_)) => return Err(Error::internal("a statement within rows")),
                Ok(None) if self.has_ended => return Err(Error::internal("rows without an end")),
                Ok(None) => self.read_on()?,
                Err(error) => return Err(self.unfit(&error)),
            }
        }
    }

    /// Stores the rows that were held back, and executes the statements that wait for them.
    fn store_held_rows(&mut self) -> Result<()> {
        let (Some(loader), false) = (self.loader, self.held.is_empty()) else { return Ok(()) };
        transaction::make_changes_visible();
        let tables = std::mem::take(&mut self.held);
        let mut spool = self.spool.take();
        let text = match (&mut spool, self.file.in_place()) {
            (Some(spool), _) => ScriptText::Spool(spool.export()),
            (None, Some(text)) => text.clone(),
            (None, None) => return Err(Error::internal("rows that are nowhere")),
        };
        let total: u64 = tables.iter().map(HeldTable::bytes).sum();
        let of_file = std::mem::take(&mut self.held_bytes);
        let told = Cell::new(Loaded::default());
        let tell = |now: Loaded| {
            let share = now.bytes.min(total) as f64 / total.max(1) as f64;
            let now = Loaded { rows: now.rows, bytes: (of_file as f64 * share) as u64 };
            let before = told.replace(now);
            let (rows, bytes) = (now.rows.saturating_sub(before.rows), now.bytes.saturating_sub(before.bytes));
            (self.on_progress)(Loaded { rows, bytes });
        };
        let stored = loader.store(&HeldRows { name: &self.file.name, text: &text, tables: &tables }, &tell);
        let stored = stored.map_err(|error| self.at_maker(error))?;
        let rows = stored.iter().map(|table| table.filled.rows).sum();
        tell(Loaded { rows, bytes: total });
        if let Some(spool) = spool {
            spool.remove();
        }
        for StoredTable { schema, name, filled } in stored {
            let table = self.report.tables.entry((Some(schema), name)).or_default();
            table.rows += filled.rows;
            table.bytes += filled.bytes;
            table.seconds += filled.seconds;
        }
        self.makers.clear();
        transaction::make_changes_visible();
        for (statement, line) in std::mem::take(&mut self.waiting) {
            let outline = script_statement::outline(&statement);
            self.execute(&statement, line, &outline)?;
        }
        Ok(())
    }

    /// Names the statement that has made the index or the constraint which an error is about.
    fn at_maker(&self, error: Error) -> Error {
        let name = error.objects.as_ref().and_then(|objects| objects.constraint.as_deref());
        match name.and_then(|name| self.makers.get(name)) {
            Some((line, statement)) => {
                let line = format!("Line {line} of \"{}\": {statement}", self.file.name);
                error.detail(line)
            }
            None => error,
        }
    }
}

/// The rows of one COPY, on their way.
#[derive(Default)]
struct RowsOfCopy {
    pending: Vec<u8>,
    used: usize,
    /// The line of the first row.
    first_line: Option<usize>,
    bytes: u64,
    ended: bool,
    /// Whether the script could not be read on.
    failed: bool,
}

impl RowsOfCopy {
    /// Fills `buffer` with at least `least` bytes, unless the rows end before.
    fn read(&mut self, run: &mut Run<'_>, buffer: &mut [u8], least: usize) -> Result<usize> {
        let mut filled = 0;
        while filled < least.max(1) {
            if self.left() == 0 {
                if self.ended || !self.read_on(run).inspect_err(|_| self.failed = true)? {
                    break;
                }
                continue;
            }
            let length = (self.pending.len() - self.used).min(buffer.len() - filled);
            if length == 0 {
                break;
            }
            buffer[filled..filled + length].copy_from_slice(&self.pending[self.used..self.used + length]);
            self.used += length;
            filled += length;
        }
        Ok(filled)
    }

    fn left(&self) -> u64 {
        (self.pending.len() - self.used) as u64
    }

    fn read_on(&mut self, run: &mut Run<'_>) -> Result<bool> {
        self.pending.clear();
        self.used = 0;
        match run.next_step(&mut self.pending)? {
            Step::Rows { line, .. } => {
                self.first_line.get_or_insert(line);
                self.bytes += self.pending.len() as u64;
                Ok(true)
            }
            Step::EndOfRows => {
                self.ended = true;
                Ok(false)
            }
            _ => Err(Error::internal("a statement within rows")),
        }
    }

    fn line_of(&self, row: u64) -> usize {
        self.first_line.unwrap_or_default() + row.saturating_sub(1) as usize
    }
}

fn copied(text: &[u8]) -> Vec<u8> {
    let mut copy = Vec::new();
    crate::local::memory::reserve(&mut copy, text.len());
    copy.extend_from_slice(text);
    copy
}

fn is_insert(statement: &CStr) -> bool {
    const WORD: &[u8] = b"insert";
    statement.to_bytes().get(..WORD.len()).is_some_and(|word| word.eq_ignore_ascii_case(WORD))
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
