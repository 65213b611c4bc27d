//! What `tables` takes of each table: some rows, some columns, other values, under other names.

use crate::harness::proxy::Proxy;
use crate::harness::{Failure, Pair, describe, text, texts};

fn shop(name: &str) -> Pair {
    let pair = Pair::with(
        name,
        "CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL, email varchar(60), notes text DEFAULT 'none', born date);
         CREATE TABLE purchase (id int PRIMARY KEY, customer int REFERENCES customer, placed_at timestamptz, total numeric(10,2))",
        "INSERT INTO customer SELECT i, 'Secret Name ' || i, 'secret' || i || '@shop.com', 'n' || i, '1990-01-01'::date + i
         FROM generate_series(1, 1000) i;
         INSERT INTO purchase SELECT i, i % 1000 + 1, now() - i * interval '1 hour', i * 1.25 FROM generate_series(1, 3000) i",
    );
    pair.notices();
    pair
}

fn problems(pair: &mut Pair, tables: &str) -> Vec<String> {
    pair.planned_problems(tables, "")
}

fn pull(pair: &mut Pair, tables: &str, arguments: &str) -> Result<u64, Failure> {
    let sql = format!("SELECT pgcopy.pull($1, tables => $2::text::jsonb, overwrite => true{arguments})");
    let dsn = pair.dsn();
    pair.destination.execute(&sql, &[&dsn, &tables]).map_err(|error| Failure::of(&error))
}

fn pulled(pair: &mut Pair, tables: &str, arguments: &str) -> u64 {
    pull(pair, tables, arguments).unwrap_or_else(|failure| panic!("{tables}: {failure:?}"))
}

#[test]
fn rows_that_satisfy_a_condition() {
    let mut pair = shop("part_where");
    let tables = r#"{"purchase": {"where": "placed_at > now() - interval '30 days' AND total <> 5"}}"#;
    for (level, workers) in [("read committed", 2), ("repeatable read", 0), ("serializable", 2)] {
        let sql = format!(
            "BEGIN ISOLATION LEVEL {level}; SELECT 1; SELECT pgcopy.pull('{}', tables => '{}', overwrite => true, parallel => {workers}); COMMIT",
            pair.dsn(),
            tables.replace('\'', "''")
        );
        pair.destination.batch_execute(&sql).unwrap_or_else(|error| panic!("{level}: {}", describe(&error)));
        let kept = "SELECT concat_ws(' ', count(*), min(total), count(*) FILTER (WHERE total = 5)) FROM purchase";
        assert_eq!(text(&mut pair.destination, kept), "718 1.25 0", "{level}");
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM customer"), "1000");
    }
    pair.assert_nothing_left();
    let job = text(&mut pair.destination, "SELECT arguments ->> 'tables' FROM pgcopy.jobs ORDER BY job DESC LIMIT 1");
    assert!(job.contains("interval '30 days'"), "{job}");
    let warnings = format!(
        "SELECT array_to_string(warnings, ';') FROM pgcopy.plan('{}', overwrite => true, tables => '{}') WHERE \"table\" = 'purchase'",
        pair.dsn(),
        tables.replace('\'', "''")
    );
    assert_eq!(
        text(&mut pair.destination, &warnings),
        "only rows where placed_at > now() - interval '30 days' AND total <> 5"
    );
    pair.assert_nothing_left();
}

#[test]
fn all_parts_of_a_big_table_are_of_one_instant() {
    let mut pair = Pair::with(
        "part_big",
        "CREATE TABLE event (id int PRIMARY KEY, at timestamptz, filler text)",
        "INSERT INTO event SELECT i, now() + (i - 100000) * interval '1 ms', repeat('x', 300) FROM generate_series(1, 200000) i;
         ANALYZE event",
    );
    let parts = format!("SELECT parts::text FROM pgcopy.plan('{}')", pair.dsn());
    assert_ne!(text(&mut pair.destination, &parts), "1");
    // Each worker begins its transaction at another time: the source's rows of these moments are within the second.
    pulled(&mut pair, r#"{"event": {"where": "at > now()"}}"#, ", parallel => 4");
    let holes = "SELECT (max(id) - min(id) + 1 - count(*))::text FROM event";
    assert_eq!(text(&mut pair.destination, holes), "0");
    let rest = pulled(&mut pair, r#"{"event": {"where": "id % 2 = 0"}}"#, ", parallel => 4");
    assert_eq!(rest, 1);
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM event"), "100000");
    pair.assert_nothing_left();
}

#[test]
fn a_sample_is_the_same_rows_every_time() {
    let mut pair = shop("part_sample");
    pair.both("CREATE TABLE heap (a int, b text); CREATE TABLE wide (a int, b int, c text, PRIMARY KEY (b, a))");
    pair.source
        .batch_execute(
            "INSERT INTO heap SELECT i % 5, nullif(i % 3000, 0)::text FROM generate_series(1, 6000) i;
             INSERT INTO wide SELECT i, -i, 'c' FROM generate_series(1, 5000) i",
        )
        .unwrap();
    let tables = r#"{"purchase": {"sample": 0.1}, "heap": {"sample": 0.25}, "wide": {"sample": 0.5}}"#;
    let state = |pair: &mut Pair| {
        pair.destination_state().rows.into_iter().map(|(name, rows, digest)| (name, (rows, digest))).collect::<Vec<_>>()
    };
    pulled(&mut pair, tables, "");
    let first = state(&mut pair);
    let rows: Vec<i64> = first.iter().map(|(_, (rows, _))| *rows).collect();
    assert!(rows[1] > 1200 && rows[1] < 1800, "heap: {rows:?}");
    assert!(rows[2] > 240 && rows[2] < 360, "purchase: {rows:?}");
    assert!(rows[3] > 2300 && rows[3] < 2700, "wide: {rows:?}");
    // Neither the place of rows nor other columns matter where there is a key.
    pair.source
        .batch_execute("UPDATE purchase SET placed_at = NULL; UPDATE wide SET c = 'd'; CLUSTER wide USING wide_pkey")
        .unwrap();
    pulled(&mut pair, tables, ", parallel => 0");
    let second = state(&mut pair);
    assert_eq!(
        first.iter().map(|(_, (rows, _))| rows).collect::<Vec<_>>(),
        second.iter().map(|(_, (rows, _))| rows).collect::<Vec<_>>()
    );
    let keys = texts(&mut pair.destination, "SELECT id::text FROM purchase ORDER BY id");
    pulled(&mut pair, r#"{"purchase": {"sample": 0.2}}"#, "");
    let more = texts(&mut pair.destination, "SELECT id::text FROM purchase");
    assert!(keys.iter().all(|key| more.contains(key)), "a greater fraction holds the smaller one");
    pulled(&mut pair, r#"{"*": {"sample": 1}}"#, "");
    pair.assert_same_content();
}

#[test]
fn columns_that_are_left_out_or_computed() {
    let mut pair = shop("part_columns");
    pair.destination
        .batch_execute(
            "ALTER TABLE customer ADD COLUMN age int, ADD COLUMN shown text GENERATED ALWAYS AS (name || '!') STORED",
        )
        .unwrap();
    let tables = r#"{"customer": {"columns": {
        "notes": {"skip": true}, "email": {"value": "NULL"}, "name": {"value": "left(name, 1) || '.'"},
        "born": {"value": "'2000-01-01'"}, "age": {"value": "EXTRACT(year FROM born) - 1900"}}}}"#;
    for parallel in [0, 2] {
        pulled(&mut pair, tables, &format!(", parallel => {parallel}"));
        let row = "SELECT concat_ws('|', count(*), count(DISTINCT (name, notes, born, shown)), min(name), count(email), min(notes), min(born), min(age), max(shown))
                   FROM customer";
        assert_eq!(text(&mut pair.destination, row), "1000|1|S.|0|none|2000-01-01|90|S.!");
    }
    // As it stands, too.
    pulled(&mut pair, tables, ", method => 'in place'");
    let row =
        "SELECT concat_ws('|', min(name), count(email), min(notes), min(born), min(age), max(shown)) FROM customer";
    assert_eq!(text(&mut pair.destination, row), "S.|0|none|2000-01-01|90|S.!");
    assert_eq!(
        problems(&mut pair, r#"{"customer": {"columns": {"name": {"skip": true}}}}"#)[0],
        "customer: column name exists on the destination only, and has no default"
    );
    // What does not fit the column is an error, and not cut off.
    let failure =
        pull(&mut pair, r#"{"customer": {"columns": {"email": {"value": "repeat('x', 61)"}}}}"#, "").unwrap_err();
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("22001", "value too long for type character varying(60)")
    );
    pulled(&mut pair, r#"{"purchase": {"columns": {"total": {"value": "total / 3"}}}}"#, "");
    assert_eq!(text(&mut pair.destination, "SELECT total::text FROM purchase WHERE id = 1"), "0.42");
    pair.assert_nothing_left();
}

#[test]
fn tables_schemas_and_columns_of_other_names() {
    let mut pair = Pair::with(
        "part_into",
        "",
        "CREATE SCHEMA sales; CREATE TABLE sales.client (id int PRIMARY KEY, full_name text);
         CREATE TABLE sales.\"Order\" (id serial PRIMARY KEY, client int REFERENCES sales.client);
         CREATE TABLE sales.event (id int, day date) PARTITION BY RANGE (day);
         CREATE TABLE sales.event_1 PARTITION OF sales.event FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
         CREATE TABLE sales.event_2 PARTITION OF sales.event FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
         INSERT INTO sales.client SELECT i, 'n' || i FROM generate_series(1, 10) i;
         INSERT INTO sales.\"Order\" SELECT i, i FROM generate_series(1, 10) i;
         SELECT setval('sales.\"Order_id_seq\"', 77);
         INSERT INTO sales.event SELECT i, '2020-06-01'::date + i * 300 FROM generate_series(0, 1) i",
    );
    pair.destination
        .batch_execute(
            "CREATE SCHEMA archive; CREATE TABLE archive.people (id int PRIMARY KEY, name text);
             CREATE TABLE archive.\"Order\" (id serial PRIMARY KEY, client int REFERENCES archive.people);
             CREATE TABLE archive.event (id int, day date) PARTITION BY RANGE (day);
             CREATE TABLE archive.event_1 PARTITION OF archive.event FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
             CREATE TABLE archive.event_2 PARTITION OF archive.event FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
        )
        .unwrap();
    let tables = r#"{"sales.*": {"into": "archive.*"}, "sales.client": {"into": "archive.people", "columns": {"full_name": {"into": "name"}}}}"#;
    assert_eq!(problems(&mut pair, tables), [] as [&str; 0]);
    let plan = format!(
        "SELECT schema || '.' || \"table\" || ': ' || method || ' ' || array_to_string(warnings, '; ') FROM pgcopy.plan('{}', tables => '{tables}')",
        pair.dsn()
    );
    assert_eq!(
        texts(&mut pair.destination, &plan),
        [
            "archive.Order: swap comes from sales.\"Order\" of the source",
            "archive.event_1: swap comes from sales.event_1 of the source",
            "archive.event_2: swap comes from sales.event_2 of the source",
            "archive.people: swap comes from sales.client of the source",
        ]
    );
    assert_eq!(pulled(&mut pair, tables, ", include => '{sales.*}'"), 4);
    let people = "SELECT count(*) || max(name) FROM archive.people";
    assert_eq!(text(&mut pair.destination, people), "10n9");
    assert_eq!(text(&mut pair.destination, "SELECT last_value::text FROM archive.\"Order_id_seq\""), "77");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM archive.event_2"), "1");
    // Patterns are of the source's names, and so is what is missing.
    let failure = pull(&mut pair, tables, ", include => '{archive.*}'").unwrap_err();
    assert!(failure.message.contains("include pattern archive.*: no such table on the source"), "{failure:?}");
    assert_eq!(
        problems(
            &mut pair,
            r#"{"sales.client": {"into": "archive.Order"}, "sales.Order": {"into": "archive.\"Order\""}, "sales.\"Order\"": {"into": "archive.people"}}"#
        )[0],
        "tables entry sales.Order: no such table on the source"
    );
    let both = r#"{"sales.client": {"into": "archive.people"}, "sales.\"Order\"": {"into": "archive.people"}}"#;
    let found = problems(&mut pair, both);
    assert!(
        found.contains(
            &"people: two tables of the source would go into it: sales.\"Order\" and sales.client".to_owned()
        ),
        "{found:?}"
    );
    // Those that one name alone is given to are pulled as a whole.
    pulled(&mut pair, r#"{"sales.event": {"into": "archive.event"}}"#, ", include => '{sales.event}'");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM archive.event"), "2");
    // A table that is left out is known by its name here.
    pair.destination.batch_execute("ALTER TABLE archive.people DROP COLUMN name").unwrap();
    let skipped = pull(
        &mut pair,
        r#"{"sales.*": {"into": "archive.*"}, "sales.client": {"into": "archive.people"}}"#,
        ", on_mismatch => 'skip'",
    );
    assert_eq!(skipped, Ok(2), "people, and what refers to it, are left out");
    pair.assert_nothing_left();
}

#[test]
fn rows_without_their_counterparts_are_found() {
    let mut pair = shop("part_keys");
    let before = pair.destination_state();
    for validate in ["true", "false"] {
        let failure = pull(&mut pair, r#"{"customer": {"where": "id <= 500"}}"#, &format!(", validate => {validate}"))
            .unwrap_err();
        assert_eq!(failure.sqlstate, "23503", "{failure:?}");
        assert_eq!(
            failure.hint,
            "Only some rows of table \"customer\" are taken: leave out those that refer to the others, too, with where in tables."
        );
        assert_eq!(pair.destination_state(), before);
    }
    pulled(&mut pair, r#"{"customer": {"where": "id <= 500"}, "purchase": {"where": "customer <= 500"}}"#, "");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM purchase"), "1500");
    pair.assert_nothing_left();
}

#[test]
fn what_is_wrong_is_found_before_anything_is_touched() {
    let mut pair = shop("part_problems");
    pair.source
        .batch_execute("CREATE FUNCTION public.noisy(text) RETURNS text LANGUAGE sql AS 'SELECT $1'; CREATE SCHEMA secret; CREATE TABLE secret.t (a int)")
        .unwrap();
    for (expression, problem) in [
        ("plced_at > now()", "column \"plced_at\" does not exist at character 1"),
        ("total >", "syntax error at or near \")\" at the end"),
        ("größe = 1", "column \"größe\" does not exist at character 1"),
        ("total = 1 AND ttotal = 1", "column \"ttotal\" does not exist at character 15"),
        ("total", "argument of WHERE must be type boolean, not type numeric"),
        ("count(*) > 1", "aggregate functions are not allowed in WHERE"),
        ("generate_series(1, 2) > 1", "set-returning functions are not allowed in WHERE"),
        ("row_number() OVER () > 1", "window functions are not allowed in WHERE"),
        ("random() < 0.5", "random is volatile at character 1"),
        ("pg_sleep(10) IS NULL", "pg_sleep is volatile at character 1"),
        ("PG_CATALOG.Pg_Sleep (10) IS NULL", "pg_catalog.pg_sleep is volatile at character 12"),
        ("(10::float8).pg_sleep IS NULL", "pg_sleep is volatile at character 14"),
        ("pg_advisory_lock(1) IS NULL", "pg_advisory_lock is volatile"),
        ("set_config('a.b', 'c', false) = ''", "set_config is volatile"),
        ("pg_terminate_backend(1)", "pg_terminate_backend is volatile"),
        ("lo_export(1, '/tmp/x') = 1", "lo_export is volatile"),
        ("pg_read_file('/etc/passwd') = ''", "pg_read_file is volatile"),
        ("query_to_xml('SELECT 1', true, true, '') IS NULL", "query_to_xml is volatile"),
        ("table_to_xml('secret.t', true, true, '') IS NULL", "table_to_xml reads other tables"),
        ("public.noisy('a') = 'a'", "public.noisy is volatile at character 8"),
        ("nextval('x') = 1", "nextval is volatile"),
        ("public.nothing(1)", "function public.nothing(integer) does not exist at character 1"),
        ("secret.t.a = 1", "missing FROM-clause entry for table \"t\""),
        ("1 / 0 = id", "division by zero"),
    ] {
        let tables = serde_json_object("where", expression);
        let found = problems(&mut pair, &tables);
        assert!(
            found.iter().any(|found| found.starts_with("purchase: where: ")
                && found.contains(problem)
                && found.ends_with(expression)),
            "{expression}: {found:?}"
        );
    }
    // The text itself is looked at before the source is asked.
    for (expression, message) in [
        ("true) OR (true", "tables entry \"purchase\", where: unexpected \")\" at character 5"),
        (
            "(SELECT true)",
            "tables entry \"purchase\", where: an expression is about one row and cannot hold a query: unexpected \"select\"; a column of that name needs double quotes at character 2",
        ),
    ] {
        let failure = pull(&mut pair, &serde_json_object("where", expression), "").unwrap_err();
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("22023", message));
    }
    for (tables, problem) in [
        (
            r#"{"purchase": {"columns": {"total": {"value": "placed_at"}}}}"#,
            "purchase: column total, value: it is of type timestamp with time zone, where the column needs numeric(10,2): placed_at",
        ),
        (
            r#"{"purchase": {"columns": {"total": {"value": "max(total)"}}}}"#,
            "purchase: column total, value: aggregate functions are not allowed in WHERE at character 1: max(total)",
        ),
        (
            r#"{"purchase": {"columns": {"totl": {"value": "1"}}}}"#,
            "purchase: tables names column totl, which the source's table does not have",
        ),
        (r#"{"purchase": {"columns": {"total": {"into": "sum"}}}}"#, "purchase: column sum exists on the source only"),
        (
            r#"{"purchase": {"columns": {"total": {"into": "id"}}}}"#,
            "purchase: columns id and total would both go into id",
        ),
        (r#"{"purchse": {"where": "true"}}"#, "tables entry purchse: no such table on the source"),
        (
            r#"{"*": {"columns": {"emial": {"skip": true}}}}"#,
            "tables entry *: no table that it matches has a column emial",
        ),
        (
            r#"{"p*": {"where": "true"}, "*e": {"where": "false"}}"#,
            "purchase: where: entries *e and p* of tables are equally exact and contradict each other",
        ),
    ] {
        let found = problems(&mut pair, tables);
        assert!(found.contains(&problem.to_owned()), "{tables}: {found:?}");
    }
    let failure = pull(&mut pair, r#"{"purchase": {"where": "ttotal = 1"}}"#, "").unwrap_err();
    assert_eq!(failure.sqlstate, "22023");
    assert_eq!(
        failure.message,
        "cannot pull: public.purchase: where: column \"ttotal\" does not exist at character 1: ttotal = 1"
    );
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM purchase"), "0");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.jobs WHERE state = 'running'"), "0");
}

/// `tables` with one setting of `purchase`.
fn serde_json_object(setting: &str, value: &str) -> String {
    format!("{{\"purchase\": {{\"{setting}\": \"{}\"}}}}", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[test]
fn no_text_gets_out_of_its_place() {
    let mut pair = shop("part_injection");
    pair.source.batch_execute("CREATE TABLE victim (a int); INSERT INTO victim VALUES (1)").unwrap();
    pair.destination.batch_execute("CREATE TABLE victim (a int)").unwrap();
    let attacks = [
        "true); DROP TABLE victim; --",
        "true) UNION SELECT 1 FROM (VALUES (1)) v(",
        "'; DROP TABLE victim; --",
        "E'\\'; DROP TABLE victim; --",
        "$$; DROP TABLE victim; $$",
        "\"; DROP TABLE victim; --",
        "1 /* */; COMMIT; DROP TABLE victim",
        "1E'\\' OR true); DROP TABLE victim; --'",
        "U&'\\0027'; DROP TABLE victim",
        "'a' \n E'\\'); DROP TABLE victim; --'",
        "{schemas}, {names}",
        "{uses}.f({relations})",
        "x\".\"y",
        "\u{a0}true\u{2028}",
        "\\); DROP TABLE victim",
    ];
    for attack in attacks {
        let quoted = format!("\"{}\"", attack.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
        for tables in [
            format!("{{\"purchase\": {{\"where\": {quoted}}}}}"),
            format!("{{\"purchase\": {{\"columns\": {{\"total\": {{\"value\": {quoted}}}}}}}}}"),
            format!("{{\"purchase\": {{\"columns\": {{{quoted}: {{\"skip\": true}}}}}}}}"),
            format!("{{\"purchase\": {{\"columns\": {{{quoted}: {{\"value\": \"1\"}}}}}}}}"),
            format!("{{\"purchase\": {{\"columns\": {{\"total\": {{\"into\": {quoted}}}}}}}}}"),
            format!("{{\"purchase\": {{\"into\": {quoted}}}}}"),
            format!("{{{quoted}: {{\"where\": \"true\"}}}}"),
        ] {
            assert!(pull(&mut pair, &tables, "").is_err(), "{tables}");
        }
    }
    assert_eq!(text(&mut pair.source, "SELECT count(*)::text FROM victim"), "1");
    assert_eq!(text(&mut pair.source, "SELECT count(*)::text FROM purchase"), "3000");
    // Names that only look like an attack are names.
    pair.both("CREATE TABLE \"a; --\" (\"b'); --\" int, \"c\"\"d\" text)");
    pair.source.batch_execute("INSERT INTO \"a; --\" VALUES (1, 'x'), (2, 'y')").unwrap();
    let odd = r#"{"\"a; --\"": {"where": "\"b'); --\" = 1 AND \"c\"\"d\" <> ')--'", "sample": 1, "columns": {"c\"d": {"value": "\"c\"\"d\" || ';--'"}}}}"#;
    pulled(&mut pair, odd, "");
    assert_eq!(
        text(&mut pair.destination, "SELECT string_agg(\"b'); --\" || \"c\"\"d\", ',') FROM \"a; --\""),
        "1x;--"
    );
    pair.assert_nothing_left();
}

#[test]
fn code_of_others_does_not_run_as_the_user_of_the_source() {
    let mut pair = shop("part_code");
    pair.source
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE part_author; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             DO $$ BEGIN CREATE ROLE part_reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO part_reader;
             CREATE SCHEMA app AUTHORIZATION part_author; GRANT USAGE ON SCHEMA app TO PUBLIC;
             SET ROLE part_author;
             CREATE FUNCTION app.mine(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
             CREATE DOMAIN app.positive AS int CHECK (app.mine(VALUE));
             CREATE TYPE app.mood AS ENUM ('good', 'bad');
             RESET ROLE;
             CREATE FUNCTION app.trusted(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 < 10';
             CREATE DOMAIN app.by_superuser AS int CHECK (app.mine(VALUE)); CREATE TYPE app.with_it AS (a app.by_superuser);
             CREATE FUNCTION app.hidden(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
             REVOKE EXECUTE ON FUNCTION app.hidden(int) FROM PUBLIC",
        )
        .unwrap();
    let dsn = pair.dsn().replace("user=postgres", "user=part_reader");
    let mut found = |expression: &str| {
        let sql = "SELECT problem FROM pgcopy.plan($1, tables => $2::text::jsonb) WHERE problem LIKE 'where: %'";
        let rows = pair.destination.query(sql, &[&dsn, &serde_json_object("where", expression)]);
        let rows = rows.unwrap_or_else(|error| panic!("{expression}: {}", describe(&error)));
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("; ")
    };
    assert!(
        found("app.mine(id)").contains("app.mine is code of part_author, which would run as the user of the source")
    );
    assert!(found("id::app.positive > 1").contains("app.positive is a type of part_author"));
    assert!(found("app.hidden(id)").contains("permission denied for function hidden"));
    // A superuser's type is no better than the code of its checks.
    for (expression, name) in [
        ("'5'::app.by_superuser IS NULL", "by_superuser"),
        ("'{5}'::app.by_superuser[] IS NULL", "by_superuser"),
        ("CAST('(5)' AS app.with_it) IS NULL", "with_it"),
    ] {
        let told = found(expression);
        assert!(told.contains(&format!("app.{name} has checks that are code of part_author")), "{told}");
    }
    // The type stands in a text, as a value.
    for (called, arguments) in
        [("domain_in", "'5'"), ("array_in", "'{5}'"), ("range_in", "'empty'"), ("record_in", "'(5)'")]
    {
        let told = found(&format!("{called}({arguments}::cstring, 'app.positive'::regtype::oid, -1) IS NULL"));
        assert!(told.contains(&format!("{called} makes values of any type at character 1")), "{told}");
    }
    assert_eq!(found("to_number('5', '9') > id AND array_length(ARRAY[id], 1) = 1"), "");
    assert_eq!(found("app.trusted(id)"), "");
    assert_eq!(found("'good'::app.mood IS NOT NULL"), "");
    // A cast of a type that does not occur in the table is out of reach.
    pair.source
        .batch_execute(
            "SET ROLE part_author; CREATE FUNCTION app.written(app.mood) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''x''::text';
             CREATE CAST (app.mood AS text) WITH FUNCTION app.written(app.mood) AS IMPLICIT; RESET ROLE",
        )
        .unwrap();
    assert_eq!(found("id::text <> 'x'"), "");
    // Values of a type that does occur are made without a word of it.
    pair.both("CREATE SCHEMA IF NOT EXISTS app");
    pair.source.batch_execute("SET ROLE part_author; CREATE TABLE app.odd (id int, many app.positive[], m app.mood); RESET ROLE; GRANT SELECT ON app.odd TO part_reader").unwrap();
    pair.destination.batch_execute("CREATE DOMAIN app.positive AS int; CREATE TYPE app.mood AS ENUM ('good', 'bad'); CREATE TABLE app.odd (id int, many app.positive[], m app.mood)").unwrap();
    let of_odd = |pair: &mut Pair, tables: &str| {
        let sql = "SELECT coalesce(string_agg(problem, '; '), '') FROM pgcopy.plan($1, include => '{app.odd}', tables => $2::text::jsonb)";
        pair.destination.query_one(sql, &[&dsn, &tables]).unwrap().get::<_, String>(0)
    };
    for tables in [
        r#"{"app.odd": {"where": "array_append(many, 1) IS NULL"}}"#,
        r#"{"app.odd": {"columns": {"many": {"value": "'{1}'"}}}}"#,
        r#"{"app.odd": {"columns": {"m": {"value": "null"}}}}"#,
    ] {
        let told = of_odd(&mut pair, tables);
        assert!(told.contains("code of part_author"), "{tables}: {told}");
    }
    pair.source.batch_execute("ALTER TABLE app.odd DROP COLUMN many; DROP CAST (app.mood AS text)").unwrap();
    pair.destination.batch_execute("ALTER TABLE app.odd DROP COLUMN many, ADD d app.positive").unwrap();
    let told = of_odd(&mut pair, r#"{"app.odd": {"columns": {"m": {"value": "'good'"}, "id": {"into": "d"}}}}"#);
    assert!(!told.contains("code of part_author"), "{told}");
    // Tables over which a query runs such code are read by plain COPY, and no condition can be asked for.
    pair.source
        .batch_execute("GRANT EXECUTE ON FUNCTION app.mine(int) TO postgres; CREATE INDEX ON purchase ((app.mine(id)))")
        .unwrap();
    let sql =
        "SELECT problem FROM pgcopy.plan($1, include => '{purchase}', overwrite => true, tables => $2::text::jsonb)
               WHERE problem IS NOT NULL";
    for (tables, refused) in [
        (r#"{"purchase": {"where": "true"}}"#, true),
        (r#"{"purchase": {"sample": 0.5}}"#, true),
        (r#"{"purchase": {"columns": {"total": {"value": "1"}}}}"#, true),
        (r#"{"purchase": {"columns": {"total": {"skip": true}}}}"#, false),
    ] {
        let rows = pair.destination.query(sql, &[&dsn, &tables]).unwrap();
        let problems: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let expected = "a query over it would run functions of part_author as the user of the source";
        assert_eq!(problems.iter().any(|problem| problem == expected), refused, "{tables}: {problems:?}");
    }
}

#[test]
fn code_of_others_is_found_in_whatever_a_row_is_made_of() {
    let mut pair = Pair::new("part_types");
    let types = "CREATE TYPE app.positives AS RANGE (SUBTYPE = app.positive, MULTIRANGE_TYPE_NAME = app.many);
         CREATE TYPE app.box AS (many app.many[]); CREATE TYPE app.mood AS ENUM ('good');
         CREATE TABLE app.by_range (id int, c app.positives); CREATE TABLE app.by_multirange (id int, c app.many);
         CREATE TABLE app.by_array (id int, c app.many[]); CREATE TABLE app.by_composite (id int, c app.box);
         CREATE TABLE app.by_cast_of_array (id int, c app.mood); CREATE TABLE app.by_cast_of_row (id int); CREATE TABLE app.plain (id int, c int)";
    pair.source
        .batch_execute(&format!(
            "DO $$ BEGIN CREATE ROLE part_author; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             DO $$ BEGIN CREATE ROLE part_reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             CREATE SCHEMA app AUTHORIZATION part_author; GRANT USAGE ON SCHEMA app TO PUBLIC; SET ROLE part_author;
             CREATE FUNCTION app.mine(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
             CREATE DOMAIN app.positive AS int CHECK (app.mine(VALUE)); {types};
             CREATE FUNCTION app.written(app.mood[]) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''x''::text';
             CREATE FUNCTION app.written(app.by_cast_of_row) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''x''::text';
             CREATE CAST (app.mood[] AS text) WITH FUNCTION app.written(app.mood[]) AS ASSIGNMENT;
             CREATE CAST (app.by_cast_of_row AS text) WITH FUNCTION app.written(app.by_cast_of_row) AS ASSIGNMENT;
             RESET ROLE; GRANT SELECT ON ALL TABLES IN SCHEMA app TO part_reader"
        ))
        .unwrap();
    pair.destination.batch_execute(&format!("CREATE SCHEMA app; CREATE DOMAIN app.positive AS int; {types}")).unwrap();
    let dsn = pair.dsn().replace("user=postgres", "user=part_reader");
    let mut found = |table: &str| -> String {
        let sql = "SELECT coalesce(string_agg(problem, '; '), '') FROM pgcopy.plan($1, include => ARRAY[$2], tables => $3::text::jsonb)";
        let tables = format!(r#"{{"{table}": {{"where": "id > 0"}}}}"#);
        pair.destination.query_one(sql, &[&dsn, &table, &tables]).unwrap().get(0)
    };
    for (table, reason) in [
        ("app.by_range", "type app.positive of column c has code of part_author"),
        ("app.by_multirange", "type app.positive of column c has code of part_author"),
        ("app.by_array", "type app.positive of column c has code of part_author"),
        ("app.by_composite", "type app.positive of column c has code of part_author"),
        ("app.by_cast_of_array", "type app.mood[] of column c has a cast that is code of part_author"),
        ("app.by_cast_of_row", "type app.by_cast_of_row has a cast that is code of part_author"),
    ] {
        let told = found(table);
        assert!(told.contains(reason), "{table}: {told}");
    }
    assert_eq!(found("app.plain"), "");
}

#[test]
fn what_is_left_out_does_not_travel() {
    let mut pair = shop("part_wire");
    let proxy = Proxy::start(pair.source_port);
    proxy.record();
    let tables = r#"{"customer": {"columns": {"email": {"skip": true}, "name": {"value": "'n' || id"}}, "where": "id <> 7"}, "purchase": {"where": "customer <> 7"}}"#;
    let sql = "SELECT pgcopy.pull($1, tables => $2::text::jsonb, overwrite => true)";
    pair.destination.execute(sql, &[&proxy.dsn(&pair.database), &tables]).unwrap();
    let wire = proxy.recorded();
    let holds = |needle: &str| wire.windows(needle.len()).any(|part| part == needle.as_bytes());
    assert!(holds("n999"), "the capture has the rows");
    for secret in ["Secret Name", "@shop.com"] {
        assert!(!holds(secret), "{secret}");
    }
    // Neither do errors here show what an expression has failed for.
    let failing =
        r#"{"customer": {"columns": {"email": {"value": "CASE WHEN id > 900 THEN name::int ELSE 1 END::text"}}}}"#;
    let error = pair.destination.execute(sql, &[&pair.dsn(), &failing]).unwrap_err();
    let failure = Failure::of(&error);
    assert_eq!(failure.sqlstate, "22P02");
    assert_eq!(failure.message, "an expression of tables fails for a value of the source");
    assert!(!format!("{failure:?}").contains("Secret"), "{failure:?}");
    pair.assert_nothing_left();
    let jobs = text(&mut pair.destination, "SELECT string_agg(j::text, '') FROM pgcopy.jobs j");
    assert!(!jobs.contains("Secret Name"), "{jobs}");
}

#[test]
fn in_the_background_and_from_a_table_of_the_callers() {
    let mut pair = shop("part_background");
    pair.destination
        .batch_execute(
            "CREATE TABLE taken (tables jsonb); INSERT INTO taken VALUES ('{\"purchase\": {\"where\": \"id <= 10\"}}')",
        )
        .unwrap();
    let sql = format!(
        "SELECT pgcopy.wait(pgcopy.start_pull('{}', overwrite => true, tables => (SELECT tables FROM taken)))",
        pair.dsn()
    );
    assert_eq!(text(&mut pair.destination, &sql), "completed");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM purchase"), "10");
    let failure = pair.pull_error("tables => '{\"purchase\": {\"where\": \"id <= 10\"}}'");
    assert!(failure.hint.contains("tables => …, overwrite => true"), "{failure:?}");
    pair.assert_nothing_left();
}
