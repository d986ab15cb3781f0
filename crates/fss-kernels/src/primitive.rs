//! The kernels over back-end primitives, for code that is itself generic over its back end.
//!
//! Thin names for the functions of [`MatchingBackend`]; shapes are those of the functions of the same
//! names at the crate's root, and are not checked here.

use burn::backend::tensor::FloatTensor;

use crate::backend::MatchingBackend;
use crate::conv::{Activation, ConvGeometry, Residual};
use crate::conv4d::PivotGeometry;
use crate::resize::Corners;
use crate::self_support::SelfSupportConfig;

/// See [`resize_bilinear`](crate::resize_bilinear).
pub fn resize_bilinear<B: MatchingBackend>(
    x: FloatTensor<B>,
    size: [usize; 2],
    corners: Corners,
) -> FloatTensor<B> {
    B::resize_bilinear(x, size, corners)
}

/// See [`resize_nearest`](crate::resize_nearest).
pub fn resize_nearest<B: MatchingBackend>(x: FloatTensor<B>, size: [usize; 2]) -> FloatTensor<B> {
    B::resize_nearest(x, size)
}

/// See [`masked_average_pool`](crate::masked_average_pool).
pub fn masked_average_pool<B: MatchingBackend>(
    features: FloatTensor<B>,
    mask: FloatTensor<B>,
) -> FloatTensor<B> {
    B::masked_average_pool(features, mask)
}

/// See [`masked_average_pool_at_mask_size`](crate::masked_average_pool_at_mask_size).
pub fn masked_average_pool_at_mask_size<B: MatchingBackend>(
    features: FloatTensor<B>,
    mask: FloatTensor<B>,
) -> FloatTensor<B> {
    B::masked_average_pool_at_mask_size(features, mask)
}

/// See [`cosine_maps`](crate::cosine_maps).
pub fn cosine_maps<B: MatchingBackend>(
    features: FloatTensor<B>,
    prototypes: FloatTensor<B>,
) -> FloatTensor<B> {
    B::cosine_maps(features, prototypes)
}

/// See [`cosine_map_dense`](crate::cosine_map_dense).
pub fn cosine_map_dense<B: MatchingBackend>(
    features: FloatTensor<B>,
    prototype_map: FloatTensor<B>,
) -> FloatTensor<B> {
    B::cosine_map_dense(features, prototype_map)
}

/// See [`cosine_maps_blend`](crate::cosine_maps_blend); weights of the two maps.
pub fn cosine_maps_blend<B: MatchingBackend>(
    features: FloatTensor<B>,
    prototypes: FloatTensor<B>,
    map: FloatTensor<B>,
    second: Option<FloatTensor<B>>,
    weights: [f32; 2],
) -> FloatTensor<B> {
    let second = second.map_or(Residual::None, Residual::Add);
    B::cosine_maps_blend(features, prototypes, map, second, weights)
}

/// See [`self_support_ways`](crate::self_support_ways): prototypes `[B, W, C]`, adaptive background
/// prototypes `[B, W, C, h, w]`.
pub fn self_support_ways<B: MatchingBackend>(
    features: FloatTensor<B>,
    logits: FloatTensor<B>,
    config: SelfSupportConfig,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    B::self_support_ways(features, logits, config)
}

/// See [`self_support`](crate::self_support): foreground and background prototypes `[B, C]`, adaptive
/// background prototype `[B, C, h, w]`.
pub fn self_support<B: MatchingBackend>(
    features: FloatTensor<B>,
    logits: FloatTensor<B>,
    config: SelfSupportConfig,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    B::self_support(features, logits, config)
}

/// See [`conv2d_fused`](crate::conv2d_fused).
pub fn conv2d_fused<B: MatchingBackend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    residual: Option<FloatTensor<B>>,
    geometry: ConvGeometry,
    activation: Activation,
) -> FloatTensor<B> {
    let residual = residual.map_or(Residual::None, Residual::Add);
    B::conv2d_fused(x, weight, bias, residual, geometry, activation)
}

/// See [`max_pool2d`](crate::max_pool2d).
pub fn max_pool2d<B: MatchingBackend>(
    x: FloatTensor<B>,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> FloatTensor<B> {
    <B as MatchingBackend>::max_pool2d(x, kernel, stride, padding)
}

/// See [`avg_pool2d`](crate::avg_pool2d).
pub fn avg_pool2d<B: MatchingBackend>(
    x: FloatTensor<B>,
    kernel: usize,
    stride: usize,
) -> FloatTensor<B> {
    <B as MatchingBackend>::avg_pool2d(x, kernel, stride)
}

/// See [`unit_features`](crate::unit_features).
pub fn unit_features<B: MatchingBackend>(features: FloatTensor<B>) -> FloatTensor<B> {
    B::unit_features(features)
}

/// See [`correlation`](crate::correlation()).
pub fn correlation<B: MatchingBackend>(
    query: FloatTensor<B>,
    support: FloatTensor<B>,
) -> FloatTensor<B> {
    B::correlation(query, support)
}

/// See [`center_pivot_conv4d`](crate::center_pivot_conv4d).
pub fn center_pivot_conv4d<B: MatchingBackend>(
    x: FloatTensor<B>,
    query_kernel: FloatTensor<B>,
    support_kernel: FloatTensor<B>,
    bias: FloatTensor<B>,
    geometry: PivotGeometry,
) -> FloatTensor<B> {
    B::center_pivot_conv4d(x, query_kernel, support_kernel, bias, geometry)
}

/// See [`correlation_conv4d`](crate::correlation_conv4d).
pub fn correlation_conv4d<B: MatchingBackend>(
    query: FloatTensor<B>,
    support: FloatTensor<B>,
    query_kernel: FloatTensor<B>,
    support_kernel: FloatTensor<B>,
    bias: FloatTensor<B>,
    stride: usize,
) -> FloatTensor<B> {
    B::correlation_conv4d(query, support, query_kernel, support_kernel, bias, stride)
}

/// See [`group_norm_relu`](crate::group_norm_relu).
pub fn group_norm_relu<B: MatchingBackend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    groups: usize,
) -> FloatTensor<B> {
    B::group_norm_relu(x, weight, bias, groups)
}

/// See [`enlarged_cross_entropy`](crate::enlarged_cross_entropy()), with labels as numbers.
pub fn enlarged_cross_entropy<B: MatchingBackend>(
    logits: FloatTensor<B>,
    labels: FloatTensor<B>,
    ignore: f32,
    corners: Corners,
) -> FloatTensor<B> {
    B::enlarged_cross_entropy(logits, labels, ignore, corners)
}

/// See [`enlarged_argmax`](crate::enlarged_argmax), labels as numbers.
pub fn enlarged_argmax<B: MatchingBackend>(
    logits: FloatTensor<B>,
    size: [usize; 2],
    window: [usize; 2],
    corners: Corners,
) -> FloatTensor<B> {
    B::enlarged_argmax(logits, size, window, corners)
}
