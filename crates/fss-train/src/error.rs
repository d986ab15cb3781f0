//! The error of this crate.

use std::path::{Path, PathBuf};

/// What can go wrong while a model is trained or evaluated.
///
/// Every message says what is wrong, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A recipe cannot be read, or a value in it makes no sense.
    #[error("recipe {origin}: {problem}; {remedy}")]
    Recipe {
        /// The file, or the name of the built-in recipe.
        origin: String,
        /// What is wrong, with the key.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "read" or "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A checkpoint is damaged, of another kind, or does not fit the model.
    #[error("checkpoint {}: {problem}; {remedy}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// Latent classes or pseudo masks are damaged, incomplete, or those of another run.
    #[error("pseudo masks {}: {problem}; {remedy}", path.display())]
    Labels {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A run was to be resumed under another recipe than it was started with.
    #[error(
        "checkpoint {} was made under another recipe, so resuming would not continue the same run; \
         these keys differ: {}; resume with the recipe of the checkpoint, or start a new run in \
         another folder",
        path.display(),
        differences.join(", ")
    )]
    RecipeChanged {
        /// The checkpoint.
        path: PathBuf,
        /// One entry for each key, with both values.
        differences: Vec<String>,
    },
    /// The loss is NaN or infinite although some pixels count.
    #[error(
        "the loss of iteration {iteration} is not finite ({terms}); lower `optim.lr`, or check the \
         weights that training started from"
    )]
    NonFiniteLoss {
        /// Iteration number, from 1.
        iteration: u64,
        /// The parts of the loss.
        terms: String,
    },
    /// No validation gave a score, so there is no best model.
    #[error(
        "no validation gave a mean IoU (no novel class occurred in any episode), so no model can be \
         selected; raise `validation.episodes` or check the validation split"
    )]
    NoScore,
    /// A setting of an evaluation or a training run does not make sense.
    #[error("{what}; {remedy}")]
    Setting {
        /// What is wrong.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A model was to be tested on classes that it was trained on.
    #[error(
        "{seen} of the {tested} classes to be tested were base classes in training ({trained}); test \
         on the folds of training, state other ones if these are wrong (--trained-folds), or allow it \
         (--allow-fold-mismatch): the number will carry a warning"
    )]
    SeenClasses {
        /// How many of the classes it was trained on.
        seen: usize,
        /// How many there are.
        tested: usize,
        /// The fold of its training.
        trained: String,
    },
    /// Someone asked for it: a signal, or the caller's [`Stop`](crate::Stop).
    #[error("{what} was stopped on request before it was done")]
    Interrupted {
        /// What was going on.
        what: &'static str,
    },
    /// Weights cannot be read, written or fitted to the backbone.
    #[error(transparent)]
    Backbone(#[from] fss_backbone::BackboneError),
    /// Files, lists, masks or episodes are wrong.
    #[error(transparent)]
    Data(#[from] fss_data::DataError),
    /// A head refused its input.
    #[error(transparent)]
    Head(#[from] fss_heads::HeadError),
    /// A prediction cannot be scored.
    #[error(transparent)]
    Metric(#[from] fss_metrics::MetricError),
}

impl TrainError {
    /// Wraps an [`std::io::Error`] with what was tried and where.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    pub(crate) fn checkpoint(
        path: &Path,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Checkpoint {
            path: path.to_path_buf(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn labels(
        path: &Path,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Labels { path: path.to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn setting(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Setting { what: what.into(), remedy: remedy.into() }
    }
}
