//! Coarse maps reach the model, each with its image and class, in evaluation and in training.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use burn::tensor::Device;
use fss_backbone::inspect_weights;
use fss_data::{Benchmark, ClassId};
use fss_train::cams::{CamSource, Cams};
use fss_train::evaluate::{
    EpisodeOutcome, EvaluationPlan, FeatureReuse, HsnetProtocol, Protocol, evaluate,
    predict_episode,
};
use fss_train::log::RunLog;
use fss_train::observer::{EvaluationObserver, Silent};
use fss_train::recipe::{BorderPixels, ImrSettings, Init, ModelSettings, Recipe};
use fss_train::trainer::{RunCams, Start, TrainOutcome, TrainingRun, files, train};
use fss_train::{EpisodeData, RunData, Stop};
use ndarray::Array2;

use crate::fixture::{StopAfter, generate_data, run};
use crate::maps::{Broken, Code, Coded, GRID, Threshold, Truth, labels, seen};

/// The side that makes maps of [`GRID`].
const SIDE: usize = 56;

fn recipe() -> Recipe {
    let mut recipe = Recipe::builtin("imr-synthetic").expect("a built-in recipe");
    let protocol = Protocol::Hsnet(HsnetProtocol { side: SIDE, ..HsnetProtocol::default() });
    recipe.init = Init::Scratch { seed: 0, calibration_episodes: 0 };
    recipe.data.min_pixels = 40;
    recipe.episodes.batch = 2;
    recipe.episodes.crop = SIDE;
    recipe.validation.protocol = protocol;
    recipe.validation.episodes = 4;
    recipe.evaluation.protocol = protocol;
    recipe.evaluation.episodes = 4;
    recipe
}

fn novel(root: &Path) -> EpisodeData {
    generate_data(root);
    RunData::open(root, &recipe().data).expect("data").test
}

fn plan(shot: usize, cams: Option<Cams>) -> EvaluationPlan {
    let protocol = recipe().evaluation.protocol;
    let published = EvaluationPlan::published(protocol, Benchmark::Pascal, shot);
    EvaluationPlan { episodes: 15, cams, ..published }
}

fn coded() -> Option<Cams> {
    Some(Cams::new(Coded(3)))
}

#[test]
fn every_image_comes_with_its_map_of_the_episodes_class() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = novel(folder.path());
    let device = Device::flex();
    let model = Threshold::new(&device);
    seen();
    for shot in [1, 3] {
        let plan = plan(shot, coded());
        let drawn = plan.draw(&data, 0).expect("episodes");
        // The model votes: each shot is a prediction of its own.
        let wanted: Vec<Vec<Code>> = drawn
            .iter()
            .flat_map(|e| e.supports.iter().map(|&s| vec![(e.query, e.class, 3), (s, e.class, 3)]))
            .collect();
        for reuse in [FeatureReuse::Off, FeatureReuse::default()] {
            let plan = EvaluationPlan { reuse: reuse.clone(), ..plan.clone() };
            let result = evaluate(&model, &data, &plan, &device, &mut Silent, &Stop::new());
            let evaluation = result.expect("an evaluation");
            assert_eq!(seen(), wanted, "{reuse:?}");
            let images: HashSet<usize> =
                drawn.iter().flat_map(|e| e.supports.iter().chain([&e.query])).copied().collect();
            let passes = evaluation.features.backbone_passes;
            match reuse {
                // What is kept of an image serves all its classes.
                FeatureReuse::On { .. } => assert_eq!(passes, images.len() as u64),
                FeatureReuse::Off => assert_eq!(passes, 15 * (1 + shot as u64)),
            }
        }
        predict_episode(&model, &data, &plan, &drawn[4], &device).expect("a prediction");
        assert_eq!(seen(), wanted[4 * shot..5 * shot]);
    }
}

#[test]
fn a_model_that_reads_maps_segments_by_them() {
    struct Predictions(Vec<(usize, ClassId, Array2<u8>)>);
    impl EvaluationObserver for Predictions {
        fn episode_finished(&mut self, outcome: &EpisodeOutcome<'_>) {
            let episode = outcome.episode;
            self.0.push((episode.query, episode.class, outcome.prediction.clone()));
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let data = novel(folder.path());
    let device = Device::flex();
    let model = Threshold::new(&device);
    let plan = plan(1, Some(Cams::new(Truth)));
    let mut made = Predictions(Vec::new());
    let evaluation = evaluate(&model, &data, &plan, &device, &mut made, &Stop::new());
    assert_eq!(made.0.len(), 15);
    let mut foreground = 0;
    for (query, class, prediction) in made.0 {
        let map = Truth.cam(&data.dataset, query, class, GRID).expect("a map");
        let cell = SIDE / GRID;
        let wanted = Array2::from_shape_fn((SIDE, SIDE), |(y, x)| map[[y / cell, x / cell]] as u8);
        assert_eq!(prediction, wanted, "image {query}, class {class}");
        foreground += wanted.iter().filter(|&&value| value == 1).count();
    }
    // Coarse as the maps are, they are near the truth.
    let miou = evaluation.expect("an evaluation").miou.expect("a score").mean;
    assert!(foreground > 0 && miou > 0.3, "{miou}");
    seen();
}

#[test]
fn missing_and_broken_maps_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = novel(folder.path());
    let device = Device::flex();
    let model = Threshold::new(&device);
    let error = |cams: Option<Cams>| {
        evaluate(&model, &data, &plan(1, cams), &device, &mut Silent, &Stop::new())
            .expect_err("an error")
            .to_string()
    };
    let none = error(None);
    assert!(none.contains("coarse maps") && none.contains("7 x 7"), "{none}");
    let missing = error(Some(Cams::new(Broken::Missing)));
    assert!(missing.contains("maps is missing"), "{missing}");
    assert!(seen().is_empty(), "nothing is segmented before all maps are known to be there");
    let small = error(Some(Cams::new(Broken::Small)));
    let episode = &plan(1, None).draw(&data, 0).expect("episodes")[0];
    assert!(small.contains("7 x 6") && small.contains(&data.dataset.ids[episode.query]), "{small}");

    let mut run = run(folder.path(), &folder.path().join("run"), recipe());
    let mut error = |train_on, novel| {
        run.cams = RunCams { train: train_on, novel };
        train::<Threshold>(&run, Start::Fresh, &mut Silent, &Stop::new())
            .expect_err("an error")
            .to_string()
    };
    assert!(error(None, coded()).contains("training was given none"));
    // Before the first iteration, not at the first validation.
    assert!(error(coded(), None).contains("the evaluation was given none"));
    assert!(error(coded(), Some(Cams::new(Broken::Missing))).contains("missing"));
    assert!(error(Some(Cams::new(Broken::Missing)), coded()).contains("missing"));
    assert!(seen().is_empty());
}

/// Every pair of image and class in the training list.
fn listed(run: &TrainingRun) -> Vec<Code> {
    let lists = run.train.hsnet_lists().expect("lists");
    let pairs = lists.listing.pairs();
    let mut pairs: Vec<Code> =
        pairs.map(|(image, class)| (lists.positions[image], class, 1)).collect();
    pairs.sort_unstable();
    pairs
}

fn finish(run: &TrainingRun, start: Start) {
    match train::<Threshold>(run, start, &mut Silent, &Stop::new()).expect("a run") {
        TrainOutcome::Finished { .. } => {}
        TrainOutcome::Interrupted { .. } => panic!("nobody asked it to stop"),
    }
}

#[test]
fn an_epoch_takes_every_pair_once_with_its_maps_and_goes_on_after_a_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("data");
    generate_data(&root);
    let begin = |name: &str, border: BorderPixels| {
        let mut run = run(&root, &folder.path().join(name), recipe());
        run.cams = RunCams { train: Some(Cams::new(Coded(1))), novel: Some(Cams::new(Coded(2))) };
        let pairs = listed(&run).len();
        // The first snapshot ends beyond the list, in its second pass.
        run.recipe.episodes.snapshot = (pairs + 5).next_multiple_of(2);
        run.recipe.episodes.total = 2 * run.recipe.episodes.snapshot;
        let settings = ImrSettings { ignore: border, ..ImrSettings::default() };
        run.recipe.model = ModelSettings::Imr(settings);
        run
    };
    seen();
    labels();
    let straight = begin("straight", BorderPixels::Background);
    finish(&straight, Start::Fresh);
    let all = seen();
    assert!(labels().iter().all(|&label| label == 1), "borders are background");
    let trained: Vec<&Vec<Code>> = all.iter().filter(|episode| episode[0].2 == 1).collect();
    let pairs = listed(&straight);
    let snapshot = straight.recipe.episodes.snapshot;
    assert_eq!(trained.len(), 2 * snapshot);
    for first in [0, snapshot] {
        let mut queries: Vec<Code> =
            trained[first..first + pairs.len()].iter().map(|episode| episode[0]).collect();
        queries.sort_unstable();
        assert_eq!(queries, pairs, "each once");
        let rest = &trained[first + pairs.len()..first + snapshot];
        let again: BTreeSet<Code> = rest.iter().map(|episode| episode[0]).collect();
        assert_eq!(again.len(), rest.len());
    }
    assert_ne!(trained[..10], trained[snapshot..snapshot + 10], "epochs differ");
    for episode in &trained {
        let [query, support] = episode[..] else { panic!("one support") };
        assert!(support.0 != query.0 && support.1 == query.1 && pairs.contains(&support));
    }
    // Validations and the final evaluation read the other source.
    assert_eq!(all.iter().filter(|episode| episode[0].2 == 2).count(), 2 * 4 + 4);

    // Stopped in the first pass, and in the second, where the list begins anew.
    for stop_after in [4, (snapshot as u64) / 2 - 1] {
        let stopped = begin(&format!("stopped-{stop_after}"), BorderPixels::Background);
        let stop = Stop::new();
        let mut observer =
            StopAfter { iteration: stop_after, in_validation: false, stop: stop.clone(), seen: 0 };
        let outcome =
            train::<Threshold>(&stopped, Start::Fresh, &mut observer, &stop).expect("a run");
        assert!(matches!(outcome, TrainOutcome::Interrupted { .. }));
        finish(&stopped, Start::Resume);
        assert!(seen() == all, "the same episodes after a stop");
        for name in [files::BEST, files::EVALUATION, files::LOG] {
            let read = |run: &TrainingRun| std::fs::read(run.folder.join(name)).expect(name);
            assert!(read(&straight) == read(&stopped), "{name} differs");
        }
    }

    labels();
    let ignoring = begin("ignoring", BorderPixels::Ignored);
    finish(&ignoring, Start::Fresh);
    assert!(labels().contains(&255), "borders stay");
    seen();

    // What is left says what it is, and the label of the evaluation, too.
    let weights = inspect_weights(&straight.folder.join(files::BEST)).expect("weights");
    let about: &BTreeMap<String, String> = &weights.metadata;
    assert_eq!(about["fss.model"], "imr");
    let text = std::fs::read_to_string(straight.folder.join(files::EVALUATION)).expect("a file");
    assert!(text.contains("imr with resnet50, 2 stages"), "{text}");
    assert!(RunLog::read(&straight.folder.join(files::LOG)).expect("a log").len() > snapshot);
}
