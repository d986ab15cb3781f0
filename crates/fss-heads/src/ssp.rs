//! SSP: self-support few-shot segmentation (Fan, Pei, Tai, Tang, ECCV 2022).
//!
//! Prototypes of the support set find the query's sure foreground and background; prototypes of
//! those regions, taken from the query itself, then match the rest of it (paper, section 3).

mod chain;
mod training;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fss_backbone::{ComputePrecision, DeepStemResNet, DeepStemResNetConfig};
use fss_kernels::{Corners, QueryPairs, SelfSupportConfig, masked_average_pool, resize_bilinear};
use serde::{Deserialize, Serialize};

use crate::prototypes::{Prototypes, query_tap};
use crate::ways::{compete, margin};
use crate::{Features, FewShotModel, HeadError, PreparedQuery, Shot};

pub use chain::Matching;
pub use training::TrainingOutputs;

/// Whether the self-support step runs a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refine {
    /// One step: the prediction is the first self-support matching.
    #[default]
    Off,
    /// Two steps: the prediction blends both matchings. The published tables use it.
    On,
}

/// What an [`Ssp`] is built from.
#[derive(Debug, Clone)]
pub struct SspConfig {
    /// The backbone.
    pub backbone: DeepStemResNetConfig,
    /// One self-support step or two.
    pub refine: Refine,
    /// Thresholds and the fallback of the self-support step.
    pub self_support: SelfSupportConfig,
}

impl SspConfig {
    /// The published settings for a backbone.
    pub fn new(backbone: DeepStemResNetConfig) -> Self {
        Self { backbone, refine: Refine::Off, self_support: SelfSupportConfig::default() }
    }

    /// Sets how often the self-support step runs.
    pub fn with_refine(mut self, refine: Refine) -> Self {
        self.refine = refine;
        self
    }

    /// Builds the model with random weights that follow from `seed` alone.
    pub fn init(&self, device: &Device, seed: u64) -> Ssp {
        self.init_with(self.backbone.init(device, seed))
    }

    /// Builds the model around a backbone.
    pub fn init_with(&self, backbone: DeepStemResNet) -> Ssp {
        Ssp { backbone, refine: self.refine, self_support: self.self_support }
    }
}

/// The SSP model. Its only parameters are those of the backbone.
#[derive(Module, Debug)]
pub struct Ssp {
    /// The backbone, a dilated ResNet with a deep stem.
    pub backbone: DeepStemResNet,
    #[module(skip)]
    refine: Refine,
    #[module(skip)]
    self_support: SelfSupportConfig,
}

/// The mean prototypes of a support set.
#[derive(Debug, Clone)]
pub struct SspSupport {
    /// Foreground prototype `[B, C]`; zero if no support shows foreground.
    pub foreground: Tensor<2>,
    /// Background prototype `[B, C]`.
    pub background: Tensor<2>,
}

impl Ssp {
    /// One self-support step or two.
    pub fn refine(&self) -> Refine {
        self.refine
    }

    /// The same model with another number of self-support steps; no weight depends on it.
    pub fn with_refine(mut self, refine: Refine) -> Self {
        self.refine = refine;
        self
    }

    /// Sets in which precision the backbone convolves until the model is folded; matching stays in full
    /// precision.
    #[must_use]
    pub fn with_precision(self, precision: ComputePrecision) -> Self {
        Self { backbone: self.backbone.with_precision(precision), ..self }
    }

    /// The model for inference: every norm is folded into its convolution.
    pub fn fold(self) -> Self {
        Self { backbone: self.backbone.fold(), ..self }
    }

    /// Foreground and background prototypes `[B, C]` of features `[B, C, h, w]` under a mask
    /// `[B, H, W]` (0 / 1 / 255; ignored pixels belong to neither).
    pub fn prototypes(features: &Tensor<4>, mask: &Tensor<3, Int>) -> SspSupport {
        Prototypes::pooled(features, mask, masked_average_pool).into()
    }
}

impl From<Prototypes> for SspSupport {
    fn from(Prototypes { foreground, background }: Prototypes) -> Self {
        Self { foreground, background }
    }
}

impl FewShotModel for Ssp {
    type Support = SspSupport;

    fn features(&self, images: Tensor<4>) -> Features {
        Features::single(self.backbone.forward(images))
    }

    fn encode_support(&self, shots: &[Shot]) -> Result<SspSupport, HeadError> {
        let pool = |tap: &Tensor<4>, mask: &Tensor<3, Int>| {
            Prototypes::pooled(tap, mask, masked_average_pool)
        };
        Ok(Prototypes::mean_of(shots, self.backbone.channels(), pool)?.into())
    }

    fn segment(
        &self,
        support: &SspSupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let matching = self.matching(support, query_tap(query, &support.foreground)?);
        Ok(resize_bilinear(matching.prediction(), size, Corners::Aligned))
    }

    /// The weights of all pairs of positions, from which every self-support step takes its own.
    fn prepare_query(&self, query: &Features) -> Result<PreparedQuery, HeadError> {
        let tap = query.0.first().ok_or(HeadError::NoSupport)?;
        let pairs = QueryPairs::new(tap.clone(), &self.self_support);
        Ok(PreparedQuery { features: query.clone(), pairs })
    }

    fn segment_prepared(
        &self,
        support: &SspSupport,
        query: &PreparedQuery,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let Some(pairs) = &query.pairs else {
            return self.segment(support, &query.features, size);
        };
        let tap = query_tap(&query.features, &support.foreground)?;
        let matching = self.matching_prepared(support, tap, pairs);
        Ok(resize_bilinear(matching.prediction(), size, Corners::Aligned))
    }

    /// Merged at the features' size: enlarging is linear, so that margins may be enlarged in place of
    /// logits, all at once.
    fn segment_ways(
        &self,
        supports: &[SspSupport],
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let first = supports.first().ok_or(HeadError::NoSupport)?;
        let tap = query_tap(query, &first.foreground)?;
        for support in supports {
            query_tap(query, &support.foreground)?;
        }
        let matchings = self.matchings(supports, tap);
        let logits = compete(matchings.iter().map(|one| margin(one.prediction())).collect())?;
        Ok(resize_bilinear(logits, size, Corners::Aligned))
    }
}
