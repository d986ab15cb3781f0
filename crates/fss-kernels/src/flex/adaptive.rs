//! The adaptive prototype: attention of all positions to the member positions of one sample.
//!
//! Members are gathered into contiguous matrices first, so the work is N x members instead of N x N. For
//! queries that are members themselves the score matrix is symmetric: each strip of it is computed
//! from the diagonal on and used for both sides, which saves nearly half of the first product. That
//! works because cosines are bounded: `exp(t · cos - |t|)` needs no maximum over the row, so weights
//! can be summed up in any order and divided by their sum at the end. The sum itself comes out of the
//! second product, as the row for an additional channel of ones.

use rayon::prelude::*;

use super::exp::exp_scaled;
use super::product::{View, ViewMut, Write, product};
use crate::cpu::zeros;
use crate::pairs::MOST_TEMPERATURE;

/// Strips narrower than this make the products inefficient.
const MIN_STRIP: usize = 256;

/// Whether these kernels take the temperature.
pub(super) fn takes(temperature: f32) -> bool {
    temperature.abs() <= MOST_TEMPERATURE
}

/// Where unit vectors come from.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    values: &'a [f32],
    /// Factor on each position's vector.
    factors: Option<&'a [f32]>,
}

impl<'a> Keys<'a> {
    /// Vectors of length 1, `[C, N]`.
    pub(super) fn unit(values: &'a [f32]) -> Self {
        Self { values, factors: None }
    }

    /// Vectors `[C, N]` of any length and the reciprocals `[N]` of their lengths.
    pub(super) fn scaled(values: &'a [f32], factors: &'a [f32]) -> Self {
        Self { values, factors: Some(factors) }
    }

    /// `[C, N] -> [C, picked]`.
    pub(super) fn gather(&self, picked: &[usize], positions: usize) -> Vec<f32> {
        let factors: Option<Vec<f32>> =
            self.factors.map(|factors| picked.iter().map(|&i| factors[i]).collect());
        let mut gathered = gather(self.values, picked, positions);
        if let Some(factors) = factors {
            gathered.par_chunks_mut(picked.len().max(1)).for_each(|row| {
                row.iter_mut().zip(&factors).for_each(|(value, factor)| *value *= factor);
            });
        }
        gathered
    }
}

/// The columns `picked` of a `[C, N]` matrix.
pub(super) fn gather(matrix: &[f32], picked: &[usize], positions: usize) -> Vec<f32> {
    let rows = matrix.len() / positions.max(1);
    let mut gathered = zeros(rows * picked.len());
    if picked.is_empty() {
        return gathered;
    }
    gathered.par_chunks_mut(picked.len()).zip(matrix.par_chunks(positions)).for_each(
        |(gathered, row)| {
            gathered.iter_mut().zip(picked).for_each(|(value, &i)| *value = row[i]);
        },
    );
    gathered
}

/// Adaptive prototypes `[C, N]` of one sample with features `[C, N]`.
///
/// `members` are ascending positions, at least one. No more than `tile` rows of weights are held.
pub(super) fn prototypes(
    features: &[f32],
    keys: Keys,
    members: &[usize],
    [channels, positions]: [usize; 2],
    temperature: f32,
    tile: usize,
) -> Vec<f32> {
    let mut output = zeros(channels * positions);
    if members.is_empty() || output.is_empty() {
        return output;
    }
    let values = with_ones(gather(features, members, positions), members.len());
    let member_keys = keys.gather(members, positions);
    let attention = Attention {
        channels,
        members: members.len(),
        keys: &member_keys,
        values: &values,
        temperature,
        tile: tile.max(1),
    };
    let others = complement(members, positions);
    scatter(&attention.of_members(), members, &mut output, positions);
    if !others.is_empty() {
        let queries = keys.gather(&others, positions);
        scatter(&attention.of(&queries, others.len()), &others, &mut output, positions);
    }
    output
}

/// Appends the channel of ones under which the weights themselves are summed.
pub(super) fn with_ones(mut values: Vec<f32>, members: usize) -> Vec<f32> {
    values.resize(values.len() + members, 1.0);
    values
}

pub(super) fn complement(members: &[usize], positions: usize) -> Vec<usize> {
    let mut is_member = vec![false; positions];
    members.iter().for_each(|&i| is_member[i] = true);
    (0..positions).filter(|&i| !is_member[i]).collect()
}

/// Divides sums `[C + 1, picked]` by their last row and writes them to the columns `picked`.
fn scatter(sums: &[f32], picked: &[usize], output: &mut [f32], positions: usize) {
    let (sums, totals) = sums.split_at(sums.len() - picked.len());
    let factors: Vec<f32> = totals.iter().map(|total| 1.0 / total).collect();
    output.par_chunks_mut(positions).zip(sums.par_chunks(picked.len())).for_each(|(row, sums)| {
        for ((&i, sum), factor) in picked.iter().zip(sums).zip(&factors) {
            row[i] = sum * factor;
        }
    });
}

struct Attention<'a> {
    channels: usize,
    members: usize,
    /// `[C, members]`, unit vectors.
    keys: &'a [f32],
    /// `[C + 1, members]`, the last row all ones.
    values: &'a [f32],
    temperature: f32,
    tile: usize,
}

impl Attention<'_> {
    fn keys(&self) -> View<'_> {
        View::new(self.keys, self.channels, self.members)
    }

    fn values(&self) -> View<'_> {
        View::new(self.values, self.channels + 1, self.members)
    }

    /// Weighted sums `[C + 1, count]` for queries `[C, count]` that are no members.
    fn of(&self, queries: &[f32], count: usize) -> Vec<f32> {
        let mut sums = zeros((self.channels + 1) * count);
        let tile = self.tile.min(count);
        let mut buffer = zeros(tile * self.members);
        for start in (0..count).step_by(tile) {
            let end = (start + tile).min(count);
            let weights = &mut buffer[..(end - start) * self.members];
            let rows = View::new(queries, self.channels, count).columns(start, end).transposed();
            self.weigh(weights, rows, self.keys(), end - start, self.members);
            let weights = View::new(weights, end - start, self.members);
            product(
                ViewMut::new(&mut sums, self.channels + 1, count).columns(start, end),
                self.values(),
                weights.transposed(),
                Write::Replace,
            );
        }
        sums
    }

    /// Weighted sums `[C + 1, members]` for the members as queries.
    fn of_members(&self) -> Vec<f32> {
        let (members, rows) = (self.members, self.channels + 1);
        let mut sums = zeros(rows * members);
        // Eighths leave 7/16 of the matrix uncomputed; finer strips gain little and cost more passes.
        let strip = members.div_ceil(8).max(MIN_STRIP).min(self.tile).min(members);
        let mut buffer = zeros(strip * members);
        for start in (0..members).step_by(strip) {
            let end = (start + strip).min(members);
            let (height, width) = (end - start, members - start);
            let weights = &mut buffer[..height * width];
            let queries = self.keys().columns(start, end).transposed();
            self.weigh(weights, queries, self.keys().columns(start, members), height, width);
            let weights = View::new(weights, height, width);

            let target = ViewMut::new(&mut sums, rows, members).columns(start, end);
            let from_strip = self.values().columns(start, members);
            product(target, from_strip, weights.transposed(), Write::Add);
            if end < members {
                // The mirror image below the diagonal.
                let target = ViewMut::new(&mut sums, rows, members).columns(end, members);
                let mirrored = weights.columns(height, width);
                product(target, self.values().columns(start, end), mirrored, Write::Add);
            }
        }
        sums
    }

    fn weigh(&self, weights: &mut [f32], queries: View, keys: View, rows: usize, columns: usize) {
        product(ViewMut::new(weights, rows, columns), queries, keys, Write::Replace);
        exp_scaled(weights, self.temperature, self.temperature.abs());
    }
}
