//! Masks of keys: the columns of foreign keys are masked like those that they refer to.

use crate::local::interrupts;
use crate::source::KeyColumns;
use plan::catalog::{Column, Relation};
use plan::{Problem, ProblemKind};
use selection::{Choice, Content, Given, Mask};
use std::collections::{BTreeSet, HashMap};

/// Has columns that refer to masked ones be masked alike, found through the source's foreign keys, so that the keys still match.
/// Sources, targets and choices are in the same order; `all` are the source's relations by their OIDs. Returns the problems.
pub(super) fn mask_referencing_columns(
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
    for [(referencing, column), (referenced, other)] in &pairs {
        let masked = |top: &u32, name: &str| {
            members[top].iter().copied().find(|&position| keyed_mask(&choices[position], name).is_some())
        };
        let (Some(position), Some(first)) = (masked(referencing, column), masked(referenced, other)) else { continue };
        let types = |position: usize, name: &str| {
            let there = sources[position].columns.iter().find(|column| column.name == name);
            [there, target_column(&choices[position], &targets[position], name)]
        };
        let both = types(position, column).into_iter().zip(types(first, other));
        // The one type says how equal values are written, and the other what the masks are made of.
        let unlike =
            both.filter_map(|(own, other)| Some((own?, other?))).find(|(own, other)| !are_keys_alike(own, other));
        if let Some((own, others)) = unlike {
            let reason = format!(
                "column {} is of type {} and refers to {}.{} of type {}: masks of equal values of the two types differ",
                plan::quote_identifier(column),
                own.type_name,
                sources[first].qualified_name(),
                plan::quote_identifier(other),
                others.type_name
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
    UnderDomains::of(target_column(choice, target, name)?).limit
}

/// Returns the target's column for one of the source.
fn target_column<'a>(choice: &Choice, target: &'a Relation, name: &str) -> Option<&'a Column> {
    let into = choice.columns.get(name).and_then(|column| column.into.as_ref());
    let name = into.map_or(name, |into| into.value.as_str());
    target.columns.iter().find(|column| column.name == name)
}

/// Returns whether equal values of two columns that a key ties together have equal masks.
fn are_keys_alike(one: &Column, other: &Column) -> bool {
    const INTEGERS: [&str; 3] = ["smallint", "integer", "bigint"];
    const TEXTS: [&str; 2] = ["text", "character varying"];
    let (one, other) = (UnderDomains::of(one), UnderDomains::of(other));
    let are_both = |kinds: &[&str]| [&one, &other].iter().all(|column| kinds.contains(&column.base_type.as_str()));
    let digits = |column: &UnderDomains| (column.precision, column.decimals);
    are_both(&INTEGERS) || are_both(&TEXTS) || one.base_type == other.base_type && digits(&one) == digits(&other)
}

/// A column's type, or what lies under its domains.
pub(super) struct UnderDomains {
    /// With its modifier.
    pub(super) type_name: String,
    /// Without a modifier.
    pub(super) base_type: String,
    /// The most characters of a text, where there is such a limit.
    pub(super) limit: Option<usize>,
    /// The number of decimals of a number, and its most digits, where its type says so.
    pub(super) decimals: Option<i32>,
    pub(super) precision: Option<u32>,
}

impl UnderDomains {
    pub(super) fn of(column: &Column) -> Self {
        let (mut full, mut base_type) = (column.type_name.clone(), column.base_type.clone());
        let mut domains = HashMap::new();
        let mut rest = column.structure.as_deref();
        while let Some(text) = rest {
            let (entry, others) = match split_outside_names(text, "; ") {
                Some((entry, others)) => (entry, Some(others)),
                None => (text, None),
            };
            domains.extend(split_outside_names(entry, " over "));
            rest = others;
        }
        while let Some(under) = domains.remove(base_type.as_str()) {
            full = under.to_owned();
            let (before, after) = without_modifier(under);
            // A domain over it says so where it has no length, and a column does not.
            let before = if before == "bpchar" { "character" } else { before };
            base_type = format!("{before}{after}");
        }
        let modifier = modifier_of(&full).unwrap_or_default();
        let (mut limit, mut decimals, mut precision) = (None, None, None);
        match base_type.trim_end_matches("[]") {
            "character varying" | "character" => limit = modifier.parse().ok(),
            "numeric" => {
                if let Some((digits, others)) = modifier.split_once(',') {
                    (precision, decimals) = (digits.parse().ok(), others.parse().ok());
                }
            }
            _ => {}
        }
        Self { type_name: full, base_type, limit, decimals, precision }
    }

    /// Returns the reason why a value, which its type has written, is too long for the column.
    pub(super) fn too_long(&self, value: &str) -> Option<String> {
        let length: usize = modifier_of(&self.type_name)?.parse().ok()?;
        let has = value.chars().count();
        match self.base_type.as_str() {
            // No blank at the end is cut off: the value would be another one.
            "character" | "character varying" => {
                (has > length).then(|| format!("value too long for type {}", self.type_name))
            }
            "bit varying" => (has > length).then(|| format!("bit string too long for type {}", self.type_name)),
            "bit" => (has != length).then(|| format!("bit string length {has} does not match type {}", self.type_name)),
            _ => None,
        }
    }

    fn element(&self) -> &str {
        self.base_type.trim_end_matches("[]")
    }

    /// Returns whether both are numbers whose types say that they have the same digits.
    pub(super) fn has_digits_of(&self, other: &Self) -> bool {
        [self, other].iter().all(|column| column.element() == "numeric" && column.precision.is_some())
            && (self.precision, self.decimals) == (other.precision, other.decimals)
    }

    pub(super) fn is_character(&self) -> bool {
        self.element() == "character"
    }

    pub(super) fn is_citext(&self, column: &Column) -> bool {
        self.element().rsplit('.').next() == Some("citext")
            && column.extensions.iter().any(|extension| extension.starts_with("citext "))
    }
}

/// Divides a text before and after a separator, but not within a name in double quotes, which may hold anything.
fn split_outside_names<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let mut is_name = false;
    for (at, character) in text.char_indices() {
        if character == '"' {
            is_name = !is_name;
        } else if !is_name && let Some(after) = text[at..].strip_prefix(separator) {
            return Some((&text[..at], after));
        }
    }
    None
}

/// Returns what the name of a type has before and after its modifier.
fn without_modifier(type_name: &str) -> (&str, &str) {
    let Some((before, rest)) = split_outside_names(type_name, "(") else {
        let brackets = if type_name.ends_with("[]") { type_name.len() - 2 } else { type_name.len() };
        return type_name.split_at(brackets);
    };
    (before, rest.split_once(')').map_or("", |(_, after)| after))
}

fn modifier_of(type_name: &str) -> Option<&str> {
    Some(split_outside_names(type_name, "(")?.1.split_once(')')?.0)
}

/// Returns whether values of the one type are masked like those of the other.
pub(super) fn are_masked_alike(one: &UnderDomains, other: &UnderDomains) -> bool {
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
