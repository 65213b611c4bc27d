//! Texts as arguments and results of SQL functions.

use super::{encoding, messages};
use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, UnboxDatum};
use pgrx::nullable::Nullable;
use pgrx::{FromDatum, IntoDatum, pg_sys};
use std::ffi::CString;

/// A text of SQL. The framework's own conversion knows databases of UTF-8 alone.
pub struct Text(pub String);

pgrx::impl_sql_translatable!(Text, "TEXT");

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Text> for String {
    fn from(Text(text): Text) -> Self {
        text
    }
}

impl Text {
    /// # Safety
    /// The datum is a text.
    unsafe fn of(datum: pg_sys::Datum) -> Self {
        messages::watch();
        // SAFETY: promised by the caller; the server makes a NUL-terminated copy.
        unsafe { Self(encoding::text_at(pg_sys::text_to_cstring(datum.cast_mut_ptr()))) }
    }
}

impl FromDatum for Text {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _type: pg_sys::Oid) -> Option<Self> {
        // SAFETY: promised by the caller.
        (!is_null).then(|| unsafe { Self::of(datum) })
    }
}

impl IntoDatum for Text {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let text = encoding::to_database(&self.0).unwrap_or_else(|_| CString::default());
        // SAFETY: copies the text into the current context.
        Some(unsafe { pg_sys::cstring_to_text(text.as_ptr()) }.into())
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }
}

// SAFETY: elements of an array of text are texts.
unsafe impl UnboxDatum for Text {
    type As<'src> = Self;

    unsafe fn unbox<'src>(datum: Datum<'src>) -> Self
    where
        Self: 'src,
    {
        // SAFETY: promised by the caller.
        unsafe { Self::of(datum.sans_lifetime()) }
    }
}

// SAFETY: SQL declares the argument as text.
unsafe impl<'fcx> ArgAbi<'fcx> for Text {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: promised by the caller.
        unsafe { arg.unbox_arg_using_from_datum() }.expect("a strict function has no NULL among its arguments")
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: promised by the caller.
        unsafe { arg.unbox_arg_using_from_datum() }.into()
    }
}

// SAFETY: SQL declares the result as text.
unsafe impl BoxRet for Text {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: a text in the current context.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}
