//! One iteration.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use fss_heads::{EpisodeBatch, Losses, Statistic, TrainableModel};

use crate::TrainError;
use crate::observer::IterationReport;
use crate::optim::NamedOptimizer;

/// Loss, gradient and update with learning rate `rate`; `[iteration, iterations]` go into the report.
///
/// Parts of the loss without any pixel that counts are left out of the gradient and reported as
/// missing. A batch in which no pixel counts at all, as far as the model looks at it, changes
/// nothing.
///
/// # Errors
/// [`TrainError::NonFiniteLoss`]; and those of the model.
pub fn training_step<M: TrainableModel>(
    model: M,
    optimizer: &mut NamedOptimizer,
    batch: &EpisodeBatch,
    rate: f64,
    numbers: [u64; 2],
) -> Result<(M, IterationReport), TrainError> {
    let losses = model.losses(batch)?;
    apply(model, losses, optimizer, rate, numbers, M::absorb)
}

/// What follows once the losses are there: gradient, update, and `absorb` what was measured.
pub(crate) fn apply<M: Module>(
    model: M,
    Losses { total, terms, statistics }: Losses,
    optimizer: &mut NamedOptimizer,
    rate: f64,
    [iteration, iterations]: [u64; 2],
    absorb: impl FnOnce(M, &[Statistic]) -> M,
) -> Result<(M, IterationReport), TrainError> {
    let terms: Vec<(&'static str, Option<f64>)> =
        terms.iter().map(|term| (term.name, term.value.as_ref().map(scalar))).collect();
    let counts = terms.iter().any(|(_, value)| value.is_some());
    let value = scalar(&total);
    let finite = |value: f64| value.is_finite();
    if !finite(value) || !terms.iter().all(|(_, value)| value.is_none_or(finite)) {
        return Err(non_finite(iteration, &terms));
    }
    let report =
        IterationReport { iteration, iterations, rate, loss: counts.then_some(value), terms };
    if !counts {
        return Ok((model, report));
    }
    let gradients = GradientsParams::from_grads(total.backward(), &model);
    Ok((absorb(optimizer.step(rate, model, gradients), &statistics), report))
}

fn non_finite(iteration: u64, terms: &[(&'static str, Option<f64>)]) -> TrainError {
    let terms: Vec<String> = terms
        .iter()
        .map(|(name, value)| match value {
            Some(value) => format!("{name} {value}"),
            None => format!("{name} without a pixel that counts"),
        })
        .collect();
    TrainError::NonFiniteLoss { iteration, terms: terms.join(", ") }
}

fn scalar(value: &Tensor<1>) -> f64 {
    value.to_data().iter::<f64>().next().unwrap_or(f64::NAN)
}
