//! What the source says of users' expressions, before anything is read with them.

use super::Session;
use super::catalog::read_json;
use super::session::Rejection;
use crate::error::Result;
use pgrx::PgSqlErrorCode;
use plan::catalog::{self, Relation};
use selection::{Expression, NameUse};
use serde::Deserialize;
use std::collections::BTreeSet;

/// A function or a type that an expression must not use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct UnusableName {
    /// Its position among the expression's names; `None` for what is about the table alone.
    pub number: Option<usize>,
    pub reason: String,
}

/// Returns the names in an expression over a table that must not be used in it.
pub fn read_unusable_names(session: &Session, table: u32, expression: &Expression) -> Result<Vec<UnusableName>> {
    let names = expression.names();
    let of_each = |part: fn(&selection::Name) -> &str| plan::text_array(names.iter().map(part));
    let query = catalog::with_used_types(include_str!("../../sql/queries/expression_names.sql"), &[table])
        .replace("{uses}", &of_each(|name| if name.used == NameUse::Call { "call" } else { "attribute" }));
    // Users have written these: what stands in them is no placeholder.
    let (before, rest) = query.split_once("{schemas}, {names}").unwrap_or((&query, ""));
    let schemas = of_each(|name| name.schema.as_deref().unwrap_or(""));
    read_json(session, &format!("{before}{schemas}, {}{rest}", of_each(|name| &name.name)))
}

/// Has the source parse a condition over a table's rows. No row is read. Returns the reason why it cannot be used. `denied` are the
/// table's columns that the user must not read.
pub fn check_condition(
    session: &Session,
    table: &Relation,
    denied: &BTreeSet<String>,
    expression: &Expression,
) -> Result<Option<String>> {
    let before = "SELECT 1 FROM ";
    let (from, condition) = (table.from_clause(), expression.in_parentheses());
    let prefix = format!("{before}{from} WHERE ");
    let query = format!("{prefix}{condition} LIMIT 0");
    let starts = [prefix.chars().count() + 1];
    Ok(session.try_query(&query)?.err().map(|rejection| reason(&rejection, denied, expression, &starts)))
}

/// Has the source parse an expression over a table's rows for a column of a type, which the source knows by that name. No row is
/// read. Returns the reason why it cannot be used.
pub fn check_value(
    session: &Session,
    table: &Relation,
    denied: &BTreeSet<String>,
    expression: &Expression,
    type_name: &str,
) -> Result<Option<String>> {
    // What cannot stand in a condition, such as an aggregate or a set, is not of one row.
    let (from, value) = (table.from_clause(), expression.in_parentheses());
    let before = "SELECT CASE WHEN t.wanted IS NULL THEN 'no type' WHEN t.given = t.wanted OR y.typcategory = 'S' OR EXISTS
        (SELECT FROM pg_cast c WHERE c.castsource = t.given AND c.casttarget = t.wanted AND c.castcontext <> 'e')
        THEN '' ELSE format_type(t.given, NULL) END
        FROM (SELECT coalesce(nullif(g.typbasetype, 0), g.oid) AS given, coalesce(nullif(w.typbasetype, 0), w.oid) AS wanted
              FROM (SELECT pg_typeof((SELECT ";
    let between = format!(" FROM {from} WHERE false AND ");
    let after = format!(
        " IS NULL))::oid AS given, to_regtype({})::oid AS wanted) o
          JOIN pg_type g ON g.oid = o.given LEFT JOIN pg_type w ON w.oid = o.wanted) t
        LEFT JOIN pg_type y ON y.oid = t.wanted",
        plan::quote_literal(type_name)
    );
    let first = before.chars().count() + 1;
    let starts = [first, first + value.chars().count() + between.chars().count()];
    Ok(match session.try_query(&format!("{before}{value}{between}{value}{after}"))? {
        Err(rejection) => Some(reason(&rejection, denied, expression, &starts)),
        Ok(other) => match other.as_str() {
            "" => None,
            "no type" => Some(format!("the source has no type {type_name}")),
            _ if expression.is_constant() => None,
            given => Some(format!("it is of type {given}, where the column needs {type_name}")),
        },
    })
}

/// Has the source parse SQL over a table's rows, and compute what in it is constant. No row is read. Returns the reason why it fails.
pub fn check_constant_parts(session: &Session, table: &Relation, value: &str) -> Result<Option<String>> {
    let query = format!("SELECT 1 FROM {} WHERE ({value}) IS NULL LIMIT 0", table.from_clause());
    Ok(session.try_query(&query)?.err().map(|rejection| own_words(&rejection)))
}

/// Has the source make a constant a value of a type. Returns the value as the type writes it, or the reason why it is none.
pub fn constant_as(session: &Session, constant: &str, type_name: &str) -> Result<std::result::Result<String, String>> {
    let query = format!("SELECT (({constant})::{type_name})::pg_catalog.text");
    Ok(session.try_query(&query)?.map_err(|rejection| own_words(&rejection)))
}

/// Returns the source's words, where they are about what the user has written: a function may tell what it has read.
fn own_words(rejection: &Rejection) -> String {
    if rejection.words.are_of_called_code {
        return format!("a function in it fails with SQLSTATE {}", rejection.error.sqlstate_text());
    }
    let words = &rejection.error.message;
    words.strip_prefix("the source reports: ").unwrap_or(words).to_owned()
}

/// Returns the source's words, with the place in the expression. `starts` are the places of the expression, in its parentheses, in
/// the query, as numbers of characters from 1.
fn reason(rejection: &Rejection, denied: &BTreeSet<String>, expression: &Expression, starts: &[usize]) -> String {
    // Of rights the source tells the table alone.
    if rejection.error.sqlstate == PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32
        && let Some((name, place)) = expression.find_name(denied)
    {
        return format!("permission denied for column {} at character {place}", plan::quote_identifier(&name));
    }
    let words = own_words(rejection);
    let length = expression.text().chars().count();
    let place = rejection.position.and_then(|position| {
        let of_copy = |start: &usize| position.checked_sub(start + 1).filter(|place| *place <= length);
        starts.iter().find_map(of_copy)
    });
    match place {
        Some(place) if place < length => format!("{words} at character {}", place + 1),
        Some(_) => format!("{words} at the end"),
        None => words,
    }
}
