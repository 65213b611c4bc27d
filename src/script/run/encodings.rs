//! The encoding of a script, which follows `client_encoding` as the script sets it.

use super::Run;
use crate::error::{Result, catch};
use crate::local::script_statement::Encoding;
use crate::local::settings;
use std::ffi::{CStr, CString};

const ENCODING: &CStr = c"client_encoding";

impl Run<'_> {
    /// Returns a statement of the script in the encoding of the database.
    ///
    /// # Errors
    /// Its bytes are no characters of the script's encoding.
    pub(super) fn in_database_encoding(&self, text: Vec<u8>, line: usize) -> Result<CString> {
        let converted = catch(|| self.encoding.statement(text));
        converted.map_err(|error| error.detail(format!("Line {line} of \"{}\".", self.file.name)))
    }

    /// Executes a statement and takes over the encoding that it sets. The session's own stays as it is: its client is not the
    /// script's.
    pub(super) fn execute_following_encoding(
        &mut self,
        text: &CStr,
        line: usize,
        outline: &str,
    ) -> Result<Option<u64>> {
        let of_client = self.encoding_of_client;
        let may_set = dumpscript::may_set_encoding(outline);
        // What the statement finds is what the script has set before.
        if may_set && self.encoding != of_client {
            settings::set_again(ENCODING, &self.encoding.name())?;
        }
        let executed = self.execute(text, line, outline)?;
        let now = Encoding::of_client();
        if dumpscript::resets_encoding(outline) {
            // That of the beginning is not the session's either.
            self.encoding = Encoding::of_database();
        } else if may_set || now != of_client {
            self.encoding = now;
        }
        if now != of_client {
            settings::set_again(ENCODING, &of_client.name())?;
        }
        Ok(executed)
    }
}
