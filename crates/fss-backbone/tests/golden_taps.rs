//! Taps of torchvision's networks under fill-rule weights, and the official key lists.

mod common;

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use common::{device, filled_taps, values};
use fss_backbone::{TapBackbone, TapBackboneConfig, module_shapes};
use fss_support::golden::{self, Case, assert_close};

/// Tolerance as a fraction of the largest magnitude of a tap.
const TOLERANCE: f32 = 1e-4;

/// What official checkpoints put in front of the backbone's keys.
const PREFIX: &str = "module.backbone.";

#[test]
fn golden_tap_features() {
    let cases = golden::cases("hsnet", "features_");
    for case in &cases {
        let config = TapBackboneConfig::new(case.str_setting("backbone").parse().unwrap());
        let network = filled_taps(config, PREFIX, &device());
        compare(case, "separate", &network);
        compare(case, "folded", &network.fold());
    }
    golden::report("hsnet/features_", cases.len());
}

fn compare(case: &Case, what: &str, network: &TapBackbone) {
    let images = normalised(case);
    let [_, _, h, w] = images.dims();
    let taps = network.forward(images);
    let levels = network.network().taps();
    assert_eq!(taps.len(), levels.iter().sum::<usize>(), "{}: number of taps", case.name);
    let sizes = network.config().feature_sizes([h, w]);
    let level_of = |i: usize| (0..3).find(|&l| i < levels[..=l].iter().sum()).unwrap();
    for (i, tap) in taps.into_iter().enumerate() {
        let what = format!("{} {what} tap {i}", case.name);
        assert_eq!(tap.dims()[2..], sizes[level_of(i)], "{what}: size");
        let shape = tap.dims().to_vec();
        let got = values(tap);
        let tolerance = TOLERANCE * got.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let name = format!("feat{i:02}");
        if case.has(&name) {
            let (want_shape, want) = case.f32(&name);
            assert_eq!(shape, want_shape, "{what}: shape");
            assert_close(&what, &got, &want, tolerance);
        } else {
            summary(case, &what, i, &got, tolerance);
        }
    }
}

/// A tap of which the case keeps the first values, the mean and the L2 norm.
fn summary(case: &Case, what: &str, i: usize, got: &[f32], tolerance: f32) {
    let row = |name: &str| {
        let (shape, values) = case.f32(name);
        let width = shape.get(1).copied().unwrap_or(1);
        values[i * width..][..width].to_vec()
    };
    let first = row("first");
    let count = first.len().min(got.len());
    assert!(count > 0, "{what}: nothing to compare");
    assert_close(what, &got[..count], &first[..count], tolerance);
    let sum: f64 = got.iter().map(|v| f64::from(*v)).sum();
    let squares: f64 = got.iter().map(|v| f64::from(*v).powi(2)).sum();
    let (mean, norm) = ((sum / got.len() as f64) as f32, squares.sqrt() as f32);
    assert_close(&format!("{what}: mean"), &[mean], &row("mean"), tolerance);
    assert_close(&format!("{what}: norm"), &[norm], &row("l2"), TOLERANCE * norm);
}

/// The images `[B, 3, H, W]` as ImageNet's networks take them.
fn normalised(case: &Case) -> Tensor<4> {
    let (shape, pixels) = case.u8("image_u8");
    let shape: [usize; 4] = shape.try_into().unwrap();
    let (mean, deviation) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
    let plane = shape[2] * shape[3];
    let value = |(i, pixel): (usize, u8)| {
        let channel = i / plane % 3;
        (f32::from(pixel) / 255.0 - mean[channel]) / deviation[channel]
    };
    let values: Vec<f32> = pixels.into_iter().enumerate().map(value).collect();
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// Official lists of keys and shapes (`keys_*.txt`, one tab-separated line a tensor), where the
/// golden folder has them: our keys are those of the backbone but for classifier and counters.
#[test]
fn golden_tap_keys() {
    let mut lists = 0;
    for system in ["hsnet", "imr"] {
        let Ok(entries) = std::fs::read_dir(golden::directory().join(system)) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !(name.starts_with("keys_") && name.ends_with(".txt")) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let official = backbone_keys(&text);
            if official.is_empty() {
                continue; // CLIP's list
            }
            let shapes = official.iter().map(|(k, shape)| (k.as_str(), shape.as_slice()));
            let config = TapBackboneConfig::identify(shapes)
                .unwrap_or_else(|| panic!("{name}: no known backbone"));
            let ours: BTreeMap<_, _> =
                module_shapes(&config.init(&device(), 0)).into_iter().collect();
            assert_eq!(ours, official, "{name}: {config}");
            lists += 1;
        }
    }
    println!("golden key lists: {lists} with a backbone");
}

/// Keys and shapes of the backbone without classifier and counters.
fn backbone_keys(list: &str) -> BTreeMap<String, Vec<usize>> {
    let mut keys = BTreeMap::new();
    for line in list.lines() {
        let [key, _, shape] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let Some(key) = key.strip_prefix(PREFIX) else { continue };
        let classifier = key.starts_with("fc.") || key.starts_with("classifier.");
        if !classifier && !key.ends_with("num_batches_tracked") {
            keys.insert(key.to_owned(), shape.split('x').map(|n| n.parse().unwrap()).collect());
        }
    }
    keys
}
