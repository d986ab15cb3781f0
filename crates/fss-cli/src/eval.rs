//! `fss eval`: the scores of a model under a published protocol.

mod generalized;
mod maps;
mod options;
mod ways;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fss_core::data::Benchmark;
use fss_core::data::folds::{Fold, Subset};
use fss_core::data::io::write_atomic;
use fss_core::train::evaluate::{EvaluationPlan, FeatureReuse, Spill, Supports, evaluate_on};
use fss_core::train::observer::{EvaluationObserver, Silent};
use fss_core::train::progress::TerminalProgress;
use fss_core::train::report::{evaluation_table, save_evaluation_panels, to_json};
use fss_core::train::{EpisodeData, Part, Shard};
use fss_core::{Device, ModelOptions};

use crate::args::{ByteSize, DatasetArgs, Global, Verbosity};
use crate::episodes;
use crate::failure::Failure;
use crate::model::{Asked, GeneralizedArgs, ModelArgs};
use crate::progress::Screen;
use crate::{interrupt, output};
use maps::MapArgs;
use options::{EpisodeArgs, FoldArgs, ProtocolArgs};

/// Measure a model on the novel classes of a fold
///
/// Prints a table of scores: one line for each seed, mean and deviation, one line for each class.
/// The features of an image are computed once and serve all episodes, shots and seeds; the scores
/// are equal to those of computing them anew.
///
/// Models of generalized segmentation (pop, pspnet) are measured on whole images instead: base, novel, total and
/// harmonic mean IoU. Options of episodes have no meaning for them.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Write scores and drawn episodes to this file; equal evaluations give equal files
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure only the I-th of N equal shares, I from 0; `fss merge` puts the files of all of them together
    #[arg(long, value_name = "I/N", requires = "json")]
    shard: Option<Shard>,
    /// Draw pictures of episodes of the first seed: the first N, the N with the best IoU, and the N with the
    /// worst
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    save_panels: Option<u16>,
    /// The folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "panels", requires = "save_panels")]
    panels: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    dataset: DatasetArgs,
    #[command(flatten)]
    folds: FoldArgs,
    #[command(flatten)]
    protocol: ProtocolArgs,
    #[command(flatten)]
    episodes: EpisodeArgs,
    #[command(flatten)]
    maps: MapArgs,
    #[command(flatten)]
    features: FeatureArgs,
    #[command(flatten)]
    generalized: GeneralizedEvalArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Generalized segmentation")]
struct GeneralizedEvalArgs {
    /// Weights of further seeds of the same run, for mean and deviation
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    more_weights: Vec<PathBuf>,
    /// COCO: novel classes have the order of Python 3.6, as in weights of the published code
    #[arg(long)]
    python36_order: bool,
    #[command(flatten)]
    model: GeneralizedArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Features")]
struct FeatureArgs {
    /// Memory for features
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(2 << 30))]
    feature_cache: ByteSize,
    /// What happens to features that do not fit [default: ssp and mlc: disk, others: recompute]
    #[arg(long, value_enum)]
    spill: Option<SpillTo>,
    /// Compute the features anew for every episode, as the published code does
    #[arg(long, conflicts_with_all = ["feature_cache", "spill"])]
    no_reuse: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SpillTo {
    /// They go to a folder for temporary files, which is removed in the end
    Disk,
    /// They are dropped and computed again
    Recompute,
}

impl FeatureArgs {
    fn reuse(&self, model: &ModelOptions) -> FeatureReuse {
        if self.no_reuse {
            return FeatureReuse::Off;
        }
        // Taps at many depths are 40 MB an image at 400 pixels, and quicker made than read back.
        let deep = model.taps().is_some() || model.imagenet().is_some();
        let usual = if deep { SpillTo::Recompute } else { SpillTo::Disk };
        FeatureReuse::On {
            budget_bytes: usize::try_from(self.feature_cache.0).unwrap_or(usize::MAX),
            spill: match self.spill.unwrap_or(usual) {
                SpillTo::Disk => Spill::Disk(std::env::temp_dir()),
                SpillTo::Recompute => Spill::Recompute,
            },
        }
    }
}

/// Evaluates and reports.
pub fn run(args: &EvalArgs, global: &Global, screen: &Screen) -> Result<(), Failure> {
    if let Some(json) = &args.json {
        check_place(json)?;
    }
    if let Some(options) = args.model.generalized(&args.generalized.model)? {
        if args.save_panels.is_some() {
            return Err(Failure::request(
                "--save-panels shows episodes, and pop and pspnet have none",
                "leave it out; `fss predict` draws what these models see",
            ));
        }
        return generalized::run(args, &options, global, screen);
    }
    if args.save_panels.is_some() {
        // That it cannot be made should show before hours of measuring.
        std::fs::create_dir_all(&args.panels)
            .map_err(|e| Failure::io("make folder", &args.panels, e))?;
    }
    if args.generalized.python36_order || !args.generalized.more_weights.is_empty() {
        return Err(Failure::request(
            "--more-weights and --python36-order belong to pop and pspnet",
            "leave them out",
        ));
    }
    let stop = interrupt::install("ending after the current episode")?;
    let benchmark = args.dataset.dataset;
    let Asked { options: mut model_options, metadata } = args.model.read()?;
    if let ModelOptions::Imr(config) = &mut model_options {
        if args.model.stages_are_unknown(&metadata) && benchmark == Benchmark::Coco {
            // As the published weights of COCO-20i were trained.
            config.stages = 3;
        }
        config.support_labels = args.maps.support_labels();
    }
    if let Some(protocol) = args.protocol.denet(&model_options, benchmark, &args.episodes)? {
        return ways::run(args, &model_options, &metadata, protocol, global, screen, &stop);
    }
    let protocol = args.protocol.protocol(&model_options, args.model.refine)?;
    let tree = args.dataset.detect()?;
    let fold: Fold = args.folds.tested(&tree, protocol)?;
    let devices = global.devices()?;
    let trained = args.folds.trained(&model_options, &metadata, benchmark, &fold)?;
    let models = load_on(&devices, |device| args.model.load(&model_options, device))?;
    let part = Part {
        split: args.episodes.split.unwrap_or(benchmark.evaluation_split()),
        fold,
        subset: Subset::Novel,
        min_pixels: args.dataset.min_pixels(protocol),
        splits: args.dataset.splits.clone(),
    };
    let data: EpisodeData = episodes::open(&tree, part, screen)?;
    let plan = EvaluationPlan {
        seeds: args.episodes.seeds.clone().unwrap_or_else(|| protocol.seeds()),
        episodes: args.episodes.count(protocol, &data)?,
        supports: match args.episodes.upper_bound {
            true => Supports::QueryItself,
            false => Supports::Drawn,
        },
        shot_rule: args.episodes.shot_rule(),
        model: Some(model_options.to_string()),
        trained,
        seen: args.folds.seen(),
        reuse: args.features.reuse(&model_options),
        loader: episodes::reading(),
        shard: args.shard(),
        ..EvaluationPlan::published(protocol, benchmark, args.episodes.shot)
    };
    let plan = EvaluationPlan {
        cams: args.maps.source(&model_options, &data, &plan, &devices[0], screen, &stop)?,
        ..plan
    };

    let mut observer: Box<dyn EvaluationObserver> = match global.verbosity() {
        Verbosity::Quiet => Box::new(Silent),
        _ => Box::new(TerminalProgress::new()),
    };
    let result = evaluate_on(models, &data, &plan, observer.as_mut(), &stop);
    // The bars go with it.
    drop(observer);
    let evaluation = result?;
    if let Some(json) = &args.json {
        write_atomic(json, to_json(&evaluation).as_bytes())?;
    }
    output::print(&evaluation_table(&evaluation))?;
    let Some(each) = args.save_panels else { return Ok(()) };
    let (each, folder) = (usize::from(each), &args.panels);
    let device = &devices[0];
    let model = args.model.load(&model_options, device)?;
    let files =
        save_evaluation_panels(&model, &data, &plan, &evaluation, each, folder, device, &stop)?;
    tracing::info!("{} pictures in {}", files.len(), folder.display());
    Ok(())
}

impl EvalArgs {
    fn shard(&self) -> Shard {
        self.shard.unwrap_or_default()
    }
}

/// A copy of the model on each device.
fn load_on<M>(
    devices: &[Device],
    load: impl Fn(&Device) -> Result<M, Failure>,
) -> Result<Vec<(M, Device)>, Failure> {
    devices.iter().map(|device| Ok((load(device)?, device.clone()))).collect()
}

/// An evaluation takes long: that its result cannot be written should show before.
pub(crate) fn check_place(json: &Path) -> Result<(), Failure> {
    let folder = match json.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if folder.is_dir() && !json.is_dir() {
        return Ok(());
    }
    Err(Failure::request(
        format!("--json {} cannot be written: {} is no folder", json.display(), folder.display()),
        "make the folder or name another file",
    ))
}
