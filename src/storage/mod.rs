//! Forms on disk: rows, heap pages, B-tree pages, the visibility map, and the files that hold them.
//!
//! Nothing here knows of jobs or sources: it turns values into pages, and reads pages that it has written.

pub mod btree;
pub mod heap_pages;
pub mod key_scan;
pub mod page;
pub mod relation_file;
pub mod server_rows;
pub mod spool;
pub mod stored_rows;
pub mod tuple;
pub mod visibility_map;
