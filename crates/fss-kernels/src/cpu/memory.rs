//! Memory for large results.
//!
//! The allocator takes large blocks fresh from the system, one page fault each 4 KiB: on a virtual machine
//! that can take longer than the arithmetic of a convolution with few channels. Asking for huge pages
//! makes it one fault each 2 MiB.

/// Smaller results come from memory that the allocator already has.
const LARGE_BYTES: usize = 4 << 20;

/// An empty vector with room for `length` numbers.
pub(crate) fn room(length: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(length);
    prefer_huge_pages(&mut values);
    values
}

/// `length` zeros.
pub(crate) fn zeros(length: usize) -> Vec<f32> {
    // Large ones are zero because the system hands them out so: nothing is written yet.
    let mut values = vec![0.0; length];
    prefer_huge_pages(&mut values);
    values
}

#[cfg(target_os = "linux")]
fn prefer_huge_pages(values: &mut Vec<f32>) {
    const PAGE: usize = 4096;
    let bytes = values.capacity() * size_of::<f32>();
    if bytes < LARGE_BYTES {
        return;
    }
    let start = values.as_mut_ptr().cast::<u8>();
    let before = start.align_offset(PAGE);
    let length = (bytes - before) / PAGE * PAGE;
    // SAFETY: the range is whole pages inside the vector's own memory, and the advice changes how the system
    // backs them, not what is in them. A system that refuses it leaves everything as it was.
    unsafe {
        libc::madvise(start.wrapping_add(before).cast(), length, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_: &mut Vec<f32>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_vectors_are_what_they_should_be() {
        for length in [0, 1, 1 << 10, (LARGE_BYTES / 4) - 1, LARGE_BYTES / 4 + 1, 5_000_011] {
            let values = room(length);
            assert!(values.is_empty() && values.capacity() >= length);
            let mut values = zeros(length);
            assert!(values.len() == length && values.iter().all(|v| *v == 0.0));
            values.fill(1.0);
            assert_eq!(values.iter().sum::<f32>(), length as f32);
        }
    }
}
