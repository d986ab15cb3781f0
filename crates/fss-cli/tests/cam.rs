//! `fss cam`: coarse maps of texts in images, and of whole data sets.

mod common;

use common::{Scratch, interrupt};
use fss_core::backbone::Depth;
use fss_core::cam::GRID;
use fss_core::data::cam::{read_cam, read_cam_note};
use fss_core::data::io::{image_size, read_image};
use std::time::{Duration, Instant};

const TEXT: &str = "cam --clip clip.safetensors --images queries";
const SET: &str = "cam --clip clip.safetensors --data-root set";

/// Images in `queries/` and a small CLIP.
fn scratch() -> Scratch {
    let scratch = Scratch::with_images();
    scratch.clip("clip.safetensors", 1);
    scratch
}

/// A small generated set with its CLIP.
fn set(options: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.ok(&format!("data generate --out set --seed 3 {options}"));
    scratch.clip("clip.safetensors", 1);
    scratch
}

/// Class folders of `disc` (a, b) and `edge` (c) with their CLIP.
fn scratch_of_own() -> Scratch {
    let scratch = Scratch::new();
    for (class, stem) in [("disc", "a"), ("disc", "b"), ("edge", "c")] {
        for folder in ["images", "masks"] {
            std::fs::create_dir_all(scratch.path(&format!("set/{class}/{folder}"))).unwrap();
        }
        scratch.image(&format!("set/{class}/images/{stem}.jpg"), [48, 40], 3);
        scratch.mask(&format!("set/{class}/masks/{stem}.png"), [48, 40], 1);
    }
    scratch.clip("clip.safetensors", 1);
    scratch
}

/// What a run says on standard error.
fn messages(scratch: &Scratch, arguments: &str) -> String {
    let output = scratch.fss(arguments).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{message}");
    message
}

#[test]
fn a_text_gives_a_map_and_a_picture_of_every_image() {
    let scratch = scratch();
    let text = scratch.ok(&format!("{TEXT} --text dog --out out"));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, name) in lines.iter().zip(["a.jpg", "b.png"]) {
        assert!(line.starts_with(&format!("{name}: ")), "{line}");
        assert!(line.contains("% \"dog\" among 80 names"), "{line}");
    }
    let names = ["a.cam.png", "a.cam.safetensors", "b.cam.png", "b.cam.safetensors"];
    assert_eq!(scratch.names("out"), names);
    let mut something = false;
    for (stem, image) in [("a", "queries/a.jpg"), ("b", "queries/b.png")] {
        let map = read_cam(&scratch.path(&format!("out/{stem}.cam.safetensors")), GRID).unwrap();
        assert!(map.iter().all(|value| (0.0..=1.0).contains(value)));
        something |= map.iter().any(|value| *value > 0.5);
        let note = read_cam_note(&scratch.path(&format!("out/{stem}.cam.safetensors")));
        let note = note.unwrap().unwrap();
        assert_eq!((note.class.as_str(), note.prompt.as_str()), ("dog", "a photo of a dog"));
        assert_eq!((note.target.as_str(), note.view.name()), ("probability", "centre-crop"));
        let heat = scratch.path(&format!("out/{stem}.cam.png"));
        assert_eq!(image_size(&heat).unwrap(), image_size(&scratch.path(image)).unwrap());
        assert_ne!(read_image(&heat).unwrap(), read_image(&scratch.path(image)).unwrap());
    }
    assert!(something, "a map with values");

    // The same again, to the bit, and whatever the number of threads.
    assert_eq!(scratch.ok(&format!("--threads 1 {TEXT} --text dog --out again")), text);
    for name in names {
        let bytes =
            |folder: &str| std::fs::read(scratch.path(&format!("{folder}/{name}"))).unwrap();
        assert_eq!(bytes("again"), bytes("out"), "{name}");
    }
}

#[test]
fn several_texts_go_by_their_own_and_options_change_what_they_should() {
    let scratch = scratch();
    let alone = scratch.ok(&format!("{TEXT} --text dog --out alone --save map"));
    let mut command = scratch.fss(&format!("{TEXT} --text dog --out both --save map --text"));
    let output = command.arg("the red 🐶 cup").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let both = String::from_utf8(output.stdout).unwrap();
    assert!(alone.lines().all(|line| both.contains(line)), "{alone}{both}");
    assert!(both.contains("the red 🐶 cup\" among 81 names"), "{both}");
    assert_eq!(
        scratch.names("both"),
        [
            "a.dog.cam.safetensors",
            "a.the-red-cup.cam.safetensors",
            "b.dog.cam.safetensors",
            "b.the-red-cup.cam.safetensors",
        ]
    );
    let map = |file: &str| read_cam(&scratch.path(file), GRID).unwrap();
    assert_eq!(map("both/a.dog.cam.safetensors"), map("alone/a.cam.safetensors"));

    // b.png is no square.
    let whole = format!("{TEXT} --text dog --out whole --save map --view whole-image");
    assert_eq!(scratch.ok(&whole).lines().count(), 2);
    assert_ne!(map("whole/b.cam.safetensors"), map("alone/b.cam.safetensors"));
    let against = scratch.ok(&format!("{TEXT} --text dog --out few --against cat,Dog,car"));
    assert!(against.contains("among 3 names"), "{against}");
    // The score does not depend on the others.
    for names in ["cat", "car,tree"] {
        let out = format!("score-{}", names.len());
        scratch.ok(&format!("{TEXT} --text dog --target score --against {names} --out {out}"));
    }
    assert_eq!(map("score-3/a.cam.safetensors"), map("score-8/a.cam.safetensors"));
    // Nothing competes: the probability is 1 whatever the image shows.
    let message = messages(&scratch, &format!("{TEXT} --text dog --against dog --out lone"));
    assert!(message.contains("no competitor") && message.contains("2 of 2 maps are empty"));
}

#[test]
fn long_texts_are_cut_with_a_warning_or_refused() {
    let scratch = scratch();
    let long = "very ".repeat(90) + "red cup";
    let arguments: Vec<&str> = TEXT.split(' ').chain(["--out", "out", "--text", &long]).collect();
    let output = scratch.fss("").args(&arguments).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{message}");
    assert!(message.contains("warning: ") && message.contains("longer than the 77"), "{message}");
    assert!(message.contains("kept: \"a photo of a very very"), "{message}");
    let refuse: Vec<&str> = arguments.into_iter().chain(["--long-text", "refuse"]).collect();
    let message = scratch.fails_with(&refuse);
    assert!(message.contains("at most 77 tokens") && message.contains("shorten it"), "{message}");
}

#[test]
fn bad_input_is_explained() {
    let scratch = scratch();
    scratch.weights("ssp.safetensors", Depth::R18, 8);
    std::fs::create_dir(scratch.path("nothing")).unwrap();
    std::fs::write(scratch.path("file"), b"x").unwrap();
    for (arguments, expected) in [
        (
            "cam --clip none.pt --images queries --text dog --out out".into(),
            vec!["none.pt", "path"],
        ),
        (
            TEXT.replace("clip.safetensors", "ssp.safetensors") + " --text dog --out out",
            vec!["ssp.safetensors", "CLIP with a ResNet"],
        ),
        (
            TEXT.replace("clip.safetensors", "file") + " --text dog --out out",
            vec!["file", "weight"],
        ),
        (
            TEXT.replace("queries", "nothing") + " --text dog --out out",
            vec!["--images nothing: there is no image", "endings"],
        ),
        (TEXT.replace("queries", "none") + " --text dog --out out", vec!["none", "No such file"]),
        (format!("{TEXT} --text dog --out queries"), vec!["choose another folder"]),
        (format!("{TEXT} --text dog --out file/out"), vec!["make folder"]),
        (format!("{TEXT} --out out"), vec!["nothing to look for", "--text and --images"]),
        ("cam --clip c --text dog --out out".into(), vec!["which images", "--images"]),
        (format!("{TEXT} --text dog --data-root x --out out"), vec!["together", "leave out"]),
        (
            format!("{TEXT} --text dog --dataset coco --out out"),
            vec!["data sets", "leave them out"],
        ),
        (format!("{SET} --against a,b --out out"), vec!["--against", "compete with each other"]),
        (format!("{SET} --images queries --out out"), vec!["own", "pascal"]),
        (format!("{SET} --out out"), vec!["set"]),
    ] {
        let message = scratch.fails(&arguments);
        for words in expected {
            assert!(message.contains(words), "{words}\n{arguments}\n{message}");
        }
        assert!(!message.contains("panicked"), "{message}");
    }
    for empty in ["", "  "] {
        let arguments: Vec<&str> =
            TEXT.split(' ').chain(["--out", "out", "--text", empty]).collect();
        assert!(scratch.fails_with(&arguments).contains("prompt is empty"));
    }
    assert!(scratch.names("out").is_empty());
    for usage in ["--target all", "--view left", "--save all", "--split all", "--dataset voc"] {
        let output = scratch.fss(&format!("{TEXT} --text dog --out out {usage}")).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{usage}");
    }
}

#[test]
fn images_that_cannot_be_read() {
    let scratch = scratch();
    std::fs::write(scratch.path("queries/aa.png"), b"no picture").unwrap();
    let message = scratch.fails(&format!("{TEXT} --text dog --out out"));
    assert!(message.contains("aa.png") && message.contains("--skip-bad"), "{message}");
    let message = scratch.fails(&format!("{TEXT} --text dog --out all --skip-bad"));
    assert!(message.contains("aa.png") && message.contains("1 of 3 images failed"), "{message}");
    assert_eq!(scratch.names("all").len(), 4);
}

#[test]
fn a_data_set_gets_all_its_maps_and_runs_resume() {
    let scratch = set("--size 56..80 --images 12 --val-images 10");
    let table = scratch.ok(&format!("{SET} --min-pixels 64 --out cams"));
    let number = |table: &str, row: &str| -> usize {
        let line = table.lines().find(|line| line.starts_with(row)).unwrap();
        line.split_whitespace().last().unwrap().parse().unwrap()
    };
    let all = scratch.names("cams");
    assert_eq!((number(&table, "made"), number(&table, "there")), (all.len(), 0), "{table}");
    assert!(all.len() > 22, "some images show several classes: {all:?}");
    assert!(all.iter().any(|name| name.starts_with("train_000000--")), "{all:?}");
    assert!(all.iter().any(|name| name.starts_with("val_000009--")), "{all:?}");
    for name in &all {
        read_cam(&scratch.path(&format!("cams/{name}")), GRID).unwrap();
    }

    // One is gone: it alone is made, the same again, and the others are left as they are.
    let gone = scratch.path(&format!("cams/{}", all[3]));
    let kept = scratch.path(&format!("cams/{}", all[4]));
    let bytes = std::fs::read(&gone).unwrap();
    let time = std::fs::metadata(&kept).unwrap().modified().unwrap();
    std::fs::remove_file(&gone).unwrap();
    let table = scratch.ok(&format!("{SET} --min-pixels 64 --out cams"));
    assert_eq!((number(&table, "made"), number(&table, "there")), (1, all.len() - 1), "{table}");
    assert_eq!(std::fs::read(&gone).unwrap(), bytes);
    assert_eq!(std::fs::metadata(&kept).unwrap().modified().unwrap(), time);

    // A part of it.
    scratch.ok(&format!("{SET} --min-pixels 64 --split val --out val"));
    let val = scratch.names("val");
    assert!(val.iter().all(|name| name.starts_with("val_") && all.contains(name)), "{val:?}");
    assert!(!val.is_empty() && val.len() < all.len());

    // Maps of another kind do not mix.
    scratch.clip("other.safetensors", 2);
    for change in ["--view whole-image", "--target score"] {
        let message = scratch.fails(&format!("{SET} --min-pixels 64 --out cams {change}"));
        assert!(message.contains("made in another way"), "{message}");
    }
    let other = SET.replace("clip.safetensors", "other.safetensors");
    let message = scratch.fails(&format!("{other} --min-pixels 64 --out cams"));
    assert!(message.contains("weights") && message.contains("another folder"), "{message}");
    // As published, small objects do not count, and here all are small.
    let message = scratch.fails(&format!("{SET} --out none"));
    assert!(message.contains("2048") && message.contains("--min-pixels"), "{message}");
    let message = scratch.fails(&format!("{SET} --split test --out none"));
    assert!(message.contains("no test split"), "{message}");
}

#[test]
fn other_data_sets_have_names_of_their_own() {
    let scratch = set("--size 56..80 --layout coco --images 8 --val-images 6");
    scratch.ok(&format!("{SET} --dataset coco --split val --out cams"));
    let [folder] = scratch.names("cams").try_into().unwrap();
    let names = scratch.names(&format!("cams/{folder}"));
    assert!(names.iter().all(|name| name.contains(".jpg--")), "{names:?}");

    let scratch = set("--size 64 --layout fss1000 --categories 3,2,2");
    scratch.ok(&format!("{SET} --dataset fss1000 --split test --out cams"));
    assert_eq!(scratch.names("cams").len(), 2);
    for category in scratch.names("cams") {
        assert_eq!(scratch.names(&format!("cams/{category}")).len(), 10, "every image");
    }

    let scratch = scratch_of_own();
    scratch.ok(&format!("{SET} --dataset own --out cams"));
    assert_eq!(scratch.names("cams/disc/images"), ["a.jpg--0.safetensors", "b.jpg--0.safetensors"]);
    assert_eq!(scratch.names("cams/edge/images"), ["c.jpg--1.safetensors"]);
    // An image without its mask.
    scratch.image("set/edge/images/d.jpg", [48, 40], 3);
    let message = scratch.fails(&format!("{SET} --dataset own --out cams"));
    assert!(message.contains("d.jpg"), "{message}");
    let message = messages(&scratch, &format!("{SET} --dataset own --out cams --skip-bad"));
    assert!(message.contains("left out") && message.contains("d.jpg"), "{message}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_is_done() {
    let scratch = set("--size 56..80 --images 250 --val-images 2");
    let arguments = format!("{SET} --min-pixels 1 --split train --out");
    let child = scratch.spawn(&format!("{arguments} parts"));
    let begin = Instant::now();
    while scratch.names("parts").is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(300), "no map is written");
        std::thread::sleep(Duration::from_millis(1));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("maps are there") && message.contains("same command again"));
    let done = scratch.names("parts");
    let table = scratch.ok(&format!("{arguments} parts"));
    scratch.ok(&format!("{arguments} whole"));
    let whole = scratch.names("whole");
    assert!(!done.is_empty() && done.len() < whole.len(), "{} of {}", done.len(), whole.len());
    assert!(table.contains(&done.len().to_string()), "{table}");
    assert_eq!(scratch.names("parts"), whole);
    for name in &whole {
        let bytes =
            |folder: &str| std::fs::read(scratch.path(&format!("{folder}/{name}"))).unwrap();
        assert_eq!(bytes("parts"), bytes("whole"), "{name}");
    }
}
