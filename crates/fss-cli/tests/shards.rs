//! `fss eval --shard` and `fss merge`: several processes or devices give what one gives.

mod common;

use common::{Scratch, WIDTH};
use fss_core::backbone::Depth;
use serde_json::Value;

const EVAL: &str = "eval --weights weights.safetensors --backbone resnet18 --data-root set --fold 0 \
                    --seeds 0,1 --episodes 13 --min-pixels 64";

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok("data generate --out set --images 24 --val-images 80 --size 56..72 --seed 3");
    scratch.weights("weights.safetensors", Depth::R18, WIDTH);
    scratch
}

/// All but how often the backbone ran, which is more often the more processes there are.
fn scores(scratch: &Scratch, file: &str) -> Value {
    let mut value: Value =
        serde_json::from_slice(&std::fs::read(scratch.path(file)).unwrap()).unwrap();
    value.as_object_mut().unwrap().remove("features");
    value
}

/// The table up to the line on the backbone.
fn table(text: &str) -> &str {
    text.split("\nIoU in per cent").next().unwrap()
}

#[test]
fn processes_side_by_side_give_what_one_gives() {
    let scratch = scratch();
    for options in ["", "--protocol hsnet --shot 2", "--protocol denet --side 65 --ways 2"] {
        let eval = format!("{EVAL} {options}");
        let whole = scratch.ok(&format!("{eval} --json whole.json"));
        let shard = |i: usize| format!("{eval} --shard {i}/2 --json part-{i}.json");
        let mut other = scratch.spawn(&shard(1));
        let part = scratch.ok(&shard(0));
        assert!(part.contains("SHARD 0/2"), "{part}");
        assert!(other.wait().unwrap().success());
        let merged = scratch.ok("merge part-1.json part-0.json --json merged.json");
        assert_eq!(table(&merged), table(&whole), "{options}");
        assert_eq!(scores(&scratch, "merged.json"), scores(&scratch, "whole.json"), "{options}");
    }
}

#[test]
fn devices_give_what_one_gives() {
    let scratch = scratch();
    for options in ["", "--protocol denet --side 65 --ways 2 --save-panels 1 --panels pictures"] {
        let eval = format!("{EVAL} {options}");
        scratch.ok(&format!("{eval} --json one.json"));
        scratch.ok(&format!("--device cpu,cpu,cpu {eval} --json three.json"));
        assert_eq!(scores(&scratch, "three.json"), scores(&scratch, "one.json"), "{options}");
        // Both at once: devices share out the share of their process.
        for i in 0..2 {
            scratch.ok(&format!("--device cpu,cpu {eval} --shard {i}/2 --json part-{i}.json"));
        }
        scratch.ok("merge part-0.json part-1.json --json merged.json");
        assert_eq!(scores(&scratch, "merged.json"), scores(&scratch, "one.json"), "{options}");
    }
    // What goes wrong on every device is told once, as on one.
    let message = scratch.fails(&format!("--device cpu,cpu {EVAL} --shot 900"));
    assert!(message.contains("900"), "{message}");
}

#[test]
fn shards_that_do_not_belong_together_are_refused() {
    let scratch = scratch();
    for i in 0..2 {
        scratch.ok(&format!("{EVAL} --shard {i}/3 --json part-{i}.json"));
    }
    let other = EVAL.replace("--min-pixels 64", "--min-pixels 65");
    scratch.ok(&format!("{other} --shard 2/3 --json other.json"));
    scratch.ok(&format!("{EVAL} --protocol denet --side 65 --ways 2 --shard 2/3 --json ways.json"));
    std::fs::write(scratch.path("text.json"), "{\"a\": 1}").unwrap();
    std::fs::write(scratch.path("cut.json"), "{\"runs\": [").unwrap();
    for (files, words) in [
        ("part-0.json part-1.json", "missing: 2/3"),
        ("part-0.json", "missing: 1/3, 2/3"),
        ("part-0.json part-0.json part-1.json", "missing: 2/3"),
        ("part-0.json part-0.json part-1.json other.json", "0/3 is there twice"),
        ("part-0.json part-1.json other.json", "the smallest object that counts"),
        ("part-0.json part-1.json ways.json", "different protocols"),
        ("part-0.json part-1.json text.json", "text.json is no result"),
        ("part-0.json part-1.json cut.json", "cut.json is no result"),
        ("part-0.json part-1.json none.json", "none.json"),
    ] {
        let message = scratch.fails(&format!("merge {files}"));
        assert!(message.contains(words), "{files}: {message}");
    }
    for (options, words) in [
        ("--shard 3/3 --json a.json", "no shard 3/3"),
        ("--shard 1 --json a.json", "I/N"),
        ("--shard 1/2", "--json"),
    ] {
        let output = scratch.fss(&format!("{EVAL} {options}")).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(words), "{options}: {message}");
    }
}
