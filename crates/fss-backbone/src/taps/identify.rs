//! Which network a file holds, told from torchvision's keys and shapes.

use std::collections::BTreeMap;

use super::config::{TapBackboneConfig, TapNetwork};
use super::official::is_classifier;
use super::vgg::{FEATURES, kernels};
use crate::config::Depth;
use crate::error::BackboneError;
use crate::weights::ModuleFile;
use crate::weights::identify::{Shapes, blocks_and_kind, well_known};

/// What HSNet and IMR call the part that squeezes correlations.
const LEARNER: &str = "hpn_learner.";

/// Where HSNet and IMR keep their backbone.
const BACKBONE: &str = "backbone.";

impl TapBackboneConfig {
    /// The network that tensors of these keys (torchvision's, with nothing in front) and shapes
    /// belong to, if it is one that can be tapped. Keys of the classifier part play no role.
    pub fn identify<'a>(
        shapes: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Option<TapBackboneConfig> {
        of_shapes(&shapes.into_iter().collect())
    }

    /// [`Self::identify`] of the tensors of a file whose keys start with `prefix`, such as
    /// `"backbone."`, or of all with `""`.
    pub fn of_file(file: &ModuleFile, prefix: &str) -> Option<TapBackboneConfig> {
        Self::identify(
            file.shapes().filter_map(|(k, shape)| Some((k.strip_prefix(prefix)?, shape))),
        )
    }

    /// Refuses a file whose tensors under `prefix` are those of another network.
    ///
    /// # Errors
    /// [`BackboneError::OtherBackbone`] that names both.
    pub fn expect_in(&self, file: &ModuleFile, prefix: &str) -> Result<(), BackboneError> {
        match Self::of_file(file, prefix) {
            Some(found) if found != *self => Err(BackboneError::OtherBackbone {
                path: file.path().to_owned(),
                found: found.to_string(),
                asked: self.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

fn of_shapes(shapes: &Shapes<'_>) -> Option<TapBackboneConfig> {
    let config = resnet(shapes).or_else(|| vgg16(shapes))?;
    config.validate().is_ok().then_some(config)
}

fn resnet(shapes: &Shapes<'_>) -> Option<TapBackboneConfig> {
    let &[width, 3, 7, 7] = *shapes.get("conv1.weight")? else { return None };
    // Wide and grouped relatives have the same blocks with another 3x3 convolution.
    let plain = shapes.get("layer1.0.conv2.weight") == Some(&[width, width, 3, 3].as_slice());
    let bottleneck = shapes.contains_key("layer1.0.conv3.weight");
    let (blocks, _) = blocks_and_kind(shapes);
    let network = TapNetwork::ALL.into_iter().find(|n| n.blocks() == Some(blocks))?;
    (plain && bottleneck).then_some(TapBackboneConfig { network, width })
}

fn vgg16(shapes: &Shapes<'_>) -> Option<TapBackboneConfig> {
    let &[width, 3, 3, 3] = *shapes.get("features.0.weight")? else { return None };
    let mut expected = BTreeMap::new();
    for (i, kernel) in FEATURES.into_iter().zip(kernels(width)) {
        expected.insert(format!("features.{i}.weight"), kernel.to_vec());
        expected.insert(format!("features.{i}.bias"), kernel[..1].to_vec());
    }
    let mut found = 0;
    for (key, shape) in shapes.iter().filter(|(key, _)| !is_classifier(key)) {
        if expected.get(*key).is_none_or(|wanted| wanted != shape) {
            return None;
        }
        found += 1;
    }
    (found == expected.len()).then_some(TapBackboneConfig { network: TapNetwork::Vgg16, width })
}

/// What the tensors look like, if they are of another network than the one asked for. Files with
/// holes look like nothing: there, the missing keys say more.
pub(crate) fn describe_other(shapes: &Shapes<'_>, asked: &TapBackboneConfig) -> Option<String> {
    if let Some(config) = of_shapes(shapes) {
        return (config != *asked).then(|| config.to_string());
    }
    let has = |key: &str| shapes.contains_key(key);
    let (blocks @ [a, b, c, _], kind) = blocks_and_kind(shapes);
    let depth = Depth::ALL.into_iter().find(|d| d.blocks() == [a, b, c] && d.block_kind() == kind);
    if has("conv1.0.weight") || has("layer0.0.0.weight") {
        let depth = depth.map_or("ResNet", Depth::name);
        return Some(format!("a deep-stem {depth} (three 3x3 convolutions for one 7x7)"));
    }
    if has("conv1.weight") {
        let depth = depth?;
        let same_blocks = asked.network.blocks() == Some(blocks);
        let other_kernel = match (shapes.get("conv1.weight"), shapes.get("layer1.0.conv2.weight")) {
            (Some([width, ..]), Some([c_out, c_in, ..])) => c_out != width || c_in != width,
            _ => false,
        };
        return match (other_kernel, same_blocks) {
            (true, _) => Some(format!("a wide or grouped relative of {depth}")),
            (false, true) => None,
            (false, false) => Some(format!("torchvision's {depth}")),
        };
    }
    if has("features.0.weight") {
        let mut numbers = shapes.keys().filter_map(|key| {
            key.strip_prefix("features.")?.strip_suffix(".weight")?.parse::<usize>().ok()
        });
        if shapes.keys().any(|key| key.ends_with("running_mean")) {
            return Some("a VGG network with batch norm".to_owned());
        } else if numbers.any(|i| !FEATURES.contains(&i)) {
            return Some("a VGG network of another depth than 16".to_owned());
        } else if asked.network == TapNetwork::Vgg16 {
            return None;
        }
    }
    well_known(shapes).map(str::to_owned)
}

/// The network with taps in a file, by itself or as the backbone of a model.
pub(crate) fn taps_of(shapes: &Shapes<'_>) -> Option<TapBackboneConfig> {
    let inner = shapes.iter().filter_map(|(k, shape)| Some((k.strip_prefix(BACKBONE)?, *shape)));
    TapBackboneConfig::identify(inner).or_else(|| of_shapes(shapes))
}

/// Which method the head in a file belongs to, if it is one that correlates taps.
pub(crate) fn correlating_method(shapes: &Shapes<'_>) -> Option<&'static str> {
    if shapes.contains_key("hpn_learner.decoder1.0.weight") {
        Some("hsnet")
    } else if shapes.contains_key("convz0.weight") {
        Some("imr")
    } else {
        None
    }
}

/// The whole model that a file holds, in words, if its backbone is one that can be tapped or its
/// head one of those that tap; `shapes` by the keys of its state dict.
pub(crate) fn describe_model(shapes: &Shapes<'_>) -> Option<String> {
    let inner = shapes.iter().filter_map(|(k, shape)| Some((k.strip_prefix(BACKBONE)?, *shape)));
    let backbone = TapBackboneConfig::identify(inner);
    let any = |prefix: &str| shapes.keys().any(|key| key.starts_with(prefix));
    if any(LEARNER) {
        let method = match (any("hpn_learner.decoder1."), any("convz0.")) {
            (true, _) => "HSNet",
            (_, true) => "IMR",
            _ => "a head of HSNet's kind",
        };
        return Some(match backbone {
            Some(config) => format!("{method} with {config}"),
            None if any(BACKBONE) => format!("{method} with an unknown backbone"),
            None => format!("{method} without its backbone"),
        });
    }
    let config = backbone.or_else(|| of_shapes(shapes))?;
    Some(format!("torchvision's {config}"))
}
