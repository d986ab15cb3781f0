//! Which network, and how finely it looks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::{BlockKind, Depth, PUBLISHED_WIDTH, check_width};
use crate::error::BackboneError;

/// Image pixels per position of the deepest features, along each axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum OutputStride {
    /// layer3 dilated by 2, layer4 by 4 (all published runs).
    #[default]
    Eight,
    /// layer3 strided, layer4 dilated by 2.
    Sixteen,
    /// Both strided.
    ThirtyTwo,
}

impl OutputStride {
    /// The number.
    pub fn pixels(self) -> usize {
        match self {
            Self::Eight => 8,
            Self::Sixteen => 16,
            Self::ThirtyTwo => 32,
        }
    }

    /// Stride and dilation of layer3 and layer4. Dilation starts in a layer's first block.
    pub(crate) fn layers(self) -> [(usize, usize); 2] {
        match self {
            Self::Eight => [(1, 2), (1, 4)],
            Self::Sixteen => [(2, 1), (1, 2)],
            Self::ThirtyTwo => [(2, 1), (2, 1)],
        }
    }
}

impl fmt::Display for OutputStride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pixels())
    }
}

impl From<OutputStride> for usize {
    fn from(stride: OutputStride) -> usize {
        stride.pixels()
    }
}

impl TryFrom<usize> for OutputStride {
    type Error = String;

    fn try_from(pixels: usize) -> Result<Self, String> {
        match pixels {
            8 => Ok(Self::Eight),
            16 => Ok(Self::Sixteen),
            32 => Ok(Self::ThirtyTwo),
            other => Err(format!("an output stride is 8, 16 or 32, not {other}")),
        }
    }
}

impl FromStr for OutputStride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pixels: usize = text.parse().map_err(|_| format!("{text:?} is no number"))?;
        Self::try_from(pixels)
    }
}

/// Configuration of a [`DilatedResNet`](crate::DilatedResNet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DilatedResNetConfig {
    /// Depth of the network: 50, 101 (both published) or 152.
    pub depth: Depth,
    /// Channels of the first stem convolution: 64 in the published networks. All other widths
    /// follow in proportion. 0 counts as 1.
    #[serde(default = "published_width")]
    pub width: usize,
    /// Image pixels per position of the features.
    #[serde(default)]
    pub output_stride: OutputStride,
}

fn published_width() -> usize {
    PUBLISHED_WIDTH
}

impl DilatedResNetConfig {
    /// The published network of this depth.
    pub fn new(depth: Depth) -> Self {
        Self { depth, width: PUBLISHED_WIDTH, output_stride: OutputStride::default() }
    }

    /// Sets the width (64 = published).
    #[must_use]
    pub fn with_width(mut self, width: usize) -> Self {
        self.width = width;
        self
    }

    /// Sets the output stride (8 = published).
    #[must_use]
    pub fn with_output_stride(mut self, output_stride: OutputStride) -> Self {
        self.output_stride = output_stride;
        self
    }

    /// Checks values that may come from a user's file.
    ///
    /// # Errors
    /// [`BackboneError::Width`] if the width is 0 or above 1024, [`BackboneError::NotDilated`] for a
    /// depth without bottlenecks.
    pub fn validate(&self) -> Result<(), BackboneError> {
        match self.depth.block_kind() {
            BlockKind::Bottleneck => check_width(self.width),
            BlockKind::Basic => Err(BackboneError::NotDilated { depth: self.depth }),
        }
    }

    /// Channels of layer3's features: 1024 for ResNet-50/101/152 of width 64.
    pub fn middle_channels(&self) -> usize {
        4 * self.base_width() * BlockKind::Bottleneck.expansion()
    }

    /// Channels of layer4's features: 2048 for ResNet-50/101/152 of width 64.
    pub fn channels(&self) -> usize {
        2 * self.middle_channels()
    }

    /// Size `[h, w]` of layer4's features for an image of size `[H, W]`: every stride-2 step maps n
    /// to `floor((n - 1) / 2) + 1`.
    pub fn feature_size(&self, image: [usize; 2]) -> [usize; 2] {
        let halvings = self.output_stride.pixels().ilog2();
        image.map(|n| (0..halvings).fold(n, |n, _| n.div_ceil(2)))
    }

    pub(crate) fn base_width(&self) -> usize {
        self.width.max(1)
    }
}

impl fmt::Display for DilatedResNetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.depth)?;
        if self.width != PUBLISHED_WIDTH {
            write!(f, " of width {}", self.width)?;
        }
        if self.output_stride != OutputStride::default() {
            write!(f, " with output stride {}", self.output_stride)?;
        }
        Ok(())
    }
}
