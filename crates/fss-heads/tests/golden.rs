//! Golden tests of the heads: outputs of the official code with weights by the fill rule.

mod support;

use burn::tensor::{Device, Tensor};
use fss_backbone::DeepStemResNetConfig;
use fss_heads::{
    EpisodeBatch, Features, FewShotModel, Refine, Shot, Ssp, SspConfig, TrainableModel,
    loss::{cross_entropy, cross_entropy_map, weighted_cross_entropy},
};
use fss_support::golden::{Case, assert_close, cases, relative_l2, report};
use support::{filled_ssp, gradients_by_key, labels, numbered, tensor, values};

#[test]
fn golden_cross_entropy() {
    let device = Device::flex().autodiff();
    let cases = cases("common", "cross_entropy");
    for case in &cases {
        let target = labels(case, "target", &device);
        let logits = tensor::<4>(case, "logits", &device).require_grad();
        let weights = tensor::<1>(case, "weight", &device);
        let close = |name: &str, got: Vec<f32>| {
            assert_close(&format!("{}: {name}", case.name), &got, &case.f32(name).1, 1e-6);
        };
        let map = cross_entropy_map(logits.clone(), target.clone());
        assert_close("loss_sum", &values(map.clone().sum()), &case.f32("loss_sum").1, 1e-4);
        close("loss_none", values(map));
        let weighted = weighted_cross_entropy(logits.clone(), target.clone(), weights);
        close("loss_mean_weighted", values(weighted));
        let mean = cross_entropy(logits.clone(), target.clone());
        close("loss_mean", values(mean.clone()));
        let gradient = logits.grad(&mean.backward()).expect("a gradient");
        close("grad_of_mean", values(gradient));
        let ignored = target.ones_like() * 255;
        close("loss_all_ignored", values(cross_entropy(logits, ignored)));
    }
    report("common/cross_entropy", cases.len());
}

/// The published model around an untrained backbone: heads are tested on given features.
fn head(refine: Refine, device: &Device) -> Ssp {
    SspConfig::new(DeepStemResNetConfig::new(fss_backbone::Depth::R50))
        .with_refine(refine)
        .init(device, 0)
}

fn shots_of(case: &Case, device: &Device) -> Vec<Shot> {
    numbered(case, "feature_s.")
        .map(|k| Shot {
            features: Features::single(tensor(case, &format!("feature_s.{k}"), device)),
            mask: labels(case, &format!("mask_s.{k}"), device),
        })
        .collect()
}

#[test]
fn golden_ssp_head() {
    let device = Device::flex();
    let cases = cases("ssp", "head_");
    for case in &cases {
        let close = |name: &str, got: Vec<f32>| {
            if case.has(name) {
                assert_close(&format!("{}: {name}", case.name), &got, &case.f32(name).1, 1e-4);
            }
        };
        let model = head(Refine::On, &device);
        let support = model.encode_support(&shots_of(case, &device)).expect("a support set");
        close("FP", values(support.foreground.clone()));
        close("BP", values(support.background.clone()));
        let query = tensor::<4>(case, "feature_q", &device);
        let matching = model.matching(&support, &query);
        close("out_0.low", values(matching.initial.clone()));
        close("out_1.low", values(matching.first.clone()));
        close("out_2.low", values(matching.second.clone().expect("a refined matching")));
        for (step, logits) in [(1, &matching.initial), (2, &matching.first)] {
            let own = fss_kernels::self_support(query.clone(), logits.clone(), &Default::default());
            close(&format!("SSFP_{step}"), values(own.fg_prototype));
            close(&format!("SSBP_{step}"), values(own.bg_prototype));
            close(&format!("ASBP_{step}"), values(own.bg_adaptive));
        }
        let query = Features::single(query);
        for (name, refine) in [("out.refine.0", Refine::On), ("out.refine.1", Refine::Off)] {
            let shape = case.shape(name);
            let model = model.clone().with_refine(refine);
            close(name, values(model.segment(&support, &query, [shape[2], shape[3]])));
        }
        if case.has("loss") {
            head_in_training(case);
        }
    }
    report("ssp/head_", cases.len());
}

fn head_in_training(case: &Case) {
    let device = Device::flex().autodiff();
    let close = |name: &str, got: Vec<f32>, tolerance: f32| {
        assert_close(&format!("{}: {name}", case.name), &got, &case.f32(name).1, tolerance);
    };
    let refine = if case.has("train.out_2") { Refine::On } else { Refine::Off };
    let query = tensor::<4>(case, "feature_q", &device).require_grad();
    let mut shots = shots_of(case, &device);
    for (k, shot) in shots.iter_mut().enumerate() {
        shot.features.0[0] = shot.features.0[0].clone().require_grad();
        // In training all masks have one size; here it is that of the features.
        let small = format!("mask_s_small.{k}");
        if case.has(&small) {
            shot.mask = labels(case, &small, &device);
        }
    }
    let mask = labels(case, "mask_q", &device);
    let shape = mask.dims();
    let outputs = head(refine, &device)
        .training_outputs_from(
            &Features::single(query.clone()),
            &mask,
            &shots,
            [shape[1], shape[2]],
        )
        .expect("a support set");
    if let Some(refined) = &outputs.refined {
        close("train.out_2", values(refined.clone()), 1e-4);
    }
    close("train.out_1", values(outputs.first.clone()), 1e-4);
    close("train.self_out", values(outputs.own.clone()), 1e-4);
    close("train.supp_out", values(outputs.supports.clone()), 1e-4);
    let masks = shots.iter().map(|shot| shot.mask.clone()).collect();
    let losses = outputs.losses(&mask, &Tensor::cat(masks, 0));
    let terms: Vec<f32> = losses.terms.iter().flat_map(|term| values(term.value.clone())).collect();
    close("loss.terms", terms, 1e-5);
    close("loss", values(losses.total.clone()), 1e-5);
    let gradients = losses.total.backward();
    let check = |name: String, input: &Tensor<4>| {
        let got = values(input.grad(&gradients).expect("a gradient"));
        let error = relative_l2(&got, &case.f32(&name).1);
        assert!(error < 1e-3, "{}: {name}: relative L2 {error:e}", case.name);
    };
    check("grad.feature_q".into(), &query);
    for (k, shot) in shots.iter().enumerate() {
        check(format!("grad.feature_s.{k}"), &shot.features.0[0]);
    }
}

/// The images of an episode: query, supports with masks, and the query's mask where there is one.
fn episode(case: &Case, prefix: &str, device: &Device) -> EpisodeBatch {
    let name = |part: &str| format!("{prefix}{part}");
    let query = tensor::<4>(case, &name("img_q"), device);
    let [samples, _, height, width] = query.dims();
    let mask = name("mask_q");
    EpisodeBatch {
        query,
        query_mask: if case.has(&mask) {
            labels(case, &mask, device)
        } else {
            Tensor::zeros([samples, height, width], device)
        },
        supports: numbered(case, &name("img_s."))
            .map(|k| {
                let image = tensor(case, &name(&format!("img_s.{k}")), device);
                (image, labels(case, &name(&format!("mask_s.{k}")), device))
            })
            .collect(),
    }
}

#[test]
fn golden_ssp_model() {
    let device = Device::flex();
    let cases = cases("ssp", "model_");
    for case in &cases {
        let unfolded = filled_ssp(case, Refine::On, &device);
        for (variant, model) in [("folded", unfolded.clone().fold()), ("unfolded", unfolded)] {
            let close = |name: &str, got: Vec<f32>, tolerance: f32| {
                let what = format!("{} ({variant}): {name}", case.name);
                assert_close(&what, &got, &case.f32(name).1, tolerance);
            };
            let episode = episode(case, "", &device);
            let support = model.encode_support_images(&episode.supports).expect("a support set");
            close("FP", values(support.foreground.clone()), 1e-4);
            close("BP", values(support.background.clone()), 1e-4);
            let features = model.features(episode.query.clone());
            let matching = model.matching(&support, &features.0[0]);
            close("out_0.low", values(matching.initial), 2e-4);
            close("out_1.low", values(matching.first), 2e-4);
            close("out_2.low", values(matching.second.expect("a refined matching")), 2e-4);
            let [_, _, height, width] = episode.query.dims();
            let size = [height, width];
            let refined = model.segment(&support, &features, size);
            let plain = model.clone().with_refine(Refine::Off).segment(&support, &features, size);
            close("out.refine.0", values(refined.clone()), 2e-4);
            close("out.refine.1", values(plain), 2e-4);
            let labels: Vec<i64> = refined.argmax(1).try_into_vec_as().expect("labels");
            let (_, want) = case.u8("pred");
            let flips = labels.iter().zip(&want).filter(|(a, b)| **a != i64::from(**b)).count();
            assert!(flips * 1000 <= want.len(), "{}: {flips} pixels flip", case.name);
        }
    }
    report("ssp/model_", cases.len());
}

#[test]
fn golden_ssp_train() {
    let device = Device::flex().autodiff();
    let cases = cases("ssp", "train_");
    for case in &cases {
        let close = |name: &str, got: Vec<f32>, tolerance: f32| {
            assert_close(&format!("{}: {name}", case.name), &got, &case.f32(name).1, tolerance);
        };
        let refine = if case.has("train.out_2") { Refine::On } else { Refine::Off };
        let model = filled_ssp(case, refine, &device);
        let batch = episode(case, "", &device);
        let outputs = model.training_outputs(&batch).expect("a batch");
        if let Some(refined) = outputs.refined {
            close("train.out_2", values(refined), 2e-4);
        }
        close("train.out_1", values(outputs.first), 2e-4);
        close("train.self_out", values(outputs.own), 2e-4);
        close("train.supp_out", values(outputs.supports), 2e-4);

        let losses = model.losses(&batch).expect("a batch");
        let terms: Vec<f32> =
            losses.terms.iter().flat_map(|term| values(term.value.clone())).collect();
        close("loss.terms", terms, 1e-5);
        close("loss", values(losses.total.clone()), 1e-5);

        let gradients = gradients_by_key(&model.backbone, losses.total.backward());
        let trained = case.usize_setting("params_with_grad");
        assert_eq!(gradients.len(), trained, "{}: parameters with a gradient", case.name);
        for name in case.names().iter().filter_map(|name| name.strip_prefix("grad.")) {
            let got = &gradients[name];
            let want = case.f32(&format!("grad.{name}")).1;
            let head = &got[..want.len()];
            let error = relative_l2(head, &want);
            let last = head_of_last_block(&gradients);
            let tolerance = if name == last { 1e-4 } else { 1e-2 };
            assert!(error < tolerance, "{}: gradient of {name}: {error:e}", case.name);
            let norm = got.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let want = f64::from(case.f32(&format!("gradnorm.{name}")).1[0]);
            assert!((norm / want - 1.0).abs() < 1e-2, "{}: norm of {name}: {norm}", case.name);
        }
    }
    report("ssp/train_", cases.len());
}

/// The key of the last trained convolution, whose gradient has passed no other ReLU.
fn head_of_last_block(gradients: &std::collections::BTreeMap<String, Vec<f32>>) -> String {
    gradients
        .keys()
        .filter_map(|key| {
            let block = key.strip_prefix("layer3.")?.strip_suffix(".conv3.weight")?;
            block.parse::<usize>().ok()
        })
        .max()
        .map(|block| format!("layer3.{block}.conv3.weight"))
        .expect("gradients of layer3")
}
