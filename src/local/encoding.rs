//! Conversion of texts between the database's encoding, which the server's functions use, and UTF-8, which is used
//! here.

use super::guard::guarded;
use super::{bindings, messages};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

const UTF8: i32 = pg_sys::pg_enc::PG_UTF8 as i32;

fn of_database() -> i32 {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::GetDatabaseEncoding() }
}

pub fn database_is_utf8() -> bool {
    of_database() == UTF8
}

/// Returns whether UTF-8 needs no conversion.
fn keeps_utf8() -> bool {
    database_is_utf8() || of_database() == pg_sys::pg_enc::PG_SQL_ASCII as i32
}

/// Returns the name that `client_encoding` takes for this database's encoding.
pub fn database_name() -> String {
    // SAFETY: returns a static string.
    unsafe { CStr::from_ptr(pg_sys::GetDatabaseEncodingName()).to_string_lossy().into_owned() }
}

/// Converts the bytes with one of the server's conversions.
fn converted(bytes: &[u8], convert: impl FnOnce(*const c_char, i32) -> *mut c_char) -> Cow<'_, [u8]> {
    let result = convert(bytes.as_ptr().cast(), bytes.len() as i32).cast_const();
    if result == bytes.as_ptr().cast() {
        return Cow::Borrowed(bytes);
    }
    // SAFETY: where there was something to do, the result is a NUL-terminated text in the current context.
    Cow::Owned(unsafe { CStr::from_ptr(result) }.to_bytes().to_vec())
}

/// Returns the bytes as UTF-8, provided that the database's own texts are valid. Raises an error for characters that
/// have no equivalent in UTF-8.
pub fn to_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    if database_is_utf8() {
        return Cow::Borrowed(bytes);
    }
    // SAFETY: reads as many bytes as it is told.
    converted(bytes, |start, length| unsafe { pg_sys::pg_server_to_any(start, length, UTF8) })
}

/// Returns the bytes as UTF-8, as the server's function `convert_to` does. Raises an error for bytes that are no text in the database's
/// encoding, or in UTF-8 where that says nothing.
pub fn convert_to_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    if database_is_utf8() && std::str::from_utf8(bytes).is_err() {
        // SAFETY: reads as many bytes as it is told, and raises the error.
        unsafe { pg_sys::pg_verifymbstr(bytes.as_ptr().cast(), bytes.len() as i32, false) };
    }
    to_utf8(bytes)
}

/// Appends a text of the database with a letter in the place of each character beyond ASCII.
pub fn replace_beyond_ascii(bytes: &[u8], letter: u8, result: &mut Vec<u8>) {
    // SAFETY: reads a backend-local variable.
    let is_single_byte = unsafe { pg_sys::pg_database_encoding_max_length() } == 1;
    if is_single_byte {
        result.extend(bytes.iter().map(|byte| if byte.is_ascii() { *byte } else { letter }));
        return;
    }
    let encoding = of_database();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let length = if first.is_ascii() {
            1
        } else {
            // SAFETY: looks at the character's first byte.
            unsafe { pg_sys::pg_encoding_mblen(encoding, rest.as_ptr().cast()) }.max(1) as usize
        };
        result.push(if first.is_ascii() { *first } else { letter });
        rest = &rest[length.min(rest.len())..];
    }
}

/// Returns the bytes in the encoding of the session's client, as the send functions of texts have them.
pub fn to_client(bytes: &[u8]) -> Cow<'_, [u8]> {
    // SAFETY: reads as many bytes as it is told.
    converted(bytes, |start, length| unsafe { pg_sys::pg_server_to_client(start, length) })
}

/// Returns whether texts travel to the session's client as they are stored.
pub fn client_takes_texts_as_they_are() -> bool {
    // SAFETY: reads backend-local variables.
    let (client, database) = unsafe { (pg_sys::pg_get_client_encoding(), pg_sys::GetDatabaseEncoding()) };
    client == database || client == pg_sys::pg_enc::PG_SQL_ASCII as i32
}

/// Returns whether bytes of the client's encoding that look like ASCII may be parts of other characters.
pub fn client_embeds_ascii() -> bool {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::pg_get_client_encoding() > pg_sys::pg_enc::PG_KOI8U as i32 }
}

/// Returns a valid UTF-8 text in the database's encoding. A character that the encoding lacks is an ERROR.
pub fn from_utf8(text: &[u8]) -> Cow<'_, [u8]> {
    // SAFETY: reads as many bytes as it is told.
    converted(text, |start, length| unsafe { pg_sys::pg_any_to_server(start, length, UTF8) })
}

/// Returns a text for the server's functions, which expect the database's encoding.
///
/// # Errors
/// The text holds a NUL. The server raises an ERROR of its own for a character that the encoding lacks.
pub fn to_database(text: &str) -> Result<CString> {
    let bytes = if text.is_ascii() || keeps_utf8() { text.as_bytes().into() } else { from_utf8(text.as_bytes()) };
    CString::new(bytes).map_err(|_| Error::internal("a text holds a NUL"))
}

/// Returns a text for people outside of a transaction, where nothing can be converted.
pub fn to_database_roughly(text: &str) -> CString {
    let keep = keeps_utf8();
    let kept = |character: char| if (character.is_ascii() || keep) && character != '\0' { character } else { '?' };
    CString::new(text.chars().map(kept).collect::<String>()).unwrap_or_default()
}

/// Returns a text that the server made.
pub fn from_database(text: &CStr) -> String {
    if keeps_utf8() || text.to_bytes().is_ascii() {
        return text.to_string_lossy().into_owned();
    }
    String::from_utf8_lossy(&to_utf8(text.to_bytes())).into_owned()
}

/// Returns a name or another short text of the server.
///
/// # Safety
/// The pointer is to a NUL-terminated text.
pub unsafe fn text_at(text: *const c_char) -> String {
    // SAFETY: promised by the caller.
    from_database(unsafe { CStr::from_ptr(text) })
}

/// Returns a text for people, without raising an error: a question mark stands for each character that has no
/// equivalent.
fn for_people(bytes: &[u8], from: i32, to: i32) -> Vec<u8> {
    // SAFETY: looks at the state of this process's transaction.
    let can_look_up = unsafe { pg_sys::IsTransactionState() };
    // SAFETY: a catalog look-up, which only a transaction may do.
    let conversion = can_look_up.then(|| unsafe { pg_sys::FindDefaultConversionProc(from, to) });
    let Some(conversion) = conversion.filter(|&conversion| conversion != pg_sys::Oid::INVALID) else {
        return bytes.iter().map(|&byte| if byte.is_ascii() { byte } else { b'?' }).collect();
    };
    /// The most bytes that a character of one encoding takes for each byte in another.
    const MOST_GROWTH: usize = 4;
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes.to_vec();
    while !rest.is_empty() {
        let mut part = vec![0_u8; rest.len() * MOST_GROWTH + 1];
        let (length, room) = (rest.len() as i32, part.len() as i32);
        // SAFETY: both buffers are as long as it is told; it stops at what it cannot convert and ends in a NUL.
        let done = unsafe {
            let (start, target) = (rest.as_mut_ptr(), part.as_mut_ptr());
            pg_sys::pg_do_encoding_conversion_buf(conversion, from, to, start, length, target, room, true)
        };
        text.extend(part.iter().take_while(|&&byte| byte != 0));
        rest.drain(..(done.max(0) as usize).min(rest.len()));
        if !rest.is_empty() {
            // SAFETY: the rest begins with a character of that encoding, or with what is none.
            let character = unsafe { pg_sys::pg_encoding_mblen(from, rest.as_ptr().cast()) }.max(1) as usize;
            rest.drain(..character.min(rest.len()));
            text.push(b'?');
        }
    }
    text
}

thread_local! {
    /// Messages on their way, in the form that code which takes every text for UTF-8 passes on, and in the database's
    /// encoding.
    static MESSAGES: RefCell<Vec<(String, CString)>> = const { RefCell::new(Vec::new()) };
}

/// The number of later messages after which a message is forgotten.
const MOST_MESSAGES: usize = 32;

fn remember(passed_on: String, of_database: CString) {
    MESSAGES.with_borrow_mut(|messages| {
        messages.retain(|(known, _)| *known != passed_on);
        if messages.len() == MOST_MESSAGES {
            messages.remove(0);
        }
        messages.push((passed_on, of_database));
    });
}

fn remembered(passed_on: &str) -> Option<CString> {
    MESSAGES.with_borrow(|messages| messages.iter().find(|(known, _)| known == passed_on).map(|(_, text)| text.clone()))
}

/// Notes a message before it is reported, since the framework would hand its UTF-8 to the server unconverted.
pub fn announce_message(text: &str) {
    if text.is_ascii() || keeps_utf8() {
        return;
    }
    messages::watch();
    remember(text.to_owned(), for_people_there(text));
}

/// Returns a text of the server's as UTF-8, for people.
pub fn for_people_here(text: &CStr) -> String {
    if keeps_utf8() {
        return text.to_string_lossy().into_owned();
    }
    String::from_utf8_lossy(&for_people(text.to_bytes(), of_database(), UTF8)).into_owned()
}

/// Returns a text in the database's encoding, for people.
pub fn for_people_there(text: &str) -> CString {
    let bytes = if keeps_utf8() { text.as_bytes().to_vec() } else { for_people(text.as_bytes(), UTF8, of_database()) };
    CString::new(bytes).unwrap_or_default()
}

/// Returns a message of the server's own, of which the framework keeps only the parts that happen to be UTF-8.
pub fn message_of_server(passed_on: &str) -> String {
    match remembered(passed_on).filter(|_| !keeps_utf8()) {
        Some(text) => for_people_here(&text),
        None => passed_on.to_owned(),
    }
}

/// Replaces texts that code took for UTF-8 by their form in the database's encoding, and notes the server's own.
///
/// # Safety
/// The message is a copy of the one that is being reported.
pub unsafe fn translate(message: &pg_sys::ErrorData) {
    if keeps_utf8() {
        return;
    }
    // SAFETY: promised by the caller; the texts are copied.
    unsafe {
        if let Some(text) = translation(message.message) {
            guarded!(pg_sys::errmsg_internal(c"%s".as_ptr(), text.as_ptr()));
        }
        if let Some(text) = translation(message.detail) {
            guarded!(pg_sys::errdetail_internal(c"%s".as_ptr(), text.as_ptr()));
        }
        if let Some(text) = translation(message.hint) {
            guarded!(bindings::errhint(c"%s".as_ptr(), text.as_ptr()));
        }
    }
}

/// Returns the right form of a part of a message, where it differs. Texts of the server's own are noted.
///
/// # Safety
/// The pointer is to a NUL-terminated text, or null.
unsafe fn translation(text: *const c_char) -> Option<CString> {
    if text.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    let text = unsafe { CStr::from_ptr(text) };
    let passed_on = match text.to_string_lossy() {
        Cow::Borrowed(utf8) if utf8.is_ascii() => return None,
        Cow::Borrowed(utf8) => match remembered(utf8) {
            Some(of_database) => return Some(of_database),
            None => utf8.to_owned(),
        },
        Cow::Owned(damaged) => damaged,
    };
    remember(passed_on, text.to_owned());
    None
}
