//! A data set and a recipe that a test can train in a second.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use fss_backbone::{DeepStemResNetConfig, Depth};
use fss_data::loader::LoaderOptions;
use fss_data::synthetic::{SyntheticConfig, generate};
use fss_heads::Ssp;
use fss_train::evaluate::{FeatureReuse, Spill};
use fss_train::observer::{EvaluationObserver, IterationReport, TrainObserver};
use fss_train::recipe::{Init, Recipe};
use fss_train::trainer::TrainingRun;
use fss_train::{EpisodeData, RunData, Stop};

/// Six iterations with a validation after the third and the sixth.
pub fn recipe() -> Recipe {
    let mut recipe = Recipe::builtin("ssp-synthetic").expect("a built-in recipe");
    recipe.backbone = DeepStemResNetConfig::new(Depth::R18).with_width(4).into();
    recipe.init = Init::Scratch { seed: 1, calibration_episodes: 3 };
    recipe.data.min_pixels = 40;
    recipe.episodes.batch = 2;
    recipe.episodes.total = 12;
    recipe.episodes.snapshot = 6;
    recipe.episodes.crop = 49;
    recipe.validation.episodes = 6;
    recipe.evaluation.seeds = vec![0, 1];
    recipe.evaluation.episodes = 5;
    recipe.checkpoint.every = 1;
    recipe.checkpoint.keep = 100;
    recipe
}

/// Generates the data set below `root`.
pub fn generate_data(root: &Path) {
    let config = SyntheticConfig {
        train_images: 60,
        val_images: 60,
        side: [56, 72],
        ..SyntheticConfig::default()
    };
    generate(root, &config, |_| ControlFlow::Continue(())).expect("a data set");
}

/// A run of `recipe` on the data below `root`, with results in `folder`.
pub fn run(root: &Path, folder: &Path, recipe: Recipe) -> TrainingRun {
    let data = RunData::open(root, &recipe.data).expect("data");
    TrainingRun {
        recipe,
        train: data.train,
        novel: data.validation,
        test: data.test,
        folder: folder.to_path_buf(),
        device: Device::flex(),
        more_devices: Vec::new(),
        loader: LoaderOptions { threads: 2, prefetch: 4 },
        reuse: FeatureReuse::On { budget_bytes: 1 << 20, spill: Spill::Recompute },
        cams: Default::default(),
    }
}

/// The novel-class data and a random model.
pub fn novel_data(root: &Path) -> (EpisodeData, Ssp) {
    let recipe = recipe();
    let novel = RunData::open(root, &recipe.data).expect("data").test;
    let network = recipe.deep_stem().expect("a deep stem");
    let backbone = network.init(&Device::flex(), 3);
    (novel, fss_heads::SspConfig::new(network).init_with(backbone))
}

/// Requests a stop after an iteration, or in the validation that follows it.
pub struct StopAfter {
    pub iteration: u64,
    pub in_validation: bool,
    pub stop: Stop,
    pub seen: u64,
}

impl EvaluationObserver for StopAfter {
    fn seed_started(&mut self, _seed: u64, _episodes: usize) {
        if self.in_validation && self.seen == self.iteration {
            self.stop.request();
        }
    }
}

impl TrainObserver for StopAfter {
    fn iteration_finished(&mut self, report: &IterationReport) {
        self.seen = report.iteration;
        if !self.in_validation && self.seen == self.iteration {
            self.stop.request();
        }
    }
}
