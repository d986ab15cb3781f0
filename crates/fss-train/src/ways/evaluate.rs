//! The test of DENet's code.

use burn::tensor::{Device, Tensor};
use fss_data::folds::Subset;
use fss_data::ways::{Flips, WayEpisode};
use fss_heads::{Features, Shot};
use fss_metrics::{AbsentWays, BinaryCounts, FullIou, WayIou};
use ndarray::Array2;

use super::data::TestData;
use super::load::{EpisodeInput, Place, Source, placed, read_ahead};
use super::observer::{WayOutcome, WaysObserver};
use super::protocol::{WaysPlan, WaysTest};
use super::result::{DrawnWay, WayRecord, WaysEvaluation, WaysRunScores};
use super::tester::{TestEpisode, WayLogits, WayTester};
use crate::evaluate::{FeatureCache, FeatureReuse, FeatureUse, Novelty};
use crate::tensor::{enlarged_labels, image_tensor, mask_tensor};
use crate::{Stop, TrainError};

/// The seed of Python's generator, which says what is mirrored, as published.
pub(super) const FLIP_SEED: u64 = 0;

/// Measures a model by episodes of the novel classes of a fold.
///
/// Features of an image, mirrored or not, are computed once and serve all of its episodes; each image
/// passes through the backbone alone.
///
/// # Errors
/// [`TrainError`] for settings that make no test, episodes that cannot be drawn, images that cannot be read,
/// a model of other classes or one that was trained on the classes tested; [`TrainError::Interrupted`] once
/// `stop` is requested.
pub fn evaluate_ways<T: WayTester>(
    model: &T,
    data: &TestData,
    plan: &WaysPlan,
    device: &Device,
    observer: &mut dyn WaysObserver,
    stop: &Stop,
) -> Result<WaysEvaluation, TrainError> {
    plan.protocol.check()?;
    let tested = data.fold.labels(Subset::Novel);
    let novelty = Novelty::of(plan.trained.as_ref(), data.benchmark, &data.fold, &tested);
    novelty.check(plan.seen)?;
    let mut measuring = Measuring::new(model, data, plan, device)?;
    if model.sees_batches() && !plan.shard.is_whole() {
        return Err(TrainError::setting(
            "the scores of this model depend on which episodes are segmented together and before, so its \
             test cannot be shared out",
            "measure it in one process on one device",
        ));
    }
    let mut runs = Vec::with_capacity(plan.seeds.len());
    for &seed in &plan.seeds {
        let episodes = data.episodes(&plan.protocol, seed)?;
        runs.push(measuring.run(seed, episodes, observer, stop)?);
    }
    let evaluation = WaysEvaluation {
        protocol: plan.protocol.clone(),
        model: plan.model.clone(),
        novelty,
        dataset: data.images.dataset.name.clone(),
        fold: data.fold.clone(),
        shard: plan.shard,
        b_iou: None,
        b_iou_strict: None,
        f_iou: None,
        f_iou_met: None,
        classes: Vec::new(),
        features: FeatureUse::of(measuring.cache.counts()),
        runs: Vec::new(),
    };
    Ok(evaluation.scored(runs, |class| data.images.dataset.class_name(class).to_owned()))
}

/// A model being measured.
pub(super) struct Measuring<'a, T> {
    model: &'a T,
    data: &'a TestData,
    plan: &'a WaysPlan,
    source: Source,
    cache: FeatureCache,
    device: &'a Device,
}

impl<'a, T: WayTester> Measuring<'a, T> {
    pub(super) fn new(
        model: &'a T,
        data: &'a TestData,
        plan: &'a WaysPlan,
        device: &'a Device,
    ) -> Result<Self, TrainError> {
        model.check(data.fold.classes(), plan.protocol.test.shot)?;
        let source = data.source(&plan.protocol);
        let cache = FeatureCache::new(&plan.reuse, device)?;
        Ok(Self { model, data, plan, source, cache, device })
    }

    /// Segments episodes in order and scores them.
    pub(super) fn run(
        &mut self,
        seed: u32,
        episodes: Vec<WayEpisode>,
        observer: &mut dyn WaysObserver,
        stop: &Stop,
    ) -> Result<WaysRunScores, TrainError> {
        let WaysTest { mirrored, batch, .. } = self.plan.protocol.test;
        let flips = if mirrored { Flips::seeded(FLIP_SEED) } else { Flips::none() };
        // What is mirrored follows from all episodes before, those of other shards included.
        let episodes = self.plan.shard.pick(placed(episodes, flips));
        observer.test_started(seed, episodes.len());
        let batch = if self.model.sees_batches() { batch } else { 1 };
        let reuse = self.plan.reuse != FeatureReuse::Off;
        let mut inputs = read_ahead(self.source.clone(), episodes, reuse, self.plan.loader)?;
        let mut memory = self.model.memory();
        let mut scores = Scores::new(self.data.fold.classes() + 1);
        loop {
            if stop.is_requested() {
                return Err(TrainError::Interrupted { what: "the evaluation" });
            }
            let inputs = inputs.by_ref().take(batch).collect::<Result<Vec<_>, _>>()?;
            if inputs.is_empty() {
                break;
            }
            let features = inputs.iter().map(|input| self.features(input));
            let features = features.collect::<Result<Vec<_>, TrainError>>()?;
            let size = [self.source.side; 2];
            let found = self.model.segment(&features, &mut memory, size)?;
            for (input, logits) in inputs.iter().zip(found) {
                self.score(input, logits, &mut scores, observer)?;
            }
        }
        let Scores { binary, strict, full, drawn } = scores;
        Ok(WaysRunScores::new(seed, binary, strict, full.met, drawn))
    }

    /// The features that an episode needs, from the cache where they are there.
    fn features(&mut self, input: &EpisodeInput) -> Result<TestEpisode, TrainError> {
        let (model, source, cache, device) =
            (self.model, &self.source, &mut self.cache, self.device);
        let mut features = |place: Place| -> Result<Features, TrainError> {
            cache.get_or_compute(place.key(), || {
                let image: Tensor<4> =
                    match input.images.iter().find(|(key, _)| *key == place.key()) {
                        Some((_, image)) => image_tensor(image.view(), device),
                        None => {
                            let image = fss_data::transform::normalise(&source.load(place)?.image);
                            image_tensor(image.view(), device)
                        }
                    };
                Ok(model.features(image))
            })
        };
        let mut ways = Vec::with_capacity(input.support_masks.len());
        for (places, masks) in input.placed.supports.iter().zip(&input.support_masks) {
            let shots = places.iter().zip(masks).map(|(place, mask)| {
                let mask = mask_tensor(mask.view(), device);
                Ok(Shot { features: features(*place)?, mask })
            });
            ways.push(shots.collect::<Result<Vec<_>, TrainError>>()?);
        }
        let classes = input.placed.episode.ways.iter().map(|way| usize::from(way.class)).collect();
        Ok(TestEpisode { ways, classes, query: features(input.placed.query)? })
    }

    fn score(
        &self,
        input: &EpisodeInput,
        logits: WayLogits,
        scores: &mut Scores,
        observer: &mut dyn WaysObserver,
    ) -> Result<(), TrainError> {
        let size = [self.source.side; 2];
        let episode = &input.placed.episode;
        let id = |position: usize| self.data.images.dataset.ids[position].clone();
        let mut predictions = Vec::with_capacity(logits.pairs.len());
        let mut ways = Vec::with_capacity(logits.pairs.len());
        for (way, pair) in episode.ways.iter().zip(logits.pairs) {
            let found = enlarged_labels(pair, size, size)?;
            let truth = self.source.class_mask(&input.query, way.class as u8);
            let (flat, true_flat) = (flat(&found), flat(&truth));
            scores.binary.add(&flat, &true_flat, way.class.into())?;
            scores.strict.add(&flat, &true_flat, way.class.into())?;
            ways.push(DrawnWay {
                class: way.class,
                supports: way.supports.iter().map(|&position| id(position)).collect(),
                iou: BinaryCounts::compare(&flat, &true_flat)?.iou(),
            });
            predictions.push(found);
        }
        let full = logits.full.map(|full| enlarged_labels(full, size, size)).transpose()?;
        if let Some(full) = &full {
            scores.full.add(full, &input.query)?;
        }
        let record = WayRecord { query: id(episode.query), ways };
        observer.episode_finished(&WayOutcome {
            number: scores.drawn.len(),
            record: &record,
            predictions: &predictions,
            full: full.as_ref(),
            running: scores.binary.mean(),
        });
        scores.drawn.push(record);
        Ok(())
    }
}

fn flat(map: &Array2<u8>) -> Vec<u8> {
    map.iter().copied().collect()
}

/// The confusion of all classes, once a model has given any.
struct FullScores {
    classes: usize,
    met: Option<FullIou>,
}

impl FullScores {
    fn add(&mut self, found: &Array2<u8>, truth: &Array2<u8>) -> Result<(), TrainError> {
        let metric = self.met.get_or_insert_with(|| FullIou::new(self.classes));
        Ok(metric.add(&flat(found), &flat(truth))?)
    }
}

struct Scores {
    binary: WayIou,
    strict: WayIou,
    full: FullScores,
    drawn: Vec<WayRecord>,
}

impl Scores {
    fn new(classes: usize) -> Self {
        Self {
            binary: WayIou::new(AbsentWays::Skipped),
            strict: WayIou::new(AbsentWays::Counted),
            full: FullScores { classes, met: None },
            drawn: Vec::new(),
        }
    }
}
