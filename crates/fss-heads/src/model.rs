//! The traits that every head implements, and what passes through them.

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use crate::HeadError;

/// What a backbone makes of a batch of images: one tensor `[B, C, h, w]` for each tap that the head reads.
#[derive(Debug, Clone)]
pub struct Features(pub Vec<Tensor<4>>);

impl Features {
    /// Features of a backbone with a single tap.
    pub fn single(tap: Tensor<4>) -> Self {
        Self(vec![tap])
    }

    /// Sample `index` of the batch, as a batch of one.
    pub fn sample(&self, index: usize) -> Self {
        Self(self.0.iter().map(|tap| tap.clone().narrow(0, index, 1)).collect())
    }

    /// How many images the batch holds.
    pub fn batch(&self) -> usize {
        self.0.first().map_or(0, |tap| tap.dims()[0])
    }
}

/// One annotated image (of each sample of a batch).
#[derive(Debug, Clone)]
pub struct Shot {
    /// Features of the image.
    pub features: Features,
    /// Mask `[B, H, W]`: 0 background, 1 foreground, 255 ignored. It need not have the image's size.
    pub mask: Tensor<3, Int>,
}

/// A network that segments a query, given a support set.
///
/// Features, support encoding and segmentation are separate steps, because one image serves many
/// episodes and one support set serves many queries.
pub trait FewShotModel {
    /// All that is kept of a support set.
    type Support: Clone;

    /// Runs the backbone.
    ///
    /// # Shapes
    /// - `images`: `[B, 3, H, W]`, normalised
    fn features(&self, images: Tensor<4>) -> Features;

    /// Condenses the K shots of a support set.
    ///
    /// # Errors
    /// [`HeadError::NoSupport`] without shots, [`HeadError::Shape`] for features of another backbone.
    fn encode_support(&self, shots: &[Shot]) -> Result<Self::Support, HeadError>;

    /// Segments a query.
    ///
    /// # Shapes
    /// - `query`: taps `[B, C, h, w]`
    /// - `size`: height and width of the logits, usually those of the query image
    /// - output: logits `[B, 1 + ways, H, W]`, background first
    fn segment(&self, support: &Self::Support, query: &Features, size: [usize; 2]) -> Tensor<4>;

    /// [`encode_support`](Self::encode_support) from images `[B, 3, H, W]` and masks `[B, H, W]`.
    ///
    /// # Errors
    /// As [`encode_support`](Self::encode_support).
    fn encode_support_images(
        &self,
        shots: &[(Tensor<4>, Tensor<3, Int>)],
    ) -> Result<Self::Support, HeadError> {
        let shots: Vec<Shot> = shots
            .iter()
            .map(|(image, mask)| Shot {
                features: self.features(image.clone()),
                mask: mask.clone(),
            })
            .collect();
        self.encode_support(&shots)
    }

    /// [`segment`](Self::segment) from images `[B, 3, H, W]`, with logits of their size.
    fn segment_images(&self, support: &Self::Support, images: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = images.dims();
        self.segment(support, &self.features(images), [height, width])
    }
}

/// A batch of B training episodes with K shots each; all images of one size.
#[derive(Debug, Clone)]
pub struct EpisodeBatch {
    /// Query images `[B, 3, H, W]`, normalised.
    pub query: Tensor<4>,
    /// Query masks `[B, H, W]`: 0 / 1 / 255.
    pub query_mask: Tensor<3, Int>,
    /// For each shot: images `[B, 3, H, W]` and masks `[B, H, W]`.
    pub supports: Vec<(Tensor<4>, Tensor<3, Int>)>,
}

/// One weighted part of a training loss.
#[derive(Debug, Clone)]
pub struct LossTerm {
    /// Short name for logs.
    pub name: &'static str,
    /// Its factor in the total.
    pub weight: f64,
    /// The unweighted value `[1]`. NaN if no pixel counts; such a term is left out of the total.
    pub value: Tensor<1>,
}

/// The losses of a training step.
#[derive(Debug, Clone)]
pub struct Losses {
    /// What the optimiser minimises, `[1]`.
    pub total: Tensor<1>,
    /// Its parts.
    pub terms: Vec<LossTerm>,
}

/// A [`FewShotModel`] that can be trained by episodes.
pub trait TrainableModel: FewShotModel + Module {
    /// The losses of a batch of episodes, differentiable in the trained parameters.
    ///
    /// # Errors
    /// [`HeadError`] if the batch has no support or its shapes do not fit.
    fn losses(&self, batch: &EpisodeBatch) -> Result<Losses, HeadError>;
}
