//! What is wrong is named: file, key, class, iteration.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use fss_heads::Ssp;
use fss_train::evaluate::{EvaluationPlan, evaluate};
use fss_train::observer::Silent;
use fss_train::recipe::{Init, Recipe};
use fss_train::trainer::{Start, files, initial_model, train};
use fss_train::{RunData, Stop, TrainError};

use crate::fixture::{generate_data, novel_data, recipe, run};

/// Trains `recipe` on fresh data that `damage` may spoil first, and gives the error's text.
fn failure(recipe: Recipe, damage: impl FnOnce(&Path)) -> (TrainError, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("data");
    generate_data(&root);
    let run = run(&root, &folder.path().join("run"), recipe);
    damage(&root);
    let error = train::<Ssp>(&run, Start::Fresh, &mut Silent, &Stop::new()).expect_err("a failure");
    let left = fs::read_dir(&run.folder)
        .map(|entries| {
            let names = entries.map(|e| e.expect("an entry").file_name());
            names.map(|name| name.to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    (error, left)
}

#[test]
fn a_loss_that_explodes_names_the_iteration() {
    let mut recipe = recipe();
    recipe.optim.lr = 1e30;
    let (error, left) = failure(recipe, |_| {});
    assert!(matches!(error, TrainError::NonFiniteLoss { iteration: 2.., .. }), "{error}");
    assert!(error.to_string().contains("optim.lr"), "{error}");
    assert!(!left.contains(&files::BEST.to_owned()), "{left:?}");
}

#[test]
fn an_unreadable_image_is_named() {
    let (error, _) = failure(recipe(), |root| {
        for entry in fs::read_dir(root.join("JPEGImages")).expect("images") {
            fs::write(entry.expect("an image").path(), "no image").expect("a spoilt image");
        }
    });
    assert!(error.to_string().contains(".jpg"), "{error}");
}

#[test]
fn missing_weights_are_named_and_nothing_is_left() {
    let mut recipe = recipe();
    recipe.init = Init::Weights { path: "/nowhere/resnet18.pth".into() };
    let (error, left) = failure(recipe, |_| {});
    assert!(error.to_string().contains("/nowhere/resnet18.pth"), "{error}");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn senseless_recipes_do_not_start() {
    let mut recipe = recipe();
    recipe.episodes.batch = 5;
    let (error, left) = failure(recipe, |_| {});
    assert!(error.to_string().contains("episodes.batch"), "{error}");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn resuming_nothing_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("data");
    generate_data(&root);
    let run = run(&root, &folder.path().join("run"), recipe());
    let error = train::<Ssp>(&run, Start::Resume, &mut Silent, &Stop::new()).expect_err("an error");
    assert!(error.to_string().contains("no checkpoint to resume"), "{error}");
    // Calibration makes the random network's norms fit the images.
    let model = initial_model::<Ssp>(&run).expect("a model");
    let tensors = model.backbone.named_tensors().expect("tensors");
    let variance = tensors.iter().find(|t| t.key.ends_with("running_var")).expect("a norm");
    assert!(variance.values.iter().any(|&v| v != 1.0));
}

#[test]
fn evaluations_that_cannot_be_drawn_say_why() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let (data, model) = novel_data(folder.path());
    let error = |plan: EvaluationPlan| {
        evaluate(&model, &data, &plan, &Device::flex(), &mut Silent, &Stop::new())
            .expect_err("an error")
            .to_string()
    };
    let many = error(EvaluationPlan { episodes: 9, ..EvaluationPlan::pascal(500) });
    assert!(many.contains("class") && many.contains("500"), "{many}");
    let none = error(EvaluationPlan { seeds: vec![], ..EvaluationPlan::pascal(1) });
    assert!(none.contains("seed"), "{none}");
    assert!(error(EvaluationPlan::pascal(0)).contains("0 shots"));
}

#[test]
fn a_missing_mask_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    generate_data(folder.path());
    let masks = folder.path().join("SegmentationClass");
    let mut names: Vec<_> =
        fs::read_dir(&masks).expect("masks").map(|e| e.expect("a mask").path()).collect();
    names.sort();
    let lost = names.last().expect("a mask").clone();
    fs::remove_file(&lost).expect("a removal");
    let error = RunData::open(folder.path(), &recipe().data).expect_err("an error");
    let name = lost.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(error.to_string().contains(&name), "{error}");
}
