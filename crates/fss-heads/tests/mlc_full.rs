//! The parts of MLC's full method, each on its own.

#[path = "../../../tests/support/device.rs"]
mod device;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use device::test_device;
use fss_backbone::{DeepStemResNetConfig, Depth, NamedTensor};
use fss_heads::{
    BackgroundConfig, EpisodeBatch, FewShotModel, ForegroundConfig, ForegroundPool, MiningConfig,
    Mlc, MlcConfig, PSEUDO_IGNORE, PseudoBatch, TrainableModel,
};

const SIDE: usize = 40;

fn config() -> MlcConfig {
    MlcConfig::new(DeepStemResNetConfig::new(Depth::R18).with_width(4))
}

fn images(count: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..count * 3 * SIDE * SIDE)
        .map(|i| {
            ((i * 37 % 101) as f32 / 50.0 - 1.0) * if i % SIDE < SIDE / 2 { 1.0 } else { -0.4 }
        })
        .collect();
    Tensor::from_data(TensorData::new(values, [count, 3, SIDE, SIDE]), device)
}

fn labels(count: usize, device: &Device, label: impl Fn(usize, usize) -> i64) -> Tensor<3, Int> {
    let values: Vec<i64> =
        (0..count * SIDE * SIDE).map(|i| label(i / SIDE % SIDE, i % SIDE)).collect();
    Tensor::from_data(TensorData::new(values, [count, SIDE, SIDE]), device)
}

fn batch(extra: Option<PseudoBatch>, device: &Device) -> EpisodeBatch {
    let halves = |y: usize, x: usize| i64::from(x < SIDE / 2 && y > 3);
    EpisodeBatch {
        query: images(2, device),
        query_mask: labels(2, device, halves),
        supports: vec![(images(2, device), labels(2, device, halves))],
        extra,
        cams: None,
    }
}

fn pseudo(device: &Device) -> PseudoBatch {
    // Label 255 is a latent class like any other.
    let label = |y: usize, x: usize| match (y, x) {
        (0, _) => PSEUDO_IGNORE,
        _ if x < SIDE / 2 => 255,
        _ => 3,
    };
    PseudoBatch { images: images(3, device), masks: labels(3, device, label) }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

fn full(device: &Device) -> Mlc {
    let mut config = config();
    config.mining = Some(MiningConfig { channels: 8, ..MiningConfig::new(260) });
    config.background = Some(BackgroundConfig { momentum: 0.5, blend: 0.25 });
    config.init(device, 0)
}

/// The largest difference of two lists of tensors.
fn difference(one: &[NamedTensor], other: &[NamedTensor]) -> f32 {
    assert_eq!(one.len(), other.len());
    let pairs = one.iter().zip(other).flat_map(|(a, b)| a.values.iter().zip(&b.values));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_mining_branch_adds_its_loss_and_leaves_the_episodes_as_they_are() {
    let device = test_device().autodiff();
    let plain = config().init(&device, 0).losses(&batch(None, &device)).unwrap();
    let mut mining = config();
    mining.mining = Some(MiningConfig { channels: 8, weight: 0.5, ..MiningConfig::new(260) });
    let model = mining.init(&device, 0);
    let joint = model.losses(&batch(Some(pseudo(&device)), &device)).unwrap();
    let names: Vec<&str> = joint.terms.iter().map(|term| term.name).collect();
    assert_eq!(names, ["query", "pseudo"]);
    let value = |losses: &fss_heads::Losses, i: usize| {
        values(losses.terms[i].value.clone().expect("a value"))[0]
    };
    assert_eq!(value(&joint, 0), value(&plain, 0));
    let total = value(&joint, 0) + 0.5 * value(&joint, 1);
    assert!((values(joint.total.clone())[0] - total).abs() < 1e-5);

    // Both losses reach the backbone; the decoder's comes through the images with pseudo masks.
    let gradient =
        |losses: fss_heads::Losses| model.backbone.named_gradients(&losses.total.backward());
    let decoder = model.decoder.as_ref().expect("a decoder");
    let together = joint.total.backward();
    assert!(decoder.reduce.val().grad(&together).is_some());
    assert!(decoder.norm_weight.val().grad(&together).is_some());
    assert!(decoder.running_mean.val().grad(&together).is_none());
    let alone = gradient(model.losses(&batch(None, &device)).unwrap());
    assert!(difference(&alone, &model.backbone.named_gradients(&together)) > 1e-2);

    // All pixels ignored: no loss of the branch, and no gradient.
    let mut empty = pseudo(&device);
    empty.masks = labels(3, &device, |_, _| PSEUDO_IGNORE);
    let losses = model.losses(&batch(Some(empty), &device)).unwrap();
    assert!(losses.terms[1].value.is_none());
    // Only the order of sums differs: there are more images in the batch.
    assert!(difference(&gradient(losses), &alone) < 1e-5);
}

#[test]
fn images_of_another_size_are_refused() {
    let device = test_device().autodiff();
    let mut extra = pseudo(&device);
    extra.images = extra.images.narrow(2, 0, SIDE / 2);
    let message = full(&device).losses(&batch(Some(extra), &device)).unwrap_err().to_string();
    assert!(message.contains("pseudo masks"), "{message}");
}

#[test]
fn statistics_move_buffers_and_come_back_from_named_tensors() {
    let device = test_device().autodiff();
    let model = full(&device);
    let tensors = |model: &Mlc| model.further_tensors().expect("tensors");
    let find = |model: &Mlc, key: &str| {
        tensors(model).into_iter().find(|t| t.key == key).expect(key).values
    };
    assert!(find(&model, "decoder.norm.running_var").iter().all(|v| *v == 1.0));
    let losses = model.losses(&batch(Some(pseudo(&device)), &device)).unwrap();
    let names: Vec<&str> = losses.statistics.iter().map(|s| s.name).collect();
    assert_eq!(names, ["background", "decoder.mean", "decoder.var"]);
    let variance = values(losses.statistics[2].value.clone());
    let mean = values(losses.statistics[1].value.clone());
    let moved = model.clone().absorb(&losses.statistics);
    for (channel, got) in find(&moved, "decoder.norm.running_var").into_iter().enumerate() {
        assert!((got - (0.9 + 0.1 * variance[channel])).abs() < 1e-5);
    }
    for (channel, got) in find(&moved, "decoder.norm.running_mean").into_iter().enumerate() {
        assert!((got - 0.1 * mean[channel]).abs() < 1e-6);
    }
    assert_eq!(
        find(&moved, "rectification.background"),
        values(losses.statistics[0].value.clone())
    );

    let again = full(&device).with_further_tensors(tensors(&moved), "here".as_ref()).unwrap();
    assert_eq!(tensors(&again), tensors(&moved));
    let (one, other) = (batch(None, &device), batch(None, &device));
    assert_eq!(
        values(again.losses(&one).unwrap().total),
        values(moved.losses(&other).unwrap().total)
    );

    let mut short = tensors(&moved);
    short.remove(0);
    let message = full(&device).with_further_tensors(short, "here".as_ref()).unwrap_err();
    assert!(message.to_string().contains("decoder.reduce.weight"), "{message}");
    let message = config().init(&device, 0).with_further_tensors(tensors(&moved), "here".as_ref());
    assert!(message.unwrap_err().to_string().contains("decoder"));
}

#[test]
fn a_global_background_changes_training_and_inference_once_it_is_there() {
    let device = test_device().autodiff();
    let plain = config().init(&device, 0);
    let model = full(&device);
    let total = |model: &Mlc| values(model.losses(&batch(None, &device)).unwrap().total);
    assert_eq!(total(&model), total(&plain), "nothing was seen yet");
    let mut seen = model.losses(&batch(None, &device)).unwrap().statistics;
    seen[0].value = seen[0].value.clone() * -2.0;
    let model = model.absorb(&seen);
    assert_ne!(total(&model), total(&plain));

    let inner = test_device();
    let shots = vec![(images(1, &inner), labels(1, &inner, |_, x| i64::from(x < 9)))];
    let support = |model: &Mlc| {
        let model = model.valid().fold();
        assert!(model.decoder.is_none());
        let support = model.encode_support_images(&shots).unwrap();
        (values(support.foreground), values(support.background))
    };
    let ((foreground, background), (own_foreground, own)) = (support(&model), support(&plain));
    assert_eq!(foreground, own_foreground);
    let global = values(seen[0].value.clone());
    for ((got, own), global) in background.iter().zip(own).zip(global) {
        assert!((got - (0.25 * own + 0.75 * global)).abs() < 1e-4, "{got} {own} {global}");
    }
}

#[test]
fn a_pool_that_shows_the_object_moves_the_foreground_towards_it() {
    let device = test_device();
    let model = config().init(&device, 0).fold();
    let shots = vec![(images(1, &device), labels(1, &device, |_, x| i64::from(x < SIDE / 2)))];
    let own = model.encode_support_images(&shots).unwrap();
    let image = images(1, &device);
    let features = model.features(image.clone());
    let with = |config: ForegroundConfig, count: usize| {
        let mut pool = ForegroundPool::new(config);
        for _ in 0..count {
            pool.add(&features, [SIDE, SIDE]).unwrap();
        }
        assert_eq!(pool.len(), count);
        let model = model.clone().with_pool(Some(pool));
        values(model.encode_support_images(&shots).unwrap().foreground)
    };
    let loose = ForegroundConfig { min_pixels: 1, similarity: -1.0, ..ForegroundConfig::default() };
    let foreground = values(own.foreground.clone());
    assert_eq!(with(loose, 0), foreground, "an empty pool");
    assert_eq!(with(ForegroundConfig { min_pixels: SIDE * SIDE + 1, ..loose }, 2), foreground);
    assert_eq!(with(ForegroundConfig { similarity: 1.5, ..loose }, 2), foreground);

    // By hand: the region that the support finds in the image, in equal shares.
    let logits = model.segment(&own, &features, [SIDE, SIDE]).unwrap();
    let found = logits.clone().narrow(1, 1, 1).greater(logits.narrow(1, 0, 1));
    let mask = found.int().squeeze_dim::<3>(1);
    let region = values(Mlc::prototypes(&features.0[0], &mask).foreground);
    for count in [1, 3] {
        for ((got, own), region) in with(loose, count).into_iter().zip(&foreground).zip(&region) {
            assert!((got - 0.5 * (own + region)).abs() < 1e-4);
        }
    }
    let mut pool = ForegroundPool::new(loose);
    assert!(pool.add(&model.features(images(2, &device)), [SIDE, SIDE]).is_err());
}
