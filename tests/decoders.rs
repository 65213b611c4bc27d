//! What is decoded here is what the server's own receive functions make of the same bytes, hostile ones included.

use crate::harness::{Pair, number, text};
use postgres::Client;

/// A reproducible source of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    fn json(&mut self, depth: usize) -> String {
        let strings = [
            "",
            "a",
            "key",
            "größe €",
            "with \\\" quote",
            "\\u00e9\\ud83d\\ude00",
            "tab\\t/\\/",
            "a longer string value, again and again",
        ];
        let numbers = [
            "0",
            "-0",
            "1",
            "-1.50",
            "0.0001",
            "123456789012345678901234567890.000",
            "1e5",
            "-2.5E-7",
            "1.1174e-05",
            "3.4028235e+38",
            "1E23",
            "-0.00120e+2",
            "0.0e-3",
            "0e9",
            "12345.678e-4",
            "5e-324",
            "1.7976931348623157e+308",
            "1.2345e-63",
            "9e252",
            "0.000009e257",
            "9999",
            "10000",
            "0.00000",
        ];
        match self.below(if depth == 0 { 5 } else { 9 }) {
            0 => "null".into(),
            1 => (*self.pick(&["true", "false"])).into(),
            2 | 3 => (*self.pick(&numbers)).into(),
            4 => format!("\"{}\"", self.pick(&strings)),
            kind => {
                let count = *self.pick(&[0, 1, 2, 3, 7, 40]);
                let items: Vec<String> = (0..count)
                    .map(|number| {
                        let value = self.json(depth - 1);
                        if kind < 7 {
                            value
                        } else if self.below(4) == 0 {
                            format!("\"{}\" : {value}", self.pick(&strings))
                        } else {
                            format!("\"k{}\": {value}", number % 23)
                        }
                    })
                    .collect();
                let items = items.join(", ");
                if kind < 7 { format!("[{items}]") } else { format!(" {{{items}}} ") }
            }
        }
    }
}

/// Of each value. `PGCOPY_FUZZ_FORMS` sets how many there are, `PGCOPY_TEST_SEED` which.
fn damaged_forms() -> u64 {
    number("PGCOPY_FUZZ_FORMS", 60)
}

/// Asks about each value as it travels and about many damaged forms of it; returns how many were accepted and refused.
fn compare(client: &mut Client, type_name: &str, values: &[String], random: &mut Random) -> (i64, i64) {
    let base = type_name.split('(').next().unwrap();
    let send = text(client, &format!("SELECT typsend::regproc::text FROM pg_type WHERE oid = '{base}'::regtype"));
    client.batch_execute(&format!("CREATE TEMP TABLE probe (v {type_name})")).unwrap();
    let typmod: i32 = client
        .query_one("SELECT atttypmod FROM pg_attribute WHERE attrelid = 'probe'::regclass AND attname = 'v'", &[])
        .unwrap()
        .get(0);
    client.batch_execute("DROP TABLE probe").unwrap();
    let damaged_forms = damaged_forms();
    let mut wires: Vec<Vec<u8>> = vec![Vec::new()];
    for value in values {
        let wire: Vec<u8> = client.query_one(&format!("SELECT {send}($1::text::{base})"), &[value]).unwrap().get(0);
        for _ in 0..damaged_forms {
            let mut damaged = wire.clone();
            for _ in 0..1 + random.below(3) {
                match random.below(4) {
                    0 if !damaged.is_empty() => {
                        let position = random.below(damaged.len());
                        damaged[position] = *random.pick(&[0, 1, 0x7f, 0x80, 0xc3, 0xff, b'"', b'{', b'9', b'e']);
                    }
                    1 if !damaged.is_empty() => damaged.truncate(random.below(damaged.len())),
                    2 => damaged.push(random.below(256) as u8),
                    _ if !damaged.is_empty() => {
                        let position = random.below(damaged.len());
                        damaged[position] ^= 1 << random.below(8);
                    }
                    _ => {}
                }
            }
            wires.push(damaged);
        }
        wires.push(wire);
    }
    let rows = client
        .query(
            &format!(
                "SELECT v, count(*), (array_agg(w))[1] FROM (SELECT w, compare_decoders('{base}'::regtype, {typmod}, w) v
                                                       FROM unnest($1::bytea[]) w) c GROUP BY v"
            ),
            &[&wires],
        )
        .unwrap();
    let (mut same, mut refused) = (0, 0);
    for row in rows {
        let (verdict, count, example): (String, i64, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
        match verdict.split(' ').next() {
            Some("same") => same += count,
            Some("refused") => refused += count,
            _ => panic!("{type_name}: {verdict} for {example:02x?}"),
        }
    }
    (same, refused)
}

#[test]
fn values_and_refusals_are_those_of_the_server() {
    let mut pair = Pair::new("decoders");
    let client = &mut pair.destination;
    client
        .batch_execute(
            "CREATE FUNCTION compare_decoders(oid, integer, bytea) RETURNS text
                 AS '$libdir/pgcopy', 'pgcopy_compare_decoders' LANGUAGE C STRICT;
             CREATE TYPE mood AS ENUM ('sad', 'ok', 'größer')",
        )
        .unwrap();
    let mut random = Random(number("PGCOPY_TEST_SEED", 20_261_121));
    let texts = ["", "a", "1234567", "12345678", "größe", "€uro", "日本語テキスト", "exactly8", "ends in é"];
    let numerics = [
        "0",
        "0.00",
        "1",
        "-1",
        "9999",
        "10000",
        "-0.0001",
        "12345678.90",
        "NaN",
        "99999999.99",
        "0.01",
        "123456789012345678901234567890.123",
        "1e100",
        "1e-50",
        "Infinity",
    ];
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("bool", vec!["t", "f"]),
        ("int2", vec!["0", "-32768", "32767"]),
        ("int4", vec!["0", "-2147483648", "2147483647"]),
        ("int8", vec!["0", "-9223372036854775808", "9223372036854775807"]),
        ("oid", vec!["0", "4294967295"]),
        ("float4", vec!["0", "-0", "1.5", "NaN", "Infinity"]),
        ("float8", vec!["0", "-0", "1e-300", "NaN", "-Infinity"]),
        ("money", vec!["0", "-92233720368547758.08"]),
        ("date", vec!["2000-01-01", "4713-01-01 BC", "5874897-12-31", "infinity", "-infinity"]),
        ("timestamp", vec!["2000-01-01 12:34:56.789", "4713-01-01 BC", "294276-12-31 23:59:59.999999", "infinity"]),
        ("timestamp(0)", vec!["2000-01-01 12:34:56.789", "infinity"]),
        ("timestamptz", vec!["2000-01-01 12:34:56.789+02", "-infinity"]),
        ("time", vec!["00:00", "24:00", "23:59:59.999999"]),
        ("time(2)", vec!["00:00", "12:34:56.789"]),
        ("uuid", vec!["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
        ("macaddr", vec!["08:00:2b:01:02:03"]),
        ("inet", vec!["127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::1/64", "0.0.0.0/0"]),
        ("cidr", vec!["10.0.0.0/8", "2001:db8::/32"]),
        ("bytea", vec!["", "\\x00ff", "abc"]),
        ("text", texts.to_vec()),
        ("varchar", texts.to_vec()),
        ("varchar(8)", texts.to_vec()),
        ("bpchar", texts.to_vec()),
        ("char(8)", texts.to_vec()),
        ("numeric", numerics.to_vec()),
        ("numeric(10,2)", numerics.to_vec()),
        ("numeric(5,3)", numerics.to_vec()),
        ("mood", vec!["sad", "ok", "größer"]),
        ("interval", vec!["1 year -2 days 3.5 s"]),
        ("int4[]", vec!["{}", "{1,NULL,3}"]),
    ];
    for (type_name, values) in cases {
        let values: Vec<String> = values.into_iter().map(String::from).collect();
        let (same, refused) = compare(client, type_name, &values, &mut random);
        // Any bytes are a bytea.
        assert!(same > 0 && (refused > 0 || type_name == "bytea"), "{type_name}: {same} the same, {refused} refused");
    }
    let documents: Vec<String> = (0..150).map(|_| random.json(3)).collect();
    for type_name in ["json", "jsonb"] {
        let (same, refused) = compare(client, type_name, &documents, &mut random);
        assert!(same > 500 && refused > 500, "{type_name}: {same} the same, {refused} refused");
    }
}
