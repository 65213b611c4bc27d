//! Errors about others say who is in the way: sessions that hold a table, and tables that are not part of the pull.

use crate::harness::{Failure, Pair, text};

fn pair(name: &str) -> Pair {
    let mut pair = Pair::with(name, "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    pair.destination.batch_execute("INSERT INTO item VALUES (7)").unwrap();
    pair
}

#[test]
fn a_lock_timeout_names_the_table_and_its_holder() {
    let mut pair = pair("way_locks");
    let mut holder = pair.another_destination_session();
    let pid = text(&mut holder, "SELECT pg_backend_pid()::text");
    holder.batch_execute("BEGIN; LOCK TABLE item IN SHARE MODE /* a backup */").unwrap();
    pair.destination.batch_execute("SET lock_timeout = '300ms'").unwrap();
    for arguments in ["", ", parallel => 0", ", method => 'in place'"] {
        let failure = pair.pull_error(&format!("overwrite => true{arguments}"));
        assert_eq!(failure.sqlstate, "55P03");
        assert_eq!(
            failure.message,
            "could not obtain the lock on table public.item within lock_timeout; nothing was touched"
        );
        assert!(
            failure.detail.starts_with(&format!("It is in use by:\nprocess {pid}: BEGIN; LOCK TABLE item")),
            "{failure:?}"
        );
        pair.assert_nothing_left();
    }
    // A statement that may hold a secret is not shown.
    holder.batch_execute("COMMIT; BEGIN; LOCK TABLE item IN SHARE MODE; SELECT 'mask_key => very secret'").unwrap();
    let failure = pair.pull_error("overwrite => true");
    assert_eq!(failure.detail, format!("It is in use by:\nprocess {pid}"), "{failure:?}");
    holder.batch_execute("SELECT 'pgcopy' FROM pg_class WHERE false").unwrap();
    let failure = pair.pull_error("overwrite => true");
    assert_eq!(failure.detail, format!("It is in use by:\nprocess {pid}: a call of pgcopy"), "{failure:?}");
    // The swap: a reader, and a time too short for one of its tries.
    holder.batch_execute("COMMIT; BEGIN; SELECT * FROM item /* a report */").unwrap();
    for timeout in ["30ms", "400ms"] {
        pair.destination.batch_execute(&format!("SET lock_timeout = '{timeout}'")).unwrap();
        let failure = pair.pull_error("overwrite => true");
        assert_eq!(failure.sqlstate, "55P03");
        assert!(failure.message.contains("table public.item"), "{failure:?}");
        assert!(
            failure.detail.contains(&format!("process {pid}: "))
                && failure.detail.contains("SELECT * FROM item /* a report */"),
            "{failure:?}"
        );
        pair.assert_nothing_left();
    }
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(id::text, ' ') FROM item"), "7");
}

#[test]
fn a_key_of_a_table_outside_of_the_pull_says_so() {
    let mut pair = Pair::with(
        "way_keys",
        "CREATE TABLE kind (id int PRIMARY KEY); CREATE TABLE item (id int PRIMARY KEY, kind int REFERENCES kind)",
        "INSERT INTO kind VALUES (1); INSERT INTO item VALUES (1, 1)",
    );
    let hint = |other: &str| {
        format!("Table \"{other}\" is not part of this pull and keeps its rows: pull both tables together.")
    };
    for method in ["auto", "in place"] {
        let failure = pair.pull_error(&format!("include => '{{item}}', method => '{method}'"));
        assert_eq!((failure.sqlstate.as_str(), failure.hint), ("23503", hint("kind")));
        assert_eq!(failure.detail, "Key (kind)=(1) is not present in table \"kind\".");
    }
    pair.destination.batch_execute("INSERT INTO kind VALUES (5); INSERT INTO item VALUES (5, 5)").unwrap();
    let failure = pair.pull_error("include => '{kind}', overwrite => true");
    assert_eq!((failure.sqlstate.as_str(), failure.hint), ("23503", hint("item")));
    // Both are part of it: there is nothing to hint at.
    pair.source.batch_execute("SET session_replication_role = replica; INSERT INTO item VALUES (2, 99)").unwrap();
    let failure = pair.pull_error("overwrite => true");
    assert_eq!((failure.sqlstate.as_str(), failure.hint.as_str()), ("23503", ""));
}

#[test]
fn the_report_says_how_long_the_swap_took() {
    let mut pair = pair("way_swap");
    pair.pull("overwrite => true");
    let totals = pair.notices().pop().unwrap();
    assert!(totals.contains("; swapped in ") && totals.ends_with(" ms"), "{totals}");
    let mut reader = pair.another_destination_session();
    reader.batch_execute("BEGIN; SELECT * FROM item").unwrap();
    let pull = pair.pull_sql("overwrite => true");
    let mut watcher = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| pair.destination.batch_execute(&pull).unwrap());
        crate::harness::eventually("the swap waits", || {
            text(&mut watcher, "SELECT count(*)::text FROM pgcopy.jobs WHERE phase = 'swapping'") == "1"
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        reader.batch_execute("COMMIT").unwrap();
        pull.join().unwrap();
    });
    let totals = pair.notices().pop().unwrap();
    assert!(totals.contains(" ms after ") && totals.ends_with(" s of waiting for readers"), "{totals}");
}

#[test]
fn who_waits_before_its_own_lock_is_told_as_much() {
    let (mut pair, directory) = Pair::with_files("way_early");
    let file = directory.path().join("item.parquet").display().to_string();
    pair.both("CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE numbered (id int GENERATED ALWAYS AS IDENTITY)");
    pair.source.batch_execute("INSERT INTO item VALUES (1); INSERT INTO numbered VALUES (DEFAULT)").unwrap();
    pair.destination
        .batch_execute(&format!(
            "COPY (SELECT 1::int AS id) TO '{file}' (FORMAT parquet); INSERT INTO item VALUES (7); SET lock_timeout = '300ms'"
        ))
        .unwrap();
    let mut holder = pair.another_destination_session();
    let pid = text(&mut holder, "SELECT pg_backend_pid()::text");
    let dsn = pair.dsn();
    let calls = |mode: &str| match mode {
        // Nobody reads the table.
        "ACCESS EXCLUSIVE" => vec![
            format!("pull('{dsn}', include => '{{item}}')"),
            format!("pull('{dsn}', include => '{{item}}', overwrite => true, parallel => 0)"),
            format!("verify('{dsn}', include => '{{item}}')"),
            format!("load_parquet('{file}', 'item')"),
            format!("load_parquet('{file}', 'item', mode => 'replace')"),
            format!("load_parquet('{file}', 'item', mode => 'replace', overwrite => true)"),
        ],
        // Nobody writes it.
        _ => vec![
            format!("load_parquet('{file}', 'item')"),
            format!("load_parquet('{file}', 'item', mode => 'replace', overwrite => true)"),
        ],
    };
    for mode in ["ACCESS EXCLUSIVE", "SHARE"] {
        holder.batch_execute(&format!("BEGIN; LOCK TABLE item IN {mode} MODE")).unwrap();
        for call in calls(mode) {
            let failure =
                Failure::of(&pair.destination.query(&format!("SELECT * FROM pgcopy.{call}"), &[]).unwrap_err());
            assert_eq!(failure.sqlstate, "55P03", "{mode}, {call}: {failure:?}");
            assert_eq!(
                failure.message,
                "could not obtain the lock on table public.item within lock_timeout; nothing was touched",
                "{mode}, {call}"
            );
            assert!(failure.detail.starts_with(&format!("It is in use by:\nprocess {pid}: ")), "{call}: {failure:?}");
        }
        holder.batch_execute("ROLLBACK").unwrap();
    }
    // Numbers that somebody has taken keep a sequence in use.
    holder.batch_execute("BEGIN; SELECT nextval('numbered_id_seq')").unwrap();
    let failure = pair.pull_error("include => '{numbered}'");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        (
            "55P03",
            "could not obtain the lock on sequence public.numbered_id_seq within lock_timeout; nothing was touched"
        )
    );
    assert!(failure.detail.contains(&format!("process {pid}: ")), "{failure:?}");
    holder.batch_execute("ROLLBACK").unwrap();
    pair.assert_nothing_left();
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(id::text, ' ') FROM item"), "7");
}
