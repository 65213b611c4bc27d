//! Pairs columns of files with those of their target.

use crate::error::{Error, Result};
use crate::load::Target;
use crate::order::{ColumnSource, Found, kept};
use crate::parquet::data_files::DataFile;
use crate::parquet::new_table::{WantedColumns, clipped};
use crate::parquet::parquet_file::FileOutline;
use pgrx::prelude::*;
use serde::Deserialize;
use std::collections::BTreeSet;

/// A column of the target, in the order of its attributes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TargetColumn {
    pub number: i16,
    pub name: String,
    pub type_oid: u32,
    pub typmod: i32,
    pub type_name: String,
    pub generated: bool,
}

/// How columns of the files find their columns of the target.
#[derive(Debug, Clone, Default)]
pub struct Matching {
    pub by_position: bool,
    /// Columns of the target with those of the files that go there.
    pub map: Vec<(String, String)>,
    /// Columns of the files that are left out; `*` for all that have no place.
    pub skip: Vec<String>,
    /// Set by COPY, which has a list of columns instead of `map` and `skip`.
    pub copy: Option<ColumnList>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnList {
    None,
    /// Columns that are not listed stay out, and those that are must be there.
    Given,
}

impl Matching {
    fn skips(&self, name: &str) -> bool {
        self.skip.iter().any(|skipped| skipped == name)
    }

    /// The columns that folders give. Where a file has a column of the same name, skipping leaves out that of the file.
    fn folders<'a>(&self, files: &[FileOutline], data_files: &'a [DataFile]) -> Vec<&'a str> {
        let Some(first) = data_files.first() else { return Vec::new() };
        let keys = first.partition.iter().map(|(key, _)| key.as_str());
        keys.filter(|key| !self.skips(key) || has_column(files, key)).collect()
    }

    /// Returns the columns of a table that is made for the files.
    pub fn wanted<'a>(&'a self, files: &[FileOutline], data_files: &'a [DataFile]) -> WantedColumns<'a> {
        WantedColumns { skip: &self.skip, names: &self.map, folders: self.folders(files, data_files) }
    }

    fn hint(&self) -> &'static str {
        match self.copy {
            None => {
                "Columns are matched by name. columns => '{\"target\": \"file\"}' pairs other names, skip => '{name}' leaves columns of the files out, match_by => 'position' takes them in order."
            }
            Some(_) => {
                "Columns are matched by name. With a list of columns, those of the files that are not listed are left out; the option match_by 'position' takes them in order."
            }
        }
    }
}

/// Returns the columns, in the order of the target's, that not every file has.
pub fn partial_columns(
    outlines: &[FileOutline],
    data_files: &[DataFile],
    sources: &[(TargetColumn, ColumnSource)],
) -> Vec<i16> {
    let is_missing = |source: &ColumnSource| {
        let mut files = data_files.iter().zip(outlines);
        files.any(|(data_file, file)| matches!(source.find(data_file, &file.columns), Ok(Found::Nothing)))
    };
    sources.iter().filter(|(_, source)| is_missing(source)).map(|(column, _)| column.number).collect()
}

fn has_column(files: &[FileOutline], name: &str) -> bool {
    files.iter().any(|file| file.columns.iter().any(|column| column.name == name))
}

/// Returns the columns that the files fill, with the origin of each.
///
/// # Errors
/// One for all that does not fit: columns without a place, columns that are missing, types that do not go together.
pub fn match_columns(
    files: &[FileOutline],
    data_files: &[DataFile],
    columns: &[TargetColumn],
    matching: &Matching,
) -> Result<Vec<(TargetColumn, ColumnSource)>> {
    let mut problems = Vec::new();
    for file in files {
        problems.extend(duplicates(file).map(|name| format!("{}: there are two columns \"{name}\"", file.name)));
    }
    let all_folders: Vec<&str> =
        data_files.first().map_or_else(Vec::new, |file| file.partition.iter().map(|(key, _)| key.as_str()).collect());
    for (target, source) in &matching.map {
        if !columns.iter().any(|column| column.name == *target) {
            problems.push(format!("the target has no column \"{target}\""));
        }
        if !has_column(files, source) && !all_folders.contains(&source.as_str()) {
            problems.push(format!("no file has a column \"{source}\""));
        }
    }
    for name in matching.skip.iter().filter(|name| *name != "*") {
        if !has_column(files, name) && !all_folders.contains(&name.as_str()) {
            problems.push(format!("no file has a column \"{name}\" to skip"));
        }
    }
    let folders = matching.folders(files, data_files);
    for key in folders.iter().filter(|key| !matching.skips(key)) {
        if let Some(file) = files.iter().find(|file| file.columns.iter().any(|column| column.name == **key)) {
            problems.push(format!("{}: both the file and a folder above it have a column \"{key}\"", file.name));
        }
    }
    let writable: Vec<&TargetColumn> = columns.iter().filter(|column| !column.generated).collect();
    let sources: Vec<(TargetColumn, ColumnSource)> = if matching.by_position {
        let most = files.iter().map(|file| kept(&file.columns, &matching.skip).count()).max().unwrap_or(0);
        let of_files = (0..most).map(|position| ColumnSource::At { position, skip: matching.skip.clone() });
        let of_folders = folders.iter().map(|key| ColumnSource::Folder((*key).to_owned()));
        writable.iter().map(|column| (*column).clone()).zip(of_files.chain(of_folders)).collect()
    } else {
        writable
            .iter()
            .filter_map(|column| Some(((*column).clone(), named_source(column, files, &folders, matching)?)))
            .collect()
    };
    if matching.copy == Some(ColumnList::Given) {
        let unfilled = writable.iter().filter(|column| !sources.iter().any(|(filled, _)| filled.name == column.name));
        problems.extend(unfilled.map(|column| format!("there is nothing for the listed column \"{}\"", column.name)));
    }
    problems.extend(unused_columns(files, &folders, columns, &sources, matching));
    for (data_file, file) in data_files.iter().zip(files) {
        let finds_nothing = |(_, source): &(TargetColumn, ColumnSource)| {
            matches!(source.find(data_file, &file.columns), Ok(Found::Nothing | Found::Constant(_)))
        };
        if !sources.is_empty() && sources.iter().all(finds_nothing) && !file.columns.is_empty() {
            problems.push(format!("{}: the file has none of the table's columns", file.name));
            continue;
        }
        for (column, source) in &sources {
            match source.find(data_file, &file.columns) {
                Ok(Found::Column(position)) => {
                    let target = Target::of(column.type_oid.into(), column.typmod);
                    let from = &file.columns[position];
                    if let Some(reason) = target.refusal(&from.shape) {
                        problems.push(format!(
                            "{}: column \"{}\" ({}) cannot be stored in column \"{}\" ({}): {reason}",
                            file.name, from.name, from.arrow_type, column.name, column.type_name
                        ));
                    }
                }
                Ok(Found::Nothing) if matching.copy == Some(ColumnList::Given) => {
                    problems.push(format!("{}: there is nothing for the listed column \"{}\"", file.name, column.name));
                }
                Ok(Found::Constant(_) | Found::Nothing) => {}
                Err(error) => problems
                    .push(format!("{}: there is nothing for column \"{}\": {}", file.name, column.name, error.message)),
            }
        }
    }
    if sources.is_empty() && problems.is_empty() {
        problems.push("no column of the files has the name of a column of the target".to_owned());
    }
    if problems.is_empty() {
        return Ok(sources);
    }
    const MOST_LINES: usize = 50;
    let more = problems.len().saturating_sub(MOST_LINES);
    problems.truncate(MOST_LINES);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH, "the files do not fit the target; nothing was touched")
        .details(problems)
        .hint(matching.hint()))
}

fn duplicates(file: &FileOutline) -> impl Iterator<Item = &str> {
    let columns = &file.columns;
    columns.iter().enumerate().filter_map(|(position, column)| {
        let again = columns[position + 1..].iter().any(|other| other.name == column.name);
        again.then_some(column.name.as_str())
    })
}

/// The exact name, or else the only one that differs from it in nothing but the case of its letters.
fn named_source(
    column: &TargetColumn,
    files: &[FileOutline],
    folders: &[&str],
    matching: &Matching,
) -> Option<ColumnSource> {
    let mapped = matching.map.iter().find(|(target, _)| *target == column.name).map(|(_, source)| source.as_str());
    let names: BTreeSet<&str> = files
        .iter()
        .flat_map(|file| kept(&file.columns, &matching.skip).map(|(_, column)| column.name.as_str()))
        .collect();
    let source = |name: &str| {
        let from_folder = folders.contains(&name) && !names.contains(name);
        let name = name.to_owned();
        if from_folder { ColumnSource::Folder(name) } else { ColumnSource::Named(name) }
    };
    if let Some(name) = mapped {
        return Some(source(name));
    }
    let all: BTreeSet<&str> = names.iter().chain(folders).copied().collect();
    if all.contains(column.name.as_str()) {
        return Some(source(&column.name));
    }
    let alike: Vec<_> = all.iter().filter(|name| clipped(name).to_lowercase() == column.name.to_lowercase()).collect();
    match alike.as_slice() {
        [name] => Some(source(name)),
        _ => None,
    }
}

fn unused_columns(
    files: &[FileOutline],
    folders: &[&str],
    columns: &[TargetColumn],
    sources: &[(TargetColumn, ColumnSource)],
    matching: &Matching,
) -> Vec<String> {
    let listed_by_name = matching.copy == Some(ColumnList::Given) && !matching.by_position;
    if matching.skips("*") || listed_by_name {
        return Vec::new();
    }
    let no_place = |name: &str| {
        let named = columns.iter().find(|column| column.name == name);
        let taker = named.and_then(|column| matching.map.iter().find(|(target, _)| *target == column.name));
        match (taker, named) {
            (Some((target, source)), _) => {
                format!("\"{name}\" has no place left: the target's column \"{target}\" takes \"{source}\"")
            }
            (None, Some(column)) if column.generated => {
                format!("the target's column \"{name}\" is generated, and takes no values")
            }
            _ => format!("the target has no column for \"{name}\""),
        }
    };
    let mut unused = Vec::new();
    for file in files {
        for (at, (_, column)) in kept(&file.columns, &matching.skip).enumerate() {
            let used = sources.iter().any(|(_, source)| match source {
                ColumnSource::Named(name) => *name == column.name,
                ColumnSource::At { position, .. } => *position == at,
                ColumnSource::Folder(_) => false,
            });
            if !used {
                unused.push(format!("{}: {}", file.name, no_place(&column.name)));
            }
        }
    }
    for key in folders {
        let used = sources.iter().any(|(_, source)| matches!(source, ColumnSource::Folder(name) if name == key));
        // Said already of one that a file has, too.
        if !used && !has_column(files, key) {
            unused.push(format!("folders {key}=…: {}", no_place(key)));
        }
    }
    unused
}
