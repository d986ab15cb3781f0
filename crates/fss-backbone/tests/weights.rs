//! Weight files that fit, in every format and key style.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::module::Module;
use common::{device, filled, imagenet, narrow, prefixed, state_dict};
use fss_backbone::{
    BackboneError, DeepStemResNet, DeepStemResNetConfig, Depth, FileFormat, KeyStyle, Layer3,
    LoadOptions, Stage, Strictness, inspect_weights, load_weights, load_weights_with,
    save_burnpack, save_safetensors,
};
use fss_support::pth::{Entry, write_legacy_pth, write_pth};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, serialize_to_file, tensor::TensorView};
use tempfile::TempDir;

fn fresh(depth: Depth) -> DeepStemResNet {
    narrow(depth).init(&device(), 99)
}

fn write(dir: &TempDir, name: &str, entries: &[Entry]) -> PathBuf {
    let path = dir.path().join(name);
    write_pth(&path, entries);
    path
}

#[test]
fn every_published_key_style_loads_with_and_without_prefixes() {
    let dir = TempDir::new().unwrap();
    let model = filled(narrow(Depth::R50), &device());
    let ssp = state_dict(&model);
    let plain = imagenet(ssp.clone());
    let cases = [
        (ssp.clone(), KeyStyle::Ssp),
        (prefixed(ssp.clone(), "module."), KeyStyle::Ssp),
        (prefixed(ssp.clone(), "state_dict.module."), KeyStyle::Ssp),
        (plain.clone(), KeyStyle::ImageNet),
        (prefixed(plain.clone(), "module."), KeyStyle::ImageNet),
        (prefixed(plain.clone(), "backbone."), KeyStyle::Mlc),
        (prefixed(plain, "module.backbone."), KeyStyle::Mlc),
    ];
    for (i, (entries, style)) in cases.into_iter().enumerate() {
        let path = dir.path().join(format!("{i}.pth"));
        for (write, format) in [
            (write_pth as fn(&Path, &[Entry]), FileFormat::PytorchZip),
            (write_legacy_pth, FileFormat::PytorchLegacy),
        ] {
            write(&path, &entries);
            let (loaded, report) = load_weights(fresh(Depth::R50), &path).unwrap();
            assert_eq!(loaded.named_tensors().unwrap(), model.named_tensors().unwrap());
            assert_eq!((report.style, report.format), (Some(style), format));
            assert_eq!((report.loaded, report.converted), (45 * 5, 0));
            assert!(report.ignored.is_empty());
        }
    }
}

#[test]
fn files_without_batch_counters_load() {
    let dir = TempDir::new().unwrap();
    let mut entries = state_dict(&filled(narrow(Depth::R18), &device()));
    entries.retain(|(key, ..)| !key.ends_with("num_batches_tracked"));
    load_weights(fresh(Depth::R18), &write(&dir, "old.pth", &entries)).unwrap();
}

#[test]
fn classifier_and_layer4_of_imagenet_files_are_left_out_by_rule() {
    let dir = TempDir::new().unwrap();
    let ssp = state_dict(&filled(narrow(Depth::R18), &device()));
    let extra = || {
        [("layer4.0.conv1.weight", 3), ("layer4.0.bn1.bias", 2), ("fc.weight", 5)]
            .map(|(key, n)| (key.to_owned(), vec![n], vec![0.5; n]))
    };
    let mut entries = imagenet(ssp.clone());
    entries.extend(extra());
    let (_, report) = load_weights(fresh(Depth::R18), &write(&dir, "a.pth", &entries)).unwrap();
    assert_eq!(report.ignored, ["fc.weight", "layer4.0.bn1.bias", "layer4.0.conv1.weight"]);

    let mut checkpoint = ssp;
    checkpoint.extend(extra());
    let error = load_weights(fresh(Depth::R18), &write(&dir, "b.pth", &checkpoint)).unwrap_err();
    assert!(error.to_string().contains("unused keys: 3 (fc.weight"), "{error}");
}

#[test]
fn what_a_training_checkpoint_keeps_beside_its_weights_is_left_out_by_rule() {
    let dir = TempDir::new().unwrap();
    let mut entries = prefixed(state_dict(&filled(narrow(Depth::R18), &device())), "state_dict.");
    entries.push(("optimizer.state.0.momentum".to_owned(), vec![2], vec![1.0, 2.0]));
    let (_, report) = load_weights(fresh(Depth::R18), &write(&dir, "a.pth", &entries)).unwrap();
    assert_eq!(report.ignored, ["optimizer.state.0.momentum"]);
}

#[test]
fn saved_files_come_back_in_every_style() {
    let dir = TempDir::new().unwrap();
    let model = filled(narrow(Depth::R34), &device());
    let metadata = BTreeMap::from([("recipe".to_owned(), "a \"quoted\" name".to_owned())]);
    for style in [KeyStyle::Auto, KeyStyle::Ssp, KeyStyle::Mlc, KeyStyle::ImageNet] {
        let path = dir.path().join("w.safetensors");
        save_safetensors(&model, &path, style, &metadata).unwrap();
        let (loaded, report) = load_weights(fresh(Depth::R34), &path).unwrap();
        assert_eq!(loaded.named_tensors().unwrap(), model.named_tensors().unwrap());
        assert_eq!(report.format, FileFormat::Safetensors);
        let path = dir.path().join("w.bpk");
        save_burnpack(&model, &path, style, &BTreeMap::new()).unwrap();
        let (loaded, report) = load_weights(fresh(Depth::R34), &path).unwrap();
        assert_eq!(loaded.named_tensors().unwrap(), model.named_tensors().unwrap());
        assert_eq!(report.format, FileFormat::Burnpack);
    }
}

#[test]
fn saved_safetensors_hold_exactly_the_official_state_dict() {
    let dir = TempDir::new().unwrap();
    let model = filled(narrow(Depth::R50), &device());
    let path = dir.path().join("w.safetensors");
    let metadata = BTreeMap::from([("epoch".to_owned(), "3".to_owned())]);
    save_safetensors(&model, &path, KeyStyle::Ssp, &metadata).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["epoch"], "3");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 270, "the published number of entries");
    for (key, shape, values) in state_dict(&model) {
        let view = file.tensor(&key).unwrap();
        assert_eq!(view.shape(), shape);
        if key.ends_with("num_batches_tracked") {
            assert_eq!((view.dtype(), view.data()), (Dtype::I64, [0u8; 8].as_slice()));
        } else {
            let stored: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert_eq!((view.dtype(), view.data()), (Dtype::F32, stored.as_slice()));
        }
    }
}

#[test]
fn equal_networks_give_equal_files_and_nothing_else_in_the_folder() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("w.safetensors");
    let metadata: BTreeMap<_, _> = (0..20).map(|i| (format!("k{i}"), format!("v{i}"))).collect();
    let model = filled(narrow(Depth::R18), &device());
    save_safetensors(&model, &path, KeyStyle::Ssp, &metadata).unwrap();
    let first = std::fs::read(&path).unwrap();
    save_safetensors(&model, &path, KeyStyle::Ssp, &metadata).unwrap();
    assert!(first == std::fs::read(&path).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_save_leaves_the_old_file_and_no_other() {
    let dir = TempDir::new().unwrap();
    let model = filled(narrow(Depth::R18), &device());
    let nowhere = dir.path().join("missing/w.safetensors");
    let error = save_safetensors(&model, &nowhere, KeyStyle::Ssp, &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("missing/w.safetensors"), "{error}");
    let path = dir.path().join("w.safetensors");
    std::fs::write(&path, b"old").unwrap();
    let folded = model.fold();
    let error = save_safetensors(&folded, &path, KeyStyle::Ssp, &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, BackboneError::Folded { .. }), "{error}");
    assert!(matches!(load_weights(folded, &path), Err(BackboneError::Folded { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn other_floating_point_types_become_f32() {
    let dir = TempDir::new().unwrap();
    let model = filled(narrow(Depth::R18), &device());
    let named = model.named_tensors().unwrap();
    type Encode = fn(f32) -> (Vec<u8>, f32);
    let types: [(Dtype, Encode); 3] = [
        (Dtype::F64, |v| (f64::from(v).to_le_bytes().to_vec(), v)),
        (Dtype::F16, |v| (f16::from_f32(v).to_le_bytes().to_vec(), f16::from_f32(v).to_f32())),
        (Dtype::BF16, |v| (bf16::from_f32(v).to_le_bytes().to_vec(), bf16::from_f32(v).to_f32())),
    ];
    for (dtype, encode) in types {
        let encoded: Vec<(String, Vec<usize>, Vec<u8>)> = named
            .iter()
            .map(|t| {
                let bytes = t.values.iter().flat_map(|v| encode(*v).0).collect();
                (t.key.clone(), t.shape.clone(), bytes)
            })
            .collect();
        let views = encoded.iter().map(|(key, shape, bytes)| {
            (key.as_str(), TensorView::new(dtype, shape.clone(), bytes).unwrap())
        });
        let path = dir.path().join(format!("{dtype:?}.safetensors"));
        serialize_to_file(views, None::<HashMap<String, String>>, &path).unwrap();
        let (loaded, report) = load_weights(fresh(Depth::R18), &path).unwrap();
        assert_eq!(report.converted, named.len());
        for (got, want) in loaded.named_tensors().unwrap().iter().zip(&named) {
            let rounded: Vec<f32> = want.values.iter().map(|v| encode(*v).1).collect();
            assert_eq!(got.values, rounded, "{dtype:?} {}", want.key);
        }
    }
}

#[test]
fn loading_keeps_what_is_frozen_and_who_is_who() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "w.pth", &state_dict(&filled(narrow(Depth::R18), &device())));
    let model = narrow(Depth::R18).init(&device().autodiff(), 0).freeze(&[Stage::Stem]);
    let ids = |m: &DeepStemResNet| burn::module::list_param_ids(m);
    let before = ids(&model);
    let (model, _) = load_weights(model, &path).unwrap();
    assert_eq!(ids(&model), before);
    assert!(model.is_frozen(Stage::Stem) && model.is_frozen(Stage::Norms));
    let x = common::images("x", [1, 3, 20, 20], &device().autodiff());
    assert!(model.forward(x).is_tracked());
    assert!(!model.valid().device().is_autodiff());
}

#[test]
fn lenient_loading_takes_what_fits_and_says_the_rest() {
    let dir = TempDir::new().unwrap();
    let source = filled(narrow(Depth::R18), &device());
    let mut entries = state_dict(&source);
    entries.retain(|(key, ..)| key != "layer0.0.0.weight");
    entries.push(("head.weight".to_owned(), vec![1], vec![1.0]));
    let path = write(&dir, "w.pth", &entries);
    let options = LoadOptions { strictness: Strictness::Lenient, ..LoadOptions::default() };
    let start = fresh(Depth::R18);
    let (loaded, report) = load_weights_with(start.clone(), &path, options).unwrap();
    assert_eq!(report.missing, ["layer0.0.0.weight"]);
    assert_eq!(report.unused, ["head.weight"]);
    let named = loaded.named_tensors().unwrap();
    assert_eq!(named[0], start.named_tensors().unwrap()[0]);
    assert_eq!(named[1..], source.named_tensors().unwrap()[1..]);
}

#[test]
fn inspection_says_what_a_file_holds() {
    let dir = TempDir::new().unwrap();
    let entries = prefixed(state_dict(&filled(narrow(Depth::R101), &device())), "module.");
    let summary = inspect_weights(&write(&dir, "w.pth", &entries)).unwrap();
    assert_eq!((summary.depth, summary.width), (Some(Depth::R101), Some(4)));
    assert_eq!((summary.style, summary.prefix.as_str()), (Some(KeyStyle::Ssp), "module."));
    assert_eq!(summary.contents, "resnet101 of width 4");
    assert_eq!(summary.tensors.len(), 576, "the published number of entries");
    let text = summary.to_string();
    assert!(text.contains("module.layer0.0.0.weight") && text.contains("i64"), "{text}");

    let foreign = vec![("features.0.weight".to_owned(), vec![2], vec![0.0; 2])];
    let summary = inspect_weights(&write(&dir, "vgg.pth", &foreign)).unwrap();
    assert_eq!((summary.depth, summary.contents.as_str()), (None, "a VGG network"));
}

/// Strides do not show in shapes: only the file's own word keeps a network from running with others.
#[test]
fn a_file_knows_whether_its_layer3_is_dilated() {
    let dir = TempDir::new().unwrap();
    let config = |layer3| DeepStemResNetConfig::new(Depth::R18).with_width(4).with_layer3(layer3);
    let dilated = config(Layer3::Dilated).init(&device(), 1);
    for name in ["w.safetensors", "w.bpk"] {
        let path = dir.path().join(name);
        match name {
            "w.bpk" => save_burnpack(&dilated, &path, KeyStyle::Ssp, &BTreeMap::new()).unwrap(),
            _ => save_safetensors(&dilated, &path, KeyStyle::Ssp, &BTreeMap::new()).unwrap(),
        }
        assert_eq!(inspect_weights(&path).unwrap().config(), Some(config(Layer3::Dilated)));
        load_weights(config(Layer3::Dilated).init(&device(), 0), &path).unwrap();
        let strided = config(Layer3::Published).init(&device(), 0);
        let message = load_weights(strided, &path).unwrap_err().to_string();
        assert!(message.contains("dilated") && message.contains("strided"), "{message}");
    }
}
