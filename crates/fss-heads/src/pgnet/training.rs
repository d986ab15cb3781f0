//! What PGNet minimises while it trains.

use burn::tensor::Tensor;
use fss_backbone::{ComputePrecision, NormSource, TrainingPass};

use super::Pgnet;
use crate::dropout::Dropout;
use crate::pop::training::{moments, statistics};
use crate::siblings::{losses, training_features};
use crate::{EpisodeBatch, HeadError, Losses, Statistic, TrainableModel};

impl Pgnet {
    /// Sets from what the next step draws which values it drops; another one for each step.
    #[must_use]
    pub fn with_dropout_seed(mut self, seed: u64) -> Self {
        self.dropout_seed = seed;
        self
    }

    /// The same model whose training drops nothing.
    #[must_use]
    pub fn without_dropout(mut self) -> Self {
        self.dropout_rate = 0.0;
        self
    }

    /// Sets in which precision training convolves in backbone and embedding; the attention and what follows stay in full
    /// precision.
    #[must_use]
    pub fn with_precision(self, precision: ComputePrecision) -> Self {
        Self { backbone: self.backbone.with_precision(precision), ..self }
    }

    /// Logits `[B, 2, h, w]` of a batch at the features' size, differentiable in what learns.
    ///
    /// # Errors
    /// [`HeadError::NoSupport`] without supports, [`HeadError::Shape`] for images of several sizes,
    /// [`HeadError::ImageSize`] for images that are too small.
    pub fn training_logits(
        &self,
        batch: &EpisodeBatch,
        pass: &mut TrainingPass,
        dropout: &mut Dropout,
    ) -> Result<Tensor<4>, HeadError> {
        let (query, shots) =
            training_features(&self.backbone, &self.embedding, batch, pass, dropout)?;
        let [_, _, height, width] = query.dims();
        self.check_size([height, width])?;
        let masks = batch.supports.iter().map(|(_, mask)| mask);
        let support = self.graphs(&shots.iter().zip(masks).collect::<Vec<_>>());
        Ok(self.attended(&query, &support, dropout))
    }
}

impl TrainableModel for Pgnet {
    /// Cross entropy of background against foreground. Norms of the frozen backbone look at the batch and
    /// move, as published.
    fn losses(&self, batch: &EpisodeBatch) -> Result<Losses, HeadError> {
        let mut pass = TrainingPass::new(NormSource::Batch, self.backbone.precision());
        let mut dropout = Dropout::new(self.dropout_rate, self.dropout_seed);
        let logits = self.training_logits(batch, &mut pass, &mut dropout)?;
        let mut losses = losses(logits, &batch.query_mask);
        losses.statistics = statistics(pass.into_moments());
        Ok(losses)
    }

    fn absorb(mut self, statistics: &[Statistic]) -> Self {
        // Two passes: the query, then the supports.
        let mut moments = moments(statistics);
        self.backbone.absorb(&mut moments);
        self.backbone.absorb(&mut moments);
        self
    }
}
