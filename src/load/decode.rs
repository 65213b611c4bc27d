//! Fields of a COPY stream to values.

use super::characters::{is_text, is_text_within, pad};
use super::kind::{Kind, TextKind, kind_of, text_kind_of};
use super::to_datum::store_varlena;
use super::{numeric, text};
use crate::error::{Error, Result};
use crate::local::{memory, relation};
use crate::storage::tuple::{Accept, Value};
use heapform::is_ascii_text;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::collections::HashMap;

/// The decoder of the fields of one column.
pub(super) struct ColumnDecoder {
    kind: Kind,
    /// How texts are decoded.
    text_kind: TextKind,
    /// A text with a NUL behind it, for the type's own function.
    text: Vec<u8>,
    /// The type's own function, for every value that `kind` does not take.
    function: pg_sys::FmgrInfo,
    io_parameter: pg_sys::Oid,
    typmod: i32,
    json: jsonb::Encoder,
    /// The values of an enum that were seen so far.
    labels: HashMap<Vec<u8>, u64>,
    /// Set where the type modifier must not change a value.
    watched: Option<Watched>,
}

/// The means to tell whether a type modifier has changed a value.
struct Watched {
    type_oid: pg_sys::Oid,
    /// The type's equality. Lives as long as the process.
    equal: *mut pg_sys::FmgrInfo,
}

/// The valid range of dates and timestamps, as in `datatype/timestamp.h`.
const DATE_MIN: i32 = -2_451_545;
const DATE_END: i32 = 2_145_031_949;
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;
/// The first byte of the wire form of `jsonb`.
const JSONB_VERSION: u8 = 1;

impl ColumnDecoder {
    /// Makes a decoder for binary COPY, which leaves values that it is not sure of to the type's receive function.
    pub(super) fn binary(type_oid: pg_sys::Oid, typmod: i32) -> Self {
        let mut function_oid = pg_sys::Oid::INVALID;
        let mut io_parameter = pg_sys::Oid::INVALID;
        // SAFETY: a syscache lookup that fills both.
        unsafe { pg_sys::getTypeBinaryInputInfo(type_oid, &mut function_oid, &mut io_parameter) };
        Self::new(kind_of(type_oid, typmod), TextKind::Function, function_oid, io_parameter, typmod)
    }

    /// Makes a decoder for binary COPY that uses the type's receive function alone.
    pub(super) fn binary_by_function(type_oid: pg_sys::Oid, typmod: i32) -> Self {
        Self { kind: Kind::Function, ..Self::binary(type_oid, typmod) }
    }

    /// Makes a decoder for text COPY, which leaves texts that it is not sure of to the type's input function.
    pub(super) fn text(type_oid: pg_sys::Oid, typmod: i32) -> Self {
        let mut function_oid = pg_sys::Oid::INVALID;
        let mut io_parameter = pg_sys::Oid::INVALID;
        // SAFETY: a syscache lookup that fills both.
        unsafe { pg_sys::getTypeInputInfo(type_oid, &mut function_oid, &mut io_parameter) };
        Self::new(Kind::Function, text_kind_of(type_oid, typmod), function_oid, io_parameter, typmod)
    }

    fn new(kind: Kind, text_kind: TextKind, function: pg_sys::Oid, io_parameter: pg_sys::Oid, typmod: i32) -> Self {
        let (json, labels) = (jsonb::Encoder::default(), HashMap::new());
        let function = lookup(function);
        Self { kind, text_kind, text: Vec::new(), function, io_parameter, typmod, json, labels, watched: None }
    }

    /// Makes the decoder refuse values that the type modifier would change, since COPY rounds numbers and times.
    pub(super) fn watched(mut self, type_oid: pg_sys::Oid) -> Self {
        // SAFETY: a type cache entry is never freed.
        let equal = unsafe {
            let entry = pg_sys::lookup_type_cache(type_oid, pg_sys::TYPECACHE_EQ_OPR_FINFO as i32);
            &raw mut (*entry).eq_opr_finfo
        };
        // SAFETY: as above. A type without equality has no modifier that changes values.
        if self.typmod >= 0 && unsafe { (*equal).fn_oid } != pg_sys::Oid::INVALID {
            // What is decoded here is left to the type's function where it would be changed.
            self.watched = Some(Watched { type_oid, equal });
        }
        self
    }

    /// Reads a value with `read`, and refuses it if the type modifier of the decoder has changed it.
    #[cold]
    fn read_watched(&mut self, mut read: impl FnMut(&mut Self) -> Result<Value<'static>>) -> Result<Value<'static>> {
        let value = read(self)?;
        let typmod = std::mem::replace(&mut self.typmod, -1);
        let unlimited = read(self);
        self.typmod = typmod;
        if let (Value::Datum(ours), Value::Datum(sent), Some(watched)) = (&value, unlimited?, &self.watched) {
            // SAFETY: two values of the type that the function compares.
            let same = unsafe {
                pg_sys::FunctionCall2Coll(watched.equal, pg_sys::DEFAULT_COLLATION_OID, *ours, sent).value() != 0
            };
            if !same {
                return Err(changed_by_modifier(watched.type_oid, typmod, sent));
            }
        }
        Ok(value)
    }

    /// Hands the value of a field to `to`; `None` is NULL. Values made by functions are allocated in the current memory
    /// context.
    #[inline(always)]
    pub(super) fn decode_binary<R>(
        &mut self,
        field: Option<&[u8]>,
        scratch: &mut Vec<u8>,
        to: impl Accept<R>,
    ) -> Result<R> {
        let Some(bytes) = field else {
            return match self.kind {
                // A domain may refuse NULL.
                Kind::Function if !self.function.fn_strict => Ok(to.accept(self.receive(None, scratch)?)),
                _ => Ok(to.accept(Value::Null)),
            };
        };
        match self.kind {
            Kind::Bool => {
                if let [byte] = bytes {
                    return Ok(to.accept(Value::Bits((*byte != 0).into())));
                }
            }
            Kind::Int2 => {
                if let Some(bytes) = fixed(bytes) {
                    return Ok(to.accept(Value::Bits(i16::from_be_bytes(bytes) as u64)));
                }
            }
            Kind::Int4 => {
                if let Some(bytes) = fixed(bytes) {
                    return Ok(to.accept(Value::Bits(i32::from_be_bytes(bytes) as u64)));
                }
            }
            Kind::Int8 => {
                if let Some(bytes) = fixed(bytes) {
                    return Ok(to.accept(Value::Bits(i64::from_be_bytes(bytes) as u64)));
                }
            }
            Kind::Date => {
                if let Some(days) = fixed(bytes).map(i32::from_be_bytes)
                    && ((DATE_MIN..DATE_END).contains(&days) || matches!(days, i32::MIN | i32::MAX))
                {
                    return Ok(to.accept(Value::Bits(days as u64)));
                }
            }
            Kind::Timestamp => {
                if let Some(time) = fixed(bytes).map(i64::from_be_bytes)
                    && ((TIMESTAMP_MIN..TIMESTAMP_END).contains(&time) || matches!(time, i64::MIN | i64::MAX))
                {
                    return Ok(to.accept(Value::Bits(time as u64)));
                }
            }
            Kind::Time => {
                if let Some(time) = fixed(bytes).map(i64::from_be_bytes)
                    && (0..=MICROSECONDS_PER_DAY).contains(&time)
                {
                    return Ok(to.accept(Value::Bits(time as u64)));
                }
            }
            Kind::Fixed { length } => {
                if bytes.len() == length {
                    return Ok(to.accept(Value::Fixed(bytes)));
                }
            }
            Kind::Text { limit } => {
                if is_text_within(bytes, limit) {
                    return Ok(to.accept(Value::Varlena(bytes)));
                }
            }
            Kind::PaddedText { length } => {
                if bytes.len() == length as usize && is_ascii_text(bytes) {
                    return Ok(to.accept(Value::Varlena(bytes)));
                }
                if pad(bytes, length as usize, scratch) {
                    return Ok(to.accept(Value::Varlena(scratch)));
                }
            }
            Kind::Bytes => return Ok(to.accept(Value::Varlena(bytes))),
            Kind::Numeric { limits } => {
                if let Some((header, digits)) = numeric::decode(bytes, limits) {
                    return Ok(to.accept(Value::Numeric { header, digits }));
                }
            }
            Kind::Json => {
                if is_text(bytes) && self.json.is_valid(bytes) {
                    return Ok(to.accept(Value::Varlena(bytes)));
                }
            }
            Kind::Jsonb => {
                if let [JSONB_VERSION, text @ ..] = bytes
                    && is_text(text)
                    && let Some(value) = self.json.encode(text).map(store_varlena)
                {
                    return Ok(to.accept(value));
                }
            }
            Kind::Inet => {
                if let Some(value) = inet(bytes) {
                    return Ok(to.accept(value));
                }
            }
            Kind::Enum => {
                return Ok(to.accept(match self.labels.get(bytes) {
                    Some(&label) => Value::Bits(label),
                    None => self.receive_label(bytes, scratch)?,
                }));
            }
            Kind::Function => {}
        }
        if self.watched.is_some() {
            let value = self.read_watched(|decoder| decoder.receive(Some(bytes), scratch))?;
            return Ok(to.accept(value));
        }
        Ok(to.accept(self.receive(Some(bytes), scratch)?))
    }

    #[cold]
    fn receive_label(&mut self, bytes: &[u8], scratch: &mut Vec<u8>) -> Result<Value<'static>> {
        let value = self.receive(Some(bytes), scratch)?;
        if let Value::Datum(label) = value {
            self.labels.insert(bytes.to_vec(), label.value() as u64);
        }
        Ok(value)
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
        let wanted = bytes.len() + 1;
        memory::reuse(scratch, wanted);
        scratch.extend_from_slice(bytes);
        scratch.push(0);
        let mut buffer = pg_sys::StringInfoData {
            data: scratch.as_mut_ptr().cast(),
            // No row of the stream is longer than the server's limit, which is below that of the type.
            len: i32::try_from(bytes.len()).expect("fields are shorter than 1 GB"),
            maxlen: i32::try_from(scratch.len()).expect("fields are shorter than 1 GB"),
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

    /// Hands the value of a text to `to`; `None` is NULL.
    #[inline]
    pub(super) fn decode_text<R>(&mut self, field: Option<&[u8]>, to: impl Accept<R>) -> Result<R> {
        let Some(bytes) = field else {
            return match self.text_kind {
                // A domain may refuse NULL.
                TextKind::Function => Ok(to.accept(self.input(None)?)),
                _ => Ok(to.accept(Value::Null)),
            };
        };
        match self.text_kind {
            TextKind::Bool => {
                if let [b't' | b'f'] = bytes {
                    return Ok(to.accept(Value::Bits((bytes == b"t").into())));
                }
            }
            TextKind::Integer { least, most } => {
                if let Some(value) = text::integer(bytes).filter(|value| (least..=most).contains(value)) {
                    return Ok(to.accept(Value::Bits(value as u64)));
                }
            }
            TextKind::Float4 => {
                if let Some(value) = text::float::<f32>(bytes) {
                    return Ok(to.accept(Value::Bits(value.to_bits().into())));
                }
            }
            TextKind::Float8 => {
                if let Some(value) = text::float::<f64>(bytes) {
                    return Ok(to.accept(Value::Bits(value.to_bits())));
                }
            }
            TextKind::Date => {
                if let Some(days) = text::date(bytes) {
                    return Ok(to.accept(Value::Bits(days as u64)));
                }
            }
            TextKind::Timestamp { with_zone } => {
                if let Some(time) = text::timestamp(bytes, with_zone) {
                    return Ok(to.accept(Value::Bits(time as u64)));
                }
            }
            TextKind::Uuid => {
                if let Some(value) = text::uuid(bytes) {
                    return Ok(to.accept(Value::Fixed(&value)));
                }
            }
            TextKind::Text { limit } => {
                if is_text_within(bytes, limit) {
                    return Ok(to.accept(Value::Varlena(bytes)));
                }
            }
            TextKind::PaddedText { length } => {
                if bytes.len() == length as usize && is_ascii_text(bytes) {
                    return Ok(to.accept(Value::Varlena(bytes)));
                }
                if pad(bytes, length as usize, &mut self.text) {
                    return Ok(to.accept(Value::Varlena(&self.text)));
                }
            }
            TextKind::Numeric { limits } => {
                self.text.clear();
                if let Some(header) = text::numeric(bytes, limits, &mut self.text) {
                    return Ok(to.accept(Value::Numeric { header, digits: &self.text }));
                }
            }
            TextKind::Json => {
                if is_text(bytes) && self.json.is_valid(bytes) {
                    return Ok(to.accept(Value::Varlena(bytes)));
                }
            }
            TextKind::Jsonb => {
                if is_text(bytes)
                    && let Some(value) = self.json.encode(bytes).map(store_varlena)
                {
                    return Ok(to.accept(value));
                }
            }
            TextKind::Enum => {
                return Ok(to.accept(match self.labels.get(bytes) {
                    Some(&label) => Value::Bits(label),
                    None => self.input_label(bytes)?,
                }));
            }
            TextKind::Function => {}
        }
        if self.watched.is_some() {
            return Ok(to.accept(self.read_watched(|decoder| decoder.input(Some(bytes)))?));
        }
        Ok(to.accept(self.input(Some(bytes))?))
    }

    #[cold]
    fn input_label(&mut self, bytes: &[u8]) -> Result<Value<'static>> {
        let value = self.input(Some(bytes))?;
        if let Value::Datum(label) = value {
            self.labels.insert(bytes.to_vec(), label.value() as u64);
        }
        Ok(value)
    }

    /// Calls the type's input function.
    fn input(&mut self, field: Option<&[u8]>) -> Result<Value<'static>> {
        let text = match field {
            None => std::ptr::null_mut(),
            Some(bytes) => {
                let length = i32::try_from(bytes.len()).expect("fields are shorter than 1 GB");
                // SAFETY: the bytes are valid for the call, which raises when they are not in the server's encoding.
                unsafe { pg_sys::pg_verifymbstr(bytes.as_ptr().cast(), length, false) };
                memory::reuse(&mut self.text, bytes.len() + 1);
                self.text.extend_from_slice(bytes);
                self.text.push(0);
                self.text.as_mut_ptr().cast()
            }
        };
        // SAFETY: a null text is how InputFunctionCall is told of NULL.
        let datum = unsafe { pg_sys::InputFunctionCall(&mut self.function, text, self.io_parameter, self.typmod) };
        Ok(if text.is_null() { Value::Null } else { Value::Datum(datum) })
    }
}

/// Returns the error for a value that the type's modifier would round or cut.
#[cold]
pub(super) fn changed_by_modifier(type_oid: pg_sys::Oid, typmod: i32, value: pg_sys::Datum) -> Error {
    let sqlstate = match type_oid {
        pg_sys::NUMERICOID | pg_sys::NUMERICARRAYOID => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        pg_sys::VARCHAROID | pg_sys::BPCHAROID | pg_sys::VARCHARARRAYOID | pg_sys::BPCHARARRAYOID => {
            PgSqlErrorCode::ERRCODE_STRING_DATA_RIGHT_TRUNCATION
        }
        _ => PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW,
    };
    const LONGEST_VALUE: usize = 64;
    // SAFETY: the value was made by a function of the type.
    let mut text = unsafe { relation::output_text(type_oid, value) };
    if text.len() > LONGEST_VALUE {
        text.truncate(text.floor_char_boundary(LONGEST_VALUE));
        text.push_str("...");
    }
    // SAFETY: returns a palloc'd C string.
    let type_name = unsafe { std::ffi::CStr::from_ptr(pg_sys::format_type_with_typemod(type_oid, typmod)) };
    Error::new(sqlstate, format!("value \"{text}\" would be changed by type {}", type_name.to_string_lossy()))
}

fn lookup(function: pg_sys::Oid) -> pg_sys::FmgrInfo {
    let mut info = pg_sys::FmgrInfo::default();
    // SAFETY: fills the structure; what the function caches goes to the current context, which outlives the load.
    unsafe { pg_sys::fmgr_info_cxt(function, &mut info, pg_sys::CurrentMemoryContext) };
    info
}

/// Decodes the form that `inet_recv` in `network.c` reads: family, bits, an ignored byte, the length of the address,
/// the address.
#[inline]
fn inet(bytes: &[u8]) -> Option<Value<'_>> {
    const FAMILY_4: u8 = 2;
    const FAMILY_6: u8 = 3;
    let (head, address) = bytes.split_first_chunk::<4>()?;
    let &[family, bits, _, length] = head;
    let expected = match family {
        FAMILY_4 => 4,
        FAMILY_6 => 16,
        _ => return None,
    };
    let fits = usize::from(length) == expected && address.len() == expected && usize::from(bits) <= expected * 8;
    fits.then_some(Value::Pieces { head: &bytes[..2], tail: address })
}

#[inline]
fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}
