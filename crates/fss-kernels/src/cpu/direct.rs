//! Any convolution: gather a panel of output pixels, multiply it by the weights.
//!
//! A panel is some tens of consecutive output pixels of one image. Its `C * kh * kw` inputs for each pixel
//! are gathered next to each other (for a 1x1 kernel of stride 1 that is a plain copy), which costs
//! one move for each `O` multiply-adds, and stay in the second-level cache while all weights pass by.

use rayon::prelude::*;

use super::Job;
use super::gemm::{RegisterTile, multiply};
use super::lanes::{Kernel, LINE, Lanes};
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
    let together = panels_together::<S>(depth, batch * panels);
    let runs = panels.div_ceil(together);
    (0..batch * runs).into_par_iter().for_each(|task| {
        let first = task % runs * together;
        let range = [first, panels.min(first + together)];
        let weights = packed_start.at(0);
        let panels = Panels { job, output, weights, image: task / runs, range };
        // SAFETY: the instructions exist, the weights are packed, and panels do not overlap.
        unsafe { S::enter(panels) }
    });
}

/// Pixels that stay in the second-level cache while all weights pass by (half of it).
const PIXELS_NEAR: usize = 1 << 16;
/// Tasks for each thread, at least.
const TASKS_A_THREAD: usize = 4;

/// Panels of one task: the more, the seldomer weights come from the third-level cache.
fn panels_together<S: Lanes>(depth: usize, panels: usize) -> usize {
    let in_cache = PIXELS_NEAR / (depth.max(1) * S::PANEL);
    let fair = panels / (TASKS_A_THREAD * rayon::current_num_threads());
    in_cache.min(fair).clamp(1, 8)
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

/// Some panels (from, to) of output pixels of all channels of one image.
struct Panels<'a> {
    job: &'a Job<'a>,
    output: &'a Output<'a>,
    weights: *const f32,
    image: usize,
    range: [usize; 2],
}

impl Kernel for Panels<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let shape = self.job.shape;
        let [_, channels, kh, kw] = shape.weight;
        let outputs = shape.weight[0];
        let (depth, area) = (channels * kh * kw, shape.output_pixels());
        let [from, to] = self.range;
        let length = depth * S::PANEL;
        let mut scratch = Scratch::take((to - from) * length + S::ROWS * S::PANEL);
        let pixels = scratch.as_mut_ptr();
        let sums = pixels.wrapping_add((to - from) * length);
        let image = &self.job.x[self.image * channels * shape.input_pixels()..]
            [..channels * shape.input_pixels()];
        let count = |panel: usize| (area - panel * S::PANEL).min(S::PANEL);
        // SAFETY: the scratch holds `depth` rows of each panel and `ROWS` rows of sums. A tile's rows beyond
        // the last channel and lanes beyond the last pixel are computed and not stored.
        unsafe {
            for panel in from..to {
                let pixels = pixels.add((panel - from) * length);
                gather::<S>(shape, image, panel * S::PANEL, count(panel), pixels);
            }
            for group in 0..outputs.div_ceil(S::ROWS) {
                for panel in from..to {
                    let part = PanelGroup {
                        output: self.output,
                        image: self.image,
                        size: [outputs, area],
                        pixels: pixels.add((panel - from) * length),
                        start: panel * S::PANEL,
                        count: count(panel),
                        weights: self.weights,
                        depth,
                        group,
                        sums,
                    };
                    part.run::<S>();
                }
            }
        }
    }
}

/// A group of `ROWS` output channels for one panel of pixels.
pub(super) struct PanelGroup<'a> {
    pub output: &'a Output<'a>,
    pub image: usize,
    /// Output channels, and pixels of each.
    pub size: [usize; 2],
    /// Gathered inputs, `[depth][PANEL]`.
    pub pixels: *const f32,
    /// The first pixel, and how many there are.
    pub start: usize,
    pub count: usize,
    /// Packed weights of all groups, `[group][depth][ROWS]`.
    pub weights: *const f32,
    pub depth: usize,
    pub group: usize,
    /// Room for `ROWS` rows of a panel.
    pub sums: *mut f32,
}

impl PanelGroup<'_> {
    /// Multiplies, and stores the sums of the channels and pixels that there are.
    ///
    /// # Safety
    /// Inside [`Lanes::enter`]; the pointers are valid for the lengths that the fields state, and no other thread
    /// touches the outputs.
    #[inline(always)]
    pub(super) unsafe fn run<S: Lanes>(self) {
        let Self { output, depth, group, start, count, sums, .. } = self;
        let [outputs, area] = self.size;
        let rows = S::ROWS.min(outputs - group * S::ROWS);
        let first = (self.image * outputs + group * S::ROWS) * area + start;
        // SAFETY: the caller's. Masks admit the panel's pixels only.
        unsafe {
            for r in 0..rows {
                output.prefetch::<S>(first + r * area, count);
            }
            multiply::<S>(RegisterTile {
                k: depth,
                weights: self.weights.add(group * depth * S::ROWS),
                pixels: self.pixels,
                sums,
                pitch: S::PANEL,
                vectors: count.div_ceil(S::WIDTH),
                ahead: self.pixels,
                ahead_step: 0,
            });
            for r in 0..rows {
                let bias = S::splat(output.bias(group * S::ROWS + r));
                for at in (0..count).step_by(S::WIDTH) {
                    let mask = S::mask(0, (count - at).min(S::WIDTH));
                    let v = S::load(sums.add(r * S::PANEL + at));
                    output.put::<S>(first + r * area + at, mask, v, bias);
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
            return copy::<S>(image, [channels, area], start, count, to);
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

/// [`gather`] for 1x1 kernels of stride 1: `count` pixels from `start` on of each channel.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn copy<S: Lanes>(
    image: &[f32],
    [channels, area]: [usize; 2],
    start: usize,
    count: usize,
    to: *mut f32,
) {
    // SAFETY: whole panels lie inside their channel, and masks admit pixels of the channel only.
    unsafe {
        for c in 0..channels {
            let from = image.as_ptr().add(c * area + start);
            let to = to.add(c * S::PANEL);
            // The next panel's; no prefetching of the processor's own goes from channel to channel.
            for line in (0..S::PANEL).step_by(LINE) {
                S::prefetch_near(from.wrapping_add(S::PANEL + line));
            }
            for first in (0..S::PANEL).step_by(S::WIDTH) {
                let v = if count == S::PANEL {
                    S::load(from.add(first))
                } else {
                    let length = count.saturating_sub(first).min(S::WIDTH);
                    S::load_masked(from.wrapping_add(first), S::mask(0, length))
                };
                S::store(to.add(first), v);
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
