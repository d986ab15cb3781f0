//! Masks equal to those of pycocotools, bit for bit. `coco_masks/make.py` made the cases.

use std::collections::HashMap;
use std::path::Path;

use fss_data::annotations::{BadEntries, CocoFile, Crowds, Rle, Segmentation, paint};
use ndarray::Array2;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Cases {
    polygons: Vec<PolygonCase>,
    runs: Vec<RunCase>,
    merges: Vec<MergeCase>,
    file: FileCase,
}

#[derive(Deserialize)]
struct PolygonCase {
    height: u32,
    width: u32,
    polygons: Vec<Vec<f64>>,
    compressed: String,
    area: u64,
}

#[derive(Deserialize)]
struct RunCase {
    height: u32,
    width: u32,
    counts: Vec<u32>,
    compressed: String,
    area: u64,
    rows: Vec<String>,
}

#[derive(Deserialize)]
struct MergeCase {
    height: u32,
    width: u32,
    parts: Vec<String>,
    union: String,
}

#[derive(Deserialize)]
struct FileCase {
    content: Value,
    labels: Vec<(i64, u8)>,
    masks: Vec<MaskCase>,
}

#[derive(Deserialize)]
struct MaskCase {
    crowds: String,
    image_id: i64,
    rows: Vec<String>,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("coco_masks/cases.json")).expect("readable cases")
}

/// A mask whose pixels are written as digits.
fn mask(rows: &[String]) -> Array2<u8> {
    let pixels = rows.iter().flat_map(|row| row.bytes().map(|digit| digit - b'0')).collect();
    Array2::from_shape_vec((rows.len(), rows[0].len()), pixels).expect("rows of one length")
}

#[test]
fn polygons_equal_pycocotools() {
    let cases = cases().polygons;
    assert!(cases.len() > 300);
    assert!(cases.iter().filter(|case| case.area > 0).count() > 200, "most are no empty masks");
    for (i, case) in cases.iter().enumerate() {
        let (height, width) = (case.height, case.width);
        let got = Rle::from_polygons(&case.polygons, height, width).expect("a polygon");
        assert_eq!(got.to_compressed(), case.compressed, "case {i}: {:?}", case.polygons);
        assert_eq!(got.area(), case.area, "case {i}");
        let painted =
            paint(height, width, [(&Segmentation::Polygons(case.polygons.clone()), 1)]).unwrap();
        assert_eq!(painted, got.decode(), "case {i}: painted and encoded masks differ");
    }
}

#[test]
fn runs_equal_pycocotools() {
    for (i, case) in cases().runs.into_iter().enumerate() {
        let (height, width) = (case.height, case.width);
        let plain = Rle::from_counts(case.counts.clone(), height, width).expect("runs");
        let packed = Rle::from_compressed(&case.compressed, height, width).expect("text");
        assert_eq!(plain, packed, "case {i}");
        assert_eq!(packed.counts(), case.counts, "case {i}");
        assert_eq!(plain.to_compressed(), case.compressed, "case {i}");
        assert_eq!(plain.area(), case.area, "case {i}");
        let wanted = mask(&case.rows);
        assert_eq!(plain.decode(), wanted, "case {i}");
        assert_eq!(Rle::from_mask(wanted.view()).unwrap(), plain, "case {i}");
    }
}

#[test]
fn unions_equal_pycocotools() {
    for (i, case) in cases().merges.into_iter().enumerate() {
        let (height, width) = (case.height, case.width);
        let parts: Vec<Rle> = case
            .parts
            .iter()
            .map(|text| Rle::from_compressed(text, height, width).expect("text"))
            .collect();
        assert_eq!(Rle::merge(&parts).unwrap().to_compressed(), case.union, "case {i}");
    }
}

#[test]
fn painted_files_equal_pycocotools() {
    let case = cases().file;
    let json = serde_json::to_vec(&case.content).unwrap();
    let (file, skipped) =
        CocoFile::parse(&json, Path::new("case.json"), BadEntries::Refuse).expect("a good file");
    assert_eq!(skipped, []);
    let labels: HashMap<i64, u8> = case.labels.into_iter().collect();
    assert_eq!(case.masks.len(), 3 * file.images.len());
    for wanted in case.masks {
        let (crowds, ignored) = match wanted.crowds.as_str() {
            "paint" => (Crowds::Paint, 9),
            "ignore" => (Crowds::Ignore, 255),
            "leave" => (Crowds::Leave, 9),
            other => panic!("unknown treatment {other:?}"),
        };
        let image = file.image_index(wanted.image_id).expect("a listed image");
        let got = file.paint(image, |id| labels.get(&id).copied(), crowds).unwrap();
        let rows = mask(&wanted.rows).mapv(|label| if label == 9 { ignored } else { label });
        assert_eq!(got, rows, "image {}, crowds: {}", wanted.image_id, wanted.crowds);
    }
}
