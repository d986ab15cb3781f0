//! Checkpoints: everything that a run needs to continue to the same bits.
//!
//! A checkpoint is one safetensors file, so that other tools can look into it:
//!
//! | tensors | what |
//! |---|---|
//! | `model.<key>` | the model in training, under the official key names |
//! | `best.<key>` | the best model so far, if there is one |
//! | `optim.<slot>.<path>` | the optimiser's state of each parameter |
//!
//! and one metadata entry, `fss`, a JSON object: format version, position, best score, recipe,
//! state of the episode sampler. Files are written under a temporary name, flushed and renamed, so
//! a file with its final name is whole.

pub(crate) mod exact;
mod file;
mod folder;

use fss_backbone::NamedTensor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use folder::CheckpointFolder;

use crate::LossScaler;
use crate::recipe::Recipe;
use crate::trainer::SamplerState;

/// Where a run is, and all of its state that is no tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Finished iterations.
    pub iteration: u64,
    /// Whether the model must still be validated before the next iteration.
    pub validation_due: bool,
    /// The sampler of the current snapshot, its stream at the next episode to train on.
    pub sampler: SamplerState,
    /// The best model so far.
    pub best: Option<Best>,
    /// Bytes of the log that belong to the finished iterations.
    pub log_bytes: u64,
    /// What scales the loss, if it is scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaler: Option<LossScaler>,
    /// Fingerprint of the pseudo masks that it learns from, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudo_masks: Option<String>,
    /// What the run is set to.
    #[serde(with = "exact::recipe")]
    pub recipe: Recipe,
}

/// When the best model was found, and how good it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Iterations that it was trained for.
    pub iteration: u64,
    /// Its mean IoU in validation, as a fraction; `None` if no novel class occurred.
    #[serde(with = "exact::float")]
    pub miou: Option<f64>,
}

/// Where a run of some kind is.
pub trait Position: Serialize + DeserializeOwned {
    /// Marks files of the kind.
    const FORMAT: &'static str;

    /// Finished iterations.
    fn iteration(&self) -> u64;

    /// The fingerprint of the recipe.
    fn fingerprint(&self) -> String;
}

impl Position for Progress {
    const FORMAT: &'static str = "fss-checkpoint";

    fn iteration(&self) -> u64 {
        self.iteration
    }

    fn fingerprint(&self) -> String {
        self.recipe.fingerprint()
    }
}

/// A whole checkpoint.
#[derive(Debug, Clone)]
pub struct Checkpoint<P = Progress> {
    /// Everything but tensors.
    pub progress: P,
    /// The model in training.
    pub model: Vec<NamedTensor>,
    /// The best model so far; empty if there is none.
    pub best_model: Vec<NamedTensor>,
    /// The optimiser's state.
    pub optimizer: Vec<NamedTensor>,
}
