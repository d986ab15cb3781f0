//! Which network and method a file holds, told from keys and shapes.

use std::collections::BTreeMap;

use super::config::DilatedResNetConfig;
use crate::config::Depth;
use crate::weights::identify::{Shapes, blocks_and_kind, well_known};

/// Where POP and its baseline keep their backbone.
const BACKBONE: &str = "backbone.";

/// The network that tensors of these keys (with nothing in front) and shapes belong to. The output
/// stride leaves no trace in a file; it is given as the published one.
pub(super) fn depth_of(shapes: &BTreeMap<&str, &[usize]>) -> Option<DilatedResNetConfig> {
    let &[width, 3, 3, 3] = *shapes.get("conv1.weight")? else { return None };
    shapes.get("conv3.weight").filter(|shape| **shape == [2 * width, width, 3, 3])?;
    let ([a, b, c, d], kind) = blocks_and_kind(shapes);
    let depth = Depth::ALL.into_iter().find(|n| n.blocks() == [a, b, c] && n.block_kind() == kind);
    let config = DilatedResNetConfig::new(depth?).with_width(width);
    (d == 3 && config.validate().is_ok()).then_some(config)
}

/// What the tensors look like, if they are of a network of another family. Files with holes look
/// like nothing: there, the missing keys say more.
pub(super) fn describe_other(shapes: &Shapes<'_>) -> Option<String> {
    let has = |key: &str| shapes.contains_key(key);
    match shapes.get("conv1.weight") {
        Some([_, _, 7, 7]) => {
            Some("a ResNet with torchvision's 7x7 stem (POP's has three 3x3 convolutions)".into())
        }
        Some(_) => None,
        None if has("conv1.0.weight") || has("layer0.0.0.weight") => {
            Some("a deep-stem ResNet as SSP and MLC have it (its stem is named otherwise)".into())
        }
        None => well_known(shapes).map(str::to_owned),
    }
}

fn inner<'a>(shapes: &Shapes<'a>) -> Shapes<'a> {
    shapes.iter().filter_map(|(key, shape)| Some((key.strip_prefix(BACKBONE)?, *shape))).collect()
}

/// The dilated network in a file, by itself or as the backbone of a model.
pub(crate) fn dilated_of(shapes: &Shapes<'_>) -> Option<DilatedResNetConfig> {
    depth_of(&inner(shapes)).or_else(|| depth_of(shapes))
}

/// Which method the head in a file belongs to, if it is one of generalized segmentation.
pub(crate) fn generalized_method(shapes: &Shapes<'_>) -> Option<&'static str> {
    if shapes.contains_key("base_emb") {
        Some("pop")
    } else if shapes.contains_key("decoder.bottleneck.0.weight") {
        Some("pspnet")
    } else {
        None
    }
}

/// The whole model that a file holds, in words, if it is one of generalized segmentation or its
/// backbone.
pub(crate) fn describe_generalized(shapes: &Shapes<'_>) -> Option<String> {
    let rows = |key: &str| shapes.get(key).map_or(0, |shape| shape[0]);
    let backbone = dilated_of(shapes);
    let network = || backbone.map_or("an unknown backbone".to_owned(), |config| config.to_string());
    match generalized_method(shapes) {
        Some("pop") => {
            let (base, novel) = (rows("base_emb"), rows("novel_emb"));
            let stage = if novel == 0 { "stage 1" } else { "stage 2" };
            Some(format!("POP, {stage}, with {}: {base} base and {novel} novel classes", network()))
        }
        Some(_) => {
            let base = rows("classifier.weight").saturating_sub(1);
            let novel = rows("classifier_n.weight");
            Some(format!("PSPNet with {}: {base} base and {novel} novel classes", network()))
        }
        None => Some(format!("a deep-stem {} with layer4", backbone?)),
    }
}
