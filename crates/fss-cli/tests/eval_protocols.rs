//! `fss eval` under the protocols, on every benchmark, with weights of both fold conventions.

mod common;

use std::collections::BTreeMap;

use common::{Scratch, WIDTH, filled};
use fss_core::backbone::Depth;
use fss_core::backbone::weights::write_safetensors;
use serde_json::Value;

const MODEL: &str = "eval --weights weights.safetensors --backbone resnet18";

fn scratch(generate: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.ok(&format!("data generate --out set {generate} --seed 3"));
    scratch.weights("weights.safetensors", Depth::R18, WIDTH);
    scratch
}

fn json(scratch: &Scratch, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path(file)).unwrap()).unwrap()
}

#[test]
fn hsnet_on_pascal() {
    let scratch = scratch("--images 24 --val-images 80 --size 56..72");
    let eval = format!(
        "{MODEL} --data-root set --fold 1 --protocol hsnet --side 64 --episodes 10 --min-pixels 64"
    );
    let first = scratch.ok(&format!("{eval} --json first.json"));
    let again = scratch.ok(&format!("--threads 1 {eval} --no-reuse --json again.json"));
    let shown = |text: &str| text.lines().filter(|l| !l.contains("backbone ran")).count();
    assert_eq!(shown(&first), shown(&again));
    let (mut one, mut two) = (json(&scratch, "first.json"), json(&scratch, "again.json"));
    for evaluation in [&mut one, &mut two] {
        evaluation.as_object_mut().unwrap().remove("features").unwrap();
    }
    assert_eq!(one, two, "reuse changes the work alone");
    for words in ["protocol hsnet", "64x64", "classes met", "of 5", "NOT the published lists"] {
        assert!(first.contains(words), "{words:?} is missing in: {first}");
    }
    assert!(!first.contains("refined"), "{first}");
    assert_eq!(one["runs"].as_array().unwrap().len(), 1);
    assert_eq!(one["runs"][0]["seed"], 0);
    assert_eq!(one["novelty"]["kind"], "novel");
    assert_eq!(one["novelty"]["trained"]["known"], "assumed");

    let original =
        scratch.ok(&format!("{eval} --original-size --refine --shot 3 --shot-rule vote"));
    for words in ["own size", "refined, which the published code does not", "each support votes"] {
        assert!(original.contains(words), "{words:?} is missing in: {original}");
    }
}

#[test]
fn weights_of_the_other_convention_are_refused_or_marked() {
    let scratch = scratch("--layout coco --images 20 --val-images 300 --size 48..64");
    let eval = format!(
        "{MODEL} --data-root set --dataset coco --fold 2 --protocol hsnet --side 48 --episodes 8"
    );
    let refused = scratch.fails(&eval);
    for words in ["15 of the 20 classes", "contiguous", "assumed", "--allow-fold-mismatch"] {
        assert!(refused.contains(words), "{words:?} is missing in: {refused}");
    }
    let marked = scratch.ok(&format!("{eval} --allow-fold-mismatch --json marked.json"));
    assert!(marked.contains("WARNING: 15 of the 20 classes tested were base classes"), "{marked}");
    let novelty = json(&scratch, "marked.json")["novelty"].clone();
    assert_eq!((novelty["kind"].as_str(), novelty["tested"].as_u64()), (Some("seen"), Some(20)));
    assert_eq!(novelty["classes"].as_array().unwrap().len(), 15);

    // The same folds as in training, whichever these are.
    let stated = scratch.ok(&format!("{eval} --trained-folds interleaved"));
    assert!(!stated.contains("WARNING") && stated.contains("(interleaved)"), "{stated}");
    let contiguous = scratch.ok(&format!("{eval} --folds contiguous"));
    assert!(!contiguous.contains("WARNING") && contiguous.contains("(contiguous)"), "{contiguous}");

    // Weights that say how they were trained.
    let about = [("fss.dataset", "coco"), ("fss.classes", "80"), ("fss.fold", "2")];
    let mut about: BTreeMap<String, String> =
        about.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    about.insert("fss.fold_scheme".into(), "interleaved".into());
    let file = scratch.path("weights.safetensors");
    write_safetensors(&file, &filled(Depth::R18, WIDTH), &about).unwrap();
    assert!(!scratch.ok(&eval).contains("WARNING"));
    let contradiction = scratch.fails(&format!("{eval} --trained-folds contiguous"));
    assert!(contradiction.contains("the weights say"), "{contradiction}");
    let other = scratch.fails(&eval.replace("--fold 2", "--fold 1"));
    assert!(other.contains("20 of the 20"), "{other}");
}

#[test]
fn every_test_image_of_fss1000_is_segmented() {
    let scratch = scratch("--layout fss1000 --categories 4,3,3 --size 48");
    let eval = format!("{MODEL} --data-root set --dataset fss1000 --protocol hsnet --side 48");
    let text = scratch.ok(&format!("{eval} --json test.json"));
    for words in ["classes met: 3 of 3", "30 episodes"] {
        assert!(text.contains(words), "{words:?} is missing in: {text}");
    }
    let evaluation = json(&scratch, "test.json");
    assert_eq!(evaluation["novelty"]["kind"], "unknown");
    assert_eq!(evaluation["classes"].as_array().unwrap().len(), 3);
    // The official protocol draws from it as well, and the validation categories can be asked for.
    let official = format!("{MODEL} --data-root set --dataset fss1000 --episodes 5 --seeds 1");
    assert!(scratch.ok(&official).contains("protocol official"));
    assert!(scratch.ok(&format!("{eval} --split val --episodes 3")).contains("of 3"));
}

#[test]
fn options_that_do_not_fit_are_explained() {
    let scratch = scratch("--images 24 --val-images 80 --size 56..72");
    let eval = format!("{MODEL} --data-root set --fold 0 --min-pixels 64 --episodes 2");
    for (arguments, expected) in [
        (format!("{eval} --original-size"), "--protocol hsnet"),
        (format!("{eval} --protocol hsnet --side 0"), "0 pixels"),
        (eval.replace("--fold 0", ""), "PASCAL-5i has 4 folds"),
        (format!("{eval} --novel cat"), "--dataset own"),
        (format!("{eval} --split test"), "no test split"),
        (format!("{eval} --splits nowhere --protocol hsnet"), "nowhere"),
        (eval.replace("--data-root set", "--data-root set --dataset fss1000"), "FSS-1000"),
    ] {
        let message = scratch.fails(&arguments);
        assert!(message.contains(expected), "{arguments}: {message}");
        assert!(!message.contains("panicked"), "{message}");
    }
}
