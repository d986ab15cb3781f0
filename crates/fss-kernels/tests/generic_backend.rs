//! Code that is itself generic over its back end runs the kernels on each of them.
#![cfg(feature = "flex")]

mod common;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{Device, FloatTensor};
use burn::backend::{Autodiff, AutodiffBackend, Flex};
use burn::tensor::{TensorData, read_sync};
use common::random;
use fss_kernels::{
    Activation, ConvGeometry, Corners, MatchingBackend, SelfSupportConfig, primitive,
};
use fss_support::golden::assert_close;

fn load<B: MatchingBackend, const D: usize>(
    name: &str,
    shape: [usize; D],
    device: &Device<B>,
) -> FloatTensor<B> {
    B::float_from_data(TensorData::new(random(name, shape.iter().product()), shape), device)
}

fn read<B: MatchingBackend>(tensor: FloatTensor<B>) -> Vec<f32> {
    read_sync(B::float_into_data(tensor))
        .expect("the values can be read")
        .try_to_vec()
        .expect("float32 values")
}

/// What every kernel makes of the same inputs.
fn run_all<B: MatchingBackend>(
    features: FloatTensor<B>,
    device: &Device<B>,
) -> Vec<FloatTensor<B>> {
    let mask = || load::<B, 4>("mask", [2, 1, 11, 9], device);
    let logits = load::<B, 4>("logits", [2, 2, 4, 5], device);
    let (fg, bg, adaptive) =
        primitive::self_support::<B>(features.clone(), logits, SelfSupportConfig::default());
    let others = || load::<B, 4>("others", [2, 6, 4, 5], device);
    let logits = load::<B, 5>("logits of ways", [2, 3, 2, 4, 5], device);
    let config = SelfSupportConfig::default();
    let (fgs, bgs, adaptives) = primitive::self_support_ways::<B>(features.clone(), logits, config);
    vec![
        primitive::resize_bilinear::<B>(features.clone(), [7, 3], Corners::Aligned),
        primitive::resize_bilinear::<B>(features.clone(), [3, 9], Corners::HalfPixel),
        primitive::resize_nearest::<B>(features.clone(), [7, 3]),
        primitive::masked_average_pool::<B>(features.clone(), mask()),
        primitive::masked_average_pool_at_mask_size::<B>(features.clone(), mask()),
        primitive::cosine_maps::<B>(features.clone(), load::<B, 3>("p", [2, 3, 6], device)),
        primitive::cosine_map_dense::<B>(features.clone(), others()),
        primitive::cosine_maps_blend::<B>(
            features.clone(),
            load::<B, 3>("p", [2, 3, 6], device),
            others(),
            Some(load::<B, 4>("more", [2, 6, 4, 5], device)),
            [0.7, -0.2],
        ),
        primitive::max_pool2d::<B>(features.clone(), 3, 2, 1),
        primitive::avg_pool2d::<B>(features.clone(), 2, 2),
        primitive::enlarged_cross_entropy::<B>(
            features.clone(),
            B::float_round(B::float_abs(load::<B, 3>("labels", [2, 11, 9], device))),
            255.0,
            Corners::Aligned,
        ),
        fg,
        bg,
        adaptive,
        fgs,
        bgs,
        adaptives,
        primitive::conv2d_fused::<B>(
            features,
            load::<B, 4>("weight", [6, 6, 3, 3], device),
            load::<B, 1>("bias", [6], device),
            Some(load::<B, 4>("residual", [2, 6, 4, 5], device)),
            ConvGeometry { stride: 1, padding: 1, dilation: 1 },
            Activation::Relu,
        ),
    ]
}

/// The gradient of the sum of each kernel's output.
fn gradients<B: AutodiffBackend + MatchingBackend>(device: &Device<B>) -> Vec<Vec<f32>> {
    let count = run_all::<B>(load::<B, 4>("features", [2, 6, 4, 5], device), device).len();
    (0..count)
        .map(|kernel| {
            let leaf = load::<B, 4>("features", [2, 6, 4, 5], device);
            let leaf = B::float_set_require_grad(leaf, true);
            let output = run_all::<B>(leaf.clone(), device).swap_remove(kernel);
            let grads = B::backward(B::float_sum(output));
            let grad = B::grad(&leaf, &grads).expect("a gradient");
            read_sync(B::InnerBackend::float_into_data(grad))
                .expect("the values can be read")
                .try_to_vec()
                .expect("float32 values")
        })
        .collect()
}

#[test]
fn kernels_run_on_flex_and_on_autodiff() {
    let device = Default::default();
    let plain = run_all::<Flex>(load::<Flex, 4>("features", [2, 6, 4, 5], &device), &device);
    let plain: Vec<_> = plain.into_iter().map(read::<Flex>).collect();

    type Tracking = Autodiff<Flex>;
    let leaf = load::<Tracking, 4>("features", [2, 6, 4, 5], &device);
    let untracked = run_all::<Tracking>(leaf.clone(), &device);
    let tracked = run_all::<Tracking>(leaf.require_grad(), &device);
    assert!(untracked.iter().all(|output| !output.is_tracked()));
    assert!(tracked.iter().all(|output| output.is_tracked()));
    for (kernel, (plain, outputs)) in
        plain.iter().zip(untracked.into_iter().zip(tracked)).enumerate()
    {
        let what = format!("kernel {kernel}");
        assert_close(&what, &read::<Tracking>(outputs.0), plain, 0.0);
        assert_close(&what, &read::<Tracking>(outputs.1), plain, 1e-5);
    }
}

#[test]
fn every_kernel_passes_a_gradient_to_its_features() {
    for (kernel, grad) in gradients::<Autodiff<Flex>>(&Default::default()).iter().enumerate() {
        assert!(grad.iter().all(|v| v.is_finite()), "kernel {kernel}: {grad:?}");
        assert!(grad.iter().any(|v| *v != 0.0), "kernel {kernel} has no gradient");
    }
}
