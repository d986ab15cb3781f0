//! `fss train`: a run that is stopped and continued ends with the same weights.

mod common;

use std::process::Child;
use std::time::{Duration, Instant};

use common::{Scratch, interrupt};

/// A run of a few seconds: 24 iterations, two validations.
const TRAIN: &str = "train --recipe ssp-synthetic --data-root set \
    --set backbone.width=8 --set episodes.total=48 --set episodes.snapshot=24 --set episodes.batch=2 \
    --set episodes.crop=65 --set data.min_pixels=64 --set validation.episodes=6 \
    --set evaluation.episodes=6 --set evaluation.seeds=[0,1] --set checkpoint.every=5";

/// A small generated set.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok("data generate --out set --images 40 --val-images 36 --size 56..80 --seed 3");
    scratch
}

fn bytes(scratch: &Scratch, file: &str) -> Vec<u8> {
    std::fs::read(scratch.path(file)).unwrap()
}

/// Starts a run and waits until its log has this many lines.
fn start(scratch: &Scratch, arguments: &str, out: &str, lines: usize) -> Child {
    let mut child = scratch.spawn(&format!("{arguments} --out {out}"));
    let log = scratch.path(&format!("{out}/log.jsonl"));
    let begin = Instant::now();
    while std::fs::read_to_string(&log).unwrap_or_default().lines().count() < lines {
        assert!(begin.elapsed() < Duration::from_secs(500), "the log does not grow");
        assert!(child.try_wait().unwrap().is_none(), "it ended before line {lines}");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

#[cfg(unix)]
#[test]
fn stopped_and_killed_runs_continue_to_the_same_bits() {
    let scratch = scratch();
    let table = scratch.ok(&format!("{TRAIN} --out whole"));
    assert!(table.contains("mean") && table.contains("official"), "{table}");
    let files = ["best.safetensors", "checkpoints", "evaluation.json", "log.jsonl", "recipe.toml"];
    assert_eq!(scratch.names("whole"), files);

    // Ctrl-C: a checkpoint is written, and the way on is named.
    let child = start(&scratch, TRAIN, "parts", 3);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("fss train --resume --out parts --data-root set"), "{message}");
    let left = scratch.names("parts");
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");

    // Killed without warning, between two checkpoints.
    let resume = "train --resume --data-root set";
    let mut child = start(&scratch, resume, "parts", 14);
    child.kill().unwrap();
    child.wait().unwrap();

    scratch.ok(&format!("{resume} --out parts"));
    for file in ["best.safetensors", "evaluation.json", "log.jsonl", "recipe.toml"] {
        assert_eq!(
            bytes(&scratch, &format!("parts/{file}")),
            bytes(&scratch, &format!("whole/{file}")),
            "{file} differs"
        );
    }

    // What was trained can be inspected, evaluated and used.
    let text = scratch.ok("weights inspect whole/best.safetensors");
    assert!(text.contains("resnet18 of width 8") && text.contains("fss.fold = 0"), "{text}");
    let eval = "eval --refine --weights whole/best.safetensors --backbone resnet18 --data-root set \
                --seeds 0,1 --episodes 6 --min-pixels 64";
    assert_eq!(scratch.ok(&format!("{eval} --fold 0")), table);
    let message = scratch.fails(&format!("{eval} --fold 1"));
    assert!(
        message.contains("5 of the 5 classes") && message.contains("fold 0 of 20"),
        "{message}"
    );
    let text = scratch.ok(&format!("{eval} --fold 1 --allow-fold-mismatch"));
    assert!(text.contains("WARNING: 5 of the 5 classes"), "{text}");
}

#[test]
fn runs_are_not_mixed_up() {
    let scratch = scratch();
    let short =
        TRAIN.replace("episodes.total=48", "episodes.total=4").replace("snapshot=24", "snapshot=4");
    scratch.ok(&format!("{short} --out run"));
    let message = scratch.fails(&format!("{short} --out run"));
    assert!(message.contains("resume it, or start in another folder"), "{message}");
    let message = scratch.fails(&format!("{short} --out run --resume --set optim.lr=0.5"));
    assert!(message.contains("`optim.lr`"), "{message}");
    let message = scratch.fails(&format!("{short} --out other --resume"));
    assert!(message.contains("no checkpoint"), "{message}");
}

#[test]
fn recipes_are_listed_shown_and_checked() {
    let scratch = Scratch::new();
    let list = scratch.ok("train --list");
    for name in ["mlc-coco", "mlc-pascal", "mlc-synthetic", "ssp-pascal", "ssp-synthetic"] {
        assert!(list.lines().any(|line| line == name), "{list}");
    }
    let shown = scratch.ok("train --recipe ssp-pascal --set data.fold=2 --show");
    std::fs::write(scratch.path("mine.toml"), &shown).unwrap();
    assert_eq!(scratch.ok("train --recipe mine.toml --show"), shown);
    assert!(shown.contains("fold = 2"), "{shown}");
    for (arguments, expected) in [
        ("train --recipe none --show", "ssp-pascal"),
        ("train --recipe ssp-pascal --set data.fold=7 --show", "folds are numbered"),
        ("train --recipe ssp-pascal --set optim.rate=7 --show", "rate"),
        ("train --recipe ssp-pascal --data-root none --out run", "none"),
    ] {
        let message = scratch.fails(arguments);
        assert!(message.contains(expected), "{message}");
    }
    assert!(scratch.names("run").is_empty());
    for arguments in ["train", "train --recipe ssp-pascal", "train --list --show"] {
        assert_eq!(scratch.fss(arguments).output().unwrap().status.code(), Some(2), "{arguments}");
    }
}

#[test]
fn mlc_is_trained_saved_under_its_own_names_and_used() {
    let scratch = scratch();
    let train = TRAIN.replace("ssp-synthetic", "mlc-synthetic");
    let table = scratch.ok(&format!("{train} --out run"));
    let text = scratch.ok("weights inspect run/best.safetensors");
    for words in ["backbone.conv1.0.weight", "keys      mlc", "fss.model = mlc", "resnet18"] {
        assert!(text.contains(words), "{words:?} is missing in: {text}");
    }
    // Method and backbone are known from the file.
    let eval = "eval --weights run/best.safetensors --data-root set --fold 0 --seeds 0,1 \
                --episodes 6 --min-pixels 64";
    assert_eq!(scratch.ok(eval), table);
    assert_eq!(scratch.ok(&format!("{eval} --model mlc --backbone resnet18")), table);
    let output = scratch.fss(&format!("{eval} --model ssp")).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && message.contains("--model mlc"), "{message}");
    assert_ne!(String::from_utf8(output.stdout).unwrap(), table);

    // The same file as a PyTorch checkpoint of SSP's code would have it.
    scratch.ok("weights convert run/best.safetensors ssp.safetensors --keys ssp");
    let text = scratch.ok("weights inspect ssp.safetensors");
    assert!(text.contains("layer0.0.0.weight"), "{text}");
    let converted = eval.replace("run/best", "ssp");
    assert_eq!(scratch.ok(&format!("{converted} --model mlc")), table);
}
