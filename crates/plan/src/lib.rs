#![forbid(unsafe_code)]
//! Planning of a pull before anything is touched: which tables pair up, which columns, in which wire format, in which
//! parts and in which order. Two catalogs go in, a plan or a list of problems comes out.

pub mod catalog;
mod columns;
pub mod digest;
mod merge;
mod nearest;
mod owners;
mod pairing;
mod parts;
mod pattern;
mod printable;
mod refresh;
mod schedule;
mod short;

pub use columns::{ColumnPair, PairedColumns, Wire, is_rounded};
pub use merge::{MergeColumn, MergeKeyColumn, MergeOrder, MergeReference, MergeTable, merge_order};
pub use nearest::nearest;
pub use owners::{Owner, comparing_role};
pub use pairing::{Pair, Pairing, Problem, ProblemKind, pair};
pub use parts::{Part, PartLimits, joined, split};
pub use pattern::{Pattern, PatternError, split_name};
pub use printable::{as_lines, lines, list, one_line};
pub use refresh::refresh_order;
pub use schedule::{KeyWork, Schedule, Task, TaskKind, Work, is_small, load_weight, schedule, schedule_checks};
pub use short::{bar, pretty_bytes, short_bytes, short_count, short_time};

/// Returns a schema-qualified name for SQL text, quoted where it must be.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}

/// Returns the statement that empties a table and nothing else. Of a table that others inherit from, only its own rows
/// go; all rows of a partitioned table are in its partitions.
pub fn truncate(qualified_name: &str, is_partitioned: bool) -> String {
    let only = if is_partitioned { "" } else { "ONLY " };
    format!("TRUNCATE {only}{qualified_name}")
}

/// Returns an identifier for SQL text. It is quoted whenever in doubt, because the other side's keywords are not known.
pub fn quote_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !KEYWORDS.contains(&name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Returns a string constant for SQL text that means the same with both values of `standard_conforming_strings`.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// Returns an array constant of texts for SQL text.
pub fn text_array<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    typed_array(texts, "pg_catalog.text")
}

/// Returns an array constant for SQL text, of values of a type as texts.
pub fn typed_array<'a>(texts: impl IntoIterator<Item = &'a str>, type_name: &str) -> String {
    let quoted: Vec<_> =
        texts.into_iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{}::{type_name}[]", quote_literal(&format!("{{{}}}", quoted.join(","))))
}

/// Returns an array constant of numbers of a type.
pub fn number_array(numbers: impl IntoIterator<Item = impl ToString>, type_name: &str) -> String {
    let list = numbers.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    format!("'{{{list}}}'::pg_catalog.{type_name}[]")
}

/// Words that some supported version reserves; quoting one too many does no harm.
const KEYWORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "merge_action",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        assert_eq!(qualified("public", "users_2"), "public.users_2");
        assert_eq!(qualified("Odd", "a\"b"), "\"Odd\".\"a\"\"b\"");
        assert_eq!(quote_identifier("select"), "\"select\"");
        assert_eq!(quote_identifier("2nd"), "\"2nd\"");
        assert_eq!(quote_identifier("größe"), "\"größe\"");
        assert_eq!(quote_literal(r"it's \ here"), r"E'it''s \\ here'");
    }

    #[test]
    fn arrays_keep_what_is_in_them() {
        assert_eq!(text_array(["a", "NULL", "x, {y}"]), r#"'{"a","NULL","x, {y}"}'::pg_catalog.text[]"#);
        assert_eq!(text_array([r#"it's "\""#]), r#"E'{"it''s \\"\\\\\\""}'::pg_catalog.text[]"#);
        assert_eq!(text_array([]), "'{}'::pg_catalog.text[]");
        assert_eq!(number_array([1, -2], "int8"), "'{1,-2}'::pg_catalog.int8[]");
    }
}
