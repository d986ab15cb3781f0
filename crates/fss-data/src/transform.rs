//! From images and label masks to what networks take: crops, mirroring, normalised tensors,
//! binary masks.

mod clip;
mod fit;
mod hsnet;
mod normalise;
mod train;

pub use clip::{ClipPreprocess, ClipView, ImageArea};
pub use fit::FitSquare;
pub use hsnet::{Compare, HsnetPreprocess, HsnetView, IgnoredPixels, Role};
pub use normalise::{Normalisation, normalise};
pub use train::{TrainTransform, crop, flip_horizontal, pad_to};

use ndarray::Array2;

use crate::IGNORE_INDEX;

/// The mask of one class: 1 where the label is `class`, 255 where it is ignored, else 0.
///
/// Other classes, novel ones included, become background.
pub fn binary_mask(mask: &Array2<u8>, class: u8) -> Array2<u8> {
    mask.mapv(|label| match label {
        IGNORE_INDEX => IGNORE_INDEX,
        label => u8::from(label == class),
    })
}

/// The mask of an 8-bit grey picture of one object, as in FSS-1000: 1 from 128 up, else 0.
pub fn threshold_mask(grey: &Array2<u8>) -> Array2<u8> {
    grey.mapv(|value| u8::from(value >= 128))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn one_class_against_the_rest() {
        let mask = array![[0, 3, 255], [3, 20, 1]];
        assert_eq!(binary_mask(&mask, 3), array![[0, 1, 255], [1, 0, 0]]);
        assert_eq!(binary_mask(&mask, 9), array![[0, 0, 255], [0, 0, 0]]);
    }

    #[test]
    fn grey_pictures_are_cut_in_the_middle() {
        assert_eq!(threshold_mask(&array![[0, 127, 128, 255]]), array![[0, 0, 1, 1]]);
    }
}
