//! The parts of a recipe.

use std::path::{Path, PathBuf};

use fss_backbone::{NormTraining, Stage};
use fss_data::benchmark::{BenchmarkRoot, OpenOptions};
use fss_data::folds::{Fold, FoldScheme};
use fss_data::own::OwnOptions;
use fss_data::{Benchmark, Split};
use fss_heads::Refine;
use serde::{Deserialize, Serialize};

use super::{BackboneSettings, HsnetSettings, ImrSettings, MlcSettings, OptimSettings};
use crate::Precision;
use crate::TrainError;
use crate::evaluate::Protocol;

/// All that a training run is set to. Every part is explicit; nothing is read from the clock or
/// the environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// A name for logs and reports.
    pub name: String,
    /// The head.
    pub model: ModelSettings,
    /// The backbone: `depth` or `network`, and `width` (64 is the published one).
    pub backbone: BackboneSettings,
    /// Where the weights come from.
    pub init: Init,
    /// Data set, fold and splits.
    pub data: DataSettings,
    /// Training episodes.
    pub episodes: EpisodeSettings,
    /// Optimiser and learning rate.
    pub optim: OptimSettings,
    /// Which parts learn, and how.
    pub train: TrainSettings,
    /// What is measured at every snapshot.
    pub validation: ValidationSettings,
    /// What is measured at the end, with the selected model.
    pub evaluation: EvaluationSettings,
    /// How often the run is saved. May change between a start and its resumption.
    #[serde(default)]
    pub checkpoint: CheckpointSettings,
}

/// The head; in a file `kind` says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelSettings {
    /// Self-support few-shot segmentation (ECCV 2022).
    Ssp(SspSettings),
    /// Mining latent classes (ICCV 2021).
    Mlc(MlcSettings),
    /// Hypercorrelation squeeze (ICCV 2021).
    Hsnet(HsnetSettings),
    /// Iterative mutual refinement from class names (IJCAI 2022).
    Imr(ImrSettings),
}

impl ModelSettings {
    /// The value of `kind` in a file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ssp(_) => "ssp",
            Self::Mlc(_) => "mlc",
            Self::Hsnet(_) => "hsnet",
            Self::Imr(_) => "imr",
        }
    }
}

/// Settings of SSP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SspSettings {
    /// Whether the self-support step runs a second time.
    pub refine: Refine,
}

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Init {
    /// A file of pretrained backbone weights, or of the whole model.
    Weights {
        /// `.pth`, `.safetensors` or `.bpk`.
        path: PathBuf,
    },
    /// Random weights.
    Scratch {
        /// Seed of the weights.
        seed: u64,
        /// How many training episodes the frozen norms' statistics are measured on before training
        /// starts. 0 leaves mean 0 and variance 1.
        calibration_episodes: usize,
    },
}

impl Init {
    /// The seed of the backbone's random weights; 0 where a file gives them.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Scratch { seed, .. } => *seed,
            Self::Weights { .. } => 0,
        }
    }
}

/// Data set, fold and splits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// The data set: `pascal`, `coco`, `fss1000` or `own`.
    pub dataset: Benchmark,
    /// How the classes are dealt to the folds.
    pub folds: FoldScheme,
    /// The fold whose classes are novel: 0..=3, or 0 where they are listed.
    pub fold: usize,
    /// The split that training episodes are drawn from (with the base classes).
    pub train_split: Split,
    /// The split that validations draw from (with the novel classes).
    pub val_split: Split,
    /// The split that the final evaluation draws from, if it is not the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_split: Option<Split>,
    /// An image counts for a class from this many pixels of it on.
    pub min_pixels: u64,
    /// The folder of published lists, where they are not in the tree itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits: Option<PathBuf>,
    /// How data of one's own are read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub own: OwnOptions,
}

fn is_default(options: &OwnOptions) -> bool {
    *options == OwnOptions::default()
}

impl DataSettings {
    /// The fold of the published data set. A smaller set in the same layout has its own, and so have
    /// data of one's own: [`BenchmarkRoot::fold`].
    ///
    /// # Errors
    /// If there is no such fold.
    pub fn fold(&self) -> Result<Fold, TrainError> {
        Ok(self.dataset.fold(self.fold, self.folds)?)
    }

    /// The split of the final evaluation.
    pub fn test_split(&self) -> Split {
        self.test_split.unwrap_or(self.val_split)
    }

    /// Recognises the layout of the data set at `root`.
    ///
    /// # Errors
    /// [`TrainError::Data`] that lists what was looked for.
    pub fn detect(&self, root: &Path) -> Result<BenchmarkRoot, TrainError> {
        let options = OpenOptions { splits: self.splits.clone(), own: self.own.clone() };
        Ok(self.dataset.detect(root, &options)?)
    }
}

/// Training episodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeSettings {
    /// Supports an episode.
    pub shot: usize,
    /// Episodes an iteration.
    pub batch: usize,
    /// Episodes of the whole run.
    pub total: usize,
    /// Episodes between two validations.
    pub snapshot: usize,
    /// Side of the square crop, or of the square that images are resized to, in pixels.
    pub crop: usize,
    /// Seed of the training episodes. Snapshot number s (from 0) is drawn with `seed + s`. The
    /// published code takes the wall clock instead, so its runs cannot be repeated.
    pub seed: u64,
    /// How episodes are drawn.
    pub sampling: Sampling,
}

impl EpisodeSettings {
    /// Iterations of the whole run.
    pub fn iterations(&self) -> u64 {
        (self.total / self.batch.max(1)) as u64
    }

    /// Iterations between two validations.
    pub fn snapshot_iterations(&self) -> u64 {
        ((self.snapshot / self.batch.max(1)) as u64).max(1)
    }
}

/// How episodes are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Sampling {
    /// The very draws of the published code.
    Official {
        /// Logical loader workers; the draws depend on their number. 4 is published. Real threads
        /// have no influence.
        workers: usize,
    },
    /// Each episode follows from the seed and its number alone, whatever the workers; the query,
    /// too, shows an object of at least `min_pixels`.
    Seeded,
    /// By the rules of HSNet, on whole images that are resized to `crop` x `crop` pixels, neither cut
    /// nor mirrored: PASCAL-5i and FSS-1000 take each pair of image and class of the list once, in
    /// random order, and so on from the next pass where a snapshot has more episodes than the list
    /// pairs; COCO-20i draws a class, then one of its images. Supports may repeat. Each episode
    /// follows from the seed and its number alone; the published code takes the wall clock.
    Hsnet,
}

/// Which parts learn, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// Stages that keep their weights: `stem`, `layer1`, `layer2`, `layer3`. None for a backbone with
    /// taps, which never learns.
    pub frozen: Vec<Stage>,
    /// Whether scale and shift of the norms learn: `frozen` as published, or `scale_shift`. Their
    /// statistics never change. `frozen` for a backbone with taps.
    pub norms: NormTraining,
    /// In which precision convolutions compute: `full` (float32), or `mixed`.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
}

/// What is measured at every snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationSettings {
    /// How episodes are drawn and scored.
    pub protocol: Protocol,
    /// Seed of the episodes.
    pub seed: u64,
    /// Episodes a validation.
    pub episodes: usize,
    /// Which model is kept.
    pub selection: SelectionRule,
}

/// Which of the validated models is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SelectionRule {
    /// The highest mean IoU; of equal ones the latest, as published.
    BestLatest,
    /// The highest mean IoU; of equal ones the earliest.
    BestEarliest,
    /// The last one, whatever its score.
    Last,
}

impl SelectionRule {
    /// Whether a model with score `new` replaces the one kept, whose score is `best`. A model
    /// without a score is never kept, except as the last.
    pub fn replaces(self, new: Option<f64>, best: Option<f64>) -> bool {
        match (self, new.filter(|v| !v.is_nan()), best) {
            (Self::Last, ..) => true,
            (_, None, _) => false,
            (_, Some(_), None) => true,
            (Self::BestLatest, Some(new), Some(best)) => new >= best,
            (Self::BestEarliest, Some(new), Some(best)) => new > best,
        }
    }
}

/// What is measured at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSettings {
    /// How episodes are drawn and scored.
    pub protocol: Protocol,
    /// One run for each seed.
    pub seeds: Vec<u64>,
    /// Episodes a run.
    pub episodes: usize,
}

/// How often the run is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSettings {
    /// Iterations between two checkpoints. One is written at every snapshot, too.
    pub every: u64,
    /// How many are kept, the latest ones.
    pub keep: usize,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { every: 100, keep: 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::SelectionRule::*;

    #[test]
    fn a_tie_replaces_and_nan_never_does() {
        assert!(BestLatest.replaces(Some(0.5), Some(0.5)));
        assert!(!BestEarliest.replaces(Some(0.5), Some(0.5)));
        assert!(!BestLatest.replaces(Some(f64::NAN), None));
        assert!(!BestLatest.replaces(None, Some(0.1)));
        assert!(BestEarliest.replaces(Some(0.0), None));
        assert!(Last.replaces(None, Some(0.9)));
    }
}
