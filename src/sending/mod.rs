//! Rows of this server for a pgcopy elsewhere: in frames, each compressed by itself.

mod encode;
pub mod masks;

use crate::error::{Error, Result};
use crate::local::stepped_query::SteppedQuery;
use crate::local::{encoding, memory, settings, spi};
use crate::storage::stored_rows::StoredRows;
use encode::RowEncoder;
use frames::{Adaptive, Compression, Encoder, Form, LONGEST_PIECE, PIECE_BYTES, Sent, Timing};
use pgrx::prelude::*;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// The wire versions that this server speaks, the newest last.
pub const WIRE_VERSIONS: [i32; 1] = [frames::VERSION as i32];

/// What is asked for.
pub struct Request {
    pub wire: i32,
    pub query: String,
    pub form: String,
    pub codec: String,
}

thread_local! {
    /// What was learned of the link and of the codecs. A session sends the parts of many tables, one after the other.
    static ADAPTIVE: RefCell<Adaptive> = RefCell::default();
}

/// The rows of a part of a table that are asked for as they are stored.
pub struct StoredRequest {
    pub wire: i32,
    pub table: String,
    pub columns: Vec<String>,
    /// The pages, whose end is that of the table where there are fewer.
    pub pages: std::ops::Range<u32>,
    pub codec: String,
}

/// Where rows come from.
enum Rows {
    Query { query: SteppedQuery, encoder: RowEncoder },
    Stored(Box<StoredRows>),
}

/// The frames of a query's or a table's rows, one for each call.
pub struct Frames {
    rows: Rows,
    encoder: Encoder,
    compression: Compression,
    /// The stream as far as it was made and has not left.
    made: Vec<u8>,
    /// The position of what has not left.
    start: usize,
    /// The rows that end in `made`.
    made_rows: u64,
    is_at_end: bool,
    has_ended: bool,
    /// The frame before, without the time that it took to leave, and the moment at which it was given away.
    given: Option<(Sent, Instant)>,
}

/// A buffer of more bytes is freed when the row that needed it has left.
const LARGE: usize = 2 * LONGEST_PIECE;

/// The level of Zstandard: higher ones take longer than the links that pulls go over.
const ZSTD_LEVEL: i32 = 3;

impl Frames {
    /// Starts the query.
    ///
    /// # Errors
    /// The request is for what this server does not know, or the query is not one that only reads.
    pub fn start(call: pg_sys::FunctionCallInfo, request: &Request) -> Result<Self> {
        refuse_unknown_version(request.wire)?;
        let form = Form::parse(&request.form).ok_or_else(|| unknown("form", &request.form))?;
        let compression = Compression::parse(&request.codec).ok_or_else(|| unknown("codec", &request.codec))?;
        let query = SteppedQuery::start(call, &request.query)?;
        let encoder = RowEncoder::of(form, &query.columns())?;
        let mut made = Vec::new();
        encoder.begin(&mut made);
        Ok(Self::of(Rows::Query { query, encoder }, form, compression, made))
    }

    /// Prepares to read a table.
    ///
    /// # Errors
    /// The request is for what this server does not know, or the current user may not have it.
    pub fn start_stored(request: &StoredRequest) -> Result<Self> {
        refuse_unknown_version(request.wire)?;
        let compression = Compression::parse(&request.codec).ok_or_else(|| unknown("codec", &request.codec))?;
        let rows = StoredRows::open(&request.table, &request.columns, request.pages.clone())?;
        Ok(Self::of(Rows::Stored(Box::new(rows)), Form::Heap, compression, Vec::new()))
    }

    fn of(rows: Rows, form: Form, compression: Compression, mut made: Vec<u8>) -> Self {
        memory::reserve(&mut made, PIECE_BYTES + PIECE_BYTES / 4);
        Self {
            rows,
            encoder: Encoder::new(form),
            compression,
            made,
            start: 0,
            made_rows: 0,
            is_at_end: false,
            has_ended: false,
            given: None,
        }
    }

    /// Makes rows until there are enough for a frame, or no more.
    fn make(&mut self) {
        let Self { rows, made, made_rows, .. } = self;
        let has_more = match rows {
            Rows::Query { query, encoder } => query.step(&mut |row| {
                encoder.encode(row, made)?;
                *made_rows += 1;
                Ok(made.len() < PIECE_BYTES)
            }),
            Rows::Stored(stored) => {
                let (count, has_more) = stored.read(PIECE_BYTES, made);
                *made_rows += count;
                has_more
            }
        };
        if !has_more {
            if let Rows::Query { encoder, .. } = rows {
                encoder.end(made);
            }
            self.is_at_end = true;
        }
    }

    fn next_frame(&mut self) -> Vec<u8> {
        let begun = Instant::now();
        let sending = self.given.map_or(Duration::ZERO, |(_, at)| begun - at);
        if !self.is_at_end && self.made.len() - self.start < PIECE_BYTES {
            // What has not left is the end of a long row.
            self.made.drain(..self.start);
            self.start = 0;
            self.make();
        }
        let making = begun.elapsed();
        let end = self.made.len().min(self.start + LONGEST_PIECE);
        let empties = end == self.made.len();
        // A row that is longer than a piece ends with its last one.
        let rows = if empties { std::mem::take(&mut self.made_rows) } else { 0 };
        self.has_ended = empties && self.is_at_end;
        let (piece, encoder) = (&self.made[self.start..end], &mut self.encoder);
        let choice = match self.compression {
            Compression::Named(codec) => (codec, ZSTD_LEVEL),
            Compression::Auto => ADAPTIVE.with_borrow_mut(|adaptive| {
                if let Some((sent, _)) = self.given {
                    adaptive.note(Sent { sending: sending.as_secs_f64(), ..sent }, |choice| {
                        let begun = Instant::now();
                        (encoder.try_codec(choice, piece), begun.elapsed().as_secs_f64())
                    });
                }
                adaptive.choice()
            }),
        };
        let mut frame = Vec::new();
        memory::reserve(&mut frame, frames::LONGEST_FRAME.min(piece.len() + piece.len() / 64 + 1024));
        let timing = Timing { making: micros(making), waiting: micros(sending) };
        let begun = Instant::now();
        encoder.encode(piece, rows, self.has_ended, choice, timing, &mut frame);
        let sent = Sent {
            piece: piece.len(),
            frame: frame.len(),
            making: making.as_secs_f64(),
            compressing: begun.elapsed().as_secs_f64(),
            sending: 0.0,
        };
        if empties {
            if self.made.capacity() > LARGE {
                self.made = Vec::new();
            }
            self.made.clear();
            self.start = 0;
        } else {
            self.start = end;
        }
        self.given = Some((sent, Instant::now()));
        frame
    }
}

impl Iterator for Frames {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        (!self.has_ended).then(|| self.next_frame())
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, format!("{what} \"{name}\" not recognized"))
}

fn refuse_unknown_version(wire: i32) -> Result<()> {
    if WIRE_VERSIONS.contains(&wire) {
        return Ok(());
    }
    let known = WIRE_VERSIONS.map(|version| version.to_string()).join(", ");
    Err(Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, format!("wire version {wire} is not known"))
        .detail(format!("Known versions: {known}.")))
}

/// Describes what the form of stored rows depends on. Rows of a server can be stored by another one as they are where the
/// descriptions are equal: the major version, the order of bytes, the size of pages, the encoding, and the methods of
/// compression.
pub fn stored_form() -> Result<String> {
    const FORM: u32 = 1;
    let methods = spi::fixed::query_text(
        "SELECT array_to_string(enumvals, ',') FROM pg_settings WHERE name = 'default_toast_compression'",
        &[],
    )?;
    Ok(format!(
        "form {FORM}, PostgreSQL {}, {}-endian, pages of {}, {}, {}",
        settings::version() / 10_000,
        if cfg!(target_endian = "little") { "little" } else { "big" },
        pg_sys::BLCKSZ,
        encoding::database_name(),
        methods.unwrap_or_default()
    ))
}
