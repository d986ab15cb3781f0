//! The data of tests and runs.

use std::path::Path;
use std::sync::Arc;

use fss_data::Benchmark;
use fss_data::benchmark::{BenchmarkRoot, OpenOptions};
use fss_data::folds::Fold;
use fss_data::index::IndexOptions;
use fss_data::rng::NumpyLegacy;
use fss_data::ways::{EpisodePlan, Purpose, WayEpisode, WayImages, plain_list};

use super::load::Source;
use super::protocol::WaysProtocol;
use super::recipe::{WaysDataSettings, WaysMethod, WaysRecipe};
use crate::TrainError;

/// Images whose novel classes are tested. Clones share everything.
#[derive(Debug, Clone)]
pub struct TestData {
    /// The images, with what their masks show.
    pub images: Arc<WayImages>,
    /// The fold.
    pub fold: Fold,
    /// The benchmark that they are part of, if they are part of one.
    pub benchmark: Option<Benchmark>,
}

impl TestData {
    /// The episodes of a test, as the published code draws them once its lists are made.
    ///
    /// # Errors
    /// [`TrainError::Data`] where no such episodes can be drawn.
    pub fn episodes(
        &self,
        protocol: &WaysProtocol,
        seed: u32,
    ) -> Result<Vec<WayEpisode>, TrainError> {
        self.episodes_by(protocol, seed, &mut NumpyLegacy::seed(seed))
    }

    /// As [`episodes`](Self::episodes), by a generator that may have drawn something else before; the lists
    /// are shuffled by `seed`.
    fn episodes_by(
        &self,
        protocol: &WaysProtocol,
        seed: u32,
        random: &mut NumpyLegacy,
    ) -> Result<Vec<WayEpisode>, TrainError> {
        let test = &protocol.test;
        let (list, whole) = self.images.lists(
            &self.fold,
            Purpose::Test,
            test.ways,
            protocol.share,
            Some(&mut NumpyLegacy::seed(seed)),
        )?;
        let plan = EpisodePlan {
            episodes: test.episodes,
            disjoint: test.disjoint,
            ..EpisodePlan::test(test.ways, test.shot)
        };
        Ok(plan.draw(&list, whole.as_ref(), random)?)
    }

    /// What images of a test look like.
    pub(super) fn source(&self, protocol: &WaysProtocol) -> Source {
        Source {
            images: Arc::clone(&self.images),
            fold: self.fold.clone(),
            purpose: Purpose::Test,
            void: protocol.void(),
            side: protocol.side,
        }
    }
}

/// What a run is trained on, in the order of the list.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TrainingList {
    /// Episodes of base classes.
    Episodes(Vec<WayEpisode>),
    /// Positions of images (AMP).
    Plain(Vec<usize>),
}

impl TrainingList {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Episodes(episodes) => episodes.len(),
            Self::Plain(images) => images.len(),
        }
    }
}

/// The data of a run. Clones share everything.
#[derive(Debug, Clone)]
pub struct WaysData {
    /// The images to train on.
    pub train: Arc<WayImages>,
    /// The images to measure on, and the fold.
    pub test: TestData,
}

impl WaysData {
    /// The data of a recipe from the tree at `root`.
    ///
    /// # Errors
    /// [`TrainError::Data`] naming what is missing.
    pub fn open(root: &Path, settings: &WaysDataSettings) -> Result<Self, TrainError> {
        Self::open_with(root, settings, |tree, purpose| {
            Ok(WayImages::open(tree, purpose, &IndexOptions::default())?)
        })
    }

    /// As [`open`](Self::open), with each part opened by `open`, say with a progress display.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of `open`.
    pub fn open_with<E: From<TrainError>>(
        root: &Path,
        settings: &WaysDataSettings,
        mut open: impl FnMut(&BenchmarkRoot, Purpose) -> Result<WayImages, E>,
    ) -> Result<Self, E> {
        let data = |error: fss_data::DataError| E::from(TrainError::from(error));
        let options = OpenOptions { splits: None, own: settings.own.clone() };
        let tree = settings.dataset.detect(root, &options).map_err(data)?;
        let fold = tree.training_fold(settings.fold, settings.folds).map_err(data)?;
        let train = Arc::new(open(&tree, Purpose::Training)?);
        let images = Arc::new(open(&tree, Purpose::Test)?);
        let benchmark = Some(tree.benchmark());
        Ok(Self { train, test: TestData { images, fold, benchmark } })
    }

    /// Rows of a classifier of all classes: the background's and one for each class.
    pub fn rows(&self) -> usize {
        self.test.fold.classes() + 1
    }

    /// What is trained on, and the episodes of all validations: one generator draws both, one after the
    /// other, as in the published trainers.
    pub(super) fn drawn(
        &self,
        recipe: &WaysRecipe,
    ) -> Result<(TrainingList, Vec<WayEpisode>), TrainError> {
        let settings = &recipe.episodes;
        let protocol = recipe.validation_protocol();
        let (list, _) = self.train.lists(
            &self.test.fold,
            Purpose::Training,
            1,
            recipe.data.share,
            Some(&mut NumpyLegacy::seed(settings.seed)),
        )?;
        let mut random = NumpyLegacy::seed(settings.seed);
        let training = match recipe.model.kind {
            WaysMethod::Amp => TrainingList::Plain(plain_list(&list, settings.list, &mut random)?),
            _ => {
                let plan = EpisodePlan::training(settings.shot, settings.list);
                TrainingList::Episodes(plan.draw(&list, None, &mut random)?)
            }
        };
        if training.len() == 0 {
            return Err(TrainError::setting(
                format!(
                    "no base class of {} has enough images for {} training episodes",
                    self.train.dataset.name, settings.list
                ),
                "lower `episodes.list` or `episodes.shot`: a class needs more images than the shot, and \
                 the square of their number must reach its share of the list",
            ));
        }
        let validation = self.test.episodes_by(&protocol, settings.seed, &mut random)?;
        Ok((training, validation))
    }

    /// What training images look like.
    pub(super) fn source(&self, recipe: &WaysRecipe) -> Source {
        Source {
            images: Arc::clone(&self.train),
            fold: self.test.fold.clone(),
            purpose: Purpose::Training,
            void: recipe.validation_protocol().void(),
            side: recipe.episodes.side,
        }
    }
}
