//! The MLC baseline.

use burn::tensor::Device;
use fss_backbone::{DeepStemResNetConfig, Depth, KeyStyle};
use fss_heads::loss::cross_entropy;
use fss_heads::{Features, FewShotModel, Mlc, MlcConfig, TrainableModel};
use fss_support::golden::{Case, cases, report};

use crate::device::test_device;
use crate::support::{
    assert_prediction, check_feature_gradients, check_weight_gradients, close, episode,
    filled_backbone, labels, shots_of, tensor, values,
};

/// A ResNet-50 has 16 channels for each of its width.
fn head(channels: usize, device: &Device) -> Mlc {
    let backbone = DeepStemResNetConfig::new(Depth::R50).with_width(channels / 16);
    MlcConfig::new(backbone).init(device, 0)
}

/// The case's model, ready for training as published: only the norms are frozen.
pub fn filled_mlc(case: &Case, device: &Device) -> Mlc {
    MlcConfig::new(DeepStemResNetConfig::new(Depth::R50)).init_with(filled_backbone(
        case,
        KeyStyle::Mlc,
        device,
    ))
}

#[test]
fn golden_mlc_head() {
    let device = test_device().autodiff();
    let cases = cases("mlc", "head_");
    for case in &cases {
        let query = tensor::<4>(case, "feature_q", &device).require_grad();
        let mut inputs = vec![("feature_q".to_owned(), query.clone())];
        let mut shots = shots_of(case, &device);
        for (k, shot) in shots.iter_mut().enumerate() {
            shot.features.0[0] = shot.features.0[0].clone().require_grad();
            inputs.push((format!("feature_s.{k}"), shot.features.0[0].clone()));
        }
        assert_eq!(shots.len(), case.usize_setting("shot"), "{}", case.name);
        let mask = labels(case, "mask_q", &device);
        let [_, height, width] = mask.dims();
        let model = head(query.dims()[1], &device);
        let logits = model
            .training_logits_from(&Features::single(query), &shots, [height, width])
            .expect("a support set and a query");
        close(case, "in training", "out", values(logits.clone()), 1e-4);
        let loss = cross_entropy(logits, mask);
        close(case, "", "loss", values(loss.clone()), 1e-5);
        check_feature_gradients(case, &inputs, &loss.backward());

        let device = test_device();
        let model = head(inputs[0].1.dims()[1], &device);
        let support = model.encode_support(&shots_of(case, &device)).expect("a support set");
        let query = Features::single(tensor(case, "feature_q", &device));
        let logits = model.segment(&support, &query, [height, width]).expect("a query");
        close(case, "in inference", "out", values(logits), 1e-4);
    }
    report("mlc/head_", cases.len());
}

#[test]
fn golden_mlc_model() {
    let device = test_device();
    let cases = cases("mlc", "model_");
    for case in &cases {
        let unfolded = filled_mlc(case, &device);
        for (variant, model) in [("folded", unfolded.clone().fold()), ("unfolded", unfolded)] {
            let close = |name: &str, got: Vec<f32>, tolerance: f32| {
                close(case, variant, name, got, tolerance);
            };
            let episode = episode(case, "", &device);
            let support = model.encode_support_images(&episode.supports).expect("a support set");
            close("FP", values(support.foreground.clone()), 1e-4);
            close("BP", values(support.background.clone()), 1e-4);
            let [_, _, height, width] = episode.query.dims();
            let features = model.features(episode.query);
            close("out.low", values(model.matching(&support, &features).expect("a query")), 2e-4);
            let logits = model.segment(&support, &features, [height, width]).expect("a query");
            close("out", values(logits.clone()), 2e-4);
            assert_prediction(case, logits);
        }
    }
    report("mlc/model_", cases.len());
}

#[test]
fn golden_mlc_train() {
    let device = test_device().autodiff();
    let cases = cases("mlc", "train_");
    for case in &cases {
        let model = filled_mlc(case, &device);
        let batch = episode(case, "", &device);
        close(case, "", "out", values(model.training_logits(&batch).expect("a batch")), 2e-4);
        let losses = model.losses(&batch).expect("a batch");
        close(case, "", "loss", values(losses.total.clone()), 1e-5);
        let gradients = losses.total.backward();
        check_weight_gradients(case, KeyStyle::Mlc, &model.backbone, &gradients);
    }
    report("mlc/train_", cases.len());
}
