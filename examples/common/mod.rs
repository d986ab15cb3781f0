//! What the examples share: options, Ctrl-C, training between two measurements, and the report.
#![allow(dead_code, reason = "no example uses all of it")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use fss_core::Device;
use fss_core::data::synthetic::{Progress, Summary, SyntheticConfig};
use fss_core::train::evaluate::{Evaluation, EvaluationPlan, Supports, evaluate};
use fss_core::train::log::RunLog;
use fss_core::train::mining::{MiningPlace, PseudoMasks, mine_for_recipe};
use fss_core::train::observer::Silent;
use fss_core::train::progress::TerminalProgress;
use fss_core::train::recipe::{Init, Recipe};
use fss_core::train::report::{HtmlReport, comparison_table, evaluation_table, save_panels};
use fss_core::train::trainer::{
    RecipeModel, Start, TrainOutcome, TrainingRun, files, initial_model, train,
};
use fss_core::train::{EpisodeData, RunData, Stop};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Options of every example.
#[derive(Args)]
pub struct Options {
    /// The benchmark's tree (see datasets.md); without it, synthetic data is drawn
    #[arg(long, value_name = "DIR", requires = "weights")]
    pub data_root: Option<PathBuf>,
    /// ImageNet weights of the backbone, ResNet-50 (.pth, .safetensors)
    #[arg(long, value_name = "FILE", requires = "data_root")]
    pub weights: Option<PathBuf>,
    /// Where data, checkpoints, pictures and report go [default: target/<name of the example>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Supports an episode
    #[arg(long, default_value_t = 1)]
    pub shot: usize,
    /// cpu, cuda[:N], vulkan[:N] or wgpu[:N]
    #[arg(long, default_value = "cpu")]
    device: String,
    /// A recipe file (TOML) in place of the built-in one
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Continue an interrupted run
    #[arg(long)]
    pub resume: bool,
    /// A few seconds instead of minutes: shows that everything runs, not how well it learns
    #[arg(long, conflicts_with = "data_root")]
    pub smoke: bool,
}

/// Synthetic data for heads that see images on a coarse grid: one or two large objects a picture.
pub fn large_objects(smoke: bool) -> SyntheticConfig {
    let all = SyntheticConfig { object_percent: [45, 75], objects: [1, 2], ..Default::default() };
    match smoke {
        true => SyntheticConfig { train_images: 120, val_images: 80, ..all },
        false => all,
    }
}

/// Ends an example.
pub fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the best that a model could reach is measured by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The query's true mask as its own support.
    OwnMask,
    /// Nothing.
    None,
}

/// Where an example works.
pub struct Workshop<'a> {
    options: &'a Options,
    /// The folder for everything that it makes.
    pub out: PathBuf,
    device: Device,
    stop: Stop,
}

impl<'a> Workshop<'a> {
    /// From now on Ctrl-C stops training and measuring at the next step.
    pub fn open(options: &'a Options, name: &str) -> Result<Self> {
        let stop = Stop::new();
        let on_signal = stop.clone();
        ctrlc::set_handler(move || on_signal.request())?;
        let out = options.out.clone().unwrap_or_else(|| Path::new("target").join(name));
        std::fs::create_dir_all(&out)?;
        Ok(Self { options, out, device: fss_core::parse_device(&options.device)?, stop })
    }

    /// Whether Ctrl-C was pressed.
    pub fn stopped(&self) -> bool {
        self.stop.is_requested()
    }

    /// The flag that Ctrl-C sets.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Where models run.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The recipe asked for; else the published one for real data, a small one from scratch for
    /// synthetic data.
    pub fn recipe(&self, published: &str, small: &str) -> Result<Recipe> {
        let load = |builtin: &str| match &self.options.recipe {
            Some(path) => Recipe::load(path),
            None => Recipe::builtin(builtin),
        };
        let mut recipe = match &self.options.weights {
            Some(weights) => {
                Recipe { init: Init::Weights { path: weights.clone() }, ..load(published)? }
            }
            None => load(small)?,
        };
        recipe.episodes.shot = self.options.shot;
        if self.options.smoke {
            recipe.episodes.total = 16;
            recipe.episodes.snapshot = 8;
            recipe.validation.episodes = 8;
            recipe.evaluation.seeds.truncate(2);
            recipe.evaluation.episodes = 8;
        }
        Ok(recipe)
    }

    /// The given data; else synthetic data, drawn once below the output folder.
    pub fn data_root(
        &self,
        generate: impl FnOnce(
            &Path,
            fn(Progress) -> ControlFlow<()>,
        ) -> std::result::Result<Summary, fss_core::data::DataError>,
    ) -> Result<PathBuf> {
        if let Some(root) = &self.options.data_root {
            return Ok(root.clone());
        }
        let name = if self.options.smoke { "synthetic-small" } else { "synthetic" };
        let root = self.out.join(name);
        let summary = generate(&root, |_| ControlFlow::Continue(()))?;
        let test = match summary.test.images {
            0 => String::new(),
            images => format!(" ({images} more to test on)"),
        };
        eprintln!(
            "{} training and {} validation images in {}{test}",
            summary.train.images,
            summary.val.images,
            root.display()
        );
        Ok(root)
    }

    /// A folder to work in.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.out.join(name);
        // A demonstration starts afresh each time; a run of hours is never thrown away.
        if self.options.data_root.is_none() && !self.options.resume && folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        Ok(folder)
    }

    /// A training run in the folder `name`.
    pub fn training(&self, name: &str, recipe: Recipe, data: RunData) -> Result<TrainingRun> {
        Ok(TrainingRun {
            recipe,
            train: data.train,
            novel: data.validation,
            test: data.test,
            folder: self.folder(name)?,
            device: self.device.clone(),
            more_devices: Vec::new(),
            loader: Default::default(),
            reuse: Default::default(),
            cams: Default::default(),
        })
    }

    /// Makes the pseudo masks that a recipe trains with, in the folder that it names. Those that
    /// are there stay.
    pub fn mine(&self, recipe: &Recipe, base: &EpisodeData) -> Result<PseudoMasks> {
        let joint = recipe.model.mining().ok_or("the recipe trains without pseudo masks")?;
        let place = MiningPlace {
            folder: joint.masks.clone(),
            extra: None,
            device: self.device.clone(),
            loader: Default::default(),
        };
        Ok(mine_for_recipe(recipe, base, place, &mut Silent, &self.stop)?)
    }

    /// Trains, and measures the selected model as the recipe says.
    pub fn train<M: RecipeModel>(&self, run: &TrainingRun) -> Result<(M, Evaluation)> {
        // An example of several runs may have been stopped before this one.
        let begun = run.checkpoints().latest()?.is_some();
        let start = if self.options.resume && begun { Start::Resume } else { Start::Fresh };
        match train(run, start, &mut TerminalProgress::new(), &self.stop)? {
            TrainOutcome::Finished { model, evaluation, .. } => Ok((model, *evaluation)),
            TrainOutcome::Interrupted { iteration, .. } => {
                Err(format!("stopped after iteration {iteration}; --resume continues").into())
            }
        }
    }

    /// Measures a model before and after it is trained, and with each query as its own support if that is
    /// an upper bound for it; prints tables and writes the report.
    pub fn before_and_after<M: RecipeModel>(
        &self,
        training: &TrainingRun,
        bound: Bound,
        title: String,
        introduction: String,
    ) -> Result<()> {
        let plan = training.evaluation_plan();
        eprintln!(
            "The untrained network, on the novel classes of fold {}:",
            training.test.fold.index()
        );
        let start = initial_model::<M>(training)?;
        let untrained = self.measure(&start, training, &training.test, &plan)?;
        eprintln!("Training on the base classes:");
        let (model, trained) = self.train::<M>(training)?;
        let mut entries = vec![("untrained", untrained), ("trained", trained)];
        if bound == Bound::OwnMask {
            eprintln!("Upper bound, each query with its true mask as its own support:");
            let plan = EvaluationPlan { supports: Supports::QueryItself, ..plan };
            let bound = self.measure(&model, training, &training.test, &plan)?;
            entries.push(("upper bound (own mask)", bound));
        }
        println!("{}", evaluation_table(&entries[1].1));
        let mut entries: Vec<_> = entries.iter().map(|(name, scores)| (*name, scores)).collect();
        println!("{}", comparison_table(&entries));
        // The report shows the classes of the last one.
        entries.sort_by_key(|(name, _)| *name == "trained");
        self.report(title, introduction, &entries, training, &model)
    }

    /// Measures a model of a run on novel classes.
    pub fn measure<M: RecipeModel>(
        &self,
        model: &M,
        run: &TrainingRun,
        novel: &EpisodeData,
        plan: &EvaluationPlan,
    ) -> Result<Evaluation> {
        let mut progress = TerminalProgress::new();
        let model = M::under(model.tested(&run.recipe, &run.train, &self.device)?, plan.protocol);
        Ok(evaluate(&model, novel, plan, &self.device, &mut progress, &self.stop)?)
    }

    /// What reports say about data and classes.
    pub fn measured_on(&self, fold: &str, benchmark: &str, layout: &str) -> String {
        let data = match &self.options.data_root {
            Some(_) => benchmark.to_owned(),
            None => format!("synthetic data in the layout of {layout}, from random weights"),
        };
        format!(
            "Trained on the base classes of {fold} ({data}) and measured on its novel classes, \
             {}-shot. No image of a novel class was annotated for training.",
            self.options.shot
        )
    }

    /// Writes `report.html`: the evaluations (the classes of the last one are shown), the course of
    /// training, and pictures of episodes.
    pub fn report<M: RecipeModel>(
        &self,
        title: String,
        introduction: String,
        entries: &[(&str, &Evaluation)],
        run: &TrainingRun,
        model: &M,
    ) -> Result<()> {
        let log = RunLog::read(&run.folder.join(files::LOG))?;
        let mut report =
            HtmlReport::new(title).paragraph(introduction).log(&log).settings(run.recipe.to_toml());
        for (name, evaluation) in entries {
            report = report.evaluation(*name, evaluation);
        }
        let plan = run.evaluation_plan();
        let pictures = save_panels(
            &M::under(model.tested(&run.recipe, &run.train, &self.device)?, plan.protocol),
            &run.test,
            &plan,
            2,
            &self.out.join("panels"),
            &self.device,
        )?;
        for panel in pictures {
            report = report.panel(panel);
        }
        let page = self.out.join("report.html");
        report.save(&page)?;
        println!("Report with pictures: {}", page.display());
        Ok(())
    }
}
