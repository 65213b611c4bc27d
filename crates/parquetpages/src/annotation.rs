//! What the columns and groups of a schema are said to mean, where the ways to say it contradict each other or the stored
//! type.

use crate::error::{Error, Result};
use crate::thrift::{DEPTH, Fields, Kind, Reader};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};

/// As stored.
#[derive(Debug, Default)]
pub(crate) struct Annotation {
    /// By its number in the format.
    pub converted: Option<i32>,
    pub logical: Option<LogicalType>,
    pub scale: i32,
    pub precision: i32,
}

/// What goes together with the stored type.
#[derive(Debug, PartialEq)]
pub(crate) struct Meaning {
    pub logical: Option<LogicalType>,
    pub converted: ConvertedType,
    pub scale: i32,
    pub precision: i32,
}

/// The converted type that Arrow's first versions gave to columns of nulls alone. The format has no such number.
const CONVERTED_NULL: i32 = 24;

/// The logical type, which is a union: a structure of one field. None where nobody knows it.
pub(crate) fn read_logical(reader: &mut Reader) -> Result<Option<LogicalType>> {
    let mut logical = None;
    let mut fields = Fields::default();
    while let Some(field) = reader.field(&mut fields)? {
        if field.kind != Kind::Struct {
            reader.skip(field, DEPTH)?;
            continue;
        }
        let parameters = read_parameters(reader)?;
        let [first, second] = parameters.numbers;
        logical = match field.id {
            1 => Some(LogicalType::String),
            2 => Some(LogicalType::Map),
            3 => Some(LogicalType::List),
            4 => Some(LogicalType::Enum),
            5 => Some(LogicalType::decimal(first.unwrap_or(0), second.unwrap_or(0))),
            6 => Some(LogicalType::Date),
            7 => parameters.unit.map(|unit| LogicalType::time(parameters.flags[0], unit)),
            8 => parameters.unit.map(|unit| LogicalType::timestamp(parameters.flags[0], unit)),
            10 => match first {
                Some(bits @ (8 | 16 | 32 | 64)) => Some(LogicalType::integer(bits as i8, parameters.flags[1])),
                _ => None,
            },
            11 => Some(LogicalType::Unknown),
            12 => Some(LogicalType::Json),
            13 => Some(LogicalType::Bson),
            14 => Some(LogicalType::Uuid),
            15 => Some(LogicalType::Float16),
            17 => Some(LogicalType::geometry(None)),
            18 => Some(LogicalType::geography(None, None)),
            _ => None,
        };
    }
    Ok(logical)
}

/// The parameters of a logical type, whichever it is: numbers and flags by their place, from 1, and a unit of time.
#[derive(Default)]
struct Parameters {
    numbers: [Option<i32>; 2],
    flags: [bool; 2],
    unit: Option<TimeUnit>,
}

fn read_parameters(reader: &mut Reader) -> Result<Parameters> {
    let mut parameters = Parameters::default();
    let mut fields = Fields::default();
    while let Some(field) = reader.field(&mut fields)? {
        match (field.id, field.kind) {
            (1 | 2, Kind::True) => parameters.flags[field.id as usize - 1] = true,
            (1 | 2, Kind::Byte | Kind::I16 | Kind::I32 | Kind::I64) => {
                parameters.numbers[field.id as usize - 1] = i32::try_from(reader.integer(field)?).ok();
            }
            (2, Kind::Struct) => {
                let mut units = Fields::default();
                while let Some(unit) = reader.field(&mut units)? {
                    parameters.unit = match unit.id {
                        1 => Some(TimeUnit::MILLIS),
                        2 => Some(TimeUnit::MICROS),
                        3 => Some(TimeUnit::NANOS),
                        _ => None,
                    };
                    reader.skip(unit, DEPTH)?;
                }
            }
            _ => reader.skip(field, DEPTH)?,
        }
    }
    Ok(parameters)
}

impl Annotation {
    /// Of a group: a list, a map, the entries of one, or just a group.
    pub fn of_group(&self) -> ConvertedType {
        match (&self.logical, self.converted) {
            (Some(LogicalType::Map), _) => ConvertedType::MAP,
            (Some(LogicalType::List), _) => ConvertedType::LIST,
            (_, Some(1)) => ConvertedType::MAP,
            (_, Some(2)) => ConvertedType::MAP_KEY_VALUE,
            (_, Some(3)) => ConvertedType::LIST,
            _ => ConvertedType::NONE,
        }
    }

    /// Of a column. The logical type counts where both are there and it fits what is stored, else the converted one;
    /// neither where none fits.
    pub fn of_leaf(&self, physical: Physical, length: i32) -> Result<Meaning> {
        let converted = self.converted.and_then(converted_type);
        if let Some(logical) = &self.logical {
            // Parquet's Java library has no other logical type for what has a converted one alone.
            let says_nothing = *logical == LogicalType::Unknown && converted.is_some();
            if !says_nothing && let Some(meaning) = of_logical(logical, physical, length)? {
                return Ok(meaning);
            }
        }
        if self.converted == Some(CONVERTED_NULL) {
            return Ok(Meaning::logical(LogicalType::Unknown));
        }
        let Some(converted) = converted else { return Ok(Meaning::NONE) };
        if converted == ConvertedType::DECIMAL {
            return decimal(self.scale, self.precision, physical, length, false);
        }
        refuse_wide_unsigned(converted == ConvertedType::UINT_64, physical)?;
        let fits = match converted {
            ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON | ConvertedType::BSON => {
                physical == Physical::BYTE_ARRAY
            }
            ConvertedType::INTERVAL => physical == Physical::FIXED_LEN_BYTE_ARRAY && length == 12,
            ConvertedType::TIME_MICROS
            | ConvertedType::TIMESTAMP_MILLIS
            | ConvertedType::TIMESTAMP_MICROS
            | ConvertedType::INT_64
            | ConvertedType::UINT_64 => physical == Physical::INT64,
            ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE | ConvertedType::LIST => false,
            _ => physical == Physical::INT32,
        };
        Ok(if fits { Meaning { converted, ..Meaning::NONE } } else { Meaning::NONE })
    }
}

impl Meaning {
    const NONE: Meaning = Meaning { logical: None, converted: ConvertedType::NONE, scale: 0, precision: 0 };

    fn logical(logical: LogicalType) -> Self {
        Meaning { logical: Some(logical), ..Meaning::NONE }
    }
}

/// None where the type cannot be that of such values.
fn of_logical(logical: &LogicalType, physical: Physical, length: i32) -> Result<Option<Meaning>> {
    let fits = match logical {
        LogicalType::Decimal(kind) => {
            return match physical {
                Physical::INT32 | Physical::INT64 | Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => {
                    decimal(kind.scale, kind.precision, physical, length, true).map(Some)
                }
                _ => Ok(None),
            };
        }
        LogicalType::Integer(kind) => {
            refuse_wide_unsigned(!kind.is_signed && kind.bit_width > 32, physical)?;
            match physical {
                Physical::INT32 => kind.bit_width <= 32,
                Physical::INT64 => kind.bit_width == 64,
                _ => false,
            }
        }
        LogicalType::Date => physical == Physical::INT32,
        LogicalType::Time(time) => {
            let expected = if time.unit == TimeUnit::MILLIS { Physical::INT32 } else { Physical::INT64 };
            physical == expected
        }
        LogicalType::Timestamp(_) => physical == Physical::INT64,
        LogicalType::Unknown => true,
        LogicalType::String
        | LogicalType::Enum
        | LogicalType::Json
        | LogicalType::Bson
        | LogicalType::Geometry(_)
        | LogicalType::Geography(_) => physical == Physical::BYTE_ARRAY,
        LogicalType::Uuid => physical == Physical::FIXED_LEN_BYTE_ARRAY && length == 16,
        LogicalType::Float16 => physical == Physical::FIXED_LEN_BYTE_ARRAY && length == 2,
        _ => false,
    };
    Ok(fits.then(|| Meaning::logical(logical.clone())))
}

/// The scale says all that values are read by. The number of digits is only what they are said to have at most: one that
/// is missing, or more than the stored type has room for, is that of the stored type.
fn decimal(scale: i32, precision: i32, physical: Physical, length: i32, is_logical: bool) -> Result<Meaning> {
    let most = match physical {
        Physical::INT32 => 9,
        Physical::INT64 => 18,
        // The sign takes one bit. As the `parquet` crate counts.
        Physical::FIXED_LEN_BYTE_ARRAY => match length.checked_mul(8) {
            Some(bits) => ((2_f64.powi(bits - 1) - 1.0).log10().floor() as i32).max(0),
            None => i32::MAX,
        },
        _ => i32::MAX,
    };
    const MOST_DIGITS: i32 = 1000;
    let precision = if precision > 0 { precision } else { most.min(MOST_DIGITS) };
    let precision = precision.max(scale).min(most);
    if scale < 0 || scale > precision || precision < 1 {
        return Err(Error::Unsupported(format!("a decimal of {precision} digits, {scale} of them behind the point")));
    }
    let logical = is_logical.then(|| LogicalType::decimal(scale, precision));
    Ok(Meaning { logical, converted: ConvertedType::DECIMAL, scale, precision })
}

/// The bits that are missing would be guessed.
fn refuse_wide_unsigned(is_wide: bool, physical: Physical) -> Result<()> {
    if is_wide && physical == Physical::INT32 {
        return Err(Error::Unsupported("unsigned integers of 64 bits that are stored in 32".into()));
    }
    Ok(())
}

fn converted_type(number: i32) -> Option<ConvertedType> {
    Some(match number {
        0 => ConvertedType::UTF8,
        1 => ConvertedType::MAP,
        2 => ConvertedType::MAP_KEY_VALUE,
        3 => ConvertedType::LIST,
        4 => ConvertedType::ENUM,
        5 => ConvertedType::DECIMAL,
        6 => ConvertedType::DATE,
        7 => ConvertedType::TIME_MILLIS,
        8 => ConvertedType::TIME_MICROS,
        9 => ConvertedType::TIMESTAMP_MILLIS,
        10 => ConvertedType::TIMESTAMP_MICROS,
        11 => ConvertedType::UINT_8,
        12 => ConvertedType::UINT_16,
        13 => ConvertedType::UINT_32,
        14 => ConvertedType::UINT_64,
        15 => ConvertedType::INT_8,
        16 => ConvertedType::INT_16,
        17 => ConvertedType::INT_32,
        18 => ConvertedType::INT_64,
        19 => ConvertedType::JSON,
        20 => ConvertedType::BSON,
        21 => ConvertedType::INTERVAL,
        _ => return None,
    })
}
