use super::*;
use crate::test_tree::Tree;

const COCO: &[u8] =
    br#"{"info": {"images": 1}, "images": [], "annotations": [], "categories": []}"#;
const LABELME: &[u8] = br#"{"version": "5.0", "shapes": [], "imagePath": "a.jpg"}"#;

fn found(tree: &Tree, path: &str) -> Vec<(String, Form, Option<Split>)> {
    let sources = sources(&tree.path(path)).unwrap();
    let below = |path: PathBuf| path.strip_prefix(tree.root()).unwrap().display().to_string();
    sources.into_iter().map(|s| (below(s.path), s.form, s.split)).collect()
}

fn message(tree: &Tree, path: &str) -> String {
    sources(&tree.path(path)).unwrap_err().to_string()
}

#[test]
fn files_are_told_by_name_and_content() {
    let tree = Tree::empty();
    for (name, bytes, form) in [
        ("a.csv", &b"x"[..], Form::Table),
        ("a.TSV", b"x", Form::Table),
        ("coco.json", COCO, Form::Coco),
        ("me.json", LABELME, Form::LabelMe),
        ("mark.json", &[b"\xef\xbb\xbf", COCO].concat(), Form::Coco),
    ] {
        tree.file(name, bytes);
        assert_eq!(found(&tree, name), [(name.to_owned(), form, None)]);
    }
    for (name, bytes, expected) in [
        ("set.zip", &b"PK"[..], "unpack"),
        ("set.tar.gz", b"", "unpack"),
        ("notes.md", b"", "no data set"),
        ("other.json", br#"{"a": 1}"#, "neither"),
        ("broken.json", b"{\"a\": ", "no complete JSON"),
        ("list.json", b"[1, 2]", "an object"),
        ("empty.json", b"", "no complete JSON"),
    ] {
        tree.file(name, bytes);
        let message = message(&tree, name);
        assert!(message.contains(expected) && message.contains(name), "{message}");
    }
    assert!(message(&tree, "absent").contains("absent"));
}

#[test]
fn a_known_key_ends_the_look_into_a_file() {
    let tree = Tree::empty();
    tree.file("cut.json", br#"{"images": [{"id": 1, "file_"#);
    assert_eq!(found(&tree, "cut.json")[0].1, Form::Coco);
}

#[test]
fn class_folders() {
    let tree = Tree::empty();
    for name in ["set/cat/images/a", "set/cat/masks/a", "set/dog/images/a", "set/notes/a"] {
        tree.file(name, b"");
    }
    assert_eq!(found(&tree, "set"), [("set".into(), Form::Folders, None)]);
    assert_eq!(found(&tree, "set/cat"), [("set/cat".into(), Form::Folders, None)]);
    assert!(message(&tree, "set/notes").contains("no annotated images"));
    for name in ["split/train/cat/images/a", "split/valid/cat/images/a", "split/other/x"] {
        tree.file(name, b"");
    }
    assert_eq!(
        found(&tree, "split"),
        [
            ("split/train".into(), Form::Folders, Some(Split::Train)),
            ("split/valid".into(), Form::Folders, Some(Split::Val))
        ]
    );
    for name in ["flat/train/images/a", "flat/train/masks/a", "flat/val/images/a"] {
        tree.file(name, b"");
    }
    assert!(message(&tree, "flat").contains("train/cat/images"));
    // A class that happens to be named as a split.
    tree.file("trains/train/images/a", b"");
    tree.file("trains/bus/images/a", b"");
    assert_eq!(found(&tree, "trains"), [("trains".into(), Form::Folders, None)]);
    tree.file("split/validation/dog/masks/a", b"");
    assert!(message(&tree, "split").contains("the val split, too"));
}

#[test]
fn annotation_files_in_folders() {
    let tree = Tree::empty();
    tree.file("one/export.json", COCO);
    assert_eq!(found(&tree, "one"), [("one/export.json".into(), Form::Coco, None)]);
    tree.file("one/second.json", COCO);
    assert!(message(&tree, "one").contains("export.json, second.json"));
    for name in ["instances_val2017", "instances_train2017", "captions_val2017"] {
        tree.file(&format!("two/annotations/{name}.json"), COCO);
    }
    assert_eq!(
        found(&tree, "two"),
        [
            ("two/annotations/instances_train2017.json".into(), Form::Coco, Some(Split::Train)),
            ("two/annotations/instances_val2017.json".into(), Form::Coco, Some(Split::Val))
        ]
    );
    for split in ["train", "valid", "test"] {
        tree.file(&format!("three/{split}/_annotations.coco.json"), COCO);
    }
    assert_eq!(found(&tree, "three").len(), 3);
    tree.file("four/train.csv", b"");
    tree.file("four/test.csv", b"");
    assert_eq!(found(&tree, "four")[1], ("four/test.csv".into(), Form::Table, Some(Split::Test)));
    tree.file("five/b.json", LABELME);
    tree.file("five/.fss-index.json", b"{}");
    assert_eq!(found(&tree, "five"), [("five".into(), Form::LabelMe, None)]);
    tree.file("six/b.json", b"{");
    assert!(message(&tree, "six").contains("no complete JSON"));
}
