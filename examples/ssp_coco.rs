//! SSP on COCO-20i, from COCO's annotations to a report under two protocols.
//!
//! Without arguments it draws a synthetic data set in the layout of COCO 2014, makes label masks of
//! its annotations as `fss data prepare coco` does, trains a small network from scratch on the base
//! classes of a fold, and measures it on the novel ones: by SSP's own protocol, whose folds are
//! contiguous, and by HSNet's, whose folds are interleaved. Of the novel classes of the latter the
//! network has seen most in training, so that measurement has to be asked for, and carries a warning:
//!
//! ```sh
//! cargo run --release --example ssp_coco
//! ```
//!
//! With `--data-root` (a tree that `fss data prepare coco` made) and `--weights` it runs the
//! published setting: ResNet-50 from an ImageNet file, five seeds of 4,000 test episodes.

mod common;

use std::path::{Path, PathBuf};

use clap::Parser;
use common::{Options, Result, Workshop};
use fss_core::data::Benchmark;
use fss_core::data::folds::{FoldScheme, Subset};
use fss_core::data::index::IndexOptions;
use fss_core::data::prepare::{CocoOptions, PrepareOptions, prepare_coco};
use fss_core::data::synthetic::{CocoConfig, SyntheticConfig, generate_coco};
use fss_core::heads::Ssp;
use fss_core::train::evaluate::{EvaluationPlan, HsnetProtocol, Protocol, SeenClasses};
use fss_core::train::report::{comparison_table, evaluation_table};
use fss_core::train::trainer::initial_model;
use fss_core::train::{EpisodeData, Part, RunData};

/// Trains SSP on the base classes of a COCO-20i fold and measures it on novel ones under both
/// protocols.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// The fold whose classes are novel
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..4))]
    fold: u8,
}

fn main() -> std::process::ExitCode {
    common::finish(run(&Args::parse()))
}

fn run(Args { options, fold }: &Args) -> Result<()> {
    let shop = Workshop::open(options, "ssp_coco")?;
    let mut recipe = shop.recipe("ssp-coco", "ssp-coco-synthetic")?;
    recipe.data.fold = (*fold).into();
    let root = shop.data_root(|root, progress| {
        let mut config = CocoConfig::default();
        if options.smoke {
            let few = SyntheticConfig { train_images: 240, val_images: 240, ..config.pictures };
            config.pictures = few;
        }
        generate_coco(root, &config, progress)
    })?;
    let root = match options.data_root {
        Some(_) => root,
        None => prepare(&root, &shop.folder("prepared")?)?,
    };
    let data = RunData::open(&root, &recipe.data)?;
    let training = shop.training("run", recipe, data)?;
    let own = training.evaluation_plan();

    eprintln!("The untrained network, on the novel classes of fold {fold}:");
    let untrained = initial_model::<Ssp>(&training)?;
    let untrained = shop.measure(&untrained, &training, &training.test, &own)?;
    eprintln!("Training on the base classes:");
    let (model, trained) = shop.train::<Ssp>(&training)?;

    let settings = &training.recipe.data;
    let hsnet = HsnetProtocol {
        // Synthetic images are small.
        side: if options.data_root.is_some() { HsnetProtocol::default().side } else { 112 },
        ..HsnetProtocol::default()
    };
    let hsnet = Protocol::Hsnet(hsnet);
    let episodes = hsnet.episodes(Benchmark::Coco).min(own.episodes * own.seeds.len());
    let plan = training.plan(hsnet, hsnet.seeds(), episodes);
    eprintln!("The same classes under HSNet's protocol:");
    let same = shop.measure(&model, &training, &training.test, &plan)?;
    eprintln!("HSNet's own fold {fold}:");
    let tree = settings.detect(&root)?;
    let part = Part {
        split: settings.val_split,
        fold: tree.fold(settings.fold, FoldScheme::Interleaved)?,
        subset: Subset::Novel,
        min_pixels: settings.min_pixels,
        splits: settings.splits.clone(),
    };
    let interleaved = EpisodeData::open(&tree, part, &IndexOptions::default())?;
    if let Err(refusal) = shop.measure(&model, &training, &interleaved, &plan) {
        eprintln!("refused: {refusal}");
    }
    let plan = EvaluationPlan { seen: SeenClasses::Allow, ..plan };
    let mixed = shop.measure(&model, &training, &interleaved, &plan)?;

    println!("{}", evaluation_table(&trained));
    println!("{}", evaluation_table(&mixed));
    let entries = [
        ("untrained", &untrained),
        ("trained, interleaved fold", &mixed),
        ("trained, contiguous fold", &same),
        ("trained", &trained),
    ];
    println!("{}", comparison_table(&entries));
    let introduction = shop.measured_on(&format!("fold {fold}"), "COCO-20i", "COCO 2014");
    shop.report(format!("SSP on COCO-20i, fold {fold}"), introduction, &entries, &training, &model)
}

/// Makes a tree of label masks and lists of COCO's archives.
fn prepare(archives: &Path, out: &Path) -> Result<PathBuf> {
    let from = [archives.to_path_buf()];
    let made = prepare_coco(&from, out, &CocoOptions::default(), &PrepareOptions::default())?;
    eprintln!("{} masks in {}", made.masks.made + made.masks.kept, made.tree.display());
    Ok(out.to_path_buf())
}
