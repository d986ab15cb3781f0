//! Correlations of all pairs of positions.

use burn::backend::ops::{ActivationOps, FloatTensorOps};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{UNITS, by_type, cubes_for, output, ready};
use crate::ops::{dims, reshape};

/// `max(0, x)` with the second and third axis swapped: `[B, L, S, N] -> [B, S, L, N]`.
#[cube(launch_unchecked)]
fn relu_swapped_kernel<F: Float>(products: &Tensor<F>, cosines: &mut Tensor<F>) {
    let (supports, levels, positions) = (cosines.shape(1), cosines.shape(2), cosines.shape(3));
    let total = cosines.shape(0) * supports * levels * positions;
    if ABSOLUTE_POS < total {
        let position = ABSOLUTE_POS % positions;
        let level = ABSOLUTE_POS / positions % levels;
        let support = ABSOLUTE_POS / (positions * levels) % supports;
        let batch = ABSOLUTE_POS / (positions * levels * supports);
        let from = ((batch * levels + level) * supports + support) * positions + position;
        cosines[ABSOLUTE_POS] = products[from].max(F::from_int(0));
    }
}

/// `[B, L, C, h, w], [B, L, C, hs, ws] -> [B, hs · ws, L, h, w]`.
pub(super) fn correlation(query: CubeTensor, support: CubeTensor) -> CubeTensor {
    let [b, l, c, h, w] = dims(&query);
    let [.., hs, ws] = dims::<5>(&support);
    let (n, s) = (h * w, hs * ws);
    let query = reshape::<CubeBackend, 4>(query, [b, l, c, n]);
    let support = reshape::<CubeBackend, 4>(support, [b, l, c, s]);
    let products = CubeBackend::float_matmul(CubeBackend::float_swap_dims(support, 2, 3), query);
    let cosines = swapped(&products)
        .unwrap_or_else(|| CubeBackend::float_swap_dims(CubeBackend::relu(products), 1, 2));
    reshape::<CubeBackend, 5>(cosines, [b, s, l, h, w])
}

fn swapped(products: &CubeTensor) -> Option<CubeTensor> {
    let [b, l, s, n] = dims(products);
    let count = cubes_for(b * l * s * n)?;
    let [products] = ready([products])?;
    let cosines = output(&products, [b, s, l, n]);
    let client = products.client.clone();
    by_type!(
        products,
        relu_swapped_kernel,
        (
            &client,
            count,
            CubeDim::new_1d(UNITS),
            products.into_tensor_arg(),
            cosines.clone().into_tensor_arg(),
        )
    );
    Some(cosines)
}
