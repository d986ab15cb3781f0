//! 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3).
//!
//! Output tiles of 4x4 pixels are numbered along the rows of the map; with a dilation of `d` the map is
//! `d x d` interleaved maps, of which the tiles in a row take turns, so that a vector of neighbouring
//! tiles always covers neighbouring pixels. A panel of consecutive tiles is transformed to 36 matrices
//! `[C][PANEL]`, each is multiplied by the matrix of transformed weights of its point, and the products are
//! transformed back, some channels at a time so that they do not leave the second-level cache.

use rayon::prelude::*;

use super::Job;
use super::lanes::Lanes;
use super::output::Output;
use super::scratch::{Scratch, Shared};
use super::shape::ConvShape;
use super::winograd_stages::{Back, Forward, PackWeights};
use super::winograd_tile::{POINTS, TILE};

/// Output channels between two transforms back.
pub(super) const CHANNELS_BACK: usize = 128;
/// Transformed weights that stay near while they are used (half a MiB).
const WEIGHTS_NEAR: usize = 1 << 17;
/// Tasks for each thread, where the output channels are shared out.
const TASKS_A_THREAD: usize = 2;
/// Input channels of one task of the transform.
const CHANNELS_IN: usize = 16;
/// Below this number of panels, whole panels would load the threads unevenly, and weights outweigh
/// pixels: output channels are shared out instead. Above it, a panel stays in the cache of one thread.
const FEW_PANELS: usize = 8;

/// Whether this algorithm is the one for `shape`: the dilation, or nothing.
///
/// It must not depend on the batch, so that an image has the same result in any batch.
pub(super) fn unit(shape: &ConvShape) -> Option<usize> {
    let [outputs, channels, kh, kw] = shape.weight;
    let [_, _, h, w] = shape.output_dims();
    let fits = kh == 3 && kw == 3 && shape.geometry.stride == 1;
    let pays = channels >= 16 && outputs >= 16 && h * w >= 64;
    (fits && pays && matches!(shape.geometry.dilation, 1 | 2 | 4))
        .then_some(shape.geometry.dilation)
}

/// How the map is cut into tiles. `UNIT` is the dilation.
#[derive(Clone, Copy)]
pub(super) struct Plan<const UNIT: usize> {
    /// Input channels.
    pub(super) channels: usize,
    /// Output channels.
    pub(super) outputs: usize,
    /// Height and width of the input.
    pub(super) input: [usize; 2],
    /// Height and width of the output.
    pub(super) output: [usize; 2],
    /// Zeros added on each side.
    pub(super) padding: usize,
    /// Tiles in a row.
    pub(super) row_length: usize,
    /// Tiles of an image.
    pub(super) tiles: usize,
}

impl<const UNIT: usize> Plan<UNIT> {
    fn new(shape: &ConvShape) -> Self {
        let [_, channels, h, w] = shape.input;
        let [_, outputs, out_h, out_w] = shape.output_dims();
        let along = |length: usize| length.div_ceil(TILE * UNIT) * UNIT;
        Self {
            channels,
            outputs,
            input: [h, w],
            output: [out_h, out_w],
            padding: shape.geometry.padding,
            row_length: along(out_w),
            tiles: along(out_h) * along(out_w),
        }
    }

    /// The first output row of a row of tiles. The others follow at a distance of `UNIT`.
    pub(super) fn first_row(&self, row: usize) -> usize {
        row / UNIT * UNIT * TILE + row % UNIT
    }

    /// Distance between two points of the transformed weights of some groups of `ROWS` output channels.
    pub(super) fn pitch_weights<S: Lanes>(&self, groups: usize) -> usize {
        groups * S::ROWS * self.channels + 16
    }

    /// Distance between two points of a transformed panel. The extra line keeps the 36 lines that are
    /// written together from falling into one set of the cache.
    pub(super) fn pitch_in<S: Lanes>(&self) -> usize {
        self.channels * S::PANEL + 16
    }

    /// The same for products of `CHANNELS_BACK` output channels.
    pub(super) fn pitch_back<S: Lanes>() -> usize {
        CHANNELS_BACK * S::PANEL + 16
    }

    /// Tiles of the panel that starts at tile `start`.
    pub(super) fn count<S: Lanes>(&self, start: usize) -> usize {
        (self.tiles - start).min(S::PANEL)
    }
}

/// Computes the whole output.
///
/// # Safety
/// The machine has the instructions of `S`, the job's slices fit its shape, and `unit` said `UNIT`.
pub(super) unsafe fn run<S: Lanes, const UNIT: usize>(job: &Job<'_>, output: &Output<'_>) {
    let plan = Plan::<UNIT>::new(job.shape);
    let work = Work { job, output, plan };
    let panels = job.shape.input[0] * plan.tiles.div_ceil(S::PANEL);
    // SAFETY: the caller's.
    unsafe {
        if panels < FEW_PANELS {
            work.by_channels::<S>(panels);
        } else {
            work.by_panels::<S>(panels);
        }
    }
}

#[derive(Clone, Copy)]
struct Work<'a, const UNIT: usize> {
    job: &'a Job<'a>,
    output: &'a Output<'a>,
    plan: Plan<UNIT>,
}

impl<const UNIT: usize> Work<'_, UNIT> {
    /// Transforms all weights, then carries each panel through in one task.
    ///
    /// # Safety
    /// As [`run`].
    unsafe fn by_panels<S: Lanes>(&self, panels: usize) {
        let Plan { channels, outputs, .. } = self.plan;
        let groups = outputs.div_ceil(S::ROWS);
        let pitch = self.plan.pitch_weights::<S>(groups);
        let mut weights = Scratch::take(POINTS * pitch);
        let weights = Shared::new(weights.as_mut_ptr());
        (0..groups).into_par_iter().for_each(|group| {
            // SAFETY: the caller's; each group has its own part of the buffer.
            unsafe { self.pack::<S>(group, pitch, weights.at(group * channels * S::ROWS)) }
        });
        (0..panels).into_par_iter().for_each(|panel| {
            let mut transformed = Scratch::take(POINTS * self.plan.pitch_in::<S>());
            // SAFETY: the caller's; the buffer is this task's own, and so are the panel's outputs.
            unsafe {
                self.forward::<S>(panel, [0, channels], transformed.as_mut_ptr());
                for first in (0..outputs).step_by(CHANNELS_BACK) {
                    let some = [first, outputs.min(first + CHANNELS_BACK)];
                    let weights = weights.at(first * channels);
                    self.back::<S>(panel, some, weights, pitch, transformed.as_ptr());
                }
            }
        });
    }

    /// Transforms all panels, then takes some output channels a task through all of them. Their weights are
    /// transformed just before and are still in the cache: where the map is small, they are most of
    /// what there is to read.
    ///
    /// # Safety
    /// As [`run`].
    unsafe fn by_channels<S: Lanes>(&self, panels: usize) {
        let Plan { channels, outputs, .. } = self.plan;
        let length = POINTS * self.plan.pitch_in::<S>();
        let mut transformed = Scratch::take(panels * length);
        let transformed = Shared::new(transformed.as_mut_ptr());
        let blocks = channels.div_ceil(CHANNELS_IN);
        (0..panels * blocks).into_par_iter().for_each(|task| {
            let (panel, first) = (task / blocks, task % blocks * CHANNELS_IN);
            let some = [first, channels.min(first + CHANNELS_IN)];
            // SAFETY: the caller's; each task writes its own channels of its own panel.
            unsafe { self.forward::<S>(panel, some, transformed.at(panel * length)) }
        });
        let groups = outputs.div_ceil(S::ROWS);
        let together = groups_together::<S>(channels, groups);
        (0..groups.div_ceil(together)).into_par_iter().for_each(|task| {
            let first = task * together;
            let end = groups.min(first + together);
            let pitch = self.plan.pitch_weights::<S>(end - first);
            let mut weights = Scratch::take(POINTS * pitch);
            let start = weights.as_mut_ptr();
            let some = [first * S::ROWS, outputs.min(end * S::ROWS)];
            // SAFETY: the caller's; the weights are this task's own, and so are the outputs.
            unsafe {
                for group in first..end {
                    let to = start.wrapping_add((group - first) * channels * S::ROWS);
                    self.pack::<S>(group, pitch, to);
                }
                for panel in 0..panels {
                    self.back::<S>(panel, some, start, pitch, transformed.at(panel * length));
                }
            }
        });
    }

    /// # Safety
    /// As [`Kernel::run`](super::lanes::Kernel::run) of [`PackWeights`].
    unsafe fn pack<S: Lanes>(&self, group: usize, pitch: usize, to: *mut f32) {
        let Plan { channels, outputs, .. } = self.plan;
        let weight = self.job.weight;
        // SAFETY: the caller's.
        unsafe { S::enter(PackWeights { weight, outputs, channels, group, pitch, to }) }
    }

    /// The image of a panel and its first tile.
    fn place<S: Lanes>(&self, panel: usize) -> (usize, usize) {
        let panels = self.plan.tiles.div_ceil(S::PANEL);
        (panel / panels, panel % panels * S::PANEL)
    }

    /// # Safety
    /// As [`Kernel::run`](super::lanes::Kernel::run) of [`Forward`].
    unsafe fn forward<S: Lanes>(&self, panel: usize, channels: [usize; 2], to: *mut f32) {
        let (image, start) = self.place::<S>(panel);
        let (plan, x) = (self.plan, self.job.x);
        // SAFETY: the caller's.
        unsafe { S::enter(Forward { plan, x, image, start, channels, to }) }
    }

    /// # Safety
    /// As [`Kernel::run`](super::lanes::Kernel::run) of [`Back`].
    unsafe fn back<S: Lanes>(
        &self,
        panel: usize,
        outputs: [usize; 2],
        weights: *const f32,
        pitch: usize,
        from: *const f32,
    ) {
        let (image, start) = self.place::<S>(panel);
        let (plan, output) = (self.plan, self.output);
        // SAFETY: the caller's.
        unsafe { S::enter(Back { plan, output, weights, pitch, from, image, start, outputs }) }
    }
}

/// Groups of output channels whose weights are transformed together: as many as the second-level cache
/// holds beside a panel, and few enough to give each thread some tasks.
fn groups_together<S: Lanes>(channels: usize, groups: usize) -> usize {
    let in_cache = WEIGHTS_NEAR / (POINTS * channels * S::ROWS);
    let fair = groups.div_ceil(TASKS_A_THREAD * rayon::current_num_threads());
    in_cache.min(fair).clamp(1, CHANNELS_BACK / S::ROWS)
}
