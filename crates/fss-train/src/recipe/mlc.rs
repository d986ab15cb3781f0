//! Settings of MLC: the published baseline has none; the full method's parts are each on or off.
//!
//! The paper's code holds the baseline only. Which parts the full method has is the paper's; values
//! that the paper's public descriptions do not tell are this library's choice, marked below.

use std::path::PathBuf;

use fss_heads::{BackgroundConfig, ForegroundConfig, MiningConfig};
use serde::{Deserialize, Serialize};

use super::ModelSettings;
use crate::mining::{EncoderCheck, LabelOptions};

/// Settings of MLC. Everything is off by default: the published baseline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlcSettings {
    /// The mining branch.
    pub mining: Mining,
    /// What corrects prototypes.
    pub rectification: Rectification,
}

/// The mining branch; in a file `kind` says whether there is one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Mining {
    /// None.
    #[default]
    Off,
    /// Trained jointly with the episodes.
    Joint(JointSettings),
}

/// Joint training on episodes and pseudo masks.
///
/// Every iteration takes as many further images as queries, with the same crops and mirroring, drawn
/// uniformly from all images that have a pseudo mask. Their loss is added to that of the episodes,
/// which is the paper's sum; how many images and how they are drawn is our choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JointSettings {
    /// The folder that `fss mine` wrote.
    pub masks: PathBuf,
    /// Weight of the pseudo masks' loss. 1 is the paper's plain sum.
    pub weight: f64,
    /// Channels of the decoder. Our choice.
    pub channels: usize,
    /// The decoder's learning rate in multiples of the backbone's. Our choice: it starts from random
    /// weights, the backbone from trained ones.
    pub rate_factor: f64,
    /// Seed of the decoder's weights and of the images drawn.
    pub seed: u64,
    /// Whether the weights that a run leaves behind include the decoder.
    pub export: DecoderExport,
    /// Which encoder must have made the pseudo masks.
    pub encoder: EncoderCheck,
    /// How the pseudo masks are made; a run checks that its masks were.
    pub labels: LabelOptions,
}

impl Default for JointSettings {
    fn default() -> Self {
        Self {
            masks: "mined".into(),
            weight: 1.0,
            channels: 256,
            rate_factor: 10.0,
            seed: 0,
            export: DecoderExport::Drop,
            encoder: EncoderCheck::Initial,
            labels: LabelOptions::default(),
        }
    }
}

impl JointSettings {
    /// What the decoder is built from.
    pub fn decoder(&self) -> MiningConfig {
        MiningConfig {
            channels: self.channels,
            weight: self.weight,
            seed: self.seed,
            ..MiningConfig::new(self.labels.clusters)
        }
    }
}

/// Whether weights keep the decoder, which segmentation has no use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecoderExport {
    /// They hold the keys of the published baseline, and the global background if there is one.
    Drop,
    /// The decoder's tensors are there, too, under `decoder.`.
    Keep,
}

/// What corrects prototypes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rectification {
    /// The background's.
    pub background: BackgroundRectification,
    /// The foreground's.
    pub foreground: ForegroundRectification,
}

/// What corrects background prototypes, in training and testing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum BackgroundRectification {
    /// Nothing.
    #[default]
    Off,
    /// A moving average over the backgrounds of training.
    MovingAverage(BackgroundSettings),
}

/// See [`BackgroundConfig`]; values are our choice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackgroundSettings {
    /// How much of the average each step keeps.
    pub momentum: f64,
    /// The support's own share.
    pub blend: f64,
}

impl Default for BackgroundSettings {
    fn default() -> Self {
        let BackgroundConfig { momentum, blend } = BackgroundConfig::default();
        Self { momentum, blend }
    }
}

/// What corrects foreground prototypes, in validation and testing.
///
/// Not in training: there the pool's features would have to be computed anew after every step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ForegroundRectification {
    /// Nothing.
    #[default]
    Off,
    /// Regions found in images of the training list, whose masks are not looked at.
    Pool(PoolSettings),
}

/// See [`ForegroundConfig`]; values are our choice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolSettings {
    /// How many images of the training list the pool has. Their features stay in memory: 12 MB each
    /// with ResNet-50 and images of 375 x 500.
    pub images: usize,
    /// Seed of their choice.
    pub seed: u64,
    /// The smallest region that counts, in pixels.
    pub min_pixels: usize,
    /// The most regions that are used.
    pub keep: usize,
    /// The smallest cosine similarity with the support's prototype.
    pub similarity: f64,
    /// Regions are weighted by the softmax of this times their similarity.
    pub sharpness: f64,
    /// The support's own share.
    pub blend: f64,
}

impl Default for PoolSettings {
    fn default() -> Self {
        let ForegroundConfig { min_pixels, keep, similarity, sharpness, blend } =
            ForegroundConfig::default();
        Self { images: 32, seed: 0, min_pixels, keep, similarity, sharpness, blend }
    }
}

impl PoolSettings {
    /// How the head uses the pool.
    pub fn config(&self) -> ForegroundConfig {
        let Self { min_pixels, keep, similarity, sharpness, blend, .. } = *self;
        ForegroundConfig { min_pixels, keep, similarity, sharpness, blend }
    }
}

impl MlcSettings {
    /// The background's rectification, if it is on.
    pub fn background(&self) -> Option<BackgroundConfig> {
        match self.rectification.background {
            BackgroundRectification::Off => None,
            BackgroundRectification::MovingAverage(BackgroundSettings { momentum, blend }) => {
                Some(BackgroundConfig { momentum, blend })
            }
        }
    }

    /// Numbers that must be positive, by key.
    pub(super) fn counts(&self) -> Vec<(&'static str, usize)> {
        let mut counts = Vec::new();
        if let Mining::Joint(joint) = &self.mining {
            counts.push(("model.mining.channels", joint.channels));
            counts.push(("model.mining.labels.clusters", joint.labels.clusters));
        }
        if let ForegroundRectification::Pool(pool) = &self.rectification.foreground {
            counts.push(("model.rectification.foreground.images", pool.images));
            counts.push(("model.rectification.foreground.keep", pool.keep));
        }
        counts
    }

    /// Numbers with the range they must lie in, by key.
    pub(super) fn numbers(&self) -> Vec<(&'static str, f64, [f64; 2])> {
        const ANY: [f64; 2] = [0.0, f64::MAX];
        const SHARE: [f64; 2] = [0.0, 1.0];
        let mut numbers = Vec::new();
        if let Mining::Joint(joint) = &self.mining {
            numbers.push(("model.mining.weight", joint.weight, ANY));
            numbers.push(("model.mining.rate_factor", joint.rate_factor, ANY));
        }
        if let Some(BackgroundConfig { momentum, blend }) = self.background() {
            numbers.push(("model.rectification.background.momentum", momentum, SHARE));
            numbers.push(("model.rectification.background.blend", blend, SHARE));
        }
        if let ForegroundRectification::Pool(pool) = &self.rectification.foreground {
            let section = [
                ("model.rectification.foreground.similarity", pool.similarity, [-1.0, 1.0]),
                ("model.rectification.foreground.sharpness", pool.sharpness, ANY),
                ("model.rectification.foreground.blend", pool.blend, SHARE),
            ];
            numbers.extend(section);
        }
        numbers
    }
}

impl ModelSettings {
    /// The mining branch, if the model has one.
    pub fn mining(&self) -> Option<&JointSettings> {
        match self {
            Self::Mlc(MlcSettings { mining: Mining::Joint(joint), .. }) => Some(joint),
            _ => None,
        }
    }
}
