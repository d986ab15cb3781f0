//! Training: episodes in, the best model out, resumable at any iteration.

mod batch;
mod extra;
mod hsnet;
mod mlc;
mod model;
mod run;
mod sampler;
mod session;
mod ssp;
mod step;
mod stream;
mod weights;

pub use model::RecipeModel;
pub use run::{RunCams, Start, TrainOutcome, TrainingRun, initial_model, initial_model_for, train};
pub use sampler::SamplerState;
pub use step::{training_step, training_step_on};

/// Names of the files in a run's folder.
pub mod files {
    /// The log, one JSON object a line.
    pub const LOG: &str = "log.jsonl";
    /// The recipe.
    pub const RECIPE: &str = "recipe.toml";
    /// The best model's weights, under the official key names.
    pub const BEST: &str = "best.safetensors";
    /// The final evaluation.
    pub const EVALUATION: &str = "evaluation.json";
    /// The folder of the checkpoints.
    pub const CHECKPOINTS: &str = "checkpoints";
}
