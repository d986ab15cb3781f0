//! Gradients of the adaptive prototype of one sample.

use rayon::prelude::*;

use super::adaptive::{Keys, gather};
use super::product::{View, ViewMut, Write, product};
use crate::cpu::exp_scaled;

/// Gradients `[C, N]` for features and unit vectors, given `grad` `[C, N]` of the prototypes.
///
/// Weights are made again, `tile` rows at a time.
pub(super) fn gradients(
    features: &[f32],
    unit: &[f32],
    members: &[usize],
    grad: &[f32],
    [channels, positions]: [usize; 2],
    temperature: f32,
    tile: usize,
) -> (Vec<f32>, Vec<f32>) {
    let count = members.len();
    let mut grad_unit = vec![0.0; channels * positions];
    let mut grad_features = vec![0.0; channels * positions];
    if count == 0 || grad.is_empty() {
        return (grad_features, grad_unit);
    }
    let keys = Keys::unit(unit).gather(members, positions);
    let values = gather(features, members, positions);
    let mut grad_keys = vec![0.0; channels * count];
    let mut grad_values = vec![0.0; channels * count];

    let tile = tile.clamp(1, positions);
    let mut weights_buffer = vec![0.0; tile * count];
    let mut scores_buffer = vec![0.0; tile * count];
    let keys = View::new(&keys, channels, count);
    let values = View::new(&values, channels, count);
    for start in (0..positions).step_by(tile) {
        let end = (start + tile).min(positions);
        let rows = end - start;
        let weights = &mut weights_buffer[..rows * count];
        let scores = &mut scores_buffer[..rows * count];
        let queries = View::new(unit, channels, positions).columns(start, end);
        let grad = View::new(grad, channels, positions).columns(start, end);

        product(ViewMut::new(weights, rows, count), queries.transposed(), keys, Write::Replace);
        exp_scaled(weights, temperature, temperature.abs());
        product(ViewMut::new(scores, rows, count), grad.transposed(), values, Write::Replace);
        through_softmax(weights, scores, count, temperature);

        let weights = View::new(weights, rows, count);
        let scores = View::new(scores, rows, count);
        product(ViewMut::new(&mut grad_values, channels, count), grad, weights, Write::Add);
        product(ViewMut::new(&mut grad_keys, channels, count), queries, scores, Write::Add);
        product(
            ViewMut::new(&mut grad_unit, channels, positions).columns(start, end),
            keys,
            scores.transposed(),
            Write::Replace,
        );
    }
    scatter_add(&grad_values, members, &mut grad_features, positions);
    scatter_add(&grad_keys, members, &mut grad_unit, positions);
    (grad_features, grad_unit)
}

/// Makes rows of exponentials into weights, and the gradients of those weights into gradients of the
/// cosines: `t · w · (g - Σ g w)`.
fn through_softmax(weights: &mut [f32], scores: &mut [f32], count: usize, temperature: f32) {
    weights.par_chunks_mut(count).zip(scores.par_chunks_mut(count)).for_each(|(weights, grads)| {
        let total: f32 = weights.iter().sum();
        let mut mean = 0.0;
        for (weight, grad) in weights.iter_mut().zip(grads.iter()) {
            *weight /= total;
            mean += *weight * grad;
        }
        for (weight, grad) in weights.iter().zip(grads) {
            *grad = temperature * weight * (*grad - mean);
        }
    });
}

fn scatter_add(parts: &[f32], picked: &[usize], target: &mut [f32], positions: usize) {
    target.par_chunks_mut(positions).zip(parts.par_chunks(picked.len())).for_each(
        |(row, parts)| {
            picked.iter().zip(parts).for_each(|(&i, part)| row[i] += part);
        },
    );
}
