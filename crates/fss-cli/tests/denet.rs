//! `fss train` and `fss eval` of the models of DENet's code.

mod common;

use common::Scratch;
#[cfg(unix)]
use common::interrupt;

/// A run of a few seconds: 6 iterations, two validations.
const SMALL: &str = "--data-root set --set backbone.width=2 --set episodes.list=15 --set episodes.steps=6 \
    --set episodes.batch=2 --set episodes.side=33 --set validation.every=3 \
    --set validation.test.episodes=5 --set evaluation.test.episodes=5 --set init.calibration_images=2 \
    --set checkpoint.every=1";

/// A small generated set.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok("data generate --out set --images 60 --val-images 60 --size 40..48 --seed 3");
    scratch
}

#[test]
fn every_model_is_trained_and_tested() {
    let scratch = scratch();
    for model in ["denet", "amp", "canet", "pgnet"] {
        let table = scratch.ok(&format!("train --recipe {model}-synthetic {SMALL} --out {model}"));
        assert!(table.contains("B-IOU") && table.contains("1-way 1-shot"), "{table}");
        assert_eq!(table.contains("F-IOU"), ["denet", "amp"].contains(&model), "{table}");
        let files =
            ["best.safetensors", "checkpoints", "evaluation.json", "log.jsonl", "recipe.toml"];
        assert_eq!(scratch.names(model), files);
        // Side, fold and model are in the file.
        let eval = format!("eval --data-root set --weights {model}/best.safetensors --episodes 5");
        assert_eq!(scratch.ok(&format!("{eval} --fold 0 --batch 20")), table);
        let message = scratch.fails(&format!("{eval} --fold 1"));
        assert!(message.contains("5 of the 5 classes"), "{message}");
    }
    // Others take part, too, and the same command gives the same file.
    let eval =
        "eval --data-root set --weights denet/best.safetensors --fold 0 --ways 2 --episodes 5";
    let text = scratch
        .ok(&format!("{eval} --seeds 1234,5 --json a.json --save-panels 1 --panels pictures"));
    assert!(text.contains("2-way 1-shot") && text.contains("deviation"), "{text}");
    assert_eq!(scratch.names("pictures").len(), 3);
    scratch.ok(&format!("{eval} --seeds 1234,5 --json b.json"));
    let read = |file: &str| std::fs::read(scratch.path(file)).unwrap();
    assert_eq!(read("a.json"), read("b.json"));
    let hsnet = scratch.ok("eval --data-root set --weights denet/best.safetensors --fold 0 \
                            --protocol hsnet --episodes 5 --min-pixels 20");
    assert!(hsnet.contains("protocol hsnet"), "{hsnet}");

    for (options, words) in [
        ("--ways 6", "6 ways of 5"),
        ("--share 7", "a share of 7"),
        ("--shot 60", "needs 61"),
        ("--upper-bound", "--upper-bound"),
        ("--seeds 99999999999", "32 bits"),
        ("--ways 2 --protocol hsnet", "--protocol denet"),
        ("--episodes 0", "`episodes`"),
    ] {
        let message = scratch.fails(&format!(
            "eval --data-root set --weights denet/best.safetensors --fold 0 {options}"
        ));
        assert!(message.contains(words), "{options}: {message}");
    }
}

#[cfg(unix)]
#[test]
fn a_stopped_run_continues_to_the_same_bits() {
    use std::time::{Duration, Instant};

    let scratch = scratch();
    let train = format!("train --recipe denet-synthetic {SMALL} --set episodes.steps=30");
    scratch.ok(&format!("{train} --out whole"));
    let mut child = scratch.spawn(&format!("{train} --out parts"));
    let (log, begin) = (scratch.path("parts/log.jsonl"), Instant::now());
    while std::fs::read_to_string(&log).unwrap_or_default().lines().count() < 2 {
        assert!(begin.elapsed() < Duration::from_secs(500), "the log does not grow");
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(Duration::from_millis(2));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("fss train --resume --out parts --data-root set"), "{message}");
    scratch.ok("train --resume --out parts --data-root set");
    for file in ["best.safetensors", "evaluation.json", "log.jsonl", "recipe.toml"] {
        let read = |run: &str| std::fs::read(scratch.path(&format!("{run}/{file}"))).unwrap();
        assert!(read("parts") == read("whole"), "{file} differs");
    }
}

#[test]
fn episodes_are_written_for_others() {
    let scratch = scratch();
    let run = "data episodes --data-root set --ways 2 --episodes 25";
    let table = scratch.ok(&format!("{run} --out a.json"));
    assert!(table.contains("aeroplane") && table.contains(" 5"), "{table}");
    scratch.ok(&format!("{run} --out b.json"));
    let read = |file: &str| std::fs::read_to_string(scratch.path(file)).unwrap();
    assert_eq!(read("a.json"), read("b.json"));
    // They are those of a test.
    scratch.ok(&format!("train --recipe canet-synthetic {SMALL} --out run"));
    scratch
        .ok("eval --data-root set --weights run/best.safetensors --fold 0 --ways 2 --episodes 25 \
                --json scores.json");
    let (file, scores) = (read("a.json"), read("scores.json"));
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let scores: serde_json::Value = serde_json::from_str(&scores).unwrap();
    let drawn = scores["runs"][0]["drawn"].as_array().unwrap();
    for (one, other) in file["episodes"].as_array().unwrap().iter().zip(drawn) {
        assert_eq!(one["query"], other["query"]);
        assert_eq!(one["support"][1], other["ways"][1]["supports"]);
    }
    let training =
        scratch.ok("data episodes --data-root set --training --episodes 30 --out t.json");
    assert!(!training.contains("aeroplane") && training.contains("bus"), "{training}");
    assert!(read("t.json").contains("\"purpose\": \"training\""));
    let message = scratch.fails("data episodes --data-root set --training --ways 2 --out t.json");
    assert!(message.contains("train with one way"), "{message}");
}

#[test]
fn recipes_are_shown_and_mistakes_named() {
    let scratch = Scratch::new();
    let shown = scratch.ok("train --recipe denet-coco --show --set episodes.shot=5");
    assert!(shown.contains("steps = 200000") && shown.contains("shot = 5"), "{shown}");
    let coco = scratch.ok("train --recipe amp-pascal --dataset coco --show");
    assert!(coco.contains("share = 0.01") && coco.contains("interleaved"), "{coco}");
    assert!(coco.contains("rmsprop"), "{coco}");
    let message = scratch.fails("train --recipe denet-pascal --data-root nowhere --out run");
    assert!(
        message.contains("resnet50-19c8e357.pth") && message.contains("--pretrained"),
        "{message}"
    );
    let message = scratch.fails("train --recipe denet-synthetic --data-root nowhere --out run");
    assert!(message.contains("nowhere"), "{message}");
    let message = scratch.fails("train --recipe denet-synthetic --show --set model.kind=ssp");
    assert!(message.contains("ssp"), "{message}");
}
