use std::fs;

use super::*;
use crate::test_tree::{Tree, write_mask};

fn message<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_flat_layout() {
    let tree = Tree::new();
    tree.pair("2007_b", 2, 50, &[0, 1, 255, 20]);
    tree.pair("2007_a", 2, 60, &[0, 0]);
    tree.list(Split::Train, &["2007_b", "2007_a"]);
    tree.list(Split::Val, &["2007_a"]);
    let found = PascalRoot::detect(tree.root()).unwrap();
    assert_eq!(found.layout(), Layout::Flat);
    assert!(found.mask_choice().contains("SegmentationClass"));

    let train = found.dataset(Split::Train).unwrap();
    assert_eq!(train.ids, ["2007_b", "2007_a"]);
    assert_eq!(train.name, "pascal train");
    assert_eq!(train.classes(), 20);
    assert_eq!(train.class_name(20), "tvmonitor");
    let sample = train.load(0).unwrap();
    assert_eq!(sample.id, "2007_b");
    assert_eq!(sample.image.dimensions(), (2, 2));
    assert_eq!(sample.mask, ndarray::array![[0, 1], [255, 20]]);
    assert_eq!(train.position("2007_a").unwrap(), 1);
    assert_eq!(found.dataset(Split::Val).unwrap().ids, ["2007_a"]);
}

#[test]
fn lists_may_lie_in_the_folder_of_the_official_archive() {
    let tree = Tree::new();
    tree.pair("a", 1, 50, &[0]);
    tree.file("ImageSets/Segmentation/val.txt", b"\xEF\xBB\xBFa\r\n\r\n  \r\n");
    assert_eq!(open(tree.root(), Split::Val).unwrap().ids, ["a"]);
    let error = message(open(tree.root(), Split::Train));
    assert!(error.contains("train.txt"), "{error}");
}

#[test]
fn the_layout_of_hsnet() {
    let tree = Tree::new();
    for base in ["VOC2012", "VOCdevkit/VOC2012"] {
        let root = tree.path(&format!("other-{}", base.len()));
        let below = root.join(base);
        fs::create_dir_all(below.join("JPEGImages")).unwrap();
        fs::create_dir_all(below.join("SegmentationClassAug")).unwrap();
        fs::create_dir_all(below.join("SegmentationClass")).unwrap();
        let found = PascalRoot::detect(&root).unwrap();
        assert_eq!(found.layout(), Layout::Voc2012);
        assert_eq!(found.masks(), below.join("SegmentationClassAug"));
        assert_eq!(found.lists(), None);
        let error = message(found.dataset(Split::Val));
        assert!(error.contains("ImageSets/val.txt"), "{error}");
        let dataset = found.dataset_of("fold 0", vec!["2007_000033".into()]);
        assert_eq!(dataset.image_path(0), below.join("JPEGImages/2007_000033.jpg"));
        assert_eq!(dataset.mask_path(0), below.join("SegmentationClassAug/2007_000033.png"));
    }
}

#[test]
fn the_mask_folder_that_holds_more_of_the_lists_is_taken() {
    let tree = Tree::new();
    for id in ["a", "b"] {
        tree.pair(id, 1, 50, &[0]);
    }
    tree.list(Split::Train, &["a", "b"]);
    tree.list(Split::Val, &["c"]);
    let aug = tree.path("SegmentationClassAug");
    fs::create_dir(&aug).unwrap();
    for id in ["a", "b"] {
        write_mask(&aug.join(format!("{id}.png")), 1, &[3]);
    }
    let masks = || PascalRoot::detect(tree.root()).unwrap();
    // As many in both: the folder that the published program reads.
    assert_eq!(masks().masks(), tree.path("SegmentationClass"));
    write_mask(&aug.join("c.png"), 1, &[3]);
    assert_eq!(masks().masks(), aug);
    let choice = masks().mask_choice().to_owned();
    assert!(choice.contains("3 of 3") && choice.contains("holds 2"), "{choice}");
    // Unless one is named.
    let options = PascalOptions { masks: Some("SegmentationClass".into()), ..Default::default() };
    let named = PascalRoot::detect_with(tree.root(), &options).unwrap();
    assert_eq!(named.masks(), tree.path("SegmentationClass"));
}

#[test]
fn folders_may_be_named() {
    let tree = Tree::new();
    tree.file("pictures/a.jpg", b"");
    tree.file("lists/train.txt", b"a");
    fs::create_dir(tree.path("labels")).unwrap();
    let options = PascalOptions {
        images: Some("pictures".into()),
        masks: Some(tree.path("labels")),
        lists: Some("lists".into()),
        ..Default::default()
    };
    let found = PascalRoot::detect_with(tree.root(), &options).unwrap();
    let dataset = found.dataset(Split::Train).unwrap();
    assert_eq!(dataset.image_path(0), tree.path("pictures/a.jpg"));
    assert_eq!(dataset.mask_path(0), tree.path("labels/a.png"));
    let options = PascalOptions { lists: Some("labels".into()), ..options };
    let error = message(PascalRoot::detect_with(tree.root(), &options));
    assert!(error.contains("neither train.txt nor val.txt"), "{error}");
    let options = PascalOptions { layout: Some(Layout::Voc2012), ..Default::default() };
    assert!(PascalRoot::detect_with(tree.root(), &options).is_err());
}

#[test]
fn a_foreign_tree_is_told_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let error = message(PascalRoot::detect(folder.path()));
    for part in ["JPEGImages", "VOC2012/JPEGImages", "VOCdevkit", "or name the folders"] {
        assert!(error.contains(part), "no {part} in {error}");
    }
    fs::create_dir(folder.path().join("JPEGImages")).unwrap();
    let error = message(PascalRoot::detect(folder.path()));
    assert!(error.contains("SegmentationClass or SegmentationClassAug"), "{error}");
    let error = message(PascalRoot::detect(&folder.path().join("absent")));
    assert!(error.contains("no such folder"), "{error}");
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(message(PascalRoot::detect(&file)).contains("not a folder"));
}

#[test]
fn lists_of_another_form_are_refused() {
    let tree = Tree::new();
    let list = |text: &[u8]| message(read_id_list(&tree.file("list.txt", text)));
    assert!(list(b"").contains("empty"));
    assert!(list(b"\n \n").contains("empty"));
    let error = list(b"a\n/JPEGImages/b.jpg /SegmentationClass/b.png\n");
    assert!(error.contains("line 2") && error.contains("one id a line"), "{error}");
    assert!(list(b"a 1").contains("line 1"));
    assert!(list(&[0xFF, 0xFE, 0x61, 0]).contains("text"));
    assert!(message(read_id_list(&tree.path("absent.txt"))).contains("absent.txt"));
}

#[test]
fn the_fold_lists_of_hsnet() {
    let tree = Tree::new();
    let path = tree.file("fold0.txt", b"2007_000033__01\n2007_000061__04\n");
    let entries = read_hsnet_list(&path).unwrap();
    assert_eq!(entries[1], HsnetEntry { id: "2007_000061".into(), class: 4 });
    for bad in ["2007_000033", "a__00", "a__21", "a__x"] {
        let error = message(read_hsnet_list(&tree.file("bad.txt", bad.as_bytes())));
        assert!(error.contains("line 1") && error.contains(bad), "{error}");
    }
}

#[test]
fn missing_and_mismatched_files_are_named() {
    let tree = Tree::new();
    tree.pair("small", 2, 50, &[0, 0]);
    tree.image("small", 3, 2, 50);
    tree.image("maskless", 3, 2, 50);
    tree.mask("imageless", 2, &[0, 0]);
    tree.list(Split::Train, &["small", "maskless", "imageless"]);
    let dataset = tree.dataset(Split::Train);
    let error = message(dataset.load(0));
    assert!(error.contains("2x1") && error.contains("3x2") && error.contains("small.jpg"));
    let error = message(dataset.load(1));
    assert!(error.contains("SegmentationClass/maskless.png") && error.contains("missing"));
    let error = message(dataset.load(2));
    assert!(error.contains("JPEGImages/imageless.jpg") && error.contains("data check"));
    let error = message(dataset.load(3));
    assert!(error.contains("number 3") && error.contains("3 images"), "{error}");
    assert!(message(dataset.position("other")).contains("other"));
}

#[test]
fn splits_have_names() {
    for split in Split::ALL {
        assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
    }
    assert!(message("trainval".parse::<Split>()).contains("train, val or test"));
}
