//! What SSP returns and minimises while it trains.

use burn::tensor::{Int, Tensor};
use fss_kernels::{Corners, resize_bilinear};

use super::{Refine, Ssp, SspSupport};
use crate::loss::valid_cross_entropy;
use crate::prototypes::{batch_features, query_tap, similarity};
use crate::{EpisodeBatch, Features, FewShotModel, HeadError, Losses, Shot, TrainableModel};

/// Weight of the loss on the supports' own prediction.
const SUPPORT_WEIGHT: f64 = 0.2;

/// Everything that a training step supervises, at the query images' size.
#[derive(Debug, Clone)]
pub struct TrainingOutputs {
    /// Refined logits `[B, 2, H, W]`; only with refinement.
    pub refined: Option<Tensor<4>>,
    /// Logits of the first self-support step, `[B, 2, H, W]`.
    pub first: Tensor<4>,
    /// The query matched with prototypes of its own ground truth, `[B, 2, H, W]`.
    pub own: Tensor<4>,
    /// Every support matched with its own prototypes, `[K * B, 2, H, W]`, all samples of the first
    /// shot first.
    pub supports: Tensor<4>,
}

impl Ssp {
    /// Forward pass of a training step.
    ///
    /// # Errors
    /// [`HeadError::NoSupport`] without supports; [`HeadError::Shape`] if images differ in size.
    pub fn training_outputs(&self, batch: &EpisodeBatch) -> Result<TrainingOutputs, HeadError> {
        let (query, shots) = batch_features(&self.backbone, batch)?;
        let [_, _, height, width] = batch.query.dims();
        self.training_outputs_from(&query, &batch.query_mask, &shots, [height, width])
    }

    /// [`training_outputs`](Self::training_outputs) from features; logits have the given size.
    ///
    /// # Errors
    /// As [`training_outputs`](Self::training_outputs).
    pub fn training_outputs_from(
        &self,
        query: &Features,
        query_mask: &Tensor<3, Int>,
        shots: &[Shot],
        size: [usize; 2],
    ) -> Result<TrainingOutputs, HeadError> {
        let resize = |logits| resize_bilinear(logits, size, Corners::Aligned);
        let match_own = |features: &Tensor<4>, mask: &Tensor<3, Int>| {
            let SspSupport { foreground, background } = Self::prototypes(features, mask);
            resize(similarity(features, &foreground, &background))
        };
        let support = self.encode_support(shots)?;
        let query = query_tap(query, &support.foreground)?;
        let matching = self.matching(&support, query);
        let supports =
            shots.iter().map(|shot| match_own(&shot.features.0[0], &shot.mask)).collect();
        Ok(TrainingOutputs {
            refined: (self.refine == Refine::On).then(|| resize(matching.prediction())),
            first: resize(matching.first),
            own: match_own(query, query_mask),
            supports: Tensor::cat(supports, 0),
        })
    }
}

impl TrainableModel for Ssp {
    fn losses(&self, batch: &EpisodeBatch) -> Result<Losses, HeadError> {
        let outputs = self.training_outputs(batch)?;
        let masks = batch.supports.iter().map(|(_, mask)| mask.clone()).collect();
        Ok(outputs.losses(&batch.query_mask, &Tensor::cat(masks, 0)))
    }
}

impl TrainingOutputs {
    /// Cross entropy of the prediction(s), of the query matched with itself, and a fifth of that of
    /// the supports matched with themselves.
    ///
    /// # Shapes
    /// - `query_mask`: `[B, H, W]`
    /// - `support_masks`: `[K * B, H, W]`, all samples of the first shot first
    pub fn losses(self, query_mask: &Tensor<3, Int>, support_masks: &Tensor<3, Int>) -> Losses {
        let mut losses = Losses::none(&self.first.device());
        let mut add = |name, weight, logits: Tensor<4>, target: &Tensor<3, Int>| {
            losses.add(name, weight, valid_cross_entropy(logits, target.clone()));
        };
        if let Some(refined) = self.refined {
            add("refined", 1.0, refined, query_mask);
        }
        add("first", 1.0, self.first, query_mask);
        add("self", 1.0, self.own, query_mask);
        add("support", SUPPORT_WEIGHT, self.supports, support_masks);
        losses
    }
}
