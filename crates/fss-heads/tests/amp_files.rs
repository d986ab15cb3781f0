//! AMP: weight files.

#[path = "../../../tests/support/device.rs"]
mod device;

use std::collections::BTreeMap;
use std::path::Path;

use device::test_device;
use fss_backbone::{
    ImagenetConfig, ImagenetNetwork, ModuleFile, NamedTensor, OfficialKeys, inspect_weights,
    load_module_tensors, module_tensors, write_state_dict,
};
use fss_heads::{Amp, AmpConfig};
use fss_support::pth::{Entry, write_legacy_checkpoint};
use tempfile::TempDir;

const NETWORKS: [ImagenetNetwork; 2] = [ImagenetNetwork::Vgg16, ImagenetNetwork::Vgg16Bn];

fn config(network: ImagenetNetwork) -> AmpConfig {
    AmpConfig::new(ImagenetConfig::new(network).with_width(4), 6)
}

/// A model under the fill rule.
fn filled(network: ImagenetNetwork) -> Amp {
    let model = config(network).init(&test_device(), 3);
    let tensors = module_tensors(&model).unwrap().into_iter();
    let tensors =
        tensors.map(|t| NamedTensor { values: fss_support::fill(&t.key, &t.shape), ..t }).collect();
    load_module_tensors(model, tensors, Path::new("fill rule")).unwrap()
}

#[test]
fn checkpoints_go_out_and_come_back() {
    let dir = TempDir::new().unwrap();
    for network in NETWORKS {
        let model = filled(network);
        let path = dir.path().join("amp.safetensors");
        let tensors = model.state_dict().unwrap();
        write_state_dict(&path, &tensors, &BTreeMap::new()).unwrap();
        let file = ModuleFile::open(&path).unwrap();
        assert_eq!(AmpConfig::of_file(&file), Some(config(network)));
        let (loaded, report) = config(network).init(&test_device(), 9).load(&path).unwrap();
        assert_eq!(module_tensors(&loaded).unwrap(), module_tensors(&model).unwrap());
        assert!(report.missing.is_empty() && report.unused.is_empty());
        let summary = inspect_weights(&path).unwrap();
        assert_eq!(summary.extending, Some("amp"));
        assert_eq!(summary.imagenet, Some(config(network).backbone));

        // A checkpoint of the published code: the old format, second names on the same storage.
        let first: Vec<Entry> = module_tensors(&model)
            .unwrap()
            .into_iter()
            .map(|t| (t.key, t.shape, t.values))
            .collect();
        let index = |key: &str| first.iter().position(|(own, ..)| own == key);
        let second: Vec<(String, usize)> = tensors
            .iter()
            .filter(|t| index(&t.key).is_none())
            .map(|t| (t.key.clone(), index(&model.resolve(&t.key).unwrap()).unwrap()))
            .collect();
        assert_eq!(second.len() + first.len(), tensors.len());
        let path = dir.path().join("best_model.bin");
        write_legacy_checkpoint(&path, &first, &second);
        let (loaded, _) = config(network).init(&test_device(), 9).load(&path).unwrap();
        assert_eq!(module_tensors(&loaded).unwrap(), module_tensors(&model).unwrap());

        let other = AmpConfig { classes: 7, ..config(network) };
        let message = other.init(&test_device(), 9).load(&path).unwrap_err().to_string();
        assert!(message.contains("6 rows") && message.contains("7 rows"), "{message}");
        let another = NETWORKS[usize::from(network == NETWORKS[0])];
        let message = config(another).init(&test_device(), 9).load(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("looks like {network} of width 4")), "{message}");
        assert!(model.fold().state_dict().is_err() == (network == ImagenetNetwork::Vgg16Bn));
    }
}

#[test]
fn a_backbone_alone_is_told_from_a_checkpoint() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vgg16.safetensors");
    let model = filled(ImagenetNetwork::Vgg16);
    let tensors = module_tensors(&model.backbone).unwrap();
    write_state_dict(&path, &tensors, &BTreeMap::new()).unwrap();
    let message = model.load(&path).unwrap_err().to_string();
    assert!(message.contains("no level1_classifier.weight"), "{message}");
}
