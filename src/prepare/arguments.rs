//! The arguments of a pull.

use super::Terms;
use super::row_form::RowForm;
use super::stored_rows::refuse_untrusted_caller;
use super::transport::Compress;
use crate::error::{Error, Result, capped};
use crate::local::{interrupts, logging};
use crate::order::Mode;
use crate::source::Origin;
use pgrx::prelude::*;
use plan::Pattern;
use selection::Selection;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The arguments of a pull, as given.
#[derive(Clone, Serialize, Deserialize)]
pub struct Request {
    pub source: String,
    pub include: Option<Vec<Option<String>>>,
    pub exclude: Option<Vec<Option<String>>>,
    pub overwrite: bool,
    /// Workers; 0 for the leader alone, `None` for what fits the machine.
    pub parallel: Option<i32>,
    /// Accepted for compatibility, and without effect: rows are written in whole pages.
    pub batch_size: i32,
    /// Whether foreign keys are checked that the source itself guarantees.
    pub validate: bool,
    /// Whether to wait for locks on the targets that others hold, or to fail at once.
    pub wait: bool,
    /// Whether each finished table is told of.
    pub verbose: bool,
    /// Whether materialized views that read the targets are refreshed.
    pub refresh: bool,
    /// Whether all targets are loaded as they stand, also those whose storage could be exchanged.
    pub in_place: bool,
    /// Whether tables that cannot be pulled are left out, with those that reference them.
    pub skip_mismatched: bool,
    /// Whether the stored rows are compared with those of the source before they take their places.
    pub verify: bool,
    /// What is taken of each table, as a JSON object.
    pub tables: Option<Value>,
    /// The secret that masks depend on.
    pub mask_key: Option<String>,
    /// What becomes of the rows that are there.
    pub mode: String,
    /// Whether triggers fire where the mode is one that keeps rows.
    pub triggers: bool,
    /// Whether tables are reduced to what belongs together with the rows that `tables` chooses.
    pub follow_keys: bool,
    /// The codec that rows are compressed with by the source, `none`, or `auto`.
    pub compress: String,
    /// The form in which rows travel that are not compressed: `binary`, `text`, or `auto`.
    pub wire: String,
    /// Whether the caller, a superuser, vouches for what the source sends.
    pub trust_source: bool,
}

impl Request {
    pub(super) fn terms(&self) -> Terms {
        Terms {
            overwrite: self.overwrite,
            wait: self.wait,
            verbose: self.verbose,
            call_to_overwrite: format!("SELECT * FROM pgcopy.pull(…{}, overwrite => true);", arguments(self)),
            arguments: self.described(),
            mode: self.mode().unwrap_or_default(),
            triggers: self.triggers,
        }
    }

    fn mode(&self) -> Result<Mode> {
        parse_mode(&self.mode)
    }

    /// The arguments as a JSON object, for those who look at the job later; without the source, which may hold a password and
    /// is shown in its own place.
    pub fn described(&self) -> String {
        let method = if self.in_place { "in place" } else { "auto" };
        let on_mismatch = if self.skip_mismatched { "skip" } else { "error" };
        described(
            self,
            &["source", "in_place", "skip_mismatched", "mask_key"],
            [("method", method.into()), ("on_mismatch", on_mismatch.into())],
        )
    }
}

/// The fields of a request that are given, but those that are left out, and with others in their place.
pub fn described<const N: usize>(request: &impl Serialize, left_out: &[&str], others: [(&str, Value); N]) -> String {
    /// Of one argument: a list of thousands of patterns is not kept with every job.
    const MOST_BYTES: usize = 1024;
    let Ok(Value::Object(mut fields)) = serde_json::to_value(request) else { return "{}".to_owned() };
    fields.retain(|name, value| !left_out.contains(&name.as_str()) && !value.is_null());
    fields.extend(others.map(|(name, value)| (name.to_owned(), value)));
    for value in fields.values_mut() {
        let text = value.to_string();
        if text.len() > MOST_BYTES {
            *value = capped(&text, MOST_BYTES).into();
        }
    }
    Value::Object(fields).to_string()
}

const LARGEST_BATCH: i32 = 100_000;
const MOST_WORKERS: i32 = 64;

/// A key that can be guessed does not hide what is masked with it.
const LEAST_KEY: usize = 16;
const LONGEST_KEY: usize = 1024;

/// What can be said of the arguments without asking the source. Returns the source as people may see it.
pub fn check_arguments(request: &Request) -> Result<String> {
    hide_key(request.mask_key.as_deref());
    Arguments::of(request)?;
    Ok(Origin::resolve(&request.source)?.to_string())
}

pub(super) struct Arguments {
    pub(super) filters: Filters,
    pub(super) workers: usize,
}

/// What is wanted of the source.
pub(super) struct Filters {
    pub(super) include: Option<Vec<Pattern>>,
    pub(super) exclude: Vec<Pattern>,
    /// What is taken of each table.
    pub(super) selection: Selection,
}

impl Filters {
    /// Everything of the tables that `include` and `exclude` choose.
    pub(super) fn whole_tables((include, exclude): (Option<Vec<Pattern>>, Vec<Pattern>)) -> Self {
        Self { include, exclude, selection: Selection::default() }
    }

    /// What `tables` says of those tables.
    pub(super) fn with_selection(self, tables: Option<&Value>, mask_key: Option<&str>) -> Result<Self> {
        let Some(tables) = tables else { return self.with_key(mask_key) };
        let selection = Selection::parse(tables).map_err(|wrong| {
            let error = Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, wrong.message);
            wrong.hint.into_iter().fold(error, Error::hint)
        })?;
        Self { selection, ..self }.with_key(mask_key)
    }

    fn with_key(self, mask_key: Option<&str>) -> Result<Self> {
        match mask_key {
            None if self.selection.needs_key() => {
                Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, "masks need mask_key").hint(
                    "Give mask_key => '…', a secret of 16 bytes or more: masks of the same value are the same in all pulls with it.",
                ))
            }
            Some(key) if key.len() < LEAST_KEY || key.len() > LONGEST_KEY => Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("mask_key must have from {LEAST_KEY} to {LONGEST_KEY} bytes"),
            )
            .hint("SELECT gen_random_uuid() makes one that nobody guesses.")),
            _ => Ok(self),
        }
    }
}

/// Keeps the statement with the key of masks out of the log.
pub(super) fn hide_key(mask_key: Option<&str>) {
    if let Some(key) = mask_key {
        logging::hide_statement(key);
    }
}

impl Arguments {
    pub(super) fn of(request: &Request) -> Result<Self> {
        let filters = Filters::whole_tables(filters_of("pull", request)?)
            .with_selection(request.tables.as_ref(), request.mask_key.as_deref())?;
        if request.mode()?.merges() && request.in_place {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("method => 'in place' is for mode => 'replace', and not for '{}'", request.mode),
            )
            .hint("Other modes change tables as they stand anyway: leave out \"method\"."));
        }
        Compress::parse(&request.compress)?;
        RowForm::parse(&request.wire)?;
        refuse_untrusted_caller(request)?;
        let workers = worker_count(request.parallel)?;
        if !(1..=LARGEST_BATCH).contains(&request.batch_size) {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("batch_size must be between 1 and {LARGEST_BATCH}"),
            ));
        }
        Ok(Self { filters, workers })
    }
}

/// The patterns of a request for a call that is named by a verb.
pub fn filters_of(verb: &str, request: &Request) -> Result<(Option<Vec<Pattern>>, Vec<Pattern>)> {
    parse_filters(verb, request.include.as_deref(), request.exclude.as_deref())
}

/// The patterns of a call, named by a verb, that takes `include` and `exclude`.
pub fn parse_filters(
    verb: &str,
    include: Option<&[Option<String>]>,
    exclude: Option<&[Option<String>]>,
) -> Result<(Option<Vec<Pattern>>, Vec<Pattern>)> {
    let include = include.map(parse_patterns).transpose()?;
    if include.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("include is an empty array: there would be nothing to {verb}"),
        )
        .hint(format!("Leave include out, or give NULL, to {verb} every table that exists on both sides.")));
    }
    let exclude = parse_patterns(exclude.unwrap_or_default())?;
    Ok((include, exclude))
}

/// Enough for a list of all tables of a large database by their names.
const MOST_PATTERNS: usize = 100_000;

fn parse_patterns(texts: &[Option<String>]) -> Result<Vec<Pattern>> {
    if texts.len() > MOST_PATTERNS {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("there are more than {MOST_PATTERNS} table patterns"),
        ));
    }
    texts
        .iter()
        .map(|text| {
            interrupts::check();
            Pattern::parse(text.as_deref().unwrap_or("")).map_err(|error| {
                Error::new(PgSqlErrorCode::ERRCODE_INVALID_NAME, error.to_string())
                    .hint("Patterns are names such as users, public.users, user_* or \"Odd.Name\".")
            })
        })
        .collect()
}

/// Returns the mode of that name.
pub(super) fn parse_mode(name: &str) -> Result<Mode> {
    Mode::parse(name).ok_or_else(|| {
        Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"mode\": \"{name}\""),
        )
        .hint(format!("Available values: {}.", Mode::NAMES))
    })
}

/// Returns the number of workers that a call asks for.
pub fn worker_count(parallel: Option<i32>) -> Result<usize> {
    match parallel {
        // Copying and building indexes both keep a processor busy; more workers only get into each other's way.
        None => Ok(std::thread::available_parallelism().map_or(2, |count| count.get()).clamp(2, 8)),
        Some(count @ 0..=MOST_WORKERS) => Ok(count as usize),
        Some(_) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("parallel must be between 0 and {MOST_WORKERS}"),
        )),
    }
}

/// The caller's arguments after the source, as SQL; the source may hold a password.
fn arguments(request: &Request) -> String {
    let list = |name: &str, patterns: &Option<Vec<Option<String>>>| match patterns {
        Some(patterns) => {
            let texts: Vec<_> =
                patterns.iter().map(|text| plan::quote_literal(text.as_deref().unwrap_or(""))).collect();
            format!(", {name} => ARRAY[{}]", texts.join(", "))
        }
        None => String::new(),
    };
    let method = if request.in_place { ", method => 'in place'" } else { "" };
    let on_mismatch = if request.skip_mismatched { ", on_mismatch => 'skip'" } else { "" };
    // To leave it out would be to ask for more than was asked for.
    let tables = if request.tables.is_some() { ", tables => …" } else { "" };
    let mask_key = if request.mask_key.is_some() { ", mask_key => …" } else { "" };
    let mode =
        if request.mode == Mode::Replace.name() { String::new() } else { format!(", mode => '{}'", request.mode) };
    let follow_keys = if request.follow_keys { ", follow_keys => true" } else { "" };
    let triggers = if request.triggers { "" } else { ", triggers => false" };
    let compress = match Compress::parse(&request.compress) {
        Ok(Compress::Auto) | Err(_) => String::new(),
        Ok(_) => format!(", compress => '{}'", request.compress),
    };
    let wire = if request.wire == "binary" { String::new() } else { format!(", wire => '{}'", request.wire) };
    let trust_source = if request.trust_source { ", trust_source => true" } else { "" };
    format!(
        "{}{}{method}{on_mismatch}{tables}{mask_key}{mode}{triggers}{follow_keys}{compress}{wire}{trust_source}",
        list("include", &request.include),
        list("exclude", &request.exclude)
    )
}
