//! Digests of rows, as SQL that both servers run. Equal texts of expressions give equal digests for equal values.
//!
//! The expressions expect the settings that values are written by to be the same on both sides, and a search path of
//! `pg_catalog` alone. They call output functions and no casts, which users may define for their types.

use crate::catalog::Column;
use crate::quote_identifier;

/// The hash of a text, with which both sides must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// The server's own hash function of a record, for servers of one byte order that have it, and databases of one encoding.
    Record,
    /// The server's own hash function of a text: for servers of one byte order and databases of one encoding.
    Quick,
    /// SHA-256 of the text in UTF-8.
    Portable,
}

/// A column that is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestColumn {
    pub name: String,
    /// As [`crate::catalog::Column::base_type`].
    pub base_type: String,
    /// Whether the type's modifiers differ between both sides, so that equal values may be written differently.
    pub other_modifier: bool,
    /// Whether its text is short enough to stand in the text of a row as it is.
    pub is_short: bool,
    /// Whether the type's modifier leaves one way to write each value.
    pub is_fixed: bool,
}

impl DigestColumn {
    /// A column that both sides have with the same base type.
    pub fn of_both(there: &Column, here: &Column) -> Self {
        let other_modifier = there.type_name != here.type_name;
        let is_short = SHORT.contains(&here.base_type.as_str())
            || (!other_modifier && is_bounded(&here.base_type, &here.type_name));
        let is_fixed = !other_modifier && is_fixed(&here.base_type, &here.type_name);
        Self { name: here.name.clone(), base_type: here.base_type.clone(), other_modifier, is_short, is_fixed }
    }
}

/// Whether all values of the type have the same scale, or the same number of characters.
fn is_fixed(base_type: &str, type_name: &str) -> bool {
    ["numeric", "character"].contains(&base_type)
        && type_name.strip_prefix(base_type).is_some_and(|modifier| modifier.starts_with('('))
}

/// Whether the type is one of texts that its modifier keeps short: 1,600 of them, each of its characters quoted, fit into one
/// text.
fn is_bounded(base_type: &str, type_name: &str) -> bool {
    const MOST_CHARACTERS: u32 = 1000;
    let length = type_name.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')?.parse::<u32>().ok());
    ["character", "character varying"].contains(&base_type) && length.is_some_and(|length| length <= MOST_CHARACTERS)
}

/// Types whose texts are short, the same on every server and without characters beyond ASCII. They need no hash of their
/// own within a row.
const SHORT: [&str; 30] = [
    "\"char\"",
    "bigint",
    "boolean",
    "box",
    "circle",
    "cid",
    "cidr",
    "date",
    "double precision",
    "inet",
    "integer",
    "interval",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "numeric",
    "oid",
    "pg_lsn",
    "point",
    "real",
    "smallint",
    "tid",
    "time with time zone",
    "time without time zone",
    "timestamp with time zone",
    "timestamp without time zone",
    "uuid",
    "xid",
];

/// The number of 64 bits that stands for a row with these columns.
///
/// A row is hashed as the text that the server writes it as, in which no two rows are alike. Values that may be long stand
/// in it by their own hashes: the text of a row would otherwise grow beyond what a server can build.
pub fn row_digest(columns: &[DigestColumn], hash: Hash) -> String {
    if hash == Hash::Record
        && let Some(digest) = record_digest(columns)
    {
        return digest;
    }
    let values: Vec<String> = columns.iter().map(|column| value(column, hash)).collect();
    number(&format!("ROW({})::text", values.join(", ")), hash)
}

/// The number for a row by the hash of a record, `None` where it would have too many fields or none. That hash is a weighted sum of
/// those of its fields, so that sums over rows whose values are swapped would be the same: it is hashed once more.
fn record_digest(columns: &[DigestColumn]) -> Option<String> {
    /// With room below the most that an expression can have (`MaxTupleAttributeNumber` in `access/htup_details.h`).
    const MOST_FIELDS: usize = 1600;
    let fields: Vec<String> = columns.iter().flat_map(fields).collect();
    // With zero, the hash of NaN would be that of NULL.
    const SEED: u32 = 1;
    (1..=MOST_FIELDS)
        .contains(&fields.len())
        .then(|| quick(&format!("textin(int8out(hash_record_extended(ROW({}), {SEED})))", fields.join(", "))))
}

/// The fields by whose hashes values of a column are told from each other. The hash of a type does where no two values that are written
/// otherwise are equal to it, and where it takes in all of a value: that of `bigint`, of which it folds the halves, does not. All others
/// stand as their texts.
fn fields(column: &DigestColumn) -> Vec<String> {
    let name = quote_identifier(&column.name);
    let text_of = |text: &str| format!("{text} COLLATE \"C\"");
    let written_by = |function: &str| vec![text_of(&format!("textin({function}({name}))"))];
    // Long values could make a record that is longer than a server can build.
    let hash_of = |text: &str| vec![text_of(&format!("textin(int8out({}))", quick(text)))];
    match column.base_type.as_str() {
        "boolean" | "smallint" | "integer" | "date" | "oid" | "uuid" => vec![name],
        "bigint" => vec![format!("({name} >> 32)"), name],
        // The sign is no part of the hash.
        "numeric" if column.is_fixed => vec![format!("numeric_lt({name}, 0)"), name],
        "numeric" if !column.other_modifier => written_by("numeric_out"),
        "double precision" => written_by("float8out"),
        "real" => written_by("float4out"),
        "timestamp with time zone" => written_by("timestamptz_out"),
        "timestamp without time zone" => written_by("timestamp_out"),
        "time with time zone" => written_by("timetz_out"),
        "time without time zone" => written_by("time_out"),
        "interval" => written_by("interval_out"),
        "character varying" if column.is_short => vec![text_of(&name)],
        "character" if column.is_short && column.is_fixed => vec![text_of(&name)],
        "text" | "character varying" => hash_of(&name),
        "bytea" => hash_of(&format!("encode(sha256({name}), 'hex')")),
        _ => hash_of(&text(column)),
    }
}

/// How rows are sorted into buckets, alike on both sides for rows that are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    /// So many, a power of two, by a hash of the key; without a key by values that are cheap to hash.
    Hashed(u32),
    /// So many at most, each of 2 to the power of `shift` values of the key's first column, which is an integer: the rows of a few of
    /// them can be found through the key's index.
    Ranges { shift: u32, count: u32 },
}

impl Buckets {
    /// Ranges of a column with values from one to another, at most so many; `None` where the values lie so far apart that most
    /// rows could be in one range.
    pub fn ranges(lowest: i64, highest: i64, most: u32, rows: i64) -> Option<Self> {
        const WIDEST_GAP: i128 = 64;
        let span = i128::from(highest) - i128::from(lowest);
        if span < 0 || span > i128::from(rows.max(1)) * WIDEST_GAP {
            return None;
        }
        (0..i64::BITS).find_map(|shift| {
            let count = (i128::from(highest) >> shift) - (i128::from(lowest) >> shift) + 1;
            let count = u32::try_from(count).ok().filter(|count| *count <= most.max(1))?;
            Some(Self::Ranges { shift, count })
        })
    }

    pub fn count(self) -> u32 {
        match self {
            Self::Hashed(count) | Self::Ranges { count, .. } => count,
        }
    }

    /// The number of a row's bucket.
    pub fn of_row(self, key: &[DigestColumn], columns: &[DigestColumn], hash: Hash) -> String {
        match (self, key) {
            (Self::Hashed(count), _) => hashed_bucket(key, columns, count, hash),
            (Self::Ranges { shift, .. }, [first, ..]) => {
                format!("({}::bigint >> {shift})", quote_identifier(&first.name))
            }
            (Self::Ranges { .. }, []) => "0::bigint".to_owned(),
        }
    }

    /// The condition that a row is in one of these buckets.
    pub fn is_in(self, numbers: &[i64], key: &[DigestColumn], columns: &[DigestColumn], hash: Hash) -> String {
        let bucket = self.of_row(key, columns, hash);
        let list: Vec<String> = numbers.iter().map(i64::to_string).collect();
        let within = format!("{bucket} IN ({})", list.join(", "));
        match (self, key) {
            (Self::Ranges { shift, .. }, [first, ..]) => {
                let name = quote_identifier(&first.name);
                let range = |number: &i64| {
                    let lowest = number << shift;
                    format!("{name} BETWEEN {} AND {}", literal(lowest), literal(lowest | ((1_i64 << shift) - 1)))
                };
                let ranges: Vec<String> = numbers.iter().map(range).collect();
                format!("{within} AND ({})", ranges.join(" OR "))
            }
            _ => within,
        }
    }
}

/// The lowest literal of `bigint` cannot be written as a number with a sign in front.
fn literal(number: i64) -> String {
    format!("'{number}'::bigint")
}

/// Whether ranges of the column's values can be told by [`Buckets::ranges`].
pub fn is_integer(column: &DigestColumn) -> bool {
    ["smallint", "integer", "bigint"].contains(&column.base_type.as_str())
}

fn hashed_bucket(key: &[DigestColumn], columns: &[DigestColumn], buckets: u32, hash: Hash) -> String {
    if buckets <= 1 {
        return "0::bigint".to_owned();
    }
    let number = if !key.is_empty() && key.iter().all(is_integer) {
        key.iter().fold("0".to_owned(), |seed, column| {
            format!("hashint8extended({}::bigint, {seed})", quote_identifier(&column.name))
        })
    } else {
        let short: Vec<DigestColumn> = columns.iter().filter(|column| column.is_short).cloned().collect();
        match (key, short.as_slice()) {
            ([], []) => row_digest(columns, hash),
            ([], short) => row_digest(short, hash),
            (key, _) => row_digest(key, hash),
        }
    };
    format!("({number} & {})", buckets - 1)
}

/// The number of 64 bits that stands for a text.
pub fn number(text: &str, hash: Hash) -> String {
    match hash {
        Hash::Record | Hash::Quick => quick(text),
        Hash::Portable => format!("('x' || left(encode({}, 'hex'), 16))::bit(64)::bigint", portable(text)),
    }
}

/// What stands for a column's value in the text of a row.
fn value(column: &DigestColumn, hash: Hash) -> String {
    let name = quote_identifier(&column.name);
    let long = |text: &str| match hash {
        Hash::Record | Hash::Quick => quick(text),
        Hash::Portable => portable(text),
    };
    match column.base_type.as_str() {
        "numeric" if column.other_modifier => text(column),
        "\"char\"" if hash == Hash::Portable => long(&text(column)),
        _ if column.is_short => name,
        "bytea" => format!("sha256({name})"),
        _ => long(&text(column)),
    }
}

/// The text of a value, equal for equal values whatever the modifiers of both sides.
fn text(column: &DigestColumn) -> String {
    let name = quote_identifier(&column.name);
    let row = format!("ROW({name})::text");
    match (column.base_type.as_str(), column.other_modifier) {
        // 1.50 in numeric(10,2) is the source's 1.5000.
        ("numeric", true) => {
            let text = format!("textin(numeric_out({name}))");
            format!("CASE WHEN scale({name}) > 0 THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END")
        }
        ("numeric[]", true) => format!("regexp_replace({row} COLLATE \"C\", '{ZEROS_OF_ELEMENTS}', '', 'g')"),
        // Trailing blanks differ where the lengths do.
        ("character" | "bpchar", true) => format!("rtrim(textin(bpcharout({name})))"),
        ("character[]", true) => format!("ROW({name}::text[])::text"),
        ("text" | "character varying", _) => name,
        ("character" | "bpchar", false) => format!("textin(bpcharout({name}))"),
        ("json", _) => format!("textin(json_out({name}))"),
        ("jsonb", _) => format!("textin(jsonb_out({name}))"),
        ("xml", _) => format!("textin(xml_out({name}))"),
        _ => row,
    }
}

/// The zeros at the ends of numbers in the text of an array, with the point where there is nothing else behind it.
const ZEROS_OF_ELEMENTS: &str = "(?<=[.][0-9]*[1-9])0+(?=[,}])|[.]0+(?=[,}])";

fn quick(text: &str) -> String {
    format!("hashtextextended({text} COLLATE \"C\", 0)")
}

fn portable(text: &str) -> String {
    format!("sha256(convert_to({text}, 'UTF8'))")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, base_type: &str) -> DigestColumn {
        let is_short = SHORT.contains(&base_type);
        DigestColumn {
            name: name.into(),
            base_type: base_type.into(),
            other_modifier: false,
            is_short,
            is_fixed: false,
        }
    }

    #[test]
    fn long_values_stand_in_a_row_by_their_hashes() {
        assert_eq!(
            row_digest(&[column("id", "integer"), column("Body", "text")], Hash::Quick),
            "hashtextextended(ROW(id, hashtextextended(\"Body\" COLLATE \"C\", 0))::text COLLATE \"C\", 0)"
        );
        assert_eq!(row_digest(&[], Hash::Quick), "hashtextextended(ROW()::text COLLATE \"C\", 0)");
    }

    #[test]
    fn fields_of_a_record_take_in_all_of_a_value() {
        let fixed = |name, base_type| DigestColumn { is_fixed: true, ..column(name, base_type) };
        assert_eq!(
            row_digest(&[column("id", "bigint"), fixed("Price", "numeric"), column("at", "date")], Hash::Record),
            "hashtextextended(textin(int8out(hash_record_extended(ROW((id >> 32), id, numeric_lt(\"Price\", 0), \
             \"Price\", at), 1))) COLLATE \"C\", 0)"
        );
        let fields_of = |column: DigestColumn| fields(&column).join(", ");
        assert_eq!(fields_of(column("a", "numeric")), "textin(numeric_out(a)) COLLATE \"C\"");
        assert_eq!(fields_of(column("a", "double precision")), "textin(float8out(a)) COLLATE \"C\"");
        let long = |text: &str| format!("textin(int8out(hashtextextended({text} COLLATE \"C\", 0))) COLLATE \"C\"");
        assert_eq!(fields_of(column("a", "text")), long("a"));
        assert_eq!(fields_of(column("a", "regclass")), long("ROW(a)::text"));
        assert_eq!(fields_of(column("a", "jsonb")), long("textin(jsonb_out(a))"));
    }

    #[test]
    fn records_with_too_many_fields_or_none_are_hashed_as_texts() {
        let wide: Vec<DigestColumn> = (0..801).map(|number| column(&format!("c{number}"), "bigint")).collect();
        assert_eq!(row_digest(&wide, Hash::Record), row_digest(&wide, Hash::Quick));
        assert_ne!(row_digest(&wide[..800], Hash::Record), row_digest(&wide[..800], Hash::Quick));
        assert_eq!(row_digest(&[], Hash::Record), row_digest(&[], Hash::Quick));
    }

    #[test]
    fn ranges_are_few_and_hold_every_value() {
        for (lowest, highest, most) in [(0, 0, 1), (-5, 1_000_000, 100), (1, 6_000_000, 16_384), (-1, 0, 2)] {
            let Some(Buckets::Ranges { shift, count }) = Buckets::ranges(lowest, highest, most, 1_000_000) else {
                panic!("no ranges from {lowest} to {highest}");
            };
            assert!(count <= most && (highest >> shift) - (lowest >> shift) < i64::from(count));
            assert!(shift == 0 || (highest >> (shift - 1)) - (lowest >> (shift - 1)) >= i64::from(most));
        }
        // Two neighbours on both sides of zero are never in one range of a power of two.
        assert_eq!(Buckets::ranges(-1, 0, 1, 10), None);
        assert_eq!(Buckets::ranges(i64::MIN, i64::MAX, 16_384, 1_000_000), None);
        assert_eq!(Buckets::ranges(0, 1000, 16, 2), None);
        assert_eq!(Buckets::ranges(3, 2, 16, 1000), None);
    }

    #[test]
    fn rows_of_ranges_are_found_through_an_index() {
        let buckets = Buckets::Ranges { shift: 4, count: 9 };
        let key = [column("id", "integer"), column("Line", "integer")];
        assert_eq!(
            buckets.is_in(&[-1, 2], &key, &[], Hash::Quick),
            "(id::bigint >> 4) IN (-1, 2) AND (id BETWEEN '-16'::bigint AND '-1'::bigint OR \
             id BETWEEN '32'::bigint AND '47'::bigint)"
        );
    }

    #[test]
    fn types_of_users_are_written_by_their_output_functions() {
        assert_eq!(
            value(&column("a", "public.\"integer\""), Hash::Quick),
            "hashtextextended(ROW(a)::text COLLATE \"C\", 0)"
        );
        assert_eq!(value(&column("a", "text[]"), Hash::Portable), "sha256(convert_to(ROW(a)::text, 'UTF8'))");
    }

    #[test]
    fn texts_that_are_kept_short_stand_as_they_are() {
        let typed = |type_name: &str| Column {
            number: 1,
            name: "a".into(),
            type_name: type_name.into(),
            base_type: type_name.split('(').next().unwrap_or_default().into(),
            generated: false,
            optional: false,
            not_null: true,
            binary: true,
            extensions: vec![],
            structure: None,
        };
        let is_short = |there: &str, here: &str| DigestColumn::of_both(&typed(there), &typed(here)).is_short;
        assert!(is_short("character varying(44)", "character varying(44)"));
        assert!(is_short("character(10)", "character(10)"));
        assert!(!is_short("character(10)", "character(12)"));
        assert!(!is_short("character varying(1001)", "character varying(1001)"));
        assert!(!is_short("character varying", "character varying"));
        assert!(!is_short("public.\"character varying\"(4)", "public.\"character varying\"(4)"));
    }

    #[test]
    fn other_modifiers_change_no_values() {
        let other = |base_type| DigestColumn { other_modifier: true, ..column("a", base_type) };
        assert!(value(&other("numeric"), Hash::Quick).contains("scale(a)"));
        assert!(value(&other("character"), Hash::Quick).contains("rtrim("));
        for hash in [Hash::Quick, Hash::Record] {
            assert!(row_digest(&[other("numeric[]")], hash).contains("regexp_replace(ROW(a)::text"));
            assert!(row_digest(&[other("character[]")], hash).contains("ROW(a::text[])::text"));
        }
        assert_eq!(value(&other("character varying"), Hash::Quick), value(&column("a", "text"), Hash::Quick));
    }
}
