//! Group normalisation and ReLU: one pass for the statistics, one for the values.

use rayon::prelude::*;

use crate::cpu::zeros;
use crate::group_norm::EPSILON;

/// `max(0, group_norm(x))` of `[B, S, C, N]` values.
pub(super) fn norm_relu(
    x: &[f32],
    [s, c, n]: [usize; 3],
    [weight, bias]: [&[f32]; 2],
    groups: usize,
) -> Vec<f32> {
    let per_group = c / groups * n;
    let moments: Vec<[f64; 2]> = x.par_chunks(per_group).map(sums).collect();
    let count = (s * per_group) as f64;
    let mut result = zeros(x.len());
    result.par_chunks_mut(n).zip(x.par_chunks(n)).enumerate().with_min_len(8).for_each(
        |(row, (result, x))| {
            let (sample, channel) = (row / (s * c), row % c);
            let group = channel / (c / groups);
            let [sum, squares] = (0..s).fold([0.0; 2], |[sum, squares], position| {
                let [more, more_squares] = moments[(sample * s + position) * groups + group];
                [sum + more, squares + more_squares]
            });
            let mean = sum / count;
            let variance = (squares / count - mean * mean).max(0.0);
            let factor = f64::from(weight[channel]) / (variance + EPSILON).sqrt();
            let shift = (f64::from(bias[channel]) - mean * factor) as f32;
            let factor = factor as f32;
            for (result, value) in result.iter_mut().zip(x) {
                *result = (value * factor + shift).max(0.0);
            }
        },
    );
    result
}

/// Sum and sum of squares.
fn sums(values: &[f32]) -> [f64; 2] {
    const LANES: usize = 16;
    let mut sum = [0.0f64; LANES];
    let mut squares = [0.0f64; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for ((sum, squares), value) in sum.iter_mut().zip(&mut squares).zip(chunk) {
            let value = f64::from(*value);
            *sum += value;
            *squares += value * value;
        }
    }
    let rest_sum: f64 = rest.iter().map(|v| f64::from(*v)).sum();
    let rest_squares: f64 = rest.iter().map(|v| f64::from(*v).powi(2)).sum();
    [sum.iter().sum::<f64>() + rest_sum, squares.iter().sum::<f64>() + rest_squares]
}
