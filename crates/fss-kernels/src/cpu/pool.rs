//! Pooling, one output row at a time.
//!
//! Taps are taken in the order of the window's rows, each over the whole output row, so that neighbouring
//! outputs share a vector and every output still combines its window in a fixed order. There is nothing
//! unsafe in it but the instructions: the loops are plain, and the compiler makes vectors of them.

use rayon::prelude::*;

use super::lanes::{InstructionSet, Kernel, Lanes, Task};
use super::memory::zeros;
use super::shape::ConvShape;

/// What a window is reduced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The largest value; NaN if there is one.
    Max,
    /// The sum divided by the window's area.
    Mean,
}

/// Values that make a task worth its start.
const TASK: usize = 1 << 13;

/// Pools the channels of `x` `[B, C, h, w]` over the windows that `shape`'s kernel would cover.
///
/// # Panics
/// If the input's length is not what `shape` says, or stride is zero.
pub(crate) fn pool2d(x: &[f32], shape: &ConvShape, pooling: Pooling) -> Vec<f32> {
    pool_with(InstructionSet::best(), x, shape, pooling)
}

/// [`pool2d`] with a given instruction set, which the machine must have.
pub(super) fn pool_with(
    set: InstructionSet,
    x: &[f32],
    shape: &ConvShape,
    pooling: Pooling,
) -> Vec<f32> {
    let [batch, channels, h, w] = shape.input;
    let [_, _, height, width] = shape.output_dims();
    assert_eq!(x.len(), batch * channels * h * w, "the input is not {:?}", shape.input);
    let mut output = zeros(batch * channels * height * width);
    if output.is_empty() {
        return output;
    }
    output.par_chunks_mut(width).with_min_len((TASK / width).max(1)).enumerate().for_each(
        |(index, output)| {
            let plane = &x[index / height * h * w..][..h * w];
            let row = Row { plane, output, shape, pooling, y: index % height };
            // SAFETY: the set was detected on this machine; nothing else is asked of the caller.
            unsafe { set.run(row) }
        },
    );
    output
}

/// Output row `y` of a plane.
struct Row<'a> {
    plane: &'a [f32],
    output: &'a mut [f32],
    shape: &'a ConvShape,
    pooling: Pooling,
    y: usize,
}

impl Task for Row<'_> {
    type Output = ();

    unsafe fn run<S: Lanes>(self) {
        // SAFETY: the caller's.
        unsafe { S::enter(self) }
    }
}

impl Kernel for Row<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        match self.pooling {
            Pooling::Max => {
                self.output.fill(f32::NEG_INFINITY);
                // As Burn has it: the first of equals, the last NaN.
                self.each_tap(
                    |best, value| {
                        if value > best || value.is_nan() { value } else { best }
                    },
                );
            }
            Pooling::Mean => {
                let [.., kh, kw] = self.shape.weight;
                self.output.fill(0.0);
                let output = self.each_tap(|sum, value| sum + value);
                let area = (kh * kw) as f32;
                output.iter_mut().for_each(|sum| *sum /= area);
            }
        }
    }
}

impl<'a> Row<'a> {
    /// Combines each output with its window's values, in order. Returns the row.
    #[inline(always)]
    fn each_tap(self, combine: impl Fn(f32, f32) -> f32 + Copy) -> &'a mut [f32] {
        let [_, _, height, width] = self.shape.input;
        let [.., kh, kw] = self.shape.weight;
        let (stride, padding) = (self.shape.geometry.stride, self.shape.geometry.padding);
        // A row before the first wraps around to a very large one.
        let rows = (0..kh).map(|tap| (self.y * stride + tap).wrapping_sub(padding));
        for y in rows.filter(|&y| y < height) {
            let row = &self.plane[y * width..][..width];
            for tap in 0..kw {
                // The outputs whose pixel `x * stride + tap - padding` is inside the row.
                let first = padding.saturating_sub(tap).div_ceil(stride);
                let end = (width + padding).saturating_sub(tap).div_ceil(stride);
                let end = end.min(self.output.len());
                if first < end {
                    let from = &row[first * stride + tap - padding..];
                    let to = &mut self.output[first..end];
                    match stride {
                        1 => fold::<1>(to, from, combine),
                        2 => fold::<2>(to, from, combine),
                        _ => {
                            for (to, from) in to.iter_mut().zip(from.iter().step_by(stride)) {
                                *to = combine(*to, *from);
                            }
                        }
                    }
                }
            }
        }
        self.output
    }
}

/// Combines every `STRIDE`-th value with an output each.
#[inline(always)]
fn fold<const STRIDE: usize>(
    to: &mut [f32],
    from: &[f32],
    combine: impl Fn(f32, f32) -> f32 + Copy,
) {
    // The last value need not be followed by a whole stride.
    let (pairs, last) = to.split_at_mut(to.len() - 1);
    last[0] = combine(last[0], from[pairs.len() * STRIDE]);
    for (to, from) in pairs.iter_mut().zip(from.chunks_exact(STRIDE)) {
        *to = combine(*to, from[0]);
    }
}
