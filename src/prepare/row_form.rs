//! The form in which the rows of tables travel where nothing compresses them: as binary or as text, whichever is shorter.

use super::{From, Prepared};
use crate::error::{Error, Result};
use crate::source::{self, Transport};
use pgrx::prelude::*;
use plan::Wire;
use std::rc::Rc;

/// What a call says of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowForm {
    /// The shorter one where the source is on another machine and does not compress.
    Auto,
    /// Binary, but where a value's binary form would mean something else here.
    Binary,
    Text,
}

impl RowForm {
    pub(super) fn parse(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "binary" => Ok(Self::Binary),
            "text" => Ok(Self::Text),
            other => Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"wire\": \"{other}\""),
            )
            .hint("Available values: auto, binary, text.")),
        }
    }
}

/// Smaller tables are not worth a sample, in pages.
const FEWEST_PAGES: i64 = 512;
/// Tables that are sampled: the biggest ones.
const MOST_SAMPLES: usize = 100;
/// Rows of a sample.
const SAMPLED_ROWS: u32 = 100;
/// Text is parsed, which has to pay: it is taken where it is shorter than this part of the binary form.
const PAYS: f64 = 0.85;

impl Prepared {
    /// Has the rows of tables travel in another form than the binary one, as asked for or where that is shorter.
    pub(super) fn choose_row_form(&mut self, form: RowForm) -> Result<()> {
        let From::Server(side) = &mut self.from else { return Ok(()) };
        let binary = |wire: Wire| wire == Wire::Binary;
        match form {
            RowForm::Binary => return Ok(()),
            RowForm::Text => {
                for counterpart in side.counterparts.iter_mut().filter(|counterpart| binary(counterpart.table.wire)) {
                    counterpart.table.wire = Wire::Text;
                }
                return Ok(());
            }
            RowForm::Auto => {}
        }
        // Documents are as long in both forms.
        let mut sampled: Vec<usize> = (0..side.counterparts.len())
            .filter(|&position| {
                let counterpart = &side.counterparts[position];
                let (relation, table) = (&counterpart.relation, &counterpart.table);
                relation.pages >= FEWEST_PAGES
                    && relation.toast_pages < relation.pages / 8
                    && binary(table.wire)
                    && table.transport == Transport::Copy
                    && table.chosen.is_none()
                    && !counterpart.runs_code_of_others
            })
            .collect();
        if sampled.is_empty() || side.session.is_on_this_machine()? {
            return Ok(());
        }
        sampled.sort_by_key(|&position| -side.counterparts[position].relation.pages);
        sampled.truncate(MOST_SAMPLES);
        let queries: Vec<String> = sampled
            .iter()
            .map(|&position| {
                let columns: Vec<String> = self.targets[position]
                    .spec
                    .columns
                    .iter()
                    .map(|column| plan::quote_identifier(&column.name))
                    .collect();
                let from = side.counterparts[position].relation.from_clause();
                format!("SELECT {} FROM {from} LIMIT {SAMPLED_ROWS}", columns.join(", "))
            })
            .collect();
        let lengths = source::sample_forms(&Rc::clone(&side.session), &queries)?;
        for (position, [binary, text]) in sampled.into_iter().zip(lengths) {
            if (text as f64) < binary as f64 * PAYS {
                side.counterparts[position].table.wire = Wire::Text;
                let saved = 100 - 100 * text / binary.max(1);
                self.targets[position]
                    .warnings
                    .push(format!("travels as text, which is {saved} % shorter in a sample"));
            }
        }
        Ok(())
    }
}
