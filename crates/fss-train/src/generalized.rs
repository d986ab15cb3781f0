//! Generalized few-shot segmentation (GFSS): POP's two stages and their evaluation (CVPR 2023).
//!
//! Stage 1 trains on the base classes, stage 2 learns the novel ones from a few images each, one run for
//! each seed; both are set to by a [`GfssRecipe`] and run by [`train_generalized`], which saves and resumes
//! at any iteration. [`evaluate_generalized`] is the published evaluation. For images of one's own, without
//! a benchmark around them, there is [`learn`](crate::learn).

mod builtin;
mod data;
mod evaluate;
mod model;
mod observer;
mod recipe;
mod report;
mod run;
mod select;
mod session;
mod step;

pub use crate::precision::Precision;
pub use crate::scaler::LossScaler;
pub use builtin::GFSS_BUILTIN_NAMES;
pub use data::{GfssData, GfssPart};
pub use evaluate::{
    GfssEvaluation, GfssSeed, Measure, evaluate_at_network_size, evaluate_generalized,
    evaluate_generalized_on, original_size_labels,
};
pub use model::StagedModel;
pub use observer::{GfssObserver, GfssValidation};
pub use recipe::{
    GfssDataSettings, GfssInit, GfssMethod, GfssModelSettings, GfssOptim, GfssRecipe,
    GfssTrainSettings, Keep, SampleSettings, Stage,
};
pub use report::{generalized_json, generalized_table};
pub use run::{GfssOutcome, GfssRun, SeedOutcome, train_generalized};
pub use select::{Selected, Selection};
pub use step::{StageBatch, generalized_groups, generalized_step, generalized_step_on};
