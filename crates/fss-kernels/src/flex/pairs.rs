//! The self-support step with the weights of all pairs at hand.

use rayon::prelude::*;

use super::adaptive::{Keys, gather, with_ones};
use super::cosine::{MapShape, squared_norms};
use super::product::{View, ViewMut, Write, product};
use super::selection::{Sets, means, reciprocal_lengths};
use crate::cpu::{exp_scaled, zeros};
use crate::self_support::SelfSupportConfig;

/// Rows of weights that are computed at a time.
const STRIP: usize = 256;

/// Side of the squares in which a matrix is mirrored.
const SQUARE: usize = 32;

/// Weights `[N, N]` and sums `[C + 1, N]` over all positions for each sample of `[B, C, N]`.
pub(super) fn weigh(
    features: &[f32],
    [batch, channels, positions]: [usize; 3],
    temperature: f32,
) -> [Vec<f32>; 2] {
    let shape = MapShape { batch, channels, positions };
    let factors = reciprocal_lengths(&squared_norms(features, shape));
    let everything: Vec<usize> = (0..positions).collect();
    let (mut weights, mut sums) = (Vec::new(), Vec::new());
    for (features, factors) in
        features.chunks_exact(channels * positions).zip(factors.chunks_exact(positions))
    {
        let unit = Keys::scaled(features, factors).gather(&everything, positions);
        let pairs = all_pairs(View::new(&unit, channels, positions), positions, temperature);
        let values = with_ones(features.to_vec(), positions);
        let mut sum = zeros(values.len());
        product(
            ViewMut::new(&mut sum, channels + 1, positions),
            View::new(&values, channels + 1, positions),
            View::new(&pairs, positions, positions),
            Write::Replace,
        );
        if batch == 1 {
            return [pairs, sum];
        }
        weights.extend(pairs);
        sums.extend(sum);
    }
    [weights, sums]
}

/// `exp(t · cos - |t|)` of all pairs of unit vectors `[C, N]`: a strip of rows at a time from the diagonal on,
/// then the mirror image.
fn all_pairs(unit: View<'_>, positions: usize, temperature: f32) -> Vec<f32> {
    let mut pairs = zeros(positions * positions);
    let mut buffer = vec![0.0; STRIP.min(positions) * positions];
    for start in (0..positions).step_by(STRIP) {
        let end = (start + STRIP).min(positions);
        let (height, width) = (end - start, positions - start);
        let strip = &mut buffer[..height * width];
        let queries = unit.columns(start, end).transposed();
        let target = ViewMut::new(strip, height, width);
        product(target, queries, unit.columns(start, positions), Write::Replace);
        exp_scaled(strip, temperature, temperature.abs());
        let rows = pairs[start * positions..end * positions].par_chunks_mut(positions);
        rows.zip(strip.par_chunks(width)).for_each(|(row, weights)| {
            row[start..].copy_from_slice(weights);
        });
        // Below the diagonal: what the rows of the strip hold right of it, in columns.
        let (_, below) = pairs.split_at_mut(end * positions);
        let strip = &buffer[..height * width];
        below.par_chunks_mut(SQUARE * positions).enumerate().for_each(|(block, rows)| {
            for left in (0..height).step_by(SQUARE) {
                let right = (left + SQUARE).min(height);
                for (i, row) in rows.chunks_exact_mut(positions).enumerate() {
                    let column = height + block * SQUARE + i;
                    let target = &mut row[start + left..start + right];
                    for (value, line) in target.iter_mut().zip(left..right) {
                        *value = strip[line * width + column];
                    }
                }
            }
        });
    }
    pairs
}

/// What the step gives for one sample, and the background set with its sums.
pub(super) struct Among {
    pub fg_prototype: Vec<f32>,
    pub bg_prototype: Vec<f32>,
    pub bg_adaptive: Vec<f32>,
    pub members: Vec<f32>,
    pub sums: Vec<f32>,
}

/// The step for features `[C, N]` and logits `[2, N]`, from the weights of all pairs `[N, N]` and the sums
/// `[C + 1, N]` over the set `members` `[N]`.
///
/// Sums are made from those that are there if that takes fewer terms. So they depend on these operands alone, and
/// not on what else was asked before.
pub(super) fn among(
    features: &[f32],
    weights: &[f32],
    (members, sums): (&[f32], &[f32]),
    logits: &[f32],
    [channels, positions]: [usize; 2],
    config: &SelfSupportConfig,
) -> Among {
    let Sets { fg, bg } = Sets::of(logits, positions, config);
    let mut chosen = vec![0.0; positions];
    bg.iter().for_each(|&position| chosen[position] = 1.0);
    let differing: Vec<usize> =
        (0..positions).filter(|&i| (members[i] > 0.5) != (chosen[i] > 0.5)).collect();
    let from_others = differing.len() < bg.len();
    let picked = if from_others { &differing } else { &bg };

    let mut found = if from_others { sums.to_vec() } else { zeros(sums.len()) };
    if !picked.is_empty() {
        let mut values = with_ones(gather(features, picked, positions), picked.len());
        if from_others {
            let signs: Vec<f32> = picked.iter().map(|&i| 2.0 * chosen[i] - 1.0).collect();
            values.par_chunks_mut(picked.len()).for_each(|row| {
                row.iter_mut().zip(&signs).for_each(|(value, sign)| *value *= sign);
            });
        }
        product(
            ViewMut::new(&mut found, channels + 1, positions),
            View::new(&values, channels + 1, picked.len()),
            View::picked(weights, picked, positions),
            if from_others { Write::Add } else { Write::Replace },
        );
    }
    let (features_sums, totals) = found.split_at(channels * positions);
    let factors: Vec<f32> = totals.iter().map(|total| 1.0 / total).collect();
    let mut adaptive = zeros(channels * positions);
    adaptive.par_chunks_mut(positions).zip(features_sums.par_chunks(positions)).for_each(
        |(row, sums)| {
            for ((value, sum), factor) in row.iter_mut().zip(sums).zip(&factors) {
                *value = sum * factor;
            }
        },
    );
    let [fg_prototype, bg_prototype] = means(features, [&[fg], &[bg]], [channels, positions]);
    Among { fg_prototype, bg_prototype, bg_adaptive: adaptive, members: chosen, sums: found }
}

#[cfg(test)]
mod tests {
    use fss_support::fill;
    use fss_support::golden::assert_close;

    use super::*;
    use crate::flex::selection;

    #[test]
    fn sums_from_any_known_set_give_what_is_found_without() {
        let (channels, positions) = (6, 300);
        let size = [channels, positions];
        let features = fill("features", &[channels * positions]);
        let config = SelfSupportConfig { top_k: 3, ..SelfSupportConfig::default() };
        let [weights, sums] = weigh(&features, [1, channels, positions], config.temperature);
        let everything = vec![1.0; positions];
        let mut known = (everything, sums);
        // Nearly all positions, nearly the same again, few, and none that passes.
        for (name, shift) in [("a", 3.0), ("b", 2.9), ("c", -1.5), ("d", -9.0)] {
            let noise = fill(name, &[positions]);
            let background = noise.iter().map(|v| 2.0 * v + shift);
            let logits: Vec<f32> = background.chain(noise.iter().map(|v| -v)).collect();
            let found = among(&features, &weights, (&known.0, &known.1), &logits, size, &config);
            let alone = selection::run(&features, &logits, [1, channels, positions], 1, &config);
            assert_close("fg", &found.fg_prototype, &alone.fg_prototype, 1e-6);
            assert_close("bg", &found.bg_prototype, &alone.bg_prototype, 1e-6);
            assert_close("adaptive", &found.bg_adaptive, &alone.bg_adaptive, 5e-6);
            known = (found.members, found.sums);
        }
    }
}
