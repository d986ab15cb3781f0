//! One evaluation on several devices.

use std::sync::mpsc::Sender;

use burn::tensor::Device;
use fss_data::episode::Episode;
use fss_heads::FewShotModel;
use fss_metrics::BinaryCounts;
use ndarray::Array2;

use super::score::Metrics;
use super::{EpisodeOutcome, Evaluation, EvaluationPlan, evaluate};
use crate::devices::share_out;
use crate::observer::EvaluationObserver;
use crate::{EpisodeData, Stop, TrainError};

/// As [`evaluate`], on several devices at once: each has a copy of the model, a thread, and every so-many-th
/// episode. The scores are those of one device that computes the same.
///
/// The memory for features is shared out, and each device runs the backbone on the images that its own
/// episodes show. The observer hears of episodes in the order in which they are done.
///
/// # Errors
/// As [`evaluate`]; [`TrainError::Setting`] without a device.
pub fn evaluate_on<M: FewShotModel + Send>(
    models: Vec<(M, Device)>,
    data: &EpisodeData,
    plan: &EvaluationPlan,
    observer: &mut dyn EvaluationObserver,
    stop: &Stop,
) -> Result<Evaluation, TrainError> {
    let count = models.len();
    if let [(model, device)] = models.as_slice() {
        return evaluate(model, data, plan, device, observer, stop);
    }
    let plans = plan.shard.split(count).into_iter().map(|shard| EvaluationPlan {
        shard,
        reuse: plan.reuse.share(count),
        ..plan.clone()
    });
    let work = |((model, device), plan): ((M, Device), EvaluationPlan), sender, stop: &Stop| {
        evaluate(&model, data, &plan, &device, &mut Told(sender), stop)
    };
    let mut audience = Audience::new(data, plan, observer);
    let workers = models.into_iter().zip(plans).collect();
    let parts = share_out(workers, stop, work, |done| audience.hear(&done))?;
    Evaluation::merge(plan.shard, parts)
}

/// An episode that a device has done.
struct Done {
    seed: u64,
    episode: Episode,
    supports: Vec<usize>,
    prediction: Array2<u8>,
    truth: Array2<u8>,
}

/// Hands on what a device does.
struct Told(Sender<Done>);

impl EvaluationObserver for Told {
    fn episode_finished(&mut self, outcome: &EpisodeOutcome<'_>) {
        // Nobody listens any more if the evaluation has failed elsewhere.
        let _ = self.0.send(Done {
            seed: outcome.seed,
            episode: outcome.episode.clone(),
            supports: outcome.supports.to_vec(),
            prediction: outcome.prediction.clone(),
            truth: outcome.truth.clone(),
        });
    }
}

/// Tells the observer what devices have done.
struct Audience<'a> {
    plan: &'a EvaluationPlan,
    observer: &'a mut dyn EvaluationObserver,
    /// Scores of each seed so far.
    metrics: Vec<Metrics>,
}

impl<'a> Audience<'a> {
    fn new(
        data: &EpisodeData,
        plan: &'a EvaluationPlan,
        observer: &'a mut dyn EvaluationObserver,
    ) -> Self {
        let tested = data.tested(plan.protocol);
        let metrics = plan.seeds.iter().map(|&seed| {
            observer.seed_started(seed, plan.shard.count(plan.episodes));
            Metrics::new(plan.protocol, data.fold.classes(), &tested)
        });
        let metrics = metrics.collect();
        Self { plan, observer, metrics }
    }

    fn hear(&mut self, done: &Done) {
        let seed = self.plan.seeds.iter().position(|&seed| seed == done.seed);
        let Some(metrics) = seed.and_then(|place| self.metrics.get_mut(place)) else { return };
        // Whoever measured the episode has scored it, so that it can be scored.
        let counts = BinaryCounts::compare_maps(done.prediction.view(), done.truth.view());
        let counts = counts.unwrap_or_default();
        let _ = metrics.add(done.episode.index, &counts, done.episode.class);
        self.observer.episode_finished(&EpisodeOutcome {
            seed: done.seed,
            episode: &done.episode,
            supports: &done.supports,
            prediction: &done.prediction,
            truth: &done.truth,
            iou: counts.iou(),
            running_miou: metrics.running_miou(),
        });
    }
}
