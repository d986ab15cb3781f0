//! Inference convolutions, pooling and products of large matrices and attention for the CPU on plain slices.
//!
//! [`conv2d_nchw`] computes `y = activation(conv(x, w) + bias [+ residual])`. Two algorithms share one
//! register-tiled product ([`gemm`]):
//!
//! * [`winograd`] for 3x3 kernels of stride 1, where it saves three quarters of the multiplications;
//! * [`direct`] for everything else: panels of output pixels are gathered and multiplied by the weights.
//!
//! Bias, residual and activation are applied while a tile is still in the cache. Output values do not
//! depend on the number of threads, on timing, or on what else is in the batch: each is a sum in a
//! fixed order that one thread computes. They do differ in the last bits between instruction sets.

#![allow(unsafe_code)]

mod attention;
mod direct;
mod exp;
mod gemm;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod lanes_x86;
mod matmul;
mod memory;
mod output;
mod pack;
mod pivot;
mod pool;
mod scratch;
mod shape;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tile_avx2;
mod winograd;
mod winograd_stages;
mod winograd_tile;

use crate::Activation;
pub(crate) use attention::Attention;
pub(crate) use exp::{exp_row, exp_scaled};
use lanes::{InstructionSet, Lanes, Task};
pub(crate) use matmul::{Factor, Product};
pub(crate) use memory::{room, zeros};
use output::Output;
pub(crate) use pivot::{PivotInputs, PivotSources, pivot_images};
pub(crate) use pool::{Pooling, pool2d};
pub(crate) use shape::ConvShape;

/// What happens to the sums of a convolution before they are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue<'a> {
    /// Added to each channel, `[O]`.
    pub bias: &'a [f32],
    /// Added to each value, `[B, O, H, W]`.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

/// `activation(conv(x, w) + bias [+ residual])` on contiguous arrays.
///
/// Returns the values `[B, O, H, W]` and that shape.
///
/// - `x`: `[B, C, h, w]`
/// - `weight`: `[O, C, kh, kw]`
///
/// # Panics
/// If a slice's length is not what `shape` says, or stride or dilation is zero.
pub(crate) fn conv2d_nchw(
    x: &[f32],
    weight: &[f32],
    shape: &ConvShape,
    epilogue: Epilogue<'_>,
) -> (Vec<f32>, [usize; 4]) {
    conv2d_with(InstructionSet::best(), x, weight, shape, epilogue)
}

/// [`conv2d_nchw`] with a given instruction set, which the machine must have.
fn conv2d_with(
    set: InstructionSet,
    x: &[f32],
    weight: &[f32],
    shape: &ConvShape,
    epilogue: Epilogue<'_>,
) -> (Vec<f32>, [usize; 4]) {
    shape.check(x, weight, &epilogue);
    let dims = shape.output_dims();
    let job = Job { x, weight, shape, epilogue };
    // SAFETY: the set was detected on this machine.
    (unsafe { set.run(job) }, dims)
}

/// Whether [`conv2d_nchw`] saves multiplications on this shape.
pub(crate) fn is_fast(shape: &ConvShape) -> bool {
    winograd::unit(shape).is_some()
}

/// A convolution whose slices have been checked.
#[derive(Clone, Copy)]
struct Job<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    shape: &'a ConvShape,
    epilogue: Epilogue<'a>,
}

impl Task for Job<'_> {
    type Output = Vec<f32>;

    /// # Safety
    /// As there, and [`ConvShape::check`] passed.
    unsafe fn run<S: Lanes>(self) -> Vec<f32> {
        let length = self.shape.output_dims().iter().product();
        let mut values = room(length);
        if length > 0 {
            let output = Output::new(&mut values, self.epilogue);
            // SAFETY: the caller's; each algorithm writes all of the output.
            unsafe {
                match winograd::unit(self.shape) {
                    Some(1) => winograd::run::<S, 1>(&self, &output),
                    Some(2) => winograd::run::<S, 2>(&self, &output),
                    Some(_) => winograd::run::<S, 4>(&self, &output),
                    None => direct::run::<S>(&self, &output),
                }
            }
        }
        // SAFETY: `length` values were reserved, and all were written.
        unsafe { values.set_len(length) };
        values
    }
}
