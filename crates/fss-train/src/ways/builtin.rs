//! Recipes that come with the library.

use std::path::PathBuf;

use fss_backbone::{ImagenetConfig, ImagenetNetwork};
use fss_data::Benchmark;
use fss_data::folds::FoldScheme;
use fss_data::own::OwnOptions;
use fss_data::ways::{COCO_SHARE, PASCAL_SHARE, SEED};

use super::protocol::WaysTest;
use super::recipe::{
    WaysDataSettings, WaysEpisodes, WaysEvaluationSettings, WaysInit, WaysMethod,
    WaysModelSettings, WaysRecipe, WaysTrainSettings, WaysValidationSettings,
};
use crate::TrainError;
use crate::optim::Rule;
use crate::recipe::{CheckpointSettings, OptimSettings, SelectionRule};
use crate::schedule::Schedule;

/// The names that [`WaysRecipe::builtin`] knows.
pub const WAYS_BUILTIN_NAMES: [&str; 12] = [
    "amp-coco",
    "amp-pascal",
    "amp-synthetic",
    "canet-coco",
    "canet-pascal",
    "canet-synthetic",
    "denet-coco",
    "denet-pascal",
    "denet-synthetic",
    "pgnet-coco",
    "pgnet-pascal",
    "pgnet-synthetic",
];

/// The usual names of torchvision's files.
const RESNET50: &str = "resnet50-19c8e357.pth";
const VGG16: &str = "vgg16-397923af.pth";

impl WaysRecipe {
    /// A recipe by name.
    ///
    /// - `<model>-pascal`, `<model>-coco` for denet, amp, canet and pgnet: as published, fold 0, with
    ///   ResNet-50 (AMP: VGG-16) from torchvision's ImageNet weights (`init.path`).
    /// - `<model>-synthetic`: a small model that learns from scratch on generated data within minutes.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] for an unknown name; it lists the known ones.
    pub fn builtin(name: &str) -> Result<Self, TrainError> {
        let named = |recipe: Self| Ok(Self { name: name.to_owned(), ..recipe });
        named(match name {
            "denet-pascal" => pascal(WaysMethod::Denet),
            "canet-pascal" => pascal(WaysMethod::Canet),
            "pgnet-pascal" => pascal(WaysMethod::Pgnet),
            "amp-pascal" => amp(pascal(WaysMethod::Amp)),
            "denet-coco" => {
                let recipe = coco(pascal(WaysMethod::Denet));
                // The published configurations of COCO-20i train longer.
                let episodes = WaysEpisodes { steps: 200_000, ..recipe.episodes };
                Self { episodes, ..recipe }
            }
            "canet-coco" => coco(pascal(WaysMethod::Canet)),
            "pgnet-coco" => coco(pascal(WaysMethod::Pgnet)),
            "amp-coco" => coco(amp(pascal(WaysMethod::Amp))),
            "denet-synthetic" => synthetic(pascal(WaysMethod::Denet)),
            "amp-synthetic" => amp_synthetic(synthetic(amp(pascal(WaysMethod::Amp)))),
            "canet-synthetic" => synthetic(pascal(WaysMethod::Canet)),
            "pgnet-synthetic" => synthetic(pascal(WaysMethod::Pgnet)),
            _ => {
                return Err(TrainError::Recipe {
                    origin: name.to_owned(),
                    problem: "there is no built-in recipe of this name".to_owned(),
                    remedy: format!("use one of {}, or a TOML file", WAYS_BUILTIN_NAMES.join(", ")),
                });
            }
        })
    }
}

fn pascal(kind: WaysMethod) -> WaysRecipe {
    WaysRecipe {
        name: String::new(),
        model: WaysModelSettings {
            kind,
            seed: 0,
            lambda: 1.0,
            refinements: fss_heads::canet::REFINEMENTS,
            dropout: true,
        },
        backbone: ImagenetConfig::new(ImagenetNetwork::Resnet50),
        init: WaysInit::Weights { path: PathBuf::from(RESNET50) },
        data: WaysDataSettings {
            dataset: Benchmark::Pascal,
            folds: FoldScheme::Contiguous,
            fold: 0,
            share: PASCAL_SHARE,
            ignore_border: false,
            own: OwnOptions::default(),
        },
        episodes: WaysEpisodes {
            shot: 1,
            batch: 8,
            list: 15_000,
            seed: SEED,
            order_seed: 0,
            steps: 150_000,
            side: 321,
            mirrored: true,
        },
        optim: OptimSettings {
            lr: 0.0025,
            rule: Rule::sgd(0.9, 5e-4),
            schedule: Schedule::Constant,
        },
        train: WaysTrainSettings::default(),
        validation: WaysValidationSettings {
            every: 500,
            test: WaysTest { batch: 16, ..WaysTest::default() },
            selection: SelectionRule::BestEarliest,
        },
        evaluation: WaysEvaluationSettings { seeds: vec![SEED], test: WaysTest::default() },
        checkpoint: CheckpointSettings { every: 500, keep: 1 },
    }
}

fn coco(recipe: WaysRecipe) -> WaysRecipe {
    WaysRecipe {
        data: WaysDataSettings {
            dataset: Benchmark::Coco,
            folds: FoldScheme::Interleaved,
            share: COCO_SHARE,
            ..recipe.data
        },
        episodes: WaysEpisodes { list: 60_000, ..recipe.episodes },
        ..recipe
    }
}

fn amp(recipe: WaysRecipe) -> WaysRecipe {
    WaysRecipe {
        backbone: ImagenetConfig::new(ImagenetNetwork::Vgg16),
        init: WaysInit::Weights { path: PathBuf::from(VGG16) },
        optim: OptimSettings {
            lr: 1e-6,
            rule: Rule::RmsProp { alpha: 0.99, epsilon: 1e-8, weight_decay: 5e-4 },
            schedule: Schedule::Constant,
        },
        ..recipe
    }
}

/// A narrow network on small generated images.
fn synthetic(recipe: WaysRecipe) -> WaysRecipe {
    let test = WaysTest { episodes: 100, ..WaysTest::default() };
    WaysRecipe {
        backbone: recipe.backbone.with_width(16),
        init: WaysInit::Scratch { seed: 0, calibration_images: 32 },
        episodes: WaysEpisodes { list: 1500, steps: 600, side: 97, ..recipe.episodes },
        validation: WaysValidationSettings { every: 200, test: test.clone(), ..recipe.validation },
        evaluation: WaysEvaluationSettings { test, ..recipe.evaluation },
        checkpoint: CheckpointSettings { every: 100, keep: 1 },
        ..recipe
    }
}

/// Random features need a higher rate than those of ImageNet.
fn amp_synthetic(recipe: WaysRecipe) -> WaysRecipe {
    WaysRecipe { optim: OptimSettings { lr: 1e-3, ..recipe.optim }, ..recipe }
}
