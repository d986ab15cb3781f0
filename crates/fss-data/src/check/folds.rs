//! The episodes that the folds of a dataset can give.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::CheckOptions;
use crate::episode::{EpisodeSource, ImageLabels};
use crate::folds::{FoldScheme, Subset};
use crate::{ClassId, DataError, SegmentationDataset, Split};

/// What one fold draws from one split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldReport {
    /// Which fold, from 0.
    pub fold: usize,
    /// How classes are dealt to it.
    pub scheme: FoldScheme,
    /// Which split.
    pub split: Split,
    /// Which classes: base classes in training, novel ones in evaluation.
    pub subset: Subset,
    /// Images with at least one of the classes at the smallest size or above: all can be queries.
    pub images: usize,
    /// The classes, in the order of their labels. Where an image belongs to one class (FSS-1000),
    /// those that the split has.
    pub classes: Vec<FoldClass>,
    /// The episodes, for each number of supports asked for.
    pub episodes: Vec<EpisodeCount>,
}

/// A class within a fold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldClass {
    /// The label.
    pub label: ClassId,
    /// Its name.
    pub name: String,
    /// Kept images that show it.
    pub images: usize,
    /// Of these, images in which it is large enough to support.
    pub eligible: usize,
    /// Pixels of it in these images.
    pub pixels: u64,
}

/// How many episodes there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodeCount {
    /// Number of supports.
    pub shot: usize,
    /// Pairs of a query and a class that have enough supports.
    pub queries: usize,
    /// Different episodes, the order of supports aside; the largest number if there are more.
    pub episodes: u64,
    /// (label, eligible images) of classes with too few supports for some of their queries: drawing
    /// one of these queries fails.
    pub short_classes: Vec<(ClassId, usize)>,
}

pub(super) fn check_folds(
    split: Split,
    dataset: &SegmentationDataset,
    sound: &[ImageLabels],
    options: &CheckOptions<'_>,
) -> Result<Vec<FoldReport>, DataError> {
    let subset = match split {
        Split::Train => Subset::Base,
        Split::Val | Split::Test => Subset::Novel,
    };
    let here: Option<BTreeSet<ClassId>> =
        (0..dataset.len()).map(|position| dataset.only_class(position)).collect();
    options
        .folds
        .iter()
        .map(|fold| {
            if fold.classes() != dataset.classes() {
                return Err(DataError::Setting {
                    what: format!("{fold}, but {} has {}", dataset.name, dataset.classes()),
                    remedy: "give folds of the classes of this data set".into(),
                });
            }
            let mut labels = fold.labels(subset);
            if let Some(here) = &here {
                labels.retain(|label| here.contains(label));
            }
            // No image for any class: a finding, not a failure.
            let source = EpisodeSource::new(sound.to_vec(), &labels, options.min_pixels).ok();
            Ok(FoldReport {
                fold: fold.index(),
                scheme: fold.scheme(),
                split,
                subset,
                images: source.as_ref().map_or(0, |source| source.queries().len()),
                classes: labels
                    .iter()
                    .map(|&label| fold_class(dataset, source.as_ref(), label))
                    .collect(),
                episodes: options
                    .shots
                    .iter()
                    .map(|&shot| count_episodes(source.as_ref(), shot))
                    .collect(),
            })
        })
        .collect()
}

fn fold_class(
    dataset: &SegmentationDataset,
    source: Option<&EpisodeSource>,
    label: ClassId,
) -> FoldClass {
    let images = source.map_or(&[][..], |source| source.images_of(label));
    FoldClass {
        label,
        name: dataset.class_name(label).to_owned(),
        images: images.len(),
        eligible: source.map_or(0, |source| eligible(source, label)),
        pixels: images.iter().filter_map(|&image| Some(source?.pixels(image, label))).sum(),
    }
}

fn eligible(source: &EpisodeSource, label: ClassId) -> usize {
    source.images_of(label).iter().filter(|&&image| source.is_eligible(image, label)).count()
}

fn count_episodes(source: Option<&EpisodeSource>, shot: usize) -> EpisodeCount {
    let mut count = EpisodeCount { shot, queries: 0, episodes: 0, short_classes: Vec::new() };
    let Some(source) = source else { return count };
    for &label in source.classes() {
        let eligible = eligible(source, label);
        for &query in source.images_of(label) {
            // The query itself never supports.
            let supports = eligible - usize::from(source.is_eligible(query, label));
            let sets = combinations(supports as u64, shot as u64);
            count.queries += usize::from(sets > 0);
            count.episodes = count.episodes.saturating_add(sets);
        }
    }
    count.short_classes = source.shortages(shot);
    count
}

/// The number of ways to choose `k` of `n`, at most `u64::MAX`.
fn combinations(n: u64, k: u64) -> u64 {
    if k > n {
        return 0;
    }
    let mut ways: u128 = 1;
    for i in 0..u128::from(k.min(n - k)) {
        ways = ways * (u128::from(n) - i) / (i + 1);
        if ways > u128::from(u64::MAX) {
            return u64::MAX;
        }
    }
    ways as u64
}

#[cfg(test)]
mod tests {
    use super::combinations;

    #[test]
    fn numbers_of_choices() {
        assert_eq!(combinations(5, 0), 1);
        assert_eq!(combinations(5, 2), 10);
        assert_eq!(combinations(5, 5), 1);
        assert_eq!(combinations(4, 5), 0);
        assert_eq!(combinations(80, 5), 24_040_016);
        assert_eq!(combinations(10_000, 50), u64::MAX);
    }
}
