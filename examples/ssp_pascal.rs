//! SSP on PASCAL-5i, from images to a report.
//!
//! Without arguments it draws a synthetic data set in the layout of PASCAL VOC, reads it back
//! through the loader, trainer and evaluator of the paper's run, trains a small network from scratch
//! on the base classes of a fold, and measures it on the novel ones:
//!
//! ```sh
//! cargo run --release --example ssp_pascal
//! ```
//!
//! With `--data-root` and `--weights` it runs the paper's setting: ResNet-50 from an ImageNet file,
//! 24,000 episodes, five seeds of 1,000 test episodes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Parser;
use fss_core::data::synthetic::{SyntheticConfig, generate};
use fss_core::heads::Ssp;
use fss_core::train::evaluate::{Evaluation, EvaluationPlan, Supports, evaluate};
use fss_core::train::log::RunLog;
use fss_core::train::progress::TerminalProgress;
use fss_core::train::recipe::{Init, Recipe};
use fss_core::train::report::{HtmlReport, comparison_table, evaluation_table, save_panels};
use fss_core::train::trainer::{
    RecipeModel, Start, TrainOutcome, TrainingRun, files, initial_model, train,
};
use fss_core::train::{EpisodeData, Stop};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Trains SSP on the base classes of a PASCAL-5i fold and measures it on the novel ones.
#[derive(Parser)]
struct Args {
    /// A PASCAL-5i tree (see datasets.md); without it, synthetic data is drawn
    #[arg(long, value_name = "DIR", requires = "weights")]
    data_root: Option<PathBuf>,
    /// ImageNet weights of the deep-stem ResNet-50 (.pth, .safetensors)
    #[arg(long, value_name = "FILE", requires = "data_root")]
    weights: Option<PathBuf>,
    /// Where data, checkpoints, pictures and report go
    #[arg(long, value_name = "DIR", default_value = "target/ssp_pascal")]
    out: PathBuf,
    /// The fold whose classes are novel
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..4))]
    fold: u8,
    /// Supports an episode
    #[arg(long, default_value_t = 1)]
    shot: usize,
    /// cpu, cuda[:N], vulkan[:N] or wgpu[:N]
    #[arg(long, default_value = "cpu")]
    device: String,
    /// A recipe file (TOML) in place of the built-in one
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Continue an interrupted run
    #[arg(long)]
    resume: bool,
    /// A few seconds instead of minutes: shows that everything runs, not how well it learns
    #[arg(long, conflicts_with = "data_root")]
    smoke: bool,
}

fn main() -> std::process::ExitCode {
    match run(&Args::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let stop = Stop::new();
    let on_signal = stop.clone();
    ctrlc::set_handler(move || on_signal.request())?;

    let mut recipe = recipe(args)?;
    recipe.data.fold = args.fold.into();
    recipe.episodes.shot = args.shot;
    let root = data_root(args)?;
    let [base, novel] = EpisodeData::open_pascal(&root, &recipe.data)?;
    let training = TrainingRun {
        recipe,
        train: base,
        novel,
        folder: args.out.join("run"),
        device: fss_core::parse_device(&args.device)?,
        loader: Default::default(),
        reuse: Default::default(),
    };
    // The demonstration starts afresh each time; a run of hours is never thrown away.
    if args.data_root.is_none() && !args.resume && training.folder.exists() {
        std::fs::remove_dir_all(&training.folder)?;
    }

    let measure = |model: &Ssp, supports: Supports| -> Result<Evaluation> {
        let plan = EvaluationPlan { supports, ..training.evaluation_plan() };
        let mut progress = TerminalProgress::new();
        let model = model.inference();
        Ok(evaluate(&model, &training.novel, &plan, &training.device, &mut progress, &stop)?)
    };

    eprintln!("The untrained network, on the novel classes of fold {}:", args.fold);
    let untrained_model: Ssp = initial_model(&training)?;
    let untrained = measure(&untrained_model, Supports::Drawn)?;
    eprintln!("Training on the base classes:");
    let start = if args.resume { Start::Resume } else { Start::Fresh };
    let (model, trained) = match train(&training, start, &mut TerminalProgress::new(), &stop)? {
        TrainOutcome::Finished { model, evaluation, .. } => (model, *evaluation),
        TrainOutcome::Interrupted { iteration, .. } => {
            return Err(format!("stopped after iteration {iteration}; --resume continues").into());
        }
    };
    eprintln!("Upper bound, each query with its true mask as its own support:");
    let bound = measure(&model, Supports::QueryItself)?;

    let entries =
        [("untrained", &untrained), ("trained", &trained), ("upper bound (own mask)", &bound)];
    println!("{}", evaluation_table(&trained));
    println!("{}", comparison_table(&entries));

    let log = RunLog::read(&training.folder.join(files::LOG))?;
    let mut report = HtmlReport::new(format!("SSP on PASCAL-5i, fold {}", args.fold))
        .paragraph(introduction(args))
        .log(&log)
        .settings(training.recipe.to_toml());
    for (name, evaluation) in [entries[0], entries[2], entries[1]] {
        report = report.evaluation(name, evaluation);
    }
    let pictures = save_panels(
        &model.inference(),
        &training.novel,
        &training.evaluation_plan(),
        2,
        &args.out.join("panels"),
        &training.device,
    )?;
    for panel in pictures {
        report = report.panel(panel);
    }
    let page = args.out.join("report.html");
    report.save(&page)?;
    println!("Report with pictures: {}", page.display());
    Ok(())
}

/// The recipe asked for; else the paper's for real data, a small one from scratch for synthetic data.
fn recipe(args: &Args) -> Result<Recipe> {
    let load = |builtin: &str| match &args.recipe {
        Some(path) => Recipe::load(path),
        None => Recipe::builtin(builtin),
    };
    let Some(weights) = &args.weights else {
        let mut recipe = load("ssp-synthetic")?;
        if args.smoke {
            recipe.episodes.total = 16;
            recipe.episodes.snapshot = 8;
            recipe.validation.episodes = 8;
            recipe.evaluation.seeds = vec![0, 1];
            recipe.evaluation.episodes = 8;
        }
        return Ok(recipe);
    };
    let mut recipe = load("ssp-pascal")?;
    recipe.init = Init::Weights { path: weights.clone() };
    Ok(recipe)
}

/// The given data, or synthetic data drawn below the output folder (once).
fn data_root(args: &Args) -> Result<PathBuf> {
    if let Some(root) = &args.data_root {
        return Ok(root.clone());
    }
    let (name, config) = if args.smoke {
        let few = SyntheticConfig { train_images: 120, val_images: 80, ..Default::default() };
        ("synthetic-small", few)
    } else {
        ("synthetic", SyntheticConfig::default())
    };
    let root = args.out.join(name);
    create_parent(&root)?;
    let summary = generate(&root, &config, |_| ControlFlow::Continue(()))?;
    eprintln!(
        "{} training and {} validation images in {}",
        summary.train.images,
        summary.val.images,
        root.display()
    );
    Ok(root)
}

fn create_parent(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    Ok(())
}

fn introduction(args: &Args) -> String {
    let data = match &args.data_root {
        Some(_) => "PASCAL-5i",
        None => "synthetic data in the layout of PASCAL VOC, from random weights",
    };
    format!(
        "Trained on the base classes of fold {} ({data}) and measured on its novel classes, \
         {}-shot. No image of a novel class was annotated for training.",
        args.fold, args.shot
    )
}
