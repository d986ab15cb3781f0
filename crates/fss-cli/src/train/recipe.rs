//! The recipe that a run is set to, put together from the command line.

use std::path::{Path, PathBuf};

use fss_core::train::generalized::GFSS_BUILTIN_NAMES;
use fss_core::train::recipe::{BUILTIN_NAMES, Init, Recipe};
use fss_core::train::trainer::files;
use fss_core::train::ways::WAYS_BUILTIN_NAMES;
use toml::{Table, Value};

use super::TrainArgs;
use crate::failure::Failure;

/// Where a recipe of another kind than [`Recipe`] comes from.
pub enum Source {
    /// A built-in one.
    Builtin(String),
    /// A file.
    File(PathBuf),
}

/// The recipe that was asked for, if it is one of the kind that has these built-in ones and that `is_one`
/// knows by its text.
pub fn source(
    args: &TrainArgs,
    builtin: &[&str],
    is_one: fn(&str) -> bool,
) -> Result<Option<Source>, Failure> {
    let file = match (&args.recipe, args.resume, &args.out) {
        (Some(name), ..) if builtin.contains(&name.as_str()) => {
            return Ok(Some(Source::Builtin(name.clone())));
        }
        (Some(name), ..) => PathBuf::from(name),
        (None, true, Some(out)) => out.join(files::RECIPE),
        _ => return Ok(None),
    };
    if !file.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&file).map_err(|e| Failure::io("read", &file, e))?;
    Ok(is_one(&text).then_some(Source::File(file)))
}

/// A recipe's text with `--set` done to it; `origin` names it in errors.
pub fn changed(text: &str, changes: &[String], origin: &str) -> Result<String, Failure> {
    let mut table = text.parse::<Table>().map_err(|e| {
        Failure::request(format!("recipe {origin} cannot be changed ({e})"), "leave --set out")
    })?;
    for change in changes {
        set(&mut table, change)?;
    }
    Ok(table.to_string())
}

/// The recipe named, or that of the run to be resumed, with the changes asked for.
pub fn effective(
    name: Option<&str>,
    resumed: Option<&Path>,
    pretrained: Option<&Path>,
    changes: &[String],
) -> Result<Recipe, Failure> {
    let (mut recipe, origin) = match (name, resumed) {
        (Some(name), _) => (named(name)?, name.to_owned()),
        (None, Some(folder)) => {
            let file = folder.join(files::RECIPE);
            (Recipe::load(&file)?, file.display().to_string())
        }
        (None, None) => return Err(Failure::request("no recipe is named", "give --recipe")),
    };
    if let Some(path) = pretrained {
        recipe.init = Init::Weights { path: path.to_path_buf() };
    }
    if changes.is_empty() {
        return Ok(recipe);
    }
    let text = changed(&recipe.to_toml(), changes, &origin)?;
    Ok(Recipe::from_toml(&text, &format!("{origin} with --set"))?)
}

fn named(name: &str) -> Result<Recipe, Failure> {
    if BUILTIN_NAMES.contains(&name) {
        return Ok(Recipe::builtin(name)?);
    }
    let path = Path::new(name);
    if !path.exists() {
        return Err(Failure::request(
            format!("{name} is neither a recipe file nor a built-in recipe"),
            format!(
                "use one of {}, {}, {}, or a TOML file",
                BUILTIN_NAMES.join(", "),
                GFSS_BUILTIN_NAMES.join(", "),
                WAYS_BUILTIN_NAMES.join(", ")
            ),
        ));
    }
    Ok(Recipe::load(path)?)
}

/// Sets `a.b.c=value`; a value that is no TOML is taken as text.
fn set(table: &mut Table, change: &str) -> Result<(), Failure> {
    let refuse = |what: &str, remedy: &str| {
        Err(Failure::request(format!("--set {change}: {what}"), remedy.to_owned()))
    };
    let Some((key, text)) = change.split_once('=') else {
        return refuse("there is no `=`", "write it as in --set episodes.shot=5");
    };
    let (parents, last) = match key.trim().rsplit_once('.') {
        Some((parents, last)) => (Some(parents), last),
        None => (None, key.trim()),
    };
    let mut section = table;
    for name in parents.into_iter().flat_map(|parents| parents.split('.')) {
        section = match section.get_mut(name) {
            Some(Value::Table(inner)) => inner,
            _ => {
                return refuse(
                    &format!("the recipe has no section `{name}`"),
                    "see --show for all keys",
                );
            }
        };
    }
    section.insert(last.to_owned(), value(text.trim()));
    Ok(())
}

fn value(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok();
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<Recipe, String> {
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        effective(Some("ssp-pascal"), None, None, &changes).map_err(|e| e.to_string())
    }

    #[test]
    fn values_of_all_kinds_can_be_set() {
        let recipe = changed(&[
            "episodes.shot=5",
            "optim.lr = 0.5",
            "name=mine",
            "evaluation.seeds=[3, 4]",
            "init={from = \"scratch\", seed = 7, calibration_episodes = 0}",
        ])
        .unwrap();
        assert_eq!((recipe.episodes.shot, recipe.optim.lr), (5, 0.5));
        assert_eq!(recipe.name, "mine");
        assert_eq!(recipe.evaluation.seeds, [3, 4]);
        assert_eq!(recipe.init, Init::Scratch { seed: 7, calibration_episodes: 0 });
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        for (change, expected) in [
            ("episodes.shots=5", "shots"),
            ("nothing.at.all=5", "`nothing`"),
            ("episodes.shot", "no `=`"),
            ("episodes.shot=many", "--set"),
            ("episodes.batch=0", "episodes.batch"),
        ] {
            let message = changed(&[change]).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn pretrained_weights_take_the_place_of_the_recipes() {
        let recipe = effective(Some("ssp-synthetic"), None, Some(Path::new("w.pth")), &[]).unwrap();
        assert_eq!(recipe.init, Init::Weights { path: "w.pth".into() });
        let message = effective(Some("ssp"), None, None, &[]).unwrap_err().to_string();
        assert!(message.contains("ssp-pascal"), "{message}");
    }
}
