//! From plain memory to tensors: the border between the data side and Burn.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// A batch of one image from its normalised values.
///
/// # Shapes
/// - `values`: `3 * H * W`, channel first
/// - output: `[1, 3, H, W]`
///
/// # Panics
/// If there are not `3 * H * W` values.
pub fn image_tensor(values: Vec<f32>, [height, width]: [usize; 2], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, [1, 3, height, width]), device)
}

/// A batch of one label mask.
///
/// # Shapes
/// - `labels`: `H * W`, row by row
/// - output: `[1, H, W]`
///
/// # Panics
/// If there are not `H * W` labels.
pub fn mask_tensor(labels: &[u8], [height, width]: [usize; 2], device: &Device) -> Tensor<3, Int> {
    let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
    Tensor::from_data(TensorData::new(labels, [1, height, width]), device)
}
