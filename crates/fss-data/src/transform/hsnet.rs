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

impl IgnoredPixels {
    fn apply(self, mask: Array2<u8>) -> Array2<u8> {
        match self {
            Self::Kept => mask,
            Self::Background => mask.mapv_into(|v| if v == IGNORE_INDEX { 0 } else { v }),
        }
    }
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
        Ok(ignored.apply(binary_mask(&resize_mask(mask, [self.side; 2])?, label)))
    }

    /// The resized labels `[side, side]`.
    ///
    /// # Errors
    /// As [`mask`](Self::mask).
    pub fn labels(
        &self,
        mask: &Array2<u8>,
        ignored: IgnoredPixels,
    ) -> Result<Array2<u8>, DataError> {
        Ok(ignored.apply(resize_mask(mask, [self.side; 2])?))
    }
}

/// Where the HSNet protocol compares prediction and truth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    /// At the square that the network sees: the query's mask is resized. What published tables are
    /// measured by.
    #[default]
    Resized,
    /// At the query's own size: its mask stays as it is, the logits are resized.
    Original,
}

/// What an image is in an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It is to be segmented.
    Query,
    /// It is annotated.
    Support,
}

/// What the HSNet protocol makes of the images and masks of an episode.
///
/// Ignored pixels of supports always become background. Those of queries are kept in PASCAL-5i; the
/// protocol knows none in COCO-20i and FSS-1000, where they become background as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HsnetView {
    /// The size that the network sees.
    pub preprocess: HsnetPreprocess,
    /// The size that query masks have.
    pub compare: Compare,
    /// What becomes of ignored pixels of queries.
    pub query_ignored: IgnoredPixels,
}

impl HsnetView {
    /// The image as the network sees it, `[3, side, side]`.
    ///
    /// # Errors
    /// As [`HsnetPreprocess::resize`].
    pub fn image(&self, image: &RgbImage) -> Result<Array3<f32>, DataError> {
        self.preprocess.image(image)
    }

    /// The 8-bit image in the size that its mask has in this role, for drawings.
    ///
    /// # Errors
    /// As [`HsnetPreprocess::resize`].
    pub fn picture(&self, image: &RgbImage, role: Role) -> Result<RgbImage, DataError> {
        match (role, self.compare) {
            (Role::Query, Compare::Original) => Ok(image.clone()),
            _ => self.preprocess.resize(image),
        }
    }

    /// The labels `[side, side]`, or of the mask's own size for queries that are compared there.
    ///
    /// # Errors
    /// If the mask or the wanted size is empty.
    pub fn mask(&self, mask: &Array2<u8>, role: Role) -> Result<Array2<u8>, DataError> {
        let labels = match (role, self.compare) {
            (Role::Query, Compare::Original) => mask.clone(),
            _ => resize_mask(mask, [self.preprocess.side; 2])?,
        };
        let ignored = match role {
            Role::Query => self.query_ignored,
            Role::Support => IgnoredPixels::Background,
        };
        Ok(ignored.apply(labels))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn queries_may_keep_size_and_ignored_pixels_and_supports_never_do() {
        let mask = array![[3, 255, 3]];
        let mut view = HsnetView {
            preprocess: HsnetPreprocess { side: 1 },
            compare: Compare::Original,
            query_ignored: IgnoredPixels::Kept,
        };
        assert_eq!(view.mask(&mask, Role::Query).unwrap(), mask);
        assert_eq!(view.mask(&mask, Role::Support).unwrap(), array![[3]]);
        view.query_ignored = IgnoredPixels::Background;
        assert_eq!(view.mask(&mask, Role::Query).unwrap(), array![[3, 0, 3]]);
        view.compare = Compare::Resized;
        view.preprocess.side = 6;
        let wide = array![3, 3, 0, 0, 3, 3];
        let resized = view.mask(&mask, Role::Query).unwrap();
        assert!(resized.rows().into_iter().all(|row| row == wide), "{resized}");
    }

    #[test]
    fn ignored_pixels_of_supports_become_background() {
        let mask = array![[3, 255], [0, 4]];
        let preprocess = HsnetPreprocess { side: 2 };
        let kept = preprocess.mask(&mask, 3, IgnoredPixels::Kept).unwrap();
        assert_eq!(kept, array![[1, 255], [0, 0]]);
        let dropped = preprocess.mask(&mask, 3, IgnoredPixels::Background).unwrap();
        assert_eq!(dropped, array![[1, 0], [0, 0]]);
        assert_eq!(preprocess.labels(&mask, IgnoredPixels::Kept).unwrap(), mask);
        let labels = HsnetPreprocess { side: 1 }.labels(&mask, IgnoredPixels::Background).unwrap();
        assert_eq!(labels, array![[3]]);
    }

    #[test]
    fn images_become_squares() {
        let image = RgbImage::new(30, 20);
        assert_eq!(HsnetPreprocess::default().side, 400);
        assert_eq!(HsnetPreprocess { side: 16 }.image(&image).unwrap().dim(), (3, 16, 16));
        assert!(HsnetPreprocess { side: 0 }.image(&image).is_err());
    }
}
