//! The backbones of DENet's code: weight files of torchvision and of the published checkpoints.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{device, filled_imagenet, prefixed, state_dict, values};
use fss_backbone::{
    BackboneError, DeepStemResNetConfig, Depth, ImagenetBackbone, ImagenetConfig, ImagenetNetwork,
    ModuleFile, NamedTensor, Strictness, inspect_weights, load_module, module_tensors,
    read_tensors, write_state_dict,
};
use fss_support::pth::{Entry, write_legacy_checkpoint, write_legacy_pth, write_pth};
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

/// Torchvision's indices of VGG-16's convolutions, in order.
const PLAIN: [usize; 13] = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
const NORMED: [usize; 13] = [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40];

fn narrow(network: ImagenetNetwork) -> ImagenetConfig {
    ImagenetConfig::new(network).with_width(4)
}

fn narrow_filled(network: ImagenetNetwork) -> ImagenetBackbone {
    filled_imagenet(narrow(network), "", &device())
}

fn is_vgg(network: ImagenetNetwork) -> bool {
    matches!(network, ImagenetNetwork::Vgg16 | ImagenetNetwork::Vgg16Bn)
}

/// The state dict under the names of the checkpoints, with batch counters.
fn checkpoint(model: &ImagenetBackbone) -> Vec<Entry> {
    let mut entries = Vec::new();
    for NamedTensor { key, shape, values } in module_tensors(model).unwrap() {
        let counter = key.strip_suffix("running_var").map(|n| format!("{n}num_batches_tracked"));
        entries.push((key, shape, values));
        entries.extend(counter.map(|key| (key, vec![], vec![7.0])));
    }
    entries
}

/// The state dict under torchvision's names, with what the backbone leaves out.
fn torchvision(model: &ImagenetBackbone) -> Vec<Entry> {
    let network = model.network();
    let mut entries = checkpoint(model);
    if is_vgg(network) {
        // Keys come in the order of the layers: weight, bias and norm of each convolution.
        let places = if network == ImagenetNetwork::Vgg16 { PLAIN } else { NORMED };
        let mut conv = 0;
        let mut last = String::new();
        for (key, shape, _) in &mut entries {
            let (layer, name) = key.rsplit_once('.').unwrap();
            if name == "weight" && shape.len() == 4 {
                conv += usize::from(!last.is_empty());
                last = layer.to_owned();
            }
            let place = places[conv] + usize::from(layer != last);
            *key = format!("features.{place}.{name}");
        }
    }
    if network == ImagenetNetwork::Densenet121 {
        entries = prefixed(entries, "features.");
    }
    let extra: &[&str] = match network {
        ImagenetNetwork::Resnet50 | ImagenetNetwork::Resnet101 => &["fc.weight", "fc.bias"],
        ImagenetNetwork::Densenet121 => &[
            "features.transition3.conv.weight",
            "features.denseblock4.denselayer16.norm1.weight",
            "features.norm5.running_mean",
            "classifier.bias",
        ],
        _ => &["classifier.0.weight", "classifier.6.bias"],
    };
    entries.extend(extra.iter().map(|key| ((*key).to_owned(), vec![5], vec![0.5; 5])));
    entries
}

/// As files of torchvision before 0.3 name the parts of dense layers.
fn old_names(entries: Vec<Entry>) -> Vec<Entry> {
    let renamed = entries.into_iter().map(|(key, shape, values)| {
        let mut key = key;
        if key.contains(".denselayer") {
            for part in ["norm1", "norm2", "conv1", "conv2"] {
                let (name, number) = part.split_at(4);
                key = key.replace(&format!(".{part}."), &format!(".{name}.{number}."));
            }
        }
        (key, shape, values)
    });
    renamed.collect()
}

fn write(dir: &TempDir, name: &str, entries: &[Entry]) -> PathBuf {
    let path = dir.path().join(name);
    write_pth(&path, entries);
    path
}

fn load(network: ImagenetNetwork, path: &Path) -> Result<ImagenetBackbone, BackboneError> {
    load_module(narrow(network).init(&device(), 9), path, Strictness::Strict).map(|(m, _)| m)
}

fn assert_equal(loaded: &ImagenetBackbone, model: &ImagenetBackbone) {
    assert_eq!(module_tensors(loaded).unwrap(), module_tensors(model).unwrap());
}

#[test]
fn files_of_torchvision_load_with_and_without_counters() {
    let dir = TempDir::new().unwrap();
    for network in ImagenetNetwork::ALL {
        let model = narrow_filled(network);
        let full = torchvision(&model);
        let without: Vec<Entry> =
            full.iter().filter(|(key, ..)| !key.ends_with("tracked")).cloned().collect();
        for entries in [full.clone(), without.clone(), old_names(full), old_names(without)] {
            for writer in [write_pth as fn(&Path, &[Entry]), write_legacy_pth] {
                let path = dir.path().join("w.pth");
                writer(&path, &entries);
                assert_equal(&load(network, &path).unwrap(), &model);
                let file = ModuleFile::open(&path).unwrap();
                assert_eq!(ImagenetConfig::of_file(&file, ""), Some(narrow(network)));
                let wide = narrow(network).with_width(8);
                let message = wide.expect_in(&file, "").unwrap_err().to_string();
                assert!(message.contains("width 4") && message.contains("width 8"), "{message}");
            }
        }
    }
}

#[test]
fn the_backbone_of_a_checkpoint_of_the_old_format_loads() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("best_model.bin");
    for network in ImagenetNetwork::ALL {
        let model = narrow_filled(network);
        let prefix = if is_vgg(network) { "" } else { "backbone." };
        let entries = prefixed(checkpoint(&model), prefix);
        let second = |(i, (key, ..)): (usize, &Entry)| {
            ImagenetBackbone::second_key(key).map(|second| (second, i))
        };
        let aliases: Vec<(String, usize)> = entries.iter().enumerate().filter_map(second).collect();
        assert_eq!(aliases.len(), if is_vgg(network) { entries.len() } else { 0 });
        let mut all = entries;
        all.push(("head.weight".to_owned(), vec![2], vec![1.0; 2]));
        write_legacy_checkpoint(&path, &all, &aliases);

        let mut file = ModuleFile::open(&path).unwrap();
        assert_eq!(ImagenetConfig::of_file(&file, prefix), Some(narrow(network)));
        let fresh = narrow(network).init(&device(), 9);
        let head = file.shapes().filter(|(key, _)| key.starts_with("head.")).count();
        assert_eq!(head, 1);
        file.drop_parts(&["head."]);
        let (loaded, report) = file.load(fresh, prefix, Strictness::Strict).unwrap();
        assert_equal(&loaded, &model);
        assert!(report.unused.is_empty() && report.missing.is_empty());
        file.finish("the backbone").unwrap();
    }
}

/// A file that Python's pickle wrote as PyTorch 1.3 saves a checkpoint: memoised names, storages in the
/// order of their names, tensors that share a storage or lie inside one.
#[test]
fn a_checkpoint_of_the_old_format_keeps_what_shares_a_storage() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/legacy_checkpoint.pth");
    let summary = inspect_weights(&path).unwrap();
    assert_eq!((summary.prefix.as_str(), summary.tensors.len()), ("model.", 6));
    let only = |key: &str| {
        let mut found = read_tensors(&path, key).unwrap();
        assert_eq!(found.len(), 1, "{key}");
        found.remove(0).values
    };
    let kernel: Vec<f32> = (0..12).map(|i| i as f32).collect();
    assert_eq!(only("conv1.0.weight"), kernel);
    assert_eq!(only("level1.0.0.weight"), kernel);
    assert_eq!(only("conv1.0.bias"), [1.5, 2.5, 3.5, 4.5]);
    assert_eq!(only("half"), [3.5, 4.5]);
}

#[test]
fn missing_and_unknown_keys_are_named() {
    let dir = TempDir::new().unwrap();
    for (network, hole) in [
        (ImagenetNetwork::Resnet50, "layer3.5.bn2.running_mean"),
        (ImagenetNetwork::Resnet50, "conv1.weight"),
        (ImagenetNetwork::Densenet121, "denseblock3.denselayer24.norm2.running_mean"),
        (ImagenetNetwork::Densenet121, "transition2.conv.weight"),
        (ImagenetNetwork::Densenet121, "conv0.weight"),
        (ImagenetNetwork::Vgg16, "conv4.2.bias"),
        (ImagenetNetwork::Vgg16, "conv1.0.weight"),
        (ImagenetNetwork::Vgg16Bn, "conv5.7.running_var"),
    ] {
        let model = narrow_filled(network);
        for (entries, resolved) in [(checkpoint(&model), false), (torchvision(&model), true)] {
            let names = checkpoint(&model);
            let at = names.iter().position(|(key, ..)| key == hole).unwrap();
            let mut entries = entries;
            entries.remove(at);
            entries.push(("head.scale".to_owned(), vec![1], vec![1.0]));
            let path = write(&dir, "hole.pth", &entries);
            let message = load(network, &path).unwrap_err().to_string();
            let what = format!("{network}, torchvision's names: {resolved}: {message}");
            assert!(message.contains(&format!("missing keys: 1 ({hole})")), "{what}");
            assert!(message.contains("unused keys: 1 (head.scale)"), "{what}");
        }
    }
}

#[test]
fn files_of_other_networks_are_recognised() {
    let dir = TempDir::new().unwrap();
    let says = |entries: &[Entry], asked: ImagenetNetwork, words: &str| {
        let message = load(asked, &write(&dir, "other.pth", entries)).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains(asked.name()), "{words}: {message}");
    };
    for found in ImagenetNetwork::ALL {
        let model = narrow_filled(found);
        for asked in ImagenetNetwork::ALL.into_iter().filter(|asked| *asked != found) {
            let words = format!("looks like {found} of width 4, you asked for {asked}");
            says(&torchvision(&model), asked, &words);
            says(&checkpoint(&model), asked, &words);
        }
        let wide = filled_imagenet(narrow(found).with_width(8), "", &device());
        says(&torchvision(&wide), found, &format!("looks like {found} of width 8"));
    }
    let deep = DeepStemResNetConfig::new(Depth::R50).with_width(4);
    let ssp = state_dict(&common::filled(deep, &device()));
    for asked in ImagenetNetwork::ALL {
        says(&ssp, asked, "a deep-stem resnet50");
        says(&common::imagenet(ssp.clone()), asked, "a deep-stem resnet50");
    }

    let (resnet, dense) = (ImagenetNetwork::Resnet50, ImagenetNetwork::Densenet121);
    let (vgg, normed) = (ImagenetNetwork::Vgg16, ImagenetNetwork::Vgg16Bn);
    let mut deeper = torchvision(&narrow_filled(dense));
    deeper.push(("features.denseblock3.denselayer32.conv2.weight".into(), vec![1], vec![1.0]));
    says(&deeper, dense, "a DenseNet with blocks of 6, 12 and 32 layers");
    says(&deeper, vgg, "a DenseNet with blocks of 6, 12 and 32 layers");
    let mut wider = torchvision(&narrow_filled(normed));
    wider.push(("features.43.weight".into(), vec![1], vec![1.0]));
    wider.retain(|(key, ..)| !key.starts_with("features.40."));
    says(&wider, normed, "a VGG network of another depth");
    let half: Vec<Entry> = torchvision(&narrow_filled(vgg)).into_iter().take(9).collect();
    says(&half, normed, "a VGG network without batch norm");
    let mut holes = checkpoint(&narrow_filled(vgg));
    holes.remove(7);
    says(&holes, resnet, "a VGG network under AMP's names");
}

#[test]
fn folded_networks_neither_load_nor_save() {
    let dir = TempDir::new().unwrap();
    for network in ImagenetNetwork::ALL.into_iter().filter(|n| *n != ImagenetNetwork::Vgg16) {
        let model = narrow_filled(network);
        let path = write(&dir, "w.pth", &checkpoint(&model));
        let folded = model.fold();
        assert!(matches!(module_tensors(&folded), Err(BackboneError::Folded { .. })));
        let result = load_module(folded, &path, Strictness::Strict);
        assert!(matches!(result, Err(BackboneError::Folded { .. })));
    }
}

#[test]
fn a_saved_state_dict_is_that_of_the_checkpoint() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("w.safetensors");
    for network in ImagenetNetwork::ALL {
        let model = narrow_filled(network);
        let tensors = module_tensors(&model).unwrap();
        write_state_dict(&path, &tensors, &BTreeMap::new()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let expected = checkpoint(&model);
        assert_eq!(file.len(), expected.len());
        for (key, shape, _) in expected {
            let view = file.tensor(&key).unwrap();
            let counter = key.ends_with("num_batches_tracked");
            assert_eq!(view.shape(), shape, "{key}");
            assert_eq!(view.dtype(), if counter { Dtype::I64 } else { Dtype::F32 }, "{key}");
        }
        assert_equal(&load(network, &path).unwrap(), &model);
    }
}

#[test]
fn inspection_names_networks_and_methods() {
    let dir = TempDir::new().unwrap();
    let inspect = |entries: &[Entry]| inspect_weights(&write(&dir, "w.pth", entries)).unwrap();
    let part = |key: &str| vec![(key.to_owned(), vec![21, 1], vec![1.0; 21])];
    for network in ImagenetNetwork::ALL {
        let model = narrow_filled(network);
        let config = Some(narrow(network));
        for entries in [torchvision(&model), old_names(torchvision(&model)), checkpoint(&model)] {
            let summary = inspect(&entries);
            assert_eq!((summary.imagenet, summary.extending), (config, None), "{network}");
            assert_eq!(summary.contents, format!("torchvision's {network} of width 4"));
            assert_eq!(summary.config(), None);
        }
        let backbone = checkpoint(&model);
        for (head, method, words) in [
            ("estimator.weight", "denet", "DENet with {}: 21 classes with the background"),
            ("fuse_history.0.weight", "canet", "CANet (DENet's code) with {}"),
            ("gau_1.theta.weight", "pgnet", "PGNet (DENet's code) with {}"),
            (
                "level1_classifier.weight",
                "amp",
                "AMP (DENet's code) with {}: 21 classes with the background",
            ),
        ] {
            let prefix = if is_vgg(network) { "" } else { "backbone." };
            let entries = [prefixed(backbone.clone(), prefix), part(head)].concat();
            for entries in [entries.clone(), prefixed(entries, "model.")] {
                let summary = inspect(&entries);
                assert_eq!((summary.imagenet, summary.extending), (config, Some(method)));
                let words = words.replace("{}", &format!("{network} of width 4"));
                assert_eq!(summary.contents, words);
            }
        }
    }
    let summary = inspect(&part("estimator.weight"));
    assert_eq!((summary.imagenet, summary.extending), (None, Some("denet")));
    assert!(summary.contents.starts_with("DENet with an unknown backbone"), "{}", summary.contents);
}

#[test]
fn loaded_networks_compute_what_was_saved() {
    let dir = TempDir::new().unwrap();
    let x = common::images("x", [1, 3, 40, 32], &device());
    for network in ImagenetNetwork::ALL {
        let model = narrow_filled(network);
        let path = write(&dir, "w.pth", &torchvision(&model));
        let loaded = load(network, &path).unwrap();
        let (a, b) = (loaded.forward(x.clone()).level3, model.forward(x.clone()).level3);
        assert!(values(a) == values(b), "{network}");
    }
}
