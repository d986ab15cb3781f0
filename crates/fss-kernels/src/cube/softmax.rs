//! The weights of the self-support step: scores to softmax over members, in one kernel.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{MOST_CUBES, UNITS, by_type, output, ready};
use crate::ops::dims;

/// A score that no member has, and that no difference of scores makes infinite.
const NONE: f32 = -1e30;

/// One cube a row: `[B, T, N]` scores and `[B, 1, N]` members to weights `[B, T, N]`.
///
/// Each unit keeps the largest score of its columns and the sum of exponentials relative to it; two passes over
/// the scores instead of three.
#[cube(launch_unchecked)]
fn masked_kernel<F: Float>(
    scores: &Tensor<F>,
    members: &Tensor<F>,
    weights: &mut Tensor<F>,
    temperature: f32,
    none: f32,
) {
    let units = comptime!(UNITS as usize);
    let rows = scores.shape(1);
    let columns = scores.shape(2);
    let batch = CUBE_POS_Y as usize;
    let start = (batch * rows + CUBE_POS_X as usize) * columns;
    let chosen = batch * columns;
    let unit = UNIT_POS as usize;

    let mut largest = none;
    let mut sum = 0.0f32;
    let mut column = unit;
    while column < columns {
        if f32::cast_from(members[chosen + column]) > 0.5f32 {
            let score = temperature * f32::cast_from(scores[start + column]);
            let higher = score.max(largest);
            sum = sum * (largest - higher).exp() + (score - higher).exp();
            largest = higher;
        }
        column += units;
    }
    let mut maxima = Shared::<[f32]>::new_slice(comptime!(UNITS as usize));
    let mut sums = Shared::<[f32]>::new_slice(comptime!(UNITS as usize));
    maxima[unit] = largest;
    sums[unit] = sum;
    sync_cube();
    let mut half = comptime!(UNITS as usize / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = maxima[unit + half];
            let higher = maxima[unit].max(other);
            sums[unit] = sums[unit] * (maxima[unit] - higher).exp()
                + sums[unit + half] * (other - higher).exp();
            maxima[unit] = higher;
        }
        half /= 2;
        sync_cube();
    }
    let highest = maxima[0];
    let total = sums[0];
    let mut column = unit;
    while column < columns {
        let mut weight = 0.0f32;
        if f32::cast_from(members[chosen + column]) > 0.5f32 {
            let score = temperature * f32::cast_from(scores[start + column]);
            weight = (score - highest).exp() / total;
        }
        weights[start + column] = F::cast_from(weight);
        column += units;
    }
}

/// `softmax(temperature · scores)` over the members, 0 for all others, if the kernel takes these.
pub(super) fn masked(
    scores: &CubeTensor,
    members: &CubeTensor,
    temperature: f32,
) -> Option<CubeTensor> {
    let [b, rows, columns] = dims(scores);
    if [b, rows].iter().any(|&axis| axis == 0 || axis > MOST_CUBES) || columns == 0 {
        return None;
    }
    let [scores, members] = ready([scores, members])?;
    let weights = output(&scores, [b, rows, columns]);
    let client = scores.client.clone();
    by_type!(
        scores,
        masked_kernel,
        (
            &client,
            CubeCount::Static(rows as u32, b as u32, 1),
            CubeDim::new_1d(UNITS),
            scores.into_tensor_arg(),
            members.into_tensor_arg(),
            weights.clone().into_tensor_arg(),
            temperature,
            NONE,
        )
    );
    Some(weights)
}
