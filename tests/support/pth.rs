//! Weight files as PyTorch's `torch.save(state_dict, path)` writes them, made without PyTorch.
//!
//! Tensors are float32; a key that ends in `num_batches_tracked` becomes an int64 scalar, as in an
//! official file.

use std::path::Path;

/// A tensor to be stored: key, shape, values in row-major order.
pub type Entry = (String, Vec<usize>, Vec<f32>);

/// Writes a state dict in the zip format of PyTorch 1.6 and later.
pub fn write_pth(path: &Path, tensors: &[Entry]) {
    let mut zip = Zip::default();
    zip.add("archive/data.pkl", &state_dict(tensors, Container::Zip));
    zip.add("archive/byteorder", b"little");
    for (i, tensor) in tensors.iter().enumerate() {
        zip.add(&format!("archive/data/{i}"), &storage(tensor));
    }
    zip.add("archive/version", b"3\n");
    write(path, &zip.finish());
}

/// Writes a state dict in the format of PyTorch before 1.6
/// (`_use_new_zipfile_serialization=False`).
pub fn write_legacy_pth(path: &Path, tensors: &[Entry]) {
    let keys: Vec<String> = (0..tensors.len()).map(|i| i.to_string()).collect();
    let order: Vec<usize> = (0..tensors.len()).collect();
    write_legacy(path, &state_dict(tensors, Container::Legacy), tensors, &keys, &order);
}

/// Writes a training checkpoint as PyTorch 1.3 does, in the format before 1.6: numbers, the state dict
/// under `model` with its versions, and the state of an optimiser. `aliases` are further keys of
/// tensors, by index, which share their storage. The storages lie in the order of their names.
pub fn write_legacy_checkpoint(path: &Path, tensors: &[Entry], aliases: &[(String, usize)]) {
    let name = |i: usize| (94_100_000_000_000 + i * 7919 % 1_000_003 * 64).to_string();
    let mut entries: Vec<Entry> = tensors.to_vec();
    entries.push(("momentum_buffer".to_owned(), vec![2], vec![0.5; 2]));
    let keys: Vec<String> = (0..entries.len()).map(name).collect();
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|i| &keys[*i]);

    let mut pickle = Pickle::new();
    let tensor = |pickle: &mut Pickle, i: usize| {
        rebuilt_tensor(pickle, &entries[i], &keys[i], "cuda:0", Container::Legacy);
    };
    pickle.raw(b"}(").text("best_step").integer(500).text("epoch").integer(2);
    pickle.text("best_bIOU").raw(b"G").raw(&0.43f64.to_be_bytes());
    pickle.text("model").raw(EMPTY_DICT).raw(b"(");
    for (i, (key, ..)) in tensors.iter().enumerate() {
        pickle.text(key);
        tensor(&mut pickle, i);
    }
    for (key, i) in aliases {
        pickle.text(key);
        tensor(&mut pickle, *i);
    }
    pickle.raw(b"u}(").text("_metadata").raw(EMPTY_DICT).raw(b"(");
    pickle.text("").raw(b"}(").text("version").integer(1).raw(b"uuub");
    pickle.text("optimizer").raw(b"}(").text("state").raw(b"}(").integer(1_399_990);
    pickle.raw(b"}(").text("momentum_buffer");
    tensor(&mut pickle, entries.len() - 1);
    pickle.raw(b"uu").text("param_groups").raw(b"](}(").text("nesterov").raw(b"\x89");
    pickle.text("params").raw(b"](").integer(1_399_990).raw(b"eueu");
    pickle.text("scheduler").raw(b"N").raw(b"u.");
    write_legacy(path, &pickle.0, &entries, &keys, &order);
}

/// A file of the old format: the pickle of what was saved, and the storages that it names.
fn write_legacy(path: &Path, content: &[u8], tensors: &[Entry], keys: &[String], order: &[usize]) {
    let mut out = Vec::new();
    // Magic number and protocol version, each a pickle of its own.
    out.extend(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    out.extend(b"\x80\x02M\xe9\x03.");
    let mut system = Pickle::new();
    system.raw(b"}(").text("protocol_version").raw(b"M\xe9\x03");
    system.text("little_endian").raw(b"\x88").text("type_sizes").raw(b"}u.");
    out.extend(system.0);
    out.extend(content);
    let mut names = Pickle::new();
    names.raw(b"](");
    for i in order {
        names.text(&keys[*i]);
    }
    names.raw(b"e.");
    out.extend(names.0);
    for i in order {
        out.extend((tensors[*i].2.len() as i64).to_le_bytes());
        out.extend(storage(&tensors[*i]));
    }
    write(path, &out);
}

/// How floating-point tensors are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Precision {
    /// float32
    Single,
    /// float16
    Half,
}

/// Writes a TorchScript archive as `torch.jit.save` does: a module for every part of the keys, and in
/// the root module further int64 scalars. All strides are those of row-major tensors.
pub fn write_torchscript(
    path: &Path,
    tensors: &[Entry],
    scalars: &[(&str, i64)],
    precision: Precision,
) {
    let mut zip = Zip::default();
    let mut tree = Tree::default();
    for (i, (key, _, _)) in tensors.iter().enumerate() {
        tree.insert(key, i);
    }
    let mut pickle = Pickle::new();
    let first_scalar = tensors.len();
    script_module(&mut pickle, &tree, "Clip", &|pickle, i| {
        let (key, shape, values) = &tensors[i];
        let class = match precision {
            _ if is_counter(key) => "LongStorage",
            Precision::Single => "FloatStorage",
            Precision::Half => "HalfStorage",
        };
        script_tensor(pickle, class, i, values.len(), shape);
    });
    // The root module is still open: its own scalars come last.
    for (i, (name, _)) in scalars.iter().enumerate() {
        pickle.text(name);
        script_tensor(&mut pickle, "LongStorage", first_scalar + i, 1, &[]);
    }
    pickle.text("training").raw(b"\x89").raw(b"ub.");
    for (i, tensor) in tensors.iter().enumerate() {
        let bytes = match precision {
            Precision::Half if !is_counter(&tensor.0) => {
                tensor.2.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()
            }
            _ => storage(tensor),
        };
        zip.add(&format!("tiny/data/{i}"), &bytes);
    }
    for (i, (_, value)) in scalars.iter().enumerate() {
        zip.add(&format!("tiny/data/{}", first_scalar + i), &value.to_le_bytes());
    }
    zip.add("tiny/data.pkl", &pickle.0);
    zip.add("tiny/code/__torch__.py", b"class Clip(Module):\n  __parameters__ = []\n");
    zip.add("tiny/constants.pkl", b"\x80\x02).");
    zip.add("tiny/version", b"3\n");
    zip.add("tiny/byteorder", b"little");
    write(path, &zip.finish());
}

/// Keys split at their dots: tensors by index, and modules.
#[derive(Default)]
struct Tree {
    tensors: Vec<(String, usize)>,
    modules: Vec<(String, Tree)>,
}

impl Tree {
    fn insert(&mut self, key: &str, index: usize) {
        let Some((module, rest)) = key.split_once('.') else {
            self.tensors.push((key.to_owned(), index));
            return;
        };
        let at = self.modules.iter().position(|(name, _)| name == module).unwrap_or_else(|| {
            self.modules.push((module.to_owned(), Tree::default()));
            self.modules.len() - 1
        });
        self.modules[at].1.insert(rest, index);
    }
}

/// A module object with its attributes; the caller closes it with `ub`.
fn script_module(
    pickle: &mut Pickle,
    tree: &Tree,
    class: &str,
    tensor: &dyn Fn(&mut Pickle, usize),
) {
    pickle.raw(format!("c__torch__\n{class}\n").as_bytes()).raw(b")\x81}(");
    for (name, index) in &tree.tensors {
        pickle.text(name);
        tensor(pickle, *index);
    }
    pickle.text("_is_full_backward_hook").raw(b"N");
    pickle.text("padding").raw(b"ctorch.jit._pickle\nbuild_intlist\n(](K\x00K\x01etR");
    for (name, module) in &tree.modules {
        pickle.text(name);
        script_module(pickle, module, "Part", tensor);
        pickle.raw(b"ub");
    }
}

fn script_tensor(pickle: &mut Pickle, class: &str, key: usize, values: usize, shape: &[usize]) {
    pickle.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    pickle.text("storage").raw(format!("ctorch\n{class}\n").as_bytes());
    pickle.text(&key.to_string()).text("cuda:0").integer(values).raw(b"tQ").integer(0);
    pickle.tuple(shape).tuple(&strides(shape));
    pickle.raw(b"\x89ccollections\nOrderedDict\n)RtR");
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn is_counter(key: &str) -> bool {
    key.ends_with("num_batches_tracked")
}

fn storage((key, _, values): &Entry) -> Vec<u8> {
    if is_counter(key) {
        values.iter().flat_map(|v| (*v as i64).to_le_bytes()).collect()
    } else {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Container {
    Zip,
    Legacy,
}

const EMPTY_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";

/// The pickle of an `OrderedDict` from key to tensor.
fn state_dict(tensors: &[Entry], container: Container) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.raw(EMPTY_DICT).raw(b"(");
    for (i, entry) in tensors.iter().enumerate() {
        pickle.text(&entry.0);
        rebuilt_tensor(&mut pickle, entry, &i.to_string(), "cpu", container);
    }
    pickle.raw(b"u.");
    pickle.0
}

/// A tensor over the storage `name`.
fn rebuilt_tensor(
    pickle: &mut Pickle,
    (key, shape, values): &Entry,
    name: &str,
    device: &str,
    container: Container,
) {
    let class = if is_counter(key) { "LongStorage" } else { "FloatStorage" };
    pickle.raw(b"ctorch._utils\n_rebuild_tensor_v2\n(");
    // The persistent id of the storage: kind, class, key, device, number of elements.
    pickle.raw(b"(").text("storage").raw(format!("ctorch\n{class}\n").as_bytes());
    pickle.text(name).text(device).integer(values.len());
    if container == Container::Legacy {
        pickle.raw(b"N");
    }
    pickle.raw(b"tQ").integer(0).tuple(shape).tuple(&strides(shape));
    pickle.raw(b"\x89").raw(EMPTY_DICT).raw(b"tR");
}

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect()
}

/// Opcodes of pickle protocol 2, as far as they are needed.
struct Pickle(Vec<u8>);

impl Pickle {
    fn new() -> Self {
        Self(b"\x80\x02".to_vec())
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    fn integer(&mut self, value: usize) -> &mut Self {
        self.raw(b"J").raw(&(value as i32).to_le_bytes())
    }

    fn tuple(&mut self, values: &[usize]) -> &mut Self {
        self.raw(b"(");
        for value in values {
            self.integer(*value);
        }
        self.raw(b"t")
    }
}

/// A zip archive without compression.
#[derive(Default)]
struct Zip {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    entries: u16,
}

impl Zip {
    fn add(&mut self, name: &str, content: &[u8]) {
        let offset = self.bytes.len() as u32;
        let mut fields = Vec::new();
        // Version needed, flags, method, time, date (1980-01-01).
        for field in [20u16, 0, 0, 0, 0x21] {
            fields.extend(field.to_le_bytes());
        }
        for field in [crc32(content), content.len() as u32, content.len() as u32] {
            fields.extend(field.to_le_bytes());
        }
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend(0u16.to_le_bytes());
        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&fields);
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(content);
        self.directory.extend(b"PK\x01\x02\x14\x00");
        self.directory.extend(&fields);
        self.directory.extend([0; 10]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.entries += 1;
    }

    fn finish(mut self) -> Vec<u8> {
        let (start, length) = (self.bytes.len() as u32, self.directory.len() as u32);
        self.bytes.append(&mut self.directory);
        self.bytes.extend(b"PK\x05\x06\0\0\0\0");
        self.bytes.extend(self.entries.to_le_bytes());
        self.bytes.extend(self.entries.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(start.to_le_bytes());
        self.bytes.extend([0; 2]);
        self.bytes
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256)
        .map(|n| (0..8).fold(n, |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 }))
        .collect();
    !bytes
        .iter()
        .fold(!0, |crc, byte| table[((crc ^ u32::from(*byte)) & 255) as usize] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc32_of_the_check_string() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
