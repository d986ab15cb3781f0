//! The annotation file of a set in the layout of COCO.

use ndarray::iter::Lanes;
use ndarray::{Array2, Ix1};
use serde::Serialize;

use super::class::SyntheticClass;
use super::coco::{CocoConfig, CocoPicture, Form, Region};
use super::math::Draw;
use super::outline::polygons;
use crate::annotations::Rle;
use crate::{ClassId, DataError};

/// What the file says about one picture.
pub(super) struct Entry {
    image: Image,
    annotations: Vec<Annotation>,
}

#[derive(Serialize)]
struct Document {
    info: Info,
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Serialize)]
struct Info {
    description: &'static str,
}

#[derive(Serialize)]
struct Image {
    id: u64,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct Category {
    id: ClassId,
    name: String,
    supercategory: String,
}

#[derive(Serialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    category_id: ClassId,
    iscrowd: u8,
    /// In pixels.
    area: u64,
    /// Left, top, width, height.
    bbox: [usize; 4],
    segmentation: Segmentation,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs { counts: Vec<u32>, size: [usize; 2] },
    CompressedRuns { counts: String, size: [usize; 2] },
}

impl Entry {
    pub(super) fn of(picture: &CocoPicture, id: u64, file_name: String) -> Result<Self, DataError> {
        let (height, width) = picture.shown.dim();
        let mut annotations = Vec::new();
        for (number, region) in picture.regions.iter().enumerate() {
            let mask = picture.shown.mapv(|shown| u8::from(usize::from(shown) == number + 1));
            annotations.extend(annotation(id, region, &mask)?);
        }
        Ok(Self { image: Image { id, file_name, width, height }, annotations })
    }
}

/// The annotation of a region; none if nothing of it shows. Its id is given later.
fn annotation(
    image_id: u64,
    region: &Region,
    mask: &Array2<u8>,
) -> Result<Option<Annotation>, DataError> {
    let (rows, columns) = (extent(mask.rows()), extent(mask.columns()));
    let (Some((top, height)), Some((left, width))) = (rows, columns) else { return Ok(None) };
    let runs = Rle::from_mask(mask.view())?;
    Ok(Some(Annotation {
        id: 0,
        image_id,
        category_id: CocoConfig::category_id(region.class.label),
        iscrowd: u8::from(region.form == Form::Crowd),
        area: runs.area(),
        bbox: [left, top, width, height],
        segmentation: segmentation(region.form, mask, &runs),
    }))
}

/// The first of the lines that show anything, and how many there are from it to the last.
fn extent(lines: Lanes<'_, u8, Ix1>) -> Option<(usize, usize)> {
    let set: Vec<bool> = lines.into_iter().map(|line| line.iter().any(|&v| v != 0)).collect();
    let first = set.iter().position(|&any| any)?;
    let last = set.iter().rposition(|&any| any)?;
    Some((first, last + 1 - first))
}

fn segmentation(form: Form, mask: &Array2<u8>, runs: &Rle) -> Segmentation {
    let size = [mask.nrows(), mask.ncols()];
    let outlines = (form == Form::Polygons).then(|| polygons(mask.view())).flatten();
    match (form, outlines) {
        (_, Some(outlines)) => Segmentation::Polygons(outlines),
        (Form::CompressedRuns, None) => {
            Segmentation::CompressedRuns { counts: runs.to_compressed(), size }
        }
        _ => Segmentation::Runs { counts: runs.counts().to_vec(), size },
    }
}

/// The whole file as JSON, images and annotations in an order drawn from `shuffle`.
pub(super) fn document(
    entries: Vec<Entry>,
    classes: &[SyntheticClass],
    shuffle: &mut Draw,
) -> Result<Vec<u8>, serde_json::Error> {
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for entry in entries {
        images.push(entry.image);
        annotations.extend(entry.annotations);
    }
    for (number, annotation) in annotations.iter_mut().enumerate() {
        annotation.id = number as u64 + 1;
    }
    shuffle.shuffle(&mut images);
    shuffle.shuffle(&mut annotations);
    let categories = classes
        .iter()
        .map(|class| Category {
            id: CocoConfig::category_id(class.label),
            name: class.to_string(),
            supercategory: format!("{:?}", class.shape).to_lowercase(),
        })
        .collect();
    let info = Info { description: "drawn by machine" };
    serde_json::to_vec(&Document { info, images, annotations, categories })
}
