//! Where the server has its settings, and those that are not among its data.

use crate::backup::facts::{Facts, data_directory, setting};
use crate::backup::files;
use crate::error::{Result, warn};
use crate::local::interrupts;
use backups::access_file;
use backups::record::{self, Record};
use backups::settings_file::{Include, Place, is_name};
use std::path::{Component, Path, PathBuf};

/// The most bytes of a file of settings or rules that are read.
const MOST_BYTES: u64 = 16 << 20;

/// Returns the name of a file from the data directory on; `None` for one that is elsewhere, or leads there as a link.
fn name_within(data: &Path, path: &Path) -> Option<String> {
    // A backup has no links.
    let name = match (data.canonicalize(), path.canonicalize()) {
        (Ok(data), Ok(path)) => path.strip_prefix(data).ok()?.to_owned(),
        _ => path.strip_prefix(data).ok()?.to_owned(),
    };
    name.to_str().filter(|name| is_name(name)).map(str::to_owned)
}

/// Returns where the server has its files.
pub(super) fn place(facts: &Facts) -> Place {
    let data = data_directory();
    let shown = |path: &Path| path.to_str().map(str::to_owned);
    let main = PathBuf::from(setting(c"config_file"));
    let name_of = |path: String| name_within(&data, Path::new(&path));
    let settings = name_within(&data, &main);
    let mut names: Vec<String> =
        shown(&data).into_iter().chain(data.canonicalize().ok().as_deref().and_then(shown)).collect();
    names.dedup();
    let is_other = |name: &String| name != "postgresql.auto.conf" && settings.as_ref() != Some(name);
    let (access, rules) = access(&data);
    Place {
        data: names,
        configuration: main.parent().filter(|directory| !directory.starts_with(&data)).and_then(shown),
        hba: name_of(setting(c"hba_file")).unwrap_or_else(|| "pg_hba.conf".to_owned()),
        ident: name_of(setting(c"ident_file")).unwrap_or_else(|| "pg_ident.conf".to_owned()),
        included: facts
            .setting_files
            .iter()
            .filter_map(|file| name_of(file.clone()))
            .filter(is_other)
            .take(record::MOST_CONFIGURATION)
            .collect(),
        settings: settings.clone().filter(|name| name != "postgresql.conf"),
        access,
        rules,
    }
}

/// The files of access rules.
fn files_of_access() -> [PathBuf; 2] {
    [c"hba_file", c"ident_file"].map(|name| PathBuf::from(setting(name)))
}

/// Returns the directories of the files of access rules that are elsewhere, and the files that these name, where they go.
fn access(data: &Path) -> (Vec<String>, Vec<String>) {
    let mut directories: Vec<String> = Vec::new();
    let mut rules: Vec<String> = Vec::new();
    for main in files_of_access() {
        let is_elsewhere = name_within(data, &main).is_none();
        if let Some(directory) = main.parent().and_then(Path::to_str).filter(|_| is_elsewhere) {
            directories.push(directory.to_owned());
        }
        for file in named_by(&main) {
            let name = match name_within(data, &file) {
                Some(name) => Some(name),
                None => name_beside(&main, &file).filter(|_| is_elsewhere).map(str::to_owned),
            };
            rules.extend(name.filter(|name| !rules.contains(name)));
        }
    }
    directories.dedup();
    rules.truncate(record::MOST_CONFIGURATION);
    (directories, rules)
}

/// Returns the name of a file from the directory of another one on.
fn name_beside<'a>(main: &Path, file: &'a Path) -> Option<&'a str> {
    let name = main.parent().and_then(|beside| file.strip_prefix(beside).ok()).and_then(Path::to_str);
    name.filter(|name| record::is_configuration(name))
}

/// Returns a path without dots, which the server takes out before it looks at what the parts are.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
        plain
    })
}

/// Returns the files that a file of access rules names, and those that they name.
fn named_by(main: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut waiting = vec![main.to_owned()];
    while let Some(file) = waiting.pop() {
        interrupts::check();
        if found.len() > record::MOST_CONFIGURATION || found.contains(&file) {
            continue;
        }
        let text = files::read_capped(&file, MOST_BYTES).unwrap_or_default();
        for reference in access_file::references(&String::from_utf8_lossy(&text)) {
            let beside = file.parent().unwrap_or(Path::new("/"));
            match reference.include {
                Include::File(path) => waiting.push(plain(&beside.join(path))),
                Include::Directory(path) => {
                    let entries = std::fs::read_dir(beside.join(path)).into_iter().flatten().flatten();
                    let is_of_rules = |path: &PathBuf| {
                        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                        name.ends_with(".conf") && !name.starts_with('.')
                    };
                    let paths = entries.map(|entry| plain(&entry.path())).filter(is_of_rules);
                    waiting.extend(paths.take(record::MOST_CONFIGURATION));
                }
            }
        }
        if file != main && file.exists() {
            found.push(file);
        }
    }
    found.sort();
    found
}

/// Keeps the files of settings that are elsewhere than the data, as packages have it, with those that they include.
pub(super) fn copy_configuration(directory: &Path, facts: &Facts, record: &mut Record) -> Result<()> {
    let data = data_directory();
    let main = PathBuf::from(setting(c"config_file"));
    let mut sources = vec![
        ("postgresql.conf".to_owned(), main.clone()),
        ("pg_hba.conf".to_owned(), PathBuf::from(setting(c"hba_file"))),
        ("pg_ident.conf".to_owned(), PathBuf::from(setting(c"ident_file"))),
    ];
    for included in facts.setting_files.iter().map(PathBuf::from).filter(|included| *included != main) {
        let name = main.parent().and_then(|beside| included.strip_prefix(beside).ok()).and_then(Path::to_str);
        match name.filter(|name| record::is_configuration(name)) {
            Some(name) => sources.push((name.to_owned(), included)),
            // What is in the data directory is in the backup.
            None if name_within(&data, &included).is_some() => {}
            None => warn(&format!(
                "\"{}\" is not in the backup: it is not among the server's other settings",
                included.display()
            )),
        }
    }
    for main in files_of_access() {
        let is_elsewhere = name_within(&data, &main).is_none();
        for file in named_by(&main) {
            let is_of = |other: &str, sources: &[(String, PathBuf)]| {
                sources.iter().find(|(name, _)| name == other).is_none_or(|(_, path)| *path == file)
            };
            match name_beside(&main, &file).filter(|name| is_elsewhere && is_of(name, &sources)) {
                Some(name) => sources.push((name.to_owned(), file)),
                None if name_within(&data, &file).is_some() => {}
                None => warn(&format!(
                    "\"{}\" is not in the backup, although \"{}\" names it",
                    file.display(),
                    main.display()
                )),
            }
        }
    }
    for (name, path) in sources.into_iter().take(record::MOST_CONFIGURATION) {
        if name_within(&data, &path).is_some() || record.configuration.contains(&name) {
            continue;
        }
        let Ok(text) = files::read_capped(&path, MOST_BYTES) else {
            warn(&format!("\"{}\" could not be read, and is not in the backup", path.display()));
            continue;
        };
        let config = directory.join("config").join(&name);
        files::make_directory(config.parent().unwrap_or(directory))?;
        files::write(&config, &text)?;
        record.configuration.push(name.clone());
        record.digests.insert(format!("config/{name}"), files::digest(&text));
    }
    Ok(())
}
