//! Models of DENet's code on the command line, from checkpoints as that code writes them.

mod common;

use common::Scratch;
use fss_core::Device;
use fss_core::backbone::{ImagenetConfig, ImagenetNetwork, NamedTensor};
use fss_core::heads::AmpConfig;
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
         --side 64"
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
