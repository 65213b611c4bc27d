//! Backups by the server's own programs: complete or not there, sound or told not to be, and restored to the moment that was asked for.

use crate::harness::{
    Failure, Random, connect, connect_as, describe, eventually, installation, number, shared_ports, text, texts,
};
use postgres::Client;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use xtask::server::{Options, ScratchDirectory, Server};

/// The packages of some versions bring servers without all programs.
pub fn has_programs(names: &[&str]) -> bool {
    let missing: Vec<&&str> = names.iter().filter(|name| !installation().program(name).exists()).collect();
    if !missing.is_empty() {
        println!("not checked: this server comes without {missing:?}");
    }
    missing.is_empty()
}

pub const ALL: [&str; 4] = ["pg_basebackup", "pg_verifybackup", "pg_waldump", "pg_ctl"];

/// A server, a directory for its backups, and one for what is restored.
pub struct Place {
    pub server: Server,
    pub client: Client,
    pub directory: ScratchDirectory,
    pub restored: ScratchDirectory,
}

impl Place {
    pub fn new(name: &str, options: Options) -> Self {
        let server = Server::start(&installation(), options).unwrap();
        let mut client = server.connect("postgres");
        client.batch_execute("CREATE EXTENSION pgcopy").unwrap();
        Self {
            server,
            client,
            directory: ScratchDirectory::create(name).unwrap(),
            restored: ScratchDirectory::create(&format!("{name}-restored")).unwrap(),
        }
    }

    pub fn start(name: &str) -> Self {
        Self::new(name, Options::named(name))
    }

    /// With an archive of its WAL.
    pub fn archiving(name: &str) -> Self {
        let mut place = Self::start(name);
        let changed = texts(
            &mut place.client,
            &format!(
                "SELECT setting || ' ' || needs_restart FROM pgcopy.wal_archive_enable('{}')",
                place.directory.path().display()
            ),
        );
        assert_eq!(
            changed,
            ["wal_level false", "basic_archive.archive_directory false", "archive_library false", "archive_mode true"]
        );
        place.server.restart().unwrap();
        place.client = place.server.connect("postgres");
        place
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub fn create(&mut self, label: &str, arguments: &str) -> String {
        self.try_create(label, arguments).unwrap_or_else(|error| panic!("{label}: {}", describe(&error)))
    }

    pub fn try_create(&mut self, label: &str, arguments: &str) -> Result<String, postgres::Error> {
        let sql = format!(
            "SELECT backup FROM pgcopy.backup_create('{}', label => '{label}'{arguments})",
            self.directory.path().display()
        );
        Ok(self.client.query_one(&sql, &[])?.get(0))
    }

    pub fn create_failure(&mut self, label: &str, arguments: &str) -> Failure {
        match self.try_create(label, arguments) {
            Ok(backup) => panic!("{backup} was taken"),
            Err(error) => Failure::of(&error),
        }
    }

    /// The names of backups with their states.
    pub fn list(&mut self) -> Vec<String> {
        let sql = format!("SELECT name || ' ' || state FROM pgcopy.backup_list('{}')", self.directory.path().display());
        texts(&mut self.client, &sql)
    }

    pub fn faults(&mut self, name: &str, arguments: &str) -> Vec<String> {
        let sql = format!(
            "SELECT coalesce(file, '-') || ': ' || finding FROM pgcopy.backup_validate('{}'{arguments})",
            self.path(name)
        );
        texts(&mut self.client, &sql)
    }

    /// Restores a backup, and starts a server from it.
    pub fn restore(&mut self, name: &str, target: &str, arguments: &str) -> Restored {
        let target = self.restored.path().join(target);
        let port = free_port();
        let sql = format!(
            "SELECT directory FROM pgcopy.backup_restore('{}', '{}', port => {port}, start => true{arguments})",
            self.path(name),
            target.display()
        );
        if let Err(error) = self.client.query(&sql, &[]) {
            let log = fs::read_to_string(target.join("restore.log")).unwrap_or_default();
            panic!("{sql}: {}\n{log}", describe(&error));
        }
        Restored { data: target, port }
    }

    pub fn restore_failure(&mut self, name: &str, target: &Path, arguments: &str) -> Failure {
        let sql =
            format!("SELECT * FROM pgcopy.backup_restore('{}', '{}'{arguments})", self.path(name), target.display());
        match self.client.query(&sql, &[]) {
            Ok(_) => panic!("{sql} succeeded"),
            Err(error) => Failure::of(&error),
        }
    }

    /// Has the archive hold all WAL up to now.
    pub fn archive_all(&mut self) {
        let last = text(&mut self.client, "SELECT pg_walfile_name(pg_switch_wal())");
        let archived = self.directory.path().join("wal").join(last);
        eventually("the segment is archived", || archived.exists());
    }
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that was started from a backup. Dropping it stops it.
pub struct Restored {
    pub data: PathBuf,
    pub port: u16,
}

impl Restored {
    /// A session, when recovery is over.
    pub fn connect(&self) -> Client {
        let mut client = connect(self.port, "postgres");
        eventually("recovery is over", || text(&mut client, "SELECT pg_is_in_recovery()::text") == "false");
        client
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let Ok(file) = fs::read_to_string(self.data.join("postmaster.pid")) else { return };
        let pid = file.lines().next().unwrap_or_default().to_owned();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        eventually("the restored server is gone", || !Path::new("/proc").join(&pid).exists());
    }
}

/// A shell as the operating-system user of the servers.
pub fn as_server_user(script: &str, directory: &Path) -> std::process::Output {
    let owner = fs::metadata(directory).unwrap();
    let mut command = Command::new("setpriv");
    if owner.uid() != fs::metadata("/proc/self").unwrap().uid() {
        command.args([format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid()), "--clear-groups".into()]);
    }
    // In the order of the page, with the sound of each line.
    command.args(["sh", "-ec", script]).current_dir("/").output().unwrap()
}

pub const LEDGER: &str =
    "CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text DEFAULT repeat('x', 200))";
pub const ROWS: &str = "SELECT count(*) || ' rows to ' || coalesce(max(id), 0) FROM ledger";

/// Sessions that fill the ledger all the while, a row and a commit at a time.
struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Writers {
    fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..2)
            .map(|_| {
                let (mut client, stop) = (server.connect("postgres"), Arc::clone(&stop));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
                        std::thread::sleep(Duration::from_millis(1));
                    }
                })
            })
            .collect();
        Self { stop, threads }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// The ledger at one moment, and what `moment` says then. Nobody writes meanwhile.
pub fn at_moment(client: &mut Client, moment: &str) -> (String, String) {
    std::thread::sleep(Duration::from_millis(50));
    let mut transaction = client.transaction().unwrap();
    transaction.batch_execute("LOCK ledger IN SHARE MODE").unwrap();
    let rows: String = transaction.query_one(ROWS, &[]).unwrap().get(0);
    let told: String = transaction.query_one(moment, &[]).unwrap().get(0);
    std::thread::sleep(Duration::from_millis(5));
    transaction.commit().unwrap();
    (told, rows)
}

#[test]
fn a_backup_restores_to_the_moment_that_was_asked_for() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_moments");
    let elsewhere = ScratchDirectory::create("backup_moments-space").unwrap();
    let space = elsewhere.path().display().to_string();
    place.client.batch_execute(&format!("CREATE TABLESPACE elsewhere LOCATION '{space}'")).unwrap();
    place.client.batch_execute(&format!("{LEDGER} TABLESPACE elsewhere")).unwrap();
    let writers = Writers::start(&place.server);
    place.create("first", "");
    let client = &mut place.client;
    let (time, at_time) = at_moment(client, "SELECT clock_timestamp()::text");
    let (lsn, at_lsn) = at_moment(client, "SELECT pg_current_wal_insert_lsn()::text");
    let (_, at_point) = at_moment(client, "SELECT pg_create_restore_point('before the change')::text");
    std::thread::sleep(Duration::from_millis(100));
    writers.stop();
    let at_end = text(client, ROWS);
    place.archive_all();
    let list = format!(
        "SELECT concat_ws(' ', state, kind, restorable_from < restorable_until, restorable_until_lsn::pg_lsn > stop_lsn::pg_lsn, problem)
         FROM pgcopy.backup_list('{}')",
        place.directory.path().display()
    );
    assert_eq!(text(&mut place.client, &list), "complete full t t");
    for (number, (until, expected)) in [
        (time, at_time),
        (lsn, at_lsn),
        ("restore point before the change".to_owned(), at_point),
        ("latest".to_owned(), at_end.clone()),
    ]
    .into_iter()
    .enumerate()
    {
        let new_space = place.restored.path().join(format!("space-{number}"));
        let arguments = format!(", until => '{until}', tablespaces => '{{\"{space}\": \"{}\"}}'", new_space.display());
        let restored = place.restore("first", &format!("data-{number}"), &arguments);
        let mut there = restored.connect();
        assert_eq!(text(&mut there, ROWS), expected, "{until}");
        assert_eq!(
            text(&mut there, "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'elsewhere'"),
            new_space.display().to_string()
        );
        assert_eq!(text(&mut there, "SHOW archive_mode"), "off");
        there.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    }
    assert_eq!(text(&mut place.client, ROWS), at_end);
    // A target that the backup brings along does not stand in the way.
    let conf = place.server.data().join("postgresql.conf");
    let kept = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{kept}\nrecovery_target_xid = '3'\n")).unwrap();
    place.create("second", "");
    fs::write(&conf, kept).unwrap();
    let new_space = place.restored.path().join("space-4");
    let arguments = format!(", until => 'consistent', tablespaces => '{{\"{space}\": \"{}\"}}'", new_space.display());
    let restored = place.restore("second", "data-4", &arguments);
    assert_eq!(text(&mut restored.connect(), ROWS), at_end);
    drop(restored);
    // What cannot be reached is told before anything is unpacked.
    let target = place.restored.path().join("never");
    let with_space = |until: &str| {
        format!(
            ", until => '{until}', tablespaces => '{{\"{space}\": \"{}\"}}'",
            target.with_extension("space").display()
        )
    };
    for (until, words) in [
        ("restore point unknown", "is not in the WAL"),
        ("FFFF/0", "cannot be reached"),
        ("0/1", "is not consistent before"),
        ("2001-01-01", "the backup is newer"),
        ("2101-01-01", "cannot be reached"),
        ("infinity", "infinite"),
        ("soon", "invalid input syntax"),
    ] {
        let failed = place.restore_failure("first", &target, &with_space(until));
        assert!(failed.message.contains(words), "{until}: {failed:?}");
    }
    let inside = format!(", tablespaces => '{{\"{space}\": \"{}\"}}'", target.join("space").display());
    assert!(place.restore_failure("first", &target, &inside).message.contains("not apart"));
    let failed = place.restore_failure("first", &target, "");
    assert!(failed.message.contains("new places") && failed.hint.contains(&space), "{failed:?}");
    // A segment of the archive is lost.
    let wal = place.directory.path().join("wal");
    let mut segments: Vec<PathBuf> = fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_none());
    segments.sort();
    place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    place.archive_all();
    let lost = segments.last().unwrap();
    fs::rename(lost, lost.with_extension("lost")).unwrap();
    let name = lost.file_name().unwrap().to_str().unwrap();
    let failed = place.restore_failure("first", &target, &with_space("latest"));
    assert!(failed.message.contains("gap") && failed.detail.contains(name), "{failed:?}");
    assert!(place.faults("first", "").iter().any(|fault| fault.contains(name)));
    let gaps = text(&mut place.client, "SELECT array_to_string(gaps, ', ') FROM pgcopy.wal_archive_status()");
    assert_eq!(gaps, name);
    assert!(!target.exists() && fs::read_dir(place.restored.path()).unwrap().count() == 10);
    // One that holds something else is as good as lost.
    let other = segments.first().unwrap();
    for content in [vec![0; fs::metadata(other).unwrap().len() as usize], fs::read(other).unwrap()] {
        fs::write(lost, content).unwrap();
        let failed = place.restore_failure("first", &target, &with_space("latest"));
        assert!(failed.message.contains("gap") && failed.detail.contains(name), "{failed:?}");
        assert!(place.faults("first", "").iter().any(|fault| fault.contains(name)));
    }
    let failed =
        place.restore_failure("first", &target, &format!("{}, wal_archive => '/nowhere'", with_space("latest")));
    assert!(failed.message.contains("/nowhere"), "{failed:?}");
}

#[test]
fn paths_mean_nothing_to_a_shell() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_shell");
    place.create("a", "");
    let proof = place.directory.path().join("proof");
    for path in ["$(touch proof)", "`touch proof`", "a\"b", "a\\b", "$HOME"] {
        let directory = place.directory.path().join(path);
        fs::create_dir_all(&directory).unwrap();
        let (shown, backup) = (directory.display().to_string().replace('\'', "''"), place.path("a"));
        for call in [
            format!("backup_create('{shown}')"),
            format!("backup_list('{shown}')"),
            format!("backup_list('{}', wal_archive => '{shown}')", place.directory.path().display()),
            format!("backup_validate('{shown}/a')"),
            format!("backup_restore('{backup}', '{shown}/new')"),
            format!("backup_prune('{shown}', keep_full => 1)"),
            format!("wal_archive_enable('{shown}')"),
        ] {
            let failed = Failure::of(&place.client.query(&format!("SELECT * FROM pgcopy.{call}"), &[]).unwrap_err());
            assert_eq!(failed.sqlstate, "42602", "{call}: {failed:?}");
            assert!(failed.message.contains("must not contain"), "{call}: {failed:?}");
        }
        fs::remove_dir(&directory).unwrap();
    }
    assert!(!proof.exists());
}

#[test]
fn every_format_is_sound_and_restores_by_hand() {
    if !has_programs(&ALL) {
        return;
    }
    // As packages have it, a file of the configuration is not among the data.
    let configuration = ScratchDirectory::create("backup_formats-conf").unwrap();
    let access = configuration.path().join("access.conf");
    fs::write(&access, "host all,replication all 127.0.0.1/32 trust\n").unwrap();
    let options = Options::named("backup_formats").setting(format!("hba_file = '{}'", access.display()));
    let mut place = Place::new("backup_formats", options.with_checksums());
    let elsewhere = ScratchDirectory::create("backup_formats-space").unwrap();
    let space = elsewhere.path().display().to_string();
    place.client.batch_execute(&format!("CREATE TABLESPACE elsewhere LOCATION '{space}'")).unwrap();
    place
        .client
        .batch_execute(&format!(
            "{LEDGER} TABLESPACE elsewhere; INSERT INTO ledger (body) SELECT i::text FROM generate_series(1, 1000) i"
        ))
        .unwrap();
    let mut expected = Vec::new();
    // By the way that these programs were built.
    let mut unsupported = Vec::<String>::new();
    for (name, arguments) in [
        ("gzip", ""),
        ("lz4", ", compress => 'lz4'"),
        ("none", ", compress => 'none'"),
        ("plain", ", format => 'plain', max_rate => 1000000"),
        ("zstd", ", compress => 'zstd'"),
    ] {
        match place.try_create(name, arguments) {
            Ok(backup) => assert_eq!(backup, place.path(name)),
            Err(error) if describe(&error).contains("does not support") => {
                unsupported.push(name.to_owned());
                continue;
            }
            Err(error) => panic!("{name}: {}", describe(&error)),
        }
        expected.push(format!("{name} complete"));
        assert_eq!(place.faults(name, ""), [""; 0], "{name}");
    }
    assert_eq!(place.list(), expected);
    let leftovers = fs::read_dir(place.directory.path()).unwrap().count();
    assert_eq!(leftovers, expected.len());
    for name in expected.iter().map(|line| line.split(' ').next().unwrap()) {
        by_hand(&mut place, name);
    }
    let arguments =
        format!(", tablespaces => '{{\"{space}\": \"{}\"}}'", place.restored.path().join("space").display());
    let restored = place.restore("plain", "by-call", &arguments);
    let mut there = restored.connect();
    assert_eq!(text(&mut there, ROWS), "1000 rows to 1000");
    assert_eq!(text(&mut there, "SHOW hba_file"), restored.data.join("pg_hba.conf").display().to_string());
    crate::harness::no_process_left(&mut place.client);
    let failed =
        texts(&mut place.client, "SELECT arguments->>'label' FROM pgcopy.jobs WHERE state <> 'completed' ORDER BY 1");
    assert_eq!(failed, unsupported);
    let sizes = text(
        &mut place.client,
        "SELECT bool_and(bytes > 10000000)::text FROM pgcopy.jobs WHERE arguments->>'label' IS NOT NULL AND state = 'completed'",
    );
    assert_eq!(sizes, "true");
}

/// Runs the lines of RESTORE.md, with the places and the port filled in.
fn by_hand(place: &mut Place, name: &str) {
    let page = place.directory.path().join(name).join("RESTORE.md");
    let restored = follow(&page, place.restored.path().join(format!("by-hand-{name}")));
    let mut there = restored.connect();
    assert_eq!(text(&mut there, ROWS), "1000 rows to 1000", "{name}");
    assert_eq!(text(&mut there, "SHOW hba_file"), restored.data.join("pg_hba.conf").display().to_string());
}

/// Runs the lines of a page, which end with the start of a server.
pub fn follow(page: &Path, target: PathBuf) -> Restored {
    let page = fs::read_to_string(page).unwrap();
    let port = free_port();
    let script: Vec<String> = page
        .split("```sh\n")
        .skip(1)
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .map(|line| {
            line.replace("/path/to/new/data", &target.display().to_string())
                .replace("/path/to/new/tablespace", &format!("{}-space", target.display()))
                .replace("port = 5433", &format!("port = {port}"))
        })
        .map(|line| match line.strip_prefix("BIN=") {
            Some(_) => format!("BIN={}", installation().program("").display()),
            None => line,
        })
        .collect();
    let libraries = installation().prefix().join("lib");
    let script = format!("export LD_LIBRARY_PATH={}\n{}", libraries.display(), script.join("\n"));
    let output = as_server_user(&script, target.parent().unwrap());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let log = fs::read_to_string(target.join("restore.log")).unwrap_or_default();
    assert!(output.status.success(), "{told}\n{script}\n{log}");
    Restored { data: target, port }
}

/// What gzip makes of a compressed file; nothing of one that it refuses.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let directory = ScratchDirectory::create("unpacked").unwrap();
    let path = directory.path().join("file.gz");
    fs::write(&path, bytes).unwrap();
    let output = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    output.status.success().then_some(output.stdout)
}

/// The files below a directory, by their names from it on.
fn files_below(directory: &Path, within: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(within).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(directory, &entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            files.push(entry.path().strip_prefix(directory).unwrap().to_owned());
        }
    }
    files.sort();
    files
}

#[test]
fn damage_is_told_with_the_name_of_the_file() {
    if !has_programs(&ALL) {
        return;
    }
    let seed = number("PGCOPY_TEST_SEED", 7);
    let mut random = Random(seed);
    let mut place = Place::start("backup_damage");
    place.client.batch_execute(LEDGER).unwrap();
    place.create("archives", "");
    place.create("files", ", format => 'plain'");
    for (name, most) in [("archives", usize::MAX), ("files", number("PGCOPY_FAULT_TRIES", 8) as usize)] {
        let directory = place.directory.path().join(name);
        let mut files = files_below(&directory, &directory);
        // The server itself changes or ignores these, and the verification leaves them out; empty ones cannot be damaged.
        files.retain(|file| {
            let ignored = file.ends_with("postgresql.auto.conf") || file.to_string_lossy().contains("archive_status");
            !ignored && fs::metadata(directory.join(file)).unwrap().len() > 0
        });
        while files.len() > most {
            files.swap_remove(random.below(files.len() as u64) as usize);
        }
        for file in files {
            let path = directory.join(&file);
            let whole = fs::read(&path).unwrap();
            let owner = fs::metadata(&path).unwrap();
            let mut flipped = whole.clone();
            // Not in the header of a compressed file, where some bits have no meaning.
            let position = whole.len() / 4 + random.below((whole.len() / 2).max(1) as u64) as usize;
            flipped[position] ^= 1 << random.below(8);
            let truncated = whole[..random.below(whole.len() as u64) as usize].to_vec();
            for (damage, content) in [("bit", Some(flipped)), ("truncated", Some(truncated)), ("removed", None)] {
                let damaged = content.clone().unwrap_or_default();
                match content {
                    Some(content) => fs::write(&path, content).unwrap(),
                    None => fs::remove_file(&path).unwrap(),
                }
                let faults = place.faults(name, "");
                let named = file.file_name().unwrap().to_str().unwrap();
                // Segments of WAL are read, not compared: a record is missing then, or wrong.
                let is_wal =
                    file.parent().is_some_and(|parent| parent.ends_with("pg_wal")) || named.starts_with("pg_wal.tar");
                let is_told = faults.iter().any(|fault| fault.contains(named) || (is_wal && fault.contains("WAL")));
                // Some bits of a compressed file do not change what it unpacks to.
                let is_harmless =
                    damage == "bit" && unpacked(&whole).is_some_and(|whole| unpacked(&damaged) == Some(whole));
                assert!(is_told || is_harmless, "seed {seed}: {name} {file:?} {damage}: {faults:?}");
                fs::write(&path, &whole).unwrap();
                std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
            }
        }
        assert_eq!(place.faults(name, ""), [""; 0]);
    }
    let manifest = place.directory.path().join("files/data/backup_manifest");
    fs::write(&manifest, &fs::read(&manifest).unwrap()[..1000]).unwrap();
    let record = place.directory.path().join("archives/backup.json");
    fs::write(record, "{\"pgcopy_backup\": 1").unwrap();
    assert_eq!(place.list(), ["archives damaged", "files damaged"]);
}

#[test]
fn a_drill_starts_a_server_from_the_backup() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::new("backup_drill", Options::named("backup_drill").with_checksums());
    place.client.batch_execute(LEDGER).unwrap();
    place.client.batch_execute("CREATE EXTENSION IF NOT EXISTS amcheck; INSERT INTO ledger (body) SELECT i::text FROM generate_series(1, 1000) i").unwrap();
    place.create("sound", "");
    assert_eq!(place.faults("sound", ", level => 'restore'"), [""; 0]);
    // An index that lacks entries, which no checksum tells.
    place.client.batch_execute("CREATE TABLE loose (id int); CREATE INDEX ON loose (id); UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'loose_id_idx'::regclass; INSERT INTO loose SELECT generate_series(1, 10); UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'loose_id_idx'::regclass").unwrap();
    place.create("loose", ", format => 'plain'");
    let faults = place.faults("loose", ", level => 'restore'");
    assert!(faults.len() == 1 && faults[0].contains("public.loose"), "{faults:?}");
    // The older one does not have the table: that is told, and no fault.
    assert_eq!(place.faults("sound", ", level => 'restore'"), [""; 0]);
    crate::harness::no_process_left(&mut place.client);
    let told =
        text(&mut place.client, "SELECT array_to_string(warnings, '; ') FROM pgcopy.jobs ORDER BY job DESC LIMIT 1");
    let expected = match has_programs(&["pg_dump"]) {
        true => "definitions of this database were changed since",
        false => "pg_dump is not installed",
    };
    assert!(told.contains(expected), "{told}");
    // Nothing is left, and no server.
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 2);
    let running =
        Command::new("pgrep").args(["-f", "--", &format!("-D {}", place.directory.path().display())]).output().unwrap();
    assert!(running.stdout.is_empty());
}

#[test]
fn what_stands_in_the_way_is_told_together() {
    if !has_programs(&ALL) {
        return;
    }
    let options = Options::named("backup_refusals")
        .setting("wal_level = minimal")
        .setting("max_wal_senders = 0")
        .setting("max_replication_slots = 0");
    let mut place = Place::new("backup_refusals", options);
    fs::write(place.server.data().join("pg_hba.conf"), "host all all 127.0.0.1/32 trust\n").unwrap();
    place.client.batch_execute("SELECT pg_reload_conf()").unwrap();
    let failed = place.create_failure("a", ", incremental_from => 'b'");
    assert_eq!(failed.sqlstate, "55000");
    for words in [
        "wal_level",
        "max_wal_senders",
        "max_replication_slots",
        "pg_hba.conf",
        if major() < 17 { "17 or newer" } else { "summarize_wal" },
    ] {
        assert!(failed.detail.contains(words), "{failed:?}");
    }
    for (directory, words) in [
        ("/nonexistent".to_owned(), "cannot be used"),
        (place.server.data().display().to_string(), "is not apart from"),
        (place.server.data().join("base").display().to_string(), "is not apart from"),
    ] {
        let sql = format!("SELECT * FROM pgcopy.backup_create('{directory}')");
        let failed = Failure::of(&place.client.query(&sql, &[]).unwrap_err());
        assert!(failed.detail.contains(words), "{directory}: {failed:?}");
    }
    for (arguments, words) in [
        (", format => 'custom'", "format"),
        (", compress => 'bzip2'", "compress"),
        (", format => 'plain', compress => 'gzip'", "plain"),
        (", max_rate => 1", "max_rate"),
        (", checkpoint => 'never'", "checkpoint"),
        (", connection => 'host=127.0.0.1 port=1 user=postgres'", "cannot take a backup"),
    ] {
        let failed = place.create_failure("a", arguments);
        assert!(failed.message.contains(words), "{arguments}: {failed:?}");
    }
    for label in ["../a", "", "wal", "a/b", ".a", "a b"] {
        assert!(place.create_failure(label, "").message.contains("cannot be the name"), "{label}");
    }
    assert_eq!(place.list(), [""; 0]);
}

pub fn major() -> u16 {
    installation().version().major()
}

#[test]
fn who_may_take_backups_and_as_whom() {
    if !has_programs(&ALL) {
        return;
    }
    let access = "host all,replication asked 127.0.0.1/32 scram-sha-256";
    let mut place = Place::new("backup_rights", Options::named("backup_rights").access(access));
    place
        .client
        .batch_execute(
            "CREATE ROLE plain_user LOGIN; CREATE ROLE asked LOGIN PASSWORD 'secret';
             GRANT USAGE ON SCHEMA pgcopy TO plain_user, asked; GRANT pg_write_server_files TO asked",
        )
        .unwrap();
    let (port, directory) = (place.server.port(), place.directory.path().display().to_string());
    let backup = place.create("mine", "");
    let mut plain = connect_as(port, "postgres", "plain_user");
    for sql in [
        format!("SELECT * FROM pgcopy.backup_create('{directory}')"),
        format!("SELECT pgcopy.start_backup_create('{directory}')"),
        format!("SELECT * FROM pgcopy.backup_list('{directory}')"),
        format!("SELECT * FROM pgcopy.backup_validate('{backup}')"),
        format!("SELECT * FROM pgcopy.backup_restore('{backup}', '{directory}-x')"),
        format!("SELECT * FROM pgcopy.backup_prune('{directory}', keep_full => 1, dry_run => false)"),
        format!("SELECT * FROM pgcopy.wal_archive_enable('{directory}')"),
        "SELECT * FROM pgcopy.wal_archive_status()".to_owned(),
    ] {
        let failed = Failure::of(&plain.query(&sql, &[]).unwrap_err());
        assert_eq!(failed.sqlstate, "42501", "{sql}: {failed:?}");
    }
    let mut asked: Client = postgres::Config::new()
        .host("127.0.0.1")
        .port(port)
        .user("asked")
        .password("secret")
        .dbname("postgres")
        .connect(postgres::NoTls)
        .unwrap();
    let create = |client: &mut Client, label: &str, arguments: &str| {
        client
            .query(&format!("SELECT * FROM pgcopy.backup_create('{directory}', label => '{label}'{arguments})"), &[])
            .map_err(|error| Failure::of(&error))
    };
    let failed = create(&mut asked, "theirs", "").unwrap_err();
    assert!(failed.detail.contains("REPLICATION") && failed.detail.contains("pg_checkpoint"), "{failed:?}");
    place.client.batch_execute("ALTER ROLE asked REPLICATION").unwrap();
    let failed = create(&mut asked, "theirs", ", checkpoint => 'spread'").unwrap_err();
    assert!(failed.hint.contains("connection =>"), "{failed:?}");
    place.client.batch_execute("GRANT pg_checkpoint TO asked").unwrap();
    // The server lets everybody else in without a question, which is no way in for them.
    for connection in ["user=postgres", "user=postgres password=x", "user=asked"] {
        let connection = format!(", connection => 'host=127.0.0.1 port={port} dbname=postgres {connection}'");
        let failed = create(&mut asked, "theirs", &connection).unwrap_err();
        assert!(failed.message.contains("password is required"), "{failed:?}");
    }
    // Another server is not backed up from here.
    let [other, _] = shared_ports();
    let failed = create(
        &mut place.client,
        "theirs",
        &format!(", connection => 'host=127.0.0.1 port={other} user=postgres dbname=postgres'"),
    );
    assert!(failed.unwrap_err().message.contains("another server"));
    let connection = format!(", connection => 'host=127.0.0.1 port={port} dbname=postgres user=asked password=secret'");
    create(&mut asked, "theirs", &connection).unwrap();
    assert_eq!(place.list(), ["mine complete", "theirs complete"]);
    // Nobody starts programs that a backup names but superusers.
    place.client.batch_execute("GRANT pg_read_server_files TO asked").unwrap();
    for sql in [
        format!("SELECT * FROM pgcopy.backup_validate('{directory}/theirs', level => 'restore')"),
        format!("SELECT * FROM pgcopy.backup_restore('{directory}/theirs', '{directory}-x', start => true)"),
    ] {
        assert_eq!(Failure::of(&asked.query(&sql, &[]).unwrap_err()).sqlstate, "42501");
    }
    asked.query(&format!("SELECT * FROM pgcopy.backup_validate('{directory}/theirs')"), &[]).unwrap();
    let told = texts(
        &mut place.client,
        "SELECT concat(source, arguments, error, detail, array_to_string(warnings, '')) FROM pgcopy.jobs",
    );
    assert!(!told.is_empty() && told.iter().all(|told| !told.contains("secret")));
    assert!(!place.server.log_text().contains("password=secret"));
}

/// Processes of pg_basebackup that write into a directory.
fn programs(directory: &Path) -> Vec<String> {
    let output =
        Command::new("pgrep").args(["-f", "--", &format!("--pgdata={}", directory.display())]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn two_at_once_and_cancels() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_twice");
    place.client.batch_execute(LEDGER).unwrap();
    let directory = place.directory.path().to_owned();
    let start = |client: &mut Client, label: &str, arguments: &str| {
        let sql =
            format!("SELECT pgcopy.start_backup_create('{}', label => '{label}'{arguments})", directory.display());
        client.query_one(&sql, &[]).unwrap().get::<_, i64>(0)
    };
    let wait = |client: &mut Client, job: i64| text(client, &format!("SELECT pgcopy.wait({job})"));
    let (one, other) = (start(&mut place.client, "one", ""), start(&mut place.client, "other", ", format => 'plain'"));
    let ends = [wait(&mut place.client, one), wait(&mut place.client, other)];
    let errors =
        texts(&mut place.client, "SELECT concat_ws(E'\n', error, detail) FROM pgcopy.jobs WHERE state = 'failed'");
    assert_eq!((ends, errors), (["completed".to_owned(), "completed".to_owned()], Vec::new()));
    // Slow enough to be met.
    let slow = start(&mut place.client, "slow", ", max_rate => 200, compress => 'none'");
    eventually("it is being taken", || programs(&directory).len() >= 2);
    assert_eq!(place.list(), ["one complete", "other complete", "slow incomplete"]);
    let failed = place.create_failure("slow", "");
    assert!(failed.message.contains("another session"), "{failed:?}");
    let kept = texts(
        &mut place.client,
        &format!(
            "SELECT entry || ' ' || keep FROM pgcopy.backup_prune('{}', keep_full => 9, dry_run => false)",
            directory.display()
        ),
    );
    assert_eq!(kept, ["one true", "other true", "slow.incomplete true"]);
    place.client.execute("SELECT pgcopy.cancel($1)", &[&slow]).unwrap();
    assert_eq!(wait(&mut place.client, slow), "failed");
    eventually("the programs are gone", || programs(&directory).is_empty());
    // A job is over when it is called off, and its session clears up after that.
    eventually("the directory is gone", || !directory.join("slow.incomplete").exists());
    assert_eq!(place.list(), ["one complete", "other complete"]);
    // A session that is terminated leaves nothing; one that is killed leaves what the next one removes.
    for signal in ["TERM", "KILL"] {
        let job = start(&mut place.client, "slow", ", max_rate => 200, compress => 'none'");
        eventually("it is being taken", || programs(&directory).len() >= 2);
        let leader = text(&mut place.client, &format!("SELECT leader_pid::text FROM pgcopy.jobs WHERE job = {job}"));
        kill(signal, &leader);
        eventually("the programs are gone", || programs(&directory).is_empty());
        if signal == "KILL" {
            // The server starts anew after that.
            eventually("the server is back", || {
                place.server.try_connect("postgres").is_ok_and(|mut client| client.simple_query("SELECT 1").is_ok())
            });
            place.client = place.server.connect("postgres");
            assert_eq!(place.list(), ["one complete", "other complete", "slow incomplete"]);
            assert!(place.faults("one", "").is_empty());
        } else {
            assert_eq!(wait(&mut place.client, job), "failed");
            eventually("the directory is gone", || !directory.join("slow.incomplete").exists());
        }
    }
    place.create("slow", "");
    assert_eq!(place.list(), ["one complete", "other complete", "slow complete"]);
    assert_eq!(place.faults("slow", ""), [""; 0]);
}

/// A backup begins before its program has asked for the WAL that comes from then on.
#[test]
fn checkpoints_take_no_wal_from_a_backup_that_begins() {
    if !has_programs(&ALL) {
        return;
    }
    let options = Options::named("backup_checkpoints").setting("min_wal_size = 32MB").setting("max_wal_size = 32MB");
    let mut place = Place::new("backup_checkpoints", options);
    place.client.batch_execute(LEDGER).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (mut other, stopped) = (place.server.connect("postgres"), Arc::clone(&stop));
    let checkpoints = std::thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            other.batch_execute("INSERT INTO ledger DEFAULT VALUES; SELECT pg_switch_wal(); CHECKPOINT").unwrap();
        }
    });
    let created: Vec<Result<String, String>> =
        (0..5).map(|number| place.try_create(&format!("b{number}"), "").map_err(|error| describe(&error))).collect();
    stop.store(true, Ordering::SeqCst);
    checkpoints.join().unwrap();
    for (number, backup) in created.into_iter().enumerate() {
        assert_eq!(backup, Ok(place.path(&format!("b{number}"))));
        assert_eq!(place.faults(&format!("b{number}"), ""), [""; 0]);
    }
    // What kept the WAL meanwhile does so no longer, also after an error that the caller went on from.
    let slots = "SELECT count(*)::text FROM pg_replication_slots";
    assert_eq!(text(&mut place.client, slots), "0");
    let sql = format!(
        "DO $$ BEGIN PERFORM pgcopy.backup_create('{}', label => 'cut', connection => 'host=127.0.0.1 port=1 user=postgres'); EXCEPTION WHEN OTHERS THEN NULL; END $$",
        place.directory.path().display()
    );
    place.client.batch_execute(&sql).unwrap();
    assert_eq!(text(&mut place.client, slots), "0");
}

/// Sends a signal to a process that may be gone, and waits until it is.
fn kill(signal: &str, pid: &str) {
    // There is no leader yet, or no longer.
    if pid == "0" || pid.is_empty() {
        return;
    }
    let _ =
        Command::new("kill").args([format!("-{signal}"), pid.to_owned()]).stderr(std::process::Stdio::null()).status();
    eventually("the process is gone", || !Path::new("/proc").join(pid).exists());
}

/// Processes are killed at random moments of backups: what is called complete is.
#[test]
fn killed_backups_are_never_called_complete() {
    if !has_programs(&ALL) {
        return;
    }
    let seed = number("PGCOPY_TEST_SEED", 7);
    let tries = number("PGCOPY_FAULT_TRIES", 4);
    let mut random = Random(seed);
    let mut place = Place::start("backup_kills");
    place.client.batch_execute(LEDGER).unwrap();
    let started = std::time::Instant::now();
    place.create("usual", "");
    let usual = started.elapsed().as_micros() as u64;
    for try_number in 0..tries {
        let label = format!("try{try_number}");
        let format = if random.below(2) == 0 { "tar" } else { "plain" };
        let directory = place.directory.path().to_owned();
        let sql = format!(
            "SELECT pgcopy.start_backup_create('{}', label => '{label}', format => '{format}')",
            directory.display()
        );
        let job: i64 = place.client.query_one(&sql, &[]).unwrap().get(0);
        std::thread::sleep(Duration::from_micros(random.below(usual + usual / 4)));
        let what = random.below(4);
        let leader = text(
            &mut place.client,
            &format!("SELECT coalesce(leader_pid, 0)::text FROM pgcopy.jobs WHERE job = {job}"),
        );
        match what {
            0 => programs(&directory).first().map_or((), |pid| kill("KILL", pid)),
            1 => kill("TERM", &leader),
            2 => kill("KILL", &leader),
            _ => place.server.crash_and_restart().unwrap(),
        };
        eventually("the programs are gone", || programs(&directory).is_empty());
        eventually("the server is there", || {
            place.server.try_connect("postgres").is_ok_and(|mut client| client.simple_query("SELECT 1").is_ok())
        });
        place.client = place.server.connect("postgres");
        eventually("the job is over", || {
            text(&mut place.client, "SELECT count(*)::text FROM pgcopy.jobs WHERE state = 'running'") == "0"
                || place.client.batch_execute("SELECT pgcopy.cleanup()").is_err()
        });
        for line in place.list() {
            let (name, state) = line.split_once(' ').unwrap();
            assert_ne!(state, "damaged", "seed {seed}, try {try_number}, {what}: {line}");
            if name == label && state == "complete" {
                assert_eq!(place.faults(name, ""), [""; 0], "seed {seed}, try {try_number}");
                let restored = place.restore(name, &label, "");
                assert!(text(&mut restored.connect(), ROWS).starts_with("0 rows"), "seed {seed}, try {try_number}");
            }
        }
        let prune = format!(
            "SELECT count(*)::text FROM pgcopy.backup_prune('{}', keep_full => 1, dry_run => false)",
            directory.display()
        );
        text(&mut place.client, &prune);
        assert_eq!(place.list().len(), 1, "seed {seed}, try {try_number}");
    }
}

#[test]
fn directories_of_anybody_are_read_without_harm() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_hostile");
    place.create("one", "");
    let directory = place.directory.path().to_owned();
    let shell = |script: &str| {
        let output = as_server_user(&format!("cd {}; {script}", directory.display()), &directory);
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for name in ["fifo", "huge", "device", "text", "cut"] {
        shell(&format!("cp -r one {name}; rm {name}/backup.json"));
    }
    shell("mkfifo fifo/backup.json; truncate -s 10G huge/backup.json; ln -s /dev/zero device/backup.json");
    shell(
        "cp one/backup.json text; rm text/data/backup_manifest; yes | head -c 10000000 | tr -d '\\n' > text/data/backup_manifest",
    );
    shell("head -c 100 one/backup.json > cut/backup.json; ln -s one link; mkdir \"$(printf 'a\\377')\"; touch file");
    // Parents that lead round, and one that leads out.
    for (name, parent) in [("a", "b"), ("b", "a"), ("out", "../one"), ("orphan", "gone")] {
        shell(&format!(
            "cp -r one {name}; sed -i 's|\"parent\": null|\"parent\": \"{parent}\"|' {name}/backup.json; rm {name}/SHA256SUMS"
        ));
    }
    let mut expected: Vec<String> = ["a", "b", "cut", "device", "fifo", "huge", "orphan", "out", "text"]
        .map(|name| format!("{name} damaged"))
        .into();
    expected.insert(6, "one complete".to_owned());
    assert_eq!(place.list(), expected);
    for line in expected {
        let name = line.split(' ').next().unwrap();
        assert_eq!(place.faults(name, "").is_empty(), name == "one", "{name}");
        if name != "one" {
            let target = place.restored.path().join(name);
            assert_eq!(place.restore_failure(name, &target, "").sqlstate, "XX001", "{name}");
        }
    }
    let sql = format!(
        "SELECT string_agg(entry, ' ' ORDER BY entry) FROM pgcopy.backup_prune('{}', keep_full => 1) WHERE keep",
        directory.display()
    );
    assert_eq!(text(&mut place.client, &sql), "cut device fifo huge one out text");
}

#[test]
fn a_full_disk_leaves_nothing() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_disk");
    // What compresses badly.
    let rows =
        "CREATE TABLE ballast AS SELECT md5(i::text) || md5((-i)::text) AS body FROM generate_series(1, 100000) i";
    place.client.batch_execute(rows).unwrap();
    place.create("whole", "");
    // One that is known to be too small, and one that turns out to be.
    for (size, sqlstate, words) in [("1m", "55000", "MB left"), ("6m", "53100", "pg_basebackup could not")] {
        let disk = crate::harness::disk::SmallDisk::mount(size);
        let directory = disk.path().display();
        for format in ["tar', compress => 'gzip", "plain"] {
            let sql = format!("SELECT * FROM pgcopy.backup_create('{directory}', label => 'a', format => '{format}')");
            let failed = Failure::of(&place.client.query(&sql, &[]).unwrap_err());
            // Files of the plain format need all the room, which is known before.
            let expected = if format == "plain" { "55000" } else { sqlstate };
            assert_eq!(failed.sqlstate, expected, "{size} {format}: {failed:?}");
            assert!(format == "plain" || failed.message.contains(words), "{failed:?}");
        }
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
        // Nor is there room for what is unpacked.
        let target = disk.path().join("restored");
        assert_eq!(place.restore_failure("whole", &target, "").sqlstate, "53100");
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
    }
}

#[test]
fn restores_refuse_places_that_are_taken() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_places");
    place.client.batch_execute(LEDGER).unwrap();
    place.create("a", "");
    let taken = place.restored.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("file"), "mine").unwrap();
    let data = place.server.data().to_owned();
    for (target, sqlstate) in [
        (taken.clone(), "58P02"),
        (taken.join("file"), "58P02"),
        (data.clone(), "55006"),
        (data.join("new"), "55006"),
        (data.parent().unwrap().to_owned(), "55006"),
        (place.directory.path().join("b"), "22023"),
        (PathBuf::from("relative"), "42602"),
    ] {
        let failed = place.restore_failure("a", &target, "");
        assert_eq!(failed.sqlstate, sqlstate, "{target:?}: {failed:?}");
    }
    assert_eq!(place.restore_failure("missing", &taken.join("x"), "").sqlstate, "58P01");
    assert_eq!(fs::read_to_string(taken.join("file")).unwrap(), "mine");
    // An empty one is taken, and without an archive the backup restores to its own end.
    let empty = place.restored.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let owner = fs::metadata(place.restored.path()).unwrap();
    std::os::unix::fs::chown(&empty, Some(owner.uid()), Some(owner.gid())).unwrap();
    let restored = place.restore("a", "empty", "");
    assert!(text(&mut restored.connect(), ROWS).starts_with("0 rows"));
    // A damaged one leaves nothing.
    let archive = place.directory.path().join("a/data/base.tar.gz");
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let failed = place.restore_failure("a", &place.restored.path().join("none"), "");
    assert!(failed.sqlstate == "XX001" && failed.detail.contains("base.tar.gz"), "{failed:?}");
    assert_eq!(fs::read_dir(place.restored.path()).unwrap().count(), 2);
}

#[test]
fn pruning_keeps_what_the_policy_asks_for() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_prune");
    place.client.batch_execute(LEDGER).unwrap();
    for label in ["a", "b", "c"] {
        place.create(label, "");
        place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
        place.archive_all();
    }
    let directory = place.directory.path().display().to_string();
    let prune = |client: &mut Client, arguments: &str| {
        texts(client, &format!("SELECT entry || ' ' || keep FROM pgcopy.backup_prune('{directory}', {arguments})"))
    };
    let segments = |place: &Place| {
        let entries = fs::read_dir(place.directory.path().join("wal")).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_none()).count()
    };
    // Directories of other people are nobody's backups, whatever they are called.
    for name in ["data", "old/data", "old.incomplete/data"] {
        fs::create_dir_all(place.directory.path().join(name)).unwrap();
    }
    let before = segments(&place);
    let dry = prune(&mut place.client, "keep_full => 2");
    assert_eq!(dry[..3], ["a false", "b true", "c true"]);
    assert_eq!((place.list().len(), segments(&place)), (3, before));
    assert_eq!(prune(&mut place.client, "keep_for => '1 day'")[..3], ["a true", "b true", "c true"]);
    assert_eq!(prune(&mut place.client, "keep_full => 2, dry_run => false"), dry);
    assert_eq!(place.list(), ["b complete", "c complete"]);
    assert!(segments(&place) < before);
    assert!(["data", "old/data", "old.incomplete/data"].iter().all(|name| place.directory.path().join(name).is_dir()));
    // What cannot be read at the moment stays, and so does what may build on it.
    let manifest = place.directory.path().join("b/data/backup_manifest");
    fs::rename(&manifest, manifest.with_extension("away")).unwrap();
    assert_eq!(prune(&mut place.client, "keep_full => 1, dry_run => false")[..2], ["b true", "c true"]);
    fs::rename(manifest.with_extension("away"), &manifest).unwrap();
    assert_eq!(place.list(), ["b complete", "c complete"]);
    // A directory is for one server.
    let record = place.directory.path().join("b/backup.json");
    let own = fs::read_to_string(&record).unwrap();
    let identifier = text(&mut place.client, "SELECT system_identifier::text FROM pg_control_system()");
    let mut changed = identifier.clone().into_bytes();
    let last = changed.len() - 1;
    changed[last] = if changed[last] == b'1' { b'2' } else { b'1' };
    let other = String::from_utf8(changed).unwrap();
    let of_other = |text: &str| text.replace(&identifier, &other);
    fs::write(&record, of_other(&own)).unwrap();
    fs::remove_file(place.directory.path().join("b/SHA256SUMS")).unwrap();
    let manifest_of_own = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, of_other(&manifest_of_own)).unwrap();
    if place.list() == ["b complete", "c complete"] {
        assert_eq!(prune(&mut place.client, "keep_full => 1, dry_run => false")[..2], ["b true", "c true"]);
        let failed = place.create_failure("d", "");
        assert!(failed.message.contains("is of another server"), "{failed:?}");
    }
    fs::write(&record, own).unwrap();
    fs::write(&manifest, manifest_of_own).unwrap();
    // What remains still restores to now.
    let restored = place.restore("b", "b", "");
    assert_eq!(text(&mut restored.connect(), ROWS), "3 rows to 3");
    for arguments in ["keep_full => 0", "keep_for => '-1 day'", "dry_run => true"] {
        let sql = format!("SELECT * FROM pgcopy.backup_prune('{directory}', {arguments})");
        assert_eq!(Failure::of(&place.client.query(&sql, &[]).unwrap_err()).sqlstate, "22023");
    }
}

#[test]
fn the_archive_tells_how_it_is_doing() {
    let mut place = Place::archiving("backup_archive");
    place.client.batch_execute(LEDGER).unwrap();
    place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    place.archive_all();
    let status =
        "SELECT concat_ws(' ', enabled, directory, last_archived IS NOT NULL, failures > 0, waiting, cardinality(gaps))
                  FROM pgcopy.wal_archive_status()";
    let wal = place.path("wal");
    eventually("it is told", || text(&mut place.client, status) == format!("t {wal} t f 0 0"));
    // Again changes nothing, and another archive is left alone.
    let enable = format!(
        "SELECT bool_or(needs_restart)::text FROM pgcopy.wal_archive_enable('{}')",
        place.directory.path().display()
    );
    assert_eq!(text(&mut place.client, &enable), "false");
    // The archive fails for a while.
    let moved = place.directory.path().join("moved");
    fs::rename(&wal, &moved).unwrap();
    place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES; SELECT pg_switch_wal()").unwrap();
    eventually("it waits", || {
        text(
            &mut place.client,
            "SELECT (waiting > 0 AND waiting_bytes > 0 AND failures > 0 AND last_failed IS NOT NULL)::text FROM pgcopy.wal_archive_status()",
        ) == "true"
    });
    fs::rename(&moved, &wal).unwrap();
    place.client.batch_execute("ALTER SYSTEM SET archive_library = ''; ").unwrap();
    place.client.batch_execute("ALTER SYSTEM SET archive_command = 'true'").unwrap();
    place.client.batch_execute("SELECT pg_reload_conf()").unwrap();
    eventually("it is set", || text(&mut place.client, "SHOW archive_command") == "true");
    let failed = Failure::of(&place.client.query(&enable, &[]).unwrap_err());
    assert!(failed.message.contains("another way") && failed.detail.contains("archive_command"), "{failed:?}");
}

#[test]
fn incremental_backups_restore_with_their_parents() {
    if major() < 17 || !has_programs(&ALL) || !has_programs(&["pg_combinebackup"]) {
        return;
    }
    let options = Options::named("backup_incremental").setting("summarize_wal = on");
    let mut place = Place::new("backup_incremental", options);
    let elsewhere = ScratchDirectory::create("backup_incremental-space").unwrap();
    let space = elsewhere.path().display().to_string();
    place.client.batch_execute(&format!("CREATE TABLESPACE elsewhere LOCATION '{space}'")).unwrap();
    place.client.batch_execute(&format!("{LEDGER} TABLESPACE elsewhere; INSERT INTO ledger (body) SELECT repeat('y', 500) FROM generate_series(1, 20000)")).unwrap();
    place.create("full", "");
    place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    place.create("second", ", incremental_from => 'full'");
    place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    place.create("third", ", incremental_from => 'second', format => 'plain'");
    let list = format!(
        "SELECT concat_ws(' ', name, state, kind, parent) FROM pgcopy.backup_list('{}')",
        place.directory.path().display()
    );
    assert_eq!(
        texts(&mut place.client, &list),
        ["full complete full", "second complete incremental full", "third complete incremental second"]
    );
    let sizes = format!(
        "WITH l AS (SELECT * FROM pgcopy.backup_list('{}'))
         SELECT (s.bytes < f.bytes / 2)::text FROM l s, l f WHERE s.name = 'second' AND f.name = 'full'",
        place.directory.path().display()
    );
    assert_eq!(text(&mut place.client, &sizes), "true");
    for name in ["full", "second", "third"] {
        assert_eq!(place.faults(name, ""), [""; 0], "{name}");
    }
    assert_eq!(place.faults("third", ", level => 'restore'"), [""; 0]);
    let arguments =
        format!(", tablespaces => '{{\"{space}\": \"{}\"}}'", place.restored.path().join("space").display());
    let restored = place.restore("third", "third", &arguments);
    assert_eq!(text(&mut restored.connect(), ROWS), "20002 rows to 20002");
    // A parent that is needed is kept, and one that is damaged is told.
    let kept = texts(
        &mut place.client,
        &format!(
            "SELECT entry || ' ' || keep FROM pgcopy.backup_prune('{}', keep_full => 1)",
            place.directory.path().display()
        ),
    );
    assert_eq!(kept, ["full true", "second true", "third true"]);
    fs::remove_file(place.directory.path().join("second/backup.json")).unwrap();
    assert_eq!(place.list(), ["full complete", "second damaged", "third damaged"]);
    assert!(place.faults("third", "").iter().any(|fault| fault.contains("\"second\"")));
    let failed = place.create_failure("fourth", ", incremental_from => 'third'");
    assert!(failed.message.contains("second"), "{failed:?}");
}
