//! Which network: depth, width, and what layer3 does about stride.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::BackboneError;

/// Width of the published networks: channels of the first stem convolution.
pub(crate) const PUBLISHED_WIDTH: usize = 64;

/// Widest network that is accepted, 16 times the published one.
const MAX_WIDTH: usize = 1024;

/// Depth of the ResNet, named after the full classification network.
///
/// 50, 101 and 152 are the published backbones. 18 and 34 are an extension of this library: the
/// original code names them but cannot build them, so there are no reference numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Depth {
    /// ResNet-18: basic blocks 2, 2, 2.
    #[serde(rename = "resnet18")]
    R18,
    /// ResNet-34: basic blocks 3, 4, 6.
    #[serde(rename = "resnet34")]
    R34,
    /// ResNet-50: bottlenecks 3, 4, 6.
    #[serde(rename = "resnet50")]
    R50,
    /// ResNet-101: bottlenecks 3, 4, 23.
    #[serde(rename = "resnet101")]
    R101,
    /// ResNet-152: bottlenecks 3, 8, 36.
    #[serde(rename = "resnet152")]
    R152,
}

/// The two residual blocks of the ResNet family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockKind {
    /// Two 3x3 convolutions; output channels = planes.
    Basic,
    /// 1x1, 3x3, 1x1; output channels = 4 x planes.
    Bottleneck,
}

impl BlockKind {
    /// Output channels divided by planes.
    pub(crate) fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

impl Depth {
    /// All depths, shallow to deep.
    pub const ALL: [Self; 5] = [Self::R18, Self::R34, Self::R50, Self::R101, Self::R152];

    /// The names that [`Depth::from_str`] takes, in the order of [`Depth::ALL`].
    pub const NAMES: [&str; 5] = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"];

    /// The usual name, e.g. `"resnet50"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::R18 => "resnet18",
            Self::R34 => "resnet34",
            Self::R50 => "resnet50",
            Self::R101 => "resnet101",
            Self::R152 => "resnet152",
        }
    }

    /// Number of residual blocks in layer1, layer2 and layer3.
    pub fn blocks(self) -> [usize; 3] {
        match self {
            Self::R18 => [2, 2, 2],
            Self::R34 | Self::R50 => [3, 4, 6],
            Self::R101 => [3, 4, 23],
            Self::R152 => [3, 8, 36],
        }
    }

    pub(crate) fn block_kind(self) -> BlockKind {
        match self {
            Self::R18 | Self::R34 => BlockKind::Basic,
            Self::R50 | Self::R101 | Self::R152 => BlockKind::Bottleneck,
        }
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Depth {
    type Err = BackboneError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|depth| depth.name() == name)
            .ok_or_else(|| BackboneError::UnknownBackbone { name: name.to_owned() })
    }
}

/// How layer3 keeps its field of view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer3 {
    /// As the published code has it: dilated for 50, 101 and 152, strided for 18 and 34.
    #[default]
    Published,
    /// Stride 1; first block dilation 1, all further blocks dilation 2. Output stride 8.
    Dilated,
    /// Stride 2 in the first block, no dilation. Output stride 16.
    Strided,
}

impl Layer3 {
    /// All ways, with the names that files use.
    const NAMED: [(Self, &'static str); 3] =
        [(Self::Published, "published"), (Self::Dilated, "dilated"), (Self::Strided, "strided")];

    /// The way of this name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|(_, known)| *known == name).map(|(layer3, _)| layer3)
    }
}

impl fmt::Display for Layer3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMED.into_iter().find(|(layer3, _)| layer3 == self);
        f.write_str(name.map_or("published", |(_, name)| name))
    }
}

/// Configuration of a [`DeepStemResNet`](crate::DeepStemResNet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeepStemResNetConfig {
    /// Depth of the network.
    pub depth: Depth,
    /// Channels of the first stem convolution: 64 in the published networks. All other widths
    /// follow in proportion, so that a smaller value gives a narrow network of the same shape,
    /// for tests and demonstrations. 0 counts as 1.
    #[serde(default = "published_width")]
    pub width: usize,
    /// What layer3 does about stride.
    #[serde(default)]
    pub layer3: Layer3,
}

fn published_width() -> usize {
    PUBLISHED_WIDTH
}

impl DeepStemResNetConfig {
    /// The published network of this depth.
    pub fn new(depth: Depth) -> Self {
        Self { depth, width: PUBLISHED_WIDTH, layer3: Layer3::Published }
    }

    /// Sets the width (64 = published).
    #[must_use]
    pub fn with_width(mut self, width: usize) -> Self {
        self.width = width;
        self
    }

    /// Sets what layer3 does about stride.
    #[must_use]
    pub fn with_layer3(mut self, layer3: Layer3) -> Self {
        self.layer3 = layer3;
        self
    }

    /// Checks values that may come from a user's file.
    ///
    /// # Errors
    /// [`BackboneError::Width`] if the width is 0 or above 1024.
    pub fn validate(&self) -> Result<(), BackboneError> {
        check_width(self.width)
    }

    /// Channels C of the features: 1024 for ResNet-50/101/152, 256 for ResNet-18/34 (width 64).
    pub fn channels(&self) -> usize {
        4 * self.base_width() * self.depth.block_kind().expansion()
    }

    /// Image pixels per feature position along each axis: 8, or 16 if layer3 is strided.
    pub fn output_stride(&self) -> usize {
        if self.layer3_is_dilated() { 8 } else { 16 }
    }

    /// Feature size `[h, w]` of an image of size `[H, W]`: every stride-2 step maps n to
    /// `floor((n - 1) / 2) + 1`. An empty axis stays empty.
    pub fn feature_size(&self, image: [usize; 2]) -> [usize; 2] {
        let halvings = if self.layer3_is_dilated() { 3 } else { 4 };
        image.map(|n| (0..halvings).fold(n, |n, _| n.div_ceil(2)))
    }

    pub(crate) fn base_width(&self) -> usize {
        self.width.max(1)
    }

    pub(crate) fn layer3_is_dilated(&self) -> bool {
        self.layer3_in_force() == Layer3::Dilated
    }

    /// [`Layer3::Dilated`] or [`Layer3::Strided`], whichever this network has.
    pub(crate) fn layer3_in_force(&self) -> Layer3 {
        match self.layer3 {
            Layer3::Published if self.depth.block_kind() == BlockKind::Bottleneck => {
                Layer3::Dilated
            }
            Layer3::Published => Layer3::Strided,
            chosen => chosen,
        }
    }
}

/// Refuses widths that no network can have.
pub(crate) fn check_width(width: usize) -> Result<(), BackboneError> {
    if (1..=MAX_WIDTH).contains(&width) {
        Ok(())
    } else {
        Err(BackboneError::Width { width, max: MAX_WIDTH })
    }
}

impl fmt::Display for DeepStemResNetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.depth)?;
        if self.width != PUBLISHED_WIDTH {
            write!(f, " of width {}", self.width)?;
        }
        let published = Self { layer3: Layer3::Published, ..*self };
        if self.layer3_in_force() != published.layer3_in_force() {
            write!(f, " with {} layer3", self.layer3)?;
        }
        Ok(())
    }
}
