//! The self-support step against a plain re-statement of its definition.

mod common;

use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor, TensorData};
use common::{from_values, largest, tensor, test_device, values};
use fss_kernels::{QueryPairs, SelfSupport, SelfSupportConfig, self_support, self_support_ways};
use fss_support::golden::assert_close;
use proptest::prelude::*;

/// Positions of one sample in its set, from logits `[2][N]`.
fn members(logits: [&[f32]; 2], side: usize, threshold: f32, top_k: usize) -> Vec<usize> {
    let n = logits[0].len();
    let p = |i: usize| -> f64 {
        let [bg, fg] = [f64::from(logits[0][i]).exp(), f64::from(logits[1][i]).exp()];
        [bg, fg][side] / (bg + fg)
    };
    let passing: Vec<usize> = (0..n).filter(|&i| p(i) > f64::from(threshold)).collect();
    if !passing.is_empty() {
        return passing;
    }
    let mut ranked: Vec<usize> = (0..n).collect();
    ranked.sort_by(|&a, &b| p(b).total_cmp(&p(a)).then(a.cmp(&b)));
    ranked.truncate(top_k.min(n));
    ranked
}

/// The step with nothing but tensor operations on gathered sets, sample by sample.
fn reference(features: Tensor<4>, logits: &[f32], config: &SelfSupportConfig) -> SelfSupport {
    let [batch, c, h, w] = features.dims();
    let n = h * w;
    let (mut fg, mut bg, mut adaptive) = (Vec::new(), Vec::new(), Vec::new());
    for sample in 0..batch {
        let q = features.clone().narrow(0, sample, 1).reshape([c, n]);
        let logits = &logits[sample * 2 * n..][..2 * n];
        let logits = [&logits[..n], &logits[n..]];
        let pick = |side, threshold| {
            let picked = members(logits, side, threshold, config.top_k);
            let picked: Vec<i64> = picked.iter().map(|&i| i as i64).collect();
            let count = picked.len();
            let data = TensorData::new(picked, [count]);
            q.clone().select(1, Tensor::<1, Int>::from_data(data, &q.device()))
        };
        let background = pick(0, config.bg_threshold);
        fg.push(pick(1, config.fg_threshold).mean_dim(1).reshape([1, c]));
        bg.push(background.clone().mean_dim(1).reshape([1, c]));
        let unit = |x: Tensor<2>| x.clone() / x.clone().mul(x).sum_dim(0).sqrt();
        let cosines = unit(q.clone()).transpose().matmul(unit(background.clone()));
        let weights = softmax(cosines * config.temperature, 1);
        adaptive.push(background.matmul(weights.transpose()).reshape([1, c, h, w]));
    }
    SelfSupport {
        fg_prototype: Tensor::cat(fg, 0),
        bg_prototype: Tensor::cat(bg, 0),
        bg_adaptive: Tensor::cat(adaptive, 0),
    }
}

/// A scalar that weighs every output differently.
fn loss(found: SelfSupport) -> Tensor<1> {
    let device = found.fg_prototype.device();
    let fg = found.fg_prototype.clone() * tensor("fg", found.fg_prototype.dims(), 1.0, &device);
    let bg = found.bg_prototype.clone() * tensor("bg", found.bg_prototype.dims(), 1.0, &device);
    let map = found.bg_adaptive.clone() * tensor("map", found.bg_adaptive.dims(), 1.0, &device);
    fg.sum() + bg.sum() + map.sum()
}

fn assert_same(got: &SelfSupport, want: &SelfSupport) {
    let pairs = [
        ("fg_prototype", got.fg_prototype.clone(), want.fg_prototype.clone()),
        ("bg_prototype", got.bg_prototype.clone(), want.bg_prototype.clone()),
    ];
    for (what, got, want) in pairs {
        let want = values(want);
        assert_close(what, &values(got), &want, 5e-6 * largest(&want));
    }
    let want = values(want.bg_adaptive.clone());
    assert_close("bg_adaptive", &values(got.bg_adaptive.clone()), &want, 5e-6 * largest(&want));
}

/// Runs both bodies and the gradient against the reference.
fn check(shape: [usize; 4], spread: f32, seed: u8, config: &SelfSupportConfig) {
    let [batch, _, h, w] = shape;
    let plain = test_device();
    let logits: Tensor<4> = tensor(&format!("logits{seed}"), [batch, 2, h, w], spread, &plain);
    let logit_values = values(logits.clone());
    let features: Tensor<4> = tensor(&format!("features{seed}"), shape, 2.0, &plain);
    let want = reference(features.clone(), &logit_values, config);
    assert_same(&self_support(features.clone(), logits, config), &want);

    let device = test_device().autodiff();
    let feature_values = values(features);
    let leaf = || from_values(feature_values.clone(), shape, &device).require_grad();
    let logits = from_values(logit_values.clone(), [batch, 2, h, w], &device);
    let ours = leaf();
    let found = self_support(ours.clone(), logits, config);
    assert_same(&found, &want);
    let got = ours.grad(&loss(found).backward()).expect("a gradient");
    let theirs = leaf();
    let grads = loss(reference(theirs.clone(), &logit_values, config)).backward();
    let want = values(theirs.grad(&grads).expect("a gradient"));
    assert_close("gradient", &values(got), &want, 2e-5 * largest(&want));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn equals_its_definition(
        (batch, c, h, w) in (1usize..4, 2usize..40, 1usize..12, 1usize..12),
        spread in prop_oneof![Just(0.2f32), Just(1.0), Just(4.0)],
        (top_k, temperature) in (1usize..20, 0.0f32..8.0),
        seed in 0u8..50,
    ) {
        let config = SelfSupportConfig { top_k, temperature, ..SelfSupportConfig::default() };
        check([batch, c, h, w], spread, seed, &config);
    }
}

#[test]
fn several_ways_are_what_each_is_alone() {
    // More positions than one tile of the CPU kernel, and ways that share members in every manner.
    let (shape, ways) = ([2, 6, 19, 17], 5);
    let plain = test_device();
    let features: Tensor<4> = tensor("features", shape, 2.0, &plain);
    let logits: Tensor<5> = tensor("logits", [2, ways, 2, 19, 17], 1.5, &plain);
    let tracked = test_device().autodiff();
    let leaf = from_values(values(features.clone()), shape, &tracked).require_grad();
    for config in [
        SelfSupportConfig::default(),
        SelfSupportConfig { bg_threshold: 1.0, top_k: 3, ..SelfSupportConfig::default() },
        SelfSupportConfig { temperature: 60.0, ..SelfSupportConfig::default() },
    ] {
        let found = self_support_ways(features.clone(), logits.clone(), &config);
        let composed = Tensor::from_data(logits.clone().into_data(), &tracked);
        let composed = self_support_ways(leaf.clone(), composed, &config);
        assert_eq!((found.len(), composed.len()), (ways, ways));
        for (way, (found, composed)) in found.iter().zip(&composed).enumerate() {
            let own = logits.clone().narrow(1, way, 1).reshape([2, 2, 19, 17]);
            let alone = self_support(features.clone(), own, &config);
            assert_same(found, &alone);
            assert_same(composed, &alone);
        }
    }
    let found = self_support_ways(
        leaf.clone(),
        Tensor::from_data(logits.into_data(), &tracked),
        &SelfSupportConfig::default(),
    );
    let total = found.into_iter().map(loss).reduce(|sum, one| sum + one).expect("ways");
    let grad = leaf.grad(&total.backward()).expect("a gradient");
    assert!(values(grad).iter().any(|v| *v != 0.0));
}

#[test]
#[should_panic(expected = "needs logits [1, ways, 2, 3, 3]")]
fn logits_of_ways_of_another_size_are_refused() {
    let device = test_device();
    let features = Tensor::zeros([1, 4, 3, 3], &device);
    let logits = Tensor::zeros([1, 2, 2, 4, 3], &device);
    let _ = self_support_ways(features, logits, &Default::default());
}

#[test]
fn one_position_is_its_own_prototype() {
    check([2, 8, 1, 1], 3.0, 0, &SelfSupportConfig::default());
    let device = test_device();
    let features: Tensor<4> = tensor("features", [1, 8, 1, 1], 1.0, &device);
    let logits = Tensor::zeros([1, 2, 1, 1], &device);
    let found = self_support(features.clone(), logits, &SelfSupportConfig::default());
    let want = values(features);
    assert_close("fg", &values(found.fg_prototype), &want, 1e-6);
    assert_close("bg", &values(found.bg_prototype), &want, 1e-6);
    assert_close("adaptive", &values(found.bg_adaptive), &want, 1e-6);
}

#[test]
fn maps_of_several_strips_and_sets_of_all_kinds() {
    // More background positions than one strip of the CPU kernel holds.
    check([1, 6, 31, 33], 1.5, 1, &SelfSupportConfig::default());
    // All background, so that there are no other queries.
    let config = SelfSupportConfig { bg_threshold: 0.0, ..SelfSupportConfig::default() };
    check([1, 6, 24, 25], 1.0, 2, &config);
    // Nothing passes.
    let config =
        SelfSupportConfig { fg_threshold: 1.0, bg_threshold: 1.0, ..SelfSupportConfig::default() };
    check([2, 6, 9, 11], 1.0, 3, &config);
}

#[test]
fn equal_probabilities_fall_back_to_the_first_positions() {
    let config = SelfSupportConfig { top_k: 3, ..SelfSupportConfig::default() };
    for device in [test_device(), test_device().autodiff()] {
        let features: Tensor<4> = tensor("features", [1, 4, 3, 3], 1.0, &device);
        let features = if device.is_autodiff() { features.require_grad() } else { features };
        let logits = Tensor::zeros([1, 2, 3, 3], &device);
        let found = self_support(features.clone(), logits, &config);
        let want = values(features.reshape([4, 9]).narrow(1, 0, 3).mean_dim(1));
        assert_close("fg", &values(found.fg_prototype), &want, 1e-6);
        assert_close("bg", &values(found.bg_prototype), &want, 1e-6);
    }
}

#[test]
fn steep_softmax_picks_the_nearest_member() {
    // Beyond the range of the CPU kernel; each member is its own nearest.
    let config =
        SelfSupportConfig { temperature: 5e3, bg_threshold: 0.0, ..SelfSupportConfig::default() };
    let device = test_device();
    let features: Tensor<4> = tensor("features", [1, 16, 4, 5], 1.0, &device);
    let logits = Tensor::zeros([1, 2, 4, 5], &device);
    let found = self_support(features.clone(), logits, &config);
    assert_close("adaptive", &values(found.bg_adaptive), &values(features), 1e-5);
}

#[test]
fn a_zero_feature_gives_no_nan() {
    let device = test_device().autodiff();
    let mut data = common::random("features", 4 * 6);
    (0..4).for_each(|channel| data[channel * 6 + 2] = 0.0);
    let features = from_values(data, [1, 4, 2, 3], &device).require_grad();
    let logits = Tensor::zeros([1, 2, 2, 3], &device);
    let found = self_support(features.clone(), logits, &SelfSupportConfig::default());
    assert!(values(found.bg_adaptive.clone()).iter().all(|v| v.is_finite()));
    let grad = features.grad(&loss(found).backward()).expect("a gradient");
    assert!(values(grad).iter().all(|v| v.is_finite()));
}

#[test]
#[should_panic(expected = "needs logits [1, 2, 3, 3]")]
fn logits_of_another_size_are_refused() {
    let device = test_device();
    let features = Tensor::zeros([1, 4, 3, 3], &device);
    let _ = self_support(features, Tensor::zeros([1, 2, 4, 3], &device), &Default::default());
}

#[test]
fn pairs_serve_any_number_of_first_predictions() {
    for device in [test_device(), test_device().autodiff()] {
        let features = tensor::<4>("features", [2, 5, 6, 7], 1.0, &device);
        let config = SelfSupportConfig { top_k: 3, ..SelfSupportConfig::default() };
        let pairs = QueryPairs::new(features.clone(), &config).expect("a small map");
        let logits = |name: &str, scale| tensor::<4>(name, [2, 2, 6, 7], scale, &device);
        // Sets of ordinary size, nearly the same ones again, and none that passes.
        let ones = [("a", 3.0), ("a", 2.9), ("b", 3.0), ("c", 0.1)];
        let mut chained = pairs.clone();
        for (name, scale) in ones {
            let alone = self_support(features.clone(), logits(name, scale), &config);
            let (found, next) = chained.self_support(logits(name, scale));
            // What was asked before makes no difference.
            let (again, _) = pairs.self_support(logits(name, scale));
            for found in [found, again] {
                let both = [
                    (values(found.fg_prototype), values(alone.fg_prototype.clone())),
                    (values(found.bg_prototype), values(alone.bg_prototype.clone())),
                    (values(found.bg_adaptive), values(alone.bg_adaptive.clone())),
                ];
                for (found, alone) in both {
                    assert_close(name, &found, &alone, 1e-5);
                }
            }
            chained = next;
        }
    }
}

#[test]
fn pairs_that_would_fill_the_memory_are_not_made() {
    let device = test_device();
    let features = tensor::<4>("features", [1, 1, 80, 80], 1.0, &device);
    assert!(QueryPairs::new(features.clone(), &SelfSupportConfig::default()).is_none());
    let small = features.narrow(2, 0, 10);
    let hot = SelfSupportConfig { temperature: 50.0, ..SelfSupportConfig::default() };
    assert!(QueryPairs::new(small, &hot).is_none());
}
