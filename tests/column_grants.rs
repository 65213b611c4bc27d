//! A user of the source who may read some columns of its tables takes these, and needs no right on the others.

use crate::harness::{Failure, Pair, describe, eventually, shared_ports, text, texts};
use std::thread;
use xtask::server::{Installation, Options, Server, Version};

const READER: &str = "DO $$ BEGIN CREATE ROLE grants_reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";
const WITH_KEY: &str = ", mask_key => 'correct horse battery'";

fn dsn(pair: &Pair) -> String {
    pair.dsn().replace("user=postgres", "user=grants_reader")
}

fn pull(pair: &mut Pair, tables: &str, arguments: &str) -> Result<u64, Failure> {
    let sql = format!("SELECT pgcopy.pull($1, tables => $2::text::jsonb, overwrite => true{arguments})");
    let dsn = dsn(pair);
    pair.destination.execute(&sql, &[&dsn, &tables]).map_err(|error| Failure::of(&error))
}

fn pulled(pair: &mut Pair, tables: &str, arguments: &str) {
    pull(pair, tables, arguments).unwrap_or_else(|failure| panic!("{tables}{arguments}: {failure:?}"));
}

/// A line of SQL for each row of a plan, where it is not NULL.
fn planned(pair: &mut Pair, tables: &str, arguments: &str, line: &str) -> Vec<String> {
    let sql = format!(
        "SELECT {line} FROM pgcopy.plan($1, tables => $2::text::jsonb, overwrite => true{arguments}) WHERE {line} IS NOT NULL"
    );
    let dsn = dsn(pair);
    let rows = pair.destination.query(&sql, &[&dsn, &tables]);
    rows.unwrap_or_else(|error| panic!("{tables}: {}", describe(&error))).iter().map(|row| row.get(0)).collect()
}

fn problems(pair: &mut Pair, tables: &str, arguments: &str) -> Vec<String> {
    planned(pair, tables, arguments, "\"table\" || ': ' || problem")
}

fn verified(pair: &mut Pair, tables: &str, arguments: &str) -> Vec<String> {
    let sql = format!(
        "SELECT \"table\" || ' ' || array_to_string(differences, '; ') FROM pgcopy.verify($1, tables => $2::text::jsonb{arguments})"
    );
    let dsn = dsn(pair);
    let rows = pair.destination.query(&sql, &[&dsn, &tables]);
    rows.unwrap_or_else(|error| panic!("{tables}: {}", describe(&error))).iter().map(|row| row.get(0)).collect()
}

#[test]
fn the_granted_columns_of_a_table_are_enough() {
    let mut pair = Pair::with(
        "grants_table",
        "CREATE TABLE person (id int PRIMARY KEY, name text, email text, secret text DEFAULT 'none', amount numeric)",
        &format!(
            "{READER}; INSERT INTO person SELECT i, 'Name ' || i, 'n' || i || '@shop.com', 'secret', i FROM generate_series(1, 3000) i;
             GRANT SELECT (id, name, email) ON person TO grants_reader"
        ),
    );
    let grant = "GRANT SELECT (amount, secret) ON public.person TO grants_reader; -- on the source";
    assert_eq!(
        planned(&mut pair, "{}", "", "concat(\"table\", ': ', problem, ' | ', mend)"),
        [format!("person: user grants_reader may not read columns amount, secret of it on the source | {grant}")]
    );
    let failure = pull(&mut pair, r#"{"person": {"columns": {"secret": {"skip": true}}}}"#, "").unwrap_err();
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("42501", "cannot pull: public.person: user grants_reader may not read column amount of it on the source")
    );
    let skipped = r#"{"person": {"columns": {"secret": {"skip": true}, "amount": {"skip": true}}}}"#;
    for arguments in
        [", parallel => 2", ", parallel => 0", ", method => 'in place'", ", verify => true", ", mode => 'upsert'"]
    {
        pair.destination.batch_execute("TRUNCATE person").unwrap();
        pulled(&mut pair, skipped, arguments);
        let kept =
            "SELECT concat_ws(' ', count(*), count(amount), min(secret), count(DISTINCT (name, email))) FROM person";
        assert_eq!(text(&mut pair.destination, kept), "3000 0 none 3000", "{arguments}");
    }
    for arguments in ["", ", level => 'rows'"] {
        assert_eq!(verified(&mut pair, skipped, arguments), ["person "], "{arguments}");
    }
    pair.destination.batch_execute("UPDATE person SET name = 'other' WHERE id = 7").unwrap();
    assert_eq!(verified(&mut pair, skipped, ", level => 'rows'"), ["person rows differ; changed: (id)=(7) in name"]);
    // Conditions, samples, values and masks over these columns.
    let parts = r#"{"person": {"where": "id <= 100 AND name <> 'Name 1'", "columns": {"secret": {"value": "upper(name)"},
        "email": {"mask": "email"}, "amount": {"mask": "null"}}}}"#;
    assert_eq!(problems(&mut pair, parts, WITH_KEY), [] as [&str; 0]);
    pulled(&mut pair, parts, WITH_KEY);
    let kept =
        "SELECT concat_ws(' ', count(*), min(secret), count(*) FILTER (WHERE email LIKE '%@example.com')) FROM person";
    assert_eq!(text(&mut pair.destination, kept), "99 NAME 10 99");
    assert_eq!(verified(&mut pair, parts, WITH_KEY), ["person "]);
    let sampled = skipped.replacen("{\"columns\"", "{\"sample\": 0.5, \"columns\"", 1);
    pulled(&mut pair, &sampled, "");
    let rest = r#""amount": {"skip": true}"#;
    for (tables, problem) in [
        (
            r#"{"person": {"where": "id > 0 AND Amount > 1", "columns": {"secret": {"skip": true}, REST}}}"#,
            "where: permission denied for column amount at character 12: id > 0 AND Amount > 1",
        ),
        (
            r#"{"person": {"where": "ctid IS NOT NULL", "columns": {"secret": {"skip": true}, REST}}}"#,
            "where: permission denied for column ctid at character 1: ctid IS NOT NULL",
        ),
        (
            r#"{"person": {"where": "person IS NOT NULL", "columns": {"secret": {"skip": true}, REST}}}"#,
            "where: permission denied for table person: person IS NOT NULL",
        ),
        (
            r#"{"person": {"columns": {"secret": {"value": "left(secret, 1)"}, REST}}}"#,
            "column secret, value: permission denied for column secret at character 6: left(secret, 1)",
        ),
        (
            r#"{"person": {"columns": {"secret": {"mask": "hash"}, REST}}}"#,
            "column secret, mask: user grants_reader may not read column secret of it on the source",
        ),
    ] {
        assert_eq!(problems(&mut pair, &tables.replace("REST", rest), WITH_KEY), [format!("person: {problem}")]);
    }
    // Without a key a sample goes by the whole row.
    pair.source.batch_execute("ALTER TABLE person DROP CONSTRAINT person_pkey").unwrap();
    assert_eq!(
        problems(&mut pair, &sampled, ""),
        ["person: user grants_reader may not read columns amount, secret of it on the source"]
    );
    pair.destination.batch_execute("ALTER TABLE person DROP CONSTRAINT person_pkey").unwrap();
    pulled(&mut pair, skipped, "");
    pair.destination.batch_execute("UPDATE person SET name = 'other' WHERE id = 7").unwrap();
    // Rows that are told by their places alone are not: the user may not read these.
    assert_eq!(verified(&mut pair, skipped, ", level => 'rows'"), ["person rows differ"]);
    // A table without any right, and one that hides rows, are refused as ever.
    pair.source.batch_execute("ALTER TABLE person ENABLE ROW LEVEL SECURITY").unwrap();
    assert_eq!(
        problems(&mut pair, skipped, ""),
        ["person: row-level security of the source may hide rows from user grants_reader"]
    );
    pair.source.batch_execute("REVOKE SELECT (id, name, email) ON person FROM grants_reader").unwrap();
    assert_eq!(problems(&mut pair, skipped, ""), ["person: user grants_reader may not read it on the source"]);
    pair.assert_nothing_left();
}

#[test]
fn the_granted_columns_of_partitions_and_of_what_is_above_them() {
    let mut pair = Pair::with(
        "grants_partitions",
        "CREATE TABLE event (id int PRIMARY KEY, note text, secret text) PARTITION BY RANGE (id);
         CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (500);
         CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (500) TO (2000);
         CREATE TABLE other (id int, note text, secret text) PARTITION BY RANGE (id)",
        &format!(
            "{READER}; CREATE TABLE other_1 PARTITION OF other FOR VALUES FROM (0) TO (700);
             CREATE TABLE other_2 PARTITION OF other FOR VALUES FROM (700) TO (2000);
             ALTER TABLE other_2 ENABLE ROW LEVEL SECURITY;
             INSERT INTO event SELECT i, 'n' || i, 'secret' FROM generate_series(1, 1000) i;
             INSERT INTO other SELECT i, 'n' || i, 'secret' FROM generate_series(1, 1000) i;
             GRANT SELECT (id, note) ON event_1, event_2, other TO grants_reader"
        ),
    );
    // Partitioned otherwise, so that it is read as a whole.
    pair.destination.batch_execute("CREATE TABLE other_all PARTITION OF other DEFAULT").unwrap();
    let tables = r#"{"event": {"columns": {"secret": {"skip": true}}}, "other": {"where": "id % 2 = 0", "columns": {"secret": {"value": "upper(note)"}}}}"#;
    assert_eq!(problems(&mut pair, tables, ""), [] as [&str; 0]);
    for arguments in ["", ", parallel => 0", ", mode => 'insert_missing', include => '{event}'", ", verify => true"] {
        pair.destination.batch_execute("TRUNCATE event, other").unwrap();
        pulled(&mut pair, tables, arguments);
        let events = "SELECT concat_ws(' ', count(*), count(secret), count(DISTINCT note)) FROM event";
        assert_eq!(text(&mut pair.destination, events), "1000 0 1000", "{arguments}");
        let others = "SELECT concat_ws(' ', count(*), min(secret)) FROM other";
        let expected = if arguments.contains("include") { "0" } else { "500 N10" };
        assert_eq!(text(&mut pair.destination, others), expected, "{arguments}");
    }
    assert_eq!(verified(&mut pair, tables, ", include => '{event}', level => 'rows'"), ["event_1 ", "event_2 "]);
    assert_eq!(
        problems(&mut pair, &tables.replace("id % 2 = 0", "secret <> ''"), ""),
        ["other: where: permission denied for column secret at character 1: secret <> ''"]
    );
    pair.assert_nothing_left();
}

#[test]
fn parts_of_a_big_table_need_the_places_of_its_rows() {
    let mut pair = Pair::with(
        "grants_big",
        "CREATE TABLE event (id int PRIMARY KEY, filler text, secret text)",
        &format!(
            "{READER}; INSERT INTO event SELECT i, repeat('x', 300), 'secret' FROM generate_series(1, 200000) i; ANALYZE event;
             GRANT SELECT (id, filler) ON event TO grants_reader"
        ),
    );
    let tables = r#"{"event": {"columns": {"secret": {"skip": true}}}}"#;
    let parts = "concat(parts > 1, ' ', array_to_string(warnings, '; '))";
    assert_eq!(
        planned(&mut pair, tables, ", parallel => 4", parts),
        [
            "f left to their defaults, as asked for: secret; read in one part: the user of the source may not read its column ctid"
        ]
    );
    pulled(&mut pair, tables, ", parallel => 4");
    let digest = "SELECT concat_ws(' ', count(*), sum(id), count(secret)) FROM event";
    assert_eq!(text(&mut pair.destination, digest), "200000 20000100000 0");
    assert_eq!(verified(&mut pair, tables, ", level => 'rows'"), ["event "]);
    pair.source.batch_execute("GRANT SELECT (ctid) ON event TO grants_reader").unwrap();
    assert_eq!(
        planned(&mut pair, tables, ", parallel => 4", parts),
        ["t left to their defaults, as asked for: secret"]
    );
    pulled(&mut pair, tables, ", parallel => 4");
    assert_eq!(text(&mut pair.destination, digest), "200000 20000100000 0");
    pair.assert_nothing_left();
}

/// The snapshot comes before the locks where LOCK TABLE is not allowed: what happens between the two is seen.
#[test]
fn a_table_that_is_emptied_before_it_is_locked_is_read_as_it_is_then() {
    let mut pair = Pair::with(
        "grants_truncated",
        "CREATE TABLE item (id int PRIMARY KEY, secret text);
         CREATE TABLE part (id int PRIMARY KEY, secret text) PARTITION BY RANGE (id)",
        &format!(
            "{READER}; CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
             INSERT INTO item SELECT i FROM generate_series(1, 50) i; INSERT INTO part SELECT i FROM generate_series(1, 50) i;
             GRANT SELECT (id) ON item, part TO grants_reader"
        ),
    );
    pair.destination.batch_execute("CREATE TABLE part_all PARTITION OF part DEFAULT").unwrap();
    let tables = r#"{"*": {"columns": {"secret": {"skip": true}}}}"#;
    for change in [
        "TRUNCATE item; INSERT INTO item SELECT generate_series(1, 7)",
        "TRUNCATE part_1; INSERT INTO part SELECT generate_series(1, 7)",
        "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200); INSERT INTO part VALUES (107)",
        "DROP TABLE item; CREATE TABLE item (id int PRIMARY KEY, secret text); INSERT INTO item VALUES (8);
         GRANT SELECT (id) ON item TO grants_reader",
    ] {
        let mut writer = pair.another_source_session();
        writer.batch_execute(&format!("BEGIN; LOCK TABLE item, part; {change}")).unwrap();
        let mut session = pair.another_destination_session();
        let dsn = dsn(&pair);
        thread::scope(|scope| {
            let pull = scope.spawn(move || {
                let sql = "SELECT pgcopy.pull($1, tables => $2::text::jsonb, overwrite => true)";
                session.execute(sql, &[&dsn, &tables]).map_err(|error| describe(&error))
            });
            let waiting = "SELECT count(*)::text FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                           WHERE NOT l.granted AND d.datname = current_database()";
            eventually("the pull waits for the lock", || text(&mut pair.source, waiting) != "0");
            writer.batch_execute("COMMIT").unwrap();
            assert_eq!(pull.join().unwrap(), Ok(2), "{change}");
        });
        for table in ["item", "part"] {
            let ids = format!("SELECT id::text FROM {table} ORDER BY id");
            assert_eq!(texts(&mut pair.destination, &ids), texts(&mut pair.source, &ids), "{change}");
        }
    }
    pair.assert_nothing_left();
}

#[test]
fn keys_that_are_followed_must_be_granted() {
    let mut pair = Pair::with(
        "grants_keys",
        "CREATE TABLE customer (id int PRIMARY KEY, secret text);
         CREATE TABLE purchase (id int PRIMARY KEY, customer int REFERENCES customer, secret text)",
        &format!(
            "{READER}; INSERT INTO customer SELECT i FROM generate_series(1, 50) i; INSERT INTO purchase SELECT i, i FROM generate_series(1, 50) i;
             GRANT SELECT (id) ON customer, purchase TO grants_reader"
        ),
    );
    let tables = r#"{"customer": {"where": "id <= 5"}, "*": {"columns": {"secret": {"skip": true}}}, "purchase": {"columns": {"customer": {"skip": true}}}}"#;
    assert_eq!(
        problems(&mut pair, tables, ", follow_keys => true"),
        ["purchase: follow_keys: user grants_reader may not read column customer of it on the source"]
    );
    pair.source.batch_execute("GRANT SELECT (customer) ON purchase TO grants_reader").unwrap();
    pulled(&mut pair, tables, ", follow_keys => true");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM purchase"), "5");
    pair.assert_nothing_left();
}

/// To lock the columns' table and to ask for its rows is planned, and planning runs functions of its indexes.
#[test]
fn code_of_others_does_not_run_for_a_few_columns() {
    let mut pair = Pair::with(
        "grants_code",
        "CREATE TABLE item (id int PRIMARY KEY, secret text)",
        &format!(
            "{READER}; DO $$ BEGIN CREATE ROLE grants_author; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             CREATE SCHEMA app AUTHORIZATION grants_author; GRANT USAGE ON SCHEMA app TO PUBLIC; SET ROLE grants_author;
             CREATE FUNCTION app.told(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END'; RESET ROLE;
             INSERT INTO item SELECT i FROM generate_series(1, 5) i; CREATE INDEX ON item ((app.told(1)));
             SET ROLE grants_author;
             CREATE OR REPLACE FUNCTION app.told(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
                 'BEGIN RAISE EXCEPTION ''ran as %'', current_user; END'; RESET ROLE;
             GRANT SELECT (id) ON item TO grants_reader"
        ),
    );
    let tables = r#"{"item": {"columns": {"secret": {"skip": true}}}}"#;
    assert_eq!(
        problems(&mut pair, tables, ""),
        ["item: a query over it would run functions of grants_author as the user of the source"]
    );
    pair.source.batch_execute("GRANT SELECT ON item TO grants_reader").unwrap();
    pulled(&mut pair, tables, "");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "5");
    pair.assert_nothing_left();
}

/// What locks and shows tables without rights on them is the same in all versions.
#[test]
fn sources_of_every_version_give_a_few_columns() {
    let [_, destination] = shared_ports();
    let tables = r#"{"*": {"columns": {"secret": {"skip": true}}}, "item": {"where": "id > 1"}}"#;
    for version in Version::of_sources() {
        let installation = Installation::prepare(version).unwrap();
        let name = format!("grants_{}", version.major());
        let source = Server::start(&installation, Options::named(&name)).unwrap();
        let mut pair = Pair::on(source.port(), destination, &name);
        pair.both(
            "CREATE TABLE item (id int PRIMARY KEY, secret text); CREATE TABLE part (id int, secret text) PARTITION BY RANGE (id)",
        );
        pair.source
            .batch_execute(&format!(
                "{READER}; CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
                 INSERT INTO item SELECT i FROM generate_series(1, 50) i; INSERT INTO part SELECT i FROM generate_series(1, 50) i;
                 GRANT SELECT (id) ON item, part TO grants_reader"
            ))
            .unwrap();
        pair.destination.batch_execute("CREATE TABLE part_all PARTITION OF part DEFAULT").unwrap();
        pulled(&mut pair, tables, ", verify => true");
        let counts = "SELECT concat_ws(' ', (SELECT count(*) FROM item), (SELECT count(*) FROM part))";
        assert_eq!(text(&mut pair.destination, counts), "49 50", "{version:?}");
        assert_eq!(verified(&mut pair, tables, ", level => 'rows'"), ["item ", "part "], "{version:?}");
        let denied = tables.replace("id > 1", "secret = ''");
        let problem = "item: where: permission denied for column secret at character 1: secret = ''";
        assert_eq!(problems(&mut pair, &denied, ""), [problem], "{version:?}");
        pair.assert_nothing_left();
    }
}
