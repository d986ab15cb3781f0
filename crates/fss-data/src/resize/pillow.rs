//! Pillow's resize of 8-bit images, as of Pillow 8 to 12.

use image::RgbImage;
use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::check_sizes;
use crate::DataError;

/// Fractional bits of the integer weights.
const PRECISION: u32 = 22;
/// One half, so that the final shift rounds.
const HALF: i32 = 1 << (PRECISION - 1);
const CHANNELS: usize = 3;
/// Below this many output bytes threads cost more than they bring.
const PARALLEL_BYTES: usize = 1 << 16;

/// The antialiasing filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// A triangle: linear interpolation when enlarging.
    Bilinear,
    /// Keys' cubic with a = -0.5.
    Bicubic,
}

impl Filter {
    /// Half width of the filter in source pixels, when enlarging.
    fn radius(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic => {
                const A: f64 = -0.5;
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
        }
    }
}

/// Which axis is resized first. Each pass rounds to 8 bits, so the order shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassOrder {
    /// Always the rows: Pillow of the time of the published systems.
    #[default]
    HorizontalFirst,
    /// Pillow 13: the columns if the height shrinks, and by more than twice as many pixels as the
    /// width, else the rows. (Found by comparison with it over random sizes.)
    CheapestFirst,
}

/// The source pixels of one output pixel, and their weights.
struct Taps {
    /// First source index and number of weights of every output index.
    spans: Vec<(usize, usize)>,
    /// The weights of all output indices, one after the other.
    weights: Vec<i32>,
}

impl Taps {
    fn new(from: usize, to: usize, filter: Filter) -> Self {
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let support = filter.radius() * filter_scale;
        let mut spans = Vec::with_capacity(to);
        let mut weights = Vec::new();
        let mut exact: Vec<f64> = Vec::new();
        for i in 0..to {
            let centre = (i as f64 + 0.5) * scale;
            // `as` truncates and takes negative numbers to 0, as the rule asks for.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            exact.clear();
            // A multiplication by the reciprocal, as in Pillow: a division may round otherwise.
            let step = 1.0 / filter_scale;
            exact.extend((first..end).map(|x| filter.weight((x as f64 - centre + 0.5) * step)));
            let sum: f64 = exact.iter().sum();
            let unit = f64::from(1u32 << PRECISION);
            weights.extend(exact.iter().map(|weight| {
                let normalised = if sum == 0.0 { *weight } else { weight / sum };
                (normalised * unit).round() as i32
            }));
            spans.push((first, end - first));
        }
        Self { spans, weights }
    }

    /// First source index and weights of every output index, in order.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let mut rest = self.weights.as_slice();
        self.spans.iter().map(move |&(first, count)| {
            let (weights, after) = rest.split_at(count);
            rest = after;
            (first, weights)
        })
    }
}

/// Resizes to `[height, width]` as Pillow does, rows first.
///
/// # Errors
/// If the image or the wanted size is empty, or a side of it is above 2^32.
pub fn resize_rgb(
    image: &RgbImage,
    size: [usize; 2],
    filter: Filter,
) -> Result<RgbImage, DataError> {
    resize_rgb_ordered(image, size, filter, PassOrder::HorizontalFirst)
}

/// As [`resize_rgb`], with the order of the passes.
///
/// # Errors
/// As [`resize_rgb`].
pub fn resize_rgb_ordered(
    image: &RgbImage,
    [height, width]: [usize; 2],
    filter: Filter,
    order: PassOrder,
) -> Result<RgbImage, DataError> {
    let (from_width, from_height) = (image.width() as usize, image.height() as usize);
    check_sizes([from_height, from_width], [height, width])?;
    let (Ok(out_width), Ok(out_height)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(DataError::Setting {
            what: format!("an image of {width}x{height} pixels cannot be made"),
            remedy: "ask for a smaller size".into(),
        });
    };
    let columns_first =
        order == PassOrder::CheapestFirst && pays_columns_first(image, [height, width]);
    let pixels = image.as_raw();
    let resized = if columns_first {
        let columns = vertical(pixels, from_width, from_height, height, filter);
        horizontal(&columns, from_width, width, filter)
    } else if width == from_width {
        vertical(pixels, width, from_height, height, filter)
    } else {
        let rows = horizontal(pixels, from_width, width, filter);
        vertical(&rows, width, from_height, height, filter)
    };
    let resized = RgbImage::from_raw(out_width, out_height, resized);
    Ok(resized.expect("the passes give height x width pixels"))
}

/// The rule of [`PassOrder::CheapestFirst`].
fn pays_columns_first(image: &RgbImage, [height, width]: [usize; 2]) -> bool {
    let lost = |from: u32, to: usize| i64::from(from) - to as i64;
    let (rows, columns) = (lost(image.height(), height), lost(image.width(), width));
    rows > 0 && rows > 2 * columns
}

/// Resizes every row of `pixels` from `from` to `to` pixels.
fn horizontal(pixels: &[u8], from: usize, to: usize, filter: Filter) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let taps = Taps::new(from, to, filter);
    let rows = pixels.len() / (from * CHANNELS);
    let mut out = vec![0u8; rows * to * CHANNELS];
    let resize_row = |(out, row): (&mut [u8], &[u8])| {
        for (pixel, (first, weights)) in
            out.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(taps.iter())
        {
            let source = row[first * CHANNELS..].as_chunks::<CHANNELS>().0;
            let mut sums = [HALF; CHANNELS];
            for (pixel, weight) in source.iter().zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            *pixel = sums.map(to_byte);
        }
    };
    let (out_row, row) = (to * CHANNELS, from * CHANNELS);
    if out.len() < PARALLEL_BYTES {
        out.chunks_exact_mut(out_row).zip(pixels.chunks_exact(row)).for_each(resize_row);
    } else {
        out.par_chunks_exact_mut(out_row).zip(pixels.par_chunks_exact(row)).for_each(resize_row);
    }
    out
}

/// Resizes every column of rows of `width` pixels from `from` to `to` pixels.
fn vertical(pixels: &[u8], width: usize, from: usize, to: usize, filter: Filter) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let taps = Taps::new(from, to, filter);
    let taps: Vec<(usize, &[i32])> = taps.iter().collect();
    let row = width * CHANNELS;
    let mut out = vec![0u8; to * row];
    let resize_row = |(out, &(first, weights)): (&mut [u8], &(usize, &[i32]))| {
        // Whole rows at a time, which compilers turn into vector instructions.
        let mut sums = vec![HALF; row];
        for (weight, source) in weights.iter().zip(pixels[first * row..].chunks_exact(row)) {
            for (sum, &value) in sums.iter_mut().zip(source) {
                *sum += i32::from(value) * weight;
            }
        }
        for (byte, sum) in out.iter_mut().zip(sums) {
            *byte = to_byte(sum);
        }
    };
    if out.len() < PARALLEL_BYTES {
        out.chunks_exact_mut(row).zip(&taps).for_each(resize_row);
    } else {
        out.par_chunks_exact_mut(row).zip(&taps).for_each(resize_row);
    }
    out
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Pillow's nearest resize of one 8-bit channel `[H, W]` to `[height, width]`.
///
/// Differs from [`resize_mask`](super::resize_mask): it samples the middle of an output pixel.
///
/// # Errors
/// If the channel or the wanted size is empty.
pub fn pillow_nearest(
    channel: &Array2<u8>,
    [height, width]: [usize; 2],
) -> Result<Array2<u8>, DataError> {
    let (from_height, from_width) = channel.dim();
    check_sizes([from_height, from_width], [height, width])?;
    let rows = middle_indices(from_height, height);
    let columns = middle_indices(from_width, width);
    Ok(Array2::from_shape_fn((height, width), |(y, x)| channel[[rows[y], columns[x]]]))
}

/// Positions are summed up step by step, rounding errors included, as Pillow does.
fn middle_indices(from: usize, to: usize) -> Vec<usize> {
    let step = from as f64 / to as f64;
    let mut position = 0.5 * step;
    (0..to)
        .map(|_| {
            let index = (position as usize).min(from - 1);
            position += step;
            index
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn image(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 37 + y * 11) as u8, (x * y) as u8, (y * 91) as u8])
        })
    }

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for (from, to) in [(1, 1), (1, 9), (9, 1), (375, 400), (500, 400), (7, 1000)] {
                let taps = Taps::new(from, to, filter);
                assert_eq!(taps.iter().count(), to);
                for (first, weights) in taps.iter() {
                    assert!(!weights.is_empty() && first + weights.len() <= from);
                    let sum: i32 = weights.iter().sum();
                    assert!(sum.abs_diff(1 << PRECISION) <= weights.len() as u32);
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_passes_shows_only_where_it_changes() {
        let source = image(39, 52);
        let resize =
            |size, order| resize_rgb_ordered(&source, size, Filter::Bilinear, order).unwrap();
        let both = [PassOrder::HorizontalFirst, PassOrder::CheapestFirst];
        for (size, differs) in
            [([42, 42], true), ([60, 30], false), ([14, 21], true), ([16, 21], false)]
        {
            let [a, b] = both.map(|order| resize(size, order));
            assert_eq!(a != b, differs, "{size:?}");
        }
    }

    #[test]
    fn large_and_small_images_take_the_same_values() {
        // The upper rows of a tall image do not depend on the rows far below, so its parallel
        // result must begin like the sequential one of its upper part.
        let tall = image(64, 2048);
        let upper = image::imageops::crop_imm(&tall, 0, 0, 64, 64).to_image();
        let tall = resize_rgb(&tall, [1024, 32], Filter::Bicubic).unwrap();
        let upper = resize_rgb(&upper, [32, 32], Filter::Bicubic).unwrap();
        assert_eq!(tall.as_raw()[..24 * 32 * 3], upper.as_raw()[..24 * 32 * 3]);
    }

    #[test]
    fn empty_sizes_are_refused() {
        assert!(resize_rgb(&image(0, 4), [1, 1], Filter::Bilinear).is_err());
        assert!(resize_rgb(&image(4, 4), [1, 0], Filter::Bilinear).is_err());
        assert!(pillow_nearest(&Array2::zeros((2, 2)), [0, 1]).is_err());
    }

    proptest! {
        #[test]
        fn a_flat_image_stays_flat(
            w in 1u32..60, h in 1u32..60, out_w in 1usize..60, out_h in 1usize..60, grey: u8,
        ) {
            let flat = RgbImage::from_pixel(w, h, image::Rgb([grey, 255 - grey, 7]));
            for filter in [Filter::Bilinear, Filter::Bicubic] {
                let resized = resize_rgb(&flat, [out_h, out_w], filter).unwrap();
                prop_assert_eq!(resized.dimensions(), (out_w as u32, out_h as u32));
                prop_assert!(resized.pixels().all(|pixel| *pixel == *flat.get_pixel(0, 0)));
            }
        }

        #[test]
        fn the_same_size_changes_nothing(w in 1u32..40, h in 1u32..40) {
            let source = image(w, h);
            let same = resize_rgb(&source, [h as usize, w as usize], Filter::Bicubic).unwrap();
            prop_assert_eq!(same, source);
        }
    }
}
