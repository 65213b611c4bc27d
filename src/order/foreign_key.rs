use crate::storage::key_scan::MOST_PARTS;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A foreign key that the new rows must satisfy.
#[derive(Clone, Serialize, Deserialize)]
pub struct ForeignKeyCheck {
    pub name: String,
    /// The referencing table, which the constraint belongs to.
    pub referencing_schema: String,
    pub referencing_name: String,
    pub referencing: KeyEnd,
    pub referenced: KeyEnd,
    /// The role that runs the functions which compare keys.
    pub comparing_role: u32,
    pub match_full: bool,
    /// A SQL condition: the key of `fk` is in the relation `referenced`.
    pub is_there: String,
    /// Set where the keys are integers that are compared by value.
    pub integers: Option<IntegerKeys>,
    /// Positions in [`JobSpec::tables`] of the targets whose new rows the check reads.
    pub reads: Vec<usize>,
    /// The words for a violation, up to the key's values and after them.
    pub message: String,
    pub detail_columns: String,
    pub detail_rest: String,
    /// Whether the caller may see the values.
    pub show_values: bool,
    /// Whether the leader alone can check it: other processes do not see all of the rows, types or operators.
    pub by_leader: bool,
    /// The next step after a violation, where the other table is not one of those whose rows are replaced.
    pub hint: Option<String>,
}

/// Groups the foreign keys that one scan of their referencing table can check.
pub fn group_foreign_keys(keys: &[ForeignKeyCheck]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    // The last group of each referencing table, and the columns that are read for it.
    let mut open: HashMap<(u32, bool), (usize, usize)> = HashMap::new();
    for (position, key) in keys.iter().enumerate() {
        let Some(referencing) = key.integers.as_ref().map(|integers| &integers.referencing) else {
            groups.push(vec![position]);
            continue;
        };
        let (group, columns) = open.entry((referencing.relation, key.by_leader)).or_insert((groups.len(), 0));
        if *columns + referencing.numbers.len() > MOST_PARTS {
            (*group, *columns) = (groups.len(), 0);
        }
        *columns += referencing.numbers.len();
        match groups.get_mut(*group) {
            Some(group) => group.push(position),
            None => groups.push(vec![position]),
        }
    }
    groups
}

/// The two ends that a check of integer keys compares.
#[derive(Clone, Serialize, Deserialize)]
pub struct IntegerKeys {
    /// OIDs of the tables that the constraint names; the job's stage tables take the place of targets.
    pub referencing: KeyColumns,
    pub referenced: KeyColumns,
    pub match_full: bool,
}

/// Integer columns of one end of a foreign key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyColumns {
    /// An ordinary table: a stage table, or one that the pull leaves alone.
    pub relation: u32,
    pub numbers: Vec<i16>,
}

/// One end of a foreign key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyEnd {
    /// The ordinary tables that hold its rows; the job's stage tables take the place of targets.
    pub relations: Vec<u32>,
    pub columns: Vec<KeyColumn>,
    /// The role that runs the functions which make a column's compared type of its own.
    pub converting_role: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyColumn {
    pub name: String,
    pub type_oid: u32,
    /// The type that the operator takes.
    pub compared_type: u32,
    /// The collation of the comparison; 0 for types without collations.
    pub collation: u32,
}
