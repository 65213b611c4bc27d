//! Errors of object stores and web servers, without anything secret.

use super::Store;
use crate::error::{Error, with_causes};
use crate::parquet::credentials::Access;
use crate::parquet::data_files::changed;
use datafiles::redact;
use pgrx::prelude::*;

impl Store {
    /// Returns the error of an object or URL of that name.
    pub(super) fn error(&self, name: &str, error: &object_store::Error) -> Error {
        let name = redact::redact(name, &[]);
        let mut told = self.reason(error);
        told.message = format!("could not read \"{name}\": {}", told.message);
        told
    }

    /// Returns the error without the name, and without secrets.
    pub(super) fn reason(&self, error: &object_store::Error) -> Error {
        use object_store::Error as Remote;
        let text = with_causes(error);
        let hidden = |text: &str| redact::redact(text, &self.access.as_ref().map(Access::secrets).unwrap_or_default());
        let answer = redact::answer(&text).map(|answer| format!("The store answers: {}", hidden(&answer)));
        // The status of a failed listing is only in the text.
        let status = |code: &str| text.contains(&format!("status code: {code}"));
        let mut told = match error {
            Remote::NotFound { .. } => not_there(),
            _ if status("404") => not_there(),
            _ if is_refusal(error) || status("401") || status("403") => {
                let told =
                    Error::new(PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, "the store refuses access");
                if self.access.as_ref().is_some_and(Access::has_credentials) {
                    told
                } else {
                    told.hint("It was asked without credentials; they belong to the user mapping of a foreign server.")
                }
            }
            Remote::Precondition { .. } => changed(),
            Remote::NotSupported { .. } if text.contains("Range") => Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "its server does not send parts of files",
            )
            .hint("The server must understand range requests. Copy the file to one that does, or to this machine."),
            Remote::InvalidPath { .. } => {
                Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, "a key is not supported").detail(format!(
                    "{}. Keys with empty names, \".\" or \"..\" between slashes cannot be read.",
                    hidden(&text)
                ))
            }
            // Only the core of an answer is shown, if there is one: its whole text can repeat the request.
            _ if answer.is_some() => Error::new(PgSqlErrorCode::ERRCODE_FDW_ERROR, "the request failed"),
            _ => Error::new(PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, shortened(&hidden(&text))),
        };
        if let Some(answer) = answer {
            told = told.detail(answer);
        }
        told
    }
}

fn not_there() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_FILE, "it does not exist")
}

fn is_refusal(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. })
}

/// Shortens a text of a store, which can be a whole web page.
fn shortened(text: &str) -> String {
    const MOST_CHARACTERS: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // The name is in the message already, and the number of attempts helps nobody.
    let line = line
        .split_once("Error performing ")
        .and_then(|(_, tried)| tried.split_once(" - "))
        .map_or(line.as_str(), |(_, reason)| reason);
    match line.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
