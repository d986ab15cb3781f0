//! The files of one split.

use std::collections::HashSet;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CheckOptions, ImageCheck};
use crate::episode::ImageLabels;
use crate::index::{IndexOptions, MaskStats, scan};
use crate::{ClassId, DataError, IGNORE_INDEX, MaskIndex, SegmentationDataset, Split, io};

/// The files of one split: what they hold and what is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitReport {
    /// Which split.
    pub split: Split,
    /// The name of the dataset.
    pub name: String,
    /// Number of ids in the list.
    pub listed: usize,
    /// Number of images without any problem; all counts below are over these.
    pub sound: usize,
    /// Ids that the list has more than once.
    pub repeated_ids: Vec<String>,
    /// Images that are not there.
    pub missing_images: Vec<String>,
    /// Masks that are not there.
    pub missing_masks: Vec<String>,
    /// Images and masks that are there but cannot be read.
    pub unreadable: Vec<FileProblem>,
    /// Masks of another size than their image.
    pub size_mismatches: Vec<FileProblem>,
    /// Masks with labels that are neither a class nor 0 nor 255. Their images count as sound.
    pub unknown_labels: Vec<UnknownLabels>,
    /// Ids of images without an object of any class. They count as sound, but are in no episode.
    pub without_object: Vec<String>,
    /// Pixels with label 0.
    pub background_pixels: u64,
    /// Pixels with label 255.
    pub ignored_pixels: u64,
    /// The classes, in the order of their labels.
    pub classes: Vec<ClassCount>,
}

/// How often a class occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// The label.
    pub label: ClassId,
    /// Its name.
    pub name: String,
    /// Images that show it.
    pub images: usize,
    /// Of these, images in which it has fewer pixels than a support needs.
    pub too_small: usize,
    /// Pixels in all.
    pub pixels: u64,
}

/// A file and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProblem {
    /// The file.
    pub file: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// A mask with labels of no class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownLabels {
    /// The mask's file.
    pub file: String,
    /// (label, pixels), ascending.
    pub labels: Vec<(u8, u64)>,
}

/// A report, the images that episodes can be drawn from, and what lists are built from.
pub(super) struct CheckedSplit {
    pub report: SplitReport,
    pub sound: Vec<ImageLabels>,
    /// The counts of all masks, if all of them can be read.
    pub index: Option<MaskIndex>,
}

pub(super) fn check_split(
    split: Split,
    dataset: &SegmentationDataset,
    options: &CheckOptions<'_>,
    step: &(dyn Fn() + Sync),
) -> CheckedSplit {
    let mut report = SplitReport {
        split,
        name: dataset.name.clone(),
        listed: dataset.len(),
        sound: 0,
        repeated_ids: Vec::new(),
        missing_images: Vec::new(),
        missing_masks: Vec::new(),
        unreadable: Vec::new(),
        size_mismatches: Vec::new(),
        unknown_labels: Vec::new(),
        without_object: Vec::new(),
        background_pixels: 0,
        ignored_pixels: 0,
        classes: Vec::new(),
    };
    let on_mask = |_: usize, _: usize| step();
    let index = IndexOptions { cache: options.cache.clone(), progress: Some(&on_mask) };
    let (masks, _) = scan(dataset, &index);
    let index = masks.iter().map(|mask| mask.as_ref().ok().cloned()).collect::<Option<Vec<_>>>();
    let images: Vec<Result<(u32, u32), DataError>> = (0..dataset.len())
        .into_par_iter()
        .map(|position| {
            let size = look_at_image(dataset, position, options.images);
            step();
            size
        })
        .collect();

    let mut seen = HashSet::new();
    let mut sound = Vec::new();
    for (position, (mask, image)) in std::iter::zip(masks, images).enumerate() {
        let id = &dataset.ids[position];
        if !seen.insert(id) {
            if !report.repeated_ids.contains(id) {
                report.repeated_ids.push(id.clone());
            }
            continue;
        }
        if let Some(stats) = report.check_pair(dataset, position, mask, image) {
            report.note_labels(dataset, position, &stats);
            report.background_pixels += stats.pixels(0);
            report.ignored_pixels += stats.pixels(IGNORE_INDEX);
            sound.push(dataset.image_labels(position, &stats));
        }
    }
    report.sound = sound.len();
    report.count_classes(dataset, &sound, options.min_pixels);
    CheckedSplit { report, sound, index: index.map(MaskIndex::from_stats) }
}

fn look_at_image(
    dataset: &SegmentationDataset,
    position: usize,
    check: ImageCheck,
) -> Result<(u32, u32), DataError> {
    match check {
        ImageCheck::Decode => dataset.load_image(position).map(|image| image.dimensions()),
        ImageCheck::Header => dataset.image_size(position),
    }
}

impl SplitReport {
    /// Notes what is wrong with an image and its mask; the mask's counts if nothing is.
    fn check_pair(
        &mut self,
        dataset: &SegmentationDataset,
        position: usize,
        mask: Result<MaskStats, DataError>,
        image: Result<(u32, u32), DataError>,
    ) -> Option<MaskStats> {
        let (image_path, mask_path) = (dataset.image_path(position), dataset.mask_path(position));
        let image = image.map_err(|error| {
            if image_path.exists() {
                self.unreadable.push(FileProblem::new(&image_path, &error));
            } else {
                self.missing_images.push(image_path.display().to_string());
            }
        });
        let mask = mask.map_err(|error| {
            if mask_path.exists() {
                self.unreadable.push(FileProblem::new(&mask_path, &error));
            } else {
                self.missing_masks.push(mask_path.display().to_string());
            }
        });
        let (image, mask) = (image.ok()?, mask.ok()?);
        let size = (mask.width, mask.height);
        if let Err(error) = io::check_same_size(&image_path, image, &mask_path, size) {
            self.size_mismatches.push(FileProblem::new(&mask_path, &error));
            return None;
        }
        Some(mask)
    }

    fn note_labels(&mut self, dataset: &SegmentationDataset, position: usize, mask: &MaskStats) {
        let classes = dataset.classes();
        let unknown: Vec<(u8, u64)> =
            mask.unknown_labels(classes).map(|label| (label, mask.pixels(label))).collect();
        if mask.labels().count() == unknown.len() {
            self.without_object.push(dataset.ids[position].clone());
        }
        if !unknown.is_empty() {
            let file = dataset.mask_path(position).display().to_string();
            self.unknown_labels.push(UnknownLabels { file, labels: unknown });
        }
    }

    fn count_classes(
        &mut self,
        dataset: &SegmentationDataset,
        sound: &[ImageLabels],
        min_pixels: u64,
    ) {
        self.classes = (1..)
            .zip(&dataset.class_names)
            .map(|(label, name)| ClassCount {
                label,
                name: name.clone(),
                images: 0,
                too_small: 0,
                pixels: 0,
            })
            .collect();
        for (&class, &pixels) in sound.iter().flat_map(|image| &image.pixels) {
            let place = usize::from(class).checked_sub(1);
            if let Some(count) = place.and_then(|place| self.classes.get_mut(place)) {
                count.images += 1;
                count.too_small += usize::from(pixels < min_pixels);
                count.pixels += pixels;
            }
        }
    }
}

impl FileProblem {
    fn new(file: &std::path::Path, error: &DataError) -> Self {
        Self { file: file.display().to_string(), problem: error.to_string() }
    }
}
