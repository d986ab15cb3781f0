//! The backbones of DENet's code: shapes, folding, and training passes.

mod common;

use burn::module::Module;
use burn::tensor::Tensor;
use common::{device, filled_imagenet, images, values};
use fss_backbone::{
    BatchMoments, ComputePrecision, ImagenetBackbone, ImagenetConfig, ImagenetFeatures,
    ImagenetNetwork, NormSource, TrainingPass, module_tensors,
};
use fss_support::golden::{assert_close_rel_max, relative_l2};

fn narrow(network: ImagenetNetwork) -> ImagenetConfig {
    ImagenetConfig::new(network).with_width(4)
}

fn narrow_filled(network: ImagenetNetwork) -> ImagenetBackbone {
    filled_imagenet(narrow(network), "", &device())
}

fn levels(features: ImagenetFeatures) -> [Tensor<4>; 3] {
    [features.level1, features.level2, features.level3]
}

fn has_norms(network: ImagenetNetwork) -> bool {
    network != ImagenetNetwork::Vgg16
}

fn batch_pass() -> TrainingPass {
    TrainingPass::new(NormSource::Batch, ComputePrecision::Full)
}

/// What a backbone's norms saw, and its features.
fn seen(model: &ImagenetBackbone, x: Tensor<4>) -> ([Tensor<4>; 3], Vec<BatchMoments>) {
    let mut pass = batch_pass();
    let features = levels(model.forward_training(x, &mut pass));
    (features, pass.into_moments())
}

fn statistics(model: &ImagenetBackbone, name: &str) -> Vec<Vec<f32>> {
    let tensors = module_tensors(model).unwrap().into_iter();
    tensors.filter(|t| t.key.ends_with(name)).map(|t| t.values).collect()
}

#[test]
fn levels_have_the_sizes_and_channels_that_the_configuration_says() {
    for network in ImagenetNetwork::ALL {
        let config = narrow(network);
        let model = config.init(&device(), 1).fold();
        for [h, w] in [[32, 32], [33, 47], [64, 95]] {
            let found = levels(model.forward(images("x", [2, 3, h, w], &device())));
            let sizes = config.feature_sizes([h, w]).into_iter().zip(config.channels());
            let expected: Vec<[usize; 4]> = sizes.map(|([h, w], c)| [2, c, h, w]).collect();
            assert_eq!(found.each_ref().map(Tensor::dims).to_vec(), expected, "{network} {h}x{w}");
        }
    }
}

#[test]
fn layer4_keeps_the_size_and_is_there_in_resnets_only() {
    for network in ImagenetNetwork::ALL {
        let model = narrow_filled(network);
        let features = model.forward(images("x", [1, 3, 33, 47], &device()));
        let layer4 = model.layer4(features.level3.clone());
        let resnet = matches!(network, ImagenetNetwork::Resnet50 | ImagenetNetwork::Resnet101);
        assert_eq!(layer4.is_some(), resnet, "{network}");
        if let Some(layer4) = layer4 {
            let [_, c, h, w] = features.level3.dims();
            assert_eq!(layer4.dims(), [1, 2 * c, h, w]);
        }
    }
}

#[test]
fn the_smallest_image_runs_and_smaller_ones_are_refused_by_the_check() {
    for network in ImagenetNetwork::ALL {
        let config = narrow(network);
        let side = config.smallest_side();
        config.check_image([side, side]).unwrap();
        let model = config.init(&device(), 1);
        let [.., deepest] = levels(model.forward(images("x", [1, 3, side, side], &device())));
        assert_eq!(deepest.dims()[2..], [1, 1]);
        for image in [[side - 1, 400], [400, side - 1]] {
            let message = config.check_image(image).unwrap_err().to_string();
            let size = format!("{}x{}", image[0], image[1]);
            assert!(message.contains(&size) && message.contains(network.name()), "{message}");
        }
    }
}

#[test]
fn published_networks_have_the_published_number_of_parameters() {
    let count = |network| ImagenetConfig::new(network).init(&device(), 0).parameter_count();
    let counts = ImagenetNetwork::ALL.map(count);
    assert_eq!(counts, [23_508_032, 42_500_160, 4_267_392, 14_714_688, 14_723_136]);
}

#[test]
fn folding_keeps_the_numbers() {
    for network in ImagenetNetwork::ALL {
        let model = narrow_filled(network);
        let x = images("x", [1, 3, 65, 49], &device());
        let apart = levels(model.forward(x.clone()));
        let folded = model.fold();
        assert_eq!(folded.is_folded(), has_norms(network));
        for (i, (a, b)) in apart.into_iter().zip(levels(folded.forward(x))).enumerate() {
            let (a, b) = (values(a), values(b));
            assert_close_rel_max(&format!("{network} level {}", i + 1), &b, &a, 1e-5);
            let raw = network == ImagenetNetwork::Densenet121;
            assert_eq!(a.iter().any(|v| *v < 0.0), raw, "{network} level {}", i + 1);
        }
    }
}

#[test]
fn a_batch_gives_each_image_the_numbers_that_it_gets_alone() {
    for network in ImagenetNetwork::ALL {
        let apart = narrow_filled(network);
        for model in [apart.clone(), apart.fold()] {
            let x = images("x", [3, 3, 65, 49], &device());
            let together = levels(model.forward(x.clone()));
            for image in 0..3 {
                let alone = levels(model.forward(x.clone().narrow(0, image, 1)));
                for (a, b) in alone.into_iter().zip(&together) {
                    assert!(values(a) == values(b.clone().narrow(0, image, 1)), "{network}");
                }
            }
        }
    }
}

#[test]
fn equal_seeds_give_equal_networks() {
    let tensors = |network, seed| module_tensors(&narrow(network).init(&device(), seed)).unwrap();
    for network in ImagenetNetwork::ALL {
        assert_eq!(tensors(network, 3), tensors(network, 3));
        assert_ne!(tensors(network, 3)[0].values, tensors(network, 4)[0].values);
    }
}

#[test]
fn nothing_is_tracked_even_if_images_and_device_are() {
    for network in ImagenetNetwork::ALL {
        let device = device().autodiff();
        let model = filled_imagenet(narrow(network), "", &device).train();
        let x = images("x", [2, 3, 40, 40], &device).require_grad();
        let plain = x.clone().without_autodiff();
        let apart = narrow_filled(network);
        for model in [model.clone(), model.clone().fold().train()] {
            let wanted = levels(apart.forward(plain.clone()));
            for (level, wanted) in levels(model.forward(x.clone())).into_iter().zip(wanted) {
                assert!(!level.is_tracked() && !level.is_autodiff());
                assert_close_rel_max("level", &values(level), &values(wanted), 1e-5);
            }
        }
        let (wanted, moments) = seen(&apart, plain);
        let (found, same) = seen(&model, x);
        assert_eq!(moments.len(), same.len());
        for (level, wanted) in found.into_iter().zip(wanted) {
            assert!(!level.is_tracked() && !level.is_autodiff());
            assert_close_rel_max("level", &values(level), &values(wanted), 1e-5);
        }
        assert!(same.iter().all(|m| !m.mean.is_autodiff() && !m.variance.is_autodiff()));
    }
}

#[test]
fn a_pass_over_running_statistics_is_inference() {
    for network in ImagenetNetwork::ALL {
        let model = narrow_filled(network);
        let x = images("x", [2, 3, 40, 40], &device());
        let mut pass = TrainingPass::new(NormSource::Running, ComputePrecision::Full);
        let found = levels(model.forward_training(x.clone(), &mut pass));
        assert!(pass.into_moments().is_empty());
        for (a, b) in found.into_iter().zip(levels(model.forward(x))) {
            assert_close_rel_max(network.name(), &values(a), &values(b), 1e-5);
        }
    }
}

#[test]
fn a_pass_by_the_batch_meets_every_norm_in_the_order_of_absorbing() {
    for network in ImagenetNetwork::ALL {
        let model = narrow_filled(network);
        let x = images("x", [2, 3, 192, 160], &device());
        let (by_batch, moments) = seen(&model, x.clone());
        let norms = statistics(&model, "running_var").len();
        assert_eq!(moments.len(), norms, "{network}: a moment a norm, layer4 included");

        // Two hundred times the same moments leave nothing of what was there before (0.9^200).
        let before = statistics(&model, "running_mean");
        let mut moved = model.clone();
        for _ in 0..200 {
            moved.absorb(&mut moments.clone().into_iter());
        }
        let after = statistics(&moved, "running_mean");
        assert_eq!(before != after, has_norms(network));
        // The norms then normalise by the moments of this very batch, but for its n - 1, which grows
        // from layer to layer.
        let running = levels(moved.forward(x.clone()));
        let error =
            |a: &Tensor<4>, b: &Tensor<4>| relative_l2(&values(a.clone()), &values(b.clone()));
        assert!(error(&running[0], &by_batch[0]) < 0.01, "{network}");
        assert!(error(&running[2], &by_batch[2]) < 0.15, "{network}");
        if has_norms(network) {
            let other = levels(model.forward(x))[2].clone();
            let error =
                fss_support::golden::relative_l2(&values(other), &values(by_batch[2].clone()));
            assert!(error > 0.2, "{network}: normalising by the batch changes nothing ({error})");
        }
    }
}

#[test]
fn two_passes_move_the_statistics_one_after_the_other() {
    for network in ImagenetNetwork::ALL.into_iter().filter(|network| has_norms(*network)) {
        let model = narrow_filled(network);
        let support = images("support", [2, 3, 48, 40], &device());
        let query = images("query", [1, 3, 48, 40], &device());
        let mut pass = batch_pass();
        model.forward_training(support.clone(), &mut pass);
        model.forward_training(query.clone(), &mut pass);
        let mut moments = pass.into_moments().into_iter();
        let mut together = model.clone();
        together.absorb(&mut moments);
        together.absorb(&mut moments);
        assert!(moments.next().is_none());

        // Each pass normalises by its own batch alone, so the order of absorbing does not matter to it.
        let mut apart = model.clone();
        for x in [support, query] {
            let (_, moments) = seen(&apart, x);
            apart.absorb(&mut moments.into_iter());
        }
        let (a, b) = (module_tensors(&together).unwrap(), module_tensors(&apart).unwrap());
        assert_eq!(a, b, "{network}");

        let start = statistics(&model, "running_mean");
        let (_, first) = seen(&model, images("support", [2, 3, 48, 40], &device()));
        let (_, second) = seen(&model, images("query", [1, 3, 48, 40], &device()));
        let [m1, m2] = [first, second].map(|m| values(m[0].mean.clone()));
        let expected: Vec<f32> = start[0]
            .iter()
            .zip(m1.iter().zip(&m2))
            .map(|(r, (a, b))| 0.9 * (0.9 * r + 0.1 * a) + 0.1 * b)
            .collect();
        let found = &statistics(&together, "running_mean")[0];
        assert_close_rel_max(network.name(), found, &expected, 1e-5);
    }
}

#[test]
fn a_folded_network_passes_through_training_as_ever() {
    for network in ImagenetNetwork::ALL {
        let folded = narrow_filled(network).fold();
        let x = images("x", [2, 3, 40, 40], &device());
        let (found, moments) = seen(&folded, x.clone());
        assert!(moments.is_empty(), "{network}");
        for (a, b) in found.into_iter().zip(levels(folded.forward(x))) {
            assert!(values(a) == values(b), "{network}");
        }
    }
}

#[test]
fn calibration_makes_running_statistics_those_of_the_images() {
    for network in ImagenetNetwork::ALL {
        let x = images("calibrate", [3, 3, 96, 80], &device());
        let model = narrow(network).init(&device(), 5).calibrate_norms(x.clone());
        let (by_batch, moments) = seen(&model, x.clone());
        let [shallow, ..] = levels(model.forward(x.clone()));
        let error = relative_l2(&values(shallow), &values(by_batch[0].clone()));
        assert!(error < 0.01, "{network}: {error}");
        if let Some(first) = moments.first() {
            let stored = &statistics(&model, "running_mean")[0];
            assert_close_rel_max(network.name(), stored, &values(first.mean.clone()), 1e-5);
        }
        let flat = Tensor::<4>::zeros([1, 3, 32, 32], &device());
        let still = narrow(network).init(&device(), 5).calibrate_norms(flat);
        assert!(
            levels(still.forward(x)).into_iter().all(|l| values(l).iter().all(|v| v.is_finite()))
        );
    }
}
