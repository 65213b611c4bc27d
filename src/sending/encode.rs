//! Rows as `COPY … TO STDOUT` has them, byte for byte.
//!
//! The server's COPY calls a function for every value. The bytes of the commonest types are known without a call.

use crate::error::{Error, Result};
use crate::local::datum::{OutputFunction, Row, SendFunction, Value};
use crate::local::query::ResultColumn;
use crate::local::{encoding, memory};
use frames::Form;
use pgrx::prelude::*;

/// Makes rows of one form.
pub(super) enum RowEncoder {
    Binary(Vec<Binary>),
    Text(Vec<OutputFunction>),
}

/// The way that the values of a column become those of binary COPY.
pub(super) enum Binary {
    Bool,
    Two,
    Four,
    Eight,
    Fixed16,
    /// The content of the varlena as it is.
    Content,
    Numeric(SendFunction),
    Function(SendFunction),
}

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The room for a value of fixed length, with its length word.
const FIXED_ROOM: usize = 4 + 16;

impl RowEncoder {
    /// Looks up functions in the current memory context, which must outlive it.
    pub(super) fn of(form: Form, columns: &[ResultColumn]) -> Result<Self> {
        if i16::try_from(columns.len()).is_err() {
            return Err(Error::internal("a query of too many columns"));
        }
        match form {
            Form::Binary => Ok(Self::Binary(columns.iter().map(|column| Binary::of(column.type_oid)).collect())),
            Form::Text if encoding::client_embeds_ascii() => Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "rows are not sent as text in this client_encoding",
            )),
            Form::Heap => Err(Error::internal("rows of a query are stored nowhere")),
            Form::Text => Ok(Self::Text(columns.iter().map(|column| OutputFunction::of(column.type_oid)).collect())),
        }
    }

    /// Writes what comes before the first row.
    pub(super) fn begin(&self, stream: &mut Vec<u8>) {
        if let Self::Binary(_) = self {
            stream.extend_from_slice(SIGNATURE);
            stream.extend([0; 8]);
        }
    }

    /// Writes what comes after the last row.
    pub(super) fn end(&self, stream: &mut Vec<u8>) {
        if let Self::Binary(_) = self {
            stream.extend((-1i16).to_be_bytes());
        }
    }

    pub(super) fn encode(&mut self, row: Row<'_>, stream: &mut Vec<u8>) -> Result<()> {
        let start = stream.len();
        match self {
            Self::Binary(columns) => {
                memory::reserve(stream, 2 + FIXED_ROOM * columns.len());
                stream.extend((columns.len() as i16).to_be_bytes());
                for (position, column) in columns.iter_mut().enumerate() {
                    match row.value(position) {
                        Some(value) => column.encode(value, stream),
                        None => push(stream, &(-1i32).to_be_bytes()),
                    }
                    refuse_too_long(stream.len() - start)?;
                }
            }
            Self::Text(columns) => {
                for (position, function) in columns.iter_mut().enumerate() {
                    if position > 0 {
                        push(stream, b"\t");
                    }
                    match row.value(position) {
                        Some(value) => escape(&encoding::to_client(function.text_of_session(value)), stream),
                        None => push(stream, b"\\N"),
                    }
                    refuse_too_long(stream.len() - start)?;
                }
                push(stream, b"\n");
            }
        }
        Ok(())
    }
}

/// COPY cannot send a longer row in its message either.
fn refuse_too_long(bytes: usize) -> Result<()> {
    if bytes <= memory::MAX_ALLOC_SIZE {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, "a row is too long to be sent")
        .detail(format!("It has more than {} bytes.", memory::MAX_ALLOC_SIZE)))
}

fn push(stream: &mut Vec<u8>, bytes: &[u8]) {
    memory::reserve(stream, bytes.len());
    stream.extend_from_slice(bytes);
}

fn push_with_length(stream: &mut Vec<u8>, bytes: &[u8]) {
    memory::reserve(stream, 4 + bytes.len());
    // A value has less than 2³⁰ bytes.
    stream.extend((bytes.len() as i32).to_be_bytes());
    stream.extend_from_slice(bytes);
}

impl Binary {
    /// The functions are those of the server, whatever the type is called: a domain has its base type's.
    fn of(type_oid: pg_sys::Oid) -> Self {
        let function = SendFunction::of(type_oid);
        match function.oid {
            pg_sys::F_BOOLSEND => Self::Bool,
            pg_sys::F_INT2SEND => Self::Two,
            pg_sys::F_INT4SEND | pg_sys::F_FLOAT4SEND | pg_sys::F_OIDSEND | pg_sys::F_DATE_SEND => Self::Four,
            pg_sys::F_INT8SEND
            | pg_sys::F_FLOAT8SEND
            | pg_sys::F_TIMESTAMP_SEND
            | pg_sys::F_TIMESTAMPTZ_SEND
            | pg_sys::F_TIME_SEND => Self::Eight,
            pg_sys::F_UUID_SEND => Self::Fixed16,
            pg_sys::F_BYTEASEND => Self::Content,
            pg_sys::F_TEXTSEND | pg_sys::F_VARCHARSEND | pg_sys::F_BPCHARSEND | pg_sys::F_JSON_SEND
                if encoding::client_takes_texts_as_they_are() =>
            {
                Self::Content
            }
            pg_sys::F_NUMERIC_SEND => Self::Numeric(function),
            _ => Self::Function(function),
        }
    }

    #[inline]
    fn encode(&mut self, value: Value<'_>, stream: &mut Vec<u8>) {
        match self {
            Self::Bool => fixed(stream, [u8::from(value.as_bool())]),
            Self::Two => fixed(stream, value.as_i16().to_be_bytes()),
            Self::Four => fixed(stream, value.as_i32().to_be_bytes()),
            Self::Eight => fixed(stream, value.as_i64().to_be_bytes()),
            Self::Fixed16 => fixed(stream, *value.as_fixed::<16>()),
            Self::Content => push_with_length(stream, value.as_varlena()),
            Self::Numeric(function) => {
                if !encode_numeric(value.as_varlena(), stream) {
                    push_with_length(stream, function.bytes(value));
                }
            }
            Self::Function(function) => push_with_length(stream, function.bytes(value)),
        }
    }
}

/// Writes a value of fixed length, for which there is room but after long values.
#[inline]
fn fixed<const N: usize>(stream: &mut Vec<u8>, bytes: [u8; N]) {
    memory::reserve(stream, 4 + N);
    stream.extend((N as i32).to_be_bytes());
    stream.extend(bytes);
}

/// Writes a stored `numeric` as `numeric_send` does. Returns false for what is not a number (`utils/adt/numeric.c`).
#[inline]
fn encode_numeric(stored: &[u8], stream: &mut Vec<u8>) -> bool {
    const NEGATIVE: u16 = 0x4000;
    let Some((header, rest)) = stored.split_first_chunk::<2>() else { return false };
    let header = u16::from_ne_bytes(*header);
    let (sign, scale, weight, digits) = match header & 0xc000 {
        0xc000 => return false,
        0x8000 => {
            let sign = if header & 0x2000 != 0 { NEGATIVE } else { 0 };
            let weight = (header & 0x3f) as i16 | if header & 0x40 != 0 { !0x3f } else { 0 };
            (sign, (header & 0x1f80) >> 7, weight, rest)
        }
        sign => {
            let Some((weight, digits)) = rest.split_first_chunk::<2>() else { return false };
            (sign, header & 0x3fff, i16::from_ne_bytes(*weight), digits)
        }
    };
    let (digits, odd) = digits.as_chunks::<2>();
    let Ok(count) = u16::try_from(digits.len()) else { return false };
    if !odd.is_empty() {
        return false;
    }
    let length = 8 + 2 * digits.len();
    memory::reserve(stream, 4 + length);
    stream.extend((length as i32).to_be_bytes());
    for number in [count, weight as u16, sign, scale] {
        stream.extend(number.to_be_bytes());
    }
    stream.extend(digits.iter().flat_map(|digit| u16::from_ne_bytes(*digit).to_be_bytes()));
    true
}

/// Writes a text with what `CopyAttributeOutText` (`copyto.c`) escapes.
fn escape(text: &[u8], stream: &mut Vec<u8>) {
    memory::reserve(stream, text.len());
    let mut written = 0;
    for (position, &byte) in text.iter().enumerate() {
        let letter = match byte {
            b'\\' => b'\\',
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            8 => b'b',
            11 => b'v',
            12 => b'f',
            _ => continue,
        };
        push(stream, &text[written..position]);
        push(stream, &[b'\\', letter]);
        written = position + 1;
    }
    push(stream, &text[written..]);
}
