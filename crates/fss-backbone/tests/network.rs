//! Shapes, determinism, batches and folding.

mod common;

use burn::tensor::Tensor;
use common::{device, filled, images, narrow, values};
use fss_backbone::{DeepStemResNetConfig, Depth, Layer3};
use fss_support::golden::assert_close_rel_max;

#[test]
fn feature_size_follows_the_published_halvings() {
    let published = DeepStemResNetConfig::new(Depth::R50);
    assert_eq!(published.feature_size([473, 97]), [60, 13]);
    assert_eq!(published.feature_size([375, 500]), [47, 63]);
    assert_eq!(published.channels(), 1024);
    assert_eq!(DeepStemResNetConfig::new(Depth::R18).channels(), 256);
    assert_eq!(DeepStemResNetConfig::new(Depth::R34).output_stride(), 16);
}

#[test]
fn features_have_the_promised_shape_at_every_size() {
    let configs = Depth::ALL.map(narrow).into_iter().chain([
        narrow(Depth::R18).with_layer3(Layer3::Dilated),
        narrow(Depth::R50).with_layer3(Layer3::Strided),
    ]);
    for config in configs {
        let network = config.init(&device(), 1);
        for [h, w] in [[1, 1], [2, 9], [33, 41], [48, 32]] {
            let features = network.forward(images("x", [2, 3, h, w], &device()));
            let [fh, fw] = network.feature_size([h, w]);
            assert_eq!(features.dims(), [2, network.channels(), fh, fw], "{config} at {h}x{w}");
        }
    }
}

#[test]
fn published_networks_have_the_published_number_of_parameters() {
    for (depth, millions) in [(Depth::R50, 8.667), (Depth::R101, 27.659), (Depth::R152, 43.30)] {
        let count = DeepStemResNetConfig::new(depth).init(&device(), 0).parameter_count();
        assert!((count as f64 / 1e6 - millions).abs() < 0.005, "{depth}: {count}");
    }
}

#[test]
fn official_keys_come_in_official_order() {
    let named = DeepStemResNetConfig::new(Depth::R50)
        .with_width(2)
        .init(&device(), 0)
        .named_tensors()
        .unwrap();
    let keys: Vec<&str> = named.iter().map(|t| t.key.as_str()).collect();
    assert_eq!(keys.len(), 45 * 5, "270 entries less 45 batch counters");
    let start = ["layer0.0.0.weight", "layer0.0.1.weight", "layer0.0.1.bias"];
    assert_eq!(keys[..3], start);
    assert_eq!(keys[10..12], ["layer0.0.6.weight", "layer0.1.weight"]);
    let block = keys.iter().position(|k| *k == "layer1.0.conv3.weight").unwrap();
    assert_eq!(keys[block + 5], "layer1.0.downsample.0.weight");
    assert_eq!(keys[block + 6], "layer1.0.downsample.1.weight");
    assert_eq!(keys.last(), Some(&"layer3.5.bn3.running_var"));
}

#[test]
fn starting_values_depend_on_the_seed_alone() {
    let take = |seed| narrow(Depth::R50).init(&device(), seed).named_tensors().unwrap();
    assert_eq!(take(3), take(3));
    assert_ne!(take(3), take(4));
    let kernel = &take(3)[0];
    assert_eq!(kernel.shape, [4, 3, 3, 3]);
}

#[test]
fn a_batch_gives_each_image_the_numbers_it_gets_alone() {
    let plain = filled(narrow(Depth::R50), &device());
    for network in [plain.clone(), plain.fold()] {
        let batch = images("batch", [3, 3, 37, 45], &device());
        let together = network.forward(batch.clone());
        for i in 0..3 {
            let alone = network.forward(batch.clone().narrow(0, i, 1));
            let from_batch = together.clone().narrow(0, i, 1);
            assert_eq!(values(alone), values(from_batch), "image {i}");
        }
    }
}

#[test]
fn folding_changes_nothing_but_rounding() {
    for depth in Depth::ALL {
        let network = filled(narrow(depth), &device());
        let x = images("fold", [2, 3, 41, 33], &device());
        let stepwise = values(network.forward_stages(x.clone()).layer3);
        let forward = values(network.forward(x.clone()));
        let folded = network.clone().fold();
        assert!(folded.is_folded() && !network.is_folded());
        assert_close_rel_max(&format!("{depth} forward"), &forward, &stepwise, 1e-5);
        let merged = values(folded.forward(x.clone()));
        assert_close_rel_max(&format!("{depth} folded"), &merged, &stepwise, 1e-5);
        assert_eq!(values(folded.clone().fold().forward(x)), merged, "folding twice");
        assert_eq!(folded.parameter_count(), network.parameter_count() - norm_scales(&network));
    }
}

/// Folding keeps one bias a channel of what were a scale and a shift.
fn norm_scales(network: &fss_backbone::DeepStemResNet) -> usize {
    let named = network.named_tensors().unwrap();
    named.iter().filter(|t| t.key.ends_with("running_var")).map(|t| t.values.len()).sum()
}

#[test]
fn only_the_last_features_are_signed() {
    let stages = filled(narrow(Depth::R50), &device()).forward_stages(images(
        "sign",
        [1, 3, 33, 33],
        &device(),
    ));
    let smallest = |t: Tensor<4>| values(t).into_iter().fold(f32::INFINITY, f32::min);
    assert!(smallest(stages.layer2) >= 0.0);
    assert!(smallest(stages.layer3_0) >= 0.0);
    assert!(smallest(stages.layer3) < 0.0);
}

#[test]
fn names_and_widths_from_users_are_checked() {
    assert_eq!("resnet101".parse::<Depth>().unwrap(), Depth::R101);
    let error = "resnet42".parse::<Depth>().unwrap_err().to_string();
    assert!(error.contains("resnet42") && error.contains("resnet50"), "{error}");
    assert!(narrow(Depth::R50).with_width(0).validate().is_err());
    assert!(narrow(Depth::R50).validate().is_ok());
}
