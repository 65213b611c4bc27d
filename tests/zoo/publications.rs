//! Tables that the destination publishes: the change reaches the subscribers, or the pull is refused.

use super::plan;
use crate::harness::{Pair, connect, describe, eventually, shared_destination, shared_ports, text, texts};
use std::sync::atomic::{AtomicBool, Ordering};
use xtask::server;

fn published(name: &str, schema: &str, publication: &str) -> Pair {
    let mut pair = Pair::with(name, schema, "INSERT INTO item SELECT i, 'new' FROM generate_series(1, 50) i");
    pair.destination.batch_execute("INSERT INTO item SELECT i, 'old' FROM generate_series(1, 5) i").unwrap();
    pair.destination.batch_execute(publication).unwrap();
    pair
}

/// What a subscriber of everything would get: kinds of changes with their numbers.
fn changes(pair: &mut Pair, publication: &str) -> Vec<String> {
    let slot = &pair.database.clone();
    pair.destination
        .batch_execute(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"))
        .unwrap();
    pair.pull("overwrite => true");
    let changes = texts(
        &mut pair.destination,
        &format!(
            "SELECT concat_ws(' ', kind, count(*)) FROM (
                 SELECT chr(get_byte(data, 0)) AS kind
                 FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, 'proto_version', '1', 'publication_names', '{publication}')) c
             WHERE kind IN ('I', 'U', 'D', 'T') GROUP BY kind ORDER BY kind"
        ),
    );
    pair.destination.batch_execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).unwrap();
    changes
}

const TABLE: &str = "CREATE TABLE item (id int PRIMARY KEY, note text)";
const PARTITIONED: &str = "CREATE TABLE item (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
    CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM (0) TO (20); CREATE TABLE item_2 PARTITION OF item FOR VALUES FROM (20) TO (100)";

#[test]
fn subscribers_get_the_new_rows() {
    for (number, (schema, publication)) in [
        (TABLE, "CREATE PUBLICATION news FOR TABLE item"),
        (TABLE, "CREATE PUBLICATION news FOR TABLES IN SCHEMA public"),
        (TABLE, "CREATE PUBLICATION news FOR TABLE item (id)"),
        (TABLE, "CREATE PUBLICATION news FOR TABLE item WHERE (id > 0)"),
        (PARTITIONED, "CREATE PUBLICATION news FOR TABLE item"),
        (PARTITIONED, "CREATE PUBLICATION news FOR TABLE item WITH (publish_via_partition_root = true)"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut pair = published(&format!("zoo_published_{number}"), schema, publication);
        assert!(plan(&mut pair).iter().all(|line| line.contains(" in place ")), "{publication}: {:?}", plan(&mut pair));
        let changes = changes(&mut pair, "news");
        assert!(
            changes.contains(&"I 50".to_owned()) && changes.iter().any(|change| change.starts_with('T')),
            "{publication}: {changes:?}"
        );
        pair.assert_same_content();
    }
}

#[test]
fn what_is_published_as_its_partitioned_table_is_pulled_as_a_whole() {
    let publication = "CREATE PUBLICATION news FOR TABLE item WITH (publish_via_partition_root = true)";
    let mut pair = published("zoo_published_part", PARTITIONED, publication);
    let failure = pair.pull_error("include => '{item_2}', overwrite => true");
    assert_eq!(failure.sqlstate, "0A000");
    assert_eq!(
        failure.problems(),
        "public.item_2: publication news publishes it as a part of public.item, which can only be pulled as a whole then"
    );
}

fn try_plan(pair: &mut Pair) -> Result<String, String> {
    let sql = "SELECT string_agg(concat_ws(' ', \"table\", method), ', ' ORDER BY \"table\") FROM pgcopy.plan($1)";
    let row = pair.destination.query_one(sql, &[&pair.dsn()]).map_err(|error| describe(&error))?;
    Ok(row.get(0))
}

/// The catalogs are read with a snapshot that may still show what has gone.
#[test]
fn publications_that_are_dropped_meanwhile_fail_no_pull() {
    let mut pair = Pair::with(
        "zoo_unpublished_meanwhile",
        "CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE other (id int)",
        "INSERT INTO item SELECT generate_series(1, 50)",
    );
    // Many of them, so that the catalogs are read for a while.
    let create: String = (0..300).map(|number| format!("CREATE PUBLICATION news_{number} FOR TABLE other;")).collect();
    pair.destination.batch_execute(&create).unwrap();
    let mut session = pair.another_destination_session();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                session.batch_execute("CREATE PUBLICATION short_lived FOR TABLE other").unwrap();
                session.batch_execute("DROP PUBLICATION short_lived").unwrap();
            }
        });
        let plans: Vec<_> = (0..30).map(|_| try_plan(&mut pair)).collect();
        is_over.store(true, Ordering::SeqCst);
        for plan in plans {
            assert_eq!(plan.unwrap(), "item swap, other in place");
        }
    });
    pair.pull("overwrite => true");
    pair.assert_same_content();
}

#[test]
fn publications_of_several_levels_count_once() {
    const WAYS: [(&str, &str); 3] = [
        ("FOR TABLE item, item_1", "publish_via_partition_root = true"),
        ("FOR TABLES IN SCHEMA public", "publish_via_partition_root = true"),
        ("FOR TABLES IN SCHEMA public", "publish_via_partition_root = false"),
    ];
    let mut pair =
        published("zoo_published_levels", PARTITIONED, "CREATE SCHEMA parts; ALTER TABLE item_2 SET SCHEMA parts");
    pair.source.batch_execute("CREATE SCHEMA parts; ALTER TABLE item_2 SET SCHEMA parts").unwrap();
    for (tables, option) in WAYS {
        let publication = format!("CREATE PUBLICATION news {tables} WITH ({option})");
        pair.destination.batch_execute(&publication).unwrap();
        assert_eq!(plan(&mut pair), ["item_2 in place binary", "item_1 in place binary"], "{publication}");
        for (schema, table) in [("public", "item_1"), ("parts", "item_2")] {
            let arguments = format!("include => '{{{schema}.{table}}}', overwrite => true");
            if option.ends_with("false") {
                pair.pull(&arguments);
                continue;
            }
            assert_eq!(
                pair.pull_error(&arguments).problems(),
                format!(
                    "{schema}.{table}: publication news publishes it as a part of public.item, \
                     which can only be pulled as a whole then"
                ),
                "{publication}"
            );
        }
        pair.destination.batch_execute("DROP PUBLICATION news").unwrap();
    }
}

#[test]
fn everything_is_published() {
    let mut pair = published("zoo_published_all", TABLE, "CREATE PUBLICATION everything FOR ALL TABLES");
    assert_eq!(plan(&mut pair), ["item in place binary"]);
    pair.pull("overwrite => true");
    pair.assert_same_content();
    pair.destination.batch_execute("DROP PUBLICATION everything").unwrap();
    assert_eq!(plan(&mut pair), ["item swap binary"]);
}

/// What jobs write down concerns the destination alone: a subscriber, whose database has no such tables, gets on.
#[test]
fn a_subscriber_of_everything_needs_no_pgcopy() {
    let mut pair =
        published("zoo_subscribed", TABLE, "DROP EXTENSION pgcopy; CREATE PUBLICATION everything FOR ALL TABLES");
    let [subscriber_port, _] = shared_ports();
    let mut postgres = connect(subscriber_port, "postgres");
    postgres.batch_execute("DROP DATABASE IF EXISTS zoo_subscriber").unwrap();
    postgres.batch_execute("CREATE DATABASE zoo_subscriber").unwrap();
    let mut subscriber = connect(subscriber_port, "zoo_subscriber");
    let publisher = server::dsn(pair.destination_port, &pair.database);
    subscriber.batch_execute(TABLE).unwrap();
    subscriber
        .batch_execute(&format!("CREATE SUBSCRIPTION zoo_subscriber CONNECTION '{publisher}' PUBLICATION everything"))
        .unwrap();
    let mut content = |expected: &str| {
        eventually("the subscriber has the rows", || {
            text(&mut subscriber, "SELECT concat_ws(' ', count(*), max(note)) FROM item") == expected
        })
    };
    content("5 old");
    pair.destination.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    for workers in [2, 0] {
        pair.destination.batch_execute("UPDATE item SET note = 'old'").unwrap();
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        content("50 new");
    }
    // A job that fails, and jobs that are forgotten.
    pair.source
        .batch_execute("ALTER TABLE item DROP CONSTRAINT item_pkey; INSERT INTO item VALUES (1, 'twice')")
        .unwrap();
    assert_eq!(pair.pull_error("overwrite => true").sqlstate, "23505");
    pair.assert_nothing_left();
    assert_eq!(text(&mut pair.destination, "SELECT pgcopy.prune('0')::text"), "3");
    pair.source.batch_execute("DELETE FROM item; INSERT INTO item VALUES (1, 'last')").unwrap();
    // As an upgrade of the cluster would leave it.
    let own = "relnamespace = 'pgcopy_internal'::regnamespace AND relkind = 'r'";
    pair.destination.batch_execute(&format!("UPDATE pg_class SET relrewrite = 0 WHERE {own}")).unwrap();
    pair.pull("overwrite => true");
    content("1 last");
    assert_eq!(
        text(
            &mut pair.destination,
            &format!("SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE {own} AND relrewrite = oid")
        ),
        "job job_finding job_swap job_table job_task"
    );
    subscriber.batch_execute("DROP SUBSCRIPTION zoo_subscriber").unwrap();
}

#[test]
fn a_publication_that_would_send_half_of_it_demands_a_choice() {
    for (number, publish) in ["insert", "insert, update, delete", "truncate", "update"].into_iter().enumerate() {
        let publication = format!("CREATE PUBLICATION \"half news\" FOR TABLE item WITH (publish = '{publish}')");
        let mut pair = published(&format!("zoo_half_published_{number}"), TABLE, &publication);
        let failure = pair.pull_error("overwrite => true");
        assert_eq!(failure.sqlstate, "0A000");
        assert_eq!(
            failure.problems(),
            "public.item: publication \"half news\" does not publish both truncate and insert, so that subscribers could not follow; change that, or take the table out of it"
        );
        assert_eq!(text(&mut pair.destination, "SELECT string_agg(DISTINCT note, '') FROM item"), "old");
    }
}

#[test]
fn unlogged_tables_and_other_tables_are_not_concerned() {
    let mut pair = Pair::with(
        "zoo_unpublished",
        "CREATE TABLE item (id int PRIMARY KEY); CREATE UNLOGGED TABLE fast (id int); CREATE TABLE other (id int)",
        "INSERT INTO fast VALUES (1); INSERT INTO other VALUES (1)",
    );
    pair.destination.batch_execute("CREATE PUBLICATION news FOR TABLE item").unwrap();
    assert_eq!(plan(&mut pair), ["fast swap binary", "item in place binary", "other swap binary"]);
    pair.pull("");
    pair.assert_same_content();
}

/// Consumers that go without publications decode all that is written to tables, and nothing of what takes their place.
#[test]
fn slots_without_publications_are_told_of_and_served_in_place() {
    let mut pair = Pair::with(
        "zoo_slots",
        "CREATE TABLE item (id int PRIMARY KEY, note text);
         CREATE TABLE split (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM (0) TO (100);
         CREATE UNLOGGED TABLE fast (id int)",
        "INSERT INTO item SELECT i, 'new' FROM generate_series(1, 50) i; INSERT INTO split SELECT generate_series(1, 20)",
    );
    pair.destination.batch_execute("INSERT INTO item SELECT i, 'old' FROM generate_series(1, 5) i").unwrap();
    let warnings = |pair: &mut Pair, arguments: &str| {
        let sql = format!(
            "SELECT concat_ws(' ', \"table\", method, warnings::text) FROM pgcopy.plan('{}'{arguments}) ORDER BY \"table\"",
            pair.dsn()
        );
        texts(&mut pair.destination, &sql)
    };
    let quiet = ["fast swap {}", "item swap {}", "split_1 swap {}"];
    assert_eq!(warnings(&mut pair, ""), quiet);
    // A subscriber's slot asks publications, and so does the plan; one of another database is not concerned.
    let create = |name: &str, plugin: &str| format!("SELECT pg_create_logical_replication_slot('{name}', '{plugin}')");
    pair.destination.batch_execute(&create("zoo_slots_pgoutput", "pgoutput")).unwrap();
    shared_destination().batch_execute(&create("zoo_slots_elsewhere", "test_decoding")).unwrap();
    assert_eq!(warnings(&mut pair, ""), quiet);
    pair.destination.batch_execute(&create("zoo_slots_decoding", "test_decoding")).unwrap();
    let told = "logical replication slot zoo_slots_decoding gets nothing of it, unless method is 'in place'";
    assert_eq!(
        warnings(&mut pair, ""),
        ["fast swap {}".to_owned(), format!("item swap {{\"{told}\"}}"), format!("split_1 swap {{\"{told}\"}}")]
    );
    pair.notices();
    pair.pull("overwrite => true");
    let notice = "logical replication slot zoo_slots_decoding gets nothing of tables that are swapped";
    assert!(pair.notices().iter().any(|line| line.starts_with(notice)));
    pair.assert_same_content();
    assert_eq!(changes_of_slot(&mut pair, "zoo_slots_decoding"), Vec::<String>::new());

    assert!(warnings(&mut pair, ", method => 'in place'").iter().all(|line| {
        line.contains(" in place ") && line.contains("loaded in place: as asked for") && !line.contains("gets nothing")
    }));
    for call in ["pull", "start_pull"] {
        pair.destination.batch_execute("DELETE FROM item WHERE id > 10").unwrap();
        changes_of_slot(&mut pair, "zoo_slots_decoding");
        pair.notices();
        let sql = format!("pgcopy.{call}('{}', overwrite => true, method => 'in place')", pair.dsn());
        if call == "pull" {
            pair.destination.batch_execute(&format!("SELECT {sql}")).unwrap();
            assert!(!pair.notices().iter().any(|line| line.contains("gets nothing")));
        } else {
            pair.destination.batch_execute(&format!("SELECT pgcopy.wait({sql})")).unwrap();
        }
        pair.assert_same_content();
        assert_eq!(
            changes_of_slot(&mut pair, "zoo_slots_decoding"),
            [
                "public.item: INSERT 50",
                "public.item: TRUNCATE 1",
                "public.split_1: INSERT 20",
                "public.split_1: TRUNCATE 1"
            ]
        );
    }
    let failure = pair.pull_error("method => 'swap'");
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("22023", "method \"swap\" not recognized"));
    assert_eq!(failure.hint, "It is \"auto\" or \"in place\".");
    for slot in ["zoo_slots_pgoutput", "zoo_slots_decoding"] {
        pair.destination.batch_execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).unwrap();
    }
    shared_destination().batch_execute("SELECT pg_drop_replication_slot('zoo_slots_elsewhere')").unwrap();
}

/// An exchange of storage is only a faster way for them to load.
#[test]
fn files_are_loaded_so_that_slots_without_publications_get_them() {
    let (mut pair, files) = Pair::with_files("zoo_slots_files");
    let file = files.path().join("rows.parquet").display().to_string();
    let server = &mut pair.destination;
    server
        .batch_execute(&format!(
            "CREATE TABLE empty (id int); CREATE TABLE full_one (id int); INSERT INTO full_one VALUES (-1);
             COPY (SELECT generate_series(1, 20) AS id) TO '{file}' (FORMAT parquet)"
        ))
        .unwrap();
    server.batch_execute("SELECT pg_create_logical_replication_slot('zoo_slots_files', 'test_decoding')").unwrap();
    for (table, arguments) in [
        ("empty", ""),
        ("full_one", ", mode => 'replace', overwrite => true"),
        ("new_one", ", create_table => 'if_missing'"),
    ] {
        server
            .batch_execute(&format!("SELECT * FROM pgcopy.load_parquet('{file}', target => '{table}'{arguments})"))
            .unwrap();
    }
    assert_eq!(
        changes_of_slot(&mut pair, "zoo_slots_files"),
        [
            "public.empty: INSERT 20",
            "public.full_one: INSERT 20",
            "public.full_one: TRUNCATE 1",
            "public.new_one: INSERT 20",
        ]
    );
    pair.destination.batch_execute("SELECT pg_drop_replication_slot('zoo_slots_files')").unwrap();
}

/// Kinds of changes of tables, with their numbers, that the slot has got since the last call.
fn changes_of_slot(pair: &mut Pair, slot: &str) -> Vec<String> {
    texts(
        &mut pair.destination,
        &format!(
            "SELECT format('%s %s', change, count(*)) FROM (
                 SELECT substring(data FROM 'table (\\S+: [A-Z]+)') AS change
                 FROM pg_logical_slot_get_changes('{slot}', NULL, NULL)) c
             WHERE change LIKE 'public.%' GROUP BY change ORDER BY change"
        ),
    )
}
