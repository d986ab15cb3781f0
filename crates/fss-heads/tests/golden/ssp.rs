//! SSP.

use burn::tensor::{Device, Tensor};
use fss_backbone::{DeepStemResNetConfig, Depth, KeyStyle, Stage};
use fss_heads::{Features, FewShotModel, Refine, Ssp, SspConfig, TrainableModel};
use fss_support::golden::{Case, assert_close, cases, report};

use crate::device::test_device;
use crate::support::{
    assert_prediction, check_feature_gradients, check_weight_gradients, episode, filled_backbone,
    labels, shots_of, tensor, values,
};

/// The published model around an untrained backbone: heads are tested on given features.
fn head(refine: Refine, device: &Device) -> Ssp {
    SspConfig::new(DeepStemResNetConfig::new(Depth::R50)).with_refine(refine).init(device, 0)
}

/// The case's model, ready for training as published: stem, first layer and norms are frozen.
pub fn filled_ssp(case: &Case, refine: Refine, device: &Device) -> Ssp {
    let backbone = filled_backbone(case, KeyStyle::Ssp, device);
    SspConfig::new(DeepStemResNetConfig::new(Depth::R50))
        .with_refine(refine)
        .init_with(backbone.freeze(&[Stage::Stem, Stage::Layer1]))
}

#[test]
fn golden_ssp_head() {
    let device = test_device();
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
            let logits = model.segment(&support, &query, [shape[2], shape[3]]);
            close(name, values(logits.expect("a query")));
        }
        if case.has("loss") {
            head_in_training(case);
        }
    }
    report("ssp/head_", cases.len());
}

fn head_in_training(case: &Case) {
    let device = test_device().autodiff();
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
    let terms: Vec<f32> =
        losses.terms.iter().flat_map(|term| values(term.value.clone().expect("pixels"))).collect();
    close("loss.terms", terms, 1e-5);
    close("loss", values(losses.total.clone()), 1e-5);
    let gradients = losses.total.backward();
    let mut inputs = vec![("feature_q".to_owned(), query)];
    for (k, shot) in shots.into_iter().enumerate() {
        inputs.push((format!("feature_s.{k}"), shot.features.0[0].clone()));
    }
    check_feature_gradients(case, &inputs, &gradients);
}

#[test]
fn golden_ssp_model() {
    let device = test_device();
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
            let refined = model.segment(&support, &features, size).expect("a query");
            let plain = model.clone().with_refine(Refine::Off);
            let plain = plain.segment(&support, &features, size).expect("a query");
            close("out.refine.0", values(refined.clone()), 2e-4);
            close("out.refine.1", values(plain), 2e-4);
            assert_prediction(case, refined);
        }
    }
    report("ssp/model_", cases.len());
}

#[test]
fn golden_ssp_train() {
    let device = test_device().autodiff();
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
        let terms: Vec<f32> = losses
            .terms
            .iter()
            .flat_map(|term| values(term.value.clone().expect("pixels")))
            .collect();
        close("loss.terms", terms, 1e-5);
        close("loss", values(losses.total.clone()), 1e-5);

        let gradients = losses.total.backward();
        check_weight_gradients(case, KeyStyle::Ssp, &model.backbone, &gradients);
    }
    report("ssp/train_", cases.len());
}
