//! TorchScript archives (`torch.jit.save`): a zip whose `data.pkl` holds the tree of modules.
//!
//! The pickle is walked, never executed: [`pickle`] turns its opcodes into inert nodes, and the names
//! of attributes on the way from the root to a tensor make the tensor's key, as in `state_dict()`.

mod pickle;
mod view;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use zip::ZipArchive;

use super::dtype::ElementType;
use super::read::{Source, StoredTensor};
use pickle::{Node, Pickle};
use view::TensorView;

/// Largest `data.pkl`: that of CLIP takes well below 1 MiB.
const MAX_PICKLE_BYTES: u64 = 16 << 20;
/// Deepest nesting of modules.
const MAX_DEPTH: usize = 64;
/// Most attributes on all ways through the tree: modules may be shared.
const MAX_VISITS: usize = 1_000_000;

/// An open archive.
pub(crate) struct Archive {
    /// Folder of all entries, e.g. `RN50/`.
    root: String,
    state: Mutex<State>,
}

struct State {
    zip: ZipArchive<BufReader<File>>,
    /// The storage read last: tensors that share one are often neighbours.
    last: Option<(String, Arc<Vec<u8>>)>,
}

/// A tensor of an archive, values not yet read.
pub(crate) struct ScriptTensor {
    archive: Arc<Archive>,
    view: TensorView,
    bytes_per_value: usize,
}

/// The tensors of a TorchScript archive, or `None` if the zip is not one.
pub(crate) fn open(path: &Path) -> Result<Option<Vec<StoredTensor>>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let Ok(mut zip) = ZipArchive::new(BufReader::new(file)) else { return Ok(None) };
    let Some(root) = root_of(&zip) else { return Ok(None) };
    let bytes = read_entry(&mut zip, &format!("{root}data.pkl"), MAX_PICKLE_BYTES)?;
    if let Ok(order) = read_entry(&mut zip, &format!("{root}byteorder"), 16)
        && order != b"little"
    {
        return Err("its tensors are not little-endian".to_owned());
    }
    let pickle = Pickle::read(&bytes)?;
    let archive = Arc::new(Archive { root, state: Mutex::new(State { zip, last: None }) });
    let mut walk =
        Walk { pickle: &pickle, archive, path: Vec::new(), visits: 0, found: Vec::new() };
    walk.visit(pickle.root())?;
    Ok(Some(walk.found))
}

/// The folder that holds both pickles of a TorchScript archive; a state dict has no constants.
fn root_of(zip: &ZipArchive<BufReader<File>>) -> Option<String> {
    let names = || zip.file_names().flatten();
    let root = names().find_map(|name| name.strip_suffix("constants.pkl").map(str::to_owned))?;
    let data = format!("{root}data.pkl");
    names().any(|name| name == data).then_some(root)
}

fn read_entry(
    zip: &mut ZipArchive<BufReader<File>>,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, String> {
    let entry = zip.by_name(name).map_err(|e| format!("entry '{name}': {e}"))?;
    let mut bytes = Vec::new();
    entry.take(limit + 1).read_to_end(&mut bytes).map_err(|e| format!("entry '{name}': {e}"))?;
    match bytes.len() as u64 > limit {
        true => Err(format!("entry '{name}' is larger than {limit} bytes")),
        false => Ok(bytes),
    }
}

/// The way through the tree of modules.
struct Walk<'a> {
    pickle: &'a Pickle,
    archive: Arc<Archive>,
    path: Vec<&'a str>,
    visits: usize,
    found: Vec<StoredTensor>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, node: usize) -> Result<(), String> {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return Err(format!("its modules have more than {MAX_VISITS} attributes"));
        }
        match self.pickle.node(node) {
            Node::Tensor(view) => self.add(view),
            Node::Object(attributes) => {
                if self.path.len() >= MAX_DEPTH {
                    return Err(format!("modules are nested deeper than {MAX_DEPTH}"));
                }
                for (key, value) in attributes {
                    let Node::Text(name) = self.pickle.node(*key) else { continue };
                    self.path.push(name);
                    self.visit(*value)?;
                    self.path.pop();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, view: &TensorView) -> Result<(), String> {
        let key = self.path.join(".");
        let (dtype, bytes_per_value) = element_type(&view.storage.class);
        view.check().map_err(|reason| format!("tensor '{key}': {reason}"))?;
        let tensor =
            ScriptTensor { archive: self.archive.clone(), view: view.clone(), bytes_per_value };
        self.found.push(StoredTensor {
            key,
            shape: view.shape.clone(),
            dtype,
            source: Source::TorchScript(tensor),
        });
        Ok(())
    }
}

/// Element type and size in bytes of a storage class of `torch`.
fn element_type(class: &str) -> (ElementType, usize) {
    let other = |name: &str, bytes| (ElementType::Other(name.to_owned()), bytes);
    match class {
        "DoubleStorage" => (ElementType::F64, 8),
        "FloatStorage" => (ElementType::F32, 4),
        "HalfStorage" => (ElementType::F16, 2),
        "BFloat16Storage" => (ElementType::Bf16, 2),
        "LongStorage" => other("i64", 8),
        "IntStorage" => other("i32", 4),
        "ShortStorage" => other("i16", 2),
        "CharStorage" => other("i8", 1),
        "ByteStorage" => other("u8", 1),
        "BoolStorage" => other("bool", 1),
        class => other(class, 1),
    }
}

impl ScriptTensor {
    /// The bytes of all values, row-major whatever the strides.
    pub(crate) fn read(&self) -> Result<Vec<u8>, String> {
        let storage = self.archive.storage(&self.view, self.bytes_per_value)?;
        let size = self.bytes_per_value;
        let range = |index: usize| index * size..(index + 1) * size;
        if self.view.is_contiguous() {
            let start = self.view.offset * size;
            let values: usize = self.view.shape.iter().product();
            return Ok(storage.get(start..start + values * size).unwrap_or_default().to_vec());
        }
        let mut bytes = Vec::new();
        self.view.for_each_index(|index| {
            bytes.extend_from_slice(storage.get(range(index)).unwrap_or_default());
        });
        Ok(bytes)
    }
}

impl Archive {
    fn storage(&self, view: &TensorView, bytes_per_value: usize) -> Result<Arc<Vec<u8>>, String> {
        let name = format!("{}data/{}", self.root, view.storage.key);
        let mut state = self.state.lock().map_err(|_| "its reader failed before".to_owned())?;
        if let Some((last, bytes)) = &state.last
            && *last == name
        {
            return Ok(bytes.clone());
        }
        let expected = view.storage.values.saturating_mul(bytes_per_value);
        let bytes = read_entry(&mut state.zip, &name, expected as u64)?;
        if bytes.len() != expected {
            return Err(format!("entry '{name}' has {} bytes of {expected}", bytes.len()));
        }
        let bytes = Arc::new(bytes);
        state.last = Some((name, bytes.clone()));
        Ok(bytes)
    }
}
