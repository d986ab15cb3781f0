//! Sessions in mixed precision, which no run chooses on the CPU.

use std::path::Path;

use burn::tensor::FloatDType;
use fss_heads::Ssp;

use super::*;
use crate::Precision;
use crate::observer::Silent;

#[path = "../../tests/behaviour/fixture.rs"]
#[expect(dead_code, reason = "integration tests use more of it")]
mod fixture;

/// Six iterations in mixed precision without a validation between them, below the folder that has the data.
fn run(folder: &Path, name: &str) -> TrainingRun {
    let mut recipe = fixture::recipe();
    recipe.episodes.snapshot = recipe.episodes.total;
    recipe.train.precision = Precision::Mixed;
    let own = folder.join(name);
    std::fs::create_dir_all(&own).expect("a folder");
    fixture::run(&folder.join("data"), &own, recipe)
}

fn data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fixture::generate_data(&folder.path().join("data"));
    folder
}

fn advance(session: &mut Session<'_, Ssp>, iterations: usize) {
    for _ in 0..iterations {
        session.iterate(&mut Silent).expect("an iteration");
    }
}

fn weights(session: &Session<'_, Ssp>) -> Vec<NamedTensor> {
    session.model.named_tensors().expect("weights")
}

fn flat(tensors: Vec<NamedTensor>) -> Vec<f64> {
    tensors.into_iter().flat_map(|tensor| tensor.values).map(f64::from).collect()
}

#[test]
fn mixed_precision_resumes_to_the_same_bits() {
    let folder = data();
    let [straight, full, parts] =
        ["straight", "full", "parts"].map(|name| run(folder.path(), name));
    let mixed = || Computing::mixed(FloatDType::BF16);
    let mut whole = Session::<Ssp>::fresh(&straight, mixed()).expect("a session");
    advance(&mut whole, 6);
    whole.save(&mut Silent).expect("a checkpoint");

    let mut first = Session::<Ssp>::fresh(&parts, mixed()).expect("a session");
    advance(&mut first, 1);
    let rounded = flat(weights(&first));
    advance(&mut first, 1);
    let path = first.save(&mut Silent).expect("a checkpoint");
    let saved = Checkpoint::<Progress>::load(&path).expect("a checkpoint").progress;
    assert_eq!(saved.scaler, first.scaler);
    assert_ne!(saved.scaler, Some(LossScaler::default()), "two good steps are counted");
    let mut second = Session::<Ssp>::resume(&parts, mixed()).expect("a session");
    assert_eq!(second.scaler, first.scaler);
    advance(&mut second, 4);
    second.save(&mut Silent).expect("a checkpoint");
    let last = |run: &TrainingRun| {
        let path = run.checkpoints().latest().expect("a folder").expect("a checkpoint");
        Checkpoint::<Progress>::load(&path).expect("a whole checkpoint")
    };
    let (a, b) = (last(&straight), last(&parts));
    assert_eq!(a.progress, b.progress);
    assert!(a.model == b.model && a.optimizer == b.optimizer);

    // Something was rounded in the first step: by 0.4 of it, since a narrow network on small images has the
    // self-support step choose other positions.
    let mut other = Session::<Ssp>::fresh(&full, Computing::default()).expect("a session");
    let before = flat(weights(&other));
    advance(&mut other, 1);
    let exact = flat(weights(&other));
    let gap = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    };
    let (moved, error) = (gap(&exact, &before), gap(&exact, &rounded));
    assert!(error > 0.0 && error < 0.8 * moved, "{error:e} of {moved:e}");
}

#[test]
fn a_step_that_overflows_is_passed_over_and_halves_the_scale() {
    let folder = data();
    let run = run(folder.path(), "run");
    let high = 2f64.powi(60);
    let precision = ComputePrecision::Mixed(FloatDType::F16);
    let computing = || Computing { precision, scaler: Some(LossScaler::with_scale(high)) };
    let mut session = Session::<Ssp>::fresh(&run, computing()).expect("a session");
    let before = weights(&session);
    advance(&mut session, 1);
    assert_eq!(session.scaler, Some(LossScaler::with_scale(high / 2.0)));
    assert!(weights(&session) == before && session.optimizer.to_tensors().is_empty());
    session.save(&mut Silent).expect("a checkpoint");

    // On from the halved scale, on the next episodes.
    let mut resumed = Session::<Ssp>::resume(&run, computing()).expect("a session");
    advance(&mut resumed, 1);
    assert_eq!((resumed.done(), &resumed.scaler), (2, &Some(LossScaler::with_scale(high / 4.0))));

    // A device without a half type goes on in float32.
    let mut plain = Session::<Ssp>::resume(&run, Computing::default()).expect("a session");
    assert_eq!(plain.scaler, None);
    advance(&mut plain, 1);
    assert!(weights(&plain) != before);
}
