//! LabelMe files: one JSON for each image, with the outlines of what it shows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use ndarray::Array2;
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::entry::{Entry, Shows, Skips};
use super::table::below;
use super::{OwnOptions, base64, listing};
use crate::annotations::{Rle, Segmentation, paint};
use crate::io::{self, read_file};
use crate::{DataError, IGNORE_INDEX};

/// The label of regions that count neither as an object nor as background, as LabelMe's own
/// converters name it.
const IGNORED: &str = "__ignore__";
/// The label of holes: background over what was drawn before.
const BACKGROUND: &str = "_background_";

/// A LabelMe file, checked.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    shapes: Vec<(String, Segmentation)>,
    width: u32,
    height: u32,
    /// Whether the image lies in the file itself.
    embedded: bool,
}

#[derive(Deserialize)]
struct RawDocument {
    shapes: Vec<RawShape>,
    #[serde(rename = "imagePath", default)]
    image_path: Option<String>,
    #[serde(rename = "imageData", default)]
    image_data: Option<IgnoredAny>,
    #[serde(rename = "imageHeight", default)]
    height: Option<u32>,
    #[serde(rename = "imageWidth", default)]
    width: Option<u32>,
}

#[derive(Deserialize)]
struct RawShape {
    label: String,
    #[serde(default)]
    points: Vec<[f64; 2]>,
    /// Files of old versions have none: all shapes were polygons.
    #[serde(default)]
    shape_type: Option<String>,
    #[serde(default)]
    mask: Option<String>,
}

#[derive(Deserialize)]
struct RawPicture {
    #[serde(rename = "imageData", default)]
    image_data: Option<String>,
}

/// The entries of a LabelMe file, or of all in a folder, by name.
pub(super) fn read(
    path: &Path,
    options: &OwnOptions,
    skips: &mut Skips,
) -> Result<Vec<Entry>, DataError> {
    let files = if path.is_dir() { listing::files(path, &["json"])? } else { vec![path.into()] };
    let results: Vec<_> = files.par_iter().map(|file| read_one(file, options)).collect();
    let mut entries = Vec::with_capacity(results.len());
    let mut left_out = 0;
    for result in results {
        if let Some((entry, lines)) = skips.pass(result)? {
            left_out += lines;
            entries.push(entry);
        }
    }
    if left_out > 0 {
        tracing::info!(
            "{left_out} lines and points in {} were left out: they cover no area",
            path.display()
        );
    }
    Ok(entries)
}

/// The entry of a file, and how many of its shapes have no area.
fn read_one(path: &Path, options: &OwnOptions) -> Result<(Entry, usize), DataError> {
    let bytes = read_file(path)?;
    let raw: RawDocument = serde_json::from_slice(without_mark(&bytes)).map_err(|error| {
        DataError::invalid(
            path,
            format!("this is no LabelMe file ({error})"),
            "save it with LabelMe again, or take it out of the folder",
        )
    })?;
    let image = find_image(path, raw.image_path.as_deref(), options);
    let embedded = image.is_none() && raw.image_data.is_some();
    let Some(image) = image.or_else(|| embedded.then(|| path.to_path_buf())) else {
        return Err(DataError::invalid(
            path,
            format!(
                "its image {} is not there, nor is it in the file itself",
                raw.image_path.as_deref().unwrap_or("(no imagePath)")
            ),
            "put the image beside the file, or name the folder of the images",
        ));
    };
    let (width, height) = match (raw.width, raw.height) {
        (Some(width), Some(height)) => (width, height),
        _ if embedded => decode_embedded(path, &bytes)?.dimensions(),
        _ => io::image_size(&image)?,
    };
    io::check_size_limits(path, width, height)?;
    let mut shapes = Vec::with_capacity(raw.shapes.len());
    let mut left_out = 0;
    for (place, shape) in raw.shapes.into_iter().enumerate() {
        let label = shape.label.trim().to_owned();
        let refuse = |problem: String| {
            DataError::invalid(
                path,
                format!("shape {} ({label:?}): {problem}", place + 1),
                "correct the shape in LabelMe or delete it",
            )
        };
        if label.is_empty() {
            return Err(refuse("it has no label".into()));
        }
        match outline(&shape, width, height).map_err(refuse)? {
            Some(outline) => shapes.push((label, outline)),
            None => left_out += 1,
        }
    }
    let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let document = Document { path: path.to_path_buf(), shapes, width, height, embedded };
    Ok((Entry { id, image, shows: Shows::Shapes(Arc::new(document)), split: None }, left_out))
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The image file: as `imagePath` says, else one of that name beside the file, else one that has the
/// name of the file itself.
fn find_image(path: &Path, named: Option<&str>, options: &OwnOptions) -> Option<PathBuf> {
    let own = path.parent().unwrap_or(Path::new(""));
    let folders: Vec<&Path> = options.images.as_deref().into_iter().chain([own]).collect();
    let mut places: Vec<PathBuf> = Vec::new();
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        let last = named.rsplit(['/', '\\']).next().unwrap_or(named);
        places.extend(folders.iter().map(|folder| below(folder, named)));
        places.extend(folders.iter().map(|folder| folder.join(last)));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let endings = listing::IMAGE_ENDINGS;
    let by_stem = folders
        .iter()
        .flat_map(|folder| endings.map(|ending| folder.join(format!("{stem}.{ending}"))));
    places.into_iter().chain(by_stem).find(|place| place.is_file())
}

/// What a shape covers; none of a line or point.
fn outline(shape: &RawShape, width: u32, height: u32) -> Result<Option<Segmentation>, String> {
    let points = &shape.points;
    if let Some(point) = points.iter().flatten().find(|value| !value.is_finite()) {
        return Err(format!("a coordinate is {point}"));
    }
    let needs = |count: usize| match points.len() == count {
        true => Ok(()),
        false => Err(format!("{} points instead of {count}", points.len())),
    };
    let polygon = |points: &[[f64; 2]]| {
        inside(points, width, height)?;
        let polygon = Segmentation::Polygons(vec![points.as_flattened().to_vec()]);
        Rle::from_polygons(&[points.as_flattened()], 1, 1).map_err(|error| error.to_string())?;
        Ok(Some(polygon))
    };
    match shape.shape_type.as_deref().unwrap_or("polygon") {
        "polygon" if points.len() < 3 => Err(format!("a polygon of {} points", points.len())),
        "polygon" => polygon(points),
        "rectangle" => match points.as_slice() {
            &[[x0, y0], [x1, y1]] => polygon(&[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),
            [_, _, _, _] => polygon(points),
            _ => Err(format!("a rectangle of {} points", points.len())),
        },
        "circle" => {
            needs(2)?;
            let [[x, y], [rim_x, rim_y]] = [points[0], points[1]];
            let radius = (rim_x - x).hypot(rim_y - y);
            inside(&[[x - radius, y - radius], [x + radius, y + radius]], width, height)?;
            Ok(Some(Segmentation::circle(points[0], points[1])))
        }
        "mask" => {
            let text = shape.mask.as_deref().ok_or("a mask without its picture")?;
            needs(2)?;
            pasted(text, points[0], width, height).map(Some)
        }
        "line" | "linestrip" | "point" | "points" => Ok(None),
        other => Err(format!("shapes of the kind {other:?} are unknown")),
    }
}

/// Refuses a shape that lies wholly outside of the image.
fn inside(points: &[[f64; 2]], width: u32, height: u32) -> Result<(), String> {
    for (axis, side) in [f64::from(width), f64::from(height)].into_iter().enumerate() {
        let low = points.iter().map(|point| point[axis]).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|point| point[axis]).fold(f64::NEG_INFINITY, f64::max);
        if high <= 0.0 || low >= side {
            return Err(format!("it lies outside of the image of {width} x {height} pixels"));
        }
    }
    Ok(())
}

/// The mask that a tool painted, put at its place.
fn pasted(
    text: &str,
    [left, top]: [f64; 2],
    width: u32,
    height: u32,
) -> Result<Segmentation, String> {
    let bytes = base64::decode(text).ok_or("its picture is no Base64")?;
    let piece = io::decode_image(Path::new("mask"), &bytes).map_err(|error| error.to_string())?;
    // As LabelMe places it: coordinates lose their fraction.
    let (left, top) = (left as i64, top as i64);
    let mut mask = Array2::<u8>::zeros((height as usize, width as usize));
    for (x, y, pixel) in piece.enumerate_pixels() {
        let (x, y) = (left + i64::from(x), top + i64::from(y));
        if pixel.0 != [0; 3]
            && (0..i64::from(width)).contains(&x)
            && (0..i64::from(height)).contains(&y)
        {
            mask[[y as usize, x as usize]] = 1;
        }
    }
    Rle::from_mask(mask.view()).map(Segmentation::Rle).map_err(|error| error.to_string())
}

fn decode_embedded(path: &Path, bytes: &[u8]) -> Result<RgbImage, DataError> {
    let broken = |problem: String| {
        DataError::invalid(path, problem, "put the image file beside the file, or save it anew")
    };
    let raw: RawPicture = serde_json::from_slice(without_mark(bytes))
        .map_err(|error| broken(format!("the image in it cannot be read ({error})")))?;
    let text = raw.image_data.ok_or_else(|| broken("there is no image in it any more".into()))?;
    let bytes =
        base64::decode(&text).ok_or_else(|| broken("the image in it is no Base64".into()))?;
    io::decode_image(path, &bytes)
}

impl Document {
    /// The labels of its shapes but for those that are no class.
    pub(super) fn classes(&self) -> BTreeSet<&str> {
        let labels = self.shapes.iter().map(|(label, _)| label.as_str());
        labels.filter(|label| !matches!(*label, IGNORED | BACKGROUND)).collect()
    }

    /// The label mask `[H, W]`: shapes in file order, later ones over earlier ones.
    pub(super) fn paint(
        &self,
        label_of: impl Fn(&str) -> Option<u8>,
    ) -> Result<Array2<u8>, DataError> {
        let objects = self.shapes.iter().filter_map(|(name, outline)| {
            let label = match name.as_str() {
                IGNORED => Some(IGNORE_INDEX),
                BACKGROUND => Some(0),
                name => label_of(name),
            };
            label.map(|label| (outline, label))
        });
        paint(self.height, self.width, objects).map_err(|error| {
            DataError::invalid(&self.path, error.to_string(), "correct the shape in LabelMe")
        })
    }

    /// The image in the file, if it is there and nowhere else.
    pub(super) fn embedded_image(&self) -> Option<Result<RgbImage, DataError>> {
        self.embedded
            .then(|| read_file(&self.path).and_then(|bytes| decode_embedded(&self.path, &bytes)))
    }
}

#[cfg(test)]
mod tests;
