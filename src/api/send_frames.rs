use super::{Text, given, parameters};
use crate::error::or_raise;
use crate::sending::{self, Frames, Request, StoredRequest, WIRE_VERSIONS};
use pgrx::prelude::*;

/// Returns the rows of a query in frames, for a pgcopy elsewhere that asks for them with COPY.
#[pg_extern(volatile, parallel_unsafe)]
fn send_frames(
    wire: Option<i32>,
    query: Option<Text>,
    form: Option<Text>,
    codec: Option<Text>,
    call: pg_sys::FunctionCallInfo,
) -> SetOfIterator<'static, Vec<u8>> {
    let request = Request {
        wire: given("wire", wire),
        query: given("query", query).0,
        form: given("form", form).0,
        codec: given("codec", codec).0,
    };
    SetOfIterator::new(or_raise(Frames::start(call, &request)))
}

/// Returns the rows of a part of a table in frames, as they are stored, for a pgcopy elsewhere that asks for them with COPY.
#[pg_extern(volatile, parallel_unsafe)]
fn send_stored_frames(
    wire: Option<i32>,
    table_name: Option<Text>,
    columns: Option<Vec<Option<Text>>>,
    first_page: Option<i64>,
    end_page: Option<i64>,
    codec: Option<Text>,
) -> SetOfIterator<'static, Vec<u8>> {
    let page = |name: &str, value: Option<i64>| given(name, value).clamp(0, u32::MAX.into()) as u32;
    let request = StoredRequest {
        wire: given("wire", wire),
        table: given("table_name", table_name).0,
        columns: parameters::texts("a column", given("columns", columns)),
        pages: page("first_page", first_page)..page("end_page", end_page),
        codec: given("codec", codec).0,
    };
    SetOfIterator::new(or_raise(Frames::start_stored(&request)))
}

/// Describes what the form of stored rows depends on.
#[pg_extern(stable, parallel_restricted)]
fn stored_form() -> String {
    or_raise(sending::stored_form())
}

/// Returns the wire versions that `send_frames` knows.
#[pg_extern(stable, parallel_safe)]
fn wire_versions() -> Vec<i32> {
    WIRE_VERSIONS.to_vec()
}
