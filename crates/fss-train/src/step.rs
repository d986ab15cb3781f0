//! What every iteration ends with, whatever is trained: from the gradient to the next model.

use burn::module::Module;
use fss_heads::Statistic;

use crate::observer::IterationReport;
use crate::optim::{NamedOptimizer, clip_gradients, scale_gradients};
use crate::parallel::Found;
use crate::{LossScaler, TrainError};

/// One update.
pub(crate) struct Step<'a> {
    /// What updates.
    pub optimizer: &'a mut NamedOptimizer,
    /// Learning rate.
    pub rate: f64,
    /// Largest norm of the gradient, if it is bounded.
    pub clip: Option<f64>,
    /// The iteration, from 1, and how many there are.
    pub numbers: [u64; 2],
    /// Scales the loss.
    pub scaler: Option<&'a mut LossScaler>,
}

impl Step<'_> {
    /// What the loss is to be multiplied by.
    pub(crate) fn scale(&self) -> f64 {
        self.scaler.as_ref().map_or(1.0, |scaler| scaler.scale())
    }

    /// Unscales, bounds and applies the gradient that was `found`, and has the model `absorb` what was
    /// measured. Returns the model, what there is to report, and the norm of the gradient from before
    /// bounding, where it was asked for.
    ///
    /// A batch in which no pixel counts changes nothing. One whose scaled gradient overflows moves no weight;
    /// what it measured counts.
    ///
    /// # Errors
    /// [`TrainError::NonFiniteLoss`].
    pub(crate) fn take<M: Module>(
        self,
        model: M,
        found: Found,
        absorb: impl FnOnce(M, &[Statistic]) -> M,
    ) -> Result<(M, IterationReport, Option<f64>), TrainError> {
        let ([iteration, iterations], rate, scale) = (self.numbers, self.rate, self.scale());
        if found.loss.is_some() && found.gradients.is_none() {
            return Err(found.non_finite(iteration));
        }
        let Found { terms, loss, gradients, statistics } = found;
        let report = IterationReport { iteration, iterations, rate, loss, terms };
        let Some(mut gradients) = gradients else {
            tracing::warn!(
                "iteration {iteration}: no pixel of the batch counts; it is passed over"
            );
            return Ok((model, report, None));
        };
        if scale != 1.0 {
            scale_gradients(&mut gradients, &model, 1.0 / scale);
        }
        // Without a bound the norm only tells whether the gradient is finite.
        let wanted = self.clip.is_some() || self.scaler.is_some();
        let bound = self.clip.unwrap_or(f64::INFINITY);
        let norm = wanted.then(|| clip_gradients(&mut gradients, &model, bound));
        if let (Some(scaler), Some(norm)) = (self.scaler, norm)
            && !scaler.update(norm)
        {
            tracing::info!(
                "iteration {iteration}: the scaled gradient overflows; it is passed over"
            );
            return Ok((absorb(model, &statistics), report, Some(norm)));
        }
        Ok((absorb(self.optimizer.step(rate, model, gradients), &statistics), report, norm))
    }
}
