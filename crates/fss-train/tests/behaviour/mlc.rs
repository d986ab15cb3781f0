//! MLC under a recipe: what differs from SSP.

use burn::tensor::{Device, Tensor};
use fss_backbone::{KeyStyle, inspect_weights};
use fss_heads::{EpisodeBatch, Mlc, Ssp};
use fss_train::Stop;
use fss_train::observer::Silent;
use fss_train::optim::{NamedOptimizer, Rule};
use fss_train::recipe::Recipe;
use fss_train::trainer::{RecipeModel, Start, TrainOutcome, train, training_step};

use crate::fixture::{StopAfter, generate_data, recipe, run};

fn mlc_recipe() -> Recipe {
    let model = Recipe::builtin("mlc-synthetic").expect("a built-in recipe").model;
    Recipe { model, ..recipe() }
}

#[test]
fn a_run_that_is_resumed_ends_with_the_same_weights_under_mlcs_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("data");
    generate_data(&root);
    let finish = |name: &str, start: Start| {
        let run = run(&root, &folder.path().join(name), mlc_recipe());
        match train::<Mlc>(&run, start, &mut Silent, &Stop::new()).expect("a run") {
            TrainOutcome::Finished { weights, .. } => weights,
            TrainOutcome::Interrupted { .. } => panic!("nobody asked it to stop"),
        }
    };
    let straight = finish("straight", Start::Fresh);
    let stopped = run(&root, &folder.path().join("parts"), mlc_recipe());
    let stop = Stop::new();
    let mut observer =
        StopAfter { iteration: 2, in_validation: false, stop: stop.clone(), seen: 0 };
    let outcome = train::<Mlc>(&stopped, Start::Fresh, &mut observer, &stop).expect("a run");
    assert!(matches!(outcome, TrainOutcome::Interrupted { iteration: 2, .. }));
    let resumed = finish("parts", Start::Resume);
    assert!(
        std::fs::read(&straight).expect("weights") == std::fs::read(&resumed).expect("weights")
    );
    let summary = inspect_weights(&straight).expect("weights");
    assert_eq!(summary.style, Some(KeyStyle::Mlc));
    assert_eq!(summary.metadata["fss.model"], "mlc");
}

#[test]
fn a_batch_whose_queries_are_ignored_changes_nothing() {
    let device = Device::flex().autodiff();
    let model = Mlc::build(&mlc_recipe(), &device).expect("a model");
    let before = model.named_tensors().expect("tensors");
    let side = 33;
    // The supports do count, but MLC does not supervise them.
    let batch = EpisodeBatch {
        query: Tensor::ones([1, 3, side, side], &device),
        query_mask: Tensor::full([1, side, side], 255, &device),
        supports: vec![(
            Tensor::ones([1, 3, side, side], &device),
            Tensor::ones([1, side, side], &device),
        )],
        extra: None,
        cams: None,
    };
    let mut optimizer = NamedOptimizer::new(Rule::sgd(0.9, 5e-4));
    let (model, report) =
        training_step(model, &mut optimizer, &batch, 0.1, [1, 2]).expect("a step");
    assert_eq!((report.loss, report.terms), (None, vec![("query", None)]));
    assert!(model.named_tensors().expect("tensors") == before);
}

#[test]
fn a_recipe_for_another_model_is_refused() {
    let device = Device::flex();
    let message = Ssp::build(&mlc_recipe(), &device).expect_err("an error").to_string();
    assert!(message.contains("`model.kind` is mlc"), "{message}");
    let message = Mlc::build(&recipe(), &device).expect_err("an error").to_string();
    assert!(message.contains("`model.kind` is ssp"), "{message}");
}
