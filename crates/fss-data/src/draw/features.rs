//! Pictures of what a network sees: features as colours, labels in the colours of DENet's code.

use image::{Rgb, RgbImage};
use ndarray::{Array2, Array3, Array4, ArrayView3, Axis};

use crate::DataError;
use crate::io::voc_palette;

/// Sweeps over all pairs of axes after which rotations have long become nothing.
const MOST_SWEEPS: usize = 60;

/// The 88 colours of DENet's code: those of PASCAL VOC for 0 to 20 and one more, then the same again three
/// times, each time brighter by 30.
pub fn extended_palette() -> [[u8; 3]; 88] {
    let voc = voc_palette();
    std::array::from_fn(|label| {
        let colour = if label % 22 == 21 { [192, 0, 192] } else { voc[label % 22] };
        colour.map(|channel| channel.saturating_add(30 * (label / 22) as u8))
    })
}

/// Labels `[H, W]` in the [`extended_palette`]; those that are none of `classes` become their own grey.
pub fn class_colours(labels: &Array2<u8>, classes: usize) -> RgbImage {
    let palette = extended_palette();
    let (height, width) = labels.dim();
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let label = labels[[y as usize, x as usize]];
        let known = usize::from(label) < classes.min(palette.len());
        Rgb(if known { palette[usize::from(label)] } else { [label; 3] })
    })
}

/// Three channels `[3, H, W]` as a picture: the smallest value of all becomes black, the largest full colour.
/// A map of one value becomes black.
///
/// # Errors
/// [`DataError::Setting`] for another number of channels.
pub fn stretched(channels: ArrayView3<'_, f32>) -> Result<RgbImage, DataError> {
    let (count, height, width) = channels.dim();
    if count != 3 {
        return Err(DataError::Setting {
            what: format!("{count} channels to draw"),
            remedy: "give three, as `principal_maps` makes them".into(),
        });
    }
    let low = channels.iter().copied().fold(f32::INFINITY, f32::min);
    let high = channels.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = if high > low { high - low } else { 1.0 };
    Ok(RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let value = |channel: usize| {
            let share = (channels[[channel, y as usize, x as usize]] - low) / range;
            (255.0 * share + 0.5) as u8
        };
        Rgb([value(0), value(1), value(2)])
    }))
}

/// Features `[N, C, h, w]` projected on the three directions in which those of the whole batch differ most
/// (principal components), `[N, 3, h, w]`. The sign of a channel is arbitrary: here the largest entry of its
/// direction is positive.
///
/// # Errors
/// [`DataError::Setting`] for less than three channels, or values that are not finite.
pub fn principal_maps(features: &Array4<f32>) -> Result<Array4<f32>, DataError> {
    let (samples, channels, height, width) = features.dim();
    if channels < 3 || !features.iter().all(|value| value.is_finite()) {
        return Err(DataError::Setting {
            what: format!("no three directions in features of {channels} channels"),
            remedy: "give finite features of three channels or more".into(),
        });
    }
    let count = (samples * height * width).max(1);
    let rows = features.view().permuted_axes([0, 2, 3, 1]).mapv(f64::from);
    let rows = Array2::from_shape_vec(
        (samples * height * width, channels),
        rows.iter().copied().collect(),
    );
    // The number of values is that of the shape.
    let mut rows = rows.unwrap_or_default();
    let mean = rows.sum_axis(Axis(0)) / count as f64;
    rows -= &mean;
    let directions = eigenvectors(rows.t().dot(&rows));
    let found = rows.dot(&directions.select(Axis(1), &[0, 1, 2]));
    let found = found.mapv(|value| value as f32);
    Ok(Array4::from_shape_fn((samples, 3, height, width), |(n, channel, y, x)| {
        found[[(n * height + y) * width + x, channel]]
    }))
}

/// The eigenvectors of a symmetric matrix as columns, those of the largest eigenvalues first (cyclic Jacobi
/// rotations).
fn eigenvectors(mut matrix: Array2<f64>) -> Array2<f64> {
    let size = matrix.nrows();
    let mut vectors = Array2::<f64>::eye(size);
    let scale = matrix.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    for _ in 0..MOST_SWEEPS {
        let mut largest = 0.0f64;
        for p in 0..size {
            for q in p + 1..size {
                let off = matrix[[p, q]];
                largest = largest.max(off.abs());
                if off == 0.0 {
                    continue;
                }
                let theta = (matrix[[q, q]] - matrix[[p, p]]) / (2.0 * off);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / (t * t + 1.0).sqrt();
                let rotate = |a: &mut Array2<f64>, axis: usize| {
                    for i in 0..size {
                        let at = |j: usize| if axis == 0 { [j, i] } else { [i, j] };
                        let (x, y) = (a[at(p)], a[at(q)]);
                        a[at(p)] = c * (x - t * y);
                        a[at(q)] = c * (y + t * x);
                    }
                };
                rotate(&mut matrix, 0);
                rotate(&mut matrix, 1);
                rotate(&mut vectors, 1);
            }
        }
        if largest <= scale * 1e-14 {
            break;
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| matrix[[*b, *b]].total_cmp(&matrix[[*a, *a]]));
    let mut sorted = vectors.select(Axis(1), &order);
    for mut column in sorted.columns_mut() {
        let largest = column.iter().fold(0.0f64, |m, v| if v.abs() > m.abs() { *v } else { m });
        if largest < 0.0 {
            column.mapv_inplace(|value| -value);
        }
    }
    sorted
}

/// The label with the largest logit, `[C, H, W]` to `[H, W]`; of equal ones the lowest.
pub fn largest_label(logits: &Array3<f32>) -> Array2<u8> {
    let (classes, height, width) = logits.dim();
    Array2::from_shape_fn((height, width), |(y, x)| {
        let better = |best: usize, class: usize| {
            if logits[[class, y, x]] > logits[[best, y, x]] { class } else { best }
        };
        (1..classes).fold(0, better) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn colours_get_brighter() {
        let palette = extended_palette();
        assert_eq!(palette[..3], [[0, 0, 0], [128, 0, 0], [0, 128, 0]]);
        assert_eq!(palette[21], [192, 0, 192]);
        assert_eq!(palette[23], [158, 30, 30]);
        assert_eq!(palette[87], [255, 90, 255]);
        let drawn = class_colours(&array![[1, 255]], 21);
        assert_eq!((drawn.get_pixel(0, 0).0, drawn.get_pixel(1, 0).0), ([128, 0, 0], [255; 3]));
    }

    #[test]
    fn directions_of_the_largest_spread_come_first() {
        // The second channel varies most, then the last.
        let features = Array4::from_shape_fn((1, 4, 5, 6), |(_, c, y, x)| match c {
            1 => 10.0 * x as f32,
            3 => 3.0 * y as f32,
            _ => 0.1 * ((x * 7 + y * 3 + c) % 5) as f32,
        });
        let maps = principal_maps(&features).unwrap();
        let along_rows = maps[[0, 0, 2, 5]] - maps[[0, 0, 2, 0]];
        assert!((along_rows - 50.0).abs() < 0.5, "{along_rows}");
        let along_columns = maps[[0, 1, 4, 2]] - maps[[0, 1, 0, 2]];
        assert!(along_columns.abs() > 11.0, "{along_columns}");
        assert!(principal_maps(&Array4::zeros((1, 2, 3, 3))).is_err());
        assert!(principal_maps(&Array4::from_elem((1, 3, 2, 2), f32::NAN)).is_err());
        // Equal features have no direction, and give no NaN either.
        let flat = principal_maps(&Array4::ones((1, 3, 2, 2))).unwrap();
        assert!(flat.iter().all(|value| *value == 0.0));
    }

    #[test]
    fn a_map_of_one_value_is_black() {
        let drawn = stretched(Array3::ones((3, 2, 2)).view()).unwrap();
        assert!(drawn.as_raw().iter().all(|value| *value == 0));
        assert!(stretched(Array3::ones((2, 2, 2)).view()).is_err());
    }
}
