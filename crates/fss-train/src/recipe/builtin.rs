//! Recipes that come with the library.

use fss_backbone::{DeepStemResNetConfig, Depth, Layer3, NormTraining, Stage};
use fss_data::episode::MIN_OBJECT_PIXELS;
use fss_data::folds::FoldScheme;
use fss_data::{Benchmark, Split};
use fss_heads::Refine;

use super::*;
use crate::TrainError;
use crate::evaluate::{HsnetProtocol, Protocol};
use crate::mining::LabelOptions;
use crate::schedule::Schedule;

/// The names that [`Recipe::builtin`] knows.
pub const BUILTIN_NAMES: [&str; 12] = [
    "mlc-coco",
    "mlc-full-coco",
    "mlc-full-pascal",
    "mlc-full-synthetic",
    "mlc-pascal",
    "mlc-synthetic",
    "ssp-coco",
    "ssp-coco-synthetic",
    "ssp-fss1000",
    "ssp-fss1000-synthetic",
    "ssp-pascal",
    "ssp-synthetic",
];

impl Recipe {
    /// A recipe by name.
    ///
    /// - `mlc-pascal`: the MLC baseline with ResNet-50 on PASCAL-5i as published (fold 0, 1-shot).
    ///   All convolutions learn.
    /// - `mlc-coco`: the same on COCO-20i, with 20 consecutive classes a fold and 4000 test episodes.
    /// - `mlc-synthetic`: a small MLC that learns from scratch on generated data within minutes.
    /// - `mlc-full-pascal`, `mlc-full-coco`, `mlc-full-synthetic`: the same with the paper's full
    ///   method, for which there is no published code: joint training with pseudo masks (made by
    ///   `fss mine` beforehand) and rectified background prototypes. Rectified foreground prototypes
    ///   are off.
    /// - `ssp-pascal`: SSP with ResNet-50 on PASCAL-5i as published (paper, section 4; refined,
    ///   fold 0, 1-shot).
    /// - `ssp-coco`: the same on COCO-20i, with 20 consecutive classes a fold and 4000 test episodes.
    /// - `ssp-fss1000`: SSP on FSS-1000, for which nothing is published: the settings of `ssp-pascal`
    ///   with seeded episodes of the 520 training categories, validated on the 240 validation
    ///   categories and tested on the 240 test categories, both by the HSNet protocol, not refined
    ///   there as SSP's code has it.
    /// - `ssp-coco-synthetic`, `ssp-fss1000-synthetic`: small ones that learn from scratch on data
    ///   generated in these layouts within minutes.
    /// - `ssp-synthetic`: a small SSP that learns from scratch on generated data within minutes.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] for an unknown name; it lists the known ones.
    pub fn builtin(name: &str) -> Result<Self, TrainError> {
        match name {
            "mlc-coco" => Ok(mlc_coco()),
            "mlc-full-coco" => Ok(mlc_full(mlc_coco(), 150)),
            "mlc-full-pascal" => Ok(mlc_full(mlc_pascal(), 50)),
            "mlc-full-synthetic" => Ok(mlc_full_synthetic()),
            "mlc-pascal" => Ok(mlc_pascal()),
            "mlc-synthetic" => Ok(mlc_synthetic()),
            "ssp-coco" => Ok(ssp_coco()),
            "ssp-coco-synthetic" => Ok(ssp_coco_synthetic()),
            "ssp-fss1000" => Ok(ssp_fss1000()),
            "ssp-fss1000-synthetic" => Ok(ssp_fss1000_synthetic()),
            "ssp-pascal" => Ok(ssp_pascal()),
            "ssp-synthetic" => Ok(ssp_synthetic()),
            _ => Err(TrainError::Recipe {
                origin: name.to_owned(),
                problem: "there is no built-in recipe of this name".to_owned(),
                remedy: format!("use one of {}, or a TOML file", BUILTIN_NAMES.join(", ")),
            }),
        }
    }
}

fn ssp_pascal() -> Recipe {
    Recipe {
        name: "ssp-pascal".into(),
        model: ModelSettings::Ssp(SspSettings { refine: Refine::On }),
        backbone: DeepStemResNetConfig::new(Depth::R50),
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
        optim: OptimSettings {
            lr: 1e-3,
            momentum: 0.9,
            weight_decay: 5e-4,
            schedule: Schedule::thirds(),
        },
        train: TrainSettings {
            frozen: vec![Stage::Stem, Stage::Layer1],
            norms: NormTraining::Frozen,
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

fn ssp_synthetic() -> Recipe {
    let paper = ssp_pascal();
    Recipe {
        name: "ssp-synthetic".into(),
        backbone: DeepStemResNetConfig::new(Depth::R18).with_width(16).with_layer3(Layer3::Dilated),
        init: Init::Scratch { seed: 0, calibration_episodes: 8 },
        data: DataSettings { min_pixels: 160, ..paper.data },
        episodes: EpisodeSettings { total: 3_000, snapshot: 1_000, crop: 97, ..paper.episodes },
        optim: OptimSettings { lr: 5e-2, ..paper.optim },
        train: TrainSettings { frozen: vec![], norms: NormTraining::ScaleShift },
        validation: ValidationSettings { episodes: 60, ..paper.validation },
        evaluation: EvaluationSettings { episodes: 100, ..paper.evaluation },
        ..paper
    }
}

fn ssp_coco() -> Recipe {
    on_coco(ssp_pascal(), "ssp-coco")
}

/// A recipe of PASCAL-5i on COCO-20i, as SSP and MLC do it.
fn on_coco(pascal: Recipe, name: &str) -> Recipe {
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

fn ssp_coco_synthetic() -> Recipe {
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
fn on_fss1000(pascal: Recipe, name: &str, protocol: Protocol) -> Recipe {
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

fn ssp_fss1000() -> Recipe {
    on_fss1000(ssp_pascal(), "ssp-fss1000", Protocol::hsnet())
}

/// The images are about as large as the side.
fn ssp_fss1000_synthetic() -> Recipe {
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

/// What MLC's code trains by is what SSP's does, which was built on it; but nothing is frozen other
/// than the norms.
fn mlc_pascal() -> Recipe {
    let ssp = ssp_pascal();
    Recipe {
        name: "mlc-pascal".into(),
        model: ModelSettings::Mlc(MlcSettings::default()),
        train: TrainSettings { frozen: vec![], norms: NormTraining::Frozen },
        ..ssp
    }
}

fn mlc_coco() -> Recipe {
    on_coco(mlc_pascal(), "mlc-coco")
}

fn mlc_synthetic() -> Recipe {
    Recipe {
        name: "mlc-synthetic".into(),
        model: ModelSettings::Mlc(MlcSettings::default()),
        ..ssp_synthetic()
    }
}

/// The full method on top of a baseline, with N latent classes.
fn mlc_full(baseline: Recipe, clusters: usize) -> Recipe {
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
fn mlc_full_synthetic() -> Recipe {
    let mut recipe = mlc_full(mlc_synthetic(), 30);
    if let ModelSettings::Mlc(MlcSettings { mining: Mining::Joint(joint), .. }) = &mut recipe.model
    {
        joint.channels = 32;
        joint.rate_factor = 1.0;
    }
    recipe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_recipe() {
        let recipe = Recipe::builtin("ssp-pascal").unwrap();
        assert_eq!(recipe.episodes.iterations(), 6_000);
        assert_eq!(recipe.episodes.snapshot_iterations(), 300);
        assert_eq!(recipe.data.fold().unwrap().novel_classes(), [1, 2, 3, 4, 5]);
        let rate = |done| recipe.optim.schedule.rate(recipe.optim.lr, done, 6_000);
        assert_eq!([rate(1_999), rate(2_000), rate(4_000)], [1e-3, 1e-4, 1e-5]);
        assert_eq!(recipe.evaluation.seeds, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn mlc_trains_all_convolutions_by_the_same_schedule() {
        let [mlc, ssp] = ["mlc-pascal", "ssp-pascal"].map(|name| Recipe::builtin(name).unwrap());
        assert_eq!((mlc.episodes, mlc.optim, mlc.data), (ssp.episodes, ssp.optim, ssp.data));
        assert!(mlc.train.frozen.is_empty() && mlc.train.norms == NormTraining::Frozen);
        let coco = Recipe::builtin("mlc-coco").unwrap();
        let novel: Vec<_> = (1..=20).collect();
        assert_eq!(coco.data.fold().unwrap().novel_classes(), novel);
        assert_eq!((coco.evaluation.episodes, coco.validation.episodes), (4_000, 4_000));
    }

    #[test]
    fn coco_and_fss1000_differ_from_pascal_in_the_data_alone() {
        let recipe = |name| Recipe::builtin(name).unwrap();
        let [pascal, coco, fss] = ["ssp-pascal", "ssp-coco", "ssp-fss1000"].map(recipe);
        assert_eq!((&coco.optim, &coco.episodes), (&pascal.optim, &pascal.episodes));
        assert_eq!(coco.data.fold().unwrap().novel_classes().len(), 20);
        assert_eq!(coco.evaluation.seeds.len(), 5);
        assert_eq!(fss.data.fold().unwrap().base_classes().len(), 520);
        assert_eq!((fss.data.test_split(), pascal.data.test_split()), (Split::Test, Split::Val));
        assert_eq!((fss.evaluation.seeds.as_slice(), fss.evaluation.episodes), (&[0][..], 2_400));
        assert_eq!(fss.evaluation.protocol, Protocol::hsnet());
    }

    #[test]
    fn built_in_recipes_are_valid_and_survive_toml() {
        for name in BUILTIN_NAMES {
            let recipe = Recipe::builtin(name).unwrap();
            recipe.check().unwrap();
            let text = recipe.to_toml();
            assert_eq!(Recipe::from_toml(&text, "copy").unwrap(), recipe, "{text}");
        }
        assert!(Recipe::builtin("pop").unwrap_err().to_string().contains("ssp-synthetic"));
    }
}
