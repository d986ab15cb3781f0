//! Cosine correlations between all positions of two feature maps, as HSNet correlates a query with a
//! support (ICCV 2021, section 3.1).
//!
//! Correlations are kept *support first*: `[B, S, L, h, w]` has for each of the S support positions (row by
//! row) and each of L feature levels one map over the query. Every convolution over them then works on
//! whole query maps.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch};
use burn::tensor::Tensor;

use crate::backend::MatchingBackend;
use crate::ops::{dims, norms, reshape};

/// Added to the norm of a feature vector before it divides.
pub(crate) const UNIT_EPS: f32 = 1e-5;

/// Norms below this count as this much; it only keeps the gradient of a zero vector finite (zero).
const LEAST_NORM: f64 = 1e-15;

/// Divides the feature vector of each position by its L2 norm plus 1e-5.
///
/// A zero vector stays zero, and has gradient zero.
///
/// # Shapes
/// - `features`: `[B, C, h, w]`
/// - output: `[B, C, h, w]`
pub fn unit_features(features: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::unit_features(features.into_dispatch()))
}

/// `max(0, cos)` of every query position with every support position.
///
/// # Shapes
/// - `query`: `[B, L, C, h, w]`, of [`unit_features`]
/// - `support`: `[B, L, C, hs, ws]`, of [`unit_features`]
/// - output: `[B, hs · ws, L, h, w]`
///
/// # Panics
/// If batch, levels or channels differ.
pub fn correlation(query: Tensor<5>, support: Tensor<5>) -> Tensor<5> {
    check_pair(query.dims(), support.dims());
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::correlation(
        query.into_dispatch(),
        support.into_dispatch(),
    ))
}

pub(crate) fn check_pair(query: [usize; 5], support: [usize; 5]) {
    assert_eq!(
        query[..3],
        support[..3],
        "a correlation needs query {query:?} and support {support:?} of equal batch, levels and channels"
    );
}

/// [`unit_features`] composed of differentiable operations.
pub(crate) fn unit_by_steps<B: Backend>(features: FloatTensor<B>) -> FloatTensor<B> {
    let lengths = norms::<B>(features.clone(), 1, LEAST_NORM);
    let lengths = B::float_add_scalar(lengths, burn::backend::Scalar::Float(f64::from(UNIT_EPS)));
    B::float_div(features, lengths)
}

/// [`correlation`] composed of differentiable operations.
pub(crate) fn correlation_by_product<B: Backend>(
    query: FloatTensor<B>,
    support: FloatTensor<B>,
) -> FloatTensor<B> {
    let [b, l, c, h, w] = dims(&query);
    let [.., hs, ws] = dims::<5>(&support);
    let query = reshape::<B, 4>(query, [b, l, c, h * w]);
    let support = B::float_swap_dims(reshape::<B, 4>(support, [b, l, c, hs * ws]), 2, 3);
    let cosines = B::relu(B::float_matmul(support, query));
    reshape::<B, 5>(B::float_swap_dims(cosines, 1, 2), [b, hs * ws, l, h, w])
}
