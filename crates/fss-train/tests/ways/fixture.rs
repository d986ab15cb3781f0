//! A data set and recipes that a test can train in seconds.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::OnceLock;

use burn::tensor::Device;
use fss_data::synthetic::{SyntheticConfig, generate};
use fss_train::evaluate::{FeatureReuse, Spill};
use fss_train::ways::{WaysData, WaysInit, WaysRecipe, WaysRun, WaysTest};

/// Side of the images, in pixels.
pub const SIDE: usize = 33;

/// Data that all tests share.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = ROOT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let config = SyntheticConfig {
            train_images: 60,
            val_images: 60,
            side: [40, 48],
            object_percent: [50, 70],
            objects: [1, 2],
            ..SyntheticConfig::default()
        };
        generate(&folder.path().join("data"), &config, |_| ControlFlow::Continue(()))
            .expect("data");
        folder
    });
    Box::leak(folder.path().join("data").into_boxed_path())
}

/// Five steps with a validation after the third and the last, for a network two channels wide.
pub fn recipe(name: &str) -> WaysRecipe {
    let mut recipe = WaysRecipe::builtin(&format!("{name}-synthetic")).expect("a recipe");
    recipe.backbone = recipe.backbone.with_width(2);
    recipe.init = WaysInit::Scratch { seed: 3, calibration_images: 2 };
    recipe.episodes.batch = 2;
    // 3 batches a pass, the last one smaller.
    recipe.episodes.list = 15;
    recipe.episodes.steps = 5;
    recipe.episodes.side = SIDE;
    recipe.validation.every = 3;
    recipe.validation.test = WaysTest { episodes: 5, batch: 2, ..WaysTest::default() };
    recipe.evaluation.test = WaysTest { episodes: 5, batch: 3, ..WaysTest::default() };
    recipe.checkpoint.every = 1;
    recipe.checkpoint.keep = 100;
    recipe
}

/// A run of `recipe` with results in `folder`.
pub fn run(recipe: WaysRecipe, folder: &Path) -> WaysRun {
    let data = WaysData::open(root(), &recipe.data).expect("data");
    let reuse = FeatureReuse::On { budget_bytes: 1 << 20, spill: Spill::Recompute };
    let (folder, device) = (folder.to_path_buf(), Device::flex());
    WaysRun { recipe, data, folder, device, loader: Default::default(), reuse }
}
