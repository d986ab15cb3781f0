//! What HSNet minimises while it trains.

use burn::tensor::Tensor;
use fss_backbone::ComputePrecision;
use fss_kernels::{Corners, resize_bilinear};

use super::{Hsnet, constants};
use crate::loss::valid_cross_entropy;
use crate::{EpisodeBatch, FewShotModel, HeadError, Losses, TrainableModel};

impl Hsnet {
    /// Sets in which precision the frozen backbone convolves until the model is folded; correlations and 4D
    /// convolutions stay in full precision.
    #[must_use]
    pub fn with_precision(self, precision: ComputePrecision) -> Self {
        Self { backbone: self.backbone.with_precision(precision), ..self }
    }

    /// Logits `[B, 2, H, W]` of each shot alone, at the query images' size.
    ///
    /// # Errors
    /// [`HeadError::NoSupport`] without supports; [`HeadError::ImageSize`] for images that it cannot
    /// take.
    pub fn training_logits(&self, batch: &EpisodeBatch) -> Result<Vec<Tensor<4>>, HeadError> {
        if batch.supports.is_empty() {
            return Err(HeadError::NoSupport);
        }
        let [_, _, height, width] = batch.query.dims();
        let query = self.query(&constants(self.features(batch.query.clone())))?;
        let shots = batch.supports.iter().map(|(images, mask)| {
            let shot = self.encode(&constants(self.features(images.clone())), mask)?;
            let logits = self.matching(&query, &shot);
            Ok(resize_bilinear(logits, [height, width], Corners::Aligned))
        });
        shots.collect()
    }
}

impl TrainableModel for Hsnet {
    /// Cross entropy of the query's logits (section 4 of the paper); of several shots, which the
    /// published code cannot train with, the mean. Pixels marked 255 do not count; the published
    /// training masks have none, since borders were made background before.
    fn losses(&self, batch: &EpisodeBatch) -> Result<Losses, HeadError> {
        let logits = self.training_logits(batch)?;
        let mut losses = Losses::none(&batch.query.device());
        let weight = 1.0 / logits.len() as f64;
        for logits in logits {
            let loss = valid_cross_entropy(logits, batch.query_mask.clone());
            losses.add("query", weight, loss);
        }
        Ok(losses)
    }
}
