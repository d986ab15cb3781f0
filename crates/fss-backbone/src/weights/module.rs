//! Weights of any Burn module under the names that its official code gives them.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::assign::{COUNTER, NamedTensor, check_values, read_back, set};
use super::dtype::ElementType;
use super::keys::common_prefix;
use super::read::{FileFormat, Source, StoredTensor, read_file};
use super::{LoadReport, Strictness};
use crate::error::{BackboneError, KeyList};

/// A module whose parameters have names in official files.
pub trait OfficialKeys: Module {
    /// The official key of the parameter at a path of field names and indices, as in
    /// `layer1.0.conv1.weight`.
    fn official_key(path: &str) -> String;

    /// Whether a file may hold this key although the module has no place for it, such as the
    /// classifier of an ImageNet file.
    fn allows_extra(_key: &str) -> bool {
        false
    }

    /// The official key of what a file calls `key`, if files have other names for it, too. Where one
    /// tensor is there under several names, the last of them in alphabetical order counts.
    fn resolve(&self, _key: &str) -> Option<String> {
        None
    }

    /// What the module is, for messages.
    fn describe(&self) -> String;

    /// What tensors of these keys and shapes look like, if they are of another network than this:
    /// then the error says so instead of listing keys. `None` if they may be of this one.
    fn looks_like_another(&self, _shapes: &BTreeMap<&str, &[usize]>) -> Option<String> {
        None
    }

    /// Whether parameters were merged, so that they no longer are those of the official files.
    fn is_folded(&self) -> bool {
        false
    }
}

/// All parameters and buffers of a module under their official keys, in the module's order.
///
/// # Errors
/// [`BackboneError::Device`] if one cannot be read back, [`BackboneError::Folded`] if the module is
/// folded.
pub fn module_tensors<M: OfficialKeys>(module: &M) -> Result<Vec<NamedTensor>, BackboneError> {
    if module.is_folded() {
        return Err(BackboneError::Folded { action: "take the weights out of" });
    }
    let mut collector =
        Collector { path: Place::default(), key: M::official_key, found: Ok(Vec::new()) };
    module.visit(&mut collector);
    collector.found
}

/// Official keys and shapes of all parameters and buffers, in the module's order. Values that were
/// not made yet stay unmade.
pub fn module_shapes<M: OfficialKeys>(module: &M) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Shapes { path: Place::default(), key: M::official_key, found: Vec::new() };
    module.visit(&mut shapes);
    shapes.found
}

/// Puts back what [`module_tensors`] gave, strictly; `origin` names the place in errors.
///
/// # Errors
/// If a key is missing, unknown or given twice, a shape does not fit or a value is not finite.
pub fn load_module_tensors<M: OfficialKeys>(
    module: M,
    tensors: Vec<NamedTensor>,
    origin: &Path,
) -> Result<M, BackboneError> {
    let mut stored = BTreeMap::new();
    for NamedTensor { key, shape, values } in tensors {
        let source = Source::Values(values);
        let tensor = StoredTensor { key: key.clone(), shape, dtype: ElementType::F32, source };
        if stored.insert(key.clone(), tensor).is_some() {
            let path = origin.to_owned();
            return Err(BackboneError::DuplicateKey { path, first: key.clone(), second: key });
        }
    }
    Ok(assign(module, &mut stored, origin, Strictness::Strict)?.0)
}

/// A weight file under the names of its state dict: wrappers such as `state_dict.` and `module.` are
/// off. Parts of it go to one module each with [`ModuleFile::load`].
#[derive(Debug)]
pub struct ModuleFile {
    path: std::path::PathBuf,
    format: FileFormat,
    tensors: BTreeMap<String, StoredTensor>,
    metadata: BTreeMap<String, String>,
}

impl ModuleFile {
    /// Opens a weight file of any format that is read.
    ///
    /// # Errors
    /// If it is missing, empty, damaged, of an unknown format, or names a tensor twice.
    pub fn open(path: &Path) -> Result<Self, BackboneError> {
        let file = read_file(path)?;
        let (prefix, _) = common_prefix(file.tensors.iter().map(|t| t.key.as_str()));
        let mut tensors = BTreeMap::new();
        for tensor in file.tensors {
            if let Some(key) = tensor.key.strip_prefix(prefix.as_str()) {
                tensors.insert(key.to_owned(), tensor);
            }
        }
        Ok(Self { path: path.to_owned(), format: file.format, tensors, metadata: file.metadata })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Text entries beside the tensors; safetensors and burnpack files may have some.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Keys and shapes, sorted by key.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(key, tensor)| (key.as_str(), tensor.shape.as_slice()))
    }

    /// The shape of a tensor, if the file has it.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|tensor| tensor.shape.as_slice())
    }

    /// Whether any key starts with `prefix`.
    pub fn has_part(&self, prefix: &str) -> bool {
        self.tensors.range(prefix.to_owned()..).next().is_some_and(|(k, _)| k.starts_with(prefix))
    }

    /// Takes out the tensors whose keys start with one of `prefixes`.
    pub fn drop_parts(&mut self, prefixes: &[&str]) {
        self.tensors.retain(|key, _| !prefixes.iter().any(|prefix| key.starts_with(prefix)));
    }

    /// Fills a module with the tensors whose keys start with `prefix` (which its own keys lack) and
    /// takes them out of the file; `""` for all. Batch counters may be there or not; f64, f16 and
    /// bf16 become f32. What is frozen stays frozen, and parameters keep their identity.
    ///
    /// # Errors
    /// If the tensors are of another network, keys are missing or unused (unless lenient), a shape
    /// or an element type does not fit, a tensor holds NaN, or the module is folded.
    pub fn load<M: OfficialKeys>(
        &mut self,
        module: M,
        prefix: &str,
        strictness: Strictness,
    ) -> Result<(M, LoadReport), BackboneError> {
        let mut part = BTreeMap::new();
        let mut ignored = Vec::new();
        for (key, tensor) in std::mem::take(&mut self.tensors) {
            match key.strip_prefix(prefix) {
                Some(inner) if M::allows_extra(inner) => ignored.push(tensor.key),
                Some(inner) => {
                    part.insert(inner.to_owned(), tensor);
                }
                None => {
                    self.tensors.insert(key, tensor);
                }
            }
        }
        let (module, outcome) = assign(module, &mut part, &self.path, strictness)?;
        let report = LoadReport {
            path: self.path.clone(),
            format: self.format,
            style: None,
            loaded: outcome.loaded,
            converted: outcome.converted,
            ignored,
            missing: outcome.missing,
            unused: outcome.unused,
        };
        super::log_report(&report);
        Ok((module, report))
    }

    /// Refuses a file of which something is left that no module took.
    ///
    /// # Errors
    /// [`BackboneError::Keys`] that lists it.
    pub fn finish(self, asked: &str) -> Result<(), BackboneError> {
        let unused: Vec<String> = self
            .tensors
            .into_iter()
            .filter(|(key, _)| !key.ends_with(COUNTER))
            .map(|(_, tensor)| tensor.key)
            .collect();
        if unused.is_empty() {
            return Ok(());
        }
        let (asked, missing) = (asked.to_owned(), KeyList::default());
        Err(BackboneError::Keys { path: self.path, asked, missing, unused: KeyList(unused) })
    }
}

/// [`ModuleFile::load`] of a whole file.
///
/// # Errors
/// As there and as [`ModuleFile::open`].
pub fn load_module<M: OfficialKeys>(
    module: M,
    path: &Path,
    strictness: Strictness,
) -> Result<(M, LoadReport), BackboneError> {
    ModuleFile::open(path)?.load(module, "", strictness)
}

#[derive(Debug, Default)]
struct Outcome {
    loaded: usize,
    converted: usize,
    missing: Vec<String>,
    unused: Vec<String>,
}

/// Puts tensors into a module. Checks everything before it changes anything.
fn assign<M: OfficialKeys>(
    module: M,
    tensors: &mut BTreeMap<String, StoredTensor>,
    path: &Path,
    strictness: Strictness,
) -> Result<(M, Outcome), BackboneError> {
    if module.is_folded() {
        return Err(BackboneError::Folded { action: "load weights into" });
    }
    let found = tensors.iter().map(|(key, tensor)| (key.as_str(), tensor.shape.as_slice()));
    if let Some(found) = module.looks_like_another(&found.collect()) {
        let (path, asked) = (path.to_owned(), module.describe());
        return Err(BackboneError::OtherBackbone { path, found, asked });
    }
    let given = std::mem::take(tensors).into_iter();
    tensors.extend(given.map(|(key, tensor)| (module.resolve(&key).unwrap_or(key), tensor)));
    let mut outcome = Outcome::default();
    let mut fitting = Vec::new();
    for (key, expected) in module_shapes(&module) {
        let Some(tensor) = tensors.remove(&key) else {
            outcome.missing.push(key);
            continue;
        };
        if tensor.shape != expected {
            let (path, found) = (path.to_owned(), tensor.shape);
            return Err(BackboneError::Shape { path, key: tensor.key, found, expected });
        }
        fitting.push((key, tensor));
    }
    outcome.unused = std::mem::take(tensors)
        .into_iter()
        .filter(|(key, _)| !key.ends_with(COUNTER))
        .map(|(_, tensor)| tensor.key)
        .collect();
    let fits = outcome.missing.is_empty() && outcome.unused.is_empty();
    if !fits && (strictness == Strictness::Strict || fitting.is_empty()) {
        let (path, asked) = (path.to_owned(), module.describe());
        let (missing, unused) = (KeyList(outcome.missing), KeyList(outcome.unused));
        return Err(BackboneError::Keys { path, asked, missing, unused });
    }
    let mut values = BTreeMap::new();
    for (key, tensor) in fitting {
        outcome.converted += usize::from(tensor.dtype != ElementType::F32);
        outcome.loaded += 1;
        let file_key = tensor.key.clone();
        let numbers = tensor.values(path)?;
        check_values(&key, &numbers).map_err(|what| BackboneError::Values {
            path: path.to_owned(),
            key: file_key,
            what,
        })?;
        values.insert(key, numbers);
    }
    let mut filler = Filler { path: Place::default(), key: M::official_key, values };
    Ok((module.map(&mut filler), outcome))
}

/// The path from the root of a module to where a visitor stands.
#[derive(Debug, Default)]
struct Place(Vec<String>);

impl Place {
    fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn leave(&mut self) {
        self.0.pop();
    }

    fn key(&self, rule: fn(&str) -> String) -> String {
        rule(&self.0.join("."))
    }
}

struct Collector {
    path: Place,
    key: fn(&str) -> String,
    found: Result<Vec<NamedTensor>, BackboneError>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.leave();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Ok(found) = &mut self.found else { return };
        match read_back(self.path.key(self.key), param) {
            Ok(tensor) => found.push(tensor),
            Err(error) => self.found = Err(error),
        }
    }
}

struct Shapes {
    path: Place,
    key: fn(&str) -> String,
    found: Vec<(String, Vec<usize>)>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.leave();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push((self.path.key(self.key), param.lazy_shape().to_vec()));
    }
}

struct Filler {
    path: Place,
    key: fn(&str) -> String,
    values: BTreeMap<String, Vec<f32>>,
}

impl ModuleMapper for Filler {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.leave();
    }

    fn map_float<const D: usize>(&mut self, mut param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        set(&mut param, self.values.remove(&self.path.key(self.key)));
        param
    }
}
