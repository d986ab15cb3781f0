//! One iteration of either stage.

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use fss_heads::{LabelledBatch, Losses, Statistic};

use super::model::StagedModel;
use super::recipe::GfssOptim;
use super::scaler::LossScaler;
use crate::TrainError;
use crate::observer::IterationReport;
use crate::optim::{Group, NamedOptimizer, clip_gradients, mean_gradients, scale_gradients};

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

/// What one device, or several together, found out about a batch.
struct Found {
    /// Unweighted parts of the loss.
    terms: Vec<(&'static str, Option<f64>)>,
    /// The loss; `None` if no pixel counts.
    loss: Option<f64>,
    /// Gradients of the scaled loss; `None` if no pixel counts.
    gradients: Option<GradientsParams>,
    statistics: Vec<Statistic>,
}

/// Loss and gradient of a batch on the device of the model.
fn differentiate<M: StagedModel>(
    model: &M,
    batch: &StageBatch,
    scale: f64,
) -> Result<Found, TrainError> {
    let Losses { total, terms, statistics } = model.losses(batch)?;
    let value_of = |value: &Tensor<1>| value.to_data().iter::<f64>().next().unwrap_or(f64::NAN);
    let terms: Vec<(&'static str, Option<f64>)> =
        terms.iter().map(|term| (term.name, term.value.as_ref().map(value_of))).collect();
    let counts = terms.iter().any(|(_, value)| value.is_some());
    let loss = counts.then(|| value_of(&total));
    let gradients = loss.is_some_and(f64::is_finite).then(|| {
        let scaled = if scale == 1.0 { total } else { total * scale };
        GradientsParams::from_grads(scaled.backward(), model)
    });
    Ok(Found { terms, loss, gradients, statistics })
}

/// Loss and gradient of a batch in equal shares on several devices: each has a copy of the model and a
/// thread, and the means of losses, gradients and statistics count (data parallelism). Norms look at the
/// share of their own device.
fn differentiate_on<M: StagedModel>(
    model: &M,
    batch: &StageBatch,
    scale: f64,
    devices: &[Device],
) -> Result<Found, TrainError> {
    let home = batch_device(batch);
    let parts: Vec<Result<Found, TrainError>> = std::thread::scope(|scope| {
        let shares = batch.shares(devices).into_iter().zip(devices);
        let threads: Vec<_> = shares
            .map(|(share, device)| {
                let copy = model.clone().fork(device);
                scope.spawn(move || differentiate(&copy, &share, scale))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(TrainError::setting(
                        "a device failed in the middle of a step",
                        "train on fewer devices; the last checkpoint is kept",
                    ))
                })
            })
            .collect()
    });
    let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
    let counting: Vec<Found> = parts.into_iter().filter(|part| part.loss.is_some()).collect();
    let count = counting.len() as f64;
    let Some(first) = counting.first() else {
        return Ok(Found {
            terms: Vec::new(),
            loss: None,
            gradients: None,
            statistics: Vec::new(),
        });
    };
    let terms = first.terms.iter().enumerate().map(|(i, (name, _))| {
        let values: Vec<f64> = counting.iter().filter_map(|part| part.terms[i].1).collect();
        (*name, (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64))
    });
    let terms = terms.collect();
    let loss = Some(counting.iter().filter_map(|part| part.loss).sum::<f64>() / count);
    let statistics = first.statistics.iter().enumerate().map(|(i, statistic)| {
        let values = counting.iter().map(|part| part.statistics[i].value.clone().to_device(&home));
        let sum = values.reduce(|sum, value| sum + value);
        Statistic::new(
            statistic.name,
            sum.unwrap_or_else(|| statistic.value.clone()) / count as f32,
        )
    });
    let statistics = statistics.collect();
    let finite = counting.iter().all(|part| part.gradients.is_some());
    let gradients: Vec<GradientsParams> =
        counting.into_iter().filter_map(|part| part.gradients).collect();
    let gradients = finite.then(|| mean_gradients(model, gradients, &home));
    Ok(Found { terms, loss, gradients, statistics })
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
    [rate, clip]: [f64; 2],
    [iteration, iterations]: [u64; 2],
    scaler: Option<&mut LossScaler>,
    devices: &[Device],
) -> Result<(M, IterationReport, Option<f64>), TrainError> {
    let scale = scaler.as_ref().map_or(1.0, |scaler| scaler.scale());
    let Found { terms, loss, gradients, statistics } = match devices {
        [] | [_] => differentiate(&model, batch, scale)?,
        several => differentiate_on(&model, batch, scale, several)?,
    };
    let report = IterationReport { iteration, iterations, rate, loss, terms };
    if loss.is_none() {
        tracing::warn!("iteration {iteration}: no pixel of the batch counts; it is passed over");
        return Ok((model, report, None));
    }
    let Some(mut gradients) = gradients else {
        let terms = report.terms.iter().map(|(name, value)| match value {
            Some(value) => format!("{name} {value}"),
            None => format!("{name} without a pixel that counts"),
        });
        let terms = terms.collect::<Vec<_>>().join(", ");
        return Err(TrainError::NonFiniteLoss { iteration, terms });
    };
    if scale != 1.0 {
        scale_gradients(&mut gradients, &model, 1.0 / scale);
    }
    let norm = clip_gradients(&mut gradients, &model, clip);
    if scaler.is_some_and(|scaler| !scaler.update(norm)) {
        tracing::info!("iteration {iteration}: the scaled gradient overflows; it is passed over");
        return Ok((model.absorb(&statistics), report, Some(norm)));
    }
    let model = optimizer.step(rate, model, gradients);
    Ok((model.absorb(&statistics), report, Some(norm)))
}
