//! Masks that pgcopy on the source computes: the same as those of SQL, and only where it is sound to call its functions.

use crate::harness::forger::{Forged, Forger, message};
use crate::harness::{Failure, Pair, text, texts};

const WITH_KEY: &str = ", mask_key => 'correct horse battery', overwrite => true";

/// What `plan` says where the functions are called.
const BY_FUNCTIONS: &str = "masked on the source, by its pgcopy: ";

/// A column of a table: its type, an expression for its values over a number `n` and a text `v`, and its mask.
type Masked = (&'static str, &'static str, &'static str);

struct Case {
    pair: Pair,
    columns: &'static [Masked],
    tables: String,
}

impl Case {
    /// Makes a table on both sides. `values` is a query for the source's `id`, `n` and `v`.
    fn of(mut pair: Pair, columns: &'static [Masked], values: &str) -> Self {
        let each = |line: &dyn Fn(usize, &Masked) -> String| {
            columns.iter().enumerate().map(|(number, column)| line(number, column)).collect::<Vec<_>>().join(", ")
        };
        let definitions = each(&|number, (type_name, ..)| format!("c{number} {type_name}"));
        pair.both(&format!("CREATE TABLE item (id int PRIMARY KEY, {definitions})"));
        let expressions = each(&|_, (_, value, _)| (*value).to_owned());
        let filled = format!("INSERT INTO item SELECT id, {expressions} FROM ({values}) AS given (id, n, v)");
        pair.source.batch_execute(&filled).unwrap_or_else(|error| panic!("{:?}", Failure::of(&error)));
        let masks = each(&|number, (_, _, mask)| format!(r#""c{number}": {{"mask": {mask}}}"#));
        Self { pair, columns, tables: format!(r#"{{"item": {{"columns": {{{masks}}}}}}}"#) }
    }

    fn calls_functions(&mut self, dsn: &str) -> bool {
        let sql = format!(
            "SELECT array_to_string(warnings, '; ') FROM pgcopy.plan('{dsn}', tables => '{}'{WITH_KEY})",
            self.tables
        );
        let told = texts(&mut self.pair.destination, &sql).join("\n");
        assert!(told.contains("masked on the source"), "{told}");
        told.contains(BY_FUNCTIONS)
    }

    fn pull(&mut self, dsn: &str, arguments: &str) -> Result<u64, Failure> {
        let sql = format!("SELECT pgcopy.pull('{dsn}', tables => '{}'{WITH_KEY}{arguments})", self.tables);
        self.pair.destination.execute(&sql, &[]).map_err(|error| Failure::of(&error))
    }

    /// Pulls, and returns a digest of each column.
    fn pulled(&mut self, dsn: &str, arguments: &str) -> Vec<String> {
        self.pull(dsn, arguments).unwrap_or_else(|failure| panic!("{failure:?}"));
        let destination = &mut self.pair.destination;
        let digest = |(number, (type_name, _, mask)): (usize, &Masked)| {
            let sql = format!("SELECT md5(string_agg(coalesce(c{number}::text, '(null)'), ',' ORDER BY id)) FROM item");
            format!("{type_name} by {mask}: {}", text(destination, &sql))
        };
        self.columns.iter().enumerate().map(digest).collect()
    }

    /// Pulls by SQL and by functions, and compares.
    fn compare(&mut self) -> Vec<String> {
        let dsn = self.pair.dsn();
        assert!(!self.calls_functions(&dsn));
        let by_sql = self.pulled(&dsn, "");
        self.pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
        assert!(self.calls_functions(&dsn));
        for arguments in ["", ", parallel => 0", ", compress => 'zstd'"] {
            let by_functions = self.pulled(&dsn, arguments);
            for (number, (expected, found)) in by_sql.iter().zip(by_functions).enumerate() {
                assert_eq!(found, *expected, "c{number}{arguments}");
            }
        }
        self.pair.assert_nothing_left();
        by_sql
    }
}

const TEXTS: &[Masked] = &[
    ("text", "v", r#""text""#),
    ("varchar(40)", "left(v, 40)", r#""text""#),
    ("char(25)", "left(v, 25)", r#""text""#),
    ("char(40)", "left(v, 40)", r#""email""#),
    ("char(9)", "left(v, 9)", r#""name""#),
    ("char(40)[]", "ARRAY[left(v, 40), NULL, '', ' a ']", r#""phone""#),
    ("bpchar", "v || '  '", r#""text""#),
    ("padded", "left(v, 20)", r#""text""#),
    ("code", "left(v, 30)", r#""text""#),
    (r#""Odd; x over (y)""#, "left(v, 20)", r#""name""#),
    ("unpadded", "v || '  '", r#""text""#),
    ("unpadded_list", "ARRAY[left(v, 40), NULL, ' a ']", r#""phone""#),
    ("citext", "v", r#""text""#),
    ("text[]", "ARRAY[v, NULL, '', left(v, 3)]", r#""text""#),
    ("text COLLATE loose", "v", r#""text""#),
    ("text", "v", r#""phone""#),
    ("text", "v", r#""email""#),
    ("varchar(40)", "left(v, 40)", r#""email""#),
    ("text", "v", r#""hash""#),
    ("varchar(20)", "left(v, 20)", r#""hash""#),
    ("citext", "v", r#""hash""#),
    ("text", "v", r#""uuid""#),
    ("text", "v", r#""ip""#),
    ("text", "v", r#""name""#),
    ("varchar(7)", "left(v, 7)", r#""name""#),
    ("text", "v", r#"{"name": {"part": "first"}}"#),
    ("varchar(3)", "left(v, 3)", r#"{"name": {"part": "last"}}"#),
    ("text", "v", r#""address""#),
    ("varchar(8)", "left(v, 8)", r#""address""#),
    ("text", "CASE n % 3 WHEN 0 THEN 'AIR' WHEN 1 THEN 'DELIVER IN PERSON' END", r#""text""#),
    (
        "jsonb",
        "jsonb_build_object('a', left(v, 300), 'b', n, 'c', ARRAY[left(v, 20), NULL], 'd', n * 1.25)",
        r#"{"json": {"a": "text", "b": {"number": {"min": 0, "max": 9}}, "c": "email", "d": "number"}}"#,
    ),
];

/// Texts of all lengths up to 150, single characters, and odd ones.
const TEXT_VALUES: &str = r"SELECT n + 1000, n, left(CASE n % 5 WHEN 0 THEN repeat(md5(n::text), 5) WHEN 1 THEN repeat('Word ' || n || ', ', 20)
        WHEN 2 THEN repeat(upper(md5(n::text)) || '-é', 5) WHEN 3 THEN repeat('x', 150) ELSE repeat('Ab. ', 40) END, n / 20)
    FROM generate_series(0, 3000) n
    UNION ALL SELECT 5000 + n, n, chr(n) FROM generate_series(1, 400) n
    UNION ALL SELECT o.n, o.n, o.v FROM unnest(ARRAY[NULL, '', ' ', '  ', 'a', 'Z', '0', '9', E'\t', E'\n', E'\\', '''', '\', E'\x7f', 'Straße', 'ÄÖÜ', E'e\u0301',
        E'\u0301', '中文', '注文', E'\U0001F600', E'a\u00a0b', E'\ufeff', E'\uffff', E'\U0010ffff', repeat('Word 42, ', 1111), repeat('Long ü 42, ', 9500),
        repeat('Long 42, ', 11000), repeat('x', 32767), repeat('x', 32768), repeat('x', 32769), repeat('ü', 16384), repeat('中', 40000), repeat('x', 119),
        repeat('x', 92), repeat('x', 93), repeat('x', 28), repeat('x', 29), 'User@Example.COM', '+49 (30) 123-456', '10.0.0.1', '2001:db8::1',
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'NULL', '{}', '$1', '%s', E'\x01\x02']) WITH ORDINALITY o(v, n)";

#[test]
fn texts_are_masked_alike_by_functions_and_by_sql() {
    let mut pair = Pair::new("mask_functions_texts");
    // Blanks and signs alone are equal to the empty text there.
    pair.both(
        "CREATE EXTENSION citext; CREATE DOMAIN code AS varchar(30); CREATE DOMAIN padded AS char(20);
         CREATE DOMAIN \"over (3)\" AS varchar(20); CREATE DOMAIN \"Odd; x over (y)\" AS \"over (3)\";
         CREATE DOMAIN unpadded AS bpchar; CREATE DOMAIN unpadded_list AS bpchar[];
         CREATE COLLATION loose (provider = icu, locale = 'und-u-ka-shifted-ks-level1', deterministic = false)",
    );
    let mut case = Case::of(pair, TEXTS, TEXT_VALUES);
    case.compare();
    let counted = "SELECT concat_ws(' ', count(*) > 3000, count(DISTINCT c0) > 1500, count(*) - count(c0)) FROM item";
    assert_eq!(text(&mut case.pair.destination, counted), "t t 1");
}

const NUMBERS: &[Masked] = &[
    ("smallint", "n % 32768", r#""number""#),
    ("smallint", "n % 32768", r#"{"number": {"min": -32768, "max": 32767}}"#),
    ("int", "n % 2147483648", r#"{"number": {"jitter": 1}}"#),
    ("int", "n % 2147483648", r#"{"number": {"min": -5.5, "max": 5.5}}"#),
    ("bigint", "n", r#""number""#),
    ("bigint", "n", r#"{"number": {"jitter": 0.0001}}"#),
    ("bigint", "n", r#"{"number": {"min": -9223372036854775807, "max": 9223372036854775807}}"#),
    ("bigint", "n", r#"{"number": {"min": 7, "max": 7}}"#),
    ("bigint", "n", r#""hash""#),
    ("int[]", "ARRAY[n % 1000, NULL]", r#""number""#),
    ("numeric(15,2)", "CASE WHEN n % 97 = 0 THEN 'NaN' ELSE n % 999999999999999 / 100.0 END", r#""number""#),
    (
        "numeric(15,2)",
        "CASE WHEN n % 97 = 0 THEN 'NaN' ELSE n % 999999999999999 / 100.0 END",
        r#"{"number": {"min": -0.015, "max": 1000}}"#,
    ),
    ("numeric(18,0)", "n % 999999999999999999", r#"{"number": {"jitter": 0.5}}"#),
    ("numeric(18,18)", "(n % 999999999999999999) / 1e18", r#""number""#),
    ("numeric(19,2)", "n / 100.0", r#""number""#),
    ("numeric(3,3)", "n % 999 / 1000.0", r#"{"number": {"min": -0.5, "max": 0.5}}"#),
    ("numeric(3,3)[]", "ARRAY[n % 999 / 1000.0, 'NaN']", r#""number""#),
    ("share", "n % 9999999 / 1000.0", r#""number""#),
    ("numeric(4,-3)", "n % 9999 * 1000", r#""number""#),
    ("numeric(4,-3)", "n % 9999 * 1000", r#"{"number": {"min": -99999, "max": 0}}"#),
    ("numeric(3,7)", "n % 999 / 1e7", r#""number""#),
    ("numeric", "n / (1 + abs(n % 1000))::numeric", r#""number""#),
    (
        "numeric",
        "CASE n % 4 WHEN 0 THEN 'NaN' WHEN 1 THEN n * 1e30 ELSE n / 1e30 END",
        r#"{"number": {"min": 0.001, "max": 0.5}}"#,
    ),
    (
        "float4",
        "CASE n % 50 WHEN 0 THEN 'NaN' WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' ELSE (n / 7.0)::float8 END",
        r#""number""#,
    ),
    (
        "float8",
        "CASE n % 50 WHEN 0 THEN 'NaN' WHEN 1 THEN 'infinity' WHEN 2 THEN '-0' ELSE (n / 7.0)::float8 END",
        r#"{"number": {"jitter": 1}}"#,
    ),
    ("float8", "n / 7.0", r#"{"number": {"min": -1, "max": 1}}"#),
    ("float8", "(n % 1000)::float8 * '5e-324'::float8", r#""number""#),
    ("float4", "(n % 1000)::float4 * '1e-45'::float4", r#""number""#),
    ("int[]", "ARRAY[n % 1000, NULL]", r#"{"number": {"min": 5, "max": 50}}"#),
    ("numeric(4,1)[]", "ARRAY[n % 1000 / 10.0, NULL]", r#"{"number": {"min": -0.5, "max": 50}}"#),
];

/// Numbers of all sizes and those at the ends, of both signs.
const NUMBER_VALUES: &str = "SELECT row_number() OVER (), n, NULL FROM (
        SELECT s * n AS n FROM generate_series(0, 300) n, unnest('{1,-1}'::bigint[]) s
        UNION ALL SELECT s * (power(10::numeric, e)::bigint + d) FROM generate_series(0, 18) e, generate_series(-2, 2) d, unnest('{1,-1}'::bigint[]) s
        UNION ALL SELECT s * ((1::bigint << e) + d) FROM generate_series(0, 62) e, generate_series(-2, 2) d, unnest('{1,-1}'::bigint[]) s
        UNION ALL SELECT hashint8extended(n, 0) >> (n % 60) FROM generate_series(1, 2000) n
        UNION ALL SELECT unnest('{9223372036854775807,-9223372036854775807,-9223372036854775808,NULL}'::bigint[])) n";

#[test]
fn numbers_are_masked_alike_by_functions_and_by_sql() {
    let mut pair = Pair::new("mask_functions_numbers");
    pair.both("CREATE DOMAIN share AS numeric(7,3)");
    let mut case = Case::of(pair, NUMBERS, NUMBER_VALUES);
    case.compare();
    let counted = "SELECT concat_ws(' ', count(*) > 3000, count(DISTINCT c4) > 2000, count(*) - count(c4), count(*) FILTER (WHERE c10 = 'NaN') > 5)
                   FROM item";
    assert_eq!(text(&mut case.pair.destination, counted), "t t 1 t");
}

const DAY: &str = "CASE n % 20 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' WHEN 2 THEN '4714-11-24 BC'::date + n WHEN 3 THEN '5874897-12-31'::date - n
    WHEN 4 THEN '1969-12-31'::date + n % 3 WHEN 5 THEN '2049-12-30'::date + n % 3 WHEN 6 THEN '4600-01-01 BC'::date + n % 3 - 1
    WHEN 7 THEN '5874700-01-01'::date + n % 3 - 1 WHEN 8 THEN NULL ELSE '1980-01-01'::date + n * 5 END";
const AT: &str = "CASE n % 20 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' WHEN 2 THEN '4714-11-24 BC'::timestamp + n * interval '1 hour'
    WHEN 3 THEN '294276-12-31 23:59:59.999999'::timestamp - n * interval '1 hour' WHEN 4 THEN '4600-01-01 BC'::timestamp + n % 3 * interval '1 us' - interval '1 us'
    WHEN 5 THEN '294100-01-01'::timestamp + n % 3 * interval '1 us' - interval '1 us' WHEN 8 THEN NULL ELSE '1980-01-01'::timestamp + n * interval '31:00:00.000001' END";
const MOMENT: &str = "CASE n % 20 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' WHEN 2 THEN '4714-11-25 00:00+00 BC'::timestamptz + n * interval '1 hour'
    WHEN 3 THEN '294276-12-31 00:00+00'::timestamptz - n * interval '1 hour' WHEN 8 THEN NULL ELSE '1980-03-29 00:30+00'::timestamptz + n * interval '7:00:00.000001' END";
const NEAR: &str = r#"{"date": {"jitter": 36500}}"#;
const BETWEEN: &str = r#"{"date": {"min": "1999-02-03", "max": "2010-12-31"}}"#;

const OTHERS: &[Masked] = &[
    ("date", DAY, r#""date""#),
    ("date", DAY, NEAR),
    ("date", DAY, r#"{"date": {"jitter": 1}}"#),
    ("date", DAY, BETWEEN),
    ("day", DAY, NEAR),
    ("date[]", "ARRAY['2020-01-01'::date + n, NULL, 'infinity']", r#""date""#),
    ("timestamp", AT, r#""date""#),
    ("timestamp", AT, NEAR),
    ("timestamp(0)", "'1980-01-01'::timestamp + n * interval '31:00:00'", r#""date""#),
    ("timestamp", AT, BETWEEN),
    ("timestamptz", MOMENT, r#""date""#),
    ("timestamptz", MOMENT, NEAR),
    ("timestamptz", MOMENT, BETWEEN),
    ("uuid", "md5(n::text)::uuid", r#""uuid""#),
    ("uuid[]", "ARRAY[md5(n::text)::uuid, NULL]", r#""uuid""#),
    ("bytea", "decode(left(repeat(md5(n::text), 8), n % 100 * 2), 'hex')", r#""hash""#),
    ("inet", "('10.' || n % 256 || '.' || n % 7 || '.1/' || n % 33)::inet", r#""ip""#),
    ("inet", "('2001:db8::' || to_hex(n % 65536) || '/' || n % 129)::inet", r#""ip""#),
    ("inet[]", "ARRAY['10.0.0.1', NULL, '::1']::inet[]", r#""ip""#),
    (
        "json",
        r#"CASE n % 4 WHEN 0 THEN '[]' WHEN 1 THEN '{"a": {"b": [1, "x", null]}}' WHEN 2 THEN 'null' ELSE json_build_object('a', n)::text END::json"#,
        r#"{"json": {"a.b": "text", "c": "hash"}}"#,
    ),
    ("date[]", "ARRAY['2020-01-01'::date + n, NULL, 'infinity']", BETWEEN),
    (
        "jsonb",
        "jsonb_build_object('a.b', jsonb_build_object('', md5(n::text)), 'a', 1)",
        r#"{"json": {"\"a.b\".\"\"": {"constant": "gone"}}}"#,
    ),
];

#[test]
fn dates_and_addresses_are_masked_alike_by_functions_and_by_sql() {
    let mut pair = Pair::new("mask_functions_others");
    pair.both("CREATE DOMAIN day AS date");
    // A time zone of the source with another time in summer.
    let zone = format!("ALTER DATABASE {} SET timezone = 'Europe/Berlin'", pair.database);
    pair.source.batch_execute(&zone).unwrap();
    let mut case = Case::of(pair, OTHERS, "SELECT n, n, NULL FROM generate_series(1, 3000) n");
    case.compare();
    let counted = r#"SELECT concat_ws(' ', count(DISTINCT c1) > 1500, count(DISTINCT c7) > 1500, count(DISTINCT c13), min(c3) >= '1999-02-03', max(c3) <= '2010-12-31',
                   count(*) FILTER (WHERE c21 = '{"a.b": {"": "gone"}, "a": 1}')) FROM item"#;
    assert_eq!(text(&mut case.pair.destination, counted), "t t 3000 t t 3000");
}

const ENCODED: &[Masked] = &[
    ("text", "v", r#""email""#),
    ("text", "v", r#""hash""#),
    ("text", "v", r#""name""#),
    ("text", "v", r#""uuid""#),
    ("text", "v", r#""text""#),
    ("varchar(60)", "CASE WHEN length(v) <= 60 THEN v END", r#""text""#),
    ("char(70)", "CASE WHEN length(v) <= 60 THEN v END", r#""phone""#),
    ("text[]", "ARRAY[v]", r#""text""#),
];

const IN_UTF8: &str = "ENCODING 'UTF8' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
const IN_LATIN1: &str = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
const IN_EUC_JP: &str = "ENCODING 'EUC_JP' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
const IN_SQL_ASCII: &str = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";

fn in_encoding(name: &str, options: &str, words: &str) -> (Case, Vec<String>) {
    let values = format!(
        "SELECT n, n, repeat(w || ' Word ' || n, 1 + n::int % 3) FROM unnest(ARRAY[{words}]) WITH ORDINALITY w(w, n)
         UNION ALL SELECT 100, 100, repeat({first}, 20000) UNION ALL SELECT 101, 101, 'Ascii 42' UNION ALL SELECT 102, 102, NULL UNION ALL SELECT 103, 103, ''",
        first = words.split(',').next().unwrap()
    );
    let mut case = Case::of(Pair::created_with(name, options, IN_UTF8), ENCODED, &values);
    let digests = case.compare();
    (case, digests)
}

/// Equal texts have equal masks, whatever encoding they are stored in.
#[test]
fn texts_of_other_encodings_are_masked_alike() {
    let latin = "'Straße', 'ÄÖÜ äöü', 'café 12', '£§°'";
    let (_, expected) = in_encoding("mask_functions_utf8", IN_UTF8, latin);
    let (_, found) = in_encoding("mask_functions_latin1", IN_LATIN1, latin);
    assert_eq!(found, expected);
    // Characters of two and three bytes, among them some of half a width.
    let japanese = "'注文', 'ｱｲ', '丂', '12 注 Ab'";
    let (_, expected) = in_encoding("mask_functions_utf8", IN_UTF8, japanese);
    let (_, found) = in_encoding("mask_functions_euc_jp", IN_EUC_JP, japanese);
    assert_eq!(found, expected);
}

#[test]
fn bytes_without_an_encoding_are_those_of_utf8_or_refused() {
    let words = "'Straße', '注文 12', 'plain'";
    let (_, of_utf8) = in_encoding("mask_functions_utf8_too", IN_UTF8, words);
    let (mut case, found) = in_encoding("mask_functions_sql_ascii", IN_SQL_ASCII, words);
    // Of the shape bytes are characters there.
    assert_eq!(found[..4], of_utf8[..4]);
    assert_ne!(found[4], of_utf8[4]);
    let dsn = case.pair.dsn();
    for installed in [true, false] {
        if !installed {
            case.pair.source.batch_execute("DROP EXTENSION pgcopy").unwrap();
        }
        for bytes in ["ff", "41c3", "eda080", "f4908080", "c080"] {
            let odd = format!(
                "DELETE FROM item WHERE id = 200; INSERT INTO item (id, c0) VALUES (200, convert_from('\\x{bytes}', 'SQL_ASCII'))"
            );
            case.pair.source.batch_execute(&odd).unwrap();
            assert_eq!(case.calls_functions(&dsn), installed);
            let failure = case.pull(&dsn, "").unwrap_err();
            assert_eq!(failure.sqlstate, "22021", "{failure:?}");
            assert_eq!(failure.message, "an expression of tables fails for a value of the source");
        }
    }
    case.pair.assert_nothing_left();
}

const ONE: &[Masked] = &[("text", "v", r#""text""#), ("bigint", "n", r#""number""#)];

/// Where it is not certain that the functions are ours, they are not called.
#[test]
fn functions_of_others_are_not_called() {
    let pair = Pair::new("mask_functions_lacking");
    let mut case = Case::of(pair, ONE, "SELECT n, n, 'Secret ' || n FROM generate_series(1, 50) n");
    let dsn = case.pair.dsn();
    let expected = case.pulled(&dsn, "");
    case.pair
        .source
        .batch_execute(
            "CREATE EXTENSION pgcopy; GRANT SELECT ON item TO PUBLIC;
             DO $$ BEGIN CREATE ROLE mask_reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             DO $$ BEGIN CREATE ROLE mask_planter; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        )
        .unwrap();
    let as_reader = dsn.replace("user=postgres", "user=mask_reader");
    for (change, calls) in [
        ("SELECT", true),
        ("REVOKE EXECUTE ON FUNCTION pgcopy.mask_text FROM PUBLIC", false),
        ("GRANT EXECUTE ON FUNCTION pgcopy.mask_text TO mask_reader", true),
        ("REVOKE USAGE ON SCHEMA pgcopy FROM PUBLIC", false),
        ("GRANT USAGE ON SCHEMA pgcopy TO PUBLIC", true),
        // Another function of that name could be the better match.
        (
            "CREATE FUNCTION pgcopy.mask_text(bytea, text, varchar, int) RETURNS text LANGUAGE sql AS 'SELECT (1/0)::text'",
            false,
        ),
        ("DROP FUNCTION pgcopy.mask_text(bytea, text, varchar, int)", true),
        ("ALTER FUNCTION pgcopy.mask_text OWNER TO mask_planter", false),
        ("ALTER FUNCTION pgcopy.mask_text OWNER TO postgres", true),
        ("ALTER SCHEMA pgcopy OWNER TO mask_planter", false),
        ("ALTER SCHEMA pgcopy OWNER TO postgres", true),
        ("ALTER EXTENSION pgcopy DROP FUNCTION pgcopy.mask_text", false),
        ("ALTER EXTENSION pgcopy ADD FUNCTION pgcopy.mask_text(bytea, text, text, int)", true),
        // As an older version has it.
        ("ALTER EXTENSION pgcopy DROP FUNCTION pgcopy.mask_hash; DROP FUNCTION pgcopy.mask_hash", false),
        // A schema of somebody's.
        (
            "DROP EXTENSION pgcopy; CREATE SCHEMA pgcopy; GRANT USAGE ON SCHEMA pgcopy TO PUBLIC;
             CREATE FUNCTION pgcopy.mask_versions() RETURNS int[] LANGUAGE sql AS 'SELECT ARRAY[1/0]';
             CREATE FUNCTION pgcopy.mask_text(key bytea, mask text, value text, length int) RETURNS text LANGUAGE sql AS 'SELECT (1/0)::text'",
            false,
        ),
    ] {
        case.pair.source.batch_execute(change).unwrap_or_else(|error| panic!("{change}: {:?}", Failure::of(&error)));
        assert_eq!(case.calls_functions(&as_reader), calls, "{change}");
        assert_eq!(case.pulled(&as_reader, ""), expected, "{change}");
    }
    case.pair.assert_nothing_left();
}

#[test]
fn functions_of_other_versions_are_not_called() {
    let pair = Pair::new("mask_functions_versions");
    let mut case = Case::of(pair, ONE, "SELECT n, n, 'Secret ' || n FROM generate_series(1, 50) n");
    let dsn = case.pair.dsn();
    let expected = case.pulled(&dsn, "");
    case.pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    for (versions, calls) in [("{1}", true), ("{1,2}", true), ("{2}", false), ("{}", false), ("{11}", false)] {
        let forger = Forger::start(case.pair.source_port, move |told| {
            if told.kind != b'D' || !told.query.contains("pgcopy.mask_versions()") {
                return Forged::Same;
            }
            let mut row = 1_i16.to_be_bytes().to_vec();
            row.extend((versions.len() as i32).to_be_bytes());
            row.extend(versions.as_bytes());
            Forged::Bytes(message(b'D', &row))
        });
        let dsn = forger.dsn(&case.pair.database);
        assert_eq!(case.calls_functions(&dsn), calls, "{versions}");
        assert_eq!(case.pulled(&dsn, ""), expected, "{versions}");
        assert!(forger.forged() > 0);
    }
    case.pair.assert_nothing_left();
}
