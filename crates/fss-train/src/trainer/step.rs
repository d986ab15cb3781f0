//! One iteration.

use burn::tensor::Device;
use fss_heads::{EpisodeBatch, TrainableModel};

use crate::observer::IterationReport;
use crate::optim::NamedOptimizer;
use crate::parallel::{Found, episode_shares};
use crate::step::Step;
use crate::{LossScaler, TrainError};

/// Loss, gradient and update with learning rate `rate`; `[iteration, iterations]` go into the report.
///
/// Parts of the loss without any pixel that counts are left out of the gradient and reported as
/// missing. A batch in which no pixel counts at all, as far as the model looks at it, changes
/// nothing.
///
/// # Errors
/// [`TrainError::NonFiniteLoss`]; and those of the model.
pub fn training_step<M: TrainableModel + Send>(
    model: M,
    optimizer: &mut NamedOptimizer,
    batch: &EpisodeBatch,
    rate: f64,
    numbers: [u64; 2],
) -> Result<(M, IterationReport), TrainError> {
    training_step_on(model, optimizer, batch, rate, numbers, None, &[])
}

/// [`training_step`] in equal shares on several devices (data parallelism): the means over the shares count. With
/// fewer than two, on that of the model. With a `scaler` the gradient is that of the scaled loss, unscaled before
/// the update, and a step whose gradient overflows is passed over.
///
/// # Errors
/// As there; [`TrainError::Setting`] for a batch that cannot be shared out equally.
pub fn training_step_on<M: TrainableModel + Send>(
    model: M,
    optimizer: &mut NamedOptimizer,
    batch: &EpisodeBatch,
    rate: f64,
    numbers: [u64; 2],
    scaler: Option<&mut LossScaler>,
    devices: &[Device],
) -> Result<(M, IterationReport), TrainError> {
    let step = Step { optimizer, rate, clip: None, numbers, scaler };
    let found = match devices {
        [] | [_] => Found::of(&model, model.losses(batch)?, step.scale()),
        several => {
            let (shares, home) = (episode_shares(batch, several)?, batch.query.device());
            Found::on_devices(&model, shares, several, &home, step.scale(), M::losses)?
        }
    };
    let (model, report, _) = step.take(model, found, M::absorb)?;
    Ok((model, report))
}
