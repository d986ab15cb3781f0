//! The IoU of every single episode.

use serde::{Deserialize, Serialize};

/// Foreground IoU of one episode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodeIou {
    /// Number of the episode in its run.
    pub episode: usize,
    /// Its class label.
    pub class: usize,
    /// IoU as a fraction; `None` where neither truth nor prediction has foreground.
    pub iou: Option<f64>,
}

/// The episodes of a run in ascending order, however they were sharded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpisodeIous {
    episodes: Vec<EpisodeIou>,
}

impl EpisodeIous {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one episode; it is put in its place by its number.
    pub fn push(&mut self, entry: EpisodeIou) {
        let at = self.episodes.partition_point(|e| e.episode <= entry.episode);
        self.episodes.insert(at, entry);
    }

    /// Adds the episodes of another shard.
    pub fn merge(&mut self, other: &Self) {
        self.episodes.extend_from_slice(&other.episodes);
        self.episodes.sort_by_key(|e| e.episode);
    }

    /// All episodes in ascending order.
    pub fn episodes(&self) -> &[EpisodeIou] {
        &self.episodes
    }

    /// Mean over the episodes that have an IoU, as a fraction; `None` where none has.
    ///
    /// Summed in order of the episodes, so that it does not depend on the sharding. This weighs
    /// every episode alike; mIoU weighs pixels within a class and classes alike.
    pub fn mean(&self) -> Option<f64> {
        let ious: Vec<f64> = self.episodes.iter().filter_map(|e| e.iou).collect();
        (!ious.is_empty()).then(|| ious.iter().sum::<f64>() / ious.len() as f64)
    }
}
