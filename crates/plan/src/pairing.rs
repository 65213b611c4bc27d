use crate::{
    catalog::{Enum, Relation},
    columns::{Difference, PairedColumns, pair_columns},
    pattern::Pattern,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

/// The pairs of tables of both sides. Positions are those in the slices given to [`pair`].
#[derive(Debug, Default)]
pub struct Pairing {
    pub pairs: Vec<Pair>,
    pub problems: Vec<Problem>,
    /// A notice for the user, which does not stop the pull.
    pub notices: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub source: usize,
    pub target: usize,
}

/// A reason why the pull as asked for is impossible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// Schemas and names of the tables without which the problem would not be there; empty where leaving out tables mends
    /// nothing.
    pub tables: Vec<(String, String)>,
    /// Names the objects.
    pub text: String,
    /// The statement, or the argument of the call, that would mend it.
    pub mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    UnmatchedPattern,
    MissingTable,
    WrongObject,
    Partitioning,
    /// A table that is to be left out belongs to one that can only be pulled as a whole.
    Exclusion,
    MissingColumn,
    Type,
    /// Something that is asked for of a table's rows or columns is impossible.
    Selection,
    Rights,
    Storage,
}

impl Problem {
    pub fn new(kind: ProblemKind, text: impl Into<String>) -> Self {
        Self { kind, tables: Vec::new(), text: text.into(), mend: None }
    }

    /// A problem of one table, in words that follow its name.
    pub fn of(kind: ProblemKind, table: &Relation, reason: impl fmt::Display) -> Self {
        Self::new(kind, format!("{}: {reason}", table.name_on_both_sides())).at(table)
    }

    /// Adds a table without which it would not be there.
    #[must_use]
    pub fn at(mut self, table: &Relation) -> Self {
        let (schema, name) = table.counterpart_key();
        self.tables.push((schema.to_owned(), name.to_owned()));
        self
    }

    /// Says what would mend it.
    #[must_use]
    pub fn mended_by(mut self, statement: impl Into<String>) -> Self {
        self.mend = Some(statement.into());
        self
    }

    /// The text without the name of its table at the beginning.
    pub fn reason(&self) -> &str {
        let name = self.tables.first().map(|(schema, name)| crate::qualified(schema, name));
        name.and_then(|name| self.text.strip_prefix(&name)?.strip_prefix(": ")).unwrap_or(&self.text)
    }
}

/// Selects the tables that the patterns name and pairs them by schema and name.
///
/// Without `include`, every ordinary table that exists on both sides and belongs to no extension. What a wildcard
/// matches on the source alone is left out with a notice; what a pattern names literally must exist on both sides.
/// A partitioned table whose partitions are the same on both sides stands for them; one whose partitions differ is a
/// target itself. Foreign tables are never read or written, also where they are partitions.
///
/// `interrupt` is called often: the source decides how many relations there are.
pub fn pair(
    source: &[Relation],
    target: &[Relation],
    include: Option<&[Pattern]>,
    exclude: &[Pattern],
    interrupt: &dyn Fn(),
) -> Pairing {
    let mut pairing = Pairing::default();
    let targets = index_by_name(target);
    let matches = |pattern: &Pattern, relation: &Relation| {
        interrupt();
        pattern.matches(&relation.schema, &relation.name)
    };
    let mut wanted = select(source, target, include, exclude, &matches, interrupt, &mut pairing);
    let source = Side::new(source, excluded_relations(source, exclude, &matches));
    let target = Side::new(target, excluded_relations(target, exclude, &matches));
    wanted.retain(|&position, _| !source.excludes(&source.relations[position]));
    let named_alone: HashSet<usize> =
        wanted.iter().filter(|&(_, &named)| named).map(|(&position, _)| position).collect();
    include_partitions(&mut wanted, &source);
    let mut not_tables = BTreeSet::new();
    let mut whole = WholeTables::default();
    for (&position, &named) in &wanted {
        interrupt();
        let relation = &source.relations[position];
        let Some(&at) = targets.get(&relation.counterpart_key()) else { continue };
        let other = &target.relations[at];
        if !(relation.is_table() && other.is_table() && (relation.kind == 'p' || other.kind == 'p')) {
            continue;
        }
        if relation.partition_root.is_some() || other.partition_root.is_some() {
            continue;
        }
        let foreign: BTreeMap<_, _> = source.foreign_leaves(relation).chain(target.foreign_leaves(other)).collect();
        if are_divided_alike((&source, relation), (&target, other), &foreign) {
            not_tables.extend(foreign.into_values());
        } else if foreign.is_empty() {
            whole.source_roots.insert(relation.oid);
            whole.target_roots.insert(other.oid);
        } else {
            let foreign: Vec<String> = foreign.into_values().collect();
            let reason = format!(
                "it is not partitioned alike on both sides, and cannot be pulled as a whole because of foreign tables: {}",
                crate::list(&foreign)
            );
            if named {
                pairing.problems.push(Problem::of(ProblemKind::WrongObject, relation, reason));
            } else {
                pairing.notices.push(format!("{} is left out: {reason}", relation.qualified_name()));
            }
            whole.impossible.insert(relation.oid);
        }
    }
    pairing.problems.extend(whole.refused_exclusions(&source, &target));
    let is_below =
        |relation: &Relation, roots: &HashSet<u32>| relation.partition_root.is_some_and(|root| roots.contains(&root));
    let mut only_on_source = Vec::new();
    for (&position, &named) in &wanted {
        interrupt();
        let relation = &source.relations[position];
        let name = relation.name_on_both_sides();
        if whole.impossible.contains(&relation.oid)
            || (is_below(relation, &whole.impossible) && !named_alone.contains(&position))
        {
            continue;
        }
        if !relation.is_table() {
            if named {
                let reason = format!("is a {} on the source, not a table", relation.kind_name());
                pairing.problems.push(Problem::of(ProblemKind::WrongObject, relation, reason));
            } else {
                not_tables.insert(name);
            }
            continue;
        }
        if is_below(relation, &whole.source_roots) {
            continue;
        }
        let Some(&at) = targets.get(&relation.counterpart_key()) else {
            if named || relation.counterpart_is_named {
                let problem = Problem::of(ProblemKind::MissingTable, relation, "does not exist on the destination");
                let (schema, name) = relation.counterpart_key();
                let wanted = crate::qualified(schema, name);
                pairing.problems.push(problem.mended_by(format!("CREATE TABLE {wanted} (…);")));
            } else {
                only_on_source.push(name);
            }
            continue;
        };
        let other = &target.relations[at];
        if !other.is_table() {
            if named || other.kind != 'f' {
                let reason = format!("is a {} on the destination, not a table", other.kind_name());
                pairing.problems.push(Problem::of(ProblemKind::WrongObject, relation, reason));
            } else {
                not_tables.insert(name);
            }
        } else if other.extension.is_some() && !named {
            // The table is left alone unless it is named.
        } else if is_below(other, &whole.target_roots) {
            // The table is filled through its partitioned table.
        } else if whole.source_roots.contains(&relation.oid) {
            pairing.pairs.push(Pair { source: position, target: at });
        } else if !other.holds_rows_of(relation) {
            pairing.problems.push(Problem::of(
                ProblemKind::Partitioning,
                relation,
                "is a partition of another layout; name the partitioned table instead",
            ));
        } else if relation.kind == 'r' {
            pairing.pairs.push(Pair { source: position, target: at });
        }
    }
    refuse_shared_targets(&mut pairing, source.relations, target.relations);
    for (what, names) in [
        ("not on the destination", only_on_source),
        ("not tables on both sides", not_tables.into_iter().collect::<Vec<_>>()),
    ] {
        if !names.is_empty() {
            pairing.notices.push(format!("{what}, left out: {}", crate::list(&names)));
        }
    }
    pairing
}

/// Tables of two names cannot go into one.
fn refuse_shared_targets(pairing: &mut Pairing, source: &[Relation], target: &[Relation]) {
    let mut first: HashMap<usize, usize> = HashMap::new();
    for pair in &pairing.pairs {
        let Some(other) = first.insert(pair.target, pair.source) else { continue };
        let names = [other, pair.source].map(|position| source[position].qualified_name());
        let reason = format!("two tables of the source would go into it: {} and {}", names[0], names[1]);
        pairing.problems.push(Problem::of(ProblemKind::Selection, &target[pair.target], reason));
    }
}

/// The relations of one side.
struct Side<'a> {
    relations: &'a [Relation],
    /// OIDs of those that are to be left out.
    excluded: HashSet<u32>,
    /// The partitions of each partitioned table, of every level, that have none themselves and are not left out.
    leaves: HashMap<u32, Vec<&'a Relation>>,
}

impl<'a> Side<'a> {
    fn new(relations: &'a [Relation], excluded: HashSet<u32>) -> Self {
        let mut leaves: HashMap<u32, Vec<&Relation>> = HashMap::new();
        for leaf in relations.iter().filter(|leaf| leaf.kind != 'p' && !excluded.contains(&leaf.oid)) {
            if let Some(root) = leaf.partition_root {
                leaves.entry(root).or_default().push(leaf);
            }
        }
        Self { relations, excluded, leaves }
    }

    fn excludes(&self, relation: &Relation) -> bool {
        self.excluded.contains(&relation.oid)
    }

    fn leaves(&self, root: &Relation) -> impl Iterator<Item = &'a Relation> {
        self.leaves.get(&root.oid).into_iter().flatten().copied()
    }

    /// Keys and qualified names.
    fn foreign_leaves(&self, root: &Relation) -> impl Iterator<Item = ((&'a str, &'a str), String)> {
        self.leaves(root).filter(|leaf| leaf.kind == 'f').map(|leaf| (leaf.counterpart_key(), leaf.qualified_name()))
    }
}

/// Returns whether both tables can be pulled leaf by leaf. Leaves that are foreign tables on either side do not matter.
fn are_divided_alike(
    (source, there): (&Side<'_>, &Relation),
    (target, here): (&Side<'_>, &Relation),
    foreign: &BTreeMap<(&str, &str), String>,
) -> bool {
    let theirs: HashMap<_, _> = source.leaves(there).map(|leaf| (leaf.counterpart_key(), leaf)).collect();
    let ours: HashMap<_, _> = target.leaves(here).map(|leaf| (leaf.key(), leaf)).collect();
    let has_counterpart = |key: &(&str, &str)| match (theirs.get(key), ours.get(key)) {
        (Some(leaf), Some(other)) => other.holds_rows_of(leaf),
        _ => false,
    };
    let mut keys = theirs.keys().chain(ours.keys()).filter(|key| !foreign.contains_key(*key));
    there.kind == here.kind && keys.all(has_counterpart)
}

/// Returns the positions of the source relations that the patterns name, and whether they were named one by one.
fn select(
    source: &[Relation],
    target: &[Relation],
    include: Option<&[Pattern]>,
    exclude: &[Pattern],
    matches: &dyn Fn(&Pattern, &Relation) -> bool,
    interrupt: &dyn Fn(),
    pairing: &mut Pairing,
) -> BTreeMap<usize, bool> {
    for pattern in exclude {
        if !source.iter().chain(target).any(|relation| matches(pattern, relation)) {
            let problem = Problem::new(
                ProblemKind::UnmatchedPattern,
                format!("exclude pattern {pattern}: no such table on either side"),
            );
            let near = pattern.nearest(source.iter().chain(target), interrupt);
            pairing.problems.push(Problem { mend: near.map(|name| meant("exclude", &name)), ..problem });
        }
    }
    let ordinary = |relation: &Relation| relation.is_table() && relation.extension.is_none();
    let mut wanted = BTreeMap::new();
    let Some(patterns) = include else {
        wanted.extend(
            (0..source.len()).filter(|&position| ordinary(&source[position])).map(|position| (position, false)),
        );
        return wanted;
    };
    for pattern in patterns {
        let mut matched = false;
        for (position, relation) in source.iter().enumerate() {
            if !matches(pattern, relation) {
                continue;
            }
            if pattern.is_literal() {
                matched = true;
                wanted.insert(position, true);
            } else if ordinary(relation) {
                matched = true;
                wanted.entry(position).or_insert(false);
            }
        }
        if !matched {
            if pattern.is_temporary() {
                pairing.problems.push(Problem::new(
                    ProblemKind::UnmatchedPattern,
                    format!("include pattern {pattern}: temporary tables cannot be pulled"),
                ));
                continue;
            }
            let text = format!("include pattern {pattern}: no such table on the source");
            let problem = match target.iter().find(|relation| matches(pattern, relation)) {
                Some(here) => {
                    let text = format!("{text}; there is one on the destination");
                    let problem = Problem::new(ProblemKind::UnmatchedPattern, text);
                    if pattern.is_literal() { problem.at(here) } else { problem }
                }
                None => {
                    let near = pattern.nearest(source.iter().filter(|relation| ordinary(relation)), interrupt);
                    let problem = Problem::new(ProblemKind::UnmatchedPattern, text);
                    Problem { mend: near.map(|name| meant("include", &name)), ..problem }
                }
            };
            pairing.problems.push(problem);
        }
    }
    wanted
}

/// The argument that somebody may have meant.
fn meant(argument: &str, name: &str) -> String {
    format!("{argument} => {}", crate::quote_literal(&format!("{{{name}}}")))
}

/// OIDs of what the patterns name, partitions of it included.
fn excluded_relations(
    relations: &[Relation],
    exclude: &[Pattern],
    matches: &dyn Fn(&Pattern, &Relation) -> bool,
) -> HashSet<u32> {
    let named: HashSet<u32> = relations
        .iter()
        .filter(|relation| exclude.iter().any(|pattern| matches(pattern, relation)))
        .map(|relation| relation.oid)
        .collect();
    let is_below = |relation: &&Relation| relation.ancestors().any(|ancestor| named.contains(&ancestor));
    relations.iter().filter(is_below).map(|relation| relation.oid).collect()
}

/// Naming a partitioned table names its partitions.
fn include_partitions(wanted: &mut BTreeMap<usize, bool>, source: &Side<'_>) {
    let roots: HashMap<u32, bool> = wanted
        .iter()
        .filter(|&(&position, _)| source.relations[position].kind == 'p')
        .map(|(&position, &named)| (source.relations[position].oid, named))
        .collect();
    for (position, relation) in source.relations.iter().enumerate() {
        if source.excludes(relation) {
            continue;
        }
        let mut above = relation.ancestors().filter_map(|ancestor| roots.get(&ancestor)).peekable();
        if above.peek().is_some() {
            *wanted.entry(position).or_insert(false) |= above.any(|&named| named);
        }
    }
}

/// Partitioned tables whose partitions do not correspond.
#[derive(Default)]
struct WholeTables {
    /// OIDs of those that are pulled through themselves; an unpartitioned counterpart counts as its own root.
    source_roots: HashSet<u32>,
    target_roots: HashSet<u32>,
    /// OIDs, on the source, of those that cannot be pulled even so.
    impossible: HashSet<u32>,
}

impl WholeTables {
    /// Returns a problem for each partition that is to be left out of a table that can only be pulled as a whole.
    fn refused_exclusions(&self, source: &Side<'_>, target: &Side<'_>) -> Vec<Problem> {
        let mut partitions = BTreeMap::new();
        for (side, roots) in [(source, &self.source_roots), (target, &self.target_roots)] {
            let names: HashMap<u32, &Relation> = side
                .relations
                .iter()
                .filter(|relation| roots.contains(&relation.oid))
                .map(|root| (root.oid, root))
                .collect();
            // What lies below one that is left out goes with it.
            let is_below = |relation: &Relation| {
                relation.ancestors().any(|above| above != relation.oid && side.excluded.contains(&above))
            };
            for partition in side.relations.iter().filter(|relation| side.excludes(relation) && !is_below(relation)) {
                if let Some(root) = partition.partition_root.and_then(|root| names.get(&root)) {
                    partitions.insert(partition.qualified_name(), *root);
                }
            }
        }
        let problem = |(partition, root): (String, &Relation)| {
            let reason = "is not partitioned alike on both sides and can only be pulled as a whole";
            let text = format!("{partition}: cannot be left out, because {} {reason}", root.qualified_name());
            Problem::new(ProblemKind::Exclusion, text).at(root)
        };
        partitions.into_iter().map(problem).collect()
    }
}

impl Pairing {
    /// Pairs the columns of one pair, or adds its differences to the problems.
    pub fn columns(&mut self, source: &Relation, target: &Relation) -> Option<PairedColumns> {
        match pair_columns(source, target) {
            Ok(paired) => Some(paired),
            Err(differences) => {
                self.problems.extend(differences.into_iter().map(|difference| describe(target, difference)));
                None
            }
        }
    }
}

impl Pairing {
    /// Every label that the source's values may have must exist on the destination, in whatever order. `relations` are
    /// those of the source that the enums are used by.
    pub fn enums(&mut self, source: &[Enum], target: &[Enum], relations: &[Relation]) {
        let known: HashMap<&str, HashSet<&str>> = target
            .iter()
            .map(|kind| (kind.name.as_str(), kind.labels.iter().flatten().map(String::as_str).collect()))
            .collect();
        for kind in source {
            // A type that the destination does not use is a difference of a column.
            let Some(labels) = known.get(kind.name.as_str()) else { continue };
            let missing: Vec<String> = kind
                .labels
                .iter()
                .flatten()
                .filter(|label| !labels.contains(label.as_str()))
                .map(|label| crate::quote_literal(label))
                .collect();
            if missing.is_empty() {
                continue;
            }
            let text = format!("{}: type {} has no {} on the destination", kind.used_by, kind.name, missing.join(", "));
            let additions: Vec<String> =
                missing.iter().map(|label| format!("ALTER TYPE {} ADD VALUE {label};", kind.name)).collect();
            let problem = Problem::new(ProblemKind::Type, text).mended_by(additions.join(" "));
            let users = relations.iter().filter(|relation| kind.users.contains(&relation.oid));
            self.problems.push(users.fold(problem, Problem::at));
        }
    }
}

fn describe(table: &Relation, difference: Difference) -> Problem {
    let quote = crate::quote_identifier;
    let name = table.qualified_name();
    let (kind, reason, mend) = match difference {
        Difference::MissingOnSource(column) => (
            ProblemKind::MissingColumn,
            format!("column {} exists on the destination only, and has no default", quote(&column)),
            format!("ALTER TABLE {name} ALTER COLUMN {} DROP NOT NULL;", quote(&column)),
        ),
        Difference::MissingOnTarget { column, type_name } => (
            ProblemKind::MissingColumn,
            format!("column {} exists on the source only", quote(&column)),
            if is_plain_type(&type_name) {
                format!("ALTER TABLE {name} ADD COLUMN {} {type_name};", quote(&column))
            } else {
                format!("ALTER TABLE {name} ADD COLUMN {} …;", quote(&column))
            },
        ),
        Difference::GeneratedOnTarget(column) => (
            ProblemKind::MissingColumn,
            format!("column {} is generated on the destination only", quote(&column)),
            format!("ALTER TABLE {name} ALTER COLUMN {} DROP EXPRESSION;", quote(&column)),
        ),
        Difference::Type { column, source, target, wanted } => {
            let column = quote(&column);
            let reason = format!("column {column} is {source} on the source and {target} on the destination");
            let problem = Problem::of(ProblemKind::Type, table, reason);
            let change = |wanted: String| {
                format!("ALTER TABLE {name} ALTER COLUMN {column} TYPE {wanted} USING {column}::{wanted};")
            };
            return Problem { mend: wanted.filter(|wanted| is_plain_type(wanted)).map(change), ..problem };
        }
    };
    Problem::of(kind, table, reason).mended_by(mend)
}

/// Whether the words for a type can be part of a statement that people are to run: the source has written them. Outside of
/// quoted names there is nothing but words, numbers in parentheses and brackets.
fn is_plain_type(text: &str) -> bool {
    let (mut quoted, mut depth) = (false, 0);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted && !c.is_control() => {}
            '(' if depth == 0 => depth = 1,
            ')' if depth == 1 => depth = 0,
            ',' | '-' | '0'..='9' | ' ' if depth == 1 => {}
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | ' ' | '.' | '[' | ']' if depth == 0 => {}
            _ => return false,
        }
    }
    !quoted && depth == 0 && !text.is_empty()
}

fn index_by_name(relations: &[Relation]) -> HashMap<(&str, &str), usize> {
    relations.iter().enumerate().map(|(position, relation)| (relation.key(), position)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(source: &[Relation], target: &[Relation], include: Option<&[Pattern]>, exclude: &[Pattern]) -> Pairing {
        super::pair(source, target, include, exclude, &|| ())
    }

    #[test]
    fn types_that_statements_may_hold() {
        for plain in ["integer", "numeric(10,-2)", "timestamp(3) without time zone", "text[]", "app.\"Odd; Name\""] {
            assert!(is_plain_type(plain), "{plain}");
        }
        for other in [
            "",
            "int; DROP TABLE t",
            "int, DROP COLUMN a",
            "int DEFAULT f(x)",
            "int -- x",
            "a\"b",
            "\"a\nb\"",
            "(1",
            "größe",
        ] {
            assert!(!is_plain_type(other), "{other}");
        }
    }

    #[test]
    fn many_relations_can_be_interrupted() {
        let source = tables(&["a"; 1000]);
        let asked = std::cell::Cell::new(0);
        super::pair(&source, &[], Some(&patterns(&["x*", "y*"])), &patterns(&["z*"]), &|| asked.set(asked.get() + 1));
        assert!(asked.get() >= 3000, "{}", asked.get());
    }

    #[test]
    fn many_partitioned_tables_are_compared_in_one_go() {
        let names: Vec<String> = (0..40_000).map(|number| format!("t{number}")).collect();
        let mut source = tables(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (position, relation) in source.iter_mut().enumerate() {
            match position % 2 {
                0 => relation.kind = 'p',
                _ => relation.partition_root = Some(position as u32),
            }
        }
        let pairing = pair(&source, &source, None, &[]);
        assert_eq!((pairing.pairs.len(), pairing.problems.len()), (20_000, 0));
    }

    fn tables(names: &[&str]) -> Vec<Relation> {
        names.iter().zip(1..).map(|(name, oid)| Relation::named(oid, "public", name)).collect()
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    fn names(pairing: &Pairing, source: &[Relation]) -> Vec<String> {
        pairing.pairs.iter().map(|pair| source[pair.source].name.clone()).collect()
    }

    #[test]
    fn without_patterns_what_exists_on_both_sides() {
        let (source, target) = (tables(&["a", "b", "c"]), tables(&["b", "c", "d"]));
        let pairing = pair(&source, &target, None, &[]);
        assert_eq!(names(&pairing, &source), ["b", "c"]);
        assert!(pairing.problems.is_empty());
        assert_eq!(pairing.notices, ["not on the destination, left out: public.a"]);
    }

    #[test]
    fn exclude_wins_and_wildcards_forgive() {
        let (source, target) = (tables(&["a_logs", "a", "b"]), tables(&["a_logs", "a"]));
        let pairing = pair(&source, &target, Some(&patterns(&["public.*"])), &patterns(&["*_logs"]));
        assert_eq!(names(&pairing, &source), ["a"]);
        assert!(pairing.problems.is_empty());
        assert_eq!(pairing.notices.len(), 1);
    }

    #[test]
    fn what_is_named_must_be_there() {
        let (source, target) = (tables(&["a", "b"]), tables(&["a", "c"]));
        let pairing = pair(&source, &target, Some(&patterns(&["a", "b", "c", "x*"])), &patterns(&["nope"]));
        let kinds: Vec<_> = pairing.problems.iter().map(|problem| problem.kind).collect();
        use ProblemKind::{MissingTable, UnmatchedPattern};
        assert_eq!(kinds, [UnmatchedPattern, UnmatchedPattern, UnmatchedPattern, MissingTable]);
        assert!(pairing.problems[1].text.ends_with("there is one on the destination"));
    }

    #[test]
    fn views_are_no_tables() {
        let mut source = tables(&["a"]);
        source[0].kind = 'v';
        assert_eq!(
            pair(&source, &tables(&["a"]), Some(&patterns(&["a"])), &[]).problems[0].kind,
            ProblemKind::WrongObject
        );
        assert!(pair(&source, &tables(&["a"]), None, &[]).pairs.is_empty());
    }

    #[test]
    fn a_partitioned_table_stands_for_its_partitions() {
        let mut source = tables(&["p", "p_1", "p_2"]);
        source[0].kind = 'p';
        for leaf in &mut source[1..] {
            leaf.partition_root = Some(1);
            leaf.partition_layout = Some(leaf.name.clone());
        }
        let pairing = pair(&source, &source, Some(&patterns(&["p"])), &[]);
        assert_eq!(names(&pairing, &source), ["p_1", "p_2"]);
        let mut other = source.clone();
        other[2].partition_layout = Some("elsewhere".into());
        let whole = pair(&source, &other, Some(&patterns(&["p"])), &[]);
        assert_eq!((names(&whole, &source), whole.problems.len()), (vec!["p".to_owned()], 0));
        assert_eq!(names(&pair(&source, &source[..2], None, &[]), &source), ["p"]);
        assert_eq!(names(&pair(&source, &tables(&["p"]), None, &[]), &source), ["p"]);
        assert_eq!(names(&pair(&tables(&["p"]), &source, None, &[]), &source), ["p"]);
        let leaf_alone = pair(&source, &other, Some(&patterns(&["p_2"])), &[]);
        assert_eq!(leaf_alone.problems.len(), 1);
    }

    #[test]
    fn tables_pair_by_the_names_that_they_are_to_have() {
        let mut source = tables(&["a", "b", "c"]);
        let target = tables(&["b", "x"]);
        source[0].counterpart = Some(("public".into(), "x".into()));
        source[2].counterpart = Some(("app".into(), "y".into()));
        let pairing = pair(&source, &target, None, &[]);
        assert_eq!(names(&pairing, &source), ["a", "b"]);
        assert_eq!(pairing.notices, ["not on the destination, left out: public.c (into app.y)"]);
        let named = pair(&source, &target, Some(&patterns(&["c"])), &[]);
        assert_eq!(named.problems[0].text, "public.c (into app.y): does not exist on the destination");
        assert_eq!(named.problems[0].tables, [("app".to_owned(), "y".to_owned())]);
        source[0].counterpart = Some(("public".into(), "b".into()));
        let shared = pair(&source, &target, None, &[]);
        assert_eq!(
            shared.problems[0].text,
            "public.b: two tables of the source would go into it: public.a and public.b"
        );
    }
}
