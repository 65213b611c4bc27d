use crate::Options;
use std::path::PathBuf;
use std::process::Command;
use xtask::Result;
use xtask::build::{Profile, build_and_install, cargo, features};
use xtask::server::{self, Installation, Server, Version};

/// Runs the formatter, the lints, the tests of the pure crates, and whole pulls between real servers.
pub fn run(options: &Options) -> Result<()> {
    xtask::prerequisites::ensure_build(options.version)?;
    if !options.tests_only {
        xtask::rooms::check(&xtask::root().join("src"))?;
        succeed(cargo(options.version).args(["fmt", "--all", "--check"]))?;
        succeed(
            cargo(options.version)
                .args(["clippy", "--workspace", "--all-targets"])
                .args(features(options.version))
                .args(["--", "-D", "warnings"]),
        )?;
        // The extension itself has no tests without a server.
        let pure = ["test", "--workspace", "--exclude", "pgcopy", "--exclude", "whole-pulls"];
        succeed(cargo(options.version).args(pure))?;
    }
    let words: Vec<&str> = options.words.iter().map(String::as_str).collect();
    WholePulls::prepare(options)?.run(&words, &[])
}

/// The installed extension and the two servers that most tests between real servers share.
pub struct WholePulls {
    version: Version,
    installation: Installation,
    source: Server,
    destination: Server,
    python: PathBuf,
    old_python: PathBuf,
}

impl WholePulls {
    /// Builds and installs the extension and starts the servers.
    pub fn prepare(options: &Options) -> Result<Self> {
        // The environment has other readers and writers of Parquet files.
        let python = xtask::python::environment(&xtask::python::PARQUET_PACKAGES)?.join("python");
        let old_python = xtask::python::environment(&xtask::python::OLD_PARQUET_PACKAGES)?.join("python");
        xtask::prerequisites::ensure_modules(options.version)?;
        xtask::prerequisites::ensure_sources()?;
        let installation = build_and_install(options.version, Profile::Dev)?;
        let source = Server::start(
            &installation,
            server::Options::named("source")
                .setting("max_connections = 200")
                .access("host all app 127.0.0.1/32 scram-sha-256"),
        )?;
        let destination = Server::start(
            &installation,
            server::Options::named("destination")
                .setting("max_connections = 200")
                .setting("max_worker_processes = 64")
                .setting("max_prepared_transactions = 10")
                .setting("wal_level = logical")
                // Pages that are written past the buffer manager are checked when they are read through it.
                .with_checksums(),
        )?;
        Ok(Self { version: options.version, installation, source, destination, python, old_python })
    }

    /// Runs tests: `arguments` are those of the test program, such as parts of the tests' names.
    pub fn run(&self, arguments: &[&str], environment: &[(&str, u64)]) -> Result<()> {
        let mut tests = cargo(self.version);
        tests.args(["test", "--package", "whole-pulls"]);
        tests
            .env("PGCOPY_TEST_PYTHON", &self.python)
            .env("PGCOPY_TEST_OLD_PYTHON", &self.old_python)
            .env("PGCOPY_TEST_INSTALLATION", self.installation.prefix())
            .env("PGCOPY_TEST_VERSION", self.version.major().to_string())
            .env("PGCOPY_TEST_SOURCE_PORT", self.source.port().to_string())
            .env("PGCOPY_TEST_DESTINATION_PORT", self.destination.port().to_string());
        tests.envs(environment.iter().map(|(name, value)| (name, value.to_string())));
        tests.arg("--");
        tests.args(arguments);
        // Tests wait for servers more than they compute.
        tests.arg("--test-threads=4");
        succeed(&mut tests).inspect_err(|_| {
            for (name, server) in [("source", &self.source), ("destination", &self.destination)] {
                let crashes = server.crashes();
                if !crashes.is_empty() {
                    eprintln!("\nThe {name} crashed. From its log:\n{crashes}");
                }
            }
        })
    }
}

/// Runs a test of a pure crate.
pub fn run_pure(options: &Options, package: &str, test: &str, environment: &[(&str, u64)]) -> Result<()> {
    let mut tests = cargo(options.version);
    tests.args(["test", "--package", package, test]);
    succeed(tests.envs(environment.iter().map(|(name, value)| (name, value.to_string()))))
}

fn succeed(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", command.get_args().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" "));
    if command.status()?.success() { Ok(()) } else { Err("failed".into()) }
}
