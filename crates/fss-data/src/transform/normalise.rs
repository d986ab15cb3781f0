//! Normalisation of 8-bit images.

use image::RgbImage;
use ndarray::Array3;
use serde::{Deserialize, Serialize};

/// How an 8-bit channel value becomes a number: `(value / divisor - mean) / std` in float32, in
/// this order. Channels are red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// What values are divided by first: 255 for values in [0, 1], 1 to leave them.
    pub divisor: f32,
    /// What is subtracted from each channel.
    pub mean: [f32; 3],
    /// What each channel is divided by.
    pub std: [f32; 3],
}

impl Default for Normalisation {
    fn default() -> Self {
        Self::IMAGENET
    }
}

impl Normalisation {
    /// Mean and deviation of ImageNet for values in [0, 1].
    pub const IMAGENET: Self =
        Self { divisor: 255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// Mean and deviation of CLIP's training images for values in [0, 1].
    pub const CLIP: Self = Self {
        divisor: 255.0,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };

    /// The same mean and deviation, on the scale 0 to 255: equal but for rounding.
    pub const fn at_byte_scale(self) -> Self {
        let [m0, m1, m2] = self.mean;
        let [s0, s1, s2] = self.std;
        let d = self.divisor;
        Self { divisor: 1.0, mean: [m0 * d, m1 * d, m2 * d], std: [s0 * d, s1 * d, s2 * d] }
    }

    /// The results for all 256 values of each channel.
    pub(super) fn table(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            std::array::from_fn(|value| {
                (value as f32 / self.divisor - self.mean[channel]) / self.std[channel]
            })
        })
    }

    /// A normalised image `[3, H, W]`.
    pub fn apply(&self, image: &RgbImage) -> Array3<f32> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let table = self.table();
        let mut planes = vec![0f32; 3 * width * height];
        let pixels = image.as_raw().as_chunks::<3>().0;
        for (plane, (table, channel)) in
            planes.chunks_exact_mut((width * height).max(1)).zip(table.iter().zip(0..))
        {
            for (out, pixel) in plane.iter_mut().zip(pixels) {
                let value: u8 = pixel[channel];
                *out = table[usize::from(value)];
            }
        }
        Array3::from_shape_vec((3, height, width), planes).expect("three planes of H x W values")
    }
}

/// A normalised image `[3, H, W]` by the mean and deviation of ImageNet.
pub fn normalise(image: &RgbImage) -> Array3<f32> {
    Normalisation::IMAGENET.apply(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_become_planes() {
        let image = RgbImage::from_raw(2, 1, vec![0, 128, 255, 10, 20, 30]).unwrap();
        let tensor = normalise(&image);
        assert_eq!(tensor.dim(), (3, 1, 2));
        assert_eq!(tensor[[0, 0, 0]], (0.0 - 0.485) / 0.229);
        assert_eq!(tensor[[2, 0, 0]], (1.0 - 0.406) / 0.225);
        assert_eq!(tensor[[1, 0, 1]], (20.0 / 255.0 - 0.456) / 0.224);
    }

    #[test]
    fn both_scales_agree_up_to_rounding() {
        let image = RgbImage::from_fn(16, 16, |x, y| image::Rgb([(x * 16 + y) as u8; 3]));
        let bytes = Normalisation::IMAGENET.at_byte_scale().apply(&image);
        let difference = &normalise(&image) - &bytes;
        assert!(difference.iter().all(|d| d.abs() < 1e-6));
    }

    #[test]
    fn an_empty_image_gives_an_empty_tensor() {
        assert_eq!(normalise(&RgbImage::new(0, 5)).dim(), (3, 5, 0));
    }
}
