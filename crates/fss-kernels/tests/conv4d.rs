//! Correlations and center-pivot convolutions: masked supports, chunks, shapes at the edge.

mod common;

use burn::tensor::{Device, Tensor};
use common::{from_values, largest, random, tensor, test_device, values};
use fss_kernels::{
    PivotGeometry, PivotWeights, center_pivot_conv4d, correlation, correlation_conv4d,
    group_norm_relu, unit_features,
};
use proptest::prelude::*;

fn weights(outputs: usize, channels: usize, side: usize, device: &Device) -> PivotWeights {
    PivotWeights {
        query: tensor("query", [outputs, channels, side, side], 0.3, device),
        support: tensor("support", [outputs, channels, side, side], 0.3, device),
        bias: tensor("bias", [outputs], 1.0, device),
    }
}

/// `[1, L, C, h, w]` unit features whose positions `masked` are zero.
fn unit(
    name: &str,
    [levels, c, h, w]: [usize; 4],
    masked: impl Fn(usize) -> bool,
    device: &Device,
) -> Tensor<5> {
    let mut features = random(name, levels * c * h * w);
    for (i, value) in features.iter_mut().enumerate() {
        if masked(i % (h * w)) {
            *value = 0.0;
        }
    }
    let features = from_values(features, [levels, c, h, w], device);
    unit_features(features).unsqueeze_dim(0)
}

fn same(what: &str, got: Tensor<5>, want: Tensor<5>) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let (got, want) = (values(got), values(want));
    let limit = 1e-5 * largest(&want);
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= limit, "{what}: at {i} got {got}, want {want}");
    }
}

/// The tracked way, composed of Burn's operations.
fn composed(
    query: &Tensor<5>,
    support: &Tensor<5>,
    weights: &PivotWeights,
    stride: usize,
) -> Tensor<5> {
    let tracked = PivotWeights {
        query: weights.query.clone().autodiff().require_grad(),
        support: weights.support.clone().autodiff(),
        bias: weights.bias.clone().autodiff(),
    };
    let (query, support) = (query.clone().autodiff(), support.clone().autodiff());
    correlation_conv4d(query, support, tracked, stride).without_autodiff()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn fused_correlations_equal_those_made_apart(
        levels in 1usize..4,
        outputs in 1usize..20,
        sizes in prop::array::uniform4(1usize..9),
        stride in 1usize..5,
        wide in any::<bool>(),
        share in 0usize..4,
    ) {
        let device = test_device();
        let [h, w, hs, ws] = sizes;
        let masked = |i: usize| i % 4 < share;
        let query = unit("q", [levels, 7, h, w], |_| false, &device);
        let support = unit("s", [levels, 7, hs, ws], masked, &device);
        let weights = weights(outputs, levels, if wide { 5 } else { 3 }, &device);
        let fused = correlation_conv4d(query.clone(), support.clone(), weights.clone(), stride);
        let geometry = PivotGeometry { support: [hs, ws], stride };
        let maps = correlation(query.clone(), support.clone());
        let apart = center_pivot_conv4d(maps, weights.clone(), geometry);
        same("kernels", fused.clone(), apart);
        same("composed", composed(&query, &support, &weights, stride), fused);
    }

    #[test]
    fn convolutions_equal_composed_ones(
        channels in prop::sample::select(vec![1usize, 3, 16, 20]),
        outputs in prop::sample::select(vec![1usize, 5, 16, 24]),
        sizes in prop::array::uniform4(1usize..13),
        stride in 1usize..3,
    ) {
        let device = test_device();
        let [h, w, hs, ws] = sizes;
        let x = tensor("x", [2, hs * ws, channels, h, w], 1.0, &device);
        let weights = weights(outputs, channels, 3, &device);
        let geometry = PivotGeometry { support: [hs, ws], stride };
        let kernel = center_pivot_conv4d(x.clone(), weights.clone(), geometry);
        let tracked = PivotWeights {
            query: weights.query.autodiff().require_grad(),
            support: weights.support.autodiff(),
            bias: weights.bias.autodiff(),
        };
        let composed = center_pivot_conv4d(x.autodiff(), tracked, geometry);
        same("convolution", kernel, composed.without_autodiff());
    }

    #[test]
    fn norms_equal_composed_ones(s in 1usize..5, groups in 1usize..4, h in 1usize..7) {
        let device = test_device();
        let c = 2 * groups;
        let x = tensor("x", [2, s, c, h, 5], 3.0, &device) + 1.0;
        let [weight, bias] = ["weight", "bias"].map(|name| tensor(name, [c], 1.0, &device));
        let kernel = group_norm_relu(x.clone(), groups, weight.clone(), bias.clone());
        let weight = weight.autodiff().require_grad();
        let composed = group_norm_relu(x.autodiff(), groups, weight, bias.autodiff());
        same("norm", kernel, composed.without_autodiff());
    }
}

/// A level of a 400x400 image is made in several pieces by either way.
#[test]
fn pieces_join_without_a_seam() {
    let device = test_device();
    let query = unit("q", [6, 4, 50, 50], |_| false, &device);
    let support = unit("s", [6, 4, 50, 50], |_| false, &device);
    let weights = weights(4, 6, 5, &device);
    let fused = correlation_conv4d(query.clone(), support.clone(), weights.clone(), 4);
    assert_eq!(fused.dims(), [1, 13 * 13, 4, 50, 50]);
    let maps = correlation(query.clone(), support.clone());
    let geometry = PivotGeometry { support: [50, 50], stride: 4 };
    same("whole", center_pivot_conv4d(maps, weights.clone(), geometry), fused.clone());
    same("composed", composed(&query, &support, &weights, 4), fused);
}

#[test]
fn an_empty_support_leaves_the_bias() {
    let device = test_device();
    let query = unit("q", [2, 5, 4, 3], |_| false, &device);
    let support = unit("s", [2, 5, 6, 6], |_| true, &device);
    let weights = weights(3, 2, 3, &device);
    let bias = values(weights.bias.clone());
    let found = values(correlation_conv4d(query, support, weights, 2));
    for (i, value) in found.iter().enumerate() {
        assert_eq!(*value, bias[i / 12 % 3]);
    }
}

#[test]
fn a_zero_vector_has_gradient_zero() {
    let device = test_device().autodiff();
    let x = Tensor::<4>::zeros([1, 3, 2, 2], &device).require_grad();
    let gradient = x.grad(&unit_features(x.clone()).sum().backward()).unwrap();
    assert!(values(gradient).iter().all(|value| value.is_finite()));
    let unit = values(unit_features(x));
    assert!(unit.iter().all(|value| *value == 0.0));
}

#[test]
#[should_panic(expected = "a center-pivot kernel")]
fn even_kernels_are_refused() {
    let device = test_device();
    let x = tensor("x", [1, 4, 2, 3, 3], 1.0, &device);
    let geometry = PivotGeometry { support: [2, 2], stride: 1 };
    center_pivot_conv4d(x, weights(2, 2, 4, &device), geometry);
}
