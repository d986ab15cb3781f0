//! Training steps of HSNet and IMR: losses, gradients and parameters of the official code.

use std::collections::BTreeMap;

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use fss_backbone::{
    NamedTensor, OfficialKeys, TapBackboneConfig, load_module_tensors, module_tensors,
};
use fss_heads::{CamBatch, EpisodeBatch, HsnetConfig, ImrConfig, TrainableModel};
use fss_support::fill;
use fss_support::golden::{Case, assert_close, cases, relative_l2, report};
use fss_train::optim::{NamedOptimizer, Rule};
use fss_train::trainer::training_step;

/// What the official code puts before every key.
const PREFIX: &str = "module.";

fn images(case: &Case, name: &str, device: &Device) -> Tensor<4> {
    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
    let (shape, bytes) = case.u8(name);
    let area = shape[2] * shape[3];
    let normalised = |(i, byte): (usize, u8)| {
        let channel = i / area % 3;
        (f32::from(byte) / 255.0 - MEAN[channel]) / DEVIATION[channel]
    };
    let values: Vec<f32> = bytes.into_iter().enumerate().map(normalised).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn labels(case: &Case, name: &str, device: &Device) -> Tensor<3, Int> {
    let (shape, values) = case.u8(name);
    let values: Vec<i64> = values.into_iter().map(i64::from).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn batch(case: &Case, device: &Device) -> EpisodeBatch {
    let cam = |name: &str| {
        let (shape, values) = case.f32(name);
        Tensor::from_data(TensorData::new(values, [shape[0], 1, shape[1], shape[2]]), device)
    };
    EpisodeBatch {
        query: images(case, "query_u8", device),
        query_mask: labels(case, "query_mask", device),
        supports: vec![(images(case, "support_u8", device), labels(case, "support_mask", device))],
        extra: None,
        cams: case
            .has("query_cam")
            .then(|| CamBatch { query: cam("query_cam"), supports: vec![cam("support_cam")] }),
    }
}

/// The module under the fill rule and the corrections that the case gives.
fn filled<M: OfficialKeys>(case: &Case, module: M) -> M {
    let tensors = module_tensors(&module).expect("parameters").into_iter().map(|t| {
        let key = format!("{PREFIX}{}", t.key);
        let mut values = fill(&key, &t.shape);
        if let Some(factor) = case.settings["weight_scale"][&key].as_f64() {
            values.iter_mut().for_each(|value| *value *= factor as f32);
        }
        if let Some(given) = case.settings["weight_set"][&key].as_array() {
            values = given.iter().map(|value| value.as_f64().expect("a number") as f32).collect();
        }
        NamedTensor { values, ..t }
    });
    let tensors = tensors.collect();
    load_module_tensors(module, tensors, "the fill rule".as_ref()).expect("fitting tensors")
}

/// Gradients by official key.
struct Named<'a> {
    path: Vec<String>,
    key: fn(&str) -> String,
    gradients: &'a GradientsParams,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Named<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let key = format!("{PREFIX}{}", (self.key)(&self.path.join(".")));
            self.found.insert(key, gradient.try_into_vec_as().expect("float values"));
        }
    }
}

/// Losses, gradients and parameters of all steps.
fn check<M: TrainableModel + OfficialKeys>(case: &Case, model: M, device: &Device, kinks: f64) {
    let mut model = filled(case, model);
    let batch = batch(case, device);
    let losses = model.losses(&batch).expect("a batch");
    let gradients = GradientsParams::from_grads(losses.total.backward(), &model);
    let mut named = Named {
        path: Vec::new(),
        key: M::official_key,
        gradients: &gradients,
        found: BTreeMap::new(),
    };
    model.visit(&mut named);
    let found = named.found;
    let order = case.settings["grad_norms_order"].as_array().expect("grad_norms_order");
    assert_eq!(found.len(), order.len(), "{}: parameters with a gradient", case.name);
    for (key, want) in order.iter().zip(case.f32("grad_norms").1) {
        let key = key.as_str().expect("a key");
        let norm = found[key].iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let error = (norm - f64::from(want)).abs() / f64::from(want).max(1e-7);
        assert!(error < kinks, "{}: norm of the gradient of {key}: {norm} {want}", case.name);
    }
    for name in case.names().iter().filter_map(|name| name.strip_prefix("grad.")) {
        let want = case.f32(&format!("grad.{name}")).1;
        let error = relative_l2(&found[name][..want.len()], &want);
        assert!(error < kinks, "{}: gradient of {name}: {error:e}", case.name);
    }

    let steps = case.usize_setting("steps");
    let rate = case.settings["lr"].as_f64().expect("lr");
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let mut optimizer = NamedOptimizer::new(rule);
    for (step, want) in case.f32("losses").1.into_iter().enumerate() {
        let numbers = [step as u64 + 1, steps as u64];
        let (next, report) =
            training_step(model, &mut optimizer, &batch, rate, numbers).expect("a step");
        model = next;
        let error = (report.loss.expect("a loss") / f64::from(want) - 1.0).abs();
        assert!(error < kinks / 10.0, "{}: loss of step {step}: {error:e}", case.name);
    }
    let tensors = module_tensors(&model).expect("parameters");
    for name in case.names().iter().filter_map(|name| name.strip_prefix("after.")) {
        let want = case.f32(&format!("after.{name}")).1;
        let key = name.strip_prefix(PREFIX).expect("the prefix");
        let got = &tensors.iter().find(|t| t.key == key).expect("a parameter").values;
        let got = &got[..want.len()];
        // Adam makes steps of one size of gradients of any size, so a rounded one may turn around.
        let largest = 2.0 * rate * steps as f64;
        assert_close(&format!("{}: after {name}", case.name), got, &want, largest as f32);
        let sum: f64 = got.iter().zip(&want).map(|(a, b)| f64::from((a - b).abs())).sum();
        let mean = sum / want.len() as f64;
        assert!(mean < kinks * 1e-3, "{}: after {name}: mean difference {mean:e}", case.name);
    }
}

fn network(case: &Case) -> TapBackboneConfig {
    TapBackboneConfig::new(case.str_setting("backbone").parse().expect("a backbone's name"))
}

#[test]
fn golden_hsnet_train() {
    let device = Device::flex().autodiff();
    let cases = cases("hsnet", "train_");
    for case in &cases {
        check(case, HsnetConfig::new(network(case)).init(&device, 0), &device, 1e-3);
    }
    report("hsnet/train_", cases.len());
}

#[test]
fn golden_imr_train() {
    let device = Device::flex().autodiff();
    let cases = cases("imr", "train_");
    for case in &cases {
        let config = ImrConfig::new(network(case))
            .with_stages(case.usize_setting("stage"))
            .with_grid(case.usize_setting("grid"));
        check(case, config.init(&device, 0).expect("a model"), &device, 1e-2);
    }
    report("imr/train_", cases.len());
}
