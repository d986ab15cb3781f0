//! DENet.

use burn::tensor::{Device, Int, Tensor};
use fss_backbone::{ComputePrecision, ImagenetConfig, NormSource, TrainingPass, module_tensors};
use fss_heads::amp::binary_logits;
use fss_heads::denet::estimator::{against_background, classified};
use fss_heads::denet::losses::{binary_focal_loss, fitted_cross_entropy, knowledge_loss};
use fss_heads::denet::{FullLabels, Repeated, SeenClasses, WeightEstimator};
use fss_heads::{Denet, DenetConfig, Dropout, FewShotModel};
use fss_kernels::{Corners, resize_bilinear, resize_nearest};
use fss_support::golden::{Case, cases, report_optional};

use crate::device::test_device;
use crate::extending::{
    EVALUATION, TRAINING, batch, check_gradients, check_sgd, check_statistics, close, key_lists,
    maps, named_gradients, of_shot,
};
use crate::support::{filled_module, labels, tensor, values};

/// The model of a case that names a backbone.
pub fn denet(case: &Case, classes: &str, device: &Device) -> Denet {
    let backbone = ImagenetConfig::new(case.str_setting("backbone").parse().expect("a backbone"));
    filled(DenetConfig::new(backbone, case.usize_setting(classes)), device)
}

/// A model of which only the head is read.
fn head(classes: usize, device: &Device) -> Denet {
    let backbone = ImagenetConfig::new("resnet50".parse().expect("a backbone")).with_width(4);
    filled(DenetConfig::new(backbone, classes), device)
}

fn filled(config: DenetConfig, device: &Device) -> Denet {
    filled_module(config.init(device, 0), "", |_, values| values)
}

/// The classes of each sample, `[N, w]` or `[N]`.
pub fn classes(case: &Case, name: &str) -> Vec<Vec<usize>> {
    let (shape, ids) = case.i64(name);
    let ways = shape.get(1).copied().unwrap_or(1);
    let ids: Vec<usize> = ids.into_iter().map(|id| usize::try_from(id).expect("an id")).collect();
    ids.chunks(ways).map(<[usize]>::to_vec).collect()
}

/// The rows of each way from features `[N w K, 256, h, w]` and masks `[N w K, H, W]`.
fn rows(
    estimator: &WeightEstimator,
    features: &Tensor<4>,
    masks: &Tensor<3, Int>,
    [ways, count]: [usize; 2],
) -> Vec<Tensor<2>> {
    let masks = masks.clone().float().unsqueeze_dim::<4>(1);
    let shots: Vec<(Tensor<4>, Tensor<4>)> =
        (0..count).map(|k| (of_shot(features, k, count), of_shot(&masks, k, count))).collect();
    let of_way = |way: usize| {
        let shots: Vec<(Tensor<4>, Tensor<3, Int>)> = shots
            .iter()
            .map(|(features, masks)| {
                let mask = of_shot(masks, way, ways).squeeze_dim::<3>(1).int();
                (of_shot(features, way, ways), mask)
            })
            .collect();
        let shots: Vec<_> = shots.iter().map(|(features, mask)| (features, mask)).collect();
        estimator.row(&shots, &mut Dropout::off())
    };
    (0..ways).map(of_way).collect()
}

#[test]
fn golden_deeplab_head() {
    let device = test_device();
    let cases = cases("denet", "deeplab_head");
    for case in &cases {
        let model = head(21, &device);
        let x: Tensor<4> = tensor(case, "x", &device);
        let aspp = model.head.aspp.forward(x.clone(), &mut Dropout::off());
        close(case, "aspp", &values(aspp), EVALUATION);
        let bare = model.head.forward_without_norm(x.clone()).expect("a norm of its own");
        close(case, "head_norelu", &values(bare), EVALUATION);
        for head in [&model.head, &model.clone().fold().head] {
            close(case, "head", &values(head.forward(x.clone())), EVALUATION);
        }
        let mut pass = TrainingPass::new(NormSource::Batch, ComputePrecision::Full);
        let trained = model.head.forward_training(x, &mut pass, &mut Dropout::off());
        close(case, "head_train", &values(trained), TRAINING);
        let mut moved = model.clone();
        moved.head.last.absorb(&mut pass.into_moments().into_iter());
        let moved = module_tensors(&moved).expect("tensors");
        for name in ["running_mean", "running_var"] {
            let key = format!("deeplab_head.bn.{name}");
            let tensor = moved.iter().find(|tensor| tensor.key == key).expect("a statistic");
            close(case, &format!("bn_{name}_after"), &tensor.values, TRAINING);
        }
    }
    report_optional("denet/deeplab_head", cases.len());
}

#[test]
fn golden_guided_attention() {
    let device = test_device();
    let cases = cases("denet", "map_gam");
    for case in &cases {
        let estimator = head(21, &device).estimator;
        let features: Tensor<4> = tensor(case, "embedding", &device);
        let mask = labels(case, "mask", &device);
        let [batch, channels, height, width] = features.dims();
        let gate = estimator.gate(&features, &mask, &mut Dropout::off());
        close(case, "gam_gate", &values(gate.clone()), EVALUATION);
        let gated = features.clone() * gate.reshape([batch, channels, 1, 1]);
        close(case, "gam", &values(gated), EVALUATION);
        let mean = WeightEstimator::pooled(&features, &mask);
        close(case, "map_plain", &values(mean.clone()), EVALUATION);
        close(case, "map_projected", &values(estimator.projected(mean.clone())), EVALUATION);
        let norm = mean.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        close(case, "nmap", &values(mean / norm), EVALUATION);
        let mask = resize_nearest(mask.float().unsqueeze_dim::<4>(1), [height, width]);
        let resized: Vec<f32> = case.u8("mask_resized").1.into_iter().map(f32::from).collect();
        assert_eq!(values(mask.clone()), resized, "{}", case.name);
        close(case, "map_nopool", &values(features * mask), EVALUATION);
    }
    report_optional("denet/map_gam", cases.len());
}

#[test]
fn golden_estimator() {
    let device = test_device();
    let cases = cases("denet", "estimator_");
    for case in &cases {
        let estimator = head(case.usize_setting("num_classes"), &device).estimator;
        if case.settings["support_free"].as_bool() == Some(true) {
            check_support_free(case, estimator, &device);
        } else if case.str_setting("mode") == "deploy" {
            check_deploy(case, estimator, &device);
        } else {
            check_extended(case, &estimator, &device);
        }
    }
    report_optional("denet/estimator_", cases.len());
}

fn check_extended(case: &Case, estimator: &WeightEstimator, device: &Device) {
    let [ways, shots] = [case.usize_setting("way"), case.usize_setting("shot")];
    let labels_of = classes(case, "labels");
    let features = maps(case, "Fs", device);
    let rows = rows(estimator, &features, &labels(case, "Ys", device), [ways, shots]);
    let weights = if case.has("keep_mask") {
        let kept: Tensor<2> = tensor(case, "keep_mask", device);
        let dropped = estimator.rows() * kept * 2.0;
        let copies = Tensor::stack(vec![dropped; labels_of.len()], 0);
        estimator.extend(copies, &rows, &labels_of, Repeated::LastWins)
    } else {
        estimator.extended(&rows, &labels_of, Repeated::LastWins, &mut Dropout::off())
    };
    let weights = weights.expect("a classifier");
    close(case, "weights", &values(weights.clone()), EVALUATION);
    let query: Tensor<4> = tensor(case, "embedding", device);
    let logits = classified(&query, weights);
    close(case, "logits", &values(logits.clone()), EVALUATION);
    let pairs: Vec<f32> = labels_of
        .iter()
        .enumerate()
        .flat_map(|(sample, labels)| {
            let one = logits.clone().narrow(0, sample, 1);
            labels.iter().flat_map(move |label| values(binary_logits(one.clone(), &[*label])))
        })
        .collect();
    close(case, "binary", &pairs, EVALUATION);
    let repeats = labels_of
        .iter()
        .any(|labels| labels.iter().enumerate().any(|(way, class)| labels[..way].contains(class)));
    let refused = estimator.extended(&rows, &labels_of, Repeated::Refused, &mut Dropout::off());
    assert_eq!(refused.is_err(), repeats, "{}", case.name);
}

/// Rows, classes and query features of a numbered call.
fn call(
    case: &Case,
    estimator: &WeightEstimator,
    number: usize,
    device: &Device,
) -> (Vec<Tensor<2>>, Vec<Vec<usize>>) {
    let (shape, _) = case.f32(&format!("Fs{number}"));
    let features = maps(case, &format!("Fs{number}"), device);
    let masks = labels(case, &format!("Ys{number}"), device);
    let rows = rows(estimator, &features, &masks, [shape[1], shape[2]]);
    (rows, classes(case, &format!("labels{number}")))
}

/// The estimator's own rows for a batch.
fn stored(estimator: &WeightEstimator, query: &Tensor<4>) -> Tensor<4> {
    let rows = estimator.rows().unsqueeze::<3>();
    let [_, classes, channels] = rows.dims();
    classified(query, rows.expand([query.dims()[0], classes, channels]))
}

fn check_deploy(case: &Case, mut estimator: WeightEstimator, device: &Device) {
    let query = [tensor::<4>(case, "q1", device), tensor(case, "q2", device)];
    for number in [1, 2] {
        let (rows, labels) = call(case, &estimator, number, device);
        estimator = estimator.deploy(&rows, &labels, Repeated::Refused).expect("known classes");
        close(case, &format!("weight_after{number}"), &values(estimator.rows()), EVALUATION);
        let logits = stored(&estimator, &query[number - 1]);
        close(case, &format!("logits{number}"), &values(logits), EVALUATION);
        if number == 1 {
            close(case, "logits1b", &values(stored(&estimator, &query[1])), EVALUATION);
        }
    }
}

fn check_support_free(case: &Case, mut estimator: WeightEstimator, device: &Device) {
    let mut seen = SeenClasses(vec![false; case.usize_setting("num_classes")]);
    for number in [1, 2] {
        let (rows, labels) = call(case, &estimator, number, device);
        let extended = estimator.extend_once(&rows, &labels, &mut seen).expect("known classes");
        estimator = extended.0;
        close(case, &format!("weight_after{number}"), &values(estimator.rows()), EVALUATION);
        let query: Tensor<4> = tensor(case, &format!("q{number}"), device);
        let logits = classified(&query, extended.1);
        close(case, &format!("logits{number}"), &values(logits), EVALUATION);
    }
}

#[test]
fn golden_binary_logits() {
    let device = test_device();
    let cases = cases("denet", "binary_logits");
    for case in &cases {
        let logits: Tensor<4> = tensor(case, "logits", &device);
        let objects = classes(case, "labels").concat();
        let pairs = binary_logits(logits.clone(), &objects);
        close(case, "base_true", &values(pairs), EVALUATION);
        close(case, "base_false", &values(against_background(logits, &objects)), EVALUATION);
    }
    report_optional("denet/binary_logits", cases.len());
}

#[test]
fn golden_denet_losses() {
    let device = test_device();
    let cases = cases("denet", "losses");
    for case in &cases {
        let full: Tensor<4> = tensor(case, "full_logits", &device);
        let binary: Tensor<4> = tensor(case, "binary_logits", &device);
        let target = |name: &str| labels(case, name, &device);
        let check = |name: &str, loss: Option<Tensor<1>>| {
            close(case, name, &values(loss.expect("pixels that count")), EVALUATION);
        };
        for (name, suffix) in
            [("same", ""), ("target_larger", "_larger"), ("target_smaller", "_smaller")]
        {
            let mask = target(&format!("full_target{suffix}"));
            check(&format!("ce_{name}"), fitted_cross_entropy(full.clone(), mask, None));
            let mask = target(&format!("binary_target{suffix}"));
            check(&format!("focal_{name}"), binary_focal_loss(binary.clone(), mask));
        }
        let weights: Tensor<1> = tensor(case, "class_weight", &device);
        let weighted = fitted_cross_entropy(full.clone(), target("full_target"), Some(weights));
        check("ce_same_weighted", weighted);
        let of = classes(case, "wrapper_classes").concat();
        for lambda in case.settings["lambdas"].as_array().expect("a list") {
            let number = lambda.as_f64().expect("a number");
            let loss = knowledge_loss(full.clone(), &target("full_target"), &of, number);
            check(&format!("denet_lambda{lambda}_loss_k"), loss);
            let loss = binary_focal_loss(binary.clone(), target("binary_target"));
            check(&format!("denet_lambda{lambda}_loss_p"), loss);
        }
    }
    report_optional("denet/losses", cases.len());
}

#[test]
fn golden_denet_model() {
    let device = test_device();
    let cases = cases("denet", "denet_");
    for case in &cases {
        let apart = denet(case, "maximum_num_classes", &device);
        for model in [apart.clone(), apart.fold()] {
            check_model(case, &model, &device);
        }
    }
    report_optional("denet/denet_", cases.len());
}

fn check_model(case: &Case, model: &Denet, device: &Device) {
    let [ways, shots] = [case.usize_setting("way"), case.usize_setting("shot")];
    let supports = model.features(maps(case, "Is", device)).0.remove(0);
    let rows = rows(&model.estimator, &supports, &labels(case, "Ys", device), [ways, shots]);
    let images: Tensor<4> = tensor(case, "Iq", device);
    let [_, _, height, width] = images.dims();
    let query = model.features(images);
    close(case, "hidden_Fq", &values(query.0[0].clone()), EVALUATION);
    let labels_of = classes(case, "labels");
    let found = model.episode_logits(&rows, &labels_of, &query.0[0], Repeated::Refused);
    let found = found.expect("known classes");
    close(case, "logits_full", &values(found.full.clone()), EVALUATION);
    close(case, "logits_binary", &values(found.pairs.clone()), EVALUATION);
    let enlarged = |logits: Tensor<4>| resize_bilinear(logits, [height, width], Corners::Aligned);
    predictions(case, "pred_full", enlarged(found.full));
    predictions(case, "pred_binary", enlarged(found.pairs.clone()));
    if ways == 1 {
        // The one interface gives the same.
        let support =
            fss_heads::DenetSupport { row: rows[0].clone(), classes: Some(labels_of.concat()) };
        let logits = model.segment(&support, &query, [height, width]).expect("a query");
        let want = values(enlarged(found.pairs));
        let largest = want.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        fss_support::golden::assert_close("segment", &values(logits), &want, 1e-5 * largest);
    }
}

/// Asserts that predictions differ in at most one pixel of a thousand.
fn predictions(case: &Case, name: &str, logits: Tensor<4>) {
    let got: Vec<i64> = logits.argmax(1).try_into_vec_as().expect("labels");
    let (_, want) = case.u8(name);
    let flips = got.iter().zip(&want).filter(|(a, b)| **a != i64::from(**b)).count();
    assert_eq!(got.len(), want.len(), "{}: {name}", case.name);
    assert!(flips * 1000 <= want.len(), "{}: {name}: {flips} pixels flip", case.name);
}

#[test]
fn golden_denet_training() {
    let device = test_device().autodiff();
    let cases = cases("denet", "train_denet_");
    for case in &cases {
        let model = denet(case, "num_classes", &device).without_dropout();
        let batch = batch(case, &device);
        let full = FullLabels {
            masks: labels(case, "Yq_full", &device),
            classes: classes(case, "classes").concat(),
        };
        let mut pass = TrainingPass::new(NormSource::Batch, ComputePrecision::Full);
        let found = model.training_logits(&batch, &full.classes, &mut pass, &mut Dropout::off());
        let found = found.expect("logits");
        close(case, "logits_full", &values(found.full), TRAINING);
        close(case, "logits_binary", &values(found.pairs), TRAINING);
        let lambda = case.settings["lambda"].as_f64().expect("a number");
        let losses = model.losses(&batch, &full, lambda).expect("losses");
        close(case, "loss_k", &values(losses.total.clone()), EVALUATION);
        let pattern = losses.terms.iter().find(|term| term.name == "pattern").expect("a term");
        close(case, "loss_p", &values(pattern.value.clone().expect("a value")), EVALUATION);
        let gradients = named_gradients(&model, &losses.total.backward());
        check_gradients(case, "grad/", &gradients);
        check_sgd(case, &model, &gradients);
        check_statistics(case, &model.absorb(&losses.statistics));
    }
    report_optional("denet/train_denet_", cases.len());
}

/// Our state dict has the keys and shapes of the official lists.
#[test]
fn golden_denet_keys() {
    let lists = key_lists("denet");
    for (name, official) in &lists {
        let backbone = ImagenetConfig::new(name[0].parse().expect("a backbone's name"));
        let rows = name[1].parse().expect("a number of classes");
        let model = DenetConfig::new(backbone, rows).init(&test_device(), 0);
        let ours = module_tensors(&model).expect("tensors").into_iter();
        let mut ours: Vec<_> = ours.map(|tensor| (tensor.key, tensor.shape)).collect();
        let mut official = official.clone();
        ours.sort();
        official.sort();
        assert_eq!(ours, official, "{name:?}");
    }
    report_optional("denet/keys_denet_", lists.len());
}
