//! The official names of the parameters.

use std::collections::BTreeMap;

use super::identify::{depth_of, describe_other};
use super::network::DilatedResNet;
use crate::weights::OfficialKeys;

impl OfficialKeys for DilatedResNet {
    fn official_key(path: &str) -> String {
        // Variants of enums are states of the network, not names in a file.
        let names: Vec<&str> =
            path.split('.').filter(|name| !name.starts_with(char::is_uppercase)).collect();
        let key = match names[..] {
            ["stem", i, ref rest @ ..] => numbered("", i, rest),
            [layer, block, "branch", i, ref rest @ ..] => {
                numbered(&format!("{layer}.{block}."), i, rest)
            }
            [layer, block, "last", ref rest @ ..] => {
                unit(&format!("{layer}.{block}."), "conv3", "bn3", rest)
            }
            [layer, block, "projection", ref rest @ ..] => {
                unit(&format!("{layer}.{block}."), "downsample.0", "downsample.1", rest)
            }
            _ => None,
        };
        key.unwrap_or_else(|| path.to_owned())
    }

    fn allows_extra(key: &str) -> bool {
        key.starts_with("fc.")
    }

    fn describe(&self) -> String {
        format!("a deep-stem {} with layer4", self.config())
    }

    fn looks_like_another(&self, shapes: &BTreeMap<&str, &[usize]>) -> Option<String> {
        match depth_of(shapes) {
            Some(found)
                if (found.depth, found.width)
                    == (self.config().depth, self.config().base_width()) =>
            {
                None
            }
            Some(found) => Some(format!("a deep-stem {found} with layer4")),
            None => describe_other(shapes),
        }
    }

    fn is_folded(&self) -> bool {
        Self::is_folded(self)
    }
}

fn numbered(block: &str, i: &str, names: &[&str]) -> Option<String> {
    let number = i.parse::<usize>().ok()? + 1;
    unit(block, &format!("conv{number}"), &format!("bn{number}"), names)
}

/// A parameter of a convolution and its norm.
fn unit(block: &str, conv: &str, norm: &str, names: &[&str]) -> Option<String> {
    match names {
        ["norm", name] => Some(format!("{block}{norm}.{name}")),
        ["conv", name] | [name] => Some(format!("{block}{conv}.{name}")),
        _ => None,
    }
}
