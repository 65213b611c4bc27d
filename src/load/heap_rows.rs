//! Rows that travel as the heap of the source stores them.

use super::writer::{RowValues, TableWriter};
use super::{LoadHelper, Position};
use crate::error::{Error, Result};
use crate::local::relation::AttributeLayout;
use crate::local::{interrupts, memory};
use crate::order::TableSpec;
use crate::storage::stored_rows::stored_column;
use crate::storage::tuple::{Accept, Value};
use heapform::{Checker, Column, Damage, Labels, Record};
use pgrx::pg_sys;
use pgrx::prelude::*;

/// Checks rows of a stream, and hands them to the writer of their table: as they are, where nothing needs their values.
pub(super) struct HeapRows<'a> {
    writer: TableWriter<'a, StoredColumn>,
    checker: Checker,
    /// What the values of enums mean here.
    labels: &'a [Labels],
    /// A row with the numbers that its labels have here.
    relabelled: Vec<u8>,
    position: &'a Position,
    /// The values of a row where the server can point to them.
    aligned: Vec<u64>,
}

/// A column whose values arrive as they are stored.
pub(super) struct StoredColumn {
    layout: AttributeLayout,
}

/// The values of a row that was checked.
struct StoredValues<'a> {
    values: &'a [u64],
    places: std::slice::Iter<'a, u32>,
}

/// A buffer of more words is freed after the row that needed it.
const LARGE: usize = 1 << 17;

impl<'a> HeapRows<'a> {
    /// Opens a stage table for the rows of a source.
    pub(super) fn open(
        stage: u32,
        table: &'a TableSpec,
        labels: &'a [Labels],
        position: &'a Position,
        helper: &'a dyn LoadHelper,
    ) -> Result<Self> {
        let mut columns = Vec::with_capacity(table.columns.len());
        let writer = TableWriter::open(stage, table, position, helper, |_, attribute| {
            columns.push(stored_column(attribute));
            StoredColumn { layout: attribute.layout }
        })?;
        let columns: Option<Vec<Column>> = columns.into_iter().collect();
        let columns =
            columns.ok_or_else(|| Error::internal("a column cannot hold values as another server stores them"))?;
        let checker = Checker::new(columns);
        Ok(Self { writer, checker, labels, relabelled: Vec::new(), position, aligned: Vec::new() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The row is not one that the server would have stored, or the table refuses it.
    #[inline]
    pub(super) fn add(&mut self, record: Record<'_>) -> Result<()> {
        let refused = |damage: Damage| {
            self.position.column.set(damage.column);
            Error::from(damage)
        };
        let checked = self.checker.check(&record, &interrupts::check).map_err(refused)?;
        let places = self.checker.places();
        let mut data = record.data;
        if !self.labels.is_empty() {
            memory::reuse(&mut self.relabelled, data.len());
            self.relabelled.extend_from_slice(data);
            for labels in self.labels {
                match places.get(labels.column) {
                    Some(&heapform::NULL) => {}
                    place => {
                        let place = place.map_or(usize::MAX, |place| *place as usize);
                        labels.put(&mut self.relabelled, place).map_err(refused)?;
                    }
                }
            }
            data = &self.relabelled;
        }
        if self.writer.stores_rows_as_they_are() {
            // A bitmap in which no bit is missing is not stored.
            let bitmap = record.bitmap.filter(|_| checked.has_nulls);
            let missing = |number: usize| places[number] == heapform::NULL;
            return self.writer.add_stored(bitmap, data, checked.has_variable_width, missing);
        }
        let words = data.len().div_ceil(size_of::<u64>());
        if self.aligned.capacity() > LARGE && words < LARGE {
            self.aligned = Vec::new();
        }
        self.aligned.clear();
        memory::reserve(&mut self.aligned, words);
        let (whole, rest) = data.as_chunks::<8>();
        self.aligned.extend(whole.iter().map(|word| u64::from_ne_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.aligned.push(u64::from_ne_bytes(last));
        }
        // A short value may get a long length, and the other way round.
        const LENGTH_AND_PADDING: usize = 16;
        let bytes = data.len() + places.len() * LENGTH_AND_PADDING;
        self.writer.add_row(bytes, StoredValues { values: &self.aligned, places: places.iter() })
    }

    /// Writes the remaining rows and returns the number of all rows written.
    pub(super) fn finish(self) -> Result<u64> {
        self.writer.finish()
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, format!("a row of the source is damaged: {damage}"))
            .hint("Its server has sent it as it is stored there: pg_amcheck tells whether the table is sound.")
    }
}

impl RowValues<StoredColumn> for StoredValues<'_> {
    #[inline]
    fn next<R>(&mut self, column: &mut StoredColumn, _scratch: &mut Vec<u8>, to: impl Accept<R>) -> Result<R> {
        let Some(&place) = self.places.next().filter(|place| **place != heapform::NULL) else {
            return Ok(to.accept(Value::Null));
        };
        let (place, layout) = (place as usize, column.layout);
        // SAFETY: the row was checked: a value of this layout lies there, aligned, and within the words.
        unsafe {
            let address = self.values.as_ptr().cast::<u8>().add(place);
            let value = match layout.length {
                1 if layout.by_value => Value::Bits(address.read().into()),
                2 if layout.by_value => Value::Bits(address.cast::<i16>().read() as u64),
                4 if layout.by_value => Value::Bits(address.cast::<i32>().read() as u64),
                8 if layout.by_value => Value::Bits(address.cast::<u64>().read()),
                _ => Value::Datum(pg_sys::Datum::from(address.cast_mut())),
            };
            Ok(to.accept(value))
        }
    }
}
