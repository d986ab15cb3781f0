//! Data sets of one's own: the same pictures in every form give the same results.

mod common;

use common::{Scratch, WIDTH};
use fss_core::backbone::Depth;
use fss_core::data;
use fss_core::data::annotations::Rle;
use ndarray::{Array2, Array3};
use serde_json::json;

const PREDICT: &str = "predict --weights weights.safetensors --backbone resnet18 \
                       --query query.jpg --out";
const SIZE: [u32; 2] = [48, 40];

/// Class folders of `disc` (a, b) and `edge` (c), weights and a query.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.weights("weights.safetensors", Depth::R18, WIDTH);
    scratch.image("query.jpg", [52, 44], 9);
    for (class, stem, size, label) in
        [("disc", "a", SIZE, 1), ("disc", "b", [64, 60], 200), ("edge", "c", SIZE, 255)]
    {
        for folder in ["images", "masks"] {
            std::fs::create_dir_all(scratch.path(&format!("set/{class}/{folder}"))).unwrap();
        }
        scratch.image(&format!("set/{class}/images/{stem}.jpg"), size, 3);
        pixels(&scratch, &format!("set/{class}/masks/{stem}.png"), size, label);
    }
    scratch
}

/// The disc of [`Scratch::mask`] without the ignored line.
fn pixels(scratch: &Scratch, file: &str, size: [u32; 2], label: u8) -> Array2<u8> {
    scratch.mask("tmp.png", size, 7);
    let drawn = data::io::read_mask(&scratch.path("tmp.png")).unwrap();
    let mask = drawn.mapv(|value| if value == 7 { label } else { 0 });
    data::io::write_grey_mask(&scratch.path(file), &mask).unwrap();
    mask
}

/// The logits of the query after some supports.
fn logits(scratch: &Scratch, supports: &str, out: &str) -> Array3<f32> {
    scratch.ok(&format!("{PREDICT} {out} --save logits {supports}"));
    ndarray_npy::read_npy(scratch.path(&format!("{out}/query.logits.npy"))).unwrap()
}

#[test]
fn all_forms_give_the_result_of_single_files() {
    let scratch = scratch();
    let mask = pixels(&scratch, "one.png", SIZE, 1);
    let expected = logits(&scratch, "--support set/disc/images/a.jpg:one.png", "single");

    let folders = "--support-set set --class disc";
    // Of the two, b has the larger object.
    assert_ne!(logits(&scratch, &format!("{folders} --shots 1"), "largest"), expected);
    let both = logits(&scratch, folders, "both");
    assert_ne!(both, expected);
    pixels(&scratch, "other.png", [64, 60], 1);
    let pairs = "--support set/disc/images/b.jpg:other.png --support set/disc/images/a.jpg:one.png";
    assert_eq!(logits(&scratch, pairs, "pairs"), both);

    let table = "image;mask;class\nset\\disc\\images\\a.jpg;set/disc/masks/a.png;disc\n\
                 set/edge/images/c.jpg;set/edge/masks/c.png;edge\n";
    std::fs::write(scratch.path("table.csv"), table).unwrap();
    assert_eq!(logits(&scratch, "--support-set table.csv --class disc", "table"), expected);

    let rle = Rle::from_mask(mask.view()).unwrap();
    let coco = json!({
        "images": [{"id": 3, "file_name": "a.jpg", "width": SIZE[0], "height": SIZE[1]}],
        "categories": [{"id": 12, "name": "disc"}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 12, "iscrowd": 1,
                         "segmentation": {"size": [SIZE[1], SIZE[0]], "counts": rle.to_compressed()}}]
    });
    std::fs::write(scratch.path("coco.json"), coco.to_string()).unwrap();
    let supports = "--support-set coco.json --images set/disc/images";
    assert_eq!(logits(&scratch, supports, "coco"), expected);

    // A square, in LabelMe and as a mask.
    std::fs::create_dir(scratch.path("labelme")).unwrap();
    let labelme = json!({
        "shapes": [{"label": "square", "shape_type": "rectangle", "points": [[9, 8], [30, 31]]}],
        "imagePath": "../set/disc/images/a.jpg", "imageData": null
    });
    std::fs::write(scratch.path("labelme/a.json"), labelme.to_string()).unwrap();
    let square = Array2::from_shape_fn((40, 48), |(y, x)| {
        u8::from((8..31).contains(&y) && (9..30).contains(&x))
    });
    data::io::write_mask(&scratch.path("square.png"), &square).unwrap();
    assert_eq!(
        logits(&scratch, "--support-set labelme", "labelme"),
        logits(&scratch, "--support set/disc/images/a.jpg:square.png", "square")
    );
}

#[test]
fn values_of_masks_can_be_named() {
    let scratch = scratch();
    scratch.mask("set/disc/masks/a.png", SIZE, 3);
    scratch.mask("one.png", SIZE, 1);
    let expected = logits(&scratch, "--support set/disc/images/a.jpg:one.png", "single");
    std::fs::remove_file(scratch.path("set/disc/images/b.jpg")).unwrap();
    std::fs::remove_file(scratch.path("set/disc/masks/b.png")).unwrap();
    let run = |options: &str, out: &str| {
        logits(&scratch, &format!("--support-set set/disc {options}"), out)
    };
    // 255 is an object unless something else is said.
    assert_ne!(run("", "plain"), expected);
    assert_eq!(run("--ignore-value 255", "ignore"), expected);
    assert_eq!(run("--ignore-value 255 --mask-value 3", "value"), expected);
    let message = scratch.fails(&format!("{PREDICT} out --support-set set/disc --mask-value 4"));
    assert!(message.contains("no image of set") || message.contains("no foreground"), "{message}");
}

#[test]
fn bad_sets_are_explained() {
    let scratch = scratch();
    std::fs::write(scratch.path("set.zip"), b"PK").unwrap();
    std::fs::create_dir(scratch.path("nothing")).unwrap();
    std::fs::write(scratch.path("t.csv"), "image,mask,class\nno.jpg,no.png,cat\n").unwrap();
    std::fs::write(scratch.path("cut.json"), r#"{"images": [{"id""#).unwrap();
    for (options, words) in [
        ("--support-set set", &["2 classes", "disc, edge"][..]),
        ("--support-set set --class cat", &["\"cat\"", "disc, edge"]),
        ("--support-set set --class disc --shots 3", &["only 2", "1 to 2"]),
        ("--support-set set.zip", &["unpack"]),
        ("--support-set nothing", &["nothing", "<class>/images"]),
        ("--support-set absent", &["absent"]),
        ("--support-set t.csv", &["t.csv: line 2", "no.jpg", "skip bad entries"]),
        ("--support-set t.csv --skip-bad", &["no annotated image is left", "1 entries"]),
        ("--support-set cut.json", &["cut.json", "line 1"]),
        ("--support query.jpg:query.jpg --skip-bad", &["--support-set"]),
    ] {
        let message = scratch.fails(&format!("{PREDICT} out {options}"));
        for word in words {
            assert!(message.contains(word), "{options}: {word:?} is missing in {message}");
        }
        assert!(!message.contains("panicked"), "{message}");
    }
    std::fs::write(scratch.path("set/disc/masks/b.png"), b"broken").unwrap();
    let run = scratch
        .fss(&format!("{PREDICT} out --support-set set --class disc --skip-bad"))
        .output()
        .unwrap();
    let message = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{message}");
    assert!(message.contains("left out") && message.contains("b.png"), "{message}");
    assert!(message.contains("1 supports of disc"), "{message}");
}

/// Four classes of six images in the folder `set`.
fn animals() -> Scratch {
    let scratch = Scratch::new();
    scratch.weights("weights.safetensors", Depth::R18, WIDTH);
    for class in ["ant", "bee", "cat", "dog"] {
        for folder in ["images", "masks"] {
            std::fs::create_dir_all(scratch.path(&format!("set/{class}/{folder}"))).unwrap();
        }
        for number in 0..6 {
            let size = [52 + 3 * number, 60];
            scratch.image(&format!("set/{class}/images/{number}.jpg"), size, number);
            pixels(&scratch, &format!("set/{class}/masks/{number}.png"), size, 255);
        }
    }
    scratch
}

const EVAL: &str = "eval --weights weights.safetensors --backbone resnet18 --dataset own \
                    --data-root set --seeds 0 --episodes 12";

#[test]
fn evaluation_draws_from_the_novel_classes() {
    let scratch = animals();
    let classes = |options: &str| {
        let table = scratch.ok(&format!("{EVAL} {options} --json scores.json"));
        let text = std::fs::read_to_string(scratch.path("scores.json")).unwrap();
        let scores: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut drawn: Vec<u64> = scores["runs"][0]["drawn"]
            .as_array()
            .unwrap()
            .iter()
            .map(|episode| episode["class"].as_u64().unwrap())
            .collect();
        assert_eq!(drawn.len(), 12);
        drawn.sort_unstable();
        drawn.dedup();
        (drawn, table)
    };
    let (drawn, table) = classes("--novel cat,bee");
    assert_eq!(drawn, [2, 3]);
    assert!(table.contains("cat") && table.contains("bee") && !table.contains("dog"), "{table}");
    let (drawn, _) = classes("--shot 3");
    assert!(drawn.len() > 2, "{drawn:?}");
    let (drawn, _) = classes("--protocol hsnet --novel dog");
    assert_eq!(drawn, [4]);
    for (options, words) in [
        ("--novel cow", "ant, bee, cat, dog"),
        ("--shot 6", "6"),
        ("--fold 1", "fold 1"),
        ("--val-root set/ant/images", "no annotated images"),
    ] {
        let message = scratch.fails(&format!("{EVAL} {options}"));
        assert!(message.contains(words) && !message.contains("panicked"), "{options}: {message}");
    }
}

#[test]
fn training_on_the_base_classes() {
    let scratch = animals();
    let train = "train --recipe ssp-synthetic --dataset own --data-root set --set backbone.width=8 \
                 --set episodes.total=4 --set episodes.snapshot=4 --set episodes.batch=2 \
                 --set episodes.crop=49 --set validation.episodes=4 --set evaluation.episodes=4 \
                 --set evaluation.seeds=[0]";
    let message = scratch.fails(&format!("{train} --out run"));
    assert!(
        message.contains("none is left to train on") && message.contains("--novel"),
        "{message}"
    );
    let table = scratch.ok(&format!("{train} --novel dog --out run"));
    assert!(table.contains("dog") && !table.contains("cat"), "{table}");
    let recipe = std::fs::read_to_string(scratch.path("run/recipe.toml")).unwrap();
    assert!(recipe.contains("dataset = \"own\"") && recipe.contains("\"dog\""), "{recipe}");
    // The run knows its classes; a finished run resumes to the same result.
    assert_eq!(scratch.ok("train --resume --data-root set --out run"), table);
    let message = scratch.fails("train --resume --data-root set --out run --dataset coco");
    assert!(message.contains("the run is one of own"), "{message}");
}

#[test]
fn data_check_reads_everything() {
    let scratch = animals();
    let text = scratch.ok("data check --dataset own --data-root set --novel dog");
    for words in ["ant", "dog", "24"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    std::fs::write(scratch.path("set/cat/masks/3.png"), b"broken").unwrap();
    scratch.image("set/bee/images/0.jpg", [20, 20], 0);
    let message = scratch.fails("data check --dataset own --data-root set");
    assert!(message.contains("3.png") && message.contains("20x20"), "{message}");
}
