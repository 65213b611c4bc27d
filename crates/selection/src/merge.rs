//! What all entries together say of one table.

use crate::entries::{ColumnChoice, Content, Entry, Reference, Selection, TargetName};
use crate::expression::Expression;
use std::collections::BTreeMap;

/// What is taken of one table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    pub filter: Option<Given<Expression>>,
    pub sample: Option<Given<f64>>,
    pub into: Option<Given<TargetName>>,
    /// The unique index that tells rows apart, by its name on the destination.
    pub index: Option<Given<String>>,
    /// Keys that are no constraints.
    pub references: Option<Given<Vec<Reference>>>,
    /// By the names of the source's columns.
    pub columns: BTreeMap<String, ChosenColumn>,
}

/// What is taken of one column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChosenColumn {
    pub content: Option<Given<Content>>,
    pub into: Option<Given<String>>,
    /// The most characters of the masked column that it refers to.
    pub limit: Option<usize>,
}

/// Something that an entry says, with the entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Given<T> {
    pub value: T,
    /// The entry's pattern.
    pub key: String,
    exactness: (bool, bool, usize),
}

impl<T> Given<T> {
    /// Something that follows from what an entry says of another table.
    pub fn following(value: T, key: &str) -> Self {
        Self { value, key: key.to_owned(), exactness: (false, false, 0) }
    }

    /// Returns whether the entry names tables one by one.
    pub fn is_literal(&self) -> bool {
        self.exactness.0
    }
}

/// Two entries that match the same table and are equally exact say different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The words for people, after the table's name.
    pub reason: String,
}

impl Choice {
    /// Returns whether everything is taken as it is. To follow keys is another question.
    pub fn is_empty(&self) -> bool {
        Self { index: None, references: None, ..self.clone() } == Self::default()
    }
}

impl Selection {
    /// Returns what the entries say that match the table itself or a partitioned table above it. `names` are those of the table
    /// and of the tables above it. Another name is only given to a table that is matched itself.
    ///
    /// # Errors
    /// Two entries contradict each other.
    pub fn choice(&self, names: &[(&str, &str)]) -> Result<Choice, Contradiction> {
        let mut choice = Choice::default();
        for entry in &self.entries {
            let matches = |(schema, name): &(&str, &str)| entry.pattern.matches(schema, name);
            if !names.iter().any(matches) {
                continue;
            }
            give(&mut choice.filter, entry, entry.filter.as_ref(), "where")?;
            give(&mut choice.sample, entry, entry.sample.as_ref(), "sample")?;
            give(&mut choice.references, entry, entry.references.as_ref(), "references")?;
            if names.first().is_some_and(matches) {
                give(&mut choice.into, entry, entry.into.as_ref(), "into")?;
            }
            give(&mut choice.index, entry, entry.index.as_ref(), "key")?;
            for (name, ColumnChoice { content, into }) in &entry.columns {
                let column = choice.columns.entry(name.clone()).or_default();
                let what = format!("column {}", plan::quote_identifier(name));
                give(&mut column.content, entry, content.as_ref(), &what)?;
                give(&mut column.into, entry, into.as_ref(), &format!("{what}, into"))?;
            }
        }
        Ok(choice)
    }
}

/// Entries come with the more exact ones first: what is there stays.
fn give<T: Clone + PartialEq>(
    place: &mut Option<Given<T>>,
    entry: &Entry,
    value: Option<&T>,
    what: &str,
) -> Result<(), Contradiction> {
    let Some(value) = value else { return Ok(()) };
    let exactness = entry.pattern.exactness();
    match place {
        None => *place = Some(Given { value: value.clone(), key: entry.key.clone(), exactness }),
        Some(given) if given.exactness == exactness && given.value != *value => {
            let reason = format!(
                "{what}: entries {} and {} of tables are equally exact and contradict each other",
                given.key, entry.key
            );
            return Err(Contradiction { reason });
        }
        Some(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(text: &str) -> Selection {
        Selection::parse(&serde_json::from_str(text).unwrap()).unwrap()
    }

    fn filter(choice: &Choice) -> Option<&str> {
        choice.filter.as_ref().map(|given| given.value.text())
    }

    #[test]
    fn the_more_exact_entry_wins_for_each_setting() {
        let all = selection(
            r#"{"*": {"where": "a", "sample": 0.5, "columns": {"x": {"skip": true}, "y": {"value": "1"}}},
                "public.*": {"where": "b"},
                "public.order*": {"where": "c"},
                "orders": {"where": "d"},
                "public.orders": {"where": "e", "columns": {"x": {"skip": false}}}}"#,
        );
        let of = |schema: &str, name: &str| all.choice(&[(schema, name)]).unwrap();
        assert_eq!(filter(&of("public", "orders")), Some("e"));
        assert_eq!(filter(&of("other", "orders")), Some("d"));
        assert_eq!(filter(&of("public", "order_lines")), Some("c"));
        assert_eq!(filter(&of("public", "users")), Some("b"));
        assert_eq!(filter(&of("other", "users")), Some("a"));
        let orders = of("public", "orders");
        assert_eq!(orders.sample.as_ref().map(|given| given.value), Some(0.5));
        assert_eq!(orders.columns["x"].content.as_ref().map(|given| &given.value), Some(&Content::Kept));
        assert!(matches!(&orders.columns["y"].content.as_ref().unwrap().value, Content::Value(_)));
    }

    #[test]
    fn equally_exact_entries_must_not_contradict_each_other() {
        let all = selection(r#"{"a_*": {"where": "x"}, "*_b": {"where": "y"}, "*_c": {"where": "x"}}"#);
        let reason = all.choice(&[("public", "a_b")]).unwrap_err().reason;
        assert_eq!(reason, "where: entries *_b and a_* of tables are equally exact and contradict each other");
        assert_eq!(filter(&all.choice(&[("public", "a_c")]).unwrap()), Some("x"));
    }

    #[test]
    fn what_tells_rows_apart_or_ties_them_takes_nothing_away() {
        let all = selection(
            r#"{"a": {"key": "a_key", "references": [{"columns": ["x"], "table": "b", "to": ["y"]}]}, "b": {"sample": 0.5}}"#,
        );
        assert!(all.choice(&[("public", "a")]).unwrap().is_empty());
        assert!(!all.choice(&[("public", "b")]).unwrap().is_empty());
    }

    #[test]
    fn what_is_said_of_a_partitioned_table_holds_for_its_partitions() {
        let all = selection(r#"{"events": {"where": "x", "into": "app.events"}, "public.*": {"into": "other.*"}}"#);
        let leaf = all.choice(&[("public", "events_1"), ("public", "events")]).unwrap();
        assert_eq!(filter(&leaf), Some("x"));
        assert_eq!(leaf.into.unwrap().value.of("public", "events_1"), ("other".to_owned(), "events_1".to_owned()));
    }
}
