//! Masks as people draw them, brought to what a head reads.

use fss_data::IGNORE_INDEX;
use ndarray::Array2;

use crate::{Annotated, Error};

/// Which values of a mask file mean foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Foreground {
    /// Every value but 0 and 255.
    #[default]
    AnyLabel,
    /// One label; all others are background.
    Label(u8),
}

impl Foreground {
    /// The mask `[H, W]` with values 0, 1 and 255 for a label mask `[H, W]`.
    pub fn select(self, labels: &Array2<u8>) -> Array2<u8> {
        labels.mapv(|label| match self {
            _ if label == IGNORE_INDEX => IGNORE_INDEX,
            Self::AnyLabel => u8::from(label != 0),
            Self::Label(wanted) => u8::from(label == wanted),
        })
    }
}

/// Refuses a support that cannot be learnt from, and warns of one that hardly can.
pub(crate) fn check(support: &Annotated) -> Result<(), Error> {
    let refuse = |problem: String, remedy: &str| {
        Err(Error::Support { support: support.name.clone(), problem, remedy: remedy.into() })
    };
    let (height, width) = support.mask.dim();
    let (image_width, image_height) = support.image.dimensions();
    if (width, height) != (image_width as usize, image_height as usize) {
        return refuse(
            format!("its mask is {width}x{height} pixels, its image {image_width}x{image_height}"),
            "give the mask that was drawn for this very image",
        );
    }
    let count = |label: u8| support.mask.iter().filter(|value| **value == label).count();
    let (background, foreground, ignored) = (count(0), count(1), count(IGNORE_INDEX));
    if background + foreground + ignored != support.mask.len() {
        return refuse(
            "its mask holds values other than 0, 1 and 255".into(),
            "choose a class first, with `Foreground::select`",
        );
    }
    if foreground == 0 {
        let problem = if background == 0 {
            "every pixel of its mask is marked as ignored (255)"
        } else {
            "its mask shows no foreground"
        };
        return refuse(
            problem.into(),
            "mark the object with a value other than 0 and 255, or choose the class that it shows",
        );
    }
    if background == 0 {
        tracing::warn!(support = %support.name, "its mask shows no background; expect a poor result");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;
    use ndarray::array;

    fn annotated(mask: Array2<u8>) -> Annotated {
        Annotated { name: "cat.png".into(), image: RgbImage::new(2, 2), mask }
    }

    #[test]
    fn labels_become_foreground_as_asked() {
        let labels = array![[0, 3], [7, 255]];
        assert_eq!(Foreground::AnyLabel.select(&labels), array![[0, 1], [1, 255]]);
        assert_eq!(Foreground::Label(7).select(&labels), array![[0, 0], [1, 255]]);
    }

    #[test]
    fn unusable_masks_are_refused_by_name() {
        for (mask, expected) in [
            (array![[0, 0], [0, 0]], "no foreground"),
            (array![[255, 255], [255, 255]], "ignored"),
            (array![[0, 1, 1], [0, 1, 1]], "3x2"),
            (array![[0, 9], [0, 1]], "other than"),
        ] {
            let message = check(&annotated(mask)).unwrap_err().to_string();
            assert!(message.contains("cat.png") && message.contains(expected), "{message}");
        }
        check(&annotated(array![[0, 1], [255, 0]])).unwrap();
    }
}
