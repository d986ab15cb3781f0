//! What the offline annotation is set to.

use serde::{Deserialize, Serialize};

/// How latent classes are found and images annotated with them, before training.
///
/// The paper fixes the steps (prototypes of the base classes' regions, clustering, nearest centre
/// for every position); the values here are this library's choice where it names none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelOptions {
    /// N, the number of latent classes. The paper studies it; its value is not known to us. 50 for
    /// PASCAL's 15 base classes and 150 for COCO's 60 are two to three for each.
    pub clusters: usize,
    /// The most iterations of k-means.
    pub iterations: usize,
    /// Seed of k-means.
    pub seed: u64,
    /// What a region of a base class is.
    pub region: Region,
    /// Smaller regions give no prototype: 2048, as for supports.
    pub min_pixels: u64,
    /// Whether prototypes have length 1 when they are clustered and averaged.
    pub prototypes: PrototypeLength,
    /// Which features are pooled and compared.
    pub features: FeatureSign,
    /// What ground truth does to pseudo labels.
    pub ground_truth: GroundTruth,
}

impl Default for LabelOptions {
    fn default() -> Self {
        Self {
            clusters: 50,
            iterations: 100,
            seed: 0,
            region: Region::Class,
            min_pixels: 2048,
            prototypes: PrototypeLength::Unit,
            features: FeatureSign::Signed,
            ground_truth: GroundTruth::Ignored,
        }
    }
}

/// What a region of a base class is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Region {
    /// All pixels of one class in one image, as in an episode's mask.
    Class,
    /// Pixels of one class that touch (sides or corners): closer to single objects.
    Connected,
}

/// Whether prototypes are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrototypeLength {
    /// To length 1: labels go by cosine similarity, so clusters should, too.
    Unit,
    /// Not at all.
    AsPooled,
}

/// Which features are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureSign {
    /// Those of the backbone, which has no last ReLU: what the head compares, too.
    Signed,
    /// Those after a ReLU, as in classification networks.
    Positive,
}

/// What ground truth does to pseudo labels. Novel classes never count as ground truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroundTruth {
    /// Ignored pixels stay ignored; all others are labelled by their features alone. The paper's
    /// figure shows objects that are labelled by latent classes throughout.
    Ignored,
    /// Beside that, each region of a base class has one label, that of the centre nearest to its
    /// prototype.
    Regions,
}
