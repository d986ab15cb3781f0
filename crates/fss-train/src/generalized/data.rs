//! The data of a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fss_data::benchmark::{BenchmarkRoot, OpenOptions};
use fss_data::episode::ImageLabels;
use fss_data::folds::Fold;
use fss_data::gfss::{
    BaseStream, GfssClasses, GfssLists, ListOptions, NovelStream, StreamSettings, TrainAugment,
    base_list_of_epoch, few_shot_file, few_shot_list, read_list,
};
use fss_data::index::IndexOptions;
use fss_data::{Benchmark, MaskIndex, SegmentationDataset, Split};
use fss_heads::ClassCount;

use super::recipe::{GfssDataSettings, GfssRecipe};
use crate::TrainError;

/// Images of a split, and what their masks show.
#[derive(Debug, Clone)]
pub struct GfssPart {
    /// The images.
    pub dataset: Arc<SegmentationDataset>,
    /// Their sizes and classes.
    pub listing: Arc<Vec<ImageLabels>>,
}

impl GfssPart {
    /// Counts the pixels of every mask, from the cache where it is current.
    ///
    /// # Errors
    /// [`TrainError::Data`] for a missing or unreadable mask, or without any image.
    pub fn new(
        dataset: SegmentationDataset,
        options: &IndexOptions<'_>,
    ) -> Result<Self, TrainError> {
        if dataset.is_empty() {
            return Err(TrainError::setting(
                format!("{} has no images", dataset.name),
                "check the data set with `fss data check`",
            ));
        }
        let listing = MaskIndex::build_with(&dataset, options)?.listing(&dataset);
        Ok(Self { dataset: Arc::new(dataset), listing: Arc::new(listing) })
    }

    fn sizes(&self) -> Vec<[usize; 2]> {
        self.listing.iter().map(|image| [image.height as usize, image.width as usize]).collect()
    }
}

/// The data of a run of either stage. Clones share everything.
#[derive(Debug, Clone)]
pub struct GfssData {
    /// Which class has which index.
    pub classes: GfssClasses,
    /// The fold.
    pub fold: Fold,
    /// What data set it is.
    pub benchmark: Benchmark,
    /// The images to train on.
    pub train: GfssPart,
    /// The images to measure on.
    pub val: GfssPart,
}

impl GfssData {
    /// The data of a recipe from the tree at `root`.
    ///
    /// # Errors
    /// [`TrainError::Data`] naming what is missing.
    pub fn open(root: &Path, settings: &GfssDataSettings) -> Result<Self, TrainError> {
        Self::open_with(root, settings, |dataset| GfssPart::new(dataset, &IndexOptions::default()))
    }

    /// As [`open`](Self::open), with each part indexed by `index`, say with a progress display.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of `index`.
    pub fn open_with<E: From<TrainError>>(
        root: &Path,
        settings: &GfssDataSettings,
        mut index: impl FnMut(SegmentationDataset) -> Result<GfssPart, E>,
    ) -> Result<Self, E> {
        let tree = detect(root, settings)?;
        let fold = tree
            .training_fold(settings.fold, settings.folds)
            .map_err(|error| E::from(error.into()))?;
        let classes = GfssClasses::of_fold(&fold, settings.novel_order)
            .map_err(|error| E::from(error.into()))?;
        let mut part = |split: Split| -> Result<GfssPart, E> {
            index(tree.dataset(split).map_err(|error| E::from(error.into()))?)
        };
        let train = part(settings.train_split)?;
        let val = match settings.val_split {
            split if split == settings.train_split => train.clone(),
            split => part(split)?,
        };
        Ok(Self { classes, fold, benchmark: settings.dataset, train, val })
    }

    /// How many classes a model of stage 2 has.
    pub fn count(&self) -> ClassCount {
        ClassCount { base: self.classes.base().len(), novel: self.classes.novel().len() }
    }

    /// Names of the classes in the order of their indices; `novel` is how many novel ones.
    pub fn names(&self, novel: usize) -> Vec<String> {
        let classes = self.classes.base().iter().chain(&self.classes.novel()[..novel]);
        classes.map(|class| self.train.dataset.class_name(*class).to_owned()).collect()
    }

    fn lists(&self, settings: &GfssDataSettings) -> GfssLists {
        let options =
            ListOptions { min_pixels: settings.min_pixels, filter_novel: settings.filter_novel };
        GfssLists::build(&self.train.listing, &self.classes, options)
    }

    /// The samples of stage 1.
    ///
    /// # Errors
    /// [`TrainError::Data`] if no image shows a base class.
    pub fn base_stream(&self, recipe: &GfssRecipe) -> Result<BaseStream, TrainError> {
        let images = self.lists(&recipe.data).train;
        if images.is_empty() {
            return Err(TrainError::setting(
                format!("no image of {} shows a base class", self.train.dataset.name),
                "check the fold, or the data set with `fss data check`",
            ));
        }
        let (dataset, sizes) = (Arc::clone(&self.train.dataset), self.train.sizes());
        let classes = self.classes.clone();
        Ok(BaseStream::new(dataset, sizes, classes, images, stream_settings(recipe))?)
    }

    /// The few-shot list of a seed: read from the recipe's folder of lists, else drawn.
    ///
    /// # Errors
    /// [`TrainError::Data`] for a list that is broken or names other images, or for classes without enough
    /// images.
    pub fn few_shot(
        &self,
        settings: &GfssDataSettings,
        seed: u64,
    ) -> Result<Vec<usize>, TrainError> {
        let shot = settings.shot;
        let Some(folder) = &settings.lists else {
            return Ok(few_shot_list(&self.lists(settings), &self.classes, shot, seed)?);
        };
        let path: PathBuf = folder.join(few_shot_file(settings.fold, shot, seed));
        let images = read_list(&path, &self.train.dataset)?;
        let wanted = shot * self.classes.novel().len();
        if images.len() != wanted {
            return Err(TrainError::setting(
                format!(
                    "{}: {} images for {} novel classes and {shot} shots",
                    path.display(),
                    images.len(),
                    self.classes.novel().len()
                ),
                format!("the list of this fold and shot has {wanted} lines"),
            ));
        }
        for &image in &images {
            let shown = &self.train.listing[image];
            if !self.classes.novel().iter().any(|class| shown.pixels.contains_key(class)) {
                return Err(TrainError::setting(
                    format!("{}: {} shows no novel class", path.display(), shown.id),
                    "the list belongs to another fold; make it again with `fss data lists`",
                ));
            }
        }
        Ok(images)
    }

    /// The base list in force in an epoch of a seed's run.
    ///
    /// # Errors
    /// [`TrainError::Data`] for classes without enough images.
    pub fn base_list(
        &self,
        recipe: &GfssRecipe,
        few_shot: &[usize],
        [seed, epoch]: [u64; 2],
    ) -> Result<Vec<usize>, TrainError> {
        let settings = &recipe.data;
        let rhythm = [settings.shot, recipe.train.update_base];
        let lists = self.lists(settings);
        let draw = settings.base_draw;
        Ok(base_list_of_epoch(&lists, &self.classes, few_shot, rhythm, draw, [seed, epoch])?)
    }

    /// The samples of stage 2 for a few-shot list.
    ///
    /// # Errors
    /// [`TrainError::Data`] for an empty list.
    pub fn novel_stream(
        &self,
        recipe: &GfssRecipe,
        few_shot: Vec<usize>,
    ) -> Result<NovelStream, TrainError> {
        let (dataset, sizes) = (Arc::clone(&self.train.dataset), self.train.sizes());
        let classes = self.classes.clone();
        Ok(NovelStream::new(dataset, sizes, classes, few_shot, stream_settings(recipe))?)
    }
}

fn detect(root: &Path, settings: &GfssDataSettings) -> Result<BenchmarkRoot, TrainError> {
    let options = OpenOptions { splits: None, own: settings.own.clone() };
    Ok(settings.dataset.detect(root, &options)?)
}

fn stream_settings(recipe: &GfssRecipe) -> StreamSettings {
    let samples = &recipe.samples;
    StreamSettings {
        augment: TrainAugment { crop: [samples.crop; 2], scales: samples.scales },
        batch: samples.batch,
        workers: samples.workers,
        offsets: samples.offsets,
    }
}
