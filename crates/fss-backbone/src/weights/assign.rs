//! Tensors by name: out of a network and into it.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};

use super::Strictness;
use super::dtype::ElementType;
use super::read::{Source, StoredTensor};
use crate::block::{ConvNorm, ConvUnit};
use crate::error::{BackboneError, KeyList};
use crate::norm::replace;
use crate::resnet::DeepStemResNet;

/// PyTorch's batch counter, a buffer that frozen norms have no use for.
pub(crate) const COUNTER: &str = "num_batches_tracked";

/// A parameter or buffer under its official key.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Official SSP key, e.g. `layer1.0.conv1.weight`.
    pub key: String,
    /// Shape in PyTorch's order.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
}

/// How [`assign`] names things and what it accepts.
pub(crate) struct Names<'a> {
    pub path: &'a Path,
    pub strictness: Strictness,
}

/// What [`assign`] did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub loaded: usize,
    pub converted: usize,
    pub missing: Vec<String>,
    pub unused: Vec<String>,
}

impl DeepStemResNet {
    /// All parameters and buffers but the batch counters, in the order of the official state dict.
    ///
    /// # Errors
    /// If the network is folded, or a parameter cannot be read back from its device.
    pub fn named_tensors(&self) -> Result<Vec<NamedTensor>, BackboneError> {
        let mut named = Vec::new();
        for (keys, unit) in self.units() {
            let ConvUnit::Separate(ConvNorm { conv, norm }) = unit else {
                return Err(BackboneError::Folded { action: "take the weights out of" });
            };
            named.push(read_back(format!("{}.weight", keys.conv), &conv.weight)?);
            for (name, param) in [
                ("weight", &norm.weight),
                ("bias", &norm.bias),
                ("running_mean", &norm.running_mean),
                ("running_var", &norm.running_var),
            ] {
                named.push(read_back(format!("{}.{name}", keys.norm), param)?);
            }
        }
        Ok(named)
    }

    /// Puts back what [`DeepStemResNet::named_tensors`] gave, strictly. What is frozen stays frozen
    /// and parameters keep their identity.
    ///
    /// # Errors
    /// If the network is folded, a key is missing, unknown or given twice, a shape does not fit or
    /// a value is not finite. `origin` names the place in the message, e.g. the checkpoint's path.
    pub fn load_named(
        mut self,
        tensors: Vec<NamedTensor>,
        origin: &Path,
    ) -> Result<Self, BackboneError> {
        if self.is_folded() {
            return Err(BackboneError::Folded { action: "load weights into" });
        }
        let mut stored = BTreeMap::new();
        for NamedTensor { key, shape, values } in tensors {
            let expected = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
            if expected != Some(values.len()) {
                let found = vec![values.len()];
                let path = origin.to_owned();
                return Err(BackboneError::Shape { path, key, found, expected: shape });
            }
            let source = Source::Values(values);
            let tensor = StoredTensor { key: key.clone(), shape, dtype: ElementType::F32, source };
            if let Some(first) = stored.insert(key.clone(), tensor) {
                let path = origin.to_owned();
                return Err(BackboneError::DuplicateKey { path, first: first.key, second: key });
            }
        }
        assign(&mut self, stored, Names { path: origin, strictness: Strictness::Strict })?;
        Ok(self)
    }

    /// Number of values that are not buffers: 8.667 M for ResNet-50.
    pub fn parameter_count(&self) -> usize {
        let count = |unit: &ConvUnit| match unit {
            ConvUnit::Separate(u) => {
                u.conv.weight.lazy_shape().num_elements()
                    + 2 * u.norm.weight.lazy_shape().num_elements()
            }
            ConvUnit::Folded(u) => u.weight.shape().num_elements() + u.bias.shape().num_elements(),
        };
        self.units().into_iter().map(|(_, unit)| count(unit)).sum()
    }
}

/// A parameter under a name.
pub(crate) fn read_back<const D: usize>(
    key: String,
    param: &Param<Tensor<D>>,
) -> Result<NamedTensor, BackboneError> {
    let value = param.val();
    let shape = value.dims().to_vec();
    match value.try_into_vec_as::<f32>() {
        Ok(values) => Ok(NamedTensor { key, shape, values }),
        Err(e) => Err(BackboneError::Device { key, reason: e.to_string() }),
    }
}

/// Puts tensors under SSP keys into the network. Checks everything before it changes anything.
pub(crate) fn assign(
    model: &mut DeepStemResNet,
    mut tensors: BTreeMap<String, StoredTensor>,
    names: Names<'_>,
) -> Result<Outcome, BackboneError> {
    let mut outcome = Outcome::default();
    let mut fitting = BTreeMap::new();
    let asked = model.config().to_string();
    for (key, expected) in expected_shapes(model) {
        let Some(tensor) = tensors.remove(&key) else {
            outcome.missing.push(key);
            continue;
        };
        if tensor.shape != expected {
            let (path, found) = (names.path.to_owned(), tensor.shape);
            return Err(BackboneError::Shape { path, key: tensor.key, found, expected });
        }
        fitting.insert(key, tensor);
    }
    let counters = |key: &str| {
        key.strip_suffix(COUNTER).is_some_and(|norm| fitting.contains_key(&format!("{norm}bias")))
    };
    outcome.unused = tensors
        .into_iter()
        .filter(|(key, _)| !counters(key))
        .map(|(_, tensor)| tensor.key)
        .collect();
    let fits = outcome.missing.is_empty() && outcome.unused.is_empty();
    if !fits && (names.strictness == Strictness::Strict || fitting.is_empty()) {
        let path = names.path.to_owned();
        let (missing, unused) = (KeyList(outcome.missing), KeyList(outcome.unused));
        return Err(BackboneError::Keys { path, asked, missing, unused });
    }
    let mut values = BTreeMap::new();
    for (key, tensor) in fitting {
        outcome.converted += usize::from(tensor.dtype != ElementType::F32);
        outcome.loaded += 1;
        let file_key = tensor.key.clone();
        let numbers = tensor.values(names.path)?;
        check_values(&key, &numbers).map_err(|what| BackboneError::Values {
            path: names.path.to_owned(),
            key: file_key,
            what,
        })?;
        values.insert(key, numbers);
    }
    for (keys, unit) in model.units_mut() {
        let ConvUnit::Separate(ConvNorm { conv, norm }) = unit else { continue };
        set(&mut conv.weight, values.remove(&format!("{}.weight", keys.conv)));
        for (name, param) in [
            ("weight", &mut norm.weight),
            ("bias", &mut norm.bias),
            ("running_mean", &mut norm.running_mean),
            ("running_var", &mut norm.running_var),
        ] {
            set(param, values.remove(&format!("{}.{name}", keys.norm)));
        }
    }
    Ok(outcome)
}

/// Keys and shapes of all parameters and buffers, in official order.
fn expected_shapes(model: &DeepStemResNet) -> Vec<(String, Vec<usize>)> {
    let mut expected = Vec::new();
    for (keys, unit) in model.units() {
        let kernel = unit.kernel().lazy_shape();
        expected.push((format!("{}.weight", keys.conv), kernel.to_vec()));
        for name in ["weight", "bias", "running_mean", "running_var"] {
            expected.push((format!("{}.{name}", keys.norm), vec![kernel[0]]));
        }
    }
    expected
}

pub(crate) fn check_values(key: &str, values: &[f32]) -> Result<(), &'static str> {
    if values.iter().any(|v| !v.is_finite()) {
        Err("NaN or infinity")
    } else if key.ends_with("running_var") && values.iter().any(|v| *v < 0.0) {
        Err("a negative variance")
    } else {
        Ok(())
    }
}

/// Puts values, if there are any, into a parameter.
pub(crate) fn set<const D: usize>(param: &mut Param<Tensor<D>>, values: Option<Vec<f32>>) {
    if let Some(values) = values {
        let data = TensorData::new(values, param.lazy_shape());
        let device = param.lazy_device().without_autodiff();
        *param = replace(param, Tensor::from_data(data, &device));
    }
}
