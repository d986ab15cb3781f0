//! Decomposition of features along prototypes (POP, CVPR 2023, section 3.2).

use burn::tensor::Tensor;

/// Norms below this count as this.
const SMALLEST_NORM: f32 = 1e-12;

/// Features, decomposed along K prototypes.
#[derive(Debug, Clone)]
pub struct Decomposition {
    /// What lies along each prototype, `[B, K, C, N]`.
    pub along: Tensor<4>,
    /// The rest, `[B, C, N]`. It is orthogonal to the prototypes as far as they are to each other.
    pub residual: Tensor<3>,
}

/// Rows of length 1: `s = p / max(|p|, 1e-12)`. A zero row stays zero and has a zero gradient.
///
/// # Shapes
/// - prototypes and output: `[K, C]`
pub fn unit_prototypes(prototypes: Tensor<2>) -> Tensor<2> {
    // The bound is put on the sum of squares: the derivative of the root at 0 would be infinite.
    let squares = prototypes.clone().square().sum_dim(1);
    prototypes / squares.clamp_min(SMALLEST_NORM * SMALLEST_NORM).sqrt()
}

/// The scalar projection of every position on every prototype, `a_k(n) = s_k · F(:, n)`.
///
/// # Shapes
/// - features: `[B, C, N]`
/// - units: `[K, C]`, rows of length 1 ([`unit_prototypes`])
/// - output: `[B, K, N]`
///
/// # Panics
/// If the channels differ.
pub fn projections(features: Tensor<3>, units: Tensor<2>) -> Tensor<3> {
    units.unsqueeze::<3>().matmul(features)
}

/// The residual alone, `F - sum_k a_k s_k`, from [`projections`]: no map per prototype is made.
///
/// # Shapes
/// - features and output: `[B, C, N]`
/// - units: `[K, C]`; projections: `[B, K, N]`
///
/// # Panics
/// If the shapes do not fit.
pub fn residual(features: Tensor<3>, units: Tensor<2>, projections: Tensor<3>) -> Tensor<3> {
    features - units.transpose().unsqueeze::<3>().matmul(projections)
}

/// All maps of the decomposition: `fg_k = a_k s_k` for every prototype, and `F - sum_k fg_k`. Plain
/// sums, as published; nothing is orthogonalised. It holds K copies of the features: heads compute
/// with [`projections`] and [`residual`] instead.
///
/// # Shapes
/// - features: `[B, C, N]`
/// - prototypes: `[K, C]`, of any length
///
/// # Panics
/// If the channels differ.
pub fn orthogonal_decompose(features: Tensor<3>, prototypes: Tensor<2>) -> Decomposition {
    let units = unit_prototypes(prototypes);
    let [count, channels] = units.dims();
    let scalars = projections(features.clone(), units.clone());
    let along = scalars.unsqueeze_dim::<4>(2) * units.reshape([1, count, channels, 1]);
    let residual = features - along.clone().sum_dim(1).squeeze_dim::<3>(1);
    Decomposition { along, residual }
}
