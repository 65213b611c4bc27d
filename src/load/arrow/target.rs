//! The targets of values: which form a column takes, and how values that need the functions of its type get there.

use super::super::decode::changed_by_modifier;
use super::super::numeric::Limits;
use crate::error::{Error, Result};
use crate::local::relation;
use crate::order::OnLossy;
use crate::parquet::schema::{Scalar, Shape};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::{Cell, RefCell};

/// The type of a column, an element or an attribute.
pub struct Target {
    pub(super) kind: Kind,
    /// A domain above the type, whose constraints values must satisfy.
    domain: Option<pg_sys::Oid>,
    /// The server's cache of the domain's constraints, in `context`.
    domain_state: Cell<*mut std::ffi::c_void>,
    context: pg_sys::MemoryContext,
    pub(super) type_oid: pg_sys::Oid,
    pub(super) typmod: i32,
    input: RefCell<pg_sys::FmgrInfo>,
    io_parameter: pg_sys::Oid,
    pub(super) jsonb: RefCell<jsonb::Encoder>,
    /// The type's equality, where the type modifier may change a value. Lives as long as the process.
    equal: Option<*mut pg_sys::FmgrInfo>,
}

pub(super) enum Kind {
    Bool,
    /// `smallint`, `integer`, `bigint`.
    Int {
        bytes: u8,
    },
    Oid,
    Float4,
    Float8,
    Numeric {
        limits: Option<Limits>,
    },
    /// `text`, and `varchar(n)` with its limit in characters.
    Text {
        limit: Option<usize>,
    },
    PaddedText {
        length: Option<usize>,
    },
    Bytes,
    Date,
    /// Microseconds that are kept: 1, or the power of ten that a precision leaves.
    Time {
        step: i64,
    },
    Timestamp {
        step: i64,
        zone: bool,
    },
    Interval,
    Uuid,
    Json,
    Jsonb,
    Array {
        element: Box<Target>,
        layout: ElementLayout,
    },
    Composite {
        /// With their position in the row type; dropped ones have no target.
        attributes: Vec<(String, Option<Target>)>,
        descriptor: pg_sys::TupleDesc,
    },
    /// Any text that its input function takes.
    Other,
}

#[derive(Clone, Copy)]
pub(super) struct ElementLayout {
    pub(super) length: i16,
    pub(super) by_value: bool,
    pub(super) alignment: std::ffi::c_char,
}

impl Target {
    /// Looks up a type, inside a transaction. The result lives in the current memory context.
    pub fn of(type_oid: pg_sys::Oid, typmod: i32) -> Self {
        let mut base_typmod = typmod;
        // SAFETY: syscache lookups; both follow a domain to its base.
        let base = unsafe { pg_sys::getBaseTypeAndTypmod(type_oid, &mut base_typmod) };
        let domain = (base != type_oid).then_some(type_oid);
        let mut input = pg_sys::Oid::INVALID;
        let mut io_parameter = pg_sys::Oid::INVALID;
        let mut function = pg_sys::FmgrInfo::default();
        // SAFETY: fills the variables; what the function caches goes to the current context, which outlives the target.
        unsafe {
            pg_sys::getTypeInputInfo(base, &mut input, &mut io_parameter);
            pg_sys::fmgr_info_cxt(input, &mut function, pg_sys::CurrentMemoryContext);
        }
        Self {
            kind: kind_of(base, base_typmod),
            domain,
            domain_state: Cell::new(std::ptr::null_mut()),
            // SAFETY: a backend-local variable.
            context: unsafe { pg_sys::CurrentMemoryContext },
            type_oid: base,
            typmod: base_typmod,
            input: RefCell::new(function),
            io_parameter,
            jsonb: RefCell::new(jsonb::Encoder::default()),
            equal: equality_of_limited(base, base_typmod),
        }
    }

    /// Calls the type's input function on a text in the database's encoding.
    pub(super) fn input(&self, text: &[u8]) -> Result<pg_sys::Datum> {
        Ok(self.input_with(text, self.typmod))
    }

    /// Calls the input function, and refuses the value if the type modifier has changed it and nothing may be lost:
    /// input functions round.
    pub(super) fn input_exactly(&self, text: &[u8], on_lossy: OnLossy) -> Result<pg_sys::Datum> {
        let value = self.input_with(text, self.typmod);
        if let Some(equal) = self.equal
            && on_lossy == OnLossy::Error
        {
            let unlimited = self.input_with(text, -1);
            // SAFETY: two values of the type that the function compares.
            let same =
                unsafe { pg_sys::FunctionCall2Coll(equal, pg_sys::DEFAULT_COLLATION_OID, value, unlimited).value() };
            if same == 0 {
                return Err(would_change(self.type_oid, self.typmod, unlimited));
            }
        }
        Ok(value)
    }

    fn input_with(&self, text: &[u8], typmod: i32) -> pg_sys::Datum {
        let mut terminated = Vec::with_capacity(text.len() + 1);
        terminated.extend_from_slice(text);
        terminated.push(0);
        // SAFETY: the text is valid for the call and ends in a NUL.
        unsafe {
            pg_sys::InputFunctionCall(
                &mut *self.input.borrow_mut(),
                terminated.as_mut_ptr().cast(),
                self.io_parameter,
                typmod,
            )
        }
    }

    /// Returns the type's own OID, not that of its base.
    pub(super) fn declared(&self) -> pg_sys::Oid {
        self.domain.unwrap_or(self.type_oid)
    }

    pub(super) fn is_domain(&self) -> bool {
        self.domain.is_some()
    }

    /// Checks a value, or NULL, against the constraints of the domain.
    pub(super) fn check_domain(&self, value: Option<pg_sys::Datum>) {
        if let Some(domain) = self.domain {
            let mut state = self.domain_state.get();
            let datum = value.unwrap_or(pg_sys::Datum::from(0usize));
            // SAFETY: the value is one of the domain's base type; raises when a constraint is violated. The context
            // lives as long as the target.
            unsafe { pg_sys::domain_check(datum, value.is_none(), domain, &mut state, self.context) };
            self.domain_state.set(state);
        }
    }

    /// Returns whether the type's input function looks for objects along the search path.
    pub fn looks_up_names(&self) -> bool {
        match &self.kind {
            Kind::Array { element, .. } => element.looks_up_names(),
            Kind::Composite { attributes, .. } => {
                attributes.iter().filter_map(|(_, target)| target.as_ref()).any(Self::looks_up_names)
            }
            _ => matches!(
                self.type_oid,
                pg_sys::REGCLASSOID
                    | pg_sys::REGCOLLATIONOID
                    | pg_sys::REGCONFIGOID
                    | pg_sys::REGDICTIONARYOID
                    | pg_sys::REGOPEROID
                    | pg_sys::REGOPERATOROID
                    | pg_sys::REGPROCOID
                    | pg_sys::REGPROCEDUREOID
                    | pg_sys::REGTYPEOID
            ),
        }
    }

    /// Returns the reason why values of the shape cannot be stored here, if there is one.
    pub fn refusal(&self, shape: &Shape) -> Option<String> {
        let refused = |reason: &str| Some(reason.to_owned());
        match (shape, &self.kind) {
            (_, Kind::Json) => None,
            (shape, Kind::Jsonb) => repeated_field(shape).map(|name| {
                format!("the structure has two fields \"{name}\", of which jsonb keeps one; json keeps both")
            }),
            (Shape::Scalar(scalar), kind) => scalar_refusal(*scalar, kind),
            (Shape::List(element), Kind::Array { element: target, .. }) => {
                // Lists of lists become one array of several dimensions.
                let mut innermost = element.as_ref();
                while let Shape::List(inner) = innermost {
                    innermost = inner;
                }
                target.refusal(innermost)
            }
            (Shape::Map(key, value), Kind::Array { element, .. }) => element.refusal(&entry_shape(key, value)),
            (Shape::Struct(fields), Kind::Composite { attributes, .. }) => {
                if let Some(name) = repeated_name(fields) {
                    return Some(format!("the structure has two fields \"{name}\"; json keeps both"));
                }
                for (name, shape) in fields {
                    let found = attributes.iter().find(|(attribute, _)| attribute == name);
                    let Some((_, Some(target))) = found else {
                        return Some(format!("the type has no attribute \"{name}\""));
                    };
                    if let Some(reason) = target.refusal(shape) {
                        return Some(format!("attribute \"{name}\": {reason}"));
                    }
                }
                None
            }
            (Shape::List(_), _) => refused("a list goes into an array, json or jsonb"),
            (Shape::Map(..), _) => {
                refused("a map goes into json, jsonb or an array of a type with the attributes key and value")
            }
            (Shape::Struct(_), _) => refused("a structure goes into a composite type, json or jsonb"),
        }
    }
}

/// Returns a name that two fields of one structure share, at any depth.
fn repeated_field(shape: &Shape) -> Option<&str> {
    match shape {
        Shape::Scalar(_) => None,
        Shape::List(element) => repeated_field(element),
        Shape::Map(key, value) => repeated_field(key).or_else(|| repeated_field(value)),
        Shape::Struct(fields) => {
            repeated_name(fields).or_else(|| fields.iter().find_map(|(_, field)| repeated_field(field)))
        }
    }
}

fn repeated_name(fields: &[(String, Shape)]) -> Option<&str> {
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// Returns a map's entry as the structure that Parquet stores.
pub(super) fn entry_shape(key: &Shape, value: &Shape) -> Shape {
    Shape::Struct(vec![("key".to_owned(), key.clone()), ("value".to_owned(), value.clone())])
}

fn scalar_refusal(scalar: Scalar, target: &Kind) -> Option<String> {
    use Scalar as S;
    let fits = match (scalar, target) {
        (S::Null, _) => true,
        // Every value has a text.
        (_, Kind::Text { .. } | Kind::PaddedText { .. }) => true,
        // The text is read as COPY would read it.
        (S::Text | S::Enum | S::Json, Kind::Array { .. } | Kind::Composite { .. }) => true,
        (S::Text | S::Enum | S::Json, Kind::Bytes) => false,
        (S::Text | S::Enum | S::Json, _) => true,
        (S::Bool, Kind::Bool) => true,
        (S::Int { .. }, Kind::Int { .. } | Kind::Oid | Kind::Float4 | Kind::Float8 | Kind::Numeric { .. }) => true,
        (
            S::Float16 | S::Float32 | S::Float64,
            Kind::Float4 | Kind::Float8 | Kind::Numeric { .. } | Kind::Int { .. },
        ) => true,
        (S::Decimal { .. }, Kind::Numeric { .. } | Kind::Int { .. } | Kind::Float8) => true,
        (S::Date | S::DateMillis, Kind::Date | Kind::Timestamp { zone: false, .. }) => true,
        (S::Time(_), Kind::Time { .. }) => true,
        (S::Timestamp { utc: false, .. }, Kind::Date | Kind::Timestamp { zone: false, .. }) => true,
        (S::Timestamp { utc: true, .. }, Kind::Timestamp { zone: true, .. }) => true,
        (S::Timestamp { utc: true, .. }, Kind::Timestamp { zone: false, .. }) => {
            return Some("its values are instants: use timestamp with time zone".to_owned());
        }
        (S::Timestamp { utc: false, .. }, Kind::Timestamp { zone: true, .. }) => {
            return Some("its values are in no zone: use timestamp without time zone".to_owned());
        }
        (S::Int96, Kind::Timestamp { .. }) => true,
        (S::Duration(_) | S::Interval, Kind::Interval) => true,
        (S::Bytes | S::Bson | S::FixedBytes(_) | S::Uuid, Kind::Bytes) => true,
        (S::Uuid | S::FixedBytes(16), Kind::Uuid) => true,
        _ => false,
    };
    (!fits).then(|| format!("it would be created as {}", Shape::Scalar(scalar).default_type()))
}

fn kind_of(type_oid: pg_sys::Oid, typmod: i32) -> Kind {
    const VARHDRSZ: i32 = 4;
    let characters = (typmod >= VARHDRSZ).then(|| (typmod - VARHDRSZ) as usize);
    let step = if (0..6).contains(&typmod) { 10i64.pow(6 - typmod as u32) } else { 1 };
    match type_oid {
        pg_sys::BOOLOID => Kind::Bool,
        pg_sys::INT2OID => Kind::Int { bytes: 2 },
        pg_sys::INT4OID => Kind::Int { bytes: 4 },
        pg_sys::INT8OID => Kind::Int { bytes: 8 },
        pg_sys::OIDOID => Kind::Oid,
        pg_sys::FLOAT4OID => Kind::Float4,
        pg_sys::FLOAT8OID => Kind::Float8,
        pg_sys::NUMERICOID => Kind::Numeric { limits: Limits::from_typmod(typmod) },
        pg_sys::TEXTOID => Kind::Text { limit: None },
        pg_sys::VARCHAROID => Kind::Text { limit: characters },
        pg_sys::BPCHAROID => Kind::PaddedText { length: characters },
        pg_sys::BYTEAOID => Kind::Bytes,
        pg_sys::DATEOID => Kind::Date,
        pg_sys::TIMEOID => Kind::Time { step },
        pg_sys::TIMESTAMPOID => Kind::Timestamp { step, zone: false },
        pg_sys::TIMESTAMPTZOID => Kind::Timestamp { step, zone: true },
        pg_sys::INTERVALOID if typmod < 0 => Kind::Interval,
        pg_sys::UUIDOID => Kind::Uuid,
        pg_sys::JSONOID => Kind::Json,
        pg_sys::JSONBOID => Kind::Jsonb,
        other => structured_kind(other, typmod),
    }
}

fn structured_kind(type_oid: pg_sys::Oid, typmod: i32) -> Kind {
    // SAFETY: syscache lookups; the descriptor is copied into the current context, so that it outlives the cache's.
    unsafe {
        let element = pg_sys::get_element_type(type_oid);
        if element != pg_sys::Oid::INVALID {
            let mut layout = ElementLayout { length: 0, by_value: false, alignment: 0 };
            pg_sys::get_typlenbyvalalign(element, &mut layout.length, &mut layout.by_value, &mut layout.alignment);
            return Kind::Array { element: Box::new(Target::of(element, typmod)), layout };
        }
        if pg_sys::type_is_rowtype(type_oid) && type_oid != pg_sys::RECORDOID {
            let descriptor = pg_sys::lookup_rowtype_tupdesc_copy(type_oid, typmod);
            let attributes = relation::attributes(descriptor)
                .into_iter()
                .map(|attribute| {
                    let target = (!attribute.dropped).then(|| Target::of(attribute.type_oid, attribute.typmod));
                    (attribute.name, target)
                })
                .collect();
            return Kind::Composite { attributes, descriptor };
        }
    }
    Kind::Other
}

fn equality_of_limited(type_oid: pg_sys::Oid, typmod: i32) -> Option<*mut pg_sys::FmgrInfo> {
    // SAFETY: a syscache lookup.
    let element = unsafe { pg_sys::get_element_type(type_oid) };
    let innermost = if element == pg_sys::Oid::INVALID { type_oid } else { element };
    // A modifier of an extension's type may also add to a value, such as a reference system.
    if typmod < 0 || innermost.to_u32() >= pg_sys::FirstNormalObjectId {
        return None;
    }
    // SAFETY: a type cache entry is never freed.
    unsafe {
        let entry = pg_sys::lookup_type_cache(type_oid, pg_sys::TYPECACHE_EQ_OPR_FINFO as i32);
        let equal = &raw mut (*entry).eq_opr_finfo;
        ((*equal).fn_oid != pg_sys::Oid::INVALID).then_some(equal)
    }
}

fn would_change(type_oid: pg_sys::Oid, typmod: i32, value: pg_sys::Datum) -> Error {
    changed_by_modifier(type_oid, typmod, value).hint(MAY_LOSE)
}

const MAY_LOSE: &str = "With on_lossy set to 'truncate' the value is rounded or cut.";

pub(super) fn lossy(text: impl Into<String>) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, text).hint(MAY_LOSE)
}

pub(super) fn out_of_range(text: impl Into<String>) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, text)
}
