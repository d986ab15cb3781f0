//! `fss mine`, and training with what it makes.

mod common;

use common::{Scratch, interrupt};
use std::time::{Duration, Instant};

const SET: &str = "--recipe mlc-full-synthetic --data-root set --set backbone.width=8 \
    --set episodes.total=16 --set episodes.snapshot=8 --set episodes.batch=2 --set episodes.crop=65 \
    --set data.min_pixels=64 --set validation.episodes=4 --set evaluation.episodes=4 \
    --set evaluation.seeds=[0] --set model.mining.labels.clusters=5 \
    --set model.mining.labels.min_pixels=64 --set model.mining.channels=8";

/// A small generated set.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok("data generate --out set --images 40 --val-images 36 --size 56..80 --seed 3");
    scratch
}

#[cfg(unix)]
#[test]
fn interrupted_mining_goes_on_and_training_takes_what_it_made() {
    let scratch = scratch();
    let table = scratch.ok(&format!("mine {SET} --out whole"));
    assert!(table.contains("latent classes") && table.contains("fss train"), "{table}");

    let child = scratch.spawn(&format!("mine {SET} --out parts"));
    let begin = Instant::now();
    while scratch.names("parts/masks").len() < 2 {
        assert!(begin.elapsed() < Duration::from_secs(300), "no mask is written");
        std::thread::sleep(Duration::from_millis(1));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    // It may have been done before the signal came.
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 130)), "{message}");
    assert!(output.status.success() || message.contains("same command again"), "{message}");
    scratch.ok(&format!("mine {SET} --out parts"));
    for folder in ["", "/masks"] {
        let names = scratch.names(&format!("whole{folder}"));
        assert_eq!(scratch.names(&format!("parts{folder}")), names);
        for name in names.iter().filter(|name| name.contains('.')) {
            let read =
                |place: &str| std::fs::read(scratch.path(&format!("{place}{folder}/{name}")));
            assert_eq!(read("parts").unwrap(), read("whole").unwrap(), "{name}");
        }
    }

    let run = format!("train {SET} --set model.mining.masks=parts");
    let table = scratch.ok(&format!("{run} --out run"));
    let log = std::fs::read_to_string(scratch.path("run/log.jsonl")).unwrap();
    assert!(log.contains("\"pseudo\":"), "{log}");
    let eval = "eval --model mlc --weights run/best.safetensors --backbone resnet18 --data-root set \
                --seeds 0 --episodes 4 --min-pixels 64 --fold 0";
    assert_eq!(scratch.ok(eval), table, "the stored global background is in force");

    for (change, expected) in [
        ("data.fold=1", "fold"),
        ("model.mining.labels.clusters=6", "clusters: 6 | 5"),
        ("init.seed=9", "encoder"),
        ("model.mining.masks=none", "no latent classes"),
    ] {
        let message = scratch.fails(&format!("{run} --set {change} --out other"));
        assert!(message.contains(expected) && message.contains("fss mine"), "{message}");
    }
    // Every part can be left out by a setting.
    let plain = format!(
        "train {SET} --set model.mining.kind=off --set model.rectification.background.kind=off"
    );
    scratch.ok(&format!("{plain} --out plain"));
    let baseline = plain.replace("--recipe mlc-full-synthetic", "--recipe mlc-synthetic");
    let (kept, _) = baseline.split_once("--set model.mining.labels").unwrap();
    scratch.ok(&format!("{kept} --out baseline"));
    let log = |out: &str| std::fs::read(scratch.path(&format!("{out}/log.jsonl"))).unwrap();
    assert_eq!(log("plain"), log("baseline"));
}

#[test]
fn recipes_without_a_mining_branch_are_refused() {
    let scratch = scratch();
    let baseline = "mine --recipe mlc-synthetic --data-root set --out masks";
    let message = scratch.fails(baseline);
    assert!(message.contains("mlc-full"), "{message}");
    let elsewhere = SET.replace("--data-root set", "--data-root none");
    let message = scratch.fails(&format!("mine {elsewhere} --out masks"));
    assert!(message.contains("none"), "{message}");
    assert!(scratch.names("masks").is_empty());
}
