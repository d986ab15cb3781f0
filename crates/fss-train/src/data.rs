//! A data set together with the episodes that can be drawn from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use fss_data::benchmark::BenchmarkRoot;
use fss_data::episode::{Episode, EpisodeSource};
use fss_data::folds::{Fold, Subset};
use fss_data::index::IndexOptions;
use fss_data::lists::{HsnetLists, ListOptions, hsnet_listing};
use fss_data::{Benchmark, ClassId, MaskIndex, Masks, SegmentationDataset, Split};

use crate::TrainError;
use crate::evaluate::Protocol;
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
    origin: Option<Arc<Origin>>,
}

/// The benchmark that data are part of, and what its lists are read or built from.
#[derive(Debug)]
struct Origin {
    benchmark: Benchmark,
    split: Split,
    index: MaskIndex,
    options: ListOptions,
    lists: OnceLock<HsnetLists>,
}

/// Which part of a benchmark episodes are drawn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The images.
    pub split: Split,
    /// The fold.
    pub fold: Fold,
    /// Whether its base or novel classes are shown.
    pub subset: Subset,
    /// An image counts for a class from this many pixels of it on; see [`Protocol::min_pixels`].
    pub min_pixels: u64,
    /// The folder of published lists for the HSNet protocol, if they are not to be built.
    pub splits: Option<PathBuf>,
}

impl EpisodeData {
    /// Counts the pixels of every mask (from the cache where it is current) and keeps the images
    /// that show a class of the subset with at least `min_pixels` pixels.
    ///
    /// Data that are opened like this belong to no benchmark; only the official protocol can draw
    /// from them.
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
        let mut labels = fold.labels(subset);
        if let Masks::Binary { classes, .. } = &dataset.masks {
            // Both novel splits of FSS-1000 are novel, but a split has its own categories alone.
            let here: BTreeSet<ClassId> = classes.iter().copied().collect();
            labels.retain(|class| here.contains(class));
        }
        let source = EpisodeSource::new(index.listing(&dataset), &labels, min_pixels)?;
        let (dataset, source) = (Arc::new(dataset), Arc::new(source));
        Ok(Self { dataset, source, fold, subset, origin: None })
    }

    /// A part of a benchmark's tree; `options` may show the progress of counting new masks.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if the benchmark has no such split.
    pub fn open(
        root: &BenchmarkRoot,
        part: Part,
        options: &IndexOptions<'_>,
    ) -> Result<Self, TrainError> {
        let Part { split, fold, subset, min_pixels, splits } = part;
        let dataset = root.dataset(split)?;
        let index = MaskIndex::build_with(&dataset, options)?;
        let data = Self::with_index(dataset, &index, fold, subset, min_pixels)?;
        let options = ListOptions { source: splits, min_pixels };
        let benchmark = root.benchmark();
        let origin = Origin { benchmark, split, index, options, lists: OnceLock::new() };
        Ok(Self { origin: Some(Arc::new(origin)), ..data })
    }

    /// The benchmark that the data are part of.
    pub fn benchmark(&self) -> Option<Benchmark> {
        self.origin.as_ref().map(|origin| origin.benchmark)
    }

    /// What the HSNet protocol draws from: published lists, or those built from the annotations. The
    /// first call reads or builds them.
    ///
    /// # Errors
    /// [`TrainError::Data`] for lists that are broken or name other images; [`TrainError::Setting`]
    /// for data of no benchmark, or classes and images of different sides of the fold.
    pub fn hsnet_lists(&self) -> Result<&HsnetLists, TrainError> {
        let Some(origin) = &self.origin else {
            return Err(TrainError::setting(
                format!(
                    "{} belongs to no benchmark, so the HSNet protocol has no lists of it",
                    self.dataset.name
                ),
                "open it as a benchmark, or use the official protocol",
            ));
        };
        if let Some(lists) = origin.lists.get() {
            return Ok(lists);
        }
        let side = match origin.split {
            Split::Train => Subset::Base,
            Split::Val | Split::Test => Subset::Novel,
        };
        if side != self.subset {
            return Err(TrainError::setting(
                format!(
                    "the HSNet protocol draws {side:?} classes from the {} images, not {:?} ones",
                    origin.split, self.subset
                ),
                "measure novel classes on validation or test images",
            ));
        }
        let lists = hsnet_listing(
            origin.benchmark,
            &self.dataset,
            &origin.index,
            &self.fold,
            origin.split,
            &origin.options,
        )?;
        tracing::info!("episodes of the HSNet protocol from: {}", lists.origin);
        Ok(origin.lists.get_or_init(|| lists))
    }

    /// The classes that a protocol tests: those of the subset, of FSS-1000 those of the split.
    pub fn tested(&self, protocol: Protocol) -> Vec<ClassId> {
        match protocol {
            Protocol::Official => self.source.classes().to_vec(),
            Protocol::Hsnet(_) if self.benchmark() == Some(Benchmark::Fss1000) => {
                self.source.classes().to_vec()
            }
            // Whether a class has objects at all does not matter here.
            Protocol::Hsnet(_) => self.fold.labels(self.subset),
        }
    }
}

/// An episode over a listing with its images by their positions (`positions`) in the data set.
pub(crate) fn placed(positions: &[usize], mut episode: Episode) -> Episode {
    episode.query = positions[episode.query];
    for support in &mut episode.supports {
        *support = positions[*support];
    }
    episode
}

/// The data of a training run.
#[derive(Debug, Clone)]
pub struct RunData {
    /// Base classes to train on.
    pub train: EpisodeData,
    /// Novel classes to select a model on.
    pub validation: EpisodeData,
    /// Novel classes of the final evaluation; often the same.
    pub test: EpisodeData,
}

impl RunData {
    /// The data of a recipe from the tree at `root`.
    ///
    /// # Errors
    /// [`TrainError::Data`] naming what is missing.
    pub fn open(root: &Path, settings: &DataSettings) -> Result<Self, TrainError> {
        Self::open_with(root, settings, |tree, part| {
            EpisodeData::open(tree, part, &IndexOptions::default())
        })
    }

    /// As [`open`](Self::open), with each part opened by `open`, say with a progress display.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of `open`.
    pub fn open_with<E: From<TrainError>>(
        root: &Path,
        settings: &DataSettings,
        mut open: impl FnMut(&BenchmarkRoot, Part) -> Result<EpisodeData, E>,
    ) -> Result<Self, E> {
        let tree = settings.detect(root)?;
        let fold = tree
            .training_fold(settings.fold, settings.folds)
            .map_err(|error| E::from(error.into()))?;
        let mut part = |split, subset| {
            let (fold, splits) = (fold.clone(), settings.splits.clone());
            open(&tree, Part { split, fold, subset, min_pixels: settings.min_pixels, splits })
        };
        let train = part(settings.train_split, Subset::Base)?;
        let validation = part(settings.val_split, Subset::Novel)?;
        let test = match settings.test_split() {
            split if split == settings.val_split => validation.clone(),
            split => part(split, Subset::Novel)?,
        };
        Ok(Self { train, validation, test })
    }
}
