//! Tables that nobody thought of: random types, sizes, NULLs and indexes, pulled both ways.
//!
//! Each run takes another seed and prints that of each round; `PGCOPY_TEST_SEED` sets the first, `PGCOPY_TEST_ROUNDS` how
//! many rounds there are.

use super::{assert_sound, pulls_alike};
use crate::harness::{Pair, number, text};
use std::fmt::Write;

struct Random(u64);

impl Random {
    /// From 0, exclusive.
    fn below(&mut self, end: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// A type with an expression that makes values of it from `i` and `h`, a hash of it as text; and how it can be indexed.
struct Kind {
    name: &'static str,
    value: &'static str,
    methods: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    kind("bool", "i % 3 = 0", &["btree", "hash"]),
    kind("int2", "(i % 65536 - 32768)::int2", &["btree", "hash", "brin"]),
    kind("int4", "i * 7919 % 100003 - 50000", &["btree", "hash", "brin"]),
    kind("int8", "i::int8 * 1234567890123", &["btree", "hash", "brin"]),
    kind("float4", "(i / 7.0)::float4", &["btree", "hash"]),
    kind("float8", "CASE i % 5 WHEN 0 THEN '-0'::float8 WHEN 1 THEN 'NaN' ELSE sqrt(i) END", &["btree", "brin"]),
    kind(
        "numeric",
        "CASE i % 9 WHEN 0 THEN 'Infinity'::numeric WHEN 1 THEN 10::numeric ^ (i % 200) ELSE i / 13.0 END",
        &["btree", "hash"],
    ),
    kind("numeric(12,3)", "i * 1.125", &["btree", "brin"]),
    kind("money", "(i::numeric / 100)::money", &["btree"]),
    kind("text", "repeat(h, i % 4)", &["btree", "hash", "spgist", "brin"]),
    kind("text COLLATE \"C\"", "h || 'größe'", &["btree", "spgist"]),
    kind("text", "repeat(h, 100 + i % 500)", &["hash"]),
    kind("varchar(40)", "left(h || ' €', i % 40)", &["btree"]),
    kind("char(9)", "left(h, i % 9)", &["btree", "hash"]),
    kind("name", "h", &["btree", "hash"]),
    kind("\"char\"", "chr(33 + i % 90)::\"char\"", &["btree"]),
    kind("bytea", "decode(repeat(h, i % 30), 'hex')", &["btree", "hash"]),
    kind("bytea", "decode(repeat(h, 300), 'hex')", &["hash"]),
    kind("bit(7)", "(i % 128)::bit(7)", &["btree"]),
    kind("varbit", "(i::bit(32))::varbit", &["btree"]),
    kind("date", "'2000-01-01'::date + i % 9999", &["btree", "hash", "brin"]),
    kind("timestamp", "'1999-12-31'::timestamp + i * interval '1.000001 h'", &["btree", "brin"]),
    kind("timestamptz", "'infinity'::timestamptz", &["btree", "brin"]),
    kind("timestamptz(3)", "'1999-12-31'::timestamptz + i * interval '1 min'", &["btree"]),
    kind("time", "'00:00'::time + i * interval '1 s'", &["btree"]),
    kind("timetz", "'12:00+03'::timetz + i * interval '1 s'", &["btree"]),
    kind("interval", "make_interval(months => i % 40 - 20, days => i % 7, secs => i / 3.0)", &["btree", "hash"]),
    kind("uuid", "h::uuid", &["btree", "hash", "brin"]),
    kind("oid", "(i::int8 * 99991 % 4294967296)::oid", &["btree", "hash"]),
    kind("inet", "'10.0.0.0'::inet + i", &["btree", "hash", "spgist"]),
    kind("cidr", "set_masklen('2001:db8::'::cidr, 32 + i % 90)", &["btree"]),
    kind("macaddr", "('08:00:2b:00:' || to_hex(i / 256 % 256) || ':' || to_hex(i % 256))::macaddr", &["btree", "hash"]),
    kind("json", "json_build_object('h', h, 'n', i)", &[]),
    kind(
        "jsonb",
        "jsonb_build_object('h', h, 'n', i / 7.0, 'a', jsonb_build_array(i, null, true, h))",
        &["gin", "btree", "hash"],
    ),
    kind("jsonb", "(SELECT jsonb_object_agg('k' || j, h) FROM generate_series(1, i % 120) j)", &["gin"]),
    kind("xml", "xmlelement(name a, h)", &[]),
    kind("point", "point(i, -i)", &["gist", "spgist"]),
    kind("box", "box(point(i, i), point(i + 1, i + 3))", &["gist", "spgist"]),
    kind("circle", "circle(point(i, i), i % 9)", &["gist"]),
    kind("polygon", "polygon(box(point(i, i), point(i + 1, i + 3)))", &["gist", "spgist"]),
    kind("path", "path(polygon(box(point(i, i), point(i + 1, i + 3))))", &[]),
    kind("tsvector", "to_tsvector('simple', h || ' word' || i % 9)", &["gin", "gist"]),
    kind("tsquery", "to_tsquery('simple', 'word' || i || ' & !b')", &["btree"]),
    kind(
        "int4range",
        "CASE WHEN i % 11 = 0 THEN 'empty' ELSE int4range(i, i + i % 9) END",
        &["gist", "spgist", "btree"],
    ),
    kind("numrange", "numrange(i / 3.0, NULL)", &["gist"]),
    kind("int4multirange", "int4multirange(int4range(i, i + 2), int4range(i + 5, NULL))", &["gist", "btree"]),
    kind("pg_lsn", "('0/' || upper(to_hex(i)))::pg_lsn", &["btree", "hash"]),
    kind("xid8", "i::text::xid8", &["btree"]),
    kind("int4[]", "ARRAY[i, NULL, i % 5]", &["gin", "btree"]),
    kind("text[]", "ARRAY[h, NULL, '', 'a,\"b']", &["gin", "btree"]),
    kind("numeric[]", "ARRAY[[i / 3.0, 'NaN'], [NULL, i]]", &[]),
    kind("mood", "(enum_range(NULL::mood))[1 + i % 4]", &["btree", "hash"]),
    kind("mood[]", "enum_range(NULL::mood)", &["gin"]),
    kind("positive", "1 + i % 1000", &["btree"]),
    kind("place", "ROW(i, h, (enum_range(NULL::mood))[1 + i % 4])::place", &["btree"]),
    kind("place[]", "ARRAY[ROW(i, h, 'ok')::place, NULL]", &[]),
    kind("regclass", "(ARRAY['pg_class', 'public.named'])[1 + i % 2]::regclass", &["btree"]),
    kind("regtype", "'public.mood'::regtype", &[]),
];

const fn kind(name: &'static str, value: &'static str, methods: &'static [&'static str]) -> Kind {
    Kind { name, value, methods }
}

const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'größe'); CREATE DOMAIN positive AS int CHECK (value > 0);
    CREATE TYPE place AS (x int, label text, m mood); CREATE TABLE named ()";

/// The definition of a table, and the statement that fills it.
fn table(random: &mut Random, name: &str) -> (String, String) {
    let most_columns = if random.one_in(8) { 60 } else { 12 };
    let columns = 1 + random.below(most_columns);
    let rows = random.pick(&[&0, &1, &7, &100, &500, &2500]);
    let mut definitions = vec!["id int".to_owned()];
    let mut values = vec!["i".to_owned()];
    let mut names = vec!["id".to_owned()];
    let mut after = String::new();
    for number in 0..columns {
        let kind = &KINDS[random.below(KINDS.len())];
        let column = format!("c{number}");
        let always_there = random.one_in(4);
        let nulls = 2 + random.below(5);
        let not_null = if always_there { " NOT NULL" } else { "" };
        let value = if always_there || random.one_in(3) {
            kind.value.to_owned()
        } else {
            format!("CASE WHEN (i + {number}) % {nulls} > 0 THEN {} END", kind.value)
        };
        definitions.push(format!(
            "{column} {}{}",
            kind.name,
            if kind.value.contains("SELECT") { "" } else { not_null }
        ));
        values.push(value);
        names.push(column.clone());
        if random.one_in(8) {
            // What was there once.
            definitions.push(format!("gone{number} text"));
            write!(after, "ALTER TABLE {name} DROP gone{number};").unwrap();
        }
        if !kind.methods.is_empty() && random.one_in(2) {
            let method = random.pick(kind.methods);
            let (options, partial) = match (method, random.below(4)) {
                ("btree", 0) => (" DESC NULLS LAST", ""),
                ("btree", 1) => (" NULLS FIRST", ""),
                ("btree", 2) => ("", " INCLUDE (id)"),
                (_, 3) => ("", " WHERE id % 3 = 0"),
                _ => ("", ""),
            };
            write!(after, "CREATE INDEX ON {name} USING {method} ({column}{options}){partial};").unwrap();
        }
    }
    if random.one_in(2) {
        definitions.push(
            random
                .pick(&[
                    "PRIMARY KEY (id)",
                    "UNIQUE (id) DEFERRABLE",
                    "CHECK (id > 0)",
                    "twice int GENERATED ALWAYS AS (id * 2) STORED",
                ])
                .to_owned(),
        );
    }
    if random.one_in(5) {
        write!(after, "CREATE INDEX ON {name} ((id / 3), id DESC);").unwrap();
    }
    let unlogged = if random.one_in(6) { "UNLOGGED " } else { "" };
    let parameters = random.pick(&["", "", "WITH (fillfactor = 60)", "WITH (toast_tuple_target = 300)"]);
    let create = format!("CREATE {unlogged}TABLE {name} ({}) {parameters}; {after}", definitions.join(", "));
    let fill = format!(
        "INSERT INTO {name} ({}) SELECT {} FROM (SELECT i, md5((i * {})::text) AS h FROM generate_series(1, {rows}) i) s",
        names.join(", "),
        values.join(", "),
        1 + random.below(1000)
    );
    (create, fill)
}

fn round(name: &str, seed: u64) {
    println!("PGCOPY_TEST_SEED={seed}");
    let mut random = Random(seed.wrapping_mul(2) | 1);
    let mut there = Pair::new(name);
    // The way back: what was the destination is the source then.
    let mut back = Pair::on(there.destination_port, there.source_port, &format!("{name}_back"));
    for client in [&mut there.source, &mut there.destination, &mut back.source, &mut back.destination] {
        client.batch_execute(TYPES).unwrap();
    }
    for number in 0..12 {
        let (create, fill) = table(&mut random, &format!("t{number}"));
        for client in [&mut there.source, &mut there.destination, &mut back.source, &mut back.destination] {
            client.batch_execute(&create).unwrap_or_else(|error| panic!("seed {seed}: {create}\n{error:?}"));
        }
        for client in [&mut there.source, &mut back.source] {
            client.batch_execute(&fill).unwrap_or_else(|error| panic!("seed {seed}: {fill}\n{error:?}"));
        }
    }
    pulls_alike(&mut there);
    pulls_alike(&mut back);
    for pair in [&mut there, &mut back] {
        let tables = text(
            &mut pair.destination,
            "SELECT array_agg(oid::regclass)::text FROM pg_class WHERE relname ~ '^t[0-9]+$' AND relkind = 'r'",
        );
        assert_sound(pair, &tables);
    }
}

#[test]
fn random_tables_both_ways() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64;
    let seed = number("PGCOPY_TEST_SEED", now);
    for place in 0..number("PGCOPY_TEST_ROUNDS", 2) {
        round(&format!("zoo_random_{place}"), seed.wrapping_add(place * 7919));
    }
}
