//! One iteration of either stage.

use burn::optim::GradientsParams;
use fss_heads::{LabelledBatch, Losses};

use super::model::StagedModel;
use super::recipe::GfssOptim;
use super::scaler::LossScaler;
use crate::TrainError;
use crate::observer::IterationReport;
use crate::optim::{Group, NamedOptimizer, clip_gradients, scale_gradients};

/// The images of an iteration.
#[derive(Debug, Clone)]
pub enum StageBatch {
    /// Stage 1.
    Base(LabelledBatch),
    /// Stage 2.
    Novel {
        /// Images of novel classes.
        novel: LabelledBatch,
        /// As many of base classes.
        base: LabelledBatch,
    },
}

/// The published parameter groups: the backbone at the rate itself, everything else at a multiple of
/// it, and biases (shifts of norms included) outside the backbone without weight decay.
pub fn generalized_groups(optim: &GfssOptim) -> [Group; 3] {
    [
        Group::prefix("").with_rate_factor(optim.head_factor),
        Group::containing("bias").with_rate_factor(optim.head_factor).with_weight_decay(0.0),
        Group::prefix("backbone").with_weight_decay(optim.weight_decay),
    ]
}

/// Loss, gradient, clipping and update with learning rate `rate`; `numbers` are the iteration (from 1)
/// and how many there are. Returns the model, what there is to report, and the norm of the gradient from
/// before clipping, if there was one.
///
/// A batch in which no pixel counts changes nothing, nor does one whose scaled gradient overflows under a
/// `scaler`.
///
/// # Errors
/// [`TrainError::NonFiniteLoss`]; and those of the model.
pub fn generalized_step<M: StagedModel>(
    model: M,
    optimizer: &mut NamedOptimizer,
    batch: &StageBatch,
    [rate, clip]: [f64; 2],
    [iteration, iterations]: [u64; 2],
    scaler: Option<&mut LossScaler>,
) -> Result<(M, IterationReport, Option<f64>), TrainError> {
    let Losses { total, terms, statistics } = model.losses(batch)?;
    let value_of =
        |value: &burn::tensor::Tensor<1>| value.to_data().iter::<f64>().next().unwrap_or(f64::NAN);
    let terms: Vec<(&'static str, Option<f64>)> =
        terms.iter().map(|term| (term.name, term.value.as_ref().map(value_of))).collect();
    let counts = terms.iter().any(|(_, value)| value.is_some());
    let loss = counts.then(|| value_of(&total));
    let report = IterationReport { iteration, iterations, rate, loss, terms };
    if !counts {
        tracing::warn!("iteration {iteration}: no pixel of the batch counts; it is passed over");
        return Ok((model, report, None));
    }
    if !loss.is_some_and(f64::is_finite) {
        let terms = report.terms.iter().map(|(name, value)| match value {
            Some(value) => format!("{name} {value}"),
            None => format!("{name} without a pixel that counts"),
        });
        let terms = terms.collect::<Vec<_>>().join(", ");
        return Err(TrainError::NonFiniteLoss { iteration, terms });
    }
    let norm = match scaler {
        None => {
            let mut gradients = GradientsParams::from_grads(total.backward(), &model);
            let norm = clip_gradients(&mut gradients, &model, clip);
            let model = optimizer.step(rate, model, gradients);
            return Ok((model.absorb(&statistics), report, Some(norm)));
        }
        Some(scaler) => {
            let scaled = (total * scaler.scale()).backward();
            let mut gradients = GradientsParams::from_grads(scaled, &model);
            scale_gradients(&mut gradients, &model, 1.0 / scaler.scale());
            let norm = clip_gradients(&mut gradients, &model, clip);
            if scaler.update(norm) {
                let model = optimizer.step(rate, model, gradients);
                return Ok((model.absorb(&statistics), report, Some(norm)));
            }
            norm
        }
    };
    tracing::info!("iteration {iteration}: the scaled gradient overflows; it is passed over");
    Ok((model.absorb(&statistics), report, Some(norm)))
}
