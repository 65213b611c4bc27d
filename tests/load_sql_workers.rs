//! Rows of a script are stored by workers, and nothing else about the load is different.

use crate::harness::{Pair, connect, installation, no_process_left, text, texts, wait_for_worker};
use crate::load_sql::{dump, failure, load_well, new_database, write};
use crate::migrate::{definitions, fill, has_pg_dump, without_stamps};
use postgres::Client;
use std::fs;
use std::process::Command;
use xtask::data;
use xtask::server::{Installation, Options, ScratchDirectory, Server, Version};

/// What scripts of `pg_dump` begin with, as far as it matters here.
const HEAD: &str = "SELECT pg_catalog.set_config('search_path', '', false);\n";

/// How many tasks with such a name were done by workers.
fn tasks_of_workers(client: &mut Client, name: &str) -> i64 {
    no_process_left(client);
    let sql = "SELECT count(*) FROM pgcopy.job_tasks WHERE worker > 0 AND task LIKE $1";
    client.query_one(sql, &[&name]).unwrap().get(0)
}

/// The rows of a table in an order of their own.
fn rows_of(client: &mut Client, table: &str) -> Vec<String> {
    texts(client, &format!("SELECT t::text FROM {table} t ORDER BY t::text"))
}

const SHOP: &str = r"
    CREATE SCHEMA big;
    CREATE TYPE big.state AS ENUM ('new', 'paid');
    CREATE DOMAIN big.positive AS integer CHECK (VALUE > 0);
    CREATE TABLE big.customer (id int PRIMARY KEY, name text NOT NULL, note varchar(40), mail text UNIQUE);
    CREATE TABLE big.item (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL REFERENCES big.customer,
        price numeric(10,2) CHECK (price >= 0), state big.state, amount big.positive, made timestamptz, day date,
        doubled numeric GENERATED ALWAYS AS (price * 2) STORED, tags text[], data jsonb, label char(8), parent bigint
    );
    ALTER TABLE big.item ADD FOREIGN KEY (parent) REFERENCES big.item DEFERRABLE INITIALLY DEFERRED;
    CREATE INDEX ON big.item (day, customer);
    CREATE INDEX ON big.item (lower(label)) WHERE price > 10;
    CREATE INDEX ON big.item USING gin (tags);
    CREATE STATISTICS big.s ON customer, day FROM big.item;
    CREATE TABLE big.reading (at date, value float8, PRIMARY KEY (at)) PARTITION BY RANGE (at);
    CREATE TABLE big.reading_1 PARTITION OF big.reading FOR VALUES FROM ('2000-01-01') TO ('2010-01-01');
    CREATE TABLE big.reading_2 PARTITION OF big.reading DEFAULT;
    CREATE TABLE big.empty (a int PRIMARY KEY);
    CREATE TABLE big.odd (a regclass, b int);
    CREATE UNLOGGED TABLE big.fast (a int);
    CREATE TABLE big.long (a int, b text);
    ALTER TABLE big.long ALTER b SET STORAGE EXTERNAL;
    CREATE VIEW big.seen AS SELECT count(*) AS count FROM big.item;
    CREATE MATERIALIZED VIEW big.sums AS SELECT state, sum(price) FROM big.item GROUP BY 1;
    INSERT INTO big.customer SELECT i, E'name\t\\' || i, CASE WHEN i % 3 = 0 THEN E'line\nline\\N' END, i || '@x' FROM generate_series(1, 20000) i;
    INSERT INTO big.item (customer, price, state, amount, made, day, tags, data, label, parent)
        SELECT 1 + i % 20000, i % 1000 / 7.0, CASE i % 3 WHEN 0 THEN 'new' WHEN 1 THEN 'paid' END::big.state, 1 + i % 9,
               timestamptz '2001-02-03 04:05:06.789' + i * interval '1 minute', date '1999-12-31' + i % 5000,
               ARRAY['a' || i % 7, E'b\\'], jsonb_build_object('i', i), 'L' || i % 99, nullif(i % 11, 0)
        FROM generate_series(1, 100000) i;
    INSERT INTO big.reading SELECT date '2005-01-01' + i, sqrt(i) FROM generate_series(1, 5000) i;
    INSERT INTO big.odd VALUES ('big.item', 1);
    INSERT INTO big.fast SELECT generate_series(1, 1000);
    INSERT INTO big.long SELECT i, repeat(i::text, 3000) FROM generate_series(1, 200) i;
    REFRESH MATERIALIZED VIEW big.sums";

#[test]
fn workers_store_the_rows_of_a_dump() {
    if !has_pg_dump() {
        return;
    }
    let (mut pair, directory) = Pair::with_files("load_sql_workers");
    fill(&mut pair);
    pair.source.batch_execute(SHOP).unwrap();
    pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    let there = definitions(pair.source_port, "load_sql_workers");
    let path = write(&directory, "a.sql", dump(pair.source_port, "load_sql_workers", &[]));
    for (program, suffix) in [("", ""), ("gzip", ".gz"), ("zstd", ".zst")] {
        if !program.is_empty() {
            assert!(Command::new(program).args(["-kq", &path]).status().unwrap().success());
        }
        let name = format!("load_sql_workers_{program}");
        let mut client = new_database(pair.destination_port, &name);
        let report = load_well(&mut client, &format!("{path}{suffix}"), ", parallel => 2");
        assert_eq!(definitions(pair.destination_port, &name), there, "{program}");
        let tables = crate::harness::user_tables(&mut client);
        assert_eq!(
            data::checksums(&mut client, &tables).unwrap(),
            data::checksums(&mut pair.source, &tables).unwrap(),
            "{program}"
        );
        for line in ["rows big item 100000", "rows big customer 20000", "rows big reading_1 1825", "rows big odd 1"] {
            assert!(report.iter().any(|found| found == line), "{line}: {report:?}");
        }
        assert!(tasks_of_workers(&mut client, "%") > 10, "{program}");
        assert_eq!(tasks_of_workers(&mut client, "copying big.reading%"), 2, "{program}");
        assert_eq!(text(&mut client, "SELECT count(*)::text FROM pg_index WHERE NOT indisvalid"), "0");
        assert_eq!(text(&mut client, "SELECT count::text FROM big.seen"), "100000");
        let sql = "INSERT INTO big.item (customer, amount) VALUES (1, 1) RETURNING id::text";
        assert_eq!(text(&mut client, sql), "100001");
        client.batch_execute("CREATE EXTENSION amcheck").unwrap();
        client.batch_execute("SELECT * FROM pgcopy.check_local(fail => true)").unwrap();
    }
    pair.assert_nothing_left();
}

/// A value that cannot be stored is told of with its place, wherever the rows were divided.
#[test]
fn errors_of_workers_name_the_line() {
    let (mut pair, directory) = Pair::with_files("load_sql_workers_errors");
    let client = &mut pair.destination;
    let rows = |wrong: usize, text: &str| -> String {
        let row = |number: usize| match number {
            _ if number == wrong => format!("{text}\n"),
            _ => format!("{number}\t2020-01-01\t{}\n", "x".repeat(200)),
        };
        (1..=60_000).map(row).collect()
    };
    let table = "CREATE TABLE public.t (a int, \"B\" date NOT NULL, c text CHECK (c <> 'no'));\n";
    let copy = "COPY public.t (a, \"B\", c) FROM stdin;\n";
    let key = "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT t_key PRIMARY KEY (a);\n";
    let mut told = |wrong: usize, text: &str| {
        let path = write(&directory, "a.sql", format!("{HEAD}{table}{copy}{}\\.\n{key}", rows(wrong, text)));
        failure(client, &path, ", parallel => 2")
    };
    let last = "row 55000, column \"B\" of COPY public.t (a, \"B\", c) FROM stdin;";
    for (wrong, text, sqlstate, place) in [
        (55_000, "1\tnever\tx", "22007", last),
        (55_000, "1\t\\N\tx", "23502", last),
        (55_000, "1\t2020-01-01\tno", "23514", "row 55000 of COPY"),
        (55_000, "1\t2020-01-01", "22P04", "row 55000 of COPY"),
        (2, "1\t2020-01-01\tx\ty", "22P04", "row 2 of COPY"),
        (55_000, "1\t2020-01-01\t\\xff", "22021", "row 55000, column c of COPY"),
        (55_000, "1\t2020-01-01\ta\\.b", "22P04", "row 55000"),
    ] {
        let failed = told(wrong, text);
        assert_eq!(failed.sqlstate, sqlstate, "{failed:?}");
        assert!(failed.detail.contains(&format!("Line {} of", 3 + wrong)), "{failed:?}");
        assert!(failed.detail.contains(place), "{failed:?}");
    }
    let failed = told(60_000, "7\t2020-01-01\tx");
    assert_eq!(failed.sqlstate, "23505");
    assert!(failed.detail.contains("Key (a)=(7) is duplicated"), "{failed:?}");
    assert!(failed.detail.contains("Line 60005 of") && failed.detail.contains("ADD CONSTRAINT t_key"), "{failed:?}");
    assert!(texts(client, "SELECT relname::text FROM pg_class WHERE relname = 't'").is_empty());
    pair.assert_nothing_left();
}

/// A cast that counts the rows of another table.
const CAST: &str = "CREATE TYPE public.m AS ENUM ('a', 'b');
    CREATE FUNCTION public.rows(public.m) RETURNS int LANGUAGE sql AS 'SELECT count(*)::int FROM public.t';
    CREATE CAST (public.m AS int) WITH FUNCTION public.rows(public.m) AS IMPLICIT;
    CREATE TABLE public.u (a public.m);\n";

/// What a statement sees does not depend on who stores the rows.
#[test]
fn statements_find_the_rows_that_come_before_them() {
    let (mut pair, directory) = Pair::with_files("load_sql_workers_order");
    let client = &mut pair.destination;
    let copy = |table: &str| format!("COPY {table} FROM stdin;\n1\tx\n2\ty\n\\.\n");
    let assertion = "DO $$BEGIN ASSERT (SELECT count(*) FROM public.t) = 2; END$$;\n";
    let table = "CREATE TABLE public.t (a int, b text);\n";
    for (number, script) in [
        format!("{table}{}{assertion}", copy("public.t")),
        format!("{table}{}CREATE TABLE public.u AS SELECT * FROM public.t;\n{}", copy("public.t"), "DO $$BEGIN ASSERT (SELECT count(*) FROM public.u) = 2; END$$;\n"),
        // A trigger fires for rows that come after it, and for no others.
        format!(
            "{table}CREATE TABLE public.log (a int);\nCREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.log VALUES (NEW.a); RETURN NEW; END';\n\
             {}CREATE TRIGGER g BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.note();\n{}DO $$BEGIN ASSERT (SELECT count(*) FROM public.log) = 2; ASSERT (SELECT count(*) FROM public.t) = 4; END$$;\n",
            copy("public.t"),
            copy("public.t")
        ),
        // A function in an index, a check and a domain looks at another table.
        format!(
            "{table}CREATE TABLE public.u (a int, b text);\nCREATE FUNCTION public.known(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT a FROM public.t WHERE a = $1';\n\
             {}{}CREATE UNIQUE INDEX ON public.u USING btree (public.known(a)) NULLS NOT DISTINCT;\n",
            copy("public.t"),
            copy("public.u")
        ),
        format!(
            "{table}CREATE FUNCTION public.known(int) RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.t WHERE a = $1)';\n\
             CREATE TABLE public.u (a int, b text, CHECK (public.known(a)));\n{}{}",
            copy("public.t"),
            copy("public.u")
        ),
        format!(
            "{table}CREATE FUNCTION public.known(int) RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.t WHERE a = $1)';\n\
             CREATE DOMAIN public.d AS int CHECK (public.known(VALUE));\nCREATE TABLE public.u (a public.d, b text);\n{}{}",
            copy("public.t"),
            copy("public.u")
        ),
        // So does the function of a cast, which a check does not name.
        format!("{table}{CAST}{}{}ALTER TABLE public.u ADD CONSTRAINT c CHECK ((a = 2));\n", copy("public.t"), "COPY public.u FROM stdin;\na\n\\.\n"),
        // A foreign key of a table whose rows are there, to one whose rows are not yet.
        format!(
            "{table}CREATE TABLE public.u (a int);\nINSERT INTO public.u VALUES (1);\n{}ALTER TABLE ONLY public.t ADD CONSTRAINT k PRIMARY KEY (a);\n\
             ALTER TABLE ONLY public.u ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.t(a);\n",
            copy("public.t")
        ),
        // Rows that were not checked when they came, and that are not to be.
        format!("{table}{}ALTER TABLE public.t ADD CONSTRAINT c CHECK ((a > 1)) NOT VALID;\n{assertion}", copy("public.t")),
        format!("{table}{}INSERT INTO public.t VALUES (3, 'z');\nDO $$BEGIN ASSERT (SELECT count(*) FROM public.t) = 3; END$$;\n", copy("public.t")),
        format!("{table}{}TRUNCATE public.t;\n{}{assertion}", copy("public.t"), copy("public.t")),
        format!("{table}{}{}ALTER TABLE public.t ADD COLUMN c int DEFAULT 1;\nDO $$BEGIN ASSERT (SELECT sum(c) FROM public.t) = 4; END$$;\n", copy("public.t"), copy("public.t")),
        format!("{table}{}DROP TABLE public.t;\n", copy("public.t")),
        format!("{table}{}ALTER TABLE public.t RENAME TO u;\nALTER TABLE public.u RENAME TO t;\n{assertion}", copy("public.t")),
        format!("{table}COPY public.t FROM stdin;\r\n1\tx\r\n2\ty\r\n\\.\r\n{assertion}"),
        format!("{table}COPY public.t (b, a) FROM stdin;\nx\t1\n\\.\nCOPY public.t (a, b) FROM stdin;\n2\ty\n\\.\n{assertion}"),
        "CREATE TABLE public.t (a int, b text, c int DEFAULT 7);\nCOPY public.t (a, b) FROM stdin;\n1\tx\n2\ty\n\\.\nDO $$BEGIN ASSERT (SELECT sum(c) FROM public.t) = 14; END$$;\n".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let path = write(&directory, "a.sql", format!("{HEAD}{script}"));
        load_well(client, &path, ", parallel => 0");
        client.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").unwrap_or_else(|error| panic!("{number}: {error}"));
        load_well(client, &path, ", parallel => 2");
        client.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").unwrap();
    }
    // What does not hold is an error either way.
    for (script, sqlstate) in [
        (
            format!(
                "{table}CREATE TABLE public.r (a int PRIMARY KEY);\n{}ALTER TABLE public.t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.r(a);\n",
                copy("public.t")
            ),
            "23503",
        ),
        (
            format!(
                "{table}{}{}ALTER TABLE public.t ADD CONSTRAINT u UNIQUE (a);\n",
                copy("public.t"),
                copy("public.t")
            ),
            "23505",
        ),
        (format!("{table}{}ALTER TABLE public.t ADD CONSTRAINT c CHECK ((a > 1));\n", copy("public.t")), "23514"),
        (
            format!(
                "{table}{CAST}{}COPY public.u FROM stdin;\na\n\\.\nALTER TABLE public.u ADD CONSTRAINT c CHECK ((a = 0));\n",
                copy("public.t")
            ),
            "23514",
        ),
        (
            format!(
                "CREATE TABLE public.p (a int, b text) PARTITION BY LIST (a);\nCREATE TABLE public.q (a int, b text);\n\
                 ALTER TABLE ONLY public.p ATTACH PARTITION public.q FOR VALUES IN (1);\n{}",
                copy("public.q")
            ),
            "23514",
        ),
    ] {
        let path = write(&directory, "a.sql", format!("{HEAD}{script}"));
        for parallel in [0, 2] {
            let failed = failure(client, &path, &format!(", parallel => {parallel}"));
            assert_eq!(failed.sqlstate, sqlstate, "{parallel}: {script}: {failed:?}");
        }
    }
    pair.assert_nothing_left();
}

/// Texts of values mean what they mean to COPY, in whatever form they are.
#[test]
fn texts_of_values_mean_what_they_mean_to_the_server() {
    let (mut pair, directory) = Pair::with_files("load_sql_workers_values");
    let client = &mut pair.destination;
    let values: [(&str, &[&str]); 22] = [
        ("boolean", &["t", "f", "true", "no", "1", " on "]),
        ("smallint", &["0", "-32768", "32767", " 12 ", "+7", "007", "-0"]),
        ("integer", &["2147483647", "-2147483648", "00000000000000000012"]),
        ("bigint", &["9223372036854775807", "-9223372036854775808", "123456789012345678", "-1"]),
        ("real", &["1.5", "0", "-0", "1e-45", "3.4028235e+38", "NaN", "-Infinity", "1e-38", "0.1", "16777217"]),
        ("double precision", &["1.7976931348623157e+308", "4.9e-324", "0.1", "1e5", "-2.5e-10", "inf", "00.50", "12"]),
        (
            "numeric",
            &[
                "0",
                "0.00",
                "-0.0",
                "1",
                "10000",
                "0.0001",
                "12345678.9012",
                "1e5",
                "NaN",
                "007.50",
                "123456789012345678901234567890.5",
                ".5",
                "5.",
                "-99999999.99999999",
            ],
        ),
        ("numeric(10,2)", &["1.23", "1.235", "99999999.99", "7", "-0.01", "0.10", "1e3"]),
        (
            "date",
            &[
                "2020-02-29",
                "1999-12-31",
                "0001-01-01",
                "9999-12-31",
                "infinity",
                "2020-1-5",
                "0044-03-15 BC",
                "20200101",
                "January 8, 1999",
                "1900-03-01",
                "2000-03-01",
            ],
        ),
        (
            "timestamp",
            &[
                "2020-02-29 23:59:59.999999",
                "1999-12-31 00:00:00",
                "2020-01-01 12:00:00.5",
                "infinity",
                "2020-01-01 24:00:00",
                "2020-01-01T10:00:00",
                "0044-03-15 00:00:00 BC",
                "2020-01-01 10:00:60",
            ],
        ),
        (
            "timestamptz",
            &[
                "2020-02-29 23:59:59.999999+00",
                "2020-01-01 12:00:00-08",
                "2020-01-01 12:00:00+05:30",
                "2020-01-01 12:00:00",
                "2020-01-01 00:00:00 Europe/Vienna",
                "0001-01-01 00:00:00+00",
                "1890-01-01 00:00:00+01:05:21",
                "-infinity",
            ],
        ),
        ("timestamp(0)", &["2020-02-29 23:59:59.5", "2020-02-29 23:59:59.499999"]),
        ("time", &["24:00:00", "12:34:56.789"]),
        ("text", &["", "a\\tb", "\\\\N", "ä€𝄞", "\\x41\\101", "a\\\nb", "a\\\tb", "\\N"]),
        ("varchar(3)", &["abc", "äöü", "ab   "]),
        ("char(3)", &["abc", "a", "äöü", "abc  "]),
        ("bytea", &["\\\\x00ff", "abc", "\\\\\\\\"]),
        (
            "uuid",
            &[
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
                "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            ],
        ),
        ("jsonb", &["{\"a\": [1, 2.50, null, true]}", " 1 ", "\"\\\\u00e4\"", "{\"a\":1,\"a\":2}"]),
        ("json", &["{\"a\":  1}", "[1,\\n2]"]),
        ("interval", &["1 day 02:03:04.5", "P1Y2M"]),
        ("int[]", &["{1,2,NULL}", "[2:3]={1,2}"]),
    ];
    for (number, (type_name, texts)) in values.iter().enumerate() {
        let rows: String = texts.iter().map(|text| format!("{text}\n")).collect();
        let script =
            format!("{HEAD}CREATE TABLE public.v (a {type_name});\nCOPY public.v (a) FROM stdin;\n{rows}\\.\n");
        let path = write(&directory, &format!("{number}.sql"), script);
        let mut loaded = |parallel: usize| {
            let report = load_well(client, &path, &format!(", parallel => {parallel}"));
            assert!(report.contains(&format!("rows public v {}", texts.len())), "{type_name}: {report:?}");
            let rows = rows_of(client, "public.v");
            let sizes =
                self::texts(client, "SELECT coalesce(pg_column_size(a), 0)::text FROM public.v ORDER BY v::text");
            client.batch_execute("DROP TABLE public.v").unwrap();
            (rows, sizes)
        };
        assert_eq!(loaded(2), loaded(0), "{type_name}");
    }
    // What the server refuses is refused alike.
    for (type_name, text) in [
        ("smallint", "32768"),
        ("integer", "1.5"),
        ("bigint", "9223372036854775808"),
        ("real", "1e39"),
        ("real", "1e-50"),
        ("double precision", "1e400"),
        ("numeric(10,2)", "123456789.00"),
        ("date", "2021-02-29"),
        ("date", "0000-01-01"),
        ("timestamp", "2020-01-01 25:00:00"),
        ("timestamptz", "2020-01-01 10:00:00+99"),
        ("varchar(3)", "abcd"),
        ("char(3)", "abcd"),
        ("uuid", "a0eebc99"),
        ("json", "{"),
        ("boolean", ""),
        ("text", "\\xff"),
        ("text", "a\\0"),
    ] {
        let script =
            format!("{HEAD}CREATE TABLE public.v (a {type_name});\nCOPY public.v (a) FROM stdin;\n{text}\n\\.\n");
        let path = write(&directory, "refused.sql", script);
        let failed = |client: &mut Client, parallel: usize| {
            let failed = failure(client, &path, &format!(", parallel => {parallel}"));
            assert!(failed.detail.contains("row 1") && failed.detail.contains("of COPY public.v (a)"), "{failed:?}");
            (failed.sqlstate, failed.message)
        };
        assert_eq!(failed(client, 2), failed(client, 0), "{type_name} {text}");
    }
}

/// A script that is not cut off by accident within rows that are held back, and one that is.
#[test]
fn scripts_that_are_cut_off_within_held_rows_leave_nothing() {
    let (mut pair, directory) = Pair::with_files("load_sql_workers_cut");
    let rows: String = (1..20_000).map(|number| format!("{number}\tabc\n")).collect();
    let script = format!(
        "{HEAD}CREATE TABLE public.t (a int, b text);\nCOPY public.t (a, b) FROM stdin;\n{rows}\\.\nCREATE INDEX i ON public.t USING btree (a);\n"
    );
    for cut in [script.len() / 2, script.len() - 30, script.find("\\.").unwrap()] {
        let path = write(&directory, "cut.sql", &script[..cut]);
        let gzip = format!("{path}.gz");
        let _ = fs::remove_file(&gzip);
        assert!(Command::new("gzip").args(["-k", &path]).status().unwrap().success());
        for path in [path, gzip] {
            let failed = failure(&mut pair.destination, &path, ", parallel => 2");
            assert!(failed.message.contains("cannot be run"), "{cut}: {failed:?}");
        }
    }
    assert!(texts(&mut pair.destination, "SELECT relname::text FROM pg_class WHERE relname = 't'").is_empty());
    pair.assert_nothing_left();
    // No temporary file of the session is left, either.
    let files = "SELECT name FROM pg_ls_dir('base/pgsql_tmp', true, false) name
                 WHERE starts_with(name, 'pgsql_tmp' || pg_backend_pid() || '.')";
    assert!(texts(&mut pair.destination, files).is_empty());
}

/// What is made of dumps of older servers is what psql makes of them.
#[test]
fn dumps_of_servers_of_every_version() {
    if !has_pg_dump() {
        return;
    }
    let [_, destination] = crate::harness::shared_ports();
    let here = installation().version();
    for version in Version::of_sources().filter(|version| version.major() <= here.major()) {
        let name = format!("load_sql_{}", version.major());
        let server = Server::start(&Installation::prepare(version).unwrap(), Options::named(&name)).unwrap();
        let mut pair = Pair::on(server.port(), destination, &name);
        let directory = ScratchDirectory::create(&name).unwrap();
        fill(&mut pair);
        let script = dump(server.port(), &name, &[]);
        let path = write(&directory, "a.sql", &script);
        load_well(&mut pair.destination, &path, ", parallel => 2");
        pair.assert_same_content();
        let path = match version == here {
            true => path,
            false => write(&directory, "psql.sql", without_stamps(std::str::from_utf8(&script).unwrap())),
        };
        let third = format!("{name}_psql");
        drop(new_database(destination, &third));
        run_with_psql(destination, &third, &path);
        assert_eq!(definitions(destination, &name), definitions(destination, &third), "{name}");
        // And once more round, from here.
        let again = write(&directory, "again.sql", dump(destination, &name, &[]));
        let fourth = format!("{name}_again");
        drop(new_database(destination, &fourth));
        run_with_psql(destination, &fourth, &again);
        let mut client = connect(destination, &fourth);
        let tables = crate::harness::user_tables(&mut client);
        assert_eq!(data::checksums(&mut client, &tables).unwrap(), data::checksums(&mut pair.source, &tables).unwrap());
        assert_eq!(definitions(destination, &fourth), definitions(destination, &name), "{name}");
        pair.assert_nothing_left();
    }
}

fn run_with_psql(port: u16, database: &str, path: &str) {
    let output = Command::new(installation().program("psql"))
        .args(["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-d", database])
        .args([&format!("--port={port}"), "-f", path])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A cancel ends workers in the middle of rows, and nothing stays.
#[test]
fn a_cancel_while_workers_store_rows() {
    let (mut pair, directory) = Pair::with_files("load_sql_workers_cancel");
    let rows: String = (1..200_000).map(|number| format!("{number}\n")).collect();
    // A row takes a while.
    let script = format!(
        "{HEAD}CREATE TABLE public.t (a int CHECK (length(repeat('x', 4000000 + a)) > 0));\nCOPY public.t (a) FROM stdin;\n{rows}\\.\n"
    );
    let path = write(&directory, "a.sql", script);
    let gzip = format!("{path}.gz");
    assert!(Command::new("gzip").args(["-k", &path]).status().unwrap().success());
    for path in [path, gzip] {
        let mut session = pair.another_destination_session();
        let pid = text(&mut session, "SELECT pg_backend_pid()::text");
        std::thread::scope(|scope| {
            let load = scope.spawn(|| failure(&mut session, &path, ", parallel => 2"));
            wait_for_worker(&mut pair.destination, "%copying public.t%");
            text(&mut pair.destination, &format!("SELECT pg_cancel_backend({pid})::text"));
            assert_eq!(load.join().unwrap().sqlstate, "57014");
        });
        assert!(texts(&mut pair.destination, "SELECT relname::text FROM pg_class WHERE relname = 't'").is_empty());
        pair.assert_nothing_left();
    }
}

/// A value of 300 MB is one line of the script. The session that reads on over it does not hold it.
#[test]
fn a_line_of_hundreds_of_megabytes() {
    const BYTES: usize = 300 << 20;
    let name = "load-sql-long-line";
    let server = Server::start(&installation(), Options::named(name).with_memory(4 << 30)).unwrap();
    let directory = ScratchDirectory::create(name).unwrap();
    let mut script = format!(
        "{HEAD}CREATE TABLE public.t (a int, b text);\nALTER TABLE ONLY public.t ALTER COLUMN b SET STORAGE EXTERNAL;\n\
         COPY public.t (a, b) FROM stdin;\n1\tshort\n2\t"
    );
    script.reserve(BYTES + 100);
    script.extend(std::iter::repeat_n("0123456789abcdef", BYTES / 16));
    script.push_str("\n3\tlast\n\\.\nCREATE INDEX i ON public.t USING btree (a);\n");
    let path = write(&directory, "a.sql", &script);
    drop(script);
    assert!(Command::new("gzip").args(["-k", "-1", &path]).status().unwrap().success());
    for path in [path.clone(), format!("{path}.gz")] {
        let mut client = connect(server.port(), "postgres");
        client.batch_execute("DROP EXTENSION IF EXISTS pgcopy; CREATE EXTENSION pgcopy").unwrap();
        load_well(&mut client, &path, ", parallel => 2");
        // The most that the session has ever held.
        let status = text(&mut client, "SELECT pg_read_file('/proc/' || pg_backend_pid() || '/status')");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert_eq!(
            text(&mut client, "SELECT string_agg(octet_length(b)::text, ' ' ORDER BY a) FROM t"),
            format!("5 {BYTES} 4")
        );
        assert_eq!(text(&mut client, "SELECT right(b, 20) FROM t WHERE a = 2"), "cdef0123456789abcdef");
        client.batch_execute("DROP TABLE t").unwrap();
        assert!(kilobytes < BYTES / 1024, "{path}: {peak}");
    }
}

/// Statistics that a script brings along are those that tables have then, not those that the workers compute.
#[test]
fn statistics_of_a_script_stay() {
    let (mut pair, directory) = Pair::with_files("load_sql_workers_statistics");
    if !has_pg_dump() || text(&mut pair.destination, "SHOW server_version_num").parse::<u32>().unwrap() < 180_000 {
        return;
    }
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, kind text, price numeric);
             CREATE INDEX item_lower ON item (lower(kind));
             INSERT INTO item SELECT i, 'kind ' || i % 7, i / 3.0 FROM generate_series(1, 30000) i;
             ANALYZE item;
             INSERT INTO item SELECT i, 'later', 0 FROM generate_series(30001, 40000) i",
        )
        .unwrap();
    let statistics = |client: &mut Client| {
        texts(
            client,
            "SELECT concat_ws('|', tablename, attname, null_frac, n_distinct, most_common_vals::text, most_common_freqs::text, correlation)
             FROM pg_stats WHERE schemaname = 'public' ORDER BY 1",
        )
    };
    let counts = "SELECT string_agg(concat_ws(' ', relname, reltuples), ',' ORDER BY relname) FROM pg_class
                  WHERE relname IN ('item', 'item_pkey', 'item_lower')";
    let expected = (statistics(&mut pair.source), text(&mut pair.source, counts));
    assert!(expected.0.len() >= 4);
    let script = dump(pair.source_port, "load_sql_workers_statistics", &["--statistics"]);
    assert!(String::from_utf8_lossy(&script).contains("pg_restore_attribute_stats"));
    let path = write(&directory, "a.sql", script);
    for parallel in [2, 0] {
        load_well(&mut pair.destination, &path, &format!(", parallel => {parallel}"));
        pair.assert_same_content();
        assert_eq!(statistics(&mut pair.destination), expected.0, "{parallel}");
        // A later CREATE INDEX of the session itself counts the rows, as after psql.
        if parallel == 2 {
            assert_eq!(text(&mut pair.destination, counts), expected.1);
            assert!(tasks_of_workers(&mut pair.destination, "building index item_pkey%") > 0);
        }
        pair.destination.batch_execute("DROP TABLE item").unwrap();
    }
    pair.assert_nothing_left();
}
