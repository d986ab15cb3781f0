//! Learning new classes from a handful of images.

use burn::tensor::{Device, Tensor};
use fss_backbone::{Depth, DilatedResNetConfig, module_tensors};
use fss_data::transform::FitSquare;
use fss_heads::{GeneralizedModel, Pop, PopConfig};
use fss_train::learn::{
    Background, LearnEvent, LearnImage, LearnOutcome, LearnSet, LearnSettings, LearnState, learn,
};
use fss_train::tensor::image_tensor;
use fss_train::{Stop, TrainError};
use image::{Rgb, RgbImage};
use ndarray::Array2;

fn model() -> Pop {
    let network = DilatedResNetConfig::new(Depth::R50).with_width(8);
    PopConfig::new(network, 2).init(&Device::flex(), 3)
}

/// A bright square on a dark ground, and its mask.
fn support(label: u8, at: u32, colour: [u8; 3]) -> LearnImage {
    let inside = |x: u32, y: u32| (at..at + 24).contains(&x) && (at..at + 24).contains(&y);
    let image = RgbImage::from_fn(64, 56, |x, y| {
        let grain = ((x * 7 + y * 13) % 11) as u8;
        Rgb(if inside(x, y) { colour } else { [20 + grain; 3] })
    });
    let labels =
        Array2::from_shape_fn(
            (56, 64),
            |(y, x)| {
                if inside(x as u32, y as u32) { label } else { 0 }
            },
        );
    LearnImage { name: format!("square{label}.png"), image, labels }
}

fn set() -> LearnSet {
    LearnSet {
        novel: 2,
        names: vec!["red".into(), "blue".into()],
        supports: vec![support(3, 8, [250, 30, 20]), support(4, 20, [20, 40, 250])],
        background: Background::AsLabelled,
        base: vec![("ground.png".into(), support(0, 0, [60, 60, 60]).image)],
    }
}

/// Both squares as one class: random features tell an object from its ground, but red hardly from blue.
fn one_class() -> LearnSet {
    LearnSet {
        novel: 1,
        names: vec!["square".into()],
        supports: vec![support(3, 8, [250, 30, 20]), support(3, 20, [250, 60, 50])],
        ..set()
    }
}

fn settings(iterations: u64) -> LearnSettings {
    // Random features are weak: larger steps than for a trained model.
    LearnSettings { iterations, rate: 0.03, side: 64, views: 2, ..LearnSettings::default() }
}

fn run(
    set: &LearnSet,
    settings: &LearnSettings,
    resumed: Option<LearnState>,
    stop_after: Option<u64>,
) -> Result<LearnOutcome, TrainError> {
    let stop = Stop::new();
    let request = stop.clone();
    let mut watch = move |event: LearnEvent| {
        if let LearnEvent::Updated { iteration, .. } = event
            && Some(iteration) == stop_after
        {
            request.request();
        }
    };
    learn(&model(), set, settings, resumed, &Device::flex(), &mut watch, &stop)
}

fn finished(outcome: LearnOutcome) -> Pop {
    match outcome {
        LearnOutcome::Finished(model) => *model,
        LearnOutcome::Interrupted(state) => panic!("stopped at {}", state.iteration()),
    }
}

/// The share of a support's object that gets its label.
fn found(model: &Pop, support: &LearnImage) -> f64 {
    let device = Device::flex();
    let fit = FitSquare::new(64);
    let image = image_tensor(fit.image(&support.image).unwrap().view(), &device);
    let labels = fit.labels(&support.labels).unwrap();
    let logits: Tensor<4> = model.logits(image);
    let found =
        fss_kernels::enlarged_argmax(logits, [64; 2], [64; 2], fss_kernels::Corners::Aligned);
    let found: Vec<u8> = found.try_into_vec_as().unwrap();
    let object = labels.iter().zip(&found).filter(|(label, _)| (3..5).contains(*label));
    let (all, right) =
        object.fold((0, 0), |(n, k), (label, got)| (n + 1, k + usize::from(label == got)));
    right as f64 / f64::from(all)
}

#[test]
fn new_classes_are_found_and_everything_old_stays() {
    let before = model();
    let after = finished(run(&one_class(), &settings(600), None, None).unwrap());
    // How much of each square depends on the processor's rounding.
    let shares: Vec<f64> =
        one_class().supports.iter().map(|support| found(&after, support)).collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!(mean > 0.6 && shares.iter().all(|&share| share > 0.4), "{shares:?}");
    let new = module_tensors(&after).unwrap();
    for old in module_tensors(&before).unwrap() {
        let same = new.iter().find(|t| t.key == old.key).unwrap();
        assert_eq!(same.values, old.values, "{}", old.key);
    }
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bits() {
    let straight = finished(run(&set(), &settings(6), None, None).unwrap());
    let LearnOutcome::Interrupted(state) = run(&set(), &settings(6), None, Some(2)).unwrap() else {
        panic!("not interrupted");
    };
    assert_eq!(state.iteration(), 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    state.save(&path).unwrap();
    let state = LearnState::load(&path).unwrap();
    let resumed = finished(run(&set(), &settings(6), Some(state.clone()), None).unwrap());
    assert_eq!(module_tensors(&resumed).unwrap(), module_tensors(&straight).unwrap());

    let mut other = set();
    other.supports.pop();
    other.novel = 1;
    let error = run(&other, &settings(6), Some(state), None).unwrap_err().to_string();
    assert!(error.contains("other settings or images"), "{error}");
}

#[test]
fn what_is_no_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let tensors = module_tensors(&model()).unwrap();
    fss_backbone::write_state_dict(&path, &tensors, &Default::default()).unwrap();
    let error = LearnState::load(&path).unwrap_err().to_string();
    assert!(error.contains("no interrupted run"), "{error}");
}

#[test]
fn without_base_images_it_learns_all_the_same() {
    let alone = LearnSet { base: Vec::new(), ..one_class() };
    let after = finished(run(&alone, &settings(600), None, None).unwrap());
    let shares = alone.supports.iter().map(|support| found(&after, support)).sum::<f64>() / 2.0;
    assert!(shares > 0.5, "{shares}");
}

#[test]
fn the_background_of_supports_can_hold_old_classes() {
    // Random prototypes see base classes somewhere; with labels as given they are background.
    let by_model = LearnSet { background: Background::ByModel, ..set() };
    let a = finished(run(&by_model, &settings(4), None, None).unwrap());
    let b = finished(run(&set(), &settings(4), None, None).unwrap());
    assert_ne!(module_tensors(&a).unwrap(), module_tensors(&b).unwrap());
}

#[test]
fn what_cannot_be_learnt_from_is_named() {
    let refused = |set: &LearnSet, settings: &LearnSettings, expected: &str| {
        let error = run(set, settings, None, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let ok = settings(1);
    let mut blank = set();
    blank.supports[1].labels.fill(0);
    refused(&blank, &ok, "square4.png: its mask shows no pixel");
    let mut one = set();
    one.supports.pop();
    refused(&one, &ok, "new class 2 (blue)");
    let mut beyond = set();
    beyond.supports[0].labels[[0, 0]] = 9;
    refused(&beyond, &ok, "label 9");
    let mut small = set();
    small.supports[0].labels = Array2::ones((3, 3));
    refused(&small, &ok, "3x3");
    refused(&LearnSet { supports: Vec::new(), ..set() }, &ok, "nothing to learn");
    refused(&LearnSet { novel: 300, ..set() }, &ok, "8-bit");
    refused(&set(), &LearnSettings { views: 0, ..ok.clone() }, "views is 0");
    refused(&set(), &LearnSettings { rate: f64::NAN, ..ok.clone() }, "rate is NaN");
    let stage2 = model().extended(1, 0);
    let stop = Stop::new();
    let error = learn(&stage2, &set(), &ok, None, &Device::flex(), &mut |_| {}, &stop).unwrap_err();
    assert!(error.to_string().contains("stage 1"), "{error}");
}

#[test]
fn a_stop_before_the_first_update_loses_nothing() {
    let stop = Stop::new();
    stop.request();
    let outcome = learn(&model(), &set(), &settings(3), None, &Device::flex(), &mut |_| {}, &stop);
    assert!(matches!(outcome, Err(TrainError::Interrupted { .. })));
}
