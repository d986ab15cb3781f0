//! Whole images in a square, as POP evaluates them.

use image::RgbImage;
use ndarray::{Array2, Array3};

use super::normalise;
use crate::resize::{opencv_linear, opencv_nearest};
use crate::{DataError, IGNORE_INDEX};

/// Brings an image into a square (or another rectangle): its longer side gets the longer length, up or
/// down, by OpenCV's rules, unless its shorter side then does not fit the shorter length; the rest is
/// filled up below and to the right, in images with the mean colour, in labels with 255.
///
/// Lengths are compared without regard to which axis they lie on, as published: a tall image in a wide
/// rectangle may reach out of it, and the result is as large as both need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FitSquare {
    /// Height and width of what is filled up.
    pub canvas: [usize; 2],
    /// What the image itself is brought to: the same, or less.
    pub content: [usize; 2],
}

impl FitSquare {
    /// A square that the image touches two borders of at least.
    pub fn new(side: usize) -> Self {
        Self::rectangle([side; 2])
    }

    /// A rectangle of a height and width.
    pub fn rectangle(size: [usize; 2]) -> Self {
        Self { canvas: size, content: size }
    }

    /// Sets the side of the square that the image itself is brought to.
    #[must_use]
    pub fn with_content(mut self, side: usize) -> Self {
        self.content = [side; 2];
        self
    }

    /// The size `[height, width]` that an image of size `[height, width]` gets.
    pub fn scaled(&self, size: [usize; 2]) -> [usize; 2] {
        let extremes = |[a, b]: [usize; 2]| [a.max(b) as f64, a.min(b) as f64];
        let ([long, short], [to_long, to_short]) = (extremes(size), extremes(self.content));
        let scale = (to_long / long).min(to_short / short);
        size.map(|n| ((n as f64 * scale + 0.5).floor() as usize).max(1))
    }

    /// The normalised image `[3, H, W]`.
    ///
    /// # Errors
    /// If the image or the canvas is empty.
    pub fn image(&self, image: &RgbImage) -> Result<Array3<f32>, DataError> {
        let size = [image.height() as usize, image.width() as usize];
        let scaled = self.check(size)?;
        let values = normalise(&opencv_linear(image, scaled)?);
        let [height, width] = self.filled(scaled);
        let mut canvas = Array3::zeros((3, height, width));
        for ((channel, y, x), value) in values.indexed_iter() {
            canvas[[channel, y, x]] = *value;
        }
        Ok(canvas)
    }

    /// The labels `[H, W]` of labels of an image.
    ///
    /// # Errors
    /// If the mask or the canvas is empty.
    pub fn labels(&self, labels: &Array2<u8>) -> Result<Array2<u8>, DataError> {
        let scaled = self.check([labels.nrows(), labels.ncols()])?;
        let values = opencv_nearest(labels, scaled)?;
        let [height, width] = self.filled(scaled);
        let mut canvas = Array2::from_elem((height, width), IGNORE_INDEX);
        for ((y, x), value) in values.indexed_iter() {
            canvas[[y, x]] = *value;
        }
        Ok(canvas)
    }

    fn filled(&self, scaled: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| self.canvas[axis].max(scaled[axis]))
    }

    fn check(&self, size: [usize; 2]) -> Result<[usize; 2], DataError> {
        if self.canvas.contains(&0) || self.content.contains(&0) || size.contains(&0) {
            return Err(DataError::Setting {
                what: format!("an image of {size:?} pixels is to be brought to {:?}", self.canvas),
                remedy: "both need a height and width; 473 is published".into(),
            });
        }
        Ok(self.scaled(size))
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
        let fit = FitSquare::new(20).with_content(10);
        let labels = fit.labels(&Array2::ones((4, 8))).unwrap();
        assert_eq!(labels.iter().filter(|label| **label == 1).count(), 5 * 10);
        assert!(FitSquare::new(0).labels(&Array2::ones((2, 2))).is_err());
    }
}
