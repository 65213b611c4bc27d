//! Python packages that tests and benchmarks compare with or talk to, in environments of their own.

use crate::{Result, prerequisites, target};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Readers and writers of Parquet files.
pub const PARQUET_PACKAGES: [&str; 3] = ["pyarrow==26.0.1", "duckdb==2.0.0", "polars==2.1.0"];

/// The oldest ones that can be installed, which depends on the Python.
pub const OLD_PARQUET_PACKAGES: [&str; 7] = [
    "pyarrow==10.0.1; python_version < '3.12'",
    "numpy==1.26.4; python_version < '3.12'",
    "pyarrow==18.0.0; python_version >= '3.12'",
    "duckdb==0.6.1; python_version < '3.12'",
    "duckdb==1.1.3; python_version >= '3.12'",
    "polars==0.15.18; python_version < '3.12'",
    "polars==1.0.0; python_version >= '3.12'",
];

/// The directory of the programs of an environment that holds the given packages (`name==version`). Made once.
pub fn environment(packages: &[&str]) -> Result<PathBuf> {
    prerequisites::ensure_python()?;
    let mut hasher = DefaultHasher::new();
    packages.hash(&mut hasher);
    let name = format!("{:016x}", hasher.finish());
    let parent = target().join("python");
    fs::create_dir_all(&parent)?;
    // Tests that run at the same time need the same packages.
    let lock = File::create(parent.join(format!("{name}.lock")))?;
    lock.lock()?;
    let directory = parent.join(&name);
    let complete = directory.join("complete");
    if !complete.exists() {
        let _ = fs::remove_dir_all(&directory);
        run(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
        let pip = directory.join("bin/pip");
        run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
        fs::write(&complete, packages.join("\n"))?;
    }
    Ok(directory.join("bin"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}
