//! The labels of one mask.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::IGNORE_INDEX;

/// Size and pixel counts of one label mask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskStats {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// (label, pixels), ascending in the label, only labels that occur.
    counts: Vec<(u8, u64)>,
    /// The labels in the order in which they first appear, row by row.
    order: Vec<u8>,
}

impl MaskStats {
    /// Counts the labels of a mask `[H, W]`.
    pub fn of(mask: &Array2<u8>) -> Self {
        // Four tables: neighbouring pixels are mostly equal, and one counter would wait for itself.
        let mut tables = [[0u64; 256]; 4];
        let mut count = |labels: &[u8]| {
            let mut quads = labels.chunks_exact(4);
            for quad in &mut quads {
                for (table, &label) in tables.iter_mut().zip(quad) {
                    table[usize::from(label)] += 1;
                }
            }
            for &label in quads.remainder() {
                tables[0][usize::from(label)] += 1;
            }
        };
        match mask.as_slice() {
            Some(labels) => count(labels),
            None => count(&mask.iter().copied().collect::<Vec<u8>>()),
        }
        let counts = (0..=255u8)
            .map(|label| (label, tables.iter().map(|table| table[usize::from(label)]).sum()))
            .filter(|&(_, pixels)| pixels > 0)
            .collect();
        let order = appearing(mask.iter().copied());
        Self { width: mask.ncols() as u32, height: mask.nrows() as u32, counts, order }
    }

    /// The labels that occur in the order in which they first appear, row by row; background and 255
    /// included.
    pub fn order(&self) -> &[u8] {
        &self.order
    }

    /// How many pixels have this label.
    pub fn pixels(&self, label: u8) -> u64 {
        self.counts
            .binary_search_by_key(&label, |&(known, _)| known)
            .map_or(0, |found| self.counts[found].1)
    }

    /// (label, pixels) of all labels that occur, ascending; background and 255 included.
    pub fn counts(&self) -> &[(u8, u64)] {
        &self.counts
    }

    /// The object labels that occur, ascending: neither 0 nor 255.
    pub fn labels(&self) -> impl Iterator<Item = u8> + '_ {
        self.counts.iter().map(|&(label, _)| label).filter(|&l| l != 0 && l != IGNORE_INDEX)
    }

    /// Whether the counts are in order and add up to the size: what a damaged cache may violate.
    pub(super) fn is_consistent(&self) -> bool {
        let pixels = self.counts.iter().map(|&(_, pixels)| u128::from(pixels)).sum::<u128>();
        let mut order = self.order.clone();
        order.sort_unstable();
        self.counts.is_sorted_by(|a, b| a.0 < b.0)
            && order.iter().eq(self.counts.iter().map(|(label, _)| label))
            && pixels == u128::from(self.width) * u128::from(self.height)
    }

    /// The labels above `classes` that are not 255, ascending.
    pub fn unknown_labels(&self, classes: usize) -> impl Iterator<Item = u8> + '_ {
        self.labels().filter(move |&label| usize::from(label) > classes)
    }
}

/// Labels in the order of their first appearance.
fn appearing(labels: impl Iterator<Item = u8>) -> Vec<u8> {
    let (mut seen, mut order) = ([false; 256], Vec::new());
    let mut last = None;
    for label in labels {
        // Neighbouring pixels are mostly equal.
        if last != Some(label) && !std::mem::replace(&mut seen[usize::from(label)], true) {
            order.push(label);
        }
        last = Some(label);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_label() {
        let mask = Array2::from_shape_vec((3, 3), vec![0, 0, 5, 5, 5, 255, 30, 0, 1]).unwrap();
        let stats = MaskStats::of(&mask);
        assert_eq!((stats.width, stats.height), (3, 3));
        assert_eq!(stats.counts(), [(0, 3), (1, 1), (5, 3), (30, 1), (255, 1)]);
        assert_eq!(stats.pixels(5), 3);
        assert_eq!(stats.pixels(6), 0);
        assert_eq!(stats.labels().collect::<Vec<_>>(), [1, 5, 30]);
        assert_eq!(stats.unknown_labels(20).collect::<Vec<_>>(), [30]);
        assert_eq!(stats.order(), [0, 5, 255, 30, 1]);
    }

    #[test]
    fn a_transposed_view_counts_alike() {
        let mask = Array2::from_shape_fn((7, 5), |(y, x)| (y * 5 + x) as u8 % 4);
        let turned = mask.clone().reversed_axes();
        assert_eq!(MaskStats::of(&mask).counts(), MaskStats::of(&turned).counts());
        assert_eq!(MaskStats::of(&turned).width, 7);
    }
}
