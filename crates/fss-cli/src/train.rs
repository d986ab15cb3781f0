//! `fss train`: training runs that can be stopped and continued.

mod recipe;

use std::path::{Path, PathBuf};

use clap::Args;
use fss_core::data::folds::{Fold, Subset};
use fss_core::heads::Ssp;
use fss_core::train::evaluate::FeatureReuse;
use fss_core::train::observer::{Silent, TrainObserver};
use fss_core::train::progress::TerminalProgress;
use fss_core::train::recipe::{BUILTIN_NAMES, Recipe};
use fss_core::train::report::evaluation_table;
use fss_core::train::trainer::{Start, TrainOutcome, TrainingRun, train};
use fss_core::train::{EpisodeData, Stop};

use crate::args::{Global, Verbosity};
use crate::episodes::{self, Part};
use crate::failure::Failure;
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
}

/// Trains, or prints recipes.
pub fn run(args: &TrainArgs, global: &Global, screen: &Screen) -> Result<(), Failure> {
    if args.list {
        return output::print(&(BUILTIN_NAMES.join("\n") + "\n"));
    }
    let recipe = recipe::effective(
        args.recipe.as_deref(),
        args.resume.then_some(args.out.as_deref()).flatten(),
        args.pretrained.as_deref(),
        &args.changes,
    )?;
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
    let device = global.device()?;
    let stop = interrupt::install("saving a checkpoint after the current step")?;
    let [train, novel] = open(data_root, &recipe, screen)?;
    let run = TrainingRun {
        recipe,
        train,
        novel,
        folder: out.to_path_buf(),
        device,
        loader: episodes::reading(),
        reuse: FeatureReuse::default(),
    };
    let outcome = watched(&run, start, global.verbosity(), &stop)?;
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
                out.display(),
                data_root.display()
            ),
        }),
    }
}

fn watched(
    run: &TrainingRun,
    start: Start,
    verbosity: Verbosity,
    stop: &Stop,
) -> Result<TrainOutcome<Ssp>, Failure> {
    let mut observer: Box<dyn TrainObserver> = match verbosity {
        Verbosity::Quiet => Box::new(Silent),
        _ => Box::new(TerminalProgress::new()),
    };
    Ok(train::<Ssp>(run, start, observer.as_mut(), stop)?)
}

/// The training split with the base classes, and the validation split with the novel ones.
fn open(root: &Path, recipe: &Recipe, screen: &Screen) -> Result<[EpisodeData; 2], Failure> {
    let settings = &recipe.data;
    let fold: Fold = settings.fold()?;
    let part = |split, subset| Part { split, fold: fold.clone(), subset, min_pixels: settings.min_pixels };
    Ok([
        episodes::open(root, part(settings.train_split, Subset::Base), screen)?,
        episodes::open(root, part(settings.val_split, Subset::Novel), screen)?,
    ])
}
