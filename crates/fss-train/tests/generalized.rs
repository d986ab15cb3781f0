//! Both stages of POP on small generated data: stopping, resuming, and what is refused.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::tensor::{Device, Tensor, TensorData};
use fss_backbone::{Depth, DilatedResNetConfig, module_tensors};
use fss_data::gfss::{few_shot_file, write_list};
use fss_data::synthetic::{SyntheticConfig, generate};
use fss_heads::{LabelledBatch, Pop, PopConfig, Pspnet};
use fss_train::generalized::{
    GfssData, GfssEvaluation, GfssInit, GfssMethod, GfssObserver, GfssOutcome, GfssRecipe, GfssRun,
    Precision, StageBatch, generalized_step_on, generalized_table, train_generalized,
};
use fss_train::log::{LogEntry, RunLog};
use fss_train::observer::{IterationReport, Silent};
use fss_train::optim::{NamedOptimizer, Rule};
use fss_train::trainer::{Start, files};
use fss_train::{Stop, TrainError};

/// Data that all tests share.
fn root() -> &'static Path {
    static ROOT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = ROOT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let config = SyntheticConfig {
            train_images: 60,
            val_images: 6,
            side: [40, 48],
            object_percent: [50, 70],
            ..SyntheticConfig::default()
        };
        generate(&folder.path().join("data"), &config, |_| ControlFlow::Continue(()))
            .expect("data");
        folder
    });
    Box::leak(folder.path().join("data").into_boxed_path())
}

fn small(name: &str) -> GfssRecipe {
    let mut recipe = GfssRecipe::builtin(name).expect("a recipe");
    recipe.backbone = recipe.backbone.with_width(2);
    recipe.data.min_pixels = 50;
    recipe.data.shot = 1;
    recipe.samples.crop = 33;
    recipe.samples.side = 33;
    recipe.samples.workers = 2;
    recipe.samples.epochs = 2;
    recipe.checkpoint.every = 1;
    recipe.checkpoint.keep = 100;
    recipe
}

fn base() -> GfssRecipe {
    let mut recipe = small("pop-synthetic-base");
    recipe.samples.batch = 20;
    recipe
}

fn novel(weights: &Path) -> GfssRecipe {
    let mut recipe = small("pop-synthetic-novel");
    recipe.samples.batch = 8;
    recipe.samples.seeds = vec![1, 2];
    recipe.init = GfssInit::Weights { path: weights.to_path_buf() };
    recipe
}

fn run(recipe: GfssRecipe, folder: &Path) -> GfssRun {
    let data = GfssData::open(root(), &recipe.data).expect("data");
    let loader = Default::default();
    let (folder, device) = (folder.to_path_buf(), Device::flex());
    GfssRun { recipe, data, folder, device, more_devices: Vec::new(), loader }
}

fn finish(run: &GfssRun, start: Start) -> GfssEvaluation {
    match train_generalized::<Pop>(run, start, &mut Silent, &Stop::new()).expect("a run") {
        GfssOutcome::Finished { evaluation, .. } => evaluation,
        GfssOutcome::Interrupted { .. } => panic!("nobody asked it to stop"),
    }
}

/// Asks for a stop after some iteration of any seed, or in the measuring after it.
struct StopAfter {
    iterations: u64,
    measuring: bool,
    stop: Stop,
}

impl GfssObserver for StopAfter {
    fn iteration_finished(&mut self, _: &IterationReport) {
        self.iterations = self.iterations.saturating_sub(1);
        if self.iterations == 0 && !self.measuring {
            self.stop.request();
        }
    }

    fn measuring(&mut self, _: usize) {
        if self.iterations == 0 && self.measuring {
            self.stop.request();
        }
    }
}

fn interrupt(run: &GfssRun, iterations: u64, measuring: bool) {
    let stop = Stop::new();
    let mut observer = StopAfter { iterations, measuring, stop: stop.clone() };
    let outcome = train_generalized::<Pop>(run, Start::Fresh, &mut observer, &stop).expect("a run");
    assert!(matches!(outcome, GfssOutcome::Interrupted { .. }));
}

fn same(a: &GfssRun, b: &GfssRun, names: &[PathBuf]) {
    for name in names {
        let read = |run: &GfssRun| fs::read(run.folder.join(name)).expect("a file");
        assert!(read(a) == read(b), "{} differs", name.display());
    }
}

#[test]
fn both_stages_resume_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let straight = run(base(), &folder.path().join("base"));
    finish(&straight, Start::Fresh);
    let names = [files::BEST, files::EVALUATION, files::LOG, files::RECIPE].map(PathBuf::from);
    for (iterations, measuring) in [(1, false), (4, false), (4, true)] {
        let other = run(base(), &folder.path().join(format!("base {iterations} {measuring}")));
        interrupt(&other, iterations, measuring);
        finish(&other, Start::Resume);
        same(&straight, &other, &names);
    }

    let weights = straight.weights(123);
    let straight = run(novel(&weights), &folder.path().join("novel"));
    let evaluation = finish(&straight, Start::Fresh);
    assert_eq!(evaluation.seeds.len(), 2);
    let table = generalized_table(&evaluation);
    for word in ["harmonic", "mean", "deviation", "background", "aeroplane", "seed 1"] {
        assert!(table.contains(word), "{table}");
    }
    let names = ["best_1.safetensors", "best_2.safetensors", "seed_1/log.jsonl", files::EVALUATION];
    // In the first seed's run, and in the second's.
    for iterations in [1, 3] {
        let other = run(novel(&weights), &folder.path().join(format!("novel {iterations}")));
        interrupt(&other, iterations, false);
        finish(&other, Start::Resume);
        same(&straight, &other, &names.map(PathBuf::from));
    }
    let log = RunLog::read(&straight.folder.join("seed_2/log.jsonl")).expect("a log");
    let rates: Vec<f64> = log
        .iter()
        .filter_map(|entry| match entry {
            LogEntry::Iteration { terms, .. } => terms["head_rate"].as_f64(),
            _ => None,
        })
        .collect();
    assert!(
        rates
            .iter()
            .all(|rate| *rate == straight.recipe.optim.lr * straight.recipe.optim.head_factor)
    );
    assert!(log.iter().any(|e| matches!(e, LogEntry::GeneralizedValidation { kept: true, .. })));
}

#[test]
fn the_baseline_trains_and_mixed_precision_falls_back_on_a_cpu() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recipe = base();
    recipe.model.kind = GfssMethod::Pspnet;
    recipe.samples.epochs = 1;
    let full = run(recipe.clone(), &folder.path().join("full"));
    recipe.train.precision = Precision::Mixed;
    let mixed = run(recipe, &folder.path().join("mixed"));
    for run in [&full, &mixed] {
        let outcome = train_generalized::<Pspnet>(run, Start::Fresh, &mut Silent, &Stop::new());
        assert!(matches!(outcome, Ok(GfssOutcome::Finished { .. })));
    }
    same(&full, &mixed, &[PathBuf::from(files::LOG)]);
}

/// A model, and a batch of stage 2 whose pixels all count.
fn pairs(device: &Device) -> (Pop, StageBatch) {
    let network = DilatedResNetConfig::new(Depth::R50).with_width(2);
    let model = PopConfig::new(network, 3).with_novel(2).init(device, 1);
    let batch = |key: &str, classes: i64| {
        let values = fss_support::fill(key, &[4 * 3 * 33 * 33]);
        let labels: Vec<i64> = (0..4 * 33 * 33).map(|i| (i / 50) % classes).collect();
        LabelledBatch {
            images: Tensor::from_data(TensorData::new(values, [4, 3, 33, 33]), device),
            labels: Tensor::from_data(TensorData::new(labels, [4, 33, 33]), device),
        }
    };
    (model, StageBatch::Novel { novel: batch("novel", 6), base: batch("base", 4) })
}

#[test]
fn two_devices_take_the_step_of_one() {
    let device = Device::flex().autodiff();
    let optim = GfssRecipe::builtin("pop-pascal-novel").expect("a recipe").optim;
    let step = |devices: &[Device]| {
        let (model, batch) = pairs(&device);
        let mut optimizer = NamedOptimizer::new(Rule::sgd(optim.momentum, optim.weight_decay));
        let numbers = [1, 1];
        let (model, report, norm) =
            generalized_step_on(model, &mut optimizer, &batch, [0.1, 5.0], numbers, None, devices)
                .expect("a step");
        (module_tensors(&model).expect("parameters"), report.loss.unwrap(), norm.unwrap())
    };
    let (one, loss, norm) = step(&[]);
    let (two, loss2, norm2) = step(&[device.clone(), device.clone()]);
    assert!((loss / loss2 - 1.0).abs() < 1e-5 && (norm / norm2 - 1.0).abs() < 1e-4);
    for (a, b) in one.iter().zip(&two) {
        fss_support::golden::assert_close(&a.key, &b.values, &a.values, 2e-6);
    }
    // The same again, to the bit.
    assert!(step(&[device.clone(), device.clone()]).0 == two);
}

#[test]
fn runs_on_two_devices_resume_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let two = |name: &str| {
        let mut run = run(base(), &folder.path().join(name));
        run.more_devices = vec![Device::flex()];
        run
    };
    let straight = two("straight");
    finish(&straight, Start::Fresh);
    let other = two("other");
    interrupt(&other, 2, false);
    finish(&other, Start::Resume);
    same(&straight, &other, &[files::BEST, files::LOG].map(PathBuf::from));

    let mut odd = two("odd");
    odd.recipe.samples.batch = 3;
    let outcome = train_generalized::<Pop>(&odd, Start::Fresh, &mut Silent, &Stop::new());
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("shared by 2 devices"), "{error}");
}

#[test]
fn lists_from_a_folder_are_used_and_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let lists = folder.path().join("lists");
    fs::create_dir(&lists).expect("a folder");
    let recipe = novel(Path::new("none"));
    let data = GfssData::open(root(), &recipe.data).expect("data");
    let drawn = data.few_shot(&recipe.data, 1).expect("a list");
    let mut listed = recipe.data.clone();
    listed.lists = Some(lists.clone());
    let name = few_shot_file(listed.fold, listed.shot, 1);
    let refused = |expected: &str| {
        let error = data.few_shot(&listed, 1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(&name);
    write_list(&lists, &name, &data.train.dataset, &drawn).expect("a list");
    assert_eq!(data.few_shot(&listed, 1).expect("a list"), drawn);
    write_list(&lists, &name, &data.train.dataset, &drawn[1..]).expect("a list");
    refused("has 5 lines");
    fs::write(lists.join(&name), "nowhere\n").expect("a file");
    refused("line 1: \"nowhere\"");
    let novel: Vec<_> = data.classes.novel().to_vec();
    let without = data
        .train
        .listing
        .iter()
        .position(|image| !novel.iter().any(|class| image.pixels.contains_key(class)));
    let mut foreign = drawn;
    foreign[0] = without.expect("an image of base classes alone");
    write_list(&lists, &name, &data.train.dataset, &foreign).expect("a list");
    refused("shows no novel class");
}

#[test]
fn what_makes_no_run_is_refused_with_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let trained = run(
        GfssRecipe {
            samples: fss_train::generalized::SampleSettings { epochs: 1, ..base().samples },
            ..base()
        },
        &folder.path().join("base"),
    );
    finish(&trained, Start::Fresh);
    let weights = trained.weights(123);
    let refused = |recipe: GfssRecipe, name: &str, start, expected: &str| {
        let run = run(recipe, &folder.path().join(name));
        let outcome = train_generalized::<Pop>(&run, start, &mut Silent, &Stop::new());
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(base(), "base", Start::Fresh, "has been started in this folder");
    refused(base(), "nothing", Start::Resume, "no run to resume");
    let mut other = base();
    other.optim.lr = 0.5;
    refused(other, "base", Start::Resume, "`optim.lr`");
    // A model of stage 2 is no start for stage 2.
    let mut stage2 = novel(&weights);
    stage2.samples.epochs = 1;
    stage2.samples.seeds = vec![1];
    let taught = run(stage2.clone(), &folder.path().join("novel"));
    finish(&taught, Start::Fresh);
    stage2.init = GfssInit::Weights { path: taught.weights(1) };
    refused(stage2.clone(), "again", Start::Fresh, "stage 2");
    stage2.init = GfssInit::Weights { path: "nowhere.safetensors".into() };
    refused(stage2.clone(), "lost", Start::Fresh, "nowhere.safetensors");
    stage2.init = GfssInit::Weights { path: weights.clone() };
    stage2.data.min_pixels = 1_000_000;
    refused(stage2, "large", Start::Fresh, "no image shows enough of class 1");
    // Weights of another fold have as many classes: only their own notes tell.
    let data = GfssData::open(root(), &base().data).expect("data");
    assert_eq!(data.names(5).len(), 20);
}

#[test]
fn recipes_come_back_and_wrong_values_are_named() {
    for name in fss_train::generalized::GFSS_BUILTIN_NAMES {
        let recipe = GfssRecipe::builtin(name).expect("a recipe");
        let text = recipe.to_toml();
        assert!(GfssRecipe::is_one(&text));
        assert_eq!(GfssRecipe::from_toml(&text, "x").expect("the same"), recipe, "{name}");
    }
    let error = |text: &str| GfssRecipe::from_toml(text, "my.toml").unwrap_err().to_string();
    for (change, expected) in [
        ("[samples]\nbatch = 1\n", "`samples.batch`"),
        ("[samples]\nepochs = 0\n", "`samples.epochs`"),
        ("[samples]\nscales = [1.1, 0.9]\n", "`samples.scales`"),
        ("[optim]\nlr = 0.0\n", "`optim.lr`"),
        ("[backbone]\ndepth = \"resnet18\"\n", "resnet18"),
        ("[backbone]\noutput_stride = 7\n", "8, 16 or 32"),
        ("[data]\nfold = 9\n", "9"),
        ("[train]\nfreeze = true\n", "freeze"),
    ] {
        let message = error(&format!("extends = \"pop-pascal-base\"\n{change}"));
        assert!(message.contains("my.toml") && message.contains(expected), "{message}");
    }
    let message = error("extends = \"pop-pascal-novel\"\n[model]\nkind = \"pspnet\"\n");
    assert!(message.contains("no stage 2"), "{message}");
    let message = error("extends = \"pop-pascal-novel\"\n[init]\nfrom = \"scratch\"\n");
    assert!(message.contains("weights of stage 1"), "{message}");
    assert!(GfssRecipe::is_one("extends = \"pop-pascal-base\""));
    assert!(!GfssRecipe::is_one("extends = \"ssp-pascal\""));
    let unknown = GfssRecipe::builtin("pop").unwrap_err();
    assert!(matches!(unknown, TrainError::Recipe { .. }));
}
