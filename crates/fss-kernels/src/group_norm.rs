//! Group normalisation of 4D maps, and the ReLU behind it.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Scalar};
use burn::tensor::Tensor;

use crate::backend::MatchingBackend;
use crate::ops::{dims, reshape, scale};

/// Added to the variance.
pub(crate) const EPSILON: f64 = 1e-5;

/// `max(0, group_norm(x))` of support-first maps.
///
/// Mean and (biased) variance are those of a group of channels over all four spatial axes of a sample;
/// 1e-5 is added to the variance.
///
/// # Shapes
/// - `x`: `[B, S, C, h, w]`
/// - `weight`, `bias`: `[C]`
/// - output: `[B, S, C, h, w]`
///
/// # Panics
/// If the groups do not divide the channels, or weight and bias do not fit.
pub fn group_norm_relu(
    x: Tensor<5>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
) -> Tensor<5> {
    let [_, _, c, ..] = x.dims();
    assert!(groups > 0 && c % groups == 0, "{c} channels in {groups} groups");
    assert!(weight.dims() == [c] && bias.dims() == [c], "a norm of {c} channels");
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::group_norm_relu(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        groups,
    ))
}

/// [`group_norm_relu`] composed of differentiable operations.
pub(crate) fn norm_by_steps<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    groups: usize,
) -> FloatTensor<B> {
    let [b, s, c, h, w] = dims(&x);
    let grouped = reshape::<B, 4>(x, [b, s, groups, c / groups * h * w]);
    let count = (s * (c / groups) * h * w) as f32;
    let mean =
        |t: FloatTensor<B>| scale::<B>(B::float_sum_dim(B::float_sum_dim(t, 3), 1), 1.0 / count);
    let centred = B::float_sub(grouped.clone(), mean(grouped));
    let variance = mean(B::float_mul(centred.clone(), centred.clone()));
    let deviation = B::float_sqrt(B::float_add_scalar(variance, Scalar::Float(EPSILON)));
    let normed = reshape::<B, 4>(B::float_div(centred, deviation), [b, s, c, h * w]);
    let scaled = B::float_mul(normed, reshape::<B, 4>(weight, [1, 1, c, 1]));
    let shifted = B::float_add(scaled, reshape::<B, 4>(bias, [1, 1, c, 1]));
    reshape::<B, 5>(B::relu(shifted), [b, s, c, h, w])
}
