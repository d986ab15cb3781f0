//! The preparation of images for CLIP.

use std::fmt;
use std::str::FromStr;

use image::RgbImage;
use ndarray::Array3;
use serde::{Deserialize, Serialize};

use super::Normalisation;
use crate::DataError;
use crate::io::MAX_PIXELS;
use crate::resize::{Filter, resize_rgb};

/// Which part of an image CLIP sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClipView {
    /// The square in the middle, as CLIP's own preparation and the published coarse maps have it.
    /// A map of it is used as if it showed the whole image, so it is out of place in images that are
    /// not square.
    #[default]
    CentreCrop,
    /// The whole image, squeezed to a square: a map of it lies where it should.
    WholeImage,
}

impl ClipView {
    /// Both.
    pub const ALL: [Self; 2] = [Self::CentreCrop, Self::WholeImage];

    /// `centre-crop` or `whole-image`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CentreCrop => "centre-crop",
            Self::WholeImage => "whole-image",
        }
    }
}

/// A rectangle of an image, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageArea {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl ClipView {
    /// What is seen of an image of `width` x `height` pixels, to the nearest pixel.
    pub fn area(self, width: u32, height: u32) -> ImageArea {
        match self {
            Self::CentreCrop => {
                let side = width.min(height);
                let [left, top] = [width, height].map(|long| (long - side) / 2);
                ImageArea { left, top, width: side, height: side }
            }
            Self::WholeImage => ImageArea { left: 0, top: 0, width, height },
        }
    }
}

impl fmt::Display for ClipView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ClipView {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        Self::ALL.into_iter().find(|view| view.name() == name).ok_or_else(|| DataError::Setting {
            what: format!("unknown view of CLIP {name:?}"),
            remedy: format!("use {}", Self::ALL.map(Self::name).join(" or ")),
        })
    }
}

/// Turns images into what CLIP's image encoder takes: Pillow's bicubic resize, the square of `side`
/// pixels, mean and deviation of CLIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipPreprocess {
    /// Side of the square in pixels: the encoder's resolution, 224 for RN50.
    pub side: usize,
    /// What the square shows.
    pub view: ClipView,
}

impl Default for ClipPreprocess {
    fn default() -> Self {
        Self { side: 224, view: ClipView::default() }
    }
}

impl ClipPreprocess {
    /// The 8-bit square, `side` × `side` pixels.
    ///
    /// # Errors
    /// If the image or the wanted size is empty, or the image is so long and narrow that it had more
    /// than [`MAX_PIXELS`] once its shorter side had `side` pixels.
    pub fn resize(&self, image: &RgbImage) -> Result<RgbImage, DataError> {
        match self.view {
            ClipView::CentreCrop => self.centre(image),
            ClipView::WholeImage => resize_rgb(image, [self.side; 2], Filter::Bicubic),
        }
    }

    fn centre(&self, image: &RgbImage) -> Result<RgbImage, DataError> {
        let (width, height) = image.dimensions();
        let short = width.min(height);
        // The longer side is cut off to whole pixels. An empty image is refused by the resize.
        let scaled = |side: u32| {
            (self.side as u64).saturating_mul(side.into()).checked_div(short.into()).unwrap_or(0)
        };
        let (to_width, to_height) = (scaled(width), scaled(height));
        if to_width.saturating_mul(to_height) > MAX_PIXELS {
            return Err(DataError::Setting {
                what: format!(
                    "an image of {width}x{height} pixels would have {to_width}x{to_height} once its \
                     shorter side has {}",
                    self.side
                ),
                remedy: format!("cut it to a less narrow form, or use {}", ClipView::WholeImage),
            });
        }
        let size = [to_height as usize, to_width as usize];
        let resized = resize_rgb(image, size, Filter::Bicubic)?;
        let [top, left] = size.map(|side| middle(side - self.side) as u32);
        let side = self.side as u32;
        Ok(image::imageops::crop_imm(&resized, left, top, side, side).to_image())
    }

    /// The normalised square `[3, side, side]`.
    ///
    /// # Errors
    /// As [`resize`](Self::resize).
    pub fn image(&self, image: &RgbImage) -> Result<Array3<f32>, DataError> {
        Ok(Normalisation::CLIP.apply(&self.resize(image)?))
    }
}

/// Half of what is cut off; of an odd number, the even one of the two neighbours.
fn middle(cut: usize) -> usize {
    let half = cut / 2;
    if cut.is_multiple_of(2) { half } else { half + half % 2 }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use proptest::prelude::*;

    use super::*;

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8]))
    }

    fn prepare(side: usize, view: ClipView) -> ClipPreprocess {
        ClipPreprocess { side, view }
    }

    #[test]
    fn halves_are_rounded_to_even() {
        assert_eq!([0, 1, 2, 3, 4, 5, 7, 9].map(middle), [0, 0, 1, 2, 2, 2, 4, 4]);
    }

    #[test]
    fn the_crop_is_cut_from_the_middle() {
        // The shorter side fits already, so that nothing is resized.
        for (width, left) in [(8, 0), (9, 0), (10, 1), (11, 2), (15, 4)] {
            let wide = picture(width, 8);
            let crop = prepare(8, ClipView::CentreCrop).resize(&wide).unwrap();
            assert_eq!(crop, image::imageops::crop_imm(&wide, left, 0, 8, 8).to_image());
            let tall = picture(8, width);
            let crop = prepare(8, ClipView::CentreCrop).resize(&tall).unwrap();
            assert_eq!(crop, image::imageops::crop_imm(&tall, 0, left, 8, 8).to_image());
        }
    }

    #[test]
    fn the_longer_side_is_cut_off_to_whole_pixels() {
        // 16 * 19 / 9 = 33.8 columns, of which the 33 - 16 = 17 outer ones go: 8 on the left.
        let source = picture(19, 9);
        let whole = resize_rgb(&source, [16, 33], Filter::Bicubic).unwrap();
        let crop = prepare(16, ClipView::CentreCrop).resize(&source).unwrap();
        assert_eq!(crop, image::imageops::crop_imm(&whole, 8, 0, 16, 16).to_image());
    }

    #[test]
    fn the_whole_image_reaches_the_edges() {
        let mut source = RgbImage::new(40, 8);
        for y in 0..8 {
            for x in 0..8 {
                source.put_pixel(x, y, Rgb([255; 3]));
            }
        }
        let whole = prepare(10, ClipView::WholeImage).resize(&source).unwrap();
        assert_eq!(whole.dimensions(), (10, 10));
        assert_eq!((whole.get_pixel(0, 5).0, whole.get_pixel(9, 5).0), ([255; 3], [0; 3]));
        let crop = prepare(10, ClipView::CentreCrop).resize(&source).unwrap();
        assert!(crop.pixels().all(|pixel| pixel.0 == [0; 3]));
    }

    #[test]
    fn values_are_normalised_as_clip_does() {
        let source = RgbImage::from_pixel(3, 3, Rgb([0, 51, 255]));
        let tensor = prepare(3, ClipView::CentreCrop).image(&source).unwrap();
        let want = [-1.792_26, -0.986_7, 2.145_9];
        for (channel, want) in want.into_iter().enumerate() {
            assert!((tensor[[channel, 1, 1]] - want).abs() < 1e-4, "{tensor}");
        }
        assert_eq!(ClipPreprocess::default().image(&source).unwrap().dim(), (3, 224, 224));
    }

    #[test]
    fn empty_and_very_narrow_images_are_refused() {
        for view in ClipView::ALL {
            assert!(prepare(4, view).resize(&RgbImage::new(0, 4)).is_err());
            assert!(prepare(0, view).resize(&picture(4, 4)).is_err());
        }
        let narrow = RgbImage::new(1, 20_000);
        let error = ClipPreprocess::default().resize(&narrow).unwrap_err().to_string();
        assert!(error.contains("224x4480000") && error.contains("whole-image"), "{error}");
        assert!(prepare(224, ClipView::WholeImage).resize(&narrow).is_ok());
    }

    #[test]
    fn names_come_back() {
        for view in ClipView::ALL {
            assert_eq!(view.to_string().parse::<ClipView>().unwrap(), view);
        }
        assert!("crop".parse::<ClipView>().unwrap_err().to_string().contains("whole-image"));
    }

    proptest! {
        #[test]
        fn both_views_are_square(w in 1u32..60, h in 1u32..60, side in 1usize..50) {
            let source = picture(w, h);
            for view in ClipView::ALL {
                let square = prepare(side, view).resize(&source).unwrap();
                prop_assert_eq!(square.dimensions(), (side as u32, side as u32));
                if w == h {
                    let same = resize_rgb(&source, [side; 2], Filter::Bicubic).unwrap();
                    prop_assert_eq!(square, same);
                }
            }
        }
    }
}
