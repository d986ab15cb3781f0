//! Files to tensors: format detection and the readers.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burn_store::burn_pack;
use burn_store::pytorch_reader::{self, PytorchReader};
use safetensors::tensor::Metadata;
use serde::{Deserialize, Serialize};

use super::dtype::{ElementType, decode};
use super::torchscript::{self, ScriptTensor};
use crate::error::BackboneError;

/// Largest weight file that is read: 8 GiB, far above any backbone.
const MAX_FILE_BYTES: u64 = 8 << 30;

/// Longest header of a safetensors file, as their own reader has it.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Format of a weight file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// PyTorch 1.6 and later.
    PytorchZip,
    /// PyTorch before 1.6, or saved with the old serialisation.
    PytorchLegacy,
    /// TorchScript, as `torch.jit.save` writes it.
    TorchScript,
    /// safetensors.
    Safetensors,
    /// Burn's own container.
    Burnpack,
}

impl FileFormat {
    fn name(self) -> &'static str {
        match self {
            Self::PytorchZip => "PyTorch (zip)",
            Self::PytorchLegacy => "PyTorch (legacy)",
            Self::TorchScript => "TorchScript",
            Self::Safetensors => "safetensors",
            Self::Burnpack => "burnpack",
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// All tensors of a file, values not yet decoded.
#[derive(Debug)]
pub(crate) struct WeightFile {
    pub path: PathBuf,
    pub format: FileFormat,
    /// Sorted by key.
    pub tensors: Vec<StoredTensor>,
    /// Text entries beside the tensors; safetensors and burnpack files may have some.
    pub metadata: BTreeMap<String, String>,
}

/// A tensor in a file.
#[derive(Debug)]
pub(crate) struct StoredTensor {
    /// Key as the file has it.
    pub key: String,
    pub shape: Vec<usize>,
    pub dtype: ElementType,
    pub source: Source,
}

/// Where the values are.
pub(crate) enum Source {
    /// So many bytes of a file from an offset on, little-endian.
    Part(Arc<Mutex<File>>, u64, usize),
    /// A storage of a PyTorch file of either format.
    Pytorch(pytorch_reader::Tensor, FileFormat),
    /// A storage of a TorchScript archive.
    TorchScript(ScriptTensor),
    /// An entry of a burnpack file.
    Burnpack(burn_pack::Tensor),
    /// Values already decoded.
    Values(Vec<f32>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Part(..) => "Part",
            Self::Pytorch(..) => "Pytorch",
            Self::TorchScript(..) => "TorchScript",
            Self::Burnpack(_) => "Burnpack",
            Self::Values(_) => "Values",
        })
    }
}

impl StoredTensor {
    /// The values as f32.
    pub(crate) fn values(self, path: &Path) -> Result<Vec<f32>, BackboneError> {
        let Self { key, shape, dtype, source } = self;
        let damaged = |format, reason| damage(path, format, reason);
        let element_type = || BackboneError::ElementType {
            path: path.to_owned(),
            key: key.clone(),
            dtype: dtype.to_string(),
        };
        let (format, values) = match source {
            Source::Values(values) => return Ok(values),
            Source::Part(file, offset, length) => {
                let mut bytes = vec![0; length];
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|e| read_error(path, &e))?;
                drop(file);
                (FileFormat::Safetensors, decode(&dtype, &bytes))
            }
            Source::Pytorch(tensor, format) => {
                let bytes = guarded(|| tensor.read().map_err(|e| e.to_string()))
                    .map_err(|reason| damaged(format, reason))?;
                (format, decode(&dtype, &bytes))
            }
            Source::TorchScript(tensor) => {
                let format = FileFormat::TorchScript;
                let bytes = guarded(|| tensor.read()).map_err(|reason| damaged(format, reason))?;
                (format, decode(&dtype, &bytes))
            }
            Source::Burnpack(tensor) => {
                let format = FileFormat::Burnpack;
                let bytes = guarded(|| tensor.to_bytes().map_err(|e| e.to_string()))
                    .map_err(|reason| damaged(format, reason))?;
                (format, decode(&dtype, &bytes))
            }
        };
        let values = values.ok_or_else(element_type)?;
        let expected: usize = shape.iter().product();
        if values.len() == expected {
            Ok(values)
        } else {
            let reason =
                format!("key '{key}' has {} values, its shape says {expected}", values.len());
            Err(damaged(format, reason))
        }
    }
}

/// Opens a weight file of any format.
pub(crate) fn read_file(path: &Path) -> Result<WeightFile, BackboneError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(|e| read_error(path, &e))?;
    let length = file.metadata().map_err(|e| read_error(path, &e))?.len();
    file.take(512).read_to_end(&mut head).map_err(|e| read_error(path, &e))?;
    if head.is_empty() {
        return Err(BackboneError::EmptyFile { path: path.to_owned() });
    }
    if length > MAX_FILE_BYTES {
        return Err(BackboneError::UnknownFormat {
            path: path.to_owned(),
            found: format!("{length} bytes, more than any backbone ({MAX_FILE_BYTES})"),
        });
    }
    let mut format = detect(&head).ok_or_else(|| BackboneError::UnknownFormat {
        path: path.to_owned(),
        found: describe(&head),
    })?;
    let mut script = None;
    if format == FileFormat::PytorchZip {
        let reason = |reason| damage(path, FileFormat::TorchScript, reason);
        script = guarded(|| torchscript::open(path)).map_err(reason)?;
        format = if script.is_some() { FileFormat::TorchScript } else { format };
    }
    let damaged = |reason| damage(path, format, reason);
    let mut metadata = BTreeMap::new();
    let mut tensors = match format {
        FileFormat::TorchScript => script.unwrap_or_default(),
        FileFormat::PytorchZip | FileFormat::PytorchLegacy => {
            guarded(|| open_pytorch(path, format)).map_err(damaged)?
        }
        FileFormat::Safetensors => {
            let (tensors, entries) = guarded(|| open_safetensors(path, length)).map_err(damaged)?;
            metadata = entries;
            tensors
        }
        FileFormat::Burnpack => {
            let (tensors, entries) = guarded(|| open_burnpack(path)).map_err(damaged)?;
            metadata = entries;
            tensors
        }
    };
    if tensors.is_empty() {
        return Err(BackboneError::NoTensors { path: path.to_owned() });
    }
    tensors.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(WeightFile { path: path.to_owned(), format, tensors, metadata })
}

fn damage(path: &Path, format: FileFormat, reason: String) -> BackboneError {
    BackboneError::Damaged { path: path.to_owned(), format: format.name(), reason }
}

fn read_error(path: &Path, error: &std::io::Error) -> BackboneError {
    BackboneError::Io {
        action: "read",
        path: path.to_owned(),
        reason: error.to_string(),
        remedy: "check the path and its permissions",
    }
}

/// Runs a reader of another crate. Readers return errors for bad files; should one panic all the
/// same, this makes an error of it. Reasons are cut short: some quote what they read at length.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    const LONGEST: usize = 300;
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err("the reader gave up on its contents".to_owned()))
        .map_err(|reason| reason.chars().take(LONGEST).collect())
}

fn open_pytorch(path: &Path, format: FileFormat) -> Result<Vec<StoredTensor>, String> {
    let reader = PytorchReader::new(path).map_err(|e| e.to_string())?;
    let tensors = reader.into_tensors().into_iter();
    Ok(tensors
        .map(|(key, tensor)| StoredTensor {
            key,
            shape: tensor.shape().to_vec(),
            dtype: ElementType::from_pytorch(tensor.dtype()),
            source: Source::Pytorch(tensor, format),
        })
        .collect())
}

type Opened = (Vec<StoredTensor>, BTreeMap<String, String>);

// Of both formats below, tensors are read one by one: memory for a whole file costs a page fault each 4 KiB.

/// The header of a file of so many bytes: their number (8 bytes), then JSON, then the tensors' bytes.
fn open_safetensors(path: &Path, length: u64) -> Result<Opened, String> {
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    let mut header_length = [0; 8];
    file.read_exact(&mut header_length).map_err(|e| e.to_string())?;
    let header_length = u64::from_le_bytes(header_length);
    if header_length > MAX_HEADER_BYTES {
        return Err(format!("a header of {header_length} bytes, at most {MAX_HEADER_BYTES}"));
    }
    let start = header_length + 8;
    if start > length {
        return Err(format!("the file ends in its header, after {length} of {start} bytes"));
    }
    let mut header = Vec::new();
    file.by_ref().take(header_length).read_to_end(&mut header).map_err(|e| e.to_string())?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|e| e.to_string())?;
    let end = start.saturating_add(header.data_len() as u64);
    if end != length {
        return Err(format!("the file has {length} bytes, and should have {end}"));
    }
    let metadata = header.metadata().iter().flatten();
    let metadata = metadata.map(|(key, value)| (key.clone(), value.clone())).collect();
    let file = Arc::new(Mutex::new(file));
    let tensors = header.tensors().into_iter().map(|(key, info)| {
        let (from, to) = info.data_offsets;
        StoredTensor {
            key,
            shape: info.shape.clone(),
            dtype: ElementType::from_safetensors(info.dtype),
            source: Source::Part(file.clone(), start + from as u64, to - from),
        }
    });
    Ok((tensors.collect(), metadata))
}

fn open_burnpack(path: &Path) -> Result<Opened, String> {
    let reader = burn_pack::Reader::from_file_exact(path).map_err(|e| e.to_string())?;
    let metadata = reader.metadata().clone();
    let tensors = reader.into_tensors().map_err(|e| e.to_string())?;
    let tensors = tensors
        .into_iter()
        .map(|tensor| StoredTensor {
            key: tensor.name.clone(),
            shape: tensor.shape.to_vec(),
            dtype: ElementType::from_burn(tensor.dtype),
            source: Source::Burnpack(tensor),
        })
        .collect();
    Ok((tensors, metadata))
}

/// Format by the first bytes.
fn detect(head: &[u8]) -> Option<FileFormat> {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Some(FileFormat::PytorchZip);
    }
    if head.starts_with(&burn_pack::MAGIC_NUMBER.to_le_bytes()) {
        return Some(FileFormat::Burnpack);
    }
    if let Some((length, rest)) = head.split_first_chunk::<8>()
        && rest.first() == Some(&b'{')
        && u64::from_le_bytes(*length) < MAX_FILE_BYTES
    {
        return Some(FileFormat::Safetensors);
    }
    // A pickle of protocol 2 and later begins with PROTO; tar archives are PyTorch's oldest form.
    let pickle = matches!(head, [0x80, 1..=5, ..]);
    let tar = head.get(257..262) == Some(b"ustar");
    (pickle || tar).then_some(FileFormat::PytorchLegacy)
}

/// What foreign bytes look like, in words.
fn describe(head: &[u8]) -> String {
    let known: [(&[u8], &str); 7] = [
        (b"<", "HTML or XML text (a download page instead of the file?)"),
        (b"version https://git-lfs", "a Git LFS pointer (run git lfs pull)"),
        (b"\x89PNG", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"\x1f\x8b", "gzip data (unpack it first)"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x93NUMPY", "a NumPy array"),
    ];
    match known.iter().find(|(magic, _)| head.starts_with(magic)) {
        Some((_, words)) => (*words).to_owned(),
        None => {
            let bytes: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
            format!("bytes {}", bytes.join(" "))
        }
    }
}
