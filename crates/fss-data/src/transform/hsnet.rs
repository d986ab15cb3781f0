//! The preparation of images and masks in the HSNet protocol.

use image::RgbImage;
use ndarray::{Array2, Array3};
use serde::{Deserialize, Serialize};

use super::{binary_mask, normalise};
use crate::{
    DataError, IGNORE_INDEX,
    resize::{Filter, resize_mask, resize_rgb},
};

/// What becomes of the pixels with label 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IgnoredPixels {
    /// They stay 255: they count neither as foreground nor as background.
    Kept,
    /// They become background: what the protocol does to support masks.
    Background,
}

/// Resizes images to a square with Pillow's bilinear filter, whatever their aspect ratio, and
/// masks with PyTorch's nearest rule; then normalises images and picks one class in masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HsnetPreprocess {
    /// Side of the square in pixels.
    pub side: usize,
}

impl Default for HsnetPreprocess {
    fn default() -> Self {
        Self { side: 400 }
    }
}

impl HsnetPreprocess {
    /// The resized 8-bit image, `side` × `side` pixels.
    ///
    /// # Errors
    /// If the image or the wanted size is empty.
    pub fn resize(&self, image: &RgbImage) -> Result<RgbImage, DataError> {
        resize_rgb(image, [self.side; 2], Filter::Bilinear)
    }

    /// The resized and normalised image `[3, side, side]`.
    ///
    /// # Errors
    /// As [`resize`](Self::resize).
    pub fn image(&self, image: &RgbImage) -> Result<Array3<f32>, DataError> {
        Ok(normalise(&self.resize(image)?))
    }

    /// The resized mask `[side, side]` of the class with this label (one above the protocol's
    /// class number): 1 foreground, 0 background, and 255 ignored where that is kept.
    ///
    /// The protocol keeps ignored pixels in query masks and drops them in support masks.
    ///
    /// # Errors
    /// If the mask or the wanted size is empty.
    pub fn mask(
        &self,
        mask: &Array2<u8>,
        label: u8,
        ignored: IgnoredPixels,
    ) -> Result<Array2<u8>, DataError> {
        let binary = binary_mask(&resize_mask(mask, [self.side; 2])?, label);
        Ok(match ignored {
            IgnoredPixels::Kept => binary,
            IgnoredPixels::Background => {
                binary.mapv_into(|value| if value == IGNORE_INDEX { 0 } else { value })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn ignored_pixels_of_supports_become_background() {
        let mask = array![[3, 255], [0, 4]];
        let preprocess = HsnetPreprocess { side: 2 };
        let kept = preprocess.mask(&mask, 3, IgnoredPixels::Kept).unwrap();
        assert_eq!(kept, array![[1, 255], [0, 0]]);
        let dropped = preprocess.mask(&mask, 3, IgnoredPixels::Background).unwrap();
        assert_eq!(dropped, array![[1, 0], [0, 0]]);
    }

    #[test]
    fn images_become_squares() {
        let image = RgbImage::new(30, 20);
        assert_eq!(HsnetPreprocess::default().side, 400);
        assert_eq!(HsnetPreprocess { side: 16 }.image(&image).unwrap().dim(), (3, 16, 16));
        assert!(HsnetPreprocess { side: 0 }.image(&image).is_err());
    }
}
