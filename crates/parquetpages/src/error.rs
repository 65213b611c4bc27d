use parquet::errors::ParquetError;
use std::fmt;
use std::io;

/// Why a file cannot be read.
#[derive(Debug)]
pub enum Error {
    /// The source failed.
    Io(io::Error),
    /// The source was told to stop: it returned [`io::ErrorKind::Interrupted`].
    Interrupted,
    /// The file contradicts itself or the format.
    Malformed(String),
    /// The file neither begins nor ends as a Parquet file does.
    NotParquet,
    /// The file, or a column of it, is encrypted.
    Encrypted,
    /// The file may be valid, but what it uses is not supported.
    Unsupported(String),
    /// The file may be valid, but asks for more than [`Limits`](crate::Limits) allow.
    TooLarge(String),
    /// The process cannot have the memory.
    OutOfMemory(String),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The same error, told to be about a place in the file.
    pub(crate) fn at(self, place: impl fmt::Display) -> Error {
        match self {
            Error::Malformed(what) => Error::Malformed(format!("{place}: {what}")),
            Error::Unsupported(what) => Error::Unsupported(format!("{place}: {what}")),
            Error::TooLarge(what) => Error::TooLarge(format!("{place}: {what}")),
            Error::OutOfMemory(what) => Error::OutOfMemory(format!("{place}: {what}")),
            other => other,
        }
    }
}

pub(crate) fn malformed<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Malformed(what.into()))
}

pub(crate) fn too_large<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::TooLarge(what.into()))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => error.fmt(f),
            Error::Interrupted => f.write_str("reading was interrupted"),
            Error::NotParquet => f.write_str("the file is not a Parquet file"),
            Error::Encrypted => f.write_str("the file is encrypted"),
            Error::Malformed(what) | Error::Unsupported(what) | Error::TooLarge(what) | Error::OutOfMemory(what) => {
                f.write_str(what)
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::Interrupted { Error::Interrupted } else { Error::Io(error) }
    }
}

impl From<Error> for ParquetError {
    fn from(error: Error) -> Self {
        ParquetError::External(Box::new(error))
    }
}

/// An error of this crate comes back as it was; one of the decoders says that the file is malformed.
impl From<ParquetError> for Error {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(inner) => match inner.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Error::Malformed(other.to_string()),
            },
            ParquetError::NYI(what) => Error::Unsupported(what),
            ParquetError::General(what) | ParquetError::EOF(what) | ParquetError::ArrowError(what) => {
                Error::Malformed(what)
            }
            other => Error::Malformed(other.to_string()),
        }
    }
}
