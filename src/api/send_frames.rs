use super::{Text, given};
use crate::error::or_raise;
use crate::sending::{Frames, Request, WIRE_VERSIONS};
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

/// Returns the wire versions that `send_frames` knows.
#[pg_extern(stable, parallel_safe)]
fn wire_versions() -> Vec<i32> {
    WIRE_VERSIONS.to_vec()
}
