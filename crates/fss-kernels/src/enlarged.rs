//! Cross entropy of logits that are enlarged to their labels' size, without the enlarged logits.
//!
//! At 473x473 pixels and 21 classes the enlarged logits, their log-softmax and the gradients of both
//! are 19 MB each an image, while the logits themselves have a sixtieth of that. The CPU goes through them row by
//! row; elsewhere they are composed.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Scalar, TensorMetadata, get_or_init_device_settings};
use burn::tensor::{Int, Tensor};

use crate::backend::MatchingBackend;
use crate::ops::{constant, dims, float_dtype, narrow, reshape};
use crate::resize::{Corners, bilinear_transposed};

/// The sum, over all pixels that count, of the cross entropy of logits resized bilinearly to the size of
/// their labels. Differentiable in the logits.
///
/// # Shapes
/// - `logits`: `[B, K, h, w]`
/// - `labels`: `[B, H, W]`, below K, or `ignore` where a pixel does not count; any other label makes the sum
///   NaN or infinite
/// - output: `[1]`
///
/// # Panics
/// If the batch sizes differ or an axis is empty.
pub fn enlarged_cross_entropy(
    logits: Tensor<4>,
    labels: Tensor<3, Int>,
    ignore: u8,
    corners: Corners,
) -> Tensor<1> {
    let ([batch, ..], [labelled, ..]) = (logits.dims(), labels.dims());
    assert_eq!(batch, labelled, "logits and labels of different batches");
    assert!(
        logits.dims().iter().chain(&labels.dims()).all(|&side| side > 0),
        "logits {:?} and labels {:?} must not be empty",
        logits.dims(),
        labels.dims()
    );
    let labels = labels.float().cast(logits.dtype());
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::enlarged_cross_entropy(
        logits.into_dispatch(),
        labels.into_dispatch(),
        f32::from(ignore),
        corners,
    ))
}

/// The class with the largest logit at every pixel, of logits resized bilinearly; of equal ones the first.
/// No enlarged logits are made on the CPU. It has no gradient.
///
/// # Shapes
/// - `logits`: `[B, K, h, w]`
/// - `size`: what they are resized to, in pixels
/// - `window`: the part `[H, W]` at the top left of `size` that is wanted
/// - output: `[B, H, W]`, below K
///
/// # Panics
/// If an axis is empty or the window larger than `size`.
pub fn enlarged_argmax(
    logits: Tensor<4>,
    size: [usize; 2],
    window: [usize; 2],
    corners: Corners,
) -> Tensor<3, Int> {
    assert!(
        logits.dims().iter().chain(&window).all(|&side| side > 0)
            && window[0] <= size[0]
            && window[1] <= size[1],
        "no {window:?} at the top left of logits {:?} resized to {size:?}",
        logits.dims()
    );
    let labels = <Dispatch as MatchingBackend>::enlarged_argmax(
        logits.into_dispatch(),
        size,
        window,
        corners,
    );
    Tensor::<3>::from_dispatch(labels).int()
}

/// The labels, composed.
pub(crate) fn argmax_by_steps<B: MatchingBackend>(
    logits: FloatTensor<B>,
    size: [usize; 2],
    [height, width]: [usize; 2],
    corners: Corners,
) -> FloatTensor<B> {
    let dtype = float_dtype(&logits);
    let logits = B::resize_bilinear(logits, size, corners);
    let logits = narrow::<B>(narrow::<B>(logits, 2, 0, height), 3, 0, width);
    let [batch, ..] = dims::<4>(&logits);
    let settings = get_or_init_device_settings::<B>(&logits.device());
    let labels = B::int_into_float(B::float_argmax(logits, 1, settings.int_dtype), dtype);
    reshape::<B, 3>(labels, [batch, height, width])
}

/// The sum, composed.
pub(crate) fn sum_by_steps<B: MatchingBackend>(
    logits: FloatTensor<B>,
    labels: FloatTensor<B>,
    ignore: f32,
    corners: Corners,
) -> FloatTensor<B> {
    let [_, classes, _, _] = dims(&logits);
    let [_, height, width] = dims(&labels);
    let logits = B::resize_bilinear(logits, [height, width], corners);
    let Targets { hot, valid } = targets::<B>(labels, classes, ignore);
    let taken = B::float_mul(B::log_softmax(logits, 1), hot.clone());
    // A pixel that counts but has no class: 1 / 0. For all others 0 / 1.
    let hit = B::float_sum_dim(hot, 1);
    let missed = B::float_sub(valid.clone(), hit.clone());
    let passed = B::float_add_scalar(B::float_neg(valid), Scalar::Float(1.0));
    let amiss = B::float_div(missed, B::float_add(hit, passed));
    let total = B::float_sub(B::float_sum(amiss), B::float_sum(taken));
    reshape::<B, 1>(total, [1])
}

/// The gradient of the sum with respect to the logits, composed.
pub(crate) fn backward_by_steps<B: MatchingBackend>(
    logits: FloatTensor<B>,
    labels: FloatTensor<B>,
    ignore: f32,
    corners: Corners,
) -> FloatTensor<B> {
    let [_, classes, h, w] = dims(&logits);
    let [_, height, width] = dims(&labels);
    let logits = B::resize_bilinear(logits, [height, width], corners);
    let Targets { hot, valid } = targets::<B>(labels, classes, ignore);
    let share = B::float_mul(B::softmax(logits, 1), valid);
    bilinear_transposed::<B>(B::float_sub(share, hot), [h, w], corners)
}

/// Labels as numbers to calculate with.
struct Targets<B: Backend> {
    /// `[B, K, H, W]`: 1 at the label's class.
    hot: FloatTensor<B>,
    /// `[B, 1, H, W]`: 1 where a pixel counts.
    valid: FloatTensor<B>,
}

fn targets<B: Backend>(labels: FloatTensor<B>, classes: usize, ignore: f32) -> Targets<B> {
    let [batch, height, width] = dims(&labels);
    let labels = reshape::<B, 4>(labels, [batch, 1, height, width]);
    let numbers = (0..classes).map(|k| k as f32).collect();
    let numbers = constant::<B, 4>(numbers, [1, classes, 1, 1], &labels);
    let ignored = constant::<B, 4>(vec![ignore], [1, 1, 1, 1], &labels);
    // Whole numbers: 1 - |a - b|, but at least 0, is 1 where they are equal.
    let equal = |a: FloatTensor<B>, b: FloatTensor<B>| {
        let distance = B::float_abs(B::float_sub(a, b));
        let near = B::float_add_scalar(B::float_neg(distance), Scalar::Float(1.0));
        B::float_clamp_min(near, Scalar::Float(0.0))
    };
    let valid = B::float_neg(equal(labels.clone(), ignored));
    let valid = B::float_add_scalar(valid, Scalar::Float(1.0));
    Targets { hot: equal(labels, numbers), valid }
}
