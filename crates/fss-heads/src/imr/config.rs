//! What an IMR is built from.

use burn::module::Param;
use burn::tensor::{Device, TensorData};
use fss_backbone::{TapBackbone, TapBackboneConfig, TapNetwork};
use serde::{Deserialize, Serialize};

use super::{Cell, Imr};
use crate::HeadError;
use crate::hsnet::{CHANNELS, Decoder, Squeeze};
use crate::layers::Convolution;

/// The side of the published grid: that of the shallow features of a 400x400 image.
pub const GRID: usize = 50;

/// Channels of the middle features that the cell reads, divided by the backbone's width.
const MIDDLE_PER_WIDTH: usize = 8;

/// Whose map masks whose features before the first stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstMask {
    /// The support's map the query's features, and the other way round, as in the published code.
    #[default]
    Crossed,
    /// Each image's own map, as the paper describes it. Published weights do not fit this.
    Own,
}

/// What takes the place of a support's coarse map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SupportLabels {
    /// Its coarse map: only the class's name is known.
    #[default]
    Text,
    /// Its mask.
    Masks,
}

/// What an [`Imr`] is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImrConfig {
    /// The backbone, VGG-16 or ResNet-50.
    pub backbone: TapBackboneConfig,
    /// Number of refinement stages: published are 2 for PASCAL-5i and 3 for COCO-20i.
    pub stages: usize,
    /// Whose map masks whose features first.
    pub first_mask: FirstMask,
    /// What takes the place of a support's coarse map.
    pub support_labels: SupportLabels,
    /// Side of the coarse maps and of the recurrent state; images must have shallow features of this
    /// size. 50 is published, for images of 400x400.
    pub grid: usize,
}

impl ImrConfig {
    /// The published settings for a backbone, with 2 stages.
    pub fn new(backbone: TapBackboneConfig) -> Self {
        Self {
            backbone,
            stages: 2,
            first_mask: FirstMask::Crossed,
            support_labels: SupportLabels::Text,
            grid: GRID,
        }
    }

    /// Sets the number of refinement stages.
    #[must_use]
    pub fn with_stages(mut self, stages: usize) -> Self {
        self.stages = stages;
        self
    }

    /// Sets whose map masks whose features first.
    #[must_use]
    pub fn with_first_mask(mut self, first_mask: FirstMask) -> Self {
        self.first_mask = first_mask;
        self
    }

    /// Sets what takes the place of a support's coarse map.
    #[must_use]
    pub fn with_support_labels(mut self, support_labels: SupportLabels) -> Self {
        self.support_labels = support_labels;
        self
    }

    /// Sets the side of the coarse maps.
    #[must_use]
    pub fn with_grid(mut self, grid: usize) -> Self {
        self.grid = grid;
        self
    }

    /// The side of the square images that go with the grid.
    pub fn image_side(&self) -> usize {
        8 * self.grid
    }

    /// Checks what may come from a user.
    ///
    /// # Errors
    /// [`HeadError::Setting`] for a ResNet-101, for which nothing is published (the published code
    /// builds one that cannot run), or no stage or grid.
    pub fn validate(&self) -> Result<(), HeadError> {
        let refuse = |problem: String, remedy: &str| {
            Err(HeadError::Setting { problem, remedy: remedy.into() })
        };
        if self.backbone.network == TapNetwork::Resnet101 {
            return refuse("imr has no form for resnet101".into(), "use vgg16 or resnet50");
        }
        if self.stages == 0 || self.grid == 0 {
            let problem = format!("imr with {} stages on a grid of {}", self.stages, self.grid);
            return refuse(
                problem,
                "give at least 1 of each; published are 2 or 3 stages, grid 50",
            );
        }
        Ok(())
    }

    /// Builds the model with random weights that follow from `seed` alone.
    ///
    /// # Errors
    /// As [`ImrConfig::validate`].
    pub fn init(&self, device: &Device, seed: u64) -> Result<Imr, HeadError> {
        self.init_with(self.backbone.init(device, seed), device, seed)
    }

    /// Builds the model around a backbone, the rest with random weights.
    ///
    /// # Errors
    /// As [`ImrConfig::validate`].
    pub fn init_with(
        &self,
        backbone: TapBackbone,
        device: &Device,
        seed: u64,
    ) -> Result<Imr, HeadError> {
        self.validate()?;
        let middle = MIDDLE_PER_WIDTH * self.backbone.width.max(1);
        let conv = |key: &str, shape: [usize; 3]| Convolution::new(key, shape, seed, device);
        let state = vec![0.0; CHANNELS * self.grid * self.grid];
        let state = TensorData::new(state, [1, CHANNELS, self.grid, self.grid]);
        Ok(Imr {
            backbone,
            project: (self.backbone.network != TapNetwork::Vgg16)
                .then(|| conv("conv1024_512", [2 * middle, middle, 1])),
            state: Param::from_data(state, device),
            cell: Cell::new(1 + CHANNELS + middle + CHANNELS, seed, device),
            squeeze: Squeeze::new(self.backbone.network.taps(), seed, device),
            decoder: Decoder::new("", seed, device),
            res: vec![conv("res.0", [3, 10, 1]), conv("res.2", [10, 2, 1])],
            settings: *self,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_published_is_refused() {
        let config = ImrConfig::new(TapBackboneConfig::new(TapNetwork::Resnet101));
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains("resnet50"), "{message}");
        let config = ImrConfig::new(TapBackboneConfig::new(TapNetwork::Vgg16)).with_stages(0);
        assert!(config.validate().unwrap_err().to_string().contains("0 stages"));
    }
}
