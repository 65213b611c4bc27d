//! JSON documents as arguments of SQL functions.

use super::{encoding, messages};
use crate::error::Error;
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::nullable::Nullable;
use pgrx::{FromDatum, PgSqlErrorCode, pg_sys};

/// A document as the server writes it. The framework's own conversion knows databases of UTF-8 alone, and panics over what a program
/// cannot read.
pub struct Document(String);

pgrx::impl_sql_translatable!(Document, "JSONB");

impl Document {
    /// Reads the document that a parameter has.
    ///
    /// # Errors
    /// A number is too great, or values are nested too deeply.
    pub fn parse(&self, parameter: &str) -> crate::error::Result<serde_json::Value> {
        selection::parse_document(&self.0).map_err(|wrong| {
            let sqlstate = match wrong.is_number {
                true => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
                false => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            };
            let error = Error::new(sqlstate, format!("parameter \"{parameter}\" cannot be read: {}", wrong.reason));
            if wrong.path.is_empty() { error } else { error.detail(format!("It is at {}.", wrong.path)) }
        })
    }
}

impl FromDatum for Document {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _type: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        messages::watch();
        // SAFETY: SQL declares the argument as jsonb, whose output function makes a NUL-terminated text.
        unsafe {
            let text = pg_sys::OidOutputFunctionCall(pg_sys::Oid::from(pg_sys::F_JSONB_OUT), datum);
            Some(Self(encoding::text_at(text)))
        }
    }
}

// SAFETY: SQL declares the argument as jsonb.
unsafe impl<'fcx> ArgAbi<'fcx> for Document {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: promised by the caller.
        unsafe { arg.unbox_arg_using_from_datum() }.expect("a strict function has no NULL among its arguments")
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: promised by the caller.
        unsafe { arg.unbox_arg_using_from_datum() }.into()
    }
}
