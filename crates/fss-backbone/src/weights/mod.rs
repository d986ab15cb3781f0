//! Weight files in and out, under the official key names.
//!
//! | format | read | written |
//! |---|---|---|
//! | PyTorch `.pth`/`.pt` (zip, legacy; parsed, never executed) | yes | no |
//! | TorchScript archive (parsed, never executed) | yes | no |
//! | safetensors | yes | [`save_safetensors`] |
//! | burnpack `.bpk` | yes | [`save_burnpack`] |
//!
//! What a file is, is told from its bytes, not from its name.

pub(crate) mod assign;
mod dtype;
pub(crate) mod identify;
mod inspect;
mod keys;
mod module;
mod read;
mod torchscript;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::BackboneError;
use crate::resnet::DeepStemResNet;

pub use assign::NamedTensor;
pub(crate) use identify::describe_network;
pub use inspect::{TensorSummary, WeightsSummary, inspect_weights};
pub use keys::KeyStyle;
pub use module::{
    ModuleFile, OfficialKeys, load_module, load_module_tensors, module_shapes, module_tensors,
};
pub use read::FileFormat;
pub use write::{
    save_burnpack, save_safetensors, save_safetensors_with, write_safetensors, write_state_dict,
};

use assign::Names;

/// How strictly a file must fit the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Missing and unused keys are an error that lists them.
    #[default]
    Strict,
    /// Missing parameters keep their value, unused keys are left out; both are reported and logged.
    /// Shapes must fit all the same.
    Lenient,
}

/// Options of [`load_weights_with`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The key names to expect.
    pub style: KeyStyle,
    /// What to do about keys that do not fit.
    pub strictness: Strictness,
}

/// What was loaded, and what was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: FileFormat,
    /// The key style that was found, of deep-stem backbones.
    pub style: Option<KeyStyle>,
    /// Number of tensors that were put into the network.
    pub loaded: usize,
    /// How many of them were stored in another type than f32 and converted.
    pub converted: usize,
    /// Keys left out by rule: the classifier and `layer4` of ImageNet files, what MLC's full method
    /// keeps beside the backbone, and what a training checkpoint keeps beside its state dict.
    pub ignored: Vec<String>,
    /// Parameters that kept their value ([`Strictness::Lenient`] only), as official SSP keys.
    pub missing: Vec<String>,
    /// Keys without a place in the network ([`Strictness::Lenient`] only).
    pub unused: Vec<String>,
}

/// Loads a weight file strictly, whatever its key style: [`load_weights_with`] and its defaults.
///
/// # Errors
/// See [`load_weights_with`].
pub fn load_weights(
    model: DeepStemResNet,
    path: &Path,
) -> Result<(DeepStemResNet, LoadReport), BackboneError> {
    load_weights_with(model, path, LoadOptions::default())
}

/// Loads a weight file into a network.
///
/// Takes the ImageNet files of the deep-stem ResNet (`conv1.0.weight`, `bn1.*`, `layer1..3.*`; their
/// `layer4.*` and `fc.*` are left out by rule), SSP checkpoints (`layer0.0.*`, `layer0.1.*`) and MLC
/// checkpoints (`backbone.*`), each with or without `module.` in front and inside a `state_dict`
/// or not. Batch counters (`num_batches_tracked`) may be there or not. f64, f16 and bf16 become
/// f32. What is frozen stays frozen, and parameters keep their identity for the optimiser.
///
/// # Errors
/// If the file is missing, empty, damaged or of an unknown format; if it holds another backbone;
/// if keys are missing or unused (unless lenient); if a shape or an element type does not fit, or a
/// tensor holds NaN; if the network is folded.
pub fn load_weights_with(
    model: DeepStemResNet,
    path: &Path,
    options: LoadOptions,
) -> Result<(DeepStemResNet, LoadReport), BackboneError> {
    if model.is_folded() {
        return Err(BackboneError::Folded { action: "load weights into" });
    }
    let file = read::read_file(path)?;
    let format = file.format;
    let sorted = keys::sort_keys(file, options.style)?;
    identify::check_backbone(path, &sorted, model.config())?;
    let names = Names { path, strictness: options.strictness };
    let mut model = model;
    let outcome = assign::assign(&mut model, sorted.tensors, names)?;
    let report = LoadReport {
        path: path.to_owned(),
        format,
        style: Some(sorted.style),
        loaded: outcome.loaded,
        converted: outcome.converted,
        ignored: sorted.ignored,
        missing: outcome.missing,
        unused: outcome.unused,
    };
    log_report(&report);
    Ok((model, report))
}

/// The tensors of a weight file whose keys start with `prefix`, as what a head keeps beside its
/// backbone; none if there are none. Wrappers such as `state_dict.` and `module.` come off first.
///
/// # Errors
/// If the file cannot be read, or such a tensor is of an unknown element type.
pub fn read_tensors(path: &Path, prefix: &str) -> Result<Vec<NamedTensor>, BackboneError> {
    let file = read::read_file(path)?;
    let (wrapper, _) = keys::common_prefix(file.tensors.iter().map(|t| t.key.as_str()));
    let mut found = Vec::new();
    for tensor in file.tensors {
        let Some(key) = tensor.key.strip_prefix(wrapper.as_str()).map(str::to_owned) else {
            continue;
        };
        if key.starts_with(prefix) {
            let shape = tensor.shape.clone();
            found.push(NamedTensor { key, shape, values: tensor.values(path)? });
        }
    }
    Ok(found)
}

fn log_report(report: &LoadReport) {
    let path = report.path.display();
    tracing::info!(
        loaded = report.loaded,
        format = %report.format,
        "loaded weights from '{path}'"
    );
    if !report.ignored.is_empty() {
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        for key in &report.ignored {
            *groups.entry(key.split('.').next().unwrap_or(key)).or_default() += 1;
        }
        let groups: Vec<String> =
            groups.into_iter().map(|(name, n)| format!("{name}.* ({n})")).collect();
        tracing::info!("left out by rule, this backbone does not have them: {}", groups.join(", "));
    }
    if !report.missing.is_empty() || !report.unused.is_empty() {
        tracing::warn!(
            missing = ?report.missing,
            unused = ?report.unused,
            "'{path}' was loaded leniently and does not fit exactly"
        );
    }
}
