//! The optimisers of DENet's code: parameters after steps on stored gradients, against the official code.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use fss_support::fill;
use fss_support::golden::{Case, assert_close, cases, report_optional};
use fss_train::optim::{NamedOptimizer, Rule};
use fss_train::ways::WaysRecipe;

#[derive(Module, Debug)]
struct One {
    parameter: Param<Tensor<1>>,
}

/// A parameter after some steps on one gradient.
fn stepped(rule: &Rule, rate: f64, start: Vec<f32>, gradient: Vec<f32>, steps: usize) -> Vec<f32> {
    let device = Device::flex().autodiff();
    let flat = |values: Vec<f32>| {
        let count = values.len();
        Tensor::<1>::from_data(TensorData::new(values, [count]), &device)
    };
    let gradient = flat(gradient);
    let mut optimizer = NamedOptimizer::new(rule.clone());
    let mut one = One { parameter: Param::from_tensor(flat(start)) };
    for _ in 0..steps {
        let loss = (one.parameter.val() * gradient.clone()).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &one);
        one = optimizer.step(rate, one, gradients);
    }
    one.parameter.val().try_into_vec_as().expect("values")
}

/// That the recipe's optimiser is that of the case, and what it does.
fn check(case: &Case, recipe: &str) {
    let optim = WaysRecipe::builtin(recipe).expect("a recipe").optim;
    let setting = |key: &str| case.settings["optimizer"][key].as_f64();
    assert_eq!(Some(optim.lr), setting("lr"), "{}", case.name);
    match optim.rule {
        Rule::Sgd { momentum, weight_decay } => {
            assert_eq!(
                (Some(momentum), Some(weight_decay)),
                (setting("momentum"), setting("weight_decay"))
            );
        }
        Rule::RmsProp { alpha, epsilon, weight_decay } => {
            assert_eq!(
                (Some(alpha), Some(epsilon), Some(weight_decay)),
                (setting("alpha"), setting("eps"), setting("weight_decay"))
            );
        }
        ref other => panic!("{other:?}"),
    }
    let mut compared = 0;
    for (prefix, steps) in [("after_step/", 1), ("after_extra_step/", 2)] {
        for name in case.names().iter().filter(|name| name.starts_with(prefix)) {
            let key = &name[prefix.len()..];
            let gradient = format!("grad/{key}");
            if !case.has(&gradient) {
                continue;
            }
            let (shape, want) = case.f32(name);
            let start = fill(key, &shape);
            let got = stepped(&optim.rule, optim.lr, start.clone(), case.f32(&gradient).1, steps);
            let largest = want.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            assert_close(&format!("{} {name}", case.name), &got, &want, 2e-7 * largest);
            // The step itself must be right, not only the parameter, which hardly moves.
            let moved = |values: &[f32]| -> Vec<f32> {
                values.iter().zip(&start).map(|(value, start)| value - start).collect()
            };
            let (got, want) = (moved(&got), moved(&want));
            let far = want.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            assert!(far > 0.0, "{}: {name} did not move", case.name);
            assert_close(
                &format!("{} {name}", case.name),
                &got,
                &want,
                2e-3 * far + 2e-7 * largest,
            );
            compared += 1;
        }
    }
    assert!(compared > 0, "{}: no step to compare", case.name);
}

#[test]
fn golden_denet_steps() {
    for (kind, recipe) in [
        ("train_amp_", "amp-pascal"),
        ("train_can_", "canet-pascal"),
        ("train_denet_", "denet-pascal"),
        ("train_pgn_", "pgnet-pascal"),
    ] {
        let cases = cases("denet", kind);
        for case in &cases {
            check(case, recipe);
        }
        report_optional(kind, cases.len());
    }
}
