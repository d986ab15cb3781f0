//! Working memory that outlives a call.
//!
//! A convolution needs megabytes for packed weights and panels. Fresh memory costs a page fault each 4 KiB,
//! which for the larger layers is as long as a tenth of the arithmetic; so each thread keeps what it had.

use std::cell::RefCell;

/// One cache line, so that buffers start at one.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read and written through pointers")] [f32; 16]);

/// A buffer that starts at a cache line. What is in it is left over from earlier use.
pub(super) struct Scratch(Vec<Line>);

thread_local! {
    /// Buffers at rest, most recently used last.
    static AT_REST: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// A buffer of at least `length` numbers of unspecified value.
    pub(super) fn take(length: usize) -> Self {
        let lines = length.div_ceil(16);
        // The smallest that fits, else the largest: buffers of one size go back to one purpose.
        let mut buffer = AT_REST.with_borrow_mut(|rest| {
            let fits = |b: &Vec<Line>| (b.len() < lines, b.len().abs_diff(lines));
            let best = (0..rest.len()).min_by_key(|&i| fits(&rest[i]));
            best.map(|i| rest.swap_remove(i)).unwrap_or_default()
        });
        if buffer.len() < lines {
            buffer = Vec::new();
            buffer.resize(lines, Line([0.0; 16]));
        }
        Self(buffer)
    }

    /// The start of the buffer.
    pub(super) fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }

    /// The start of the buffer.
    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // Not at a thread's end, when the pool may be gone already.
        let _ = AT_REST.try_with(|rest| rest.borrow_mut().push(buffer));
    }
}

/// A pointer that threads share; each uses a part of its own, or all only read.
#[derive(Clone, Copy)]
pub(super) struct Shared(*mut f32);

// SAFETY: a pointer is a number; the accesses state why they are sound.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Of a buffer's start.
    pub(super) fn new(start: *mut f32) -> Self {
        Self(start)
    }

    /// The address `offset` numbers in.
    pub(super) fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}
