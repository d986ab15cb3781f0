//! What becomes of the images of an episode.

use image::RgbImage;
use ndarray::Array2;

use crate::DataError;
use crate::resize::{Filter, pillow_nearest, resize_rgb};
use crate::rng::PythonRandom;
use crate::transform::binary_mask;

/// Which images are mirrored: as published each with probability one half, in validation and tests too, one
/// draw an image, in order: the supports way by way, then the query. Draws run on from episode to episode.
#[derive(Debug, Clone)]
pub struct Flips(Option<PythonRandom>);

impl Flips {
    /// The draws of Python's generator after `random.seed(seed)`; the published test seeds it with 0.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(PythonRandom::seed(seed.into())))
    }

    /// No image is mirrored.
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether the next image is mirrored.
    pub fn next_flip(&mut self) -> bool {
        self.0.as_mut().is_some_and(|random| random.random() < 0.5)
    }
}

/// An image of an episode with its masks, at the size of the network.
#[derive(Debug, Clone)]
pub struct LoadedWay {
    /// The image.
    pub image: RgbImage,
    /// All its labels.
    pub full: Array2<u8>,
}

impl LoadedWay {
    /// The mask of a class: 1 where it is. Ignored pixels are background, as published.
    pub fn mask(&self, class: u8) -> Array2<u8> {
        class_mask(&self.full, class)
    }

    /// The mask of a class in which ignored pixels stay ignored.
    pub fn mask_with_ignored(&self, class: u8) -> Array2<u8> {
        binary_mask(&self.full, class)
    }
}

/// Brings an image and its labels to `side` x `side` pixels, whatever their shape (bilinear as Pillow has it,
/// and nearest), and mirrors both if `flip` says so.
///
/// # Errors
/// [`DataError::Setting`] if the image or the side is empty.
pub fn loaded(
    image: &RgbImage,
    labels: &Array2<u8>,
    side: usize,
    flip: bool,
) -> Result<LoadedWay, DataError> {
    let mut image = resize_rgb(image, [side; 2], Filter::Bilinear)?;
    if flip {
        image = image::imageops::flip_horizontal(&image);
    }
    Ok(LoadedWay { image, full: loaded_labels(labels, side, flip)? })
}

/// [`loaded`] for the labels alone.
///
/// # Errors
/// As there.
pub fn loaded_labels(
    labels: &Array2<u8>,
    side: usize,
    flip: bool,
) -> Result<Array2<u8>, DataError> {
    let mut full = pillow_nearest(labels, [side; 2])?;
    if flip {
        full.invert_axis(ndarray::Axis(1));
    }
    Ok(full.as_standard_layout().to_owned())
}

/// The mask of a class among labels: 1 where it is. Ignored pixels are background, as published.
pub fn class_mask(labels: &Array2<u8>, class: u8) -> Array2<u8> {
    labels.mapv(|label| u8::from(label == class))
}
