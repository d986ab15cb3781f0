//! The key names of the official files, and how they map onto each other.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::read::{StoredTensor, WeightFile};
use crate::error::BackboneError;

/// Who names the tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStyle {
    /// Told from the keys when reading; the SSP names when writing.
    #[default]
    Auto,
    /// SSP checkpoints: `layer0.0.0.weight`, `layer0.1.bias`, `layer1.0.conv1.weight`.
    Ssp,
    /// MLC checkpoints: `backbone.conv1.0.weight`, `backbone.bn1.bias`, `backbone.layer1...`.
    Mlc,
    /// ImageNet files: `conv1.0.weight`, `bn1.bias`, `layer1...`, beside `layer4` and `fc`.
    ImageNet,
}

impl fmt::Display for KeyStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Ssp => "ssp",
            Self::Mlc => "mlc",
            Self::ImageNet => "imagenet",
        })
    }
}

impl FromStr for KeyStyle {
    type Err = BackboneError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "ssp" => Ok(Self::Ssp),
            "mlc" => Ok(Self::Mlc),
            "imagenet" => Ok(Self::ImageNet),
            _ => Err(BackboneError::UnknownKeyStyle { name: name.to_owned() }),
        }
    }
}

impl KeyStyle {
    /// An official SSP key, such as [`NamedTensor::key`](crate::NamedTensor), in this style.
    pub fn spell(self, key: &str) -> String {
        let prefix = match self {
            Self::Auto | Self::Ssp => return key.to_owned(),
            Self::Mlc => "backbone.",
            Self::ImageNet => "",
        };
        if let Some(rest) = key.strip_prefix("layer0.0.") {
            format!("{prefix}conv1.{rest}")
        } else if let Some(rest) = key.strip_prefix("layer0.1.") {
            format!("{prefix}bn1.{rest}")
        } else {
            format!("{prefix}{key}")
        }
    }

    /// A key of this style as SSP key. Keys that the style does not know stay as they are, and
    /// then are found to be unused.
    fn to_ssp(self, key: &str) -> String {
        let inner = match self {
            Self::Auto | Self::Ssp => return key.to_owned(),
            Self::Mlc => match key.strip_prefix("backbone.") {
                Some(inner) => inner,
                None => return key.to_owned(),
            },
            Self::ImageNet => key,
        };
        if let Some(rest) = inner.strip_prefix("conv1.") {
            format!("layer0.0.{rest}")
        } else if let Some(rest) = inner.strip_prefix("bn1.") {
            format!("layer0.1.{rest}")
        } else if inner.starts_with("layer0.") {
            key.to_owned()
        } else {
            inner.to_owned()
        }
    }

    /// Whether a file of this style may hold this key although the backbone has no place for it.
    fn allows_extra(self, key: &str) -> bool {
        match self {
            Self::ImageNet => key.starts_with("layer4.") || key.starts_with("fc."),
            // The full method of MLC: its mining branch and its global background prototype.
            Self::Mlc => key.starts_with("decoder.") || key.starts_with("rectification."),
            Self::Auto | Self::Ssp => false,
        }
    }

    /// The style of a set of keys, if they look like one of them.
    pub(crate) fn detect<'a>(keys: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut found = None;
        for key in keys {
            if key.starts_with("layer0.") {
                return Some(Self::Ssp);
            } else if key.starts_with("backbone.") {
                return Some(Self::Mlc);
            } else if key.starts_with("conv1.") || key.starts_with("bn1.") {
                found = Some(Self::ImageNet);
            }
        }
        found
    }
}

/// Names under which training scripts keep the state dict in a larger checkpoint.
const WRAPPERS: [&str; 5] = ["state_dict.", "model_state_dict.", "model_state.", "model.", "net."];

/// What `DataParallel` puts in front of every key.
const PARALLEL_PREFIX: &str = "module.";

/// The tensors of a file under SSP keys, and what was done to get there.
#[derive(Debug)]
pub(crate) struct SortedFile {
    pub path: PathBuf,
    pub style: KeyStyle,
    /// Prefix that was taken off all keys, e.g. `state_dict.module.`.
    pub prefix: String,
    pub tensors: BTreeMap<String, StoredTensor>,
    pub ignored: Vec<String>,
    /// Text entries beside the tensors.
    pub metadata: BTreeMap<String, String>,
}

/// Takes wrappers and prefixes off, tells the style and renames to SSP keys.
pub(crate) fn sort_keys(file: WeightFile, asked: KeyStyle) -> Result<SortedFile, BackboneError> {
    let WeightFile { path, tensors, metadata, .. } = file;
    let (prefix, ignored) = common_prefix(tensors.iter().map(|t| t.key.as_str()));
    let inner = |key: &str| key.strip_prefix(prefix.as_str()).map(str::to_owned);
    let style = match asked {
        KeyStyle::Auto => {
            KeyStyle::detect(tensors.iter().filter_map(|t| t.key.strip_prefix(&prefix)))
                .unwrap_or(KeyStyle::Ssp)
        }
        style => style,
    };
    let mut sorted = SortedFile {
        path,
        style,
        prefix: prefix.clone(),
        tensors: BTreeMap::new(),
        ignored,
        metadata,
    };
    for tensor in tensors {
        // What lies outside the state dict is in `ignored` already.
        let Some(key) = inner(&tensor.key) else { continue };
        if style.allows_extra(&key) {
            sorted.ignored.push(tensor.key);
            continue;
        }
        let second = tensor.key.clone();
        if let Some(first) = sorted.tensors.insert(style.to_ssp(&key), tensor) {
            let path = sorted.path;
            return Err(BackboneError::DuplicateKey { path, first: first.key, second });
        }
    }
    Ok(sorted)
}

/// The prefix to take off (wrapper and `module.`), and the keys that lie outside the wrapper.
pub(crate) fn common_prefix<'a>(keys: impl Iterator<Item = &'a str>) -> (String, Vec<String>) {
    let keys: Vec<&str> = keys.collect();
    let mut prefix = String::new();
    let mut outside = Vec::new();
    // A state dict that is one already has its known names at the root.
    if KeyStyle::detect(keys.iter().copied()).is_none()
        && let Some(wrapper) =
            WRAPPERS.iter().find(|wrapper| keys.iter().any(|key| key.starts_with(**wrapper)))
    {
        prefix.push_str(wrapper);
        outside.extend(keys.iter().filter(|k| !k.starts_with(&prefix)).map(|k| (*k).to_owned()));
    }
    loop {
        let longer = format!("{prefix}{PARALLEL_PREFIX}");
        let mut inside = keys.iter().filter(|key| key.starts_with(&prefix)).peekable();
        if inside.peek().is_none() || !inside.all(|key| key.starts_with(&longer)) {
            return (prefix, outside);
        }
        prefix = longer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_goes_there_and_back() {
        for key in ["layer0.0.0.weight", "layer0.1.running_var", "layer1.0.downsample.0.weight"] {
            for style in [KeyStyle::Ssp, KeyStyle::Mlc, KeyStyle::ImageNet] {
                assert_eq!(style.to_ssp(&style.spell(key)), key);
            }
        }
        assert_eq!(KeyStyle::Mlc.spell("layer0.1.bias"), "backbone.bn1.bias");
        assert_eq!(KeyStyle::ImageNet.spell("layer0.0.3.weight"), "conv1.3.weight");
    }

    #[test]
    fn wrapper_and_parallel_prefix_come_off_together() {
        let keys =
            ["state_dict.module.conv1.0.weight", "state_dict.module.bn1.bias", "optimizer.x"];
        let (prefix, outside) = common_prefix(keys.into_iter());
        assert_eq!(prefix, "state_dict.module.");
        assert_eq!(outside, ["optimizer.x"]);
        assert_eq!(common_prefix(["conv1.0.weight", "module.x"].into_iter()).0, "");
        assert_eq!(common_prefix(std::iter::empty()).0, "");
    }

    #[test]
    fn foreign_keys_have_no_style() {
        assert_eq!(KeyStyle::detect(["features.0.weight"].into_iter()), None);
        assert_eq!(
            KeyStyle::detect(["fc.weight", "bn1.bias"].into_iter()),
            Some(KeyStyle::ImageNet)
        );
    }
}
