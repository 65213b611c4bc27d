//! Nodes of parse trees, for statements that are put together without text.

use pgrx::pg_sys;

/// Makes a zeroed node of a kind in the current memory context.
///
/// # Safety
/// The structure is that of the tag.
pub unsafe fn make_node<T>(tag: pg_sys::NodeTag) -> *mut T {
    // SAFETY: zeroed memory of the node's size, which begins with its tag.
    unsafe {
        let node = pg_sys::palloc0(size_of::<T>()).cast::<pg_sys::Node>();
        (*node).type_ = tag;
        node.cast()
    }
}
