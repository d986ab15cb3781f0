//! `fss data` and `fss weights`.

mod common;

use common::{Scratch, WIDTH, interrupt, official};
use fss_core::backbone::Depth;

#[test]
fn generated_sets_are_equal_and_sound() {
    let scratch = Scratch::new();
    let generate = "data generate --images 80 --val-images 80 --size 64 --seed 5 --out";
    scratch.ok(&format!("{generate} one"));
    scratch.ok(&format!("--threads 1 {generate} two"));
    for folder in ["JPEGImages", "SegmentationClass", "ImageSets"] {
        let names = scratch.names(&format!("one/{folder}"));
        assert_eq!(names, scratch.names(&format!("two/{folder}")));
        for name in names {
            let read =
                |set: &str| std::fs::read(scratch.path(&format!("{set}/{folder}/{name}"))).unwrap();
            assert_eq!(read("one"), read("two"), "{folder}/{name}");
        }
    }
    assert!(scratch.ok(&format!("{generate} one")).contains("was there already"));

    let table = scratch.ok("data check --data-root one --dataset pascal --min-pixels 40 --shots 1");
    for words in ["fold", "train", "val", "1-5", "16-20", "1-shot queries", "too small"] {
        assert!(table.contains(words), "{words:?} is missing in: {table}");
    }
}

#[test]
fn other_layouts_are_generated() {
    let scratch = Scratch::new();
    let text = scratch.ok("data generate --layout coco --out coco --images 30 --size 48");
    assert!(text.contains("30 training and 20 validation images"), "{text}");
    assert_eq!(scratch.names("coco/val2014").len(), 20);
    let text = scratch.ok("data generate --layout fss1000 --out fss --categories 3,1,2 --size 48");
    assert!(text.contains("30 training, 10 validation and 20 test images"), "{text}");
    assert_eq!(scratch.names("fss/FSS-1000").len(), 6);
    for (arguments, expected) in [
        ("--layout fss1000 --images 30", "--categories"),
        ("--layout fss1000 --size 48..64", "one number"),
        ("--layout coco --categories 3,1,2", "--images"),
    ] {
        let message = scratch.fails(&format!("data generate --out new {arguments}"));
        assert!(message.contains(expected), "{message}");
        assert!(!scratch.path("new").exists());
    }
}

#[test]
fn all_benchmarks_are_checked() {
    let scratch = Scratch::new();
    scratch.ok("data generate --layout coco --out coco --images 400 --val-images 300 --size 48");
    let check = "data check --data-root coco --dataset coco --min-pixels 1 --shots 1";
    let output = scratch.ok(&format!("{check} --folds interleaved --split val"));
    for words in ["80 classes", "drawn from", "val", "pairs", "NOT the published lists"] {
        assert!(output.contains(words), "{words:?} is missing in: {output}");
    }
    let output = scratch.ok(check);
    assert!(output.contains("3 contiguous") && output.contains("3 interleaved"), "{output}");

    scratch.ok("data generate --layout fss1000 --out fss --categories 3,2,2 --size 48");
    let output = scratch.ok("data check --data-root fss --dataset fss1000");
    for words in ["3 for training, 2 for validation, 2 for testing", "6-7", "20 pairs"] {
        assert!(output.contains(words), "{words:?} is missing in: {output}");
    }
    let message = scratch.fails("data check --data-root fss --dataset coco");
    assert!(message.contains("not a COCO tree") && message.contains("JPEGImages"), "{message}");
    let message = scratch.fails("data check --data-root fss --dataset fss1000 --splits coco");
    assert!(message.contains("no lists of FSS-1000"), "{message}");
}

#[test]
fn problems_of_a_set_are_found() {
    let scratch = Scratch::new();
    scratch.ok("data generate --out set --images 80 --val-images 80 --size 64 --seed 5");
    let check = "data check --data-root set --min-pixels 40 --shots 1";
    std::fs::remove_file(scratch.path("set/JPEGImages/val_000003.jpg")).unwrap();
    std::fs::write(scratch.path("set/SegmentationClass/train_000002.png"), b"x").unwrap();
    scratch.flat_mask("set/SegmentationClass/train_000004.png", [9, 9], 1);
    let message = scratch.fails(check);
    for words in ["val_000003.jpg", "train_000002.png", "train_000004.png", "problems were found"] {
        assert!(message.contains(words), "{words:?} is missing in: {message}");
    }
    let message = scratch.fails("data check --data-root nowhere");
    assert!(message.contains("nowhere"), "{message}");
    let message = scratch.fails("data generate --out set --images 3");
    assert!(message.contains("another configuration"), "{message}");
    let message = scratch.fails("data generate --out new --size 4");
    assert!(message.contains("side"), "{message}");
    assert!(!scratch.path("new").exists());
}

#[test]
fn weights_are_inspected_and_converted() {
    let scratch = Scratch::new();
    fss_support::pth::write_pth(&scratch.path("a.pth"), &official(Depth::R18, WIDTH));
    let text = scratch.ok("weights inspect a.pth");
    for words in
        ["PyTorch (zip)", "resnet18 of width 8", "ssp", "layer1.0.conv1.weight", "[8, 3, 3, 3]"]
    {
        assert!(text.contains(words), "{words:?} is missing in: {text}");
    }
    scratch.ok("weights convert a.pth b.safetensors");
    scratch.ok("weights convert b.safetensors c.bpk");
    scratch.ok("weights convert c.bpk d.safetensors");
    let read = |file: &str| std::fs::read(scratch.path(file)).unwrap();
    assert_eq!(read("b.safetensors"), read("d.safetensors"));
    let bytes = read("b.safetensors");
    let stored = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (key, shape, values) in official(Depth::R18, WIDTH) {
        let tensor = stored.tensor(&key).unwrap();
        assert_eq!(tensor.shape(), shape, "{key}");
        if !key.ends_with("num_batches_tracked") {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert_eq!(tensor.data(), bytes, "{key}");
        }
    }
    let text = scratch.ok("weights inspect b.safetensors");
    assert!(text.contains("metadata  fss.width = 8"), "{text}");
    scratch.ok("weights convert a.pth e.safetensors --keys mlc");
    assert!(scratch.ok("weights inspect e.safetensors").contains("backbone.bn1.weight"));

    for (arguments, expected) in [
        ("weights convert a.pth a.onnx", ".safetensors or .bpk"),
        ("weights convert a.pth none/a.bpk", "none/a.bpk"),
        ("weights inspect none.pth", "none.pth"),
    ] {
        let message = scratch.fails(arguments);
        assert!(message.contains(expected), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_set_leaves_nothing() {
    let scratch = Scratch::new();
    let mut child = scratch.spawn("data generate --out set --images 200000");
    // A folder beside the set's place shows that Ctrl-C is watched and drawing has begun.
    while scratch.names("").is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("nothing was kept"), "{message}");
    assert!(scratch.names("").is_empty(), "{:?}", scratch.names(""));
}
