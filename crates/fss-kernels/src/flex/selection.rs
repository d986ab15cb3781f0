//! The self-support step on slices: positions are chosen on the host, and only they are worked on.

use super::adaptive::{self, Keys};
use super::cosine::{MapShape, squared_norms};
use super::product::{View, ViewMut, Write, product};
use crate::self_support::{SelfSupportConfig, UNIT_EPS};

/// Prototypes of a batch: `[B, C]`, `[B, C]`, `[B, C, N]`.
pub(super) struct Found {
    pub fg_prototype: Vec<f32>,
    pub bg_prototype: Vec<f32>,
    pub bg_adaptive: Vec<f32>,
}

/// Runs the step on features `[B, C, N]` and logits `[B, 2, N]`.
pub(super) fn run(
    features: &[f32],
    logits: &[f32],
    [batch, channels, positions]: [usize; 3],
    config: &SelfSupportConfig,
    tile: usize,
) -> Found {
    let shape = MapShape { batch, channels, positions };
    let lengths = squared_norms(features, shape);
    let mut found = Found {
        fg_prototype: Vec::with_capacity(batch * channels),
        bg_prototype: Vec::with_capacity(batch * channels),
        bg_adaptive: Vec::with_capacity(batch * channels * positions),
    };
    for sample in 0..batch {
        let features = &features[sample * channels * positions..][..channels * positions];
        let logits = &logits[sample * 2 * positions..][..2 * positions];
        let [bg, fg] = probabilities(logits, positions);
        let fg = members(&fg, config.fg_threshold, config.top_k);
        let bg = members(&bg, config.bg_threshold, config.top_k);

        let means = means(features, [&fg, &bg], [channels, positions]);
        found.fg_prototype.extend(means.iter().step_by(2));
        found.bg_prototype.extend(means.iter().skip(1).step_by(2));

        let factors: Vec<f32> = lengths[sample * positions..][..positions]
            .iter()
            .map(|squares| 1.0 / squares.max((UNIT_EPS * UNIT_EPS) as f32).sqrt())
            .collect();
        let keys = Keys::scaled(features, &factors);
        let size = [channels, positions];
        let adaptive = adaptive::prototypes(features, keys, &bg, size, config.temperature, tile);
        if batch == 1 {
            found.bg_adaptive = adaptive;
        } else {
            found.bg_adaptive.extend(adaptive);
        }
    }
    found
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

/// Mean features of two sets, interleaved: `[C, 2]`.
fn means(features: &[f32], sets: [&[usize]; 2], [channels, positions]: [usize; 2]) -> Vec<f32> {
    let mut weights = vec![0.0; 2 * positions];
    for (row, set) in weights.chunks_exact_mut(positions).zip(sets) {
        set.iter().for_each(|&i| row[i] = 1.0);
    }
    let mut means = vec![0.0; channels * 2];
    product(
        ViewMut::new(&mut means, channels, 2),
        View::new(features, channels, positions),
        View::new(&weights, 2, positions).transposed(),
        Write::Replace,
    );
    for pair in means.chunks_exact_mut(2) {
        pair[0] /= sets[0].len() as f32;
        pair[1] /= sets[1].len() as f32;
    }
    means
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
