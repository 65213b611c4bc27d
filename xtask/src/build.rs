//! Building the extension and installing it into a private copy of a server.

use crate::server::{Installation, Version};
use crate::{Result, prerequisites, root, target};
use object::{Object, ObjectSection};
use pgrx_sql_entity_graph::section::{decode_entities, is_schema_section_name};
use pgrx_sql_entity_graph::{ControlFile, PgrxSql, SqlGraphEntity};
use std::path::PathBuf;
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
    let sql = schema_sql(&library)?;
    let extension_version = env!("CARGO_PKG_VERSION");
    let control = std::fs::read_to_string(root().join("pgcopy.control"))?;
    installation.install_file("pgcopy.control", control.replace("@CARGO_VERSION@", extension_version).as_bytes())?;
    installation.install_file(&format!("pgcopy--{extension_version}.sql"), sql.as_bytes())?;
    installation.install_library(&library)?;
    Ok(installation)
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
fn schema_sql(library: &std::path::Path) -> Result<String> {
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
