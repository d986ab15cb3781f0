//! Training with the pseudo masks that mining made.

use super::*;

fn finish(run: &TrainingRun, start: Start) -> Vec<LogEntry> {
    match train::<Mlc>(run, start, &mut Silent, &Stop::new()).expect("a run") {
        TrainOutcome::Finished { .. } => RunLog::read(&run.folder.join(files::LOG)).expect("a log"),
        TrainOutcome::Interrupted { .. } => panic!("nobody asked it to stop"),
    }
}

/// The values of one part of the loss.
fn losses(log: &[LogEntry], name: &str) -> Vec<f64> {
    log.iter()
        .filter_map(|entry| match entry {
            LogEntry::Iteration { terms, .. } => terms.get(name)?.as_f64(),
            _ => None,
        })
        .collect()
}

#[test]
fn both_losses_fall() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, mut recipe) = prepared(folder.path());
    recipe.episodes.total = 600;
    recipe.episodes.snapshot = 600;
    recipe.checkpoint.every = 1_000;
    let run = run(&root, &folder.path().join("run"), recipe);
    let log = finish(&run, Start::Fresh);
    for name in ["query", "pseudo"] {
        let values = losses(&log, name);
        assert_eq!(values.len(), 300);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (early, late) = (mean(&values[..30]), mean(&values[240..]));
        assert!(late < 0.93 * early, "{name}: {early} {late}");
    }
}

fn last(run: &TrainingRun) -> Checkpoint {
    let path = run.checkpoints().latest().expect("a folder").expect("a checkpoint");
    Checkpoint::<fss_train::checkpoint::Progress>::load(&path).expect("a whole checkpoint")
}

fn backbone_of(checkpoint: &Checkpoint) -> Vec<fss_backbone::NamedTensor> {
    let mut tensors = checkpoint.model.clone();
    tensors.retain(|t| t.key.starts_with("layer"));
    tensors
}

#[test]
fn each_part_can_be_left_out_and_without_all_it_is_the_baseline() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, recipe) = prepared(folder.path());
    let go = |name: &str, recipe: &Recipe| {
        let run = run(&root, &folder.path().join(name), recipe.clone());
        finish(&run, Start::Fresh);
        run
    };
    let pool =
        PoolSettings { images: 8, min_pixels: 1, similarity: -1.0, ..PoolSettings::default() };
    let variant = |mining: bool, background: bool, foreground: bool| {
        let mut recipe = recipe.clone();
        let settings = settings(&mut recipe);
        if !mining {
            settings.mining = Mining::Off;
        }
        if !background {
            settings.rectification.background = BackgroundRectification::Off;
        }
        if foreground {
            settings.rectification.foreground = ForegroundRectification::Pool(pool);
        }
        recipe
    };
    let mut plain = fixture::recipe();
    plain.model = ModelSettings::Mlc(MlcSettings::default());
    plain.train = recipe.train.clone();
    let baseline = go("plain", &plain);
    let off = go("off", &variant(false, false, false));
    let weights = |run: &TrainingRun| fs::read(run.folder.join(files::BEST)).expect("weights");
    let log = |run: &TrainingRun| fs::read(run.folder.join(files::LOG)).expect("a log");
    assert!(weights(&baseline) == weights(&off), "without all parts it is the baseline");
    assert!(log(&baseline) == log(&off));

    let mining = go("mining", &variant(true, false, false));
    let background = go("background", &variant(false, true, false));
    let all = go("all", &variant(true, true, false));
    let backbones = [&baseline, &mining, &background, &all].map(|run| backbone_of(&last(run)));
    for (i, one) in backbones.iter().enumerate() {
        for other in &backbones[..i] {
            assert!(one != other, "run {i} learned the same as another");
        }
    }
    // The foreground's rectification takes no part in training, but in testing.
    let foreground = go("foreground", &variant(false, false, true));
    let losses_of = |run: &TrainingRun| {
        losses(&RunLog::read(&run.folder.join(files::LOG)).expect("a log"), "query")
    };
    assert_eq!(losses_of(&foreground), losses_of(&baseline));
    assert_eq!(backbone_of(&last(&foreground)), backbones[0]);
    let scores = |run: &TrainingRun| {
        fs::read_to_string(run.folder.join(files::EVALUATION)).expect("an evaluation")
    };
    assert_ne!(scores(&foreground), scores(&baseline));
    assert_ne!(scores(&background), scores(&baseline));

    // Keys: the baseline's, and what inference needs of the rest.
    let keys = |run: &TrainingRun, prefix: &str| {
        fss_backbone::read_tensors(&run.folder.join(files::BEST), prefix).expect("a file").len()
    };
    assert_eq!((keys(&baseline, "rectification."), keys(&baseline, "decoder.")), (0, 0));
    assert_eq!((keys(&mining, "rectification."), keys(&mining, "decoder.")), (0, 0));
    assert_eq!((keys(&all, "rectification."), keys(&all, "decoder.")), (2, 0));
    let total = |run: &TrainingRun| {
        let file = run.folder.join(files::BEST);
        fss_backbone::inspect_weights(&file).expect("a file").tensors.len()
    };
    assert_eq!(total(&all), total(&baseline) + 2);
    let mut kept = variant(true, true, false);
    joint(&mut kept).export = DecoderExport::Keep;
    assert_eq!(keys(&go("kept", &kept), "decoder."), 7);
}

#[test]
fn joint_training_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, recipe) = prepared(folder.path());
    let straight = run(&root, &folder.path().join("straight"), recipe.clone());
    finish(&straight, Start::Fresh);
    for (iteration, in_validation) in [(2, false), (3, true), (4, false)] {
        let what = format!("stopped at {iteration}");
        let mut stopped = run(&root, &folder.path().join(&what), recipe.clone());
        stopped.loader = LoaderOptions { threads: 1, prefetch: 1 };
        let stop = Stop::new();
        let mut observer = StopAfter { iteration, in_validation, stop: stop.clone(), seen: 0 };
        let outcome = train::<Mlc>(&stopped, Start::Fresh, &mut observer, &stop).expect("a run");
        assert!(matches!(outcome, TrainOutcome::Interrupted { .. }));
        finish(&stopped, Start::Resume);
        for name in [files::BEST, files::EVALUATION, files::LOG] {
            let read = |run: &TrainingRun| fs::read(run.folder.join(name)).expect(name);
            assert!(read(&straight) == read(&stopped), "{what}: {name} differs");
        }
        let (a, b) = (last(&straight), last(&stopped));
        assert_eq!(a.progress, b.progress, "{what}");
        assert!(a.model == b.model && a.optimizer == b.optimizer, "{what}");
        let decoder = |key: &str| a.model.iter().any(|t| t.key == key);
        assert!(decoder("decoder.norm.running_var") && decoder("rectification.background"));
        assert!(a.optimizer.iter().any(|t| t.key == "velocity.decoder.reduce"));
    }

    // Other pseudo masks than at the start are refused.
    let mut other = recipe.clone();
    joint(&mut other).labels.region = Region::Connected;
    fs::remove_dir_all(folder.path().join("masks")).expect("a removal");
    mine(&root, &other, &folder.path().join("masks"));
    let error = train::<Mlc>(&straight, Start::Resume, &mut Silent, &Stop::new());
    let message = error.expect_err("an error").to_string();
    assert!(message.contains("not those that the run was started with"), "{message}");
}

#[test]
fn the_decoder_learns_at_its_own_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, mut recipe) = prepared(folder.path());
    joint(&mut recipe).rate_factor = 0.0;
    let still = run(&root, &folder.path().join("still"), recipe);
    finish(&still, Start::Fresh);
    let first = Checkpoint::<fss_train::checkpoint::Progress>::load(&still.checkpoints().path(1))
        .expect("a checkpoint");
    let find = |checkpoint: &Checkpoint, key: &str| {
        checkpoint.model.iter().find(|t| t.key == key).expect(key).values.clone()
    };
    for (key, moves) in [
        ("decoder.reduce.weight", false),
        ("decoder.classify.bias", false),
        ("decoder.norm.running_mean", true),
        ("layer3.1.conv1.weight", true),
    ] {
        assert_eq!(find(&first, key) != find(&last(&still), key), moves, "{key}");
    }
}

#[test]
fn masks_of_another_fold_encoder_or_number_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, recipe) = prepared(folder.path());
    let refused = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipe.clone();
        change(&mut recipe);
        let run = run(&root, &folder.path().join("run"), recipe);
        let error = train::<Mlc>(&run, Start::Fresh, &mut Silent, &Stop::new());
        error.expect_err("a refusal").to_string()
    };
    let message = refused(&|r| r.data.fold = 2);
    assert!(message.contains("fold") && message.contains("fss mine"), "{message}");
    let message = refused(&|r| joint(r).labels.clusters = 7);
    assert!(message.contains("clusters: 7 | 6"), "{message}");
    let message = refused(&|r| {
        if let fss_train::recipe::Init::Scratch { seed, .. } = &mut r.init {
            *seed = 5;
        }
    });
    assert!(message.contains("encoder") && message.contains("model.mining.encoder"), "{message}");
    let nowhere = refused(&|r| joint(r).masks = "/nowhere/masks".into());
    assert!(nowhere.contains("/nowhere/masks") && nowhere.contains("fss mine"), "{nowhere}");

    // Another encoder may be meant.
    let mut any = recipe.clone();
    joint(&mut any).encoder = EncoderCheck::Any;
    any.init = fss_train::recipe::Init::Scratch { seed: 5, calibration_episodes: 3 };
    finish(&run(&root, &folder.path().join("any"), any), Start::Fresh);

    // A folder with something else in it is not filled up.
    let mut other = recipe.clone();
    joint(&mut other).labels.seed = 1;
    let masks = folder.path().join("masks");
    let error = mine_with(&root, &other, &masks, None, &mut Silent, &Stop::new());
    let message = error.unwrap_err().to_string();
    assert!(message.contains("seed: 1 | 0") && message.contains("another folder"), "{message}");
    joint(&mut other).labels.clusters = 10_000;
    let error =
        mine_with(&root, &other, &folder.path().join("many"), None, &mut Silent, &Stop::new());
    assert!(error.unwrap_err().to_string().contains("10000 clusters"));

    // A mask that is lost or was exchanged is named when it is needed.
    let train = base_data(&root, &recipe);
    let opened = PseudoMasks::open(&masks, &train.dataset).expect("pseudo masks");
    let lost = masks.join("masks").join(format!("{}.png", train.dataset.ids[7]));
    fs::remove_file(&lost).expect("a removal");
    let message = opened.load(7).unwrap_err().to_string();
    assert!(message.contains(&train.dataset.ids[7]), "{message}");
    let mut baseline = recipe.clone();
    settings(&mut baseline).mining = Mining::Off;
    let error =
        mine_with(&root, &baseline, &folder.path().join("none"), None, &mut Silent, &Stop::new());
    assert!(error.unwrap_err().to_string().contains("mlc-full-pascal"));
}
