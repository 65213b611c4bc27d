//! The arguments of a load of files.

use super::mapping::Matching;
use super::target::resolve_name;
use crate::error::{Error, Result};
use crate::order::{Mode, OnInvalidText, OnLossy};
use crate::parquet::new_table::{clipped, last_of, stem_of};
use crate::parquet::store::Store;
use crate::prepare::arguments::{described, parse_mode, worker_count};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

/// The arguments of a load, as given. Paths may hold signatures.
#[derive(Clone, Serialize, Deserialize)]
pub struct LoadRequest {
    pub paths: Vec<String>,
    pub target: Option<String>,
    pub mode: Option<String>,
    pub create: String,
    pub match_by: String,
    /// Pairs of a column of the target and one of the files.
    pub columns: Vec<(String, String)>,
    pub skip: Vec<String>,
    pub overwrite: bool,
    pub parallel: Option<i32>,
    pub on_lossy: String,
    pub on_invalid_text: String,
    pub server: Option<String>,
    /// The unique index that tells rows apart.
    pub key: Option<String>,
}

impl LoadRequest {
    /// The arguments as a JSON object, for those who look at the job later; without the paths, which may hold signatures and
    /// are shown in their own place.
    pub fn described(&self) -> String {
        let columns: serde_json::Map<_, _> =
            self.columns.iter().map(|(target, file)| (target.clone(), file.clone().into())).collect();
        let others = [("create_table", self.create.clone().into()), ("columns", columns.into())];
        described(self, &["paths", "create"], others)
    }

    pub fn mode(&self) -> Result<Mode> {
        let mode = self.mode.as_deref().map_or(Ok(Mode::Append), parse_mode)?;
        if self.key.is_some() && !mode.needs_key() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("key is not for mode => '{}'", mode.name()),
            )
            .hint("It is for insert_missing, upsert and sync, which tell rows apart."));
        }
        Ok(mode)
    }

    fn matching(&self) -> Result<Matching> {
        let by_position = match self.match_by.as_str() {
            "name" => false,
            "position" => true,
            other => return Err(not_among("match_by", other, "name and position")),
        };
        if by_position && !self.columns.is_empty() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                "columns pairs names, which match_by => 'position' does not look at",
            ));
        }
        let map = self.columns.iter().map(|(target, file)| (clipped(target).to_owned(), file.clone())).collect();
        Ok(Matching { by_position, map, skip: self.skip.clone(), copy: None })
    }

    fn may_create(&self) -> Result<bool> {
        match self.create.as_str() {
            "if_missing" => Ok(true),
            "never" => Ok(false),
            other => Err(not_among("create_table", other, "if_missing and never")),
        }
    }
}

/// What `on_lossy` may be.
pub fn parse_on_lossy(text: &str) -> Result<OnLossy> {
    match text {
        "error" => Ok(OnLossy::Error),
        "truncate" => Ok(OnLossy::Truncate),
        other => Err(not_among("on_lossy", other, "error and truncate")),
    }
}

/// What `on_invalid_text` may be.
pub fn parse_on_invalid_text(text: &str) -> Result<OnInvalidText> {
    match text {
        "error" => Ok(OnInvalidText::Error),
        "replace" => Ok(OnInvalidText::Replace),
        other => Err(not_among("on_invalid_text", other, "error and replace")),
    }
}

fn not_among(parameter: &str, value: &str, known: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{parameter}\": \"{value}\""),
    )
    .hint(format!("Available values: {known}."))
}

/// The arguments of a load, understood.
pub struct Arguments {
    pub mode: Mode,
    pub matching: Matching,
    pub may_create: bool,
    pub on_lossy: OnLossy,
    pub on_invalid_text: OnInvalidText,
    pub workers: usize,
}

impl Arguments {
    pub fn of(request: &LoadRequest) -> Result<Self> {
        Ok(Self {
            mode: request.mode()?,
            matching: request.matching()?,
            may_create: request.may_create()?,
            on_lossy: parse_on_lossy(&request.on_lossy)?,
            on_invalid_text: parse_on_invalid_text(&request.on_invalid_text)?,
            workers: worker_count(request.parallel)?,
        })
    }
}

/// Refuses arguments that are wrong whatever is in the files. Returns where the rows come from, without secrets.
pub fn check_arguments(request: &LoadRequest) -> Result<String> {
    Arguments::of(request)?;
    Store::resolve(&request.paths, request.server.as_deref())?;
    let names = request.paths.iter().map(|path| Store::name_of(path)).collect::<Result<Vec<_>>>()?;
    refuse_temporary_target(request, &names)?;
    Ok(match names.as_slice() {
        [name] => name.clone(),
        names => format!("{} paths, {} first", names.len(), names.first().map_or("", String::as_str)),
    })
}

/// Another session would not find the table, and would make one of its name.
fn refuse_temporary_target(request: &LoadRequest, names: &[String]) -> Result<()> {
    let text = match (&request.target, names) {
        (Some(target), _) => target.clone(),
        // A folder does not name the table; the file in it does.
        (None, [name]) if last_of(name).contains('.') => stem_of(name),
        _ => return Ok(()),
    };
    let (schema, name) = resolve_name(&text)?;
    if !schema.starts_with("pg_temp") {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        format!("cannot load into temporary table {} in the background", plan::quote_identifier(&name)),
    )
    .hint("Use load_parquet, or write the schema of another table into target."))
}
