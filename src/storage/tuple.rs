//! Rows in the form in which the heap stores them, put together value by value without a slot in between.

use super::page::ROW_HEADER_BYTES;
use crate::error::Error;
use crate::local::memory;
use crate::local::relation::AttributeLayout;
use pgrx::pg_sys;
use pgrx::prelude::*;

/// A decoded value that is not yet stored anywhere.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Null,
    /// A value passed by value, in the low bytes.
    Bits(u64),
    /// A value of fixed length that is passed by reference.
    Fixed(&'a [u8]),
    /// The content of a value of variable length, without the length word in front.
    Varlena(&'a [u8]),
    /// The same in two pieces.
    Pieces {
        head: &'a [u8],
        tail: &'a [u8],
    },
    /// A `numeric` in its short form: the header word, then digit groups that are still big-endian.
    Numeric {
        header: u16,
        digits: &'a [u8],
    },
    /// Made by a function of the server.
    Datum(pg_sys::Datum),
}

/// The receiver of a value. It is passed down to the decoders, because a value that is returned goes through memory: it
/// is written in pieces and read as a whole, and the processor waits for that longer than for all other work on the
/// value.
pub trait Accept<R> {
    fn accept(self, value: Value<'_>) -> R;
}

impl<R, F: FnOnce(Value<'_>) -> R> Accept<R> for F {
    #[inline(always)]
    fn accept(self, value: Value<'_>) -> R {
        self(value)
    }
}

/// The longest value with a one-byte length, length included.
const LONGEST_SHORT: usize = 0x7f;
/// The size of a length word, which counts itself.
pub const VARHDRSZ: usize = 4;
/// The longest content behind a length word. The length of a longer one would not fit into the word, and a part of the
/// value would be read as the next value. The server has the same limit.
pub const LONGEST_PAYLOAD: usize = memory::MAX_ALLOC_SIZE - VARHDRSZ;
/// The longest row that the server would form.
pub const LONGEST_FORMED_ROW: usize = memory::MAX_ALLOC_SIZE;
/// The most bytes that lengths and padding of the values may take on top of [`LONGEST_FORMED_ROW`].
const MOST_PADDING: usize = 1 << 20;
/// A buffer of more bytes is freed after the row that needed it.
const LARGE: usize = 16 << 20;

const HAS_NULL: u16 = 0x0001;
const HAS_VARWIDTH: u16 = 0x0002;
const XMIN_FROZEN: u16 = 0x0300;
const XMAX_INVALID: u16 = 0x0800;

const _: () = {
    assert!(HAS_NULL as u32 == pg_sys::HEAP_HASNULL && HAS_VARWIDTH as u32 == pg_sys::HEAP_HASVARWIDTH);
    assert!(XMIN_FROZEN as u32 == pg_sys::HEAP_XMIN_FROZEN && XMAX_INVALID as u32 == pg_sys::HEAP_XMAX_INVALID);
    assert!(VARHDRSZ == size_of::<pg_sys::varlena>());
};

/// Builds one row after the other in the same memory.
pub struct TupleBuilder {
    /// The buffer; its words align the start of a row.
    words: Vec<u64>,
    bitmap: Vec<u8>,
    attributes: usize,
    /// Where values begin: behind a header with a bitmap.
    data_start: usize,
    /// Next free byte.
    position: usize,
    /// Bytes that may be written to.
    capacity: usize,
    /// The bytes that `begin` was told; values made by functions come on top of them.
    promised: usize,
    has_null: bool,
    has_varwidth: bool,
    xmin: pg_sys::TransactionId,
}

impl TupleBuilder {
    pub fn new(attributes: usize, xmin: pg_sys::TransactionId) -> Self {
        let data_start = (ROW_HEADER_BYTES + attributes.div_ceil(8)).next_multiple_of(8);
        let mut builder = Self {
            words: Vec::new(),
            bitmap: vec![0; attributes.div_ceil(8)],
            attributes,
            data_start,
            position: data_start,
            capacity: 0,
            promised: 0,
            has_null: false,
            has_varwidth: false,
            xmin,
        };
        builder.grow(data_start + 1024);
        builder
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        if bytes > LONGEST_FORMED_ROW + MOST_PADDING {
            too_big(bytes).raise();
        }
        let words = bytes.div_ceil(8).next_power_of_two();
        let more = words - self.words.len();
        memory::reserve(&mut self.words, more);
        self.words.resize(words, 0);
        self.capacity = self.words.len() * 8;
    }

    /// Gives back the memory of a huge row.
    pub fn forget_large(&mut self) {
        if self.capacity > LARGE {
            self.words = Vec::new();
            (self.capacity, self.position) = (0, self.data_start);
            self.grow(self.data_start + 1024);
        }
    }

    #[inline]
    fn start(&mut self) -> *mut u8 {
        self.words.as_mut_ptr().cast()
    }

    /// Begins a row whose values, all but those made by functions, take at most `bytes` with their lengths and padding.
    #[inline]
    pub fn begin(&mut self, bytes: usize) {
        self.position = self.data_start;
        self.has_null = false;
        self.has_varwidth = false;
        self.bitmap.fill(0);
        self.promised = bytes;
        self.reserve(0);
    }

    /// Makes room for so many bytes on top of what was promised.
    #[inline]
    fn reserve(&mut self, bytes: usize) {
        let end = self.position + self.promised + bytes;
        if end > self.capacity {
            self.grow(end);
        }
    }

    /// Sets the padding to zero, so that equal rows are equal bytes.
    #[inline]
    fn align(&mut self, alignment: usize) {
        let aligned = self.position.next_multiple_of(alignment);
        let start = self.start();
        while self.position < aligned {
            // As in `put`.
            assert!(self.position < self.capacity);
            // SAFETY: within the buffer, as just checked.
            unsafe { start.add(self.position).write(0) };
            self.position += 1;
        }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        // Every caller has reserved these bytes; a mistake there must not become a write past the end.
        assert!(bytes.len() <= self.capacity - self.position);
        // SAFETY: within the buffer, as just checked; the bytes are not of the buffer.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start().add(self.position), bytes.len()) };
        self.position += bytes.len();
    }

    /// Appends the value of the zero-based `attribute`, which must be called for each in order.
    #[inline(always)]
    pub fn append(&mut self, attribute: usize, layout: AttributeLayout, value: Value<'_>) {
        if let Value::Null = value {
            self.has_null = true;
            return;
        }
        self.bitmap[attribute / 8] |= 1 << (attribute % 8);
        match value {
            Value::Null => {}
            Value::Bits(bits) => self.put_bits(layout, bits),
            Value::Fixed(bytes) => {
                self.align(layout.alignment);
                self.put(bytes);
            }
            Value::Varlena(payload) => {
                self.put_length(layout, payload.len());
                self.put(payload);
            }
            Value::Pieces { head, tail } => {
                self.put_length(layout, head.len() + tail.len());
                self.put(head);
                self.put(tail);
            }
            Value::Numeric { header, digits } => {
                self.put_length(layout, 2 + digits.len());
                self.put_numeric(header, digits);
            }
            Value::Datum(datum) => self.put_datum(layout, datum),
        }
    }

    #[inline]
    fn put_bits(&mut self, layout: AttributeLayout, bits: u64) {
        self.align(layout.alignment);
        match layout.length {
            1 => self.put(&(bits as u8).to_ne_bytes()),
            2 => self.put(&(bits as u16).to_ne_bytes()),
            4 => self.put(&(bits as u32).to_ne_bytes()),
            _ => self.put(&bits.to_ne_bytes()),
        }
    }

    #[inline]
    fn put_numeric(&mut self, header: u16, digits: &[u8]) {
        let (groups, _) = digits.as_chunks::<2>();
        let end = self.position + 2 * (1 + groups.len());
        // As in `put`.
        assert!(end <= self.capacity);
        // SAFETY: within the buffer, as just checked; the digits are not of the buffer.
        unsafe {
            let mut next = self.start().add(self.position).cast::<[u8; 2]>();
            next.write(header.to_ne_bytes());
            for group in groups {
                next = next.add(1);
                next.write(u16::from_be_bytes(*group).to_ne_bytes());
            }
        }
        self.position = end;
    }

    /// Writes the length of a value with that many bytes of content, in one byte where the attribute allows it.
    #[inline]
    fn put_length(&mut self, layout: AttributeLayout, payload: usize) {
        self.has_varwidth = true;
        if layout.packed && payload < LONGEST_SHORT {
            self.put(&[short_length(payload + 1)]);
        } else {
            self.align(layout.alignment);
            self.put(&long_length(payload).to_ne_bytes());
        }
    }

    /// Appends a datum as `fill_val` in `heaptuple.c` does.
    #[inline]
    fn put_datum(&mut self, layout: AttributeLayout, datum: pg_sys::Datum) {
        const PADDING: usize = 8;
        if layout.by_value {
            self.reserve(2 * PADDING);
            self.put_bits(layout, datum.value() as u64);
            return;
        }
        let address = datum.cast_mut_ptr::<u8>();
        match layout.length {
            -1 => {
                // SAFETY: a datum of such a type is a varlena, and the bytes that its length tells are there.
                let (bytes, is_long) = unsafe {
                    let mut address = address;
                    if pgrx::varatt_is_1b_e(address.cast()) {
                        address = pg_sys::pg_detoast_datum(address.cast()).cast();
                    }
                    (
                        std::slice::from_raw_parts(address, pgrx::varsize_any(address.cast())),
                        pgrx::varatt_is_4b_u(address.cast()),
                    )
                };
                self.reserve(bytes.len() + 2 * PADDING);
                if is_long {
                    self.put_length(layout, bytes.len() - 4);
                    self.put(&bytes[4..]);
                } else {
                    // Compressed values keep their long length word, short ones need no alignment.
                    // SAFETY: as above.
                    if !unsafe { pgrx::varatt_is_1b(bytes.as_ptr().cast()) } {
                        self.align(layout.alignment);
                    }
                    self.has_varwidth = true;
                    self.put(bytes);
                }
            }
            -2 => {
                // SAFETY: a datum of such a type is a C string.
                let bytes = unsafe { std::ffi::CStr::from_ptr(address.cast()) }.to_bytes_with_nul();
                self.has_varwidth = true;
                self.reserve(bytes.len() + PADDING);
                self.put(bytes);
            }
            length => {
                // SAFETY: a datum of such a type points to that many bytes.
                let bytes = unsafe { std::slice::from_raw_parts(address, length as usize) };
                self.reserve(bytes.len() + PADDING);
                self.align(layout.alignment);
                self.put(bytes);
            }
        }
    }

    /// Begins a row whose values are stored elsewhere as they are to be stored here. The caller vouches for that: the bitmap has
    /// a bit for each attribute, where one is NULL, and the values are aligned as from their beginning.
    #[inline]
    pub fn take_stored(&mut self, bitmap: Option<&[u8]>, data: &[u8], has_varwidth: bool) {
        self.begin(data.len());
        self.has_varwidth = has_varwidth;
        if let Some(bitmap) = bitmap {
            self.has_null = true;
            let bytes = self.bitmap.len();
            self.bitmap.copy_from_slice(&bitmap[..bytes]);
            // The bits behind the last attribute stay zero, so that equal rows are equal bytes.
            if let Some(last) = self.bitmap.last_mut().filter(|_| !self.attributes.is_multiple_of(8)) {
                *last &= (1 << (self.attributes % 8)) - 1;
            }
        }
        self.put(data);
    }

    /// Returns the values of the row, and a bit for each attribute that is not NULL, where one is.
    pub fn values(&mut self) -> (Option<&[u8]>, &[u8]) {
        let (from, to) = (self.data_start, self.position);
        // SAFETY: the buffer's words up to the position are initialized bytes; nobody else refers to them.
        let bytes = unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast::<u8>(), to) };
        (self.has_null.then_some(self.bitmap.as_slice()), &bytes[from..])
    }

    /// Writes the header and returns the row, header included. The row's own place in the table (`t_ctid`) is still to
    /// be filled in.
    #[inline]
    pub fn finish(&mut self) -> &mut [u8] {
        let header_bytes = if self.has_null { self.data_start } else { ROW_HEADER_BYTES.next_multiple_of(8) };
        let from = self.data_start - header_bytes;
        let mut infomask = XMIN_FROZEN | XMAX_INVALID;
        if self.has_null {
            infomask |= HAS_NULL;
        }
        if self.has_varwidth {
            infomask |= HAS_VARWIDTH;
        }
        let (attributes, xmin) = (self.attributes as u16, self.xmin.into_inner());
        // SAFETY: the buffer's words up to the position are initialized bytes; nobody else refers to them.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.start(), self.position) };
        let row = &mut bytes[from..];
        row[..header_bytes].fill(0);
        row[0..4].copy_from_slice(&xmin.to_ne_bytes());
        row[18..20].copy_from_slice(&attributes.to_ne_bytes());
        row[20..22].copy_from_slice(&infomask.to_ne_bytes());
        row[22] = header_bytes as u8;
        if self.has_null {
            row[ROW_HEADER_BYTES..ROW_HEADER_BYTES + self.bitmap.len()].copy_from_slice(&self.bitmap);
        }
        row
    }
}

#[cfg(target_endian = "little")]
fn short_length(total: usize) -> u8 {
    (total as u8) << 1 | 1
}

#[cfg(target_endian = "big")]
fn short_length(total: usize) -> u8 {
    total as u8 | 0x80
}

/// Returns the length word of a value with that many bytes of content.
#[inline]
pub fn long_length(payload: usize) -> u32 {
    if payload > LONGEST_PAYLOAD {
        refuse_long_value(payload);
    }
    let total = (payload + VARHDRSZ) as u32;
    if cfg!(target_endian = "little") { total << 2 } else { total }
}

#[cold]
fn refuse_long_value(payload: usize) -> ! {
    Error::new(
        PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        format!("value is too long: {payload} bytes, at most {LONGEST_PAYLOAD} are possible"),
    )
    .raise()
}

/// Returns the server's error for a row that does not fit into a page.
#[cold]
pub fn too_big(bytes: usize) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        format!("row is too big: size {bytes}, maximum size {LONGEST_FORMED_ROW}"),
    )
}
