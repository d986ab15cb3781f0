//! One iteration.

use burn::module::Module;
use burn::tensor::Device;
use fss_heads::{EpisodeBatch, Losses, Statistic, TrainableModel};

use crate::TrainError;
use crate::observer::IterationReport;
use crate::optim::NamedOptimizer;
use crate::parallel::{Found, episode_shares};

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

/// [`training_step`] in equal shares on several devices (data parallelism): the means over the shares count. With
/// fewer than two, on that of the model.
///
/// # Errors
/// As there; [`TrainError::Setting`] for a batch that cannot be shared out equally.
pub fn training_step_on<M: TrainableModel + Send>(
    model: M,
    optimizer: &mut NamedOptimizer,
    batch: &EpisodeBatch,
    rate: f64,
    numbers: [u64; 2],
    devices: &[Device],
) -> Result<(M, IterationReport), TrainError> {
    if devices.len() < 2 {
        return training_step(model, optimizer, batch, rate, numbers);
    }
    let home = batch.query.device();
    let shares = episode_shares(batch, devices)?;
    let found = Found::on_devices(&model, shares, devices, &home, 1.0, M::losses)?;
    update(model, found, optimizer, rate, numbers, M::absorb)
}

/// What follows once the losses are there: gradient, update, and `absorb` what was measured.
pub(crate) fn apply<M: Module>(
    model: M,
    losses: Losses,
    optimizer: &mut NamedOptimizer,
    rate: f64,
    numbers: [u64; 2],
    absorb: impl FnOnce(M, &[Statistic]) -> M,
) -> Result<(M, IterationReport), TrainError> {
    let found = Found::of(&model, losses, 1.0);
    update(model, found, optimizer, rate, numbers, absorb)
}

/// What follows once the gradient is there.
fn update<M: Module>(
    model: M,
    found: Found,
    optimizer: &mut NamedOptimizer,
    rate: f64,
    [iteration, iterations]: [u64; 2],
    absorb: impl FnOnce(M, &[Statistic]) -> M,
) -> Result<(M, IterationReport), TrainError> {
    let Some(gradients) = found.gradients else {
        if found.loss.is_some() {
            return Err(found.non_finite(iteration));
        }
        let Found { terms, loss, .. } = found;
        return Ok((model, IterationReport { iteration, iterations, rate, loss, terms }));
    };
    let Found { terms, loss, statistics, .. } = found;
    let report = IterationReport { iteration, iterations, rate, loss, terms };
    Ok((absorb(optimizer.step(rate, model, gradients), &statistics), report))
}
