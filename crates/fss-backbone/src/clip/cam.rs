//! Grad-CAM: where in an image a prompt is found.
//!
//! Between the map of layer4 and a prompt's probability lie only the attention pool, a normalisation
//! and a softmax, whose gradients are written out here. The convolutions need none, and several
//! classes of an image share one pass through them.

use burn::tensor::{Int, Tensor, TensorData, activation::softmax};

use super::{Clip, SIMILARITY_SCALE, unit};
use crate::error::BackboneError;

/// What the map explains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CamTarget {
    /// The softmax probability of the class among all prompts, as published. Where a class is certain
    /// (or impossible) its gradient vanishes, and the map fades.
    #[default]
    Probability,
    /// The similarity of the class, before the softmax. Other prompts have no influence.
    Logit,
}

/// An image of a batch and the prompt that is looked for in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CamPair {
    /// Index in the batch.
    pub image: usize,
    /// Index of the prompt.
    pub class: usize,
}

/// Class activation maps of `N` pairs on `B` images with `P` prompts.
#[derive(Debug, Clone)]
pub struct CamOutput {
    /// Channels summed with their mean gradient as weight, before any ReLU or scaling: `[N, h, w]`.
    pub raw: Tensor<3>,
    /// Gradient of the target with respect to the activations: `[N, C, h, w]`.
    pub gradients: Tensor<4>,
    /// Output of layer4: `[B, C, h, w]`.
    pub activations: Tensor<4>,
    /// Probabilities of the prompts: `[B, P]`.
    pub probabilities: Tensor<2>,
}

impl Clip {
    /// Class activation maps of the pairs asked for.
    ///
    /// # Shapes
    /// - images: `[B, 3, R, R]`, normalised, `R` the network's resolution
    /// - text_features: `[P, E]` from [`Clip::encode_text`]; the softmax runs over all of them
    ///
    /// # Errors
    /// [`BackboneError::ClipInput`] if images or text features have another shape, there is no pair,
    /// or a pair names an image or a class that is not there.
    pub fn grad_cam(
        &self,
        images: Tensor<4>,
        text_features: Tensor<2>,
        pairs: &[CamPair],
        target: CamTarget,
    ) -> Result<CamOutput, BackboneError> {
        self.check_images(&images)?;
        check_pairs(pairs, images.dims()[0], text_features.dims()[0])?;
        let activations = self.visual.activations(images.without_autodiff());
        self.grad_cam_of(activations, text_features, pairs, target)
    }

    /// [`Clip::grad_cam`] from activations already computed ([`ClipVisual::activations`]).
    ///
    /// [`ClipVisual::activations`]: super::ClipVisual::activations
    ///
    /// # Shapes
    /// - activations: `[B, C, h, w]`
    /// - text_features: `[P, E]`
    ///
    /// # Errors
    /// As [`Clip::grad_cam`].
    pub fn grad_cam_of(
        &self,
        activations: Tensor<4>,
        text_features: Tensor<2>,
        pairs: &[CamPair],
        target: CamTarget,
    ) -> Result<CamOutput, BackboneError> {
        let activations = activations.without_autodiff();
        let [images, channels, h, w] = activations.dims();
        let [prompts, length] = text_features.dims();
        if length != self.config.embedding {
            let reason = format!(
                "text features have {length} values, it needs {}: make them with this network",
                self.config.embedding
            );
            return Err(BackboneError::ClipInput { reason });
        }
        check_pairs(pairs, images, prompts)?;
        let pooled = self.visual.attnpool.forward(activations.clone())?;
        let (text, _) = unit(text_features.without_autodiff());
        let (features, _) = unit(pooled.features.clone());
        let logits = features.matmul(text.clone().transpose()) * SIMILARITY_SCALE;
        let probabilities = softmax(logits, 1);

        let device = activations.device();
        let numbers: Vec<i64> = pairs.iter().map(|pair| pair.image as i64).collect();
        let index = Tensor::<1, Int>::from_data(TensorData::new(numbers, [pairs.len()]), &device);
        let mut hot = vec![0.0f32; pairs.len() * prompts];
        for (row, pair) in pairs.iter().enumerate() {
            hot[row * prompts + pair.class] = 1.0;
        }
        let hot = Tensor::<2>::from_data(TensorData::new(hot, [pairs.len(), prompts]), &device);
        // Gradient of the target with respect to the logits.
        let logits = match target {
            CamTarget::Logit => hot,
            CamTarget::Probability => {
                let p = probabilities.clone().select(0, index.clone());
                let own = (p.clone() * hot.clone()).sum_dim(1);
                (hot - p) * own
            }
        };
        let state = pooled.select(&index);
        let (direction, norm) = unit(state.features.clone());
        let pull = logits.matmul(text) * SIMILARITY_SCALE;
        let along = (pull.clone() * direction.clone()).sum_dim(1);
        let features = (pull - direction * along) / norm;
        let gradients = self.visual.attnpool.backward(&state, features, [h, w]);

        let weights = gradients.clone().reshape([pairs.len(), channels, h * w]).mean_dim(2);
        let maps = activations.clone().reshape([images, channels, h * w]).select(0, index);
        let raw = weights.swap_dims(1, 2).matmul(maps).reshape([pairs.len(), h, w]);
        Ok(CamOutput { raw, gradients, activations, probabilities })
    }
}

fn check_pairs(pairs: &[CamPair], images: usize, prompts: usize) -> Result<(), BackboneError> {
    let reason = match pairs.iter().find(|p| p.image >= images || p.class >= prompts) {
        Some(CamPair { image, class }) => format!(
            "image {image} with class {class} was asked for, there are {images} images and \
             {prompts} prompts (both count from 0)"
        ),
        None if pairs.is_empty() => "no image and class were asked for".to_owned(),
        None => return Ok(()),
    };
    Err(BackboneError::ClipInput { reason })
}
