//! The server's cumulative statistics after a pull: its tables count as vacuumed and analyzed, because they are, so that
//! autovacuum does not do it once more.

use crate::harness::{Pair, text, texts};
use postgres::Client;

/// What the server says of a table; maintenance only counts if it was in the transaction that has just ended.
fn statistics(client: &mut Client, table: &str) -> String {
    client.batch_execute("SELECT pg_stat_force_next_flush()").unwrap();
    text(
        client,
        &format!(
            "SELECT format('%s live, %s dead, %s modified, %s inserted, analyzed %s, vacuumed %s', n_live_tup, n_dead_tup,
                           n_mod_since_analyze, n_ins_since_vacuum, analyze_count, vacuum_count)
             FROM pg_stat_all_tables WHERE relid = '{table}'::regclass"
        ),
    )
}

fn pair(name: &str) -> Pair {
    let mut pair = Pair::with(
        name,
        "CREATE TABLE item (id int PRIMARY KEY, name text)",
        "INSERT INTO item SELECT i, 'item ' || i FROM generate_series(1, 1000) i",
    );
    pair.destination
        .batch_execute("INSERT INTO item SELECT i FROM generate_series(1, 70) i; DELETE FROM item WHERE id > 50")
        .unwrap();
    assert_eq!(
        statistics(&mut pair.destination, "item"),
        "50 live, 20 dead, 90 modified, 70 inserted, analyzed 0, vacuumed 0"
    );
    pair
}

const FRESH: &str = "1000 live, 0 dead, 0 modified, 0 inserted";

#[test]
fn an_exchanged_table_counts_as_vacuumed_and_analyzed() {
    let mut pair = pair("counters_swap");
    for (round, workers) in [(1, 2), (2, 0)] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(statistics(&mut pair.destination, "item"), format!("{FRESH}, analyzed {round}, vacuumed {round}"));
    }
    let sql = format!("SELECT pgcopy.wait(pgcopy.start_pull('{}', overwrite => true))", pair.dsn());
    assert_eq!(text(&mut pair.destination, &sql), "completed");
    assert_eq!(statistics(&mut pair.destination, "item"), format!("{FRESH}, analyzed 3, vacuumed 3"));
    let times = "SELECT (last_analyze > now() - interval '10 min' AND last_vacuum > now() - interval '10 min')::text
                 FROM pg_stat_all_tables WHERE relname = 'item'";
    assert_eq!(text(&mut pair.destination, times), "true");
    // The rows were inserted, all the same.
    let inserted = "SELECT n_tup_ins::text FROM pg_stat_all_tables WHERE relname = 'item'";
    assert_eq!(text(&mut pair.destination, inserted), "3070");
}

#[test]
fn a_table_that_is_loaded_in_place_counts_as_analyzed() {
    let mut pair = pair("counters_in_place");
    pair.both(
        "CREATE TABLE day (d int, n int) PARTITION BY LIST (d); CREATE TABLE day_1 PARTITION OF day FOR VALUES IN (1)",
    );
    pair.destination.batch_execute("CREATE TABLE day_2 PARTITION OF day FOR VALUES IN (2)").unwrap();
    pair.source
        .batch_execute(
            "CREATE TABLE day_23 PARTITION OF day FOR VALUES IN (2, 3);
             INSERT INTO day SELECT 1 + i % 2, i FROM generate_series(1, 60) i",
        )
        .unwrap();
    pair.pull("overwrite => true, method => 'in place', include => '{item, day}'");
    let item = statistics(&mut pair.destination, "item");
    assert_eq!(item, "1000 live, 0 dead, 0 modified, 1000 inserted, analyzed 1, vacuumed 0");
    for partition in ["day_1", "day_2"] {
        let partition = statistics(&mut pair.destination, partition);
        assert_eq!(partition, "30 live, 0 dead, 0 modified, 30 inserted, analyzed 1, vacuumed 0");
    }
    let parent = statistics(&mut pair.destination, "day");
    assert_eq!(parent, "0 live, 0 dead, 0 modified, 0 inserted, analyzed 1, vacuumed 0");
}

#[test]
fn a_pull_that_is_rolled_back_leaves_the_counters_as_they_were() {
    let mut pair = pair("counters_rollback");
    let before = statistics(&mut pair.destination, "item");
    let pull = pair.pull_sql("overwrite => true");
    for ending in ["ROLLBACK", "ROLLBACK TO s; COMMIT", "RELEASE s; ROLLBACK"] {
        pair.destination.batch_execute(&format!("BEGIN; SAVEPOINT s; {pull}; {ending}")).unwrap();
        let after = statistics(&mut pair.destination, "item");
        let maintained = after.ends_with("analyzed 0, vacuumed 0") && after.starts_with("50 live");
        assert!(maintained, "{ending}: {before} became {after}");
    }
    pair.destination.batch_execute(&format!("BEGIN; SAVEPOINT s; {pull}; RELEASE s; COMMIT")).unwrap();
    assert_eq!(statistics(&mut pair.destination, "item"), format!("{FRESH}, analyzed 1, vacuumed 1"));
}

#[test]
fn what_the_same_transaction_does_afterwards_counts_as_changes() {
    let mut pair = pair("counters_later");
    let pull = pair.pull_sql("overwrite => true");
    let later = "INSERT INTO item SELECT i FROM generate_series(2001, 2005) i; DELETE FROM item WHERE id <= 3";
    pair.destination.batch_execute(&format!("BEGIN; {pull}; SAVEPOINT s; {later}; RELEASE s; COMMIT")).unwrap();
    assert_eq!(
        statistics(&mut pair.destination, "item"),
        "1002 live, 3 dead, 8 modified, 5 inserted, analyzed 1, vacuumed 1"
    );
    // Nothing of the pull is left then.
    pair.destination
        .batch_execute(&format!("BEGIN; {pull}; TRUNCATE item; INSERT INTO item VALUES (1); COMMIT"))
        .unwrap();
    assert!(statistics(&mut pair.destination, "item").starts_with("1 live, 0 dead"));
}

#[test]
fn a_table_that_files_replace_counts_as_vacuumed_and_analyzed() {
    let (mut pair, directory) = Pair::with_files("counters_files");
    let file = directory.path().join("item.parquet").display().to_string();
    pair.destination
        .batch_execute(&format!(
            "CREATE TABLE item (id int, name text); INSERT INTO item SELECT i FROM generate_series(1, 50) i;
             COPY (SELECT i::int AS id, 'n' || i AS name FROM generate_series(1, 1000) i) TO '{file}' (FORMAT parquet)"
        ))
        .unwrap();
    for target in ["item", "made"] {
        let sql =
            format!("SELECT * FROM pgcopy.load_parquet('{file}', '{target}', mode => 'replace', overwrite => true)");
        pair.destination.batch_execute(&sql).unwrap();
        assert_eq!(statistics(&mut pair.destination, target), format!("{FRESH}, analyzed 1, vacuumed 1"), "{target}");
    }
    assert_eq!(texts(&mut pair.destination, "SELECT count(*)::text FROM made"), ["1000"]);
}
