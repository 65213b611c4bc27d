//! Messages of the server on their way to clients and the log. They are watched here because the framework keeps only
//! an error's texts, takes them for UTF-8, and knows no SQLSTATE but the server's own.

use super::guard::guarded;
use super::{bindings, encoding};
use crate::error::{MessageRoute, ObjectNames, capped};
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_guard, pg_sys};
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

/// Returns the functions that carry messages for [`crate::error`].
pub fn route() -> MessageRoute {
    MessageRoute {
        watch,
        announce_text: encoding::announce_message,
        announce_error: announce,
        noted,
        text_of_server: encoding::message_of_server,
        keep: keep_text,
    }
}

const FIELDS: [u8; 5] = [
    pg_sys::PG_DIAG_SCHEMA_NAME,
    pg_sys::PG_DIAG_TABLE_NAME,
    pg_sys::PG_DIAG_COLUMN_NAME,
    pg_sys::PG_DIAG_DATATYPE_NAME,
    pg_sys::PG_DIAG_CONSTRAINT_NAME,
];

/// An error on its way, with the parts that the framework does not carry along.
struct Noted {
    sqlstate: i32,
    /// The message as the framework has it.
    message: String,
    /// In the database's encoding.
    names: [Option<CString>; 5],
}

/// The reason why this process is about to end.
pub struct Fatal {
    pub sqlstate: i32,
    pub message: String,
}

thread_local! {
    /// The last error that the framework would not pass on whole.
    static NOTED: RefCell<Option<Noted>> = const { RefCell::new(None) };
    static FATAL: RefCell<Option<Noted>> = const { RefCell::new(None) };
    /// What is kept of the messages of a job; `None` where there is no job.
    static KEPT: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// From here on NOTICEs that are worth it, and all WARNINGs, are kept for those who look at the job later.
pub fn keep() {
    watch();
    KEPT.set(Some(Vec::new()));
}

/// What was kept so far.
pub fn kept() -> Vec<String> {
    KEPT.with_borrow(|kept| kept.clone().unwrap_or_default())
}

/// Returns what was kept, and keeps nothing from here on.
pub fn take_kept() -> Vec<String> {
    KEPT.take().unwrap_or_default()
}

/// Stands for what was not kept.
pub const MORE_MESSAGES: &str = "There were more messages.";

fn keep_text(text: &str) {
    /// Of one message, and of all of them.
    const MOST_BYTES: usize = 1024;
    const MOST_BYTES_OF_ALL: usize = 8192;
    KEPT.with_borrow_mut(|kept| {
        let Some(kept) = kept else { return };
        let text = capped(text, MOST_BYTES);
        // Code of users may say the same of every row.
        if kept.iter().any(|said| *said == text) {
            return;
        }
        let bytes = kept.iter().map(String::len).sum::<usize>() + text.len();
        if bytes <= MOST_BYTES_OF_ALL {
            kept.push(text.into_owned());
        } else if kept.last().is_some_and(|last| last != MORE_MESSAGES) {
            kept.push(MORE_MESSAGES.to_owned());
        }
    });
}

/// The server calls it for every message. It is at the end of the chain, where nobody else's place can vanish before.
static mut WATCHER: pg_sys::ErrorContextCallback =
    pg_sys::ErrorContextCallback { previous: std::ptr::null_mut(), callback: Some(see), arg: std::ptr::null_mut() };

/// Begins to watch: from here on errors keep the names of objects, and messages arrive intact in databases of any
/// encoding.
pub fn watch() {
    // SAFETY: the chain leads through places of functions that have not returned; ours is static.
    unsafe {
        let watcher = &raw mut WATCHER;
        let mut place = &raw mut pg_sys::error_context_stack;
        while !(*place).is_null() {
            if *place == watcher {
                return;
            }
            place = &raw mut (**place).previous;
        }
        *place = watcher;
    }
}

/// Returns the SQLSTATE that the framework makes of one.
fn as_passed_on(sqlstate: i32) -> i32 {
    PgSqlErrorCode::from(sqlstate) as i32
}

impl Noted {
    /// Returns whether it is this error, as the framework has it.
    fn is(&self, sqlstate: i32, message: &str) -> bool {
        as_passed_on(self.sqlstate) == sqlstate && self.message == message
    }
}

/// Returns SQLSTATE and names of objects of an error of the server that was just caught, as far as the framework lacks
/// them.
pub fn noted(sqlstate: i32, message: &str) -> Option<(i32, ObjectNames)> {
    NOTED.with_borrow(|noted| {
        let noted = noted.as_ref().filter(|noted| noted.is(sqlstate, message))?;
        let names = noted.names.each_ref().map(|name| name.as_ref().map(|name| encoding::for_people_here(name)));
        Some((noted.sqlstate, names))
    })
}

/// Notes the parts of an error that the framework would lose. It is called before the error is reported.
pub fn announce(sqlstate: i32, message: &str, names: &ObjectNames) {
    watch();
    if names.iter().all(Option::is_none) && as_passed_on(sqlstate) == sqlstate {
        return;
    }
    let names = names.each_ref().map(|name| name.as_ref().map(|name| encoding::for_people_there(name)));
    NOTED.set(Some(Noted { sqlstate, message: message.to_owned(), names }));
}

/// Returns the server's message about the end of this process.
pub fn last_fatal() -> Option<Fatal> {
    FATAL.with_borrow(|fatal| {
        let Noted { sqlstate, message, .. } = fatal.as_ref()?;
        Some(Fatal { sqlstate: *sqlstate, message: encoding::message_of_server(message) })
    })
}

#[pg_guard]
unsafe extern "C-unwind" fn see(_argument: *mut std::ffi::c_void) {
    // SAFETY: called while a message is being reported; the copy of it is freed again.
    unsafe {
        // When memory is exhausted, there may be none for a copy either.
        if pg_sys::geterrcode() == PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as i32 {
            return;
        }
        let context = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let message = pg_sys::CopyErrorData();
        encoding::translate(&*message);
        let level = (*message).elevel;
        if level == PgLogLevel::ERROR as i32 {
            carry(&*message);
        } else if level == PgLogLevel::WARNING as i32 {
            keep_text(&plan::one_line(&encoding::message_of_server(&passed_on((*message).message))));
        } else if level == PgLogLevel::FATAL as i32 {
            FATAL.set(Some(Noted {
                sqlstate: (*message).sqlerrcode,
                message: passed_on((*message).message),
                names: Default::default(),
            }));
        }
        pg_sys::FreeErrorData(message);
        pg_sys::MemoryContextSwitchTo(context);
    }
}

/// Notes the parts that the framework leaves out of an error, or adds them to the error that is reported in its place.
///
/// # Safety
/// The message is a copy of the one that is being reported.
unsafe fn carry(message: &pg_sys::ErrorData) {
    let names =
        [message.schema_name, message.table_name, message.column_name, message.datatype_name, message.constraint_name];
    // SAFETY: texts of the server, or null.
    let (sqlstate, text) = (message.sqlerrcode, unsafe { passed_on(message.message) });
    if names.iter().any(|name| !name.is_null()) || as_passed_on(sqlstate) != sqlstate {
        // SAFETY: as above.
        let names = names.map(|name| (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_owned()));
        NOTED.set(Some(Noted { sqlstate, message: text, names }));
        return;
    }
    NOTED.with_borrow(|noted| {
        let Some(noted) = noted.as_ref().filter(|noted| noted.is(sqlstate, &text)) else { return };
        // SAFETY: sets a field of the message that is being reported.
        unsafe { guarded!(bindings::errcode(noted.sqlstate)) };
        for (field, name) in FIELDS.into_iter().zip(&noted.names) {
            if let Some(name) = name {
                // SAFETY: the message that is being reported has none of these fields yet; the text is copied.
                unsafe { pg_sys::err_generic_string(field.into(), name.as_ptr()) };
            }
        }
    });
}

/// # Safety
/// The pointer is to a NUL-terminated text, or null.
unsafe fn passed_on(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
