//! The other end: connection, snapshot, catalog queries and COPY streams of the source server.

mod catalog;
mod connection;
mod copy_out;
mod session;
mod tap;
mod tls;

pub use catalog::{
    SequenceValue, count_rows, read_columns, read_enums, read_guaranteed_keys, read_lock_table, read_relations,
    read_sequence_values, read_sequences,
};
pub use connection::Trust;
pub use copy_out::{CopyOut, CopyReader, start_copies};
pub use session::{RunningCopies, Session};
