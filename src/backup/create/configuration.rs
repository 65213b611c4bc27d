//! Where the server has its settings, and those that are not among its data.

use crate::backup::facts::{Facts, data_directory, setting};
use crate::backup::files;
use crate::error::{Result, warn};
use backups::record::{self, Record};
use backups::settings_file::{Place, is_name};
use std::path::{Path, PathBuf};

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
    }
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
    for (name, path) in sources.into_iter().take(record::MOST_CONFIGURATION) {
        const MOST_BYTES: u64 = 16 << 20;
        if name_within(&data, &path).is_some() {
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
