//! AMP.

use std::collections::BTreeMap;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use fss_backbone::{ComputePrecision, ImagenetConfig, NormSource, TrainingPass, module_tensors};
use fss_heads::amp::{ALPHA, LevelProxies, Rivals, binary_logits};
use fss_heads::{Amp, AmpConfig, AmpMemory, FewShotModel, LabelledBatch, Shot};
use fss_kernels::{Corners, resize_bilinear};
use fss_support::fill;
use fss_support::golden::{Case, assert_close, cases, directory, report_optional};

use crate::support::{filled_module, labels, tensor, values};

/// Tolerance as a fraction of the largest magnitude of a tensor, beside the stated gap between float32
/// and float64: in evaluation, and in training, where norms over few pixels amplify rounding.
const EVALUATION: f32 = 1e-5;
const TRAINING: f32 = 1e-4;

/// Asserts that values are those of tensor `name`.
fn close(case: &Case, name: &str, got: &[f32], fraction: f32) {
    let want = case.f32(name).1;
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let tolerance = fraction * largest + 10.0 * case.f32_gap(name);
    assert_close(&format!("{}: {name}", case.name), got, &want, tolerance);
}

fn class_ids(case: &Case) -> Vec<usize> {
    case.i64("labels").1.into_iter().map(|id| usize::try_from(id).expect("a class id")).collect()
}

/// The case's model under the fill rule.
fn filled(case: &Case, classes: &str, device: &Device) -> Amp {
    let network = case.str_setting("backbone").parse().expect("a backbone's name");
    let config = AmpConfig::new(ImagenetConfig::new(network), case.usize_setting(classes));
    filled_module(config.init(device, 0), "", |_, values| values)
}

/// A float tensor `[.., c, h, w]` with all leading axes made one.
fn maps(case: &Case, name: &str, device: &Device) -> Tensor<4> {
    let (shape, values) = case.f32(name);
    let [.., c, h, w] = shape[..] else { panic!("{name}: maps of shape {shape:?}") };
    let count = values.len() / (c * h * w);
    Tensor::from_data(TensorData::new(values, [count, c, h, w]), device)
}

/// Every `count`th of a batch of samples with `count` shots each, from `shot` on.
fn of_shot<const D: usize>(all: &Tensor<D>, shot: usize, count: usize) -> Tensor<D> {
    let samples = all.dims()[0] / count;
    let picked = (0..samples).map(|sample| all.clone().narrow(0, sample * count + shot, 1));
    Tensor::cat(picked.collect(), 0)
}

#[test]
fn golden_amp_proxies() {
    let device = Device::flex();
    let cases = cases("denet", "amp_proxies");
    for case in &cases {
        assert_eq!(case.settings["alpha"].as_f64(), Some(ALPHA), "{}", case.name);
        let count = case.usize_setting("shot");
        let features: Tensor<4> = tensor(case, "Fs", &device);
        let masks = labels(case, "Ys", &device).float().unsqueeze_dim::<4>(1);
        let query: Tensor<4> = tensor(case, "Fq", &device);
        let [samples, channels, height, width] = query.dims();
        let shots: Vec<(Tensor<4>, _)> = (0..count)
            .map(|k| {
                let mask = of_shot(&masks, k, count).squeeze_dim::<3>(1).int();
                (of_shot(&features, k, count), mask)
            })
            .collect();
        let shots: Vec<_> = shots.iter().map(|(features, mask)| (features, mask)).collect();
        let classes = case.usize_setting("num_classes");
        let shape = [classes, channels, 1, 1];
        let rows = fill(case.str_setting("weight"), &shape);
        let rows = Tensor::<1>::from_data(rows.as_slice(), &device).reshape([classes, channels]);
        let row = rows.clone().narrow(0, 0, 1).reshape([channels]);

        let proxies = LevelProxies::new(row.clone(), &shots);
        close(case, "updated", &values(proxies.updated.clone()), EVALUATION);
        close(case, "per_sample", &values(proxies.background.clone()), EVALUATION);
        let flat = query.reshape([samples, channels, height * width]);
        let logits = |rows: Tensor<3>| values(rows.matmul(flat.clone()));
        close(case, "two_class", &logits(proxies.pair()), EVALUATION);
        // The case replaces the rows of the classes alone: its background is that of the weights.
        let unmoved = LevelProxies { updated: row, ..proxies };
        let ids = class_ids(case);
        close(case, "full", &logits(unmoved.among(rows, Some(&ids))), EVALUATION);
    }
    report_optional("denet/amp_proxies", cases.len());
}

#[test]
fn golden_amp_model() {
    let device = Device::flex();
    let cases = cases("denet", "amp_");
    for case in &cases {
        let apart = filled(case, "maximum_num_classes", &device);
        for model in [apart.clone(), apart.fold()] {
            check_model(case, model, &device);
        }
    }
    report_optional("denet/amp_", cases.len());
}

fn check_model(case: &Case, model: Amp, device: &Device) {
    let count = case.usize_setting("shot");
    let images = maps(case, "Is", device);
    let masks = labels(case, "Ys", device).float().unsqueeze_dim::<4>(1);
    let shots: Vec<Shot> = (0..count)
        .map(|k| Shot {
            features: model.features(of_shot(&images, k, count)),
            mask: of_shot(&masks, k, count).squeeze_dim::<3>(1).int(),
        })
        .collect();
    let query_images: Tensor<4> = tensor(case, "Iq", device);
    let query = model.features(query_images.clone());
    let ids = class_ids(case);

    // Two calls in a row: the rows of the background stay where the first call left them.
    let mut memory = model.memory();
    for call in ["call1", "call2"] {
        let support = model.encode_adaptive(&shots, Some(&ids), &mut memory).expect("a support");
        let full = model.full_logits(&support, &query).expect("a query");
        close(case, &format!("logits_{call}"), &values(full.clone()), EVALUATION);
        check_rows(case, call, &memory);
        if call == "call1" {
            let binary = binary_logits(full, &ids);
            close(case, "logits_binary_of_call1", &values(binary.clone()), EVALUATION);
            let size = [query_images.dims()[2], query_images.dims()[3]];
            let segmented = model.segment(&support, &query, size).expect("a query");
            let enlarged = resize_bilinear(binary, size, Corners::Aligned);
            assert_eq!(values(segmented), values(enlarged), "{}", case.name);
        }
    }
    // Written into the weights, as the published code does, the memory is where the next call starts.
    let written = model.clone().with_memory(&memory).expect("a fitting memory");
    let start: Vec<f32> = written.memory().rows.into_iter().flat_map(values).collect();
    let kept: Vec<f32> = memory.rows.into_iter().flat_map(values).collect();
    assert_eq!(start, kept, "{}", case.name);

    let alone = model.with_rivals(Rivals::Background);
    let support =
        alone.encode_adaptive(&shots, Some(&ids), &mut alone.memory()).expect("a support");
    let pair = alone.full_logits(&support, &query).expect("a query");
    close(case, "logits_two_class", &values(pair), EVALUATION);
}

fn check_rows(case: &Case, call: &str, memory: &AmpMemory) {
    for (level, row) in memory.rows.iter().enumerate() {
        let name = format!("row0_level{}_after_{call}", level + 1);
        close(case, &name, &values(row.clone()), EVALUATION);
    }
}

#[test]
fn golden_amp_training() {
    let device = Device::flex().autodiff();
    let cases = cases("denet", "train_amp_");
    for case in &cases {
        let model = filled(case, "num_classes", &device);
        let batch = LabelledBatch {
            images: tensor(case, "Iq", &device),
            labels: labels(case, "Yq_full", &device),
        };
        let mut pass = TrainingPass::new(NormSource::Batch, ComputePrecision::Full);
        let logits = model.training_logits(batch.images.clone(), &mut pass);
        close(case, "logits", &values(logits), TRAINING);

        let losses = model.losses(&batch).expect("losses");
        close(case, "loss", &values(losses.total.clone()), EVALUATION);
        let gradients = gradients(&model, losses.total.clone());
        let trained = ["fully_conv.0.weight", "fully_conv.0.bias"].into_iter();
        let trained: Vec<&str> = trained
            .chain(["level1_classifier.weight", "level2_classifier.weight"])
            .chain(["level3_classifier.weight"])
            .collect();
        assert_eq!(gradients.keys().map(String::as_str).collect::<Vec<_>>(), {
            let mut sorted = trained;
            sorted.sort_unstable();
            sorted
        });
        check_gradients(case, &gradients);
        check_step(case, &model, &gradients);

        let moved = module_tensors(&model.absorb(&losses.statistics)).expect("tensors");
        for name in case.names().iter().filter(|name| name.starts_with("after/")) {
            let key = &name["after/".len()..];
            let tensor = moved.iter().find(|tensor| tensor.key == key).expect("a statistic");
            close(case, name, &tensor.values, TRAINING);
        }
    }
    report_optional("denet/train_amp_", cases.len());
}

/// Gradients by official key.
fn gradients(model: &Amp, loss: Tensor<1>) -> BTreeMap<String, Vec<f32>> {
    let found = GradientsParams::from_grads(loss.backward(), model);
    let mut named = BTreeMap::new();
    let reduce = &model.reduce;
    let mut keep = |key: &str, gradient: Option<Vec<f32>>| {
        if let Some(gradient) = gradient {
            named.insert(key.to_owned(), gradient);
        }
    };
    keep("fully_conv.0.weight", found.get::<4>(reduce.weight.id).map(values));
    keep("fully_conv.0.bias", found.get::<1>(reduce.bias.id).map(values));
    for (i, classifier) in model.classifiers.iter().enumerate() {
        let gradient = found.get::<4>(classifier.weight.id).map(values);
        keep(&format!("level{}_classifier.weight", i + 1), gradient);
    }
    assert_eq!(found.len(), named.len(), "parameters with a gradient");
    named
}

fn check_gradients(case: &Case, gradients: &BTreeMap<String, Vec<f32>>) {
    let mut compared = 0;
    for name in case.names().iter().filter(|name| name.starts_with("grad/")) {
        let key = &name["grad/".len()..];
        match key.split_once('/') {
            None => close(case, name, &gradients[key], TRAINING),
            Some((key, "first4096")) => close(case, name, &gradients[key][..4096], TRAINING),
            Some((key, "l2")) => {
                let norm = gradients[key].iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                let want = f64::from(case.f32(name).1[0]);
                let gap = 10.0 * f64::from(case.f32_gap(name));
                assert!(
                    (norm - want).abs() <= (1e-3 * want).max(gap),
                    "{}: {name}: {norm}",
                    case.name
                );
            }
            Some((_, other)) => panic!("{}: an unknown part {other}", case.name),
        }
        compared += 1;
    }
    assert!(compared > 0, "{}: no gradient to compare", case.name);
}

/// The first step of RMSprop without momentum: the squares' average starts at zero.
fn check_step(case: &Case, model: &Amp, gradients: &BTreeMap<String, Vec<f32>>) {
    let setting = |key: &str| case.settings["optimizer"][key].as_f64().expect("a number");
    assert_eq!(case.settings["optimizer"]["name"].as_str(), Some("rmsprop"));
    let [alpha, eps, rate, decay] = ["alpha", "eps", "lr", "weight_decay"].map(setting);
    let before = module_tensors(model).expect("tensors");
    for name in case.names().iter().filter(|name| name.starts_with("after_step/")) {
        let key = &name["after_step/".len()..];
        let tensor = before.iter().find(|tensor| tensor.key == key).expect("a parameter");
        let stepped: Vec<f32> = tensor
            .values
            .iter()
            .zip(&gradients[key])
            .map(|(p, g)| {
                let g = f64::from(*g) + decay * f64::from(*p);
                let scale = ((1.0 - alpha) * g * g).sqrt() + eps;
                (f64::from(*p) - rate * g / scale) as f32
            })
            .collect();
        close(case, name, &stepped, TRAINING);
    }
}

/// The official lists of keys and shapes, where the golden folder has them: our state dict has the
/// same, in the same order.
#[test]
fn golden_amp_keys() {
    let entries = std::fs::read_dir(directory().join("denet")).into_iter().flatten().flatten();
    let mut count = 0;
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        let parts: Vec<&str> = name.split('_').collect();
        let ["keys", "amp", backbone, classes] = parts[..] else { continue };
        let network = backbone.parse().expect("a backbone's name");
        let config =
            AmpConfig::new(ImagenetConfig::new(network), classes.parse().expect("a number"));
        config.validate().expect("a published model");
        let ours = config.init(&Device::flex(), 0).state_dict().expect("tensors");
        let ours: Vec<(String, Vec<usize>)> =
            ours.into_iter().map(|tensor| (tensor.key, tensor.shape)).collect();
        let text = std::fs::read_to_string(&path).expect("a key list");
        let official: Vec<(String, Vec<usize>)> = text
            .lines()
            .map(|line| {
                let columns: Vec<&str> = line.split('\t').collect();
                let numbers = columns[2].split('x');
                (columns[0].to_owned(), numbers.filter_map(|n| n.parse().ok()).collect())
            })
            .filter(|(key, _)| !key.ends_with("num_batches_tracked"))
            .collect();
        assert_eq!(ours, official, "{name}");
        count += 1;
    }
    report_optional("denet/keys_amp_", count);
}
