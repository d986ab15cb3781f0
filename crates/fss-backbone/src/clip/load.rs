//! Weight files into a CLIP.

use std::path::Path;

use burn::tensor::Device;

use super::config::Unfit;
use super::{Clip, ClipConfig};
use crate::error::{BackboneError, KeyList};
use crate::weights::{LoadReport, ModuleFile, OfficialKeys, Strictness, describe_network};

/// What such a file holds beside the parameters: numbers that follow from the shapes, and the learned
/// factor of the similarity, for which the published maps use a constant.
const EXTRAS: [&str; 4] = ["input_resolution", "context_length", "vocab_size", "logit_scale"];

/// Loads a CLIP with a ResNet image encoder; its sizes are told from the file. Takes OpenAI's own
/// file (`RN50.pt`, a TorchScript archive), a state dict (`.pth`, `.pt`) and safetensors, in half or
/// single precision. Call [`Clip::fold`] on the result before inference.
///
/// # Errors
/// If the file is missing, damaged or of an unknown format; if it holds another network, e.g. a CLIP
/// with a vision transformer; if keys are missing or unused, or a tensor holds NaN.
pub fn load_clip(path: &Path, device: &Device) -> Result<(Clip, LoadReport), BackboneError> {
    let mut file = ModuleFile::open(path)?;
    let config = config_of(path, &file)?;
    file.load(config.init(device, 0), "", Strictness::Strict)
}

fn config_of(path: &Path, file: &ModuleFile) -> Result<ClipConfig, BackboneError> {
    let asked = || "a CLIP with a ResNet image encoder, such as CLIP RN50".to_owned();
    let path_of = || path.to_owned();
    if !file.has_part("visual.layer1.") {
        let shapes = file.shapes().collect();
        let found = describe_network(&shapes).unwrap_or_else(|| "no network known here".to_owned());
        return Err(BackboneError::OtherBackbone { path: path_of(), found, asked: asked() });
    }
    ClipConfig::from_shapes(|key| file.shape(key)).map_err(|unfit| match unfit {
        Unfit::Missing(key) => BackboneError::Keys {
            path: path_of(),
            asked: asked(),
            missing: KeyList(vec![key]),
            unused: KeyList::default(),
        },
        Unfit::Sizes(reason) => BackboneError::ClipSizes { path: path_of(), reason },
    })
}

impl OfficialKeys for Clip {
    fn official_key(path: &str) -> String {
        if let Some(visual) = path.strip_prefix("visual.") {
            return format!("visual.{}", conv_key(visual));
        }
        let inner = path.strip_prefix("text.").unwrap_or(path);
        if inner == "token_embedding" {
            return "token_embedding.weight".to_owned();
        }
        let Some((number, name)) =
            inner.strip_prefix("blocks.").and_then(|block| block.split_once('.'))
        else {
            return inner.to_owned();
        };
        let part = match name.split('.').next().unwrap_or(name) {
            "in_proj_weight" | "in_proj_bias" | "out_proj" => "attn.",
            "c_fc" | "c_proj" => "mlp.",
            _ => "",
        };
        format!("transformer.resblocks.{number}.{part}{name}")
    }

    fn allows_extra(key: &str) -> bool {
        EXTRAS.contains(&key)
    }

    fn describe(&self) -> String {
        self.config.to_string()
    }
}

/// `layer1.0.conv2.<state>.norm.bias` is `layer1.0.bn2.bias`.
fn conv_key(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let [before @ .., unit, _, kind @ ("conv" | "norm"), name] = parts.as_slice() else {
        return path.to_owned();
    };
    let unit = match (*unit, *kind) {
        ("downsample", "conv") => "downsample.0".to_owned(),
        ("downsample", _) => "downsample.1".to_owned(),
        (unit, "conv") => unit.to_owned(),
        (unit, _) => unit.replace("conv", "bn"),
    };
    let mut key: Vec<&str> = before.to_vec();
    key.extend([unit.as_str(), name]);
    key.join(".")
}
