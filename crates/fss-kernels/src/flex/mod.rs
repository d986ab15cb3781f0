//! The CPU: kernels over plain slices, where they beat the composition of Burn's operations.
//!
//! All of them take contiguous float32. Other types, and what was measured to be as fast composed
//! (masked pooling, resizing of masks to feature size), stay with the default bodies.

mod adaptive;
mod adaptive_backward;
mod conv4d;
mod conv_grad;
mod cosine;
mod enlarged;
mod group_norm;
mod operands;
mod pairs;
mod product;
mod resize;
mod selection;
mod several;
mod unit;

use burn::backend::ops::ModuleOps;
use burn::backend::{Flex, flex::FlexTensor};

use crate::backend::MatchingBackend;
use crate::conv::{Activation, ConvGeometry, Residual, conv_by_steps};
use crate::conv4d::PivotGeometry;
use crate::cpu::{ConvShape, Epilogue, Pooling, conv2d_nchw};
use crate::ops::dims;
use crate::resize::Corners;
use crate::self_support::{self as steps, SelfSupportConfig};
use operands::{
    among, enlarged_operands, float32, float32_residual, found, join, kernels, member_indices,
    pooled, tensor, values,
};

impl MatchingBackend for Flex {
    fn resize_bilinear(x: FlexTensor, size: [usize; 2], corners: Corners) -> FlexTensor {
        let [b, c, h, w] = dims(&x);
        if [h, w] == size {
            return x;
        }
        let Some(x) = float32(&x) else {
            return crate::resize::bilinear_by_products::<Self>(x, size, corners);
        };
        tensor(resize::bilinear(values(&x), [h, w], size, corners), [b, c, size[0], size[1]])
    }

    fn resize_nearest(x: FlexTensor, size: [usize; 2]) -> FlexTensor {
        let [b, c, h, w] = dims(&x);
        if [h, w] == size {
            return x;
        }
        let Some(x) = float32(&x) else {
            return crate::resize::nearest_by_select::<Self>(x, size);
        };
        tensor(resize::nearest(values(&x), [h, w], size), [b, c, size[0], size[1]])
    }

    fn cosine_maps(features: FlexTensor, prototypes: FlexTensor) -> FlexTensor {
        let [b, c, h, w] = dims(&features);
        let [_, k, _] = dims(&prototypes);
        match (float32(&features), float32(&prototypes)) {
            (Some(features), Some(prototypes)) if k <= cosine::MAX_PROTOTYPES => {
                let shape = cosine::MapShape { batch: b, channels: c, positions: h * w };
                let maps = cosine::maps(values(&features), values(&prototypes), k, shape);
                tensor(maps, [b, k, h, w])
            }
            _ => crate::cosine::maps_by_product::<Self>(features, prototypes),
        }
    }

    fn cosine_map_dense(features: FlexTensor, prototype_map: FlexTensor) -> FlexTensor {
        let [b, c, h, w] = dims(&features);
        match (float32(&features), float32(&prototype_map)) {
            (Some(features), Some(prototypes)) => {
                let shape = cosine::MapShape { batch: b, channels: c, positions: h * w };
                let map = cosine::dense(values(&features), values(&prototypes), shape);
                tensor(map, [b, 1, h, w])
            }
            _ => crate::cosine::dense_by_product::<Self>(features, prototype_map),
        }
    }

    fn cosine_maps_blend(
        features: FlexTensor,
        prototypes: FlexTensor,
        map: FlexTensor,
        second: Residual<Self>,
        weights: [f32; 2],
    ) -> FlexTensor {
        let [b, c, h, w] = dims(&features);
        let [_, k, _] = dims(&prototypes);
        let few = (k <= cosine::MAX_PROTOTYPES).then(|| float32(&prototypes)).flatten();
        let inputs = (float32(&features), few, float32(&map), float32_residual(&second));
        let (Some(own), Some(few), Some(first), Some(other)) = inputs else {
            let weighted = (map, second, weights);
            return crate::cosine::blend_by_product::<Self>(features, prototypes, weighted);
        };
        let shape = cosine::MapShape { batch: b, channels: c, positions: h * w };
        let other = other.as_ref().map(|map| (values(map), weights[1]));
        let maps = ((values(&first), weights[0]), other);
        tensor(cosine::blend(values(&own), (values(&few), k), maps, shape), [b, k, h, w])
    }

    fn self_support(
        features: FlexTensor,
        logits: FlexTensor,
        config: SelfSupportConfig,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [b, c, h, w] = dims(&features);
        match found(&features, &logits, 1, &config) {
            Some(found) => (
                tensor(found.fg_prototype, [b, c]),
                tensor(found.bg_prototype, [b, c]),
                tensor(found.bg_adaptive, [b, c, h, w]),
            ),
            None => steps::steps::<Self>(features, logits, config),
        }
    }

    fn self_support_ways(
        features: FlexTensor,
        logits: FlexTensor,
        config: SelfSupportConfig,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [b, c, h, w] = dims(&features);
        let [_, ways, ..] = dims::<5>(&logits);
        match found(&features, &logits, ways, &config) {
            Some(found) => (
                tensor(found.fg_prototype, [b, ways, c]),
                tensor(found.bg_prototype, [b, ways, c]),
                tensor(found.bg_adaptive, [b, ways, c, h, w]),
            ),
            None => steps::each_way::<Self>(features, logits, config),
        }
    }

    fn query_pairs(features: FlexTensor, temperature: f32) -> (FlexTensor, FlexTensor) {
        let [b, c, h, w] = dims(&features);
        match float32(&features) {
            Some(features) if b * c * h * w > 0 => {
                let [weights, sums] = pairs::weigh(values(&features), [b, c, h * w], temperature);
                (tensor(weights, [b, h * w, h * w]), tensor(sums, [b, c + 1, h * w]))
            }
            _ => crate::pairs::weigh_by_steps::<Self>(features, temperature),
        }
    }

    fn self_support_among(
        features: FlexTensor,
        weights: FlexTensor,
        members: FlexTensor,
        sums: FlexTensor,
        logits: FlexTensor,
        config: SelfSupportConfig,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        match among([&features, &weights, &members, &sums, &logits], &config) {
            Some([fg, bg, adaptive, members, sums]) => (fg, bg, adaptive, members, sums),
            None => crate::pairs::among_by_steps::<Self>(features, weights, logits, config),
        }
    }

    fn adaptive_prototype(
        features: FlexTensor,
        unit: FlexTensor,
        members: FlexTensor,
        temperature: f32,
        tile: usize,
    ) -> FlexTensor {
        let [b, c, n] = dims(&features);
        match (float32(&features), float32(&unit), float32(&members)) {
            (Some(features), Some(unit), Some(members)) if adaptive::takes(temperature) => {
                let samples = (0..b).flat_map(|sample| {
                    let range = sample * c * n..(sample + 1) * c * n;
                    let features = &values(&features)[range.clone()];
                    let keys = adaptive::Keys::unit(&values(&unit)[range]);
                    let members = member_indices(&values(&members)[sample * n..(sample + 1) * n]);
                    adaptive::prototypes(features, keys, &members, [c, n], temperature)
                });
                tensor(samples.collect(), [b, c, n])
            }
            _ => steps::adaptive_by_tiles::<Self>(features, unit, members, temperature, tile),
        }
    }

    fn adaptive_prototype_backward(
        features: FlexTensor,
        unit: FlexTensor,
        members: FlexTensor,
        grad: FlexTensor,
        temperature: f32,
        tile: usize,
    ) -> (FlexTensor, FlexTensor) {
        let [b, c, n] = dims(&features);
        let inputs = (float32(&features), float32(&unit), float32(&members), float32(&grad));
        match inputs {
            (Some(features), Some(unit), Some(members), Some(grad))
                if adaptive::takes(temperature) =>
            {
                let mut grads = (Vec::with_capacity(b * c * n), Vec::with_capacity(b * c * n));
                for sample in 0..b {
                    let range = sample * c * n..(sample + 1) * c * n;
                    let (for_features, for_unit) = adaptive_backward::gradients(
                        &values(&features)[range.clone()],
                        &values(&unit)[range.clone()],
                        &member_indices(&values(&members)[sample * n..(sample + 1) * n]),
                        &values(&grad)[range],
                        [c, n],
                        temperature,
                        tile,
                    );
                    grads.0.extend(for_features);
                    grads.1.extend(for_unit);
                }
                (tensor(grads.0, [b, c, n]), tensor(grads.1, [b, c, n]))
            }
            _ => steps::adaptive_backward_by_tiles::<Self>(
                features,
                unit,
                members,
                grad,
                temperature,
                tile,
            ),
        }
    }

    fn conv2d_fused(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        residual: Residual<Self>,
        geometry: ConvGeometry,
        activation: Activation,
    ) -> FlexTensor {
        let inputs = (float32(&x), float32(&weight), float32(&bias), float32_residual(&residual));
        let (Some(input), Some(kernel), Some(offsets), Some(shortcut)) = inputs else {
            return conv_by_steps::<Self>(x, weight, bias, residual, geometry, activation);
        };
        let shape = ConvShape { input: dims(&x), weight: dims(&weight), geometry };
        let epilogue = Epilogue {
            bias: values(&offsets),
            residual: shortcut.as_ref().map(values),
            activation,
        };
        let (output, shape) = conv2d_nchw(values(&input), values(&kernel), &shape, epilogue);
        tensor(output, shape)
    }

    fn conv2d_input_grad(
        x: FlexTensor,
        weight: FlexTensor,
        grad: FlexTensor,
        geometry: ConvGeometry,
    ) -> FlexTensor {
        let shape = ConvShape { input: dims(&x), weight: dims(&weight), geometry };
        match (float32(&weight), float32(&grad)) {
            (Some(weight), Some(grad)) => {
                let found = conv_grad::for_input(values(&grad), values(&weight), &shape);
                tensor(found, shape.input)
            }
            _ => Self::conv2d_x_backward(x, weight, grad, geometry.options()),
        }
    }

    fn conv2d_weight_grad(
        x: FlexTensor,
        weight: FlexTensor,
        grad: FlexTensor,
        geometry: ConvGeometry,
    ) -> FlexTensor {
        let shape = ConvShape { input: dims(&x), weight: dims(&weight), geometry };
        match (float32(&x), float32(&grad)) {
            (Some(x), Some(grad)) => {
                let found = conv_grad::for_weight(values(&x), values(&grad), &shape);
                tensor(found, shape.weight)
            }
            _ => Self::conv2d_weight_backward(x, weight, grad, geometry.options()),
        }
    }

    fn max_pool2d(x: FlexTensor, kernel: usize, stride: usize, padding: usize) -> FlexTensor {
        let geometry = ConvGeometry { stride, padding, dilation: 1 };
        match float32(&x) {
            Some(x) => pooled(&x, kernel, geometry, Pooling::Max),
            None => crate::pool::max_by_burn::<Self>(x, kernel, stride, padding),
        }
    }

    fn avg_pool2d(x: FlexTensor, kernel: usize, stride: usize) -> FlexTensor {
        let geometry = ConvGeometry { stride, ..ConvGeometry::POINTWISE };
        match float32(&x) {
            Some(x) => pooled(&x, kernel, geometry, Pooling::Mean),
            None => crate::pool::avg_by_burn::<Self>(x, kernel, stride),
        }
    }

    fn unit_features(features: FlexTensor) -> FlexTensor {
        let [b, c, h, w] = dims(&features);
        match float32(&features) {
            Some(features) if b * c * h * w > 0 => {
                let shape = cosine::MapShape { batch: b, channels: c, positions: h * w };
                tensor(unit::unit(values(&features), shape), [b, c, h, w])
            }
            _ => crate::correlation::unit_by_steps::<Self>(features),
        }
    }

    fn correlation(query: FlexTensor, support: FlexTensor) -> FlexTensor {
        let [b, l, c, h, w] = dims(&query);
        let [.., hs, ws] = dims::<5>(&support);
        let (Some(q), Some(k)) = (float32(&query), float32(&support)) else {
            return crate::correlation::correlation_by_product::<Self>(query, support);
        };
        let (n, s) = (h * w, hs * ws);
        let samples = values(&q).chunks_exact(l * c * n).zip(values(&k).chunks_exact(l * c * s));
        let maps = samples.map(|(q, k)| conv4d::correlate(q, k, [l, c, n], s)).collect();
        tensor(join(maps), [b, s, l, h, w])
    }

    fn center_pivot_conv4d(
        x: FlexTensor,
        query_kernel: FlexTensor,
        support_kernel: FlexTensor,
        bias: FlexTensor,
        geometry: PivotGeometry,
    ) -> FlexTensor {
        let [b, s, c, h, w] = dims(&x);
        let operands =
            (float32(&x), float32(&query_kernel), float32(&support_kernel), float32(&bias));
        let (Some(input), Some(query), Some(support), Some(offsets)) = operands else {
            return crate::conv4d::pivot_by_steps::<Self>(
                x,
                query_kernel,
                support_kernel,
                bias,
                geometry,
            );
        };
        let kernels = kernels(&query, &support, &offsets);
        let samples = values(&input).chunks_exact(s * c * h * w);
        let parts: Vec<Vec<f32>> =
            samples.map(|x| conv4d::pivot(x, [c, h, w], kernels, geometry)).collect();
        let [rows, columns] = geometry.output();
        tensor(join(parts), [b, rows * columns, kernels.bias.len(), h, w])
    }

    fn correlation_conv4d(
        query: FlexTensor,
        support: FlexTensor,
        query_kernel: FlexTensor,
        support_kernel: FlexTensor,
        bias: FlexTensor,
        stride: usize,
    ) -> FlexTensor {
        let [b, l, c, h, w] = dims(&query);
        let [.., hs, ws] = dims::<5>(&support);
        let operands = (
            float32(&query),
            float32(&support),
            float32(&query_kernel),
            float32(&support_kernel),
            float32(&bias),
        );
        let (Some(q), Some(k), Some(over_query), Some(over_support), Some(offsets)) = operands
        else {
            return crate::conv4d::correlation_pivot_by_steps::<Self>(
                query,
                support,
                query_kernel,
                support_kernel,
                bias,
                stride,
            );
        };
        let geometry = PivotGeometry { support: [hs, ws], stride };
        let kernels = kernels(&over_query, &over_support, &offsets);
        let (n, s) = (h * w, hs * ws);
        let samples = values(&q).chunks_exact(l * c * n).zip(values(&k).chunks_exact(l * c * s));
        let parts: Vec<Vec<f32>> = samples
            .map(|(q, k)| conv4d::correlate_and_pivot(q, k, [l, c], [h, w], kernels, geometry))
            .collect();
        let [rows, columns] = geometry.output();
        tensor(join(parts), [b, rows * columns, kernels.bias.len(), h, w])
    }

    fn group_norm_relu(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        groups: usize,
    ) -> FlexTensor {
        let [b, s, c, h, w] = dims(&x);
        match (float32(&x), float32(&weight), float32(&bias)) {
            (Some(x), Some(weight), Some(bias)) if b * s * c * h * w > 0 => {
                let affine = [values(&weight), values(&bias)];
                let normed = group_norm::norm_relu(values(&x), [s, c, h * w], affine, groups);
                tensor(normed, [b, s, c, h, w])
            }
            _ => crate::group_norm::norm_by_steps::<Self>(x, weight, bias, groups),
        }
    }

    fn enlarged_cross_entropy(
        logits: FlexTensor,
        labels: FlexTensor,
        ignore: f32,
        corners: Corners,
    ) -> FlexTensor {
        match (float32(&logits), float32(&labels)) {
            (Some(logits), Some(labels)) => {
                let sum = enlarged_operands(&logits, &labels, ignore).sum(corners);
                tensor(vec![sum], [1])
            }
            _ => crate::enlarged::sum_by_steps::<Self>(logits, labels, ignore, corners),
        }
    }

    fn enlarged_argmax(
        logits: FlexTensor,
        size: [usize; 2],
        window: [usize; 2],
        corners: Corners,
    ) -> FlexTensor {
        let [b, k, h, w] = dims(&logits);
        match float32(&logits) {
            Some(logits) => {
                let labels = enlarged::argmax(values(&logits), [k, h, w], size, window, corners);
                tensor(labels, [b, window[0], window[1]])
            }
            None => crate::enlarged::argmax_by_steps::<Self>(logits, size, window, corners),
        }
    }

    fn enlarged_cross_entropy_backward(
        logits: FlexTensor,
        labels: FlexTensor,
        ignore: f32,
        corners: Corners,
    ) -> FlexTensor {
        match (float32(&logits), float32(&labels)) {
            (Some(logits), Some(labels)) => {
                let gradient = enlarged_operands(&logits, &labels, ignore).backward(corners);
                tensor(gradient, dims::<4>(&logits))
            }
            _ => crate::enlarged::backward_by_steps::<Self>(logits, labels, ignore, corners),
        }
    }
}
