//! The problems of a pull, reported in one error.

use crate::error::{Error, Result};
use pgrx::prelude::*;
use plan::{Problem, ProblemKind};

/// Raises one error for all problems of a pull.
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
        ProblemKind::Rights => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
    };
    let count = match problems.len() {
        1 => "there is a problem".to_owned(),
        count => format!("there are {count} problems"),
    };
    let lines = problems.iter().map(|problem| problem.text.as_str());
    let error = Error::new(sqlstate, format!("cannot {verb}: {count}; nothing was touched")).details(lines);
    let is_of = |kind: ProblemKind| move |problem: &Problem| problem.kind == kind;
    Err(error.hint(if problems.iter().all(is_of(ProblemKind::Rights)) {
        "Get the rights that are missing, or leave these tables out with exclude."
    } else if problems.iter().any(is_of(ProblemKind::UnmatchedPattern)) {
        "pgcopy.list(source) shows the source's tables. * matches any run of characters; names that are not in lower case need double quotes."
    } else if problems.iter().all(is_of(ProblemKind::Exclusion)) {
        "Leave the whole partitioned table out, or make its partitions alike on both sides."
    } else if problems.iter().any(is_of(ProblemKind::Exclusion)) {
        "Leave tables out with exclude, partitioned ones as a whole, or make both sides alike."
    } else {
        "Leave tables out with exclude, or make both sides alike."
    }))
}
