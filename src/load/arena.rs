use pgrx::pg_sys;

/// Memory for the values of one batch: bump allocation inside a memory context that is reset between batches.
pub(super) struct Arena {
    context: pg_sys::MemoryContext,
    next: *mut u8,
    end: *mut u8,
}

pub(super) const CHUNK_BYTES: usize = 512 * 1024;
const ALIGNMENT: usize = 8;

impl Arena {
    pub(super) fn new() -> Self {
        // SAFETY: a child of the current context, so that it goes with the transaction whatever happens.
        let context = unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"pgcopy batch".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        Self { context, next: std::ptr::null_mut(), end: std::ptr::null_mut() }
    }

    /// Returns the context in which functions that the decoder calls should allocate.
    pub(super) fn context(&self) -> pg_sys::MemoryContext {
        self.context
    }

    /// Allocates `length` bytes, aligned for any type, that live until the next [`Arena::reset`].
    #[inline]
    pub(super) fn allocate(&mut self, length: usize) -> *mut u8 {
        let rounded = length.next_multiple_of(ALIGNMENT);
        if rounded > (self.end as usize).wrapping_sub(self.next as usize) {
            return self.allocate_slow(rounded);
        }
        let start = self.next;
        // SAFETY: the chunk has at least `rounded` bytes left, as just checked.
        self.next = unsafe { start.add(rounded) };
        start
    }

    #[cold]
    fn allocate_slow(&mut self, rounded: usize) -> *mut u8 {
        // SAFETY: MemoryContextAllocHuge returns memory of that size or raises. A value of its own chunk's size leaves
        // the current chunk as it is.
        unsafe {
            if rounded > CHUNK_BYTES / 4 {
                return pg_sys::MemoryContextAllocHuge(self.context, rounded).cast();
            }
            let chunk: *mut u8 = pg_sys::MemoryContextAllocHuge(self.context, CHUNK_BYTES).cast();
            self.next = chunk.add(rounded);
            self.end = chunk.add(CHUNK_BYTES);
            chunk
        }
    }

    /// Returns whether the values, including those that functions allocated, take more memory than that.
    #[inline]
    pub(super) fn is_beyond(&self, bytes: usize) -> bool {
        // SAFETY: the context is alive.
        unsafe { (*self.context).mem_allocated > bytes }
    }

    /// Frees every value of the batch.
    pub(super) fn reset(&mut self) {
        // SAFETY: no value of the batch is used after this; the writer has stored or dropped them.
        unsafe { pg_sys::MemoryContextReset(self.context) };
        self.next = std::ptr::null_mut();
        self.end = std::ptr::null_mut();
    }
}
