//! MLC's full method: pseudo masks, joint training, rectification, and every part of it left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use fss_data::io::{WIDE_IGNORE, read_wide_mask};
use fss_data::loader::LoaderOptions;
use fss_heads::Mlc;
use fss_train::checkpoint::Checkpoint;
use fss_train::log::{LogEntry, RunLog};
use fss_train::mining::{
    Clusters, EncoderCheck, GroundTruth, MiningObserver, MiningPhase, MiningPlace, PseudoMasks,
    Region, mine_for_recipe,
};
use fss_train::observer::Silent;
use fss_train::recipe::{
    BackgroundRectification, DecoderExport, ForegroundRectification, JointSettings, Mining,
    MlcSettings, ModelSettings, PoolSettings, Recipe,
};
use fss_train::trainer::{Start, TrainOutcome, TrainingRun, files, train};
use fss_train::{EpisodeData, Stop, TrainError};

use crate::fixture::{self, StopAfter, generate_data, run};

/// The full method on the network and data of the other tests, its masks in `masks`.
fn full(masks: &Path) -> Recipe {
    let small = fixture::recipe();
    let mut recipe = Recipe::builtin("mlc-full-synthetic").expect("a built-in recipe");
    recipe = Recipe { model: recipe.model, train: recipe.train, ..small };
    joint(&mut recipe).masks = masks.to_path_buf();
    joint(&mut recipe).channels = 8;
    joint(&mut recipe).labels.clusters = 6;
    joint(&mut recipe).labels.min_pixels = 40;
    recipe
}

fn settings(recipe: &mut Recipe) -> &mut MlcSettings {
    let ModelSettings::Mlc(settings) = &mut recipe.model else { panic!("a recipe of MLC") };
    settings
}

fn joint(recipe: &mut Recipe) -> &mut JointSettings {
    let Mining::Joint(joint) = &mut settings(recipe).mining else { panic!("joint training") };
    joint
}

fn base_data(root: &Path, recipe: &Recipe) -> EpisodeData {
    run(root, Path::new("nowhere"), recipe.clone()).train
}

fn mine_with(
    root: &Path,
    recipe: &Recipe,
    folder: &Path,
    extra: Option<PathBuf>,
    observer: &mut dyn MiningObserver,
    stop: &Stop,
) -> Result<PseudoMasks, TrainError> {
    let place = MiningPlace {
        folder: folder.to_path_buf(),
        extra,
        device: Device::flex(),
        loader: LoaderOptions { threads: 2, prefetch: 4 },
    };
    mine_for_recipe(recipe, &base_data(root, recipe), place, observer, stop)
}

fn mine(root: &Path, recipe: &Recipe, folder: &Path) -> PseudoMasks {
    mine_with(root, recipe, folder, None, &mut Silent, &Stop::new()).expect("pseudo masks")
}

/// Data and pseudo masks below a folder.
fn prepared(folder: &Path) -> (PathBuf, Recipe) {
    let (root, masks) = (folder.join("data"), folder.join("masks"));
    generate_data(&root);
    let recipe = full(&masks);
    mine(&root, &recipe, &masks);
    (root, recipe)
}

/// All files below a folder with their bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").to_path_buf();
                found.insert(name, fs::read(path).expect("a file"));
            }
        }
    }
    found
}

/// Asks for a stop after so many steps of a part.
struct StopIn {
    phase: MiningPhase,
    after: usize,
    now: Option<MiningPhase>,
    first: usize,
    stop: Stop,
}

impl MiningObserver for StopIn {
    fn phase_started(&mut self, phase: MiningPhase, _total: usize) {
        self.now = Some(phase);
    }

    fn advanced(&mut self, done: usize) {
        if done == 0 || self.now != Some(self.phase) {
            return;
        }
        self.first = if self.first == 0 { done } else { self.first };
        if done >= self.after {
            self.stop.request();
        }
    }
}

#[test]
fn interrupted_mining_goes_on_to_the_same_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, recipe) = prepared(folder.path());
    let straight = contents(&folder.path().join("masks"));
    assert_eq!(straight.len(), 62, "60 masks, the latent classes and the index");

    let parts = folder.path().join("parts");
    let interrupt = |phase, after| {
        let stop = Stop::new();
        let mut observer = StopIn { phase, after, now: None, first: 0, stop: stop.clone() };
        let result = mine_with(&root, &recipe, &parts, None, &mut observer, &stop);
        assert!(matches!(result, Err(TrainError::Interrupted { .. })), "{phase:?}");
        observer.first
    };
    assert_eq!(interrupt(MiningPhase::Prototypes, 20), 1);
    // It goes on after the 20 images that are done, not from the start.
    assert_eq!(interrupt(MiningPhase::Prototypes, 25), 20);
    interrupt(MiningPhase::Clustering, 1);
    interrupt(MiningPhase::Masks, 10);
    assert!(!parts.join("masks.json").exists());
    let train = base_data(&root, &recipe);
    let message = PseudoMasks::open(&parts, &train.dataset).unwrap_err().to_string();
    assert!(message.contains("interrupted") && message.contains("fss mine"), "{message}");
    // One that was cut off or is of other latent classes is made again.
    let mut masks: Vec<PathBuf> = contents(&parts.join("masks")).into_keys().collect();
    masks.truncate(2);
    fs::write(parts.join("masks").join(&masks[0]), "half a mask").expect("a file");
    fs::copy(root.join("SegmentationClass").join(&masks[1]), parts.join("masks").join(&masks[1]))
        .expect("a copy");
    assert!(interrupt(MiningPhase::Masks, 20) >= 8);
    mine(&root, &recipe, &parts);
    assert!(contents(&parts) == straight, "the files differ");

    // All is there: nothing is computed, and nothing changes.
    let mut count = Count::default();
    mine_with(&root, &recipe, &parts, None, &mut count, &Stop::new()).expect("pseudo masks");
    assert_eq!(count.0, [(MiningPhase::Masks, 60)]);
    assert!(contents(&parts) == straight);
}

/// The parts, each with the first number of things that were done.
#[derive(Default)]
struct Count(Vec<(MiningPhase, usize)>);

impl MiningObserver for Count {
    fn phase_started(&mut self, phase: MiningPhase, _total: usize) {
        self.0.push((phase, usize::MAX));
    }

    fn advanced(&mut self, done: usize) {
        if let Some((_, first)) = self.0.last_mut() {
            *first = done.min(*first);
        }
    }
}

#[test]
fn masks_hold_the_labels_of_all_images_and_keep_ignored_pixels() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, recipe) = prepared(folder.path());
    let masks_folder = folder.path().join("masks");
    let train = base_data(&root, &recipe);
    let masks = PseudoMasks::open(&masks_folder, &train.dataset).expect("pseudo masks");
    assert_eq!(masks.len(), 60);
    let clusters = Clusters::load(&masks_folder.join("clusters.safetensors")).expect("a file");
    assert_eq!(&clusters, masks.clusters());
    assert_eq!((clusters.count(), clusters.channels()), (6, 16));
    let norm = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt();
    assert!(clusters.centres.chunks(16).all(|row| norm(row) <= 1.0 + 1e-5 && norm(row) > 0.1));

    let mut seen = [0usize; 7];
    for index in 0..60 {
        let (image, mask) = masks.load(index).expect("an image");
        let truth = train.dataset.load_mask(index).expect("a mask");
        assert_eq!(mask.dim(), (image.height() as usize, image.width() as usize));
        for (label, truth) in mask.iter().zip(&truth) {
            assert_eq!(*label == WIDE_IGNORE, *truth == 255);
            if *label != WIDE_IGNORE {
                seen[usize::from(*label)] += 1;
            }
        }
    }
    assert!(seen.iter().filter(|count| **count > 0).count() >= 5, "{seen:?}");

    // Ground truth that overrides gives each region of a base class one label, never background.
    let mut regions = recipe.clone();
    joint(&mut regions).labels.ground_truth = GroundTruth::Regions;
    let other = mine(&root, &regions, &folder.path().join("regions"));
    let base = train.fold.base_classes();
    let (mut checked, mut changed) = (0, false);
    for index in 0..60 {
        let truth = train.dataset.load_mask(index).expect("a mask");
        let (_, plain) = masks.load(index).expect("an image");
        let (_, mask) = other.load(index).expect("an image");
        for &class in &base {
            let labels: Vec<u16> = mask
                .iter()
                .zip(&truth)
                .filter(|(_, truth)| u16::from(**truth) == class)
                .map(|(label, _)| *label)
                .collect();
            if labels.len() >= 40 {
                assert!(labels.iter().all(|label| *label == labels[0] && *label > 0));
                checked += 1;
            }
        }
        changed |= mask != plain;
    }
    assert!(checked > 20 && changed);
}

#[test]
fn novel_classes_are_not_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, recipe) = prepared(folder.path());
    // Paint the novel classes over as background: the masks must stay as they are.
    let hidden = folder.path().join("hidden");
    generate_data(&hidden);
    let train = base_data(&root, &recipe);
    let mut painted = 0;
    for id in &train.dataset.ids {
        let path = hidden.join("SegmentationClass").join(format!("{id}.png"));
        let mut mask = fss_data::io::read_mask(&path).expect("a mask");
        for label in &mut mask {
            if *label != 255 && train.fold.is_novel(u16::from(*label)) {
                *label = 0;
                painted += 1;
            }
        }
        fss_data::io::write_mask(&path, &mask).expect("a mask");
    }
    assert!(painted > 1000);
    // The calibration of the random encoder draws episodes; the images that may be drawn are those
    // with base classes in either case.
    let blind = mine(&hidden, &recipe, &folder.path().join("blind"));
    let masks = PseudoMasks::open(&folder.path().join("masks"), &train.dataset).expect("masks");
    assert_eq!(blind.clusters().centres, masks.clusters().centres);
    assert_eq!(blind.clusters().background, masks.clusters().background);
}

#[test]
fn images_without_annotation_are_labelled_and_trained_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, recipe) = prepared(folder.path());
    let pictures = folder.path().join("more");
    fs::create_dir(&pictures).expect("a folder");
    let train = base_data(&root, &recipe);
    for (index, name) in [(3, "a.jpg"), (4, "b.JPG")] {
        fs::copy(train.dataset.image_path(index), pictures.join(name)).expect("a copy");
    }
    fs::write(pictures.join("readme.txt"), "no image").expect("a file");
    let masks_folder = folder.path().join("masks");
    let masks =
        mine_with(&root, &recipe, &masks_folder, Some(pictures.clone()), &mut Silent, &Stop::new())
            .expect("pseudo masks");
    assert_eq!(masks.len(), 62);
    let (image, mask) = masks.load(60).expect("an image");
    let (listed, with_ignored) = masks.load(3).expect("an image");
    assert_eq!(image, listed);
    let mut differing = 0;
    for (free, known) in mask.iter().zip(&with_ignored) {
        assert!(*free == *known || *known == WIDE_IGNORE);
        differing += usize::from(free != known);
    }
    assert!(differing > 0 && !mask.iter().any(|label| *label == WIDE_IGNORE));
    assert_eq!(read_wide_mask(&masks_folder.join("extra/a.jpg.png")).expect("a mask"), mask);
    assert_eq!(masks.len(), PseudoMasks::open(&masks_folder, &train.dataset).unwrap().len());

    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let error = mine_with(&root, &recipe, &masks_folder, Some(empty), &mut Silent, &Stop::new());
    assert!(error.unwrap_err().to_string().contains("no image"));
}

fn finish(run: &TrainingRun, start: Start) -> Vec<LogEntry> {
    match train::<Mlc>(run, start, &mut Silent, &Stop::new()).expect("a run") {
        TrainOutcome::Finished { .. } => RunLog::read(&run.folder.join(files::LOG)).expect("a log"),
        TrainOutcome::Interrupted { .. } => panic!("nobody asked it to stop"),
    }
}

/// The values of one part of the loss.
fn losses(log: &[LogEntry], name: &str) -> Vec<f64> {
    log.iter()
        .filter_map(|entry| match entry {
            LogEntry::Iteration { terms, .. } => terms.get(name)?.as_f64(),
            _ => None,
        })
        .collect()
}

#[test]
fn both_losses_fall() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, mut recipe) = prepared(folder.path());
    recipe.episodes.total = 600;
    recipe.episodes.snapshot = 600;
    recipe.checkpoint.every = 1_000;
    let run = run(&root, &folder.path().join("run"), recipe);
    let log = finish(&run, Start::Fresh);
    for name in ["query", "pseudo"] {
        let values = losses(&log, name);
        assert_eq!(values.len(), 300);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (early, late) = (mean(&values[..30]), mean(&values[240..]));
        assert!(late < 0.93 * early, "{name}: {early} {late}");
    }
}

fn last(run: &TrainingRun) -> Checkpoint {
    let path = run.checkpoints().latest().expect("a folder").expect("a checkpoint");
    Checkpoint::load(&path).expect("a whole checkpoint")
}

fn backbone_of(checkpoint: &Checkpoint) -> Vec<fss_backbone::NamedTensor> {
    let mut tensors = checkpoint.model.clone();
    tensors.retain(|t| t.key.starts_with("layer"));
    tensors
}

#[test]
fn each_part_can_be_left_out_and_without_all_it_is_the_baseline() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, recipe) = prepared(folder.path());
    let go = |name: &str, recipe: &Recipe| {
        let run = run(&root, &folder.path().join(name), recipe.clone());
        finish(&run, Start::Fresh);
        run
    };
    let pool =
        PoolSettings { images: 8, min_pixels: 1, similarity: -1.0, ..PoolSettings::default() };
    let variant = |mining: bool, background: bool, foreground: bool| {
        let mut recipe = recipe.clone();
        let settings = settings(&mut recipe);
        if !mining {
            settings.mining = Mining::Off;
        }
        if !background {
            settings.rectification.background = BackgroundRectification::Off;
        }
        if foreground {
            settings.rectification.foreground = ForegroundRectification::Pool(pool);
        }
        recipe
    };
    let mut plain = fixture::recipe();
    plain.model = ModelSettings::Mlc(MlcSettings::default());
    plain.train = recipe.train.clone();
    let baseline = go("plain", &plain);
    let off = go("off", &variant(false, false, false));
    let weights = |run: &TrainingRun| fs::read(run.folder.join(files::BEST)).expect("weights");
    let log = |run: &TrainingRun| fs::read(run.folder.join(files::LOG)).expect("a log");
    assert!(weights(&baseline) == weights(&off), "without all parts it is the baseline");
    assert!(log(&baseline) == log(&off));

    let mining = go("mining", &variant(true, false, false));
    let background = go("background", &variant(false, true, false));
    let all = go("all", &variant(true, true, false));
    let backbones = [&baseline, &mining, &background, &all].map(|run| backbone_of(&last(run)));
    for (i, one) in backbones.iter().enumerate() {
        for other in &backbones[..i] {
            assert!(one != other, "run {i} learned the same as another");
        }
    }
    // The foreground's rectification takes no part in training, but in testing.
    let foreground = go("foreground", &variant(false, false, true));
    let losses_of = |run: &TrainingRun| {
        losses(&RunLog::read(&run.folder.join(files::LOG)).expect("a log"), "query")
    };
    assert_eq!(losses_of(&foreground), losses_of(&baseline));
    assert_eq!(backbone_of(&last(&foreground)), backbones[0]);
    let scores = |run: &TrainingRun| {
        fs::read_to_string(run.folder.join(files::EVALUATION)).expect("an evaluation")
    };
    assert_ne!(scores(&foreground), scores(&baseline));
    assert_ne!(scores(&background), scores(&baseline));

    // Keys: the baseline's, and what inference needs of the rest.
    let keys = |run: &TrainingRun, prefix: &str| {
        fss_backbone::read_tensors(&run.folder.join(files::BEST), prefix).expect("a file").len()
    };
    assert_eq!((keys(&baseline, "rectification."), keys(&baseline, "decoder.")), (0, 0));
    assert_eq!((keys(&mining, "rectification."), keys(&mining, "decoder.")), (0, 0));
    assert_eq!((keys(&all, "rectification."), keys(&all, "decoder.")), (2, 0));
    let total = |run: &TrainingRun| {
        let file = run.folder.join(files::BEST);
        fss_backbone::inspect_weights(&file).expect("a file").tensors.len()
    };
    assert_eq!(total(&all), total(&baseline) + 2);
    let mut kept = variant(true, true, false);
    joint(&mut kept).export = DecoderExport::Keep;
    assert_eq!(keys(&go("kept", &kept), "decoder."), 7);
}

#[test]
fn joint_training_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, recipe) = prepared(folder.path());
    let straight = run(&root, &folder.path().join("straight"), recipe.clone());
    finish(&straight, Start::Fresh);
    for (iteration, in_validation) in [(2, false), (3, true), (4, false)] {
        let what = format!("stopped at {iteration}");
        let mut stopped = run(&root, &folder.path().join(&what), recipe.clone());
        stopped.loader = LoaderOptions { threads: 1, prefetch: 1 };
        let stop = Stop::new();
        let mut observer = StopAfter { iteration, in_validation, stop: stop.clone(), seen: 0 };
        let outcome = train::<Mlc>(&stopped, Start::Fresh, &mut observer, &stop).expect("a run");
        assert!(matches!(outcome, TrainOutcome::Interrupted { .. }));
        finish(&stopped, Start::Resume);
        for name in [files::BEST, files::EVALUATION, files::LOG] {
            let read = |run: &TrainingRun| fs::read(run.folder.join(name)).expect(name);
            assert!(read(&straight) == read(&stopped), "{what}: {name} differs");
        }
        let (a, b) = (last(&straight), last(&stopped));
        assert_eq!(a.progress, b.progress, "{what}");
        assert!(a.model == b.model && a.optimizer == b.optimizer, "{what}");
        let decoder = |key: &str| a.model.iter().any(|t| t.key == key);
        assert!(decoder("decoder.norm.running_var") && decoder("rectification.background"));
        assert!(a.optimizer.iter().any(|t| t.key == "velocity.decoder.reduce"));
    }

    // Other pseudo masks than at the start are refused.
    let mut other = recipe.clone();
    joint(&mut other).labels.region = Region::Connected;
    fs::remove_dir_all(folder.path().join("masks")).expect("a removal");
    mine(&root, &other, &folder.path().join("masks"));
    let error = train::<Mlc>(&straight, Start::Resume, &mut Silent, &Stop::new());
    let message = error.expect_err("an error").to_string();
    assert!(message.contains("not those that the run was started with"), "{message}");
}

#[test]
fn the_decoder_learns_at_its_own_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, mut recipe) = prepared(folder.path());
    joint(&mut recipe).rate_factor = 0.0;
    let still = run(&root, &folder.path().join("still"), recipe);
    finish(&still, Start::Fresh);
    let first = Checkpoint::load(&still.checkpoints().path(1)).expect("a checkpoint");
    let find = |checkpoint: &Checkpoint, key: &str| {
        checkpoint.model.iter().find(|t| t.key == key).expect(key).values.clone()
    };
    for (key, moves) in [
        ("decoder.reduce.weight", false),
        ("decoder.classify.bias", false),
        ("decoder.norm.running_mean", true),
        ("layer3.1.conv1.weight", true),
    ] {
        assert_eq!(find(&first, key) != find(&last(&still), key), moves, "{key}");
    }
}

#[test]
fn masks_of_another_fold_encoder_or_number_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, recipe) = prepared(folder.path());
    let refused = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipe.clone();
        change(&mut recipe);
        let run = run(&root, &folder.path().join("run"), recipe);
        let error = train::<Mlc>(&run, Start::Fresh, &mut Silent, &Stop::new());
        error.expect_err("a refusal").to_string()
    };
    let message = refused(&|r| r.data.fold = 2);
    assert!(message.contains("fold") && message.contains("fss mine"), "{message}");
    let message = refused(&|r| joint(r).labels.clusters = 7);
    assert!(message.contains("clusters: 7 | 6"), "{message}");
    let message = refused(&|r| {
        if let fss_train::recipe::Init::Scratch { seed, .. } = &mut r.init {
            *seed = 5;
        }
    });
    assert!(message.contains("encoder") && message.contains("model.mining.encoder"), "{message}");
    let nowhere = refused(&|r| joint(r).masks = "/nowhere/masks".into());
    assert!(nowhere.contains("/nowhere/masks") && nowhere.contains("fss mine"), "{nowhere}");

    // Another encoder may be meant.
    let mut any = recipe.clone();
    joint(&mut any).encoder = EncoderCheck::Any;
    any.init = fss_train::recipe::Init::Scratch { seed: 5, calibration_episodes: 3 };
    finish(&run(&root, &folder.path().join("any"), any), Start::Fresh);

    // A folder with something else in it is not filled up.
    let mut other = recipe.clone();
    joint(&mut other).labels.seed = 1;
    let masks = folder.path().join("masks");
    let error = mine_with(&root, &other, &masks, None, &mut Silent, &Stop::new());
    let message = error.unwrap_err().to_string();
    assert!(message.contains("seed: 1 | 0") && message.contains("another folder"), "{message}");
    joint(&mut other).labels.clusters = 10_000;
    let error =
        mine_with(&root, &other, &folder.path().join("many"), None, &mut Silent, &Stop::new());
    assert!(error.unwrap_err().to_string().contains("10000 clusters"));

    // A mask that is lost or was exchanged is named when it is needed.
    let train = base_data(&root, &recipe);
    let opened = PseudoMasks::open(&masks, &train.dataset).expect("pseudo masks");
    let lost = masks.join("masks").join(format!("{}.png", train.dataset.ids[7]));
    fs::remove_file(&lost).expect("a removal");
    let message = opened.load(7).unwrap_err().to_string();
    assert!(message.contains(&train.dataset.ids[7]), "{message}");
    let mut baseline = recipe.clone();
    settings(&mut baseline).mining = Mining::Off;
    let error =
        mine_with(&root, &baseline, &folder.path().join("none"), None, &mut Silent, &Stop::new());
    assert!(error.unwrap_err().to_string().contains("mlc-full-pascal"));
}
