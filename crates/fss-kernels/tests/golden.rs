//! The kernels against outputs of the published code.

#[path = "../../../tests/support/device.rs"]
mod device;

use burn::tensor::module::{adaptive_avg_pool2d, max_pool2d};
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, TensorData};
use device::test_device;
use fss_kernels::{
    Activation, ConvGeometry, Corners, PivotGeometry, PivotWeights, SelfSupportConfig,
    center_pivot_collapse, center_pivot_conv4d, conv2d_fused, correlation, correlation_conv4d,
    cosine_map_dense, cosine_maps, group_norm_relu, masked_average_pool,
    masked_average_pool_at_mask_size, nearest_indices, resize_bilinear, resize_nearest,
    self_support, unit_features,
};
use fss_support::fill;
use fss_support::golden::{Case, assert_close, cases, report};

/// Kernels that track gradients have other bodies than those that do not; both must match.
fn devices() -> [Device; 2] {
    [test_device(), test_device().autodiff()]
}

/// The tensor, tracked where the device tracks gradients.
fn load<const D: usize>(case: &Case, name: &str, device: &Device) -> Tensor<D> {
    let (shape, values) = case.f32(name);
    let tensor = Tensor::from_data(TensorData::new(values, shape), device);
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

/// `[B, 1, H, W]`, 1 where the mask `[B, H, W]` has `label`.
fn load_mask(case: &Case, name: &str, label: u8, device: &Device) -> Tensor<4> {
    let (shape, values) = case.u8(name);
    let values: Vec<f32> = values.iter().map(|&v| f32::from(u8::from(v == label))).collect();
    Tensor::from_data(TensorData::new(values, [shape[0], 1, shape[1], shape[2]]), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("float32 values")
}

fn check<const D: usize>(case: &Case, name: &str, got: Tensor<D>, tolerance: f32) {
    let (shape, want) = case.f32(name);
    let elements: usize = shape.iter().product();
    assert_eq!(got.shape().num_elements(), elements, "{}: {name}: {:?}", case.name, got.shape());
    assert_close(&format!("{}: {name}", case.name), &values(got), &want, tolerance);
}

/// The `<p>` of all tensors named `<p><suffix>`.
fn prefixes(case: &Case, suffix: &str) -> Vec<String> {
    case.names().iter().filter_map(|n| n.strip_suffix(suffix)).map(str::to_owned).collect()
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text:?} in a tensor's name is not a number"))
}

#[test]
fn golden_interpolate_bilinear() {
    let cases = cases("common", "interpolate_bilinear");
    for case in &cases {
        for number in prefixes(case, ".input") {
            let output_shape = case.shape(&format!("{number}.grad_output"));
            let size = [output_shape[2], output_shape[3]];
            for (corners, rule) in
                [(Corners::Aligned, "aligned"), (Corners::HalfPixel, "half_pixel")]
            {
                for device in devices() {
                    let input = load::<4>(case, &format!("{number}.input"), &device);
                    let output = resize_bilinear(input, size, corners);
                    check(case, &format!("{number}.output.{rule}"), output, 2e-6);
                }
                let device = test_device().autodiff();
                let input = load::<4>(case, &format!("{number}.input"), &device);
                let grad_output = load::<4>(case, &format!("{number}.grad_output"), &device);
                let output = resize_bilinear(input.clone(), size, corners);
                let grads = (output * grad_output).sum().backward();
                let grad = input.grad(&grads).expect("a gradient");
                check(case, &format!("{number}.grad_input.{rule}"), grad, 1e-5);
            }
        }
    }
    report("common/interpolate_bilinear", cases.len());
}

#[test]
fn golden_interpolate_nearest() {
    let cases = cases("common", "interpolate_nearest");
    for case in &cases {
        for name in case.names() {
            if let Some(pair) = name.strip_prefix("index.") {
                let (from, to) = pair.split_once("_to_").expect("index.IN_to_OUT");
                let got = nearest_indices(number(from), number(to));
                let want: Vec<usize> = case.i64(name).1.iter().map(|&i| i as usize).collect();
                assert_eq!(got, want, "{}: {name}", case.name);
            } else if name.starts_with("output.") {
                let shape = case.shape(name);
                for device in devices() {
                    let input = load::<4>(case, "input", &device);
                    check(case, name, resize_nearest(input, [shape[2], shape[3]]), 0.0);
                }
            }
        }
    }
    report("common/interpolate_nearest", cases.len());
}

#[test]
fn golden_common_masked_average_pooling() {
    let cases = cases("common", "masked_average_pooling");
    for case in &cases {
        for device in devices() {
            let features = load::<4>(case, "feature", &device);
            let mask = load_mask(case, "mask", 1, &device);
            let pooled = masked_average_pool(features.clone(), mask.clone());
            check(case, "mask_to_feature", pooled, 1e-6);
            let pooled = masked_average_pool_at_mask_size(features, mask);
            check(case, "feature_to_mask", pooled, 1e-6);
        }
    }
    report("common/masked_average_pooling", cases.len());
}

#[test]
fn golden_ssp_masked_average_pooling() {
    let cases = cases("ssp", "masked_average_pooling");
    for case in &cases {
        for device in devices() {
            let features = load::<4>(case, "feature", &device);
            let [_, _, h, w] = features.dims();
            let fg = load_mask(case, "mask", 1, &device);
            let bg = load_mask(case, "mask", 0, &device);
            let resized = resize_bilinear(fg.clone(), [h, w], Corners::Aligned);
            check(case, "mask_fg_resized", resized, 2e-6);
            check(case, "prototype_fg", masked_average_pool(features.clone(), fg), 1e-5);
            check(case, "prototype_bg", masked_average_pool(features, bg), 1e-5);
        }
    }
    report("ssp/masked_average_pooling", cases.len());
}

#[test]
fn golden_mlc_masked_average_pooling() {
    let cases = cases("mlc", "masked_average_pooling");
    for case in &cases {
        for device in devices() {
            let features = load::<4>(case, "feature", &device);
            for (label, name) in [(1, "prototype_fg"), (0, "prototype_bg")] {
                let mask = load_mask(case, "mask", label, &device);
                let pooled = masked_average_pool_at_mask_size(features.clone(), mask);
                check(case, name, pooled, 1e-5);
            }
        }
    }
    report("mlc/masked_average_pooling", cases.len());
}

#[test]
fn golden_cosine_similarity() {
    let cases = cases("common", "cosine_similarity");
    for case in &cases {
        for device in devices() {
            let features = load::<4>(case, "feature", &device);
            let [b, c, _, _] = features.dims();
            let vector = load::<4>(case, "vector", &device).reshape([b, 1, c]);
            check(case, "out_vector", cosine_maps(features.clone(), vector), 2e-6);
            let map = load::<4>(case, "map", &device);
            check(case, "out_map", cosine_map_dense(features, map), 2e-6);
            check_degenerate(case, &device);
        }
        check_cosine_gradients(case);
    }
    report("common/cosine_similarity", cases.len());
}

fn check_degenerate(case: &Case, device: &Device) {
    let [pairs, length] = load::<2>(case, "degenerate.a", device).dims();
    let a = load::<2>(case, "degenerate.a", device).reshape([pairs, length, 1, 1]);
    let b = load::<2>(case, "degenerate.b", device);
    let (_, want) = case.f32("degenerate.new_rule");
    let by_vector = cosine_maps(a.clone(), b.clone().reshape([pairs, 1, length]));
    let by_map = cosine_map_dense(a, b.reshape([pairs, length, 1, 1]));
    for got in [values(by_vector), values(by_map)] {
        for (pair, (got, want)) in got.iter().zip(&want).enumerate() {
            let close = (got - want).abs() <= 1e-6 * want.abs();
            assert!(close, "{}: degenerate pair {pair}: {got}, not {want}", case.name);
        }
    }
}

fn check_cosine_gradients(case: &Case) {
    let device = test_device().autodiff();
    let features = load::<4>(case, "feature", &device);
    let vector = load::<4>(case, "vector", &device);
    let [b, c, h, w] = features.dims();
    let grad_output = load::<3>(case, "grad_output", &device).reshape([b, 1, h, w]);
    let output = cosine_maps(features.clone(), vector.clone().reshape([b, 1, c]));
    let grads = (output * grad_output).sum().backward();
    check(case, "grad_vector", vector.grad(&grads).expect("a gradient"), 2e-6);

    // A zero feature has a gradient of the order 1/eps, which the file leaves out.
    let inner = features.clone().inner();
    let present = inner.clone().mul(inner).sum_dim(1).greater_elem(0.0).float();
    let grad = features.grad(&grads).expect("a gradient") * present;
    check(case, "grad_feature", grad, 2e-6);
}

#[test]
fn golden_pool_norm_conv() {
    let cases = cases("common", "pool_norm_conv");
    for case in &cases {
        for device in devices() {
            for number in prefixes(case, ".input").iter().filter(|p| *p != "max") {
                let shape = case.shape(&format!("{number}.output"));
                let input = load::<4>(case, &format!("{number}.input"), &device);
                let pooled = adaptive_avg_pool2d(input, [shape[2], shape[3]]);
                check(case, &format!("{number}.output"), pooled, 1e-6);
            }
            let input = load::<4>(case, "max.input", &device);
            let pool = MaxPoolOptions {
                stride: [2, 2],
                padding: [(1, 1); 2],
                ..MaxPoolOptions::new([3, 3])
            };
            let pooled = max_pool2d(input.clone(), pool);
            check(case, "max.output", pooled, 0.0);
            check(case, "bn.output", folded_norm(case, input.clone(), &device), 1e-6);
            check_convolutions(case, input, &device);
        }
    }
    report("common/pool_norm_conv", cases.len());
}

/// The norm as a folded backbone runs it: scale and shift inside a convolution, here one that
/// otherwise changes nothing.
fn folded_norm(case: &Case, input: Tensor<4>, device: &Device) -> Tensor<4> {
    let read = |name: &str| case.f32(&format!("bn.{name}")).1;
    let channels = read("weight").len();
    let scale: Vec<f32> = read("weight")
        .iter()
        .zip(read("running_var"))
        .map(|(weight, var)| weight / (var + 1e-5).sqrt())
        .collect();
    let shift: Vec<f32> =
        (0..channels).map(|c| read("bias")[c] - read("running_mean")[c] * scale[c]).collect();
    let mut kernel = vec![0.0; channels * channels];
    (0..channels).for_each(|c| kernel[c * channels + c] = scale[c]);
    conv2d_fused(
        input,
        Tensor::from_data(TensorData::new(kernel, [channels, channels, 1, 1]), device),
        Tensor::from_data(TensorData::new(shift, [channels]), device),
        None,
        ConvGeometry::POINTWISE,
        Activation::None,
    )
}

fn check_convolutions(case: &Case, input: Tensor<4>, device: &Device) {
    for name in case.names() {
        let Some(setting) = name.strip_prefix("conv.output.") else { continue };
        let (stride, dilation) = match setting.strip_prefix("dilation") {
            Some(dilation) => (1, number(dilation)),
            None => (number(setting.strip_prefix("stride").expect("stride or dilation")), 1),
        };
        let weight = load::<4>(case, "conv.weight", device);
        let bias = Tensor::zeros([weight.dims()[0]], device);
        let geometry = ConvGeometry { stride, padding: dilation, dilation };
        let output = conv2d_fused(input.clone(), weight, bias, None, geometry, Activation::None);
        check(case, name, output, 1e-5);
    }
}

#[test]
fn golden_ssp_similarity() {
    let cases = cases("ssp", "similarity");
    for case in &cases {
        let scale = case.settings["scale"].as_f64().expect("settings.scale") as f32;
        for device in devices() {
            let features = load::<4>(case, "feature_q", &device);
            let maps = ["bg_proto", "fg_proto"].map(|name| {
                let prototype = load::<4>(case, name, &device);
                let [b, c, h, w] = prototype.dims();
                if [h, w] == [1, 1] {
                    cosine_maps(features.clone(), prototype.reshape([b, 1, c]))
                } else {
                    cosine_map_dense(features.clone(), prototype)
                }
            });
            check(case, "out", Tensor::cat(maps.to_vec(), 1) * scale, 1e-4);
        }
    }
    report("ssp/similarity", cases.len());
}

#[test]
fn golden_ssp_step() {
    let cases = cases("ssp", "ssp_step_");
    for case in &cases {
        let setting = |name: &str| {
            case.settings[name].as_f64().unwrap_or_else(|| panic!("{}: settings.{name}", case.name))
        };
        let config = SelfSupportConfig {
            fg_threshold: setting("fg_threshold") as f32,
            bg_threshold: setting("bg_threshold") as f32,
            top_k: setting("topk") as usize,
            temperature: setting("sim_scale") as f32,
        };
        for device in devices() {
            let features = load::<4>(case, "feature_q", &device);
            let logits = load::<4>(case, "out", &device);
            let found = self_support(features.clone(), logits.clone(), &config);
            check(case, "SSFP", found.fg_prototype, 1e-5);
            check(case, "SSBP", found.bg_prototype, 1e-5);
            check(case, "ASBP", found.bg_adaptive, 1e-5);

            // The adaptive foreground prototype is the same step with the two sides exchanged.
            let exchanged = SelfSupportConfig {
                fg_threshold: config.bg_threshold,
                bg_threshold: config.fg_threshold,
                ..config
            };
            let found = self_support(features, logits.flip([1]), &exchanged);
            check(case, "ASFP", found.bg_adaptive, 1e-5);
        }
    }
    report("ssp/ssp_step_", cases.len());
}

/// Weights by the fill rule.
fn filled<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let tensor = Tensor::from_data(TensorData::new(fill(name, &shape), shape), device);
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

/// `[B, C, ha, wa, hb, wb]` to support-first `[B, S, C, ha, wa]`, and the support's sides.
fn support_first(x: Tensor<6>) -> (Tensor<5>, [usize; 2]) {
    let [b, c, ha, wa, hb, wb] = x.dims();
    (x.permute([0, 4, 5, 1, 2, 3]).reshape([b, hb * wb, c, ha, wa]), [hb, wb])
}

/// The way back.
fn support_last(x: Tensor<5>, [hb, wb]: [usize; 2]) -> Tensor<6> {
    let [b, _, c, ha, wa] = x.dims();
    x.reshape([b, hb, wb, c, ha, wa]).permute([0, 3, 4, 5, 1, 2])
}

fn four(value: &serde_json::Value) -> [usize; 4] {
    let numbers: Vec<usize> = value
        .as_array()
        .expect("four numbers")
        .iter()
        .map(|n| n.as_u64().unwrap() as usize)
        .collect();
    numbers.try_into().expect("four numbers")
}

#[test]
fn golden_hsnet_conv4d() {
    let cases = cases("hsnet", "conv4d");
    for case in &cases {
        for name in prefixes(case, ".x") {
            let settings = &case.settings[&name];
            let [kernel, stride, padding] =
                ["kernel", "stride", "padding"].map(|key| four(&settings[key]));
            for device in devices() {
                let (x, support) = support_first(load::<6>(case, &format!("{name}.x"), &device));
                let (c, o) = (x.dims()[2], case.shape(&format!("{name}.y"))[1]);
                let weight = |n: usize, sides: [usize; 2]| {
                    filled(&format!("{name}.conv{n}.weight"), [o, c, sides[0], sides[1]], &device)
                };
                let bias = |n: usize| filled(&format!("{name}.conv{n}.bias"), [o], &device);
                let query = weight(1, [kernel[0], kernel[1]]);
                let over_support = weight(2, [kernel[2], kernel[3]]);
                if padding[2] == 0 {
                    let y = center_pivot_collapse(x, [query, over_support], [bias(1), bias(2)]);
                    check(case, &format!("{name}.y"), y, 1e-5);
                    continue;
                }
                let weights =
                    PivotWeights { query, support: over_support, bias: bias(1) + bias(2) };
                let geometry = PivotGeometry { support, stride: stride[3] };
                let y = center_pivot_conv4d(x, weights, geometry);
                check(case, &format!("{name}.y"), support_last(y, geometry.output()), 1e-5);
            }
        }
    }
    report("hsnet/conv4d", cases.len());
}

/// The taps of one level, made unit and put together as `[B, L, C, h, w]`.
fn level(case: &Case, side: char, taps: std::ops::Range<usize>, device: &Device) -> Tensor<5> {
    let unit = |n| unit_features(load::<4>(case, &format!("{side}{n}"), device));
    Tensor::stack(taps.map(unit).collect(), 1)
}

#[test]
fn golden_hsnet_correlation() {
    let cases = cases("hsnet", "correlation");
    for case in &cases {
        // How many taps there are from each level on to the deepest: deep, middle, shallow.
        let counts: Vec<usize> = case.settings["stack_ids"]
            .as_array()
            .expect("stack_ids")
            .iter()
            .map(|n| n.as_u64().unwrap() as usize)
            .collect();
        let levels = [(4, 0, counts[0]), (3, counts[0], counts[1]), (2, counts[1], counts[2])];
        for (number, deeper, count) in levels {
            let (start, end) = (counts[2] - count, counts[2] - deeper);
            for device in devices() {
                let query = level(case, 'q', start..end, &device);
                let support = level(case, 's', start..end, &device);
                let [.., hs, ws] = support.dims();
                let maps = correlation(query.clone(), support.clone());
                let name = format!("corr_l{number}");
                check(case, &name, support_last(maps.clone(), [hs, ws]), 1e-6);
                // The fused form is the same as correlation and convolution.
                let levels = end - start;
                for (kernel, stride) in [(3, 1), (3, 2), (5, 4)] {
                    let weights = PivotWeights {
                        query: filled("q", [8, levels, kernel, kernel], &device),
                        support: filled("s", [8, levels, kernel, kernel], &device),
                        bias: filled("bias", [8], &device),
                    };
                    let geometry = PivotGeometry { support: [hs, ws], stride };
                    let apart = center_pivot_conv4d(maps.clone(), weights.clone(), geometry);
                    let fused = correlation_conv4d(query.clone(), support.clone(), weights, stride);
                    assert_close(&name, &values(fused), &values(apart), 1e-5);
                }
            }
        }
    }
    report("hsnet/correlation", cases.len());
}

#[test]
fn golden_hsnet_squeeze() {
    let cases = cases("hsnet", "squeeze_");
    for case in &cases {
        let prefix = case.str_setting("prefix");
        let strides = match case.str_setting("layer") {
            "encoder_layer4" => [2, 2, 2],
            "encoder_layer3" => [4, 2, 2],
            "encoder_layer2" => [4, 4, 2],
            "encoder_layer4to3" | "encoder_layer3to2" => [1, 1, 1],
            other => panic!("{}: unknown layer {other}", case.name),
        };
        for device in devices() {
            let (mut x, mut support) = support_first(load::<6>(case, "x", &device));
            for (n, stride) in strides.into_iter().enumerate() {
                let c = x.dims()[2];
                let o = case.shape(&format!("after_{}", 3 * n))[1];
                let k = if stride == 4 { 5 } else { 3 };
                let key = |part: &str| format!("{prefix}{}.{part}", 3 * n);
                let bias = |part: &str| filled::<1>(&key(part), [o], &device);
                let weights = PivotWeights {
                    query: filled(&key("conv1.weight"), [o, c, k, k], &device),
                    support: filled(&key("conv2.weight"), [o, c, k, k], &device),
                    bias: bias("conv1.bias") + bias("conv2.bias"),
                };
                let geometry = PivotGeometry { support, stride };
                x = center_pivot_conv4d(x, weights, geometry);
                support = geometry.output();
                let after = format!("after_{}", 3 * n);
                check(case, &after, support_last(x.clone(), support), 1e-4);
                let norm = |part: &str| {
                    filled::<1>(&format!("{prefix}{}.{part}", 3 * n + 1), [o], &device)
                };
                x = group_norm_relu(x, 4, norm("weight"), norm("bias"));
                let after = format!("after_{}", 3 * n + 2);
                check(case, &after, support_last(x.clone(), support), 1e-4);
            }
        }
    }
    report("hsnet/squeeze", cases.len());
}

#[test]
fn golden_hsnet_mask_feature() {
    let cases = cases("hsnet", "mask_feature");
    for case in &cases {
        for device in devices() {
            let hard = load_mask(case, "mask", 1, &device);
            let [b, _, h, w] = hard.dims();
            let soft = load::<3>(case, "soft_mask", &device).reshape([b, 1, h, w]);
            for n in (0..).take_while(|n| case.has(&format!("f{n}"))) {
                for (mask, name) in [(&hard, "masked"), (&soft, "soft_masked")] {
                    let features = load::<4>(case, &format!("f{n}"), &device);
                    let [_, _, h, w] = features.dims();
                    let resized = resize_bilinear(mask.clone(), [h, w], Corners::Aligned);
                    check(case, &format!("{name}{n}"), features * resized, 1e-6);
                }
            }
        }
    }
    report("hsnet/mask_feature", cases.len());
}
