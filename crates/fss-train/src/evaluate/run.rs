//! The evaluation itself.

use burn::tensor::{Device, Tensor};
use fss_data::ClassId;
use fss_data::episode::Episode;
use fss_data::loader::LoaderOptions;
use fss_heads::{Features, FewShotModel, PreparedQuery, Shot, ShotRule};
use fss_metrics::{BinaryCounts, vote};
use ndarray::Array2;

use super::episodes::{EpisodeInput, read_ahead};
use super::score::Metrics;
use super::{
    ClassScore, Deviation, EpisodeRecord, Evaluation, EvaluationPlan, FeatureCache, FeatureReuse,
    FeatureUse, Novelty, Protocol,
};
use crate::observer::EvaluationObserver;
use crate::tensor::{cam_batch, image_tensor, mask_tensor, prediction};
use crate::{EpisodeData, Stop, TrainError};

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

/// Measures a model on the episodes of `data`, or on the plan's [shard](crate::Shard) of them.
///
/// The features of each image are computed once (see [`FeatureReuse`]) and serve all episodes,
/// shots and seeds; each image passes through the backbone alone, and each query is made ready once for all its
/// episodes ([`FewShotModel::prepare_query`]). Every score is equal to that of doing so anew for every episode, to
/// the last bit. Episodes are segmented in the order of their queries.
///
/// # Errors
/// [`TrainError`] for files that cannot be read, episodes that cannot be drawn, a full disk;
/// [`TrainError::SeenClasses`] for a model that was trained on classes tested, unless the plan allows
/// it; [`TrainError::Setting`] for a model that reads coarse maps under a plan without; and [`TrainError::Interrupted`] if `stop` was requested.
pub fn evaluate<M: FewShotModel>(
    model: &M,
    data: &EpisodeData,
    plan: &EvaluationPlan,
    device: &Device,
    observer: &mut dyn EvaluationObserver,
    stop: &Stop,
) -> Result<Evaluation, TrainError> {
    plan.check()?;
    let tested = data.tested(plan.protocol);
    let novelty = Novelty::of(plan.trained.as_ref(), data.benchmark(), &data.fold, &tested);
    novelty.check(plan.seen)?;
    if let Some(warning) = novelty.warning() {
        tracing::warn!("{warning}");
    }
    let drawn = plan.seeds.iter().map(|&seed| Ok(plan.shard.pick(plan.draw(data, seed)?)));
    let drawn = drawn.collect::<Result<Vec<_>, TrainError>>()?;
    let cams = plan.cam_reader(model.cam_grid(), data, &drawn)?;
    let mut cache = FeatureCache::new(&plan.reuse, device)?;
    let metrics = || Metrics::new(plan.protocol, data.fold.classes(), &tested);
    let mut runs: Vec<(Metrics, Vec<Option<EpisodeRecord>>)> =
        drawn.iter().map(|episodes| (metrics(), vec![None; episodes.len()])).collect();
    for (&seed, episodes) in plan.seeds.iter().zip(&drawn) {
        observer.seed_started(seed, episodes.len());
    }

    let mut prepared = Prepared(None);
    for input in read_ahead(data, drawn, plan, cams)? {
        if stop.is_requested() {
            return Err(TrainError::Interrupted { what: "the evaluation" });
        }
        let input = input??;
        let (metrics, records) = &mut runs[input.run];
        let seed = plan.seeds[input.run];
        let EpisodeInput { episode, supports, masks, .. } = &input;
        let reused = (&mut cache, &mut prepared);
        let prediction = segment(model, data, plan, device, reused, &input)?;
        let counts = BinaryCounts::compare_maps(prediction.view(), masks[0].view())?;
        metrics.add(episode.index, &counts, episode.class)?;
        records[input.place] = Some(EpisodeRecord::new(data, episode, supports, counts));
        observer.episode_finished(&EpisodeOutcome {
            seed,
            episode,
            supports,
            prediction: &prediction,
            truth: &masks[0],
            iou: counts.iou(),
            running_miou: metrics.running_miou(),
        });
    }

    let name = |&class: &ClassId| data.dataset.class_name(class).to_owned();
    let evaluation = Evaluation {
        protocol: plan.protocol,
        model: plan.model.clone(),
        novelty,
        dataset: data.dataset.name.clone(),
        fold: data.fold.clone(),
        tested: tested.len(),
        shot: plan.shot,
        shot_rule: plan.shot_rule.unwrap_or_else(|| model.shot_rule()),
        supports: plan.supports,
        min_pixels: match plan.protocol {
            Protocol::Official => data.source.min_pixels(),
            Protocol::Hsnet(_) => 0,
        },
        lists: match plan.protocol {
            Protocol::Official => None,
            Protocol::Hsnet(_) => Some(data.hsnet_lists()?.origin.standing),
        },
        episodes: plan.episodes,
        shard: plan.shard,
        deviation: Deviation::Sample,
        miou: None,
        fb_iou: None,
        mean_episode_iou: None,
        classes: tested
            .iter()
            .map(|class| ClassScore { class: *class, name: name(class), iou: None })
            .collect(),
        features: FeatureUse::of(cache.counts()),
        runs: Vec::new(),
    };
    let seeds = plan.seeds.iter().copied();
    let records = runs.into_iter().map(|(_, records)| records.into_iter().flatten().collect());
    evaluation.scored(seeds.zip(records).collect())
}

/// The prediction `[H, W]` (0 / 1) of one episode, as [`evaluate`] makes it under a plan.
///
/// # Errors
/// As [`evaluate`].
pub fn predict_episode<M: FewShotModel>(
    model: &M,
    data: &EpisodeData,
    plan: &EvaluationPlan,
    episode: &Episode,
    device: &Device,
) -> Result<Array2<u8>, TrainError> {
    let plan = EvaluationPlan {
        reuse: FeatureReuse::Off,
        loader: LoaderOptions { threads: 1, prefetch: 1 },
        ..plan.clone()
    };
    let mut cache = FeatureCache::new(&plan.reuse, device)?;
    let drawn = vec![vec![episode.clone()]];
    let cams = plan.cam_reader(model.cam_grid(), data, &drawn)?;
    let mut inputs = read_ahead(data, drawn, &plan, cams)?;
    match inputs.next() {
        Some(input) => {
            let reused = (&mut cache, &mut Prepared(None));
            segment(model, data, &plan, device, reused, &input??)
        }
        None => Err(TrainError::Interrupted { what: "reading the episode" }),
    }
}

/// The query that was segmented last, made ready, and the class whose coarse map it carries.
struct Prepared(Option<((usize, Option<ClassId>), PreparedQuery)>);

impl Prepared {
    fn get<M: FewShotModel>(
        &mut self,
        model: &M,
        key: (usize, Option<ClassId>),
        query: &Features,
    ) -> Result<&PreparedQuery, TrainError> {
        if self.0.as_ref().is_none_or(|(known, _)| *known != key) {
            // The old one goes before the new one is made: both at once could fill the memory.
            self.0 = None;
            self.0 = Some((key, model.prepare_query(query)?));
        }
        match &self.0 {
            Some((_, prepared)) => Ok(prepared),
            None => unreachable!("it has just been made"),
        }
    }
}

fn segment<M: FewShotModel>(
    model: &M,
    data: &EpisodeData,
    plan: &EvaluationPlan,
    device: &Device,
    (cache, prepared): (&mut FeatureCache, &mut Prepared),
    input: &EpisodeInput,
) -> Result<Array2<u8>, TrainError> {
    let transform = plan.protocol.transform(data.benchmark());
    // `place` is 0 for the query and k for support k, from 1. Coarse maps belong to the class, so the
    // cache, which knows images alone, must not see them.
    let mut features = |position: usize, place: usize| -> Result<Features, TrainError> {
        let taps = cache.get_or_compute(position, || {
            let image: Tensor<4> = match input.images.get(&position) {
                Some(image) => image_tensor(image.view(), device),
                None => {
                    let image = transform.image(&data.dataset.load_image(position)?)?;
                    image_tensor(image.view(), device)
                }
            };
            Ok(model.features(image))
        })?;
        Ok(match input.cams.get(place) {
            Some(map) => taps.with_cam(cam_batch([map], device)?),
            None => taps,
        })
    };
    let shots = input
        .supports
        .iter()
        .zip(&input.masks[1..])
        .zip(1..)
        .map(|((&position, mask), place)| {
            let features = features(position, place)?;
            Ok(Shot { features, mask: mask_tensor(mask.view(), device) })
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let query = features(input.episode.query, 0)?;
    let class = (!input.cams.is_empty()).then_some(input.episode.class);
    let query = prepared.get(model, (input.episode.query, class), &query)?;
    let (height, width) = input.masks[0].dim();
    let predict = |shots: &[Shot]| {
        let support = model.encode_support(shots)?;
        prediction(model.segment_prepared(&support, query, [height, width])?)
    };
    match plan.shot_rule.unwrap_or_else(|| model.shot_rule()) {
        ShotRule::Joint => predict(&shots),
        ShotRule::Vote => {
            let each = shots.iter().map(|shot| predict(std::slice::from_ref(shot)));
            Ok(vote(&each.collect::<Result<Vec<_>, _>>()?)?)
        }
    }
}
