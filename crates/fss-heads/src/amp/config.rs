//! What an AMP model is built from.

use burn::tensor::Device;
use fss_backbone::{ImagenetBackbone, ImagenetConfig, ImagenetNetwork, ModuleFile, params};
use serde::{Deserialize, Serialize};

use super::official::CLASSIFIERS;
use super::{Amp, PixelClassifier};
use crate::HeadError;
use crate::layers::Convolution;

/// The side of the published images.
pub const IMAGE_SIDE: usize = 321;

/// What the object competes with in an episode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rivals {
    /// All rows of the classifiers, whose background rows have moved (published: `base=True`).
    #[default]
    Classes,
    /// The background row alone (`base=False`).
    Background,
}

/// What an [`Amp`](super::Amp) is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmpConfig {
    /// The backbone: VGG-16 with or without batch norm.
    pub backbone: ImagenetConfig,
    /// Rows C of the classifiers, background included: 21 for PASCAL VOC, 81 for COCO.
    pub classes: usize,
    /// What the object competes with.
    pub rivals: Rivals,
    /// The side of the square images that it is made for; it takes others, too. 321 is published.
    pub side: usize,
}

impl AmpConfig {
    /// The published settings for a backbone and a number of classes, background included.
    pub fn new(backbone: ImagenetConfig, classes: usize) -> Self {
        Self { backbone, classes, rivals: Rivals::default(), side: IMAGE_SIDE }
    }

    /// Sets what the object competes with.
    #[must_use]
    pub fn with_rivals(mut self, rivals: Rivals) -> Self {
        self.rivals = rivals;
        self
    }

    /// Sets the side of the images that it is made for.
    #[must_use]
    pub fn with_side(mut self, side: usize) -> Self {
        self.side = side;
        self
    }

    /// The model that a weight file holds, if it is one, with all else as published.
    pub fn of_file(file: &ModuleFile) -> Option<Self> {
        let classes = *file.shape(CLASSIFIERS[0])?.first()?;
        Some(Self::new(ImagenetConfig::of_file(file, "")?, classes))
    }

    /// Checks values that may come from a user's file.
    ///
    /// # Errors
    /// [`HeadError::Setting`] for another backbone than a VGG-16, or less than one class beside the
    /// background.
    pub fn validate(&self) -> Result<(), HeadError> {
        let vgg = [ImagenetNetwork::Vgg16, ImagenetNetwork::Vgg16Bn];
        if !vgg.contains(&self.backbone.network) {
            return Err(HeadError::Setting {
                problem: format!("AMP reads a VGG-16, not {}", self.backbone),
                remedy: "choose vgg16 or vgg16_bn".into(),
            });
        }
        if self.classes < 2 {
            return Err(HeadError::Setting {
                problem: format!("AMP with {} rows knows no class", self.classes),
                remedy: "count the background and at least one class (21 for PASCAL VOC)".into(),
            });
        }
        Ok(())
    }

    /// Channels of the three levels that the classifiers read: 256, 512 and 256 at the published width.
    pub fn channels(&self) -> [usize; 3] {
        let [shallow, middle, _] = self.backbone.channels();
        [shallow, middle, shallow]
    }

    /// Builds the model with random weights that follow from `seed` alone.
    pub fn init(&self, device: &Device, seed: u64) -> Amp {
        self.init_with(self.backbone.init(device, seed), device, seed)
    }

    /// Builds the model around a backbone, the rest with random weights.
    pub fn init_with(&self, backbone: ImagenetBackbone, device: &Device, seed: u64) -> Amp {
        let [_, _, deepest] = self.backbone.channels();
        let channels = self.channels();
        let classifiers = CLASSIFIERS.into_iter().zip(channels).map(|(key, channels)| {
            let shape = [self.classes, channels, 1, 1];
            let bound = 1.0 / (channels as f64).sqrt();
            PixelClassifier { weight: params::uniform(key, shape, bound, seed, device) }
        });
        Amp {
            backbone,
            reduce: Convolution::new("fully_conv.0", [deepest, channels[2], 1], seed, device),
            classifiers: classifiers.collect(),
            config: *self,
        }
    }
}
