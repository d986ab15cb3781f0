use std::path::Path;

use ndarray::{Array2, array};
use serde_json::{Value, json};

use super::*;

/// A good file of two images, two categories and four annotations.
pub(super) fn good() -> Value {
    json!({
        "images": [
            {"id": 5, "file_name": "a.jpg", "width": 4, "height": 3},
            {"id": 2, "file_name": "b.jpg", "width": 3, "height": 2},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 10, "image_id": 2, "category_id": 1, "iscrowd": 0,
             "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]},
            {"id": 11, "image_id": 5, "category_id": 90, "iscrowd": 0,
             "segmentation": {"size": [3, 4], "counts": [3, 6, 3]}},
            {"id": 12, "image_id": 2, "category_id": 90, "iscrowd": 1,
             "segmentation": {"size": [2, 3], "counts": [3, 3]}},
            {"id": 13, "image_id": 2, "category_id": 1,
             "segmentation": {"size": [2, 3], "counts": Rle::from_counts(vec![5, 1], 2, 3)
                .unwrap().to_compressed()}},
        ],
    })
}

fn parse(file: &Value, bad: BadEntries) -> Result<(CocoFile, Vec<Skipped>), DataError> {
    CocoFile::parse(&serde_json::to_vec(file).unwrap(), Path::new("some/file.json"), bad)
}

#[test]
fn a_file_is_read_and_painted_in_order() {
    let (file, skipped) = parse(&good(), BadEntries::Refuse).unwrap();
    assert_eq!(skipped, []);
    assert_eq!(file.categories.iter().map(|category| category.id).collect::<Vec<_>>(), [1, 90]);
    assert_eq!(file.images.iter().map(|image| image.id).collect::<Vec<_>>(), [5, 2]);
    assert_eq!(file.image_index(2), Some(1));
    assert_eq!(file.image_index(3), None);
    assert_eq!(file.annotation_count(), 4);
    let ids = |image| file.annotations(image).iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!((ids(0), ids(1), ids(2)), (vec![11], vec![10, 12, 13], vec![]));

    let label_of = |id| Some(if id == 1 { 1 } else { 7 });
    let paint = |crowds| file.paint(1, label_of, crowds).unwrap();
    assert_eq!(paint(Crowds::Leave), array![[1, 1, 0], [1, 1, 1]]);
    assert_eq!(paint(Crowds::Paint), array![[1, 1, 7], [1, 7, 1]]);
    assert_eq!(paint(Crowds::Ignore), array![[1, 1, 255], [1, 255, 1]]);
    let persons = file.paint(1, |id| (id == 1).then_some(3), Crowds::Ignore).unwrap();
    assert_eq!(persons, array![[3, 3, 0], [3, 3, 3]], "a crowd without a label is left out");
    let other = file.paint(0, label_of, Crowds::Leave).unwrap();
    assert_eq!(other, array![[0, 7, 7, 0], [0, 7, 7, 0], [0, 7, 7, 0]]);
    let error = file.paint(2, label_of, Crowds::Leave).unwrap_err().to_string();
    assert!(error.contains("image number 2 asked of 2 images"), "{error}");
}

#[test]
fn changed_sizes_are_no_panic() {
    let (mut file, _) = parse(&good(), BadEntries::Refuse).unwrap();
    file.images[0].width = 5;
    let error = file.paint(0, |_| Some(1), Crowds::Paint).unwrap_err().to_string();
    assert!(error.contains("image 5: the mask is 4 x 3 pixels, but the image 5 x 3"), "{error}");
    file.images.push(CocoImage { id: 77, file_name: "new".into(), width: 2, height: 2 });
    assert_eq!(file.paint(2, |_| Some(1), Crowds::Paint).unwrap(), Array2::<u8>::zeros((2, 2)));
}

#[test]
fn a_byte_order_mark_and_whole_floats_are_taken() {
    let mut file = good();
    file["images"][0]["width"] = json!(4.0);
    file["annotations"][0]["iscrowd"] = json!(true);
    let text = [b"\xef\xbb\xbf".as_slice(), &serde_json::to_vec(&file).unwrap()].concat();
    let (file, _) = CocoFile::parse(&text, Path::new("x"), BadEntries::Refuse).unwrap();
    assert_eq!(file.images[0].width, 4);
    assert!(file.annotations(1)[0].iscrowd);
}

/// Changes to the good file, and what the message must say.
fn flaws() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        // Images.
        (
            "/images/0/id",
            json!("5"),
            r#"image number 1 of the list: "id" is text, not a whole number"#,
        ),
        ("/images/0/id", json!(2.5), r#""id" is the number 2.5, not a whole number"#),
        ("/images/1/id", json!(5), "image 5: an earlier entry has the same id"),
        ("/images/0/file_name", Value::Null, r#"image 5: "file_name" is null, not text"#),
        ("/images/0/file_name", json!(""), r#"image 5: "file_name" is empty"#),
        ("/images/0/width", json!(0), "image 5: the size is 0 x 3 pixels"),
        ("/images/0/height", json!(-3), "image 5: the size is 4 x 0 pixels"),
        ("/images/0/width", json!(1u64 << 40), "more than this program reads"),
        ("/images/0", json!([1]), "image number 1 of the list: it is a list"),
        // Categories.
        ("/categories/1/id", json!(90), "category 90: an earlier entry has the same id"),
        ("/categories/0/name", json!(3), r#"category 90: "name" is the number 3, not text"#),
        // Annotations.
        ("/annotations/1/id", json!(10), "annotation 10 (image 5): an earlier entry"),
        (
            "/annotations/1/id",
            Value::Null,
            r#"annotation number 2 of the list (image 5): "id" is null"#,
        ),
        ("/annotations/1/image_id", json!(4), "annotation 11 (image 4): image 4 is not among"),
        (
            "/annotations/1/category_id",
            json!(4),
            "annotation 11 (image 5): category 4 is not among",
        ),
        ("/annotations/1/iscrowd", json!(2), r#""iscrowd" is the number 2, not 0 or 1"#),
        ("/annotations/1/segmentation", Value::Null, r#""segmentation" is null"#),
        ("/annotations/0/segmentation", json!([]), r#""segmentation" is empty"#),
        ("/annotations/0/segmentation", json!([0, 0, 1, 1, 2, 0]), "a bare list of numbers"),
        ("/annotations/0/segmentation", json!([[0, 0, 1, 1]]), "2 point(s), fewer than three"),
        ("/annotations/0/segmentation", json!([[0, 0, 1, 1, 2, 2, 3]]), "7 coordinates, an odd"),
        ("/annotations/0/segmentation/0/3", json!("1"), r#"number 3 of "segmentation" is text"#),
        (
            "/annotations/0/segmentation/0/3",
            json!(-300),
            "the point (2, -300) of a polygon lies far",
        ),
        ("/annotations/0/segmentation/0/2", json!(1e300), "x of point 1 of a polygon is 1"),
        ("/annotations/0/segmentation", json!({"counts": [6]}), r#""size" is missing"#),
        ("/annotations/1/segmentation/counts", json!({}), r#""counts" is an object"#),
        ("/annotations/1/segmentation/counts", json!([3, 6]), "add up to 9, not to 3 x 4 = 12"),
        (
            "/annotations/1/segmentation/counts",
            json!([3, -6, 15]),
            "a run of \"counts\" has the length -6",
        ),
        (
            "/annotations/1/segmentation/counts",
            json!([3, 6.5]),
            r#"number 1 of "counts" is the number 6.5"#,
        ),
        ("/annotations/1/segmentation/counts", json!("é"), "make no sense"),
        ("/annotations/1/segmentation/size", json!([3, 4, 1]), r#""size" has 3 numbers"#),
        (
            "/annotations/1/segmentation/size",
            json!([4, 3]),
            "the mask is 3 x 4 pixels, but the image 4 x 3",
        ),
    ]
}

#[test]
fn bad_entries_are_told_or_skipped() {
    for (pointer, value, message) in flaws() {
        let mut file = good();
        *file.pointer_mut(pointer).expect(pointer) = value.clone();
        let error = parse(&file, BadEntries::Refuse).expect_err(pointer).to_string();
        assert!(error.starts_with("some/file.json: "), "{error}");
        assert!(error.ends_with("; or skip bad entries"), "{error}");
        assert!(error.contains(message), "{pointer} = {value}: {error}");

        let (rest, skipped) = parse(&file, BadEntries::Skip).expect(pointer);
        assert!(message.contains(&skipped[0].what) || skipped[0].to_string().contains(message));
        let entries = rest.images.len() + rest.categories.len() + rest.annotation_count();
        assert_eq!(entries + skipped.len(), 8, "{pointer}: every entry is kept or told");
        for image in 0..rest.images.len() {
            rest.paint(image, |_| Some(1), Crowds::Paint).expect("good entries are painted");
        }
    }
}

#[test]
fn annotations_of_skipped_images_are_skipped_with_them() {
    let mut file = good();
    file["images"][1]["height"] = json!(0);
    let (file, skipped) = parse(&file, BadEntries::Skip).unwrap();
    let told: Vec<_> = skipped.iter().map(|one| (one.what.as_str(), one.image_id)).collect();
    let annotation = [
        ("image 2", Some(2)),
        ("annotation 10 (image 2)", Some(2)),
        ("annotation 12 (image 2)", Some(2)),
        ("annotation 13 (image 2)", Some(2)),
    ];
    assert_eq!(told, annotation);
    assert_eq!(file.annotation_count(), 1);
}

#[test]
fn missing_keys_are_named() {
    for (list, key) in [
        ("images", "id"),
        ("images", "file_name"),
        ("images", "width"),
        ("images", "height"),
        ("categories", "id"),
        ("categories", "name"),
        ("annotations", "id"),
        ("annotations", "image_id"),
        ("annotations", "category_id"),
        ("annotations", "segmentation"),
    ] {
        let mut file = good();
        file[list][0].as_object_mut().unwrap().remove(key);
        let error = parse(&file, BadEntries::Refuse).unwrap_err().to_string();
        assert!(error.contains(&format!("{key:?} is missing")), "{error}");
        assert!(!parse(&file, BadEntries::Skip).unwrap().1.is_empty());
    }
}

#[test]
fn files_that_are_no_annotation_files_are_refused_at_once() {
    let read = |text: &str| {
        let result = CocoFile::parse(text.as_bytes(), Path::new("f.json"), BadEntries::Skip);
        result.expect_err(text).to_string()
    };
    assert!(read("").contains("f.json: this is no complete JSON"));
    let cut = read("{\"images\": [\n  {\"id\": 1, \"wid");
    assert!(cut.contains("line 2 column"), "{cut}");
    assert!(read("{\"images\": [NaN]}").contains("line 1 column"));
    assert!(read("[]").contains("the file is a list, no object"));
    assert!(read("{}").contains("\"images\" is missing"));
    assert!(read(r#"{"images": {}, "annotations": []}"#).contains("\"images\" is an object"));
    let deep = "[".repeat(100_000);
    assert!(read(&format!("{{\"images\": [{{\"id\": {deep}")).contains("line 1 column"));
    let empty = json!({"images": [], "annotations": [], "categories": []});
    assert!(read(&empty.to_string()).contains("no (good) images"));
    let mut file = good();
    file.as_object_mut().unwrap().remove("annotations");
    assert!(read(&file.to_string()).contains("\"annotations\" is missing"));
    file = good();
    file["categories"] = json!([]);
    assert!(read(&file.to_string()).contains("no (good) categories"));
    let missing = CocoFile::read(Path::new("/no/such.json"), BadEntries::Skip).unwrap_err();
    assert!(missing.to_string().contains("cannot read /no/such.json"));
}

#[test]
fn functions_refuse_what_is_no_mask() {
    let triangle = [[0.0, 0.0, 3.0, 0.0, 0.0, 3.0]];
    let text = |result: Result<Rle, DataError>| result.expect_err("no mask").to_string();
    assert!(text(Rle::from_polygons(&triangle, 0, 4)).contains("4 x 0 pixels"));
    assert!(text(Rle::from_polygons(&triangle, 1 << 20, 4)).contains("more than"));
    assert!(text(Rle::from_polygons(&[[0.0, 0.0, f64::NAN, 1.0, 2.0, 2.0]], 4, 4)).contains("NaN"));
    assert!(
        text(Rle::from_polygons(&[[0.0, 0.0, 1.0, f64::INFINITY, 2.0, 2.0]], 4, 4)).contains("inf")
    );
    assert!(text(Rle::from_counts(vec![u32::MAX; 9], 4, 4)).contains("add up to"));
    assert!(text(Rle::from_counts(Vec::new(), 4, 4)).contains("add up to 0"));
    assert!(text(Rle::from_compressed("P", 4, 4)).contains("in the middle"));
    assert!(text(Rle::from_compressed("oooooooo0", 4, 4)).contains("no sense"));
    assert!(text(Rle::from_compressed("115", 1, 2)).contains("add up to 7"));
    assert!(text(Rle::from_compressed("O", 1, 1)).contains("length -1"));
    assert!(text(Rle::merge(&[])).contains("no masks"));
    let [one, other] = [(2, 3), (3, 2)].map(|(h, w)| Rle::from_counts(vec![6], h, w).unwrap());
    assert!(text(Rle::merge(&[one.clone(), other])).contains("cannot merge"));
    let wrong = paint(3, 2, [(&Segmentation::Rle(one), 1)]).unwrap_err().to_string();
    assert!(wrong.contains("is [height, width]; exchange"), "{wrong}");
}

#[test]
fn polygons_by_hand() {
    // A pixel is covered when the outline goes around its middle.
    let square = Rle::from_polygons(&[[1.0, 1.0, 3.0, 1.0, 3.0, 2.0, 1.0, 2.0]], 3, 4).unwrap();
    assert_eq!(square.decode(), array![[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]);
    assert_eq!(square.area(), 2);
    // Even-odd: the middle of a five-pointed star that is drawn in one stroke is outside.
    let corner = |i: u32| {
        let turn = f64::from(4 * i) * std::f64::consts::PI / 5.0;
        [50.0 + 45.0 * turn.sin(), 50.0 - 45.0 * turn.cos()]
    };
    let star: Vec<f64> = (0..5).flat_map(corner).collect();
    let mask = Rle::from_polygons(&[star], 100, 100).unwrap().decode();
    assert_eq!((mask[[50, 50]], mask[[15, 50]]), (0, 1));
    assert_eq!(Rle::from_polygons::<Vec<f64>>(&[], 2, 2).unwrap().counts(), [4]);
}

#[test]
fn rectangles_and_circles() {
    let draw = |shape: &Segmentation| paint(6, 6, [(shape, 1)]).unwrap();
    let rectangle = draw(&Segmentation::rectangle([4.0, 3.0], [1.0, 1.0]));
    assert_eq!(rectangle.indexed_iter().filter(|(_, label)| **label == 1).count(), 3 * 2);
    assert_eq!((rectangle[[1, 1]], rectangle[[2, 3]], rectangle[[3, 3]]), (1, 1, 0));

    let disc =
        paint(200, 200, [(&Segmentation::circle([100.0, 100.0], [100.0, 20.0]), 1)]).unwrap();
    for ((y, x), &label) in disc.indexed_iter() {
        let distance = (x as f64 + 0.5 - 100.0).hypot(y as f64 + 0.5 - 100.0);
        // Borders move by up to a fine step and its rounding.
        assert!(label == 1 || distance > 79.5, "({x}, {y}) at {distance}");
        assert!(label == 0 || distance < 80.5, "({x}, {y}) at {distance}");
    }
    let point = Segmentation::circle([2.0, 2.0], [2.0, 2.0]);
    assert!(draw(&point).iter().all(|&label| label == 0), "nothing, and no panic");
    for bad in [f64::NAN, f64::INFINITY, 1e300] {
        assert!(paint(6, 6, [(&Segmentation::circle([2.0, bad], [1.0, 0.0]), 1)]).is_err());
    }
}
