//! Sources that misbehave, and destinations where others are at work. `docs/faults.md` lists every fault with its test.

use crate::harness::disk::SmallDisk;
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::{Failure, OwnServers, Pair, State, describe, eventually, task_begins, text};
use postgres::{Client, NoTls};
use std::process::Command;
use xtask::server::{self, Options, Server};

const SCHEMA: &str = "
    CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN true; END';
    CREATE FUNCTION slow_key(int) RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_sleep(0.002); RETURN $1; END';
    CREATE TABLE item (id serial PRIMARY KEY, name text, big text);
    CREATE TABLE note (id int PRIMARY KEY, item int REFERENCES item);
";
const ROWS: &str = "
    INSERT INTO item (name, big) SELECT 'new ' || i, repeat(md5(i::text), 400) FROM generate_series(1, 1500) i;
    INSERT INTO note SELECT i, i FROM generate_series(1, 1500) i;
    ANALYZE;
";
const OLD_ROWS: &str = "
    INSERT INTO item (name, big) SELECT 'old', repeat('x', 5000) FROM generate_series(1, 20) i;
    INSERT INTO note SELECT i, i FROM generate_series(1, 20) i;
    ANALYZE;
";

fn fill(pair: &mut Pair) -> State {
    pair.both(SCHEMA);
    pair.source.batch_execute(ROWS).unwrap();
    pair.destination.batch_execute(OLD_ROWS).unwrap();
    pair.destination_state()
}

fn pair(name: &str) -> (Pair, State) {
    let mut pair = Pair::new(name);
    let before = fill(&mut pair);
    (pair, before)
}

/// Makes a phase last for seconds: rows, one index, and its statistics.
fn slow_down(pair: &mut Pair) {
    pair.destination
        .batch_execute(
            "ALTER TABLE item ADD CONSTRAINT slow CHECK (slowly()); CREATE INDEX slow_index ON note (slow_key(id)); ANALYZE",
        )
        .unwrap();
}

fn failure(error: &postgres::Error) -> Failure {
    match error.as_db_error() {
        Some(_) => Failure::of(error),
        None => Failure {
            sqlstate: "closed".into(),
            message: error.to_string(),
            detail: String::new(),
            hint: String::new(),
        },
    }
}

/// Nothing has changed, nothing is left, and the next pull succeeds.
fn unharmed(pair: &mut Pair, before: &State) {
    assert_eq!(&pair.destination_state(), before);
    pair.assert_nothing_left();
    pair.pull("overwrite => true, parallel => 2");
    pair.assert_same_content();
    pair.assert_nothing_left();
}

/// Pulls through a proxy that does `mode` when a connection has brought so many bytes.
fn disturbed(name: &str, mode: Mode, settings: &str) {
    // In the middle of the rows, and before the first answer.
    for (position, after_bytes) in [150_000, 0].into_iter().enumerate() {
        for workers in [2, 0] {
            let (mut pair, before) = pair(&format!("{name}_{position}_{workers}"));
            let proxy = Proxy::start(pair.source_port);
            proxy.disturb(mode, after_bytes);
            let mut session = pair.another_destination_session();
            session.batch_execute(settings).unwrap();
            let dsn = proxy.dsn(&pair.database);
            let sql = format!(
                "SELECT * FROM pgcopy.pull('{dsn} connect_timeout=2', overwrite => true, parallel => {workers})"
            );
            let failure = failure(&session.query(&sql, &[]).unwrap_err());
            assert!(proxy.hit() > 0);
            assert!(["08", "XX", "22", "54"].contains(&&failure.sqlstate[..2]), "{mode:?}: {failure:?}");
            drop(proxy);
            unharmed(&mut pair, &before);
        }
    }
}

#[test]
fn the_connection_is_reset() {
    disturbed("fault_reset", Mode::Reset, "");
}

#[test]
fn the_connection_is_closed_in_the_middle() {
    disturbed("fault_close", Mode::Close, "");
}

#[test]
fn the_source_sends_garbage() {
    disturbed("fault_garbage", Mode::Garbage, "");
}

#[test]
fn the_source_is_silent() {
    disturbed("fault_silent", Mode::Silent, "LOAD '$libdir/pgcopy'; SET pgcopy.source_timeout = '1s'");
}

/// An address of this machine until its route is taken away.
struct Route(&'static str);

impl Route {
    fn add(address: &'static str) -> Self {
        let route = Self(address);
        // Of a run that was killed.
        route.remove();
        ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"]);
        route
    }

    fn blackhole(&self) {
        ip(&["addr", "del", &format!("{}/32", self.0), "dev", "lo"]);
        ip(&["route", "add", "blackhole", &format!("{}/32", self.0)]);
    }

    fn remove(&self) {
        let quietly = |arguments: &[&str]| Command::new("ip").args(arguments).output();
        let _ = quietly(&["addr", "del", &format!("{}/32", self.0), "dev", "lo"]);
        let _ = quietly(&["route", "del", "blackhole", &format!("{}/32", self.0)]);
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.remove();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output();
    assert!(
        output.as_ref().is_ok_and(|output| output.status.success()),
        "this test changes a route and needs root: {output:?}"
    );
}

/// A pull over a route that `lose` takes away when it has seen what it waits for.
fn pull_into_a_black_hole(pair: &Pair, address: &'static str, workers: usize, lose: impl FnOnce(&mut Client, &Route)) {
    let route = Route::add(address);
    let proxy = Proxy::at(address, pair.source_port);
    let sql = format!(
        "SELECT * FROM pgcopy.pull('{} keepalives_idle=1 keepalives_interval=1 keepalives_count=2',
                                   overwrite => true, parallel => {workers})",
        proxy.dsn(&pair.database)
    );
    let mut session = pair.another_destination_session();
    let mut watcher = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(move || failure(&session.query(&sql, &[]).unwrap_err()));
        lose(&mut watcher, &route);
        let failure = pull.join().unwrap();
        assert!(failure.sqlstate.starts_with("08"), "{failure:?}");
    });
}

#[test]
fn the_route_to_the_source_is_a_black_hole() {
    let (mut pair, before) = pair("fault_blackhole");
    slow_down(&mut pair);
    let before = State { ..before };
    let slow = pair.destination_state();
    pull_into_a_black_hole(&pair, "10.77.77.77", 2, |watcher, route| {
        eventually("rows arrive", || phase(watcher) == "copying");
        route.blackhole();
    });
    assert_eq!(before.rows, slow.rows);
    unharmed(&mut pair, &slow);
}

/// No keepalives are sent while something waits to be acknowledged.
#[test]
fn the_route_is_a_black_hole_for_the_next_question() {
    let mut pair = Pair::new("fault_question");
    pair.both(
        "CREATE FUNCTION unlocked() RETURNS boolean LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN true; END';
         CREATE TABLE one (id int CHECK (unlocked()));
         CREATE TABLE two (id int CHECK (unlocked()));",
    );
    for table in ["one", "two"] {
        // Of many pages and few rows: each is asked for by itself, and arrives at once.
        pair.source.batch_execute(&format!("INSERT INTO {table} SELECT generate_series(1, 30000)")).unwrap();
        pair.source.batch_execute(&format!("DELETE FROM {table} WHERE id BETWEEN 2 AND 29999")).unwrap();
        pair.source.batch_execute(&format!("VACUUM {table}")).unwrap();
        pair.destination.batch_execute(&format!("INSERT INTO {table} VALUES (0)")).unwrap();
    }
    let before = pair.destination_state();
    let mut holder = pair.another_destination_session();
    holder.batch_execute("SELECT pg_advisory_lock(77)").unwrap();
    pull_into_a_black_hole(&pair, "10.77.77.78", 1, |watcher, route| {
        let waits = "SELECT count(*)::text FROM pg_stat_activity
                      WHERE datname = current_database() AND wait_event = 'advisory'";
        eventually("a row waits for the lock", || text(watcher, waits) == "1");
        route.blackhole();
        holder.batch_execute("SELECT pg_advisory_unlock(77)").unwrap();
    });
    unharmed(&mut pair, &before);
}

#[test]
fn the_source_restarts_or_is_killed() {
    for signal in ["INT", "KILL"] {
        let mut servers =
            OwnServers::start(&format!("gone-{signal}"), Options::named(&format!("gone-{signal}-destination")));
        let mut pair = servers.pair("gone");
        fill(&mut pair);
        slow_down(&mut pair);
        // More than the buffers between the two hold.
        pair.source
            .batch_execute(
                "INSERT INTO item (name, big) SELECT 'n', repeat(md5(i::text), 1000) FROM generate_series(1, 3000) i",
            )
            .unwrap();
        let before = pair.destination_state();
        let sql = pair.pull_sql("overwrite => true, parallel => 2");
        let mut session = pair.another_destination_session();
        let mut watcher = pair.another_destination_session();
        std::thread::scope(|scope| {
            let pull = scope.spawn(move || failure(&session.query(&sql, &[]).unwrap_err()));
            eventually("rows arrive", || phase(&mut watcher) == "copying");
            if signal == "INT" {
                servers.source.restart().unwrap();
            } else {
                // One backend is enough: the server ends them all.
                let victim = "SELECT pid::text FROM pg_stat_activity
                              WHERE application_name = 'pgcopy' AND query LIKE '%COPY%public.%' AND state = 'active' LIMIT 1";
                let mut pid = String::new();
                eventually("the source sends", || {
                    pid = text(&mut pair.source, victim);
                    !pid.is_empty()
                });
                assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
            }
            let failure = pull.join().unwrap();
            assert!(["08", "57"].contains(&&failure.sqlstate[..2]), "{signal}: {failure:?}");
        });
        eventually("the source is back", || servers.source.try_connect("gone").is_ok());
        pair.source = servers.source.connect("gone");
        pair.destination.batch_execute("ALTER TABLE item DROP CONSTRAINT slow").unwrap();
        let without = pair.destination_state();
        assert_eq!((&before.rows, &before.sequences), (&without.rows, &without.sequences));
        unharmed(&mut pair, &without);
    }
}

#[test]
fn the_source_runs_out_of_disk() {
    let disk = SmallDisk::mount("400m");
    let mut options = Options::named("full-source");
    options.data_parent = Some(disk.path().to_owned());
    let servers = OwnServers {
        source: Server::start(&crate::harness::installation(), options).unwrap(),
        destination: Server::start(&crate::harness::installation(), Options::named("full-destination")).unwrap(),
    };
    let mut pair = servers.pair("full_source");
    let before = fill(&mut pair);
    // Otherwise the next connection would have to write the server's cache files first.
    drop(pair.another_source_session());
    let ballast = disk.fill();
    let failure = failure(&pair.try_pull("overwrite => true, parallel => 2").unwrap_err());
    assert_eq!(failure.sqlstate, "53100", "{failure:?}");
    assert!(failure.message.starts_with("the source reports: "), "{failure:?}");
    std::fs::remove_file(ballast).unwrap();
    unharmed(&mut pair, &before);
    drop(servers);
}

#[test]
fn the_disk_of_an_index_is_full() {
    let disk = SmallDisk::mount("20m");
    let directory = server::new_directory(Some(disk.path()), "tablespace").unwrap();
    let servers = OwnServers::start("index-disk", Options::named("index-disk-destination"));
    let mut pair = servers.pair("index_disk");
    fill(&mut pair);
    pair.destination.batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", directory.display())).unwrap();
    // One index of the server's own making, and one of ours.
    for index in ["CREATE INDEX small_index ON item ((name || id))", "CREATE INDEX small_index ON item (id, id, id)"] {
        pair.destination.batch_execute(&format!("{index} TABLESPACE small")).unwrap();
        let before = pair.destination_state();
        let ballast = disk.fill();
        pair.source
            .batch_execute("TRUNCATE note, item; INSERT INTO item (name) SELECT i FROM generate_series(1, 100000) i")
            .unwrap();
        for workers in [2, 0] {
            let arguments = format!("overwrite => true, parallel => {workers}");
            let failure = failure(&pair.try_pull(&arguments).unwrap_err());
            assert_eq!(failure.sqlstate, "53100", "{failure:?}");
            assert!(failure.detail.contains("Table public.item."), "{failure:?}");
            assert_eq!(pair.destination_state(), before);
            pair.assert_nothing_left();
        }
        std::fs::remove_file(ballast).unwrap();
        unharmed(&mut pair, &before);
        pair.destination.batch_execute("DROP INDEX small_index").unwrap();
    }
}

#[test]
fn the_disk_of_the_log_is_full() {
    let disk = SmallDisk::mount("300m");
    // Checkpoints would make room otherwise.
    let options = Options::named("wal-disk-destination").setting("max_wal_size = 200MB").setting("wal_keep_size = 4GB");
    let mut servers = OwnServers::start("wal-disk", options);
    let mut pair = servers.pair("wal_disk");
    fill(&mut pair);
    pair.both("ALTER TABLE item ALTER big SET STORAGE EXTERNAL");
    let before = pair.destination_state();
    pair.source
        .batch_execute(
            "INSERT INTO item (name, big) SELECT 'n', repeat(md5(i::text), 800) FROM generate_series(1, 20000) i",
        )
        .unwrap();
    servers.destination.stop("INT").unwrap();
    let (wal, elsewhere) = (servers.destination.data().join("pg_wal"), disk.path().join("pg_wal"));
    assert!(Command::new("cp").arg("-a").args([&wal, &elsewhere]).status().unwrap().success());
    std::fs::remove_dir_all(&wal).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &wal).unwrap();
    // The server's user must get there.
    assert!(Command::new("chmod").arg("755").arg(disk.path()).status().unwrap().success());
    servers.destination.restart().unwrap();
    pair.destination = servers.destination.connect("wal_disk");
    let ballast = disk.fill();
    // The server cannot go on without its log, and restarts when there is room again.
    let error = pair.try_pull("overwrite => true, parallel => 2").unwrap_err();
    assert!(["closed", "53100", "57P02"].contains(&failure(&error).sqlstate.as_str()), "{}", describe(&error));
    std::fs::remove_file(ballast).unwrap();
    servers.destination.stop("QUIT").unwrap();
    servers.destination.restart().unwrap();
    pair.destination = servers.destination.connect("wal_disk");
    text(&mut pair.destination, "SELECT pgcopy.cleanup()::text");
    pair.source.batch_execute("DELETE FROM item WHERE name = 'n'").unwrap();
    unharmed(&mut pair, &before);
    drop(servers);
}

fn phase(client: &mut Client) -> String {
    text(client, "SELECT coalesce(max(phase), '') FROM pgcopy.jobs WHERE state = 'running'")
}

/// Sessions that wait for a lock, by what they do.
fn waiting(client: &mut Client) -> usize {
    let sql = "SELECT count(*)::text FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_type = 'client backend'";
    text(client, sql).parse().unwrap()
}

#[test]
fn others_change_targets_in_every_phase() {
    for wanted in ["copying", "indexing", "checking", "swapping", "swapped"] {
        let (mut pair, _) = pair(&format!("fault_ddl_{wanted}"));
        pair.both(
            "CREATE TABLE dropped (id int); CREATE TABLE altered (id int); CREATE TABLE vacuumed (id int);
                   CREATE TABLE indexed (id int); CREATE TABLE truncated (id int)",
        );
        pair.source
            .batch_execute(
                "INSERT INTO dropped VALUES (2); INSERT INTO altered VALUES (2); INSERT INTO vacuumed VALUES (2);
                 INSERT INTO indexed SELECT generate_series(1, 1000); INSERT INTO truncated VALUES (2)",
            )
            .unwrap();
        slow_down(&mut pair);
        let sql = pair.pull_sql("overwrite => true, parallel => 1");
        let mut watcher = pair.another_destination_session();
        let mut reader = pair.another_destination_session();
        // A reader holds the swap up.
        if wanted == "swapping" {
            reader.batch_execute("BEGIN; SELECT FROM note").unwrap();
        }
        let mut puller = pair.another_destination_session();
        let commands = [
            "DROP TABLE dropped",
            "ALTER TABLE altered ADD COLUMN extra int",
            "VACUUM FULL vacuumed",
            "CREATE INDEX CONCURRENTLY indexed_by_others ON indexed (id)",
            "TRUNCATE truncated",
        ];
        let sessions: Vec<Client> = commands.iter().map(|_| pair.another_destination_session()).collect();
        std::thread::scope(|scope| {
            let pull = scope.spawn(move || {
                puller.batch_execute("BEGIN").unwrap();
                puller.query(&sql, &[]).unwrap_or_else(|error| panic!("{wanted}: {}", describe(&error)));
                puller
            });
            match wanted {
                "copying" => task_begins(&mut watcher, "copying public.item"),
                "indexing" => task_begins(&mut watcher, "building index slow_index of public.note"),
                "checking" => task_begins(&mut watcher, "analyzing public.note"),
                _ => eventually(wanted, || phase(&mut watcher) == wanted),
            }
            let others: Vec<_> = commands
                .iter()
                .zip(sessions)
                .map(|(command, mut session)| scope.spawn(move || session.batch_execute(command)))
                .collect();
            // The one who waits for a reader waits too.
            let expected = commands.len() + usize::from(wanted == "swapping");
            eventually("all of them wait", || waiting(&mut watcher) == expected);
            assert_eq!(text(&mut watcher, "SELECT pgcopy.cleanup()::text"), "0");
            reader.batch_execute("COMMIT").unwrap();
            let mut puller = pull.join().unwrap();
            puller.batch_execute("COMMIT").unwrap();
            for (other, command) in others.into_iter().zip(commands) {
                other.join().unwrap().unwrap_or_else(|error| panic!("{wanted}: {command}: {}", describe(&error)));
            }
        });
        let after = "SELECT concat_ws(' ', to_regclass('dropped') IS NULL, (SELECT count(extra) || '/' || min(id) FROM altered),
                                      (SELECT min(id) FROM vacuumed), (SELECT count(*) FROM truncated),
                                      (SELECT indisvalid FROM pg_index WHERE indexrelid = 'indexed_by_others'::regclass))";
        assert_eq!(text(&mut pair.destination, after), "t 0/2 2 0 t", "{wanted}");
        pair.destination.batch_execute("SET enable_seqscan = off").unwrap();
        assert_eq!(
            text(&mut pair.destination, "SELECT count(*)::text FROM indexed WHERE id BETWEEN 1 AND 1000"),
            "1000"
        );
        pair.source
            .batch_execute("DROP TABLE dropped; ALTER TABLE altered ADD COLUMN extra int; TRUNCATE truncated")
            .unwrap();
        pair.assert_same_content();
        pair.assert_nothing_left();
    }
}

#[test]
fn nobody_sees_a_stage_table_that_is_being_written() {
    let (mut pair, _) = pair("fault_vacuum");
    slow_down(&mut pair);
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let mut session = pair.another_destination_session();
    let mut watcher = pair.another_destination_session();
    let mut vacuum = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(move || session.query(&sql, &[]).map(|rows| rows.len()));
        task_begins(&mut watcher, "copying public.item");
        let is_written = "SELECT count(*)::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                          WHERE c.relname LIKE 'job%\\_' || 'item'::regclass::oid AND l.mode = 'AccessExclusiveLock'";
        eventually("its stage table is written", || text(&mut watcher, is_written) != "0");
        let stage = "SELECT oid::regclass::text FROM pg_class WHERE relname LIKE 'job%\\_' || 'item'::regclass::oid";
        let lock = format!("BEGIN; LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT", text(&mut watcher, stage));
        assert_eq!(failure(&watcher.batch_execute(&lock).unwrap_err()).sqlstate, "55P03");
        watcher.batch_execute("ROLLBACK").unwrap();
        // A VACUUM of everything waits for its turn, and does no harm.
        let vacuumed = scope.spawn(move || vacuum.batch_execute("VACUUM"));
        assert_eq!(pull.join().unwrap().unwrap(), 2);
        vacuumed.join().unwrap().unwrap();
    });
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn the_extension_is_dropped_during_a_pull() {
    let (mut pair, _) = pair("fault_extension");
    slow_down(&mut pair);
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let mut watcher = pair.another_destination_session();
    let mut other = pair.another_destination_session();
    let mut session = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(move || session.query(&sql, &[]).map(|rows| rows.len()));
        eventually("rows arrive", || phase(&mut watcher) == "copying");
        let drop = scope.spawn(move || other.batch_execute("DROP EXTENSION pgcopy"));
        eventually("it waits", || waiting(&mut watcher) == 1);
        assert_eq!(pull.join().unwrap().unwrap(), 2);
        drop.join().unwrap().unwrap();
    });
    pair.assert_same_content();
    let left = "SELECT count(*)::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname LIKE 'pgcopy%'";
    assert_eq!(text(&mut pair.destination, left), "0");
    pair.destination.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    pair.pull("overwrite => true, parallel => 2");
    pair.assert_nothing_left();
}

#[test]
fn the_callers_connection_breaks() {
    let (mut pair, before) = pair("fault_caller");
    slow_down(&mut pair);
    let proxy = Proxy::start(pair.destination_port);
    let mut session = Client::connect(&proxy.dsn(&pair.database), NoTls).unwrap();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let mut watcher = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(move || session.query(&sql, &[]).map(|_| ()));
        eventually("rows arrive", || phase(&mut watcher) == "copying");
        drop(proxy);
        assert!(pull.join().unwrap().is_err());
    });
    pair.assert_nothing_left();
    let ended = text(&mut pair.destination, "SELECT concat_ws('|', state, error) FROM pgcopy.jobs");
    assert_eq!(ended, "failed|the calling session was terminated");
    assert_eq!(pair.destination_state().rows, before.rows);
}

#[test]
fn others_hold_targets_for_long() {
    let (mut pair, before) = pair("fault_holders");
    // A prepared transaction that wrote.
    pair.destination
        .batch_execute(
            "BEGIN; INSERT INTO note VALUES (777, 1); PREPARE TRANSACTION 'holder'; SET lock_timeout = '300ms'",
        )
        .unwrap();
    for workers in [2, 0] {
        let failure = pair.pull_error(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(
            (failure.sqlstate.as_str(), failure.detail.as_str()),
            ("55P03", "It is in use by:\na prepared transaction")
        );
        assert!(failure.message.starts_with("could not obtain the lock on table public."), "{failure:?}");
        pair.assert_nothing_left();
    }
    let failure = pair.pull_error("overwrite => true, wait => false");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.detail.as_str()),
        ("55P03", "It is locked by a prepared transaction.")
    );
    pair.destination.batch_execute("ROLLBACK PREPARED 'holder'").unwrap();
    pair.destination.batch_execute("RESET lock_timeout").unwrap();
    assert_eq!(pair.destination_state(), before);
    // An open cursor of somebody else keeps reading the old rows; the swap waits for it, or gives up.
    let mut reader = pair.another_destination_session();
    reader.batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT * FROM item; FETCH 1 FROM c").unwrap();
    pair.destination.batch_execute("SET lock_timeout = '300ms'").unwrap();
    assert_eq!(pair.pull_error("overwrite => true, parallel => 2").sqlstate, "55P03");
    pair.destination.batch_execute("RESET lock_timeout").unwrap();
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let mut session = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(move || session.query(&sql, &[]).map(|rows| rows.len()));
        eventually("the swap waits", || phase(&mut pair.destination) == "swapping");
        assert_eq!(reader.query("FETCH ALL FROM c", &[]).unwrap().len(), 19);
        reader.batch_execute("COMMIT").unwrap();
        assert_eq!(pull.join().unwrap().unwrap(), 2);
    });
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn a_deadlock_with_an_application_is_found() {
    let (mut pair, before) = pair("fault_deadlock");
    // The caller's transaction keeps something that the application wants, which keeps a target.
    let mut application = pair.another_destination_session();
    application
        .batch_execute("SET deadlock_timeout = '100ms'; BEGIN; UPDATE note SET item = item WHERE id = 1")
        .unwrap();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let mut session = pair.another_destination_session();
    session.batch_execute("SET deadlock_timeout = '10s'; BEGIN; SELECT pg_advisory_xact_lock(1)").unwrap();
    let (pulled, written) = std::thread::scope(|scope| {
        let pull = scope.spawn(move || {
            let pulled = session.query(&sql, &[]).map(|_| ()).map_err(|error| failure(&error));
            session.batch_execute("COMMIT").map(|()| pulled).unwrap()
        });
        eventually("the pull waits", || waiting(&mut pair.destination) == 1);
        let written = application.batch_execute("SELECT pg_advisory_xact_lock(1); COMMIT");
        (pull.join().unwrap(), written)
    });
    // Whoever finds it gives way; the other goes on.
    assert!(pulled.is_ok() != written.is_ok(), "{pulled:?} {written:?}");
    let found = pulled.clone().err().or_else(|| written.err().map(|error| failure(&error))).unwrap();
    assert_eq!(found.sqlstate, "40P01");
    if pulled.is_ok() {
        pair.assert_same_content();
    } else {
        assert_eq!(pair.destination_state().rows, before.rows);
    }
    pair.assert_nothing_left();
}

#[test]
fn clean_up_leaves_running_jobs_alone() {
    let (mut pair, _) = pair("fault_cleanup");
    slow_down(&mut pair);
    let mut other = pair.another_destination_session();
    let sql = pair.pull_sql("overwrite => true, parallel => 2");
    let mut session = pair.another_destination_session();
    std::thread::scope(|scope| {
        let pull = scope.spawn(move || {
            session.batch_execute("BEGIN").unwrap();
            session.query(&sql, &[]).unwrap();
            session
        });
        // All the time, and another pull does the same first.
        while !pull.is_finished() {
            assert_eq!(text(&mut other, "SELECT pgcopy.cleanup()::text"), "0");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let mut session = pull.join().unwrap();
        pair.both("CREATE TABLE IF NOT EXISTS other (id int)");
        pair.pull("include => '{other}'");
        assert_eq!(text(&mut other, "SELECT pgcopy.cleanup()::text"), "0");
        session.batch_execute("COMMIT").unwrap();
    });
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn a_change_of_definition_on_the_source_does_not_hang_the_pull() {
    let (mut pair, _) = pair("fault_source_change");
    for workers in [0, 2] {
        for gives_up in [true, false] {
            // The snapshot and its locks are there, and no worker has begun.
            let mut holder = pair.another_destination_session();
            holder.batch_execute("BEGIN; LOCK TABLE item IN ROW EXCLUSIVE MODE").unwrap();
            let sql = pair.pull_sql(&format!("overwrite => true, parallel => {workers}"));
            let mut session = pair.another_destination_session();
            session.batch_execute("SET pgcopy.retry_timeout = '3s'; SET statement_timeout = '60s'").unwrap();
            let mut changer = pair.another_source_session();
            let result = std::thread::scope(|scope| {
                let pull = scope.spawn(|| session.batch_execute(&sql).map_err(|error| failure(&error)));
                eventually("the pull waits", || waiting(&mut pair.destination) == 1);
                let change = scope.spawn(move || {
                    let timeout = if gives_up { "1s" } else { "60s" };
                    changer
                        .batch_execute(&format!("SET lock_timeout = '{timeout}'; BEGIN; LOCK TABLE item; COMMIT"))
                        .is_ok()
                });
                eventually("the change waits", || {
                    text(
                        &mut pair.source,
                        "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'item'::regclass",
                    ) == "1"
                });
                holder.batch_execute("COMMIT").unwrap();
                let result = pull.join().unwrap();
                assert_eq!(change.join().unwrap(), !gives_up, "the change is made once the pull has ended");
                result
            });
            if gives_up {
                result.unwrap();
                pair.assert_same_content();
            } else {
                let failure = result.unwrap_err();
                assert_eq!(failure.sqlstate, "55P03", "{failure:?}");
                assert!(failure.message.contains("item"), "{failure:?}");
            }
            pair.assert_nothing_left();
        }
    }
}

/// No deadlock detector sees a circle of locks through two servers.
#[test]
fn a_second_pull_of_a_transaction_does_not_wait_on_the_source_for_a_pull_that_waits_for_it() {
    let (mut pair, _) = pair("fault_circle");
    pair.both("CREATE TABLE other (id int PRIMARY KEY)");
    pair.source.batch_execute("INSERT INTO other SELECT generate_series(1, 10)").unwrap();
    for workers in [2, 0] {
        let mut first = pair.another_destination_session();
        let sql = |pair: &Pair, tables: &str| {
            pair.pull_sql(&format!("include => '{tables}', overwrite => true, parallel => {workers}"))
        };
        first.batch_execute("SET pgcopy.source_timeout = '30s'").unwrap();
        first.batch_execute(&format!("BEGIN; {}", sql(&pair, "{item}"))).unwrap();
        let mut second = pair.another_destination_session();
        let both = sql(&pair, "{item, note, other}");
        let again = sql(&pair, "{other}");
        let mut changer = pair.another_source_session();
        std::thread::scope(|scope| {
            let pull = scope.spawn(move || second.batch_execute(&both));
            eventually("the second pull waits for the first", || waiting(&mut pair.destination) == 1);
            let change = scope.spawn(move || changer.batch_execute("ALTER TABLE other ADD CHECK (id > -1)"));
            eventually("the change waits for the second pull", || {
                text(
                    &mut pair.source,
                    "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'other'::regclass",
                ) == "1"
            });
            let failure = failure(&first.batch_execute(&again).unwrap_err());
            assert_eq!(failure.sqlstate, "40P01", "{failure:?}");
            assert_eq!(
                failure.message,
                "the pull waits for a lock on the source while another pull waits for this transaction"
            );
            // The second pull gives way to the change as long as that waits.
            text(
                &mut pair.source,
                "SELECT pg_cancel_backend(pid)::text FROM pg_locks WHERE relation = 'other'::regclass AND NOT granted",
            );
            change.join().unwrap().unwrap_err();
            first.batch_execute("ROLLBACK").unwrap();
            pull.join().unwrap().unwrap();
        });
        pair.assert_same_content();
        pair.assert_nothing_left();
    }
}
