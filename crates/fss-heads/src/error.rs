//! The error of this crate.

/// What is wrong with a support set, a query or a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// A support set without any image.
    #[error("the support set is empty; give at least one annotated image")]
    NoSupport,
    /// Features of a support or query do not have the shape that the head reads.
    #[error("{what} has {got}, but the head needs {want}; use the features of the same backbone")]
    Shape {
        /// Which tensor.
        what: String,
        /// What it has.
        got: String,
        /// What it should have.
        want: String,
    },
    /// Images of a size that the head cannot take.
    #[error("{what} has the wrong size: {problem}; {remedy}")]
    ImageSize {
        /// Which image.
        what: String,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A head that reads coarse maps got an image without one.
    #[error(
        "{what} comes without a coarse map of its class, which this model needs; make the maps first \
         (`fss cam`) and name their folder"
    )]
    NoCam {
        /// Which image.
        what: String,
    },
    /// Settings that make no model.
    #[error("{problem}; {remedy}")]
    Setting {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A support set was made by another kind of model.
    #[error("the support set was made by another model; encode it with the model that segments")]
    ForeignSupport,
}
