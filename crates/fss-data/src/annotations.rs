//! Annotation files of polygons and run-length encoded masks: COCO's `instances_*.json`.
//!
//! [`CocoFile::read`] reads and checks a file, [`CocoFile::paint`] draws the label mask of an image.
//! Masks equal those of pycocotools to the bit.
//!
//! ```
//! use fss_data::annotations::{BadEntries, CocoFile, Crowds};
//!
//! let json = br#"{
//!     "images": [{"id": 7, "file_name": "cat.jpg", "width": 6, "height": 4}],
//!     "categories": [{"id": 17, "name": "cat"}],
//!     "annotations": [{"id": 1, "image_id": 7, "category_id": 17, "iscrowd": 0,
//!                      "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]]}]
//! }"#;
//! let (file, _) = CocoFile::parse(json, "cats.json".as_ref(), BadEntries::Refuse)?;
//! let mask = file.paint(0, |category| (category == 17).then_some(1), Crowds::Paint)?;
//! assert_eq!(mask.iter().filter(|&&label| label == 1).count(), 6);
//! # Ok::<(), fss_data::DataError>(())
//! ```

mod canvas;
mod coco;
mod fill_poly;
mod json;
mod polygon;
#[cfg(test)]
mod properties;
mod rle;
mod sieve;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::DataError;
use canvas::Canvas;

pub use coco::{CocoAnnotation, CocoCategory, CocoFile, CocoImage, Crowds};
pub use rle::Rle;
pub use sieve::{BadEntries, Skipped};

/// The outline or mask of one object.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Segmentation {
    /// The union of polygons, each `x0, y0, x1, y1, ..` in pixels, as in [`Rle::from_polygons`].
    Polygons(Vec<Vec<f64>>),
    /// A mask.
    Rle(Rle),
}

impl Segmentation {
    /// The rectangle between two opposite corners `[x, y]`.
    pub fn rectangle([x0, y0]: [f64; 2], [x1, y1]: [f64; 2]) -> Self {
        Self::Polygons(vec![vec![x0, y0, x1, y0, x1, y1, x0, y1]])
    }

    /// The disc around `centre` whose border passes through `on_border`, both `[x, y]`: a polygon
    /// that departs from it by no more than a fiftieth of a pixel, up to a radius of 40,000 pixels.
    pub fn circle(centre: [f64; 2], on_border: [f64; 2]) -> Self {
        const DEPARTURE: f64 = 0.02;
        let radius = (on_border[0] - centre[0]).hypot(on_border[1] - centre[1]);
        // Half the angle of a chord that lies DEPARTURE inside of the arc; a radius that is not
        // finite keeps its flaw, which drawing tells.
        let half = (1.0 - (DEPARTURE / radius).min(1.0)).acos();
        let corners = (std::f64::consts::PI / half).ceil().clamp(8.0, 4096.0) as u32;
        let turn = |corner: u32| std::f64::consts::TAU * f64::from(corner) / f64::from(corners);
        let corner = |corner| {
            let (sine, cosine) = turn(corner).sin_cos();
            [centre[0] + radius * cosine, centre[1] + radius * sine]
        };
        Self::Polygons(vec![(0..corners).flat_map(corner).collect()])
    }
}

/// Which pixels polygons cover.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outlines {
    /// As pycocotools draws them.
    #[default]
    CocoApi,
    /// As OpenCV's `fillPoly` does, corners cut to whole pixels: the masks of POP.
    Opencv,
}

/// Draws objects into one label mask `[H, W]`, later ones over earlier ones; 0 elsewhere.
///
/// # Errors
/// [`DataError::Setting`] for polygons and sizes as in [`Rle::from_polygons`], and for a mask of
/// another size.
pub fn paint<'a>(
    height: u32,
    width: u32,
    objects: impl IntoIterator<Item = (&'a Segmentation, u8)>,
) -> Result<Array2<u8>, DataError> {
    draw(height, width, objects, Outlines::CocoApi).map_err(Flaw::setting)
}

/// As [`paint`], with another rule for polygons.
///
/// # Errors
/// As [`paint`].
pub fn paint_with<'a>(
    height: u32,
    width: u32,
    objects: impl IntoIterator<Item = (&'a Segmentation, u8)>,
    outlines: Outlines,
) -> Result<Array2<u8>, DataError> {
    draw(height, width, objects, outlines).map_err(Flaw::setting)
}

/// As [`paint`], for messages that go on.
fn draw<'a>(
    height: u32,
    width: u32,
    objects: impl IntoIterator<Item = (&'a Segmentation, u8)>,
    outlines: Outlines,
) -> Result<Array2<u8>, Flaw> {
    rle::check_size(height, width)?;
    let mut canvas = Canvas::new(height, width);
    let mut crossings = Vec::new();
    for (object, label) in objects {
        match object {
            Segmentation::Polygons(polygons) => {
                for corners in polygons {
                    if outlines == Outlines::Opencv {
                        polygon::check(corners)?;
                        fill_poly::fill(corners, height, width, |y, x| canvas.set(y, x, label));
                        continue;
                    }
                    polygon::trace(corners, height, width, &mut crossings)?;
                    polygon::runs(&crossings, height * width)
                        .for_each(|run| canvas.fill(run, label));
                }
            }
            Segmentation::Rle(mask) => {
                check_fits(mask, height, width)?;
                mask.runs().for_each(|run| canvas.fill(run, label));
            }
        }
    }
    Ok(canvas.into_mask())
}

/// Refuses a mask of another size than its image.
fn check_fits(mask: &Rle, height: u32, width: u32) -> Result<(), Flaw> {
    let (mask_height, mask_width) = (mask.height(), mask.width());
    if (mask_height, mask_width) == (height, width) {
        return Ok(());
    }
    Err(Flaw::new(
        format!(
            "the mask is {mask_width} x {mask_height} pixels, but the image {width} x {height}"
        ),
        if (mask_width, mask_height) == (height, width) {
            "\"size\" is [height, width]; exchange the two and encode the mask anew"
        } else {
            "encode the mask at the size of its image"
        },
    ))
}

/// What is wrong with an entry, before it is known where it stands.
#[derive(Debug)]
struct Flaw {
    what: String,
    remedy: Cow<'static, str>,
}

impl Flaw {
    fn new(what: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }

    /// The error of a flaw in what was passed to a function. No `From`: a second one for
    /// [`DataError`] would make callers all over the crate name their error types.
    fn setting(self) -> DataError {
        DataError::Setting { what: self.what, remedy: self.remedy.into_owned() }
    }
}
