//! Recipes of HSNet and IMR.

use fss_backbone::{NormTraining, TapBackboneConfig, TapNetwork};
use fss_data::Benchmark;
use fss_data::folds::FoldScheme;

use super::ssp::{on_fss1000, ssp_pascal};
use crate::Precision;
use crate::evaluate::{HsnetProtocol, Protocol};
use crate::optim::Rule;
use crate::recipe::*;
use crate::schedule::Schedule;

/// Epochs in PASCAL-5i and FSS-1000.
const EPOCHS: usize = 100;

/// Epochs in COCO-20i, which are several times as long.
const COCO_EPOCHS: usize = 50;

/// Adam as PyTorch has it by default, which HSNet and IMR use.
fn adam(lr: f64) -> OptimSettings {
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    OptimSettings { lr, rule, schedule: Schedule::Constant }
}

pub(super) fn hsnet_pascal() -> Recipe {
    let ssp = ssp_pascal();
    let protocol = Protocol::hsnet();
    let episodes = protocol.episodes(Benchmark::Pascal);
    Recipe {
        name: "hsnet-pascal".into(),
        model: ModelSettings::Hsnet(HsnetSettings::default()),
        backbone: TapBackboneConfig::new(TapNetwork::Resnet50).into(),
        // The 11,394 pairs of fold 0, rounded up to whole batches of 20 (and of 40).
        episodes: EpisodeSettings {
            shot: 1,
            batch: 20,
            total: EPOCHS * 11_400,
            snapshot: 11_400,
            crop: 400,
            seed: 0,
            sampling: Sampling::Hsnet,
        },
        optim: adam(1e-3),
        train: TrainSettings {
            frozen: vec![],
            norms: NormTraining::Frozen,
            precision: Precision::Full,
        },
        validation: ValidationSettings {
            protocol,
            seed: 0,
            episodes,
            selection: SelectionRule::BestEarliest,
        },
        evaluation: EvaluationSettings { protocol, seeds: protocol.seeds(), episodes },
        // A checkpoint holds the backbone, too.
        checkpoint: CheckpointSettings { every: 500, ..CheckpointSettings::default() },
        ..ssp
    }
}

pub(super) fn hsnet_coco() -> Recipe {
    let pascal = hsnet_pascal();
    Recipe {
        name: "hsnet-coco".into(),
        data: DataSettings {
            dataset: Benchmark::Coco,
            folds: FoldScheme::Interleaved,
            min_pixels: Protocol::hsnet().min_pixels(Benchmark::Coco),
            ..pascal.data
        },
        // As many episodes an epoch as fold 0 has training images.
        episodes: EpisodeSettings {
            batch: 40,
            total: COCO_EPOCHS * 62_040,
            snapshot: 62_040,
            ..pascal.episodes
        },
        ..pascal
    }
}

pub(super) fn hsnet_fss1000() -> Recipe {
    let pascal = hsnet_pascal();
    let recipe = on_fss1000(pascal.clone(), "hsnet-fss1000", Protocol::hsnet());
    Recipe {
        episodes: EpisodeSettings { total: EPOCHS * 5_200, snapshot: 5_200, ..pascal.episodes },
        ..recipe
    }
}

/// The images are about as large as the side.
pub(super) fn hsnet_synthetic() -> Recipe {
    let paper = hsnet_pascal();
    let side = 96;
    let protocol = Protocol::Hsnet(HsnetProtocol { side, ..HsnetProtocol::default() });
    Recipe {
        name: "hsnet-synthetic".into(),
        backbone: TapBackboneConfig::new(TapNetwork::Resnet50).with_width(8).into(),
        init: Init::Scratch { seed: 0, calibration_episodes: 8 },
        data: DataSettings { min_pixels: 160, ..paper.data },
        episodes: EpisodeSettings {
            batch: 4,
            total: 3_000,
            snapshot: 1_000,
            crop: side,
            ..paper.episodes
        },
        validation: ValidationSettings { protocol, episodes: 60, ..paper.validation },
        evaluation: EvaluationSettings { protocol, episodes: 100, ..paper.evaluation },
        checkpoint: CheckpointSettings::default(),
        ..paper
    }
}

/// A recipe of HSNet for IMR, which was built on it.
fn imr(hsnet: Recipe, name: &str, stages: usize) -> Recipe {
    Recipe {
        name: name.into(),
        model: ModelSettings::Imr(ImrSettings { stages, ..ImrSettings::default() }),
        ..hsnet
    }
}

pub(super) fn imr_pascal() -> Recipe {
    let recipe = imr(hsnet_pascal(), "imr-pascal", 2);
    Recipe {
        episodes: EpisodeSettings { batch: 40, ..recipe.episodes },
        optim: adam(4e-4),
        ..recipe
    }
}

pub(super) fn imr_coco() -> Recipe {
    let recipe = imr(hsnet_coco(), "imr-coco", 3);
    Recipe {
        episodes: EpisodeSettings { batch: 20, ..recipe.episodes },
        optim: adam(2e-4),
        ..recipe
    }
}

/// A step takes several times as long as HSNet's, and starts from maps that are half right.
pub(super) fn imr_synthetic() -> Recipe {
    let recipe = imr(hsnet_synthetic(), "imr-synthetic", 2);
    Recipe { episodes: EpisodeSettings { total: 800, snapshot: 400, ..recipe.episodes }, ..recipe }
}
