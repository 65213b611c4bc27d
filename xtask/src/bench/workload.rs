//! The data sets. Each is the same in every run: values come from hashes of row numbers.

use postgres::Client;
use xtask::{Result, data};

pub struct Workload {
    pub title: String,
    pub tables: Vec<String>,
    content: Content,
}

enum Content {
    Tpch { scale: f64 },
    Sql { create_tables: String, fill: String, create_keys: String },
}

/// `pick(i, seed, below)` is a number from 0 to below - 1. In pg_temp it is not part of what is copied.
const PICK: &str = "
CREATE FUNCTION pg_temp.pick(i integer, seed bigint, below integer) RETURNS integer LANGUAGE sql IMMUTABLE
AS 'SELECT ((hashint4extended(i, seed) & 2147483647) % below)::integer';
";

/// Words of several scripts, so that some texts are not ASCII.
const WORDS: &str =
    "ARRAY['the', 'order', 'was', 'shipped', 'to', 'customer', 'with', 'a', 'note', 'about', 'delivery',
    'of', 'spare', 'parts', 'and', 'invoice', 'account', 'please', 'return', 'within', 'fourteen', 'days', 'after',
    'receipt', 'quality', 'engine', 'green', 'valve', 'pressure', 'manual', 'region', 'warehouse', 'urgent', 'contact',
    'support', 'for', 'details', 'in', 'case', 'damaged', 'Straße', 'Größe', 'naïve', 'señor', 'café', 'Ελλάδα',
    'жизнь', 'Москва', '東京', '注文', 'žluťoučký', '🙂']";

impl Workload {
    pub fn tpch(scale: f64) -> Self {
        Self {
            title: format!("TPC-H scale {scale} with its keys and indexes"),
            tables: data::TABLES.map(String::from).into(),
            content: Content::Tpch { scale },
        }
    }

    /// In tiny data sets the generator names some suppliers of a part twice.
    pub fn check_tpch_scale(scale: f64) -> Result<()> {
        const PARTS_PER_SUPPLIER: u64 = 20;
        let suppliers = (scale * 10_000.0) as u64;
        let differ = |round: u64| !(1..=3).any(|step| (step * (suppliers / 4 + round)).is_multiple_of(suppliers));
        if suppliers > 0 && (0..PARTS_PER_SUPPLIER).all(differ) {
            return Ok(());
        }
        Err(format!("TPC-H of scale {scale} has duplicate keys; 0.01 is fine, and whatever is above 0.024").into())
    }

    pub fn many_tables(count: usize) -> Self {
        let tables: Vec<String> = (1..=count).map(|number| format!("small_{number:05}")).collect();
        let create = |table: &String| {
            format!(
                "CREATE TABLE {table} (id integer PRIMARY KEY, name text NOT NULL, amount numeric(12,2) NOT NULL,
                                       created timestamptz);"
            )
        };
        Self {
            title: format!("{count} tables of 100 rows, each with a primary key"),
            content: Content::Sql {
                create_tables: tables.iter().map(create).collect(),
                fill: format!(
                    "DO $$
                     BEGIN
                         FOR number IN 1..{count} LOOP
                             EXECUTE format('INSERT INTO small_%s
                                 SELECT i, ''name '' || pg_temp.pick(i, %s, 1000000), pg_temp.pick(i, %s + 1, 1000000) / 100.0,
                                        timestamptz ''2024-01-01 00:00+00'' + pg_temp.pick(i, %s + 2, 31536000) * interval ''1 s''
                                 FROM generate_series(1, 100) i', lpad(number::text, 5, '0'), 3 * number, 3 * number, 3 * number);
                         END LOOP;
                     END $$"
                ),
                create_keys: String::new(),
            },
            tables,
        }
    }

    /// As applications have them: keys that refer to the table before, indexes, a view and a trigger of each table.
    pub fn many_objects(count: usize) -> Self {
        let tables: Vec<String> = (1..=count).map(|number| format!("thing_{number:05}")).collect();
        let create = |(position, table): (usize, &String)| {
            let before = if position == 0 { table } else { &tables[position - 1] };
            format!(
                "CREATE TABLE {table} (id integer PRIMARY KEY, before integer REFERENCES {before}, name text NOT NULL,
                                       amount numeric(12,2) DEFAULT 0 CHECK (amount >= 0), created timestamptz);
                 CREATE INDEX {table}_name ON {table} (name); CREATE INDEX {table}_amount ON {table} (amount, id);
                 CREATE INDEX {table}_lower ON {table} (lower(name)) WHERE amount > 5;
                 CREATE VIEW {table}_v AS SELECT id, name, amount * 2 AS twice FROM {table} WHERE amount > 1;
                 CREATE FUNCTION {table}_f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
                 CREATE TRIGGER {table}_t BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_f();"
            )
        };
        Self {
            title: format!("{count} tables of 100 rows with keys, 3 indexes each, views, functions and triggers"),
            content: Content::Sql {
                create_tables: tables.iter().enumerate().map(create).collect(),
                fill: format!(
                    "DO $$
                     BEGIN
                         FOR number IN 1..{count} LOOP
                             EXECUTE format('INSERT INTO thing_%s SELECT i, i, ''name '' || i, i / 7.0, ''2024-01-01''
                                 FROM generate_series(1, 100) i', lpad(number::text, 5, '0'));
                         END LOOP;
                     END $$"
                ),
                create_keys: String::new(),
            },
            tables,
        }
    }

    pub fn large_objects(count: usize) -> Self {
        let mut workload = Self::one_table(
            format!("{count} large objects of 2 kB"),
            "attachment",
            "id integer NOT NULL, content oid NOT NULL".into(),
            format!(
                "INSERT INTO attachment
                 SELECT i, lo_from_bytea(0, convert_to(repeat(md5(i::text), 64), 'UTF8')) FROM generate_series(1, {count}) i"
            ),
        );
        workload.title = format!("{count} large objects of 2 kB");
        workload
    }

    /// No value is longer than 24 bytes, or rows of this size would be moved into the TOAST table column by column.
    pub fn wide(scale: f64) -> Self {
        const COLUMNS: usize = 500;
        let rows = scaled(20_000.0, scale);
        let kinds: [(&str, &str); 13] = [
            ("integer", "pg_temp.pick(i, $, 1000000)"),
            ("text", "'value ' || pg_temp.pick(i, $, 1000000)"),
            ("numeric(12,2)", "pg_temp.pick(i, $, 2000000000) / 100.0"),
            ("timestamptz", "timestamptz '2020-01-01 00:00+00' + pg_temp.pick(i, $, 150000000) * interval '1 s'"),
            ("boolean", "pg_temp.pick(i, $, 2) = 1"),
            ("double precision", "pg_temp.pick(i, $, 2000000000) / 1e5"),
            ("date", "date '2000-01-01' + pg_temp.pick(i, $, 9000)"),
            ("bigint", "hashint4extended(i, $)"),
            ("varchar(20)", "left(to_hex(hashint4extended(i, $)), 4 + pg_temp.pick(i, $, 12))"),
            ("uuid", "md5(i || '-' || $)::uuid"),
            ("smallint", "pg_temp.pick(i, $, 32767)::smallint"),
            ("char(8)", "to_hex(pg_temp.pick(i, $, 2000000000))"),
            ("bytea", "int8send(hashint4extended(i, $))"),
        ];
        let columns: Vec<(usize, &str, &str)> = (1..COLUMNS)
            .map(|number| {
                let (kind, value) = kinds[number % kinds.len()];
                (number, kind, value)
            })
            .collect();
        let definitions: String = columns.iter().map(|(number, kind, _)| format!(", c{number} {kind}")).collect();
        let value = |&(number, _, value): &(usize, &str, &str)| {
            let value = value.replace('$', &number.to_string());
            match number % 4 {
                0 => format!(", CASE WHEN pg_temp.pick(i, -{number}, 5) > 0 THEN {value} END"),
                _ => format!(", {value}"),
            }
        };
        let values: String = columns.iter().map(value).collect();
        Self::one_table(
            format!("one table of {COLUMNS} columns, {rows} rows"),
            "wide",
            format!("id integer NOT NULL{definitions}"),
            format!("INSERT INTO wide SELECT i{values} FROM generate_series(1, {rows}) i"),
        )
    }

    /// Pages of a web site: much of each is the same markup again.
    pub fn toast(scale: f64) -> Self {
        let rows = scaled(100_000.0, scale);
        Self::one_table(
            format!("{rows} documents of about 50 kB, in the TOAST table"),
            "document",
            "id integer NOT NULL, title text NOT NULL, changed timestamptz NOT NULL, body text NOT NULL".into(),
            // Putting a body together from prepared pieces is quick; compressing it is what takes the time.
            format!(
                "DO $$
                 DECLARE
                     words text[] := {WORDS};
                     pieces text[];
                 BEGIN
                     SELECT array_agg(piece ORDER BY p) INTO pieces
                     FROM (SELECT p, string_agg(
                                  '<li class=\"entry\"><a href=\"https://shop.example/articles/' || pg_temp.pick(p * 40 + line, 1, 90000)
                                      || '\">' || words[1 + pg_temp.pick(p * 40 + line, 2, cardinality(words))]
                                      || '</a> <span class=\"description\">' || words[1 + pg_temp.pick(p * 40 + line, 3, cardinality(words))]
                                      || '</span></li>' || chr(10), '' ORDER BY line) AS piece
                           FROM generate_series(0, 99) p, generate_series(0, 34) line GROUP BY p) s;
                     INSERT INTO document
                     SELECT i, words[1 + pg_temp.pick(i, 1, cardinality(words))] || ' ' || i,
                            timestamptz '2024-01-01 00:00+00' + i * interval '1 min',
                            (SELECT string_agg(pieces[1 + pg_temp.pick(i, part, 100)], '<h2>' || i || '.' || part || '</h2>' ORDER BY part)
                             FROM generate_series(1, 10 + pg_temp.pick(i, 2, 5)) part)
                     FROM generate_series(1, {rows}) i;
                 END $$"
            ),
        )
    }

    pub fn numeric(scale: f64) -> Self {
        let rows = scaled(3_000_000.0, scale);
        Self::one_table(
            format!("{rows} rows of numbers and times"),
            "measurement",
            "id bigint NOT NULL, price numeric(12,2) NOT NULL, amount numeric(20,8) NOT NULL, share numeric(5,4),
             total numeric NOT NULL, taken timestamptz NOT NULL, stored timestamp NOT NULL, valid_from date NOT NULL,
             reading double precision NOT NULL, error real"
                .into(),
            format!(
                "INSERT INTO measurement
                 SELECT i, pg_temp.pick(i, 1, 2000000000) / 100.0, hashint4extended(i, 2) / 1e8::numeric,
                        CASE WHEN pg_temp.pick(i, 3, 10) > 0 THEN pg_temp.pick(i, 4, 10000) / 10000.0 END,
                        hashint4extended(i, 5)::numeric * pg_temp.pick(i, 6, 1000),
                        timestamptz '2020-01-01 00:00+00' + hashint4extended(i, 7) / 100000 * interval '1 us',
                        timestamp '2024-01-01' + i * interval '37 ms', date '2000-01-01' + pg_temp.pick(i, 8, 9000),
                        hashint4extended(i, 9) / 1e9, pg_temp.pick(i, 10, 1000) / 7::real
                 FROM generate_series(1, {rows}) i"
            ),
        )
    }

    pub fn text(scale: f64) -> Self {
        let rows = scaled(3_000_000.0, scale);
        Self::one_table(
            format!("{rows} rows of nothing but text, up to 800 bytes each, some not ASCII"),
            "message",
            "id text NOT NULL, language char(2) NOT NULL, sender varchar(60) NOT NULL, subject text NOT NULL, body text"
                .into(),
            format!(
                "DO $$
                 DECLARE
                     words text[] := {WORDS};
                     phrases text[];
                 BEGIN
                     SELECT array_agg(phrase ORDER BY p) INTO phrases
                     FROM (SELECT p, string_agg(words[1 + pg_temp.pick(p * 40 + w, 1, cardinality(words))], ' ' ORDER BY w) AS phrase
                           FROM generate_series(0, 999) p, generate_series(0, pg_temp.pick(p, 2, 40)) w GROUP BY p) s;
                     INSERT INTO message
                     SELECT to_hex(i) || '-' || pg_temp.pick(i, 1, 10000), (ARRAY['de', 'en', 'fr', 'ja'])[1 + pg_temp.pick(i, 2, 4)],
                            words[1 + pg_temp.pick(i, 3, cardinality(words))] || pg_temp.pick(i, 4, 100000) || '@mail.example',
                            words[1 + pg_temp.pick(i, 5, cardinality(words))] || ' ' || words[1 + pg_temp.pick(i, 6, cardinality(words))],
                            CASE pg_temp.pick(i, 7, 10)
                                WHEN 0 THEN NULL
                                WHEN 1 THEN ''
                                WHEN 2 THEN phrases[1 + pg_temp.pick(i, 8, 1000)] || chr(10) || phrases[1 + pg_temp.pick(i, 9, 1000)]
                                            || chr(9) || phrases[1 + pg_temp.pick(i, 10, 1000)]
                                ELSE phrases[1 + pg_temp.pick(i, 11, 1000)]
                            END
                     FROM generate_series(1, {rows}) i;
                 END $$"
            ),
        )
    }

    pub fn jsonb(scale: f64) -> Self {
        let rows = scaled(300_000.0, scale);
        Self::one_table(
            format!("{rows} jsonb documents of 200 bytes to a few kB"),
            "event",
            "id integer NOT NULL, content jsonb NOT NULL".into(),
            format!(
                "DO $$
                 DECLARE
                     words text[] := {WORDS};
                     lists jsonb[];
                 BEGIN
                     SELECT array_agg(list ORDER BY p) INTO lists
                     FROM (SELECT p, jsonb_agg(jsonb_build_object('article', pg_temp.pick(p * 30 + n, 1, 90000),
                                  'name', words[1 + pg_temp.pick(p * 30 + n, 2, cardinality(words))],
                                  'price', pg_temp.pick(p * 30 + n, 3, 100000) / 100.0, 'pieces', pg_temp.pick(p * 30 + n, 4, 20),
                                  'options', jsonb_build_array('gift', pg_temp.pick(p * 30 + n, 5, 3), NULL)) ORDER BY n) AS list
                           FROM generate_series(0, 299) p, generate_series(0, pg_temp.pick(p, 6, 1 + p % 30)) n GROUP BY p) s;
                     INSERT INTO event
                     SELECT i, jsonb_build_object('number', i, 'paid', pg_temp.pick(i, 1, 2) = 1, 'total', pg_temp.pick(i, 2, 1000000) / 100.0,
                            'customer', jsonb_build_object('name', words[1 + pg_temp.pick(i, 3, cardinality(words))],
                                'address', jsonb_build_object('street', words[1 + pg_temp.pick(i, 4, cardinality(words))] || ' ' || pg_temp.pick(i, 5, 200),
                                                              'location', jsonb_build_array(pg_temp.pick(i, 6, 180) / 7.0, pg_temp.pick(i, 7, 90) / 7.0))),
                            'tags', to_jsonb(words[1 + pg_temp.pick(i, 8, 20) : 1 + pg_temp.pick(i, 9, 30)]),
                            'note', CASE WHEN pg_temp.pick(i, 10, 3) > 0 THEN words[1 + pg_temp.pick(i, 11, cardinality(words))] END,
                            'items', CASE WHEN pg_temp.pick(i, 12, 4) > 0 THEN lists[1 + pg_temp.pick(i, 13, 300)] ELSE '[]' END)
                     FROM generate_series(1, {rows}) i;
                 END $$"
            ),
        )
    }

    /// A table whose primary key is its column `id`.
    fn one_table(title: String, name: &str, columns: String, fill: String) -> Self {
        Self {
            title,
            tables: vec![name.into()],
            content: Content::Sql {
                create_tables: format!("CREATE TABLE {name} ({columns})"),
                fill,
                create_keys: format!("ALTER TABLE {name} ADD PRIMARY KEY (id)"),
            },
        }
    }

    /// Empty tables, without keys and indexes unless those are part of what they are.
    pub fn create_tables(&self, client: &mut Client) -> Result<()> {
        match &self.content {
            Content::Tpch { .. } => data::create_tables(client)?,
            Content::Sql { create_tables, .. } => client.batch_execute(create_tables)?,
        }
        Ok(())
    }

    /// Empty tables with their keys and indexes.
    pub fn create_schema(&self, client: &mut Client) -> Result<()> {
        match &self.content {
            Content::Tpch { .. } => data::create_schema(client)?,
            Content::Sql { create_keys, .. } => {
                self.create_tables(client)?;
                client.batch_execute(create_keys)?;
            }
        }
        Ok(())
    }

    /// The whole data set: rows first, keys and indexes after.
    pub fn create_filled(&self, client: &mut Client) -> Result<()> {
        match &self.content {
            Content::Tpch { scale } => data::create_filled(client, *scale)?,
            Content::Sql { fill, create_keys, .. } => {
                self.create_tables(client)?;
                client.batch_execute(PICK)?;
                client.batch_execute(fill)?;
                client.batch_execute(create_keys)?;
                client.batch_execute("VACUUM ANALYZE")?;
            }
        }
        Ok(())
    }
}

fn scaled(rows: f64, scale: f64) -> u64 {
    ((rows * scale).round() as u64).max(1)
}
