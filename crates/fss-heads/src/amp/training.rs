//! What AMP minimises: it learns from plain images with full masks, not from episodes.

use burn::tensor::Tensor;
use fss_backbone::{ComputePrecision, NormSource, TrainingPass, params};
use fss_kernels::Activation;

use super::{Amp, classified, fused};
use crate::generalized::{LabelledBatch, segmentation_loss};
use crate::pop::training::{check, moments, statistics};
use crate::{HeadError, Losses, Statistic};

impl Amp {
    /// Sets in which precision training convolves in the backbone and the reduction of its deepest level; the classifiers
    /// stay in full precision.
    #[must_use]
    pub fn with_precision(self, precision: ComputePrecision) -> Self {
        Self { backbone: self.backbone.with_precision(precision), ..self }
    }

    /// Logits of all rows, at the size of the shallow level, differentiable in what learns. Norms of the
    /// backbone as the pass says: the published code normalises by the batch.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`, normalised
    /// - output: `[B, C, h, w]`
    pub fn training_logits(&self, images: Tensor<4>, pass: &mut TrainingPass) -> Tensor<4> {
        let levels = self.backbone.forward_training(images, pass);
        let level3 = params::beside(levels.level3, &self.reduce.weight);
        let reduced = self.reduce.forward_in(pass.precision(), level3, 1, Activation::None);
        let maps = [levels.level1, levels.level2, reduced];
        let logits = maps.into_iter().zip(&self.classifiers).map(|(map, classifier)| {
            let map = params::beside(map, &classifier.weight);
            let weight = classifier.weight.val();
            let [classes, channels, ..] = weight.dims();
            classified(map, weight.reshape([1, classes, channels]))
        });
        fused(logits)
    }

    /// Cross entropy of the logits, enlarged to the masks' size (corners aligned), over all pixels of
    /// the batch that count. Labels are the rows of the classifiers, 255 ignored: held-out classes.
    ///
    /// # Errors
    /// [`HeadError::Shape`] if images and labels differ in size.
    pub fn losses(&self, batch: &LabelledBatch) -> Result<Losses, HeadError> {
        check(batch)?;
        let mut pass = TrainingPass::new(NormSource::Batch, self.backbone.precision());
        let logits = self.training_logits(batch.images.clone(), &mut pass);
        let mut losses = Losses::none(&logits.device());
        losses.add("seg", 1.0, segmentation_loss(logits, &batch.labels));
        losses.statistics = statistics(pass.into_moments());
        Ok(losses)
    }

    /// Takes over what the forward pass of a step measured for the running statistics. The published
    /// code lets those of the frozen backbone drift.
    #[must_use]
    pub fn absorb(mut self, statistics: &[Statistic]) -> Self {
        self.backbone.absorb(&mut moments(statistics));
        self
    }
}
