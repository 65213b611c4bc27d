use super::{Text, given, parameters};
use crate::error::or_raise;
use crate::job;
use crate::local::document::Document;
use crate::prepare::VerifyRequest;
use pgrx::prelude::*;

/// Compares tables with those of another server; one row for each table.
#[pg_extern(volatile)]
#[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters are the signature")]
fn verify(
    source: Option<Text>,
    include: default!(Option<Vec<Option<Text>>>, "NULL"),
    exclude: default!(Option<Vec<Option<Text>>>, "NULL"),
    level: default!(Option<Text>, "'digest'"),
    parallel: default!(Option<i32>, "NULL"),
    fail: default!(Option<bool>, "false"),
    most_rows: default!(Option<i32>, 10),
    definitions: default!(Option<bool>, "false"),
    tables: default!(Option<Document>, "NULL"),
    mask_key: default!(Option<Text>, "NULL"),
    compress: default!(Option<Text>, "'auto'"),
) -> TableIterator<
    'static,
    (
        name!(schema, Text),
        name!(table, Text),
        name!(source_rows, i64),
        name!(rows, i64),
        name!(source_digest, Option<String>),
        name!(digest, Option<String>),
        name!(same, bool),
        name!(differences, Vec<Text>),
        name!(seconds, f64),
    ),
> {
    let request = VerifyRequest {
        source: given("source", source).0,
        include: include.map(parameters::patterns),
        exclude: exclude.map(parameters::patterns),
        level: given("level", level).0,
        parallel,
        definitions: given("definitions", definitions),
        fail: given("fail", fail),
        most_rows: given("most_rows", most_rows),
        tables: tables.map(|tables| or_raise(tables.parse("tables"))),
        mask_key: mask_key.map(String::from),
        compress: given("compress", compress).0,
    };
    let verdicts = or_raise(job::verify(&request));
    TableIterator::new(verdicts.into_iter().map(|verdict| {
        (
            verdict.schema.into(),
            verdict.table.into(),
            verdict.source.rows,
            verdict.here.rows,
            verdict.source.digest,
            verdict.here.digest,
            verdict.differences.is_empty(),
            verdict.differences.into_iter().map(Text).collect(),
            verdict.seconds,
        )
    }))
}
