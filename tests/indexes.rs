//! Indexes are whole, sound and in order, whatever their keys.

use crate::harness::{Pair, text, texts};

/// Pulls and has the server's own checks look at every index, tuple by tuple and from the root down.
fn indexes_are_sound(name: &str, session: &str, schema: &str, rows: &str) -> Pair {
    let mut pair = Pair::with(name, schema, rows);
    pair.destination.batch_execute("CREATE EXTENSION amcheck").unwrap();
    pair.destination.batch_execute(session).unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        pair.assert_same_content();
        let checked = texts(
            &mut pair.destination,
            "SELECT bt_index_parent_check(i.indexrelid, true, true)::text || i.indexrelid::regclass
             FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
             WHERE c.relnamespace = 'public'::regnamespace",
        );
        assert!(!checked.is_empty());
        let ours = pages_of_indexes(&mut pair);
        pair.destination
            .batch_execute(
                "DO $$ BEGIN EXECUTE (SELECT string_agg('REINDEX TABLE ' || oid::regclass, '; ') FROM pg_class
                                      WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace); END $$",
            )
            .unwrap();
        for ((name, ours), (_, theirs)) in ours.iter().zip(pages_of_indexes(&mut pair)) {
            assert!(
                *ours <= theirs + 2 + theirs / 50 && *ours >= theirs - 2 - theirs / 5,
                "{name} has {ours} pages, not {theirs}"
            );
        }
    }
    pair.assert_nothing_left();
    pair
}

fn pages_of_indexes(pair: &mut Pair) -> Vec<(String, i64)> {
    pair.destination
        .query(
            "SELECT c.relname::text, pg_relation_size(c.oid) / 8192 FROM pg_class c
             WHERE c.relkind = 'i' AND c.relnamespace = 'public'::regnamespace ORDER BY 1",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

/// Rows come out of the index as they would out of a sort.
fn assert_order(pair: &mut Pair, table: &str, order: &str) {
    let client = &mut pair.destination;
    client.batch_execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off").unwrap();
    let query =
        format!("SELECT md5(string_agg(k, ',')) FROM (SELECT ({table}.*)::text k FROM {table} ORDER BY {order}) s");
    let plan = texts(client, &format!("EXPLAIN {query}")).join("\n");
    assert!(plan.contains("Index"), "{plan}");
    let by_index = text(client, &query);
    client.batch_execute("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_sort = on").unwrap();
    assert_eq!(text(client, &query), by_index, "{table} by {order}");
    client.batch_execute("RESET ALL").unwrap();
}

#[test]
fn keys_of_every_fixed_width() {
    let mut pair = indexes_are_sound(
        "index_types",
        "",
        "CREATE TABLE item (id int8 PRIMARY KEY, i2 int2, i4 int4, b bool, d date, ts timestamp, tz timestamptz, t time,
                            u uuid, o oid, m money, c \"char\", tx text);
         CREATE INDEX ON item (i2); CREATE INDEX ON item (i4 DESC, id); CREATE INDEX ON item (b, d DESC NULLS LAST, id);
         CREATE INDEX ON item (ts, tz NULLS FIRST, id); CREATE INDEX ON item (t DESC, id); CREATE UNIQUE INDEX ON item (u);
         CREATE INDEX ON item (o, c); CREATE INDEX ON item (m); CREATE INDEX ON item (u, id, i4); CREATE INDEX ON item (tx);
         CREATE INDEX ON item (id) WHERE b; CREATE INDEX ON item (id) INCLUDE (i4); CREATE INDEX ON item ((i4 / 2))",
        "INSERT INTO item SELECT i, i % 1000 - 500, (i * 7919) % 100003, CASE i % 3 WHEN 0 THEN true WHEN 1 THEN false END,
                CASE WHEN i % 5 > 0 THEN '2000-01-01'::date + i % 4000 END, '2000-01-01'::timestamp + (i % 777) * interval '1 min',
                CASE WHEN i % 4 > 0 THEN '1900-01-01'::timestamptz + i * interval '1 hour' END, '00:00'::time + i * interval '1 s',
                md5(i::text)::uuid, (4294967295 - i)::oid, (i % 50)::text::money, chr(i % 120 + 1)::\"char\", md5(i::text)
         FROM generate_series(1, 20000) i;
         INSERT INTO item (id, i2, i4, d, ts, tz, u, o, m) VALUES
         (-9223372036854775808, -32768, -2147483648, '-infinity', '-infinity', '-infinity', '00000000-0000-0000-0000-000000000000', 0, '-92233720368547758.08'),
         (9223372036854775807, 32767, 2147483647, 'infinity', 'infinity', 'infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 4294967295, '92233720368547758.07'),
         (0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (-1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    );
    for order in ["id", "i4 DESC, id", "b, d DESC NULLS LAST, id", "ts, tz NULLS FIRST, id", "t DESC, id", "u, id, i4"]
    {
        assert_order(&mut pair, "item", order);
    }
}

#[test]
fn equal_keys_and_storage_parameters() {
    indexes_are_sound(
        "index_duplicates",
        "",
        "CREATE TABLE item (few int NOT NULL, one int, id int, PRIMARY KEY (id) WITH (fillfactor = 50));
         CREATE INDEX ON item (few); CREATE INDEX ON item (one); CREATE INDEX ON item (few, one);
         CREATE INDEX ON item (few) WITH (deduplicate_items = off, fillfactor = 100); CREATE INDEX ON item (one NULLS FIRST) WITH (fillfactor = 70);
         CREATE UNIQUE INDEX ON item (one, id DESC);
         CREATE TABLE empty (id int PRIMARY KEY, other uuid UNIQUE); CREATE TABLE single (id int PRIMARY KEY, other int UNIQUE);
         CREATE TABLE nulls (a int, b uuid, UNIQUE (a, b), UNIQUE (b))",
        "INSERT INTO item SELECT i / 3000, CASE WHEN i % 2 = 0 THEN 42 END, i FROM generate_series(1, 30000) i;
         INSERT INTO single VALUES (1, NULL);
         INSERT INTO nulls SELECT NULL, NULL FROM generate_series(1, 1000)",
    );
}

#[test]
fn sorts_that_do_not_fit_into_memory() {
    let mut pair = indexes_are_sound(
        "index_external",
        "SET maintenance_work_mem = '1MB'",
        "CREATE TABLE item (id int8 PRIMARY KEY, other int4, u uuid, t text);
         CREATE INDEX ON item (other); CREATE INDEX ON item (other, u)",
        "INSERT INTO item SELECT (i::int8 * 48271) % 2147483647, i % 1000, md5(i::text)::uuid, repeat('x', i % 20)
         FROM generate_series(1, 300000) i",
    );
    assert_order(&mut pair, "item", "id");
    assert_order(&mut pair, "item", "other, u");
}

#[test]
fn duplicates_are_refused_in_words() {
    let mut pair = Pair::new("index_unique");
    pair.source
        .batch_execute("CREATE TABLE item (a int, b uuid); INSERT INTO item SELECT i, md5(i::text)::uuid FROM generate_series(1, 1000) i;
                        INSERT INTO item VALUES (77, md5('77')::uuid), (NULL, NULL), (NULL, NULL)")
        .unwrap();
    pair.destination.batch_execute("CREATE TABLE item (a int, b uuid, CONSTRAINT pair UNIQUE (a, b))").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(failure.sqlstate, "23505");
    assert_eq!(failure.message, "could not create unique index \"pair\"");
    let uuid = text(&mut pair.source, "SELECT md5('77')::uuid::text");
    assert!(failure.detail.contains(&format!("Key (a, b)=(77, {uuid}) is duplicated.")), "{}", failure.detail);
    pair.source.batch_execute("DELETE FROM item WHERE a = 77").unwrap();
    pair.pull("");
    pair.destination
        .batch_execute("ALTER TABLE item DROP CONSTRAINT pair, ADD CONSTRAINT pair UNIQUE NULLS NOT DISTINCT (a, b)")
        .unwrap_err();
    pair.destination
        .batch_execute("TRUNCATE item; ALTER TABLE item DROP CONSTRAINT pair, ADD CONSTRAINT pair UNIQUE NULLS NOT DISTINCT (a, b)")
        .unwrap();
    let failure = pair.pull_error("");
    assert!(failure.detail.contains("Key (a, b)=(null, null) is duplicated."), "{}", failure.detail);
}
