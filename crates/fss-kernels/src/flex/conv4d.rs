//! Center-pivot convolutions and the correlations that they begin with.
//!
//! A support position whose features are zero (masked out) correlates with nothing: its image is zero,
//! is never computed, and takes part in no product.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::product::{View, ViewMut, Write, product};
use crate::conv4d::{PivotGeometry, rows_needed};
use crate::cpu::{
    ConvShape, Epilogue, PivotInputs, PivotSources, conv2d_nchw, is_fast, pivot_images, room, zeros,
};
use crate::{Activation, ConvGeometry};

/// Values of a correlation that are held at a time (32 MiB).
const HELD: usize = 1 << 23;

/// The kernels of a convolution over slices.
#[derive(Clone, Copy)]
pub(super) struct Kernels<'a> {
    /// `[O, C, k, k]`
    pub query: &'a [f32],
    pub query_side: usize,
    /// `[O, C, k, k]`
    pub support: &'a [f32],
    pub support_side: usize,
    /// `[O]`
    pub bias: &'a [f32],
}

/// One sample `[S, C, h, w]` to `[S', O, h, w]`.
pub(super) fn pivot(
    x: &[f32],
    image: [usize; 3],
    kernels: Kernels<'_>,
    geometry: PivotGeometry,
) -> Vec<f32> {
    let rows = geometry.output()[0];
    convolve(x, image, kernels, &sources(geometry, kernels.support_side, 0..rows, Some))
}

/// One sample's correlation of `query` `[L, C, N]` with `support` `[L, C, S]`, convolved:
/// `[S', O, N]` with `[h, w]` query positions.
pub(super) fn correlate_and_pivot(
    query: &[f32],
    support: &[f32],
    [levels, channels]: [usize; 2],
    [h, w]: [usize; 2],
    kernels: Kernels<'_>,
    geometry: PivotGeometry,
) -> Vec<f32> {
    let [hs, ws] = geometry.support;
    let (n, s) = (h * w, hs * ws);
    let active = Active::find(support, [levels, channels, s]);
    let [rows, _] = geometry.output();
    let (side, stride) = (kernels.support_side, geometry.stride);
    let mut result = Vec::new();
    let mut images = Vec::new();
    let mut first = 0;
    while first < rows {
        // As many rows as the memory holds, at least one.
        let among = |end: usize| active.among(&rows_needed(&(first..end), stride, side, hs), ws);
        let end = (first + 2..=rows)
            .take_while(|&end| among(end).len() * levels * n <= HELD)
            .last()
            .unwrap_or(first + 1);
        let range = among(end);
        let held = active.correlate(query, [levels, channels, n], range.clone(), &mut images);
        let place = |position: usize| active.positions[range.clone()].binary_search(&position).ok();
        let wanted = sources(geometry, side, first..end, place);
        let part = convolve(held, [levels, h, w], kernels, &wanted);
        if first == 0 && end == rows {
            return part;
        }
        if first == 0 {
            result = room(part.len() / end * rows);
        }
        result.extend_from_slice(&part);
        first = end;
    }
    result
}

/// `max(0, cos)` of one sample: `[L, C, N]` and `[L, C, S]` to `[S, L, N]`.
pub(super) fn correlate(
    query: &[f32],
    support: &[f32],
    [levels, channels, n]: [usize; 3],
    s: usize,
) -> Vec<f32> {
    let active = Active { positions: (0..s).collect(), columns: Cow::Borrowed(support) };
    let mut images = Vec::new();
    active.correlate(query, [levels, channels, n], 0..s, &mut images);
    images
}

/// The support positions that have features.
struct Active<'a> {
    /// In order.
    positions: Vec<usize>,
    /// Their features, `[L, C, positions]`.
    columns: Cow<'a, [f32]>,
}

impl<'a> Active<'a> {
    fn find(support: &'a [f32], [levels, channels, s]: [usize; 3]) -> Self {
        let mut used = vec![false; s];
        for row in support.chunks_exact(s) {
            for (used, value) in used.iter_mut().zip(row) {
                *used |= *value != 0.0;
            }
        }
        let positions: Vec<usize> = (0..s).filter(|&i| used[i]).collect();
        let columns = if positions.len() == s {
            Cow::Borrowed(support)
        } else {
            let mut columns = Vec::with_capacity(levels * channels * positions.len());
            for row in support.chunks_exact(s) {
                columns.extend(positions.iter().map(|&i| row[i]));
            }
            Cow::Owned(columns)
        };
        Self { positions, columns }
    }

    /// Which of them lie in some support rows of `columns` positions.
    fn among(&self, rows: &Range<usize>, columns: usize) -> Range<usize> {
        let before = |end: usize| self.positions.partition_point(|&p| p < end);
        before(rows.start * columns)..before(rows.end * columns)
    }

    /// Images `[range, L, N]` of the correlations with some of them. They lie at the start of `memory`,
    /// which grows as needed.
    fn correlate<'m>(
        &self,
        query: &[f32],
        [levels, channels, n]: [usize; 3],
        range: Range<usize>,
        memory: &'m mut Vec<f32>,
    ) -> &'m [f32] {
        let count = range.len();
        let length = count * levels * n;
        if memory.len() < length {
            *memory = zeros(length);
        }
        let images = &mut memory[..length];
        if count == 0 {
            return images;
        }
        let total = self.positions.len();
        for level in 0..levels {
            let support = &self.columns[level * channels * total..][..channels * total];
            let support = View::new(support, channels, total).columns(range.start, range.end);
            let query = View::new(&query[level * channels * n..][..channels * n], channels, n);
            let target =
                ViewMut::new(images, count, levels * n).columns(level * n, (level + 1) * n);
            product(target, support.transposed(), query, Write::Replace);
        }
        images.par_chunks_mut(n).with_min_len(8).for_each(|image| {
            image.iter_mut().for_each(|value| *value = value.max(0.0));
        });
        images
    }
}

/// What the output images of some rows are made of; `place` says where the image of a support position
/// lies, if it is not zero.
fn sources(
    geometry: PivotGeometry,
    side: usize,
    rows: Range<usize>,
    place: impl Fn(usize) -> Option<usize>,
) -> Vec<PivotSources> {
    let [height, width] = geometry.support;
    let across = geometry.output()[1];
    let at = |y: usize, x: usize| (y < height && x < width).then(|| place(y * width + x)).flatten();
    rows.flat_map(|i| (0..across).map(move |j| (i * geometry.stride, j * geometry.stride)))
        .map(|(y, x)| {
            let taps = (0..side * side).filter_map(|tap| {
                // A position before the first wraps around to a very large one.
                let y = (y + tap / side).wrapping_sub(side / 2);
                let x = (x + tap % side).wrapping_sub(side / 2);
                Some((at(y, x)?, tap))
            });
            PivotSources { own: at(y, x), taps: taps.collect() }
        })
        .collect()
}

/// Output images `[sources, O, h, w]` of images `[.., C, h, w]`.
fn convolve(
    images: &[f32],
    image: [usize; 3],
    kernels: Kernels<'_>,
    sources: &[PivotSources],
) -> Vec<f32> {
    let [c, h, w] = image;
    let side = kernels.query_side;
    let inputs = PivotInputs {
        images,
        image,
        query: kernels.query,
        query_side: side,
        support: kernels.support,
        taps: kernels.support_side * kernels.support_side,
        bias: kernels.bias,
        residual: None,
    };
    let geometry = ConvGeometry { padding: side / 2, ..ConvGeometry::POINTWISE };
    let all_own: Option<Vec<usize>> = sources.iter().map(|source| source.own).collect();
    let shape = |count| ConvShape {
        input: [count, c, h, w],
        weight: [kernels.bias.len(), c, side, side],
        geometry,
    };
    match all_own {
        // Where it saves multiplications, the convolution over the query runs by itself.
        Some(own) if is_fast(&shape(1)) => {
            let length = c * h * w;
            let in_place = own.iter().copied().eq(0..images.len() / length);
            let kept: Vec<f32>;
            let queries = if in_place {
                images
            } else {
                kept = own.iter().flat_map(|i| &images[i * length..][..length]).copied().collect();
                &kept
            };
            let epilogue =
                Epilogue { bias: kernels.bias, residual: None, activation: Activation::None };
            let (over_query, _) = conv2d_nchw(queries, kernels.query, &shape(own.len()), epilogue);
            let sources: Vec<PivotSources> = sources
                .iter()
                .map(|source| PivotSources { own: None, taps: source.taps.clone() })
                .collect();
            let no_bias = vec![0.0; kernels.bias.len()];
            let inputs = PivotInputs { bias: &no_bias, residual: Some(&over_query), ..inputs };
            pivot_images(&inputs, &sources)
        }
        _ => pivot_images(&inputs, sources),
    }
}
