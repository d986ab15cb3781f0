//! Freezing, gradients and calibration.

mod common;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{FloatDType, Gradients, Tensor};
use common::{device, filled, images, narrow, values};
use fss_backbone::{ComputePrecision, DeepStemResNet, Depth, NormTraining, Stage};
use fss_support::golden::{assert_close_rel_max, relative_l2};

const BUFFERS_AND_NORMS: &[&str] = &["norm.weight", "norm.bias", "running_mean", "running_var"];

/// Paths of all parameters that have a gradient.
struct WithGradient<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor for WithGradient<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.found.push((self.path.join("."), values(gradient)));
        }
    }
}

fn gradients(network: &DeepStemResNet, loss: Tensor<1>) -> Vec<(String, Vec<f32>)> {
    let gradients = loss.backward();
    let mut visitor = WithGradient { gradients: &gradients, path: vec![], found: vec![] };
    network.visit(&mut visitor);
    visitor.found
}

fn step(network: &DeepStemResNet) -> Vec<(String, Vec<f32>)> {
    let x = images("train", [2, 3, 33, 33], &device().autodiff());
    gradients(network, network.forward(x).square().mean())
}

fn stages_of(found: &[(String, Vec<f32>)]) -> Vec<&str> {
    let mut stages: Vec<&str> =
        found.iter().map(|(path, _)| path.split('.').next().unwrap()).collect();
    stages.dedup();
    stages
}

#[test]
fn everything_but_the_norms_is_trained_at_first() {
    let found = step(&filled(narrow(Depth::R50), &device().autodiff()));
    assert_eq!(stages_of(&found), ["stem", "layer1", "layer2", "layer3"]);
    assert_eq!(found.len(), 45, "one kernel a convolution");
    assert!(found.iter().all(|(path, _)| !BUFFERS_AND_NORMS.iter().any(|n| path.contains(n))));
    assert!(found.iter().all(|(_, gradient)| gradient.iter().any(|g| *g != 0.0)));
}

#[test]
fn frozen_stages_get_no_gradient() {
    let network = filled(narrow(Depth::R50), &device().autodiff());
    let found = step(&network.freeze(&[Stage::Stem, Stage::Layer1]));
    assert_eq!(stages_of(&found), ["layer2", "layer3"]);
    assert_eq!(found.len(), 32, "the published number of trained tensors");
}

#[test]
fn freezing_the_front_does_not_change_the_other_gradients() {
    let network = filled(narrow(Depth::R50), &device().autodiff());
    let all = step(&network);
    for (path, gradient) in step(&network.freeze(&[Stage::Stem, Stage::Layer1])) {
        let (_, same) = all.iter().find(|(p, _)| *p == path).unwrap();
        assert!(relative_l2(&gradient, same) < 1e-5, "{path}");
    }
}

#[test]
fn gradients_agree_with_the_definition() {
    let network = filled(narrow(Depth::R50), &device().autodiff())
        .with_norm_training(NormTraining::ScaleShift);
    let x = images("train", [2, 3, 33, 33], &device().autodiff());
    let stepwise = gradients(&network, network.forward_stages(x).layer3.square().mean());
    let merged = step(&network);
    assert_eq!(merged.len(), stepwise.len());
    for ((path, a), (_, b)) in merged.iter().zip(&stepwise) {
        assert!(relative_l2(a, b) < 1e-3, "{path}: {}", relative_l2(a, b));
    }
}

#[test]
fn a_frozen_stage_behind_a_trained_one_passes_the_gradient_on() {
    let network = filled(narrow(Depth::R50), &device().autodiff());
    let found = step(&network.freeze(&[Stage::Stem, Stage::Layer1, Stage::Layer3]));
    assert_eq!(stages_of(&found), ["layer2"]);
}

#[test]
fn a_frozen_network_builds_no_graph() {
    let stages = [Stage::Stem, Stage::Layer1, Stage::Layer2, Stage::Layer3];
    let network = filled(narrow(Depth::R50), &device().autodiff()).freeze(&stages);
    let features = network.forward(images("train", [1, 3, 33, 33], &device().autodiff()));
    assert!(!features.is_tracked() && !features.is_autodiff());
    let folded = network.unfreeze(&stages).fold();
    let features = folded.forward(images("train", [1, 3, 33, 33], &device().autodiff()));
    assert!(!features.is_tracked() && !features.is_autodiff());
}

#[test]
fn the_gradient_of_the_images_can_be_asked_for() {
    let stages = [Stage::Stem, Stage::Layer1, Stage::Layer2, Stage::Layer3];
    let network = filled(narrow(Depth::R18), &device().autodiff()).freeze(&stages);
    let x = images("train", [1, 3, 33, 33], &device().autodiff()).require_grad();
    let gradients = network.forward(x.clone()).square().mean().backward();
    let gradient = values(x.grad(&gradients).unwrap());
    assert!(gradient.iter().any(|g| *g != 0.0));
}

#[test]
fn images_from_outside_autodiff_train_all_the_same() {
    let network = filled(narrow(Depth::R18), &device().autodiff());
    let x = images("train", [1, 3, 33, 33], &device());
    assert!(!gradients(&network, network.forward(x).square().mean()).is_empty());
}

#[test]
fn scale_and_shift_are_trained_on_request_and_statistics_never() {
    let network = filled(narrow(Depth::R50), &device().autodiff())
        .freeze(&[Stage::Stem, Stage::Layer1])
        .with_norm_training(NormTraining::ScaleShift);
    let found = step(&network);
    assert_eq!(found.len(), 3 * 32);
    let blanket = step(&network.set_require_grad(true));
    assert!(blanket.iter().all(|(path, _)| !path.contains("running")));
    assert!(
        blanket.iter().all(|(path, _)| path.starts_with("layer2") || path.starts_with("layer3"))
    );
}

#[test]
fn what_is_frozen_survives_validation() {
    let network =
        filled(narrow(Depth::R50), &device().autodiff()).freeze(&[Stage::Stem, Stage::Layer1]);
    let before = step(&network);
    let x = images("train", [1, 3, 33, 33], &device());
    assert!(!network.valid().forward(x).is_autodiff());
    let after = step(&network.valid().train());
    assert_eq!(before.len(), after.len());
    let plain = filled(narrow(Depth::R50), &device()).freeze(&[Stage::Stem, Stage::Layer1]);
    assert_eq!(step(&plain.train()).len(), 32);
}

#[test]
fn calibration_gives_every_norm_the_statistics_of_its_input() {
    for device in [device(), device().autodiff()] {
        let network = narrow(Depth::R50).init(&device, 5);
        let x = images("calibrate", [4, 3, 40, 40], &device);
        let calibrated = network.clone().calibrate_norms(x.clone());
        let [_, _, raw] = calibrated.forward_stages(x.clone()).stem.unwrap();
        let named = calibrated.named_tensors().unwrap();
        let stored = |key: &str| &named.iter().find(|t| t.key == key).unwrap().values;
        let [b, c, h, w] = raw.dims();
        let per_channel = raw.swap_dims(0, 1).reshape([c, b * h * w]);
        let (var, mean) = per_channel.var_mean_bias(1);
        assert_close_rel_max("mean", stored("layer0.1.running_mean"), &values(mean), 1e-4);
        assert_close_rel_max("variance", stored("layer0.1.running_var"), &values(var), 1e-4);
        let spread = |n: &DeepStemResNet| values(n.forward(x.clone()).square().mean())[0];
        assert!(spread(&calibrated).is_finite() && spread(&calibrated) > 0.1);
        assert_eq!(calibrated.calibrate_norms(x.clone()).named_tensors().unwrap(), named);
    }
}

#[test]
fn calibration_survives_images_without_content() {
    let flat = Tensor::<4>::zeros([1, 3, 20, 20], &device());
    let network = narrow(Depth::R18).init(&device(), 5).calibrate_norms(flat);
    let features = network.forward(images("x", [1, 3, 20, 20], &device()));
    assert!(values(features).iter().all(|v| v.is_finite()));
    let folded = network.fold();
    assert!(folded.calibrate_norms(Tensor::zeros([1, 3, 8, 8], &device())).is_folded());
}

#[test]
fn a_calibrated_autodiff_network_still_trains() {
    let device = device().autodiff();
    let network =
        narrow(Depth::R18).init(&device, 5).calibrate_norms(images("c", [2, 3, 33, 33], &device));
    assert_eq!(stages_of(&step(&network)), ["stem", "layer1", "layer2", "layer3"]);
}

#[test]
fn mixed_precision_rounds_maps_and_gradients_a_little() {
    let full = filled(narrow(Depth::R50), &device().autodiff())
        .with_norm_training(NormTraining::ScaleShift);
    let exact = step(&full);
    for (half, tolerance) in [(FloatDType::F16, 0.12), (FloatDType::BF16, 0.3)] {
        let mixed = full.clone().with_precision(ComputePrecision::Mixed(half));
        assert_eq!(mixed.precision(), ComputePrecision::Mixed(half));
        // All that learns has a gradient, in the type of the parameters.
        for ((path, got), (want_path, want)) in step(&mixed).iter().zip(&exact) {
            assert_eq!(path, want_path);
            let error = relative_l2(got, want);
            assert!(error > 0.0 && error < tolerance, "{half:?}: {path}: {error:e}");
        }
        // A folded network is for inference.
        let x = images("mixed", [1, 3, 33, 33], &device());
        let folded = mixed.clone().valid().fold();
        assert_eq!(folded.precision(), ComputePrecision::Full);
        assert_eq!(
            values(folded.forward(x.clone())),
            values(full.clone().valid().fold().forward(x.clone()))
        );
        assert_ne!(
            values(mixed.valid().forward(x.clone())),
            values(full.clone().valid().forward(x))
        );
    }
}
