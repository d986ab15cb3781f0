//! Optimiser and learning rate of a recipe.

use serde::{Deserialize, Serialize};

use crate::optim::Rule;
use crate::schedule::Schedule;

/// Optimiser and learning rate. In a file the rule's settings stand beside the others:
///
/// ```toml
/// [optim]                       # SGD, which needs no `rule`
/// lr = 1e-3
/// momentum = 0.9
/// weight_decay = 5e-4
/// schedule = { kind = "step-decay", parts = 3, divisor = 10.0 }
/// ```
///
/// ```toml
/// [optim]
/// lr = 1e-3
/// rule = "adam"                 # or "adamw"
/// betas = [0.9, 0.999]          # the defaults
/// eps = 1e-8
/// weight_decay = 0.0
/// schedule = { kind = "constant" }
/// ```
///
/// `rule = "rmsprop"` has `alpha` (0.99 by default), `eps` and `weight_decay`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "OptimFile", into = "OptimFile")]
pub struct OptimSettings {
    /// Base learning rate.
    pub lr: f64,
    /// The rule of an update, with its settings.
    pub rule: Rule,
    /// How the rate changes.
    pub schedule: Schedule,
}

/// Keys that belong to a rule: a file that names another rule than the recipe it starts from drops
/// those of that recipe.
pub(super) const RULE_KEYS: [&str; 5] = ["momentum", "betas", "alpha", "eps", "weight_decay"];

/// The value of `rule`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RuleName {
    #[default]
    Sgd,
    Adam,
    AdamW,
    RmsProp,
}

impl RuleName {
    fn is_sgd(&self) -> bool {
        *self == Self::Sgd
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Adam => "adam",
            Self::AdamW => "adamw",
            Self::RmsProp => "rmsprop",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OptimFile {
    lr: f64,
    #[serde(default, skip_serializing_if = "RuleName::is_sgd")]
    rule: RuleName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    momentum: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    betas: Option<[f64; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight_decay: Option<f64>,
    schedule: Schedule,
}

impl TryFrom<OptimFile> for OptimSettings {
    type Error = String;

    fn try_from(file: OptimFile) -> Result<Self, String> {
        let OptimFile { lr, rule, momentum, betas, alpha, eps, weight_decay, schedule } = file;
        let missing = |key: &str| format!("missing field `{key}` of the rule \"sgd\" in [optim]");
        let known: &[&str] = match rule {
            RuleName::Sgd => &["momentum"],
            RuleName::Adam | RuleName::AdamW => &["betas", "eps"],
            RuleName::RmsProp => &["alpha", "eps"],
        };
        let given = [
            ("momentum", momentum.is_some()),
            ("betas", betas.is_some()),
            ("alpha", alpha.is_some()),
            ("eps", eps.is_some()),
        ];
        if let Some((key, _)) = given.iter().find(|(key, there)| *there && !known.contains(key)) {
            let rule = rule.name();
            return Err(format!("`optim.{key}` is no setting of the rule \"{rule}\"; remove it"));
        }
        let [beta1, beta2] = betas.unwrap_or([0.9, 0.999]);
        let epsilon = eps.unwrap_or(1e-8);
        let decay = weight_decay.unwrap_or(0.0);
        let rule = match rule {
            RuleName::Sgd => Rule::Sgd {
                momentum: momentum.ok_or_else(|| missing("momentum"))?,
                weight_decay: weight_decay.ok_or_else(|| missing("weight_decay"))?,
            },
            RuleName::Adam => Rule::Adam { beta1, beta2, epsilon, weight_decay: decay },
            RuleName::AdamW => Rule::AdamW { beta1, beta2, epsilon, weight_decay: decay },
            RuleName::RmsProp => {
                Rule::RmsProp { alpha: alpha.unwrap_or(0.99), epsilon, weight_decay: decay }
            }
        };
        Ok(Self { lr, rule, schedule })
    }
}

impl From<OptimSettings> for OptimFile {
    fn from(settings: OptimSettings) -> Self {
        let OptimSettings { lr, rule, schedule } = settings;
        let plain = Self {
            lr,
            rule: RuleName::Sgd,
            momentum: None,
            betas: None,
            alpha: None,
            eps: None,
            weight_decay: None,
            schedule,
        };
        match rule {
            Rule::Sgd { momentum, weight_decay } => {
                Self { momentum: Some(momentum), weight_decay: Some(weight_decay), ..plain }
            }
            Rule::Adam { beta1, beta2, epsilon, weight_decay } => Self {
                rule: RuleName::Adam,
                betas: Some([beta1, beta2]),
                eps: Some(epsilon),
                weight_decay: Some(weight_decay),
                ..plain
            },
            Rule::AdamW { beta1, beta2, epsilon, weight_decay } => Self {
                rule: RuleName::AdamW,
                betas: Some([beta1, beta2]),
                eps: Some(epsilon),
                weight_decay: Some(weight_decay),
                ..plain
            },
            Rule::RmsProp { alpha, epsilon, weight_decay } => Self {
                rule: RuleName::RmsProp,
                alpha: Some(alpha),
                eps: Some(epsilon),
                weight_decay: Some(weight_decay),
                ..plain
            },
        }
    }
}

impl OptimSettings {
    /// Numbers with the range they must lie in, by key. Decays of moments must be below 1.
    pub(crate) fn numbers(&self) -> Vec<(&'static str, f64, [f64; 2])> {
        const ANY: [f64; 2] = [0.0, f64::MAX];
        const DECAY: [f64; 2] = [0.0, 1.0 - f64::EPSILON];
        let mut numbers = vec![("optim.lr", self.lr, ANY)];
        numbers.extend(match self.rule {
            Rule::Sgd { momentum, weight_decay } => {
                vec![("optim.momentum", momentum, ANY), ("optim.weight_decay", weight_decay, ANY)]
            }
            Rule::Adam { beta1, beta2, epsilon, weight_decay }
            | Rule::AdamW { beta1, beta2, epsilon, weight_decay } => vec![
                ("optim.betas", beta1, DECAY),
                ("optim.betas", beta2, DECAY),
                ("optim.eps", epsilon, ANY),
                ("optim.weight_decay", weight_decay, ANY),
            ],
            Rule::RmsProp { alpha, epsilon, weight_decay } => vec![
                ("optim.alpha", alpha, DECAY),
                ("optim.eps", epsilon, ANY),
                ("optim.weight_decay", weight_decay, ANY),
            ],
        });
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rest: &str) -> Result<OptimSettings, String> {
        let text = format!("lr = 0.5\n{rest}\n[schedule]\nkind = \"constant\"\n");
        toml::from_str(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_read_and_written() {
        let sgd = read("momentum = 0.9\nweight_decay = 0.25").unwrap();
        assert_eq!(sgd.rule, Rule::sgd(0.9, 0.25));
        assert!(!toml::to_string(&sgd).unwrap().contains("rule"));
        let adam = read("rule = \"adam\"").unwrap();
        let wanted = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        assert_eq!(adam.rule, wanted);
        let adamw = read("rule = \"adamw\"\nbetas = [0.5, 0.75]\neps = 0.125\nweight_decay = 0.01");
        let rms = read("rule = \"rmsprop\"\nweight_decay = 0.5").unwrap();
        let wanted = Rule::RmsProp { alpha: 0.99, epsilon: 1e-8, weight_decay: 0.5 };
        assert_eq!(rms.rule, wanted);
        for settings in [sgd, adam, adamw.unwrap(), rms] {
            let text = toml::to_string(&settings).unwrap();
            assert_eq!(toml::from_str::<OptimSettings>(&text).unwrap(), settings, "{text}");
        }
    }

    #[test]
    fn settings_of_another_rule_are_refused() {
        let momentum = read("rule = \"adam\"\nmomentum = 0.9").unwrap_err();
        assert!(momentum.contains("optim.momentum") && momentum.contains("adam"), "{momentum}");
        let betas = read("momentum = 0.9\nweight_decay = 0.0\nbetas = [0.9, 0.9]").unwrap_err();
        assert!(betas.contains("optim.betas") && betas.contains("sgd"), "{betas}");
        let alpha = read("rule = \"adam\"\nalpha = 0.9").unwrap_err();
        assert!(alpha.contains("optim.alpha") && alpha.contains("adam"), "{alpha}");
        let betas = read("rule = \"rmsprop\"\nbetas = [0.9, 0.9]").unwrap_err();
        assert!(betas.contains("optim.betas") && betas.contains("rmsprop"), "{betas}");
        assert!(read("weight_decay = 0.0").unwrap_err().contains("missing field `momentum`"));
        assert!(read("rule = \"adams\"").unwrap_err().contains("adamw"));
    }
}
