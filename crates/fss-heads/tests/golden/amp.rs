//! AMP.

use std::collections::BTreeMap;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use fss_backbone::{ComputePrecision, ImagenetConfig, NormSource, TrainingPass, module_tensors};
use fss_heads::amp::{ALPHA, LevelProxies, Rivals, binary_logits};
use fss_heads::{Amp, AmpConfig, AmpMemory, FewShotModel, LabelledBatch, Shot};
use fss_kernels::{Corners, resize_bilinear};
use fss_support::fill;
use fss_support::golden::{Case, cases, report_optional};

use crate::device::test_device;
use crate::extending::{EVALUATION, TRAINING, check_gradients, close, key_lists, maps, of_shot};
use crate::support::{filled_module, labels, tensor, values};

fn class_ids(case: &Case) -> Vec<usize> {
    case.i64("labels").1.into_iter().map(|id| usize::try_from(id).expect("a class id")).collect()
}

/// The case's model under the fill rule.
fn filled(case: &Case, classes: &str, device: &Device) -> Amp {
    let network = case.str_setting("backbone").parse().expect("a backbone's name");
    let config = AmpConfig::new(ImagenetConfig::new(network), case.usize_setting(classes));
    filled_module(config.init(device, 0), "", |_, values| values)
}

#[test]
fn golden_amp_proxies() {
    let device = test_device();
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
    let device = test_device();
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
    let device = test_device().autodiff();
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
        check_gradients(case, "grad/", &gradients);
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

/// Our state dict has the keys and shapes of the official lists, in the same order.
#[test]
fn golden_amp_keys() {
    let lists = key_lists("amp");
    for (name, official) in &lists {
        let network = name[0].parse().expect("a backbone's name");
        let classes = name[1].parse().expect("a number of classes");
        let config = AmpConfig::new(ImagenetConfig::new(network), classes);
        config.validate().expect("a published model");
        let ours = config.init(&test_device(), 0).state_dict().expect("tensors");
        let ours: Vec<(String, Vec<usize>)> =
            ours.into_iter().map(|tensor| (tensor.key, tensor.shape)).collect();
        assert_eq!(&ours, official, "{name:?}");
    }
    report_optional("denet/keys_amp_", lists.len());
}
