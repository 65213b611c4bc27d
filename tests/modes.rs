//! Modes of a pull that keep the rows that are there: append, insert_missing, upsert and sync.

use crate::harness::{Failure, Pair, connect_as, describe, eventually, text, texts};
use postgres::Client;

/// Pulls, and returns a line for each table: its name, and the rows that were inserted, updated, deleted and left as they were.
fn changes(pair: &mut Pair, arguments: &str) -> Vec<String> {
    let sql = changes_sql(pair, arguments);
    let rows = pair.destination.query(&sql, &[]);
    rows.unwrap_or_else(|error| panic!("{arguments}: {}", describe(&error))).iter().map(|row| row.get(0)).collect()
}

fn changes_sql(pair: &Pair, arguments: &str) -> String {
    format!(
        "SELECT concat_ws(' ', \"table\", inserted, updated, deleted, unchanged) FROM pgcopy.pull('{}', {arguments})",
        pair.dsn()
    )
}

fn dump(client: &mut Client, table: &str) -> Vec<String> {
    texts(client, &format!("SELECT t::text FROM {table} t ORDER BY t::text"))
}

#[test]
fn rows_that_are_there_stay_and_others_are_added() {
    let mut pair = Pair::with(
        "mode_append",
        "CREATE TABLE log (id int PRIMARY KEY, note text); CREATE TABLE heap (note text)",
        "INSERT INTO log SELECT i, 'theirs ' || i FROM generate_series(1, 5000) i;
         INSERT INTO heap SELECT 'theirs' FROM generate_series(1, 10)",
    );
    pair.destination.batch_execute("INSERT INTO log VALUES (-1, 'ours'); INSERT INTO heap VALUES ('ours')").unwrap();
    assert_eq!(changes(&mut pair, "mode => 'append'"), ["heap 10 0 0 0", "log 5000 0 0 0"]);
    assert_eq!(text(&mut pair.destination, "SELECT count(*) || min(note) || max(note) FROM log"), "5001ourstheirs 999");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM heap"), "11");
    // A row that is there already is an error, and nothing is added anywhere.
    for parallel in [2, 0] {
        let failure = pair.pull_error(&format!("mode => 'append', parallel => {parallel}"));
        assert_eq!(
            (failure.sqlstate.as_str(), failure.message.as_str()),
            ("23505", "duplicate key value violates unique constraint \"log_pkey\"")
        );
        assert!(failure.detail.contains("Table public.log."), "{failure:?}");
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM heap"), "11");
        pair.assert_nothing_left();
    }
    pair.destination
        .batch_execute("DELETE FROM log WHERE id > 4000; UPDATE log SET note = 'ours' WHERE id < 10")
        .unwrap();
    let missing = changes(&mut pair, "mode => 'insert_missing', include => '{log}'");
    assert_eq!(missing, ["log 1000 0 0 4000"]);
    assert_eq!(
        text(&mut pair.destination, "SELECT count(*) FILTER (WHERE note = 'ours') || ' ' || count(*) FROM log"),
        "10 5001"
    );
    pair.assert_nothing_left();
}

const TYPES: &str =
    "CREATE TABLE item (id bigint PRIMARY KEY, name text, size numeric, doc json, markup xml, place point, flat bool,
                                       long text)";

#[test]
fn rows_are_updated_where_their_bytes_differ_at_every_isolation_level() {
    let mut pair = Pair::with(
        "mode_upsert",
        TYPES,
        "INSERT INTO item SELECT i, 'n' || i, i / 2.0, json_build_object('i', i), xmlelement(name a, i), point(i, i), i % 2 = 0,
                                 CASE WHEN i % 500 = 0 THEN (SELECT string_agg(md5(x::text), '') FROM generate_series(i, i + 300) x) END
         FROM generate_series(1, 3000) i",
    );
    assert_eq!(changes(&mut pair, "mode => 'upsert'"), ["item 3000 0 0 0"]);
    pair.assert_same_content();
    let mut expected = 0;
    for (level, parallel) in
        [("read committed", 2), ("repeatable read", 2), ("serializable", 2), ("repeatable read", 0)]
    {
        // In the order of the columns: one value of each is another one now.
        pair.source
            .batch_execute(
                "UPDATE item SET name = name || '!' WHERE id = 1; UPDATE item SET size = size * 1.000 WHERE id = 2;
                 UPDATE item SET doc = (doc::text || ' ')::json WHERE id = 3; UPDATE item SET markup = xmlelement(name b, markup) WHERE id = 4;
                 UPDATE item SET place = place + point(1e-9, 0) WHERE id = 5; UPDATE item SET flat = CASE WHEN flat THEN NULL ELSE flat IS NULL END WHERE id = 6;
                 UPDATE item SET long = long || 'x' WHERE id = 500; INSERT INTO item (id) SELECT max(id) + 1 FROM item",
            )
            .unwrap();
        pair.destination.batch_execute("VACUUM item").unwrap();
        let versions = |client: &mut Client, end: u64| {
            let rows = format!(
                "SELECT id || ' ' || ctid || ' ' || xmin FROM item WHERE id > 7 AND id <> 500 AND id < {end} ORDER BY id"
            );
            texts(client, &rows)
        };
        let end = 3000 + expected + 1;
        let before = versions(&mut pair.destination, end);
        let sql = changes_sql(&pair, &format!("mode => 'upsert', parallel => {parallel}"));
        pair.destination.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM item")).unwrap();
        // What others have committed since counts, too.
        let mut other = pair.another_destination_session();
        other.batch_execute("UPDATE item SET name = 'ours' WHERE id = 7").unwrap();
        other.batch_execute("UPDATE item SET name = 'n7' WHERE id = 7").unwrap();
        let row = pair.destination.query(&sql, &[]);
        let row = row.unwrap_or_else(|error| panic!("{level}: {}", describe(&error)));
        pair.destination.batch_execute("COMMIT").unwrap();
        expected += 1;
        assert_eq!(row[0].get::<_, String>(0), format!("item 1 7 0 {}", 3000 - 7 + expected - 1), "{level}");
        pair.assert_same_content();
        let after = versions(&mut pair.destination, end);
        assert!(before == after, "{level}: unchanged rows are not written");
    }
    pair.assert_nothing_left();
}

#[test]
fn what_is_unchanged_costs_neither_room_nor_log() {
    let mut pair = Pair::with(
        "mode_no_bloat",
        "CREATE TABLE big (id int PRIMARY KEY, filler text)",
        "INSERT INTO big SELECT i, repeat('x', 200) FROM generate_series(1, 100000) i",
    );
    pair.pull("");
    let size = "SELECT pg_relation_size('big') || ' ' || pg_relation_size('big_pkey')";
    let before = text(&mut pair.destination, size);
    // Other tests write into the same log: the least of several calls is what the call itself has written. A new database alone is
    // more than the limit, and there may be one during each of many calls.
    let (limit, mut least) = (10_000_000, u64::MAX);
    for _ in 0..60 {
        let position = text(&mut pair.destination, "SELECT pg_current_wal_insert_lsn()::text");
        assert_eq!(changes(&mut pair, "mode => 'upsert'"), ["big 0 0 0 100000"]);
        let written = format!("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{position}')::bigint::text");
        least = least.min(text(&mut pair.destination, &written).parse::<u64>().unwrap());
        if least < limit {
            break;
        }
    }
    assert_eq!(text(&mut pair.destination, size), before);
    // The rows alone are more than 20 MB.
    assert!(least < limit, "{least} bytes of log");
    let changed = "SELECT (n_tup_upd + n_tup_del + n_dead_tup)::text FROM pg_stat_user_tables WHERE relname = 'big'";
    assert_eq!(text(&mut pair.destination, changed), "0");
    pair.assert_nothing_left();
}

#[test]
fn triggers_defaults_identities_and_generated_columns_are_those_of_the_statements() {
    let mut pair = Pair::with(
        "mode_triggers",
        "CREATE TABLE thing (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, twice text GENERATED ALWAYS AS (name || name) STORED)",
        "INSERT INTO thing (name) SELECT 'n' || i FROM generate_series(1, 100) i",
    );
    pair.destination
        .batch_execute(
            "ALTER TABLE thing ADD COLUMN origin text NOT NULL DEFAULT 'elsewhere', ADD COLUMN stamp text NOT NULL;
             CREATE TABLE fired (what text);
             CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.stamp := lower(TG_OP); RETURN NEW; END $$;
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO fired VALUES (TG_OP || ' ' || TG_LEVEL); RETURN NULL; END $$;
             CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION stamp();
             CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON thing FOR EACH ROW EXECUTE FUNCTION note();
             INSERT INTO thing (id, name, origin) OVERRIDING SYSTEM VALUE VALUES (1, 'ours', 'here'), (2, 'n2', 'here')",
        )
        .unwrap();
    // A trigger may fill a column that must not be NULL, and that the source does not have.
    pair.destination.batch_execute("TRUNCATE fired; ALTER TABLE thing ALTER stamp SET DEFAULT 'none'").unwrap();
    assert_eq!(changes(&mut pair, "mode => 'upsert', include => '{thing}'"), ["thing 98 1 0 1"]);
    let rows = "SELECT concat_ws('|', id, name, twice, origin, stamp) FROM thing WHERE id <= 3 ORDER BY id";
    assert_eq!(
        texts(&mut pair.destination, rows),
        ["1|n1|n1n1|here|update", "2|n2|n2n2|here|insert", "3|n3|n3n3|elsewhere|insert"]
    );
    let fired = "SELECT what || ' ' || count(*) FROM fired GROUP BY what ORDER BY 1";
    assert_eq!(texts(&mut pair.destination, fired), ["INSERT ROW 98", "UPDATE ROW 1"]);
    // The sequence goes on behind the source's numbers, and never back.
    let sequence = "SELECT last_value::text FROM thing_id_seq";
    assert_eq!(text(&mut pair.destination, sequence), "100");
    pair.destination.batch_execute("SELECT setval('thing_id_seq', 5000)").unwrap();
    pair.pull("mode => 'upsert', include => '{thing}'");
    assert_eq!(text(&mut pair.destination, sequence), "5000");
    pair.assert_nothing_left();
}

#[test]
fn whoever_may_insert_and_update_by_hand_needs_no_more() {
    let mut pair = Pair::with(
        "mode_rights",
        "CREATE TABLE mine (id int PRIMARY KEY, name text); CREATE TABLE ruled (id int PRIMARY KEY, owner text, name text)",
        "INSERT INTO mine SELECT i, 'n' || i FROM generate_series(1, 50) i; INSERT INTO ruled SELECT i, 'mode_clerk', 'n' || i FROM generate_series(1, 20) i",
    );
    for client in [&mut pair.source, &mut pair.destination] {
        client
            .batch_execute(
                "DO $$ BEGIN CREATE ROLE mode_clerk LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
            )
            .unwrap();
    }
    pair.source.batch_execute("DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; GRANT SELECT ON mine, ruled TO app").unwrap();
    let mut clerk = connect_as(pair.destination_port, &pair.database, "mode_clerk");
    let call = |arguments: &str| {
        format!(
            "SELECT concat_ws(' ', \"table\", inserted, updated, deleted, unchanged) FROM pgcopy.pull('host=127.0.0.1 port={} user=app password=secret dbname={}', {arguments})",
            pair.source_port, pair.database
        )
    };
    let failure = Failure::of(&clerk.query(&call("mode => 'upsert', include => '{mine}'"), &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    assert_eq!(failure.problems(), "permission denied for table public.mine: SELECT, INSERT, UPDATE is missing");
    assert!(
        failure.hint.ends_with("To mend it: GRANT SELECT, INSERT, UPDATE ON public.mine TO mode_clerk;"),
        "{failure:?}"
    );
    pair.destination.batch_execute("GRANT SELECT, INSERT, UPDATE ON mine, ruled TO mode_clerk").unwrap();
    // Triggers are the owner's.
    let call_without = call("mode => 'upsert', triggers => false, include => '{mine}'");
    let failure = Failure::of(&clerk.query(&call_without, &[]).unwrap_err());
    assert_eq!(failure.message, "cannot pull: must be owner of table public.mine, owned by postgres", "{failure:?}");
    assert_eq!(texts(&mut clerk, &call("mode => 'upsert', include => '{mine}'")), ["mine 50 0 0 0"]);
    // To replace the rows takes more, as before.
    let failure = Failure::of(&clerk.query(&call("overwrite => true, include => '{mine}'"), &[]).unwrap_err());
    assert!(failure.message.contains("must be owner of table public.mine"), "{failure:?}");
    // Policies hold as for statements by hand.
    pair.destination
        .batch_execute(
            "ALTER TABLE ruled ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON ruled USING (owner = current_user)",
        )
        .unwrap();
    assert_eq!(texts(&mut clerk, &call("mode => 'upsert', include => '{ruled}'")), ["ruled 20 0 0 0"]);
    pair.source.batch_execute("UPDATE ruled SET owner = 'somebody' WHERE id = 20").unwrap();
    let failure = Failure::of(&clerk.query(&call("mode => 'upsert', include => '{ruled}'"), &[]).unwrap_err());
    assert_eq!(failure.message, "new row violates row-level security policy for table \"ruled\"");
    // Nobody gets at the staged rows, neither then nor later.
    let staged = Failure::of(&clerk.query("SELECT * FROM pgcopy_stage.nothing", &[]).unwrap_err());
    assert_eq!(staged.message, "permission denied for schema pgcopy_stage");
    drop(clerk);
    pair.assert_nothing_left();
}

#[test]
fn triggers_of_another_owner_do_not_run_with_the_callers_rights() {
    let mut pair = Pair::with(
        "mode_owners",
        "CREATE TABLE theirs (id int PRIMARY KEY, name text)",
        "INSERT INTO theirs VALUES (1, 'a'), (2, 'b')",
    );
    pair.destination
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE mode_owner; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             GRANT ALL ON SCHEMA public TO mode_owner; ALTER TABLE theirs OWNER TO mode_owner;
             SET ROLE mode_owner; CREATE TABLE acted (role text);
             CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO acted VALUES (current_user); RETURN NEW; END $$;
             CREATE TRIGGER act AFTER INSERT OR UPDATE ON theirs FOR EACH ROW EXECUTE FUNCTION act(); RESET ROLE",
        )
        .unwrap();
    for (mode, expected) in
        [("append", "theirs 2 0 0 0"), ("upsert", "theirs 0 0 0 2"), ("insert_missing", "theirs 0 0 0 2")]
    {
        assert_eq!(changes(&mut pair, &format!("mode => '{mode}', include => '{{theirs}}'")), [expected]);
    }
    assert_eq!(texts(&mut pair.destination, "SELECT DISTINCT role FROM acted"), ["mode_owner"]);
    pair.assert_nothing_left();
}

#[test]
fn triggers_of_the_tables_can_be_left_out_by_their_owner() {
    let mut pair = Pair::with(
        "mode_without_triggers",
        "CREATE TABLE item (id int PRIMARY KEY, name text); CREATE TABLE part (id int PRIMARY KEY, item int REFERENCES item ON DELETE RESTRICT);
         CREATE TABLE log (id int PRIMARY KEY, name text) PARTITION BY RANGE (id)",
        "CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (100); INSERT INTO item SELECT i, 'n' || i FROM generate_series(1, 50) i;
         INSERT INTO part SELECT i, i FROM generate_series(1, 50) i; INSERT INTO log SELECT i, 'n' || i FROM generate_series(1, 50) i",
    );
    let other = "SELECT string_agg(tgrelid::regclass || ' ' || tgname || ' ' || tgenabled::text, ', ' ORDER BY tgrelid::regclass::text, tgname) FROM pg_trigger WHERE NOT tgisinternal";
    pair.destination
        .batch_execute(
            "CREATE TABLE log_low PARTITION OF log FOR VALUES FROM (0) TO (10); CREATE TABLE log_high PARTITION OF log FOR VALUES FROM (10) TO (100);
             CREATE TABLE fired (what text);
             CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO fired VALUES (TG_TABLE_NAME); RETURN coalesce(NEW, OLD); END $$;
             CREATE TRIGGER one BEFORE INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION fires();
             CREATE TRIGGER two AFTER INSERT OR UPDATE OR DELETE ON item EXECUTE FUNCTION fires(); ALTER TABLE item ENABLE ALWAYS TRIGGER two;
             CREATE TRIGGER three AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION fires(); ALTER TABLE item DISABLE TRIGGER three;
             CREATE TRIGGER four AFTER INSERT OR UPDATE ON log FOR EACH ROW EXECUTE FUNCTION fires();
             CREATE TRIGGER five AFTER INSERT OR UPDATE ON log_low FOR EACH ROW EXECUTE FUNCTION fires(); ALTER TABLE log_low ENABLE REPLICA TRIGGER five;
             INSERT INTO item VALUES (1, 'ours'), (99, 'ours'); INSERT INTO log VALUES (1, 'ours'); TRUNCATE fired",
        )
        .unwrap();
    let before = text(&mut pair.destination, other);
    assert_eq!(
        changes(&mut pair, "mode => 'sync', overwrite => true, triggers => false"),
        ["item 49 1 1 0", "log 49 1 0 0", "part 50 0 0 0"]
    );
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM fired"), "0");
    assert_eq!(text(&mut pair.destination, other), before);
    // The triggers of foreign keys are not those of users.
    pair.destination
        .batch_execute("INSERT INTO item VALUES (99, 'ours'); INSERT INTO part VALUES (99, 99); TRUNCATE fired")
        .unwrap();
    let failure = pair.pull_error("mode => 'sync', overwrite => true, triggers => false, include => '{item}'");
    // Since 18 RESTRICT has a code of its own.
    assert!(["23503", "23001"].contains(&failure.sqlstate.as_str()), "{failure:?}");
    assert_eq!(text(&mut pair.destination, other), before);
    pair.destination.batch_execute("DELETE FROM part WHERE id = 99").unwrap();
    assert_eq!(
        changes(&mut pair, "mode => 'sync', overwrite => true"),
        ["item 0 0 1 50", "log 0 0 0 50", "part 0 0 0 50"]
    );
    assert_ne!(text(&mut pair.destination, "SELECT count(*)::text FROM fired WHERE what = 'item'"), "0");
    pair.assert_nothing_left();
}

#[test]
fn readers_never_wait_and_writers_of_other_rows_go_on() {
    let mut pair = Pair::with(
        "mode_concurrent",
        "CREATE TABLE stock (id int PRIMARY KEY, amount int)",
        "INSERT INTO stock SELECT i, i FROM generate_series(1, 1000) i",
    );
    pair.pull("");
    pair.source
        .batch_execute("UPDATE stock SET amount = -1 WHERE id <= 100; INSERT INTO stock VALUES (1001, 1001)")
        .unwrap();
    let mut other = pair.another_destination_session();
    other.batch_execute("SET lock_timeout = '5s'; BEGIN; UPDATE stock SET amount = 7 WHERE id = 900; INSERT INTO stock VALUES (2000, 1)").unwrap();
    let mut reader = pair.another_destination_session();
    reader.batch_execute("SET lock_timeout = '1ms'; BEGIN; SELECT count(*) FROM stock").unwrap();
    pair.destination.batch_execute("BEGIN").unwrap();
    assert_eq!(changes(&mut pair, "mode => 'upsert'"), ["stock 1 100 0 900"]);
    // The pull has not ended yet, and nobody waits for it.
    assert_eq!(text(&mut reader, "SELECT count(*) || ' ' || min(amount) FROM stock"), "1000 1");
    other.batch_execute("UPDATE stock SET amount = 8 WHERE id = 901; COMMIT").unwrap();
    // Another merge into the same table does.
    let mut second = pair.another_destination_session();
    let failure = Failure::of(&second.query(&changes_sql(&pair, "mode => 'upsert', wait => false"), &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "55P03", "{failure:?}");
    pair.destination.batch_execute("COMMIT").unwrap();
    reader.batch_execute("COMMIT").unwrap();
    assert_eq!(changes(&mut pair, "mode => 'upsert'"), ["stock 0 2 0 999"]);
    assert_eq!(text(&mut pair.destination, "SELECT count(*) || ' ' || max(id) FROM stock"), "1002 2000");
    pair.assert_nothing_left();
}

#[test]
fn a_row_that_somebody_inserts_meanwhile_is_updated() {
    let mut pair = Pair::with(
        "mode_race",
        "CREATE TABLE race (id int PRIMARY KEY, note text)",
        "INSERT INTO race VALUES (1, 'theirs'), (2, 'theirs')",
    );
    for (mode, kept) in [("upsert", "theirs"), ("insert_missing", "ours")] {
        pair.destination.batch_execute("TRUNCATE race").unwrap();
        let mut other = pair.another_destination_session();
        other.batch_execute("BEGIN; INSERT INTO race VALUES (1, 'ours')").unwrap();
        let sql = changes_sql(&pair, &format!("mode => '{mode}'"));
        let mut puller = pair.another_destination_session();
        let report = std::thread::scope(|scope| {
            let pulling = scope.spawn(move || {
                puller.query(&sql, &[]).map(|rows| rows[0].get::<_, String>(0)).map_err(|error| describe(&error))
            });
            eventually("the pull waits for the other transaction", || {
                text(
                    &mut pair.destination,
                    "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'",
                ) != "0"
            });
            other.batch_execute("COMMIT").unwrap();
            pulling.join().unwrap().unwrap_or_else(|error| panic!("{mode}: {error}"))
        });
        assert_eq!(report, if mode == "upsert" { "race 1 1 0 0" } else { "race 1 0 0 1" });
        assert_eq!(
            text(&mut pair.destination, "SELECT string_agg(note, ' ' ORDER BY id) FROM race"),
            format!("{kept} theirs")
        );
    }
    pair.assert_nothing_left();
}

#[test]
fn rows_that_others_go_on_inserting_are_updated() {
    let mut pair = Pair::with(
        "mode_race_on",
        "CREATE TABLE race (id int PRIMARY KEY, note text)",
        "INSERT INTO race SELECT i, 'theirs' FROM generate_series(1, 20) i",
    );
    // Somebody is always faster with the very row.
    pair.destination
        .batch_execute(&format!(
            "CREATE EXTENSION dblink;
             CREATE FUNCTION be_faster() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF current_setting('application_name') <> 'faster' THEN
                     PERFORM dblink_exec('{} application_name=faster', format('INSERT INTO race VALUES (%s, ''ours'')', NEW.id));
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER be_faster BEFORE INSERT ON race FOR EACH ROW EXECUTE FUNCTION be_faster()",
            xtask::server::dsn(pair.destination_port, &pair.database)
        ))
        .unwrap();
    assert_eq!(changes(&mut pair, "mode => 'upsert'"), ["race 0 20 0 0"]);
    assert_eq!(text(&mut pair.destination, "SELECT concat(count(*), ' ', min(note)) FROM race"), "20 theirs");
    pair.destination.batch_execute("TRUNCATE race").unwrap();
    assert_eq!(changes(&mut pair, "mode => 'insert_missing'"), ["race 0 0 0 20"]);
    assert_eq!(text(&mut pair.destination, "SELECT concat(count(*), ' ', min(note)) FROM race"), "20 ours");
    pair.assert_nothing_left();
}

#[test]
fn referenced_rows_come_first_and_go_last() {
    let mut pair = Pair::with(
        "mode_keys",
        "CREATE TABLE z_parent (id int PRIMARY KEY); CREATE TABLE m_child (id int PRIMARY KEY, parent int NOT NULL REFERENCES z_parent);
         CREATE TABLE a_leaf (id int PRIMARY KEY, child int REFERENCES m_child, before int REFERENCES a_leaf, code text UNIQUE);
         CREATE TABLE left_side (id int PRIMARY KEY, other int); CREATE TABLE right_side (id int PRIMARY KEY, other int NOT NULL REFERENCES left_side);
         ALTER TABLE left_side ADD CONSTRAINT circle FOREIGN KEY (other) REFERENCES right_side DEFERRABLE",
        "INSERT INTO z_parent SELECT generate_series(1, 10); INSERT INTO m_child SELECT i, i FROM generate_series(1, 10) i;
         INSERT INTO a_leaf SELECT i, i, nullif(11 - i, i), 'c' || i FROM generate_series(1, 10) i;
         INSERT INTO left_side VALUES (1, NULL); INSERT INTO right_side VALUES (1, 1); UPDATE left_side SET other = 1",
    );
    assert_eq!(
        changes(&mut pair, "mode => 'upsert'"),
        ["a_leaf 10 0 0 0", "left_side 1 0 0 0", "m_child 10 0 0 0", "right_side 1 0 0 0", "z_parent 10 0 0 0"]
    );
    pair.assert_same_content();
    // A row is the child of one that goes until it is updated.
    pair.source
        .batch_execute(
            "UPDATE a_leaf SET before = NULL; DELETE FROM a_leaf WHERE id = 10; UPDATE a_leaf SET child = 1; DELETE FROM m_child WHERE id > 5;
             DELETE FROM z_parent WHERE id > 5; INSERT INTO z_parent VALUES (11); INSERT INTO m_child VALUES (11, 11);
             INSERT INTO a_leaf VALUES (11, 11, 11, 'c11'); BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO left_side VALUES (2, 2); INSERT INTO right_side VALUES (2, 2); COMMIT",
        )
        .unwrap();
    let refused = pair.pull_error("mode => 'sync'");
    assert_eq!(
        refused.message,
        "5 tables hold rows that the pull would delete where the source does not have them; nothing was touched"
    );
    assert!(refused.hint.ends_with("mode => 'sync', overwrite => true);"), "{refused:?}");
    for parallel in [2, 0] {
        let expected: &[&str] = if parallel == 2 {
            &["a_leaf 1 9 1 0", "left_side 1 0 0 1", "m_child 1 0 5 5", "right_side 1 0 0 1", "z_parent 1 0 5 5"]
        } else {
            &["a_leaf 0 0 0 10", "left_side 0 0 0 2", "m_child 0 0 0 6", "right_side 0 0 0 2", "z_parent 0 0 0 6"]
        };
        assert_eq!(changes(&mut pair, &format!("mode => 'sync', overwrite => true, parallel => {parallel}")), expected);
        pair.assert_same_content();
    }
    pair.assert_nothing_left();
    pair.destination.batch_execute("ALTER TABLE left_side ALTER CONSTRAINT circle NOT DEFERRABLE").unwrap();
    let failure = pair.pull_error("mode => 'upsert'");
    assert_eq!(
        failure.message,
        "cannot pull: foreign keys make a circle, and none of them is deferrable: public.circle, public.right_side_other_fkey"
    );
}

/// What waits for the end of the transaction, when its owner merges, and when somebody else does with the owner's rights.
#[test]
fn checks_that_wait_for_the_end_of_the_transaction() {
    let mut pair = Pair::with(
        "mode_deferred",
        "CREATE TABLE parent (id int PRIMARY KEY, code int, CONSTRAINT same_name UNIQUE (code) DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE child (id int PRIMARY KEY, parent int, CONSTRAINT refers FOREIGN KEY (parent) REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO parent SELECT i, i FROM generate_series(1, 20) i; INSERT INTO child SELECT i, i FROM generate_series(1, 20) i",
    );
    pair.source.batch_execute("DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; GRANT SELECT ON parent, child TO app").unwrap();
    pair.destination
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE mode_waiting LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             DO $$ BEGIN CREATE ROLE mode_member LOGIN PASSWORD 'secret' IN ROLE mode_waiting; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             GRANT ALL ON SCHEMA public TO mode_waiting; ALTER TABLE parent OWNER TO mode_waiting; ALTER TABLE child OWNER TO mode_waiting;
             SET ROLE mode_waiting; CREATE TABLE fired (who text, rows bigint);
             CREATE TABLE elsewhere (parent int CONSTRAINT outside REFERENCES parent DEFERRABLE INITIALLY DEFERRED, CONSTRAINT same_name CHECK (true));
             CREATE FUNCTION looks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO fired VALUES (current_user, (SELECT count(*) FROM child)); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE OR DELETE ON parent DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION looks();
             RESET ROLE",
        )
        .unwrap();
    let call = format!(
        "SELECT concat_ws(' ', \"table\", inserted, updated, deleted, unchanged) FROM pgcopy.pull('host=127.0.0.1 port={} user=app password=secret dbname={}', include => '{{parent, child}}', mode => 'sync', overwrite => true)",
        pair.source_port, pair.database
    );
    let fired = "SELECT concat_ws(' ', who, min(rows), count(*)) FROM fired GROUP BY who";
    for (role, rows_seen) in [("mode_waiting", 20), ("mode_member", 0), ("postgres", 0)] {
        pair.destination
            .batch_execute("DELETE FROM child; DELETE FROM parent; INSERT INTO parent VALUES (99, 99), (1, 98)")
            .unwrap();
        pair.destination.batch_execute("TRUNCATE fired").unwrap();
        let mut session = connect_as(pair.destination_port, &pair.database, role);
        session.batch_execute("BEGIN").unwrap();
        assert_eq!(texts(&mut session, &call), ["child 20 0 0 0", "parent 19 1 1 0"], "{role}");
        // They wait again.
        session.batch_execute("INSERT INTO child VALUES (100, 100)").unwrap();
        let failure = Failure::of(&session.batch_execute("COMMIT").unwrap_err());
        assert!(failure.sqlstate == "23503" && failure.message.contains("\"refers\""), "{role}: {failure:?}");
        assert_eq!(texts(&mut session, &call), ["child 20 0 0 0", "parent 19 1 1 0"], "{role}");
        assert_eq!(texts(&mut session, fired), [format!("mode_waiting {rows_seen} 21")], "{role}");
        let rows = "SELECT md5(concat((SELECT string_agg(p::text, ' ' ORDER BY id) FROM parent p), (SELECT string_agg(c::text, ' ' ORDER BY id) FROM child c)))";
        assert_eq!(text(&mut session, rows), text(&mut pair.source, rows), "{role}");
        // Rows elsewhere keep theirs.
        session.batch_execute("INSERT INTO elsewhere VALUES (99)").unwrap_err();
        session.batch_execute("BEGIN; INSERT INTO parent VALUES (99, 99); INSERT INTO elsewhere VALUES (99)").unwrap();
        let failure = Failure::of(&session.query(&call, &[]).unwrap_err());
        assert!(failure.sqlstate == "23503" && failure.message.contains("\"outside\""), "{role}: {failure:?}");
        session.batch_execute("ROLLBACK").unwrap();
    }
    pair.assert_nothing_left();
}

#[test]
fn a_sync_changes_no_table_that_was_not_asked_for() {
    let mut pair = Pair::with("mode_cascade", "CREATE TABLE kept (id int PRIMARY KEY)", "INSERT INTO kept VALUES (1)");
    pair.destination
        .batch_execute("INSERT INTO kept VALUES (1), (2); CREATE TABLE beside (id int REFERENCES kept ON DELETE CASCADE); INSERT INTO beside VALUES (2)")
        .unwrap();
    let failure = pair.pull_error("mode => 'sync', overwrite => true");
    assert_eq!(
        failure.message,
        "cannot pull: public.kept: foreign key public.beside_id_fkey of public.beside, which is not pulled, would change rows there when rows here go"
    );
    assert_eq!(
        changes(&mut pair, "mode => 'upsert', tables => '{\"kept\": {\"where\": \"id = 1\"}}'"),
        ["kept 0 0 0 1"]
    );
    pair.assert_nothing_left();
}

#[test]
fn a_sync_of_a_part_deletes_within_that_part() {
    let mut pair = Pair::with(
        "mode_sync_part",
        "CREATE TABLE sale (id int PRIMARY KEY, region text, day date, name text); CREATE TABLE region (id int PRIMARY KEY, code text)",
        "INSERT INTO sale SELECT i, CASE WHEN i % 2 = 0 THEN 'north' ELSE 'south' END, '2024-01-01'::date + i, 'n' || i FROM generate_series(1, 100) i;
         INSERT INTO region VALUES (1, 'a')",
    );
    pair.destination
        .batch_execute(
            "INSERT INTO sale VALUES (2, 'north', '2024-01-03', 'old'), (3, 'south', '2024-01-04', 'ours'), (5, 'north', '2024-01-06', 'moved'),
             (200, 'north', '2024-01-05', 'gone'), (201, 'south', '2024-01-05', 'ours'), (202, NULL, NULL, 'ours'), (203, 'north', '2030-01-01', 'ours');
             CREATE SCHEMA planted; CREATE FUNCTION planted.always(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
             CREATE OPERATOR planted.= (LEFTARG = text, RIGHTARG = text, FUNCTION = planted.always);
             SET search_path = planted, pg_catalog, public; SET datestyle = 'SQL, DMY';
             SET standard_conforming_strings = off; SET transform_null_equals = on; SET array_nulls = off",
        )
        .unwrap();
    let tables =
        r#"{"public.sale": {"where": "region = ANY (''{north,NULL}'') AND day < ''2024-05-06'' OR region = NULL"}}"#;
    let arguments = format!("mode => 'sync', overwrite => true, include => '{{public.sale}}', tables => '{tables}'");
    // 5 is of the south now, and no row of the part any more.
    assert_eq!(changes(&mut pair, &arguments), ["sale 49 1 2 0"]);
    pair.destination.batch_execute("RESET search_path; RESET datestyle; RESET standard_conforming_strings; RESET transform_null_equals; RESET array_nulls").unwrap();
    let left = "SELECT string_agg(id || name, ' ' ORDER BY id) FROM sale WHERE name NOT LIKE 'n%'";
    assert_eq!(text(&mut pair.destination, left), "3ours 201ours 202ours 203ours");
    assert_eq!(changes(&mut pair, &arguments), ["sale 0 0 0 50"]);
    // A condition that does not tell what is within it here.
    for (tables, words) in [
        (
            r#"{"sale": {"where": "sale.CTID < ''(9,9)''"}}"#,
            "the condition may be about ctid, which says something else here",
        ),
        (
            r#"{"sale": {"where": "sale IS NOT NULL"}}"#,
            "the condition means nothing here: column \"sale\" does not exist",
        ),
        (
            r#"{"sale": {"where": "region = ''north''", "columns": {"region": {"value": "upper(region)"}}}}"#,
            "the condition may be about region, which does not get the source's values",
        ),
        (r#"{"sale": {"where": "gone > 1", "columns": {"gone": {"skip": true}}}}"#, "gone"),
    ] {
        if words.contains("gone") {
            pair.source.batch_execute("ALTER TABLE sale ADD gone int DEFAULT 2").unwrap();
        }
        let failure =
            pair.pull_error(&format!("mode => 'sync', overwrite => true, include => '{{sale}}', tables => '{tables}'"));
        assert!(failure.problems().contains(words), "{failure:?}");
    }
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM sale"), "54");
    // Columns that this side computes, or does not update, say something else of the same row.
    let own_values = "CREATE TABLE counted (id int PRIMARY KEY, n int, number int GENERATED ALWAYS AS IDENTITY, g int";
    pair.source
        .batch_execute(&format!(
            "{own_values} GENERATED ALWAYS AS (n * 10) STORED); INSERT INTO counted (id, n) SELECT i, i FROM generate_series(1, 9) i"
        ))
        .unwrap();
    pair.destination
        .batch_execute(&format!(
            "{own_values} GENERATED ALWAYS AS (n) STORED); INSERT INTO counted (id, n) SELECT i, i FROM generate_series(9, 1, -1) i"
        ))
        .unwrap();
    for column in ["g", "number"] {
        let tables = format!("{{\"counted\": {{\"where\": \"{column} <= 5\"}}}}");
        let arguments = format!("mode => 'sync', overwrite => true, include => '{{counted}}', tables => '{tables}'");
        let failure = pair.pull_error(&arguments);
        let words = format!("the condition may be about {column}, which does not get the source's values");
        assert!(failure.problems().contains(&words), "{failure:?}");
    }
    let of_others =
        "mode => 'sync', overwrite => true, include => '{counted}', tables => '{\"counted\": {\"where\": \"n <= 5\"}}'";
    assert_eq!(changes(&mut pair, of_others), ["counted 0 0 0 5"]);
    // Letters of a column's name are not its name.
    pair.both("CREATE TABLE short (id int PRIMARY KEY, n int, w text)");
    pair.source.batch_execute("INSERT INTO short VALUES (1, 1, 'a'), (2, 2, 'b')").unwrap();
    pair.destination.batch_execute("INSERT INTO short VALUES (2, 0, 'n'), (3, 0, 'n'), (9, 0, 'n')").unwrap();
    let tables = r#"{"short": {"where": "id IN (1, 2, 3) AND ''n'' <> current_date::text", "columns": {"n": {"skip": true}, "w": {"value": "upper(w)"}}}}"#;
    let arguments = format!("mode => 'sync', overwrite => true, include => '{{short}}', tables => '{tables}'");
    assert_eq!(changes(&mut pair, &arguments), ["short 1 1 1 0"]);
    assert_eq!(dump(&mut pair.destination, "short"), ["(1,,A)", "(2,0,B)", "(9,0,n)"]);
    // Code of others would run with the rights of the statement, here as well.
    pair.both("CREATE FUNCTION is_old(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'");
    pair.destination
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE mode_author; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             ALTER FUNCTION is_old OWNER TO mode_author",
        )
        .unwrap();
    let arguments = "mode => 'sync', overwrite => true, include => '{short}', tables => '{\"short\": {\"where\": \"public.is_old(1)\"}}'";
    let failure = pair.pull_error(arguments);
    assert!(failure.problems().contains("here, public.is_old is code of mode_author"), "{failure:?}");
    pair.destination
        .batch_execute(
            "DROP FUNCTION is_old; CREATE FUNCTION is_old(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
        )
        .unwrap();
    assert_eq!(changes(&mut pair, arguments), ["short 0 2 1 0"]);
    // The whole row of a table of any name.
    pair.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let tables = r#"{"t": {"where": "t::text LIKE ''%secret%''", "columns": {"v": {"value": "''x''"}}}}"#;
    let failure =
        pair.pull_error(&format!("mode => 'sync', overwrite => true, include => '{{t}}', tables => '{tables}'"));
    assert!(
        failure.problems().contains("the condition means nothing here: column \"t\" does not exist"),
        "{failure:?}"
    );
    let sample = r#"{"sale": {"sample": 0.5, "columns": {"gone": {"skip": true}}}}"#;
    let before = text(&mut pair.destination, "SELECT count(*)::text FROM sale WHERE id < 200");
    let told =
        changes(&mut pair, &format!("mode => 'sync', overwrite => true, include => '{{sale}}', tables => '{sample}'"));
    // Of the sample alone something goes; what the source does not have and is in the sample is gone.
    assert!(told[0].starts_with("sale "), "{told:?}");
    assert!(
        text(&mut pair.destination, "SELECT count(*)::text FROM sale WHERE id < 200").parse::<i64>().unwrap()
            >= before.parse::<i64>().unwrap()
    );
    // A row that has changed there must not go because its sample is another one.
    pair.source.batch_execute("ALTER TABLE sale DROP CONSTRAINT sale_pkey").unwrap();
    let failure =
        pair.pull_error(&format!("mode => 'sync', overwrite => true, include => '{{sale}}', tables => '{sample}'"));
    assert!(failure.problems().contains("the sample goes by other columns than those of the key"), "{failure:?}");
    pair.assert_nothing_left();
}

#[test]
fn rows_are_told_apart_by_the_primary_key_or_a_named_index() {
    let mut pair = Pair::with(
        "mode_named_key",
        "CREATE TABLE coded (id int, code text, n numeric, a text, PRIMARY KEY (id)); CREATE UNIQUE INDEX coded_code ON coded (code);
         CREATE UNIQUE INDEX coded_n ON coded (n); CREATE UNIQUE INDEX coded_lower ON coded (lower(code)); CREATE UNIQUE INDEX coded_part ON coded (a) WHERE id > 0;
         CREATE TABLE keyless (a int); CREATE TABLE late (id int PRIMARY KEY DEFERRABLE)",
        "INSERT INTO coded SELECT i, 'c' || i, i, 'a' || i FROM generate_series(1, 10) i",
    );
    pair.destination
        .batch_execute("INSERT INTO coded VALUES (101, 'c1', 1, 'ours 1'), (102, 'c2', 2.000, 'ours 2')")
        .unwrap();
    let by = |key: &str| {
        format!("mode => 'upsert', include => '{{coded}}', tables => '{{\"coded\": {{\"key\": \"{key}\"}}}}'")
    };
    let method = format!("SELECT method FROM pgcopy.plan('{}', {})", pair.dsn(), by("coded_n"));
    assert_eq!(text(&mut pair.destination, &method), "upsert by coded_n");
    // Equal numbers of other bytes are the same key, and get the source's bytes.
    assert_eq!(changes(&mut pair, &by("coded_n")), ["coded 8 2 0 0"]);
    pair.assert_same_content();
    pair.destination.batch_execute("UPDATE coded SET id = -id").unwrap();
    assert_eq!(changes(&mut pair, &by("coded_code")), ["coded 0 10 0 0"]);
    pair.assert_same_content();
    for (key, reason) in [
        ("coded_lower", "index coded_lower cannot tell rows apart: it is over expressions"),
        ("coded_part", "index coded_part cannot tell rows apart: it does not cover all rows"),
        ("coded_none", "has no unique index coded_none, which is named as its key"),
    ] {
        assert_eq!(pair.pull_error(&by(key)).message, format!("cannot pull: public.coded: {reason}"));
    }
    let failure = pair.pull_error("mode => 'upsert', include => '{keyless}'");
    assert_eq!(
        failure.message,
        "cannot pull: public.keyless: has no primary key, by which mode 'upsert' would tell rows apart"
    );
    let failure = pair.pull_error("mode => 'insert_missing', include => '{late}'");
    assert_eq!(failure.message, "cannot pull: public.late: index late_pkey cannot tell rows apart: it is deferrable");
    // Rows of the source with the same key here, and without one.
    pair.source.batch_execute("DROP INDEX coded_n, coded_code; UPDATE coded SET n = 5 WHERE id = 6").unwrap();
    let failure = pair.pull_error(&by("coded_n"));
    assert_eq!(failure.sqlstate, "23505");
    assert!(
        failure
            .detail
            .contains("Key (n)=(5) is duplicated.\nTable public.coded: rows of the source have the same key."),
        "{failure:?}"
    );
    pair.source.batch_execute("UPDATE coded SET code = NULL WHERE id = 6").unwrap();
    let failure = pair.pull_error(&by("coded_code"));
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("23502", "rows for table public.coded have no value for their key (code)")
    );
    // One document serves several calls.
    pair.destination.batch_execute("TRUNCATE coded; DROP INDEX coded_n, coded_code").unwrap();
    pair.notices();
    let appended = "mode => 'append', include => '{coded}', tables => '{\"coded\": {\"key\": \"coded_none\"}}'";
    assert_eq!(changes(&mut pair, appended), ["coded 10 0 0 0"]);
    let told = pair.notices();
    assert!(told.contains(&"key in tables has no effect with mode => 'append' (public.coded)".to_owned()), "{told:?}");
    pair.assert_nothing_left();
}

#[test]
fn a_key_beside_a_deferrable_one_over_the_same_columns() {
    let mut pair = Pair::with(
        "mode_twin_keys",
        "CREATE TABLE item (a int, b int, v text, UNIQUE (b, a) DEFERRABLE); CREATE UNIQUE INDEX item_key ON item (a, b) INCLUDE (v)",
        "INSERT INTO item SELECT i, i, 'new' FROM generate_series(1, 5) i",
    );
    pair.destination.batch_execute("INSERT INTO item VALUES (1, 1, 'old')").unwrap();
    let arguments = |mode: &str| format!("mode => '{mode}', tables => '{{\"item\": {{\"key\": \"item_key\"}}}}'");
    assert_eq!(changes(&mut pair, &arguments("insert_missing")), ["item 4 0 0 1"]);
    assert_eq!(changes(&mut pair, &arguments("insert_missing")), ["item 0 0 0 5"]);
    assert_eq!(changes(&mut pair, &arguments("upsert")), ["item 0 1 0 4"]);
    pair.assert_nothing_left();
}

#[test]
fn keys_that_are_equal_without_being_the_same() {
    let mut pair = Pair::with(
        "mode_collation",
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE word (w text COLLATE loose PRIMARY KEY, n int); CREATE TYPE mood AS ENUM ('a', 'b');
         CREATE TABLE wide (m mood, r int4range, t text[], n int, PRIMARY KEY (m, r, t))",
        "INSERT INTO word VALUES ('Apple', 1), ('pear', 2); INSERT INTO wide VALUES ('a', '[1,2]', '{x,NULL}', 1), ('b', '[1,2]', '{}', 2)",
    );
    pair.destination
        .batch_execute("INSERT INTO word VALUES ('APPLE', 0); INSERT INTO wide VALUES ('b', '[1,3)', '{}', 0)")
        .unwrap();
    assert_eq!(changes(&mut pair, "mode => 'upsert'"), ["wide 1 1 0 0", "word 1 1 0 0"]);
    pair.assert_same_content();
    assert_eq!(changes(&mut pair, "mode => 'insert_missing'"), ["wide 0 0 0 2", "word 0 0 0 2"]);
    pair.assert_nothing_left();
}

#[test]
fn rows_find_their_partitions() {
    let mut pair = Pair::with(
        "mode_partitions",
        "CREATE TABLE event (id int, day int, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE same (id int PRIMARY KEY, note text) PARTITION BY HASH (id);
         CREATE TABLE same_0 PARTITION OF same FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE same_1 PARTITION OF same FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE UNLOGGED TABLE quick (id int PRIMARY KEY, note text)",
        "CREATE TABLE event_all PARTITION OF event DEFAULT;
         INSERT INTO event SELECT i, i % 10, 'n' || i FROM generate_series(1, 1000) i; INSERT INTO same SELECT i, 'n' || i FROM generate_series(1, 100) i;
         INSERT INTO quick SELECT i, 'n' || i FROM generate_series(1, 100) i",
    );
    pair.destination
        .batch_execute(
            "CREATE TABLE event_low (note text, day int NOT NULL, gone int, id int NOT NULL); ALTER TABLE event_low DROP gone;
             ALTER TABLE event ATTACH PARTITION event_low FOR VALUES FROM (0) TO (5); CREATE TABLE event_high PARTITION OF event FOR VALUES FROM (5) TO (10);
             INSERT INTO event VALUES (1, 1, 'ours'), (5, 5, 'ours'), (2, 3, 'ours')",
        )
        .unwrap();
    assert_eq!(
        changes(&mut pair, "mode => 'upsert'"),
        ["event 998 2 0 0", "quick 100 0 0 0", "same_0 52 0 0 0", "same_1 48 0 0 0"]
    );
    assert_eq!(
        changes(&mut pair, "mode => 'sync', overwrite => true"),
        ["event 0 0 1 1000", "quick 0 0 0 100", "same_0 0 0 0 52", "same_1 0 0 0 48"]
    );
    for table in ["event", "same", "quick"] {
        let [theirs, ours] = [&mut pair.source, &mut pair.destination].map(|client| dump(client, table));
        assert_eq!(theirs, ours, "{table}");
    }
    let named = "mode => 'insert_missing', include => '{same_*}', tables => '{\"same\": {\"key\": \"same_pkey\"}}'";
    assert_eq!(changes(&mut pair, named), ["same_0 0 0 0 52", "same_1 0 0 0 48"]);
    pair.assert_nothing_left();
}

#[test]
fn jobs_tell_what_became_of_the_rows() {
    let mut pair = Pair::with(
        "mode_jobs",
        "CREATE TABLE told (id int PRIMARY KEY, n int)",
        "INSERT INTO told SELECT i, i FROM generate_series(1, 40) i",
    );
    pair.destination.batch_execute("INSERT INTO told SELECT i, i % 20 FROM generate_series(11, 60) i").unwrap();
    let start = format!("SELECT pgcopy.start_pull('{}', mode => 'sync', overwrite => true)::text", pair.dsn());
    let job = text(&mut pair.destination, &start);
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({job}, '60 s')")), "completed");
    let told = format!(
        "SELECT concat_ws(' ', rows, inserted, updated, deleted, unchanged) FROM pgcopy.job_tables WHERE job = {job}"
    );
    assert_eq!(text(&mut pair.destination, &told), "40 10 21 20 9");
    let phases = format!("SELECT count(*)::text FROM pgcopy.job_tasks WHERE job = {job} AND task = 'merging'");
    assert_eq!(text(&mut pair.destination, &phases), "1");
    let mode = format!("SELECT arguments ->> 'mode' FROM pgcopy.jobs WHERE job = {job}");
    assert_eq!(text(&mut pair.destination, &mode), "sync");
    pair.notices();
    pair.pull("mode => 'upsert', verify => true");
    let notices = pair.notices().join("\n");
    assert!(notices.contains("inserted 0, updated 0, deleted 0, unchanged 40"), "{notices}");
    // A replacement has nothing to tell of it.
    assert_eq!(changes(&mut pair, "overwrite => true"), ["told"]);
    pair.destination.batch_execute("SET pgcopy.protected = on").unwrap();
    assert!(pair.pull_error("mode => 'append'").message.contains("pgcopy.protected is on"));
    pair.destination.batch_execute("RESET pgcopy.protected").unwrap();
    for (arguments, message) in [
        ("mode => 'merge'", "invalid value for parameter \"mode\": \"merge\""),
        (
            "mode => 'upsert', method => 'in place'",
            "method => 'in place' is for mode => 'replace', and not for 'upsert'",
        ),
    ] {
        assert_eq!(pair.pull_error(arguments).message, message);
    }
    pair.assert_nothing_left();
}

#[test]
fn a_cancelled_merge_leaves_everything_as_it_was() {
    let mut pair = Pair::with(
        "mode_cancel",
        "CREATE TABLE first (id int PRIMARY KEY, n int); CREATE TABLE second (id int PRIMARY KEY REFERENCES first)",
        "INSERT INTO first SELECT i, i FROM generate_series(1, 100) i; INSERT INTO second SELECT id FROM first",
    );
    pair.destination
        .batch_execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON second FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .unwrap();
    for parallel in [2, 0] {
        let sql = changes_sql(&pair, &format!("mode => 'upsert', parallel => {parallel}"));
        let mut puller = pair.another_destination_session();
        let pid = text(&mut puller, "SELECT pg_backend_pid()::text");
        let failure = std::thread::scope(|scope| {
            let pulling = scope.spawn(move || Failure::of(&puller.query(&sql, &[]).unwrap_err()));
            eventually("the second table is merged", || {
                text(
                    &mut pair.destination,
                    &format!(
                        "SELECT count(*)::text FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'"
                    ),
                ) != "0"
            });
            text(&mut pair.destination, &format!("SELECT pg_cancel_backend({pid})::text"));
            pulling.join().unwrap()
        });
        assert_eq!(failure.sqlstate, "57014", "{failure:?}");
        assert_eq!(
            text(&mut pair.destination, "SELECT (SELECT count(*) FROM first) || ' ' || (SELECT count(*) FROM second)"),
            "0 0"
        );
        pair.assert_nothing_left();
    }
}

#[test]
fn merges_within_a_transaction_of_the_caller() {
    let mut pair = Pair::with(
        "mode_own",
        "CREATE TABLE own (id int PRIMARY KEY, n int)",
        "INSERT INTO own SELECT i, i FROM generate_series(1, 40) i",
    );
    pair.source.batch_execute("CREATE TYPE color AS ENUM ('red', 'blue'); CREATE TABLE fresh (id int PRIMARY KEY, c color); INSERT INTO fresh SELECT i, 'blue' FROM generate_series(1, 30) i").unwrap();
    for parallel in [2, 0] {
        pair.destination
            .batch_execute(
                "BEGIN; INSERT INTO own VALUES (1, -1), (99, 99); CREATE TYPE color AS ENUM ('red', 'blue'); CREATE TABLE fresh (id int PRIMARY KEY, c color); INSERT INTO fresh VALUES (1, 'red')",
            )
            .unwrap();
        let arguments = format!("mode => 'upsert', parallel => {parallel}");
        assert_eq!(changes(&mut pair, &arguments), ["fresh 29 1 0 0", "own 39 1 0 0"]);
        pair.destination.batch_execute("SAVEPOINT s").unwrap();
        assert_eq!(changes(&mut pair, "mode => 'sync', overwrite => true, include => '{own}'"), ["own 0 0 1 40"]);
        pair.destination.batch_execute("ROLLBACK TO s").unwrap();
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM own"), "41");
        pair.destination.batch_execute("ROLLBACK").unwrap();
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM own"), "0");
        pair.assert_nothing_left();
    }
}

#[test]
fn files_are_merged_like_tables() {
    let (mut pair, directory) = Pair::with_files("mode_files");
    pair.notices();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let write = |pair: &mut Pair, name: &str, query: &str| {
        let copy = format!("LOAD 'pgcopy'; COPY ({query}) TO '{}' (FORMAT parquet, row_group_rows 1000)", file(name));
        pair.destination.batch_execute(&copy).unwrap();
    };
    write(
        &mut pair,
        "a.parquet",
        "SELECT i AS id, 'n' || i AS name, i * 1.5::float8 AS x FROM generate_series(1, 5000) i",
    );
    write(
        &mut pair,
        "b.parquet",
        "SELECT i AS id, 'n' || i AS name, i * 1.5::float8 AS x FROM generate_series(5001, 6000) i",
    );
    write(&mut pair, "twice.parquet", "SELECT 7000 AS id, i::text AS name FROM generate_series(1, 2) i");
    write(&mut pair, "part.parquet", "SELECT i AS id, 'p' AS name FROM generate_series(7000, 7001) i");
    pair.destination
        .batch_execute("CREATE TABLE kept (id int PRIMARY KEY, name text UNIQUE, x float8, more text DEFAULT 'more'); INSERT INTO kept SELECT i, 'n' || i, i * 1.5, 'ours' FROM generate_series(1, 100) i;
                        UPDATE kept SET x = 0 WHERE id <= 10; INSERT INTO kept VALUES (-1, 'gone')")
        .unwrap();
    let load = |path: &str, arguments: &str| format!("SELECT pgcopy.load_parquet({path}, target => 'kept'{arguments})");
    let both = format!("ARRAY['{}', '{}']", file("a.parquet"), file("b.parquet"));
    let told = |pair: &mut Pair, sql: &str| {
        let done = pair.destination.query(sql, &[]);
        done.unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
        pair.notices().pop().unwrap_or_default()
    };
    for (arguments, expected) in [
        (", mode => 'insert_missing'", "inserted 5900, updated 0, deleted 0, unchanged 100"),
        (", mode => 'upsert', parallel => 0", "inserted 0, updated 10, deleted 0, unchanged 5990"),
        (", mode => 'upsert', key => 'kept_name_key'", "inserted 0, updated 0, deleted 0, unchanged 6000"),
        (", mode => 'sync', overwrite => true", "inserted 0, updated 0, deleted 1, unchanged 6000"),
    ] {
        assert_eq!(told(&mut pair, &load(&both, arguments)), expected, "{arguments}");
    }
    let rows = "SELECT concat_ws(' ', count(*), sum(x), min(id), count(*) FILTER (WHERE more = 'ours')) FROM kept";
    assert_eq!(text(&mut pair.destination, rows), "6000 27004500 1 100");
    let refused = |pair: &mut Pair, sql: &str| Failure::of(&pair.destination.query(sql, &[]).unwrap_err());
    let failure = refused(&mut pair, &load(&both, ", mode => 'sync'"));
    assert_eq!(
        failure.message,
        "table public.kept holds rows that the load would delete where the files do not have them; nothing was touched"
    );
    let failure = refused(
        &mut pair,
        &load(&format!("ARRAY['{}', '{}']", file("a.parquet"), file("part.parquet")), ", mode => 'upsert'"),
    );
    assert_eq!(failure.message, "cannot merge into column x of table public.kept: not all of the files have it");
    let failure = refused(&mut pair, &load(&format!("'{}'", file("twice.parquet")), ", mode => 'upsert'"));
    assert_eq!(failure.sqlstate, "23505", "{failure:?}");
    assert!(failure.detail.contains("rows of the source have the same key"), "{failure:?}");
    let failure = refused(&mut pair, &load(&both, ", mode => 'upsert', key => 'kept_x'"));
    assert_eq!(failure.message, "cannot load: public.kept: has no unique index kept_x, which is named as its key");
    assert_eq!(failure.hint, "To mend it: key => 'kept_pkey'");
    let failure = refused(&mut pair, &load(&both, ", key => 'kept_pkey'"));
    assert_eq!(failure.message, "key is not for mode => 'append'");
    // Columns that no file has stay as they are, also in a job of its own.
    let job = format!(
        "SELECT pgcopy.start_load_parquet('{}', target => 'kept', mode => 'upsert')::text",
        file("part.parquet")
    );
    pair.destination
        .batch_execute("ALTER TABLE kept DROP CONSTRAINT kept_name_key; INSERT INTO kept VALUES (7000, 'ours', 3)")
        .unwrap();
    let job = text(&mut pair.destination, &job);
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({job}, '60 s')")), "completed");
    let counts = format!(
        "SELECT concat_ws(' ', inserted, updated, deleted, unchanged) FROM pgcopy.job_tables WHERE job = {job}"
    );
    assert_eq!(text(&mut pair.destination, &counts), "1 1 0 0");
    assert_eq!(
        texts(&mut pair.destination, "SELECT concat_ws(' ', id, name, x, more) FROM kept WHERE id >= 7000 ORDER BY id"),
        ["7000 p 3 more", "7001 p more"]
    );
    pair.assert_nothing_left();
}

#[test]
fn what_others_stumble_over() {
    let mut pair = Pair::with(
        "mode_reports",
        "CREATE TABLE only_key (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE parent (id int PRIMARY KEY, name text);
         CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL REFERENCES parent ON DELETE RESTRICT); CREATE TABLE \"Odd.Table\" (\"Key.1\" int PRIMARY KEY, \"select\" text)",
        "INSERT INTO only_key SELECT i, i FROM generate_series(1, 10) i; INSERT INTO parent SELECT i, 'new ' || i FROM generate_series(1, 10) i;
         INSERT INTO \"Odd.Table\" VALUES (1, 'theirs')",
    );
    pair.destination
        .batch_execute(
            "INSERT INTO only_key VALUES (1, 1); INSERT INTO parent SELECT i, 'old' FROM generate_series(1, 5) i; INSERT INTO child SELECT i, i FROM generate_series(1, 5) i;
             INSERT INTO \"Odd.Table\" VALUES (1, 'ours'); ALTER TABLE parent ADD COLUMN number serial",
        )
        .unwrap();
    // Nothing but a key; a parent alone, whose children stay; names that need quotes.
    assert_eq!(
        changes(&mut pair, "mode => 'upsert', exclude => '{child}'"),
        ["Odd.Table 0 1 0 0", "only_key 9 0 0 1", "parent 5 5 0 0"]
    );
    assert_eq!(
        text(&mut pair.destination, "SELECT count(*)::text FROM child JOIN parent ON parent.id = child.parent"),
        "5"
    );
    // Rows that are there take no numbers of a sequence.
    assert_eq!(text(&mut pair.destination, "SELECT last_value::text FROM parent_number_seq"), "10");
    assert_eq!(
        changes(&mut pair, "mode => 'upsert', exclude => '{child}'"),
        ["Odd.Table 0 0 0 1", "only_key 0 0 0 10", "parent 0 0 0 10"]
    );
    assert_eq!(text(&mut pair.destination, "SELECT last_value::text FROM parent_number_seq"), "10");
    pair.assert_nothing_left();
}
