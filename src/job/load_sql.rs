//! Loads of scripts, in the caller's transaction.

use super::leader::{self, PulledTable};
use super::{attended, history, shared};
use crate::error::{Error, Result};
use crate::local::locks::{self, Until};
use crate::local::{client, messages};
use crate::order::{InPlaceTable, Input, JobSpec, Loaded, Mode, ScriptInput};
use crate::prepare::{self, Prepared, Terms};
use crate::script::{self, FilledTable, HeldRows, RowLoader, RunReport, RunTerms, ScriptFile, StoredTable};
use pgrx::pg_sys;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

/// The arguments of a load. The path may hold a signature.
#[derive(Clone, Serialize, Deserialize)]
pub struct LoadSqlRequest {
    pub path: String,
    pub include: Option<Vec<Option<String>>>,
    pub exclude: Option<Vec<Option<String>>>,
    pub owners: bool,
    pub privileges: bool,
    pub on_error: String,
    pub server: Option<String>,
    /// Workers; 0 for the session alone, `None` for what fits the machine, if the script is long enough.
    pub parallel: Option<i32>,
}

impl LoadSqlRequest {
    fn terms(&self) -> Result<RunTerms> {
        let skips_errors = match self.on_error.as_str() {
            "error" => false,
            "skip" => true,
            other => {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                    format!("on_error \"{other}\" not recognized"),
                )
                .hint("It is \"error\" or \"skip\"."));
            }
        };
        let (include, exclude) = prepare::parse_filters("load", self.include.as_deref(), self.exclude.as_deref())?;
        Ok(RunTerms { skips_errors, owners: self.owners, privileges: self.privileges, include, exclude })
    }

    /// The arguments as a JSON object, for those who look at the job later; without the path, which may hold a signature and
    /// is shown in its own place.
    pub(super) fn described(&self) -> String {
        prepare::described(self, &["path"], [])
    }
}

/// What can be said of the arguments without reading the script. Returns the script's name as people may see it.
pub(super) fn check_arguments(request: &LoadSqlRequest) -> Result<String> {
    request.terms()?;
    prepare::worker_count(request.parallel)?;
    script::check_path(&request.path, request.server.as_deref())
}

/// Runs a script in the caller's transaction.
pub fn load_sql(request: &LoadSqlRequest) -> Result<RunReport> {
    client::while_there(|| load_sql_as(request, None))
}

/// `job` is the number of a job that is recorded already.
pub(super) fn load_sql_as(request: &LoadSqlRequest, job: Option<i64>) -> Result<RunReport> {
    let called = shared::now();
    messages::keep();
    leader::refuse_where_forbidden(c"pgcopy.load_sql()")?;
    let terms = request.terms()?;
    locks::keep_extension(Until::EndOfTransaction);
    let loader = Loader { workers: prepare::worker_count(request.parallel)?, request };
    let mut file = ScriptFile::open(&request.path, request.server.as_deref())?;
    let input = Input::Script(ScriptInput { name: file.name.clone(), bytes: file.bytes });
    let pages = file.bytes.div_ceil(u64::from(pg_sys::BLCKSZ));
    // The script is what the job fills tables from; the tables show while it runs.
    let whole = InPlaceTable {
        schema: String::new(),
        name: file.name.clone(),
        pages: u32::try_from(pages).unwrap_or(u32::MAX),
    };
    let spec = JobSpec::of_session(job.map_or_else(history::next_job, Ok)?, input, whole, request.described());
    attended::work_in_session(&spec, called, |on_progress| script::run_script(&mut file, terms, &loader, on_progress))
}

/// Has workers store rows that the script has held back.
struct Loader<'a> {
    workers: usize,
    request: &'a LoadSqlRequest,
}

impl RowLoader for Loader<'_> {
    fn holds_back(&self, bytes: u64) -> bool {
        // Less is stored before workers have started.
        const LEAST_BYTES: u64 = 16 << 20;
        self.workers > 0 && (self.request.parallel.is_some() || bytes >= LEAST_BYTES)
    }

    fn store(&self, rows: &HeldRows<'_>, watcher: &dyn Fn(Loaded)) -> Result<Vec<StoredTable>> {
        let called = shared::now();
        let terms = Terms {
            overwrite: false,
            wait: true,
            verbose: false,
            call_to_overwrite: String::new(),
            arguments: self.request.described(),
            mode: Mode::Replace,
            triggers: true,
        };
        let prepared = Prepared::for_script(rows.tables, rows.name, rows.text, &terms, self.workers)?;
        let stored = leader::fill_from_script(&prepared, history::next_job()?, called, watcher)?;
        let stored = stored.into_iter().map(|PulledTable { schema, name, rows, bytes, seconds, .. }| StoredTable {
            schema,
            name,
            filled: FilledTable { rows, bytes, seconds },
        });
        Ok(stored.collect())
    }
}
