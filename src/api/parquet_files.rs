use crate::error::or_raise;
use crate::parquet::store::Store;
use pgrx::prelude::*;

type Files = TableIterator<'static, (name!(file, String), name!(bytes, i64), name!(partition, pgrx::JsonB))>;

/// The files that a path, a pattern or a URL means; `partition` is what their folders say.
#[pg_extern(volatile)]
fn parquet_files(
    path: Option<&str>,
    server: default!(Option<&str>, "NULL"),
) -> TableIterator<'static, (name!(file, String), name!(bytes, i64), name!(partition, pgrx::JsonB))> {
    list(vec![path.map(str::to_owned)], server)
}

/// The same for several.
#[pg_extern(volatile, name = "parquet_files")]
fn parquet_files_of_list(
    path: Option<Vec<Option<String>>>,
    server: default!(Option<&str>, "NULL"),
) -> TableIterator<'static, (name!(file, String), name!(bytes, i64), name!(partition, pgrx::JsonB))> {
    list(path.unwrap_or_else(|| vec![None]), server)
}

fn list(paths: Vec<Option<String>>, server: Option<&str>) -> Files {
    let files = or_raise(Store::list(paths, server));
    TableIterator::new(files.into_iter().map(|file| {
        let values = file.partition.into_iter().map(|(column, value)| (column, value.into())).collect();
        (file.name, file.bytes as i64, pgrx::JsonB(serde_json::Value::Object(values)))
    }))
}
