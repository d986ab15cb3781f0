//! Values that make no sense are refused before anything is built.

use fss_data::Benchmark;

use super::recipe::{WaysInit, WaysMethod, WaysRecipe};
use crate::TrainError;

impl WaysRecipe {
    /// Checks every value.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] naming the first key whose value makes no sense.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |key: &str, value: String, remedy: &str| {
            Err(TrainError::Recipe {
                origin: self.name.clone(),
                problem: format!("`{key}` is {value}"),
                remedy: remedy.to_owned(),
            })
        };
        self.backbone.validate()?;
        self.check_network()?;
        if self.data.dataset == Benchmark::Fss1000 {
            return refuse("data.dataset", "fss1000".into(), "use pascal, coco or own");
        }
        if self.data.dataset != Benchmark::Own {
            self.data.dataset.fold(self.data.fold, self.data.folds)?;
        }
        let counts = [
            ("episodes.shot", self.episodes.shot),
            ("episodes.batch", self.episodes.batch),
            ("episodes.list", self.episodes.list),
            ("episodes.steps", self.episodes.steps as usize),
            ("episodes.side", self.episodes.side),
            ("model.refinements", self.model.refinements),
            ("validation.every", self.validation.every as usize),
            ("evaluation.seeds", self.evaluation.seeds.len()),
            ("checkpoint.keep", self.checkpoint.keep),
            ("checkpoint.every", self.checkpoint.every as usize),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return refuse(key, "0 (or nothing)".into(), "give at least one");
        }
        for (section, test) in
            [("validation", &self.validation.test), ("evaluation", &self.evaluation.test)]
        {
            if let Some((key, _)) = test.counts().into_iter().find(|(_, count)| *count == 0) {
                return refuse(&format!("{section}.test.{key}"), "0".into(), "give at least one");
            }
        }
        let mut seeds = vec![
            ("model.seed", self.model.seed),
            ("episodes.order_seed", self.episodes.order_seed),
        ];
        if let WaysInit::Scratch { seed, .. } = &self.init {
            seeds.push(("init.seed", *seed));
        }
        // TOML has no larger integers.
        if let Some((key, seed)) = seeds.iter().find(|(_, seed)| i64::try_from(*seed).is_err()) {
            return refuse(key, seed.to_string(), "give a seed below 2^63");
        }
        if !(self.data.share > 0.0 && self.data.share <= 1.0) {
            return refuse("data.share", self.data.share.to_string(), "give a share, as 0.02");
        }
        let lambda = ("model.lambda", self.model.lambda, [0.0, f64::MAX]);
        for (key, value, [least, most]) in self.optim.numbers().into_iter().chain([lambda]) {
            if !(least..=most).contains(&value) {
                return refuse(
                    key,
                    value.to_string(),
                    "give a number of ordinary size, not below 0",
                );
            }
        }
        if let Some((key, problem)) = self.optim.schedule.problem() {
            return refuse(&format!("optim.schedule.{key}"), problem, "correct it");
        }
        Ok(())
    }

    /// Refuses backbones that the model cannot read.
    fn check_network(&self) -> Result<(), TrainError> {
        // 21 rows stand for any number: that of the data is not known here.
        let checked = match self.model.kind {
            WaysMethod::Denet => self.denet(21).validate(),
            WaysMethod::Amp => self.amp(21).validate(),
            WaysMethod::Canet => self.canet().validate(),
            WaysMethod::Pgnet => self.pgnet().validate(),
        };
        checked.map_err(|error| TrainError::Recipe {
            origin: self.name.clone(),
            problem: format!("`backbone.network` is {}: {error}", self.backbone.network),
            remedy: "see the built-in recipes".into(),
        })
    }
}
