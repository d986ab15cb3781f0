//! Recipes that come with the library.

mod hsnet;
mod mlc;
mod ssp;

use super::Recipe;
use crate::TrainError;

/// The names that [`Recipe::builtin`] knows.
pub const BUILTIN_NAMES: [&str; 19] = [
    "hsnet-coco",
    "hsnet-fss1000",
    "hsnet-pascal",
    "hsnet-synthetic",
    "imr-coco",
    "imr-pascal",
    "imr-synthetic",
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
    /// - `hsnet-pascal`: HSNet with ResNet-50 on PASCAL-5i as published (paper, section 4; fold 0).
    ///   An epoch is 11,400 episodes: the 11,394 pairs of fold 0's list, rounded up to whole batches
    ///   (fold 1 has 10,255, fold 2 7,797, fold 3 11,594: give `episodes.snapshot` to fit, else an
    ///   epoch goes a little beyond or not quite through the list). The published code trains up to
    ///   2,000 epochs, to be stopped by hand when validation saturates; this is 100, and the best
    ///   model so far is there at any time.
    /// - `hsnet-coco`: the same on COCO-20i, with every fourth class in a fold, 40 episodes a batch and
    ///   62,040 an epoch; 50 epochs.
    /// - `hsnet-fss1000`: the same on FSS-1000, with 5,200 episodes an epoch; 100 epochs, validated on
    ///   the 240 validation categories and tested on the 240 test categories.
    /// - `hsnet-synthetic`: a small HSNet on generated data, within minutes.
    /// - `imr-pascal`, `imr-coco`: IMR with ResNet-50 as published, with 2 and 3 stages; epochs as for
    ///   HSNet. They need coarse maps: `model.cams`.
    /// - `imr-synthetic`: a small IMR on generated data, within minutes. It needs coarse maps, too.
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
            "hsnet-coco" => Ok(hsnet::hsnet_coco()),
            "hsnet-fss1000" => Ok(hsnet::hsnet_fss1000()),
            "hsnet-pascal" => Ok(hsnet::hsnet_pascal()),
            "hsnet-synthetic" => Ok(hsnet::hsnet_synthetic()),
            "imr-coco" => Ok(hsnet::imr_coco()),
            "imr-pascal" => Ok(hsnet::imr_pascal()),
            "imr-synthetic" => Ok(hsnet::imr_synthetic()),
            "mlc-coco" => Ok(mlc::mlc_coco()),
            "mlc-full-coco" => Ok(mlc::mlc_full(mlc::mlc_coco(), 150)),
            "mlc-full-pascal" => Ok(mlc::mlc_full(mlc::mlc_pascal(), 50)),
            "mlc-full-synthetic" => Ok(mlc::mlc_full_synthetic()),
            "mlc-pascal" => Ok(mlc::mlc_pascal()),
            "mlc-synthetic" => Ok(mlc::mlc_synthetic()),
            "ssp-coco" => Ok(ssp::ssp_coco()),
            "ssp-coco-synthetic" => Ok(ssp::ssp_coco_synthetic()),
            "ssp-fss1000" => Ok(ssp::ssp_fss1000()),
            "ssp-fss1000-synthetic" => Ok(ssp::ssp_fss1000_synthetic()),
            "ssp-pascal" => Ok(ssp::ssp_pascal()),
            "ssp-synthetic" => Ok(ssp::ssp_synthetic()),
            _ => Err(TrainError::Recipe {
                origin: name.to_owned(),
                problem: "there is no built-in recipe of this name".to_owned(),
                remedy: format!("use one of {}, or a TOML file", BUILTIN_NAMES.join(", ")),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use fss_backbone::NormTraining;
    use fss_data::Split;
    use fss_data::folds::FoldScheme;

    use super::*;
    use crate::evaluate::Protocol;
    use crate::optim::Rule;
    use crate::recipe::{ModelSettings, Sampling, SelectionRule};

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
    fn hsnet_and_imr_train_as_published() {
        let recipe = |name| Recipe::builtin(name).unwrap();
        let adam = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        for (name, rate, batch, iterations) in [
            ("hsnet-pascal", 1e-3, 20, 570),
            ("hsnet-coco", 1e-3, 40, 1_551),
            ("hsnet-fss1000", 1e-3, 20, 260),
            ("imr-pascal", 4e-4, 40, 285),
            ("imr-coco", 2e-4, 20, 3_102),
        ] {
            let recipe = recipe(name);
            assert_eq!((recipe.optim.lr, recipe.episodes.batch), (rate, batch), "{name}");
            assert_eq!(recipe.episodes.snapshot_iterations(), iterations, "{name}");
            assert_eq!(recipe.optim.rule, adam, "{name}");
            assert_eq!(recipe.optim.schedule.rate(rate, 1, 2), rate, "{name}");
            assert_eq!((recipe.episodes.crop, recipe.episodes.shot), (400, 1), "{name}");
            assert_eq!(recipe.episodes.sampling, Sampling::Hsnet, "{name}");
            assert_eq!(recipe.validation.protocol, Protocol::hsnet(), "{name}");
            assert_eq!(recipe.evaluation.seeds, [0], "{name}");
            assert_eq!(recipe.validation.selection, SelectionRule::BestEarliest, "{name}");
        }
        for (name, stages) in [("imr-pascal", 2), ("imr-coco", 3)] {
            let ModelSettings::Imr(imr) = recipe(name).model else { panic!("{name}") };
            assert_eq!(imr.stages, stages);
        }
        let coco = recipe("hsnet-coco").data.fold().unwrap();
        assert_eq!((coco.scheme(), coco.novel_classes()[1]), (FoldScheme::Interleaved, 5));
        let fss = recipe("hsnet-fss1000");
        assert_eq!((fss.validation.episodes, fss.evaluation.episodes), (2_400, 2_400));
        assert_eq!(fss.data.test_split(), Split::Test);
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
