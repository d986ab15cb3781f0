//! What is in a weight file, without a network to put it into.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::identify::{Identity, OUTPUT_STRIDE_ENTRY, identify, stored_layer3};
use super::keys::{KeyStyle, common_prefix, sort_keys};
use super::read::{FileFormat, read_file};
use crate::config::{DeepStemResNetConfig, Depth, Layer3};
use crate::dilated::{DilatedResNetConfig, describe_generalized, dilated_of, generalized_method};
use crate::error::BackboneError;
use crate::imagenet::{ImagenetConfig, describe_extending, extending_method, imagenet_of};
use crate::taps::{TapBackboneConfig, correlating_method, describe_model, taps_of};

/// Contents of a weight file. Displays as a table of its tensors under a summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WeightsSummary {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: FileFormat,
    /// Key style, if it is a known one.
    pub style: Option<KeyStyle>,
    /// Prefix of all keys that loading takes off, e.g. `module.`; often empty.
    pub prefix: String,
    /// Depth of the backbone, if the file holds one that can be loaded.
    pub depth: Option<Depth>,
    /// Its width (64 = published).
    pub width: Option<usize>,
    /// How its layer3 keeps its field of view, if the file says so.
    pub layer3: Option<Layer3>,
    /// The network with taps that the file holds, by itself or as the backbone of a model.
    pub taps: Option<TapBackboneConfig>,
    /// The method of a model that correlates taps: `hsnet` or `imr`.
    pub correlating: Option<&'static str>,
    /// The deep-stem network with layer4 that the file holds, by itself or as the backbone of a model;
    /// its output stride is given as published, unless the file says otherwise.
    pub dilated: Option<DilatedResNetConfig>,
    /// The method of a model of generalized segmentation: `pop` or `pspnet`.
    pub generalized: Option<&'static str>,
    /// The network that DENet and its siblings read and that the file holds, by itself or as the
    /// backbone of a model; a ResNet or a VGG-16 without batch norm is one with taps as well.
    pub imagenet: Option<ImagenetConfig>,
    /// The method of a model of DENet's code: `denet`, `amp`, `canet` or `pgnet`.
    pub extending: Option<&'static str>,
    /// Text entries beside the tensors; safetensors and burnpack files may have some.
    pub metadata: BTreeMap<String, String>,
    /// What the file seems to hold, in words.
    pub contents: String,
    /// Number of values in all tensors together.
    pub values: u64,
    /// Keys that loading leaves out by rule.
    pub ignored: Vec<String>,
    /// All tensors, sorted by key.
    pub tensors: Vec<TensorSummary>,
}

/// A tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorSummary {
    /// Key as the file has it.
    pub key: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Element type, e.g. `f32`.
    pub dtype: String,
}

/// Looks into a weight file of any format that [`load_weights`](super::load_weights) reads.
///
/// # Errors
/// If the file is missing, empty, damaged or of an unknown format, or names a tensor twice.
pub fn inspect_weights(path: &Path) -> Result<WeightsSummary, BackboneError> {
    let file = read_file(path)?;
    let format = file.format;
    let tensors: Vec<TensorSummary> = file
        .tensors
        .iter()
        .map(|t| TensorSummary {
            key: t.key.clone(),
            shape: t.shape.clone(),
            dtype: t.dtype.to_string(),
        })
        .collect();
    let count = |shape: &[usize]| shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
    let values = tensors.iter().fold(0u64, |n, t| n.saturating_add(count(&t.shape)));
    let (prefix, _) = common_prefix(tensors.iter().map(|t| t.key.as_str()));
    let bare = tensors
        .iter()
        .filter_map(|t| Some((t.key.strip_prefix(prefix.as_str())?, t.shape.as_slice())));
    let bare = bare.collect();
    let tapped = describe_generalized(&bare)
        .or_else(|| describe_extending(&bare))
        .or_else(|| describe_model(&bare));
    let generalized = generalized_method(&bare);
    let stored_stride = file.metadata.get(OUTPUT_STRIDE_ENTRY).and_then(|text| text.parse().ok());
    let dilated = dilated_of(&bare)
        .map(|config| config.with_output_stride(stored_stride.unwrap_or(config.output_stride)));
    let (taps, correlating) = (taps_of(&bare), correlating_method(&bare));
    let (imagenet, extending) = (imagenet_of(&bare), extending_method(&bare));
    let sorted = sort_keys(file, KeyStyle::Auto)?;
    let shapes = sorted.tensors.iter().map(|(k, t)| (k.as_str(), t.shape.as_slice())).collect();
    let identity = identify(&shapes);
    let (depth, width) = match identity {
        Identity::DeepStem { depth, width, .. } => (depth, Some(width)),
        _ => (None, None),
    };
    let known = width.is_some();
    let layer3 = stored_layer3(&sorted.metadata);
    // The rules of deep-stem files, which leave layer4 out, are not those of a tapped network.
    let ignored = if tapped.is_some() { Vec::new() } else { sorted.ignored };
    let contents = tapped.or_else(|| identity.describe());
    Ok(WeightsSummary {
        path: sorted.path,
        format,
        style: known.then_some(sorted.style),
        prefix: sorted.prefix,
        depth,
        width,
        layer3,
        taps,
        correlating,
        dilated,
        generalized,
        imagenet,
        extending,
        metadata: sorted.metadata,
        contents: contents.unwrap_or_else(|| "an unknown network".to_owned()),
        values,
        ignored,
        tensors,
    })
}

impl WeightsSummary {
    /// The network that the file holds, if it is known; layer3 as the file says, else as published.
    pub fn config(&self) -> Option<DeepStemResNetConfig> {
        let config = DeepStemResNetConfig::new(self.depth?).with_width(self.width?);
        Some(config.with_layer3(self.layer3.unwrap_or_default()))
    }
}

impl fmt::Display for WeightsSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "file      {}", self.path.display())?;
        writeln!(f, "format    {}", self.format)?;
        writeln!(f, "contents  {}", self.contents)?;
        if let Some(style) = self.style {
            writeln!(f, "keys      {style}")?;
        }
        if !self.prefix.is_empty() {
            writeln!(f, "prefix    {}", self.prefix)?;
        }
        writeln!(f, "tensors   {} ({} values)", self.tensors.len(), self.values)?;
        if !self.ignored.is_empty() {
            writeln!(f, "ignored   {} by rule", self.ignored.len())?;
        }
        for (key, value) in &self.metadata {
            writeln!(f, "metadata  {key} = {value}")?;
        }
        let longest = self.tensors.iter().map(|t| t.key.len()).max().unwrap_or(0);
        for TensorSummary { key, shape, dtype } in &self.tensors {
            writeln!(f, "{key:longest$}  {dtype:5} {shape:?}")?;
        }
        Ok(())
    }
}
