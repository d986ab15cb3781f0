//! Sizes of a CLIP, and how a weight file shows them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Channels of an attention head, of both encoders.
pub(super) const HEAD: usize = 64;

/// Sizes of a CLIP with a ResNet image encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipConfig {
    /// Side of the input images in pixels, a multiple of 32.
    pub resolution: usize,
    /// Channels behind the stem; layer4 has 32 times as many.
    pub width: usize,
    /// Blocks of layer1 to layer4.
    pub layers: [usize; 4],
    /// Length of the features that both encoders make.
    pub embedding: usize,
    /// Channels of the text encoder, a multiple of 64.
    pub text_width: usize,
    /// Blocks of the text encoder.
    pub text_layers: usize,
    /// Most tokens of a prompt, start and end included.
    pub context: usize,
    /// Number of tokens.
    pub vocabulary: usize,
}

impl ClipConfig {
    /// The released RN50: 102 M parameters, 38.3 M of them visual.
    pub const fn rn50() -> Self {
        Self {
            resolution: 224,
            width: 64,
            layers: [3, 4, 6, 3],
            embedding: 1024,
            text_width: 512,
            text_layers: 12,
            context: 77,
            vocabulary: 49408,
        }
    }

    /// Sets the number of blocks of both encoders.
    #[must_use]
    pub const fn with_depth(mut self, layers: [usize; 4], text_layers: usize) -> Self {
        self.layers = layers;
        self.text_layers = text_layers;
        self
    }

    /// Channels of the map that the attention pool looks at.
    pub const fn channels(&self) -> usize {
        32 * self.width
    }

    /// Side of that map.
    pub const fn grid(&self) -> usize {
        self.resolution / 32
    }

    /// Heads of the attention pool.
    pub const fn heads(&self) -> usize {
        self.channels() / HEAD
    }

    /// Heads of the text encoder.
    pub const fn text_heads(&self) -> usize {
        self.text_width / HEAD
    }

    /// Told from a state dict: the shape of a tensor by its key.
    pub(crate) fn from_shapes<'a>(
        shape: impl Fn(&str) -> Option<&'a [usize]>,
    ) -> Result<Self, Unfit> {
        let need = |key: &str| shape(key).ok_or_else(|| Unfit::Missing(key.to_owned()));
        let matrix = |key: &str| match *need(key)? {
            [rows, columns] => Ok([rows, columns]),
            ref found => Err(Unfit::Sizes(format!("'{key}' has shape {found:?}, not a matrix"))),
        };
        let count = |name: &dyn Fn(usize) -> String| {
            (0..).take_while(|block| shape(&name(*block)).is_some()).count()
        };
        let first = need("visual.layer1.0.conv1.weight")?;
        let width = *first.first().ok_or_else(|| Unfit::Sizes("no kernel in layer1".to_owned()))?;
        let layers = [1, 2, 3, 4]
            .map(|layer| count(&|block| format!("visual.layer{layer}.{block}.conv1.weight")));
        let [positions, channels] = matrix("visual.attnpool.positional_embedding")?;
        let [text_width, embedding] = matrix("text_projection")?;
        let [context, _] = matrix("positional_embedding")?;
        let [vocabulary, _] = matrix("token_embedding.weight")?;
        let text_layers =
            count(&|block| format!("transformer.resblocks.{block}.attn.in_proj_weight"));
        let grid = positions.saturating_sub(1).isqrt();
        let resolution = 32usize.saturating_mul(grid);
        let config = Self {
            resolution,
            width,
            layers,
            embedding,
            text_width,
            text_layers,
            context,
            vocabulary,
        };
        let fits = [
            (grid > 0 && grid * grid + 1 == positions, "positions of the pool make no square"),
            (channels == width.saturating_mul(32), "the pool's channels are not 32 x width"),
            (width > 0 && width.is_multiple_of(2), "the width is no even number"),
            (layers.iter().all(|n| *n > 0), "a layer of the image encoder has no block"),
            (text_width > 0 && text_width.is_multiple_of(HEAD), "text width is no multiple of 64"),
            (embedding > 0 && context > 1 && vocabulary > 2, "an embedding is empty"),
        ];
        match fits.iter().find(|(fits, _)| !fits) {
            Some((_, reason)) => Err(Unfit::Sizes((*reason).to_owned())),
            None => Ok(config),
        }
    }
}

/// Why a state dict shows no CLIP.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// A tensor that every CLIP has is not there.
    Missing(String),
    /// Its shapes contradict each other.
    Sizes(String),
}

impl fmt::Display for ClipConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::rn50() {
            return f.write_str("CLIP RN50");
        }
        let Self { resolution, width, layers: [a, b, c, d], text_width, text_layers, .. } = self;
        write!(
            f,
            "a CLIP with a ResNet of {a}+{b}+{c}+{d} blocks and width {width} for {resolution}x\
             {resolution} images, and {text_layers} text blocks of width {text_width}"
        )
    }
}
