//! Which words of a source's errors are repeated here, where it computes expressions of users: none that may hold a value which is
//! to stay there.

use crate::error::{Error, sqlstate_class};
use pgrx::prelude::*;
use tokio_postgres::error::DbError;

/// What the words of an error may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Words {
    /// Values of rows, if expressions over rows were computed.
    pub(super) may_hold_values: bool,
    /// Whatever a function has read: the error is reported from within one that is not compiled.
    pub(super) are_of_called_code: bool,
}

/// Classes of what happens to a session, a transaction or a server, whatever its rows hold. In others casts and functions name what
/// they were given: a table that does not exist, a unit, a query for words.
const OF_SERVERS: [&[u8; 2]; 9] = [b"08", b"25", b"40", b"53", b"54", b"55", b"57", b"58", b"XX"];

/// Files of PostgreSQL's own code below all types and functions, where no value is known. A function can raise an error of any
/// class, in any words, and a few types tell values in errors of these classes; but where an error comes from is told by the
/// compiler.
const BELOW_VALUES: [&str; 44] = [
    "aset.c",
    "buffile.c",
    "bufmgr.c",
    "bufpage.c",
    "bump.c",
    "clog.c",
    "deadlock.c",
    "detoast.c",
    "dsm.c",
    "dsm_impl.c",
    "generation.c",
    "heapam.c",
    "heaptoast.c",
    "indexam.c",
    "latch.c",
    "lmgr.c",
    "localbuf.c",
    "lock.c",
    "lockcmds.c",
    "logtape.c",
    "mcxt.c",
    "md.c",
    "multixact.c",
    "namespace.c",
    "nbtpage.c",
    "nbtsearch.c",
    "parallel.c",
    "postgres.c",
    "predicate.c",
    "proc.c",
    "procarray.c",
    "sharedtuplestore.c",
    "slab.c",
    "slru.c",
    "smgr.c",
    "snapmgr.c",
    "stack_depth.c",
    "standby.c",
    "stringinfo.c",
    "subtrans.c",
    "toast_internals.c",
    "transam.c",
    "visibilitymap.c",
    "xlogreader.c",
];

impl Words {
    /// Of an error that was found here.
    pub(super) const OWN: Self = Self { may_hold_values: false, are_of_called_code: false };

    pub(super) fn of(answer: &DbError) -> Self {
        /// They add a line about the place in a document.
        const JSON: [&str; 3] = ["json.c", "jsonapi.c", "jsonfuncs.c"];
        let is_from = |files: &[&str]| answer.file().is_some_and(|file| files.contains(&file));
        let code = answer.code().code().as_bytes();
        let is_of_server = OF_SERVERS.iter().any(|class| code.starts_with(*class));
        let lines = answer.where_().map_or(0, |context| context.lines().count());
        Self {
            may_hold_values: !(is_of_server && is_from(&BELOW_VALUES)),
            are_of_called_code: lines > usize::from(is_from(&JSON)),
        }
    }
}

/// Returns an error of what users' expressions compute without the source's words for it.
pub(super) fn without_values(error: Error) -> Error {
    let class = sqlstate_class(error.sqlstate);
    let text = if error.sqlstate == PgSqlErrorCode::ERRCODE_DIVISION_BY_ZERO as i32 {
        "an expression of tables divides by zero for a value of the source"
    } else if OF_SERVERS.iter().any(|known| **known == class) {
        "the source fails while it computes an expression of tables"
    } else {
        "an expression of tables fails for a value of the source"
    };
    let mut hidden = Error::internal(text);
    hidden.sqlstate = error.sqlstate;
    hidden.hint("The source's words are left out, because they may hold the value. Its log has them.")
}
