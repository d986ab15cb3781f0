//! Sessions in mixed precision, which no run chooses on the CPU.

use burn::tensor::FloatDType;
use fss_heads::Denet;

use super::*;
use crate::Precision;
use crate::observer::Silent;

#[path = "../../tests/ways/fixture.rs"]
mod fixture;

fn run(folder: &Path) -> WaysRun {
    let mut recipe = fixture::recipe("denet");
    recipe.train.precision = Precision::Mixed;
    let folder = folder.to_path_buf();
    std::fs::create_dir_all(&folder).expect("a folder");
    fixture::run(recipe, &folder)
}

fn advance(session: &mut Session<'_, Denet>, iterations: usize) {
    for _ in 0..iterations {
        session.iterate(&mut Silent).expect("an iteration");
    }
}

fn weights(session: &Session<'_, Denet>) -> Vec<NamedTensor> {
    module_tensors(&session.model).expect("weights")
}

#[test]
fn mixed_precision_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let [straight, parts, full] =
        ["straight", "parts", "full"].map(|name| run(&folder.path().join(name)));
    let mixed = || Computing::mixed(FloatDType::BF16);
    let open = |run, start, computing| Session::<Denet>::open(run, start, computing);
    let mut whole = open(&straight, Start::Fresh, mixed()).expect("a session");
    advance(&mut whole, 3);

    let mut first = open(&parts, Start::Fresh, mixed()).expect("a session");
    advance(&mut first, 2);
    assert_ne!(first.scaler, Some(LossScaler::default()), "two good steps are counted");
    first.save(&mut Silent).expect("a checkpoint");
    let mut second = open(&parts, Start::Resume, mixed()).expect("a session");
    assert_eq!(second.scaler, first.scaler);
    advance(&mut second, 1);
    assert!(weights(&whole) == weights(&second) && whole.scaler == second.scaler);
    assert!(whole.optimizer.to_tensors() == second.optimizer.to_tensors());

    // It is not what float32 gives, and float32 goes on from it where a device has nothing else.
    let mut exact = open(&full, Start::Fresh, Computing::default()).expect("a session");
    advance(&mut exact, 3);
    assert!(weights(&exact) != weights(&whole));
    let plain = open(&parts, Start::Resume, Computing::default()).expect("a session");
    assert!(plain.scaler.is_none() && plain.done() == 2);
}

#[test]
fn a_step_that_overflows_is_passed_over_and_halves_the_scale() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run(folder.path());
    let high = 2f64.powi(100);
    let precision = ComputePrecision::Mixed(FloatDType::F16);
    let computing = Computing { precision, scaler: Some(LossScaler::with_scale(high)) };
    let mut session = Session::<Denet>::open(&run, Start::Fresh, computing).expect("a session");
    let learnt = |session: &Session<'_, Denet>| -> Vec<NamedTensor> {
        weights(session).into_iter().filter(|one| !one.key.contains("running")).collect()
    };
    let before = learnt(&session);
    advance(&mut session, 1);
    assert_eq!((session.done(), &session.scaler), (1, &Some(LossScaler::with_scale(high / 2.0))));
    assert!(learnt(&session) == before && session.optimizer.to_tensors().is_empty());
}
