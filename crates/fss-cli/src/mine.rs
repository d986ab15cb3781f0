//! `fss mine`: latent classes and pseudo masks, before MLC's full method is trained.

use std::path::{Path, PathBuf};

use clap::Args;
use fss_core::data::folds::Subset;
use fss_core::train::mining::{
    MiningObserver, MiningPhase, MiningPlace, PseudoMasks, mine_for_recipe,
};
use fss_core::train::recipe::Recipe;
use fss_core::train::{EpisodeData, Part, TrainError};
use indicatif::ProgressBar;

use crate::args::Global;
use crate::failure::Failure;
use crate::output::Table;
use crate::progress::Screen;
use crate::train::recipe;
use crate::{episodes, interrupt, output};

/// Label training images with latent classes, before MLC's full method is trained
///
/// The folder OUT gets the latent classes (clusters.safetensors) and a pseudo mask of each image.
/// The encoder is the one that the recipe starts training from. Work that was stopped, by Ctrl-C or
/// otherwise, goes on when the same command is run again.
#[derive(Debug, Args)]
pub struct MineArgs {
    /// A built-in recipe with a mining branch, such as mlc-full-pascal, or a TOML file
    #[arg(long, value_name = "NAME|FILE")]
    recipe: String,
    /// Change a value of the recipe, as in --set model.mining.labels.clusters=100; repeat for more
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// The folder of the data set
    #[arg(long, value_name = "DIR")]
    data_root: PathBuf,
    /// The backbone weights that training will start from
    #[arg(long, value_name = "FILE")]
    pretrained: Option<PathBuf>,
    /// A folder of further images, without annotation, to be labelled and trained on as well
    #[arg(long, value_name = "DIR")]
    extra: Option<PathBuf>,
    /// Where latent classes and masks go [default: what the recipe's model.mining.masks names]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Mines, and prints what came of it.
pub fn run(args: &MineArgs, global: &Global, screen: &Screen) -> Result<(), Failure> {
    let recipe =
        recipe::effective(Some(&args.recipe), None, args.pretrained.as_deref(), &args.changes)?;
    let folder = match (&args.out, recipe.model.mining()) {
        (Some(folder), _) => folder.clone(),
        (None, Some(mining)) => mining.masks.clone(),
        (None, None) => PathBuf::new(),
    };
    let device = global.device()?;
    let stop = interrupt::install("keeping what is done")?;
    let train = open(&args.data_root, &recipe, screen)?;
    let place = MiningPlace {
        folder: folder.clone(),
        extra: args.extra.clone(),
        device,
        loader: episodes::reading(),
    };
    let mut bars = Bars { screen, bar: None };
    match mine_for_recipe(&recipe, &train, place, &mut bars, &stop) {
        Ok(masks) => output::print(&summary(&masks, &folder)),
        Err(TrainError::Interrupted { what }) => Err(Failure::Interrupted {
            done: format!("{what} is not finished; what is done was kept"),
            next: "run the same command again to go on".into(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// The images that training draws from, with the base classes.
fn open(root: &Path, recipe: &Recipe, screen: &Screen) -> Result<EpisodeData, Failure> {
    let settings = &recipe.data;
    let tree = settings.detect(root)?;
    let part = Part {
        split: settings.train_split,
        fold: tree.training_fold(settings.fold, settings.folds)?,
        subset: Subset::Base,
        min_pixels: settings.min_pixels,
        splits: settings.splits.clone(),
    };
    episodes::open(&tree, part, screen)
}

fn summary(masks: &PseudoMasks, folder: &Path) -> String {
    let clusters = masks.clusters();
    let (least, most) = (clusters.sizes.iter().min(), clusters.sizes.iter().max());
    let regions: usize = clusters.sizes.iter().sum();
    let mut table = Table::new(["what", "number"]);
    table.row(["images with pseudo masks".into(), masks.len().to_string()]);
    table.row(["regions of base classes".into(), regions.to_string()]);
    table.row(["latent classes".into(), clusters.count().to_string()]);
    table.row(["regions of the smallest".into(), least.map_or(0, |n| *n).to_string()]);
    table.row(["regions of the largest".into(), most.map_or(0, |n| *n).to_string()]);
    format!(
        "{table}train with: fss train --set model.mining.masks={} and the same recipe, data and \
         weights\n",
        folder.display()
    )
}

/// A bar for each part.
struct Bars<'a> {
    screen: &'a Screen,
    bar: Option<ProgressBar>,
}

impl MiningObserver for Bars<'_> {
    fn phase_started(&mut self, phase: MiningPhase, total: usize) {
        if let Some(old) = self.bar.take() {
            old.finish_and_clear();
        }
        let name = match phase {
            MiningPhase::Prototypes => "prototypes",
            MiningPhase::Clustering => "clustering",
            MiningPhase::Masks => "pseudo masks",
        };
        self.bar = Some(self.screen.bar(total, name));
    }

    fn advanced(&mut self, done: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
    }
}

impl Drop for Bars<'_> {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
