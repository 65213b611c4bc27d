//! What one role can take of what all share: background processes, and room in the history.

use crate::harness::{Failure, OwnServers, Pair, connect, eventually, text, wait_for_worker};
use postgres::{Client, Config, NoTls};
use xtask::server::Options;

/// Roles with a table each that takes minutes to load, and one that does not.
fn waiting(name: &str, workers: u32, settings: &[&str]) -> (OwnServers, Pair) {
    let mut options =
        Options::named(&format!("{name}-destination")).setting(format!("max_worker_processes = {workers}"));
    for setting in settings {
        options = options.setting(*setting);
    }
    let servers = OwnServers::start(name, options);
    let mut pair = servers.pair(name);
    pair.destination
        .batch_execute(
            "CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN true; END'",
        )
        .unwrap();
    for role in ["greedy", "modest"] {
        pair.destination
            .batch_execute(&format!(
                "CREATE ROLE {role} LOGIN; CREATE SCHEMA {role} AUTHORIZATION {role};
                 CREATE SERVER {role}_source FOREIGN DATA WRAPPER pgcopy
                     OPTIONS (host '127.0.0.1', port '{}', dbname '{name}');
                 GRANT USAGE ON FOREIGN SERVER {role}_source TO {role};
                 CREATE USER MAPPING FOR {role} SERVER {role}_source OPTIONS (user 'postgres', password_required 'false');
                 CREATE TABLE {role}.slow (id int CHECK (slowly())); ALTER TABLE {role}.slow OWNER TO {role};
                 CREATE TABLE {role}.lets_go (id int); ALTER TABLE {role}.lets_go OWNER TO {role};
                 CREATE TABLE {role}.quick (id int); ALTER TABLE {role}.quick OWNER TO {role}",
                pair.source_port
            ))
            .unwrap();
        pair.source
            .batch_execute(&format!(
                "CREATE SCHEMA {role}; CREATE TABLE {role}.quick (id int); INSERT INTO {role}.quick VALUES (1);
                 CREATE TABLE {role}.slow AS SELECT id FROM generate_series(1, 10000) id;
                 CREATE TABLE {role}.lets_go AS TABLE {role}.slow"
            ))
            .unwrap();
    }
    (servers, pair)
}

fn session_of(pair: &Pair, role: &str, options: &str) -> Client {
    let mut config = Config::new();
    config.host("127.0.0.1").port(pair.destination_port).user(role).dbname(&pair.database).options(options);
    config.connect(NoTls).unwrap()
}

fn start(client: &mut Client, role: &str, table: &str, workers: u32) -> Result<i64, Failure> {
    client
        .query_one(
            &format!(
                "SELECT pgcopy.start_pull('{role}_source', '{{{role}.{table}}}', overwrite => true, parallel => {workers})"
            ),
            &[],
        )
        .map(|row| row.get(0))
        .map_err(|error| Failure::of(&error))
}

#[test]
fn a_role_has_so_many_jobs_at_a_time() {
    let (servers, mut pair) = waiting("job_limit", 40, &["pgcopy.max_jobs_per_role = 2"]);
    let mut greedy = session_of(&pair, "greedy", "");
    let first = start(&mut greedy, "greedy", "slow", 1).unwrap();
    let second = start(&mut greedy, "greedy", "slow", 1).unwrap();
    // Neither a session of its own nor another value of the setting nor another database helps.
    for options in ["", "-c pgcopy.max_jobs_per_role=100"] {
        let mut another = session_of(&pair, "greedy", options);
        let failure = start(&mut another, "greedy", "quick", 1).unwrap_err();
        assert_eq!(failure.sqlstate, "53400", "{failure:?}");
        assert_eq!(failure.message, "too many jobs of role \"greedy\"");
        assert_eq!(failure.detail, "The role may have 2 at a time, by pgcopy.max_jobs_per_role.");
        assert!(failure.hint.contains("superuser"), "{failure:?}");
        let refused = another.batch_execute("SET pgcopy.max_jobs_per_role = 100").unwrap_err();
        assert_eq!(Failure::of(&refused).sqlstate, "42501");
    }
    servers.destination.connect("postgres").batch_execute("CREATE DATABASE elsewhere").unwrap();
    let mut elsewhere = connect(pair.destination_port, "elsewhere");
    elsewhere
        .batch_execute(
            "CREATE EXTENSION pgcopy;
             CREATE SERVER greedy_source FOREIGN DATA WRAPPER pgcopy OPTIONS (host '127.0.0.1', port '1');
             GRANT USAGE ON FOREIGN SERVER greedy_source TO greedy;
             CREATE USER MAPPING FOR greedy SERVER greedy_source OPTIONS (user 'x', password_required 'false')",
        )
        .unwrap();
    let mut config = Config::new();
    config.host("127.0.0.1").port(pair.destination_port).user("greedy").dbname("elsewhere");
    let failure = start(&mut config.connect(NoTls).unwrap(), "greedy", "quick", 1).unwrap_err();
    assert_eq!(failure.sqlstate, "53400", "{failure:?}");
    // A job cannot give up its place as long as it runs, not even where it runs code of the role's itself.
    greedy.execute("SELECT pgcopy.cancel($1)", &[&second]).unwrap();
    assert_eq!(text(&mut greedy, &format!("SELECT pgcopy.wait({second}, '60 s')")), "failed");
    pair.destination
        .batch_execute(
            "CREATE FUNCTION lets_go() RETURNS boolean LANGUAGE plpgsql
                 AS 'BEGIN PERFORM pg_advisory_unlock_all(); PERFORM pg_sleep(0.05); RETURN true; END';
             ALTER TABLE greedy.lets_go ADD CHECK (lets_go())",
        )
        .unwrap();
    let second = start(&mut greedy, "greedy", "lets_go", 0).unwrap();
    let sleeping = "SELECT count(*)::text FROM pg_stat_activity
                    WHERE backend_type = 'pgcopy' AND usename = 'greedy' AND wait_event = 'PgSleep'";
    eventually("the leader runs it, too", || text(&mut pair.destination, sleeping) == "2");
    assert_eq!(start(&mut greedy, "greedy", "quick", 1).unwrap_err().sqlstate, "53400");
    // A pull in a session goes on without background processes.
    let pulled = greedy
        .query("SELECT * FROM pgcopy.pull('greedy_source', '{greedy.quick}', parallel => 2)", &[])
        .unwrap_or_else(|error| panic!("{}", crate::harness::describe(&error)));
    assert_eq!(pulled[0].get::<_, i64>(2), 1);
    // Other roles and superusers have their own, and one that has ended makes room.
    let mut modest = session_of(&pair, "modest", "");
    let job = start(&mut modest, "modest", "quick", 1).unwrap();
    assert_eq!(text(&mut modest, &format!("SELECT pgcopy.wait({job}, '60 s')")), "completed");
    greedy.execute("SELECT pgcopy.cancel($1)", &[&first]).unwrap();
    assert_eq!(text(&mut greedy, &format!("SELECT pgcopy.wait({first}, '60 s')")), "failed");
    eventually("there is room again", || match start(&mut greedy, "greedy", "quick", 1) {
        Ok(_) => true,
        Err(failure) => {
            assert_eq!(failure.sqlstate, "53400");
            false
        }
    });
    greedy.execute("SELECT pgcopy.cancel($1)", &[&second]).unwrap();
    pair.assert_nothing_left();
}

#[test]
fn jobs_of_one_role_leave_background_processes_to_others() {
    let (_servers, mut pair) = waiting("process_limit", 8, &[]);
    // From several sessions, each with more workers than there are.
    let mut sessions: Vec<Client> = (0..4).map(|_| session_of(&pair, "greedy", "-c statement_timeout=120s")).collect();
    std::thread::scope(|scope| {
        let mut pulls = Vec::new();
        for (position, session) in sessions.iter_mut().enumerate() {
            let sql = format!(
                "SELECT * FROM pgcopy.pull('greedy_source', '{{greedy.slow{}}}', overwrite => true, parallel => 64)",
                if position == 0 { "" } else { ", greedy.quick" }
            );
            pulls.push(scope.spawn(move || session.batch_execute(&sql).map_err(|error| Failure::of(&error))));
            if position == 0 {
                wait_for_worker(&mut pair.destination, "%copying greedy.slow%");
            }
        }
        // By then all of them have taken what they can get.
        let waiting = "SELECT count(*)::text FROM pg_locks
                       WHERE relation = 'greedy.slow'::regclass AND NOT granted AND mode = 'ExclusiveLock'";
        eventually("the others wait for the first", || text(&mut pair.destination, waiting) == "3");
        let processes = "SELECT count(*)::text FROM pg_stat_activity WHERE backend_type = 'pgcopy'";
        let held: usize = text(&mut pair.destination, processes).parse().unwrap();
        assert!(held <= 6, "{held}");
        // The launcher of logical replication has one more, so one is left: a pull with a steward.
        let mut modest = session_of(&pair, "modest", "");
        let job = start(&mut modest, "modest", "quick", 1);
        let job = job.unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(text(&mut modest, &format!("SELECT pgcopy.wait({job}, '60 s')")), "completed");
        let cancel = "SELECT count(pg_cancel_backend(pid))::text FROM pg_stat_activity
                      WHERE usename = 'greedy' AND backend_type = 'client backend' AND state = 'active'";
        eventually("all pulls are cancelled", || text(&mut pair.destination, cancel) == "0");
        for pull in pulls {
            assert_eq!(pull.join().unwrap().unwrap_err().sqlstate, "57014");
        }
    });
    pair.assert_nothing_left();
}

#[test]
fn texts_in_the_history_have_bounds() {
    let mut pair = Pair::with("long_texts", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    pair.destination
        .batch_execute(
            "CREATE FUNCTION talk(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
                 $$ BEGIN RAISE EXCEPTION '%', repeat('ä', 1000000)
                    USING DETAIL = repeat('d', 1000000), HINT = repeat('h', 1000000); END $$;
             ALTER TABLE item ADD CHECK (talk(id))",
        )
        .unwrap();
    for workers in [1, 0] {
        pair.pull_error(&format!("parallel => {workers}"));
        pair.assert_nothing_left();
    }
    // A pattern of the greatest length, in the error of a job that cannot be planned.
    let dsn = pair.dsn();
    let job =
        text(&mut pair.destination, &format!("SELECT pgcopy.start_pull('{dsn}', ARRAY[repeat('x', 8192)])::text"));
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({job}, '60 s')")), "failed");
    let longest = "SELECT max(greatest(octet_length(source), octet_length(error), octet_length(detail),
                                       octet_length(hint)))::text FROM pgcopy_internal.job";
    let bytes: usize = text(&mut pair.destination, longest).parse().unwrap();
    assert!((1000..=8192).contains(&bytes), "{bytes}");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.jobs WHERE error LIKE '%…'"), "3");
}

#[test]
fn what_tasks_are_called_is_bounded_as_well() {
    let mut pair = Pair::new("long_tasks");
    pair.both("CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int)");
    pair.source.batch_execute("INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1)").unwrap();
    pair.destination
        .batch_execute(
            "DO $$ BEGIN FOR i IN 1..200 LOOP
                 EXECUTE format('ALTER TABLE child ADD CONSTRAINT %I FOREIGN KEY (id) REFERENCES parent',
                                i || chr(27) || repeat('k', 55));
             END LOOP; END $$",
        )
        .unwrap();
    pair.pull("parallel => 1");
    pair.assert_nothing_left();
    let longest = "SELECT max(octet_length(task))::text FROM pgcopy.job_tasks WHERE task LIKE 'checking%'";
    let bytes: usize = text(&mut pair.destination, longest).parse().unwrap();
    assert!((100..=8192).contains(&bytes), "{bytes}");
    let raw = "SELECT count(*)::text FROM pgcopy.job_tasks WHERE task ~ '[[:cntrl:]]'";
    assert_eq!(text(&mut pair.destination, raw), "0");
}

#[test]
fn a_roles_history_is_bounded() {
    let mut pair = Pair::with("history_limit", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    pair.destination.batch_execute("ALTER DATABASE history_limit SET pgcopy.history_limit = 3").unwrap();
    let dsn = pair.dsn();
    for round in 0..6 {
        if round % 2 == 0 {
            pair.pull("overwrite => true, parallel => 1");
        } else {
            let sql = format!("SELECT pgcopy.start_pull('{dsn}', '{{nothing}}')::text");
            let job = text(&mut pair.destination, &sql);
            assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({job}, '60 s')")), "failed");
        }
        pair.assert_nothing_left();
    }
    assert_eq!(
        text(&mut pair.destination, "SELECT string_agg(job || ' ' || state, ', ' ORDER BY job) FROM pgcopy.jobs"),
        "4 failed, 5 completed, 6 failed"
    );
    assert_eq!(
        text(&mut pair.destination, "SELECT string_agg(DISTINCT job::text, ',') FROM pgcopy_internal.job_task"),
        "5"
    );
    // Other roles' are counted for themselves.
    pair.destination.batch_execute("UPDATE pgcopy_internal.job SET role = 'pg_monitor' WHERE job = 4").unwrap();
    pair.pull("overwrite => true, parallel => 1");
    pair.assert_nothing_left();
    assert_eq!(
        text(&mut pair.destination, "SELECT string_agg(job::text, ',' ORDER BY job) FROM pgcopy.jobs"),
        "4,5,6,7"
    );
}
