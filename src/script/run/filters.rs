//! The tables that `include` and `exclude` choose of a script.

use super::Run;
use crate::error::{Error, Result};
use crate::local::{names, script_objects};
use dumpscript::Name;
use pgrx::prelude::*;
use plan::Pattern;

impl Run<'_> {
    pub(super) fn has_filters(&self) -> bool {
        self.terms.include.is_some() || !self.terms.exclude.is_empty()
    }

    pub(super) fn is_filtered_out(&mut self, outline: &str) -> Result<bool> {
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
    pub(super) fn is_chosen(&mut self, table: &Name) -> bool {
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

    pub(super) fn refuse_unmatched_patterns(&self) -> Result<()> {
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
}
