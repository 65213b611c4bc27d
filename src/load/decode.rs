use super::arena::Arena;
use super::numeric::{self, Limits};
use super::tuple::Value;
use crate::compat;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;

/// How the fields of one column become values.
pub(super) struct ColumnDecoder {
    kind: Kind,
    /// The type's own function, for every value that `kind` does not take.
    function: pg_sys::FmgrInfo,
    io_parameter: pg_sys::Oid,
    typmod: i32,
}

/// Types whose values are decoded here. Each refuses what it is not sure of, and the type's own function decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    /// Days; the valid range is smaller than four bytes.
    Date,
    /// Microseconds, without a precision.
    Timestamp,
    /// Microseconds of a day, without a precision.
    Time,
    Uuid,
    /// `text`, and `varchar(n)` with its limit in characters.
    Text {
        limit: Option<u32>,
    },
    /// `char(n)`, already padded.
    PaddedText {
        length: u32,
    },
    Bytes,
    Numeric {
        limits: Option<Limits>,
    },
    Function,
}

/// The valid range of dates and timestamps, as in `datatype/timestamp.h`.
const DATE_MIN: i32 = -2_451_545;
const DATE_END: i32 = 2_145_031_949;
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;
const VARHDRSZ: usize = 4;

impl ColumnDecoder {
    /// For binary COPY: the type's receive function stands behind.
    pub(super) fn binary(type_oid: pg_sys::Oid, typmod: i32) -> Self {
        let mut function_oid = pg_sys::Oid::INVALID;
        let mut io_parameter = pg_sys::Oid::INVALID;
        // SAFETY: a syscache lookup that fills both.
        unsafe { pg_sys::getTypeBinaryInputInfo(type_oid, &mut function_oid, &mut io_parameter) };
        Self { kind: kind_of(type_oid, typmod), function: lookup(function_oid), io_parameter, typmod }
    }

    /// For text COPY: always the type's input function.
    pub(super) fn text(type_oid: pg_sys::Oid, typmod: i32) -> Self {
        let mut function_oid = pg_sys::Oid::INVALID;
        let mut io_parameter = pg_sys::Oid::INVALID;
        // SAFETY: a syscache lookup that fills both.
        unsafe { pg_sys::getTypeInputInfo(type_oid, &mut function_oid, &mut io_parameter) };
        Self { kind: Kind::Function, function: lookup(function_oid), io_parameter, typmod }
    }

    /// The value of a field; `None` is NULL. Values made by functions are allocated in the current memory context.
    #[inline]
    pub(super) fn decode_binary<'a>(&mut self, field: Option<&'a [u8]>, scratch: &mut Vec<u8>) -> Result<Value<'a>> {
        let Some(bytes) = field else {
            return match self.kind {
                // A domain may refuse NULL.
                Kind::Function if !self.function.fn_strict => self.receive(None, scratch),
                _ => Ok(Value::Null),
            };
        };
        let fast = match self.kind {
            Kind::Bool => match bytes {
                [byte] => Some(Value::Bits((*byte != 0).into())),
                _ => None,
            },
            Kind::Int2 => fixed(bytes).map(|bytes| Value::Bits(i16::from_be_bytes(bytes) as u64)),
            Kind::Int4 => fixed(bytes).map(|bytes| Value::Bits(i32::from_be_bytes(bytes) as u64)),
            Kind::Int8 => fixed(bytes).map(|bytes| Value::Bits(i64::from_be_bytes(bytes) as u64)),
            Kind::Date => fixed(bytes)
                .map(i32::from_be_bytes)
                .filter(|days| (DATE_MIN..DATE_END).contains(days) || matches!(*days, i32::MIN | i32::MAX))
                .map(|days| Value::Bits(days as u64)),
            Kind::Timestamp => fixed(bytes)
                .map(i64::from_be_bytes)
                .filter(|time| (TIMESTAMP_MIN..TIMESTAMP_END).contains(time) || matches!(*time, i64::MIN | i64::MAX))
                .map(|time| Value::Bits(time as u64)),
            Kind::Time => fixed(bytes)
                .map(i64::from_be_bytes)
                .filter(|time| (0..=MICROSECONDS_PER_DAY).contains(time))
                .map(|time| Value::Bits(time as u64)),
            Kind::Uuid if bytes.len() == 16 => Some(Value::Fixed(bytes)),
            Kind::Text { limit } => {
                // The number of bytes bounds the number of characters.
                let fits = limit.is_none_or(|limit| bytes.len() <= limit as usize);
                (fits && is_text(bytes)).then_some(Value::Varlena(bytes))
            }
            Kind::PaddedText { length } => {
                (bytes.len() == length as usize && is_ascii_text(bytes)).then_some(Value::Varlena(bytes))
            }
            Kind::Bytes => Some(Value::Varlena(bytes)),
            Kind::Numeric { limits } => numeric::decode(bytes, limits),
            Kind::Uuid | Kind::Function => None,
        };
        match fast {
            Some(value) => Ok(value),
            None => self.receive(Some(bytes), scratch),
        }
    }

    /// Calls the type's receive function, as COPY does.
    #[cold]
    fn receive(&mut self, field: Option<&[u8]>, scratch: &mut Vec<u8>) -> Result<Value<'static>> {
        let Some(bytes) = field else {
            // SAFETY: a null buffer is how ReceiveFunctionCall is told of NULL; it checks that the result is NULL too.
            unsafe {
                pg_sys::ReceiveFunctionCall(&mut self.function, std::ptr::null_mut(), self.io_parameter, self.typmod)
            };
            return Ok(Value::Null);
        };
        // Receive functions expect a NUL behind the value.
        scratch.clear();
        scratch.extend_from_slice(bytes);
        scratch.push(0);
        let mut buffer = pg_sys::StringInfoData {
            data: scratch.as_mut_ptr().cast(),
            len: bytes.len() as i32,
            maxlen: scratch.len() as i32,
            cursor: 0,
        };
        // SAFETY: the buffer is valid for the call and is not grown by receive functions, which only read.
        let datum =
            unsafe { pg_sys::ReceiveFunctionCall(&mut self.function, &mut buffer, self.io_parameter, self.typmod) };
        if buffer.cursor != buffer.len {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_BINARY_REPRESENTATION,
                "incorrect binary data format",
            ));
        }
        Ok(Value::Datum(datum))
    }

    /// Calls the type's input function. `field` ends in a NUL that does not belong to the value.
    pub(super) fn decode_text(&mut self, field: Option<&mut Vec<u8>>) -> Result<Value<'static>> {
        let text = match field {
            None => std::ptr::null_mut(),
            Some(bytes) => {
                // SAFETY: the bytes are valid for the call, which raises when they are not in the server's encoding.
                unsafe { pg_sys::pg_verifymbstr(bytes.as_ptr().cast(), bytes.len() as i32, false) };
                bytes.push(0);
                bytes.as_mut_ptr().cast()
            }
        };
        // SAFETY: a null text is how InputFunctionCall is told of NULL.
        let datum = unsafe { pg_sys::InputFunctionCall(&mut self.function, text, self.io_parameter, self.typmod) };
        Ok(if text.is_null() { Value::Null } else { Value::Datum(datum) })
    }
}

fn lookup(function: pg_sys::Oid) -> pg_sys::FmgrInfo {
    let mut info = pg_sys::FmgrInfo::default();
    // SAFETY: fills the structure; what the function caches goes to the current context, which outlives the load.
    unsafe { pg_sys::fmgr_info_cxt(function, &mut info, pg_sys::CurrentMemoryContext) };
    info
}

fn kind_of(type_oid: pg_sys::Oid, typmod: i32) -> Kind {
    let utf8 = compat::database_encoding_is_utf8();
    let character_limit = u32::try_from(typmod - VARHDRSZ as i32).ok().filter(|_| typmod >= 0);
    match type_oid {
        pg_sys::BOOLOID => Kind::Bool,
        pg_sys::INT2OID => Kind::Int2,
        // Floats travel as their bits.
        pg_sys::INT4OID | pg_sys::OIDOID | pg_sys::FLOAT4OID => Kind::Int4,
        pg_sys::INT8OID | pg_sys::FLOAT8OID => Kind::Int8,
        pg_sys::DATEOID => Kind::Date,
        pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID if typmod < 0 => Kind::Timestamp,
        pg_sys::TIMEOID if typmod < 0 => Kind::Time,
        pg_sys::UUIDOID => Kind::Uuid,
        pg_sys::TEXTOID if utf8 => Kind::Text { limit: None },
        pg_sys::VARCHAROID if utf8 => Kind::Text { limit: character_limit },
        pg_sys::BPCHAROID if utf8 && character_limit.is_some() => {
            Kind::PaddedText { length: character_limit.unwrap_or(0) }
        }
        pg_sys::BYTEAOID => Kind::Bytes,
        pg_sys::NUMERICOID => Kind::Numeric { limits: Limits::from_typmod(typmod) },
        _ => Kind::Function,
    }
}

#[inline]
fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Whether the bytes are what a UTF-8 database accepts in a text.
#[inline]
fn is_text(bytes: &[u8]) -> bool {
    is_ascii_text(bytes) || (std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0))
}

/// Whether all bytes are ASCII characters other than NUL. Eight at once: most texts are, and most bytes that travel are
/// texts.
#[inline]
fn is_ascii_text(bytes: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut bad = 0;
    for word in words {
        let word = u64::from_ne_bytes(*word);
        // The high bit of a byte is set in the difference where the byte is zero.
        bad |= (word | word.wrapping_sub(LOW)) & HIGH;
    }
    // Exact for bytes below 0x80, and any other one is refused anyway.
    bad == 0 && rest.iter().all(|byte| (1..0x80).contains(byte))
}

/// The datum that a value is, for the server's own functions; by-reference ones live in the arena.
#[inline]
pub(super) fn to_datum(value: Value<'_>, arena: &mut Arena) -> Option<pg_sys::Datum> {
    match value {
        Value::Null => None,
        Value::Bits(bits) => Some(pg_sys::Datum::from(bits)),
        Value::Datum(datum) => Some(datum),
        Value::Fixed(bytes) => {
            let target = arena.allocate(bytes.len());
            // SAFETY: the arena gave that many bytes, which nobody else uses.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
            Some(pg_sys::Datum::from(target))
        }
        Value::Varlena(bytes) => {
            let total = VARHDRSZ + bytes.len();
            let target = arena.allocate(total);
            // SAFETY: the arena gave `total` bytes, aligned; a wire field is at most 1 GB, so that the length fits.
            unsafe {
                pgrx::set_varsize_4b(target.cast(), total as i32);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.add(VARHDRSZ), bytes.len());
            }
            Some(pg_sys::Datum::from(target))
        }
        Value::Numeric { header, digits } => {
            let total = VARHDRSZ + 2 + digits.len();
            let target = arena.allocate(total);
            // SAFETY: as above; the header word and the digit groups are 2-aligned behind the 4-byte length.
            unsafe {
                pgrx::set_varsize_4b(target.cast(), total as i32);
                target.add(VARHDRSZ).cast::<u16>().write(header);
                let mut group = target.add(VARHDRSZ + 2).cast::<u16>();
                for digits in digits.chunks_exact(2) {
                    group.write(u16::from_be_bytes([digits[0], digits[1]]));
                    group = group.add(1);
                }
            }
            Some(pg_sys::Datum::from(target))
        }
    }
}
