//! Any convolution: gather a panel of output pixels, multiply it by the weights.
//!
//! A panel is some tens of consecutive output pixels of one image. Its `C * kh * kw` inputs for each pixel
//! are gathered next to each other (for a 1x1 kernel of stride 1 that is a plain copy), which costs
//! one move for each `O` multiply-adds, and stay in the second-level cache while all weights pass by.

use rayon::prelude::*;

use super::Job;
use super::gemm::{RegisterTile, multiply};
use super::lanes::{Kernel, Lanes};
use super::output::Output;
use super::pack::{group_rows, pack};
use super::scratch::{Scratch, Shared};
use super::shape::{ConvShape, inside, pieces};

/// Computes the whole output.
///
/// # Safety
/// The machine has the instructions of `S`, and the job's slices fit its shape.
pub(super) unsafe fn run<S: Lanes>(job: &Job<'_>, output: &Output<'_>) {
    let [batch, outputs, _, _] = job.shape.output_dims();
    let [_, channels, kh, kw] = job.shape.weight;
    let depth = channels * kh * kw;
    let groups = outputs.div_ceil(S::ROWS);
    let mut packed = Scratch::take(groups * depth * S::ROWS);
    let packed_start = Shared::new(packed.as_mut_ptr());
    (0..groups).into_par_iter().for_each(|group| {
        let to = packed_start.at(group * depth * S::ROWS);
        // SAFETY: the instructions exist; each group has its own part of the buffer.
        unsafe { S::enter(PackWeights { weight: job.weight, outputs, depth, group, to }) }
    });
    let panels = job.shape.output_pixels().div_ceil(S::PANEL);
    (0..batch * panels).into_par_iter().for_each(|task| {
        let start = task % panels * S::PANEL;
        let weights = packed_start.at(0);
        let panel = Panel { job, output, weights, image: task / panels, start };
        // SAFETY: the instructions exist, the weights are packed, and panels do not overlap.
        unsafe { S::enter(panel) }
    });
}

/// Packs the weights of one group of `ROWS` output channels as `[depth][ROWS]`.
struct PackWeights<'a> {
    weight: &'a [f32],
    outputs: usize,
    depth: usize,
    group: usize,
    to: *mut f32,
}

impl Kernel for PackWeights<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let rows = group_rows::<S>(self.weight, [self.outputs, self.depth], self.group);
        // SAFETY: `to` has room for `depth * ROWS` numbers.
        unsafe { pack::<S>(&rows, 0, self.depth, self.to) }
    }
}

/// One panel: the output pixels from `start` on of all channels of one image.
struct Panel<'a> {
    job: &'a Job<'a>,
    output: &'a Output<'a>,
    weights: *const f32,
    image: usize,
    start: usize,
}

impl Kernel for Panel<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let shape = self.job.shape;
        let [_, channels, kh, kw] = shape.weight;
        let outputs = shape.weight[0];
        let (depth, area) = (channels * kh * kw, shape.output_pixels());
        let count = (area - self.start).min(S::PANEL);
        let mut scratch = Scratch::take((depth + S::ROWS) * S::PANEL);
        let pixels = scratch.as_mut_ptr();
        let sums = pixels.wrapping_add(depth * S::PANEL);
        let image = &self.job.x[self.image * channels * shape.input_pixels()..]
            [..channels * shape.input_pixels()];
        // SAFETY: the scratch holds `depth` rows of a panel and `ROWS` rows of sums. A tile's rows beyond the
        // last channel and lanes beyond the last pixel are computed and not stored.
        unsafe {
            gather::<S>(shape, image, self.start, count, pixels);
            for group in 0..outputs.div_ceil(S::ROWS) {
                let rows = S::ROWS.min(outputs - group * S::ROWS);
                let first = (self.image * outputs + group * S::ROWS) * area + self.start;
                for r in 0..rows {
                    self.output.prefetch::<S>(first + r * area, count);
                }
                multiply::<S>(RegisterTile {
                    k: depth,
                    weights: self.weights.add(group * depth * S::ROWS),
                    pixels,
                    sums,
                    pitch: S::PANEL,
                    vectors: count.div_ceil(S::WIDTH),
                    ahead: pixels,
                    ahead_step: 0,
                });
                for r in 0..rows {
                    let bias = S::splat(self.output.bias(group * S::ROWS + r));
                    for at in (0..count).step_by(S::WIDTH) {
                        let mask = S::mask(0, (count - at).min(S::WIDTH));
                        let v = S::load(sums.add(r * S::PANEL + at));
                        self.output.put::<S>(first + r * area + at, mask, v, bias);
                    }
                }
            }
        }
    }
}

/// Gathers the inputs of `count` output pixels from `start` on as `[C * kh * kw][PANEL]`.
///
/// # Safety
/// Inside [`Lanes::enter`]; `to` has room for that.
#[inline(always)]
pub(super) unsafe fn gather<S: Lanes>(
    shape: &ConvShape,
    image: &[f32],
    start: usize,
    count: usize,
    to: *mut f32,
) {
    let [_, channels, kh, kw] = shape.weight;
    let geometry = shape.geometry;
    let area = shape.input_pixels();
    // SAFETY: masks admit pixels of the image only, and lanes of the panel only.
    unsafe {
        if kh == 1 && kw == 1 && geometry.stride == 1 && geometry.padding == 0 {
            for first in (0..count).step_by(S::WIDTH) {
                let mask = S::mask(0, (count - first).min(S::WIDTH));
                for c in 0..channels {
                    let v = S::load_masked(image.as_ptr().add(c * area + start + first), mask);
                    S::store(to.add(c * S::PANEL + first), v);
                }
            }
            return;
        }
        let row_length = shape.output_dims()[3];
        for piece in pieces(start, count, row_length, S::WIDTH) {
            for tap in 0..kh * kw {
                let from = |position: usize, k: usize| {
                    (position * geometry.stride + k * geometry.dilation) as isize
                        - geometry.padding as isize
                };
                let (y, x) = (from(piece.row, tap / kw), from(piece.column, tap % kw));
                let run = Run::<S>::new(shape, [y, x], piece.length);
                for c in 0..channels {
                    let to = to.add((c * kh * kw + tap) * S::PANEL + piece.at);
                    run.copy(image.as_ptr().wrapping_add(c * area), to);
                }
            }
        }
    }
}

/// Up to a vector of pixels of one row, `stride` apart, of which some may lie outside the image.
struct Run<S: Lanes> {
    /// Position of the first pixel in its channel, or nothing if the row is outside.
    start: Option<isize>,
    stride: usize,
    /// The image's pixels among the first and the second `WIDTH` neighbours of the start.
    neighbours: [S::Mask; 2],
    /// The same among the pixels of the run, as numbers.
    range: [usize; 2],
    /// The pixels of the run.
    lanes: S::Mask,
}

impl<S: Lanes> Run<S> {
    /// # Safety
    /// Inside [`Lanes::enter`].
    #[inline(always)]
    unsafe fn new(shape: &ConvShape, [y, x]: [isize; 2], length: usize) -> Self {
        let [_, _, height, width] = shape.input;
        let stride = shape.geometry.stride;
        let near = inside(x, S::WIDTH, width);
        let far = inside(x + S::WIDTH as isize, S::WIDTH, width);
        let reaches = |end: isize| end.max(0).unsigned_abs().div_ceil(stride).min(length);
        // SAFETY: the caller's.
        unsafe {
            Self {
                start: (0..height as isize).contains(&y).then(|| y * width as isize + x),
                stride,
                neighbours: [S::mask(near.0, near.1), S::mask(far.0, far.1)],
                range: [reaches(-x), reaches(width as isize - x)],
                lanes: S::mask(0, length),
            }
        }
    }

    /// Copies the run from a channel to `to`, with zeros for what is outside the image.
    ///
    /// # Safety
    /// Inside [`Lanes::enter`]; `to` has room for the run.
    #[inline(always)]
    unsafe fn copy(&self, channel: *const f32, to: *mut f32) {
        // SAFETY: masks and range admit pixels of the row only, and a start means that the row is inside.
        unsafe {
            let Some(start) = self.start else {
                return S::store_masked(to, self.lanes, S::splat(0.0));
            };
            let from = channel.wrapping_offset(start);
            if self.stride > 2 {
                let [first, end] = self.range;
                S::store_masked(to, self.lanes, S::splat(0.0));
                for i in first..end {
                    to.add(i).write(from.wrapping_add(i * self.stride).read());
                }
                return;
            }
            let mut v = S::load_masked(from, self.neighbours[0]);
            if self.stride == 2 {
                let far = S::load_masked(from.wrapping_add(S::WIDTH), self.neighbours[1]);
                v = S::deinterleave::<1>(v, far).0;
            }
            S::store_masked(to, self.lanes, v);
        }
    }
}
