//! Whole images in a square, as POP evaluates them.

use image::RgbImage;
use ndarray::{Array2, Array3};

use super::normalise;
use crate::resize::{opencv_linear, opencv_nearest};
use crate::{DataError, IGNORE_INDEX};

/// Brings an image into a square: its longer side gets a length, up or down, by OpenCV's rules; the
/// rest of the square is filled up below and to the right, in images with the mean colour, in labels
/// with 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FitSquare {
    /// The side of the square in pixels.
    pub side: usize,
    /// What the longer side of the image becomes; the same as `side`, or less.
    pub content: usize,
}

impl FitSquare {
    /// An image that touches two borders of the square at least.
    pub fn new(side: usize) -> Self {
        Self { side, content: side }
    }

    /// The size `[height, width]` that an image of size `[height, width]` gets.
    pub fn scaled(&self, size: [usize; 2]) -> [usize; 2] {
        let longest = size[0].max(size[1]).max(1);
        let content = self.content.min(self.side);
        let scale = content as f64 / longest as f64;
        size.map(|n| ((n as f64 * scale + 0.5).floor() as usize).clamp(1, self.side.max(1)))
    }

    /// The normalised image `[3, S, S]`.
    ///
    /// # Errors
    /// If the image or the square is empty.
    pub fn image(&self, image: &RgbImage) -> Result<Array3<f32>, DataError> {
        let size = self.scaled([image.height() as usize, image.width() as usize]);
        let values = normalise(&opencv_linear(image, self.check(size)?)?);
        let mut square = Array3::zeros((3, self.side, self.side));
        for ((channel, y, x), value) in values.indexed_iter() {
            square[[channel, y, x]] = *value;
        }
        Ok(square)
    }

    /// The labels `[S, S]` of labels `[H, W]`.
    ///
    /// # Errors
    /// If the mask or the square is empty.
    pub fn labels(&self, labels: &Array2<u8>) -> Result<Array2<u8>, DataError> {
        let size = self.scaled([labels.nrows(), labels.ncols()]);
        let values = opencv_nearest(labels, self.check(size)?)?;
        let mut square = Array2::from_elem((self.side, self.side), IGNORE_INDEX);
        for ((y, x), value) in values.indexed_iter() {
            square[[y, x]] = *value;
        }
        Ok(square)
    }

    fn check(&self, size: [usize; 2]) -> Result<[usize; 2], DataError> {
        if self.side == 0 || self.content == 0 {
            return Err(DataError::Setting {
                what: "images are to be brought into a square of side 0".into(),
                remedy: "use 473, as published".into(),
            });
        }
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_fills_the_square() {
        let fit = FitSquare::new(61);
        assert_eq!(fit.scaled([50, 75]), [41, 61]);
        assert_eq!(fit.scaled([81, 52]), [61, 39]);
        assert_eq!(fit.scaled([1, 5000]), [1, 61]);
        let image = fit.image(&RgbImage::from_pixel(75, 50, image::Rgb([255; 3]))).unwrap();
        assert_eq!(image.dim(), (3, 61, 61));
        assert!(image[[0, 40, 60]] > 2.0);
        assert_eq!(image[[0, 41, 0]], 0.0);
        let labels = fit.labels(&Array2::ones((50, 75))).unwrap();
        assert_eq!((labels[[40, 60]], labels[[41, 0]]), (1, 255));
    }

    #[test]
    fn content_may_be_smaller_than_the_square() {
        let fit = FitSquare { side: 20, content: 10 };
        let labels = fit.labels(&Array2::ones((4, 8))).unwrap();
        assert_eq!(labels.iter().filter(|label| **label == 1).count(), 5 * 10);
        assert!(FitSquare { side: 0, content: 0 }.labels(&Array2::ones((2, 2))).is_err());
    }
}
