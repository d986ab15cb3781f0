//! One seed's run in progress.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use fss_backbone::NamedTensor;
use fss_data::gfss::{BaseStream, NovelStream, PlannedPair, PlannedSample, TrainSample};
use fss_data::loader::OrderedLoader;
use fss_heads::{ClassCount, LabelledBatch};
use serde::{Deserialize, Serialize};

use super::model::StagedModel;
use super::observer::{GfssObserver, GfssValidation};
use super::recipe::{GfssRecipe, Stage};
use super::run::GfssRun;
use super::select::{Selected, Selection};
use super::step::{StageBatch, generalized_groups, generalized_step_on};
use super::{Measure, evaluate_at_network_size};
use crate::checkpoint::{Checkpoint, CheckpointFolder, Position};
use crate::log::{LogEntry, RunLog};
use crate::optim::{NamedOptimizer, Rule};
use crate::precision::Computing;
use crate::tensor::{image_batch, mask_batch};
use crate::trainer::files;
use crate::{LossScaler, Stop, TrainError};

/// Where a seed's run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct GfssProgress {
    iteration: u64,
    seed: u64,
    /// The model must still be validated after the epoch that has ended.
    validation_due: bool,
    /// The run ended early.
    ended: bool,
    kept: Option<Selected>,
    scaler: Option<LossScaler>,
    log_bytes: u64,
    /// As TOML, which keeps every digit.
    recipe: String,
}

impl Position for GfssProgress {
    const FORMAT: &'static str = "fss-gfss-checkpoint";

    fn iteration(&self) -> u64 {
        self.iteration
    }

    fn fingerprint(&self) -> String {
        GfssRecipe::from_toml(&self.recipe, "of the checkpoint")
            .map_or_else(|_| String::new(), |recipe| recipe.fingerprint())
    }
}

/// The samples of a run.
enum Stream {
    Base(BaseStream),
    Novel { stream: NovelStream, few_shot: Vec<usize> },
}

/// The rest of an epoch, read ahead by threads.
enum Epoch {
    Base(OrderedLoader<Vec<PlannedSample>, Vec<TrainSample>>),
    Novel(OrderedLoader<Vec<PlannedPair>, Vec<[TrainSample; 2]>>),
}

/// Model, optimiser, samples and log between two iterations.
pub(super) struct Session<'a, M> {
    run: &'a GfssRun,
    seed: u64,
    model: M,
    optimizer: NamedOptimizer,
    scaler: Option<LossScaler>,
    stream: Stream,
    per_epoch: u64,
    epoch: Option<Epoch>,
    log: RunLog,
    done: u64,
    validation_due: bool,
    ended: bool,
    kept: Option<(Selected, Vec<NamedTensor>)>,
    checkpoints: CheckpointFolder,
}

impl<'a, M: StagedModel> Session<'a, M> {
    /// The run of a seed, from its latest checkpoint if there is one.
    pub(super) fn open(run: &'a GfssRun, seed: u64) -> Result<Self, TrainError> {
        let recipe = &run.recipe;
        let folder = run.seed_folder(seed);
        std::fs::create_dir_all(&folder)
            .map_err(|e| TrainError::io("create folder", &folder, e))?;
        let checkpoints =
            CheckpointFolder::new(folder.join(files::CHECKPOINTS), recipe.checkpoint.keep);
        let known = run.data.count();
        let classes = match recipe.stage {
            Stage::Base => ClassCount { base: known.base, novel: 0 },
            Stage::Novel => known,
        };
        let device = run.device.clone().autodiff();
        let model = M::start(recipe, classes, seed, &device)?;
        let Computing { precision, scaler } = recipe.train.precision.on(&run.device);
        let model = model.in_precision(precision);
        let rule = Rule::sgd(recipe.optim.momentum, recipe.optim.weight_decay);
        let optimizer = generalized_groups(&recipe.optim)
            .into_iter()
            .fold(NamedOptimizer::new(rule), NamedOptimizer::with_group);
        let (stream, per_epoch) = match recipe.stage {
            Stage::Base => {
                let stream = run.data.base_stream(recipe)?;
                let batches = stream.batches();
                (Stream::Base(stream), batches)
            }
            Stage::Novel => {
                let few_shot = run.data.few_shot(&recipe.data, seed)?;
                let base = run.data.base_list(recipe, &few_shot, [seed, 0])?;
                let stream = run.data.novel_stream(recipe, few_shot.clone())?;
                (Stream::Novel { stream, few_shot }, base.len() / recipe.samples.batch)
            }
        };
        if per_epoch == 0 {
            return Err(TrainError::setting(
                format!("an epoch has less than one batch of {}", recipe.samples.batch),
                "lower `samples.batch`, or add images",
            ));
        }
        let latest = checkpoints.latest()?;
        // A log that will be continued must keep its lines until the checkpoint says how many.
        let bytes = if latest.is_some() { u64::MAX } else { 0 };
        let log = RunLog::open(&folder.join(files::LOG), bytes)?;
        let mut session = Self {
            run,
            seed,
            model,
            optimizer,
            scaler,
            stream,
            per_epoch: per_epoch as u64,
            epoch: None,
            log,
            done: 0,
            validation_due: false,
            ended: false,
            kept: None,
            checkpoints,
        };
        if let Some(path) = latest {
            session.restore(&path)?;
        }
        Ok(session)
    }

    fn restore(&mut self, path: &Path) -> Result<(), TrainError> {
        let Checkpoint { progress, model, best_model, optimizer } =
            Checkpoint::<GfssProgress>::load(path)?;
        let recipe = GfssRecipe::from_toml(&progress.recipe, "of the checkpoint")?;
        let differences = recipe.differences(&self.run.recipe);
        if !differences.is_empty() {
            return Err(TrainError::RecipeChanged { path: path.to_path_buf(), differences });
        }
        self.model = self.model.clone().with_learnt(model, path)?;
        let device = self.run.device.clone().autodiff();
        let misfit = match self.optimizer.load_tensors(optimizer, &device) {
            Err(problem) => Some(problem),
            Ok(()) => self
                .optimizer
                .misfit(&self.model)
                .map(|name| format!("the optimiser's state of {name} does not fit the model")),
        };
        if let Some(problem) = misfit {
            return Err(TrainError::checkpoint(path, problem, "resume from another checkpoint"));
        }
        let log = self.run.seed_folder(self.seed).join(files::LOG);
        self.log = RunLog::open(&log, progress.log_bytes)?;
        self.done = progress.iteration;
        self.validation_due = progress.validation_due;
        self.ended = progress.ended;
        self.scaler = LossScaler::resumed(self.scaler.take(), progress.scaler);
        self.kept = progress.kept.map(|kept| (kept, best_model));
        Ok(())
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }

    pub(super) fn iterations(&self) -> u64 {
        self.per_epoch * self.run.recipe.samples.epochs
    }

    pub(super) fn is_done(&self) -> bool {
        self.ended || self.done >= self.iterations()
    }

    pub(super) fn validation_due(&self) -> bool {
        self.validation_due
    }

    pub(super) fn save_due(&self) -> bool {
        !self.validation_due && self.done.is_multiple_of(self.run.recipe.checkpoint.every)
    }

    fn selection(&self) -> Selection {
        let recipe = &self.run.recipe;
        Selection {
            stage: recipe.stage,
            epochs: recipe.samples.epochs,
            update_base: recipe.train.update_base,
            keep: recipe.train.keep,
        }
    }

    /// One iteration.
    pub(super) fn iterate(&mut self, observer: &mut dyn GfssObserver) -> Result<(), TrainError> {
        let recipe = &self.run.recipe;
        let batch = self.batch()?;
        let optim = &recipe.optim;
        let rate = optim.schedule.rate(optim.lr, self.done, self.iterations());
        let numbers = [self.done + 1, self.iterations()];
        let devices: Vec<Device> = std::iter::once(&self.run.device)
            .chain(&self.run.more_devices)
            .map(|device| device.clone().autodiff())
            .collect();
        let (model, report, norm) = generalized_step_on(
            self.model.clone(),
            &mut self.optimizer,
            &batch,
            [rate, optim.clip],
            numbers,
            self.scaler.as_mut(),
            &devices,
        )?;
        self.model = model;
        self.done += 1;
        let mut terms: serde_json::Map<String, serde_json::Value> =
            report.terms.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
        terms.insert("gradient_norm".into(), norm.into());
        terms.insert("head_rate".into(), (rate * optim.head_factor).into());
        let (iteration, loss) = (report.iteration, report.loss);
        self.log.add(&LogEntry::Iteration { iteration, rate, loss, terms })?;
        observer.iteration_finished(&report);
        if self.done.is_multiple_of(self.per_epoch) {
            self.epoch = None;
            let epoch = self.done / self.per_epoch - 1;
            self.validation_due = self.selection().validates(epoch);
        }
        Ok(())
    }

    /// The next batch of the epoch under way, which is entered where the run is.
    fn batch(&mut self) -> Result<StageBatch, TrainError> {
        let epoch = match self.epoch.take() {
            Some(epoch) => epoch,
            None => self.enter()?,
        };
        let device = self.run.device.clone().autodiff();
        let labelled = |samples: &[&TrainSample]| -> Result<LabelledBatch, TrainError> {
            Ok(LabelledBatch {
                images: image_batch(samples.iter().map(|sample| &sample.image), &device)?,
                labels: mask_batch(samples.iter().map(|sample| &sample.labels), &device)?,
            })
        };
        let ended = || {
            TrainError::setting("the samples of an epoch ended early", "resume from the checkpoint")
        };
        let (epoch, batch) = match epoch {
            Epoch::Base(mut loader) => {
                let samples = loader.next().ok_or_else(ended)??;
                let batch = StageBatch::Base(labelled(&samples.iter().collect::<Vec<_>>())?);
                (Epoch::Base(loader), batch)
            }
            Epoch::Novel(mut loader) => {
                let pairs = loader.next().ok_or_else(ended)??;
                let part = |i: usize| pairs.iter().map(|pair| &pair[i]).collect::<Vec<_>>();
                let (novel, base) = (labelled(&part(0))?, labelled(&part(1))?);
                (Epoch::Novel(loader), StageBatch::Novel { novel, base })
            }
        };
        self.epoch = Some(epoch);
        Ok(batch)
    }

    fn enter(&self) -> Result<Epoch, TrainError> {
        let (epoch, begun) = (self.done / self.per_epoch, self.done % self.per_epoch);
        let seed = self.seed.wrapping_add(epoch);
        let options = self.run.loader;
        Ok(match &self.stream {
            Stream::Base(stream) => {
                let plan: Vec<_> = stream.plan(seed).split_off(begun as usize);
                let stream = stream.clone();
                let load = move |batch: Vec<PlannedSample>| {
                    batch.iter().map(|planned| stream.load(planned)).collect()
                };
                Epoch::Base(OrderedLoader::new(plan.into_iter().map(Ok), options, load)?)
            }
            Stream::Novel { stream, few_shot } => {
                let base =
                    self.run.data.base_list(&self.run.recipe, few_shot, [self.seed, epoch])?;
                let plan: Vec<_> = stream.plan(&base, seed).split_off(begun as usize);
                let stream = stream.clone();
                let load = move |batch: Vec<PlannedPair>| {
                    batch.iter().map(|planned| stream.load(planned)).collect()
                };
                Epoch::Novel(OrderedLoader::new(plan.into_iter().map(Ok), options, load)?)
            }
        })
    }

    /// Measures the model and keeps it if the rule says so.
    pub(super) fn validate(
        &mut self,
        observer: &mut dyn GfssObserver,
        stop: &Stop,
    ) -> Result<(), TrainError> {
        let run = self.run;
        let epoch = self.done / self.per_epoch - 1;
        let model = self.model.inference();
        let how = Measure::all(run.recipe.samples.side, run.loader);
        let metric = evaluate_at_network_size(&model, &run.data, how, &run.device, observer, stop)?;
        let scores = metric.scores();
        let selection = self.selection();
        let kept = selection.replaces(&scores, self.kept.as_ref().map(|(kept, _)| kept));
        if kept {
            let selected = Selected { epoch, total: scores.total, novel: scores.novel };
            self.kept = Some((selected, self.model.learnt()?));
        }
        self.log.add(&LogEntry::GeneralizedValidation {
            epoch,
            base: scores.base,
            novel: scores.novel,
            total: scores.total,
            harmonic: scores.harmonic,
            kept,
        })?;
        self.validation_due = false;
        let early = run.recipe.train.early_stop && run.recipe.stage == Stage::Novel;
        self.ended = early && selection.ends_early(epoch, self.kept.as_ref().map(|(kept, _)| kept));
        observer.validation_finished(&GfssValidation { epoch, scores, kept });
        Ok(())
    }

    /// Writes a checkpoint.
    pub(super) fn save(&self, observer: &mut dyn GfssObserver) -> Result<PathBuf, TrainError> {
        let checkpoint = Checkpoint {
            progress: GfssProgress {
                iteration: self.done,
                seed: self.seed,
                validation_due: self.validation_due,
                ended: self.ended,
                kept: self.kept.as_ref().map(|(kept, _)| kept.clone()),
                scaler: self.scaler.clone(),
                log_bytes: self.log.bytes(),
                recipe: self.run.recipe.to_toml(),
            },
            model: self.model.learnt()?,
            best_model: self.kept.as_ref().map(|(_, model)| model.clone()).unwrap_or_default(),
            optimizer: self.optimizer.to_tensors(),
        };
        let path = self.checkpoints.save(&checkpoint)?;
        observer.checkpoint_written(&path);
        Ok(path)
    }

    /// The model that is kept.
    pub(super) fn into_kept(self) -> Result<(M, Selected), TrainError> {
        let (kept, tensors) = self.kept.ok_or(TrainError::NoScore)?;
        let path = self.checkpoints.path(self.done);
        Ok((self.model.with_learnt(tensors, &path)?, kept))
    }
}
