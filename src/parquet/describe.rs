//! The columns of a file, for people.

use super::data_files::DataFile;
use super::new_table::{self, WantedColumns, stem_of};
use super::parquet_file::ParquetFile;
use super::store::Store;
use crate::error::Result;

/// A column of a Parquet file, with facts about the file.
#[derive(Debug, Clone)]
pub struct DescribedColumn {
    pub file: String,
    /// Counted from 1.
    pub position: i32,
    pub name: String,
    pub parquet_type: String,
    pub arrow_type: String,
    pub postgres_type: String,
    pub nullable: bool,
    pub codec: String,
    pub compressed_bytes: i64,
    pub uncompressed_bytes: i64,
    pub rows: i64,
    pub row_groups: i32,
    pub create_table: String,
}

/// Returns the name of the codec, without a level, which files do not hold.
fn codec_name(text: &str) -> String {
    text.split('(').next().unwrap_or_default().to_lowercase()
}

/// Returns a text as the server can hold it.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\\x00")
}

/// Describes the columns of the first of the files.
pub fn parquet_schema(path: &str, server: Option<&str>) -> Result<Vec<DescribedColumn>> {
    let store = Store::resolve(&[path.to_owned()], server)?;
    let data_files = store.find(&[path.to_owned()])?;
    let data_files = &data_files[..1];
    let file = ParquetFile::open(&data_files[0].name, store.open(&data_files[0])?)?;
    let folders = data_files.iter().flat_map(DataFile::folders).collect();
    let wanted = WantedColumns { folders, ..WantedColumns::default() };
    let columns = new_table::new_columns(&[file.outline(None)], data_files, &wanted)?;
    let statement = new_table::create_table(&stem_of(&data_files[0].name), &columns, |column| column.type_name.clone());
    let statement = without_nul(&statement);
    let groups = file.metadata.row_groups();
    Ok(file
        .schema
        .columns
        .iter()
        .enumerate()
        .map(|(position, column)| {
            let chunks = || groups.iter().flat_map(|group| &group.columns()[column.leaves.clone()]);
            let mut codecs: Vec<String> = chunks().map(|chunk| codec_name(&chunk.compression().to_string())).collect();
            codecs.sort();
            codecs.dedup();
            DescribedColumn {
                file: file.name.clone(),
                position: position as i32 + 1,
                name: without_nul(&column.name),
                parquet_type: without_nul(&column.parquet_type),
                arrow_type: without_nul(&column.arrow_type),
                postgres_type: column.shape.default_type(),
                nullable: column.nullable,
                codec: codecs.join(", "),
                compressed_bytes: chunks().map(|chunk| chunk.compressed_size()).sum(),
                uncompressed_bytes: chunks().map(|chunk| chunk.uncompressed_size()).fold(0, i64::saturating_add),
                rows: file.metadata.file_metadata().num_rows(),
                row_groups: groups.len() as i32,
                create_table: statement.clone(),
            }
        })
        .collect())
}
