//! How MLC behaves beyond its golden cases, with a tiny backbone.

#[path = "../../../tests/support/device.rs"]
mod device;

use burn::tensor::{Device, Distribution, Int, Tensor};
use device::test_device;
use fss_backbone::{DeepStemResNetConfig, Depth};
use fss_heads::{
    AnyModel, EpisodeBatch, Features, FewShotModel, HeadError, Mlc, MlcConfig, Shot, SspConfig,
    TrainableModel,
};

const SIDE: usize = 48;

fn network() -> DeepStemResNetConfig {
    DeepStemResNetConfig::new(Depth::R50).with_width(4)
}

fn mlc(device: &Device) -> Mlc {
    MlcConfig::new(network()).init(device, 7)
}

fn images(batch: usize, device: &Device) -> Tensor<4> {
    device.seed(batch as u64);
    Tensor::random([batch, 3, SIDE, SIDE], Distribution::Normal(0.0, 1.0), device)
}

/// Upper half foreground, lower half background, the first row ignored.
fn halves(batch: usize, device: &Device) -> Tensor<3, Int> {
    let row = Tensor::<1, Int>::arange(0..SIDE as i64, device);
    let upper = row.clone().lower_elem(SIDE as i64 / 2).int();
    let labels = upper.mask_fill(row.equal_elem(0), 255);
    labels.reshape([1, SIDE, 1]).expand([batch, SIDE, SIDE])
}

fn uniform(label: i64, device: &Device) -> Tensor<3, Int> {
    Tensor::full([1, SIDE, SIDE], label, device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

/// Prediction of an image, shown one image with this mask.
fn prediction(mask: Tensor<3, Int>, device: &Device) -> (Tensor<4>, Vec<i64>) {
    let model = mlc(device);
    let support = model.encode_support_images(&[(images(1, device), mask)]).unwrap();
    let logits = model.segment_images(&support, images(2, device)).unwrap();
    (logits.clone(), logits.argmax(1).try_into_vec_as().unwrap())
}

#[test]
fn a_mask_without_foreground_gives_background_everywhere() {
    let device = test_device();
    let (logits, labels) = prediction(uniform(0, &device), &device);
    assert!(values(logits.narrow(1, 1, 1)).iter().all(|value| *value == 0.0));
    assert!(labels.iter().all(|label| *label == 0));
}

#[test]
fn a_mask_that_is_ignored_gives_a_tie_and_so_background() {
    let device = test_device();
    let (logits, labels) = prediction(uniform(255, &device), &device);
    assert!(values(logits).iter().all(|value| *value == 0.0));
    assert!(labels.iter().all(|label| *label == 0));
}

#[test]
fn a_mask_without_background_gives_foreground_everywhere() {
    let device = test_device();
    let (logits, labels) = prediction(uniform(1, &device), &device);
    assert!(values(logits.narrow(1, 0, 1)).iter().all(|value| *value == 0.0));
    assert!(labels.iter().all(|label| *label == 1));
}

#[test]
fn a_shot_without_foreground_leaves_the_foreground_logits_as_they_are() {
    let device = test_device();
    let model = mlc(&device);
    let shot = (images(1, &device), halves(1, &device));
    let empty = (images(2, &device).narrow(0, 0, 1), uniform(0, &device));
    let query = images(1, &device);
    let foreground = |shots: &[_]| {
        let support = model.encode_support_images(shots).unwrap();
        values(model.segment_images(&support, query.clone()).unwrap().narrow(1, 1, 1))
    };
    let (one, both) = (foreground(std::slice::from_ref(&shot)), foreground(&[shot, empty]));
    assert!(one.iter().zip(&both).all(|(a, b)| (a - b).abs() < 1e-5));
}

/// The features are stretched to the mask: enlarging a mask by whole pixels keeps what it shows.
#[test]
fn a_mask_of_another_size_is_laid_over_the_whole_image() {
    let device = test_device();
    let features = mlc(&device).features(images(1, &device)).0[0].clone();
    let prototypes = Mlc::prototypes(&features, &halves(1, &device));
    let wide = halves(1, &device).repeat_dim(2, 2);
    let other = Mlc::prototypes(&features, &wide);
    // Columns of one label: the mean over a column does not depend on how many there are, but for
    // the outermost ones, which the aligned corners weigh less the more there are.
    let far = values((prototypes.foreground.clone() - other.foreground).abs().max());
    let size = values(prototypes.foreground.abs().max());
    assert!(far[0] < 0.05 * size[0], "{far:?} of {size:?}");
}

/// Against the definition: enlarge the features, mask, sum, divide.
#[test]
fn pooling_equals_the_mean_over_enlarged_features() {
    let device = test_device();
    let features = mlc(&device).features(images(1, &device)).0[0].clone();
    let mask = halves(1, &device);
    let large =
        fss_kernels::resize_bilinear(features.clone(), [SIDE, SIDE], fss_kernels::Corners::Aligned);
    let found = Mlc::prototypes(&features, &mask);
    for (label, got) in [(1, found.foreground), (0, found.background)] {
        let mask = mask.clone().equal_elem(label).float().unsqueeze_dim::<4>(1);
        let area = mask.clone().sum().into_scalar::<f32>() + 1e-5;
        let want = (large.clone() * mask).sum_dim(2).sum_dim(3) / area;
        for (got, want) in values(got).iter().zip(values(want)) {
            assert!((got - want).abs() < 1e-4 * want.abs().max(1.0), "{got} {want}");
        }
    }
}

#[test]
fn one_support_set_serves_a_batch_of_queries_as_each_alone() {
    let device = test_device();
    let model = mlc(&device).fold();
    let support = model.encode_support_images(&[(images(1, &device), halves(1, &device))]).unwrap();
    let queries = images(3, &device);
    let together = model.segment_images(&support, queries.clone()).unwrap();
    for i in 0..3 {
        let alone = model.segment_images(&support, queries.clone().narrow(0, i, 1)).unwrap();
        assert_eq!(values(alone), values(together.clone().narrow(0, i, 1)));
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let device = test_device();
    let model = mlc(&device);
    assert_eq!(model.encode_support_images(&[]).unwrap_err(), HeadError::NoSupport);
    let other = Features::single(Tensor::zeros([1, 5, 6, 6], &device));
    let shot = Shot { features: other.clone(), mask: halves(1, &device) };
    let message = model.encode_support(&[shot]).unwrap_err().to_string();
    assert!(message.contains("support") && message.contains("5 channels"), "{message}");
    let shot = (images(2, &device), halves(2, &device));
    let support = model.encode_support_images(&[shot]).unwrap();
    let message = model.segment(&support, &other, [6, 6]).unwrap_err().to_string();
    assert!(message.contains("query") && message.contains("64 channels"), "{message}");
    let message = model.segment_images(&support, images(3, &device)).unwrap_err().to_string();
    assert!(message.contains("batch of 3") && message.contains("batch of 2"), "{message}");
    let message = model.segment(&support, &Features(vec![]), [6, 6]).unwrap_err().to_string();
    assert!(message.contains("0 taps"), "{message}");
}

#[test]
fn every_convolution_learns_and_no_norm_does() {
    let device = test_device().autodiff();
    let model = mlc(&device);
    let batch = EpisodeBatch {
        query: images(1, &device),
        query_mask: halves(1, &device),
        supports: vec![(images(1, &device), halves(1, &device))],
        extra: None,
        cams: None,
    };
    let losses = model.losses(&batch).unwrap();
    let gradients = model.backbone.named_gradients(&losses.total.backward());
    let keys: Vec<&str> = gradients.iter().map(|g| g.key.as_str()).collect();
    assert_eq!(keys.len(), 45, "{keys:?}");
    assert!(gradients.iter().all(|g| g.shape.len() == 4), "{keys:?}");
}

#[test]
fn a_query_without_a_pixel_that_counts_has_no_loss() {
    let device = test_device().autodiff();
    let batch = EpisodeBatch {
        query: images(1, &device),
        query_mask: uniform(255, &device),
        supports: vec![(images(1, &device), halves(1, &device))],
        extra: None,
        cams: None,
    };
    let losses = mlc(&device).losses(&batch).unwrap();
    assert!(losses.terms.len() == 1 && losses.terms[0].value.is_none());
    assert_eq!(values(losses.total), [0.0]);
}

#[test]
fn supports_of_another_method_are_refused() {
    let device = test_device();
    let mlc: Box<dyn AnyModel> = Box::new(mlc(&device));
    let ssp: Box<dyn AnyModel> = Box::new(SspConfig::new(network()).init(&device, 7));
    let support = ssp.encode_support_images(&[(images(1, &device), halves(1, &device))]).unwrap();
    let error = mlc.segment_images(&support, images(1, &device)).unwrap_err();
    assert_eq!(error, HeadError::ForeignSupport);
}
