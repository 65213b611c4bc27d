//! Files that were found and looked at.

use super::mapping::{self, TargetColumn};
use crate::error::Result;
use crate::load::OpenFiles;
use crate::local::settings::ValueSettings;
use crate::order::{ColumnSource, FilesSpec, OnInvalidText, OnLossy, RowGroup};
use crate::parquet::data_files::DataFile;
use crate::parquet::parquet_file::{FileOutline, ParquetFile};
use crate::parquet::store::Store;

/// Files that were found and looked at.
pub struct FoundFiles {
    store: Store,
    pub data_files: Vec<DataFile>,
    pub outlines: Vec<FileOutline>,
    /// Files that stay open for a load in this session.
    pub open: OpenFiles,
}

impl FoundFiles {
    pub fn find(paths: &[String], server: Option<&str>) -> Result<Self> {
        let store = Store::resolve(paths, server)?;
        let data_files = store.find(paths)?;
        let mut outlines: Vec<FileOutline> = Vec::with_capacity(data_files.len());
        let mut open = OpenFiles::default();
        for (position, data_file) in data_files.iter().enumerate() {
            let file = ParquetFile::open(&data_file.name, store.open(data_file)?)?;
            outlines.push(file.outline(outlines.last()));
            open.keep(position, file);
        }
        Ok(Self { store, data_files, outlines, open })
    }

    /// One part for each file.
    pub fn spec(
        &self,
        pairs: &[(TargetColumn, ColumnSource)],
        on_lossy: OnLossy,
        on_invalid_text: OnInvalidText,
    ) -> FilesSpec {
        let row_groups = |(file, outline): (usize, &FileOutline)| {
            let groups = outline.row_groups.iter().enumerate();
            groups.map(|(number, group)| RowGroup { file, number, bytes: group.bytes }).collect()
        };
        FilesSpec {
            store: self.store.clone(),
            files: self.data_files.clone(),
            parts: self.outlines.iter().enumerate().map(row_groups).collect(),
            columns: pairs.iter().map(|(_, source)| source.clone()).collect(),
            partial: mapping::partial_columns(&self.outlines, &self.data_files, pairs),
            on_lossy,
            on_invalid_text,
            settings: ValueSettings::of_this_session(),
        }
    }
}

/// Parts of a load for each worker, so that all end at about the same time.
pub const PARTS_PER_WORKER: usize = 4;

/// Puts the row groups together into at most so many parts of about the same size.
pub fn divide(parts: &[Vec<RowGroup>], most: usize) -> Vec<Vec<RowGroup>> {
    let groups: Vec<RowGroup> = parts.iter().flatten().copied().collect();
    let bytes = |group: &RowGroup| group.bytes.max(1);
    let wanted = groups.iter().map(bytes).sum::<u64>() / most as u64;
    let mut divided: Vec<Vec<RowGroup>> = Vec::new();
    let mut filled = u64::MAX;
    for group in groups {
        if filled >= wanted.max(1) {
            divided.push(Vec::new());
            filled = 0;
        }
        filled += bytes(&group);
        if let Some(part) = divided.last_mut() {
            part.push(group);
        }
    }
    if divided.is_empty() {
        divided.push(Vec::new());
    }
    divided
}
