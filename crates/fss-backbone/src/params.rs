//! Parameters of modules beside the backbone, made, read and set by the backbone's own rules.

use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use crate::error::BackboneError;
use crate::init::Init;
use crate::norm;
use crate::weights::NamedTensor;
use crate::weights::assign::{check_values, read_back, set};

/// A trained kernel `[C_out, C_in, k, k]` of normal numbers with mean 0 that follow from `seed` and
/// `key` alone, whatever the device and whatever else draws random numbers.
pub fn normal(
    key: &str,
    shape: [usize; 4],
    deviation: f64,
    seed: u64,
    device: &Device,
) -> Param<Tensor<4>> {
    Init { seed, device }.normal(key, shape, deviation)
}

/// A kernel by the rule of the backbone's convolutions (Kaiming-normal, fan-out, ReLU gain); see
/// [`normal`].
pub fn kaiming_normal(
    key: &str,
    shape: [usize; 4],
    seed: u64,
    device: &Device,
) -> Param<Tensor<4>> {
    Init { seed, device }.kaiming_normal(key, shape)
}

/// A trained tensor of numbers that are uniform from `-bound` to `bound` and follow from `seed` and
/// `key` alone; see [`normal`].
pub fn uniform<const D: usize>(
    key: &str,
    shape: [usize; D],
    bound: f64,
    seed: u64,
    device: &Device,
) -> Param<Tensor<D>> {
    Init { seed, device }.uniform(key, shape, bound)
}

/// `x` as an operand of `parameter`: recorded by autodiff if that is, outside it if that is.
pub fn beside<const D: usize, const E: usize>(
    x: Tensor<D>,
    parameter: &Param<Tensor<E>>,
) -> Tensor<D> {
    let parameter = parameter.val();
    match parameter.is_autodiff() {
        true => norm::follow_autodiff(x, &parameter),
        false => x.without_autodiff(),
    }
}

/// A trained vector `[channels]` filled with one value.
pub fn filled(value: f32, channels: usize, device: &Device) -> Param<Tensor<1>> {
    Param::from_data(TensorData::new(vec![value; channels], [channels]), device)
}

/// A vector `[channels]` filled with one value that gets no gradient.
pub fn buffer(value: f32, channels: usize, device: &Device) -> Param<Tensor<1>> {
    filled(value, channels, device).set_require_grad(false)
}

/// The parameter with another value; its identity, gradient setting and autodiff association stay.
pub fn replaced<const D: usize>(param: &Param<Tensor<D>>, value: Tensor<D>) -> Param<Tensor<D>> {
    norm::replace(param, value)
}

/// The values of a parameter under a name.
///
/// # Errors
/// [`BackboneError::Device`] if they cannot be read back from the device.
pub fn read<const D: usize>(
    key: impl Into<String>,
    param: &Param<Tensor<D>>,
) -> Result<NamedTensor, BackboneError> {
    read_back(key.into(), param)
}

/// Puts a named tensor into a parameter; `origin` names the place in errors.
///
/// # Errors
/// If the shape does not fit, a value is not finite, or one of a key that ends in `running_var` is
/// negative.
pub fn write<const D: usize>(
    param: &mut Param<Tensor<D>>,
    tensor: NamedTensor,
    origin: &Path,
) -> Result<(), BackboneError> {
    let NamedTensor { key, shape, values } = tensor;
    let expected = param.lazy_shape().to_vec();
    if shape != expected || values.len() != expected.iter().product::<usize>() {
        let path = origin.to_owned();
        return Err(BackboneError::Shape { path, key, found: shape, expected });
    }
    if let Err(what) = check_values(&key, &values) {
        return Err(BackboneError::Values { path: origin.to_owned(), key, what });
    }
    set(param, Some(values));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_can_be_written_and_wrong_shapes_are_named() {
        let device = Device::flex();
        let source = normal("a", [2, 3, 1, 1], 0.5, 7, &device);
        let mut target = normal("b", [2, 3, 1, 1], 0.5, 7, &device);
        let named = read("a", &source).unwrap();
        assert_ne!(read("a", &target).unwrap().values, named.values);
        write(&mut target, named.clone(), Path::new("here")).unwrap();
        assert_eq!(read("a", &target).unwrap(), named);
        let mut other = normal("b", [3, 2, 1, 1], 0.5, 7, &device);
        let error = write(&mut other, named, Path::new("here")).unwrap_err().to_string();
        assert!(error.contains("here") && error.contains("[3, 2, 1, 1]"), "{error}");
    }
}
