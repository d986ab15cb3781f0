//! The evaluation itself.

use burn::tensor::{Device, Tensor};
use fss_data::episode::Episode;
use fss_data::loader::LoaderOptions;
use fss_data::sampler::{EpisodeSampler, OfficialConfig, OfficialSampler};
use fss_data::transform::normalise;
use fss_heads::{Features, FewShotModel, Shot};
use fss_metrics::{BinaryCounts, EpisodeMetrics};
use ndarray::Array2;

use super::episodes::{EpisodeInput, read_ahead};
use super::result::{class_scores, spread};
use super::{
    Deviation, EpisodeRecord, Evaluation, FeatureCache, FeatureReuse, FeatureUse, Protocol,
    SeedRun, Supports,
};
use crate::observer::EvaluationObserver;
use crate::tensor::{image_tensor, mask_tensor, prediction};
use crate::{EpisodeData, Stop, TrainError};

/// What is to be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationPlan {
    /// How episodes are drawn and scored.
    pub protocol: Protocol,
    /// Supports an episode.
    pub shot: usize,
    /// One run for each.
    pub seeds: Vec<u64>,
    /// Episodes a run.
    pub episodes: usize,
    /// Where the supports come from.
    pub supports: Supports,
    /// Whether features are computed once or over and over. The scores do not depend on it.
    pub reuse: FeatureReuse,
    /// Threads that read images ahead. The scores do not depend on them.
    pub loader: LoaderOptions,
}

impl EvaluationPlan {
    /// The published plan for PASCAL-5i: 1000 episodes for each of the seeds 0 to 4.
    pub fn pascal(shot: usize) -> Self {
        Self {
            protocol: Protocol::Official,
            shot,
            seeds: (0..5).collect(),
            episodes: 1000,
            supports: Supports::Drawn,
            reuse: FeatureReuse::default(),
            loader: LoaderOptions { threads: 1, prefetch: 8 },
        }
    }

    /// Draws the episodes of one seed.
    ///
    /// # Errors
    /// [`TrainError::Data`] if a class has too few images for the shot.
    pub fn draw(&self, data: &EpisodeData, seed: u64) -> Result<Vec<Episode>, TrainError> {
        let config = match self.protocol {
            Protocol::Official => OfficialConfig::evaluation(seed, self.shot),
        };
        let mut sampler = OfficialSampler::new(data.source.clone(), config)?;
        Ok(sampler.take_episodes(self.episodes)?)
    }

    fn check(&self) -> Result<(), TrainError> {
        let refuse = |what: &str| Err(TrainError::setting(what, "give at least one"));
        match self {
            Self { seeds, .. } if seeds.is_empty() => refuse("an evaluation without a seed"),
            Self { episodes: 0, .. } => refuse("an evaluation without episodes"),
            Self { shot: 0, .. } => refuse("an evaluation without supports (0 shots)"),
            _ => Ok(()),
        }
    }
}

/// An episode that was segmented and scored.
#[derive(Debug)]
pub struct EpisodeOutcome<'a> {
    /// The seed of its run.
    pub seed: u64,
    /// What was drawn.
    pub episode: &'a Episode,
    /// Positions of the supports in force.
    pub supports: &'a [usize],
    /// The prediction `[H, W]`: 0 / 1.
    pub prediction: &'a Array2<u8>,
    /// The truth `[H, W]`: 0 / 1 / 255.
    pub truth: &'a Array2<u8>,
    /// Foreground IoU, a fraction.
    pub iou: Option<f64>,
    /// Mean IoU of the run so far, a fraction.
    pub running_miou: Option<f64>,
}

/// Measures a model on the episodes of `data`.
///
/// The features of each image are computed once (see [`FeatureReuse`]) and serve all episodes,
/// shots and seeds; each image passes through the backbone alone, so that every score is equal to
/// that of computing them anew for every episode, to the last bit.
///
/// # Errors
/// [`TrainError`] for files that cannot be read, episodes that cannot be drawn, a full disk; and
/// [`TrainError::Interrupted`] if `stop` was requested.
pub fn evaluate<M: FewShotModel>(
    model: &M,
    data: &EpisodeData,
    plan: &EvaluationPlan,
    device: &Device,
    observer: &mut dyn EvaluationObserver,
    stop: &Stop,
) -> Result<Evaluation, TrainError> {
    plan.check()?;
    let drawn =
        plan.seeds.iter().map(|&seed| plan.draw(data, seed)).collect::<Result<Vec<_>, _>>()?;
    let mut cache = FeatureCache::new(&plan.reuse, device)?;
    let classes = data.fold.classes();
    let mut runs: Vec<(EpisodeMetrics, Vec<EpisodeRecord>)> =
        plan.seeds.iter().map(|_| (EpisodeMetrics::new(classes), Vec::new())).collect();

    for input in read_ahead(data, drawn, plan.supports, &plan.reuse, plan.loader)? {
        if stop.is_requested() {
            return Err(TrainError::Interrupted { what: "the evaluation" });
        }
        let input = input?;
        let (metrics, records) = &mut runs[input.run];
        let seed = plan.seeds[input.run];
        if records.is_empty() {
            observer.seed_started(seed, plan.episodes);
        }
        let EpisodeInput { episode, supports, masks, .. } = &input;
        let prediction = segment(model, data, device, &mut cache, &input)?;
        let counts = BinaryCounts::compare_maps(prediction.view(), masks[0].view())?;
        metrics.add_counts(episode.index, &counts, episode.class.into())?;
        records.push(EpisodeRecord::new(data, episode, supports, counts.iou()));
        let running = metrics.confusion.miou();
        observer.episode_finished(&EpisodeOutcome {
            seed,
            episode,
            supports,
            prediction: &prediction,
            truth: &masks[0],
            iou: counts.iou(),
            running_miou: (!running.is_nan()).then_some(running),
        });
    }

    let runs: Vec<SeedRun> = plan
        .seeds
        .iter()
        .zip(runs)
        .map(|(&seed, (metrics, records))| SeedRun::new(seed, &metrics, records))
        .collect();
    Ok(Evaluation {
        protocol: plan.protocol,
        dataset: data.dataset.name.clone(),
        fold: data.fold.clone(),
        shot: plan.shot,
        supports: plan.supports,
        min_pixels: data.source.min_pixels(),
        episodes: plan.episodes,
        deviation: Deviation::Sample,
        miou: spread(&runs, |scores| scores.miou),
        fb_iou: spread(&runs, |scores| scores.fb_iou),
        mean_episode_iou: spread(&runs, |scores| scores.mean_episode_iou),
        classes: class_scores(data, &runs),
        features: FeatureUse::of(cache.counts()),
        runs,
    })
}

/// The prediction `[H, W]` (0 / 1) of one episode, as [`evaluate`] makes it.
///
/// # Errors
/// As [`evaluate`].
pub fn predict_episode<M: FewShotModel>(
    model: &M,
    data: &EpisodeData,
    episode: &Episode,
    supports: Supports,
    device: &Device,
) -> Result<Array2<u8>, TrainError> {
    let mut cache = FeatureCache::new(&FeatureReuse::Off, device)?;
    let options = LoaderOptions { threads: 1, prefetch: 1 };
    let runs = vec![vec![episode.clone()]];
    let mut inputs = read_ahead(data, runs, supports, &FeatureReuse::Off, options)?;
    match inputs.next() {
        Some(input) => segment(model, data, device, &mut cache, &input?),
        None => Err(TrainError::Interrupted { what: "reading the episode" }),
    }
}

fn segment<M: FewShotModel>(
    model: &M,
    data: &EpisodeData,
    device: &Device,
    cache: &mut FeatureCache,
    input: &EpisodeInput,
) -> Result<Array2<u8>, TrainError> {
    let mut features = |position: usize| -> Result<Features, TrainError> {
        cache.get_or_compute(position, || {
            let image: Tensor<4> = match input.images.get(&position) {
                Some(image) => image_tensor(image.view(), device),
                None => image_tensor(normalise(&data.dataset.load_image(position)?).view(), device),
            };
            Ok(model.features(image))
        })
    };
    let shots = input
        .supports
        .iter()
        .zip(&input.masks[1..])
        .map(|(&position, mask)| {
            Ok(Shot { features: features(position)?, mask: mask_tensor(mask.view(), device) })
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let query = features(input.episode.query)?;
    let support = model.encode_support(&shots)?;
    let (height, width) = input.masks[0].dim();
    prediction(model.segment(&support, &query, [height, width]))
}
