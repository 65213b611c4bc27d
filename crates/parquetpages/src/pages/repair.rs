//! Pages that leave the format and whose meaning is plain, made into such that the decoders understand.

use super::{ASKED_FOR, ColumnPages, Place};
use crate::delta::{self, Numbers, Prefixed};
use crate::error::{Result, malformed};
use crate::{memory, records};
use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;

impl ColumnPages {
    /// The page, or another one of the same values.
    pub(super) fn repaired(&mut self, mut page: Page) -> Result<Page> {
        if !page.is_data_page() {
            return Ok(page);
        }
        let start = self.start_of_values(&page)?;
        let whole = page.buffer().clone();
        let (levels, values) = whole.split_at(start);
        let encoding = page.encoding();
        let is_delta = matches!(
            encoding,
            Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY
        );
        let lacks_dictionary = matches!(encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY)
            && matches!(self.dictionary, Place::Ahead);
        let repaired = if values.is_empty()
            || is_delta && delta::is_empty(values)
            || lacks_dictionary && self.defined(&page, start)? == 0
        {
            // All values are NULL. A PLAIN page has nothing where they would be; other encodings have a header there, which
            // some writers leave out, or fill with zeros, or a dictionary before, which some leave out, too. Where a value
            // should be after all, the decoder misses it.
            Some((whole.slice(..start), Encoding::PLAIN))
        } else {
            let count = page.num_values() as usize;
            match encoding {
                Encoding::PLAIN => self.without_rest(&page, &whole, start)?.map(|whole| (whole, encoding)),
                Encoding::DELTA_BYTE_ARRAY if self.pages_go_on => {
                    self.with_whole_values(count, levels, values)?.map(|plain| (plain, Encoding::PLAIN))
                }
                Encoding::DELTA_BINARY_PACKED if self.column.physical_type() == Type::INT32 => {
                    self.with_narrow_numbers(count, levels, values)?.map(|plain| (plain, Encoding::PLAIN))
                }
                Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY if values == [0] => {
                    Some((with_run_of_the_only_entry(count, &whole)?, encoding))
                }
                _ => None,
            }
        };
        // Pages of nulls alone come between others.
        if encoding != Encoding::DELTA_BYTE_ARRAY && !values.is_empty() {
            self.last_value = Vec::new();
        }
        if let Some((content, new_encoding)) = repaired
            && let Page::DataPage { buf, encoding, .. } | Page::DataPageV2 { buf, encoding, .. } = &mut page
        {
            *buf = content;
            *encoding = new_encoding;
        }
        Ok(page)
    }

    /// Makes a DELTA_BYTE_ARRAY page that goes on from the one before a PLAIN one.
    fn with_whole_values(&mut self, count: usize, levels: &[u8], values: &[u8]) -> Result<Option<Bytes>> {
        let before = std::mem::take(&mut self.last_value);
        let prefixed = Prefixed::new(values, count, &before, self.limits.page_bytes)?;
        if !prefixed.goes_on() {
            self.last_value = prefixed.each(before, &mut |_| Ok(()))?;
            return Ok(None);
        }
        let fixed = match self.column.physical_type() {
            Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(self.column.type_length()).ok(),
            _ => None,
        };
        let mut plain = self.room(levels, prefixed.bytes as usize + prefixed.count() * delta::LENGTH_BYTES as usize)?;
        self.last_value = prefixed.each(before, &mut |value| {
            match fixed {
                None => plain.extend_from_slice(&(value.len() as u32).to_le_bytes()),
                Some(length) if length == value.len() => {}
                Some(length) => return malformed(format!("a value of {} bytes instead of {length}", value.len())),
            }
            plain.extend_from_slice(value);
            Ok(())
        })?;
        Ok(Some(plain.into()))
    }

    /// Makes a DELTA_BINARY_PACKED page whose differences have more than the 32 bits of its numbers a PLAIN one.
    fn with_narrow_numbers(&self, count: usize, levels: &[u8], values: &[u8]) -> Result<Option<Bytes>> {
        match Numbers::new(values, count, delta::WIDE) {
            Ok(numbers) if numbers.are_wide() => {
                let mut plain = self.room(levels, count * size_of::<i32>())?;
                numbers.each(&mut |number| {
                    plain.extend_from_slice(&number.to_le_bytes());
                    Ok(())
                })?;
                Ok(Some(plain.into()))
            }
            // The decoder finds what is wrong.
            _ => Ok(None),
        }
    }

    /// Leaves out what follows the values of a fixed length, which the decoders refuse.
    fn without_rest(&self, page: &Page, whole: &Bytes, start: usize) -> Result<Option<Bytes>> {
        let length = match self.column.physical_type() {
            Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(self.column.type_length()).unwrap_or(0),
            Type::INT96 => 12,
            _ => return Ok(None),
        };
        let count = page.num_values() as usize;
        if whole.len() - start == count.saturating_mul(length) {
            return Ok(None);
        }
        let defined = self.defined(page, start)?;
        let end = start.saturating_add(defined.saturating_mul(length));
        Ok((end < whole.len()).then(|| whole.slice(..end)))
    }

    /// How many of the page's values are not NULL.
    fn defined(&self, page: &Page, start: usize) -> Result<usize> {
        let count = page.num_values() as usize;
        let max_level = self.column.max_def_level();
        Ok(match page {
            _ if max_level == 0 => count,
            Page::DataPage { buf, rep_level_encoding, def_level_encoding, .. } => {
                let mut rest = &buf[..];
                if self.column.max_rep_level() > 0 {
                    super::levels(&mut rest, *rep_level_encoding, self.column.max_rep_level(), count)?;
                }
                let levels = super::levels(&mut rest, *def_level_encoding, max_level, count)?;
                if *def_level_encoding == Encoding::RLE {
                    records::count_highest(levels, max_level, count)?
                } else {
                    records::count_highest_packed(levels, max_level, count)
                }
            }
            Page::DataPageV2 { buf, rep_levels_byte_len, .. } => {
                records::count_highest(&buf[*rep_levels_byte_len as usize..start], max_level, count)?
            }
            Page::DictionaryPage { .. } => 0,
        })
    }

    /// Room for the content of a page with these levels.
    fn room(&self, levels: &[u8], bytes: usize) -> Result<Vec<u8>> {
        let length = levels.len() + bytes;
        if length >= ASKED_FOR {
            self.limits.ask(length)?;
        }
        let mut content = memory::room(length)?;
        content.extend_from_slice(levels);
        Ok(content)
    }
}

/// The positions of a dictionary's only entry take no bits. How many there are is said all the same, except by some writers.
fn with_run_of_the_only_entry(count: usize, whole: &[u8]) -> Result<Bytes> {
    const LONGEST: usize = 10;
    let mut content = memory::room(whole.len() + LONGEST)?;
    content.extend_from_slice(whole);
    let mut header = (count as u64) << 1;
    while header > 0x7f {
        content.push(header as u8 | 0x80);
        header >>= 7;
    }
    content.push(header as u8);
    Ok(content.into())
}
