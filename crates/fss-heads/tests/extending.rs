//! How DENet, CANet and PGNet behave beyond their golden cases, with tiny backbones.

#[path = "../../../tests/support/device.rs"]
mod device;

use burn::tensor::{Device, Distribution, Int, Tensor};
use device::test_device;
use fss_backbone::{
    BackboneError, ImagenetConfig, ImagenetNetwork, OfficialKeys, module_tensors, write_state_dict,
};
use fss_heads::denet::{FullLabels, Repeated};
use fss_heads::pgnet::Layout;
use fss_heads::{
    CanetConfig, Denet, DenetConfig, EpisodeBatch, Features, FewShotModel, HeadError, PgnetConfig,
    Shot, TrainableModel,
};

fn network() -> ImagenetConfig {
    ImagenetConfig::new(ImagenetNetwork::Resnet50).with_width(4)
}

fn images(batch: usize, [height, width]: [usize; 2], seed: u64) -> Tensor<4> {
    let device = test_device();
    device.seed(seed);
    Tensor::random([batch, 3, height, width], Distribution::Normal(0.0, 1.0), &device)
}

/// The left part is foreground.
fn mask(batch: usize, [height, width]: [usize; 2], columns: usize) -> Tensor<3, Int> {
    let column = Tensor::<1, Int>::arange(0..width as i64, &test_device());
    let left = column.lower_elem(columns as i64).int();
    left.reshape([1, 1, width]).expand([batch, height, width])
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

fn shot<M: FewShotModel>(model: &M, size: [usize; 2], seed: u64, columns: usize) -> Shot {
    Shot { features: model.features(images(1, size, seed)), mask: mask(1, size, columns) }
}

/// What holds for all three: shapes, shots, batches, errors.
fn behaves<M: FewShotModel>(model: &M) {
    let size = [44, 52];
    assert_eq!(model.image_side(), Some(321));
    assert!(matches!(model.encode_support(&[]), Err(HeadError::NoSupport)));
    // Supports of different sizes, and a batch of queries of another size.
    let shots = [shot(model, size, 1, 20), shot(model, [60, 41], 2, 30)];
    let support = model.encode_support(&shots).unwrap();
    let query = model.features(images(2, [50, 36], 3));
    let both = model.segment(&support, &query, [50, 36]).unwrap();
    assert_eq!(both.dims(), [2, 2, 50, 36]);
    for sample in 0..2 {
        let alone = model.segment(&support, &query.sample(sample), [50, 36]).unwrap();
        let (alone, want) = (values(alone), values(both.clone().narrow(0, sample, 1)));
        let largest = want.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        for (a, b) in alone.iter().zip(&want) {
            assert!((a - b).abs() <= 1e-4 * largest, "{a} and {b}");
        }
    }
    let one = model.segment(&model.encode_support(&shots[..1]).unwrap(), &query, [50, 36]).unwrap();
    assert_ne!(values(one), values(both));
    // An empty mask and a tiny image give numbers, not NaN.
    let empty = model.encode_support(&[shot(model, size, 1, 0)]).unwrap();
    let tiny = model.features(images(1, [3, 2], 5));
    let logits = values(model.segment(&empty, &tiny, [3, 2]).unwrap());
    assert!(logits.iter().all(|v| v.is_finite()));
    // Two ways.
    let ways = [support, model.encode_support(&[shot(model, size, 7, 10)]).unwrap()];
    assert_eq!(model.segment_ways(&ways, &query, [50, 36]).unwrap().dims(), [2, 3, 50, 36]);
    // Features of something else.
    let foreign = Features::single(Tensor::zeros([1, 5, 6, 6], &test_device()));
    let message = model.segment(&ways[0], &foreign, [8, 8]).unwrap_err().to_string();
    assert!(message.contains("5 channels") && message.contains("256 channels"), "{message}");
    let foreign = Shot { features: foreign, mask: mask(1, [8, 8], 4) };
    assert!(model.encode_support(&[foreign]).is_err());
    let unequal = Shot { features: model.features(images(2, size, 1)), mask: mask(1, size, 9) };
    let message = model.encode_support(&[unequal]).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("2 images and 1 masks"), "{message}");
}

#[test]
fn the_one_interface() {
    let device = test_device();
    behaves(&DenetConfig::new(network(), 21).init(&device, 0).fold());
    behaves(&CanetConfig::new(network()).init(&device, 0).fold());
    behaves(&PgnetConfig::new(network()).init(&device, 0).fold());
}

#[test]
fn a_known_class_leaves_its_old_row_out() {
    let model = DenetConfig::new(network(), 5).init(&test_device(), 0).fold();
    let shots = [shot(&model, [40, 40], 1, 20)];
    let unknown = model.encode_support(&shots).unwrap();
    let known = model.encode_support_of(&shots, &[3]).unwrap();
    assert_eq!(values(unknown.row.clone()), values(known.row.clone()));
    let query = model.features(images(1, [40, 40], 2));
    let logits = |support| model.segment(support, &query, [5, 5]).unwrap();
    let (with, without) = (logits(&unknown), logits(&known));
    let background = |logits: &Tensor<4>| values(logits.clone().narrow(1, 0, 1));
    let foreground = |logits: &Tensor<4>| values(logits.clone().narrow(1, 1, 1));
    assert_eq!(foreground(&with), foreground(&without));
    for (all, some) in background(&with).iter().zip(background(&without)) {
        assert!(*all >= some, "a row more cannot make the largest smaller");
    }
    for (classes, expected) in
        [(vec![5], "classes 1 to 4"), (vec![0], "class 0"), (vec![1, 2], "1, one for each sample")]
    {
        let message = model.encode_support_of(&shots, &classes).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let made_up = fss_heads::DenetSupport { classes: Some(vec![9]), ..known.clone() };
    let message = model.segment(&made_up, &query, [5, 5]).unwrap_err().to_string();
    assert!(message.contains("class 9"), "{message}");
    let rows = [known.row.clone(), unknown.row];
    let twice = |repeated| model.episode_logits(&rows, &[vec![2, 2]], &query.0[0], repeated);
    let message = twice(Repeated::Refused).unwrap_err().to_string();
    assert!(message.contains("class 2 is that of way 1 and of way 2"), "{message}");
    assert!(twice(Repeated::LastWins).is_ok());
    let none = model.episode_logits(&[], &[vec![]], &query.0[0], Repeated::Refused);
    assert_eq!(none.unwrap_err(), HeadError::NoSupport);
    let short = model.episode_logits(&rows, &[vec![2]], &query.0[0], Repeated::Refused);
    assert!(short.unwrap_err().to_string().contains("one for each way"));
}

fn batch(size: [usize; 2], device: &Device) -> EpisodeBatch {
    let on = |x: Tensor<4>| Tensor::from_data(x.into_data(), device);
    let labels = |x: Tensor<3, Int>| Tensor::from_data(x.into_data(), device);
    EpisodeBatch {
        query: on(images(2, size, 3)),
        query_mask: labels(mask(2, size, 20)),
        supports: vec![(on(images(2, size, 1)), labels(mask(2, size, 15)))],
        extra: None,
        cams: None,
    }
}

fn drops_by_seed<M: TrainableModel>(with_seed: impl Fn(u64) -> M, off: M, device: &Device) {
    let batch = batch([40, 48], device);
    let loss = |model: &M| values(model.losses(&batch).unwrap().total);
    assert_eq!(loss(&with_seed(1)), loss(&with_seed(1)));
    assert_ne!(loss(&with_seed(1)), loss(&with_seed(2)));
    assert_ne!(loss(&with_seed(1)), loss(&off));
    let none = EpisodeBatch { supports: Vec::new(), ..batch };
    assert!(matches!(off.losses(&none), Err(HeadError::NoSupport)));
}

#[test]
fn what_training_drops_follows_from_the_seed() {
    let device = test_device().autodiff();
    let canet = CanetConfig::new(network()).init(&device, 0);
    drops_by_seed(|s| canet.clone().with_dropout_seed(s), canet.clone().without_dropout(), &device);
    let pgnet = PgnetConfig::new(network()).init(&device, 0);
    drops_by_seed(|s| pgnet.clone().with_dropout_seed(s), pgnet.clone().without_dropout(), &device);
}

#[test]
fn full_masks_without_a_pixel_that_counts_are_left_out() {
    let device = test_device().autodiff();
    let model: Denet = DenetConfig::new(network(), 5).init(&device, 0).without_dropout();
    let batch = batch([40, 48], &device);
    let ignored = Tensor::<3, Int>::full([2, 40, 48], 255, &device);
    let full = |masks| FullLabels { masks, classes: vec![1, 2] };
    let losses = model.losses(&batch, &full(ignored.clone()), 1.0).unwrap();
    assert!(losses.terms[0].value.is_none());
    assert_eq!(values(losses.total), [0.0]);
    // The first alone counts.
    let half = Tensor::cat(
        vec![batch.query_mask.clone().narrow(0, 0, 1), ignored.clone().narrow(0, 0, 1)],
        0,
    );
    let losses = model.losses(&batch, &full(half), 1.0).unwrap();
    assert!(values(losses.total)[0] > 0.0);
    let wrong = full(ignored.narrow(1, 0, 8));
    assert!(model.losses(&batch, &wrong, 1.0).unwrap_err().to_string().contains("full masks"));
}

/// Saved weights load again; those of another method or size are refused by name.
fn returns<M: OfficialKeys + FewShotModel>(
    model: M,
    fresh: M,
    load: impl Fn(M, &std::path::Path) -> Result<M, BackboneError>,
    name: &str,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_state_dict(&path, &module_tensors(&model).unwrap(), &Default::default()).unwrap();
    let size = [40, 40];
    let logits = |model: &M| {
        let support = model.encode_support(&[shot(model, size, 1, 20)]).unwrap();
        values(model.segment(&support, &model.features(images(1, size, 2)), size).unwrap())
    };
    let want = logits(&model);
    assert_ne!(logits(&fresh), want);
    assert_eq!(logits(&load(fresh, &path).unwrap()), want);
    let backbone = folder.path().join("backbone.safetensors");
    let only = network().init(&test_device(), 0);
    write_state_dict(&backbone, &module_tensors(&only).unwrap(), &Default::default()).unwrap();
    let message = load(model, &backbone).unwrap_err().to_string();
    assert!(message.to_lowercase().contains(name) || message.contains("backbone"), "{message}");
}

#[test]
fn saved_weights_load_again() {
    let device = test_device();
    let denet = |seed| DenetConfig::new(network(), 5).init(&device, seed);
    returns(denet(1), denet(2), |model, path| Ok(model.load(path)?.0), "denet");
    let canet = |seed| CanetConfig::new(network()).init(&device, seed);
    returns(canet(1), canet(2), |model, path| Ok(model.load(path)?.0), "canet");
    let pgnet = |seed| PgnetConfig::new(network()).init(&device, seed);
    returns(pgnet(1), pgnet(2), |model, path| Ok(model.load(path)?.0), "pgnet");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_state_dict(&path, &module_tensors(&denet(1)).unwrap(), &Default::default()).unwrap();
    let more = DenetConfig::new(network(), 21).init(&device, 0);
    let message = more.load(&path).unwrap_err().to_string();
    assert!(message.contains("5 rows") && message.contains("21 rows"), "{message}");
}

#[test]
fn unfit_settings_are_refused() {
    let vgg = ImagenetConfig::new(ImagenetNetwork::Vgg16);
    let message = CanetConfig::new(vgg).validate().unwrap_err().to_string();
    assert!(message.contains("vgg16") && message.contains("resnet50"), "{message}");
    assert!(
        PgnetConfig::new(vgg).validate().is_err() && DenetConfig::new(vgg, 21).validate().is_err()
    );
    let message = DenetConfig::new(network(), 1).validate().unwrap_err().to_string();
    assert!(message.contains("at least one class"), "{message}");
}

#[test]
fn a_sound_layout_keeps_channels_apart() {
    // With values that are equal everywhere every position gathers the same, so that a map whose channels
    // are channels is flat; scrambled, it is not.
    let device = test_device();
    let model = PgnetConfig::new(network()).init(&device, 0);
    let unit = &model.units[0];
    device.seed(4);
    let keys = Tensor::<4>::random([1, 256, 4, 5], Distribution::Normal(0.0, 1.0), &device);
    let each = Tensor::<4>::random([1, 256, 1, 1], Distribution::Normal(0.0, 1.0), &device);
    let support = unit.support(&[(keys.clone(), each.clone().expand([1, 256, 4, 5]))]);
    let own = Tensor::zeros([1, 256, 4, 5], &device);
    let spread = |layout| {
        let found = unit.attend(&keys, &support);
        let joined = unit.joined(found, own.clone(), layout);
        let flat = joined.reshape([256, 20]);
        let range = flat.clone().max_dim(1) - flat.min_dim(1);
        values(range).into_iter().fold(0.0f32, f32::max)
    };
    assert!(spread(Layout::Sound) < 1e-4, "{}", spread(Layout::Sound));
    assert!(spread(Layout::Scrambled) > 1e-2, "{}", spread(Layout::Scrambled));
}

#[test]
fn maps_without_a_quarter_are_refused() {
    let device = test_device();
    let model = PgnetConfig::new(network()).init(&device, 0);
    let support = model.encode_support(&[shot(&model, [40, 40], 1, 20)]).unwrap();
    let small = Features::single(Tensor::zeros([1, 256, 3, 9], &device));
    let message = model.segment(&support, &small, [9, 9]).unwrap_err().to_string();
    assert!(message.contains("3 x 9") && message.contains("25 pixels"), "{message}");
    let batch = batch([20, 40], &test_device().autodiff());
    let model = PgnetConfig::new(network()).init(&test_device().autodiff(), 0);
    assert!(matches!(model.losses(&batch), Err(HeadError::ImageSize { .. })));
    let none = CanetConfig { refinements: 0, ..CanetConfig::new(network()) };
    assert!(none.validate().unwrap_err().to_string().contains("at least once"));
}
