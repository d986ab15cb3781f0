//! Backbones with taps: shapes, freezing, and weight files.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Tensor;
use common::{device, filled_taps, images, prefixed, state_dict, values};
use fss_backbone::{
    BackboneError, DeepStemResNetConfig, Depth, ModuleFile, NamedTensor, Strictness, TapBackbone,
    TapBackboneConfig, TapNetwork, inspect_weights, load_module, load_module_tensors,
    module_tensors, write_state_dict,
};
use fss_support::pth::{Entry, write_legacy_pth, write_pth};
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

fn narrow(network: TapNetwork) -> TapBackboneConfig {
    TapBackboneConfig::new(network).with_width(4)
}

fn narrow_filled(network: TapNetwork) -> TapBackbone {
    filled_taps(narrow(network), "", &device())
}

/// The official state dict with batch counters and classifier.
fn official(model: &TapBackbone) -> Vec<Entry> {
    let mut entries = Vec::new();
    for NamedTensor { key, shape, values } in module_tensors(model).unwrap() {
        let counter = key.strip_suffix("running_var").map(|n| format!("{n}num_batches_tracked"));
        entries.push((key, shape, values));
        entries.extend(counter.map(|key| (key, vec![], vec![7.0])));
    }
    for key in match model.network() {
        TapNetwork::Vgg16 => ["classifier.0.weight", "classifier.6.bias"],
        _ => ["fc.weight", "fc.bias"],
    } {
        entries.push((key.to_owned(), vec![5], vec![0.5; 5]));
    }
    entries
}

fn write(dir: &TempDir, name: &str, entries: &[Entry]) -> PathBuf {
    let path = dir.path().join(name);
    write_pth(&path, entries);
    path
}

fn load(network: TapNetwork, path: &Path) -> Result<TapBackbone, BackboneError> {
    load_module(narrow(network).init(&device(), 9), path, Strictness::Strict).map(|(m, _)| m)
}

fn refusal(network: TapNetwork, path: &Path) -> String {
    load(network, path).unwrap_err().to_string()
}

#[test]
fn taps_have_the_sizes_and_channels_that_the_configuration_says() {
    for network in TapNetwork::ALL {
        let config = narrow(network);
        let model = config.init(&device(), 1).fold();
        for [h, w] in [[32, 32], [33, 47], [64, 95]] {
            let taps = model.forward(images("x", [2, 3, h, w], &device()));
            let sizes = config.feature_sizes([h, w]).into_iter().zip(config.channels());
            let expected: Vec<[usize; 4]> = sizes
                .zip(network.taps())
                .flat_map(|(([h, w], c), count)| vec![[2, c, h, w]; count])
                .collect();
            let found: Vec<[usize; 4]> = taps.iter().map(Tensor::dims).collect();
            assert_eq!(found, expected, "{network} at {h}x{w}");
        }
    }
}

#[test]
fn the_smallest_image_runs_and_smaller_ones_are_refused_by_the_check() {
    for network in TapNetwork::ALL {
        let config = narrow(network);
        let side = config.smallest_side();
        config.check_image([side, side]).unwrap();
        let taps = config.init(&device(), 1).forward(images("x", [1, 3, side, side], &device()));
        assert_eq!(taps.last().unwrap().dims()[2..], [1, 1]);
        for image in [[side - 1, 400], [400, side - 1]] {
            let message = config.check_image(image).unwrap_err().to_string();
            let size = format!("{}x{}", image[0], image[1]);
            assert!(message.contains(&size) && message.contains(network.name()), "{message}");
        }
    }
}

#[test]
fn published_networks_have_the_published_number_of_parameters() {
    let count = |network| TapBackboneConfig::new(network).init(&device(), 0).parameter_count();
    assert_eq!(TapNetwork::ALL.map(count), [14_714_688, 23_508_032, 42_500_160]);
}

#[test]
fn folding_keeps_the_numbers_and_taps_are_signed() {
    for network in TapNetwork::ALL {
        let model = narrow_filled(network);
        let x = images("x", [1, 3, 65, 49], &device());
        let apart = model.forward(x.clone());
        let folded = model.fold();
        assert_eq!(folded.is_folded(), network != TapNetwork::Vgg16);
        for (i, (a, b)) in apart.into_iter().zip(folded.forward(x)).enumerate() {
            let (a, b) = (values(a), values(b));
            fss_support::golden::assert_close_rel_max(&format!("{network} tap {i}"), &b, &a, 1e-5);
            let rectified = network == TapNetwork::Vgg16 && i == 6;
            assert_eq!(a.iter().any(|v| *v < 0.0), !rectified, "{network} tap {i}");
        }
    }
}

#[test]
fn a_batch_gives_each_image_the_numbers_that_it_gets_alone() {
    for network in TapNetwork::ALL {
        let apart = narrow_filled(network);
        for model in [apart.clone(), apart.fold()] {
            let x = images("x", [3, 3, 65, 49], &device());
            let together = model.forward(x.clone());
            for image in 0..3 {
                let alone = model.forward(x.clone().narrow(0, image, 1));
                for (a, b) in alone.into_iter().zip(&together) {
                    assert!(values(a) == values(b.clone().narrow(0, image, 1)), "{network}");
                }
            }
        }
    }
}

#[test]
fn nothing_is_tracked_even_if_images_and_device_are() {
    for network in TapNetwork::ALL {
        let device = device().autodiff();
        let model = filled_taps(narrow(network), "", &device).train();
        let x = images("x", [1, 3, 40, 40], &device).require_grad();
        let plain = narrow_filled(network).forward(x.clone().without_autodiff());
        for model in [model.clone(), model.fold().train()] {
            for (tap, plain) in model.forward(x.clone()).into_iter().zip(&plain) {
                assert!(!tap.is_tracked() && !tap.is_autodiff());
                let (got, want) = (values(tap), values(plain.clone()));
                fss_support::golden::assert_close_rel_max("tap", &got, &want, 1e-5);
            }
        }
    }
}

#[test]
fn equal_seeds_give_equal_networks() {
    let tensors = |seed| module_tensors(&narrow(TapNetwork::Vgg16).init(&device(), seed)).unwrap();
    assert_eq!(tensors(3), tensors(3));
    assert_ne!(tensors(3)[0].values, tensors(4)[0].values);
}

#[test]
fn official_files_load_with_and_without_prefix_counters_and_classifier() {
    let dir = TempDir::new().unwrap();
    for network in TapNetwork::ALL {
        let model = narrow_filled(network);
        let full = official(&model);
        let old: Vec<Entry> =
            full.iter().filter(|(key, ..)| !key.ends_with("tracked")).cloned().collect();
        let bare: Vec<Entry> = full[..full.len() - 2].iter().map(Entry::clone).collect();
        for entries in [full.clone(), old, bare, prefixed(full.clone(), "module.")] {
            for writer in [write_pth as fn(&Path, &[Entry]), write_legacy_pth] {
                let path = dir.path().join("w.pth");
                writer(&path, &entries);
                let loaded = load(network, &path).unwrap();
                assert_eq!(module_tensors(&loaded).unwrap(), module_tensors(&model).unwrap());
            }
        }
    }
}

#[test]
fn the_backbone_of_a_checkpoint_loads_and_is_told_from_its_shapes() {
    let dir = TempDir::new().unwrap();
    for network in TapNetwork::ALL {
        let model = narrow_filled(network);
        let mut entries = prefixed(official(&model), "backbone.");
        entries.push(("hpn_learner.decoder1.0.bias".to_owned(), vec![2], vec![1.0; 2]));
        let path = write(&dir, "best_model.pt", &prefixed(entries, "module."));
        let mut file = ModuleFile::open(&path).unwrap();
        assert_eq!(TapBackboneConfig::of_file(&file, ""), None);
        let config = TapBackboneConfig::of_file(&file, "backbone.").unwrap();
        assert_eq!(config, narrow(network));
        let fresh = config.init(&device(), 5);
        let (loaded, report) = file.load(fresh, "backbone.", Strictness::Strict).unwrap();
        assert_eq!(module_tensors(&loaded).unwrap(), module_tensors(&model).unwrap());
        assert_eq!(report.ignored.len(), 2, "the classifier");
        assert!(!file.has_part("backbone.") && file.has_part("hpn_learner."));
    }
}

#[test]
fn missing_and_unknown_keys_are_named() {
    let dir = TempDir::new().unwrap();
    for (network, hole) in [
        (TapNetwork::Resnet50, "layer3.5.bn2.running_mean"),
        (TapNetwork::Resnet50, "layer1.0.conv3.weight"),
        (TapNetwork::Resnet101, "conv1.weight"),
        (TapNetwork::Vgg16, "features.21.bias"),
        (TapNetwork::Vgg16, "features.0.weight"),
    ] {
        let mut entries = official(&narrow_filled(network));
        entries.retain(|(key, ..)| key != hole);
        entries.push(("head.scale".to_owned(), vec![1], vec![1.0]));
        let message = refusal(network, &write(&dir, "hole.pth", &entries));
        assert!(message.contains(&format!("missing keys: 1 ({hole})")), "{message}");
        assert!(message.contains("unused keys: 1 (head.scale)"), "{message}");
    }
}

#[test]
fn files_of_other_networks_are_recognised() {
    let dir = TempDir::new().unwrap();
    let tensor = |key: &str, shape: &[usize]| {
        (key.to_owned(), shape.to_vec(), vec![0.5; shape.iter().product()])
    };
    let says = |entries: &[Entry], asked: TapNetwork, words: &str| {
        let message = refusal(asked, &write(&dir, "other.pth", entries));
        assert!(message.contains(words) && message.contains(asked.name()), "{words}: {message}");
    };
    let resnet = TapNetwork::Resnet50;
    let of = |network| official(&narrow_filled(network));
    says(&of(TapNetwork::Resnet101), resnet, "looks like resnet101 of width 4");
    says(&of(TapNetwork::Vgg16), resnet, "looks like vgg16 of width 4");
    says(&of(resnet), TapNetwork::Vgg16, "looks like resnet50 of width 4");
    let wide = filled_taps(narrow(resnet).with_width(8), "", &device());
    says(&official(&wide), resnet, "looks like resnet50 of width 8");

    let deep = DeepStemResNetConfig::new(Depth::R50).with_width(4);
    let ssp = state_dict(&common::filled(deep, &device()));
    says(&ssp, resnet, "a deep-stem resnet50");
    says(&common::imagenet(ssp), resnet, "a deep-stem resnet50");

    let mut deeper = of(resnet);
    deeper.push(tensor("layer2.7.conv1.weight", &[8, 32, 1, 1]));
    deeper.push(tensor("layer3.35.conv1.weight", &[16, 64, 1, 1]));
    says(&deeper, resnet, "torchvision's resnet152");
    let mut basic = vec![tensor("conv1.weight", &[4, 3, 7, 7])];
    basic.extend(["1.1", "2.1", "3.1", "4.1"].map(|b| tensor(&format!("layer{b}.bn1.bias"), &[4])));
    says(&basic, resnet, "torchvision's resnet18");
    let mut grouped = of(resnet);
    let kernel = grouped.iter_mut().find(|(key, ..)| key == "layer1.0.conv2.weight").unwrap();
    *kernel = tensor("layer1.0.conv2.weight", &[8, 1, 3, 3]);
    says(&grouped, resnet, "a wide or grouped relative of resnet50");

    let vgg = TapNetwork::Vgg16;
    let first = tensor("features.0.weight", &[4, 3, 3, 3]);
    let norm = tensor("features.1.running_mean", &[4]);
    says(&[first.clone(), norm], vgg, "a VGG network with batch norm");
    let mut vgg19 = of(vgg);
    vgg19.push(tensor("features.34.weight", &[32, 32, 3, 3]));
    says(&vgg19, vgg, "a VGG network of another depth");
    says(&vgg19, resnet, "a VGG network of another depth");
    let dense = tensor("features.denseblock1.denselayer1.norm1.weight", &[4]);
    says(&[dense], vgg, "a DenseNet");
    says(&[tensor("visual.conv1.weight", &[4, 3, 3, 3])], resnet, "a CLIP model");
}

#[test]
fn wrong_shapes_are_named() {
    let dir = TempDir::new().unwrap();
    let mut entries = official(&narrow_filled(TapNetwork::Vgg16));
    let bias = entries.iter_mut().find(|(key, ..)| key == "features.28.bias").unwrap();
    *bias = (bias.0.clone(), vec![3], vec![0.0; 3]);
    let message = refusal(TapNetwork::Vgg16, &write(&dir, "w.pth", &entries));
    assert!(message.contains("features.28.bias") && message.contains("[32]"), "{message}");
}

#[test]
fn folded_resnets_neither_load_nor_save() {
    let dir = TempDir::new().unwrap();
    let folded = narrow_filled(TapNetwork::Resnet50).fold();
    assert!(matches!(module_tensors(&folded), Err(BackboneError::Folded { .. })));
    let entries = official(&narrow_filled(TapNetwork::Resnet50));
    let path = write(&dir, "w.pth", &entries);
    let result = load_module(folded, &path, Strictness::Strict);
    assert!(matches!(result, Err(BackboneError::Folded { .. })));
}

#[test]
fn a_saved_state_dict_is_the_official_one_without_the_classifier() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("w.safetensors");
    for network in TapNetwork::ALL {
        let model = narrow_filled(network);
        let mut tensors = module_tensors(&model).unwrap();
        tensors.iter_mut().for_each(|t| t.key = format!("backbone.{}", t.key));
        let metadata = BTreeMap::from([("epoch".to_owned(), "3".to_owned())]);
        write_state_dict(&path, &tensors, &metadata).unwrap();

        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut expected = official(&model);
        expected.truncate(expected.len() - 2);
        assert_eq!(file.len(), expected.len());
        for (key, shape, _) in expected {
            let view = file.tensor(&format!("backbone.{key}")).unwrap();
            let counter = key.ends_with("num_batches_tracked");
            assert_eq!(view.shape(), shape, "{key}");
            assert_eq!(view.dtype(), if counter { Dtype::I64 } else { Dtype::F32 }, "{key}");
        }
        let mut file = ModuleFile::open(&path).unwrap();
        assert_eq!(file.metadata()["epoch"], "3");
        let config = TapBackboneConfig::of_file(&file, "backbone.").unwrap();
        let fresh = config.init(&device(), 5);
        let (loaded, _) = file.load(fresh, "backbone.", Strictness::Strict).unwrap();
        assert_eq!(module_tensors(&loaded).unwrap(), module_tensors(&model).unwrap());
        file.finish("the backbone").unwrap();
    }
}

#[test]
fn loading_keeps_who_is_who() {
    let fresh = narrow(TapNetwork::Resnet50).init(&device(), 0);
    let ids = burn::module::list_param_ids(&fresh);
    let tensors = module_tensors(&narrow_filled(TapNetwork::Resnet50)).unwrap();
    let loaded = load_module_tensors(fresh, tensors, Path::new("here")).unwrap();
    assert_eq!(burn::module::list_param_ids(&loaded), ids);
}

#[test]
fn inspection_names_networks_and_models() {
    let dir = TempDir::new().unwrap();
    let contents = |entries: &[Entry]| {
        let summary = inspect_weights(&write(&dir, "w.pth", entries)).unwrap();
        assert_eq!(summary.config(), None);
        summary.contents
    };
    let part = |key: &str| vec![(key.to_owned(), vec![1], vec![1.0])];
    for network in TapNetwork::ALL {
        let plain = official(&narrow_filled(network));
        assert_eq!(contents(&plain), format!("torchvision's {network} of width 4"));
        let backbone = prefixed(plain, "backbone.");
        let hsnet = [backbone.clone(), part("hpn_learner.decoder1.0.bias")].concat();
        let imr = [backbone, part("hpn_learner.encoder_layer4.0.conv1.bias"), part("convz0.bias")];
        let (hsnet, imr) = (hsnet, imr.concat());
        for prefix in ["", "module."] {
            let words = format!("HSNet with {network} of width 4");
            assert_eq!(contents(&prefixed(hsnet.clone(), prefix)), words);
            let words = format!("IMR with {network} of width 4");
            assert_eq!(contents(&prefixed(imr.clone(), prefix)), words);
        }
    }
    let head = part("hpn_learner.decoder1.0.bias");
    assert_eq!(contents(&head), "HSNet without its backbone");
}
