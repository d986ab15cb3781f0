//! What DENet minimises while it trains.

use burn::tensor::{Int, Tensor};
use fss_backbone::{ComputePrecision, NormSource, TrainingPass, params};
use fss_kernels::Activation;

use super::losses::{binary_focal_loss, knowledge_loss};
use super::{Denet, EpisodeLogits, Repeated, estimator, pairs_of};
use crate::dropout::Dropout;
use crate::pop::training::{moments, statistics};
use crate::prototypes::check_batch;
use crate::{EpisodeBatch, HeadError, Losses, Statistic};

/// What a batch of episodes shows beside the class of each.
#[derive(Debug, Clone)]
pub struct FullLabels {
    /// All classes of the queries, `[N, H, W]`; 255 where held-out classes or nothing are.
    pub masks: Tensor<3, Int>,
    /// The class of each episode, a row of the classifier.
    pub classes: Vec<usize>,
}

impl Denet {
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

    /// Sets in which precision training convolves in backbone, embedding and DeepLab head; the weights of classes and the matching
    /// stay in full precision.
    #[must_use]
    pub fn with_precision(self, precision: ComputePrecision) -> Self {
        Self { backbone: self.backbone.with_precision(precision), ..self }
    }

    /// Logits of a batch of one-way episodes at the features' size, differentiable in what learns.
    ///
    /// # Errors
    /// [`HeadError::NoSupport`] without supports, [`HeadError::Shape`] for images of several sizes,
    /// [`HeadError::Setting`] for classes that the model does not have.
    pub fn training_logits(
        &self,
        batch: &EpisodeBatch,
        classes: &[usize],
        pass: &mut TrainingPass,
        dropout: &mut Dropout,
    ) -> Result<EpisodeLogits, HeadError> {
        check_batch(batch)?;
        let samples = batch.query.dims()[0];
        let images = batch.supports.iter().map(|(images, _)| images.clone()).collect();
        let supports = self.training_features(Tensor::cat(images, 0), pass, dropout);
        let query = self.training_features(batch.query.clone(), pass, dropout);
        let shots: Vec<Tensor<4>> = (0..batch.supports.len())
            .map(|shot| supports.clone().narrow(0, shot * samples, samples))
            .collect();
        let masks = batch.supports.iter().map(|(_, mask)| mask);
        let row = self.estimator.row(&shots.iter().zip(masks).collect::<Vec<_>>(), dropout);
        let labels: Vec<Vec<usize>> = classes.iter().map(|class| vec![*class]).collect();
        let weights = self.estimator.extended(&[row], &labels, Repeated::Refused, dropout)?;
        Ok(pairs_of(estimator::classified(&query, weights), &labels))
    }

    fn training_features(
        &self,
        images: Tensor<4>,
        pass: &mut TrainingPass,
        dropout: &mut Dropout,
    ) -> Tensor<4> {
        let levels = self.backbone.forward_training(images, pass);
        let level3 = params::beside(levels.level3, &self.embedding.weight);
        let x = self.embedding.forward_in(pass.precision(), level3, 2, Activation::Relu);
        self.head.forward_training(dropout.channels(x), pass, dropout)
    }

    /// The cross entropy of all rows (paper, section 3.4), in which the episode's class weighs `lambda`
    /// (published: 1), and for the log, as published, the focal loss of the class against all else. Norms of
    /// the frozen backbone look at the batch and move.
    ///
    /// # Errors
    /// As [`Self::training_logits`], and [`HeadError::Shape`] for full masks of another size.
    pub fn losses(
        &self,
        batch: &EpisodeBatch,
        full: &FullLabels,
        lambda: f64,
    ) -> Result<Losses, HeadError> {
        let (got, want) = (full.masks.dims(), batch.query_mask.dims());
        if got != want {
            return Err(HeadError::Shape {
                what: "the full masks of the queries".into(),
                got: format!("{got:?}"),
                want: format!("{want:?}"),
            });
        }
        let mut pass = TrainingPass::new(NormSource::Batch, self.backbone.precision());
        let mut dropout = Dropout::new(self.dropout_rate, self.dropout_seed);
        let EpisodeLogits { full: logits, pairs } =
            self.training_logits(batch, &full.classes, &mut pass, &mut dropout)?;
        let mut losses = Losses::none(&logits.device());
        losses.add("knowledge", 1.0, knowledge_loss(logits, &full.masks, &full.classes, lambda));
        let pattern = binary_focal_loss(pairs.detach(), batch.query_mask.clone());
        losses.add("pattern", 0.0, pattern);
        losses.statistics = statistics(pass.into_moments());
        Ok(losses)
    }

    /// Takes over what the forward pass of a step measured for the running statistics.
    #[must_use]
    pub fn absorb(mut self, statistics: &[Statistic]) -> Self {
        // Two passes: the supports, then the query.
        let mut moments = moments(statistics);
        for _ in 0..2 {
            self.backbone.absorb(&mut moments);
            self.head.last.absorb(&mut moments);
        }
        self
    }
}
