//! The part of a dump that filters choose: tables with all that hangs on them, and all that they need.

use crate::source::ObjectAddress;
use dumpscript::{Entry, Head};
use plan::Pattern;
use std::collections::{HashMap, HashSet};

/// No pattern without a wildcard takes it.
const LONGER_THAN_NAMES: &str = "                                                                                ";

/// The patterns of a migration. They name tables and other relations; one that takes every name of a schema takes all that
/// is in the schema.
pub struct Filter {
    pub include: Option<Vec<Pattern>>,
    pub exclude: Vec<Pattern>,
}

impl Filter {
    pub(super) fn takes(&self, schema: &str, name: &str) -> bool {
        let takes = |pattern: &Pattern| pattern.matches(schema, name);
        self.include.as_ref().is_none_or(|patterns| patterns.iter().any(takes)) && !self.excludes(schema, name)
    }

    /// Whether a pattern without a wildcard takes it.
    pub(super) fn names_alone(&self, schema: &str, name: &str) -> bool {
        let names = |pattern: &Pattern| pattern.is_literal() && pattern.matches(schema, name);
        self.include.iter().flatten().any(names)
    }

    pub(super) fn excludes(&self, schema: &str, name: &str) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(schema, name))
    }

    /// Returns the patterns that name something of a dump: a relation, or a whole schema.
    pub(super) fn naming(&self, entries: &[Entry]) -> Vec<Pattern> {
        let names = |pattern: &Pattern, head: &Head| match head.schema.as_deref() {
            Some(schema) => RELATIONS.contains(&head.kind.as_str()) && pattern.matches(schema, &head.name),
            None => head.kind == "SCHEMA" && pattern.matches(&head.name, LONGER_THAN_NAMES),
        };
        let all = self.include.iter().flatten().chain(&self.exclude);
        all.filter(|pattern| entries.iter().any(|entry| names(pattern, &entry.head))).cloned().collect()
    }

    fn takes_all_of(&self, schema: &str) -> bool {
        self.takes(schema, LONGER_THAN_NAMES)
    }
}

/// What is chosen of a dump.
pub struct Selected {
    /// Whether each entry is.
    pub chosen: Vec<bool>,
    /// Tables that others need, and that no pattern names.
    pub needed_tables: Vec<String>,
    /// Foreign keys of chosen tables to others.
    pub left_out_keys: Vec<String>,
}

/// Relations, which patterns name.
const RELATIONS: [&str; 5] = ["TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "SEQUENCE"];

/// Entries that hang on a relation, with whose name their own begins.
const NAMED_AFTER: [&str; 6] = ["DEFAULT", "CONSTRAINT", "CHECK CONSTRAINT", "TRIGGER", "RULE", "POLICY"];

/// Entries that hang on a relation that they depend on.
const HANGING: [&str; 5] = ["INDEX", "STATISTICS", "SEQUENCE", "ROW SECURITY", "MATERIALIZED VIEW DATA"];

/// Entries that tie two relations, or two indexes.
const TYING: [&str; 4] = ["TABLE ATTACH", "INDEX ATTACH", "FK CONSTRAINT", "SEQUENCE OWNED BY"];

/// Entries about the object that they depend on.
const ABOUT: [&str; 3] = ["COMMENT", "ACL", "SECURITY LABEL"];

/// Returns for each entry of a dump the positions of those that it needs, which come before it.
pub(super) fn needs(
    entries: &[Entry],
    dependencies: &[(ObjectAddress, ObjectAddress, bool)],
    interrupt: &dyn Fn(),
) -> Vec<Vec<usize>> {
    Dump::of(entries, dependencies, interrupt).needs
}

struct Dump<'a> {
    heads: Vec<&'a Head>,
    /// Positions of schemas by their names.
    schemas: HashMap<&'a str, usize>,
    /// For each entry the others that it needs. A dump in plain format names only some of them.
    needs: Vec<Vec<usize>>,
}

impl<'a> Dump<'a> {
    fn of(entries: &'a [Entry], dependencies: &[(ObjectAddress, ObjectAddress, bool)], interrupt: &dyn Fn()) -> Self {
        let heads: Vec<&Head> = entries.iter().map(|entry| &entry.head).collect();
        let all = || heads.iter().enumerate();
        let schemas = all()
            .filter(|(_, head)| head.kind == "SCHEMA")
            .map(|(position, head)| (head.name.as_str(), position))
            .collect();
        let numbers: HashMap<u32, usize> =
            all().filter(|(_, head)| head.number != 0).map(|(position, head)| (head.number, position)).collect();
        let objects: HashMap<ObjectAddress, usize> = all()
            .filter(|(_, head)| head.oid != 0)
            .map(|(position, head)| ((head.class, head.oid), position))
            .collect();
        let names: HashMap<(Option<&str>, &str), usize> = all()
            .filter(|(_, head)| ["TABLE", "INDEX", "FOREIGN TABLE"].contains(&head.kind.as_str()))
            .map(|(position, head)| ((head.schema.as_deref(), head.name.as_str()), position))
            .collect();
        let owned_apart: HashSet<(Option<&str>, &str)> = all()
            .filter(|(_, head)| head.kind == "SEQUENCE OWNED BY")
            .map(|(_, head)| (head.schema.as_deref(), head.name.as_str()))
            .collect();
        let mut used: HashMap<ObjectAddress, Vec<ObjectAddress>> = HashMap::new();
        let mut owners = HashMap::new();
        for &(object, needed, is_part) in dependencies {
            interrupt();
            let of_dump = objects.get(&object);
            if let (Some(&sequence), Some(&table)) = (of_dump, objects.get(&needed))
                && heads[sequence].kind == "SEQUENCE"
                && RELATIONS.contains(&heads[table].kind.as_str())
            {
                owners.insert(sequence, table);
            } else {
                used.entry(object).or_default().push(needed);
            }
            // What a definition contains is needed for it.
            if is_part && of_dump.is_none() {
                used.entry(needed).or_default().push(object);
            }
        }
        let needs_of = |head: &Head| {
            interrupt();
            let mut needs: Vec<usize> =
                head.dependencies.iter().filter_map(|number| numbers.get(number).copied()).collect();
            let begin = (head.class, head.oid);
            let mut open = if head.oid == 0 { Vec::new() } else { vec![begin] };
            let mut seen: HashSet<ObjectAddress> = open.iter().copied().collect();
            while let Some(object) = open.pop() {
                for &needed in used.get(&object).into_iter().flatten() {
                    if !seen.insert(needed) {
                        continue;
                    }
                    match objects.get(&needed) {
                        Some(&position) => needs.push(position),
                        None => open.push(needed),
                    }
                }
            }
            needs
        };
        let mut needs: Vec<Vec<usize>> = heads.iter().map(|head| needs_of(head)).collect();
        for (position, head) in all() {
            match head.kind.as_str() {
                // They have no object of their own.
                "TABLE ATTACH" | "INDEX ATTACH" => {
                    let child = names.get(&(head.schema.as_deref(), head.name.as_str())).copied().or_else(|| {
                        let is_of_constraint = |other: &Head| {
                            other.kind == "CONSTRAINT"
                                && other.schema == head.schema
                                && other.name.strip_suffix(head.name.as_str()).is_some_and(|rest| rest.ends_with(' '))
                        };
                        heads.iter().position(|other| is_of_constraint(other))
                    });
                    if let Some(child) = child {
                        let kind = &heads[child].kind;
                        let parents = needs[child].iter().copied().filter(|&needed| heads[needed].kind == *kind);
                        needs[position] = parents.chain([child]).collect();
                    }
                }
                "SEQUENCE OWNED BY" => {
                    let owner = needs[position].first().and_then(|sequence| owners.get(sequence)).copied();
                    needs[position].extend(owner);
                }
                // That of a column which is an identity goes with its table.
                "SEQUENCE" => {
                    let is_owned_apart = owned_apart.contains(&(head.schema.as_deref(), head.name.as_str()));
                    if let Some(&owner) = owners.get(&position).filter(|_| !is_owned_apart) {
                        needs[position].push(owner);
                    }
                }
                _ => {}
            }
        }
        Self { heads, schemas, needs }
    }

    fn is(&self, kinds: &[&str], entry: usize) -> bool {
        kinds.contains(&self.heads[entry].kind.as_str())
    }

    fn needs(&self, entry: usize) -> impl Iterator<Item = usize> {
        self.needs[entry].iter().copied()
    }

    /// The relations that an entry depends on.
    fn hosts(&self, entry: usize) -> impl Iterator<Item = usize> {
        self.needs(entry).filter(move |&needed| self.is(&RELATIONS, needed))
    }

    fn is_named_after(&self, entry: usize, host: usize) -> bool {
        let (head, host) = (self.heads[entry], self.heads[host]);
        head.schema == host.schema
            && head.name.strip_prefix(host.name.as_str()).is_some_and(|rest| rest.starts_with(' '))
    }

    /// Whether the patterns themselves take an entry.
    fn is_taken(&self, entry: usize, filter: &Filter) -> bool {
        let head = self.heads[entry];
        if head.kind.is_empty() {
            return true;
        }
        if head.kind == "SCHEMA" {
            return filter.takes_all_of(&head.name);
        }
        let hangs = self.is(&ABOUT, entry)
            || self.is(&TYING, entry)
            || self.is(&NAMED_AFTER, entry)
            || self.is(&HANGING, entry) && self.hosts(entry).next().is_some();
        match head.schema.as_deref() {
            _ if hangs => false,
            Some(schema) if self.is(&RELATIONS, entry) => filter.takes(schema, &head.name),
            Some(schema) => filter.takes_all_of(schema),
            None => filter.include.is_none(),
        }
    }

    /// Chooses entries and all that they need.
    fn choose(&self, entries: Vec<usize>, chosen: &mut [bool], interrupt: &dyn Fn()) {
        let mut open = entries;
        while let Some(entry) = open.pop() {
            interrupt();
            if std::mem::replace(&mut chosen[entry], true) {
                continue;
            }
            let schema = self.heads[entry].schema.as_deref().and_then(|schema| self.schemas.get(schema));
            open.extend(self.needs(entry).chain(schema.copied()).filter(|&needed| !chosen[needed]));
        }
    }

    /// Whether an entry comes with those that are chosen. A foreign key to a table without rows would not hold.
    fn comes_along(&self, entry: usize, chosen: &[bool], wanted: &HashSet<usize>) -> bool {
        if self.is(&["FK CONSTRAINT"], entry) && !self.hosts(entry).all(|host| wanted.contains(&host)) {
            false
        } else if self.is(&TYING, entry) {
            self.needs(entry).all(|needed| chosen[needed])
        } else if self.is(&NAMED_AFTER, entry) {
            self.hosts(entry).any(|host| chosen[host] && self.is_named_after(entry, host))
        } else if self.is(&HANGING, entry) {
            self.hosts(entry).any(|host| chosen[host])
        } else {
            self.is(&ABOUT, entry) && self.needs(entry).any(|needed| chosen[needed])
        }
    }

    fn name(&self, entry: usize) -> String {
        let head = self.heads[entry];
        head.schema.as_ref().map_or(head.name.clone(), |schema| plan::qualified(schema, &head.name))
    }
}

/// Chooses entries.
pub fn select(
    entries: &[Entry],
    dependencies: &[(ObjectAddress, ObjectAddress, bool)],
    filter: &Filter,
    interrupt: &dyn Fn(),
) -> Selected {
    let dump = Dump::of(entries, dependencies, interrupt);
    let all = || 0..dump.heads.len();
    let mut wanted: HashSet<usize> = all().filter(|&entry| dump.is_taken(entry, filter)).collect();
    // The partitions of a table come with it; a table comes before its partitions.
    for entry in all().filter(|&entry| dump.heads[entry].kind == "TABLE ATTACH") {
        interrupt();
        let is_child = |host: &usize| {
            let (host, entry) = (dump.heads[*host], dump.heads[entry]);
            host.name == entry.name && host.schema == entry.schema
        };
        let (children, parents): (Vec<usize>, Vec<usize>) = dump.hosts(entry).partition(is_child);
        let excluded = |child: &usize| {
            let head = dump.heads[*child];
            head.schema.as_deref().is_some_and(|schema| filter.excludes(schema, &head.name))
        };
        if parents.iter().any(|parent| wanted.contains(parent)) {
            wanted.extend(children.into_iter().filter(|child| !excluded(child)));
        }
    }
    let mut chosen = vec![false; dump.heads.len()];
    let mut open: Vec<usize> = wanted.iter().copied().collect();
    while !open.is_empty() {
        dump.choose(open, &mut chosen, interrupt);
        open = all().filter(|&entry| !chosen[entry] && dump.comes_along(entry, &chosen, &wanted)).collect();
    }
    let is_of_wanted =
        |entry: usize| dump.hosts(entry).any(|host| wanted.contains(&host) && dump.is_named_after(entry, host));
    let needed_tables = all()
        .filter(|entry| chosen[*entry] && dump.heads[*entry].kind == "TABLE" && !wanted.contains(entry))
        .map(|entry| dump.name(entry))
        .collect();
    let left_out_keys = all()
        .filter(|&entry| !chosen[entry] && dump.heads[entry].kind == "FK CONSTRAINT" && is_of_wanted(entry))
        .map(|entry| dump.heads[entry].name.clone())
        .collect();
    Selected { chosen, needed_tables, left_out_keys }
}
