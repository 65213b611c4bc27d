//! The problems of a pull, reported in one error.

use super::left_out::LeftOutTable;
use crate::error::{Error, Result};
use crate::local::rights::NotOwned;
use pgrx::prelude::*;
use plan::{Problem, ProblemKind};

/// The right of an owner is missing, over a relation of this kind.
pub(super) fn must_own(kind: &str, relation: &NotOwned) -> Problem {
    Problem::new(ProblemKind::Rights, format!("must be owner of {kind} {relation}"))
        .mended_by(relation.mend(&kind.to_uppercase()))
}

/// Raises one error for all that is wrong. Its message tells of the first problem, because logs and schedulers show nothing
/// else; where there are more, its detail has all of them.
pub(super) fn refuse_problems(problems: &[Problem]) -> Result<()> {
    refuse_problems_of("pull", problems)
}

/// Raises one error for all problems of a call, which a verb names.
pub(super) fn refuse_problems_of(verb: &str, problems: &[Problem]) -> Result<()> {
    let Some(first) = problems.first() else {
        return Ok(());
    };
    let sqlstate = match first.kind {
        ProblemKind::UnmatchedPattern | ProblemKind::MissingTable => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        ProblemKind::WrongObject => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        ProblemKind::Partitioning | ProblemKind::Exclusion | ProblemKind::Storage => {
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED
        }
        ProblemKind::MissingColumn => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
        ProblemKind::Type => PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
        ProblemKind::Selection => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        ProblemKind::Rights => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
    };
    let others = match problems.len() {
        1 => String::new(),
        count => format!(" (the first of {count} problems)"),
    };
    let mut error = Error::new(sqlstate, format!("cannot {verb}: {}{others}", first.text));
    if problems.len() > 1 {
        error = error.details(problems.iter().map(|problem| problem.text.as_str()));
    }
    Err(error.hint(if verb == "load" { hint_of_load(first, problems) } else { hint(first, problems) }))
}

/// There is one table, which nothing can leave out.
fn hint_of_load(first: &Problem, problems: &[Problem]) -> String {
    match (problems, &first.mend) {
        ([_], Some(mend)) => format!("To mend it: {mend}"),
        _ if problems.iter().all(|problem| problem.kind == ProblemKind::Rights) => {
            "Get the rights that are missing.".to_owned()
        }
        _ => "Load the files into another table, and merge its rows by hand.".to_owned(),
    }
}

fn hint(first: &Problem, problems: &[Problem]) -> String {
    let is_of = |kind: ProblemKind| move |problem: &Problem| problem.kind == kind;
    if let ([_], Some(mend)) = (problems, &first.mend) {
        return match first.kind {
            ProblemKind::UnmatchedPattern => format!("Perhaps you meant {mend}."),
            ProblemKind::Selection => format!("Perhaps you meant {mend}."),
            _ if first.tables.is_empty() => format!("Run: {mend}"),
            _ => format!("To leave the table out, exclude it, or on_mismatch => 'skip'. To mend it: {mend}"),
        };
    }
    if let Some(mend) = &first.mend
        && problems.iter().all(|problem| problem.mend.as_ref() == Some(mend))
    {
        return format!("Run: {mend}");
    }
    let list = if problems.iter().any(|problem| problem.mend.is_some()) {
        " pgcopy.plan with the same arguments shows what mends each."
    } else {
        ""
    };
    if problems.iter().all(is_of(ProblemKind::Rights)) {
        format!("Get the rights that are missing, or leave these tables out with exclude.{list}")
    } else if problems.iter().all(is_of(ProblemKind::Selection)) {
        format!("Change the entries of tables that these problems name.{list}")
    } else if problems.iter().any(is_of(ProblemKind::UnmatchedPattern)) {
        "pgcopy.list(source) shows the source's tables. * matches any run of characters; names that are not in lower case need double quotes.".to_owned()
    } else if problems.iter().all(is_of(ProblemKind::Exclusion)) {
        "Leave the whole partitioned table out, or make its partitions alike on both sides.".to_owned()
    } else if problems.iter().any(is_of(ProblemKind::Exclusion)) {
        format!("Leave tables out with exclude, partitioned ones as a whole, or make both sides alike.{list}")
    } else {
        format!("Leave tables out with exclude or on_mismatch => 'skip', or make both sides alike.{list}")
    }
}

/// The error of a call that has no table to do something with.
pub(super) fn no_table(act: &str, notices: &[String]) -> Error {
    let error = Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, format!("there is no table to {act}"));
    let error = if notices.is_empty() { error } else { error.details(notices) };
    error.hint("A table must exist on both sides under the same name. pgcopy.list(source) shows the source's tables.")
}

/// The error of a pull that has no table. Tables that were left out, because they cannot be pulled, are the reason to tell of
/// first.
pub(super) fn nothing_to_pull(notices: &[String], left_out: &[LeftOutTable]) -> Error {
    const MESSAGE: &str = "there is no table to pull";
    let (causes, others): (Vec<_>, Vec<_>) = left_out.iter().partition(|table| table.is_cause);
    let reasons: Vec<String> = causes.into_iter().chain(others).map(LeftOutTable::warning).collect();
    let message = match reasons.first() {
        Some(first) => format!("{MESSAGE}: {first}"),
        None => MESSAGE.to_owned(),
    };
    let lines: Vec<&String> = notices.iter().chain(&reasons).collect();
    let mut error = Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, message);
    // A single reason is told already.
    if lines.len() > reasons.len().min(1) {
        error = error.details(lines);
    }
    if !reasons.is_empty() {
        return error.hint("pgcopy.plan without on_mismatch shows what mends each.");
    }
    error.hint("A table must exist on both sides under the same name. pgcopy.list(source) shows the source's tables; pg_dump --schema-only copies their definitions.")
}
