//! How SSP behaves beyond its golden cases, with a tiny backbone.

#[path = "../../../tests/support/device.rs"]
mod device;

use burn::tensor::{Device, Distribution, Int, Tensor};
use device::test_device;
use fss_backbone::{DeepStemResNetConfig, Depth};
use fss_heads::{
    AnyModel, EpisodeBatch, Features, FewShotModel, HeadError, Refine, Ssp, SspConfig,
    TrainableModel,
};

const SIDE: usize = 48;

fn ssp(refine: Refine, device: &Device) -> Ssp {
    let backbone = DeepStemResNetConfig::new(Depth::R50).with_width(4);
    SspConfig::new(backbone).with_refine(refine).init(device, 7)
}

fn images(batch: usize, device: &Device) -> Tensor<4> {
    device.seed(batch as u64);
    Tensor::random([batch, 3, SIDE, SIDE], Distribution::Normal(0.0, 1.0), device)
}

/// Upper half foreground, lower half background, the first row ignored.
fn masks(batch: usize, device: &Device) -> Tensor<3, Int> {
    let row = Tensor::<1, Int>::arange(0..SIDE as i64, device);
    let upper = row.clone().lower_elem(SIDE as i64 / 2).int();
    let labels = upper.mask_fill(row.equal_elem(0), 255);
    labels.reshape([1, SIDE, 1]).expand([batch, SIDE, SIDE])
}

fn batch(samples: usize, shots: usize, device: &Device) -> EpisodeBatch {
    EpisodeBatch {
        query: images(samples, device),
        query_mask: masks(samples, device),
        supports: (0..shots).map(|_| (images(samples, device), masks(samples, device))).collect(),
        extra: None,
        cams: None,
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

#[test]
fn a_support_set_without_images_is_refused() {
    let device = test_device();
    let error = ssp(Refine::On, &device).encode_support_images(&[]).unwrap_err();
    assert_eq!(error, HeadError::NoSupport);
}

#[test]
fn features_of_another_backbone_are_refused() {
    let device = test_device();
    let model = ssp(Refine::On, &device);
    let other = Features::single(Tensor::zeros([1, 5, 6, 6], &device));
    let shot = fss_heads::Shot { features: other, mask: masks(1, &device) };
    let message = model.encode_support(&[shot]).unwrap_err().to_string();
    assert!(message.contains("5 channels") && message.contains("64 channels"), "{message}");
}

#[test]
fn one_support_set_serves_a_batch_of_queries_as_each_alone() {
    let device = test_device();
    let model = ssp(Refine::On, &device).fold();
    let support = model.encode_support_images(&[(images(1, &device), masks(1, &device))]).unwrap();
    let queries = images(3, &device);
    let together = model.segment_images(&support, queries.clone()).unwrap();
    assert_eq!(together.dims(), [3, 2, SIDE, SIDE]);
    for i in 0..3 {
        let alone = model.segment_images(&support, queries.clone().narrow(0, i, 1)).unwrap();
        assert_eq!(values(alone), values(together.clone().narrow(0, i, 1)));
    }
}

#[test]
fn repeating_a_shot_changes_nothing() {
    let device = test_device();
    let model = ssp(Refine::Off, &device);
    let shot = (images(1, &device), masks(1, &device));
    let once = model.encode_support_images(std::slice::from_ref(&shot)).unwrap();
    let twice = model.encode_support_images(&[shot.clone(), shot]).unwrap();
    assert_eq!(values(once.foreground), values(twice.foreground));
}

#[test]
fn a_map_of_one_position_is_segmented() {
    let device = test_device();
    let model = ssp(Refine::On, &device);
    let support = model.encode_support_images(&[(images(1, &device), masks(1, &device))]).unwrap();
    let logits = model.segment_images(&support, Tensor::ones([1, 3, 1, 1], &device)).unwrap();
    assert_eq!(logits.dims(), [1, 2, 1, 1]);
    assert!(values(logits).iter().all(|value| value.is_finite()));
}

#[test]
fn refinement_adds_an_output_and_a_loss() {
    let device = test_device().autodiff();
    for (refine, terms) in [(Refine::Off, 3), (Refine::On, 4)] {
        let model = ssp(refine, &device);
        let batch = batch(2, 2, &device);
        let outputs = model.training_outputs(&batch).unwrap();
        assert_eq!(outputs.refined.is_some(), refine == Refine::On);
        assert_eq!(outputs.supports.dims(), [4, 2, SIDE, SIDE]);
        let losses = model.losses(&batch).unwrap();
        assert_eq!(losses.terms.len(), terms);
        let weighted: f64 = losses
            .terms
            .iter()
            .map(|term| term.weight * f64::from(values(term.value.clone().unwrap())[0]))
            .sum();
        let total = f64::from(values(losses.total)[0]);
        assert!((total - weighted).abs() < 1e-5, "{total} and {weighted}");
    }
}

#[test]
fn a_term_without_a_pixel_that_counts_is_logged_but_not_minimised() {
    let device = test_device().autodiff();
    let model = ssp(Refine::Off, &device);
    let mut batch = batch(1, 1, &device);
    batch.query_mask = batch.query_mask.ones_like() * 255;
    let losses = model.losses(&batch).unwrap();
    let counted: Vec<bool> = losses.terms.iter().map(|term| term.value.is_some()).collect();
    assert_eq!(counted, [false, false, true]);
    assert!(values(losses.total.clone())[0].is_finite());
    let gradients = model.backbone.named_gradients(&losses.total.backward());
    assert!(gradients.iter().flat_map(|g| &g.values).all(|value| value.is_finite()));
}

#[test]
fn batches_of_unequal_images_are_refused_by_name() {
    let device = test_device().autodiff();
    let model = ssp(Refine::Off, &device);
    let mut unequal = batch(1, 2, &device);
    unequal.supports[1].0 = Tensor::zeros([1, 3, SIDE, SIDE / 2], &device);
    let message = model.losses(&unequal).unwrap_err().to_string();
    assert!(message.contains("shot 2"), "{message}");
    let mut empty = batch(1, 0, &device);
    assert_eq!(model.losses(&empty).unwrap_err(), HeadError::NoSupport);
    empty.supports = unequal.supports;
    empty.query_mask = masks(2, &device);
    assert!(model.losses(&empty).unwrap_err().to_string().contains("query mask"));
}

#[test]
fn a_model_behind_its_object_face_gives_the_same() {
    let device = test_device();
    let model = ssp(Refine::On, &device);
    let shots = [(images(1, &device), masks(1, &device))];
    let support = model.encode_support_images(&shots).unwrap();
    let plain = model.segment_images(&support, images(1, &device)).unwrap();
    let any: Box<dyn AnyModel> = Box::new(model);
    let support = any.encode_support_images(&shots).unwrap();
    let logits = any.segment_images(&support.clone(), images(1, &device)).unwrap();
    assert_eq!(values(logits), values(plain));
}

/// Whatever was segmented before, and behind the object-safe face, too.
#[test]
fn a_prepared_query_is_segmented_as_any_other() {
    let device = test_device();
    for refine in [Refine::Off, Refine::On] {
        let model = ssp(refine, &device).fold();
        let query = model.features(images(1, &device));
        let prepared = model.prepare_query(&query).expect("a query");
        assert!(prepared.pairs.is_some());
        let size = [SIDE, SIDE];
        let supports = [masks(1, &device), 1 - masks(1, &device).clamp(0, 1)].map(|mask| {
            model
                .encode_support_images(&[(images(2, &device).narrow(0, 0, 1), mask)])
                .expect("a set")
        });
        let one =
            |support| values(model.segment_prepared(support, &prepared, size).expect("logits"));
        let first = one(&supports[0]);
        for support in &supports {
            let alone = values(model.segment(support, &query, size).expect("logits"));
            let found = one(support);
            let gap = found.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(gap < 1e-4, "{gap}");
        }
        assert_eq!(one(&supports[0]), first);
        let boxed: Box<dyn AnyModel> = Box::new(model);
        let image = images(1, &device);
        let support = boxed
            .encode_support_images(&[(images(2, &device).narrow(0, 0, 1), masks(1, &device))])
            .expect("a set");
        let prepared = boxed.prepare_query(&boxed.features(image)).expect("a query");
        let logits = boxed.segment_prepared(&support, &prepared, size).expect("logits");
        assert_eq!(values(logits), first);
    }
}
