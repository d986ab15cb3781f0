//! Maps of cosine similarity between features and prototypes.
//!
//! Each vector is divided by `max(norm, 1e-8)`, the rule of PyTorch 1.12 and later: a zero vector has
//! similarity 0 to everything, and the bound itself passes no gradient.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch};
use burn::tensor::Tensor;

use crate::backend::MatchingBackend;
use crate::conv::Residual;
use crate::ops::{dims, narrow, norms, reshape, scale};

/// The smallest norm that a vector is divided by.
pub(crate) const NORM_EPS: f64 = 1e-8;

/// Cosine similarity of every position with each of K prototypes.
///
/// # Shapes
/// - `features`: `[B, C, h, w]`
/// - `prototypes`: `[B, K, C]`
/// - output: `[B, K, h, w]`, in `-1..=1`
///
/// # Panics
/// If batch sizes or channel numbers differ.
pub fn cosine_maps(features: Tensor<4>, prototypes: Tensor<3>) -> Tensor<4> {
    let ([b, c, _, _], [pb, _, pc]) = (features.dims(), prototypes.dims());
    assert!(
        b == pb && c == pc,
        "cosine maps of features {:?} need prototypes [{b}, K, {c}], got {:?}",
        features.dims(),
        prototypes.dims()
    );
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::cosine_maps(
        features.into_dispatch(),
        prototypes.into_dispatch(),
    ))
}

/// Cosine similarity of every position with a prototype of its own.
///
/// # Shapes
/// - `features`: `[B, C, h, w]`
/// - `prototype_map`: `[B, C, h, w]`
/// - output: `[B, 1, h, w]`, in `-1..=1`
///
/// # Panics
/// If the shapes differ.
pub fn cosine_map_dense(features: Tensor<4>, prototype_map: Tensor<4>) -> Tensor<4> {
    assert_eq!(
        features.dims(),
        prototype_map.dims(),
        "a dense cosine map needs features and prototype map of one shape"
    );
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::cosine_map_dense(
        features.into_dispatch(),
        prototype_map.into_dispatch(),
    ))
}

/// [`cosine_maps`] whose first prototype is blended, at every position, with prototypes of that position.
///
/// The blend is `prototype + Σ weight · map`; on the CPU it is never made as a whole, and the features are read once
/// for all maps.
///
/// # Shapes
/// - `features`: `[B, C, h, w]`
/// - `prototypes`: `[B, K, C]`, at least one
/// - `maps`: one or two of `[B, C, h, w]`, with their weights
/// - output: `[B, K, h, w]`, in `-1..=1`
///
/// # Panics
/// For other numbers of maps, or shapes that do not fit.
pub fn cosine_maps_blend(
    features: Tensor<4>,
    prototypes: Tensor<3>,
    maps: &[(Tensor<4>, f32)],
) -> Tensor<4> {
    let ([b, c, ..], [pb, k, pc]) = (features.dims(), prototypes.dims());
    assert!(
        b == pb
            && c == pc
            && k > 0
            && (1..=2).contains(&maps.len())
            && maps.iter().all(|(map, _)| map.dims() == features.dims()),
        "blended cosine maps of features {:?} need prototypes [{b}, K, {c}] and one or two maps of \
         their shape",
        features.dims()
    );
    let weight = |map: usize| maps.get(map).map_or(0.0, |(_, weight)| *weight);
    let second = match maps.get(1) {
        Some((map, _)) => Residual::<Dispatch>::Add(map.clone().into_dispatch()),
        None => Residual::None,
    };
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::cosine_maps_blend(
        features.into_dispatch(),
        prototypes.into_dispatch(),
        maps[0].0.clone().into_dispatch(),
        second,
        [weight(0), weight(1)],
    ))
}

/// [`cosine_maps_blend`] composed of differentiable operations; `maps` are the two maps and their weights.
pub(crate) fn blend_by_product<B: MatchingBackend>(
    features: FloatTensor<B>,
    prototypes: FloatTensor<B>,
    (first, second, weights): (FloatTensor<B>, Residual<B>, [f32; 2]),
) -> FloatTensor<B> {
    first_and_others::<B>(features, prototypes, |features, prototype| {
        dense_of_blend::<B>(features, prototype, (first, second, weights))
    })
}

/// The cosine map of a blend with a prototype `[B, C]`, composed of differentiable operations.
pub(crate) fn dense_of_blend<B: MatchingBackend>(
    features: FloatTensor<B>,
    prototype: FloatTensor<B>,
    (first, second, weights): (FloatTensor<B>, Residual<B>, [f32; 2]),
) -> FloatTensor<B> {
    let [b, c] = dims(&prototype);
    let global = reshape::<B, 4>(prototype, [b, c, 1, 1]);
    let mut blend = B::float_add(scale::<B>(first, weights[0]), global);
    if let Residual::Add(map) = second {
        blend = B::float_add(blend, scale::<B>(map, weights[1]));
    }
    B::cosine_map_dense(features, blend)
}

/// The map that `blended` makes of the first prototype `[B, C]`, and behind it those of the others.
pub(crate) fn first_and_others<B: MatchingBackend>(
    features: FloatTensor<B>,
    prototypes: FloatTensor<B>,
    blended: impl FnOnce(FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>,
) -> FloatTensor<B> {
    let [b, k, c] = dims(&prototypes);
    let first = reshape::<B, 2>(narrow::<B>(prototypes.clone(), 1, 0, 1), [b, c]);
    let map = blended(features.clone(), first);
    if k == 1 {
        return map;
    }
    let others = B::cosine_maps(features, narrow::<B>(prototypes, 1, 1, k));
    B::float_cat(vec![map, others], 1)
}

/// [`cosine_maps`] composed of differentiable operations.
///
/// Only the prototypes are normalised as vectors; the features' norms divide the much smaller
/// product.
pub(crate) fn maps_by_product<B: Backend>(
    features: FloatTensor<B>,
    prototypes: FloatTensor<B>,
) -> FloatTensor<B> {
    let [b, c, h, w] = dims(&features);
    let [_, k, _] = dims(&prototypes);
    let features = reshape::<B, 3>(features, [b, c, h * w]);
    let lengths = norms::<B>(prototypes.clone(), 2, NORM_EPS);
    let directions = B::float_div(prototypes, lengths);
    let products = B::float_matmul(directions, features.clone());
    let cosines = B::float_div(products, norms::<B>(features, 1, NORM_EPS));
    reshape::<B, 4>(cosines, [b, k, h, w])
}

/// [`cosine_map_dense`] composed of differentiable operations.
pub(crate) fn dense_by_product<B: Backend>(
    features: FloatTensor<B>,
    prototype_map: FloatTensor<B>,
) -> FloatTensor<B> {
    let lengths = B::float_mul(
        norms::<B>(features.clone(), 1, NORM_EPS),
        norms::<B>(prototype_map.clone(), 1, NORM_EPS),
    );
    B::float_div(B::float_sum_dim(B::float_mul(features, prototype_map), 1), lengths)
}
