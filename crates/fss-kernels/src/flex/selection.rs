//! The self-support step on slices: positions are chosen on the host, and only they are worked on.

use super::adaptive::{self, Keys};
use super::cosine::{MapShape, squared_norms};
use super::product::{View, ViewMut, Write, product};
use super::several;
use crate::self_support::{SelfSupportConfig, UNIT_EPS};

/// Prototypes of a batch for each of W ways: `[B, W, C]`, `[B, W, C]`, `[B, W, C, N]`.
pub(super) struct Found {
    pub fg_prototype: Vec<f32>,
    pub bg_prototype: Vec<f32>,
    pub bg_adaptive: Vec<f32>,
}

/// Runs the step on features `[B, C, N]` and logits `[B, W, 2, N]`.
pub(super) fn run(
    features: &[f32],
    logits: &[f32],
    [batch, channels, positions]: [usize; 3],
    ways: usize,
    config: &SelfSupportConfig,
) -> Found {
    let shape = MapShape { batch, channels, positions };
    let lengths = squared_norms(features, shape);
    let mut found = Found {
        fg_prototype: Vec::with_capacity(batch * ways * channels),
        bg_prototype: Vec::with_capacity(batch * ways * channels),
        bg_adaptive: Vec::with_capacity(if batch == 1 { 0 } else { batch * ways * features.len() }),
    };
    for sample in 0..batch {
        let features = &features[sample * channels * positions..][..channels * positions];
        let logits = &logits[sample * ways * 2 * positions..][..ways * 2 * positions];
        let sets =
            logits.chunks_exact(2 * positions).map(|logits| Sets::of(logits, positions, config));
        let (fg, bg): (Vec<_>, Vec<_>) = sets.map(|Sets { fg, bg }| (fg, bg)).unzip();
        let size = [channels, positions];
        let [fg_prototype, bg_prototype] = means(features, [&fg, &bg], size);
        found.fg_prototype.extend(fg_prototype);
        found.bg_prototype.extend(bg_prototype);

        let factors = reciprocal_lengths(&lengths[sample * positions..][..positions]);
        let keys = Keys::scaled(features, &factors);
        let temperature = config.temperature;
        let adaptive = match bg.as_slice() {
            [bg] => adaptive::prototypes(features, keys, bg, size, temperature),
            sets if sets.len() <= several::MOST_SETS => {
                several::prototypes(features, keys, sets, size, temperature)
            }
            sets => sets
                .chunks(several::MOST_SETS)
                .flat_map(|sets| several::prototypes(features, keys, sets, size, temperature))
                .collect(),
        };
        if batch == 1 {
            found.bg_adaptive = adaptive;
        } else {
            found.bg_adaptive.extend(adaptive);
        }
    }
    found
}

/// One over the lengths of vectors, from their squares.
pub(super) fn reciprocal_lengths(squares: &[f32]) -> Vec<f32> {
    squares.iter().map(|squares| 1.0 / squares.max((UNIT_EPS * UNIT_EPS) as f32).sqrt()).collect()
}

/// The foreground and the background set of one first prediction, ascending positions.
pub(super) struct Sets {
    pub fg: Vec<usize>,
    pub bg: Vec<usize>,
}

impl Sets {
    /// Of logits `[2, N]`.
    pub(super) fn of(logits: &[f32], positions: usize, config: &SelfSupportConfig) -> Self {
        let [background, foreground] = probabilities(logits, positions);
        Self {
            fg: members(&foreground, config.fg_threshold, config.top_k),
            bg: members(&background, config.bg_threshold, config.top_k),
        }
    }
}

/// Softmax over the two channels.
fn probabilities(logits: &[f32], positions: usize) -> [Vec<f32>; 2] {
    let (bg, fg) = logits.split_at(positions);
    let both = bg.iter().zip(fg).map(|(bg, fg)| {
        let largest = bg.max(*fg);
        let (bg, fg) = ((bg - largest).exp(), (fg - largest).exp());
        (bg / (bg + fg), fg / (bg + fg))
    });
    let (bg, fg) = both.unzip();
    [bg, fg]
}

/// Positions above the threshold, else the `top_k` largest, the earlier first among equals; ascending.
fn members(probabilities: &[f32], threshold: f32, top_k: usize) -> Vec<usize> {
    let passing: Vec<usize> =
        (0..probabilities.len()).filter(|&i| probabilities[i] > threshold).collect();
    if !passing.is_empty() {
        return passing;
    }
    let mut ranked: Vec<usize> = (0..probabilities.len()).collect();
    ranked.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    ranked.truncate(top_k);
    ranked.sort_unstable();
    ranked
}

/// Mean features `[W, C]` of sets of both kinds, in one pass over the features.
pub(super) fn means(
    features: &[f32],
    kinds: [&[Vec<usize>]; 2],
    [channels, positions]: [usize; 2],
) -> [Vec<f32>; 2] {
    let sets: Vec<&Vec<usize>> = kinds.into_iter().flatten().collect();
    let mut weights = vec![0.0; sets.len() * positions];
    for (row, set) in weights.chunks_exact_mut(positions).zip(&sets) {
        set.iter().for_each(|&i| row[i] = 1.0);
    }
    let mut means = vec![0.0; sets.len() * channels];
    product(
        ViewMut::new(&mut means, sets.len(), channels),
        View::new(&weights, sets.len(), positions),
        View::new(features, channels, positions).transposed(),
        Write::Replace,
    );
    for (means, set) in means.chunks_exact_mut(channels.max(1)).zip(&sets) {
        means.iter_mut().for_each(|mean| *mean /= set.len() as f32);
    }
    let of_second = means.split_off(kinds[0].len() * channels);
    [means, of_second]
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn thresholds_are_strict() {
        assert_eq!(members(&[0.7, 0.71, 0.2, 0.9], 0.7, 12), [1, 3]);
    }

    #[test]
    fn an_empty_set_falls_back_to_the_most_probable() {
        assert_eq!(members(&[0.1, 0.5, 0.3, 0.4], 0.7, 2), [1, 3]);
        assert_eq!(members(&[0.1, 0.5], 0.7, 12), [0, 1]);
    }

    #[test]
    fn equal_probabilities_are_taken_in_order() {
        assert_eq!(members(&[0.2, 0.5, 0.5, 0.2, 0.5], 0.7, 2), [1, 2]);
        assert_eq!(members(&[0.5; 6], 0.7, 3), [0, 1, 2]);
    }
}
