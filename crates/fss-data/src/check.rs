//! What a dataset holds, what is wrong with it, and what episodes it can give.

mod findings;
mod folds;
mod lists;
mod split;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

pub use findings::{Finding, Severity};
pub use folds::{EpisodeCount, FoldClass, FoldReport};
pub use lists::{ListCheck, ListReport};
pub use split::{ClassCount, FileProblem, SplitReport, UnknownLabels};

use crate::episode::MIN_OBJECT_PIXELS;
use crate::folds::Fold;
use crate::index::CachePlace;
use crate::{DataError, SegmentationDataset, Split};

/// How thoroughly images are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageCheck {
    /// Every image is decoded: damage shows.
    #[default]
    Decode,
    /// Only headers are read: sizes are compared, damage further down goes unseen.
    Header,
}

/// What to check.
pub struct CheckOptions<'a> {
    /// The folds to count episodes for; none by default.
    pub folds: Vec<Fold>,
    /// The numbers of supports for which episodes are counted.
    pub shots: Vec<usize>,
    /// The smallest object that may support, in pixels.
    pub min_pixels: u64,
    /// How thoroughly images are looked at.
    pub images: ImageCheck,
    /// Where mask counts are kept between runs.
    pub cache: CachePlace,
    /// Whether to look at the lists of the HSNet protocol, for the same folds.
    pub lists: Option<ListCheck>,
    /// Called from several threads with (files done, files in all).
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
}

impl Default for CheckOptions<'_> {
    /// No folds, 1 and 5 shots, the published size limit, every image decoded, no lists.
    fn default() -> Self {
        Self {
            folds: Vec::new(),
            shots: vec![1, 5],
            min_pixels: MIN_OBJECT_PIXELS,
            images: ImageCheck::Decode,
            cache: CachePlace::Auto,
            lists: None,
            progress: None,
        }
    }
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetReport {
    /// The smallest object that may support, in pixels.
    pub min_pixels: u64,
    /// One report for each split that was given.
    pub splits: Vec<SplitReport>,
    /// Ids that two splits list: images that would be both trained on and tested on.
    pub shared_ids: Vec<String>,
    /// For each fold: the base classes of the training split and the novel classes of the other,
    /// as far as the splits were given. Only sound images count.
    pub folds: Vec<FoldReport>,
    /// The lists of the HSNet protocol, if they were asked for.
    pub lists: Vec<ListReport>,
}

impl DatasetReport {
    /// Whether nothing is wrong: no file problem, no shared image, enough supports everywhere.
    /// Mere notes do not count.
    pub fn is_clean(&self) -> bool {
        self.findings().iter().all(|finding| finding.severity < Severity::Problem)
    }

    /// What is wrong, each with examples and what to do about it; the gravest first.
    pub fn findings(&self) -> Vec<Finding> {
        findings::findings(self)
    }
}

/// Checks every file of the given splits, and counts what each fold can draw from them.
///
/// Nothing that is wrong with a file is an error of this function: it goes into the report.
///
/// # Errors
/// [`DataError::Setting`] when a fold is one of another number of classes.
pub fn check_dataset(
    splits: &[(Split, SegmentationDataset)],
    options: &CheckOptions<'_>,
) -> Result<DatasetReport, DataError> {
    let done = AtomicUsize::new(0);
    // Masks and images of each.
    let total: usize = splits.iter().map(|(_, dataset)| 2 * dataset.len()).sum();
    let step = || {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(progress) = options.progress {
            progress(done, total);
        }
    };

    let mut reports = Vec::new();
    let mut folds = Vec::new();
    let mut lists = Vec::new();
    for (split, dataset) in splits {
        let checked = split::check_split(*split, dataset, options, &step);
        folds.extend(folds::check_folds(*split, dataset, &checked.sound, options)?);
        if let Some(wanted) = &options.lists {
            let index = checked.index.as_ref();
            lists.extend(lists::check_lists(*split, dataset, index, &options.folds, wanted));
        }
        reports.push(checked.report);
    }
    // In the order of the folds as they were given.
    let place = |scheme, index| {
        options.folds.iter().position(|fold| (fold.scheme(), fold.index()) == (scheme, index))
    };
    folds.sort_by_key(|fold| (place(fold.scheme, fold.fold), fold.split));
    lists.sort_by_key(|list| (place(list.scheme, list.fold), list.split));
    Ok(DatasetReport {
        min_pixels: options.min_pixels,
        splits: reports,
        shared_ids: shared_ids(splits),
        folds,
        lists,
    })
}

fn shared_ids(splits: &[(Split, SegmentationDataset)]) -> Vec<String> {
    let mut seen: HashSet<&str> = HashSet::new();
    let mut shared = Vec::new();
    for (_, dataset) in splits {
        let ids: HashSet<&str> = dataset.ids.iter().map(String::as_str).collect();
        shared.extend(ids.intersection(&seen).map(|id| (*id).to_owned()));
        seen.extend(ids);
    }
    shared.sort();
    shared
}

#[cfg(test)]
mod tests;
