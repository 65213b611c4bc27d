//! The types whose stored form means the same on two servers.

use crate::content::{Content, Scalar};

/// A column whose values can travel as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The length of its values in bytes; -1 for those that begin with their length.
    pub length: i16,
    /// The alignment of its values in bytes.
    pub alignment: u8,
    pub(crate) content: Content,
}

/// A type, the type of its arrays, and how its values are stored.
struct Type {
    /// As `format_type` writes it, without a modifier.
    name: &'static str,
    oid: u32,
    array: u32,
    length: i16,
    alignment: u8,
    scalar: Scalar,
}

const fn fixed(name: &'static str, oid: u32, array: u32, length: i16, alignment: u8, scalar: Scalar) -> Type {
    Type { name, oid, array, length, alignment, scalar }
}

const fn variable(name: &'static str, oid: u32, array: u32, scalar: Scalar) -> Type {
    Type { name, oid, array, length: -1, alignment: 4, scalar }
}

const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;
const BIT: u32 = 1560;
const VARBIT: u32 = 1562;

/// The types of `pg_type.dat` that hold no OID, no number of a label and nothing that a collation decides.
const TYPES: &[Type] = &[
    fixed("boolean", 16, 1000, 1, 1, Scalar::Bool),
    fixed("\"char\"", 18, 1002, 1, 1, Scalar::Any),
    variable("bytea", 17, 1001, Scalar::Any),
    fixed("bigint", 20, 1016, 8, 8, Scalar::Any),
    fixed("smallint", 21, 1005, 2, 2, Scalar::Any),
    fixed("integer", 23, 1007, 4, 4, Scalar::Any),
    variable("text", 25, 1009, Scalar::Text { limit: None }),
    variable("json", 114, 199, Scalar::Json),
    fixed("point", 600, 1017, 16, 8, Scalar::Any),
    fixed("lseg", 601, 1018, 32, 8, Scalar::Any),
    fixed("box", 603, 1020, 32, 8, Scalar::Any),
    fixed("line", 628, 629, 24, 8, Scalar::Any),
    variable("cidr", 650, 651, Scalar::Cidr),
    fixed("real", 700, 1021, 4, 4, Scalar::Any),
    fixed("double precision", 701, 1022, 8, 8, Scalar::Any),
    fixed("circle", 718, 719, 24, 8, Scalar::Any),
    fixed("macaddr8", 774, 775, 8, 4, Scalar::Any),
    fixed("macaddr", 829, 1040, 6, 4, Scalar::Any),
    variable("inet", 869, 1041, Scalar::Inet),
    variable("character", BPCHAR, 1014, Scalar::Text { limit: None }),
    variable("character varying", VARCHAR, 1015, Scalar::Text { limit: None }),
    fixed("date", 1082, 1182, 4, 4, Scalar::Date),
    fixed("time without time zone", 1083, 1183, 8, 8, Scalar::Time),
    fixed("timestamp without time zone", 1114, 1115, 8, 8, Scalar::Timestamp),
    fixed("timestamp with time zone", 1184, 1185, 8, 8, Scalar::Timestamp),
    fixed("interval", 1186, 1187, 16, 8, Scalar::Any),
    fixed("time with time zone", 1266, 1270, 12, 8, Scalar::TimeWithZone),
    variable("bit", BIT, 1561, Scalar::Bits { length: None, limit: None }),
    variable("bit varying", VARBIT, 1563, Scalar::Bits { length: None, limit: None }),
    variable("numeric", 1700, 1231, Scalar::Numeric),
    fixed("uuid", 2950, 2951, 16, 1, Scalar::Any),
    fixed("pg_lsn", 3220, 3221, 8, 8, Scalar::Any),
    variable("jsonb", 3802, 3807, Scalar::Jsonb),
];

/// Returns whether values of the type travel as they are stored. The name is that of `format_type` with `pg_catalog` alone
/// on the search path, so that it is one of the server's own types, and has no modifier.
pub fn travels_as_stored(type_name: &str) -> bool {
    let name = type_name.strip_suffix("[]").unwrap_or(type_name);
    TYPES.iter().any(|known| known.name == name)
}

impl Column {
    /// Describes a column of an enum: its values are numbers of labels, which are another server's own. What they stand for here is
    /// found by who stores them.
    pub fn of_labels() -> Self {
        Self { length: 4, alignment: 4, content: Content::Scalar(Scalar::Any) }
    }

    /// Describes a column of a type of the server's own, with its modifier; `None` where values of the type do not travel
    /// as they are stored.
    pub fn of(type_oid: u32, typmod: i32) -> Option<Self> {
        if let Some(known) = TYPES.iter().find(|known| known.oid == type_oid) {
            let content = Content::Scalar(known.with_modifier(typmod));
            return Some(Self { length: known.length, alignment: known.alignment, content });
        }
        let element = TYPES.iter().find(|known| known.array == type_oid)?;
        let content = Content::Array {
            element: element.oid,
            length: element.length,
            alignment: element.alignment,
            scalar: element.with_modifier(typmod),
        };
        Some(Self { length: -1, alignment: element.alignment.max(4), content })
    }
}

impl Type {
    fn with_modifier(&self, typmod: i32) -> Scalar {
        const LENGTH_WORD: i32 = 4;
        let number = u32::try_from(typmod).ok();
        match self.oid {
            BPCHAR | VARCHAR => Scalar::Text { limit: typmod.checked_sub(LENGTH_WORD).and_then(|n| n.try_into().ok()) },
            BIT => Scalar::Bits { length: number, limit: None },
            VARBIT => Scalar::Bits { length: None, limit: number },
            _ => self.scalar,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_with_numbers_of_this_server_alone_stay_away() {
        // oid, regclass, name, money, xml, oidvector, an enum
        for oid in [26, 2205, 19, 790, 142, 30, 16_384] {
            assert_eq!(Column::of(oid, -1), None);
        }
    }

    #[test]
    fn types_are_known_by_their_names() {
        assert!(["integer", "numeric[]", "\"char\"", "character varying"].into_iter().all(travels_as_stored));
        assert!(
            !["oid", "regclass[]", "integer[][]", "public.integer", "numeric(10,2)"].into_iter().any(travels_as_stored)
        );
    }

    #[test]
    fn modifiers_limit_texts() {
        let limit = |oid, typmod| match Column::of(oid, typmod).unwrap().content {
            Content::Scalar(Scalar::Text { limit }) => limit,
            other => panic!("{other:?}"),
        };
        assert_eq!([limit(1043, 14), limit(1042, 5), limit(1043, -1), limit(25, -1)], [Some(10), Some(1), None, None]);
    }

    #[test]
    fn arrays_are_aligned_as_their_elements() {
        let layout = |oid| Column::of(oid, -1).map(|column| (column.length, column.alignment));
        assert_eq!(
            [layout(1007), layout(1016), layout(1000), layout(1009)],
            [Some((-1, 4)), Some((-1, 8)), Some((-1, 4)), Some((-1, 4))]
        );
    }
}
