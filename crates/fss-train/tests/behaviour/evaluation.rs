//! Features that are computed once give the numbers of computing them for every episode.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use burn::tensor::Device;
use fss_data::loader::{EpisodeTransform, load_episode};
use fss_heads::{FewShotModel, Ssp};
use fss_metrics::{ConfusionMatrix, Spread};
use fss_train::evaluate::{
    EpisodeOutcome, Evaluation, EvaluationPlan, FeatureReuse, Spill, Supports, evaluate,
    predict_episode,
};
use fss_train::observer::{EvaluationObserver, Silent};
use fss_train::report::to_json;
use fss_train::tensor::{image_tensor, mask_tensor, prediction};
use fss_train::{EpisodeData, Stop};

use crate::fixture::{generate_data, novel_data};

fn plan(shot: usize, reuse: FeatureReuse) -> EvaluationPlan {
    EvaluationPlan { seeds: vec![0, 3], episodes: 20, reuse, ..EvaluationPlan::pascal(shot) }
}

/// Keeps all predictions by seed and number of the episode, whatever order they come in.
#[derive(Default)]
struct Predictions(BTreeMap<(u64, usize), Vec<u8>>);

impl EvaluationObserver for Predictions {
    fn episode_finished(&mut self, outcome: &EpisodeOutcome<'_>) {
        let place = (outcome.seed, outcome.episode.index);
        self.0.insert(place, outcome.prediction.iter().copied().collect());
    }
}

/// Every episode on its own, straight from the definition.
fn naive(model: &Ssp, data: &EpisodeData, plan: &EvaluationPlan) -> (Vec<f64>, Predictions) {
    let device = Device::flex();
    let mut predictions = Predictions::default();
    let scores = plan.seeds.iter().map(|&seed| {
        let mut matrix = ConfusionMatrix::new(20);
        for episode in plan.draw(data, seed).expect("episodes") {
            let (class, place) = (episode.class, (seed, episode.index));
            let loaded = load_episode(&data.dataset, episode, &EpisodeTransform::WholeImages)
                .expect("an episode");
            let shots: Vec<_> = loaded
                .supports
                .iter()
                .map(|(image, mask)| {
                    (image_tensor(image.view(), &device), mask_tensor(mask.view(), &device))
                })
                .collect();
            let support = model.encode_support_images(&shots).expect("supports");
            let query = image_tensor(loaded.query.view(), &device);
            let logits = model.segment_images(&support, query).expect("features that fit");
            let mask = prediction(logits).expect("logits");
            let mask: Vec<u8> = mask.iter().copied().collect();
            let truth: Vec<u8> = loaded.query_mask.iter().copied().collect();
            matrix.add_episode(&mask, &truth, class.into()).expect("a score");
            predictions.0.insert(place, mask);
        }
        matrix.miou()
    });
    (scores.collect(), predictions)
}

fn values(spread: &Option<Spread>) -> Vec<f64> {
    spread.as_ref().expect("a score").values.clone()
}

fn score(model: &Ssp, data: &EpisodeData, plan: &EvaluationPlan) -> (Evaluation, Predictions) {
    let mut seen = Predictions::default();
    let result = evaluate(model, data, plan, &Device::flex(), &mut seen, &Stop::new());
    (result.expect("an evaluation"), seen)
}

#[test]
fn reuse_changes_nothing_but_the_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("data");
    generate_data(&root);
    let (data, model) = novel_data(&root);
    let spill = folder.path().join("spill");
    std::fs::create_dir(&spill).expect("a folder");
    for shot in [1, 2] {
        let off = plan(shot, FeatureReuse::Off);
        let (want, predictions) = naive(&model, &data, &off);
        let reuses = [
            off.reuse.clone(),
            FeatureReuse::default(),
            FeatureReuse::On { budget_bytes: 9_000, spill: Spill::Disk(spill.clone()) },
            FeatureReuse::On { budget_bytes: 9_000, spill: Spill::Recompute },
            FeatureReuse::On { budget_bytes: 0, spill: Spill::Recompute },
        ];
        let mut passes = Vec::new();
        for reuse in reuses {
            let (evaluation, seen) = score(&model, &data, &plan(shot, reuse.clone()));
            assert_eq!(values(&evaluation.miou), want, "{reuse:?}");
            assert_eq!(seen.0, predictions.0, "{reuse:?}");
            let shown = 2 * 20 * (1 + shot as u64);
            assert_eq!(evaluation.features.images_shown, shown);
            passes.push(evaluation.features.backbone_passes);
            if matches!(reuse, FeatureReuse::On { budget_bytes: 9_000, spill: Spill::Disk(_) }) {
                assert!(evaluation.features.read_from_disk > 0);
            }
        }
        let images: HashSet<usize> = off
            .seeds
            .iter()
            .flat_map(|&seed| off.draw(&data, seed).expect("episodes"))
            .flat_map(|episode| episode.supports.into_iter().chain([episode.query]))
            .collect();
        let (all, once) = (2 * 20 * (1 + shot as u64), images.len() as u64);
        assert_eq!((passes[0], passes[1], passes[2], passes[4]), (all, once, once, all));
        assert!(once < passes[3] && passes[3] <= all, "{passes:?}");
    }
    assert_eq!(std::fs::read_dir(&spill).expect("a folder").count(), 0, "spilled files are gone");
}

#[test]
fn the_same_evaluation_gives_the_same_json() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let (data, model) = novel_data(folder.path());
    let plan = plan(1, FeatureReuse::default());
    let (first, seen) = score(&model, &data, &plan);
    let (second, _) = score(&model, &data, &plan);
    let json = to_json(&first);
    assert_eq!(json, to_json(&second));
    // Decimals that are read back may differ in the last place.
    let read: Evaluation = serde_json::from_str(&json).expect("JSON");
    assert_eq!(read.runs[1].drawn.len(), 20);
    assert_eq!((read.fold, read.features), (first.fold, first.features));

    // The episodes are those of the sampler, and a single one gives the same prediction.
    let drawn = plan.draw(&data, 3).expect("episodes");
    let run = &first.runs[1];
    assert_eq!((run.seed, run.drawn.len()), (3, 20));
    for (record, episode) in run.drawn.iter().zip(&drawn) {
        assert_eq!(record.query, data.dataset.ids[episode.query]);
        assert_eq!(record.class, episode.class);
        assert!(data.fold.is_novel(record.class));
    }
    let device = Device::flex();
    let alone = predict_episode(&model, &data, &plan, &drawn[7], &device);
    let alone: Vec<u8> = alone.expect("a prediction").iter().copied().collect();
    assert_eq!(seen.0[&(3, 7)], alone);
    // Only novel classes are scored.
    let classes: Vec<fss_data::ClassId> = first.classes.iter().map(|c| c.class).collect();
    assert_eq!(classes, data.fold.novel_classes());
}

#[test]
fn the_upper_bound_uses_the_query_as_its_support() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let (data, model) = novel_data(folder.path());
    let bound =
        EvaluationPlan { supports: Supports::QueryItself, ..plan(1, FeatureReuse::default()) };
    let (evaluation, _) = score(&model, &data, &bound);
    assert_eq!(evaluation.supports, Supports::QueryItself);
    for run in &evaluation.runs {
        assert!(run.drawn.iter().all(|record| record.supports == [record.query.clone()]));
    }
    let (drawn, _) = score(&model, &data, &plan(1, FeatureReuse::default()));
    let mean = |e: &Evaluation| e.miou.as_ref().expect("a score").mean;
    assert!(mean(&evaluation) > mean(&drawn), "{} {}", mean(&evaluation), mean(&drawn));
}

#[test]
fn a_requested_stop_ends_an_evaluation() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let (data, model) = novel_data(folder.path());
    let stop = Stop::from(Arc::new(true.into()));
    let plan = plan(1, FeatureReuse::default());
    let result = evaluate(&model, &data, &plan, &Device::flex(), &mut Silent, &stop);
    assert!(matches!(result, Err(fss_train::TrainError::Interrupted { .. })));
}
