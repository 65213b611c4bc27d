//! The way that rows travel: as COPY sends them, or in frames that pgcopy on the source compresses.

use super::{From, Prepared};
use crate::error::{Error, Result};
use crate::source::{self, Session, Transport, WireSupport};
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
    /// Decides how the rows travel.
    ///
    /// # Errors
    /// A codec is named, and the source does not compress.
    pub(super) fn choose_transport(&mut self, compress: &str) -> Result<Transport> {
        let From::Server(side) = &self.from else { return Ok(Transport::Copy) };
        let (transport, notice) = transport_of(&side.session, compress)?;
        self.notices.extend(notice);
        Ok(transport)
    }
}

/// Decides how the rows of a source travel: as they are, unless a codec is named, where it is on this machine. Returns also what is
/// to be told.
///
/// # Errors
/// A codec is named, and the source does not compress.
pub(super) fn transport_of(session: &Session, compress: &str) -> Result<(Transport, Option<String>)> {
    let compress = Compress::parse(compress)?;
    if compress == Compress::None || compress == Compress::Auto && session.is_on_this_machine()? {
        return Ok((Transport::Copy, None));
    }
    match (compress, source::read_wire_support(session)?) {
        (Compress::Named(codec), WireSupport::There) => Ok((Transport::Frames(Compression::Named(codec)), None)),
        (_, WireSupport::There) => Ok((Transport::Frames(Compression::Auto), None)),
        (Compress::Named(codec), WireSupport::Lacking(reason)) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("the source cannot compress rows with {}", codec.name()),
        )
        .detail(reason)
        .hint(format!("{WAYS_OUT}, and leave out \"compress\"."))),
        (_, WireSupport::Lacking(reason)) => {
            let reason = reason.trim_end_matches('.');
            let reason = reason.strip_prefix("The ").map_or_else(|| reason.to_owned(), |rest| format!("the {rest}"));
            Ok((Transport::Copy, Some(format!("the source does not compress the rows: {reason}"))))
        }
    }
}
