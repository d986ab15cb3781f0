//! Pooling over square windows.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch};
use burn::tensor::Tensor;

use crate::backend::MatchingBackend;
use crate::conv::ConvGeometry;

/// The largest value of each window; what is outside the map counts for nothing.
///
/// A window that contains NaN gives NaN.
///
/// # Shapes
/// - `x`: `[B, C, h, w]`
/// - `kernel`: side of a window; `stride`: distance between windows; `padding`: how far the first window
///   reaches out of the map. All in pixels.
/// - output: `[B, C, H, W]` with `H = floor((h + 2 padding - kernel) / stride) + 1`, W likewise
///
/// # Panics
/// If `kernel` or `stride` is 0, `padding` is not less than `kernel`, or the window does not fit.
pub fn max_pool2d(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    check(x.dims(), kernel, stride, padding);
    let x = x.into_dispatch();
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::max_pool2d(x, kernel, stride, padding))
}

/// The mean of each window. Windows do not reach out of the map.
///
/// # Shapes
/// - `x`: `[B, C, h, w]`
/// - `kernel`: side of a window; `stride`: distance between windows. Both in pixels.
/// - output: `[B, C, H, W]` with `H = floor((h - kernel) / stride) + 1`, W likewise
///
/// # Panics
/// If `kernel` or `stride` is 0, or the window does not fit.
pub fn avg_pool2d(x: Tensor<4>, kernel: usize, stride: usize) -> Tensor<4> {
    check(x.dims(), kernel, stride, 0);
    let x = x.into_dispatch();
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::avg_pool2d(x, kernel, stride))
}

fn check([_, _, h, w]: [usize; 4], kernel: usize, stride: usize, padding: usize) {
    assert!(kernel > 0 && stride > 0, "a window's side and stride start at 1");
    assert!(padding < kernel, "a padding of {padding} leaves a window of {kernel} without pixels");
    let along = |length| output_length(length, kernel, stride, padding);
    assert!(
        along(h) > 0 && along(w) > 0,
        "a {kernel}x{kernel} window with padding {padding} does not fit into a {h}x{w} map"
    );
}

/// Windows along an axis of `length` pixels.
pub(crate) fn output_length(length: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    ConvGeometry { stride, padding, dilation: 1 }.output_length(length, kernel)
}

/// Burn's own, which is differentiable.
pub(crate) fn max_by_burn<B: Backend>(
    x: FloatTensor<B>,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> FloatTensor<B> {
    B::max_pool2d(x, [kernel; 2], [stride; 2], [padding; 2], [1; 2], false)
}

/// Burn's own, which is differentiable.
pub(crate) fn avg_by_burn<B: Backend>(
    x: FloatTensor<B>,
    kernel: usize,
    stride: usize,
) -> FloatTensor<B> {
    B::avg_pool2d(x, [kernel; 2], [stride; 2], [0; 2], true, false)
}
