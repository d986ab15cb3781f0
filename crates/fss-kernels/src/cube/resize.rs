//! Bilinear resizing, and the labels of resized logits.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{UNITS, by_type, cubes_for, output, ready};
use crate::ops::dims;
use crate::resize::{Corners, axis_scale};

/// Where a destination pixel lies between two source pixels: the lower one, the upper one, and the share of the
/// upper one.
#[cube]
fn tap(place: usize, length: usize, scale: f32, #[comptime] aligned: bool) -> (usize, usize, f32) {
    let mut position = f32::cast_from(place) * scale;
    if !aligned {
        position = ((f32::cast_from(place) + 0.5f32) * scale - 0.5f32).max(0.0f32);
    }
    let lower = usize::cast_from(position.floor()).min(length - 1);
    let upper = (lower + 1).min(length - 1);
    let share = (position - f32::cast_from(lower)).max(0.0f32).min(1.0f32);
    (lower, upper, share)
}

/// The value at a destination pixel of the map that starts at `start`.
#[cube]
fn blend<F: Float>(
    maps: &Tensor<F>,
    start: usize,
    width: usize,
    rows: (usize, usize, f32),
    columns: (usize, usize, f32),
) -> f32 {
    let above = start + rows.0 * width;
    let below = start + rows.1 * width;
    let left = 1.0f32 - columns.2;
    let top = f32::cast_from(maps[above + columns.0]) * left
        + f32::cast_from(maps[above + columns.1]) * columns.2;
    let bottom = f32::cast_from(maps[below + columns.0]) * left
        + f32::cast_from(maps[below + columns.1]) * columns.2;
    top * (1.0f32 - rows.2) + bottom * rows.2
}

/// One unit a destination pixel: `[B, C, h, w] -> [B, C, H, W]`.
#[cube(launch_unchecked)]
fn bilinear_kernel<F: Float>(
    maps: &Tensor<F>,
    resized: &mut Tensor<F>,
    row_scale: f32,
    column_scale: f32,
    #[comptime] aligned: bool,
) {
    let (height, width) = (resized.shape(2), resized.shape(3));
    let total = resized.shape(0) * resized.shape(1) * height * width;
    if ABSOLUTE_POS < total {
        let x = ABSOLUTE_POS % width;
        let y = ABSOLUTE_POS / width % height;
        let start = ABSOLUTE_POS / (width * height) * maps.shape(2) * maps.shape(3);
        let rows = tap(y, maps.shape(2), row_scale, aligned);
        let columns = tap(x, maps.shape(3), column_scale, aligned);
        let value = blend::<F>(maps, start, maps.shape(3), rows, columns);
        resized[ABSOLUTE_POS] = F::cast_from(value);
    }
}

/// One unit a pixel of the window: `[B, K, h, w] -> [B, H, W]`.
#[cube(launch_unchecked)]
fn argmax_kernel<F: Float>(
    logits: &Tensor<F>,
    labels: &mut Tensor<F>,
    row_scale: f32,
    column_scale: f32,
    #[comptime] aligned: bool,
) {
    let (height, width) = (labels.shape(1), labels.shape(2));
    let total = labels.shape(0) * height * width;
    if ABSOLUTE_POS < total {
        let x = ABSOLUTE_POS % width;
        let y = ABSOLUTE_POS / width % height;
        let batch = ABSOLUTE_POS / (width * height);
        let classes = logits.shape(1);
        let area = logits.shape(2) * logits.shape(3);
        let rows = tap(y, logits.shape(2), row_scale, aligned);
        let columns = tap(x, logits.shape(3), column_scale, aligned);
        let start = batch * classes * area;
        let mut best = blend::<F>(logits, start, logits.shape(3), rows, columns);
        let mut label = 0.0f32;
        for class in 1..classes {
            let value = blend::<F>(logits, start + class * area, logits.shape(3), rows, columns);
            // The first of equal ones, as everywhere else.
            if value > best {
                best = value;
                label = f32::cast_from(class);
            }
        }
        labels[ABSOLUTE_POS] = F::cast_from(label);
    }
}

/// `[B, C, h, w] -> [B, C, H, W]`, if the kernel takes it.
pub(super) fn bilinear(
    maps: &CubeTensor,
    [height, width]: [usize; 2],
    corners: Corners,
) -> Option<CubeTensor> {
    let [b, c, h, w] = dims(maps);
    if [h, w] == [height, width] {
        return Some(maps.clone());
    }
    let count = cubes_for(b * c * height * width)?;
    let [maps] = ready([maps])?;
    let resized = output(&maps, [b, c, height, width]);
    let client = maps.client.clone();
    by_type!(
        maps,
        bilinear_kernel,
        (
            &client,
            count,
            CubeDim::new_1d(UNITS),
            maps.into_tensor_arg(),
            resized.clone().into_tensor_arg(),
            axis_scale(h, height, corners),
            axis_scale(w, width, corners),
            corners == Corners::Aligned,
        )
    );
    Some(resized)
}

/// `[B, K, h, w] -> [B, H, W]`, labels of the window at the top left, if the kernel takes the logits.
pub(super) fn argmax(
    logits: &CubeTensor,
    size: [usize; 2],
    window: [usize; 2],
    corners: Corners,
) -> Option<CubeTensor> {
    let [b, classes, h, w] = dims(logits);
    // Labels are numbers of the logits' own type, which must hold them.
    if classes > 256 {
        return None;
    }
    let count = cubes_for(b * window[0] * window[1])?;
    let [logits] = ready([logits])?;
    let labels = output(&logits, [b, window[0], window[1]]);
    let client = logits.client.clone();
    by_type!(
        logits,
        argmax_kernel,
        (
            &client,
            count,
            CubeDim::new_1d(UNITS),
            logits.into_tensor_arg(),
            labels.clone().into_tensor_arg(),
            axis_scale(h, size[0], corners),
            axis_scale(w, size[1], corners),
            corners == Corners::Aligned,
        )
    );
    Some(labels)
}
