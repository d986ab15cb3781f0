use serde_json::{Value, json};

use super::super::{OwnData, OwnOptions};
use super::*;
use crate::annotations::BadEntries;
use crate::test_tree::Tree;
use crate::{MaskIndex, Split};

fn square(id: i64, image: i64, category: i64, [x, y]: [i32; 2]) -> Value {
    json!({"id": id, "image_id": image, "category_id": category, "iscrowd": 0,
           "segmentation": [[x, y, x + 2, y, x + 2, y + 2, x, y + 2]]})
}

fn file(images: &[(i64, &str)], annotations: &[Value]) -> Value {
    let images: Vec<Value> = images
        .iter()
        .map(|(id, name)| json!({"id": id, "file_name": name, "width": 8, "height": 6}))
        .collect();
    json!({
        "images": images, "annotations": annotations,
        "categories": [{"id": 0, "name": "things"}, {"id": 7, "name": "zebra"},
                       {"id": 9, "name": "ant"}]
    })
}

fn write(tree: &Tree, name: &str, content: &Value) {
    tree.file(name, content.to_string().as_bytes());
}

fn read(tree: &Tree, name: &str) -> Result<OwnData, DataError> {
    OwnData::read(&tree.path(name), &OwnOptions::default())
}

#[test]
fn categories_are_classes_by_name() {
    let tree = Tree::empty();
    for name in ["a.jpg", "deep/b.jpg"] {
        tree.image_at(&format!("images/{name}"), 8, 6);
    }
    let mut crowd = square(3, 5, 9, [5, 3]);
    crowd["iscrowd"] = 1.into();
    let annotations = [square(1, 5, 7, [0, 0]), square(2, 5, 9, [1, 1]), crowd];
    write(&tree, "annotations/x.json", &file(&[(5, "a.jpg"), (2, "deep\\b.jpg")], &annotations));
    let data = read(&tree, "annotations/x.json").unwrap();
    // Nothing shows `things`.
    assert_eq!(data.class_names(), ["ant", "zebra"]);
    let dataset = data.dataset(Split::Train).unwrap();
    assert_eq!(dataset.ids, ["a.jpg", "deep/b.jpg"]);
    let mask = dataset.load(0).unwrap().mask;
    let count = |label: u8| mask.iter().filter(|value| **value == label).count();
    assert_eq!((count(1), count(2), count(255)), (8, 3, 0));
    assert!(dataset.load(1).unwrap().mask.iter().all(|label| *label == 0));
    for (crowds, ants, ignored) in [(Crowds::Leave, 4, 0), (Crowds::Ignore, 4, 4)] {
        let options = OwnOptions { crowds, ..OwnOptions::default() };
        let data = OwnData::read(&tree.path("annotations/x.json"), &options).unwrap();
        // The cache must not mix them up.
        let index = MaskIndex::build(&data.all()).unwrap();
        assert_eq!((index.pixels(0, 1), index.pixels(0, 255)), (ants, ignored), "{crowds:?}");
    }
    assert_eq!(MaskIndex::build(&data.all()).unwrap().pixels(0, 1), 8);
}

#[test]
fn images_are_looked_for_where_they_use_to_lie() {
    for (json, image) in [
        ("x.json", "a.jpg"),
        ("x.json", "images/a.jpg"),
        ("annotations/instances_train2017.json", "train2017/a.jpg"),
        ("annotations/instances_train2017.json", "images/train2017/a.jpg"),
        ("annotations/train.json", "images/a.jpg"),
        ("val/_annotations.coco.json", "val/a.jpg"),
    ] {
        let tree = Tree::empty();
        tree.image_at(image, 8, 6);
        write(&tree, json, &file(&[(5, "a.jpg")], &[square(1, 5, 7, [0, 0])]));
        let data = read(&tree, json).unwrap_or_else(|error| panic!("{json} {image}: {error}"));
        data.all().load(0).unwrap();
        // The folder of all leads to the same file.
        assert_eq!(read(&tree, "").unwrap().all().ids.len(), 1);
    }
    let tree = Tree::empty();
    tree.image_at("far/away/a.jpg", 8, 6);
    write(&tree, "x.json", &file(&[(5, "a.jpg")], &[square(1, 5, 7, [0, 0])]));
    let message = read(&tree, "x.json").unwrap_err().to_string();
    assert!(message.contains("a.jpg") && message.contains("name the folder"), "{message}");
    let images = Some(tree.path("far/away"));
    let options = OwnOptions { images, ..OwnOptions::default() };
    OwnData::read(&tree.path("x.json"), &options).unwrap().all().load(0).unwrap();
}

#[test]
fn bad_entries_are_refused_or_left_out() {
    let tree = Tree::empty();
    for name in ["a.jpg", "b.jpg", "small.jpg"] {
        tree.image_at(name, if name == "small.jpg" { 4 } else { 8 }, 6);
    }
    let images = [(1, "a.jpg"), (2, "gone.jpg"), (3, "b.jpg"), (4, "a.jpg"), (5, "small.jpg")];
    let mut far = square(13, 3, 9, [0, 0]);
    far["segmentation"] = json!([[0, 0, 900, 900, 0, 5]]);
    let annotations = [square(11, 1, 7, [0, 0]), square(12, 2, 9, [0, 0]), far];
    write(&tree, "x.json", &file(&images, &annotations));
    let message = read(&tree, "x.json").unwrap_err().to_string();
    assert!(message.contains("annotation 13 (image 3)"), "{message}");
    write(&tree, "x.json", &file(&images, &annotations[..2]));
    let message = read(&tree, "x.json").unwrap_err().to_string();
    assert!(message.contains("image 2: there is no file") && message.contains("skip"), "{message}");

    write(&tree, "x.json", &file(&images, &annotations));
    let options = OwnOptions { bad: BadEntries::Skip, ..OwnOptions::default() };
    let data = OwnData::read(&tree.path("x.json"), &options).unwrap();
    // An image that lost an object would teach that the object is background.
    assert_eq!(data.all().ids, ["a.jpg"]);
    assert_eq!(data.class_names(), ["zebra"]);
    let skipped: Vec<String> = data.skipped().iter().map(ToString::to_string).collect();
    for words in ["annotation 13", "gone.jpg", "an earlier image", "4x6"] {
        assert!(skipped.iter().any(|text| text.contains(words)), "{words}: {skipped:?}");
    }
    write(&tree, "x.json", &file(&images[1..2], &[]));
    assert!(read(&tree, "x.json").is_err());
}

#[test]
fn more_classes_than_labels_give_an_entry_each() {
    let tree = Tree::empty();
    tree.image_at("a.jpg", 8, 6);
    let mut content = file(&[(1, "a.jpg")], &[]);
    let of = |count: i64| -> (Vec<Value>, Vec<Value>) {
        (0..count)
            .map(|c| {
                let place = [(c % 6) as i32, (c % 4) as i32];
                (json!({"id": c, "name": format!("c{c:03}")}), square(c, 1, c, place))
            })
            .unzip()
    };
    for (count, entries) in [(254, 1), (255, 255), (300, 300)] {
        let (categories, annotations) = of(count);
        content["categories"] = categories.into();
        content["annotations"] = annotations.into();
        write(&tree, "x.json", &content);
        let data = read(&tree, "x.json").unwrap();
        let dataset = data.all();
        assert_eq!((dataset.classes(), dataset.len()), (count as usize, entries));
        let last = count as crate::ClassId;
        let sample = dataset.load_class(dataset.len() - 1, last).unwrap();
        assert_eq!(sample.mask.iter().filter(|&&value| value == 1).count(), 4, "{count}");
        let index = MaskIndex::build(&dataset).unwrap();
        let listing = index.listing(&dataset);
        assert_eq!(listing[dataset.len() - 1].pixels[&last], 4);
        assert_eq!(data.images_of(last).len(), 1);
    }
}
