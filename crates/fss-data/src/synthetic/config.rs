//! What a synthetic set is made of.

use serde::{Deserialize, Serialize};

use super::class::SyntheticClass;
use crate::dataset::Split;
use crate::{ClassId, DataError};

/// The classes of PASCAL VOC, and of a synthetic set in its layout.
pub(super) const PASCAL_CLASSES: u8 = 20;

/// Everything that a synthetic set in the layout of PASCAL VOC depends on, and how the pictures of
/// the other layouts look. Pairs are `[smallest, largest]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticConfig {
    /// Seed of all random numbers.
    pub seed: u64,
    /// Number of pictures in the training list.
    pub train_images: usize,
    /// Number of pictures in the validation list.
    pub val_images: usize,
    /// Number of classes: 1 to 20, in the layout of COCO 1 to 200.
    pub classes: u8,
    /// Width and height in pixels, drawn separately.
    pub side: [u32; 2],
    /// Diameter of the objects in per cent of the picture's side.
    pub object_percent: [u32; 2],
    /// Number of objects in a picture; larger numbers are more frequent.
    pub objects: [u32; 2],
    /// How often (in per cent) a further object repeats a class of the picture.
    pub repeat_percent: u32,
    /// Number of small plain things that belong to no class.
    pub clutter: [u32; 2],
    /// Quality of the JPEG files, 1 to 100.
    pub jpeg_quality: u8,
}

impl Default for SyntheticConfig {
    /// A set for demonstrations: 300 + 150 pictures of about 112 x 112.
    fn default() -> Self {
        Self {
            seed: 0,
            train_images: 300,
            val_images: 150,
            classes: PASCAL_CLASSES,
            side: [96, 128],
            object_percent: [24, 45],
            objects: [1, 3],
            repeat_percent: 15,
            clutter: [2, 6],
            jpeg_quality: 92,
        }
    }
}

impl SyntheticConfig {
    /// Number of pictures in a list.
    pub fn images(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train_images,
            Split::Val => self.val_images,
            Split::Test => 0,
        }
    }

    /// The classes of the set, in order of their labels.
    pub fn synthetic_classes(&self) -> Vec<SyntheticClass> {
        (1..=ClassId::from(self.classes)).filter_map(SyntheticClass::of).collect()
    }

    /// A size in pixels that most objects reach: a small-object limit for drawing episodes from
    /// this set, as 2048 pixels are for PASCAL.
    pub fn min_object_pixels(&self) -> usize {
        let side = u64::from(self.side[0]) + u64::from(self.side[1]);
        let diameter = side * u64::from(self.object_percent[0]) / 200;
        // A thin outline fills about a quarter of the square around it once its border is off.
        (diameter * diameter / 4) as usize
    }

    /// Refuses settings from which no set in the layout of PASCAL VOC can be drawn.
    ///
    /// # Errors
    /// [`DataError::Setting`] naming the first wrong one.
    pub fn check(&self) -> Result<(), DataError> {
        self.check_pictures(PASCAL_CLASSES)
    }

    /// Refuses settings from which no pictures of up to `most_classes` classes can be drawn.
    pub(super) fn check_pictures(&self, most_classes: u8) -> Result<(), DataError> {
        pair("side", self.side, 32, 4096)?;
        pair("object_percent", self.object_percent, 10, 90)?;
        pair("objects", self.objects, 1, 16)?;
        pair("clutter", self.clutter, 0, 100)?;
        within("classes", self.classes.into(), 1, most_classes.into())?;
        within("repeat_percent", self.repeat_percent, 0, 100)?;
        within("jpeg_quality", self.jpeg_quality.into(), 1, 100)?;
        let images = self.train_images.saturating_add(self.val_images);
        // Six digits in a name.
        require((1..=1_000_000).contains(&images), format!("{images} pictures"), || {
            "give 1 to 1000000 as the sum of train_images and val_images".into()
        })
    }
}

/// Refuses a range that is upside down or not within `least` to `most`.
pub(super) fn pair(
    name: &str,
    [low, high]: [u32; 2],
    least: u32,
    most: u32,
) -> Result<(), DataError> {
    let good = least <= low && low <= high && high <= most;
    require(good, format!("{name} = [{low}, {high}]"), || {
        format!("give [smallest, largest] within {least} to {most}")
    })
}

/// Refuses a value that is not within `least` to `most`.
pub(super) fn within(name: &str, value: u32, least: u32, most: u32) -> Result<(), DataError> {
    require((least..=most).contains(&value), format!("{name} = {value}"), || {
        format!("give {least} to {most}")
    })
}

/// Refuses `what` unless it is good.
pub(super) fn require(
    good: bool,
    what: String,
    remedy: impl FnOnce() -> String,
) -> Result<(), DataError> {
    if good {
        return Ok(());
    }
    Err(DataError::Setting {
        what: format!("no synthetic set can be made with {what}"),
        remedy: remedy(),
    })
}
