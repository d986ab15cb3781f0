//! A data set together with the episodes that can be drawn from it.

use std::path::Path;
use std::sync::Arc;

use fss_data::episode::EpisodeSource;
use fss_data::folds::{Fold, Subset};
use fss_data::{MaskIndex, SegmentationDataset, Split, pascal};

use crate::TrainError;
use crate::recipe::DataSettings;

/// Images with masks, and the classes that episodes show. Clones share everything.
#[derive(Debug, Clone)]
pub struct EpisodeData {
    /// The images.
    pub dataset: Arc<SegmentationDataset>,
    /// Which of them episodes are drawn from.
    pub source: Arc<EpisodeSource>,
    /// The fold.
    pub fold: Fold,
    /// Whether its base or novel classes are shown.
    pub subset: Subset,
}

impl EpisodeData {
    /// Counts the pixels of every mask (from the cache where it is current) and keeps the images
    /// that show a class of the subset with at least `min_pixels` pixels.
    ///
    /// # Errors
    /// [`TrainError::Data`] for a missing or unreadable mask, or if no image remains.
    pub fn new(
        dataset: SegmentationDataset,
        fold: Fold,
        subset: Subset,
        min_pixels: u64,
    ) -> Result<Self, TrainError> {
        let index = MaskIndex::build(&dataset)?;
        Self::with_index(dataset, &index, fold, subset, min_pixels)
    }

    /// As [`new`](Self::new) with an index that was built before, say with a progress display.
    ///
    /// # Errors
    /// [`TrainError::Data`] if no image remains.
    pub fn with_index(
        dataset: SegmentationDataset,
        index: &MaskIndex,
        fold: Fold,
        subset: Subset,
        min_pixels: u64,
    ) -> Result<Self, TrainError> {
        let source = EpisodeSource::new(index.listing(&dataset), &fold.labels(subset), min_pixels)?;
        Ok(Self { dataset: Arc::new(dataset), source: Arc::new(source), fold, subset })
    }

    /// The training and validation data of a recipe from a PASCAL-5i tree (or generated data in
    /// that layout) at `root`: the training split with the base classes, the validation split with
    /// the novel ones.
    ///
    /// # Errors
    /// [`TrainError::Data`] naming what is missing.
    pub fn open_pascal(root: &Path, settings: &DataSettings) -> Result<[Self; 2], TrainError> {
        let fold = settings.fold()?;
        let open = |split: Split, subset| {
            Self::new(pascal::open(root, split)?, fold.clone(), subset, settings.min_pixels)
        };
        Ok([open(settings.train_split, Subset::Base)?, open(settings.val_split, Subset::Novel)?])
    }
}
