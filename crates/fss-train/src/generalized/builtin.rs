//! Recipes that come with the library.

use std::path::PathBuf;

use fss_backbone::{Depth, DilatedResNetConfig};
use fss_data::folds::FoldScheme;
use fss_data::gfss::{BaseDraw, MIN_PIXELS, NovelOrder, WorkerOffsets};
use fss_data::own::OwnOptions;
use fss_data::{Benchmark, Split};

use super::recipe::{
    GfssDataSettings, GfssInit, GfssMethod, GfssModelSettings, GfssOptim, GfssRecipe,
    GfssTrainSettings, Keep, SampleSettings, Stage,
};
use crate::Precision;
use crate::TrainError;
use crate::recipe::CheckpointSettings;
use crate::schedule::Schedule;

/// The names that [`GfssRecipe::builtin`] knows.
pub const GFSS_BUILTIN_NAMES: [&str; 8] = [
    "pop-coco-base",
    "pop-coco-novel",
    "pop-pascal-base",
    "pop-pascal-novel",
    "pop-synthetic-base",
    "pop-synthetic-novel",
    "pspnet-coco-base",
    "pspnet-pascal-base",
];

/// Where stage 2 looks for the weights of stage 1 unless told otherwise.
const STAGE_1: &str = "base/best.safetensors";
/// The usual name of the ImageNet file.
const IMAGENET: &str = "resnet50_v2.pth";

impl GfssRecipe {
    /// A recipe by name.
    ///
    /// - `pop-pascal-base`, `pop-coco-base`: stage 1 with ResNet-50 as published, fold 0. They start from
    ///   ImageNet weights of the deep-stem ResNet (`init.path`). COCO's batch of 16 is that of four devices
    ///   together.
    /// - `pop-pascal-novel`, `pop-coco-novel`: stage 2 as published, 1-shot, fold 0, seeds 123 and 234.
    ///   They start from the weights of stage 1 (`init.path`).
    /// - `pspnet-pascal-base`, `pspnet-coco-base`: the baseline.
    /// - `pop-synthetic-base`, `pop-synthetic-novel`: a small POP that learns from scratch on generated data
    ///   within minutes.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] for an unknown name; it lists the known ones.
    pub fn builtin(name: &str) -> Result<Self, TrainError> {
        let named = |recipe: Self| Self { name: name.to_owned(), ..recipe };
        Ok(named(match name {
            "pop-pascal-base" => base(),
            "pop-pascal-novel" => novel(base()),
            "pop-coco-base" => coco(base()),
            "pop-coco-novel" => novel(coco(base())),
            "pspnet-pascal-base" => baseline(base()),
            "pspnet-coco-base" => baseline(coco(base())),
            "pop-synthetic-base" => synthetic(base()),
            "pop-synthetic-novel" => synthetic_novel(novel(synthetic(base()))),
            _ => {
                return Err(TrainError::Recipe {
                    origin: name.to_owned(),
                    problem: "there is no built-in recipe of this name".to_owned(),
                    remedy: format!("use one of {}, or a TOML file", GFSS_BUILTIN_NAMES.join(", ")),
                });
            }
        }))
    }
}

/// Stage 1 on PASCAL-5i.
fn base() -> GfssRecipe {
    GfssRecipe {
        name: String::new(),
        stage: Stage::Base,
        model: GfssModelSettings { kind: GfssMethod::Pop },
        backbone: DilatedResNetConfig::new(Depth::R50),
        init: GfssInit::Weights { path: PathBuf::from(IMAGENET) },
        data: GfssDataSettings {
            dataset: Benchmark::Pascal,
            folds: FoldScheme::Contiguous,
            fold: 0,
            train_split: Split::Train,
            val_split: Split::Val,
            min_pixels: MIN_PIXELS,
            filter_novel: false,
            novel_order: NovelOrder::Ascending,
            shot: 1,
            base_draw: BaseDraw::Distinct,
            lists: None,
            own: OwnOptions::default(),
        },
        samples: SampleSettings {
            batch: 8,
            epochs: 50,
            crop: 473,
            side: 473,
            scales: [0.9, 1.1],
            workers: 4,
            offsets: WorkerOffsets::Independent,
            seeds: vec![123],
        },
        optim: GfssOptim {
            lr: 1e-3,
            head_factor: 10.0,
            schedule: Schedule::Poly { power: 0.9 },
            momentum: 0.9,
            weight_decay: 1e-4,
            clip: 5.0,
        },
        train: GfssTrainSettings {
            freeze_backbone: false,
            precision: Precision::Full,
            update_base: 0,
            keep: Keep::Best,
            early_stop: false,
        },
        checkpoint: CheckpointSettings { every: 500, keep: 1 },
    }
}

/// The same on COCO-20i.
fn coco(recipe: GfssRecipe) -> GfssRecipe {
    GfssRecipe {
        data: GfssDataSettings {
            dataset: Benchmark::Coco,
            folds: FoldScheme::Interleaved,
            base_draw: BaseDraw::Replacement,
            ..recipe.data
        },
        samples: SampleSettings { batch: 16, scales: [0.8, 1.25], ..recipe.samples },
        train: GfssTrainSettings { precision: Precision::Mixed, ..recipe.train },
        ..recipe
    }
}

/// The second stage of a first one.
fn novel(recipe: GfssRecipe) -> GfssRecipe {
    GfssRecipe {
        stage: Stage::Novel,
        init: GfssInit::Weights { path: PathBuf::from(STAGE_1) },
        samples: SampleSettings { batch: 1, epochs: 500, seeds: vec![123, 234], ..recipe.samples },
        optim: GfssOptim { schedule: Schedule::Constant, ..recipe.optim },
        train: GfssTrainSettings {
            freeze_backbone: true,
            update_base: 1,
            early_stop: true,
            ..recipe.train
        },
        ..recipe
    }
}

fn baseline(recipe: GfssRecipe) -> GfssRecipe {
    GfssRecipe { model: GfssModelSettings { kind: GfssMethod::Pspnet }, ..recipe }
}

/// A narrow network on small generated images.
fn synthetic(recipe: GfssRecipe) -> GfssRecipe {
    GfssRecipe {
        backbone: DilatedResNetConfig::new(Depth::R50).with_width(8),
        init: GfssInit::Scratch,
        data: GfssDataSettings { min_pixels: 300, shot: 5, ..recipe.data },
        samples: SampleSettings {
            batch: 8,
            epochs: 20,
            crop: 97,
            side: 97,
            workers: 1,
            ..recipe.samples
        },
        optim: GfssOptim { lr: 2e-2, head_factor: 1.0, ..recipe.optim },
        checkpoint: CheckpointSettings { every: 100, keep: 1 },
        ..recipe
    }
}

fn synthetic_novel(recipe: GfssRecipe) -> GfssRecipe {
    GfssRecipe {
        samples: SampleSettings { epochs: 8, seeds: vec![123], ..recipe.samples },
        optim: GfssOptim { lr: 1e-2, ..recipe.optim },
        ..recipe
    }
}
