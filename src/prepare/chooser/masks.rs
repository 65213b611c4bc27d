//! Columns that get masked values.

use super::super::common_values::{COMMON_VALUE, are_most, has_many_rows, known_beforehand};
use super::super::masked_keys::{UnderDomains, are_masked_alike};
use super::{Chooser, Chosen, Item, arriving_column, type_without_length};
use crate::error::Result;
use crate::source;
use plan::catalog::{Column, Relation};
use plan::{Problem, ProblemKind};
use selection::{Mask, MaskedColumn};

impl Chooser<'_> {
    /// Has a column of the target get masked values. Returns the column as it arrives.
    #[allow(clippy::too_many_arguments, reason = "both ends, and what lies between them")]
    pub(super) fn mask(
        &mut self,
        source: &Relation,
        local: &Relation,
        masked: &Column,
        target: &str,
        mask: &Mask,
        limit: Option<usize>,
        chosen: &mut Chosen,
    ) -> Result<Column> {
        chosen.changed.insert(target.to_owned());
        let place = format!("column {}, mask", plan::quote_identifier(&masked.name));
        let Some(column) = local.columns.iter().find(|column| column.name == target) else {
            // To pair the columns finds out.
            return Ok(Column { name: target.to_owned(), ..masked.clone() });
        };
        let (type_name, arriving) = arriving_column(column);
        // Types that are not built in may mean something else there, and travel as texts.
        let is_built_in = column.structure.is_none() && column.extensions.is_empty();
        let type_name = if is_built_in { type_name } else { "pg_catalog.text".to_owned() };
        // The whole name, because the expression has names of its own.
        let value = format!("{}.{}", source.qualified_name(), plan::quote_identifier(&masked.name));
        let (there, here) = (UnderDomains::of(masked), UnderDomains::of(column));
        let shape = MaskedColumn {
            base_type: here.base_type.clone(),
            limit: limit.or(here.limit),
            decimals: here.decimals,
            precision: here.precision,
            ignores_case: here.is_citext(column) || there.is_citext(masked),
            has_many_rows: has_many_rows(source),
            has_functions: self.has_mask_functions,
            has_same_digits: there.has_digits_of(&here),
            is_character: there.is_character(),
        };
        let reads = !matches!(mask, Mask::Constant(_) | Mask::Null);
        if reads && !self.granted.may_read(source.oid, &masked.name) {
            self.problems.push(self.granted.problem(source, &format!("{place}: "), &[&masked.name]));
            return Ok(arriving);
        }
        let sql = if are_masked_alike(&there, &here) || !mask.needs_key() {
            mask.sql(&value, &shape)
        } else {
            Err(format!("it is of type {} on the source and {} on the destination", masked.base_type, column.base_type))
        };
        let mut reason = sql.as_ref().err().cloned();
        // What is a constant is computed when it is parsed, so that one that does not fit is found.
        let bounds = if is_built_in { mask.bounds() } else { Vec::new() };
        let constants = matches!(mask, Mask::Constant(_)).then(|| sql.clone().unwrap_or_default()).into_iter();
        // Of an array each element is masked.
        let element = type_name.trim_end_matches("[]");
        let as_element = bounds.iter().map(|bound| format!("({bound})::{element}"));
        let as_column = constants.chain(sql.clone()).map(|value| format!("({value})::{type_name}"));
        for value in as_element.chain(as_column) {
            if reason.is_none() {
                reason = source::check_constant_parts(self.session, source, &value)?;
            }
        }
        if reason.is_none() {
            reason = match mask {
                Mask::Constant(_) => self.misfit(column, sql.as_deref().ok())?,
                Mask::Null => self.misfit(column, None)?,
                _ => None,
            };
        }
        if let Some(reason) = reason {
            self.problems.push(Problem::of(ProblemKind::Selection, source, format!("{place}: {reason}")));
            return Ok(arriving);
        }
        if !mask.keeps_differences()
            && !matches!(mask, Mask::Null)
            && self.unique.contains(&(source.oid, masked.name.clone()))
        {
            chosen.warnings.push(format!(
                "{} is unique, and mask {} may give different values the same",
                plan::quote_identifier(&masked.name),
                mask.name()
            ));
        }
        let type_name = match is_built_in && mask.has_digits_of(&shape) {
            true => type_without_length(&here.base_type),
            false => type_name,
        };
        let mut sql = format!("({})::{type_name}", sql.unwrap_or_default());
        // The functions keep values that they have seen.
        if mask.needs_key()
            && !self.has_mask_functions
            && let Ok(of_common) = mask.sql(COMMON_VALUE, &shape)
            && are_most(self.session, source, masked)?
        {
            sql = known_beforehand(source, masked, &value, &format!("({of_common})::{type_name}"), &sql, &type_name);
        }
        let reads = reads.then(|| masked.name.clone());
        chosen.items.insert(target.to_owned(), Item { sql, computed: true, reads });
        Ok(arriving)
    }
}
