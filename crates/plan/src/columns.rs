use crate::catalog::{Column, Relation};
use serde::{Deserialize, Serialize};

/// How a table's rows travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wire {
    Binary,
    /// For types whose binary form would be wrong here: see [`Column::binary`].
    Text,
}

impl Wire {
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
        }
    }
}

/// A column that is copied, in the order of the target's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnPair {
    pub name: String,
    /// The target's attribute number, from 1.
    pub number: i16,
}

/// Pairs the columns by name, or tells every difference.
pub(crate) fn pair_columns(source: &Relation, target: &Relation) -> Result<(Vec<ColumnPair>, Wire), Vec<Difference>> {
    let mut differences = Vec::new();
    let mut pairs = Vec::new();
    let mut wire = Wire::Binary;
    for column in &target.columns {
        let other = source.columns.iter().find(|other| other.name == column.name);
        if column.generated {
            // Computed here from the other columns, whatever the source computed.
            continue;
        }
        let Some(other) = other else {
            differences.push(Difference::MissingOnSource(column.name.clone()));
            continue;
        };
        if other.generated {
            // COPY does not send it.
            differences.push(Difference::GeneratedOnSource(column.name.clone()));
            continue;
        }
        if !same_type(other, column) {
            differences.push(Difference::Type {
                column: column.name.clone(),
                source: described_type(other),
                target: described_type(column),
            });
            continue;
        }
        if !(column.binary && other.binary && column.extensions == other.extensions) {
            wire = Wire::Text;
        }
        pairs.push(ColumnPair { name: column.name.clone(), number: column.number });
    }
    for other in &source.columns {
        if !other.generated && !target.columns.iter().any(|column| column.name == other.name) {
            differences.push(Difference::MissingOnTarget(other.name.clone()));
        }
        if let Some(column) = target.columns.iter().find(|column| column.name == other.name)
            && column.generated
            && !other.generated
        {
            differences.push(Difference::GeneratedOnTarget(column.name.clone()));
        }
    }
    if differences.is_empty() { Ok((pairs, wire)) } else { Err(differences) }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    MissingOnSource(String),
    MissingOnTarget(String),
    GeneratedOnSource(String),
    GeneratedOnTarget(String),
    Type { column: String, source: String, target: String },
}

fn described_type(column: &Column) -> String {
    match &column.structure {
        Some(structure) => format!("{} with {structure}", column.type_name),
        None => column.type_name.clone(),
    }
}

/// The same type, where a value that does not fit the target's modifier is refused rather than changed.
fn same_type(source: &Column, target: &Column) -> bool {
    if source.structure != target.structure {
        return false;
    }
    if source.type_name == target.type_name {
        return true;
    }
    // A length limit refuses what is too long; a scale or a precision would silently round.
    source.base_type == target.base_type
        && (target.type_name == target.base_type
            || matches!(target.base_type.as_str(), "character varying" | "bit varying"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(number: i16, name: &str, type_name: &str) -> Column {
        Column {
            number,
            name: name.into(),
            type_name: type_name.into(),
            base_type: type_name.split('(').next().unwrap().into(),
            generated: false,
            binary: true,
            extensions: vec![],
            structure: None,
        }
    }

    fn table(columns: Vec<Column>) -> Relation {
        Relation { columns, ..Relation::named(1, "public", "t") }
    }

    #[test]
    fn columns_pair_by_name_in_the_targets_order() {
        let source = table(vec![column(1, "b", "text"), column(2, "a", "integer")]);
        let target = table(vec![column(1, "a", "integer"), column(3, "b", "text")]);
        let (pairs, wire) = pair_columns(&source, &target).unwrap();
        assert_eq!(
            pairs.iter().map(|pair| (pair.name.as_str(), pair.number)).collect::<Vec<_>>(),
            [("a", 1), ("b", 3)]
        );
        assert_eq!(wire, Wire::Binary);
    }

    #[test]
    fn every_difference_is_told() {
        let source = table(vec![column(1, "a", "bigint"), column(2, "b", "text"), column(3, "n", "numeric(10,4)")]);
        let target = table(vec![column(1, "a", "integer"), column(2, "c", "text"), column(3, "n", "numeric(10,2)")]);
        let differences = pair_columns(&source, &target).unwrap_err();
        assert_eq!(differences.len(), 4);
        assert!(differences.contains(&Difference::MissingOnSource("c".into())));
        assert!(differences.contains(&Difference::MissingOnTarget("b".into())));
    }

    #[test]
    fn lengths_may_differ_because_too_long_a_value_is_refused() {
        let source = table(vec![column(1, "a", "character varying(20)"), column(2, "b", "numeric(10,2)")]);
        let target = table(vec![column(1, "a", "character varying(10)"), column(2, "b", "numeric")]);
        assert!(pair_columns(&source, &target).is_ok());
    }

    #[test]
    fn binary_only_where_it_is_right_on_both_sides() {
        let plain = table(vec![column(1, "a", "regclass")]);
        let mut odd = plain.clone();
        odd.columns[0].binary = false;
        assert_eq!(pair_columns(&plain, &odd).unwrap().1, Wire::Text);
        let mut other_version = plain.clone();
        other_version.columns[0].extensions = vec!["hstore 1.8".into()];
        assert_eq!(pair_columns(&plain, &other_version).unwrap().1, Wire::Text);
    }
}
