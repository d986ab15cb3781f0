//! HSNet and IMR on the command line: checkpoints in the official layout, text in place of masks.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::Scratch;
use fss_core::Device;
use fss_core::backbone::clip::ClipConfig;
use fss_core::backbone::weights::write_safetensors;
use fss_core::backbone::{
    NamedTensor, OfficialKeys, TapBackboneConfig, TapNetwork, module_tensors,
};
use fss_core::heads::{HsnetConfig, ImrConfig};
use fss_support::pth::{Entry, write_pth};

/// The tensors of a module under the fill rule.
fn filled<M: OfficialKeys>(module: &M) -> Vec<NamedTensor> {
    let tensors = module_tensors(module).unwrap().into_iter();
    tensors.map(|t| NamedTensor { values: fss_support::fill(&t.key, &t.shape), ..t }).collect()
}

fn narrow(network: TapNetwork) -> TapBackboneConfig {
    TapBackboneConfig::new(network).with_width(4)
}

/// A checkpoint as the official code writes it: `module.` in front, batch counters, the classifier.
fn official(path: &Path, tensors: Vec<NamedTensor>) {
    let mut entries: Vec<Entry> = Vec::new();
    for NamedTensor { key, shape, values } in tensors {
        if let Some(norm) = key.strip_suffix("running_var") {
            entries.push((format!("module.{norm}num_batches_tracked"), vec![], vec![0.0]));
        }
        entries.push((format!("module.{key}"), shape, values));
    }
    entries.push(("module.backbone.fc.bias".into(), vec![10], vec![0.0; 10]));
    write_pth(path, &entries);
}

fn hsnet_weights(scratch: &Scratch) {
    let model = HsnetConfig::new(narrow(TapNetwork::Resnet50)).init(&Device::default(), 0);
    official(&scratch.path("hsnet.pt"), filled(&model));
}

/// An IMR for images of 96x96, and a small CLIP.
fn imr_weights(scratch: &Scratch) {
    let config = ImrConfig::new(narrow(TapNetwork::Vgg16)).with_grid(12);
    let model = config.init(&Device::default(), 0).unwrap();
    official(&scratch.path("imr.pt"), filled(&model));
    let clip = ClipConfig {
        resolution: 64,
        width: 8,
        embedding: 32,
        text_width: 64,
        ..ClipConfig::rn50().with_depth([1, 1, 1, 1], 1)
    };
    let clip = clip.init(&Device::default(), 0);
    write_safetensors(&scratch.path("clip.safetensors"), &filled(&clip), &BTreeMap::new()).unwrap();
}

#[test]
fn hsnet_predicts_from_an_official_checkpoint() {
    let scratch = Scratch::with_images();
    hsnet_weights(&scratch);
    let run = "predict --weights hsnet.pt --support support.jpg:support.png --query queries";
    let shown = scratch.ok(&format!("{run} --out out"));
    assert!(shown.contains("a.jpg") && shown.contains("b.png"), "{shown}");
    assert_eq!(scratch.names("out").len(), 4);
    let mask = image::open(scratch.path("out/b.mask.png")).unwrap();
    assert_eq!((mask.width(), mask.height()), (41, 67));
    // Five shots vote.
    let five = " --support support.jpg:support.png".repeat(4);
    scratch.ok(&format!("{run}{five} --model hsnet --out five"));
    assert_eq!(scratch.names("five").len(), 4);

    let message = scratch.fails(&format!("{run} --out no --backbone vgg16"));
    assert!(message.contains("resnet50") && message.contains("vgg16"), "{message}");
    let message = scratch.fails(&format!("{run} --out no --backbone resnet18"));
    assert!(message.contains("vgg16, resnet50, resnet101"), "{message}");
    let message = scratch.fails(&format!("{run} --out no --stages 2"));
    assert!(message.contains("--stages belongs to IMR"), "{message}");
    let message = scratch.fails(&format!("{run} --out no --text dog --clip clip.safetensors"));
    assert!(message.contains("learns from masks"), "{message}");
    let inspected = scratch.ok("weights inspect hsnet.pt");
    assert!(inspected.contains("HSNet with resnet50"), "{inspected}");
}

#[test]
fn imr_predicts_from_text_alone() {
    let scratch = Scratch::with_images();
    imr_weights(&scratch);
    let run =
        "predict --weights imr.pt --support support.jpg --query queries --clip clip.safetensors";
    let texts = |text: &str, out: &str| {
        let mut command = scratch.fss(&format!("{run} --out {out} --save mask,logits"));
        command.args(["--text", text]).output().unwrap()
    };
    let output = texts("a dog \u{1f415}", "out");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{message}");
    assert_eq!(scratch.names("out").len(), 4);
    let mask = image::open(scratch.path("out/a.mask.png")).unwrap();
    assert_eq!((mask.width(), mask.height()), (64, 48));
    // The same again gives the same; another text looks for something else.
    assert!(texts("a dog \u{1f415}", "again").status.success());
    let bytes = |name: &str| std::fs::read(scratch.path(name)).unwrap();
    assert!(bytes("out/a.logits.npy") == bytes("again/a.logits.npy"), "{message}");
    let others = ["red cup", "sky", "an old car", "sheep", "wheel"].into_iter().enumerate();
    let differ = others.filter(|(n, text)| {
        let out = format!("other{n}");
        assert!(texts(text, &out).status.success());
        bytes("out/a.logits.npy") != bytes(&format!("{out}/a.logits.npy"))
    });
    assert!(differ.count() > 0, "no text makes a difference");

    // A text that is too long is cut, and told.
    let long = "very ".repeat(200) + "old dog";
    let output = texts(&long, "long");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && message.contains("kept:"), "{message}");
    let output = texts("  ", "empty");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains("empty"), "{message}");

    // Masks serve as well, the query is still named.
    let masked = run.replace("support.jpg", "support.jpg:support.png");
    scratch.ok(&format!("{masked} --text dog --out masked"));
    let message =
        scratch.fails("predict --weights imr.pt --support support.jpg --query queries --out no");
    assert!(message.contains("--text"), "{message}");
    let message =
        scratch.fails(&format!("{run} --text dog --support support.jpg:support.png --out no"));
    assert!(message.contains("for all of them, or for none"), "{message}");
    let message = scratch.fails(&run.replace("clip.safetensors", "imr.pt --text dog --out no"));
    assert!(message.contains("IMR with vgg16"), "{message}");
    let message = scratch.fails(&run.replace("clip.safetensors", "none.pt --text dog --out no"));
    assert!(message.contains("none.pt"), "{message}");
}

const SMALL: &str = "--set backbone.width=4 --set episodes.total=24 --set episodes.snapshot=12 \
    --set episodes.batch=2 --set episodes.crop=64 --set data.min_pixels=64 \
    --set validation.episodes=6 --set evaluation.episodes=6 \
    --set validation.protocol.side=64 --set evaluation.protocol.side=64";

#[test]
fn hsnet_is_trained_resumed_and_evaluated() {
    let scratch = Scratch::new();
    scratch.ok("data generate --out set --images 40 --val-images 80 --size 56..80 --seed 3");
    let train = format!("train --recipe hsnet-synthetic --data-root set {SMALL}");
    let table = scratch.ok(&format!("{train} --out run"));
    assert!(table.contains("protocol hsnet: images of 64x64"), "{table}");
    // The weights say what they are, and are measured as they were trained.
    let shown = scratch
        .ok("eval --weights run/best.safetensors --data-root set --fold 0 --episodes 6 \
         --min-pixels 64 --shot 2");
    assert!(shown.contains("hsnet with resnet50") && shown.contains("64x64"), "{shown}");
    assert!(shown.contains("vote"), "{shown}");
    let message = scratch.fails(
        "eval --weights run/best.safetensors --data-root set --fold 0 --cams maps --min-pixels 64",
    );
    assert!(message.contains("belong to imr"), "{message}");
}

#[test]
fn imr_is_evaluated_with_maps_that_are_made_on_the_way() {
    let scratch = Scratch::new();
    scratch.ok("data generate --out set --images 40 --val-images 80 --size 56..80 --seed 3");
    imr_weights(&scratch);
    let eval = "eval --weights imr.pt --data-root set --fold 0 --episodes 5 --min-pixels 64";
    let message = scratch.fails(eval);
    assert!(message.contains("--cams") && message.contains("--clip"), "{message}");
    let message = scratch.fails(&format!("{eval} --cams maps"));
    assert!(message.contains("missing") && message.contains("fss cam"), "{message}");
    let with = format!("{eval} --cams maps --clip clip.safetensors");
    let first = scratch.ok(&format!("{with} --json first.json"));
    assert!(first.contains("imr with vgg16") && first.contains("96x96"), "{first}");
    // They are kept, so CLIP is not needed any more.
    scratch.ok(&format!("{eval} --cams maps --json second.json"));
    let bytes = |name: &str| std::fs::read(scratch.path(name)).unwrap();
    assert!(bytes("first.json") == bytes("second.json"));
    scratch.ok(&format!("{eval} --cams maps --support-labels masks --stages 3"));
    // A map of another size is named with what to do.
    let one = scratch.names("maps").remove(0);
    std::fs::write(scratch.path("maps").join(&one), b"no map").unwrap();
    let message = scratch.fails(&format!("{eval} --cams maps"));
    assert!(message.contains(&one), "{message}");

    let message = scratch.fails("train --recipe imr-synthetic --data-root set --out run");
    assert!(message.contains("model.cams.train"), "{message}");
}
