//! Weight files that do not fit or are no weight files: errors that help, and never a panic.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{device, filled, imagenet, narrow, state_dict};
use fss_backbone::{
    BackboneError, DeepStemResNet, Depth, KeyStyle, inspect_weights, load_weights, save_burnpack,
    save_safetensors,
};
use fss_support::pth::{Entry, write_legacy_pth, write_pth};
use tempfile::TempDir;

fn fresh() -> DeepStemResNet {
    narrow(Depth::R18).init(&device(), 99)
}

fn good() -> Vec<Entry> {
    state_dict(&filled(narrow(Depth::R18), &device()))
}

/// Loads a file of these tensors and returns the error.
fn error_of(entries: &[Entry]) -> BackboneError {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file.pth");
    write_pth(&path, entries);
    load_weights(fresh(), &path).unwrap_err()
}

fn assert_says(error: &BackboneError, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

#[test]
fn missing_keys_are_listed_by_name_and_counted() {
    let mut entries = good();
    entries.retain(|(key, ..)| key != "layer2.1.bn2.running_mean");
    assert_says(
        &error_of(&entries),
        &["file.pth", "missing keys: 1 (layer2.1.bn2.running_mean)", "unused keys: 0"],
    );
    entries.retain(|(key, ..)| !key.starts_with("layer3.1."));
    let error = error_of(&entries);
    assert_says(&error, &["missing keys: 11 (", ", ...)"]);
    let BackboneError::Keys { missing, .. } = error else { panic!("{error}") };
    assert_eq!(missing.0.len(), 11);
}

#[test]
fn unused_keys_are_listed_as_the_file_has_them() {
    let mut entries = common::prefixed(good(), "module.");
    entries.push(("module.head.weight".to_owned(), vec![1], vec![1.0]));
    assert_says(&error_of(&entries), &["missing keys: 0", "unused keys: 1 (module.head.weight)"]);
}

#[test]
fn a_batch_counter_without_its_norm_is_unused() {
    let mut entries = good();
    entries.push(("layer9.0.bn1.num_batches_tracked".to_owned(), vec![], vec![0.0]));
    assert_says(&error_of(&entries), &["unused keys: 1 (layer9.0.bn1.num_batches_tracked)"]);
}

#[test]
fn a_wrong_shape_names_key_and_both_shapes() {
    let mut entries = good();
    let entry = entries.iter_mut().find(|(key, ..)| key == "layer1.0.bn1.bias").unwrap();
    *entry = (entry.0.clone(), vec![7], vec![0.0; 7]);
    assert_says(&error_of(&entries), &["layer1.0.bn1.bias", "[7]", "[4]"]);
}

#[test]
fn the_checkpoint_of_another_backbone_is_recognised() {
    let other = state_dict(&filled(narrow(Depth::R101), &device()));
    let words = ["looks like resnet101 of width 4", "you asked for resnet18 of width 4"];
    assert_says(&error_of(&other), &words);
    assert_says(&error_of(&imagenet(other)), &words);
    let wide = state_dict(&filled(narrow(Depth::R18).with_width(6), &device()));
    assert_says(&error_of(&wide), &["looks like resnet18 of width 6"]);
    let vgg = vec![("features.0.weight".to_owned(), vec![2], vec![0.0; 2])];
    assert_says(&error_of(&vgg), &["looks like a VGG network"]);
}

#[test]
fn torchvisions_stem_is_recognised() {
    let mut entries = imagenet(good());
    entries.retain(|(key, ..)| !key.starts_with("conv1."));
    entries.push(("conv1.weight".to_owned(), vec![2, 3, 7, 7], vec![0.0; 294]));
    assert_says(&error_of(&entries), &["7x7 stem", "[2, 3, 7, 7]", "deep-stem"]);
}

#[test]
fn the_same_tensor_under_two_names_is_refused() {
    let mut entries = common::prefixed(imagenet(good()), "backbone.");
    let copy = ("layer1.0.conv1.weight".to_owned(), vec![1], vec![0.0]);
    entries.push(copy);
    assert_says(&error_of(&entries), &["layer1.0.conv1.weight", "backbone.layer1.0.conv1.weight"]);
}

#[test]
fn numbers_that_no_network_has_are_refused() {
    for (key, value, words) in [
        ("layer1.0.conv1.weight", f32::NAN, "NaN"),
        ("layer0.1.bias", f32::INFINITY, "NaN or infinity"),
        ("layer0.1.running_var", -0.5, "negative variance"),
    ] {
        let mut entries = good();
        entries.iter_mut().find(|(k, ..)| k == key).unwrap().2[0] = value;
        assert_says(&error_of(&entries), &[key, words]);
    }
}

#[test]
fn a_failed_load_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file.pth");
    let mut entries = good();
    entries.last_mut().unwrap().0.push('x');
    entries.iter_mut().find(|(k, ..)| k == "layer3.1.bn2.running_var").unwrap().2[0] = f32::NAN;
    write_pth(&path, &entries);
    let model = fresh();
    load_weights(model.clone(), &path).unwrap_err();
    assert_eq!(model.named_tensors().unwrap(), fresh().named_tensors().unwrap());
}

#[test]
fn files_that_are_something_else_are_named_for_what_they_are() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("weights.pth");
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"<!DOCTYPE html><html>", "download page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"random words", "bytes 72 61"),
        (b"\x80", "not a weight file"),
        (b"PK\x03\x04", "truncated, damaged"),
        (b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "PyTorch (zip)"),
        (b"\x80\x02}q\0.", "no tensors"),
        (b"\x02\0\0\0\0\0\0\0{}", "no tensors"),
        (b"\xff\0\0\0\0\0\0\0{}", "safetensors"),
        (b"NRUB\x01\0\0\0\0\0", "burnpack"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert_says(&load_weights(fresh(), &path).unwrap_err(), &["weights.pth", word]);
        assert_says(&inspect_weights(&path).unwrap_err(), &["weights.pth", word]);
    }
    let missing = load_weights(fresh(), &dir.path().join("none.pth")).unwrap_err();
    assert_says(&missing, &["none.pth", "check the path"]);
    assert_says(&load_weights(fresh(), dir.path()).unwrap_err(), &["cannot read"]);
}

#[test]
fn a_pickle_nested_without_end_is_an_error() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("nested.pth");
    let depth = 1_000_000;
    let lists = [b"\x80\x02".to_vec(), vec![b']'; depth], vec![b'a'; depth - 1], b".".to_vec()];
    std::fs::write(&path, lists.concat()).unwrap();
    assert_says(&load_weights(fresh(), &path).unwrap_err(), &["nested.pth", "damaged"]);
}

/// One good file of every format.
fn good_files(dir: &TempDir) -> Vec<PathBuf> {
    let model = filled(narrow(Depth::R18).with_width(1), &device());
    let entries = state_dict(&model);
    let path = |name: &str| dir.path().join(name);
    write_pth(&path("zip.pth"), &entries);
    write_legacy_pth(&path("legacy.pth"), &entries);
    let none = BTreeMap::new();
    save_safetensors(&model, &path("w.safetensors"), KeyStyle::Ssp, &none).unwrap();
    save_burnpack(&model, &path("w.bpk"), KeyStyle::Ssp, &BTreeMap::new()).unwrap();
    ["zip.pth", "legacy.pth", "w.safetensors", "w.bpk"].map(path).to_vec()
}

fn load_tiny(path: &Path) -> Result<(), BackboneError> {
    let model = narrow(Depth::R18).with_width(1).init(&device(), 1);
    load_weights(model, path).map(|_| ())
}

#[test]
fn truncated_files_are_errors_at_every_length() {
    let dir = TempDir::new().unwrap();
    for path in good_files(&dir) {
        let bytes = std::fs::read(&path).unwrap();
        load_tiny(&path).unwrap();
        let cut = dir.path().join("cut");
        let step = (bytes.len() / 150).max(1);
        let ends =
            (0..bytes.len()).step_by(step).chain(bytes.len().saturating_sub(40)..bytes.len());
        for end in ends {
            std::fs::write(&cut, &bytes[..end]).unwrap();
            let result = load_tiny(&cut);
            assert!(result.is_err(), "{} cut to {end} of {} bytes", path.display(), bytes.len());
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    let dir = TempDir::new().unwrap();
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for path in good_files(&dir) {
        let bytes = std::fs::read(&path).unwrap();
        let damaged = dir.path().join("some_file");
        for round in 0..200 {
            let mut copy = bytes.clone();
            for _ in 0..=round % 4 {
                // Headers are where readers go wrong: half of the damage goes there.
                let range = if random() % 2 == 0 { copy.len().min(4096) } else { copy.len() };
                let at = random() % range;
                copy[at] = (random() >> 8) as u8;
            }
            std::fs::write(&damaged, &copy).unwrap();
            // Damage inside the values of a format without checksums may go unseen.
            if let Err(error) = load_tiny(&damaged) {
                assert_says(&error, &["some_file"]);
            }
            let _ = inspect_weights(&damaged);
        }
    }
}
