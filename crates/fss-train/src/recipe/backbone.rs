//! The backbone of a recipe.

use std::fmt;

use fss_backbone::{
    BackboneError, DeepStemResNetConfig, Depth, Layer3, TapBackboneConfig, TapNetwork,
};
use serde::{Deserialize, Serialize};

use super::Recipe;
use crate::TrainError;

/// The backbone; in a file the keys say which family it is of:
///
/// ```toml
/// backbone = { depth = "resnet50", width = 64 }     # a ResNet with a deep stem (SSP, MLC)
/// backbone = { network = "resnet50", width = 64 }   # a classifier with taps (HSNet, IMR)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "BackboneFile")]
pub enum BackboneSettings {
    /// A ResNet with a deep stem, which SSP and MLC are built on.
    DeepStem(DeepStemResNetConfig),
    /// A classifier that is tapped at many depths, which HSNet and IMR are built on.
    Taps(TapBackboneConfig),
}

/// Keys that tell the families apart: a file that gives one of them over a recipe with the other
/// means another backbone altogether.
pub(super) const FAMILY_KEYS: [&str; 2] = ["depth", "network"];

/// All keys of both families.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackboneFile {
    depth: Option<Depth>,
    network: Option<TapNetwork>,
    width: Option<usize>,
    layer3: Option<Layer3>,
}

impl TryFrom<BackboneFile> for BackboneSettings {
    type Error = String;

    fn try_from(file: BackboneFile) -> Result<Self, String> {
        let BackboneFile { depth, network, width, layer3 } = file;
        let choice = "`depth` for a deep-stem ResNet (ssp, mlc), `network` for a classifier with taps \
                      (hsnet, imr)";
        match (depth, network, layer3) {
            (Some(depth), None, layer3) => {
                let mut config = DeepStemResNetConfig::new(depth);
                config.width = width.unwrap_or(config.width);
                config.layer3 = layer3.unwrap_or(config.layer3);
                Ok(Self::DeepStem(config))
            }
            (None, Some(network), None) => {
                let mut config = TapBackboneConfig::new(network);
                config.width = width.unwrap_or(config.width);
                Ok(Self::Taps(config))
            }
            (None, Some(_), Some(_)) => Err("`backbone.layer3` is a setting of deep-stem ResNets \
                                             (`depth`); a `network` with taps has none"
                .to_owned()),
            (Some(_), Some(_), _) => {
                Err(format!("`backbone` names both `depth` and `network`; give one: {choice}"))
            }
            (None, None, _) => Err(format!("`backbone` names no network; give {choice}")),
        }
    }
}

impl BackboneSettings {
    /// Refuses widths that no network can have.
    pub(super) fn validate(&self) -> Result<(), BackboneError> {
        match self {
            Self::DeepStem(config) => config.validate(),
            Self::Taps(config) => config.validate(),
        }
    }

    /// The usual name of the network, as `resnet50`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DeepStem(config) => config.depth.name(),
            Self::Taps(config) => config.network.name(),
        }
    }
}

impl From<DeepStemResNetConfig> for BackboneSettings {
    fn from(config: DeepStemResNetConfig) -> Self {
        Self::DeepStem(config)
    }
}

impl From<TapBackboneConfig> for BackboneSettings {
    fn from(config: TapBackboneConfig) -> Self {
        Self::Taps(config)
    }
}

impl fmt::Display for BackboneSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeepStem(config) => config.fmt(f),
            Self::Taps(config) => config.fmt(f),
        }
    }
}

impl Recipe {
    /// The deep-stem ResNet of a recipe for SSP or MLC.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] if the backbone is a classifier with taps.
    pub fn deep_stem(&self) -> Result<DeepStemResNetConfig, TrainError> {
        match self.backbone {
            BackboneSettings::DeepStem(config) => Ok(config),
            BackboneSettings::Taps(config) => {
                let family = format!("`backbone.network` is {config}, a classifier with taps");
                Err(self.other_family(&family, "depth = \"resnet50\""))
            }
        }
    }

    /// The classifier with taps of a recipe for HSNet or IMR.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] if the backbone is a deep-stem ResNet.
    pub fn tap_network(&self) -> Result<TapBackboneConfig, TrainError> {
        match self.backbone {
            BackboneSettings::Taps(config) => Ok(config),
            BackboneSettings::DeepStem(config) => {
                let family = format!("`backbone.depth` is {config}, a deep-stem ResNet");
                Err(self.other_family(&family, "network = \"resnet50\""))
            }
        }
    }

    fn other_family(&self, family: &str, wanted: &str) -> TrainError {
        TrainError::Recipe {
            origin: self.name.clone(),
            problem: format!("{family}, but {} is built on another kind", self.model.kind()),
            remedy: format!("give `{wanted}` in [backbone], or another model"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BackboneSettings, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_keys_tell_the_families_apart() {
        let deep = read("depth = \"resnet18\"\nwidth = 4\nlayer3 = \"dilated\"").unwrap();
        let config =
            DeepStemResNetConfig::new(Depth::R18).with_width(4).with_layer3(Layer3::Dilated);
        assert_eq!(deep, config.into());
        assert_eq!(read("depth = \"resnet50\"").unwrap().to_string(), "resnet50");
        let taps = read("network = \"vgg16\"\nwidth = 8").unwrap();
        assert_eq!(taps, TapBackboneConfig::new(TapNetwork::Vgg16).with_width(8).into());
        for settings in [deep, taps] {
            let text = toml::to_string(&settings).unwrap();
            assert_eq!(read(&text).unwrap(), settings, "{text}");
        }
        assert_eq!(toml::to_string(&taps).unwrap(), "network = \"vgg16\"\nwidth = 8\n");
    }

    #[test]
    fn mistakes_are_named() {
        let both = read("depth = \"resnet50\"\nnetwork = \"resnet50\"").unwrap_err();
        assert!(both.contains("both `depth` and `network`") && both.contains("ssp"), "{both}");
        let none = read("width = 8").unwrap_err();
        assert!(none.contains("names no network") && none.contains("`network`"), "{none}");
        let foreign = read("network = \"vgg16\"\nlayer3 = \"dilated\"").unwrap_err();
        assert!(foreign.contains("layer3"), "{foreign}");
        let unknown = read("network = \"resnet18\"").unwrap_err();
        assert!(unknown.contains("resnet18") && unknown.contains("resnet101"), "{unknown}");
        assert!(read("networks = \"vgg16\"").unwrap_err().contains("networks"));
    }
}
