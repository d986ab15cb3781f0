//! The adaptive prototype: attention of all positions to the member positions of one sample.

use rayon::prelude::*;

use crate::cpu::{Attention, zeros};
use crate::pairs::MOST_TEMPERATURE;

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
/// `members` are ascending positions, at least one.
pub(super) fn prototypes(
    features: &[f32],
    keys: Keys,
    members: &[usize],
    [channels, positions]: [usize; 2],
    temperature: f32,
) -> Vec<f32> {
    if members.is_empty() || features.is_empty() {
        return zeros(channels * positions);
    }
    let order: Vec<usize> = members.iter().copied().chain(complement(members, positions)).collect();
    Attention {
        values: features,
        keys: keys.values,
        factors: keys.factors,
        order: &order,
        members: members.len(),
        temperature,
    }
    .run()
}

/// Appends the channel of ones under which the weights themselves are summed.
pub(super) fn with_ones(mut values: Vec<f32>, members: usize) -> Vec<f32> {
    values.resize(values.len() + members, 1.0);
    values
}

fn complement(members: &[usize], positions: usize) -> Vec<usize> {
    let mut is_member = vec![false; positions];
    members.iter().for_each(|&i| is_member[i] = true);
    (0..positions).filter(|&i| !is_member[i]).collect()
}
