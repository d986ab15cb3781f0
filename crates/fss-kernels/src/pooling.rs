//! Masked average pooling, in the two published variants.
//!
//! Both divide `Σ feature · mask` by `Σ mask + 1e-5`; they differ in where features and mask meet. SSP
//! (Fan et al., ECCV 2022, section 3.1) brings the mask to the features' size; MLC (Yang et al.,
//! ICCV 2021) brings the features to the mask's size.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Scalar};
use burn::tensor::Tensor;

use crate::backend::MatchingBackend;
use crate::ops::{dims, reshape};
use crate::resize::{Corners, bilinear_transposed};

/// Keeps an empty mask from dividing by zero; its prototype is then exactly zero.
pub(crate) const AREA_EPS: f64 = 1e-5;

/// Averages features under a mask that is brought to the features' size (bilinear, aligned corners).
///
/// # Shapes
/// - `features`: `[B, C, h, w]`
/// - `mask`: `[B, 1, H, W]`, weights (0 or 1; fractions are allowed)
/// - output: `[B, C]`; zero where the mask is empty
///
/// # Panics
/// If the batch sizes differ or the mask has more than one channel.
pub fn masked_average_pool(features: Tensor<4>, mask: Tensor<4>) -> Tensor<2> {
    check_shapes(features.dims(), mask.dims());
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::masked_average_pool(
        features.into_dispatch(),
        mask.into_dispatch(),
    ))
}

/// Averages features, enlarged to the mask's size (bilinear, aligned corners), under the mask.
///
/// The enlarged features are never made. With the resize written as `R_h F R_wᵀ`, the sum
/// `Σ (R_h F R_wᵀ) · M` equals `Σ F · (R_hᵀ M R_w)`, so the one-channel mask goes through the transposed
/// resize instead of the features going through the resize.
///
/// # Shapes
/// - `features`: `[B, C, h, w]`
/// - `mask`: `[B, 1, H, W]`, weights (0 or 1; fractions are allowed)
/// - output: `[B, C]`; zero where the mask is empty
///
/// # Panics
/// If the batch sizes differ or the mask has more than one channel.
pub fn masked_average_pool_at_mask_size(features: Tensor<4>, mask: Tensor<4>) -> Tensor<2> {
    check_shapes(features.dims(), mask.dims());
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::masked_average_pool_at_mask_size(
        features.into_dispatch(),
        mask.into_dispatch(),
    ))
}

fn check_shapes(features: [usize; 4], mask: [usize; 4]) {
    assert!(
        mask[0] == features[0] && mask[1] == 1,
        "masked average pooling of features {features:?} needs a mask [{}, 1, H, W], got {mask:?}",
        features[0]
    );
}

/// SSP's variant, composed of differentiable operations.
pub(crate) fn pool_at_feature_size<B: MatchingBackend>(
    features: FloatTensor<B>,
    mask: FloatTensor<B>,
) -> FloatTensor<B> {
    let [_, _, h, w] = dims(&features);
    let weights = B::resize_bilinear(mask, [h, w], Corners::Aligned);
    let area = area::<B>(weights.clone());
    weighted_mean::<B>(features, weights, area)
}

/// MLC's variant, composed of differentiable operations.
pub(crate) fn pool_at_mask_size<B: MatchingBackend>(
    features: FloatTensor<B>,
    mask: FloatTensor<B>,
) -> FloatTensor<B> {
    let [_, _, h, w] = dims(&features);
    let area = area::<B>(mask.clone());
    let weights = bilinear_transposed::<B>(mask, [h, w], Corners::Aligned);
    weighted_mean::<B>(features, weights, area)
}

/// `[B, 1, H, W] -> [B, 1]`, the sum of the mask's weights plus [`AREA_EPS`].
fn area<B: Backend>(mask: FloatTensor<B>) -> FloatTensor<B> {
    let [b, _, h, w] = dims(&mask);
    let sums = B::float_sum_dim(reshape::<B, 2>(mask, [b, h * w]), 1);
    B::float_add_scalar(sums, Scalar::Float(AREA_EPS))
}

fn weighted_mean<B: Backend>(
    features: FloatTensor<B>,
    weights: FloatTensor<B>,
    area: FloatTensor<B>,
) -> FloatTensor<B> {
    let [b, c, h, w] = dims(&features);
    let features = reshape::<B, 3>(features, [b, c, h * w]);
    let weights = reshape::<B, 3>(weights, [b, h * w, 1]);
    let sums = reshape::<B, 2>(B::float_matmul(features, weights), [b, c]);
    B::float_div(sums, area)
}
