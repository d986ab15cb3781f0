//! What an evaluation gives.

use std::collections::BTreeSet;
use std::ops::Add;

use fss_data::ClassId;
use fss_data::episode::Episode;
use fss_data::folds::Fold;
use fss_data::lists::Standing;
use fss_heads::ShotRule;
use fss_metrics::{BinaryCounts, MetricReport, Spread};
use serde::{Deserialize, Serialize};

use super::{CacheCounts, Novelty, Protocol};
use crate::{EpisodeData, Shard};

/// Where the supports of an episode come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Supports {
    /// The images drawn, as the protocol says.
    #[default]
    Drawn,
    /// The query itself with its true mask: an upper bound of what prototypes of a support set can
    /// reach. No result of a protocol.
    QueryItself,
}

/// How deviations over seeds are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deviation {
    /// Sample standard deviation: squares over n - 1; 0 for a single seed.
    #[default]
    Sample,
}

/// The scores of a model, with all that they depend on. Every IoU is a fraction in `[0, 1]`.
///
/// Nothing in it depends on time or machine: the same evaluation gives the same JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// How it was measured.
    pub protocol: Protocol,
    /// What was measured, if it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether the classes were new to the model.
    pub novelty: Novelty,
    /// The images.
    pub dataset: String,
    /// The fold whose novel classes were segmented.
    pub fold: Fold,
    /// How many classes were tested.
    pub tested: usize,
    /// Supports an episode.
    pub shot: usize,
    /// What was made of several supports.
    pub shot_rule: ShotRule,
    /// Where they came from.
    pub supports: Supports,
    /// From this many pixels on an object may support; 0 where a protocol has no such rule.
    pub min_pixels: u64,
    /// Whether the episodes were drawn from the published lists, under a protocol that has lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists: Option<Standing>,
    /// Episodes of every seed, those of other shards included.
    pub episodes: usize,
    /// The share of them that was measured, if not all.
    #[serde(default, skip_serializing_if = "Shard::is_whole")]
    pub shard: Shard,
    /// What "deviation" means.
    pub deviation: Deviation,
    /// Mean IoU over the seeds; `None` if a seed has none.
    pub miou: Option<Spread>,
    /// Foreground-background IoU over the seeds.
    pub fb_iou: Option<Spread>,
    /// Mean of the episodes' own IoU, over the seeds.
    pub mean_episode_iou: Option<Spread>,
    /// The novel classes.
    pub classes: Vec<ClassScore>,
    /// How often the backbone ran.
    pub features: FeatureUse,
    /// One run for each seed.
    pub runs: Vec<SeedRun>,
}

/// The IoU of one class over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Its number.
    pub class: ClassId,
    /// Its name.
    pub name: String,
    /// Its IoU in the seeds in which it occurs; `None` if it never does.
    pub iou: Option<Spread>,
}

/// How often the backbone ran, and how often its features were used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureUse {
    /// Images that the episodes show, queries and supports: what the published code computes.
    pub images_shown: u64,
    /// Passes through the backbone.
    pub backbone_passes: u64,
    /// Features that were read back from disk.
    pub read_from_disk: u64,
}

impl FeatureUse {
    pub(crate) const NONE: Self = Self { images_shown: 0, backbone_passes: 0, read_from_disk: 0 };

    pub(crate) fn of(counts: CacheCounts) -> Self {
        Self {
            images_shown: counts.from_memory + counts.from_disk + counts.computed,
            backbone_passes: counts.computed,
            read_from_disk: counts.from_disk,
        }
    }

    /// How many times less often the backbone ran than the published code would run it.
    pub fn saving(&self) -> f64 {
        self.images_shown as f64 / self.backbone_passes.max(1) as f64
    }
}

impl Add for FeatureUse {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            images_shown: self.images_shown + other.images_shown,
            backbone_passes: self.backbone_passes + other.backbone_passes,
            read_from_disk: self.read_from_disk + other.read_from_disk,
        }
    }
}

/// The run of one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedRun {
    /// The seed.
    pub seed: u64,
    /// Its scores.
    pub scores: MetricReport,
    /// How many of the classes came up in its episodes.
    pub classes_met: usize,
    /// The episodes drawn, in order.
    pub drawn: Vec<EpisodeRecord>,
}

/// One episode as it was drawn and scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpisodeRecord {
    /// Its class.
    pub class: ClassId,
    /// Id of the query.
    pub query: String,
    /// Ids of the supports.
    pub supports: Vec<String>,
    /// Foreground IoU; `None` where neither truth nor prediction has foreground.
    pub iou: Option<f64>,
    /// The pixels that it was computed from.
    pub counts: BinaryCounts,
}

impl EpisodeRecord {
    pub(super) fn new(
        data: &EpisodeData,
        episode: &Episode,
        supports: &[usize],
        counts: BinaryCounts,
    ) -> Self {
        let id = |position: usize| data.dataset.ids[position].clone();
        Self {
            class: episode.class,
            query: id(episode.query),
            supports: supports.iter().map(|&position| id(position)).collect(),
            iou: counts.iou(),
            counts,
        }
    }
}

impl SeedRun {
    pub(super) fn new(seed: u64, scores: MetricReport, drawn: Vec<EpisodeRecord>) -> Self {
        let met: BTreeSet<ClassId> = drawn.iter().map(|episode| episode.class).collect();
        Self { seed, scores, classes_met: met.len(), drawn }
    }

    /// The IoU of a class, if it occurs.
    pub fn class_iou(&self, class: ClassId) -> Option<f64> {
        self.scores.classes.iter().find(|c| c.class == usize::from(class)).and_then(|c| c.iou)
    }
}

/// Mean and deviation of a score that every run has; `None` if one lacks it.
pub(super) fn spread(
    runs: &[SeedRun],
    score: impl Fn(&MetricReport) -> Option<f64>,
) -> Option<Spread> {
    let values: Option<Vec<f64>> = runs.iter().map(|run| score(&run.scores)).collect();
    Spread::of(values?)
}
