//! From Burn's tensors to slices and back.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, flex::FlexTensor};
use burn::tensor::{DType, TensorData};

use super::enlarged::Enlarged;
use super::{adaptive, conv4d, pairs, selection};
use crate::conv::{ConvGeometry, Residual};
use crate::cpu::{ConvShape, Pooling, pool2d};
use crate::ops::dims;
use crate::self_support::SelfSupportConfig;

/// Contiguous logits and labels as the kernels take them.
pub(super) fn enlarged_operands<'a>(
    logits: &'a FlexTensor,
    labels: &'a FlexTensor,
    ignore: f32,
) -> Enlarged<'a> {
    let ([_, classes, h, w], [_, height, width]) = (dims(logits), dims(labels));
    Enlarged {
        logits: values(logits),
        shape: [classes, h, w],
        labels: values(labels),
        size: [height, width],
        ignore,
    }
}

/// Each channel of a contiguous float32 map, pooled over square windows.
pub(super) fn pooled(
    x: &FlexTensor,
    kernel: usize,
    geometry: ConvGeometry,
    pooling: Pooling,
) -> FlexTensor {
    let input: [usize; 4] = dims(x);
    let shape = ConvShape { input, weight: [input[1], 1, kernel, kernel], geometry };
    tensor(pool2d(values(x), &shape, pooling), shape.output_dims())
}

/// The kernels of a center-pivot convolution.
pub(super) fn kernels<'a>(
    query: &'a FlexTensor,
    support: &'a FlexTensor,
    bias: &'a FlexTensor,
) -> conv4d::Kernels<'a> {
    conv4d::Kernels {
        query: values(query),
        query_side: dims::<4>(query)[3],
        support: values(support),
        support_side: dims::<4>(support)[3],
        bias: values(bias),
    }
}

/// The results of all samples, without a copy if there is only one.
pub(super) fn join(mut samples: Vec<Vec<f32>>) -> Vec<f32> {
    if samples.len() == 1 { samples.remove(0) } else { samples.concat() }
}

/// The self-support step for all ways, if these kernels take the inputs.
pub(super) fn found(
    features: &FlexTensor,
    logits: &FlexTensor,
    ways: usize,
    config: &SelfSupportConfig,
) -> Option<selection::Found> {
    let [b, c, h, w] = dims(features);
    let (features, logits) = (float32(features)?, float32(logits)?);
    if !adaptive::takes(config.temperature) {
        return None;
    }
    let (features, logits) = (values(&features), values(&logits));
    Some(selection::run(features, logits, [b, c, h * w], ways, config))
}

/// The residual with contiguous values, if it is float32 or absent.
pub(super) fn float32_residual(residual: &Residual<Flex>) -> Option<Option<FlexTensor>> {
    match residual {
        Residual::None => Some(None),
        Residual::Add(map) => float32(map).map(Some),
    }
}

/// The tensor with contiguous values, if it is float32.
pub(super) fn float32(tensor: &FloatTensor<Flex>) -> Option<FlexTensor> {
    if tensor.dtype() != DType::F32 {
        return None;
    }
    Some(if tensor.is_contiguous() { tensor.clone() } else { tensor.to_contiguous() })
}

pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous float32 tensor")
}

pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// The positions of a membership map that belong to the set.
pub(super) fn member_indices(members: &[f32]) -> Vec<usize> {
    (0..members.len()).filter(|&i| members[i] > 0.5).collect()
}

/// The step with the weights of all pairs at hand, if these kernels take the inputs; see
/// [`among`](pairs::among).
pub(super) fn among(
    [features, weights, members, sums, logits]: [&FlexTensor; 5],
    config: &SelfSupportConfig,
) -> Option<[FlexTensor; 5]> {
    let [b, c, h, w] = dims(features);
    let n = h * w;
    let [features, weights, members, sums, logits] = [
        float32(features)?,
        float32(weights)?,
        float32(members)?,
        float32(sums)?,
        float32(logits)?,
    ];
    if b * c * n == 0 {
        return None;
    }
    let mut parts: [Vec<Vec<f32>>; 5] = Default::default();
    for sample in 0..b {
        let found = pairs::among(
            part(&features, sample, c * n),
            part(&weights, sample, n * n),
            (part(&members, sample, n), part(&sums, sample, (c + 1) * n)),
            part(&logits, sample, 2 * n),
            [c, n],
            config,
        );
        let pairs::Among { fg_prototype, bg_prototype, bg_adaptive, members, sums } = found;
        let found = [fg_prototype, bg_prototype, bg_adaptive, members, sums];
        parts.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
    }
    let [fg, bg, adaptive, members, sums] = parts.map(join);
    Some([
        tensor(fg, [b, c]),
        tensor(bg, [b, c]),
        tensor(adaptive, [b, c, h, w]),
        tensor(members, [b, 1, n]),
        tensor(sums, [b, c + 1, n]),
    ])
}

/// A sample of so many values.
fn part(tensor: &FlexTensor, sample: usize, length: usize) -> &[f32] {
    &values(tensor)[sample * length..][..length]
}
