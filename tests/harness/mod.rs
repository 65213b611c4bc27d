//! Databases for tests, and ways to compare them that do not go through the extension.

pub mod certificates;
pub mod disk;
pub mod forger;
pub mod listener;
pub mod proxy;
pub mod stores;

use postgres::error::SqlState;
use postgres::{Client, Config, NoTls, Row};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use xtask::data;
use xtask::server::{self, Installation, Options, ScratchDirectory, Server, Version};

/// A database on the source and one of the same name, with the extension, on the destination.
pub struct Pair {
    pub source: Client,
    pub destination: Client,
    pub source_port: u16,
    pub destination_port: u16,
    pub database: String,
    notices: Arc<Mutex<Vec<String>>>,
}

/// A row of the report of a pull.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    pub schema: String,
    pub table: String,
    pub rows: i64,
    pub bytes: i64,
    pub seconds: f64,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `cargo xtask test`"))
}

/// A number that an environment variable may set.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The same numbers for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

/// Whether this run has the server store all rows and build all indexes (`pgcopy.own_storage = off`).
pub fn server_stores() -> bool {
    std::env::var_os("PGCOPY_TEST_SERVER_STORAGE").is_some()
}

/// A session on the server that most tests pull into, in no database of theirs.
pub fn shared_destination() -> Client {
    connect(shared_ports()[1], "postgres")
}

/// Of the servers that most tests use.
pub fn shared_ports() -> [u16; 2] {
    ["PGCOPY_TEST_SOURCE_PORT", "PGCOPY_TEST_DESTINATION_PORT"]
        .map(|name| variable(name).parse().expect("a port number"))
}

/// The server programs with the extension, for tests that need servers of their own.
pub fn installation() -> Installation {
    let version = Version::parse(&variable("PGCOPY_TEST_VERSION")).expect("a supported version");
    Installation::at(Path::new(&variable("PGCOPY_TEST_INSTALLATION")), version)
}

impl Pair {
    /// On the shared servers. The name must be the test's own.
    pub fn new(name: &str) -> Self {
        Self::created_with(name, "", "")
    }

    /// The same, with a schema that both sides get and rows that only the source gets.
    pub fn with(name: &str, schema: &str, source_rows: &str) -> Self {
        let mut pair = Self::new(name);
        pair.both(schema);
        pair.source.batch_execute(source_rows).expect("the source takes its rows");
        pair
    }

    /// With the library loaded at the destination, and a directory for files of its server.
    pub fn with_files(name: &str) -> (Self, ScratchDirectory) {
        let mut pair = Self::new(name);
        pair.destination.batch_execute("LOAD 'pgcopy'").expect("the library is installed");
        (pair, ScratchDirectory::create(name).expect("a directory"))
    }

    /// On the shared servers, with what CREATE DATABASE is to be told there and here.
    pub fn created_with(name: &str, source_options: &str, destination_options: &str) -> Self {
        let [source_port, destination_port] = shared_ports();
        Self::between((source_port, source_options), (destination_port, destination_options), name)
    }

    pub fn on(source_port: u16, destination_port: u16, name: &str) -> Self {
        Self::between((source_port, ""), (destination_port, ""), name)
    }

    fn between(source: (u16, &str), destination: (u16, &str), name: &str) -> Self {
        for (port, options) in [source, destination] {
            let mut client = connect(port, "postgres");
            // (FORCE) is not known to every source.
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
            client.execute(kill, &[&name]).expect("no old sessions");
            client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).expect("no old database");
            client.batch_execute(&format!("CREATE DATABASE {name} {options}")).expect("a new database");
        }
        let mut pair = Self::existing(source.0, destination.0, name);
        pair.destination.batch_execute("CREATE EXTENSION pgcopy").expect("the extension is installed");
        pair
    }

    /// Databases that an earlier pair has left.
    pub fn existing(source_port: u16, destination_port: u16, name: &str) -> Self {
        let notices = Arc::new(Mutex::new(Vec::new()));
        Self {
            source: connect(source_port, name),
            destination: connect_noting(destination_port, name, &notices),
            source_port,
            destination_port,
            database: name.into(),
            notices,
        }
    }

    pub fn both(&mut self, sql: &str) {
        self.source.batch_execute(sql).expect("the source takes the schema");
        self.destination.batch_execute(sql).expect("the destination takes the schema");
    }

    pub fn dsn(&self) -> String {
        server::dsn(self.source_port, &self.database)
    }

    pub fn pull_sql(&self, arguments: &str) -> String {
        let separator = if arguments.is_empty() { "" } else { ", " };
        format!("SELECT * FROM pgcopy.pull('{}'{separator}{arguments})", self.dsn())
    }

    pub fn try_pull(&mut self, arguments: &str) -> Result<Vec<Pulled>, postgres::Error> {
        let sql = self.pull_sql(arguments);
        Ok(pulled(self.destination.query(&sql, &[])?))
    }

    pub fn pull(&mut self, arguments: &str) -> Vec<Pulled> {
        self.try_pull(arguments).unwrap_or_else(|error| panic!("the pull failed: {}", describe(&error)))
    }

    /// The parts of the error that a pull must end with.
    pub fn pull_error(&mut self, arguments: &str) -> Failure {
        match self.try_pull(arguments) {
            Ok(_) => panic!("the pull succeeded"),
            Err(error) => Failure::of(&error),
        }
    }

    /// A line of each row of a plan of what `tables` takes, in SQL over the plan's columns, where it is not empty. Arguments follow
    /// a comma.
    pub fn planned(&mut self, tables: &str, arguments: &str, line: &str) -> Vec<String> {
        let sql = format!(
            "SELECT p.line FROM (SELECT {line} AS line FROM pgcopy.plan($1, tables => $2::text::jsonb{arguments})) p
             WHERE p.line <> ''"
        );
        let dsn = self.dsn();
        let rows = self.destination.query(&sql, &[&dsn, &tables]);
        let rows = rows.unwrap_or_else(|error| panic!("{tables}: {}", describe(&error)));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The problems of such a plan, with their tables.
    pub fn planned_problems(&mut self, tables: &str, arguments: &str) -> Vec<String> {
        self.planned(tables, arguments, "coalesce(\"table\" || ': ', '') || problem")
    }

    /// NOTICEs since the last call.
    pub fn notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().expect("no test thread panicked with the lock"))
    }

    pub fn another_destination_session(&self) -> Client {
        connect(self.destination_port, &self.database)
    }

    pub fn another_source_session(&self) -> Client {
        connect(self.source_port, &self.database)
    }

    /// Every user table has the same content on both sides.
    pub fn assert_same_content(&mut self) {
        let tables = user_tables(&mut self.destination);
        assert!(!tables.is_empty());
        assert_eq!(
            data::checksums(&mut self.source, &tables).expect("checksums"),
            data::checksums(&mut self.destination, &tables).expect("checksums")
        );
    }

    /// The extension itself finds no difference.
    pub fn assert_verified(&mut self) {
        let sql = format!(
            "SELECT \"table\" || ' ' || array_to_string(differences, '; ') || ' ' || source_rows || ' ' || rows || ' ' ||
                    coalesce(source_digest || ' ' || digest, 'not compared')
             FROM pgcopy.verify('{}') WHERE NOT same OR digest IS NULL OR digest <> source_digest",
            self.dsn()
        );
        let differing = self.destination.query(&sql, &[]);
        let differing = differing.unwrap_or_else(|error| panic!("the comparison failed: {}", describe(&error)));
        let differing: Vec<String> = differing.iter().map(|row| row.get(0)).collect();
        assert!(differing.is_empty(), "{differing:?}");
    }

    /// Content and definitions of the destination, for comparing before and after.
    pub fn destination_state(&mut self) -> State {
        State::of(&mut self.destination)
    }

    /// No stage table, no file without an owner, no job in state "running".
    pub fn assert_nothing_left(&mut self) {
        assert_nothing_left(&mut self.destination);
    }
}

/// What users would miss if it changed.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    pub rows: Vec<(String, i64, String)>,
    pub definitions: Vec<String>,
    pub sequences: Vec<String>,
    pub statistics: Vec<String>,
}

impl State {
    fn of(client: &mut Client) -> Self {
        let tables = user_tables(client);
        Self {
            rows: data::checksums(client, &tables).expect("checksums"),
            definitions: texts(client, DEFINITIONS),
            sequences: sequences(client),
            statistics: texts(client, "SELECT s::text FROM pg_stats s WHERE schemaname = 'public' ORDER BY 1"),
        }
    }
}

/// OIDs, names, definitions, comments and grants of everything, without what storage a table has.
const DEFINITIONS: &str = "
    SELECT concat_ws('|', 'class', c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.reloptions, c.relhasindex,
                     c.relreplident, c.relispartition, c.relpersistence, obj_description(c.oid, 'pg_class'),
                     CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END)
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT concat_ws('|', 'column', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attacl,
                     a.attisdropped, a.attstattarget, a.attstorage, col_description(a.attrelid, a.attnum))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND c.relkind <> 'i'
    UNION ALL
    SELECT concat_ws('|', 'index', i.indexrelid, pg_get_indexdef(i.indexrelid), i.indisprimary, i.indisvalid,
                     i.indisready, i.indisclustered, i.indisreplident, obj_description(i.indexrelid, 'pg_class'))
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT concat_ws('|', 'constraint', k.oid, k.conname, pg_get_constraintdef(k.oid), k.convalidated, k.condeferrable,
                     k.condeferred, obj_description(k.oid, 'pg_constraint'))
    FROM pg_constraint k WHERE k.connamespace = 'public'::regnamespace
    UNION ALL
    SELECT concat_ws('|', 'trigger', t.oid, t.tgname, t.tgenabled, t.tgconstraint)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT concat_ws('|', 'toast', c.relname, t.relname, ti.relname, t.reloptions, t.relrewrite)
    FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid
    JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class ti ON ti.oid = i.indexrelid
    WHERE c.relnamespace = 'public'::regnamespace
    ORDER BY 1";

fn sequences(client: &mut Client) -> Vec<String> {
    texts(
        client,
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'S' AND c.relnamespace = 'public'::regnamespace
         ORDER BY 1",
    )
    .into_iter()
    .map(|name| {
        let value = texts(client, &format!("SELECT concat_ws(' ', last_value, is_called) FROM {name}"));
        format!("{name} {}", value[0])
    })
    .collect()
}

pub fn user_tables(client: &mut Client) -> Vec<String> {
    texts(
        client,
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND c.relpersistence <> 't'
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgcopy', 'pgcopy_internal', 'pgcopy_stage')
         ORDER BY 1",
    )
}

/// The first column of a query, as texts.
pub fn texts(client: &mut Client, sql: &str) -> Vec<String> {
    client
        .query(sql, &[])
        .unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)))
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// The one value of a query, as a text.
pub fn text(client: &mut Client, sql: &str) -> String {
    texts(client, sql).pop().unwrap_or_default()
}

/// Waits until a process of a running pull has begun with a task, as `pgcopy.job_tasks` calls it.
pub fn task_begins(client: &mut Client, task: &str) {
    let sql = format!(
        "SELECT count(*)::text FROM pgcopy.job_tasks JOIN pgcopy.jobs USING (job) WHERE state = 'running' AND task = '{task}'"
    );
    eventually(task, || text(client, &sql) != "0");
}

/// Waits until the job is over and its processes have ended.
pub fn no_process_left(client: &mut Client) {
    // The steward cleans up just after the leader's transaction; a dropped file's stub goes with a checkpoint.
    eventually("the job is finished", || {
        text(client, "SELECT count(*)::text FROM pgcopy_internal.job WHERE state = 'running'") == "0"
    });
    eventually("the stewards are gone", || {
        text(
            client,
            "SELECT count(*)::text FROM pg_stat_activity WHERE backend_type = 'pgcopy' AND datname = current_database()",
        ) == "0"
    });
}

/// Asserts what holds after a crash of the server and the next clean-up: no stage table, and no file with rows that no table
/// owns. PostgreSQL leaves the files of a transaction that was open in the crash on the disk: the empty ones of a stage table
/// in the making, or the new rows of a leader without workers.
pub fn assert_nothing_left_of_a_crash(client: &mut Client) {
    assert_eq!(files_with_rows_left(client), Vec::<String>::new());
}

/// Files with rows that no table owns.
pub fn files_with_rows_left(client: &mut Client) -> Vec<String> {
    no_process_left(client);
    no_stage_left(client);
    unowned_files(client, "(pg_stat_file('base/' || d.oid || '/' || f)).size > 8192")
}

pub fn assert_nothing_left(client: &mut Client) {
    no_process_left(client);
    client.batch_execute("CHECKPOINT").expect("a checkpoint");
    no_stage_left(client);
    assert_eq!(unowned_files(client, "true"), Vec::<String>::new(), "files without an owner");
}

fn no_stage_left(client: &mut Client) {
    let stages =
        texts(client, "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'pgcopy_stage'::regnamespace");
    assert!(stages.is_empty(), "left behind: {stages:?}");
}

fn unowned_files(client: &mut Client, condition: &str) -> Vec<String> {
    texts(
        client,
        &format!(
            "SELECT f FROM pg_database d, pg_ls_dir('base/' || d.oid) f
             WHERE d.datname = current_database() AND f ~ '^[0-9]+'
               AND pg_filenode_relation(0, substring(f from '^[0-9]+')::oid) IS NULL AND {condition}"
        ),
    )
}

/// Waits for something that happens by itself, with a bound.
pub fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < deadline, "did not happen in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a process of a pull in this database does what `activity` says (a LIKE pattern); returns its pid.
pub fn wait_for_worker(client: &mut Client, activity: &str) -> i32 {
    let sql = "SELECT pid FROM pg_stat_activity
               WHERE backend_type = 'pgcopy' AND datname = current_database() AND query LIKE $1 ORDER BY pid LIMIT 1";
    let mut pid = 0;
    eventually(activity, || match client.query_opt(sql, &[&activity]).expect("pg_stat_activity") {
        Some(row) => {
            pid = row.get(0);
            true
        }
        None => false,
    });
    pid
}

/// An error's fields, for assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

impl Failure {
    pub fn of(error: &postgres::Error) -> Self {
        let Some(answer) = error.as_db_error() else { panic!("not the server's error: {error}") };
        Self {
            sqlstate: answer.code().code().into(),
            message: answer.message().into(),
            detail: answer.detail().unwrap_or_default().into(),
            hint: answer.hint().unwrap_or_default().into(),
        }
    }

    /// The problems of a call, in lines: one stands in the message alone, several in the detail.
    pub fn problems(&self) -> String {
        match self.message.strip_prefix("cannot ").and_then(|text| text.split_once(": ")) {
            Some((_, problem)) if self.detail.is_empty() => problem.to_owned(),
            _ => self.detail.clone(),
        }
    }
}

pub fn describe(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(answer) => {
            format!("{} {}\n{}", answer.code().code(), answer.message(), answer.detail().unwrap_or_default())
        }
        None => error.to_string(),
    }
}

pub fn pulled(rows: Vec<Row>) -> Vec<Pulled> {
    rows.iter()
        .map(|row| Pulled {
            schema: row.get(0),
            table: row.get(1),
            rows: row.get(2),
            bytes: row.get(3),
            seconds: row.get(4),
        })
        .collect()
}

pub fn connect(port: u16, database: &str) -> Client {
    connect_by(&server::dsn(port, database).parse().expect("a connection string"))
}

/// A session of another role than the superuser.
pub fn connect_as(port: u16, database: &str, role: &str) -> Client {
    connect_by(
        &format!("host=127.0.0.1 port={port} user={role} dbname={database}").parse().expect("a connection string"),
    )
}

/// A server that another test has brought to its knees recovers: one crash is to fail one test, not all that follow.
fn connect_by(config: &Config) -> Client {
    const LONGEST_RECOVERY: Duration = Duration::from_secs(120);
    let started = Instant::now();
    loop {
        match config.connect(NoTls) {
            Ok(client) => return client,
            Err(error)
                if error.code() == Some(&SqlState::CANNOT_CONNECT_NOW) && started.elapsed() < LONGEST_RECOVERY =>
            {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => panic!("the server accepts no connections: {error:?}"),
        }
    }
}

fn connect_noting(port: u16, database: &str, notices: &Arc<Mutex<Vec<String>>>) -> Client {
    let notices = Arc::clone(notices);
    let mut config: Config = server::dsn(port, database).parse().expect("a connection string");
    config.notice_callback(move |notice| {
        notices.lock().expect("no panic inside").push(notice.message().to_owned());
    });
    connect_by(&config)
}

/// A source and a destination that a test may crash.
pub struct OwnServers {
    pub source: Server,
    pub destination: Server,
}

impl OwnServers {
    pub fn start(name: &str, destination: Options) -> Self {
        Self::start_with(Options::named(&format!("{name}-source")), destination)
    }

    pub fn start_with(source: Options, destination: Options) -> Self {
        let installation = installation();
        Self {
            source: Server::start(&installation, source).expect("a source"),
            destination: Server::start(&installation, destination).expect("a destination"),
        }
    }

    pub fn pair(&self, name: &str) -> Pair {
        Pair::on(self.source.port(), self.destination.port(), name)
    }
}
