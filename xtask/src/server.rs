//! Throw-away PostgreSQL servers. They run as another user where we are root, and end with the process that started
//! them, however it ends.

use crate::{Result, packages, target};
use postgres::{Client, NoTls};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(u16);

impl Version {
    /// The oldest and the newest that the extension can be installed on.
    pub const OLDEST: Self = Self(15);
    pub const NEWEST: Self = Self(18);
    /// The oldest that it can pull from.
    const OLDEST_SOURCE: u16 = 12;

    pub fn parse(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(major) if (Self::OLDEST.0..=Self::NEWEST.0).contains(&major) => Ok(Self(major)),
            _ => Err(format!(
                "PostgreSQL {text} is not among the supported versions: {} to {}",
                Self::OLDEST.0,
                Self::NEWEST.0
            )
            .into()),
        }
    }

    /// All that a source may have.
    pub fn of_sources() -> impl Iterator<Item = Self> {
        (Self::OLDEST_SOURCE..=Self::NEWEST.0).map(Self)
    }

    pub fn major(self) -> u16 {
        self.0
    }

    /// Whether the system's packages are used, and not those of other registries.
    pub fn is_of_system(self) -> bool {
        self == Self::OLDEST
    }

    pub fn pg_config(self) -> PathBuf {
        if self.is_of_system() {
            format!("/usr/lib/postgresql/{}/bin/pg_config", self.0).into()
        } else {
            packages::pg_config(self)
        }
    }
}

/// A private copy of a server's programs, so that installing the extension touches nothing of the system's.
#[derive(Debug, Clone)]
pub struct Installation {
    prefix: PathBuf,
    version: Version,
}

impl Installation {
    /// Copies the system's server, or fetches one. It finds its files relative to its program, so that it runs from
    /// anywhere.
    pub fn prepare(version: Version) -> Result<Self> {
        let installation = Self { prefix: work_directory()?.join(format!("pg{}", version.0)), version };
        if !version.is_of_system() {
            packages::unpack_server(version, &installation.prefix)?;
            return Ok(installation);
        }
        for part in ["lib", "share"] {
            let system = format!("/usr/{part}/postgresql/{}", version.0);
            let own = installation.prefix.join(&system[1..]);
            let parent = own.parent().expect("the path has several parts");
            fs::create_dir_all(parent)?;
            // What is there already and no older stays.
            run(Command::new("cp").args(["--recursive", "--dereference", "--update", &system]).arg(parent))?;
        }
        Ok(installation)
    }

    /// Copies a module that a package has added to the system's server; false where there is none.
    pub fn add_module(&self, name: &str) -> Result<bool> {
        if !self.version.is_of_system() {
            return Ok(false);
        }
        let major = self.version.0;
        let files = [
            (format!("/usr/lib/postgresql/{major}/lib"), format!("{name}.so")),
            (format!("/usr/share/postgresql/{major}/extension"), format!("{name}.control")),
            (format!("/usr/share/postgresql/{major}/extension"), format!("{name}--")),
        ];
        let mut found = 0;
        for (directory, start) in &files {
            for entry in fs::read_dir(directory)?.flatten() {
                if entry.file_name().to_string_lossy().starts_with(start.as_str()) {
                    fs::copy(entry.path(), self.prefix.join(&directory[1..]).join(entry.file_name()))?;
                    found += 1;
                }
            }
        }
        Ok(found > 0)
    }

    /// The installation that an earlier `prepare` made; for a process that was told of it.
    pub fn at(prefix: &Path, version: Version) -> Self {
        Self { prefix: prefix.into(), version }
    }

    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.directory("usr/lib/postgresql/{}/bin", "bin").join(name)
    }

    pub(crate) fn install_file(&self, name: &str, content: &[u8]) -> Result<()> {
        fs::write(
            self.directory("usr/share/postgresql/{}/extension", "share/postgresql/extension").join(name),
            content,
        )?;
        Ok(())
    }

    pub(crate) fn install_library(&self, library: &Path) -> Result<()> {
        let installed = self.directory("usr/lib/postgresql/{}/lib", "lib/postgresql").join("pgcopy.so");
        // A new file, not new content, and whole from the start: a running server may have the old one mapped, and its new
        // sessions load the one that they find.
        let new = installed.with_extension("so.new");
        fs::copy(library, &new)?;
        fs::rename(&new, &installed)?;
        Ok(())
    }

    /// Debian has a place for each version, the other packages follow the server's own defaults.
    fn directory(&self, of_debian: &str, usual: &str) -> PathBuf {
        if self.version.is_of_system() {
            self.prefix.join(of_debian.replace("{}", &self.version.0.to_string()))
        } else {
            self.prefix.join(usual)
        }
    }
}

/// How a server is set up. Settings are lines of `postgresql.conf`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub name: String,
    pub settings: Vec<String>,
    /// Lines of `pg_hba.conf` that come before "trust for everybody on this machine".
    pub access: Vec<String>,
    /// Whether pages carry checksums, which the server verifies when it reads one.
    pub checksums: bool,
    /// Where the data directory goes, instead of the usual place.
    pub data_parent: Option<PathBuf>,
    /// Environment variables of the server's processes.
    pub environment: Vec<(String, String)>,
    /// Bytes of address space that each process can have.
    pub memory: Option<u64>,
}

impl Options {
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub fn setting(mut self, line: impl Into<String>) -> Self {
        self.settings.push(line.into());
        self
    }

    pub fn with_checksums(mut self) -> Self {
        self.checksums = true;
        self
    }

    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn with_memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    pub fn access(mut self, line: impl Into<String>) -> Self {
        self.access.push(line.into());
        self
    }
}

/// A running server. Dropping it stops it and removes its data.
pub struct Server {
    installation: Installation,
    data: PathBuf,
    log: PathBuf,
    port: u16,
    process: Option<Child>,
    keep_data: bool,
    environment: Vec<(String, String)>,
    memory: Option<u64>,
    /// Arguments of the program, besides the data directory.
    arguments: Vec<String>,
}

impl Server {
    pub fn start(installation: &Installation, options: Options) -> Result<Self> {
        let data = new_directory(options.data_parent.as_deref(), &options.name)?;
        run(as_server_user(&installation.program("initdb"), None)
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--pgdata",
            ])
            .arg(&data)
            .args(options.checksums.then_some("--data-checksums")))?;
        Self::start_in(installation, data, options)
    }

    /// A streaming standby of a running server.
    pub fn start_standby(&self, options: Options) -> Result<Self> {
        let data = new_directory(options.data_parent.as_deref(), &options.name)?;
        run(as_server_user(&self.installation.program("pg_basebackup"), None)
            .args([
                "--no-sync",
                "--checkpoint=fast",
                "--write-recovery-conf",
                "--username=postgres",
                "--host=127.0.0.1",
            ])
            // The program may come from elsewhere than its library.
            .env("LD_LIBRARY_PATH", self.installation.prefix().join("lib"))
            .arg(format!("--port={}", self.port))
            .arg("--pgdata")
            .arg(&data))?;
        // What the program wrote is for its own version.
        let primary = format!("primary_conninfo = 'host=127.0.0.1 port={} user=postgres'", self.port);
        Self::start_in(&self.installation, data, options.setting(primary))
    }

    fn start_in(installation: &Installation, data: PathBuf, options: Options) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = data.with_extension("log");
        let mut lines = vec![
            format!("port = {port}"),
            "listen_addresses = '127.0.0.1'".into(),
            "unix_socket_directories = ''".into(),
            // Throw-away data: durability is tested where a test says so.
            "fsync = off".into(),
            "max_wal_size = 4GB".into(),
        ];
        // The whole suite can run with the server storing everything : PGCOPY_TEST_SERVER_STORAGE=1 cargo xtask test.
        if std::env::var_os("PGCOPY_TEST_SERVER_STORAGE").is_some() {
            lines.push("pgcopy.own_storage = off".into());
        }
        lines.extend(options.settings);
        // A standby's directory says already where its primary is.
        let settings = data.join("postgresql.auto.conf");
        let given = fs::read_to_string(&settings).unwrap_or_default();
        fs::write(&settings, format!("{given}\n{}\n", lines.join("\n")))?;
        let mut access = options.access.join("\n");
        access.push_str("\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n");
        fs::write(data.join("pg_hba.conf"), access)?;
        let mut server = Self {
            installation: installation.clone(),
            data,
            log,
            port,
            process: None,
            keep_data: false,
            environment: options.environment,
            memory: options.memory,
            arguments: Vec::new(),
        };
        server.launch()?;
        Ok(server)
    }

    fn launch(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let program = self.installation.program("postgres");
        let mut command = match self.memory {
            None => as_server_user(&program, Some("INT")),
            Some(bytes) => {
                let mut limited = as_server_user(Path::new("/usr/bin/prlimit"), Some("INT"));
                limited.arg(format!("--as={bytes}")).arg(&program);
                limited
            }
        };
        let child = command
            .arg("-D")
            .arg(&self.data)
            .args(&self.arguments)
            .env_remove("RUST_BACKTRACE")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.process = Some(child);
        self.wait_until_ready()
    }

    /// Waits until the server accepts connections, as after a crash of one of its processes.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(mut client) = self.try_connect("postgres")
                && client.simple_query("SELECT 1").is_ok()
            {
                return Ok(());
            }
            let ended = match &mut self.process {
                Some(process) => process.try_wait()?.is_some(),
                None => true,
            };
            if ended || Instant::now() > deadline {
                return Err(format!("the server did not start; the end of its log:\n{}", self.log_tail()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Child::id)
    }

    pub fn log_text(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// What the log tells of crashes: each with the lines before it. Empty if there was none.
    pub fn crashes(&self) -> String {
        const LINES_BEFORE: usize = 30;
        const LINES_AFTER: usize = 10;
        const MOST_LINES: usize = 300;
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        let is_crash = |line: &str| {
            line.contains("was terminated by signal") || line.contains("PANIC:") || line.contains("No space left")
        };
        let near = |number: usize| {
            let around = &lines[number.saturating_sub(LINES_AFTER)..lines.len().min(number + LINES_BEFORE)];
            around.iter().any(|line| is_crash(line))
        };
        let told = (0..lines.len()).filter(|&number| near(number)).take(MOST_LINES);
        told.map(|number| lines[number]).collect::<Vec<_>>().join("\n")
    }

    fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// A connection string for the superuser.
    pub fn dsn(&self, database: &str) -> String {
        dsn(self.port, database)
    }

    pub fn try_connect(&self, database: &str) -> Result<Client> {
        Ok(Client::connect(&self.dsn(database), NoTls)?)
    }

    pub fn connect(&self, database: &str) -> Client {
        self.try_connect(database).expect("the server accepts connections")
    }

    /// Stops without a checkpoint, as a power cut would, and starts again.
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.stop("QUIT")?;
        self.launch()
    }

    pub fn restart(&mut self) -> Result<()> {
        self.stop("INT")?;
        self.launch()
    }

    /// The same with arguments, from now on.
    pub fn restart_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self.restart()
    }

    /// Sends the postmaster a signal (INT: fast, QUIT: immediate) and waits for its end.
    pub fn stop(&mut self, signal: &str) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            run(Command::new("kill").arg(format!("-{signal}")).arg(process.id().to_string()))?;
            process.wait()?;
        }
        Ok(())
    }

    /// Leaves the data and the log behind for a look at them.
    pub fn keep_data(&mut self) {
        self.keep_data = true;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop("QUIT");
        if !self.keep_data {
            let _ = fs::remove_dir_all(&self.data);
            let _ = fs::remove_file(&self.log);
        }
    }
}

/// A pooler in front of a server, which gives every client a session of its own. Dropping it stops it.
pub struct Pooler {
    process: Child,
    port: u16,
    directory: PathBuf,
}

impl Pooler {
    /// Debian's pgbouncer, which must be installed.
    pub fn start(server: u16) -> Result<Self> {
        let directory = new_directory(None, "pooler")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = directory.join("pgbouncer.ini");
        fs::write(
            &settings,
            format!(
                "[databases]\n* = host=127.0.0.1 port={server} user=postgres\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = any\npool_mode = session\n"
            ),
        )?;
        let log = fs::File::create(directory.join("log"))?;
        let process = as_server_user(Path::new("/usr/sbin/pgbouncer"), Some("KILL"))
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pooler = Self { process, port, directory };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Client::connect(&dsn(port, "postgres"), NoTls).is_err() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(pooler.directory.join("log")).unwrap_or_default();
                return Err(format!("the pooler did not start:\n{log}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(pooler)
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A directory that our process and the servers can use. Dropping it removes it.
pub struct ScratchDirectory(PathBuf);

impl ScratchDirectory {
    pub fn create(name: &str) -> Result<Self> {
        // Beside the servers' data, where leftovers of a killed process are looked for.
        new_directory(None, name).map(Self)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn dsn(port: u16, database: &str) -> String {
    format!("host=127.0.0.1 port={port} user=postgres dbname={database}")
}

/// A command that runs as the user whom servers run as. With `end_signal` it gets that signal when we end.
pub fn as_server_user(program: &Path, end_signal: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = server_user() {
        command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
    }
    if let Some(signal) = end_signal {
        command.arg(format!("--pdeathsig={signal}"));
    }
    command.arg(program).current_dir("/");
    for variable in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSERVICE", "PGDATA"] {
        command.env_remove(variable);
    }
    command
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// Servers refuse to run as root.
pub fn server_user() -> Option<&'static str> {
    if !is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    Some(if users.lines().any(|line| line.starts_with("postgres:")) { "postgres" } else { "nobody" })
}

/// A fresh, empty directory that the servers' user owns.
pub fn new_directory(parent: Option<&Path>, name: &str) -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let parent = match parent {
        Some(parent) => parent.to_owned(),
        None => work_directory()?.join("data"),
    };
    fs::create_dir_all(&parent)?;
    let directory = parent.join(format!("{name}-{}-{number}", std::process::id()));
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
    if let Some(user) = server_user() {
        run(Command::new("chown").arg(format!("{user}:")).arg(&directory))?;
    }
    Ok(directory)
}

/// `target/servers`, or a directory under /tmp where the servers' user cannot get at our target directory.
pub fn work_directory() -> Result<PathBuf> {
    let usual = target().join("servers");
    fs::create_dir_all(&usual)?;
    let reachable = as_server_user(Path::new("test"), None)
        .args(["-x"])
        .arg(&usual)
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("setpriv (Debian package util-linux) is needed: {error}"))?
        .success();
    if reachable {
        return Ok(usual);
    }
    let mut hasher = DefaultHasher::new();
    usual.hash(&mut hasher);
    let elsewhere = std::env::temp_dir().join(format!("pgcopy-servers-{:016x}", hasher.finish()));
    fs::create_dir_all(&elsewhere)?;
    Ok(elsewhere)
}

/// Removes what runs left that were killed: data of servers that nobody is using any more.
pub fn remove_stale_data() -> Result<()> {
    remove_data(|owner| !Path::new("/proc").join(owner).exists())
}

/// Stops the servers that this process started and removes their data; for a process that is being interrupted.
pub fn remove_own_data() -> Result<()> {
    let own = std::process::id().to_string();
    remove_data(|owner| owner == own || !Path::new("/proc").join(owner).exists())
}

/// Names of data directories, logs and mounts end in `-<process id>-<number>`, with or without the number.
fn remove_data(of_owner: impl Fn(&str) -> bool) -> Result<()> {
    let base = work_directory()?;
    for directory in [base.join("data"), base] {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut numbers = name.trim_end_matches(".log").rsplit('-');
            let is_mount = name.starts_with("small-disk-");
            let owner = if is_mount { numbers.next() } else { numbers.nth(1) };
            let Some(owner) = owner.filter(|owner| owner.parse::<u32>().is_ok()) else { continue };
            if !of_owner(owner) {
                continue;
            }
            let path = entry.path();
            stop_server_in(&path);
            if is_mount {
                let _ = Command::new("umount").arg("--lazy").arg(&path).stderr(Stdio::null()).status();
            }
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
    Ok(())
}

/// Ends a server at once and waits until it is gone.
fn stop_server_in(data: &Path) {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else { return };
    let Some(pid) = text.lines().next() else { return };
    let process = Path::new("/proc").join(pid);
    let ours = fs::read_to_string(process.join("cmdline")).is_ok_and(|line| line.contains(&*data.to_string_lossy()));
    if !ours {
        return;
    }
    let _ = Command::new("kill").arg("-QUIT").arg(pid).stderr(Stdio::null()).status();
    let deadline = Instant::now() + Duration::from_secs(10);
    // A child of ours that has ended still has an entry, but no command line.
    let runs = || fs::read(process.join("cmdline")).is_ok_and(|line| !line.is_empty());
    while runs() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}
