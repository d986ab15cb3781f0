//! CLIP with a ResNet image encoder ("Learning Transferable Visual Models From Natural Language
//! Supervision", Radford et al. 2021), and Grad-CAM on it ("Grad-CAM", Selvaraju et al. 2017): where
//! in an image the words are.
//!
//! [`load_clip`] reads OpenAI's file, [`ClipTokenizer`] turns prompts into tokens,
//! [`Clip::encode_text`] into features, and [`Clip::grad_cam`] gives the maps. Text features do not
//! depend on the image: compute them once. Everything is float32.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use fss_backbone::clip::{CamPair, CamTarget, ClipConfig, ClipTokenizer, Overlong, prompt};
//!
//! # #[cfg(feature = "flex")] {
//! let device = Device::flex();
//! let config = ClipConfig { resolution: 64, width: 8, text_width: 64, ..ClipConfig::rn50() };
//! let clip = config.with_depth([1; 4], 1).init(&device, 0).fold();
//!
//! let tokenizer = ClipTokenizer::new();
//! let mut tokens = Vec::new();
//! for name in ["cat", "dog"] {
//!     tokens.push(tokenizer.tokenize(&prompt(name)?, config.context, Overlong::Refuse)?.ids);
//! }
//! let text = clip.encode_text(&tokens)?;
//!
//! let image = Tensor::zeros([1, 3, 64, 64], &device);
//! let pairs = [CamPair { image: 0, class: 1 }];
//! let cam = clip.grad_cam(image, text, &pairs, CamTarget::Probability)?;
//! assert_eq!(cam.raw.dims(), [1, 2, 2]);
//! # }
//! # Ok::<(), fss_backbone::BackboneError>(())
//! ```

mod cam;
mod config;
mod linear;
mod load;
mod pool;
mod prompts;
mod text;
mod tokenizer;
mod visual;

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::softmax};

use crate::error::BackboneError;
use crate::init::Init;

pub use cam::{CamOutput, CamPair, CamTarget};
pub use config::ClipConfig;
pub use linear::{LayerNorm, Linear};
pub use load::load_clip;
pub use pool::AttentionPool;
pub use prompts::prompt;
pub use text::{ClipText, TextBlock};
pub use tokenizer::{ClipTokenizer, Overlong, Tokens};
pub use visual::{ClipBlock, ClipStages, ClipVisual};

/// What cosines are multiplied by before the softmax. The released model learned exactly this
/// factor, and the published maps use the constant.
const SIMILARITY_SCALE: f32 = 100.0;

/// Both encoders. Made by [`load_clip`], or by [`ClipConfig::init`] with random values.
#[derive(Module, Debug)]
pub struct Clip {
    /// The image encoder.
    pub visual: ClipVisual,
    /// The text encoder.
    pub text: ClipText,
    #[module(skip)]
    config: ClipConfig,
}

impl ClipConfig {
    /// Builds the network with random values that follow from `seed` alone.
    pub fn init(&self, device: &Device, seed: u64) -> Clip {
        let init = Init { seed, device };
        Clip {
            visual: ClipVisual::new(&init, self),
            text: ClipText::new(&init, self),
            config: *self,
        }
    }
}

impl Clip {
    /// Sizes of the network.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// Merges every norm of the image encoder into its convolution: the same numbers up to rounding,
    /// in fewer passes. For inference; a folded network cannot be saved or loaded any more.
    #[must_use]
    pub fn fold(mut self) -> Self {
        self.visual = self.visual.fold();
        self
    }

    /// Features of prompts, not normalised. A prompt of n tokens costs what n tokens cost: what comes
    /// after its end token has no influence and is left out.
    ///
    /// # Shapes
    /// - tokens: `P` rows of at most [`ClipConfig::context`] token ids each, zero-padded or not
    /// - output: `[P, E]`
    ///
    /// # Errors
    /// [`BackboneError::ClipInput`] if there is no prompt, one is empty or too long, or a token is not
    /// in the vocabulary.
    pub fn encode_text(&self, tokens: &[Vec<u32>]) -> Result<Tensor<2>, BackboneError> {
        self.text.encode(tokens, &self.config)
    }

    /// Features of images, not normalised.
    ///
    /// # Shapes
    /// - images: `[B, 3, R, R]`, normalised by CLIP's mean and deviation, `R` =
    ///   [`ClipConfig::resolution`]
    /// - output: `[B, E]`
    ///
    /// # Errors
    /// [`BackboneError::ClipInput`] if the images have another size.
    pub fn encode_image(&self, images: Tensor<4>) -> Result<Tensor<2>, BackboneError> {
        self.check_images(&images)?;
        self.visual.pool(self.visual.activations(images))
    }

    fn check_images(&self, images: &Tensor<4>) -> Result<(), BackboneError> {
        let (dims, side) = (images.dims(), self.config.resolution);
        if dims[1..] == [3, side, side] {
            return Ok(());
        }
        let reason = format!("images have shape {dims:?}, it needs [B, 3, {side}, {side}]");
        Err(BackboneError::ClipInput { reason })
    }
}

/// 100 times the cosine of every image with every prompt. A feature of length zero has similarity 0
/// with everything.
///
/// # Shapes
/// - image_features: `[B, E]`
/// - text_features: `[P, E]`
/// - output: `[B, P]`
pub fn similarity(image_features: Tensor<2>, text_features: Tensor<2>) -> Tensor<2> {
    let cosines = unit(image_features).0.matmul(unit(text_features).0.transpose());
    cosines * SIMILARITY_SCALE
}

/// Probabilities of the prompts for every image: the softmax of [`similarity`] over the prompts.
///
/// # Shapes
/// - as [`similarity`]
pub fn probabilities(image_features: Tensor<2>, text_features: Tensor<2>) -> Tensor<2> {
    softmax(similarity(image_features, text_features), 1)
}

/// Rows of length 1, and the length `[N, 1]` that each row had.
fn unit(x: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let length = x.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
    (x / length.clone(), length)
}
