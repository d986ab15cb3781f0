//! Recipes that come with the library.

use fss_backbone::{DeepStemResNetConfig, Depth, Layer3, NormTraining, Stage};
use fss_data::Split;
use fss_data::episode::MIN_OBJECT_PIXELS;
use fss_data::folds::FoldScheme;
use fss_heads::Refine;

use super::*;
use crate::TrainError;
use crate::evaluate::Protocol;
use crate::schedule::Schedule;

/// The names that [`Recipe::builtin`] knows.
pub const BUILTIN_NAMES: [&str; 2] = ["ssp-pascal", "ssp-synthetic"];

impl Recipe {
    /// A recipe by name.
    ///
    /// - `ssp-pascal`: SSP with ResNet-50 on PASCAL-5i as published (paper, section 4; refined,
    ///   fold 0, 1-shot).
    /// - `ssp-synthetic`: a small SSP that learns from scratch on generated data within minutes.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] for an unknown name; it lists the known ones.
    pub fn builtin(name: &str) -> Result<Self, TrainError> {
        match name {
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
        model: ModelSettings { kind: ModelKind::Ssp, refine: Refine::On },
        backbone: DeepStemResNetConfig::new(Depth::R50),
        init: Init::Weights { path: "pretrained/resnet50.pth".into() },
        data: DataSettings {
            dataset: "pascal".into(),
            classes: 20,
            folds: FoldScheme::Contiguous,
            fold: 0,
            train_split: Split::Train,
            val_split: Split::Val,
            min_pixels: MIN_OBJECT_PIXELS,
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
        data: DataSettings { dataset: "synthetic".into(), min_pixels: 160, ..paper.data },
        episodes: EpisodeSettings { total: 3_000, snapshot: 1_000, crop: 97, ..paper.episodes },
        optim: OptimSettings { lr: 5e-2, ..paper.optim },
        train: TrainSettings { frozen: vec![], norms: NormTraining::ScaleShift },
        validation: ValidationSettings { episodes: 60, ..paper.validation },
        evaluation: EvaluationSettings { episodes: 100, ..paper.evaluation },
        ..paper
    }
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
