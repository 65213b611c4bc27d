//! The file of a script: found, opened, and read from its beginning to its end.

use super::unpacked::{MakeDecoder, Unpacked};
use crate::error::{Error, Result};
use crate::local::{interrupts, memory};
use crate::order::ScriptText;
use crate::parquet::data_files::{DataFile, RandomAccess, error_of};
use crate::parquet::store::Store;
use dumpscript::{Compression, FIRST_BYTES, Format};
use pgrx::prelude::*;
use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// The file of a script.
pub struct ScriptFile {
    /// The name for people.
    pub name: String,
    /// The size of the file, compressed as it is.
    pub bytes: u64,
    text: Box<dyn Read>,
    /// Bytes of the script that were read to see what it is.
    first: Vec<u8>,
    /// How much of the file was read.
    position: Rc<Cell<u64>>,
    /// Set where the script can be read at any position: it is a file of this machine as it is.
    in_place: Option<ScriptText>,
    is_compressed: bool,
    buffer: Vec<u8>,
}

/// The bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Checks whether the caller may read the file, and returns its name for people.
pub fn check_path(path: &str, server: Option<&str>) -> Result<String> {
    Store::resolve(&[path.to_owned()], server)?;
    Store::name_of(path)
}

impl ScriptFile {
    /// Finds the file of a server's path or of a URL, and opens it.
    ///
    /// # Errors
    /// The caller may not read it, or it is no script, as far as its first bytes tell.
    pub fn open(path: &str, server: Option<&str>) -> Result<Self> {
        let paths = [path.to_owned()];
        let store = Store::resolve(&paths, server)?;
        if path.starts_with('/') && Path::new(path).is_dir() {
            return Err(directory(path));
        }
        let mut files = store.find(&paths)?;
        let (Some(file), true) = (files.pop(), files.is_empty()) else {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("\"{}\" means more than one file", Store::name_of(path)?),
            )
            .hint("Load one script after the other."));
        };
        let position = Rc::new(Cell::new(0));
        let mut raw = Raw {
            source: store.open(&file)?,
            file: file.clone(),
            position: Rc::clone(&position),
            chunk: Vec::new(),
            used: 0,
        };
        let beginning = raw.fill_buf().map_err(|error| error_of(&file.name, &error))?;
        let compression = Compression::of(beginning);
        let is_compressed = !matches!(compression, Compression::None);
        let is_local = path.starts_with('/');
        let in_place =
            (is_local && !is_compressed).then(|| ScriptText::File { store: Box::new(store), file: file.clone() });
        let unpacked = |raw: Raw, make_decoder: MakeDecoder| -> Result<Box<dyn Read>> {
            let started = Unpacked::start(raw, make_decoder);
            Ok(Box::new(started.map_err(|error| error_of(&file.name, &error))?))
        };
        let text: Box<dyn Read> = match compression {
            Compression::None => Box::new(raw),
            Compression::Gzip => unpacked(raw, |packed| Ok(Box::new(super::gzip::Members::new(packed))))?,
            Compression::Zstd => {
                unpacked(raw, |packed| Ok(Box::new(zstd::stream::read::Decoder::with_buffer(packed)?)))?
            }
            Compression::Other(name) => {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    format!("file \"{}\" is compressed with {name}", file.name),
                )
                .hint("Scripts are read as they are, or compressed with gzip or zstd."));
            }
        };
        let mut script = Self {
            name: file.name,
            bytes: file.bytes,
            text,
            first: Vec::new(),
            position,
            in_place,
            is_compressed,
            buffer: Vec::new(),
        };
        script.look_at_beginning()?;
        Ok(script)
    }

    fn look_at_beginning(&mut self) -> Result<()> {
        let mut first = vec![0; FIRST_BYTES];
        let mut length = 0;
        while length < first.len() {
            match self.read_some(&mut first, length)? {
                0 => break,
                read => length += read,
            }
        }
        first.truncate(length);
        self.refuse_other_formats(&first)?;
        self.first = first;
        Ok(())
    }

    fn read_some(&mut self, buffer: &mut [u8], from: usize) -> Result<usize> {
        loop {
            interrupts::check();
            match self.text.read(&mut buffer[from..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome.map_err(|error| self.unreadable(&error)),
            }
        }
    }

    fn unreadable(&self, error: &io::Error) -> Error {
        let told = error_of(&self.name, error);
        // The words of the library, whose errors have no codes here.
        if self.is_compressed && told.message.ends_with("Frame requires too much memory for decoding") {
            return told.hint(
                "It was compressed with a window of more than 128 MB, as by zstd --long=31. Decompress it first.",
            );
        }
        told
    }

    fn refuse_other_formats(&self, first: &[u8]) -> Result<()> {
        if self.is_compressed && Compression::of(first) != Compression::None {
            let message = format!("file \"{}\" is compressed twice", self.name);
            return Err(Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message).hint("Decompress it once."));
        }
        let (what, hint) = match Format::of(first) {
            Format::Plain => return Ok(()),
            Format::Custom => ("a dump of pg_dump in the custom format", PG_RESTORE),
            Format::Tar => ("a tar archive, as pg_dump writes it in the tar format", PG_RESTORE),
            Format::MySql => (
                "a dump of MySQL or MariaDB",
                "Its statements are not PostgreSQL's. Convert the database with a tool for that, such as pgloader, and load the result.",
            ),
            Format::Sqlite => (
                "a dump of SQLite",
                "Its statements are not PostgreSQL's. Convert the database with a tool for that, such as pgloader, and load the result.",
            ),
            Format::Utf16 => (
                "a text in UTF-16",
                "PowerShell writes it for > and |. Have pg_dump write the file itself: pg_dump -f dump.sql",
            ),
        };
        Err(Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, format!("file \"{}\" is {what}", self.name))
            .detail("A script in plain SQL, as pg_dump writes it by default, is needed.")
            .hint(hint))
    }

    /// Returns the next bytes of the script; none at its end.
    pub fn next_chunk(&mut self) -> Result<&[u8]> {
        if !self.first.is_empty() {
            self.buffer = std::mem::take(&mut self.first);
            return Ok(&self.buffer);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.len() < CHUNK_BYTES {
            buffer.clear();
            memory::reserve(&mut buffer, CHUNK_BYTES);
            buffer.resize(CHUNK_BYTES, 0);
        }
        let length = self.read_some(&mut buffer, 0);
        self.buffer = buffer;
        Ok(&self.buffer[..length?])
    }

    /// Returns the script as others can read it at any position, where they can.
    pub fn in_place(&self) -> Option<&ScriptText> {
        self.in_place.as_ref()
    }

    /// Returns about how long the script is.
    pub fn length_of_text(&self) -> u64 {
        const USUAL_RATIO: u64 = 5;
        if self.is_compressed { self.bytes.saturating_mul(USUAL_RATIO) } else { self.bytes }
    }

    /// How much of the file was read.
    pub fn position(&self) -> u64 {
        self.position.get()
    }
}

const PG_RESTORE: &str = "pg_restore makes a script of it: pg_restore -f script.sql FILE";

fn directory(path: &str) -> Error {
    let contents = ["toc.dat", "toc.dat.gz"].iter().any(|name| Path::new(path).join(name).is_file());
    let error = Error::new(
        PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        format!("\"{path}\" is {}", if contents { "a dump of pg_dump in the directory format" } else { "a directory" }),
    );
    if contents {
        error
            .detail("A script in plain SQL, as pg_dump writes it by default, is needed.")
            .hint("pg_restore makes a script of it: pg_restore -f script.sql DIRECTORY")
    } else {
        error
    }
}

/// The bytes of a file, from its beginning on.
pub(super) struct Raw {
    source: Arc<dyn RandomAccess>,
    file: DataFile,
    position: Rc<Cell<u64>>,
    chunk: Vec<u8>,
    used: usize,
}

impl Raw {
    /// Returns the bytes that come next; none at the end.
    pub(super) fn take_part(&mut self) -> io::Result<Vec<u8>> {
        self.fill_buf()?;
        let mut part = std::mem::take(&mut self.chunk);
        part.drain(..std::mem::take(&mut self.used));
        Ok(part)
    }
}

impl BufRead for Raw {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.chunk.len() {
            interrupts::check();
            let left = self.file.bytes - self.position.get();
            let length = left.min(CHUNK_BYTES as u64) as usize;
            self.used = 0;
            self.chunk.clear();
            if length > 0 {
                let bytes = self.source.read(self.position.get(), length)?;
                self.chunk.extend_from_slice(&bytes);
                self.position.set(self.position.get() + length as u64);
            }
        }
        Ok(&self.chunk[self.used..])
    }

    fn consume(&mut self, length: usize) {
        self.used = (self.used + length).min(self.chunk.len());
    }
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

/// Reads what lies in the buffer of a reader, after it was filled where it was empty.
pub(super) fn read_buffered(reader: &mut impl BufRead, to: &mut [u8]) -> io::Result<usize> {
    let available = reader.fill_buf()?;
    let length = available.len().min(to.len());
    to[..length].copy_from_slice(&available[..length]);
    reader.consume(length);
    Ok(length)
}
