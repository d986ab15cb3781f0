//! Foreground-background IoU.

use serde::{Deserialize, Serialize};

use crate::{BinaryCounts, MetricError};

/// Foreground-background IoU, pooled over all episodes whatever their class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FbIou {
    counts: BinaryCounts,
}

impl FbIou {
    /// An empty accumulator.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one episode of flat maps, `prediction` of 0/1 and `truth` of 0/1/255.
    ///
    /// # Errors
    /// Those of [`BinaryCounts::compare`].
    pub fn add_episode(&mut self, prediction: &[u8], truth: &[u8]) -> Result<(), MetricError> {
        self.add_counts(&BinaryCounts::compare(prediction, truth)?);
        Ok(())
    }

    /// Adds an episode that was counted already.
    pub fn add_counts(&mut self, counts: &BinaryCounts) {
        self.counts += *counts;
    }

    /// Adds the counts of another accumulator.
    pub fn merge(&mut self, other: &Self) {
        self.counts += other.counts;
    }

    /// All counts so far.
    pub fn counts(&self) -> BinaryCounts {
        self.counts
    }

    /// IoU of the foreground as a fraction; `None` without foreground.
    pub fn foreground(&self) -> Option<f64> {
        self.counts.foreground().iou()
    }

    /// IoU of the background as a fraction; `None` without background.
    pub fn background(&self) -> Option<f64> {
        self.counts.background().iou()
    }

    /// Mean of both as a fraction; of the one that is there, if only one is; `None` when empty.
    pub fn fb_iou(&self) -> Option<f64> {
        match (self.background(), self.foreground()) {
            (Some(b), Some(f)) => Some((b + f) / 2.0),
            (one, other) => one.or(other),
        }
    }
}
