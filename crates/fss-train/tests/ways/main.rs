//! Training and tests of DENet's code on small generated data.

mod fixture;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use fss_backbone::{DeepStemResNetConfig, Depth, TapBackboneConfig, TapNetwork, module_tensors};
use fss_data::Benchmark;
use fss_data::benchmark::OpenOptions;
use fss_data::folds::{Fold, FoldScheme};
use fss_data::index::IndexOptions;
use fss_data::ways::{Purpose, WayImages};
use fss_heads::{
    Amp, Canet, Denet, DenetConfig, Features, FewShotModel, HeadError, HsnetConfig, Pgnet,
    SspConfig,
};
use fss_train::evaluate::{FeatureReuse, KnownFrom, SeenClasses, TrainedFold};
use fss_train::log::{LogEntry, RunLog};
use fss_train::observer::{IterationReport, Silent};
use fss_train::trainer::{Start, files};
use fss_train::ways::{
    PerWay, TestData, TestEpisode, WAYS_BUILTIN_NAMES, WayLogits, WayPanels, WayTester,
    WaysEvaluation, WaysInit, WaysModel, WaysObserver, WaysOutcome, WaysPlan, WaysProtocol,
    WaysRecipe, WaysRun, WaysTest, evaluate_ways, initial_ways_model, train_ways, ways_json,
    ways_table,
};
use fss_train::{Stop, TrainError};

use fixture::{SIDE, recipe, root, run};

fn finish<M: WaysModel>(run: &WaysRun, start: Start) -> WaysEvaluation {
    match train_ways::<M>(run, start, &mut Silent, &Stop::new()).expect("a run") {
        WaysOutcome::Finished { evaluation, .. } => *evaluation,
        WaysOutcome::Interrupted { .. } => panic!("nobody asked it to stop"),
    }
}

/// Asks for a stop after some iteration, or in the measuring after it.
struct StopAfter {
    iteration: u64,
    measuring: bool,
    reached: bool,
    stop: Stop,
}

impl WaysObserver for StopAfter {
    fn iteration_finished(&mut self, report: &IterationReport) {
        self.reached = report.iteration >= self.iteration;
        if self.reached && !self.measuring {
            self.stop.request();
        }
    }

    fn test_started(&mut self, _: u32, _: usize) {
        if self.reached && self.measuring {
            self.stop.request();
        }
    }
}

fn resumes<M: WaysModel>(name: &str, stops: &[(u64, bool)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let straight = run(recipe(name), &folder.path().join("straight"));
    let evaluation = finish::<M>(&straight, Start::Fresh);
    assert!(evaluation.b_iou.is_some());
    let names = [files::BEST, files::EVALUATION, files::LOG, files::RECIPE];
    for &(iteration, measuring) in stops {
        let other = run(recipe(name), &folder.path().join(format!("{iteration} {measuring}")));
        let stop = Stop::new();
        let mut observer = StopAfter { iteration, measuring, reached: false, stop: stop.clone() };
        let outcome = train_ways::<M>(&other, Start::Fresh, &mut observer, &stop).expect("a run");
        let WaysOutcome::Interrupted { iteration: done, checkpoint } = outcome else {
            panic!("{name} did not stop after {iteration}")
        };
        assert!(done == iteration && checkpoint.is_file());
        finish::<M>(&other, Start::Resume);
        for file in names {
            let read = |run: &WaysRun| fs::read(run.folder.join(file)).expect("a file");
            assert!(read(&straight) == read(&other), "{name}, {iteration}: {file} differs");
        }
    }
    // Parameters of the head moved, and nothing of the backbone but its norms' statistics.
    let first = initial_ways_model::<M>(&straight).expect("a model");
    let last = match train_ways::<M>(&straight, Start::Resume, &mut Silent, &Stop::new()) {
        Ok(WaysOutcome::Finished { model, .. }) => model,
        _ => panic!("it was done"),
    };
    let tensors = |model: &M| module_tensors(model).expect("tensors");
    let (before, after) = (tensors(&first), tensors(&last));
    let learns = |key: &str| match name {
        "amp" => key.contains("fully_conv") || key.contains("classifier"),
        _ => !key.starts_with("backbone."),
    };
    let mut moved = 0;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.key, after.key);
        let same = before.values == after.values;
        assert!(same || learns(&before.key) || before.key.contains("running"), "{}", before.key);
        moved += usize::from(!same && learns(&before.key));
    }
    assert!(moved > 0);
}

#[test]
fn denet_resumes_to_the_same_bits() {
    resumes::<Denet>("denet", &[(1, false), (3, true), (4, false), (5, true)]);
}

#[test]
fn amp_resumes_to_the_same_bits() {
    resumes::<Amp>("amp", &[(2, false), (3, true)]);
}

#[test]
fn canet_resumes_to_the_same_bits() {
    resumes::<Canet>("canet", &[(3, false)]);
}

#[test]
fn pgnet_resumes_to_the_same_bits() {
    resumes::<Pgnet>("pgnet", &[(3, false)]);
}

#[test]
fn a_run_tells_what_it_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run(recipe("denet"), folder.path());
    let evaluation = finish::<Denet>(&run, Start::Fresh);
    let log = RunLog::read(&folder.path().join(files::LOG)).expect("a log");
    let count = |wanted: fn(&LogEntry) -> bool| log.iter().filter(|entry| wanted(entry)).count();
    assert_eq!(count(|entry| matches!(entry, LogEntry::Iteration { .. })), 5);
    // After three steps and at the end.
    assert_eq!(count(|entry| matches!(entry, LogEntry::WaysValidation { .. })), 2);
    assert_eq!(count(|entry| matches!(entry, LogEntry::WaysEvaluation { .. })), 1);
    let LogEntry::Iteration { terms, loss, .. } = &log[0] else { panic!("{:?}", log[0]) };
    // The focal loss is told and not minimised.
    assert_eq!(terms["knowledge"].as_f64(), *loss);
    assert!(terms["pattern"].as_f64().is_some_and(|value| value > 0.0));
    let text = fs::read_to_string(folder.path().join(files::EVALUATION)).expect("scores");
    assert_eq!(serde_json::from_str::<WaysEvaluation>(&text).expect("scores"), evaluation);
    let file = fss_backbone::ModuleFile::open(&folder.path().join(files::BEST)).expect("weights");
    assert_eq!(file.metadata()["fss.model"], "denet");
    assert_eq!(file.metadata()["fss.side"], SIDE.to_string());
    let config = DenetConfig::of_file(&file).expect("a DENet");
    assert_eq!((config.classes, config.backbone), (21, run.recipe.backbone));
    // A finished run is not begun anew.
    let again = train_ways::<Denet>(&run, Start::Fresh, &mut Silent, &Stop::new()).unwrap_err();
    assert!(again.to_string().contains("resume it"), "{again}");
}

#[test]
fn another_recipe_does_not_resume() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = run(recipe("canet"), folder.path());
    let nothing = train_ways::<Canet>(&run, Start::Resume, &mut Silent, &Stop::new()).unwrap_err();
    assert!(nothing.to_string().contains("no checkpoint"), "{nothing}");
    let stop = Stop::new();
    stop.request();
    train_ways::<Canet>(&run, Start::Fresh, &mut Silent, &stop).expect("an interrupted run");
    run.recipe.optim.lr = 0.5;
    let changed = train_ways::<Canet>(&run, Start::Resume, &mut Silent, &Stop::new()).unwrap_err();
    assert!(changed.to_string().contains("`optim.lr`"), "{changed}");
}

fn test_data(fold: usize) -> TestData {
    let tree = Benchmark::Pascal.detect(root(), &OpenOptions::default()).expect("a tree");
    let images = WayImages::open(&tree, Purpose::Test, &IndexOptions::default()).expect("images");
    let fold = Fold::new(fold, 20, FoldScheme::Contiguous).expect("a fold");
    TestData { images: Arc::new(images), fold, benchmark: Some(Benchmark::Pascal) }
}

fn plan(ways: usize, shot: usize) -> WaysPlan {
    let test = WaysTest { ways, shot, episodes: 25, batch: 4, ..WaysTest::default() };
    WaysPlan::new(WaysProtocol { side: SIDE, share: 0.02, ignore_border: false, test })
}

fn evaluate<T: WayTester>(model: &T, plan: &WaysPlan) -> Result<WaysEvaluation, TrainError> {
    evaluate_ways(model, &test_data(0), plan, &Device::flex(), &mut Silent, &Stop::new())
}

/// Finds every class everywhere.
struct Everywhere;

impl WayTester for Everywhere {
    type Memory = ();

    fn memory(&self) -> Self::Memory {}

    fn check(&self, _: usize, _: usize) -> Result<(), TrainError> {
        Ok(())
    }

    fn features(&self, images: Tensor<4>) -> Features {
        Features::single(images)
    }

    fn segment(
        &self,
        episodes: &[TestEpisode],
        _: &mut (),
        _: [usize; 2],
    ) -> Result<Vec<WayLogits>, HeadError> {
        let pair =
            || Tensor::from_data(TensorData::new(vec![0.0f32, 1.0], [1, 2, 1, 1]), &Device::flex());
        let one = |episode: &TestEpisode| WayLogits {
            pairs: episode.ways.iter().map(|_| pair()).collect(),
            full: None,
        };
        Ok(episodes.iter().map(one).collect())
    }
}

#[test]
fn scores_are_those_of_the_masks() {
    let data = test_data(0);
    for ways in [1, 2] {
        let plan = plan(ways, 1);
        let evaluation = evaluate(&Everywhere, &plan).expect("scores");
        // What is everywhere has the mean share of its class as its IoU.
        let mut shown = std::collections::BTreeMap::<usize, [f64; 3]>::new();
        for episode in data.episodes(&plan.protocol, 1234).expect("episodes") {
            let mask = data.images.dataset.load_mask(episode.query).expect("a mask");
            let mask = fss_data::resize::pillow_nearest(&mask, [SIDE; 2]).expect("a mask");
            for way in &episode.ways {
                let pixels = mask.iter().filter(|label| u16::from(**label) == way.class).count();
                let sums = shown.entry(way.class.into()).or_default();
                sums[0] += pixels as f64;
                sums[1] += if pixels > 0 { (SIDE * SIDE) as f64 } else { 0.0 };
                sums[2] += (SIDE * SIDE) as f64;
            }
        }
        assert!(shown.len() == 5 && evaluation.classes.len() == 5);
        for class in &evaluation.classes {
            let [pixels, met, all] = shown[&usize::from(class.class)];
            let close = |spread: &Option<fss_metrics::Spread>, want: f64| {
                let found = spread.as_ref().map_or(0.0, |spread| spread.mean);
                assert!((found - want).abs() < 1e-12, "{}: {found}, not {want}", class.name);
            };
            close(&class.iou, pixels / met);
            close(&class.strict, pixels / all);
        }
        let strict = evaluation.b_iou_strict.expect("a score").mean;
        let published = evaluation.b_iou.expect("a score").mean;
        // With one way the query always shows the class.
        assert!(if ways == 1 { strict == published } else { strict < published });
        assert_eq!(evaluation.runs[0].skipped > 0, ways == 2);
    }
}

fn denet(seed: u64) -> Denet {
    recipe_model::<Denet>("denet", seed)
}

fn recipe_model<M: WaysModel>(name: &str, seed: u64) -> M {
    let mut recipe = recipe(name);
    recipe.model.seed = seed;
    M::build(&recipe, 21, &Device::flex()).expect("a model")
}

#[test]
fn features_that_are_kept_change_nothing() {
    let model = denet(1).tested();
    let kept = WaysPlan { seeds: vec![1234, 7], ..plan(2, 2) };
    let anew = WaysPlan { reuse: FeatureReuse::Off, ..kept.clone() };
    let (kept, anew) = (evaluate(&model, &kept).unwrap(), evaluate(&model, &anew).unwrap());
    assert_eq!(kept.runs, anew.runs);
    assert_ne!(kept.runs[0].drawn, kept.runs[1].drawn);
    assert_eq!(anew.features.backbone_passes, 2 * 25 * 5);
    assert!(kept.features.backbone_passes <= 120, "{:?}", kept.features);
    assert!(kept.f_iou.is_some() && kept.runs[0].full.is_some());
    assert_eq!(serde_json::from_str::<WaysEvaluation>(&ways_json(&kept)).unwrap(), kept);
    let table = ways_table(&kept);
    for words in ["2-way 2-shot", "F-IOU", "mean", "strict", "images of 33x33"] {
        assert!(table.contains(words), "{words:?} in {table}");
    }
}

#[test]
fn mirrors_and_borders_are_options() {
    let model = denet(1).tested();
    let usual = plan(1, 1);
    let mut straight = usual.clone();
    straight.protocol.test.mirrored = false;
    let (usual, straight) =
        (evaluate(&model, &usual).unwrap(), evaluate(&model, &straight).unwrap());
    let drawn = |evaluation: &WaysEvaluation| -> Vec<String> {
        evaluation.runs[0].drawn.iter().map(|record| record.query.clone()).collect()
    };
    assert_eq!(drawn(&usual), drawn(&straight));
    assert_ne!(usual.runs[0].binary, straight.runs[0].binary);
    assert!(ways_table(&straight).contains("no image mirrored"));
}

#[test]
fn amp_remembers_batches() {
    let model = recipe_model::<Amp>("amp", 1).tested();
    let scores = |batch: usize| {
        let mut plan = plan(1, 1);
        plan.protocol.test.batch = batch;
        evaluate(&model, &plan).unwrap().runs.remove(0)
    };
    assert_eq!(scores(4), scores(4));
    assert_ne!(scores(1).full, scores(25).full);
    assert!(evaluate(&model, &plan(2, 1)).unwrap().f_iou.is_none());
    // DENet has nothing to remember.
    let model = denet(1).tested();
    let mut other = plan(1, 1);
    other.protocol.test.batch = 1;
    assert_eq!(evaluate(&model, &plan(1, 1)).unwrap().runs, evaluate(&model, &other).unwrap().runs);
}

#[test]
fn models_of_other_papers_take_part() {
    let network = DeepStemResNetConfig::new(Depth::R18).with_width(4);
    let backbone = network.init(&Device::flex(), 3);
    let ssp = SspConfig::new(network).init_with(backbone).fold();
    let found = evaluate(&PerWay(ssp), &plan(2, 2)).expect("scores");
    assert!(found.b_iou.is_some() && found.f_iou.is_none());
    // The supports of HSNet vote, and the protocol has no rule for that.
    let taps = TapBackboneConfig::new(TapNetwork::Resnet50).with_width(4);
    let hsnet = HsnetConfig::new(taps).with_side(64).init(&Device::flex(), 3).fold();
    assert!(hsnet.shot_rule() == fss_heads::ShotRule::Vote);
    let refused = evaluate(&PerWay(hsnet), &plan(1, 5)).unwrap_err().to_string();
    assert!(refused.contains("vote") && refused.contains("--protocol hsnet"), "{refused}");
}

#[test]
fn what_makes_no_test_is_refused() {
    let model = denet(1).tested();
    let message = |plan: &WaysPlan| evaluate(&model, plan).unwrap_err().to_string();
    assert!(message(&plan(1, 0)).contains("`shot`"));
    assert!(message(&plan(6, 1)).contains("6 ways of 5"));
    assert!(message(&plan(1, 60)).contains("an episode needs 61"));
    let mut share = plan(1, 1);
    share.protocol.share = 1.5;
    assert!(message(&share).contains("1.5"));
    let fold = Fold::new(1, 20, FoldScheme::Contiguous).unwrap();
    let trained =
        Some(TrainedFold { benchmark: Some(Benchmark::Pascal), fold, known: KnownFrom::Weights });
    let seen = WaysPlan { trained, ..plan(1, 1) };
    assert!(message(&seen).contains("base classes in training"));
    let allowed = WaysPlan { seen: SeenClasses::Allow, ..seen };
    assert!(ways_table(&evaluate(&model, &allowed).unwrap()).contains("WARNING"));
    let coco = DenetConfig::new(recipe("denet").backbone, 81).init(&Device::flex(), 0).fold();
    let rows = evaluate(&coco, &plan(1, 1)).unwrap_err().to_string();
    assert!(rows.contains("80 classes"), "{rows}");
    let stop = Stop::new();
    stop.request();
    let stopped =
        evaluate_ways(&model, &test_data(0), &plan(1, 1), &Device::flex(), &mut Silent, &stop);
    assert!(matches!(stopped, Err(TrainError::Interrupted { .. })));
}

#[test]
fn pictures_show_the_first_the_best_and_the_worst() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, plan) = (test_data(0), plan(2, 1));
    let mut silent = Silent;
    let mut panels = WayPanels::new(2, &mut silent);
    let model = denet(1).tested();
    let device = Device::flex();
    let evaluation =
        evaluate_ways(&model, &data, &plan, &device, &mut panels, &Stop::new()).expect("scores");
    let files = panels.save(&data, &plan.protocol, folder.path()).expect("pictures");
    assert_eq!(files.len(), 6);
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let best = evaluation.runs[0]
        .drawn
        .iter()
        .filter(|record| record.iou().is_some())
        .max_by(|a, b| a.iou().unwrap().total_cmp(&b.iou().unwrap()))
        .expect("an episode");
    assert!(
        files
            .iter()
            .any(|file| { name(file).starts_with("best-1-") && name(file).contains(&best.query) })
    );
    for file in &files {
        let picture = image::open(file).expect("a picture");
        assert!(picture.width() > 4 * SIDE as u32 && picture.height() > 3 * SIDE as u32);
    }
}

#[test]
fn recipes_come_back_and_mistakes_are_named() {
    for name in WAYS_BUILTIN_NAMES {
        let recipe = WaysRecipe::builtin(name).expect("a recipe");
        recipe.check().expect("a sound recipe");
        let text = recipe.to_toml();
        assert!(WaysRecipe::is_one(&text));
        assert_eq!(WaysRecipe::from_toml(&text, name).expect("a recipe"), recipe);
    }
    assert!(!WaysRecipe::is_one("extends = \"ssp-pascal\""));
    let published = WaysRecipe::builtin("amp-coco").unwrap();
    assert_eq!((published.optim.lr, published.data.share), (1e-6, 0.01));
    let error = |text: &str| WaysRecipe::from_toml(text, "mine.toml").unwrap_err().to_string();
    let extended = |rest: &str| error(&format!("extends = \"denet-pascal\"\n{rest}"));
    assert!(error("extends = \"denet\"").contains("denet-pascal"));
    assert!(extended("[episodes]\nbatch = 0").contains("`episodes.batch`"));
    assert!(extended("[backbone]\nnetwork = \"vgg16\"").contains("`backbone.network` is vgg16"));
    assert!(extended("[validation.test]\nways = 0").contains("`validation.test.ways`"));
    assert!(extended("[data]\nshare = 2.0").contains("`data.share`"));
    assert!(extended("[data]\nfold = 9").contains("mine.toml"));
    assert!(extended("[model]\nlamda = 2.0").contains("lamda"));
    // Plain images are for AMP, episodes for the others.
    let rms = WaysRecipe::from_toml(
        "extends = \"denet-pascal\"\n[optim]\nrule = \"rmsprop\"\nlr = 1e-4",
        "mine.toml",
    );
    assert!(rms.unwrap().to_toml().contains("rmsprop"));
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut started = recipe("denet");
    let path = folder.path().join("none.pth");
    started.init = WaysInit::Weights { path: path.clone() };
    let message = |run: &WaysRun| {
        train_ways::<Denet>(run, Start::Fresh, &mut Silent, &Stop::new()).unwrap_err().to_string()
    };
    let run = run(started, &folder.path().join("run"));
    assert!(message(&run).contains("none.pth"));
    // A checkpoint of another model is no ImageNet file.
    recipe_model::<Canet>("canet", 0).save_weights(&path, &Default::default()).unwrap();
    let other = message(&run);
    assert!(other.contains("none.pth"), "{other}");
    // One of the same model starts the run.
    let model = denet(9);
    model.save_weights(&path, &Default::default()).unwrap();
    let first = initial_ways_model::<Denet>(&run).expect("a model");
    assert_eq!(first.official_tensors().unwrap(), model.official_tensors().unwrap());
    let error = train_ways::<Canet>(&run, Start::Fresh, &mut Silent, &Stop::new()).unwrap_err();
    assert!(error.to_string().contains("`model.kind` is denet"), "{error}");
}
