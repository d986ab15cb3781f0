//! Unit features: norms in one pass over the map, and a second that divides.

use rayon::prelude::*;

use super::cosine::{MapShape, squared_norms};
use crate::correlation::UNIT_EPS;
use crate::cpu::zeros;

/// `x / (norm + 1e-5)` for vectors `[B, C, N]`.
pub(super) fn unit(features: &[f32], shape: MapShape) -> Vec<f32> {
    let factors: Vec<f32> = squared_norms(features, shape)
        .into_iter()
        .map(|squares| 1.0 / (squares.sqrt() + UNIT_EPS))
        .collect();
    let n = shape.positions;
    let mut result = zeros(features.len());
    result.par_chunks_mut(n).zip(features.par_chunks(n)).enumerate().with_min_len(8).for_each(
        |(row, (result, features))| {
            let factors = &factors[row / shape.channels * n..][..n];
            for ((result, value), factor) in result.iter_mut().zip(features).zip(factors) {
                *result = value * factor;
            }
        },
    );
    result
}
