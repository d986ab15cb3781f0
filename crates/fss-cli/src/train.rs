//! `fss train`: training runs that can be stopped and continued.

mod generalized;
pub mod recipe;
mod ways;

use std::path::{Path, PathBuf};

use clap::Args;
use fss_core::data::Benchmark;
use fss_core::data::cam::CamFolder;
use fss_core::heads::{Hsnet, Imr, Mlc, Ssp};
use fss_core::train::cams::Cams;
use fss_core::train::evaluate::{FeatureReuse, Protocol};
use fss_core::train::generalized::GFSS_BUILTIN_NAMES;
use fss_core::train::observer::{Silent, TrainObserver};
use fss_core::train::progress::TerminalProgress;
use fss_core::train::recipe::{BUILTIN_NAMES, ModelSettings, Recipe};
use fss_core::train::report::evaluation_table;
use fss_core::train::trainer::{RecipeModel, RunCams, Start, TrainOutcome, TrainingRun, train};
use fss_core::train::ways::WAYS_BUILTIN_NAMES;
use fss_core::train::{RunData, Stop};

use crate::args::{Global, Verbosity};
use crate::episodes;
use crate::failure::Failure;
use crate::own::OwnArgs;
use crate::progress::Screen;
use crate::{interrupt, output};

/// Train a model by a recipe
///
/// The folder OUT gets the recipe in force (recipe.toml), a log (log.jsonl), checkpoints, the best
/// model's weights (best.safetensors, under the official key names) and its scores
/// (evaluation.json). A run that was stopped, by Ctrl-C or otherwise, continues with --resume to the
/// same weights.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// A built-in recipe or a TOML file [default with --resume: OUT/recipe.toml]
    #[arg(long, value_name = "NAME|FILE", required_unless_present_any = ["list", "resume"])]
    recipe: Option<String>,
    /// Change a value of the recipe, as in --set episodes.shot=5; repeat for more
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// The folder of the data set
    #[arg(long, value_name = "DIR", required_unless_present_any = ["list", "show"])]
    data_root: Option<PathBuf>,
    /// What data set it is: pascal, coco, fss1000 or own [default: that of the recipe]
    #[arg(long, value_name = "NAME")]
    dataset: Option<Benchmark>,
    /// A folder of published lists [default: those in the tree, else they are built]
    #[arg(long, value_name = "DIR")]
    splits: Option<PathBuf>,
    /// The backbone weights to start from
    #[arg(long, value_name = "FILE")]
    pretrained: Option<PathBuf>,
    /// The folder of the run
    #[arg(long, value_name = "DIR", required_unless_present_any = ["list", "show"])]
    out: Option<PathBuf>,
    /// Continue the run in OUT
    #[arg(long)]
    resume: bool,
    /// List the built-in recipes and end
    #[arg(long, conflicts_with = "show")]
    list: bool,
    /// Print the recipe in force and end
    #[arg(long)]
    show: bool,
    /// Convolve in half precision where the device has it (`train.precision`)
    #[arg(long)]
    amp: bool,
    // Last: its options have a heading of their own.
    #[command(flatten)]
    own: OwnArgs,
}

impl TrainArgs {
    /// The recipe in force.
    fn recipe(&self) -> Result<Recipe, Failure> {
        let effective = |changes: &[String]| {
            // What an option says comes before what was asked for by key.
            let amp = self.amp.then(|| "train.precision=mixed".to_owned());
            let changes: Vec<String> = amp.into_iter().chain(changes.iter().cloned()).collect();
            recipe::effective(
                self.recipe.as_deref(),
                self.resume.then_some(self.out.as_deref()).flatten(),
                self.pretrained.as_deref(),
                &changes,
            )
        };
        let Some(dataset) = self.dataset else { return effective(&self.changes) };
        let named = effective(&[])?.data.dataset;
        if dataset == named {
            return effective(&self.changes);
        }
        if self.resume {
            return Err(Failure::request(
                format!("--dataset {dataset}, but the run is one of {named}"),
                "leave it out, or start another run",
            ));
        }
        // What goes with another data set comes before what was asked for.
        let mut changes = vec![
            format!("data.dataset={dataset}"),
            format!("data.folds={}", dataset.default_scheme()),
            format!("data.min_pixels={}", Protocol::Official.min_pixels(dataset)),
        ];
        if dataset.folds() == 1 {
            changes.push("data.fold=0".into());
        }
        changes.extend_from_slice(&self.changes);
        effective(&changes)
    }
}

/// Trains, or prints recipes.
pub fn run(args: &TrainArgs, global: &Global, screen: &Screen) -> Result<(), Failure> {
    if args.list {
        let names = BUILTIN_NAMES.iter().chain(&GFSS_BUILTIN_NAMES).chain(&WAYS_BUILTIN_NAMES);
        let mut names: Vec<&str> = names.copied().collect();
        names.sort_unstable();
        return output::print(&(names.join("\n") + "\n"));
    }
    if let Some(source) = generalized::source(args)? {
        return generalized::run(args, &source, global, screen);
    }
    if let Some(source) = ways::source(args)? {
        return ways::run(args, &source, global, screen);
    }
    let mut recipe = args.recipe()?;
    if let Some(splits) = &args.splits {
        recipe.data.splits = Some(splits.clone());
    }
    if !args.own.is_default() {
        if recipe.data.dataset != Benchmark::Own {
            return Err(Failure::request(
                format!(
                    "options of own data were given, but the recipe is for {}",
                    recipe.data.dataset
                ),
                "give --dataset own, or leave them out",
            ));
        }
        recipe.data.own = args.own.options();
    }
    match (&args.data_root, &args.out) {
        _ if args.show => output::print(&recipe.to_toml()),
        (Some(data_root), Some(out)) => {
            let start = if args.resume { Start::Resume } else { Start::Fresh };
            start_run(recipe, data_root, out, start, global, screen)
        }
        // The argument parser asks for both.
        _ => {
            Err(Failure::request("no data or no folder for the run", "give --data-root and --out"))
        }
    }
}

fn start_run(
    recipe: Recipe,
    data_root: &Path,
    out: &Path,
    start: Start,
    global: &Global,
    screen: &Screen,
) -> Result<(), Failure> {
    let mut devices = global.devices()?;
    let device = devices.remove(0);
    let stop = interrupt::install("saving a checkpoint after the current step")?;
    let RunData { train, validation, test } =
        RunData::open_with(data_root, &recipe.data, |tree, part| {
            episodes::open(tree, part, screen)
        })?;
    let cams = coarse_maps(&recipe)?;
    let run = TrainingRun {
        recipe,
        train,
        novel: validation,
        test,
        folder: out.to_path_buf(),
        device,
        more_devices: devices,
        loader: episodes::reading(),
        reuse: FeatureReuse::default(),
        cams,
    };
    match run.recipe.model {
        ModelSettings::Ssp(_) => {
            report(&run, watched::<Ssp>(&run, start, global.verbosity(), &stop)?, data_root)
        }
        ModelSettings::Mlc(_) => {
            report(&run, watched::<Mlc>(&run, start, global.verbosity(), &stop)?, data_root)
        }
        ModelSettings::Hsnet(_) => {
            report(&run, watched::<Hsnet>(&run, start, global.verbosity(), &stop)?, data_root)
        }
        ModelSettings::Imr(_) => {
            report(&run, watched::<Imr>(&run, start, global.verbosity(), &stop)?, data_root)
        }
    }
}

/// Where the coarse maps lie that a recipe names.
fn coarse_maps(recipe: &Recipe) -> Result<RunCams, Failure> {
    let ModelSettings::Imr(settings) = &recipe.model else { return Ok(RunCams::default()) };
    let benchmark = recipe.data.dataset;
    let source = |folder: Option<&Path>| match folder {
        Some(folder) => Ok(Some(Cams::new(CamFolder::new(folder, benchmark)))),
        None => Err(Failure::request(
            "imr learns from coarse maps, and the recipe names no folder of them",
            "make them with `fss cam` and name the folder with --set model.cams.train=DIR",
        )),
    };
    Ok(RunCams {
        train: source(settings.cams.train.as_deref())?,
        novel: source(settings.cams.val())?,
    })
}

fn report<M>(run: &TrainingRun, outcome: TrainOutcome<M>, data_root: &Path) -> Result<(), Failure> {
    match outcome {
        TrainOutcome::Finished { best, evaluation, weights, .. } => {
            tracing::info!(
                "the model of iteration {} was kept: {}",
                best.iteration,
                weights.display()
            );
            output::print(&evaluation_table(&evaluation))
        }
        TrainOutcome::Interrupted { iteration, checkpoint } => Err(Failure::Interrupted {
            done: format!(
                "{iteration} of {} iterations are done and saved in {}",
                run.recipe.episodes.iterations(),
                checkpoint.display()
            ),
            next: format!(
                "continue with: fss train --resume --out {} --data-root {}",
                run.folder.display(),
                data_root.display()
            ),
        }),
    }
}

fn watched<M: RecipeModel>(
    run: &TrainingRun,
    start: Start,
    verbosity: Verbosity,
    stop: &Stop,
) -> Result<TrainOutcome<M>, Failure> {
    let mut observer: Box<dyn TrainObserver> = match verbosity {
        Verbosity::Quiet => Box::new(Silent),
        _ => Box::new(TerminalProgress::new()),
    };
    Ok(train::<M>(run, start, observer.as_mut(), stop)?)
}
