//! The samples of training, epoch by epoch, with the official draws.
//!
//! What is done to every image of an epoch follows from the seed, the epoch and the images' sizes alone. So
//! an epoch is planned first, without reading a pixel, and can be entered anywhere.

use std::sync::Arc;

use ndarray::{Array2, Array3};
use serde::{Deserialize, Serialize};

use super::{Augmentation, GfssClasses, Shown, TrainAugment};
use crate::rng::{NumpyLegacy, PythonRandom, TorchGenerator};
use crate::{DataError, SegmentationDataset};

/// The order in which PyTorch's shuffling loader takes n items, and what its workers start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOrder {
    /// Worker w's generators start from this plus w.
    pub base_seed: u64,
    /// The items.
    pub items: Vec<usize>,
}

impl LoaderOrder {
    /// After `manual_seed(seed)`: the loader draws its base seed, then the sampler its own.
    pub fn new(seed: u64, n: usize) -> Self {
        let mut torch = TorchGenerator::seed(seed);
        let base_seed = torch.next_int64();
        let items = TorchGenerator::seed(torch.next_int64()).permutation(n);
        Self { base_seed, items }
    }
}

/// Where loader workers take the offsets of crops from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerOffsets {
    /// Each worker from a stream of its own.
    #[default]
    Independent,
    /// All from the same numbers, as in the published environment (PyTorch before 1.9), so that workers
    /// repeat each other's offsets.
    Repeated,
}

/// An image and what is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedSample {
    /// Its position in the data set.
    pub position: usize,
    /// What is done to it.
    pub augmentation: Augmentation,
}

/// A novel and a base image of stage 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedPair {
    /// The novel image.
    pub novel: PlannedSample,
    /// The base image.
    pub base: PlannedSample,
}

/// A training sample.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainSample {
    /// Normalised image `[3, H, W]`.
    pub image: Array3<f32>,
    /// Labels `[H, W]`: indices of classes, 255 ignored.
    pub labels: Array2<u8>,
}

/// How samples of an epoch are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamSettings {
    /// What is done to images.
    pub augment: TrainAugment,
    /// Samples (stage 1) or pairs (stage 2) a batch.
    pub batch: usize,
    /// Logical loader workers; the draws depend on their number. 4 is published. Real threads have no
    /// influence.
    pub workers: usize,
    /// Where workers take the offsets of crops from.
    pub offsets: WorkerOffsets,
}

/// What both stages read from. Copies are cheap.
#[derive(Debug, Clone)]
struct Source {
    dataset: Arc<SegmentationDataset>,
    /// Height and width of every image.
    sizes: Arc<Vec<[usize; 2]>>,
    classes: Arc<GfssClasses>,
    settings: StreamSettings,
}

/// The generators of one loader worker.
struct Worker {
    python: PythonRandom,
    numpy: NumpyLegacy,
}

impl Source {
    fn workers(&self, order: &LoaderOrder, seed: u64) -> Vec<Worker> {
        (0..self.settings.workers.max(1) as u64)
            .map(|w| {
                let own = order.base_seed.wrapping_add(w);
                let offsets = match self.settings.offsets {
                    WorkerOffsets::Independent => own as u32,
                    WorkerOffsets::Repeated => seed as u32,
                };
                Worker { python: PythonRandom::seed(own.into()), numpy: NumpyLegacy::seed(offsets) }
            })
            .collect()
    }

    fn plan(&self, position: usize, worker: &mut Worker) -> PlannedSample {
        let Worker { python, numpy } = worker;
        let augmentation = self.settings.augment.draw(self.sizes[position], python, numpy);
        PlannedSample { position, augmentation }
    }

    fn load(&self, planned: &PlannedSample, shown: Shown) -> Result<TrainSample, DataError> {
        let PlannedSample { position, augmentation } = planned;
        let sample = self.dataset.load(*position)?;
        let what = self.dataset.mask_path(*position).display().to_string();
        let only = self.dataset.only_class(*position);
        let labels = self.classes.labels(&sample.mask, only, shown, &what)?;
        let (image, labels) = self.settings.augment.apply(&sample.image, &labels, augmentation)?;
        Ok(TrainSample { image, labels })
    }
}

/// The samples of stage 1: every image of a list once an epoch, novel pixels as background.
#[derive(Debug, Clone)]
pub struct BaseStream {
    source: Source,
    images: Arc<Vec<usize>>,
}

/// The samples of stage 2: every image of a base list once an epoch, each with a novel image that is
/// drawn uniformly from the few-shot list.
#[derive(Debug, Clone)]
pub struct NovelStream {
    source: Source,
    novel: Arc<Vec<usize>>,
}

/// Refuses what no epoch can be made of.
fn check(
    dataset: &SegmentationDataset,
    sizes: &[[usize; 2]],
    images: &[usize],
    StreamSettings { augment, batch, .. }: &StreamSettings,
) -> Result<(), DataError> {
    let batch = *batch;
    let refuse =
        |what: String, remedy: &str| Err(DataError::Setting { what, remedy: remedy.to_owned() });
    if batch == 0 || images.is_empty() {
        return refuse(
            format!("batches of {batch} from {} images", images.len()),
            "give at least one of both",
        );
    }
    if augment.crop.contains(&0) || !augment.scales.iter().all(|s| *s > 0.0 && s.is_finite()) {
        return refuse(
            format!("crops of {:?} pixels at scales of {:?}", augment.crop, augment.scales),
            "give positive sizes and scales",
        );
    }
    if sizes.len() != dataset.len() || images.iter().any(|image| *image >= dataset.len()) {
        return refuse(
            format!("lists of {} images for a data set of {}", sizes.len(), dataset.len()),
            "make them from this very data set",
        );
    }
    Ok(())
}

impl BaseStream {
    /// A stream of batches over `images` (positions in the data set), whose height and width are in
    /// `sizes` for every image of the data set.
    ///
    /// # Errors
    /// [`DataError::Setting`] for what no epoch can be made of.
    pub fn new(
        dataset: Arc<SegmentationDataset>,
        sizes: Vec<[usize; 2]>,
        classes: GfssClasses,
        images: Vec<usize>,
        settings: StreamSettings,
    ) -> Result<Self, DataError> {
        check(&dataset, &sizes, &images, &settings)?;
        let (sizes, classes) = (Arc::new(sizes), Arc::new(classes));
        let source = Source { dataset, sizes, classes, settings };
        Ok(Self { source, images: Arc::new(images) })
    }

    /// Batches of an epoch: an incomplete last one is dropped.
    pub fn batches(&self) -> usize {
        self.images.len() / self.source.settings.batch
    }

    /// The batches of the epoch whose generators are seeded with `seed` (that of the run plus the number
    /// of the epoch, as published).
    pub fn plan(&self, seed: u64) -> Vec<Vec<PlannedSample>> {
        let order = LoaderOrder::new(seed, self.images.len());
        let mut workers = self.source.workers(&order, seed);
        let count = workers.len();
        let batches = order.items.chunks_exact(self.source.settings.batch).enumerate();
        batches
            .map(|(i, items)| {
                let worker = &mut workers[i % count];
                items.iter().map(|&item| self.source.plan(self.images[item], worker)).collect()
            })
            .collect()
    }

    /// Reads a sample.
    ///
    /// # Errors
    /// [`DataError`] naming the file if image or mask cannot be read or hold labels of no class.
    pub fn load(&self, planned: &PlannedSample) -> Result<TrainSample, DataError> {
        self.source.load(planned, Shown::Base)
    }
}

impl NovelStream {
    /// As [`BaseStream::new`]; `novel` is the few-shot list.
    ///
    /// # Errors
    /// As there.
    pub fn new(
        dataset: Arc<SegmentationDataset>,
        sizes: Vec<[usize; 2]>,
        classes: GfssClasses,
        novel: Vec<usize>,
        settings: StreamSettings,
    ) -> Result<Self, DataError> {
        check(&dataset, &sizes, &novel, &settings)?;
        let (sizes, classes) = (Arc::new(sizes), Arc::new(classes));
        let source = Source { dataset, sizes, classes, settings };
        Ok(Self { source, novel: Arc::new(novel) })
    }

    /// The batches of the epoch whose generators are seeded with `seed`, over a base list. An incomplete
    /// last one is dropped.
    pub fn plan(&self, base: &[usize], seed: u64) -> Vec<Vec<PlannedPair>> {
        let order = LoaderOrder::new(seed, base.len());
        let mut workers = self.source.workers(&order, seed);
        let count = workers.len();
        let batches = order.items.chunks_exact(self.source.settings.batch).enumerate();
        batches
            .map(|(i, items)| {
                let worker = &mut workers[i % count];
                let mut pair = |item: usize| self.pair(base[item], worker);
                items.iter().map(|&item| pair(item)).collect()
            })
            .collect()
    }

    fn pair(&self, base: usize, worker: &mut Worker) -> PlannedPair {
        let novel = self.novel[worker.python.choice_index(self.novel.len())];
        let novel = self.source.plan(novel, worker);
        let base = self.source.plan(base, worker);
        PlannedPair { novel, base }
    }

    /// Reads a pair: the novel image with all of its labels, the base image with novel pixels as
    /// background.
    ///
    /// # Errors
    /// As [`BaseStream::load`].
    pub fn load(&self, planned: &PlannedPair) -> Result<[TrainSample; 2], DataError> {
        let novel = self.source.load(&planned.novel, Shown::All)?;
        let base = self.source.load(&planned.base, Shown::Base)?;
        Ok([novel, base])
    }
}
