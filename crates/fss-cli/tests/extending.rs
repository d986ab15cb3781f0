//! Models of DENet's code on the command line, from checkpoints as that code writes them.

mod common;

use common::Scratch;
use fss_core::Device;
use fss_core::backbone::{
    ImagenetConfig, ImagenetNetwork, NamedTensor, OfficialKeys, module_tensors,
};
use fss_core::heads::{AmpConfig, CanetConfig, DenetConfig, PgnetConfig};
use fss_support::pth::{Entry, write_legacy_checkpoint};

/// A checkpoint in the format before PyTorch 1.6.
fn official(scratch: &Scratch, name: &str, tensors: Vec<NamedTensor>) {
    let entries =
        tensors.into_iter().map(|NamedTensor { key, shape, values }| (key, shape, values));
    write_legacy_checkpoint(&scratch.path(name), &entries.collect::<Vec<Entry>>(), &[]);
}

fn amp(scratch: &Scratch) {
    let backbone = ImagenetConfig::new(ImagenetNetwork::Vgg16).with_width(4);
    let model = AmpConfig::new(backbone, 21).init(&Device::default(), 0);
    official(scratch, "amp.bin", model.state_dict().unwrap());
}

/// Predicts one class and two, and measures, with weights that say themselves what they are.
fn works(scratch: &Scratch, weights: &str, name: &str) {
    scratch.support("other", [50, 50], 7);
    let run = format!("predict --weights {weights} --query queries");
    scratch.ok(&format!("{run} --support support.jpg:support.png --out one"));
    assert_eq!(
        scratch.names("one"),
        ["a.mask.png", "a.overlay.png", "b.mask.png", "b.overlay.png"]
    );
    let ways = "--support cat=support.jpg:support.png --support dog=other.jpg:other.png";
    scratch.ok(&format!("{run} {ways} --out two --save mask"));
    assert_eq!(scratch.names("two"), ["a.mask.png", "b.mask.png", "legend.json"]);
    let message = scratch
        .fails(&format!("{run} --backbone resnet18 --support support.jpg:support.png --out no"));
    assert!(message.contains("its weights show both"), "{message}");

    let shown = scratch.ok(&format!("weights inspect {weights}"));
    assert!(shown.to_lowercase().contains(name), "{shown}");
    scratch.ok("data generate --out set --images 24 --val-images 40 --size 56..72 --seed 3");
    let table = scratch.ok(&format!(
        "eval --weights {weights} --data-root set --fold 0 --shot 1 --episodes 4 --min-pixels 64 \
         --side 64 --protocol hsnet"
    ));
    assert!(table.contains("protocol hsnet: images of 64x64") && table.contains(name), "{table}");
}

#[test]
fn amp_from_an_official_checkpoint() {
    let scratch = Scratch::with_images();
    amp(&scratch);
    works(&scratch, "amp.bin", "amp");
    let message = scratch.fails(
        "predict --model amp --weights weights.safetensors --support support.jpg:support.png \
         --query queries --out no",
    );
    assert!(message.contains("no model of amp"), "{message}");
}

fn narrow(network: ImagenetNetwork) -> ImagenetConfig {
    ImagenetConfig::new(network).with_width(4)
}

fn tensors<M: OfficialKeys>(model: &M) -> Vec<NamedTensor> {
    module_tensors(model).unwrap()
}

#[test]
fn denet_from_an_official_checkpoint() {
    let scratch = Scratch::with_images();
    let model = DenetConfig::new(narrow(ImagenetNetwork::Densenet121), 21);
    official(&scratch, "denet.bin", tensors(&model.init(&Device::default(), 0)));
    works(&scratch, "denet.bin", "denet");
    let message = scratch.fails(
        "predict --model denet --weights weights.safetensors --support support.jpg:support.png \
         --query queries --out no",
    );
    assert!(message.contains("no model of denet"), "{message}");
}

#[test]
fn canet_from_an_official_checkpoint() {
    let scratch = Scratch::with_images();
    let model = CanetConfig::new(narrow(ImagenetNetwork::Resnet50)).init(&Device::default(), 0);
    official(&scratch, "canet.bin", tensors(&model));
    works(&scratch, "canet.bin", "canet");
}

#[test]
fn pgnet_from_an_official_checkpoint() {
    let scratch = Scratch::with_images();
    let model = PgnetConfig::new(narrow(ImagenetNetwork::Resnet50)).init(&Device::default(), 0);
    official(&scratch, "pgnet.bin", tensors(&model));
    works(&scratch, "pgnet.bin", "pgnet");
    // Half of a file is no model.
    let bytes = std::fs::read(scratch.path("pgnet.bin")).unwrap();
    std::fs::write(scratch.path("half.bin"), &bytes[..bytes.len() / 2]).unwrap();
    let message = scratch.fails(
        "predict --model pgnet --weights half.bin --support support.jpg:support.png --query queries \
         --out no",
    );
    assert!(message.contains("half.bin"), "{message}");
}
