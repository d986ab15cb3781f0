//! IMR-HSNet: iterative few-shot segmentation from image label text (Wang et al., IJCAI 2022).
//!
//! Supports come without masks. A coarse map (CAM) of where the class may be, made by CLIP from the class's
//! name, stands in for them; a recurrent cell on top of HSNet's correlations refines the maps of query and
//! support together over a few stages.
//!
//! The published code masks crosswise in the first stage ([`FirstMask::Crossed`]), and its masks add up
//! over the stages, so that what a first CAM sets to zero stays out of every correlation. Both are kept:
//! published weights were trained so. Since a positive mask value cancels in a cosine, later stages
//! change the correlations by 1e-3 at most; they work through the map and the state.

mod cell;
mod config;
mod stages;
mod training;

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};
use fss_backbone::{
    BackboneError, ComputePrecision, LoadReport, ModuleFile, OfficialKeys, Strictness, TapBackbone,
    TapBackboneConfig,
};
use fss_kernels::{Activation, Corners, resize_bilinear};

use crate::hsnet::{self, Decoder, Squeeze, foreground};
use crate::layers::Convolution;
use crate::{Features, FewShotModel, HeadError, Shot, ShotRule};

pub use cell::{Cell, Gate, Gates};
pub use config::{FirstMask, GRID, ImrConfig, SupportLabels};
pub use stages::Stage;

/// The IMR-HSNet model. The backbone is frozen; the rest learns. Query and support share all weights.
#[derive(Module, Debug)]
pub struct Imr {
    /// The backbone, a classifier tapped at many depths.
    pub backbone: TapBackbone,
    /// Halves the channels of a ResNet's middle features.
    pub project: Option<Convolution>,
    /// The recurrent state before the first stage, `[1, 128, G, G]`.
    pub state: Param<Tensor<4>>,
    /// The recurrent cell.
    pub cell: Cell,
    /// Squeezes correlations.
    pub squeeze: Squeeze,
    /// Makes logits.
    pub decoder: Decoder,
    /// Puts logits and map together: 3 to 10 to 2 channels.
    pub res: Vec<Convolution>,
    #[module(skip)]
    settings: ImrConfig,
}

/// What an image brings into the first stage.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Taps of the backbone.
    taps: Vec<Tensor<4>>,
    /// Coarse map `[B, 1, G, G]`.
    cam: Tensor<4>,
}

/// What is kept of a support set: features and coarse map of each shot.
#[derive(Debug, Clone)]
pub struct ImrSupport {
    /// One for each shot.
    pub shots: Vec<Sight>,
}

impl Imr {
    /// Sets in which precision the frozen backbone convolves until the model is folded; correlations, 4D
    /// convolutions and the recurrent cell stay in full precision.
    #[must_use]
    pub fn with_precision(self, precision: ComputePrecision) -> Self {
        Self { backbone: self.backbone.with_precision(precision), ..self }
    }

    /// The model for inference: every norm of the backbone is folded into its convolution.
    #[must_use]
    pub fn fold(self) -> Self {
        Self { backbone: self.backbone.fold(), ..self }
    }

    /// Number of refinement stages.
    pub fn stages(&self) -> usize {
        self.settings.stages
    }

    /// Whose map masks whose features first.
    pub fn first_mask(&self) -> FirstMask {
        self.settings.first_mask
    }

    /// The same model with another number of stages (at least 1); no weight depends on it.
    #[must_use]
    pub fn with_stages(mut self, stages: usize) -> Self {
        self.settings.stages = stages.max(1);
        self
    }

    /// The same model with something else in place of the supports' coarse maps.
    #[must_use]
    pub fn with_support_labels(mut self, support_labels: SupportLabels) -> Self {
        self.settings.support_labels = support_labels;
        self
    }

    /// Which backbone it has.
    pub fn config(&self) -> &TapBackboneConfig {
        &self.settings.backbone
    }

    /// Fills the model from a checkpoint: one of the official code or one of ours, both strictly.
    ///
    /// # Errors
    /// [`BackboneError`] if the file is missing, broken or of another network.
    pub fn load(self, path: &Path) -> Result<(Self, LoadReport), BackboneError> {
        let mut file = ModuleFile::open(path)?;
        self.settings.backbone.expect_in(&file, "backbone.")?;
        file.load(self, "", Strictness::Strict)
    }

    /// Features and coarse map of an image, as its features bring them.
    ///
    /// # Errors
    /// [`HeadError::NoCam`] without a map, [`HeadError::Shape`] for features of another backbone,
    /// [`HeadError::ImageSize`] if features or map do not have the grid's size.
    pub fn sight(&self, features: &Features, what: &str) -> Result<Sight, HeadError> {
        let count: usize = self.settings.backbone.network.taps().iter().sum();
        match features.0.split_at_checked(count) {
            Some((taps, [cam])) => self.look(taps, cam.clone(), what),
            _ => Err(HeadError::NoCam { what: what.into() }),
        }
    }

    fn look(&self, taps: &[Tensor<4>], cam: Tensor<4>, what: &str) -> Result<Sight, HeadError> {
        let ImrConfig { backbone, grid, .. } = self.settings;
        hsnet::check_taps(taps, &backbone, what)?;
        for (tensor, name) in [(&taps[0], "shallow features"), (&cam, "a coarse map")] {
            let [.., height, width] = tensor.dims();
            if [height, width] != [grid; 2] {
                let side = 8 * grid;
                return Err(HeadError::ImageSize {
                    what: what.into(),
                    problem: format!("it has {name} of {height}x{width}, the model {grid}x{grid}"),
                    remedy: format!("resize images to {side}x{side} and maps to {grid}x{grid}"),
                });
            }
        }
        Ok(Sight { taps: taps.to_vec(), cam })
    }

    fn shot(&self, shot: &Shot) -> Result<Sight, HeadError> {
        const WHAT: &str = "a support image";
        match self.settings.support_labels {
            SupportLabels::Text => self.sight(&shot.features, WHAT),
            SupportLabels::Masks => {
                let count: usize = self.settings.backbone.network.taps().iter().sum();
                let taps = shot.features.0.get(..count).unwrap_or(&shot.features.0);
                self.look(taps, self.cam_of_mask(&shot.mask), WHAT)
            }
        }
    }

    /// The map `[B, 1, G, G]` that a mask `[B, H, W]` (0 / 1 / 255) gives.
    pub fn cam_of_mask(&self, mask: &Tensor<3, Int>) -> Tensor<4> {
        resize_bilinear(foreground(mask), [self.settings.grid; 2], Corners::Aligned)
    }

    /// The middle features `[B, 8 · width, G, G]` that the cell reads.
    fn middle(&self, taps: &[Tensor<4>]) -> Tensor<4> {
        let [shallow, middle, _] = self.settings.backbone.network.taps();
        let mut sum = taps[shallow].clone();
        for tap in &taps[shallow + 1..shallow + middle] {
            sum = sum + tap.clone();
        }
        let sum = resize_bilinear(sum, [self.settings.grid; 2], Corners::Aligned);
        match &self.project {
            Some(conv) => conv.forward(hsnet::beside(sum, &self.squeeze), Activation::None),
            None => hsnet::beside(sum, &self.squeeze),
        }
    }
}

impl OfficialKeys for Imr {
    fn official_key(path: &str) -> String {
        let (part, rest) = path.split_once('.').unwrap_or((path, ""));
        match part {
            "backbone" => format!("backbone.{}", TapBackbone::official_key(rest)),
            "squeeze" => format!("hpn_learner.{}", Squeeze::official_key(rest)),
            "decoder" => Decoder::official_key(rest),
            "cell" => Cell::official_key(rest),
            "project" => format!("conv1024_512.{rest}"),
            // Sub-layers are numbered convolution, GELU, convolution.
            "res" => rest.replacen("1.", "2.", 1).replacen("", "res.", 1),
            _ => path.to_owned(),
        }
    }

    fn allows_extra(key: &str) -> bool {
        key.strip_prefix("backbone.").is_some_and(TapBackbone::allows_extra)
    }

    fn describe(&self) -> String {
        format!("imr with {}", self.settings.backbone)
    }
}

impl FewShotModel for Imr {
    type Support = ImrSupport;

    /// One prediction for each shot, and a vote over them.
    fn shot_rule(&self) -> ShotRule {
        ShotRule::Vote
    }

    fn cam_grid(&self) -> Option<usize> {
        Some(self.settings.grid)
    }

    fn image_side(&self) -> Option<usize> {
        Some(8 * self.settings.grid)
    }

    fn features(&self, images: Tensor<4>) -> Features {
        let side = self.settings.backbone.smallest_side();
        Features(self.backbone.forward(hsnet::at_least(images, side)))
    }

    fn encode_support(&self, shots: &[Shot]) -> Result<ImrSupport, HeadError> {
        if shots.is_empty() {
            return Err(HeadError::NoSupport);
        }
        let shots = shots.iter().map(|shot| self.shot(shot));
        Ok(ImrSupport { shots: shots.collect::<Result<_, _>>()? })
    }

    /// Of several shots the published vote; see [`Hsnet`](crate::Hsnet).
    fn segment(
        &self,
        support: &ImrSupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let query = self.sight(query, "a query")?;
        let mut logits = Vec::with_capacity(support.shots.len());
        for shot in &support.shots {
            let last = self.query_logits(&query, shot)?;
            logits.push(resize_bilinear(last, size, Corners::Aligned));
        }
        Ok(hsnet::vote(logits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_keys() {
        let key = Imr::official_key;
        assert_eq!(key("state"), "state");
        assert_eq!(key("project.bias"), "conv1024_512.bias");
        assert_eq!(key("res.0.weight"), "res.0.weight");
        assert_eq!(key("res.1.weight"), "res.2.weight");
        assert_eq!(key("cell.update.first.weight"), "convz0.weight");
        assert_eq!(key("cell.candidate.right.bias"), "convh2.bias");
        assert_eq!(key("decoder.decoder1.1.weight"), "decoder1.2.weight");
        assert_eq!(key("squeeze.encoder_layer4.1.norm.bias"), "hpn_learner.encoder_layer4.4.bias");
    }
}
