//! The other end: connection, snapshot, catalog queries and COPY streams of the source server.

mod answers;
mod catalog;
mod connection;
mod copy_out;
mod expression;
mod extension_tables;
mod failure;
mod framed_stream;
mod list;
mod masks;
mod origin;
mod server_options;
mod session;
mod socket;
mod stored_form;
mod tap;
mod tls;
mod wire;
mod words;

pub use catalog::{
    GuaranteedKey, KeyColumns, LargeObject, NamedSequence, ObjectAddress, ObjectName, Right, count_chosen_rows,
    read_called_indexes, read_code_of_others, read_columns, read_dependencies, read_distinct_values, read_enums,
    read_guaranteed_keys, read_heirs, read_key_columns, read_large_object_part, read_large_objects,
    read_large_objects_from, read_lock_table, read_missing_rights, read_object_definitions, read_object_names,
    read_relations, read_sequence_values, read_sequences, read_table_parts, read_unique_columns, read_unique_keys,
};
pub use copy_out::{CopyOut, CopyReader, Transport, start_copies};
pub use expression::{check_condition, check_constant_parts, check_value, constant_as, read_unusable_names};
pub use extension_tables::{ExtensionTable, read_extension_rows, read_extension_tables};
pub use framed_stream::Framed;
pub use list::{list_databases, list_source};
pub use masks::has_mask_functions;
pub use origin::Origin;
pub use server_options::refuse_wrong_options;
pub use session::{RunningCopies, RunningValues, Session};
pub use stored_form::{read_stored_form, refusal_of_stored_rows};
pub use wire::{WireSupport, read_wire_support, sample_forms};
