//! `fss eval`: equal runs give equal results, with and without reuse of features.

mod common;

use std::io::{BufRead, BufReader, Read};

use common::{Scratch, WIDTH, interrupt};
use fss_core::backbone::Depth;
use serde_json::Value;

const EVAL: &str = "eval --weights weights.safetensors --backbone resnet18 --data-root set --fold 0 \
                    --shot 1 --seeds 0,1 --episodes 12 --min-pixels 64";

/// A small generated set and the weights of a narrow resnet18.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    let text =
        scratch.ok("data generate --out set --images 24 --val-images 80 --size 56..72 --seed 3");
    assert!(text.contains("24 training and 80 validation images"), "{text}");
    scratch.weights("weights.safetensors", Depth::R18, WIDTH);
    scratch
}

fn json(scratch: &Scratch, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path(file)).unwrap()).unwrap()
}

/// How often the backbone ran is the one thing that reuse changes.
fn without_counts(mut evaluation: Value) -> Value {
    evaluation.as_object_mut().unwrap().remove("features").unwrap();
    evaluation
}

#[test]
fn equal_runs_give_equal_bytes() {
    let scratch = scratch();
    let first = scratch.ok(&format!("{EVAL} --json first.json"));
    let second = scratch.ok(&format!("--threads 1 {EVAL} --json second.json"));
    assert_eq!(first, second);
    let bytes = |file: &str| std::fs::read(scratch.path(file)).unwrap();
    assert_eq!(bytes("first.json"), bytes("second.json"));
    for words in ["seed", "mean", "deviation", "FB-IoU", "fold 0", "official"] {
        assert!(first.contains(words), "{words:?} is missing in: {first}");
    }
    let text = String::from_utf8(bytes("first.json")).unwrap();
    assert!(!text.contains(scratch.path("").to_str().unwrap()), "a path of this machine");

    let evaluation = json(&scratch, "first.json");
    let runs = evaluation["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for (run, seed) in runs.iter().zip([0, 1]) {
        assert_eq!(run["seed"], seed);
        let drawn = run["drawn"].as_array().unwrap();
        assert_eq!(drawn.len(), 12);
        for episode in drawn {
            assert!((1..=5).contains(&episode["class"].as_u64().unwrap()), "{episode}");
            assert_ne!(episode["query"], episode["supports"][0]);
        }
    }
    assert_ne!(runs[0]["drawn"], runs[1]["drawn"]);
}

#[test]
fn reuse_changes_the_work_and_not_the_scores() {
    let scratch = scratch();
    let mut passes = Vec::new();
    let mut scores = Vec::new();
    for (name, options) in [
        ("reuse", ""),
        ("anew", "--no-reuse"),
        ("disk", "--feature-cache 0 --spill disk"),
        ("again", "--feature-cache 20KiB --spill recompute"),
    ] {
        scratch.ok(&format!("{EVAL} {options} --json {name}.json"));
        let evaluation = json(&scratch, &format!("{name}.json"));
        passes.push(evaluation["features"]["backbone_passes"].as_u64().unwrap());
        scores.push(without_counts(evaluation));
    }
    assert!(scores.iter().all(|other| *other == scores[0]));
    assert_eq!(passes[1], 2 * 12 * 2, "two images an episode");
    assert!(passes[0] < passes[1] && passes[2] == passes[0] && passes[3] > passes[0], "{passes:?}");
}

#[test]
fn shots_refinement_and_the_upper_bound() {
    let scratch = scratch();
    scratch.ok(&format!("{EVAL} --json one.json"));
    scratch.ok(&format!("{EVAL} --refine --json refined.json"));
    scratch.ok(&format!("{EVAL} --upper-bound --json bound.json"));
    scratch.ok(&EVAL.replace("--shot 1", "--shot 3 --json three.json"));
    let drawn = |file: &str| json(&scratch, file)["runs"][0]["drawn"].clone();
    let ids = |file: &str| -> Vec<Value> {
        drawn(file).as_array().unwrap().iter().map(|e| e["query"].clone()).collect()
    };
    assert_eq!(ids("one.json"), ids("refined.json"));
    assert_ne!(drawn("one.json"), drawn("refined.json"), "the IoU of some episode differs");
    assert_eq!(drawn("three.json")[0]["supports"].as_array().unwrap().len(), 3);
    let bound = drawn("bound.json");
    assert!(bound.as_array().unwrap().iter().all(|e| e["supports"][0] == e["query"]));
}

#[test]
fn bad_input_is_explained_before_the_work() {
    let scratch = scratch();
    std::fs::create_dir(scratch.path("nothing")).unwrap();
    for (arguments, expected) in [
        (EVAL.replace("--data-root set", "--data-root absent"), "absent"),
        (EVAL.replace("--data-root set", "--data-root nothing"), "JPEGImages"),
        (EVAL.replace("--fold 0", "--fold 4"), "folds are numbered 0 to 3"),
        (EVAL.replace("--shot 1", "--shot 0"), "0 shots"),
        (EVAL.replace("--shot 1", "--shot 50"), "50"),
        (EVAL.replace("resnet18", "resnet34"), "resnet18"),
        (EVAL.replace("--min-pixels 64", ""), "2048"),
        (format!("{EVAL} --json absent/scores.json"), "make the folder"),
    ] {
        let message = scratch.fails(&arguments);
        assert!(message.contains(expected), "{arguments}: {message}");
        assert!(!message.contains("panicked"), "{message}");
    }
    let output = scratch.fss(&format!("{EVAL} --feature-cache 2TB")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = scratch.fss(&format!("{EVAL} --no-reuse --spill disk")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_no_result() {
    let scratch = scratch();
    let arguments = EVAL.replace("--episodes 12", "--episodes 5000 --json scores.json");
    let mut child = scratch.spawn(&arguments);
    let mut messages = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // By then Ctrl-C is watched, and hardly an episode is done.
    while !line.contains("masks are read") {
        line.clear();
        assert!(messages.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    interrupt(&child);
    let mut rest = String::new();
    messages.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted") && rest.contains("run the same command again"), "{rest}");
    assert!(!scratch.names("").iter().any(|name| name.contains("scores")));
}

#[test]
fn pictures_show_the_first_the_best_and_the_worst_episodes() {
    let scratch = scratch();
    scratch.ok(&format!("{EVAL} --json scores.json --save-panels 2 --panels pictures"));
    let drawn = json(&scratch, "scores.json")["runs"][0]["drawn"].clone();
    let names = scratch.names("pictures");
    assert_eq!(names.len(), 6, "{names:?}");
    let iou = |file: &str| {
        let query = file.trim_end_matches(".png").rsplit('-').next().unwrap();
        let of_query = drawn.as_array().unwrap().iter().filter(|one| one["query"] == query);
        let all: Vec<f64> = of_query.filter_map(|one| one["iou"].as_f64()).collect();
        (all.iter().copied().fold(1.0, f64::min), all.iter().copied().fold(0.0, f64::max))
    };
    let all: Vec<f64> =
        drawn.as_array().unwrap().iter().filter_map(|one| one["iou"].as_f64()).collect();
    let found = |start: &str| names.iter().find(|name| name.starts_with(start)).unwrap();
    assert_eq!(iou(found("best-1-")).1, all.iter().copied().fold(0.0, f64::max));
    assert_eq!(iou(found("worst-1-")).0, all.iter().copied().fold(1.0, f64::min));
    assert!(found("first-1-").contains(drawn[0]["query"].as_str().unwrap()));

    std::fs::write(scratch.path("file"), "").unwrap();
    let message = scratch.fails(&format!("{EVAL} --save-panels 1 --panels file"));
    assert!(message.contains("file"), "{message}");
}
