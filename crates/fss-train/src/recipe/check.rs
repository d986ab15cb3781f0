//! Values that make no sense are refused before anything is built.

use fss_data::Benchmark;
use fss_data::folds::FoldScheme;

use super::{Init, ModelSettings, Recipe, Sampling};
use crate::TrainError;

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
            ModelSettings::Ssp(_) => Vec::new(),
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
        let scratch = match self.init {
            Init::Scratch { seed, .. } => seed,
            Init::Weights { .. } => 0,
        };
        let seeds = [
            ("init.seed", scratch),
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
        for (key, value) in [
            ("optim.lr", self.optim.lr),
            ("optim.momentum", self.optim.momentum),
            ("optim.weight_decay", self.optim.weight_decay),
        ] {
            if !value.is_finite() || value < 0.0 {
                let value = value.to_string();
                return Err(self.refuse(key, &value, "give a number of at least 0"));
            }
        }
        if let ModelSettings::Mlc(mlc) = &self.model {
            for (key, value, [least, most]) in mlc.numbers() {
                if !(least..=most).contains(&value) {
                    let remedy = if most == f64::MAX {
                        format!("give a finite number of at least {least}")
                    } else {
                        format!("give a number from {least} to {most}")
                    };
                    return Err(self.refuse(key, &value.to_string(), &remedy));
                }
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

    fn refuse(&self, key: &str, value: &str, remedy: &str) -> TrainError {
        self.error(format!("`{key}` is {value}"), remedy)
    }

    fn error(&self, problem: String, remedy: &str) -> TrainError {
        TrainError::Recipe { origin: self.name.clone(), problem, remedy: remedy.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut Recipe)) -> String {
        let mut recipe = Recipe::builtin("ssp-pascal").unwrap();
        change(&mut recipe);
        recipe.check().unwrap_err().to_string()
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
        assert!(problem(|r| r.data.fold = 4).contains('4'));
        assert!(problem(|r| r.data.dataset = Benchmark::Own).contains("listed"));
        assert!(problem(|r| r.data.folds = FoldScheme::Listed).contains("PASCAL-5i"));
    }
}
