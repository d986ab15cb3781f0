//! Small CLIPs under the fill rule.
#![allow(dead_code)] // each test file uses its own part

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use fss_backbone::clip::{Clip, ClipConfig};
use fss_backbone::{NamedTensor, load_module_tensors, module_shapes};
use fss_support::pth::Entry;

/// Sizes that are quick to run and still have everything.
pub fn small() -> ClipConfig {
    ClipConfig { resolution: 64, width: 8, embedding: 48, text_width: 64, ..ClipConfig::rn50() }
        .with_depth([1, 2, 1, 1], 2)
}

/// The state dict of a CLIP under the fill rule, made by two threads.
pub fn filled_tensors(clip: &Clip) -> Vec<NamedTensor> {
    let shapes = module_shapes(clip);
    let fill = |shapes: &[(String, Vec<usize>)]| -> Vec<NamedTensor> {
        let fill = |(key, shape): &(String, Vec<usize>)| NamedTensor {
            key: key.clone(),
            shape: shape.clone(),
            values: fss_support::fill(key, shape),
        };
        shapes.iter().map(fill).collect()
    };
    let values = |shapes: &[(String, Vec<usize>)]| -> usize {
        shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    };
    let total = values(&shapes);
    let middle = (0..shapes.len()).find(|i| 2 * values(&shapes[..*i]) >= total).unwrap_or(0);
    let (front, back) = shapes.split_at(middle);
    std::thread::scope(|scope| {
        let front = scope.spawn(|| fill(front));
        let back = fill(back);
        let mut all = front.join().unwrap();
        all.extend(back);
        all
    })
}

pub fn filled_clip(config: ClipConfig, device: &Device) -> Clip {
    let clip = config.init(device, 0);
    let tensors = filled_tensors(&clip);
    load_module_tensors(clip, tensors, Path::new("fill rule")).unwrap()
}

/// The official state dict, batch counters and `logit_scale` included, to be written to a file.
pub fn clip_entries(clip: &Clip) -> Vec<Entry> {
    let mut entries = vec![("logit_scale".to_owned(), vec![], vec![4.6])];
    for NamedTensor { key, shape, values } in filled_tensors(clip) {
        let counter = key.strip_suffix("running_var").map(|n| format!("{n}num_batches_tracked"));
        entries.push((key, shape, values));
        entries.extend(counter.map(|key| (key, vec![], vec![0.0])));
    }
    entries
}

/// Images `[B, 3, H, W]` of bytes, normalised as CLIP's are.
pub fn normalised(shape: [usize; 4], bytes: &[u8], device: &Device) -> Tensor<4> {
    let mean = [0.48145466f32, 0.4578275, 0.40821073];
    let deviation = [0.26862954f32, 0.261_302_6, 0.275_777_1];
    let area = shape[2] * shape[3];
    let values: Vec<f32> = bytes
        .iter()
        .enumerate()
        .map(|(i, byte)| {
            let channel = (i / area) % 3;
            (f32::from(*byte) / 255.0 - mean[channel]) / deviation[channel]
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}
