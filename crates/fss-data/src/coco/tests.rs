use std::fs;

use ndarray::array;

use super::*;
use crate::benchmark::{Benchmark, OpenOptions};
use crate::folds::FoldScheme;
use crate::test_tree::Tree;
use crate::{MaskIndex, Masks};

fn message<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
    result.unwrap_err().to_string()
}

fn hsnet(tree: &Tree, base: &str, split: &str, number: usize, labels: &[u8]) {
    let id = format!("COCO_{split}_{number:012}");
    tree.pair_at(
        &format!("{base}{split}/{id}.jpg"),
        &format!("{base}annotations/{split}/{id}.png"),
        2,
        labels,
    );
}

#[test]
fn the_names_of_the_classes() {
    let place = |name: &str| 1 + CLASS_NAMES.iter().position(|known| *known == name).unwrap();
    assert_eq!((place("person"), place("dining table"), place("toothbrush")), (1, 61, 80));
}

#[test]
fn the_layout_of_hsnet() {
    for base in ["COCO2014/", ""] {
        let tree = Tree::empty();
        hsnet(&tree, base, "val2014", 200, &[0, 80]);
        hsnet(&tree, base, "val2014", 42, &[1, 1]);
        hsnet(&tree, base, "train2014", 9, &[5, 0]);
        tree.image_at(&format!("{base}val2014/COCO_val2014_000000000001.jpg"), 2, 1);
        let root = CocoRoot::detect(tree.root()).unwrap();
        assert_eq!(root.layout(), Layout::Hsnet);
        let val = root.dataset(Split::Val).unwrap();
        // Images with a mask, by name.
        assert_eq!(val.ids, ["COCO_val2014_000000000042", "COCO_val2014_000000000200"]);
        assert_eq!((val.name.as_str(), val.classes()), ("coco val", 80));
        assert_eq!(val.load(1).unwrap().mask, array![[0, 80]]);
        assert_eq!(root.dataset(Split::Train).unwrap().ids, ["COCO_train2014_000000000009"]);
        // A list goes before.
        tree.file(&format!("{base}ImageSets/val.txt"), b"COCO_val2014_000000000200\n");
        assert_eq!(open(tree.root(), Split::Val).unwrap().ids, ["COCO_val2014_000000000200"]);
    }
}

#[test]
fn the_layout_of_ssp_in_one_root() {
    let tree = Tree::new();
    tree.pair("b", 2, 50, &[0, 7]);
    tree.pair("a", 2, 50, &[0, 1]);
    tree.list(Split::Train, &["b", "a"]);
    tree.list(Split::Val, &["a"]);
    let root = CocoRoot::detect(tree.root()).unwrap();
    assert_eq!(root.layout(), Layout::Voc);
    assert_eq!(root.dataset(Split::Train).unwrap().ids, ["b", "a"]);
    assert_eq!(root.dataset(Split::Val).unwrap().ids, ["a"]);
    assert!(message(root.dataset(Split::Test)).contains("no test images"));
}

#[test]
fn the_layout_of_ssp_in_two_roots() {
    let tree = Tree::empty();
    for (folder, split, id) in [("train_coco", "train", "t"), ("val_coco", "val", "v")] {
        tree.pair_at(
            &format!("{folder}/JPEGImages/{id}.jpg"),
            &format!("{folder}/SegmentationClass/{id}.png"),
            1,
            &[3],
        );
        tree.file(&format!("{folder}/ImageSets/{split}.txt"), id.as_bytes());
    }
    for root in ["", "train_coco", "val_coco"] {
        let root = tree.path(root);
        assert_eq!(open(&root, Split::Train).unwrap().ids, ["t"]);
        let val = open(&root, Split::Val).unwrap();
        assert_eq!(val.load(0).unwrap().mask, array![[3]]);
    }
    fs::remove_dir_all(tree.path("val_coco")).unwrap();
    let error = message(open(tree.root(), Split::Val));
    assert!(error.contains("val: not there") && error.contains("the other root"), "{error}");
}

#[test]
fn other_classes_are_named_in_a_file() {
    let tree = Tree::new();
    tree.pair("a", 1, 50, &[2]);
    tree.list(Split::Val, &["a"]);
    tree.file(CLASSES_FILE, b"\xEF\xBB\xBFred\r\n\r\ngreen thing\r\nblue\r\nblack\r\n");
    let root = Benchmark::Coco.detect(tree.root(), &OpenOptions::default()).unwrap();
    assert_eq!(root.class_names(), ["red", "green thing", "blue", "black"]);
    assert_eq!(root.dataset(Split::Val).unwrap().class_name(2), "green thing");
    let fold = root.fold(2, FoldScheme::Interleaved).unwrap();
    assert_eq!(fold.novel_classes(), [3]);
    tree.file(CLASSES_FILE, b"\n");
    assert!(message(CocoRoot::detect(tree.root())).contains("names 0 classes"));
}

/// Two images of 4 x 2 pixels, the categories out of order, with gaps in the ids.
fn json() -> String {
    let square = |x: u32| format!("[[{x},0,{0},0,{0},2,{x},2]]", x + 2);
    format!(
        r#"{{"images":[
            {{"id":30,"file_name":"COCO_val2014_000000000030.jpg","width":4,"height":2}},
            {{"id":7,"file_name":"COCO_val2014_000000000007.jpg","width":4,"height":2}}],
        "annotations":[
            {{"id":1,"image_id":7,"category_id":44,"iscrowd":0,"segmentation":{}}},
            {{"id":2,"image_id":30,"category_id":2,"iscrowd":0,"segmentation":{}}},
            {{"id":3,"image_id":30,"category_id":9,"iscrowd":1,
              "segmentation":{{"counts":[0,8],"size":[2,4]}}}}],
        "categories":[{{"id":44,"name":"cup"}},{{"id":2,"name":"cat"}},{{"id":9,"name":"dog"}},
                      {{"id":80,"name":"owl"}}]}}"#,
        square(0),
        square(2)
    )
}

#[test]
fn annotation_files_are_drawn_on_demand() {
    for (year, images) in [("2014", "val2014"), ("2017", "images/val2017")] {
        let tree = Tree::empty();
        tree.file(&format!("annotations/instances_val{year}.json"), json().as_bytes());
        for number in [7, 30] {
            tree.image_at(&format!("{images}/COCO_val2014_{number:012}.jpg"), 4, 2);
        }
        let root = CocoRoot::detect(tree.root()).unwrap();
        assert_eq!(root.layout(), Layout::Json);
        assert_eq!(root.class_names(), ["cat", "dog", "cup", "owl"]);
        let val = root.dataset(Split::Val).unwrap();
        // By image id.
        assert_eq!(val.ids, ["COCO_val2014_000000000007", "COCO_val2014_000000000030"]);
        assert_eq!(val.load(0).unwrap().mask, array![[3, 3, 0, 0], [3, 3, 0, 0]]);
        // Crowds are background.
        assert_eq!(val.load(1).unwrap().mask, array![[0, 0, 1, 1], [0, 0, 1, 1]]);
        let mask = val.class_mask(0, &val.load_mask(0).unwrap(), 3);
        assert_eq!(mask.sum(), 4);
        let index = MaskIndex::build(&val).unwrap();
        assert_eq!(index.report().read, 2);
        assert_eq!(MaskIndex::build(&val).unwrap().report().cached, 2);
        assert_eq!((index.pixels(0, 3), index.pixels(1, 1)), (4, 4));
        assert!(matches!(val.masks, Masks::Drawn(_)));
        assert!(message(root.dataset(Split::Train)).contains("train: not there"));
    }
}

#[test]
fn masks_go_before_annotation_files_and_both_splits_come_from_one_release() {
    let tree = Tree::empty();
    tree.file("annotations/instances_val2014.json", json().as_bytes());
    hsnet(&tree, "", "val2014", 7, &[1, 1]);
    assert_eq!(CocoRoot::detect(tree.root()).unwrap().layout(), Layout::Hsnet);

    // 2014 has one split only, 2017 both.
    let tree = Tree::empty();
    for name in ["val2014", "train2017", "val2017"] {
        tree.file(&format!("annotations/instances_{name}.json"), json().as_bytes());
        fs::create_dir(tree.path(name)).unwrap();
    }
    let summary = CocoRoot::detect(tree.root()).unwrap().summary();
    assert!(!summary.contains("2014"), "{summary}");
}

#[test]
fn broken_annotation_files_are_named() {
    let tree = Tree::empty();
    fs::create_dir(tree.path("val2014")).unwrap();
    let file = "annotations/instances_val2014.json";
    for (text, part) in [
        ("{", "cannot be read"),
        (r#"{"images":[]}"#, "categories"),
        (r#"{"categories":[]}"#, "0 categories"),
    ] {
        tree.file(file, text.as_bytes());
        let error = message(CocoRoot::detect(tree.root()));
        assert!(error.contains("instances_val2014.json") && error.contains(part), "{error}");
    }
    tree.file(file, json().as_bytes());
    fs::create_dir(tree.path("train2014")).unwrap();
    let other = json().replace("owl", "bat");
    tree.file("annotations/instances_train2014.json", other.as_bytes());
    let error = message(open(tree.root(), Split::Train));
    assert!(error.contains("not those of the other split"), "{error}");
}

#[test]
fn a_foreign_tree_is_told_what_was_looked_for() {
    let tree = Tree::empty();
    let error = message(CocoRoot::detect(tree.root()));
    for part in ["JPEGImages", "train_coco", "annotations/{train,val}2014", "instances_", "prepare"]
    {
        assert!(error.contains(part), "no {part} in {error}");
    }
    assert!(message(CocoRoot::detect(&tree.path("absent"))).contains("no such folder"));
    fs::create_dir_all(tree.path("annotations/val2014")).unwrap();
    fs::create_dir(tree.path("val2014")).unwrap();
    let error = message(open(tree.root(), Split::Val));
    assert!(error.contains("holds no mask"), "{error}");
}
