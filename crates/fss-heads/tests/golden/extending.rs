//! What the golden tests of DENet and its siblings share.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use fss_backbone::{OfficialKeys, module_tensors};
use fss_heads::{EpisodeBatch, FewShotModel, Shot};
use fss_support::golden::{Case, assert_close, directory};

use crate::support::{labels, tensor, values};

/// Tolerance as a fraction of the largest magnitude of a tensor, beside the stated gap between float32
/// and float64: in evaluation, and in training, where norms over few pixels amplify rounding.
pub const EVALUATION: f32 = 1e-5;
pub const TRAINING: f32 = 1e-4;

/// The stated gap between float32 and float64. For gradients without the spurious term none is stated; they
/// come from the same sums as those with it.
fn gap(case: &Case, name: &str) -> f32 {
    case.f32_gap(name.strip_prefix("clean_").unwrap_or(name))
}

/// Asserts that values are those of tensor `name`.
pub fn close(case: &Case, name: &str, got: &[f32], fraction: f32) {
    let want = case.f32(name).1;
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let tolerance = fraction * largest + 10.0 * gap(case, name);
    assert_close(&format!("{}: {name}", case.name), got, &want, tolerance);
}

/// A float tensor `[.., c, h, w]` with all leading axes made one.
pub fn maps(case: &Case, name: &str, device: &Device) -> Tensor<4> {
    let (shape, values) = case.f32(name);
    let [.., c, h, w] = shape[..] else { panic!("{name}: maps of shape {shape:?}") };
    let count = values.len() / (c * h * w);
    Tensor::from_data(TensorData::new(values, [count, c, h, w]), device)
}

/// Every `count`th of a batch of samples with `count` shots each, from `shot` on.
pub fn of_shot<const D: usize>(all: &Tensor<D>, shot: usize, count: usize) -> Tensor<D> {
    let samples = all.dims()[0] / count;
    let picked = (0..samples).map(|sample| all.clone().narrow(0, sample * count + shot, 1));
    Tensor::cat(picked.collect(), 0)
}

/// Compares gradients by official key with all that the case has below `prefix`.
pub fn check_gradients(case: &Case, prefix: &str, gradients: &BTreeMap<String, Vec<f32>>) {
    let mut compared = 0;
    for name in case.names().iter().filter(|name| name.starts_with(prefix)) {
        let key = &name[prefix.len()..];
        match key.split_once('/') {
            None => close(case, name, &gradients[key], TRAINING),
            Some((key, "first4096")) => close(case, name, &gradients[key][..4096], TRAINING),
            Some((key, "l2")) => {
                let norm = gradients[key].iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                let want = f64::from(case.f32(name).1[0]);
                // Sharp attention amplifies rounding: an image that is brighter by 1e-7 moves the norm of
                // PGNet's gradients by 0.4 %.
                let gap = 20.0 * f64::from(gap(case, name));
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

/// Keys and shapes.
pub type Keys = Vec<(String, Vec<usize>)>;

/// Keys and shapes of every official list `keys_<method>_<backbone>..` in the golden folder, batch counters
/// left out, with the parts of its name behind the method.
pub fn key_lists(method: &str) -> Vec<(Vec<String>, Keys)> {
    let entries = std::fs::read_dir(directory().join("denet")).into_iter().flatten().flatten();
    let mut lists = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(&format!("keys_{method}_")) else { continue };
        let text = std::fs::read_to_string(&path).expect("a key list");
        let official = text
            .lines()
            .map(|line| {
                let columns: Vec<&str> = line.split('\t').collect();
                let numbers = columns[2].split('x');
                (columns[0].to_owned(), numbers.filter_map(|n| n.parse().ok()).collect())
            })
            .filter(|(key, _): &(String, _)| !key.ends_with("num_batches_tracked"))
            .collect();
        lists.push((rest.split('_').map(str::to_owned).collect(), official));
    }
    lists
}

/// Gradients of all parameters of a module that have one, by official key.
pub fn named_gradients<M: Module + OfficialKeys>(
    module: &M,
    gradients: &Gradients,
) -> BTreeMap<String, Vec<f32>> {
    struct Collect<'a> {
        gradients: &'a Gradients,
        path: Vec<String>,
        named: BTreeMap<String, Vec<f32>>,
    }
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad(self.gradients) {
                self.named.insert(self.path.join("."), values(gradient));
            }
        }

        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
    }
    let mut collect = Collect { gradients, path: Vec::new(), named: BTreeMap::new() };
    module.visit(&mut collect);
    let named = collect.named.into_iter();
    named.map(|(path, gradient)| (M::official_key(&path), gradient)).collect()
}

/// Two steps of SGD on the same gradients, as PyTorch takes them: momentum 0.9 and weight decay as the case
/// says.
pub fn check_sgd<M: OfficialKeys>(case: &Case, module: &M, gradients: &BTreeMap<String, Vec<f32>>) {
    let setting = |key: &str| case.settings["optimizer"][key].as_f64().expect("a number");
    assert_eq!(case.settings["optimizer"]["name"].as_str(), Some("sgd"));
    let [rate, momentum, decay] = ["lr", "momentum", "weight_decay"].map(setting);
    let before = module_tensors(module).expect("tensors");
    let mut compared = 0;
    for (prefix, steps) in [("after_step/", 1), ("after_extra_step/", 2)] {
        for name in case.names().iter().filter(|name| name.starts_with(prefix)) {
            let key = &name[prefix.len()..];
            let tensor = before.iter().find(|tensor| tensor.key == key).expect("a parameter");
            let stepped = tensor.values.iter().zip(&gradients[key]).map(|(start, gradient)| {
                let (mut p, mut buffer) = (f64::from(*start), 0.0);
                for _ in 0..steps {
                    buffer = momentum * buffer + f64::from(*gradient) + decay * p;
                    p -= rate * buffer;
                }
                p as f32
            });
            close(case, name, &stepped.collect::<Vec<_>>(), TRAINING);
            compared += 1;
        }
    }
    assert!(compared > 0, "{}: no step to compare", case.name);
}

/// Running statistics after the step, by official key.
pub fn check_statistics<M: OfficialKeys>(case: &Case, moved: &M) {
    let moved = module_tensors(moved).expect("tensors");
    for name in case.names().iter().filter(|name| name.starts_with("after/")) {
        let key = &name["after/".len()..];
        let tensor = moved.iter().find(|tensor| tensor.key == key).expect("a statistic");
        close(case, name, &tensor.values, TRAINING);
    }
}

/// The shots of a case: features of the images `Is` [N, w, K, 3, H, W] in one pass, and masks `Ys`.
pub fn shots(case: &Case, model: &impl FewShotModel, device: &Device) -> Vec<Shot> {
    let count = case.usize_setting("shot");
    let images = maps(case, "Is", device);
    (0..count)
        .map(|k| Shot {
            features: model.features(of_shot(&images, k, count)),
            mask: masks(case, k, count, device),
        })
        .collect()
}

/// The masks `Ys` [N, w, K, H, W] of one shot, [N w, H, W].
pub fn masks(case: &Case, shot: usize, count: usize, device: &Device) -> Tensor<3, Int> {
    let all = labels(case, "Ys", device).float().unsqueeze_dim::<4>(1);
    of_shot(&all, shot, count).squeeze_dim::<3>(1).int()
}

/// The training episodes of a case.
pub fn batch(case: &Case, device: &Device) -> EpisodeBatch {
    let count = case.usize_setting("shot");
    let images = maps(case, "Is", device);
    EpisodeBatch {
        query: tensor(case, "Iq", device),
        query_mask: labels(case, "Yq", device),
        supports: (0..count)
            .map(|k| (of_shot(&images, k, count), masks(case, k, count, device)))
            .collect(),
        extra: None,
        cams: None,
    }
}
