//! What a run of DENet's code is set to.

use std::path::{Path, PathBuf};

use fss_backbone::ImagenetConfig;
use fss_data::Benchmark;
use fss_data::folds::FoldScheme;
use fss_data::own::OwnOptions;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::protocol::{WaysProtocol, WaysTest};
use crate::recipe::diff::{differences_of, fingerprint_of};
use crate::recipe::parse::{EXTENDS, parse, supersede};
use crate::recipe::{CheckpointSettings, OptimSettings, SelectionRule};
use crate::{Precision, TrainError};

/// The models of DENet's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaysMethod {
    /// Dynamic extension nets.
    Denet,
    /// Adaptive masked proxies; it learns from plain images.
    Amp,
    /// Dense comparison.
    Canet,
    /// Graph attention.
    Pgnet,
}

impl WaysMethod {
    /// The value of `model.kind` in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Denet => "denet",
            Self::Amp => "amp",
            Self::Canet => "canet",
            Self::Pgnet => "pgnet",
        }
    }
}

/// All that a run is set to. Every part is explicit; nothing is read from the clock or the environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaysRecipe {
    /// A name for logs and reports.
    pub name: String,
    /// The model.
    pub model: WaysModelSettings,
    /// The backbone: `network` and `width` (64 is published).
    pub backbone: ImagenetConfig,
    /// Where the weights come from.
    pub init: WaysInit,
    /// Data set and fold.
    pub data: WaysDataSettings,
    /// Training episodes, or plain images.
    pub episodes: WaysEpisodes,
    /// Optimiser and learning rate.
    pub optim: OptimSettings,
    /// How it learns.
    #[serde(default)]
    pub train: WaysTrainSettings,
    /// What is measured while training.
    pub validation: WaysValidationSettings,
    /// What is measured at the end, with the selected model.
    pub evaluation: WaysEvaluationSettings,
    /// How often the run is saved. May change between a start and its resumption.
    #[serde(default)]
    pub checkpoint: CheckpointSettings,
}

/// The model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaysModelSettings {
    /// `denet`, `amp`, `canet` or `pgnet`.
    pub kind: WaysMethod,
    /// Seed of the head's random weights.
    pub seed: u64,
    /// DENet: what the episode's class weighs in the loss; all others weigh 1.
    #[serde(default = "one")]
    pub lambda: f64,
    /// CANet: how often a result is refined.
    #[serde(default = "refinements")]
    pub refinements: usize,
    /// Whether training drops values and channels, as published.
    #[serde(default = "yes")]
    pub dropout: bool,
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn refinements() -> usize {
    fss_heads::canet::REFINEMENTS
}

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", deny_unknown_fields)]
pub enum WaysInit {
    /// A file: torchvision's ImageNet weights of the backbone, or a checkpoint of the whole model.
    Weights {
        /// `.pth`, `.safetensors` or `.bpk`.
        path: PathBuf,
    },
    /// Random weights.
    Scratch {
        /// Seed of the backbone's weights.
        seed: u64,
        /// How many training images the statistics of the backbone's norms are measured on before training
        /// starts.
        calibration_images: usize,
    },
}

impl WaysInit {
    /// The seed of the backbone's random weights; 0 where a file gives them.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Weights { .. } => 0,
            Self::Scratch { seed, .. } => *seed,
        }
    }
}

/// Data set and fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaysDataSettings {
    /// The data set: `pascal`, `coco` or `own`.
    pub dataset: Benchmark,
    /// How the classes are dealt to the folds.
    pub folds: FoldScheme,
    /// The fold whose classes are novel.
    pub fold: usize,
    /// From which share of an image on a class counts.
    pub share: f64,
    /// Whether undecided pixels (255) are ignored; they are background in the published code.
    #[serde(default)]
    pub ignore_border: bool,
    /// How data of one's own are read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub own: OwnOptions,
}

fn is_default(options: &OwnOptions) -> bool {
    *options == OwnOptions::default()
}

/// Training episodes; for AMP plain images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaysEpisodes {
    /// Supports an episode.
    pub shot: usize,
    /// Episodes (or images) an iteration; the last batch of a pass may be smaller.
    pub batch: usize,
    /// Length of the list that is drawn at the start and passed over again and again.
    pub list: usize,
    /// Seed of the list, and of the episodes of validations; 1234 is published.
    pub seed: u32,
    /// Seed of the order of each pass, of what is mirrored and of what is dropped. The published code has
    /// none.
    pub order_seed: u64,
    /// Iterations of the whole run.
    pub steps: u64,
    /// Side of the square that images are brought to, in pixels.
    pub side: usize,
    /// Whether images are mirrored with probability one half.
    pub mirrored: bool,
}

/// How a model learns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaysTrainSettings {
    /// In which precision convolutions compute: `full` (float32), or `mixed`.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
}

/// What is measured while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaysValidationSettings {
    /// Iterations between two validations.
    pub every: u64,
    /// Its episodes.
    pub test: WaysTest,
    /// Which model is kept.
    pub selection: SelectionRule,
}

/// What is measured at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaysEvaluationSettings {
    /// One run for each.
    pub seeds: Vec<u32>,
    /// Its episodes.
    pub test: WaysTest,
}

impl WaysRecipe {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// [`TrainError::Io`] if it cannot be read, else as [`from_toml`](Self::from_toml).
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TrainError::io("read recipe", path, source))?;
        Self::from_toml(&text, &path.display().to_string())
    }

    /// Reads a recipe; `origin` names it in errors. With `extends = "<built-in>"` all that is not given
    /// comes from that recipe.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] naming the key that is unknown, missing, of a wrong type or senseless.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, TrainError> {
        let built_in = |name: &str, changes: &Table| {
            let mut whole = Self::builtin(name)?.to_table();
            supersede(&mut whole, changes);
            Ok(whole)
        };
        parse(text, origin, built_in, Self::check)
    }

    /// The recipe as a TOML file that [`load`](Self::load) reads.
    pub fn to_toml(&self) -> String {
        self.to_table().to_string()
    }

    fn to_table(&self) -> Table {
        // A recipe holds only tables, arrays, text, numbers within range and paths.
        Table::try_from(self).unwrap_or_default()
    }

    /// Whether a TOML text is a recipe of this kind: its model is (or it extends a recipe of) one of
    /// DENet's code.
    pub fn is_one(text: &str) -> bool {
        let Ok(table) = text.parse::<Table>() else { return false };
        let kind = table.get("model").and_then(|model| model.get("kind")?.as_str());
        let extended = table.get(EXTENDS).and_then(toml::Value::as_str);
        kind.is_some_and(|kind| ["denet", "amp", "canet", "pgnet"].contains(&kind))
            || extended.is_some_and(|name| super::WAYS_BUILTIN_NAMES.contains(&name))
    }

    /// A fingerprint of everything that changes what a run computes, as 16 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(self)
    }

    /// The keys whose values differ in a way that changes what a run computes, as `key: ours | theirs`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        differences_of(self, other)
    }

    /// How models are validated.
    pub fn validation_protocol(&self) -> WaysProtocol {
        self.protocol(&self.validation.test)
    }

    /// How the selected model is tested.
    pub fn evaluation_protocol(&self) -> WaysProtocol {
        self.protocol(&self.evaluation.test)
    }

    fn protocol(&self, test: &WaysTest) -> WaysProtocol {
        WaysProtocol {
            side: self.episodes.side,
            share: self.data.share,
            ignore_border: self.data.ignore_border,
            test: test.clone(),
        }
    }
}
