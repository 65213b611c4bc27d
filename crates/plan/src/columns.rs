use crate::catalog::{Column, Relation};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The form in which a table's rows travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wire {
    Binary,
    /// For types whose binary form would be wrong here: see [`Column::binary`].
    Text,
    /// As the source's heap stores them.
    Heap,
}

impl Wire {
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
            Self::Heap => "heap",
        }
    }
}

/// A column that is copied, in the order of the target's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnPair {
    pub name: String,
    /// The target's attribute number, from 1.
    pub number: i16,
    /// The target's type modifier is another than the source's, and must not change a value.
    pub narrowed: bool,
}

/// The mapping of a target's columns to those of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairedColumns {
    pub copied: Vec<ColumnPair>,
    /// Columns that the source does not have, with their attribute numbers.
    pub left_to_default: Vec<(String, i16)>,
    pub wire: Wire,
    /// The source computes one of the copied columns, which plain COPY does not send.
    pub source_generates: bool,
    /// Columns whose values the server's own COPY might round here, in words.
    pub rounded: Vec<String>,
    /// Generated columns that the source alone has.
    pub generated_on_source_only: Vec<String>,
}

/// Pairs the columns by name, or returns every difference.
pub(crate) fn pair_columns(source: &Relation, target: &Relation) -> Result<PairedColumns, Vec<Difference>> {
    let mut differences = Vec::new();
    let mut paired = PairedColumns {
        copied: Vec::new(),
        left_to_default: Vec::new(),
        wire: Wire::Binary,
        source_generates: false,
        rounded: Vec::new(),
        generated_on_source_only: Vec::new(),
    };
    let sources: HashMap<&str, &Column> = source.columns.iter().map(|column| (column.name.as_str(), column)).collect();
    let targets: HashMap<&str, &Column> = target.columns.iter().map(|column| (column.name.as_str(), column)).collect();
    for column in &target.columns {
        if column.generated {
            // The column is computed here from the other columns; the source's values do not count.
            continue;
        }
        let Some(other) = sources.get(column.name.as_str()) else {
            if column.optional {
                paired.left_to_default.push((column.name.clone(), column.number));
            } else {
                differences.push(Difference::MissingOnSource(column.name.clone()));
            }
            continue;
        };
        if !same_type(other, column) {
            differences.push(Difference::Type {
                column: column.name.clone(),
                source: described_type(other),
                target: described_type(column),
                wanted: (other.type_name != column.type_name).then(|| other.type_name.clone()),
            });
            continue;
        }
        if !(column.binary && other.binary && column.extensions == other.extensions) {
            paired.wire = Wire::Text;
        }
        paired.source_generates |= other.generated;
        let narrowed = other.type_name != column.type_name && column.type_name != column.base_type;
        if narrowed && is_rounded(&column.base_type) {
            paired.rounded.push(format!(
                "column {} is {} on the source and {} on the destination",
                crate::quote_identifier(&column.name),
                other.type_name,
                column.type_name
            ));
        }
        paired.copied.push(ColumnPair { name: column.name.clone(), number: column.number, narrowed });
    }
    for other in &source.columns {
        match targets.get(other.name.as_str()) {
            None if other.generated => paired.generated_on_source_only.push(other.name.clone()),
            None => differences
                .push(Difference::MissingOnTarget { column: other.name.clone(), type_name: other.type_name.clone() }),
            Some(column) if column.generated && !other.generated => {
                differences.push(Difference::GeneratedOnTarget(column.name.clone()));
            }
            _ => {}
        }
    }
    if differences.is_empty() { Ok(paired) } else { Err(differences) }
}

/// Returns whether the type's modifier changes values that it does not fit, rather than refuse them.
pub fn is_rounded(base_type: &str) -> bool {
    ROUNDED.contains(&base_type.trim_end_matches("[]"))
}

const ROUNDED: [&str; 6] = [
    "numeric",
    "timestamp without time zone",
    "timestamp with time zone",
    "time without time zone",
    "time with time zone",
    "interval",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    MissingOnSource(String),
    MissingOnTarget {
        column: String,
        type_name: String,
    },
    GeneratedOnTarget(String),
    Type {
        column: String,
        source: String,
        target: String,
        /// The source's type, where a column of it would do.
        wanted: Option<String>,
    },
}

fn described_type(column: &Column) -> String {
    match &column.structure {
        Some(structure) => format!("{} with {structure}", column.type_name),
        None => column.type_name.clone(),
    }
}

/// Returns whether both have the same type; the modifiers may differ.
fn same_type(source: &Column, target: &Column) -> bool {
    source.structure == target.structure && source.base_type == target.base_type
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
            optional: false,
            not_null: true,
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
        let paired = pair_columns(&source, &target).unwrap();
        assert_eq!(
            paired.copied.iter().map(|pair| (pair.name.as_str(), pair.number)).collect::<Vec<_>>(),
            [("a", 1), ("b", 3)]
        );
        assert_eq!(paired.wire, Wire::Binary);
    }

    #[test]
    fn every_difference_is_told() {
        let source = table(vec![column(1, "a", "bigint"), column(2, "b", "text")]);
        let target = table(vec![column(1, "a", "integer"), column(2, "c", "text")]);
        let differences = pair_columns(&source, &target).unwrap_err();
        assert_eq!(differences.len(), 3);
        assert!(differences.contains(&Difference::MissingOnSource("c".into())));
        assert!(differences.contains(&Difference::MissingOnTarget { column: "b".into(), type_name: "text".into() }));
    }

    #[test]
    fn what_the_target_alone_has_is_left_to_its_default_where_it_may_be() {
        let source = table(vec![column(1, "a", "integer")]);
        let mut target = table(vec![column(1, "extra", "text"), column(2, "a", "integer")]);
        target.columns[0].optional = true;
        assert_eq!(pair_columns(&source, &target).unwrap().left_to_default, [("extra".to_owned(), 1)]);
    }

    #[test]
    fn modifiers_may_differ_and_values_are_watched_then() {
        let types = |types: [&str; 4]| {
            table((1..).zip(types).map(|(number, name)| column(number, &format!("c{number}"), name)).collect())
        };
        let source = types(["character varying(20)", "numeric(12,4)", "numeric(10,2)", "bit(3)"]);
        let target = types(["character varying(10)", "numeric(10,2)", "numeric", "bit(3)"]);
        let paired = pair_columns(&source, &target).unwrap();
        assert_eq!(paired.copied.iter().map(|pair| pair.narrowed).collect::<Vec<_>>(), [true, true, false, false]);
        assert_eq!(paired.rounded, ["column c2 is numeric(12,4) on the source and numeric(10,2) on the destination"]);
    }

    #[test]
    fn a_column_that_the_source_computes_is_read_and_one_that_both_compute_is_not() {
        let mut source = table(vec![column(1, "a", "integer"), column(2, "b", "integer")]);
        source.columns.iter_mut().for_each(|column| column.generated = true);
        let mut target = table(vec![column(1, "a", "integer"), column(2, "b", "integer")]);
        target.columns[1].generated = true;
        let paired = pair_columns(&source, &target).unwrap();
        assert_eq!((paired.copied.len(), paired.source_generates), (1, true));
        source.columns[1].generated = false;
        assert_eq!(pair_columns(&source, &target).unwrap_err(), [Difference::GeneratedOnTarget("b".into())]);
    }

    #[test]
    fn binary_only_where_it_is_right_on_both_sides() {
        let plain = table(vec![column(1, "a", "regclass")]);
        let mut odd = plain.clone();
        odd.columns[0].binary = false;
        assert_eq!(pair_columns(&plain, &odd).unwrap().wire, Wire::Text);
        let mut other_version = plain.clone();
        other_version.columns[0].extensions = vec!["hstore 1.8".into()];
        assert_eq!(pair_columns(&plain, &other_version).unwrap().wire, Wire::Text);
    }
}
