use crate::Limits;
use crate::codec::Codec;
use crate::delta::{self, Prefixed};
use crate::error::{Error, Result, malformed, too_large};
use crate::footer::chunk_range;
use crate::header::{Content, Dictionary, Header};
use crate::records::{self, Records};
use crate::source::{self, Source};
use crate::window::Window;
use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescPtr;
use std::sync::{Arc, Mutex};

mod repair;

/// The pages of one column chunk, decompressed.
///
/// Every page that is returned has the declared number of bytes, which are those of the checksum if there is one, no more
/// values than the chunk has left, and levels that fit into it; a dictionary has room for as many values as it is said to
/// have; the byte arrays of a page are not more than its values, and when whole not larger than a page may be; and no row
/// of a repeated column is longer than [`Limits`] allow. Pages without values are passed over: the decoders take one for
/// the end. The end comes when all values of the chunk were seen; if its bytes end before, that is an error.
///
/// What a batch of rows takes is for its reader to bound, which [`Batches`](crate::Batches) does by the [`Demand`] of each
/// page. A byte array of the dictionary may be as large as a page, and be repeated in every row for a few bits: read it as a
/// view, which refers to the dictionary, and not as a copy. Nulls of a fixed-length type take its length in every row. And
/// lists may have `record_values` values in every row.
pub struct ColumnPages {
    window: Window,
    codec: Codec,
    limits: Limits,
    column: ColumnDescPtr,
    values: u64,
    /// Of them, those not yet seen.
    values_left: u64,
    records: Records,
    peeked: Option<Found>,
    dictionary: Place,
    demand: Demand,
    /// Whether the first value of a DELTA_BYTE_ARRAY page may begin with bytes of the last one of the page before.
    pages_go_on: bool,
    /// That value. Nothing where there is no such page, and where it was not read.
    last_value: Vec<u8>,
    reports: Option<Reports>,
}

/// What the values of a page become when they are read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Demand {
    /// Nulls included.
    pub values: u64,
    /// The values that a row has at most, as far as it lies in the page.
    pub longest_row: u64,
    /// The bytes that a value has at most which is not a part of the page, and those of all such values.
    pub copied_bytes: u64,
    pub all_copied_bytes: u64,
    /// Bytes that are held as long as the page is: its own, and those that its decoder takes at once.
    pub held_bytes: u64,
}

/// A header of a dictionary has so many bytes at most.
const DICTIONARY_HEADER: u64 = 100;

/// Memory for less is there, or the process is at its end anyway.
const ASKED_FOR: usize = 1 << 20;

/// Where the first error of some columns is kept, as the readers of batches turn each into a text.
pub type Reports = Arc<Mutex<Option<Error>>>;

/// A page whose header was taken from the window, and its bytes not.
struct Found {
    header: Header,
    offset: u64,
}

enum Place {
    /// It may still come.
    Ahead,
    /// It was skipped, and can be had.
    Skipped {
        page: Found,
        start: u64,
    },
    Passed,
}

impl ColumnPages {
    pub fn new(source: Arc<dyn Source>, column: &ColumnChunkMetaData, limits: Limits) -> Result<Self> {
        let named = |error: Error| error.at(format_args!("column {}", column.column_path()));
        let codec = Codec::new(column.compression()).map_err(named)?;
        let (start, length) = chunk_range(column, source.length()).map_err(named)?;
        let Ok(values) = u64::try_from(column.num_values()) else {
            return malformed(format!("column {}: {} values", column.column_path(), column.num_values()));
        };
        Ok(ColumnPages {
            window: Window::new(source, start, length, limits.window_bytes),
            codec,
            limits,
            column: column.column_descr_ptr(),
            values,
            values_left: values,
            records: Records::default(),
            peeked: None,
            dictionary: Place::Ahead,
            demand: Demand::default(),
            pages_go_on: false,
            last_value: Vec::new(),
            reports: None,
        })
    }

    /// Understands what this writer did, whose name is in the footer, or is missing there.
    ///
    /// Parquet's Java library before 1.8 did not begin anew with each page of DELTA_BYTE_ARRAY.
    pub fn written_by(mut self, writer: Option<&str>) -> Self {
        self.pages_go_on = match writer {
            Some(writer) => writer.strip_prefix("parquet-mr").is_some_and(is_before_1_8),
            None => true,
        };
        self
    }

    /// Also keeps the first error there.
    pub fn report_to(mut self, reports: Reports) -> Self {
        self.reports = Some(reports);
        self
    }

    /// That of the page that was read last.
    pub(crate) fn demand(&self) -> Demand {
        self.demand
    }

    /// An error about the page that was read last, which is reported like those of its content.
    pub(crate) fn refuse(&self, error: Error) -> ParquetError {
        self.reported(error.at(format_args!("column {}", self.column.path())))
    }

    fn reported(&self, error: Error) -> ParquetError {
        let Some(reports) = &self.reports else { return error.into() };
        let text = error.to_string();
        if let Ok(mut first) = reports.lock() {
            first.get_or_insert(error);
        }
        ParquetError::General(text)
    }

    /// Says which page an error is about.
    fn at(&self, offset: u64) -> impl Fn(Error) -> Error + use<> {
        let column = self.column.clone();
        move |error| error.at(format_args!("column {}: page at byte {offset}", column.path()))
    }

    /// Finds the next page with values, or the dictionary.
    fn find(&mut self) -> Result<Option<Found>> {
        if let Some(found) = self.peeked.take() {
            return Ok(Some(found));
        }
        while self.values_left > 0 {
            let offset = self.window.offset();
            if self.window.remaining_with_slack() == 0 {
                let (values, seen) = (self.values, self.values - self.values_left);
                return malformed(format!("the pages end after {seen} of {values} values")).map_err(self.at(offset));
            }
            let header = self.window.header(self.limits.header_bytes).map_err(self.at(offset))?;
            self.check(&header).map_err(self.at(offset))?;
            match &header.content {
                Content::Data(data) if data.values > 0 => {}
                Content::DataV2(data) if data.values > 0 => {}
                // Old versions of Parquet's Java library left its header out of the size of the chunk.
                Content::Dictionary(_) => self.window.allow_slack(DICTIONARY_HEADER),
                Content::Data(_) | Content::DataV2(_) | Content::Index => {
                    self.window.skip(header.compressed as usize);
                    continue;
                }
                Content::Other(page_type) => {
                    let error = Error::Unsupported(format!("a page of the unknown type {page_type}"));
                    return Err(self.at(offset)(error));
                }
            }
            return Ok(Some(Found { header, offset }));
        }
        Ok(None)
    }

    /// What can be told before the bytes of the page are there.
    fn check(&self, header: &Header) -> Result<()> {
        let remaining = self.window.remaining();
        let (Ok(compressed), Ok(decompressed)) =
            (u64::try_from(header.compressed), usize::try_from(header.decompressed))
        else {
            return malformed(format!("{} bytes, decompressed {}", header.compressed, header.decompressed));
        };
        if compressed > self.window.remaining_with_slack() {
            return malformed(format!("{compressed} bytes, but the column chunk has only {remaining} more"));
        }
        if let Content::Index | Content::Other(_) = header.content {
            return Ok(());
        }
        let limit = self.limits.page_bytes;
        // What cannot be compressed grows by a sixth at most.
        if decompressed > limit || compressed > (limit + limit / 4) as u64 {
            return too_large(format!("{} bytes are more than {limit}", compressed.max(decompressed as u64)));
        }
        match &header.content {
            Content::Data(data) => self.check_values(data.values),
            Content::DataV2(data) => {
                self.check_values(data.values)?;
                let (nulls, rows) = (data.nulls, data.rows);
                if !(0..=data.values).contains(&nulls) || !(0..=data.values).contains(&rows) {
                    return malformed(format!("{nulls} nulls and {rows} rows in {} values", data.values));
                }
                let levels = i64::from(data.repetition_bytes) + i64::from(data.definition_bytes);
                let room = header.compressed.min(header.decompressed);
                if data.repetition_bytes < 0 || data.definition_bytes < 0 || levels > i64::from(room) {
                    return malformed(format!(
                        "levels of {} and {} bytes in a page of {room}",
                        data.repetition_bytes, data.definition_bytes
                    ));
                }
                Ok(())
            }
            Content::Dictionary(dictionary) => self.check_dictionary(dictionary, decompressed),
            Content::Index | Content::Other(_) => Ok(()),
        }
    }

    fn check_values(&self, values: i32) -> Result<()> {
        match u64::try_from(values) {
            Ok(count) if count > self.values_left => {
                malformed(format!("{values} values, but the column chunk has only {} more", self.values_left))
            }
            Ok(count) if count > self.limits.page_values as u64 => {
                too_large(format!("{values} values are more than {}", self.limits.page_values))
            }
            Ok(_) => Ok(()),
            Err(_) => malformed(format!("{values} values")),
        }
    }

    fn check_dictionary(&self, dictionary: &Dictionary, bytes: usize) -> Result<()> {
        if !matches!(self.dictionary, Place::Ahead) || self.values_left < self.values {
            return malformed("a dictionary that is not the first page");
        }
        let size = match self.column.physical_type() {
            Type::BOOLEAN => return malformed("a dictionary of booleans"),
            Type::INT32 | Type::FLOAT => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 12,
            // The length of each.
            Type::BYTE_ARRAY => 4,
            Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(self.column.type_length()).unwrap_or(0).max(1),
        };
        match usize::try_from(dictionary.values) {
            Ok(values) if values <= bytes / size => Ok(()),
            _ => malformed(format!("a dictionary of {} values in {bytes} bytes", dictionary.values)),
        }
    }

    /// The page that was found; its bytes are those ahead of the window.
    fn read(&mut self, found: Found) -> Result<Page> {
        let at = self.at(found.offset);
        let body = self.window.take(found.header.compressed as usize).map_err(&at)?;
        self.passed(&found.header);
        let page = self.page(found.header, body).map_err(&at)?;
        let page = self.repaired(page).map_err(&at)?;
        self.demand = self.check_contents(&page).map_err(&at)?;
        Ok(page)
    }

    fn next_page(&mut self) -> Result<Option<Page>> {
        match self.find()? {
            Some(found) => self.read(found).map(Some),
            None => Ok(None),
        }
    }

    fn skip_page(&mut self) -> Result<()> {
        let Some(found) = self.find()? else { return Ok(()) };
        let start = self.window.offset();
        self.window.skip(found.header.compressed as usize);
        self.passed(&found.header);
        // Pages are skipped between rows.
        self.records = Records::default();
        self.last_value = Vec::new();
        if let Content::Dictionary(_) = found.header.content {
            self.dictionary = Place::Skipped { page: found, start };
        }
        Ok(())
    }

    fn skipped_dictionary(&mut self) -> Result<Option<Page>> {
        match std::mem::replace(&mut self.dictionary, Place::Passed) {
            Place::Skipped { page, start } => {
                let at = self.at(page.offset);
                let body = source::read(self.window.source(), start, page.header.compressed as usize)?;
                self.page(page.header, body).map(Some).map_err(at)
            }
            other => {
                self.dictionary = other;
                Ok(None)
            }
        }
    }

    /// Remembers that the page has been seen.
    fn passed(&mut self, header: &Header) {
        match &header.content {
            Content::Data(data) => self.values_left -= data.values as u64,
            Content::DataV2(data) => self.values_left -= data.values as u64,
            Content::Dictionary(_) => self.dictionary = Place::Passed,
            Content::Index | Content::Other(_) => {}
        }
    }

    fn page(&mut self, header: Header, body: Bytes) -> Result<Page> {
        // A checksum of 0 is what some writers say who have none.
        if let Some(crc) = header.crc.filter(|crc| *crc != 0) {
            let actual = crc32fast::hash(&body);
            if actual != crc {
                return malformed(format!("the checksum of its bytes is {actual:08x} instead of {crc:08x}"));
            }
        }
        let length = header.decompressed as usize;
        if length >= ASKED_FOR {
            self.limits.ask(length)?;
        }
        Ok(match header.content {
            Content::Data(data) => Page::DataPage {
                buf: self.decompressed(0, body, length, true)?,
                num_values: data.values as u32,
                encoding: data.encoding,
                def_level_encoding: data.definition_levels,
                rep_level_encoding: data.repetition_levels,
                statistics: None,
            },
            Content::DataV2(data) => {
                let levels = (data.repetition_bytes + data.definition_bytes) as usize;
                Page::DataPageV2 {
                    buf: self.decompressed(levels, body, length, data.compressed)?,
                    num_values: data.values as u32,
                    encoding: data.encoding,
                    num_nulls: data.nulls as u32,
                    num_rows: data.rows as u32,
                    def_levels_byte_len: data.definition_bytes as u32,
                    rep_levels_byte_len: data.repetition_bytes as u32,
                    is_compressed: data.compressed,
                    statistics: None,
                }
            }
            Content::Dictionary(dictionary) => Page::DictionaryPage {
                buf: self.decompressed(0, body, length, true)?,
                num_values: dictionary.values as u32,
                encoding: dictionary.encoding,
                is_sorted: dictionary.sorted,
            },
            Content::Index | Content::Other(_) => return malformed("a page of no values"),
        })
    }

    /// The bytes of a page, of which the first so many are stored as they are.
    fn decompressed(&mut self, stored: usize, body: Bytes, length: usize, compressed: bool) -> Result<Bytes> {
        if compressed && self.codec.compresses() {
            let (stored, rest) = body.split_at(stored);
            let page = self.codec.decompress(stored, rest, length - stored.len())?;
            return Ok(page.into());
        }
        if body.len() != length {
            return malformed(format!("{} bytes that are not compressed instead of {length}", body.len()));
        }
        Ok(body)
    }

    /// Whether no page goes on with the row at the end of the last one, as far as its header or first levels tell.
    fn at_end_of_row(&mut self) -> Result<bool> {
        let Some(found) = self.find()? else { return Ok(true) };
        let ends = match &found.header.content {
            Content::DataV2(data) if self.column.max_rep_level() > 0 => {
                let levels = self.window.peek((data.repetition_bytes as usize).min(records::LONGEST_RUN_HEADER));
                levels.map(|levels| records::begins_row(levels, self.column.max_rep_level()))
            }
            Content::DataV2(_) => Ok(true),
            _ => Ok(false),
        };
        let at = self.at(found.offset);
        self.peeked = Some(found);
        ends.map_err(at)
    }

    /// Where the levels of a data page end.
    fn start_of_values(&self, page: &Page) -> Result<usize> {
        match page {
            Page::DataPage { buf, num_values, def_level_encoding, rep_level_encoding, .. } => {
                let mut rest = &buf[..];
                let column = &self.column;
                for (encoding, max_level) in
                    [(rep_level_encoding, column.max_rep_level()), (def_level_encoding, column.max_def_level())]
                {
                    if max_level > 0 {
                        levels(&mut rest, *encoding, max_level, *num_values as usize)?;
                    }
                }
                Ok(buf.len() - rest.len())
            }
            Page::DataPageV2 { rep_levels_byte_len, def_levels_byte_len, .. } => {
                Ok((rep_levels_byte_len + def_levels_byte_len) as usize)
            }
            Page::DictionaryPage { .. } => Ok(0),
        }
    }

    /// Checks what the decoders would believe of the page's contents, and finds what it will take.
    fn check_contents(&mut self, page: &Page) -> Result<Demand> {
        let count = page.num_values() as usize;
        let mut demand = Demand {
            values: count as u64,
            longest_row: 1,
            copied_bytes: 0,
            all_copied_bytes: 0,
            held_bytes: (page.buffer().len() + self.last_value.len()) as u64,
        };
        let repeated = self.column.max_rep_level();
        let deltas = matches!(self.column.physical_type(), Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY)
            && matches!(page.encoding(), Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY);
        if !page.is_data_page() || (repeated == 0 && !deltas) {
            return Ok(demand);
        }
        let limit = self.limits.record_values;
        self.records.begin_page();
        let values = match page {
            Page::DictionaryPage { .. } => return Ok(demand),
            Page::DataPage { buf, def_level_encoding, rep_level_encoding, .. } => {
                let mut rest = &buf[..];
                if repeated > 0 {
                    let levels = levels(&mut rest, *rep_level_encoding, repeated, count)?;
                    if *rep_level_encoding == Encoding::RLE {
                        self.records.follow(levels, repeated, count, limit)?;
                    } else {
                        self.records.packed(levels, records::width(repeated), count, limit)?;
                    }
                }
                if self.column.max_def_level() > 0 {
                    levels(&mut rest, *def_level_encoding, self.column.max_def_level(), count)?;
                }
                rest
            }
            Page::DataPageV2 { buf, rep_levels_byte_len, def_levels_byte_len, .. } => {
                let (repetition, rest) = buf.split_at(*rep_levels_byte_len as usize);
                if repeated > 0 {
                    self.records.follow(repetition, repeated, count, limit)?;
                }
                &rest[*def_levels_byte_len as usize..]
            }
        };
        if repeated > 0 {
            demand.longest_row = self.records.longest_in_page() as u64;
        }
        if deltas {
            if page.encoding() == Encoding::DELTA_LENGTH_BYTE_ARRAY {
                demand.held_bytes += delta::check_lengths(values, count)? * delta::LENGTH_BYTES;
            } else {
                let prefixed = Prefixed::new(values, count, b"", self.limits.page_bytes)?;
                (demand.copied_bytes, demand.all_copied_bytes) = (prefixed.longest, prefixed.bytes);
                demand.held_bytes += prefixed.count() as u64 * 2 * delta::LENGTH_BYTES;
            }
            if demand.held_bytes >= ASKED_FOR as u64 {
                self.limits.ask(demand.held_bytes as usize)?;
            }
        }
        Ok(demand)
    }
}

/// Whether the rest of a writer's name, as in `parquet-mr version 1.6.0rc7 (build …)`, names an early version, or none.
fn is_before_1_8(version: &str) -> bool {
    let Some(numbers) = version.trim_start().strip_prefix("version ") else { return true };
    let mut numbers = numbers.trim_start().split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < (1, 8),
        _ => true,
    }
}

/// Takes the levels of a page of version 1 from its beginning.
fn levels<'a>(rest: &mut &'a [u8], encoding: Encoding, max_level: i16, values: usize) -> Result<&'a [u8]> {
    let split = match encoding {
        Encoding::RLE => rest
            .split_first_chunk()
            .and_then(|(length, rest)| rest.split_at_checked(usize::try_from(i32::from_le_bytes(*length)).ok()?)),
        #[expect(deprecated, reason = "old writers used it for levels")]
        Encoding::BIT_PACKED => rest.split_at_checked((values * records::width(max_level)).div_ceil(8)),
        encoding => return malformed(format!("levels in the encoding {encoding}")),
    };
    match split {
        Some((levels, others)) => {
            *rest = others;
            Ok(levels)
        }
        None => malformed("its levels are not complete"),
    }
}

impl PageReader for ColumnPages {
    fn get_next_page(&mut self) -> parquet::errors::Result<Option<Page>> {
        let page = self.next_page();
        page.map_err(|error| self.reported(error))
    }

    fn peek_next_page(&mut self) -> parquet::errors::Result<Option<PageMetadata>> {
        let found = self.find().map_err(|error| self.reported(error))?;
        let metadata = found.as_ref().map(|found| {
            let (num_rows, num_levels, is_dict) = match &found.header.content {
                Content::Data(data) => (None, Some(data.values as usize), false),
                Content::DataV2(data) => (Some(data.rows as usize), Some(data.values as usize), false),
                Content::Dictionary(_) | Content::Index | Content::Other(_) => (None, None, true),
            };
            PageMetadata { num_rows, num_levels, is_dict }
        });
        self.peeked = found;
        Ok(metadata)
    }

    fn skip_next_page(&mut self) -> parquet::errors::Result<()> {
        self.skip_page().map_err(|error| self.reported(error))
    }

    /// Pages of version 2 begin with a row, but some writers go on with the one before.
    fn at_record_boundary(&mut self) -> parquet::errors::Result<bool> {
        let ends = self.at_end_of_row();
        ends.map_err(|error| self.reported(error))
    }

    fn supports_deferred_dictionary(&self) -> bool {
        true
    }

    fn take_deferred_dictionary(&mut self) -> parquet::errors::Result<Option<Page>> {
        let page = self.skipped_dictionary();
        page.map_err(|error| self.reported(error))
    }
}

impl Iterator for ColumnPages {
    type Item = parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
