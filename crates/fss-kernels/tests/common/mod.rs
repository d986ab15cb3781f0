//! What the tests of this crate share.
#![allow(dead_code)]

#[path = "../../../../tests/support/device.rs"]
mod device;

use burn::tensor::{Device, Tensor, TensorData};
#[allow(unused_imports, reason = "not every test needs a device")]
pub use device::test_device;
use fss_support::fill;

/// Reproducible values in `-1..1`; another `name` gives others.
pub fn random(name: &str, count: usize) -> Vec<f32> {
    fill(name, &[count])
}

/// A tensor of [`random`] values times `scale`.
pub fn tensor<const D: usize>(
    name: &str,
    shape: [usize; D],
    scale: f32,
    device: &Device,
) -> Tensor<D> {
    from_values(random(name, shape.iter().product()), shape, device) * scale
}

pub fn from_values<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("float32 values")
}

/// The largest magnitude, at least 1e-6.
pub fn largest(values: &[f32]) -> f32 {
    values.iter().fold(1e-6, |m, v| m.max(v.abs()))
}
