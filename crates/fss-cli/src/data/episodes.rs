//! `fss data episodes`: the episodes of DENet's code as a file.

use std::path::PathBuf;

use clap::Args;
use fss_core::data::ways::{
    COCO_SHARE, EpisodeFile, EpisodePlan, PASCAL_SHARE, Purpose, SEED, WayImages,
};
use fss_core::data::{Benchmark, ClassId};
use fss_core::train::evaluate::Protocol;

use crate::args::DatasetArgs;
use crate::episodes;
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::progress::Screen;

/// Write the episodes of DENet's code to a file, so that others can test on the very same ones
///
/// Episodes of one class or several are drawn as `fss eval --protocol denet` draws them: the same command gives
/// the same file. With --training they are those of training, of base classes.
#[derive(Debug, Args)]
pub struct EpisodesArgs {
    /// The fold whose classes are novel
    #[arg(long, value_name = "N", default_value_t = 0)]
    fold: usize,
    /// Classes of an episode
    #[arg(long, value_name = "N", default_value_t = 1)]
    ways: usize,
    /// Supports of a class
    #[arg(long, value_name = "K", default_value_t = 1)]
    shot: usize,
    /// Episodes [default: 1000; training pascal 15000, coco 60000]
    #[arg(long, value_name = "N")]
    episodes: Option<usize>,
    /// The seed; the published one is 1234
    #[arg(long, value_name = "S", default_value_t = SEED)]
    seed: u32,
    /// From which share of an image on a class counts [default: pascal 0.02, coco 0.01]
    #[arg(long, value_name = "SHARE")]
    share: Option<f64>,
    /// Let no image occur twice in an episode; the published code allows it
    #[arg(long)]
    disjoint: bool,
    /// Episodes to train on
    #[arg(long)]
    training: bool,
    /// The file, JSON
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    dataset: DatasetArgs,
}

/// Draws and writes.
pub fn run(args: &EpisodesArgs, screen: &Screen) -> Result<(), Failure> {
    let benchmark = args.dataset.dataset;
    let coco = benchmark == Benchmark::Coco;
    let tree = args.dataset.detect()?;
    let fold = tree.fold(args.fold, Protocol::hsnet().folds(benchmark))?;
    let (purpose, published) = match args.training {
        false => (Purpose::Test, 1000),
        true => (Purpose::Training, if coco { 60_000 } else { 15_000 }),
    };
    let plan = EpisodePlan {
        purpose,
        ways: args.ways,
        shots: args.shot,
        episodes: args.episodes.unwrap_or(published),
        disjoint: args.disjoint,
    };
    let images = episodes::counted(screen, |options| WayImages::open(&tree, purpose, options))?;
    let share = args.share.unwrap_or(if coco { COCO_SHARE } else { PASCAL_SHARE });
    let drawn = images.episodes(&fold, &plan, share, args.seed)?;
    let dataset = &images.dataset;
    EpisodeFile::new(&dataset.name, fold, purpose, args.seed, &drawn, &dataset.ids)
        .save(&args.out)?;
    let mut classes: Vec<ClassId> = drawn.iter().map(|episode| episode.ways[0].class).collect();
    classes.sort_unstable();
    let mut table = Table::new(["class", "episodes"]);
    for class in classes.chunk_by(|one, other| one == other) {
        table.row([dataset.class_name(class[0]).to_owned(), class.len().to_string()]);
    }
    output::print(&table.to_string())
}
