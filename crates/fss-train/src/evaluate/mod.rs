//! Evaluation: how well a model segments classes that it was not trained on.

mod episodes;
mod features;
mod protocol;
mod result;
mod run;

pub use features::{CacheCounts, FeatureCache, FeatureReuse, Spill};
pub use protocol::Protocol;
pub use result::{ClassScore, Deviation, EpisodeRecord, Evaluation, FeatureUse, SeedRun, Supports};
pub use run::{EpisodeOutcome, EvaluationPlan, evaluate, predict_episode};
