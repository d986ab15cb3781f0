//! COCO-20i: the images of MS COCO with 80 classes in 4 folds.
//!
//! These layouts are recognised, in this order:
//!
//! ```text
//! <root>/JPEGImages/<id>.jpg                       SSP and MLC: as PASCAL VOC; both lists in one
//! <root>/SegmentationClass/<id>.png                root, or one root for each split, named
//! <root>/ImageSets/{train,val}.txt                 train_coco and val_coco
//!
//! <root>/COCO2014/{train2014,val2014}/<id>.jpg     HSNet; also without the folder COCO2014
//! <root>/COCO2014/annotations/{train2014,val2014}/<id>.png
//! <root>/COCO2014/ImageSets/{train,val}.txt        optional: without them, all images with a mask
//!
//! <root>/annotations/instances_{train,val}2014.json    the official archives, or those of 2017
//! <root>/{train,val}2014/<file name>.jpg               also in images/; masks are drawn on demand
//! ```
//!
//! Masks hold the labels 1 to 80: the categories in the order of their official ids. A set with other
//! classes in the first two layouts names them in a file `classes.txt` beside the folders, one name
//! a line in the order of the labels; a JSON file names its own.
//!
//! Two ways of dealing the classes to folds are in use, see [`FoldScheme`](crate::folds::FoldScheme):
//! SSP and MLC take 20 classes in a row, HSNet and most others every fourth class.

mod detect;
mod json;

use std::path::{Path, PathBuf};

use crate::pascal::read_id_list;
use crate::{DataError, Files, Masks, SegmentationDataset, Split};

/// The names of the labels 1 to 80.
#[rustfmt::skip]
pub const CLASS_NAMES: [&str; 80] = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
];

/// The file that names the classes of a set with other ones than [`CLASS_NAMES`].
pub const CLASSES_FILE: &str = "classes.txt";

/// The arrangements of the folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// `JPEGImages`, `SegmentationClass` and `ImageSets`: SSP and MLC.
    Voc,
    /// Masks in `annotations/{train,val}2014`: HSNet.
    Hsnet,
    /// Annotations in `annotations/instances_*.json`.
    Json,
}

/// Where one split lies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// The images of a list file.
    Listed { images: PathBuf, masks: PathBuf, list: PathBuf },
    /// The images that have a mask.
    Masked { images: PathBuf, masks: PathBuf },
    /// The images of an annotation file.
    Annotated { images: PathBuf, file: PathBuf },
}

/// The folders of a COCO-20i tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoRoot {
    root: PathBuf,
    layout: Layout,
    train: Option<Part>,
    val: Option<Part>,
    class_names: Vec<String>,
}

impl CocoRoot {
    /// Recognises the layout of a tree.
    ///
    /// # Errors
    /// [`DataError::Invalid`] that lists what was looked for; also when the names of the classes
    /// cannot be read.
    pub fn detect(root: &Path) -> Result<Self, DataError> {
        detect::detect(root)
    }

    /// The folder that was given.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Which layout it has.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The names of the labels 1..n.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// One line on where things were found.
    pub fn summary(&self) -> String {
        let parts = [(Split::Train, &self.train), (Split::Val, &self.val)];
        let parts: Vec<String> = parts
            .into_iter()
            .map(|(split, part)| match part {
                Some(Part::Listed { masks, list, .. }) => {
                    format!("{split}: masks in {}, list {}", masks.display(), list.display())
                }
                Some(Part::Masked { masks, .. }) => {
                    format!("{split}: masks in {}", masks.display())
                }
                Some(Part::Annotated { file, .. }) => {
                    format!("{split}: masks are drawn from {}", file.display())
                }
                None => format!("{split}: not there"),
            })
            .collect();
        format!("{} classes; {}", self.class_names.len(), parts.join("; "))
    }

    /// The images of a split: in the order of the list file, else by name, else by the ids of the
    /// annotation file. In the published archives the last two are the same order.
    ///
    /// # Errors
    /// [`DataError`] naming what is missing or broken.
    pub fn dataset(&self, split: Split) -> Result<SegmentationDataset, DataError> {
        let part = match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
            Split::Test => &None,
        };
        let name = format!("coco {split}");
        match part {
            Some(Part::Listed { images, masks, list }) => {
                Ok(self.of_pictures(name, images, masks, read_id_list(list)?))
            }
            Some(Part::Masked { images, masks }) => {
                Ok(self.of_pictures(name, images, masks, detect::mask_names(masks)?))
            }
            Some(Part::Annotated { images, file }) => json::dataset(self, name, images, file),
            None => Err(DataError::invalid(
                &self.root,
                format!("there are no {split} images in this tree ({})", self.summary()),
                match self.layout {
                    Layout::Voc => "add ImageSets/train.txt and val.txt, or give the other root",
                    _ => "unpack the archives of both splits here",
                },
            )),
        }
    }

    fn of_pictures(
        &self,
        name: String,
        images: &Path,
        masks: &Path,
        ids: Vec<String>,
    ) -> SegmentationDataset {
        SegmentationDataset {
            name,
            root: self.root.clone(),
            class_names: self.class_names.clone(),
            ids,
            files: Files::ById {
                images: images.to_path_buf(),
                image_extension: "jpg".into(),
                masks: masks.to_path_buf(),
                mask_extension: "png".into(),
            },
            masks: Masks::Labels,
        }
    }
}

/// The images of a split of the COCO-20i tree below `root`.
///
/// # Errors
/// As [`CocoRoot::detect`] and [`CocoRoot::dataset`].
pub fn open(root: &Path, split: Split) -> Result<SegmentationDataset, DataError> {
    CocoRoot::detect(root)?.dataset(split)
}

#[cfg(test)]
mod tests;
