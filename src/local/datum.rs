//! Safe views of the values of a row.
//!
//! A value does not know its type: the caller of a function that reads it vouches for the type, which comes from the
//! descriptor of the row.

use super::encoding;
use crate::local::relation::{self, Attribute};
use pgrx::pg_sys;
use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;

/// A value that is not NULL. The memory that it points to lives as long as its row.
#[derive(Clone, Copy)]
pub struct Value<'row> {
    datum: pg_sys::Datum,
    row: PhantomData<&'row ()>,
}

impl<'row> Value<'row> {
    /// # Safety
    /// What the datum points to lives as long as the row.
    pub(super) unsafe fn new(datum: pg_sys::Datum) -> Self {
        Self { datum, row: PhantomData }
    }

    pub fn as_bool(self) -> bool {
        self.datum.value() as u8 != 0
    }

    pub fn as_i16(self) -> i16 {
        self.datum.value() as i16
    }

    pub fn as_i32(self) -> i32 {
        self.datum.value() as i32
    }

    pub fn as_u32(self) -> u32 {
        self.datum.value() as u32
    }

    pub fn as_i64(self) -> i64 {
        self.datum.value() as i64
    }

    pub fn as_f32(self) -> f32 {
        f32::from_bits(self.as_u32())
    }

    pub fn as_f64(self) -> f64 {
        f64::from_bits(self.datum.value() as u64)
    }

    /// Returns the bytes of a type of fixed length that is passed by reference.
    pub fn as_fixed<const N: usize>(self) -> &'row [u8; N] {
        // SAFETY: a value of such a type is a pointer to that many bytes.
        unsafe { &*self.datum.cast_mut_ptr::<[u8; N]>() }
    }

    /// Returns the content of a type of variable length, decompressed, and fetched from the TOAST table where it is
    /// stored there.
    pub fn as_varlena(self) -> &'row [u8] {
        // SAFETY: a value of such a type is a pointer to a varlena; a copy is palloc'd in the row's memory context.
        unsafe {
            let mut varlena = self.datum.cast_mut_ptr::<pg_sys::varlena>();
            if pgrx::varlena::varatt_is_1b_e(varlena) || pgrx::varlena::varatt_is_4b_c(varlena) {
                varlena = pg_sys::pg_detoast_datum(varlena);
            }
            pgrx::varlena::varlena_to_byte_slice(varlena)
        }
    }

    /// Returns the content of the type `name`.
    pub fn as_name(self) -> &'row [u8] {
        // SAFETY: a value of the type is a pointer to a NUL-terminated text.
        unsafe { CStr::from_ptr(self.datum.cast_mut_ptr()) }.to_bytes()
    }

    /// Returns the value as a whole varlena with a long header.
    unsafe fn detoasted<T>(self) -> *mut T {
        // SAFETY: the caller vouches for a varlena.
        unsafe { pg_sys::pg_detoast_datum(self.datum.cast_mut_ptr()).cast() }
    }
}

/// A row of a query.
#[derive(Clone, Copy)]
pub struct Row<'row> {
    values: &'row [pg_sys::Datum],
    nulls: &'row [bool],
}

impl<'row> Row<'row> {
    /// # Safety
    /// Values that are not NULL are valid as long as the row.
    pub(super) unsafe fn new(values: &'row [pg_sys::Datum], nulls: &'row [bool]) -> Self {
        Self { values, nulls }
    }

    /// Returns the row of a slot, after its columns were extracted.
    ///
    /// # Safety
    /// The slot holds a row, which stays in it as long as the result is used.
    #[inline]
    pub(super) unsafe fn of_slot(slot: *mut pg_sys::TupleTableSlot) -> Self {
        // SAFETY: promised by the caller; after its columns were extracted the arrays hold as many values as the descriptor has
        // columns. Without columns there may be no arrays.
        unsafe {
            let count = (*(*slot).tts_tupleDescriptor).natts as usize;
            if ((*slot).tts_nvalid as usize) < count {
                pg_sys::slot_getsomeattrs_int(slot, count as i32);
            }
            if count == 0 {
                return Self::new(&[], &[]);
            }
            Self::new(
                std::slice::from_raw_parts((*slot).tts_values, count),
                std::slice::from_raw_parts((*slot).tts_isnull, count),
            )
        }
    }

    #[inline]
    pub fn value(&self, position: usize) -> Option<Value<'row>> {
        // SAFETY: promised to `new`.
        (!self.nulls[position]).then(|| unsafe { Value::new(self.values[position]) })
    }
}

/// A type's output function.
pub struct OutputFunction(pg_sys::FmgrInfo);

impl OutputFunction {
    /// Looks up the function in the current memory context, which must outlive it.
    pub fn of(type_oid: pg_sys::Oid) -> Self {
        let mut function = pg_sys::Oid::INVALID;
        let mut is_varlena = false;
        let mut info = pg_sys::FmgrInfo::default();
        // SAFETY: syscache lookups that fill what they are given.
        unsafe {
            pg_sys::getTypeOutputInfo(type_oid, &mut function, &mut is_varlena);
            pg_sys::fmgr_info_cxt(function, &mut info, pg_sys::CurrentMemoryContext);
        }
        Self(info)
    }

    /// Returns the text in the database's encoding, as the session's settings have it.
    pub fn text_of_session<'row>(&mut self, value: Value<'row>) -> &'row [u8] {
        // SAFETY: the caller vouches for the type; the text is palloc'd in the row's memory context.
        unsafe { CStr::from_ptr(pg_sys::OutputFunctionCall(&mut self.0, value.datum)) }.to_bytes()
    }

    /// Returns the text in the database's encoding, in a form that does not depend on the session's settings.
    pub fn text<'row>(&mut self, value: Value<'row>) -> &'row [u8] {
        let _style = PortableStyle::set();
        // SAFETY: the caller vouches for the type; the text is palloc'd in the row's memory context.
        unsafe { CStr::from_ptr(pg_sys::OutputFunctionCall(&mut self.0, value.datum)) }.to_bytes()
    }
}

/// A type's send function.
pub struct SendFunction {
    info: pg_sys::FmgrInfo,
    /// The function's number.
    pub oid: u32,
}

impl SendFunction {
    /// Looks up the function in the current memory context, which must outlive it. Raises an error for a type without one.
    pub fn of(type_oid: pg_sys::Oid) -> Self {
        let mut function = pg_sys::Oid::INVALID;
        let mut is_varlena = false;
        let mut info = pg_sys::FmgrInfo::default();
        // SAFETY: syscache lookups that fill what they are given.
        unsafe {
            pg_sys::getTypeBinaryOutputInfo(type_oid, &mut function, &mut is_varlena);
            pg_sys::fmgr_info_cxt(function, &mut info, pg_sys::CurrentMemoryContext);
        }
        Self { info, oid: function.to_u32() }
    }

    /// Returns the bytes that travel.
    pub fn bytes<'row>(&mut self, value: Value<'row>) -> &'row [u8] {
        // SAFETY: the caller vouches for the type; the bytea is palloc'd in the row's memory context, and its header is a
        // long one.
        unsafe { pgrx::varlena::varlena_to_byte_slice(pg_sys::SendFunctionCall(&mut self.info, value.datum).cast()) }
    }
}

/// Sets the settings for output functions while it lives, so that texts mean the same everywhere. It sets the variables
/// themselves, because the settings machinery would cost more than the output function, and the query that is running
/// must not see other settings.
struct PortableStyle {
    date_style: i32,
    interval_style: i32,
    extra_float_digits: i32,
}

impl PortableStyle {
    fn set() -> Self {
        // SAFETY: backend-local variables of a process with one thread.
        unsafe {
            let saved = Self {
                date_style: pg_sys::DateStyle,
                interval_style: pg_sys::IntervalStyle,
                extra_float_digits: pg_sys::extra_float_digits,
            };
            pg_sys::DateStyle = pg_sys::USE_ISO_DATES as i32;
            pg_sys::IntervalStyle = pg_sys::INTSTYLE_POSTGRES as i32;
            pg_sys::extra_float_digits = 3;
            saved
        }
    }
}

impl Drop for PortableStyle {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            pg_sys::DateStyle = self.date_style;
            pg_sys::IntervalStyle = self.interval_style;
            pg_sys::extra_float_digits = self.extra_float_digits;
        }
    }
}

/// Takes values of a composite type apart.
pub struct CompositeReader {
    descriptor: pg_sys::TupleDesc,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl CompositeReader {
    /// Looks up the type. Its descriptor is allocated in the current memory context, which must outlive it.
    pub fn of(type_oid: pg_sys::Oid, typmod: i32) -> Self {
        // SAFETY: raises an error for what is not a row type; the copy keeps the values of columns that were added later.
        let descriptor = unsafe { pg_sys::lookup_rowtype_tupdesc_copy(type_oid, typmod) };
        // SAFETY: just made.
        let count = unsafe { (*descriptor).natts } as usize;
        Self { descriptor, values: vec![pg_sys::Datum::null(); count], nulls: vec![true; count] }
    }

    /// Returns the attributes, dropped ones included, so that positions are those of the fields.
    pub fn attributes(&self) -> Vec<Attribute> {
        // SAFETY: the descriptor lives as long as the row.
        unsafe { relation::attributes(self.descriptor) }
    }

    pub fn fields<'row>(&'row mut self, value: Value<'row>) -> Row<'row> {
        // SAFETY: the caller vouches for the type; both arrays have room for all columns of the descriptor.
        unsafe {
            let header = value.detoasted::<pg_sys::HeapTupleHeaderData>();
            let mut tuple = pg_sys::HeapTupleData {
                t_len: pgrx::varlena::varsize_any(header.cast()) as u32,
                t_data: header,
                ..Default::default()
            };
            pg_sys::heap_deform_tuple(&mut tuple, self.descriptor, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            Row::new(&self.values, &self.nulls)
        }
    }
}

/// Takes arrays apart.
pub struct ArrayReader {
    element: pg_sys::Oid,
    length: i16,
    by_value: bool,
    alignment: std::ffi::c_char,
}

/// An array's elements, in storage order: the last dimension changes fastest.
pub struct Elements<'row> {
    pub lengths: Vec<usize>,
    pub starts: Vec<i32>,
    pub items: Row<'row>,
    pub count: usize,
}

impl ArrayReader {
    pub fn of(element: pg_sys::Oid) -> Self {
        let mut reader = Self { element, length: 0, by_value: false, alignment: 0 };
        // SAFETY: a syscache lookup that fills all three.
        unsafe {
            pg_sys::get_typlenbyvalalign(element, &mut reader.length, &mut reader.by_value, &mut reader.alignment);
        }
        reader
    }

    pub fn elements<'row>(&self, value: Value<'row>) -> Elements<'row> {
        let mut values = std::ptr::null_mut();
        let mut nulls = std::ptr::null_mut();
        let mut count = 0;
        // SAFETY: the caller vouches for the type; dimensions and lower bounds follow the header, one of each for every
        // dimension; what the function makes is palloc'd in the row's memory context, with `count` of each.
        unsafe {
            let array = value.detoasted::<pg_sys::ArrayType>();
            let dimensions = (*array).ndim as usize;
            let numbers = array.add(1).cast::<i32>();
            let lengths = (0..dimensions).map(|dimension| *numbers.add(dimension) as usize).collect();
            let starts = (dimensions..2 * dimensions).map(|position| *numbers.add(position)).collect();
            pg_sys::deconstruct_array(
                array,
                self.element,
                self.length.into(),
                self.by_value,
                self.alignment,
                &mut values,
                &mut nulls,
                &mut count,
            );
            let count = count as usize;
            let items = if count == 0 {
                Row::new(&[], &[])
            } else {
                Row::new(std::slice::from_raw_parts(values, count), std::slice::from_raw_parts(nulls, count))
            };
            Elements { lengths, starts, items, count }
        }
    }
}

/// Returns a text of the database as UTF-8.
pub fn utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    encoding::to_utf8(bytes)
}
