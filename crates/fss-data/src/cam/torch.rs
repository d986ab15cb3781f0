//! What `torch.save` writes for a tensor: a zip archive since PyTorch 1.6, before that a stream of
//! pickles. Both hold a pickle that describes the tensor, and its values as plain bytes.

use std::io::{Cursor, Read};

use ndarray::Array2;
use zip::ZipArchive;

use super::file::check_shape;
use super::unpickle::{Storage, Tensor, Value, load};

/// The largest pickle of an archive; that of a tensor has about 150 bytes.
const MAX_PICKLE: u64 = 1 << 16;

/// The first number of a stream.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// The only protocol of streams.
const PROTOCOL: i128 = 1001;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

/// Reads the tensor `[grid, grid]` of an archive.
pub(super) fn read_zip(bytes: &[u8], grid: usize) -> Result<Array2<f32>, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| format!("the archive is truncated or damaged ({error})"))?;
    let names = archive.file_names().filter_map(Result::ok);
    // All entries lie in one folder, whose name is that of the file when it was saved.
    let root = names
        .filter_map(|name| name.strip_suffix("data.pkl").map(str::to_owned))
        .find(|root| root.is_empty() || root.ends_with('/'))
        .ok_or("the archive holds no data.pkl: it is none of torch.save")?;
    let mut entry = |name: &str, limit: u64| -> Result<Vec<u8>, String> {
        let name = format!("{root}{name}");
        let fail = |error: &dyn std::fmt::Display| format!("{name} in the archive: {error}");
        let file = archive.by_name(&name).map_err(|error| fail(&error))?;
        if file.size() > limit {
            return Err(fail(&format!("{} bytes, more than {limit}", file.size())));
        }
        let mut content = Vec::new();
        file.take(limit + 1).read_to_end(&mut content).map_err(|error| fail(&error))?;
        Ok(content)
    };
    let pickle = entry("data.pkl", MAX_PICKLE)?;
    let order = match entry("byteorder", 16).as_deref() {
        // Archives without it are older than machines that differ.
        Err(_) | Ok(b"little") => ByteOrder::Little,
        Ok(b"big") => ByteOrder::Big,
        Ok(_) => return Err("the archive names an unknown order of bytes".to_owned()),
    };
    let mut at = 0;
    let tensor = tensor(load(&pickle, &mut at)?)?;
    if at != pickle.len() {
        return Err("bytes follow the pickle in the archive".to_owned());
    }
    check_shape(&tensor.shape, grid)?;
    let limit = tensor.storage.bytes().ok_or("the archive names an absurd size")?;
    let values = entry(&format!("data/{}", tensor.storage.key), limit as u64)?;
    gather(&tensor, &values, order, grid)
}

/// Reads the tensor `[grid, grid]` of a stream.
pub(super) fn read_stream(bytes: &[u8], grid: usize) -> Result<Array2<f32>, String> {
    let mut at = 0;
    let mut next = || load(bytes, &mut at);
    if !matches!(next(), Ok(Value::Int(MAGIC))) {
        return Err("the pickle is none of torch.save".to_owned());
    }
    if !matches!(next()?, Value::Int(PROTOCOL)) {
        return Err("the stream has an unknown protocol".to_owned());
    }
    let system = next()?;
    let order = match system.entry("little_endian") {
        Some(Value::Bool(true)) => ByteOrder::Little,
        Some(Value::Bool(false)) => ByteOrder::Big,
        _ => return Err("the stream does not say its order of bytes".to_owned()),
    };
    let tensor = tensor(next()?)?;
    check_shape(&tensor.shape, grid)?;
    let key = tensor.storage.key.as_str();
    match next()?.list() {
        Some([Value::Text(only)]) if **only == *key => {}
        _ => return Err("the stream holds other values than those of one tensor".to_owned()),
    }
    // The number of values once more, then the values.
    let short = || "the stream is truncated".to_owned();
    let rest = bytes.get(at..).ok_or_else(short)?;
    let (count, values) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let count = match order {
        ByteOrder::Little => u64::from_le_bytes(*count),
        ByteOrder::Big => u64::from_be_bytes(*count),
    };
    if usize::try_from(count) != Ok(tensor.storage.count) {
        return Err("the stream gives two numbers of values".to_owned());
    }
    gather(&tensor, values, order, grid)
}

fn tensor(value: Value) -> Result<Tensor, String> {
    match value {
        Value::Tensor(tensor) => Ok((*tensor).clone()),
        other => Err(format!("the file holds {}, not a tensor by itself", other.kind())),
    }
}

impl Storage {
    /// How many bytes its values take.
    fn bytes(&self) -> Option<usize> {
        self.count.checked_mul(size_of::<f32>())
    }
}

/// Picks the values of a tensor `[grid, grid]` out of its storage.
fn gather(
    tensor: &Tensor,
    values: &[u8],
    order: ByteOrder,
    grid: usize,
) -> Result<Array2<f32>, String> {
    let want = tensor.storage.bytes();
    if want != Some(values.len()) {
        return Err(format!(
            "the file is truncated or damaged: it has {} bytes of values in place of {}",
            values.len(),
            want.map_or("too many".to_owned(), |bytes| bytes.to_string())
        ));
    }
    let values = values.as_chunks::<4>().0;
    let &[down, right] = tensor.strides.as_slice() else {
        return Err("the tensor has a shape and strides that do not fit".to_owned());
    };
    let place = |row: usize, column: usize| {
        let place = row.checked_mul(down)?.checked_add(column.checked_mul(right)?)?;
        place.checked_add(tensor.offset)
    };
    let mut cells = Vec::with_capacity(values.len().min(grid.saturating_mul(grid)));
    for row in 0..grid {
        for column in 0..grid {
            let value = place(row, column).and_then(|place| values.get(place));
            let value = *value.ok_or("the tensor reaches beyond its values")?;
            cells.push(match order {
                ByteOrder::Little => f32::from_le_bytes(value),
                ByteOrder::Big => f32::from_be_bytes(value),
            });
        }
    }
    Array2::from_shape_vec((grid, grid), cells).map_err(|error| error.to_string())
}
