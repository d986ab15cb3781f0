//! Evaluation under the HSNet protocol, against the definition and against mistakes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use fss_data::benchmark::OpenOptions;
use fss_data::folds::{Fold, FoldScheme, Subset};
use fss_data::index::IndexOptions;
use fss_data::lists::Standing;
use fss_data::loader::{LoaderOptions, load_episode};
use fss_data::sampler::HsnetSampler;
use fss_data::synthetic::{
    CocoConfig, Fss1000Config, SyntheticConfig, generate_coco, generate_fss1000,
};
use fss_data::{Benchmark, ClassId, Split};
use fss_heads::{FewShotModel, Refine, Ssp};
use fss_metrics::{HsnetMetric, vote};
use fss_train::evaluate::{
    Compare, EpisodeOutcome, Evaluation, EvaluationPlan, FeatureReuse, HsnetProtocol, KnownFrom,
    Novelty, Protocol, SeenClasses, ShotRule, Spill, TrainedFold, evaluate,
};
use fss_train::observer::{EvaluationObserver, Silent};
use fss_train::recipe::Recipe;
use fss_train::report::{evaluation_table, to_json};
use fss_train::tensor::{image_tensor, mask_tensor, prediction};
use fss_train::trainer::RecipeModel;
use fss_train::{EpisodeData, Part, RunData, Stop, TrainError};
use ndarray::Array2;

use crate::fixture::{generate_data, novel_data};

fn protocol(compare: Compare) -> Protocol {
    Protocol::Hsnet(HsnetProtocol { side: 56, compare, ..HsnetProtocol::default() })
}

fn plan(shot: usize, compare: Compare, reuse: FeatureReuse) -> EvaluationPlan {
    let published = EvaluationPlan::published(protocol(compare), Benchmark::Pascal, shot);
    EvaluationPlan { episodes: 12, reuse, ..published }
}

/// Keeps all predictions by number of the episode, whatever order they come in.
#[derive(Default)]
struct Predictions(BTreeMap<usize, Array2<u8>>);

impl EvaluationObserver for Predictions {
    fn episode_finished(&mut self, outcome: &EpisodeOutcome<'_>) {
        assert_eq!(outcome.prediction.dim(), outcome.truth.dim());
        self.0.insert(outcome.episode.index, outcome.prediction.clone());
    }
}

fn score(
    model: &Ssp,
    data: &EpisodeData,
    plan: &EvaluationPlan,
) -> Result<(Evaluation, Vec<Array2<u8>>), TrainError> {
    let mut seen = Predictions::default();
    let evaluation = evaluate(model, data, plan, &Device::flex(), &mut seen, &Stop::new())?;
    Ok((evaluation, seen.0.into_values().collect()))
}

/// Every episode on its own, straight from the definition: mIoU, FB-IoU, predictions.
fn naive(model: &Ssp, data: &EpisodeData, plan: &EvaluationPlan) -> ([f64; 2], Vec<Array2<u8>>) {
    let device = Device::flex();
    let lists = data.hsnet_lists().expect("lists");
    let mut sampler = HsnetSampler::new(lists.listing.clone(), 0, plan.shot).expect("a sampler");
    let mut metric = HsnetMetric::new(data.fold.novel_classes().into_iter().map(usize::from));
    let mut predictions = Vec::new();
    for _ in 0..plan.episodes {
        let mut episode = sampler.draw().to_episode().expect("an episode");
        let position = |image: usize| {
            let name = &lists.listing.images()[image];
            data.dataset.ids.iter().position(|id| id == name).expect("an image")
        };
        episode.query = position(episode.query);
        episode.supports = episode.supports.iter().map(|&image| position(image)).collect();
        let class = episode.class;
        let transform = plan.protocol.transform(Some(Benchmark::Pascal));
        let loaded = load_episode(&data.dataset, episode, &transform).expect("an episode");
        let shots: Vec<_> = loaded
            .supports
            .iter()
            .map(|(image, mask)| {
                (image_tensor(image.view(), &device), mask_tensor(mask.view(), &device))
            })
            .collect();
        let features = model.features(image_tensor(loaded.query.view(), &device));
        let (height, width) = loaded.query_mask.dim();
        let predict = |shots: &[_]| {
            let support = model.encode_support_images(shots).expect("supports");
            let logits = model.segment(&support, &features, [height, width]).expect("logits");
            prediction(logits).expect("a prediction")
        };
        let map = match plan.shot_rule {
            Some(ShotRule::Vote) => {
                let each: Vec<_> = shots.chunks(1).map(predict).collect();
                vote(&each).expect("a vote")
            }
            _ => predict(&shots),
        };
        let flat = |map: &Array2<u8>| map.iter().copied().collect::<Vec<u8>>();
        metric.add_episode(&flat(&map), &flat(&loaded.query_mask), class.into()).expect("a score");
        predictions.push(map);
    }
    let scores = metric.scores();
    ([scores.miou, scores.fb_iou], predictions)
}

#[test]
fn scores_are_the_definitions_with_and_without_reuse() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let (data, model) = novel_data(folder.path());
    let recompute = FeatureReuse::On { budget_bytes: 9_000, spill: Spill::Recompute };
    for (shot, compare, rule) in [
        (1, Compare::Resized, None),
        (3, Compare::Resized, None),
        (3, Compare::Resized, Some(ShotRule::Vote)),
        (2, Compare::Original, Some(ShotRule::Vote)),
        (1, Compare::Original, None),
    ] {
        let what = format!("{shot}-shot, {compare:?}, {rule:?}");
        let with = |reuse| EvaluationPlan { shot_rule: rule, ..plan(shot, compare, reuse) };
        let (want, predictions) = naive(&model, &data, &with(FeatureReuse::Off));
        for reuse in [FeatureReuse::Off, FeatureReuse::default(), recompute.clone()] {
            let plan = with(reuse);
            let (evaluation, seen) = score(&model, &data, &plan).expect("an evaluation");
            let mean =
                |spread: &Option<fss_metrics::Spread>| spread.as_ref().expect("a score").mean;
            assert_eq!([mean(&evaluation.miou), mean(&evaluation.fb_iou)], want, "{what}");
            assert_eq!(seen, predictions, "{what}");
            assert_eq!(evaluation.shot_rule, rule.unwrap_or_default(), "{what}");
            assert_eq!(evaluation.runs.len(), 1, "{what}");
        }
        let sizes: BTreeSet<_> = predictions.iter().map(|map| map.dim()).collect();
        match compare {
            Compare::Resized => assert_eq!(sizes, BTreeSet::from([(56, 56)]), "{what}"),
            Compare::Original => assert!(sizes.len() > 1, "{what}: {sizes:?}"),
        }
    }
}

#[test]
fn equal_evaluations_give_equal_json_that_tells_how() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let (data, model) = novel_data(folder.path());
    let plan = plan(1, Compare::Original, FeatureReuse::default());
    let (first, _) = score(&model, &data, &plan).expect("an evaluation");
    let (second, _) = score(&model, &data, &plan).expect("an evaluation");
    assert_eq!(to_json(&first), to_json(&second));
    let json: serde_json::Value = serde_json::from_str(&to_json(&first)).expect("JSON");
    assert_eq!(json["protocol"]["kind"], "hsnet");
    assert_eq!(json["protocol"]["compare"], "original");
    assert_eq!(json["protocol"]["side"], 56);
    assert_eq!(json["novelty"]["kind"], "unknown");
    assert!(matches!(first.lists, Some(Standing::Other { .. })), "{:?}", first.lists);
    assert_eq!((first.tested, first.min_pixels), (5, 0));
    let text = evaluation_table(&first);
    assert!(text.contains("images of 56x56") && text.contains("own size"), "{text}");
    assert!(text.contains("NOT the published lists"), "{text}");
}

#[test]
fn a_class_that_is_never_met_counts_as_zero() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let (data, model) = novel_data(folder.path());
    let one = EvaluationPlan { episodes: 1, ..plan(1, Compare::Resized, FeatureReuse::default()) };
    let (evaluation, _) = score(&model, &data, &one).expect("an evaluation");
    let run = &evaluation.runs[0];
    assert_eq!((run.classes_met, run.scores.classes.len(), evaluation.classes.len()), (1, 1, 5));
    let of_class = run.scores.classes[0].iou.expect("a score");
    assert!(of_class > 0.0, "the test shows nothing");
    assert_eq!(run.scores.miou, Some(of_class / 5.0));
    assert!(evaluation_table(&evaluation).contains("classes met: 1 of 5"));
}

#[test]
fn a_model_that_knows_the_classes_is_refused_or_marked() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let (data, model) = novel_data(folder.path());
    for protocol in [protocol(Compare::Resized), Protocol::Official] {
        let trained = |fold| {
            let fold = Fold::pascal(fold).expect("a fold");
            Some(TrainedFold { benchmark: None, fold, known: KnownFrom::Weights })
        };
        let own = EvaluationPlan {
            protocol,
            episodes: 2,
            trained: trained(0),
            ..plan(1, Compare::Resized, FeatureReuse::default())
        };
        let (evaluation, _) = score(&model, &data, &own).expect("an evaluation");
        assert!(matches!(evaluation.novelty, Novelty::Novel { .. }));
        let other = EvaluationPlan { trained: trained(2), ..own };
        let error = score(&model, &data, &other).expect_err("an error");
        assert!(matches!(error, TrainError::SeenClasses { seen: 5, tested: 5, .. }), "{error}");
        let allowed = EvaluationPlan { seen: SeenClasses::Allow, ..other };
        let (evaluation, _) = score(&model, &data, &allowed).expect("an evaluation");
        assert!(evaluation_table(&evaluation).contains("WARNING: 5 of the 5 classes"));
        let json: serde_json::Value = serde_json::from_str(&to_json(&evaluation)).expect("JSON");
        assert_eq!(json["novelty"]["classes"].as_array().map(Vec::len), Some(5));
    }
}

fn small_coco(root: &Path) {
    let pictures = SyntheticConfig {
        train_images: 1,
        val_images: 120,
        classes: 20,
        side: [56, 72],
        ..SyntheticConfig::default()
    };
    let config = CocoConfig { pictures, ..CocoConfig::default() };
    generate_coco(root, &config, |_| ControlFlow::Continue(())).expect("a data set");
}

#[test]
fn both_conventions_of_coco() {
    let folder = tempfile::tempdir().expect("a folder");
    small_coco(folder.path());
    let tree = Benchmark::Coco.detect(folder.path(), &OpenOptions::default()).expect("a tree");
    let fold = |scheme| tree.fold(0, scheme).expect("a fold");
    let tested = fold(protocol(Compare::Resized).folds(Benchmark::Coco));
    assert_eq!(tested.novel_classes(), [1, 5, 9, 13, 17]);
    let part = Part {
        split: Split::Val,
        fold: tested,
        subset: Subset::Novel,
        min_pixels: 1,
        splits: None,
    };
    let data = EpisodeData::open(&tree, part, &IndexOptions::default()).expect("data");
    let pascal = tempfile::tempdir().expect("a folder");
    generate_data(pascal.path());
    let (_, model) = novel_data(pascal.path());
    let trained = TrainedFold {
        benchmark: Some(Benchmark::Coco),
        fold: fold(FoldScheme::Contiguous),
        known: KnownFrom::Assumed,
    };
    let mixed = EvaluationPlan {
        trained: Some(trained),
        ..plan(1, Compare::Resized, FeatureReuse::default())
    };
    let error = score(&model, &data, &mixed).expect_err("an error").to_string();
    assert!(error.contains("3 of the 5") && error.contains("--allow-fold-mismatch"), "{error}");
    let allowed = EvaluationPlan { seen: SeenClasses::Allow, ..mixed };
    let (evaluation, _) = score(&model, &data, &allowed).expect("an evaluation");
    let classes: BTreeSet<ClassId> = evaluation.runs[0].drawn.iter().map(|e| e.class).collect();
    assert!(classes.len() > 1 && classes.iter().all(|class| class % 4 == 1), "{classes:?}");
}

#[test]
fn every_test_image_of_fss1000_is_a_query_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Fss1000Config { categories: [5, 3, 4], side: 56, ..Fss1000Config::default() };
    generate_fss1000(folder.path(), &config, |_| ControlFlow::Continue(())).expect("a data set");
    let recipe = Recipe::builtin("ssp-fss1000-synthetic").expect("a recipe");
    let data = RunData::open(folder.path(), &recipe.data).expect("data");
    assert_eq!([&data.train, &data.validation, &data.test].map(|d| d.dataset.len()), [50, 30, 40]);
    assert_eq!(data.validation.tested(Protocol::hsnet()), [6, 7, 8]);
    let pascal = tempfile::tempdir().expect("a folder");
    generate_data(pascal.path());
    let (_, model) = novel_data(pascal.path());
    let plan =
        EvaluationPlan { episodes: 40, ..plan(1, Compare::Resized, FeatureReuse::default()) };
    let (evaluation, _) = score(&model, &data.test, &plan).expect("an evaluation");
    let run = &evaluation.runs[0];
    let queries: BTreeSet<&String> = run.drawn.iter().map(|episode| &episode.query).collect();
    assert_eq!((queries.len(), run.classes_met, evaluation.tested), (40, 4, 4));
    let classes: Vec<ClassId> = evaluation.classes.iter().map(|class| class.class).collect();
    assert_eq!(classes, [9, 10, 11, 12]);
    for episode in &run.drawn {
        let category = |id: &str| id.split('/').next().map(str::to_owned);
        assert_eq!(category(&episode.query), category(&episode.supports[0]));
        assert_ne!(episode.query, episode.supports[0]);
    }
}

#[test]
fn ssp_is_not_refined_unless_the_protocol_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let (_, model) = novel_data(folder.path());
    let refined = model.with_refine(Refine::On);
    let options = HsnetProtocol { refine: Refine::On, ..HsnetProtocol::default() };
    for (protocol, want) in [
        (Protocol::Official, Refine::On),
        (Protocol::hsnet(), Refine::Off),
        (Protocol::Hsnet(options), Refine::On),
    ] {
        assert_eq!(Ssp::under(refined.clone(), protocol).refine(), want, "{protocol:?}");
    }
}

#[test]
fn what_the_protocol_cannot_draw_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let (data, model) = novel_data(folder.path());
    let message = |data: &EpisodeData, plan: &EvaluationPlan| {
        let loader = LoaderOptions { threads: 1, prefetch: 1 };
        let plan = EvaluationPlan { loader, ..plan.clone() };
        evaluate(&model, data, &plan, &Device::flex(), &mut Silent, &Stop::new())
            .expect_err("an error")
            .to_string()
    };
    let plan = plan(1, Compare::Resized, FeatureReuse::Off);
    let seed = message(&data, &EvaluationPlan { seeds: vec![1 << 32], ..plan.clone() });
    assert!(seed.contains("4294967296") && seed.contains("NumPy"), "{seed}");
    let options = HsnetProtocol { side: 0, ..HsnetProtocol::default() };
    let side =
        message(&data, &EvaluationPlan { protocol: Protocol::Hsnet(options), ..plan.clone() });
    assert!(side.contains("0 pixels"), "{side}");
    let dataset = (*data.dataset).clone();
    let loose = EpisodeData::new(dataset, data.fold.clone(), Subset::Novel, 40).expect("data");
    assert!(message(&loose, &plan).contains("belongs to no benchmark"));
}
