//! Bad input: a message that says what, where and what to do; exit code 1; nothing half-written.

mod common;

use common::{Scratch, WIDTH, official};
use fss_core::backbone::Depth;

const SUPPORT: &str = "--support support.jpg:support.png";
const REST: &str = "--query queries/a.jpg --out out";

/// Runs `fss predict`, which must fail without a result and name all of `expected`.
fn refused(scratch: &Scratch, arguments: &str, expected: &[&str]) {
    let message = scratch.fails(&format!("predict {arguments}"));
    for words in expected {
        assert!(message.contains(words), "{words:?} is missing in: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
    assert!(scratch.names("out").is_empty(), "{:?}", scratch.names("out"));
}

#[test]
fn files_that_are_not_there() {
    let scratch = Scratch::with_images();
    let weights = "--weights weights.safetensors";
    refused(&scratch, &format!("--weights none.pth {SUPPORT} {REST}"), &["none.pth"]);
    refused(
        &scratch,
        &format!("{weights} --support support.jpg:none.png {REST}"),
        &["no mask file none.png"],
    );
    refused(
        &scratch,
        &format!("{weights} --support none.jpg:support.png {REST}"),
        &["no image file none.jpg"],
    );
    refused(
        &scratch,
        &format!("{weights} {SUPPORT} --query none.jpg --out out"),
        &["none.jpg", "No such file"],
    );
    refused(&scratch, &format!("{weights} --support cat.jpg {REST}"), &["a colon between them"]);
}

#[test]
fn masks_that_cannot_be_learnt_from() {
    let scratch = Scratch::with_images();
    scratch.flat_mask("small.png", [10, 10], 1);
    scratch.flat_mask("empty.png", [64, 56], 0);
    scratch.flat_mask("ignored.png", [64, 56], 255);
    scratch.mask("seven.png", [64, 56], 7);
    for (mask, options, expected) in [
        ("small.png", "", ["small.png", "10x10", "64x56"]),
        ("empty.png", "", ["empty.png", "no foreground", "mark the object"]),
        ("ignored.png", "", ["ignored.png", "ignored (255)", "mark the object"]),
        ("seven.png", "--class 3", ["seven.png", "no pixel of class 3", "label 7"]),
        ("support.jpg", "", ["support.jpg", "JPEG", "PNG"]),
    ] {
        let support = format!("--support support.jpg:{mask}");
        refused(
            &scratch,
            &format!("--weights weights.safetensors {support} {options} {REST}"),
            &expected,
        );
    }
}

#[test]
fn weights_that_do_not_fit() {
    let scratch = Scratch::with_images();
    let tensors = official(Depth::R50, WIDTH);
    fss_support::pth::write_pth(&scratch.path("whole.pth"), &tensors);
    let whole = std::fs::read(scratch.path("whole.pth")).unwrap();
    std::fs::write(scratch.path("truncated.pth"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(scratch.path("empty.pth"), b"").unwrap();
    std::fs::write(scratch.path("page.pth"), b"<!doctype html><title>404</title>").unwrap();
    let foreign = vec![("encoder.weight".to_owned(), vec![2, 3], vec![0.5; 6])];
    fss_support::pth::write_pth(&scratch.path("foreign.pth"), &foreign);
    let mut hole = tensors.clone();
    hole.remove(3);
    let removed = tensors[3].0.clone();
    fss_support::pth::write_pth(&scratch.path("hole.pth"), &hole);
    scratch.weights("deeper.safetensors", Depth::R101, WIDTH);
    for (file, expected) in [
        ("truncated.pth", vec!["truncated.pth", "truncated", "again"]),
        ("empty.pth", vec!["empty.pth", "0 bytes"]),
        ("page.pth", vec!["page.pth", "not a weight file"]),
        ("foreign.pth", vec!["foreign.pth", "missing", "encoder.weight"]),
        ("hole.pth", vec!["hole.pth", removed.as_str()]),
        (
            "deeper.safetensors --backbone resnet50",
            vec!["deeper.safetensors", "resnet101", "resnet50"],
        ),
    ] {
        refused(&scratch, &format!("--weights {file} {SUPPORT} {REST}"), &expected);
    }
}

#[test]
fn one_broken_query_does_not_stop_the_others() {
    let scratch = Scratch::with_images();
    std::fs::write(scratch.path("queries/aa.jpg"), b"no image at all").unwrap();
    let good = std::fs::read(scratch.path("queries/a.jpg")).unwrap();
    std::fs::write(scratch.path("queries/ab.jpg"), &good[..good.len() / 2]).unwrap();
    std::fs::write(scratch.path("queries/notes.txt"), b"").unwrap();
    let message = scratch.fails(&format!(
        "predict --weights weights.safetensors {SUPPORT} --query queries --out out --save mask"
    ));
    for words in ["aa.jpg", "ab.jpg", "2 of 4 queries failed", "notes.txt"] {
        assert!(message.contains(words), "{words:?} is missing in: {message}");
    }
    assert_eq!(scratch.names("out"), ["a.mask.png", "b.mask.png"]);
}

#[test]
fn queries_of_one_stem_are_refused_before_the_work() {
    let scratch = Scratch::with_images();
    scratch.image("queries/a.png", [20, 20], 1);
    refused(
        &scratch,
        &format!("--weights weights.safetensors {SUPPORT} --query queries --out out"),
        &["a.jpg and a.png", "rename"],
    );
}

#[test]
fn a_place_that_cannot_be_written() {
    let scratch = Scratch::with_images();
    std::fs::write(scratch.path("file"), b"").unwrap();
    let message = scratch.fails(&format!(
        "predict --weights weights.safetensors {SUPPORT} --query queries --out file/out"
    ));
    assert!(message.contains("file/out"), "{message}");
}

/// Files may grow to 1 KiB here, as on a disk that is nearly full.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let scratch = Scratch::with_images();
    let script = format!(
        "trap '' XFSZ; ulimit -f 2; exec {} predict --weights weights.safetensors {SUPPORT} \
         --query queries --out out --save mask,overlay,logits",
        env!("CARGO_BIN_EXE_fss")
    );
    let output = std::process::Command::new("sh")
        .current_dir(scratch.path(""))
        .args(["-c", &script])
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("cannot write") && message.contains("a.logits.npy"), "{message}");
    assert!(scratch.names("out").is_empty(), "{:?}", scratch.names("out"));
}

#[test]
fn devices_and_usage() {
    let scratch = Scratch::with_images();
    let weights = "--weights weights.safetensors";
    refused(&scratch, &format!("--device gpu {weights} {SUPPORT} {REST}"), &["\"gpu\"", "cuda"]);
    refused(&scratch, &format!("--max-side 0 {weights} {SUPPORT} {REST}"), &["longest side"]);
    let option = "--class 255";
    refused(
        &scratch,
        &format!("{weights} {SUPPORT} {option} {REST}"),
        &["--class 255", "1 to 254"],
    );
    for arguments in [
        "predict",
        "predict --weights w --support a:b --query q --out o --save pictures",
        "predict --weights w --support a:b --support-set c --query q --out o",
        "predict --weights w --support a:b --shots 3 --query q --out o",
        "predict --weights w --support a:b --query q --out o --backbone resnet51",
        "frobnicate",
        "--threads 0 train --list",
    ] {
        let output = scratch.fss(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}");
    }
}
