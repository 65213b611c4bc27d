//! Rows that are held back while no statement could see them, and stored by the workers then.

use super::super::held::{HeldRows, StoredTable};
use super::copied_rows::RowsOfCopy;
use super::{HoldableTable, Run, Step, first_words};
use crate::error::{Error, Result, catch};
use crate::local::copy_statement::CopyStatement;
use crate::local::script_statement::{self, Encoding};
use crate::local::spi::{self, Param};
use crate::local::{catalog, interrupts, names, new_tables, rows, script_objects, settings, transaction};
use crate::order::{HeldTable, Loaded, RowBlock, ScriptText};
use crate::storage::spool::SpoolWriter;
use dumpscript::{Effect, Name, Piece};
use serde::Deserialize;
use std::cell::Cell;
use std::ffi::{CStr, CString};

impl Run<'_> {
    /// Decides about a statement while rows are held back: they are stored first, unless the statement sees none of them.
    /// Returns whether it is the statement that waits for the rows.
    pub(super) fn waits_for_rows(&mut self, text: &CStr, line: usize, outline: &str) -> Result<bool> {
        // Where backslashes escape, strings end elsewhere.
        let is_read_alike = !self.splitter.rules().escapes || !text.to_bytes().contains(&b'\\');
        let effect = if is_read_alike { dumpscript::effect_on_rows(outline) } else { Effect::Unknown };
        match effect {
            Effect::None if dumpscript::computes_from_rows(outline) && has_casts_of_users()? => {
                self.store_held_rows()?;
                return Ok(false);
            }
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
    pub(super) fn are_rows_held(&self, table: &Name) -> Result<bool> {
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
    pub(super) fn holdable_table(&self, statement: &CStr, outline: &str) -> Result<Option<HoldableTable>> {
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
            let query = include_str!("../../../sql/queries/may_be_held.sql");
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
    pub(super) fn hold_rows(
        &mut self,
        statement: &CStr,
        line: usize,
        outline: &str,
        rows: &mut RowsOfCopy,
    ) -> Result<bool> {
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
    pub(super) fn pass_held_rows(&mut self) -> Result<u64> {
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
    pub(super) fn store_held_rows(&mut self) -> Result<()> {
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
        self.analyzed.extend(tables.iter().map(|table| table.relation));
        let restores = |(statement, _): &(CString, usize)| {
            dumpscript::restores_statistics(&script_statement::outline(statement)).is_some()
        };
        if self.waiting.iter().any(restores) {
            self.clear_computed_statistics()?;
        }
        for (statement, line) in std::mem::take(&mut self.waiting) {
            let outline = script_statement::outline(&statement);
            self.execute(&statement, line, &outline)?;
        }
        Ok(())
    }

    /// Clears what the workers have computed: of it, nothing must stay that statistics of the script do not tell.
    pub(super) fn clear_computed_statistics(&mut self) -> Result<()> {
        let tables = std::mem::take(&mut self.analyzed);
        if tables.is_empty() {
            return Ok(());
        }
        catch(|| settings::with_catalog_settings(|| script_objects::clear_statistics(&tables)))
    }

    /// Names the statement that has made the index or the constraint which an error is about.
    pub(super) fn at_maker(&self, error: Error) -> Error {
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

/// Whether a cast could call a function that looks at rows.
fn has_casts_of_users() -> Result<bool> {
    settings::with_catalog_settings(script_objects::has_casts_of_users)
}
