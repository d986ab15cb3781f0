use crate::checkpoint::Progress;
use std::sync::Arc;

use crate::trainer::SamplerState;
use fss_data::episode::{EpisodeSource, ImageLabels};
use fss_data::sampler::{EpisodeSampler, OfficialConfig, OfficialSampler};

use super::super::Best;
use super::*;
use crate::LossScaler;
use crate::recipe::Recipe;

fn sampler_state() -> SamplerState {
    let images = (0..9)
        .map(|i| ImageLabels {
            id: format!("image{i}"),
            width: 50,
            height: 40,
            pixels: [(1, 100)].into(),
        })
        .collect();
    let source = Arc::new(EpisodeSource::new(images, &[1], 10).unwrap());
    let mut sampler =
        OfficialSampler::new(source, OfficialConfig::training(u64::MAX, 1, 4, 33)).unwrap();
    sampler.take_episodes(7).unwrap();
    SamplerState::Official(Box::new(sampler.state()))
}

fn tensor(key: &str, values: &[f32]) -> NamedTensor {
    NamedTensor { key: key.into(), shape: vec![values.len()], values: values.to_vec() }
}

fn sample() -> Checkpoint {
    let mut recipe = Recipe::builtin("ssp-pascal").unwrap();
    recipe.optim.lr = 0.001_234_567_890_123_456_7;
    Checkpoint {
        progress: Progress {
            iteration: 7,
            validation_due: true,
            sampler: sampler_state(),
            best: Some(Best { iteration: 5, miou: Some(0.567_891_234_567_890_1) }),
            log_bytes: 123,
            scaler: Some(LossScaler::default()),
            pseudo_masks: None,
            recipe,
        },
        model: vec![
            tensor("layer1.weight", &[1.0, -0.0, f32::MIN_POSITIVE, 0.1]),
            NamedTensor { key: "x".into(), shape: vec![1, 2], values: vec![1.5, 2.5] },
        ],
        best_model: vec![tensor("layer1.weight", &[0.1, 0.2, 0.3, 0.4])],
        optimizer: vec![tensor("velocity.layer1.weight", &[5.0, 6.0, 7.0, 8.0])],
    }
}

fn saved() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    sample().save(&path).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    std::fs::read(path).unwrap()
}

fn load_error(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let error = Checkpoint::<Progress>::load(&path).unwrap_err().to_string();
    assert!(error.contains("some.safetensors"), "{error}");
    error
}

#[test]
fn everything_comes_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let sample = sample();
    sample.save(&path).unwrap();
    let loaded = Checkpoint::<Progress>::load(&path).unwrap();
    assert_eq!(loaded.progress, sample.progress);
    assert_eq!(loaded.model, sample.model);
    assert_eq!(loaded.best_model, sample.best_model);
    assert_eq!(loaded.optimizer, sample.optimizer);
    assert!(loaded.model[0].values[1].is_sign_negative());
}

#[test]
fn a_truncated_file_is_refused_at_any_length() {
    let whole = saved();
    for length in [0, 4, 8, 100, whole.len() / 2, whole.len() - 1] {
        let error = load_error(&whole[..length]);
        assert!(error.contains("truncated"), "{length}: {error}");
    }
}

#[test]
fn foreign_files_are_refused() {
    let zip = load_error(b"PK\x03\x04 this is a zip archive of another program");
    assert!(zip.contains("no safetensors"), "{zip}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write_safetensors(&path, &[tensor("layer1.weight", &[1.0])], &BTreeMap::new()).unwrap();
    let error = load_error(&std::fs::read(&path).unwrap());
    assert!(error.contains("no training state") && error.contains("init.path"), "{error}");
}

#[test]
fn another_version_is_named() {
    let mut bytes = saved();
    let pattern = br#"\"version\":1"#;
    let at = bytes.windows(pattern.len()).position(|w| w == pattern).expect("the version");
    bytes[at + pattern.len() - 1] = b'9';
    assert!(load_error(&bytes).contains("version 9"));
}
