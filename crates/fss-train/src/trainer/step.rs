//! One iteration.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use fss_heads::{EpisodeBatch, Losses, TrainableModel};

use crate::TrainError;
use crate::observer::IterationReport;
use crate::optim::NamedOptimizer;

/// Loss, gradient and update with learning rate `rate`; `[iteration, iterations]` go into the report.
///
/// Parts of the loss without any pixel that counts are NaN: they are
/// left out of the gradient and reported as missing. A batch in which no pixel counts at all
/// changes nothing.
///
/// # Errors
/// [`TrainError::NonFiniteLoss`]; and those of the model.
pub fn training_step<M: TrainableModel>(
    model: M,
    optimizer: &mut NamedOptimizer,
    batch: &EpisodeBatch,
    rate: f64,
    [iteration, iterations]: [u64; 2],
) -> Result<(M, IterationReport), TrainError> {
    let Losses { total, terms } = model.losses(batch)?;
    let terms: Vec<(&'static str, f64)> =
        terms.iter().map(|term| (term.name, scalar(&term.value))).collect();
    let counts = terms.iter().any(|(_, value)| !value.is_nan());
    let value = scalar(&total);
    let report = IterationReport {
        iteration,
        iterations,
        rate,
        loss: counts.then_some(value),
        terms: terms.iter().map(|&(name, v)| (name, (!v.is_nan()).then_some(v))).collect(),
    };
    if !counts {
        // NaN everywhere may also mean that the weights are lost.
        let finite = batch_counts(batch);
        return if finite { Err(non_finite(iteration, &terms)) } else { Ok((model, report)) };
    }
    if !value.is_finite() || terms.iter().any(|(_, v)| v.is_infinite()) {
        return Err(non_finite(iteration, &terms));
    }
    let gradients = GradientsParams::from_grads(total.backward(), &model);
    Ok((optimizer.step(rate, model, gradients), report))
}

/// Whether any pixel of a batch counts.
fn batch_counts(batch: &EpisodeBatch) -> bool {
    let supports = batch.supports.iter().map(|(_, mask)| mask);
    std::iter::once(&batch.query_mask)
        .chain(supports)
        .any(|mask| mask.to_data().iter::<i64>().any(|label| label != 255))
}

fn non_finite(iteration: u64, terms: &[(&'static str, f64)]) -> TrainError {
    let terms: Vec<String> = terms.iter().map(|(name, value)| format!("{name} {value}")).collect();
    TrainError::NonFiniteLoss { iteration, terms: terms.join(", ") }
}

fn scalar(value: &Tensor<1>) -> f64 {
    value.to_data().iter::<f64>().next().unwrap_or(f64::NAN)
}
