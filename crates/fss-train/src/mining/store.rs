//! A folder of latent classes and pseudo masks.
//!
//! | file | what |
//! |---|---|
//! | `clusters.safetensors` | the latent classes and what they were made from |
//! | `masks/<id>.png` | the pseudo mask of each image of the training list |
//! | `extra/<file name>.png` | those of further images without annotation |
//! | `masks.json` | written last: that all masks are there, and which further images there are |
//!
//! Each mask carries the fingerprint of the latent classes that it was made with, so that masks of
//! other classes are never taken for current ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fss_data::io::{WIDE_IGNORE, mask_note, read_image, read_wide_mask};
use fss_data::{DataError, SegmentationDataset};
use image::RgbImage;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::clusters::{Clusters, Origin};
use crate::TrainError;

/// Names in the folder.
pub(super) const CLUSTERS: &str = "clusters.safetensors";
const MASKS: &str = "masks";
const EXTRA: &str = "extra";
const INDEX: &str = "masks.json";
/// The text in each mask that names its latent classes.
pub(super) const NOTE: &str = "fss.clusters";

/// What `masks.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    pub format: String,
    /// Fingerprint of the latent classes.
    pub clusters: String,
    /// Images of the training list.
    pub images: usize,
    /// Further images.
    pub extra: Vec<PathBuf>,
}

impl Index {
    pub const FORMAT: &str = "fss-pseudo-masks-1";
}

/// Paths below the folder.
#[derive(Debug, Clone)]
pub(super) struct Layout(pub PathBuf);

impl Layout {
    pub fn clusters(&self) -> PathBuf {
        self.0.join(CLUSTERS)
    }

    pub fn index(&self) -> PathBuf {
        self.0.join(INDEX)
    }

    /// The mask of an image of the training list. An id may hold `/`.
    pub fn mask(&self, id: &str) -> PathBuf {
        self.0.join(MASKS).join(format!("{id}.png"))
    }

    /// The mask of a further image. Its own extension stays, since `a.jpg` and `a.png` may both be
    /// there.
    pub fn extra(&self, image: &Path) -> PathBuf {
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        self.0.join(EXTRA).join(format!("{name}.png"))
    }
}

/// Images with their pseudo masks, ready for training.
#[derive(Debug, Clone)]
pub struct PseudoMasks {
    layout: Layout,
    clusters: Clusters,
    fingerprint: Arc<str>,
    dataset: Arc<SegmentationDataset>,
    extra: Vec<PathBuf>,
}

impl PseudoMasks {
    /// Opens a folder that holds the masks of all images of `dataset`.
    ///
    /// # Errors
    /// [`TrainError::Labels`] if there is no such folder, it was made for another list of images, or
    /// is not complete.
    pub fn open(folder: &Path, dataset: &Arc<SegmentationDataset>) -> Result<Self, TrainError> {
        let layout = Layout(folder.to_path_buf());
        let refuse = |problem: String| {
            TrainError::labels(folder, problem, "run `fss mine` into this folder")
        };
        if !layout.clusters().is_file() {
            return Err(refuse("there are no latent classes".into()));
        }
        let clusters = Clusters::load(&layout.clusters())?;
        let fingerprint = clusters.fingerprint();
        let index = std::fs::read(layout.index()).ok();
        let index: Index = index
            .and_then(|text| serde_json::from_slice(&text).ok())
            .filter(|index: &Index| index.format == Index::FORMAT && index.clusters == fingerprint)
            .ok_or_else(|| refuse("not all pseudo masks are there (it was interrupted)".into()))?;
        if clusters.origin.listing != super::clusters::listing_fingerprint(dataset) {
            return Err(refuse(format!(
                "the pseudo masks are those of {} images of {}, but {} of {} are to be trained on",
                clusters.origin.images,
                clusters.origin.dataset,
                dataset.len(),
                dataset.name
            )));
        }
        Ok(Self {
            layout,
            clusters,
            fingerprint: fingerprint.into(),
            dataset: Arc::clone(dataset),
            extra: index.extra,
        })
    }

    /// Checks that the masks were made as `wanted` says. An encoder that is not known is not
    /// compared.
    ///
    /// # Errors
    /// [`TrainError::Labels`] naming what differs.
    pub fn check(&self, wanted: &Origin, encoder: EncoderCheck) -> Result<(), TrainError> {
        let mut own = self.clusters.origin.clone();
        if encoder == EncoderCheck::Any {
            own.encoder.clone_from(&wanted.encoder);
        }
        let differences = wanted.differences(&own);
        if differences.is_empty() {
            return Ok(());
        }
        let remedy = if differences.iter().any(|d| d.starts_with("encoder")) {
            "run `fss mine` with this recipe and these initial weights into another folder, or set \
             `model.mining.encoder` to \"any\" if another encoder was meant"
        } else {
            "run `fss mine` with this recipe into another folder, or name the folder that belongs \
             to it in `model.mining.masks`"
        };
        let problem = format!(
            "the pseudo masks were made for something else (wanted | there): {}",
            differences.join(", ")
        );
        Err(TrainError::labels(&self.layout.0, problem, remedy))
    }

    /// The latent classes.
    pub fn clusters(&self) -> &Clusters {
        &self.clusters
    }

    /// Fingerprint of the latent classes.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How many images there are: the training list's, then the further ones.
    pub fn len(&self) -> usize {
        self.dataset.len() + self.extra.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads image `index` and its pseudo mask `[H, W]` (0 background, 1..=N,
    /// [`WIDE_IGNORE`]).
    ///
    /// # Errors
    /// [`DataError`] naming the file that is missing, damaged, of other latent classes or of another
    /// size than its image.
    pub fn load(&self, index: usize) -> Result<(RgbImage, Array2<u16>), DataError> {
        let (image, mask_path) = match index.checked_sub(self.dataset.len()) {
            None => {
                let image = self.dataset.load_image(index)?;
                (image, self.layout.mask(&self.dataset.ids[index]))
            }
            Some(extra) => {
                let path = &self.extra[extra];
                (read_image(path)?, self.layout.extra(path))
            }
        };
        let again = "run `fss mine` into this folder again";
        let (note, size) = mask_note(&mask_path, NOTE)
            .ok_or_else(|| DataError::invalid(&mask_path, "there is no pseudo mask", again))?;
        if note != *self.fingerprint {
            return Err(DataError::invalid(&mask_path, "it is one of other latent classes", again));
        }
        if size != image.dimensions() {
            let (w, h) = size;
            let (image_w, image_h) = image.dimensions();
            let problem = format!("it has {w}x{h} pixels, its image {image_w}x{image_h}");
            return Err(DataError::invalid(&mask_path, problem, again));
        }
        let mask = read_wide_mask(&mask_path)?;
        let most = self.clusters.count();
        if let Some(label) = mask.iter().find(|&&l| l != WIDE_IGNORE && usize::from(l) > most) {
            let problem = format!("label {label} is above {most}, the number of latent classes");
            return Err(DataError::invalid(&mask_path, problem, again));
        }
        Ok((image, mask))
    }
}

/// Whether the encoder that made the masks must be the one that training starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderCheck {
    /// It must: the paper annotates with the encoder that is then trained.
    Initial,
    /// Any may have made them.
    Any,
}
