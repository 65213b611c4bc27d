//! The prerequisites of the commands: they are installed where that is possible, and named where it is not.

use crate::server::{Installation, Version};
use crate::{Result, packages};
use std::path::Path;
use std::process::{Command, Stdio};

/// A program or file, with the Debian package that has it.
struct Need {
    package: String,
    present: bool,
}

/// Headers and tools to build the extension and to run its servers.
pub fn ensure_build(version: Version) -> Result<()> {
    let mut needs = vec![
        Need { package: "libclang-dev".into(), present: has_libclang() },
        Need { package: "libssl-dev".into(), present: Path::new("/usr/include/openssl/ssl.h").exists() },
        // Debian's headers of the server ask for it.
        Need { package: "libicu-dev".into(), present: Path::new("/usr/include/unicode/ucol.h").exists() },
        Need { package: "pkg-config".into(), present: has_command("pkg-config") },
        Need { package: "gcc".into(), present: has_command("cc") },
    ];
    if version.is_of_system() {
        let major = version.major();
        let server = format!("/usr/lib/postgresql/{major}/bin/postgres");
        let headers = format!("/usr/include/postgresql/{major}/server/postgres.h");
        needs.push(Need { package: format!("postgresql-{major}"), present: Path::new(&server).exists() });
        needs.push(Need { package: format!("postgresql-server-dev-{major}"), present: Path::new(&headers).exists() });
        return ensure(needs);
    }
    needs.extend(registries());
    ensure(needs)?;
    packages::ensure_headers(version)
}

/// The sources of the tests: servers of every version, and a pooler.
pub fn ensure_sources() -> Result<()> {
    let mut needs = vec![Need { package: "pgbouncer".into(), present: Path::new("/usr/sbin/pgbouncer").exists() }];
    needs.extend(registries());
    ensure(needs)?;
    for version in Version::of_sources() {
        Installation::prepare(version)?;
    }
    Ok(())
}

/// Clients of the registries that have other versions than the system's.
fn registries() -> [Need; 2] {
    let has_pip = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    [
        Need { package: "npm".into(), present: has_command("npm") },
        Need { package: "python3-pip".into(), present: has_pip },
    ]
}

/// Modules that tests load into servers beside the extension, and extensions whose types they pull.
pub fn ensure_modules(version: Version) -> Result<()> {
    if !version.is_of_system() {
        return Ok(());
    }
    let major = version.major();
    let need = |package: &str, file: String| Need {
        package: format!("postgresql-{major}-{package}"),
        present: Path::new(&file).exists(),
    };
    ensure(vec![
        need("cron", format!("/usr/lib/postgresql/{major}/lib/pg_cron.so")),
        need("postgis-3", format!("/usr/lib/postgresql/{major}/lib/postgis-3.so")),
    ])
}

/// The peers that the benchmark compares with.
pub fn ensure_peers() -> Result<()> {
    ensure(vec![Need { package: "pgcopydb".into(), present: has_command("pgcopydb") }])
}

/// The tools that install packages from PyPI.
pub fn ensure_python() -> Result<()> {
    let has_venv = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    ensure(vec![
        Need { package: "python3".into(), present: has_command("python3") },
        Need { package: "python3-venv".into(), present: has_venv },
    ])
}

fn ensure(needs: Vec<Need>) -> Result<()> {
    let missing: Vec<String> = needs.into_iter().filter(|need| !need.present).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !(crate::server::is_root() && has_command("apt-get")) {
        return Err(format!("please install these packages, by their Debian names: {}", missing.join(" ")).into());
    }
    eprintln!("installing {}", missing.join(" "));
    run(Command::new("apt-get").args(["update", "-q"]))?;
    run(Command::new("apt-get").args(["install", "-y", "-q", "--no-install-recommends"]).args(&missing))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}

fn has_command(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(name).is_file()))
}

fn has_libclang() -> bool {
    let in_directory = |directory: &Path| {
        std::fs::read_dir(directory)
            .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy() == "libclang.so"))
    };
    std::env::var_os("LIBCLANG_PATH").is_some()
        || std::fs::read_dir("/usr/lib").is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                entry.file_name().to_string_lossy().starts_with("llvm-") && in_directory(&entry.path().join("lib"))
            })
        })
}
