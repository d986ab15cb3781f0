//! The seam between model code and back ends.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

use crate::conv::{self, Activation, ConvGeometry, Residual};
use crate::conv4d::{self, PivotGeometry};
use crate::resize::{self, Corners};
use crate::self_support::{self, SelfSupportConfig};
use crate::{correlation, cosine, enlarged, group_norm, pairs, pool, pooling};

/// A Burn back end that can run the matching kernels.
///
/// Every method has a body composed of differentiable operations that all back ends share, so
/// `impl MatchingBackend for MyBackend {}` is a complete implementation; override what the back end does
/// faster. Shapes are those of the functions of the same names at the crate's root; these methods
/// do not check them.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion"),
    Autodiff,
)]
pub trait MatchingBackend: Backend {
    /// See [`resize_bilinear`](crate::resize_bilinear): `[B, C, h, w] -> [B, C, H, W]`.
    #[fusion(dtype = x, shape = resized(x, *size))]
    fn resize_bilinear(
        x: FloatTensor<Self>,
        size: [usize; 2],
        corners: Corners,
    ) -> FloatTensor<Self> {
        resize::bilinear_by_products::<Self>(x, size, corners)
    }

    /// See [`resize_nearest`](crate::resize_nearest): `[B, C, h, w] -> [B, C, H, W]`.
    #[fusion(default)]
    fn resize_nearest(x: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self> {
        resize::nearest_by_select::<Self>(x, size)
    }

    /// See [`masked_average_pool`](crate::masked_average_pool):
    /// `[B, C, h, w], [B, 1, H, W] -> [B, C]`.
    #[fusion(default)]
    fn masked_average_pool(
        features: FloatTensor<Self>,
        mask: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        pooling::pool_at_feature_size::<Self>(features, mask)
    }

    /// See [`masked_average_pool_at_mask_size`](crate::masked_average_pool_at_mask_size):
    /// `[B, C, h, w], [B, 1, H, W] -> [B, C]`.
    #[fusion(default)]
    fn masked_average_pool_at_mask_size(
        features: FloatTensor<Self>,
        mask: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        pooling::pool_at_mask_size::<Self>(features, mask)
    }

    /// See [`cosine_maps`](crate::cosine_maps): `[B, C, h, w], [B, K, C] -> [B, K, h, w]`.
    #[fusion(dtype = features, shape = maps_shape(features, prototypes))]
    fn cosine_maps(
        features: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        cosine::maps_by_product::<Self>(features, prototypes)
    }

    /// See [`cosine_map_dense`](crate::cosine_map_dense):
    /// `[B, C, h, w], [B, C, h, w] -> [B, 1, h, w]`.
    #[fusion(dtype = features, shape = one_map(features))]
    fn cosine_map_dense(
        features: FloatTensor<Self>,
        prototype_map: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        cosine::dense_by_product::<Self>(features, prototype_map)
    }

    /// See [`cosine_maps_blend`](crate::cosine_maps_blend):
    /// `[B, C, h, w], [B, K, C], [B, C, h, w], [B, C, h, w] -> [B, K, h, w]`.
    #[fusion(dtype = features, shape = maps_shape(features, prototypes))]
    fn cosine_maps_blend(
        features: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        map: FloatTensor<Self>,
        #[extension_type] second: Residual<Self>,
        weights: [f32; 2],
    ) -> FloatTensor<Self> {
        cosine::blend_by_product::<Self>(features, prototypes, (map, second, weights))
    }

    /// See [`self_support_ways`](crate::self_support_ways): `[B, C, h, w], [B, W, 2, h, w]` to the foreground
    /// and background prototypes `[B, W, C]` and the adaptive background prototype `[B, W, C, h, w]`.
    #[fusion(default)]
    fn self_support_ways(
        features: FloatTensor<Self>,
        logits: FloatTensor<Self>,
        config: SelfSupportConfig,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        self_support::each_way::<Self>(features, logits, config)
    }

    /// See [`self_support`](crate::self_support): `[B, C, h, w], [B, 2, h, w]` to the foreground and
    /// background prototypes `[B, C]` and the adaptive background prototype `[B, C, h, w]`.
    #[fusion(default)]
    fn self_support(
        features: FloatTensor<Self>,
        logits: FloatTensor<Self>,
        config: SelfSupportConfig,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        self_support::steps::<Self>(features, logits, config)
    }

    /// See [`QueryPairs`](crate::QueryPairs): features `[B, C, h, w]` to the weights of all pairs `[B, N, N]` and
    /// the sums `[B, C + 1, N]` over all positions.
    #[fusion(default)]
    fn query_pairs(
        features: FloatTensor<Self>,
        temperature: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        pairs::weigh_by_steps::<Self>(features, temperature)
    }

    /// See [`QueryPairs::self_support`](crate::QueryPairs::self_support): features `[B, C, h, w]`, weights
    /// `[B, N, N]`, a set `[B, 1, N]` with its sums `[B, C + 1, N]` and logits `[B, 2, h, w]` to what
    /// [`self_support`](Self::self_support) gives, and the background set with its sums.
    #[fusion(default)]
    #[allow(clippy::type_complexity, reason = "three prototypes, and a set with its sums")]
    fn self_support_among(
        features: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        members: FloatTensor<Self>,
        sums: FloatTensor<Self>,
        logits: FloatTensor<Self>,
        config: SelfSupportConfig,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    ) {
        // Every sum anew: one product, whatever the set.
        let _ = (members, sums);
        pairs::among_by_steps::<Self>(features, weights, logits, config)
    }

    /// For each of N positions the mean of the members' features, weighted by
    /// `softmax(temperature · cos)` over the members.
    ///
    /// `features` `[B, C, N]`, `unit` `[B, C, N]` (the same divided by their norms) and `members`
    /// `[B, 1, N]` (0 or 1; at least one 1 a sample) give `[B, C, N]`. No more than `tile` query
    /// positions are matched at a time, which bounds memory and leaves the result the same.
    /// Differentiable in `features` and `unit`.
    #[fusion(default)]
    fn adaptive_prototype(
        features: FloatTensor<Self>,
        unit: FloatTensor<Self>,
        members: FloatTensor<Self>,
        temperature: f32,
        tile: usize,
    ) -> FloatTensor<Self> {
        self_support::adaptive_by_tiles::<Self>(features, unit, members, temperature, tile)
    }

    /// `softmax(temperature · scores)` over the members, and 0 for all others: `[B, t, N], [B, 1, N]` (0 or 1)
    /// to `[B, t, N]`. Scores are cosines.
    #[fusion(dtype = scores, shape = scores)]
    fn masked_softmax(
        scores: FloatTensor<Self>,
        members: FloatTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        self_support::softmax_by_steps::<Self>(scores, members, temperature)
    }

    /// Gradients of [`adaptive_prototype`](Self::adaptive_prototype) with respect to `features` and
    /// `unit`, given `grad` `[B, C, N]` of its output. Weights are computed again, tile by tile.
    #[fusion(default)]
    fn adaptive_prototype_backward(
        features: FloatTensor<Self>,
        unit: FloatTensor<Self>,
        members: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        temperature: f32,
        tile: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        self_support::adaptive_backward_by_tiles::<Self>(
            features,
            unit,
            members,
            grad,
            temperature,
            tile,
        )
    }

    /// See [`conv2d_fused`](crate::conv2d_fused):
    /// `[B, C, h, w], [O, C, kh, kw], [O], [B, O, H, W] -> [B, O, H, W]`.
    #[fusion(default)]
    fn conv2d_fused(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        #[extension_type] residual: Residual<Self>,
        geometry: ConvGeometry,
        activation: Activation,
    ) -> FloatTensor<Self> {
        conv::conv_by_steps::<Self>(x, weight, bias, residual, geometry, activation)
    }

    /// The gradient of a convolution `[B, C, h, w], [O, C, kh, kw]` with respect to its input, from that of its
    /// output `[B, O, H, W]`. Of `x` the shape alone counts.
    #[fusion(default)]
    fn conv2d_input_grad(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self> {
        Self::conv2d_x_backward(x, weight, grad, geometry.options())
    }

    /// The same with respect to its weights, of which the shape alone counts.
    #[fusion(default)]
    fn conv2d_weight_grad(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self> {
        Self::conv2d_weight_backward(x, weight, grad, geometry.options())
    }

    /// See [`max_pool2d`](crate::max_pool2d): `[B, C, h, w] -> [B, C, H, W]`.
    #[fusion(default)]
    fn max_pool2d(
        x: FloatTensor<Self>,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        pool::max_by_burn::<Self>(x, kernel, stride, padding)
    }

    /// See [`avg_pool2d`](crate::avg_pool2d): `[B, C, h, w] -> [B, C, H, W]`.
    #[fusion(default)]
    fn avg_pool2d(x: FloatTensor<Self>, kernel: usize, stride: usize) -> FloatTensor<Self> {
        pool::avg_by_burn::<Self>(x, kernel, stride)
    }

    /// See [`unit_features`](crate::unit_features): `[B, C, h, w] -> [B, C, h, w]`.
    #[fusion(default)]
    fn unit_features(features: FloatTensor<Self>) -> FloatTensor<Self> {
        correlation::unit_by_steps::<Self>(features)
    }

    /// See [`correlation`](crate::correlation()):
    /// `[B, L, C, h, w], [B, L, C, hs, ws] -> [B, hs · ws, L, h, w]`.
    #[fusion(dtype = query, shape = pairs_shape(query, support))]
    fn correlation(query: FloatTensor<Self>, support: FloatTensor<Self>) -> FloatTensor<Self> {
        correlation::correlation_by_product::<Self>(query, support)
    }

    /// See [`center_pivot_conv4d`](crate::center_pivot_conv4d):
    /// `[B, S, C, h, w], [O, C, k, k], [O, C, k, k], [O] -> [B, S', O, h, w]`.
    #[fusion(default)]
    fn center_pivot_conv4d(
        x: FloatTensor<Self>,
        query_kernel: FloatTensor<Self>,
        support_kernel: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: PivotGeometry,
    ) -> FloatTensor<Self> {
        conv4d::pivot_by_steps::<Self>(x, query_kernel, support_kernel, bias, geometry)
    }

    /// See [`correlation_conv4d`](crate::correlation_conv4d):
    /// `[B, L, C, h, w], [B, L, C, hs, ws], [O, L, k, k], [O, L, k, k], [O] -> [B, S', O, h, w]`.
    #[fusion(default)]
    fn correlation_conv4d(
        query: FloatTensor<Self>,
        support: FloatTensor<Self>,
        query_kernel: FloatTensor<Self>,
        support_kernel: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        conv4d::correlation_pivot_by_steps::<Self>(
            query,
            support,
            query_kernel,
            support_kernel,
            bias,
            stride,
        )
    }

    /// See [`group_norm_relu`](crate::group_norm_relu): `[B, S, C, h, w], [C], [C] -> [B, S, C, h, w]`.
    #[fusion(default)]
    fn group_norm_relu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
    ) -> FloatTensor<Self> {
        group_norm::norm_by_steps::<Self>(x, weight, bias, groups)
    }

    /// See [`enlarged_cross_entropy`](crate::enlarged_cross_entropy()): `[B, K, h, w], [B, H, W] -> [1]`,
    /// with labels as numbers.
    #[fusion(default)]
    fn enlarged_cross_entropy(
        logits: FloatTensor<Self>,
        labels: FloatTensor<Self>,
        ignore: f32,
        corners: Corners,
    ) -> FloatTensor<Self> {
        enlarged::sum_by_steps::<Self>(logits, labels, ignore, corners)
    }

    /// See [`enlarged_argmax`](crate::enlarged_argmax): `[B, K, h, w] -> [B, H, W]`, as numbers. It has no
    /// gradient.
    #[fusion(dtype = logits, shape = windowed(logits, *window))]
    fn enlarged_argmax(
        logits: FloatTensor<Self>,
        size: [usize; 2],
        window: [usize; 2],
        corners: Corners,
    ) -> FloatTensor<Self> {
        enlarged::argmax_by_steps::<Self>(logits, size, window, corners)
    }

    /// The gradient of [`enlarged_cross_entropy`](Self::enlarged_cross_entropy) with respect to its logits,
    /// `[B, K, h, w]`.
    #[fusion(default)]
    fn enlarged_cross_entropy_backward(
        logits: FloatTensor<Self>,
        labels: FloatTensor<Self>,
        ignore: f32,
        corners: Corners,
    ) -> FloatTensor<Self> {
        enlarged::backward_by_steps::<Self>(logits, labels, ignore, corners)
    }
}

/// Shapes of outputs, for Burn's fusion, which asks for them before anything is computed.
#[cfg(feature = "fusion")]
mod shapes {
    use burn::tensor::Shape;

    pub(super) fn resized(x: &Shape, [height, width]: [usize; 2]) -> Shape {
        [x[0], x[1], height, width].into()
    }

    pub(super) fn maps_shape(features: &Shape, prototypes: &Shape) -> Shape {
        [features[0], prototypes[1], features[2], features[3]].into()
    }

    pub(super) fn one_map(features: &Shape) -> Shape {
        [features[0], 1, features[2], features[3]].into()
    }

    pub(super) fn windowed(logits: &Shape, [height, width]: [usize; 2]) -> Shape {
        [logits[0], height, width].into()
    }

    pub(super) fn pairs(query: &Shape, support: &Shape) -> Shape {
        [query[0], support[3] * support[4], query[1], query[3], query[4]].into()
    }
}
#[cfg(feature = "fusion")]
use shapes::{maps_shape, one_map, pairs as pairs_shape, resized, windowed};
