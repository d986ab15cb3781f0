//! The state of a run in progress.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use fss_backbone::{ComputePrecision, NamedTensor, module_tensors};
use fss_data::DataError;
use fss_data::loader::OrderedLoader;
use fss_data::rng::KeyedRandom;
use fss_data::transform::normalise;
use fss_data::ways::{WayEpisode, class_mask};
use fss_heads::denet::FullLabels;
use fss_heads::{EpisodeBatch, LabelledBatch};
use ndarray::{Array2, Array3};
use serde::{Deserialize, Serialize};

use super::data::TrainingList;
use super::evaluate::Measuring;
use super::load::{Place, Source};
use super::model::{WaysBatch, WaysModel};
use super::observer::{WaysObserver, WaysValidation};
use super::recipe::{WaysEpisodes, WaysMethod, WaysRecipe};
use super::result::WaysEvaluation;
use super::run::{WaysRun, initial};
use crate::checkpoint::{Best, Checkpoint, CheckpointFolder, Position};
use crate::log::{LogEntry, RunLog};
use crate::optim::NamedOptimizer;
use crate::parallel::Found;
use crate::precision::Computing;
use crate::step::Step;
use crate::tensor::{image_batch, mask_batch};
use crate::trainer::{Start, files};
use crate::{LossScaler, Stop, TrainError};

/// Makes the draws of orders, mirrors and dropout others under the same seed.
const ORDERS: u64 = 0x6f72_6465_725f_7761;
const MIRRORS: u64 = 0x6d69_7272_6f72_5f77;
const DROPS: u64 = 0x6472_6f70_735f_7761;

/// Where a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct WaysProgress {
    iteration: u64,
    /// The model must still be validated before the next iteration.
    validation_due: bool,
    best: Option<Best>,
    /// What scales the loss, if it is scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scaler: Option<LossScaler>,
    log_bytes: u64,
    /// As TOML, which keeps every digit.
    recipe: String,
}

impl Position for WaysProgress {
    const FORMAT: &'static str = "fss-ways-checkpoint";

    fn iteration(&self) -> u64 {
        self.iteration
    }

    fn fingerprint(&self) -> String {
        WaysRecipe::from_toml(&self.recipe, "of the checkpoint")
            .map_or_else(|_| String::new(), |recipe| recipe.fingerprint())
    }
}

/// An image ready for training.
struct Sample {
    image: Array3<f32>,
    /// All its labels.
    full: Array2<u8>,
}

/// One entry of the list: supports, then the query; a plain image is a query without supports.
struct Item {
    class: u8,
    supports: Vec<Sample>,
    query: Sample,
}

/// A place in the list, and its number over the whole run.
type Numbered = (usize, u64);

/// The batches of a pass over the list, read ahead by threads.
type Pass = OrderedLoader<Vec<Numbered>, Vec<Item>>;

/// Model, optimiser, list and log between two iterations.
pub(super) struct Session<'a, M> {
    run: &'a WaysRun,
    model: M,
    optimizer: NamedOptimizer,
    scaler: Option<LossScaler>,
    list: Arc<TrainingList>,
    validation: Vec<WayEpisode>,
    /// The pass under way.
    pass: Option<Pass>,
    log: RunLog,
    done: u64,
    validation_due: bool,
    best: Option<(Best, Vec<NamedTensor>)>,
    checkpoints: CheckpointFolder,
}

impl<'a, M: WaysModel> Session<'a, M> {
    pub(super) fn open(
        run: &'a WaysRun,
        start: Start,
        computing: Computing,
    ) -> Result<Self, TrainError> {
        let checkpoints = run.checkpoints();
        let latest = checkpoints.latest()?;
        let (list, validation) = run.data.drawn(&run.recipe)?;
        let optimizer = NamedOptimizer::new(run.recipe.optim.rule.clone());
        let Computing { precision, scaler } = computing;
        let log = run.folder.join(files::LOG);
        match (start, latest) {
            (Start::Fresh, Some(path)) => Err(TrainError::checkpoint(
                &path,
                "a run has been started in this folder",
                "resume it, or start in another folder",
            )),
            (Start::Resume, None) => Err(TrainError::checkpoint(
                &run.folder.join(files::CHECKPOINTS),
                "there is no checkpoint to resume",
                "start afresh",
            )),
            (Start::Fresh, None) => Ok(Self {
                run,
                model: initial::<M>(run, &list)?.in_precision(precision),
                optimizer,
                scaler,
                list: Arc::new(list),
                validation,
                pass: None,
                log: RunLog::open(&log, 0)?,
                done: 0,
                validation_due: false,
                best: None,
                checkpoints,
            }),
            (Start::Resume, Some(path)) => {
                let (model, optimizer, progress, best) = restored::<M>(run, optimizer, &path)?;
                Ok(Self {
                    run,
                    model: model.in_precision(precision),
                    optimizer,
                    scaler: LossScaler::resumed(scaler, progress.scaler),
                    list: Arc::new(list),
                    validation,
                    pass: None,
                    log: RunLog::open(&log, progress.log_bytes)?,
                    done: progress.iteration,
                    validation_due: progress.validation_due,
                    best: progress.best.map(|found| (found, best)),
                    checkpoints,
                })
            }
        }
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }

    pub(super) fn validation_due(&self) -> bool {
        self.validation_due
    }

    pub(super) fn save_due(&self) -> bool {
        !self.validation_due && self.done.is_multiple_of(self.run.recipe.checkpoint.every)
    }

    /// One iteration.
    pub(super) fn iterate(&mut self, observer: &mut dyn WaysObserver) -> Result<(), TrainError> {
        let recipe = &self.run.recipe;
        let batch = self.batch()?;
        let steps = recipe.episodes.steps;
        let rate = recipe.optim.schedule.rate(recipe.optim.lr, self.done, steps);
        let seed = KeyedRandom::new(recipe.episodes.order_seed ^ DROPS, self.done).next_u64();
        let model = self.model.clone().dropping(recipe, seed);
        let losses = model.losses(recipe, &batch)?;
        let (numbers, scaler) = ([self.done + 1, steps], self.scaler.as_mut());
        let step = Step { optimizer: &mut self.optimizer, rate, clip: None, numbers, scaler };
        let found = Found::of(&model, losses, step.scale());
        let (model, report, _) = step.take(model, found, M::absorb)?;
        self.model = model;
        self.done += 1;
        self.log.add(&LogEntry::iteration(&report))?;
        observer.iteration_finished(&report);
        self.validation_due =
            self.done.is_multiple_of(recipe.validation.every) || self.done >= steps;
        Ok(())
    }

    /// The next batch of the pass under way, which is entered where the run is.
    fn batch(&mut self) -> Result<WaysBatch, TrainError> {
        let per_pass = passes(&self.run.recipe.episodes, self.list.len());
        if self.done.is_multiple_of(per_pass) {
            self.pass = None;
        }
        let pass = match &mut self.pass {
            Some(pass) => pass,
            None => self.pass.insert(enter(self.run, &self.list, self.done, per_pass)?),
        };
        let items = pass.next().ok_or_else(|| {
            TrainError::setting("a pass over the list ended early", "resume from the checkpoint")
        })??;
        self::batch(&self.list, &items, &self.run.device.clone().autodiff())
    }

    /// Measures the model and keeps it if it is the best.
    pub(super) fn validate(
        &mut self,
        observer: &mut dyn WaysObserver,
        stop: &Stop,
    ) -> Result<(), TrainError> {
        let run = self.run;
        let seed = run.recipe.episodes.seed;
        let plan = run.plan(run.recipe.validation_protocol(), vec![seed]);
        let model = self.model.tested();
        let mut measuring = Measuring::new(&model, &run.data.test, &plan, &run.device)?;
        let scores = measuring.run(seed, self.validation.clone(), observer, stop)?;
        let (b_iou, f_iou) = (scores.b_iou, scores.f_iou);
        let best = self.best.as_ref().and_then(|(best, _)| best.miou);
        let is_best = run.recipe.validation.selection.replaces(b_iou, best);
        if is_best {
            let best = Best { iteration: self.done, miou: b_iou };
            self.model.save_weights(&run.folder.join(files::BEST), &metadata(run, &best, None))?;
            self.best = Some((best, module_tensors(&self.model)?));
        }
        self.log.add(&LogEntry::WaysValidation {
            iteration: self.done,
            b_iou,
            f_iou,
            best: is_best,
        })?;
        self.validation_due = false;
        let iteration = self.done;
        observer.validation_finished(&WaysValidation { iteration, b_iou, f_iou, is_best });
        Ok(())
    }

    /// Writes a checkpoint.
    pub(super) fn save(&self, observer: &mut dyn WaysObserver) -> Result<PathBuf, TrainError> {
        let checkpoint = Checkpoint {
            progress: WaysProgress {
                iteration: self.done,
                validation_due: self.validation_due,
                best: self.best.as_ref().map(|(best, _)| best.clone()),
                scaler: self.scaler.clone(),
                log_bytes: self.log.bytes(),
                recipe: self.run.recipe.to_toml(),
            },
            model: module_tensors(&self.model)?,
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
        let model = self.model.with_tensors(tensors, &path)?;
        Ok((model.in_precision(ComputePrecision::Full), best, self.log))
    }
}

/// Model, optimiser and position of a checkpoint, and its best model.
#[allow(clippy::type_complexity, reason = "the parts of one thing, taken apart at once")]
fn restored<M: WaysModel>(
    run: &WaysRun,
    mut optimizer: NamedOptimizer,
    path: &Path,
) -> Result<(M, NamedOptimizer, WaysProgress, Vec<NamedTensor>), TrainError> {
    let Checkpoint { progress, model, best_model, optimizer: state } =
        Checkpoint::<WaysProgress>::load(path)?;
    let recipe = WaysRecipe::from_toml(&progress.recipe, "of the checkpoint")?;
    let differences = recipe.differences(&run.recipe);
    if !differences.is_empty() {
        return Err(TrainError::RecipeChanged { path: path.to_path_buf(), differences });
    }
    let device = run.device.clone().autodiff();
    let model = M::build(&run.recipe, run.data.rows(), &device)?.with_tensors(model, path)?;
    let misfit = match optimizer.load_tensors(state, &device) {
        Err(problem) => Some(problem),
        Ok(()) => optimizer
            .misfit(&model)
            .map(|name| format!("the optimiser's state of {name} does not fit the model")),
    };
    match misfit {
        Some(problem) => {
            Err(TrainError::checkpoint(path, problem, "resume from another checkpoint"))
        }
        None => Ok((model, optimizer, progress, best_model)),
    }
}

/// Iterations of a pass over the list; the last batch may be smaller.
fn passes(settings: &WaysEpisodes, length: usize) -> u64 {
    length.div_ceil(settings.batch) as u64
}

/// The rest of the pass that a run is in after `done` iterations.
fn enter(
    run: &WaysRun,
    list: &Arc<TrainingList>,
    done: u64,
    per_pass: u64,
) -> Result<Pass, TrainError> {
    let settings = &run.recipe.episodes;
    let (pass, begun) = (done / per_pass, (done % per_pass) as usize);
    let mut order: Vec<usize> = (0..list.len()).collect();
    let mut random = KeyedRandom::new(settings.order_seed ^ ORDERS, pass);
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last + 1));
    }
    // Each entry with a number of its own over the whole run, which its mirrors are drawn from.
    let first = pass * list.len() as u64;
    let numbered: Vec<Numbered> = order.into_iter().zip(first..).collect();
    let batches: Vec<Vec<Numbered>> =
        numbered.chunks(settings.batch).skip(begun).map(<[_]>::to_vec).collect();
    let source = run.data.source(&run.recipe);
    let (list, seed, mirrored) = (Arc::clone(list), settings.order_seed, settings.mirrored);
    let work = move |batch: Vec<Numbered>| {
        batch
            .into_iter()
            .map(|(place, number)| {
                let mut random = KeyedRandom::new(seed ^ MIRRORS, number);
                let flip = || mirrored && random.below(2) == 1;
                item(&list, &source, place, flip)
            })
            .collect()
    };
    Ok(OrderedLoader::new(batches.into_iter().map(Ok), run.loader, work)?)
}

fn item(
    list: &TrainingList,
    source: &Source,
    place: usize,
    mut flip: impl FnMut() -> bool,
) -> Result<Item, DataError> {
    let mut sample = |position: usize| -> Result<Sample, DataError> {
        let loaded = source.load(Place { position, mirrored: flip() })?;
        Ok(Sample { image: normalise(&loaded.image), full: loaded.full })
    };
    match list {
        TrainingList::Episodes(episodes) => {
            let episode = &episodes[place];
            let way = &episode.ways[0];
            Ok(Item {
                class: way.class as u8,
                supports: way.supports.iter().map(|&p| sample(p)).collect::<Result<_, _>>()?,
                query: sample(episode.query)?,
            })
        }
        TrainingList::Plain(images) => {
            Ok(Item { class: 0, supports: Vec::new(), query: sample(images[place])? })
        }
    }
}

/// Items as tensors.
fn batch(list: &TrainingList, items: &[Item], device: &Device) -> Result<WaysBatch, TrainError> {
    let images = image_batch(items.iter().map(|item| &item.query.image), device)?;
    let labels = mask_batch(items.iter().map(|item| &item.query.full), device)?;
    if let TrainingList::Plain(_) = list {
        return Ok(WaysBatch::Plain(LabelledBatch { images, labels }));
    }
    // Pixels of held-out classes are background here, as published.
    let binary = |sample: &Sample, class: u8| class_mask(&sample.full, class);
    let shots = items.first().map_or(0, |item| item.supports.len());
    let supports = (0..shots).map(|shot| {
        let images = image_batch(items.iter().map(|item| &item.supports[shot].image), device)?;
        let masks: Vec<Array2<u8>> =
            items.iter().map(|item| binary(&item.supports[shot], item.class)).collect();
        Ok((images, mask_batch(&masks, device)?))
    });
    let supports = supports.collect::<Result<Vec<_>, TrainError>>()?;
    let masks: Vec<Array2<u8>> = items.iter().map(|item| binary(&item.query, item.class)).collect();
    Ok(WaysBatch::Episodes {
        batch: EpisodeBatch {
            query: images,
            query_mask: mask_batch(&masks, device)?,
            supports,
            extra: None,
            cams: None,
        },
        full: FullLabels {
            masks: labels,
            classes: items.iter().map(|item| item.class.into()).collect(),
        },
    })
}

/// What is written beside the weights: enough to use them, and to tell what they are.
pub(super) fn metadata(
    run: &WaysRun,
    best: &Best,
    evaluation: Option<&WaysEvaluation>,
) -> BTreeMap<String, String> {
    let recipe = &run.recipe;
    let mut entries: BTreeMap<String, String> = [
        ("format", "pt".to_owned()),
        ("fss.model", recipe.model.kind.name().to_owned()),
        ("fss.backbone", recipe.backbone.network.to_string()),
        ("fss.side", recipe.episodes.side.to_string()),
        ("fss.iteration", best.iteration.to_string()),
        ("fss.recipe", recipe.to_toml()),
        ("fss.recipe_fingerprint", recipe.fingerprint()),
        ("fss.dataset", recipe.data.dataset.name().to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    entries.extend(run.trained().to_metadata());
    if recipe.model.kind == WaysMethod::Canet {
        entries.insert("fss.refinements".into(), recipe.model.refinements.to_string());
    }
    if let Some(b_iou) = best.miou {
        entries.insert("fss.validation_b_iou".into(), b_iou.to_string());
    }
    if let Some(b_iou) = evaluation.and_then(|e| e.b_iou.as_ref()) {
        entries.insert("fss.evaluation_b_iou".into(), b_iou.mean.to_string());
    }
    entries
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
