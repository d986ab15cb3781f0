//! HSNet: hypercorrelation squeeze for few-shot segmentation (Min, Kang, Cho, ICCV 2021).
//!
//! All positions of a query are correlated with all of a support at many depths of a frozen classifier;
//! center-pivot 4D convolutions squeeze these correlations to one map over the query.

mod decoder;
mod pyramid;
mod squeeze;
mod training;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fss_backbone::params;
use fss_backbone::{
    BackboneError, LoadReport, ModuleFile, OfficialKeys, Strictness, TapBackbone, TapBackboneConfig,
};
use fss_kernels::{Corners, resize_bilinear};
use serde::{Deserialize, Serialize};

use crate::{Features, FewShotModel, HeadError, Shot, ShotRule, merge_ways};

pub use decoder::Decoder;
pub use pyramid::Pyramid;
pub(crate) use pyramid::{check_taps, foreground, masked};
pub(crate) use squeeze::CHANNELS;
pub use squeeze::{Maps4d, Mixed, PivotUnit, Squeeze};

/// The side of the published images.
pub const IMAGE_SIDE: usize = 400;

/// Whether a support's features are masked before they are correlated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SupportMask {
    /// They are zero outside the object (paper, section 3.1).
    #[default]
    Masked,
    /// They are not: the ablation that the paper tables as "without support masking". It has weights of
    /// its own.
    Unmasked,
}

/// What an [`Hsnet`] is built from.
#[derive(Debug, Clone)]
pub struct HsnetConfig {
    /// The backbone.
    pub backbone: TapBackboneConfig,
    /// Whether a support's features are masked.
    pub support_mask: SupportMask,
    /// The side of the square images that it is made for; it takes others, too. 400 is published.
    pub side: usize,
}

impl HsnetConfig {
    /// The published settings for a backbone.
    pub fn new(backbone: TapBackboneConfig) -> Self {
        Self { backbone, support_mask: SupportMask::Masked, side: IMAGE_SIDE }
    }

    /// Sets whether a support's features are masked.
    #[must_use]
    pub fn with_support_mask(mut self, support_mask: SupportMask) -> Self {
        self.support_mask = support_mask;
        self
    }

    /// Sets the side of the images that it is made for.
    #[must_use]
    pub fn with_side(mut self, side: usize) -> Self {
        self.side = side;
        self
    }

    /// Builds the model with random weights that follow from `seed` alone.
    pub fn init(&self, device: &Device, seed: u64) -> Hsnet {
        self.init_with(self.backbone.init(device, seed), device, seed)
    }

    /// Builds the model around a backbone, the rest with random weights.
    pub fn init_with(&self, backbone: TapBackbone, device: &Device, seed: u64) -> Hsnet {
        Hsnet {
            backbone,
            squeeze: Squeeze::new(self.backbone.network.taps(), seed, device),
            decoder: Decoder::new("hpn_learner.", seed, device),
            config: self.backbone,
            support_mask: self.support_mask,
            side: self.side,
        }
    }
}

/// The HSNet model. The backbone is frozen; the rest learns.
#[derive(Module, Debug)]
pub struct Hsnet {
    /// The backbone, a classifier tapped at many depths.
    pub backbone: TapBackbone,
    /// Squeezes correlations.
    pub squeeze: Squeeze,
    /// Makes logits.
    pub decoder: Decoder,
    #[module(skip)]
    config: TapBackboneConfig,
    #[module(skip)]
    support_mask: SupportMask,
    #[module(skip)]
    side: usize,
}

/// What is kept of a support set: the (masked) unit features of each shot.
#[derive(Debug, Clone)]
pub struct HsnetSupport {
    /// One for each shot.
    pub shots: Vec<Pyramid>,
}

impl Hsnet {
    /// The model for inference: every norm of the backbone is folded into its convolution.
    #[must_use]
    pub fn fold(self) -> Self {
        Self { backbone: self.backbone.fold(), ..self }
    }

    /// Which backbone it has.
    pub fn config(&self) -> &TapBackboneConfig {
        &self.config
    }

    /// Whether a support's features are masked.
    pub fn support_mask(&self) -> SupportMask {
        self.support_mask
    }

    /// Fills the model from a checkpoint: one of the official code or one of ours, both strictly.
    ///
    /// # Errors
    /// [`BackboneError`] if the file is missing, broken or of another network.
    pub fn load(self, path: &Path) -> Result<(Self, LoadReport), BackboneError> {
        let mut file = ModuleFile::open(path)?;
        self.config.expect_in(&file, "backbone.")?;
        file.load(self, "", Strictness::Strict)
    }

    /// Unit features of one shot.
    fn encode(&self, features: &Features, mask: &Tensor<3, Int>) -> Result<Pyramid, HeadError> {
        check_taps(&features.0, &self.config, "a support image")?;
        let pyramid = match self.support_mask {
            SupportMask::Masked => {
                Pyramid::new(&masked(&features.0, &foreground(mask)), &self.config)
            }
            SupportMask::Unmasked => Pyramid::new(&features.0, &self.config),
        };
        Squeeze::check_support(pyramid.sizes())?;
        Ok(pyramid)
    }

    /// Logits `[B, 2, 2w, 2w]` of a query from one shot, with w the width of the shallow maps.
    pub fn matching(&self, query: &Pyramid, shot: &Pyramid) -> Tensor<4> {
        let encoded = self.squeeze.forward(query, &shot.for_batch(query.batch()));
        self.decoder.forward(encoded)
    }

    /// The vote of all shots on a query, enlarged.
    fn segment_pyramid(
        &self,
        support: &HsnetSupport,
        query: &Pyramid,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        check_batch(&support.shots, query.batch())?;
        let logits = support
            .shots
            .iter()
            .map(|shot| resize_bilinear(self.matching(query, shot), size, Corners::Aligned));
        Ok(vote(logits.collect()))
    }

    /// Unit features of a query.
    ///
    /// # Errors
    /// [`HeadError::Shape`] for features of another backbone.
    pub fn query(&self, features: &Features) -> Result<Pyramid, HeadError> {
        check_taps(&features.0, &self.config, "a query")?;
        Ok(Pyramid::new(&features.0, &self.config))
    }
}

impl OfficialKeys for Hsnet {
    fn official_key(path: &str) -> String {
        if let Some(rest) = path.strip_prefix("backbone.") {
            return format!("backbone.{}", TapBackbone::official_key(rest));
        }
        let learner = match (path.strip_prefix("squeeze."), path.strip_prefix("decoder.")) {
            (Some(rest), _) => Squeeze::official_key(rest),
            (_, Some(rest)) => Decoder::official_key(rest),
            _ => return path.to_owned(),
        };
        format!("hpn_learner.{learner}")
    }

    fn allows_extra(key: &str) -> bool {
        key.strip_prefix("backbone.").is_some_and(TapBackbone::allows_extra)
    }

    fn describe(&self) -> String {
        format!("hsnet with {}", self.config)
    }
}

impl FewShotModel for Hsnet {
    type Support = HsnetSupport;

    /// One prediction for each shot, and a vote over them.
    fn shot_rule(&self) -> ShotRule {
        ShotRule::Vote
    }

    fn image_side(&self) -> Option<usize> {
        Some(self.side)
    }

    fn features(&self, images: Tensor<4>) -> Features {
        Features(self.backbone.forward(at_least(images, self.config.smallest_side())))
    }

    fn encode_support(&self, shots: &[Shot]) -> Result<HsnetSupport, HeadError> {
        if shots.is_empty() {
            return Err(HeadError::NoSupport);
        }
        let shots = shots.iter().map(|shot| self.encode(&shot.features, &shot.mask));
        Ok(HsnetSupport { shots: shots.collect::<Result<_, _>>()? })
    }

    /// With several shots: the share of votes that a pixel has of those of the pixel with most, less one
    /// half, against 0 for the background; its sign is the published vote.
    fn segment(
        &self,
        support: &HsnetSupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        self.segment_pyramid(support, &self.query(query)?, size)
    }

    /// Unit features of the query are made once for all ways.
    fn segment_ways(
        &self,
        supports: &[HsnetSupport],
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let query = self.query(query)?;
        let per_way = supports.iter().map(|support| self.segment_pyramid(support, &query, size));
        merge_ways(per_way.collect::<Result<_, _>>()?)
    }
}

/// The logits themselves if they are of one shot; else those of the published vote.
///
/// # Shapes
/// - each of `logits`: `[B, 2, H, W]`
/// - output: `[B, 2, H, W]`, background (0) first
pub(crate) fn vote(mut logits: Vec<Tensor<4>>) -> Tensor<4> {
    if logits.len() == 1 {
        return logits.remove(0);
    }
    let shots = logits.len() as f32;
    let votes = logits
        .into_iter()
        .map(|logits| {
            // Of equal logits the background's wins.
            let foreground = logits.clone().narrow(1, 1, 1);
            foreground.greater(logits.narrow(1, 0, 1)).float()
        })
        .reduce(|sum, votes| sum + votes)
        .unwrap_or_else(|| unreachable!("a support set has shots"));
    let most = votes.clone().max_dims(&[2, 3]).clamp_min(1.0);
    // A pixel with exactly half of the most votes is foreground; the next lower share is further away
    // than this.
    let half = 0.5 - 0.25 / shots;
    let foreground = votes / most - half;
    Tensor::cat(vec![foreground.zeros_like(), foreground], 1)
}

/// Refuses shots of another batch than the query's; those of one image serve any.
pub(crate) fn check_batch(shots: &[Pyramid], batch: usize) -> Result<(), HeadError> {
    match shots.iter().map(Pyramid::batch).find(|own| *own != batch && *own != 1) {
        None => Ok(()),
        Some(own) => Err(HeadError::Shape {
            what: "the features of a query".into(),
            got: format!("a batch of {batch}"),
            want: format!("a batch of {own}, as its support set"),
        }),
    }
}

/// Images `[B, 3, H, W]`, enlarged where a side is below what the network can take.
pub(crate) fn at_least(images: Tensor<4>, side: usize) -> Tensor<4> {
    let [_, _, height, width] = images.dims();
    resize_bilinear(images, [height.max(side), width.max(side)], Corners::HalfPixel)
}

/// `x` outside autodiff: the backbone is frozen, so its features are constants.
pub(crate) fn constants(features: Features) -> Features {
    Features(features.0.into_iter().map(Tensor::without_autodiff).collect())
}

/// `x` beside the parameters of a squeeze: recorded by autodiff if these are.
pub(crate) fn beside<const D: usize>(x: Tensor<D>, squeeze: &Squeeze) -> Tensor<D> {
    params::beside(x, &squeeze.encoder_layer4[0].conv1.weight)
}
