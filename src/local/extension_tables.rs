//! The tables of this database's extensions, as far as rows of a source's extensions go into them.

use super::identity::{self, run_as, with_definitions_kept};
use super::spi::{self, Param};
use crate::error::Result;
use serde::Deserialize;

/// A table or a sequence of an extension.
#[derive(Debug, Clone, Deserialize)]
pub struct ExtensionTarget {
    /// That of its counterpart among those that were asked for.
    pub position: usize,
    pub relation: u32,
    pub schema: String,
    pub name: String,
    pub is_sequence: bool,
    owner: u32,
    /// Whether the current user may add rows and see those that are there, or set the sequence.
    pub may_write: bool,
    /// Names in their order, and whether each is generated.
    pub columns: Vec<(String, bool)>,
}

impl ExtensionTarget {
    pub fn qualified_name(&self) -> String {
        plan::qualified(&self.schema, &self.name)
    }

    /// Returns the statement that adds rows, which are given as a JSON array of texts of whole rows, where they are not there
    /// already. It returns how many there are, how many of them are not there in all columns, and how many were added.
    fn statement(&self, columns: &[&str]) -> String {
        let table = self.qualified_name();
        let of = |prefix: &str| -> String {
            let names: Vec<String> =
                columns.iter().map(|column| format!("{prefix}{}", plan::quote_identifier(column))).collect();
            names.join(", ")
        };
        let count = |rows: &str| format!("(SELECT pg_catalog.count(*) FROM {rows})");
        format!(
            "WITH given AS MATERIALIZED (
                 SELECT e.value::{table} AS whole FROM pg_catalog.json_array_elements_text($1::pg_catalog.json) e(value)
             ), theirs AS MATERIALIZED (
                 SELECT {} FROM given g
             ), missing AS MATERIALIZED (
                 SELECT {} FROM theirs WHERE NOT EXISTS (
                     SELECT FROM (SELECT {} FROM ONLY {table} o) ours WHERE ours.* OPERATOR(pg_catalog.*=) theirs.*)
             ), added AS (
                 INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM missing m ON CONFLICT DO NOTHING RETURNING 1
             )
             SELECT pg_catalog.json_build_array({}, {}, {})::pg_catalog.text",
            of("(g.whole)."),
            of("theirs."),
            of("o."),
            of(""),
            of("m."),
            count("theirs"),
            count("missing"),
            count("added"),
        )
    }

    /// Adds rows with the settings of the session; those that are there already, in all of these columns, are not added again,
    /// nor are those whose key is there. The code of the table runs as its owner, where the caller has the owner's rights.
    pub fn add_rows(&self, columns: &[&str], rows: &str) -> Result<AddedRows> {
        let add = || {
            let [given, missing, added] =
                spi::query_of_script::<[u64; 3]>(&self.statement(columns), &[Param::Text(rows)])?;
            Ok(AddedRows { given, added, others: missing.saturating_sub(added) })
        };
        match identity::code_of_table(self.owner) {
            Some(role) => with_definitions_kept(|| run_as(role, add)),
            None => add(),
        }
    }
}

/// What has become of rows.
#[derive(Debug, Clone, Copy)]
pub struct AddedRows {
    pub given: u64,
    pub added: u64,
    /// Rows whose keys other rows here have.
    pub others: u64,
}

/// Finds the counterparts of a source's tables of extensions. The last one tells of each whether it is in the schema of its
/// extension.
pub fn find(
    extensions: &[&str],
    schemas: &[&str],
    names: &[&str],
    are_in_their_schemas: &[bool],
) -> Result<Vec<ExtensionTarget>> {
    spi::fixed::query_json(
        include_str!("../../sql/queries/extension_targets.sql"),
        &[
            Param::TextArray(extensions),
            Param::TextArray(schemas),
            Param::TextArray(names),
            Param::BoolArray(are_in_their_schemas),
        ],
    )
}
