//! Evaluation: how well a model segments classes that it was not trained on.

mod devices;
mod episodes;
mod features;
mod merge;
mod novelty;
mod plan;
mod protocol;
mod result;
mod run;
mod score;

pub use devices::evaluate_on;
pub use features::{CacheCounts, FeatureCache, FeatureReuse, Spill};
pub use fss_data::transform::Compare;
pub use fss_heads::ShotRule;
pub use novelty::{KnownFrom, Novelty, SeenClasses, TrainedFold};
pub use plan::EvaluationPlan;
pub use protocol::{HsnetProtocol, Protocol};
pub use result::{ClassScore, Deviation, EpisodeRecord, Evaluation, FeatureUse, SeedRun, Supports};
pub use run::{EpisodeOutcome, evaluate, predict_episode};
