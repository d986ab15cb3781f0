//! Bilinear and nearest resizing of feature maps and masks.
//!
//! A bilinear resize is linear in its input and separable, so it is two products with constant
//! matrices, `R_h · x · R_wᵀ`. That is differentiable on every back end (CubeCL has no backward of its own
//! interpolation) and holds for both corner rules. Source positions are rounded to float32 as in
//! PyTorch, on whose tap choices published numbers depend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata, get_or_init_device_settings};
use burn::tensor::{Tensor, TensorData};

use crate::backend::MatchingBackend;
use crate::ops::{constant, dims, reshape};

/// Where the first and last pixel of a bilinear resize come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Corners {
    /// Corner pixels map onto corner pixels (`align_corners = true`).
    Aligned,
    /// Pixels are squares, and the outlines of the images map onto each other (`align_corners = false`).
    HalfPixel,
}

/// Resizes maps bilinearly, without antialiasing.
///
/// An axis whose length does not change costs nothing.
///
/// # Shapes
/// - `x`: `[B, C, h, w]`
/// - `size`: `[H, W]`
/// - output: `[B, C, H, W]`
///
/// # Panics
/// If an axis of `x` or of `size` is empty.
pub fn resize_bilinear(x: Tensor<4>, size: [usize; 2], corners: Corners) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    check_sizes([h, w], size);
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::resize_bilinear(
        x.into_dispatch(),
        size,
        corners,
    ))
}

/// Resizes maps by taking the nearest source pixel, under the rule of [`nearest_indices`].
///
/// # Shapes
/// - `x`: `[B, C, h, w]`
/// - `size`: `[H, W]`
/// - output: `[B, C, H, W]`
///
/// # Panics
/// If an axis of `x` or of `size` is empty.
pub fn resize_nearest(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    check_sizes([h, w], size);
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::resize_nearest(x.into_dispatch(), size))
}

/// The source index of each of `to` destination pixels in a nearest resize of `from` pixels.
///
/// The index is `floor(i * r)` with `r = from / to`, ratio and product both rounded to float32. Exact
/// integer arithmetic picks other pixels for some pairs (27 to 417 is one), and masks that other
/// code resized in float32 would not match.
///
/// # Panics
/// If `from` is 0 while `to` is not.
pub fn nearest_indices(from: usize, to: usize) -> Vec<usize> {
    assert!(from > 0 || to == 0, "nearest resize of an empty axis to {to} pixels");
    let ratio = from as f32 / to as f32;
    (0..to).map(|i| ((i as f32 * ratio).floor() as usize).min(from - 1)).collect()
}

fn check_sizes(from: [usize; 2], to: [usize; 2]) {
    assert!(
        from.iter().chain(&to).all(|&n| n > 0),
        "cannot resize a {}x{} map to {}x{}: every side must be at least 1",
        from[0],
        from[1],
        to[0],
        to[1]
    );
}

/// The two source pixels of one destination pixel, and the share of the upper one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tap {
    pub lower: usize,
    pub upper: usize,
    pub weight: f32,
}

/// The step between destination pixels in source pixels.
pub(crate) fn axis_scale(from: usize, to: usize, corners: Corners) -> f32 {
    match corners {
        Corners::Aligned if to > 1 => (from - 1) as f32 / (to - 1) as f32,
        Corners::Aligned => 0.0,
        Corners::HalfPixel => from as f32 / to as f32,
    }
}

/// The taps of a linear resize of one axis.
pub(crate) fn taps(from: usize, to: usize, corners: Corners) -> Vec<Tap> {
    let scale = axis_scale(from, to, corners);
    (0..to)
        .map(|i| {
            let position = match corners {
                Corners::Aligned => i as f32 * scale,
                Corners::HalfPixel => ((i as f32 + 0.5) * scale - 0.5).max(0.0),
            };
            let lower = (position as usize).min(from - 1);
            let upper = (lower + 1).min(from - 1);
            Tap { lower, upper, weight: (position - lower as f32).clamp(0.0, 1.0) }
        })
        .collect()
}

/// The bilinear resize of one axis as a row-major matrix `[to, from]`: the weight of each source pixel
/// in each destination pixel.
///
/// # Panics
/// If `from` is 0 while `to` is not.
pub fn bilinear_matrix(from: usize, to: usize, corners: Corners) -> Vec<f32> {
    let mut matrix = vec![0.0; to * from];
    for (row, tap) in matrix.chunks_exact_mut(from).zip(taps(from, to, corners)) {
        row[tap.lower] += 1.0 - tap.weight;
        row[tap.upper] += tap.weight;
    }
    matrix
}

/// `[B, C, h, w] -> [B, C, H, W]` by two matrix products.
pub(crate) fn bilinear_by_products<B: Backend>(
    x: FloatTensor<B>,
    [height, width]: [usize; 2],
    corners: Corners,
) -> FloatTensor<B> {
    let [_, _, h, w] = dims(&x);
    let rows_first = rows_first([h, w], [height, width]);
    let x = if rows_first { resize_rows::<B>(x, height, corners) } else { x };
    let x = resize_columns::<B>(x, width, corners);
    if rows_first { x } else { resize_rows::<B>(x, height, corners) }
}

/// Whether resizing the rows first takes fewer multiplications.
pub(crate) fn rows_first([h, w]: [usize; 2], [height, width]: [usize; 2]) -> bool {
    let rows = |columns: usize| if h == height { 0 } else { height * h * columns };
    let columns = |rows: usize| if w == width { 0 } else { rows * w * width };
    rows(w) + columns(height) < columns(h) + rows(width)
}

fn resize_rows<B: Backend>(x: FloatTensor<B>, height: usize, corners: Corners) -> FloatTensor<B> {
    let [b, c, h, w] = dims(&x);
    if h == height {
        return x;
    }
    let matrix = constant::<B, 3>(bilinear_matrix(h, height, corners), [1, height, h], &x);
    let resized = B::float_matmul(matrix, reshape::<B, 3>(x, [b * c, h, w]));
    reshape::<B, 4>(resized, [b, c, height, w])
}

fn resize_columns<B: Backend>(x: FloatTensor<B>, width: usize, corners: Corners) -> FloatTensor<B> {
    let [b, c, h, w] = dims(&x);
    if w == width {
        return x;
    }
    let matrix = constant::<B, 2>(bilinear_matrix(w, width, corners), [width, w], &x);
    let resized =
        B::float_matmul(reshape::<B, 2>(x, [b * c * h, w]), B::float_swap_dims(matrix, 0, 1));
    reshape::<B, 4>(resized, [b, c, h, width])
}

/// Pulls `[B, C, H, W]` back through a resize of `[h, w]` to `[H, W]`: the product with the transposed
/// matrices, which is also the resize's gradient.
pub(crate) fn bilinear_transposed<B: Backend>(
    y: FloatTensor<B>,
    [h, w]: [usize; 2],
    corners: Corners,
) -> FloatTensor<B> {
    let [b, c, height, width] = dims(&y);
    let y = if w == width {
        y
    } else {
        let matrix = constant::<B, 2>(bilinear_matrix(w, width, corners), [width, w], &y);
        let pulled = B::float_matmul(reshape::<B, 2>(y, [b * c * height, width]), matrix);
        reshape::<B, 4>(pulled, [b, c, height, w])
    };
    if h == height {
        return y;
    }
    let matrix = constant::<B, 3>(bilinear_matrix(h, height, corners), [1, height, h], &y);
    let pulled =
        B::float_matmul(B::float_swap_dims(matrix, 1, 2), reshape::<B, 3>(y, [b * c, height, w]));
    reshape::<B, 4>(pulled, [b, c, h, w])
}

/// `[B, C, h, w] -> [B, C, H, W]` by picking rows, then columns.
pub(crate) fn nearest_by_select<B: Backend>(
    x: FloatTensor<B>,
    [height, width]: [usize; 2],
) -> FloatTensor<B> {
    let [_, _, h, w] = dims(&x);
    let x = select_nearest::<B>(x, 2, h, height);
    select_nearest::<B>(x, 3, w, width)
}

fn select_nearest<B: Backend>(
    x: FloatTensor<B>,
    dim: usize,
    from: usize,
    to: usize,
) -> FloatTensor<B> {
    if from == to {
        return x;
    }
    let device = x.device();
    let indices: Vec<i64> = nearest_indices(from, to).into_iter().map(|i| i as i64).collect();
    let indices = TensorData::new(indices, [to])
        .convert_dtype(get_or_init_device_settings::<B>(&device).int_dtype.into());
    B::float_select(x, dim, B::int_from_data(indices, &device))
}
