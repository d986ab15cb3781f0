//! Which network, and what its features look like.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::{PUBLISHED_WIDTH, check_width};
use crate::error::BackboneError;

/// A classifier of torchvision, changed as DENet's code has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImagenetNetwork {
    /// ResNet-50; layer3 and layer4 are dilated in place of strided.
    Resnet50,
    /// ResNet-101; changed like ResNet-50.
    Resnet101,
    /// DenseNet-121 up to its third dense block, without the pooling in front of it.
    Densenet121,
    /// VGG-16 without batch norm; its poolings round up, and conv4 and conv5 are dilated.
    Vgg16,
    /// VGG-16 with batch norm; changed like VGG-16.
    Vgg16Bn,
}

impl ImagenetNetwork {
    /// All networks.
    pub const ALL: [Self; 5] =
        [Self::Resnet50, Self::Resnet101, Self::Densenet121, Self::Vgg16, Self::Vgg16Bn];

    /// The names that [`ImagenetNetwork::from_str`] takes, in the order of [`ImagenetNetwork::ALL`].
    pub const NAMES: [&str; 5] = ["resnet50", "resnet101", "densenet121", "vgg16", "vgg16_bn"];

    /// The usual name, e.g. `"densenet121"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resnet50 => "resnet50",
            Self::Resnet101 => "resnet101",
            Self::Densenet121 => "densenet121",
            Self::Vgg16 => "vgg16",
            Self::Vgg16Bn => "vgg16_bn",
        }
    }
}

impl fmt::Display for ImagenetNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ImagenetNetwork {
    type Err = BackboneError;

    /// Takes [`ImagenetNetwork::NAMES`] and the names of the published configurations, such as
    /// `ResNet50` and `VGG16BNBase`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let lower = name.to_lowercase();
        let plain = lower.strip_suffix("base").unwrap_or(&lower);
        Self::ALL
            .into_iter()
            .find(|network| network.name() == plain || network.name().replace('_', "") == plain)
            .ok_or_else(|| BackboneError::UnknownImagenetNetwork { name: name.to_owned() })
    }
}

/// Configuration of an [`ImagenetBackbone`](crate::ImagenetBackbone).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagenetConfig {
    /// The network.
    pub network: ImagenetNetwork,
    /// Channels of the first convolution: 64 in the published networks. All other widths follow in
    /// proportion, so that a smaller value gives a narrow network of the same shape. DenseNet grows
    /// by half of it, so it must be even there. 0 counts as 1.
    #[serde(default = "published_width")]
    pub width: usize,
}

fn published_width() -> usize {
    PUBLISHED_WIDTH
}

impl ImagenetConfig {
    /// The published network.
    pub fn new(network: ImagenetNetwork) -> Self {
        Self { network, width: PUBLISHED_WIDTH }
    }

    /// Sets the width (64 = published).
    #[must_use]
    pub fn with_width(mut self, width: usize) -> Self {
        self.width = width;
        self
    }

    /// Checks values that may come from a user's file.
    ///
    /// # Errors
    /// [`BackboneError::Width`] if the width is 0 or above 1024, [`BackboneError::OddWidth`] if that of
    /// a DenseNet is odd.
    pub fn validate(&self) -> Result<(), BackboneError> {
        check_width(self.width)?;
        match self.network == ImagenetNetwork::Densenet121 && !self.width.is_multiple_of(2) {
            true => Err(BackboneError::OddWidth { width: self.width }),
            false => Ok(()),
        }
    }

    /// Width of the network as it is built: an odd one of a DenseNet counts as the next even one.
    pub(crate) fn base_width(&self) -> usize {
        match self.network {
            ImagenetNetwork::Densenet121 => self.width.max(1).next_multiple_of(2),
            _ => self.width.max(1),
        }
    }

    /// Channels of the three levels of features, shallow to deep. At the published width 256, 512 and
    /// 1024 for ResNets and DenseNet, and 256, 512 and 512 for VGG.
    pub fn channels(&self) -> [usize; 3] {
        let width = self.base_width();
        match self.network {
            ImagenetNetwork::Vgg16 | ImagenetNetwork::Vgg16Bn => [4 * width, 8 * width, 8 * width],
            _ => [4 * width, 8 * width, 16 * width],
        }
    }

    /// Sizes `[h, w]` of the three levels of features for an image of size `[H, W]`. Sides are halved
    /// rounding up, but by DenseNet's average pooling, which rounds down.
    pub fn feature_sizes(&self, image: [usize; 2]) -> [[usize; 2]; 3] {
        let up = |size: [usize; 2], steps: usize| {
            size.map(|side| (0..steps).fold(side, |n: usize, _| n.div_ceil(2)))
        };
        match self.network {
            ImagenetNetwork::Resnet50 | ImagenetNetwork::Resnet101 => {
                [up(image, 2), up(image, 3), up(image, 3)]
            }
            ImagenetNetwork::Densenet121 => {
                let shallow = up(image, 2);
                let deep = shallow.map(|side| side / 2);
                [shallow, deep, deep]
            }
            ImagenetNetwork::Vgg16 | ImagenetNetwork::Vgg16Bn => {
                [up(image, 3), up(image, 4), up(image, 5)]
            }
        }
    }

    /// The smallest image side that leaves something at every level: 5 for DenseNet, whose average
    /// pooling drops an odd last row, and 1 for all others.
    pub fn smallest_side(&self) -> usize {
        match self.network {
            ImagenetNetwork::Densenet121 => 5,
            _ => 1,
        }
    }

    /// Checks an image's size `[H, W]`.
    ///
    /// # Errors
    /// [`BackboneError::ImageTooSmall`] if a side is below [`Self::smallest_side`].
    pub fn check_image(&self, image: [usize; 2]) -> Result<(), BackboneError> {
        let smallest = self.smallest_side();
        match image.iter().all(|&side| side >= smallest) {
            true => Ok(()),
            false => {
                Err(BackboneError::ImageTooSmall { backbone: self.to_string(), image, smallest })
            }
        }
    }
}

impl fmt::Display for ImagenetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.network)?;
        if self.width != PUBLISHED_WIDTH {
            write!(f, " of width {}", self.width)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_at_the_published_side() {
        let sizes = |network| ImagenetConfig::new(network).feature_sizes([321, 321]).map(|s| s[0]);
        assert_eq!(sizes(ImagenetNetwork::Resnet50), [81, 41, 41]);
        assert_eq!(sizes(ImagenetNetwork::Densenet121), [81, 40, 40]);
        assert_eq!(sizes(ImagenetNetwork::Vgg16), [41, 21, 11]);
    }

    #[test]
    fn names_go_there_and_back() {
        assert_eq!(ImagenetNetwork::ALL.map(ImagenetNetwork::name), ImagenetNetwork::NAMES);
        for network in ImagenetNetwork::ALL {
            assert_eq!(network.to_string().parse::<ImagenetNetwork>().unwrap(), network);
            let json = serde_json::to_string(&network).unwrap();
            assert_eq!(serde_json::from_str::<ImagenetNetwork>(&json).unwrap(), network);
        }
        let published = ["ResNet50", "ResNet101", "DenseNet121", "VGG16Base", "VGG16BNBase"];
        let parsed = published.map(|name| name.parse::<ImagenetNetwork>().unwrap());
        assert_eq!(parsed, ImagenetNetwork::ALL);
        let message = "resnet18".parse::<ImagenetNetwork>().unwrap_err().to_string();
        assert!(message.contains("densenet121, vgg16, vgg16_bn"), "{message}");
    }

    #[test]
    fn odd_widths_are_for_networks_that_can_be_halved() {
        let config = |network, width| ImagenetConfig::new(network).with_width(width).validate();
        config(ImagenetNetwork::Resnet50, 5).unwrap();
        let message = config(ImagenetNetwork::Densenet121, 5).unwrap_err().to_string();
        assert!(message.contains('5') && message.contains("even"), "{message}");
        config(ImagenetNetwork::Densenet121, 6).unwrap();
        assert!(config(ImagenetNetwork::Vgg16, 0).is_err());
    }
}
