//! Episodes, and the filtered listing that they are drawn from.
//!
//! An episode shows a model a few labelled support images of one class and asks it to segment
//! that class in a query image. [`EpisodeSource`] knows which images may be queries and which
//! may be supports; the samplers in [`crate::sampler`] choose.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::{ClassId, DataError};

/// The published limit below which an object is too small to support: 2·32·32 pixels.
pub const MIN_OBJECT_PIXELS: u64 = 2048;

/// What the label mask of one image shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLabels {
    /// The name of the image in its list file, without folder and extension.
    pub id: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Class to number of pixels; the background may be listed or not.
    pub pixels: BTreeMap<ClassId, u64>,
}

/// Where a training crop starts and whether it is mirrored; see
/// [`TrainTransform`](crate::transform::TrainTransform).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CropFlip {
    /// First column of the crop, after padding.
    pub x: u32,
    /// First row of the crop, after padding.
    pub y: u32,
    /// Whether the crop is mirrored left to right.
    pub flip: bool,
}

/// One episode: which images play which part. Images are positions in the listing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Episode {
    /// The place of the episode in its stream, from 0.
    pub index: usize,
    /// The label of the class to segment.
    pub class: ClassId,
    /// The image to segment.
    pub query: usize,
    /// The support images, in the order in which they were drawn.
    pub supports: Vec<usize>,
    /// Supports that were drawn and thrown away because their object is too small, in order.
    pub rejected: Vec<usize>,
    /// In training: the crops of the query and then of each support.
    pub crops: Option<Vec<CropFlip>>,
}

/// The images that episodes of some classes can be drawn from.
///
/// An image is kept if at least one of the classes covers `min_pixels` of it. Every kept image
/// can be a query; every kept image that shows a class, with any number of pixels, is a
/// candidate to support it.
#[derive(Debug, Clone)]
pub struct EpisodeSource {
    images: Vec<ImageLabels>,
    classes: Vec<ClassId>,
    min_pixels: u64,
    queries: Vec<usize>,
    members: BTreeMap<ClassId, Members>,
    fingerprint: u64,
}

/// The kept images that show one class.
#[derive(Debug, Clone, Default)]
struct Members {
    /// In the order of the listing.
    listed: Vec<usize>,
    /// Ordered by id: the order that draws refer to.
    by_id: Vec<usize>,
}

impl EpisodeSource {
    /// Filters a listing for episodes of `classes`; see the type for the rule.
    ///
    /// `min_pixels` is [`MIN_OBJECT_PIXELS`] in the published protocols, which is meant for
    /// photographs of some 500 × 375 pixels; smaller images need a smaller limit.
    ///
    /// # Errors
    /// If no class is given, one is 0 or 255 or given twice, an id is listed twice, or no image
    /// is kept.
    pub fn new(
        images: Vec<ImageLabels>,
        classes: &[ClassId],
        min_pixels: u64,
    ) -> Result<Self, DataError> {
        let classes = checked_classes(classes)?;
        check_ids(&images)?;
        let queries: Vec<usize> = (0..images.len())
            .filter(|&i| {
                classes.iter().any(|class| {
                    images[i].pixels.get(class).is_some_and(|&n| n > 0 && n >= min_pixels)
                })
            })
            .collect();
        if queries.is_empty() {
            return Err(DataError::Setting {
                what: format!(
                    "none of the {} images shows one of the classes {classes:?} with at least \
                     {min_pixels} pixels",
                    images.len()
                ),
                remedy: "check the list, the fold and the labels in the masks, or lower the \
                         smallest object size"
                    .into(),
            });
        }
        let mut members: BTreeMap<ClassId, Members> =
            classes.iter().map(|&class| (class, Members::default())).collect();
        for &i in &queries {
            for (class, &pixels) in &images[i].pixels {
                if let Some(members) = members.get_mut(class).filter(|_| pixels > 0) {
                    members.listed.push(i);
                }
            }
        }
        for members in members.values_mut() {
            members.by_id = members.listed.clone();
            members.by_id.sort_unstable_by(|&a, &b| images[a].id.cmp(&images[b].id));
        }
        let fingerprint = fingerprint(&images, &classes, min_pixels);
        Ok(Self { images, classes, min_pixels, queries, members, fingerprint })
    }

    /// All images of the listing, kept or not.
    pub fn images(&self) -> &[ImageLabels] {
        &self.images
    }

    /// The labels of the classes, ascending.
    pub fn classes(&self) -> &[ClassId] {
        &self.classes
    }

    /// The smallest object that may support, in pixels.
    pub fn min_pixels(&self) -> u64 {
        self.min_pixels
    }

    /// The kept images, in the order of the listing.
    pub fn queries(&self) -> &[usize] {
        &self.queries
    }

    /// The kept images that show `class`, in the order of the listing; none for other classes.
    pub fn images_of(&self, class: ClassId) -> &[usize] {
        self.members.get(&class).map_or(&[], |members| &members.listed)
    }

    /// The same images as [`images_of`](Self::images_of), ordered by id as strings.
    pub fn candidates(&self, class: ClassId) -> &[usize] {
        self.members.get(&class).map_or(&[], |members| &members.by_id)
    }

    /// The classes of the source that an image shows, with any number of pixels, ascending.
    pub fn classes_in(&self, image: usize) -> Vec<ClassId> {
        self.classes.iter().copied().filter(|&class| self.pixels(image, class) > 0).collect()
    }

    /// How many pixels of an image show a class.
    pub fn pixels(&self, image: usize, class: ClassId) -> u64 {
        self.images[image].pixels.get(&class).copied().unwrap_or(0)
    }

    /// Whether an image shows enough of a class to support it.
    pub fn is_eligible(&self, image: usize, class: ClassId) -> bool {
        let pixels = self.pixels(image, class);
        pixels > 0 && pixels >= self.min_pixels
    }

    /// Classes that are shown, but cannot be supported by `shot` images in every episode, each
    /// with the number of images that are large enough. The query itself never supports.
    pub fn shortages(&self, shot: usize) -> Vec<(ClassId, usize)> {
        self.members
            .iter()
            .filter(|(_, members)| !members.listed.is_empty())
            .map(|(&class, members)| {
                let eligible =
                    members.listed.iter().filter(|&&image| self.is_eligible(image, class)).count();
                (class, eligible)
            })
            .filter(|&(_, eligible)| eligible <= shot)
            .collect()
    }

    /// A number that changes with the listing, the classes and the size limit.
    ///
    /// Saved sampler states carry it, so that they are not continued on other data.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

fn checked_classes(classes: &[ClassId]) -> Result<Vec<ClassId>, DataError> {
    let refuse =
        |what: String, remedy: &str| Err(DataError::Setting { what, remedy: remedy.to_owned() });
    if classes.is_empty() {
        return refuse("no class to draw episodes of".into(), "give at least one class label");
    }
    let mut sorted = classes.to_vec();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return refuse(format!("class {} is given twice", pair[0]), "name every class once");
    }
    if let Some(&class) = sorted.iter().find(|&&class| class == 0) {
        return refuse(
            format!("label {class} is not a class"),
            "classes are numbered from 1: 0 is the background",
        );
    }
    Ok(sorted)
}

fn check_ids(images: &[ImageLabels]) -> Result<(), DataError> {
    let mut seen = HashMap::with_capacity(images.len());
    for (i, image) in images.iter().enumerate() {
        if let Some(first) = seen.insert(image.id.as_str(), i) {
            return Err(DataError::Setting {
                what: format!("image {:?} is listed twice, at entries {first} and {i}", image.id),
                remedy: "remove one of them: supports must differ from the query".into(),
            });
        }
    }
    Ok(())
}

/// FNV-1a over everything that a draw can depend on.
fn fingerprint(images: &[ImageLabels], classes: &[ClassId], min_pixels: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add(&min_pixels.to_le_bytes());
    for class in classes {
        add(&class.to_le_bytes());
    }
    for image in images {
        add(&(image.id.len() as u64).to_le_bytes());
        add(image.id.as_bytes());
        add(&image.width.to_le_bytes());
        add(&image.height.to_le_bytes());
        for class in classes {
            add(&image.pixels.get(class).copied().unwrap_or(0).to_le_bytes());
        }
    }
    hash
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A listing in which image `i` shows the given `(label, pixels)`.
    pub(crate) fn listing(contents: &[&[(ClassId, u64)]]) -> Vec<ImageLabels> {
        contents
            .iter()
            .enumerate()
            .map(|(i, labels)| ImageLabels {
                id: format!("image_{i}"),
                width: 60 + i as u32,
                height: 50,
                pixels: labels.iter().copied().collect(),
            })
            .collect()
    }

    #[test]
    fn images_are_kept_for_one_large_object() {
        let images = listing(&[&[(1, 100)], &[(1, 99), (2, 99)], &[(1, 3), (2, 100)], &[(3, 500)]]);
        let source = EpisodeSource::new(images, &[2, 1], 100).unwrap();
        assert_eq!(source.queries(), [0, 2]);
        assert_eq!(source.classes(), [1, 2]);
        assert_eq!(source.images_of(1), [0, 2]);
        assert_eq!(source.classes_in(2), [1, 2]);
        assert!(!source.is_eligible(2, 1) && source.is_eligible(2, 2));
        assert!(source.images_of(3).is_empty());
    }

    #[test]
    fn candidates_are_ordered_as_strings() {
        let contents = vec![&[(1u16, 10u64)][..]; 12];
        let source = EpisodeSource::new(listing(&contents), &[1], 1).unwrap();
        assert_eq!(source.candidates(1)[..4], [0, 1, 10, 11]);
        assert_eq!(source.images_of(1), (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn a_label_without_pixels_is_not_shown() {
        let source = EpisodeSource::new(listing(&[&[(1, 0), (2, 5)]]), &[1, 2], 0).unwrap();
        assert_eq!(source.classes_in(0), [2]);
        assert!(source.images_of(1).is_empty());
    }

    #[test]
    fn shortages_name_the_classes_that_are_too_rare() {
        let images = listing(&[&[(1, 9), (2, 9)], &[(1, 9), (2, 1)], &[(1, 9), (2, 1)]]);
        let source = EpisodeSource::new(images, &[1, 2, 3], 5).unwrap();
        assert_eq!(source.shortages(1), [(2, 1)]);
        assert_eq!(source.shortages(3), [(1, 3), (2, 1)]);
    }

    #[test]
    fn bad_listings_are_refused_with_a_reason() {
        let message = |images: Vec<ImageLabels>, classes: &[ClassId]| {
            EpisodeSource::new(images, classes, 10).unwrap_err().to_string()
        };
        let good = || listing(&[&[(1, 10)], &[(1, 10)]]);
        assert!(message(good(), &[]).contains("no class"));
        assert!(message(good(), &[1, 1]).contains("class 1 is given twice"));
        assert!(message(good(), &[0]).contains("label 0 is not a class"));
        assert!(message(good(), &[7]).contains("none of the 2 images"));
        assert!(message(vec![], &[7]).contains("none of the 0 images"));
        let mut twice = good();
        twice[1].id = twice[0].id.clone();
        assert!(message(twice, &[1]).contains("entries 0 and 1"));
    }

    #[test]
    fn the_fingerprint_follows_what_draws_depend_on() {
        let base = EpisodeSource::new(listing(&[&[(1, 10)], &[(1, 10)]]), &[1], 5).unwrap();
        let same = EpisodeSource::new(listing(&[&[(1, 10)], &[(1, 10)]]), &[1], 5).unwrap();
        assert_eq!(base.fingerprint(), same.fingerprint());
        let others = [
            EpisodeSource::new(listing(&[&[(1, 10)], &[(1, 11)]]), &[1], 5),
            EpisodeSource::new(listing(&[&[(1, 10)], &[(1, 10)]]), &[1, 2], 5),
            EpisodeSource::new(listing(&[&[(1, 10)], &[(1, 10)]]), &[1], 6),
        ];
        for other in others {
            assert_ne!(base.fingerprint(), other.unwrap().fingerprint());
        }
    }
}
