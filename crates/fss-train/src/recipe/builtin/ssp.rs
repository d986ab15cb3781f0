//! Recipes of SSP.

use fss_backbone::{DeepStemResNetConfig, Depth, Layer3, NormTraining, Stage};
use fss_data::episode::MIN_OBJECT_PIXELS;
use fss_data::folds::FoldScheme;
use fss_data::{Benchmark, Split};
use fss_heads::Refine;

use crate::Precision;
use crate::evaluate::{HsnetProtocol, Protocol};
use crate::optim::Rule;
use crate::recipe::*;
use crate::schedule::Schedule;

pub(super) fn ssp_pascal() -> Recipe {
    Recipe {
        name: "ssp-pascal".into(),
        model: ModelSettings::Ssp(SspSettings { refine: Refine::On }),
        backbone: DeepStemResNetConfig::new(Depth::R50).into(),
        init: Init::Weights { path: "pretrained/resnet50.pth".into() },
        data: DataSettings {
            dataset: Benchmark::Pascal,
            folds: FoldScheme::Contiguous,
            fold: 0,
            train_split: Split::Train,
            val_split: Split::Val,
            test_split: None,
            min_pixels: MIN_OBJECT_PIXELS,
            splits: None,
            own: Default::default(),
        },
        episodes: EpisodeSettings {
            shot: 1,
            batch: 4,
            total: 24_000,
            snapshot: 1_200,
            crop: 473,
            seed: 0,
            sampling: Sampling::Official { workers: 4 },
        },
        optim: OptimSettings { lr: 1e-3, rule: Rule::sgd(0.9, 5e-4), schedule: Schedule::thirds() },
        train: TrainSettings {
            frozen: vec![Stage::Stem, Stage::Layer1],
            norms: NormTraining::Frozen,
            precision: Precision::Full,
        },
        validation: ValidationSettings {
            protocol: Protocol::Official,
            seed: 0,
            episodes: 1_000,
            selection: SelectionRule::BestLatest,
        },
        evaluation: EvaluationSettings {
            protocol: Protocol::Official,
            seeds: (0..5).collect(),
            episodes: 1_000,
        },
        checkpoint: CheckpointSettings::default(),
    }
}

pub(super) fn ssp_synthetic() -> Recipe {
    let paper = ssp_pascal();
    Recipe {
        name: "ssp-synthetic".into(),
        backbone: DeepStemResNetConfig::new(Depth::R18)
            .with_width(16)
            .with_layer3(Layer3::Dilated)
            .into(),
        init: Init::Scratch { seed: 0, calibration_episodes: 8 },
        data: DataSettings { min_pixels: 160, ..paper.data },
        episodes: EpisodeSettings { total: 3_000, snapshot: 1_000, crop: 97, ..paper.episodes },
        optim: OptimSettings { lr: 5e-2, ..paper.optim },
        train: TrainSettings {
            frozen: vec![],
            norms: NormTraining::ScaleShift,
            precision: Precision::Full,
        },
        validation: ValidationSettings { episodes: 60, ..paper.validation },
        evaluation: EvaluationSettings { episodes: 100, ..paper.evaluation },
        ..paper
    }
}

pub(super) fn ssp_coco() -> Recipe {
    on_coco(ssp_pascal(), "ssp-coco")
}

/// A recipe of PASCAL-5i on COCO-20i, as SSP and MLC do it.
pub(super) fn on_coco(pascal: Recipe, name: &str) -> Recipe {
    Recipe {
        name: name.into(),
        data: DataSettings {
            dataset: Benchmark::Coco,
            folds: FoldScheme::Contiguous,
            ..pascal.data
        },
        validation: ValidationSettings { episodes: 4_000, ..pascal.validation },
        evaluation: EvaluationSettings { episodes: 4_000, ..pascal.evaluation },
        ..pascal
    }
}

pub(super) fn ssp_coco_synthetic() -> Recipe {
    let small = ssp_synthetic();
    Recipe {
        name: "ssp-coco-synthetic".into(),
        data: DataSettings { dataset: Benchmark::Coco, ..small.data },
        episodes: EpisodeSettings { total: 4_000, ..small.episodes },
        optim: OptimSettings { lr: 2e-2, ..small.optim },
        ..small
    }
}

/// A recipe of PASCAL-5i on FSS-1000. Validation has a list of its own, so nothing is selected on
/// the test categories.
pub(super) fn on_fss1000(pascal: Recipe, name: &str, protocol: Protocol) -> Recipe {
    Recipe {
        name: name.into(),
        data: DataSettings {
            dataset: Benchmark::Fss1000,
            folds: FoldScheme::Listed,
            test_split: Some(Split::Test),
            min_pixels: 1,
            ..pascal.data
        },
        episodes: EpisodeSettings { sampling: Sampling::Seeded, ..pascal.episodes },
        // The protocol goes through the images in order: fewer episodes would leave categories out.
        validation: ValidationSettings {
            protocol,
            episodes: protocol.episodes(Benchmark::Fss1000),
            ..pascal.validation
        },
        evaluation: EvaluationSettings {
            protocol,
            seeds: protocol.seeds(),
            episodes: protocol.episodes(Benchmark::Fss1000),
        },
        ..pascal
    }
}

pub(super) fn ssp_fss1000() -> Recipe {
    on_fss1000(ssp_pascal(), "ssp-fss1000", Protocol::hsnet())
}

/// The images are about as large as the side.
pub(super) fn ssp_fss1000_synthetic() -> Recipe {
    let small = ssp_synthetic();
    let protocol = Protocol::Hsnet(HsnetProtocol { side: 112, ..HsnetProtocol::default() });
    let recipe = on_fss1000(small.clone(), "ssp-fss1000-synthetic", protocol);
    Recipe {
        optim: OptimSettings { lr: 2e-2, ..small.optim },
        validation: ValidationSettings { episodes: 150, ..recipe.validation },
        evaluation: EvaluationSettings { episodes: 250, ..recipe.evaluation },
        ..recipe
    }
}
