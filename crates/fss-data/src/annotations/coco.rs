//! COCO's annotation files.

mod check;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::json::{Given, RawFile, need};
use super::sieve::Sieve;
use super::{BadEntries, Outlines, Segmentation, Skipped, draw};
use crate::{DataError, IGNORE_INDEX, io};

/// An image of an annotation file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoImage {
    /// Its number, by which annotations name it.
    pub id: i64,
    /// The name of its file; it may hold folders.
    pub file_name: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
}

/// A category (class) of an annotation file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoCategory {
    /// Its number, by which annotations name it. Those of COCO have gaps: 80 categories, ids to 90.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// An annotated object, or a crowd of them.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoAnnotation {
    /// Its number.
    pub id: i64,
    /// The image that it belongs to.
    pub image_id: i64,
    /// Its category.
    pub category_id: i64,
    /// Whether it is a crowd: a region of several objects that were not told apart.
    pub iscrowd: bool,
    /// Its outline or mask.
    pub segmentation: Segmentation,
}

/// What to do with crowds when a mask is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crowds {
    /// Paint them as objects of their category.
    Paint,
    /// Paint them as [`IGNORE_INDEX`].
    Ignore,
    /// Leave them out, as the makers of the published masks did.
    #[default]
    Leave,
}

/// An annotation file of COCO: images, categories, and polygons or masks.
///
/// All of it lies in memory, coordinates included; about as much as the file itself.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoFile {
    /// The images in file order.
    pub images: Vec<CocoImage>,
    /// The categories by ascending id.
    pub categories: Vec<CocoCategory>,
    path: PathBuf,
    /// By image, those of one image in file order.
    annotations: Vec<CocoAnnotation>,
    /// Which `annotations` each image has.
    ranges: Vec<Range<usize>>,
    /// The place of each image id in `images`.
    places: HashMap<i64, usize>,
}

impl CocoFile {
    /// Reads and checks an annotation file.
    ///
    /// Every entry is checked: keys, ids (unique, and known where they are referred to), sizes,
    /// polygons (three points or more, an even number of finite coordinates, none further outside of
    /// the image than its longer side), masks (run lengths that add up to the size of the image).
    ///
    /// # Errors
    /// [`DataError`] when the file cannot be read, is no JSON (with line and column), or lacks one of
    /// the lists `images`, `annotations` and `categories`. Bad entries are errors under
    /// [`BadEntries::Refuse`]; under [`BadEntries::Skip`] they are left out and listed, as are
    /// annotations of images and categories that were left out.
    pub fn read(path: &Path, bad: BadEntries) -> Result<(Self, Vec<Skipped>), DataError> {
        Self::parse(&io::read_file(path)?, path, bad)
    }

    /// As [`read`](Self::read), from memory; messages name `path`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(
        json: &[u8],
        path: &Path,
        bad: BadEntries,
    ) -> Result<(Self, Vec<Skipped>), DataError> {
        // Some editors put a byte-order mark before the text.
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let given: Given<RawFile> = serde_json::from_slice(json).map_err(|error| {
            let cause = error.to_string();
            DataError::invalid(
                path,
                format!("this is no complete JSON: {cause}"),
                "load or export the file anew",
            )
        })?;
        let refuse = |problem: String| {
            DataError::invalid(
                path,
                problem,
                "give an object detection file of COCO (instances_*.json), with the lists images, \
                 annotations and categories",
            )
        };
        let file = match given {
            Given::Right(file) => file,
            Given::Wrong(kind) => return Err(refuse(format!("the file is {kind}, no object"))),
        };
        let images = need(file.images, "images", "a list").map_err(|flaw| refuse(flaw.what))?;
        let annotations =
            need(file.annotations, "annotations", "a list").map_err(|flaw| refuse(flaw.what))?;
        let categories =
            need(file.categories, "categories", "a list").map_err(|flaw| refuse(flaw.what))?;

        let mut sieve = Sieve::new(path, bad);
        let (categories, labels) = check::categories(categories, &mut sieve)?;
        let (images, places) = check::images(images, &mut sieve)?;
        if images.is_empty() {
            return Err(refuse("there are no (good) images".into()));
        }
        if categories.is_empty() {
            return Err(refuse("there are no (good) categories".into()));
        }
        let (annotations, ranges) =
            check::annotations(annotations, &images, &places, &labels, &mut sieve)?;
        let skipped = sieve.skipped;
        Ok((
            Self { images, categories, path: path.to_path_buf(), annotations, ranges, places },
            skipped,
        ))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The place in [`images`](Self::images) of an image id.
    pub fn image_index(&self, id: i64) -> Option<usize> {
        self.places.get(&id).copied()
    }

    /// The annotations of image `image_index` of [`images`](Self::images), in file order; none if
    /// there is no such image.
    pub fn annotations(&self, image_index: usize) -> &[CocoAnnotation] {
        self.ranges.get(image_index).map_or(&[], |range| &self.annotations[range.clone()])
    }

    /// The number of all annotations.
    pub fn annotation_count(&self) -> usize {
        self.annotations.len()
    }

    /// Paints the label mask `[H, W]` of image `image_index` of [`images`](Self::images): its
    /// annotations in file order, later ones over earlier ones, 0 elsewhere. Categories without a
    /// label are left out, their crowds as well.
    ///
    /// # Errors
    /// [`DataError::Setting`] when there is no such image; [`DataError::Invalid`] when its width or
    /// height were changed, so that a mask no longer fits.
    pub fn paint(
        &self,
        image_index: usize,
        label_of: impl Fn(i64) -> Option<u8>,
        crowds: Crowds,
    ) -> Result<Array2<u8>, DataError> {
        self.paint_with(image_index, label_of, crowds, Outlines::CocoApi)
    }

    /// As [`paint`](Self::paint), with another rule for polygons.
    ///
    /// # Errors
    /// As [`paint`](Self::paint).
    pub fn paint_with(
        &self,
        image_index: usize,
        label_of: impl Fn(i64) -> Option<u8>,
        crowds: Crowds,
        outlines: Outlines,
    ) -> Result<Array2<u8>, DataError> {
        let image = self.images.get(image_index).ok_or_else(|| DataError::Setting {
            what: format!(
                "image number {image_index} asked of {} images of {}",
                self.images.len(),
                self.path.display()
            ),
            remedy: "count from 0".into(),
        })?;
        let objects = self.annotations(image_index).iter().filter_map(|annotation| {
            let label = label_of(annotation.category_id)?;
            let label = match (annotation.iscrowd, crowds) {
                (true, Crowds::Ignore) => IGNORE_INDEX,
                (true, Crowds::Leave) => return None,
                _ => label,
            };
            Some((&annotation.segmentation, label))
        });
        draw(image.height, image.width, objects, outlines).map_err(|flaw| {
            let problem = format!("image {}: {}", image.id, flaw.what);
            DataError::invalid(&self.path, problem, flaw.remedy)
        })
    }
}
