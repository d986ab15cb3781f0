//! Values that make no sense are refused before anything is built.

use fss_backbone::{NormTraining, TapBackboneConfig};
use fss_data::Benchmark;
use fss_data::folds::FoldScheme;

use super::{Init, ModelSettings, Recipe, Sampling};
use crate::TrainError;
use crate::evaluate::Protocol;

impl Recipe {
    /// Checks every value.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] naming the first key whose value makes no sense.
    pub fn check(&self) -> Result<(), TrainError> {
        if self.data.dataset == Benchmark::Own {
            if (self.data.fold, self.data.folds) != (0, FoldScheme::Listed) {
                let folds = format!("fold {} ({})", self.data.fold, self.data.folds);
                let remedy =
                    "give `fold = 0` and `folds = \"listed\"`: data of your own have one fold";
                return Err(self.refuse("data", &folds, remedy));
            }
        } else {
            self.data.fold()?;
        }
        self.validation.protocol.check()?;
        self.evaluation.protocol.check()?;
        self.backbone.validate()?;
        self.check_model()?;
        let counts = [
            ("episodes.shot", self.episodes.shot),
            ("episodes.batch", self.episodes.batch),
            ("episodes.total", self.episodes.total),
            ("episodes.snapshot", self.episodes.snapshot),
            ("episodes.crop", self.episodes.crop),
            ("validation.episodes", self.validation.episodes),
            ("evaluation.episodes", self.evaluation.episodes),
            ("evaluation.seeds", self.evaluation.seeds.len()),
            ("checkpoint.keep", self.checkpoint.keep),
            ("checkpoint.every", usize::try_from(self.checkpoint.every).unwrap_or(usize::MAX)),
        ];
        let model_counts = match &self.model {
            ModelSettings::Mlc(mlc) => mlc.counts(),
            ModelSettings::Imr(imr) => imr.counts(),
            ModelSettings::Ssp(_) | ModelSettings::Hsnet(_) => Vec::new(),
        };
        for (key, count) in counts.into_iter().chain(model_counts) {
            if count == 0 {
                return Err(self.refuse(key, "0 (or nothing)", "give at least one"));
            }
        }
        for (key, count) in
            [("episodes.total", self.episodes.total), ("episodes.snapshot", self.episodes.snapshot)]
        {
            if count % self.episodes.batch != 0 {
                let batch = self.episodes.batch;
                return Err(self.refuse(
                    key,
                    &count.to_string(),
                    &format!("give a multiple of `episodes.batch`, {batch}"),
                ));
            }
        }
        if self.episodes.total < self.episodes.snapshot {
            return Err(self.refuse(
                "episodes.snapshot",
                &self.episodes.snapshot.to_string(),
                "give at most `episodes.total`, else no model is ever validated",
            ));
        }
        let head = match &self.model {
            ModelSettings::Hsnet(hsnet) => hsnet.seed,
            ModelSettings::Imr(imr) => imr.seed,
            _ => 0,
        };
        let seeds = [
            ("init.seed", self.init.seed()),
            ("model.seed", head),
            ("episodes.seed", self.episodes.seed),
            ("validation.seed", self.validation.seed),
        ];
        let evaluated = self.evaluation.seeds.iter().map(|&seed| ("evaluation.seeds", seed));
        for (key, seed) in seeds.into_iter().chain(evaluated) {
            // TOML has no larger integers.
            if i64::try_from(seed).is_err() {
                return Err(self.refuse(key, &seed.to_string(), "give a seed below 2^63"));
            }
        }
        if let Sampling::Official { workers: 0 } = self.episodes.sampling {
            return Err(self.refuse("episodes.sampling.workers", "0", "use 4, as published"));
        }
        let model_numbers = match &self.model {
            ModelSettings::Mlc(mlc) => mlc.numbers(),
            _ => Vec::new(),
        };
        for (key, value, [least, most]) in self.optim.numbers().into_iter().chain(model_numbers) {
            if !(least..=most).contains(&value) {
                let remedy = match most {
                    f64::MAX => format!("give a finite number of at least {least}"),
                    most if most < 1.0 => format!("give a number from {least} to below 1"),
                    most => format!("give a number from {least} to {most}"),
                };
                return Err(self.refuse(key, &value.to_string(), &remedy));
            }
        }
        if let Some((key, problem)) = self.optim.schedule.problem() {
            let key = format!("optim.schedule.{key}");
            return Err(self.error(format!("`{key}`: {problem}"), "see the built-in recipes"));
        }
        if let Init::Weights { path } = &self.init
            && path.as_os_str().is_empty()
        {
            return Err(self.refuse("init.path", "empty", "name a file of backbone weights"));
        }
        Ok(())
    }

    /// Checks that the parts suit the model.
    fn check_model(&self) -> Result<(), TrainError> {
        match &self.model {
            ModelSettings::Ssp(_) | ModelSettings::Mlc(_) => self.deep_stem().map(|_| ()),
            ModelSettings::Hsnet(_) => self.check_tapped().map(|_| ()),
            ModelSettings::Imr(_) => {
                let network = self.check_tapped()?;
                // The head has a learnt value for every position of the map.
                let grid = |side: usize| network.feature_sizes([side; 2])[0][0];
                for (key, protocol) in [
                    ("validation.protocol", self.validation.protocol),
                    ("evaluation.protocol", self.evaluation.protocol),
                ] {
                    let fits = match protocol {
                        Protocol::Hsnet(options) => grid(options.side) == grid(self.episodes.crop),
                        Protocol::Official => false,
                    };
                    if !fits {
                        let side = self.episodes.crop;
                        let remedy = format!(
                            "imr reads images of the one size it was trained on; give \
                             {{ kind = \"hsnet\", side = {side} }}"
                        );
                        return Err(self.refuse(key, &protocol.label(), &remedy));
                    }
                }
                Ok(())
            }
        }
    }

    /// What HSNet and IMR have in common.
    fn check_tapped(&self) -> Result<TapBackboneConfig, TrainError> {
        let network = self.tap_network()?;
        let kind = self.model.kind();
        if !self.train.frozen.is_empty() || self.train.norms != NormTraining::Frozen {
            return Err(self.error(
                format!("`train` says what of the backbone learns, but that of {kind} never does"),
                "give `frozen = []` and `norms = \"frozen\"`",
            ));
        }
        if self.episodes.sampling != Sampling::Hsnet {
            return Err(self.error(
                format!("`episodes.sampling` cuts images, but {kind} learns from whole ones"),
                "give `kind = \"hsnet\"` there",
            ));
        }
        if self.episodes.shot > 1 {
            let remedy = format!(
                "{kind} learns from 1 support; what it learnt can be evaluated with any number"
            );
            return Err(self.refuse("episodes.shot", &self.episodes.shot.to_string(), &remedy));
        }
        Ok(network)
    }

    fn refuse(&self, key: &str, value: &str, remedy: &str) -> TrainError {
        self.error(format!("`{key}` is {value}"), remedy)
    }

    fn error(&self, problem: String, remedy: &str) -> TrainError {
        TrainError::Recipe { origin: self.name.clone(), problem, remedy: remedy.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use fss_backbone::{DeepStemResNetConfig, Depth, Stage, TapNetwork};

    use super::*;
    use crate::optim::Rule;
    use crate::recipe::ImrSettings;

    fn problem_of(name: &str, change: impl FnOnce(&mut Recipe)) -> String {
        let mut recipe = Recipe::builtin(name).unwrap();
        change(&mut recipe);
        recipe.check().unwrap_err().to_string()
    }

    fn problem(change: impl FnOnce(&mut Recipe)) -> String {
        problem_of("ssp-pascal", change)
    }

    #[test]
    fn the_key_is_named() {
        assert!(problem(|r| r.episodes.batch = 0).contains("`episodes.batch`"));
        assert!(problem(|r| r.episodes.snapshot = 1_201).contains("multiple of"));
        assert!(problem(|r| r.episodes.total = 4).contains("`episodes.snapshot`"));
        assert!(problem(|r| r.optim.lr = f64::NAN).contains("`optim.lr`"));
        assert!(problem(|r| r.evaluation.seeds.clear()).contains("`evaluation.seeds`"));
        assert!(problem(|r| r.episodes.seed = u64::MAX).contains("`episodes.seed`"));
        let joint = |change: fn(&mut super::super::JointSettings)| {
            let mut settings = super::super::JointSettings::default();
            change(&mut settings);
            let mining = super::super::Mining::Joint(settings);
            problem(|r| {
                r.model =
                    ModelSettings::Mlc(super::super::MlcSettings { mining, ..Default::default() });
            })
        };
        assert!(joint(|j| j.channels = 0).contains("`model.mining.channels`"));
        assert!(joint(|j| j.weight = f64::NAN).contains("`model.mining.weight`"));
        assert!(problem(|r| r.optim.rule = Rule::sgd(-1.0, 0.0)).contains("`optim.momentum`"));
        let betas = problem(|r| {
            r.optim.rule = Rule::Adam { beta1: 0.9, beta2: 1.0, epsilon: 1e-8, weight_decay: 0.0 };
        });
        assert!(betas.contains("`optim.betas` is 1") && betas.contains("below 1"), "{betas}");
        assert!(problem(|r| r.data.fold = 4).contains('4'));
        assert!(problem(|r| r.data.dataset = Benchmark::Own).contains("listed"));
        assert!(problem(|r| r.data.folds = FoldScheme::Listed).contains("PASCAL-5i"));
    }

    #[test]
    fn parts_that_do_not_suit_the_model_are_named() {
        let taps = TapBackboneConfig::new(TapNetwork::Resnet50);
        let deep = DeepStemResNetConfig::new(Depth::R50);
        for name in ["ssp-pascal", "mlc-pascal"] {
            let message = problem_of(name, |r| r.backbone = taps.into());
            assert!(message.contains("`backbone.network`") && message.contains(&name[..3]));
        }
        for (name, kind) in [("hsnet-coco", "hsnet"), ("imr-coco", "imr")] {
            let message = |change: fn(&mut Recipe)| {
                let message = problem_of(name, change);
                assert!(message.contains(kind), "{message}");
                message
            };
            let backbone = problem_of(name, |r| r.backbone = deep.into());
            assert!(backbone.contains("`backbone.depth`") && backbone.contains(kind), "{backbone}");
            assert!(message(|r| r.episodes.shot = 5).contains("`episodes.shot` is 5"));
            assert!(message(|r| r.episodes.sampling = Sampling::Seeded).contains("sampling"));
            assert!(message(|r| r.train.frozen.push(Stage::Layer1)).contains("frozen = []"));
            assert!(message(|r| r.train.norms = NormTraining::ScaleShift).contains("never does"));
        }
        let stages = |r: &mut Recipe| {
            r.model = ModelSettings::Imr(ImrSettings { stages: 0, ..ImrSettings::default() });
        };
        assert!(problem_of("imr-pascal", stages).contains("`model.stages` is 0"));
        let official = problem_of("imr-pascal", |r| r.evaluation.protocol = Protocol::Official);
        assert!(official.contains("`evaluation.protocol`") && official.contains("side = 400"));
        // Sides of 393 to 400 pixels give one map.
        let mut near = Recipe::builtin("imr-pascal").unwrap();
        near.episodes.crop = 393;
        near.check().unwrap();
        assert!(problem_of("imr-pascal", |r| r.episodes.crop = 392).contains("side = 392"));
    }
}
