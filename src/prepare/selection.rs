//! What is taken of each table: the argument `tables`, applied to the tables of the source.

use crate::error::Result;
use crate::local::interrupts;
use crate::order::ChosenRows;
use crate::source::{self, Session};
use plan::catalog::{Column, Relation};
use plan::{PairedColumns, Problem, ProblemKind};
use selection::{Choice, Content, Expression, Selection};
use std::collections::{BTreeSet, HashMap};

/// Gives each table of the source the name that it is to have here.
pub(super) fn name_counterparts(selection: &Selection, relations: &mut [Relation]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if selection.is_empty() {
        return problems;
    }
    for relation in relations {
        interrupts::check();
        match choice_of(selection, relation, &HashMap::new()) {
            Ok(choice) => {
                let is_named = choice.into.as_ref().is_some_and(|into| into.is_literal());
                let other = choice.into.map(|into| into.value.of(&relation.schema, &relation.name));
                let other = other.filter(|(schema, name)| (schema.as_str(), name.as_str()) != relation.key());
                relation.counterpart_is_named = is_named && other.is_some();
                relation.counterpart = other;
            }
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

/// Returns a problem for each entry that matches no table of the source.
pub(super) fn unmatched_entries(selection: &Selection, relations: &[Relation]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for entry in selection.entries() {
        let matches = |relation: &Relation| {
            interrupts::check();
            entry.pattern().matches(&relation.schema, &relation.name)
        };
        if !relations.iter().any(matches) {
            let text = format!("tables entry {}: no such table on the source", entry.key);
            let near =
                entry.pattern().nearest(relations.iter().filter(|relation| relation.is_table()), &interrupts::check);
            let problem = Problem::new(ProblemKind::UnmatchedPattern, text);
            problems.push(Problem { mend: near.map(|name| format!("{name} in tables")), ..problem });
        }
    }
    problems
}

/// Returns what is said of a table and of the tables above it; `all` are the source's relations by their OIDs.
pub(super) fn choice_of(
    selection: &Selection,
    relation: &Relation,
    all: &HashMap<u32, &Relation>,
) -> std::result::Result<Choice, Problem> {
    let mut names = vec![relation.key()];
    if relation.partition_root.is_some() {
        names.extend(relation.ancestors().skip(1).filter_map(|oid| all.get(&oid)).map(|above| above.key()));
    }
    selection
        .choice(&names)
        .map_err(|contradiction| Problem::of(ProblemKind::Selection, relation, contradiction.reason))
}

/// Returns a problem for each column that an entry with a wildcard names and none of its tables has. `tables` are those of the pull,
/// with their columns.
pub(super) fn unmatched_columns(selection: &Selection, tables: &[Relation]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for entry in selection.entries().iter().filter(|entry| !entry.is_literal()) {
        let matched: Vec<&Relation> =
            tables.iter().filter(|table| entry.pattern().matches(&table.schema, &table.name)).collect();
        if matched.is_empty() {
            continue;
        }
        for name in entry.columns() {
            interrupts::check();
            if !matched.iter().any(|table| table.columns.iter().any(|column| column.name == name)) {
                let column = plan::quote_identifier(name);
                let text = format!("tables entry {}: no table that it matches has a column {column}", entry.key);
                problems.push(Problem::new(ProblemKind::MissingColumn, text));
            }
        }
    }
    problems
}

/// What is read of one table.
pub(super) struct Chosen {
    /// The source's table with the columns as they arrive: under their names on the destination, without those that are skipped.
    pub source: Relation,
    /// For the columns by those names, the SQL that reads them.
    items: HashMap<String, Item>,
    condition: Option<String>,
    /// Names here of columns that do not get the values of the source's column of that name.
    pub changed: BTreeSet<String>,
    /// What to know of it, for a plan.
    pub warnings: Vec<String>,
}

struct Item {
    sql: String,
    computed: bool,
}

impl Chosen {
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
    /// The time of the snapshot, for expressions that ask for it.
    pub instant: &'a str,
    /// For the source's tables, the columns that tell rows apart.
    pub keys: &'a HashMap<u32, Vec<String>>,
    pub problems: &'a mut Vec<Problem>,
}

impl Chooser<'_> {
    pub(super) fn choose(&mut self, source: &Relation, local: &Relation, choice: &Choice) -> Result<Chosen> {
        let mut chosen = Chosen {
            source: Relation { columns: Vec::new(), ..source.clone() },
            items: HashMap::new(),
            condition: None,
            changed: BTreeSet::new(),
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
            if self.names_are_usable(source, "where", filter)? {
                match source::check_condition(self.session, source, filter)? {
                    None => conditions.push(filter.at_instant(self.instant)),
                    Some(reason) => self.refuse(source, "where", filter, &reason),
                }
            }
            chosen.warnings.push(format!("only rows where {}", shown(filter)));
        }
        if let Some(sample) = &choice.sample {
            let columns: Vec<&str> = match self.keys.get(&source.oid) {
                Some(key) => key.iter().map(String::as_str).collect(),
                None => source.columns.iter().map(|column| column.name.as_str()).collect(),
            };
            conditions.extend(sample_condition(sample.value, &columns));
            chosen.warnings.push(format!("only a fraction of {} of the rows", sample.value));
        }
        chosen.condition = (!conditions.is_empty()).then(|| conditions.join(" AND "));
        Ok(())
    }

    fn choose_columns(
        &mut self,
        source: &Relation,
        local: &Relation,
        choice: &Choice,
        chosen: &mut Chosen,
    ) -> Result<()> {
        let mut computed = Vec::new();
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
                    chosen.items.insert(target.clone(), Item { sql, computed: false });
                    let column = take(self, &column.name, Column { name: target.clone(), ..column.clone() });
                    chosen.source.columns.push(column);
                }
                Some(Content::Skipped) => {
                    chosen.changed.insert(column.name.clone());
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
        Ok(())
    }

    /// Has a column of the target get what an expression computes. Returns the column as it arrives, unless there is a problem.
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
        if !self.names_are_usable(source, &place, value)? {
            return Ok(None);
        }
        if let Some(reason) = source::check_value(self.session, source, value, &type_name)? {
            self.refuse(source, &place, value, &reason);
            return Ok(None);
        }
        let sql = format!("{}::{type_name}", value.at_instant(self.instant));
        chosen.items.insert(target.to_owned(), Item { sql, computed: true });
        Ok(Some(arriving))
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
fn type_without_length(type_name: &str) -> String {
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
