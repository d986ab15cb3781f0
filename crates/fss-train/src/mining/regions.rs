//! Regions of base classes in label masks.

use fss_data::{ClassId, IGNORE_INDEX, SegmentationDataset};
use ndarray::Array2;

use super::options::Region;

/// One region: 1 where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RegionMask {
    /// `[H, W]`, 0 or 1.
    pub mask: Array2<u8>,
    /// How many pixels are 1.
    pub pixels: u64,
}

/// The regions of `base` classes in mask `position` of a dataset, class by class (in order of their
/// numbers), and what is left: the background, in which novel classes disappear as in training.
pub(super) fn regions(
    dataset: &SegmentationDataset,
    position: usize,
    mask: &Array2<u8>,
    base: &[ClassId],
    kind: Region,
    min_pixels: u64,
) -> (Vec<RegionMask>, RegionMask) {
    let mut found = Vec::new();
    let mut background = mask.mapv(|label| u8::from(label != IGNORE_INDEX));
    for &class in base {
        let own = dataset.class_mask(position, mask, class).mapv(|v| u8::from(v == 1));
        if own.iter().all(|v| *v == 0) {
            continue;
        }
        background.zip_mut_with(&own, |b, o| *b &= 1 - o);
        match kind {
            Region::Class => found.push(counted(own)),
            Region::Connected => found.extend(connected(&own)),
        }
    }
    found.retain(|region| region.pixels >= min_pixels.max(1));
    (found, counted(background))
}

fn counted(mask: Array2<u8>) -> RegionMask {
    let pixels = mask.iter().map(|v| u64::from(*v)).sum();
    RegionMask { mask, pixels }
}

/// The parts of a mask that touch by sides or corners, in order of their first pixels.
fn connected(mask: &Array2<u8>) -> Vec<RegionMask> {
    let (height, width) = mask.dim();
    let mut left = mask.clone();
    let mut parts = Vec::new();
    for start in 0..height * width {
        let start = (start / width, start % width);
        if left[start] == 0 {
            continue;
        }
        let mut part = Array2::zeros((height, width));
        let mut open = vec![start];
        left[start] = 0;
        while let Some((y, x)) = open.pop() {
            part[[y, x]] = 1;
            for near_y in y.saturating_sub(1)..(y + 2).min(height) {
                for near_x in x.saturating_sub(1)..(x + 2).min(width) {
                    if left[[near_y, near_x]] != 0 {
                        left[[near_y, near_x]] = 0;
                        open.push((near_y, near_x));
                    }
                }
            }
        }
        parts.push(counted(part));
    }
    parts
}

#[cfg(test)]
mod tests {
    use fss_data::{Files, Masks};
    use ndarray::array;

    use super::*;

    fn dataset() -> SegmentationDataset {
        SegmentationDataset {
            name: "test".into(),
            root: "".into(),
            class_names: (1..=4).map(|c| c.to_string()).collect(),
            ids: vec!["a".into()],
            files: Files::Listed(vec![("a.jpg".into(), "a.png".into())]),
            masks: Masks::Labels,
        }
    }

    #[test]
    fn novel_classes_are_background_and_ignored_pixels_nothing() {
        let mask = array![[1, 1, 0, 2], [1, 255, 0, 2], [3, 0, 1, 1]];
        let (found, background) = regions(&dataset(), 0, &mask, &[1, 2], Region::Class, 2);
        let pixels: Vec<u64> = found.iter().map(|r| r.pixels).collect();
        assert_eq!(pixels, [5, 2]);
        assert_eq!(background.mask, array![[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 0]]);
        let (found, _) = regions(&dataset(), 0, &mask, &[1, 2], Region::Class, 3);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn connected_parts_touch_by_corners() {
        let mask = array![[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]];
        let (found, _) = regions(&dataset(), 0, &mask, &[1], Region::Connected, 1);
        let pixels: Vec<u64> = found.iter().map(|r| r.pixels).collect();
        assert_eq!(pixels, [2, 2, 2]);
        assert_eq!(found[0].mask[[1, 1]], 1);
    }
}
