//! The names of the parameters: those of the checkpoints, and the others that files have.

use std::collections::BTreeMap;

use super::config::ImagenetNetwork;
use super::identify::describe_other;
use super::network::ImagenetBackbone;
use super::vgg::GROUPS;
use crate::taps::{TapBackbone, VGG_FEATURES, is_classifier};
use crate::weights::OfficialKeys;

/// Where the convolutions of VGG-16 with batch norm stand in torchvision's list; the norm of each is
/// the next entry.
const NORMED_FEATURES: [usize; 13] = [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40];

/// What DenseNet-121 has behind the third dense block.
const CUT_OFF: [&str; 3] = ["features.transition3.", "features.denseblock4.", "features.norm5."];

/// Where AMP's checkpoints have the groups of convolutions a second time.
const SECOND: [&str; 5] = ["level1.0", "level1.2", "level1.4", "level2.0", "level3.0"];

/// The first group that AMP counts from 0 again.
const RENUMBERED: usize = 3;

/// Indices of VGG's convolutions in torchvision's list of layers.
pub(super) fn vgg_places(batch_norm: bool) -> &'static [usize; 13] {
    if batch_norm { &NORMED_FEATURES } else { &VGG_FEATURES }
}

impl OfficialKeys for ImagenetBackbone {
    fn official_key(path: &str) -> String {
        let family = path.split('.').find(|name| name.starts_with(char::is_uppercase));
        let names: Vec<&str> =
            path.split('.').filter(|name| !name.starts_with(char::is_uppercase)).collect();
        let key = match (family, &names[..]) {
            (Some("Densenet"), ["network", rest @ ..]) => densenet(rest),
            (Some("Vgg"), ["network", "convs", i, rest @ ..]) => {
                vgg(i, rest, path.contains(".Normed."))
            }
            (Some("Resnet"), _) => Some(TapBackbone::official_key(path)),
            _ => None,
        };
        key.unwrap_or_else(|| path.to_owned())
    }

    fn allows_extra(key: &str) -> bool {
        is_classifier(key) || CUT_OFF.iter().any(|part| key.starts_with(part))
    }

    fn resolve(&self, key: &str) -> Option<String> {
        match self.network() {
            ImagenetNetwork::Resnet50 | ImagenetNetwork::Resnet101 => None,
            ImagenetNetwork::Densenet121 => densenet_file(key),
            ImagenetNetwork::Vgg16 => vgg_file(key, false),
            ImagenetNetwork::Vgg16Bn => vgg_file(key, true),
        }
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

impl ImagenetBackbone {
    /// The second name that AMP's checkpoints have for a tensor of VGG: `level1.0.0.weight` of
    /// `conv1.0.weight`. `None` if `key` is not one of AMP's names.
    pub fn second_key(key: &str) -> Option<String> {
        let (group, rest) = key.strip_prefix("conv")?.split_once('.')?;
        let group: usize = group.parse().ok()?;
        rest.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
        Some(format!("{}.{rest}", SECOND.get(group.checked_sub(1)?)?))
    }
}

/// A parameter of DenseNet by its field names.
fn densenet(names: &[&str]) -> Option<String> {
    let key = match names {
        ["stem", "conv", name] => format!("conv0.{name}"),
        ["stem", "norm", name] => format!("norm0.{name}"),
        [transition @ ("transition1" | "transition2"), part, name] => {
            format!("{transition}.{part}.{name}")
        }
        [block, i, rest @ ..] => {
            let number = i.parse::<usize>().ok()? + 1;
            let layer = format!("dense{block}.denselayer{number}");
            match rest {
                ["norm", name] => format!("{layer}.norm1.{name}"),
                ["reduce", "conv", name] => format!("{layer}.conv1.{name}"),
                ["reduce", "norm", name] => format!("{layer}.norm2.{name}"),
                ["grow", name] => format!("{layer}.conv2.{name}"),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(key)
}

/// A key of torchvision's file: `features.` comes off, and what old files call `norm.1` is `norm1`.
fn densenet_file(key: &str) -> Option<String> {
    let inner = key.strip_prefix("features.")?;
    let Some((layer, part)) = inner.split_once(".denselayer") else {
        return Some(inner.to_owned());
    };
    let mut part = part.to_owned();
    for old in ["norm.1.", "norm.2.", "conv.1.", "conv.2."] {
        part = part.replace(&format!(".{old}"), &format!(".{}", old.replacen('.', "", 1)));
    }
    Some(format!("{layer}.denselayer{part}"))
}

/// A parameter of convolution `i` of VGG and its norm by its field names.
fn vgg(i: &str, names: &[&str], batch_norm: bool) -> Option<String> {
    let i: usize = i.parse().ok()?;
    match names {
        ["norm", name] => amp_key(i, true, name, batch_norm),
        ["conv", name] | [name] => amp_key(i, false, name, batch_norm),
        _ => None,
    }
}

/// AMP's name of a parameter of convolution `i`, or of the norm behind it.
pub(super) fn amp_key(i: usize, norm: bool, name: &str, batch_norm: bool) -> Option<String> {
    let places = vgg_places(batch_norm);
    let mut first = 0;
    for (group, dilations) in GROUPS.iter().enumerate() {
        if i < first + dilations.len() {
            let start = if group < RENUMBERED { 0 } else { places[first] };
            let place = places[i] - start + usize::from(norm);
            return Some(format!("conv{}.{place}.{name}", group + 1));
        }
        first += dilations.len();
    }
    None
}

/// A key of torchvision's file, or the second name of a tensor in a checkpoint of AMP.
pub(super) fn vgg_file(key: &str, batch_norm: bool) -> Option<String> {
    if let Some(rest) = key.strip_prefix("features.") {
        let (place, name) = rest.split_once('.')?;
        let place: usize = place.parse().ok()?;
        let places = vgg_places(batch_norm);
        let at = |place: usize| places.iter().position(|p| *p == place);
        return match (at(place), place.checked_sub(1).and_then(at)) {
            (Some(i), _) => amp_key(i, false, name, batch_norm),
            (None, Some(i)) if batch_norm => amp_key(i, true, name, batch_norm),
            _ => None,
        };
    }
    SECOND.iter().enumerate().find_map(|(group, second)| {
        let rest = key.strip_prefix(second)?.strip_prefix('.')?;
        Some(format!("conv{}.{rest}", group + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torchvision_names_of_vgg_become_those_of_amp() {
        let plain = |key| vgg_file(key, false);
        assert_eq!(plain("features.0.weight").unwrap(), "conv1.0.weight");
        assert_eq!(plain("features.7.bias").unwrap(), "conv2.7.bias");
        assert_eq!(plain("features.17.bias").unwrap(), "conv4.0.bias");
        assert_eq!(plain("features.28.weight").unwrap(), "conv5.4.weight");
        assert_eq!(plain("features.1.weight"), None);
        let normed = |key| vgg_file(key, true);
        assert_eq!(normed("features.1.running_var").unwrap(), "conv1.1.running_var");
        assert_eq!(normed("features.14.bias").unwrap(), "conv3.14.bias");
        assert_eq!(normed("features.31.bias").unwrap(), "conv4.7.bias");
        assert_eq!(
            normed("features.41.num_batches_tracked").unwrap(),
            "conv5.7.num_batches_tracked"
        );
    }

    #[test]
    fn second_names_lead_back() {
        for key in ["conv1.0.weight", "conv2.7.bias", "conv3.14.weight", "conv5.4.bias"] {
            let second = ImagenetBackbone::second_key(key).unwrap();
            assert_eq!(vgg_file(&second, false).unwrap(), key);
        }
        assert_eq!(ImagenetBackbone::second_key("conv4.2.bias").unwrap(), "level2.0.2.bias");
        for other in ["conv1.weight", "conv0.weight", "conv6.0.weight", "fully_conv.0.bias"] {
            assert_eq!(ImagenetBackbone::second_key(other), None, "{other}");
        }
        assert_eq!(vgg_file("level3.2.0.weight", false), None);
    }

    #[test]
    fn old_names_of_dense_layers_become_new_ones() {
        let new = |key| densenet_file(key).unwrap();
        let old = "features.denseblock2.denselayer11.norm.2.running_mean";
        assert_eq!(new(old), "denseblock2.denselayer11.norm2.running_mean");
        assert_eq!(
            new("features.denseblock1.denselayer1.conv.1.weight"),
            "denseblock1.denselayer1.conv1.weight"
        );
        assert_eq!(
            new("features.denseblock1.denselayer1.conv1.weight"),
            "denseblock1.denselayer1.conv1.weight"
        );
        assert_eq!(new("features.transition1.norm.weight"), "transition1.norm.weight");
        assert_eq!(densenet_file("denseblock1.denselayer1.conv1.weight"), None);
    }
}
