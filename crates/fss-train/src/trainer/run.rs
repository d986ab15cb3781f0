//! A training run from start to end.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use fss_data::io::write_atomic;
use fss_data::loader::LoaderOptions;
use fss_heads::{Refine, SupportMask};

use super::batch::episode_batch;
use super::session::Session;
use super::stream::{SnapshotStream, StreamSource};
use super::weights::metadata;
use super::{RecipeModel, files};
use crate::cams::{CamReader, Cams};
use crate::checkpoint::{Best, CheckpointFolder};
use crate::evaluate::{
    Evaluation, EvaluationPlan, FeatureReuse, KnownFrom, Protocol, SeenClasses, Supports,
    TrainedFold, evaluate,
};
use crate::log::LogEntry;
use crate::observer::TrainObserver;
use crate::recipe::{Init, ModelSettings, Recipe, Sampling};
use crate::{EpisodeData, Shard, Stop, TrainError};

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the recipe's weights. The folder must hold no checkpoint.
    Fresh,
    /// From the latest checkpoint in the folder.
    Resume,
}

/// All that a run needs.
#[derive(Debug, Clone)]
pub struct TrainingRun {
    /// What it is set to.
    pub recipe: Recipe,
    /// Where training episodes come from: the base classes.
    pub train: EpisodeData,
    /// Where validations draw from: the novel classes.
    pub novel: EpisodeData,
    /// Where the final evaluation draws from; the same as `novel`, unless the data set has a split of
    /// its own for it.
    pub test: EpisodeData,
    /// Where log, checkpoints and results go.
    pub folder: PathBuf,
    /// Where the model runs; autodiff is added as needed.
    pub device: Device,
    /// Further devices that batches are shared out to, in equal parts.
    pub more_devices: Vec<Device>,
    /// Threads that read training images. They have no influence on the result.
    pub loader: LoaderOptions,
    /// How evaluations keep features. It has no influence on the result.
    pub reuse: FeatureReuse,
    /// Where coarse maps come from, for models that read them.
    pub cams: RunCams,
}

/// The coarse maps of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunCams {
    /// Of the base classes in the training images.
    pub train: Option<Cams>,
    /// Of the novel classes in the images of validations and of the final evaluation.
    pub novel: Option<Cams>,
}

/// How a run ended.
#[derive(Debug)]
pub enum TrainOutcome<M> {
    /// It is done.
    Finished {
        /// The selected model.
        model: M,
        /// When it was found.
        best: Best,
        /// Its scores over the recipe's seeds.
        evaluation: Box<Evaluation>,
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

impl TrainingRun {
    /// The training device.
    pub(super) fn training_device(&self) -> Device {
        self.device.clone().autodiff()
    }

    /// All devices that batches are shared out to.
    pub(super) fn training_devices(&self) -> Vec<Device> {
        let more = self.more_devices.iter().map(|device| device.clone().autodiff());
        std::iter::once(self.training_device()).chain(more).collect()
    }

    /// The checkpoints of the run.
    pub fn checkpoints(&self) -> CheckpointFolder {
        CheckpointFolder::new(self.folder.join(files::CHECKPOINTS), self.recipe.checkpoint.keep)
    }

    /// The plan of an evaluation under the recipe's validation settings.
    pub(super) fn validation_plan(&self) -> EvaluationPlan {
        let settings = &self.recipe.validation;
        self.plan(settings.protocol, vec![settings.seed], settings.episodes)
    }

    /// The plan of the final evaluation.
    pub fn evaluation_plan(&self) -> EvaluationPlan {
        let settings = &self.recipe.evaluation;
        self.plan(settings.protocol, settings.seeds.clone(), settings.episodes)
    }

    /// The fold that the model is trained by.
    pub(super) fn trained(&self) -> TrainedFold {
        TrainedFold {
            benchmark: self.train.benchmark(),
            fold: self.train.fold.clone(),
            known: KnownFrom::Weights,
        }
    }

    /// What reads the training images' coarse maps for a model whose `cam_grid` is `grid`, once the
    /// maps of the whole run, validations included, are known to be there; `None` if it reads none.
    pub(super) fn cam_reader(&self, grid: Option<usize>) -> Result<Option<CamReader>, TrainError> {
        let Some(reader) = CamReader::new(grid, self.cams.train.as_ref(), "training")? else {
            return Ok(None);
        };
        if self.recipe.episodes.sampling != Sampling::Hsnet {
            return Err(TrainError::setting(
                "the model reads coarse maps of whole images, but `episodes.sampling` cuts them",
                "set `episodes.sampling.kind` to hsnet",
            ));
        }
        let lists = self.train.hsnet_lists()?;
        let placed = lists.listing.pairs().map(|(image, class)| (lists.positions[image], class));
        reader.check(&self.train.dataset, placed.collect())?;
        self.validation_plan().check_cams(grid, &self.novel)?;
        self.evaluation_plan().check_cams(grid, &self.test)?;
        Ok(Some(reader))
    }

    /// What is measured under a protocol, for reports.
    fn model(&self, protocol: Protocol) -> String {
        let Recipe { model, backbone, .. } = &self.recipe;
        let variant = match model {
            ModelSettings::Ssp(ssp) if protocol.refine(ssp.refine) == Refine::On => {
                ", refined".to_owned()
            }
            ModelSettings::Hsnet(hsnet) if hsnet.support_mask == SupportMask::Unmasked => {
                ", supports unmasked".to_owned()
            }
            ModelSettings::Imr(imr) => format!(", {} stages", imr.stages),
            _ => String::new(),
        };
        format!("{} with {}{variant}", model.kind(), backbone.name())
    }

    /// The plan of an evaluation under any protocol: with the recipe's shot, and with what the model
    /// was trained on.
    pub fn plan(&self, protocol: Protocol, seeds: Vec<u64>, episodes: usize) -> EvaluationPlan {
        EvaluationPlan {
            protocol,
            shot: self.recipe.episodes.shot,
            seeds,
            episodes,
            supports: Supports::Drawn,
            shot_rule: None,
            model: Some(self.model(protocol)),
            trained: Some(self.trained()),
            seen: SeenClasses::Refuse,
            reuse: self.reuse.clone(),
            loader: LoaderOptions { threads: 1, prefetch: self.loader.prefetch },
            cams: self.cams.novel.clone(),
            shard: Shard::WHOLE,
        }
    }
}

/// The model that a fresh run starts from.
///
/// # Errors
/// If weights cannot be read or do not fit, or calibration images cannot be read.
pub fn initial_model<M: RecipeModel>(run: &TrainingRun) -> Result<M, TrainError> {
    initial_model_for(&run.recipe, &run.train, run.loader, &run.training_device())
}

/// [`initial_model`] for a recipe and its training data, on any device.
///
/// # Errors
/// As [`initial_model`].
pub fn initial_model_for<M: RecipeModel>(
    recipe: &Recipe,
    train: &EpisodeData,
    loader: LoaderOptions,
    device: &Device,
) -> Result<M, TrainError> {
    let calibration = match recipe.init {
        Init::Scratch { calibration_episodes: episodes @ 1.., .. } => {
            // The first episodes that the run will train on.
            let source = StreamSource { data: train, recipe, cams: None, options: loader };
            let mut stream = SnapshotStream::begin(source, 0, episodes)?;
            Some(episode_batch(&stream.take(episodes)?, device)?.query)
        }
        _ => None,
    };
    M::build(recipe, device)?.initialise(&recipe.init, calibration)
}

/// Trains a model.
///
/// Every `checkpoint.every` iterations and around every validation the whole state is saved. When
/// `stop` is requested the iteration under way is finished, the state saved, and the run ends as
/// [`TrainOutcome::Interrupted`]. A resumed run gives the same model to the last bit (on a CPU, with
/// the same number of threads) as one that was never stopped, however it was stopped.
///
/// # Errors
/// [`TrainError`] for anything that cannot be read, written or continued, and for a loss that is not
/// finite; the last checkpoint then stays as it was.
pub fn train<M: RecipeModel>(
    run: &TrainingRun,
    start: Start,
    observer: &mut dyn TrainObserver,
    stop: &Stop,
) -> Result<TrainOutcome<M>, TrainError> {
    run.recipe.check()?;
    std::fs::create_dir_all(&run.folder)
        .map_err(|e| TrainError::io("create folder", &run.folder, e))?;
    let computing = run.recipe.train.precision.on(&run.device);
    let mut session = match start {
        Start::Fresh => Session::<M>::fresh(run, computing)?,
        Start::Resume => Session::<M>::resume(run, computing)?,
    };
    write_atomic(&run.folder.join(files::RECIPE), run.recipe.to_toml().as_bytes())?;
    observer.training_started(session.done(), session.iterations());
    loop {
        if session.validation_due() {
            // Saved first, because a validation takes long and may be interrupted.
            let checkpoint = session.save(observer)?;
            match session.validate(observer, stop) {
                Ok(()) => session.save(observer)?,
                Err(TrainError::Interrupted { .. }) => {
                    return Ok(TrainOutcome::Interrupted { iteration: session.done(), checkpoint });
                }
                Err(error) => return Err(error),
            };
        }
        if session.is_done() {
            break;
        }
        if stop.is_requested() {
            let checkpoint = session.save(observer)?;
            return Ok(TrainOutcome::Interrupted { iteration: session.done(), checkpoint });
        }
        session.iterate(observer)?;
        if session.save_due() {
            session.save(observer)?;
        }
    }
    finish(session, observer, stop)
}

/// Evaluates the selected model and writes what the run leaves behind.
fn finish<M: RecipeModel>(
    session: Session<'_, M>,
    observer: &mut dyn TrainObserver,
    stop: &Stop,
) -> Result<TrainOutcome<M>, TrainError> {
    let run = session.run();
    let checkpoint = run.checkpoints().path(session.done());
    let iteration = session.done();
    let (model, best, mut log) = session.into_best()?;
    observer.evaluation_started();
    let plan = run.evaluation_plan();
    let tested = M::under(model.tested(&run.recipe, &run.train, &run.device)?, plan.protocol);
    let result = evaluate(&tested, &run.test, &plan, &run.device, observer, stop);
    let evaluation = match result {
        Ok(evaluation) => evaluation,
        Err(TrainError::Interrupted { .. }) => {
            return Ok(TrainOutcome::Interrupted { iteration, checkpoint });
        }
        Err(error) => return Err(error),
    };
    log.add(&LogEntry::Evaluation {
        iteration: best.iteration,
        protocol: evaluation.protocol,
        miou: evaluation.miou.as_ref().map(|m| m.mean),
        deviation: evaluation.miou.as_ref().map(|m| m.deviation),
    })?;
    let weights = run.folder.join(files::BEST);
    let about = metadata(run, &best, Some(&evaluation));
    model.save_weights(&weights, &run.recipe, &about)?;
    write_json(&run.folder.join(files::EVALUATION), &evaluation)?;
    Ok(TrainOutcome::Finished { model, best, evaluation: Box::new(evaluation), weights })
}

fn write_json(path: &Path, evaluation: &Evaluation) -> Result<(), TrainError> {
    let text = crate::report::to_json(evaluation);
    Ok(write_atomic(path, text.as_bytes())?)
}
