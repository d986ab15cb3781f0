//! What a run of either stage is set to.

use std::path::{Path, PathBuf};

use fss_backbone::DilatedResNetConfig;
use fss_data::folds::FoldScheme;
use fss_data::gfss::{BaseDraw, NovelOrder, WorkerOffsets};
use fss_data::own::OwnOptions;
use fss_data::{Benchmark, Split};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::TrainError;
use crate::precision::Precision;
use crate::recipe::CheckpointSettings;
use crate::recipe::diff::{differences_of, fingerprint_of};
use crate::recipe::parse::{EXTENDS, parse};
use crate::schedule::Schedule;

/// Which of the two stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Base classes, from full data.
    Base,
    /// Novel classes, from a few images each.
    Novel,
}

/// The method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GfssMethod {
    /// Orthogonal prototypes.
    Pop,
    /// The PSPNet baseline; stage 1 alone.
    Pspnet,
}

impl GfssMethod {
    /// The value of `model.kind` in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pop => "pop",
            Self::Pspnet => "pspnet",
        }
    }
}

/// All that a run is set to. Every part is explicit; nothing is read from the clock or the environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GfssRecipe {
    /// A name for logs and reports.
    pub name: String,
    /// Which stage.
    pub stage: Stage,
    /// The method.
    pub model: GfssModelSettings,
    /// The backbone: `depth`, `width` (64 is published) and `output_stride` (8 is published).
    pub backbone: DilatedResNetConfig,
    /// Where the weights come from.
    pub init: GfssInit,
    /// Data set, fold and lists.
    pub data: GfssDataSettings,
    /// What samples are made of them.
    pub samples: SampleSettings,
    /// Optimiser and learning rate.
    pub optim: GfssOptim,
    /// What learns, and which model is kept.
    pub train: GfssTrainSettings,
    /// How often the run is saved. May change between a start and its resumption.
    #[serde(default)]
    pub checkpoint: CheckpointSettings,
}

/// The method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GfssModelSettings {
    /// `pop` or `pspnet`.
    pub kind: GfssMethod,
}

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GfssInit {
    /// A file: for stage 1 of the backbone alone (ImageNet) or of a whole model, for stage 2 of a model of
    /// stage 1. What it lacks is random, from the seed of the run.
    Weights {
        /// `.pth`, `.safetensors` or `.bpk`.
        path: PathBuf,
    },
    /// Random weights, from the seed of the run.
    Scratch,
}

/// Data set, fold and lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GfssDataSettings {
    /// The data set: `pascal`, `coco` or `own`.
    pub dataset: Benchmark,
    /// How the classes are dealt to the folds.
    pub folds: FoldScheme,
    /// The fold whose classes are novel.
    pub fold: usize,
    /// The split to train on.
    pub train_split: Split,
    /// The split that models are selected on, as published the one of the evaluation.
    pub val_split: Split,
    /// From how many pixels of a class on an image can be drawn for it in stage 2.
    pub min_pixels: u64,
    /// Whether images that show a novel class are kept from stage 1 and from base lists.
    #[serde(default)]
    pub filter_novel: bool,
    /// In which order novel classes get their indices.
    #[serde(default)]
    pub novel_order: NovelOrder,
    /// Images a class in stage 2.
    pub shot: usize,
    /// How base images of stage 2 are drawn.
    pub base_draw: BaseDraw,
    /// A folder of few-shot lists `fold<f>_<shot>shot_seed<seed>.txt`, if they are not to be drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists: Option<PathBuf>,
    /// How data of one's own are read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub own: OwnOptions,
}

fn is_default(options: &OwnOptions) -> bool {
    *options == OwnOptions::default()
}

/// Samples, epochs and seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleSettings {
    /// Images an iteration (stage 1), or pairs of a novel and a base image (stage 2).
    pub batch: usize,
    /// Passes over the list.
    pub epochs: u64,
    /// Side of the square crop in pixels.
    pub crop: usize,
    /// Side of the square that whole images are brought to when a model is measured.
    pub side: usize,
    /// Least and largest scale of a training image.
    pub scales: [f64; 2],
    /// Logical loader workers; the draws depend on their number. 4 is published.
    pub workers: usize,
    /// Where workers take the offsets of crops from.
    #[serde(default)]
    pub offsets: WorkerOffsets,
    /// One run for each seed.
    pub seeds: Vec<u64>,
}

/// Stochastic gradient descent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GfssOptim {
    /// Learning rate of the backbone.
    pub lr: f64,
    /// What it is multiplied by for everything else: 10 as published.
    pub head_factor: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// Momentum.
    pub momentum: f64,
    /// L2 penalty, of all but biases and shifts outside the backbone.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub clip: f64,
}

/// Which model is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The best on the validation split, by the published rule of the stage. Published numbers were
    /// selected on the evaluation images in this way.
    #[default]
    Best,
    /// The last.
    Last,
}

/// What learns, and which model is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GfssTrainSettings {
    /// Stage 1: whether the backbone keeps its weights and all norms their statistics. Stage 2 does so in
    /// any case.
    #[serde(default)]
    pub freeze_backbone: bool,
    /// In which precision convolutions compute.
    #[serde(default)]
    pub precision: Precision,
    /// Stage 2: after how many epochs base images are drawn anew and the model is validated; 0 for never
    /// drawing anew and validating after every epoch.
    #[serde(default)]
    pub update_base: usize,
    /// Which model is kept.
    #[serde(default)]
    pub keep: Keep,
    /// Stage 2: ends a run whose best model is older than a quarter of all epochs.
    #[serde(default)]
    pub early_stop: bool,
}

impl GfssRecipe {
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
        let built_in = |name: &str, _: &Table| Ok(Self::builtin(name)?.to_table());
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

    /// Whether a TOML text is a recipe of this kind, rather than one of episodes: it has (or extends one
    /// with) a `stage`.
    pub fn is_one(text: &str) -> bool {
        let Ok(table) = text.parse::<Table>() else { return false };
        let extended = table.get(EXTENDS).and_then(toml::Value::as_str);
        table.contains_key("stage")
            || extended.is_some_and(|name| super::GFSS_BUILTIN_NAMES.contains(&name))
    }

    /// A fingerprint of everything that changes what a run computes, as 16 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(self)
    }

    /// The keys whose values differ in a way that changes what a run computes, as `key: ours | theirs`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        differences_of(self, other)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] naming the first key whose value makes no sense.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |key: &str, value: String, remedy: &str| {
            Err(TrainError::Recipe {
                origin: self.name.clone(),
                problem: format!("`{key}` is {value}"),
                remedy: remedy.to_owned(),
            })
        };
        self.backbone.validate()?;
        if self.model.kind == GfssMethod::Pspnet && self.stage == Stage::Novel {
            return refuse(
                "model.kind",
                "pspnet".into(),
                "the baseline has no stage 2; use pop, or stage base",
            );
        }
        if self.data.dataset == Benchmark::Fss1000 {
            return refuse("data.dataset", "fss1000".into(), "use pascal, coco or own");
        }
        if self.data.dataset != Benchmark::Own {
            self.data.dataset.fold(self.data.fold, self.data.folds)?;
        }
        if self.stage == Stage::Novel && self.init == GfssInit::Scratch {
            return refuse(
                "init.from",
                "scratch".into(),
                "stage 2 starts from the weights of stage 1: from = \"weights\" and their path",
            );
        }
        let whole = self.samples.batch == 1 && self.stage == Stage::Base;
        if whole && !self.train.freeze_backbone {
            return refuse(
                "samples.batch",
                "1".into(),
                "the decoder's norms need at least 2 images a batch, unless the backbone is frozen",
            );
        }
        let counts = [
            ("samples.batch", self.samples.batch),
            ("samples.epochs", self.samples.epochs as usize),
            ("samples.crop", self.samples.crop),
            ("samples.side", self.samples.side),
            ("samples.workers", self.samples.workers),
            ("samples.seeds", self.samples.seeds.len()),
            ("data.shot", self.data.shot),
            ("checkpoint.keep", self.checkpoint.keep),
            ("checkpoint.every", self.checkpoint.every as usize),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return refuse(key, "0 (or nothing)".into(), "give at least one");
        }
        if let Some(seed) = self.samples.seeds.iter().find(|seed| i64::try_from(**seed).is_err()) {
            return refuse("samples.seeds", seed.to_string(), "give seeds below 2^63");
        }
        let [least, largest] = self.samples.scales;
        if !(least > 0.0 && least <= largest && largest.is_finite()) {
            let scales = format!("{:?}", self.samples.scales);
            return refuse(
                "samples.scales",
                scales,
                "give the least and the largest, as [0.9, 1.1]",
            );
        }
        let numbers = [
            ("optim.lr", self.optim.lr, f64::MIN_POSITIVE, 1e3),
            ("optim.head_factor", self.optim.head_factor, 0.0, 1e6),
            ("optim.momentum", self.optim.momentum, 0.0, 1.0),
            ("optim.weight_decay", self.optim.weight_decay, 0.0, 1e3),
            ("optim.clip", self.optim.clip, f64::MIN_POSITIVE, f64::MAX),
        ];
        for (key, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                return refuse(key, value.to_string(), "give a positive number of ordinary size");
            }
        }
        if let Some((key, problem)) = self.optim.schedule.problem() {
            return refuse(&format!("optim.schedule.{key}"), problem, "correct it");
        }
        Ok(())
    }
}
