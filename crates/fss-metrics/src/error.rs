//! The error of this crate.

use std::fmt;

/// Which of the maps that a metric compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapRole {
    /// The predicted mask: 0 or 1.
    Prediction,
    /// The annotated mask: 0, 1 or 255.
    Truth,
    /// The map of pixels to leave out: 0 or 1.
    Ignore,
}

impl MapRole {
    fn allowed(self) -> &'static str {
        match self {
            Self::Prediction | Self::Ignore => "0 or 1",
            Self::Truth => "0, 1 or 255",
        }
    }
}

impl fmt::Display for MapRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prediction => "prediction",
            Self::Truth => "truth",
            Self::Ignore => "ignore map",
        })
    }
}

/// What can go wrong when predictions are scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Two maps of one episode have different shapes.
    #[error(
        "the {role} has shape {got:?}, but the prediction has {prediction:?}; \
         compare both at the size of the query"
    )]
    Shape {
        /// The map that does not fit the prediction.
        role: MapRole,
        /// Its shape: `[H, W]`, or `[pixels]` for flat maps.
        got: Vec<usize>,
        /// The prediction's shape.
        prediction: Vec<usize>,
    },
    /// A map holds a value that has no meaning in it.
    #[error(
        "the {role} holds the value {value} at pixel {position} (row-major), but only {} may occur; \
         turn label masks into binary masks of the episode's class first",
        role.allowed()
    )]
    Value {
        /// The map.
        role: MapRole,
        /// The value found.
        value: u8,
        /// Its row-major position in the map.
        position: usize,
    },
    /// The class of an episode is not one that the metric counts.
    #[error(
        "class {class} is not among the classes of this metric ({known}); check the fold and the number of classes"
    )]
    Class {
        /// The class label given.
        class: usize,
        /// The classes that are counted.
        known: String,
    },
    /// A map of class indices holds one of no class.
    #[error(
        "the {role} holds the index {label}, but there are {known}, 0 for the background; check which \
         model and which classes belong together"
    )]
    Label {
        /// The map.
        role: MapRole,
        /// The index found.
        label: u8,
        /// The classes that are counted.
        known: String,
    },
    /// A vote of no predictions.
    #[error("there is no prediction to vote; give that of at least one support")]
    NoVotes,
    /// Two accumulators that count different things cannot be merged.
    #[error(
        "cannot merge metrics over different classes: {left} and {right}; make both shards with the same settings"
    )]
    Merge {
        /// The classes of the accumulator that was to be extended.
        left: String,
        /// The classes of the other one.
        right: String,
    },
}
