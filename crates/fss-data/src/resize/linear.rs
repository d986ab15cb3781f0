//! OpenCV's linear resize of maps of numbers.

use ndarray::Array2;

use super::check_sizes;
use crate::DataError;

/// The two neighbours of an output index and the weight of the second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Between {
    low: usize,
    high: usize,
    weight: f32,
}

/// Where the output indices lie between the input ones: pixel centres are at halves, and what lies
/// beyond the first or last centre takes its value.
fn places(from: usize, to: usize) -> Vec<Between> {
    let scale = from as f64 / to as f64;
    let place = |i: usize| {
        let at = ((i as f64 + 0.5) * scale - 0.5) as f32;
        let floor = at.floor();
        if floor < 0.0 {
            return Between { low: 0, high: 0, weight: 0.0 };
        }
        let low = floor as usize;
        if low + 1 >= from {
            return Between { low: from - 1, high: from - 1, weight: 0.0 };
        }
        Between { low, high: low + 1, weight: at - floor }
    };
    (0..to).map(place).collect()
}

/// Resizes a map `[H, W]` to `[height, width]` as OpenCV's linear interpolation does: half-pixel
/// centres, values at the edge repeated, in float32. There is no antialiasing: a smaller map holds
/// points of the interpolated surface. PyTorch's bilinear with `align_corners=False` is the same
/// surface, up to rounding.
///
/// # Errors
/// If the map or the wanted size is empty.
pub fn resize_linear(
    map: &Array2<f32>,
    [height, width]: [usize; 2],
) -> Result<Array2<f32>, DataError> {
    let (from_height, from_width) = map.dim();
    check_sizes([from_height, from_width], [height, width])?;
    let (rows, columns) = (places(from_height, height), places(from_width, width));
    let mix = |a: f32, b: f32, weight: f32| a * (1.0 - weight) + b * weight;
    // Rows first, all of them: each serves several output rows.
    let narrow = Array2::from_shape_fn((from_height, width), |(y, x)| {
        let at = columns[x];
        mix(map[[y, at.low]], map[[y, at.high]], at.weight)
    });
    Ok(Array2::from_shape_fn((height, width), |(y, x)| {
        let at = rows[y];
        mix(narrow[[at.low, x]], narrow[[at.high, x]], at.weight)
    }))
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn centres_are_at_halves_and_edges_are_repeated() {
        let wide = resize_linear(&array![[0.0, 1.0]], [1, 4]).unwrap();
        assert_eq!(wide, array![[0.0, 0.25, 0.75, 1.0]]);
        // Points of the surface, not means: one of three columns.
        let narrow = resize_linear(&array![[0.0, 5.0, 9.0]], [1, 1]).unwrap();
        assert_eq!(narrow, array![[5.0]]);
        let half = resize_linear(&array![[0.0, 4.0], [8.0, 12.0]], [1, 1]).unwrap();
        assert_eq!(half, array![[6.0]]);
    }

    #[test]
    fn rows_and_columns_have_scales_of_their_own() {
        let map = array![[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]];
        let resized = resize_linear(&map, [4, 3]).unwrap();
        assert_eq!(resized.column(1).to_vec(), [2.0, 3.5, 6.5, 8.0]);
        assert_eq!(resized.row(0).to_vec(), [0.0, 2.0, 4.0]);
    }

    #[test]
    fn one_value_fills_everything_and_empty_sizes_are_refused() {
        let flat = resize_linear(&array![[0.3]], [5, 7]).unwrap();
        assert!(flat.dim() == (5, 7) && flat.iter().all(|&v| v == 0.3));
        assert!(resize_linear(&array![[0.3]], [0, 1]).is_err());
        assert!(resize_linear(&Array2::zeros((0, 3)), [1, 1]).is_err());
    }

    proptest! {
        #[test]
        fn values_stay_between_those_of_the_map(
            h in 1usize..9, w in 1usize..9, out_h in 1usize..40, out_w in 1usize..40,
            values in proptest::collection::vec(-1f32..1.0, 81),
        ) {
            let map = Array2::from_shape_fn((h, w), |(y, x)| values[y * 9 + x]);
            let same = resize_linear(&map, [h, w]).unwrap();
            prop_assert_eq!(&same, &map);
            let resized = resize_linear(&map, [out_h, out_w]).unwrap();
            let range = |map: &Array2<f32>| {
                map.iter().fold((1f32, -1f32), |(a, b), &v| (a.min(v), b.max(v)))
            };
            let (low, high) = range(&map);
            let (least, most) = range(&resized);
            prop_assert!(least >= low - 1e-6 && most <= high + 1e-6);
            // Mirrored input gives mirrored output.
            let mirrored = Array2::from_shape_fn((h, w), |(y, x)| map[[y, w - 1 - x]]);
            let back = resize_linear(&mirrored, [out_h, out_w]).unwrap();
            for ((y, x), &value) in resized.indexed_iter() {
                prop_assert!((value - back[[y, out_w - 1 - x]]).abs() < 1e-4);
            }
        }
    }
}
