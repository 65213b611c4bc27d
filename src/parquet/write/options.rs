//! The options of COPY TO a Parquet file.

use crate::error::{Error, Result};
use crate::parquet::copy_hook::not_recognized;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use pgrx::prelude::*;

pub struct WriteOptions {
    pub compression: Compression,
    /// A row group ends when it has that many rows or that many bytes.
    pub row_group_rows: usize,
    /// Bytes as encoded and compressed.
    pub row_group_bytes: usize,
}

const DEFAULT_ROW_GROUP_ROWS: usize = 122_880;
const DEFAULT_ROW_GROUP_BYTES: usize = 64 << 20;

impl WriteOptions {
    pub const NAMES: [&str; 4] = ["codec", "compression_level", "row_group_rows", "row_group_bytes"];

    /// Reads options, whose names are among [`Self::NAMES`], each once.
    pub fn parse(options: &[(&str, &str)]) -> Result<Self> {
        let option = |name| options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value);
        let count = |name, default| match option(name) {
            None => Ok(default),
            Some(text) => size(text)
                .filter(|size| *size > 0)
                .ok_or_else(|| invalid(format!("argument to option \"{name}\" must be a positive integer"))),
        };
        Ok(Self {
            compression: compression(option("codec").unwrap_or("zstd"), option("compression_level"))?,
            row_group_rows: match option("row_group_rows") {
                Some(text) if text.parse::<usize>().is_err() => {
                    return Err(invalid("argument to option \"row_group_rows\" must be a positive integer".into()));
                }
                _ => count("row_group_rows", DEFAULT_ROW_GROUP_ROWS)?,
            },
            row_group_bytes: count("row_group_bytes", DEFAULT_ROW_GROUP_BYTES)?,
        })
    }
}

fn compression(codec: &str, level: Option<&str>) -> Result<Compression> {
    let level = match level {
        None => None,
        Some(text) => Some(
            text.parse::<i32>()
                .map_err(|_| invalid("argument to option \"compression_level\" must be an integer".into()))?,
        ),
    };
    let (compression, levels) = match codec {
        "uncompressed" => (Compression::UNCOMPRESSED, None),
        "snappy" => (Compression::SNAPPY, None),
        "lz4_raw" => (Compression::LZ4_RAW, None),
        "gzip" => {
            let level = level.and_then(|level| GzipLevel::try_new(level.try_into().ok()?).ok());
            (Compression::GZIP(level.unwrap_or_default()), Some(0..=9))
        }
        "brotli" => {
            let level = level.and_then(|level| BrotliLevel::try_new(level.try_into().ok()?).ok());
            (Compression::BROTLI(level.unwrap_or_default()), Some(0..=11))
        }
        "zstd" => {
            let level = level.and_then(|level| ZstdLevel::try_new(level).ok());
            (Compression::ZSTD(level.unwrap_or_default()), Some(1..=22))
        }
        other => {
            return Err(not_recognized("codec", other)
                .hint("The codecs are uncompressed, snappy, gzip, brotli, lz4_raw and zstd."));
        }
    };
    match (level, levels) {
        (None, _) => Ok(compression),
        (Some(level), Some(levels)) if levels.contains(&level) => Ok(compression),
        (Some(_), Some(levels)) => Err(invalid(format!(
            "argument to option \"compression_level\" must be between {} and {} for codec \"{codec}\"",
            levels.start(),
            levels.end()
        ))),
        (Some(_), None) => Err(invalid(format!("codec \"{codec}\" has no compression levels"))),
    }
}

/// Reads a number of bytes, in the units of the server's memory settings.
fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: usize = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim_start() {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

fn invalid(message: String) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
}
