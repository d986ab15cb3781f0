//! MLC's full method: pseudo masks, joint training, rectification, and every part of it left out.

mod joint;

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
