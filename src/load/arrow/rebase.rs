//! Batches of files that count days by the calendar of their time, brought to PostgreSQL's before they are read.

use crate::error::{Error, Result};
use crate::local::time_zone::TimeZone;
use crate::parquet::provenance::Provenance;
use crate::parquet::schema::{Scalar, Shape, malformed};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int64Type};
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, ListArray, MapArray, RecordBatch, StructArray};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, TimeUnit};
use pgrx::prelude::*;
use std::sync::Arc;

/// Moves the days of a file's batches.
pub(in super::super) struct Rebase<'a> {
    provenance: &'a Provenance,
}

const MICROSECONDS_PER_DAY: i128 = 86_400_000_000;
const NANOSECONDS_PER_MICROSECOND: i128 = 1000;
/// Since 1970, in microseconds. Java's old classes know the rules of time zones from then on.
const START_OF_1900: i128 = -25_567 * MICROSECONDS_PER_DAY;
/// Of 1970-01-01.
const JULIAN_DAY_OF_EPOCH: i128 = 2_440_588;

impl<'a> Rebase<'a> {
    /// `None` for a file whose values are those of today's calendar.
    pub(in super::super) fn of(provenance: &'a Provenance) -> Option<Self> {
        let Provenance { julian_dates, julian_timestamps, julian_int96, .. } = *provenance;
        (julian_dates || julian_timestamps || julian_int96).then_some(Self { provenance })
    }

    /// Rebases a batch, given the shape of each of its columns.
    pub(in super::super) fn batch<'s>(
        &self,
        batch: RecordBatch,
        shapes: impl Iterator<Item = &'s Shape>,
    ) -> Result<RecordBatch> {
        let columns = batch.columns().iter().zip(shapes).map(|(array, shape)| self.array(array, shape));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(batch.schema(), columns).map_err(|error| Error::internal(error.to_string()))
    }

    fn array(&self, array: &ArrayRef, shape: &Shape) -> Result<ArrayRef> {
        if !self.concerns(shape) {
            return Ok(Arc::clone(array));
        }
        let parts = || malformed("a column came in another structure than it has");
        Ok(match (shape, array.data_type()) {
            (Shape::Scalar(scalar), _) => return self.scalars(array, *scalar),
            (Shape::List(element), DataType::List(field)) => {
                let list = array.as_list_opt::<i32>().ok_or_else(parts)?;
                let values = self.array(list.values(), element)?;
                Arc::new(ListArray::new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned()))
            }
            (Shape::Struct(fields), DataType::Struct(arrow_fields)) => {
                let structure = array.as_struct_opt().ok_or_else(parts)?;
                let columns =
                    structure.columns().iter().zip(fields).map(|(array, (_, shape))| self.array(array, shape));
                let columns = columns.collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::new(arrow_fields.clone(), columns, structure.nulls().cloned()))
            }
            (Shape::Map(key, value), DataType::Map(field, sorted)) => {
                let map = array.as_map_opt().ok_or_else(parts)?;
                let entries = map.entries();
                let columns = vec![self.array(map.keys(), key)?, self.array(map.values(), value)?];
                let entries = StructArray::new(entries.fields().clone(), columns, entries.nulls().cloned());
                let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
                Arc::new(MapArray::new(Arc::clone(field), offsets, entries, nulls, *sorted))
            }
            _ => return Err(parts()),
        })
    }

    fn concerns(&self, shape: &Shape) -> bool {
        match shape {
            Shape::List(element) => self.concerns(element),
            Shape::Map(key, value) => self.concerns(key) || self.concerns(value),
            Shape::Struct(fields) => fields.iter().any(|(_, field)| self.concerns(field)),
            Shape::Scalar(Scalar::Date) => self.provenance.julian_dates,
            Shape::Scalar(Scalar::Timestamp { utc: true, unit }) => {
                self.provenance.julian_timestamps && matches!(unit, TimeUnit::Millisecond | TimeUnit::Microsecond)
            }
            Shape::Scalar(Scalar::Int96) => self.provenance.julian_int96,
            Shape::Scalar(_) => false,
        }
    }

    fn scalars(&self, array: &ArrayRef, scalar: Scalar) -> Result<ArrayRef> {
        if let Some(days) = array.as_primitive_opt::<Date32Type>() {
            // A value beyond all days stays there.
            let moved = |day: i32| i32::try_from(calendar::gregorian_day(day.into())).unwrap_or(i32::MIN);
            return Ok(Arc::new(days.unary::<_, Date32Type>(moved)));
        }
        let per_value: i64 = match scalar {
            Scalar::Timestamp { unit: TimeUnit::Millisecond, .. } => 1000,
            _ => 1,
        };
        if let Some(times) = array.as_primitive_opt::<Int64Type>() {
            let is_old = |value: i64| i128::from(value) * i128::from(per_value) < START_OF_1900;
            if !times.iter().flatten().any(is_old) {
                return Ok(Arc::clone(array));
            }
            let zone = self.zone()?;
            return Ok(Arc::new(times.unary::<_, Int64Type>(|value| {
                let moved = microseconds(i128::from(value) * i128::from(per_value), zone);
                i64::try_from(moved.div_euclid(per_value.into())).unwrap_or(i64::MIN)
            })));
        }
        let Some(values) = array.as_fixed_size_binary_opt() else {
            return Err(malformed(format!("values of {scalar:?} came as {}", array.data_type())));
        };
        let zone = self.zone()?;
        let moved: Vec<u8> = (0..values.len()).flat_map(|row| int96(values.value(row), zone)).collect();
        Ok(Arc::new(FixedSizeBinaryArray::new(values.value_length(), Buffer::from_vec(moved), values.nulls().cloned())))
    }

    /// Returns the zone whose days the timestamps are.
    fn zone(&self) -> Result<Zone> {
        let Some(name) = &self.provenance.time_zone else { return Ok(Zone::new(TimeZone::UTC)) };
        TimeZone::of(name).map(Zone::new).ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("time zone \"{name}\", which the file was written in, is not known"),
            )
            .detail("Its timestamps before 1900 are of the calendar and clocks of their time.")
        })
    }
}

#[derive(Clone, Copy)]
struct Zone {
    zone: TimeZone,
    /// Microseconds that clocks are before UTC, as Java's old classes have it for all times before 1900.
    before_1900: i128,
}

impl Zone {
    fn new(zone: TimeZone) -> Self {
        Self { zone, before_1900: i128::from(zone.standard_offset()) * 1_000_000 }
    }
}

/// Returns the point in time, since 1970, whose date and time of day in the zone were the same.
fn microseconds(instant: i128, zone: Zone) -> i128 {
    if instant >= START_OF_1900 {
        return instant;
    }
    let local = instant + zone.before_1900;
    let time_of_day = local.rem_euclid(MICROSECONDS_PER_DAY);
    let Ok(hybrid_day) = i64::try_from(local.div_euclid(MICROSECONDS_PER_DAY)) else { return instant };
    let day = calendar::gregorian_day(hybrid_day);
    let offset = zone.zone.offset_at_local(day, (time_of_day / 1_000_000) as i64);
    i128::from(day) * MICROSECONDS_PER_DAY + time_of_day - i128::from(offset) * 1_000_000
}

/// Moves a point in time that is given as nanoseconds of a day and a Julian day.
fn int96(value: &[u8], zone: Zone) -> Vec<u8> {
    let moved = || {
        let (nanoseconds, day) = value.split_first_chunk::<8>()?;
        let day = i128::from(i32::from_le_bytes(day.try_into().ok()?)) - JULIAN_DAY_OF_EPOCH;
        let nanoseconds = i128::from(i64::from_le_bytes(*nanoseconds));
        let instant = day * MICROSECONDS_PER_DAY + nanoseconds.div_euclid(NANOSECONDS_PER_MICROSECOND);
        if instant >= START_OF_1900 {
            return None;
        }
        let moved = microseconds(instant, zone);
        let day = i32::try_from(moved.div_euclid(MICROSECONDS_PER_DAY) + JULIAN_DAY_OF_EPOCH).ok()?;
        let of_day = moved.rem_euclid(MICROSECONDS_PER_DAY) * NANOSECONDS_PER_MICROSECOND
            + nanoseconds.rem_euclid(NANOSECONDS_PER_MICROSECOND);
        let mut bytes = i64::try_from(of_day).ok()?.to_le_bytes().to_vec();
        bytes.extend_from_slice(&day.to_le_bytes());
        Some(bytes)
    };
    moved().unwrap_or_else(|| value.to_vec())
}
