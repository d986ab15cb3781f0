//! Networks to files, whole or not at all.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use burn::tensor::DType;
use burn_store::burn_pack::{self, AtomicFile};

use super::assign::{COUNTER, NamedTensor};
use super::identify::LAYER3_ENTRY;
use super::keys::KeyStyle;
use crate::config::DeepStemResNetConfig;
use crate::error::BackboneError;
use crate::resnet::DeepStemResNet;

/// Writes a network as safetensors under official key names, batch counters included, so that
/// PyTorch's strict `load_state_dict` takes it. Beside the metadata given, the entries
/// `fss.backbone`, `fss.width` and `fss.layer3` say which network it is: strides do not show in
/// shapes.
///
/// The file is complete or not there: it is written beside its place and then moved. Equal networks
/// and metadata give equal bytes.
///
/// # Errors
/// If the network is folded, a parameter cannot be read back, or the file cannot be written.
pub fn save_safetensors(
    model: &DeepStemResNet,
    path: &Path,
    style: KeyStyle,
    metadata: &BTreeMap<String, String>,
) -> Result<(), BackboneError> {
    save_safetensors_with(model, path, style, metadata, &[])
}

/// [`save_safetensors`] with further tensors, which keep their keys: what a head has beside its
/// backbone. Without any, the file is the same.
///
/// # Errors
/// As [`save_safetensors`].
pub fn save_safetensors_with(
    model: &DeepStemResNet,
    path: &Path,
    style: KeyStyle,
    metadata: &BTreeMap<String, String>,
    further: &[NamedTensor],
) -> Result<(), BackboneError> {
    let metadata = &with_network(metadata, model.config());
    let mut tensors = model.named_tensors()?;
    let mut counters = Vec::new();
    for tensor in &mut tensors {
        if let Some(norm) = tensor.key.strip_suffix("running_var") {
            counters.push(style.spell(&format!("{norm}{COUNTER}")));
        }
        tensor.key = style.spell(&tensor.key);
    }
    tensors.extend_from_slice(further);
    write_with_counters(path, &tensors, &counters, metadata)
}

/// The entries given and those that say which network the tensors belong to.
fn with_network(
    metadata: &BTreeMap<String, String>,
    config: &DeepStemResNetConfig,
) -> BTreeMap<String, String> {
    let mut metadata = metadata.clone();
    metadata.insert("fss.backbone".into(), config.depth.to_string());
    metadata.insert("fss.width".into(), config.width.to_string());
    metadata.insert(LAYER3_ENTRY.into(), config.layer3_in_force().to_string());
    metadata
}

/// Writes any named f32 tensors as safetensors, in the order given, whole or not at all. Equal
/// input gives equal bytes.
///
/// # Errors
/// If the file cannot be written.
pub fn write_safetensors(
    path: &Path,
    tensors: &[NamedTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<(), BackboneError> {
    write_with_counters(path, tensors, &[], metadata)
}

/// [`write_safetensors`] with a batch counter (0) beside every key that ends in `running_var`, so
/// that PyTorch's strict `load_state_dict` takes the tensors of a network with batch norm.
///
/// # Errors
/// If the file cannot be written.
pub fn write_state_dict(
    path: &Path,
    tensors: &[NamedTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<(), BackboneError> {
    let norms = tensors.iter().filter_map(|tensor| tensor.key.strip_suffix("running_var"));
    let counters: Vec<String> = norms.map(|norm| format!("{norm}{COUNTER}")).collect();
    write_with_counters(path, tensors, &counters, metadata)
}

fn write_with_counters(
    path: &Path,
    tensors: &[NamedTensor],
    counters: &[String],
    metadata: &BTreeMap<String, String>,
) -> Result<(), BackboneError> {
    let header = header(tensors, counters, metadata);
    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for _ in counters {
            out.write_all(&0i64.to_le_bytes())?;
        }
        for tensor in tensors {
            let bytes: Vec<u8> = tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
        Ok(())
    })
}

/// The JSON header. The 8-byte counters come first, so that every tensor lies at a multiple of its
/// element size; the rest keeps its order.
fn header(
    tensors: &[NamedTensor],
    counters: &[String],
    metadata: &BTreeMap<String, String>,
) -> Vec<u8> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut entries = Vec::new();
    if !metadata.is_empty() {
        let pairs: Vec<String> =
            metadata.iter().map(|(k, v)| format!("{}:{}", quoted(k), quoted(v))).collect();
        entries.push(format!("\"__metadata__\":{{{}}}", pairs.join(",")));
    }
    let mut offset = 0;
    let mut entry = |key: &str, dtype: &str, shape: &[usize], bytes: usize| {
        let (start, end) = (offset, offset + bytes);
        offset = end;
        let key = quoted(key);
        format!(
            "{key}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}"
        )
    };
    entries.extend(counters.iter().map(|key| entry(key, "I64", &[], 8)));
    entries.extend(tensors.iter().map(|t| entry(&t.key, "F32", &t.shape, 4 * t.values.len())));
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}

/// Writes a network as burnpack under official key names, without batch counters; metadata as in
/// [`save_safetensors`].
///
/// # Errors
/// As [`save_safetensors`].
pub fn save_burnpack(
    model: &DeepStemResNet,
    path: &Path,
    style: KeyStyle,
    metadata: &BTreeMap<String, String>,
) -> Result<(), BackboneError> {
    let tensors = model
        .named_tensors()?
        .into_iter()
        .map(|NamedTensor { key, shape, values }| {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let bytes = burn_pack::Bytes::from_bytes_vec(bytes);
            burn_pack::Tensor::new(style.spell(&key), DType::F32, shape, None, bytes)
        })
        .collect();
    let mut writer = burn_pack::Writer::new(tensors);
    for (key, value) in with_network(metadata, model.config()) {
        writer = writer.with_metadata(&key, &value);
    }
    let bytes = writer.into_bytes().map_err(|e| write_error(path, &e.to_string()))?;
    write_atomically(path, |out| out.write_all(&bytes))
}

/// Writes beside the destination, flushes to disk and moves; a failure leaves nothing behind.
fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), BackboneError> {
    let failed = |e: &dyn std::fmt::Display| write_error(path, &e.to_string());
    let (scratch, file) = AtomicFile::create(path).map_err(|e| failed(&e))?;
    let mut out = std::io::BufWriter::new(file);
    write(&mut out).map_err(|e| failed(&e))?;
    let file = out.into_inner().map_err(|e| failed(&e.error()))?;
    file.sync_all().map_err(|e| failed(&e))?;
    drop(file);
    scratch.commit().map_err(|e| failed(&e))
}

fn write_error(path: &Path, reason: &str) -> BackboneError {
    BackboneError::Io {
        action: "write",
        path: path.to_owned(),
        reason: reason.to_owned(),
        remedy: "check that the folder exists, is writable and has space left",
    }
}
