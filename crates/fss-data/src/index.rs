//! Which image holds which classes, with pixel counts: counted once, kept in a cache file.

mod cache;
mod stats;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

pub use cache::CACHE_FILE;
pub use stats::MaskStats;

use crate::{DataError, Masks, SegmentationDataset, episode::ImageLabels};
use cache::{Cache, Stamp};

/// Where the counts are kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CachePlace {
    /// [`CACHE_FILE`] in the dataset's root, or where that cannot be written, in the user's cache
    /// folder (`$XDG_CACHE_HOME/fss`, `~/.cache/fss` or `%LOCALAPPDATA%\fss`).
    #[default]
    Auto,
    /// This file.
    At(PathBuf),
    /// Nowhere: every mask is read.
    Off,
}

/// How an index is built.
#[derive(Default)]
pub struct IndexOptions<'a> {
    /// Where the counts are kept.
    pub cache: CachePlace,
    /// Called from several threads with (masks done, masks in all).
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
}

/// How an index came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexReport {
    /// Masks whose counts came from the cache.
    pub cached: usize,
    /// Masks that were read.
    pub read: usize,
    /// Entries of the cache whose file is no more.
    pub dropped: usize,
}

/// The labels of every mask of a dataset, by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskIndex {
    masks: Vec<MaskStats>,
    report: IndexReport,
}

impl MaskIndex {
    /// Counts the labels of every mask with the standard options.
    ///
    /// # Errors
    /// As [`build_with`](Self::build_with).
    pub fn build(dataset: &SegmentationDataset) -> Result<Self, DataError> {
        Self::build_with(dataset, &IndexOptions::default())
    }

    /// Counts the labels of every mask: from the cache where size and time of the file are those of
    /// its entry, else by reading the mask. A damaged cache is thrown away with a warning; a cache
    /// that cannot be written is a warning too.
    ///
    /// Labels above n other than 255 are counted and reported with a warning: they belong to
    /// another benchmark, and train as background.
    ///
    /// # Errors
    /// The first [`DataError`] in list order when a mask is missing or unreadable.
    pub fn build_with(
        dataset: &SegmentationDataset,
        options: &IndexOptions<'_>,
    ) -> Result<Self, DataError> {
        let (results, report) = scan(dataset, options);
        let masks = results.into_iter().collect::<Result<Vec<_>, _>>()?;
        let index = Self { masks, report };
        index.warn_of_unknown_labels(dataset);
        index.warn_of_empty_masks(dataset);
        Ok(index)
    }

    /// An index of masks that are at hand.
    pub fn from_stats(masks: Vec<MaskStats>) -> Self {
        Self { masks, report: IndexReport::default() }
    }

    /// The counts of the masks, in the dataset's order.
    pub fn masks(&self) -> &[MaskStats] {
        &self.masks
    }

    /// The counts of mask `position`.
    ///
    /// # Panics
    /// When `position` is not below [`len`](Self::len).
    pub fn mask(&self, position: usize) -> &MaskStats {
        &self.masks[position]
    }

    /// How many pixels of mask `position` have the label `class`.
    ///
    /// # Panics
    /// When `position` is not below [`len`](Self::len).
    pub fn pixels(&self, position: usize, class: u8) -> u64 {
        self.masks[position].pixels(class)
    }

    /// The listing that episodes are drawn from: ids of the dataset with the counts of its masks.
    ///
    /// # Panics
    /// When the dataset is not the one that was indexed, that is, of another length.
    pub fn listing(&self, dataset: &SegmentationDataset) -> Vec<ImageLabels> {
        assert_eq!(self.len(), dataset.len(), "the index of another dataset");
        self.masks
            .iter()
            .enumerate()
            .map(|(position, mask)| dataset.image_labels(position, mask))
            .collect()
    }

    /// The number of masks.
    pub fn len(&self) -> usize {
        self.masks.len()
    }

    /// Whether there are no masks.
    pub fn is_empty(&self) -> bool {
        self.masks.is_empty()
    }

    /// How the index came about.
    pub fn report(&self) -> IndexReport {
        self.report
    }

    /// A mask of one class that does not show it is a mistake in most cases; its image is in no
    /// episode.
    fn warn_of_empty_masks(&self, dataset: &SegmentationDataset) {
        let mut empty = (0..self.len()).filter(|&i| {
            dataset.only_class(i).is_some() && self.masks[i].labels().next().is_none()
        });
        if let Some(first) = empty.next() {
            tracing::warn!(
                "{} of {} masks of {} show no foreground and are left out, the first of them {}",
                1 + empty.count(),
                self.len(),
                dataset.name,
                dataset.mask_path(first).display(),
            );
        }
    }

    fn warn_of_unknown_labels(&self, dataset: &SegmentationDataset) {
        if matches!(dataset.masks, Masks::Binary { .. }) {
            return;
        }
        let classes = dataset.classes();
        let mut strange =
            (0..self.len()).filter(|&i| self.masks[i].unknown_labels(classes).next().is_some());
        if let Some(first) = strange.next() {
            let labels: Vec<u8> = self.masks[first].unknown_labels(classes).collect();
            tracing::warn!(
                masks = 1 + strange.count(),
                first = %dataset.mask_path(first).display(),
                ?labels,
                "masks of {} hold labels above {classes} that are not 255; they train as background",
                dataset.name,
            );
        }
    }
}

/// The counts of every mask, or why it has none, in list order. Updates the cache.
pub(crate) fn scan(
    dataset: &SegmentationDataset,
    options: &IndexOptions<'_>,
) -> (Vec<Result<MaskStats, DataError>>, IndexReport) {
    let mut cache = Cache::open(&dataset.root, &options.cache);
    let done = AtomicUsize::new(0);
    let total = dataset.len();
    let results: Vec<Result<Scanned, DataError>> = (0..total)
        .into_par_iter()
        .map(|position| {
            let result = scan_mask(dataset, position, &cache);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some(progress) = options.progress {
                progress(done, total);
            }
            result
        })
        .collect();

    let mut report = IndexReport::default();
    let mut alive = HashSet::with_capacity(total);
    for scanned in results.iter().flatten() {
        match scanned.fresh {
            Some(stamp) => {
                report.read += 1;
                cache.insert(scanned.key.clone(), stamp, scanned.stats.clone());
            }
            None => report.cached += 1,
        }
        alive.insert(scanned.key.clone());
    }
    report.dropped = cache.save(&alive);
    (results.into_iter().map(|result| result.map(|scanned| scanned.stats)).collect(), report)
}

/// Notes the counts of masks that were just written below `root`, so that nobody need read them again
/// to count.
pub(crate) fn remember(root: &Path, counted: Vec<(PathBuf, MaskStats)>) {
    if counted.is_empty() {
        return;
    }
    let mut cache = Cache::open(root, &CachePlace::Auto);
    let mut alive = HashSet::with_capacity(counted.len());
    for (path, stats) in counted {
        // A mask that is gone again is of no concern here.
        if let Ok(stamp) = Stamp::of(&path) {
            let key = cache.key(&path, "");
            cache.insert(key.clone(), stamp, stats);
            alive.insert(key);
        }
    }
    cache.save(&alive);
}

struct Scanned {
    stats: MaskStats,
    /// The mask's name in the cache.
    key: String,
    /// Set when the mask was read, not found in the cache.
    fresh: Option<Stamp>,
}

fn scan_mask(
    dataset: &SegmentationDataset,
    position: usize,
    cache: &Cache,
) -> Result<Scanned, DataError> {
    let path = dataset.mask_path(position);
    // Before reading: a file that changes while it is read then has a newer time than its entry.
    let stamp = Stamp::of(&path).map_err(|source| {
        dataset.explain_missing(position, DataError::io("read", &path, source))
    })?;
    let key = cache.key(&path, &dataset.mask_entry(position));
    if let Some(stats) = cache.get(&key, stamp) {
        return Ok(Scanned { stats: stats.clone(), key, fresh: None });
    }
    let stats = MaskStats::of(&dataset.load_mask(position)?);
    Ok(Scanned { stats, key, fresh: Some(stamp) })
}

#[cfg(test)]
mod tests;
