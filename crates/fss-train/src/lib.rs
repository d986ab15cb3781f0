//! Recipes, trainer, checkpoints, evaluation and reports for few-shot segmentation.
//!
//! A [`recipe::Recipe`] says everything that a training run is set to; [`trainer::train`] runs it,
//! saves it at any time and continues it to the same bits; [`evaluate::evaluate`] measures a model
//! under a published [`evaluate::Protocol`]; [`report`] makes tables and pages of the results.
//!
//! Nothing here prints: a run tells what it does through [`observer`]s, `tracing` and its log.
#![forbid(unsafe_code)]

// Unit tests share fixtures with the integration tests, which name the crate.
#[cfg(test)]
extern crate self as fss_train;

pub mod cams;
pub mod checkpoint;
mod data;
mod devices;
mod digest;
mod error;
pub mod evaluate;
pub mod generalized;
pub mod learn;
pub mod log;
pub mod mining;
pub mod observer;
pub mod optim;
mod parallel;
mod precision;
pub mod progress;
pub mod recipe;
pub mod report;
mod scaler;
pub mod schedule;
mod shard;
mod step;
mod stop;
pub mod tensor;
pub mod trainer;
pub mod ways;

pub use data::{EpisodeData, Part, RunData};
pub use error::TrainError;
pub use precision::Precision;
pub use scaler::LossScaler;
pub use shard::Shard;
pub use stop::Stop;
