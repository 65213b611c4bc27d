//! Values of variable length as arguments and results of SQL functions that are called for each row: arguments are not copied.

use super::datum::Value;
use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::nullable::Nullable;
use pgrx::{FromDatum, pg_sys};

macro_rules! argument_of {
    ($argument:ident, $sql:literal) => {
        #[doc = concat!("An argument of type ", $sql, ".")]
        pub struct $argument<'call>(&'call [u8]);

        pgrx::impl_sql_translatable!($argument<'_>, $sql);

        impl<'call> $argument<'call> {
            /// Returns the content, without the header that tells its length.
            pub fn bytes(&self) -> &'call [u8] {
                self.0
            }
        }

        impl FromDatum for $argument<'_> {
            unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _type: pg_sys::Oid) -> Option<Self> {
                // SAFETY: promised by the caller; the memory lives as long as the call.
                (!is_null).then(|| Self(unsafe { Value::new(datum) }.as_varlena()))
            }
        }

        // SAFETY: SQL declares the argument with that type.
        unsafe impl<'fcx> ArgAbi<'fcx> for $argument<'fcx> {
            unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
                // SAFETY: promised by the caller.
                unsafe { arg.unbox_arg_using_from_datum() }.expect("a strict function has no NULL among its arguments")
            }

            unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
                // SAFETY: promised by the caller.
                unsafe { arg.unbox_arg_using_from_datum() }.into()
            }
        }
    };
}

macro_rules! result_of {
    ($result:ident, $sql:literal) => {
        #[doc = concat!("A result of type ", $sql, ".")]
        pub struct $result(pg_sys::Datum);

        pgrx::impl_sql_translatable!($result, $sql);

        impl $result {
            /// Makes a value with that content in the current memory context.
            pub fn of(bytes: &[u8]) -> Self {
                Self(made_of(bytes))
            }
        }

        // SAFETY: SQL declares the result with that type.
        unsafe impl BoxRet for $result {
            unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
                // SAFETY: a value of that type in the current context.
                unsafe { fcinfo.return_raw_datum(self.0) }
            }
        }
    };
}

argument_of!(BytesArgument, "BYTEA");
argument_of!(CharacterArgument, "CHARACTER");
argument_of!(NumericArgument, "NUMERIC");
argument_of!(TextArgument, "TEXT");
result_of!(NewNumeric, "NUMERIC");
result_of!(NewText, "TEXT");

fn made_of(bytes: &[u8]) -> pg_sys::Datum {
    let length = bytes.len() + size_of::<u32>();
    // SAFETY: `palloc` raises an error for more than a value may have; the memory has room for the header and the bytes.
    unsafe {
        let varlena = pg_sys::palloc(length).cast::<pg_sys::varlena>();
        pgrx::varlena::set_varsize_4b(varlena, length as i32);
        let content = pgrx::varlena::vardata_4b(varlena).cast_mut().cast::<u8>();
        content.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        varlena.into()
    }
}
