//! Runs of both stages from start to end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::Device;
use fss_backbone::{module_tensors, write_state_dict};
use fss_data::io::write_atomic;
use fss_data::loader::LoaderOptions;
use fss_heads::generalized::entries;

use super::data::GfssData;
use super::evaluate::{GfssEvaluation, GfssSeed, Measure, evaluate_generalized};
use super::model::StagedModel;
use super::observer::GfssObserver;
use super::recipe::{GfssRecipe, Stage};
use super::report::generalized_json;
use super::select::Selected;
use super::session::Session;
use crate::trainer::{Start, files};
use crate::{Shard, Stop, TrainError};

/// All that a run needs.
#[derive(Debug, Clone)]
pub struct GfssRun {
    /// What it is set to.
    pub recipe: GfssRecipe,
    /// Images and classes.
    pub data: GfssData,
    /// Where logs, checkpoints and results go.
    pub folder: PathBuf,
    /// Where the model runs; autodiff is added as needed.
    pub device: Device,
    /// Further devices that batches are shared out to, in equal parts.
    pub more_devices: Vec<Device>,
    /// Threads that read images. They have no influence on the result.
    pub loader: LoaderOptions,
}

impl GfssRun {
    /// The folder of a seed's log and checkpoints: that of the run, if it has a single seed.
    pub fn seed_folder(&self, seed: u64) -> PathBuf {
        match self.recipe.samples.seeds.len() {
            1 => self.folder.clone(),
            _ => self.folder.join(format!("seed_{seed}")),
        }
    }

    /// The weights that a seed's run leaves behind: `best.safetensors` of stage 1, `best_<seed>.safetensors`
    /// of stage 2.
    pub fn weights(&self, seed: u64) -> PathBuf {
        match self.recipe.stage {
            Stage::Base => self.folder.join(files::BEST),
            Stage::Novel => self.folder.join(format!("best_{seed}.safetensors")),
        }
    }
}

/// The result of one seed.
#[derive(Debug)]
pub struct SeedOutcome<M> {
    /// The seed.
    pub seed: u64,
    /// The model that was kept.
    pub model: M,
    /// When it was found.
    pub kept: Selected,
    /// Its weights.
    pub weights: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub enum GfssOutcome<M> {
    /// All seeds are done.
    Finished {
        /// One for each seed.
        seeds: Vec<SeedOutcome<M>>,
        /// The published evaluation of the models kept.
        evaluation: GfssEvaluation,
    },
    /// It was stopped on request and can be resumed.
    Interrupted {
        /// The seed under way.
        seed: u64,
        /// Finished iterations of it.
        iteration: u64,
        /// All of its iterations.
        iterations: u64,
    },
}

/// Trains and evaluates, one seed after the other.
///
/// Every `checkpoint.every` iterations and around every validation the whole state is saved. When `stop`
/// is requested the iteration under way is finished, the state saved, and the run ends as
/// [`GfssOutcome::Interrupted`]. A resumed run gives the same models to the last bit (on a CPU, with the
/// same number of threads) as one that was never stopped.
///
/// # Errors
/// [`TrainError`] for anything that cannot be read, written or continued, and for a loss that is not finite.
pub fn train_generalized<M: StagedModel>(
    run: &GfssRun,
    start: Start,
    observer: &mut dyn GfssObserver,
    stop: &Stop,
) -> Result<GfssOutcome<M>, TrainError> {
    run.recipe.check()?;
    let devices = 1 + run.more_devices.len();
    let share = run.recipe.samples.batch / devices;
    let norms = run.recipe.stage == Stage::Base && !run.recipe.train.freeze_backbone;
    if !run.recipe.samples.batch.is_multiple_of(devices) || (norms && devices > 1 && share < 2) {
        return Err(TrainError::setting(
            format!(
                "a batch of {} cannot be shared by {devices} devices",
                run.recipe.samples.batch
            ),
            "set `samples.batch` to a multiple of their number, in stage 1 at least twice it",
        ));
    }
    let recipe_file = run.folder.join(files::RECIPE);
    match (start, recipe_file.exists()) {
        (Start::Fresh, true) => {
            return Err(TrainError::checkpoint(
                &recipe_file,
                "a run has been started in this folder",
                "resume it, or start in another folder",
            ));
        }
        (Start::Resume, false) => {
            return Err(TrainError::checkpoint(
                &run.folder,
                "there is no run to resume",
                "start afresh",
            ));
        }
        _ => {}
    }
    std::fs::create_dir_all(&run.folder)
        .map_err(|e| TrainError::io("create folder", &run.folder, e))?;
    write_atomic(&recipe_file, run.recipe.to_toml().as_bytes())?;
    let mut seeds = Vec::new();
    for &seed in &run.recipe.samples.seeds {
        match train_seed::<M>(run, seed, observer, stop)? {
            Ended::Finished(outcome) => seeds.push(*outcome),
            Ended::Stopped { iteration, iterations } => {
                return Ok(GfssOutcome::Interrupted { seed, iteration, iterations });
            }
        }
    }
    let mut measured = Vec::new();
    for outcome in &seeds {
        let model = outcome.model.inference();
        let side = run.recipe.samples.side;
        let how = Measure::all(side, run.loader);
        let metric = evaluate_generalized(&model, &run.data, how, &run.device, observer, stop)?;
        let scores = metric.scores();
        measured.push(GfssSeed { seed: Some(outcome.seed), metric, scores });
    }
    let novel = seeds.first().map_or(0, |outcome| outcome.model.classes().novel);
    let evaluation = GfssEvaluation {
        model: format!("{} with {}", run.recipe.model.kind.name(), run.recipe.backbone),
        data: describe(run),
        images: run.data.val.dataset.len(),
        shard: Shard::WHOLE,
        names: run.data.names(novel),
        seeds: measured,
    };
    write_atomic(&run.folder.join(files::EVALUATION), generalized_json(&evaluation).as_bytes())?;
    Ok(GfssOutcome::Finished { seeds, evaluation })
}

fn describe(run: &GfssRun) -> String {
    let shots = match run.recipe.stage {
        Stage::Base => String::new(),
        Stage::Novel => format!(", {}-shot", run.recipe.data.shot),
    };
    format!("{}, fold {}{shots}", run.data.val.dataset.name, run.recipe.data.fold)
}

enum Ended<M> {
    Finished(Box<SeedOutcome<M>>),
    Stopped { iteration: u64, iterations: u64 },
}

fn train_seed<M: StagedModel>(
    run: &GfssRun,
    seed: u64,
    observer: &mut dyn GfssObserver,
    stop: &Stop,
) -> Result<Ended<M>, TrainError> {
    let mut session = Session::<M>::open(run, seed)?;
    observer.seed_started(seed, session.done(), session.iterations());
    loop {
        if session.validation_due() {
            // Saved first, because a validation takes long and may be interrupted.
            session.save(observer)?;
            match session.validate(observer, stop) {
                Err(TrainError::Interrupted { .. }) => {
                    let (iteration, iterations) = (session.done(), session.iterations());
                    return Ok(Ended::Stopped { iteration, iterations });
                }
                other => other?,
            }
            session.save(observer)?;
        }
        if session.is_done() {
            break;
        }
        if stop.is_requested() {
            session.save(observer)?;
            let (iteration, iterations) = (session.done(), session.iterations());
            return Ok(Ended::Stopped { iteration, iterations });
        }
        session.iterate(observer)?;
        if session.save_due() {
            session.save(observer)?;
        }
    }
    let (model, kept) = session.into_kept()?;
    let weights = run.weights(seed);
    write_state_dict(&weights, &module_tensors(&model)?, &metadata(run, seed, &model, &kept))?;
    Ok(Ended::Finished(Box::new(SeedOutcome { seed, model, kept, weights })))
}

/// What is written beside the weights: enough to use them, and to tell what they are.
fn metadata<M: StagedModel>(
    run: &GfssRun,
    seed: u64,
    model: &M,
    kept: &Selected,
) -> BTreeMap<String, String> {
    let recipe = &run.recipe;
    let novel = model.classes().novel;
    let ids = [run.data.classes.base(), &run.data.classes.novel()[..novel]].concat();
    let mut found = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        (entries::MODEL.to_owned(), recipe.model.kind.name().to_owned()),
        (entries::CLASSES.to_owned(), json(&run.data.names(novel))),
        (entries::SIDE.to_owned(), recipe.samples.side.to_string()),
        (entries::OUTPUT_STRIDE.to_owned(), recipe.backbone.output_stride.to_string()),
        ("fss.class_ids".to_owned(), json(&ids)),
        ("fss.dataset".to_owned(), recipe.data.dataset.name().to_owned()),
        ("fss.fold".to_owned(), recipe.data.fold.to_string()),
        ("fss.seed".to_owned(), seed.to_string()),
        ("fss.epoch".to_owned(), kept.epoch.to_string()),
        ("fss.recipe".to_owned(), recipe.to_toml()),
        ("fss.recipe_fingerprint".to_owned(), recipe.fingerprint()),
    ]);
    if recipe.stage == Stage::Novel {
        found.insert("fss.shot".to_owned(), recipe.data.shot.to_string());
    }
    if let Some(total) = kept.total {
        found.insert("fss.validation_total".to_owned(), total.to_string());
    }
    found
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
