use crate::Limits;
use crate::error::{Error, Result, malformed, too_large};
use crate::metadata;
use crate::source::{self, Source};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

const MAGIC: &[u8; 4] = b"PAR1";
const MAGIC_OF_ENCRYPTED: &[u8; 4] = b"PARE";
/// The length of the footer, and the magic.
const TAIL: usize = 8;
/// Read at first: most footers are shorter.
const FIRST_READ: u64 = 64 << 10;

/// Reads and checks what a file says of itself. Statistics and histograms are left out: of the statistics of old writers
/// some are invalid, and no value is read by them.
///
/// What is returned is consistent: every row group has a chunk of every column, of the type of the schema, which lies
/// within the file, and as many rows as the file is said to have, if it is said to have any. Annotations of the schema go
/// with the types that they are on.
pub fn read_metadata(source: &dyn Source, limits: &Limits) -> Result<ParquetMetaData> {
    let length = source.length();
    if length < (MAGIC.len() + TAIL) as u64 {
        return Err(Error::NotParquet);
    }
    let read = length.min(FIRST_READ);
    let mut end = source::read(source, length - read, read as usize)?;
    let tail = end.split_off(end.len() - TAIL);
    let footer_length = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]) as usize;
    match &tail[4..] {
        magic if magic == MAGIC => {}
        magic if magic == MAGIC_OF_ENCRYPTED => return Err(Error::Encrypted),
        _ if source::read(source, 0, MAGIC.len())?[..] == MAGIC[..] => {
            return malformed("the file does not end as a Parquet file does");
        }
        _ => return Err(Error::NotParquet),
    }
    let data_end = match length.checked_sub((footer_length + TAIL) as u64) {
        Some(start) if start >= MAGIC.len() as u64 => start,
        _ => return malformed(format!("a footer of {footer_length} bytes does not fit into {length} bytes")),
    };
    if footer_length > limits.footer_bytes {
        return too_large(format!("the footer has {footer_length} bytes, more than {}", limits.footer_bytes));
    }
    let footer = match end.len().checked_sub(footer_length) {
        Some(start) => end.slice(start..),
        None => source::read(source, data_end, footer_length)?,
    };

    let metadata = metadata::decode(&footer, limits)?;
    check(&metadata, data_end)?;
    Ok(metadata)
}

fn check(metadata: &ParquetMetaData, data_end: u64) -> Result<()> {
    let mut total = 0_i64;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows();
        total = match total.checked_add(rows) {
            Some(total) if rows >= 0 => total,
            _ => return malformed(format!("row group {}: {rows} rows", index + 1)),
        };
        for column in group.columns() {
            check_chunk(column, rows, data_end)
                .map_err(|error| error.at(format_args!("row group {}: column {}", index + 1, column.column_path())))?;
        }
    }
    let said = metadata.file_metadata().num_rows();
    if said != total {
        return malformed(format!("the file is said to have {said} rows, but its row groups have {total}"));
    }
    Ok(())
}

fn check_chunk(column: &ColumnChunkMetaData, rows: i64, data_end: u64) -> Result<()> {
    let values = column.num_values();
    // A row of a repeated column has any number of values, and one that stands for an empty list at least.
    let possible = if column.column_descr().max_rep_level() == 0 { values == rows } else { values >= rows };
    if !possible {
        return malformed(format!("{values} values for {rows} rows"));
    }
    chunk_range(column, data_end).map(drop)
}

/// Where the pages of a column chunk begin, and how many bytes they have.
pub(crate) fn chunk_range(column: &ColumnChunkMetaData, data_end: u64) -> Result<(u64, u64)> {
    if column.file_path().is_some_and(|path| !path.is_empty()) {
        return Err(Error::Unsupported("the data is stored in another file".into()));
    }
    let (data, size) = (column.data_page_offset(), column.compressed_size());
    let start = match column.dictionary_page_offset() {
        Some(dictionary) if dictionary < data => dictionary,
        _ => data,
    };
    let (Ok(start), Ok(size)) = (u64::try_from(start), u64::try_from(size)) else {
        return malformed(format!("pages of {size} bytes at offset {start}"));
    };
    if column.num_values() == 0 {
        // There may be a dictionary all the same, or the offset of a page that there is not.
        return Ok((start, 0));
    }
    match start.checked_add(size) {
        Some(end) if start >= MAGIC.len() as u64 && end <= data_end => Ok((start, size)),
        _ => malformed(format!("pages of {size} bytes at offset {start} of {data_end} bytes")),
    }
}
