//! What MLC returns and minimises while it trains.

use burn::tensor::Tensor;

use super::{BackgroundRectifier, Mlc};
use crate::loss::valid_cross_entropy;
use crate::prototypes::{batch_features, joint_features};
use crate::{
    EpisodeBatch, Features, FewShotModel, HeadError, Losses, Shot, Statistic, TrainableModel,
};

impl Mlc {
    /// Logits `[B, 2, H, W]` of a training step, at the query images' size. The model has no other
    /// output, and gradients reach the backbone through query and supports alike.
    ///
    /// # Errors
    /// [`HeadError::NoSupport`] without supports; [`HeadError::Shape`] if images differ in size.
    pub fn training_logits(&self, batch: &EpisodeBatch) -> Result<Tensor<4>, HeadError> {
        let (query, shots) = batch_features(&self.backbone, batch)?;
        let [_, _, height, width] = batch.query.dims();
        self.training_logits_from(&query, &shots, [height, width])
    }

    /// [`training_logits`](Self::training_logits) from features; logits have the given size.
    ///
    /// # Errors
    /// As [`training_logits`](Self::training_logits).
    pub fn training_logits_from(
        &self,
        query: &Features,
        shots: &[Shot],
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        self.segment(&self.encode_support(shots)?, query, size)
    }
}

impl TrainableModel for Mlc {
    /// Cross entropy of the query; the supports' own masks are not supervised. With the mining
    /// branch and [`EpisodeBatch::extra`] images, that of their pseudo masks is added.
    fn losses(&self, batch: &EpisodeBatch) -> Result<Losses, HeadError> {
        let mining = self.decoder.as_ref().zip(batch.extra.as_ref());
        let images = mining.map(|(_, extra)| &extra.images);
        let (query, shots, further) = joint_features(&self.backbone, batch, images)?;
        let [_, _, height, width] = batch.query.dims();
        let own = self.mean_prototypes(&shots)?;
        let observed =
            self.rectification.as_ref().and_then(|_| BackgroundRectifier::observe(&own.background));
        let logits = self.segment(&self.rectified(own), &query, [height, width])?;
        let mut losses = Losses::none(&logits.device());
        losses.add("query", 1.0, valid_cross_entropy(logits, batch.query_mask.clone()));
        losses.statistics.extend(observed);
        if let (Some((decoder, extra)), Some(features)) = (mining, further) {
            let (pseudo, statistics) = decoder.loss(features, extra)?;
            losses.add("pseudo", decoder.weight(), pseudo);
            losses.statistics.extend(statistics);
        }
        Ok(losses)
    }

    fn absorb(mut self, statistics: &[Statistic]) -> Self {
        for statistic in statistics {
            if statistic.name == "background" {
                if let Some(rectification) = &mut self.rectification {
                    rectification.absorb(statistic);
                }
            } else if let Some(decoder) = &mut self.decoder {
                decoder.absorb(statistic);
            }
        }
        self
    }
}
