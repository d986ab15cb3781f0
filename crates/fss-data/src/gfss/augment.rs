//! Training samples: scaled, mirrored, cut, filled up.

use image::RgbImage;
use ndarray::{Array2, Array3};

use crate::resize::{opencv_linear, opencv_nearest};
use crate::rng::{NumpyLegacy, PythonRandom};
use crate::transform::{flip_horizontal, normalise};
use crate::{DataError, IGNORE_INDEX};

/// How training samples are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainAugment {
    /// Height and width of a sample.
    pub crop: [usize; 2],
    /// Least and largest scale of an image; 0.9 to 1.1 for PASCAL-5i and 0.8 to 1.25 for COCO-20i.
    pub scales: [f64; 2],
}

/// What is done to one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augmentation {
    /// Height and width that the image is brought to.
    pub size: [usize; 2],
    /// Whether it is mirrored then.
    pub mirrored: bool,
    /// The top and left of what is cut out of it then.
    pub corner: [usize; 2],
}

impl TrainAugment {
    /// Draws what is done to an image of a size `[height, width]`, with the official calls in their order.
    pub fn draw(
        &self,
        size: [usize; 2],
        python: &mut PythonRandom,
        numpy: &mut NumpyLegacy,
    ) -> Augmentation {
        let [least, largest] = self.scales;
        let scale = least + python.random() * (largest - least);
        let size = size.map(|n| ((n as f64 * scale + 0.5).floor() as usize).max(1));
        let mirrored = python.random() < 0.5;
        let corner = [0, 1].map(|axis| {
            let spare = size[axis].saturating_sub(self.crop[axis]);
            numpy.randint(0, spare as i64 + 1) as usize
        });
        Augmentation { size, mirrored, corner }
    }

    /// The normalised sample `[3, H, W]` and its labels `[H, W]`. What is missing below or to the right is
    /// the mean colour, and 255.
    ///
    /// # Errors
    /// If image and labels differ in size or are empty.
    pub fn apply(
        &self,
        image: &RgbImage,
        labels: &Array2<u8>,
        Augmentation { size, mirrored, corner }: &Augmentation,
    ) -> Result<(Array3<f32>, Array2<u8>), DataError> {
        if labels.dim() != (image.height() as usize, image.width() as usize) {
            return Err(DataError::Setting {
                what: format!(
                    "labels of {}x{} pixels for an image of {}x{}",
                    labels.ncols(),
                    labels.nrows(),
                    image.width(),
                    image.height()
                ),
                remedy: "give the mask that was drawn for this very image".into(),
            });
        }
        let (mut image, mut labels) =
            (opencv_linear(image, *size)?, opencv_nearest(labels, *size)?);
        if *mirrored {
            (image, labels) = flip_horizontal(&image, &labels);
        }
        let [height, width] = self.crop;
        let [top, left] = *corner;
        let part =
            [0, 1].map(|axis| self.crop[axis].min(size[axis] - corner[axis].min(size[axis])));
        let view = image::imageops::crop_imm(
            &image,
            left as u32,
            top as u32,
            part[1] as u32,
            part[0] as u32,
        );
        let values = normalise(&view.to_image());
        let mut sample = Array3::zeros((3, height, width));
        let mut sample_labels = Array2::from_elem((height, width), IGNORE_INDEX);
        for ((channel, y, x), value) in values.indexed_iter() {
            sample[[channel, y, x]] = *value;
        }
        for y in 0..part[0] {
            for x in 0..part[1] {
                sample_labels[[y, x]] = labels[[top + y, left + x]];
            }
        }
        Ok((sample, sample_labels))
    }
}
