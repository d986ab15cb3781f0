//! A run that is stopped, killed and resumed ends with the same bits as one that is not.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use fss_heads::Ssp;
use fss_train::checkpoint::{Checkpoint, Progress};
use fss_train::log::{LogEntry, RunLog};
use fss_train::observer::Silent;
use fss_train::optim::Rule;
use fss_train::recipe::Sampling;
use fss_train::schedule::Schedule;
use fss_train::trainer::{SamplerState, Start, TrainOutcome, TrainingRun, files, train};
use fss_train::{Stop, TrainError};

use crate::fixture::{StopAfter, generate_data, recipe, run};

fn finish(run: &TrainingRun, start: Start) -> PathBuf {
    match train::<Ssp>(run, start, &mut Silent, &Stop::new()).expect("a run") {
        TrainOutcome::Finished { weights, .. } => weights,
        TrainOutcome::Interrupted { .. } => panic!("nobody asked it to stop"),
    }
}

/// Everything that a finished run leaves must be equal: weights, scores, log, last checkpoint.
fn assert_same(straight: &TrainingRun, other: &TrainingRun, what: &str) {
    for name in [files::BEST, files::EVALUATION, files::LOG, files::RECIPE] {
        let read = |folder: &Path| fs::read(folder.join(name)).expect(name);
        assert!(read(&straight.folder) == read(&other.folder), "{what}: {name} differs");
    }
    let last = |run: &TrainingRun| {
        let path = run.checkpoints().latest().expect("a folder").expect("a checkpoint");
        Checkpoint::<Progress>::load(&path).expect("a whole checkpoint")
    };
    let (a, b) = (last(straight), last(other));
    assert_eq!(a.progress, b.progress, "{what}");
    assert!(a.model == b.model, "{what}: the model differs");
    assert!(a.optimizer == b.optimizer, "{what}: the optimiser differs");
    assert!(a.best_model == b.best_model, "{what}: the best model differs");
    assert!(!a.optimizer.is_empty() && !a.best_model.is_empty());
}

#[test]
fn stopped_or_killed_runs_resume_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("data");
    generate_data(&root);
    let straight = run(&root, &folder.path().join("straight"), recipe());
    finish(&straight, Start::Fresh);
    let log = RunLog::read(&straight.folder.join(files::LOG)).expect("a log");
    let iterations: Vec<u64> = log
        .iter()
        .filter_map(|entry| match entry {
            LogEntry::Iteration { iteration, loss, .. } => loss.map(|_| *iteration),
            _ => None,
        })
        .collect();
    assert_eq!(iterations, [1, 2, 3, 4, 5, 6]);
    assert_eq!(log.iter().filter(|e| matches!(e, LogEntry::Validation { .. })).count(), 2);

    // Stopped on request: after an iteration, and in the middle of a validation.
    for (iteration, in_validation) in [(2, false), (3, true), (6, true)] {
        let what = format!("stopped at {iteration}, in validation: {in_validation}");
        let stopped = run(&root, &folder.path().join(&what), recipe());
        let stop = Stop::new();
        let mut observer = StopAfter { iteration, in_validation, stop: stop.clone(), seen: 0 };
        let outcome = train::<Ssp>(&stopped, Start::Fresh, &mut observer, &stop).expect("a run");
        let TrainOutcome::Interrupted { iteration: at, checkpoint } = outcome else {
            panic!("{what}: it ran to the end");
        };
        assert_eq!(at, iteration);
        assert!(checkpoint.is_file());
        finish(&stopped, Start::Resume);
        assert_same(&straight, &stopped, &what);
    }

    // Killed: a checkpoint is there, the log has run on, and its last line is cut off.
    let checkpoints = straight.checkpoints().list().expect("checkpoints");
    assert_eq!(checkpoints.len(), 6);
    for (iteration, path) in checkpoints.iter().filter(|(iteration, _)| [1, 4].contains(iteration))
    {
        let what = format!("killed after {iteration}");
        let killed = run(&root, &folder.path().join(&what), recipe());
        let copy = killed.checkpoints().path(*iteration);
        fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        fs::copy(path, copy).expect("a copy");
        let mut text = fs::read(straight.folder.join(files::LOG)).expect("a log");
        text.truncate(text.len() - 9);
        fs::write(killed.folder.join(files::LOG), text).expect("a log");
        finish(&killed, Start::Resume);
        assert_same(&straight, &killed, &what);
    }

    // A finished run can be resumed; it evaluates once more and changes nothing.
    finish(&straight, Start::Resume);

    let refused = |run: &TrainingRun, start: Start| {
        train::<Ssp>(run, start, &mut Silent, &Stop::new()).expect_err("a refusal")
    };
    let used = refused(&straight, Start::Fresh).to_string();
    assert!(used.contains("resume it") && used.contains("iteration-00000006"), "{used}");

    let mut changed = straight.clone();
    changed.recipe.optim.lr = 0.5;
    changed.recipe.episodes.seed = 9;
    let error = refused(&changed, Start::Resume);
    assert!(matches!(error, TrainError::RecipeChanged { .. }));
    let text = error.to_string();
    assert!(text.contains("`optim.lr`") && text.contains("`episodes.seed`"), "{text}");

    let mut rhythm = straight.clone();
    rhythm.recipe.checkpoint.every = 5;
    finish(&rhythm, Start::Resume);

    let latest = straight.checkpoints().latest().expect("a folder").expect("a checkpoint");
    let bytes = fs::read(&latest).expect("a checkpoint");
    fs::write(&latest, &bytes[..bytes.len() / 2]).expect("a cut");
    let text = refused(&straight, Start::Resume).to_string();
    assert!(text.contains("truncated") && text.contains("iteration-00000006"), "{text}");
}

#[test]
fn only_the_last_checkpoints_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("data");
    generate_data(&root);
    let mut recipe = recipe();
    recipe.checkpoint.keep = 2;
    let run = run(&root, &folder.path().join("run"), recipe);
    finish(&run, Start::Fresh);
    let left: Vec<u64> =
        run.checkpoints().list().expect("a folder").into_iter().map(|(n, _)| n).collect();
    assert_eq!(left, [5, 6]);
    let names: Vec<_> = fs::read_dir(run.folder.join(files::CHECKPOINTS))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names.len(), 2, "nothing half-written: {names:?}");
}

#[test]
fn runs_with_seeded_episodes_resume_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("data");
    generate_data(&root);
    let seeded = || {
        let mut recipe = recipe();
        recipe.episodes.sampling = Sampling::Seeded;
        recipe
    };
    let straight = run(&root, &folder.path().join("straight"), seeded());
    finish(&straight, Start::Fresh);
    let stopped = run(&root, &folder.path().join("stopped"), seeded());
    let stop = Stop::new();
    let mut observer =
        StopAfter { iteration: 4, in_validation: false, stop: stop.clone(), seen: 0 };
    train::<Ssp>(&stopped, Start::Fresh, &mut observer, &stop).expect("a run");
    finish(&stopped, Start::Resume);
    assert_same(&straight, &stopped, "seeded episodes");

    let weights = |run: &TrainingRun| fs::read(run.folder.join(files::BEST)).expect("weights");
    let official = run(&root, &folder.path().join("official"), recipe());
    finish(&official, Start::Fresh);
    assert!(weights(&official) != weights(&straight), "other episodes, other weights");
}

#[test]
fn adam_and_whole_images_resume_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("data");
    generate_data(&root);
    let adam = || {
        let mut recipe = recipe();
        recipe.optim.lr = 1e-3;
        recipe.optim.rule =
            Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        recipe.optim.schedule = Schedule::Constant;
        recipe.episodes.sampling = Sampling::Hsnet;
        recipe
    };
    let straight = run(&root, &folder.path().join("straight"), adam());
    finish(&straight, Start::Fresh);
    let log = RunLog::read(&straight.folder.join(files::LOG)).expect("a log");
    for entry in &log {
        if let LogEntry::Iteration { rate, loss, .. } = entry {
            assert!(*rate == 1e-3 && loss.is_some());
        }
    }
    // In a snapshot, at its end, and in the next.
    for iteration in [1, 3, 4] {
        let what = format!("Adam, stopped at {iteration}");
        let stopped = run(&root, &folder.path().join(&what), adam());
        let stop = Stop::new();
        let mut observer =
            StopAfter { iteration, in_validation: false, stop: stop.clone(), seen: 0 };
        train::<Ssp>(&stopped, Start::Fresh, &mut observer, &stop).expect("a run");
        let best = stopped.folder.join(files::BEST);
        assert_eq!(best.is_file(), iteration > 3, "the best model is there after a validation");
        finish(&stopped, Start::Resume);
        assert_same(&straight, &stopped, &what);
    }
    let last = straight.checkpoints().latest().expect("a folder").expect("a checkpoint");
    let state = Checkpoint::<Progress>::load(&last).expect("a whole checkpoint");
    let moments = state.optimizer.iter().filter(|t| t.key.starts_with("moment2.")).count();
    assert!(moments > 0 && state.optimizer.len() == 3 * moments);
    assert!(matches!(state.progress.sampler, SamplerState::Hsnet { next: 6, .. }));

    let mut other = straight.clone();
    other.recipe.optim.rule = Rule::sgd(0.9, 0.0);
    let error =
        train::<Ssp>(&other, Start::Resume, &mut Silent, &Stop::new()).expect_err("changed");
    assert!(error.to_string().contains("`optim.rule`"), "{error}");
}

/// Two devices share every batch: nearly the losses of one, and the same bits whenever they do so.
#[test]
fn two_devices_train_and_resume_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("data");
    generate_data(&root);
    let runs = |name: &str, more: usize| {
        let mut run = run(&root, &folder.path().join(name), recipe());
        run.more_devices = vec![Device::flex(); more];
        run
    };
    let losses = |run: &TrainingRun| -> Vec<f64> {
        let log = RunLog::read(&run.folder.join(files::LOG)).expect("a log");
        let losses = log.iter().filter_map(|entry| match entry {
            LogEntry::Iteration { loss, .. } => *loss,
            _ => None,
        });
        losses.collect()
    };
    let (one, two) = (runs("one", 0), runs("two", 1));
    finish(&one, Start::Fresh);
    finish(&two, Start::Fresh);
    let (alone, shared) = (losses(&one), losses(&two));
    assert!((alone[0] - shared[0]).abs() < 0.02 * alone[0], "{alone:?} {shared:?}");

    let parts = runs("parts", 1);
    let stop = Stop::new();
    let mut after = StopAfter { iteration: 2, in_validation: false, stop: stop.clone(), seen: 0 };
    let first = train::<Ssp>(&parts, Start::Fresh, &mut after, &stop).expect("a part");
    assert!(matches!(first, TrainOutcome::Interrupted { iteration: 2, .. }));
    finish(&parts, Start::Resume);
    assert_same(&two, &parts, "two devices");

    let three = runs("three", 2);
    let refused = train::<Ssp>(&three, Start::Fresh, &mut Silent, &Stop::new()).unwrap_err();
    assert!(refused.to_string().contains("2 episodes cannot be shared by 3"), "{refused}");
}
