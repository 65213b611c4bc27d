//! Comparing tables with those of the source: what differs is found, whatever it is, and nothing else is.

use crate::harness::{Failure, Pair, text};
use postgres::{Client, Config, NoTls};

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, a int, b int, f float8, r real, n numeric, body text, padded char(8),
                       loose varchar, raw bytea, facts jsonb, doc json, words text[], at timestamptz, flag boolean)";

const ROWS: &str = "
    INSERT INTO item SELECT i, i, -i, i / 7.0, i / 3.0, i / 10.0, 'body ' || i, 'p' || i, 'v' || i, decode(md5(i::text), 'hex'),
                            jsonb_build_object('n', i), '{\"a\": 1}', ARRAY['w' || i, NULL], '2024-01-01'::timestamptz + i * interval '1 s', i % 2 = 0
        FROM generate_series(1, 500) i;
    CREATE TABLE twice (a int); INSERT INTO twice VALUES (1), (1), (2)";

fn verify_sql(pair: &Pair, arguments: &str) -> String {
    let separator = if arguments.is_empty() { "" } else { ", " };
    format!("pgcopy.verify('{}'{separator}{arguments})", pair.dsn())
}

/// What each table with a difference is told of.
fn differences(pair: &mut Pair, arguments: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg(\"table\" || ': ' || array_to_string(differences, '; '), ' | ' ORDER BY \"table\"), '')
         FROM {} WHERE NOT same",
        verify_sql(pair, arguments)
    );
    text(&mut pair.destination, &sql)
}

#[test]
fn every_difference_is_found() {
    let mut pair = Pair::with("verify_differences", SCHEMA, ROWS);
    pair.destination.batch_execute("CREATE TABLE twice (a int)").unwrap();
    for parallel in ["0", "2"] {
        pair.pull(&format!("overwrite => true, parallel => {parallel}"));
        pair.assert_verified();
        for change in [
            "UPDATE item SET a = a # 1 WHERE id = 77",
            "UPDATE item SET a = b, b = a WHERE id = 77",
            "UPDATE item t SET a = s.a FROM item s WHERE t.id IN (7, 8) AND s.id = 15 - t.id",
            "UPDATE item SET f = 'NaN' WHERE id = 77",
            "UPDATE item SET f = -f, r = -r, n = -n, a = -a, b = -b WHERE id = 77",
            "UPDATE item SET f = f + f * 3e-16 WHERE id = 77",
            "UPDATE item SET n = round(n, 20) WHERE id = 77",
            "UPDATE item SET body = body || ' ' WHERE id = 77",
            "UPDATE item SET loose = loose || ' ' WHERE id = 77",
            "UPDATE item SET body = '' WHERE id = 77",
            "UPDATE item SET body = NULL WHERE id = 77",
            "UPDATE item SET padded = upper(padded) WHERE id = 77",
            "UPDATE item SET raw = raw || '\\x00' WHERE id = 77",
            "UPDATE item SET facts = '{\"n\": 77.0}' WHERE id = 77",
            "UPDATE item SET doc = '{\"a\":1}' WHERE id = 77",
            "UPDATE item SET words = ARRAY['w77', 'NULL'] WHERE id = 77",
            "UPDATE item SET at = at + interval '1 us' WHERE id = 77",
            "UPDATE item SET flag = NULL WHERE id = 77",
            "UPDATE item SET id = 9999 WHERE id = 77",
        ] {
            pair.destination.batch_execute("BEGIN").unwrap();
            pair.destination.batch_execute(change).unwrap();
            let found = differences(&mut pair, &format!("parallel => {parallel}"));
            pair.destination.batch_execute("ROLLBACK").unwrap();
            assert_eq!(found, "item: rows differ", "{change}");
        }
        for (change, told) in [
            ("DELETE FROM item WHERE id = 77", "item: 500 rows on the source and 499 rows on the destination"),
            ("INSERT INTO item SELECT 501", "item: 500 rows on the source and 501 rows on the destination"),
            ("UPDATE twice SET a = 2 WHERE ctid = '(0,1)'", "twice: rows differ"),
            ("INSERT INTO twice VALUES (0)", "twice: 3 rows on the source and 4 rows on the destination"),
        ] {
            pair.destination.batch_execute("BEGIN").unwrap();
            pair.destination.batch_execute(change).unwrap();
            let found = differences(&mut pair, &format!("parallel => {parallel}"));
            pair.destination.batch_execute("ROLLBACK").unwrap();
            assert_eq!(found, told, "{change}");
        }
    }
    // Zeros have a sign, and amounts a scale.
    for client in [&mut pair.source, &mut pair.destination] {
        client.batch_execute("CREATE TABLE zero (f float8, n numeric)").unwrap();
    }
    pair.source.batch_execute("INSERT INTO zero VALUES (0, 1.0)").unwrap();
    pair.destination.batch_execute("INSERT INTO zero VALUES ('-0', 1.0)").unwrap();
    assert_eq!(differences(&mut pair, "include => '{zero}'"), "zero: rows differ");
    pair.destination.batch_execute("UPDATE zero SET f = 0, n = 1.00").unwrap();
    assert_eq!(differences(&mut pair, "include => '{zero}'"), "zero: rows differ");
    pair.destination.batch_execute("UPDATE zero SET n = 1.0").unwrap();
    assert_eq!(differences(&mut pair, "include => '{zero}'"), "");
}

#[test]
fn values_that_the_servers_hash_functions_take_for_one_differ() {
    const COLUMNS: &str = "id int PRIMARY KEY, b bigint, n numeric(10,2), w numeric(4,1), u numeric, f float8, r real, at timestamptz, t time,
                           d date, c char(4), loose bpchar, word varchar(10), body text, flag boolean, raw bytea, j jsonb, g interval, k \"char\", i inet";
    let mut pair =
        Pair::with("verify_hashes", &format!("CREATE TABLE item ({COLUMNS})"), "INSERT INTO item VALUES (0)");
    for (column, values) in [
        ("b", ["1", "12884901890"]),
        ("b", ["0", "-1"]),
        ("b", ["-4294967296", "4294967295"]),
        ("n", ["5", "-5"]),
        ("n", ["NULL", "'NaN'"]),
        ("n", ["0", "NULL"]),
        ("n", ["100", "10000"]),
        ("w", ["-1", "1"]),
        ("u", ["1.0", "1.00"]),
        ("u", ["7", "-7"]),
        ("u", ["'NaN'", "NULL"]),
        ("f", ["0", "'-0'"]),
        ("f", ["'NaN'", "'Infinity'"]),
        ("r", ["0", "'-0'"]),
        ("at", ["'2000-01-01 00:00:00.000001+00'", "'2000-01-01 03:34:44.90189+00'"]),
        ("at", ["'infinity'", "'-infinity'"]),
        ("t", ["'00:00:00.000001'", "'03:34:44.90189'"]),
        ("d", ["'infinity'", "'-infinity'"]),
        ("c", ["'ab'", "'AB'"]),
        ("loose", ["'a'", "'a '"]),
        ("word", ["'a'", "'a '"]),
        ("word", ["''", "NULL"]),
        ("body", ["'a'", "'a '"]),
        ("flag", ["false", "NULL"]),
        ("raw", ["'\\x00'", "'\\x0000'"]),
        ("raw", ["'\\x'", "NULL"]),
        ("j", ["'{\"a\": 1.0}'", "'{\"a\": 1.00}'"]),
        ("g", ["'1 day'", "'24 hours'"]),
        ("k", ["'a'", "'b'"]),
        ("i", ["'10.0.0.1/8'", "'10.0.0.1/9'"]),
    ] {
        for (client, value) in [&mut pair.source, &mut pair.destination].into_iter().zip(values) {
            client
                .batch_execute(&format!("TRUNCATE item; INSERT INTO item (id, {column}) VALUES (1, {value})"))
                .unwrap();
        }
        assert_eq!(differences(&mut pair, ""), "item: rows differ", "{column}: {values:?}");
        let rows = "include => '{item}', level => 'rows'";
        let told = format!("item: rows differ; changed: (id)=(1) in {column}");
        assert_eq!(differences(&mut pair, rows), told, "{column}: {values:?}");
        let sql = format!("UPDATE item SET {column} = {}", values[0]);
        pair.destination.batch_execute(&sql).unwrap();
        assert_eq!(differences(&mut pair, ""), "", "{column}: {values:?}");
        // Two rows that have swapped their values.
        for (client, [one, other]) in
            [&mut pair.source, &mut pair.destination].into_iter().zip([values, [values[1], values[0]]])
        {
            client
                .batch_execute(&format!(
                    "TRUNCATE item; INSERT INTO item (id, {column}) VALUES (1, {one}), (2, {other}), (3, {one}), (4, {other})"
                ))
                .unwrap();
        }
        assert_eq!(differences(&mut pair, ""), "item: rows differ", "swapped {column}: {values:?}");
    }
}

#[test]
fn counting_sees_no_values() {
    let mut pair = Pair::with("verify_count", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1), (2)");
    pair.destination.batch_execute("INSERT INTO item VALUES (1), (3)").unwrap();
    assert_eq!(differences(&mut pair, "level => 'count'"), "");
    let digests = format!(
        "SELECT (source_digest IS NULL AND digest IS NULL)::text || source_rows || rows FROM {}",
        verify_sql(&pair, "level => 'count'")
    );
    assert_eq!(text(&mut pair.destination, &digests), "true22");
    pair.source.batch_execute("DELETE FROM item WHERE id = 1").unwrap();
    let told = "item: 1 row on the source and 2 rows on the destination";
    assert_eq!(differences(&mut pair, "level => 'count'"), told);
}

#[test]
fn a_difference_is_an_error_where_one_asks_for_it() {
    let mut pair = Pair::with(
        "verify_fail",
        "CREATE TABLE item (id int); CREATE TABLE other (id int)",
        "INSERT INTO item VALUES (1); INSERT INTO other VALUES (1)",
    );
    let sql = format!("SELECT * FROM {}", verify_sql(&pair, "fail => true"));
    let failure = Failure::of(&pair.destination.batch_execute(&sql).unwrap_err());
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("22000", "source and destination differ in 2 tables")
    );
    assert!(failure.detail.contains("public.item: 1 row on the source and 0 rows on the destination"), "{failure:?}");
    pair.pull("");
    pair.destination.batch_execute(&sql).unwrap();
    for (arguments, sqlstate) in [
        ("level => 'deep'", "22023"),
        ("parallel => 65", "22023"),
        ("include => '{nothing}'", "42P01"),
        ("include => '{}'", "22023"),
    ] {
        let sql = format!("SELECT * FROM {}", verify_sql(&pair, arguments));
        let failure = Failure::of(&pair.destination.batch_execute(&sql).unwrap_err());
        assert_eq!(failure.sqlstate, sqlstate, "{failure:?}");
    }
    let own = format!("SELECT * FROM pgcopy.verify('{}')", xtask::server::dsn(pair.destination_port, &pair.database));
    let failure = Failure::of(&pair.destination.batch_execute(&own).unwrap_err());
    assert_eq!(failure.message, "the source is the database that it would be compared with");
}

#[test]
fn columns_that_differ_are_told_of() {
    let mut pair = Pair::with(
        "verify_columns",
        "CREATE TABLE item (id int, price numeric(12,4), code char(4), twice int GENERATED ALWAYS AS (id * 2) STORED,
                            prices numeric(12,4)[], x char(4)[])",
        "INSERT INTO item (id, price, code, prices, x) VALUES (1, 1.5, 'a', '{1.5,NULL,NaN}', '{a,NULL,\"\"}'), (2, NULL, 'b', '{}', '{{a},{b}}'),
             (3, 100, NULL, NULL, NULL), (4, 0, '', '[2:3]={100,0}', '{NULL}')",
    );
    pair.destination
        .batch_execute(
            "ALTER TABLE item ALTER price TYPE numeric(10,2), ALTER code TYPE char(8), ALTER prices TYPE numeric(10,2)[], ALTER x TYPE char(8)[]",
        )
        .unwrap();
    pair.pull("overwrite => true, verify => true");
    assert_eq!(differences(&mut pair, ""), "", "the values are the same");
    for (change, back) in [
        ("x = '{a,\"\",\"\"}'", "x = '{a,NULL,\"\"}'"),
        ("prices = '{1.50,0,NaN}'", "prices = '{1.50,NULL,NaN}'"),
        ("prices = '[2:4]={1.5,NULL,NaN}'", "prices = '{1.50,NULL,NaN}'"),
        ("x = NULL", "x = '{a,NULL,\"\"}'"),
    ] {
        pair.destination.batch_execute(&format!("UPDATE item SET {change} WHERE id = 1")).unwrap();
        assert_eq!(differences(&mut pair, ""), "item: rows differ", "{change}");
        pair.destination.batch_execute(&format!("UPDATE item SET {back} WHERE id = 1")).unwrap();
        assert_eq!(differences(&mut pair, ""), "", "{back}");
    }
    pair.destination.batch_execute("ALTER TABLE item ADD mine text DEFAULT 'x'").unwrap();
    pair.notices();
    assert_eq!(differences(&mut pair, ""), "");
    let notices = pair.notices();
    let notice = "columns of public.item that the source does not have alike, not compared: mine";
    assert!(notices.iter().any(|told| told == notice), "{notices:?}");
    pair.destination.batch_execute("UPDATE item SET price = 1.51 WHERE id = 1").unwrap();
    assert_eq!(differences(&mut pair, ""), "item: rows differ");
    pair.source.batch_execute("ALTER TABLE item ADD theirs text").unwrap();
    assert_eq!(differences(&mut pair, ""), "item: column theirs exists on the source only");
}

#[test]
fn settings_of_neither_side_show() {
    let mut pair = Pair::with("verify_settings", SCHEMA, ROWS);
    pair.destination.batch_execute("CREATE TABLE twice (a int)").unwrap();
    pair.both(
        "CREATE TYPE mood AS ENUM ('sad', 'glad');
         CREATE TABLE odd (i interval, d date, t timestamptz, f float8[], b bytea[], m money, c regclass, r regrole,
                           y regtype, p int4range, o mood, x bit(3), v varbit, e text COLLATE \"C\")",
    );
    pair.source
        .batch_execute(
            "INSERT INTO odd VALUES ('1 year 2 mons -3 days 04:05:06.7', '2024-05-06', '2024-05-06 07:08:09+02',
                 ARRAY[0.1::float8, 1e300], ARRAY['\\xdead'::bytea], 12.34, 'public.item', 'postgres', 'mood', '[1,5)', 'glad',
                 '101', '0110', 'é')",
        )
        .unwrap();
    pair.pull("overwrite => true");
    for setting in [
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'America/St_Johns'",
        "extra_float_digits = -10",
        "bytea_output = 'escape'",
        "search_path = 'public'",
        "lc_monetary = 'C.UTF-8'",
        "client_encoding = 'LATIN1'",
        "quote_all_identifiers = on",
        "enable_seqscan = off",
    ] {
        pair.destination.batch_execute(&format!("SET {setting}")).unwrap();
        pair.source.batch_execute(&format!("ALTER DATABASE verify_settings SET {setting}")).unwrap();
        pair.assert_verified();
        pair.source.batch_execute("ALTER DATABASE verify_settings RESET ALL").unwrap();
        pair.assert_verified();
        pair.destination.batch_execute("RESET ALL").unwrap();
    }
    pair.destination.batch_execute("UPDATE odd SET c = 'public.odd'").unwrap();
    assert_eq!(differences(&mut pair, ""), "odd: rows differ");
}

#[test]
fn databases_of_other_encodings() {
    const IN_LATIN1: &str = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    let mut pair = Pair::created_with("verify_encodings", IN_LATIN1, "");
    pair.both(
        "CREATE TABLE item (id int, body text, name name, padded char(9), doc json, facts jsonb, words text[], raw bytea,
                            n numeric, f float8, at timestamptz, letter \"char\")",
    );
    pair.source
        .batch_execute(
            "INSERT INTO item SELECT i, 'größe ' || i, 'ñ' || i, 'é' || i, '{\"ä\": 1}', '{\"a\": \"ü\"}', ARRAY['ö', NULL, ''], '\\xff00',
                 i / 10.0, i / 7.0, '2024-01-01'::timestamptz + i * interval '1 s', 'x' FROM generate_series(1, 300) i;
             INSERT INTO item (id) VALUES (0)",
        )
        .unwrap();
    pair.pull("");
    pair.assert_verified();
    for change in
        ["body = 'große 7'", "body = body || ' '", "body = NULL", "words = ARRAY['ö', NULL, NULL]", "raw = '\\xff'"]
    {
        pair.destination.batch_execute(&format!("BEGIN; UPDATE item SET {change} WHERE id = 7")).unwrap();
        let found = differences(&mut pair, "");
        pair.destination.batch_execute("ROLLBACK").unwrap();
        assert_eq!(found, "item: rows differ", "{change}");
    }
}

/// No table is not the same as no difference.
#[test]
fn nothing_to_compare_is_an_error() {
    let mut pair = Pair::new("verify_nothing");
    for with_table in [false, true] {
        if with_table {
            pair.source.batch_execute("CREATE TABLE item (id int PRIMARY KEY)").unwrap();
        }
        for level in ["count", "digest", "rows"] {
            let sql = format!("SELECT same FROM {}", verify_sql(&pair, &format!("level => '{level}', fail => true")));
            let failure = Failure::of(&pair.destination.query(&sql, &[]).unwrap_err());
            assert_eq!(
                (failure.sqlstate.as_str(), failure.message.as_str()),
                ("42P01", "there is no table to compare")
            );
            assert_eq!(failure.detail.contains("public.item"), with_table, "{failure:?}");
        }
    }
}

#[test]
fn one_moment_and_no_strong_lock() {
    let mut pair = Pair::with("verify_locks", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    pair.pull("");
    let mut writers = [pair.another_source_session(), pair.another_destination_session()];
    for writer in &mut writers {
        writer
            .batch_execute("BEGIN; LOCK TABLE item IN SHARE ROW EXCLUSIVE MODE; INSERT INTO item VALUES (2)")
            .unwrap();
    }
    pair.destination.batch_execute("BEGIN READ ONLY").unwrap();
    pair.assert_verified();
    pair.destination.batch_execute("COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
    for writer in &mut writers {
        writer.batch_execute("COMMIT").unwrap();
    }
    // What the caller's transaction sees.
    assert_eq!(differences(&mut pair, ""), "item: 2 rows on the source and 1 row on the destination");
    pair.destination.batch_execute("COMMIT").unwrap();
    pair.assert_verified();
    pair.assert_nothing_left();
}

#[test]
fn partitioned_tables_and_tables_with_children() {
    let mut pair = Pair::new("verify_partitions");
    pair.source
        .batch_execute(
            "CREATE TABLE log (id int, at date) PARTITION BY RANGE (id);
             CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (50);
             CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM (50) TO (200)",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE log (id int, at date) PARTITION BY RANGE (id);
             CREATE TABLE log_all PARTITION OF log FOR VALUES FROM (0) TO (200)",
        )
        .unwrap();
    pair.both("CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent)");
    pair.source
        .batch_execute(
            "INSERT INTO log SELECT i, '2024-01-01' FROM generate_series(1, 100) i;
             INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2)",
        )
        .unwrap();
    pair.pull("overwrite => true");
    pair.assert_verified();
    pair.destination.batch_execute("UPDATE child SET id = 3; UPDATE log SET at = NULL WHERE id = 77").unwrap();
    assert_eq!(differences(&mut pair, ""), "child: rows differ | log: rows differ");
}

/// Makes a role on both servers that may log in.
fn role(pair: &mut Pair, name: &str) {
    for client in [&mut pair.source, &mut pair.destination] {
        let create = format!(
            "DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD 'secret';
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        );
        client.batch_execute(&create).unwrap();
    }
}

fn session_of(pair: &Pair, role: &str) -> Client {
    Config::new()
        .host("127.0.0.1")
        .port(pair.destination_port)
        .user(role)
        .dbname(&pair.database)
        .connect(NoTls)
        .unwrap()
}

/// What a role that is no superuser is told of the comparison. The source is read as the role that all may use.
fn told_to(pair: &Pair, role: &str, arguments: &str) -> Result<String, Failure> {
    let source = format!("host=127.0.0.1 port={} user=app password=secret dbname={}", pair.source_port, pair.database);
    let sql = format!("SELECT bool_and(same)::text FROM pgcopy.verify('{source}', {arguments})");
    let row = session_of(pair, role).query_one(&sql, &[]);
    row.map(|row| row.get(0)).map_err(|error| Failure::of(&error))
}

#[test]
fn only_who_may_read_all_rows_compares_them() {
    let mut pair =
        Pair::with("verify_rights", "CREATE TABLE item (id int, secret text)", "INSERT INTO item VALUES (1, 'x')");
    pair.pull("");
    role(&mut pair, "verify_reader");
    role(&mut pair, "app");
    pair.source.batch_execute("GRANT SELECT ON item TO app").unwrap();
    let arguments = "include => '{item}'";
    let refused = |pair: &Pair, words: &str| {
        let failure = told_to(pair, "verify_reader", arguments).unwrap_err();
        assert_eq!(failure.sqlstate, "42501", "{failure:?}");
        assert!(failure.problems().contains(words), "{failure:?}");
    };
    refused(&pair, "public.item: user verify_reader may not read it");
    pair.destination.batch_execute("GRANT SELECT (id) ON item TO verify_reader").unwrap();
    refused(&pair, "public.item: user verify_reader may not read it");
    pair.destination.batch_execute("GRANT SELECT (secret) ON item TO verify_reader").unwrap();
    assert_eq!(told_to(&pair, "verify_reader", arguments).unwrap(), "true");
    pair.destination
        .batch_execute("ALTER TABLE item ENABLE ROW LEVEL SECURITY; CREATE POLICY higher ON item USING (id > 1)")
        .unwrap();
    refused(&pair, "public.item: row-level security may hide rows from user verify_reader");
    pair.destination.batch_execute("ALTER TABLE item DISABLE ROW LEVEL SECURITY").unwrap();
    pair.source.batch_execute("REVOKE ALL ON item FROM app").unwrap();
    refused(&pair, "user app may not read it on the source");
}

#[test]
fn code_of_a_tables_owner_runs_as_nobody_else() {
    let mut pair = Pair::new("verify_code");
    role(&mut pair, "verify_owner");
    let schema = "
        CREATE TABLE caught (who text); GRANT INSERT ON caught TO PUBLIC; GRANT CREATE ON SCHEMA public TO verify_owner;
        SET ROLE verify_owner;
        CREATE FUNCTION plant(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN INSERT INTO public.caught VALUES (current_user); RETURN a; EXCEPTION WHEN OTHERS THEN RETURN a; END $$;
        CREATE TABLE item (id int); CREATE INDEX ON item (id) WHERE plant(1) = 1;
        RESET ROLE; DELETE FROM caught";
    pair.both(schema);
    let sql = format!("SELECT * FROM {}", verify_sql(&pair, "include => '{item}'"));
    let failure = Failure::of(&pair.destination.batch_execute(&sql).unwrap_err());
    assert_eq!(failure.sqlstate, "42501");
    assert!(
        failure.problems().contains("would run functions of verify_owner as the user of the source"),
        "{failure:?}"
    );
    assert_eq!(text(&mut pair.source, "SELECT count(*)::text FROM caught"), "0");
    pair.source.batch_execute("DROP INDEX item_id_idx").unwrap();
    pair.destination.batch_execute(&sql).unwrap();
    let who = "SELECT coalesce(string_agg(DISTINCT who, ' '), 'nobody') FROM caught";
    assert!(["verify_owner", "nobody"].contains(&text(&mut pair.destination, who).as_str()));
}

#[test]
fn long_values_are_compared() {
    let mut pair = Pair::with(
        "verify_long",
        "CREATE TABLE item (id int, body text, other text)",
        "INSERT INTO item SELECT i, repeat('\"quoted\" ', 15000000), repeat('x', 100000000) FROM generate_series(1, 2) i",
    );
    pair.pull("parallel => 1");
    pair.assert_verified();
    pair.destination
        .batch_execute("UPDATE item SET other = overlay(other PLACING 'y' FROM 99999999) WHERE id = 2")
        .unwrap();
    assert_eq!(differences(&mut pair, ""), "item: rows differ");
}

#[test]
fn rows_that_differ_are_named() {
    let mut pair = Pair::with(
        "verify_rows",
        "CREATE TABLE item (id int, kind text, body text, n numeric, PRIMARY KEY (kind, id));
         CREATE TABLE named (name text NOT NULL UNIQUE, a int); CREATE TABLE loose (a int, body text);
         CREATE TABLE numbered (id bigint PRIMARY KEY, body text)",
        "INSERT INTO item SELECT i, 'k' || i % 3, 'body ' || i, i / 10.0 FROM generate_series(1, 20000) i;
         INSERT INTO named SELECT 'n' || i, i FROM generate_series(1, 100) i;
         INSERT INTO loose VALUES (99, 'only'); INSERT INTO loose SELECT i % 5, 'body' FROM generate_series(1, 1000) i;
         INSERT INTO numbered SELECT i, md5(i::text) FROM generate_series(1, 30000) i",
    );
    pair.pull("");
    assert_eq!(differences(&mut pair, "level => 'rows'"), "");
    pair.destination
        .batch_execute(
            "UPDATE item SET body = NULL, n = n + 1 WHERE id = 777; DELETE FROM item WHERE id = 9999;
             INSERT INTO item VALUES (0, 'k, \"0\"', 'extra', 0);
             UPDATE named SET a = 0 WHERE name = 'n7'; DELETE FROM loose WHERE a = 99;
             UPDATE numbered SET body = '' WHERE id % 10000 = 7",
        )
        .unwrap();
    for parallel in [0, 2] {
        assert_eq!(
            differences(&mut pair, &format!("level => 'rows', parallel => {parallel}")),
            "item: rows differ; missing here: (kind, id)=(k0,9999); extra here: (kind, id)=(\"k, \"\"0\"\"\",0); \
             changed: (kind, id)=(k0,777) in body, n \
             | loose: 1001 rows on the source and 1000 rows on the destination; missing here: the row at (0,1) of the source \
             | named: rows differ; changed: (name)=(n7) in a \
             | numbered: rows differ; changed: (id)=(10007) in body; changed: (id)=(20007) in body; changed: (id)=(7) in body"
        );
    }
    let told = differences(&mut pair, "level => 'rows', most_rows => 1, include => '{numbered}'");
    assert!(told.starts_with("numbered: rows differ; changed: (id)=("), "{told}");
    assert!(told.contains(" 2 of ") && told.ends_with(" buckets not looked at"), "{told}");
    pair.destination.batch_execute("DELETE FROM named").unwrap();
    let told = differences(&mut pair, "level => 'rows', most_rows => 2, include => '{named}'");
    assert!(
        told.starts_with("named: 100 rows on the source and 0 rows on the destination; missing here: (name)=(n1); "),
        "{told}"
    );
    assert!(told.ends_with("missing here: 98 more"), "{told}");
}

#[test]
fn rows_of_big_tables_are_found_by_ranges_of_their_keys() {
    let mut pair = Pair::with(
        "verify_ranges",
        "CREATE TABLE spread (id int, line smallint, body text, PRIMARY KEY (id, line));
         CREATE TABLE uneven (id bigint, line int, PRIMARY KEY (id, line))",
        "INSERT INTO spread SELECT 3 * i - 30000, i % 3, repeat(md5(i::text), 12) FROM generate_series(1, 30000) i;
         INSERT INTO uneven SELECT 7, i FROM generate_series(1, 250000) i; INSERT INTO uneven SELECT i, 0 FROM generate_series(8, 900) i;
         ANALYZE",
    );
    pair.pull("");
    assert_eq!(differences(&mut pair, "level => 'rows'"), "");
    pair.destination
        .batch_execute(
            "DELETE FROM spread WHERE id IN (-29997, 0); INSERT INTO spread VALUES (-2147483648, 1), (60001, 2);
             UPDATE spread SET body = '' WHERE id IN (-3, 3, 59997); UPDATE uneven SET line = 0 WHERE line = 77777",
        )
        .unwrap();
    let uneven = "uneven: rows differ; missing here: (id, line)=(7,77777); extra here: (id, line)=(7,0)";
    for (change, rows, lowest) in [
        // One value lies so far off that ranges would be too wide.
        ("", "rows differ", "(-2147483648,1); extra here: (id, line)="),
        ("DELETE FROM spread WHERE id = -2147483648", "30000 rows on the source and 29999 rows on the destination", ""),
    ] {
        pair.destination.batch_execute(change).unwrap();
        assert_eq!(
            differences(&mut pair, "level => 'rows'"),
            format!(
                "spread: {rows}; missing here: (id, line)=(-29997,1); missing here: (id, line)=(0,1); \
                 extra here: (id, line)={lowest}(60001,2); changed: (id, line)=(-3,0) in body; \
                 changed: (id, line)=(3,2) in body; changed: (id, line)=(59997,2) in body | {uneven}"
            )
        );
    }
}

#[test]
fn sequences_are_compared() {
    let mut pair = Pair::with(
        "verify_sequences",
        "CREATE TABLE item (id serial, other int GENERATED BY DEFAULT AS IDENTITY, name text);
         CREATE TABLE log (id serial) PARTITION BY RANGE (id); CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (100);
         CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM (100) TO (200); CREATE TABLE plain (id int)",
        "INSERT INTO item (name) SELECT 'n' FROM generate_series(1, 9); INSERT INTO log SELECT FROM generate_series(1, 120)",
    );
    pair.pull("");
    assert_eq!(differences(&mut pair, ""), "");
    pair.destination.batch_execute("SELECT setval('item_id_seq', 8)").unwrap();
    let told = "item: sequence public.item_id_seq is at 9 on the source and 8 on the destination";
    for level in ["count", "digest", "rows"] {
        assert_eq!(differences(&mut pair, &format!("level => '{level}'")), told);
    }
    pair.destination.batch_execute("SELECT setval('item_id_seq', 9, false)").unwrap();
    let told = "item: sequence public.item_id_seq is at 9 on the source and 9 (not given out yet) on the destination";
    assert_eq!(differences(&mut pair, "include => '{item}'"), told);
    pair.destination
        .batch_execute(
            "SELECT setval('item_id_seq', 9); SELECT nextval('item_other_seq'); SELECT nextval('log_id_seq')",
        )
        .unwrap();
    assert_eq!(
        differences(&mut pair, ""),
        "item: sequence public.item_other_seq is at 9 on the source and 10 on the destination \
         | log_1: sequence public.log_id_seq is at 120 on the source and 121 on the destination"
    );
    assert_eq!(differences(&mut pair, "exclude => '{log, item}'"), "");
    role(&mut pair, "verify_reader");
    role(&mut pair, "app");
    pair.source
        .batch_execute(
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO app; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO app",
        )
        .unwrap();
    pair.destination.batch_execute("GRANT SELECT ON item TO verify_reader").unwrap();
    let failure = told_to(&pair, "verify_reader", "include => '{item}'").unwrap_err();
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    assert!(failure.message.contains("may not read it on the destination"), "{failure:?}");
    pair.destination.batch_execute("GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO verify_reader").unwrap();
    assert_eq!(told_to(&pair, "verify_reader", "include => '{item}'").unwrap(), "false");
}

#[test]
fn definitions_are_compared() {
    let mut pair = Pair::with(
        "verify_definitions",
        "CREATE TABLE owner (id int PRIMARY KEY);
         CREATE TABLE item (id int PRIMARY KEY, price numeric(12,2) DEFAULT 1 CHECK (price >= 0), owner int REFERENCES owner, body text);
         CREATE INDEX item_body ON item (body); CREATE STATISTICS item_both ON id, owner FROM item;
         CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER fires BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION fired();
         CREATE POLICY few ON item FOR SELECT USING (id > 0); COMMENT ON COLUMN item.body IS 'words'",
        "INSERT INTO owner VALUES (1); INSERT INTO item VALUES (1, 1, 1, 'x')",
    );
    role(&mut pair, "verify_reader");
    pair.pull("");
    assert_eq!(differences(&mut pair, "definitions => true"), "");
    for (change, told) in [
        (
            "ALTER TABLE item ALTER price SET DEFAULT 2",
            "column price: numeric(12,2) DEFAULT 1 on the source and numeric(12,2) DEFAULT 2 on the destination",
        ),
        (
            "ALTER TABLE item ALTER body SET NOT NULL",
            "column body: text on the source and text NOT NULL on the destination",
        ),
        (
            "ALTER TABLE item DROP CONSTRAINT item_price_check",
            "constraint item_price_check on the source only: CHECK ((price >= (0)::numeric))",
        ),
        (
            "ALTER TABLE item DROP CONSTRAINT item_owner_fkey; ALTER TABLE item ADD CONSTRAINT item_owner_fkey FOREIGN KEY (owner) REFERENCES owner ON DELETE CASCADE",
            "constraint item_owner_fkey: FOREIGN KEY (owner) REFERENCES public.owner(id) on the source and FOREIGN KEY (owner) REFERENCES public.owner(id) ON DELETE CASCADE on the destination",
        ),
        (
            "DROP INDEX item_body",
            "index item_body on the source only: CREATE INDEX item_body ON public.item USING btree (body)",
        ),
        (
            "CREATE UNIQUE INDEX mine ON item (body)",
            "index mine on the destination only: CREATE UNIQUE INDEX mine ON public.item USING btree (body)",
        ),
        (
            "ALTER TABLE item DISABLE TRIGGER fires",
            "trigger fires: CREATE TRIGGER fires BEFORE INSERT ON public.item FOR EACH ROW EXECUTE FUNCTION public.fired() on the source and CREATE TRIGGER fires BEFORE INSERT ON public.item FOR EACH ROW EXECUTE FUNCTION public.fired() (disabled) on the destination",
        ),
        ("DROP POLICY few ON item", "policy few on the source only: permissive for select to PUBLIC using ((id > 0))"),
        (
            "DROP STATISTICS item_both",
            "statistics object public.item_both on the source only: CREATE STATISTICS public.item_both ON id, owner FROM public.item",
        ),
        ("GRANT SELECT ON item TO verify_reader", "privileges of verify_reader on the destination only: SELECT"),
        (
            "GRANT UPDATE (body) ON item TO verify_reader",
            "privileges of verify_reader on column body on the destination only: UPDATE",
        ),
        (
            "ALTER TABLE item ENABLE ROW LEVEL SECURITY",
            "row-level security: disabled on the source and enabled on the destination",
        ),
        (
            "ALTER TABLE item SET (fillfactor = 50)",
            "storage parameters: none on the source and fillfactor=50 on the destination",
        ),
        ("COMMENT ON COLUMN item.body IS NULL", "comment on column body on the source only: 'words'"),
    ] {
        pair.destination.batch_execute(&format!("BEGIN; {change}")).unwrap();
        let found = differences(&mut pair, "definitions => true");
        assert_eq!(differences(&mut pair, ""), "", "{change}");
        pair.destination.batch_execute("ROLLBACK").unwrap();
        assert_eq!(found, format!("item: {told}"), "{change}");
    }
    pair.destination
        .batch_execute("GRANT verify_reader TO postgres; ALTER TABLE owner OWNER TO verify_reader")
        .unwrap();
    let found = differences(&mut pair, "definitions => true");
    assert!(found.contains("owner: postgres on the source and verify_reader on the destination"), "{found}");
}
