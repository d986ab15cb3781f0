//! A list of images with label masks: the form that every benchmark takes here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::RgbImage;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::{DataError, io};

/// Which of a benchmark's lists of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The images that models are trained on (with the base classes).
    Train,
    /// The images that models are evaluated on (with the novel classes).
    Val,
}

impl Split {
    /// Both splits.
    pub const ALL: [Self; 2] = [Self::Train, Self::Val];

    /// `train` or `val`, as list files are named.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Split {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        Self::ALL.into_iter().find(|split| split.name() == name).ok_or_else(|| DataError::Setting {
            what: format!("unknown split {name:?}"),
            remedy: "use train or val".into(),
        })
    }
}

/// Where the files of a [`SegmentationDataset`] lie.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Files {
    /// `<images>/<id>.<image_extension>` and `<masks>/<id>.<mask_extension>`.
    ById {
        /// The folder of the images.
        images: PathBuf,
        /// Their extension, without the dot.
        image_extension: String,
        /// The folder of the masks.
        masks: PathBuf,
        /// Their extension, without the dot.
        mask_extension: String,
    },
    /// An image and a mask for each id, in the order of the ids.
    Listed(Vec<(PathBuf, PathBuf)>),
}

/// One image with its label mask.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The image's id in its dataset.
    pub id: String,
    /// The image `[H, W, 3]`, 8-bit RGB at its own size.
    pub image: RgbImage,
    /// The labels `[H, W]`: 0 background, 1..n classes, 255 ignore.
    pub mask: Array2<u8>,
}

/// Images with label masks in a fixed order.
///
/// A plain list: benchmarks such as [`pascal`](crate::pascal) build it from their folders. Images
/// are named by their position in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentationDataset {
    /// A short name for messages, as in `pascal val`.
    pub name: String,
    /// The folder that holds everything; index caches lie there.
    pub root: PathBuf,
    /// The names of the classes with labels 1..n; label `c` is `class_names[c - 1]`.
    pub class_names: Vec<String>,
    /// The ids in list order.
    pub ids: Vec<String>,
    /// Where images and masks lie.
    pub files: Files,
}

impl SegmentationDataset {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// n, the number of classes without the background.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The name of label `class`: a class name, `background`, `ignore`, or `unknown`.
    pub fn class_name(&self, class: u8) -> &str {
        match class {
            0 => "background",
            crate::IGNORE_INDEX => "ignore",
            _ => self.class_names.get(usize::from(class) - 1).map_or("unknown", String::as_str),
        }
    }

    /// The position of an id.
    ///
    /// # Errors
    /// [`DataError::Invalid`] naming the dataset's root when the id is not in the list.
    pub fn position(&self, id: &str) -> Result<usize, DataError> {
        self.ids.iter().position(|known| known == id).ok_or_else(|| {
            DataError::invalid(
                &self.root,
                format!("image {id:?} is not among the {} of {}", self.len(), self.name),
                "check the id and the list files",
            )
        })
    }

    /// The file of image `position`.
    ///
    /// # Panics
    /// When `position` is not below [`len`](Self::len).
    pub fn image_path(&self, position: usize) -> PathBuf {
        match &self.files {
            Files::ById { images, image_extension, .. } => {
                file_of(images, &self.ids[position], image_extension)
            }
            Files::Listed(pairs) => pairs[position].0.clone(),
        }
    }

    /// The file of mask `position`.
    ///
    /// # Panics
    /// When `position` is not below [`len`](Self::len).
    pub fn mask_path(&self, position: usize) -> PathBuf {
        match &self.files {
            Files::ById { masks, mask_extension, .. } => {
                file_of(masks, &self.ids[position], mask_extension)
            }
            Files::Listed(pairs) => pairs[position].1.clone(),
        }
    }

    /// Reads image and mask `position`.
    ///
    /// # Errors
    /// [`DataError`] naming the file when one is missing or unreadable, or when the two differ in
    /// size; also when there is no such position.
    pub fn load(&self, position: usize) -> Result<Sample, DataError> {
        let image = self.load_image(position)?;
        let mask = self.load_mask(position)?;
        let mask_size = (mask.ncols() as u32, mask.nrows() as u32);
        io::check_same_size(
            &self.image_path(position),
            image.dimensions(),
            &self.mask_path(position),
            mask_size,
        )?;
        Ok(Sample { id: self.ids[position].clone(), image, mask })
    }

    /// Reads image `position` alone.
    ///
    /// # Errors
    /// As [`io::read_image`]; also when there is no such position.
    pub fn load_image(&self, position: usize) -> Result<RgbImage, DataError> {
        self.check_position(position)?;
        let path = self.image_path(position);
        io::read_image(&path).map_err(|error| self.explain_missing(position, error))
    }

    /// Reads mask `position` alone, `[H, W]`.
    ///
    /// # Errors
    /// As [`io::read_mask`]; also when there is no such position.
    pub fn load_mask(&self, position: usize) -> Result<Array2<u8>, DataError> {
        self.check_position(position)?;
        let path = self.mask_path(position);
        io::read_mask(&path).map_err(|error| self.explain_missing(position, error))
    }

    fn check_position(&self, position: usize) -> Result<(), DataError> {
        if position < self.len() {
            return Ok(());
        }
        Err(DataError::Setting {
            what: format!(
                "image number {position} asked of {} images of {}",
                self.len(),
                self.name
            ),
            remedy: "count from 0; use episodes that were drawn from this very list".into(),
        })
    }

    /// A missing file is best explained by the list that names it.
    pub(crate) fn explain_missing(&self, position: usize, error: DataError) -> DataError {
        match error {
            DataError::Io { path, source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                DataError::invalid(
                    &path,
                    format!("the file of {:?} ({}) is missing", self.ids[position], self.name),
                    "complete the dataset or take the id off the list; `fss data check` lists all \
                     missing files",
                )
            }
            other => other,
        }
    }
}

fn file_of(folder: &Path, id: &str, extension: &str) -> PathBuf {
    // Not `with_extension`: an id may hold a dot.
    folder.join(format!("{id}.{extension}"))
}
