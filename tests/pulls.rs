//! Whole pulls between real servers. `cargo xtask test` builds the extension, starts the shared servers and runs this.

#![cfg(test)]

mod harness;

mod connections;
mod crashes;
mod decoders;
mod documentation;
mod error_fields;
mod failures;
mod faults;
mod foreign_keys;
mod foreign_servers;
mod hostile_source;
mod hostile_texts;
mod huge_values;
mod in_place;
mod in_place_keys;
mod indexes;
mod installation;
mod interface;
mod isolation;
mod isolation_levels;
mod job_rights;
mod jobs;
mod kills;
mod limits;
mod migrations;
mod own_transaction;
mod parquet;
mod parquet_calendars;
mod parquet_columns;
mod parquet_copy;
mod parquet_copy_to;
mod parquet_jobs;
mod parquet_memory;
mod parquet_settings;
mod parquet_stores;
mod parquet_values;
mod parquet_writers;
mod planted_code;
mod refused_processes;
mod rights;
mod safety;
mod schemas;
mod secrets;
mod self_pull;
mod sequences;
mod servers;
mod settings;
mod silent_source;
mod soak;
mod stage_tables;
mod tpch;
mod versions;
mod zoo;
