//! Center-pivot convolution of a stack of images.
//!
//! An output image is a square convolution of one input image plus a sum of other input images, each
//! multiplied by a matrix over channels. Both are one product of packed panels: the inputs that a panel of
//! output pixels needs are gathered below each other, and the weights of an output image are packed to
//! match. Input images that are zero throughout are left out.

use rayon::prelude::*;

use super::Epilogue;
use super::direct::{PanelGroup, gather};
use super::lanes::{InstructionSet, Kernel, Lanes, Task};
use super::memory::room;
use super::output::Output;
use super::pack::{group_rows, pack};
use super::scratch::{Scratch, Shared};
use super::shape::ConvShape;
use crate::{Activation, ConvGeometry};

/// What an output image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PivotSources {
    /// The input image under the query kernel.
    pub own: Option<usize>,
    /// Input images under a tap of the support kernel each: image, tap.
    pub taps: Vec<(usize, usize)>,
}

/// Operands of [`pivot_images`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct PivotInputs<'a> {
    /// Images `[images, C, h, w]`.
    pub images: &'a [f32],
    /// `[C, h, w]`
    pub image: [usize; 3],
    /// Query kernel `[O, C, k, k]`.
    pub query: &'a [f32],
    /// Side of the query kernel.
    pub query_side: usize,
    /// Support kernel `[O, C, taps]`.
    pub support: &'a [f32],
    /// Taps of the support kernel.
    pub taps: usize,
    /// `[O]`
    pub bias: &'a [f32],
    /// Added to the output, `[outputs, O, h, w]`.
    pub residual: Option<&'a [f32]>,
}

/// The output images `[sources, O, h, w]`.
///
/// # Panics
/// If a slice's length does not fit, or a source names an image or tap that is not there.
pub(crate) fn pivot_images(inputs: &PivotInputs<'_>, sources: &[PivotSources]) -> Vec<f32> {
    pivot_with(InstructionSet::best(), inputs, sources)
}

/// [`pivot_images`] with a given instruction set, which the machine must have.
pub(super) fn pivot_with(
    set: InstructionSet,
    inputs: &PivotInputs<'_>,
    sources: &[PivotSources],
) -> Vec<f32> {
    inputs.check(sources);
    let job = Job { inputs, sources, shape: inputs.shape() };
    // SAFETY: the set was detected on this machine, and the slices fit.
    unsafe { set.run(job) }
}

impl PivotInputs<'_> {
    /// The convolution of one image by the query kernel.
    fn shape(&self) -> ConvShape {
        let [c, h, w] = self.image;
        let (side, o) = (self.query_side, self.bias.len());
        let geometry = ConvGeometry { padding: side / 2, ..ConvGeometry::POINTWISE };
        ConvShape { input: [1, c, h, w], weight: [o, c, side, side], geometry }
    }

    /// All that the unsafe code below relies on.
    fn check(&self, sources: &[PivotSources]) {
        let [c, h, w] = self.image;
        let o = self.bias.len();
        assert!(o > 0 && c * h * w > 0, "a convolution of {c}x{h}x{w} to {o} channels");
        assert!(self.query_side % 2 == 1, "a query kernel of side {}", self.query_side);
        assert_eq!(self.query.len(), o * c * self.query_side * self.query_side, "query kernel");
        assert_eq!(self.support.len(), o * c * self.taps, "support kernel");
        let images = self.images.len() / (c * h * w);
        assert_eq!(self.images.len(), images * c * h * w, "images of {c}x{h}x{w}");
        for source in sources {
            let named = source.taps.iter().map(|(image, _)| image).chain(&source.own);
            assert!(named.max().is_none_or(|image| *image < images), "an image of {images}");
            assert!(source.taps.iter().all(|(_, tap)| *tap < self.taps), "a tap of {}", self.taps);
        }
        if let Some(residual) = self.residual {
            assert_eq!(residual.len(), sources.len() * o * h * w, "residual");
        }
    }
}

#[derive(Clone, Copy)]
struct Job<'a> {
    inputs: &'a PivotInputs<'a>,
    sources: &'a [PivotSources],
    shape: ConvShape,
}

impl Job<'_> {
    /// Gathered inputs of each pixel of an output image.
    fn depth(&self, output: usize) -> usize {
        let PivotSources { own, taps } = &self.sources[output];
        let [c, ..] = self.inputs.image;
        let side = self.inputs.query_side;
        c * (taps.len() + if own.is_some() { side * side } else { 0 })
    }
}

impl Task for Job<'_> {
    type Output = Vec<f32>;

    /// # Safety
    /// As there, and [`PivotInputs::check`] passed.
    unsafe fn run<S: Lanes>(self) -> Vec<f32> {
        let [_, h, w] = self.inputs.image;
        let outputs = self.inputs.bias.len();
        let (count, area) = (self.sources.len(), h * w);
        let groups = outputs.div_ceil(S::ROWS);
        let mut offsets = vec![0];
        for i in 0..count {
            offsets.push(offsets[i] + groups * self.depth(i) * S::ROWS);
        }
        let mut packed = Scratch::take(offsets[count].max(1));
        let packed_start = Shared::new(packed.as_mut_ptr());
        (0..count * groups).into_par_iter().for_each(|task| {
            let (output, group) = (task / groups, task % groups);
            let to = packed_start.at(offsets[output] + group * self.depth(output) * S::ROWS);
            // SAFETY: the instructions exist; each group of each output has its own part of the buffer.
            unsafe { S::enter(PackWeights { job: &self, output, group, to }) }
        });
        let length = count * outputs * area;
        let mut values = room(length);
        let epilogue = Epilogue {
            bias: self.inputs.bias,
            residual: self.inputs.residual,
            activation: Activation::None,
        };
        let target = Output::new(&mut values, epilogue);
        let panels = area.div_ceil(S::PANEL);
        (0..count * panels).into_par_iter().for_each(|task| {
            let (output, start) = (task / panels, task % panels * S::PANEL);
            let weights = packed_start.at(offsets[output]);
            let panel = Panel { job: &self, target: &target, weights, output, start };
            // SAFETY: the instructions exist, the weights are packed, and panels do not overlap.
            unsafe { S::enter(panel) }
        });
        // SAFETY: `length` values were reserved, and the panels cover all of them.
        unsafe { values.set_len(length) };
        values
    }
}

/// Packs the weights of one output image and `ROWS` channels as `[depth][ROWS]`.
struct PackWeights<'a> {
    job: &'a Job<'a>,
    output: usize,
    group: usize,
    to: *mut f32,
}

impl Kernel for PackWeights<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let inputs = self.job.inputs;
        let ([c, ..], outputs) = (inputs.image, inputs.bias.len());
        let PivotSources { own, taps } = &self.job.sources[self.output];
        let mut to = self.to;
        // SAFETY: `to` has room for `depth * ROWS` numbers.
        unsafe {
            if own.is_some() {
                let depth = c * inputs.query_side * inputs.query_side;
                let rows = group_rows::<S>(inputs.query, [outputs, depth], self.group);
                pack::<S>(&rows, 0, depth, to);
                to = to.wrapping_add(depth * S::ROWS);
            }
            let rows = group_rows::<S>(inputs.support, [outputs, c * inputs.taps], self.group);
            for (_, tap) in taps {
                for channel in 0..c {
                    for row in rows.iter().take(S::ROWS) {
                        to.write(row[channel * inputs.taps + tap]);
                        to = to.wrapping_add(1);
                    }
                }
            }
        }
    }
}

/// The pixels from `start` on of all channels of one output image.
struct Panel<'a> {
    job: &'a Job<'a>,
    target: &'a Output<'a>,
    weights: *const f32,
    output: usize,
    start: usize,
}

impl Kernel for Panel<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let Job { inputs, sources, shape } = self.job;
        let [c, h, w] = inputs.image;
        let (area, outputs) = (h * w, inputs.bias.len());
        let depth = self.job.depth(self.output);
        let count = (area - self.start).min(S::PANEL);
        let mut scratch = Scratch::take((depth + S::ROWS) * S::PANEL);
        let pixels = scratch.as_mut_ptr();
        let sums = pixels.wrapping_add(depth * S::PANEL);
        let PivotSources { own, taps } = &sources[self.output];
        let mut to = pixels;
        // SAFETY: the scratch holds `depth` rows of a panel and `ROWS` rows of sums. A tile's rows beyond the
        // last channel and lanes beyond the last pixel are computed and not stored.
        unsafe {
            if let Some(own) = own {
                let image = &inputs.images[own * c * area..][..c * area];
                gather::<S>(shape, image, self.start, count, to);
                to = to.add(c * inputs.query_side * inputs.query_side * S::PANEL);
            }
            for (image, _) in taps {
                for channel in 0..c {
                    let from = &inputs.images[(image * c + channel) * area + self.start..][..count];
                    for at in (0..count).step_by(S::WIDTH) {
                        let mask = S::mask(0, (count - at).min(S::WIDTH));
                        S::store(to.add(at), S::load_masked(from.as_ptr().add(at), mask));
                    }
                    to = to.add(S::PANEL);
                }
            }
            for group in 0..outputs.div_ceil(S::ROWS) {
                let part = PanelGroup {
                    output: self.target,
                    image: self.output,
                    size: [outputs, area],
                    pixels,
                    start: self.start,
                    count,
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
