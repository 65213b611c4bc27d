//! What is taken of each table: the argument `tables`, applied to the tables of the source.

use crate::error::Result;
use crate::local::interrupts;
use crate::order::ChosenRows;
use crate::source::{self, KeyColumns, Session};
use plan::catalog::{Column, Relation};
use plan::{PairedColumns, Problem, ProblemKind};
use selection::{Choice, Content, Expression, Given, Mask, MaskedColumn, Selection};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Returns what is read of each table, where that is not all of it as it is, and the unique index here that rows are to be told
/// apart by. Sources and targets are in the same order, with their columns; `all` are the source's relations by their OIDs.
pub(super) fn choose(
    session: &Session,
    selection: &Selection,
    sources: &[Relation],
    targets: &[Relation],
    all: &HashMap<u32, &Relation>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<(Option<Chosen>, Option<String>)>> {
    if selection.is_empty() {
        return Ok(sources.iter().map(|_| (None, None)).collect());
    }
    let oids: Vec<u32> = sources.iter().map(|source| source.oid).collect();
    problems.extend(unmatched_columns(selection, sources));
    let instant = session.query_value("SELECT pg_catalog.now()::pg_catalog.text")?;
    let mut keys: HashMap<u32, Vec<String>> = HashMap::new();
    for key in source::read_unique_keys(session, &oids)? {
        keys.entry(key.relation).or_insert(key.columns);
    }
    let mut choices: Vec<Choice> = Vec::with_capacity(sources.len());
    for source in sources {
        choices.push(choice_of(selection, source, all).unwrap_or_else(|problem| {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
            Choice::default()
        }));
    }
    let mut unique = HashSet::new();
    if selection.needs_key() {
        unique = source::read_unique_columns(session, &oids)?.into_iter().collect();
        let with_above: BTreeSet<u32> = sources.iter().flat_map(Relation::ancestors).collect();
        let keys = source::read_key_columns(session, &with_above.into_iter().collect::<Vec<_>>())?;
        problems.extend(mask_referencing_columns(sources, targets, all, &mut choices, &keys));
    }
    let mut chooser = Chooser { session, instant: &instant, keys: &keys, unique: &unique, problems };
    sources
        .iter()
        .zip(targets)
        .zip(choices)
        .map(|((source, target), choice)| {
            let chosen = if choice.is_empty() { None } else { Some(chooser.choose(source, target, &choice)?) };
            Ok((chosen, choice.index.map(|index| index.value)))
        })
        .collect()
}

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
fn unmatched_columns(selection: &Selection, tables: &[Relation]) -> Vec<Problem> {
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

/// Has columns that refer to masked ones be masked alike, found through the source's foreign keys, so that the keys still match.
/// Sources, targets and choices are in the same order; `all` are the source's relations by their OIDs. Returns the problems.
fn mask_referencing_columns(
    sources: &[Relation],
    targets: &[Relation],
    all: &HashMap<u32, &Relation>,
    choices: &mut [Choice],
    keys: &[KeyColumns],
) -> Vec<Problem> {
    // A key of a partitioned table is one of all its partitions, on either end.
    let top = |oid: u32| all.get(&oid).and_then(|relation| relation.partition_root).unwrap_or(oid);
    let mut members: HashMap<u32, Vec<usize>> = HashMap::new();
    for (position, source) in sources.iter().enumerate() {
        members.entry(top(source.oid)).or_default().push(position);
    }
    let mut pairs: BTreeSet<[(u32, &str); 2]> = BTreeSet::new();
    for key in keys {
        let ends = [top(key.referencing), top(key.referenced)];
        for (column, other) in &key.columns {
            pairs.insert([(ends[0], column.as_str()), (ends[1], other.as_str())]);
        }
    }
    pairs.retain(|ends| ends.iter().all(|(top, _)| members.contains_key(top)));
    let mut problems = Vec::new();
    let mut report = |problem: Problem| {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    };
    // A column is masked once at most, so that this ends, also where keys form a circle.
    let mut changed = true;
    while changed {
        changed = false;
        for [(referencing, column), (referenced, other)] in &pairs {
            let Some((first, content)) = members[referenced]
                .iter()
                .find_map(|&position| Some((position, keyed_mask(&choices[position], other)?)))
            else {
                continue;
            };
            let name = format!("{}.{}", sources[first].qualified_name(), plan::quote_identifier(other));
            // The partitions of the referenced table hold one key together.
            let ends = [(referenced, *other), (referencing, *column)];
            let columns =
                ends.into_iter().flat_map(|(top, name)| members[top].iter().map(move |&member| (member, name)));
            for (position, column) in columns {
                interrupts::check();
                let own = choices[position].columns.entry(column.to_owned()).or_default();
                match own.content.as_ref().map(|own| &own.value) {
                    None | Some(Content::Kept) => {
                        own.content = Some(Given::following(content.value.clone(), &content.key));
                        changed = true;
                    }
                    // Nothing refers to anything then.
                    Some(Content::Skipped | Content::Mask(Mask::Null)) => {}
                    Some(own) if *own == content.value => {}
                    Some(_) => {
                        let column = plan::quote_identifier(column);
                        let reason = format!("column {column} must be masked like {name}: a foreign key ties the two");
                        report(Problem::of(ProblemKind::Selection, &sources[position], reason));
                    }
                }
            }
        }
    }
    for [(referencing, column), (referenced, other)] in &pairs {
        let is_masked = |top: &u32, name: &str| {
            members[top].iter().copied().find(|&position| keyed_mask(&choices[position], name).is_some())
        };
        let Some(position) = is_masked(referencing, column) else { continue };
        let has_value = |&position: &usize| {
            let content = choices[position].columns.get(*other).and_then(|column| column.content.as_ref());
            matches!(content.map(|content| &content.value), Some(Content::Value(_)))
        };
        if is_masked(referenced, other).is_none() && !members[referenced].iter().any(has_value) {
            let Some(&first) = members[referenced].first() else { continue };
            let reason = format!(
                "column {} is masked, but refers to {}.{}, which is not: mask that one, and this one follows",
                plan::quote_identifier(column),
                sources[first].qualified_name(),
                plan::quote_identifier(other)
            );
            report(Problem::of(ProblemKind::Selection, &sources[position], reason));
        }
    }
    // All of them are cut alike: to the shortest.
    let mut limits: HashMap<(u32, &str), usize> = HashMap::new();
    for &end @ (top, name) in pairs.iter().flatten() {
        for &position in &members[&top] {
            if let Some(limit) = limit_of(&choices[position], &targets[position], name) {
                let least = limits.entry(end).or_insert(limit);
                *least = limit.min(*least);
            }
        }
    }
    let mut changed = true;
    while changed {
        changed = false;
        for ends in &pairs {
            let Some(limit) = ends.iter().filter_map(|end| limits.get(end)).min().copied() else { continue };
            for &end in ends {
                changed |= limits.insert(end, limit) != Some(limit);
            }
        }
    }
    for ((top, name), limit) in limits {
        for &position in &members[&top] {
            if let Some(column) = choices[position].columns.get_mut(name) {
                column.limit = Some(limit);
            }
        }
    }
    problems
}

/// Returns what is said of a column, where that is a mask whose results depend on the values.
fn keyed_mask(choice: &Choice, name: &str) -> Option<Given<Content>> {
    let content = choice.columns.get(name)?.content.as_ref()?;
    matches!(&content.value, Content::Mask(mask) if mask.needs_key()).then(|| content.clone())
}

/// Returns the most characters that the target takes of a column of the source.
fn limit_of(choice: &Choice, target: &Relation, name: &str) -> Option<usize> {
    let into = choice.columns.get(name).and_then(|column| column.into.as_ref());
    let name = into.map_or(name, |into| into.value.as_str());
    UnderDomains::of(target.columns.iter().find(|column| column.name == name)?).limit
}

/// A column's type, or what lies under its domains.
struct UnderDomains {
    /// Without a modifier.
    base_type: String,
    /// The most characters of a text, where there is such a limit.
    limit: Option<usize>,
    /// The number of decimals of a number, where its type says so.
    decimals: Option<u32>,
}

impl UnderDomains {
    fn of(column: &Column) -> Self {
        let (mut full, mut base_type) = (column.type_name.clone(), column.base_type.clone());
        let mut domains: HashMap<&str, &str> = column
            .structure
            .iter()
            .flat_map(|text| text.split("; "))
            .filter_map(|text| text.split_once(" over "))
            .collect();
        while let Some(under) = domains.remove(base_type.as_str()) {
            full = under.to_owned();
            base_type = match (under.find('('), under.find(')')) {
                (Some(start), Some(end)) if start < end => format!("{}{}", &under[..start], &under[end + 1..]),
                _ => under.to_owned(),
            };
        }
        let modifier =
            full.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(modifier, _)| modifier);
        let (limit, decimals) = match base_type.trim_end_matches("[]") {
            "character varying" | "character" => (modifier.parse().ok(), None),
            "numeric" => (None, modifier.split_once(',').and_then(|(_, decimals)| decimals.parse().ok())),
            _ => (None, None),
        };
        Self { base_type, limit, decimals }
    }

    fn element(&self) -> &str {
        self.base_type.trim_end_matches("[]")
    }

    fn is_citext(&self, column: &Column) -> bool {
        self.element().rsplit('.').next() == Some("citext")
            && column.extensions.iter().any(|extension| extension.starts_with("citext "))
    }
}

/// Returns whether values of the one type are masked like those of the other.
fn are_masked_alike(one: &UnderDomains, other: &UnderDomains) -> bool {
    const TEXTS: [&str; 3] = ["text", "character varying", "character"];
    const NUMBERS: [&str; 6] = ["smallint", "integer", "bigint", "numeric", "real", "double precision"];
    let is_array = |column: &UnderDomains| column.base_type.ends_with("[]");
    let are_both = |kinds: &[&str]| [one, other].iter().all(|column| kinds.contains(&column.element()));
    let is_text = |column: &UnderDomains| {
        TEXTS.contains(&column.element()) || column.element().rsplit('.').next() == Some("citext")
    };
    one.base_type == other.base_type
        || is_array(one) == is_array(other)
            && (is_text(one) && is_text(other) || are_both(&NUMBERS) || are_both(&["json", "jsonb"]))
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
    /// Returns the rows as FROM names them, with these columns and the place that each row lies in.
    pub(super) fn rows_as_from_names_them<'a>(&self, relation: &str, columns: impl Iterator<Item = &'a str>) -> String {
        let items = columns
            .filter_map(|name| Some(format!("{} AS {}", self.items.get(name)?.sql, plan::quote_identifier(name))));
        let items: Vec<String> = std::iter::once("ctid".to_owned()).chain(items).collect();
        let condition = self.condition.as_ref().map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        format!("(SELECT {} FROM {relation}{condition}) AS chosen", items.join(", "))
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
    /// The time of the snapshot, for expressions that ask for it.
    pub instant: &'a str,
    /// For the source's tables, the columns that tell rows apart.
    pub keys: &'a HashMap<u32, Vec<String>>,
    /// The columns of the source's tables that are unique by themselves.
    pub unique: &'a HashSet<(u32, String)>,
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
            conditions.extend(self.condition(source, "where", filter)?);
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

    /// Returns a condition over a table's rows as SQL, unless there is a problem.
    pub(super) fn condition(&mut self, source: &Relation, place: &str, filter: &Expression) -> Result<Option<String>> {
        if !self.names_are_usable(source, place, filter)? {
            return Ok(None);
        }
        if let Some(reason) = source::check_condition(self.session, source, filter)? {
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
                    chosen.items.insert(target.clone(), Item { sql, computed: false });
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
            chosen.warnings.push(format!("masked on the source: {}", masked.join(", ")));
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
        if !self.names_are_usable(source, &place, value)? {
            return Ok(Some(arriving));
        }
        if let Some(reason) = source::check_value(self.session, source, value, &type_name)? {
            self.refuse(source, &place, value, &reason);
            return Ok(Some(arriving));
        }
        let sql = format!("{}::{type_name}", value.at_instant(self.instant));
        chosen.items.insert(target.to_owned(), Item { sql, computed: true });
        Ok(Some(arriving))
    }

    /// Has a column of the target get masked values. Returns the column as it arrives.
    #[allow(clippy::too_many_arguments, reason = "both ends, and what lies between them")]
    fn mask(
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
            ignores_case: here.is_citext(column) || there.is_citext(masked),
        };
        let sql = if are_masked_alike(&there, &here) || !mask.needs_key() {
            mask.sql(&value, &shape)
        } else {
            Err(format!("it is of type {} on the source and {} on the destination", masked.base_type, column.base_type))
        };
        let mut reason = sql.as_ref().err().cloned();
        // What is a constant is computed when it is parsed, so that one that does not fit is found.
        let bounds = if is_built_in { mask.bounds() } else { Vec::new() };
        let constants = matches!(mask, Mask::Constant(_)).then(|| sql.clone().unwrap_or_default()).into_iter();
        for value in constants.chain(bounds).chain(sql.clone()) {
            if reason.is_none() {
                reason = source::check_masked_value(self.session, source, &format!("({value})::{type_name}"))?;
            }
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
        let sql = sql.unwrap_or_default();
        chosen.items.insert(target.to_owned(), Item { sql: format!("({sql})::{type_name}"), computed: true });
        Ok(arriving)
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
