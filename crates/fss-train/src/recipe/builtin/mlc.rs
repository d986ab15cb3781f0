//! Recipes of MLC.

use fss_backbone::NormTraining;

use super::ssp::{on_coco, ssp_pascal, ssp_synthetic};
use crate::Precision;
use crate::mining::LabelOptions;
use crate::recipe::*;

/// What MLC's code trains by is what SSP's does, which was built on it; but nothing is frozen other
/// than the norms.
pub(super) fn mlc_pascal() -> Recipe {
    let ssp = ssp_pascal();
    Recipe {
        name: "mlc-pascal".into(),
        model: ModelSettings::Mlc(MlcSettings::default()),
        train: TrainSettings {
            frozen: vec![],
            norms: NormTraining::Frozen,
            precision: Precision::Full,
        },
        ..ssp
    }
}

pub(super) fn mlc_coco() -> Recipe {
    on_coco(mlc_pascal(), "mlc-coco")
}

pub(super) fn mlc_synthetic() -> Recipe {
    Recipe {
        name: "mlc-synthetic".into(),
        model: ModelSettings::Mlc(MlcSettings::default()),
        ..ssp_synthetic()
    }
}

/// The full method on top of a baseline, with N latent classes.
pub(super) fn mlc_full(baseline: Recipe, clusters: usize) -> Recipe {
    let labels =
        LabelOptions { clusters, min_pixels: baseline.data.min_pixels, ..LabelOptions::default() };
    let settings = MlcSettings {
        mining: Mining::Joint(JointSettings { labels, ..JointSettings::default() }),
        rectification: Rectification {
            background: BackgroundRectification::MovingAverage(BackgroundSettings::default()),
            foreground: ForegroundRectification::Off,
        },
    };
    Recipe {
        name: baseline.name.replace("mlc-", "mlc-full-"),
        model: ModelSettings::Mlc(settings),
        ..baseline
    }
}

/// The network is small, and so is its decoder. It learns from scratch, so the decoder has no
/// reason to learn faster.
pub(super) fn mlc_full_synthetic() -> Recipe {
    let mut recipe = mlc_full(mlc_synthetic(), 30);
    if let ModelSettings::Mlc(MlcSettings { mining: Mining::Joint(joint), .. }) = &mut recipe.model
    {
        joint.channels = 32;
        joint.rate_factor = 1.0;
    }
    recipe
}
