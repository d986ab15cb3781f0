//! Training of the models of DENet's code.

use std::path::Path;

use fss_core::data::Benchmark;
use fss_core::data::folds::FoldScheme;
use fss_core::data::ways::{COCO_SHARE, PASCAL_SHARE, WayImages};
use fss_core::heads::{Amp, Canet, Denet, Pgnet};
use fss_core::train::Precision;
use fss_core::train::evaluate::FeatureReuse;
use fss_core::train::observer::Silent;
use fss_core::train::progress::TerminalProgress;
use fss_core::train::trainer::Start;
use fss_core::train::ways::{
    WAYS_BUILTIN_NAMES, WaysData, WaysInit, WaysMethod, WaysModel, WaysObserver, WaysOutcome,
    WaysRecipe, WaysRun, train_ways, ways_table,
};

use super::recipe::Source;
use super::{TrainArgs, recipe};
use crate::args::{Global, Verbosity};
use crate::episodes;
use crate::failure::Failure;
use crate::progress::Screen;
use crate::{interrupt, output};

/// The recipe that was asked for, if it is one of DENet's code.
pub fn source(args: &TrainArgs) -> Result<Option<Source>, Failure> {
    recipe::source(args, &WAYS_BUILTIN_NAMES, WaysRecipe::is_one)
}

/// The recipe in force.
fn effective(args: &TrainArgs, source: &Source) -> Result<WaysRecipe, Failure> {
    let (mut recipe, origin) = match source {
        Source::Builtin(name) => (WaysRecipe::builtin(name)?, name.clone()),
        Source::File(path) => (WaysRecipe::load(path)?, path.display().to_string()),
    };
    if let Some(dataset) = args.dataset.filter(|dataset| *dataset != recipe.data.dataset) {
        if args.resume {
            return Err(Failure::request(
                format!("--dataset {dataset}, but the run is one of {}", recipe.data.dataset),
                "leave it out, or start another run",
            ));
        }
        recipe.data.dataset = dataset;
        (recipe.data.folds, recipe.data.share) = match dataset {
            Benchmark::Coco => (FoldScheme::Interleaved, COCO_SHARE),
            other => (other.default_scheme(), PASCAL_SHARE),
        };
        if dataset.folds() == 1 {
            recipe.data.fold = 0;
        }
    }
    if let Some(path) = &args.pretrained {
        recipe.init = WaysInit::Weights { path: path.clone() };
    }
    if args.amp {
        recipe.train.precision = Precision::Mixed;
    }
    if !args.own.is_default() {
        recipe.data.own = args.own.options();
    }
    if args.splits.is_some() {
        return Err(Failure::request(
            "--splits belongs to recipes of other models",
            "leave it out: the lists of DENet's code are made from the masks",
        ));
    }
    let text = recipe::changed(&recipe.to_toml(), &args.changes, &origin)?;
    Ok(WaysRecipe::from_toml(&text, &format!("{origin} with --set"))?)
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
    if let WaysInit::Weights { path } = &recipe.init
        && !path.is_file()
        && !args.resume
    {
        return Err(Failure::request(
            format!("{}: there are no weights to start from", path.display()),
            "name torchvision's ImageNet weights of the backbone, or a checkpoint, with --pretrained FILE",
        ));
    }
    let device = global.device()?;
    let stop = interrupt::install("saving a checkpoint after the current step")?;
    let data = WaysData::open_with(root, &recipe.data, |tree, purpose| {
        let images = episodes::counted(screen, |options| WayImages::open(tree, purpose, options));
        Ok::<_, Failure>(images?)
    })?;
    let (folder, loader) = (out.clone(), episodes::reading());
    let reuse = FeatureReuse::default();
    let run = WaysRun { recipe, data, folder, device, loader, reuse };
    let start = if args.resume { Start::Resume } else { Start::Fresh };
    let trained = |observer: &mut dyn WaysObserver| match run.recipe.model.kind {
        WaysMethod::Denet => kept(train_ways::<Denet>(&run, start, observer, &stop)?),
        WaysMethod::Amp => kept(train_ways::<Amp>(&run, start, observer, &stop)?),
        WaysMethod::Canet => kept(train_ways::<Canet>(&run, start, observer, &stop)?),
        WaysMethod::Pgnet => kept(train_ways::<Pgnet>(&run, start, observer, &stop)?),
    };
    let ended = match global.verbosity() {
        Verbosity::Quiet => trained(&mut Silent),
        // The bars go before anything is printed.
        _ => trained(&mut TerminalProgress::new()),
    };
    report(&run, ended?, root)
}

/// How a run ended, whatever the model.
enum Ended {
    Finished(String),
    Interrupted(u64),
}

fn kept<M: WaysModel>(outcome: WaysOutcome<M>) -> Result<Ended, Failure> {
    Ok(match outcome {
        WaysOutcome::Finished { best, evaluation, weights, .. } => {
            tracing::info!(
                "the model of iteration {} was kept: {}",
                best.iteration,
                weights.display()
            );
            Ended::Finished(ways_table(&evaluation))
        }
        WaysOutcome::Interrupted { iteration, .. } => Ended::Interrupted(iteration),
    })
}

fn report(run: &WaysRun, ended: Ended, root: &Path) -> Result<(), Failure> {
    match ended {
        Ended::Finished(table) => output::print(&table),
        Ended::Interrupted(iteration) => Err(Failure::Interrupted {
            done: format!(
                "{iteration} of {} iterations are done and saved",
                run.recipe.episodes.steps
            ),
            next: format!(
                "continue with: fss train --resume --out {} --data-root {}",
                run.folder.display(),
                root.display()
            ),
        }),
    }
}
