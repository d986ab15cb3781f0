//! The state of a run in progress.

use std::path::PathBuf;

use fss_backbone::{ComputePrecision, NamedTensor};

use super::batch::episode_batch;
use super::extra::{Expected, ExtraImages};
use super::run::{TrainingRun, initial_model};
use super::step::training_step_on;
use super::stream::{SnapshotStream, StreamSource};
use super::weights::metadata;
use super::{RecipeModel, files};
use crate::cams::CamReader;
use crate::checkpoint::{Best, Checkpoint, CheckpointFolder, Progress};
use crate::evaluate::evaluate;
use crate::log::{LogEntry, RunLog};
use crate::observer::{TrainObserver, ValidationReport};
use crate::optim::NamedOptimizer;
use crate::precision::Computing;
use crate::{LossScaler, Stop, TrainError};

/// Model, optimiser, episodes and log between two iterations.
pub(super) struct Session<'a, M> {
    run: &'a TrainingRun,
    model: M,
    optimizer: NamedOptimizer,
    scaler: Option<LossScaler>,
    stream: SnapshotStream,
    extra: Option<ExtraImages>,
    cams: Option<CamReader>,
    log: RunLog,
    done: u64,
    validation_due: bool,
    best: Option<(Best, Vec<NamedTensor>)>,
    checkpoints: CheckpointFolder,
}

impl<'a, M: RecipeModel> Session<'a, M> {
    /// From the recipe's weights.
    pub(super) fn fresh(run: &'a TrainingRun, computing: Computing) -> Result<Self, TrainError> {
        let checkpoints = run.checkpoints();
        if let Some(path) = checkpoints.latest()? {
            return Err(TrainError::checkpoint(
                &path,
                "a run has been started in this folder",
                "resume it, or start in another folder",
            ));
        }
        let model = initial_model::<M>(run)?.in_precision(computing.precision);
        let cams = run.cam_reader(model.cam_grid())?;
        let extra = ExtraImages::open(run, model.encoder(), Expected::Origin)?;
        Ok(Self {
            run,
            model,
            optimizer: optimizer::<M>(run),
            scaler: computing.scaler,
            stream: begin_snapshot(run, cams.as_ref(), 0)?,
            extra,
            cams,
            log: RunLog::open(&run.folder.join(files::LOG), 0)?,
            done: 0,
            validation_due: false,
            best: None,
            checkpoints,
        })
    }

    /// From the latest checkpoint.
    pub(super) fn resume(run: &'a TrainingRun, computing: Computing) -> Result<Self, TrainError> {
        let checkpoints = run.checkpoints();
        let folder = run.folder.join(files::CHECKPOINTS);
        let path = checkpoints.latest()?.ok_or_else(|| {
            TrainError::checkpoint(&folder, "there is no checkpoint to resume", "start afresh")
        })?;
        let Checkpoint { progress, model, best_model, optimizer: state } =
            Checkpoint::<Progress>::load(&path)?;
        let differences = progress.recipe.differences(&run.recipe);
        if !differences.is_empty() {
            return Err(TrainError::RecipeChanged { path, differences });
        }
        let device = run.training_device();
        let model = M::build(&run.recipe, &device)?.load_named(model, &path)?;
        let model = model.in_precision(computing.precision);
        let mut optimizer = optimizer::<M>(run);
        let misfit = match optimizer.load_tensors(state, &device) {
            Err(problem) => Some(problem),
            Ok(()) => optimizer
                .misfit(&model)
                .map(|name| format!("the optimiser's state of {name} does not fit the model")),
        };
        if let Some(problem) = misfit {
            return Err(TrainError::checkpoint(&path, problem, "resume from another checkpoint"));
        }
        let Progress { iteration: done, validation_due, sampler, best, log_bytes, .. } = progress;
        let wanted = progress.pseudo_masks.as_deref();
        let extra = ExtraImages::open(run, None, Expected::Fingerprint { wanted, done })?;
        let cams = run.cam_reader(model.cam_grid())?;
        let per_snapshot = run.recipe.episodes.snapshot_iterations();
        let at_boundary =
            done.is_multiple_of(per_snapshot) && done < run.recipe.episodes.iterations();
        let stream = if at_boundary {
            begin_snapshot(run, cams.as_ref(), done)?
        } else {
            SnapshotStream::resume(source(run, cams.as_ref()), sampler, episodes_left(run, done))?
        };
        Ok(Self {
            run,
            model,
            optimizer,
            scaler: LossScaler::resumed(computing.scaler, progress.scaler),
            stream,
            extra,
            cams,
            log: RunLog::open(&run.folder.join(files::LOG), log_bytes)?,
            done,
            validation_due,
            best: best.map(|best| (best, best_model)),
            checkpoints,
        })
    }

    pub(super) fn run(&self) -> &'a TrainingRun {
        self.run
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }

    pub(super) fn iterations(&self) -> u64 {
        self.run.recipe.episodes.iterations()
    }

    pub(super) fn is_done(&self) -> bool {
        self.done >= self.iterations()
    }

    pub(super) fn validation_due(&self) -> bool {
        self.validation_due
    }

    pub(super) fn save_due(&self) -> bool {
        // Around a validation the state is saved anyway.
        !self.validation_due && self.done.is_multiple_of(self.run.recipe.checkpoint.every)
    }

    /// One iteration.
    pub(super) fn iterate(&mut self, observer: &mut dyn TrainObserver) -> Result<(), TrainError> {
        let recipe = &self.run.recipe;
        let per_snapshot = recipe.episodes.snapshot_iterations();
        let rate = recipe.optim.schedule.rate(recipe.optim.lr, self.done, self.iterations());
        let episodes = self.stream.take(recipe.episodes.batch)?;
        let mut batch = episode_batch(&episodes, &self.run.training_device())?;
        if let Some(extra) = &mut self.extra {
            batch.extra = Some(extra.take(&self.run.training_device())?);
        }
        let numbers = [self.done + 1, self.iterations()];
        let devices = self.run.training_devices();
        let (model, optimizer) = (self.model.clone(), &mut self.optimizer);
        let scaler = self.scaler.as_mut();
        let (model, report) =
            training_step_on(model, optimizer, &batch, rate, numbers, scaler, &devices)?;
        self.model = model;
        self.done += 1;
        self.log.add(&LogEntry::iteration(&report))?;
        observer.iteration_finished(&report);
        self.validation_due = self.done.is_multiple_of(per_snapshot) || self.is_done();
        if self.done.is_multiple_of(per_snapshot) && !self.is_done() {
            self.stream = begin_snapshot(self.run, self.cams.as_ref(), self.done)?;
        }
        Ok(())
    }

    /// Measures the model and keeps it if it is the best.
    pub(super) fn validate(
        &mut self,
        observer: &mut dyn TrainObserver,
        stop: &Stop,
    ) -> Result<(), TrainError> {
        let run = self.run;
        observer.validation_started(self.done);
        let plan = run.validation_plan();
        let model = self.model.tested(&run.recipe, &run.train, &run.device)?;
        let model = M::under(model, plan.protocol);
        let evaluation = evaluate(&model, &run.novel, &plan, &run.device, observer, stop)?;
        let miou = evaluation.miou.as_ref().map(|spread| spread.mean);
        let best = self.best.as_ref().and_then(|(best, _)| best.miou);
        let is_best = run.recipe.validation.selection.replaces(miou, best);
        if is_best {
            let best = Best { iteration: self.done, miou };
            let about = metadata(run, &best, None);
            self.model.save_weights(&run.folder.join(files::BEST), &run.recipe, &about)?;
            self.best = Some((best, self.model.named_tensors()?));
        }
        self.log.add(&LogEntry::Validation {
            iteration: self.done,
            protocol: evaluation.protocol,
            miou,
            fb_iou: evaluation.fb_iou.as_ref().map(|spread| spread.mean),
            best: is_best,
        })?;
        self.validation_due = false;
        let report = ValidationReport { iteration: self.done, evaluation, is_best };
        observer.validation_finished(&report);
        Ok(())
    }

    /// Writes a checkpoint.
    pub(super) fn save(&self, observer: &mut dyn TrainObserver) -> Result<PathBuf, TrainError> {
        let checkpoint = Checkpoint {
            progress: Progress {
                iteration: self.done,
                validation_due: self.validation_due,
                sampler: self.stream.state()?,
                best: self.best.as_ref().map(|(best, _)| best.clone()),
                log_bytes: self.log.bytes(),
                recipe: self.run.recipe.clone(),
                scaler: self.scaler.clone(),
                pseudo_masks: self.extra.as_ref().map(|extra| extra.fingerprint().to_owned()),
            },
            model: self.model.named_tensors()?,
            best_model: self.best.as_ref().map(|(_, model)| model.clone()).unwrap_or_default(),
            optimizer: self.optimizer.to_tensors(),
        };
        let path = self.checkpoints.save(&checkpoint)?;
        observer.checkpoint_written(&path);
        Ok(path)
    }

    /// The selected model, in full precision again.
    pub(super) fn into_best(self) -> Result<(M, Best, RunLog), TrainError> {
        let (best, tensors) = self.best.ok_or(TrainError::NoScore)?;
        let path = self.checkpoints.path(self.done);
        let model = self.model.load_named(tensors, &path)?;
        Ok((model.in_precision(ComputePrecision::Full), best, self.log))
    }
}

fn optimizer<M: RecipeModel>(run: &TrainingRun) -> NamedOptimizer {
    let plain = NamedOptimizer::new(run.recipe.optim.rule.clone());
    M::groups(&run.recipe).into_iter().fold(plain, NamedOptimizer::with_group)
}

/// The stream of the snapshot that begins after `done` iterations.
fn begin_snapshot(
    run: &TrainingRun,
    cams: Option<&CamReader>,
    done: u64,
) -> Result<SnapshotStream, TrainError> {
    let snapshot = done / run.recipe.episodes.snapshot_iterations();
    SnapshotStream::begin(source(run, cams), snapshot, episodes_left(run, done))
}

fn source<'a>(run: &'a TrainingRun, cams: Option<&'a CamReader>) -> StreamSource<'a> {
    StreamSource { data: &run.train, recipe: &run.recipe, cams, options: run.loader }
}

/// Episodes from iteration `done` to the end of its snapshot, or of the run.
fn episodes_left(run: &TrainingRun, done: u64) -> usize {
    let settings = &run.recipe.episodes;
    let per_snapshot = settings.snapshot_iterations();
    let in_snapshot = per_snapshot - done % per_snapshot;
    let in_run = settings.iterations().saturating_sub(done);
    in_snapshot.min(in_run) as usize * settings.batch
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
