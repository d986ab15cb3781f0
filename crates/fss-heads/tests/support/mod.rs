//! What the golden tests of the heads share.

use std::collections::BTreeMap;

use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use fss_backbone::{DeepStemResNet, DeepStemResNetConfig, NamedTensor, Stage};
use fss_heads::{Refine, Ssp, SspConfig};
use fss_support::{fill, golden::Case};

/// A float tensor of a case.
pub fn tensor<const D: usize>(case: &Case, name: &str, device: &Device) -> Tensor<D> {
    let (shape, values) = case.f32(name);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A label map of a case.
pub fn labels(case: &Case, name: &str, device: &Device) -> Tensor<3, Int> {
    let (shape, values) = case.u8(name);
    let values: Vec<i64> = values.into_iter().map(i64::from).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// All values of a tensor, row by row.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

/// The numbers N for which the case has a tensor `<prefix>N`, from 0.
pub fn numbered(case: &Case, prefix: &str) -> std::ops::Range<usize> {
    let count = (0..).take_while(|k| case.has(&format!("{prefix}{k}"))).count();
    0..count
}

/// SSP with the backbone that a case names, under the fill rule, ready for training as published:
/// stem, first layer and norms are frozen.
pub fn filled_ssp(case: &Case, refine: Refine, device: &Device) -> Ssp {
    let depth = case.str_setting("backbone").parse().expect("a backbone's name");
    let config = SspConfig::new(DeepStemResNetConfig::new(depth)).with_refine(refine);
    let backbone = config.backbone.init(device, 0);
    let filled = backbone
        .named_tensors()
        .expect("an unfolded network")
        .into_iter()
        .map(|NamedTensor { key, shape, .. }| {
            let values = fill(&key, &shape);
            NamedTensor { key, shape, values }
        })
        .collect();
    let backbone = backbone.load_named(filled, "the fill rule".as_ref()).expect("fitting tensors");
    config.init_with(backbone.freeze(&[Stage::Stem, Stage::Layer1]))
}

/// Gradients of all trained parameters by official key.
pub fn gradients_by_key(
    backbone: &DeepStemResNet,
    gradients: Gradients,
) -> BTreeMap<String, Vec<f32>> {
    backbone.named_gradients(&gradients).into_iter().map(|g| (g.key, g.values)).collect()
}
