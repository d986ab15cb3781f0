//! Pooling to a few values, and 3x3 convolution of such few values enlarged: products with small
//! matrices, differentiable on every back end.

use burn::tensor::{Device, Tensor, TensorData};
use fss_kernels::{Corners, bilinear_matrix};

/// Adaptive average pooling to square maps of several sides: bin i of s covers
/// `floor(i n / s) .. ceil((i + 1) n / s)` of n positions. The features are read once for all of them.
///
/// # Shapes
/// - x: `[B, C, h, w]`
/// - output: for each side s, `[B, C, s, s]`
pub(crate) fn pool(x: Tensor<4>, sides: &[usize]) -> Vec<Tensor<4>> {
    let [batch, channels, height, width] = x.dims();
    let device = x.device();
    let total: usize = sides.iter().sum();
    let columns: Vec<Vec<f32>> = sides.iter().flat_map(|&side| bins(width, side)).collect();
    // [w, total]
    let columns = (0..width).flat_map(|i| columns.iter().map(move |bin| bin[i])).collect();
    let columns = constant(columns, [width, total], &device);
    let narrow = x.reshape([batch * channels * height, width]).matmul(columns);
    let narrow = narrow.reshape([batch * channels, height, total]);
    let mut offset = 0;
    sides
        .iter()
        .map(|&side| {
            let rows = bins(height, side).concat();
            let rows = constant(rows, [side, height], &device).unsqueeze::<3>();
            let strip = narrow.clone().narrow(2, offset, side);
            offset += side;
            rows.matmul(strip).reshape([batch, channels, side, side])
        })
        .collect()
}

/// One row of weights over `length` positions for each bin.
fn bins(length: usize, side: usize) -> Vec<Vec<f32>> {
    (0..side)
        .map(|i| {
            let (start, end) = (i * length / side, ((i + 1) * length).div_ceil(side));
            let share = 1.0 / (end - start) as f32;
            (0..length).map(|n| if (start..end).contains(&n) { share } else { 0.0 }).collect()
        })
        .collect()
}

/// A 3x3 kernel as the matrix that [`convolve_enlarged`] multiplies by: `[O, C, 3, 3]` to
/// `[9 O, C]`, taps inside output channels.
pub(crate) fn tap_matrix(kernel: Tensor<4>) -> Tensor<2> {
    let [outputs, inputs, height, width] = kernel.dims();
    kernel.permute([0, 2, 3, 1]).reshape([outputs * height * width, inputs])
}

/// The sum over the maps of `conv3x3(resize(map))`, with bilinear resizing (half-pixel centres) to
/// `size` and one row of zeros around, without making any enlarged map.
///
/// Enlarging and shifting are linear and act along one axis at a time. So each value is multiplied by
/// the nine taps first, and the products are spread along columns, then rows.
///
/// # Shapes
/// - maps: each `[B, C, s, s]`, s of its own
/// - taps: for each map `[9 O, C]` ([`tap_matrix`])
/// - size: `[h, w]`
/// - output: `[B, O, h, w]`
pub(crate) fn convolve_enlarged(
    maps: Vec<Tensor<4>>,
    taps: Vec<Tensor<2>>,
    [height, width]: [usize; 2],
) -> Tensor<4> {
    let mut spread = Vec::with_capacity(maps.len());
    let mut rows = Vec::with_capacity(maps.len());
    for (map, taps) in maps.into_iter().zip(taps) {
        let [batch, channels, side, _] = map.dims();
        let device = map.device();
        let outputs = taps.dims()[0] / 9;
        let products = taps.unsqueeze::<3>().matmul(map.reshape([batch, channels, side * side]));
        // [B, O, tap y, tap x, y, x] to rows of (tap x, x) for each (tap y, y).
        let products = products
            .reshape([batch, outputs, 3, 3, side, side])
            .permute([0, 1, 2, 4, 3, 5])
            .reshape([batch * outputs * 3 * side, 3 * side]);
        let columns = constant(shifts(side, width), [3 * side, width], &device);
        spread.push(products.matmul(columns).reshape([batch, outputs, 3 * side, width]));
        rows.push(constant(shifts(side, height), [3 * side, height], &device));
    }
    let rows = Tensor::cat(rows, 0).transpose().unsqueeze::<4>();
    rows.matmul(Tensor::cat(spread, 2))
}

/// For each tap t of 3 and each of `side` values, its weight at each of `length` positions of the
/// enlarged and shifted axis: `[3 side, length]`.
fn shifts(side: usize, length: usize) -> Vec<f32> {
    let weights = bilinear_matrix(side, length, Corners::HalfPixel);
    let mut matrix = vec![0.0; 3 * side * length];
    for (i, row) in matrix.chunks_exact_mut(length).enumerate() {
        let (tap, value) = (i / side, i % side);
        for (n, weight) in row.iter_mut().enumerate() {
            // The tap looks at position n + tap - 1; outside lie zeros.
            if let Some(source) = (n + tap).checked_sub(1).filter(|source| *source < length) {
                *weight = weights[source * side + value];
            }
        }
    }
    matrix
}

/// A constant beside tensors on `device`, outside autodiff or inside as they are.
fn constant(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
