//! AMP: what holds for any weights.

#[path = "../../../tests/support/device.rs"]
mod device;

use std::slice::from_ref;

use burn::module::{Module, list_param_ids};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use device::test_device;
use fss_backbone::{ImagenetConfig, ImagenetNetwork, module_tensors, params};
use fss_heads::amp::{ALPHA, LevelProxies, Rivals, binary_logits};
use fss_heads::{
    Amp, AmpConfig, AmpMemory, AmpSupport, Features, FewShotModel, HeadError, LabelledBatch, Shot,
};
use fss_kernels::resize_nearest;

const NETWORKS: [ImagenetNetwork; 2] = [ImagenetNetwork::Vgg16, ImagenetNetwork::Vgg16Bn];

fn config(network: ImagenetNetwork) -> AmpConfig {
    AmpConfig::new(ImagenetConfig::new(network).with_width(4), 6)
}

fn model(network: ImagenetNetwork, device: &Device) -> Amp {
    config(network).init(device, 3)
}

fn random(key: &str, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let drawn = params::normal(key, shape, 1.0, 5, &device.clone().inner()).val().to_data();
    Tensor::from_data(drawn, device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

fn distance(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    got.iter().zip(want).fold(0.0f32, |m, (g, w)| m.max((g - w).abs())) / largest.max(1e-20)
}

/// A mask `[B, side, side]` whose object is the middle of the image, moved with the sample.
fn mask(samples: usize, side: usize, device: &Device) -> Tensor<3, Int> {
    let labels: Vec<i64> = (0..samples * side * side)
        .map(|i| {
            let (sample, y, x) = (i / (side * side), i / side % side, i % side);
            i64::from((8 + 4 * sample..40).contains(&y) && (12..44).contains(&x))
        })
        .collect();
    Tensor::from_data(TensorData::new(labels, [samples, side, side]), device)
}

fn shot(model: &Amp, key: &str, samples: usize, device: &Device) -> Shot {
    let images = random(key, [samples, 3, 64, 64], device);
    Shot { features: model.features(images), mask: mask(samples, 64, device) }
}

/// Sample `index` of a shot, as a batch of one.
fn sample(shot: &Shot, index: usize) -> Shot {
    Shot { features: shot.features.sample(index), mask: shot.mask.clone().narrow(0, index, 1) }
}

fn memory_values(memory: &AmpMemory) -> Vec<f32> {
    memory.rows.iter().flat_map(|row| values(row.clone())).collect()
}

fn support_values(support: &AmpSupport) -> Vec<f32> {
    support.levels.iter().flat_map(|rows| values(rows.clone())).collect()
}

#[test]
fn a_row_moves_by_every_shot_of_every_sample_in_turn() {
    let device = test_device();
    // One position a map, so that each proxy of the background is the map's unit vector.
    let unit = |x: f32, y: f32| {
        let map = Tensor::<1>::from_floats([x, y], &device).reshape([1, 2, 1, 1]);
        (map, Tensor::<3, Int>::zeros([1, 1, 1], &device))
    };
    let [(a, none), (b, _), (c, _), (d, _)] =
        [unit(2.0, 0.0), unit(0.0, 3.0), unit(3.0, 4.0), unit(0.0, -1.0)];
    let first = Tensor::cat(vec![a, c], 0);
    let second = Tensor::cat(vec![b, d], 0);
    let masks = Tensor::cat(vec![none.clone(), none], 0);
    let row = Tensor::<1>::from_floats([10.0, 20.0], &device);
    let proxies = LevelProxies::new(row, &[(&first, &masks), (&second, &masks)]);

    let mut expected = [10.0, 20.0];
    let mut seen = Vec::new();
    for proxy in [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.0, -1.0]] {
        expected = [0, 1].map(|i| ALPHA * proxy[i] + (1.0 - ALPHA) * expected[i]);
        seen.push(expected.map(|v| v as f32));
    }
    let behind = [seen[1], seen[3]].concat();
    assert!(distance(&values(proxies.background.clone()), &behind) < 1e-4);
    assert!(distance(&values(proxies.updated.clone()), &seen[3]) < 1e-4);
    // No pixel is foreground.
    assert_eq!(values(proxies.foreground), [0.0; 4]);
}

#[test]
fn ignored_pixels_belong_to_neither_side() {
    let device = test_device();
    let features = random("features", [1, 3, 1, 3], &device);
    let labels = |labels: [i64; 3]| {
        Tensor::<3, Int>::from_data(TensorData::new(labels.to_vec(), [1, 1, 3]), &device)
    };
    let row = Tensor::<1>::zeros([3], &device);
    let of = |mask: &Tensor<3, Int>, features: &Tensor<4>| {
        let proxies = LevelProxies::new(row.clone(), &[(features, mask)]);
        (values(proxies.foreground), values(proxies.updated))
    };
    let ignoring = of(&labels([1, 255, 0]), &features);
    let changed = random("other", [1, 3, 1, 3], &device).narrow(3, 1, 1);
    let changed = features.clone().slice_assign([0..1, 0..3, 0..1, 1..2], changed);
    assert_eq!(ignoring, of(&labels([1, 255, 0]), &changed));
    assert_ne!(of(&labels([1, 0, 0]), &features), of(&labels([1, 0, 0]), &changed));
}

#[test]
fn the_object_takes_the_row_of_its_class_or_one_more() {
    let device = test_device();
    let rows = random("rows", [4, 3, 1, 1], &device).reshape([4, 3]);
    let proxies = LevelProxies {
        background: random("b", [2, 3, 1, 1], &device).reshape([2, 3]),
        updated: random("u", [3, 1, 1, 1], &device).reshape([3]),
        foreground: random("f", [2, 3, 1, 1], &device).reshape([2, 3]),
    };
    let row = |sample: usize, row: usize, from: &Tensor<3>| {
        values(from.clone().slice([sample..sample + 1, row..row + 1]))
    };
    let old = rows.clone().unsqueeze_dim::<3>(0);
    let object = |sample: usize| values(proxies.foreground.clone().narrow(0, sample, 1));
    for classes in [[1, 3], [2, 1], [3, 2]] {
        let got = proxies.among(rows.clone(), Some(&classes));
        assert_eq!(got.dims(), [2, 4, 3]);
        for (s, class) in classes.into_iter().enumerate() {
            assert_eq!(row(s, 0, &got), values(proxies.updated.clone()));
            for r in 1..4 {
                let want = if r == class { object(s) } else { row(0, r, &old) };
                assert_eq!(row(s, r, &got), want, "class {class}, row {r}");
            }
        }
    }
    let got = proxies.among(rows, None);
    assert_eq!(got.dims(), [2, 5, 3]);
    for s in 0..2 {
        assert_eq!(row(s, 0, &got), values(proxies.updated.clone()));
        assert!((1..4).all(|r| row(s, r, &got) == row(0, r, &old)));
        assert_eq!(row(s, 4, &got), object(s));
    }
}

#[test]
fn two_channels_are_the_object_and_the_best_of_the_others() {
    let device = test_device();
    let logits = random("logits", [2, 4, 3, 5], &device);
    let got = values(binary_logits(logits.clone(), &[2, 0]));
    let all = values(logits);
    let at = |sample: usize, row: usize, i: usize| all[(sample * 4 + row) * 15 + i];
    for (sample, object) in [(0, 2), (1, 0)] {
        for i in 0..15 {
            let others = (0..4).filter(|row| *row != object).map(|row| at(sample, row, i));
            let best = others.fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(got[(2 * sample) * 15 + i], best);
            assert_eq!(got[(2 * sample + 1) * 15 + i], at(sample, object, i));
        }
    }
}

#[test]
fn episodes_do_not_depend_on_each_other_unless_a_memory_runs_through_them() {
    let device = test_device();
    for network in NETWORKS {
        let model = model(network, &device).fold();
        let [a, b] = ["a", "b"].map(|key| shot(&model, key, 1, &device));
        let alone = support_values(&model.encode_support(from_ref(&b)).unwrap());
        model.encode_support(from_ref(&a)).unwrap();
        assert_eq!(support_values(&model.encode_support(from_ref(&b)).unwrap()), alone);

        let mut memory = model.memory();
        let before = memory_values(&memory);
        model.encode_adaptive(from_ref(&a), None, &mut memory).unwrap();
        let between = memory_values(&memory);
        assert_ne!(before, between);
        let after_a =
            support_values(&model.encode_adaptive(from_ref(&b), None, &mut memory).unwrap());
        assert_ne!(after_a, alone);
        // The weights themselves have not moved, and with the memory written into them they start there.
        assert_eq!(memory_values(&model.memory()), before);
        let mut memory = model.memory();
        model.encode_adaptive(&[a], None, &mut memory).unwrap();
        let written = model.with_memory(&memory).unwrap();
        assert_eq!(memory_values(&written.memory()), between);
        let again = support_values(&written.encode_support(&[b]).unwrap());
        assert!(distance(&again, &after_a) < 1e-6, "{network}");
    }
}

#[test]
fn a_batch_shares_the_last_background_and_a_single_support_serves_all_queries() {
    let device = test_device();
    let model = model(ImagenetNetwork::Vgg16, &device);
    let pair = shot(&model, "pair", 2, &device);
    let together = model.encode_support(from_ref(&pair)).unwrap();
    assert_eq!((together.batch(), &together.objects[..]), (2, &[6, 6][..]));
    // Sample by sample with one memory: the second sees what the batch's last one left.
    let mut memory = model.memory();
    model.encode_adaptive(&[sample(&pair, 0)], None, &mut memory).unwrap();
    let second = model.encode_adaptive(&[sample(&pair, 1)], None, &mut memory).unwrap();
    for (both, alone) in together.levels.iter().zip(&second.levels) {
        let last = values(both.clone().narrow(0, 1, 1));
        assert!(distance(&last, &values(alone.clone())) < 1e-5);
        let rows = |sample: usize| values(both.clone().slice([sample..sample + 1, 0..1]));
        assert_eq!(rows(0), rows(1));
    }

    let queries = Tensor::cat(
        vec![random("q0", [1, 3, 64, 64], &device), random("q1", [1, 3, 64, 64], &device)],
        0,
    );
    let single = model.encode_support(&[sample(&pair, 0)]).unwrap();
    let logits = model.segment_images(&single, queries.clone()).unwrap();
    assert_eq!(logits.dims(), [2, 2, 64, 64]);
    for i in 0..2 {
        let alone = model.segment_images(&single, queries.clone().narrow(0, i, 1)).unwrap();
        assert!(distance(&values(logits.clone().narrow(0, i, 1)), &values(alone)) < 1e-5);
    }
    let three = random("three", [3, 3, 64, 64], &device);
    let error = model.segment_images(&together, three).unwrap_err();
    assert!(matches!(error, HeadError::Shape { .. }), "{error}");
}

#[test]
fn the_object_is_found_where_the_support_shows_it() {
    // At every level object and background look along axes of their own.
    let device = test_device();
    let mask = mask(1, 64, &device);
    for (network, rivals) in
        NETWORKS.into_iter().flat_map(|n| [(n, Rivals::Classes), (n, Rivals::Background)])
    {
        let model = config(network).with_rivals(rivals).init(&device, 3);
        let object = mask.clone().float().unsqueeze_dim::<4>(1);
        let levels = model.config().channels().into_iter().zip([64, 32, 16]).map(|(c, side)| {
            let object = resize_nearest(object.clone(), [side, side]);
            let background = object.clone().neg().add_scalar(1.0);
            let rest = Tensor::zeros([1, c - 2, side, side], &device);
            Tensor::cat(vec![background * 2.0, object * 2.0, rest], 1)
        });
        let features = Features(levels.collect());
        let shot = Shot { features: features.clone(), mask: mask.clone() };
        let support = model.encode_support(&[shot]).unwrap();
        let logits = model.segment(&support, &features, [64, 64]).unwrap();
        let found: Vec<i64> = logits.argmax(1).try_into_vec_as().unwrap();
        let wanted: Vec<i64> = mask.clone().try_into_vec_as().unwrap();
        let wrong = found.iter().zip(&wanted).filter(|(a, b)| a != b).count();
        assert!(wrong * 20 < wanted.len(), "{network} {rivals:?}: {wrong} pixels");
    }
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let device = test_device();
    let model = model(ImagenetNetwork::Vgg16, &device);
    assert_eq!(model.encode_support(&[]).unwrap_err(), HeadError::NoSupport);
    let good = shot(&model, "good", 2, &device);
    let with = |ids: &[usize]| {
        model.encode_adaptive(from_ref(&good), Some(ids), &mut model.memory()).map(|_| ())
    };
    with(&[1, 5]).unwrap();
    for ids in [[0, 1], [1, 6]] {
        let message = with(&ids).unwrap_err().to_string();
        assert!(message.contains("from 1 to 5"), "{message}");
    }
    assert!(with(&[1]).unwrap_err().to_string().contains("one for each sample"));

    let mut foreign = good.clone();
    foreign.features.0.swap(0, 1);
    let message = model.encode_support(&[foreign]).unwrap_err().to_string();
    assert!(message.contains("[32, 16, 16]") && message.contains("[16, 32, 16]"), "{message}");
    let message = model.encode_support(&[good.clone(), sample(&good, 0)]).unwrap_err().to_string();
    assert!(message.contains("a batch of 1") && message.contains("a batch of 2"), "{message}");
    let support = model.encode_support(from_ref(&good)).unwrap();
    let none = Features(Vec::new());
    assert!(matches!(model.segment(&support, &none, [8, 8]), Err(HeadError::Shape { .. })));

    let mut short = model.memory();
    short.rows.pop();
    let shots = [good];
    assert!(matches!(
        model.encode_adaptive(&shots, None, &mut short),
        Err(HeadError::Shape { .. })
    ));
    assert!(matches!(model.with_memory(&short), Err(HeadError::Shape { .. })));

    let resnet = AmpConfig::new(ImagenetConfig::new(ImagenetNetwork::Resnet50), 21);
    assert!(resnet.validate().unwrap_err().to_string().contains("vgg16"));
    let alone = AmpConfig::new(ImagenetConfig::new(ImagenetNetwork::Vgg16), 1);
    assert!(alone.validate().unwrap_err().to_string().contains("background"));
}

fn batch(device: &Device) -> LabelledBatch {
    let labels: Vec<i64> =
        (0..2 * 64 * 64).map(|i: i64| if i % 11 == 0 { 255 } else { (i / 64 / 9) % 6 }).collect();
    LabelledBatch {
        images: random("images", [2, 3, 64, 64], device),
        labels: Tensor::from_data(TensorData::new(labels, [2, 64, 64]), device),
    }
}

#[test]
fn only_classifiers_and_reduction_learn_and_the_norms_drift() {
    let device = test_device().autodiff();
    for network in NETWORKS {
        let model = model(network, &device);
        let losses = model.losses(&batch(&device)).unwrap();
        assert!(values(losses.total.clone())[0] > 0.0);
        let gradients = GradientsParams::from_grads(losses.total.clone().backward(), &model);
        assert_eq!(gradients.len(), 5, "{network}");
        for classifier in &model.classifiers {
            let gradient = values(gradients.get::<4>(classifier.weight.id).unwrap());
            assert!(gradient.iter().any(|g| *g != 0.0));
        }
        let norms = if network == ImagenetNetwork::Vgg16Bn { 13 } else { 0 };
        assert_eq!(losses.statistics.len(), 2 * norms);
        let ids = list_param_ids(&model);
        let before = module_tensors(&model).unwrap();
        let moved = model.absorb(&losses.statistics);
        assert_eq!(list_param_ids(&moved), ids);
        for (a, b) in before.iter().zip(module_tensors(&moved).unwrap()) {
            let statistic = a.key.contains(".running_");
            assert_eq!(a.values != b.values, statistic, "{network}: {}", a.key);
        }
        // What is evaluated between two steps lies outside autodiff and leaves the model as it is.
        let features = moved.features(random("x", [1, 3, 64, 64], &device));
        assert!(features.0.iter().all(|tap| !tap.is_autodiff()));
        let valid = moved.valid().features(random("x", [1, 3, 64, 64], &device.clone().inner()));
        for (a, b) in features.0.into_iter().zip(valid.0) {
            assert!(distance(&values(a), &values(b)) < 1e-5);
        }
        let good = shot(&moved, "shot", 1, &device);
        let support = moved.encode_support(&[good]).unwrap();
        assert!(support.levels.iter().all(|rows| !rows.is_autodiff()));
    }
}

#[test]
fn a_batch_without_a_pixel_that_counts_has_no_loss_and_wrong_sizes_are_refused() {
    let device = test_device().autodiff();
    let model = model(ImagenetNetwork::Vgg16, &device);
    let LabelledBatch { images, labels } = batch(&device);
    let ignored = labels.clone().mul_scalar(0).add_scalar(255);
    let losses = model.losses(&LabelledBatch { images: images.clone(), labels: ignored }).unwrap();
    assert!(losses.terms[0].value.is_none());
    let labels = labels.narrow(1, 0, 63);
    let error = model.losses(&LabelledBatch { images, labels }).unwrap_err();
    assert!(matches!(error, HeadError::Shape { .. }), "{error}");
}
