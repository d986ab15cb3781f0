//! Which backbone a file holds, told from keys and shapes.

use std::collections::BTreeMap;
use std::path::Path;

use super::keys::SortedFile;
use crate::clip::ClipConfig;
use crate::config::{BlockKind, DeepStemResNetConfig, Depth, Layer3};
use crate::dilated::describe_generalized;
use crate::error::BackboneError;
use crate::imagenet::describe_extending;
use crate::taps::describe_model;

/// What the keys and shapes of a file say about its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A deep-stem ResNet.
    DeepStem {
        /// `None` if the blocks are those of no known depth.
        depth: Option<Depth>,
        width: usize,
        blocks: [usize; 3],
    },
    /// A ResNet with torchvision's stem.
    SevenBySeven { stem_shape: Vec<usize>, depth: Option<Depth> },
    /// A CLIP with a ResNet image encoder.
    Clip(ClipConfig),
    /// Something else, in words if it has well-known names.
    Other(Option<&'static str>),
}

/// The metadata entry that says how layer3 keeps its field of view.
pub(crate) const LAYER3_ENTRY: &str = "fss.layer3";

/// The metadata entry that says at which output stride a dilated network was trained; shapes do not
/// show it.
pub(crate) const OUTPUT_STRIDE_ENTRY: &str = "fss.output_stride";

/// How a file says that layer3 keeps its field of view; shapes do not show it.
pub(crate) fn stored_layer3(metadata: &BTreeMap<String, String>) -> Option<Layer3> {
    Layer3::by_name(metadata.get(LAYER3_ENTRY)?)
}

/// Shapes by SSP key.
pub(crate) type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

pub(crate) fn identify(shapes: &Shapes<'_>) -> Identity {
    let ([a, b, c, _], kind) = blocks_and_kind(shapes);
    let blocks = [a, b, c];
    if let Ok(clip) = ClipConfig::from_shapes(|key| shapes.get(key).copied()) {
        return Identity::Clip(clip);
    }
    let depth = Depth::ALL.into_iter().find(|d| d.blocks() == blocks && d.block_kind() == kind);
    // `conv1.weight` becomes `layer0.0.weight` when ImageNet keys are renamed.
    for stem in ["conv1.weight", "layer0.0.weight"] {
        if let Some([_, _, 7, 7]) = shapes.get(stem) {
            return Identity::SevenBySeven { stem_shape: shapes[stem].to_vec(), depth };
        }
    }
    match shapes.get("layer0.0.0.weight") {
        Some([width, _, _, _]) if blocks != [0; 3] => {
            Identity::DeepStem { depth, width: *width, blocks }
        }
        _ => Identity::Other(well_known(shapes)),
    }
}

/// Numbers of blocks of layer1 to layer4, and which blocks they are.
pub(crate) fn blocks_and_kind(shapes: &Shapes<'_>) -> ([usize; 4], BlockKind) {
    let kind = match shapes.contains_key("layer1.0.conv3.weight") {
        true => BlockKind::Bottleneck,
        false => BlockKind::Basic,
    };
    ([1, 2, 3, 4].map(|layer| count_blocks(shapes, layer)), kind)
}

/// What the keys and shapes of a file look like, in words.
pub(crate) fn describe_network(shapes: &Shapes<'_>) -> Option<String> {
    describe_generalized(shapes)
        .or_else(|| describe_extending(shapes))
        .or_else(|| describe_model(shapes))
        .or_else(|| identify(shapes).describe())
}

fn count_blocks(shapes: &Shapes<'_>, layer: usize) -> usize {
    let prefix = format!("layer{layer}.");
    let numbers = shapes
        .keys()
        .filter_map(|key| key.strip_prefix(&prefix)?.split('.').next()?.parse::<usize>().ok());
    numbers.max().map_or(0, |last| last.saturating_add(1))
}

/// Networks of other families by the names that everyone knows.
pub(crate) fn well_known(shapes: &Shapes<'_>) -> Option<&'static str> {
    let any = |prefix: &str| shapes.keys().any(|key| key.starts_with(prefix));
    if any("visual.transformer.") || any("visual.class_embedding") {
        Some("a CLIP with a vision transformer (ViT)")
    } else if any("visual.layer1.") {
        Some("a part of a CLIP with a ResNet image encoder")
    } else if any("features.denseblock1.") {
        Some("a DenseNet")
    } else if shapes.contains_key("features.0.weight") {
        Some("a VGG network")
    } else if any("visual.") {
        Some("a CLIP model")
    } else if any("transformer.") || any("blocks.") {
        Some("a transformer")
    } else {
        None
    }
}

impl Identity {
    /// In words, for messages.
    pub(crate) fn describe(&self) -> Option<String> {
        match self {
            Self::DeepStem { depth: Some(depth), width, .. } => {
                Some(DeepStemResNetConfig::new(*depth).with_width(*width).to_string())
            }
            Self::DeepStem { width, blocks: [a, b, c], .. } => {
                Some(format!("a deep-stem ResNet with {a}+{b}+{c} blocks and width {width}"))
            }
            Self::SevenBySeven { depth, .. } => Some(match depth {
                Some(depth) => format!("torchvision's {depth} (7x7 stem)"),
                None => "a ResNet with torchvision's 7x7 stem".to_owned(),
            }),
            Self::Clip(config) => Some(config.to_string()),
            Self::Other(words) => words.map(str::to_owned),
        }
    }
}

/// Refuses files that are well-formed but of another network, in the words that help most.
pub(crate) fn check_backbone(
    path: &Path,
    file: &SortedFile,
    asked: &DeepStemResNetConfig,
) -> Result<(), BackboneError> {
    let shapes: Shapes<'_> =
        file.tensors.iter().map(|(key, t)| (key.as_str(), t.shape.as_slice())).collect();
    let identity = identify(&shapes);
    let stored = stored_layer3(&file.metadata);
    if let Some(layer3) = stored.filter(|layer3| *layer3 != asked.layer3_in_force()) {
        let found = asked.with_layer3(layer3);
        return Err(BackboneError::OtherBackbone {
            path: path.to_owned(),
            found: format!("{found} (layer3 is {layer3})"),
            asked: format!("{asked} (layer3 is {})", asked.layer3_in_force()),
        });
    }
    match &identity {
        Identity::SevenBySeven { stem_shape, .. } => {
            Err(BackboneError::TorchvisionStem { path: path.to_owned(), shape: stem_shape.clone() })
        }
        // Too few blocks may be a file with a hole in it: then the missing keys say more.
        Identity::DeepStem { depth: None, width, .. } if *width == asked.base_width() => Ok(()),
        Identity::DeepStem { depth: Some(depth), width, .. }
            if *depth == asked.depth && *width == asked.base_width() =>
        {
            Ok(())
        }
        Identity::Other(None) => Ok(()),
        _ => Err(BackboneError::OtherBackbone {
            path: path.to_owned(),
            found: identity.describe().unwrap_or_else(|| "another network".to_owned()),
            asked: asked.to_string(),
        }),
    }
}
