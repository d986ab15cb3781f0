//! Runs from start to end.

use std::path::PathBuf;

use burn::tensor::Device;
use fss_data::io::write_atomic;
use fss_data::loader::LoaderOptions;
use fss_data::transform::normalise;

use super::data::{TrainingList, WaysData};
use super::evaluate::evaluate_ways;
use super::load::Place;
use super::model::WaysModel;
use super::observer::WaysObserver;
use super::protocol::{WaysPlan, WaysProtocol};
use super::recipe::{WaysInit, WaysRecipe};
use super::report::ways_json;
use super::result::WaysEvaluation;
use super::session::Session;
use crate::checkpoint::{Best, CheckpointFolder};
use crate::evaluate::{FeatureReuse, KnownFrom, TrainedFold};
use crate::log::LogEntry;
use crate::tensor::image_batch;
use crate::trainer::{Start, files};
use crate::{Stop, TrainError};

/// All that a run needs.
#[derive(Debug, Clone)]
pub struct WaysRun {
    /// What it is set to.
    pub recipe: WaysRecipe,
    /// Images and fold.
    pub data: WaysData,
    /// Where log, checkpoints and results go.
    pub folder: PathBuf,
    /// Where the model runs; autodiff is added as needed.
    pub device: Device,
    /// Threads that read images. They have no influence on the result.
    pub loader: LoaderOptions,
    /// How tests keep features. It has no influence on the result.
    pub reuse: FeatureReuse,
}

/// How a run ended.
#[derive(Debug)]
pub enum WaysOutcome<M> {
    /// It is done.
    Finished {
        /// The selected model.
        model: M,
        /// When it was found.
        best: Best,
        /// Its scores.
        evaluation: Box<WaysEvaluation>,
        /// Its weights.
        weights: PathBuf,
    },
    /// It was stopped on request and can be resumed.
    Interrupted {
        /// Finished iterations.
        iteration: u64,
        /// Where it will continue from.
        checkpoint: PathBuf,
    },
}

impl WaysRun {
    /// The checkpoints of the run.
    pub fn checkpoints(&self) -> CheckpointFolder {
        CheckpointFolder::new(self.folder.join(files::CHECKPOINTS), self.recipe.checkpoint.keep)
    }

    /// The fold that the model is trained by.
    pub(super) fn trained(&self) -> TrainedFold {
        TrainedFold {
            benchmark: self.data.test.benchmark,
            fold: self.data.test.fold.clone(),
            known: KnownFrom::Weights,
        }
    }

    /// A test of the run's model.
    pub(super) fn plan(&self, protocol: WaysProtocol, seeds: Vec<u32>) -> WaysPlan {
        let recipe = &self.recipe;
        WaysPlan {
            seeds,
            model: Some(format!("{} with {}", recipe.model.kind.name(), recipe.backbone)),
            trained: Some(self.trained()),
            reuse: self.reuse.clone(),
            loader: LoaderOptions { threads: 1, prefetch: self.loader.prefetch },
            ..WaysPlan::new(protocol)
        }
    }
}

/// The model that a fresh run starts from, with gradients.
///
/// # Errors
/// If weights cannot be read or do not fit, or images cannot be read.
pub fn initial_ways_model<M: WaysModel>(run: &WaysRun) -> Result<M, TrainError> {
    let (list, _) = run.data.drawn(&run.recipe)?;
    initial(run, &list)
}

pub(super) fn initial<M: WaysModel>(run: &WaysRun, list: &TrainingList) -> Result<M, TrainError> {
    let device = run.device.clone().autodiff();
    let model = M::build(&run.recipe, run.data.rows(), &device)?;
    match &run.recipe.init {
        WaysInit::Weights { path } => model.started(path),
        WaysInit::Scratch { calibration_images: 0, .. } => Ok(model),
        WaysInit::Scratch { calibration_images, .. } => {
            let source = run.data.source(&run.recipe);
            let positions: Vec<usize> = match list {
                TrainingList::Episodes(list) => list.iter().map(|one| one.query).collect(),
                TrainingList::Plain(list) => list.clone(),
            };
            let images = positions.into_iter().take(*calibration_images).map(|position| {
                Ok(normalise(&source.load(Place { position, mirrored: false })?.image))
            });
            let images = images.collect::<Result<Vec<_>, TrainError>>()?;
            Ok(model.calibrated(image_batch(&images, &device)?))
        }
    }
}

/// Trains and tests.
///
/// Every `checkpoint.every` iterations and around every validation the whole state is saved. When `stop` is
/// requested the iteration under way is finished, the state saved, and the run ends as
/// [`WaysOutcome::Interrupted`]. A resumed run gives the same model to the last bit (on a CPU, with the same
/// number of threads) as one that was never stopped.
///
/// # Errors
/// [`TrainError`] for anything that cannot be read, written or continued, and for a loss that is not finite.
pub fn train_ways<M: WaysModel>(
    run: &WaysRun,
    start: Start,
    observer: &mut dyn WaysObserver,
    stop: &Stop,
) -> Result<WaysOutcome<M>, TrainError> {
    run.recipe.check()?;
    std::fs::create_dir_all(&run.folder)
        .map_err(|e| TrainError::io("create folder", &run.folder, e))?;
    let computing = run.recipe.train.precision.on(&run.device);
    let mut session = Session::<M>::open(run, start, computing)?;
    write_atomic(&run.folder.join(files::RECIPE), run.recipe.to_toml().as_bytes())?;
    observer.training_started(session.done(), run.recipe.episodes.steps);
    loop {
        if session.validation_due() {
            // Saved first, because a validation takes long and may be interrupted.
            let checkpoint = session.save(observer)?;
            match session.validate(observer, stop) {
                Ok(()) => session.save(observer)?,
                Err(TrainError::Interrupted { .. }) => {
                    return Ok(WaysOutcome::Interrupted { iteration: session.done(), checkpoint });
                }
                Err(error) => return Err(error),
            };
        }
        if session.done() >= run.recipe.episodes.steps {
            break;
        }
        if stop.is_requested() {
            let checkpoint = session.save(observer)?;
            return Ok(WaysOutcome::Interrupted { iteration: session.done(), checkpoint });
        }
        session.iterate(observer)?;
        if session.save_due() {
            session.save(observer)?;
        }
    }
    let iteration = session.done();
    let checkpoint = run.checkpoints().path(iteration);
    let (model, best, mut log) = session.into_best()?;
    let plan = run.plan(run.recipe.evaluation_protocol(), run.recipe.evaluation.seeds.clone());
    let tested = model.tested();
    let evaluation =
        match evaluate_ways(&tested, &run.data.test, &plan, &run.device, observer, stop) {
            Ok(evaluation) => evaluation,
            Err(TrainError::Interrupted { .. }) => {
                return Ok(WaysOutcome::Interrupted { iteration, checkpoint });
            }
            Err(error) => return Err(error),
        };
    let f_iou = evaluation.f_iou.as_ref().map(|spread| spread.mean);
    let b_iou = evaluation.b_iou.as_ref().map(|spread| spread.mean);
    log.add(&LogEntry::WaysEvaluation { iteration: best.iteration, b_iou, f_iou })?;
    let weights = run.folder.join(files::BEST);
    model.save_weights(&weights, &super::session::metadata(run, &best, Some(&evaluation)))?;
    write_atomic(&run.folder.join(files::EVALUATION), ways_json(&evaluation).as_bytes())?;
    Ok(WaysOutcome::Finished { model, best, evaluation: Box::new(evaluation), weights })
}
