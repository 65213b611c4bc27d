//! The way that rows travel: as COPY sends them, or in frames that pgcopy on the source compresses.

use super::{From, Prepared};
use crate::error::{Error, Result};
use crate::source::{self, Transport, WireSupport};
use frames::{Codec, Compression};
use pgrx::prelude::*;

/// What a call says of compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compress {
    None,
    Auto,
    Named(Codec),
}

impl Compress {
    const NAMES: &str = "none, auto, gzip, lz4, zstd";

    pub(super) fn parse(name: &str) -> Result<Self> {
        match Compression::parse(name) {
            Some(Compression::Auto) => Ok(Self::Auto),
            Some(Compression::Named(Codec::None)) => Ok(Self::None),
            Some(Compression::Named(codec)) => Ok(Self::Named(codec)),
            None => Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"compress\": \"{name}\""),
            )
            .hint(format!("Available values: {}.", Self::NAMES))),
        }
    }
}

/// The two ways to bytes that are fewer.
const WAYS_OUT: &str =
    "Install this version of pgcopy on the source, or connect through a tunnel that compresses, such as ssh -C";

impl Prepared {
    /// Decides how the rows travel. A source on this machine sends them as they are, unless a codec is named.
    ///
    /// # Errors
    /// A codec is named, and the source does not compress.
    pub(super) fn choose_transport(&mut self, compress: &str) -> Result<Transport> {
        let From::Server(side) = &self.from else { return Ok(Transport::Copy) };
        let compress = Compress::parse(compress)?;
        if compress == Compress::None || compress == Compress::Auto && side.session.is_on_this_machine()? {
            return Ok(Transport::Copy);
        }
        match (compress, source::read_wire_support(&side.session)?) {
            (Compress::Named(codec), WireSupport::There) => Ok(Transport::Frames(Compression::Named(codec))),
            (_, WireSupport::There) => Ok(Transport::Frames(Compression::Auto)),
            (Compress::Named(codec), WireSupport::Lacking(reason)) => Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("the source cannot compress rows with {}", codec.name()),
            )
            .detail(reason)
            .hint(format!("{WAYS_OUT}, and leave out \"compress\"."))),
            (_, WireSupport::Lacking(reason)) => {
                let reason = reason.trim_end_matches('.');
                let reason =
                    reason.strip_prefix("The ").map_or_else(|| reason.to_owned(), |rest| format!("the {rest}"));
                self.notices.push(format!("the source does not compress the rows: {reason}"));
                Ok(Transport::Copy)
            }
        }
    }
}
