use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

/// What a Parquet file holds, and the table that would be made for it; one row for each column.
#[allow(clippy::type_complexity, reason = "the columns are the signature")]
#[pg_extern(volatile)]
fn parquet_schema(
    path: &str,
    server: default!(Option<&str>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(file, String),
        name!(position, i32),
        name!(column, String),
        name!(parquet_type, String),
        name!(arrow_type, String),
        name!(postgres_type, String),
        name!(nullable, bool),
        name!(codec, String),
        name!(compressed_bytes, i64),
        name!(uncompressed_bytes, i64),
        name!(rows, i64),
        name!(row_groups, i32),
        name!(create_table, String),
    ),
> {
    let columns = or_raise(job::parquet_schema(path, server));
    TableIterator::new(columns.into_iter().map(|column| {
        (
            column.file,
            column.position,
            column.name,
            column.parquet_type,
            column.arrow_type,
            column.postgres_type,
            column.nullable,
            column.codec,
            column.compressed_bytes,
            column.uncompressed_bytes,
            column.rows,
            column.row_groups,
            column.create_table,
        )
    }))
}
