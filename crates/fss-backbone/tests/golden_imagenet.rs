//! The backbones of DENet's code under fill-rule weights, and the official key lists.

mod common;

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use common::{device, filled_imagenet, values};
use fss_backbone::{
    FoldedConv, ImagenetBackbone, ImagenetConfig, ImagenetFeatures, ImagenetNetwork, OfficialKeys,
    module_shapes,
};
use fss_kernels::{Activation, ConvGeometry};
use fss_support::golden::{self, Case, assert_close};

/// Tolerance as a fraction of the largest magnitude of a tensor, beside the stated gap between float32
/// and float64.
const TOLERANCE: f32 = 1e-5;

/// Where the checkpoints have the backbone.
fn prefix(network: ImagenetNetwork) -> &'static str {
    match network {
        ImagenetNetwork::Vgg16 | ImagenetNetwork::Vgg16Bn => "",
        _ => "backbone.",
    }
}

#[test]
fn golden_imagenet_features() {
    let cases = golden::cases("denet", "backbone_");
    for case in &cases {
        let network: ImagenetNetwork = case.str_setting("backbone").parse().unwrap();
        let config = ImagenetConfig::new(network);
        let model = filled_imagenet(config, prefix(network), &device());
        compare(case, "separate", &model);
        compare(case, "folded", &model.fold());
    }
    golden::report_optional("denet/backbone_", cases.len());
}

fn compare(case: &Case, what: &str, model: &ImagenetBackbone) {
    let (shape, x) = case.f32("x");
    let shape: [usize; 4] = shape.try_into().unwrap();
    let ImagenetFeatures { level1, level2, level3 } =
        model.forward(Tensor::from_data(TensorData::new(x, shape), &device()));
    let sizes = model.config().feature_sizes([shape[2], shape[3]]);
    for ((level, size), channels) in
        [&level1, &level2, &level3].into_iter().zip(sizes).zip(model.config().channels())
    {
        assert_eq!(level.dims()[1..], [channels, size[0], size[1]], "{} {what}", case.name);
    }
    match case.has("level1") {
        true => {
            check(case, what, "level1", level1);
            check(case, what, "level2", level2);
            check(case, what, "level3", fully_conv(level3));
        }
        false => {
            let layer4 = model.layer4(level3.clone());
            assert_eq!(layer4.is_some(), case.has("layer4"), "{}", case.name);
            check(case, what, "layer1", level1);
            check(case, what, "layer2", level2);
            check(case, what, "layer3", level3);
            if let Some(layer4) = layer4 {
                check(case, what, "layer4", layer4);
            }
        }
    }
}

/// AMP's 1x1 convolution to 256 channels, which is no part of the backbone.
fn fully_conv(level3: Tensor<4>) -> Tensor<4> {
    let c_in = level3.dims()[1];
    let shape = [256, c_in, 1, 1];
    let weight = fss_support::fill("fully_conv.0.weight", &shape);
    let bias = fss_support::fill("fully_conv.0.bias", &[256]);
    let conv = FoldedConv {
        weight: burn::module::Param::from_data(TensorData::new(weight, shape), &device()),
        bias: burn::module::Param::from_data(TensorData::new(bias, [256]), &device()),
        geometry: ConvGeometry { stride: 1, padding: 0, dilation: 1 },
    };
    conv.forward(level3, None, Activation::None)
}

fn check(case: &Case, what: &str, name: &str, got: Tensor<4>) {
    let (shape, want) = case.f32(name);
    let what = format!("{} {what} {name}", case.name);
    assert_eq!(got.dims().to_vec(), shape, "{what}: shape");
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert_close(&what, &values(got), &want, TOLERANCE * largest + 10.0 * case.f32_gap(name));
}

/// Official lists of keys and shapes (`keys_*.txt`, one tab-separated line a tensor), where the golden
/// folder has them: our keys are those of the backbone, but for counters and AMP's second names.
#[test]
fn golden_imagenet_keys() {
    let Ok(entries) = std::fs::read_dir(golden::directory().join("denet")) else {
        println!("golden key lists of denet: SKIPPED, the folder is not there");
        return;
    };
    let mut lists = 0;
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !(name.starts_with("keys_") && name.ends_with(".txt")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let full = keys(&text);
        let shapes = || full.iter().map(|(key, shape)| (key.as_str(), shape.as_slice()));
        let inner =
            shapes().filter_map(|(key, shape)| Some((key.strip_prefix("backbone.")?, shape)));
        let config = ImagenetConfig::identify(inner).or_else(|| ImagenetConfig::identify(shapes()));
        let config = config.unwrap_or_else(|| panic!("{name}: no known backbone"));
        assert!(name.contains(&config.network.name().replace('_', "")), "{name}: {config}");

        let model = config.init(&device(), 0);
        let mut ours: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (key, shape) in module_shapes(&model) {
            if let Some(second) = ImagenetBackbone::second_key(&key) {
                assert_eq!(model.resolve(&second).as_ref(), Some(&key), "{name}");
                ours.insert(second, shape.clone());
            }
            ours.insert(format!("{}{key}", prefix(config.network)), shape);
        }
        let official: BTreeMap<String, Vec<usize>> = full
            .into_iter()
            .filter(|(key, _)| match prefix(config.network) {
                "" => !is_head_of_amp(key),
                prefix => key.starts_with(prefix),
            })
            .collect();
        assert_eq!(ours, official, "{name}: {config}");
        lists += 1;
    }
    println!("golden key lists of denet: {lists}");
    assert!(lists > 0);
}

fn is_head_of_amp(key: &str) -> bool {
    ["fully_conv.", "level3.2.", "level1_", "level2_", "level3_"]
        .iter()
        .any(|part| key.starts_with(part))
}

/// Keys and shapes of a list without counters.
fn keys(list: &str) -> BTreeMap<String, Vec<usize>> {
    let mut keys = BTreeMap::new();
    for line in list.lines() {
        let [key, _, shape] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        if !key.ends_with("num_batches_tracked") {
            keys.insert(key.to_owned(), shape.split('x').map(|n| n.parse().unwrap()).collect());
        }
    }
    keys
}
