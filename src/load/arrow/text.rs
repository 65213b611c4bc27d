//! Values as texts, in the form of the value's own type.

use super::atom::{Atom, Instant};
use super::decimal;
use super::scalar;
use crate::error::{Error, Result};
use crate::order::OnLossy;
use pgrx::pg_sys;
use std::ffi::{CStr, c_char};
use std::fmt::Write;

/// Appends what a cast of the value to `text` gives under the settings of the session; for numbers all digits, whatever
/// the settings.
///
/// # Errors
/// The value is one that its type cannot hold. Times keep nanoseconds, for which the type has no digits.
pub(super) fn write(atom: &Atom<'_>, on_lossy: OnLossy, out: &mut Vec<u8>) -> Result<()> {
    match atom {
        Atom::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Atom::Int(value) => write_displayed(value, out),
        Atom::Float32(value) => write_float4(*value, out),
        Atom::Float64(value) => write_float8(*value, out),
        Atom::Decimal { unscaled, scale } => {
            let mut text = String::new();
            decimal::write_decimal(*unscaled, *scale, &mut text)?;
            out.extend_from_slice(text.as_bytes());
        }
        Atom::Text(bytes) => out.extend_from_slice(bytes),
        Atom::Uuid(bytes) => write_uuid(bytes, out),
        Atom::Bytes(bytes) => write_bytes(bytes, out),
        Atom::Date(_) | Atom::InfiniteDate(_) => write_by_function(pg_sys::F_DATE_OUT, date_of(atom)?, out),
        Atom::Time(nanoseconds) => {
            let start = out.len();
            write_by_function(pg_sys::F_TIME_OUT, pg_sys::Datum::from(scalar::time(*nanoseconds)?), out);
            insert_nanoseconds(out, start, nanoseconds.rem_euclid(1000) as u16);
        }
        Atom::Timestamp(instant) => {
            let start = out.len();
            let function = if instant.utc { pg_sys::F_TIMESTAMPTZ_OUT } else { pg_sys::F_TIMESTAMP_OUT };
            write_by_function(function, timestamp_of(*instant)?, out);
            insert_nanoseconds(out, start, instant.nanoseconds);
        }
        Atom::InfiniteTimestamp { side, .. } => {
            write_by_function(pg_sys::F_TIMESTAMP_OUT, pg_sys::Datum::from(scalar::infinite_timestamp(*side)), out);
        }
        Atom::Interval(interval) => {
            write_by_function(pg_sys::F_INTERVAL_OUT, scalar::interval(*interval, on_lossy)?, out)
        }
    }
    Ok(())
}

/// Appends a scalar of a document as `to_jsonb` writes it: a number where there is one, else a string.
pub(super) fn write_json(atom: &Atom<'_>, on_lossy: OnLossy, out: &mut Vec<u8>) -> Result<()> {
    let is_bare = match atom {
        Atom::Bool(_) | Atom::Int(_) | Atom::Decimal { .. } => true,
        Atom::Float32(value) => value.is_finite(),
        Atom::Float64(value) => value.is_finite(),
        _ => false,
    };
    if is_bare {
        return write(atom, on_lossy, out);
    }
    out.push(b'"');
    write_json_words(atom, on_lossy, out)?;
    out.push(b'"');
    Ok(())
}

/// Appends the characters of a scalar that is a string, or of any scalar as the name of an object's member.
pub(super) fn write_json_words(atom: &Atom<'_>, on_lossy: OnLossy, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    match atom {
        Atom::Date(_) | Atom::InfiniteDate(_) => write_json_time(date_of(atom)?, pg_sys::DATEOID, out),
        Atom::Timestamp(instant) => {
            let type_oid = if instant.utc { pg_sys::TIMESTAMPTZOID } else { pg_sys::TIMESTAMPOID };
            write_json_time(timestamp_of(*instant)?, type_oid, out);
            insert_nanoseconds(out, start, instant.nanoseconds);
        }
        Atom::InfiniteTimestamp { side, .. } => {
            write_json_time(pg_sys::Datum::from(scalar::infinite_timestamp(*side)), pg_sys::TIMESTAMPOID, out)
        }
        _ => {
            write(atom, on_lossy, out)?;
            if !out[start..].iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
                let words = out.split_off(start);
                escape_json(&words, out);
            }
        }
    }
    Ok(())
}

/// Appends the inside of a JSON string.
pub(super) fn escape_json(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

fn date_of(atom: &Atom<'_>) -> Result<pg_sys::Datum> {
    let days = match atom {
        Atom::Date(days) => scalar::date(*days)?,
        Atom::InfiniteDate(side) => scalar::infinite_date(*side),
        _ => return Err(Error::internal("a date was expected")),
    };
    Ok(pg_sys::Datum::from(days))
}

/// Without the nanoseconds, which are written apart.
fn timestamp_of(instant: Instant) -> Result<pg_sys::Datum> {
    Ok(pg_sys::Datum::from(scalar::timestamp(instant, 1, OnLossy::Truncate)?))
}

fn write_displayed(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(text, "{value}");
    out.extend_from_slice(text.as_bytes());
}

fn write_uuid(bytes: &[u8], out: &mut Vec<u8>) {
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        write_hex(*byte, out);
    }
}

fn write_hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
}

/// Appends bytes in the format that `bytea_output` names.
fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    if bytea_output_is_hex() {
        out.extend_from_slice(b"\\x");
        bytes.iter().for_each(|byte| write_hex(*byte, out));
        return;
    }
    for &byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
    }
}

fn write_by_function(function: u32, value: pg_sys::Datum, out: &mut Vec<u8>) {
    // SAFETY: an output function of the server and a value of its type. Its text is palloc'd and read before it is freed.
    unsafe {
        let text = pg_sys::OidOutputFunctionCall(function.into(), value);
        out.extend_from_slice(CStr::from_ptr(text).to_bytes());
        pg_sys::pfree(text.cast());
    }
}

/// Appends a time in the form of ISO 8601, in the session's time zone.
fn write_json_time(value: pg_sys::Datum, type_oid: pg_sys::Oid, out: &mut Vec<u8>) {
    let mut buffer = [0 as c_char; pg_sys::MAXDATELEN as usize + 1];
    // SAFETY: a value of the type, and a buffer as long as the function may fill.
    unsafe {
        pg_sys::JsonEncodeDateTime(buffer.as_mut_ptr(), value, type_oid, std::ptr::null());
        out.extend_from_slice(CStr::from_ptr(buffer.as_ptr()).to_bytes());
    }
}

/// Adds the digits behind those of microseconds to the time of day in the text from `start` on, which every style writes
/// as `HH:MM:SS` with a fraction.
fn insert_nanoseconds(text: &mut Vec<u8>, start: usize, nanoseconds: u16) {
    if nanoseconds == 0 {
        return;
    }
    let colons = text[start..].iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| start + at);
    let Some(second_colon) = colons.take(2).last() else { return };
    let point = second_colon + 3;
    let end = match text.get(point) {
        Some(b'.') => point + 1 + text[point + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => point,
    };
    let microseconds = String::from_utf8_lossy(text.get(point + 1..end).unwrap_or_default()).into_owned();
    let fraction = format!(".{microseconds:0<6}{nanoseconds:03}");
    text.splice(point..end, fraction.trim_end_matches('0').bytes());
}

mod output {
    use std::ffi::{c_char, c_int};

    // These functions raise nothing.
    unsafe extern "C" {
        /// `DOUBLE_SHORTEST_DECIMAL_LEN` bytes at most, with a NUL (`common/shortest_dec.h`).
        pub fn double_to_shortest_decimal_buf(value: f64, result: *mut c_char) -> c_int;
        /// `FLOAT_SHORTEST_DECIMAL_LEN` bytes at most.
        pub fn float_to_shortest_decimal_buf(value: f32, result: *mut c_char) -> c_int;
        /// `utils/bytea.h`
        pub static bytea_output: c_int;
    }

    pub const SHORTEST_DECIMAL_BYTES: usize = 32;
    /// `BYTEA_OUTPUT_HEX`
    pub const HEX: c_int = 1;
}

/// Appends the number as its type's output function writes it with all digits.
fn write_float8(value: f64, out: &mut Vec<u8>) {
    let mut buffer = [0u8; output::SHORTEST_DECIMAL_BYTES];
    // SAFETY: the buffer is longer than any such text. The function calls nothing that raises.
    let length = unsafe { output::double_to_shortest_decimal_buf(value, buffer.as_mut_ptr().cast()) };
    out.extend_from_slice(&buffer[..length as usize]);
}

/// Appends a `real` in the same way.
fn write_float4(value: f32, out: &mut Vec<u8>) {
    let mut buffer = [0u8; output::SHORTEST_DECIMAL_BYTES];
    // SAFETY: as above.
    let length = unsafe { output::float_to_shortest_decimal_buf(value, buffer.as_mut_ptr().cast()) };
    out.extend_from_slice(&buffer[..length as usize]);
}

/// Returns whether the session's `bytea_output` is `hex`.
fn bytea_output_is_hex() -> bool {
    // SAFETY: a backend-local variable.
    unsafe { output::bytea_output == output::HEX }
}
