//! A drill: a backup is restored into a scratch directory, and a server started from it that nobody but this session can reach.

use super::facts::Facts;
use super::layout::BackupFault;
use super::repository::Whole;
use super::{files, restore};
use crate::error::{Error, Result, caution, sqlstate_class};
use crate::local::child::Background;
use crate::local::new_directory::ScratchDirectory;
use crate::local::new_file::file_error;
use crate::local::program::Program;
use crate::local::{interrupts, script_objects};
use crate::source::{Origin, Session};
use pgrx::prelude::*;
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of the server of a drill. It does nothing but answer: no jobs of preloaded libraries, no subscriptions, no archive.
const SETTINGS: [&str; 23] = [
    "listen_addresses=",
    "port=5432",
    "shared_preload_libraries=",
    "session_preload_libraries=",
    "local_preload_libraries=",
    "max_logical_replication_workers=0",
    "archive_mode=off",
    "primary_conninfo=",
    "primary_slot_name=",
    "recovery_target_action=promote",
    "hot_standby=off",
    "autovacuum=off",
    "shared_buffers=16MB",
    "huge_pages=off",
    "fsync=off",
    // One that a session brings down is not to be waited for.
    "restart_after_crash=off",
    "ssl=off",
    "logging_collector=off",
    "log_destination=stderr",
    "cluster_name=",
    "external_pid_file=",
    // As many as anybody has, since recovery needs as many as there were.
    "max_prepared_transactions=2000",
    "max_locks_per_transaction=256",
];

/// Settings of its sessions. Those of the roles and databases in the backup, which go before the server's, must neither keep a session
/// out nor run code in it.
const OF_SESSIONS: &str =
    "-c session_preload_libraries= -c local_preload_libraries= -c role=none -c default_transaction_read_only=off";

/// The first version with a setting that switches event triggers off, and with such triggers for logins.
const LOGIN_TRIGGERS: u32 = 170_000;

/// Restores, starts, looks, stops. Returns what is wrong.
pub(super) fn run(chain: &[Whole], scratch: &Path, on_bytes: &dyn Fn(u64)) -> Result<Vec<BackupFault>> {
    let Some(last) = chain.last() else { return Ok(Vec::new()) };
    let own_major = pgrx::pg_sys::PG_MAJORVERSION_NUM;
    if last.record.server_version / 10_000 != own_major {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("the backup is of version {}, and this server of {own_major}", last.record.server_version / 10_000),
        ));
    }
    let layout = match restore::lay_out(chain, scratch, on_bytes)? {
        Ok(layout) => layout,
        Err(faults) => return Ok(faults),
    };
    restore::remove_leftovers(&layout.data)?;
    // The path of a socket must be short.
    let sockets = ScratchDirectory::create(&std::env::temp_dir())?;
    let trial = Trial {
        scratch,
        sockets: sockets.path(),
        settings: settings(&layout.data, sockets.path())?,
        database: script_objects::current_database()?,
    };
    // Roles can be renamed, before and after.
    let roles: Vec<String> = last.record.superuser.iter().cloned().chain([Facts::read()?.superuser]).collect();
    let (server, start, origin) = trial.open(&roles)?;
    let outcome = match start {
        Start::Session(session) => look(last, &origin, *session),
        Start::Refusal(reason) => {
            caution(&format!("the server starts from the backup, and its tables were not checked: {}", reason.message));
            Ok(Vec::new())
        }
        Start::Failure(reason) => Ok(vec![last.fault(None, format!("a server does not start from it: {reason}"))]),
    };
    drop(server);
    outcome
}

/// Prepares a data directory for the server of a drill. Returns the arguments of the server.
fn settings(data: &Path, sockets: &Path) -> Result<Vec<String>> {
    let text = |path: &Path| path.display().to_string();
    let access = data.join("pgcopy_hba.conf");
    // The directory of the socket is this user's alone.
    files::write(&access, b"local all all trust\n")?;
    let configuration = data.join("pgcopy_drill.conf");
    files::write(&configuration, b"")?;
    files::append(&data.join("recovery.signal"), b"")?;
    // The settings of the server that the backup is of are not for this one.
    files::remove(&data.join("postgresql.auto.conf"))?;
    let mut arguments = vec!["-D".to_owned(), text(data)];
    let own = [
        format!("config_file={}", text(&configuration)),
        format!("hba_file={}", text(&access)),
        format!("ident_file={}", text(&configuration)),
        format!("unix_socket_directories={}", text(sockets)),
        "recovery_target=immediate".to_owned(),
        "restore_command=false".to_owned(),
    ];
    for setting in SETTINGS.into_iter().map(str::to_owned).chain(own) {
        arguments.extend(["-c".to_owned(), setting]);
    }
    Ok(arguments)
}

/// The copy of a backup that a server is started from.
struct Trial<'a> {
    scratch: &'a Path,
    sockets: &'a Path,
    settings: Vec<String>,
    database: String,
}

impl Trial<'_> {
    fn log(&self) -> PathBuf {
        self.scratch.join("log")
    }

    /// Starts a program of the server with the settings of the copy.
    fn run(&self, arguments: &[String], input: Option<File>) -> Result<Background> {
        let log = self.log();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&log);
        let file = file.map_err(|error| file_error("could not open file", &log, &error))?;
        Program::of_server("postgres")?.start(arguments, input, file)
    }

    fn origin_of(&self, role: &str) -> Result<Origin> {
        let mut origin = Origin::of_socket(self.sockets, &self.database, role)?;
        let triggers = if crate::local::settings::version() >= LOGIN_TRIGGERS { " -c event_triggers=off" } else { "" };
        origin.set_options(&format!("{OF_SESSIONS}{triggers}"));
        Ok(origin)
    }

    /// Starts a server, and opens a session of a superuser there: of one of these roles, or of one of its own where none of them is.
    fn open(&self, roles: &[String]) -> Result<(Background, Start, Origin)> {
        let mut server = self.run(&self.settings, None)?;
        for role in roles {
            let origin = self.origin_of(role)?;
            match self.connect(&mut server, &origin)? {
                Start::Refusal(error) if is_about_role(&error) => {}
                Start::Session(session) if !is_superuser(&session)? => {}
                start => return Ok((server, start, origin)),
            }
        }
        drop(server);
        let origin = self.origin_of(&self.make_superuser()?)?;
        let mut server = self.run(&self.settings, None)?;
        let start = self.connect(&mut server, &origin)?;
        Ok((server, start, origin))
    }

    /// Makes a superuser. A server for a single user asks for no name: it takes the bootstrap superuser, whatever that is called, and
    /// also where that may not log in.
    fn make_superuser(&self) -> Result<String> {
        let role = format!("pgcopy_drill_{}", std::process::id());
        let commands = self.scratch.join("commands");
        files::write(&commands, format!("CREATE ROLE {role} SUPERUSER LOGIN\n").as_bytes())?;
        let input =
            files::open_regular(&commands).map_err(|error| file_error("could not open file", &commands, &error))?;
        let arguments: Vec<String> = std::iter::once("--single".to_owned())
            .chain(self.settings.iter().cloned())
            .chain(["template1".to_owned()])
            .collect();
        let mut single = self.run(&arguments, Some(input))?;
        while single.is_running() {
            interrupts::wait(Duration::from_millis(20));
        }
        Ok(role)
    }

    /// Waits until the server is up.
    fn connect(&self, server: &mut Background, origin: &Origin) -> Result<Start> {
        /// Of connections that are refused or lost, and of servers that are full, starting or ending.
        const PASSING: [&[u8; 2]; 3] = [b"08", b"53", b"57"];
        loop {
            interrupts::check();
            if !server.is_running() {
                return Ok(Start::Failure(tail(&self.log())));
            }
            if self.sockets.join(".s.PGSQL.5432").exists() {
                match Session::open(origin) {
                    Ok(session) => return Ok(Start::Session(Box::new(session))),
                    // It is still starting.
                    Err(error) if PASSING.contains(&&sqlstate_class(error.sqlstate)) => {}
                    Err(error) if is_about_data(&error) => return Ok(Start::Failure(error.message)),
                    Err(error) => return Ok(Start::Refusal(Box::new(error))),
                }
            }
            interrupts::wait(Duration::from_millis(100));
        }
    }
}

/// Returns whether a role is what the server objects to: it is not there, may not log in, or not with settings of superusers.
fn is_about_role(error: &Error) -> bool {
    sqlstate_class(error.sqlstate) == *b"28" || error.sqlstate == PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32
}

/// Returns whether the server cannot read its data.
fn is_about_data(error: &Error) -> bool {
    sqlstate_class(error.sqlstate) == *b"XX"
}

fn is_superuser(session: &Session) -> Result<bool> {
    Ok(session.query_value("SELECT pg_catalog.current_setting('is_superuser')")? == "on")
}

/// What became of a server.
enum Start {
    Session(Box<Session>),
    /// It is up, and lets nobody in there: such as without the database.
    Refusal(Box<Error>),
    /// The end of its log.
    Failure(String),
}

/// A fault that `check_local` has found there.
#[derive(Deserialize)]
struct Found {
    schema: String,
    table: String,
    finding: String,
}

fn look(last: &Whole, origin: &Origin, session: Session) -> Result<Vec<BackupFault>> {
    let mut faults = Vec::new();
    match check_tables(&session) {
        Ok(None) => caution("the backup's database does not have the extension: its tables were not checked"),
        Ok(Some(found)) => faults.extend(found.into_iter().map(|found| {
            last.fault(None, format!("{}: {}", plan::qualified(&found.schema, &found.table), found.finding))
        })),
        Err(error) if is_about_data(&error) => faults.push(last.fault(None, error.message)),
        // The server is gone, or was told to go.
        Err(error) if [*b"08", *b"57"].contains(&sqlstate_class(error.sqlstate)) => return Err(error),
        // Such as an extension of another version, which says nothing of the backup.
        Err(error) => caution(&format!("the tables of the backup were not checked: {}", error.message)),
    }
    drop(session);
    compare_definitions(origin)?;
    Ok(faults)
}

/// Has `check_local` look at the database there; `None` where that is not installed.
fn check_tables(session: &Session) -> Result<Option<Vec<Found>>> {
    session.execute("SET search_path = pg_catalog")?;
    let installed = session.query_value("SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'pgcopy' AND p.proname = 'check_local'")?;
    if installed == "0" {
        return Ok(None);
    }
    let found = session.query_value(
        "SELECT coalesce(json_agg(json_build_object('schema', c.schema, 'table', c.\"table\", 'finding', c.finding)), '[]')
         FROM pgcopy.check_local(storage => EXISTS (SELECT FROM pg_extension WHERE extname = 'amcheck'), parallel => 0) c",
    )?;
    let found = serde_json::from_str(&found);
    found.map(Some).map_err(|error| Error::internal(format!("unexpected answer of check_local: {error}")))
}

/// What was defined since the backup is no fault of it, but worth to know.
fn compare_definitions(there: &Origin) -> Result<()> {
    let Ok(program) = Program::of_server("pg_dump") else {
        caution("pg_dump is not installed: definitions were not compared");
        return Ok(());
    };
    let dump = |origin: &Origin| -> Result<std::result::Result<Vec<String>, String>> {
        let (connection, password) = origin.for_program(program.major)?;
        let arguments = [
            format!("--dbname={connection}"),
            "--schema-only".into(),
            "--no-password".into(),
            "--lock-wait-timeout=60s".into(),
        ];
        let output = program.run(&arguments, password)?;
        if !output.succeeded {
            return Ok(Err(crate::local::program::complaints(&output.messages).join(" ")));
        }
        let text = String::from_utf8_lossy(&output.text).into_owned();
        let lines = text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        Ok(Ok(lines.map(str::to_owned).collect()))
    };
    let (here, there) = match (dump(&Origin::of_this_server()?)?, dump(there)?) {
        (Ok(here), Ok(there)) => (here, there),
        // This says nothing of the backup: this server may ask for a password, or a table here be locked.
        (Err(reason), _) | (_, Err(reason)) => {
            caution(&format!("definitions were not compared: {reason}"));
            return Ok(());
        }
    };
    let first = here.iter().zip(&there).find(|(here, there)| here != there);
    if here != there {
        let first = first.map_or_else(String::new, |(here, there)| format!(": \"{there}\" there, \"{here}\" here"));
        caution(&format!("the definitions of this database were changed since the backup{first}"));
    }
    Ok(())
}

/// Returns the end of a log.
fn tail(log: &Path) -> String {
    const MOST_BYTES: usize = 2000;
    let text = fs::read(log).unwrap_or_default();
    let start = text.len().saturating_sub(MOST_BYTES);
    String::from_utf8_lossy(&text[start..]).into_owned()
}
