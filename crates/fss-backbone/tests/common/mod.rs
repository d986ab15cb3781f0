//! What the behaviour tests share.
#![allow(dead_code)] // each test file uses its own part

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use fss_backbone::{
    DeepStemResNet, DeepStemResNetConfig, Depth, ImagenetBackbone, ImagenetConfig, NamedTensor,
    OfficialKeys, TapBackbone, TapBackboneConfig, load_module_tensors, module_shapes,
};
use fss_support::pth::Entry;

pub fn device() -> Device {
    Device::flex()
}

/// A network that is quick to run.
pub fn narrow(depth: Depth) -> DeepStemResNetConfig {
    DeepStemResNetConfig::new(depth).with_width(4)
}

/// A network whose parameters and buffers all follow the fill rule.
pub fn filled(config: DeepStemResNetConfig, device: &Device) -> DeepStemResNet {
    let model = config.init(device, 0);
    let tensors = model
        .named_tensors()
        .unwrap()
        .into_iter()
        .map(|t| NamedTensor { values: fss_support::fill(&t.key, &t.shape), ..t })
        .collect();
    model.load_named(tensors, Path::new("fill rule")).unwrap()
}

/// A backbone with taps whose parameters and buffers follow the fill rule under `prefix` and key.
pub fn filled_taps(config: TapBackboneConfig, prefix: &str, device: &Device) -> TapBackbone {
    filled_module(config.init(device, 0), prefix)
}

/// A backbone of DENet's code whose parameters and buffers follow the fill rule under `prefix` and key.
pub fn filled_imagenet(config: ImagenetConfig, prefix: &str, device: &Device) -> ImagenetBackbone {
    filled_module(config.init(device, 0), prefix)
}

fn filled_module<M: OfficialKeys>(model: M, prefix: &str) -> M {
    let tensors = module_shapes(&model).into_iter().map(|(key, shape)| {
        let values = fss_support::fill(&format!("{prefix}{key}"), &shape);
        NamedTensor { key, shape, values }
    });
    let tensors = tensors.collect();
    load_module_tensors(model, tensors, Path::new("fill rule")).unwrap()
}

/// An image batch `[B, 3, h, w]` by the fill rule, scaled to the range of normalised images.
pub fn images(name: &str, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let values = fss_support::fill(name, &[shape.iter().product()]);
    Tensor::from_data(TensorData::new(values, shape), device) * 2.0
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// The official state dict under SSP names, batch counters included, to be written as `.pth`.
pub fn state_dict(model: &DeepStemResNet) -> Vec<Entry> {
    let mut entries = Vec::new();
    for NamedTensor { key, shape, values } in model.named_tensors().unwrap() {
        let counter = key.strip_suffix("running_var").map(|n| format!("{n}num_batches_tracked"));
        entries.push((key, shape, values));
        entries.extend(counter.map(|key| (key, vec![], vec![0.0])));
    }
    entries
}

/// SSP names to those of ImageNet files.
pub fn imagenet(entries: Vec<Entry>) -> Vec<Entry> {
    entries
        .into_iter()
        .map(|(key, shape, values)| {
            (key.replace("layer0.0.", "conv1.").replace("layer0.1.", "bn1."), shape, values)
        })
        .collect()
}

pub fn prefixed(entries: Vec<Entry>, prefix: &str) -> Vec<Entry> {
    entries.into_iter().map(|(key, s, v)| (format!("{prefix}{key}"), s, v)).collect()
}
