//! One iteration of either stage.

use burn::tensor::Device;
use fss_heads::LabelledBatch;

use super::model::StagedModel;
use super::recipe::GfssOptim;
use crate::observer::IterationReport;
use crate::optim::{Group, NamedOptimizer};
use crate::parallel::Found;
use crate::step::Step;
use crate::{LossScaler, TrainError};

/// The images of an iteration.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
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

impl StageBatch {
    /// How many images (or pairs) it holds.
    pub fn len(&self) -> usize {
        match self {
            Self::Base(batch) | Self::Novel { novel: batch, .. } => batch.images.dims()[0],
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Equal shares for several devices, each on its own.
    fn shares(&self, devices: &[Device]) -> Vec<Self> {
        let share = self.len() / devices.len().max(1);
        let part = |batch: &LabelledBatch, i: usize, device: &Device| LabelledBatch {
            images: batch.images.clone().narrow(0, i * share, share).to_device(device),
            labels: batch.labels.clone().narrow(0, i * share, share).to_device(device),
        };
        devices
            .iter()
            .enumerate()
            .map(|(i, device)| match self {
                Self::Base(batch) => Self::Base(part(batch, i, device)),
                Self::Novel { novel, base } => {
                    Self::Novel { novel: part(novel, i, device), base: part(base, i, device) }
                }
            })
            .collect()
    }
}

fn batch_device(batch: &StageBatch) -> Device {
    match batch {
        StageBatch::Base(batch) | StageBatch::Novel { novel: batch, .. } => batch.images.device(),
    }
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
    generalized_step_on(model, optimizer, batch, [rate, clip], [iteration, iterations], scaler, &[])
}

/// [`generalized_step`] in equal shares on several devices; with none, on that of the model.
///
/// # Errors
/// As there.
pub fn generalized_step_on<M: StagedModel>(
    model: M,
    optimizer: &mut NamedOptimizer,
    batch: &StageBatch,
    bounds: [f64; 2],
    numbers: [u64; 2],
    scaler: Option<&mut LossScaler>,
    devices: &[Device],
) -> Result<(M, IterationReport, Option<f64>), TrainError> {
    let [rate, clip] = bounds;
    let step = Step { optimizer, rate, clip: Some(clip), numbers, scaler };
    let found = match devices {
        [] | [_] => Found::of(&model, model.losses(batch)?, step.scale()),
        several => {
            let (shares, home) = (batch.shares(several), batch_device(batch));
            Found::on_devices(&model, shares, several, &home, step.scale(), M::losses)?
        }
    };
    step.take(model, found, M::absorb)
}
