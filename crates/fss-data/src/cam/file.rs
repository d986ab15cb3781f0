//! Coarse maps as files.

use std::path::Path;

use ndarray::Array2;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use super::{CamNote, torch};
use crate::{DataError, io};

/// The name of the only tensor in the files of this library.
const TENSOR: &str = "cam";

/// The largest file that is read; a map of 50 x 50 takes about 10 KB.
const MAX_FILE: u64 = 16 << 20;

/// How far beyond [0, 1] rounding may have taken a value.
const OVERSHOOT: f32 = 1e-4;

const REMEDY: &str = "remove the file and make the map again with `fss cam`";

/// Reads a coarse map `[grid, grid]` from a safetensors file with the tensor `cam`, or from what
/// `torch.save` writes for a tensor (zip archive or the older pickle stream), told apart by content.
/// Nothing in the file is executed.
///
/// # Errors
/// [`DataError`] naming the file: missing, truncated, none of these, not float32, of another shape, or
/// with values that are not in [0, 1].
pub fn read_cam(path: &Path, grid: usize) -> Result<Array2<f32>, DataError> {
    let bytes = bounded(path)?;
    let map = match container(&bytes) {
        Some(Container::Zip) => torch::read_zip(&bytes, grid),
        Some(Container::Pickle) => torch::read_stream(&bytes, grid),
        Some(Container::Safetensors) => read_safetensors(&bytes, grid),
        None if bytes.is_empty() => Err("the file is empty".to_owned()),
        None => Err("this is neither a safetensors file nor a tensor of torch.save".to_owned()),
    };
    map.and_then(|map| check_values(&map).map(|()| map))
        .map_err(|problem| DataError::invalid(path, problem, REMEDY))
}

/// Where a map comes from; none if its file does not say, as those of the published code.
///
/// # Errors
/// [`DataError`] naming the file when it cannot be read or is damaged.
pub fn read_cam_note(path: &Path) -> Result<Option<CamNote>, DataError> {
    let bytes = bounded(path)?;
    if container(&bytes) != Some(Container::Safetensors) {
        return Ok(None);
    }
    let (_, header) = SafeTensors::read_metadata(&bytes)
        .map_err(|error| DataError::invalid(path, damaged(&error), REMEDY))?;
    Ok(header.metadata().as_ref().and_then(CamNote::from_metadata))
}

/// Writes a coarse map as safetensors with a note of where it comes from, whole or not at all. Equal
/// input gives equal bytes.
///
/// It is not waited for the disk: after a power cut the file may be there but empty, which counts as
/// missing.
///
/// # Errors
/// [`DataError`] naming the file when it cannot be written, or the map is not square, empty or has
/// values that are not in [0, 1].
pub fn write_cam(path: &Path, map: &Array2<f32>, note: &CamNote) -> Result<(), DataError> {
    let refuse = |problem| DataError::invalid(path, problem, "give a map that was normalised");
    check_values(map).map_err(refuse)?;
    let (height, width) = map.dim();
    if height != width || height == 0 {
        return Err(refuse(format!("the map has {height}x{width} cells and should be square")));
    }
    let values: Vec<u8> = map.iter().flat_map(|value| value.to_le_bytes()).collect();
    // Maps of JSON are sorted here, unlike the metadata that the library for this format writes.
    let header = json!({
        "__metadata__": note.to_metadata(),
        TENSOR: { "dtype": "F32", "shape": [height, width], "data_offsets": [0, values.len()] },
    });
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(values);
    io::write_atomic_unflushed(path, &bytes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Zip,
    Pickle,
    Safetensors,
}

/// What a file is by its first bytes.
fn container(bytes: &[u8]) -> Option<Container> {
    if bytes.starts_with(b"PK\x03\x04") {
        return Some(Container::Zip);
    }
    // Eight bytes of length, then JSON. First, as a length may begin like a pickle.
    if bytes.get(8) == Some(&b'{') {
        return Some(Container::Safetensors);
    }
    // The instruction that names the protocol.
    (bytes.first() == Some(&0x80)).then_some(Container::Pickle)
}

fn read_safetensors(bytes: &[u8], grid: usize) -> Result<Array2<f32>, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error))?;
    let view = tensors
        .tensor(TENSOR)
        .map_err(|_| format!("the safetensors file has no tensor {TENSOR:?}"))?;
    if view.dtype() != Dtype::F32 {
        return Err(format!("its values are {:?}, not float32", view.dtype()));
    }
    check_shape(view.shape(), grid)?;
    let values = view.data().as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value));
    Array2::from_shape_vec((grid, grid), values.collect()).map_err(|error| error.to_string())
}

fn damaged(error: &safetensors::SafeTensorError) -> String {
    format!("the safetensors file is truncated or damaged ({error})")
}

/// Refuses a shape other than `[grid, grid]`.
pub(super) fn check_shape(shape: &[usize], grid: usize) -> Result<(), String> {
    if shape == [grid, grid] {
        return Ok(());
    }
    Err(format!("the map has the shape {shape:?}, where [{grid}, {grid}] is wanted"))
}

/// Refuses values that no normalised map has.
fn check_values(map: &Array2<f32>) -> Result<(), String> {
    let good = -OVERSHOOT..=1.0 + OVERSHOOT;
    match map.indexed_iter().find(|(_, value)| !good.contains(*value)) {
        None => Ok(()),
        Some(((row, column), value)) => {
            Err(format!("the value {value} in row {row}, column {column} is not within 0 to 1"))
        }
    }
}

fn bounded(path: &Path) -> Result<Vec<u8>, DataError> {
    let size = std::fs::metadata(path).map_err(|source| DataError::io("read", path, source))?.len();
    if size > MAX_FILE {
        return Err(DataError::invalid(
            path,
            format!("the file has {size} bytes, too many for a coarse map"),
            REMEDY,
        ));
    }
    io::read_file(path)
}

#[cfg(test)]
mod tests;
