//! Resizing plane by plane with two taps an axis, instead of products with nearly empty matrices.

use rayon::prelude::*;

use crate::cpu::zeros;
use crate::resize::{Corners, Tap, nearest_indices, taps};

/// Pixels that make a task worth its start.
const TASK_PIXELS: usize = 1 << 14;

/// Planes `[.., h, w]` to `[.., H, W]`, bilinear.
pub(super) fn bilinear(
    planes: &[f32],
    [h, w]: [usize; 2],
    [height, width]: [usize; 2],
    corners: Corners,
) -> Vec<f32> {
    let rows = taps(h, height, corners);
    let columns = taps(w, width, corners);
    let mut output = zeros(planes.len() / (h * w) * height * width);
    output
        .par_chunks_mut(width)
        .with_min_len((TASK_PIXELS / width).max(1))
        .enumerate()
        .for_each_init(
            || vec![0.0; w],
            |blended, (index, output)| {
                let plane = &planes[index / height * h * w..][..h * w];
                let Tap { lower, upper, weight } = rows[index % height];
                let (lower, upper) = (&plane[lower * w..][..w], &plane[upper * w..][..w]);
                for ((blended, lower), upper) in blended.iter_mut().zip(lower).zip(upper) {
                    *blended = (1.0 - weight) * lower + weight * upper;
                }
                for (output, tap) in output.iter_mut().zip(&columns) {
                    *output =
                        (1.0 - tap.weight) * blended[tap.lower] + tap.weight * blended[tap.upper];
                }
            },
        );
    output
}

/// Planes `[.., h, w]` to `[.., H, W]`, nearest.
pub(super) fn nearest(planes: &[f32], [h, w]: [usize; 2], [height, width]: [usize; 2]) -> Vec<f32> {
    let rows = nearest_indices(h, height);
    let columns = nearest_indices(w, width);
    let mut output = zeros(planes.len() / (h * w) * height * width);
    output.par_chunks_mut(width).with_min_len((TASK_PIXELS / width).max(1)).enumerate().for_each(
        |(index, output)| {
            let row = &planes[(index / height * h + rows[index % height]) * w..][..w];
            output.iter_mut().zip(&columns).for_each(|(output, &x)| *output = row[x]);
        },
    );
    output
}
