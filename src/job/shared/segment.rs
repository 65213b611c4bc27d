//! Segments of dynamic shared memory.

use pgrx::pg_sys;

/// A segment that this process made or attached.
pub(in super::super) struct Segment(pub(super) *mut pg_sys::dsm_segment);

impl Segment {
    pub(in super::super) fn create(bytes: usize) -> Option<Self> {
        // SAFETY: returns null when the server has no segment left. The mapping belongs to the current resource owner,
        // so that it ends with the (sub)transaction that fails.
        let segment = unsafe { pg_sys::dsm_create(bytes, pg_sys::DSM_CREATE_NULL_IF_MAXSEGMENTS as i32) };
        (!segment.is_null()).then_some(Self(segment))
    }

    /// For a background process: the mapping lasts as long as the process.
    pub(in super::super) fn attach(handle: u32) -> Option<Self> {
        // SAFETY: returns null when the segment is gone.
        let segment = unsafe { pg_sys::dsm_attach(handle) };
        (!segment.is_null()).then_some(Self(segment))
    }

    pub(in super::super) fn handle(&self) -> u32 {
        // SAFETY: the segment is mapped.
        unsafe { pg_sys::dsm_segment_handle(self.0) }
    }

    pub(in super::super) fn address(&self) -> *mut u8 {
        // SAFETY: the segment is mapped.
        unsafe { pg_sys::dsm_segment_address(self.0).cast() }
    }

    pub(in super::super) fn as_ptr(&self) -> *mut pg_sys::dsm_segment {
        self.0
    }

    pub(super) fn length(&self) -> usize {
        // SAFETY: the segment is mapped.
        unsafe { pg_sys::dsm_segment_map_length(self.0) }
    }

    pub(in super::super) fn detach(self) {
        // SAFETY: the segment is mapped, and no view of it is used after this.
        unsafe { pg_sys::dsm_detach(self.0) }
    }
}
