//! The Arrow schema that some writers embed, which gives integers a meaning for which Parquet has no annotation.

use super::schema::Scalar;
use arrow_ipc::{DateUnit, Field, TimeUnit as Unit, Type as ArrowType};
use arrow_schema::TimeUnit;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parquet::arrow::ARROW_SCHEMA_META_KEY;
use parquet::file::metadata::KeyValue;
use parquet::schema::types::{Type, TypePtr};

/// Returns for each leaf of the file's schema its meaning, where the embedded schema has one that Parquet's own cannot
/// tell. It is only a hint: a part that cannot be read is left out, and the rest is used.
pub(super) fn hints(root: &Type, metadata: Option<&Vec<KeyValue>>) -> Vec<Option<Hint>> {
    let mut hints = Vec::new();
    let pair = metadata.into_iter().flatten().find(|pair| pair.key == ARROW_SCHEMA_META_KEY);
    let message = pair.and_then(|pair| BASE64_STANDARD.decode(pair.value.as_ref()?).ok());
    // The message comes with a mark and its length in front, or without.
    let message =
        message.as_deref().map(|bytes| bytes.strip_prefix(&[0xff; 4]).and_then(|rest| rest.get(4..)).unwrap_or(bytes));
    let schema = message.and_then(|bytes| arrow_ipc::root_as_message(bytes).ok()?.header_as_schema());
    let fields: Vec<Field<'_>> = schema.and_then(|schema| schema.fields()).into_iter().flatten().collect();
    walk_fields(root.get_fields(), &fields, &mut hints);
    hints
}

/// The meaning of an integer of that many bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hint {
    pub(super) scalar: Scalar,
    pub(super) bits: u8,
}

/// Matches the fields of a structure by name.
fn walk_fields(originals: &[TypePtr], fields: &[Field<'_>], hints: &mut Vec<Option<Hint>>) {
    for (position, original) in originals.iter().enumerate() {
        let is_named = |field: &&Field<'_>| field.name() == Some(original.name());
        let field = fields.get(position).filter(is_named).or_else(|| fields.iter().find(is_named));
        walk(original, field.copied(), hints);
    }
}

fn walk(original: &Type, field: Option<Field<'_>>, hints: &mut Vec<Option<Hint>>) {
    let Type::GroupType { fields: originals, .. } = original else {
        hints.push(field.and_then(hint));
        return;
    };
    let children: Vec<Field<'_>> = field.and_then(|field| field.children()).into_iter().flatten().collect();
    match (field.map(|field| field.type_type()), originals.as_slice(), children.as_slice()) {
        (Some(ArrowType::Struct_), ..) => walk_fields(originals, &children, hints),
        (Some(ArrowType::Map), [entries], [entry]) => {
            let parts: Vec<Field<'_>> = entry.children().into_iter().flatten().collect();
            if entries.is_group() {
                for (position, part) in entries.get_fields().iter().enumerate() {
                    walk(part, parts.get(position).copied(), hints);
                }
            } else {
                walk(entries, None, hints);
            }
        }
        (
            Some(
                ArrowType::List
                | ArrowType::LargeList
                | ArrowType::FixedSizeList
                | ArrowType::ListView
                | ArrowType::LargeListView,
            ),
            [repeated],
            [element],
        ) => {
            // The repeated group is the element itself in lists of old writers.
            match repeated.as_ref() {
                Type::GroupType { fields, .. } if fields.len() == 1 && !is_structure_of(*element, &fields[0]) => {
                    walk(&fields[0], Some(*element), hints)
                }
                _ => walk(repeated, Some(*element), hints),
            }
        }
        _ => originals.iter().for_each(|original| walk(original, None, hints)),
    }
}

fn is_structure_of(element: Field<'_>, member: &Type) -> bool {
    element.type_type() == ArrowType::Struct_
        && !member.is_group()
        && element.children().is_some_and(|children| children.iter().any(|child| child.name() == Some(member.name())))
}

fn hint(field: Field<'_>) -> Option<Hint> {
    let unit = |unit: Unit| match unit {
        Unit::SECOND => Some(TimeUnit::Second),
        Unit::MILLISECOND => Some(TimeUnit::Millisecond),
        Unit::MICROSECOND => Some(TimeUnit::Microsecond),
        Unit::NANOSECOND => Some(TimeUnit::Nanosecond),
        _ => None,
    };
    let (scalar, bits) = match field.type_type() {
        ArrowType::Duration => (Scalar::Duration(unit(field.type_as_duration()?.unit())?), 64),
        ArrowType::Date if field.type_as_date()?.unit() == DateUnit::MILLISECOND => (Scalar::DateMillis, 64),
        ArrowType::Timestamp => {
            let timestamp = field.type_as_timestamp()?;
            (Scalar::Timestamp { unit: unit(timestamp.unit())?, utc: timestamp.timezone().is_some() }, 64)
        }
        ArrowType::Time => {
            let time = field.type_as_time()?;
            (Scalar::Time(unit(time.unit())?), u8::try_from(time.bitWidth()).ok()?)
        }
        _ => return None,
    };
    Some(Hint { scalar, bits })
}
