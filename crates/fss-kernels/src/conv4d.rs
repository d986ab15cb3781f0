//! Center-pivot 4D convolution (HSNet, section 3.2): two 2D convolutions instead of one over four axes, one
//! over the query axes at each kept support position, one over the support axes at each query position.
//!
//! Maps are *support first*, `[B, S, C, h, w]` (see [`crate::correlation()`]), S = rows x columns of the
//! support. The first part is then a 2D convolution of S images; the second a sum of whole images,
//! multiplied by a matrix each.

use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, Dispatch, TensorMetadata, get_or_init_device_settings, ops::ConvOptions,
};
use burn::tensor::{Tensor, TensorData};

use crate::backend::MatchingBackend;
use crate::correlation::{check_pair, correlation_by_product};
use crate::ops::{constant, dims, narrow, reshape};

/// What a center-pivot convolution does along the support axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PivotGeometry {
    /// Rows and columns of the support.
    pub support: [usize; 2],
    /// Step between kept support positions (at least 1). Along the query axes the step is 1.
    pub stride: usize,
}

impl PivotGeometry {
    /// Rows and columns of the support that are left: `ceil(n / stride)`.
    pub fn output(&self) -> [usize; 2] {
        self.support.map(|n| n.div_ceil(self.stride))
    }

    fn positions(&self) -> usize {
        self.support[0] * self.support[1]
    }
}

/// The trained tensors of a center-pivot convolution.
#[derive(Clone, Debug)]
pub struct PivotWeights {
    /// Kernel over the query axes, `[O, C, k, k]`, k odd.
    pub query: Tensor<4>,
    /// Kernel over the support axes, `[O, C, k, k]`, k odd.
    pub support: Tensor<4>,
    /// The sum of both biases, `[O]`.
    pub bias: Tensor<1>,
}

/// Center-pivot 4D convolution with zero padding `k / 2` on all four axes.
///
/// # Shapes
/// - `x`: `[B, S, C, h, w]` with S = rows x columns of `geometry.support`
/// - output: `[B, S', O, h, w]` with S' = rows x columns of [`PivotGeometry::output`]
///
/// # Panics
/// If shapes do not fit each other, or a kernel's side is even.
pub fn center_pivot_conv4d(
    x: Tensor<5>,
    weights: PivotWeights,
    geometry: PivotGeometry,
) -> Tensor<5> {
    let [_, s, c, ..] = x.dims();
    assert_eq!(s, geometry.positions(), "{s} support positions under {geometry:?}");
    check_weights(&weights, c, geometry);
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::center_pivot_conv4d(
        x.into_dispatch(),
        weights.query.into_dispatch(),
        weights.support.into_dispatch(),
        weights.bias.into_dispatch(),
        geometry,
    ))
}

/// [`center_pivot_conv4d`] of the [`correlation`](crate::correlation()) of a query and a support, which is
/// made some support rows at a time and never as a whole: at 400 pixels it has 25 million values.
///
/// # Shapes
/// - `query`: `[B, L, C, h, w]`, of [`unit_features`](crate::unit_features)
/// - `support`: `[B, L, C, hs, ws]`, of [`unit_features`](crate::unit_features)
/// - kernels: `[O, L, k, k]`
/// - output: `[B, S', O, h, w]`, see [`center_pivot_conv4d`]
///
/// # Panics
/// As [`center_pivot_conv4d`] and [`correlation`](crate::correlation()).
pub fn correlation_conv4d(
    query: Tensor<5>,
    support: Tensor<5>,
    weights: PivotWeights,
    stride: usize,
) -> Tensor<5> {
    check_pair(query.dims(), support.dims());
    let [_, levels, _, hs, ws] = support.dims();
    let geometry = PivotGeometry { support: [hs, ws], stride };
    check_weights(&weights, levels, geometry);
    Tensor::from_dispatch(<Dispatch as MatchingBackend>::correlation_conv4d(
        query.into_dispatch(),
        support.into_dispatch(),
        weights.query.into_dispatch(),
        weights.support.into_dispatch(),
        weights.bias.into_dispatch(),
        stride,
    ))
}

/// The form that a center-pivot convolution takes without padding along the support: the part over the
/// query axes is summed over all support positions, and the part over the support axes must leave a
/// single position. No published model reaches it; the published code has it.
///
/// # Shapes
/// - `x`: `[B, S, C, h, w]`
/// - `query_kernel`: `[O, C, k, k]`, k odd; `query_bias`: `[O]`, added at each support position
/// - `support_kernel`: `[O, C, hs, ws]` with S = hs · ws; `support_bias`: `[O]`
/// - output: `[B, O, h, w]`
///
/// # Panics
/// If shapes do not fit each other.
pub fn center_pivot_collapse(
    x: Tensor<5>,
    [query_kernel, support_kernel]: [Tensor<4>; 2],
    [query_bias, support_bias]: [Tensor<1>; 2],
) -> Tensor<4> {
    let [b, s, c, h, w] = x.dims();
    let [o, _, hs, ws] = support_kernel.dims();
    assert_eq!(s, hs * ws, "a {hs}x{ws} kernel leaves more than one of {s} support positions");
    let matrix = support_kernel.reshape([o, c, s]).swap_dims(1, 2).reshape([1, o, s * c]);
    let support = matrix.matmul(x.clone().reshape([b, s * c, h * w])).reshape([b, o, h, w]);
    // Summing commutes with the convolution; its bias then counts once for each position.
    let summed = x.sum_dim(1).reshape([b, c, h, w]);
    let padding = query_kernel.dims()[2] / 2;
    let options = ConvOptions::new([1, 1], [padding; 2], [1, 1], 1);
    let query = burn::tensor::module::conv2d(summed, query_kernel, None, options);
    let bias = query_bias * s as f32 + support_bias;
    query + support + bias.reshape([1, o, 1, 1])
}

fn check_weights(weights: &PivotWeights, channels: usize, geometry: PivotGeometry) {
    let (query, support, [bias]) =
        (weights.query.dims(), weights.support.dims(), weights.bias.dims());
    assert!(geometry.stride > 0, "the stride along the support starts at 1");
    for kernel in [query, support] {
        let [outputs, inputs, rows, columns] = kernel;
        assert!(
            outputs == bias && inputs == channels && rows == columns && rows % 2 == 1,
            "a center-pivot kernel {kernel:?} for {channels} channels and a bias of {bias}"
        );
    }
}

/// Values of a tensor that is made at a time: bounds memory, and what one launch on a GPU has to cover
/// (65,535 groups along an axis).
const CHUNK: usize = 1 << 24;

/// [`center_pivot_conv4d`] composed of differentiable operations.
pub(crate) fn pivot_by_steps<B: Backend>(
    x: FloatTensor<B>,
    query_kernel: FloatTensor<B>,
    support_kernel: FloatTensor<B>,
    bias: FloatTensor<B>,
    geometry: PivotGeometry,
) -> FloatTensor<B> {
    let rows = geometry.output()[0];
    let part = Part { geometry, held: 0..geometry.support[0], wanted: 0..rows };
    pivot_part::<B>(x, query_kernel, support_kernel, bias, &part)
}

/// [`correlation_conv4d`] composed of differentiable operations.
pub(crate) fn correlation_pivot_by_steps<B: Backend>(
    query: FloatTensor<B>,
    support: FloatTensor<B>,
    query_kernel: FloatTensor<B>,
    support_kernel: FloatTensor<B>,
    bias: FloatTensor<B>,
    stride: usize,
) -> FloatTensor<B> {
    let [b, levels, c, h, w] = dims(&query);
    let [.., hs, ws] = dims::<5>(&support);
    let [.., k] = dims::<4>(&support_kernel);
    let geometry = PivotGeometry { support: [hs, ws], stride };
    let rows = geometry.output()[0];
    let step = rows_at_a_time(b * ws * levels * h * w, stride, k);
    let parts = (0..rows).step_by(step).map(|first| {
        let wanted = first..(first + step).min(rows);
        let held = rows_needed(&wanted, stride, k, hs);
        let support = narrow::<B>(support.clone(), 3, held.start, held.end);
        let rows_held = held.len();
        let support = reshape::<B, 5>(support, [b, levels, c, rows_held, ws]);
        let correlation = correlation_by_product::<B>(query.clone(), support);
        let part = Part { geometry, held, wanted };
        pivot_part::<B>(
            correlation,
            query_kernel.clone(),
            support_kernel.clone(),
            bias.clone(),
            &part,
        )
    });
    join::<B>(parts.collect())
}

/// How many output rows to make at a time, if a support row has `row` values.
pub(crate) fn rows_at_a_time(row: usize, stride: usize, kernel: usize) -> usize {
    let held = (CHUNK / row.max(1)).saturating_sub(kernel - stride.min(kernel));
    (held / stride).max(1)
}

/// The support rows that some output rows are made of.
pub(crate) fn rows_needed(
    wanted: &Range<usize>,
    stride: usize,
    kernel: usize,
    rows: usize,
) -> Range<usize> {
    let reach = kernel / 2;
    let start = (wanted.start * stride).saturating_sub(reach);
    let end = ((wanted.end - 1) * stride + reach + 1).min(rows);
    start..end
}

/// Some rows of a convolution.
struct Part {
    geometry: PivotGeometry,
    /// The support rows that the input holds.
    held: Range<usize>,
    /// The output rows to be made.
    wanted: Range<usize>,
}

impl Part {
    /// For each output position: the input position `(dy, dx)` away from its own, as an index among
    /// those held, or nothing outside the support.
    fn sources(&self, dy: isize, dx: isize) -> impl Iterator<Item = Option<usize>> {
        let [rows, columns] = self.geometry.support;
        let across = self.geometry.output()[1];
        let (stride, first) = (self.geometry.stride as isize, self.held.start as isize);
        self.wanted.clone().flat_map(move |i| {
            (0..across).map(move |j| {
                let (y, x) = (i as isize * stride + dy, j as isize * stride + dx);
                let inside = (0..rows as isize).contains(&y) && (0..columns as isize).contains(&x);
                inside.then(|| ((y - first) * columns as isize + x) as usize)
            })
        })
    }
}

fn pivot_part<B: Backend>(
    x: FloatTensor<B>,
    query_kernel: FloatTensor<B>,
    support_kernel: FloatTensor<B>,
    bias: FloatTensor<B>,
    part: &Part,
) -> FloatTensor<B> {
    let [b, s, c, h, w] = dims(&x);
    let [o, _, k, _] = dims(&query_kernel);
    // Over the query axes, at the kept support positions.
    let kept: Vec<i64> = part.sources(0, 0).flatten().map(|i| i as i64).collect();
    let left = kept.len();
    let images = if left == s { x.clone() } else { select::<B>(x.clone(), kept) };
    let images = reshape::<B, 4>(images, [b * left, c, h, w]);
    let options = ConvOptions::new([1, 1], [k / 2; 2], [1, 1], 1);
    let over_query = B::conv2d(images, query_kernel, Some(bias), options);
    let over_query = reshape::<B, 4>(over_query, [b, left, o, h * w]);
    // Over the support axes: a zero image stands for what lies outside.
    let [.., k, _] = dims::<4>(&support_kernel);
    let n = h * w;
    let zeros = constant::<B, 3>(vec![0.0; b * c * n], [b, 1, c * n], &x);
    let images = B::float_cat(vec![reshape::<B, 3>(x, [b, s, c * n]), zeros], 1);
    let matrix = B::float_permute(support_kernel, &[0, 2, 3, 1]);
    let matrix = reshape::<B, 4>(matrix, [1, 1, o, k * k * c]);
    let reach = (k / 2) as isize;
    let offsets = || (-reach..=reach).flat_map(|dy| (-reach..=reach).map(move |dx| (dy, dx)));
    let by_offset: Vec<Vec<Option<usize>>> =
        offsets().map(|(dy, dx)| part.sources(dy, dx).collect()).collect();
    let step = (CHUNK / (b * k * k * c * n).max(1)).max(1);
    let parts = (0..left).step_by(step).map(|first| {
        let end = (first + step).min(left);
        let sources: Vec<i64> = (first..end)
            .flat_map(|position| by_offset.iter().map(move |o| o[position].unwrap_or(s) as i64))
            .collect();
        let gathered = select::<B>(images.clone(), sources);
        let gathered = reshape::<B, 4>(gathered, [b, end - first, k * k * c, n]);
        B::float_matmul(matrix.clone(), gathered)
    });
    let over_support = join::<B>(parts.collect());
    reshape::<B, 5>(B::float_add(over_query, over_support), [b, left, o, h, w])
}

/// Images by their index along axis 1.
fn select<B: Backend>(images: FloatTensor<B>, indices: Vec<i64>) -> FloatTensor<B> {
    let device = images.device();
    let count = indices.len();
    let indices = TensorData::new(indices, [count])
        .convert_dtype(get_or_init_device_settings::<B>(&device).int_dtype.into());
    B::float_select(images, 1, B::int_from_data(indices, &device))
}

fn join<B: Backend>(mut parts: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    if parts.len() == 1 { parts.remove(0) } else { B::float_cat(parts, 1) }
}
