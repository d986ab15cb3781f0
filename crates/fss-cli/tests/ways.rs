//! Several classes at once on the command line.

mod common;

use common::Scratch;
use fss_core::data;

const PREDICT: &str = "predict --weights weights.safetensors --query queries";

fn scratch() -> Scratch {
    let scratch = Scratch::with_images();
    scratch.support("other", [50, 50], 7);
    scratch
}

fn labels(scratch: &Scratch, name: &str) -> Vec<u8> {
    let mask = data::io::read_mask(&scratch.path(name)).unwrap();
    let mut labels: Vec<u8> = mask.into_iter().collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

#[test]
fn named_examples_are_classes_with_a_legend() {
    let scratch = scratch();
    let shown = scratch.ok(&format!(
        "{PREDICT} --support cat=support.jpg:support.png --support dog=other.jpg:other.png \
         --support cat=other.jpg:other.png --out out --save mask,overlay,logits"
    ));
    assert!(shown.contains("a.jpg: ") && shown.contains("b.png: "), "{shown}");
    let names: Vec<&str> = ["mask.png", "overlay.png", "logits.npy"].to_vec();
    for stem in ["a", "b"] {
        for name in &names {
            assert!(scratch.path(&format!("out/{stem}.{name}")).is_file(), "{stem}.{name}");
        }
        assert!(labels(&scratch, &format!("out/{stem}.mask.png")).iter().all(|label| *label <= 2));
    }
    let legend: serde_json::Value =
        serde_json::from_slice(&std::fs::read(scratch.path("out/legend.json")).unwrap()).unwrap();
    let entries: Vec<(u64, &str)> = legend
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["label"].as_u64().unwrap(), entry["name"].as_str().unwrap()))
        .collect();
    assert_eq!(entries, [(0, "background"), (1, "cat"), (2, "dog")]);
    let file = std::fs::File::open(scratch.path("out/a.logits.npy")).unwrap();
    let logits: ndarray::Array3<f32> = ndarray_npy::ReadNpyExt::read_npy(file).unwrap();
    assert_eq!(logits.dim(), (3, 48, 64));
}

#[test]
fn one_named_class_labels_as_a_nameless_one() {
    let scratch = scratch();
    scratch.ok(&format!("{PREDICT} --support support.jpg:support.png --out one --save mask"));
    scratch.ok(&format!("{PREDICT} --support cat=support.jpg:support.png --out cat --save mask"));
    let read = |name: &str| data::io::read_mask(&scratch.path(name)).unwrap();
    assert_eq!(read("one/a.mask.png"), read("cat/a.mask.png"));
    assert_eq!(scratch.names("one"), ["a.mask.png", "b.mask.png"]);
    assert_eq!(scratch.names("cat"), ["a.mask.png", "b.mask.png", "legend.json"]);
}

#[test]
fn classes_of_a_data_set() {
    let scratch = scratch();
    for class in ["cat", "dog", "gnu"] {
        for part in ["images", "masks"] {
            std::fs::create_dir_all(scratch.path(&format!("set/{class}/{part}"))).unwrap();
        }
        scratch.image(&format!("set/{class}/images/one.jpg"), [64, 56], 4);
        scratch.flat_mask(&format!("set/{class}/masks/one.png"), [64, 56], 1);
    }
    let run = format!("{PREDICT} --support-set set --out out --save mask");
    scratch.ok(&format!("{run} --class gnu --class cat"));
    let legend = std::fs::read_to_string(scratch.path("out/legend.json")).unwrap();
    assert!(legend.find("gnu") < legend.find("cat") && !legend.contains("dog"), "{legend}");
    let message = scratch.fails(&format!("{run} --class gnu --class gnu"));
    assert!(message.contains("gnu is named twice"), "{message}");
    let message = scratch.fails(&run);
    assert!(message.contains("3 classes") && message.contains("repeat it"), "{message}");
    let message = scratch.fails(&format!("{run} --class gnu --class elk"));
    assert!(message.contains("elk"), "{message}");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let scratch = scratch();
    let fails = |supports: &str| scratch.fails(&format!("{PREDICT} {supports} --out no"));
    let message = fails("--support cat=support.jpg:support.png --support other.jpg:other.png");
    assert!(message.contains("other.jpg does not") && message.contains("every"), "{message}");
    let message = fails("--support cat=support.jpg:none.png --support dog=other.jpg:other.png");
    assert!(message.contains("no mask file none.png"), "{message}");
    let message = fails("--support cat=support.jpg:support.png --class 1 --class 7");
    assert!(message.contains("one label"), "{message}");
    let message = fails("--support cat=support.jpg:support.png --class 5");
    assert!(message.contains("class 5") && message.contains("label 1"), "{message}");
}

#[test]
fn masks_of_black_and_white_show_the_object_in_white() {
    let scratch = scratch();
    let mut mask = data::io::read_mask(&scratch.path("support.png")).unwrap();
    // Without the line of ignored pixels, once as 1 and once as 255.
    mask.mapv_inplace(|label| u8::from(label == 1));
    data::io::write_mask(&scratch.path("one.png"), &mask).unwrap();
    data::io::write_mask(&scratch.path("white.png"), &mask.mapv(|label| 255 * label)).unwrap();
    for name in ["one", "white"] {
        scratch.ok(&format!("{PREDICT} --support support.jpg:{name}.png --out {name} --save mask"));
    }
    let read = |name: &str| data::io::read_mask(&scratch.path(name)).unwrap();
    assert_eq!(read("one/a.mask.png"), read("white/a.mask.png"));
}
