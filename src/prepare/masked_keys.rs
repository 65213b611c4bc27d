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
pub(super) struct UnderDomains {
    /// Without a modifier.
    pub(super) base_type: String,
    /// The most characters of a text, where there is such a limit.
    pub(super) limit: Option<usize>,
    /// The number of decimals of a number, where its type says so.
    pub(super) decimals: Option<u32>,
}

impl UnderDomains {
    pub(super) fn of(column: &Column) -> Self {
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

    pub(super) fn is_citext(&self, column: &Column) -> bool {
        self.element().rsplit('.').next() == Some("citext")
            && column.extensions.iter().any(|extension| extension.starts_with("citext "))
    }
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
