//! Which network, and what its taps look like.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::PUBLISHED_WIDTH;
use crate::error::BackboneError;

/// A classifier of torchvision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TapNetwork {
    /// VGG-16 without batch norm; tapped at conv4_1..3, conv5_1..3 (before their ReLU) and pool5.
    Vgg16,
    /// ResNet-50; tapped at every block of layer2, layer3 and layer4, before the block's last ReLU.
    Resnet50,
    /// ResNet-101; tapped like ResNet-50.
    Resnet101,
}

impl TapNetwork {
    /// All networks.
    pub const ALL: [Self; 3] = [Self::Vgg16, Self::Resnet50, Self::Resnet101];

    /// The names that [`TapNetwork::from_str`] takes, in the order of [`TapNetwork::ALL`].
    pub const NAMES: [&str; 3] = ["vgg16", "resnet50", "resnet101"];

    /// The usual name, e.g. `"resnet50"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vgg16 => "vgg16",
            Self::Resnet50 => "resnet50",
            Self::Resnet101 => "resnet101",
        }
    }

    /// Residual blocks of layer1 to layer4; `None` for VGG.
    pub(crate) fn blocks(self) -> Option<[usize; 4]> {
        let [layer2, layer3, layer4] = self.taps();
        (self != Self::Vgg16).then_some([3, layer2, layer3, layer4])
    }

    /// How many taps each pyramid level has: shallow, middle, deep. Taps are numbered in this order.
    pub fn taps(self) -> [usize; 3] {
        match self {
            Self::Vgg16 => [3, 3, 1],
            Self::Resnet50 => [4, 6, 3],
            Self::Resnet101 => [4, 23, 3],
        }
    }
}

impl fmt::Display for TapNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TapNetwork {
    type Err = BackboneError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|network| network.name() == name)
            .ok_or_else(|| BackboneError::UnknownTapNetwork { name: name.to_owned() })
    }
}

/// Configuration of a backbone with taps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapBackboneConfig {
    /// The network.
    pub network: TapNetwork,
    /// Channels of the first convolution: 64 in the published networks. All other widths follow in
    /// proportion, so that a smaller value gives a narrow network of the same shape. 0 counts as 1.
    #[serde(default = "published_width")]
    pub width: usize,
}

fn published_width() -> usize {
    PUBLISHED_WIDTH
}

impl TapBackboneConfig {
    /// The published network.
    pub fn new(network: TapNetwork) -> Self {
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
    /// [`BackboneError::Width`] if the width is 0 or above 1024.
    pub fn validate(&self) -> Result<(), BackboneError> {
        crate::config::check_width(self.width)
    }

    /// The smallest image side that leaves something at the deepest tap: 32 for VGG, whose poolings
    /// drop an odd last row, and 1 for ResNets.
    pub fn smallest_side(&self) -> usize {
        match self.network {
            TapNetwork::Vgg16 => 32,
            TapNetwork::Resnet50 | TapNetwork::Resnet101 => 1,
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

    pub(crate) fn base_width(&self) -> usize {
        self.width.max(1)
    }

    /// Channels of the taps of each pyramid level: shallow, middle, deep.
    pub fn channels(&self) -> [usize; 3] {
        let width = self.base_width();
        match self.network {
            TapNetwork::Vgg16 => [8 * width; 3],
            TapNetwork::Resnet50 | TapNetwork::Resnet101 => [8 * width, 16 * width, 32 * width],
        }
    }

    /// Sizes `[h, w]` of the taps of each pyramid level (shallow, middle, deep) for an image of size
    /// `[H, W]`: every step halves the side, rounding up in ResNets and down in VGG.
    pub fn feature_sizes(&self, image: [usize; 2]) -> [[usize; 2]; 3] {
        let halve = |n: usize| match self.network {
            TapNetwork::Vgg16 => n / 2,
            TapNetwork::Resnet50 | TapNetwork::Resnet101 => n.div_ceil(2),
        };
        [3, 4, 5].map(|steps| image.map(|side| (0..steps).fold(side, |n, _| halve(n))))
    }
}

impl fmt::Display for TapBackboneConfig {
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
        let sizes = |network| TapBackboneConfig::new(network).feature_sizes([400, 400]);
        assert_eq!(sizes(TapNetwork::Resnet50), [[50, 50], [25, 25], [13, 13]]);
        assert_eq!(sizes(TapNetwork::Vgg16), [[50, 50], [25, 25], [12, 12]]);
    }

    #[test]
    fn names_go_there_and_back() {
        for network in TapNetwork::ALL {
            assert_eq!(network.to_string().parse::<TapNetwork>().unwrap(), network);
        }
        let message = "resnet18".parse::<TapNetwork>().unwrap_err().to_string();
        assert!(message.contains("vgg16, resnet50, resnet101"), "{message}");
    }
}
