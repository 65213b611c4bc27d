use crate::thrift::{DEPTH, Fault, Field, Fields, Kind, Reader};
use parquet::basic::Encoding;

/// The header of a page, as stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub compressed: i32,
    pub decompressed: i32,
    pub crc: Option<u32>,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Data(Data),
    DataV2(DataV2),
    Dictionary(Dictionary),
    Index,
    /// Of a type that is not known.
    Other(i32),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Data {
    pub values: i32,
    pub encoding: Encoding,
    pub definition_levels: Encoding,
    pub repetition_levels: Encoding,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DataV2 {
    pub values: i32,
    pub nulls: i32,
    pub rows: i32,
    pub encoding: Encoding,
    pub definition_bytes: i32,
    pub repetition_bytes: i32,
    pub compressed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dictionary {
    pub values: i32,
    pub encoding: Encoding,
    pub sorted: bool,
}

type Result<T> = std::result::Result<T, Fault>;

const MISSING: Fault = Fault::Bad("less than a page needs");

/// The header at the beginning of `data`, and its length. [`Fault::Short`] when more bytes are needed.
pub(crate) fn parse(data: &[u8]) -> Result<(Header, usize)> {
    let mut reader = Reader::new(data);
    let (mut page_type, mut decompressed, mut compressed, mut crc) = (None, None, None, None);
    let (mut page, mut page_v2, mut dictionary) = (None, None, None);
    let mut fields = Fields::default();
    while let Some(field) = reader.field(&mut fields)? {
        match field.id {
            1 => page_type = Some(int(&mut reader, field)?),
            2 => decompressed = Some(int(&mut reader, field)?),
            3 => compressed = Some(int(&mut reader, field)?),
            4 => crc = Some(int(&mut reader, field)? as u32),
            5 => page = Some(read_data(&mut reader, field)?),
            7 => dictionary = Some(read_dictionary(&mut reader, field)?),
            8 => page_v2 = Some(read_data_v2(&mut reader, field)?),
            _ => reader.skip(field, DEPTH)?,
        }
    }
    let content = match page_type.ok_or(MISSING)? {
        0 => Content::Data(page.ok_or(MISSING)?),
        1 => Content::Index,
        2 => Content::Dictionary(dictionary.ok_or(MISSING)?),
        3 => Content::DataV2(page_v2.ok_or(MISSING)?),
        other => Content::Other(other),
    };
    let header =
        Header { compressed: compressed.ok_or(MISSING)?, decompressed: decompressed.ok_or(MISSING)?, crc, content };
    Ok((header, data.len() - reader.remaining()))
}

fn int(reader: &mut Reader, field: Field) -> Result<i32> {
    field.expect(Kind::I32)?;
    reader.i32()
}

fn encoding(reader: &mut Reader, field: Field) -> Result<Encoding> {
    #[expect(deprecated, reason = "old writers used it for levels")]
    Ok(match int(reader, field)? {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        4 => Encoding::BIT_PACKED,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        10 => Encoding::ALP,
        _ => return Err(Fault::Bad("an unknown encoding")),
    })
}

fn read_data(reader: &mut Reader, field: Field) -> Result<Data> {
    field.expect(Kind::Struct)?;
    let (mut values, mut encoded, mut definition_levels, mut repetition_levels) = (None, None, None, None);
    let mut fields = Fields::default();
    while let Some(field) = reader.field(&mut fields)? {
        match field.id {
            1 => values = Some(int(reader, field)?),
            2 => encoded = Some(encoding(reader, field)?),
            3 => definition_levels = Some(encoding(reader, field)?),
            4 => repetition_levels = Some(encoding(reader, field)?),
            _ => reader.skip(field, DEPTH)?,
        }
    }
    Ok(Data {
        values: values.ok_or(MISSING)?,
        encoding: encoded.ok_or(MISSING)?,
        definition_levels: definition_levels.ok_or(MISSING)?,
        repetition_levels: repetition_levels.ok_or(MISSING)?,
    })
}

fn read_data_v2(reader: &mut Reader, field: Field) -> Result<DataV2> {
    field.expect(Kind::Struct)?;
    let (mut values, mut nulls, mut rows, mut encoded) = (None, None, None, None);
    let (mut definition_bytes, mut repetition_bytes, mut compressed) = (None, None, true);
    let mut fields = Fields::default();
    while let Some(field) = reader.field(&mut fields)? {
        match field.id {
            1 => values = Some(int(reader, field)?),
            2 => nulls = Some(int(reader, field)?),
            3 => rows = Some(int(reader, field)?),
            4 => encoded = Some(encoding(reader, field)?),
            5 => definition_bytes = Some(int(reader, field)?),
            6 => repetition_bytes = Some(int(reader, field)?),
            7 => compressed = field.bool()?,
            _ => reader.skip(field, DEPTH)?,
        }
    }
    Ok(DataV2 {
        values: values.ok_or(MISSING)?,
        nulls: nulls.ok_or(MISSING)?,
        rows: rows.ok_or(MISSING)?,
        encoding: encoded.ok_or(MISSING)?,
        definition_bytes: definition_bytes.ok_or(MISSING)?,
        repetition_bytes: repetition_bytes.ok_or(MISSING)?,
        compressed,
    })
}

fn read_dictionary(reader: &mut Reader, field: Field) -> Result<Dictionary> {
    field.expect(Kind::Struct)?;
    let (mut values, mut encoded, mut sorted) = (None, None, false);
    let mut fields = Fields::default();
    while let Some(field) = reader.field(&mut fields)? {
        match field.id {
            1 => values = Some(int(reader, field)?),
            2 => encoded = Some(encoding(reader, field)?),
            3 => sorted = field.bool()?,
            _ => reader.skip(field, DEPTH)?,
        }
    }
    Ok(Dictionary { values: values.ok_or(MISSING)?, encoding: encoded.ok_or(MISSING)?, sorted })
}
