//! HSNet and IMR on small images: votes, batches, and what they refuse.

#[path = "../../../tests/support/device.rs"]
mod device;

use burn::tensor::{Device, Int, Tensor, TensorData};
use device::test_device;
use fss_backbone::{TapBackboneConfig, TapNetwork};
use fss_heads::{
    CamBatch, EpisodeBatch, Features, FewShotModel, Hsnet, HsnetConfig, Imr, ImrConfig,
    SupportLabels, SupportMask, TrainableModel,
};

const SIDE: usize = 64;

fn network(network: TapNetwork) -> TapBackboneConfig {
    TapBackboneConfig::new(network).with_width(4)
}

fn hsnet(device: &Device) -> Hsnet {
    HsnetConfig::new(network(TapNetwork::Resnet50)).init(device, 3)
}

fn imr(device: &Device) -> Imr {
    ImrConfig::new(network(TapNetwork::Vgg16)).with_grid(SIDE / 8).init(device, 3).unwrap()
}

fn images(count: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> =
        (0..count * 3 * SIDE * SIDE).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0).sin()).collect();
    Tensor::from_data(TensorData::new(values, [count, 3, SIDE, SIDE]), device)
}

fn mask(value: impl Fn(usize, usize) -> i64, count: usize, device: &Device) -> Tensor<3, Int> {
    let values: Vec<i64> =
        (0..count * SIDE * SIDE).map(|i| value(i / SIDE % SIDE, i % SIDE)).collect();
    Tensor::from_data(TensorData::new(values, [count, SIDE, SIDE]), device)
}

fn square(y: usize, x: usize) -> i64 {
    i64::from((10..40).contains(&y) && (20..50).contains(&x))
}

fn cam(count: usize, device: &Device) -> Tensor<4> {
    let grid = SIDE / 8;
    let values: Vec<f32> = (0..count * grid * grid).map(|i| (i % 7) as f32 / 8.0).collect();
    Tensor::from_data(TensorData::new(values, [count, 1, grid, grid]), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

#[test]
fn shots_vote_and_a_tie_is_foreground() {
    let device = test_device();
    let model = hsnet(&device).fold();
    let query = model.features(images(1, &device));
    let shift = |k: usize| mask(move |y, x| square(y + 6 * k, x + 3 * k), 1, &device);
    let shots: Vec<_> = (0..4).map(|k| (images(1, &device), shift(k))).collect();
    let support = model.encode_support_images(&shots).unwrap();
    let logits = model.segment(&support, &query, [30, 41]).unwrap();
    let found: Vec<i64> = logits.argmax(1).try_into_vec_as().unwrap();
    let mut votes = vec![0; 30 * 41];
    for shot in &shots {
        let one = model.encode_support_images(std::slice::from_ref(shot)).unwrap();
        let logits = model.segment(&one, &query, [30, 41]).unwrap();
        let labels: Vec<i64> = logits.argmax(1).try_into_vec_as().unwrap();
        votes.iter_mut().zip(labels).for_each(|(votes, label)| *votes += label);
    }
    let most = (*votes.iter().max().unwrap()).max(1);
    for (found, votes) in found.iter().zip(votes) {
        assert_eq!(*found, i64::from(2 * votes >= most));
    }
}

#[test]
fn a_batch_gives_each_sample_its_own_numbers() {
    let device = test_device();
    let model = hsnet(&device).fold();
    let two = images(2, &device);
    let query = model.features(two.clone());
    let shots = [(two.clone(), mask(square, 2, &device))];
    let both = model.encode_support_images(&shots).unwrap();
    let together = model.segment(&both, &query, [SIDE, SIDE]).unwrap();
    for sample in 0..2 {
        let image = two.clone().narrow(0, sample, 1);
        let one = model.encode_support_images(&[(image, mask(square, 1, &device))]).unwrap();
        let alone = model.segment(&one, &query.sample(sample), [SIDE, SIDE]).unwrap();
        assert!(values(together.clone().narrow(0, sample, 1)) == values(alone));
    }
}

#[test]
fn masks_without_foreground_give_numbers_all_the_same() {
    let device = test_device();
    let model = hsnet(&device).fold();
    let query = model.features(images(1, &device));
    for label in [0, 255] {
        let empty = mask(move |_, _| label, 1, &device);
        let support = model.encode_support_images(&[(images(1, &device), empty)]).unwrap();
        let logits = values(model.segment(&support, &query, [SIDE, SIDE]).unwrap());
        assert!(logits.iter().all(|value| value.is_finite()));
    }
    // Without masking, the mask plays no role.
    let config = HsnetConfig::new(network(TapNetwork::Resnet50));
    let model = config.with_support_mask(SupportMask::Unmasked).init(&device, 3);
    let logits = |label: i64| {
        let shot = [(images(1, &device), mask(move |_, _| label, 1, &device))];
        let support = model.encode_support_images(&shot).unwrap();
        values(model.segment(&support, &query, [SIDE, SIDE]).unwrap())
    };
    assert!(logits(0) == logits(1));
}

#[test]
fn what_does_not_fit_is_named() {
    let device = test_device();
    let model = hsnet(&device);
    assert!(model.encode_support(&[]).unwrap_err().to_string().contains("empty"));
    let shot = [(images(1, &device), mask(square, 1, &device))];
    let support = model.encode_support_images(&shot).unwrap();
    let other = HsnetConfig::new(network(TapNetwork::Vgg16)).init(&device, 0);
    let message = model
        .segment(&support, &other.features(images(1, &device)), [8, 8])
        .unwrap_err()
        .to_string();
    assert!(message.contains("7 taps") && message.contains("13 taps"), "{message}");
    // VGG's levels do not add up at this side; tiny images are enlarged.
    let odd = Tensor::zeros([1, 3, 270, 270], &device);
    let labels = Tensor::zeros([1, 270, 270], &device);
    let message = other.encode_support_images(&[(odd, labels)]).unwrap_err().to_string();
    assert!(message.contains("400x400"), "{message}");
    let tiny = other.features(Tensor::zeros([1, 3, 5, 3], &device));
    assert_eq!(tiny.0.len(), 7);
}

#[test]
fn imr_needs_a_map_of_its_grid() {
    let device = test_device();
    let model = imr(&device).fold();
    assert_eq!((model.cam_grid(), model.image_side()), (Some(8), Some(64)));
    let features = model.features(images(1, &device));
    let message = model.sight(&features, "a query").unwrap_err().to_string();
    assert!(message.contains("a query") && message.contains("fss cam"), "{message}");
    let large = features.clone().with_cam(Tensor::zeros([1, 1, 50, 50], &device));
    let message = model.sight(&large, "a query").unwrap_err().to_string();
    assert!(message.contains("50x50") && message.contains("8x8"), "{message}");
    let of_another_size = model.features(Tensor::zeros([1, 3, 80, 80], &device));
    let message =
        model.sight(&of_another_size.with_cam(cam(1, &device)), "a query").unwrap_err().to_string();
    assert!(message.contains("64x64"), "{message}");
}

#[test]
fn imr_takes_masks_for_maps_and_survives_empty_ones() {
    let device = test_device();
    let model = imr(&device).fold();
    let features = |cam: Tensor<4>| model.features(images(1, &device)).with_cam(cam);
    let shot = |cam: Tensor<4>| fss_heads::Shot {
        features: features(cam),
        mask: mask(square, 1, &device),
    };
    let segment = |model: &Imr, shot: fss_heads::Shot| {
        let support = model.encode_support(&[shot]).unwrap();
        values(model.segment(&support, &features(cam(1, &device)), [SIDE, SIDE]).unwrap())
    };
    let by_text = segment(&model, shot(cam(1, &device)));
    let masks = model.clone().with_support_labels(SupportLabels::Masks);
    let by_mask = segment(&masks, shot(cam(1, &device)));
    assert!(by_text != by_mask);
    // The mask's map given as a map is the same thing.
    let drawn = model.cam_of_mask(&mask(square, 1, &device));
    assert!(segment(&model, shot(drawn)) == by_mask);
    let empty = segment(&model, shot(cam(1, &device).zeros_like()));
    assert!(empty.iter().all(|value| value.is_finite()));
}

#[test]
fn only_the_head_learns() {
    let device = test_device().autodiff();
    let batch = EpisodeBatch {
        query: images(2, &device),
        query_mask: mask(square, 2, &device),
        supports: vec![(images(2, &device), mask(square, 2, &device))],
        extra: None,
        cams: Some(CamBatch { query: cam(2, &device), supports: vec![cam(2, &device)] }),
    };
    let losses = hsnet(&device).losses(&batch).unwrap();
    assert_eq!(losses.terms.len(), 1);
    losses.total.backward();
    let model = imr(&device);
    let losses = model.losses(&batch).unwrap();
    // Query and support, in each of 2 stages.
    assert_eq!(losses.terms.len(), 4);
    let gradients = losses.total.backward();
    let state = model.state.val().grad(&gradients).expect("a gradient of the state");
    assert!(values(state).iter().all(|value| value.is_finite()));
    let without = EpisodeBatch { cams: None, ..batch };
    let message = model.losses(&without).unwrap_err().to_string();
    assert!(message.contains("coarse map"), "{message}");
    let none = Features(Vec::new());
    assert!(model.sight(&none, "nothing").is_err());
}
