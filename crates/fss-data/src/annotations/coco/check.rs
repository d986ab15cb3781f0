//! The checks of the entries of an annotation file.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{CocoAnnotation, CocoCategory, CocoImage};
use crate::DataError;
use crate::annotations::json::{
    Given, Kind, Numbers, RawAnnotation, RawCategory, RawCounts, RawImage, RawSegmentation, need,
};
use crate::annotations::sieve::{Entry, Sieve};
use crate::annotations::{Flaw, Rle, Segmentation, check_fits, polygon, rle};

const ID: &str = "a whole number";

/// The good categories by ascending id, and their ids.
pub(super) fn categories(
    given: Vec<Given<RawCategory>>,
    sieve: &mut Sieve<'_>,
) -> Result<(Vec<CocoCategory>, HashSet<i64>), DataError> {
    let mut categories = Vec::with_capacity(given.len());
    let mut ids = HashSet::with_capacity(given.len());
    for (place, given) in given.into_iter().enumerate() {
        let mut entry = Entry { kind: "category", place, id: None, image_id: None };
        let checked = object(given).and_then(|raw| {
            let id = need(raw.id, "id", ID)?;
            entry.id = Some(id);
            let name = need(raw.name, "name", "text")?;
            if ids.insert(id) { Ok(CocoCategory { id, name }) } else { Err(repeated()) }
        });
        categories.extend(sieve.pass(entry, checked)?);
    }
    categories.sort_unstable_by_key(|category| category.id);
    Ok((categories, ids))
}

/// The good images in file order, and the place of each id.
pub(super) fn images(
    given: Vec<Given<RawImage>>,
    sieve: &mut Sieve<'_>,
) -> Result<(Vec<CocoImage>, HashMap<i64, usize>), DataError> {
    let mut images = Vec::with_capacity(given.len());
    let mut places = HashMap::with_capacity(given.len());
    for (place, given) in given.into_iter().enumerate() {
        let mut entry = Entry { kind: "image", place, id: None, image_id: None };
        let checked = object(given).and_then(|raw| {
            let id = need(raw.id, "id", ID)?;
            (entry.id, entry.image_id) = (Some(id), Some(id));
            let image = CocoImage {
                id,
                file_name: need(raw.file_name, "file_name", "text")?,
                width: side(need(raw.width, "width", ID)?),
                height: side(need(raw.height, "height", ID)?),
            };
            rle::check_size(image.height, image.width)?;
            if image.file_name.is_empty() {
                return Err(Flaw::new("\"file_name\" is empty", "name the image file"));
            }
            if places.contains_key(&id) { Err(repeated()) } else { Ok(image) }
        });
        if let Some(image) = sieve.pass(entry, checked)? {
            places.insert(image.id, images.len());
            images.push(image);
        }
    }
    Ok((images, places))
}

/// The good annotations by image, and the range of each image.
pub(super) fn annotations(
    given: Vec<Given<RawAnnotation>>,
    images: &[CocoImage],
    places: &HashMap<i64, usize>,
    categories: &HashSet<i64>,
    sieve: &mut Sieve<'_>,
) -> Result<(Vec<CocoAnnotation>, Vec<Range<usize>>), DataError> {
    let mut annotations: Vec<(usize, CocoAnnotation)> = Vec::with_capacity(given.len());
    let mut ids = HashSet::with_capacity(given.len());
    for (place, given) in given.into_iter().enumerate() {
        let mut entry = Entry { kind: "annotation", place, id: None, image_id: None };
        let checked = object(given).and_then(|raw| {
            // The ids first, so that messages can tell them.
            let id = need(raw.id, "id", ID);
            entry.id = id.as_ref().ok().copied();
            let image_id = need(raw.image_id, "image_id", ID)?;
            entry.image_id = Some(image_id);
            let (id, category_id) = (id?, need(raw.category_id, "category_id", ID)?);
            let place = *places.get(&image_id).ok_or_else(|| {
                Flaw::new(
                    format!("image {image_id} is not among the (good) images"),
                    "add the image or take its annotations out",
                )
            })?;
            if !categories.contains(&category_id) {
                return Err(Flaw::new(
                    format!("category {category_id} is not among the (good) categories"),
                    "add the category or correct \"category_id\"",
                ));
            }
            let iscrowd = match raw.iscrowd {
                None => false, // as in files of other tools
                given => need(given, "iscrowd", "0 or 1")?.0,
            };
            let given = need(raw.segmentation, "segmentation", "a list of polygons or a mask")?;
            let segmentation = segmentation(given, &images[place])?;
            if !ids.insert(id) {
                return Err(repeated());
            }
            Ok((place, CocoAnnotation { id, image_id, category_id, iscrowd, segmentation }))
        });
        annotations.extend(sieve.pass(entry, checked)?);
    }
    // Stable: the annotations of an image stay in file order.
    annotations.sort_by_key(|(place, _)| *place);
    let mut ranges = vec![0..0; images.len()];
    for (position, (place, _)) in annotations.iter().enumerate() {
        let range = &mut ranges[*place];
        *range = if range.end == 0 { position..position + 1 } else { range.start..position + 1 };
    }
    Ok((annotations.into_iter().map(|(_, annotation)| annotation).collect(), ranges))
}

fn object<T>(given: Given<T>) -> Result<T, Flaw> {
    match given {
        Given::Right(entry) => Ok(entry),
        Given::Wrong(kind) => Err(Flaw::new(format!("it is {kind}"), "write it as an object")),
    }
}

fn repeated() -> Flaw {
    Flaw::new("an earlier entry has the same id", "give every entry an id of its own")
}

/// A side in pixels; negative ones become 0 and gigantic ones stay too large.
fn side(pixels: i64) -> u32 {
    u32::try_from(pixels.max(0)).unwrap_or(u32::MAX)
}

fn segmentation(given: RawSegmentation, image: &CocoImage) -> Result<Segmentation, Flaw> {
    match given {
        RawSegmentation::Polygons(given) => polygons(given, image).map(Segmentation::Polygons),
        RawSegmentation::Rle { size, counts } => {
            let size = numbers(need(size, "size", "[height, width]")?, "size")?;
            let [height, width] = size.as_slice() else {
                return Err(Flaw::new(
                    format!("\"size\" has {} numbers", size.len()),
                    "give \"size\": [height, width]",
                ));
            };
            let counts = match need(counts, "counts", "a list of run lengths, or text")? {
                RawCounts::Compressed(text) => rle::decompress(&text)?,
                RawCounts::Plain(counts) => run_lengths(numbers(counts, "counts")?)?,
            };
            let mask = Rle::checked(counts, side(*height), side(*width))?;
            check_fits(&mask, image.height, image.width)?;
            Ok(Segmentation::Rle(mask))
        }
    }
}

fn polygons(given: Vec<Given<Numbers<f64>>>, image: &CocoImage) -> Result<Vec<Vec<f64>>, Flaw> {
    const LISTS: &str = "give a list of polygons, each a list x0, y0, x1, y1, ..";
    if given.is_empty() {
        return Err(Flaw::new("\"segmentation\" is empty", LISTS));
    }
    let mut polygons = Vec::with_capacity(given.len());
    for given in given {
        let corners = match given {
            Given::Right(corners) => numbers(corners, "segmentation")?,
            Given::Wrong(Kind::Number(_)) => {
                return Err(Flaw::new("\"segmentation\" is a bare list of numbers", LISTS));
            }
            Given::Wrong(kind) => {
                return Err(Flaw::new(format!("a polygon is {kind}, not a list"), LISTS));
            }
        };
        polygon::check(&corners)?;
        check_near(&corners, image)?;
        polygons.push(corners);
    }
    Ok(polygons)
}

/// Refuses coordinates that must have been made for another image. A little outside is common, and
/// is cut off.
fn check_near(corners: &[f64], image: &CocoImage) -> Result<(), Flaw> {
    let (width, height) = (f64::from(image.width), f64::from(image.height));
    let margin = width.max(height);
    for point in corners.chunks_exact(2) {
        let (x, y) = (point[0], point[1]);
        let near = |value: f64, side: f64| (-margin..=side + margin).contains(&value);
        if !near(x, width) || !near(y, height) {
            return Err(Flaw::new(
                format!(
                    "the point ({x}, {y}) of a polygon lies far outside of the image of {width} x \
                     {height} pixels"
                ),
                "correct the polygon, or the width and height of the image, if the image was resized",
            ));
        }
    }
    Ok(())
}

fn numbers<T>(given: Numbers<T>, key: &str) -> Result<Vec<T>, Flaw> {
    given.0.map_err(|(place, kind)| {
        Flaw::new(format!("number {place} of {key:?} is {kind}"), "write numbers alone")
    })
}

fn run_lengths(counts: Vec<i64>) -> Result<Vec<u32>, Flaw> {
    let length = |count: i64| {
        u32::try_from(count).map_err(|_| {
            Flaw::new(
                format!("a run of \"counts\" has the length {count}"),
                "run lengths count pixels; encode the mask anew",
            )
        })
    };
    counts.into_iter().map(length).collect()
}
