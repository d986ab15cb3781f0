//! Recipes from and to TOML.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Recipe;
use super::backbone::FAMILY_KEYS;
use super::optim::RULE_KEYS;
use crate::TrainError;

/// The key by which a file names the built-in recipe that it starts from.
pub(crate) const EXTENDS: &str = "extends";

/// A recipe of any kind from a TOML text that `origin` names in errors. With `extends = "<built-in>"` all
/// that is not given comes from the table that `built_in` makes for that name and the changes.
pub(crate) fn parse<R: DeserializeOwned>(
    text: &str,
    origin: &str,
    built_in: impl Fn(&str, &Table) -> Result<Table, TrainError>,
    check: impl Fn(&R) -> Result<(), TrainError>,
) -> Result<R, TrainError> {
    let error = |problem: String, remedy: &str| TrainError::Recipe {
        origin: origin.to_owned(),
        problem,
        remedy: remedy.to_owned(),
    };
    let unreadable = |e: toml::de::Error| {
        error(one_line(&e.to_string()), "correct the file; the built-in recipes show all keys")
    };
    let mut table: Table = toml::from_str(text).map_err(unreadable)?;
    let recipe: R = match table.remove(EXTENDS) {
        // Straight from the text, because errors then carry line and column.
        None => toml::from_str(text).map_err(unreadable)?,
        Some(Value::String(base)) => {
            let mut whole = built_in(&base, &table)
                .map_err(|e| error(format!("`{EXTENDS}`: {e}"), "name a built-in recipe"))?;
            merge(&mut whole, table);
            Value::Table(whole).try_into().map_err(unreadable)?
        }
        Some(_) => {
            return Err(error(
                format!("`{EXTENDS}` is no text"),
                "give the name of a built-in recipe in quotes",
            ));
        }
    };
    check(&recipe).map_err(|e| match e {
        TrainError::Recipe { problem, remedy, .. } => {
            TrainError::Recipe { origin: origin.to_owned(), problem, remedy }
        }
        other => error(other.to_string(), "see the section `data`"),
    })?;
    Ok(recipe)
}

impl Recipe {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// [`TrainError::Io`] if it cannot be read, else as [`from_toml`](Self::from_toml).
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TrainError::io("read recipe", path, source))?;
        Self::from_toml(&text, &path.display().to_string())
    }

    /// Reads a recipe; `origin` names it in errors. With `extends = "<built-in>"` all that is not
    /// given comes from that recipe.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] naming the key that is unknown, missing, of a wrong type or senseless.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, TrainError> {
        let built_in = |name: &str, changes: &Table| {
            let mut whole = Self::builtin(name)?.to_table();
            supersede(&mut whole, changes);
            Ok(whole)
        };
        parse(text, origin, built_in, Self::check)
    }

    /// The recipe as a TOML file that [`load`](Self::load) reads.
    pub fn to_toml(&self) -> String {
        self.to_table().to_string()
    }

    fn to_table(&self) -> Table {
        // A recipe holds only tables, arrays, text, numbers within range and paths.
        Table::try_from(self).unwrap_or_default()
    }
}

/// Drops settings of the base recipe that belong to a choice which the file makes otherwise, where no
/// tag tells so.
pub(crate) fn supersede(base: &mut Table, over: &Table) {
    let section = |table: &Table, name: &str| table.get(name)?.as_table().cloned();
    if let (Some(old), Some(new)) = (section(base, "backbone"), section(over, "backbone"))
        && FAMILY_KEYS.iter().any(|key| new.contains_key(*key) && !old.contains_key(*key))
    {
        base.remove("backbone");
    }
    if let (Some(mut old), Some(new)) = (section(base, "optim"), section(over, "optim")) {
        let rule = |table: &Table| table.get("rule")?.as_str().map(str::to_owned);
        let [before, after] = [rule(&old), rule(&new)];
        if after.is_some_and(|after| after != before.unwrap_or_else(|| "sgd".to_owned())) {
            old.retain(|key, _| !RULE_KEYS.contains(&key));
            base.insert("optim".to_owned(), Value::Table(old));
        }
    }
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            // A tagged choice is replaced as a whole when the tag changes, because the fields of
            // one variant mean nothing to another.
            (Some(Value::Table(old)), Value::Table(new)) if same_choice(old, &new) => {
                merge(old, new);
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn same_choice(old: &Table, new: &Table) -> bool {
    ["kind", "from"].iter().all(|tag| match new.get(*tag) {
        Some(value) => old.get(*tag) == Some(value) || !old.contains_key(*tag),
        None => true,
    })
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::Rule;
    use crate::recipe::Init;

    fn error(text: &str) -> String {
        Recipe::from_toml(text, "mine.toml").unwrap_err().to_string()
    }

    #[test]
    fn errors_name_file_and_key() {
        let unknown = error("extends = \"ssp-pascal\"\n[optim]\nlearning_rate = 1.0\n");
        assert!(unknown.contains("mine.toml") && unknown.contains("learning_rate"), "{unknown}");
        let kind = error("extends = \"ssp-pascal\"\n[episodes]\nshot = \"one\"\n");
        assert!(kind.contains("shot"), "{kind}");
        let missing = error("name = \"x\"\n");
        assert!(missing.contains("missing field"), "{missing}");
        let base = error("extends = \"sssp\"\n");
        assert!(base.contains("extends") && base.contains("ssp-pascal"), "{base}");
        let senseless = error("extends = \"ssp-pascal\"\n[episodes]\nbatch = 0\n");
        assert!(
            senseless.contains("mine.toml") && senseless.contains("episodes.batch"),
            "{senseless}"
        );
        assert!(error("name = ").contains("mine.toml"));
    }

    #[test]
    fn another_choice_replaces_the_whole_table() {
        let recipe = Recipe::from_toml(
            "extends = \"ssp-pascal\"\n[init]\nfrom = \"scratch\"\nseed = 3\ncalibration_episodes = 0\n",
            "mine.toml",
        )
        .unwrap();
        assert_eq!(recipe.init, Init::Scratch { seed: 3, calibration_episodes: 0 });
    }

    #[test]
    fn another_rule_or_family_drops_the_settings_of_the_one_before() {
        let adam = Recipe::from_toml(
            "extends = \"ssp-pascal\"\n[optim]\nrule = \"adam\"\nbetas = [0.5, 0.75]\n",
            "mine.toml",
        )
        .unwrap();
        let rule = Rule::Adam { beta1: 0.5, beta2: 0.75, epsilon: 1e-8, weight_decay: 0.0 };
        assert_eq!((adam.optim.rule, adam.optim.lr), (rule, 1e-3));
        let decayed = "extends = \"hsnet-pascal\"\n[optim]\nrule = \"adam\"\nweight_decay = 0.5\n";
        assert!(Recipe::from_toml(decayed, "mine.toml").unwrap().to_toml().contains("0.999"));

        let vgg = "extends = \"hsnet-pascal\"\n[backbone]\nnetwork = \"vgg16\"\n";
        assert_eq!(Recipe::from_toml(vgg, "mine.toml").unwrap().backbone.name(), "vgg16");
        let taps = error("extends = \"ssp-pascal\"\n[backbone]\nnetwork = \"resnet50\"\n");
        assert!(taps.contains("`backbone.network`") && taps.contains("ssp"), "{taps}");
        let deep = error("extends = \"hsnet-pascal\"\n[backbone]\ndepth = \"resnet50\"\n");
        assert!(deep.contains("`backbone.depth`") && deep.contains("hsnet"), "{deep}");
        let both = error(
            "extends = \"ssp-pascal\"\n[backbone]\ndepth = \"resnet50\"\nnetwork = \"vgg16\"\n",
        );
        assert!(both.contains("both `depth` and `network`"), "{both}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Recipe::load(Path::new("/nowhere/recipe.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/recipe.toml"), "{error}");
    }
}
