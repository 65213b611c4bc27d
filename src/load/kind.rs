//! Which types are decoded here, and which ones by their own functions.

use super::numeric::Limits;
use crate::local::encoding;
use crate::storage::tuple::VARHDRSZ;
use pgrx::pg_sys;

/// The types whose values are decoded here. A value that the decoder is not sure of is left to the type's own function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
    Json,
    Jsonb,
    Inet,
    Enum,
    /// Bytes that are stored as they travel.
    Fixed {
        length: usize,
    },
    Function,
}

/// Chooses how values of a type are decoded.
pub(super) fn kind_of(type_oid: pg_sys::Oid, typmod: i32) -> Kind {
    let utf8 = encoding::database_is_utf8();
    let character_limit = u32::try_from(typmod - VARHDRSZ as i32).ok().filter(|_| typmod >= 0);
    match type_oid {
        pg_sys::BOOLOID => Kind::Bool,
        pg_sys::INT2OID => Kind::Int2,
        // Floats travel as their bits.
        pg_sys::INT4OID | pg_sys::OIDOID | pg_sys::FLOAT4OID => Kind::Int4,
        pg_sys::INT8OID | pg_sys::FLOAT8OID | pg_sys::MONEYOID => Kind::Int8,
        pg_sys::DATEOID => Kind::Date,
        pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID if typmod < 0 => Kind::Timestamp,
        pg_sys::TIMEOID if typmod < 0 => Kind::Time,
        pg_sys::UUIDOID => Kind::Fixed { length: 16 },
        pg_sys::MACADDROID => Kind::Fixed { length: 6 },
        pg_sys::INETOID => Kind::Inet,
        pg_sys::JSONOID if utf8 => Kind::Json,
        pg_sys::JSONBOID if utf8 => Kind::Jsonb,
        pg_sys::TEXTOID if utf8 => Kind::Text { limit: None },
        pg_sys::VARCHAROID if utf8 => Kind::Text { limit: character_limit },
        pg_sys::BPCHAROID if utf8 && character_limit.is_some() => {
            Kind::PaddedText { length: character_limit.unwrap_or(0) }
        }
        pg_sys::BYTEAOID => Kind::Bytes,
        pg_sys::NUMERICOID => Kind::Numeric { limits: Limits::from_typmod(typmod) },
        // SAFETY: a syscache lookup.
        other if unsafe { pg_sys::type_is_enum(other) } => Kind::Enum,
        _ => Kind::Function,
    }
}

/// The types whose texts are decoded here. A text that the decoder is not sure of is left to the type's own function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextKind {
    Bool,
    Integer {
        least: i64,
        most: i64,
    },
    Float4,
    Float8,
    Date,
    /// Without a precision.
    Timestamp {
        with_zone: bool,
    },
    Uuid,
    Text {
        limit: Option<u32>,
    },
    PaddedText {
        length: u32,
    },
    Numeric {
        limits: Option<Limits>,
    },
    Json,
    Jsonb,
    Enum,
    Function,
}

/// Chooses how texts of a type are decoded.
pub(super) fn text_kind_of(type_oid: pg_sys::Oid, typmod: i32) -> TextKind {
    match type_oid {
        pg_sys::OIDOID | pg_sys::MONEYOID => TextKind::Function,
        pg_sys::FLOAT4OID => TextKind::Float4,
        pg_sys::FLOAT8OID => TextKind::Float8,
        pg_sys::UUIDOID => TextKind::Uuid,
        _ => match kind_of(type_oid, typmod) {
            Kind::Bool => TextKind::Bool,
            Kind::Int2 => TextKind::Integer { least: i16::MIN.into(), most: i16::MAX.into() },
            Kind::Int4 => TextKind::Integer { least: i32::MIN.into(), most: i32::MAX.into() },
            Kind::Int8 => TextKind::Integer { least: i64::MIN, most: i64::MAX },
            Kind::Date => TextKind::Date,
            Kind::Timestamp => TextKind::Timestamp { with_zone: type_oid == pg_sys::TIMESTAMPTZOID },
            Kind::Text { limit } => TextKind::Text { limit },
            Kind::PaddedText { length } => TextKind::PaddedText { length },
            Kind::Numeric { limits } => TextKind::Numeric { limits },
            Kind::Json => TextKind::Json,
            Kind::Jsonb => TextKind::Jsonb,
            Kind::Enum => TextKind::Enum,
            Kind::Time | Kind::Bytes | Kind::Inet | Kind::Fixed { .. } | Kind::Function => TextKind::Function,
        },
    }
}
