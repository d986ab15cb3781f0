//! Where finished sums go.

use std::marker::PhantomData;

use super::Epilogue;
use super::lanes::{LINE, Lanes};
use crate::Activation;

/// The output array of a convolution and what is done to values on their way into it.
///
/// Tasks on several threads write disjoint parts of it.
pub(super) struct Output<'a> {
    values: *mut f32,
    epilogue: Epilogue<'a>,
    /// The exclusive use of `values`' memory.
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: `put` is the only access to the memory, and its callers write disjoint parts.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// The spare capacity of `values` as output.
    pub(super) fn new(values: &'a mut Vec<f32>, epilogue: Epilogue<'a>) -> Self {
        Self { values: values.as_mut_ptr(), epilogue, memory: PhantomData }
    }

    /// The bias of output channel `o`.
    #[inline(always)]
    pub(super) fn bias(&self, o: usize) -> f32 {
        self.epilogue.bias[o]
    }

    /// Asks for the cache lines that [`Output::put`] will use for `length` values from `at` on. Without
    /// it, waiting for the residual takes a quarter of the time of a 1x1 convolution.
    ///
    /// # Safety
    /// Inside [`Lanes::enter`].
    #[inline(always)]
    pub(super) unsafe fn prefetch<S: Lanes>(&self, at: usize, length: usize) {
        // The values need not start where a line does, so the last one counts too.
        for offset in (0..length).step_by(LINE).chain([length - 1]) {
            // SAFETY: a prefetch accepts any address.
            unsafe {
                S::prefetch(self.values.wrapping_add(at + offset));
                if let Some(residual) = self.epilogue.residual {
                    S::prefetch(residual.as_ptr().wrapping_add(at + offset));
                }
            }
        }
    }

    /// Stores the masked lanes of `activation(sums + bias [+ residual])` from position `at` on.
    ///
    /// # Safety
    /// Inside [`Lanes::enter`]; the masked lanes lie in the output, and no other thread touches them.
    #[inline(always)]
    pub(super) unsafe fn put<S: Lanes>(
        &self,
        at: usize,
        mask: S::Mask,
        sums: S::Vector,
        bias: S::Vector,
    ) {
        // SAFETY: the residual has the output's length, which was checked. The offset may lie outside
        // when no lane is masked in, hence the wrapping.
        unsafe {
            let mut v = S::add(sums, bias);
            if let Some(residual) = self.epilogue.residual {
                v = S::add(v, S::load_masked(residual.as_ptr().wrapping_add(at), mask));
            }
            if self.epilogue.activation == Activation::Relu {
                v = S::relu(v);
            }
            S::store_masked(self.values.wrapping_add(at), mask, v);
        }
    }
}
