//! `fss data prepare`: from archives as unpacked to data sets.

mod common;

use std::fs;

use common::{Scratch, interrupt};
use fss_core::data::benchmark::OpenOptions;
use fss_core::data::{Benchmark, SegmentationDataset, Split};
use serde_json::{Value, json};

/// A mask of 64x64 pixels as SBD stores them.
const SBD_MASK: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../fss-data/src/prepare/mat/scipy.mat");

fn open(scratch: &Scratch, root: &str, benchmark: Benchmark, split: Split) -> SegmentationDataset {
    benchmark.open(&scratch.path(root), split, &OpenOptions::default()).unwrap()
}

fn names_all(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

/// The archives of VOC and SBD from generated images; `train_000003` has a mask in SBD alone.
fn voc_and_sbd() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok("data generate --out set --images 12 --val-images 6 --size 64");
    let voc = scratch.path("from/VOCdevkit/VOC2012");
    let sbd = scratch.path("from/benchmark_RELEASE/dataset");
    fs::create_dir_all(voc.join("ImageSets/Segmentation")).unwrap();
    fs::create_dir_all(sbd.join("cls")).unwrap();
    for folder in ["JPEGImages", "SegmentationClass"] {
        fs::rename(scratch.path("set").join(folder), voc.join(folder)).unwrap();
    }
    let [train, val] = ["train", "val"].map(|split| {
        let text = fs::read_to_string(scratch.path(&format!("set/ImageSets/{split}.txt"))).unwrap();
        fs::write(voc.join(format!("ImageSets/Segmentation/{split}.txt")), &text).unwrap();
        text
    });
    fs::write(sbd.join("train.txt"), train).unwrap();
    fs::write(sbd.join("val.txt"), val).unwrap();
    fs::remove_file(voc.join("SegmentationClass/train_000003.png")).unwrap();
    fs::copy(SBD_MASK, sbd.join("cls/train_000003.mat")).unwrap();
    scratch
}

#[test]
fn pascal() {
    let scratch = voc_and_sbd();
    let text = scratch.ok("data prepare pascal --from from --out out");
    names_all(
        &text,
        &["18 masks made, 0 kept", "18 linked", "10582", "splits/pascal/val/fold0.txt"],
    );
    let train = open(&scratch, "out", Benchmark::Pascal, Split::Train);
    assert_eq!(train.len(), 12);
    let sample = train.load(3).unwrap();
    assert_eq!((sample.id.as_str(), sample.mask[[45, 10]]), ("train_000003", 15));
    let text = scratch.ok("data prepare pascal --from from --out out");
    names_all(&text, &["0 masks made, 18 kept", "images: 18 kept"]);
    // What differs from the published data set is said, but it is no error.
    let output = scratch.fss("data prepare pascal --from from --out out").output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    names_all(&message, &["not the published data set", "12 VOC training images (published 1464)"]);
}

#[test]
fn bad_entries_are_refused_or_left_out() {
    let scratch = voc_and_sbd();
    let mat = scratch.path("from/benchmark_RELEASE/dataset/cls/train_000003.mat");
    let bytes = fs::read(&mat).unwrap();
    fs::write(&mat, &bytes[..bytes.len() / 2]).unwrap();
    let message = scratch.fails("data prepare pascal --from from --out out");
    names_all(&message, &["train_000003.mat", "unpack", "--skip-bad"]);
    assert!(!scratch.path("out/prepare-pascal.json").exists());

    let output =
        scratch.fss("data prepare pascal --from from --out out --skip-bad").output().unwrap();
    assert!(output.status.success());
    let message = String::from_utf8(output.stderr).unwrap();
    names_all(&message, &["1 bad entries were left out", "prepare-pascal-left-out.txt"]);
    let list = fs::read_to_string(scratch.path("out/prepare-pascal-left-out.txt")).unwrap();
    names_all(&list, &["train_000003.mat"]);
    assert_eq!(open(&scratch, "out", Benchmark::Pascal, Split::Train).len(), 11);

    for (arguments, words) in [
        ("pascal --from from/VOCdevkit --out new", ["SBD is missing", "benchmark.tgz"]),
        ("pascal --from from/benchmark_RELEASE --out new", ["VOC 2012 is missing", "VOCtrainval"]),
        (
            "coco --from from --out new",
            ["instances_train2014.json", "annotations_trainval2014.zip"],
        ),
        ("fss1000 --from from --out new", ["FSS-1000 is missing", "fewshot_data.zip"]),
        ("pascal --from absent --out new", ["absent", "no such folder"]),
    ] {
        names_all(&scratch.fails(&format!("data prepare {arguments}")), &words);
    }
    assert!(!scratch.path("new").exists());
}

#[test]
fn coco_masks_are_those_of_the_annotations() {
    let scratch = Scratch::new();
    scratch.ok("data generate --layout coco --out from --images 24 --size 48");
    let text = scratch.ok("data prepare coco --from from --out out --images copy");
    names_all(&text, &["40 masks made", "40 copied", "82783", "splits/coco/trn.txt"]);
    for split in Split::TRAIN_VAL {
        let drawn = open(&scratch, "from", Benchmark::Coco, split);
        let prepared = open(&scratch, "out", Benchmark::Coco, split);
        assert_eq!(prepared.class_names, drawn.class_names);
        // Images without an object are not listed.
        assert!(!prepared.is_empty() && prepared.len() <= drawn.len());
        let mut objects = 0;
        for position in 0..drawn.len() {
            let mask = drawn.load_mask(position).unwrap();
            let id = drawn.image_path(position);
            let id = id.file_stem().unwrap().to_str().unwrap().to_owned();
            match prepared.position(&id) {
                Ok(other) => {
                    assert_eq!(prepared.load(other).unwrap().mask, mask, "{id}");
                    objects += 1;
                }
                Err(_) => assert!(mask.iter().all(|&label| label == 0), "{id} is not listed"),
            }
        }
        assert_eq!(objects, prepared.len());
    }
}

#[test]
fn fss1000() {
    let scratch = Scratch::new();
    scratch.ok("data generate --layout fss1000 --out from --categories 3,1,2 --size 32");
    let text = scratch.ok("data prepare fss1000 --from from --out out --splits from");
    names_all(
        &text,
        &["60 masks made", "60 linked", "splits/fss/test.txt: NOT the published lists: 2 entries"],
    );
    let test = open(&scratch, "out", Benchmark::Fss1000, Split::Test);
    assert_eq!(test.len(), 20);
    test.load(19).unwrap();
    let message = scratch.fails("data prepare fss1000 --from from --out new --images skip");
    assert!(message.contains("link or copy"), "{message}");
}

/// An annotation file of large images with many objects, that takes its time.
#[cfg(unix)]
fn slow_coco(images: usize) -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path("from")).unwrap();
    for split in ["train", "val"] {
        let polygon = |seed: usize| -> Vec<f64> {
            (0..40)
                .flat_map(|corner| {
                    let turn = std::f64::consts::TAU * corner as f64 / 40.0;
                    let radius = 500.0 + 900.0 * (((corner * 7 + seed) % 5) as f64) / 5.0;
                    [1500.0 + radius * turn.cos(), 1500.0 + radius * turn.sin()]
                })
                .collect()
        };
        let file = json!({
            "images": (0..images).map(|i| json!({
                "id": i, "file_name": format!("{split}_{i}.jpg"), "width": 3000, "height": 3000,
            })).collect::<Vec<Value>>(),
            "categories": (1..=4).map(|i| json!({"id": i, "name": format!("c{i}")})).collect::<Vec<Value>>(),
            "annotations": (0..images * 20).map(|i| json!({
                "id": i, "image_id": i / 20, "category_id": 1 + i % 4, "iscrowd": 0,
                "segmentation": [polygon(i)],
            })).collect::<Vec<Value>>(),
        });
        fs::write(scratch.path(&format!("from/instances_{split}2014.json")), file.to_string())
            .unwrap();
    }
    scratch
}

#[cfg(unix)]
#[test]
fn interrupted_work_goes_on() {
    let scratch = slow_coco(150);
    let command = "--threads 1 data prepare coco --from from --out out --images skip";
    let mut child = scratch.spawn(command);
    // The first masks show that the work has begun.
    let masks = || -> Vec<String> {
        let of = |split: &str| scratch.names(&format!("out/COCO2014/annotations/{split}2014"));
        ["train", "val"].map(of).concat()
    };
    while masks().len() < 5 {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{message}");
    names_all(&message, &["done and kept", "run the same command again"]);
    assert!(masks().iter().all(|name| !name.starts_with('.')), "{:?}", masks());
    let done = masks().len();
    assert!((5..300).contains(&done), "{done} masks");

    let text = scratch.ok("data prepare coco --from from --out out --images skip");
    names_all(&text, &[&format!("{} masks made, {done} kept", 300 - done)]);
    let text = scratch.ok("data prepare coco --from from --out out --images skip");
    names_all(&text, &["0 masks made, 300 kept", "300 left where they are"]);
}

/// Files may grow to 1 KiB here, as on a disk that is nearly full.
#[cfg(unix)]
#[test]
fn a_full_disk_is_explained() {
    let scratch = slow_coco(4);
    let script = format!(
        "trap '' XFSZ; ulimit -f 2; exec {} data prepare coco --from from --out out --images skip",
        env!("CARGO_BIN_EXE_fss")
    );
    let output = std::process::Command::new("sh")
        .current_dir(scratch.path(""))
        .args(["-c", &script])
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    names_all(&message, &["cannot be written", "make room", "goes on from there"]);
    let left = scratch.names("out/COCO2014/annotations/train2014");
    assert!(left.is_empty(), "half-written files: {left:?}");
}
