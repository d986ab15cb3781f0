//! Training of generalized segmentation: POP's two stages and its baseline.

use std::path::Path;

use fss_core::heads::{Pop, Pspnet};
use fss_core::train::generalized::{
    GFSS_BUILTIN_NAMES, GfssData, GfssInit, GfssMethod, GfssObserver, GfssOutcome, GfssPart,
    GfssRecipe, GfssRun, Precision, StagedModel, generalized_table, train_generalized,
};
use fss_core::train::observer::Silent;
use fss_core::train::progress::TerminalProgress;
use fss_core::train::trainer::Start;

use super::recipe::Source;
use super::{TrainArgs, recipe};
use crate::args::{Global, Verbosity};
use crate::episodes;
use crate::failure::Failure;
use crate::progress::Screen;
use crate::{interrupt, output};

/// The recipe that was asked for, if it is one of generalized segmentation.
pub fn source(args: &TrainArgs) -> Result<Option<Source>, Failure> {
    recipe::source(args, &GFSS_BUILTIN_NAMES, GfssRecipe::is_one)
}

/// The recipe in force.
fn effective(args: &TrainArgs, source: &Source) -> Result<GfssRecipe, Failure> {
    let (mut recipe, origin) = match source {
        Source::Builtin(name) => (GfssRecipe::builtin(name)?, name.clone()),
        Source::File(path) => (GfssRecipe::load(path)?, path.display().to_string()),
    };
    if let Some(dataset) = args.dataset {
        recipe.data.dataset = dataset;
        recipe.data.folds = match dataset {
            fss_core::data::Benchmark::Coco => fss_core::data::folds::FoldScheme::Interleaved,
            other => other.default_scheme(),
        };
    }
    if let Some(path) = &args.pretrained {
        recipe.init = GfssInit::Weights { path: path.clone() };
    }
    if args.amp {
        recipe.train.precision = Precision::Mixed;
    }
    if !args.own.is_default() {
        recipe.data.own = args.own.options();
    }
    if args.splits.is_some() {
        return Err(Failure::request(
            "--splits belongs to recipes of episodes",
            "leave it out; a folder of few-shot lists is --set data.lists=DIR",
        ));
    }
    let text = recipe::changed(&recipe.to_toml(), &args.changes, &origin)?;
    Ok(GfssRecipe::from_toml(&text, &format!("{origin} with --set"))?)
}

/// Trains, or prints the recipe.
pub fn run(
    args: &TrainArgs,
    source: &Source,
    global: &Global,
    screen: &Screen,
) -> Result<(), Failure> {
    let recipe = effective(args, source)?;
    if args.show {
        return output::print(&recipe.to_toml());
    }
    let (Some(root), Some(out)) = (&args.data_root, &args.out) else {
        return Err(Failure::request(
            "no data or no folder for the run",
            "give --data-root and --out",
        ));
    };
    if let GfssInit::Weights { path } = &recipe.init
        && !path.is_file()
    {
        return Err(Failure::request(
            format!("{}: there are no weights to start from", path.display()),
            "name them with --pretrained FILE: ImageNet weights for stage 1, those of stage 1 for stage 2",
        ));
    }
    let mut devices = global.devices()?;
    let device = devices.remove(0);
    let stop = interrupt::install("saving a checkpoint after the current step")?;
    let data = open(root, &recipe, screen)?;
    let (folder, loader) = (out.clone(), episodes::reading());
    let run = GfssRun { recipe, data, folder, device, more_devices: devices, loader };
    let start = if args.resume { Start::Resume } else { Start::Fresh };
    let mut observer: Box<dyn GfssObserver> = match global.verbosity() {
        Verbosity::Quiet => Box::new(Silent),
        _ => Box::new(TerminalProgress::new()),
    };
    match run.recipe.model.kind {
        GfssMethod::Pop => {
            let outcome = train_generalized::<Pop>(&run, start, observer.as_mut(), &stop);
            drop(observer);
            report(&run, outcome?, root)
        }
        GfssMethod::Pspnet => {
            let outcome = train_generalized::<Pspnet>(&run, start, observer.as_mut(), &stop);
            drop(observer);
            report(&run, outcome?, root)
        }
    }
}

/// The data of a recipe, indexed with a progress bar.
pub fn open(root: &Path, recipe: &GfssRecipe, screen: &Screen) -> Result<GfssData, Failure> {
    GfssData::open_with(root, &recipe.data, |dataset| -> Result<GfssPart, Failure> {
        Ok(episodes::counted(screen, |options| GfssPart::new(dataset, options))?)
    })
}

fn report<M: StagedModel>(
    run: &GfssRun,
    outcome: GfssOutcome<M>,
    root: &Path,
) -> Result<(), Failure> {
    match outcome {
        GfssOutcome::Finished { seeds, evaluation } => {
            for seed in seeds {
                tracing::info!(
                    "seed {}: the model of epoch {} was kept: {}",
                    seed.seed,
                    seed.kept.epoch + 1,
                    seed.weights.display()
                );
            }
            output::print(&generalized_table(&evaluation))
        }
        GfssOutcome::Interrupted { seed, iteration, iterations } => Err(Failure::Interrupted {
            done: format!(
                "{iteration} of {iterations} iterations of seed {seed} are done and saved"
            ),
            next: format!(
                "continue with: fss train --resume --out {} --data-root {}",
                run.folder.display(),
                root.display()
            ),
        }),
    }
}
