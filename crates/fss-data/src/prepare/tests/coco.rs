use serde_json::{Value, json};

use super::*;
use crate::annotations::Crowds;
use crate::benchmark::OpenOptions;
use crate::{Benchmark, Split, io, test_tree};

/// Three images of 8x6 pixels a split: two with objects, one without.
fn archives(year: &str) -> Scratch {
    let scratch = Scratch::new();
    for split in ["train", "val"] {
        for number in 1..=3 {
            let name = format!("from/{split}{year}/{}", file_name(split, year, number));
            scratch.image(&name, 8, 6);
        }
        scratch.file(
            &format!("from/annotations/instances_{split}{year}.json"),
            annotations(split, year).to_string(),
        );
    }
    scratch
}

fn file_name(split: &str, year: &str, number: usize) -> String {
    format!("COCO_{split}{year}_{number:012}.jpg")
}

fn annotations(split: &str, year: &str) -> Value {
    let rectangle = |x0: u32, y0: u32, x1: u32, y1: u32| json!([[x0, y0, x1, y0, x1, y1, x0, y1]]);
    let images: Vec<Value> = [3, 1, 2]
        .map(|n| json!({"id": n, "file_name": file_name(split, year, n), "width": 8, "height": 6}))
        .to_vec();
    json!({
        "images": images,
        "categories": [{"id": 90, "name": "brush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "sign"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": rectangle(0, 0, 4, 3)},
            {"id": 2, "image_id": 1, "category_id": 90, "iscrowd": 0, "segmentation": rectangle(2, 1, 4, 3)},
            // The last two columns.
            {"id": 3, "image_id": 1, "category_id": 13, "iscrowd": 1,
             "segmentation": {"size": [6, 8], "counts": [36, 12]}},
            {"id": 4, "image_id": 3, "category_id": 13, "iscrowd": 0,
             "segmentation": {"size": [6, 8], "counts": [0, 2, 46]}},
        ],
    })
}

fn prepare(scratch: &Scratch, options: &PrepareOptions<'_>) -> Result<Summary, DataError> {
    prepare_coco(&scratch.from(), &scratch.out(), &CocoOptions::default(), options)
}

fn mask(scratch: &Scratch, number: usize) -> ndarray::Array2<u8> {
    let name = file_name("val", "2014", number).replace("jpg", "png");
    io::read_mask(&scratch.path(&format!("out/COCO2014/annotations/val2014/{name}"))).unwrap()
}

#[test]
fn labels_are_ranks_of_categories() {
    let scratch = archives("2014");
    let summary = prepare(&scratch, &PrepareOptions::default()).unwrap();
    assert_eq!(summary.masks.made, 6);
    let first = ndarray::Array2::from_shape_fn((6, 8), |(y, x)| match (y, x) {
        (1..3, 2..4) => 3,
        (0..3, 0..4) => 1,
        _ => 0,
    });
    assert_eq!(mask(&scratch, 1), first);
    assert!(mask(&scratch, 2).iter().all(|&label| label == 0));
    assert_eq!(mask(&scratch, 3)[[1, 0]], 2);
    for split in ["train", "val"] {
        let list = scratch.text(&format!("out/COCO2014/ImageSets/{split}.txt"));
        let name = |n| file_name(split, "2014", n).replace(".jpg", "\n");
        assert_eq!(list, name(1) + &name(3));
    }
    assert_eq!(scratch.text("out/COCO2014/classes.txt"), "person\nsign\nbrush\n");
    assert!(summary.differences().any(|count| count.what == "train2014 images"));

    let dataset =
        Benchmark::Coco.open(&scratch.out(), Split::Train, &OpenOptions::default()).unwrap();
    assert_eq!(dataset.class_names, ["person", "sign", "brush"]);
    dataset.load(0).unwrap();
    assert!(summary.lists.iter().any(|list| list.path.ends_with("splits/coco/val.txt")));
}

#[test]
fn crowds_are_a_choice_that_makes_masks_anew() {
    let scratch = archives("2014");
    for (crowds, label) in [(Crowds::Leave, 0), (Crowds::Paint, 2), (Crowds::Ignore, 255)] {
        let coco = CocoOptions { crowds, ..CocoOptions::default() };
        let prepare = || {
            prepare_coco(&scratch.from(), &scratch.out(), &coco, &PrepareOptions::default())
                .unwrap()
        };
        assert_eq!(prepare().masks, MaskCounts { made: 6, kept: 0 });
        assert_eq!(mask(&scratch, 1)[[5, 7]], label);
        assert_eq!(prepare().masks, MaskCounts { made: 0, kept: 6 });
    }
    test_tree::age(&scratch.path("from/annotations/instances_val2014.json"), 10);
    let coco = CocoOptions { crowds: Crowds::Ignore, ..CocoOptions::default() };
    let summary =
        prepare_coco(&scratch.from(), &scratch.out(), &coco, &PrepareOptions::default()).unwrap();
    assert_eq!(summary.masks, MaskCounts { made: 3, kept: 3 });
}

#[test]
fn interruptions_lose_nothing() {
    let scratch = archives("2014");
    prepare(&scratch, &PrepareOptions::default()).unwrap();
    let whole = scratch.content("out");
    fs::remove_dir_all(scratch.out()).unwrap();
    interrupted_everywhere(6, |options| prepare(&scratch, options));
    assert_eq!(scratch.content("out"), whole);
}

#[test]
fn missing_archives_are_named() {
    let scratch = archives("2017");
    let text = message(prepare(&scratch, &PrepareOptions::default()));
    names_all(&text, &["instances_train2014.json", "--year 2017"]);
    let coco = CocoOptions { year: CocoYear::Y2017, ..CocoOptions::default() };
    let prepare = |options: &PrepareOptions<'_>| {
        prepare_coco(&scratch.from(), &scratch.out(), &coco, options)
    };
    assert_eq!(prepare(&PrepareOptions::default()).unwrap().tree, scratch.path("out/COCO2017"));
    fs::remove_dir_all(scratch.path("from/val2017")).unwrap();
    names_all(&message(prepare(&PrepareOptions::default())), &["no folder val2017", "val2017.zip"]);
    // Masks need no images.
    fs::remove_dir_all(scratch.out()).unwrap();
    let masks_alone = PrepareOptions { images: ImageFiles::Skip, ..PrepareOptions::default() };
    assert_eq!(prepare(&masks_alone).unwrap().masks.made, 6);
    fs::remove_file(scratch.path("from/annotations/instances_train2017.json")).unwrap();
    names_all(&message(prepare(&masks_alone)), &["annotations_trainval2017.zip"]);
}

#[test]
fn bad_entries() {
    let annotation = |value: Value| {
        move |file: &mut Value| file["annotations"].as_array_mut().unwrap().push(value.clone())
    };
    let image = |key: &'static str, value: Value| {
        move |file: &mut Value| file["images"][0][key] = value.clone()
    };
    type Damage = Box<dyn Fn(&mut Value)>;
    let cases: [(Damage, &[&str]); 6] = [
        (
            Box::new(annotation(json!({"id": 9, "image_id": 1, "category_id": 77, "iscrowd": 0,
                                       "segmentation": [[0, 0, 1, 0, 1, 1]]}))),
            &["instances_val2014.json", "annotation 9", "77"],
        ),
        (
            Box::new(annotation(json!({"id": 9, "image_id": 1, "category_id": 1, "iscrowd": 0,
                                       "segmentation": [[0, 0, 1]]}))),
            &["annotation 9"],
        ),
        (Box::new(image("file_name", json!("../a.jpg"))), &["image 3", "../a.jpg", "folders"]),
        (
            Box::new(image("file_name", json!(file_name("val", "2014", 1)))),
            &["occurs twice", "000000000001.jpg"],
        ),
        (Box::new(image("file_name", json!("absent.jpg"))), &["val2014/absent.jpg", "missing"]),
        (Box::new(image("width", json!(9))), &["000000000003.jpg", "8x6", "9x6"]),
    ];
    for (damage, words) in cases {
        let scratch = archives("2014");
        let mut file = annotations("val", "2014");
        // Its mask has the size of its image.
        file["annotations"].as_array_mut().unwrap().pop();
        damage(&mut file);
        scratch.file("from/annotations/instances_val2014.json", file.to_string());
        names_all(&message(prepare(&scratch, &PrepareOptions::default())), words);
        let summary = prepare(&scratch, &skipping()).unwrap();
        assert_eq!(summary.left_out.len(), 1, "{:?}", summary.left_out);
        names_all(&summary.left_out[0].to_string(), words);
        assert!(summary.left_out_file().is_file());
    }
}

#[test]
fn other_files_are_refused() {
    let scratch = archives("2014");
    scratch.file("from/annotations/instances_val2014.json", "{\"images\": [");
    names_all(
        &message(prepare(&scratch, &PrepareOptions::default())),
        &["instances_val2014.json", "JSON", "line 1"],
    );
    let mut other = annotations("val", "2014");
    other["categories"][0]["id"] = json!(91);
    other["annotations"][1]["category_id"] = json!(91);
    scratch.file("from/annotations/instances_val2014.json", other.to_string());
    names_all(
        &message(prepare(&scratch, &PrepareOptions::default())),
        &["instances_val2014.json", "categories", "instances_train2014.json"],
    );
    assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 1, "nothing was written");
}
