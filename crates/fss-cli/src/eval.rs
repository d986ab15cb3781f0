//! `fss eval`: the scores of a model under a published protocol.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fss_core::backbone::inspect_weights;
use fss_core::data::Split;
use fss_core::data::folds::{Fold, Subset};
use fss_core::data::io::write_atomic;
use fss_core::load_ssp;
use fss_core::train::evaluate::{
    EvaluationPlan, FeatureReuse, Protocol, Spill, Supports, evaluate,
};
use fss_core::train::observer::{EvaluationObserver, Silent};
use fss_core::train::progress::TerminalProgress;
use fss_core::train::report::{evaluation_table, to_json};

use crate::args::{Benchmark, ByteSize, DatasetArgs, Global, ModelArgs, Verbosity};
use crate::episodes::{self, Part};
use crate::failure::Failure;
use crate::progress::Screen;
use crate::{interrupt, output};

/// Measure a model on the novel classes of a fold
///
/// Prints a table of scores: one line for each seed, mean and deviation, one line for each class.
/// The features of an image are computed once and serve all episodes, shots and seeds; the scores
/// are equal to those of computing them anew.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Write scores and drawn episodes to this file; equal evaluations give equal files
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    dataset: DatasetArgs,
    #[command(flatten)]
    episodes: EpisodeArgs,
    #[command(flatten)]
    features: FeatureArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Episodes")]
struct EpisodeArgs {
    /// The fold whose classes are novel, 0 to 3
    #[arg(long, value_name = "N")]
    fold: usize,
    /// Supports of an episode
    #[arg(long, value_name = "K", default_value_t = 1)]
    shot: usize,
    /// How episodes are drawn and scored
    #[arg(long, value_enum, default_value_t)]
    protocol: ProtocolName,
    /// One run for each of these seeds
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0,1,2,3,4")]
    seeds: Vec<u64>,
    /// Episodes of each run
    #[arg(long, value_name = "N", default_value_t = 1000)]
    episodes: usize,
    /// Let each query with its true mask be its own support: what prototypes could reach at best
    #[arg(long)]
    upper_bound: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Features")]
struct FeatureArgs {
    /// Memory for features
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(2 << 30))]
    feature_cache: ByteSize,
    /// What happens to features that do not fit
    #[arg(long, value_enum, default_value_t)]
    spill: SpillTo,
    /// Compute the features anew for every episode, as the published code does
    #[arg(long, conflicts_with_all = ["feature_cache", "spill"])]
    no_reuse: bool,
}

/// The protocols that can be named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    /// SSP and MLC: original sizes, episodes drawn as their code does with 4 workers
    #[default]
    Official,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum SpillTo {
    /// They go to a folder for temporary files, which is removed in the end
    #[default]
    Disk,
    /// They are dropped and computed again
    Recompute,
}

impl FeatureArgs {
    fn reuse(&self) -> FeatureReuse {
        if self.no_reuse {
            return FeatureReuse::Off;
        }
        FeatureReuse::On {
            budget_bytes: usize::try_from(self.feature_cache.0).unwrap_or(usize::MAX),
            spill: match self.spill {
                SpillTo::Disk => Spill::Disk(std::env::temp_dir()),
                SpillTo::Recompute => Spill::Recompute,
            },
        }
    }
}

impl EvalArgs {
    fn part(&self) -> Result<Part, Failure> {
        let fold = match self.dataset.dataset {
            Benchmark::Pascal => Fold::pascal(self.episodes.fold)?,
        };
        let min_pixels = self.dataset.min_pixels;
        Ok(Part { split: Split::Val, fold, subset: Subset::Novel, min_pixels })
    }

    fn plan(&self) -> EvaluationPlan {
        EvaluationPlan {
            protocol: match self.episodes.protocol {
                ProtocolName::Official => Protocol::Official,
            },
            shot: self.episodes.shot,
            seeds: self.episodes.seeds.clone(),
            episodes: self.episodes.episodes,
            supports: match self.episodes.upper_bound {
                true => Supports::QueryItself,
                false => Supports::Drawn,
            },
            reuse: self.features.reuse(),
            loader: episodes::reading(),
        }
    }
}

/// Evaluates and reports.
pub fn run(args: &EvalArgs, global: &Global, screen: &Screen) -> Result<(), Failure> {
    if let Some(json) = &args.json {
        check_place(json)?;
    }
    let part = args.part()?;
    let device = global.device()?;
    let stop = interrupt::install("ending after the current episode")?;
    let (model, _) = load_ssp(&args.model.config(), &args.model.weights, &device)?;
    let model = model.fold();
    warn_of_other_fold(&args.model.weights, &part.fold);
    let data = episodes::open(&args.dataset.data_root, part, screen)?;

    let mut observer: Box<dyn EvaluationObserver> = match global.verbosity() {
        Verbosity::Quiet => Box::new(Silent),
        _ => Box::new(TerminalProgress::new()),
    };
    let result = evaluate(&model, &data, &args.plan(), &device, observer.as_mut(), &stop);
    // The bars go with it.
    drop(observer);
    let evaluation = result?;
    if let Some(json) = &args.json {
        write_atomic(json, to_json(&evaluation).as_bytes())?;
    }
    output::print(&evaluation_table(&evaluation))
}

/// An evaluation takes long: that its result cannot be written should show before.
fn check_place(json: &Path) -> Result<(), Failure> {
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

/// Weights that were trained on another fold have seen the classes that are novel here.
fn warn_of_other_fold(file: &Path, fold: &Fold) {
    // Whatever is wrong with the file shows when it is loaded.
    let metadata = inspect_weights(file).map(|summary| summary.metadata).unwrap_or_default();
    if let Some(trained) = metadata.get("fss.fold")
        && *trained != fold.index().to_string()
    {
        tracing::warn!(
            "the weights were trained for fold {trained}, so they have seen the classes of fold {}; \
             the scores mean nothing for novel classes",
            fold.index()
        );
    }
}
