//! Annotation files of COCO's form: images of 640x480, mostly polygons of 8 to 80 corners, of sizes from
//! a dozen pixels to most of an image; one object in fifty is a crowd with runs.

use std::fs;
use std::path::Path;

use fss_support::fill;
use serde_json::{Value, json};

const SIZE: [f32; 2] = [640.0, 480.0];

/// Two decimals, as COCO writes them.
fn rounded(value: f32) -> f64 {
    f64::from((value * 100.0).round()) / 100.0
}

/// A wobbly outline.
fn polygon(number: usize) -> Vec<f64> {
    let random = fill(&format!("object {number}"), &[84]);
    let corners = 8 + (36.0 * (random[0] + 1.0)) as usize;
    let radius = 6.0 * (1.7 * (random[1] + 1.0)).exp();
    let centre = [0, 1].map(|axis| SIZE[axis] * (0.5 + 0.5 * random[2 + axis]));
    (0..corners)
        .flat_map(|corner| {
            let turn = std::f32::consts::TAU * corner as f32 / corners as f32;
            let radius = radius * (1.0 + 0.3 * random[4 + corner]);
            let at = |axis: usize, along: f32| {
                rounded((centre[axis] + radius * along).clamp(0.0, SIZE[axis]))
            };
            [at(0, turn.cos()), at(1, turn.sin())]
        })
        .collect()
}

/// Runs that cover a part of some columns.
fn runs(number: usize) -> Value {
    let random = fill(&format!("crowd {number}"), &[122]);
    let [width, height] = SIZE.map(|side| side as usize);
    let first = (((random[120] + 1.0) * 0.4) * width as f32) as usize;
    let (mut counts, mut end) = (Vec::new(), 0);
    for (column, share) in random[..120].iter().enumerate() {
        let length = 10 + (100.0 * (share + 1.0)) as usize;
        let start = (first + column) * height + height / 4;
        counts.extend([start - end, length]);
        end = start + length;
    }
    counts.push(width * height - end);
    json!({ "size": [height, width], "counts": counts })
}

/// Writes the annotation file of one split, `train2014` or `val2014`, without images.
pub fn write_annotations(path: &Path, split: &str, images: usize, objects: usize) {
    let images_json: Vec<Value> = (0..images)
        .map(|i| {
            let name = format!("COCO_{split}_{i:012}.jpg");
            json!({ "id": i, "file_name": name, "width": SIZE[0] as u32, "height": SIZE[1] as u32 })
        })
        .collect();
    let objects_json: Vec<Value> = (0..objects)
        .map(|i| {
            let crowd = i % 50 == 49;
            let segmentation = if crowd { runs(i) } else { json!([polygon(i)]) };
            json!({
                "id": i,
                "image_id": (i * 7919) % images,
                "category_id": 1 + i % 80,
                "iscrowd": u8::from(crowd),
                "area": 1234.5,
                "bbox": [1.5, 2.5, 3.5, 4.5],
                "segmentation": segmentation,
            })
        })
        .collect();
    let categories: Vec<Value> =
        (1..=80).map(|id| json!({ "id": id, "name": format!("thing {id}") })).collect();
    let file =
        json!({ "images": images_json, "annotations": objects_json, "categories": categories });
    fs::write(path, file.to_string()).expect("a writable target folder");
}
