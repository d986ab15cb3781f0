//! What holds for every input: resizing, pooling, cosine maps and the fused convolution.

mod common;

use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use common::{from_values, largest, random, tensor, test_device, values};
use fss_kernels::{
    Activation, ConvGeometry, Corners, avg_pool2d, conv2d_fused, cosine_map_dense, cosine_maps,
    cosine_maps_blend, masked_average_pool, masked_average_pool_at_mask_size, max_pool2d,
    nearest_indices, resize_bilinear, resize_nearest,
};
use fss_support::golden::assert_close;
use proptest::prelude::*;

fn corners() -> impl Strategy<Value = Corners> {
    prop_oneof![Just(Corners::Aligned), Just(Corners::HalfPixel)]
}

fn side() -> std::ops::Range<usize> {
    1..24
}

/// A leaf that tracks gradients, for which the composed body runs.
fn tracked<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    Tensor::from_data(tensor.clone().into_data(), &test_device().autodiff()).require_grad()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn resizing_to_the_same_size_changes_nothing(h in side(), w in side(), rule in corners()) {
        let x = tensor("x", [2, 3, h, w], 1.0, &test_device());
        prop_assert_eq!(values(resize_bilinear(x.clone(), [h, w], rule)), values(x.clone()));
        prop_assert_eq!(values(resize_nearest(x.clone(), [h, w])), values(x));
    }

    #[test]
    fn constants_stay_constant(
        (h, w) in (side(), side()), (height, width) in (side(), side()), rule in corners(),
    ) {
        let x = Tensor::<4>::full([1, 2, h, w], 0.75, &test_device());
        let want = vec![0.75; 2 * height * width];
        let bilinear = values(resize_bilinear(x.clone(), [height, width], rule));
        assert_close("bilinear", &bilinear, &want, 1e-6);
        prop_assert_eq!(values(resize_nearest(x, [height, width])), want);
    }

    #[test]
    fn resized_values_stay_within_their_range(
        (h, w) in (side(), side()), (height, width) in (side(), side()), rule in corners(),
    ) {
        let x = tensor("x", [1, 1, h, w], 1.0, &test_device());
        let bound = largest(&values(x.clone())) + 1e-6;
        let resized = values(resize_bilinear(x, [height, width], rule));
        prop_assert!(resized.iter().all(|v| v.abs() <= bound));
    }

    #[test]
    fn tracked_and_untracked_resizes_agree(
        (h, w) in (side(), side()), (height, width) in (side(), side()), rule in corners(),
    ) {
        let x = tensor("x", [2, 2, h, w], 1.0, &test_device());
        let fast = values(resize_bilinear(x.clone(), [height, width], rule));
        let composed = values(resize_bilinear(tracked(&x), [height, width], rule).inner());
        assert_close("bilinear", &fast, &composed, 2e-6);
        let fast = values(resize_nearest(x.clone(), [height, width]));
        let composed = values(resize_nearest(tracked(&x), [height, width]).inner());
        prop_assert_eq!(fast, composed);
    }

    #[test]
    fn nearest_indices_are_ascending_and_in_range(from in 1usize..700, to in 1usize..700) {
        let indices = nearest_indices(from, to);
        prop_assert_eq!(indices.len(), to);
        prop_assert_eq!(indices[0], 0);
        prop_assert!(indices.windows(2).all(|pair| pair[0] <= pair[1]));
        prop_assert!(indices.iter().all(|&i| i < from));
    }

    #[test]
    fn pooling_at_mask_size_equals_pooling_enlarged_features(
        (h, w) in (1usize..9, 1usize..9), (height, width) in (1usize..40, 1usize..40), seed in 0u8..9,
    ) {
        let device = test_device().autodiff();
        let name = format!("features{seed}");
        let mask = random(&format!("mask{seed}"), 2 * height * width);
        let mask = mask.iter().map(|v| f32::from(u8::from(*v > 0.0))).collect();
        let mask = from_values(mask, [2, 1, height, width], &device);
        let weights = tensor("weights", [2, 5], 1.0, &device);

        let cheap = tensor(&name, [2, 5, h, w], 1.0, &device).require_grad();
        let pooled = masked_average_pool_at_mask_size(cheap.clone(), mask.clone());
        let enlarged = tensor(&name, [2, 5, h, w], 1.0, &device).require_grad();
        let large = resize_bilinear(enlarged.clone(), [height, width], Corners::Aligned);
        let sums = (large * mask.clone()).sum_dim(3).sum_dim(2).reshape([2, 5]);
        let wanted = sums / (mask.sum_dim(3).sum_dim(2).reshape([2, 1]) + 1e-5);
        assert_close("pooled", &values(pooled.clone()), &values(wanted.clone()), 2e-6);

        let cheap = cheap.grad(&(pooled * weights.clone()).sum().backward()).expect("a gradient");
        let grads = (wanted * weights).sum().backward();
        let wanted = values(enlarged.grad(&grads).expect("a gradient"));
        assert_close("gradient", &values(cheap), &wanted, 2e-6 * largest(&wanted).max(1.0));
    }

    #[test]
    fn cosine_maps_equal_the_definition(
        (b, c, h, w) in (1usize..3, 1usize..70, 1usize..7, 1usize..90), k in 1usize..11, seed in 0u8..9,
    ) {
        let device = test_device();
        let features = tensor(&format!("f{seed}"), [b, c, h, w], 2.0, &device);
        let prototypes = tensor(&format!("p{seed}"), [b, k, c], 0.5, &device);
        let (f, p) = (values(features.clone()), values(prototypes.clone()));
        let n = h * w;
        let mut want = Vec::new();
        for (sample, k, x) in (0..b).flat_map(|s| (0..k).map(move |k| (s, k)))
            .flat_map(|(s, k)| (0..n).map(move |x| (s, k, x)))
        {
            let kernels = p.len() / b / c;
            let a: Vec<f32> = (0..c).map(|i| f[(sample * c + i) * n + x]).collect();
            want.push(cosine(&a, &p[(sample * kernels + k) * c..][..c]));
        }
        assert_close("maps", &values(cosine_maps(features.clone(), prototypes.clone())), &want, 2e-6);
        let composed = cosine_maps(tracked(&features), tracked(&prototypes)).inner();
        assert_close("composed maps", &values(composed), &want, 2e-6);
    }

    #[test]
    fn dense_cosine_map_equals_the_definition(
        (b, c, h, w) in (1usize..3, 1usize..70, 1usize..7, 1usize..90), seed in 0u8..9,
    ) {
        let device = test_device();
        let features = tensor(&format!("f{seed}"), [b, c, h, w], 2.0, &device);
        let others = tensor(&format!("o{seed}"), [b, c, h, w], 0.5, &device);
        let (f, o) = (values(features.clone()), values(others.clone()));
        let n = h * w;
        let want: Vec<f32> = (0..b * n).map(|i| {
            let column = |map: &[f32]| -> Vec<f32> {
                (0..c).map(|channel| map[(i / n * c + channel) * n + i % n]).collect()
            };
            cosine(&column(&f), &column(&o))
        }).collect();
        assert_close("map", &values(cosine_map_dense(features.clone(), others.clone())), &want, 2e-6);
        let composed = cosine_map_dense(tracked(&features), tracked(&others)).inner();
        assert_close("composed map", &values(composed), &want, 2e-6);
    }

    #[test]
    fn blended_cosine_maps_are_dense_ones_of_the_blend(
        (b, c) in (1usize..3, 1usize..70), (h, w) in (1usize..20, 1usize..20),
        (first, second) in (-1.0f32..1.0, -1.0f32..1.0), (k, seed) in (1usize..4, 0u8..9),
    ) {
        let device = test_device();
        let map = |name: &str| tensor::<4>(&format!("{name}{seed}"), [b, c, h, w], 1.0, &device);
        let (features, one, two) = (map("features"), map("one"), map("two"));
        let prototypes: Tensor<3> = tensor(&format!("global{seed}"), [b, k, c], 1.0, &device);
        let wide = prototypes.clone().narrow(1, 0, 1).reshape([b, c, 1, 1]);
        let plain = cosine_maps(features.clone(), prototypes.clone());
        let mut maps = vec![(one.clone(), first)];
        let mut blend = one * first + wide;
        for _ in 0..2 {
            let want = cosine_map_dense(features.clone(), blend.clone());
            let want = values(plain.clone().slice_assign([0..b, 0..1, 0..h, 0..w], want));
            let fast = cosine_maps_blend(features.clone(), prototypes.clone(), &maps);
            assert_close("fast", &values(fast), &want, 4e-6);
            let leaves: Vec<_> = maps.iter().map(|(map, weight)| (tracked(map), *weight)).collect();
            let composed = cosine_maps_blend(tracked(&features), tracked(&prototypes), &leaves);
            assert_close("composed", &values(composed.inner()), &want, 4e-6);
            maps.push((two.clone(), second));
            blend = blend + two.clone() * second;
        }
    }

    #[test]
    fn fused_convolution_equals_its_steps(
        (b, c, o) in (1usize..3, 1usize..20, 1usize..20),
        (h, w) in (1usize..26, 1usize..26),
        (kernel, stride, padding, dilation) in (1usize..6, 1usize..4, 0usize..5, 1usize..4),
        (has_residual, relu, seed) in (any::<bool>(), any::<bool>(), 0u8..9),
    ) {
        let geometry = ConvGeometry { stride, padding, dilation };
        let output =
            [b, o, geometry.output_length(h, kernel), geometry.output_length(w, kernel)];
        prop_assume!(output[2] > 0 && output[3] > 0);
        let device = test_device();
        let x = tensor(&format!("x{seed}"), [b, c, h, w], 1.0, &device);
        let weight = tensor(&format!("w{seed}"), [o, c, kernel, kernel], 0.5, &device);
        let bias = tensor(&format!("b{seed}"), [o], 1.0, &device);
        let residual = has_residual.then(|| tensor(&format!("r{seed}"), output, 1.0, &device));
        let activation = if relu { Activation::Relu } else { Activation::None };

        // Burn's own operations.
        let leaves = [tracked(&x), tracked(&weight), residual.as_ref().map_or_else(
            || tracked(&Tensor::zeros(output, &device)), tracked,
        )];
        let shift = tracked(&bias);
        let [lx, lw, lr] = leaves.clone();
        let options = ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], 1);
        let sum = conv2d(lx, lw, Some(shift.clone()), options) + lr;
        let steps = if relu { burn::tensor::activation::relu(sum.clone()) } else { sum.clone() };
        let want = values(steps.inner());

        let fused = conv2d_fused(
            x.clone(), weight.clone(), bias.clone(), residual.clone(), geometry, activation,
        );
        prop_assert_eq!(fused.dims(), output);
        assert_close("fused", &values(fused), &want, 1e-5 * largest(&want).max(1.0));

        let [ours_x, ours_w] = [tracked(&x), tracked(&weight)];
        let ours_b = tracked(&bias);
        let ours_r = residual.as_ref().map(tracked);
        let found = conv2d_fused(
            ours_x.clone(), ours_w.clone(), ours_b.clone(), ours_r.clone(), geometry, activation,
        );
        assert_close("tracked", &values(found.clone().inner()), &want, 1e-5 * largest(&want).max(1.0));
        // Of sums next to zero the two may be on different sides; the side is ours for both.
        let probe = tensor::<4>(&format!("p{seed}"), output, 1.0, &device);
        let passing = match relu {
            true => found.clone().inner().greater_elem(0.0).float(),
            false => probe.ones_like(),
        };
        let weigh = |values: Tensor<4>, by: Tensor<4>| {
            (values * Tensor::from_data(by.into_data(), &test_device().autodiff())).sum().backward()
        };
        let ours = weigh(found, probe.clone());
        let theirs = weigh(sum, probe * passing);
        let check = |what: &str, got: Option<Vec<f32>>, want: Option<Vec<f32>>| {
            let (got, want) = (got.expect("a gradient"), want.expect("a gradient"));
            assert_close(what, &got, &want, 2e-5 * largest(&want).max(1.0));
        };
        let [lx, lw, lr] = leaves;
        check("x", ours_x.grad(&ours).map(values), lx.grad(&theirs).map(values));
        check("weight", ours_w.grad(&ours).map(values), lw.grad(&theirs).map(values));
        check("bias", ours_b.grad(&ours).map(values), shift.grad(&theirs).map(values));
        if let Some(ours_r) = ours_r {
            check("residual", ours_r.grad(&ours).map(values), lr.grad(&theirs).map(values));
        }
        // What is not asked for costs nothing and changes nothing.
        let only = tracked(&weight);
        let plain = |t: &Tensor<4>| Tensor::from_data(t.clone().into_data(), &test_device().autodiff());
        let found = conv2d_fused(
            plain(&x), only.clone(), Tensor::from_data(bias.into_data(), &test_device().autodiff()),
            residual.as_ref().map(plain), geometry, activation,
        );
        let alone = weigh(found, tensor::<4>(&format!("p{seed}"), output, 1.0, &device));
        check("weight alone", only.grad(&alone).map(values), ours_w.grad(&ours).map(values));
    }
}

/// Every vector divided by `max(norm, 1e-8)`, in float64.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let norm = |v: &[f32]| dot(v, v).sqrt().max(1e-8);
    (dot(a, b) / norm(a) / norm(b)) as f32
}

#[test]
fn an_empty_mask_gives_zero_prototypes() {
    let device = test_device();
    let features = tensor("features", [2, 4, 5, 6], 1.0, &device);
    let mask = Tensor::zeros([2, 1, 20, 30], &device);
    assert_eq!(values(masked_average_pool(features.clone(), mask.clone())), [0.0; 8]);
    assert_eq!(values(masked_average_pool_at_mask_size(features, mask)), [0.0; 8]);
}

#[test]
fn a_zero_feature_has_similarity_zero_and_no_infinite_gradient() {
    let device = test_device().autodiff();
    let features = Tensor::<4>::zeros([1, 3, 1, 2], &device).require_grad();
    let prototypes = tensor("p", [1, 2, 3], 1.0, &device);
    let maps = cosine_maps(features.clone(), prototypes);
    assert_eq!(values(maps.clone()), [0.0; 4]);
    let grad = features.grad(&maps.sum().backward()).expect("a gradient");
    assert!(values(grad).iter().all(|v| v.is_finite()));
}

#[test]
fn views_are_read_in_their_own_order() {
    let device = test_device();
    let x = tensor("x", [2, 3, 5, 7], 1.0, &device);
    let copied = from_values(values(x.clone().swap_dims(2, 3)), [2, 3, 7, 5], &device);
    let view = x.swap_dims(2, 3);
    for (view, copy) in [
        (
            resize_bilinear(view.clone(), [4, 9], Corners::HalfPixel),
            resize_bilinear(copied.clone(), [4, 9], Corners::HalfPixel),
        ),
        (resize_nearest(view.clone(), [4, 9]), resize_nearest(copied.clone(), [4, 9])),
        (max_pool2d(view.clone(), 3, 2, 1), max_pool2d(copied.clone(), 3, 2, 1)),
        (avg_pool2d(view.clone(), 2, 2), avg_pool2d(copied.clone(), 2, 2)),
        (cosine_map_dense(view.clone(), copied.clone()), cosine_map_dense(copied.clone(), copied)),
    ] {
        assert_eq!(values(view), values(copy));
    }
}

#[test]
#[should_panic(expected = "leaves a window of 2 without pixels")]
fn pooling_refuses_windows_outside_the_map() {
    let _ = max_pool2d(Tensor::zeros([1, 1, 4, 4], &test_device()), 2, 2, 2);
}

#[test]
#[should_panic(expected = "does not fit into a 4x1 map")]
fn pooling_refuses_a_window_larger_than_the_map() {
    let _ = avg_pool2d(Tensor::zeros([1, 1, 4, 1], &test_device()), 2, 2);
}

#[test]
#[should_panic(expected = "needs a mask [2, 1, H, W]")]
fn pooling_names_the_shapes_that_do_not_fit() {
    let device = test_device();
    let features = Tensor::zeros([2, 4, 5, 6], &device);
    let _ = masked_average_pool(features, Tensor::zeros([1, 1, 5, 6], &device));
}

#[test]
#[should_panic(expected = "does not fit")]
fn convolution_refuses_a_kernel_larger_than_the_map() {
    let device = test_device();
    let (x, weight) = (Tensor::zeros([1, 1, 2, 2], &device), Tensor::zeros([1, 1, 5, 5], &device));
    let bias = Tensor::zeros([1], &device);
    let _ = conv2d_fused(x, weight, bias, None, ConvGeometry::POINTWISE, Activation::None);
}
