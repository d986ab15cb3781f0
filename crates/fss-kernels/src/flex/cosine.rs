//! Cosine maps in one pass over the features.
//!
//! A task owns a run of positions and walks down the channels, so every load is contiguous. Sums are
//! taken in blocks of channels first: that keeps float32 rounding of a thousand terms near that of a few
//! dozen.

use rayon::prelude::*;

use crate::cosine::NORM_EPS;

/// More prototypes than this are better served by a matrix product.
pub(super) const MAX_PROTOTYPES: usize = 8;

/// Positions of one task.
const RUN: usize = 256;

/// Channels that are summed before the sum is added to the rest.
const BLOCK: usize = 32;

/// `[B, C, N]`.
#[derive(Clone, Copy)]
pub(super) struct MapShape {
    pub batch: usize,
    pub channels: usize,
    pub positions: usize,
}

impl MapShape {
    fn runs(self) -> usize {
        self.positions.div_ceil(RUN)
    }

    /// The sample, first position and length of a run.
    fn run(self, index: usize) -> (usize, usize, usize) {
        let (sample, start) = (index / self.runs(), index % self.runs() * RUN);
        (sample, start, RUN.min(self.positions - start))
    }

    fn all_runs(self) -> impl IndexedParallelIterator<Item = (usize, usize, usize)> {
        (0..self.batch * self.runs()).into_par_iter().map(move |index| self.run(index))
    }

    /// The values of one channel over a run.
    fn row(
        self,
        map: &[f32],
        sample: usize,
        channel: usize,
        start: usize,
        length: usize,
    ) -> &[f32] {
        &map[(sample * self.channels + channel) * self.positions + start..][..length]
    }
}

/// Sums over channels, for each position of a run.
struct Sums {
    blocked: [f32; RUN],
    total: [f32; RUN],
}

impl Sums {
    fn new() -> Self {
        Self { blocked: [0.0; RUN], total: [0.0; RUN] }
    }

    #[inline(always)]
    fn add_products(&mut self, a: &[f32], b: &[f32]) {
        for ((sum, a), b) in self.blocked.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }

    #[inline(always)]
    fn add_scaled(&mut self, a: &[f32], factor: f32) {
        for (sum, a) in self.blocked.iter_mut().zip(a) {
            *sum += a * factor;
        }
    }

    fn end_block(&mut self) {
        for (total, blocked) in self.total.iter_mut().zip(&mut self.blocked) {
            *total += std::mem::take(blocked);
        }
    }

    fn lengths(&self) -> impl Iterator<Item = f32> {
        let least = (NORM_EPS * NORM_EPS) as f32;
        self.total.iter().map(move |squares| squares.max(least).sqrt())
    }
}

/// The squared norms `[B, N]` of `[B, C, N]` vectors.
pub(super) fn squared_norms(map: &[f32], shape: MapShape) -> Vec<f32> {
    let runs: Vec<Vec<f32>> = shape
        .all_runs()
        .map(|(sample, start, length)| {
            let mut squares = Sums::new();
            for channels in blocks(shape.channels) {
                for channel in channels {
                    let row = shape.row(map, sample, channel, start, length);
                    squares.add_products(row, row);
                }
                squares.end_block();
            }
            squares.total[..length].to_vec()
        })
        .collect();
    runs.concat()
}

/// Cosines `[B, K, N]` of features `[B, C, N]` with prototypes `[B, K, C]`.
pub(super) fn maps(
    features: &[f32],
    prototypes: &[f32],
    count: usize,
    shape: MapShape,
) -> Vec<f32> {
    let directions = normalised(prototypes, shape.channels);
    let runs: Vec<Vec<f32>> = shape
        .all_runs()
        .map(|(sample, start, length)| {
            let mut squares = Sums::new();
            let mut products: Vec<Sums> = (0..count).map(|_| Sums::new()).collect();
            for channels in blocks(shape.channels) {
                for channel in channels {
                    let row = shape.row(features, sample, channel, start, length);
                    squares.add_products(row, row);
                    for (k, products) in products.iter_mut().enumerate() {
                        let direction = (sample * count + k) * shape.channels + channel;
                        products.add_scaled(row, directions[direction]);
                    }
                }
                squares.end_block();
                products.iter_mut().for_each(Sums::end_block);
            }
            products
                .iter()
                .flat_map(|p| {
                    p.total[..length].iter().zip(squares.lengths()).map(|(dot, norm)| dot / norm)
                })
                .collect()
        })
        .collect();
    join(&runs, count, shape)
}

/// Cosines `[B, 1, N]` of `[B, C, N]` vectors with `[B, C, N]` others, position by position.
pub(super) fn dense(features: &[f32], prototypes: &[f32], shape: MapShape) -> Vec<f32> {
    let runs: Vec<Vec<f32>> = shape
        .all_runs()
        .map(|(sample, start, length)| {
            let (mut a2, mut b2, mut ab) = (Sums::new(), Sums::new(), Sums::new());
            for channels in blocks(shape.channels) {
                for channel in channels {
                    let a = shape.row(features, sample, channel, start, length);
                    let b = shape.row(prototypes, sample, channel, start, length);
                    a2.add_products(a, a);
                    b2.add_products(b, b);
                    ab.add_products(a, b);
                }
                [&mut a2, &mut b2, &mut ab].into_iter().for_each(Sums::end_block);
            }
            let lengths = a2.lengths().zip(b2.lengths()).map(|(a, b)| a * b);
            ab.total[..length].iter().zip(lengths).map(|(dot, length)| dot / length).collect()
        })
        .collect();
    runs.concat()
}

/// A map `[B, C, N]` and its factor.
type Weighted<'a> = (&'a [f32], f32);

/// Cosines `[B, K, N]` of features `[B, C, N]` with `count` prototypes `[B, K, C]`, the first of which is blended,
/// position by position, with the weighted sum of one or two maps.
pub(super) fn blend(
    features: &[f32],
    (prototypes, count): (&[f32], usize),
    (first, second): (Weighted<'_>, Option<Weighted<'_>>),
    shape: MapShape,
) -> Vec<f32> {
    let directions = normalised(prototypes, shape.channels);
    let runs: Vec<Vec<f32>> = shape
        .all_runs()
        .map(|(sample, start, length)| {
            let (mut a2, mut b2, mut ab) = (Sums::new(), Sums::new(), Sums::new());
            let mut others: Vec<Sums> = (1..count).map(|_| Sums::new()).collect();
            let mut blended = [0.0; RUN];
            let blended = &mut blended[..length];
            for channels in blocks(shape.channels) {
                for channel in channels {
                    let row = |map| shape.row(map, sample, channel, start, length);
                    let at = |k: usize| (sample * count + k) * shape.channels + channel;
                    let global = prototypes[at(0)];
                    for (value, own) in blended.iter_mut().zip(row(first.0)) {
                        *value = global + own * first.1;
                    }
                    if let Some((map, weight)) = second {
                        for (value, own) in blended.iter_mut().zip(row(map)) {
                            *value += own * weight;
                        }
                    }
                    let a = row(features);
                    a2.add_products(a, a);
                    b2.add_products(blended, blended);
                    ab.add_products(a, blended);
                    for (k, other) in others.iter_mut().enumerate() {
                        other.add_scaled(a, directions[at(k + 1)]);
                    }
                }
                let all = [&mut a2, &mut b2, &mut ab].into_iter().chain(&mut others);
                all.for_each(Sums::end_block);
            }
            let lengths = a2.lengths().zip(b2.lengths()).map(|(a, b)| a * b);
            let blend = ab.total[..length].iter().zip(lengths).map(|(dot, length)| dot / length);
            let others = others.iter().flat_map(|dots| {
                dots.total[..length].iter().zip(a2.lengths()).map(|(dot, norm)| dot / norm)
            });
            blend.chain(others).collect()
        })
        .collect();
    join(&runs, count, shape)
}

fn blocks(channels: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..channels).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(channels))
}

/// Vectors of `channels` values, divided by their norms.
fn normalised(vectors: &[f32], channels: usize) -> Vec<f32> {
    vectors
        .chunks_exact(channels.max(1))
        .flat_map(|vector| {
            let squares: f64 = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
            let length = squares.sqrt().max(NORM_EPS);
            vector.iter().map(move |v| (f64::from(*v) / length) as f32)
        })
        .collect()
}

/// Puts runs of `[K, length]` together as `[B, K, N]`.
fn join(runs: &[Vec<f32>], count: usize, shape: MapShape) -> Vec<f32> {
    let mut maps = vec![0.0; shape.batch * count * shape.positions];
    for (index, run) in runs.iter().enumerate() {
        let (sample, start, length) = shape.run(index);
        for (k, values) in run.chunks_exact(length).enumerate() {
            let offset = (sample * count + k) * shape.positions + start;
            maps[offset..offset + length].copy_from_slice(values);
        }
    }
    maps
}
