//! A walk over the stored footer, before anything is built from it: it is whole, its fields have the format's types, its
//! schema is one tree, and what it will take in memory is known.

use crate::Limits;
use crate::error::{Error, Result, malformed, too_large};
use crate::thrift::{DEPTH, Fault, Field, Fields, Kind, Reader, Shape};
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, RowGroupMetaData, SortingColumn};
use std::mem::size_of;

/// What the walk has to tell of a sound footer.
#[derive(Debug)]
pub(crate) struct Outline {
    pub leaves: usize,
    pub row_groups: usize,
}

pub(crate) fn walk(footer: &[u8], limits: &Limits) -> Result<Outline> {
    let mut walk = Walk { reader: Reader::new(footer), limits, cost: 0, leaves: None, row_groups: None };
    walk.spend(footer.len().saturating_mul(2))?;
    walk.file()
}

const EMPTY: Shape = Shape::Struct(&[]);
const TIME: Shape = Shape::Struct(&[(1, Shape::Bool), (2, Shape::Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]))]);
const LOGICAL_TYPE: Shape = Shape::Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Shape::Struct(&[(1, Shape::I32), (2, Shape::I32)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    (10, Shape::Struct(&[(1, Shape::Byte), (2, Shape::Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Shape::Struct(&[(1, Shape::Byte)])),
    (17, Shape::Struct(&[(1, Shape::Binary)])),
    (18, Shape::Struct(&[(1, Shape::Binary), (2, Shape::I32)])),
    (19, EMPTY),
]);
const KEY_VALUE: Shape = Shape::Struct(&[(1, Shape::Binary), (2, Shape::Binary)]);
const SORTING_COLUMN: Shape = Shape::Struct(&[(1, Shape::I32), (2, Shape::Bool), (3, Shape::Bool)]);
const COLUMN_ORDER: Shape = Shape::Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);
const ENCODINGS: Shape = Shape::List(&Shape::I32);
const GEOSPATIAL_STATISTICS: Shape = Shape::Struct(&[
    (
        1,
        Shape::Struct(&[
            (1, Shape::Double),
            (2, Shape::Double),
            (3, Shape::Double),
            (4, Shape::Double),
            (5, Shape::Double),
            (6, Shape::Double),
            (7, Shape::Double),
            (8, Shape::Double),
        ]),
    ),
    (2, Shape::List(&Shape::I32)),
]);

/// What an element of the schema becomes: itself, a node of the tree, a descriptor of a column.
const ELEMENT_COST: usize = 768;
/// Geospatial statistics are kept apart from their column chunk.
const GEOSPATIAL_COST: usize = 256;
/// Allocations are rounded up.
const STRING_COST: usize = 48;

/// The physical type whose values have the length that the schema says.
const FIXED_LEN_BYTE_ARRAY: i32 = 7;
const PHYSICAL_TYPES: i32 = 8;
const CODECS: i32 = 8;

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Short => Error::Malformed("the footer ends inside a value".into()),
            Fault::Bad(what) => Error::Malformed(format!("the footer holds {what}")),
        }
    }
}

struct Element<'a> {
    name: &'a [u8],
    physical: Option<i32>,
    length: Option<i32>,
    children: usize,
}

struct Walk<'a> {
    reader: Reader<'a>,
    limits: &'a Limits,
    cost: usize,
    /// The physical types of the columns, once the schema was seen.
    leaves: Option<Vec<i32>>,
    row_groups: Option<usize>,
}

impl<'a> Walk<'a> {
    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.cost = self.cost.saturating_add(bytes);
        if self.cost > self.limits.metadata_bytes {
            return too_large(format!("the footer takes more than {} bytes of memory", self.limits.metadata_bytes));
        }
        Ok(())
    }

    fn file(mut self) -> Result<Outline> {
        let mut fields = Fields::default();
        while let Some(field) = self.reader.field(&mut fields)? {
            match field.id {
                1 => {
                    field.expect(Kind::I32)?;
                    self.reader.i32()?;
                }
                2 => {
                    let elements = self.elements(field)?;
                    self.leaves = Some(self.tree(&elements)?);
                }
                3 => drop(self.count(field, "the number of rows")?),
                4 => {
                    let Some(leaves) = self.leaves.take() else {
                        return malformed("the footer holds row groups before the schema");
                    };
                    let count = self.list(field, Kind::Struct)?;
                    self.spend(count.saturating_mul(size_of::<RowGroupMetaData>()))?;
                    for index in 0..count {
                        self.row_group(&leaves).map_err(|error| error.at(format_args!("row group {}", index + 1)))?;
                    }
                    self.leaves = Some(leaves);
                    self.row_groups = Some(count);
                }
                5 => self.shaped_list(field, &KEY_VALUE, size_of::<KeyValue>() + 2 * STRING_COST)?,
                6 => {
                    field.expect(Kind::Binary)?;
                    self.reader.binary()?;
                }
                7 => self.shaped_list(field, &COLUMN_ORDER, 8)?,
                // How and with which key: some column, or the signature of the footer.
                8 | 9 => return Err(Error::Encrypted),
                _ => self.reader.skip(field, DEPTH)?,
            }
        }
        match (self.leaves, self.row_groups) {
            (Some(leaves), Some(row_groups)) => Ok(Outline { leaves: leaves.len(), row_groups }),
            _ => malformed("the footer lacks the schema or the row groups"),
        }
    }

    fn list(&mut self, field: Field, kind: Kind) -> Result<usize> {
        field.expect(Kind::List)?;
        let (actual, count) = self.reader.list()?;
        if count > 0 && actual != kind {
            return malformed("the footer holds a list of another type than the format's");
        }
        Ok(count)
    }

    fn shaped_list(&mut self, field: Field, shape: &Shape, cost: usize) -> Result<()> {
        let count = self.list(field, Kind::Struct)?;
        self.spend(count.saturating_mul(cost))?;
        for _ in 0..count {
            self.reader.check_value(Kind::Struct, shape, DEPTH)?;
        }
        Ok(())
    }

    /// A number that cannot be negative.
    fn count(&mut self, field: Field, what: &str) -> Result<i64> {
        field.expect(Kind::I64)?;
        match self.reader.i64()? {
            value @ 0.. => Ok(value),
            value => malformed(format!("{what} is {value}")),
        }
    }

    fn elements(&mut self, field: Field) -> Result<Vec<Element<'a>>> {
        let count = self.list(field, Kind::Struct)?;
        if count > self.limits.schema_elements {
            return too_large(format!("the schema has {count} elements, more than {}", self.limits.schema_elements));
        }
        self.spend(count.saturating_mul(ELEMENT_COST))?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(self.element()?);
        }
        Ok(elements)
    }

    fn element(&mut self) -> Result<Element<'a>> {
        let mut element = Element { name: &[], physical: None, length: None, children: 0 };
        let mut named = false;
        let mut fields = Fields::default();
        while let Some(field) = self.reader.field(&mut fields)? {
            match field.id {
                4 => {
                    field.expect(Kind::Binary)?;
                    element.name = self.reader.binary()?;
                    named = true;
                }
                10 => self.reader.check(field, &LOGICAL_TYPE, DEPTH)?,
                id @ 1..10 => {
                    field.expect(Kind::I32)?;
                    let value = self.reader.i32()?;
                    match id {
                        1 => element.physical = Some(value),
                        2 => element.length = Some(value),
                        5 => match usize::try_from(value) {
                            Ok(children) => element.children = children,
                            Err(_) => return malformed(format!("a group of the schema has {value} fields")),
                        },
                        _ => {}
                    }
                }
                _ => self.reader.skip(field, DEPTH)?,
            }
        }
        if !named {
            return malformed("an element of the schema has no name");
        }
        Ok(element)
    }

    /// Checks that the elements, which are stored parents first, are one tree, and finds the types of its leaves.
    fn tree(&mut self, elements: &[Element]) -> Result<Vec<i32>> {
        let Some((root, others)) = elements.split_first() else {
            return malformed("the schema is empty");
        };
        // Groups whose fields are not complete, with the number of missing ones and the memory of the path to them.
        let mut open = vec![(root.children, 0_usize)];
        let mut leaves = Vec::new();
        for (index, element) in others.iter().enumerate() {
            while open.pop_if(|(missing, _)| *missing == 0).is_some() {}
            let Some((missing, path)) = open.last_mut() else {
                return malformed("the schema has elements outside its root");
            };
            *missing -= 1;
            let path = *path + element.name.len() + STRING_COST;
            if open.len() > self.limits.schema_depth {
                return too_large(format!("the schema is nested more than {} levels deep", self.limits.schema_depth));
            }
            if element.children > others.len() - index - 1 {
                return malformed(format!(
                    "{} of the schema is said to have {} fields, more than there are",
                    name(element.name),
                    element.children
                ));
            }
            if element.children > 0 {
                open.push((element.children, path));
            } else if let Some(physical) = element.physical {
                self.leaf(element, physical)?;
                self.spend(path)?;
                leaves.push(physical);
            }
        }
        if open.iter().any(|(missing, _)| *missing > 0) {
            return malformed("the schema has fewer elements than its groups are said to have");
        }
        Ok(leaves)
    }

    fn leaf(&self, element: &Element, physical: i32) -> Result<()> {
        if !(0..PHYSICAL_TYPES).contains(&physical) {
            return malformed(format!("column {} has the unknown physical type {physical}", name(element.name)));
        }
        if physical == FIXED_LEN_BYTE_ARRAY {
            let length = element.length.unwrap_or(0);
            let limit = self.limits.fixed_bytes;
            if length <= 0 {
                return malformed(format!("column {} has values of {length} bytes", name(element.name)));
            } else if length as usize > limit {
                return too_large(format!(
                    "column {} has values of {length} bytes, more than {limit}",
                    name(element.name)
                ));
            }
        }
        Ok(())
    }

    fn row_group(&mut self, leaves: &[i32]) -> Result<()> {
        let mut fields = Fields::default();
        while let Some(field) = self.reader.field(&mut fields)? {
            match field.id {
                1 => {
                    let count = self.list(field, Kind::Struct)?;
                    if count != leaves.len() {
                        return malformed(format!("{count} column chunks for {} columns", leaves.len()));
                    }
                    self.spend(count.saturating_mul(size_of::<ColumnChunkMetaData>()))?;
                    for (index, physical) in leaves.iter().enumerate() {
                        self.chunk(*physical).map_err(|error| error.at(format_args!("column {}", index + 1)))?;
                    }
                }
                2 => drop(self.count(field, "the size")?),
                3 => drop(self.count(field, "the number of rows")?),
                4 => self.shaped_list(field, &SORTING_COLUMN, size_of::<SortingColumn>())?,
                5 => drop(self.number(field)?),
                7 => {
                    field.expect(Kind::I16)?;
                    self.reader.i32()?;
                }
                _ => self.reader.skip(field, DEPTH)?,
            }
        }
        Ok(())
    }

    /// A number that nobody uses.
    fn number(&mut self, field: Field) -> Result<i64> {
        field.expect(Kind::I64)?;
        Ok(self.reader.i64()?)
    }

    fn chunk(&mut self, physical: i32) -> Result<()> {
        let mut described = false;
        let mut fields = Fields::default();
        while let Some(field) = self.reader.field(&mut fields)? {
            match field.id {
                1 => {
                    field.expect(Kind::Binary)?;
                    if !self.reader.binary()?.is_empty() {
                        return Err(Error::Unsupported("the data is stored in another file".into()));
                    }
                }
                2 | 4 | 6 => drop(self.number(field)?),
                3 => {
                    field.expect(Kind::Struct)?;
                    self.chunk_metadata(physical)?;
                    described = true;
                }
                5 | 7 => {
                    field.expect(Kind::I32)?;
                    self.reader.i32()?;
                }
                // The key, and the description under that key.
                8 | 9 => return Err(Error::Encrypted),
                _ => self.reader.skip(field, DEPTH)?,
            }
        }
        if described { Ok(()) } else { malformed("the column chunk is not described") }
    }

    fn chunk_metadata(&mut self, physical: i32) -> Result<()> {
        let mut fields = Fields::default();
        while let Some(field) = self.reader.field(&mut fields)? {
            match field.id {
                1 => {
                    field.expect(Kind::I32)?;
                    if self.reader.i32()? != physical {
                        return malformed("the physical type is not that of the schema");
                    }
                }
                2 => self.reader.check(field, &ENCODINGS, DEPTH)?,
                4 => {
                    field.expect(Kind::I32)?;
                    let codec = self.reader.i32()?;
                    if !(0..CODECS).contains(&codec) {
                        return Err(Error::Unsupported(format!("unknown compression codec {codec}")));
                    }
                }
                5 => drop(self.count(field, "the number of values")?),
                6 | 7 => drop(self.count(field, "the size")?),
                9 => drop(self.count(field, "the offset of the first data page")?),
                11 => drop(self.count(field, "the offset of the dictionary")?),
                10 | 14 => drop(self.number(field)?),
                15 => {
                    field.expect(Kind::I32)?;
                    self.reader.i32()?;
                }
                17 => {
                    self.spend(GEOSPATIAL_COST)?;
                    self.reader.check(field, &GEOSPATIAL_STATISTICS, DEPTH)?;
                }
                _ => self.reader.skip(field, DEPTH)?,
            }
        }
        Ok(())
    }
}

/// A name for a message, however long or garbled it is.
fn name(bytes: &[u8]) -> String {
    const SHOWN: usize = 64;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    format!("\"{text}{}\"", if bytes.len() > SHOWN { "…" } else { "" })
}
