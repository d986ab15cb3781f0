//! The one error of the library.

use fss_backbone::BackboneError;
use fss_data::DataError;
use fss_heads::HeadError;

/// What can go wrong between a file and a mask.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Images, masks, lists, datasets.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Weight files and backbones.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// Support sets and heads.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Metrics.
    #[error(transparent)]
    Metric(#[from] fss_metrics::MetricError),
    /// Recipes, training, evaluation.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Train(#[from] fss_train::TrainError),
    /// A device that does not exist or was not built in.
    #[error("device {name:?}: {problem}; {remedy}")]
    Device {
        /// The device's name as given.
        name: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A support image or its mask cannot be used.
    #[error("{support}: {problem}; {remedy}")]
    Support {
        /// Which support.
        support: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// Options of a model that cannot be combined.
    #[error("{problem}; {remedy}")]
    Options {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
}
