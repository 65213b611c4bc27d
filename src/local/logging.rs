//! Keeps statements that hold a password out of the server's log, as far as an extension can.

use super::guard::guarded;
use pgrx::{PgLogLevel, pg_guard, pg_sys};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};

thread_local! {
    /// The start of the statement that is hidden. It is over when another one has begun.
    static HIDDEN: Cell<Option<pg_sys::TimestampTz>> = const { Cell::new(None) };
    /// The sources that the hidden statement names.
    static SECRETS: RefCell<Vec<CString>> = const { RefCell::new(Vec::new()) };
    /// The statement that was searched last, by its start, and the result.
    static LOOKED_THROUGH: Cell<Option<(pg_sys::TimestampTz, Look)>> = const { Cell::new(None) };
}

/// The result of searching a statement.
#[derive(Clone, Copy)]
struct Look {
    /// The statement names something of the extension's.
    is_ours: bool,
    has_secret: bool,
}

static mut PREVIOUS_HOOK: pg_sys::emit_log_hook_type = None;

/// Called once, when the library is loaded.
pub fn register() {
    // SAFETY: a backend has one thread when it loads a library.
    unsafe {
        PREVIOUS_HOOK = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(hide);
    }
}

/// A statement whose text is kept out of the log.
pub struct HiddenStatement {
    before: Option<pg_sys::TimestampTz>,
    secrets_before: usize,
}

impl HiddenStatement {
    /// Ends the hiding of the statement: its source holds no password after all.
    pub fn show(self) {
        HIDDEN.set(self.before);
        SECRETS.with_borrow_mut(|secrets| secrets.truncate(self.secrets_before));
    }
}

/// From here on, logs messages of the current statement, above all the error that ends it, without its text and without
/// the context that it was called in. `secret` is the text with the password, which other messages may quote.
pub fn hide_statement(secret: &str) -> HiddenStatement {
    let now = statement_start();
    let before = HIDDEN.replace(Some(now)).filter(|&start| start == now);
    let secrets_before = SECRETS.with_borrow_mut(|secrets| {
        if before.is_none() {
            secrets.clear();
        }
        let secrets_before = secrets.len();
        // The text as it is, and as it is written in SQL.
        for text in [secret.to_owned(), secret.replace('\'', "''")] {
            if !text.is_empty()
                && let Ok(text) = CString::new(text)
                && !secrets.contains(&text)
            {
                secrets.push(text);
            }
        }
        secrets_before
    });
    HiddenStatement { before, secrets_before }
}

fn statement_start() -> pg_sys::TimestampTz {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

/// Hides the statement in a message. The server calls this for every message that goes to its log.
#[pg_guard]
unsafe extern "C-unwind" fn hide(error: *mut pg_sys::ErrorData) {
    // SAFETY: the server's own record of the message, which it lets hooks change; its texts are the server's, or null. The
    // previous hook gets what we got.
    unsafe {
        let message = &mut *error;
        let look = look_of_statement();
        // The server refuses a wrong call before any function of ours runs, and a statement may be logged before it is
        // executed.
        let seems_secret =
            look.is_ours && (look.has_secret || has_secret(message.message) || has_secret(message.detail));
        if seems_secret || HIDDEN.get().is_some_and(|start| start == statement_start()) {
            message.hide_stmt = true;
            message.hide_ctx = true;
            remove_from_context(message);
            if message.elevel < PgLogLevel::INFO as i32 {
                remove_statement(message);
            }
        }
        if is_ours(message.context) && has_secret(message.context) {
            message.hide_ctx = true;
            remove_from_context(message);
        }
        if is_ours(message.internalquery) && has_secret(message.internalquery) {
            message.internalquery = std::ptr::null_mut();
            message.internalpos = 0;
        }
        if let Some(previous) = PREVIOUS_HOOK {
            guarded!(previous(error));
        }
    }
}

/// Searches each statement once.
fn look_of_statement() -> Look {
    let start = statement_start();
    if let Some((_, look)) = LOOKED_THROUGH.get().filter(|&(known, _)| known == start) {
        return look;
    }
    // SAFETY: the text of the statement that is being executed, or null.
    let look = unsafe {
        let statement = pg_sys::debug_query_string;
        let is_ours = is_ours(statement);
        Look { is_ours, has_secret: is_ours && has_secret(statement) }
    };
    LOOKED_THROUGH.set(Some((start, look)));
    look
}

/// The logs of statements and of plans quote the statement in the message itself, and parameters in the detail.
///
/// # Safety
/// The message is the one that is being reported.
unsafe fn remove_statement(error: &mut pg_sys::ErrorData) {
    // SAFETY: texts of the server, or null; what takes their place belongs to the message.
    unsafe {
        let statement = pg_sys::debug_query_string;
        let statement = (!statement.is_null()).then(|| CStr::from_ptr(statement));
        let (message, detail) = (without_secrets(error.message, statement), without_secrets(error.detail, statement));
        let is_statement = message.is_some();
        if let Some(text) = message {
            error.message = pg_sys::MemoryContextStrdup(error.assoc_context, text.as_ptr());
        }
        if is_statement || detail.is_some() {
            error.detail = std::ptr::null_mut();
            error.detail_log = std::ptr::null_mut();
        }
    }
}

/// Removes the secrets from the context, which the client sees, too: the caller of a function may not be allowed to see
/// the texts of its statements.
///
/// # Safety
/// The message is the one that is being reported.
unsafe fn remove_from_context(error: &mut pg_sys::ErrorData) {
    // SAFETY: a text of the server, or null; what takes its place belongs to the message.
    unsafe {
        if let Some(text) = without_secrets(error.context, None) {
            error.context = pg_sys::MemoryContextStrdup(error.assoc_context, text.as_ptr());
        }
    }
}

/// Returns the text without the statement and without the sources that the hidden statement names; `None` where nothing
/// is to be removed.
///
/// # Safety
/// The text is NUL-terminated, or null.
unsafe fn without_secrets(text: *const c_char, statement: Option<&CStr>) -> Option<CString> {
    if text.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    let whole = unsafe { CStr::from_ptr(text) };
    let shortened = SECRETS.with_borrow(|secrets| {
        let unwanted = statement.into_iter().chain(secrets.iter().map(CString::as_c_str));
        unwanted.fold(None, |shortened: Option<Vec<u8>>, unwanted| {
            replaced(shortened.as_deref().unwrap_or(whole.to_bytes()), unwanted.to_bytes()).or(shortened)
        })
    });
    let shortened = shortened.map(|text| CString::new(text).unwrap_or_default());
    let left = shortened.as_deref().unwrap_or(whole);
    // SAFETY: NUL-terminated.
    if unsafe { has_secret(left.as_ptr()) } { Some(REMOVED.to_owned()) } else { shortened }
}

/// The replacement of a secret.
const REMOVED: &CStr = c"(removed: it holds a password)";

/// Returns the text with each `secret` removed; `None` where there is none.
fn replaced(text: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    let mut rest = text;
    let mut shortened = Vec::new();
    while let Some(start) = find(rest, secret) {
        shortened.extend_from_slice(&rest[..start]);
        shortened.extend_from_slice(REMOVED.to_bytes());
        rest = &rest[start + secret.len()..];
    }
    (rest.len() < text.len()).then(|| {
        shortened.extend_from_slice(rest);
        shortened
    })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    (!wanted.is_empty()).then(|| text.windows(wanted.len()).position(|part| part == wanted))?
}

/// Returns whether the text names something of the extension's.
///
/// # Safety
/// The pointer is to a NUL-terminated text, or null.
unsafe fn is_ours(text: *const c_char) -> bool {
    // SAFETY: promised by the caller.
    !text.is_null() && find(&unsafe { CStr::from_ptr(text) }.to_bytes().to_ascii_lowercase(), b"pgcopy").is_some()
}

/// Returns whether the text looks as if it contained a password, in a connection string or a URL, or the signature of a
/// URL, or the key of masks.
///
/// # Safety
/// The pointer is to a NUL-terminated text, or null.
unsafe fn has_secret(text: *const c_char) -> bool {
    if text.is_null() {
        return false;
    }
    // SAFETY: promised by the caller.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes().to_ascii_lowercase();
    let has_parameter = |name: &[u8]| {
        text.windows(name.len()).enumerate().any(|(start, part)| {
            let next = || text[start + name.len()..].iter().find(|byte| !byte.is_ascii_whitespace());
            part == name && next() == Some(&b'=')
        })
    };
    let has_user_with_password = || {
        text.windows(3).enumerate().filter(|(_, part)| part == b"://").any(|(start, _)| {
            let authority = text[start + 3..].split(|byte| b"/?'\" ".contains(byte)).next().unwrap_or_default();
            let user = authority.iter().rposition(|&byte| byte == b'@').map(|end| &authority[..end]);
            user.is_some_and(|user| user.contains(&b':'))
        })
    };
    has_parameter(b"password")
        || has_parameter(b"mask_key")
        || has_user_with_password()
        || has_parameter(b"signature")
        || has_parameter(b"sig")
}
