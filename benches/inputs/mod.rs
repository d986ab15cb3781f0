//! Inputs of benches: deterministic, of ordinary size, not zero.

use std::hint::black_box;

use burn::tensor::{Device, Int, Tensor, TensorData};

use fss_support::fill;

/// The CPU, or what `FSS_BENCH_DEVICE` names, as `cuda`.
pub fn device() -> Device {
    let name = std::env::var("FSS_BENCH_DEVICE").unwrap_or_else(|_| "cpu".into());
    fss_core::parse_device(&name).expect("a device of this build")
}

/// Waits until a tensor is computed, which stays where it is.
#[allow(dead_code, reason = "not every bench needs it")]
pub fn done<const D: usize>(tensor: Tensor<D>) {
    tensor.device().sync().expect("a device that works");
    black_box(tensor);
}

/// A tensor with values in -1..1 that follow from its name.
pub fn tensor<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = fill(name, &[shape.iter().product()]);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A mask `[1, H, W]` with a foreground object that covers a share of it: a rectangle from a quarter of each
/// side on, or from where it ends at the border.
pub fn object_mask([height, width]: [usize; 2], share: f32, device: &Device) -> Tensor<3, Int> {
    let inside = |i: usize, side: usize| {
        let length = (side as f32 * share.sqrt()).round() as usize;
        let first = (side / 4).min(side - length);
        (first..first + length).contains(&i)
    };
    let labels: Vec<i64> = (0..height * width)
        .map(|i| i64::from(inside(i / width, height) && inside(i % width, width)))
        .collect();
    Tensor::from_data(TensorData::new(labels, [1, height, width]), device)
}
