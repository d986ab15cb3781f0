//! PASCAL-5i: the images of PASCAL VOC 2012 with 20 classes in 4 folds.
//!
//! Two layouts are published, and both are recognised:
//!
//! ```text
//! <root>/JPEGImages/<id>.jpg                      SSP and MLC
//! <root>/SegmentationClass/<id>.png               or SegmentationClassAug
//! <root>/ImageSets/{train,val}.txt                or ImageSets/Segmentation/
//!
//! <root>/VOC2012/JPEGImages/<id>.jpg              HSNet (also below VOCdevkit/)
//! <root>/VOC2012/SegmentationClassAug/<id>.png    or SegmentationClass
//! <root>/VOC2012/ImageSets/..                     optional: HSNet brings lists of its own
//! ```

mod detect;
mod lists;

use std::path::{Path, PathBuf};

pub use lists::{HsnetEntry, read_hsnet_list, read_id_list};

use crate::{DataError, Files, Masks, SegmentationDataset, Split};

/// The names of the labels 1 to 20.
pub const CLASS_NAMES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// The published arrangements of the folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// Everything directly below the root: SSP and MLC.
    Flat,
    /// Everything below `VOC2012/` (or `VOCdevkit/VOC2012/`): HSNet and the official archive.
    Voc2012,
}

/// Folders that take the place of the recognised ones. Relative paths are below the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PascalOptions {
    /// Only this layout.
    pub layout: Option<Layout>,
    /// The folder of the images, in place of `JPEGImages`.
    pub images: Option<PathBuf>,
    /// The folder of the masks, in place of `SegmentationClass` or `SegmentationClassAug`.
    pub masks: Option<PathBuf>,
    /// The folder that holds `train.txt` and `val.txt`, in place of `ImageSets`.
    pub lists: Option<PathBuf>,
}

/// The folders of a PASCAL-5i tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PascalRoot {
    root: PathBuf,
    layout: Layout,
    images: PathBuf,
    masks: PathBuf,
    lists: Option<PathBuf>,
    mask_choice: String,
}

impl PascalRoot {
    /// Recognises the layout of a tree.
    ///
    /// # Errors
    /// [`DataError::Invalid`] that lists the folders that were looked for.
    pub fn detect(root: &Path) -> Result<Self, DataError> {
        Self::detect_with(root, &PascalOptions::default())
    }

    /// As [`detect`](Self::detect), with some folders given.
    ///
    /// When both mask folders exist, that which holds the masks of more listed images is taken;
    /// of equals, `SegmentationClass` in the flat layout and `SegmentationClassAug` in the other,
    /// as the published programs read them. [`mask_choice`](Self::mask_choice) says why.
    ///
    /// # Errors
    /// [`DataError::Invalid`] that lists the folders that were looked for.
    pub fn detect_with(root: &Path, options: &PascalOptions) -> Result<Self, DataError> {
        detect::detect(root, options)
    }

    /// The folder that was given.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Which layout it has.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The folder of the images.
    pub fn images(&self) -> &Path {
        &self.images
    }

    /// The folder of the masks.
    pub fn masks(&self) -> &Path {
        &self.masks
    }

    /// The folder of the list files, if there is one.
    pub fn lists(&self) -> Option<&Path> {
        self.lists.as_deref()
    }

    /// One line on the folder of the masks and why it was chosen.
    pub fn mask_choice(&self) -> &str {
        &self.mask_choice
    }

    /// The images of a split, in the order of its list file.
    ///
    /// # Errors
    /// [`DataError`] naming the list file when it is missing, empty or not a list of ids.
    pub fn dataset(&self, split: Split) -> Result<SegmentationDataset, DataError> {
        let Some(folder) = &self.lists else {
            return Err(DataError::invalid(
                &self.root,
                format!("there is no list of the {split} images (ImageSets/{split}.txt)"),
                "add the published list files, one id a line, or name their folder",
            ));
        };
        let ids = read_id_list(&folder.join(format!("{split}.txt")))?;
        Ok(self.dataset_of(&format!("pascal {split}"), ids))
    }

    /// The images with the given ids, for lists that come from elsewhere. `name` is used in
    /// messages.
    pub fn dataset_of(&self, name: &str, ids: Vec<String>) -> SegmentationDataset {
        SegmentationDataset {
            name: name.to_owned(),
            root: self.root.clone(),
            class_names: CLASS_NAMES.map(str::to_owned).to_vec(),
            ids,
            files: Files::ById {
                images: self.images.clone(),
                image_extension: "jpg".into(),
                masks: self.masks.clone(),
                mask_extension: "png".into(),
            },
            masks: Masks::Labels,
        }
    }
}

/// The images of a split of the PASCAL-5i tree below `root`.
///
/// # Errors
/// As [`PascalRoot::detect`] and [`PascalRoot::dataset`].
pub fn open(root: &Path, split: Split) -> Result<SegmentationDataset, DataError> {
    PascalRoot::detect(root)?.dataset(split)
}

#[cfg(test)]
mod tests;
