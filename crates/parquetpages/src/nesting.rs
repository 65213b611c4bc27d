//! Lists and maps of all the forms that writers have given them, in the one that the format has now.

use crate::error::Result;
use parquet::basic::{ConvertedType, Repetition};
use parquet::schema::types::{Type, TypePtr};
use std::sync::Arc;

/// The same columns at the top, with the same leaves of the same levels below them, where every repeated field is the one
/// group of a list or of a map:
///
/// ```text
/// group <name> (LIST) { repeated group list { <element>; } }
/// group <name> (MAP) { repeated group key_value { <key>; <value>; } }
/// ```
///
/// A field that is repeated without being annotated is a list. Of an annotated group whose fields cannot be those of a list
/// or a map, the annotation is left out.
pub fn canonical(root: &Type) -> Result<TypePtr> {
    let fields = root.get_fields().iter().map(field).collect::<Result<_>>()?;
    Ok(Arc::new(Type::group_type_builder(root.name()).with_fields(fields).build()?))
}

fn repetition(field: &Type) -> Repetition {
    let info = field.get_basic_info();
    if info.has_repetition() { info.repetition() } else { Repetition::REQUIRED }
}

fn is_repeated(field: &Type) -> bool {
    repetition(field) == Repetition::REPEATED
}

fn field(field: &TypePtr) -> Result<TypePtr> {
    match repetition(field) {
        Repetition::REPEATED => list(field.name(), Repetition::REQUIRED, value(field, Repetition::REQUIRED)?),
        once => value(field, once),
    }
}

/// A field that is there once or not at all, whatever it says itself.
fn value(field: &TypePtr, repetition: Repetition) -> Result<TypePtr> {
    let Type::GroupType { basic_info, fields } = field.as_ref() else { return primitive(field, repetition) };
    let name = field.name();
    if let [only] = fields.as_slice()
        && is_repeated(only)
    {
        match basic_info.converted_type() {
            ConvertedType::LIST => return list(name, repetition, element(name, only)?),
            ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE => {
                return match entry(only) {
                    Entry::Pair(key, of_key) => map(name, repetition, once(key)?, self::field(of_key)?),
                    Entry::Key(key) => list(name, repetition, once(key)?),
                    Entry::Other => list(name, repetition, value(only, Repetition::REQUIRED)?),
                };
            }
            _ => {}
        }
    }
    let fields = fields.iter().map(self::field).collect::<Result<_>>()?;
    group(name, repetition, ConvertedType::NONE, fields)
}

/// What the repeated field of a list says that an element is.
fn element(list_name: &str, repeated: &TypePtr) -> Result<TypePtr> {
    let as_it_is = || value(repeated, Repetition::REQUIRED);
    if !repeated.is_group() {
        return as_it_is();
    }
    let [only] = repeated.get_fields() else { return as_it_is() };
    // By the names that Avro's and Thrift's writers give to elements which are structures of one field.
    let is_named_so = ["array", &format!("{list_name}_tuple")].contains(&repeated.name());
    if is_repeated(only) || is_named_so { as_it_is() } else { value(only, repetition(only)) }
}

enum Entry<'a> {
    Pair(&'a TypePtr, &'a TypePtr),
    /// A set of keys.
    Key(&'a TypePtr),
    Other,
}

fn entry(repeated: &Type) -> Entry<'_> {
    if !repeated.is_group() {
        return Entry::Other;
    }
    match repeated.get_fields() {
        [key] if !is_repeated(key) => Entry::Key(key),
        [key, value] if !is_repeated(key) => Entry::Pair(key, value),
        _ => Entry::Other,
    }
}

fn once(key: &TypePtr) -> Result<TypePtr> {
    value(key, repetition(key))
}

fn list(name: &str, repetition: Repetition, element: TypePtr) -> Result<TypePtr> {
    let repeated = group("list", Repetition::REPEATED, ConvertedType::NONE, vec![element])?;
    group(name, repetition, ConvertedType::LIST, vec![repeated])
}

fn map(name: &str, repetition: Repetition, key: TypePtr, value: TypePtr) -> Result<TypePtr> {
    let repeated = group("key_value", Repetition::REPEATED, ConvertedType::NONE, vec![key, value])?;
    group(name, repetition, ConvertedType::MAP, vec![repeated])
}

fn group(name: &str, repetition: Repetition, converted: ConvertedType, fields: Vec<TypePtr>) -> Result<TypePtr> {
    let built =
        Type::group_type_builder(name).with_repetition(repetition).with_converted_type(converted).with_fields(fields);
    Ok(Arc::new(built.build()?))
}

fn primitive(field: &Type, repetition: Repetition) -> Result<TypePtr> {
    let info = field.get_basic_info();
    let Type::PrimitiveType { physical_type, type_length, scale, precision, .. } = field else {
        return Ok(Arc::new(field.clone()));
    };
    let built = Type::primitive_type_builder(info.name(), *physical_type)
        .with_repetition(repetition)
        .with_length(*type_length)
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_precision(*precision)
        .with_scale(*scale);
    Ok(Arc::new(built.build()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    /// The field in its canonical form, in one line; its leaves have the levels that they had.
    fn canonical_of(field: &str) -> String {
        let original = Arc::new(parse_message_type(&format!("message m {{ {field} }}")).unwrap());
        let canonical = canonical(&original).unwrap();
        let levels = |root: &TypePtr| -> Vec<_> {
            let schema = SchemaDescriptor::new(root.clone());
            let columns = schema.columns().iter();
            columns.map(|column| (column.physical_type(), column.max_def_level(), column.max_rep_level())).collect()
        };
        assert_eq!(levels(&canonical), levels(&original), "{field}");
        let mut text = Vec::new();
        parquet::schema::printer::print_schema(&mut text, &canonical.get_fields()[0]);
        String::from_utf8(text).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn same(field: &str, expected: &str) {
        assert_eq!(canonical_of(field), expected);
    }

    #[test]
    fn lists() {
        const OPTIONAL: &str = "OPTIONAL group a (LIST) { REPEATED group list { OPTIONAL INT32 e; } }";
        const REQUIRED: &str = "OPTIONAL group a (LIST) { REPEATED group list { REQUIRED INT32 e; } }";
        const STRUCTURES: &str =
            "OPTIONAL group a (LIST) { REPEATED group list { REQUIRED group array { OPTIONAL INT32 e; } } }";
        same("optional group a (LIST) { repeated group list { optional int32 e; } }", OPTIONAL);
        // Hive, Avro's and Thrift's old two levels, and fields that are just repeated.
        same("optional group a (LIST) { repeated group bag { optional int32 e; } }", OPTIONAL);
        same("optional group a (LIST) { repeated int32 e; }", REQUIRED);
        same("optional group a (LIST) { repeated group array { optional int32 e; } }", STRUCTURES);
        same(
            "optional group a (LIST) { repeated group a_tuple { optional int32 e; } }",
            &STRUCTURES.replace("array", "a_tuple"),
        );
        same(
            "optional group a (LIST) { repeated group element { optional int32 e; optional int32 f; } }",
            "OPTIONAL group a (LIST) { REPEATED group list { REQUIRED group element { OPTIONAL INT32 e; OPTIONAL INT32 f; } } }",
        );
        same("repeated int32 a;", "REQUIRED group a (LIST) { REPEATED group list { REQUIRED INT32 a; } }");
        same(
            "repeated group a { optional int32 e; }",
            "REQUIRED group a (LIST) { REPEATED group list { REQUIRED group a { OPTIONAL INT32 e; } } }",
        );
        // Lists of lists of two levels.
        same(
            "optional group a (LIST) { repeated group array (LIST) { repeated int32 array; } }",
            "OPTIONAL group a (LIST) { REPEATED group list { REQUIRED group array (LIST) { REPEATED group list \
             { REQUIRED INT32 array; } } } }",
        );
        // A structure whose field is repeated, by the rules of the format.
        same(
            "optional group a (LIST) { repeated group g { repeated int32 e; } }",
            "OPTIONAL group a (LIST) { REPEATED group list { REQUIRED group g { REQUIRED group e (LIST) \
             { REPEATED group list { REQUIRED INT32 e; } } } } }",
        );
    }

    #[test]
    fn maps() {
        const MAP: &str = "OPTIONAL group a (MAP) { REPEATED group key_value { REQUIRED INT32 k; OPTIONAL INT32 v; } }";
        same("optional group a (MAP) { repeated group key_value { required int32 k; optional int32 v; } }", MAP);
        same(
            "optional group a (MAP) { repeated group map (MAP_KEY_VALUE) { required int32 k; optional int32 v; } }",
            MAP,
        );
        same("optional group a (MAP_KEY_VALUE) { repeated group map { required int32 k; optional int32 v; } }", MAP);
        same(
            "optional group a (MAP) { repeated group map { optional int32 k; repeated int32 v; } }",
            "OPTIONAL group a (MAP) { REPEATED group key_value { OPTIONAL INT32 k; REQUIRED group v (LIST) \
             { REPEATED group list { REQUIRED INT32 v; } } } }",
        );
        // A set.
        same(
            "optional group a (MAP) { repeated group key_value { required int32 k; } }",
            "OPTIONAL group a (LIST) { REPEATED group list { REQUIRED INT32 k; } }",
        );
        // Hive's list of maps.
        same(
            "optional group a (LIST) { repeated group array (MAP) { repeated group key_value (MAP) \
             { required int32 k; optional int32 v; } } }",
            "OPTIONAL group a (LIST) { REPEATED group list { REQUIRED group array (MAP) { REPEATED group key_value \
             { REQUIRED INT32 k; OPTIONAL INT32 v; } } } }",
        );
        same(
            "repeated group a (MAP) { repeated group key_value { required int32 k; optional int32 v; } }",
            "REQUIRED group a (LIST) { REPEATED group list { REQUIRED group a (MAP) { REPEATED group key_value \
             { REQUIRED INT32 k; OPTIONAL INT32 v; } } } }",
        );
    }

    #[test]
    fn annotations_that_do_not_fit() {
        same("optional group a (LIST) { optional int32 e; }", "OPTIONAL group a { OPTIONAL INT32 e; }");
        same(
            "optional group a (MAP) { required int32 k; optional int32 v; }",
            "OPTIONAL group a { REQUIRED INT32 k; OPTIONAL INT32 v; }",
        );
        same(
            "optional group a (MAP) { repeated group e { required int32 k; optional int32 v; optional int32 w; } }",
            "OPTIONAL group a (LIST) { REPEATED group list { REQUIRED group e { REQUIRED INT32 k; OPTIONAL INT32 v; \
             OPTIONAL INT32 w; } } }",
        );
        same(
            "optional group a { repeated group key_value (MAP_KEY_VALUE) { required int32 k; optional int32 v; } }",
            "OPTIONAL group a { REQUIRED group key_value (LIST) { REPEATED group list { REQUIRED group key_value \
             { REQUIRED INT32 k; OPTIONAL INT32 v; } } } }",
        );
    }
}
