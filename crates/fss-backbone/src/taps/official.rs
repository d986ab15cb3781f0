//! Torchvision's names for the parameters.

use std::collections::BTreeMap;

use super::identify::describe_other;
use super::network::TapBackbone;
use super::vgg::FEATURES;
use crate::weights::OfficialKeys;

impl OfficialKeys for TapBackbone {
    fn official_key(path: &str) -> String {
        // Variants of enums are states of the network, not names in a file.
        let names: Vec<&str> =
            path.split('.').filter(|name| !name.starts_with(char::is_uppercase)).collect();
        let key = match names[..] {
            ["network", "convs", i, name] => convolution(i, name),
            ["network", "stem", ref rest @ ..] => unit("", "conv1", "bn1", rest),
            ["network", layer, block, ref rest @ ..] => {
                in_block(&format!("{layer}.{block}."), rest)
            }
            _ => None,
        };
        key.unwrap_or_else(|| path.to_owned())
    }

    fn allows_extra(key: &str) -> bool {
        is_classifier(key)
    }

    fn describe(&self) -> String {
        self.config().to_string()
    }

    fn looks_like_another(&self, shapes: &BTreeMap<&str, &[usize]>) -> Option<String> {
        describe_other(shapes, self.config())
    }

    fn is_folded(&self) -> bool {
        Self::is_folded(self)
    }
}

/// Whether a key belongs to the classifier part of torchvision's networks, which no tap needs.
pub(crate) fn is_classifier(key: &str) -> bool {
    key.starts_with("fc.") || key.starts_with("classifier.")
}

fn convolution(i: &str, name: &str) -> Option<String> {
    let index: usize = i.parse().ok()?;
    Some(format!("features.{}.{name}", FEATURES.get(index)?))
}

fn in_block(block: &str, names: &[&str]) -> Option<String> {
    match names {
        ["branch", i, rest @ ..] => {
            let number = i.parse::<usize>().ok()? + 1;
            unit(block, &format!("conv{number}"), &format!("bn{number}"), rest)
        }
        ["last", rest @ ..] => unit(block, "conv3", "bn3", rest),
        ["projection", rest @ ..] => unit(block, "downsample.0", "downsample.1", rest),
        _ => None,
    }
}

/// A parameter of a convolution and its norm.
fn unit(block: &str, conv: &str, norm: &str, names: &[&str]) -> Option<String> {
    match names {
        ["norm", name] => Some(format!("{block}{norm}.{name}")),
        ["conv", name] | [name] => Some(format!("{block}{conv}.{name}")),
        _ => None,
    }
}
