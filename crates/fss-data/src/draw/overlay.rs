//! Masks laid over images.

use image::{Rgb, RgbImage};
use ndarray::Array2;

use super::{colours, voc_palette};
use crate::{DataError, IGNORE_INDEX};

/// Which colour a label gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// The colour map of PASCAL VOC.
    Voc,
    /// One colour for every label.
    Single([u8; 3]),
    /// Those of a [`confusion_map`].
    Confusion,
}

impl Colours {
    fn table(self) -> [[u8; 3]; 256] {
        match self {
            Self::Voc => voc_palette(),
            Self::Single(colour) => [colour; 256],
            Self::Confusion => {
                let mut table = voc_palette();
                table[usize::from(TRUE_POSITIVE)] = colours::TRUE_POSITIVE;
                table[usize::from(FALSE_POSITIVE)] = colours::FALSE_POSITIVE;
                table[usize::from(FALSE_NEGATIVE)] = colours::FALSE_NEGATIVE;
                table
            }
        }
    }
}

/// How pixels with label 255 are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoredPixels {
    /// As background.
    Hidden,
    /// Under a light veil.
    Veiled,
}

/// How a mask is laid over an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverlayStyle {
    /// Colours of the labels.
    pub colours: Colours,
    /// Opacity of the areas, in `[0, 1]`.
    pub alpha: f32,
    /// Width of the opaque outline in pixels; 0 for none.
    pub outline: u32,
    /// How pixels with label 255 are shown.
    pub ignored: IgnoredPixels,
}

impl Default for OverlayStyle {
    /// VOC colours, half transparent, with an outline of 2 pixels.
    fn default() -> Self {
        Self { colours: Colours::Voc, alpha: 0.5, outline: 2, ignored: IgnoredPixels::Veiled }
    }
}

impl OverlayStyle {
    /// The default style with one colour for every label.
    pub fn single(colour: [u8; 3]) -> Self {
        Self { colours: Colours::Single(colour), ..Self::default() }
    }
}

const TRUE_POSITIVE: u8 = 1;
const FALSE_POSITIVE: u8 = 2;
const FALSE_NEGATIVE: u8 = 3;

/// The image with its mask `[H, W]` laid over it.
///
/// # Errors
/// [`DataError::Setting`] where their sizes differ.
pub fn overlay(
    image: &RgbImage,
    mask: &Array2<u8>,
    style: &OverlayStyle,
) -> Result<RgbImage, DataError> {
    check_size("mask", mask, (image.height() as usize, image.width() as usize))?;
    let table = style.colours.table();
    let alpha = style.alpha.clamp(0.0, 1.0);
    let ring = neighbours(style.outline);
    let mut drawn = image.clone();
    for (x, y, pixel) in drawn.enumerate_pixels_mut() {
        let at = [y as usize, x as usize];
        let label = mask[at];
        if label == IGNORE_INDEX {
            if style.ignored == IgnoredPixels::Veiled {
                *pixel = blend(*pixel, [255; 3], 0.45);
            }
        } else if label != 0 {
            let on_edge = ring.iter().any(|&offset| differs(mask, at, offset, label));
            let colour = table[usize::from(label)];
            *pixel = blend(*pixel, colour, if on_edge { 1.0 } else { alpha });
        }
    }
    Ok(drawn)
}

/// What a prediction got right and wrong, `[H, W]`: 0 rightly background, 1 rightly foreground,
/// 2 wrongly foreground, 3 wrongly background, 255 where the truth is 255.
///
/// Any label but 0 and 255 is foreground.
///
/// # Errors
/// [`DataError::Setting`] where their sizes differ.
pub fn confusion_map(prediction: &Array2<u8>, truth: &Array2<u8>) -> Result<Array2<u8>, DataError> {
    check_size("prediction", prediction, truth.dim())?;
    let compare = |at| match (prediction[at], truth[at]) {
        (_, IGNORE_INDEX) => IGNORE_INDEX,
        (0 | IGNORE_INDEX, 0) => 0,
        (0 | IGNORE_INDEX, _) => FALSE_NEGATIVE,
        (_, 0) => FALSE_POSITIVE,
        _ => TRUE_POSITIVE,
    };
    Ok(Array2::from_shape_fn(truth.dim(), compare))
}

/// The image with a [`confusion_map`] laid over it, in the colours of [`colours`]. The colours of
/// `style` are not used.
///
/// # Errors
/// [`DataError::Setting`] where sizes differ.
pub fn confusion_overlay(
    image: &RgbImage,
    prediction: &Array2<u8>,
    truth: &Array2<u8>,
    style: &OverlayStyle,
) -> Result<RgbImage, DataError> {
    let map = confusion_map(prediction, truth)?;
    overlay(image, &map, &OverlayStyle { colours: Colours::Confusion, ..*style })
}

pub(super) fn check_size(
    name: &str,
    mask: &Array2<u8>,
    (height, width): (usize, usize),
) -> Result<(), DataError> {
    if mask.dim() == (height, width) {
        return Ok(());
    }
    let (mask_height, mask_width) = mask.dim();
    Err(DataError::Setting {
        what: format!(
            "a {name} of {mask_width}x{mask_height} pixels cannot be drawn over {width}x{height}"
        ),
        remedy: "give both at the size of the image".into(),
    })
}

/// The offsets within a disc: a pixel with another label on one of them is part of the outline.
fn neighbours(width: u32) -> Vec<[i64; 2]> {
    let reach = i64::from(width.min(64));
    (-reach..=reach)
        .flat_map(|dy| (-reach..=reach).map(move |dx| [dy, dx]))
        .filter(|[dy, dx]| (1..=reach * reach).contains(&(dy * dy + dx * dx)))
        .collect()
}

fn differs(mask: &Array2<u8>, at: [usize; 2], offset: [i64; 2], label: u8) -> bool {
    let there = [0, 1].map(|i| usize::try_from(at[i] as i64 + offset[i]).unwrap_or(usize::MAX));
    // Beyond the frame there is nothing that differs: objects are cut there, not outlined.
    mask.get(there).is_some_and(|&other| other != label)
}

pub(super) fn blend(Rgb(below): Rgb<u8>, above: [u8; 3], alpha: f32) -> Rgb<u8> {
    let mix = |b: u8, a: u8| f32::from(b) + (f32::from(a) - f32::from(b)) * alpha;
    Rgb([0, 1, 2].map(|i| (mix(below[i], above[i]) + 0.5) as u8))
}
