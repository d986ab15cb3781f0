use super::*;
use crate::MaskIndex;
use crate::annotations::BadEntries;
use crate::check::{CheckOptions, check_dataset};
use crate::test_tree::Tree;

fn read(tree: &Tree, path: &str) -> Result<OwnData, DataError> {
    OwnData::read(&tree.path(path), &OwnOptions::default())
}

fn message<T>(result: Result<T, DataError>) -> String {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.to_string(),
    }
}

fn skipping() -> OwnOptions {
    OwnOptions { bad: BadEntries::Skip, ..OwnOptions::default() }
}

/// A 3 x 2 pair of a class folder, its first pixels foreground.
fn pair(tree: &Tree, folder: &str, stem: &str, pixels: usize) {
    let mut labels = vec![1u8; pixels];
    labels.resize(6, 0);
    let (image, mask) =
        (format!("{folder}/images/{stem}.jpg"), format!("{folder}/masks/{stem}.png"));
    tree.pair_at(&image, &mask, 3, &labels);
}

#[test]
fn class_folders_open_in_the_order_of_names() {
    let tree = Tree::empty();
    for (class, stem, pixels) in [("dog", "b", 1), ("dog", "a.1", 2), ("Zebra", "a", 3)] {
        pair(&tree, class, stem, pixels);
    }
    tree.file("dog/images/.hidden.jpg", b"");
    tree.file("dog/images/notes.txt", b"");
    let data = read(&tree, "").unwrap();
    // As bytes: capitals first.
    assert_eq!(data.class_names(), ["Zebra", "dog"]);
    let dataset = data.dataset(Split::Val).unwrap();
    assert_eq!(dataset.ids, ["Zebra/a", "dog/a.1", "dog/b"]);
    let index = MaskIndex::build(&dataset).unwrap();
    let pixels: Vec<_> = index
        .listing(&dataset)
        .into_iter()
        .map(|image| image.pixels.into_iter().filter(|(class, _)| *class != 0).collect::<Vec<_>>())
        .collect();
    assert_eq!(pixels, [[(1, 3)], [(2, 2)], [(2, 1)]]);
    assert_eq!(dataset.load_class(1, 2).unwrap().mask.iter().filter(|&&v| v == 1).count(), 2);
    assert!(dataset.load_class(1, 1).unwrap().mask.iter().all(|&v| v == 0));
    // The second start reads no mask.
    let again = read(&tree, "").unwrap().dataset(Split::Train).unwrap();
    assert_eq!(MaskIndex::build(&again).unwrap().report().cached, 3);
    assert!(data.summary().contains("3 entries of 2 classes (class folders); no splits"));
    let one = read(&tree, "dog").unwrap();
    assert_eq!((one.class_names(), one.all().len()), (&["dog".to_owned()][..], 2));
    assert_eq!(open(tree.root(), &OwnOptions::default()).unwrap().len(), 3);
}

#[test]
fn what_is_missing_in_class_folders_is_named_or_left_out() {
    let tree = Tree::empty();
    pair(&tree, "cat", "a", 2);
    for (make, undo, expected) in [
        ("cat/images/lone.jpg", "cat/images/lone.jpg", "there is no mask lone.png"),
        ("cat/masks/lone.png", "cat/masks/lone.png", "there is no image \"lone\""),
        ("cat/images/a.png", "cat/images/a.png", "same name but for its ending"),
        ("dog/images/a.jpg", "dog", "no folder \"masks\""),
        ("dog/masks/a.png", "dog", "no folder \"images\""),
    ] {
        tree.file(make, b"");
        let problem = message(read(&tree, ""));
        assert!(problem.contains(expected) && problem.contains("skip bad entries"), "{problem}");
        let data = OwnData::read(tree.root(), &skipping()).unwrap();
        assert_eq!((data.all().ids, data.skipped().len()), (vec!["cat/a".to_owned()], 1));
        let undo = tree.path(undo);
        let _ =
            if undo.is_dir() { std::fs::remove_dir_all(undo) } else { std::fs::remove_file(undo) };
    }
    std::fs::create_dir_all(tree.path("dog/images")).unwrap();
    std::fs::create_dir_all(tree.path("dog/masks")).unwrap();
    assert!(message(read(&tree, "")).contains("no image in it"));
    assert!(message(OwnData::read(&tree.path("dog"), &skipping())).contains("no annotated image"));
}

#[test]
fn skipping_looks_at_masks_too() {
    let tree = Tree::empty();
    for (stem, pixels) in [("good", 2), ("empty", 0), ("broken", 1), ("size", 1)] {
        pair(&tree, "cat", stem, pixels);
    }
    tree.file("cat/masks/broken.png", b"\x89PNG\r\n\x1a\n");
    tree.image_at("cat/images/size.jpg", 4, 2);
    // Without it, the first one to be read is the error.
    let dataset = read(&tree, "").unwrap().all();
    assert_eq!(dataset.len(), 4);
    assert!(message(MaskIndex::build(&dataset)).contains("broken.png"));
    assert!(message(dataset.load(3)).contains("4x2"));
    let data = OwnData::read(tree.root(), &skipping()).unwrap();
    assert_eq!(data.all().ids, ["cat/good"]);
    let skipped: Vec<String> = data.skipped().iter().map(ToString::to_string).collect();
    for words in ["broken.png", "no foreground", "4x2"] {
        assert!(skipped.iter().any(|text| text.contains(words)), "{words}: {skipped:?}");
    }
}

#[test]
fn tables_of_all_kinds() {
    let tree = Tree::empty();
    for (stem, pixels) in [("a, b", 2), ("c", 3)] {
        tree.pair_at(&format!("i/{stem}.jpg"), &format!("m/{stem}.png"), 3, &{
            let mut labels = vec![4u8; pixels];
            labels.resize(6, 9);
            labels
        });
    }
    let comma = "image,mask,class,value\r\n\"i/a, b.jpg\",\"m/a, b.png\",cat,4\r\n\r\ni/c.jpg, m/c.png ,dog,9\r\n";
    let semicolon =
        "\u{feff}Image;Mask;Class;Value\ni\\a, b.jpg;m\\a, b.png;cat;4\ni/c.jpg;m/c.png;dog;9";
    for (name, text) in [("comma.csv", comma), ("semicolon.csv", semicolon)] {
        tree.file(name, text.as_bytes());
        let dataset = read(&tree, name).unwrap().all();
        assert_eq!(dataset.ids, ["cat/i/a, b.jpg", "dog/i/c.jpg"], "{name}");
        let index = MaskIndex::build(&dataset).unwrap();
        assert_eq!((index.pixels(0, 1), index.pixels(1, 1)), (2, 3), "{name}");
    }
}

#[test]
fn rows_of_one_image_and_class_are_drawn_together() {
    let tree = Tree::empty();
    tree.pair_at("a.jpg", "a1.png", 3, &[1, 0, 0, 0, 0, 0]);
    tree.pair_at("a.jpg", "a2.png", 3, &[0, 0, 0, 0, 1, 1]);
    tree.pair_at("b.jpg", "b.png", 3, &[0, 0, 0, 0, 0, 1]);
    tree.file(
        "t.csv",
        b"class,image,mask\ncat,a.jpg,a1.png\ncat,a.jpg,a2.png\ndog,a.jpg,a1.png\ncat,a.jpg,a1.png\n\
          cat,b.jpg,b.png",
    );
    let dataset = read(&tree, "t.csv").unwrap().all();
    assert_eq!(dataset.ids, ["cat/a.jpg", "dog/a.jpg", "cat/b.jpg"]);
    let index = MaskIndex::build(&dataset).unwrap();
    assert_eq!((0..3).map(|i| index.pixels(i, 1)).collect::<Vec<_>>(), [3, 1, 1]);
    // The second mask of an entry changes: its counts are not taken from the cache.
    tree.pair_at("a.jpg", "a2.png", 3, &[0, 1, 1, 1, 1, 1]);
    assert_eq!(MaskIndex::build(&dataset).unwrap().pixels(0, 1), 6);
    tree.pair_at("x.jpg", "a2.png", 2, &[0, 1, 1, 1]);
    assert!(message(dataset.load_mask(0)).contains("of the same image and class"));

    tree.file("half.csv", b"class,image,mask\ncat,a.jpg,a1.png\ncat,a.jpg,no.png\ncat,b.jpg,b.png");
    let half = OwnData::read(&tree.path("half.csv"), &skipping()).unwrap();
    assert_eq!(half.all().ids, ["cat/b.jpg"], "half a mask is no mask");

    assert_eq!(largest(&dataset, &index, 1, None).unwrap(), [0, 2]);
    assert_eq!(largest(&dataset, &index, 2, Some(1)).unwrap(), [1]);
    for (class, shots, expected) in
        [(1, Some(3), "only 2 image(s)"), (1, Some(0), "0 supports"), (7, None, "no image")]
    {
        let problem = message(largest(&dataset, &index, class, shots));
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn wrong_tables_name_line_and_cell() {
    let tree = Tree::empty();
    tree.pair_at("a.jpg", "a.png", 3, &[1, 0, 0, 0, 0, 0]);
    let good = "a.jpg,a.png,cat,train";
    for (text, expected) in [
        ("", "empty"),
        ("image,mask\n", "no column \"class\""),
        ("image,mask,class,colour\n", "\"colour\" is unknown"),
        ("image,mask,class,Image\n", "two columns \"Image\""),
        ("image,mask,class,split\na.jpg,a.png,cat", "line 2: 3 cells"),
        ("image,mask,class,split\n{}\nb.jpg,a.png,cat,val", "line 3: there is no image b.jpg"),
        ("image,mask,class,split\n{}\na.jpg,,cat,val", "line 3: no mask is given"),
        ("image,mask,class,split\n{}\na.jpg,a.png,cat,dev", "line 3: unknown split \"dev\""),
        ("image,mask,class,split\n{}\na.jpg,a.png,cat,", "line 3: no split is given"),
        ("image,mask,class,value\na.jpg,a.png,cat,300", "line 2: \"300\" is no value"),
        ("image,mask,class,split\n{}\na.jpg,a.png,\"cat", "line 3: 3 cells"),
    ] {
        tree.file("t.csv", text.replace("{}", good).as_bytes());
        let problem = message(read(&tree, "t.csv"));
        assert!(problem.contains(expected) && problem.contains("t.csv"), "{problem}");
    }
    tree.file("t.csv", b"image,mask,class\na.jpg,a.png,cat\n\xff\xfe,a.png,cat\n");
    assert!(message(read(&tree, "t.csv")).contains("UTF-8"));
    let data = OwnData::read(&tree.path("t.csv"), &skipping()).unwrap();
    assert_eq!((data.all().len(), data.skipped().len()), (1, 1));
    tree.file("t.csv", b"image,mask,class\n");
    assert!(message(read(&tree, "t.csv")).contains("no annotated image"));
}

#[test]
fn splits_by_column_by_folder_and_by_a_second_path() {
    let tree = Tree::empty();
    for stem in ["a", "b", "c"] {
        tree.pair_at(&format!("{stem}.jpg"), &format!("{stem}.png"), 3, &[1, 0, 0, 0, 0, 0]);
        pair(&tree, &format!("f/train/{stem}"), "1", 1);
    }
    pair(&tree, "f/test/c", "1", 1);
    pair(&tree, "f/test/d", "2", 1);
    tree.file(
        "t.csv",
        b"image,mask,class,split\na.jpg,a.png,cat,train\nb.jpg,b.png,dog,val\nc.jpg,c.png,dog,Training",
    );
    let table = read(&tree, "t.csv").unwrap();
    assert_eq!(table.splits(), [Split::Train, Split::Val]);
    assert_eq!(table.dataset(Split::Train).unwrap().ids, ["cat/a.jpg", "dog/c.jpg"]);
    // The validation list stands in for the test list.
    assert_eq!(table.dataset(Split::Test).unwrap().ids, ["dog/b.jpg"]);
    // No class is in the evaluation images alone.
    assert_eq!(table.fold().unwrap().novel_classes(), [1, 2]);

    let folders = read(&tree, "f").unwrap();
    assert_eq!(folders.class_names(), ["a", "b", "c", "d"]);
    assert_eq!(folders.dataset(Split::Val).unwrap().ids, ["test/c/1", "test/d/2"]);
    let fold = folders.training_fold().unwrap();
    assert_eq!((fold.novel_classes(), fold.base_classes()), (vec![4], vec![1, 2, 3]));
    assert!(folders.summary().ends_with("train 3, test 2"), "{}", folders.summary());

    let mut options = OwnOptions { val: Some(tree.path("f/test")), ..OwnOptions::default() };
    let two = OwnData::read(&tree.path("f/train"), &options).unwrap();
    assert_eq!(two.splits(), [Split::Train, Split::Val]);
    assert_eq!(two.dataset(Split::Val).unwrap().ids, ["val/c/1", "val/d/2"]);
    MaskIndex::build(&two.dataset(Split::Val).unwrap()).unwrap();
    MaskIndex::build(&two.dataset(Split::Train).unwrap()).unwrap();
    let again = MaskIndex::build(&two.dataset(Split::Val).unwrap()).unwrap();
    assert_eq!(again.report().cached, 2);
    options.val = Some(tree.path("f"));
    assert!(
        message(OwnData::read(&tree.path("f/train"), &options)).contains("divided into splits")
    );

    std::fs::remove_dir_all(tree.path("f/test")).unwrap();
    let problem = message(read(&tree, "f").unwrap().dataset(Split::Val));
    assert!(problem.contains("no val images, only train"), "{problem}");
}

#[test]
fn novel_classes_are_named() {
    let tree = Tree::empty();
    for class in ["ant", "bee", "cat"] {
        pair(&tree, class, "1", 1);
    }
    let with = |novel: &[&str]| {
        let novel = novel.iter().map(|name| (*name).to_owned()).collect();
        let options = OwnOptions { novel, ..OwnOptions::default() };
        OwnData::read(tree.root(), &options).unwrap()
    };
    let fold = with(&["cat", " ant"]).training_fold().unwrap();
    assert_eq!((fold.novel_classes(), fold.base_classes()), (vec![1, 3], vec![2]));
    assert!(message(with(&["cow"]).fold()).contains("ant, bee, cat"));
    assert!(message(with(&["cat", "cat"]).fold()).contains("twice"));
    let all = with(&[]);
    assert_eq!(all.fold().unwrap().novel_classes(), [1, 2, 3]);
    assert!(message(all.training_fold()).contains("--novel"));
    assert!(message(with(&["ant", "bee", "cat"]).training_fold()).contains("none is left"));
    assert_eq!(all.class("bee").unwrap(), 2);
}

#[test]
fn hundreds_of_classes_with_masks_of_their_own() {
    let tree = Tree::empty();
    for class in 0..300 {
        pair(&tree, &format!("c{class:03}"), "1", 1 + class % 6);
    }
    let data = read(&tree, "").unwrap();
    let dataset = data.all();
    let index = MaskIndex::build(&dataset).unwrap();
    assert_eq!(index.listing(&dataset)[299].pixels[&300], 6);
    let sample = dataset.load_class(298, 299).unwrap();
    assert_eq!(sample.mask.iter().filter(|&&v| v == 1).count(), 5);
    let folds = vec![data.fold().unwrap()];
    let options = CheckOptions { min_pixels: 1, shots: vec![], folds, ..CheckOptions::default() };
    let report = check_dataset(&[(Split::Val, dataset)], &options).unwrap();
    assert_eq!((report.splits[0].sound, report.splits[0].classes.len()), (300, 300));
    assert!(report.is_clean(), "{:?}", report.findings());
}

#[test]
fn options_survive_json() {
    let text = serde_json::to_string(&OwnOptions::default()).unwrap();
    assert_eq!(serde_json::from_str::<OwnOptions>(&text).unwrap(), OwnOptions::default());
    let options: OwnOptions =
        serde_json::from_str(r##"{"novel": ["cat"], "mask_value": "#ff0000"}"##).unwrap();
    assert_eq!(options.mask_value, MaskValue::Colour([255, 0, 0]));
    assert!(serde_json::from_str::<OwnOptions>(r#"{"novell": []}"#).is_err());
}
