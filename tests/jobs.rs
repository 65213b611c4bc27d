//! Pulls without a session, and what other sessions see of any pull and may do with it.

use crate::harness::proxy::{Mode, Proxy};
use crate::harness::{
    Failure, OwnServers, Pair, assert_nothing_left_of_a_crash, connect, eventually, installation, text, texts,
    wait_for_worker,
};
use postgres::{Client, NoTls};
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::server::Options;

const SCHEMA: &str = "
    CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.005); RETURN true; END';
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, big text);
    CREATE TABLE note (id int PRIMARY KEY, item int REFERENCES item);
";
const ROWS: &str = "
    INSERT INTO item SELECT i, 'new ' || i, repeat(md5(i::text), 1000) FROM generate_series(1, 2000) i;
    INSERT INTO note SELECT i, i FROM generate_series(1, 1000) i;
    ANALYZE;
";

fn pair(name: &str) -> Pair {
    let mut pair = Pair::with(name, SCHEMA, ROWS);
    pair.destination.batch_execute("INSERT INTO item VALUES (1, 'old', 'x'); INSERT INTO note VALUES (1, 1)").unwrap();
    pair
}

/// A pull takes ten seconds then, unless it is stopped.
fn slow(name: &str) -> Pair {
    let mut pair = pair(name);
    pair.destination.batch_execute("ALTER TABLE item ADD CONSTRAINT slow CHECK (slowly()) NOT VALID").unwrap();
    pair.destination.batch_execute("UPDATE pg_constraint SET convalidated = true WHERE conname = 'slow'").unwrap();
    pair
}

fn start(client: &mut Client, dsn: &str, arguments: &str) -> i64 {
    let sql = format!("SELECT pgcopy.start_pull('{dsn}', {arguments})");
    client.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{}", crate::harness::describe(&error))).get(0)
}

fn wait(client: &mut Client, job: i64) -> String {
    text(client, &format!("SELECT pgcopy.wait({job}, '60 s')"))
}

fn job_line(client: &mut Client, job: i64, columns: &str) -> String {
    text(client, &format!("SELECT concat_ws('|', {columns}) FROM pgcopy.jobs WHERE job = {job}"))
}

/// Runs `meanwhile` while a pull of another session is copying `item`. Returns how the pull ended.
fn during(pair: &mut Pair, arguments: &str, meanwhile: impl FnOnce(&mut Client, i64)) -> Result<(), Failure> {
    let sql = pair.pull_sql(arguments);
    let mut session = pair.another_destination_session();
    let mut watcher = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(move || session.query(&sql, &[]).map(|_| ()).map_err(|error| Failure::of(&error)));
        let arriving = "SELECT j.job::text FROM pgcopy.jobs j JOIN pgcopy.job_tables t USING (job)
                        WHERE j.state = 'running' AND t.\"table\" = 'item' AND t.rows > 0";
        eventually("rows arrive", || !text(&mut watcher, arriving).is_empty());
        let job = text(&mut watcher, arriving).parse().unwrap();
        meanwhile(&mut watcher, job);
        pull.join().unwrap()
    })
}

#[test]
fn a_job_runs_without_its_session() {
    let mut pair = pair("job");
    let dsn = pair.dsn();
    let mut session = pair.another_destination_session();
    let job = start(&mut session, &dsn, "overwrite => true, parallel => 2");
    drop(session);
    assert_eq!(wait(&mut pair.destination, job), "completed");
    pair.assert_same_content();
    let line = job_line(
        &mut pair.destination,
        job,
        "role, state, tables, tables_done, rows, percent, error, finished > started, seconds > 0",
    );
    assert_eq!(line, "postgres|completed|2|2|3000|100|t|t");
    let tables = texts(
        &mut pair.destination,
        "SELECT concat_ws(' ', \"table\", state, rows, bytes > 0) FROM pgcopy.job_tables ORDER BY 1",
    );
    assert_eq!(tables, ["item ended 2000 t", "note ended 1000 t"]);
    let timeline = texts(&mut pair.destination, "SELECT concat_ws(' ', worker > 0, task) FROM pgcopy.job_tasks");
    for task in ["f planning", "f swapping", "t copying public.item", "t building index item_pkey of public.item"] {
        assert!(timeline.iter().any(|line| line == task), "{task} is not in {timeline:?}");
    }
    pair.assert_nothing_left();
    // A transaction that is rolled back does not take it along.
    pair.destination.batch_execute("BEGIN").unwrap();
    let job = start(&mut pair.destination, &dsn, "overwrite => true, parallel => 0");
    pair.destination.batch_execute("ROLLBACK").unwrap();
    assert_eq!(wait(&mut pair.destination, job), "completed");
    pair.assert_nothing_left();
}

#[test]
fn a_job_has_the_callers_role_and_settings() {
    let mut pair = pair("job_role");
    pair.destination
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE job_owner; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             GRANT CREATE ON SCHEMA public TO job_owner;
             CREATE FUNCTION note_role() RETURNS boolean LANGUAGE plpgsql
                 AS 'BEGIN RAISE EXCEPTION ''% % %'', current_user, session_user, current_setting(''work_mem''); END';
             ALTER TABLE item ADD CHECK (note_role()) NOT VALID;
             UPDATE pg_constraint SET convalidated = true WHERE conrelid = 'item'::regclass;
             ALTER TABLE item OWNER TO job_owner; ALTER TABLE note OWNER TO job_owner",
        )
        .unwrap();
    let dsn = pair.dsn();
    // As a superuser, so that the source need not ask for a password.
    pair.destination.batch_execute("SET work_mem = '7531kB'").unwrap();
    let job = start(&mut pair.destination, &dsn, "overwrite => true, parallel => 0");
    assert_eq!(wait(&mut pair.destination, job), "failed");
    assert_eq!(job_line(&mut pair.destination, job, "error"), "job_owner postgres 7531kB");
    pair.destination.batch_execute("SET ROLE job_owner").unwrap();
    // What needs no source is an error at once.
    let refused = pair.destination.query(&format!("SELECT pgcopy.start_pull('{dsn}')"), &[]).unwrap_err();
    assert_eq!(Failure::of(&refused).message, "password is required");
}

#[test]
fn a_session_that_waits_does_not_block_the_job_through_others() {
    let mut pair = pair("job_wait_others");
    let mut owner = pair.another_source_session();
    let mut waiting = pair.another_destination_session();
    let mut third = pair.another_destination_session();
    let mut lock = owner.transaction().unwrap();
    lock.batch_execute("LOCK TABLE item").unwrap();
    let dsn = pair.dsn();
    let job = start(&mut pair.destination, &dsn, "overwrite => true, parallel => 1");
    let here =
        "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                AND state = 'active' AND";
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| waiting.query(&format!("SELECT pgcopy.wait({job})"), &[]).map(|_| ()));
        let waits = format!("{here} query LIKE '%pgcopy.wait(%'");
        eventually("the session waits", || text(&mut pair.destination, &waits) == "1");
        // It has the table, and waits for all who may look at the old index.
        let reindex = scope.spawn(|| third.batch_execute("REINDEX TABLE CONCURRENTLY item"));
        let waits = format!("{here} wait_event = 'virtualxid'");
        eventually("the index is waiting", || text(&mut pair.destination, &waits) == "1");
        // Now the job comes to its locks.
        lock.rollback().unwrap();
        assert_eq!(Failure::of(&wait.join().unwrap().unwrap_err()).sqlstate, "40P01");
        // The detector finds what may still be in each other's way.
        let _ = reindex.join().unwrap();
    });
    let state = wait(&mut pair.destination, job);
    let error = job_line(&mut pair.destination, job, "error");
    assert!(state == "completed" || error.contains("deadlock"), "{state} {error}");
    pair.destination.batch_execute("REINDEX TABLE item").unwrap();
}

#[test]
fn a_session_that_waits_notices_that_the_job_has_lost_its_process() {
    let mut pair = pair("job_lost");
    let mut owner = pair.another_source_session();
    let mut waiting = pair.another_destination_session();
    let mut lock = owner.transaction().unwrap();
    lock.batch_execute("LOCK TABLE item").unwrap();
    let dsn = pair.dsn();
    // Without a steward nobody writes down how it ends.
    let job = start(&mut pair.destination, &dsn, "overwrite => true");
    let leader = wait_for_worker(&mut pair.destination, "%leader");
    std::thread::scope(|scope| {
        let state = scope.spawn(|| wait(&mut waiting, job));
        let waits = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pgcopy.wait(%'
                     AND state = 'active' AND pid <> pg_backend_pid()";
        eventually("the session waits", || text(&mut pair.destination, waits) == "1");
        text(&mut pair.destination, &format!("SELECT pg_terminate_backend({leader})::text"));
        assert_eq!(state.join().unwrap(), "failed");
    });
    lock.rollback().unwrap();
}

#[test]
fn a_cancel_does_not_keep_a_job_from_writing_down_how_it_ended() {
    let mut pair = pair("job_end");
    let mut other = pair.another_destination_session();
    let mut owner = pair.another_source_session();
    let mut lock = owner.transaction().unwrap();
    lock.batch_execute("LOCK TABLE item").unwrap();
    let dsn = pair.dsn();
    let job = start(&mut pair.destination, &dsn, "parallel => 0");
    let leader = wait_for_worker(&mut pair.destination, "%leader");
    let mut row = other.transaction().unwrap();
    row.batch_execute(&format!("SELECT FROM pgcopy_internal.job WHERE job = {job} FOR UPDATE")).unwrap();
    // It finds that the tables hold rows.
    lock.rollback().unwrap();
    let waits = format!("SELECT count(*)::text FROM pg_locks WHERE pid = {leader} AND NOT granted");
    eventually("the job writes down its end", || text(&mut pair.destination, &waits) == "1");
    text(&mut pair.destination, &format!("SELECT pg_cancel_backend({leader})::text"));
    std::thread::sleep(Duration::from_millis(200));
    row.rollback().unwrap();
    assert_eq!(wait(&mut pair.destination, job), "failed");
    assert!(
        job_line(&mut pair.destination, job, "error").starts_with("2 tables hold rows that the pull would replace")
    );
    assert_eq!(text(&mut pair.destination, "SELECT state FROM pgcopy_internal.job"), "failed");
    pair.assert_nothing_left();
}

#[test]
fn a_job_that_cannot_be_done_says_why() {
    let mut pair = pair("job_fails");
    let dsn = pair.dsn();
    let before = pair.destination_state();
    // What needs no source is an error at once.
    for (arguments, sqlstate) in [("parallel => -1", "22023"), ("include => '{a.b.c}'", "42602")] {
        let sql = format!("SELECT pgcopy.start_pull('{dsn}', {arguments})");
        assert_eq!(Failure::of(&pair.destination.query(&sql, &[]).unwrap_err()).sqlstate, sqlstate);
    }
    let refused = pair.destination.query("SELECT pgcopy.start_pull('hots=nowhere')", &[]).unwrap_err();
    assert_eq!(Failure::of(&refused).sqlstate, "42601");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.jobs"), "0");
    let job = start(&mut pair.destination, &dsn, "include => '{nothing}'");
    assert_eq!(wait(&mut pair.destination, job), "failed");
    let line = job_line(&mut pair.destination, job, "error, detail, hint LIKE 'pgcopy.list(%'");
    assert_eq!(line, "cannot pull: include pattern nothing: no such table on the source|t");
    let job = start(&mut pair.destination, &dsn, "parallel => 2");
    assert_eq!(wait(&mut pair.destination, job), "failed");
    assert!(
        job_line(&mut pair.destination, job, "error").starts_with("2 tables hold rows that the pull would replace")
    );
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
}

#[test]
fn progress_is_live_while_the_transaction_is_open() {
    let mut pair = slow("job_live");
    let (port, database) = (pair.destination_port, pair.database.clone());
    let ended = during(&mut pair, "overwrite => true, parallel => 2", |watcher, job| {
        let line = job_line(
            watcher,
            job,
            "state, phase, tables, rows > 0, bytes > 0, percent BETWEEN 0 AND 100, finished, error",
        );
        assert_eq!(line, "running|copying|2|t|t|t");
        assert_eq!(
            text(
                watcher,
                "SELECT concat_ws(' ', state, rows > 0, seconds > 0) FROM pgcopy.job_tables WHERE \"table\" = 'item'"
            ),
            "running t t"
        );
        let before: i64 = text(watcher, "SELECT bytes::text FROM pgcopy.jobs").parse().unwrap();
        eventually("bytes grow", || {
            text(watcher, "SELECT bytes::text FROM pgcopy.jobs").parse::<i64>().unwrap() > before
        });
        let timeline = texts(watcher, "SELECT task FROM pgcopy.job_tasks");
        assert!(timeline.iter().any(|task| task == "copying public.item"), "{timeline:?}");
        // The server's own views know the workers.
        let copies =
            "SELECT concat_ws(' ', p.relid::regclass, p.command, p.tuples_processed > 0, p.bytes_processed > 0)
                      FROM pg_stat_progress_copy p JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'pgcopy'";
        eventually("the copy is reported", || texts(watcher, copies) == ["item COPY FROM t t"]);
        for (sql, shown) in [("TABLE pgcopy.progress", "copying"), ("TABLE pgcopy.timeline", "copying public.item")] {
            let screen = Command::new("psql")
                .args(["-X", "-h", "127.0.0.1", "-U", "postgres", "-p"])
                .arg(port.to_string())
                .args(["-d", &database, "-c", sql])
                .output()
                .unwrap();
            let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
            let lines: Vec<&str> = screen.lines().collect();
            assert!(lines.len() >= 3 && lines.iter().any(|line| line.contains(shown)), "{screen}");
            assert!(lines.iter().all(|line| line.chars().count() <= 80), "{screen}");
        }
        // Nothing of it needs a transaction that writes.
        watcher.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").unwrap();
        let first = text(watcher, "SELECT bytes::text FROM pgcopy.jobs");
        eventually("also in one snapshot", || text(watcher, "SELECT bytes::text FROM pgcopy.jobs") != first);
        assert_eq!(text(watcher, "SELECT (txid_current_if_assigned() IS NULL)::text"), "true");
        watcher.batch_execute("COMMIT").unwrap();
        assert_eq!(text(watcher, &format!("SELECT pgcopy.wait({job}, '100 ms')")), "running");
        assert_eq!(text(watcher, &format!("SELECT pgcopy.cancel({job})::text")), "true");
    });
    assert_eq!(ended.unwrap_err().sqlstate, "57014");
    pair.assert_nothing_left();
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.progress"), "0");
}

#[test]
fn index_builds_are_reported() {
    let mut pair = pair("job_index");
    pair.destination
        .batch_execute(
            "CREATE FUNCTION slow_key(int) RETURNS int IMMUTABLE LANGUAGE plpgsql
                 AS 'BEGIN PERFORM pg_sleep(0.005); RETURN $1; END';
             CREATE INDEX slow_index ON note (slow_key(id))",
        )
        .unwrap();
    let dsn = pair.dsn();
    let job = start(&mut pair.destination, &dsn, "overwrite => true, parallel => 2");
    let builds =
        "SELECT concat_ws(' ', relid::regclass, index_relid::regclass, command) FROM pg_stat_progress_create_index
                  WHERE index_relid = 'slow_index'::regclass";
    eventually("the build is reported", || texts(&mut pair.destination, builds) == ["note slow_index CREATE INDEX"]);
    eventually("nothing else is left to do", || job_line(&mut pair.destination, job, "phase") == "indexing");
    assert_eq!(wait(&mut pair.destination, job), "completed");
}

#[test]
fn what_is_loaded_in_place_is_part_of_the_job() {
    let mut pair = pair("job_in_place");
    pair.destination.batch_execute("CREATE PUBLICATION job_in_place FOR TABLE item").unwrap();
    for arguments in ["overwrite => true, parallel => 2, verbose => true", "overwrite => true, parallel => 0"] {
        pair.notices();
        let report = pair.pull(arguments);
        assert_eq!(report.iter().map(|table| table.rows).collect::<Vec<_>>(), [2000, 1000]);
        pair.assert_nothing_left();
        let tables = texts(
            &mut pair.destination,
            "SELECT concat_ws(' ', \"table\", rows, bytes > 0) FROM pgcopy.job_tables
             WHERE job = (SELECT max(job) FROM pgcopy.jobs) ORDER BY 1",
        );
        assert_eq!(tables, ["item 2000 t", "note 1000 t"], "{arguments}");
        let job = "SELECT concat_ws(' ', state, tables, rows) FROM pgcopy.jobs ORDER BY job DESC LIMIT 1";
        assert_eq!(text(&mut pair.destination, job), "completed 2 3000");
        if arguments.contains("verbose") {
            let notices = pair.notices();
            assert!(notices.iter().any(|notice| notice.starts_with("public.item: 2000 rows, ")), "{notices:?}");
        }
    }
    pair.assert_same_content();
}

#[test]
fn each_finished_table_is_told_of() {
    let mut pair = pair("job_verbose");
    for workers in [2, 0] {
        pair.notices();
        pair.pull(&format!("overwrite => true, verbose => true, parallel => {workers}"));
        let notices = pair.notices();
        for (start, end) in [("public.item: 2000 rows, ", " of 2)"), ("public.note: 1000 rows, ", " of 2)")] {
            let told = notices.iter().filter(|notice| notice.starts_with(start) && notice.ends_with(end)).count();
            assert_eq!(told, 1, "{workers} workers: {notices:?}");
        }
    }
}

#[test]
fn who_may_see_and_cancel_a_job() {
    let mut pair = slow("job_rights");
    for role in ["job_stranger", "job_signaller", "job_member"] {
        pair.destination
            .batch_execute(&format!(
                "DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            ))
            .unwrap();
    }
    pair.destination
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE job_app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             GRANT pg_signal_backend TO job_signaller; GRANT job_app TO job_member",
        )
        .unwrap();
    let dsn = pair.dsn();
    let job = start(&mut pair.destination, &dsn, "overwrite => true, parallel => 2");
    let mut other = pair.another_destination_session();
    let mut cancel = |role: &str, job: i64| {
        other.batch_execute(&format!("SET ROLE {role}")).unwrap();
        let seen = text(&mut other, &format!("SELECT count(*)::text FROM pgcopy.jobs WHERE job = {job}"));
        let live = text(&mut other, "SELECT count(*)::text FROM pgcopy.progress");
        let cancelled = other
            .query_one(&format!("SELECT pgcopy.cancel({job})"), &[])
            .map(|row| row.get::<_, bool>(0))
            .map_err(|error| Failure::of(&error));
        (seen == "1", live == "1", cancelled.map_err(|failure| failure.sqlstate))
    };
    wait_for_worker(&mut pair.destination, "%copying public.item%");
    // A superuser's job is not for the members of pg_signal_backend.
    assert_eq!(cancel("job_stranger", job), (false, false, Err("42704".into())));
    assert_eq!(cancel("job_signaller", job), (true, true, Err("42501".into())));
    assert_eq!(cancel("job_member", job), (false, false, Err("42704".into())));
    // As if the role had started it.
    pair.destination
        .batch_execute(&format!("UPDATE pgcopy_internal.job SET role = 'job_app' WHERE job = {job}"))
        .unwrap();
    assert_eq!(cancel("job_stranger", job), (false, false, Err("42704".into())));
    assert_eq!(cancel("job_member", job), (true, true, Ok(true)));
    assert_eq!(wait(&mut pair.destination, job), "failed");
    let line = job_line(&mut pair.destination, job, "error");
    assert_eq!(line, "canceling job due to request of role job_member");
    assert_eq!(cancel("job_signaller", job), (true, false, Ok(false)));
    assert_eq!(cancel("job_signaller", 987_654), (false, false, Err("42704".into())));
    pair.assert_nothing_left();
}

#[test]
fn a_cancel_gets_through_while_the_network_hangs() {
    let mut pair = pair("job_hangs");
    let before = pair.destination_state();
    // Once while rows are on their way, and once before the source has answered at all.
    for (position, after_bytes) in [200_000, 0].into_iter().enumerate() {
        let proxy = Proxy::start(pair.source_port);
        proxy.disturb(Mode::Silent, after_bytes);
        let dsn = proxy.dsn(&pair.database);
        let job = start(&mut pair.destination, &dsn, "overwrite => true, parallel => 2");
        eventually("the network hangs", || proxy.hit() > 0);
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.cancel({job})::text")), "true");
        assert_eq!(wait(&mut pair.destination, job), "failed", "{position}");
        let error = job_line(&mut pair.destination, job, "error");
        assert!(error.starts_with("cancel"), "{error}");
        assert_eq!(pair.destination_state(), before);
        pair.assert_nothing_left();
    }
}

#[test]
fn the_history_tells_how_a_pull_ended() {
    let mut pair = slow("job_ends");
    let last = "SELECT concat_ws('|', state, error) FROM pgcopy.jobs ORDER BY job DESC LIMIT 1";
    for workers in [2, 0] {
        let arguments = format!("overwrite => true, parallel => {workers}");
        let ended = during(&mut pair, &arguments, |watcher, job| {
            watcher.execute("SELECT pg_cancel_backend(leader_pid) FROM pgcopy.jobs WHERE job = $1", &[&job]).unwrap();
        });
        assert_eq!(ended.unwrap_err().sqlstate, "57014");
        pair.assert_nothing_left();
        assert_eq!(text(&mut pair.destination, last), "failed|canceling statement due to user request", "{workers}");
        let jobs = "SELECT count(*)::text FROM pgcopy_internal.job";
        let before = text(&mut pair.destination, jobs);
        // On a busy machine the time may be over before the job is written down.
        for seconds in [1, 2, 4, 8] {
            pair.destination.batch_execute(&format!("SET statement_timeout = '{seconds}s'")).unwrap();
            assert_eq!(pair.pull_error(&arguments).sqlstate, "57014");
            pair.destination.batch_execute("RESET statement_timeout").unwrap();
            if text(&mut pair.destination, jobs) != before {
                break;
            }
        }
        pair.assert_nothing_left();
        assert_eq!(
            text(&mut pair.destination, last),
            "failed|canceling statement due to statement timeout",
            "{workers}"
        );
    }
    let mut session = pair.another_destination_session();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    std::thread::scope(|scope| {
        scope.spawn(|| session.query(&sql, &[]).unwrap_err());
        wait_for_worker(&mut pair.destination, "%copying public.item%");
        let kill = "SELECT pg_terminate_backend(leader_pid) FROM pgcopy.jobs WHERE state = 'running'";
        pair.destination.execute(kill, &[]).unwrap();
    });
    pair.assert_nothing_left();
    assert_eq!(text(&mut pair.destination, last), "failed|the calling session was terminated");
    pair.destination.batch_execute("ALTER TABLE item DROP CONSTRAINT slow").unwrap();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; ROLLBACK")).unwrap();
    pair.assert_nothing_left();
    assert_eq!(text(&mut pair.destination, last), "rolled back|the transaction of the pull was rolled back");
    let rows = "SELECT rows::text FROM pgcopy.jobs ORDER BY job DESC LIMIT 1";
    assert_eq!(text(&mut pair.destination, rows), "3000");
    let mut session = pair.another_destination_session();
    session.batch_execute("SET idle_in_transaction_session_timeout = '200ms'; BEGIN").unwrap();
    session.query(&sql, &[]).unwrap();
    pair.assert_nothing_left();
    assert_eq!(
        text(&mut pair.destination, last),
        "rolled back|the calling session ended before its transaction was committed"
    );
}

#[test]
fn the_history_can_be_pruned() {
    let mut pair = pair("job_prune");
    pair.pull("overwrite => true");
    pair.pull("overwrite => true");
    pair.assert_nothing_left();
    assert_eq!(text(&mut pair.destination, "SELECT pgcopy.prune()::text"), "0");
    for (call, sqlstate) in
        [("prune('-1 day')", "22023"), ("prune(NULL)", "22004"), ("wait(NULL)", "22004"), ("cancel(NULL)", "22004")]
    {
        let failure = pair.destination.query(&format!("SELECT pgcopy.{call}"), &[]).unwrap_err();
        assert_eq!(Failure::of(&failure).sqlstate, sqlstate, "{call}");
    }
    pair.destination
        .batch_execute("UPDATE pgcopy_internal.job SET finished = finished - interval '31 days' WHERE job = 1")
        .unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT pgcopy.prune()::text"), "1");
    assert_eq!(texts(&mut pair.destination, "SELECT DISTINCT job::text FROM pgcopy.job_tables"), ["2"]);
    pair.destination
        .batch_execute("DO $$ BEGIN CREATE ROLE job_pruner; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        .unwrap();
    pair.destination.batch_execute("SET ROLE job_pruner").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT pgcopy.prune('0 s')::text"), "0");
    pair.destination.batch_execute("RESET ROLE").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT pgcopy.prune('0 s')::text"), "1");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.timeline"), "0");
}

#[test]
fn a_pull_waits_for_another_of_the_same_tables_or_fails_at_once() {
    let mut pair = slow("job_overlap");
    let sql = pair.pull_sql("include => '{note}', overwrite => true, wait => false");
    let waiting = pair.pull_sql("include => '{item}', overwrite => true, parallel => 1");
    let ended = during(&mut pair, "include => '{item}', overwrite => true, parallel => 2", |watcher, job| {
        let failure = Failure::of(&watcher.query(&sql.replace("{note}", "{item}"), &[]).unwrap_err());
        assert_eq!(failure.sqlstate, "55P03");
        assert!(failure.message.contains("table item") || failure.message.contains("table public.item"), "{failure:?}");
        assert!(failure.detail.contains(&format!("job {job}, process ")), "{failure:?}");
        // One who waits is bounded by lock_timeout.
        watcher.batch_execute("SET lock_timeout = '100ms'").unwrap();
        assert_eq!(Failure::of(&watcher.query(&waiting, &[]).unwrap_err()).sqlstate, "55P03");
        watcher.batch_execute("RESET lock_timeout").unwrap();
        text(watcher, &format!("SELECT pgcopy.cancel({job})::text"));
    });
    assert_eq!(ended.unwrap_err().sqlstate, "57014");
    // Nor does it wait for whoever locks out even readers.
    let mut owner = pair.another_destination_session();
    owner.batch_execute("BEGIN; LOCK TABLE item").unwrap();
    pair.destination.batch_execute("SET statement_timeout = '30s'").unwrap();
    for (workers, overwrite) in [(2, true), (0, true), (2, false)] {
        let arguments =
            format!("include => '{{item}}', overwrite => {overwrite}, wait => false, parallel => {workers}");
        assert_eq!(pair.pull_error(&arguments).sqlstate, "55P03");
    }
    pair.destination.batch_execute("RESET statement_timeout").unwrap();
    owner.batch_execute("ROLLBACK").unwrap();
    // Other tables are nobody's business, and a job waits as a session does.
    pair.destination.batch_execute("CREATE TABLE other (id int)").unwrap();
    pair.source.batch_execute("CREATE TABLE other (id int); INSERT INTO other VALUES (7)").unwrap();
    let dsn = pair.dsn();
    let first = start(&mut pair.destination, &dsn, "include => '{item}', overwrite => true, parallel => 1");
    eventually("the first copies", || job_line(&mut pair.destination, first, "phase") == "copying");
    let beside = start(&mut pair.destination, &dsn, "include => '{other}', parallel => 1");
    assert_eq!(wait(&mut pair.destination, beside), "completed");
    let second = start(&mut pair.destination, &dsn, "include => '{item}', overwrite => true, parallel => 1");
    let third = start(&mut pair.destination, &dsn, "include => '{item}', overwrite => true, wait => false");
    assert_eq!(wait(&mut pair.destination, third), "failed");
    eventually("the second waits", || job_line(&mut pair.destination, second, "phase") == "locking");
    assert_eq!(job_line(&mut pair.destination, first, "state"), "running");
    pair.destination.execute("SELECT pgcopy.cancel($1)", &[&first]).unwrap();
    assert_eq!(wait(&mut pair.destination, first), "failed");
    assert_eq!(wait(&mut pair.destination, second), "completed");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "2000");
    pair.assert_nothing_left();
}

#[test]
fn a_session_that_waits_does_not_block_the_job() {
    let mut pair = pair("job_wait");
    let dsn = pair.dsn();
    pair.destination.batch_execute("BEGIN; LOCK TABLE item").unwrap();
    let job = start(&mut pair.destination, &dsn, "overwrite => true");
    let failure = Failure::of(&pair.destination.query(&format!("SELECT pgcopy.wait({job})"), &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "40P01", "{failure:?}");
    pair.destination.batch_execute("ROLLBACK").unwrap();
    assert_eq!(wait(&mut pair.destination, job), "completed");
    let failure = Failure::of(&pair.destination.query("SELECT pgcopy.wait(4711)", &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "42704");
    let sql = pair.pull_sql("overwrite => true");
    pair.destination.batch_execute(&format!("BEGIN; {sql}")).unwrap();
    let failure =
        Failure::of(&pair.destination.query("SELECT pgcopy.wait(max(job)) FROM pgcopy.jobs", &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "55006");
    pair.destination.batch_execute("ROLLBACK").unwrap();
    // A pull that has done its work is up to its transaction.
    pair.destination.batch_execute(&format!("BEGIN; {sql}")).unwrap();
    let mut other = pair.another_destination_session();
    let last = "SELECT concat_ws(' ', state, phase, pgcopy.cancel(job)) FROM pgcopy.jobs ORDER BY job DESC LIMIT 1";
    assert_eq!(text(&mut other, last), "running swapped f");
    pair.destination.batch_execute("COMMIT").unwrap();
    pair.assert_nothing_left();
}

#[test]
fn the_password_is_seen_nowhere() {
    let mut pair = slow("job_secret");
    pair.source
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             ALTER ROLE app PASSWORD 'secret'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO app",
        )
        .unwrap();
    // The call itself is the caller's own text; a function keeps it out of the activity views here.
    pair.destination
        .batch_execute(&format!(
            "CREATE FUNCTION start() RETURNS bigint LANGUAGE sql AS
             $$ SELECT pgcopy.start_pull('host=127.0.0.1 port={} user=app dbname=job_secret password=' || 'sec' || 'ret',
                                         overwrite => true, parallel => 2) $$",
            pair.source_port
        ))
        .unwrap();
    let job = text(&mut pair.destination, "SELECT start()::text").parse().unwrap();
    wait_for_worker(&mut pair.destination, "%copying public.item%");
    let visible = "SELECT string_agg(t, ' ') FROM (
                       SELECT a::text t FROM pg_stat_activity a UNION ALL SELECT j::text FROM pgcopy_internal.job j
                       UNION ALL SELECT j::text FROM pgcopy.jobs j UNION ALL SELECT j::text FROM pgcopy.job_tables j
                       UNION ALL SELECT j::text FROM pgcopy.progress j UNION ALL SELECT j::text FROM pgcopy.timeline j UNION ALL SELECT j::text FROM pgcopy.job_tasks j
                       UNION ALL SELECT j::text FROM pgcopy_internal.job_task j) x";
    let seen = text(&mut pair.destination, visible);
    assert!(seen.contains("copying public.item") && !seen.contains("secret "), "{seen}");
    assert!(!seen.replace("job_secret", "").contains("secret"), "{seen}");
    pair.destination.execute("SELECT pgcopy.cancel($1)", &[&job]).unwrap();
    wait(&mut pair.destination, job);
    let seen = text(&mut pair.destination, visible);
    assert!(!seen.replace("job_secret", "").contains("secret"), "{seen}");
}

#[test]
fn without_a_free_process_there_is_no_job_but_a_pull() {
    let servers = OwnServers::start("few", Options::named("few-destination").setting("max_worker_processes = 0"));
    let mut pair = servers.pair("few");
    pair.both("CREATE TABLE item (id int)");
    pair.source.batch_execute("INSERT INTO item VALUES (1)").unwrap();
    let dsn = pair.dsn();
    let refused = pair.destination.query(&format!("SELECT pgcopy.start_pull('{dsn}')"), &[]).unwrap_err();
    let refused = Failure::of(&refused);
    assert_eq!(refused.sqlstate, "53000");
    assert!(refused.hint.contains("ALTER SYSTEM SET max_worker_processes = "), "{refused:?}");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.jobs"), "0");
    pair.pull("parallel => 2");
    assert_eq!(text(&mut pair.destination, "SELECT state FROM pgcopy.jobs"), "completed");
    pair.assert_same_content();
    drop(servers);
    // One for the launcher, one for the leader: the job does the work itself.
    let servers = OwnServers::start("two", Options::named("two-destination").setting("max_worker_processes = 2"));
    let mut pair = servers.pair("two");
    pair.both("CREATE TABLE item (id int)");
    pair.source.batch_execute("INSERT INTO item VALUES (1)").unwrap();
    let dsn = pair.dsn();
    let job = start(&mut pair.destination, &dsn, "parallel => 2");
    assert_eq!(wait(&mut pair.destination, job), "completed");
    pair.assert_same_content();
    pair.pull_error("");
    pair.source.batch_execute("ALTER TABLE item ADD extra int").unwrap();
    let job = start(&mut pair.destination, &dsn, "overwrite => true, parallel => 2");
    assert_eq!(wait(&mut pair.destination, job), "failed");
}

#[test]
fn a_crash_leaves_no_job_that_seems_to_run() {
    let mut servers = OwnServers::start("liveness", Options::named("liveness-destination"));
    let mut pair = servers.pair("liveness");
    pair.both(SCHEMA);
    pair.source.batch_execute(ROWS).unwrap();
    pair.pull("");
    pair.assert_nothing_left();
    pair.destination.batch_execute("ALTER TABLE item ADD CONSTRAINT slow CHECK (slowly())").unwrap();
    let dsn = pair.dsn();
    let job = start(&mut pair.destination, &dsn, "overwrite => true, parallel => 2");
    wait_for_worker(&mut pair.destination, "%copying public.item%");
    // As if the server had crashed before the steward of the first could write it down.
    pair.destination
        .batch_execute(
            "BEGIN; UPDATE pgcopy_internal.job SET state = 'running', finished = NULL WHERE job = 1;
             INSERT INTO pgcopy_internal.job_swap VALUES (1); COMMIT",
        )
        .unwrap();
    servers.destination.crash_and_restart().unwrap();
    pair.destination = connect(servers.destination.port(), "liveness");
    let states =
        |client: &mut Client| texts(client, "SELECT concat_ws(' ', state, error) FROM pgcopy.jobs ORDER BY job");
    let expected = ["completed", "failed the processes of the job ended before it did"];
    assert_eq!(states(&mut pair.destination), expected);
    assert_eq!(wait(&mut pair.destination, job), "failed");
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.cancel({job})::text")), "false");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.progress"), "0");
    assert_eq!(text(&mut pair.destination, "SELECT pgcopy.cleanup()::text"), "2");
    assert_eq!(states(&mut pair.destination), expected);
    assert_nothing_left_of_a_crash(&mut pair.destination);
}

/// Somebody reads what a dead job has left, as pg_dump does: others go on, and the table goes when its reader has.
#[test]
fn a_reader_of_a_dead_jobs_table_holds_nobody_up() {
    let mut pair = Pair::with("dead_job_reader", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    pair.destination
        .batch_execute(
            "CREATE TABLE pgcopy_stage.job_4711_1 (id int); CREATE TABLE pgcopy_stage.job_4711_2 (id int);
             CREATE TABLE pgcopy_stage.job_4712_1 (id int);
             INSERT INTO pgcopy_internal.job (job, role, role_name, source, state, tables, started) VALUES (4711, 'postgres', 'postgres', 'gone', 'running', 2, now())",
        )
        .unwrap();
    let left = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
                WHERE relnamespace = 'pgcopy_stage'::regnamespace AND relkind = 'r'";
    let mut reader = pair.another_destination_session();
    reader.batch_execute("BEGIN; SELECT * FROM pgcopy_stage.job_4711_1").unwrap();
    pair.destination.batch_execute("SET statement_timeout = '60s'").unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        crate::harness::no_process_left(&mut pair.destination);
        assert_eq!(text(&mut pair.destination, left), "job_4711_1");
    }
    assert_eq!(
        text(&mut pair.destination, "SELECT state || ': ' || error FROM pgcopy.jobs WHERE job = 4711"),
        "failed: the processes of the job ended before it did"
    );
    text(&mut pair.destination, "SELECT pgcopy.cleanup()::text");
    assert_eq!(text(&mut pair.destination, left), "job_4711_1");
    reader.batch_execute("COMMIT").unwrap();
    text(&mut pair.destination, "SELECT pgcopy.cleanup()::text");
    pair.assert_nothing_left();
}

#[test]
fn a_clean_up_whose_transaction_stays_open_holds_nobody_up() {
    let mut pair = Pair::with("open_cleanup", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    pair.destination
        .batch_execute(
            "CREATE TABLE pgcopy_stage.job_4711_1 (id int);
             INSERT INTO pgcopy_internal.job (job, role, role_name, source, state, tables, started) VALUES (4711, 'postgres', 'postgres', 'gone', 'running', 1, now())",
        )
        .unwrap();
    let mut other = pair.another_destination_session();
    other.batch_execute("BEGIN; SELECT pgcopy.cleanup()").unwrap();
    pair.destination.batch_execute("SET statement_timeout = '60s'").unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(text(&mut pair.destination, "SELECT pgcopy.cleanup()::text"), "0");
    }
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT pgcopy.cleanup()::text"), "1");
    pair.assert_nothing_left();
}

/// Somebody reads the old rows that a pull is about to remove: its steward tries again, and can be told to end.
#[test]
fn a_steward_waits_for_a_reader_without_standing_in_anybodys_way() {
    let mut pair = Pair::with("stage_reader", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    let (mut reader, mut watcher) = (pair.another_destination_session(), pair.another_destination_session());
    let steward = "SELECT coalesce(max(pid), 0)::text FROM pg_stat_activity
                   WHERE datname = 'stage_reader' AND backend_type = 'pgcopy' AND query LIKE '%steward%'";
    for ends_by_itself in [true, false] {
        let sql = pair.pull_sql("overwrite => true, parallel => 1");
        pair.destination.batch_execute(&format!("BEGIN; {sql}")).unwrap();
        let stage = text(
            &mut watcher,
            "SELECT format('pgcopy_stage.%I', relname) FROM pg_class WHERE relnamespace = 'pgcopy_stage'::regnamespace AND relkind = 'r'",
        );
        std::thread::scope(|scope| {
            let reading =
                scope.spawn(|| reader.batch_execute(&format!("BEGIN; LOCK TABLE {stage} IN ACCESS SHARE MODE")));
            crate::harness::eventually("the reader waits for the pull", || {
                text(&mut watcher, "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'")
                    == "1"
            });
            pair.destination.batch_execute("COMMIT").unwrap();
            reading.join().unwrap().unwrap();
        });
        // Nobody who comes later waits behind a lock that the steward waits for.
        watcher
            .batch_execute(&format!("SET lock_timeout = '10s'; BEGIN; LOCK TABLE {stage} IN ACCESS SHARE MODE; COMMIT"))
            .unwrap();
        assert_ne!(text(&mut watcher, steward), "0");
        if ends_by_itself {
            reader.batch_execute("COMMIT").unwrap();
        } else {
            text(&mut watcher, &format!("SELECT pg_terminate_backend(({steward})::int)::text"));
            crate::harness::eventually("the steward has ended", || text(&mut watcher, steward) == "0");
            assert_eq!(text(&mut watcher, "SELECT state FROM pgcopy.jobs ORDER BY job DESC LIMIT 1"), "completed");
            reader.batch_execute("COMMIT").unwrap();
            text(&mut watcher, "SELECT pgcopy.cleanup()::text");
        }
        pair.assert_nothing_left();
    }
}

#[test]
fn pg_cron_schedules_pulls() {
    if !installation().add_module("pg_cron").unwrap() {
        // Its library is for the version that the system has.
        println!("skipped: pg_cron is not there for this version");
        assert!(!installation().version().is_of_system(), "`cargo xtask test` installs pg_cron");
        return;
    }
    let options = Options::named("cron-destination")
        .setting("shared_preload_libraries = 'pg_cron'")
        .setting("cron.database_name = 'cron'")
        .setting("cron.host = '127.0.0.1'")
        .setting("max_worker_processes = 20");
    let servers = OwnServers::start("cron", options);
    {
        // The scheduler wants its database from the beginning.
        let mut client = servers.destination.connect("postgres");
        client.batch_execute("CREATE DATABASE cron").unwrap();
    }
    let mut scheduler = servers.destination.connect("cron");
    scheduler.batch_execute("CREATE EXTENSION pg_cron").unwrap();
    let mut pair = servers.pair("cron_target");
    pair.both(SCHEMA);
    pair.source.batch_execute(ROWS).unwrap();
    pair.destination.batch_execute("ALTER TABLE item ADD CONSTRAINT slow CHECK (slowly())").unwrap();
    let dsn = pair.dsn();
    for (name, call) in [
        ("waits", format!("SELECT * FROM pgcopy.pull('{dsn}', overwrite => true, parallel => 1)")),
        (
            "fails at once",
            format!("SELECT * FROM pgcopy.pull('{dsn}', overwrite => true, parallel => 1, wait => false)"),
        ),
        ("in the background", format!("SELECT pgcopy.start_pull('{dsn}', overwrite => true, wait => false)")),
    ] {
        scheduler
            .execute("SELECT cron.schedule_in_database($1, '* * * * *', $2, 'cron_target')", &[&name, &call])
            .unwrap();
    }
    // They run at the full minute, all together: one gets through, and who waits gets through after it.
    let runs = "SELECT concat_ws('|', j.jobname, d.status) FROM cron.job_run_details d JOIN cron.job j USING (jobid)
                WHERE d.status IN ('succeeded', 'failed') ORDER BY d.runid";
    let deadline = Instant::now() + Duration::from_secs(150);
    while texts(&mut scheduler, runs).len() < 3 {
        assert!(Instant::now() < deadline, "{:?}", texts(&mut scheduler, "SELECT d::text FROM cron.job_run_details d"));
        std::thread::sleep(Duration::from_millis(200));
    }
    scheduler.batch_execute("SELECT cron.unschedule(jobid) FROM cron.job").unwrap();
    eventually("all jobs are over", || {
        text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.jobs WHERE state = 'running'") == "0"
    });
    let runs =
        texts(&mut scheduler, "SELECT concat_ws('|', status, return_message) FROM cron.job_run_details ORDER BY runid");
    let ends = texts(&mut pair.destination, "SELECT concat_ws('|', state, error) FROM pgcopy.jobs ORDER BY job");
    assert!(ends.iter().any(|end| end == "completed"), "{runs:?} {ends:?}");
    assert!(
        ends.iter().all(|end| end == "completed" || end.contains("could not obtain the lock")),
        "{runs:?} {ends:?}"
    );
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn a_standby_shows_the_history() {
    let servers = OwnServers::start("history", Options::named("history-primary"));
    let mut pair = servers.pair("history");
    pair.both("CREATE TABLE item (id int)");
    pair.pull("");
    pair.assert_nothing_left();
    let standby = servers.destination.start_standby(Options::named("history-standby")).unwrap();
    let mut there = Client::connect(&standby.dsn("history"), NoTls).unwrap();
    assert_eq!(text(&mut there, "SELECT state FROM pgcopy.jobs"), "completed");
    assert_eq!(text(&mut there, "SELECT count(*)::text FROM pgcopy.progress"), "0");
    assert_eq!(text(&mut there, "SELECT pgcopy.wait(1)"), "completed");
}

#[test]
fn the_error_of_a_job_becomes_that_of_who_waits() {
    let mut pair =
        Pair::with("wait_raises", "CREATE TABLE item (id int, note text)", "INSERT INTO item VALUES (1, 'one')");
    pair.destination.batch_execute("ALTER TABLE item ADD CHECK (id > 5)").unwrap();
    let start = format!("SELECT pgcopy.start_pull('{}')::text", pair.dsn());
    let failing = text(&mut pair.destination, &start);
    let failure = Failure::of(
        &pair.destination.batch_execute(&format!("SELECT pgcopy.wait({failing}, raise => true)")).unwrap_err(),
    );
    assert_eq!(failure.sqlstate, "23514", "{failure:?}");
    assert!(failure.message.starts_with(&format!("job {failing} has failed: new row for relation")), "{failure:?}");
    assert!(failure.detail.contains("Table public.item, row 1"), "{failure:?}");
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({failing})")), "failed");
    pair.destination.batch_execute("ALTER TABLE item DROP CONSTRAINT item_id_check").unwrap();
    let passing = text(&mut pair.destination, &start);
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({passing}, raise => true)")), "completed");
    pair.assert_same_content();
}

/// Tables are copied long before they are ready, and what an earlier job took tells how long the same takes again.
#[test]
fn copied_tables_count_and_the_last_job_tells_how_long_this_one_takes() {
    let mut pair = Pair::with(
        "job_watched",
        "CREATE FUNCTION held(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN PERFORM pg_advisory_lock_shared(4712); PERFORM pg_advisory_unlock_shared(4712); RETURN id; END $$;
         CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE note (id int PRIMARY KEY)",
        "INSERT INTO item VALUES (1); INSERT INTO note VALUES (1)",
    );
    pair.destination.batch_execute("CREATE INDEX ON item (held(id))").unwrap();
    let dsn = pair.dsn();
    for round in [1, 2] {
        pair.destination.batch_execute("SELECT pg_advisory_lock(4712)").unwrap();
        let job = start(&mut pair.destination, &dsn, "overwrite => true, parallel => 2");
        eventually("all tables are copied, and one is ready", || {
            job_line(&mut pair.destination, job, "tables, tables_copied, tables_done") == "2|2|1"
        });
        let line = "SELECT concat_ws('|', copied, done) FROM pgcopy.progress";
        assert_eq!(text(&mut pair.destination, line), "2/2|1");
        // The first one holds for longer than all the rest takes.
        std::thread::sleep(Duration::from_millis(if round == 1 { 3000 } else { 0 }));
        // With what is left of the work, twice, as the estimate takes it.
        let predicted = "SELECT (seconds_left / ((100 - percent) / 100) ^ 2 > 2.9)::text
                         FROM pgcopy.jobs ORDER BY job DESC LIMIT 1";
        if round == 2 {
            assert_eq!(text(&mut pair.destination, predicted), "true");
        }
        pair.destination.batch_execute("SELECT pg_advisory_unlock(4712)").unwrap();
        assert_eq!(wait(&mut pair.destination, job), "completed");
        crate::harness::no_process_left(&mut pair.destination);
    }
}
