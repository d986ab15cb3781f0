//! OpenCV's resizes of 8-bit images and labels, to the bit.

use image::RgbImage;
use ndarray::Array2;
use rayon::prelude::*;

use super::check_sizes;
use crate::DataError;

/// Fractional bits of a weight.
const BITS: u32 = 11;
const ONE: f32 = (1 << BITS) as f32;

/// Two neighbours of an output position and their weights.
#[derive(Debug, Clone, Copy)]
struct Between {
    at: [usize; 2],
    weights: [i32; 2],
}

/// Where the output positions of an axis lie between the input ones.
fn places(from: usize, to: usize, edge: Edge) -> Vec<Between> {
    let ratio = 1.0 / (to as f64 / from as f64);
    (0..to)
        .map(|i| {
            let position = ((i as f64 + 0.5) * ratio - 0.5) as f32;
            let floor = position.floor();
            let (mut low, mut share) = (floor as i64, position - floor);
            if edge == Edge::Pinned {
                if low < 0 {
                    (low, share) = (0, 0.0);
                }
                if low >= from as i64 - 1 {
                    (low, share) = (from as i64 - 1, 0.0);
                }
            }
            let clamped = |n: i64| n.clamp(0, from as i64 - 1) as usize;
            Between {
                at: [clamped(low), clamped(low + 1)],
                weights: [rounded((1.0 - share) * ONE), rounded(share * ONE)],
            }
        })
        .collect()
}

/// What happens to positions beyond the outermost centres.
#[derive(Clone, Copy, PartialEq)]
enum Edge {
    /// They take the outermost value with its whole weight (columns).
    Pinned,
    /// They keep their weights, on the same value twice (rows). Rounding makes a difference.
    Clamped,
}

/// To the nearest integer, ties to even.
fn rounded(value: f32) -> i32 {
    value.round_ties_even() as i32
}

/// Resizes an image to `[height, width]` as OpenCV's `INTER_LINEAR` does: half-pixel centres, no
/// antialiasing, in integers with 11 fractional bits; an exact halving of both sides averages blocks
/// of four.
///
/// # Errors
/// If the image or the wanted size is empty.
pub fn opencv_linear(image: &RgbImage, [height, width]: [usize; 2]) -> Result<RgbImage, DataError> {
    let (from_height, from_width) = (image.height() as usize, image.width() as usize);
    check_sizes([from_height, from_width], [height, width])?;
    if [from_height, from_width] == [height, width] {
        return Ok(image.clone());
    }
    let source = image.as_raw();
    let mut output = vec![0u8; 3 * height * width];
    if [from_height, from_width] == [2 * height, 2 * width] {
        output.par_chunks_mut(3 * width).enumerate().for_each(|(y, output)| {
            for (i, value) in output.iter_mut().enumerate() {
                let (x, channel) = (i / 3, i % 3);
                let at = |dy, dx| {
                    u32::from(source[3 * ((2 * y + dy) * from_width + 2 * x + dx) + channel])
                };
                *value = ((at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1) + 2) >> 2) as u8;
            }
        });
    } else {
        let rows = places(from_height, height, Edge::Clamped);
        let columns = places(from_width, width, Edge::Pinned);
        let blended = |row: usize, into: &mut [i32]| {
            let source = &source[3 * row * from_width..][..3 * from_width];
            for (into, Between { at, weights }) in into.chunks_exact_mut(3).zip(&columns) {
                for (channel, into) in into.iter_mut().enumerate() {
                    let value = |i: usize| i32::from(source[3 * at[i] + channel]);
                    *into = value(0) * weights[0] + value(1) * weights[1];
                }
            }
        };
        output.par_chunks_mut(3 * width).enumerate().for_each_init(
            || [vec![0; 3 * width], vec![0; 3 * width]],
            |[top, bottom], (y, output)| {
                let Between { at, weights } = rows[y];
                blended(at[0], top);
                blended(at[1], bottom);
                for ((output, top), bottom) in output.iter_mut().zip(top).zip(bottom) {
                    let scaled = |weight: i32, sum: i32| (weight * (sum >> 4)) >> 16;
                    let sum = scaled(weights[0], *top) + scaled(weights[1], *bottom);
                    *output = ((sum + 2) >> 2).clamp(0, 255) as u8;
                }
            },
        );
    }
    RgbImage::from_raw(width as u32, height as u32, output).ok_or_else(|| DataError::Setting {
        what: "an image too large to address".into(),
        remedy: "use a smaller one".into(),
    })
}

/// Resizes a label mask `[H, W]` to `[height, width]` as OpenCV's `INTER_NEAREST` does: output index
/// i comes from `floor(i r)`, `r = 1 / (to / from)` in float64, without a half-pixel shift.
///
/// # Errors
/// If the mask or the wanted size is empty.
pub fn opencv_nearest(
    mask: &Array2<u8>,
    [height, width]: [usize; 2],
) -> Result<Array2<u8>, DataError> {
    let (from_height, from_width) = mask.dim();
    check_sizes([from_height, from_width], [height, width])?;
    let indices = |from: usize, to: usize| -> Vec<usize> {
        let ratio = 1.0 / (to as f64 / from as f64);
        (0..to).map(|i| ((i as f64 * ratio).floor() as usize).min(from - 1)).collect()
    };
    let (rows, columns) = (indices(from_height, height), indices(from_width, width));
    Ok(Array2::from_shape_fn((height, width), |(y, x)| mask[[rows[y], columns[x]]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn halving_averages_blocks_and_equal_sizes_copy() {
        let image = RgbImage::from_fn(4, 2, |x, y| image::Rgb([(10 * x + y) as u8; 3]));
        assert_eq!(opencv_linear(&image, [2, 4]).unwrap(), image);
        let half = opencv_linear(&image, [1, 2]).unwrap();
        // (0 + 10 + 1 + 11 + 2) / 4 and (20 + 30 + 21 + 31 + 2) / 4.
        assert_eq!([half.get_pixel(0, 0)[0], half.get_pixel(1, 0)[0]], [6, 26]);
    }

    #[test]
    fn nearest_takes_the_pixel_at_or_before() {
        assert_eq!(opencv_nearest(&array![[1, 2, 3]], [1, 2]).unwrap(), array![[1, 2]]);
        assert_eq!(
            opencv_nearest(&array![[1, 2], [3, 255]], [3, 3]).unwrap(),
            array![[1, 1, 2], [1, 1, 2], [3, 3, 255]]
        );
        assert!(opencv_nearest(&array![[1]], [0, 2]).is_err());
    }
}
