//! Rows out of the frames that another pgcopy has put them in.

use crate::error::{Error, Result};
use copystream::{BinaryStream, StreamError};
use frames::{Codec, Decoder, Form, FrameError, LONGEST_FRAME};
use pgrx::prelude::*;

/// What has arrived in frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Framed {
    /// The bytes that have travelled.
    pub wire_bytes: u64,
    /// The bytes of the rows, for each codec.
    pub by_codec: [u64; Codec::ALL.len()],
}

impl Framed {
    /// Returns the codec of the most bytes.
    pub fn codec(&self) -> Codec {
        Codec::ALL.into_iter().max_by_key(|codec| self.by_codec[*codec as usize]).unwrap_or(Codec::None)
    }
}

impl std::ops::AddAssign for Framed {
    fn add_assign(&mut self, other: Self) {
        self.wire_bytes += other.wire_bytes;
        self.by_codec.iter_mut().zip(other.by_codec).for_each(|(sum, bytes)| *sum += bytes);
    }
}

/// The stream of one COPY whose rows are frames.
pub(super) struct FramedStream {
    /// Finds the frames.
    copy: BinaryStream,
    decoder: Decoder,
    arrived: Framed,
}

/// The number of fields and the length of the one that there is.
const ROW_OVERHEAD: usize = 2 + 4;

impl FramedStream {
    pub(super) fn new(form: Form) -> Self {
        let copy = BinaryStream::of_short_rows(1, LONGEST_FRAME + ROW_OVERHEAD);
        Self { copy, decoder: Decoder::new(form), arrived: Framed::default() }
    }

    /// Takes a chunk, and calls `on_data` with what the frames hold that it completes.
    pub(super) fn take(&mut self, chunk: &[u8], on_data: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.arrived.wire_bytes += chunk.len() as u64;
        let Self { copy, decoder, arrived } = self;
        let taken = copy.feed(chunk, |mut row| {
            let frame = row.next_field().ok_or(FrameError::NoFrame)?;
            let opened = decoder.open(frame)?;
            arrived.by_codec[opened.codec as usize] += opened.piece.len() as u64;
            if opened.piece.is_empty() { Ok(()) } else { on_data(opened.piece).map_err(TakeError::Other) }
        });
        taken.map_err(|error| match error {
            TakeError::Stream(error) => error.into(),
            TakeError::Frame(error) => refusal(&error),
            TakeError::Other(error) => error,
        })
    }

    pub(super) fn arrived(&self) -> Framed {
        self.arrived
    }

    /// # Errors
    /// The stream has ended before its end.
    pub(super) fn finish(&self) -> Result<()> {
        self.copy.finish()?;
        self.decoder.finish().map(drop).map_err(|error| refusal(&error))
    }

    /// Returns the number of rows that the source says it sent. `frames` is the number of frames that COPY has counted.
    pub(super) fn rows(&self, frames: u64) -> Result<u64> {
        let arrived = u64::from(self.decoder.frames());
        if arrived != frames {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION,
                format!("the source sent {frames} frames but {arrived} have arrived"),
            ));
        }
        self.decoder.finish().map_err(|error| refusal(&error))
    }
}

enum TakeError {
    Stream(StreamError),
    Frame(FrameError),
    Other(Error),
}

impl From<StreamError> for TakeError {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl From<FrameError> for TakeError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

fn refusal(error: &FrameError) -> Error {
    let sqlstate = match error {
        FrameError::OutOfMemory { .. } => PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
        FrameError::TooLong { .. } => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        FrameError::Body { .. } | FrameError::Checksum { .. } => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        _ => PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION,
    };
    Error::new(sqlstate, error.to_string())
}
