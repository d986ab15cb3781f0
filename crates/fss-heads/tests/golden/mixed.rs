//! Mixed precision in training, with tolerances of its own: losses and gradients of the official code in float32
//! against ours with convolutions in float16 and bfloat16, under a scaled loss.

use std::collections::BTreeMap;

use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use fss_backbone::{ComputePrecision, DeepStemResNet, KeyStyle, NormSource, TrainingPass};
use fss_heads::denet::FullLabels;
use fss_heads::{Dropout, EpisodeBatch, Losses, Refine, TrainableModel};
use fss_support::golden::{Case, cases, relative_l2, report, report_optional};

use crate::denet::{classes, denet};
use crate::device::test_device;
use crate::extending::{batch, named_gradients};
use crate::hsnet::filled as filled_hsnet;
use crate::mlc::filled_mlc;
use crate::ssp::filled_ssp;
use crate::support::{episode, images, labels, tensor, values};

/// What the loss is multiplied by before gradients are computed.
const SCALE: f64 = 1024.0;

/// The largest image: float16 is slow on the CPU, so that its goldens are the smaller ones.
const LARGEST: usize = 100;

fn is_small(case: &Case, query: &str) -> bool {
    let shape = case.shape(query);
    shape[0] == 1 && shape.iter().all(|side| *side <= LARGEST)
}

/// How far losses and gradients may lie from those of float32.
struct Tolerance {
    half: FloatDType,
    /// Of a loss, relative.
    loss: f64,
    /// Of outputs (relative L2).
    output: f64,
    /// Of the gradient (relative L2). ReLUs and poolings that choose otherwise make most of it.
    gradient: f64,
}

/// Runs `check` in every half precision that the device has.
fn in_half_precisions(
    tolerances: [Tolerance; 2],
    mut check: impl FnMut(ComputePrecision, &Tolerance),
) {
    for tolerance in tolerances {
        if test_device().supports_dtype(tolerance.half) {
            check(ComputePrecision::Mixed(tolerance.half), &tolerance);
        }
    }
}

/// Asserts that an error is there, because something was rounded, and no larger than it may be.
fn rounded(case: &Case, what: &str, error: f64, tolerance: f64) {
    println!("{} {what}: {error:.2e} (at most {tolerance:.1e})", case.name);
    assert!(error > 0.0, "{}: {what} was not rounded", case.name);
    assert!(error <= tolerance, "{}: {what} is off by {error:e}", case.name);
}

fn check_loss(case: &Case, name: &str, loss: Tensor<1>, tolerance: &Tolerance) {
    let want = f64::from(case.f32(name).1[0]);
    let error = (f64::from(values(loss)[0]) / want - 1.0).abs();
    rounded(case, &format!("{name} in {:?}", tolerance.half), error, tolerance.loss);
}

fn check_output(case: &Case, name: &str, output: Tensor<4>, tolerance: &Tolerance) {
    let error = relative_l2(&values(output), &case.f32(name).1);
    rounded(case, &format!("{name} in {:?}", tolerance.half), error, tolerance.output);
}

/// The gradient of all weights that the case holds, as one: that of some is next to nothing.
fn check_gradients(
    case: &Case,
    prefix: &str,
    gradients: &BTreeMap<String, Vec<f32>>,
    tolerance: &Tolerance,
) {
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for name in case.names().iter().filter_map(|name| name.strip_prefix(prefix)) {
        let (key, part) = name.split_once('/').unwrap_or((name, "first"));
        if part == "l2" {
            continue;
        }
        let part = case.f32(&format!("{prefix}{name}")).1;
        got.extend(gradients[key][..part.len()].iter().map(|value| value / SCALE as f32));
        want.extend(part);
    }
    let error = relative_l2(&got, &want);
    rounded(case, &format!("gradients in {:?}", tolerance.half), error, tolerance.gradient);
}

fn check_backbone(
    case: &Case,
    style: KeyStyle,
    backbone: &DeepStemResNet,
    losses: Losses,
    tolerance: &Tolerance,
) {
    let found = backbone.named_gradients(&(losses.total * SCALE).backward()).into_iter();
    let gradients = found.map(|gradient| (style.spell(&gradient.key), gradient.values)).collect();
    check_gradients(case, "grad.", &gradients, tolerance);
}

const SSP: [Tolerance; 2] = [
    Tolerance { half: FloatDType::F16, loss: 1.5e-4, output: 6e-5, gradient: 0.2 },
    Tolerance { half: FloatDType::BF16, loss: 6e-4, output: 4e-4, gradient: 0.5 },
];

#[test]
fn golden_mixed_ssp_train() {
    let device = test_device().autodiff();
    let cases = cases("ssp", "train_");
    in_half_precisions(SSP, |precision, tolerance| {
        for case in &cases {
            let refine = if case.has("train.out_2") { Refine::On } else { Refine::Off };
            let model = filled_ssp(case, refine, &device).with_precision(precision);
            let batch = episode(case, "", &device);
            let outputs = model.training_outputs(&batch).expect("a batch");
            check_output(case, "train.out_1", outputs.first, tolerance);
            let losses = model.losses(&batch).expect("a batch");
            check_loss(case, "loss", losses.total.clone(), tolerance);
            check_backbone(case, KeyStyle::Ssp, &model.backbone, losses, tolerance);
        }
    });
    report("ssp/train_ in mixed precision", cases.len());
}

const MLC: [Tolerance; 2] = [
    Tolerance { half: FloatDType::F16, loss: 5e-5, output: 0.0, gradient: 0.1 },
    Tolerance { half: FloatDType::BF16, loss: 4e-4, output: 0.0, gradient: 0.25 },
];

#[test]
fn golden_mixed_mlc_train() {
    let device = test_device().autodiff();
    let cases = cases("mlc", "train_");
    in_half_precisions(MLC, |precision, tolerance| {
        for case in &cases {
            let model = filled_mlc(case, &device).with_precision(precision);
            let batch = episode(case, "", &device);
            let losses = model.losses(&batch).expect("a batch");
            check_loss(case, "loss", losses.total.clone(), tolerance);
            check_backbone(case, KeyStyle::Mlc, &model.backbone, losses, tolerance);
        }
    });
    report("mlc/train_ in mixed precision", cases.len());
}

const HSNET: [Tolerance; 2] = [
    Tolerance { half: FloatDType::F16, loss: 0.0, output: 2e-4, gradient: 0.0 },
    Tolerance { half: FloatDType::BF16, loss: 0.0, output: 1.5e-3, gradient: 0.0 },
];

#[test]
fn golden_mixed_hsnet_model() {
    let device = test_device();
    let mut count = 0;
    in_half_precisions(HSNET, |precision, tolerance| {
        for case in &cases("hsnet", "model_") {
            let original = case.settings["use_original_imgsize"].as_bool() == Some(true);
            let shots = case.usize_setting("shots") as i64;
            if original || shots > 1 || !is_small(case, "query_u8") {
                continue;
            }
            let model = filled_hsnet(case, &device).with_precision(precision);
            let query = images(case, "query_u8", &device);
            let [samples, _, height, width] = query.dims();
            let supports = images(case, "support_u8", &device);
            let masks = labels(case, "support_mask", &device);
            let shot = |k: i64| {
                let picked: Vec<i64> = (0..samples as i64).map(|i| i * shots + k).collect();
                let picked = TensorData::from(picked.as_slice());
                let picked = Tensor::<1, Int>::from_data(picked, &device);
                (supports.clone().select(0, picked.clone()), masks.clone().select(0, picked))
            };
            let batch = EpisodeBatch {
                query,
                query_mask: Tensor::zeros([samples, height, width], &device),
                supports: (0..shots).map(shot).collect(),
                extra: None,
                cams: None,
            };
            let logits = model.training_logits(&batch).expect("a batch");
            let logits = values(Tensor::stack::<5>(logits, 1));
            let error = relative_l2(&logits, &case.f32("logits").1);
            rounded(case, &format!("logits in {:?}", tolerance.half), error, tolerance.output);
            count += 1;
        }
    });
    report("hsnet/model_ in mixed precision", count);
}

/// Features under the running statistics, as a first look at the backbone.
const DENET_FEATURES: [Tolerance; 2] = [
    Tolerance { half: FloatDType::F16, loss: 0.0, output: 2e-3, gradient: 0.0 },
    Tolerance { half: FloatDType::BF16, loss: 0.0, output: 1.5e-2, gradient: 0.0 },
];

#[test]
fn golden_mixed_denet_features() {
    let device = test_device();
    let mut cases = cases("denet", "denet_");
    cases.retain(|case| is_small(case, "Iq"));
    in_half_precisions(DENET_FEATURES, |precision, tolerance| {
        for case in &cases {
            let model = denet(case, "maximum_num_classes", &device);
            let mut pass = TrainingPass::new(NormSource::Running, precision);
            let levels = model.backbone.forward_training(tensor(case, "Iq", &device), &mut pass);
            check_output(case, "hidden_Fq", model.embed(levels), tolerance);
        }
    });
    report_optional("denet/denet_ in mixed precision", cases.len());
}

/// Norms over the few positions of small images enlarge every rounding, that of float32 as well, a
/// thousandfold.
const DENET: [Tolerance; 2] = [
    Tolerance { half: FloatDType::F16, loss: 7e-3, output: 0.12, gradient: 0.12 },
    Tolerance { half: FloatDType::BF16, loss: 3e-2, output: 0.6, gradient: 0.5 },
];

#[test]
fn golden_mixed_denet_train() {
    let device = test_device().autodiff();
    let cases = cases("denet", "train_denet_");
    in_half_precisions(DENET, |precision, tolerance| {
        for case in &cases {
            let model =
                denet(case, "num_classes", &device).without_dropout().with_precision(precision);
            let batch = batch(case, &device);
            let full = FullLabels {
                masks: labels(case, "Yq_full", &device),
                classes: classes(case, "classes").concat(),
            };
            let mut pass = TrainingPass::new(NormSource::Batch, precision);
            let dropout = &mut Dropout::off();
            let found = model.training_logits(&batch, &full.classes, &mut pass, dropout);
            check_output(case, "logits_full", found.expect("logits").full, tolerance);
            let lambda = case.settings["lambda"].as_f64().expect("a number");
            let losses = model.losses(&batch, &full, lambda).expect("losses");
            check_loss(case, "loss_k", losses.total.clone(), tolerance);
            let gradients = named_gradients(&model, &(losses.total * SCALE).backward());
            check_gradients(case, "grad/", &gradients, tolerance);
        }
    });
    report_optional("denet/train_denet_ in mixed precision", cases.len());
}
