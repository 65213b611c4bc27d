use super::{Text, given};
use crate::error::or_raise;
use crate::parquet::describe;
use pgrx::prelude::*;

/// Describes a Parquet file, and the table that would be made for it; one row for each column.
#[allow(clippy::type_complexity, reason = "the columns are the signature")]
#[pg_extern(volatile)]
fn parquet_schema(
    path: Option<Text>,
    server: default!(Option<Text>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(file, Text),
        name!(position, i32),
        name!(column, Text),
        name!(parquet_type, Text),
        name!(arrow_type, Text),
        name!(postgres_type, Text),
        name!(nullable, bool),
        name!(codec, Text),
        name!(compressed_bytes, i64),
        name!(uncompressed_bytes, i64),
        name!(rows, i64),
        name!(row_groups, i32),
        name!(create_table, Text),
    ),
> {
    let columns =
        or_raise(describe::parquet_schema(&given("path", path).0, server.as_ref().map(|Text(server)| server.as_str())));
    TableIterator::new(columns.into_iter().map(|column| {
        (
            column.file.into(),
            column.position,
            column.name.into(),
            column.parquet_type.into(),
            column.arrow_type.into(),
            column.postgres_type.into(),
            column.nullable,
            column.codec.into(),
            column.compressed_bytes,
            column.uncompressed_bytes,
            column.rows,
            column.row_groups,
            column.create_table.into(),
        )
    }))
}
