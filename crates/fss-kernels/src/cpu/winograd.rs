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
/// The same where the output channels of a panel are shared out among threads.
const CHANNELS_SHARED: usize = 64;
/// Input channels of one task of the transform.
const CHANNELS_IN: usize = 16;
/// Below this number of panels, whole panels would load the threads unevenly, so that their channels are
/// shared out too. Above it, a panel stays in the cache of one thread, which is faster.
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

    /// Distance between two points of the transformed weights.
    pub(super) fn pitch_weights<S: Lanes>(&self) -> usize {
        self.outputs.div_ceil(S::ROWS) * S::ROWS * self.channels + 16
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
    let groups = plan.outputs.div_ceil(S::ROWS);
    let mut weights = Scratch::take(POINTS * plan.pitch_weights::<S>());
    let weights = Shared::new(weights.as_mut_ptr());
    (0..groups).into_par_iter().for_each(|group| {
        let to = weights.at(0);
        // SAFETY: the instructions exist; each group has its own part of the buffer.
        unsafe { S::enter(PackWeights { plan, weight: job.weight, group, to }) }
    });
    let panels = plan.tiles.div_ceil(S::PANEL);
    let count = job.shape.input[0] * panels;
    let panel_length = POINTS * plan.pitch_in::<S>();
    let panel = |index: usize| (index / panels, index % panels * S::PANEL);
    let forward = |index: usize, channels: [usize; 2], to: *mut f32| {
        let (image, start) = panel(index);
        // SAFETY: the instructions exist; the task has its own part of the buffer.
        unsafe { S::enter(Forward { plan, x: job.x, image, start, channels, to }) }
    };
    let back = |index: usize, first: usize, length: usize, from: *const f32| {
        let (image, start) = panel(index);
        let outputs = [first, plan.outputs.min(first + length)];
        let weights = weights.at(0);
        // SAFETY: the instructions exist, panel and weights are ready, and tasks write different outputs.
        unsafe { S::enter(Back { plan, output, weights, from, image, start, outputs }) }
    };
    if count >= FEW_PANELS {
        (0..count).into_par_iter().for_each(|index| {
            let mut transformed = Scratch::take(panel_length);
            forward(index, [0, plan.channels], transformed.as_mut_ptr());
            for first in (0..plan.outputs).step_by(CHANNELS_BACK) {
                back(index, first, CHANNELS_BACK, transformed.as_ptr());
            }
        });
        return;
    }
    let mut transformed = Scratch::take(count * panel_length);
    let transformed = Shared::new(transformed.as_mut_ptr());
    let blocks_in = plan.channels.div_ceil(CHANNELS_IN);
    (0..count * blocks_in).into_par_iter().for_each(|task| {
        let (index, first) = (task / blocks_in, task % blocks_in * CHANNELS_IN);
        let channels = [first, plan.channels.min(first + CHANNELS_IN)];
        forward(index, channels, transformed.at(index * panel_length));
    });
    let blocks_back = plan.outputs.div_ceil(CHANNELS_SHARED);
    (0..count * blocks_back).into_par_iter().for_each(|task| {
        let (index, first) = (task / blocks_back, task % blocks_back * CHANNELS_SHARED);
        back(index, first, CHANNELS_SHARED, transformed.at(index * panel_length));
    });
}
