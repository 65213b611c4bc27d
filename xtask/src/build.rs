//! Building the extension and installing it into a private copy of a server.

use crate::server::{Installation, Version};
use crate::{Result, prerequisites, root, target};
use object::{Object, ObjectSection};
use pgrx_sql_entity_graph::section::{decode_entities, is_schema_section_name};
use pgrx_sql_entity_graph::{ControlFile, PgrxSql, SqlGraphEntity};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

impl Profile {
    fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds the extension and returns a server installation that has it.
pub fn build_and_install(version: Version, profile: Profile) -> Result<Installation> {
    prerequisites::ensure_build(version)?;
    let library = build(version, profile)?;
    let installation = Installation::prepare(version)?;
    for (name, content) in extension_files(&library)? {
        installation.install_file(&name, content.as_bytes())?;
    }
    installation.install_library(&library)?;
    Ok(installation)
}

/// Builds the extension and puts its files into a directory: `lib` has what goes to `pg_config --pkglibdir`, `extension` what
/// goes to the directory of that name in `pg_config --sharedir`.
///
/// # Errors
/// It does not build, or a file cannot be written.
pub fn package(version: Version, profile: Profile) -> Result<PathBuf> {
    prerequisites::ensure_build(version)?;
    let library = build(version, profile)?;
    let name = format!("pgcopy-{}-pg{}", env!("CARGO_PKG_VERSION"), version.major());
    let directory = target().join("package").join(name);
    for part in ["lib", "extension"] {
        std::fs::create_dir_all(directory.join(part))?;
    }
    for (name, content) in extension_files(&library)? {
        std::fs::write(directory.join("extension").join(name), content)?;
    }
    strip_library(&library, &directory.join("lib").join("pgcopy.so"))?;
    Ok(directory)
}

/// Writes a library without its symbols, and the symbols beside it, where debuggers look for them: they are ten times as much.
///
/// # Errors
/// `objcopy` is not there, or fails.
pub fn strip_library(library: &Path, stripped: &Path) -> Result<()> {
    let symbols = stripped.with_extension("so.debug");
    let objcopy = |arguments: &[&std::ffi::OsStr]| -> Result<()> {
        let output = Command::new("objcopy").args(arguments).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("objcopy failed: {}", String::from_utf8_lossy(&output.stderr)).into())
    };
    objcopy(&["--only-keep-debug".as_ref(), library.as_ref(), symbols.as_ref()])?;
    let mut link = std::ffi::OsString::from("--add-gnu-debuglink=");
    link.push(&symbols);
    objcopy(&["--strip-unneeded".as_ref(), &link, library.as_ref(), stripped.as_ref()])
}

/// Names and contents of the files that tell the server of the extension.
fn extension_files(library: &Path) -> Result<[(String, String); 2]> {
    let version = env!("CARGO_PKG_VERSION");
    let control = std::fs::read_to_string(root().join("pgcopy.control"))?.replace("@CARGO_VERSION@", version);
    let sql = schema_sql(library)?;
    Ok([("pgcopy.control".to_owned(), control), (format!("pgcopy--{version}.sql"), sql)])
}

/// A `cargo` that builds for a server version, as used for the extension and for its lints.
pub fn cargo(version: Version) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What the outer cargo tells this program about itself would make build scripts of dependencies run again, and what
    // depends on them compile again, whenever somebody alternates between these commands and plain ones.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_PRIMARY_PACKAGE" {
            command.env_remove(&name);
        }
    }
    command.current_dir(root()).env("PGRX_PG_CONFIG_PATH", version.pg_config());
    command
}

/// The feature arguments that select a server version.
pub fn features(version: Version) -> [String; 3] {
    ["--no-default-features".into(), "--features".into(), format!("pg{}", version.major())]
}

fn build(version: Version, profile: Profile) -> Result<PathBuf> {
    let mut command = cargo(version);
    command.args(["build", "--lib", "--package", "pgcopy"]).args(features(version));
    if profile == Profile::Release {
        command.arg("--release");
    }
    if !command.status()?.success() {
        return Err("the extension did not build".into());
    }
    Ok(target().join(profile.directory()).join("libpgcopy.so"))
}

/// The SQL of the extension, from the descriptions that pgrx leaves in the library.
fn schema_sql(library: &Path) -> Result<String> {
    let bytes = std::fs::read(library)?;
    let file = object::File::parse(&*bytes)?;
    let section = file
        .sections()
        .find(|section| section.name().is_ok_and(is_schema_section_name))
        .ok_or("the library describes no SQL")?;
    let control = ControlFile::from_path_with_cargo_version(root().join("pgcopy.control"), env!("CARGO_PKG_VERSION"))?;
    let mut entities = vec![SqlGraphEntity::ExtensionRoot(control)];
    entities.extend(decode_entities(section.data()?).map_err(|error| format!("{error:#}"))?);
    let sql = PgrxSql::build(entities.into_iter(), "pgcopy".into(), false).map_err(|error| format!("{error:#}"))?;
    let mut text = Vec::new();
    sql.write(&mut text).map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(text)?)
}
