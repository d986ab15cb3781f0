use serde_json::{Value, json};

use super::super::{OwnData, OwnOptions};
use super::*;
use crate::test_tree::Tree;
use crate::{Split, annotations::BadEntries};

/// The words of RFC 4648 for bytes.
fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let value = group.iter().fold(0u32, |all, &byte| all << 8 | u32::from(byte));
        let value = value << (8 * (3 - group.len()));
        for place in 0..4 {
            match place <= group.len() {
                true => text.push(char::from(ALPHABET[(value >> (18 - 6 * place) & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text
}

fn shape(label: &str, kind: &str, points: &[[f64; 2]]) -> Value {
    json!({"label": label, "shape_type": kind, "points": points})
}

/// `<stem>.json` for an image of 8 x 6 pixels.
fn write(tree: &Tree, stem: &str, shapes: &[Value]) {
    let document = json!({
        "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": format!("{stem}.png"),
        "imageData": null, "imageHeight": 6, "imageWidth": 8
    });
    tree.file(&format!("{stem}.json"), document.to_string().as_bytes());
}

fn open(tree: &Tree) -> OwnData {
    OwnData::read(tree.root(), &OwnOptions::default()).unwrap()
}

fn refusal(tree: &Tree) -> String {
    OwnData::read(tree.root(), &OwnOptions::default()).unwrap_err().to_string()
}

fn rows(mask: &Array2<u8>) -> Vec<Vec<u8>> {
    mask.rows().into_iter().map(|row| row.to_vec()).collect()
}

#[test]
fn shapes_are_drawn_in_file_order() {
    let tree = Tree::empty();
    tree.image_at("a.png", 8, 6);
    write(
        &tree,
        "a",
        &[
            shape("dog", "rectangle", &[[6.0, 5.0], [1.0, 1.0]]),
            shape("cat", "polygon", &[[3.0, 1.0], [6.0, 1.0], [6.0, 5.0], [3.0, 5.0]]),
            shape("_background_", "rectangle", &[[4.0, 2.0], [5.0, 3.0]]),
            shape("__ignore__", "rectangle", &[[0.0, 0.0], [1.0, 6.0]]),
            shape("dog", "line", &[[0.0, 0.0], [8.0, 6.0]]),
            shape("post", "point", &[[2.0, 2.0]]),
        ],
    );
    let data = open(&tree);
    // `post` covers nothing, so it is no class.
    assert_eq!(data.class_names(), ["cat", "dog"]);
    let sample = data.dataset(Split::Val).unwrap().load(0).unwrap();
    assert_eq!(sample.id, "a");
    assert_eq!(
        rows(&sample.mask),
        [
            [255, 0, 0, 0, 0, 0, 0, 0],
            [255, 2, 2, 1, 1, 1, 0, 0],
            [255, 2, 2, 1, 0, 1, 0, 0],
            [255, 2, 2, 1, 1, 1, 0, 0],
            [255, 2, 2, 1, 1, 1, 0, 0],
            [255, 0, 0, 0, 0, 0, 0, 0],
        ]
    );
}

#[test]
fn circles_and_painted_masks() {
    let tree = Tree::empty();
    tree.image_at("a.png", 8, 6);
    let mut png = std::io::Cursor::new(Vec::new());
    let piece = image::GrayImage::from_raw(3, 2, vec![1, 0, 1, 1, 1, 0]).unwrap();
    piece.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let mut painted = shape("b", "mask", &[[6.0, 4.0], [8.0, 5.0]]);
    painted["mask"] = encode(&png.into_inner()).into();
    write(&tree, "a", &[shape("a", "circle", &[[2.0, 2.0], [2.0, 0.0]]), painted]);
    let mask = open(&tree).all().load_mask(0).unwrap();
    assert_eq!(mask.iter().filter(|&&label| label == 1).count(), 12, "{mask}");
    assert_eq!(mask[[0, 0]], 0);
    // The third column of the piece lies outside.
    assert_eq!((mask[[4, 6]], mask[[4, 7]], mask[[5, 6]], mask[[5, 7]]), (2, 0, 2, 2));
}

#[test]
fn images_are_found_beside_elsewhere_and_inside() {
    let tree = Tree::empty();
    let square = [shape("a", "rectangle", &[[1.0, 1.0], [3.0, 3.0]])];
    for stem in ["windows", "renamed", "inside"] {
        write(&tree, stem, &square);
    }
    tree.image_at("pictures/windows.jpg", 8, 6);
    tree.image_at("renamed.jpg", 8, 6);
    let edit = |stem: &str, key: &str, value: Value| {
        let path = tree.path(&format!("{stem}.json"));
        let mut document: Value = serde_json::from_slice(&read_file(&path).unwrap()).unwrap();
        document[key] = value;
        std::fs::write(path, document.to_string()).unwrap();
    };
    edit("windows", "imagePath", "pictures\\windows.jpg".into());
    edit("renamed", "imagePath", "C:\\old\\name.jpg".into());
    tree.image_at("tmp/picture.jpg", 8, 6);
    let picture = std::fs::read(tree.path("tmp/picture.jpg")).unwrap();
    edit("inside", "imageData", encode(&picture).into());
    for key in ["imageHeight", "imageWidth"] {
        edit("inside", key, Value::Null);
    }
    let dataset = open(&tree).all();
    assert_eq!(dataset.ids, ["inside", "renamed", "windows"]);
    for position in 0..3 {
        let sample = dataset.load(position).unwrap();
        assert_eq!(sample.image.dimensions(), (8, 6));
        assert_eq!(dataset.image_size(position).unwrap(), (8, 6));
        assert_eq!(sample.mask.iter().filter(|&&label| label == 1).count(), 4);
    }
    std::fs::remove_file(tree.path("renamed.jpg")).unwrap();
    let message = refusal(&tree);
    assert!(message.contains("renamed.json") && message.contains("old\\name.jpg"), "{message}");
}

#[test]
fn bad_shapes_name_file_and_place() {
    let tree = Tree::empty();
    tree.image_at("a.png", 8, 6);
    let good = shape("a", "rectangle", &[[1.0, 1.0], [3.0, 3.0]]);
    let mut no_picture = shape("a", "mask", &[[0.0, 0.0], [1.0, 1.0]]);
    no_picture["mask"] = "%%%".into();
    for (bad, expected) in [
        (shape("a", "polygon", &[[1.0, 1.0], [3.0, 3.0]]), "polygon of 2 points"),
        (shape("a", "rectangle", &[[1.0, 1.0]]), "rectangle of 1 points"),
        (shape("a", "circle", &[[1.0, 1.0]]), "1 points instead of 2"),
        (shape("a", "spiral", &[[1.0, 1.0]]), "\"spiral\" are unknown"),
        (shape("a", "polygon", &[[9.0, 1.0], [12.0, 1.0], [12.0, 3.0]]), "outside of the image"),
        (shape("a", "polygon", &[[0.0, 0.0], [1e9, 1.0], [5.0, 3.0]]), "1000000000"),
        (shape(" ", "rectangle", &[[1.0, 1.0], [3.0, 3.0]]), "no label"),
        (no_picture, "no Base64"),
    ] {
        write(&tree, "a", &[good.clone(), bad]);
        let message = refusal(&tree);
        assert!(message.contains("a.json: shape 2 ("), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    tree.file("a.json", b"{\"shapes\": [{\"points\": []}]}");
    assert!(
        refusal(&tree).contains("no LabelMe file (missing field `label`"),
        "{}",
        refusal(&tree)
    );
    write(&tree, "a", std::slice::from_ref(&good));
    tree.file("b.json", b"{\"shapes\": []}");
    assert!(refusal(&tree).contains("b.json: its image (no imagePath)"));
    let options = OwnOptions { bad: BadEntries::Skip, ..OwnOptions::default() };
    let data = OwnData::read(tree.root(), &options).unwrap();
    assert_eq!((data.all().ids, data.skipped().len()), (vec!["a".to_owned()], 1));
}
