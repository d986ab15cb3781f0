//! The training augmentation: pad, crop, mirror, normalise.

use image::RgbImage;
use ndarray::{Array2, Array3, Axis, Slice};

use super::Normalisation;
use crate::{DataError, IGNORE_INDEX, episode::CropFlip};

/// Pads on the right and at the bottom until both sides have at least `side` pixels: the image
/// with black, the mask `[H, W]` with 255.
pub fn pad_to(image: &RgbImage, mask: &Array2<u8>, side: u32) -> (RgbImage, Array2<u8>) {
    let (width, height) = (image.width().max(side), image.height().max(side));
    let mut padded = RgbImage::new(width, height);
    image::imageops::replace(&mut padded, image, 0, 0);
    let size = (mask.nrows().max(side as usize), mask.ncols().max(side as usize));
    let mut padded_mask = Array2::from_elem(size, IGNORE_INDEX);
    padded_mask.slice_each_axis_mut(|axis| Slice::from(..mask.len_of(axis.axis))).assign(mask);
    (padded, padded_mask)
}

/// Cuts out the square of `side` pixels whose upper left corner is column `x` of row `y`.
///
/// # Errors
/// If image and mask differ in size, or the square reaches beyond them.
pub fn crop(
    image: &RgbImage,
    mask: &Array2<u8>,
    [x, y]: [u32; 2],
    side: u32,
) -> Result<(RgbImage, Array2<u8>), DataError> {
    check(image, mask, [x, y], side, image.dimensions())?;
    let cut = image::imageops::crop_imm(image, x, y, side, side).to_image();
    let square = mask.slice_each_axis(|axis| {
        let start = if axis.axis == Axis(0) { y } else { x } as usize;
        Slice::from(start..start + side as usize)
    });
    Ok((cut, square.to_owned()))
}

/// Mirrors image and mask left to right.
pub fn flip_horizontal(image: &RgbImage, mask: &Array2<u8>) -> (RgbImage, Array2<u8>) {
    let mut mirrored = mask.clone();
    mirrored.invert_axis(Axis(1));
    (image::imageops::flip_horizontal(image), mirrored.as_standard_layout().into_owned())
}

/// The published training transform: pad to the crop, crop, mirror, normalise. Nothing is drawn
/// here: [`CropFlip`] says where to crop and whether to mirror.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainTransform {
    side: u32,
    table: [[f32; 256]; 3],
}

impl TrainTransform {
    /// Crops of `crop` × `crop` pixels, normalised by the mean and deviation of ImageNet.
    pub fn new(crop: u32) -> Self {
        Self::with_normalisation(crop, &Normalisation::IMAGENET)
    }

    /// As [`new`](Self::new), with another normalisation.
    pub fn with_normalisation(crop: u32, normalisation: &Normalisation) -> Self {
        Self { side: crop, table: normalisation.table() }
    }

    /// Side of the crops in pixels.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// The crop of an image, `[3, crop, crop]`, and of its label mask, `[crop, crop]`. Where the
    /// image is smaller than the crop, it is padded with black, and the mask with 255.
    ///
    /// # Errors
    /// If image and mask differ in size, or the crop reaches beyond the padded image.
    pub fn apply(
        &self,
        image: &RgbImage,
        mask: &Array2<u8>,
        draw: CropFlip,
    ) -> Result<(Array3<f32>, Array2<u8>), DataError> {
        self.apply_labels(image, mask, IGNORE_INDEX, draw)
    }

    /// [`apply`](Self::apply) for masks of any type, padded with `ignored`.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_labels<T: Copy>(
        &self,
        image: &RgbImage,
        mask: &Array2<T>,
        ignored: T,
        draw: CropFlip,
    ) -> Result<(Array3<f32>, Array2<T>), DataError> {
        let padded = (image.width().max(self.side), image.height().max(self.side));
        check(image, mask, [draw.x, draw.y], self.side, padded)?;
        let side = self.side as usize;
        let (x, y) = (draw.x as usize, draw.y as usize);
        // What lies inside the image; the rest of the crop keeps the padding.
        let columns = side.min(image.width() as usize - x.min(image.width() as usize));
        let rows = side.min(image.height() as usize - y.min(image.height() as usize));
        let mut out = Array3::zeros((3, side, side));
        for (mut plane, table) in out.outer_iter_mut().zip(&self.table) {
            plane.fill(table[0]);
        }
        let mut out_mask = Array2::from_elem((side, side), ignored);
        for row in 0..rows {
            let start = ((y + row) * image.width() as usize + x) * 3;
            let pixels = image.as_raw()[start..start + columns * 3].as_chunks::<3>().0;
            for (column, pixel) in pixels.iter().enumerate() {
                let to = if draw.flip { side - 1 - column } else { column };
                for (channel, &value) in pixel.iter().enumerate() {
                    out[[channel, row, to]] = self.table[channel][usize::from(value)];
                }
                out_mask[[row, to]] = mask[[y + row, x + column]];
            }
        }
        Ok((out, out_mask))
    }
}

/// Refuses a mask of another size than its image, and a crop beyond `(width, height)`.
fn check<T>(
    image: &RgbImage,
    mask: &Array2<T>,
    [x, y]: [u32; 2],
    side: u32,
    (width, height): (u32, u32),
) -> Result<(), DataError> {
    let (mask_height, mask_width) = mask.dim();
    if (image.width() as usize, image.height() as usize) != (mask_width, mask_height) {
        return Err(DataError::Setting {
            what: format!(
                "the image has {}x{} pixels (width x height), its mask {mask_width}x{mask_height}",
                image.width(),
                image.height()
            ),
            remedy: "give the mask that belongs to the image".into(),
        });
    }
    let fits = |start: u32, of: u32| start.checked_add(side).is_some_and(|end| end <= of);
    if !fits(x, width) || !fits(y, height) {
        return Err(DataError::Setting {
            what: format!(
                "a crop of {side} pixels at column {x}, row {y} reaches beyond {width}x{height} \
                 pixels (width x height)"
            ),
            remedy: "draw the crop for this very image".into(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transform::normalise;

    fn sample(width: u32, height: u32) -> (RgbImage, Array2<u8>) {
        let image =
            RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x + y) as u8]));
        let mask = Array2::from_shape_fn((height as usize, width as usize), |(y, x)| {
            ((x * 5 + y * 3) % 21) as u8
        });
        (image, mask)
    }

    #[test]
    fn padding_goes_to_the_right_and_below() {
        let (image, mask) = sample(3, 8);
        let (padded, padded_mask) = pad_to(&image, &mask, 5);
        assert_eq!((padded.dimensions(), padded_mask.dim()), ((5, 8), (8, 5)));
        assert_eq!(
            (padded.get_pixel(2, 7), padded.get_pixel(3, 7).0),
            (image.get_pixel(2, 7), [0; 3])
        );
        assert_eq!((padded_mask[[7, 2]], padded_mask[[7, 3]]), (mask[[7, 2]], 255));
    }

    #[test]
    fn mirroring_twice_changes_nothing() {
        let (image, mask) = sample(7, 4);
        let (once, once_mask) = flip_horizontal(&image, &mask);
        assert_eq!(once.get_pixel(0, 2), image.get_pixel(6, 2));
        assert_eq!(once_mask[[2, 0]], mask[[2, 6]]);
        assert_eq!(flip_horizontal(&once, &once_mask), (image, mask));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (image, mask) = sample(10, 8);
        let draw = |x, y| CropFlip { x, y, flip: false };
        let transform = TrainTransform::new(6);
        assert!(transform.apply(&image, &mask, draw(4, 2)).is_ok());
        let error = transform.apply(&image, &mask, draw(5, 0)).unwrap_err().to_string();
        assert!(error.contains("column 5") && error.contains("10x8"), "{error}");
        assert!(transform.apply(&image, &mask, draw(u32::MAX, 0)).is_err());
        assert!(crop(&image, &mask, [0, 3], 6).is_err());
        let (_, other) = sample(8, 10);
        let error = transform.apply(&image, &other, draw(0, 0)).unwrap_err().to_string();
        assert!(error.contains("its mask 8x10"), "{error}");
    }

    proptest! {
        #[test]
        fn one_pass_equals_the_steps(
            width in 1u32..30, height in 1u32..30, side in 1u32..30, fx in 0f64..1.0,
            fy in 0f64..1.0, flip: bool,
        ) {
            let (image, mask) = sample(width, height);
            let start = |f: f64, of: u32| (f * f64::from(of.saturating_sub(side) + 1)) as u32;
            let draw = CropFlip { x: start(fx, width), y: start(fy, height), flip };
            let (padded, padded_mask) = pad_to(&image, &mask, side);
            let mut steps = crop(&padded, &padded_mask, [draw.x, draw.y], side).unwrap();
            if flip {
                steps = flip_horizontal(&steps.0, &steps.1);
            }
            let at_once = TrainTransform::new(side).apply(&image, &mask, draw).unwrap();
            prop_assert_eq!(at_once, (normalise(&steps.0), steps.1));
        }
    }
}
