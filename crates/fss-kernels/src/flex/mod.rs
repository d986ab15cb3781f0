//! The CPU: kernels over plain slices, where they beat the composition of Burn's operations.
//!
//! All of them take contiguous float32. Other types, and what was measured to be as fast composed
//! (masked pooling, resizing of masks to feature size), stay with the default bodies.

mod adaptive;
mod adaptive_backward;
mod cosine;
mod exp;
mod product;
mod resize;
mod selection;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, flex::FlexTensor};
use burn::tensor::{DType, TensorData};

use crate::backend::MatchingBackend;
use crate::conv::{Activation, ConvGeometry, Residual, conv_by_steps};
use crate::cpu::{ConvShape, Epilogue, conv2d_nchw};
use crate::ops::dims;
use crate::resize::Corners;
use crate::self_support::{self as steps, SelfSupportConfig};

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

    fn self_support(
        features: FlexTensor,
        logits: FlexTensor,
        config: SelfSupportConfig,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [b, c, h, w] = dims(&features);
        match (float32(&features), float32(&logits)) {
            (Some(features), Some(logits)) if adaptive::takes(config.temperature) => {
                let tile = steps::tile_for(1, h * w);
                let found = selection::run(
                    values(&features),
                    values(&logits),
                    [b, c, h * w],
                    &config,
                    tile,
                );
                (
                    tensor(found.fg_prototype, [b, c]),
                    tensor(found.bg_prototype, [b, c]),
                    tensor(found.bg_adaptive, [b, c, h, w]),
                )
            }
            _ => steps::steps::<Self>(features, logits, config),
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
                    adaptive::prototypes(features, keys, &members, [c, n], temperature, tile)
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
}

/// The residual with contiguous values, if it is float32 or absent.
fn float32_residual(residual: &Residual<Flex>) -> Option<Option<FlexTensor>> {
    match residual {
        Residual::None => Some(None),
        Residual::Add(map) => float32(map).map(Some),
    }
}

/// The tensor with contiguous values, if it is float32.
fn float32(tensor: &FloatTensor<Flex>) -> Option<FlexTensor> {
    if tensor.dtype() != DType::F32 {
        return None;
    }
    Some(if tensor.is_contiguous() { tensor.clone() } else { tensor.to_contiguous() })
}

fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous float32 tensor")
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// The positions of a membership map that belong to the set.
fn member_indices(members: &[f32]) -> Vec<usize> {
    (0..members.len()).filter(|&i| members[i] > 0.5).collect()
}
