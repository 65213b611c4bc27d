//! Dumps into files of the server.

use super::leader;
use super::{attended, history, shared};
use crate::error::{Error, Result};
use crate::local::locks::{self, Until};
use crate::local::{client, messages};
use crate::order::{InPlaceTable, Input, JobSpec, Loaded, ScriptInput};
use crate::prepare;
use crate::script::{self, DumpTerms, WrittenDump};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

/// The arguments of a dump. The source may hold a password.
#[derive(Clone, Serialize, Deserialize)]
pub struct DumpRequest {
    pub path: String,
    pub include: Option<Vec<Option<String>>>,
    pub exclude: Option<Vec<Option<String>>>,
    pub overwrite: bool,
    pub sections: Option<Vec<String>>,
    pub definitions: bool,
    pub data: bool,
    pub owners: bool,
    pub privileges: bool,
    pub source: Option<String>,
}

impl DumpRequest {
    fn terms(&self) -> Result<DumpTerms> {
        const SECTIONS: [&str; 3] = ["pre-data", "data", "post-data"];
        let invalid = |message: String| Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message);
        let (include, exclude) = prepare::parse_filters("dump", self.include.as_deref(), self.exclude.as_deref())?;
        let sections = self.sections.clone().unwrap_or_default();
        if let Some(other) = sections.iter().find(|section| !SECTIONS.contains(&section.as_str())) {
            return Err(invalid(format!("section \"{other}\" not recognized"))
                .hint("Sections are \"pre-data\", \"data\" and \"post-data\"."));
        }
        if self.sections.is_some() && sections.is_empty() {
            return Err(invalid("there is nothing to dump without sections".to_owned()).hint(
                "Sections are \"pre-data\", \"data\" and \"post-data\"; without the parameter all of them are dumped.",
            ));
        }
        if !self.definitions && !self.data {
            return Err(invalid("there is nothing to dump without definitions and data".to_owned()));
        }
        Ok(DumpTerms {
            include: include.unwrap_or_default(),
            exclude,
            overwrite: self.overwrite,
            sections,
            definitions: self.definitions,
            data: self.data,
            owners: self.owners,
            privileges: self.privileges,
        })
    }

    /// The arguments as a JSON object, for those who look at the job later; without the source, which may hold a password.
    pub(super) fn described(&self) -> String {
        prepare::described(self, &["path", "source"], [])
    }
}

/// What can be said of the arguments without asking the source. Returns what the job is about, as people may see it.
pub(super) fn check_arguments(request: &DumpRequest) -> Result<String> {
    request.terms()?;
    script::check_dump_path(&request.path, request.overwrite)?;
    script::dump_origin(request.source.as_deref())?;
    Ok(request.path.clone())
}

/// Writes a dump.
pub fn dump(request: &DumpRequest) -> Result<WrittenDump> {
    client::while_there(|| dump_as(request, None))
}

/// `job` is the number of a job that is recorded already.
pub(super) fn dump_as(request: &DumpRequest, job: Option<i64>) -> Result<WrittenDump> {
    let called = shared::now();
    messages::keep();
    leader::refuse_where_nothing_is_written(c"pgcopy.dump()")?;
    let terms = request.terms()?;
    let path = script::check_dump_path(&request.path, request.overwrite)?;
    let origin = script::dump_origin(request.source.as_deref())?;
    locks::keep_extension(Until::EndOfTransaction);
    let input = Input::Script(ScriptInput { name: request.path.clone(), bytes: 0 });
    // The file stands for all that the job does.
    let whole = InPlaceTable { schema: String::new(), name: request.path.clone(), pages: 0 };
    let spec = JobSpec::of_session(job.map_or_else(history::next_job, Ok)?, input, whole, request.described());
    attended::work_in_session(&spec, called, |on_progress| {
        script::write_dump(&path, &origin, &terms, &|bytes| on_progress(Loaded { rows: 0, bytes }))
    })
}
