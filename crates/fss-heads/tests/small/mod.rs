//! Narrow models and small batches on the test device.

#[path = "../../../../tests/support/device.rs"]
mod device;

use burn::tensor::{Device, Int, Tensor, TensorData};
use device::test_device;
use fss_backbone::{DeepStemResNetConfig, Depth};
use fss_heads::{CamBatch, EpisodeBatch, LabelledBatch};

/// Side of the images.
pub const SIDE: usize = 64;

/// The test device, with autodiff.
pub fn device() -> Device {
    test_device().autodiff()
}

/// Two images `[2, 3, SIDE, SIDE]`, others for each `shift`.
pub fn images(shift: usize) -> Tensor<4> {
    let value = |i: usize| (((i + shift) * 37 % 101) as f32 / 50.0 - 1.0).sin();
    let values: Vec<f32> = (0..2 * 3 * SIDE * SIDE).map(value).collect();
    Tensor::from_data(TensorData::new(values, [2, 3, SIDE, SIDE]), &device())
}

/// Their masks `[2, SIDE, SIDE]`.
pub fn mask() -> Tensor<3, Int> {
    let inside = |i: usize| i64::from((i / SIDE % SIDE) < 40 && i % SIDE > 20);
    let values: Vec<i64> = (0..2 * SIDE * SIDE).map(inside).collect();
    Tensor::from_data(TensorData::new(values, [2, SIDE, SIDE]), &device())
}

/// Their coarse maps `[2, 1, SIDE / 8, SIDE / 8]`.
pub fn cam() -> Tensor<4> {
    let grid = SIDE / 8;
    let values: Vec<f32> = (0..2 * grid * grid).map(|i| (i % 7) as f32 / 8.0).collect();
    Tensor::from_data(TensorData::new(values, [2, 1, grid, grid]), &device())
}

/// Two episodes of one shot, with coarse maps.
pub fn batch() -> EpisodeBatch {
    EpisodeBatch {
        query: images(0),
        query_mask: mask(),
        supports: vec![(images(5), mask())],
        extra: None,
        cams: Some(CamBatch { query: cam(), supports: vec![cam()] }),
    }
}

/// Two labelled images.
pub fn labelled() -> LabelledBatch {
    LabelledBatch { images: images(0), labels: mask() }
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

pub fn deep_stem() -> DeepStemResNetConfig {
    DeepStemResNetConfig::new(Depth::R50).with_width(4)
}
