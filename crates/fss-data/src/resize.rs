//! Resizes that protocols fix to the last bit: Pillow's for 8-bit images, PyTorch's nearest; and
//! OpenCV's linear one for maps of numbers.
//!
//! Pillow's bilinear and bicubic filters widen when they shrink (antialiasing), and work in
//! integers with 22 fractional bits. Faster libraries keep fewer bits and so differ by a grey
//! level here and there, which is enough to move published numbers in their last digit.

mod linear;
mod opencv;
mod pillow;

pub use linear::resize_linear;
pub use opencv::{opencv_linear, opencv_nearest};
pub use pillow::{Filter, PassOrder, pillow_nearest, resize_rgb, resize_rgb_ordered};

use ndarray::Array2;

use crate::DataError;

/// Source index of every output index of PyTorch's nearest resize from `from` to `to` elements.
///
/// The rule is `min(floor(i * (from / to)), from - 1)` in float32. Exact arithmetic gives other
/// indices for some sizes, as from 27 to 417.
pub fn nearest_indices(from: usize, to: usize) -> Vec<usize> {
    let ratio = from as f32 / to as f32;
    (0..to).map(|i| ((i as f32 * ratio) as usize).min(from.saturating_sub(1))).collect()
}

/// Resizes a label mask `[H, W]` to `[height, width]` with PyTorch's nearest rule.
///
/// # Errors
/// If the mask or the wanted size is empty.
pub fn resize_mask(
    mask: &Array2<u8>,
    [height, width]: [usize; 2],
) -> Result<Array2<u8>, DataError> {
    let (from_height, from_width) = mask.dim();
    check_sizes([from_height, from_width], [height, width])?;
    let rows = nearest_indices(from_height, height);
    let columns = nearest_indices(from_width, width);
    Ok(Array2::from_shape_fn((height, width), |(y, x)| mask[[rows[y], columns[x]]]))
}

/// Refuses sizes (height, width) that no resize is defined for.
fn check_sizes(from: [usize; 2], to: [usize; 2]) -> Result<(), DataError> {
    if from.contains(&0) || to.contains(&0) {
        return Err(DataError::Setting {
            what: format!(
                "cannot resize {}x{} to {}x{} (height x width)",
                from[0], from[1], to[0], to[1]
            ),
            remedy: "both sides of both sizes must be at least 1".into(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn float32_decides_where_exact_arithmetic_differs() {
        let exact: Vec<usize> = (0..417).map(|i| i * 27 / 417).collect();
        assert_ne!(nearest_indices(27, 417), exact);
        assert_eq!(nearest_indices(3, 7), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(nearest_indices(5, 5), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn labels_are_never_mixed() {
        let mask = array![[0, 255], [7, 1]];
        let enlarged = resize_mask(&mask, [4, 4]).unwrap();
        assert_eq!(enlarged.row(0).to_vec(), [0, 0, 255, 255]);
        assert_eq!(enlarged.row(3).to_vec(), [7, 7, 1, 1]);
        assert_eq!(resize_mask(&enlarged, [2, 2]).unwrap(), mask);
    }

    #[test]
    fn empty_sizes_are_refused() {
        let error = resize_mask(&array![[1u8]], [0, 3]).unwrap_err().to_string();
        assert!(error.contains("1x1 to 0x3"), "{error}");
        assert!(resize_mask(&Array2::zeros((0, 4)), [1, 1]).is_err());
    }
}
