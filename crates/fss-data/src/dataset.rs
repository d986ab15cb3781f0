//! A list of images with label masks: the form that every benchmark takes here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use image::RgbImage;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::episode::ImageLabels;
use crate::index::MaskStats;
use crate::transform::binary_mask;
use crate::{ClassId, DataError, IGNORE_INDEX, io};

/// Which of a benchmark's lists of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The images that models are trained on (with the base classes).
    Train,
    /// The images that models are evaluated on (with the novel classes).
    Val,
    /// A list of its own for the final evaluation, where the benchmark has one (FSS-1000).
    Test,
}

impl Split {
    /// All splits.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];
    /// The splits of PASCAL-5i and COCO-20i, which are tested on the validation images.
    pub const TRAIN_VAL: [Self; 2] = [Self::Train, Self::Val];

    /// `train`, `val` or `test`, as list files are named.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
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
            remedy: "use train, val or test".into(),
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

/// What the masks of a [`SegmentationDataset`] say.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Masks {
    /// The pixel values are labels: 0 background, 1..n classes, 255 ignored.
    #[default]
    Labels,
    /// Each file shows one class: pixels of at least `threshold` (of a grey or colour picture, its
    /// 8-bit luma) are foreground, all others background. Nothing is ignored.
    Binary {
        /// The lowest grey value of the foreground: 128 in FSS-1000.
        threshold: u8,
        /// The class of each image, in the order of the ids.
        classes: Vec<ClassId>,
    },
    /// Label masks that are drawn when they are asked for, from polygons and the like. The mask path
    /// of an image is the annotation file.
    Drawn(Arc<dyn DrawMask>),
}

impl PartialEq for Masks {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Labels, Self::Labels) => true,
            (
                Self::Binary { threshold, classes },
                Self::Binary { threshold: other_threshold, classes: other_classes },
            ) => threshold == other_threshold && classes == other_classes,
            (Self::Drawn(one), Self::Drawn(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Masks {}

/// Draws the label masks of a dataset from its annotations.
pub trait DrawMask: fmt::Debug + Send + Sync {
    /// The label mask `[H, W]` of image `position`: 0 background, 1..n classes, 255 ignored.
    ///
    /// # Errors
    /// [`DataError`] naming file and entry if the annotation cannot be drawn.
    fn draw(&self, position: usize) -> Result<Array2<u8>, DataError>;

    /// What tells the mask of image `position` from others of the same annotation file, say the
    /// image's id; empty where every image has a file of its own.
    fn entry(&self, position: usize) -> String;

    /// The class of image `position`, if its mask shows that class alone: 1 is that class then,
    /// whatever its number. None for a mask of labels.
    fn only_class(&self, position: usize) -> Option<ClassId> {
        let _ = position;
        None
    }

    /// The image itself, where it lies in the annotation file and has no file of its own.
    fn embedded_image(&self, position: usize) -> Option<Result<RgbImage, DataError>> {
        let _ = position;
        None
    }
}

/// One image with its label mask.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The image's id in its dataset.
    pub id: String,
    /// The image `[H, W, 3]`, 8-bit RGB at its own size.
    pub image: RgbImage,
    /// The labels `[H, W]`: 0 background, 1..n classes, 255 ignore. Of a dataset of binary masks, 1
    /// is the class of the image.
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
    /// What the masks say.
    pub masks: Masks,
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

    /// The name of a class; `background` for 0, `unknown` for a number above n.
    pub fn class_name(&self, class: ClassId) -> &str {
        match usize::from(class).checked_sub(1) {
            None => "background",
            Some(place) => self.class_names.get(place).map_or("unknown", String::as_str),
        }
    }

    /// The value that pixels of `class` have in mask `position`; none if it cannot show the class.
    ///
    /// # Panics
    /// When `position` is not below [`len`](Self::len).
    pub fn mask_label(&self, position: usize, class: ClassId) -> Option<u8> {
        match self.only_class(position) {
            Some(only) => (only == class).then_some(1),
            None => u8::try_from(class).ok().filter(|&label| label != 0 && label != IGNORE_INDEX),
        }
    }

    /// The class of mask `position`, if it shows one class alone; none for a mask of labels.
    ///
    /// # Panics
    /// When `position` is not below [`len`](Self::len).
    pub fn only_class(&self, position: usize) -> Option<ClassId> {
        match &self.masks {
            Masks::Labels => None,
            Masks::Binary { classes, .. } => Some(classes[position]),
            Masks::Drawn(drawing) => drawing.only_class(position),
        }
    }

    /// The mask of one class: of a mask `position` of this dataset, whatever was cut out or resized,
    /// 1 where it shows `class`, 255 where it is ignored, else 0.
    ///
    /// # Panics
    /// When `position` is not below [`len`](Self::len).
    pub fn class_mask(&self, position: usize, mask: &Array2<u8>, class: ClassId) -> Array2<u8> {
        match self.mask_label(position, class) {
            Some(label) => binary_mask(mask, label),
            None => mask.mapv(|value| if value == IGNORE_INDEX { value } else { 0 }),
        }
    }

    /// How many pixels of mask `position` show each class, from the counts of its values; the
    /// background as class 0 included.
    fn class_pixels(&self, position: usize, mask: &MaskStats) -> BTreeMap<ClassId, u64> {
        let only = self.only_class(position);
        let class_of = |label: u8| match label {
            0 => Some(0),
            IGNORE_INDEX => None,
            _ => Some(only.unwrap_or(ClassId::from(label))),
        };
        mask.counts().iter().filter_map(|&(label, n)| Some((class_of(label)?, n))).collect()
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

    /// Reads image and mask `position`; the mask is 1 where it shows `class`, 255 where it is
    /// ignored, else 0.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_class(&self, position: usize, class: ClassId) -> Result<Sample, DataError> {
        let sample = self.load(position)?;
        let mask = self.class_mask(position, &sample.mask, class);
        Ok(Sample { mask, ..sample })
    }

    /// Reads image `position` alone.
    ///
    /// # Errors
    /// As [`io::read_image`]; also when there is no such position.
    pub fn load_image(&self, position: usize) -> Result<RgbImage, DataError> {
        self.check_position(position)?;
        if let Some(image) = self.embedded_image(position) {
            return image;
        }
        let path = self.image_path(position);
        io::read_image(&path).map_err(|error| self.explain_missing(position, error))
    }

    /// The width and height of image `position` in pixels, from its header alone where it is a file
    /// of its own.
    ///
    /// # Errors
    /// As [`io::image_size`]; also when there is no such position.
    pub fn image_size(&self, position: usize) -> Result<(u32, u32), DataError> {
        self.check_position(position)?;
        if let Some(image) = self.embedded_image(position) {
            return image.map(|image| image.dimensions());
        }
        let path = self.image_path(position);
        io::image_size(&path).map_err(|error| self.explain_missing(position, error))
    }

    fn embedded_image(&self, position: usize) -> Option<Result<RgbImage, DataError>> {
        match &self.masks {
            Masks::Drawn(drawing) => drawing.embedded_image(position),
            _ => None,
        }
    }

    /// Reads mask `position` alone, `[H, W]`.
    ///
    /// # Errors
    /// As [`io::read_mask`]; also when there is no such position.
    pub fn load_mask(&self, position: usize) -> Result<Array2<u8>, DataError> {
        self.check_position(position)?;
        let path = self.mask_path(position);
        match &self.masks {
            Masks::Labels => io::read_mask(&path),
            Masks::Binary { threshold, .. } => io::read_binary_mask(&path, *threshold),
            Masks::Drawn(drawing) => drawing.draw(position),
        }
        .map_err(|error| self.explain_missing(position, error))
    }

    /// What tells mask `position` from others in the same file.
    pub(crate) fn mask_entry(&self, position: usize) -> String {
        match &self.masks {
            Masks::Labels => String::new(),
            // One file counts differently under another threshold.
            Masks::Binary { threshold, .. } => format!("from {threshold}"),
            Masks::Drawn(drawing) => drawing.entry(position),
        }
    }

    /// What mask `position` shows, from the counts of its values.
    pub(crate) fn image_labels(&self, position: usize, mask: &MaskStats) -> ImageLabels {
        ImageLabels {
            id: self.ids[position].clone(),
            width: mask.width,
            height: mask.height,
            pixels: self.class_pixels(position, mask),
        }
    }

    /// Refuses a position that there is not.
    pub(crate) fn check_position(&self, position: usize) -> Result<(), DataError> {
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
