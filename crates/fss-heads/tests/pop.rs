//! POP and its baseline: what holds for any weights.

#[path = "../../../tests/support/device.rs"]
mod device;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::module::{adaptive_avg_pool2d, conv2d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use device::test_device;
use fss_backbone::{
    BackboneError, ComputePrecision, Depth, DilatedResNetConfig, NormSource, TrainingPass,
    module_tensors, params, write_state_dict,
};
use fss_heads::psp::{Bottleneck, POOL_SIDES};
use fss_heads::{
    ClassCount, GeneralizedModel, HeadError, LabelledBatch, Pop, PopConfig, PopHead, PspModule,
    PspnetConfig,
};
use fss_kernels::{Activation, Corners, resize_bilinear};

fn random(key: &str, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let drawn = params::normal(key, shape, 1.0, 5, &device.clone().inner()).val().to_data();
    Tensor::from_data(drawn, device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

/// Largest difference relative to the largest value.
fn distance(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    got.iter().zip(want).fold(0.0f32, |m, (g, w)| m.max((g - w).abs())) / largest.max(1e-20)
}

/// The gradients of all parameters, in the module's order; `None` for those without.
fn gradients<M: Module>(module: &M, loss: Tensor<1>) -> Vec<Option<Vec<f32>>> {
    gradients_of(module, loss.backward())
}

fn gradients_of<M: Module>(module: &M, found: Gradients) -> Vec<Option<Vec<f32>>> {
    struct Visitor<'a>(&'a GradientsParams, Vec<Option<Vec<f32>>>);
    impl ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(self.0.get::<D>(param.id).map(values));
        }
    }
    let gradients = GradientsParams::from_grads(found, module);
    let mut visitor = Visitor(&gradients, Vec::new());
    module.visit(&mut visitor);
    visitor.1
}

fn small() -> PopConfig {
    PopConfig::new(DilatedResNetConfig::new(Depth::R50).with_width(4), 3)
}

fn batch(images: usize, side: usize, classes: i64, device: &Device) -> LabelledBatch {
    let labels: Vec<i64> =
        (0..(images * side * side) as i64).map(|i| (i / 7 + i / 90) % (classes + 1)).collect();
    LabelledBatch {
        images: random("images", [images, 3, side, side], device),
        labels: Tensor::<3, Int>::from_data(TensorData::new(labels, [images, side, side]), device),
    }
}

#[test]
fn two_scores_a_class_give_the_logits_and_gradients_of_the_published_form() {
    let device = test_device().autodiff();
    for (base, novel) in [(4, 0), (4, 3), (1, 0), (1, 1)] {
        let head = PopHead::new(24, base, 3, &device);
        let head = if novel == 0 { head } else { head.extended(novel, 4) };
        let upstream = random("upstream", [2, 1 + base + novel, 5, 7], &device);
        let step = |form: fn(&PopHead, Tensor<4>) -> Tensor<4>| {
            let features = random("features", [2, 24, 5, 7], &device).require_grad();
            let logits = form(&head, features.clone());
            let loss = (logits.clone() * upstream.clone()).sum();
            let found = loss.backward();
            let of_features = features.grad(&found).expect("a gradient");
            (values(logits), values(of_features), gradients_of(&head, found))
        };
        let (logits, of_features, of_parameters) = step(PopHead::logits);
        let (want, want_features, want_parameters) = step(PopHead::logits_by_maps);
        assert!(distance(&logits, &want) < 2e-6, "{}", distance(&logits, &want));
        assert!(distance(&of_features, &want_features) < 5e-6);
        let mut compared = 0;
        for (got, want) in of_parameters.iter().zip(&want_parameters) {
            assert_eq!(got.is_some(), want.is_some());
            if let (Some(got), Some(want)) = (got, want) {
                assert!(distance(got, want) < 2e-5, "{}", distance(got, want));
                compared += 1;
            }
        }
        assert_eq!(compared, 4, "prototypes and three kernels learn");
    }
}

/// The decoder as published: pooled maps enlarged, concatenated with the features, and convolved.
fn published_decoder(decoder: &PspModule, x: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let mut maps: Vec<Tensor<4>> = POOL_SIDES
        .iter()
        .zip(&decoder.stages)
        .map(|(side, unit)| {
            let pooled = adaptive_avg_pool2d(x.clone(), [*side; 2]);
            let narrowed = unit.apply(pooled, None, Activation::Relu);
            resize_bilinear(narrowed, [height, width], Corners::HalfPixel)
        })
        .collect();
    maps.push(x);
    let Bottleneck::Whole(unit) = &decoder.bottleneck else { panic!("a folded decoder") };
    let mixed = unit.apply(Tensor::cat(maps, 1), None, Activation::Relu);
    let options = ConvOptions::new([1; 2], [0; 2], [1; 2], 1);
    conv2d(mixed, decoder.last.weight.val(), Some(decoder.last.bias.val()), options)
}

#[test]
fn the_decoder_taken_apart_is_the_published_one() {
    // Larger than the pooled maps, as large, smaller along an axis, and a single position.
    for [height, width] in [[9, 13], [6, 6], [4, 8], [1, 1]] {
        let device = test_device().autodiff();
        let decoder = PspModule::new(12, 8, 1, &device);
        let upstream = random("upstream", [2, 8, height, width], &device);
        let step = |form: &dyn Fn(Tensor<4>) -> Tensor<4>| {
            let x = random("x", [2, 12, height, width], &device).require_grad();
            let y = form(x.clone());
            let loss = (y.clone() * upstream.clone()).sum();
            let found = loss.backward();
            let of_x = values(x.grad(&found).expect("a gradient"));
            (values(y), of_x, gradients_of(&decoder, found))
        };
        let (y, of_x, of_parameters) = step(&|x| decoder.forward(x));
        let (want, want_x, want_parameters) = step(&|x| published_decoder(&decoder, x));
        assert!(distance(&y, &want) < 1e-5, "{height}x{width}: {}", distance(&y, &want));
        assert!(distance(&of_x, &want_x) < 1e-5, "{height}x{width}");
        for (got, want) in of_parameters.iter().zip(&want_parameters) {
            assert_eq!(got.is_some(), want.is_some());
            if let (Some(got), Some(want)) = (got, want) {
                assert!(distance(got, want) < 2e-5, "{height}x{width}: {}", distance(got, want));
            }
        }
        let plain = random("x", [2, 12, height, width], &test_device());
        assert!(distance(&values(decoder.fold().forward(plain)), &want) < 1e-5);
    }
}

#[test]
fn folding_changes_nothing_but_rounding() {
    let device = test_device();
    let image = random("image", [1, 3, 57, 49], &device);
    let model = small().with_novel(2).init(&device, 0);
    let logits = values(model.logits(image.clone()));
    assert!(distance(&values(model.fold().logits(image.clone())), &logits) < 1e-4);
    let config = PspnetConfig::new(small().network, 3);
    let model = config.init(&device, 0);
    let logits = values(model.logits(image.clone()));
    assert!(distance(&values(model.fold().logits(image)), &logits) < 1e-4);
}

#[test]
fn stage_1_trains_everything_and_moves_running_statistics() {
    let device = test_device().autodiff();
    let model = small().init(&device, 0);
    let losses = model.base_losses(&batch(2, 33, 3, &device)).expect("losses");
    let found = gradients(&model, losses.total.clone());
    let tensors = module_tensors(&model).unwrap();
    for (tensor, gradient) in tensors.iter().zip(&found) {
        assert_eq!(gradient.is_none(), tensor.key.contains("running_"), "{}", tensor.key);
    }
    let moved = module_tensors(&model.clone().absorb(&losses.statistics)).unwrap();
    for (before, after) in tensors.iter().zip(&moved) {
        let changed = before.values != after.values;
        assert_eq!(changed, before.key.contains("running_"), "{}", before.key);
    }
}

#[test]
fn a_frozen_backbone_keeps_its_weights_and_all_statistics() {
    let device = test_device().autodiff();
    let model = small().init(&device, 0).freeze_backbone();
    let losses = model.base_losses(&batch(1, 33, 3, &device)).expect("a batch of one is fine here");
    assert!(losses.statistics.is_empty());
    let found = gradients(&model, losses.total);
    for (tensor, gradient) in module_tensors(&model).unwrap().iter().zip(&found) {
        let still = tensor.key.starts_with("backbone.") || tensor.key.contains("running_");
        assert_eq!(gradient.is_none(), still, "{}", tensor.key);
    }
}

#[test]
fn stage_2_trains_novel_prototypes_and_their_classifier_alone() {
    let device = test_device().autodiff();
    let model = small().init(&device, 0).extended(2, 1);
    let tensors = module_tensors(&model).unwrap();
    let copied = |layer: &str| {
        let of = |place: &str| tensors.iter().find(|t| t.key == format!("{place}.{layer}.weight"));
        (of("classifier").unwrap().values.clone(), of("classifier_n").unwrap().values.clone())
    };
    for layer in ["0", "2", "4"] {
        let (old, new) = copied(layer);
        assert_eq!(old, new);
    }
    let [novel, base] = [5, 3].map(|classes| batch(1, 33, classes, &device));
    let losses = model.novel_losses(&novel, &base).expect("losses");
    let found = gradients(&model, losses.total);
    for (tensor, gradient) in tensors.iter().zip(&found) {
        let learns = tensor.key == "novel_emb" || tensor.key.starts_with("classifier_n.");
        assert_eq!(gradient.is_some(), learns, "{}", tensor.key);
    }
}

#[test]
fn pseudo_labels_replace_the_background_alone() {
    let device = test_device();
    let head = PopHead::new(8, 2, 0, &device).extended(2, 1);
    // Positions: background wins, the second novel class wins, a base class would win, a tie.
    let logits: Vec<f32> =
        [[5., 0., 9., 9.], [9., 9., 9., 9.], [9., 9., 9., 9.], [4., 1., 2., 9.], [3., 2., 3., 9.]]
            .concat();
    let logits = Tensor::<4>::from_data(TensorData::new(logits, [1, 5, 1, 4]), &device);
    let labels = |values: [i64; 4]| {
        Tensor::<3, Int>::from_data(TensorData::new(values.to_vec(), [1, 1, 4]), &device)
    };
    let found = |values| -> Vec<i64> {
        head.pseudo_labels(logits.clone(), &labels(values)).try_into_vec_as().unwrap()
    };
    assert_eq!(found([0, 0, 0, 0]), [0, 4, 0, 0]);
    assert_eq!(found([2, 255, 1, 255]), [2, 255, 1, 255]);
}

#[test]
fn a_batch_without_a_pixel_that_counts_has_no_loss() {
    let device = test_device().autodiff();
    let model = small().init(&device, 0);
    let mut batch = batch(2, 33, 3, &device);
    batch.labels = batch.labels.ones_like() * 255;
    let losses = model.base_losses(&batch).expect("losses");
    assert!(losses.terms.iter().all(|term| term.value.is_none()));
}

#[test]
fn senseless_batches_are_refused_with_words() {
    let device = test_device().autodiff();
    let model = small().init(&device, 0);
    let error = model.base_losses(&batch(1, 33, 3, &device)).unwrap_err();
    assert!(error.to_string().contains("at least 2"), "{error}");
    let error = model.novel_losses(&batch(1, 33, 3, &device), &batch(1, 33, 3, &device));
    assert!(matches!(error, Err(HeadError::Setting { .. })));
    let mut wrong = batch(2, 33, 3, &device);
    wrong.labels = wrong.labels.slice([0..2, 0..32, 0..33]);
    assert!(matches!(model.base_losses(&wrong), Err(HeadError::Shape { .. })));
}

#[test]
fn a_single_prototype_has_no_orthogonality_loss() {
    let device = test_device().autodiff();
    let model = PopConfig::new(small().network, 1).init(&device, 0);
    let losses = model.base_losses(&batch(2, 33, 1, &device)).expect("losses");
    let orth = losses.terms.iter().find(|term| term.name == "orth").unwrap();
    assert_eq!(values(orth.value.clone().unwrap()), [0.0]);
}

fn saved(model: &Pop, name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    write_state_dict(&path, &module_tensors(model).unwrap(), &Default::default()).unwrap();
    (folder, path)
}

#[test]
fn weights_come_back_and_files_of_another_kind_are_named() {
    let device = test_device();
    let stage1 = small().init(&device, 0);
    let (_folder, path) = saved(&stage1, "base.safetensors");
    let (loaded, report) = small().init(&device, 9).load(&path).unwrap();
    assert_eq!(module_tensors(&loaded).unwrap(), module_tensors(&stage1).unwrap());
    assert!(report.missing.is_empty() && report.unused.is_empty());

    let stage2 = stage1.clone().extended(2, 1);
    let (_folder2, path2) = saved(&stage2, "novel.safetensors");
    let refused = |config: PopConfig, path| match config.init(&device, 9).load(path) {
        Err(BackboneError::OtherBackbone { found, .. }) => found,
        other => panic!("{other:?}"),
    };
    let found = refused(small(), &path2);
    assert!(found.contains("stage 2") && found.contains("2 novel"), "{found}");
    let found = refused(small().with_novel(2), &path);
    assert!(found.contains("stage 1"), "{found}");
    let found = refused(small().with_novel(5), &path2);
    assert!(found.contains("3 base and 2 novel"), "{found}");
    let deeper =
        PopConfig { network: DilatedResNetConfig::new(Depth::R101).with_width(4), ..small() };
    let found = refused(deeper, &path);
    assert!(found.contains("resnet50"), "{found}");
    let baseline = PspnetConfig::new(small().network, 3).init(&device, 0).load(&path);
    let error = baseline.unwrap_err().to_string();
    assert!(error.contains("POP"), "{error}");
}

#[test]
fn mixed_precision_rounds_convolutions_alone() {
    let device = test_device().autodiff();
    let decoder = PspModule::new(12, 8, 1, &device);
    let x = random("x", [2, 12, 9, 7], &device);
    let run = |precision| {
        let mut pass = TrainingPass::new(NormSource::Batch, precision);
        values(decoder.forward_training(x.clone(), &mut pass))
    };
    let full = run(ComputePrecision::Full);
    let mixed = run(ComputePrecision::Mixed(burn::tensor::FloatDType::BF16));
    let error = distance(&mixed, &full);
    assert!(error > 1e-5 && error < 0.1, "{error}");
}

#[test]
fn classes_are_counted_from_the_parameters() {
    let device = test_device();
    let model = small().with_novel(2).init(&device, 0);
    assert_eq!(model.classes(), ClassCount { base: 3, novel: 2 });
    assert_eq!(model.config(), small().with_novel(2));
    let image = Tensor::zeros([1, 3, 33, 25], &device);
    assert_eq!(model.logits(image).dims(), [1, 6, 5, 4]);
}
