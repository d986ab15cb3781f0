//! Loss and gradient of a batch, on one device or in equal shares on several.
//!
//! Burn's own data parallelism needs collective operations that its CPU back end lacks, and a device for each
//! process; this one takes any devices, mixes them, and gives the same numbers every time.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use fss_heads::{EpisodeBatch, HeadError, Losses, Statistic};

use crate::TrainError;
use crate::optim::mean_gradients;

/// What one device, or several together, found out about a batch.
pub(crate) struct Found {
    /// Unweighted parts of the loss.
    pub terms: Vec<(&'static str, Option<f64>)>,
    /// The loss; `None` if no pixel counts.
    pub loss: Option<f64>,
    /// Gradients of the scaled loss; `None` if no pixel counts, or the loss is not finite.
    pub gradients: Option<GradientsParams>,
    /// What the forward pass measured for buffers.
    pub statistics: Vec<Statistic>,
}

pub(crate) fn scalar(value: &Tensor<1>) -> f64 {
    value.to_data().iter::<f64>().next().unwrap_or(f64::NAN)
}

impl Found {
    /// The gradient of losses that a model has given, times `scale`.
    pub(crate) fn of<M: Module>(model: &M, losses: Losses, scale: f64) -> Self {
        let Losses { total, terms, statistics } = losses;
        let terms: Vec<(&'static str, Option<f64>)> =
            terms.iter().map(|term| (term.name, term.value.as_ref().map(scalar))).collect();
        let counts = terms.iter().any(|(_, value)| value.is_some());
        let loss = counts.then(|| scalar(&total));
        let finite = |value: f64| value.is_finite();
        let all_finite =
            loss.is_some_and(finite) && terms.iter().all(|(_, value)| value.is_none_or(finite));
        let gradients = all_finite.then(|| {
            let scaled = if scale == 1.0 { total } else { total * scale };
            GradientsParams::from_grads(scaled.backward(), model)
        });
        Self { terms, loss, gradients, statistics }
    }

    /// Shares of a batch on several devices: each has a copy of the model and a thread, and the means of losses,
    /// gradients and statistics over the shares that count go to the device of the model, `home`. Norms that look
    /// at the batch look at the share of their own device.
    pub(crate) fn on_devices<M, S>(
        model: &M,
        shares: Vec<S>,
        devices: &[Device],
        home: &Device,
        scale: f64,
        losses: impl Fn(&M, &S) -> Result<Losses, HeadError> + Sync,
    ) -> Result<Self, TrainError>
    where
        M: Module + Send,
        S: Send,
    {
        let parts: Vec<Result<Self, TrainError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = shares
                .into_iter()
                .zip(devices)
                .map(|(share, device)| {
                    let copy = model.clone().fork(device);
                    let losses = &losses;
                    scope.spawn(move || Ok(Self::of(&copy, losses(&copy, &share)?, scale)))
                })
                .collect();
            let joined = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(TrainError::setting(
                        "a device failed in the middle of a step",
                        "train on fewer devices; the last checkpoint is kept",
                    ))
                })
            });
            joined.collect()
        });
        let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Self::mean(model, parts, home))
    }

    fn mean<M: Module>(model: &M, parts: Vec<Self>, home: &Device) -> Self {
        let counting: Vec<Self> = parts.into_iter().filter(|part| part.loss.is_some()).collect();
        let count = counting.len() as f64;
        let Some(first) = counting.first() else {
            return Self { terms: Vec::new(), loss: None, gradients: None, statistics: Vec::new() };
        };
        let terms = first.terms.iter().enumerate().map(|(i, (name, _))| {
            let values: Vec<f64> = counting.iter().filter_map(|part| part.terms[i].1).collect();
            (*name, (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64))
        });
        let terms = terms.collect();
        let loss = Some(counting.iter().filter_map(|part| part.loss).sum::<f64>() / count);
        let statistics = first.statistics.iter().enumerate().map(|(i, statistic)| {
            let values =
                counting.iter().map(|part| part.statistics[i].value.clone().to_device(home));
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
        let gradients = finite.then(|| mean_gradients(model, gradients, home));
        Self { terms, loss, gradients, statistics }
    }

    /// What to say of a loss that is not finite.
    pub(crate) fn non_finite(&self, iteration: u64) -> TrainError {
        let terms: Vec<String> = self
            .terms
            .iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{name} {value}"),
                None => format!("{name} without a pixel that counts"),
            })
            .collect();
        TrainError::NonFiniteLoss { iteration, terms: terms.join(", ") }
    }
}

/// Equal shares of a batch of episodes, each on its device.
pub(crate) fn episode_shares(
    batch: &EpisodeBatch,
    devices: &[Device],
) -> Result<Vec<EpisodeBatch>, TrainError> {
    let [samples, ..] = batch.query.dims();
    let extra = batch.extra.as_ref().map_or(0, |extra| extra.images.dims()[0]);
    let count = devices.len().max(1);
    if !samples.is_multiple_of(count) || !extra.is_multiple_of(count) {
        return Err(TrainError::setting(
            format!("a batch of {samples} episodes cannot be shared by {count} devices"),
            "set `episodes.batch` (and further images of a step) to a multiple of their number",
        ));
    }
    let share = |(i, device): (usize, &Device)| {
        let part = |total: usize| (i * (total / count), total / count);
        batch.part(part(samples), part(extra)).to_device(device)
    };
    Ok(devices.iter().enumerate().map(share).collect())
}
