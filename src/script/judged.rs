//! The objects of a source, and what is done with each: made before the rows come or after, kept, or refused.

use crate::error::Result;
use crate::local::script_objects::{self, existing};
use crate::local::settings;
use crate::source::{self, ObjectAddress, ObjectName, Session};
use dumpscript::{Entry, Head, setting_of};
use std::collections::{HashMap, HashSet};

/// What is done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Create,
    /// It exists already, and stays as it is.
    Keep,
    /// It exists already and is another one, which is an error.
    Refuse,
    /// An extension that this server does not have.
    Unavailable,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Keep => "keep",
            Self::Refuse => "differs",
            Self::Unavailable => "not available",
        }
    }
}

/// The tablespace and the access method that a script gives to what it makes, by settings that hold from one object to the
/// next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tablespace: String,
    pub(super) access_method: String,
}

impl Default for Place {
    fn default() -> Self {
        Self { tablespace: String::new(), access_method: "heap".to_owned() }
    }
}

/// An object of the source with the statements that make it.
pub struct Object {
    pub entry: Entry,
    pub action: Action,
    pub(super) place: Place,
    /// Its names, where the dump does not tell them in full.
    pub(super) full_name: Option<ObjectName>,
    /// What is different in the object that exists here.
    pub(super) difference: Option<String>,
}

impl Object {
    /// The statements as one text.
    pub fn text(&self) -> String {
        let mut statements: Vec<String> = Vec::new();
        // Other objects are in no such place.
        if ["TABLE", "MATERIALIZED VIEW", "INDEX", "CONSTRAINT"].contains(&self.entry.head.kind.as_str()) {
            let Place { tablespace, access_method } = &self.place;
            if !tablespace.is_empty() {
                statements.push(format!("SET default_tablespace = {};", plan::quote_identifier(tablespace)));
            }
            if access_method != "heap" {
                statements
                    .push(format!("SET default_table_access_method = {};", plan::quote_identifier(access_method)));
            }
        }
        statements.extend(self.entry.statements.iter().map(|statement| statement.text.clone()));
        statements.join("\n")
    }
}

/// These hold others, and are shared where they exist.
const CONTAINERS: [&str; 3] = ["SCHEMA", "EXTENSION", "PROCEDURAL LANGUAGE"];

/// These come after the rows: they would act on what the migration itself does, or show rows that must be there.
const AFTER_ROWS: [&str; 12] = [
    "TRIGGER",
    "EVENT TRIGGER",
    "RULE",
    "POLICY",
    "ROW SECURITY",
    "MATERIALIZED VIEW DATA",
    "DEFAULT ACL",
    "PUBLICATION",
    "PUBLICATION TABLE",
    "PUBLICATION TABLES IN SCHEMA",
    "SUBSCRIPTION",
    "SUBSCRIPTION TABLE",
];

/// These belong to an object above them in the dump, by which they are judged.
const ATTACHED: [&str; 6] =
    ["DEFAULT", "TABLE ATTACH", "INDEX ATTACH", "ROW SECURITY", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA"];

/// These are about the entry that they depend on.
const ABOUT_OTHERS: [&str; 4] = ["COMMENT", "ACL", "SECURITY LABEL", "SEQUENCE OWNED BY"];

/// Every database has it, and its owner, comment and privileges are taken over.
fn is_public_schema(head: &Head) -> bool {
    head.kind == "SCHEMA" && head.name == "public"
}

/// The name of an object for people.
pub(super) fn describe(head: &Head) -> String {
    match &head.schema {
        Some(schema) => format!("{} {}.{}", head.kind.to_lowercase(), plan::quote_identifier(schema), head.name),
        None => format!("{} {}", head.kind.to_lowercase(), head.name),
    }
}

/// These must hold for the rows of their table, or are built over them.
const OVER_ROWS: [&str; 4] = ["CONSTRAINT", "FK CONSTRAINT", "CHECK CONSTRAINT", "INDEX"];

/// Returns for each object whether it is made after the rows have come. `calling` names indexes by the OIDs of catalog and
/// object: their functions may read any table. `needs` has the positions of what each object needs, where tables that exist here
/// may hold rows that do not stay.
pub(super) fn coming_after(
    objects: &[Object],
    calling: &HashSet<(u32, u32)>,
    needs: Option<&[Vec<usize>]>,
) -> Vec<bool> {
    let is_old_table =
        |position: usize| objects[position].action == Action::Keep && objects[position].entry.head.kind == "TABLE";
    let mut numbers = HashSet::new();
    let mut after = vec![false; objects.len()];
    for (position, Object { entry: Entry { head, .. }, action, .. }) in objects.iter().enumerate() {
        let is_over_rows = *action == Action::Create && OVER_ROWS.contains(&head.kind.as_str());
        let mut needed = needs.iter().flat_map(|needs| &needs[position]).copied();
        after[position] = AFTER_ROWS.contains(&head.kind.as_str())
            || head.oid != 0 && calling.contains(&(head.class, head.oid))
            || head.dependencies.iter().any(|number| numbers.contains(number))
            || needed.any(|needed| after[needed] || is_over_rows && is_old_table(needed));
        // The settings at the beginning have no number.
        if after[position] && head.number != 0 {
            numbers.insert(head.number);
        }
    }
    after
}

/// Takes the settings that say where objects lie out of the statements, so that the order of objects can be another one.
pub(super) fn places(entries: &mut [Entry]) -> Vec<Place> {
    let mut current = Place::default();
    entries
        .iter_mut()
        .map(|entry| {
            // A script makes them before the head of the object that needs them.
            let place = current.clone();
            entry.statements.retain(|statement| {
                let Some((name, value)) = setting_of(&statement.text) else { return true };
                match name.as_str() {
                    "default_tablespace" => current.tablespace = value,
                    "default_table_access_method" => current.access_method = value,
                    // The others are made when the statements run, or are about the session that would run the script.
                    _ => {}
                }
                false
            });
            place
        })
        .collect()
}

/// Decides what is done with each object, before anything is touched.
pub(super) fn judge(
    entries: Vec<Entry>,
    places: Vec<Place>,
    keeps_existing: bool,
    session: &Session,
) -> Result<Vec<Object>> {
    let heads: Vec<&Head> = entries.iter().map(|entry| &entry.head).collect();
    let told = source::read_object_names(session)?;
    let full_names: Vec<Option<&ObjectName>> = heads.iter().map(|head| full_name(head, &told)).collect();
    let objects = Named {
        kinds: heads.iter().map(|head| head.kind.as_str()).collect(),
        schemas: heads
            .iter()
            .zip(&full_names)
            .map(|(head, full)| full.map_or(head.schema.as_deref().unwrap_or_default(), |full| full.schema.as_str()))
            .collect(),
        names: heads
            .iter()
            .zip(&full_names)
            .map(|(head, full)| full.map_or(head.name.as_str(), |full| full.name.as_str()))
            .collect(),
    };
    let identities: Vec<&str> = full_names.iter().map(|full| full.map_or("", |full| full.identity.as_str())).collect();
    let extensions: Vec<&str> =
        heads.iter().filter(|head| head.kind == "EXTENSION").map(|head| head.name.as_str()).collect();
    let (here, unavailable) = settings::with_catalog_settings(|| {
        let here = existing(&objects.kinds, &objects.schemas, &objects.names, &identities)?;
        Ok((here, script_objects::missing_extensions(&extensions)?))
    })?;
    let differences = if keeps_existing { HashMap::new() } else { differences(&objects, &here, session)? };
    let here: HashSet<usize> = here.into_iter().collect();
    let mut actions = vec![Action::Create; heads.len()];
    let mut kept_numbers = HashSet::new();
    for (position, head) in heads.iter().enumerate() {
        if head.kind == "EXTENSION" && unavailable.contains(&head.name) {
            actions[position] = Action::Unavailable;
        } else if here.contains(&position) && !is_public_schema(head) {
            let is_shared = CONTAINERS.contains(&head.kind.as_str()) || ATTACHED.contains(&head.kind.as_str());
            let is_kept = is_shared || !differences.contains_key(&position);
            actions[position] = if is_kept { Action::Keep } else { Action::Refuse };
            kept_numbers.insert(head.number);
        }
    }
    for (position, head) in heads.iter().enumerate() {
        let is_about_kept = head.dependencies.iter().any(|number| kept_numbers.contains(number));
        if ABOUT_OTHERS.contains(&head.kind.as_str()) && is_about_kept {
            actions[position] = Action::Keep;
        }
    }
    let mut differences = differences;
    let full_names: Vec<Option<ObjectName>> = full_names.into_iter().map(Option::<&ObjectName>::cloned).collect();
    let objects = entries.into_iter().zip(actions).zip(places.into_iter().zip(full_names)).enumerate();
    let objects = objects.map(|(position, ((entry, action), (place, full_name)))| {
        let difference = differences.remove(&position).filter(|_| action == Action::Refuse);
        Object { entry, action, place, full_name, difference }
    });
    Ok(objects.collect())
}

/// Kinds, schemas and names of a dump's objects.
struct Named<'a> {
    kinds: Vec<&'a str>,
    schemas: Vec<&'a str>,
    names: Vec<&'a str>,
}

/// Kinds of relations, which a dump names by one line, and kinds whose objects may share a name.
const TOLD_IN_FULL: [&str; 9] = [
    "TABLE",
    "FOREIGN TABLE",
    "VIEW",
    "MATERIALIZED VIEW",
    "SEQUENCE",
    "INDEX",
    "OPERATOR",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
];

fn full_name<'a>(head: &Head, told: &'a HashMap<ObjectAddress, ObjectName>) -> Option<&'a ObjectName> {
    TOLD_IN_FULL.contains(&head.kind.as_str()).then(|| told.get(&(head.class, head.oid))).flatten()
}

/// Compares objects that exist here, by their positions, with those of the source. Returns how those differ that do.
fn differences(objects: &Named<'_>, here: &[usize], session: &Session) -> Result<HashMap<usize, String>> {
    if here.is_empty() {
        return Ok(HashMap::new());
    }
    let kinds: Vec<&str> = here.iter().map(|&position| objects.kinds[position]).collect();
    let schemas: Vec<&str> = here.iter().map(|&position| objects.schemas[position]).collect();
    let names: Vec<&str> = here.iter().map(|&position| objects.names[position]).collect();
    let ours = settings::with_catalog_settings(|| script_objects::definitions(&kinds, &schemas, &names))?;
    let theirs = source::read_object_definitions(session, &kinds, &schemas, &names)?;
    let mut differences = HashMap::new();
    for ((&position, ours), theirs) in here.iter().zip(ours).zip(theirs) {
        let difference = match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours == theirs => continue,
            (Some(ours), Some(theirs)) => first_difference(&theirs, &ours),
            (None, None) => "objects of this kind are not compared".to_owned(),
            // A definition is read as the snapshot of the caller's transaction sees it.
            (None, Some(theirs)) => {
                format!(
                    "there {}, here another kind of object, or one that this transaction does not see",
                    first_line(&theirs)
                )
            }
            (Some(ours), None) => format!("there another kind of object, here {}", first_line(&ours)),
        };
        differences.insert(position, difference);
    }
    Ok(differences)
}

/// The first line of a definition, for people.
fn first_line(definition: &str) -> String {
    shown(definition.lines().next().unwrap_or_default())
}

fn shown(line: &str) -> String {
    const MOST_BYTES: usize = 200;
    plan::one_line(&crate::error::capped(line.trim(), MOST_BYTES))
}

/// Describes the first line in which two definitions differ.
fn first_difference(theirs: &str, ours: &str) -> String {
    let mut lines = (theirs.lines(), ours.lines());
    loop {
        let (there, here) = (lines.0.next(), lines.1.next());
        if there != here || there.is_none() {
            let told = |line: Option<&str>| line.map_or("nothing more".to_owned(), shown);
            return format!("there {}, here {}", told(there), told(here));
        }
    }
}
