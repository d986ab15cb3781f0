//! SSP: self-support few-shot segmentation (Fan, Pei, Tai, Tang, ECCV 2022).
//!
//! Prototypes of the support set find the query's sure foreground and background; prototypes of
//! those regions, taken from the query itself, then match the rest of it (paper, section 3).

mod chain;
mod training;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fss_backbone::{DeepStemResNet, DeepStemResNetConfig};
use fss_kernels::{Corners, SelfSupportConfig, masked_average_pool, resize_bilinear};
use serde::{Deserialize, Serialize};

use crate::{Features, FewShotModel, HeadError, Shot};

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

    /// The model for inference: every norm is folded into its convolution.
    pub fn fold(self) -> Self {
        Self { backbone: self.backbone.fold(), ..self }
    }

    /// Foreground and background prototypes `[B, C]` of features `[B, C, h, w]` under a mask
    /// `[B, H, W]` (0 / 1 / 255; ignored pixels belong to neither).
    pub fn prototypes(features: &Tensor<4>, mask: &Tensor<3, Int>) -> SspSupport {
        let pool = |label: i64| {
            let mask = mask.clone().equal_elem(label).float().unsqueeze_dim::<4>(1);
            masked_average_pool(features.clone(), mask)
        };
        SspSupport { foreground: pool(1), background: pool(0) }
    }

    /// The single tap of SSP's features.
    fn tap(features: &Features) -> Result<&Tensor<4>, HeadError> {
        match features.0.as_slice() {
            [tap] => Ok(tap),
            taps => Err(HeadError::Shape {
                what: "the features of an image".into(),
                got: format!("{} taps", taps.len()),
                want: "1 tap".into(),
            }),
        }
    }
}

impl FewShotModel for Ssp {
    type Support = SspSupport;

    fn features(&self, images: Tensor<4>) -> Features {
        Features::single(self.backbone.forward(images))
    }

    fn encode_support(&self, shots: &[Shot]) -> Result<SspSupport, HeadError> {
        if shots.is_empty() {
            return Err(HeadError::NoSupport);
        }
        let mut foreground = Vec::with_capacity(shots.len());
        let mut background = Vec::with_capacity(shots.len());
        for shot in shots {
            let tap = Self::tap(&shot.features)?;
            check_tap(tap, self.backbone.channels(), &shot.mask)?;
            let prototypes = Self::prototypes(tap, &shot.mask);
            foreground.push(prototypes.foreground);
            background.push(prototypes.background);
        }
        // Every shot counts the same, whatever the size of its object.
        let mean = |all: Vec<Tensor<2>>| {
            let shots = all.len() as f64;
            all.into_iter().reduce(|sum, one| sum + one).map(|sum| sum / shots)
        };
        mean(foreground)
            .zip(mean(background))
            .map(|(foreground, background)| SspSupport { foreground, background })
            .ok_or(HeadError::NoSupport)
    }

    fn segment(&self, support: &SspSupport, query: &Features, size: [usize; 2]) -> Tensor<4> {
        let matching = self.matching(support, &query.0[0]);
        resize_bilinear(matching.prediction(), size, Corners::Aligned)
    }
}

fn check_tap(tap: &Tensor<4>, channels: usize, mask: &Tensor<3, Int>) -> Result<(), HeadError> {
    if tap.dims()[1] != channels {
        return Err(HeadError::Shape {
            what: "the tap of a support image".into(),
            got: format!("{} channels", tap.dims()[1]),
            want: format!("{channels} channels"),
        });
    }
    if mask.dims()[0] != tap.dims()[0] {
        return Err(HeadError::Shape {
            what: "the masks of a shot".into(),
            got: format!("a batch of {}", mask.dims()[0]),
            want: format!("a batch of {}", tap.dims()[0]),
        });
    }
    Ok(())
}
