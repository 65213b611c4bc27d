//! Random histories: several sessions pull, load, write, read and change definitions at once, in every isolation level and
//! kind of transaction, while the source changes, too. In the long histories processes are also cancelled and terminated,
//! and settings of roles and databases change. A model knows which rows every table must hold; when all sessions pause,
//! the tables are compared with the model, and pages, indexes, catalogs and constraints are checked.
//!
//! A seed chooses what each session does. Which of two sessions is faster depends on the machine, so that a seed repeats the
//! operations, not their order. `cargo xtask soak` runs the long histories: `PGCOPY_TEST_SEED` is their seed,
//! `PGCOPY_SOAK_SECONDS` their length, `PGCOPY_SOAK_SESSIONS` the number of sessions.

mod checks;
mod model;
mod sessions;
mod source;
mod tables;

use crate::harness::{OwnServers, Random, connect, describe, number, text, texts};
use model::{Event, Model, Rows};
use postgres::Client;
use sessions::{File, Session};
use source::{Versions, Writer};
use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tables::{Class, TABLES};
use xtask::server::{Options, ScratchDirectory, dsn};

const DATABASE: &str = "soak";

/// An operation that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// The number of operations of each session in a round, at whose end everything is checked.
const OPERATIONS: u64 = 12;

/// The number of lines of the history that a failure shows.
const SHOWN: usize = 200;

/// Settings that databases and roles are given: the processes of a job begin with them, too.
const SETTINGS: &[&str] = &[
    "SET default_transaction_isolation = 'read committed'",
    "SET default_transaction_isolation = 'repeatable read'",
    "SET default_transaction_isolation = 'serializable'",
    "SET default_transaction_read_only = on",
    "SET default_transaction_deferrable = on",
    "SET statement_timeout = '30ms'",
    "SET lock_timeout = '5ms'",
    "SET idle_in_transaction_session_timeout = '20ms'",
    "SET session_replication_role = replica",
    "SET enable_seqscan = off",
    "SET DateStyle = 'German'",
    "RESET ALL",
    "RESET ALL",
];

/// The beginning of the error of a pull that gives way to a change of definition that waits for it on the source.
const SOURCE_IS_LOCKED: &str = "the source reports: could not obtain lock";

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One pull or load, without a transaction block.
    Pull,
    /// One INSERT, UPDATE or DELETE, without a transaction block.
    Write,
    Definition,
    Transaction,
    Background,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Doing {
    kind: Kind,
    since: Instant,
}

/// The state that all sessions share.
struct Shared {
    started: Instant,
    /// Whether processes are cancelled and terminated, and settings changed.
    is_disturbed: bool,
    port: u16,
    source_port: u16,
    database: String,
    /// The OIDs of `TABLES` at the beginning of the round; in a round in which names change, tables exchange theirs.
    oids: Mutex<Vec<u32>>,
    /// The OID of the partitioned table.
    partitioned: u32,
    files: Vec<File>,
    round: AtomicU64,
    is_round_over: AtomicBool,
    /// The newest version that the source has committed.
    source_version: AtomicI64,
    versions: Mutex<Versions>,
    model: Mutex<Model>,
    failure: Mutex<Option<String>>,
    notes: Mutex<HashMap<String, Vec<(Duration, String)>>>,
    doing: Mutex<HashMap<String, Doing>>,
    pids: Mutex<HashMap<i32, String>>,
    last_kill: Mutex<Option<Instant>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The failure of one session does not keep the others from reporting theirs.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    fn note(&self, who: &str, what: &str) {
        let words = what.split_whitespace().collect::<Vec<_>>().join(" ");
        lock(&self.notes).entry(who.to_owned()).or_default().push((self.started.elapsed(), words));
    }

    /// Notes a failure, of which the first is reported, and makes all sessions stop.
    fn fail(&self, what: &str) {
        self.note("failures", what);
        lock(&self.failure).get_or_insert_with(|| format!("{:.3} {what}", self.started.elapsed().as_secs_f64()));
    }

    /// Runs a part of the history in which a failed assertion is a failure like any other.
    fn catch(&self, who: &str, body: impl FnOnce()) {
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            self.fail(&format!("{who} panicked: {words}"));
        }
    }

    fn goes_on(&self) -> bool {
        lock(&self.failure).is_none()
    }

    fn does(&self, who: &str, kind: Kind) {
        self.count(&format!("{kind:?}"));
        lock(&self.doing).insert(who.to_owned(), Doing { kind, since: Instant::now() });
    }

    fn is_idle(&self, who: &str) {
        lock(&self.doing).remove(who);
    }

    fn has_session(&self, who: &str, pid: i32) {
        lock(&self.pids).insert(pid, who.to_owned());
    }

    fn kills(&self) {
        *lock(&self.last_kill) = Some(Instant::now());
    }

    fn count(&self, what: &str) {
        *lock(&self.counts).entry(what.to_owned()).or_default() += 1;
    }

    /// Whether tables are renamed in this round. In the other rounds background jobs pull these tables.
    fn names_change(&self) -> bool {
        self.round.load(Ordering::SeqCst).is_multiple_of(2)
    }

    fn oid(&self, table: usize) -> u32 {
        lock(&self.oids)[table]
    }

    fn is_uncertain(&self, table: usize) {
        let oids = lock(&self.oids).clone();
        let same_class = |other: usize| TABLES[other].class == Class::Inbox && TABLES[table].class == Class::Inbox;
        for other in (0..TABLES.len()).filter(|other| *other == table || same_class(*other)) {
            lock(&self.model).is_uncertain(oids[other]);
        }
    }

    fn source_rows(&self, version: i64, table: usize) -> Option<Rows> {
        lock(&self.versions).rows(version, table)
    }

    fn add_events(&self, by: &str, order: i64, events: Vec<(u32, Event)>) {
        let mut model = lock(&self.model);
        for (table, event) in events {
            model.add(table, order, by, event);
        }
    }

    fn add_floating(&self, table: u32, window: (i64, i64), overwrite: bool, by: &str) {
        lock(&self.model).add_floating(table, window, overwrite, by);
    }

    /// Fails unless an error is one that must be expected.
    fn judge(&self, who: &str, error: &postgres::Error, allowed: &[&str], may_fail_to_serialize: bool) {
        let Some(answer) = error.as_db_error() else {
            if !self.was_killed(who) {
                self.fail(&format!("{who}: {error}"));
            }
            return;
        };
        let code = answer.code().code();
        let (message, detail) = (answer.message(), answer.detail().unwrap_or_default());
        let is_expected = match code {
            "40P01" => {
                self.count_deadlock(who, detail);
                true
            }
            "57014" | "57P01" => self.was_killed(who),
            "55P03" if message.starts_with(SOURCE_IS_LOCKED) => true,
            "40001" => may_fail_to_serialize,
            "XX000" if message == "the background process of the job ended before it began" => self.was_killed(who),
            // Two sessions change one row of a catalog.
            "XX000" => ["tuple concurrently updated", "tuple concurrently deleted"].contains(&message),
            _ => allowed.contains(&code),
        };
        self.count(&format!("error {code}"));
        if !is_expected {
            self.fail(&format!("{who}: unexpected error: {}", describe(error)));
        }
    }

    /// Whether a signal was sent during the operation of the session, or so shortly before that it may have hit it.
    fn was_killed(&self, who: &str) -> bool {
        let begun = lock(&self.doing).get(who).map(|doing| doing.since);
        lock(&self.last_kill).is_some_and(|kill| begun.is_none_or(|begun| kill + Duration::from_secs(1) > begun))
    }

    /// Counts a deadlock. One between single statements is no failure either: a foreign key makes an INSERT lock two tables.
    fn count_deadlock(&self, who: &str, detail: &str) {
        let pids = lock(&self.pids);
        let doing = lock(&self.doing);
        let mut kinds: Vec<Kind> = doing.get(who).map(|doing| doing.kind).into_iter().collect();
        for word in detail.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<i32>().ok()) {
            if let Some(other) = pids.get(&word).and_then(|name| doing.get(name)) {
                kinds.push(other.kind);
            }
        }
        let single = kinds.iter().all(|kind| [Kind::Pull, Kind::Background, Kind::Write].contains(kind));
        let what = if single { "deadlock of single statements" } else { "deadlock with a transaction or a definition" };
        drop((pids, doing));
        self.count(what);
    }

    /// Fails unless the error of a background job is one that must be expected.
    fn judge_job(&self, who: &str, by: &str, text: &str, overwrite: bool, wait: bool) {
        let is_killed = ["terminat", "cancel", "the processes of the job ended"].iter().any(|word| text.contains(word));
        let is_expected = [
            (text.contains("deadlock detected"), true),
            (text.starts_with(SOURCE_IS_LOCKED), true),
            (is_killed, self.was_killed(who)),
            (text.contains("hold rows") || text.contains("holds rows"), !overwrite),
            (text.contains("definition was changed"), true),
            (text.contains("violates foreign key constraint"), true),
            (text.contains("surplus"), true),
            (text.contains("could not obtain the lock"), !wait),
        ]
        .iter()
        .any(|(is_that, is_expected)| *is_that && *is_expected);
        self.count("job failed");
        self.note(by, text);
        if !is_expected {
            self.fail(&format!("{by}: unexpected error: {text}"));
        }
    }

    /// Returns the activities and locks of all sessions on both servers.
    fn activity(&self) -> String {
        let mut all = String::new();
        for (port, server) in [(self.port, "destination"), (self.source_port, "source")] {
            let Ok(mut client) = Client::connect(&dsn(port, &self.database), postgres::NoTls) else { continue };
            let sql = "
                SELECT concat_ws(' | ', pid, backend_type, state, wait_event_type, wait_event, pg_blocking_pids(pid)::text,
                                 age(clock_timestamp(), state_change), left(query, 120))
                FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                UNION ALL
                SELECT concat_ws(' | ', 'lock', pid, locktype, coalesce(relation::regclass::text, transactionid::text), mode, granted)
                FROM pg_locks WHERE pid <> pg_backend_pid() AND locktype <> 'virtualxid'
                  AND (NOT granted OR mode LIKE '%Exclusive%')";
            all += &format!("{server}:\n{}\n", texts(&mut client, sql).join("\n"));
        }
        all
    }

    /// Fails when an operation hangs; ends with the history.
    fn watch(&self, is_over: &AtomicBool, postmasters: [u32; 2]) {
        while !is_over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(200));
            let late =
                lock(&self.doing).iter().find(|(_, doing)| doing.since.elapsed() > LONGEST).map(|(who, _)| who.clone());
            let Some(who) = late else { continue };
            self.fail(&format!("{who} hangs\n{}", self.activity()));
            // Nothing else ends the sessions that wait for it.
            for pid in postmasters {
                let _ = Command::new("kill").arg("-QUIT").arg(pid.to_string()).status();
            }
            return;
        }
    }

    /// Writes the whole history and the server's log into a file; returns its end, the seed and the failure.
    fn report(&self, name: &str, seed: u64, failure: &str, log: &str) -> String {
        let mut lines = Vec::new();
        for (who, notes) in lock(&self.notes).iter() {
            for (time, what) in notes {
                lines.push((*time, format!("{:9.3} {who}: {what}", time.as_secs_f64())));
            }
        }
        lines.sort();
        let lines: Vec<_> = lines.into_iter().map(|line| line.1).collect();
        let whole = format!("seed {seed}\n{}\n\nthe server's log:\n{log}\n{failure}\n", lines.join("\n"));
        let path = xtask::target().join(format!("{name}-{seed}.log"));
        let written = match std::fs::write(&path, whole) {
            Ok(()) => format!("the whole history is in {}", path.display()),
            Err(error) => format!("the history could not be written to {}: {error}", path.display()),
        };
        let last = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        format!("{last}\n\n{written}\nseed {seed}: {failure}")
    }
}

fn own_servers(name: &str) -> OwnServers {
    let destination = Options::named(&format!("{name}-destination"))
        .setting("max_connections = 100")
        .setting("max_worker_processes = 24")
        .setting("max_prepared_transactions = 10")
        .setting("wal_level = logical")
        .setting("deadlock_timeout = 300ms")
        .setting("autovacuum_naptime = 1s")
        .setting("log_lock_waits = on")
        .setting("log_line_prefix = '%m [%p] %b '")
        .with_checksums();
    let source =
        Options::named(&format!("{name}-source")).setting("max_connections = 100").setting("deadlock_timeout = 300ms");
    OwnServers::start_with(source, destination)
}

/// Creates the tables on both sides, the rows of the source, and the objects that the sessions need.
fn prepare(servers: &OwnServers) -> (Client, Client) {
    let pair = servers.pair(DATABASE);
    let (mut source, mut destination) = (pair.source, pair.destination);
    let schema = tables::create_all();
    source.batch_execute(&schema).expect("the source's tables");
    source.batch_execute(&source::bookkeeping()).expect("the source's notes");
    source.batch_execute(&source::first_rows()).expect("the source's rows");
    destination.batch_execute(&schema).expect("the destination's tables");
    destination
        .batch_execute(&format!(
            "CREATE EXTENSION amcheck;
             CREATE SEQUENCE soak.numbers;
             CREATE FUNCTION soak.mark(sch text, tab text) RETURNS text LANGUAGE plpgsql AS $$
                 DECLARE mark text;
                 BEGIN
                     EXECUTE format('SELECT %L::regclass::oid || '','' || coalesce(max(version) FILTER (WHERE id = 0)::text, '''')
                                            || '','' || count(*) FROM %1$s', format('%I.%I', sch, tab)) INTO mark;
                     RETURN mark;
                 END $$;
             CREATE FUNCTION soak.refuse_pulled_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF new.origin = 'source' THEN RAISE 'a trigger fires for a row of a pull'; END IF;
                 RETURN new;
             END $$;
             CREATE SERVER prod FOREIGN DATA WRAPPER pgcopy OPTIONS (host '127.0.0.1', port '{}', dbname '{DATABASE}');
             CREATE USER MAPPING FOR postgres SERVER prod OPTIONS (user 'postgres');",
            servers.source.port()
        ))
        .expect("the destination's functions");
    (source, destination)
}

/// Writes Parquet files, and computes the rows that they become in each table.
fn write_files(client: &mut Client, directory: &ScratchDirectory) -> Vec<File> {
    client.batch_execute("LOAD 'pgcopy'").expect("the library");
    let mut files = Vec::new();
    for number in 0..6 {
        let path = format!("{}/{number}.parquet", directory.path().display());
        let is_whole = number % 2 == 0;
        let first = 800_000_000 + number * 1000;
        let series = format!(
            "(SELECT generate_series({first}, {}) UNION ALL SELECT 0 WHERE {is_whole})",
            first + 20 + number * 50
        );
        let rows = format!(
            "SELECT i AS id, 'file {number}' AS origin, {}::bigint AS version, i % 100 AS v, md5(i::text) AS payload FROM {series} s (i)",
            -1 - number
        );
        client.batch_execute(&format!("COPY ({rows}) TO '{path}' (FORMAT parquet)")).expect("a file");
        let mut of_tables = HashMap::new();
        for (number, table) in TABLES.iter().enumerate() {
            let name = table.name;
            let mut transaction = client.transaction().expect("a transaction");
            transaction
                .batch_execute(&format!("INSERT INTO {name} (id, origin, version, v, payload) {rows}"))
                .expect("rows");
            let found =
                transaction.query(&format!("SELECT id, {} FROM {name} t", table.hash("t")), &[]).expect("hashes");
            of_tables.insert(number, Arc::new(found.iter().map(|row| (row.get(0), row.get(1))).collect::<Rows>()));
            transaction.rollback().expect("a rollback");
        }
        files.push(File { path, rows: of_tables, is_whole });
    }
    files
}

#[derive(Debug, Clone, Copy)]
enum Length {
    Rounds(u64),
    Seconds(u64),
}

#[test]
fn a_short_history_ends_as_the_model_says() {
    play("soak-short", 1, 3, Length::Rounds(2), false);
}

#[test]
#[ignore = "takes minutes: run it with `cargo xtask soak`"]
fn a_long_history_ends_as_the_model_says() {
    let seed = number("PGCOPY_TEST_SEED", 1);
    let sessions = number("PGCOPY_SOAK_SESSIONS", 2 + Random(seed).below(5));
    play("soak-long", seed, sessions, Length::Seconds(number("PGCOPY_SOAK_SECONDS", 60)), true);
}

fn play(name: &str, seed: u64, count: u64, length: Length, is_disturbed: bool) {
    let servers = own_servers(name);
    let (source, mut destination) = prepare(&servers);
    let directory = ScratchDirectory::create(name).expect("a directory");
    let files = write_files(&mut destination, &directory);
    let shared = Arc::new(Shared {
        started: Instant::now(),
        is_disturbed,
        port: servers.destination.port(),
        source_port: servers.source.port(),
        database: DATABASE.into(),
        oids: Mutex::default(),
        partitioned: text(&mut destination, "SELECT 'part'::regclass::oid::text").parse().expect("an OID"),
        files,
        round: AtomicU64::new(0),
        is_round_over: AtomicBool::new(false),
        source_version: AtomicI64::new(1),
        versions: Mutex::new(Versions::new(source)),
        model: Mutex::default(),
        failure: Mutex::default(),
        notes: Mutex::default(),
        doing: Mutex::default(),
        pids: Mutex::default(),
        last_kill: Mutex::default(),
        counts: Mutex::default(),
    });
    let mut sessions: Vec<_> = (0..count).map(|number| Session::new(&shared, seed, number)).collect();
    let source_session = |number| Writer::new(connect(servers.source.port(), DATABASE), seed, number);
    let mut writers = [source_session(0), source_session(1)];
    let postmasters = [servers.destination.pid(), servers.source.pid()];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| shared.watch(&is_over, postmasters));
        checks::remember(&shared, &mut destination);
        let is_long_enough = || match length {
            Length::Rounds(rounds) => shared.round.load(Ordering::SeqCst) >= rounds,
            Length::Seconds(seconds) => shared.started.elapsed() >= Duration::from_secs(seconds),
        };
        while shared.goes_on() && !is_long_enough() {
            play_round(&shared, &mut sessions, &mut writers);
            if shared.goes_on() {
                shared.does("checks", Kind::Other);
                shared.catch("checks", || checks::check(&shared, &mut destination, &sessions));
                shared.is_idle("checks");
            }
            shared.round.fetch_add(1, Ordering::SeqCst);
        }
        is_over.store(true, Ordering::SeqCst);
    });
    if shared.goes_on() {
        shared.catch("the last check", || checks::check_at_the_end(&shared, &servers));
    }
    let counts: Vec<_> = lock(&shared.counts).iter().map(|(what, count)| format!("{what}: {count}")).collect();
    eprintln!(
        "{name}: seed {seed}, {count} sessions, {} rounds, version {} of the source; {}",
        shared.round.load(Ordering::SeqCst),
        shared.source_version.load(Ordering::SeqCst),
        counts.join(", ")
    );
    let failure = lock(&shared.failure).take();
    if let Some(failure) = failure {
        panic!("{}", shared.report(name, seed, &failure, &servers.destination.log_text()));
    }
}

/// Lets all sessions do their operations while the source changes.
fn play_round(shared: &Arc<Shared>, sessions: &mut [Session], writers: &mut [Writer]) {
    shared.is_round_over.store(false, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| {
                let name = writer.name();
                shared.catch(&name, || writer.run(shared));
            });
        }
        let players: Vec<_> = sessions
            .iter_mut()
            .map(|session| {
                scope.spawn(|| {
                    let name = session.name();
                    shared.catch(&name, || session.run(OPERATIONS));
                    shared.is_idle(&name);
                })
            })
            .collect();
        for player in players {
            let _ = player.join();
        }
        shared.is_round_over.store(true, Ordering::SeqCst);
    });
}
