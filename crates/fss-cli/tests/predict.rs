//! `fss predict`: what it writes.

mod common;

use std::time::{Duration, Instant};

use common::{Scratch, WIDTH, interrupt, official};
use fss_core::backbone::{Depth, KeyStyle};
use fss_core::data;
use ndarray::{Array2, Array3};

const PREDICT: &str = "predict --weights weights.safetensors --support support.jpg:support.png";

fn logits(scratch: &Scratch, file: &str) -> Array3<f32> {
    ndarray_npy::read_npy(scratch.path(file)).unwrap()
}

fn argmax(logits: &Array3<f32>) -> Array2<u8> {
    let (_, height, width) = logits.dim();
    Array2::from_shape_fn((height, width), |(y, x)| u8::from(logits[[1, y, x]] > logits[[0, y, x]]))
}

#[test]
fn every_query_gives_all_files_at_its_own_size() {
    let scratch = Scratch::with_images();
    let text = scratch.ok(&format!(
        "{PREDICT} --query queries --out out/deep --save mask,overlay,logits --refine"
    ));
    assert!(text.contains("a.jpg: ") && text.contains("b.png: "), "{text}");
    for (stem, source, width, height) in [("a", "a.jpg", 64, 48), ("b", "b.png", 41, 67)] {
        let logits = logits(&scratch, &format!("out/deep/{stem}.logits.npy"));
        assert_eq!(logits.dim(), (2, height, width));
        assert!(logits.iter().all(|value| value.is_finite()));
        let mask_file = scratch.path(&format!("out/deep/{stem}.mask.png"));
        assert_eq!(data::io::read_mask(&mask_file).unwrap(), argmax(&logits));
        // Colour type 3: a palette; 8 bits.
        assert_eq!(std::fs::read(&mask_file).unwrap()[24..26], [8, 3]);
        let overlay =
            data::io::read_image(&scratch.path(&format!("out/deep/{stem}.overlay.png"))).unwrap();
        assert_eq!(overlay.dimensions(), (width as u32, height as u32));
        let query = data::io::read_image(&scratch.path(&format!("queries/{source}"))).unwrap();
        let touched = overlay.pixels().zip(query.pixels()).filter(|(a, b)| a != b).count();
        assert!(touched > 0, "nothing is drawn over {source}");
    }
    assert_eq!(scratch.names("out/deep").len(), 6, "{:?}", scratch.names("out/deep"));
}

#[test]
fn official_pth_in_the_published_size() {
    let scratch = Scratch::with_images();
    fss_support::pth::write_pth(&scratch.path("official.pth"), &official(Depth::R50, 64));
    scratch.ok("predict --model ssp --backbone resnet50 --refine --weights official.pth \
         --support support.jpg:support.png --query queries/a.jpg --out out --save mask,logits");
    let logits = logits(&scratch, "out/a.logits.npy");
    assert_eq!(logits.dim(), (2, 48, 64));
    let mask = data::io::read_mask(&scratch.path("out/a.mask.png")).unwrap();
    assert_eq!(mask, argmax(&logits));
    assert_eq!(scratch.names("out"), ["a.logits.npy", "a.mask.png"]);
}

#[test]
fn mlc_runs_official_weights_under_either_name() {
    let scratch = Scratch::with_images();
    fss_support::pth::write_pth(&scratch.path("ssp.pth"), &official(Depth::R50, WIDTH));
    let mlc: Vec<_> = official(Depth::R50, WIDTH)
        .into_iter()
        .map(|(key, shape, values)| (KeyStyle::Mlc.spell(&key), shape, values))
        .collect();
    fss_support::pth::write_pth(&scratch.path("mlc.pth"), &mlc);
    let run = |model: &str, weights: &str, out: &str| {
        scratch.ok(&format!(
            "predict --model {model} --weights {weights}.pth --support support.jpg:support.png \
             --query queries/a.jpg --out {out} --save mask,logits"
        ));
        logits(&scratch, &format!("{out}/a.logits.npy"))
    };
    let found = run("mlc", "mlc", "one");
    assert_eq!(found.dim(), (2, 48, 64));
    // Ten times a cosine.
    assert!(found.iter().all(|value| value.abs() <= 10.001));
    assert_eq!(data::io::read_mask(&scratch.path("one/a.mask.png")).unwrap(), argmax(&found));
    assert_eq!(found, run("mlc", "ssp", "two"));
    assert_ne!(found, run("ssp", "mlc", "three"));
    let message = scratch.fails(
        "predict --model mlc --refine --weights mlc.pth --support support.jpg:support.png \
         --query queries/a.jpg --out four",
    );
    assert!(message.contains("--refine belongs to SSP"), "{message}");
}

#[test]
fn several_supports_change_the_result_and_labels_choose_the_object() {
    let scratch = Scratch::with_images();
    scratch.support("other", [50, 50], 7);
    let run = |options: &str, out: &str| {
        scratch.ok(&format!("{PREDICT} {options} --query queries/a.jpg --out {out} --save logits"));
        logits(&scratch, &format!("{out}/a.logits.npy"))
    };
    let one = run("", "one");
    let two = run("--support other.jpg:other.png", "two");
    assert_ne!(one, two);
    assert_eq!(one, run("--class 1", "class"));
}

#[test]
fn a_colon_in_a_file_name() {
    let scratch = Scratch::with_images();
    scratch.support("sup:port", [64, 56], 1);
    scratch.ok("predict --weights weights.safetensors --support sup:port.jpg:sup:port.png \
         --query queries/a.jpg --out out");
    assert_eq!(scratch.names("out"), ["a.mask.png", "a.overlay.png"]);
}

#[test]
fn sizes_from_one_pixel_to_large() {
    let scratch = Scratch::with_images();
    std::fs::create_dir(scratch.path("odd")).unwrap();
    scratch.image("odd/dot.png", [1, 1], 4);
    scratch.image("odd/line.png", [1, 90], 4);
    scratch.image("odd/large.jpg", [3000, 2000], 4);
    scratch.ok(&format!("{PREDICT} --query odd --out out --max-side 200 --save mask,logits"));
    for (stem, size) in [("dot", (1, 1)), ("line", (90, 1)), ("large", (2000, 3000))] {
        let mask = data::io::read_mask(&scratch.path(&format!("out/{stem}.mask.png"))).unwrap();
        assert_eq!(mask.dim(), size, "{stem}");
    }
    let logits = logits(&scratch, "out/large.logits.npy");
    assert_eq!(logits.dim(), (2, 2000, 3000));
}

#[test]
fn width_and_backbone_can_be_named() {
    let scratch = Scratch::with_images();
    scratch.weights("small.safetensors", Depth::R18, WIDTH);
    let text = "--support support.jpg:support.png --query queries/a.jpg --out out";
    scratch
        .ok(&format!("predict --weights small.safetensors --backbone resnet18 --width 8 {text}"));
    let message = scratch.fails(&format!("predict --weights small.safetensors --width 16 {text}"));
    assert!(message.contains("resnet18 of width 8"), "{message}");
}

#[test]
fn skip_done_goes_on_where_a_run_ended() {
    let scratch = Scratch::with_images();
    let run = |options: &str| scratch.ok(&format!("{PREDICT} --out out {options}"));
    run("--query queries/a.jpg");
    let before = std::fs::metadata(scratch.path("out/a.mask.png")).unwrap().modified().unwrap();
    let text = run("--query queries --skip-done");
    assert!(!text.contains("a.jpg") && text.contains("b.png"), "{text}");
    let after = std::fs::metadata(scratch.path("out/a.mask.png")).unwrap().modified().unwrap();
    assert_eq!(before, after);
    assert_eq!(scratch.names("out").len(), 4);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_in_good_order_and_a_further_run_goes_on() {
    let scratch = Scratch::with_images();
    for number in 0..60 {
        scratch.image(&format!("queries/q{number:02}.png"), [300, 200], number);
    }
    let arguments = format!("{PREDICT} --query queries --out out --save mask,logits");
    let mut child = scratch.spawn(&arguments);
    // Interrupt as soon as there is a first result.
    let start = Instant::now();
    while !scratch.path("out/a.mask.png").exists() {
        assert!(start.elapsed() < Duration::from_secs(300), "no result appears");
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(Duration::from_millis(2));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(
        message.contains("of 62 queries are done") && message.contains("--skip-done"),
        "{message}"
    );
    let names = scratch.names("out");
    assert!(names.len() < 124 && names.len().is_multiple_of(2), "{names:?}");
    assert!(
        names.iter().all(|n| n.ends_with(".mask.png") || n.ends_with(".logits.npy")),
        "{names:?}"
    );

    scratch.ok(&format!("{arguments} --skip-done"));
    assert_eq!(scratch.names("out").len(), 124);
}
