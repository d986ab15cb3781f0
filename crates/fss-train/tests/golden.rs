//! Golden tests of optimisers and schedules: outputs of PyTorch and of the official training code.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use fss_backbone::{DeepStemResNet, DeepStemResNetConfig, Depth, KeyStyle, NamedTensor, Stage};
use fss_heads::{EpisodeBatch, MlcConfig, Refine, SspConfig, TrainableModel};
use fss_support::fill;
use fss_support::golden::{Case, assert_close, cases, report};
use fss_train::optim::{NamedOptimizer, Rule};
use fss_train::schedule::Schedule;
use fss_train::trainer::training_step;

/// Any number of parameters of any shape, flat.
#[derive(Module, Debug)]
struct Parameters {
    all: Vec<Param<Tensor<1>>>,
}

fn flat(values: Vec<f32>) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), &Device::flex())
}

impl Parameters {
    fn new(starts: Vec<Vec<f32>>) -> Self {
        let all = starts.into_iter().map(|values| Param::from_tensor(flat(values))).collect();
        Self { all }
    }

    fn step(self, optimizer: &mut NamedOptimizer, rate: f64, gradients: Vec<Vec<f32>>) -> Self {
        let mut registered = GradientsParams::new();
        for (param, gradient) in self.all.iter().zip(gradients) {
            registered.register(param.id, flat(gradient));
        }
        optimizer.step(rate, self, registered)
    }

    fn values(&self, index: usize) -> Vec<f32> {
        self.all[index].val().into_data().iter::<f32>().collect()
    }
}

fn numbers(case: &Case, key: &str) -> Vec<f64> {
    let list = case.settings[key].as_array().unwrap_or_else(|| panic!("{}: {key}", case.name));
    list.iter().map(|value| value.as_f64().expect("a number")).collect()
}

fn number(case: &Case, key: &str) -> f64 {
    case.settings[key].as_f64().unwrap_or_else(|| panic!("{}: {key}", case.name))
}

#[test]
fn golden_sgd() {
    let cases = cases("common", "sgd");
    for case in &cases {
        assert_eq!(case.settings["nesterov"], false);
        assert_eq!(number(case, "dampening"), 0.0);
        let count = (0..).take_while(|i| case.has(&format!("param{i}.start"))).count();
        assert!(count > 0);
        let starts = (0..count).map(|i| case.f32(&format!("param{i}.start")).1).collect();
        let mut parameters = Parameters::new(starts);
        let rule = Rule::sgd(number(case, "momentum"), number(case, "weight_decay"));
        let mut optimizer = NamedOptimizer::new(rule);
        for (step, rate) in numbers(case, "lrs").into_iter().enumerate() {
            let gradient = |i: usize| case.f32(&format!("step{step}.grad{i}")).1;
            parameters = parameters.step(&mut optimizer, rate, (0..count).map(gradient).collect());
            let state = optimizer.to_tensors();
            for i in 0..count {
                let name = format!("step{step}.param{i}");
                assert_close(&name, &parameters.values(i), &case.f32(&name).1, 1e-7);
                let name = format!("step{step}.velocity{i}");
                let velocity = state.iter().find(|t| t.key == format!("velocity.all.{i}"));
                let velocity = &velocity.expect("a velocity").values;
                assert_close(&name, velocity, &case.f32(&name).1, 1e-7);
            }
        }
    }
    report("common/sgd", cases.len());
}

#[test]
fn golden_adam() {
    let cases = cases("common", "adam");
    for case in &cases {
        let (rate, weight_decay) = (number(case, "lr"), number(case, "weight_decay"));
        let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
        let rules = [
            ("adam", Rule::Adam { beta1, beta2, epsilon, weight_decay }),
            ("adamw", Rule::AdamW { beta1, beta2, epsilon, weight_decay }),
        ];
        for (kind, rule) in rules {
            let mut parameters = Parameters::new(vec![case.f32("param.start").1]);
            let mut optimizer = NamedOptimizer::new(rule);
            let steps = (0..).take_while(|s| case.has(&format!("step{s}.grad"))).count();
            assert!(steps > 0);
            for step in 0..steps {
                let gradient = case.f32(&format!("step{step}.grad")).1;
                parameters = parameters.step(&mut optimizer, rate, vec![gradient]);
                let name = format!("{kind}.step{step}.param");
                assert_close(&name, &parameters.values(0), &case.f32(&name).1, 1e-6);
            }
        }
    }
    report("common/adam", cases.len());
}

#[test]
fn golden_poly_lr() {
    let cases = cases("common", "poly_lr");
    for case in &cases {
        let schedule = Schedule::Poly { power: number(case, "power") };
        let (base, total) = (number(case, "base"), case.usize_setting("max_iter") as u64);
        let (_, iterations) = case.i64("iteration");
        for (iteration, want) in iterations.into_iter().zip(case.f64("lr").1) {
            let got = schedule.rate(base, iteration as u64, total);
            assert!((got - want).abs() <= 1e-15, "iteration {iteration}: {got} {want}");
        }
    }
    report("common/poly_lr", cases.len());
}

fn image(case: &Case, name: &str, device: &Device) -> Tensor<4> {
    let (shape, values) = case.f32(name);
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn mask(case: &Case, name: &str, device: &Device) -> Tensor<3, Int> {
    let (shape, values) = case.u8(name);
    let values: Vec<i64> = values.into_iter().map(i64::from).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The case's backbone under the fill rule; `style` is how the official code names its tensors.
fn filled(case: &Case, style: KeyStyle, device: &Device) -> DeepStemResNet {
    let depth = case.str_setting("backbone").parse().expect("a backbone's name");
    let backbone = DeepStemResNetConfig::new(depth).init(device, 0);
    let tensors = backbone.named_tensors().expect("an unfolded network").into_iter();
    let tensors = tensors
        .map(|t| NamedTensor { values: fill(&style.spell(&t.key), &t.shape), ..t })
        .collect();
    backbone.load_named(tensors, "the fill rule".as_ref()).expect("all tensors")
}

fn network() -> DeepStemResNetConfig {
    DeepStemResNetConfig::new(Depth::R50)
}

#[test]
fn golden_ssp_steps() {
    let device = Device::flex().autodiff();
    let cases = cases("ssp", "steps_");
    for case in &cases {
        let refine = if case.settings["refine"] == true { Refine::On } else { Refine::Off };
        // Frozen as published.
        let backbone = filled(case, KeyStyle::Ssp, &device).freeze(&[Stage::Stem, Stage::Layer1]);
        let model = SspConfig::new(network()).with_refine(refine).init_with(backbone);
        run_steps(case, KeyStyle::Ssp, model, |model| &model.backbone);
    }
    report("ssp/steps_", cases.len());
}

#[test]
fn golden_mlc_steps() {
    let device = Device::flex().autodiff();
    let cases = cases("mlc", "steps_");
    for case in &cases {
        let model = MlcConfig::new(network()).init_with(filled(case, KeyStyle::Mlc, &device));
        run_steps(case, KeyStyle::Mlc, model, |model| &model.backbone);
    }
    report("mlc/steps_", cases.len());
}

/// Trains a model as the case says, and compares losses, rates and weights.
fn run_steps<M: TrainableModel>(
    case: &Case,
    style: KeyStyle,
    mut model: M,
    backbone: impl Fn(&M) -> &DeepStemResNet,
) {
    let device = Device::flex().autodiff();
    let tensors = |model: &M| -> Vec<NamedTensor> {
        let tensors = backbone(model).named_tensors().expect("an unfolded network").into_iter();
        tensors.map(|t| NamedTensor { key: style.spell(&t.key), ..t }).collect()
    };
    let before = tensors(&model);
    let rule = Rule::sgd(number(case, "momentum"), number(case, "weight_decay"));
    let mut optimizer = NamedOptimizer::new(rule);
    let after = numbers(case, "decay_after_iterations").iter().map(|&n| n as u64).collect();
    let schedule = Schedule::StepDecayAt { after, divisor: 10.0 };
    let (losses, rates) = (case.f64("losses").1, case.f64("lrs").1);
    let total = losses.len() as u64;
    for step in 0..total {
        let rate = schedule.rate(number(case, "lr"), step, total);
        assert_eq!(rate, rates[step as usize], "{}: rate of step {step}", case.name);
        let name = |part: &str| format!("step{step}.{part}");
        let supports = (0..case.usize_setting("shot"))
            .map(|k| {
                let images = image(case, &name(&format!("img_s.{k}")), &device);
                (images, mask(case, &name(&format!("mask_s.{k}")), &device))
            })
            .collect();
        let batch = EpisodeBatch {
            query: image(case, &name("img_q"), &device),
            query_mask: mask(case, &name("mask_q"), &device),
            supports,
            extra: None,
            cams: None,
        };
        let numbers = [step + 1, total];
        let (next, done) =
            training_step(model, &mut optimizer, &batch, rate, numbers).expect("a step");
        model = next;
        let (got, want) = (done.loss.expect("a loss"), losses[step as usize]);
        assert!((got - want).abs() <= 1e-4, "{}: loss {step}: {got} {want}", case.name);
    }
    check_parameters(case, &before, &tensors(&model));
}

/// The L2 norm as the reference takes it: squares summed in float32 over eight lanes. On half a
/// million values its rounding (3e-6) is more than the tolerance, so it has to be repeated.
fn norm_in_lanes(values: &[f32]) -> f64 {
    let mut lanes = [0.0f32; 8];
    for chunk in values.chunks(lanes.len()) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value * value;
        }
    }
    f64::from(lanes.iter().sum::<f32>().sqrt())
}

fn check_parameters(case: &Case, before: &[NamedTensor], after: &[NamedTensor]) {
    let mut compared = 0;
    for name in case.names() {
        let find =
            |key: &str| after.iter().find(|t| t.key == key).expect("a tensor of the network");
        if let Some(key) = name.strip_prefix("after.") {
            let (_, want) = case.f32(name);
            let what = format!("{}: {name}", case.name);
            assert_close(&what, &find(key).values[..want.len()], &want, 2e-6);
            compared += 1;
        } else if let Some(key) = name.strip_prefix("afternorm.") {
            let (got, want) = (norm_in_lanes(&find(key).values), f64::from(case.f32(name).1[0]));
            assert!((got - want).abs() <= 1e-6 * want, "{}: {name}: {got} {want}", case.name);
        }
    }
    assert!(compared > 0, "{}: no parameter to compare", case.name);
    // Statistics of norms are buffers, not parameters.
    let kept = before
        .iter()
        .zip(after)
        .filter(|(old, new)| !old.key.contains("running_") && old.values == new.values)
        .count();
    assert_eq!(kept, case.usize_setting("n_params_unchanged"), "{}: frozen", case.name);
}
