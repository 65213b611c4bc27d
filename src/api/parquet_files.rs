use super::Text;
use crate::error::or_raise;
use crate::parquet::store::Store;
use pgrx::prelude::*;

type Files = TableIterator<'static, (name!(file, Text), name!(bytes, i64), name!(partition, pgrx::JsonB))>;

/// Lists the files that a path, a pattern or a URL means; `partition` has the values that their folders name.
#[pg_extern(volatile)]
fn parquet_files(
    path: Option<Text>,
    server: default!(Option<Text>, "NULL"),
) -> TableIterator<'static, (name!(file, Text), name!(bytes, i64), name!(partition, pgrx::JsonB))> {
    list(vec![path], server)
}

/// Lists the files that paths, patterns and URLs mean.
#[pg_extern(volatile, name = "parquet_files")]
fn parquet_files_of_list(
    path: Option<Vec<Option<Text>>>,
    server: default!(Option<Text>, "NULL"),
) -> TableIterator<'static, (name!(file, Text), name!(bytes, i64), name!(partition, pgrx::JsonB))> {
    list(path.unwrap_or_else(|| vec![None]), server)
}

fn list(paths: Vec<Option<Text>>, server: Option<Text>) -> Files {
    let paths = paths.into_iter().map(|path| path.map(String::from)).collect();
    let files = or_raise(Store::list(paths, server.as_ref().map(|Text(server)| server.as_str())));
    TableIterator::new(files.into_iter().map(|file| {
        let values = file.partition.into_iter().map(|(column, value)| (column, value.into())).collect();
        (file.name.into(), file.bytes as i64, pgrx::JsonB(serde_json::Value::Object(values)))
    }))
}
