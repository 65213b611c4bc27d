//! What is read of one table: expressions are checked, and become what the source is asked.

mod masks;

use super::granted::Granted;
use super::masked_keys::UnderDomains;
use crate::error::Result;
use crate::local::interrupts;
use crate::order::ChosenRows;
use crate::source::{self, Session};
use plan::catalog::{Column, Relation};
use plan::{PairedColumns, Problem, ProblemKind};
use selection::{Choice, Content, Expression};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What is read of one table.
pub(super) struct Chosen {
    /// The source's table with the columns as they arrive: under their names on the destination, without those that are skipped.
    pub source: Relation,
    /// For the columns by those names, the SQL that reads them.
    items: HashMap<String, Item>,
    condition: Option<String>,
    /// Names here of columns that do not get the values of the source's column of that name.
    pub changed: BTreeSet<String>,
    /// Columns of the source by which a fraction of the rows is chosen.
    pub sampled_by: BTreeSet<String>,
    /// What to know of it, for a plan.
    pub warnings: Vec<String>,
}

struct Item {
    sql: String,
    computed: bool,
    /// The column that is read, where that is not told by an expression of the user's.
    reads: Option<String>,
}

impl Chosen {
    /// Returns the rows as FROM names them, with these columns and the place that each row lies in, which is SQL.
    pub(super) fn rows_as_from_names_them<'a>(
        &self,
        relation: &str,
        place: &str,
        columns: impl Iterator<Item = &'a str>,
    ) -> String {
        let items = columns
            .filter_map(|name| Some(format!("{} AS {}", self.items.get(name)?.sql, plan::quote_identifier(name))));
        let items: Vec<String> = std::iter::once(format!("{place} AS ctid")).chain(items).collect();
        let condition = self.condition.as_ref().map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        format!("(SELECT {} FROM {relation}{condition}) AS chosen", items.join(", "))
    }

    /// Returns the source's column that one of the target gets its values from, as they are or masked.
    pub(super) fn read_for(&self, name: &str) -> Option<&str> {
        self.items.get(name)?.reads.as_deref()
    }

    /// Returns the columns of the source that a sample is chosen by.
    pub(super) fn sampled_columns(&self) -> impl Iterator<Item = &str> {
        let is_sampled = self.condition.is_some();
        self.sampled_by.iter().filter(move |_| is_sampled).map(String::as_str)
    }

    /// Returns what is read for the target's columns.
    pub(super) fn rows(&self, columns: &PairedColumns) -> ChosenRows {
        let items: Vec<&Item> = columns.copied.iter().filter_map(|column| self.items.get(&column.name)).collect();
        ChosenRows {
            columns: items.iter().map(|item| item.sql.clone()).collect(),
            computed: items.iter().any(|item| item.computed),
            condition: self.condition.clone(),
        }
    }
}

/// Checks what is asked for with expressions, and turns it into what the source is asked.
pub(super) struct Chooser<'a> {
    pub session: &'a Session,
    pub granted: &'a Granted,
    /// The time of the snapshot, for expressions that ask for it.
    pub instant: &'a str,
    /// For the source's tables, the columns that tell rows apart.
    pub keys: &'a HashMap<u32, Vec<String>>,
    /// The columns of the source's tables that are unique by themselves.
    pub unique: &'a HashSet<(u32, String)>,
    /// Whether masks are computed by functions of the source's pgcopy.
    pub has_mask_functions: bool,
    pub problems: &'a mut Vec<Problem>,
}

impl Chooser<'_> {
    pub(super) fn choose(&mut self, source: &Relation, local: &Relation, choice: &Choice) -> Result<Chosen> {
        let mut chosen = Chosen {
            source: Relation { columns: Vec::new(), ..source.clone() },
            items: HashMap::new(),
            condition: None,
            changed: BTreeSet::new(),
            sampled_by: BTreeSet::new(),
            warnings: Vec::new(),
        };
        if source.counterpart.is_some() {
            chosen.warnings.push(format!("comes from {} of the source", source.qualified_name()));
        }
        self.choose_rows(source, choice, &mut chosen)?;
        self.choose_columns(source, local, choice, &mut chosen)?;
        Ok(chosen)
    }

    fn choose_rows(&mut self, source: &Relation, choice: &Choice, chosen: &mut Chosen) -> Result<()> {
        let mut conditions = Vec::new();
        if let Some(filter) = &choice.filter {
            let filter = &filter.value;
            conditions.extend(self.condition(source, "where", filter)?);
            chosen.warnings.push(format!("only rows where {}", shown(filter)));
        }
        if let Some(sample) = &choice.sample {
            let columns: Vec<&str> = match self.keys.get(&source.oid) {
                Some(key) => key.iter().map(String::as_str).collect(),
                None => source.columns.iter().map(|column| column.name.as_str()).collect(),
            };
            conditions.extend(sample_condition(sample.value, &columns));
            chosen.sampled_by = columns.iter().map(|column| (*column).to_owned()).collect();
            chosen.warnings.push(format!("only a fraction of {} of the rows", sample.value));
        }
        chosen.condition = (!conditions.is_empty()).then(|| conditions.join(" AND "));
        Ok(())
    }

    /// Returns a condition over a table's rows as SQL, unless there is a problem.
    pub(super) fn condition(&mut self, source: &Relation, place: &str, filter: &Expression) -> Result<Option<String>> {
        if !self.names_are_usable(source, place, filter)? {
            return Ok(None);
        }
        if let Some(reason) = source::check_condition(self.session, source, &self.granted.denied(source), filter)? {
            self.refuse(source, place, filter, &reason);
            return Ok(None);
        }
        Ok(Some(filter.at_instant(self.instant)))
    }

    fn choose_columns(
        &mut self,
        source: &Relation,
        local: &Relation,
        choice: &Choice,
        chosen: &mut Chosen,
    ) -> Result<()> {
        let (mut computed, mut masked) = (Vec::new(), Vec::new());
        let mut given: HashMap<String, String> = HashMap::new();
        let mut take = |this: &mut Self, from: &str, column: Column| {
            if let Some(other) = given.insert(column.name.clone(), from.to_owned()) {
                let names = [&other, from, &column.name].map(plan::quote_identifier);
                let reason = format!("columns {} and {} would both go into {}", names[0], names[1], names[2]);
                this.problems.push(Problem::of(ProblemKind::Selection, source, reason));
            }
            column
        };
        for column in &source.columns {
            let asked = choice.columns.get(&column.name);
            let target = asked.and_then(|asked| asked.into.as_ref()).map_or(&column.name, |into| &into.value);
            if target != &column.name {
                chosen.changed.extend([target.clone(), column.name.clone()]);
            }
            match asked.and_then(|asked| asked.content.as_ref()).map(|content| &content.value) {
                None | Some(Content::Kept) => {
                    let sql = plan::quote_identifier(&column.name);
                    let reads = Some(column.name.clone());
                    chosen.items.insert(target.clone(), Item { sql, computed: false, reads });
                    let column = take(self, &column.name, Column { name: target.clone(), ..column.clone() });
                    chosen.source.columns.push(column);
                }
                Some(Content::Skipped) => {
                    chosen.changed.insert(column.name.clone());
                }
                Some(Content::Mask(mask)) => {
                    let limit = asked.and_then(|asked| asked.limit);
                    let found = self.mask(source, local, column, target, mask, limit, chosen)?;
                    masked.push(format!("{} by {}", plan::quote_identifier(target), mask.name()));
                    chosen.source.columns.push(take(self, &column.name, found));
                }
                Some(Content::Value(value)) => {
                    let Some(found) = self.compute(source, local, &column.name, target, value, chosen)? else {
                        continue;
                    };
                    computed.push(plan::quote_identifier(target));
                    chosen.source.columns.push(take(self, &column.name, found));
                }
            }
        }
        // Columns that only the target has can be given values, too.
        for (name, asked) in &choice.columns {
            if source.columns.iter().any(|column| column.name == *name) {
                continue;
            }
            let target = asked.into.as_ref().map_or(name, |into| &into.value);
            let content = asked.content.as_ref();
            if let Some(Content::Value(value)) = content.map(|content| &content.value)
                && local.columns.iter().any(|column| column.name == *target)
            {
                let Some(found) = self.compute(source, local, name, target, value, chosen)? else { continue };
                computed.push(plan::quote_identifier(target));
                chosen.source.columns.push(take(self, name, found));
                continue;
            }
            let key = content.map(|content| content.is_literal()).or(asked.into.as_ref().map(|into| into.is_literal()));
            if key == Some(true) {
                let names = source.columns.iter().map(|column| column.name.as_str());
                let near = plan::nearest(name, names, &interrupts::check).map(plan::quote_identifier);
                let reason = format!(
                    "tables names column {}, which the source's table does not have",
                    plan::quote_identifier(name)
                );
                let problem = Problem::of(ProblemKind::MissingColumn, source, reason);
                self.problems
                    .push(Problem { mend: near.map(|near| format!("{near} in columns of tables")), ..problem });
            }
        }
        if !computed.is_empty() {
            chosen.warnings.push(format!("computed on the source: {}", computed.join(", ")));
        }
        if !masked.is_empty() {
            let by = if self.has_mask_functions { ", by its pgcopy" } else { "" };
            chosen.warnings.push(format!("masked on the source{by}: {}", masked.join(", ")));
            // They may have been computed from the values that are masked.
            let kept = |column: &&Column| {
                column.generated
                    && chosen.items.get(&column.name).is_some_and(|item| !item.computed)
                    && local.columns.iter().any(|own| own.name == column.name && !own.generated)
            };
            let kept: Vec<_> =
                chosen.source.columns.iter().filter(kept).map(|column| plan::quote_identifier(&column.name)).collect();
            if !kept.is_empty() {
                chosen.warnings.push(format!("computed on the source from values without masks: {}", kept.join(", ")));
            }
        }
        Ok(())
    }

    /// Has a column of the target get what an expression computes. Returns the column as it arrives, if there is one.
    fn compute(
        &mut self,
        source: &Relation,
        local: &Relation,
        name: &str,
        target: &str,
        value: &Expression,
        chosen: &mut Chosen,
    ) -> Result<Option<Column>> {
        chosen.changed.insert(target.to_owned());
        let place = format!("column {}, value", plan::quote_identifier(name));
        let Some(column) = local.columns.iter().find(|column| column.name == target) else {
            let reason = format!("{place}: the destination has no column {}", plan::quote_identifier(target));
            self.problems.push(Problem::of(ProblemKind::MissingColumn, source, reason));
            return Ok(None);
        };
        let (type_name, arriving) = arriving_column(column);
        // A type of that name there may be another one, with code of its owner's.
        let is_built_in = column.structure.is_none() && column.extensions.is_empty();
        let type_name = if is_built_in { type_name } else { "pg_catalog.text".to_owned() };
        if !self.names_are_usable(source, &place, value)? {
            return Ok(Some(arriving));
        }
        if let Some(reason) =
            source::check_value(self.session, source, &self.granted.denied(source), value, &type_name)?
        {
            self.refuse(source, &place, value, &reason);
            return Ok(Some(arriving));
        }
        let sql = format!("{}::{type_name}", value.at_instant(self.instant));
        let mut reason = source::check_constant_parts(self.session, source, &sql)?;
        if reason.is_none() && value.is_constant() {
            let constant = (!value.is_null()).then(|| value.in_parentheses());
            reason = self.misfit(column, constant.as_deref())?;
        }
        if let Some(reason) = reason {
            self.refuse(source, &place, value, &reason);
            return Ok(Some(arriving));
        }
        chosen.items.insert(target.to_owned(), Item { sql, computed: true, reads: None });
        Ok(Some(arriving))
    }

    /// Returns the reason why a column here cannot hold a constant of SQL, or NULL, as far as its type says so: its checks are code
    /// of users.
    fn misfit(&self, column: &Column, constant: Option<&str>) -> Result<Option<String>> {
        let Some(constant) = constant else {
            let name = plan::quote_identifier(&column.name);
            return Ok(column.not_null.then(|| format!("column {name} here is NOT NULL")));
        };
        let under = UnderDomains::of(column);
        // Types of other schemas may be others there.
        if under.base_type.contains('.') {
            return Ok(None);
        }
        let type_name = if plan::is_rounded(&under.base_type) { &under.type_name } else { &under.base_type };
        Ok(match source::constant_as(self.session, constant, &type_without_length(type_name))? {
            Ok(value) => under.too_long(&value),
            Err(reason) => Some(reason),
        })
    }

    /// Returns whether the expression calls nothing that it must not; reports what it does otherwise.
    fn names_are_usable(&mut self, source: &Relation, place: &str, expression: &Expression) -> Result<bool> {
        let unusable = source::read_unusable_names(self.session, source.oid, expression)?;
        let Some(first) = unusable.first() else { return Ok(true) };
        let name = first.number.and_then(|number| expression.names().get(number));
        let reason = match name {
            Some(name) => {
                let words = match &name.schema {
                    Some(schema) => plan::qualified(schema, &name.name),
                    None => plan::quote_identifier(&name.name),
                };
                format!("{words} {} at character {}", first.reason, name.position)
            }
            None => first.reason.clone(),
        };
        self.refuse(source, place, expression, &reason);
        Ok(false)
    }

    fn refuse(&mut self, source: &Relation, place: &str, expression: &Expression, reason: &str) {
        let reason = format!("{place}: {reason}: {}", shown(expression));
        self.problems.push(Problem::of(ProblemKind::Selection, source, reason));
    }
}

/// An expression for people, cut off where it is long.
fn shown(expression: &Expression) -> String {
    const LONGEST: usize = 200;
    crate::error::capped(expression.text(), LONGEST).into_owned()
}

/// Returns the type that a computed value is made, and the column as it arrives then.
fn arriving_column(column: &Column) -> (String, Column) {
    // A modifier that rounds does so where the value is computed, as for an INSERT; others refuse what does not fit, here.
    let type_name = if plan::is_rounded(&column.base_type) { &column.type_name } else { &column.base_type };
    // Other types of the same name may have another form there.
    let is_built_in = column.structure.is_none() && column.extensions.is_empty();
    let arriving = Column {
        type_name: type_name.clone(),
        generated: false,
        binary: column.binary && is_built_in,
        ..column.clone()
    };
    (type_without_length(type_name), arriving)
}

/// These two names without a modifier mean a length of 1 in a cast.
pub(super) fn type_without_length(type_name: &str) -> String {
    let (element, brackets) = type_name.split_at(type_name.find('[').unwrap_or(type_name.len()));
    match element {
        "character" => format!("pg_catalog.bpchar{brackets}"),
        "bit" => format!("pg_catalog.\"bit\"{brackets}"),
        _ => type_name.to_owned(),
    }
}

/// Returns the condition for a fraction of the rows, which depends on the texts of these columns alone.
fn sample_condition(fraction: f64, columns: &[&str]) -> Option<String> {
    if fraction >= 1.0 || columns.is_empty() {
        return None;
    }
    let names: Vec<String> = columns.iter().map(|column| plan::quote_identifier(column)).collect();
    let text = match names.as_slice() {
        [one] => format!("{one}::pg_catalog.text"),
        _ => format!("ROW({})::pg_catalog.text", names.join(", ")),
    };
    let limit = (fraction * 2_f64.powi(63)) as i64;
    // A NULL is a value like others here, so that the row has a place on one side.
    Some(format!(
        "(pg_catalog.hashtextextended(coalesce({text}, '') COLLATE pg_catalog.\"C\", 0) & {}) < {limit}",
        i64::MAX
    ))
}
